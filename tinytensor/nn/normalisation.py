"""Layers that normalise: BatchNorm and LayerNorm."""

from __future__ import annotations

import numpy as np

from tinytensor import kernels, ops, recorder
from tinytensor.arrays import Array
from tinytensor.errors import SettingError, ShapeError
from tinytensor.nn.module import Module, as_input
from tinytensor.ops import creation
from tinytensor.ops.operands import as_float, real, whole
from tinytensor.tensors import Tensor

__all__ = ["BatchNorm", "LayerNorm"]


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

    Call with x, (..., channels); the result has the same shape. x is converted to the dtype of the
    layer's tensors. The result of an empty batch is empty, and an empty batch changes no average.

    Gradient, in training mode, with R = x.size / channels, n = (x - mean) / sqrt(var + epsilon) and
    sums over all axes but the last: doffset = grad.sum(), dscale = (grad * n).sum(),
    dx = scale / sqrt(var + epsilon) * (grad - doffset / R - n * dscale / R).

    Raises:
        SettingError: a setting is out of its range.
        ShapeError: from the call, if the last axis of x is not `channels`, or if x has one value
            per channel in training mode.
        DTypeError: from the call, if x is uint8, as the bytes of an image.

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
        if not 0 <= real("BatchNorm", "decay", decay) < 1:
            raise SettingError(
                f"BatchNorm: got decay={decay}; a number from 0 up, below 1, is needed"
            )
        if not real("BatchNorm", "epsilon", epsilon) >= 0:
            raise SettingError(f"BatchNorm: got epsilon={epsilon}; a number from 0 up is needed")
        channels = whole("BatchNorm", "channels", channels, 1)
        start = float(real("BatchNorm", "offset_start", offset_start))
        self.scale = creation.ones(channels, requires_grad=True) if scale else None
        self.offset = creation.full(channels, start, requires_grad=True) if offset else None
        self.mean, self.var = creation.zeros(channels), creation.ones(channels)
        self.steps = creation.zeros(1, dtype="int64")  # a tensor, because tensors are saved
        self.decay, self.warm_up, self.epsilon = decay, warm_up, epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return tt.batch_norm of x; in training mode also update the moving averages."""
        x = as_input("BatchNorm", x, self.scale, self.offset, self.mean, self.var)
        if x.shape[-1:] != self.mean.shape:
            raise ShapeError(f"BatchNorm: got shape {x.shape}; (..., {self.mean.size}) is needed")
        if x.size == self.mean.size and self.training:
            raise ShapeError(
                f"BatchNorm: got shape {x.shape}, one value per channel; in training mode at least "
                "two are needed, because one value minus its own mean is 0: use a larger batch, or "
                "model.eval() for a prediction"
            )
        if not self.training or not x.size:  # an empty batch has no mean
            mean, var, epsilon = self.mean, self.var, self.epsilon
            return ops.batch_norm(x, self.scale, self.offset, mean_=mean, var_=var, epsilon=epsilon)
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
        """Return the decay, warm_up and epsilon."""
        return f"decay={self.decay}, warm_up={self.warm_up}, epsilon={self.epsilon:g}"


class LayerNorm(Module):
    """Layer normalisation: out = (x - mean) / sqrt(var + epsilon) * scale + offset, per example.

    mean and var are the mean and the variance of each example over its last axis, or over its last
    axes if `channels` is a tuple. Training and evaluation mode are alike.

    Args:
        channels: the size of the last axis of x, or a tuple with the sizes of its last axes.
        scale: True for a trained parameter `scale`.
        offset: True for a trained parameter `offset`.
        epsilon: is added to the variance, so that a constant example is not divided by 0.

    Attributes:
        scale: float32 of the shape of these axes, or None; starts as 1.
        offset: float32 of the shape of these axes, or None; starts as 0.

    Call with x, (..., channels); the result has the same shape. x is converted to the dtype of the
    parameters.

    Gradient: with n = (x - mean) / sqrt(var + epsilon) and g = grad * scale, dscale is the sum of
    grad * n and doffset the sum of grad over all other axes, and
    dx = (g - mean of g - n * mean of (g * n)) / sqrt(var + epsilon), with means over these axes.

    Raises:
        SettingError: a size is below 1, or epsilon is below 0.
        ShapeError: from the call, if the last axes of x are not `channels`.
        DTypeError: from the call, if x is uint8, as the bytes of an image.

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016; torch.nn.LayerNorm.

    >>> nn.LayerNorm(2, epsilon=0)(tt.Tensor([[1.0, 3.0], [10.0, 30.0]])).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    def __init__(
        self,
        channels: int | tuple[int, ...],
        scale: bool = True,
        offset: bool = True,
        epsilon: float = 1e-5,
    ) -> None:
        if not real("LayerNorm", "epsilon", epsilon) >= 0:
            raise SettingError(f"LayerNorm: got epsilon={epsilon}; a number from 0 up is needed")
        given = channels if isinstance(channels, tuple | list) else (channels,)
        if not given:
            raise SettingError(f"LayerNorm: got channels={channels}; at least one size is needed")
        self.channels = tuple(whole("LayerNorm", "channels", size, 1) for size in given)
        self.scale = creation.ones(*self.channels, requires_grad=True) if scale else None
        self.offset = creation.zeros(*self.channels, requires_grad=True) if offset else None
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return tt.layer_norm of x over its last axes."""
        own = self.scale, self.offset
        has_own = any(s is not None for s in own)
        x = as_input("LayerNorm", x, *own) if has_own else as_float("LayerNorm", x)
        axes = tuple(range(-len(self.channels), 0))
        if x.shape[-len(axes) :] != self.channels:
            wanted = ", ".join(map(str, self.channels))
            raise ShapeError(f"LayerNorm: got shape {x.shape}; (..., {wanted}) is needed")
        return ops.layer_norm(x, self.scale, self.offset, axes, self.epsilon)

    def describe(self) -> str:
        """Return the sizes of the normalised axes, and epsilon."""
        sizes = self.channels[0] if len(self.channels) == 1 else self.channels
        return f"channels={sizes}, epsilon={self.epsilon:g}"
