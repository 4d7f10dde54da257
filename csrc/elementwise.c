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

/* Dividing and rounding down may give the next whole number where the quotient is rounded up to it;
   without the remainder the division is exact. */
static inline real remainder_of(real x, real y)
{
    const real rest = fmod(x, y);
    if (rest == 0)
        return copysign(rest, y);
    return (rest < 0) != (y < 0) ? rest + y : rest;
}

static inline real rounded_down(real x, real y)
{
    if (y == 0)
        return x / y;
    const real rest = fmod(x, y);
    real quotient = (x - rest) / y;
    if (rest != 0 && (rest < 0) != (y < 0))
        quotient -= 1;
    return quotient == 0 ? copysign(0, x / y) : rint(quotient);
}

static inline real power(real x, real y) { return pow(x, y); }

/* A NaN is neither larger nor smaller, but wins. */
static inline real larger(real x, real y) { return x > y || x != x ? x : y; }
static inline real smaller(real x, real y) { return x < y || x != x ? x : y; }

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

void tt_floor_div(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    pairs(rounded_down, x, y, out, axes, shape, x_strides, y_strides);
}

void tt_mod(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    pairs(remainder_of, x, y, out, axes, shape, x_strides, y_strides);
}

void tt_pow(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    pairs(power, x, y, out, axes, shape, x_strides, y_strides);
}

void tt_maximum(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    pairs(larger, x, y, out, axes, shape, x_strides, y_strides);
}

void tt_minimum(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    pairs(smaller, x, y, out, axes, shape, x_strides, y_strides);
}

static inline uint8_t same(real x, real y) { return x == y; }
static inline uint8_t below(real x, real y) { return x < y; }
static inline uint8_t not_above(real x, real y) { return x <= y; }

/* pairs, for results of another type */
static ALWAYS_INLINE void compare(uint8_t f(real, real), const real *x, const real *y, uint8_t *out, int64_t axes,
                                  const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    const int64_t last = axes - 1, C = shape[last], R = product(last, shape);
    for (int64_t r = 0; r < R; r++, out += C) {
        const real *x_row = x + offset(r, last, shape, x_strides);
        const real *y_row = y + offset(r, last, shape, y_strides);
        for (int64_t c = 0; c < C; c++)
            out[c] = f(x_row[c * x_strides[last]], y_row[c * y_strides[last]]);
    }
}

void tt_equal(const real *x, const real *y, uint8_t *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    compare(same, x, y, out, axes, shape, x_strides, y_strides);
}

void tt_less(const real *x, const real *y, uint8_t *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    compare(below, x, y, out, axes, shape, x_strides, y_strides);
}

void tt_less_equal(const real *x, const real *y, uint8_t *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides)
{
    compare(not_above, x, y, out, axes, shape, x_strides, y_strides);
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

static inline real magnitude(real x) { return fabs(x); }
static inline real sign_of(real x) { return x > 0 ? 1 : x < 0 ? -1 : x == 0 ? 0 : x; }
static inline real square_root(real x) { return sqrt(x); }
static inline real exponential_less_1(real x) { return expm1(x); }
static inline real logarithm_of_1_plus(real x) { return log1p(x); }
static inline real sine(real x) { return sin(x); }
static inline real cosine(real x) { return cos(x); }
static inline real hyperbolic_tangent(real x) { return tanh(x); }
static inline real error_function(real x) { return erf(x); }
static inline real down(real x) { return floor(x); }
static inline real up(real x) { return ceil(x); }
static inline real nearest(real x) { return rint(x); }

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
void tt_abs(const real *x, real *out, int64_t n) { each(magnitude, x, out, n); }
void tt_sign(const real *x, real *out, int64_t n) { each(sign_of, x, out, n); }
void tt_sqrt(const real *x, real *out, int64_t n) { each(square_root, x, out, n); }
void tt_expm1(const real *x, real *out, int64_t n) { each(exponential_less_1, x, out, n); }
void tt_log1p(const real *x, real *out, int64_t n) { each(logarithm_of_1_plus, x, out, n); }
void tt_sin(const real *x, real *out, int64_t n) { each(sine, x, out, n); }
void tt_cos(const real *x, real *out, int64_t n) { each(cosine, x, out, n); }
void tt_tanh(const real *x, real *out, int64_t n) { each(hyperbolic_tangent, x, out, n); }
void tt_erf(const real *x, real *out, int64_t n) { each(error_function, x, out, n); }
void tt_floor(const real *x, real *out, int64_t n) { each(down, x, out, n); }
void tt_ceil(const real *x, real *out, int64_t n) { each(up, x, out, n); }
void tt_round(const real *x, real *out, int64_t n) { each(nearest, x, out, n); }

void tt_relu_backward(const real *grad, const real *x, real *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = x[i] > 0 ? grad[i] : 0;
}

void tt_where(const uint8_t *condition, const real *x, const real *y, real *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = condition[i] ? x[i] : y[i];
}
