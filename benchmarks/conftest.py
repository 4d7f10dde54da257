"""Fixtures of all benchmarks: backends and threads as parameters, and the machine's limits.

    python -m pytest benchmarks [-k "matmul and c"] [--benchmark-autosave --benchmark-compare]

Results are grouped by task and number of threads, with the backends side by side. extra_info, which
pytest-benchmark saves with each result, has the work, the speed, and the lower bound of the time
divided by the median. These benchmarks compare commits. To compare backends, `tinytensor bench` is
fairer, because each backend has a process of its own and the processes take turns.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.session import PerformanceRegression

import tinytensor as tt
from tinytensor.bench.bounds import bound
from tinytensor.bench.report import cores
from tinytensor.capture import listing

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # for cases.py

THREADS = sorted({1, len(cores())})


@pytest.hookimpl(trylast=True)  # so that the tests of one group follow each other
def pytest_generate_tests(metafunc):
    """Run each backend on each number of threads that it can use; on 1 if times are disabled."""
    if "backend" in metafunc.fixturenames:
        untimed = metafunc.config.getoption("benchmark_disable")
        pairs = [
            (backend, threads)
            for backend in tt.available_backends()
            for threads in THREADS[: 1 if untimed or backend == "numba" else None]
        ]
        metafunc.parametrize(("backend", "threads"), pairs, ids=[f"{b}-{t}" for b, t in pairs])


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around the summary, which raises the error
def pytest_sessionfinish():
    """Print the list of slower benchmarks last, instead of a traceback."""
    try:
        return (yield)
    except PerformanceRegression as regression:
        pytest.exit(str(regression), returncode=pytest.ExitCode.TESTS_FAILED)


@pytest.fixture(autouse=True)
def _restore_threads():
    yield
    tt.set_num_threads(THREADS[-1])


@pytest.fixture
def speed_of(benchmark) -> Callable[..., None]:
    """A function that stores the speed of the benchmarked calls in extra_info.

    speed_of(calls, threads, times=1): the benchmark makes `calls` `times` times.
    """

    def store(calls, threads: int, times: int = 1) -> None:
        info = benchmark.extra_info
        info["flops"] = times * sum(map(listing.flops, calls))
        info["bytes"] = times * sum(map(listing.bytes_moved, calls))
        if benchmark.disabled:
            return
        median = benchmark.stats.stats.median
        info["flops_per_second"] = info["flops"] / median
        info["bytes_per_second"] = info["bytes"] / median
        limit = bound(calls, threads)
        info["share_of_limit"] = None if limit is None else times * limit / median

    return store
