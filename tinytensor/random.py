"""Random numbers: manual_seed sets the one seed for random tensors and for dropout.

NumPy's generator draws the random tensors, such as initial weights. The masks of dropout are hashes
of the seed and a counter (see kernels.dropout_mask), so all backends draw the same masks.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tinytensor import json_text, recorder
from tinytensor.arrays import Array
from tinytensor.errors import DataError, SettingError

__all__ = ["manual_seed"]

_generator = np.random.default_rng()
_state = np.array([_generator.integers(2**63), 0], np.uint64)


def manual_seed(seed: int) -> None:
    """Set the seed of all random numbers: random tensors, initial weights and dropout.

    The same seed gives the same random numbers on every backend.

    Args:
        seed: int, at least 0.

    Raises:
        SettingError: the seed is not an integer, or is negative.
        CaptureError: the call is inside a captured step.

    Source: torch.manual_seed. The numbers themselves differ from torch's.

    >>> tt.manual_seed(0)
    >>> x = tt.rand(2)
    >>> tt.manual_seed(0)
    >>> (x == tt.rand(2)).all().item()
    True
    """
    global _generator
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise SettingError(f"manual_seed: got {seed!r}; an integer from 0 up is needed")
    recorder.refuse("manual_seed() resets the random state", "call it outside of the step")
    _generator = np.random.default_rng(seed)
    _state[:] = _generator.integers(2**63), 0


@contextmanager
def fork() -> Iterator[None]:
    """Context manager: restore the random state at the end of the block, also after an exception.

    The state covers random tensors and the masks of dropout. Random numbers drawn inside the block
    do not change the numbers drawn after it.

    Raises:
        CaptureError: the call is inside a captured step, because a replay would not restore the
            state.

    Source: torch.random.fork_rng.

    >>> tt.manual_seed(1)
    >>> with fork():
    ...     inside = tt.rand(2)
    >>> (inside == tt.rand(2)).all().item()
    True
    """
    global _generator
    recorder.refuse("random.fork() restores the random state", "use it outside of the step")
    generator, drawn, masks = _generator, _generator.bit_generator.state, _state.copy()
    try:
        yield
    finally:
        _generator = generator  # a manual_seed() in the block has replaced it
        _generator.bit_generator.state = drawn
        _state[:] = masks


def generator() -> np.random.Generator:
    """Return the NumPy generator of random tensors; raise CaptureError inside a captured step."""
    recorder.refuse(
        "it draws random numbers with NumPy",
        "draw them outside and pass them to the step as an argument; dropout() is allowed inside",
    )
    return _generator


def state() -> Array:
    """Return the state of dropout's masks: uint64 (2,), the seed and the count of numbers drawn.

    The kernels increase the count in place.
    """
    return _state


def generator_state() -> str:
    """Return the state of the generator of random tensors, as JSON."""
    return json.dumps(_generator.bit_generator.state)


def set_generator_state(caller: str, text: str) -> None:
    """Continue with a state that generator_state() returned.

    Args:
        caller: str, the start of an error message.
        text: str, the state as JSON.

    Raises:
        DataError: the text is no such state. The random numbers are unchanged.
    """
    try:
        _generator.bit_generator.state = json_text.parsed(text)
    except (LookupError, OverflowError, TypeError, ValueError):
        raise DataError(
            f"{caller}: got the state {text[:100]!r} of the random numbers; a state of "
            f"{type(_generator.bit_generator).__name__} is needed"
        ) from None
