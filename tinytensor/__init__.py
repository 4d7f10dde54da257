"""tinytensor: a small, readable tensor engine with autograd, on NumPy, Numba or C.

>>> import tinytensor as tt
>>> x = tt.Tensor([[1.0, 2.0]])
>>> w = tt.Tensor([[0.5], [0.25]], requires_grad=True)
>>> loss = (x @ w).sum()
>>> loss.backward()
>>> w.grad
Tensor([[1.],
        [2.]], dtype=float32)
"""

import tinytensor.interrupt  # isort: skip - before all that takes time
import tinytensor.tensor  # isort: skip # noqa: F401 - first: Tensor and its ops need each other

from tinytensor import datasets, errors, lessons, live, nn, ops, optim
from tinytensor.autograd import (
    detect_anomaly,
    enable_grad,
    grad,
    graph,
    is_grad_enabled,
    no_grad,
)
from tinytensor.capture.captured import capture
from tinytensor.checkpoint import load, save
from tinytensor.door import (
    available_backends,
    backend,
    current_backend,
    num_threads,
    set_backend,
    set_num_threads,
    use_kernel,
)
from tinytensor.errors import *
from tinytensor.gradcheck import gradcheck, gradgradcheck
from tinytensor.ops.convolution import *
from tinytensor.ops.creation import *
from tinytensor.ops.elementwise import *
from tinytensor.ops.index import *
from tinytensor.ops.linalg import *
from tinytensor.ops.network import *
from tinytensor.ops.operands import *
from tinytensor.ops.reduce import *
from tinytensor.ops.shape import *
from tinytensor.random import manual_seed
from tinytensor.tensor import Tensor, from_dlpack, from_numpy

# torch's names for the same ops
cat, clamp, view, mm = ops.concat, ops.clip, ops.reshape, ops.matmul
eq, ne, lt, le = ops.equal, ops.not_equal, ops.less, ops.less_equal
gt, ge = ops.greater, ops.greater_equal

__all__ = [
    "Tensor",
    "available_backends",
    "backend",
    "capture",
    "cat",
    "clamp",
    "current_backend",
    "datasets",
    "detect_anomaly",
    "enable_grad",
    "eq",
    "from_dlpack",
    "from_numpy",
    "ge",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "gt",
    "is_grad_enabled",
    "le",
    "lessons",
    "live",
    "load",
    "lt",
    "manual_seed",
    "mm",
    "ne",
    "nn",
    "no_grad",
    "num_threads",
    "optim",
    "save",
    "set_backend",
    "set_num_threads",
    "use_kernel",
    "view",
]
__all__ += errors.__all__ + ops.__all__ + ops.creation.__all__
