"""All ops, by family. An op is one function, with its forward and its backward pass.

An op checks its operands, calls a kernel that fills `out`, and defines `backward`, which computes
the gradients of its operands from the gradient of its result. Backward is written with ops too, so
it reads like the formula and can be differentiated again. `grad` always has the result's shape.

    elementwise.py   each element from the same element of each operand: + - * / exp relu where ...
    reduce.py        one element from many: sum mean max argmax norm cumsum ...
    order.py         elements compared along an axis: sort argsort topk unique
    shape.py         another shape or order: reshape permute concat split ...
    index.py         elements picked by an index: x[...] take gather pad ...
    linalg.py        matmul outer einsum tril diag ...
    network.py       linear softmax cross_entropy dropout batch_norm ...
    convolution.py   conv2d max_pool2d avg_pool2d
    operands.py      operands as Tensors of one dtype, broadcasting, axes
    creation.py      zeros arange randn ...; not imported here, because it needs the class Tensor

Each file lists its public ops in `__all__`. Other names here are for the rest of the package.
"""

from tinytensor.ops import (
    convolution,
    elementwise,
    index,
    linalg,
    network,
    operands,
    order,
    reduce,
    shape,
)
from tinytensor.ops.convolution import *
from tinytensor.ops.elementwise import *
from tinytensor.ops.elementwise import gelu_backward as gelu_backward
from tinytensor.ops.elementwise import relu_backward as relu_backward
from tinytensor.ops.elementwise import silu_backward as silu_backward
from tinytensor.ops.elementwise import softplus_backward as softplus_backward
from tinytensor.ops.index import *
from tinytensor.ops.index import Key as Key
from tinytensor.ops.index import getitem as getitem
from tinytensor.ops.linalg import *
from tinytensor.ops.network import *
from tinytensor.ops.network import cross_entropy_backward as cross_entropy_backward
from tinytensor.ops.network import log_softmax_backward as log_softmax_backward
from tinytensor.ops.network import softmax_backward as softmax_backward
from tinytensor.ops.operands import *
from tinytensor.ops.operands import Axis as Axis
from tinytensor.ops.operands import Operand as Operand
from tinytensor.ops.operands import as_tensor as as_tensor
from tinytensor.ops.operands import broadcasts_to as broadcasts_to
from tinytensor.ops.order import *
from tinytensor.ops.reduce import *
from tinytensor.ops.reduce import sum_to as sum_to
from tinytensor.ops.shape import *

__all__ = convolution.__all__ + elementwise.__all__ + index.__all__ + linalg.__all__
__all__ += network.__all__ + operands.__all__ + order.__all__ + reduce.__all__ + shape.__all__
