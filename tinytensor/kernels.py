"""The contract of the backends: every kernel with its shapes, its dtypes and its formula.

A kernel is a function that writes into `out`. This file declares each kernel once, as a stub.
`numpy_backend.py` is the definition; `numba_backend.py` and `c_backend.py` compute the same. A call
such as `kernels.add(x, y, out)` goes through door.py to the backend in use. Nothing else computes
on tensors.

These rules hold for all kernels:

- Arrays are C-contiguous and aligned. An output shares no memory with another array. All float
  arrays of a call have the same dtype, float32 or float64; labels, indices and the results of
  argmax are int64. Strides are never passed: matmul has flags for transposition, and the axes that
  are broadcast or summed follow from the shapes.
- The backend computes on floats. NumPy computes on integers and booleans for every backend, because
  networks have few of them. The dtype of one array decides which of the two computes: the first
  array, or the array that the stub names in `data`.
- Arguments are in this order: inputs, outputs, numbers. The caller allocates `out`. The kernel
  writes every element of it, and the result does not depend on what it contained before. `put`, and
  the kernels of the optimisers at the end, change their last arrays in place.
- A number that changes from step to step, such as a learning rate, is passed in an array. The other
  numbers are constants.
- Callers check shapes and labels. Kernels do not check them again.
- Sums over a whole array are accumulated in float64. NaN, infinities and empty arrays give the same
  results as in NumPy, except next to the padding of conv2d and of its gradients: see there.
- The same inputs give the same bits on one backend, machine and instruction set, with the same
  number of threads. The C and Numba backends give the same bits for any number of threads, because
  each row is computed by one thread, always in the same order. In NumPy the number of threads may
  change the last bit of matmul. Other backends and instruction sets add sums in another order.

Sizes are named M, K, N in matrix products, and R rows, C columns or classes elsewhere. `i` in a
formula stands for the index of an element, on all axes.
"""

import math

from tinytensor.arrays import Array
from tinytensor.door import Shapes, door


def _matmul_operations(shapes: Shapes) -> int:
    x, _, out = shapes
    return 2 * math.prod(x) * out[-1]


# Each weight is multiplied once for each place (n, h, w) of a result (N, OH, OW, O).


def _conv2d_operations(shapes: Shapes) -> int:
    _, weight, out = shapes
    return 2 * math.prod(weight) * math.prod(out[:3])


def _conv2d_grad_x_operations(shapes: Shapes) -> int:
    grad, weight, _ = shapes
    return 2 * math.prod(weight) * math.prod(grad[:3])


def _conv2d_grad_weight_operations(shapes: Shapes) -> int:
    _, grad, out = shapes
    return 2 * math.prod(out) * math.prod(grad[:3])


# Elementwise with broadcasting


@door()
def add(x: Array, y: Array, out: Array) -> None:
    """out[i] = x[i] + y[i].  x and y broadcast to out's shape"""


@door()
def sub(x: Array, y: Array, out: Array) -> None:
    """out[i] = x[i] - y[i].  x and y broadcast to out's shape"""


@door()
def mul(x: Array, y: Array, out: Array) -> None:
    """out[i] = x[i] * y[i].  x and y broadcast to out's shape"""


@door()
def div(x: Array, y: Array, out: Array) -> None:
    """out[i] = x[i] / y[i].  x and y broadcast to out's shape"""


@door()
def floor_div(x: Array, y: Array, out: Array) -> None:
    """out[i] = floor(x[i] / y[i]), never rounded first.  x and y broadcast to out's shape"""


@door()
def mod(x: Array, y: Array, out: Array) -> None:
    """out[i] = x[i] - floor(x[i] / y[i]) * y[i].  x and y broadcast to out's shape"""


@door()
def pow(x: Array, y: Array, out: Array) -> None:
    """out[i] = x[i] ** y[i].  x and y broadcast to out's shape"""


@door()
def maximum(x: Array, y: Array, out: Array) -> None:
    """out[i] = the larger of x[i] and y[i], NaN if either is.  x and y broadcast to out's shape"""


@door()
def minimum(x: Array, y: Array, out: Array) -> None:
    """out[i] = the smaller of x[i] and y[i], NaN if either is.  x and y broadcast to out's shape"""


@door(operations=2)
def add_relu(x: Array, y: Array, out: Array) -> None:
    """out[i] = relu(x[i] + y[i]).  x and y broadcast to out's shape"""


@door()
def equal(x: Array, y: Array, out: Array) -> None:
    """out[i] = x[i] == y[i].  x and y broadcast to out's shape; out is bool"""


@door()
def less(x: Array, y: Array, out: Array) -> None:
    """out[i] = x[i] < y[i].  x and y broadcast to out's shape; out is bool"""


@door()
def less_equal(x: Array, y: Array, out: Array) -> None:
    """out[i] = x[i] <= y[i].  x and y broadcast to out's shape; out is bool"""


# Elementwise: all arrays have the same shape, of any number of axes


@door()
def neg(x: Array, out: Array) -> None:
    """out[i] = -x[i].  Same shape"""


@door()
def exp(x: Array, out: Array) -> None:
    """out[i] = e ** x[i].  Same shape"""


@door()
def log(x: Array, out: Array) -> None:
    """out[i] = log(x[i]), the natural logarithm.  Same shape"""


@door()
def relu(x: Array, out: Array) -> None:
    """out[i] = x[i] if x[i] >= 0 else 0; NaN stays NaN.  Same shape"""


@door()
def relu_backward(grad: Array, x: Array, out: Array) -> None:
    """out[i] = grad[i] if x[i] > 0 else 0.  Same shape"""


@door(operations=3)
def sigmoid(x: Array, out: Array) -> None:
    """out[i] = 1 / (1 + e ** -x[i]).  Same shape"""


@door()
def abs(x: Array, out: Array) -> None:
    """out[i] = |x[i]|.  Same shape"""


@door()
def sign(x: Array, out: Array) -> None:
    """out[i] = -1 if x[i] < 0, 0 if x[i] == 0, 1 if x[i] > 0; NaN stays NaN.  Same shape"""


@door()
def sqrt(x: Array, out: Array) -> None:
    """out[i] = sqrt(x[i]).  Same shape"""


@door()
def expm1(x: Array, out: Array) -> None:
    """out[i] = e ** x[i] - 1, exact also near 0.  Same shape"""


@door()
def log1p(x: Array, out: Array) -> None:
    """out[i] = log(1 + x[i]), exact also near 0.  Same shape"""


@door()
def sin(x: Array, out: Array) -> None:
    """out[i] = sin(x[i]).  Same shape"""


@door()
def cos(x: Array, out: Array) -> None:
    """out[i] = cos(x[i]).  Same shape"""


@door(operations=5)
def tanh(x: Array, out: Array) -> None:
    """out[i] = (e ** x[i] - e ** -x[i]) / (e ** x[i] + e ** -x[i]).  Same shape"""


@door()
def erf(x: Array, out: Array) -> None:
    """out[i] = 2 / sqrt(pi) * integral of e ** -(t * t) for t from 0 to x[i].  Same shape"""


@door(operations=5)
def gelu(x: Array, out: Array) -> None:
    """out[i] = x[i] * P(x[i]), where P(x) = (1 + erf(x / sqrt(2))) / 2.  Same shape; 0 at -inf"""


@door(operations=8)
def gelu_backward(grad: Array, x: Array, out: Array) -> None:
    """out[i] = grad[i] * (P(x[i]) + x[i] * e ** (-x[i] ** 2 / 2) / sqrt(2 * pi)).  Same shape

    P as in gelu. The slope is 0 at -inf and 1 at inf.
    """


@door(operations=4)
def silu(x: Array, out: Array) -> None:
    """out[i] = x[i] / (1 + e ** -x[i]).  Same shape; 0 at -inf"""


@door(operations=8)
def silu_backward(grad: Array, x: Array, out: Array) -> None:
    """out[i] = grad[i] * s * (1 + x[i] * (1 - s)), where s = sigmoid(x[i]).  Same shape

    The slope is 0 at -inf and 1 at inf.
    """


@door(operations=3)
def softplus(x: Array, out: Array) -> None:
    """out[i] = log(1 + e ** x[i]), without overflow.  Same shape"""


@door(operations=4)
def softplus_backward(grad: Array, x: Array, out: Array) -> None:
    """out[i] = grad[i] * sigmoid(x[i]).  Same shape"""


@door()
def floor(x: Array, out: Array) -> None:
    """out[i] = x[i] rounded down.  Same shape"""


@door()
def ceil(x: Array, out: Array) -> None:
    """out[i] = x[i] rounded up.  Same shape"""


@door()
def round(x: Array, out: Array) -> None:
    """out[i] = x[i] rounded to the nearest integer, halves to the even one.  Same shape"""


@door(data="x")
def where(condition: Array, x: Array, y: Array, out: Array) -> None:
    """out[i] = x[i] if condition[i] else y[i].  Same shape; condition is bool"""


# Reductions and layout


@door()
def sum(x: Array, out: Array) -> None:
    """out = x summed over every axis that has size 1 in out's shape or is missing at its front.

    For x (2, 3, 4) and out (3, 1): for i, j, k: out[j, 0] += x[i, j, k], with out = 0 at first.
    x: any shape; out: any shape that broadcasts to x's
    """


@door()
def max(x: Array, out: Array) -> None:
    """out = the largest element over the axes over which sum would add; NaN if one of them is NaN.

    x: any shape where no such axis has size 0; out: any shape that broadcasts to x's
    """


@door()
def min(x: Array, out: Array) -> None:
    """out = the smallest element over the axes over which sum would add; NaN if one of them is NaN.

    x: any shape where no such axis has size 0; out: any shape that broadcasts to x's
    """


@door()
def cumsum(x: Array, out: Array) -> None:
    """out[r, c] = x[r, 0] + ... + x[r, c].  x, out: (R, C)"""


@door(operations=0)
def broadcast_to(x: Array, out: Array) -> None:
    """out = x, repeated along every axis that has size 1 in x's shape or is missing at its front.

    x: any shape that broadcasts to out's. This is the gradient of sum.
    """


@door()
def argmax(x: Array, out: Array) -> None:
    """out[r] = the column of row r's largest element: the first NaN, else the first of equal ones.

    x: (R, C) with C >= 1; out: (R,) int64
    """


@door()
def argmin(x: Array, out: Array) -> None:
    """out[r] = the column of row r's smallest element: the first NaN, else the first of equal ones.

    x: (R, C) with C >= 1; out: (R,) int64
    """


@door(operations=0)
def transpose(x: Array, out: Array, axes: tuple[int, ...]) -> None:
    """out = x with its axes in another order: axis i of out is axis axes[i] of x.

    x: any shape; axes: a permutation of its axes, none negative
    """


@door(operations=0, gathers=True)
def take(x: Array, index: Array, out: Array) -> None:
    """for r, c: out[r, c] = x[index[r], c]

    x: (N, C); index: (R,) int64 in 0 to N - 1; out: (R, C)
    """


@door()
def scatter_add(grad: Array, index: Array, out: Array) -> None:
    """for r, c: out[index[r], c] += grad[r, c], with out = 0 at first: the gradient of take.

    grad: (R, C); index: (R,) int64 in 0 to N - 1; out: (N, C)
    """


@door(writes="", changes="out", operations=0)
def put(x: Array, index: Array, out: Array) -> None:
    """for r, c: out[index[r], c] = x[r, c]; other rows of out keep their values.

    x: (R, C); index: (R,) int64 in 0 to N - 1; out: (N, C), changed in place. Where an index occurs
    more than once, the last row wins.
    """


@door(operations=0)
def concat(x: Array, out: Array, start: int) -> None:
    """for a, n, b: out[a, start + n, b] = x[a, n, b]: one of the pieces of out.

    x: (A, n, B); out: (A, N, B). One call for each piece writes all of out.
    """


@door(operations=0)
def cast(x: Array, out: Array) -> None:
    """out[i] = x[i] in out's dtype, from any dtype to any.  Same shape; NumPy's on every backend"""


# Linear algebra


@door(operations=_matmul_operations)
def matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
    """for b, m, n, k: out[b, m, n] += x[b, m, k] * y[b, k, n], with out = 0 at first.

    x: (B, M, K), or (B, K, M) with transpose_x; y: (B, K, N), or (B, N, K) with transpose_y;
    out: (B, M, N). All three may lack the axis B: a single product.
    """


@door(operations=_matmul_operations)
def sparse_matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
    """for m, n, k: out[m, n] += x[m, k] * y[k, n], with out = 0 at first.

    The same as matmul for one matrix. A backend may skip products with x[m, k] = 0 if all of y is
    finite.
    x: (M, K), or (K, M) with transpose_x; y: (K, N), or (N, K) with transpose_y; out: (M, N)
    """


# Convolution


@door(operations=_conv2d_operations)
def conv2d(
    x: Array, weight: Array, out: Array, stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    """for all indices: out[n, h, w, o] += x[n, top + a, left + b, i] * weight[a, b, i, o]

    with out = 0 at first, top = h * stride[0] - padding[0] and left = w * stride[1] - padding[1].
    x: (N, H, W, I), 0 outside the image; weight: (KH, KW, I, O); out: (N, OH, OW, O). The padding
    at the bottom and right follows from out's shape. Backends may leave out the product of a 0
    outside the image and a weight that is not finite, which is NaN.
    """


@door(operations=_conv2d_grad_x_operations)
def conv2d_grad_x(
    grad: Array, weight: Array, out: Array, stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    """for all indices: out[n, top + a, left + b, i] += weight[a, b, i, o] * grad[n, h, w, o]

    with out = 0 at first, and top and left as in conv2d; pixels outside the image are skipped.
    grad: (N, OH, OW, O); weight: (KH, KW, I, O); out: (N, H, W, I). Backends may count windows
    outside of grad as 0, so a weight that is not finite may make a pixel near an edge NaN that it
    does not touch. They may also leave out such products.
    """


@door(operations=_conv2d_grad_weight_operations)
def conv2d_grad_weight(
    x: Array, grad: Array, out: Array, stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    """for all indices: out[a, b, i, o] += x[n, top + a, left + b, i] * grad[n, h, w, o]

    with out = 0 at first, and top and left as in conv2d.
    x: (N, H, W, I), 0 outside the image; grad: (N, OH, OW, O); out: (KH, KW, I, O). Backends may
    leave out the product of a 0 outside the image and an element of grad that is not finite.
    """


# Pooling


@door()
def argmax_pool2d(
    x: Array,
    out: Array,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    """out[n, h, w, c] = the index in the flattened x of the largest element of a window.

    A window is the elements x[n, top + a, left + b, c] inside the image for a < size[0] and
    b < size[1], with top and left as in conv2d. The first NaN wins, else the first of equal ones.
    x: (N, H, W, C); out: (N, OH, OW, C) int64. Every window touches the image.
    """


@door()
def sum_pool2d(
    x: Array,
    out: Array,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    """for n, h, w, c, a, b: out[n, h, w, c] += x[n, top + a, left + b, c], with out = 0 at first.

    a < size[0], b < size[1], top and left as in conv2d; elements outside the image are skipped.
    x: (N, H, W, C); out: (N, OH, OW, C)
    """


@door()
def sum_pool2d_grad_x(
    grad: Array,
    out: Array,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    """for n, h, w, c, a, b: out[n, top + a, left + b, c] += grad[n, h, w, c]

    with out = 0 at first and the indices of sum_pool2d, whose gradient this is.
    grad: (N, OH, OW, C); out: (N, H, W, C)
    """


# Classification: each row is one example


@door(operations=4)
def softmax(x: Array, out: Array) -> None:
    """out[r, c] = e ** x[r, c] / (the sum of e ** x[r, :]), without overflow.  x, out: (R, C)"""


@door(operations=4)
def softmax_backward(grad: Array, probs: Array, out: Array) -> None:
    """out[r, c] = probs[r, c] * (grad[r, c] - the sum of grad[r, :] * probs[r, :]).  All: (R, C)"""


@door(operations=4)
def log_softmax(x: Array, out: Array) -> None:
    """out[r, c] = x[r, c] - log(the sum of e ** x[r, :]), without overflow.  x, out: (R, C)"""


@door(operations=4)
def log_softmax_backward(grad: Array, log_probs: Array, out: Array) -> None:
    """out[r, c] = grad[r, c] - e ** log_probs[r, c] * (the sum of grad[r, :]).  All: (R, C)"""


@door(data="logits", operations=4)
def cross_entropy(
    logits: Array, labels: Array, weight: Array, out: Array, smoothing: float
) -> None:
    """out[r] = the sum over c of target[r, c] * -log_softmax(logits)[r, c]

    target[r, c] = weight[c] * ((1 - smoothing) * (c == labels[r]) + smoothing / C). Where labels[r]
    is -1, target[r, :] and out[r] are 0. out: (R,), or () for the sum of all out[r]; logits:
    (R, C); labels: (R,) int64 from -1 to C - 1; weight: (C,), or () for one weight for all classes
    """


@door(data="logits", operations=5)
def cross_entropy_backward(
    grad: Array, logits: Array, labels: Array, weight: Array, out: Array, smoothing: float
) -> None:
    """out[r, c] = (softmax(logits)[r, c] * target[r, :].sum() - target[r, c]) * grad[r]

    with target as in cross_entropy. Where labels[r] is -1, out[r, :] is 0. grad: (R,) or ();
    logits, out: (R, C); labels and weight as in cross_entropy
    """


@door(writes="out grad_logits", data="logits", operations=6)
def cross_entropy_and_grad(
    grad: Array,
    logits: Array,
    labels: Array,
    weight: Array,
    out: Array,
    grad_logits: Array,
    smoothing: float,
) -> None:
    """out = cross_entropy(logits, ...) and grad_logits = its gradient times grad, in one pass.

    The bits are those of cross_entropy and cross_entropy_backward, which it replaces in programs.
    grad, out: (R,) or (), both the same; grad_logits: (R, C); all others as in cross_entropy
    """


@door(data="out", operations=0)
def one_hot(labels: Array, out: Array) -> None:
    """out[r, c] = 1 if c == labels[r] else 0.  labels: (R,) int64; out: (R, C)"""


# Normalisation of each column


@door(writes="mean var", operations=4)
def moments(x: Array, mean: Array, var: Array) -> None:
    """mean[c] = the mean of x[:, c]; var[c] = the mean of (x[:, c] - mean[c]) ** 2; NaN if R is 0.

    x: (R, C); mean, var: (C,)
    """


@door(operations=4)
def normalize(
    x: Array, mean: Array, var: Array, gamma: Array, beta: Array, out: Array, epsilon: float
) -> None:
    """out[r, c] = (x[r, c] - mean[c]) / sqrt(var[c] + epsilon) * gamma[c] + beta[c]

    x, out: (R, C); mean, var, gamma, beta: (C,)
    """


@door(writes="grad_x grad_gamma grad_beta", operations=10)
def batch_norm_backward(
    grad: Array,
    x: Array,
    mean: Array,
    var: Array,
    gamma: Array,
    grad_x: Array,
    grad_gamma: Array,
    grad_beta: Array,
    epsilon: float,
) -> None:
    """The gradients of normalize, where mean and var are x's own moments.

    With s[c] = 1 / sqrt(var[c] + epsilon) and n[r, c] = (x[r, c] - mean[c]) * s[c]:

        grad_beta[c] = grad[:, c].sum()
        grad_gamma[c] = (grad[:, c] * n[:, c]).sum()
        grad_x[r, c] = gamma[c] * s[c] * (grad[r, c] - (grad_beta[c] + n[r, c] * grad_gamma[c]) / R)

    grad, x, grad_x: (R, C); all other arrays: (C,)
    """


@door(operations=8)
def layer_norm(x: Array, gamma: Array, beta: Array, out: Array, epsilon: float) -> None:
    """out[r, c] = (x[r, c] - mean[r]) / sqrt(var[r] + epsilon) * gamma[c] + beta[c]

    mean[r] and var[r] are the mean and the variance of x[r, :]. x, out: (R, C); gamma, beta: (C,)
    """


@door(writes="grad_x grad_gamma grad_beta", operations=16)
def layer_norm_backward(
    grad: Array,
    x: Array,
    gamma: Array,
    grad_x: Array,
    grad_gamma: Array,
    grad_beta: Array,
    epsilon: float,
) -> None:
    """The gradients of layer_norm.

    With s[r] = 1 / sqrt(var[r] + epsilon), n[r, c] = (x[r, c] - mean[r]) * s[r] and
    g[r, c] = grad[r, c] * gamma[c]:

        grad_beta[c] = grad[:, c].sum()
        grad_gamma[c] = (grad[:, c] * n[:, c]).sum()
        grad_x[r, c] = s[r] * (g[r, c] - g[r, :].mean() - n[r, c] * (g[r, :] * n[r, :]).mean())

    grad, x, grad_x: (R, C); all other arrays: (C,)
    """


# Random numbers


@door(changes="state", data="out")
def dropout_mask(state: Array, out: Array, keep_prob: float) -> None:
    """out[i] = 1 / keep_prob with probability keep_prob, else 0.

    state: (2,) uint64, a seed and the number of draws so far, which is increased in place; out: any
    shape. Draw number i is a hash of the seed and i, the same on every backend and for any number
    of threads.
    """


# Data


@door(data="out", gathers=True)
def load_images(images: Array, index: Array, out: Array) -> None:
    """out[r] = images[index[r]] / 255: one batch from a data set.

    images: (N, ...) uint8; index: (R,) int64 in 0 to N - 1; out: (R, ...) float32, where each row
    has the same number of elements as an image
    """


@door(operations=32)
def warp(images: Array, affine: Array, shifts: Array, out: Array) -> None:
    """out[n, h, w, c] = images[n, y, x, c] at the point (y, x) that pixel (h, w) shows:

        y = affine[n, 0, 0] * h' + affine[n, 0, 1] * w' + affine[n, 0, 2] + shift_y
        x = affine[n, 1, 0] * h' + affine[n, 1, 1] * w' + affine[n, 1, 2] + shift_x

    where h' = h - (H - 1) / 2 and w' = w - (W - 1) / 2 are the distances from the image's centre.
    shifts[n, 0] are the values of shift_y, and shifts[n, 1] those of shift_x, at G x G points that
    are spread over the image, corners included. Between these points, and between pixels, values
    are interpolated linearly along both axes. Pixels outside the image are 0. Each product and each
    sum is rounded, as in NumPy, so all backends compute the same bits.

    images, out: (N, H, W, C), H and W below 2**24; affine: (N, 2, 3); shifts: (N, 2, G, G), G >= 2
    """


# Optimisers: param and the averages of earlier steps are changed in place. All arrays have the same
# shape, except lr, step and decay: (1,) float64.


@door(writes="", changes="param", operations=4)
def sgd(grad: Array, lr: Array, param: Array, weight_decay: float) -> None:
    """param[i] -= lr * (grad[i] + weight_decay * param[i])"""


@door(writes="", changes="velocity param", operations=6)
def sgd_momentum(
    grad: Array,
    lr: Array,
    velocity: Array,
    param: Array,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None:
    """velocity[i] = momentum * velocity[i] + g; param[i] -= lr * velocity[i]

    with g = grad[i] + weight_decay * param[i]. With nesterov, param[i] -= lr * (g + momentum *
    velocity[i]), where velocity is the new one.
    """


@door(writes="", changes="m v param", operations=16)
def adam(
    grad: Array,
    lr: Array,
    step: Array,
    m: Array,
    v: Array,
    param: Array,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> None:
    """m[i] = beta1 * m[i] + (1 - beta1) * grad[i]; v[i] = beta2 * v[i] + (1 - beta2) * grad[i] ** 2

    param[i] -= lr * (m_hat / (sqrt(v_hat) + epsilon) + weight_decay * param[i]), where
    m_hat = m[i] / (1 - beta1 ** step) and v_hat = v[i] / (1 - beta2 ** step)
    """


@door(writes="", changes="square param", operations=9)
def rmsprop(
    grad: Array, lr: Array, square: Array, param: Array, decay: float, epsilon: float
) -> None:
    """square[i] = decay * square[i] + (1 - decay) * grad[i] ** 2

    param[i] -= lr * grad[i] / (sqrt(square[i]) + epsilon)
    """


@door(writes="", changes="average", operations=3)
def moving_average(x: Array, decay: Array, average: Array) -> None:
    """average[i] = decay * average[i] + (1 - decay) * x[i]"""
