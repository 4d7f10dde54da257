"""The C backend: pointers and sizes go to the compiled kernels of csrc/.

Each function checks that all its arrays have one precision, then calls `tt_<its name>` in the
variant for that precision and this CPU. cffi's from_buffer refuses arrays that aren't contiguous,
and C never sees a wrong pointer. The GIL is free while C computes.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tinytensor.backends.axes import Sizes, broadcast, permutation, reduction
from tinytensor.errors import BackendUnavailable, DTypeError
from tinytensor.kernels import KERNELS, Array

try:
    from tinytensor.backends._c import ffi, lib
except ImportError as error:
    note = Path(__file__).with_name("_c_build_error.txt")
    reason = note.read_text(encoding="utf-8").strip() if note.exists() else str(error)
    raise BackendUnavailable(
        f"c: the kernels were not compiled when tinytensor was installed ({reason}); mend it by "
        "installing gcc or clang (on Debian: apt-get install gcc python3-dev), then in the folder "
        "of tinytensor: pip install --force-reinstall --no-deps ."
    ) from None

SIMD = ffi.string(lib.tt_simd()).decode()


def _pointer_to(number: str) -> Callable[[Array], Any]:
    """A function from a contiguous array to a C pointer to numbers of that type."""
    return partial(ffi.from_buffer, ffi.typeof(f"{number}[]"))


def _variant(suffix: str, real: str) -> SimpleNamespace:
    """The kernels of one precision, their names as in Python; `at(array)` is a pointer."""
    kernels = {name: getattr(lib, f"tt_{name}_{suffix}") for name in KERNELS}
    return SimpleNamespace(**kernels, at=_pointer_to(real))


_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_SINGLE = _variant(f"float32_{SIMD}", "float")
_DOUBLE = _variant("float64_baseline", "double")
_bytes_at = _pointer_to("uint8_t")
_int64_at = _pointer_to("int64_t")


def _for(*arrays: Array) -> SimpleNamespace:
    """The variant for these arrays, which must all be float32 or all float64."""
    for array in arrays:
        if array.dtype is not _FLOAT32:
            return _for_other(arrays)
    return _SINGLE


def _for_other(arrays: tuple[Array, ...]) -> SimpleNamespace:
    dtypes = {array.dtype for array in arrays}
    if dtypes == {_FLOAT32}:
        return _SINGLE  # spelled in another way, such as "<f4"
    if dtypes == {_FLOAT64}:
        return _DOUBLE
    names = " and ".join(sorted(map(str, dtypes)))
    raise DTypeError(f"c backend: arrays all of float32 or all of float64 are needed, got {names}")


def _int64(array: Array) -> Any:
    if array.dtype != np.int64:
        raise DTypeError(f"c backend: int64 is needed, got {array.dtype}")
    return _int64_at(array)


@lru_cache(maxsize=4096)
def _sizes(sizes: Sizes) -> Any:
    return ffi.new("int64_t[]", sizes)


# Broadcasting


@lru_cache(maxsize=1024)
def _broadcast(x_shape: Sizes, y_shape: Sizes, shape: Sizes) -> tuple[Any, ...]:
    sizes = broadcast(x_shape, y_shape, shape)
    return len(sizes[0]), *map(_sizes, sizes)


def add(x: Array, y: Array, out: Array) -> None:
    c = _for(x, y, out)
    c.add(c.at(x), c.at(y), c.at(out), *_broadcast(x.shape, y.shape, out.shape))


def sub(x: Array, y: Array, out: Array) -> None:
    c = _for(x, y, out)
    c.sub(c.at(x), c.at(y), c.at(out), *_broadcast(x.shape, y.shape, out.shape))


def mul(x: Array, y: Array, out: Array) -> None:
    c = _for(x, y, out)
    c.mul(c.at(x), c.at(y), c.at(out), *_broadcast(x.shape, y.shape, out.shape))


def div(x: Array, y: Array, out: Array) -> None:
    c = _for(x, y, out)
    c.div(c.at(x), c.at(y), c.at(out), *_broadcast(x.shape, y.shape, out.shape))


# Element by element


def neg(x: Array, out: Array) -> None:
    c = _for(x, out)
    c.neg(c.at(x), c.at(out), out.size)


def exp(x: Array, out: Array) -> None:
    c = _for(x, out)
    c.exp(c.at(x), c.at(out), out.size)


def log(x: Array, out: Array) -> None:
    c = _for(x, out)
    c.log(c.at(x), c.at(out), out.size)


def relu(x: Array, out: Array) -> None:
    c = _for(x, out)
    c.relu(c.at(x), c.at(out), out.size)


def relu_backward(grad: Array, x: Array, out: Array) -> None:
    c = _for(grad, x, out)
    c.relu_backward(c.at(grad), c.at(x), c.at(out), out.size)


def sigmoid(x: Array, out: Array) -> None:
    c = _for(x, out)
    c.sigmoid(c.at(x), c.at(out), out.size)


# Reductions and layout


@lru_cache(maxsize=1024)
def _reduction(x_shape: Sizes, out_shape: Sizes) -> tuple[Any, ...]:
    kept, kept_strides, reduced, reduced_strides = reduction(x_shape, out_shape)
    kept_sizes = len(kept), _sizes(kept), _sizes(kept_strides)
    return *kept_sizes, len(reduced), _sizes(reduced), _sizes(reduced_strides)


def sum(x: Array, out: Array) -> None:
    c = _for(x, out)
    c.sum(c.at(x), c.at(out), *_reduction(x.shape, out.shape))


def broadcast_to(x: Array, out: Array) -> None:
    c = _for(x, out)
    shape, strides, _ = broadcast(x.shape, out.shape, out.shape)
    c.broadcast_to(c.at(x), c.at(out), len(shape), _sizes(shape), _sizes(strides))


def argmax(x: Array, out: Array) -> None:
    c = _for(x)
    c.argmax(c.at(x), _int64(out), *x.shape)


def transpose(x: Array, out: Array, axes: tuple[int, ...]) -> None:
    c = _for(x, out)
    shape, strides = permutation(x.shape, axes)
    c.transpose(c.at(x), c.at(out), len(shape), _sizes(shape), _sizes(strides))


# Linear algebra


def matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
    c = _for(x, y, out)
    M, N = out.shape
    K = x.shape[0] if transpose_x else x.shape[1]
    c.matmul(c.at(x), c.at(y), c.at(out), M, K, N, transpose_x, transpose_y)


# Classification


def softmax(x: Array, out: Array) -> None:
    c = _for(x, out)
    c.softmax(c.at(x), c.at(out), *x.shape)


def softmax_backward(grad: Array, probs: Array, out: Array) -> None:
    c = _for(grad, probs, out)
    c.softmax_backward(c.at(grad), c.at(probs), c.at(out), *out.shape)


def log_softmax(x: Array, out: Array) -> None:
    c = _for(x, out)
    c.log_softmax(c.at(x), c.at(out), *x.shape)


def log_softmax_backward(grad: Array, log_probs: Array, out: Array) -> None:
    c = _for(grad, log_probs, out)
    c.log_softmax_backward(c.at(grad), c.at(log_probs), c.at(out), *out.shape)


def cross_entropy(logits: Array, labels: Array, out: Array) -> None:
    c = _for(logits, out)
    c.cross_entropy(c.at(logits), _int64(labels), c.at(out), *logits.shape)


def cross_entropy_backward(grad: Array, logits: Array, labels: Array, out: Array) -> None:
    c = _for(grad, logits, out)
    c.cross_entropy_backward(c.at(grad), c.at(logits), _int64(labels), c.at(out), *logits.shape)


def one_hot(labels: Array, out: Array) -> None:
    c = _for(out)
    c.one_hot(_int64(labels), c.at(out), *out.shape)


# Data


def load_images(images: Array, index: Array, out: Array) -> None:
    if images.dtype != np.uint8:
        raise DTypeError(f"c backend: images of uint8 are needed, got {images.dtype}")
    c = _for(out)
    R = len(index)
    c.load_images(_bytes_at(images), _int64(index), c.at(out), R, out.size // max(R, 1))


# Optimisers


def sgd(grad: Array, lr: Array, param: Array) -> None:
    c = _for(grad, param)
    c.sgd(c.at(grad), _DOUBLE.at(lr), c.at(param), param.size)


# Not kernels: what every backend tells and takes


def num_threads() -> int:
    """The most threads a kernel may use."""
    return int(lib.tt_get_threads())


def set_num_threads(n: int) -> None:
    """Let kernels use up to n threads (64 at the most)."""
    lib.tt_set_threads(min(n, 64))


def description() -> str:
    """Compiler and instruction set."""
    return f"{ffi.string(lib.tt_compiler()).decode()}, {SIMD} instructions"
