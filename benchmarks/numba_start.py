"""How long the Numba backend takes to start: cold, with nothing compiled, and warm, from disk.

    python benchmarks/numba_start.py [LESSON ...]

For each lesson, in processes of their own: the imports of NumPy, Numba and tinytensor, then the
time to the end of the first step, and what of it went into compiling and loading kernels; then the
processor's time for all of it, which other work on the machine changes least. Cold is the first of
the processes, warm the fastest of the following.
"""

import json
import os
import subprocess
import sys
import tempfile

FIRST_STEP = """if True:
    import json, sys, time
    times = [time.perf_counter()]
    import numpy
    times.append(time.perf_counter())
    import numba
    times.append(time.perf_counter())
    import tinytensor as tt
    from tinytensor import kernels
    from tinytensor.lessons import find
    from tinytensor.train import Training
    tt.set_backend("numba")
    times.append(time.perf_counter())
    data = tt.datasets.mnist()
    data = data._replace(test_images=data.test_images[:1], test_labels=data.test_labels[:1])
    (report,) = Training(find(sys.argv[1]), data, steps=1)
    spent = kernels.current_backend().module.compiling()
    result = dict(zip(("numpy", "numba", "tinytensor"), numpy.diff(times).tolist()))
    print(json.dumps({**result, "first_step": report.seconds.first_step, **spent}
                     | {"processor": time.process_time()}))
"""
WARM = 5


def first_step(lesson: str, cache: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_STEP, lesson],
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def show(lesson: str, start: str, seconds: dict[str, float]) -> None:
    imports = "".join(f"{seconds[name]:>8.2f}" for name in ("numpy", "numba", "tinytensor"))
    print(
        f"{lesson:<8}{start:<6}{imports}{seconds['first_step']:>12.2f}"
        f"{seconds['compiled']:>10}{seconds['compile_seconds']:>8.2f} s"
        f"{seconds['loaded']:>8}{seconds['load_seconds']:>8.2f} s"
        f"{seconds['processor']:>11.2f}"
    )


def main() -> None:
    print(f"{'lesson':<8}{'start':<6}{'numpy':>8}{'numba':>8}{'ours':>8}{'first step':>12}"
          f"{'compiled':>10}{'in':>10}{'loaded':>8}{'in':>10}{'processor':>11}")  # fmt: skip
    for lesson in sys.argv[1:] or ["1.0", "4.2"]:
        with tempfile.TemporaryDirectory() as cache:
            show(lesson, "cold", first_step(lesson, cache))
            warm = [first_step(lesson, cache) for _ in range(WARM)]
            show(lesson, "warm", min(warm, key=lambda seconds: seconds["first_step"]))


if __name__ == "__main__":
    main()
