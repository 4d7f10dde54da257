"""Initialisers: functions from a shape (..., inputs, outputs) to a tensor of first values.

`he` and `glorot` are initialisers; `constant(0.1)` and `truncated_normal(0.1)` return one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tinytensor.errors import SettingError, ShapeError
from tinytensor.ops import creation
from tinytensor.ops.operands import real
from tinytensor.tensors import Tensor

__all__ = ["constant", "glorot", "he", "normal", "truncated_normal", "zeros"]

Initializer = Callable[[tuple[int, ...]], Tensor]


def constant(value: float) -> Initializer:
    """Return an initialiser that sets every element to `value`.

    Args:
        value: a number.

    Raises:
        SettingError: `value` is not a number.

    Source: torch.nn.init.constant_.

    >>> nn.constant(0.5)((2,))
    Tensor([0.5, 0.5], dtype=float32)
    """
    number = float(real("constant", "value", value))
    return lambda shape: creation.full(shape, number)


zeros: Initializer = constant(0)


def normal(std: float = 1.0) -> Initializer:
    """Return an initialiser that draws from a normal distribution with mean 0.

    Args:
        std: the standard deviation.

    Source: torch.nn.init.normal_.

    >>> nn.normal(0.02)((784, 10)).shape
    (784, 10)
    """
    return lambda shape: creation.randn(*shape) * std


def truncated_normal(std: float = 0.1) -> Initializer:
    """Return an initialiser that draws from a normal distribution cut off at 2 * std.

    Values beyond two standard deviations are redrawn. The course uses it with std=0.1.

    Args:
        std: the standard deviation before the cut.

    Source: tensorflow.random.truncated_normal; torch.nn.init.trunc_normal_ with a=-2*std, b=2*std.

    >>> bool((nn.truncated_normal(0.1)((3, 4)).abs() <= 0.2).all())
    True
    """
    return lambda shape: creation.truncated_normal(*shape, std=std)


def he(shape: tuple[int, ...] | None = None) -> Tensor:
    """Draw weights for layers before a ReLU: normal with mean 0 and variance 2 / inputs.

    Pass the function itself to a layer, `weight=nn.he`; the layer calls it with the shape.

    Args:
        shape: (..., inputs, outputs); the product of all axes but the last counts as inputs.

    Returns:
        A float32 Tensor of this shape.

    Source: He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", 2015;
    torch.nn.init.kaiming_normal_.

    >>> nn.he((784, 10)).shape
    (784, 10)
    """
    shape = _require_shape("he", shape)
    return creation.randn(*shape) * math.sqrt(2 / max(math.prod(shape[:-1]), 1))


def glorot(shape: tuple[int, ...] | None = None) -> Tensor:
    """Draw weights for layers before a sigmoid or tanh: variance 2 / (inputs + outputs).

    The values are uniform in [-limit, limit) with limit = sqrt(6 / (inputs + outputs)). Pass the
    function itself to a layer, `weight=nn.glorot`; the layer calls it with the shape.

    Args:
        shape: (..., inputs, outputs). For a convolution (KH, KW, I, O), inputs is KH * KW * I and
            outputs is KH * KW * O.

    Returns:
        A float32 Tensor of this shape.

    Raises:
        ShapeError: the shape has fewer than two axes.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010; torch.nn.init.xavier_uniform_.

    >>> nn.glorot((784, 10)).shape
    (784, 10)
    """
    shape = _require_shape("glorot", shape)
    if len(shape) < 2:
        raise ShapeError(f"glorot: got shape {shape}; (..., inputs, outputs) is needed")
    window = math.prod(shape[:-2])  # KH * KW of a convolution
    limit = math.sqrt(6 / max(window * (shape[-2] + shape[-1]), 1))
    return (creation.rand(*shape) * 2 - 1) * limit


def _require_shape(name: str, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    if shape is None:
        raise SettingError(
            f"{name}: got no shape; pass the function without brackets to a layer: weight=nn.{name}"
        )
    return shape
