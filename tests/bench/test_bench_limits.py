"""What calls cost and what the machine can do: told for what is there, in sensible units."""

import functools

import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import kernels, machine, roofline
from tinytensor.bench import cases, limits, report, roof
from tinytensor.bench.limits import Cache, working_sets
from tinytensor.errors import BackendUnavailable

ALWAYS = ["python", "ufunc", "op", "op_with_gradient", "replay", "replay_call"]


def test_every_kind_of_call_has_a_cost(backend):
    costs = limits.call_costs(seconds=0.001)
    there = [name for name in ("cffi", "numba") if name.replace("cffi", "c") in BACKENDS]
    assert sorted(costs) == sorted([*ALWAYS, *there])
    assert all(0 <= seconds < 1 for seconds in costs.values())
    assert tt.current_backend().name == backend


def test_calls_of_backends_that_are_not_there_are_left_out(monkeypatch):
    numpy = kernels.load_backend("numpy")
    missing = BackendUnavailable("not here")
    states = {"c": missing, "numba": missing, "numpy": numpy}
    monkeypatch.setattr(kernels, "backend_states", lambda: states)
    with tt.backend("numpy"):
        assert sorted(limits.call_costs(seconds=0.001)) == sorted(ALWAYS)


def test_compiling_is_no_part_of_a_call():
    """A call that takes long the first time only is counted for as long as it takes later."""
    calls = []

    class Timer:
        def timeit(self, count):
            calls.append(count)
            return 8.0 if len(calls) == 1 else 1e-3 * count

    assert limits._count(Timer(), seconds=0.064) == 64
    assert calls == [1, 1, 2, 4, 8, 16]


def write_cache(folder, **told):
    folder.mkdir()
    for name, text in told.items():
        (folder / name).write_text(text + "\n")


def test_caches_are_read_as_linux_tells_them(tmp_path):
    write_cache(tmp_path / "index0", level="2", type="Unified", size="1M", shared_cpu_list="0,4")
    write_cache(tmp_path / "index1", level="1", type="Data", size="48K", shared_cpu_list="0")
    write_cache(tmp_path / "index2", level="1", type="Instruction", size="32K", shared_cpu_list="0")
    write_cache(
        tmp_path / "index3", level="3", type="Unified", size="32768K", shared_cpu_list="0-7"
    )
    wanted = [Cache("L1", 48 << 10, 1), Cache("L2", 1 << 20, 2), Cache("L3", 32 << 20, 8)]
    assert limits.caches(tmp_path) == wanted
    assert limits.caches(tmp_path / "nowhere") == []
    (tmp_path / "index1" / "size").write_text("large")
    assert limits.caches(tmp_path) == []


def test_threads_have_their_own_caches_together_and_share_the_others():
    levels = [Cache("L1", 32, 1), Cache("L2", 512, 2), Cache("L3", 8192, 8)]
    assert working_sets(1, levels) == {16: "L1", 256: "L2", 4096: "L3", 32768: "memory"}
    assert working_sets(4, levels) == {64: "L1", 512: "L2", 4096: "L3", 32768: "memory"}
    unknown = working_sets(2, [])
    assert list(unknown) == sorted(unknown)
    assert unknown[16 << 10] == ""


@pytest.mark.skipif("c" not in BACKENDS, reason="the C backend isn't compiled here")
def test_the_bandwidth_of_each_level(monkeypatch):
    monkeypatch.setattr(limits, "caches", lambda: [Cache("L1", 32 << 10, 1)])
    for threads in (1, 2):
        own, memory = (str(threads * size) for size in (16 << 10, 128 << 10))
        found = limits.bandwidth(threads, seconds=0.001)
        levels = {size: speed["level"] for size, speed in found.items()}
        assert levels == {own: "L1", memory: "memory"}
        assert all(found[own][traffic] > 0 for traffic in ("read", "copy", "add"))


@pytest.mark.parametrize(("text", "cores"), [("0", 1), ("0-3", 4), ("0-3,8,10-11", 7)])
def test_lists_of_cores(text, cores):
    assert limits._count_cores(text) == cores


@pytest.mark.skipif("c" not in BACKENDS, reason="the C backend isn't compiled here")
def test_a_limit_that_came_out_too_low_is_mended_at_the_end(monkeypatch):
    """Both what is told of the machine and each bound; one that was right stays as it is."""
    speeds = {"peak": 1e9, "read": 1e9, "copy": 1e9, "add": 1e9}
    monkeypatch.setattr(roof, "roofline", functools.cache(roofline.Roofline))
    monkeypatch.setattr(machine, "peak_flops", lambda threads, seconds: speeds["peak"])
    monkeypatch.setattr(machine, "memory_bandwidth", lambda size, n, kind, *_: speeds[kind])
    product = cases.Case("matmul", (((100, 100), "float32"),) * 3, (False, False))
    update = cases.Case("relu", (((100, 100), "float32"),) * 2)
    spread = report.Spread.of([1.0])
    told = report.Report(
        machine={"threads": {"1": roof.limits(1)}},
        kernels=[
            report.KernelResult(
                case.kernel, case.name, "c", "c", 1, spread, None, 1, 1,
                roof.bound([case.call], 1), False,
            )
            for case in (product, update)
        ],
        steps=[
            report.StepResult(
                "1.0", "c eager", "c", "eager", 1, spread, None, 1.0, roof.step_bound("1.0", 1)
            )
        ],
    )  # fmt: skip
    before = [result.bound for result in (*told.kernels, *told.steps)]
    assert before[:2] == pytest.approx([2 * 100**3 / 1e9, 8 * 100**2 / 1e9])

    speeds |= {"peak": 4e9, "copy": 0.5e9}
    roof.measure_again(told, [product, update])
    limit = told.machine["threads"]["1"]
    assert limit["peak_flops"] == 4e9
    assert all(speed["copy"] == 1e9 for speed in limit["bandwidth"].values())
    after = [result.bound for result in (*told.kernels, *told.steps)]
    assert after[:2] == pytest.approx([before[0] / 4, before[1]])
    assert after[2] < before[2]
