/* ladder_softmax.c: out = e^(x - m) / sum, m a row's largest, from the naive version up to softmax.c.

       naive        each step for the whole matrix, with the C library's exp
       vectorised   exp in plain arithmetic (exp.h), which the compiler makes vectors of
       abreast      comparisons and additions of a row side by side, not one after the other
       blocked      all steps for a few rows, which stay in the nearest cache meanwhile
       threaded     the rows are shared among threads: softmax.c

   build.py compiles this behind softmax.c, whose functions for rows are used here. */
#include "ladder.h"
#include "exp.h"
#include "machine.h"
#include <tgmath.h>

/* Three steps, each for the whole matrix, as one would write them with NumPy. Nearly all the time is
   exp's: the C library's takes one number a call. */
SCALAR static void softmax_naive(const real *x, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++) {
        real m = -INFINITY;
        for (int64_t c = 0; c < C; c++)
            m = larger_of(x[r * C + c], m);
        for (int64_t c = 0; c < C; c++)
            out[r * C + c] = x[r * C + c] - m;
    }
    for (int64_t i = 0; i < R * C; i++)
        out[i] = exp(out[i]);
    for (int64_t r = 0; r < R; r++) {
        double sum = 0;
        for (int64_t c = 0; c < C; c++)
            sum += out[r * C + c];
        for (int64_t c = 0; c < C; c++)
            out[r * C + c] /= (real)sum;
    }
}

/* The same three steps with the exp of exp.h: it has no call, no table and no branch, so the compiler
   makes vectors of the loop round it, and of those that subtract and divide. It must not change the
   order of a sum, and leaves that one number after the other. */
static void softmax_vectorised(const real *x, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++) {
        real m = -INFINITY;
        for (int64_t c = 0; c < C; c++)
            m = larger_of(x[r * C + c], m);
        for (int64_t c = 0; c < C; c++)
            out[r * C + c] = x[r * C + c] - m;
    }
    for (int64_t i = 0; i < R * C; i++)
        out[i] = EXP_BELOW_0(out[i]);
    for (int64_t r = 0; r < R; r++) {
        double sum = 0;
        for (int64_t c = 0; c < C; c++)
            sum += out[r * C + c];
        for (int64_t c = 0; c < C; c++)
            out[r * C + c] /= (real)sum;
    }
}

/* What was left is waiting: each comparison for the one before, and so each addition. Side by side
   they don't. We may change the order of a sum, which the compiler may not: for the comparisons see
   softmax.c, for the sum we tell it that it may. And one division is made for a row instead of C. */
static void softmax_abreast(const real *x, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R && C; r++) {
        const real m = largest(x + r * C, C);
        for (int64_t c = 0; c < C; c++)
            out[r * C + c] = x[r * C + c] - m;
    }
    for (int64_t i = 0; i < R * C; i++)
        out[i] = EXP_BELOW_0(out[i]);
    for (int64_t r = 0; r < R; r++) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < C; c++)
            sum += out[r * C + c];
        const real factor = 1 / sum;
        for (int64_t c = 0; c < C; c++)
            out[r * C + c] *= factor;
    }
}

/* Now the caches count: a large matrix went through them for each step. Here a long row, or several
   short ones, BLOCK numbers or so, go through all steps before the next, and the nearest cache has
   them from the first step on. Several, because ten classes alone would leave vectors half empty. */
static void softmax_blocked(const real *x, real *out, int64_t R, int64_t C)
{
    for (int64_t r = 0, rows; r < R && C; r += rows) {
        rows = rows_at_once(R - r, C);
        softmax_abreast(x + r * C, out + r * C, rows, C);
    }
}

void tt_softmax_naive(const real *x, real *out, int64_t R, int64_t C)
{
    softmax_naive(x, out, R, C);
}

void tt_softmax_vectorised(const real *x, real *out, int64_t R, int64_t C)
{
    softmax_vectorised(x, out, R, C);
}

void tt_softmax_abreast(const real *x, real *out, int64_t R, int64_t C)
{
    softmax_abreast(x, out, R, C);
}

void tt_softmax_blocked(const real *x, real *out, int64_t R, int64_t C)
{
    softmax_blocked(x, out, R, C);
}
