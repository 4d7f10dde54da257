"""Random numbers: one generator for all, seeded by manual_seed."""

import numpy as np

from tinytensor.errors import SettingError
from tinytensor.tensor import Tensor, from_numpy

_generator = np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Start the random numbers anew: after the same seed come the same numbers, on every backend."""
    global _generator
    if seed < 0:
        raise SettingError(f"manual_seed: got {seed}; a whole number from 0 up is needed")
    _generator = np.random.default_rng(seed)


def rand(*shape: int, dtype: str = "float32", requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in [0, 1)."""
    return from_numpy(_generator.random(shape, dtype)).requires_grad_(requires_grad)  # type: ignore[arg-type]


def randn(*shape: int, dtype: str = "float32", requires_grad: bool = False) -> Tensor:
    """Normally distributed random numbers, mean 0 and standard deviation 1."""
    numbers = np.asarray(_generator.standard_normal(shape, dtype))  # type: ignore[arg-type]
    return from_numpy(numbers).requires_grad_(requires_grad)
