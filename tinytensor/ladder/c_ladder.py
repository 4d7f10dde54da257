"""The lower rungs of the ladders in C: `matmul_blocked` calls `tt_matmul_blocked` of csrc/ladder/.

Each rung has the arguments and the result of its kernel (see tinytensor/kernels.py). The top rung,
threaded, is the kernel of the C backend.
"""

from collections.abc import Callable

from tinytensor.arrays import Array
from tinytensor.backends import c_backend
from tinytensor.backends.axes import Pair
from tinytensor.backends.c_backend import _convolution, _for, require


def _matmul(rung: str) -> Callable[[Array, Array, Array, bool, bool], None]:
    name = f"matmul_{rung}"
    require([name])

    def kernel(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
        c = _for(x, y, out)
        B, (M, N) = (1, out.shape) if out.ndim == 2 else (len(out), out.shape[1:])
        K = x.shape[-2 if transpose_x else -1]
        getattr(c, name)(c.at(x), c.at(y), c.to(out), B, M, K, N, transpose_x, transpose_y)

    return kernel


matmul_naive, matmul_loop_order, matmul_blocked = map(_matmul, ("naive", "loop_order", "blocked"))
matmul_vectorised, matmul_packed = map(_matmul, ("vectorised", "packed"))
matmul_threaded = c_backend.matmul


def _sparse_matmul(rung: str) -> Callable[[Array, Array, Array, bool, bool], None]:
    name = f"sparse_matmul_{rung}"
    require([name])

    def kernel(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
        c = _for(x, y, out)
        M, N = out.shape
        K = x.shape[0 if transpose_x else 1]
        getattr(c, name)(c.at(x), c.at(y), c.to(out), M, K, N, transpose_x, transpose_y)

    return kernel


sparse_matmul_tested, sparse_matmul_listed = map(_sparse_matmul, ("tested", "listed"))
sparse_matmul_threaded = c_backend.sparse_matmul


def _softmax(rung: str) -> Callable[[Array, Array], None]:
    name = f"softmax_{rung}"
    require([name])

    def kernel(x: Array, out: Array) -> None:
        c = _for(x, out)
        getattr(c, name)(c.at(x), c.to(out), *x.shape)

    return kernel


softmax_naive, softmax_vectorised = map(_softmax, ("naive", "vectorised"))
softmax_abreast, softmax_blocked = map(_softmax, ("abreast", "blocked"))
softmax_threaded = c_backend.softmax


def _conv2d(rung: str) -> Callable[[Array, Array, Array, Pair, Pair], None]:
    name = f"conv2d_{rung}"
    require([name])

    def kernel(x: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> None:
        c = _for(x, weight, out)
        sizes = _convolution(x.shape, weight.shape, out.shape, stride, padding)
        getattr(c, name)(c.at(x), c.at(weight), c.to(out), sizes)

    return kernel


conv2d_naive, conv2d_loop_order = map(_conv2d, ("naive", "loop_order"))
conv2d_im2col, conv2d_direct = map(_conv2d, ("im2col", "direct"))
conv2d_winograd, conv2d_lanes = map(_conv2d, ("winograd", "lanes"))
conv2d_threaded = c_backend.conv2d
