/* The matrix product, fourth rung: vectors.

   A vector register stores several floats, and one instruction multiplies and adds all of them. In
   GNU C a vector is a type: `vector` below has 8 floats, and v + w and factor * v are computed for
   all 8 at once. Compute a block of 4 rows and 16 columns, which is a cache line. Its sums are 4 x 2
   vectors: for each k, load two vectors of y, and multiply both with 4 elements of x.

   load and store copy a vector from or to any address. A plain assignment through a pointer needs
   an address that is a multiple of 32, which the rows of a matrix need not be.

   If M is no multiple of 4 or N is no multiple of 16, plain loops compute what is left over.

       x     M x K floats
       y     K x N floats
       out   M x N floats */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef float vector __attribute__((vector_size(32))); /* 8 floats */

static inline vector load(const float *from)
{
    vector v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void store(float *to, vector v)
{
    memcpy(to, &v, sizeof v);
}

void matmul(const float *x, const float *y, float *out, int64_t M, int64_t K, int64_t N)
{
    /* solution */
    for (int64_t n = 0; n < N; n += 16)
        for (int64_t m = 0; m < M; m += 4) {
            if (m + 4 > M || n + 16 > N) { /* an incomplete block at the edge */
                for (int64_t i = m; i < m + 4 && i < M; i++)
                    for (int64_t j = n; j < n + 16 && j < N; j++) {
                        float total = 0;
                        for (int64_t k = 0; k < K; k++)
                            total += x[i * K + k] * y[k * N + j];
                        out[i * N + j] = total;
                    }
                continue;
            }
            vector sum[4][2] = {{{0}}};
            for (int64_t k = 0; k < K; k++) {
                const vector left = load(y + k * N + n), right = load(y + k * N + n + 8);
                #pragma GCC unroll 4
                for (int i = 0; i < 4; i++) {
                    const float factor = x[(m + i) * K + k];
                    sum[i][0] += factor * left;
                    sum[i][1] += factor * right;
                }
            }
            #pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                store(out + (m + i) * N + n, sum[i][0]);
                store(out + (m + i) * N + n + 8, sum[i][1]);
            }
        }
    /* end of solution */
}

#ifdef TRY /* cc -O2 -DTRY matmul_vectorised.c -pthread && ./a.out */
int main(void)
{
    const float x[] = {1, 2, 3, 4}, y[] = {5, 6};
    float out[2];
    matmul(x, y, out, 2, 2, 1);
    printf("expected 17 39, got %g %g\n", out[0], out[1]);
}
#endif
