"""The gradient of a weight by nudging it, and why it differs from that of backward()."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinytensor import random
from tinytensor.arrays import Array
from tinytensor.lessons import Lesson
from tinytensor.nn import MaxPool2d, ReLU, Sequential
from tinytensor.plural import plural
from tinytensor.tensors import Tensor, from_numpy

NUDGE = 1e-6  # added to and subtracted from the weight, in float64
ROUNDING = 1e-5  # relative error of a gradient in float32, if no ReLU has another slope


class Nudged(NamedTuple):
    """The result of nudging a weight.

    gradient: (L(w + h) - L(w - h)) / 2h in float64. why: sentences with the reasons for which the
    gradient by backward() differs; none if the six digits that are shown are the same.
    """

    gradient: float
    why: tuple[str, ...]


def nudge(
    lesson: Lesson,
    chain: Sequential,
    weight: Tensor,
    index: tuple[int, ...],
    images: Array,
    labels: Array,
    draws: Array,
    results: list[Tensor],
    gradient: float,
) -> Nudged:
    """Compute the gradient of a weight by two forward passes.

    Args:
        lesson: its loss is computed.
        chain: the layers in float64, before the update.
        weight, index: the weight in them.
        images, labels: the batch.
        draws: the random state before the step, so that dropout switches off the same neurons.
        results: of the layers in float32, in the step.
        gradient: of the weight, by backward() in float32.
    """
    x = from_numpy(images.astype(np.float64))
    middle = float(weight.array[index])

    def pass_at(value: float) -> tuple[Tensor, list[Tensor]]:
        weight.array[index] = value
        random.state()[:] = draws
        passed = [x]
        for layer in chain.layers:
            passed.append(layer(passed[-1]))
        return lesson.loss(passed[-1], labels), passed

    with random.fork():
        (above, high), (below, low) = pass_at(middle + NUDGE), pass_at(middle - NUDGE)
        nudged = (float(above.item()) - float(below.item())) / (2 * NUDGE)
        if f"{nudged:.6g}" == f"{gradient:.6g}":
            return Nudged(nudged, ())
        loss, exact = pass_at(middle)
    weight.grad = None
    loss.backward()
    assert weight.grad is not None
    in_float64 = float(weight.grad.array[index])
    corners = _differing_relus(chain, high, low)
    choices = _differing_choices(chain, high, low)
    sides = 0
    if abs(gradient - in_float64) > ROUNDING * abs(in_float64):
        sides = _differing_relus(chain, results, exact)
    precision = float(np.spacing(abs(loss.item()))) / NUDGE
    why = []
    if corners:
        why.append(
            "Between w - h and w + h the input of a ReLU crosses 0 at "
            f"{plural(corners, 'place')}; the slope of a ReLU is 0 on one side and 1 on the other."
        )
    if choices:
        why.append(
            "Between w - h and w + h max pooling takes another value at "
            f"{plural(choices, 'place')}, because two values are equal or almost equal."
        )
    if sides:
        why.append(
            f"float32 and float64 round the input of a ReLU to different sides of 0 at "
            f"{plural(sides, 'place')}, so its slope is 0 in one and 1 in the other."
        )
    why.append(
        f"In float64 backward() gives {in_float64:.6g}: float32 has about 7 digits, and nudging is "
        f"exact to about {precision:.0e}."
    )
    return Nudged(nudged, tuple(why))


def _differing_relus(chain: Sequential, one: list[Tensor], other: list[Tensor]) -> int:
    """The number of inputs of ReLUs that are above 0 in one pass only."""
    return sum(
        int(((one[i].array > 0) != (other[i].array > 0)).sum())
        for i, layer in enumerate(chain.layers)
        if isinstance(layer, ReLU)
    )


def _differing_choices(chain: Sequential, one: list[Tensor], other: list[Tensor]) -> int:
    """The number of values that max pooling takes in one pass only."""
    return sum(
        int((_chosen(layer, one[i]) != _chosen(layer, other[i])).sum() + 1) // 2
        for i, layer in enumerate(chain.layers)
        if isinstance(layer, MaxPool2d)
    )


def _chosen(layer: MaxPool2d, x: Tensor) -> Array:
    """How often max pooling takes each value of x, which is the gradient of the sum."""
    x = from_numpy(x.numpy()).requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None
    return x.grad.array
