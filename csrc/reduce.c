/* reduce.c: many numbers to one: their sum, the largest and the smallest, and where those are. */
#include "kernels.h"
#include "machine.h"
#include "offset.h"

enum { COLUMNS = 64 }; /* how many column sums run side by side */

/* The last axis is kept: its columns are summed side by side, down the reduced axes. */
static void sum_columns(const real *x, real *out, int64_t C, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides)
{
    const int64_t R = product(reduced_axes, reduced_shape);
    for (int64_t first = 0; first < C; first += COLUMNS) {
        const int64_t columns = C - first < COLUMNS ? C - first : COLUMNS;
        double total[COLUMNS] = {0};
        for (int64_t r = 0; r < R; r++) {
            const real *row = x + offset(r, reduced_axes, reduced_shape, reduced_strides) + first;
            for (int64_t c = 0; c < columns; c++)
                total[c] += row[c];
        }
        for (int64_t c = 0; c < columns; c++)
            out[first + c] = total[c];
    }
}

/* The last axis is reduced: one number comes of rows that lie in one piece. */
static real sum_rows(const real *x, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides)
{
    const int64_t last = reduced_axes - 1, C = reduced_shape[last], R = product(last, reduced_shape);
    double total = 0;
    for (int64_t r = 0; r < R; r++) {
        const real *row = x + offset(r, last, reduced_shape, reduced_strides);
#pragma omp simd reduction(+ : total)
        for (int64_t c = 0; c < C; c++)
            total += row[c];
    }
    return total;
}

/* Sums are kept in double, whatever `real` is: float alone loses a digit every few hundred terms. */
void tt_sum(const real *x, real *out, int64_t kept_axes, const int64_t *kept_shape, const int64_t *kept_strides, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides)
{
    const int64_t last = kept_axes - 1, C = kept_shape[last], R = product(last, kept_shape);
    for (int64_t r = 0; r < R; r++, out += C) {
        const real *row = x + offset(r, last, kept_shape, kept_strides);
        if (kept_strides[last] == 1)
            sum_columns(row, out, C, reduced_axes, reduced_shape, reduced_strides);
        else
            for (int64_t c = 0; c < C; c++)
                out[c] = sum_rows(row + c * kept_strides[last], reduced_axes, reduced_shape, reduced_strides);
    }
}

/* A NaN is neither larger nor smaller, but wins. */
static inline real largest_of(real x, real y) { return x > y || x != x ? x : y; }
static inline real smallest_of(real x, real y) { return x < y || x != x ? x : y; }

/* out = one of x over the reduced axes, chosen two by two; as in tt_sum, by columns or along rows */
static ALWAYS_INLINE void choose(real better(real, real), const real *x, real *out, int64_t kept_axes, const int64_t *kept_shape, const int64_t *kept_strides, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides)
{
    const int64_t last = kept_axes - 1, C = kept_shape[last], step = kept_strides[last];
    const int64_t R = product(last, kept_shape), terms = product(reduced_axes, reduced_shape);
    for (int64_t r = 0; r < R; r++, out += C) {
        const real *row = x + offset(r, last, kept_shape, kept_strides);
        for (int64_t c = 0; c < C; c++)
            out[c] = row[c * step];
        for (int64_t term = 1; term < terms; term++) {
            const real *next = row + offset(term, reduced_axes, reduced_shape, reduced_strides);
            for (int64_t c = 0; c < C; c++)
                out[c] = better(out[c], next[c * step]);
        }
    }
}

void tt_max(const real *x, real *out, int64_t kept_axes, const int64_t *kept_shape, const int64_t *kept_strides, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides)
{
    choose(largest_of, x, out, kept_axes, kept_shape, kept_strides, reduced_axes, reduced_shape, reduced_strides);
}

void tt_min(const real *x, real *out, int64_t kept_axes, const int64_t *kept_shape, const int64_t *kept_strides, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides)
{
    choose(smallest_of, x, out, kept_axes, kept_shape, kept_strides, reduced_axes, reduced_shape, reduced_strides);
}

/* The first of equals, and the first NaN before all: as NumPy has it. */
static inline int after(real best, real x) { return !(x <= best); }
static inline int before(real best, real x) { return !(x >= best); }

static ALWAYS_INLINE void find(int better(real, real), const real *x, int64_t *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, x += C) {
        int64_t best = 0;
        for (int64_t c = 1; c < C && x[best] == x[best]; c++)
            if (better(x[best], x[c]))
                best = c;
        out[r] = best;
    }
}

void tt_argmax(const real *x, int64_t *out, int64_t R, int64_t C) { find(after, x, out, R, C); }
void tt_argmin(const real *x, int64_t *out, int64_t R, int64_t C) { find(before, x, out, R, C); }

void tt_cumsum(const real *x, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, x += C, out += C) {
        double total = -0.0; /* -0 + x is x, also where x is -0 */
        for (int64_t c = 0; c < C; c++)
            out[c] = total += x[c];
    }
}
