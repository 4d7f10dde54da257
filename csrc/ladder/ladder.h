/* ladder.h: slower versions ("rungs") of matmul, sparse_matmul, softmax and
   conv2d, from the naive one upwards.

   Each rung has the arguments and the result of its kernel (see kernels.h). It adds one idea to the
   previous rung. The top rung, threaded, is the kernel itself. */
#ifndef TT_LADDER_H
#define TT_LADDER_H
#include <stdint.h>
#ifndef real
#define real float
#endif

/* ladder_matmul.c */
void tt_matmul_naive(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y);
void tt_matmul_loop_order(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y);
void tt_matmul_blocked(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y);
void tt_matmul_vectorised(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y);
void tt_matmul_packed(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y);

/* ladder_sparse_matmul.c */
void tt_sparse_matmul_tested(const real *x, const real *y, real *out, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y);
void tt_sparse_matmul_listed(const real *x, const real *y, real *out, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y);

/* ladder_softmax.c */
void tt_softmax_naive(const real *x, real *out, int64_t R, int64_t C);
void tt_softmax_vectorised(const real *x, real *out, int64_t R, int64_t C);
void tt_softmax_abreast(const real *x, real *out, int64_t R, int64_t C);
void tt_softmax_blocked(const real *x, real *out, int64_t R, int64_t C);

/* ladder_conv2d.c */
void tt_conv2d_naive(const real *x, const real *weight, real *out, const int64_t *sizes);
void tt_conv2d_loop_order(const real *x, const real *weight, real *out, const int64_t *sizes);
void tt_conv2d_im2col(const real *x, const real *weight, real *out, const int64_t *sizes);
void tt_conv2d_direct(const real *x, const real *weight, real *out, const int64_t *sizes);
void tt_conv2d_winograd(const real *x, const real *weight, real *out, const int64_t *sizes);
void tt_conv2d_lanes(const real *x, const real *weight, real *out, const int64_t *sizes);

#endif
