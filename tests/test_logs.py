"""Logs: what each format has, how a resumed run continues it, and files that can't be written."""

import copy
import csv
import errno
import json
import os
import pickle
import struct

import pytest

import tinytensor as tt
from tinytensor import atomic_file, nn
from tinytensor.errors import AnomalyError, DataError, NotSupported, SettingError
from tinytensor.logs import Log, log_to
from tinytensor.step_report import Seconds, StepReport

FIELDS = [
    "step",
    "train_accuracy",
    "train_loss",
    "test_accuracy",
    "test_loss",
    "rate",
    "seconds_first_step",
    "seconds_train",
    "seconds_evaluate",
]


def report(step):
    seconds = Seconds(0.5, 1.5, 0.25)
    if not step:
        return StepReport(0, None, None, 0.125, 2.5, 0.5, seconds)
    return StepReport(step, 0.75, 1 / 3, 0.5, 1e-9, 0.5, seconds)


def steps_in(file):
    if file.suffix == ".csv":
        return [int(row["step"]) for row in csv.DictReader(file.open())]
    return [json.loads(row)["step"] for row in file.read_text().splitlines()]


def events_in(folder):
    """The events of the files of a folder, in the order of their names."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2", reason="no tensorboardX here")
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack_from("Q", content)
            yield event_pb2.Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def curves_in(folder):
    """(step, name of the curve): value"""
    return {
        (event.step, value.tag): value.simple_value
        for event in events_in(folder)
        for value in event.summary.value
    }


def test_csv_has_the_exact_numbers_and_an_empty_cell_for_what_was_not_measured(tmp_path):
    file = tmp_path / "run.csv"
    with log_to(file) as log:
        log(report(0))
        log(report(10))
    header, first, second = csv.reader(file.open())
    assert header == FIELDS
    assert first == ["0", "", "", "0.125", "2.5", "0.5", "0.5", "1.5", "0.25"]
    assert [float(value) for value in second] == [10, 0.75, 1 / 3, 0.5, 1e-9, 0.5, 0.5, 1.5, 0.25]


def test_json_lines_have_the_same_fields_and_null(tmp_path):
    file = tmp_path / "run.jsonl"
    with log_to(file) as log:
        log(report(0))
        log(StepReport(10, float("nan"), 1 / 3, 0.5, 1e-9, 0.5, Seconds()))
    first, second = map(json.loads, file.read_text().splitlines())
    assert list(first) == list(second) == FIELDS
    assert first["train_loss"] is None
    assert second["train_loss"] == 1 / 3
    assert second["train_accuracy"] is None, "JSON has no NaN"


def test_tensorboard_has_a_curve_for_each_field(tmp_path):
    pytest.importorskip("tensorboardX", reason="no tensorboardX here")
    with log_to(tmp_path / "runs") as log:
        log(report(0))
        log(report(10))
    curves = curves_in(tmp_path / "runs")
    assert {name for step, name in curves if step == 10} == set(FIELDS[1:])
    assert curves[10, "train_loss"] == pytest.approx(1 / 3, rel=1e-7)  # float32
    assert (0, "train_loss") not in curves


@pytest.mark.parametrize("name", ["run.csv", "run.jsonl", "runs"])
def test_each_report_can_be_read_at_once(tmp_path, name):
    if name == "runs":
        pytest.importorskip("tensorboardX", reason="no tensorboardX here")
    path = tmp_path / name
    with log_to(path) as log:
        for count, step in enumerate((10, 20, 30), start=1):
            log(report(step))
            steps = {s for s, _ in curves_in(path)} if name == "runs" else steps_in(path)
            assert len(steps) == count


@pytest.mark.parametrize("name", ["run.csv", "run.jsonl", "runs"])
def test_a_new_run_refuses_an_existing_log(tmp_path, name):
    if name == "runs":
        pytest.importorskip("tensorboardX", reason="no tensorboardX here")
    path = tmp_path / name
    with log_to(path) as log:
        log(report(10))
    before = path.read_bytes() if path.is_file() else sorted(os.listdir(path))
    with pytest.raises(SettingError, match=rf"{name} exists; remove it, or choose another name"):
        log_to(path)
    assert before == (path.read_bytes() if path.is_file() else sorted(os.listdir(path)))


def test_two_runs_that_start_together_do_not_write_to_one_file(tmp_path):
    one, other = log_to(tmp_path / "run.csv"), log_to(tmp_path / "run.csv")
    one(report(10))
    other(report(20))
    one(report(30))
    one.close()
    with pytest.raises(SettingError, match=r"run\.csv exists"):
        other.close()
    assert steps_in(tmp_path / "run.csv") == [10, 30]


def test_a_copy_is_the_same_log_and_a_pickle_is_refused(tmp_path):
    with log_to(tmp_path / "run.csv") as log:
        assert copy.deepcopy(log) is log
        with pytest.raises(NotSupported, match=r"n_jobs=1"):
            pickle.dumps(log)


@pytest.mark.parametrize("name", ["run.csv", "run.jsonl"])
def test_a_resumed_run_repeats_no_step_and_leaves_no_half_row(tmp_path, name):
    path = tmp_path / name
    with log_to(path) as log:
        for step in (10, 20, 30):
            log(report(step))
    with path.open("a") as opened:
        opened.write("40,0.")  # half a row, as after a loss of power
    with log_to(path, after=20) as log:
        assert path.read_text().endswith("40,0."), "the first report replaces the file"
        log(report(30))
        log(report(50))
    assert steps_in(path) == [10, 20, 30, 50]


def test_tensorboard_hides_the_steps_that_a_resumed_run_repeats(tmp_path):
    pytest.importorskip("tensorboardX", reason="no tensorboardX here")
    for after in (None, 20):
        with log_to(tmp_path, after) as log:
            log(report(30))
    starts = [event.step for event in events_in(tmp_path) if event.session_log.status]
    assert starts == [21]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "[1]\n", "no log\n", "\0\xff\n"])
def test_a_resumed_run_refuses_another_file(tmp_path, content):
    for name in ("run.csv", "run.jsonl"):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(DataError, match=r"choose another file"), log_to(path, after=5) as log:
            log(report(10))
        assert path.read_text() == content


@pytest.mark.parametrize("name", ["", "run.txt", "run.json", "lr0.1"])
def test_an_unknown_ending_is_an_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match=r"a name that ends in \.csv or \.jsonl is needed"):
        log_to(name)
    assert not os.listdir(tmp_path)


def test_tensorboard_without_its_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("tinytensor.extras.find_spec", lambda name: None)
    cure = r"log: tensorboardX is not installed; run: pip install 'tinytensor-engine\[tensorboard\]"
    with pytest.raises(SettingError, match=cure):
        log_to(tmp_path / "runs")


@pytest.mark.parametrize("name", ["run.csv", "run.jsonl", "runs"])
def test_a_closed_log_can_be_closed_again_and_takes_no_report(tmp_path, name):
    if name == "runs":
        pytest.importorskip("tensorboardX", reason="no tensorboardX here")
    with log_to(tmp_path / name) as log:
        log(report(10))
        log.close()
    with pytest.raises(SettingError, match="is closed"):
        log(report(20))


def test_a_missing_folder_is_an_error_at_the_start(tmp_path):
    with pytest.raises(DataError, match=r"run\.csv can't be written \(No such file or directory\)"):
        log_to(tmp_path / "none" / "run.csv")


def test_a_full_disk_ends_the_log_with_whole_rows_and_not_the_training(tmp_path, monkeypatch):
    path = tmp_path / "run.csv"
    log = log_to(path)
    log(report(10))

    def write_half(opened, content):
        os.write(opened.fileno(), content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(atomic_file, "write_all", write_half)
        log(report(20))
    log(report(30))
    assert steps_in(path) == [10]
    assert path.read_text().endswith("\n")
    with pytest.raises(DataError, match=r"run\.csv can't be written \(No space left on device\)"):
        log.close()


def test_an_error_of_the_training_is_not_hidden_by_that_of_the_log(tmp_path):
    class Broken(Log):
        def write(self, values):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def train():
        with Broken("broken") as log:
            log(report(10))
            raise AnomalyError

    with pytest.raises(AnomalyError):
        train()


def test_fit_writes_a_row_for_each_epoch(tmp_path):
    data = tt.datasets.mnist()
    data = data._replace(train_images=data.train_images[:300], train_labels=data.train_labels[:300])
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with log_to(tmp_path / "run.jsonl") as log:
        last = tt.fit(model, data, epochs=2, show=log)
    rows = [json.loads(row) for row in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6]
    assert rows[-1]["test_loss"] == last.test_loss


def test_train_command_logs_each_report_and_continues_a_resumed_run(run, tmp_path):
    log, saved = tmp_path / "run.csv", tmp_path / "run.safetensors"
    options = ("--batch", 10, "--eval-every", 5, "--save", saved, "--log", log)
    assert run("train", "1.0", "--steps", 12, *options)[0] == 0
    assert steps_in(log) == [5, 10, 12]
    code, _, err = run("train", "1.0", "--steps", 20, *options)
    assert (code, err.count("\n")) == (2, 1)
    assert "run.csv exists" in err
    code, _, err = run("train", "1.0", "--steps", 20, *options, "--resume", saved)
    assert code == 0
    assert steps_in(log) == [5, 10, 12, 15, 20]
    assert f"--log {log}" in err, "the command that continues the run has the option, too"


def test_train_command_writes_for_tensorboard(run, tmp_path):
    pytest.importorskip("tensorboardX", reason="no tensorboardX here")
    code, _, err = run("train", "1.0", "--steps", 10, "--eval-every", 5, "--log", tmp_path / "1")
    assert code == 0, err
    assert {step for step, _ in curves_in(tmp_path / "1")} == {5, 10}


def test_train_command_refuses_a_wrong_log_in_one_line(run, tmp_path):
    file = tmp_path / "both.csv"
    missing = tmp_path / "no" / "a.csv"
    for options in (("--log", file, "--json", file), ("--log", "x.txt"), ("--log", missing)):
        code, _, err = run("train", "1.0", "--steps", 1, *options)
        assert (code, err.count("\n")) == (2, 1), err
        assert not file.exists()
