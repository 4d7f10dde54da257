"""Layers, initialisers, and modules that combine layers into a network.

A Module is a class with a `forward` method. Its parameters need no registration: they are all
Tensors with requires_grad in its attributes, in the attributes of its submodules, and in lists,
tuples and dicts at any depth. Tensors without requires_grad, such as batch norm's moving averages,
are saved with the model too. A layer raises SettingError when it is created with invalid settings.

Images have the shape (N, H, W, C): N images, H rows, W columns, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tinytensor import arrays, checkpoint, kernels, ops, recorder
from tinytensor.arrays import Array
from tinytensor.errors import NotSupported, SettingError, ShapeError
from tinytensor.ops import creation
from tinytensor.ops.convolution import Padding, Pair, check_window
from tinytensor.ops.network import check_keep_prob
from tinytensor.ops.operands import whole
from tinytensor.tensor import Tensor, wrap

__all__ = [
    "GELU",
    "Activation",
    "AvgPool2d",
    "BatchNorm",
    "Conv2d",
    "Dropout",
    "Flatten",
    "Linear",
    "MaxPool2d",
    "Module",
    "Pool2d",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "constant",
    "glorot",
    "he",
    "truncated_normal",
    "zeros",
]

Initializer = Callable[[tuple[int, ...]], Tensor]


# Initialisers: functions from a shape (..., inputs, outputs) to a tensor --------------------------
# he and glorot are initialisers; constant(0.1) and truncated_normal(0.1) return one.


def constant(value: float) -> Initializer:
    """Return an initialiser that sets every element to `value`.

    Args:
        value: a number.

    Source: torch.nn.init.constant_.

    >>> nn.constant(0.5)((2,))
    Tensor([0.5, 0.5], dtype=float32)
    """
    return lambda shape: creation.full(shape, float(value))


zeros: Initializer = constant(0)


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


# Modules ----------------------------------------------------------------------------------------


class Module:
    """The base class of layers and networks: a function of a tensor, with parameters.

    A subclass sets its tensors and submodules as attributes in `__init__` and defines `forward`.
    No registration and no `super().__init__()` is needed.

    Source: torch.nn.Module.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.hidden = nn.Linear(784, 30)
    ...         self.head = nn.Linear(30, 10)
    ...
    ...     def forward(self, x):
    ...         return self.head(tt.relu(self.hidden(x)))
    >>> net = Net()
    >>> net(tt.zeros(5, 784)).shape
    (5, 10)
    >>> [name for name, _ in net.named_parameters()]
    ['hidden.weight', 'hidden.bias', 'head.weight', 'head.bias']
    """

    @property
    def version(self) -> int:
        """The number of attribute changes; a captured step compares it to detect a change."""
        version: int = vars(self).get("_version", 0)
        return version

    @property
    def training(self) -> bool:
        """True in training mode, False in evaluation mode; Dropout and BatchNorm depend on it."""
        training: bool = vars(self).get("_training", True)
        if notes := recorder.recorder():
            notes.flags[id(self)] = self, training
        return training

    @training.setter
    def training(self, training: bool) -> None:
        vars(self)["_training"] = training

    def __setattr__(self, name: str, value: object) -> None:
        if name != "training" and getattr(self, name, None) is not value:
            vars(self)["_version"] = self.version + 1
        super().__setattr__(name, value)

    def __call__(self, x: Tensor) -> Tensor:
        """Return self.forward(x)."""
        if recorder.recordings and (notes := recorder.recorder()):
            notes.modules.setdefault(id(self), (self, self.version))
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the result of the module; every subclass defines this method.

        Args:
            x: the input Tensor; its shape and dtype depend on the module.

        Returns:
            A Tensor.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def children(self) -> Iterator[tuple[str, Module]]:
        """Yield (path, module) for each direct submodule: "head", "blocks.0", "heads.left"."""
        for name, x in self._members():
            if isinstance(x, Module):
                yield name, x

    def named_tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield (path, tensor) for each tensor of this module and its submodules.

        A path looks like "layers.0.weight".

        Args:
            prefix: the beginning of each path.
        """
        for name, x in self._members():
            if isinstance(x, Tensor):
                yield prefix + name, x
        for name, child in self.children():
            yield from child.named_tensors(f"{prefix}{name}.")

    def _members(self) -> Iterator[tuple[str, Tensor | Module]]:
        for name, value in vars(self).items():
            yield from _tensors_and_modules(name, value)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (path, tensor) for each tensor with requires_grad, of submodules too.

        A tensor with two paths is yielded once, with the first path.

        Source: torch.nn.Module.named_parameters.
        """
        seen: set[int] = set()
        for name, x in self.named_tensors():
            if x.requires_grad and id(x) not in seen:
                seen.add(id(x))
                yield name, x

    def parameters(self) -> list[Tensor]:
        """Return the list of all tensors with requires_grad, for an optimiser.

        Source: torch.nn.Module.parameters, which is an iterator.

        >>> [x.shape for x in nn.Linear(784, 10).parameters()]
        [(784, 10), (10,)]
        """
        return [x for _, x in self.named_parameters()]

    def train(self, training: bool = True) -> Module:
        """Set training mode for this module and its submodules; returns the module.

        Args:
            training: False sets evaluation mode, like `eval()`.
        """
        self.training = training
        for _, child in self.children():
            child.train(training)
        return self

    def eval(self) -> Module:
        """Set evaluation mode for this module and its submodules; returns the module.

        In evaluation mode Dropout returns its input and BatchNorm uses its moving averages.
        """
        return self.train(False)

    def state_dict(self) -> dict[str, Tensor]:
        """Return a dict from path to tensor, for tt.save; the tensors share the module's memory.

        Raises:
            SettingError: two tensors have the same path, as in {"a.b": x, "a": {"b": y}}.

        Source: torch.nn.Module.state_dict.

        >>> list(nn.Linear(784, 10).state_dict())
        ['weight', 'bias']
        """
        state: dict[str, Tensor] = {}
        for name, x in self.named_tensors():
            if name in state:
                raise SettingError(
                    f"{type(self).__name__}: two tensors are named {name!r}; a name each is needed"
                )
            state[name] = x.detach()
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy the values of a state_dict into this module's tensors.

        Args:
            state: a tensor for each path of `state_dict()`, of the same shape; other dtypes are
                converted.

        Raises:
            DataError: a tensor is missing, unknown or of another shape. The message lists every
                such path, and no tensor has been changed.

        Source: torch.nn.Module.load_state_dict.
        """
        checkpoint.copy_into("load_state_dict", dict(self.named_tensors()), state)

    def describe(self) -> str:
        """Return the settings that repr() prints in brackets."""
        return ""

    def __repr__(self) -> str:
        count = sum(x.size for x in self.parameters())
        tensors = [f"{n} {x.shape}" for n, x in self._members() if isinstance(x, Tensor)]
        settings = ", ".join(filter(None, [self.describe(), *tensors]))
        head = f"{type(self).__name__}({settings})" + (f"  # {count:,} parameters" if count else "")
        lines = [
            f"  {name}: {line}" if i == 0 else f"  {line}"
            for name, child in self.children()
            for i, line in enumerate(repr(child).splitlines())
        ]
        return "\n".join([head, *lines])


def _tensors_and_modules(path: str, value: Any) -> Iterator[tuple[str, Tensor | Module]]:
    """Yield (path, x) for each Tensor or Module x in `value`, also in lists, tuples and dicts."""
    if isinstance(value, Tensor | Module):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors_and_modules(f"{path}.{key}", item)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _tensors_and_modules(f"{path}.{i}", item)


class Sequential(Module):
    """A chain of layers: each layer gets the result of the previous one.

    Args:
        layers: modules, or functions from a Tensor to a Tensor such as tt.relu.

    Raises:
        NotSupported: an argument is not callable (a list of modules, for example), or is a class
            instead of a module.

    Source: torch.nn.Sequential.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
    >>> model(tt.zeros(5, 28, 28)).shape
    (5, 10)
    """

    def __init__(self, *layers: Module) -> None:
        for layer in layers:
            if isinstance(layer, type):
                raise NotSupported(
                    f"Sequential: got the class {layer.__name__}; {layer.__name__}(...) makes a "
                    "layer of it"
                )
            if not callable(layer):
                raise NotSupported(
                    f"Sequential: got a {type(layer).__name__}; modules are needed, one by one: "
                    "Sequential(*layers) for those in a list"
                )
        self.layers = list(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return layers[-1](... layers[1](layers[0](x)))."""
        for layer in self.layers:
            x = layer(x)
        return x


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

    Call with x, float (..., inputs); the result is (..., outputs).

    Gradient: for x of shape (N, inputs), dx = grad @ weight.T, dweight = x.T @ grad,
    dbias = grad.sum(axis=0).

    Raises:
        SettingError: a size is below 1, or an initialiser returns no tensor of the right shape.
        ShapeError: from the call, if the last axis of x is not `inputs`.

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
        return ops.linear(x, self.weight, self.bias)


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

    Call with x, float (N, H, W, inputs); the result is (N, OH, OW, outputs).

    Gradient, for the same indices and g = grad[n, h, w, o]:
    `dx[n, h * s0 - p0 + a, w * s1 - p1 + b, i] += g * weight[a, b, i, o]`,
    `dweight[a, b, i, o] += g * x[n, h * s0 - p0 + a, w * s1 - p1 + b, i]`, `dbias[o] += g`.

    Raises:
        SettingError: a size or stride is below 1, the padding is invalid, or an initialiser returns
            no tensor of the right shape.
        ShapeError: from the call, if x is not (N, H, W, inputs) or is smaller than the window.

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
        return ops.conv2d(x, self.weight, self.bias, self.stride, self.padding)

    def describe(self) -> str:
        """Return the stride and the padding."""
        return f"stride={self.stride}, padding={self.padding}"


class BatchNorm(Module):
    """Batch normalisation: out = (x - mean) / sqrt(var + epsilon) * scale + offset, per channel.

    In training mode mean and var are the mean and the variance of the batch, over all axes but the
    last. In evaluation mode they are moving averages, updated by every call in training mode:
    average = decay * average + (1 - decay) * batch value.

    Args:
        channels: the number of channels, the last axis of x.
        scale: True for a trained parameter `scale`. A layer followed by a ReLU and another linear
            layer does not need it, because the next layer's weights can do the scaling.
        offset: True for a trained parameter `offset`.
        decay: the decay of the moving averages, from 0 up, below 1.
        warm_up: True limits the decay at step t = 0, 1, ... to (1 + t) / (10 + t), as in the
            course, so the averages move faster at first. False keeps it fixed.
        epsilon: is added to the variance, so that a constant channel is not divided by 0.
        offset_start: the initial value of `offset`.

    Attributes:
        scale: float32 (channels,), or None; starts as 1.
        offset: float32 (channels,), or None; starts as `offset_start`.
        mean: float32 (channels,), the moving average of the mean; starts as 0.
        var: float32 (channels,), the moving average of the variance; starts as 1.
        steps: int64 (1,), the number of updates of the averages.

    Call with x, float (..., channels); the result has the same shape. The result of an empty batch
    is empty, and an empty batch changes no average.

    Gradient, in training mode, with R = x.size / channels, n = (x - mean) / sqrt(var + epsilon) and
    sums over all axes but the last: doffset = grad.sum(), dscale = (grad * n).sum(),
    dx = scale / sqrt(var + epsilon) * (grad - doffset / R - n * dscale / R).

    Raises:
        SettingError: a setting is out of its range.
        ShapeError: from the call, if the last axis of x is not `channels`, or if x has one value
            per channel in training mode.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015; torch.nn.BatchNorm2d, whose momentum is
    1 - decay. `var` averages the biased variance (sum of squares / R); torch's running_var averages
    the unbiased one (sum of squares / (R - 1)).

    >>> layer = nn.BatchNorm(2)
    >>> out = layer(tt.Tensor([[1.0, 10.0], [3.0, 30.0]]))
    >>> np.round(out.numpy(), 3)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        channels: int,
        scale: bool = True,
        offset: bool = True,
        decay: float = 0.99,
        warm_up: bool = True,
        epsilon: float = 1e-5,
        offset_start: float = 0.0,
    ) -> None:
        if not 0 <= decay < 1:
            raise SettingError(
                f"BatchNorm: got decay={decay}; a number from 0 up, below 1, is needed"
            )
        if not epsilon >= 0:
            raise SettingError(f"BatchNorm: got epsilon={epsilon}; a number from 0 up is needed")
        channels = whole("BatchNorm", "channels", channels, 1)
        self.scale = creation.ones(channels, requires_grad=True) if scale else None
        self.offset = (
            creation.full(channels, float(offset_start), requires_grad=True) if offset else None
        )
        self.mean, self.var = creation.zeros(channels), creation.ones(channels)
        self.steps = creation.zeros(1, dtype="int64")  # a tensor, because tensors are saved
        self.decay, self.warm_up, self.epsilon = decay, warm_up, epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return tt.batch_norm of x; in training mode also update the moving averages."""
        if x.shape[-1:] != self.mean.shape:
            raise ShapeError(f"BatchNorm: got shape {x.shape}; (..., {self.mean.size}) is needed")
        if x.size == self.mean.size and self.training:
            raise ShapeError(
                f"BatchNorm: got shape {x.shape}, one value per channel; in training mode at least "
                "two are needed, because one value minus its own mean is 0: use a larger batch, or "
                "model.eval() for a prediction"
            )
        if not self.training or not x.size:  # an empty batch has no mean
            averages = self.mean, self.var
            return ops.batch_norm(x, self.scale, self.offset, *averages, self.epsilon)
        out, *moments = ops.batch_norm_and_moments(x, self.scale, self.offset, self.epsilon)
        steps, decay = self.steps.array, np.empty(1)

        def count_step(steps: Array, decay: Array) -> None:
            (step,) = steps
            decay[0] = min(self.decay, (1 + step) / (10 + step)) if self.warm_up else self.decay
            steps[0] = step + 1

        settings = self.decay, self.warm_up
        recorder.each_step(count_step, changes=(steps,), writes=(decay,), settings=settings)
        self.steps.changed()
        for average, moment in zip((self.mean, self.var), moments, strict=True):
            moment = ops.cast(moment, average.dtype)
            kernels.moving_average(moment.array, decay, average.array)
            average.changed()
        return out

    def describe(self) -> str:
        """Return the decay."""
        return f"decay={self.decay}"


class Dropout(Module):
    """Dropout: in training mode, set random elements to 0 and divide the rest by keep_prob.

    out = x * mask, where each element of mask is 1 / keep_prob with probability keep_prob and 0
    otherwise, so the mean stays the same. Each call draws a new mask. In evaluation mode out = x.

    Args:
        keep_prob: the probability that an element is kept, above 0, at most 1.
        channels: True keeps or drops whole channels of x (N, ..., C) instead of single elements.

    Call with x, float of any shape; the result has the same shape.

    Gradient: dx = grad * mask.

    Raises:
        SettingError: keep_prob is not above 0 and at most 1.

    tt.manual_seed sets the seed of the masks.

    Source: Srivastava et al., "Dropout", 2014; torch.nn.Dropout, whose p is 1 - keep_prob; with
    channels=True torch.nn.Dropout2d.

    >>> layer = nn.Dropout(keep_prob=0.75)
    >>> sorted(set(layer(tt.ones(100)).tolist()))
    [0.0, 1.3333333730697632]
    >>> layer.eval()(tt.ones(3))
    Tensor([1., 1., 1.], dtype=float32)
    """

    def __init__(self, keep_prob: float, channels: bool = False) -> None:
        check_keep_prob("Dropout", keep_prob)
        self.keep_prob, self.channels = keep_prob, channels

    def forward(self, x: Tensor) -> Tensor:
        """Return tt.dropout(x, keep_prob, training, channels)."""
        return ops.dropout(x, self.keep_prob, self.training, self.channels)

    def describe(self) -> str:
        """Return the probability."""
        return f"keep_prob={self.keep_prob}"


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
        return type(self).op(x, *self.settings)

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


class Activation(Module):
    """The base class of activation layers, which apply one function to each element.

    Activation layers have no parameters.
    """

    op: Callable[[Any], Tensor]

    def forward(self, x: Tensor) -> Tensor:
        """Return op(x)."""
        return type(self).op(x)


class ReLU(Activation):
    """Rectified linear unit: out = max(x, 0).

    Call with x, float of any shape.

    Gradient: dx = grad where x > 0, else 0.

    Source: torch.nn.ReLU.

    >>> nn.ReLU()(tt.Tensor([-1.0, 2.0]))
    Tensor([0., 2.], dtype=float32)
    """

    op = staticmethod(ops.relu)


class Sigmoid(Activation):
    """Sigmoid: out = 1 / (1 + e^-x), between 0 and 1.

    Call with x, float of any shape.

    Gradient: dx = grad * out * (1 - out).

    Source: torch.nn.Sigmoid.

    >>> nn.Sigmoid()(tt.Tensor([0.0]))
    Tensor([0.5], dtype=float32)
    """

    op = staticmethod(ops.sigmoid)


class Tanh(Activation):
    """Hyperbolic tangent: out = (e^x - e^-x) / (e^x + e^-x), between -1 and 1.

    Call with x, float of any shape.

    Gradient: dx = grad * (1 - out^2).

    Source: torch.nn.Tanh.

    >>> nn.Tanh()(tt.Tensor([0.0]))
    Tensor([0.], dtype=float32)
    """

    op = staticmethod(ops.tanh)


class GELU(Activation):
    """Gaussian error linear unit: out = x * P with P = (1 + erf(x / sqrt(2))) / 2.

    P is the probability that a standard normal value is below x.

    Call with x, float of any shape.

    Gradient: dx = grad * (P + x * e^(-x^2 / 2) / sqrt(2 * pi)).

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, the exact form, not the
    approximation with tanh; torch.nn.GELU.

    >>> nn.GELU()(tt.Tensor([0.0, 1.0]))
    Tensor([0.       , 0.8413447], dtype=float32)
    """

    op = staticmethod(ops.gelu)
