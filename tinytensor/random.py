"""Random numbers: one generator for all, seeded by manual_seed."""

import numpy as np

from tinytensor.errors import SettingError

_generator = np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Start the random numbers anew: the same seed gives the same numbers, on every backend."""
    global _generator
    if seed < 0:
        raise SettingError(f"manual_seed: got {seed}; a whole number from 0 up is needed")
    _generator = np.random.default_rng(seed)


def generator() -> np.random.Generator:
    """The generator that all random tensors come from."""
    return _generator
