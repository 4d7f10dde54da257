/* elementwise.c: one number in, one number out, for every element.

   `pairs` and `each` hold the loops, once; the functions of one line say what is computed. They
   are taken into the loop by the compiler (ALWAYS_INLINE), so every kernel is its own fast loop.
   The numbers of large arrays are shared among the threads. */
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

/* Written so that a NaN, which is not below zero, stays. */
static inline real rectified(real x) { return x < 0 ? 0 : x; }

static inline real sum_rectified(real x, real y) { return rectified(x + y); }

/* Operands and result of a kernel of two arrays, broadcast. */
typedef struct {
    const real *x, *y;
    void *out; /* of real or, from a comparison, of uint8_t */
    int64_t axes;
    const int64_t *shape, *x_strides, *y_strides;
} pairs_arguments;

/* How many of out's numbers [i, end) are left in i's row, and where x and y have those for them. */
static inline int64_t piece_of_row(const pairs_arguments *a, int64_t i, int64_t end, const real **x, const real **y)
{
    const int64_t last = a->axes - 1, C = a->shape[last], r = i / C, first = i % C;
    *x = a->x + offset(r, last, a->shape, a->x_strides) + first * a->x_strides[last];
    *y = a->y + offset(r, last, a->shape, a->y_strides) + first * a->y_strides[last];
    return C - first < end - i ? C - first : end - i;
}

/* The numbers [begin, end) of out = f(x, y). A row is the last axis; on it an operand moves along
   (stride 1) or stays (stride 0), and only then is the loop plain enough to be vectorised. */
static ALWAYS_INLINE void pairs(real f(real, real), const pairs_arguments *a, int64_t begin, int64_t end)
{
    const int64_t x_step = a->x_strides[a->axes - 1], y_step = a->y_strides[a->axes - 1];
    for (int64_t i = begin, some; i < end; i += some) {
        const real *x, *y;
        some = piece_of_row(a, i, end, &x, &y);
        real *out = (real *)a->out + i;
        if (x_step && y_step)
            for (int64_t c = 0; c < some; c++)
                out[c] = f(x[c], y[c]);
        else if (x_step)
            for (int64_t c = 0; c < some; c++)
                out[c] = f(x[c], *y);
        else
            for (int64_t c = 0; c < some; c++)
                out[c] = f(*x, y[c]);
    }
}

enum {
    SHORT = 64,      /* numbers in a row, whose loop is hardly worth entering */
    LONG = 256,      /* is */
    MANY = 16 * LONG /* numbers in all: so many repay the making of a long row */
};

typedef struct {
    int64_t shape[2], whole[2], repeated[2]; /* sizes and strides */
    real row[LONG];
} long_rows;

/* A short row that every row of the other operand meets, such as the bias of a few channels, is
   repeated until it is long, and as many rows are taken for one. The last of those may be beyond the
   end, where nobody looks. */
static void lengthen(pairs_arguments *a, long_rows *rows)
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

/* Defines the kernel tt_name, which `loop` computes: out, of `number`s, = f(x, y). */
#define OF_TWO(loop, number, name, f) \
    static void name##_numbers(const void *arguments, int64_t begin, int64_t end) { loop(f, arguments, begin, end); } \
    void tt_##name(const real *x, const real *y, number *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides) \
    { \
        pairs_arguments a = {x, y, out, axes, shape, x_strides, y_strides}; \
        long_rows rows; \
        lengthen(&a, &rows); \
        tt_parallel_numbers(name##_numbers, &a, product(axes, shape), 1); \
    }

OF_TWO(pairs, real, add, plus)
OF_TWO(pairs, real, sub, minus)
OF_TWO(pairs, real, mul, times)
OF_TWO(pairs, real, div, over)
OF_TWO(pairs, real, floor_div, rounded_down)
OF_TWO(pairs, real, mod, remainder_of)
OF_TWO(pairs, real, pow, power)
OF_TWO(pairs, real, maximum, larger)
OF_TWO(pairs, real, minimum, smaller)
OF_TWO(pairs, real, add_relu, sum_rectified)

static inline uint8_t same(real x, real y) { return x == y; }
static inline uint8_t below(real x, real y) { return x < y; }
static inline uint8_t not_above(real x, real y) { return x <= y; }

/* pairs, for results of another type */
static ALWAYS_INLINE void compare(uint8_t f(real, real), const pairs_arguments *a, int64_t begin, int64_t end)
{
    const int64_t x_step = a->x_strides[a->axes - 1], y_step = a->y_strides[a->axes - 1];
    for (int64_t i = begin, some; i < end; i += some) {
        const real *x, *y;
        some = piece_of_row(a, i, end, &x, &y);
        uint8_t *out = (uint8_t *)a->out + i;
        for (int64_t c = 0; c < some; c++)
            out[c] = f(x[c * x_step], y[c * y_step]);
    }
}

OF_TWO(compare, uint8_t, equal, same)
OF_TWO(compare, uint8_t, less, below)
OF_TWO(compare, uint8_t, less_equal, not_above)

static inline real negative(real x) { return -x; }
static inline real exponential(real x) { return EXP(x); }
static inline real logarithm(real x) { return log(x); }

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

/* Operands and result of a kernel whose arrays have all the same shape. */
typedef struct {
    const uint8_t *condition;
    const real *x, *y;
    real *out;
} each_arguments;

static ALWAYS_INLINE void each(real f(real), const each_arguments *a, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++)
        a->out[i] = f(a->x[i]);
}

/* Defines the kernel tt_name: out = f(x). */
#define EACH(name, f) \
    static void name##_numbers(const void *arguments, int64_t begin, int64_t end) { each(f, arguments, begin, end); } \
    void tt_##name(const real *x, real *out, int64_t n) \
    { \
        const each_arguments a = {.x = x, .out = out}; \
        tt_parallel_numbers(name##_numbers, &a, n, 1); \
    }

EACH(neg, negative)
EACH(exp, exponential)
EACH(log, logarithm)
EACH(relu, rectified)
EACH(sigmoid, logistic)
EACH(abs, magnitude)
EACH(sign, sign_of)
EACH(sqrt, square_root)
EACH(expm1, exponential_less_1)
EACH(log1p, logarithm_of_1_plus)
EACH(sin, sine)
EACH(cos, cosine)
EACH(tanh, hyperbolic_tangent)
EACH(erf, error_function)
EACH(floor, down)
EACH(ceil, up)
EACH(round, nearest)

static void relu_backward_numbers(const void *arguments, int64_t begin, int64_t end)
{
    const each_arguments a = *(const each_arguments *)arguments;
    for (int64_t i = begin; i < end; i++) {
        const real grad = a.x[i]; /* read in any case: without a branch the loop is vectorised */
        a.out[i] = a.y[i] > 0 ? grad : 0;
    }
}

void tt_relu_backward(const real *grad, const real *x, real *out, int64_t n)
{
    const each_arguments a = {.x = grad, .y = x, .out = out};
    tt_parallel_numbers(relu_backward_numbers, &a, n, 1);
}

static void where_numbers(const void *arguments, int64_t begin, int64_t end)
{
    const each_arguments a = *(const each_arguments *)arguments;
    for (int64_t i = begin; i < end; i++) {
        const real x = a.x[i], y = a.y[i]; /* as above */
        a.out[i] = a.condition[i] ? x : y;
    }
}

void tt_where(const uint8_t *condition, const real *x, const real *y, real *out, int64_t n)
{
    const each_arguments a = {condition, x, y, out};
    tt_parallel_numbers(where_numbers, &a, n, 1);
}
