"""Run files: the snapshots match the reports, and damaged files raise one-line errors."""

import errno
import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import door, lessons
from tinytensor.lessons import find
from tinytensor.live import run_file
from tinytensor.live.details import details_of
from tinytensor.live.run import Run
from tinytensor.live.snapshot import Snapshot
from tinytensor.live.speed import Speed
from tinytensor.train import Training

NUMPY = door.load_backend("numpy")
DATA = tt.datasets.mnist()
SMALL = DATA._replace(test_images=DATA.test_images[:130], test_labels=DATA.test_labels[:130])


def record(file, lesson="softmax", data=DATA, **settings):
    """Record a training; return it, and its reports with their details."""
    training = Training(find(lesson), data, **settings)
    recorder = run_file.RunWriter(file, training)
    reports = []
    for report in training:
        recorder.add(report, NUMPY)
        reports.append((report, details_of(training.model, training.predictions)))
    recorder.close()
    return training, reports


def assert_same(snapshot, wanted):
    for name, value in vars(wanted).items():
        np.testing.assert_equal(getattr(snapshot, name), value, err_msg=name)
    assert list(snapshot.bands) == list(wanted.bands)


@pytest.mark.parametrize(
    ("lesson", "data", "batch"),
    [("softmax", DATA, 100), ("batchnorm-relu", SMALL, 30), ("best", SMALL, 10)],
)
def test_loaded_snapshots_match_the_reports(tmp_path, lesson, data, batch):
    file = tmp_path / "run"
    settings = {"steps": 12, "evaluate_every": 5, "seed": 3, "batch": batch}
    _, reports = record(file, lesson, data, **settings)
    loaded = run_file.load(file)
    assert (loaded.lesson, loaded.seed, loaded.backend) == (find(lesson), 3, "numpy")
    assert (loaded.steps, loaded.test_count) == (12, len(data.test_labels))
    assert [snapshot.step for snapshot in loaded.snapshots] == [5, 10, 12]
    for snapshot, (report, details) in zip(loaded.snapshots, reports, strict=True):
        own = {"backend": "numpy", "images_per_second": snapshot.images_per_second}
        assert_same(snapshot, Snapshot.of(report, details, data, **own))
    assert_same(loaded.snapshots[-1], loaded.snapshots[2])
    assert [snapshot.step for snapshot in loaded.snapshots[:2]] == [5, 10]


def test_a_run_of_a_lesson_of_your_own_is_read_with_its_names(tmp_path, run):
    file = tmp_path / "mine.py"
    file.write_text(lessons.source("softmax"))
    record = ["--steps", 2, "--eval-every", 1, "--backend", "numpy", "--record", tmp_path / "run"]
    assert run("train", file, *record)[0] == 0
    loaded = run_file.load(tmp_path / "run")
    assert (loaded.lesson.number, loaded.lesson.name) == ("mine.py", "mine")
    assert loaded.lesson.title == find("softmax").title
    assert loaded.name == "mine.py mine, seed 0"
    assert [snapshot.step for snapshot in loaded.snapshots] == [1, 2]
    with pytest.raises(tt.NotSupported, match="a run file does not contain its network"):
        loaded.lesson.new_model()
    code, _, err = run("report", tmp_path / "run", "--png", tmp_path / "run.png")
    assert code == 0
    assert err.startswith("lesson mine.py, seed 0: 2 snapshots")


def test_watched_run_is_recorded_completely(tmp_path):
    training = Training(find("softmax"), SMALL, steps=47, evaluate_every=2)
    recorder, watched = run_file.RunWriter(tmp_path / "run", training), Run(training)
    watched.start(recorder.add)
    list(watched)
    recorder.close()
    watched.close()
    record(tmp_path / "unwatched", data=SMALL, steps=47, evaluate_every=2)
    ones, others = (run_file.load(tmp_path / name).snapshots for name in ("run", "unwatched"))
    assert [snapshot.step for snapshot in ones] == [*range(2, 47, 2), 47]
    for one, other in zip(ones, others, strict=True):
        own = ("seconds", "images_per_second", "backend")
        assert_same(one, replace(other, **{name: getattr(one, name) for name in own}))


def test_recording_without_a_step_raises(tmp_path):
    training = Training(find("softmax"), SMALL, steps=0)
    recorder = run_file.RunWriter(tmp_path / "run", training)
    (report,) = training
    with pytest.raises(tt.SettingError, match="made no step before the report of step 0"):
        recorder.add(report, NUMPY)
    recorder.close()


def test_speed_excludes_the_first_step_and_tests():
    training = Training(find("softmax"), SMALL, steps=10, batch=20, evaluate_every=4)
    speed = Speed(training)
    before = 0.0
    for report, steps in zip(training, (3, 4, 2), strict=True):
        seconds = report.seconds.train - before
        before = report.seconds.train
        assert speed(report) == pytest.approx(20 * steps / seconds)
    (only,) = Training(find("softmax"), SMALL, steps=1)
    assert Speed(Training(find("softmax"), SMALL, steps=1))(only) == 0


def test_run_file_of_lesson_1_0_takes_one_mebibyte(tmp_path):
    record(tmp_path / "run")
    assert os.path.getsize(tmp_path / "run") < 1.1 * 2**20


def test_incomplete_run_file_is_read_up_to_the_last_block(tmp_path):
    file, part = tmp_path / "run", tmp_path / "part"
    training = Training(find("softmax"), SMALL, steps=6, evaluate_every=2)
    recorder = run_file.RunWriter(file, training)
    file.write_bytes(b"an earlier recording")
    sizes = [0]
    for report in training:
        assert sizes[-1] or file.read_bytes() == b"an earlier recording"
        recorder.add(report, NUMPY)
        recorder._thread.submit(lambda: None).result()  # until it is written
        sizes.append(file.stat().st_size)
        assert [s.step for s in run_file.load(file).snapshots] == [2, 4, 6][: len(sizes) - 1]
    recorder.close()
    content = file.read_bytes()
    for size in range(0, len(content), 97):
        part.write_bytes(content[:size])
        complete = sum(end <= size for end in sizes[1:])
        if complete:
            assert len(run_file.load(part).snapshots) == complete
            continue
        with pytest.raises(tt.DataError, match=r"part(: this run file has no| is not a run file)"):
            run_file.load(part)


def test_flipped_bits_raise_or_change_nothing(tmp_path):
    file = tmp_path / "run"
    record(file, data=SMALL, steps=2, evaluate_every=1, batch=5)
    content, snapshots = file.read_bytes(), run_file.load(file).snapshots
    generator = np.random.default_rng(0)
    raised = harmless = 0
    for place in generator.integers(len(content), size=300):
        changed = bytearray(content)
        changed[place] ^= 1 << generator.integers(8)
        file.write_bytes(changed)
        try:
            loaded = run_file.load(file)
        except tt.DataError as error:
            raised += str(file) in str(error)
        else:  # a bit of a length, so that later blocks seem incomplete; or an unused bit
            harmless += 1
            assert 1 <= len(loaded.snapshots) <= 2
            for snapshot, wanted in zip(loaded.snapshots, snapshots, strict=False):
                assert_same(snapshot, wanted)
    assert raised + harmless == 300
    assert raised > 280


@pytest.mark.parametrize("change", ["no labels", "other images", "floats", "no figures", "lesson"])
def test_inconsistent_run_file_raises(tmp_path, change):
    file = tmp_path / "run"
    record(file, data=SMALL, steps=1)
    about, (arrays, words) = (
        run_file._decode_block(block) for block in run_file._blocks(file.read_bytes())
    )
    if change == "no labels":
        del arrays["test_predictions"]
    elif change == "other images":
        arrays["test_steps"][5] = 1000
    elif change == "floats":
        arrays["train_labels"] = arrays["train_labels"].astype(np.float32)
    elif change == "no figures":
        words["figures"] = {}
    else:
        about[1]["lesson"] = "17.3"
        del about[1]["title"]  # as in old files
    blocks = run_file._encode_block(*about) + run_file._encode_block(arrays, words)
    file.write_bytes(run_file.FIRST_LINE + blocks)
    with pytest.raises(tt.DataError, match=r"another version|the run file is damaged"):
        run_file.load(file)


def test_file_of_another_format_raises(tmp_path):
    foreign = tmp_path / "foreign"
    tt.save(foreign, {"x": tt.ones(3)})
    for file in (foreign, tmp_path / "none", __file__):
        with pytest.raises(tt.DataError, match=r"tinytensor train --record w\w+"):
            run_file.load(file)
    with pytest.raises(tt.DataError, match="is a folder; a regular file is needed"):
        run_file.load(tmp_path)


def test_block_larger_than_the_limit_raises(tmp_path):
    file = tmp_path / "run"
    bomb = zlib.compress(bytes(run_file.MAX_BLOCK + 1))
    blocks = 2 * (struct.pack("<I", len(bomb)) + bomb)
    file.write_bytes(run_file.FIRST_LINE + blocks)
    with pytest.raises(tt.DataError, match="the run file is damaged"):
        run_file.load(file)


def test_full_disk_raises_on_close(tmp_path):
    training = Training(find("softmax"), SMALL, steps=3, evaluate_every=1)
    recorder = run_file.RunWriter("/dev/full", training)
    for report in training:
        recorder.add(report, NUMPY)
    with pytest.raises(tt.DataError, match=r"/dev/full can't be written \(No space left"):
        recorder.close()
    with pytest.raises(tt.DataError, match=r"can't be written \(Is a directory"):
        run_file.RunWriter(tmp_path, training)


def test_a_fault_of_any_write_leaves_the_earlier_recording_or_complete_snapshots(tmp_path):
    """Faults are injected at the n-th os.write, for n = 1, 2, ... until there is none."""
    reports_of = []

    def write_with_fault(n, file):
        count = 0

        def write(descriptor, content, write=os.write):
            nonlocal count
            count += 1
            if count == n:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(descriptor, content[:3000])

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(os, "write", write)
            try:
                record(file, data=SMALL, steps=6, evaluate_every=2)
            except tt.DataError as error:
                return str(error)
        return ""

    for n in range(1, 100):
        file = tmp_path / str(n)
        file.write_bytes(b"an earlier recording")
        if not (error := write_with_fault(n, file)):
            break
        assert "can't be written (No space left on device)" in error
        if "choose another file" in error:
            assert file.read_bytes() == b"an earlier recording"
            reports_of.append(0)
        else:
            assert "the snapshots written before the error can be read" in error
            reports_of.append(len(run_file.load(file).snapshots))
    assert len(run_file.load(file).snapshots) == 3
    assert reports_of == sorted(reports_of)
    assert set(reports_of) == {0, 1, 2}


# tinytensor train --record


@pytest.mark.full
def test_recording_does_not_change_the_training(run, tmp_path):
    results = []
    for name, options in (("with", ["--record", tmp_path / "run"]), ("without", [])):
        saved = tmp_path / name
        arguments = ("--steps", 60, "--eval-every", 20, "--seed", 5, "--save", saved, "--json", "-")
        code, out, _ = run("train", "dropout", *arguments, *options)
        assert code == 0
        tensors = {name: x.numpy() for name, x in tt.load(saved).items()}
        results.append((json.loads(out)["history"], tensors))
    np.testing.assert_equal(results[0], results[1])
    assert [s.step for s in run_file.load(tmp_path / "run").snapshots] == [20, 40, 60]


def test_record_needs_a_separate_file(run, tmp_path):
    both = tmp_path / "both"
    for options, words in (
        (["--record", "-"], "--record: got -; a separate file"),
        (["--record", both, "--save", both], "a separate file is needed"),
        (["--record", both, "--json", both], "a separate file is needed"),
        (["--record", tmp_path], "--record: .* is a folder"),
        (["--record", both, "--steps", 0], "the training has no steps to make"),
    ):
        code, _, err = run("train", "softmax", *options)
        assert code == 2
        assert re.search(words, err), err
        assert not both.exists()


@pytest.mark.full
def test_ctrl_c_keeps_the_recorded_snapshots(tmp_path):
    file = tmp_path / "run"
    command = [sys.executable, "-m", "tinytensor", "train", "relu", "--record", str(file)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while "step " not in (line := process.stderr.readline()) or "lesson" in line:
        assert line
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"recorded; to see it: tinytensor replay {file}" in err
    snapshots = run_file.load(file).snapshots
    assert 0 < len(snapshots) < 100
    assert snapshots[-1].step % 100 or len(snapshots) > 1, "with the step of the interrupt"
