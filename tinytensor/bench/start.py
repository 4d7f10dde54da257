"""Cold starts: the time that a backend needs before its first training step ends.

Each start is a new process. Its time has these parts, in order:

    import      from the start of the process: Python, NumPy, tinytensor, the backend
    compile     kernels are compiled (cold: empty cache on disk) or loaded from the cache (warm)
    first_step  making the network, and the first step without compiling: it is recorded, and its
                memory is used for the first time
    step        the best time of a later step

Reading the data set is not counted, because it takes the same time for each backend. A backend that
starts later but has shorter steps overtakes another backend after a number of steps, which
break_even() computes.

    python -m tinytensor.bench.start LESSON BACKEND SECONDS THREADS BEGIN

runs such a process, and prints its times as JSON. BEGIN is the value of perf_counter() just before
the process was started; on Linux and macOS all processes share this clock. THREADS is the number of
threads, or 0 for the backend's own number.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

from tinytensor import datasets, door
from tinytensor.bench.environment import environment
from tinytensor.errors import TinytensorError
from tinytensor.lessons import find
from tinytensor.train import Training

LESSONS = ("1.0", "4.2")  # the smallest network and the largest
ROUNDS, SECONDS = 5, 1.0  # processes per backend, and seconds of steps in each
ROUNDS_QUICK, SECONDS_QUICK = 1, 0.2
MIN_STEPS = 5  # timed steps, even if they take longer than SECONDS


def measure(
    lessons: Sequence[str] = LESSONS,
    quick: bool = False,
    backends: Sequence[str] | None = None,
    threads: int | None = None,
) -> list[dict[str, Any]]:
    """Measure the starts of backends.

    A cold start is measured once, because it takes long. The other starts are measured in turns,
    and the best time of each part counts.

    Args:
        lessons: numbers or names of lessons, whose networks are trained.
        quick: True for fewer processes and steps.
        backends: names of backends; all that work here by default.
        threads: number of threads; each backend's own number by default.

    Returns:
        a dict per start:
        {"lesson": "1.0", "backend": "numba", "cache": "cold", "import": s, "compile": s,
        "first_step": s, "step": s, "break_even_numpy": n}.
        "cache" is "cold" or "warm" for a backend that compiles, otherwise None. "break_even_numpy"
        is the number of steps after which the backend has overtaken NumPy; None if it never does,
        or if NumPy is not one of the backends.

    Raises:
        UnknownName: there is no lesson or backend of this name.
        BackendUnavailable: a backend does not work here.
    """
    names = list(door.available_backends()) if backends is None else list(backends)
    loaded = [door.load_backend(name) for name in names]
    numbers = [find(lesson).number for lesson in lessons]
    rows = []
    for number in numbers:
        of_lesson = list(_starts(number, loaded, quick, threads or 0))
        numpy = next((row for row in of_lesson if row["backend"] == "numpy"), None)
        for row in of_lesson:  # None for NumPy itself, because its steps are not shorter
            row["break_even_numpy"] = None if numpy is None else break_even(row, numpy)
        rows += of_lesson
    return rows


def _starts(
    lesson: str, backends: Sequence[door.Backend], quick: bool, threads: int
) -> Iterator[dict[str, Any]]:
    rounds, seconds = (ROUNDS_QUICK, SECONDS_QUICK) if quick else (ROUNDS, SECONDS)
    with tempfile.TemporaryDirectory() as cache:

        def started(name: str) -> dict[str, float]:
            return _fresh_process(lesson, name, seconds, threads, cache)

        # Cold starts come first, because they fill the cache.
        cold = {b.name: started(b.name) for b in backends if hasattr(b.module, "compiling")}
        all_rounds = [{b.name: started(b.name) for b in backends} for _ in range(rounds)]
    for backend in backends:
        name = backend.name
        about = {"lesson": lesson, "backend": name}
        best = {
            part: min(started[name][part] for started in all_rounds) for part in all_rounds[0][name]
        }
        if name in cold:  # a step's time doesn't depend on the source of the compiled code
            best["step"] = min(best["step"], cold[name]["step"])
            yield about | {"cache": "cold"} | cold[name] | {"step": best["step"]}
        yield about | {"cache": "warm" if name in cold else None} | best


def _fresh_process(
    lesson: str, backend: str, seconds: float, threads: int, cache: str
) -> dict[str, float]:
    """The times of a start, measured in a new process."""
    arguments = [lesson, backend, str(seconds), str(threads), str(perf_counter())]
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, *arguments],
        env=environment() | {"NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        (*_, reason) = done.stderr.strip().splitlines() or ["no error message"]
        raise TinytensorError(f"bench: the start of lesson {lesson} on {backend} failed: {reason}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def start(
    lesson: str, backend: str, seconds: float, threads: int, begin: float
) -> dict[str, float]:
    """The times of this process's start.

    begin: the time of perf_counter() just before the process was started.
    """
    door.set_backend(backend)
    used = door.current_backend().module
    imported = perf_counter() - begin
    if threads:
        used.set_num_threads(threads)
    data = datasets.mnist()
    before = perf_counter()
    training = Training(find(lesson), data)
    training.model.train()
    training.make_step()
    first = perf_counter() - before
    spent = used.compiling() if hasattr(used, "compiling") else {}
    compiling = math.fsum(spent.get(part, 0.0) for part in ("compile_seconds", "load_seconds"))
    times: list[float] = []
    end = perf_counter() + seconds
    while len(times) < MIN_STEPS or perf_counter() < end:
        before = perf_counter()
        training.make_step()
        times.append(perf_counter() - before)
    return {
        "import": imported,
        "compile": compiling,
        "first_step": first - compiling,
        "step": min(times),
    }


# Break-even points ------------------------------------------------------------------------------


def until_first_step(row: Mapping[str, Any]) -> float:
    """Seconds from the start of the process to the end of the first step."""
    return math.fsum(row[part] for part in ("import", "compile", "first_step"))


def break_even(one: Mapping[str, Any], other: Mapping[str, Any]) -> int | None:
    """The number of steps after which `one` stays ahead of `other`; None if it never does.

    one, other: rows of measure(). The result is 1 if the first step of `one` ends earlier.
    """
    gain: float = other["step"] - one["step"]
    if gain <= 0:
        return None
    lead = until_first_step(one) - until_first_step(other)
    return 1 + max(0, math.ceil(lead / gain))


def named(row: Mapping[str, Any]) -> str:
    """The backend, and the state of its cache: numba (cold)."""
    return row["backend"] if row["cache"] is None else f"{row['backend']} ({row['cache']})"


def sentences(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Sentences such as "lesson 1.0: c overtakes numpy after 458 steps", for all pairs."""
    for one, other in itertools.permutations(rows, 2):
        if one["lesson"] == other["lesson"] and one["backend"] != other["backend"]:
            pair = f"lesson {one['lesson']}: {named(one)} overtakes {named(other)}"
            steps = break_even(one, other)
            if steps == 1:
                yield f"{pair} by the end of the first step"
            elif steps is not None:
                yield f"{pair} after {steps:,} steps"


if __name__ == "__main__":
    lesson, backend, seconds, threads, begin = sys.argv[1:]
    print(json.dumps(start(lesson, backend, float(seconds), int(threads), float(begin))))
