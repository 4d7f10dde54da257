"""The lower rungs of the ladders in C: `matmul_blocked` calls `tt_matmul_blocked` of csrc/ladder/.

Each rung has the arguments and the result of its kernel (see tinytensor/kernels.py). The top rung,
threaded, is the kernel of the C backend.
"""

import functools
from typing import Any

from tinytensor.backends import c_backend
from tinytensor.backends.c_backend import _for, require
from tinytensor.backends.lowering import Lowered, LoweredKernel, lowered


def _rung(kernel: str, rung: str) -> LoweredKernel[...]:
    """Return a rung: the call of its kernel, with another function of C."""
    name = f"{kernel}_{rung}"
    require([name])
    of_kernel: LoweredKernel[...] = getattr(c_backend, kernel)

    @functools.wraps(of_kernel.lower)
    def lower(*arguments: Any) -> Lowered:
        _, c_arguments = of_kernel.lower(*arguments)
        return getattr(_for(arguments[0]), name), c_arguments

    return lowered(lower)


matmul_naive, matmul_loop_order = _rung("matmul", "naive"), _rung("matmul", "loop_order")
matmul_blocked, matmul_vectorised = _rung("matmul", "blocked"), _rung("matmul", "vectorised")
matmul_packed, matmul_threaded = _rung("matmul", "packed"), c_backend.matmul

sparse_matmul_tested = _rung("sparse_matmul", "tested")
sparse_matmul_listed = _rung("sparse_matmul", "listed")
sparse_matmul_threaded = c_backend.sparse_matmul

softmax_naive, softmax_vectorised = _rung("softmax", "naive"), _rung("softmax", "vectorised")
softmax_abreast, softmax_blocked = _rung("softmax", "abreast"), _rung("softmax", "blocked")
softmax_threaded = c_backend.softmax

conv2d_naive, conv2d_loop_order = _rung("conv2d", "naive"), _rung("conv2d", "loop_order")
conv2d_im2col, conv2d_direct = _rung("conv2d", "im2col"), _rung("conv2d", "direct")
conv2d_winograd, conv2d_lanes = _rung("conv2d", "winograd"), _rung("conv2d", "lanes")
conv2d_threaded = c_backend.conv2d
