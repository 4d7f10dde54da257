/* Cross-entropy: how far the probabilities are from the right answers; and its gradient.

       out[r] = m + log(exp(x[r][0] - m) + exp(x[r][1] - m) + ...) - x[r][labels[r]]
       grad[r][c] = p[r][c] - (1 if c == labels[r], otherwise 0),   where p = softmax(x)

   m is the largest value of the row. expf and logf are functions of floats.

       x, grad   R x C floats
       labels    R integers, from 0 to C - 1
       out       R floats */
#include <math.h>
#include <stdint.h>
#include <stdio.h>

void cross_entropy(const float *x, const int64_t *labels, float *out, int64_t R, int64_t C)
{
    /* solution */
    for (int64_t r = 0; r < R; r++, x += C) {
        float largest = -INFINITY, total = 0;
        for (int64_t c = 0; c < C; c++)
            if (x[c] > largest)
                largest = x[c];
        for (int64_t c = 0; c < C; c++)
            total += expf(x[c] - largest);
        out[r] = largest + logf(total) - x[labels[r]];
    }
    /* end of solution */
}

void cross_entropy_backward(const float *x, const int64_t *labels, float *grad, int64_t R, int64_t C)
{
    /* solution */
    for (int64_t r = 0; r < R; r++, x += C, grad += C) {
        float largest = -INFINITY, total = 0;
        for (int64_t c = 0; c < C; c++)
            if (x[c] > largest)
                largest = x[c];
        for (int64_t c = 0; c < C; c++) {
            grad[c] = expf(x[c] - largest);
            total += grad[c];
        }
        for (int64_t c = 0; c < C; c++)
            grad[c] /= total;
        grad[labels[r]] -= 1;
    }
    /* end of solution */
}

#ifdef TRY /* cc -DTRY cross_entropy.c -lm && ./a.out */
int main(void)
{
    const float x[] = {0, 0, 1000, 0};
    const int64_t labels[] = {0, 1};
    float out[2], grad[4];
    cross_entropy(x, labels, out, 2, 2);
    printf("expected 0.693 1000, got %.3g %.4g\n", out[0], out[1]);
    cross_entropy_backward(x, labels, grad, 2, 2);
    printf("expected -0.5 0.5 1 -1, got %g %g %g %g\n", grad[0], grad[1], grad[2], grad[3]);
}
#endif
