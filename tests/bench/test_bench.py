"""Benchmarks: comparison of results, timing in turns, reports, and the command.

The only test that compares times compares a kernel with one that does twenty times the work.
"""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import door
from tinytensor.bench import (
    cases,
    kernel_times,
    noise,
    plan,
    report,
    step_times,
    tables,
    training_times,
)
from tinytensor.bench.contest import (
    Here,
    OutOfTime,
    Process,
    Timing,
    Unfair,
    processes,
    take_turns,
)
from tinytensor.bench.task import Unsupported
from tinytensor.bench.worker import PEERS, Peer
from tinytensor.capture import listing
from tinytensor.cli import bench_command
from tinytensor.cli.output import rendered
from tinytensor.lessons import find
from tinytensor_command import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOFTMAX = cases.Case("softmax", (((64, 10), "float32"), ((64, 10), "float32")))


# Statistics -------------------------------------------------------------------------------------


def test_spread():
    spread = report.Spread.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert spread == report.Spread(best=1.0, median=3.0, low=2.0, high=4.0)
    assert spread.width == pytest.approx(2 / 3)
    assert report.Spread.of([7.0]) == report.Spread(7.0, 7.0, 7.0, 7.0)


def test_ratio_is_stable_if_the_machine_drifts():
    drift = [1.0, 2.0, 4.0, 8.0, 1.0]
    assert report.ratio(drift, [3 * one for one in drift]) == pytest.approx(3.0)
    assert report.ratio([1.0, 1.0, 1.0], [2.0, 50.0, 2.0]) == 2.0  # one disturbed round


def test_judge_quiet_and_noisy():
    steady = [{"work": seconds} for seconds in (1.0, 1.01, 0.99, 1.0, 1.02)]
    assert noise.judge(steady, others=0.1, elapsed=10.0) == report.Noise(False, "")
    assert noise.judge(steady, others=None, elapsed=10.0) == report.Noise(False, "")
    varied = noise.judge(
        [*steady, *({"work of two": seconds} for seconds in (1.0, 1.3, 1.0, 1.4, 1.2))],
        others=0.1, elapsed=10.0, repeated=3,
    )  # fmt: skip
    assert varied.noisy
    assert varied.why == (
        "to check the machine, a work of two was timed many times, and its time varied by 25 %; "
        "3 disturbed rounds were measured again"
    )
    loaded = noise.judge(steady, others=7.0, elapsed=10.0)
    assert loaded == report.Noise(True, "other programs used 0.7 cores")


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="there is no /proc/stat")
def test_cpu_time_of_other_programs_is_counted():
    code = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    as_other, as_ours = noise.NoiseMonitor(), noise.NoiseMonitor()
    with process, as_other.during([]), as_ours.during([process.pid]):
        process.stdout.readline()
    assert as_other.elapsed > 0
    assert as_other.others - as_ours.others > 0.4  # CPU seconds


# Turns ------------------------------------------------------------------------------------------


def answers(name: str, log: list[str], compiled: int = 0):
    def turn() -> dict:
        log.append(name)
        return {"seconds": float(len(log)), "compiled": compiled}

    return turn


def test_contestants_take_turns_and_the_first_round_is_not_counted(monkeypatch):
    log: list[str] = []
    monitor = noise.NoiseMonitor()
    monkeypatch.setattr(monitor, "is_quiet", lambda probes: True)
    times = take_turns({"a": answers("a", log), "b": answers("b", log)}, Timing(2, 0, monitor))
    assert log == ["b", "a", "a", "b", "b", "a"]
    assert times == {"a": [3.0, 6.0], "b": [4.0, 5.0]}
    assert len(monitor.probes) == 4


def test_disturbed_rounds_are_repeated_up_to_a_limit(monkeypatch):
    log: list[str] = []
    monitor = noise.NoiseMonitor()
    disturbed = iter([False, True, False, True, True])  # rounds 1 to 5
    monkeypatch.setattr(monitor, "is_quiet", lambda probes: not next(disturbed))
    times = take_turns({"a": answers("a", log)}, Timing(3, 0, monitor))
    assert times == {"a": [2.0, 4.0, 7.0]}
    assert monitor.repeated == 3
    assert len(monitor.probes) == 3


def test_minimum_of_rounds_after_the_time_limit():
    times = take_turns({"a": answers("a", [])}, Timing(100, 0, until=0.0))
    assert times == {"a": [2.0, 3.0, 4.0]}


@pytest.mark.skipif("c" not in BACKENDS, reason="the shared work needs the C backend")
def test_probe_of_work_shared_by_threads():
    before = door.load_backend("c").num_threads
    monitor = noise.NoiseMonitor()
    assert list(monitor.probe()) == ["short computation"]
    monitor.use_threads(2)
    probe = monitor.probe()
    assert list(probe) == ["short computation", "short computation on 2 threads"]
    assert door.load_backend("c").num_threads == before
    assert monitor.is_quiet([dict.fromkeys(probe, 0.0)])
    name = "short computation on 2 threads"
    assert not monitor.is_quiet([{name: 2 * probe[name]}])


def test_compiling_while_timed_raises():
    with pytest.raises(Unfair, match="b was still compiling while it was timed"):
        take_turns({"b": answers("b", [], compiled=1)}, Timing(1, 0))


@pytest.mark.parametrize("name", BACKENDS)
def test_timed_steps_do_not_compile_or_record(name):
    worker = Here(name)
    for mode in step_times.MODES:
        worker.request("prepare", lesson="1.0", mode=mode, keep_prob=None)
        first = worker.request("train", mode=mode, steps=2)
        assert first["compiled"] >= (mode != "eager")  # recorded, and Numba's kernels
        assert worker.request("train", mode=mode, steps=3, warm=1)["compiled"] == 0


def test_recording_in_the_warm_up_is_not_counted(monkeypatch):
    worker = Here("numpy")
    worker.request("prepare", lesson="1.0", mode="captured", keep_prob=None)
    assert worker.request("train", mode="captured", steps=1, warm=1)["compiled"] == 0


def test_timed_steps_do_not_read_the_data_set(monkeypatch):
    worker = Here("numpy")
    worker.request("prepare", lesson="1.0", mode="captured", keep_prob=None)

    def read(*_: object) -> None:
        raise AssertionError("the data set is read while steps are timed")

    monkeypatch.setattr("tinytensor.bench.task._data", read)
    assert len(worker.request("train", mode="captured", steps=2)["losses"]) == 2


def test_timed_kernel_calls_reuse_their_arrays(monkeypatch):
    worker = Here("numpy")
    given = []
    kernel = door.load_backend("numpy").kernels["softmax"]
    spy = lambda *arrays: given.append([id(array) for array in arrays]) or kernel(*arrays)  # noqa: E731
    monkeypatch.setitem(door.load_backend("numpy").kernels, "softmax", spy)
    worker.request("prepare_kernel", case=SOFTMAX.to_json())
    given.clear()
    worker.request("call", times=5, warm=2)
    assert len(given) == 7
    assert all(arrays == given[0] for arrays in given)


# Fairness ---------------------------------------------------------------------------------------


@pytest.mark.skipif("c" not in BACKENDS, reason="the test replaces a kernel of the C backend")
def test_slow_kernel_is_measured_as_slow(monkeypatch):
    backend = door.load_backend("c").kernels

    def slow(*arguments: object) -> None:
        for _ in range(20):
            door.load_backend("numpy").kernels["softmax"](*arguments)

    monkeypatch.setitem(backend, "softmax", slow)
    results = kernel_times.measure([Here("c"), Here("numpy")], SOFTMAX, 1, Timing(5, 0.002))
    c, numpy = results
    assert (c.contestant, numpy.contestant) == ("c", "numpy")
    assert c.to_numpy is not None
    assert c.to_numpy < 1 / 2  # 1 / 20 on an idle machine
    assert c.seconds.median > 2 * numpy.seconds.median
    shown = rendered(*tables.kernels_tables(results, 1))
    (row,) = [line for line in shown.splitlines() if line.startswith(" softmax")]
    assert row.index(tables.WINNER) > len(row) / 2  # in NumPy's column


def test_larger_steps_have_the_losses_of_the_other_libraries():
    """The benchmark compares the first three losses, with PyTorch's if it is installed."""
    names = ["batch-1000", "block"]
    command = [sys.executable, "benchmarks/larger_steps.py", *names, "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in names:
        assert re.search(
            rf"^{name} +tinytensor +[\d.]+ ms, .*ratio 1\.00$", done.stdout, re.MULTILINE
        )


@pytest.mark.full
def test_slower_benchmarks_are_listed_last(tmp_path):
    """The saved times of the earlier run are divided by 1000."""

    def benchmark(*arguments: str) -> subprocess.CompletedProcess:
        case = "benchmarks/bench_kernels.py::test_course_kernel[sgd 10-numpy-1]"
        storage = f"--benchmark-storage=file://{tmp_path}"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", case, storage]
        # pytest-benchmark measures nothing in a process of pytest-xdist.
        env = {name: x for name, x in os.environ.items() if not name.startswith("PYTEST_")}
        return subprocess.run(
            [*command, *arguments], cwd=ROOT, env=env, capture_output=True, text=True
        )

    assert benchmark("--benchmark-save=old").returncode == 0
    (file,) = tmp_path.glob("*/*_old.json")
    saved = json.loads(file.read_text(encoding="utf-8"))
    saved["benchmarks"][0]["stats"]["median"] /= 1000
    file.write_text(json.dumps(saved), encoding="utf-8")
    done = benchmark("--benchmark-compare", "--benchmark-compare-fail=median:10%")
    assert done.returncode == 1
    found = done.stderr.rpartition("Performance has regressed:")[2]
    assert "test_course_kernel[sgd 10-numpy-1] (0001_old) - Field 'median' has failed" in found
    assert "Traceback" not in done.stdout + done.stderr


def test_wrong_kernel_raises(monkeypatch):
    def wrong(x, out):
        out[...] = 0.1

    results = door.load_backend(BACKENDS[0]).kernels
    monkeypatch.setitem(results, "softmax", wrong)
    if BACKENDS[0] == "numpy":
        pytest.skip("NumPy is the only backend")
    with pytest.raises(Unfair, match=r"softmax 64x10 on \w+: the result has a relative error of"):
        kernel_times.measure([Here(BACKENDS[0])], SOFTMAX, 1, Timing(1, 0.001))


class FakeContestant:
    """A contestant that returns the given losses."""

    threads = 1

    def __init__(self, name: str, losses: list[float]) -> None:
        self.name, self.losses = name, losses

    def request(self, method: str, **arguments: object) -> dict:
        if not self.losses:
            raise Unsupported("not supported")
        return {"losses": self.losses}


def test_different_losses_raise():
    def entries(*others: FakeContestant) -> list[step_times.Entry]:
        contestants = [FakeContestant("c", [2.3, 2.0, 2.0, 2.0, 2.0]), *others]
        return [step_times.Entry(contestant, None) for contestant in contestants]

    same = FakeContestant("same", [2.3, 2.001, 2.0, 2.0, 2.0])
    other = FakeContestant("other", [2.3, 2.01, 2.0, 2.0, 2.0])
    assert step_times.compare_losses(entries(same, FakeContestant("absent", [])), "1.0") == {
        "absent": "not supported"
    }
    with pytest.raises(Unfair, match=r"lesson 1\.0: the first losses of other are \[2\.3, 2\.01"):
        step_times.compare_losses(entries(same, other), "1.0")


def test_wrong_number_of_threads_raises(monkeypatch):
    monkeypatch.setattr(
        "tinytensor.bench.worker.Worker.set_threads",
        lambda self, threads: {"threads": threads + 1},
    )
    with pytest.raises(Unfair, match="numpy has 2 threads; 1 are needed"):
        Here("numpy", 1)


def test_process_answers_and_ends():
    monitor = noise.NoiseMonitor()
    with processes(["numpy"], 1, monitor) as (numpy,):
        assert numpy.threads == 1
        numpy.request("prepare", lesson="1.0", mode="eager", keep_prob=None)
        assert numpy.request("train", mode="eager", steps=1)["losses"][0] == pytest.approx(
            2.3026, 1e-4
        )
    assert numpy._process.returncode == 0


def test_request_to_an_ended_process_raises():
    numpy = Process("numpy", 1)
    numpy.kill()
    with pytest.raises(Unfair, match="the process of numpy has ended"):
        numpy.request("train", mode="eager", steps=1)


def test_peer_that_is_not_installed_is_an_error(monkeypatch, capsys):
    monkeypatch.setitem(PEERS, "torch", Peer("no_such_module", "torch_steps.eager"))
    assert fails("bench", "steps", "--peers", "torch", capsys=capsys) == (
        "tinytensor: --peers torch: no_such_module isn't installed; "
        "run: pip install 'tinytensor-engine[peers]'"
    )
    partial = report.Report()
    assert "torch" not in bench_command._peers(("all",), partial)
    assert "no_such_module isn't installed" in partial.skipped[0].why


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name in PEERS if PEERS[name].is_installed])
def test_peer_trains_the_same_network(name):
    if name == "torch.compile":
        pytest.skip("torch.compile takes too long")
    monitor = noise.NoiseMonitor()
    with processes(["numpy", name], 1, monitor) as contestants:
        assert (
            step_times.compare_losses(step_times.entries_of(contestants, ["captured"]), "2.1") == {}
        )


# Cases ------------------------------------------------------------------------------------------


def test_course_cases_have_different_names():
    course = cases.course_cases(step_times.LESSONS)
    assert len(course) > 150
    assert len({(case.kernel, case.name) for case in course}) == len(course)
    names = {f"{case.kernel} {case.name}" for case in course}
    assert {"matmul 100x784x10", "matmul 784x100x10 xT", "adam 784x200"} <= names
    assert all(cases.Case.from_json(json.loads(json.dumps(c.to_json()))) == c for c in course)
    chosen = cases.selection(course)
    assert {case.kernel for case in chosen} == {case.kernel for case in course}
    assert len(chosen) < 40


def test_work_of_a_case():
    case = cases.Case("matmul", (((3, 4), "float32"), ((4, 5), "float32"), ((3, 5), "float32")),
                      (False, False))  # fmt: skip
    assert listing.flops(case.call) == 2 * 3 * 4 * 5
    assert listing.bytes_moved(case.call) == 4 * (12 + 20 + 15)


@pytest.mark.parametrize("lesson", ["1.0", "2.2", "4.1"])
def test_backends_agree_with_numpy_on_the_cases(lesson, backend):
    for case in cases.course_cases([lesson]):
        assert cases.differs_from_numpy(case, cases.own_call(backend, case)) == "", case


def test_own_call_reports_kernels_on_numpy():
    case = cases.Case("cast", (((3,), "float32"), ((3,), "float64")))
    for name in BACKENDS:
        lacks = "cast" in door.load_backend(name).on_numpy
        assert cases.own_call(name, case).on_numpy == lacks


# The report -------------------------------------------------------------------------------------


def made_up() -> report.Report:
    """A report with made-up results."""
    spread = report.Spread(0.9e-3, 1e-3, 0.98e-3, 1.02e-3)
    half = report.Spread(1.9e-3, 2e-3, 1.98e-3, 2.02e-3)
    speeds = {"read": 3e11, "copy": 2e11, "add": 1e11}
    kernel = report.KernelResult(
        "matmul", "100x784x10", "c", "c", 2, spread, 2.0, 1_568_000, 348_960, 1e-5, False
    )
    step = report.StepResult("1.0", "c captured", "c", "captured", 2, spread, 2.0, 1e5, 2.5e-4)
    return report.Report(
        machine={"threads": {"2": {"peak_flops": 5e11, "bandwidth": {"16384": speeds}}}},
        kernels=[kernel, replace(kernel, contestant="numpy", backend="numpy", seconds=half,
                                 to_numpy=1.0, on_numpy=False)],
        steps=[
            step,
            replace(step, contestant="c run", mode="run"),
            replace(step, contestant="numpy captured", backend="numpy", seconds=half),
            replace(step, contestant="torch", backend=None, mode=None, seconds=half),
        ],
        train=[report.TrainResult("1.0", "c", 2, dict.fromkeys(tables.PARTS, 1.5), 0.92, 2000)],
        skipped=[report.Skipped("numpy-by-hand", "3.0", "convolutions aren't written by hand")],
        cpu="A Processor", cores=2, date="2030-01-02T03:04:05+00:00",
        versions={"python": "3.11.7", "numpy": "2.4.6"},
    )  # fmt: skip


def test_json_format():
    result = json.loads(json.dumps(made_up().to_json()))
    assert {
        "format", "date", "cpu", "cores", "versions", "quick", "stopped", "noise", "machine",
        "kernels", "steps", "train", "scaling", "start", "skipped", "left_out",
    } == result.keys()  # fmt: skip
    assert result["format"] == 1
    assert result["noise"] == {"noisy": False, "why": ""}
    assert result["machine"]["threads"]["2"]["bandwidth"]["16384"]["copy"] == 2e11
    kernel, *_ = result["kernels"]
    assert (kernel["kernel"], kernel["case"]) == ("matmul", "100x784x10")
    assert kernel["seconds"] == {"best": 9e-4, "median": 1e-3, "low": 9.8e-4, "high": 1.02e-3}
    assert {"backend", "threads", "flops", "bytes", "bound", "on_numpy"} <= kernel.keys()
    assert result["steps"][3]["backend"] is None
    assert {"lesson", "contestant", "mode", "threads", "images_per_second"} <= result["steps"][
        0
    ].keys()
    assert result["train"][0]["seconds"].keys() == set(tables.PARTS)


def shown(results: report.Report, columns: int, monkeypatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    return rendered(*tables.tables(results)).splitlines()


@pytest.mark.parametrize("columns", [80, 100])
def test_tables(columns, monkeypatch):
    lines = shown(made_up(), columns, monkeypatch)
    assert max(map(len, lines)) <= columns
    text = "\n".join(lines)
    assert "…" not in text  # no cell is truncated
    assert re.search(r"1\.0 +captured +▸1\.00 ±2% +2\.0 +25% +2\.00 ±1% +12%", text)
    assert re.search(r"matmul +▸1,000 ±2% +2,000 ±1%\n   100x784x10 +2\.0  1% +0%\n", text)
    assert re.search(r"1\.0 +▸1\.00 +2\.00\n +c captured +2\.0x\n +±2% +±1%\n", text)
    assert "numpy-by-hand, 3.0: convolutions aren't written by hand" in text
    assert lines[-1] == "The machine was quiet."


def test_wide_tables_are_not_truncated(monkeypatch):
    """Three backends, all peers, long names, large numbers, and a large spread."""
    results = made_up()
    wide = report.Spread(100.0, 721.051, 200.0, 8000.0)
    step, kernel = (
        replace(result, seconds=wide, to_numpy=1234.0, bound=800.0)
        for result in (results.steps[0], results.kernels[0])
    )
    results.steps = [
        replace(step, contestant=f"{name} {mode}", backend=name, mode=mode)
        for name in ("c", "numba", "numpy")
        for mode in step_times.MODES
    ] + [replace(step, contestant=peer, backend=None, mode=None) for peer in PEERS]
    case = "100x28x28x24 100x14x14x48 5x5x24x48 /2"
    results.kernels = [
        replace(kernel, contestant=name, backend=name, kernel="conv2d_grad_weight", case=case)
        for name in ("c", "numba", "numpy")
    ]
    lines = shown(results, 80, monkeypatch)
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    each = len(results.steps) + 1  # tinytensor's best is also in the table of peers
    assert sum(word.removeprefix("▸") == "721,051" for word in words) == each
    assert sum(word.removeprefix("▸") == "721,051,000" for word in words) == len(results.kernels)
    assert words.count("±541%") == each + len(results.kernels)
    assert words.count("111%") == len(step_times.MODES) * 3 + len(results.kernels)
    assert {"tinytensor", "tinygrad", "compile", "by-hand", "conv2d_grad_weight"} <= set(words)


def test_tables_mark_kernels_on_numpy_and_noise(monkeypatch):
    results = made_up()
    results.kernels[0] = replace(results.kernels[0], on_numpy=True)
    results.noise = report.Noise(True, "other programs used 1.0 cores")
    text = "\n".join(shown(results, 100, monkeypatch))
    assert re.search(r"▸1,000 ±2%.*\n   100x784x10 +numpy\*  2\.0  1%", text)
    assert "NOISY: other programs used 1.0 cores." in text


def test_format_number():
    numbers = {
        0.0000012: "0.000001",
        0.0556: "0.0556",
        4.049: "4.05",
        99.96: "100",
        1234.5: "1,234",
    }
    assert {number: tables.format_number(number, 3) for number in numbers} == numbers


# The README's table


def test_readme_table_is_replaced():
    text = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter"
    new = tables.with_table(text, made_up())
    assert new.startswith(f"before\n{tables.BEGIN}\n\nMilliseconds for one training step")
    assert new.endswith(f"\n\n{tables.END}\nafter")
    assert (
        "| 2 threads | c | c run | numpy | torch |\n|---|---|---|---|---|\n"
        "| 1.0 | **1.00** | **1.00** | 2.00 | 2.00 |" in new
    )
    assert "A Processor, 2 cores, 2030-01-02; python 3.11.7, numpy 2.4.6." in new
    assert tables.with_table(new, made_up()) == new
    with pytest.raises(tt.errors.SettingError, match="--readme: x has no place for the table"):
        tables.check_markers("x", "no place")


def test_a_noisy_table_is_not_written(tmp_path, capsys, monkeypatch):
    def measure(_plan, some, _tell):
        some.steps = made_up().steps
        some.noise = report.Noise(True, "other programs used 1.0 cores")

    monkeypatch.setattr(plan, "measure", measure)
    readme = tmp_path / "README.md"
    readme.write_text(f"{tables.BEGIN}\nold\n{tables.END}\n")
    before = readme.read_text()
    line = fails("bench", "steps", "--readme", str(readme), capsys=capsys)
    assert "nothing was written" in line
    assert "other programs used 1.0 cores" in line
    assert "run the command again" in line
    assert readme.read_text() == before


def test_readme_table_has_the_format_of_the_command():
    found = tables.TABLE.search(README)
    assert found
    first, *blocks, last = found[0].strip().split("\n\n")
    assert first == tables.markdown(made_up()).split("\n\n")[0]
    for block in blocks:
        if not block.startswith("|"):
            assert block == tables.markdown(made_up()).split("\n\n")[-2]
            continue
        head, rule, *rows = block.split("\n")
        own = r"\| c( \| c dense)?( \| c run)? \| numba \| numpy"
        assert re.fullmatch(rf"\| \d+ threads? {own}( \| [\w.-]+)* \|", head)
        assert set(rule) == {"|", "-"}
        assert [row.split("|")[1].strip() for row in rows] == list(step_times.LESSONS)
        for row in rows:
            cells = [cell.strip() for cell in row.split("|")[2:-1]]
            assert len(cells) == head.count("|") - 2
            assert all(re.fullmatch(r"|(\*\*)?[\d.,]+(\*\*)?", cell) for cell in cells)
            assert sum("**" in cell for cell in cells) >= 1
    machine, noise_line = last.split("\n")
    assert re.fullmatch(r".+, \d+ cores, \d{4}-\d\d-\d\d; python [\d.]+, tinytensor .*\.", machine)
    assert noise_line == "The machine was quiet." or noise_line.startswith("NOISY: ")


# The command ------------------------------------------------------------------------------------


def fails(*arguments: str, capsys) -> str:
    """The line on standard error of a command that fails with exit status 2."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["--lessons", "9.9"], "Invalid value for '--lessons': there is none named '9.9'"),
        (["steps", "--lessons", "fast"], "--lessons: got fast"),
        (["--lessons", "1.0,,2.0"], "Invalid value for '--lessons': there is none named ''"),
        (["--lessons", "1.0,softmax"], "Invalid value for '--lessons': got '1.0,softmax'; give"),
        (["--backends", "cuda"], "Invalid value for '--backends': 'cuda' is not one of 'c', 'numb"),
        (["--backends", "c,c"], "Invalid value for '--backends': got 'c,c'; give each value once"),
        (["--threads", "999"], "--threads: got 999; an integer from 1 to "),
        (["--threads", "two"], "Invalid value for '--threads': got 'two'; an integer from 1"),
        (["--threads", "1,01"], "Invalid value for '--threads': got '1,01'; give each value once"),
        (["--peers", "keras"], "--peers: got 'keras'; choose from numpy-by-hand, torch, torch.com"),
        (["--peers", "all,jax"], "--peers: got 'all'; choose from numpy-by-hand, torch, torch.com"),
        (["--rounds", "0"], "Invalid value for '--rounds': got '0'; an integer from 1"),
        (["--json", "/no/such/folder/x"], "--json: there is no folder /no/such/folder"),
        (["--html", "/no/such/folder/x"], "--html: there is no folder /no/such/folder"),
        (["--json", "-", "--html", "-"], "--json: got -, as --html did; another file is needed"),
        (["--readme", "/no/such.md"], "--readme: there is no f"),
        (["train", "--readme", "README.md"], "--readme: tinytensor bench train has no table"),
        (["train", "--peers"], "--peers: whole runs are timed for tinytensor's backends only"),
    ],
)  # fmt: skip
def test_wrong_arguments_fail_before_measuring(arguments, wrong, capsys, monkeypatch):
    monkeypatch.setattr(plan, "measure", lambda *_: pytest.fail("measuring has started"))
    assert fails("bench", *arguments, capsys=capsys).startswith(f"tinytensor: {wrong}")


def test_backend_that_can_not_be_loaded_is_an_error(capsys, monkeypatch):
    def broken(name: str):
        raise tt.errors.BackendUnavailable(f"{name}: it is broken; repair it")

    monkeypatch.setattr(door, "load_backend", broken)
    line = fails("bench", "--backends", "numba", capsys=capsys)
    assert line == "tinytensor: numba: it is broken; repair it"


@pytest.mark.full
def test_quick_benchmark(capsys, tmp_path):
    file = tmp_path / "report.json"
    main(
        ["bench", "--quick", "--backends", ",".join(BACKENDS), "--lessons", "1.0", "--threads", "1",
         "--rounds", "1", "--json", str(file)]
    )  # fmt: skip
    result = json.loads(file.read_text(encoding="utf-8"))
    assert {step["contestant"] for step in result["steps"]} == {f"{b} captured" for b in BACKENDS}
    assert {kernel["kernel"] for kernel in result["kernels"]} >= {"matmul", "sum", "sgd"}
    assert ("threads" in result["machine"]) == ("c" in BACKENDS)
    printed = capsys.readouterr()
    assert "Training steps, 1 thread: milliseconds per step of 100 images, captured" in printed.out
    assert "steps of lesson 1.0 on 1 thread" in printed.err


def test_quick_benchmark_names_what_it_left_out(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "QUICK_SECONDS", 0.0)
    file = tmp_path / "report.json"
    arguments = ["bench", "--quick", "--backends", "numpy", "--lessons", "1.0", "--threads", "1"]
    main([*arguments, "--json", str(file)])
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["steps"] == result["kernels"] == []
    assert not result["stopped"]
    step, *kernels = result["left_out"]
    assert step == "steps of lesson 1.0 on 1 thread"
    assert "sgd 784x10 on 1 thread" in kernels
    words = " ".join(capsys.readouterr().out.split())
    assert f"Left out, to end within a minute: {step}, {kernels[0]}, " in words


def test_no_answer_is_waited_for_after_the_deadline():
    numpy = Process("numpy", 1)
    try:
        numpy.request("prepare", lesson="1.0", mode="eager", keep_prob=None)
        numpy.until = time.perf_counter() + 0.1
        with pytest.raises(OutOfTime):
            numpy.request("train", mode="eager", steps=10**6)
    finally:
        numpy.kill()


def test_parts_of_the_time_of_a_quick_benchmark(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    pace = plan.Pace(2, quick=True)
    half = plan.QUICK_SECONDS / 2
    assert pace.start_group(3) == 100 + half
    assert pace.next() == pytest.approx(100 + half / 3)
    now = 100 + half
    assert pace.next() == now
    assert pace.start_group(1) == pace.next() == 100 + plan.QUICK_SECONDS
    pace = plan.Pace(1, quick=False)
    assert pace.start_group(2) == pace.next() == math.inf


def test_whole_run():
    result = training_times.run("1.0", "numpy", 1, steps=20, seed=3)
    (*_, last) = tt.train.Training(find("1.0"), tt.datasets.mnist(), steps=20, seed=3)
    assert (result.steps, result.test_accuracy) == (20, last.test_accuracy)
    parts = [result.seconds[part] for part in tables.PARTS if part != "process"]
    assert 0 < sum(parts) <= result.seconds["process"]
    assert training_times.middle([result, replace(result, seconds={"process": 1e9})]) is result
    with pytest.raises(Unfair, match=r"lesson 1\.0 on numpy: tinytensor\.errors\.SettingError"):
        training_times.run("1.0", "numpy", 1, steps=-1)


@pytest.mark.parametrize(
    ("how", "code", "line"),
    [(KeyboardInterrupt(), 130, "stopped"), (Unfair("the process of c has ended"), 2, "the proc")],
)
def test_interrupted_benchmark_prints_its_results(how, code, line, tmp_path, capsys, monkeypatch):
    def ends_early(plan, result, show):
        result.steps += made_up().steps
        raise how

    monkeypatch.setattr(plan, "measure", ends_early)
    file = tmp_path / "report.json"
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--backends", "numpy", "--json", str(file)])
    assert ended.value.code == code
    printed = capsys.readouterr()
    assert "Training steps, 2 threads" in printed.out
    assert tables.STOPPED in " ".join(printed.out.split())
    assert printed.err.startswith(f"tinytensor: {line}")
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["stopped"]
    assert len(result["steps"]) == len(made_up().steps)


def test_empty_report_has_no_noise_line(monkeypatch):
    lines = shown(report.Report(stopped=True, cpu="A Processor", cores=2), 100, monkeypatch)
    assert lines == ["A Processor, 2 cores", tables.STOPPED]


def children(pid: int) -> list[Path]:
    """The folders in /proc of the children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # the process has just ended
            if stat.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(stat.parent)
    return found


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="there is no /proc/stat")
@pytest.mark.parametrize(("option", "begin"), [("--json", "{"), ("--html", "<!doctype html>")])
def test_ctrl_c_ends_all_processes_and_writes_the_results(option, begin, tmp_path):
    if option == "--html":
        pytest.importorskip("bokeh")
    file = tmp_path / f"results.{option[2:]}"
    names = ",".join(BACKENDS)
    process = subprocess.Popen(
        [sys.executable, "-m", "tinytensor", "bench", "steps", "--quick", "--threads", "1",
         "--rounds", "2", "--backends", names, option, str(file)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stderr is not None
    while "steps of lesson 2.1" not in process.stderr.readline():
        assert process.poll() is None
    workers = children(process.pid)
    assert len(workers) == len(BACKENDS)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("tinytensor: stopped\n")
    assert "Traceback" not in err
    assert not any(worker.exists() for worker in workers)
    rows = [line.split()[0] for line in out.splitlines() if re.match(r" \d\.\d ", line)]
    assert rows == ["1.0", "2.0"]
    assert tables.STOPPED in " ".join(out.split())
    text = file.read_text(encoding="utf-8")
    assert text.startswith(begin)
    if option == "--json":
        result = json.loads(text)
        assert {step["lesson"] for step in result["steps"]} == {"1.0", "2.0"}
    else:
        assert tables.STOPPED.split(":")[0] in text
