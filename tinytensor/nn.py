"""Layers with parameters, and how they are put together.

A Module is a class with a `forward`. Its parameters are found, not registered: every Tensor with
requires_grad among its attributes, and those of Modules among them, alone or in lists, tuples and
dicts, however deep. Tensors without requires_grad are kept with the model too, such as batch norm's
averages. A layer whose settings make no sense raises SettingError when it is made.

Images are (N, H, W, channels), as everywhere.
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

Initializer = Callable[[tuple[int, ...]], Tensor]


# First weights: functions from a shape (..., inputs, outputs) to a tensor -------------------------
# he and glorot are such functions; constant(0.1) and truncated_normal(0.1) make one.


def constant(value: float) -> Initializer:
    """The same number everywhere."""
    return lambda shape: creation.full(shape, float(value))


zeros: Initializer = constant(0)


def truncated_normal(std: float = 0.1) -> Initializer:
    """Normal numbers, none beyond two standard deviations: the course's."""
    return lambda shape: creation.truncated_normal(*shape, std=std)


def he(shape: tuple[int, ...] | None = None) -> Tensor:
    """Normal with variance 2 / inputs: for ReLU (He et al., 2015).

    Given to a layer without brackets, weight=nn.he: the layer has the shape.
    """
    shape = _given("he", shape)
    return creation.randn(*shape) * math.sqrt(2 / max(math.prod(shape[:-1]), 1))


def glorot(shape: tuple[int, ...] | None = None) -> Tensor:
    """Uniform with variance 2 / (inputs + outputs): for sigmoid and tanh (Glorot, Bengio, 2010).

    Given to a layer without brackets, weight=nn.glorot: the layer has the shape.

    Raises ShapeError for a shape of fewer than two axes.
    """
    shape = _given("glorot", shape)
    if len(shape) < 2:
        raise ShapeError(f"glorot: got shape {shape}; (..., inputs, outputs) is needed")
    places = math.prod(shape[:-2])
    limit = math.sqrt(6 / max(places * (shape[-2] + shape[-1]), 1))
    return (creation.rand(*shape) * 2 - 1) * limit


def _given(name: str, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    if shape is None:
        raise SettingError(
            f"{name}: got no shape; a layer takes nn.{name} without brackets: weight=nn.{name}"
        )
    return shape


# Modules ----------------------------------------------------------------------------------------


class Module:
    """A layer or a network: a function of tensors with parameters.

    A subclass sets its tensors and modules as attributes and defines `forward`.
    """

    @property
    def version(self) -> int:
        """The number of changes of attributes, by which a captured step sees that it is stale."""
        version: int = vars(self).get("_version", 0)
        return version

    @property
    def training(self) -> bool:
        """Whether this is training or a test: dropout and batch norm differ."""
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
        """See forward."""
        if recorder.recordings and (notes := recorder.recorder()):
            notes.modules.setdefault(id(self), (self, self.version))
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """What the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def children(self) -> Iterator[tuple[str, Module]]:
        """The modules among the attributes, by their paths: "head", "blocks.0", "heads.left"."""
        for name, x in self._found():
            if isinstance(x, Module):
                yield name, x

    def named_tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """All tensors of this module and those in it, named by their path: "layers.0.weight"."""
        for name, x in self._found():
            if isinstance(x, Tensor):
                yield prefix + name, x
        for name, child in self.children():
            yield from child.named_tensors(f"{prefix}{name}.")

    def _found(self) -> Iterator[tuple[str, Tensor | Module]]:
        for name, value in vars(self).items():
            yield from _inside(name, value)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Those that training changes by their gradients; one that has two names by its first."""
        seen: set[int] = set()
        for name, x in self.named_tensors():
            if x.requires_grad and id(x) not in seen:
                seen.add(id(x))
                yield name, x

    def parameters(self) -> list[Tensor]:
        """Those that training changes by their gradients."""
        return [x for _, x in self.named_parameters()]

    def train(self, training: bool = True) -> Module:
        """Say that this is training, for this module and those in it; returns the module."""
        self.training = training
        for _, child in self.children():
            child.train(training)
        return self

    def eval(self) -> Module:
        """Say that this is a test: no dropout, and batch norm by its averages."""
        return self.train(False)

    def state_dict(self) -> dict[str, Tensor]:
        """All tensors by their names, in their own memory: tt.save writes them to a file.

        Raises SettingError where two have the same name, as {"a.b": x} and {"a": {"b": y}} give.
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
        """Take over the numbers of a state_dict.

        Raises DataError, with every name, for tensors that are missing, unknown or of another
        shape; nothing is changed then.
        """
        checkpoint.copy_into("load_state_dict", dict(self.named_tensors()), state)

    def describe(self) -> str:
        """What stands in the brackets of repr."""
        return ""

    def __repr__(self) -> str:
        count = sum(x.size for x in self.parameters())
        tensors = [f"{n} {x.shape}" for n, x in self._found() if isinstance(x, Tensor)]
        inside = ", ".join(filter(None, [self.describe(), *tensors]))
        head = f"{type(self).__name__}({inside})" + (f"  # {count:,} parameters" if count else "")
        lines = [
            f"  {name}: {line}" if i == 0 else f"  {line}"
            for name, child in self.children()
            for i, line in enumerate(repr(child).splitlines())
        ]
        return "\n".join([head, *lines])


def _inside(name: str, value: Any) -> Iterator[tuple[str, Tensor | Module]]:
    """The tensors and modules in an attribute, by their paths."""
    if isinstance(value, Tensor | Module):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _inside(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _inside(f"{name}.{i}", item)


class Sequential(Module):
    """One module after the other; a function of one tensor will do for one without parameters.

    Raises NotSupported for anything else, such as a list of modules.
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
        """The last layer of ... of the first of x."""
        for layer in self.layers:
            x = layer(x)
        return x


def _parameter(layer: str, name: str, initializer: Initializer, *shape: int) -> Tensor:
    made = initializer(shape) if callable(initializer) else None
    if not isinstance(made, Tensor) or made.shape != shape:
        what = getattr(initializer, "__name__", f"a {type(initializer).__name__}")
        raise SettingError(
            f"{layer}: {name} is {what}, which makes no tensor of shape {shape}; an initialiser "
            "such as nn.he or nn.truncated_normal(0.1) is needed"
            + (", or None for no bias" if name == "bias" else "")
        )
    array = arrays.zeros(shape, made.dtype)
    array[...] = made.array
    return wrap(array).requires_grad_()


def _sizes(layer: str, inputs: int, outputs: int) -> Pair:
    return whole(layer, "inputs", inputs, 1), whole(layer, "outputs", outputs, 1)


class Linear(Module):
    """x . weight + bias: x (..., inputs), weight (inputs, outputs), bias (outputs) or None.

    weight, bias: initialisers, functions from a shape to a tensor.
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
        """See ops.linear."""
        return ops.linear(x, self.weight, self.bias)


class Conv2d(Module):
    """A convolution of images (N, H, W, inputs), weight (KH, KW, inputs, outputs), bias (outputs).

    size: KH and KW, or one number for both. weight, bias: initialisers, as in Linear.
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
        """See ops.conv2d."""
        return ops.conv2d(x, self.weight, self.bias, self.stride, self.padding)

    def describe(self) -> str:
        """Stride and padding."""
        return f"stride={self.stride}, padding={self.padding}"


class BatchNorm(Module):
    """Every channel with mean 0 and variance 1, then times scale, plus offset; x (..., channels).

    In training by the batch's own moments, over all axes but the last; in a test by moving averages
    of them.
    scale, offset: whether there are such parameters; before a ReLU a scale is idle.
    decay: of the averages, average = decay * average + (1 - decay) * batch.
    warm_up: let the averages follow faster at first: at step t the decay is at most
        (1 + t) / (10 + t), as the course has it; False for a fixed decay (1 - torch's momentum).

    var averages the variance that the batch was divided by, the biased one: of n numbers the sum of
    squares about their mean, by n. torch's running_var averages the same sum by n - 1.

    Raises ShapeError for x of another number of channels.
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
        # A tensor, so that it is saved with the model.
        self.steps = creation.zeros(1, dtype="int64")
        self.decay, self.warm_up, self.epsilon = decay, warm_up, epsilon

    def forward(self, x: Tensor) -> Tensor:
        """See ops.batch_norm."""
        if x.shape[-1:] != self.mean.shape:
            raise ShapeError(f"BatchNorm: got shape {x.shape}; (..., {self.mean.size}) is needed")
        if not self.training:
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
        """The decay."""
        return f"decay={self.decay}"


class Dropout(Module):
    """In training each number is kept with probability keep_prob, else 0; see ops.dropout."""

    def __init__(self, keep_prob: float, channels: bool = False) -> None:
        check_keep_prob("Dropout", keep_prob)
        self.keep_prob, self.channels = keep_prob, channels

    def forward(self, x: Tensor) -> Tensor:
        """See ops.dropout."""
        return ops.dropout(x, self.keep_prob, self.training, self.channels)

    def describe(self) -> str:
        """The probability."""
        return f"keep_prob={self.keep_prob}"


class Pool2d(Module):
    """An op that makes one number of every window, as a layer; a kind of pooling has its op."""

    op: Callable[..., Tensor]

    def __init__(
        self, size: int | Pair, stride: int | Pair | None = None, padding: Padding = 0
    ) -> None:
        check_window(type(self).__name__, size, size if stride is None else stride, padding)
        self.settings = size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """The op of that name."""
        return type(self).op(x, *self.settings)

    def describe(self) -> str:
        """Size, stride and padding."""
        size, stride, padding = self.settings
        return f"size={size}, stride={size if stride is None else stride}, padding={padding}"


class MaxPool2d(Pool2d):
    """The largest of every window; see ops.max_pool2d."""

    op = staticmethod(ops.max_pool2d)


class AvgPool2d(Pool2d):
    """The mean of every window; see ops.avg_pool2d."""

    op = staticmethod(ops.avg_pool2d)


class Flatten(Module):
    """Everything but the first axis, which counts the examples, in one."""

    def forward(self, x: Tensor) -> Tensor:
        """See ops.flatten."""
        return ops.flatten(x, 1)


class Activation(Module):
    """An op that bends what a layer gives, as a layer without parameters."""

    op: Callable[[Any], Tensor]

    def forward(self, x: Tensor) -> Tensor:
        """The op of that name."""
        return type(self).op(x)


class ReLU(Activation):
    """See ops.relu."""

    op = staticmethod(ops.relu)


class Sigmoid(Activation):
    """See ops.sigmoid."""

    op = staticmethod(ops.sigmoid)


class Tanh(Activation):
    """See ops.tanh."""

    op = staticmethod(ops.tanh)


class GELU(Activation):
    """See ops.gelu."""

    op = staticmethod(ops.gelu)
