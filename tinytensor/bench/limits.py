"""What a step can't be faster than here: what calls cost, however little they do, and the machine.

A number by itself says little. Small networks spend their time on calls, so beside their steps
belongs what a call costs; large ones compute or move numbers, so beside theirs belong the peak of
arithmetic and the bandwidth of each cache (machine.py).
"""

from __future__ import annotations

import timeit
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinytensor import kernels, machine, ops
from tinytensor.capture.captured import Captured, capture
from tinytensor.tensor import Tensor, from_numpy

CHAIN = 50  # operations one after the other, where the cost of one more is looked for
ROUNDS = 7  # of which the best counts
SYSTEM = Path("/sys/devices/system/cpu/cpu0/cache")
WITHOUT_CACHES = tuple(1 << power for power in range(14, 28, 2))  # 16 KiB to 64 MiB


# Calls ------------------------------------------------------------------------------------------


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
    states = kernels.backend_states()
    if isinstance(c := states["c"], kernels.Backend):
        variant = c.module.variant("float32", c.module.SIMD)
        at, function = variant.at, variant.relu_backward
        calls["cffi"] = lambda: function(at(x), at(y), at(out), 1)
    if isinstance(numba := states["numba"], kernels.Backend):
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
    def step(given: kernels.Array) -> Tensor:
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


# The machine ------------------------------------------------------------------------------------


class Cache(NamedTuple):
    """A level of the memory that lies between the arithmetic and the main memory."""

    name: str  # "L1"
    size: int  # bytes
    shared: int  # by so many cores


def caches(system: Path = SYSTEM) -> list[Cache]:
    """The first core's caches for data, nearest first, as Linux tells them; else none."""
    found = []
    try:
        for folder in system.glob("index[0-9]*"):
            told = {
                name: (folder / name).read_text(encoding="ascii").strip()
                for name in ("level", "type", "size", "shared_cpu_list")
            }
            if told["type"] != "Instruction":
                size = _bytes(told["size"])
                found.append(
                    Cache(f"L{told['level']}", size, _count_cores(told["shared_cpu_list"]))
                )
    except (OSError, ValueError):
        return []
    return sorted(found)


def _bytes(text: str) -> int:
    """48K, 1M, 32768"""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text.rstrip("KMG")) * units.get(text[-1], 1)


def _count_cores(text: str) -> int:
    """0-3,8 are five."""
    ends = [[int(core) for core in part.split("-")] for part in text.split(",")]
    return sum(end[-1] - end[0] + 1 for end in ends)


def working_sets(threads: int, levels: Sequence[Cache]) -> dict[int, str]:
    """Bytes that so many threads walk over, in each cache and in the main memory: size -> name.

    Half of each cache that they have together, and four times the last; without caches, powers of
    two without a name.
    """
    if not levels:
        return dict.fromkeys(WITHOUT_CACHES, "")
    totals = [
        (level.size * -(-threads // level.shared), level.name)  # each shared is theirs but once
        for level in levels
    ]
    return {size // 2: name for size, name in totals} | {4 * totals[-1][0]: "memory"}


def bandwidth(threads: int, seconds: float = 0.05) -> dict[str, dict[str, Any]]:
    """Bytes a second at each level: {"24576": {"level": "L1", "read": ..., "copy": ..., ...}, ...}.

    seconds: how long to measure each.  Raises BackendUnavailable without the C backend.
    """
    return {
        str(size): {"level": name}
        | {
            traffic: machine.memory_bandwidth(size, threads, traffic, seconds)
            for traffic in machine.ARRAYS
        }
        for size, name in working_sets(threads, caches()).items()
    }
