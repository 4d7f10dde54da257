/* The convolution: one neuron slides over the whole image.

       out[n][p][q][o] = sum over a, b, i of x[n][p + a][q + b][i] * weight[a][b][i][o]

   The window starts at (p, q) and stays inside the image, so P = H - A + 1 and Q = W - B + 1. The
   index of an element: x[n][h][w][i] is x[((n * H + h) * W + w) * I + i].

       x        N x H x W x I floats
       weight   A x B x I x O floats
       out      N x P x Q x O floats */
#include <stdint.h>
#include <stdio.h>

void conv2d(const float *x, const float *weight, float *out, int64_t N, int64_t H, int64_t W, int64_t I,
            int64_t A, int64_t B, int64_t O, int64_t P, int64_t Q)
{
    /* solution */
    for (int64_t n = 0; n < N; n++)
        for (int64_t p = 0; p < P; p++)
            for (int64_t q = 0; q < Q; q++)
                for (int64_t o = 0; o < O; o++) {
                    float total = 0;
                    for (int64_t a = 0; a < A; a++)
                        for (int64_t b = 0; b < B; b++)
                            for (int64_t i = 0; i < I; i++)
                                total += x[((n * H + p + a) * W + q + b) * I + i] *
                                         weight[((a * B + b) * I + i) * O + o];
                    out[((n * P + p) * Q + q) * O + o] = total;
                }
    /* end of solution */
}

#ifdef TRY /* cc -DTRY conv2d.c && ./a.out */
int main(void)
{
    const float x[] = {0, 1, 2, 3, 4, 5, 6, 7, 8}, weight[] = {1, 0, 0, 10};
    float out[4];
    conv2d(x, weight, out, 1, 3, 3, 1, 2, 2, 1, 2, 2);
    printf("expected 40 51 73 84, got %g %g %g %g\n", out[0], out[1], out[2], out[3]);
}
#endif
