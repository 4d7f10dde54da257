"""Signs of trouble in the layers of a training: dead ReLUs, and gradients that hardly arrive.

The coach has the same measures and thresholds. Here they are measured on the next batch, by a copy
of the model in eval mode, so the training computes the same bits.
"""

from __future__ import annotations

import copy
import html
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from bokeh.models import Div, InlineStyleSheet

from tinytensor.autograd import enable_grad, grad
from tinytensor.coach.gradient_checks import VANISHED
from tinytensor.coach.layer_checks import DEAD, share_of_dead
from tinytensor.live.panel import WIDTH
from tinytensor.live.pending_call import PendingCall
from tinytensor.live.run import Run
from tinytensor.live.snapshot import Snapshot
from tinytensor.nn import Module, ReLU, Sequential
from tinytensor.tensors import Tensor, from_numpy
from tinytensor.train import Training

SMALLEST = 1e-5  # the ratio at which the bar of a gradient is empty; at 1 it is full
ABOUT = """<p><b>dead</b>: the share of the layer's neurons, or channels, that are 0 for all images
of the batch. Only ReLUs can die, and a dead one gets no gradient.</p>
<p><b>gradient / weights</b>: the length of the gradient divided by the length of the weights,
with a logarithmic bar. The backward pass goes up this table, and it may lose size on its way.</p>
<p>Measured on the next batch, without dropout.</p>"""


class LayerSigns(NamedTuple):
    """The measures of a layer.

    name: of its weights. shape: of its weights. dead: the share of its ReLUs that are 0 for all
    images, or None without a ReLU. flow: |gradient| / |weights| of Euclidean norms, or None if the
    weights are 0. size: the mean |gradient|.
    """

    name: str
    shape: tuple[int, ...]
    dead: float | None
    flow: float | None
    size: float


def layer_signs(training: Training) -> list[LayerSigns]:
    """The signs of the layers with weights, first layer first; call it between two steps."""
    model = copy.deepcopy(training.model).eval()
    weights = {name: x for name, x in model.named_parameters() if x.ndim > 1}
    images, labels = training.next_batch()
    with enable_grad():
        logits, dead = _forward(model, from_numpy(images))
        loss = training.lesson.loss(logits, labels)
        grads = grad(loss, list(weights.values()), allow_unused=True)
    return [
        _signs(name, weight, np.zeros(1) if x is None else x.array, dead.get(name))
        for (name, weight), x in zip(weights.items(), grads, strict=True)
    ]


def _signs(name: str, weight: Tensor, gradient: np.ndarray, dead: float | None) -> LayerSigns:
    length = float(np.linalg.norm(weight.array))
    flow = float(np.linalg.norm(gradient)) / length if length else None
    return LayerSigns(name, weight.shape, dead, flow, float(np.abs(gradient).mean()))


def _forward(model: Module, x: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The logits, and the share of dead ReLUs after each weight of a chain of layers, by name."""
    dead: dict[str, float] = {}
    if not isinstance(model, Sequential):
        return model(x), dead
    names = {id(each): name for name, each in model.named_parameters() if each.ndim > 1}
    weight = None  # the name of the last one
    for layer in model.layers:
        x = layer(x)
        if isinstance(layer, Module):
            own = [names[id(each)] for each in layer.parameters() if id(each) in names]
            weight = own[-1] if own else weight
        if isinstance(layer, ReLU) and weight is not None:
            dead[weight] = share_of_dead(x.array)
    return x, dead


def vanishes(signs: Sequence[LayerSigns]) -> bool:
    """True if the gradient of the first weights is far smaller than that of the last."""
    return len(signs) > 2 and 0 < signs[0].size < VANISHED * signs[-1].size


def table(signs: Sequence[LayerSigns]) -> str:
    """The signs as an HTML table; the column of dead neurons is there if there are ReLUs."""
    has_relus = any(each.dead is not None for each in signs)
    head = "<th>weights</th>" + "<th>dead</th>" * has_relus + "<th>gradient / weights</th>"
    rows = []
    for i, each in enumerate(signs):
        shape = " x ".join(map(str, each.shape))
        cells = f"<td>{html.escape(each.name)}<br><span>{shape}</span></td>"
        if has_relus:
            cells += f"<td>{_dead(each.dead)}</td>"
        rows.append(f"<tr>{cells}<td>{_flow(each.flow, i == 0 and vanishes(signs))}</td></tr>")
    return f'<table class="signs"><tr>{head}</tr>{"".join(rows)}</table>{ABOUT}'


def _dead(share: float | None) -> str:
    if share is None:
        return ""
    text = f"{100 * share:.0f} %"
    return f'<b class="wrong">{text}, dead</b>' if share >= DEAD else text


def _flow(flow: float | None, is_lost: bool) -> str:
    if flow is None:
        return "weights are 0"
    if not math.isfinite(flow):
        return f'<b class="wrong">{flow}, not finite</b>'
    part = 1 + math.log10(flow) / -math.log10(SMALLEST) if flow > 0 else 0.0
    width = 100 * min(max(part, 0.0), 1.0)
    text = f'<b class="wrong">{flow:.1e}, vanishes</b>' if is_lost else f"{flow:.1e}"
    return f'{text}<div class="bar"><div style="width: {width:.0f}%"></div></div>'


class Layers:
    """The tab with the signs of the layers."""

    def __init__(self, run: Run, sheet: InlineStyleSheet) -> None:
        self.content = Div(
            name="layer signs", width=WIDTH - 10, sizing_mode="stretch_height", stylesheets=[sheet],
            styles={"overflow-y": "auto", "height": "100%"},
        )  # fmt: skip
        self.follow(run)

    def follow(self, run: Run) -> None:
        """Show the layers of this run, from now on."""
        self.run = run
        self._call: PendingCall[list[LayerSigns]] = PendingCall(run)

    def update(self, shot: Snapshot | None) -> None:
        """Show the signs if they are ready; measure them after each test."""
        tested = self.run.latest_tested
        if tested is None:
            return
        signs = self._call.update(tested, lambda _: layer_signs(self.run.training))
        if signs is not None:
            self.content.text = table(signs)
