/* elementwise.c: out[i] = f(x[i]) and out[i] = f(x[i], y[i]), with broadcasting.

   `unary` and `binary` contain the loops. A function of one line computes an element. The compiler
   inlines it into the loop (ALWAYS_INLINE), so each kernel has its own vectorised loop. The elements of
   large arrays are divided among threads. */
#include "kernels.h"
#include "exp.h"
#include "functions.h"
#include "machine.h"
#include "offset.h"
#include <tgmath.h>

static inline real plus(real x, real y) { return x + y; }
static inline real minus(real x, real y) { return x - y; }
static inline real times(real x, real y) { return x * y; }
static inline real over(real x, real y) { return x / y; }

/* floor(x / y) can be 1 too large, because x / y is rounded. (x - remainder) / y is exact, so the
   remainder is computed first. */
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

static inline real power(real x, real y) { return POW(x, y); }
static inline real first(real x, real y) { (void)y; return x; }
static inline real square(real x, real y) { (void)y; return x * x; }
static inline real cube(real x, real y) { (void)y; return x * x * x; }
static inline real inverse(real x, real y) { (void)y; return 1 / x; }
static inline real inverse_square(real x, real y) { (void)y; return (1 / x) * (1 / x); } /* x * x would overflow */
/* As pow(x, 0.5), unlike sqrt, for -0 and -infinity. */
static inline real root(real x, real y) { (void)y; return x == -INFINITY ? INFINITY : sqrt(x + 0); }
static inline real inverse_root(real x, real y) { return 1 / root(x, y); }

/* The result is NaN if x or y is NaN: x != x is true for a NaN, and x > NaN is false. */
static inline real larger(real x, real y) { return x > y || x != x ? x : y; }
static inline real smaller(real x, real y) { return x < y || x != x ? x : y; }

/* A NaN stays a NaN, because NaN < 0 is false. */
static inline real rectified(real x) { return x < 0 ? 0 : x; }

static inline real sum_rectified(real x, real y) { return rectified(x + y); }

/* The arguments of a kernel with two operands, which are broadcast. */
typedef struct {
    const real *x, *y;
    void *out; /* real *, or uint8_t * in a comparison */
    int64_t axes;
    const int64_t *shape, *x_strides, *y_strides;
} binary_arguments;

/* The number of elements from i to the end of its row (or to `end`); sets x and y to their operands. */
static inline int64_t row_segment(const binary_arguments *a, int64_t i, int64_t end, const real **x, const real **y)
{
    const int64_t last = a->axes - 1, C = a->shape[last], r = i / C, first = i % C;
    *x = a->x + offset(r, last, a->shape, a->x_strides) + first * a->x_strides[last];
    *y = a->y + offset(r, last, a->shape, a->y_strides) + first * a->y_strides[last];
    return C - first < end - i ? C - first : end - i;
}

/* out[i] = f(x[i], y[i]) for i from begin to end - 1. Along a row, the last axis, an operand has stride
   1 or 0. There is a loop for each case, because the compiler vectorises only constant strides. */
static ALWAYS_INLINE void binary(real f(real, real), const binary_arguments *a, int64_t begin, int64_t end)
{
    const int64_t x_step = a->x_strides[a->axes - 1], y_step = a->y_strides[a->axes - 1];
    for (int64_t i = begin, count; i < end; i += count) {
        const real *x, *y;
        count = row_segment(a, i, end, &x, &y);
        real *out = (real *)a->out + i;
        if (x_step && y_step)
            for (int64_t c = 0; c < count; c++)
                out[c] = f(x[c], y[c]);
        else if (x_step)
            for (int64_t c = 0; c < count; c++)
                out[c] = f(x[c], *y);
        else
            for (int64_t c = 0; c < count; c++)
                out[c] = f(*x, y[c]);
    }
}

/* binary, for x^y: the usual exponents, and those of their gradients, need no logarithm. */
static ALWAYS_INLINE void powers(real f(real, real), const binary_arguments *a, int64_t begin, int64_t end)
{
    int is_one = 1; /* exponent for all */
    for (int64_t axis = 0; axis < a->axes; axis++)
        is_one &= a->y_strides[axis] == 0;
    const real y = is_one && begin < end ? *a->y : 0;
    if (y == 1)
        binary(first, a, begin, end);
    else if (y == 2)
        binary(square, a, begin, end);
    else if (y == 3)
        binary(cube, a, begin, end);
    else if (y == -1)
        binary(inverse, a, begin, end);
    else if (y == -2)
        binary(inverse_square, a, begin, end);
    else if (y == (real)0.5)
        binary(root, a, begin, end);
    else if (y == (real)-0.5)
        binary(inverse_root, a, begin, end);
    else
        binary(f, a, begin, end);
}

enum {
    SHORT = 64,      /* elements; a loop over a shorter row takes longer to start than to run */
    LONG = 256,      /* elements of a repeated row */
    MANY = 16 * LONG /* elements; smaller arrays do not repay the time for the repeated row */
};

typedef struct {
    int64_t shape[2], whole[2], repeated[2]; /* the new shape, and the strides of the two operands */
    real row[LONG];
} long_rows;

/* If one operand is a short row that is broadcast to all rows of the other operand, such as a bias with
   few channels, this function repeats it until it is LONG and merges the same number of rows of the
   other operand into one. The last merged row may reach beyond the end, but the loop stops at `end`. */
static void repeat_short_row(binary_arguments *a, long_rows *rows)
{
    if (a->axes != 2 || a->shape[1] < 1 || a->shape[1] > SHORT || a->shape[0] * a->shape[1] < MANY)
        return;
    const int64_t C = a->shape[1], length = LONG / C * C;
    const int x_is_whole = a->x_strides[0] == C && a->x_strides[1], y_is_whole = a->y_strides[0] == C && a->y_strides[1];
    const int x_repeats = !a->x_strides[0] && a->x_strides[1], y_repeats = !a->y_strides[0] && a->y_strides[1];
    if (!(x_is_whole && y_repeats) && !(x_repeats && y_is_whole))
        return;
    for (int64_t c = 0; c < length; c++)
        rows->row[c] = (x_repeats ? a->x : a->y)[c % C];
    rows->shape[0] = (a->shape[0] * C + length - 1) / length, rows->shape[1] = length;
    rows->whole[0] = length, rows->whole[1] = 1;
    rows->repeated[0] = 0, rows->repeated[1] = 1;
    a->shape = rows->shape;
    a->x_strides = x_repeats ? rows->repeated : rows->whole;
    a->y_strides = y_repeats ? rows->repeated : rows->whole;
    *(x_repeats ? &a->x : &a->y) = rows->row;
}

/* Defines the kernel tt_name: out = f(x, y), with the given loop and type of out. */
#define BINARY(loop, type, name, f) \
    static void name##_elements(const void *arguments, int64_t begin, int64_t end) { loop(f, arguments, begin, end); } \
    void tt_##name(const real *x, const real *y, type *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides) \
    { \
        binary_arguments a = {x, y, out, axes, shape, x_strides, y_strides}; \
        long_rows rows; \
        repeat_short_row(&a, &rows); \
        tt_parallel_elements(name##_elements, &a, product(axes, shape), 1); \
    }

BINARY(binary, real, add, plus)
BINARY(binary, real, sub, minus)
BINARY(binary, real, mul, times)
BINARY(binary, real, div, over)
BINARY(binary, real, floor_div, rounded_down)
BINARY(binary, real, mod, remainder_of)
BINARY(powers, real, pow, power)
BINARY(binary, real, maximum, larger)
BINARY(binary, real, minimum, smaller)
BINARY(binary, real, add_relu, sum_rectified)

static inline uint8_t same(real x, real y) { return x == y; }
static inline uint8_t below(real x, real y) { return x < y; }
static inline uint8_t not_above(real x, real y) { return x <= y; }

/* binary, for results of another type */
static ALWAYS_INLINE void compare(uint8_t f(real, real), const binary_arguments *a, int64_t begin, int64_t end)
{
    const int64_t x_step = a->x_strides[a->axes - 1], y_step = a->y_strides[a->axes - 1];
    for (int64_t i = begin, count; i < end; i += count) {
        const real *x, *y;
        count = row_segment(a, i, end, &x, &y);
        uint8_t *out = (uint8_t *)a->out + i;
        for (int64_t c = 0; c < count; c++)
            out[c] = f(x[c * x_step], y[c * y_step]);
    }
}

BINARY(compare, uint8_t, equal, same)
BINARY(compare, uint8_t, less, below)
BINARY(compare, uint8_t, less_equal, not_above)

static inline real negative(real x) { return -x; }
static inline real exponential(real x) { return EXP(x); }
static inline real logarithm(real x) { return LOG(x); }

/* 1 / (1 + e^-x), computed from e^-|x|, because e^-x overflows for large negative x. In float the error is at
   most 3 units in the last place. */
static inline real logistic(real x)
{
    const real e = EXP(-fabs(x));
    return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

static inline real magnitude(real x) { return fabs(x); }
static inline real sign_of(real x) { return x > 0 ? 1 : x < 0 ? -1 : x == 0 ? 0 : x; }
static inline real square_root(real x) { return sqrt(x); }
static inline real exponential_less_1(real x) { return EXPM1(x); }
static inline real logarithm_of_1_plus(real x) { return LOG1P(x); }
static inline real hyperbolic_tangent(real x) { return TANH(x); }
static inline real error_function(real x) { return ERF(x); }
static inline real gaussian_error_unit(real x) { return GELU(x); }
static inline real sigmoid_unit(real x) { return SILU(x); }
static inline real smooth_rectified(real x) { return SOFTPLUS(x); }
static inline real down(real x) { return floor(x); }
static inline real up(real x) { return ceil(x); }
static inline real nearest(real x) { return rint(x); }

/* The arguments of a kernel whose arrays all have the same shape. */
typedef struct {
    const uint8_t *condition;
    const real *x, *y;
    real *out;
} unary_arguments;

static ALWAYS_INLINE void unary(real f(real), const unary_arguments *a, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++)
        a->out[i] = f(a->x[i]);
}

/* Defines the kernel tt_name: out = f(x). */
#define UNARY(name, f) \
    static void name##_elements(const void *arguments, int64_t begin, int64_t end) { unary(f, arguments, begin, end); } \
    void tt_##name(const real *x, real *out, int64_t n) \
    { \
        const unary_arguments a = {.x = x, .out = out}; \
        tt_parallel_elements(name##_elements, &a, n, 1); \
    }

UNARY(neg, negative)
UNARY(exp, exponential)
UNARY(log, logarithm)
UNARY(relu, rectified)
UNARY(sigmoid, logistic)
UNARY(abs, magnitude)
UNARY(sign, sign_of)
UNARY(sqrt, square_root)
UNARY(expm1, exponential_less_1)
UNARY(log1p, logarithm_of_1_plus)
UNARY(tanh, hyperbolic_tangent)
UNARY(erf, error_function)
UNARY(gelu, gaussian_error_unit)
UNARY(silu, sigmoid_unit)
UNARY(softplus, smooth_rectified)
UNARY(floor, down)
UNARY(ceil, up)
UNARY(round, nearest)

/* sin x and cos x = sin(x + pi / 2). A block with a number for which sin_of_quarters is not exact, or
   any block of doubles, is computed by the C library. */
enum { SINES = 256 }; /* in a block */

static ALWAYS_INLINE void sines(const unary_arguments *a, int64_t begin, int64_t end, int64_t quarters)
{
    for (int64_t first = begin, last; first < end; first = last) {
        last = end - first < SINES ? end : first + SINES;
        int near = sizeof(real) == sizeof(float);
        for (int64_t i = first; i < last; i++)
            near &= fabs(a->x[i]) < FAR;
        if (near)
            for (int64_t i = first; i < last; i++)
                a->out[i] = sin_of_quarters(a->x[i], quarters);
        else
            for (int64_t i = first; i < last; i++)
                a->out[i] = quarters ? cos(a->x[i]) : sin(a->x[i]);
    }
}

static void sin_elements(const void *arguments, int64_t begin, int64_t end) { sines(arguments, begin, end, 0); }
static void cos_elements(const void *arguments, int64_t begin, int64_t end) { sines(arguments, begin, end, 1); }

void tt_sin(const real *x, real *out, int64_t n)
{
    const unary_arguments a = {.x = x, .out = out};
    tt_parallel_elements(sin_elements, &a, n, 1);
}

void tt_cos(const real *x, real *out, int64_t n)
{
    const unary_arguments a = {.x = x, .out = out};
    tt_parallel_elements(cos_elements, &a, n, 1);
}

/* Gradients: out = grad * the slope of a function at x. */

static inline real gelu_gradient(real grad, real x) { return grad * GELU_SLOPE(x); }

/* s (1 + x (1 - s)), with s = sigmoid(x) and 1 - s = sigmoid(-x). x is limited, because infinity * 0 is NaN. */
static inline real silu_gradient(real grad, real x)
{
    const real y = x < -800 ? -800 : x > 800 ? 800 : x, s = logistic(y);
    return grad * (s + y * s * logistic(-y));
}

static inline real softplus_gradient(real grad, real x) { return grad * logistic(x); }

/* grad is an argument, and so always read: a loop without a branch is vectorised. */
static inline real relu_gradient(real grad, real x) { return x > 0 ? grad : 0; }

static ALWAYS_INLINE void backward(real f(real, real), const unary_arguments *a, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++)
        a->out[i] = f(a->x[i], a->y[i]);
}

/* Defines the kernel tt_name: out = f(grad, x). */
#define BACKWARD(name, f) \
    static void name##_elements(const void *arguments, int64_t begin, int64_t end) { backward(f, arguments, begin, end); } \
    void tt_##name(const real *grad, const real *x, real *out, int64_t n) \
    { \
        const unary_arguments a = {.x = grad, .y = x, .out = out}; \
        tt_parallel_elements(name##_elements, &a, n, 1); \
    }

BACKWARD(relu_backward, relu_gradient)
BACKWARD(gelu_backward, gelu_gradient)
BACKWARD(silu_backward, silu_gradient)
BACKWARD(softplus_backward, softplus_gradient)

static void where_elements(const void *arguments, int64_t begin, int64_t end)
{
    const unary_arguments a = *(const unary_arguments *)arguments;
    for (int64_t i = begin; i < end; i++) {
        const real x = a.x[i], y = a.y[i]; /* always read, because a loop without a branch is vectorised */
        a.out[i] = a.condition[i] ? x : y;
    }
}

void tt_where(const uint8_t *condition, const real *x, const real *y, real *out, int64_t n)
{
    const unary_arguments a = {condition, x, y, out};
    tt_parallel_elements(where_elements, &a, n, 1);
}
