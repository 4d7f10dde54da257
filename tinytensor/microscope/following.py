"""One weight is followed through a training step: what it multiplies, and how it gets its gradient.

The step is that of a lesson. All values are read from the engine's arrays: the inputs and results
of the layers, the gradients after `loss.backward()`, and the weight before and after the update.
The gradient is checked in two ways: as the sum of its products, and by nudging the weight.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinytensor import ops, random
from tinytensor.arrays import Array
from tinytensor.autograd import enable_grad, no_grad
from tinytensor.datasets import Dataset
from tinytensor.errors import IndexingError, SettingError, UnknownName
from tinytensor.lessons import Lesson
from tinytensor.lessons.mnist_1_0_softmax import TenNeurons
from tinytensor.microscope.as_html import as_fragment
from tinytensor.microscope.as_text import as_text
from tinytensor.microscope.chain_rule import Stage, grad_of, smoothing_of, stages
from tinytensor.microscope.nudging import nudge
from tinytensor.microscope.update_rules import rule_of, state_of
from tinytensor.nn import Conv2d, Flatten, Linear, Module, Sequential
from tinytensor.optim import Optimizer
from tinytensor.tensors import Tensor, from_numpy
from tinytensor.train import Training


@dataclass(frozen=True, repr=False)
class Followed:
    """A weight in one training step; see the module.

    name: of the parameter. index: of the weight in it. shape: of the parameter. position: the
    place (h, w) of the output that is shown, () for a dense layer. example: the image whose product
    is largest, or the chosen one. inputs: (N, P) float32, the values that the weight multiplied,
    for N images and P places of its filter; P is 1 for a dense layer. grads: (N, P) float32, the
    gradient of the loss at the output of each product. window, weights: the values and the weights
    whose products are summed in the output, in the shape (KH, KW, I) of a filter or (I,). outputs:
    (H, W) or (), all outputs of the same neuron or channel for the example. result: the output at
    `position`; terms: the number of its products. loss: the mean over the batch; own_loss: of the
    example; smoothing: the label smoothing, or None if the loss is no cross-entropy. stages: from
    the loss back to the followed layer. gradient: of the weight, by loss.backward(). nudged: the
    same by nudging, or None if that was not measured; why: why the two differ. before, after: the
    weight. rule: the update in numbers, in lines. seen: the pixels in the window of a convolution
    that reads the image: first row, last row, first column, last column. None for another layer.
    """

    lesson: Lesson
    step: int
    layer: str
    name: str
    index: tuple[int, ...]
    shape: tuple[int, ...]
    position: tuple[int, ...]
    example: int
    images: Array
    labels: Array
    inputs: Array
    grads: Array
    place: int
    window: Array
    weights: Array
    outputs: Array
    result: float
    bias: float
    terms: int
    logits: Array
    probs: Array
    loss: float
    own_loss: float
    smoothing: float | None
    stages: tuple[Stage, ...]
    gradient: float
    nudged: float | None
    why: tuple[str, ...]
    before: float
    after: float
    rule: tuple[str, ...]
    seen: tuple[int, int, int, int] | None

    @property
    def products(self) -> Array:
        """The products (N, P) float64 whose sum is the gradient of the weight."""
        products: Array = self.inputs.astype(np.float64) * self.grads
        return products

    @property
    def is_dense(self) -> bool:
        """True if the weight has one product for each image: that of a dense layer."""
        return len(self.index) == 2 and self.inputs.shape[1] == 1

    def __repr__(self) -> str:
        """The step of the weight as text."""
        return as_text(self)

    def _repr_html_(self) -> str:
        """The same with pictures, for notebooks."""
        return as_fragment(self)


def chain_of(model: Module) -> Sequential:
    """The model as a chain of layers, which share its parameters.

    Lesson 1.0 has its layer written out: `images.reshape(-1, len(weight)) @ weight + bias`. As
    layers these are Flatten and Linear, which compute the same bits.

    Raises SettingError for a model that is no chain.
    """
    if isinstance(model, Sequential):
        return model
    if not isinstance(model, TenNeurons):
        raise SettingError(
            f"microscope: got a {type(model).__name__}; a lesson whose model is an nn.Sequential "
            "is needed"
        )
    inputs, outputs = model.weight.shape
    neurons = Linear(inputs, outputs)
    neurons.weight, neurons.bias = model.weight, model.bias
    return Sequential(Flatten(), neurons)


def weights_by_layer(model: Module) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The name and the shape of the weights of a chain's layers, by the path of the layer.

    The name is that of `named_parameters()`. Empty if the model is no chain.
    """
    if not isinstance(model, Sequential | TenNeurons):
        return {}
    names = {id(x): name for name, x in model.named_parameters()}
    layers = layers_with_weights(chain_of(model))
    return {path: (names[id(x.weight)], x.weight.shape) for path, x in layers.items()}


def layers_with_weights(chain: Sequential) -> dict[str, Linear | Conv2d]:
    """The dense and convolutional layers of a chain, by path."""
    return {
        f"layers.{i}": layer
        for i, layer in enumerate(chain.layers)
        if isinstance(layer, Linear | Conv2d)
    }


def follow(
    lesson: Lesson,
    data: Dataset,
    index: Sequence[int],
    *,
    layer: str | None = None,
    step: int = 1,
    seed: int = 0,
    example: int | None = None,
) -> Followed:
    """Make the training steps of a lesson up to `step`, and follow one weight through the last.

    Args:
        lesson: the lesson; its model is an nn.Sequential.
        data: the training and test images.
        index: of the weight: (input, neuron) for a dense layer, (row, column, input channel,
            output channel) for a convolution.
        layer: the path of the layer, such as "layers.1"; the first layer with such an index by
            default.
        step: the number of the step, from 1 up.
        seed: of the run.
        example: the image of the batch to show; by default the one with the largest product.

    Raises:
        UnknownName: there is no such layer.
        IndexingError: the weight or the example does not exist.
        SettingError: the model is not an nn.Sequential, or `step` is below 1.
    """
    if step < 1:
        raise SettingError(f"microscope: got step {step}; a step from 1 up is needed")
    training = Training(lesson, data, steps=max(step, lesson.steps), seed=seed)
    _find_layer(chain_of(training.model), tuple(index), layer)  # an error comes before the steps
    training.model.train()
    for _ in range(step - 1):
        training.make_step()
    return _follow_step(training, training.model, training.optimizer, index, layer, example, None)


def follow_next(
    training: Training,
    layer: str,
    neuron: int,
    place: tuple[int, ...] = (),
    example: int = 0,
) -> Followed:
    """Follow a weight through the next step of a training, which stays as it is.

    The step is made by copies of the model and of the optimiser, with the random numbers of the
    training's own next step. So the numbers are those of that step, and the training computes the
    same bits. Call it between two steps.

    Args:
        training: the training.
        layer: the path of a layer with weights, such as "layers.1".
        neuron: the neuron of a dense layer, or the channel of a convolution.
        place: (i,), the input of a dense layer; or (h, w), the place of the output of a
            convolution, by default its middle. The followed weight is the one of its window with
            the largest product.
        example: the image of the batch.

    Raises:
        UnknownName: there is no such layer.
        IndexingError: the weight, the place or the example does not exist.
        SettingError: the model is not an nn.Sequential.
    """
    with random.fork(), enable_grad():
        model, optimizer = copy.deepcopy((training.model, training.optimizer))
        model.train()
        position = None
        index = (*place, neuron)
        chain = chain_of(model)
        if layer in (known := layers_with_weights(chain)) and known[layer].weight.ndim == 4:
            position, index = _in_window(training, chain, layer, neuron, place, example)
        nudges = False  # because two more forward passes in float64 would delay the training
        return _follow_step(training, model, optimizer, index, layer, example, position, nudges)


def _in_window(
    training: Training,
    chain: Sequential,
    path: str,
    neuron: int,
    place: tuple[int, ...],
    example: int,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The place in a convolution's output, and the index of its weight with the largest product."""
    images, _ = training.next_batch()
    draws, tried = random.state().copy(), copy.deepcopy(chain)
    number, layer = int(path.split(".")[1]), layers_with_weights(chain)[path]
    x = from_numpy(images)
    for each in tried.layers[:number]:
        x = each(x)
    random.state()[:] = draws
    shape = layer(x[:1]).shape[1:]
    place = place or tuple(size // 2 for size in shape[:-1])
    here, sizes = (example, *place, neuron), (len(x), *shape)
    if len(here) != len(sizes) or not all(0 <= i < n for i, n in zip(here, sizes, strict=True)):
        raise IndexingError(
            f"microscope: got the place {place}, channel {neuron} and image {example} of {path}; "
            "the layer has no such output"
        )
    products = np.abs(_window(layer, x, example, place) * layer.weight.array[..., neuron])
    found = map(int, np.unravel_index(products.argmax(), products.shape))
    return place, (*found, neuron)


def _follow_step(
    training: Training,
    model: Module,
    optimizer: Optimizer,
    index: Sequence[int],
    layer: str | None,
    example: int | None,
    position: tuple[int, ...] | None,
    nudges: bool = True,
) -> Followed:
    """Make the next step of a training by this model and optimiser, and follow one weight.

    position: the place of the output that is shown; by default the one with the largest product.
    nudges: False without the check by nudging.
    """
    lesson, step = training.lesson, training.step + 1
    images, labels = training.next_batch()
    chain = chain_of(model)
    path, followed = _find_layer(chain, tuple(index), layer)
    if example is not None and not 0 <= example < len(images):
        raise IndexingError(f"microscope: got image {example}; 0 to {len(images) - 1} is needed")

    draws = random.state().copy()  # of dropout, so that a nudged forward pass draws the same
    before = _in_float64(chain) if nudges else chain  # for the nudge
    same = layers_with_weights(before)[path]
    bias = _bias(same, index[-1])
    results = _results(chain, images)
    logits = results[-1]
    loss = lesson.loss(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    weight, place = followed.weight, tuple(index)
    value = float(weight.array[place])
    assert weight.grad is not None
    gradient = float(weight.grad.array[place])

    number = int(path.split(".")[1])
    out = results[number + 1]
    x, out_grad = results[number], grad_of(out)
    inputs = _multiplied(followed, x, place)
    grads = out_grad[..., place[-1]].reshape(len(images), -1)
    if example is None:
        example = int(np.abs(inputs * grads).sum(axis=1).argmax())
    spot = int(np.abs(inputs[example] * grads[example]).argmax())
    if position is None:
        where = np.unravel_index(spot, out.shape[1:-1]) if out.ndim > 2 else ()
        position = tuple(map(int, where))
    elif position:
        spot = int(np.ravel_multi_index(position, out.shape[1:-1]))
    probs, smoothing = ops.softmax(logits).numpy(), smoothing_of(lesson.loss)
    here = (*position, place[-1])
    passed = stages(chain, results, number, example, here, labels, probs, smoothing)
    with no_grad():
        one = slice(example, example + 1)
        own_loss = lesson.loss(logits[one], labels[one]).item()
    nudged = None
    if nudges:
        nudged = nudge(lesson, before, same.weight, place, images, labels, draws, results, gradient)
    window = _window(followed, x, example, position)
    weights = weight.array[..., place[-1]].copy()
    kept = state_of(optimizer, weight, place)
    optimizer.step()
    return Followed(
        lesson=lesson, step=step,
        layer=f"{path}: {type(followed).__name__}" if chain is model else "the only layer",
        name=next(name for name, x in model.named_parameters() if x is weight),
        index=place, shape=weight.shape, position=position,
        example=example, images=images, labels=labels, inputs=inputs, grads=grads, place=spot,
        window=window, weights=weights, outputs=out.numpy()[example, ..., place[-1]].copy(),
        result=float(out.array[(example, *position, place[-1])]),
        bias=bias,
        terms=int(np.prod(weight.shape[:-1])),
        logits=logits.numpy()[example], probs=probs[example], loss=loss.item(),
        own_loss=own_loss, smoothing=smoothing,
        stages=passed,
        gradient=gradient,
        nudged=None if nudged is None else nudged.gradient,
        why=() if nudged is None else nudged.why,
        before=value, after=float(weight.array[place]),
        rule=rule_of(optimizer, weight, place, value, gradient, kept),
        seen=_seen(followed, images, position) if number == 0 else None,
    )  # fmt: skip


def _window(layer: Linear | Conv2d, x: Tensor, example: int, position: tuple[int, ...]) -> Array:
    """The values that the weights of one output multiply, in the shape of these weights.

    A convolution with one filter for each weight, 1 at its place and 0 elsewhere, returns them.
    """
    one = x.detach()[example : example + 1]
    shape = layer.weight.shape[:-1]
    if isinstance(layer, Linear):
        return one.numpy().reshape(shape).copy()
    picks = np.eye(int(np.prod(shape)), dtype=x.dtype).reshape(*shape, -1)
    windows = ops.conv2d(one, picks, stride=layer.stride, padding=layer.padding)
    window: Array = windows.numpy()[(0, *position)].reshape(shape).copy()
    return window


def _seen(
    layer: Linear | Conv2d, images: Array, position: tuple[int, ...]
) -> tuple[int, int, int, int] | None:
    """The pixels in the window of a convolution, see Followed; None for a dense layer.

    The window of an image whose pixels are their own row numbers, or column numbers, has them.
    """
    if isinstance(layer, Linear):
        return None
    H, W, channels = images.shape[1:]
    numbers = np.stack(np.broadcast_arrays(*np.ogrid[1 : H + 1, 1 : W + 1]))  # 0 is the padding
    x = from_numpy(np.repeat(numbers[..., None], channels, axis=3).astype(np.float32))
    windows = [_window(layer, x, i, position).round().astype(int) - 1 for i in range(2)]
    rows, columns = (window[window >= 0] for window in windows)
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def _bias(layer: Linear | Conv2d, neuron: int) -> float:
    return 0.0 if layer.bias is None else float(layer.bias.array[neuron])


def _find_layer(
    chain: Sequential, index: tuple[int, ...], layer: str | None
) -> tuple[str, Linear | Conv2d]:
    known = layers_with_weights(chain)
    if layer is not None and layer not in known:
        raise UnknownName(
            f"microscope: there is no layer {layer!r} with weights; choose from {', '.join(known)}"
        )
    fitting = {path: x for path, x in known.items() if x.weight.ndim == len(index)}
    path = layer or next(iter(fitting), next(iter(known)))
    shape = known[path].weight.shape
    if len(index) != len(shape) or not all(
        0 <= i < size for i, size in zip(index, shape, strict=True)
    ):
        shapes = ", ".join(f"{path} {x.weight.shape}" for path, x in known.items())
        raise IndexingError(
            f"microscope: got the weight {','.join(map(str, index))} of {path}, whose weights are "
            f"{shape}; the layers are {shapes}"
        )
    return path, known[path]


def _results(chain: Sequential, images: Array) -> list[Tensor]:
    """The images, and the result of each layer, whose gradient backward() will store."""
    results = [from_numpy(images)]
    for layer in chain.layers:
        results.append(layer(results[-1]))
        if results[-1].requires_grad:
            results[-1].retain_grad()
    return results


def _multiplied(layer: Linear | Conv2d, x: Tensor, index: tuple[int, ...]) -> Array:
    """The values (N, P) that a weight multiplies.

    A convolution with a filter that is 1 at the weight's place and 0 elsewhere returns them.
    """
    if isinstance(layer, Linear):
        return x.numpy()[..., index[0]].reshape(len(x), -1)
    pick = np.zeros((*layer.weight.shape[:-1], 1), x.dtype)
    pick[(*index[:-1], 0)] = 1
    picked = ops.conv2d(x.detach(), pick, stride=layer.stride, padding=layer.padding)
    return picked.numpy().reshape(len(x), -1)


def _in_float64(chain: Sequential) -> Sequential:
    """A copy of a chain of layers that computes in float64."""
    chain = copy.deepcopy(chain)
    for _, x in chain.named_tensors():
        if x.dtype == np.float32:
            x.array = x.array.astype(np.float64)
    return chain
