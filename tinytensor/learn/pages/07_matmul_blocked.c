/* The matrix product, third rung: blocks.

   The second rung loads and stores an element of out for each multiplication. That takes longer
   than the multiplication. Compute a block of out at a time, 4 x 4 elements. Keep its 16 sums in
   local variables, which the compiler stores in registers, until they are complete. For each k,
   load 4 elements of x and 4 of y, and do 16 multiplications with them.

   If M or N is no multiple of 4, some rows and columns are left over. Plain loops compute them.

       x     M x K floats
       y     K x N floats
       out   M x N floats */
#include <stdint.h>
#include <stdio.h>

void matmul(const float *x, const float *y, float *out, int64_t M, int64_t K, int64_t N)
{
    /* solution */
    for (int64_t n = 0; n < N; n += 4)
        for (int64_t m = 0; m < M; m += 4) {
            if (m + 4 > M || n + 4 > N) { /* an incomplete block at the edge */
                for (int64_t i = m; i < m + 4 && i < M; i++)
                    for (int64_t j = n; j < n + 4 && j < N; j++) {
                        float total = 0;
                        for (int64_t k = 0; k < K; k++)
                            total += x[i * K + k] * y[k * N + j];
                        out[i * N + j] = total;
                    }
                continue;
            }
            float sum[4][4] = {{0}};
            const float *a = x + m * K, *b = y + n;
            for (int64_t k = 0; k < K; k++, a++, b += N) {
                #pragma GCC unroll 4
                for (int i = 0; i < 4; i++) {
                    #pragma GCC unroll 4
                    for (int j = 0; j < 4; j++)
                        sum[i][j] += a[i * K] * b[j];
                }
            }
            #pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                #pragma GCC unroll 4
                for (int j = 0; j < 4; j++)
                    out[(m + i) * N + n + j] = sum[i][j];
            }
        }
    /* end of solution */
}

#ifdef TRY /* cc -O2 -DTRY matmul_blocked.c -pthread && ./a.out */
int main(void)
{
    const float x[] = {1, 2, 3, 4}, y[] = {5, 6};
    float out[2];
    matmul(x, y, out, 2, 2, 1);
    printf("expected 17 39, got %g %g\n", out[0], out[1]);
}
#endif
