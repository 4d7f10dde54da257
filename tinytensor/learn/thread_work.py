"""The case of an exercise with threads: no thread does most of the work, in CPU seconds.

CPU seconds do not depend on other programs, so this holds on a busy machine, and with one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tinytensor.learn import answer, draw
from tinytensor.learn.answer import Answer
from tinytensor.learn.case import JudgedCase
from tinytensor.learn.exercises import Signature

MOST = 0.75  # of the work, by one thread
SECONDS = 0.2  # CPU seconds of all calls, because the system updates those of a pool at its ticks
SIZE = 256  # of the matrices


def case(function: Signature, functions: Answer, file: Path) -> JudgedCase:
    """Return the case for a function of matrices.

    Args:
        function: the function.
        functions: the student's functions; in C also `counted_threads`.
        file: the student's file.
    """
    call = draw.filled(function, dict.fromkeys(function.size_names, SIZE))
    arguments = [*call.arrays.values(), *call.scalars]
    counted_threads = functions.get("counted_threads", list)

    def run() -> str | None:
        try:
            share, threads = largest_share(
                lambda: functions[function.name](*arguments), counted_threads
            )
        except BaseException as error:
            return answer.describe(error, file)
        if share <= MOST:
            return None
        doing = "one thread" if threads else "the thread that called it"
        return (
            f"{doing} did {100 * share:.0f} % of the work, measured in CPU seconds; at most "
            f"{100 * MOST:.0f} % is allowed. Divide the rows evenly among threads"
        )

    return JudgedCase(f"threads of {call}", True, run)


def largest_share(
    run: Callable[[], object], counted_threads: Callable[[], list[float]]
) -> tuple[float, int]:
    """Return the largest share of the CPU seconds by one thread, and the number of threads.

    The threads are the one that calls, and those that a call starts. The threads of a pool, as
    Numba's, are only in the sum: its scheduler divides the work among them.
    """
    run()
    counted_threads()  # empties the list
    whole, own = time.process_time(), time.thread_time()
    busiest, threads = 0.0, 0
    while time.process_time() - whole < SECONDS:
        run()
        started = counted_threads()
        busiest += max(started, default=0.0)
        threads = max(threads, len(started))
    own, whole = time.thread_time() - own, time.process_time() - whole
    return max(own, busiest) / whole, threads
