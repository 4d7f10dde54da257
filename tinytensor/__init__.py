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

from tinytensor import datasets, lessons, optim
from tinytensor.errors import (
    BackendUnavailable,
    DataError,
    DTypeError,
    GradientError,
    LabelError,
    SettingError,
    ShapeError,
    TinytensorError,
    UnknownName,
)
from tinytensor.gradcheck import gradcheck
from tinytensor.kernels import (
    available_backends,
    backend,
    current_backend,
    num_threads,
    set_backend,
    set_num_threads,
)
from tinytensor.make import ones, rand, randn, zeros
from tinytensor.ops import (
    add,
    argmax,
    broadcast_to,
    cross_entropy,
    div,
    exp,
    log,
    log_softmax,
    matmul,
    mean,
    mul,
    neg,
    one_hot,
    relu,
    reshape,
    sigmoid,
    softmax,
    sub,
    sum,
    transpose,
)
from tinytensor.random import manual_seed
from tinytensor.tensor import Tensor, from_numpy, no_grad

__all__ = [
    "BackendUnavailable",
    "DTypeError",
    "DataError",
    "GradientError",
    "LabelError",
    "SettingError",
    "ShapeError",
    "Tensor",
    "TinytensorError",
    "UnknownName",
    "add",
    "argmax",
    "available_backends",
    "backend",
    "broadcast_to",
    "cross_entropy",
    "current_backend",
    "datasets",
    "div",
    "exp",
    "from_numpy",
    "gradcheck",
    "lessons",
    "log",
    "log_softmax",
    "manual_seed",
    "matmul",
    "mean",
    "mul",
    "neg",
    "no_grad",
    "num_threads",
    "one_hot",
    "ones",
    "optim",
    "rand",
    "randn",
    "relu",
    "reshape",
    "set_backend",
    "set_num_threads",
    "sigmoid",
    "softmax",
    "sub",
    "sum",
    "transpose",
    "zeros",
]
