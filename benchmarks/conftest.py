"""What all benchmarks share: backends and threads as parameters, and the machine's limits beside.

    python -m pytest benchmarks [-k "matmul and c"] [--benchmark-autosave --benchmark-compare]

Times are grouped by what is done and on how many threads, the backends side by side. To what
pytest-benchmark saves of each, extra_info adds the work, its speed and its share of the least time
that this machine could take. Here all backends share one process, so `tinytensor bench`, where each
has its own and they take turns, is the fairer comparison; this is to compare commits.
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


@pytest.hookimpl(trylast=True)  # so that what is compared is run one after the other
def pytest_generate_tests(metafunc):
    """Each backend on each number of threads that it can use; untimed, on one."""
    if "backend" in metafunc.fixturenames:
        untimed = metafunc.config.getoption("benchmark_disable")
        pairs = [
            (backend, threads)
            for backend in tt.available_backends()
            for threads in THREADS[: 1 if untimed or backend == "numba" else None]
        ]
        metafunc.parametrize(("backend", "threads"), pairs, ids=[f"{b}-{t}" for b, t in pairs])


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around the summary, which raises it
def pytest_sessionfinish():
    """End with what has become slower, not with the traceback that comes below it otherwise."""
    try:
        return (yield)
    except PerformanceRegression as regression:
        pytest.exit(str(regression), returncode=pytest.ExitCode.TESTS_FAILED)


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    tt.set_num_threads(THREADS[-1])


@pytest.fixture
def speed_of(benchmark) -> Callable[..., None]:
    """Note the speed of calls whose time the benchmark is: speed_of(calls, threads, times=1)."""

    def note(calls, threads: int, times: int = 1) -> None:
        info = benchmark.extra_info
        info["flops"] = times * sum(map(listing.flops, calls))
        info["bytes"] = times * sum(map(listing.bytes_moved, calls))
        if benchmark.disabled:
            return
        median = benchmark.stats.stats.median
        info["flops_per_second"] = info["flops"] / median
        info["bytes_per_second"] = info["bytes"] / median
        least = bound(calls, threads)
        info["share_of_limit"] = None if least is None else times * least / median

    return note
