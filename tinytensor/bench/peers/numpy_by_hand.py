"""NumPy by hand: dense networks with forward and backward passes written out.

Every result is written into an array that is allocated once, or over one that is no longer needed.
OpenBLAS computes matrix products, and also sums over a batch, as products with ones. All parameters
are stored in one array and all gradients in another, so an update passes over two arrays.
Blocking these passes for the caches is not faster.
"""

import math

import numpy as np

import tinytensor as tt
from tinytensor import nn
from tinytensor.arrays import Array
from tinytensor.backends import numpy_backend
from tinytensor.bench.task import Steps, Task, Unsupported


def set_threads(threads: int) -> int:
    numpy_backend.set_num_threads(threads)
    return numpy_backend.num_threads()


def steps_of(task: Task) -> Steps:
    if task.is_convolutional:
        raise Unsupported("has no convolutions")
    params, grads, layers = layers_of(task)
    is_sgd = isinstance(task.optimizer, tt.optim.SGD)
    update = SGD(params, grads) if is_sgd else Adam(params, grads)
    pixels = task.images.reshape(-1, 784)
    chosen_bytes = np.empty((task.batch, 784), np.uint8)
    images = np.empty((task.batch, 784), np.float32)

    def step(chosen: Array, number: int) -> np.float32:
        np.take(pixels, chosen, axis=0, out=chosen_bytes, mode="clip")  # "clip" needs no buffer
        np.multiply(chosen_bytes, np.float32(1 / 255), out=images)
        x = images
        for layer in layers:
            x = layer.forward(x)
        loss, grad = cross_entropy(x, task.labels[chosen])
        for layer in reversed(layers):
            grad = layer.backward(grad)
        update(task.rate(number), number + 1)
        return loss

    def run(steps: range) -> Array:
        return np.array(list(map(step, task.batches(steps), steps)))

    return run


def cross_entropy(logits: Array, labels: Array) -> tuple[np.float32, Array]:
    """The mean loss, and its gradient (N, 10), which overwrites the logits."""
    batch = len(labels)
    rows = np.arange(batch)
    logits -= logits.max(axis=1, keepdims=True)
    wanted = logits[rows, labels]
    probs = np.exp(logits, out=logits)
    total = probs.sum(axis=1, keepdims=True)
    loss = (np.log(total[:, 0]) - wanted).mean()
    probs *= np.float32(1 / batch) / total
    probs[rows, labels] -= np.float32(1 / batch)
    return loss, probs


# Layers: forward and backward may overwrite their argument ----------------------------------------


def layers_of(task: Task) -> tuple[Array, Array, list]:
    """An array of all parameters, one of all gradients, and layers with views into both."""
    batch, parameters = task.batch, task.model.parameters()
    params = np.concatenate([x.numpy().reshape(-1) for x in parameters])
    grads = np.zeros_like(params)
    ends = np.cumsum([x.size for x in parameters])
    parts = {
        id(x.array): (params[end - x.size : end], grads[end - x.size : end])
        for x, end in zip(parameters, ends, strict=True)
    }

    def views(x: tt.Tensor | None) -> tuple[Array, Array] | None:
        if x is None:
            return None
        param, grad = parts[id(x.array)]
        return param.reshape(x.shape), grad.reshape(x.shape)

    layers: list = []
    for layer in task.layers:
        match layer:
            case nn.Linear():
                layers.append(Dense(batch, views(layer.weight), views(layer.bias), not layers))
            case nn.BatchNorm():
                layers.append(BatchNorm(batch, layer, views(layer.scale), views(layer.offset)))
            case nn.Dropout() if layer.keep_prob < 1:
                layers.append(Dropout(layer.keep_prob))
            case nn.ReLU():
                layers.append(ReLU())
            case nn.Sigmoid():
                layers.append(Sigmoid())
    return params, grads, layers


class Dense:
    """x @ weight + bias; the first layer doesn't compute the gradient of x."""

    def __init__(self, batch: int, weight, bias, is_first: bool) -> None:
        self.weight, self.grad_weight = weight
        self.bias, self.grad_bias = bias or (None, None)
        inputs, outputs = self.weight.shape
        self.ones = np.ones(batch, np.float32)
        self.out = np.empty((batch, outputs), np.float32)
        self.grad_x = None if is_first else np.empty((batch, inputs), np.float32)

    def forward(self, x: Array) -> Array:
        self.x = x
        np.matmul(x, self.weight, out=self.out)
        if self.bias is not None:
            self.out += self.bias
        return self.out

    def backward(self, grad: Array) -> Array:
        np.matmul(self.x.T, grad, out=self.grad_weight)
        if self.bias is not None:
            np.matmul(self.ones, grad, out=self.grad_bias)
        if self.grad_x is not None:
            np.matmul(grad, self.weight.T, out=self.grad_x)
        return self.grad_x


class ReLU:
    """y = max(x, 0); dx = grad where y > 0, else 0."""

    def forward(self, x: Array) -> Array:
        self.y = np.maximum(x, 0, out=x)
        return x

    def backward(self, grad: Array) -> Array:
        grad *= self.y > 0
        return grad


class Sigmoid:
    """y = 1 / (1 + e^-x); dx = grad * y * (1 - y)."""

    def forward(self, x: Array) -> Array:
        np.negative(x, out=x)
        np.exp(x, out=x)
        x += 1
        self.y = np.reciprocal(x, out=x)
        return x

    def backward(self, grad: Array) -> Array:
        grad *= self.y
        grad *= 1 - self.y
        return grad


class Dropout:
    """x times a mask of 0 and 1 / keep_prob, from 16 random bits per element."""

    def __init__(self, keep_prob: float) -> None:
        self.limit, self.scale = round(keep_prob * 2**16), np.float32(1 / keep_prob)
        self.random = np.random.SFC64(0)
        self.y: Array | None = None

    def forward(self, x: Array) -> Array:
        if self.y is None:
            self.y = np.empty_like(x)
        bits = self.random.random_raw(-(-x.size // 4)).view(np.uint16)[: x.size].reshape(x.shape)
        self.mask = (bits < self.limit) * self.scale
        return np.multiply(x, self.mask, out=self.y)

    def backward(self, grad: Array) -> Array:
        grad *= self.mask
        return grad


class BatchNorm:
    """(x - mean) / sqrt(var + epsilon) * scale + offset, with moving averages of mean and var."""

    def __init__(self, batch: int, layer: nn.BatchNorm, scale, offset) -> None:
        self.decay, self.epsilon = layer.decay, layer.epsilon
        self.scale, self.grad_scale = scale or (None, None)
        self.offset, self.grad_offset = offset
        self.mean, self.var = layer.mean.numpy().copy(), layer.var.numpy().copy()
        self.batch, self.ones = batch, np.ones(batch, np.float32)
        self.y, self.products = np.empty((2, batch, len(self.mean)), np.float32)

    def forward(self, x: Array) -> Array:
        mean = self.ones @ x
        mean /= self.batch
        x -= mean
        var = self.ones @ np.square(x, out=self.products)
        var /= self.batch
        self.by_std = 1 / np.sqrt(var + self.epsilon)
        x *= self.by_std
        self.normalized = x
        self.mean += (1 - self.decay) * (mean - self.mean)
        self.var += (1 - self.decay) * (var - self.var)
        if self.scale is not None:
            np.multiply(x, self.scale, out=self.y)
            x = self.y
        return np.add(x, self.offset, out=self.y)

    def backward(self, grad: Array) -> Array:
        # grad_x = scale / std * (grad - mean(grad) - normalized * mean(grad * normalized))
        np.matmul(self.ones, grad, out=self.grad_offset)
        sums = self.ones @ np.multiply(grad, self.normalized, out=self.products)
        np.multiply(self.normalized, sums / self.batch, out=self.products)
        grad -= self.grad_offset / self.batch
        grad -= self.products
        if self.scale is None:
            grad *= self.by_std
        else:
            self.grad_scale[...] = sums
            grad *= self.by_std * self.scale
        return grad


# Optimizers: update all parameters, which are one array -----------------------------------------


class SGD:
    """param -= rate * grad"""

    def __init__(self, params: Array, grads: Array) -> None:
        self.params, self.grads = params, grads

    def __call__(self, rate: float, step: int) -> None:
        self.grads *= rate
        self.params -= self.grads


class Adam:
    """Kingma and Ba, 2015; bias corrections are folded into the learning rate and epsilon."""

    def __init__(self, params: Array, grads: Array) -> None:
        self.params, self.grads = params, grads
        self.m, self.v = np.zeros((2, len(params)), np.float32)
        self.change = np.empty_like(params)

    def __call__(self, rate: float, step: int) -> None:
        root = math.sqrt(1 - 0.999**step)
        rate, epsilon = rate * root / (1 - 0.9**step), 1e-8 * root
        grad, m, v, change = self.grads, self.m, self.v, self.change
        np.subtract(grad, m, out=change)
        change *= 0.1
        m += change
        grad *= grad
        grad -= v
        grad *= 0.001
        v += grad
        np.sqrt(v, out=change)
        change += epsilon
        np.divide(m, change, out=change)
        change *= rate
        self.params -= change
