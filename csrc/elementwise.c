/* elementwise.c: one number in, one number out, for every element.

   `pairs` and `each` hold the loops, once; the functions of one line say what is computed. They
   are taken into the loop by the compiler (ALWAYS_INLINE), so every kernel is its own fast loop. */
#include "kernels.h"
#include "exp.h"
#include "machine.h"
#include "offset.h"
#include <tgmath.h>

static inline real plus(real x, real y) { return x + y; }
static inline real minus(real x, real y) { return x - y; }
static inline real times(real x, real y) { return x * y; }
static inline real over(real x, real y) { return x / y; }

/* out = f(x, y), broadcast. A row is the last axis; on it an operand moves along (stride 1) or
   stays (stride 0), and only then is the loop plain enough to be vectorised. */
static ALWAYS_INLINE void pairs(real f(real, real), const real *x, const real *y, real *out, int64_t axes,
                                const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    const int64_t last = axes - 1, C = shape[last], R = product(last, shape);
    for (int64_t r = 0; r < R; r++, out += C) {
        const real *x_row = x + offset(r, last, shape, x_strides);
        const real *y_row = y + offset(r, last, shape, y_strides);
        if (x_strides[last] && y_strides[last])
            for (int64_t c = 0; c < C; c++)
                out[c] = f(x_row[c], y_row[c]);
        else if (x_strides[last])
            for (int64_t c = 0; c < C; c++)
                out[c] = f(x_row[c], *y_row);
        else
            for (int64_t c = 0; c < C; c++)
                out[c] = f(*x_row, y_row[c]);
    }
}

void tt_add(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    pairs(plus, x, y, out, axes, shape, x_strides, y_strides);
}

void tt_sub(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    pairs(minus, x, y, out, axes, shape, x_strides, y_strides);
}

void tt_mul(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    pairs(times, x, y, out, axes, shape, x_strides, y_strides);
}

void tt_div(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    pairs(over, x, y, out, axes, shape, x_strides, y_strides);
}

static inline real negative(real x) { return -x; }
static inline real exponential(real x) { return EXP(x); }
static inline real logarithm(real x) { return log(x); }

/* Written so that a NaN, which is not below zero, stays. */
static inline real rectified(real x) { return x < 0 ? 0 : x; }

/* 1 / (1 + e^-x), but never e of a positive number: that would overflow. */
static inline real logistic(real x)
{
    const real e = EXP(-fabs(x));
    return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

static ALWAYS_INLINE void each(real f(real), const real *x, real *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = f(x[i]);
}

void tt_neg(const real *x, real *out, int64_t n) { each(negative, x, out, n); }
void tt_exp(const real *x, real *out, int64_t n) { each(exponential, x, out, n); }
void tt_log(const real *x, real *out, int64_t n) { each(logarithm, x, out, n); }
void tt_relu(const real *x, real *out, int64_t n) { each(rectified, x, out, n); }
void tt_sigmoid(const real *x, real *out, int64_t n) { each(logistic, x, out, n); }

void tt_relu_backward(const real *grad, const real *x, real *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = x[i] > 0 ? grad[i] : 0;
}
