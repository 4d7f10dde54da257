/* normalize.c: batch normalisation, a matrix (R, C) column by column.

   The loops over rows run along memory; what belongs to a column waits in arrays of C numbers. Sums
   are kept in double, and are added up in one order whatever the number of threads. */
#include "kernels.h"
#include "machine.h"
#include <tgmath.h>

/* Two passes, for var's sake: squares of numbers far from zero would swallow their differences. */
void tt_moments(const real *x, real *mean, real *var, int64_t R, int64_t C)
{
    double *total = tt_scratch(2 * C * sizeof(double)), *squares = total + C;
    for (int64_t r = 0; r < R; r++)
        for (int64_t c = 0; c < C; c++)
            total[c] += x[r * C + c];
    for (int64_t c = 0; c < C; c++)
        mean[c] = total[c] /= R;
    for (int64_t r = 0; r < R; r++)
        for (int64_t c = 0; c < C; c++) {
            const double distance = x[r * C + c] - total[c];
            squares[c] += distance * distance;
        }
    for (int64_t c = 0; c < C; c++)
        var[c] = squares[c] / R;
}

typedef struct {
    const real *x, *mean, *var, *gamma, *beta, *grad, *grad_gamma, *grad_beta;
    real *out;
    double epsilon;
    int64_t R, C;
} normalize_arguments;

/* out = (x - mean) * factor + beta */
static void normalize_rows(const void *arguments, int64_t begin, int64_t end)
{
    const normalize_arguments a = *(const normalize_arguments *)arguments;
    real *factor = tt_scratch(a.C * sizeof(real));
    for (int64_t c = 0; c < a.C; c++)
        factor[c] = a.gamma[c] / sqrt(a.var[c] + (real)a.epsilon);
    for (int64_t r = begin; r < end; r++)
        for (int64_t c = 0; c < a.C; c++)
            a.out[r * a.C + c] = (a.x[r * a.C + c] - a.mean[c]) * factor[c] + a.beta[c];
}

void tt_normalize(const real *x, const real *mean, const real *var, const real *gamma, const real *beta, real *out, double epsilon, int64_t R, int64_t C)
{
    const normalize_arguments a = {.x = x, .mean = mean, .var = var, .gamma = gamma, .beta = beta, .out = out, .epsilon = epsilon, .R = R, .C = C};
    tt_parallel_numbers(normalize_rows, &a, R, C);
}

/* grad_x = gamma * scale * (grad - grad_beta / R - (x - mean) * scale * grad_gamma / R) */
static void batch_norm_backward_rows(const void *arguments, int64_t begin, int64_t end)
{
    const normalize_arguments a = *(const normalize_arguments *)arguments;
    real *factor = tt_scratch(3 * a.C * sizeof(real)), *slope = factor + a.C, *mean_grad = slope + a.C;
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

void tt_batch_norm_backward(const real *grad, const real *x, const real *mean, const real *var, const real *gamma, real *grad_x, real *grad_gamma, real *grad_beta, double epsilon, int64_t R, int64_t C)
{
    double *by_gamma = tt_scratch(2 * C * sizeof(double)), *by_beta = by_gamma + C;
    for (int64_t r = 0; r < R; r++)
        for (int64_t c = 0; c < C; c++) {
            by_gamma[c] += grad[r * C + c] * (x[r * C + c] - mean[c]);
            by_beta[c] += grad[r * C + c];
        }
    for (int64_t c = 0; c < C; c++) {
        grad_gamma[c] = by_gamma[c] / sqrt((double)var[c] + epsilon);
        grad_beta[c] = by_beta[c];
    }
    const normalize_arguments a = {.x = x, .mean = mean, .var = var, .gamma = gamma, .grad = grad, .grad_gamma = grad_gamma, .grad_beta = grad_beta, .out = grad_x, .epsilon = epsilon, .R = R, .C = C};
    tt_parallel_numbers(batch_norm_backward_rows, &a, R, C);
}
