/* Broadcasting: add a row to every row of a matrix; and the gradient of this sum.

       out[r][c] = x[r][c] + b[c]
       grad_b[c] = grad[0][c] + grad[1][c] + ... + grad[R - 1][c]

   Forward, a value is copied to many places. Backward, the gradients of these places are added.
   A matrix is stored row after row, so x[r][c] is x[r * C + c].

       x, out, grad   R x C floats
       b, grad_b      C floats */
#include <stdint.h>
#include <stdio.h>

void add(const float *x, const float *b, float *out, int64_t R, int64_t C)
{
    /* solution */
    for (int64_t r = 0; r < R; r++)
        for (int64_t c = 0; c < C; c++)
            out[r * C + c] = x[r * C + c] + b[c];
    /* end of solution */
}

void add_backward(const float *grad, float *grad_b, int64_t R, int64_t C)
{
    /* solution */
    for (int64_t c = 0; c < C; c++)
        grad_b[c] = 0;
    for (int64_t r = 0; r < R; r++)
        for (int64_t c = 0; c < C; c++)
            grad_b[c] += grad[r * C + c];
    /* end of solution */
}

#ifdef TRY /* cc -DTRY broadcast_add.c && ./a.out */
int main(void)
{
    const float x[] = {1, 2, 3, 4}, b[] = {10, 20};
    float out[4], grad_b[2];
    add(x, b, out, 2, 2);
    printf("expected 11 22 13 24, got %g %g %g %g\n", out[0], out[1], out[2], out[3]);
    add_backward(x, grad_b, 2, 2);
    printf("expected 4 6, got %g %g\n", grad_b[0], grad_b[1]);
}
#endif
