/* transpose.c: the same numbers, with the axes in another order. */
#include "kernels.h"
#include "machine.h"
#include "offset.h"

void tt_transpose(const real *x, real *out, int64_t axes, const int64_t *shape, const int64_t *strides)
{
    const int64_t last = axes - 1, C = shape[last], step = strides[last], R = product(last, shape);
    for (int64_t r = 0; r < R; r++, out += C) {
        const real *row = x + offset(r, last, shape, strides);
        for (int64_t c = 0; c < C; c++)
            out[c] = row[c * step];
    }
}
