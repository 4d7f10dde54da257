/* softmax.c: from scores to probabilities, and the loss on top of them.

   A row's largest score is subtracted before exp: the result is the same, and nothing overflows.
   A NaN or +inf in a row makes the whole row NaN, as the formula says. Sums are kept in double. */
#include "kernels.h"
#include "exp.h"
#include "machine.h"
#include <tgmath.h>

static inline real largest(const real *x, int64_t C)
{
    real m = x[0];
    for (int64_t c = 1; c < C; c++)
        m = x[c] > m ? x[c] : m;
    return m;
}

/* sum over c of e^(x_c - m): exp for a few at a time, where it is vectorised, then the sum */
static inline double sum_exp(const real *x, real m, int64_t C)
{
    enum { SOME = 64 };
    real e[SOME];
    double total = 0;
    for (int64_t first = 0; first < C; first += SOME) {
        const int64_t some = C - first < SOME ? C - first : SOME;
        for (int64_t c = 0; c < some; c++)
            e[c] = EXP(x[first + c] - m);
        for (int64_t c = 0; c < some; c++)
            total += e[c];
    }
    return total;
}

/* out_c = e^(x_c - m) / sum, m the row's largest */
static void softmax_row(const real *x, real *out, int64_t C)
{
    const real m = largest(x, C);
    double total = 0;
    for (int64_t c = 0; c < C; c++)
        out[c] = EXP(x[c] - m);
    for (int64_t c = 0; c < C; c++)
        total += out[c];
    const real sum = total;
    for (int64_t c = 0; c < C; c++)
        out[c] /= sum;
}

void tt_softmax(const real *x, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R && C; r++)
        softmax_row(x + r * C, out + r * C, C);
}

/* out = probs * (grad - sum of grad * probs) */
void tt_softmax_backward(const real *grad, const real *probs, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, grad += C, probs += C, out += C) {
        double dot = 0;
        for (int64_t c = 0; c < C; c++)
            dot += grad[c] * probs[c];
        for (int64_t c = 0; c < C; c++)
            out[c] = probs[c] * (grad[c] - (real)dot);
    }
}

/* out_c = x_c - m - log(sum) */
void tt_log_softmax(const real *x, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R && C; r++, x += C, out += C) {
        const real m = largest(x, C), log_sum = log(sum_exp(x, m, C));
        for (int64_t c = 0; c < C; c++)
            out[c] = x[c] - m - log_sum;
    }
}

/* out = grad - e^log_probs * sum of grad */
void tt_log_softmax_backward(const real *grad, const real *log_probs, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, grad += C, log_probs += C, out += C) {
        double total = 0;
        for (int64_t c = 0; c < C; c++)
            total += grad[c];
        for (int64_t c = 0; c < C; c++)
            out[c] = grad[c] - EXP(log_probs[c]) * (real)total;
    }
}

/* out = mean over the rows of log(sum) + m - logits_label */
void tt_cross_entropy(const real *logits, const int64_t *labels, real *out, int64_t R, int64_t C)
{
    double total = 0;
    for (int64_t r = 0; r < R; r++, logits += C) {
        const real m = largest(logits, C);
        total += log(sum_exp(logits, m, C)) + (m - logits[labels[r]]);
    }
    *out = total / R;
}

/* out = (softmax(logits) - one_hot(labels)) * grad / R */
void tt_cross_entropy_backward(const real *grad, const real *logits, const int64_t *labels, real *out, int64_t R, int64_t C)
{
    const real scale = *grad / R;
    for (int64_t r = 0; r < R; r++, logits += C, out += C) {
        softmax_row(logits, out, C);
        out[labels[r]] -= 1;
        for (int64_t c = 0; c < C; c++)
            out[c] *= scale;
    }
}

void tt_one_hot(const int64_t *labels, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, out += C)
        for (int64_t c = 0; c < C; c++)
            out[c] = c == labels[r];
}
