/* layout.c: the same numbers in another place: repeated, or with the axes in another order. */
#include "kernels.h"
#include "machine.h"
#include "offset.h"

/* Fill out, of `axes` axes of the sizes in `shape`, row by row, from wherever the strides lead. */
static void gather(const real *x, real *out, int64_t axes, const int64_t *shape, const int64_t *strides)
{
    const int64_t last = axes - 1, C = shape[last], step = strides[last], R = product(last, shape);
    for (int64_t r = 0; r < R; r++, out += C) {
        const real *row = x + offset(r, last, shape, strides);
        for (int64_t c = 0; c < C; c++)
            out[c] = row[c * step];
    }
}

void tt_broadcast_to(const real *x, real *out, int64_t axes, const int64_t *shape, const int64_t *strides)
{
    gather(x, out, axes, shape, strides);
}

void tt_transpose(const real *x, real *out, int64_t axes, const int64_t *shape, const int64_t *strides)
{
    gather(x, out, axes, shape, strides);
}
