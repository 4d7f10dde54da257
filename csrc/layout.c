/* layout.c: the same numbers in another place: repeated, in another order, picked out, side by side. */
#include "kernels.h"
#include "machine.h"
#include "offset.h"
#include <string.h>

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

void tt_take(const real *x, const int64_t *index, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, out += C)
        for (int64_t c = 0; c < C; c++)
            out[c] = x[index[r] * C + c];
}

void tt_scatter_add(const real *grad, const int64_t *index, real *out, int64_t R, int64_t C, int64_t N)
{
    memset(out, 0, N * C * sizeof(real));
    for (int64_t r = 0; r < R; r++, grad += C)
        for (int64_t c = 0; c < C; c++)
            out[index[r] * C + c] += grad[c];
}

void tt_put(const real *x, const int64_t *index, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, x += C)
        for (int64_t c = 0; c < C; c++)
            out[index[r] * C + c] = x[c];
}

void tt_concat(const real *x, real *out, int64_t start, int64_t A, int64_t n, int64_t N, int64_t B)
{
    for (int64_t a = 0; a < A; a++)
        memcpy(out + (a * N + start) * B, x + a * n * B, n * B * sizeof(real));
}
