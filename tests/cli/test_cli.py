"""The command line: its output, its files, and one-line errors."""

import datetime
import errno
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import BACKENDS
from test_datasets import BROKEN, break_folder, write_folder

import tinytensor as tt
from tinytensor import claims, datasets, door, interrupt, lessons
from tinytensor.bench.noise import NoiseMonitor
from tinytensor.checkpoint import about as about_file
from tinytensor.datasets.wrong_labels import WRONG_TEST_LABELS
from tinytensor.errors import BackendUnavailable, UnknownName
from tinytensor.evaluation import evaluate
from tinytensor.ladder import ladder
from tinytensor.learn import exercises
from tinytensor.live import run_file
from tinytensor.saved_model import load_model
from tinytensor.train import Training
from tinytensor_command import known_names, options
from tinytensor_command.commands import program


def test_train_prints_the_accuracy_without_wrong_labels(run, tmp_path):
    weights = tmp_path / "weights.safetensors"
    code, out, _ = run("train", "1.0", "--steps", 5, "--save-weights", weights)
    assert code == 0
    data = tt.datasets.mnist()
    right = np.delete(np.arange(10_000), WRONG_TEST_LABELS)
    _, model = load_model(weights)
    known, _, _ = evaluate(model, data.test_images[right], data.test_labels[right])
    shown = float(re.search(r"(\S+) without the 15 images with a wrong label", out)[1])
    assert abs(shown - known) < 2e-4  # the weights were rounded to float16


def test_train_prints_accuracy_and_times(run, tmp_path):
    file = tmp_path / "result.json"
    code, out, err = run("train", "1.0", "--steps", 120, "--seed", 3, "--json", file)
    assert code == 0
    backend = BACKENDS[0]
    for words in ("test accuracy  0.8", "test loss", "seconds", "first step", f"{backend}, "):
        assert words in out
    assert "lesson 1.0 softmax" in err
    assert "step 120/120" in err
    assert "\r" not in err, "no progress bar without a terminal"
    result = json.loads(file.read_text())
    names = "lesson backend threads seed steps batch test_accuracy test_loss seconds history "
    assert list(result) == (names + "test_accuracy_of_right_labels").split()
    assert list(result["seconds"]) == ["import", "data", "first_step", "train", "evaluate"]
    assert all(seconds > 0 for seconds in result["seconds"].values())
    names = "step train_accuracy train_loss test_accuracy test_loss"
    assert [list(entry) for entry in result["history"]] == [names.split()] * 3
    assert [entry["step"] for entry in result["history"]] == [50, 100, 120]
    assert (result["lesson"], result["backend"], result["seed"]) == ("softmax", backend, 3)
    assert (result["steps"], result["batch"]) == (120, 100)
    assert result["test_accuracy"] == result["history"][-1]["test_accuracy"] > 0.8


@pytest.mark.parametrize("backend", BACKENDS)
def test_backend_and_threads_options(run, backend):
    arguments = ("--backend", backend, "--threads", 1, "--steps", 1, "--json", "-")
    code, out, err = run("train", "softmax", *arguments)
    assert code == 0
    result = json.loads(out)
    assert (result["backend"], result["threads"]) == (backend, 1)
    assert "test accuracy" in err, "only the JSON is on standard output"


@pytest.mark.parametrize("backend", BACKENDS)
def test_train_makes_the_given_number_of_steps(run, monkeypatch, backend):
    made = []
    make_step = Training.make_step
    monkeypatch.setattr(Training, "make_step", lambda self: made.append(1) or make_step(self))
    code, out, _ = run("train", "softmax", "--backend", backend, "--steps", 3)
    assert code == 0
    assert len(made) == 3
    assert len(out.splitlines()) == 5


def test_environment_variables_are_defaults(run, monkeypatch, tmp_path):
    monkeypatch.setenv("TINYTENSOR_BACKEND", "numpy")
    monkeypatch.setenv("TINYTENSOR_DATA_DIR", str(write_folder(tmp_path)))
    code, out, _ = run("train", "softmax", "--steps", 2, "--batch", 30, "--json", "-")
    assert code == 0
    result = json.loads(out)
    assert (result["backend"], result["batch"]) == ("numpy", 30)


def test_find_lesson_by_number():
    assert lessons.find(1.0) is lessons.find("1.0")
    with pytest.raises(UnknownName, match=r"none named '99\.5'"):
        lessons.find(99.5)
    with pytest.raises(UnknownName, match="none named 'None'; choose from"):
        lessons.find(None)


def test_train_with_zero_steps(run):
    code, out, _ = run("train", "softmax", "--steps", 0, "--json", "-")
    assert code == 0
    result = json.loads(out)
    assert result["test_loss"] == pytest.approx(2.302585, rel=1e-5)
    assert result["history"][0]["train_loss"] is None


WRONG = {
    "unknown lesson": (["train", "sofmax"], "lesson: .*'sofmax'; did you mean 'softmax'"),
    "no such number": (["train", "5.0"], "named '5.0'; choose from softmax, 1.0,"),
    "no name": (["lesson", ""], "none named ''; choose from softmax"),
    "no lesson": (["train"], "Missing argument 'LESSON'. Choose from softmax, 1.0,"),
    "unknown backend": (["train", "softmax", "--backend", "gpu"], "'--backend': 'gpu' is not"),
    "negative steps": (
        ["train", "softmax", "--steps", -1],
        "'--steps': got '-1'; an integer from 0 to",
    ),
    "steps no number": (
        ["train", "softmax", "--steps", "x"],
        "'--steps': got 'x'; an integer from 0 to",
    ),
    "no batch": (
        ["train", "softmax", "--batch", 0],
        "'--batch': got '0'; an integer from 1 up",
    ),
    "large batch": (["train", "softmax", "--batch", 60_001], "batch: got 60001; .* 60000"),
    "negative seed": (["train", "softmax", "--seed", -1], "'--seed'"),
    "no threads": (
        ["train", "softmax", "--threads", 0],
        "'--threads': got '0'; .* from 1 to 64 is needed",
    ),
    "many threads": (["train", "softmax", "--threads", 10**20], f"'--threads': got '{10**20}'; a"),
    "no folder": (
        ["train", "softmax", "--data", "nowhere"],
        "nowhere: there is no such folder or file; a folder of idx",
    ),
    "json to a folder": (["train", "softmax", "--json", "."], "--json: . is a folder"),
    "json to nowhere": (["train", "softmax", "--json", "no/f"], "--json: there is no folder no"),
    "json to no name": (
        ["train", "softmax", "--json", ""],
        "--json: got an empty name; a file is needed",
    ),
    "json to a long name": (
        ["train", "softmax", "--json", "n" * 300],
        r"--json: n+ can't be written to \(File name too long\); choose another",
    ),
    "data in a long name": (
        ["train", "softmax", "--data", "n" * 300],
        r"n+: a folder that can be read is needed \(File name too long\)",
    ),
    "unknown command": (["trian"], "No such command 'trian'"),
    "unknown option": (["train", "softmax", "--step", 3], "No such option"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_arguments(run, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, words = WRONG[kind]
    assert_one_line(*run(*arguments), words)
    assert os.listdir(tmp_path) == []


def test_unwritable_file_is_refused_before_training(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tinytensor.cli.train_command.Training", lambda *_, **__: pytest.fail("trained")
    )
    link = tmp_path / "link"
    link.symlink_to("no folder/result.json")
    words = r"link can't be written to \(No such file or directory\); choose another file"
    assert_one_line(*run("train", "softmax", "--json", link), words)

    monkeypatch.setattr("pathlib.Path.is_dir", raise_permission_error)
    words = r"result.json can't be written to \(Permission denied\); choose another file"
    assert_one_line(*run("train", "softmax", "--json", tmp_path / "result.json"), words)
    monkeypatch.setattr("pathlib.Path.is_file", raise_permission_error)
    words = r"a folder that can be read is needed \(Permission denied\)"
    assert_one_line(*run("train", "softmax", "--data", tmp_path), words)
    assert os.listdir(tmp_path) == ["link"]


def raise_permission_error(path: Path) -> bool:
    """Raise the error of a folder without permission, which root never gets."""
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def test_results_are_written_through_links_and_pipes(run, tmp_path):
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to("result.json")
    assert run("train", "softmax", "--steps", 1, "--json", link)[0] == 0
    assert link.is_symlink()
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == 1

    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE)
    try:
        assert run("train", "softmax", "--steps", 1, "--json", pipe)[0] == 0
        assert json.loads(reader.communicate(timeout=60)[0])["steps"] == 1
    finally:
        reader.kill()


def test_error_keeps_an_older_result(run, tmp_path):
    file = tmp_path / "result.json"
    file.write_text("older")
    assert run("train", "softmax", "--data", tmp_path, "--json", file)[0] == 2
    assert file.read_text() == "older"


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_data(run, kind, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    name, content, words = BROKEN[kind]
    break_folder(write_folder(data), name, content)
    result = tmp_path / "result.json"
    assert_one_line(*run("train", "softmax", "--data", data, "--json", result), words)
    assert not result.exists()


def test_wrong_environment_variables(run, monkeypatch):
    monkeypatch.setenv("TINYTENSOR_BACKEND", "gpu")
    assert_one_line(*run("train", "softmax"), "for TINYTENSOR_BACKEND: 'gpu' is not one of")
    assert_one_line(*run("train", "softmax", "--backend", "tpu"), "for '--backend': 'tpu' is not")
    monkeypatch.setenv("TINYTENSOR_BACKEND", "numpy")
    monkeypatch.setenv("TINYTENSOR_NUM_THREADS", "many")
    assert_one_line(*run("train", "softmax"), "for TINYTENSOR_NUM_THREADS: got 'many'; an integer")


def assert_one_line(code: int, out: str, err: str, words: str) -> None:
    assert code == 2
    assert out == ""
    assert err.startswith("tinytensor: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert re.search(words, err)


def test_info(run):
    door.set_num_threads(1)
    code, out, err = run("info")
    assert (code, err) == (0, "")
    for words in (
        "tinytensor",
        "numpy",
        "numba",
        "cffi",
        "\ncompiler       ",
        "\ncpu features   ",
        "1 thread\n",
        f"in use         {BACKENDS[0]}",
    ):
        assert words in out
    for name in BACKENDS:
        assert f"backend {name}" in out
    if "c" in BACKENDS:
        assert "instructions" in out


def test_info_without_c_names_the_compiler(run, monkeypatch, tmp_path):
    monkeypatch.setattr(door, "backend_states", lambda: {"c": BackendUnavailable("c: no")})
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    out = run("info")[1]
    assert "backend c      not usable: no\n" in out
    assert "compiler       none: no cc, gcc or clang was found\n" in out
    assert "cpu features   " in out
    compiler = tmp_path / "clang"
    compiler.write_text("#!/bin/sh")
    compiler.chmod(0o755)
    assert f"compiler       none yet; {compiler} would compile the C backend\n" in run("info")[1]


def test_info_of_an_unknown_backend(run, monkeypatch):
    monkeypatch.setattr(door, "_everywhere", None)
    monkeypatch.setenv("TINYTENSOR_BACKEND", "gpu")
    code, out, err = run("info")
    assert code == 2
    assert "in use         none: TINYTENSOR_BACKEND=gpu: backend: there is none named" in out
    assert_one_line(code, "", err, "TINYTENSOR_BACKEND=gpu: backend: there is none named 'gpu'")


@pytest.mark.skipif("c" not in BACKENDS, reason="the C backend is not compiled here")
def test_info_measures_the_machine(run):
    out = run("info", "--measure")[1]
    assert re.search(r"\npeak           \d+ GFLOP/s in float32 on 1 thread\n", out)
    assert re.search(
        r"\nmemory 16 KiB  \d+ GB/s read, \d+ GB/s copy, \d+ GB/s add on 1 thread", out
    )
    assert "peak" not in run("info")[1]


# The ladder


@pytest.mark.parametrize("kernel", ladder.SIZES)
def test_ladder(run, tmp_path, kernel):
    file = tmp_path / "ladder.json"
    size = ladder.SMALL[kernel]
    options = ("--size", size, "--threads", 1, "--seconds", 0.01, "--json", file)
    code, out, err = run("ladder", kernel, *options)
    assert code == 0
    assert "rungs, 0.01 s each\n" in err
    rungs = [rung for rung in ladder.rungs(kernel) if rung.backend in BACKENDS]
    for rung in rungs:
        assert re.search(rf"^ {re.escape(rung.name)} +[\d.]+ +[\d.]+ +[-\d]", out, re.MULTILINE)
        assert " ".join(rung.why.split()[:5]) in out
    assert max(map(len, out.splitlines())) <= 80
    assert f"{kernel} (" in out
    assert "on 1 thread of" in out.replace("\n", " ")
    assert ("GB/s" if kernel == "softmax" else "GFLOP/s") in out
    result = json.loads(file.read_text())
    assert re.search("^(The machine was quiet|NOISY: )", out, re.MULTILINE)
    assert result["noise"]["noisy"] == ("NOISY: " in out)
    assert [rung["name"] for rung in result["rungs"]] == [rung.name for rung in rungs]
    for rung in result["rungs"]:
        assert rung["seconds"] > 0
        work = ladder.work(kernel, size)
        assert rung["speed"] == pytest.approx(work.amount / rung["seconds"] / 1e9)


def test_ladder_of_many_channels(run):
    code, out, _ = run("ladder", "conv2d", "--size", 1, "--channels", 16, "--seconds", 0.01)
    assert code == 0
    assert "conv2d (1, 28, 28, 16) x (5, 5, 16, 16), stride 2" in out


def test_ladder_is_noisy_if_its_probes_are(run, monkeypatch):
    times = itertools.cycle([1e-3, 1e-3, 2e-3])
    monkeypatch.setattr(NoiseMonitor, "probe", lambda _: {"short computation": next(times)})
    out = run("ladder", "softmax", "--size", 8, "--seconds", 0.01)[1]
    assert re.search("NOISY: .*time varied by 100 %", " ".join(out.split()))


def test_ladder_without_c_has_no_peak(run, monkeypatch):
    states = door.backend_states() | {"c": BackendUnavailable("c: not compiled")}
    monkeypatch.setattr(door, "backend_states", lambda: states)
    code, out, err = run("ladder", "matmul", "--size", 8, "--seconds", 0.01)
    assert code == 0
    assert "left out: c: not compiled\n" in err
    assert "peak:" not in out
    assert "c.naive" not in out
    assert re.search(r"^ numba\.blocked +[\d.]+ +[\d.]+ +- ", out, re.MULTILINE)


def test_ladder_writes_large_numbers_in_full(run, monkeypatch):
    slow = [ladder.RungResult(rung, 1.2345) for rung in ladder.rungs("matmul")[:2]]
    slow[1:] = [ladder.RungResult(slow[1].rung, 0.005)]
    monkeypatch.setattr(ladder, "measure", lambda *_: (slow, None))
    out = run("ladder", "matmul", "--size", 1000)[1]
    assert re.search(r"^ numpy +1,234 +1.62 +- +1$", out, re.MULTILINE)
    assert re.search(r"^ numba.naive +5 +400 +- +247$", out, re.MULTILINE)


def test_ladder_omits_slow_rungs(run, monkeypatch):
    slow = [ladder.RungResult(rung, None) for rung in ladder.rungs("matmul")[1:]]
    fast = ladder.RungResult(ladder.rungs("matmul")[0], 0.001)
    monkeypatch.setattr(ladder, "measure", lambda *_: ([fast, *slow], 1e9))
    assert re.search(r"^ c\.naive +too long", run("ladder", "matmul")[1], re.MULTILINE)


def test_explain_prints_all_rungs_or_one(run):
    out = run("explain", "matmul")[1]
    for rung in ladder.rungs("matmul"):
        assert f"matmul by {rung.name}: {rung.why}\n" in out
    assert "def matmul_naive(x: Array, y: Array, out: Array) -> None:\n" in out
    one = run("explain", "matmul", "c.blocked")[1]
    assert "SCALAR static void matmul_blocked(matmul_arguments whole)\n{\n" in one
    assert "matmul_naive(matmul_arguments a)" not in one
    assert one in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("ladder", "add"),
            "ladder: 'add' has no ladder; choose from matmul, sparse_matmul, softmax, conv2d",
        ),
        (("explain", "relu"), "'relu' has no ladder; choose from"),
        (("explain", "matmul", "c.quick"), "no rung 'c.quick'; choose from numpy, numba.naive"),
        (("ladder", "matmul", "--size", "0"), "got '0'; an integer from 1 to 10000"),
        (("ladder", "conv2d", "--channels", "0"), "got '0'; an integer from 1 to 512"),
        (
            ("ladder", "matmul", "--channels", "32"),
            "ladder: got 32 channels for matmul; only conv2d has them",
        ),
        (("ladder", "matmul", "--seconds", "0"), "'--seconds': 0.0 is not in the range"),
        (("ladder", "matmul", "--json", "/no/where"), "there is no folder /no"),
    ],
)
def test_wrong_arguments_of_ladder_and_explain(run, arguments, words):
    assert_one_line(*run(*arguments), words)


def test_help_and_version(run):
    assert "train" in run("--help")[1]
    assert "--backend" in run("train", "--help")[1]
    assert run("--version")[1].startswith("tinytensor ")
    assert "Usage" in run()[1]


# In a separate process


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tinytensor", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_python_m_tinytensor():
    process = start("--version")
    assert process.communicate(timeout=60)[0].startswith("tinytensor ")
    assert process.returncode == 0


OUTPUTS = [
    ["info"],
    ["--help"],
    [],
    ["lesson", "2.1"],
    ["try"],
    ["explain", "softmax"],
    ["train", "softmax", "--steps", "1", "--json", "-"],
]


@pytest.mark.full
@pytest.mark.parametrize("arguments", OUTPUTS)
def test_closed_pipe_prints_no_error(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    code, err = run_into(writing, *arguments)
    assert code == 141
    assert "Error" not in err


@pytest.mark.full
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", OUTPUTS)
def test_full_disk_is_a_one_line_error(arguments):
    code, err = run_into(os.open("/dev/full", os.O_WRONLY), *arguments)
    assert code == 2
    assert err.endswith("tinytensor: the output can't be written: No space left on device\n")
    assert "Traceback" not in err
    if "train" in arguments:
        assert "test accuracy  0." in err


def run_into(output: int, *arguments: str) -> tuple[int, str]:
    """Run the command with `output` as standard output; return exit status and standard error."""
    command = [sys.executable, "-m", "tinytensor", *arguments]
    try:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(output)
    return done.returncode, done.stderr


def test_json_is_written_before_the_summary_is_printed(tmp_path):
    file = tmp_path / "result.json"
    reading, writing = os.pipe()
    os.close(reading)
    assert run_into(writing, "train", "softmax", "--steps", "1", "--json", str(file))[0] == 141
    assert json.loads(file.read_text())["steps"] == 1


def test_ctrl_c_writes_the_results_so_far(tmp_path):
    file = tmp_path / "result.json"
    process = start("train", "softmax", "--steps", "10000000", "--json", str(file))
    assert process.stderr is not None
    process.stderr.readline()  # the lesson
    assert "step" in process.stderr.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "test accuracy" in out
    result = json.loads(file.read_text())
    assert 0 < result["steps"] < 10_000_000
    assert result["history"][-1]["step"] == result["steps"]


@pytest.mark.parametrize("module", ["numpy", "click"])
def test_ctrl_c_during_the_import_of_the_command(tmp_path, module):
    script = "import sys; sys.argv[1:] = ['info']; import tinytensor_command as c; c.main()"
    done = interrupted_import(tmp_path, module, "-c", script)
    assert (done.returncode, done.stderr) == (130, "tinytensor: stopped\n")


def test_ctrl_c_during_the_import_of_python_m(tmp_path):
    done = interrupted_import(tmp_path, "numpy", "-m", "tinytensor", "info")
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_ctrl_c_during_the_import_of_the_library(tmp_path):
    done = interrupted_import(tmp_path, "numpy", "-c", "import tinytensor")
    assert done.stderr.endswith("KeyboardInterrupt\n"), "as with any other library"


def interrupted_import(folder: Path, module: str, *command: str) -> subprocess.CompletedProcess:
    """Run Python, with a SIGINT while it imports `module`."""
    lines = ("import os, signal, time", "os.kill(os.getpid(), signal.SIGINT)", "time.sleep(1)")
    (folder / f"{module}.py").write_text("\n".join(lines))
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a background process ignores SIGINT by default
    )


def test_a_command_ends_without_a_garbage_collection():
    """Functions registered earlier are called later."""
    program = (
        "import atexit, gc\n"
        "atexit.register(lambda: print(len(gc.get_objects())))\n"
        "from tinytensor_command import main\n"
        "main(['--version'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert int(done.stdout.splitlines()[-1]) < 1000, "objects that a collection would visit"


def test_is_command():
    assert interrupt.is_command(["-m", "info"], ["python", "-X", "dev", "-m", "tinytensor", "info"])
    assert not interrupt.is_command(["-m", "tinytensor"], ["python", "-m", "other", "tinytensor"])
    assert not interrupt.is_command(["/usr/bin/tinytensor"], ["python", "/usr/bin/tinytensor"])
    assert not interrupt.is_command([], [])


def test_ctrl_c_raises_after_the_import():
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        interrupt.raise_on_interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup does
        interrupt.raise_on_interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# Help and completion


def test_help_and_completion_do_not_import_numpy():
    lines = ["import sys", "from tinytensor_command import main"]
    script = [*lines, "try: main()", "finally: print(*sys.modules, file=sys.stderr)"]
    typed = ("", "course ", "lesson ", "train softmax --", "train mine", "try ", "ladder ", "race ")
    typed += ("explain matmul c.", "train 1.0 --backend ", "predict --lesson 1.0 --", "bench ")
    typed += ("bench --lessons 1.0,2.1 --", "train 1.0 --allow-origin localhost:80 --")
    runs = [({}, [*words, "--help"]) for words in ((), *([name] for name in program.commands))]
    runs += [({"_TINYTENSOR_COMPLETE": "bash_source"}, [])]
    for line in typed:
        words = ["tinytensor", *line.split(" ")]
        setting = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        runs.append((setting | {"_TINYTENSOR_COMPLETE": "bash_complete"}, []))
    for setting, arguments in runs:
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(script), *arguments],
            env=os.environ | setting,
            capture_output=True,
            text=True,
        )
        loaded = done.stderr.split()
        assert done.returncode == 0, done.stderr
        assert done.stdout, setting
        assert "tinytensor_command.commands" in loaded
        assert {"numpy", "tinytensor"} & set(loaded) == set(), (setting, arguments)


def test_known_names_are_those_of_the_package():
    titles = {key: each.title for each in lessons.lessons() for key in (each.name, each.number)}
    assert known_names.lessons() == titles
    sentences = {claim.name: claim.sentence for claim in claims.CLAIMS}
    assert known_names.claims() == {**sentences, "mistakes": known_names.claims()["mistakes"]}
    assert known_names.exercises() == {each.name: each.title for each in exercises.EXERCISES}
    for kernel in ladder.SIZES:
        ideas = {rung.name: rung.why for rung in ladder.rungs(kernel)}
        assert known_names.rungs(kernel) == ideas
        assert list(ideas) == list(known_names.rungs(kernel))
    assert known_names.rungs("add") == {}
    assert options.BACKENDS == door.BACKENDS
    assert options.MOST_THREADS == door.MOST_THREADS
    assert tuple(lessons.OPTIMIZERS) == options.OPTIMIZERS
    assert tuple(lessons.RATE_RULES) == options.RATE_RULES
    assert tuple(ladder.SIZES) == options.KERNELS


# The course


def test_lessons_are_listed(run):
    code, out, _ = run("lessons")
    assert code == 0
    for lesson in lessons.lessons():
        (line,) = [line for line in out.splitlines() if line.startswith(f"{lesson.number} ")]
        assert lesson.name in line
        assert lesson.title in line
        assert re.search(r"\d (s|min|h)  ", line), "the estimated time"
    assert max(map(len, out.splitlines())) <= 80
    assert datetime.date.today().isoformat() in out
    assert re.search("^(The machine was quiet|NOISY: )", out, re.MULTILINE)
    assert out.endswith(" trains it.\n")


@pytest.mark.parametrize("lesson", lessons.lessons(), ids=lambda lesson: lesson.number)
def test_chapters_are_printed(run, lesson):
    code, out, _ = run("lesson", lesson.number)
    assert code == 0
    chapter = lesson.read_chapter()
    lines = [line.strip() for line in out.splitlines()]
    for heading in chapter.sections:
        assert (heading in lines) == (heading != "Answers")
    drawing = re.search(r"```text\n(.*?)```", chapter.sections["The network"], re.DOTALL)[1]
    assert {line.strip() for line in drawing.splitlines()} <= set(lines), "drawn as it is written"
    share = f"{100 * lesson.expected_accuracy:.4g} % of the test images, as a mean of several runs."
    when = "in the best test of the" if lesson.expected_of == "best" else "after"
    end = f"Expected: {when} {lesson.steps:,} steps the network recognises at least {share}"
    assert end in " ".join(lines)
    assert f"tinytensor train {lesson.name}" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("lesson", lessons.lessons(), ids=lambda lesson: lesson.number)
def test_answers_are_printed_with_their_questions(run, lesson):
    code, out, _ = run("lesson", lesson.number, "--answers")
    assert code == 0
    printed = " ".join(out.split())
    chapter = lesson.read_chapter()
    for item in chapter.items("Questions") + chapter.items("Answers"):
        assert re.sub(r"[`*]", "", " ".join(item.split())) in re.sub(r"[`*]", "", printed)


def test_save_resume_and_predict(run, tmp_path):
    whole, half, rest = (tmp_path / name for name in ("whole", "half", "rest"))
    assert run("train", "softmax", "--steps", 60, "--save", whole)[0] == 0
    assert run("train", "softmax", "--steps", 40, "--save", half)[0] == 0
    resumed = run("train", "softmax", "--steps", 60, "--resume", half, "--save", rest)
    assert resumed[0] == 0
    at_once, in_two = tt.load(whole), tt.load(rest)
    assert at_once.keys() == in_two.keys()
    for name, x in at_once.items():
        np.testing.assert_array_equal(in_two[name].numpy(), x.numpy(), err_msg=name)

    images = tmp_path / "digits.npy"
    data = datasets.mnist()
    np.save(images, data.test_images[:5])
    code, out, err = run("predict", "--model", whole, images)
    assert code == 0
    assert "lesson 1.0 softmax" in err
    lines = out.splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines] == ["7", "2", "1", "0", "4"]
    probs = [float(p) for p in re.findall(r"\d: (\d\.\d+)", lines[0])]
    assert sum(probs) == pytest.approx(1, abs=0.01)

    words = "resume: .* is of lesson 1.0; lesson 2.0 is needed"
    assert_one_line(*run("train", "sigmoid", "--resume", whole), words)
    assert_one_line(*run("predict", "--model", images, images), "isn't a safetensors file")
    tt.save(tmp_path / "other", {"x": tt.ones(1)})
    words = "a checkpoint that tinytensor train --save wrote is needed"
    assert_one_line(*run("predict", "--model", tmp_path / "other", images), words)


def test_the_scaled_learning_rate_is_printed_recorded_and_repeated(run, tmp_path):
    save, record = tmp_path / "model", tmp_path / "run.tt"
    start = ("train", "softmax", "--steps", 2, "--batch", 400, "--scale-rate")
    code, _, err = run(*start, "--save", save, "--record", record)
    assert code == 0
    words = "learning rate 0.5 -> 2: batch 400 is 4 times the lesson's 100\n"
    assert words in err
    assert (
        run_file.load(record).name == "1.0 softmax, learning rate scaling linear, batch 400, seed 0"
    )
    command = shlex.split(re.findall(r"to continue: tinytensor (.*)", err)[0])
    assert command[command.index("--scale-rate") + 1] == "linear"
    code, _, err = run(*command)
    assert code == 0
    assert words in err
    resume = ("train", "softmax", "--batch", 400, "--resume", save)
    assert_one_line(
        *run(*resume), "of a run with scale_rate linear; .*--scale-rate linear is needed"
    )
    code, _, err = run("train", "relu", "--steps", 1, "--batch", 25, "--scale-rate", "sqrt")
    assert code == 0
    words = (
        "learning rate 0.0031 -> 0.00155 in step 1: batch 25 is 0.25 times the lesson's 100, and "
    )
    assert f"{words}the factor is the square root, 0.5\n" in err
    words = (
        "--scale-rate.*got 'softmax'; linear or sqrt is needed, or nothing; .* LESSON --scale-rate"
    )
    assert_one_line(*run("train", "--scale-rate", "softmax"), words)


def test_results_do_not_overwrite_a_checkpoint(run, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "model")
    one_step = ("train", "softmax", "--steps", 1)
    for same in ("model", "./model", "link"):
        arguments = ("--save", tmp_path / "model", "--json", f"{tmp_path}/{same}")
        assert_one_line(
            *run(*one_step, *arguments), "--save: got .*model; a separate file is needed"
        )
    code, out, err = run(*one_step, "--batch", 1, "--save", tmp_path / "model")
    assert code == 0
    assert "; 1 step of 1 image on " in err
    assert " after 1 step\n" in out
    before = (tmp_path / "model").read_bytes()
    arguments = ("--batch", 1, "--resume", tmp_path / "model", "--json", tmp_path / "link")
    assert_one_line(
        *run(*one_step, *arguments), "--json: got .*link, as --resume did; a separate file"
    )
    assert (tmp_path / "model").read_bytes() == before


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((27, 28), np.uint8), r"got shape \(27, 28\); images of 28 x 28"),
        (np.zeros((28, 28), np.int64), "got int64; uint8, or floats from 0 to 1"),
        (np.full((28, 28), 2.0), r"got 2.0 at \[0, 0\]; floats from 0 to 1 are needed"),
        (np.zeros((28, 28, 3), np.uint8), r"\(28, 28, 3\); .* \(N, 28, 28\) for"),
    ],
)
def test_wrong_images_are_refused(run, tmp_path, array, words):
    model, image = tmp_path / "model", tmp_path / "image.npy"
    run("train", "softmax", "--steps", 1, "--save", model)
    np.save(image, array)
    assert_one_line(*run("predict", "--model", model, image), words)


@pytest.fixture
def photo(tmp_path):
    """A file name, and a function that writes a picture of a seven to it: dark on white."""
    from PIL import Image, ImageDraw

    path = tmp_path / "photo.jpg"
    image = Image.new("RGB", (300, 200), (250, 240, 230))
    ImageDraw.Draw(image).line([(110, 40), (190, 40), (140, 160)], fill=(40, 30, 90), width=14)
    image.save(path, quality=80)
    return path


def test_predict_a_photo_with_the_weights_of_the_package(run, tmp_path, photo):
    from PIL import Image

    code, out, err = run("predict", photo)
    assert code == 0
    assert out.startswith(f"{photo}: 7   0: ")
    assert "lesson best\n" in err
    assert f"{photo}: 200 x 300 (height x width), dark on light, inverted, cropped to " in err
    assert "centred" in err
    for lesson in ("1.0", "conv-dropout", "best"):
        assert run("predict", "--lesson", lesson, photo)[1].startswith(f"{photo}: 7 ")
    seen = tmp_path / "seen.png"
    code, out, _ = run("predict", photo, "--show", "--save-input", seen)
    lines = out.splitlines()
    assert len(lines) == 29
    assert max(map(len, lines[:28])) <= 56
    assert "@@" in out
    image = np.asarray(Image.open(seen))
    assert image.shape == (28, 28)
    shown = np.array([list(line.ljust(56)) for line in lines[:28]])[:, ::2] != " "
    np.testing.assert_array_equal(shown, image > 25)
    again = run("predict", "--as-is", seen)[1]
    assert again.rstrip().split(": ", 1)[1] == lines[-1].split(": ", 1)[1], (
        "the saved input, unchanged"
    )


def test_export(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    file = tmp_path / "model.onnx"
    code, out, err = run("export", file, "--lesson", "1.0")
    assert (code, err) == (0, "")
    line = (
        r"model\.onnx: lesson 1\.0 softmax, images \(batch, 28, 28, 1\) to logits \(batch, 10\), "
    )
    assert re.search(line + r"3\d kB\n$", out)
    data = tt.datasets.mnist()
    images, labels = tt.datasets.to_float(data.test_images), data.test_labels
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": images})
    assert (logits.argmax(axis=1) == labels).mean() > 0.91
    weights = tmp_path / "weights.safetensors"
    run("train", "softmax", "--steps", 1, "--save-weights", weights)
    assert run("export", file, "--weights", weights)[0] == 0


def test_export_with_wrong_options(run, tmp_path, monkeypatch):
    file = tmp_path / "model.onnx"
    assert_one_line(*run("export", file, "--lesson", "2.0"), "only of 1.0, 3.1, best; make a file")
    words = "--lesson: got --weights too"
    assert_one_line(*run("export", file, "--lesson", "best", "--weights", file), words)
    assert_one_line(*run("export", "3.1"), r"got 3\.1; a name that ends with \.onnx is needed")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert_one_line(*run("export", file), r"run: pip install 'tinytensor-engine\[onnx\]'")


def test_export_of_a_page_with_wrong_options(run, tmp_path):
    page = tmp_path / "net.html"
    for option, value in {"--images": 1000, "--seed": 0, "--data": tmp_path}.items():
        words = f"{option}: it is for pages; give --html FILE"
        assert_one_line(*run("export", tmp_path / "model.onnx", option, value), words)
    words = "--lesson: a page takes its lesson first"
    assert_one_line(*run("export", "1.0", "--html", page, "--lesson", "1.0"), words)
    weights = tt.lessons.find("1.0").weights_file()
    words = r"1\.0\.safetensors is of lesson 1\.0; weights of lesson 3\.1 are needed"
    assert_one_line(*run("export", "3.1", "--html", page, "--weights", weights), words)
    colours = tt.datasets.Dataset(*2 * (np.zeros((8, 6, 5, 3), np.uint8), np.arange(8) % 2))
    training = tt.train.Training(tt.lessons.find("1.0"), colours, steps=1, batch=2)
    training.save_weights(tmp_path / "colours.safetensors")
    words = "is for images of 6 x 5 x 3 and 2 classes; give their --data"
    options = "--html", page, "--weights", tmp_path / "colours.safetensors"
    assert_one_line(*run("export", "1.0", *options), words)
    words = r"export_html: lesson best distorts the images in Python at each step"
    assert_one_line(*run("export", "best", "--html", page), words)
    assert_one_line(*run("export", "1.0", "--html", "-"), "--html: got -; a file is needed")
    assert_one_line(*run("export", "9.9", "--html", page), "there is none named '9.9'")
    assert not page.exists()


@pytest.mark.parametrize(
    ("arguments", "option", "endings"),
    [
        (("export", "1.0"), "--html", ".html or .htm"),
        (("report", "run"), "--html", ".html or .htm"),
        (("report", "run"), "--png", ".png"),
        (("report", "run"), "--movie", ".mp4 or .gif"),
        (("bench", "--quick"), "--html", ".html or .htm"),
        (("bench", "--quick"), "--json", ".json"),
        (("sweep", "1.0", "--rate", "1e-4..1"), "--html", ".html or .htm"),
        (("sweep", "1.0", "--rate", "1e-4..1"), "--png", ".png"),
        (("program", "1.0"), "--html", ".html or .htm"),
        (("microscope", "1.0", "--weight", "1,1"), "--html", ".html or .htm"),
        (("race", "1.0"), "--json", ".json"),
        (("train", "1.0"), "--json", ".json"),
        (("predict", "photo.png"), "--save-input", ".png"),
    ],
)
def test_an_output_does_not_replace_a_program(run, tmp_path, arguments, option, endings):
    program = tmp_path / "mine.py"
    program.write_text("x = 1\n")
    words = rf"{option}: got .*mine\.py; a file name that ends with {re.escape(endings)} is needed"
    assert_one_line(*run(*arguments, option, program), words)
    assert program.read_text() == "x = 1\n"


def test_export_into_a_folder_that_does_not_exist(run, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    words = "there is no folder .*none; make it first"
    assert_one_line(*run("export", tmp_path / "none" / "model.onnx"), words)


def test_predict_many_digits(run, tmp_path, photo):
    from PIL import Image

    sheet = Image.new("RGB", (900, 200), "white")
    for i in range(3):
        sheet.paste(Image.open(photo), (300 * i, 0))
    sheet.save(tmp_path / "sheet.png")
    seen = tmp_path / "seen.png"
    code, out, _ = run("predict", tmp_path / "sheet.png", "--many", "--save-input", seen)
    assert code == 0
    names = [line.split("   ")[0] for line in out.splitlines()]
    assert names == [f"{tmp_path}/sheet.png[{i}]: 7" for i in range(3)]
    assert Image.open(seen).size == (84, 28)


def test_predict_reads_the_other_pictures_if_one_cannot_be_read(run, tmp_path, photo):
    from PIL import Image

    white, seen = tmp_path / "white.png", tmp_path / "seen.png"
    Image.new("L", (100, 100), 255).save(white)
    code, out, err = run("predict", white, photo, tmp_path / "none.png", "--save-input", seen)
    assert code == 2
    assert out.startswith(f"{photo}: 7 ")
    assert len(out.splitlines()) == 1
    last = err.splitlines()[-1]
    assert re.search(r"white\.png: no digit found: .*; .*none\.png: can't be read", last)
    assert Image.open(seen).size == (28, 28)


def test_predict_with_wrong_options_or_pictures(run, tmp_path, photo):
    from PIL import Image

    assert_one_line(*run("predict", "--lesson", "2.0", photo), "only of 1.0, 3.1, best; make a fil")
    words = "--lesson: got --weights too"
    assert_one_line(*run("predict", "--lesson", "best", "--weights", photo, photo), words)
    assert_one_line(*run("predict", "--many", "--as-is", photo), "--many: got --as-is too")
    words = "got a picture of 200 x 300 pixels .*; 28 x 28"
    assert_one_line(*run("predict", "--as-is", photo), words)
    words = r"--save-input: got .*x\.jpg; a file name that ends with \.png"
    assert_one_line(*run("predict", "--save-input", tmp_path / "x.jpg", photo), words)
    white = tmp_path / "white.png"
    for colour in ("white", "black"):
        Image.new("RGB", (50, 60), colour).save(white)
        assert_one_line(*run("predict", white), r"white\.png: no digit found")
        assert_one_line(*run("predict", white, "--many"), r"white\.png: no digit found")
    Image.new("1", (10_000, 6000)).save(white)
    assert_one_line(*run("predict", white), "got 6000 x 10000 pixels .*; .* at most 50,000,000")
    white.write_bytes(b"no image")
    assert_one_line(*run("predict", white), "a picture is needed, such as a PNG or JPEG")
    assert_one_line(
        *run("predict", tmp_path / "none.png"), r"none\.png: can't be read: No such file"
    )
    assert_one_line(
        *run("predict", photo.rename(tmp_path / "photo.heic")),
        r"a name that ends with \.npy or \.png",
    )


def test_save_weights(run, tmp_path):
    file, checkpoint = tmp_path / "w.safetensors", tmp_path / "c.safetensors"
    code, out, _ = run(
        "train", "softmax", "--steps", 60, "--save", checkpoint, "--save-weights", file
    )
    assert code == 0
    assert file.stat().st_size < checkpoint.stat().st_size / 2
    about = about_file(file)
    assert about["command"].startswith(
        "tinytensor train softmax --steps 60 --batch 100 --seed 0 --s"
    )
    assert about["classes"] == '["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]'
    data = datasets.mnist()
    accuracy, _, _ = evaluate(load_model(file)[1], data.test_images, data.test_labels)
    assert accuracy == float(about["test_accuracy"])
    assert abs(accuracy - float(re.search(r"test accuracy  (\S+)", out)[1])) < 0.002
    rounded, exact = tt.load(file)["tested.weight"], tt.load(checkpoint)["tested.weight"]
    np.testing.assert_allclose(rounded.numpy(), exact.numpy(), rtol=1e-3, atol=1e-7)
    words = "resume: .* model.weight is missing"
    assert_one_line(*run("train", "softmax", "--steps", 60, "--resume", file), words)
    words = "--save-weights: got .*; a separate file is needed"
    same = ("--save", file, "--save-weights", file)
    assert_one_line(*run("train", "softmax", "--steps", 1, *same), words)


@pytest.mark.parametrize("value", ["localhost", "*", "http://localhost:80", "a b:80", "*:80"])
def test_allowed_addresses_are_hosts_with_ports(run, value):
    words = "--allow-origin.*HOST:PORT is needed, such as localhost:8080"
    assert_one_line(*run("train", "softmax", "--live", "--allow-origin", value), words)
    words = "--allow-origin: is an option of the live page; add --live"
    assert_one_line(*run("train", "softmax", "--allow-origin", "localhost:80"), words)


def test_train_on_a_folder_of_pictures(run, tmp_path):
    from PIL import Image

    for i, name in enumerate(("cat", "dog", "emu")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for j in range(12):
            pixels = np.zeros((28, 28), np.uint8)
            pixels[4 + 7 * i : 9 + 7 * i, 5 : 12 + j] = 255
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{j}.png")
    weights = tmp_path / "w.safetensors"
    arguments = ("--steps", 40, "--batch", 30, "--save-weights", weights)
    code, out, _ = run("train", "softmax", "--data", tmp_path / "pets", *arguments)
    assert code == 0
    assert "test accuracy  1.0000" in out
    picture = tmp_path / "pets/emu/3.png"
    code, out, _ = run("predict", "--weights", weights, "--as-is", picture)
    assert re.match(rf"{picture}: emu   cat: 0\.\d+  dog: 0\.\d+  emu: 0\.\d+\n", out)


def test_command_descriptions_fit_80_columns():
    for name, command in program.commands.items():
        text = command.get_short_help_str(limit=65)
        assert not text.endswith("..."), f"{name}: {text}"


@pytest.mark.parametrize(
    "options", [(), ("--rewritten",), ("--profile",), ("--backend", "numpy", "--batch", 7)]
)
def test_program_prints_a_step(run, options):
    code, out, err = run("program", "softmax", *options)
    assert (code, err) == (0, "")
    rewritten = {"--rewritten", "--profile"} & set(options)
    calls = "7 calls (3 forward, 2 backward" if rewritten else "8 calls (3 forward, 3 backward"
    assert out.startswith(f"train_step: {calls}, 2 update)")
    for heading in ("GFLOP/s", " share\n"):
        assert (heading in out) == ("--profile" in options)
    assert f"images ({7 if 7 in options else 100},784)" in out


@pytest.mark.parametrize("options", [(), ("--profile",)])
def test_program_writes_a_page(run, tmp_path, options):
    file = tmp_path / "step.html"
    assert run("program", "softmax", "--html", file, *options) == (0, "", "")
    page = file.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count("<td>1</td>") == 1
    assert f"train_step: {7 if '--profile' in options else 8} calls" in page
    assert ("us a step" in page) == ("--profile" in options)
    code, out, err = run("program", "softmax", "--html", "-", *options)
    assert (code, err) == (0, "")
    assert out.startswith("<!doctype html>")


@pytest.mark.parametrize("lesson", [lesson.number for lesson in lessons.lessons()])
def test_program_fits_80_columns_and_names_the_layers(run, lesson):
    code, out, _ = run("program", lesson, "--batch", 2)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    lines = {line for line in out.splitlines() if "train.py:" in line}
    assert len(lines) <= 4, "the loss, its gradient, the update, and averages"
    assert ("backward of matmul  layers." in out) == (lesson != "1.0")


def test_program_page_in_a_missing_folder_is_an_error(run, tmp_path):
    missing = tmp_path / "missing" / "step.html"
    assert_one_line(*run("program", "softmax", "--html", missing), "--html: there is no folder")


def test_eager_training_gives_the_same_bits(run):
    results = [
        run("train", "softmax", "--steps", 20, "--json", "-", *o) for o in ((), ("--eager",))
    ]
    both = [json.loads(out)["history"] for _, out, _ in results]
    assert both[0] == both[1]


def test_claims_are_listed(run):
    code, out, _ = run("try")
    assert code == 0
    assert len(out.splitlines()) == len(claims.CLAIMS) + 1  # and the museum of mistakes
    assert max(map(len, out.splitlines())) <= 80
    assert_one_line(*run("try", "relus"), "there is nothing named 'relus'; did you mean 'relu'")


QUICK_CLAIMS = ("squared-error", "gradients")  # one that ranks its variants, and one that does not


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(claim, marks=[] if claim.name in QUICK_CLAIMS else pytest.mark.full)
        for claim in claims.CLAIMS
    ],
    ids=lambda claim: claim.name,
)
def test_a_claim_is_measured(run, monkeypatch, claim):
    data = datasets.mnist()
    few = data._replace(test_images=data.test_images[:100], test_labels=data.test_labels[:100])
    monkeypatch.setattr(datasets, "mnist", lambda: few)
    short = {name: replace(variant, steps=3) for name, variant in claim.variants().items()}
    monkeypatch.setattr(claims, "CLAIMS", (replace(claim, variants=lambda: short),))
    code, out, _ = run("try", claim.name, "--seeds", 2)
    assert code == 0
    assert out.startswith(claim.sentence)
    for variant in short:
        (row,) = (line for line in out.splitlines() if line.startswith(f"{variant}  "))
        values = row.removeprefix(variant).split()
        assert len(values) == len(claim.measurement.columns) + claim.measurement.ranks
    verdicts = [line for line in out.splitlines() if line.startswith("  ")][-len(claim.checks) :]
    assert all(re.search(": (no|(yes|unclear)(, the ranges overlap)?)$", line) for line in verdicts)
    assert out.splitlines()[-1].startswith("The claim ")
    assert max(map(len, out.splitlines())) <= 80


def test_the_verdict_on_a_claim():
    """No if a check is wrong for all seeds, yes if all are right, otherwise unclear."""

    def verdict(accuracies, others, ties=False):
        check = claims.Check(("a", "accuracy"), ("b", "accuracy"), ties)
        claim = replace(claims.find_claim("relu"), checks=(check,))
        measured = [claims.Measured("a", [accuracies]), claims.Measured("b", [others])]
        checked = claims.check(claim, measured)
        return claims.verdict(checked)

    assert verdict([0.9, 0.8], [0.7, 0.75]) == "yes"
    assert verdict([0.9, 0.8], [0.7, 0.85]) == "unclear"
    assert verdict([0.9, 0.8], [0.7, 0.85], ties=True) == "yes"
    assert verdict([0.7, 0.6], [0.8, 0.75]) == "no"
    assert verdict([0.7, 0.6], [0.8, 0.75], ties=True) == "no"
    one, other = (
        claims.Checked(claims.Check(("a", "b"), 0.5), (0, 0), (0, 0), v) for v in ("yes", "no")
    )
    assert claims.verdict([one, other]) == "no"


def test_a_claim_that_allows_ties_says_not_below(run, monkeypatch):
    checks = [claims.Check(("a", "accuracy"), ("b", "accuracy"), ties) for ties in (False, True)]
    assert list(map(str, checks)) == ["a above b in accuracy", "a not clearly below b in accuracy"]
    claim = replace(claims.find_claim("relu"), variants=dict, checks=tuple(checks))
    measured = [claims.Measured("a", [[0.8, 0.7]]), claims.Measured("b", [[0.9, 0.75]])]
    monkeypatch.setattr(claims, "CLAIMS", (claim,))
    monkeypatch.setattr(claims, "measure", lambda *_: measured)
    ranges = "  0.7000 to 0.8000 against 0.7500 to 0.9000"
    monkeypatch.setattr(claims.Measured, "means", [0.0] * 4)
    out = run("try", "relu")[1]
    assert f"{ranges}: unclear, the ranges overlap\n" in out
    assert f"{ranges}: yes, the ranges overlap\n" in out


def test_a_claim_that_takes_long_says_so(run, monkeypatch):
    relu = claims.find_claim("relu")
    short = replace(relu, variants=dict, measurement=claims.GRADIENTS, checks=())
    monkeypatch.setattr(claims, "CLAIMS", (replace(short, minutes=2), replace(short, name="r")))
    listed = run("try")[1].splitlines()
    assert [line.endswith(" (2 min)") for line in listed] == [True, False, False]
    assert "This takes 2 min." in run("try", "relu")[1]
    assert "This takes" not in run("try", "r")[1]


def test_failed_training_prints_the_cause(run, monkeypatch):
    wild = replace(
        lessons.find("softmax"), optimizer=lambda parameters: tt.optim.SGD(parameters, lr=1e38)
    )
    monkeypatch.setattr(lessons, "find", lambda name: wild)
    words = (
        r"the loss is (nan|inf) at step \d+, .* a learning rate that is too large \(1e\+38 here\)"
    )
    code, out, err = run("train", "softmax", "--steps", 20, "--eval-every", 50)
    assert (code, out) == (2, "")
    assert re.search(words, err.splitlines()[-1])


def test_lesson_prints_the_code_of_its_file(run):
    for lesson in lessons.lessons():
        code, out, err = run("lesson", lesson.name, "--code")
        assert (code, err) == (0, "")
        assert f'number="{lesson.number}"' in out
        assert out.rstrip() == lessons.source(lesson.number).rstrip()
