/* ladder_softmax.c: out = e^(x - m) / sum, where m is the largest element of a row, from the naive
   version to softmax.c.

       naive        each step for the whole matrix, with the exp of the C library
       vectorised   exp in plain arithmetic (exp.h), which the compiler vectorises
       abreast      several independent comparisons and additions at the same time
       blocked      all steps for a block of rows, which stays in the L1 cache
       threaded     the rows are divided among threads: softmax.c

   build.py compiles this file after softmax.c, because it uses functions of softmax.c. */
#include "ladder.h"
#include "exp.h"
#include "machine.h"
#include <tgmath.h>

/* Three steps, each for the whole matrix, as in NumPy. exp takes nearly all of the time, because the exp
   of the C library computes one element per call. */
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

/* The same three steps with the exp of exp.h. It has no call, no table and no branch, so the compiler
   vectorises the loop around it, and the loops that subtract and divide. It does not vectorise the sum,
   because it must not change the order of floating-point additions. */
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

/* In the previous rung each comparison and each addition waits for the one before it. Here several are
   independent of each other ("abreast"). `largest` in softmax.c does this for the comparisons, and the
   pragma allows the compiler to reorder the sum. A row needs one division instead of C. */
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

/* In the previous rung each step loads a large matrix from memory again. Here a long row, or several
   short rows of together at most BLOCK elements, go through all steps before the next rows, so they are
   in the L1 cache after the first step. Several rows, because one row of 10 classes would not fill the
   vectors. */
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
