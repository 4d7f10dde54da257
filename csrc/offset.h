/* offset.h: from the index of a row to its offset in memory. */
#ifndef TT_OFFSET_H
#define TT_OFFSET_H
#include <stdint.h>

/* The offset, in elements, of the element with the flat index `index` in C order, in an array with
   this shape and these strides. */
static inline int64_t offset(int64_t index, int64_t axes, const int64_t *shape, const int64_t *strides)
{
    int64_t sum = 0;
    for (int64_t axis = axes - 1; axis > 0; axis--) {
        sum += index % shape[axis] * strides[axis];
        index /= shape[axis];
    }
    return axes > 0 ? sum + index * strides[0] : 0;
}

/* The number of elements of a shape. */
static inline int64_t product(int64_t axes, const int64_t *shape)
{
    int64_t count = 1;
    for (int64_t axis = 0; axis < axes; axis++)
        count *= shape[axis];
    return count;
}

#endif
