"""`tt.coach(model)` and `tt.coach(step)`: a training is watched, and its mistakes are named."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, get_args

import numpy as np

from tinytensor import observers, recorder
from tinytensor.arrays import Array
from tinytensor.autograd import Node, is_grad_enabled, version_now
from tinytensor.capture.captured import Captured
from tinytensor.coach import data_checks, gradient_checks, layer_checks, loss_checks  # noqa: F401
from tinytensor.coach.check import CHECKS, CoachCheck, Finding, Sign, Stage
from tinytensor.coach.view import (
    MOST_ROWS,
    RATE_STEPS,
    Forward,
    Loss,
    Parameter,
    Progress,
    Update,
    graph_of,
    is_look,
    sample,
)
from tinytensor.datasets import Dataset
from tinytensor.errors import NotSupported
from tinytensor.nn import BatchNorm, Dropout, Module
from tinytensor.optim import Optimizer
from tinytensor.ranks import current_share
from tinytensor.tensors import Tensor

__all__ = ["coach"]


class Coach(observers.Observer):
    """Watches a training and names the mistakes it finds, each once; see coach().

    If a batch is divided into chunks (see tt.parallel), it reads the inputs, labels and losses of
    the first chunk of its rank, and the gradients and updates of the whole batch.

    Args:
        model: the model; by default the outermost module that the step calls.
        step: the function of a training step, captured or not, whose calls are the steps. By
            default each update of an optimiser is a step.
        data: the data set of the training, or None.
        show: called with the text of each finding; None for no output.
        first_step: the number of the first step, in the findings of a resumed run.

    Attributes:
        findings: the list of Findings so far.
        progress: the run so far, a view.Progress.
    """

    def __init__(
        self,
        model: Module | None = None,
        step: Callable[..., Any] | None = None,
        data: Dataset | None = None,
        show: Callable[[str], object] | None = print,
        first_step: int = 1,
    ) -> None:
        self.findings: list[Finding] = []
        self.progress = Progress(data=data, captured=step if isinstance(step, Captured) else None)
        self.show = show
        self._step, self._first_step = step, first_step
        self._is_of_step = model is None  # the models are those that the step calls
        self._models: list[Module] = []
        self._checks: dict[Stage, list[CoachCheck]] = {  # those that have found nothing yet
            stage: [each for each in CHECKS.values() if each.stage == stage]
            for stage in get_args(Stage)
        }
        self._optimizer: Callable[[], Optimizer | None] = lambda: None  # a weak reference
        self._steps_before = 0  # of the optimiser, before the coach
        self._backwards = 0
        self._updated: set[int] = set()  # parameters of all optimisers, by id
        self._paths: dict[int, str] = {}  # of modules, by id
        self._names: dict[int, str] = {}  # of parameters, by id
        self._order: dict[int, int] = {}  # the place of each parameter in the forward pass, by id
        self._at_first: dict[int, Array] = {}  # values of each parameter at the first backward
        self._counts: dict[int, int] = {}  # changes of each parameter at the first backward, by id
        self._is_closed = False
        self._forget_step()
        if model is not None:
            self._learn_names(model)
        self._run("progress", self.progress)  # the checks of the data
        observers.watch(self)

    def _forget_step(self) -> None:
        self._is_called = False  # True after a call of a watched module in this step
        self._called: list[tuple[weakref.ref[Module], int]] = []
        self._loss: Loss | None = None
        self._params: list[Tensor] = []
        self._before: dict[int, Array] = {}  # values of these parameters before the update, by id

    def close(self) -> None:
        """Watch no more."""
        self._is_closed = True
        observers.leave(self)

    def __enter__(self) -> Coach:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "\n".join(map(str, self.findings)) or "coach: no mistake was found"

    def to_json(self) -> list[dict[str, Any]]:
        """Return the findings as dicts: name, mistake, evidence, where, cure and step."""
        return [asdict(finding) for finding in self.findings]

    # The step as a function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run the step.

        The loss is the step's result, if that is a scalar tensor, or else its first element.
        After an exception the coach watches no more, until the next call.
        """
        if self._step is None:
            raise NotSupported("coach: got a call, but a model is watched; call the model itself")
        if not self._is_closed and self not in observers.active:
            observers.watch(self)
        try:
            result = self._step(*arguments, **named)
        except BaseException:  # the program may be corrected and watched by another coach
            self._forget_step()
            observers.leave(self)
            raise
        loss = result[0] if isinstance(result, tuple | list) and result else result
        if isinstance(loss, Tensor) and loss.size == 1:
            self.step_ended(float(loss.array.reshape(())))
        return result

    def step_ended(self, loss: float) -> None:
        """Note the loss of a step, and look at the run if it is time.

        It looks, too, if the loss is NaN or infinite, because the training may end there.
        """
        progress = self.progress
        progress.step = step = progress.step + 1
        progress.losses.append(loss)
        if (step & (step - 1) == 0 and is_look(step)) or loss - loss != 0:
            if step == 1 and progress.first is None:
                progress.first = loss
            self._run("progress", progress)

    def tested(self, test_loss: float) -> None:
        """Note the loss on the test images, which shows when a network overfits."""
        step = self._steps_made() + self._first_step - 1
        self.progress.tests.append((step, self.progress.recent, test_loss))
        self._run("progress", self.progress)

    # Events

    def _steps_made(self) -> int:
        """The number of complete steps."""
        optimizer = self._optimizer()
        if optimizer is not None:
            return int(optimizer._step[0]) - self._steps_before
        return self.progress.step

    def _looks(self) -> bool:
        """True if the coach looks at the step that is being made."""
        return is_look(self._steps_made() + 1)

    def module_called(self, module: Any, arguments: tuple[Any, ...], result: Any) -> None:
        """Note which layer returned which node of the graph."""
        if _is_of_another_chunk():
            return
        if not is_grad_enabled():
            if isinstance(module, Dropout | BatchNorm) and vars(module).get("_training", True):
                self._note_evaluation(module)
            return
        if not self._is_of_step and id(module) not in self._paths:
            return  # of another model
        self._is_called = True
        if self._looks() and isinstance(result, Tensor):
            number = 0 if result.node is None else result.node.number
            self._called.append((weakref.ref(module), number))

    def _note_evaluation(self, module: Module) -> None:
        if id(module) in self._paths and "evaluates_in_training_mode" not in self.progress.seen:
            where = f"{self._paths[id(module)]}, at {recorder.users_line()}"
            self.progress.seen["evaluates_in_training_mode"] = where
            self._run("progress", self.progress)

    def loss_called(self, op: str, prediction: Tensor, target: Array) -> None:
        """Note the loss's arguments."""
        if _is_of_another_chunk():
            return
        if is_grad_enabled() and prediction.requires_grad and self._looks():
            number = 0 if prediction.node is None else prediction.node.number
            rows = prediction.array[:MOST_ROWS].copy()
            self._loss = Loss(op, prediction.shape, number, rows, np.array(target))

    def backward_starts(self, output: Tensor) -> None:
        """Look at the forward pass."""
        if _is_of_another_chunk() or (not self._is_of_step and not self._is_called):
            return  # or of another model
        self._is_called = False
        value = float(output.array.reshape(())) if output.size == 1 else None
        share = current_share()
        if value is not None and share is not None:
            value /= share.weight  # the mean loss of the chunk
        step = self._steps_made() + 1
        if value is not None and self._step is None:
            self.progress.add_loss(value)
        if is_look(step):
            self._look_at_forward(output, step, value)
        if self._step is None and self._optimizer() is None:
            self.progress.step += 1  # so that a training without an optimiser has steps, too
            self._run("progress", self.progress)

    def _look_at_forward(self, output: Tensor, step: int, value: float | None) -> None:
        nodes = graph_of(output)
        leaves = [
            operand
            for node in nodes
            for operand in node.operands
            if operand.node is None and operand.requires_grad
        ]
        modules = self._modules_called()
        if not self._is_watched(leaves):
            return
        self._backwards += 1
        self._order = {id(leaf): i for i, leaf in reversed(list(enumerate(leaves)))}
        layers: dict[int, str] = {}
        for ref, number in self._called:
            if number and (module := ref()) is not None:
                layers.setdefault(number, self._describe(module))
        if self._loss is not None and (labels := self._loss.labels) is not None:
            self.progress.add_labels(labels, self._loss.classes)
        if self._loss is not None and self._loss.op != "mse_loss":
            self.progress.logits = float(np.abs(self._loss.rows).max(initial=0.0))
        forward = Forward(
            step=step, nodes=nodes, layers=layers, modules=modules, inputs=self._inputs(nodes),
            loss=self._loss, value=value, kept=self._keeps_gradients(leaves),
            unchanged=self._are_unchanged(leaves, step),
        )  # fmt: skip
        self._run("forward", forward)
        self._called, self._loss = [], None

    def update_starts(self, optimizer: Optimizer) -> None:
        """Copy the parameters, because the update changes them."""
        if not self._is_watched(optimizer.params):
            return
        self._updated |= {id(x) for x in optimizer.params}
        if self._optimizer() is None:
            self._optimizer = weakref.ref(optimizer)
            before = self.progress.step if self._step is not None else 0
            self._steps_before = int(optimizer._step[0]) - before
        is_the_first = self._optimizer() is optimizer
        if is_the_first and self._looks():
            self._params = self._parameters(optimizer)
            self._before = {id(x): sample(x.array).copy() for x in self._params}

    def update_ended(self, optimizer: Optimizer) -> None:
        """Look at the gradients and at the changes of the parameters."""
        is_the_first = self._optimizer() is optimizer
        if not self._before or not is_the_first:
            return
        with np.errstate(over="ignore", invalid="ignore"):  # a sum that is infinite is a sign
            update = self._update_of(optimizer)
            self.progress.add_update(update)
            self._run("update", update)
        self._forget_step()
        if self._step is None:
            self.progress.step = update.step
            self._run("progress", self.progress)

    def _update_of(self, optimizer: Optimizer) -> Update:
        self._params.sort(key=lambda x: self._order.get(id(x), len(self._order)))
        parameters = [self._parameter(i, x) for i, x in enumerate(self._params)]
        rate = float(optimizer.param_groups[0].rate[0])
        return Update(self._steps_made(), parameters, rate)

    def _parameter(self, i: int, x: Tensor) -> Parameter:
        grad = None if x._grad is None else x._grad.array
        return Parameter(
            name=self._names.get(id(x), f"parameter {i}, {x.shape}"),
            before=self._before[id(x)], after=sample(x.array),
            grad=None if grad is None else sample(grad),
            squares=0.0 if grad is None else float(np.vdot(grad, grad)), size=x.array.size,
            is_updated=id(x) in self._updated,
        )  # fmt: skip

    # What belongs to the training

    def _parameters(self, optimizer: Optimizer) -> list[Tensor]:
        """The parameters of the optimiser, then those of the model that it lacks.

        A frozen parameter, without requires_grad, is left out: it needs no gradient. The model is
        searched in the first two looks, because a search takes as long as all checks.
        """
        found = {id(x): x for x in optimizer.params if x.requires_grad}
        for model in self._models if self._steps_made() < 2 else ():
            found |= {id(x): x for x in model.parameters()}
        return list(found.values())

    def _is_watched(self, params: list[Tensor]) -> bool:
        """True if a parameter belongs to the model, or if all models of a step are watched."""
        return self._is_of_step or any(id(x) in self._names for x in params)

    def _learn_names(self, model: Module) -> None:
        self._models.append(model)
        for path, module in model.named_modules():
            self._paths.setdefault(id(module), path)
        for name, x in model.named_parameters():
            self._names.setdefault(id(x), name)

    def _modules_called(self) -> dict[str, Module]:
        """The modules that were called in this step; the paths start at the outermost one."""
        modules = [module for ref, _ in self._called if (module := ref()) is not None]
        for module in reversed(modules):  # a module comes after its submodules
            if self._is_of_step and id(module) not in self._paths:
                self._learn_names(module)
        return {self._describe(module): module for module in modules}

    def _describe(self, module: Module) -> str:
        path = self._paths.get(id(module), "")
        return f"{path}: {type(module).__name__}" if path else type(module).__name__

    def _keeps_gradients(self, leaves: list[Tensor]) -> bool:
        """True at the second backward pass if gradients of the first are still there after updates.

        A gradient that is added up on purpose, over several batches, belongs to parameters that no
        update has changed in between.
        """
        counts = {id(x): version_now(x)[1] for x in leaves}
        first, self._counts = self._counts, counts if self._backwards == 1 else {}
        return self._backwards == 2 and any(
            x._grad is not None and first.get(id(x), counts[id(x)]) != counts[id(x)]
            and bool(x._grad.array.any())
            for x in leaves
        )  # fmt: skip

    def _are_unchanged(self, leaves: list[Tensor], step: int) -> bool:
        """True if these parameters have the values that they had at the first backward pass.

        They are compared from step RATE_STEPS on, when a check reads the result.
        """
        if not self._at_first:
            self._at_first = {id(x): sample(x.array).copy() for x in leaves}
            return False
        return step >= RATE_STEPS and all(
            id(x) in self._at_first
            and np.array_equal(self._at_first[id(x)], sample(x.array), equal_nan=True)
            for x in leaves
        )

    def _inputs(self, nodes: list[Node]) -> Array | None:
        """The values that the first layer reads, if they are data.

        They are no data if they depend on parameters, or if a frozen layer has computed them.
        """
        if any(number == 0 and _has_tensors(ref()) for ref, number in self._called):
            return None
        for node in nodes:
            if node.name in ("matmul", "conv2d"):
                x = node.operands[0]
                return None if x.requires_grad else x.array
        return None

    # Checks

    def _run(self, stage: Stage, view: Any) -> None:
        arguments = (view,) if stage == "progress" else (view, self.progress)
        for each in tuple(self._checks[stage]):
            sign: Sign | None = each.find(*arguments)
            if sign is not None:
                self._checks[stage].remove(each)
                self.progress.found.add(each.name)
                step = max(view.step, self.progress.step) + self._first_step - 1
                found = Finding(each.name, each.mistake, sign.evidence, sign.where, each.cure, step)
                self.findings.append(found)
                if self.show is not None:
                    self.show(str(found))


def _is_of_another_chunk() -> bool:
    """True in a thread that computes another chunk of the batch than the first of this rank."""
    share = current_share()
    return share is not None and share.place > 0


def _has_tensors(module: Module | None) -> bool:
    """True if a module has tensors, such as frozen weights, without those of its submodules."""
    return module is not None and any(isinstance(x, Tensor) for x in vars(module).values())


def coach(
    target: Module | Callable[..., Any],
    data: Dataset | None = None,
    show: Callable[[str], object] | None = print,
) -> Coach:
    """Watch a training, and name mistakes that raise no error, each once.

    The coach reads inputs, labels, losses, gradients, parameters and updates at steps 1, 2, 4, ...,
    64, then 256, 1024, ... and changes nothing: the training computes the same bits. It never reads
    the source code. `coach.findings` lists the findings, `coach.to_json()` returns them as dicts,
    and `coach.close()` ends the watching, as does the end of a `with` block.

    Args:
        target: a model, whose steps are the updates of an optimiser of its parameters. Or a
            training step, captured or not: the returned Coach is called as the step is, and the
            step's result, or its first element, is the loss.
        data: the data set of the training, or None. Its images and labels are checked at once.
        show: called with the text of each finding; None for no output.

    Returns:
        Coach.

    Raises:
        NotSupported: target is neither a model nor a function, or data is no data set.

    >>> model = nn.Linear(2, 3)
    >>> optimizer = tt.optim.SGD([model.weight], lr=0.1)
    >>> with tt.coach(model, show=None) as coach:
    ...     for _ in range(2):
    ...         optimizer.zero_grad()
    ...         tt.cross_entropy(model(tt.rand(5, 2)), [0, 1, 2, 1, 0]).backward()
    ...         optimizer.step()
    >>> [finding.mistake for finding in coach.findings]
    ['a parameter is not in the optimiser, so it is never trained']
    """
    if data is not None and not isinstance(data, Dataset):
        raise NotSupported(
            f"coach: got data of type {type(data).__name__}; a data set is needed, such as "
            "tt.datasets.mnist()"
        )
    if isinstance(target, Module):
        return Coach(target, data=data, show=show)
    if callable(target):
        return Coach(step=target, data=data, show=show)
    raise NotSupported(
        f"coach: got a {type(target).__name__}; a model or a function of a training step is needed"
    )
