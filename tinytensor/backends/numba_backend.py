"""The Numba backend: every kernel as plain loops, compiled at its first call.

A Python loop over elements is slow. Numba compiles the same loop to machine code. This module
collects the kernels of tinytensor/backends/numba/: compiling.py compiles them, and tile.py is the
inner loop of matmul and convolution, which take most of the time. tinytensor/kernels.py describes
the kernels' arguments.

A kernel whose arrays may have any number of axes gets flat views, and from axes.py the sizes and
strides of the axes over which it loops. thread_pool.py divides large matrix products and
convolutions among threads; all other kernels run on one thread.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tinytensor.backends.lowering import Lowered
from tinytensor.errors import BackendUnavailable

try:
    import numba
except Exception as error:  # also of the LLVM library that it loads
    # A ValueError is about a setting, such as NUMBA_NUM_THREADS=0.
    names = [name for name in os.environ if name.startswith("NUMBA_")]
    is_setting = isinstance(error, ValueError) and names
    cure = f"unset {' '.join(names)}" if is_setting else "pip install --upgrade numba"
    raise BackendUnavailable(
        f"numba: the backend can't be used: {error}; mend it with: {cure}"
    ) from None
if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
    raise BackendUnavailable(
        "numba: the backend can't be used: NUMBA_DISABLE_JIT is set; mend it with: "
        "unset NUMBA_DISABLE_JIT"
    )

from tinytensor.backends.numba.compiling import spent
from tinytensor.backends.numba.conv2d_loops import conv2d, conv2d_grad_weight, conv2d_grad_x
from tinytensor.backends.numba.elementwise_loops import (
    abs,
    add,
    add_relu,
    ceil,
    cos,
    div,
    equal,
    erf,
    exp,
    expm1,
    floor,
    floor_div,
    gelu,
    gelu_backward,
    less,
    less_equal,
    log,
    log1p,
    maximum,
    minimum,
    mod,
    mul,
    neg,
    pow,
    relu,
    relu_backward,
    round,
    sigmoid,
    sign,
    silu,
    silu_backward,
    sin,
    softplus,
    softplus_backward,
    sqrt,
    sub,
    tanh,
    where,
)
from tinytensor.backends.numba.images_loops import load_images
from tinytensor.backends.numba.layout_loops import (
    broadcast_to,
    concat,
    put,
    scatter_add,
    take,
    transpose,
)
from tinytensor.backends.numba.matmul_loops import matmul, sparse_matmul
from tinytensor.backends.numba.normalize_loops import (
    batch_norm_backward,
    layer_norm,
    layer_norm_backward,
    moments,
    normalize,
)
from tinytensor.backends.numba.optimizers_loops import (
    adam,
    moving_average,
    rmsprop,
    sgd,
    sgd_momentum,
)
from tinytensor.backends.numba.pool2d_loops import argmax_pool2d, sum_pool2d, sum_pool2d_grad_x
from tinytensor.backends.numba.random_loops import dropout_mask
from tinytensor.backends.numba.reduce_loops import argmax, argmin, cumsum, max, min, sum
from tinytensor.backends.numba.softmax_loops import (
    cross_entropy,
    cross_entropy_and_grad,
    cross_entropy_backward,
    log_softmax,
    log_softmax_backward,
    one_hot,
    softmax,
    softmax_backward,
)
from tinytensor.backends.numba.thread_pool import pool
from tinytensor.backends.numba.warp_loops import warp

# Programs: calls of compiled code, bound to their arrays once


def bind(kernel: str, arguments: tuple[Any, ...]) -> Lowered:
    """Return the call with these arguments, to be made later; raises the kernel's errors."""
    function = globals()[kernel]
    if not hasattr(function, "lower"):  # a convolution: Python copies images at each call
        return function, arguments
    loops, lowered_arguments = function.lower(*arguments)
    compiled: Lowered = loops.bind(lowered_arguments)
    return compiled


class BoundCalls:
    """Calls that are made one after the other, without the door and the checks of shapes."""

    def __init__(self, calls: Sequence[Lowered]) -> None:
        self._calls = calls

    def __call__(self) -> None:
        """Make the calls of one step."""
        for function, arguments in self._calls:
            function(*arguments)


# Not kernels: the functions that every backend has


def num_threads() -> int:
    """Return the largest number of threads that a kernel may use."""
    return pool.num_threads


def set_num_threads(n: int) -> None:
    """Let kernels use up to n threads."""
    pool.num_threads = n


def compiling() -> dict[str, Any]:
    """Return the kernels compiled and loaded so far, the seconds, and the kernel compiled now."""
    return asdict(spent)


def description() -> str:
    """Return Numba's version."""
    return f"numba {numba.__version__}"
