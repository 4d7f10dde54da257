"""Linear, Conv2d, Embedding, pooling, Dropout, Flatten and Identity."""

from __future__ import annotations

from collections.abc import Callable

from tinytensor import arrays, ops
from tinytensor.errors import SettingError, ShapeError
from tinytensor.nn.initialisers import Initializer, he, normal, zeros
from tinytensor.nn.module import Module, as_input, refuse_bytes
from tinytensor.ops.convolution import Padding, Pair, check_window
from tinytensor.ops.network import probability_to_keep
from tinytensor.ops.operands import whole
from tinytensor.tensors import Tensor, wrap

__all__ = [
    "AvgPool2d",
    "Conv2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "Linear",
    "MaxPool2d",
    "Pool2d",
]


def _parameter(layer: str, name: str, initializer: Initializer, *shape: int) -> Tensor:
    start = initializer(shape) if callable(initializer) else None
    if not isinstance(start, Tensor) or start.shape != shape:
        got = getattr(initializer, "__name__", f"a {type(initializer).__name__}")
        raise SettingError(
            f"{layer}: got {got} as {name}; an initialiser that returns a tensor of shape {shape} "
            "is needed, such as nn.he or nn.truncated_normal(0.1)"
            + (", or None for no bias" if name == "bias" else "")
        )
    array = arrays.zeros(shape, start.dtype)
    array[...] = start.array
    return wrap(array).requires_grad_()


def _sizes(layer: str, inputs: int, outputs: int) -> Pair:
    return whole(layer, "inputs", inputs, 1), whole(layer, "outputs", outputs, 1)


class Linear(Module):
    """A fully connected layer: out = x @ weight + bias.

    Args:
        inputs: the number of input features.
        outputs: the number of output features, which is the number of neurons.
        weight: the initialiser of the weights, a function from a shape to a Tensor; nn.he by
            default.
        bias: the initialiser of the bias, zeros by default; None for no bias.

    Attributes:
        weight: float32 (inputs, outputs).
        bias: float32 (outputs,), or None.

    Call with x, (..., inputs); the result is (..., outputs). x is converted to the dtype of the
    weight, so float64 data leave a float32 model float32.

    Gradient: for x of shape (N, inputs), dx = grad @ weight.T, dweight = x.T @ grad,
    dbias = grad.sum(axis=0).

    Raises:
        SettingError: a size is below 1, or an initialiser returns no tensor of the right shape.
        ShapeError: from the call, if the last axis of x is not `inputs`.
        DTypeError: from the call, if x is uint8, as the bytes of an image.

    Source: torch.nn.Linear, whose weight has the shape (outputs, inputs).

    >>> layer = nn.Linear(3, 2, weight=nn.constant(0.5), bias=nn.constant(1.0))
    >>> layer(tt.Tensor([[1.0, 2.0, 3.0]]))
    Tensor([[4., 4.]], dtype=float32, requires_grad=True)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        weight: Initializer = he,
        bias: Initializer | None = zeros,
    ) -> None:
        inputs, outputs = _sizes("Linear", inputs, outputs)
        self.weight = _parameter("Linear", "weight", weight, inputs, outputs)
        self.bias = None if bias is None else _parameter("Linear", "bias", bias, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return tt.linear(x, weight, bias)."""
        x = as_input("Linear", x, self.weight)
        if x.ndim and x.shape[-1] != self.weight.shape[0]:
            raise self._does_not_fit(x)
        return ops.linear(x, self.weight, self.bias)

    def _does_not_fit(self, x: Tensor) -> ShapeError:
        cure = f"nn.Linear({x.shape[-1]}, {self.weight.shape[1]}) fits this x"
        if x.ndim == 2:
            cure += (
                ". Behind a convolution the number depends on its padding:\n    nn.Conv2d has "
                'padding="same" by default, torch.nn.Conv2d has padding=0'
            )
        return ShapeError.drawn(
            "Linear: inner sizes differ",
            {"x": (x.shape, [x.ndim - 1]), "weight": (self.weight.shape, [0])},
            cure,
        )


class Conv2d(Module):
    """A convolution layer: each output pixel is a weighted sum of a window of input pixels.

    `out[n, h, w, o] = bias[o] + the sum over a, b, i of
    x[n, h * s0 - p0 + a, w * s1 - p1 + b, i] * weight[a, b, i, o]`, where (s0, s1) is the stride
    and (p0, p1) is the padding at the top and at the left. Pixels outside of the image are 0.

    Args:
        inputs: the number of input channels.
        outputs: the number of output channels, which is the number of filters.
        size: the window's height and width in pixels, (KH, KW); one int for both.
        stride: the distance between two windows in pixels, (vertical, horizontal); one int for
            both.
        padding: rows and columns of zeros around the image. "same" (default) gives OH = ceil(H /
            stride) and OW = ceil(W / stride); "valid" is no padding; an int for all four sides; a
            pair for (vertical, horizontal); or a pair of pairs ((top, bottom), (left, right)).
        weight: the initialiser of the weights, a function from a shape to a Tensor; nn.he by
            default.
        bias: the initialiser of the bias, zeros by default; None for no bias.

    Attributes:
        weight: float32 (KH, KW, inputs, outputs).
        bias: float32 (outputs,), or None.

    Call with x, (N, H, W, inputs); the result is (N, OH, OW, outputs). x is converted to the dtype
    of the weight.

    Gradient, for the same indices and g = grad[n, h, w, o]:
    `dx[n, h * s0 - p0 + a, w * s1 - p1 + b, i] += g * weight[a, b, i, o]`,
    `dweight[a, b, i, o] += g * x[n, h * s0 - p0 + a, w * s1 - p1 + b, i]`, `dbias[o] += g`.

    Raises:
        SettingError: a size or stride is below 1, the padding is invalid, or an initialiser returns
            no tensor of the right shape.
        ShapeError: from the call, if x is not (N, H, W, inputs) or is smaller than the window.
        DTypeError: from the call, if x is uint8, as the bytes of an image.

    Source: torch.nn.Conv2d, which has images (N, C, H, W), a weight (outputs, inputs, KH, KW) and
    padding=0 by default. "same" pads as TensorFlow does: if the padding is odd, the bottom and the
    right get one row and one column more.

    >>> layer = nn.Conv2d(1, 4, size=5, stride=2)
    >>> layer(tt.zeros(100, 28, 28, 1)).shape
    (100, 14, 14, 4)
    >>> layer.weight.shape, layer.bias.shape
    ((5, 5, 1, 4), (4,))
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int | Pair,
        stride: int | Pair = 1,
        padding: Padding = "same",
        weight: Initializer = he,
        bias: Initializer | None = zeros,
    ) -> None:
        KH, KW = check_window("Conv2d", size, stride, padding)
        inputs, outputs = _sizes("Conv2d", inputs, outputs)
        self.weight = _parameter("Conv2d", "weight", weight, KH, KW, inputs, outputs)
        self.bias = None if bias is None else _parameter("Conv2d", "bias", bias, outputs)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Return tt.conv2d(x, weight, bias, stride, padding)."""
        x = as_input("Conv2d", x, self.weight)
        return ops.conv2d(x, self.weight, self.bias, self.stride, self.padding)

    def describe(self) -> str:
        """Return the stride and the padding."""
        return f"stride={self.stride}, padding={self.padding}"


class Embedding(Module):
    """A trained vector for each word: out = weight[index].

    Args:
        words: the number of words, N.
        channels: the number of features of each word.
        weight: the initialiser of the weights, a function from a shape to a Tensor; nn.normal(1.0)
            by default.

    Attributes:
        weight: float32 (words, channels).

    Call with index, integers of any shape; the result is (*index.shape, channels). Negative
    indices count from the end.

    Gradient: dweight[index] += grad, with dweight = 0 at first.

    Raises:
        SettingError: a size is below 1, or the initialiser returns no tensor of the right shape.
        IndexingError: from the call, if an index is outside of the words.
        DTypeError: from the call, if the index is not of integers.

    Source: torch.nn.Embedding.

    >>> layer = nn.Embedding(100, 8)
    >>> layer(tt.Tensor([[3, 1, 4], [1, 5, 9]])).shape
    (2, 3, 8)
    """

    def __init__(self, words: int, channels: int, weight: Initializer | None = None) -> None:
        words = whole("Embedding", "words", words, 1)
        channels = whole("Embedding", "channels", channels, 1)
        start = normal(1.0) if weight is None else weight
        self.weight = _parameter("Embedding", "weight", start, words, channels)

    def forward(self, index: Tensor) -> Tensor:
        """Return weight[index]."""
        return ops.embedding(self.weight, index)


class Dropout(Module):
    """Dropout: in training mode, set random elements to 0 and divide the rest by keep_prob.

    out = x * mask, where each element of mask is 1 / keep_prob with probability keep_prob and 0
    otherwise, so the mean stays the same. Each call draws a new mask. In evaluation mode out = x.

    Args:
        unnamed: nothing; a number without a name raises an error, because nn.Dropout(0.25) of
            PyTorch keeps 75 % of the elements.
        keep_prob: the probability that an element is kept, above 0, at most 1; 0.5 by default.
        p: 1 - keep_prob, the probability that an element is set to 0, in place of keep_prob.
        channels: True keeps or drops whole channels of x (N, ..., C) instead of single elements.

    Call with x, float of any shape; the result has the same shape.

    Gradient: dx = grad * mask.

    Raises:
        SettingError: keep_prob is not above 0 and at most 1, keep_prob and p are both given, or a
            number has no name.
        DTypeError: from the call, if x is uint8, as the bytes of an image.

    tt.manual_seed sets the seed of the masks.

    Source: Srivastava et al., "Dropout", 2014; torch.nn.Dropout(p=1 - keep_prob), or
    torch.nn.Dropout2d for channels=True.

    >>> layer = nn.Dropout(keep_prob=0.75)
    >>> sorted(set(layer(tt.ones(100)).tolist()))
    [0.0, 1.3333333730697632]
    >>> layer.eval()(tt.ones(3))
    Tensor([1., 1., 1.], dtype=float32)
    """

    def __init__(
        self,
        *unnamed: float,
        keep_prob: float | None = None,
        p: float | None = None,
        channels: bool = False,
    ) -> None:
        self.keep_prob = probability_to_keep("Dropout", unnamed, keep_prob, p)
        self.channels = channels

    @property
    def p(self) -> float:
        """The probability that an element is set to 0: 1 - keep_prob."""
        return 1 - self.keep_prob

    @p.setter
    def p(self, p: float) -> None:
        self.keep_prob = probability_to_keep("Dropout", (), None, p)

    def forward(self, x: Tensor) -> Tensor:
        """Return tt.dropout of x."""
        x = refuse_bytes("Dropout", x)
        settings = {"keep_prob": self.keep_prob, "channels": self.channels}
        return ops.dropout(x, training=self.training, **settings)  # type: ignore[arg-type]

    def describe(self) -> str:
        """Return the probability, and channels=True if whole channels are dropped."""
        return f"keep_prob={self.keep_prob:g}" + (", channels=True" if self.channels else "")


class Pool2d(Module):
    """The base class of pooling layers: MaxPool2d and AvgPool2d.

    Args:
        size: the window's height and width in pixels; one int for both.
        stride: the distance between two windows, (vertical, horizontal) or one int; the window's
            size by default.
        padding: as in Conv2d; 0 by default.

    Raises:
        SettingError: a size or stride is below 1, or the padding is invalid.
    """

    op: Callable[..., Tensor]

    def __init__(
        self, size: int | Pair, stride: int | Pair | None = None, padding: Padding = 0
    ) -> None:
        check_window(type(self).__name__, size, size if stride is None else stride, padding)
        self.settings = size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Return op(x, size, stride, padding)."""
        return type(self).op(refuse_bytes(type(self).__name__, x), *self.settings)

    def describe(self) -> str:
        """Return the size, the stride and the padding."""
        size, stride, padding = self.settings
        return f"size={size}, stride={size if stride is None else stride}, padding={padding}"


class MaxPool2d(Pool2d):
    """Max pooling: each output pixel is the largest value of a window, channel by channel.

    `out[n, h, w, c] = max over a, b of x[n, h * s0 + a, w * s1 + b, c]`, for the stride (s0, s1).
    Values outside of the image are ignored.

    Args:
        size: the window's height and width in pixels; one int for both.
        stride: the distance between two windows, (vertical, horizontal) or one int; the window's
            size by default.
        padding: as in Conv2d; 0 by default.

    Call with x, float (N, H, W, C); the result is (N, OH, OW, C).

    Gradient: the largest element of a window (the first one, if several are equal) gets the
    gradient of the window.

    Raises:
        SettingError: a size or stride is below 1, or the padding is invalid.
        ShapeError: from the call, if x does not have four axes or is smaller than the window.
        DTypeError: from the call, if x is uint8, as the bytes of an image.

    Source: torch.nn.MaxPool2d, whose images are (N, C, H, W).

    >>> x = tt.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    >>> nn.MaxPool2d(2)(x).flatten()
    Tensor([ 5.,  7., 13., 15.], dtype=float32)
    """

    op = staticmethod(ops.max_pool2d)


class AvgPool2d(Pool2d):
    """Average pooling: each output pixel is the mean of a window, channel by channel.

    `out[n, h, w, c] = mean over a, b of x[n, h * s0 + a, w * s1 + b, c]`, for the stride (s0, s1).
    Values outside of the image count as 0.

    Args:
        size: the window's height and width in pixels, (KH, KW); one int for both.
        stride: the distance between two windows, (vertical, horizontal) or one int; the window's
            size by default.
        padding: as in Conv2d; 0 by default.

    Call with x, float (N, H, W, C); the result is (N, OH, OW, C).

    Gradient: every element of a window gets grad / (KH * KW).

    Raises:
        SettingError: a size or stride is below 1, or the padding is invalid.
        ShapeError: from the call, if x does not have four axes or is smaller than the window.
        DTypeError: from the call, if x is uint8, as the bytes of an image.

    Source: torch.nn.AvgPool2d, whose images are (N, C, H, W).

    >>> x = tt.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    >>> nn.AvgPool2d(2)(x).flatten()
    Tensor([ 2.5,  4.5, 10.5, 12.5], dtype=float32)
    """

    op = staticmethod(ops.avg_pool2d)


class Flatten(Module):
    """Merge all axes but the first: images (N, H, W, C) become rows (N, H * W * C).

    Call with x, (N, ...), of any dtype; the result shares its memory.

    Gradient: dx = grad in the shape of x.

    Source: torch.nn.Flatten.

    >>> nn.Flatten()(tt.zeros(5, 28, 28, 1)).shape
    (5, 784)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return tt.flatten(x, 1)."""
        return ops.flatten(x, 1)


class Identity(Module):
    """The identity: out = x. It takes the place of a layer that is left out.

    Call with x, any value.

    Source: torch.nn.Identity.

    >>> nn.Identity()(tt.Tensor([1.0]))
    Tensor([1.], dtype=float32)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x."""
        return x
