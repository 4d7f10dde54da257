"""Times of single kernel calls on each backend and in other libraries.

Before a kernel is timed, its results are compared with NumPy's. The arrays of a call are allocated
before it is timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tinytensor.bench.bounds import bound
from tinytensor.bench.cases import Case
from tinytensor.bench.contest import BenchContestant, Timing, Unfair, take_turns
from tinytensor.bench.report import KernelResult, Spread, ratio
from tinytensor.bench.task import Unsupported
from tinytensor.bench.worker import PEERS
from tinytensor.capture import listing

MAX_CALLS = 20_000  # per turn


def measure(
    contestants: Sequence[BenchContestant], case: Case, threads: int, timing: Timing
) -> list[KernelResult]:
    """Time a case on all contestants that support it.

    Args:
        contestants: the backends and libraries.
        case: the kernel call.
        threads: number of threads of each contestant, for the result.
        timing: number of rounds and time of a turn.

    Returns:
        one KernelResult per contestant that supports the case.

    Raises:
        Unfair: the results of a contestant differ from NumPy's.
    """
    on_numpy: dict[str, bool] = {}
    turns = {}
    for contestant in contestants:
        try:
            answer = contestant.request("prepare_kernel", case=case.to_json())
        except Unsupported:
            continue
        if answer["differs"]:
            raise Unfair(
                f"bench: {case.kernel} {case.name} on {contestant.name}: {answer['differs']}; "
                "NumPy's result is needed"
            )
        on_numpy[contestant.name] = answer["on_numpy"]
        one = contestant.request("call", times=3, warm=1)["seconds"]
        times = max(1, min(MAX_CALLS, round(timing.seconds / one)))
        turns[contestant.name] = partial(
            contestant.request,
            "call",
            times=times,
            warm=0 if one > timing.seconds else max(1, times // 5),
        )
    measured = take_turns(turns, timing)
    numpy = measured.get("numpy")
    return [
        KernelResult(
            kernel=case.kernel,
            case=case.name,
            contestant=name,
            backend=None if name in PEERS else name,
            threads=threads,
            seconds=Spread.of(times),
            to_numpy=None if numpy is None else ratio(times, numpy),
            flops=listing.flops(case.call),
            bytes=listing.bytes_moved(case.call),
            bound=bound([case.call], threads),
            on_numpy=on_numpy[name],
        )
        for name, times in measured.items()
    ]
