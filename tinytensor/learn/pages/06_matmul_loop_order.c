/* The matrix product, second rung: the order of the loops.

   The innermost loop of the first rung goes down a column of y. The elements of a column are far
   apart in memory: for each one the processor loads a cache line, 64 bytes, and uses 4 of them.
   Each addition to the sum also waits for the previous addition.

   Exchange the loops over k and n. The innermost loop then goes along a row of y and a row of out,
   which are contiguous, and its additions do not wait for each other. out is not 0 before.

       x     M x K floats
       y     K x N floats
       out   M x N floats */
#include <stdint.h>
#include <stdio.h>

void matmul(const float *x, const float *y, float *out, int64_t M, int64_t K, int64_t N)
{
    /* solution */
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n++)
            out[m * N + n] = 0;
        for (int64_t k = 0; k < K; k++) {
            const float factor = x[m * K + k];
            for (int64_t n = 0; n < N; n++)
                out[m * N + n] += factor * y[k * N + n];
        }
    }
    /* end of solution */
}

#ifdef TRY /* cc -O2 -DTRY matmul_loop_order.c -pthread && ./a.out */
int main(void)
{
    const float x[] = {1, 2, 3, 4}, y[] = {5, 6};
    float out[2];
    matmul(x, y, out, 2, 2, 1);
    printf("expected 17 39, got %g %g\n", out[0], out[1]);
}
#endif
