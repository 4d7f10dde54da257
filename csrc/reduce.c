/* reduce.c: sum, max and min over axes; argmax, argmin and cumsum along rows. */
#include "kernels.h"
#include "machine.h"
#include "offset.h"
#include <string.h>

/* The kept axes of x are the axes of out. If the last axis of x is kept, it is the columns of out and the
   other kept axes are the rows; if not, all kept axes are rows and columns is 1. */
typedef struct {
    const real *x;
    real *out;
    int64_t row_axes, columns;
    const int64_t *kept_shape, *kept_strides;
    int64_t reduced_axes, terms;
    const int64_t *reduced_shape, *reduced_strides;
    int64_t stretch, stretches; /* a sum has `stretches` partial sums of `stretch` terms each */
    double *partial;            /* (rows, stretches, columns), if there are several stretches */
} reduction;

/* Sums are computed in double, because a sum in float loses a decimal digit after about 300 terms.

   A long sum is divided into stretches, whose partial sums are added in order. So threads can compute
   the stretches, and the bits of the sum do not depend on the number of threads. */
enum {
    COLUMNS = 1024,        /* sums that are computed at the same time, in the L1 cache */
    FEW_COLUMNS = 64,      /* columns; the sums of rows this short are kept in registers */
    MIN_TERMS = 256,       /* terms in a stretch */
    MIN_ELEMENTS = 1 << 14 /* elements in a stretch, over all columns */
};

enum { DOUBLES = VECTOR_BYTES / 8, CHAINS = 4 }; /* doubles in a register; sums that do not wait for each other */
typedef double doubles __attribute__((vector_size(DOUBLES * sizeof(double))));
typedef real reals __attribute__((vector_size(DOUBLES * sizeof(real))));

static ALWAYS_INLINE doubles load_doubles(const real *x)
{
    reals loaded;
    memcpy(&loaded, x, sizeof loaded);
    return __builtin_convertvector(loaded, doubles);
}

/* x[0] + x[step] + ... for n elements */
static double sum_steps(const real *x, int64_t step, int64_t n)
{
    double total[CHAINS] = {0};
    int64_t i = 0;
    for (; i + CHAINS <= n; i += CHAINS)
        for (int chain = 0; chain < CHAINS; chain++)
            total[chain] += x[(i + chain) * step];
    for (; i < n; i++)
        total[0] += x[i * step];
    return (total[0] + total[1]) + (total[2] + total[3]);
}

/* x[0] + x[1] + ... for n elements */
static double sum_of(const real *x, int64_t n)
{
    doubles chains[CHAINS] = {0};
    int64_t i = 0;
    for (; i + CHAINS * DOUBLES <= n; i += CHAINS * DOUBLES)
        UNROLL for (int chain = 0; chain < CHAINS; chain++)
            chains[chain] += load_doubles(x + i + chain * DOUBLES);
    for (; i + DOUBLES <= n; i += DOUBLES)
        chains[0] += load_doubles(x + i);
    const doubles total = (chains[0] + chains[1]) + (chains[2] + chains[3]);
    double sum = 0;
    for (int lane = 0; lane < DOUBLES; lane++)
        sum += total[lane];
    for (; i < n; i++)
        sum += x[i];
    return sum;
}

/* The sums of `vectors` * DOUBLES columns, in registers: total[c] = x[c] + x[step + c] + ... for n rows */
static ALWAYS_INLINE void sum_in_registers(const real *x, int64_t step, int64_t n, double *total, int vectors)
{
    doubles sums[CHAINS] = {0};
    for (int64_t row = 0; row < n; row++)
        UNROLL for (int v = 0; v < vectors; v++)
            sums[v] += load_doubles(x + row * step + v * DOUBLES);
    memcpy(total, sums, vectors * sizeof(doubles));
}

/* The last axis is kept, and its rows are short and `step` elements apart. If the columns don't fill CHAINS
   registers, each addition would wait for the one before. So CHAINS rows are added as one longer row. */
static void sum_few_columns(const real *x, int64_t step, int64_t n, double *total, int64_t columns)
{
    if (columns < CHAINS * DOUBLES && step == columns && n >= CHAINS) {
        double longer[CHAINS * CHAINS * DOUBLES];
        const int64_t rows = n / CHAINS, row = CHAINS * columns;
        sum_few_columns(x, row, rows, longer, row);
        sum_few_columns(x + rows * row, step, n % CHAINS, total, columns);
        for (int64_t i = 0; i < row; i++)
            total[i % columns] += longer[i];
        return;
    }
    int64_t c = 0;
    for (; c + CHAINS * DOUBLES <= columns; c += CHAINS * DOUBLES)
        sum_in_registers(x + c, step, n, total + c, CHAINS);
    for (; c + 2 * DOUBLES <= columns; c += 2 * DOUBLES)
        sum_in_registers(x + c, step, n, total + c, 2);
    if (columns < DOUBLES)
        for (; c < columns; c++)
            total[c] = sum_steps(x + c, step, n);
    for (; c < columns; c += DOUBLES) { /* the last columns, and perhaps some before them again */
        c = c + DOUBLES < columns ? c : columns - DOUBLES;
        sum_in_registers(x + c, step, n, total + c, 1);
    }
}

/* The last axis is kept: total[c] += x[term][c]. Four terms are added at a time, because the totals are
   read and written each time. */
static void add_columns(const reduction *a, const real *x, double *total, int64_t columns, int64_t begin, int64_t end)
{
    int64_t term = begin;
    for (; term + 4 <= end; term += 4) {
        const real *row[4];
        for (int i = 0; i < 4; i++)
            row[i] = x + offset(term + i, a->reduced_axes, a->reduced_shape, a->reduced_strides);
        for (int64_t c = 0; c < columns; c++)
            total[c] += ((double)row[0][c] + row[1][c]) + ((double)row[2][c] + row[3][c]);
    }
    for (; term < end; term++) {
        const real *row = x + offset(term, a->reduced_axes, a->reduced_shape, a->reduced_strides);
        for (int64_t c = 0; c < columns; c++)
            total[c] += row[c];
    }
}

/* The last axis is reduced: the terms are contiguous pieces of memory. */
static double sum_along(const reduction *a, const real *x, int64_t begin, int64_t end)
{
    const int64_t last = a->reduced_axes - 1, C = a->reduced_shape[last];
    double total = 0;
    for (int64_t term = begin, count; term < end; term += count) {
        const int64_t first = term % C;
        count = C - first < end - term ? C - first : end - term;
        total += sum_of(x + offset(term / C, last, a->reduced_shape, a->reduced_strides) + first, count);
    }
    return total;
}

static void sum_stretches(const void *arguments, int64_t begin, int64_t end)
{
    const reduction *a = arguments;
    for (int64_t i = begin; i < end; i++) {
        const real *x = a->x + offset(i / a->stretches, a->row_axes, a->kept_shape, a->kept_strides);
        const int64_t from = i % a->stretches * a->stretch;
        const int64_t to = from + a->stretch < a->terms ? from + a->stretch : a->terms;
        for (int64_t first = 0; first < a->columns; first += COLUMNS) {
            const int64_t count = a->columns - first < COLUMNS ? a->columns - first : COLUMNS;
            double total[COLUMNS];
            if (a->columns == 1)
                total[0] = sum_along(a, x, from, to);
            else if (a->columns <= FEW_COLUMNS && a->reduced_axes == 1)
                sum_few_columns(x + from * a->reduced_strides[0], a->reduced_strides[0], to - from, total, count);
            else {
                memset(total, 0, count * sizeof *total);
                add_columns(a, x + first, total, count, from, to);
            }
            for (int64_t c = 0; c < count; c++)
                if (a->partial)
                    a->partial[i * a->columns + first + c] = total[c];
                else
                    a->out[i * a->columns + first + c] = total[c];
        }
    }
}

/* The sum of each row of a matrix with short rows */
static void sum_rows(const void *arguments, int64_t begin, int64_t end)
{
    const reduction *a = arguments;
    for (int64_t r = begin; r < end; r++)
        a->out[r] = sum_of(a->x + r * a->terms, a->terms);
}

void tt_sum(const real *x, real *out, int64_t kept_axes, const int64_t *kept_shape, const int64_t *kept_strides, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides)
{
    const int64_t last = kept_axes - 1;
    const int by_columns = kept_strides[last] == 1;
    reduction a = {
        .x = x, .out = out, .columns = by_columns ? kept_shape[last] : 1,
        .row_axes = by_columns ? last : kept_axes, .kept_shape = kept_shape, .kept_strides = kept_strides,
        .reduced_axes = reduced_axes, .terms = product(reduced_axes, reduced_shape),
        .reduced_shape = reduced_shape, .reduced_strides = reduced_strides,
    };
    const int64_t rows = product(a.row_axes, kept_shape);
    a.stretch = a.columns ? MIN_ELEMENTS / a.columns : 0;
    a.stretch = a.stretch < MIN_TERMS ? MIN_TERMS : a.stretch;
    a.stretches = a.terms > a.stretch ? (a.terms + a.stretch - 1) / a.stretch : 1;
    if (!by_columns && kept_axes == 1 && reduced_axes == 1 && a.stretches == 1) {
        tt_parallel_elements(sum_rows, &a, rows, a.terms);
        return;
    }
    if (a.stretches > 1) {
        a.partial = tt_scratch(rows * a.stretches * a.columns * sizeof(double));
        if (!a.partial)
            return;
    }
    const int64_t terms = a.stretches > 1 ? a.stretch : a.terms;
    tt_parallel_elements(sum_stretches, &a, rows * a.stretches, terms * a.columns);
    for (int64_t r = 0; r < rows && a.partial; r++)
        for (int64_t c = 0; c < a.columns; c++) {
            double total = 0;
            for (int64_t s = 0; s < a.stretches; s++)
                total += a.partial[(r * a.stretches + s) * a.columns + c];
            out[r * a.columns + c] = total;
        }
}

/* The result is NaN if x or y is NaN: x != x is true for a NaN, and x > NaN is false. */
static inline real largest_of(real x, real y) { return x > y || x != x ? x : y; }
static inline real smallest_of(real x, real y) { return x < y || x != x ? x : y; }

/* out[i] = better(better(x[0][i], x[1][i]), ...) over the terms, for i from begin to end - 1 */
static ALWAYS_INLINE void choose(real better(real, real), const reduction *a, int64_t begin, int64_t end)
{
    const int64_t C = a->columns, step = a->kept_strides[a->row_axes];
    for (int64_t i = begin, count; i < end; i += count) {
        const int64_t first = i % C;
        count = C - first < end - i ? C - first : end - i;
        const real *row = a->x + offset(i / C, a->row_axes, a->kept_shape, a->kept_strides) + first * step;
        real *out = a->out + i;
        for (int64_t c = 0; c < count; c++)
            out[c] = row[c * step];
        for (int64_t term = 1; term < a->terms; term++) {
            const real *next = row + offset(term, a->reduced_axes, a->reduced_shape, a->reduced_strides);
            for (int64_t c = 0; c < count; c++)
                out[c] = better(out[c], next[c * step]);
        }
    }
}

/* Defines the kernel tt_name, a reduction with the function `better` of two elements. */
#define CHOOSE(name, better) \
    static void name##_elements(const void *arguments, int64_t begin, int64_t end) { choose(better, arguments, begin, end); } \
    void tt_##name(const real *x, real *out, int64_t kept_axes, const int64_t *kept_shape, const int64_t *kept_strides, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides) \
    { \
        const reduction a = { \
            .x = x, .out = out, .columns = kept_shape[kept_axes - 1], \
            .row_axes = kept_axes - 1, .kept_shape = kept_shape, .kept_strides = kept_strides, \
            .reduced_axes = reduced_axes, .terms = product(reduced_axes, reduced_shape), \
            .reduced_shape = reduced_shape, .reduced_strides = reduced_strides, \
        }; \
        tt_parallel_elements(name##_elements, &a, product(kept_axes, kept_shape), a.terms); \
    }

CHOOSE(max, largest_of)
CHOOSE(min, smallest_of)

typedef struct {
    const real *x;
    void *out; /* int64_t *, or real * in cumsum */
    int64_t C;
} row_arguments;

/* True if x replaces the best element so far: not if they are equal, but if x is NaN, as in NumPy. */
static inline int after(real best, real x) { return !(x <= best); }
static inline int before(real best, real x) { return !(x >= best); }

static ALWAYS_INLINE void find(int better(real, real), const row_arguments *a, int64_t begin, int64_t end)
{
    for (int64_t r = begin; r < end; r++) {
        const real *x = a->x + r * a->C;
        int64_t best = 0;
        for (int64_t c = 1; c < a->C && x[best] == x[best]; c++)
            if (better(x[best], x[c]))
                best = c;
        ((int64_t *)a->out)[r] = best;
    }
}

/* Defines the kernel tt_name, which finds the column of the best element of each row. */
#define FIND(name, better) \
    static void name##_rows(const void *arguments, int64_t begin, int64_t end) { find(better, arguments, begin, end); } \
    void tt_##name(const real *x, int64_t *out, int64_t R, int64_t C) \
    { \
        const row_arguments a = {x, out, C}; \
        tt_parallel_elements(name##_rows, &a, R, C); \
    }

FIND(argmax, after)
FIND(argmin, before)

static void cumsum_rows(const void *arguments, int64_t begin, int64_t end)
{
    const row_arguments a = *(const row_arguments *)arguments;
    for (int64_t r = begin; r < end; r++) {
        double total = -0.0; /* because -0.0 + x is x for all x, while 0.0 + -0.0 is 0.0 */
        for (int64_t i = r * a.C; i < (r + 1) * a.C; i++)
            ((real *)a.out)[i] = total += a.x[i];
    }
}

void tt_cumsum(const real *x, real *out, int64_t R, int64_t C)
{
    const row_arguments a = {x, out, C};
    tt_parallel_elements(cumsum_rows, &a, R, C);
}
