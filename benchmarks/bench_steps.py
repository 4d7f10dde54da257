"""The lessons' training steps: eager, captured, and many captured steps in one call."""

import functools

import numpy as np
import pytest

import tinytensor as tt
from tinytensor.bench import own_steps
from tinytensor.bench.cases import step_calls
from tinytensor.bench.step_times import LESSONS, TOLERANCE, TOLERANCE_LATER
from tinytensor.bench.task import Task

COMPARED = 2  # number of first steps whose losses are compared with NumPy's
STEPS_PER_CALL = 20  # of `run`


@pytest.mark.parametrize("mode", own_steps.MODES)
@pytest.mark.parametrize("lesson", LESSONS)
@pytest.mark.benchmark(max_time=0.5)
def test_step(benchmark, speed_of, lesson, mode, backend, threads):
    tt.set_num_threads(threads)
    steps = STEPS_PER_CALL if mode == "run" and not benchmark.disabled else 1
    with tt.backend(backend):
        losses = own_steps.MODES[mode](Task.of(lesson, keep_prob=1.0))(range(COMPARED))
        later = TOLERANCE_LATER.get(lesson, TOLERANCE)
        np.testing.assert_allclose(losses, losses_on_numpy(lesson), rtol=later)
        run = own_steps.MODES[mode](Task.of(lesson))
        run(range(2))  # records and compiles
        benchmark.group = f"lesson {lesson}, {mode}, {threads} thread(s)"
        benchmark.extra_info["steps"] = steps
        benchmark(run, range(2, 2 + steps))
    speed_of(step_calls(lesson), threads, times=steps)


@functools.cache
def losses_on_numpy(lesson: str) -> np.ndarray:
    with tt.backend("numpy"):
        return own_steps.captured(Task.of(lesson, keep_prob=1.0))(range(COMPARED))
