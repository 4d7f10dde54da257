"""What each kind of call costs on arrays of one element: from a Python function to a replayed step.

Small networks spend most of their time on calls, so a report shows these costs next to their steps.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

import numpy as np

from tinytensor import door, ops
from tinytensor.arrays import Array
from tinytensor.capture.captured import Captured, capture
from tinytensor.tensor import Tensor, from_numpy

CHAIN = 50  # operations one after the other, where the cost of one more is looked for
ROUNDS = 7  # of which the best counts


def call_costs(seconds: float = 0.02) -> dict[str, float]:
    """Seconds that each kind of call takes at best, on arrays of one number.

    seconds: how long to measure each, in each of several rounds.

        python            a function of Python with three arguments that does nothing
        ufunc             np.add(x, y, out)
        cffi              a function of the C library with three arrays, pointers included
        numba             a compiled kernel of the Numba backend with three arrays
        op                tt.add(x, y), op by op, with nothing to differentiate
        op_with_gradient  the same with its way back: one more in a chain, forward and backward
        replay            a captured step with one kernel call, as Python calls it
        replay_call       each further kernel call in a captured step

    The last four are those of the backend in use. cffi and numba are missing where the backend is.
    """
    x, y, out = np.ones((3, 1), np.float32)
    one = from_numpy(x.copy())
    few, few_calls = _captured_chain(1)
    many, many_calls = _captured_chain(CHAIN)
    calls: dict[str, Callable[[], object]] = {
        "python": lambda: _nothing(x, y, out),
        "ufunc": lambda: np.add(x, y, out),
    }
    states = door.backend_states()
    if isinstance(states["c"], door.Backend):
        from tinytensor.backends import c_backend  # can't be imported where C doesn't work

        variant = c_backend.variant("float32", c_backend.SIMD)
        at, function = variant.at, variant.relu_backward
        calls["cffi"] = lambda: function(at(x), at(y), at(out), 1)
    if isinstance(numba := states["numba"], door.Backend):
        add = numba.kernels["add"]
        calls["numba"] = lambda: add(x, y, out)
    calls |= {"op": lambda: ops.add(one, one)}
    calls |= {"replay": lambda: few(x), "many": lambda: many(x)}
    calls |= {"chain_1": lambda: _differentiate(1), "chain": lambda: _differentiate(CHAIN + 1)}

    empty = timeit.Timer(lambda: None)
    timers = {name: timeit.Timer(call) for name, call in calls.items()}
    counts = {name: _count(timer, seconds) for name, timer in timers.items()}
    best = dict.fromkeys(calls, float("inf"))
    nothing = float("inf")
    for _ in range(ROUNDS):  # by turns, so that all see the same machine
        nothing = min(nothing, empty.timeit(100_000) / 100_000)
        for name, timer in timers.items():
            best[name] = min(best[name], timer.timeit(counts[name]) / counts[name])
    costs = {name: max(cost - nothing, 0.0) for name, cost in best.items()}

    many_cost, chain_1, chain = (costs.pop(name) for name in ("many", "chain_1", "chain"))
    more = many_cost - costs["replay"]
    costs["replay_call"] = max(more, 0.0) / (many_calls - few_calls)
    costs["op_with_gradient"] = max(chain - chain_1, 0.0) / CHAIN
    return costs


def _nothing(x: object, y: object, out: object) -> None:
    pass


def _captured_chain(length: int) -> tuple[Captured, int]:
    """A captured step of operations, each on what the one before gives, and its kernel calls."""

    @capture
    def step(given: Array) -> Tensor:
        x = y = from_numpy(given)
        for _ in range(length):
            y = ops.mul(y, x)
        return y

    step(np.ones(1, np.float32))
    assert step.program is not None  # it was recorded just now
    return step, len(step.program.calls)


def _differentiate(length: int) -> None:
    x = y = from_numpy(np.ones(1, np.float32)).requires_grad_()
    for _ in range(length):
        y = ops.add(y, x)
    y.backward()


def _count(timer: timeit.Timer, seconds: float) -> int:
    """How often to call in a round of about so many seconds."""
    timer.timeit(1)  # which may compile
    count = 1
    while (taken := timer.timeit(count)) < seconds / 4:
        count *= 2
    return max(1, round(count * seconds / taken))
