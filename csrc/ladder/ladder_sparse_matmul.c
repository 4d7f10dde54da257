/* ladder_sparse_matmul.c: out = x . y, where most elements of x are 0.

       tested      a test of each element of x: if it is 0, its row of y is skipped
       listed      one test decides for all tiles of a strip of x: sparse_matmul.c, on one thread
       threaded    the rows of out are divided among threads: sparse_matmul.c

   build.py compiles this file after sparse_matmul.c and ladder_matmul.c, because it uses their
   functions. */
#include "ladder.h"
#include "machine.h"
#include <string.h>

/* The loops of "loop order", with a test. A row of y is skipped if its factor is 0. But out is loaded
   and stored for each row that is not skipped. Sums in registers are faster even if nothing is skipped. */
SCALAR static void sparse_matmul_tested(matmul_arguments a)
{
    if (!all_finite(a.y, a.K * a.N)) {
        matmul_loop_order(a);
        return;
    }
    for (int64_t m = 0; m < a.M; m++) {
        real *out = a.out + m * a.out_row;
        for (int64_t n = 0; n < a.N; n++)
            out[n] = 0;
        for (int64_t k = 0; k < a.K; k++) {
            const real factor = a.x[m * a.x_row + k * a.x_column];
            if (factor != 0)
                for (int64_t n = 0; n < a.N; n++)
                    out[n] += factor * a.y[k * a.y_row + n * a.y_column];
        }
    }
}

/* As sparse_matmul.c, on one thread. */
static void sparse_matmul_listed(matmul_arguments a)
{
    if (a.K == 0)
        memset(a.out, 0, a.M * a.N * sizeof(real));
    else if (!all_finite(a.y, a.K * a.N))
        matmul_rows(&a, 0, a.M);
    else
        sparse_matmul_rows(&a, 0, a.M);
}

void tt_sparse_matmul_tested(const real *x, const real *y, real *out, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    sparse_matmul_tested(matmul_arguments_of(x, y, out, M, K, N, transpose_x, transpose_y));
}

void tt_sparse_matmul_listed(const real *x, const real *y, real *out, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y)
{
    sparse_matmul_listed(matmul_arguments_of(x, y, out, M, K, N, transpose_x, transpose_y));
}
