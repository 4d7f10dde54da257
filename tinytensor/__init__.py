"""tinytensor: a small, readable tensor engine with autograd, on NumPy, Numba or C.

A Tensor is an array that records how it was computed. `loss.backward()` computes the gradient of
the scalar `loss` with respect to each parameter, a tensor that was created with requires_grad=True:

>>> import tinytensor as tt
>>> x = tt.Tensor([[1.0, 2.0]])
>>> w = tt.Tensor([[0.5], [0.25]], requires_grad=True)
>>> loss = (x @ w).sum()
>>> loss.backward()
>>> w.grad
Tensor([[1.],
        [2.]], dtype=float32)

A network, an optimiser and one training step:

>>> model = tt.nn.Sequential(tt.nn.Linear(784, 50), tt.nn.ReLU(), tt.nn.Linear(50, 10))
>>> optimizer = tt.optim.Adam(model.parameters(), lr=0.001)
>>> loss = tt.cross_entropy(model(tt.rand(5, 784)), [3, 1, 4, 1, 5])
>>> optimizer.zero_grad()
>>> loss.backward()
>>> optimizer.step()

Names, by topic; `help(tt.conv2d)` describes one of them:

    tensors      tensor from_numpy zeros ones full arange linspace eye rand randn randint ...
    arithmetic   add sub mul div pow exp log sqrt abs maximum clip where equal less ...
    reductions   sum mean max min argmax var std norm prod cumsum any all logsumexp
    orders       sort argsort topk unique
    shapes       reshape flatten permute transpose squeeze broadcast_to concat stack split pad ...
    matrices     matmul outer einsum linear conv2d tril triu diag
    networks     relu sigmoid softmax cross_entropy dropout batch_norm max_pool2d ... and tt.nn
    training     tt.optim, fit, capture, coach, save, load, export_html, tt.datasets, tt.live ...
    gradients    grad no_grad enable_grad graph detect_anomaly gradcheck
    backends     set_backend backend available_backends set_num_threads use_kernel
    errors       ShapeError DTypeError ...: all of them are TinytensorErrors

Most ops are methods too: `x.sum(axis=0)` is `tt.sum(x, axis=0)`. Where an argument is *array-like*,
it may be a Tensor, a NumPy array, nested lists or a number. dtypes are float32, float64, int32,
int64, uint8 and bool. Arrays follow NumPy's names and networks PyTorch's, but channels come last:
images are (N, H, W, C).
"""

from tinytensor import interrupt  # isort: skip # noqa: F401 - before all that takes time
from tinytensor import tensors  # isort: skip - first: Tensor and its ops need each other

import sys as _sys

from tinytensor import (
    autograd,
    backends,
    checkpoint,
    datasets,
    devices,
    door,
    errors,
    hints,
    interop,  # noqa: F401 - it is public as tt.interop
    lessons,
    live,
    nn,
    onnx,  # noqa: F401 - it is public as tt.onnx
    ops,
    optim,
    parallel,
    random,
    sklearn,
)
from tinytensor.autograd import *
from tinytensor.capture.captured import *
from tinytensor.checkpoint import *
from tinytensor.coach.coaching import *
from tinytensor.devices import *
from tinytensor.door import *
from tinytensor.errors import *
from tinytensor.fitting import fit
from tinytensor.gradcheck import *
from tinytensor.ops.convolution import *
from tinytensor.ops.creation import *
from tinytensor.ops.elementwise import *
from tinytensor.ops.index import *
from tinytensor.ops.linalg import *
from tinytensor.ops.network import *
from tinytensor.ops.operands import *
from tinytensor.ops.order import *
from tinytensor.ops.reduce import *
from tinytensor.ops.shape import *
from tinytensor.random import *
from tinytensor.tensors import *
from tinytensor.web import export_html

__version__ = "0.1.0"

# The dtypes, under the names that NumPy and PyTorch have for them
float32, float64, int32, int64, uint8, bool = tensors.DTYPES

# torch's names for the same functions
cat, clamp, view, mm = ops.concat, ops.clip, ops.reshape, ops.matmul
eq, ne, lt, le = ops.equal, ops.not_equal, ops.less, ops.less_equal
gt, ge = ops.greater, ops.greater_equal
get_num_threads = door.num_threads

__all__ = [
    "capture",
    "coach",
    "datasets",
    "export_html",
    "fit",
    "gradcheck",
    "gradgradcheck",
    "lessons",
    "live",
    "nn",
    "sklearn",
]
__all__ += ["optim", "parallel"]
__all__ += ["cat", "clamp", "eq", "ge", "get_num_threads", "gt", "le", "lt", "mm", "ne", "view"]
__all__ += ["float32", "float64", "int32", "int64", "uint8"]  # `import *` keeps Python's bool
__all__ += autograd.__all__ + checkpoint.__all__ + devices.__all__ + door.__all__ + errors.__all__
__all__ += ops.__all__ + ops.creation.__all__ + random.__all__ + tensors.__all__

_modules = ["errors", "interop", "onnx", "random"]
hints.add_to(_sys.modules[__name__], "tt", [*__all__, *_modules, "__version__", "bool"])
hints.add_to(nn, "tt.nn", [*nn.__all__, "functional"])
hints.add_to(optim, "tt.optim", optim.__all__)
hints.add_to(datasets, "tt.datasets", [*datasets.__all__, "augment"])
hints.add_to(random, "tt.random", [*random.__all__, "fork", "generator", "state"])
hints.add_to(backends, "tt.backends", [])
hints.add_to(nn.functional, "tt.nn.functional", nn.functional.__all__)
hints.add_to(autograd, "tt.autograd", autograd.__all__)
hints.PUBLIC["Tensor"] = tensors.NAMES
