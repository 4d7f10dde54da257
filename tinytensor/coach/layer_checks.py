"""Checks of the layers: their mode, and what their neurons do.

A layer may compute exactly what its code says, and still be of no use: a ReLU that is always 0, a
sigmoid that is always 1, a dropout that is switched off while the network trains.
"""

from __future__ import annotations

import numpy as np

from tinytensor.arrays import Array
from tinytensor.coach.check import Sign, check, percent
from tinytensor.coach.view import Forward, Progress
from tinytensor.nn import BatchNorm, Dropout

DEAD = 0.5  # share of a layer's neurons
SATURATED = 0.9  # share of a layer's values
FLAT = 4.0  # |x| above which the slope of sigmoid(x) is below 0.02; half of it for tanh
SAMPLE = 32  # examples of a batch that are read first


@check(
    "forward",
    mistake="ReLUs are dead: they are 0 for every image of the batch",
    cure="lower the learning rate, or start the biases at 0.1; a dead ReLU gets no gradient, so it "
    "can't recover",
)
def dead_relus(step: Forward, run: Progress) -> Sign | None:
    """The sign: half of the neurons of a layer are 0 for all examples of the batch."""
    if run.found & {"inputs-constant", "one-class-only", "data-not-shuffled"}:
        return None  # other examples may wake the neurons
    dead = {}
    for node in step.nodes:
        if node.name == "relu" and (x := node.operands[0].array).ndim > 1 and len(x) >= SAMPLE:
            share = share_of_dead(x[:SAMPLE])
            if share >= DEAD:  # more examples may wake a neuron
                share = share_of_dead(x)
            if share >= DEAD:
                dead[step.place(node)] = share
    if not dead:
        return None
    shares = ", ".join(f"{percent(share)}" for share in dead.values())
    return Sign(f"share of dead neurons at step {step.step}: {shares}", "; ".join(dead))


def share_of_dead(x: Array) -> float:
    """The share of channels, the last axis, in which no value is above 0."""
    return float((x.reshape(-1, x.shape[-1]).max(axis=0) <= 0).mean())


@check(
    "forward",
    mistake="a layer is saturated: its values are almost all at the ends of the curve",
    cure="make the weights before it smaller, scale the inputs, or add nn.BatchNorm before it",
)
def saturated_layer(step: Forward, run: Progress) -> Sign | None:
    """The sign: nine tenths of the values are where sigmoid or tanh is flat: their slope is 0."""
    if run.is_by_updates(step.step):
        return None
    for node in step.nodes:
        if node.name in ("sigmoid", "tanh") and node.operands[0].ndim > 1:
            end = FLAT if node.name == "sigmoid" else FLAT / 2
            share = float((np.abs(node.operands[0].array[:SAMPLE]) > end).mean())
            if share >= SATURATED:
                return Sign(f"{percent(share)} of its inputs are beyond {end:g}", step.place(node))
    return None


@check(
    "forward",
    mistake="the network trains in evaluation mode",
    cure="call model.train() before the training steps, and again after each test",
)
def trains_in_evaluation_mode(step: Forward, run: Progress) -> Sign | None:
    """The sign: a step with a backward pass calls Dropout and BatchNorm layers in eval mode.

    A part of the network may be in evaluation mode on purpose, so all layers must be.
    """
    if not step.modules or any(vars(x).get("_training", True) for x in step.modules.values()):
        return None
    idle = [name for name, x in step.modules.items() if isinstance(x, Dropout | BatchNorm)]
    if not idle:
        return None
    return Sign(
        f"layers of dropout and batch norm in evaluation mode while backward runs: {len(idle)}",
        ", ".join(idle[:4]),
    )


@check(
    "progress",
    mistake="the network is evaluated in training mode",
    cure="call model.eval() before a test, and model.train() after it",
)
def evaluates_in_training_mode(run: Progress) -> Sign | None:
    """The sign: under no_grad(), a Dropout or BatchNorm layer is called in training mode.

    Dropout then switches neurons off in the test, and batch norm learns from the test images.
    """
    where = run.seen.get("evaluates_in_training_mode")
    if where is None:
        return None
    return Sign("a layer was called under no_grad() in training mode", where)


@check(
    "forward",
    mistake="batch norm sees one example at a time",
    cure="use batches of 16 or more examples; with one, the network never sees how examples differ",
)
def batch_of_one(step: Forward, run: Progress) -> Sign | None:
    """The sign: the batch has one example, and a BatchNorm layer is in training mode."""
    if step.inputs is None or len(step.inputs) != 1:
        return None
    norms = [
        name
        for name, x in step.modules.items()
        if isinstance(x, BatchNorm) and vars(x).get("_training", True)
    ]
    if not norms:
        return None
    return Sign(f"the input has shape {step.inputs.shape}", ", ".join(norms[:4]))
