/* normalize.c: normalisation of each column (batch norm) or each row (layer norm) of a matrix (R, C).

   The loops go row by row, as the matrix is stored, and the values of the columns are in arrays of C
   elements. Sums are computed in double. The rows are divided into stretches, whose sums are added in
   order. So threads can compute the stretches, and the bits do not depend on the number of threads.

   A stretch is added up in blocks of columns, because the sums of a block stay in registers. If they were
   in memory, each row would have to wait until the sums of the row before it have been written. */
#include "kernels.h"
#include "machine.h"
#include <string.h>
#include <tgmath.h>

typedef struct {
    const real *x, *mean, *var, *gamma, *beta, *grad, *grad_gamma, *grad_beta;
    real *out;
    double *sums; /* (stretches, 2, C) */
    double epsilon;
    int64_t R, C;
} normalize_arguments;

enum { STRETCH = 256 /* rows */, NARROW = 16 /* columns of a block */ };

static inline int64_t end_of_stretch(int64_t s, int64_t R)
{
    return (s + 1) * STRETCH < R ? (s + 1) * STRETCH : R;
}

/* Calls `sum` for all stretches, then adds up: sums[0][i] += sums[s][i], for i from first to last - 1 of
   the 2 * C sums of a stretch. */
static void add_up(tt_rows_function sum, const normalize_arguments *a, int64_t first, int64_t last)
{
    const int64_t stretches = (a->R + STRETCH - 1) / STRETCH;
    tt_parallel_elements(sum, a, stretches, STRETCH * a->C);
    for (int64_t s = 1; s < stretches; s++)
        for (int64_t i = first; i < last; i++)
            a->sums[i] += a->sums[s * 2 * a->C + i];
}

static double *zero_sums(int64_t R, int64_t C)
{
    return tt_zeroed_scratch((R / STRETCH + 1) * 2 * C * sizeof(double));
}

/* Calls `add` for all blocks of a stretch. The number of columns is a constant for most of them, so that
   the compiler can choose a register for each sum. */
static ALWAYS_INLINE void in_blocks(void add(int64_t columns, const normalize_arguments *a, int64_t s, int64_t first), const normalize_arguments *a, int64_t s)
{
    int64_t c = 0;
    for (; c + NARROW <= a->C; c += NARROW)
        add(NARROW, a, s, c);
    for (; c + NARROW / 2 <= a->C; c += NARROW / 2)
        add(NARROW / 2, a, s, c);
    if (c < a->C)
        add(a->C - c, a, s, c);
}

static ALWAYS_INLINE void add_x(int64_t columns, const normalize_arguments *a, int64_t s, int64_t first)
{
    double total[NARROW] = {0};
    for (int64_t r = s * STRETCH; r < end_of_stretch(s, a->R); r++)
        for (int64_t c = 0; c < columns; c++)
            total[c] += a->x[r * a->C + first + c];
    memcpy(a->sums + s * 2 * a->C + first, total, columns * sizeof(double));
}

static void sum_x(const void *arguments, int64_t begin, int64_t end)
{
    const normalize_arguments a = *(const normalize_arguments *)arguments;
    for (int64_t s = begin; s < end; s++)
        in_blocks(add_x, &a, s);
}

/* squares[c] = the sum of (x[r][c] - mean[c])^2; tt_moments has replaced the first sums of x by the means. */
static ALWAYS_INLINE void add_squares(int64_t columns, const normalize_arguments *a, int64_t s, int64_t first)
{
    double squares[NARROW] = {0}, mean[NARROW];
    memcpy(mean, a->sums + first, columns * sizeof(double));
    for (int64_t r = s * STRETCH; r < end_of_stretch(s, a->R); r++)
        for (int64_t c = 0; c < columns; c++) {
            const double distance = a->x[r * a->C + first + c] - mean[c];
            squares[c] += distance * distance;
        }
    memcpy(a->sums + s * 2 * a->C + a->C + first, squares, columns * sizeof(double));
}

static void sum_squares(const void *arguments, int64_t begin, int64_t end)
{
    const normalize_arguments a = *(const normalize_arguments *)arguments;
    for (int64_t s = begin; s < end; s++)
        in_blocks(add_squares, &a, s);
}

/* Two passes, because mean(x^2) - mean(x)^2 loses all digits if the mean is large. */
void tt_moments(const real *x, real *mean, real *var, int64_t R, int64_t C)
{
    const normalize_arguments a = {.x = x, .sums = zero_sums(R, C), .R = R, .C = C};
    if (!a.sums)
        return;
    add_up(sum_x, &a, 0, C);
    for (int64_t c = 0; c < C; c++)
        mean[c] = a.sums[c] /= R;
    add_up(sum_squares, &a, C, 2 * C);
    for (int64_t c = 0; c < C; c++)
        var[c] = a.sums[C + c] / R;
}

/* out[r][c] = (x[r][c] - mean[c]) * factor[c] + beta[c] with factor = gamma / sqrt(var + epsilon) */
static void normalize_rows(const void *arguments, int64_t begin, int64_t end)
{
    const normalize_arguments a = *(const normalize_arguments *)arguments;
    real *factor = tt_scratch(a.C * sizeof(real));
    if (!factor)
        return;
    for (int64_t c = 0; c < a.C; c++)
        factor[c] = a.gamma[c] / sqrt(a.var[c] + (real)a.epsilon);
    for (int64_t r = begin; r < end; r++)
        for (int64_t c = 0; c < a.C; c++)
            a.out[r * a.C + c] = (a.x[r * a.C + c] - a.mean[c]) * factor[c] + a.beta[c];
}

void tt_normalize(const real *x, const real *mean, const real *var, const real *gamma, const real *beta, real *out, double epsilon, int64_t R, int64_t C)
{
    const normalize_arguments a = {.x = x, .mean = mean, .var = var, .gamma = gamma, .beta = beta, .out = out, .epsilon = epsilon, .R = R, .C = C};
    tt_parallel_elements(normalize_rows, &a, R, C);
}

/* grad_x = gamma * scale * (grad - grad_beta / R - (x - mean) * scale * grad_gamma / R), with
   scale = 1 / sqrt(var + epsilon) */
static void batch_norm_backward_rows(const void *arguments, int64_t begin, int64_t end)
{
    const normalize_arguments a = *(const normalize_arguments *)arguments;
    real *factor = tt_scratch(3 * a.C * sizeof(real));
    if (!factor)
        return;
    real *slope = factor + a.C, *mean_grad = slope + a.C;
    for (int64_t c = 0; c < a.C; c++) {
        const real scale = 1 / sqrt(a.var[c] + (real)a.epsilon);
        factor[c] = a.gamma[c] * scale;
        slope[c] = scale * a.grad_gamma[c] / a.R;
        mean_grad[c] = a.grad_beta[c] / a.R;
    }
    for (int64_t r = begin; r < end; r++)
        for (int64_t c = 0; c < a.C; c++) {
            const int64_t i = r * a.C + c;
            a.out[i] = factor[c] * (a.grad[i] - mean_grad[c] - (a.x[i] - a.mean[c]) * slope[c]);
        }
}

static ALWAYS_INLINE void add_grads(int64_t columns, const normalize_arguments *a, int64_t s, int64_t first)
{
    double by_beta[NARROW] = {0}, by_gamma[NARROW] = {0};
    real mean[NARROW];
    memcpy(mean, a->mean + first, columns * sizeof(real));
    for (int64_t r = s * STRETCH; r < end_of_stretch(s, a->R); r++)
        for (int64_t c = 0; c < columns; c++) {
            const int64_t i = r * a->C + first + c;
            by_beta[c] += a->grad[i];
            by_gamma[c] += a->grad[i] * (a->x[i] - mean[c]);
        }
    double *sums = a->sums + s * 2 * a->C + first;
    memcpy(sums, by_beta, columns * sizeof(double));
    memcpy(sums + a->C, by_gamma, columns * sizeof(double));
}

static void sum_grads(const void *arguments, int64_t begin, int64_t end)
{
    const normalize_arguments a = *(const normalize_arguments *)arguments;
    for (int64_t s = begin; s < end; s++)
        in_blocks(add_grads, &a, s);
}

void tt_batch_norm_backward(const real *grad, const real *x, const real *mean, const real *var, const real *gamma, real *grad_x, real *grad_gamma, real *grad_beta, double epsilon, int64_t R, int64_t C)
{
    const normalize_arguments a = {
        .x = x, .mean = mean, .var = var, .gamma = gamma, .grad = grad, .grad_gamma = grad_gamma,
        .grad_beta = grad_beta, .out = grad_x, .sums = zero_sums(R, C), .epsilon = epsilon, .R = R, .C = C,
    };
    if (!a.sums)
        return;
    add_up(sum_grads, &a, 0, 2 * C);
    for (int64_t c = 0; c < C; c++) {
        grad_beta[c] = a.sums[c];
        grad_gamma[c] = R ? a.sums[C + c] / sqrt((double)var[c] + epsilon) : 0; /* var is NaN if R is 0 */
    }
    tt_parallel_elements(batch_norm_backward_rows, &a, R, C);
}

/* The mean of a row, and 1 / sqrt(variance + epsilon) */
static void row_moments(const real *x, int64_t C, double epsilon, real *mean, real *scale)
{
    double total = 0, squares = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t c = 0; c < C; c++)
        total += x[c];
    const double centre = total / C;
#pragma omp simd reduction(+ : squares)
    for (int64_t c = 0; c < C; c++)
        squares += (x[c] - centre) * (x[c] - centre);
    *mean = centre;
    *scale = 1 / sqrt(squares / C + epsilon);
}

static void layer_norm_rows(const void *arguments, int64_t begin, int64_t end)
{
    const normalize_arguments a = *(const normalize_arguments *)arguments;
    for (int64_t r = begin; r < end; r++) {
        const real *x = a.x + r * a.C;
        real *out = a.out + r * a.C, mean, scale;
        row_moments(x, a.C, a.epsilon, &mean, &scale);
        for (int64_t c = 0; c < a.C; c++)
            out[c] = (x[c] - mean) * scale * a.gamma[c] + a.beta[c];
    }
}

void tt_layer_norm(const real *x, const real *gamma, const real *beta, real *out, double epsilon, int64_t R, int64_t C)
{
    const normalize_arguments a = {.x = x, .gamma = gamma, .beta = beta, .out = out, .epsilon = epsilon, .R = R, .C = C};
    tt_parallel_elements(layer_norm_rows, &a, R, C);
}

/* With n = (x - mean) * scale and g = grad * gamma: grad_x = scale * (g - mean of g - n * mean of (g * n)).
   The sums for grad_beta and grad_gamma are added in the same pass. */
static void layer_norm_backward_stretches(const void *arguments, int64_t begin, int64_t end)
{
    const normalize_arguments a = *(const normalize_arguments *)arguments;
    for (int64_t s = begin; s < end; s++) {
        double *by_beta = a.sums + s * 2 * a.C, *by_gamma = by_beta + a.C;
        for (int64_t r = s * STRETCH; r < end_of_stretch(s, a.R); r++) {
            const real *x = a.x + r * a.C, *grad = a.grad + r * a.C;
            real *out = a.out + r * a.C, mean, scale;
            row_moments(x, a.C, a.epsilon, &mean, &scale);
            double sum_g = 0, sum_gn = 0;
#pragma omp simd reduction(+ : sum_g, sum_gn)
            for (int64_t c = 0; c < a.C; c++) {
                const real g = grad[c] * a.gamma[c];
                sum_g += g;
                sum_gn += g * ((x[c] - mean) * scale);
            }
            const real mean_g = sum_g / a.C, mean_gn = sum_gn / a.C;
            for (int64_t c = 0; c < a.C; c++) {
                const real n = (x[c] - mean) * scale;
                out[c] = scale * (grad[c] * a.gamma[c] - mean_g - n * mean_gn);
                by_beta[c] += grad[c];
                by_gamma[c] += grad[c] * n;
            }
        }
    }
}

void tt_layer_norm_backward(const real *grad, const real *x, const real *gamma, real *grad_x, real *grad_gamma, real *grad_beta, double epsilon, int64_t R, int64_t C)
{
    const normalize_arguments a = {
        .x = x, .gamma = gamma, .grad = grad, .out = grad_x, .sums = zero_sums(R, C), .epsilon = epsilon, .R = R, .C = C,
    };
    if (!a.sums)
        return;
    add_up(layer_norm_backward_stretches, &a, 0, 2 * C);
    for (int64_t c = 0; c < C; c++) {
        grad_beta[c] = a.sums[c];
        grad_gamma[c] = a.sums[C + c];
    }
}
