"""Convolution and pooling of images (N, H, W, channels): windows that slide over the images.

A convolution is linear in its images and in its weights. So the gradient with respect to the images
and the gradient with respect to the weights are sums of products, too. Each is an op, and the
gradients of each of these three ops are the other two. In the same way, the sum over windows and
its gradient are the gradients of each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from tinytensor import kernels, tensors
from tinytensor.autograd import record
from tinytensor.errors import SettingError, ShapeError
from tinytensor.ops.index import pad, take_flat
from tinytensor.ops.operands import Operand, Shape, as_alike, as_float, per_channel, possible, whole

if TYPE_CHECKING:
    from tinytensor.tensors import Tensor

__all__ = ["avg_pool2d", "conv2d", "max_pool2d"]

Pair: TypeAlias = tuple[int, int]
Padding: TypeAlias = "int | Pair | tuple[Pair, Pair] | Literal['same', 'valid']"

# The places of the windows ----------------------------------------------------------------------


def _pair(op: str, name: str, given: int | Pair, least: int) -> Pair:
    pair = tuple(given) if isinstance(given, tuple | list) else (given, given)
    if len(pair) != 2:
        raise SettingError(f"{op}: got {name}={given}; an int or a pair is needed")
    return whole(op, name, pair[0], least), whole(op, name, pair[1], least)


def _window_places(
    op: str, image: Shape, size: Pair, stride: Pair, padding: Padding
) -> tuple[Pair, Pair]:
    """The number of windows along H and W, and the padding above and to the left."""
    if isinstance(padding, str) and padding == "same":
        # As TensorFlow: ceil(size / stride) windows, an odd zero at the end.
        counts = [-(-length // step) for length, step in zip(image, stride, strict=True)]
        missing = [
            max((count - 1) * step + window - length, 0)
            for count, step, window, length in zip(counts, stride, size, image, strict=True)
        ]
        sides = [(total // 2, total - total // 2) for total in missing]
    else:
        sides = _sides(op, padding)
    padded = [length + sum_of for length, sum_of in zip(image, map(_plus, sides), strict=True)]
    counts = [
        (length - window) // step + 1
        for length, window, step in zip(padded, size, stride, strict=True)
    ]
    if min(counts) < 1:
        raise ShapeError(
            f"{op}: a window of {size} doesn't fit into an image of {image} padded to "
            f"{tuple(padded)}"
        )
    return (counts[0], counts[1]), (sides[0][0], sides[1][0])


def _sides(op: str, padding: Padding) -> list[Pair]:
    """The padding (before, after) along H and along W, for every padding but "same"."""
    if isinstance(padding, str) and padding == "valid":
        return [(0, 0), (0, 0)]
    if not isinstance(padding, str):
        each = padding if isinstance(padding, tuple | list) else (padding, padding)
        if len(each) == 2:
            return [_pair(op, "padding", side, 0) for side in each]
    raise SettingError(
        f"{op}: got padding={padding!r}; an int, a pair, a pair of pairs, 'same' or 'valid' is "
        "needed"
    )


def check_window(op: str, size: int | Pair, stride: int | Pair, padding: Padding) -> Pair:
    """The window's size as a pair.

    Raises:
        SettingError: the size, stride or padding fits no image.
    """
    window = _pair(op, "size", size, 1)
    _pair(op, "stride", stride, 1)
    if not (isinstance(padding, str) and padding == "same"):
        _sides(op, padding)
    return window


def _plus(side: Pair) -> int:
    return side[0] + side[1]


class _Axis(NamedTuple):
    """The windows along an axis that contain pixels of the image.

    The kernels compute only these, so their memory does not grow with padding or stride.
    """

    outside: Pair  # numbers of windows before and after them, whose pixels are all padding
    windows: int  # inside, at least 1
    stride: int
    before: int  # zeros before the first pixel
    skipped: int  # pixels before the first window


def _windows_inside(length: int, size: int, stride: int, count: int, before: int) -> _Axis:
    """Of `count` windows, window k has the pixels k * stride - before + a, for 0 <= a < size."""
    first = max(0, -(-(before - size + 1) // stride))
    end = min(count, -(-(length + before) // stride))
    if first >= end:  # every window is outside: compute one of them
        return _Axis((0, count - 1), 1, 1, size, 0)
    start = first * stride - before
    # The stride of one window has no meaning, and 1 needs the least memory.
    step = stride if end - first > 1 else 1
    return _Axis((first, count - end), end - first, step, max(-start, 0), max(start, 0))


# Convolution ------------------------------------------------------------------------------------


def conv2d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: int | Pair = 1,
    padding: Padding = 0,
) -> Tensor:
    """The 2-D convolution of images with weights, plus bias.

    Each output pixel is a weighted sum of a window of input pixels. For all indices, starting from
    out[n, h, w, o] = bias[o]:

        out[n, h, w, o] += x[n, h * stride - top + a, w * stride - left + b, i] * weight[a, b, i, o]

    Pixels outside the image are 0; top and left are the widths of the padding there.

    Args:
        x: array-like (N, H, W, I), N images of I channels; integers become floats.
        weight: array-like (KH, KW, I, O), a window of KH x KW pixels for each output channel.
        bias: array-like (O,), or None.
        stride: int or (int, int) from 1 up, the distance between windows along H and W, in pixels.
        padding: the zeros around the image: an int, a pair for H and W, a pair of pairs
            ((top, bottom), (left, right)), "valid" for none, or "same" for OH = ceil(H / stride),
            where an odd row or column of zeros is at the bottom or right, as in TensorFlow.

    Returns:
        Tensor (N, OH, OW, O), float; OH = (H + top + bottom - KH) // stride + 1, and OW likewise.

    Gradient: for the same indices and g = grad[n, h, w, o]:

        dx[n, h * stride - top + a, w * stride - left + b, i] += g * weight[a, b, i, o]
        dweight[a, b, i, o] += g * x[n, h * stride - top + a, w * stride - left + b, i]
        dbias[o] += g

    Raises:
        ShapeError: the channels differ, bias does not fit, no window fits into the padded image, or
            no array is large enough for the result.
        SettingError: stride is not from 1 up, or padding is none of the above.
        DTypeError: an operand does not hold real numbers.
        NotSupported: x or weight is None.

    Source: torch.nn.functional.conv2d, with channels first; LeCun, Bottou, Bengio and Haffner,
    "Gradient-based learning applied to document recognition", 1998.

    >>> images, weight = tt.ones(100, 28, 28, 1), tt.ones(5, 5, 1, 8)
    >>> tt.conv2d(images, weight, stride=2, padding="same").shape
    (100, 14, 14, 8)
    >>> tt.conv2d(images, weight)[0, 0, 0, 0]
    Tensor(25., dtype=float32)
    """
    x, weight = as_alike("conv2d", x, weight, floats=True)
    if x.ndim != 4 or weight.ndim != 4 or x.shape[3] != weight.shape[2]:
        raise ShapeError.drawn(
            "conv2d: images (N, H, W, I) and weights (KH, KW, I, O) are needed",
            {"x": (x.shape, [3]), "weight": (weight.shape, [2])},
            "I, the number of channels that come in, must be equal",
        )
    stride = _pair("conv2d", "stride", stride, 1)
    size = weight.shape[0], weight.shape[1]
    (OH, OW), before = _window_places("conv2d", x.shape[1:3], size, stride, padding)
    bias = per_channel("conv2d", "bias", bias, x, weight.shape[3])
    possible("conv2d", (x.shape[0], OH, OW, weight.shape[3]))
    h = _windows_inside(x.shape[1], size[0], stride[0], OH, before[0])
    w = _windows_inside(x.shape[2], size[1], stride[1], OW, before[1])
    if h.skipped or w.skipped:
        x = x[:, h.skipped :, w.skipped :]
    shape = x.shape[0], h.windows, w.windows, weight.shape[3]
    out = _conv2d(x, weight, shape, (h.stride, w.stride), (h.before, w.before))
    if any(h.outside + w.outside):
        out = pad(out, [(0, 0), h.outside, w.outside, (0, 0)])
    return out if bias is None else out + bias


def _conv2d(x: Tensor, weight: Tensor, shape: Shape, stride: Pair, before: Pair) -> Tensor:
    """The convolution without bias. It is linear in x and in weight, and so are its gradients."""
    out = np.empty(shape, x.dtype)
    kernels.conv2d(x.array, weight.array, out, stride, before)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (
            _conv2d_grad_x(grad, weight, x.shape, stride, before) if x.requires_grad else None,
            _conv2d_grad_weight(x, grad, weight.shape, stride, before)
            if weight.requires_grad
            else None,
        )

    saved = (x,) * weight.requires_grad + (weight,) * x.requires_grad
    return record("conv2d", out, (x, weight), backward, saved)


def _conv2d_grad_x(
    grad: Tensor, weight: Tensor, shape: Shape, stride: Pair, before: Pair
) -> Tensor:
    out = np.empty(shape, grad.dtype)
    kernels.conv2d_grad_x(grad.array, weight.array, out, stride, before)

    def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
        return (
            _conv2d(upstream, weight, grad.shape, stride, before),
            _conv2d_grad_weight(upstream, grad, weight.shape, stride, before),
        )

    return record("conv2d_grad_x", out, (grad, weight), backward, (grad, weight))


def _conv2d_grad_weight(
    x: Tensor, grad: Tensor, shape: Shape, stride: Pair, before: Pair
) -> Tensor:
    out = np.empty(shape, grad.dtype)
    kernels.conv2d_grad_weight(x.array, grad.array, out, stride, before)

    def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
        return (
            _conv2d_grad_x(grad, upstream, x.shape, stride, before),
            _conv2d(x, upstream, grad.shape, stride, before),
        )

    return record("conv2d_grad_weight", out, (x, grad), backward, (x, grad))


# Pooling ----------------------------------------------------------------------------------------


def max_pool2d(
    x: Operand, size: int | Pair, stride: int | Pair | None = None, padding: Padding = 0
) -> Tensor:
    """The largest element of each window of the images, for each channel; NaN if one is NaN.

    Args:
        x: array-like (N, H, W, C), N images of C channels; integers become floats.
        size: int or (int, int) from 1 up, the size of a window in pixels.
        stride: int or (int, int), the distance between windows; None means the size.
        padding: as in conv2d; padding is never the largest element.

    Returns:
        Tensor (N, OH, OW, C), float; OH = (H + top + bottom - size) // stride + 1, and OW likewise.

    Gradient: grad of a window goes to its largest element, the first of equal ones.

    Raises:
        ShapeError: x is not 4-D, or no window fits into the padded image.
        SettingError: size or stride is not from 1 up, padding is none of the above, or a window
            would lie outside the image.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.nn.functional.max_pool2d with channels first.

    >>> x = tt.reshape(tt.arange(16), 1, 4, 4, 1)
    >>> tt.max_pool2d(x, 2).reshape(2, 2)
    Tensor([[ 5.,  7.],
            [13., 15.]], dtype=float64)
    """
    x = as_float("max_pool2d", x)
    shape, size, stride, before = _pooled("max_pool2d", x, size, stride, padding)
    places = np.empty(shape, np.int64)
    kernels.argmax_pool2d(x.array, places, size, stride, before)
    return take_flat(x, places)


def avg_pool2d(
    x: Operand,
    size: int | Pair,
    stride: int | Pair | None = None,
    padding: Padding = 0,
    count_padding: bool = True,
) -> Tensor:
    """The mean of each window of the images, for each channel.

    Args:
        x: array-like (N, H, W, C), N images of C channels; integers become floats.
        size: int or (int, int) from 1 up, the size of a window in pixels.
        stride: int or (int, int), the distance between windows; None means the size.
        padding: as in conv2d.
        count_padding: True counts padding as zeros, as in PyTorch; False takes the mean over the
            elements inside the image, as in TensorFlow.

    Returns:
        Tensor (N, OH, OW, C), float; OH = (H + top + bottom - size) // stride + 1, and OW likewise.

    Gradient: each element of a window gets grad / n, with n elements in the window's mean.

    Raises:
        ShapeError: x is not 4-D, or no window fits into the padded image.
        SettingError: size or stride is not from 1 up, padding is none of the above, or a window
            would lie outside the image.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.nn.functional.avg_pool2d with channels first.

    >>> x = tt.reshape(tt.arange(16), 1, 4, 4, 1)
    >>> tt.avg_pool2d(x, 2).reshape(2, 2)
    Tensor([[ 2.5,  4.5],
            [10.5, 12.5]], dtype=float64)
    """
    x = as_float("avg_pool2d", x)
    shape, size, stride, before = _pooled("avg_pool2d", x, size, stride, padding)
    total = _sum_pool2d(x, shape, size, stride, before)
    if count_padding:
        return total / (size[0] * size[1])
    inside = tensors.wrap(np.ones((1, *x.shape[1:3], 1), x.dtype))
    return total / _sum_pool2d(inside, (1, *shape[1:3], 1), size, stride, before)


def _pooled(
    op: str, x: Tensor, size: int | Pair, stride: int | Pair | None, padding: Padding
) -> tuple[Shape, Pair, Pair, Pair]:
    """The result's shape, and size, stride and padding as pairs."""
    if x.ndim != 4:
        raise ShapeError(f"{op}: got x of shape {x.shape}; images (N, H, W, C) are needed")
    window = _pair(op, "size", size, 1)
    step = window if stride is None else _pair(op, "stride", stride, 1)
    (OH, OW), before = _window_places(op, x.shape[1:3], window, step, padding)
    ends = (OH - 1) * step[0] - before[0], (OW - 1) * step[1] - before[1]
    if (
        before[0] >= window[0]
        or before[1] >= window[1]
        or ends[0] >= x.shape[1]
        or ends[1] >= x.shape[2]
    ):
        raise SettingError(
            f"{op}: got padding={padding} with a window of {window}; every window must reach into "
            "the image"
        )
    return (x.shape[0], OH, OW, x.shape[3]), window, step, before


def _sum_pool2d(x: Tensor, shape: Shape, size: Pair, stride: Pair, before: Pair) -> Tensor:
    out = np.empty(shape, x.dtype)
    kernels.sum_pool2d(x.array, out, size, stride, before)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (_sum_pool2d_grad_x(grad, x.shape, size, stride, before),)

    return record("sum_pool2d", out, (x,), backward)


def _sum_pool2d_grad_x(
    grad: Tensor, shape: Shape, size: Pair, stride: Pair, before: Pair
) -> Tensor:
    out = np.empty(shape, grad.dtype)
    kernels.sum_pool2d_grad_x(grad.array, out, size, stride, before)

    def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
        return (_sum_pool2d(upstream, grad.shape, size, stride, before),)

    return record("sum_pool2d_grad_x", out, (grad,), backward)
