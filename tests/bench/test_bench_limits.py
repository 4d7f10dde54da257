"""Call costs and limits of the machine in a report."""

import functools

import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import door, machine
from tinytensor.bench import bounds, call_costs, cases, report
from tinytensor.errors import BackendUnavailable

ALWAYS = ["python", "ufunc", "op", "op_with_gradient", "replay", "replay_call"]


def test_call_costs(backend):
    costs = call_costs.call_costs(seconds=0.001)
    available = [name for name in ("cffi", "numba") if name.replace("cffi", "c") in BACKENDS]
    assert sorted(costs) == sorted([*ALWAYS, *available])
    assert all(0 <= seconds < 1 for seconds in costs.values())
    assert tt.current_backend().name == backend


def test_call_costs_of_missing_backends_are_omitted(monkeypatch):
    numpy = door.load_backend("numpy")
    missing = BackendUnavailable("not here")
    states = {"c": missing, "numba": missing, "numpy": numpy}
    monkeypatch.setattr(door, "backend_states", lambda: states)
    with tt.backend("numpy"):
        assert sorted(call_costs.call_costs(seconds=0.001)) == sorted(ALWAYS)


def test_compile_time_does_not_count_for_the_number_of_calls():
    """The first call takes long, because it compiles; the count depends on later calls."""
    calls = []

    class Timer:
        def timeit(self, count):
            calls.append(count)
            return 8.0 if len(calls) == 1 else 1e-3 * count

    assert call_costs._count(Timer(), seconds=0.064) == 64
    assert calls == [1, 1, 2, 4, 8, 16]


@pytest.mark.skipif("c" not in BACKENDS, reason="the C backend is not compiled here")
def test_measure_again_keeps_the_higher_limits(monkeypatch):
    """The machine's limits and the bounds are updated; a limit that is not higher is unchanged."""
    speeds = {"peak": 1e9, "read": 1e9, "copy": 1e9, "add": 1e9}
    monkeypatch.setattr(machine, "roofline", functools.cache(machine.Roofline))
    monkeypatch.setattr(bounds, "roofline", machine.roofline)
    monkeypatch.setattr(machine, "peak_flops", lambda threads, seconds: speeds["peak"])
    monkeypatch.setattr(machine, "memory_bandwidth", lambda size, n, kind, *_: speeds[kind])
    product = cases.Case("matmul", (((100, 100), "float32"),) * 3, (False, False))
    update = cases.Case("relu", (((100, 100), "float32"),) * 2)
    spread = report.Spread.of([1.0])
    result = report.Report(
        machine={"threads": {"1": machine.limits(1)}},
        kernels=[
            report.KernelResult(
                case.kernel, case.name, "c", "c", 1, spread, None, 1, 1,
                bounds.bound([case.call], 1), False,
            )
            for case in (product, update)
        ],
        steps=[
            report.StepResult(
                "1.0", "c eager", "c", "eager", 1, spread, None, 1.0, bounds.step_bound("1.0", 1)
            )
        ],
    )  # fmt: skip
    before = [timed.bound for timed in (*result.kernels, *result.steps)]
    assert before[:2] == pytest.approx([2 * 100**3 / 1e9, 8 * 100**2 / 1e9])

    speeds |= {"peak": 4e9, "copy": 0.5e9}
    bounds.measure_again(result, [product, update])
    limit = result.machine["threads"]["1"]
    assert limit["peak_flops"] == 4e9
    assert all(speed["copy"] == 1e9 for speed in limit["bandwidth"].values())
    after = [timed.bound for timed in (*result.kernels, *result.steps)]
    assert after[:2] == pytest.approx([before[0] / 4, before[1]])
    assert after[2] < before[2]
