"""The cost of a call, from a Python function to a replayed step, on arrays of one element.

Small networks spend most of their time on calls, so a report lists these costs.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

import numpy as np

from tinytensor import door, ops
from tinytensor.arrays import Array
from tinytensor.capture.captured import Captured, capture
from tinytensor.tensors import Tensor, from_numpy

CHAIN = 50  # operations in sequence, to measure the cost of one more operation
ROUNDS = 7  # the best round counts


def call_costs(seconds: float = 0.02) -> dict[str, float]:
    """Measure the best time in seconds of each kind of call, on arrays of one element.

        python            an empty Python function with three arguments
        ufunc             np.add(x, y, out)
        cffi              a C function with three arrays, including their pointers
        numba             a compiled kernel of the Numba backend with three arrays
        op                tt.add(x, y) without gradients
        op_with_gradient  one more operation in a chain, forward and backward pass
        replay            a captured step with one kernel call, called from Python
        replay_call       each further kernel call in a captured step

    The last four use the current backend. cffi and numba are missing if their backend is.

    seconds: time to measure each kind of call in each of ROUNDS rounds.
    """
    x, y, out = np.ones((3, 1), np.float32)
    one = from_numpy(x.copy())
    short, short_calls = _captured_chain(1)
    long, long_calls = _captured_chain(CHAIN)
    calls: dict[str, Callable[[], object]] = {
        "python": lambda: _empty(x, y, out),
        "ufunc": lambda: np.add(x, y, out),
    }
    states = door.backend_states()
    if isinstance(states["c"], door.Backend):
        from tinytensor.backends import c_backend  # the import fails without the C backend

        functions = c_backend.functions("float32")
        at, function = functions.at, functions.relu_backward
        calls["cffi"] = lambda: function(at(x), at(y), at(out), 1)
    if isinstance(numba := states["numba"], door.Backend):
        add = numba.kernels["add"]
        calls["numba"] = lambda: add(x, y, out)
    calls |= {"op": lambda: ops.add(one, one)}
    calls |= {"replay": lambda: short(x), "long": lambda: long(x)}
    calls |= {"chain_1": lambda: _differentiate(1), "chain": lambda: _differentiate(CHAIN + 1)}

    empty_lambda = timeit.Timer(lambda: None)
    timers = {name: timeit.Timer(call) for name, call in calls.items()}
    counts = {name: _count(timer, seconds) for name, timer in timers.items()}
    best = dict.fromkeys(calls, float("inf"))
    overhead = float("inf")
    for _ in range(ROUNDS):  # in turns, so that a slow phase of the machine affects all
        overhead = min(overhead, empty_lambda.timeit(100_000) / 100_000)
        for name, timer in timers.items():
            best[name] = min(best[name], timer.timeit(counts[name]) / counts[name])
    costs = {name: max(cost - overhead, 0.0) for name, cost in best.items()}

    long_cost, chain_1, chain = (costs.pop(name) for name in ("long", "chain_1", "chain"))
    more = long_cost - costs["replay"]
    costs["replay_call"] = max(more, 0.0) / (long_calls - short_calls)
    costs["op_with_gradient"] = max(chain - chain_1, 0.0) / CHAIN
    return costs


def _empty(x: object, y: object, out: object) -> None:
    pass


def _captured_chain(length: int) -> tuple[Captured, int]:
    """A captured step of `length` chained multiplications, and its number of kernel calls."""

    @capture
    def step(given: Array) -> Tensor:
        x = y = from_numpy(given)
        for _ in range(length):
            y = ops.mul(y, x)
        return y

    step(np.ones(1, np.float32))
    assert step.program is not None  # recorded by the call above
    return step, len(step.program.calls)


def _differentiate(length: int) -> None:
    x = y = from_numpy(np.ones(1, np.float32)).requires_grad_()
    for _ in range(length):
        y = ops.add(y, x)
    y.backward()


def _count(timer: timeit.Timer, seconds: float) -> int:
    """The number of calls in a round of about `seconds` seconds."""
    timer.timeit(1)  # may compile
    count = 1
    while (taken := timer.timeit(count)) < seconds / 4:
        count *= 2
    return max(1, round(count * seconds / taken))
