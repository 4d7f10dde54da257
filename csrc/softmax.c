/* softmax.c: softmax, log_softmax and cross_entropy of rows of scores (logits), and their gradients.

   The largest score of a row is subtracted before exp. The result is the same, and exp does not
   overflow. A NaN or +inf in a row makes the whole row NaN, as in the formula. Sums are computed in
   double. */
#include "kernels.h"
#include "exp.h"
#include "machine.h"
#include <tgmath.h>

enum {
    ABREAST = 32, /* independent comparisons in a long row */
    BLOCK = 512,  /* elements of several short rows for one loop of exp */
};

typedef struct {
    const real *x, *y, *grad;
    real *out;
    int64_t R, C;
} softmax_arguments;

static inline real larger_of(real x, real y) { return x > y ? x : y; }

/* The largest element of a row. Each comparison would wait for the previous one, so ABREAST independent
   maxima are computed in vectors and compared at the end. */
static inline real largest(const real *x, int64_t C)
{
    real m = x[0];
    int64_t c = 0;
    if (C >= ABREAST) {
        real side[ABREAST];
        memcpy(side, x, sizeof side);
        for (c = ABREAST; c + ABREAST <= C; c += ABREAST)
            for (int s = 0; s < ABREAST; s++)
                side[s] = larger_of(x[c + s], side[s]);
        for (int s = 0; s < ABREAST; s++)
            m = larger_of(side[s], m);
    }
    for (; c < C; c++)
        m = larger_of(x[c], m);
    return m;
}

/* e[c] = exp(x[c] - m); returns the sum of e[c] */
static inline double exp_row(const real *x, real m, real *e, int64_t C)
{
    double total = 0;
    for (int64_t c = 0; c < C; c++)
        e[c] = EXP_BELOW_0(x[c] - m);
#pragma omp simd reduction(+ : total)
    for (int64_t c = 0; c < C; c++)
        total += e[c];
    return total;
}

/* m[r] = max over c of x[r][c], e[r][c] = exp(x[r][c] - m[r]), total[r] = the sum over c of e[r][c], for
   several short rows in one loop, because a short row alone would not fill the vectors of exp */
static ALWAYS_INLINE void exp_rows_of(const real *x, real *m, real *e, double *total, int64_t rows, int64_t C)
{
    for (int64_t r = 0; r < rows; r++) {
        m[r] = largest(x + r * C, C);
        for (int64_t c = 0; c < C; c++)
            e[r * C + c] = x[r * C + c] - m[r];
    }
    for (int64_t i = 0; i < rows * C; i++)
        e[i] = EXP_BELOW_0(e[i]);
    for (int64_t r = 0; r < rows; r++) {
        total[r] = 0;
        for (int64_t c = 0; c < C; c++)
            total[r] += e[r * C + c];
    }
}

/* For 10 classes, the most common number here, the compiler makes loops of constant length. A function
   for many rows need not be inlined, and its callers would each compile it again. */
static __attribute__((noinline)) void exp_rows(const real *x, real *m, real *e, double *total, int64_t rows, int64_t C)
{
    if (C == 10)
        exp_rows_of(x, m, e, total, rows, 10);
    else
        exp_rows_of(x, m, e, total, rows, C);
}

/* True if rows are so short that several are computed together. The last row of a share may be alone,
   but it is computed in the same way, so that its bits do not depend on the number of threads. */
static inline int is_short(int64_t C) { return C < BLOCK / 2; }

/* The number of rows that are computed together; `left` rows are left. */
static inline int64_t rows_at_once(int64_t left, int64_t C)
{
    const int64_t rows = is_short(C) ? BLOCK / C : 1;
    return rows < left ? rows : left;
}

/* e[r][c] /= total[r] */
static inline void divide_rows(real *e, const double *total, int64_t rows, int64_t C)
{
    for (int64_t r = 0; r < rows; r++, e += C) {
        const real factor = 1 / total[r];
        for (int64_t c = 0; c < C; c++)
            e[c] *= factor;
    }
}

/* out[r][c] = exp(x[r][c] - m[r]) / total[r] */
static void softmax_rows(const void *arguments, int64_t begin, int64_t end)
{
    const softmax_arguments a = *(const softmax_arguments *)arguments;
    real m[BLOCK];
    double total[BLOCK];
    for (int64_t r = begin, rows; r < end && a.C; r += rows) {
        rows = rows_at_once(end - r, a.C);
        const real *x = a.x + r * a.C;
        real *out = a.out + r * a.C;
        if (is_short(a.C))
            exp_rows(x, m, out, total, rows, a.C);
        else
            total[0] = exp_row(x, largest(x, a.C), out, a.C);
        divide_rows(out, total, rows, a.C);
    }
}

void tt_softmax(const real *x, real *out, int64_t R, int64_t C)
{
    const softmax_arguments a = {.x = x, .out = out, .R = R, .C = C};
    tt_parallel_elements(softmax_rows, &a, R, C);
}

/* out[r][c] = probs[r][c] * (grad[r][c] - the sum over c of grad[r][c] * probs[r][c]) */
static void softmax_backward_rows(const void *arguments, int64_t begin, int64_t end)
{
    const softmax_arguments a = *(const softmax_arguments *)arguments;
    for (int64_t r = begin; r < end; r++) {
        const real *grad = a.grad + r * a.C, *probs = a.y + r * a.C;
        double dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t c = 0; c < a.C; c++)
            dot += grad[c] * probs[c];
        for (int64_t c = 0; c < a.C; c++)
            a.out[r * a.C + c] = probs[c] * (grad[c] - (real)dot);
    }
}

void tt_softmax_backward(const real *grad, const real *probs, real *out, int64_t R, int64_t C)
{
    const softmax_arguments a = {.grad = grad, .y = probs, .out = out, .R = R, .C = C};
    tt_parallel_elements(softmax_backward_rows, &a, R, C);
}

/* out[r][c] = x[r][c] - m[r] - log(total[r]) */
static void log_softmax_rows(const void *arguments, int64_t begin, int64_t end)
{
    const softmax_arguments a = *(const softmax_arguments *)arguments;
    for (int64_t r = begin; r < end && a.C; r++) {
        const real *x = a.x + r * a.C, m = largest(x, a.C);
        real *out = a.out + r * a.C;
        const real log_sum = log(exp_row(x, m, out, a.C));
        for (int64_t c = 0; c < a.C; c++)
            out[c] = x[c] - m - log_sum;
    }
}

void tt_log_softmax(const real *x, real *out, int64_t R, int64_t C)
{
    const softmax_arguments a = {.x = x, .out = out, .R = R, .C = C};
    tt_parallel_elements(log_softmax_rows, &a, R, C);
}

/* out[r][c] = grad[r][c] - exp(log_probs[r][c]) * the sum over c of grad[r][c] */
static void log_softmax_backward_rows(const void *arguments, int64_t begin, int64_t end)
{
    const softmax_arguments a = *(const softmax_arguments *)arguments;
    for (int64_t r = begin; r < end; r++) {
        const real *grad = a.grad + r * a.C, *log_probs = a.y + r * a.C;
        double total = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t c = 0; c < a.C; c++)
            total += grad[c];
        for (int64_t c = 0; c < a.C; c++)
            a.out[r * a.C + c] = grad[c] - EXP(log_probs[c]) * (real)total;
    }
}

void tt_log_softmax_backward(const real *grad, const real *log_probs, real *out, int64_t R, int64_t C)
{
    const softmax_arguments a = {.grad = grad, .y = log_probs, .out = out, .R = R, .C = C};
    tt_parallel_elements(log_softmax_backward_rows, &a, R, C);
}

/* cross_entropy: with
       target[r][c] = weight[c] * ((1 - smoothing) * (c == labels[r]) + smoothing / C), or 0 if labels[r] is -1,
       loss[r] = the sum over c of target[r][c] * -log_softmax(logits)[r][c]
   A stride of 0 means a scalar: one weight for all classes, the sum of all losses, one gradient. */
typedef struct {
    const real *logits, *weight, *grad;
    const int64_t *labels;
    real *loss, *grad_logits; /* 0 if it is not computed */
    double *sums;
    double smoothing;
    int64_t R, C, weight_stride, loss_stride, grad_stride;
} cross_entropy_arguments;

/* The rows whose losses are added with one logarithm: log(a) + log(b) + ... = log(a * b * ...). A
   logarithm takes longer than 16 multiplications, and a product of 16 totals does not overflow in
   double. */
enum { LOGS = 16 };

/* loss[r] for a row whose largest logit is m, and total = the sum over c of exp(logits[r][c] - m) */
static inline double loss_of_row(const cross_entropy_arguments *a, int64_t r, real m, double total)
{
    const int64_t label = a->labels[r], stride = a->weight_stride;
    if (label < 0)
        return 0;
    const real *x = a->logits + r * a->C;
    const double log_total = log(total);
    double loss = (1 - a->smoothing) * a->weight[label * stride] * (log_total + (m - x[label]));
    if (a->smoothing > 0) {
        double spread = 0;
        for (int64_t c = 0; c < a->C; c++)
            spread += a->weight[c * stride] * (log_total + (m - x[c]));
        loss += a->smoothing / a->C * spread;
    }
    return loss;
}

/* Rows whose losses are log(total[row]) + m[row] - x[row][label]: adds to the sum, and multiplies the
   product by total[row] instead of adding its logarithm. */
static inline void add_rows(const cross_entropy_arguments *a, int64_t r, int64_t rows, const real *m, const double *total, double *sum, double *product)
{
    const real *x = a->logits + r * a->C;
    const int64_t *labels = a->labels + r;
    double added = *sum, multiplied = *product;
    for (int64_t row = 0; row < rows; row++, x += a->C)
        if (labels[row] >= 0) {
            multiplied *= total[row];
            added += m[row] - x[labels[row]];
        }
    *sum = added;
    *product = multiplied;
}

/* p[c] = (p[c] * the sum over c of target[r][c] - target[r][c]) * grad[r], where p contains probabilities */
static inline void gradient_of_row(const cross_entropy_arguments *a, int64_t r, real *p)
{
    const int64_t label = a->labels[r], stride = a->weight_stride;
    const real hit = (1 - a->smoothing) * a->weight[label * stride], grad = a->grad[r * a->grad_stride];
    if (a->smoothing > 0) {
        const real spread = a->smoothing / a->C;
        double weights = 0;
        for (int64_t c = 0; c < a->C; c++)
            weights += a->weight[c * stride];
        const real total = hit + spread * weights;
        for (int64_t c = 0; c < a->C; c++)
            p[c] = p[c] * total - spread * a->weight[c * stride];
        p[label] -= hit;
        for (int64_t c = 0; c < a->C; c++)
            p[c] *= grad;
    } else {
        p[label] -= 1;
        for (int64_t c = 0; c < a->C; c++)
            p[c] *= hit * grad;
    }
}

/* The gradients of rows, where grad_logits contains the probabilities and is still in the L1 cache */
static __attribute__((noinline)) void probs_to_gradient(const cross_entropy_arguments *a, int64_t r, int64_t rows)
{
    real *p = a->grad_logits + r * a->C;
    const int64_t *labels = a->labels + r, C = a->C;
    int64_t all = 0; /* below 0 if one of the labels is */
    if (a->weight_stride || a->grad_stride || a->smoothing > 0) {
        for (int64_t i = 0; i < rows; i++) {
            all |= labels[i];
            if (labels[i] >= 0)
                gradient_of_row(a, r + i, p + i * C);
        }
    } else { /* the same factor for all rows */
        for (int64_t i = 0; i < rows; i++) {
            all |= labels[i];
            p[i * C + (labels[i] < 0 ? 0 : labels[i])] -= 1;
        }
        const real factor = *a->weight * *a->grad;
        for (int64_t i = 0; i < rows * C; i++)
            p[i] *= factor;
    }
    if (all < 0)
        for (int64_t i = 0; i < rows; i++)
            if (labels[i] < 0)
                memset(p + i * C, 0, C * sizeof(real));
}

/* sums[i] = the sum over LOGS rows r of loss[r]; or these losses themselves. If grad_logits is not 0,
   also the gradient, from the same exponentials. */
static void cross_entropy_rows(const void *arguments, int64_t begin, int64_t end)
{
    const cross_entropy_arguments a = *(const cross_entropy_arguments *)arguments;
    const int is_plain = !a.weight_stride && !a.loss_stride && !(a.smoothing > 0);
    real block[BLOCK], m[BLOCK];
    double total[BLOCK];
    for (int64_t i = begin; i < end; i++) {
        const int64_t last = (i + 1) * LOGS < a.R ? (i + 1) * LOGS : a.R;
        double sum = 0, product = 1;
        for (int64_t r = i * LOGS, rows; r < last; r += rows) {
            rows = rows_at_once(last - r, a.C);
            const real *x = a.logits + r * a.C;
            real *e = a.grad_logits ? a.grad_logits + r * a.C : block;
            if (is_short(a.C))
                exp_rows(x, m, e, total, rows, a.C);
            else if (a.grad_logits) {
                m[0] = largest(x, a.C);
                total[0] = exp_row(x, m[0], e, a.C);
            } else {
                m[0] = largest(x, a.C);
                total[0] = 0;
                for (int64_t c = 0; c < a.C; c += BLOCK)
                    total[0] += exp_row(x + c, m[0], e, a.C - c < BLOCK ? a.C - c : BLOCK);
            }
            if (is_plain)
                add_rows(&a, r, rows, m, total, &sum, &product);
            else
                for (int64_t row = 0; row < rows; row++) {
                    const double loss = loss_of_row(&a, r + row, m[row], total[row]);
                    if (a.loss_stride)
                        a.loss[r + row] = loss;
                    sum += loss;
                }
            if (a.grad_logits) {
                divide_rows(e, total, rows, a.C);
                probs_to_gradient(&a, r, rows);
            }
        }
        a.sums[i] = is_plain ? (sum + log(product)) * *a.weight : sum;
    }
}

static void compute_losses(cross_entropy_arguments a)
{
    const int64_t count = (a.R + LOGS - 1) / LOGS;
    a.sums = tt_scratch(count * sizeof(double));
    if (!a.sums)
        return;
    tt_parallel_elements(cross_entropy_rows, &a, count, LOGS * a.C);
    if (a.loss_stride)
        return;
    double total = 0;
    for (int64_t i = 0; i < count; i++)
        total += a.sums[i];
    *a.loss = total;
}

void tt_cross_entropy(const real *logits, const int64_t *labels, const real *weight, real *out, double smoothing, int64_t R, int64_t C, int64_t weight_stride, int64_t loss_stride)
{
    compute_losses((cross_entropy_arguments){.logits = logits, .labels = labels, .weight = weight, .loss = out, .smoothing = smoothing, .R = R, .C = C, .weight_stride = weight_stride, .loss_stride = loss_stride});
}

void tt_cross_entropy_and_grad(const real *grad, const real *logits, const int64_t *labels, const real *weight, real *out, real *grad_logits, double smoothing, int64_t R, int64_t C, int64_t weight_stride, int64_t loss_stride)
{
    compute_losses((cross_entropy_arguments){.grad = grad, .logits = logits, .labels = labels, .weight = weight, .loss = out, .grad_logits = grad_logits, .smoothing = smoothing, .R = R, .C = C, .weight_stride = weight_stride, .loss_stride = loss_stride, .grad_stride = loss_stride});
}

/* The gradient of loss[r] * grad[r] */
static void cross_entropy_backward_rows(const void *arguments, int64_t begin, int64_t end)
{
    const cross_entropy_arguments a = *(const cross_entropy_arguments *)arguments;
    const softmax_arguments softmax = {.x = a.logits, .out = a.grad_logits, .R = a.R, .C = a.C};
    for (int64_t r = begin, rows; r < end; r += rows) {
        rows = rows_at_once(end - r, a.C);
        softmax_rows(&softmax, r, r + rows);
        probs_to_gradient(&a, r, rows);
    }
}

void tt_cross_entropy_backward(const real *grad, const real *logits, const int64_t *labels, const real *weight, real *out, double smoothing, int64_t R, int64_t C, int64_t grad_stride, int64_t weight_stride)
{
    const cross_entropy_arguments a = {.grad = grad, .logits = logits, .labels = labels, .weight = weight, .grad_logits = out, .smoothing = smoothing, .R = R, .C = C, .grad_stride = grad_stride, .weight_stride = weight_stride};
    tt_parallel_elements(cross_entropy_backward_rows, &a, R, C);
}

void tt_one_hot(const int64_t *labels, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, out += C)
        for (int64_t c = 0; c < C; c++)
            out[c] = c == labels[r];
}
