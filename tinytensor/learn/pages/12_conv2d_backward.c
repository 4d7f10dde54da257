/* The two gradients of the convolution.

       grad_x[n][p + a][q + b][i] += grad[n][p][q][o] * weight[a][b][i][o]
       grad_weight[a][b][i][o] += grad[n][p][q][o] * x[n][p + a][q + b][i]

   `grad` is the derivative of the loss by each element of out, see the previous exercise. Both
   results start at 0. The loops are those of the convolution itself.

       x, grad_x             N x H x W x I floats
       weight, grad_weight   A x B x I x O floats
       grad                  N x P x Q x O floats */
#include <stdint.h>
#include <stdio.h>

void conv2d_backward_x(const float *grad, const float *weight, float *grad_x, int64_t N, int64_t P, int64_t Q,
                       int64_t O, int64_t A, int64_t B, int64_t I, int64_t H, int64_t W)
{
    /* solution */
    for (int64_t j = 0; j < N * H * W * I; j++)
        grad_x[j] = 0;
    for (int64_t n = 0; n < N; n++)
        for (int64_t p = 0; p < P; p++)
            for (int64_t q = 0; q < Q; q++)
                for (int64_t o = 0; o < O; o++)
                    for (int64_t a = 0; a < A; a++)
                        for (int64_t b = 0; b < B; b++)
                            for (int64_t i = 0; i < I; i++)
                                grad_x[((n * H + p + a) * W + q + b) * I + i] +=
                                    grad[((n * P + p) * Q + q) * O + o] * weight[((a * B + b) * I + i) * O + o];
    /* end of solution */
}

void conv2d_backward_weight(const float *x, const float *grad, float *grad_weight, int64_t N, int64_t H, int64_t W,
                            int64_t I, int64_t P, int64_t Q, int64_t O, int64_t A, int64_t B)
{
    /* solution */
    for (int64_t j = 0; j < A * B * I * O; j++)
        grad_weight[j] = 0;
    for (int64_t n = 0; n < N; n++)
        for (int64_t p = 0; p < P; p++)
            for (int64_t q = 0; q < Q; q++)
                for (int64_t o = 0; o < O; o++)
                    for (int64_t a = 0; a < A; a++)
                        for (int64_t b = 0; b < B; b++)
                            for (int64_t i = 0; i < I; i++)
                                grad_weight[((a * B + b) * I + i) * O + o] +=
                                    grad[((n * P + p) * Q + q) * O + o] * x[((n * H + p + a) * W + q + b) * I + i];
    /* end of solution */
}

#ifdef TRY /* cc -DTRY conv2d_backward.c && ./a.out */
int main(void)
{
    const float x[] = {0, 1, 2, 3}, weight[] = {1, 10}, grad[] = {1, 0, 2};
    float grad_x[4], grad_weight[2];
    conv2d_backward_x(grad, weight, grad_x, 1, 1, 3, 1, 1, 2, 1, 1, 4);
    printf("expected 1 10 2 20, got %g %g %g %g\n", grad_x[0], grad_x[1], grad_x[2], grad_x[3]);
    conv2d_backward_weight(x, grad, grad_weight, 1, 1, 4, 1, 1, 3, 1, 1, 2);
    printf("expected 4 7, got %g %g\n", grad_weight[0], grad_weight[1]);
}
#endif
