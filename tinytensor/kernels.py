"""The contract: every kernel with its shapes.

A kernel is a function that writes into `out`. Each one is declared here once, as a stub: its
arguments, their shapes, one line of mathematics. `numpy_backend.py` is the definition;
`numba_backend.py` and `c_backend.py` compute the same. A call such as `kernels.add(x, y, out)` goes
through door.py to the backend in use, and nothing computes on tensors by any other way.

What holds for all kernels:

- Arrays are C-contiguous, float32 or float64, all of one call alike; labels, indices and argmax's
  result are int64. Strides don't cross the door: matmul has flags for transposition, and what is
  broadcast or summed follows from the shapes.
- Integers and booleans are few in a network: on every backend NumPy computes on them. The door
  decides by the dtype of one array, which the stub names (`data`; by default the first one).
- Inputs come first, then outputs, then numbers. The caller allocates `out`; the kernel writes all
  of it and reads none of it. `put`, and the optimisers' kernels at the end, change it in place.
- What changes from step to step, such as a learning rate, is an array. Numbers are constants.
- Callers check shapes and labels. Kernels trust them.
- Sums over a whole array are kept in float64. NaN, infinities and empty arrays do as in NumPy.
- The same inputs give the same bits, on one backend, machine and instruction set, and with the same
  number of threads. In C their number changes no bit, for a row is computed alike by whoever does
  it; in NumPy it may change the last of matmul's. Between backends and instruction sets sums are
  added up in another order.

Sizes: M K N of a matrix product, R C for rows and columns (C the number of classes).
"""

import math

from tinytensor.arrays import Array
from tinytensor.door import Shapes, door


def _matmul_operations(shapes: Shapes) -> int:
    x, _, out = shapes
    return 2 * math.prod(x) * out[-1]


# Each weight meets each place of a result (N, OH, OW, O).


def _conv2d_operations(shapes: Shapes) -> int:
    _, weight, out = shapes
    return 2 * math.prod(weight) * math.prod(out[:3])


def _conv2d_grad_x_operations(shapes: Shapes) -> int:
    grad, weight, _ = shapes
    return 2 * math.prod(weight) * math.prod(grad[:3])


def _conv2d_grad_weight_operations(shapes: Shapes) -> int:
    _, grad, out = shapes
    return 2 * math.prod(out) * math.prod(grad[:3])


# Broadcasting: out has the shape that x's and y's broadcast to together


@door()
def add(x: Array, y: Array, out: Array) -> None:
    """out = x + y"""


@door()
def sub(x: Array, y: Array, out: Array) -> None:
    """out = x - y"""


@door()
def mul(x: Array, y: Array, out: Array) -> None:
    """out = x * y"""


@door()
def div(x: Array, y: Array, out: Array) -> None:
    """out = x / y"""


@door()
def floor_div(x: Array, y: Array, out: Array) -> None:
    """out = x / y rounded down; exactly so, though x / y is rounded before"""


@door()
def mod(x: Array, y: Array, out: Array) -> None:
    """out = x - floor(x / y) * y, with the sign of y"""


@door()
def pow(x: Array, y: Array, out: Array) -> None:
    """out = x^y"""


@door()
def maximum(x: Array, y: Array, out: Array) -> None:
    """out = the larger of x and y; NaN where either is"""


@door()
def minimum(x: Array, y: Array, out: Array) -> None:
    """out = the smaller of x and y; NaN where either is"""


# out is bool


@door(operations=2)
def add_relu(x: Array, y: Array, out: Array) -> None:
    """out = relu(x + y)"""


@door()
def equal(x: Array, y: Array, out: Array) -> None:
    """out = x == y"""


@door()
def less(x: Array, y: Array, out: Array) -> None:
    """out = x < y"""


@door()
def less_equal(x: Array, y: Array, out: Array) -> None:
    """out = x <= y"""


# Element by element: all arrays have the same shape, of any number of axes


@door()
def neg(x: Array, out: Array) -> None:
    """out = -x"""


@door()
def exp(x: Array, out: Array) -> None:
    """out = e^x"""


@door()
def log(x: Array, out: Array) -> None:
    """out = log x, the natural logarithm"""


@door()
def relu(x: Array, out: Array) -> None:
    """out = x where x >= 0, else 0; a NaN stays"""


@door()
def relu_backward(grad: Array, x: Array, out: Array) -> None:
    """out = grad where x > 0, else 0"""


@door(operations=3)
def sigmoid(x: Array, out: Array) -> None:
    """out = 1 / (1 + e^-x)"""


@door()
def abs(x: Array, out: Array) -> None:
    """out = |x|"""


@door()
def sign(x: Array, out: Array) -> None:
    """out = -1, 0 or 1, as x is below, at or above zero; a NaN stays"""


@door()
def sqrt(x: Array, out: Array) -> None:
    """out = the square root of x"""


@door()
def expm1(x: Array, out: Array) -> None:
    """out = e^x - 1, exact also near 0"""


@door()
def log1p(x: Array, out: Array) -> None:
    """out = log(1 + x), exact also near 0"""


@door()
def sin(x: Array, out: Array) -> None:
    """out = sin x"""


@door()
def cos(x: Array, out: Array) -> None:
    """out = cos x"""


@door(operations=5)
def tanh(x: Array, out: Array) -> None:
    """out = (e^x - e^-x) / (e^x + e^-x)"""


@door()
def erf(x: Array, out: Array) -> None:
    """out = 2 / sqrt(pi) * integral of e^-t^2 from 0 to x"""


@door()
def floor(x: Array, out: Array) -> None:
    """out = x rounded down"""


@door()
def ceil(x: Array, out: Array) -> None:
    """out = x rounded up"""


@door()
def round(x: Array, out: Array) -> None:
    """out = x rounded to the nearest whole number, halves to the even one"""


@door(data="x")
def where(condition: Array, x: Array, y: Array, out: Array) -> None:
    """out = x where condition, which is bool, holds, else y"""


# Reductions and layout


@door()
def sum(x: Array, out: Array) -> None:
    """out = x summed over every axis that is 1 in out's shape or missing at its front.

    x any shape; out any that broadcasts to x's.
    """


@door()
def max(x: Array, out: Array) -> None:
    """out = the largest of x over the axes over which sum adds; a NaN is larger than any number.

    x any shape with no such axis of size 0; out any that broadcasts to x's.
    """


@door()
def min(x: Array, out: Array) -> None:
    """out = the smallest, as max; a NaN is smaller than any number"""


@door()
def cumsum(x: Array, out: Array) -> None:
    """out_rc = the sum of x_r0 to x_rc.  x, out (R, C)"""


@door(operations=0)
def broadcast_to(x: Array, out: Array) -> None:
    """out = x, repeated along every axis that is 1 in x's shape or missing at its front.

    x any shape that broadcasts to out's. The mirror image of sum.
    """


@door()
def argmax(x: Array, out: Array) -> None:
    """out_r = the column of row r's largest; the first of equals, a NaN before all.

    x (R, C) with C >= 1, out (R) int64
    """


@door()
def argmin(x: Array, out: Array) -> None:
    """out_r = the column of row r's smallest; the first of equals, a NaN before all.

    x (R, C) with C >= 1, out (R) int64
    """


@door(operations=0)
def transpose(x: Array, out: Array, axes: tuple[int, ...]) -> None:
    """out = x with its axes in another order: out's axis i is x's axis axes[i].

    x any shape; axes a permutation of its axes, none negative
    """


@door(operations=0, gathers=True)
def take(x: Array, index: Array, out: Array) -> None:
    """out_rc = x_(index_r)c.  x (N, C), index (R) int64 from 0 to N-1, out (R, C)"""


@door()
def scatter_add(grad: Array, index: Array, out: Array) -> None:
    """out = 0, then out_(index_r)c += grad_rc for every r: the mirror image of take.

    grad (R, C), index (R) int64 from 0 to N-1, out (N, C)
    """


@door(writes="", changes="out", operations=0)
def put(x: Array, index: Array, out: Array) -> None:
    """out_(index_r)c = x_rc for every r; the rows that index doesn't name are left as they are.

    x (R, C), index (R) int64 from 0 to N-1, out (N, C); where index repeats, the last x stays
    """


@door(operations=0)
def concat(x: Array, out: Array, start: int) -> None:
    """out_anb = x_a(n-start)b for the n from start on that x has: one of the pieces of out.

    x (A, n, B), out (A, N, B); a call for each piece writes all of out
    """


@door(operations=0)
def cast(x: Array, out: Array) -> None:
    """out = x in out's kind of number, any to any.  Same shape; NumPy's on every backend"""


# Linear algebra


@door(operations=_matmul_operations)
def matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
    """out_bmn = sum over k of x_bmk * y_bkn

    x (B, M, K), or (B, K, M) if transpose_x; y (B, K, N), or (B, N, K) if transpose_y; out
    (B, M, N); or all three without B: a single product.
    """


# Convolution: images (N, H, W, I) of I channels, weights (KH, KW, I, O), results (N, OH, OW, O)


@door(operations=_conv2d_operations)
def conv2d(
    x: Array, weight: Array, out: Array, stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    """out_nhwo = sum over a, b, i of x_n(h*stride0-padding0+a)(w*stride1-padding1+b)i * weight_abio

    What lies outside of x counts as 0; how far below and to the right follows from out's shape.
    """


@door(operations=_conv2d_grad_x_operations)
def conv2d_grad_x(
    grad: Array, weight: Array, out: Array, stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    """out_nyxi = sum of grad_nhwo * weight_abio over all h, a, w, b, o with

    y = h*stride0-padding0+a and x = w*stride1-padding1+b; grad as conv2d's out, out as its x
    Backends may count windows that grad doesn't have as 0: a weight that isn't finite then makes
    pixels near an edge NaN that it doesn't meet.
    """


@door(operations=_conv2d_grad_weight_operations)
def conv2d_grad_weight(
    x: Array, grad: Array, out: Array, stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    """out_abio = sum over n, h, w of x_n(h*stride0-padding0+a)(w*stride1-padding1+b)i * grad_nhwo

    x as conv2d's, grad as its out, out as its weight
    """


# Pooling: images (N, H, W, C), results (N, OH, OW, C); a window has the given size, and the one of
# (h, w) begins at (h*stride0-padding0, w*stride1-padding1). What lies outside of x doesn't count.


@door()
def argmax_pool2d(
    x: Array,
    out: Array,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    """out_nhwc = where in x, counted flat, the largest of the window is; out is int64

    The first of equals, a NaN before all. Every window must reach into x.
    """


@door()
def sum_pool2d(
    x: Array,
    out: Array,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    """out_nhwc = the sum of the window"""


@door()
def sum_pool2d_grad_x(
    grad: Array,
    out: Array,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    """out_nyxc = the sum of grad_nhwc over the windows that hold (y, x): sum_pool2d's mirror image

    grad as sum_pool2d's out, out as its x
    """


# Classification: every row is one example


@door(operations=4)
def softmax(x: Array, out: Array) -> None:
    """out_rc = e^(x_rc) / sum over c of e^(x_rc).  x, out (R, C)"""


@door(operations=4)
def softmax_backward(grad: Array, probs: Array, out: Array) -> None:
    """out_rc = probs_rc * (grad_rc - sum over c of grad_rc * probs_rc).  All (R, C)"""


@door(operations=4)
def log_softmax(x: Array, out: Array) -> None:
    """out_rc = x_rc - log(sum over c of e^(x_rc)).  x, out (R, C)"""


@door(operations=4)
def log_softmax_backward(grad: Array, log_probs: Array, out: Array) -> None:
    """out_rc = grad_rc - e^(log_probs_rc) * sum over c of grad_rc.  All (R, C)"""


@door(data="logits", operations=4)
def cross_entropy(logits: Array, labels: Array, out: Array) -> None:
    """out = mean over r of -log_softmax(logits)[r, labels_r]; NaN if R is 0

    logits (R, C), labels (R) int64 from 0 to C-1, out ()
    """


@door(data="logits", operations=5)
def cross_entropy_backward(grad: Array, logits: Array, labels: Array, out: Array) -> None:
    """out = (softmax(logits) - one_hot(labels)) * grad / R

    grad (), logits and out (R, C), labels (R) int64 from 0 to C-1
    """


@door(writes="out grad_logits", data="logits", operations=6)
def cross_entropy_and_grad(
    grad: Array, logits: Array, labels: Array, out: Array, grad_logits: Array
) -> None:
    """out = cross_entropy(logits, labels), grad_logits = its gradient from grad, in one pass

    With the bits of cross_entropy and cross_entropy_backward, whose place it takes in programs.
    grad, out (), logits, grad_logits (R, C), labels (R) int64 from 0 to C-1
    """


@door(data="out", operations=0)
def one_hot(labels: Array, out: Array) -> None:
    """out_rc = 1 where c is labels_r, else 0.  labels (R) int64, out (R, C)"""


# Normalisation: x (R, C), for each column; mean, var, gamma and beta (C)


@door(writes="mean var", operations=4)
def moments(x: Array, mean: Array, var: Array) -> None:
    """mean_c = mean over r of x_rc; var_c = mean over r of (x_rc - mean_c)^2; NaN if R is 0"""


@door(operations=4)
def normalize(
    x: Array, mean: Array, var: Array, gamma: Array, beta: Array, out: Array, epsilon: float
) -> None:
    """out_rc = (x_rc - mean_c) / sqrt(var_c + epsilon) * gamma_c + beta_c"""


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

    With n_rc = (x_rc - mean_c) / sqrt(var_c + epsilon): grad_beta_c = sum over r of grad_rc,
    grad_gamma_c = sum over r of grad_rc * n_rc, grad_x_rc = gamma_c / sqrt(var_c + epsilon) *
    (grad_rc - grad_beta_c / R - n_rc * grad_gamma_c / R).  grad, grad_x (R, C), the others (C)
    """


# Random numbers: state (2) uint64 is a seed and a count of numbers drawn; it is moved on in place


@door(changes="state", data="out")
def dropout_mask(state: Array, out: Array, keep_prob: float) -> None:
    """out = 1 / keep_prob with probability keep_prob, else 0.

    The i-th number drawn is a hash of seed and i: the same on every backend, thread by thread.
    """


# Data


@door(data="out", gathers=True)
def load_images(images: Array, index: Array, out: Array) -> None:
    """out_r = images[index_r] / 255, one batch from a data set.

    images (N, ...) uint8, index (R) int64 from 0 to N-1, out (R, ...) float32 of as many numbers
    """


# Optimisers: param, and what they remember of earlier steps, are updated in place. All arrays have
# any one shape but lr, step and decay, which are (1) float64. weight_decay w pulls towards 0.


@door(writes="", changes="param", operations=4)
def sgd(grad: Array, lr: Array, param: Array, weight_decay: float) -> None:
    """param = param - lr * (grad + w * param)"""


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
    """velocity = momentum * velocity + g, with g = grad + w * param; param = param - lr * velocity,

    or, with nesterov, param - lr * (g + momentum * velocity)
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
    """m = beta1 * m + (1 - beta1) * grad; v = beta2 * v + (1 - beta2) * grad^2;

    param = param - lr * (m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + epsilon) + w * param)
    """


@door(writes="", changes="square param", operations=9)
def rmsprop(
    grad: Array, lr: Array, square: Array, param: Array, decay: float, epsilon: float
) -> None:
    """square = decay * square + (1 - decay) * grad^2;

    param = param - lr * grad / (sqrt(square) + epsilon)
    """


@door(writes="", changes="average", operations=3)
def moving_average(x: Array, decay: Array, average: Array) -> None:
    """average = decay * average + (1 - decay) * x"""
