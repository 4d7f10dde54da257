/* kernels.h: what the C backend offers, read twice: by the C compiler and, prototypes only, by cffi.

   The same text is compiled several times (see build.py): `real` is float or double, and the
   names get a suffix for precision and instruction set, e.g. tt_add_float32_avx2.

   Arrays are C-contiguous and don't overlap; inputs come first, then outputs, then sizes. Shapes
   stand above each group, with the letters of tinytensor/kernels.py:
   M K N for matmul, R C for rows and columns. A kernel allocates nothing. */
#ifndef TT_KERNELS_H
#define TT_KERNELS_H
#include <stdint.h>
#ifndef real
#define real float
#endif

/* Broadcasting: out has `axes` axes of the sizes in `shape`. A stride says how many elements
   apart an operand's neighbours on an axis are: 0 repeats it. The last axis has stride 0 or 1. */
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
/* out is 0 or 1 */
void tt_equal(const real *x, const real *y, uint8_t *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_less(const real *x, const real *y, uint8_t *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);
void tt_less_equal(const real *x, const real *y, uint8_t *out, int64_t axes, const int64_t *shape, const int64_t *x_strides, const int64_t *y_strides);

/* Element by element: grad, x and out have n elements. */
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
void tt_floor(const real *x, real *out, int64_t n);
void tt_ceil(const real *x, real *out, int64_t n);
void tt_round(const real *x, real *out, int64_t n);
void tt_where(const uint8_t *condition, const real *x, const real *y, real *out, int64_t n);

/* out = x summed over the reduced axes; the kept ones, in order, are out's. */
void tt_sum(const real *x, real *out, int64_t kept_axes, const int64_t *kept_shape, const int64_t *kept_strides, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides);
void tt_max(const real *x, real *out, int64_t kept_axes, const int64_t *kept_shape, const int64_t *kept_strides, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides);
void tt_min(const real *x, real *out, int64_t kept_axes, const int64_t *kept_shape, const int64_t *kept_strides, int64_t reduced_axes, const int64_t *reduced_shape, const int64_t *reduced_strides);
/* x (R, C), out (R) */
void tt_argmax(const real *x, int64_t *out, int64_t R, int64_t C);
void tt_argmin(const real *x, int64_t *out, int64_t R, int64_t C);
/* x, out (R, C) */
void tt_cumsum(const real *x, real *out, int64_t R, int64_t C);
/* out has `axes` axes of the sizes in `shape`; `strides` are x's on those axes, 0 repeats it. */
void tt_broadcast_to(const real *x, real *out, int64_t axes, const int64_t *shape, const int64_t *strides);
void tt_transpose(const real *x, real *out, int64_t axes, const int64_t *shape, const int64_t *strides);

/* rows picked from x (N, C), or grad (R, C) added up in them, or x (R, C) put there; index (R) */
void tt_take(const real *x, const int64_t *index, real *out, int64_t R, int64_t C);
void tt_scatter_add(const real *grad, const int64_t *index, real *out, int64_t R, int64_t C, int64_t N);
void tt_put(const real *x, const int64_t *index, real *out, int64_t R, int64_t C);
/* x (A, n, B), out (A, N, B): out[:, start : start + n] = x */
void tt_concat(const real *x, real *out, int64_t start, int64_t A, int64_t n, int64_t N, int64_t B);

/* x (B, M, K), or (B, K, M) if transpose_x; y (B, K, N), or (B, N, K) if transpose_y; out (B, M, N) */
void tt_matmul(const real *x, const real *y, real *out, int64_t B, int64_t M, int64_t K, int64_t N, int transpose_x, int transpose_y);

/* x (N, H, W, I), weight (KH, KW, I, O), out (N, OH, OW, O); grad as the array that it is of.
   sizes: N H W I KH KW O OH OW, then the strides and paddings along H and W */
void tt_conv2d(const real *x, const real *weight, real *out, const int64_t *sizes);
void tt_conv2d_grad_x(const real *grad, const real *weight, real *out, const int64_t *sizes);
void tt_conv2d_grad_weight(const real *x, const real *grad, real *out, const int64_t *sizes);

/* x (N, H, W, C), out (N, OH, OW, C), and the other way round in the gradient. sizes as above, with
   the window's size as KH KW and C as both I and O */
void tt_argmax_pool2d(const real *x, int64_t *out, const int64_t *sizes);
void tt_sum_pool2d(const real *x, real *out, const int64_t *sizes);
void tt_sum_pool2d_grad_x(const real *grad, real *out, const int64_t *sizes);

/* x, logits, probs, log_probs and the matrices' gradients (R, C); labels (R);
   the out of cross_entropy and the grad that is given are one number. */
void tt_softmax(const real *x, real *out, int64_t R, int64_t C);
void tt_softmax_backward(const real *grad, const real *probs, real *out, int64_t R, int64_t C);
void tt_log_softmax(const real *x, real *out, int64_t R, int64_t C);
void tt_log_softmax_backward(const real *grad, const real *log_probs, real *out, int64_t R, int64_t C);
void tt_cross_entropy(const real *logits, const int64_t *labels, real *out, int64_t R, int64_t C);
void tt_cross_entropy_and_grad(const real *grad, const real *logits, const int64_t *labels, real *out, real *grad_logits, int64_t R, int64_t C);
void tt_cross_entropy_backward(const real *grad, const real *logits, const int64_t *labels, real *out, int64_t R, int64_t C);
void tt_one_hot(const int64_t *labels, real *out, int64_t R, int64_t C);

/* images (N, D), index (R), out (R, D) */
void tt_load_images(const uint8_t *images, const int64_t *index, real *out, int64_t R, int64_t D);

/* state (2): a seed, and how many numbers were drawn, which is moved on; out (n) */
void tt_dropout_mask(uint64_t *state, real *out, double keep_prob, int64_t n);

/* x, grad, out, grad_x (R, C), the others (C) */
void tt_moments(const real *x, real *mean, real *var, int64_t R, int64_t C);
void tt_normalize(const real *x, const real *mean, const real *var, const real *gamma, const real *beta, real *out, double epsilon, int64_t R, int64_t C);
void tt_batch_norm_backward(const real *grad, const real *x, const real *mean, const real *var, const real *gamma, real *grad_x, real *grad_gamma, real *grad_beta, double epsilon, int64_t R, int64_t C);

/* All n, but lr, step and decay, which are one number. What isn't const is updated in place. */
void tt_sgd(const real *grad, const double *lr, real *param, double weight_decay, int64_t n);
void tt_sgd_momentum(const real *grad, const double *lr, real *velocity, real *param, double momentum, int nesterov, double weight_decay, int64_t n);
void tt_adam(const real *grad, const double *lr, const double *step, real *m, real *v, real *param, double beta1, double beta2, double epsilon, double weight_decay, int64_t n);
void tt_rmsprop(const real *grad, const double *lr, real *square, real *param, double decay, double epsilon, int64_t n);
void tt_moving_average(const real *x, const double *decay, real *average, int64_t n);

#endif
