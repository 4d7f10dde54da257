"""Data parallel training: a step whose batch is divided among ranks, and among their threads.

Each chunk has a copy of the model that shares the parameters and has its own gradients. A captured
step of a chunk has the exchange with the other chunks as one call of its program. The step of a
rank's first chunk also updates the parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from threading import BrokenBarrierError

import numpy as np

from tinytensor import random, recorder
from tinytensor.arrays import Array
from tinytensor.capture.captured import capture
from tinytensor.errors import DTypeError, NotSupported
from tinytensor.nn import Module
from tinytensor.optim import Optimizer
from tinytensor.ranks import ALONE, Share, Team, World, world
from tinytensor.tensors import Tensor, from_numpy, wrap

__all__ = ["ALONE", "ParallelStep", "Share", "Team", "World", "average_gradients", "world"]

_FLAGS = 2  # elements at the end of an exchange: stop, and report_next


class ParallelStep:
    """Trains on a batch with all chunks of a team; call it with images and labels.

    Args:
        team: the ranks and the chunks.
        model: maps images (N, 28, 28, 1) float32 to logits (N, classes).
        classes: the number of classes.
        loss: maps logits and labels (N,) to their mean loss, a scalar Tensor.
        optimizer: of the model's parameters.
        after_update: called after the update, in the step.
        eager: True to run each step op by op.

    Attributes:
        asked: the flags that this rank sends with the next step, such as a request to stop.
        answered: their sums over all ranks, from the last step.
        exchanged_bytes: the size of the array that each step sums over the ranks.
        models: the list of the models, one for each chunk of this rank; the first is `model`.
        first: the step of the first chunk; a Captured unless `eager`.

    Raises:
        NotSupported: a parameter is not float32.
    """

    def __init__(
        self,
        team: Team,
        model: Module,
        classes: int,
        loss: Callable[[Tensor, Array], Tensor],
        optimizer: Optimizer,
        after_update: Callable[[], None],
        eager: bool,
    ) -> None:
        self.team, self.loss, self.optimizer = team, loss, optimizer
        self.after_update = after_update
        params = optimizer.params
        for param in params:
            if param.dtype != np.float32:
                raise NotSupported(f"parallel: got a parameter of {param.dtype}; float32 is needed")
        self.asked = np.zeros(_FLAGS, np.float32)
        self.answered = np.zeros(_FLAGS, np.float32)
        self._logits = np.zeros((team.batch, classes), np.float32)
        size = sum(p.size for p in params) + 1 + _FLAGS
        self.exchanged_bytes = 4 * size
        self._steps: list[Callable[[Array, Array], tuple[Tensor, Tensor]]] = []
        self.models: list[Module] = []
        for share in team.shares:
            own, own_params = (model, params) if share.place == 0 else _twin(model, params)
            step = self._step_of(share, own, own_params, np.empty(size, np.float32))
            self.models.append(own)
            self._steps.append(step if eager else capture(step))
        self.first = self._steps[0]
        team.world.forget_steps()
        self._threads = ThreadPoolExecutor(max(len(team.shares) - 1, 1), "tinytensor-chunk")

    def __call__(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        """Train on a batch: its images (N, 28, 28, 1), of which this rank computes its chunks.

        Returns:
            the loss () of the whole batch, and the logits (N, classes), before the update. The rows
            of other ranks' images are 0; see gathered().
        """
        with self.team.world.in_step():
            return self._train(images, labels)

    def _train(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        shares = self.team.shares
        calls: list[Callable[[], tuple[Tensor, Tensor]]] = []
        for share, step in zip(shares, self._steps, strict=True):
            share.masks[:] = random.state()
            rows = share.rows
            calls.append(partial(self._compute, share, step, images[rows], labels[rows]))
        others = [self._threads.submit(copy_context().run, call) for call in calls[1:]]
        failures: list[BaseException] = []
        try:
            result = calls[0]()
        except BaseException as failure:
            failures.append(failure)
        failures += [failed for other in others if (failed := other.exception()) is not None]
        if failures:
            self.team.restart()
            first = [each for each in failures if not isinstance(each, BrokenBarrierError)]
            raise (first or failures)[0]
        random.state()[:] = shares[0].masks
        return result

    def gathered(self, x: Array) -> Array:
        """The array x (N, ...) with the rows that other ranks have computed; all ranks call it."""
        shares, world = self.team.shares, self.team.world
        if world.size == 1:
            return x
        own = slice(shares[0].rows.start, shares[-1].rows.stop)
        found = np.zeros_like(x)
        found[own] = x[own]
        world.sum(found)
        return found

    def _compute(
        self, share: Share, step: Callable[[Array, Array], tuple[Tensor, Tensor]], images: Array,
        labels: Array,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        try:
            with share.computing():
                return step(images, labels)
        except BaseException:
            self.team.give_up()
            raise

    def _step_of(
        self, share: Share, model: Module, params: list[Tensor], buffer: Array
    ) -> Callable[[Array, Array], tuple[Tensor, Tensor]]:
        """The training step of a chunk. buffer: what is summed over the chunks."""
        is_first = share.place == 0

        def exchange_gradients(*arrays: Array) -> None:
            """Sum the gradients, the loss and the flags over all chunks."""
            n = len(params)
            grads, loss, logits, results = arrays[:n], arrays[n], arrays[n + 1], arrays[n + 2 :]
            end = _pack(buffer, grads)
            buffer[end] = loss
            self._logits[share.rows] = logits
            buffer[-_FLAGS:] = self.asked if is_first else 0
            total = self.team.sum(share, buffer)
            if is_first:
                _unpack(total, results[:n])
                results[n][...] = total[end]
                results[n + 1][...] = self._logits
                self.answered[...] = total[-_FLAGS:]

        def train_on_chunk(images: Array, labels: Array) -> tuple[Tensor, Tensor]:
            logits = model(from_numpy(images))
            loss = self.loss(logits, labels) * share.weight
            for param in params:
                param.grad = None
            loss.backward()
            grads = [_gradient(param) for param in params]
            sums = [np.empty(p.shape, p.dtype) for p in params] if is_first else []
            if is_first:
                sums += [np.empty((), np.float32), np.empty_like(self._logits)]
            reads = *grads, loss.array, logits.array
            recorder.each_step(
                exchange_gradients, reads=reads, writes=sums, reads_anything=True,
                exchanged_bytes=buffer.nbytes,
            )  # fmt: skip
            if not is_first:
                return loss, logits
            for param, total in zip(params, sums, strict=False):
                param.grad = wrap(total)
            self.optimizer.step()
            self.after_update()
            return wrap(sums[-2]), wrap(sums[-1])

        return train_on_chunk


def average_gradients(world: World, params: Sequence[Tensor]) -> None:
    """Replace each gradient by its mean over the ranks, with one exchange of one array.

    Call it between `loss.backward()` and `optimizer.step()`. In a captured step it is a call of the
    program. On one rank it does nothing.

    Args:
        world: the ranks, as tt.parallel.world() returns them.
        params: Tensors of any shape and float dtype, in the same order on each rank. A tensor
            without a gradient is left out.

    Raises:
        DTypeError: the gradients have different dtypes.

    Source: torch.nn.parallel.DistributedDataParallel.

    >>> x = tt.Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> tt.parallel.average_gradients(tt.parallel.world(), [x])
    >>> x.grad
    Tensor([2., 4.], dtype=float32)
    """
    if world.size == 1:
        return
    params = [param for param in params if param.grad is not None]
    grads = [_gradient(param) for param in params]
    dtypes = sorted({str(grad.dtype) for grad in grads})
    if len(dtypes) > 1:
        raise DTypeError(f"average_gradients: got {' and '.join(dtypes)}; one dtype is needed")
    means = [np.empty(grad.shape, grad.dtype) for grad in grads]
    n = len(grads)

    def exchange_gradients(*arrays: Array) -> None:
        buffer = np.concatenate([grad.reshape(-1) for grad in arrays[:n]])
        world.sum(buffer)
        buffer /= world.size
        _unpack(buffer, arrays[n:])

    if grads:
        recorder.each_step(
            exchange_gradients, reads=grads, writes=means, reads_anything=True,
            exchanged_bytes=sum(grad.nbytes for grad in grads),
        )  # fmt: skip
    for param, mean in zip(params, means, strict=True):
        param.grad = wrap(mean)


def _gradient(param: Tensor) -> Array:
    """The gradient of a parameter; zeros if the loss does not depend on it."""
    return np.zeros(param.shape, param.dtype) if param.grad is None else param.grad.array


def _twin(model: Module, params: list[Tensor]) -> tuple[Module, list[Tensor]]:
    """A copy of the model whose parameters share the memory of the given ones."""
    memo: dict[int, object] = {id(param): param.__copy__() for param in params}
    twin = copy.deepcopy(model, memo)
    return twin, [memo[id(param)] for param in params]  # type: ignore[misc]


def _pack(buffer: Array, arrays: tuple[Array, ...]) -> int:
    """Copy the arrays into the buffer, one after another; returns their end."""
    end = 0
    for array in arrays:
        buffer[end : end + array.size] = array.reshape(-1)
        end += array.size
    return end


def _unpack(buffer: Array, arrays: tuple[Array, ...]) -> None:
    """Copy from the buffer into the arrays."""
    end = 0
    for array in arrays:
        array[...] = buffer[end : end + array.size].reshape(array.shape)
        end += array.size
