/* kernels.h: the kernels of the C backend. The C compiler and cffi both read these prototypes.

   Every kernel is compiled several times (see build.py): `real` is float or double, and the names get
   a suffix for the dtype and the instruction set, such as tt_add_float32_avx2. tt_add_float32 calls the
   variant of the instruction set in use.

   Arrays are C-contiguous and don't overlap. Inputs come first, then outputs, then sizes. The comment
   above a group has the shapes: M K N for matmul, R C for rows and columns, as in
   tinytensor/kernels.py. A kernel allocates no memory. */
#ifndef TT_KERNELS_H
#define TT_KERNELS_H
#include <stdint.h>
#ifndef real
#define real float
#endif

/* Broadcasting: out has `axes` axes of the sizes in `shape`. A stride is the distance, in elements,
   between two neighbours of an operand along an axis; stride 0 repeats the operand. The last axis has
   stride 0 or 1. */
void tt_add(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_sub(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_mul(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_div(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_floor_div(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_mod(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_pow(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_maximum(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_minimum(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_add_relu(const real *x, const real *y, real *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
/* out: 0 or 1 */
void tt_equal(const real *x, const real *y, uint8_t *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_less(const real *x, const real *y, uint8_t *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_less_equal(const real *x, const real *y, uint8_t *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);

/* Elementwise: grad, x, y, condition and out have n elements. */
void tt_neg(const real *x, real *out, int64_t n);
void tt_exp(const real *x, real *out, int64_t n);
void tt_log(const real *x, real *out, int64_t n);
void tt_relu(const real *x, real *out, int64_t n);
void tt_relu_backward(const real *grad, const real *x, real *out, int64_t n);
void tt_sigmoid(const real *x, real *out, int64_t n);
void tt_abs(const real *x, real *out, int64_t n);
void tt_sign(const real *x, real *out, int64_t n);
void tt_sqrt(const real *x, real *out, int64_t n);
void tt_expm1(const real *x, real *out, int64_t n);
void tt_log1p(const real *x, real *out, int64_t n);
void tt_sin(const real *x, real *out, int64_t n);
void tt_cos(const real *x, real *out, int64_t n);
void tt_tanh(const real *x, real *out, int64_t n);
void tt_erf(const real *x, real *out, int64_t n);
void tt_gelu(const real *x, real *out, int64_t n);
void tt_gelu_backward(const real *grad, const real *x, real *out, int64_t n);
void tt_silu(const real *x, real *out, int64_t n);
void tt_silu_backward(const real *grad, const real *x, real *out, int64_t n);
void tt_softplus(const real *x, real *out, int64_t n);
void tt_softplus_backward(const real *grad, const real *x, real *out, int64_t n);
void tt_floor(const real *x, real *out, int64_t n);
void tt_ceil(const real *x, real *out, int64_t n);
void tt_round(const real *x, real *out, int64_t n);
void tt_where(const uint8_t *condition, const real *x, const real *y, real *out, int64_t n);

/* out = the sum (max, min) of x over the reduced axes; the kept axes, in order, are the axes of out. */
void tt_sum(const real *x, real *out, int64_t kept_axes, const int64_t *kept_shape, const int64_t *kept_strides, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides);
void tt_max(const real *x, real *out, int64_t kept_axes, const int64_t *kept_shape, const int64_t *kept_strides, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides);
void tt_min(const real *x, real *out, int64_t kept_axes, const int64_t *kept_shape, const int64_t *kept_strides, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides);
/* x (R, C), out (R) */
void tt_argmax(const real *x, int64_t *out, int64_t R, int64_t C);
void tt_argmin(const real *x, int64_t *out, int64_t R, int64_t C);
/* x, out (R, C) */
void tt_cumsum(const real *x, real *out, int64_t R, int64_t C);
/* out has `axes` axes of the sizes in `shape`; `strides` are the strides of x along these axes, and
   stride 0 repeats x. */
void tt_broadcast_to(const real *x, real *out, int64_t axes, const int64_t *shape, const int64_t *strides);
void tt_transpose(const real *x, real *out, int64_t axes, const int64_t *shape, const int64_t *strides);

/* index (R). take: out[r] = x[index[r]], x (N, C), out (R, C). scatter_add: out = 0, then
   out[index[r]] += grad[r], grad (R, C), out (N, C). put: out[index[r]] = x[r], x (R, C), out (N, C) */
void tt_take(const real *x, const int64_t *index, real *out, int64_t R, int64_t C);
void tt_scatter_add(const real *grad, const int64_t *index, real *out, int64_t R, int64_t C, int64_t N);
void tt_put(const real *x, const int64_t *index, real *out, int64_t R, int64_t C);
/* x (A, n, B), out (A, N, B): out[:, start : start + n] = x */
void tt_concat(const real *x, real *out, int64_t start, int64_t A, int64_t n, int64_t N, int64_t B);

/* x (B, M, K), or (B, K, M) if transpose_x; y (B, K, N), or (B, N, K) if transpose_y; out (B, M, N) */
void tt_matmul(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y);
/* The same for one matrix; faster if most elements of x are 0. */
void tt_sparse_matmul(const real *x, const real *y, real *out, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y);

/* x (N, H, W, I), weight (KH, KW, I, O), out (N, OH, OW, O). In grad_x and grad_weight, grad has the
   shape of conv2d's out, and out has the shape of x or weight.
   sizes: N H W I KH KW O OH OW, then the strides along H and W, then the paddings along H and W */
void tt_conv2d(const real *x, const real *weight, real *out, const int64_t *sizes);
void tt_conv2d_grad_x(const real *grad, const real *weight, real *out, const int64_t *sizes);
void tt_conv2d_grad_weight(const real *x, const real *grad, real *out, const int64_t *sizes);

/* x (N, H, W, C), out (N, OH, OW, C); in the gradient, grad (N, OH, OW, C) and out (N, H, W, C).
   sizes as above: KH KW is the size of the window, and I and O are both C */
void tt_argmax_pool2d(const real *x, int64_t *out, const int64_t *sizes);
void tt_sum_pool2d(const real *x, real *out, const int64_t *sizes);
void tt_sum_pool2d_grad_x(const real *grad, real *out, const int64_t *sizes);

/* x, logits, probs, log_probs and their gradients (R, C); labels (R). In cross_entropy, weight is (C), or
   a scalar if weight_stride is 0. The loss `out` is (R), or a scalar if loss_stride is 0, and `grad` has
   the shape of the loss. */
void tt_softmax(const real *x, real *out, int64_t R, int64_t C);
void tt_softmax_backward(const real *grad, const real *probs, real *out, int64_t R, int64_t C);
void tt_log_softmax(const real *x, real *out, int64_t R, int64_t C);
void tt_log_softmax_backward(const real *grad, const real *log_probs, real *out, int64_t R, int64_t C);
void tt_cross_entropy(const real *logits, const int64_t *labels, const real *weight, real *out, double smoothing, int64_t R, int64_t C, int64_t weight_stride, int64_t loss_stride);
void tt_cross_entropy_and_grad(const real *grad, const real *logits, const int64_t *labels, const real *weight, real *out, real *grad_logits, double smoothing, int64_t R, int64_t C, int64_t weight_stride, int64_t loss_stride);
void tt_cross_entropy_backward(const real *grad, const real *logits, const int64_t *labels, const real *weight, real *out, double smoothing, int64_t R, int64_t C, int64_t grad_stride, int64_t weight_stride);
void tt_one_hot(const int64_t *labels, real *out, int64_t R, int64_t C);

/* images (N, D), index (R), out (R, D) */
void tt_load_images(const uint8_t *images, const int64_t *index, real *out, int64_t R, int64_t D);
/* images, out (N, H, W, C), affine (N, 2, 3), shifts (N, 2, G, G) */
void tt_warp(const real *images, const real *affine, const real *shifts, real *out, int64_t N, int64_t H, int64_t W, int64_t C, int64_t G);

/* state (2): the seed, and the count of numbers drawn, which grows by n; out (n) */
void tt_dropout_mask(uint64_t *state, real *out, double keep_prob, int64_t n);

/* x, grad, out, grad_x (R, C); mean, var, gamma, beta, grad_gamma, grad_beta (C) */
void tt_moments(const real *x, real *mean, real *var, int64_t R, int64_t C);
void tt_normalize(const real *x, const real *mean, const real *var, const real *gamma, const real *beta, real *out, double epsilon, int64_t R, int64_t C);
void tt_batch_norm_backward(const real *grad, const real *x, const real *mean, const real *var, const real *gamma, real *grad_x, real *grad_gamma, real *grad_beta, double epsilon, int64_t R, int64_t C);
void tt_layer_norm(const real *x, const real *gamma, const real *beta, real *out, double epsilon, int64_t R, int64_t C);
void tt_layer_norm_backward(const real *grad, const real *x, const real *gamma, real *grad_x, real *grad_gamma, real *grad_beta, double epsilon, int64_t R, int64_t C);

/* lr, step and decay are scalars; all other arrays have n elements. Arrays without const are updated
   in place. */
void tt_sgd(const real *grad, const double *lr, real *param, double weight_decay, int64_t n);
void tt_sgd_momentum(const real *grad, const double *lr, real *velocity, real *param, double momentum, int nesterov, double weight_decay, int64_t n);
void tt_adam(const real *grad, const double *lr, const double *step, real *m, real *v, real *param, double beta1, double beta2, double epsilon, double weight_decay, int64_t n);
void tt_rmsprop(const real *grad, const double *lr, real *square, real *param, double decay, double epsilon, int64_t n);
void tt_moving_average(const real *x, const double *decay, real *average, int64_t n);

#endif
