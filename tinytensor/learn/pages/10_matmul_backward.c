/* The two gradients of the matrix product out = x . y.

       grad_x[m][k] = sum over n of grad[m][n] * y[k][n]
       grad_y[k][n] = sum over m of x[m][k] * grad[m][n]

   `grad` is the derivative of the loss by each element of out.

       x, grad_x   M x K floats
       y, grad_y   K x N floats
       grad        M x N floats */
#include <stdint.h>
#include <stdio.h>

void matmul_backward_x(const float *grad, const float *y, float *grad_x, int64_t M, int64_t N, int64_t K)
{
    /* solution */
    for (int64_t m = 0; m < M; m++)
        for (int64_t k = 0; k < K; k++) {
            float total = 0;
            for (int64_t n = 0; n < N; n++)
                total += grad[m * N + n] * y[k * N + n];
            grad_x[m * K + k] = total;
        }
    /* end of solution */
}

void matmul_backward_y(const float *x, const float *grad, float *grad_y, int64_t M, int64_t K, int64_t N)
{
    /* solution */
    for (int64_t k = 0; k < K; k++)
        for (int64_t n = 0; n < N; n++) {
            float total = 0;
            for (int64_t m = 0; m < M; m++)
                total += x[m * K + k] * grad[m * N + n];
            grad_y[k * N + n] = total;
        }
    /* end of solution */
}

#ifdef TRY /* cc -DTRY matmul_backward.c && ./a.out */
int main(void)
{
    const float x[] = {1, 2, 3, 4}, y[] = {5, 6}, grad[] = {1, 10};
    float grad_x[4], grad_y[2];
    matmul_backward_x(grad, y, grad_x, 2, 1, 2);
    printf("expected 5 6 50 60, got %g %g %g %g\n", grad_x[0], grad_x[1], grad_x[2], grad_x[3]);
    matmul_backward_y(x, grad, grad_y, 2, 2, 1);
    printf("expected 31 42, got %g %g\n", grad_y[0], grad_y[1]);
}
#endif
