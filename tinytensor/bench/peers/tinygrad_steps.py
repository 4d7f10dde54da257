"""tinygrad: the whole step under TinyJit, with tinygrad's Adam and SGD.

Everything is stored on the device: the data set, the order of the batches, the learning rates, the
step number, which the step increments, and the losses, which are copied to the host after many
steps. TinyJit records the kernels of the second call and replays them from the third on. tinygrad's
search for faster kernels takes minutes per network; the environment variable BEAM enables it.
"""

import numpy as np
from tinygrad import Context, Device, Tensor, TinyJit
from tinygrad import nn as grad_nn
from tinygrad.helpers import NUM_CPU_THREADS

import tinytensor as tt
from tinytensor import nn
from tinytensor.arrays import Array
from tinytensor.bench.task import MAX_STEPS, Steps, Task, same_padding, stride_of


def set_threads(threads: int) -> int:
    """Set the number of threads for which kernels are compiled, and return it."""
    NUM_CPU_THREADS.value = threads
    return NUM_CPU_THREADS.value


def one_by_one(task: Task) -> Steps:
    assert Device.DEFAULT == "CPU", Device.DEFAULT
    Tensor.manual_seed(0)
    layers = [made for layer in task.layers if (made := layer_of(layer, task)) is not None]
    params = [x for layer in layers for x in getattr(layer, "params", [])]
    averages = [x for layer in layers for x in getattr(layer, "averages", [])]
    kind = grad_nn.optim.SGD if isinstance(task.optimizer, tt.optim.SGD) else grad_nn.optim.Adam
    optimizer = kind(params, lr=task.rate(0))
    images = constant(task.images)
    labels = constant(task.labels.astype(np.int32))
    chosen = constant(task.chosen.astype(np.int32))
    rates = constant(np.array([task.rate(i) for i in range(10_000)], np.float32))
    number = constant(np.zeros(1, np.int32))
    losses = constant(np.zeros(MAX_STEPS, np.float32))
    places = constant(np.arange(MAX_STEPS, dtype=np.int32))

    @TinyJit
    def step() -> None:
        # Contiguous, because otherwise each sum that reads the rows would select them again.
        batch = chosen[number % len(task.chosen)][0].contiguous()
        x = (images[batch].unsqueeze(1).cast("float32") * (1 / 255)).contiguous()
        for layer in layers:
            x = layer(x)
        loss = x.sparse_categorical_crossentropy(labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr.assign(rates[number.clip(0, 9_999)])
        updates = optimizer.schedule_step()
        losses.assign((places == number % MAX_STEPS).where(loss.detach(), losses))
        number.assign(number + 1)
        Tensor.realize(losses, number, *averages, *updates)

    def run(steps: range) -> Array:
        # Without SPLIT_REDUCEOP, selecting an image (a sum over the data set) becomes a look-up.
        with Context(TRAINING=1, SPLIT_REDUCEOP=0):
            for _ in steps:
                step()
        return losses.numpy()[np.arange(steps.start, steps.stop) % MAX_STEPS]

    return run


def constant(values: Array) -> Tensor:
    return Tensor(values).is_param_(False).realize()


def parameter(x: tt.Tensor) -> Tensor:
    return Tensor(x.numpy().copy()).realize()


def layer_of(layer: nn.Module, task: Task):
    match layer:
        case nn.Flatten():
            return Flatten()
        case nn.Linear():
            return Dense(layer)
        case nn.Conv2d():
            return Convolution(layer)
        case nn.BatchNorm():
            return BatchNorm(layer)
        case nn.Dropout() if layer.keep_prob < 1:
            return lambda x: x.dropout(1 - layer.keep_prob)
        case nn.ReLU():
            return Tensor.relu
        case nn.Sigmoid():
            return Tensor.sigmoid
    return None


class Flatten:
    """Flattens NCHW images in the order H, W, C, which the weights of the dense layer need."""

    def __call__(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class Dense:
    """x @ weight + bias"""

    def __init__(self, layer: nn.Linear) -> None:
        self.params = [parameter(x) for x in (layer.weight, layer.bias) if x is not None]

    def __call__(self, x: Tensor) -> Tensor:
        return x.linear(*self.params)


class Convolution:
    """A convolution; filters (KH, KW, I, O) are transposed to (O, I, KH, KW)."""

    def __init__(self, layer: nn.Conv2d) -> None:
        filters = tt.from_numpy(np.ascontiguousarray(layer.weight.numpy().transpose(3, 2, 0, 1)))
        self.params = [parameter(x) for x in (filters, layer.bias) if x is not None]
        self.size, self.stride = layer.weight.shape[0], stride_of(layer)

    def __call__(self, x: Tensor) -> Tensor:
        before, after = same_padding(x.shape[2], self.size, self.stride)
        weight, *bias = self.params
        sides = (before, after, before, after)
        return x.conv2d(weight, *bias, stride=self.stride, padding=sides)


class BatchNorm:
    """Batch norm with offset only, as in some lessons; tinygrad's layer has both or neither."""

    def __init__(self, layer: nn.BatchNorm) -> None:
        self.scale, self.offset = (
            None if x is None else parameter(x) for x in (layer.scale, layer.offset)
        )
        self.params = [x for x in (self.scale, self.offset) if x is not None]
        self.averages = [constant(x.numpy().copy()) for x in (layer.mean, layer.var)]
        self.decay, self.epsilon = layer.decay, layer.epsilon

    def __call__(self, x: Tensor) -> Tensor:
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        mean, var = x.mean(axes), x.var(axes, correction=0)
        for average, now in zip(self.averages, (mean, var), strict=True):
            average.assign(self.decay * average + (1 - self.decay) * now.detach())
        return x.batchnorm(self.scale, self.offset, mean, (var + self.epsilon).rsqrt())
