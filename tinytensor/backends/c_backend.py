"""The C backend: pointers and sizes go to the compiled kernels of csrc/.

Each function lowers a call (lowering.py). It checks that all its arrays have one dtype, and returns
`tt_<its name>_<dtype>`, with the pointers and sizes that C needs. The instruction set is the widest
that this CPU has, or the environment variable TINYTENSOR_SIMD. TINYTENSOR_WINOGRAD=0 lets all
convolutions be computed by plain sums. cffi's from_buffer refuses arrays that aren't contiguous, so
C never gets a wrong pointer. The GIL is released while C computes.
"""

import builtins
import os
import platform
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.axes import Pair, Sizes, broadcast, permutation, reduction
from tinytensor.backends.lowering import Lowered, LoweredKernel, lowered, no_memory
from tinytensor.cores import cores
from tinytensor.door import CONTRACTS
from tinytensor.errors import BackendUnavailable, DTypeError, SettingError
from tinytensor.forks import held_during_fork

REINSTALL = "pip install --force-reinstall --no-deps -e ., in its folder"
try:
    from tinytensor.backends._c import ffi, lib
except ImportError as error:
    note = Path(__file__).with_name("_c_build_error.txt")  # a sentence, then the compiler's output
    text = note.read_text(encoding="utf-8") if note.exists() else str(error)
    reason, _, output = text.partition("\n")
    raise BackendUnavailable(
        f"c: the kernels were not compiled when tinytensor was installed: {reason}; install gcc or "
        "clang (on Debian: apt-get install gcc python3-dev), then tinytensor again: "
        f"{REINSTALL}",
        output,
    ) from None

INSTRUCTION_SETS = ("baseline", "avx2", "avx512")  # by their numbers; each holds those before it
WIDEST = ffi.string(lib.tt_simd()).decode()
AVAILABLE = INSTRUCTION_SETS[: INSTRUCTION_SETS.index(WIDEST) + 1]


_from_buffer = ffi.from_buffer


def _pointer_to(elements: Any) -> Callable[[Array], Any]:
    """Returns a function from a contiguous array to a C pointer of this type, such as float[]."""
    return partial(_from_buffer, elements)


def _pointer_to_write(elements: Any) -> Callable[[Array], Any]:
    """The same for arrays that a kernel writes: it refuses read-only arrays."""
    return partial(_from_buffer, elements, require_writable=True)


def functions(dtype: str) -> SimpleNamespace:
    """Return all C functions for a dtype, by their names in Python.

    `at` and `to` make pointers, for reading and for writing; `real` is the type of such a pointer.
    """
    real = ffi.typeof({"float32": "float[]", "float64": "double[]"}[dtype])
    kernels = {
        name.removeprefix("tt_").removesuffix(f"_{dtype}"): getattr(lib, name)
        for name in dir(lib)
        if name.endswith(f"_{dtype}")
    }
    pointers = {"at": _pointer_to(real), "to": _pointer_to_write(real)}
    return SimpleNamespace(**kernels, **pointers, real=real)


_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_SINGLE, _DOUBLE = functions("float32"), functions("float64")
SIMD: str  # the instruction set in use
_choosing = held_during_fork(threading.Lock())  # set_simd changes it in Python and in C


def set_simd(name: str) -> None:
    """Compute with this instruction set, one of AVAILABLE, from now on, in all threads.

    Raises SettingError if this CPU or this build doesn't have it.
    """
    global SIMD
    if name not in AVAILABLE:
        known = ", ".join(AVAILABLE)
        raise SettingError(
            f"instruction set: there is none named {name!r} here; choose from {known}"
        )
    with _choosing:
        SIMD = name
        lib.tt_use_simd(INSTRUCTION_SETS.index(name))


wanted = os.environ.get("TINYTENSOR_SIMD") or WIDEST
try:
    set_simd(wanted)
except SettingError as error:
    raise SettingError(f"TINYTENSOR_SIMD={wanted}: {error}") from None


def use_winograd(may_use: bool) -> None:
    """Let convolutions be computed by Winograd's algorithm, or by plain sums, in all threads.

    Winograd's algorithm, which csrc/winograd.c explains, needs fewer multiplications, and its
    results differ from plain sums by rounding errors, up to about 1e-5 of the largest result.
    """
    lib.tt_use_winograd(may_use)


switch = os.environ.get("TINYTENSOR_WINOGRAD") or "1"
if switch not in ("0", "1"):
    raise SettingError(f"TINYTENSOR_WINOGRAD={switch}: 0 or 1 is needed")
use_winograd(switch == "1")


def _for(*arrays: Array) -> SimpleNamespace:
    """Return the functions for these arrays, which must be all float32 or all float64."""
    for array in arrays:
        if array.dtype is not _FLOAT32:
            return _for_other(*arrays)
    return _SINGLE


def _for_two(x: Array, y: Array) -> SimpleNamespace:
    """The same for two arrays, in half of the time."""
    single = x.dtype is _FLOAT32 and y.dtype is _FLOAT32
    return _SINGLE if single else _for_other(x, y)


def _for_other(*arrays: Array) -> SimpleNamespace:
    dtypes = {array.dtype for array in arrays}
    if dtypes == {_FLOAT32}:
        return _SINGLE  # an equal dtype that is another object, such as "<f4"
    if dtypes == {_FLOAT64}:
        return _DOUBLE
    names = " and ".join(sorted(map(str, dtypes)))
    raise DTypeError(f"c backend: arrays all of float32 or all of float64 are needed, got {names}")


def _of(dtype: type, pointer_to: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """Return a function from an array of exactly this dtype to a pointer."""
    needed = np.dtype(dtype)

    def pointer(array: Array) -> Any:
        if array.dtype != needed:
            raise DTypeError(f"c backend: {needed} is needed, got {array.dtype}")
        return pointer_to(array)

    return pointer


_bools = _of(np.bool_, _pointer_to(ffi.typeof("uint8_t[]")))
_bytes = _of(np.uint8, _pointer_to(ffi.typeof("uint8_t[]")))
_int64 = _of(np.int64, _pointer_to(ffi.typeof("int64_t[]")))
_bools_to = _of(np.bool_, _pointer_to_write(ffi.typeof("uint8_t[]")))
_int64_to = _of(np.int64, _pointer_to_write(ffi.typeof("int64_t[]")))
_state = _of(np.uint64, _pointer_to_write(ffi.typeof("uint64_t[]")))


@lru_cache(maxsize=4096)
def _sizes(sizes: Sizes) -> Any:
    return ffi.new("int64_t[]", sizes)


# Broadcasting


@lru_cache(maxsize=1024)
def _broadcast(x_shape: Sizes, y_shape: Sizes, shape: Sizes) -> tuple[Any, ...]:
    sizes = broadcast(x_shape, y_shape, shape)
    return len(sizes[0]), *map(_sizes, sizes)


@lru_cache(maxsize=1024)
def _one_row(size: int) -> tuple[Any, ...]:
    """The same for arrays of one size, which are then rows of this size."""
    return _broadcast((size,), (size,), (size,))


def _pairs(name: str) -> LoweredKernel[[Array, Array, Array]]:
    @lowered
    def kernel(x: Array, y: Array, out: Array) -> Lowered:
        # _for, c.at and c.to, written out, because half of the time of a small op is spent here
        single = x.dtype is _FLOAT32 and y.dtype is _FLOAT32 and out.dtype is _FLOAT32
        c = _SINGLE if single else _for_other(x, y, out)
        real = c.real
        size = out.size
        same = x.size == size and y.size == size
        sizes = _one_row(size) if same else _broadcast(x.shape, y.shape, out.shape)
        pointers = _from_buffer(real, x), _from_buffer(real, y), _from_buffer(real, out, True)
        return getattr(c, name), pointers + sizes

    return kernel


add, sub, mul, div = map(_pairs, ("add", "sub", "mul", "div"))
floor_div, mod, pow = map(_pairs, ("floor_div", "mod", "pow"))
maximum, minimum, add_relu = map(_pairs, ("maximum", "minimum", "add_relu"))


def _compare(name: str) -> LoweredKernel[[Array, Array, Array]]:
    @lowered
    def kernel(x: Array, y: Array, out: Array) -> Lowered:
        c = _for(x, y)
        sizes = _broadcast(x.shape, y.shape, out.shape)
        return getattr(c, name), (c.at(x), c.at(y), _bools_to(out), *sizes)

    return kernel


equal, less, less_equal = map(_compare, ("equal", "less", "less_equal"))


# Element by element


def _each(name: str) -> LoweredKernel[[Array, Array]]:
    @lowered
    def kernel(x: Array, out: Array) -> Lowered:
        c = _for_two(x, out)
        pointers = _from_buffer(c.real, x), _from_buffer(c.real, out, True)
        return getattr(c, name), (*pointers, out.size)

    return kernel


neg, exp, log, relu, sigmoid = map(_each, ("neg", "exp", "log", "relu", "sigmoid"))
abs, sign, sqrt, expm1, log1p = map(_each, ("abs", "sign", "sqrt", "expm1", "log1p"))
sin, cos, tanh, erf = map(_each, ("sin", "cos", "tanh", "erf"))
gelu, silu, softplus = map(_each, ("gelu", "silu", "softplus"))
floor, ceil, round = map(_each, ("floor", "ceil", "round"))


def _each_backward(name: str) -> LoweredKernel[[Array, Array, Array]]:
    @lowered
    def kernel(grad: Array, x: Array, out: Array) -> Lowered:
        c = _for(grad, x, out)
        return getattr(c, name), (c.at(grad), c.at(x), c.to(out), out.size)

    return kernel


relu_backward, gelu_backward = map(_each_backward, ("relu_backward", "gelu_backward"))
silu_backward, softplus_backward = map(_each_backward, ("silu_backward", "softplus_backward"))


@lowered
def where(condition: Array, x: Array, y: Array, out: Array) -> Lowered:
    c = _for(x, y, out)
    return c.where, (_bools(condition), c.at(x), c.at(y), c.to(out), out.size)


# Reductions and layout


@lru_cache(maxsize=1024)
def _reduction(x_shape: Sizes, out_shape: Sizes) -> tuple[Any, ...]:
    kept, kept_strides, reduced, reduced_strides = reduction(x_shape, out_shape)
    kept_sizes = len(kept), _sizes(kept), _sizes(kept_strides)
    return *kept_sizes, len(reduced), _sizes(reduced), _sizes(reduced_strides)


@lowered
def sum(x: Array, out: Array) -> Lowered:
    c = _for_two(x, out)
    pointers = _from_buffer(c.real, x), _from_buffer(c.real, out, True)
    return c.sum, pointers + _reduction(x.shape, out.shape)


@lowered
def max(x: Array, out: Array) -> Lowered:
    c = _for(x, out)
    return c.max, (c.at(x), c.to(out), *_reduction(x.shape, out.shape))


@lowered
def min(x: Array, out: Array) -> Lowered:
    c = _for(x, out)
    return c.min, (c.at(x), c.to(out), *_reduction(x.shape, out.shape))


@lowered
def cumsum(x: Array, out: Array) -> Lowered:
    c = _for(x, out)
    return c.cumsum, (c.at(x), c.to(out), *x.shape)


@lowered
def broadcast_to(x: Array, out: Array) -> Lowered:
    c = _for(x, out)
    shape, strides, _ = broadcast(x.shape, out.shape, out.shape)
    return c.broadcast_to, (c.at(x), c.to(out), len(shape), _sizes(shape), _sizes(strides))


@lowered
def argmax(x: Array, out: Array) -> Lowered:
    c = _for(x)
    return c.argmax, (c.at(x), _int64_to(out), *x.shape)


@lowered
def argmin(x: Array, out: Array) -> Lowered:
    c = _for(x)
    return c.argmin, (c.at(x), _int64_to(out), *x.shape)


@lowered
def transpose(x: Array, out: Array, axes: tuple[int, ...]) -> Lowered:
    c = _for(x, out)
    shape, strides = permutation(x.shape, axes)
    return c.transpose, (c.at(x), c.to(out), len(shape), _sizes(shape), _sizes(strides))


@lowered
def take(x: Array, index: Array, out: Array) -> Lowered:
    c = _for(x, out)
    return c.take, (c.at(x), _int64(index), c.to(out), *out.shape)


@lowered
def scatter_add(grad: Array, index: Array, out: Array) -> Lowered:
    c = _for(grad, out)
    return c.scatter_add, (c.at(grad), _int64(index), c.to(out), *grad.shape, len(out))


@lowered
def put(x: Array, index: Array, out: Array) -> Lowered:
    c = _for(x, out)
    return c.put, (c.at(x), _int64(index), c.to(out), *x.shape)


@lowered
def concat(x: Array, out: Array, start: int) -> Lowered:
    c = _for(x, out)
    A, N, B = out.shape
    return c.concat, (c.at(x), c.to(out), start, A, x.shape[1], N, B)


# Linear algebra


@lowered
def matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> Lowered:
    c = _for(x, y, out)
    B, (M, N) = (1, out.shape) if out.ndim == 2 else (len(out), out.shape[1:])
    K = x.shape[-2 if transpose_x else -1]
    return c.matmul, (c.at(x), c.at(y), c.to(out), B, M, K, N, transpose_x, transpose_y)


@lowered
def sparse_matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> Lowered:
    c = _for(x, y, out)
    M, N = out.shape
    K = x.shape[0 if transpose_x else 1]
    return c.sparse_matmul, (c.at(x), c.at(y), c.to(out), M, K, N, transpose_x, transpose_y)


# Convolution


@lowered
def conv2d(x: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> Lowered:
    c = _for(x, weight, out)
    sizes = _convolution(x.shape, weight.shape, out.shape, stride, padding)
    return c.conv2d, (c.at(x), c.at(weight), c.to(out), sizes)


@lowered
def conv2d_grad_x(grad: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> Lowered:
    c = _for(grad, weight, out)
    sizes = _convolution(out.shape, weight.shape, grad.shape, stride, padding)
    return c.conv2d_grad_x, (c.at(grad), c.at(weight), c.to(out), sizes)


@lowered
def conv2d_grad_weight(x: Array, grad: Array, out: Array, stride: Pair, padding: Pair) -> Lowered:
    c = _for(x, grad, out)
    sizes = _convolution(x.shape, out.shape, grad.shape, stride, padding)
    return c.conv2d_grad_weight, (c.at(x), c.at(grad), c.to(out), sizes)


def _convolution(x: Sizes, weight: Sizes, out: Sizes, stride: Pair, padding: Pair) -> Any:
    N, H, W, I = x  # noqa: E741 - the letters of kernels.py
    KH, KW, _, O = weight  # noqa: E741
    return _sizes((N, H, W, I, KH, KW, O, out[1], out[2], *stride, *padding))


# Pooling


@lowered
def argmax_pool2d(x: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> Lowered:
    c = _for(x)
    return c.argmax_pool2d, (
        c.at(x),
        _int64_to(out),
        _pooling(x.shape, out.shape, size, stride, padding),
    )


@lowered
def sum_pool2d(x: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> Lowered:
    c = _for(x, out)
    return c.sum_pool2d, (c.at(x), c.to(out), _pooling(x.shape, out.shape, size, stride, padding))


@lowered
def sum_pool2d_grad_x(grad: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> Lowered:
    c = _for(grad, out)
    return c.sum_pool2d_grad_x, (
        c.at(grad),
        c.to(out),
        _pooling(out.shape, grad.shape, size, stride, padding),
    )


def _pooling(x: Sizes, out: Sizes, size: Pair, stride: Pair, padding: Pair) -> Any:
    N, H, W, C = x
    return _sizes((N, H, W, C, *size, C, out[1], out[2], *stride, *padding))


# Classification


@lowered
def softmax(x: Array, out: Array) -> Lowered:
    c = _for(x, out)
    return c.softmax, (c.at(x), c.to(out), *x.shape)


@lowered
def softmax_backward(grad: Array, probs: Array, out: Array) -> Lowered:
    c = _for(grad, probs, out)
    return c.softmax_backward, (c.at(grad), c.at(probs), c.to(out), *out.shape)


@lowered
def log_softmax(x: Array, out: Array) -> Lowered:
    c = _for(x, out)
    return c.log_softmax, (c.at(x), c.to(out), *x.shape)


@lowered
def log_softmax_backward(grad: Array, log_probs: Array, out: Array) -> Lowered:
    c = _for(grad, log_probs, out)
    return c.log_softmax_backward, (c.at(grad), c.at(log_probs), c.to(out), *out.shape)


@lowered
def cross_entropy(
    logits: Array, labels: Array, weight: Array, out: Array, smoothing: float
) -> Lowered:
    c = _for(logits, weight, out)
    arrays = c.at(logits), _int64(labels), c.at(weight), c.to(out)
    return c.cross_entropy, (*arrays, smoothing, *logits.shape, weight.ndim, out.ndim)


@lowered
def cross_entropy_and_grad(
    grad: Array,
    logits: Array,
    labels: Array,
    weight: Array,
    out: Array,
    grad_logits: Array,
    smoothing: float,
) -> Lowered:
    c = _for(grad, logits, weight, out, grad_logits)
    arrays = c.at(grad), c.at(logits), _int64(labels), c.at(weight), c.to(out), c.to(grad_logits)
    return c.cross_entropy_and_grad, (*arrays, smoothing, *logits.shape, weight.ndim, out.ndim)


@lowered
def cross_entropy_backward(
    grad: Array, logits: Array, labels: Array, weight: Array, out: Array, smoothing: float
) -> Lowered:
    c = _for(grad, logits, weight, out)
    arrays = c.at(grad), c.at(logits), _int64(labels), c.at(weight), c.to(out)
    return c.cross_entropy_backward, (*arrays, smoothing, *logits.shape, grad.ndim, weight.ndim)


@lowered
def one_hot(labels: Array, out: Array) -> Lowered:
    c = _for(out)
    return c.one_hot, (_int64(labels), c.to(out), *out.shape)


# Normalisation


@lowered
def moments(x: Array, mean: Array, var: Array) -> Lowered:
    c = _for(x, mean, var)
    return c.moments, (c.at(x), c.to(mean), c.to(var), *x.shape)


@lowered
def normalize(
    x: Array, mean: Array, var: Array, gamma: Array, beta: Array, out: Array, epsilon: float
) -> Lowered:
    inputs = x, mean, var, gamma, beta
    c = _for(*inputs, out)
    return c.normalize, (*map(c.at, inputs), c.to(out), epsilon, *x.shape)


@lowered
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
) -> Lowered:
    inputs, outputs = (grad, x, mean, var, gamma), (grad_x, grad_gamma, grad_beta)
    c = _for(*inputs, *outputs)
    pointers = *map(c.at, inputs), *map(c.to, outputs)
    return c.batch_norm_backward, (*pointers, epsilon, *x.shape)


@lowered
def layer_norm(x: Array, gamma: Array, beta: Array, out: Array, epsilon: float) -> Lowered:
    c = _for(x, gamma, beta, out)
    return c.layer_norm, (c.at(x), c.at(gamma), c.at(beta), c.to(out), epsilon, *x.shape)


@lowered
def layer_norm_backward(
    grad: Array,
    x: Array,
    gamma: Array,
    grad_x: Array,
    grad_gamma: Array,
    grad_beta: Array,
    epsilon: float,
) -> Lowered:
    inputs, outputs = (grad, x, gamma), (grad_x, grad_gamma, grad_beta)
    c = _for(*inputs, *outputs)
    pointers = *map(c.at, inputs), *map(c.to, outputs)
    return c.layer_norm_backward, (*pointers, epsilon, *x.shape)


# Random numbers


@lowered
def dropout_mask(state: Array, out: Array, keep_prob: float) -> Lowered:
    c = _for(out)
    return c.dropout_mask, (_state(state), c.to(out), keep_prob, out.size)


# Data


@lowered
def load_images(images: Array, index: Array, out: Array) -> Lowered:
    c = _for(out)
    R = len(index)
    return c.load_images, (
        _bytes(images),
        _int64(index),
        c.to(out),
        R,
        out.size // builtins.max(R, 1),
    )


@lowered
def warp(images: Array, affine: Array, shifts: Array, out: Array) -> Lowered:
    inputs = images, affine, shifts
    c = _for(*inputs, out)
    return c.warp, (*map(c.at, inputs), c.to(out), *images.shape, shifts.shape[-1])


# Optimisers


@lowered
def sgd(grad: Array, lr: Array, param: Array, weight_decay: float) -> Lowered:
    c = _for(grad, param)
    return c.sgd, (c.at(grad), _DOUBLE.at(lr), c.to(param), weight_decay, param.size)


@lowered
def sgd_momentum(
    grad: Array,
    lr: Array,
    velocity: Array,
    param: Array,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> Lowered:
    c = _for(grad, velocity, param)
    arrays = c.at(grad), _DOUBLE.at(lr), c.to(velocity), c.to(param)
    return c.sgd_momentum, (*arrays, momentum, nesterov, weight_decay, param.size)


@lowered
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
) -> Lowered:
    c = _for(grad, m, v, param)
    arrays = c.at(grad), _DOUBLE.at(lr), _DOUBLE.at(step), *map(c.to, (m, v, param))
    return c.adam, (*arrays, beta1, beta2, epsilon, weight_decay, param.size)


@lowered
def rmsprop(
    grad: Array, lr: Array, square: Array, param: Array, decay: float, epsilon: float
) -> Lowered:
    c = _for(grad, square, param)
    arrays = c.at(grad), _DOUBLE.at(lr), c.to(square), c.to(param)
    return c.rmsprop, (*arrays, decay, epsilon, param.size)


@lowered
def moving_average(x: Array, decay: Array, average: Array) -> Lowered:
    c = _for(x, average)
    return c.moving_average, (c.at(x), _DOUBLE.at(decay), c.to(average), average.size)


# Programs: calls that C makes one after the other


class BoundCall(NamedTuple):
    """A kernel call for program.c."""

    runner: Any
    values: Any
    arguments: tuple[Any, ...]  # the arguments for C; they keep the arrays alive


class PointerPlace(NamedTuple):
    """Argument `number` of a call, which points to byte `offset` of an array."""

    values: Any
    number: int
    offset: int


def point(places: Sequence[PointerPlace], array: Array) -> None:
    """Let arguments point to another contiguous array, which the caller keeps alive."""
    start = ffi.from_buffer(array)
    for values, number, offset in places:
        values[number].p = start + offset


def bind(kernel: str, arguments: tuple[Any, ...]) -> BoundCall:
    """Return the call with these arguments for C to make later; raises the kernel's errors."""
    function, c_arguments = globals()[kernel].lower(*arguments)
    values = ffi.new("tt_value[]", len(c_arguments))
    for i, parameter in enumerate(ffi.typeof(function).args):
        if parameter.kind == "pointer":
            values[i].p = ffi.cast("void *", c_arguments[i])
        elif parameter.cname == "double":
            values[i].d = c_arguments[i]
        else:
            values[i].i = c_arguments[i]
    return BoundCall(lib.tt_runner_of(function.__name__.encode()), values, c_arguments)


_NONE = 0, ffi.NULL  # no pointers, no copies


class BoundCalls:
    """Calls that C makes one after the other, for one step or for n steps.

    threads: the largest number of threads of a call; set_num_threads() may allow fewer.
    """

    def __init__(self, calls: Sequence[BoundCall]) -> None:
        self.threads = 64
        self._kept = calls
        self._calls = ffi.new("tt_call[]", [(call.runner, call.values) for call in calls])

    def __call__(self) -> None:
        """Make the calls of one step."""
        if lib.tt_run(self.threads, 1, *_NONE, *_NONE, len(self._calls), self._calls, *_NONE):
            raise no_memory()

    def places_of(self, array: Array) -> list[PointerPlace]:
        """Find the arguments that point to an array."""
        start = int(ffi.cast("intptr_t", ffi.from_buffer(array)))
        places = []
        for call in self._kept:
            for i, argument in enumerate(call.arguments):
                if isinstance(argument, ffi.CData):
                    offset = int(ffi.cast("intptr_t", argument)) - start
                    if 0 <= offset < array.nbytes:
                        places.append(PointerPlace(call.values, i, offset))
        return places

    def run(
        self,
        steps: int,
        in_place: Sequence[tuple[Array, Sequence[PointerPlace]]],
        before: Sequence[tuple[Array, Array]],
        after: Sequence[tuple[Array, Array]],
    ) -> None:
        """Make the calls of `steps` steps, with copies before and after each.

        in_place: pairs (table, places); in step i these arguments point to row i of the table.
        before: pairs (table, array); row i of the table is copied to the array before step i.
        after: pairs (table, array); the array is copied to row i of the table after step i.
        """
        moving = [
            (values + number, ffi.from_buffer(table) + offset, table.strides[0])
            for table, places in in_place
            for values, number, offset in places
        ]
        given = [_copy(table, array, array.nbytes, 0) for table, array in before]
        taken = [_copy(array, table, 0, array.nbytes) for table, array in after]
        pointers = len(moving), ffi.new("tt_pointer[]", moving)
        befores, afters = [(len(c), ffi.new("tt_copy[]", c)) for c in (given, taken)]
        calls = len(self._calls), self._calls
        if lib.tt_run(self.threads, steps, *pointers, *befores, *calls, *afters):
            raise no_memory()


def _copy(source: Array, target: Array, source_step: int, target_step: int) -> tuple[Any, ...]:
    places = ffi.from_buffer(source), ffi.from_buffer(target, require_writable=True)
    return *places, builtins.max(source_step, target_step), source_step, target_step


# Not kernels: the functions that every backend has


def num_threads() -> int:
    """Return the largest number of threads that a kernel may use."""
    return int(lib.tt_get_threads())


def set_num_threads(n: int) -> None:
    """Let kernels use up to n threads, at most 64."""
    lib.tt_set_threads(builtins.min(n, 64))


def description() -> str:
    """Return the compiler and the instruction set."""
    simd = f"baseline {platform.machine()}" if SIMD == "baseline" else SIMD
    return f"{ffi.string(lib.tt_compiler()).decode()}, {simd} instructions"


def require(names: Iterable[str]) -> None:
    """Raise BackendUnavailable if the C function of one of these kernels was not compiled."""
    if stale := [name for name in names if not hasattr(_SINGLE, name)]:
        raise BackendUnavailable(
            f"c: the compiled kernels are older than this source: they lack {', '.join(stale)}; "
            f"compile them again: {REINSTALL}"
        )


require(name for name in CONTRACTS if name in globals())
set_num_threads(cores())
