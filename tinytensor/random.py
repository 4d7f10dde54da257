"""Random numbers: one seed for all, set by manual_seed.

What a network starts from is drawn by NumPy's generator. The masks of dropout come from a hash of
the seed and a count (see kernels.dropout_mask), so that all backends draw the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tinytensor import recorder
from tinytensor.arrays import Array
from tinytensor.errors import SettingError

__all__ = ["manual_seed"]

_generator = np.random.default_rng()
_state = np.array([_generator.integers(2**63), 0], np.uint64)


def manual_seed(seed: int) -> None:
    """Start the random numbers anew: the same seed gives the same numbers, on every backend."""
    global _generator
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise SettingError(f"manual_seed: got {seed!r}; a whole number from 0 up is needed")
    recorder.refuse("manual_seed() starts chance anew", "call it outside of the step")
    _generator = np.random.default_rng(seed)
    _state[:] = _generator.integers(2**63), 0


@contextmanager
def fork() -> Iterator[None]:
    """Inside a `with` block random numbers may be drawn; after it they continue as if none were.

        with random.fork():
            tt.manual_seed(0)
            images = tt.rand(100, 28, 28)

    The block starts from the current state. On leaving it, also by an exception, the generator of
    random tensors and the masks of dropout return to that state. torch.random.fork_rng is the same.

    Raises CaptureError inside a captured step, because a replay would not restore the state.
    """
    global _generator
    recorder.refuse("random.fork() restores the random state", "use it outside of the step")
    generator, drawn, masks = _generator, _generator.bit_generator.state, _state.copy()
    try:
        yield
    finally:
        _generator = generator  # manual_seed makes another
        _generator.bit_generator.state = drawn
        _state[:] = masks


def generator() -> np.random.Generator:
    """The generator that all random tensors come from."""
    recorder.refuse(
        "it draws random numbers with NumPy",
        "draw them outside and give them to the step as an argument; dropout() may be in it",
    )
    return _generator


def state() -> Array:
    """(2) uint64: the seed of the masks, and how many numbers were drawn; kernels move it on."""
    return _state
