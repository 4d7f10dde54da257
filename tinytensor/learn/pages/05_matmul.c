/* The matrix product: a layer of neurons, for a batch of images.

       out[m][n] = x[m][0] * y[0][n] + x[m][1] * y[1][n] + ... + x[m][K - 1] * y[K - 1][n]

   Matrices are stored row after row, so y[k][n] is y[k * N + n].

       x     M x K floats
       y     K x N floats
       out   M x N floats; all 0 if K is 0 */
#include <stdint.h>
#include <stdio.h>

void matmul(const float *x, const float *y, float *out, int64_t M, int64_t K, int64_t N)
{
    /* solution */
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            float total = 0;
            for (int64_t k = 0; k < K; k++)
                total += x[m * K + k] * y[k * N + n];
            out[m * N + n] = total;
        }
    /* end of solution */
}

#ifdef TRY /* cc -DTRY matmul.c && ./a.out */
int main(void)
{
    const float x[] = {1, 2, 3, 4}, y[] = {5, 6};
    float out[2];
    matmul(x, y, out, 2, 2, 1);
    printf("expected 17 39, got %g %g\n", out[0], out[1]);
}
#endif
