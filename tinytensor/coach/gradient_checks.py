"""Checks of the gradients: whether they arrive, how large they are, and what the update does.

`loss.backward()` computes a gradient for each parameter, from the last layer to the first. An
update subtracts a small multiple of it. Each function below looks for a break in this chain.
"""

from __future__ import annotations

import math

import numpy as np

from tinytensor.coach.check import Sign, check
from tinytensor.coach.view import Forward, Parameter, Progress, Update
from tinytensor.plural import plural

VANISHED = 1e-5  # mean |gradient| of the first weights / that of the last
EXPLODED = 1e3  # the Euclidean norm of all gradients


@check(
    "forward",
    mistake="the gradients are never cleared, so each one is the sum of all before",
    cure="call optimizer.zero_grad() before loss.backward()",
)
def gradients_not_cleared(step: Forward, run: Progress) -> Sign | None:
    """The sign: the parameters were updated, and backward() finds the old gradients still there.

    Gradients that are added up over several batches on purpose give no sign, because no update
    comes between these batches.
    """
    if not step.kept:
        return None
    return Sign(
        "the second backward() adds to gradients that the first update has already used",
        f"backward at {step.where}",
    )


@check(
    "update",
    mistake="a parameter gets no gradient",
    cure="compute the loss from this layer's result; .detach(), .numpy(), no_grad() and a layer "
    "that is not called cut the graph",
)
def parameter_without_gradient(step: Update, run: Progress) -> Sign | None:
    """The sign: after backward(), the gradient of a parameter is None."""
    missing = [x for x in step.parameters if x.grad is None]
    if not missing or len(missing) == len(step.parameters):
        return None
    return Sign(
        f"{len(missing)} of {len(step.parameters)} parameters have no gradient at step {step.step}",
        _names(missing),
    )


@check(
    "update",
    mistake="a parameter is not in the optimiser, so it is never trained",
    cure="pass model.parameters() to the optimiser, after the last layer was added",
)
def parameter_not_in_optimizer(step: Update, run: Progress) -> Sign | None:
    """The sign: a parameter has a gradient, and no optimiser has it in its list."""
    missing = [x for x in step.parameters if x.grad is not None and not x.is_updated]
    if step.step < 2 or not missing:
        return None
    return Sign(
        f"{len(missing)} of {len(step.parameters)} parameters have a gradient, and the update does "
        "not change them",
        _names(missing),
    )


@check(
    "update",
    mistake="the gradients vanish on the way to the first layers",
    cure="use ReLU and nn.BatchNorm between the layers, or fewer layers; sigmoids multiply the "
    "gradient by at most 1/4",
)
def gradients_vanish(step: Update, run: Progress) -> Sign | None:
    """The sign: the first weights' gradients are 100,000 times smaller than those of the last."""
    weights = step.weights
    if len(weights) < 3 or run.is_by_updates(step.step):
        return None
    sizes = [(x.squares / x.size) ** 0.5 for x in weights]  # near the mean |gradient|
    if min(sizes) > 10 * VANISHED * max(sizes):
        return None
    weights = [x for x in weights if not _is_equal_in_columns(x)]
    if len(weights) < 3:
        return None
    first, last = weights[0].grad_size, weights[-1].grad_size
    if not 0 < first < VANISHED * last:
        return None
    return Sign(f"mean |gradient| by layer: {_sizes(weights)}", weights[0].name)


@check(
    "update",
    mistake="the gradients explode",
    cure="make the first weights smaller, scale the inputs, or call tt.optim.clip_grad_norm before "
    "the update",
)
def gradients_explode(step: Update, run: Progress) -> Sign | None:
    """The sign: the norm of all gradients is above 1,000, or not finite at the first step.

    At a later step it comes from the weights if the updates have changed them by a fifth of their
    size. Then the learning rate is the cause; so is that of NaN.
    """
    grads = [x for x in step.parameters if x.grad is not None]
    norm = step.grad_norm
    causes = {"inputs-not-scaled", "inputs-not-finite", "gradients-not-cleared"}
    if norm < EXPLODED or not grads or causes & run.found:
        return None
    if step.step > 1 and (run.is_thrown or not math.isfinite(norm)):
        return None
    return Sign(
        f"the norm of all gradients is {norm:.3g} at step {step.step}; mean |gradient| by layer: "
        f"{_sizes(step.weights)}",
        max(grads, key=lambda x: x.squares).name,
    )


@check(
    "update",
    mistake="the neurons of a layer are all the same",
    cure="start with random weights: nn.Linear and nn.Conv2d do it by default",
)
def weights_symmetric(step: Update, run: Progress) -> Sign | None:
    """The sign: all columns of a hidden layer's weights are equal, before and after the update.

    Equal neurons get equal gradients, so they stay equal: the layer counts as one neuron. The last
    layer may start at 0, because its outputs have different labels.
    """
    same = [x for x in step.weights[:-1] if _is_equal_in_columns(x)]
    if not same:
        return None
    neurons = ", ".join(str(x.after.shape[-1]) for x in same)
    return Sign(
        f"the columns of the weights are equal after {plural(step.step, 'step')}; "
        f"neurons: {neurons}",
        _names(same),
    )


def _is_equal_in_columns(x: Parameter) -> bool:
    """True if the weights of all outputs, the last axis, are equal after the update."""
    first, size = x.after[..., :1], float(np.abs(x.after[..., 0]).max())
    if x.after.shape[-1] < 2 or abs(float(x.after.flat[0] - x.after.flat[1])) > 1e-5 * size:
        return False
    return bool((np.abs(x.after - first) <= 1e-5 * size).all())


def _names(parameters: list[Parameter], most: int = 4) -> str:
    """The names of the first parameters, and how many more there are."""
    more = f" and {len(parameters) - most} more" if len(parameters) > most else ""
    return ", ".join(x.name for x in parameters[:most]) + more


def _sizes(weights: list[Parameter]) -> str:
    """Mean |gradient| of each layer, the first layer first."""
    return ", ".join(f"{x.grad_size:.0e}" for x in weights)
