"""Benchmarks that one can trust: what is compared, what is timed, what is told. No time is asserted
but one against another that does twenty times the work.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import cli, door
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
from tinytensor.bench.contest import Care, Here, Process, Unfair, processes, take_turns
from tinytensor.bench.task import NotHere, Task
from tinytensor.bench.worker import PEERS, Peer
from tinytensor.capture import listing

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOFTMAX = cases.Case("softmax", (((64, 10), "float32"), ((64, 10), "float32")))


# Numbers ----------------------------------------------------------------------------------------


def test_the_spread_of_some_times():
    spread = report.Spread.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert spread == report.Spread(best=1.0, median=3.0, low=2.0, high=4.0)
    assert spread.width == pytest.approx(2 / 3)
    assert report.Spread.of([7.0]) == report.Spread(7.0, 7.0, 7.0, 7.0)


def test_a_ratio_is_of_neighbours_and_stays_where_the_machine_drifts():
    drift = [1.0, 2.0, 4.0, 8.0, 1.0]
    assert report.ratio(drift, [3 * one for one in drift]) == pytest.approx(3.0)
    assert report.ratio([1.0, 1.0, 1.0], [2.0, 50.0, 2.0]) == 2.0  # one disturbed round


def test_a_quiet_machine_and_a_noisy_one():
    steady = [{"work": seconds} for seconds in (1.0, 1.01, 0.99, 1.0, 1.02)]
    assert noise.judge(steady, others=0.1, elapsed=10.0) == report.Noise(False, "")
    assert noise.judge(steady, others=None, elapsed=10.0) == report.Noise(False, "")
    shaken = noise.judge(
        [*steady, *({"work of two": seconds} for seconds in (1.0, 1.3, 1.0, 1.4, 1.2))],
        others=0.1, elapsed=10.0, repeated=3,
    )  # fmt: skip
    assert shaken.noisy
    assert shaken.why == (
        "the same work of two took 25% longer at some times than at others; "
        "3 rounds that were disturbed have been made again"
    )
    loaded = noise.judge(steady, others=7.0, elapsed=10.0)
    assert loaded == report.Noise(True, "other programs used 0.7 cores meanwhile")


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="nobody counts what others compute")
def test_what_others_compute_is_seen_and_what_contestants_do_is_not():
    code = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    as_other, as_ours = noise.Watch(), noise.Watch()
    with process, as_other.during([]), as_ours.during([process.pid]):
        process.stdout.readline()
    assert as_other.elapsed > 0
    assert as_other.others - as_ours.others > 0.4  # seconds of the processor, not of a clock


# Turns ------------------------------------------------------------------------------------------


def answers(name: str, log: list[str], made: int = 0):
    def turn() -> dict:
        log.append(name)
        return {"seconds": float(len(log)), "made": made}

    return turn


def test_all_take_turns_and_the_first_round_is_not_counted(monkeypatch):
    log: list[str] = []
    watch = noise.Watch()
    monkeypatch.setattr(watch, "were_calm", lambda looks: True)
    times = take_turns({"a": answers("a", log), "b": answers("b", log)}, Care(2, 0, watch))
    assert log == ["b", "a", "a", "b", "b", "a"]
    assert times == {"a": [3.0, 6.0], "b": [4.0, 5.0]}
    assert len(watch.looks) == 4


def test_a_disturbed_round_is_made_again_but_not_for_ever(monkeypatch):
    log: list[str] = []
    watch = noise.Watch()
    disturbed = iter([False, True, False, True, True])  # rounds 1 to 5
    monkeypatch.setattr(watch, "were_calm", lambda looks: not next(disturbed))
    times = take_turns({"a": answers("a", log)}, Care(3, 0, watch))
    assert times == {"a": [2.0, 4.0, 7.0]}
    assert watch.repeated == 3
    assert len(watch.looks) == 3


def test_when_time_is_over_there_are_a_few_rounds_yet():
    times = take_turns({"a": answers("a", [])}, Care(100, 0, until=0.0))
    assert times == {"a": [2.0, 3.0, 4.0]}


@pytest.mark.skipif("c" not in BACKENDS, reason="the shared work is done by C")
def test_work_that_threads_share_is_looked_at_too():
    before = door.load_backend("c").num_threads
    watch = noise.Watch()
    assert list(watch.look()) == ["short work"]
    watch.compute_on(2)
    look = watch.look()
    assert list(look) == ["short work", "short work on 2 threads"]
    assert door.load_backend("c").num_threads == before
    assert watch.were_calm([dict.fromkeys(look, 0.0)])
    assert not watch.were_calm([{"short work on 2 threads": 2 * look["short work on 2 threads"]}])


def test_who_compiles_while_timed_is_found_out():
    with pytest.raises(Unfair, match="b was still compiling while it was timed"):
        take_turns({"b": answers("b", [], made=1)}, Care(1, 0))


@pytest.mark.parametrize("name", BACKENDS)
def test_timed_steps_compile_record_and_load_nothing(name):
    worker = Here(name)
    for mode in step_times.MODES:
        worker.ask("prepare", lesson="1.0", mode=mode, keep_prob=None)
        first = worker.ask("train", mode=mode, steps=2)
        assert first["made"] >= (mode != "eager")  # recorded, and on numba compiled or loaded
        assert worker.ask("train", mode=mode, steps=3, warm=1)["made"] == 0


def test_a_warm_up_that_records_is_not_in_the_counted_steps(monkeypatch):
    worker = Here("numpy")
    worker.ask("prepare", lesson="1.0", mode="captured", keep_prob=None)
    assert worker.ask("train", mode="captured", steps=1, warm=1)["made"] == 0


def test_timed_steps_read_no_data(monkeypatch):
    worker = Here("numpy")
    worker.ask("prepare", lesson="1.0", mode="captured", keep_prob=None)

    def read(*_: object) -> None:
        raise AssertionError("the data set is read while steps are timed")

    monkeypatch.setattr("tinytensor.bench.task._data", read)
    assert len(worker.ask("train", mode="captured", steps=2)["losses"]) == 2


def test_timed_calls_of_kernels_make_no_arrays(monkeypatch):
    worker = Here("numpy")
    given = []
    kernel = door.load_backend("numpy").kernels["softmax"]
    noted = lambda *arrays: given.append([id(array) for array in arrays]) or kernel(*arrays)  # noqa: E731
    monkeypatch.setitem(door.load_backend("numpy").kernels, "softmax", noted)
    worker.ask("prepare_kernel", case=SOFTMAX.to_json())
    given.clear()
    worker.ask("call", times=5, warm=2)
    assert len(given) == 7
    assert all(arrays == given[0] for arrays in given)


# Fair -------------------------------------------------------------------------------------------


@pytest.mark.skipif("c" not in BACKENDS, reason="the slow kernel is planted in C's backend")
def test_a_planted_slow_kernel_is_seen(monkeypatch):
    backend = door.load_backend("c").kernels

    def slow(*arguments: object) -> None:
        for _ in range(20):
            door.load_backend("numpy").kernels["softmax"](*arguments)

    monkeypatch.setitem(backend, "softmax", slow)
    results = kernel_times.measure([Here("c"), Here("numpy")], SOFTMAX, 1, Care(5, 0.002))
    c, numpy = results
    assert (c.contestant, numpy.contestant) == ("c", "numpy")
    assert c.to_numpy is not None
    assert c.to_numpy < 1 / 5
    assert c.seconds.median > 5 * numpy.seconds.median
    shown = cli.output.rendered(*tables.kernels_tables(results, 1))
    (row,) = [line for line in shown.splitlines() if line.startswith(" softmax")]
    assert row.index(tables.WINNER) > len(row) / 2  # in the column of numpy


@pytest.mark.full
def test_what_has_become_slower_is_found_and_is_the_last_that_is_told(tmp_path):
    """Here by making the saved times of the commit before a thousandth of what they were."""

    def benchmark(*arguments: str) -> subprocess.CompletedProcess:
        case = "benchmarks/bench_kernels.py::test_of_the_course[sgd 10-numpy-1]"
        storage = f"--benchmark-storage=file://{tmp_path}"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", case, storage]
        return subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)

    assert benchmark("--benchmark-save=old").returncode == 0
    (file,) = tmp_path.glob("*/*_old.json")
    saved = json.loads(file.read_text(encoding="utf-8"))
    saved["benchmarks"][0]["stats"]["median"] /= 1000
    file.write_text(json.dumps(saved), encoding="utf-8")
    done = benchmark("--benchmark-compare", "--benchmark-compare-fail=median:10%")
    assert done.returncode == 1
    found = done.stderr.rpartition("Performance has regressed:")[2]
    assert "test_of_the_course[sgd 10-numpy-1] (0001_old) - Field 'median' has failed" in found
    assert "Traceback" not in done.stdout + done.stderr


def test_a_wrong_kernel_is_not_timed(monkeypatch):
    def wrong(x, out):
        out[...] = 0.1

    results = door.load_backend(BACKENDS[0]).kernels
    monkeypatch.setitem(results, "softmax", wrong)
    if BACKENDS[0] == "numpy":
        pytest.skip("there is no other backend to be wrong")
    with pytest.raises(Unfair, match=r"softmax 64x10 on \w+: it is off by"):
        kernel_times.measure([Here(BACKENDS[0])], SOFTMAX, 1, Care(1, 0.001))


class Told:
    """A contestant that says it has these losses."""

    threads = 1

    def __init__(self, name: str, losses: list[float]) -> None:
        self.name, self.losses = name, losses

    def ask(self, do: str, **request: object) -> dict:
        if not self.losses:
            raise NotHere("it can't")
        return {"losses": self.losses}


def test_another_network_is_found_out():
    def entries(*others: Told) -> list[step_times.Entry]:
        contestants = [Told("c", [2.3, 2.0, 2.0, 2.0, 2.0]), *others]
        return [step_times.Entry(contestant, None) for contestant in contestants]

    same = Told("same", [2.3, 2.001, 2.0, 2.0, 2.0])
    other = Told("other", [2.3, 2.01, 2.0, 2.0, 2.0])
    assert step_times.compare_losses(entries(same, Told("absent", [])), "1.0") == {
        "absent": "it can't"
    }
    with pytest.raises(Unfair, match=r"lesson 1\.0: the first losses of other are \[2\.3, 2\.01"):
        step_times.compare_losses(entries(same, other), "1.0")


def test_another_number_of_threads_is_found_out(monkeypatch):
    monkeypatch.setattr(
        "tinytensor.bench.worker.Worker.set_threads",
        lambda self, threads: {"threads": threads + 1, "has_one": False},
    )
    with pytest.raises(Unfair, match="numpy has 2 threads; 1 are needed"):
        Here("numpy", 1)


def test_a_process_answers_and_ends():
    watch = noise.Watch()
    with processes(["numpy"], 1, watch) as (numpy,):
        assert numpy.threads == 1
        numpy.ask("prepare", lesson="1.0", mode="eager", keep_prob=None)
        assert numpy.ask("train", mode="eager", steps=1)["losses"][0] == pytest.approx(2.3026, 1e-4)
    assert numpy._process.returncode == 0


def test_a_process_that_has_ended_is_told():
    numpy = Process("numpy", 1)
    numpy.kill()
    with pytest.raises(Unfair, match="the process of numpy has ended"):
        numpy.ask("train", mode="eager", steps=1)


def test_a_peer_that_is_not_installed_is_told(monkeypatch, capsys):
    monkeypatch.setitem(PEERS, "torch", Peer("no_such_module", "torch_steps.eager"))
    assert fails("bench", "steps", "--peers", "torch", capsys=capsys) == (
        "tinytensor: --peers torch: no_such_module isn't installed; "
        "pip install 'tinytensor-engine[peers]' mends that"
    )
    told = report.Report()
    assert "torch" not in cli.bench_command._peers(("all",), told)
    assert "no_such_module isn't installed" in told.skipped[0].why


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name in PEERS if PEERS[name].is_installed])
def test_a_peer_trains_the_same_network(name):
    if name == "torch.compile":
        pytest.skip("it compiles for longer than all the rest takes")
    watch = noise.Watch()
    with processes(["numpy", name], 1, watch) as contestants:
        assert (
            step_times.compare_losses(step_times.entries_of(contestants, ["captured"]), "2.1") == {}
        )


# Cases ------------------------------------------------------------------------------------------


def test_cases_are_those_of_the_programs_and_each_has_a_name_of_its_own():
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
def test_every_backend_computes_what_numpy_does_in_the_cases(lesson, backend):
    for case in cases.course_cases([lesson]):
        assert cases.differs_from_numpy(case, cases.own_call(backend, case)) == "", case


def test_a_kernel_on_numpy_is_said_to_be_so():
    case = cases.Case("cast", (((3,), "float32"), ((3,), "float64")))
    for name in BACKENDS:
        lacks = "cast" in door.load_backend(name).on_numpy
        assert cases.own_call(name, case).on_numpy == lacks


# The report -------------------------------------------------------------------------------------


def made_up() -> report.Report:
    """A report of numbers that nobody measured."""
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


def test_the_form_of_the_json():
    told = json.loads(json.dumps(made_up().to_json()))
    assert {
        "format", "date", "cpu", "cores", "versions", "quick", "stopped", "noise", "machine",
        "kernels", "steps", "train", "scaling", "start", "skipped",
    } == told.keys()  # fmt: skip
    assert told["format"] == 1
    assert told["noise"] == {"noisy": False, "why": ""}
    assert told["machine"]["threads"]["2"]["bandwidth"]["16384"]["copy"] == 2e11
    kernel, *_ = told["kernels"]
    assert (kernel["kernel"], kernel["case"]) == ("matmul", "100x784x10")
    assert kernel["seconds"] == {"best": 9e-4, "median": 1e-3, "low": 9.8e-4, "high": 1.02e-3}
    assert {"backend", "threads", "flops", "bytes", "bound", "on_numpy"} <= kernel.keys()
    assert told["steps"][3]["backend"] is None
    assert {"lesson", "contestant", "mode", "threads", "images_per_second"} <= told["steps"][
        0
    ].keys()
    assert told["train"][0]["seconds"].keys() == set(tables.PARTS)


def shown(some: report.Report, columns: int, monkeypatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    return cli.output.rendered(*tables.tables(some)).splitlines()


@pytest.mark.parametrize("columns", [80, 100])
def test_the_tables(columns, monkeypatch):
    lines = shown(made_up(), columns, monkeypatch)
    assert max(map(len, lines)) <= columns
    text = "\n".join(lines)
    assert "…" not in text  # nothing is cut
    assert re.search(r"1\.0 +captured +▸1\.00 ±2% +2\.0 +25% +2\.00 ±1% +12%", text)
    assert re.search(r"matmul +▸1,000 ±2% +2,000 ±1%\n   100x784x10 +2\.0  1% +0%\n", text)
    assert re.search(r"1\.0 +▸1\.00 +2\.00\n +c captured +2\.0x\n +±2% +±1%\n", text)
    assert "numpy-by-hand, 3.0: convolutions aren't written by hand" in text
    assert lines[-1] == "The machine was quiet."


def test_however_much_there_is_to_tell_nothing_is_cut(monkeypatch):
    """Three backends, all peers, long names, numbers of many digits, and times that vary much."""
    some = made_up()
    wide = report.Spread(100.0, 721.051, 200.0, 8000.0)
    step, kernel = (
        replace(result, seconds=wide, to_numpy=1234.0, bound=800.0)
        for result in (some.steps[0], some.kernels[0])
    )
    some.steps = [
        replace(step, contestant=f"{name} {mode}", backend=name, mode=mode)
        for name in ("c", "numba", "numpy")
        for mode in step_times.MODES
    ] + [replace(step, contestant=peer, backend=None, mode=None) for peer in PEERS]
    case = "100x28x28x24 100x14x14x48 5x5x24x48 /2"
    some.kernels = [
        replace(kernel, contestant=name, backend=name, kernel="conv2d_grad_weight", case=case)
        for name in ("c", "numba", "numpy")
    ]
    lines = shown(some, 80, monkeypatch)
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    each = len(some.steps) + 1  # tinytensor's best stands beside the peers once more
    assert sum(word.removeprefix("▸") == "721,051" for word in words) == each
    assert sum(word.removeprefix("▸") == "721,051,000" for word in words) == len(some.kernels)
    assert words.count("±541%") == each + len(some.kernels)
    assert words.count("111%") == len(step_times.MODES) * 3 + len(some.kernels)
    assert {"tinytensor", "tinygrad", "compile", "by-hand", "conv2d_grad_weight"} <= set(words)


def test_a_borrowed_kernel_and_a_noisy_machine_are_told(monkeypatch):
    some = made_up()
    some.kernels[0] = replace(some.kernels[0], on_numpy=True)
    some.noise = report.Noise(True, "other programs used 1.0 cores meanwhile")
    text = "\n".join(shown(some, 100, monkeypatch))
    assert re.search(r"▸1,000 ±2%.*\n   100x784x10 +numpy\*  2\.0  1%", text)
    assert "NOISY: other programs used 1.0 cores meanwhile." in text


def test_figures():
    numbers = {
        0.0000012: "0.000001",
        0.0556: "0.0556",
        4.049: "4.05",
        99.96: "100",
        1234.5: "1,234",
    }
    assert {number: tables.figures(number, 3) for number in numbers} == numbers


# The README's table


def test_the_table_is_put_in_its_place():
    text = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter"
    new = tables.with_table(text, made_up())
    assert new.startswith(f"before\n{tables.BEGIN}\n\nMilliseconds a training step")
    assert new.endswith(f"\n\n{tables.END}\nafter")
    assert (
        "| 2 threads | c | numpy | torch |\n|---|---|---|---|\n| 1.0 | **1.00** | 2.00 | 2.00 |"
        in new
    )
    assert "A Processor, 2 cores, 2030-01-02; python 3.11.7, numpy 2.4.6." in new
    assert tables.with_table(new, made_up()) == new
    with pytest.raises(tt.errors.SettingError, match="--readme: x has no place for the table"):
        tables.check_place("x", "no place")


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


def test_the_readmes_table_is_one_that_the_command_writes():
    found = tables.PLACE.search(README)
    assert found
    first, *blocks, last = found[0].strip().split("\n\n")
    assert first == tables.markdown(made_up()).split("\n\n")[0]
    for block in blocks:
        head, rule, *rows = block.split("\n")
        assert re.fullmatch(r"\| \d+ threads? \| c \| numba \| numpy( \| [\w.-]+)* \|", head)
        assert set(rule) == {"|", "-"}
        assert [row.split("|")[1].strip() for row in rows] == list(step_times.LESSONS)
        for row in rows:
            cells = [cell.strip() for cell in row.split("|")[2:-1]]
            assert len(cells) == head.count("|") - 2
            assert all(re.fullmatch(r"|(\*\*)?[\d.,]+(\*\*)?", cell) for cell in cells)
            assert sum("**" in cell for cell in cells) >= 1
    measured, noisy = last.split("\n")
    assert re.fullmatch(r".+, \d+ cores, \d{4}-\d\d-\d\d; python [\d.]+, tinytensor .*\.", measured)
    assert noisy == "The machine was quiet." or noisy.startswith("NOISY: ")


# The command ------------------------------------------------------------------------------------


def fails(*arguments: str, capsys) -> str:
    """The one line on standard error with which a command ends, with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["--lessons", "9.9"], "Invalid value for '--lessons': there is none named '9.9'"),
        (["steps", "--lessons", "fast"], "--lessons: got fast"),
        (["--lessons", "1.0,,2.0"], "Invalid value for '--lessons': there is none named ''"),
        (["--lessons", "1.0,softmax"], "Invalid value for '--lessons': got '1.0,softmax'; each is"),
        (["--backends", "cuda"], "Invalid value for '--backends': 'cuda' is not one of 'c', 'numb"),
        (["--backends", "c,c"], "Invalid value for '--backends': got 'c,c'; each is needed once"),
        (["--threads", "999"], "--threads: got 999; a number from 1 to the "),
        (["--threads", "two"], "Invalid value for '--threads': got 'two'; a whole number from 1"),
        (["--threads", "1,01"], "Invalid value for '--threads': got '1,01'; each is needed once"),
        (["--peers", "keras"], "--peers: got 'keras'; some of numpy-by-hand, torch, torch.com"),
        (["--peers", "all,jax"], "--peers: got 'all'; some of numpy-by-hand, torch, torch.compile"),
        (["--rounds", "0"], "Invalid value for '--rounds': got '0'; a whole number from 1"),
        (["--json", "/no/such/folder/x"], "--json: there is no folder /no/such/folder"),
        (["--html", "/no/such/folder/x"], "--html: there is no folder /no/such/folder"),
        (["--json", "-", "--html", "-"], "--json: got -, as --html did; another file is needed"),
        (["--readme", "/no/such.md"], "--readme: there is no f"),
        (["train", "--readme", "README.md"], "--readme: its table is of steps"),
        (["train", "--peers"], "--peers: whole runs are of tinytensor's backends only"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_before_the_work(arguments, wrong, capsys, monkeypatch):
    monkeypatch.setattr(plan, "measure", lambda *_: pytest.fail("it has begun to measure"))
    assert fails("bench", *arguments, capsys=capsys).startswith(f"tinytensor: {wrong}")


def test_a_backend_that_cannot_be_loaded_is_told(capsys, monkeypatch):
    def broken(name: str):
        raise tt.errors.BackendUnavailable(f"{name}: it is broken; mend it")

    monkeypatch.setattr(door, "load_backend", broken)
    line = fails("bench", "--backends", "numba", capsys=capsys)
    assert line == "tinytensor: numba: it is broken; mend it"


@pytest.mark.full
def test_a_short_benchmark(capsys, tmp_path):
    file = tmp_path / "report.json"
    cli.main(
        ["bench", "--quick", "--backends", ",".join(BACKENDS), "--lessons", "1.0", "--threads", "1",
         "--rounds", "1", "--json", str(file)]
    )  # fmt: skip
    told = json.loads(file.read_text(encoding="utf-8"))
    assert {step["contestant"] for step in told["steps"]} == {f"{b} captured" for b in BACKENDS}
    assert {kernel["kernel"] for kernel in told["kernels"]} >= {"matmul", "sum", "sgd"}
    assert ("threads" in told["machine"]) == ("c" in BACKENDS)
    printed = capsys.readouterr()
    assert "Training steps, 1 thread: milliseconds a step of 100 images, captured" in printed.out
    assert "steps of lesson 1.0 on 1 thread" in printed.err


def test_a_whole_run():
    result = training_times.run("1.0", "numpy", 1, steps=20, seed=3)
    (*_, last) = tt.train.Training(Task.of("1.0").lesson, tt.datasets.mnist(), steps=20, seed=3)
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
def test_an_early_end_shows_what_was_measured(how, code, line, tmp_path, capsys, monkeypatch):
    def ends_early(plan, told, tell):
        told.steps += made_up().steps
        raise how

    monkeypatch.setattr(plan, "measure", ends_early)
    file = tmp_path / "report.json"
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "--backends", "numpy", "--json", str(file)])
    assert ended.value.code == code
    printed = capsys.readouterr()
    assert "Training steps, 2 threads" in printed.out
    assert tables.STOPPED in " ".join(printed.out.split())
    assert printed.err.startswith(f"tinytensor: {line}")
    told = json.loads(file.read_text(encoding="utf-8"))
    assert told["stopped"]
    assert len(told["steps"]) == len(made_up().steps)


def test_of_nothing_nobody_knows_whether_it_was_quiet(monkeypatch):
    lines = shown(report.Report(stopped=True, cpu="A Processor", cores=2), 100, monkeypatch)
    assert lines == ["A Processor, 2 cores", tables.STOPPED]


def children(pid: int) -> list[Path]:
    """The folders in /proc of a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            if stat.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(stat.parent)
    return found


@pytest.mark.full
@pytest.mark.skipif(
    not Path("/proc/stat").exists(), reason="nobody tells which processes there are"
)
@pytest.mark.parametrize(("option", "begin"), [("--json", "{"), ("--html", "<!doctype html>")])
def test_ctrl_c_ends_all_processes_and_writes_what_was_measured(option, begin, tmp_path):
    if option == "--html":
        pytest.importorskip("bokeh")
    file = tmp_path / "results"
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
        told = json.loads(text)
        assert {step["lesson"] for step in told["steps"]} == {"1.0", "2.0"}
    else:
        assert tables.STOPPED.split(":")[0] in text
