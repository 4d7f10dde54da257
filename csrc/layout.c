/* layout.c: kernels that copy elements: broadcast_to, transpose, take, scatter_add, put, concat. */
#include "kernels.h"
#include "machine.h"
#include "offset.h"
#include <string.h>

typedef struct {
    const real *x;
    real *out;
    int64_t axes;
    const int64_t *shape, *strides;
} gather_arguments;

/* out[i0, ..., in] = x[i0 * strides[0] + ... + in * strides[n]], for the rows [begin, end) of out */
static void gather_rows(const void *arguments, int64_t begin, int64_t end)
{
    const gather_arguments a = *(const gather_arguments *)arguments;
    const int64_t last = a.axes - 1, C = a.shape[last], step = a.strides[last];
    for (int64_t r = begin; r < end; r++) {
        const real *row = a.x + offset(r, last, a.shape, a.strides);
        for (int64_t c = 0; c < C; c++)
            a.out[r * C + c] = row[c * step];
    }
}

static void gather(const real *x, real *out, int64_t axes, const int64_t *shape, const int64_t *strides)
{
    const gather_arguments a = {x, out, axes, shape, strides};
    tt_parallel_elements(gather_rows, &a, product(axes - 1, shape), shape[axes - 1]);
}

void tt_broadcast_to(const real *x, real *out, int64_t axes, const int64_t *shape, const int64_t *strides)
{
    gather(x, out, axes, shape, strides);
}

void tt_transpose(const real *x, real *out, int64_t axes, const int64_t *shape, const int64_t *strides)
{
    gather(x, out, axes, shape, strides);
}

typedef struct {
    const real *x;
    const int64_t *index;
    real *out;
    int64_t C;
} take_arguments;

static void take_rows(const void *arguments, int64_t begin, int64_t end)
{
    const take_arguments a = *(const take_arguments *)arguments;
    for (int64_t r = begin; r < end; r++)
        for (int64_t c = 0; c < a.C; c++)
            a.out[r * a.C + c] = a.x[a.index[r] * a.C + c];
}

void tt_take(const real *x, const int64_t *index, real *out, int64_t R, int64_t C)
{
    const take_arguments a = {x, index, out, C};
    tt_parallel_elements(take_rows, &a, R, C);
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
