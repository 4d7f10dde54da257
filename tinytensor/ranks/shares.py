"""The chunks of a batch. Each chunk is computed separately, by one thread of one rank.

A sum of floats depends on the order of the additions. So the number of chunks decides the bits of a
gradient, and the number of ranks does not: with 4 chunks, one rank computes 4 chunks in 4 threads,
two ranks compute 2 chunks each, and four ranks compute one chunk each. The sums of the chunks are
always added as (c0 + c1) + (c2 + c3).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from tinytensor import kernels, random, recorder
from tinytensor.arrays import Array
from tinytensor.errors import NotSupported, SettingError
from tinytensor.ranks.world import World

CHUNKS = 4  # of a batch, by default: the same bits on 1, 2 and 4 ranks
_current: ContextVar[Share | None] = ContextVar("tinytensor_share", default=None)


def current_share() -> Share | None:
    """Return the share of the batch that this thread computes; None outside of a Share."""
    return _current.get()


class Team:
    """The threads of all ranks that compute the chunks of one batch.

    Args:
        world: the ranks.
        batch: the number of images of the whole batch.
        chunks: the number of chunks, a multiple of the number of ranks; by default 4 if this is
            one, else one chunk for each rank.
        synchronizes: True if batch norm uses the moments of the whole batch; False if it uses those
            of each chunk.

    Attributes:
        shares: the list of the Shares of this rank.

    Raises:
        SettingError: chunks is not a multiple of the number of ranks, or is above `batch`.
    """

    def __init__(
        self, world: World, batch: int, chunks: int | None = None, synchronizes: bool = True
    ) -> None:
        if chunks is None:
            chunks = world.size if CHUNKS % world.size else CHUNKS
        if chunks < 1 or chunks % world.size:
            raise SettingError(
                f"chunks: got {chunks} for {world.size} ranks; a multiple of {world.size} is needed"
            )
        if chunks > batch:
            raise SettingError(
                f"batch: got {batch} images for {chunks} chunks; {chunks} or more are needed"
            )
        self.world, self.batch, self.chunks = world, batch, chunks
        self.synchronizes = synchronizes
        local = chunks // world.size
        first = world.rank * local
        self.shares = [Share(self, first + i, i) for i in range(local)]
        self._total: Array = np.empty(0)
        self._given: list[Array] = [self._total] * local
        self._barrier = threading.Barrier(local, self._add)

    def sum(self, share: Share, x: Array) -> Array:
        """Return the sum of the arrays x of all chunks. All shares of all ranks call it.

        The result is in the memory of another share's x. It is valid until this share's next call.
        """
        self._given[share.place] = x
        self._barrier.wait()
        return self._total  # not _given[0], which the next call of a faster thread replaces

    def _add(self) -> None:
        """Add the arrays of this rank, neighbours first, and then those of all ranks."""
        given = self._given
        distance = 1
        while distance < len(given):
            for i in range(0, len(given) - distance, 2 * distance):
                np.add(given[i], given[i + distance], out=given[i])
            distance *= 2
        self._total = given[0]
        self.world.sum(self._total)

    def give_up(self) -> None:
        """Raise BrokenBarrierError in all threads of this rank that wait."""
        self._barrier.abort()

    def restart(self) -> None:
        """Make the team usable again after give_up(), when no thread waits."""
        self._barrier.reset()


class Share:
    """One chunk of the batch, and what a layer needs of the other chunks.

    Attributes:
        rows: the slice of the images of the batch.
        weight: float, the part of the images of the batch; the weight of this chunk's mean loss.
        masks: uint64 (2,), the state of dropout's masks; see random.state().
    """

    def __init__(self, team: Team, number: int, place: int) -> None:
        self.team, self.number, self.place = team, number, place
        batch, chunks = team.batch, team.chunks
        self.rows = slice(number * batch // chunks, (number + 1) * batch // chunks)
        self.count = self.rows.stop - self.rows.start
        self.weight = self.count / batch
        self.masks = random.state().copy()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """In a `with` block, this thread computes this share."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def draw_mask(self, mask: Array, keep_prob: float) -> None:
        """Fill dropout's mask (count, ...) with the rows that one process would draw for them."""
        if len(mask) != self.count:
            raise NotSupported(
                f"dropout: got an array of {len(mask)} rows for {self.count} images; in parallel "
                "training the first axis must be the images"
            )
        drawn = mask.size // self.count  # numbers for each image
        self._skip(drawn * self.rows.start)
        kernels.dropout_mask(self.masks, mask, keep_prob)
        self._skip(drawn * (self.team.batch - self.rows.stop))

    def _skip(self, count: int) -> None:
        """Skip random numbers that other shares draw."""

        def skip_numbers(masks: Array) -> None:
            masks[1] += np.uint64(count)

        recorder.each_step(skip_numbers, changes=(self.masks,), settings=(count,))

    def _bytes_of_parts(self, channels: Array) -> int:
        """The size of what combine_moments and correct_grad exchange: two sums and a count."""
        return 8 * self.team.chunks * (1 + 2 * channels.size)

    def combine_moments(self, mean: Array, var: Array, rows: int) -> None:
        """Replace the moments of this chunk by those of the whole batch.

        mean = sum of w[k] * mean[k], var = sum of w[k] * (var[k] + (mean[k] - mean) ** 2), where
        w[k] is the part of the rows that chunk k has.

        Args:
            mean, var: (C,), changed in place.
            rows: the number of rows of this chunk, of which these are the moments.
        """

        def exchange_moments(mean: Array, var: Array) -> None:
            C = len(mean)
            own: Array = np.zeros((self.team.chunks, 2 * C + 1))
            own[self.number, :C], own[self.number, C:-1], own[self.number, -1] = mean, var, rows
            parts = self.team.sum(self, own)
            means, variances, counts = parts[:, :C], parts[:, C:-1], parts[:, -1:]
            weights = counts / counts.sum()
            whole = (weights * means).sum(axis=0)
            mean[...] = whole
            var[...] = (weights * (variances + (means - whole) ** 2)).sum(axis=0)

        recorder.each_step(
            exchange_moments, changes=(mean, var), settings=(rows,), reads_anything=True,
            exchanged_bytes=self._bytes_of_parts(mean),
        )  # fmt: skip

    def correct_grad(
        self, grad_x: Array, x: Array, mean: Array, var: Array, gamma: Array, grad_gamma: Array,
        grad_beta: Array, epsilon: float,
    ) -> None:  # fmt: skip
        """Correct batch norm's grad_x, which its kernel has computed from the sums of this chunk.

        grad_x = factor * (grad - (B + n * G) / R), with factor = gamma / sqrt(var + epsilon), and B
        and G the sums of grad and of grad * n over all R rows. The kernel's B, G and R are those of
        this chunk, so the difference is n * scale + shift for each channel, as in `normalize`.

        Args:
            grad_x: (rows, C), changed in place.
            x: (rows, C).
            mean, var, gamma: (C,), the moments of the whole batch, and the trained scale.
            grad_gamma, grad_beta: (C,), G and B of this chunk.
            epsilon: is added to the variance.
        """
        rows, C = x.shape
        scale, shift, difference = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty_like(x)

        def exchange_sums(
            grad_gamma: Array, grad_beta: Array, gamma: Array, var: Array, scale: Array,
            shift: Array,
        ) -> None:  # fmt: skip
            own: Array = np.zeros((self.team.chunks, 2 * C + 1))
            own[self.number, :C], own[self.number, C:-1] = grad_gamma, grad_beta
            own[self.number, -1] = rows
            parts = self.team.sum(self, own)
            total = parts.sum(axis=0)
            difference = parts[self.number] / rows - total / total[-1]
            factor = gamma / np.sqrt(var.astype(np.float64) + epsilon)
            scale[...], shift[...] = difference[:C] * factor, difference[C:-1] * factor

        recorder.each_step(
            exchange_sums, reads=(grad_gamma, grad_beta, gamma, var), writes=(scale, shift),
            settings=(epsilon,), reads_anything=True, exchanged_bytes=self._bytes_of_parts(mean),
        )  # fmt: skip
        kernels.normalize(x, mean, var, scale, shift, difference, epsilon)
        kernels.add(grad_x, difference, grad_x)
