"""Runs in files: what was recorded is what was reported, and broken files are told in one line."""

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
from tinytensor import door
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
    """A recorded training, and its reports with their details."""
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
def test_what_was_reported_is_what_is_loaded(tmp_path, lesson, data, batch):
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


def test_what_is_watched_is_recorded_in_full(tmp_path):
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


def test_a_run_without_a_step_is_not_recorded_in_silence(tmp_path):
    training = Training(find("softmax"), SMALL, steps=0)
    recorder = run_file.RunWriter(tmp_path / "run", training)
    (report,) = training
    with pytest.raises(tt.SettingError, match="no step was made before the report of step 0"):
        recorder.add(report, NUMPY)
    recorder.close()


def test_speed_counts_neither_the_first_step_nor_tests():
    training = Training(find("softmax"), SMALL, steps=10, batch=20, evaluate_every=4)
    speed = Speed(training)
    before = 0.0
    for report, steps in zip(training, (3, 4, 2), strict=True):
        seconds = report.seconds.train - before
        before = report.seconds.train
        assert speed(report) == pytest.approx(20 * steps / seconds)
    (only,) = Training(find("softmax"), SMALL, steps=1)
    assert Speed(Training(find("softmax"), SMALL, steps=1))(only) == 0


def test_lesson_1_0_is_recorded_in_one_mebibyte(tmp_path):
    record(tmp_path / "run")
    assert os.path.getsize(tmp_path / "run") < 1.1 * 2**20


def test_a_recording_is_read_while_it_grows_and_when_it_is_torn(tmp_path):
    file, part = tmp_path / "run", tmp_path / "part"
    training = Training(find("softmax"), SMALL, steps=6, evaluate_every=2)
    recorder = run_file.RunWriter(file, training)
    with pytest.raises(tt.DataError, match="no snapshot in this recording yet"):
        run_file.load(file)
    sizes = [file.stat().st_size]
    for report in training:
        recorder.add(report, NUMPY)
        recorder._thread.submit(lambda: None).result()  # until it is written
        sizes.append(file.stat().st_size)
        assert [s.step for s in run_file.load(file).snapshots] == [2, 4, 6][: len(sizes) - 1]
    recorder.close()
    content = file.read_bytes()
    for size in range(0, len(content), 97):
        part.write_bytes(content[:size])
        whole = sum(end <= size for end in sizes[1:])
        if whole:
            assert len(run_file.load(part).snapshots) == whole
            continue
        with pytest.raises(tt.DataError, match="part: "):
            run_file.load(part)


def test_what_is_broken_is_told_in_a_line(tmp_path):
    file = tmp_path / "run"
    record(file, data=SMALL, steps=2, evaluate_every=1, batch=5)
    content, snapshots = file.read_bytes(), run_file.load(file).snapshots
    generator = np.random.default_rng(0)
    told = harmless = 0
    for place in generator.integers(len(content), size=300):
        changed = bytearray(content)
        changed[place] ^= 1 << generator.integers(8)
        file.write_bytes(changed)
        try:
            loaded = run_file.load(file)
        except tt.DataError as error:
            told += str(file) in str(error)
        else:  # it was a length, so the rest seems torn off; or a bit that means nothing
            harmless += 1
            assert 1 <= len(loaded.snapshots) <= 2
            for snapshot, wanted in zip(loaded.snapshots, snapshots, strict=False):
                assert_same(snapshot, wanted)
    assert told + harmless == 300
    assert told > 280


@pytest.mark.parametrize("change", ["no labels", "other images", "floats", "no figures", "lesson"])
def test_a_recording_that_makes_no_sense_is_refused(tmp_path, change):
    file = tmp_path / "run"
    record(file, data=SMALL, steps=1)
    about, (arrays, words) = (
        run_file._opened(block) for block in run_file._blocks(file.read_bytes())
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
    blocks = run_file._block(*about) + run_file._block(arrays, words)
    file.write_bytes(run_file.FIRST_LINE + blocks)
    with pytest.raises(tt.DataError, match=r"another tinytensor|the recording is broken"):
        run_file.load(file)


def test_a_foreign_file_is_refused(tmp_path):
    foreign = tmp_path / "foreign"
    tt.save(foreign, {"x": tt.ones(3)})
    for file in (foreign, tmp_path, tmp_path / "none", __file__):
        with pytest.raises(tt.DataError, match=r"a recording .*is needed"):
            run_file.load(file)


def test_a_block_that_would_fill_the_memory_is_refused(tmp_path):
    file = tmp_path / "run"
    bomb = zlib.compress(bytes(run_file.LARGEST_BLOCK + 1))
    blocks = 2 * (struct.pack("<I", len(bomb)) + bomb)
    file.write_bytes(run_file.FIRST_LINE + blocks)
    with pytest.raises(tt.DataError, match="the recording is broken"):
        run_file.load(file)


def test_a_full_disk_is_told_at_the_end(tmp_path):
    training = Training(find("softmax"), SMALL, steps=3, evaluate_every=1)
    recorder = run_file.RunWriter("/dev/full", training)
    for report in training:
        recorder.add(report, NUMPY)
    with pytest.raises(tt.DataError, match="/dev/full can't be written: No space left"):
        recorder.close()
    with pytest.raises(tt.DataError, match="can't be written: Is a directory"):
        run_file.RunWriter(tmp_path, training)


# tinytensor train --record


@pytest.mark.full
def test_training_is_the_same_when_it_is_recorded(run, tmp_path):
    results = []
    for name, options in (("with", ["--record", tmp_path / "run"]), ("without", [])):
        saved = tmp_path / name
        asked = ("--steps", 60, "--eval-every", 20, "--seed", 5, "--save", saved, "--json", "-")
        code, out, _ = run("train", "dropout", *asked, *options)
        assert code == 0
        tensors = {name: x.numpy() for name, x in tt.load(saved).items()}
        results.append((json.loads(out)["history"], tensors))
    np.testing.assert_equal(results[0], results[1])
    assert [s.step for s in run_file.load(tmp_path / "run").snapshots] == [20, 40, 60]


def test_recording_needs_a_file_of_its_own(run, tmp_path):
    both = tmp_path / "both"
    for options, words in (
        (["--record", "-"], "--record: got -; a file of its own"),
        (["--record", both, "--save", both], "a file of its own is needed"),
        (["--record", both, "--json", both], "a file of its own is needed"),
        (["--record", tmp_path], "--record: .* is a folder"),
        (["--record", both, "--steps", 0], "no step is to be made"),
    ):
        code, _, err = run("train", "softmax", *options)
        assert code == 2
        assert re.search(words, err), err
        assert not both.exists()


@pytest.mark.full
def test_interrupted_what_was_recorded_is_kept(tmp_path):
    file = tmp_path / "run"
    command = [sys.executable, "-m", "tinytensor", "train", "relu", "--record", str(file)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while "step " not in (line := process.stderr.readline()) or "lesson" in line:
        assert line
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"recorded: tinytensor replay {file}" in err
    snapshots = run_file.load(file).snapshots
    assert 0 < len(snapshots) < 100
    assert snapshots[-1].step % 100 or len(snapshots) > 1, "the step at hand is seen, too"
