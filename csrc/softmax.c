/* softmax.c: from scores to probabilities, and the loss on top of them.

   A row's largest score is subtracted before exp: the result is the same, and nothing overflows.
   A NaN or +inf in a row makes the whole row NaN, as the formula says. Sums are kept in double. */
#include "kernels.h"
#include "exp.h"
#include "machine.h"
#include <tgmath.h>

enum { BLOCK = 512 }; /* numbers whose exp is taken at once */

static inline real largest(const real *x, int64_t C)
{
    real m = x[0];
    for (int64_t c = 1; c < C; c++)
        m = x[c] > m ? x[c] : m;
    return m;
}

/* sum over c of e^(x_c - m) of a long row: exp for a part at a time, then its sum */
static double sum_exp(const real *x, real m, int64_t C)
{
    real e[BLOCK];
    double total = 0;
    for (int64_t first = 0; first < C; first += BLOCK) {
        const int64_t some = C - first < BLOCK ? C - first : BLOCK;
        for (int64_t c = 0; c < some; c++)
            e[c] = EXP(x[first + c] - m);
        for (int64_t c = 0; c < some; c++)
            total += e[c];
    }
    return total;
}

/* Short rows leave the vectors of exp half empty: so it is taken of several rows at once.
   m_r = the largest of row r, e_rc = e^(x_rc - m_r) */
static inline void exp_rows(const real *x, real *m, real *e, int64_t rows, int64_t C)
{
    for (int64_t r = 0; r < rows; r++) {
        m[r] = largest(x + r * C, C);
        for (int64_t c = 0; c < C; c++)
            e[r * C + c] = x[r * C + c] - m[r];
    }
    for (int64_t i = 0; i < rows * C; i++)
        e[i] = EXP(e[i]);
}

/* How many of the rows left are taken at once. */
static inline int64_t rows_at_once(int64_t left, int64_t C)
{
    const int64_t rows = C < BLOCK ? BLOCK / C : 1;
    return rows < left ? rows : left;
}

/* out = e^(x - m) / sum, m the row's largest */
void tt_softmax(const real *x, real *out, int64_t R, int64_t C)
{
    real m[BLOCK];
    for (int64_t r = 0, rows; r < R && C; r += rows) {
        rows = rows_at_once(R - r, C);
        exp_rows(x + r * C, m, out + r * C, rows, C);
        for (real *row = out + r * C; row < out + (r + rows) * C; row += C) {
            double total = 0;
            for (int64_t c = 0; c < C; c++)
                total += row[c];
            const real sum = total;
            for (int64_t c = 0; c < C; c++)
                row[c] /= sum;
        }
    }
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
        const real m = largest(x, C), sum = sum_exp(x, m, C), log_sum = log(sum);
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
    real m[BLOCK], e[BLOCK];
    double total = 0;
    for (int64_t r = 0, rows; r < R; r += rows) {
        rows = rows_at_once(R - r, C);
        const real *x = logits + r * C;
        if (C <= BLOCK)
            exp_rows(x, m, e, rows, C);
        for (int64_t i = 0; i < rows; i++, x += C) {
            double row_total = 0;
            for (int64_t c = 0; c < C && C <= BLOCK; c++)
                row_total += e[i * C + c];
            if (C > BLOCK)
                row_total = sum_exp(x, m[i] = largest(x, C), C);
            const real sum = row_total;
            total += log(sum) + (m[i] - x[labels[r + i]]);
        }
    }
    *out = total / R;
}

/* out = (softmax(logits) - one_hot(labels)) * grad / R */
void tt_cross_entropy_backward(const real *grad, const real *logits, const int64_t *labels, real *out, int64_t R, int64_t C)
{
    const real scale = *grad / R;
    tt_softmax(logits, out, R, C);
    for (int64_t r = 0; r < R; r++)
        out[r * C + labels[r]] -= 1;
    for (int64_t i = 0; i < R * C; i++)
        out[i] *= scale;
}

void tt_one_hot(const int64_t *labels, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, out += C)
        for (int64_t c = 0; c < C; c++)
            out[c] = c == labels[r];
}
