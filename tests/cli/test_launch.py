"""`tinytensor launch`, and how a run on several ranks ends."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_parallel import MPIEXEC, ranks

import tinytensor as tt
from tinytensor import checkpoint
from tinytensor.cli import launch_command
from tinytensor.live import run_file

pytestmark = pytest.mark.skipif(
    MPIEXEC is None, reason="needs mpi4py and mpiexec: pip install 'tinytensor-engine[mpi]'"
)
ENDS_WITHIN = 30  # seconds, also on a machine on which other programs run
LONG = ("train", "2.1", "--steps", "1000000", "--eval-every", "500000", "--batch", "40")


SOFTMAX_TWICE = """
from dataclasses import replace

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import find


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(784, 10)

    def forward(self, x):
        return tt.softmax(self.linear(x.reshape(-1, 784)))


LESSON = replace(find("softmax"), name="mine", model=lambda *_: Network())
"""


ENDS_AT_ONCE = """
import os
from dataclasses import replace

import tinytensor as tt
from tinytensor.lessons import find
from tinytensor.ops import cross_entropy


def loss(logits, labels):
    if tt.parallel.world().rank == 2 and tt.parallel.world().exchanges > 40:
        os._exit(0)
    return cross_entropy(logits, labels)


LESSON = replace(find("softmax"), loss=loss)
"""


STARTED: list["subprocess.Popen[str]"] = []


def started(n: int, *arguments: str, **settings: object) -> "subprocess.Popen[str]":
    """`tinytensor launch` in a separate process group."""
    command = [sys.executable, "-m", "tinytensor", "launch", "-n", str(n), *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **settings,
    )  # fmt: skip
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def _ended():
    """No process outlives a test that has failed."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            for pid in descendants(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.kill()
        process.communicate()


def launched(n: int, *arguments: str) -> "subprocess.CompletedProcess[str]":
    process = started(n, *arguments)
    try:
        out, err = process.communicate(timeout=100)
    finally:
        process.kill()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def ranks_of(process: "subprocess.Popen[str]", n: int) -> list[int]:
    """The process ids of the n ranks that a launch has started, after their imports."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [pid for pid in descendants(process.pid) if "PMI_RANK" in environment(pid)]
        python = [pid for pid in found if Path(f"/proc/{pid}/exe").resolve().name[:6] == "python"]
        if len(python) == n:
            return sorted(python, key=lambda pid: int(environment(pid)["PMI_RANK"]))
        time.sleep(0.1)
    raise AssertionError(f"{n} ranks did not start")


def descendants(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [each for child in children for each in (int(child), *descendants(int(child)))]
    return []


def environment(pid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        items = Path(f"/proc/{pid}/environ").read_text().split("\0")
        return dict(item.split("=", 1) for item in items if "=" in item)
    return {}


def assert_end(pids: list[int]) -> None:
    """Waits up to 5 s until the processes have ended."""
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 90
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def saving(n: int, file: Path) -> "tuple[subprocess.Popen[str], list[int]]":
    """A long training on n ranks that has saved its first checkpoint, and their process ids."""
    process = started(n, *LONG, "--save", str(file), "--save-every", "5")
    pids = ranks_of(process, n)
    wait_for(file)
    return process, pids


def weights(result: "subprocess.CompletedProcess[str]") -> str:
    assert result.returncode == 0, result.stderr
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("weights"))
    return line.split()[2].rstrip(",")


def test_launch_prints_what_it_runs_and_each_result_once(tmp_path):
    file = tmp_path / "result.json"
    arguments = ("train", "1.0", "--steps", "20", "--eval-every", "10", "--json", str(file))
    done = launched(2, *arguments)
    assert weights(done).startswith(json.loads(file.read_text())["weights_sha256"][:16])
    first, *rest = done.stderr.splitlines()
    assert first.startswith("mpiexec: ")
    assert first.endswith(" ".join(arguments))
    assert "2 ranks: rank 0 trains on 50 images of each batch of 100" in rest[1]
    assert rest[1].endswith("divided into 4 chunks")  # without batch norm
    assert done.stdout.count("test accuracy") == 1
    assert len([line for line in rest if line.startswith("step")]) == 2


@pytest.mark.full
def test_rank_0_records_logs_and_saves_the_best(tmp_path):
    run, log, save = (str(tmp_path / name) for name in ("run.tt", "log.csv", "run.safetensors"))
    arguments = ("--record", run, "--log", log, "--save", save, "--save-best")
    done = launched(2, "train", "1.0", "--steps", "30", "--eval-every", "10", *arguments)
    assert len(weights(done)) == 16
    assert done.stderr.count("best validation accuracy") == 1
    steps = [line.split(",")[0] for line in Path(log).read_text().splitlines()]
    assert steps == ["step", "10", "20", "30"]
    assert run_file.load(run).snapshots[-1].step == 30
    alone = tmp_path / "alone"
    alone.mkdir()
    command = ["train", "1.0", "--steps", "30", "--eval-every", "10", "--chunks", "4"]
    command += ["--save", str(alone / "run.safetensors"), "--save-best", "--threads", "1"]
    subprocess.run([sys.executable, "-m", "tinytensor", *command], check=True, timeout=60)
    for name in ("step", "best", "outputs"):  # the ranks share the validation images
        best = [checkpoint.about(each / "best.safetensors")[name] for each in (tmp_path, alone)]
        assert best[0] == best[1]


@pytest.mark.full
def test_rank_0_coaches(tmp_path):
    lesson = tmp_path / "mine.py"
    lesson.write_text(SOFTMAX_TWICE)
    done = launched(2, "train", str(lesson), "--steps", "10", "--coach")
    assert done.returncode == 0, done.stderr
    assert "coach          found 1 mistake" in done.stdout
    assert done.stderr.count("softmax is applied twice") == 1


def test_hosts_are_passed_to_mpiexec(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost:2\n")
    done = launched(2, "--hosts", str(hosts), "train", "1.0", "--steps", "3")
    assert f"-hostfile {hosts}" in done.stderr
    assert len(weights(done)) == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "2.2", "--stps", "3"), "No such option '--stps'"),
        (("lessons",), "train LESSON is needed"),
        (("train", "nothing"), "rank 0: train: no lesson"),
        (("train", "1.0", "--chunks", "3"), "rank 0: chunks: got 3 for 2 ranks"),
        (("train", "1.0", "--live", "terminal"), "rank 0: --live terminal: mpiexec reads"),
    ],
)
def test_an_error_is_one_line_with_status_2(arguments, message):
    done = launched(2, *arguments)
    assert done.returncode == 2
    lines = [x for x in done.stderr.splitlines() if x and not x.startswith("mpiexec: ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("tinytensor: ")
    assert message.replace("train: no lesson", "") in lines[0]


@pytest.mark.parametrize("command", [["race", "1.0", "--steps", "3"], ["info"]])
def test_a_command_that_does_not_share_its_work_is_refused_on_ranks(command):
    words = [sys.executable, "-m", "tinytensor", *command]
    start = [str(MPIEXEC), "-n", "2", *words]
    done = subprocess.run(start, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tinytensor: {command[0]}: mpiexec started 2 processes of it")
    assert "only train and sweep share their work" in line


def test_a_command_on_one_rank_works():
    words = [str(MPIEXEC), "-n", "1", sys.executable, "-m", "tinytensor", "explain", "softmax"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_mpi4py_the_message_names_the_extra(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    tt.parallel.world.cache_clear()
    with pytest.raises(tt.BackendUnavailable, match=r"pip install 'tinytensor-engine\[mpi\]'"):
        tt.parallel.world()
    tt.parallel.world.cache_clear()


def test_mpiexec_of_another_library_is_refused():
    program = "import tinytensor as tt; tt.parallel.world()"
    as_open_mpi = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | as_open_mpi, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert "mpiexec started 4 processes, and mpi4py found 1" in done.stderr


def test_a_run_resumes_on_another_number_of_ranks(tmp_path):
    whole = launched(1, "train", "2.2", "--steps", "30")
    file = str(tmp_path / "run.safetensors")
    # The learning rate of lesson 2.2 does not depend on the number of steps.
    weights(launched(4, "train", "2.2", "--steps", "17", "--save", file))
    resumed = launched(2, "train", "2.2", "--steps", "30", "--resume", file, "--save", file)
    assert weights(resumed) == weights(whole)
    assert checkpoint.about(file)["step"] == "30"


def test_a_killed_rank_ends_all_ranks_and_is_named(tmp_path):
    file = tmp_path / "run.safetensors"
    process, pids = saving(4, file)
    os.kill(pids[2], signal.SIGKILL)
    _, err = process.communicate(timeout=ENDS_WITHIN)
    assert process.returncode != 0
    (line,) = (line for line in err.splitlines() if "was killed by SIGKILL" in line)
    assert re.search(r"ranks? (\d, )*2\b", line)  # alone, unless this machine is busy
    assert_end(pids)
    assert int(checkpoint.about(file)["step"]) % 5 == 0
    checkpoint.read(file)  # whole


@pytest.mark.full
def test_a_crash_of_a_rank_ends_all_ranks_and_is_named(tmp_path):
    file = tmp_path / "run.safetensors"
    process, pids = saving(2, file)
    os.kill(pids[1], signal.SIGSEGV)
    _, err = process.communicate(timeout=ENDS_WITHIN)
    assert process.returncode != 0
    # mpiexec may report rank 0 instead, which it has killed after the crash.
    ends = r"ended by Segmentation fault \(signal 11\)|killed by SIGKILL, crashed"
    assert re.search(rf"^tinytensor: .*\b1 was ({ends})", err, re.MULTILINE), err
    assert_end(pids)


@pytest.mark.full
def test_the_ranks_end_with_the_process_that_started_them(tmp_path):
    file = tmp_path / "run.safetensors"
    process, pids = saving(2, file)
    parent = int(Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    _, err = process.communicate(timeout=ENDS_WITHIN)
    assert process.returncode not in (None, 0)
    assert err.splitlines()[-1].startswith("tinytensor: mpiexec ended with status ")
    assert_end(pids)


@pytest.mark.full
@pytest.mark.parametrize("n", [1, 2])
def test_the_ranks_end_if_launch_is_killed(tmp_path, n):
    file = tmp_path / "run.safetensors"
    process, pids = saving(n, file)
    os.kill(process.pid, signal.SIGKILL)  # not waited for, so its process id stays in use
    try:
        assert_end(pids)
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=ENDS_WITHIN)
    assert "mpiexec: " in err


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0, 0.6])
def test_a_signal_before_the_first_step_is_no_crash(number, seconds):
    process = started(2, *LONG)
    ranks_of(process, 2)
    time.sleep(seconds)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=ENDS_WITHIN)
    assert process.returncode == 128 + number
    assert err.splitlines()[-1] == "tinytensor: stopped"
    assert "ended" not in err


def test_ranks_that_stop_together_print_one_line(capfd):
    """MPICH may join what two ranks print at the same time."""
    reasons: list[str] = []
    lines = ["step 3\n", "tinytensor: stoppedtinytensor: stopped\n", "\n", "tinytensor: stopped\n"]
    launch_command._show(lines, True, [], reasons, [signal.SIGINT])
    assert capfd.readouterr().err == "step 3\ntinytensor: stopped\n"
    assert reasons == ["tinytensor: stopped"]


@pytest.mark.full
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_stops_all(tmp_path, rank):
    file = tmp_path / "run.safetensors"
    process, pids = saving(2, file)
    os.kill(pids[rank], signal.SIGTERM)
    _, err = process.communicate(timeout=ENDS_WITHIN)
    assert process.returncode == 128 + signal.SIGTERM
    assert err.count("tinytensor: stopped") == 1
    assert "mpiexec ended" not in err


@pytest.mark.parametrize("content", ["", "\n# a comment\n"])
def test_a_file_of_hosts_without_a_host_is_one_line(tmp_path, content):
    hosts = tmp_path / "hosts"
    hosts.write_text(content)
    done = launched(2, "--hosts", str(hosts), "train", "1.0", "--steps", "3")
    assert done.returncode == 2
    assert done.stderr == (
        f"tinytensor: launch: --hosts: {hosts} names no machine; write one name on each line\n"
    )


@pytest.mark.full
def test_a_host_that_can_not_be_reached_is_one_more_line(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("no-host.invalid:2\n")
    done = launched(2, "--hosts", str(hosts), "train", "1.0", "--steps", "3")
    assert done.returncode != 0
    assert "the usual cause is a wrong host" in done.stderr.splitlines()[-1]


def test_a_rank_that_hangs_ends_all_ranks_and_is_named(tmp_path):
    file = tmp_path / "run.safetensors"
    process = started(3, *LONG, "--save", str(file), "--save-every", "5", "--timeout", "2")
    pids = ranks_of(process, 3)
    wait_for(file)
    os.kill(pids[1], signal.SIGSTOP)
    _, err = process.communicate(timeout=ENDS_WITHIN)
    assert process.returncode != 0
    assert "rank 1 has not answered rank 0 for" in err
    assert_end(pids)


def test_a_rank_that_ends_early_ends_all_ranks_and_is_named():
    program = """
import sys
import numpy as np
world.sum(np.ones(3))
if world.rank == 1:
    sys.exit()
world.sum(np.ones(3))
"""
    done = ranks(3, program, timeout=ENDS_WITHIN)
    assert done.returncode != 0
    words = "tinytensor: rank 1 has ended its program, and rank 0 waits for it"
    assert done.stderr.count(words) == 1


@pytest.mark.full
def test_ranks_that_wait_for_each_other_end():
    program = """
import numpy as np
world.timeout = 1.5
if world.rank == 1:
    world.broadcast(np.ones(3))
world.sum(np.ones(3))
"""
    done = ranks(2, program, timeout=ENDS_WITHIN)
    assert done.returncode != 0
    assert "all ranks have waited for each other for 2 s; all ranks must make the" in done.stderr


@pytest.mark.full
def test_launch_names_a_rank_that_ends_without_a_message(tmp_path):
    lesson = tmp_path / "mine.py"
    lesson.write_text(ENDS_AT_ONCE)
    done = launched(3, "train", str(lesson), "--steps", "9", "--eager")
    assert done.returncode != 0  # mpiexec may return 0 or 9
    (line,) = (line for line in done.stderr.splitlines() if "os._exit" in line)
    assert re.search(r"ranks? (\d, )*2\b", line)


STEPS = """
import subprocess, sys, time
from tinytensor import lessons
from tinytensor.ranks import liveness
from tinytensor.train import Training
data = tt.datasets.mnist()
data = data._replace(test_images=data.test_images[:600], test_labels=data.test_labels[:600])
run = Training(lessons.find("1.0"), data, world=world, steps=20, evaluate_every=10)
liveness.LIMIT = 1.0

def at(step, owner, name, act):
    compute = getattr(owner, name)
    def act_and_compute(*arguments):
        if run.step == step and world.rank == 1:
            act()
        return compute(*arguments)
    setattr(owner, name, act_and_compute)

def sleep():
    time.sleep(2)

def work():
    end = time.process_time() + 2
    while time.process_time() < end:
        pass

def wait_for_another_program():
    subprocess.run([sys.executable, "-c", "import time; time.sleep(2)"], check=True)
"""


def test_a_rank_that_hangs_in_a_step_is_named():
    program = "at(5, run.parallel, '_compute', sleep)\nlist(run)\n"
    done = ranks(2, STEPS + program, timeout=ENDS_WITHIN)
    assert done.returncode != 0
    assert "tinytensor: rank 1 has computed one training step for 1 s, and its" in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_rank_that_computes_nothing_outside_of_a_step_is_named():
    program = """
liveness.IDLE = 1.0
run.after_step = lambda: None
at(5, run, "after_step", lambda: time.sleep(1e6))
list(run)
"""
    done = ranks(2, STEPS + program, timeout=ENDS_WITHIN)
    assert done.returncode != 0
    assert "tinytensor: rank 1 has used no processor time for 1 s, and rank 0" in done.stderr


@pytest.mark.full
def test_a_rank_that_tests_saves_compiles_or_is_debugged_is_waited_for():
    program = """
liveness.IDLE = 1.0
at(0, run.parallel, "_compute", work)  # the first step
at(10, run, "test", work)
run.after_step = lambda: None
at(15, run, "after_step", wait_for_another_program)
if world.rank == 1:
    import pdb
at(17, run.parallel, "_compute", sleep)
list(run)
"""
    done = ranks(2, STEPS + program)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.full)],
)
def test_a_signal_ends_all_ranks_after_the_same_step(tmp_path, number):
    file = tmp_path / "run.safetensors"
    process, _ = saving(2, file)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=ENDS_WITHIN)
    assert process.returncode == 128 + number
    assert err.count("tinytensor: stopped") == 1
    assert "tinytensor launch -n 2 train 2.1" in err
    assert "equal on 2 ranks" in out
    checkpoint.read(file)


def test_a_checkpoint_that_cannot_be_written_ends_all_ranks(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    file = folder / "run.safetensors"
    process, _ = saving(2, file)
    folder.rename(tmp_path / "another")  # at once, while rank 0 may write a file there
    _, err = process.communicate(timeout=ENDS_WITHIN)
    assert process.returncode == 2
    (line,) = (line for line in err.splitlines() if line.startswith("tinytensor: rank"))
    assert line.startswith("tinytensor: rank 0: ")
    assert "run.safetensors" in line


def test_an_exception_on_one_rank_ends_all_ranks():
    program = """
import numpy as np
if world.rank == 1:
    raise RuntimeError("the disk is on fire")
world.sum(np.ones(3))
"""
    start = time.monotonic()
    done = ranks(3, program, timeout=ENDS_WITHIN)
    assert time.monotonic() - start < ENDS_WITHIN
    assert done.returncode != 0
    assert "RuntimeError: the disk is on fire" in done.stderr
    assert "tinytensor: rank 1 raised this error, which ends all ranks" in done.stderr


@pytest.mark.parametrize(
    ("change", "named"), [("seed=world.rank", "seed"), ("batch=100 + 4 * world.rank", "batch")]
)
def test_ranks_with_other_settings_are_named(change, named):
    program = f"""
from tinytensor import lessons
from tinytensor.train import Training
list(Training(lessons.find("1.0"), tt.datasets.mnist(), world=world, steps=3, {change}))
"""
    done = ranks(2, program, timeout=ENDS_WITHIN)
    assert done.returncode != 0
    assert f"DataError: train: rank 1 has {named}" in done.stderr


@pytest.mark.full
def test_of_long_settings_only_the_difference_is_named():
    program = """
from dataclasses import replace
from tinytensor import lessons, nn
from tinytensor.train import Training
drop = nn.Dropout(keep_prob=0.5 + 0.1 * world.rank)
layers = nn.Flatten(), nn.Linear(784, 30), drop, nn.Linear(30, 10)
lesson = replace(lessons.find("1.0"), model=lambda *_: nn.Sequential(*layers))
list(Training(lesson, tt.datasets.mnist(), world=world, steps=3))
"""
    done = ranks(2, program, timeout=ENDS_WITHIN)
    words = "rank 1 has network: layers.2: keep_prob 0.6, and rank 0 has 0.5; the same is needed"
    assert f"DataError: train: {words} on all ranks\n" in done.stderr


def test_ranks_with_other_data_are_named():
    program = """
from tinytensor import lessons
from tinytensor.train import Training
data = tt.datasets.mnist()
images = data.train_images.copy()
images[7, 14, 14] ^= world.rank == 2
data = data._replace(train_images=images)
list(Training(lessons.find("1.0"), data, world=world, steps=3))
"""
    done = ranks(4, program, timeout=ENDS_WITHIN)
    assert "DataError: train: rank 2 has data" in done.stderr


@pytest.mark.full
def test_a_sweep_on_several_ranks_needs_a_storage_and_prints_one_table(tmp_path):
    pytest.importorskip("optuna", reason="needs optuna")
    words = ["-m", "tinytensor", "sweep", "softmax", "--rate", "0.1..1", "--steps", "2"]
    words += ["--trials", "3", "--backend", "numpy", "--json", str(tmp_path / "result.json")]

    def swept(*more: object) -> "subprocess.CompletedProcess[str]":
        command = [str(MPIEXEC), "-n", "2", sys.executable, *words, *map(str, more)]
        return subprocess.run(command, capture_output=True, text=True, timeout=100)

    done = swept()
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("tinytensor:"))
    assert "sweep: mpiexec started 2 processes, which would all make the same trials" in line
    done = swept("--storage", tmp_path / "journal")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("accuracy") == 1
    assert done.stderr.count("to train with the best settings") == 1
    assert len(json.loads((tmp_path / "result.json").read_text())["trials"]) == 3
