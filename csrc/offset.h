/* offset.h: from the number of a row to its place in memory. */
#ifndef TT_OFFSET_H
#define TT_OFFSET_H
#include <stdint.h>

/* Counting through axes of the sizes in `shape`, last axis fastest: where does count `index` stand
   in an array with these strides? */
static inline int64_t offset(int64_t index, int64_t axes, const int64_t *shape, const int64_t *strides)
{
    int64_t place = 0;
    for (int64_t axis = axes - 1; axis > 0; axis--) {
        place += index % shape[axis] * strides[axis];
        index /= shape[axis];
    }
    return axes > 0 ? place + index * strides[0] : 0;
}

/* How many counts there are. */
static inline int64_t product(int64_t axes, const int64_t *shape)
{
    int64_t count = 1;
    for (int64_t axis = 0; axis < axes; axis++)
        count *= shape[axis];
    return count;
}

#endif
