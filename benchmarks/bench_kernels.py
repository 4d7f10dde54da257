"""Single kernels: the calls of the lessons' steps, and each kernel at one size."""

import pytest
from cases import at_size

import tinytensor as tt
from tinytensor.bench import cases
from tinytensor.bench.step_times import LESSONS

EVERY = at_size(100, 200)


@pytest.mark.parametrize("case", cases.course_cases(LESSONS), ids=lambda c: f"{c.kernel} {c.name}")
@pytest.mark.benchmark(max_time=0.2)
def test_course_kernel(benchmark, speed_of, case, backend, threads):
    time_it(benchmark, speed_of, case, backend, threads)


@pytest.mark.parametrize("row", EVERY, ids=str)
@pytest.mark.benchmark(max_time=0.2)
def test_kernel(benchmark, speed_of, row, backend, threads):
    if threads > 1:
        pytest.skip("too little work to share")
    arrays = tuple((array.shape, str(array.dtype)) for array in row.make("float32"))
    case = cases.Case(row.name, arrays, row.numbers)
    time_it(benchmark, speed_of, case, backend, threads)


def time_it(benchmark, speed_of, case: cases.Case, backend: str, threads: int) -> None:
    tt.set_num_threads(threads)
    timed = cases.own_call(backend, case)
    assert cases.differs_from_numpy(case, timed) == ""  # also compiles the kernel
    benchmark.group = f"{case.kernel} {case.name}, {threads} thread(s)"
    benchmark.extra_info["on_numpy"] = timed.on_numpy
    benchmark(timed.run)
    speed_of([case.call], threads)
