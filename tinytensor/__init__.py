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

from tinytensor import interrupt  # isort: skip # noqa: F401 - before all that takes time
from tinytensor import tensor  # isort: skip - first: Tensor and its ops need each other

from tinytensor import (
    autograd,
    checkpoint,
    datasets,
    door,
    errors,
    lessons,
    live,
    nn,
    ops,
    optim,
    random,
)
from tinytensor.autograd import *
from tinytensor.capture.captured import *
from tinytensor.checkpoint import *
from tinytensor.door import *
from tinytensor.errors import *
from tinytensor.gradcheck import *
from tinytensor.ops.convolution import *
from tinytensor.ops.creation import *
from tinytensor.ops.elementwise import *
from tinytensor.ops.index import *
from tinytensor.ops.linalg import *
from tinytensor.ops.network import *
from tinytensor.ops.operands import *
from tinytensor.ops.reduce import *
from tinytensor.ops.shape import *
from tinytensor.random import *
from tinytensor.tensor import *

__version__ = "0.1.0"

# torch's names for the same functions
cat, clamp, view, mm = ops.concat, ops.clip, ops.reshape, ops.matmul
eq, ne, lt, le = ops.equal, ops.not_equal, ops.less, ops.less_equal
gt, ge = ops.greater, ops.greater_equal
get_num_threads = door.num_threads

__all__ = ["capture", "datasets", "gradcheck", "gradgradcheck", "lessons", "live", "nn", "optim"]
__all__ += ["cat", "clamp", "eq", "ge", "get_num_threads", "gt", "le", "lt", "mm", "ne", "view"]
__all__ += autograd.__all__ + checkpoint.__all__ + door.__all__ + errors.__all__
__all__ += ops.__all__ + ops.creation.__all__ + random.__all__ + tensor.__all__
