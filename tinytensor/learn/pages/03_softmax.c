/* Softmax: from the outputs of ten neurons to ten probabilities.

       out[r][c] = exp(x[r][c]) / (exp(x[r][0]) + exp(x[r][1]) + ... + exp(x[r][C - 1]))

   exp(100) is too large for a float. The largest value of the row can be subtracted from the whole
   row first, because it cancels in the division. expf is the exponential of floats, and INFINITY is
   a constant of math.h.

       x, out   R x C floats */
#include <math.h>
#include <stdint.h>
#include <stdio.h>

void softmax(const float *x, float *out, int64_t R, int64_t C)
{
    /* solution */
    for (int64_t r = 0; r < R; r++, x += C, out += C) {
        float largest = -INFINITY, total = 0;
        for (int64_t c = 0; c < C; c++)
            if (x[c] > largest)
                largest = x[c];
        for (int64_t c = 0; c < C; c++) {
            out[c] = expf(x[c] - largest);
            total += out[c];
        }
        for (int64_t c = 0; c < C; c++)
            out[c] /= total;
    }
    /* end of solution */
}

#ifdef TRY /* cc -DTRY softmax.c -lm && ./a.out */
int main(void)
{
    const float x[] = {0, 0, 1000, 1000 + logf(3)};
    float out[4];
    softmax(x, out, 2, 2);
    printf("expected 0.5 0.5 0.25 0.75, got %.3g %.3g %.3g %.3g\n", out[0], out[1], out[2], out[3]);
}
#endif
