"""Kernels, timed one by one: the calls of the course's steps, on each backend and by peers.

Before a kernel is timed its results are compared with NumPy's. A time is that of the call with
arrays that are there already, as eager mode makes it; with NumPy's backend that is the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tinytensor.bench.bounds import bound
from tinytensor.bench.cases import Case
from tinytensor.bench.contest import BenchContestant, Care, Unfair, take_turns
from tinytensor.bench.report import KernelResult, Spread, ratio
from tinytensor.bench.task import NotHere
from tinytensor.bench.worker import PEERS
from tinytensor.capture import listing

MOST_CALLS = 20_000  # in a turn


def measure(
    contestants: Sequence[BenchContestant], case: Case, threads: int, care: Care
) -> list[KernelResult]:
    """The results of a case, of those who have it.

    Raises Unfair if a contestant computes something else than NumPy.
    """
    on_numpy: dict[str, bool] = {}
    turns = {}
    for contestant in contestants:
        try:
            answer = contestant.ask("prepare_kernel", case=case.to_json())
        except NotHere:
            continue
        if answer["differs"]:
            raise Unfair(
                f"bench: {case.kernel} {case.name} on {contestant.name}: {answer['differs']}; "
                "NumPy's result is needed"
            )
        on_numpy[contestant.name] = answer["on_numpy"]
        one = contestant.ask("call", times=3, warm=1)["seconds"]
        times = max(1, min(MOST_CALLS, round(care.seconds / one)))
        turns[contestant.name] = partial(
            contestant.ask,
            "call",
            times=times,
            warm=0 if one > care.seconds else max(1, times // 5),
        )
    measured = take_turns(turns, care)
    numpy = measured.get("numpy")
    return [
        KernelResult(
            kernel=case.kernel,
            case=case.name,
            contestant=name,
            backend=None if name in PEERS else name,
            threads=threads,
            seconds=Spread.of(some),
            to_numpy=None if numpy is None else ratio(some, numpy),
            flops=listing.flops(case.call),
            bytes=listing.bytes_moved(case.call),
            bound=bound([case.call], threads),
            on_numpy=on_numpy[name],
        )
        for name, some in measured.items()
    ]
