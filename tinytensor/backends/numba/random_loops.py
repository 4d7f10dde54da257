"""Random numbers: the i-th number is a hash of the seed and i, with the steps of SplitMix64."""

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.lowering import Lowered, lowered
from tinytensor.backends.numba.compiling import kernel
from tinytensor.backends.numba.strides import flat


@lowered
def dropout_mask(state: Array, out: Array, keep_prob: float) -> Lowered:
    return _dropout_mask, (flat(out), state, np.uint64(keep_prob * 2**24), 1 / keep_prob)


@kernel("real[::1], uint64[::1], uint64, float64")
def _dropout_mask(out, state, limit, kept):
    for i in range(len(out)):
        z = state[0] + (state[1] + np.uint64(i + 1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z = z ^ z >> np.uint64(31)
        out[i] = kept if z >> np.uint64(40) < limit else 0
    state[1] += np.uint64(len(out))
