"""Views of a training, which the checks of the coach read.

    Forward     a step after its forward pass: inputs, graph, loss, labels
    Update      the same step after the optimiser: gradients, and parameters before and after
    Progress    the run so far: losses, tests, counts of labels, recordings

The arrays of a Forward are those of the step, so no check keeps one.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinytensor import recorder
from tinytensor.arrays import Array

if TYPE_CHECKING:
    from tinytensor.autograd import Node
    from tinytensor.capture.captured import Captured
    from tinytensor.datasets import Dataset
    from tinytensor.nn import Module
    from tinytensor.tensors import Tensor

RECENT = 16  # losses whose mean is the loss "now"
MOST_ROWS = 16  # examples of a batch that a check of all values reads
MOST_VALUES = 8192  # values of a weight matrix that a check reads
THROWN = 0.2  # |update| / |weight|: above it a step throws away what earlier steps found
EACH_POWER = 64  # the last of the steps 1, 2, 4, ... that are all looked at
RATE_STEPS = 32  # after which the losses show if the learning rate is right


class Loss(NamedTuple):
    """A call of a loss function: what the network predicted and what it should predict.

    op: the name of the function. shape: of the predictions. number: of the node that computed them,
    0 without a graph. rows: the predictions of the first MOST_ROWS examples. target: a copy.
    """

    op: str
    shape: tuple[int, ...]
    number: int
    rows: Array
    target: Array

    @property
    def labels(self) -> Array | None:
        """The labels (R,) of the examples, or None if the target is not one class for each."""
        if self.op != "cross_entropy":
            return None
        if self.target.shape != self.shape:
            return self.target
        is_one_hot = ((self.target == 0) | (self.target == 1)).all() and (
            self.target.sum(axis=1) == 1
        ).all()
        return self.target.argmax(axis=1) if is_one_hot else None

    @property
    def classes(self) -> int:
        """The number of classes, which is the number of the network's outputs."""
        return self.shape[-1]


@dataclass
class Forward:
    """A step after its forward pass, when backward() is called.

    step: its number, from 1. nodes: the graph of the loss, in the order of the computation. layers:
    for the number of a node, the path of the layer that returned its result. modules: the modules
    that were called, with their paths. inputs: the values that the first layer read, or None.
    loss: the last call of a loss function, or None. value: the value that backward() starts from.
    kept: True if a parameter still has the gradient that the step before used. unchanged: True if
    all parameters have the values of the first step that was looked at.
    """

    step: int
    nodes: list[Node]
    layers: dict[int, str]
    modules: dict[str, Module]
    inputs: Array | None
    loss: Loss | None
    value: float | None
    kept: bool
    unchanged: bool
    _first_rows: Array | None = None

    @property
    def where(self) -> str:
        """The line of the program that called backward(), such as "train.py:12"."""
        return recorder.users_line()

    @property
    def first_rows(self) -> Array | None:
        """The inputs of the first examples, if they are finite."""
        if self._first_rows is None and self.inputs is not None:
            self._first_rows = self.inputs[:MOST_ROWS]
            rows = self._first_rows
            if not np.isfinite(np.vdot(rows, rows)) and not np.isfinite(rows).all():
                self._first_rows = self._first_rows[:0]
        return self._first_rows if self._first_rows is not None and self._first_rows.size else None

    def node(self, number: int) -> Node | None:
        """The node of this number, or None."""
        return next((node for node in self.nodes if node.number == number), None)

    def place(self, node: Node) -> str:
        """The layer that returned the node's result; else the op, and the layer before it."""
        if node.number in self.layers:
            return self.layers[node.number]
        before = max((number for number in self.layers if number < node.number), default=None)
        after = "" if before is None else f" after {self.layers[before]}"
        return f"tt.{node.name}{after}"


class Parameter(NamedTuple):
    """A parameter before and after an update.

    name: its path in the model. before, after, grad: at most about MOST_VALUES of the values, see
    `sample`; grad is None without a gradient. squares: the sum of the squares of the whole
    gradient, of `size` elements. is_updated: True if the optimiser has it in its list.
    """

    name: str
    before: Array
    after: Array
    grad: Array | None
    squares: float
    size: int
    is_updated: bool

    @property
    def is_weight(self) -> bool:
        """True for a matrix or a filter, False for biases and scales."""
        return self.before.ndim > 1

    @property
    def grad_size(self) -> float:
        """The mean |gradient|."""
        return 0.0 if self.grad is None else float(np.abs(self.grad).mean())

    @property
    def update_ratio(self) -> float | None:
        """|update| / |parameter|, of Euclidean norms; None if the parameter was 0."""
        update = self.after - self.before
        size = float(np.vdot(self.before, self.before))
        return float((np.vdot(update, update) / size) ** 0.5) if size else None


@dataclass
class Update:
    """A step after the optimiser.

    step: its number, from 1. parameters: in the order in which the forward pass reads them. rate:
    the learning rate.
    """

    step: int
    parameters: list[Parameter]
    rate: float

    @property
    def weights(self) -> list[Parameter]:
        """The matrices and filters that have a gradient."""
        return [x for x in self.parameters if x.is_weight and x.grad is not None]

    @property
    def grad_norm(self) -> float:
        """The Euclidean norm of all gradients."""
        return float(sum(x.squares for x in self.parameters) ** 0.5)


@dataclass(slots=True)
class Progress:
    """The run so far.

    step: the number of the last step. losses: of the last RECENT steps. first: the first loss of
    all. tests: (step, training loss, test loss). labels: how often each label was seen, in the
    steps that were looked at. batches: the number of these steps. runs: pairs of neighbours in a
    batch with the same label, and all pairs. ratios: the latest |update| / |weight| by parameter.
    largest_ratio: the largest median of them at a step. norms: the Euclidean norm of all gradients,
    at the first look and at the last one. began_at_0: True if all values of a weight were 0 at the
    first look. logits: the largest |logit| at the last look, or None. rates: the learning rates at
    the last two looks. highest: the highest loss of the first RATE_STEPS steps. classes: the number
    of outputs of a cross-entropy, 0 for another loss. found: the names of the checks that have
    found a mistake. captured: the captured step. data: the data set, or None. seen: what was noted
    outside of the steps.
    """

    step: int = 0
    first: float | None = None
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    tests: list[tuple[int, float, float]] = field(default_factory=list)
    labels: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    batches: int = 0
    runs: tuple[int, int] = (0, 0)
    ratios: dict[str, float] = field(default_factory=dict)
    largest_ratio: float = 0.0
    norms: tuple[float, float] | None = None
    began_at_0: bool = False
    logits: float | None = None
    rates: tuple[float, float] = (0.0, 0.0)
    highest: float = 0.0
    classes: int = 0
    found: set[str] = field(default_factory=set)
    captured: Captured | None = None
    data: Dataset | None = None
    seen: dict[str, Any] = field(default_factory=dict)

    def add_loss(self, loss: float) -> None:
        """Note the loss of a step."""
        if self.first is None:
            self.first = loss
        self.losses.append(loss)

    def note_highest(self) -> None:
        """Note the highest loss of the first RATE_STEPS steps; call it at each look."""
        if self.step <= RATE_STEPS:
            self.highest = max([self.highest, *self.losses])

    @property
    def is_thrown(self) -> bool:
        """True if an update has changed the weights by THROWN of their size."""
        return self.largest_ratio > THROWN

    def is_by_updates(self, step: int) -> bool:
        """True if updates that are too large may have caused what is seen at this step.

        After RATE_STEPS steps it is known if the learning rate is too high.
        """
        return self.is_thrown and step > 1 and (step <= RATE_STEPS or "rate-too-high" in self.found)

    @property
    def recent(self) -> float:
        """The mean of the last losses."""
        return sum(self.losses) / len(self.losses) if self.losses else np.nan

    @property
    def unknowing(self) -> float:
        """The loss of a network that gives all classes the same probability, or the first loss."""
        return math.log(self.classes) if self.classes > 1 else self.first or 0.0

    def add_update(self, update: Update) -> None:
        """Note |update| / |weight| of each weight that was not 0, and the norm of the gradients."""
        ratios = {x.name: x.update_ratio for x in update.weights}
        self.ratios = {name: ratio for name, ratio in ratios.items() if ratio is not None}
        median = statistics.median(self.ratios.values() or [0.0])
        self.largest_ratio = max(self.largest_ratio, median)
        if self.norms is None:
            self.began_at_0 = None in ratios.values()
        first = update.grad_norm if self.norms is None else self.norms[0]
        self.norms = first, update.grad_norm
        self.rates = self.rates[1], update.rate

    def add_labels(self, labels: Array, classes: int) -> None:
        """Count the labels of a batch, from 0 to classes - 1; other labels are not counted."""
        if self.classes != classes:
            self.classes, known = classes, self.labels
            self.labels = np.zeros(max(classes, len(known)), np.int64)
            self.labels[: len(known)] = known
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
            labels = labels[(labels >= 0) & (labels < classes)]
        self.labels += np.bincount(labels, minlength=len(self.labels))
        self.batches += 1
        same, pairs = self.runs
        equal = int(np.count_nonzero(labels[1:] == labels[:-1]))
        self.runs = same + equal, pairs + max(len(labels) - 1, 0)


def is_look(step: int) -> bool:
    """True in the steps 1, 2, 4, ..., 64, and then 256, 1024, ..., at which the coach looks.

    In a step that is a power of two, a captured step runs as Python, too. Few mistakes appear late.
    """
    return step & (step - 1) == 0 and (step <= EACH_POWER or step.bit_length() % 2 == 1)


def sample(x: Array) -> Array:
    """A view of every k-th row of a large array, with about MOST_VALUES values."""
    return x[:: min(len(x), x.size // MOST_VALUES)] if x.size >= 2 * MOST_VALUES else x


def graph_of(output: Tensor) -> list[Node]:
    """The nodes from which a tensor was computed, oldest first."""
    found: dict[int, Node] = {}
    waiting = [output.node]
    while waiting:
        node = waiting.pop()
        if node is not None and node.number not in found:
            found[node.number] = node
            waiting += [operand.node for operand in node.operands]
    return [found[number] for number in sorted(found)]
