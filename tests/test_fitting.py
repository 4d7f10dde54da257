"""tt.fit: data in all its forms, early stopping, checkpoints, the coach, and memory maps."""

import math
import subprocess
import sys

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import logs, nn
from tinytensor.datasets import Dataset
from tinytensor.live import run_file
from tinytensor.run_state import about
from tinytensor.train import Training

RNG = np.random.default_rng(0)


def pictures(count, shape=(6, 5, 3), classes=3):
    """Images uint8 with a bright row, whose number is the label, and their labels."""
    labels = np.arange(count) % classes
    images = RNG.integers(0, 60, (count, *shape))
    images[np.arange(count), labels] += 190
    return images.astype(np.uint8), labels


IMAGES, LABELS = pictures(120)


def linear(inputs=90, outputs=3):
    tt.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs))


def weights_of(model):
    return {name: x.numpy().copy() for name, x in model.state_dict().items()}


def assert_same_weights(one, other):
    for name, x in weights_of(one).items():
        np.testing.assert_array_equal(x, other[name], name)


def optimizer_of(model, lr=0.05):
    return tt.optim.Adam(model.parameters(), lr=lr)


# Data


def test_a_pair_of_arrays_with_images():
    reports, model = [], linear()
    optimizer = optimizer_of(model)
    last = tt.fit(
        model, (IMAGES, LABELS), epochs=20, batch=20, validation=0.25, optimizer=optimizer,
        show=reports.append,
    )  # fmt: skip
    assert [report.step for report in reports] == [4 * i for i in range(1, 21)], "90 // 20 = 4"
    assert last is reports[-1]
    assert last.test_accuracy > 0.9


def test_the_loop_is_that_of_the_lessons():
    """The same bits as a Training of the same lesson, and the validation images are held out."""
    lesson = tt.lessons.find("softmax")
    data = Dataset(*pictures(60, (28, 28), 10), *pictures(20, (28, 28), 10))
    training = Training(lesson, data, steps=9, batch=20, seed=3)
    list(training)
    model = lesson.new_model()
    tt.fit(
        model, data, epochs=3, batch=20, seed=3, optimizer=lesson.optimizer(model.parameters()),
        show=None,
    )  # fmt: skip
    assert_same_weights(model, weights_of(training.model))
    parts = tt.datasets.split(data, 12, seed=3)
    validated = linear(784, 10)
    report = tt.fit(validated, data, epochs=1, batch=20, validation=0.2, seed=3, show=None)
    again = tt.fit(linear(784, 10), parts, epochs=1, batch=20, seed=3, show=None)
    assert again.test_loss == report.test_loss


@pytest.mark.parametrize("targets", [(), (2,)])
def test_regression(targets):
    x = RNG.standard_normal((200, 4))
    y = x @ RNG.standard_normal((4, *targets))
    tt.manual_seed(0)
    model = nn.Linear(4, targets[0] if targets else 1)
    reports = []
    last = tt.fit(
        model, (x, y), epochs=30, batch=20, validation=50, optimizer=optimizer_of(model),
        show=reports.append,
    )  # fmt: skip
    assert last.test_loss < 1e-3 < reports[0].test_loss
    assert math.isnan(last.test_accuracy)
    assert repr(last).startswith("StepReport(step 210, test loss ")


def test_rows_of_floats_with_labels_and_a_validation_pair():
    x = RNG.standard_normal((150, 2)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    model = nn.Linear(2, 2)
    report = tt.fit(
        model, (tt.Tensor(x[:100]), y[:100]), validation=(x[100:], y[100:]), epochs=10, batch=10,
        optimizer=optimizer_of(model), show=None,
    )  # fmt: skip
    assert report.test_accuracy > 0.9


def test_integers_are_not_converted():
    tokens = np.arange(60)[:, None] % 6
    model = nn.Sequential(nn.Embedding(6, 4), nn.Flatten(), nn.Linear(4, 2))
    report = tt.fit(
        model, (tokens, tokens[:, 0] // 3), epochs=40, batch=10, validation=10, show=None,
        optimizer=optimizer_of(model),
    )  # fmt: skip
    assert report.test_accuracy == 1


def test_a_path(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)
    one = tt.fit(linear(), tmp_path / "a.npz", epochs=1, batch=20, show=None)
    other = tt.fit(linear(), str(tmp_path), epochs=1, batch=20, show=None)
    assert one.test_loss == other.test_loss


FITTING = IMAGES, LABELS
WRONG = {
    "no validation": ((FITTING,), {}, tt.SettingError, "nothing to test on; add validation=0.1"),
    "a fraction above": (
        (FITTING,),
        {"validation": 120},
        tt.SettingError,
        "got validation=120 for 120 examples; a fraction between 0 and 1, or a number from 1",
    ),
    "a negative one": ((FITTING,), {"validation": -0.1}, tt.SettingError, "got validation=-0.1"),
    "a broken one": ((FITTING,), {"validation": 2.5}, tt.SettingError, "got validation=2.5 for"),
    "NaN": ((FITTING,), {"validation": math.nan}, tt.SettingError, "got validation=nan"),
    "patience": (
        (Dataset(*FITTING, *FITTING),),
        {"patience": 2},
        tt.SettingError,
        "got patience without validation examples",
    ),
    "save_every": ((FITTING,), {"save_every": 2}, tt.SettingError, "got save_every without save"),
    "patience 0": (
        (FITTING,),
        {"patience": 0, "validation": 0.1},
        tt.SettingError,
        "patience",
    ),
    "labels": (
        ((IMAGES, LABELS[:9]),),
        {"validation": 0.1},
        tt.ShapeError,
        "got 9 labels for 120 examples",
    ),
    "classes": (
        ((IMAGES, LABELS + 5),),
        {"validation": 0.1},
        tt.LabelError,
        "got label 7, and the model has 3 outputs; one output for each of the labels 0 to 7",
    ),
    "targets": (
        ((IMAGES, LABELS / 2),),
        {"validation": 0.1},
        tt.ShapeError,
        "3 outputs for 1 target per example; .* for labels of classes, labels.astype",
    ),
    "NaN as a target": (
        ((IMAGES, np.full(120, np.nan)),),
        {"validation": 0.1},
        tt.DTypeError,
        "got nan in the labels, first in row 0; finite numbers are needed",
    ),
    "one number": (
        ((LABELS, LABELS),),
        {"validation": 0.1},
        tt.ShapeError,
        r"x\.reshape\(-1, 1\) for one number per example",
    ),
    "three arrays": (((IMAGES, LABELS, 1),), {}, tt.NotSupported, "got a tuple as data; a data"),
    "no such folder": (("nowhere/x",), {}, tt.DataError, "no such folder"),
    "save": (
        (FITTING,),
        {"validation": 0.1, "save": "nowhere/x"},
        tt.DataError,
        "fit: nowhere/x can't be written",
    ),
    "live": (
        ((IMAGES / 255, LABELS),),
        {"validation": 0.1, "live": True},
        tt.SettingError,
        "the examples are no images in classes",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_raise(name):
    given, settings, error, words = WRONG[name]
    with pytest.raises(error, match=words):
        tt.fit(linear(), *given, **settings, show=None)


def test_a_model_that_returns_no_row_per_example_raises():
    with pytest.raises(
        tt.ShapeError, match=r"returns shape \(2, 6, 5, 3\) for 2 examples; \(2, outputs\)"
    ):
        tt.fit(nn.Identity(), FITTING, validation=0.1)


# Early stopping, checkpoints, the coach


def overfitting():
    """Random labels, so that the validation loss soon rises."""
    x = np.random.default_rng(1).standard_normal((60, 20)).astype(np.float32)
    return x, np.random.default_rng(2).integers(0, 2, 60)


def run(model, epochs=30, **settings):
    return tt.fit(
        model, overfitting(), epochs=epochs, batch=10, validation=20, optimizer=optimizer_of(model),
        show=settings.pop("show", None), **settings,
    )  # fmt: skip


def network():
    tt.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Dropout(), nn.Linear(30, 2))


def test_early_stopping_ends_with_the_parameters_of_the_best_epoch():
    reports, model = [], network()
    last = run(model, patience=3, show=reports.append)
    losses = [report.test_loss for report in reports]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 30
    assert last.test_loss == losses[best] < losses[-1]
    assert last.step == reports[best].step
    unstopped = network()
    run(unstopped, epochs=best + 1)
    assert_same_weights(model, weights_of(unstopped))


@pytest.mark.parametrize("patience", [None, 3])
def test_a_resumed_run_has_the_same_bits(tmp_path, patience):
    whole, interrupted, resumed = network(), network(), network()
    wanted = run(whole, epochs=9, patience=patience)
    file = tmp_path / "run.safetensors"
    run(interrupted, epochs=2, patience=patience, save=file)
    reports = []
    found = run(resumed, epochs=9, patience=patience, resume=file, save=file, show=reports.append)
    assert reports[0].step == 12
    assert found.test_loss == wanted.test_loss
    assert_same_weights(resumed, weights_of(whole))
    again = network()
    report = run(again, epochs=9, patience=patience, resume=file)
    assert report.test_loss == wanted.test_loss, "the run is over, and nothing is trained"
    assert report.step == found.step == wanted.step
    assert_same_weights(again, weights_of(whole))


def test_a_run_with_early_stopping_needs_its_state(tmp_path):
    file = tmp_path / "run.safetensors"
    run(network(), epochs=1, save=file)
    with pytest.raises(tt.DataError, match="of a run without early stopping; got one with it"):
        run(network(), epochs=2, patience=3, resume=file)
    run(network(), epochs=1, patience=3, save=file)
    with pytest.raises(tt.DataError, match="of a run with early stopping; got one without it"):
        run(network(), epochs=2, resume=file)
    with pytest.raises(tt.DataError, match=r"resume: .* is of "):
        tt.fit(linear(), FITTING, batch=20, validation=0.1, resume=file)


def test_save_every(tmp_path):
    file, saved = tmp_path / "run.safetensors", []

    def note(report):
        saved.append(int(tt.checkpoint.about(file)["step"]) if file.exists() else None)

    run(network(), epochs=5, save=file, save_every=2, show=note)
    assert saved == [None, 8, 8, 16, 16]
    assert tt.checkpoint.about(file)["step"] == "20"


def test_a_recorded_run_has_each_epoch(tmp_path):
    file, checkpoint, reports = tmp_path / "run.tt", tmp_path / "run", []
    given = {"validation": 0.25, "batch": 20, "coach": True, "save": checkpoint}
    with pytest.raises(tt.SettingError, match="two different files are needed"):
        tt.fit(linear(), (IMAGES, LABELS), **given, record=checkpoint)
    tt.fit(linear(), (IMAGES, LABELS), epochs=3, **given, record=file, show=reports.append)
    loaded = run_file.load(file)
    assert [shot.test_loss for shot in loaded.snapshots] == [each.test_loss for each in reports]
    assert loaded.lesson.heading == "A network of your own: Sequential"
    assert loaded.snapshots[0].train_images.shape == (20, 6, 5, 3)
    again = tmp_path / "again.tt"
    more = {"epochs": 5, "resume": checkpoint, "show": None}
    tt.fit(linear(), (IMAGES, LABELS), **given, **more, record=again)
    assert [shot.step for shot in run_file.load(again).snapshots] == [16, 20]
    before = file.read_bytes()
    with pytest.raises(tt.SettingError, match=r"run\.tt exists, and may have the first part of"):
        tt.fit(linear(), (IMAGES, LABELS), **given, **more, record=file)
    assert file.read_bytes() == before
    with pytest.raises(tt.SettingError, match="record: the examples are no images in classes"):
        tt.fit(linear(), (IMAGES.astype(float), LABELS), validation=10, record=file)


def test_the_coach_prints_what_it_finds(capsys):
    model = linear()
    tt.fit(model, (IMAGES.astype(float), LABELS), validation=0.1, batch=20, coach=True, show=None)
    assert "the inputs are not scaled" in capsys.readouterr().out


def test_logs_of_a_regression(tmp_path):
    x = RNG.standard_normal((40, 2))
    with logs.log_to(str(tmp_path / "run.jsonl")) as log:
        tt.fit(nn.Linear(2, 1), (x, x.sum(axis=1)), epochs=1, batch=10, validation=10, show=log)
    assert "NaN" not in (tmp_path / "run.jsonl").read_text()


# Memory maps


def mapped(tmp_path, images, name="x"):
    file = tmp_path / f"{name}.npy"
    np.save(file, images)
    return np.load(file, mmap_mode="r")


def test_a_memory_map_trains_as_an_array_does(tmp_path):
    """One block has all rows, so the order is that of a shuffled array; the held out are last."""
    x = mapped(tmp_path, IMAGES)
    report = tt.fit(linear(), (x, LABELS), batch=20, validation=30, epochs=2, show=None)
    data = Dataset(x[:90], LABELS[:90], x[90:], LABELS[90:], names="012")
    assert tt.fit(linear(), data, batch=20, epochs=2, show=None).test_loss == report.test_loss
    copied = Dataset(IMAGES[:90], LABELS[:90], IMAGES[90:], LABELS[90:], names="012")
    score = tt.train.evaluate(model := linear(), x[90:], LABELS[90:])
    wanted = tt.train.evaluate(model, copied.test_images, LABELS[90:])
    assert score[:2] == wanted[:2]
    training = Training(tt.lessons.find("softmax"), data, steps=4, batch=20)
    assert (
        about(training)["data"]
        == about(Training(tt.lessons.find("softmax"), copied, steps=4, batch=20))["data"]
    ), "fewer rows than the sample"


def test_a_sorted_memory_map_is_not_split(tmp_path):
    x = mapped(tmp_path, IMAGES)
    with pytest.raises(tt.SettingError, match="have no label 0; shuffle the rows when you write"):
        tt.fit(linear(), (x, np.sort(LABELS)), validation=30)


PEAK = """
import resource, sys
import numpy as np
import tinytensor as tt
from tinytensor import nn

rows = {rows}
x = np.lib.format.open_memmap({file!r}, "w+", np.uint8, (rows, 32, 32, 3))  # sparse: all zeros
y = np.arange(rows) % 10
tt.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tt.fit(model, (x, y), epochs=1, batch=1000, validation=0.1, show=None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.full
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss has another unit")
def test_a_memory_map_does_not_stay_in_memory(tmp_path):
    """600 MB are trained on and tested, and the process needs less than half of it."""
    code = PEAK.format(rows=200_000, file=str(tmp_path / "x.npy"))
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    assert int(made.stdout) < 300_000, "kB"


@pytest.mark.parametrize(("argument", "needed"), [("save", r"\.safetensors"), ("record", r"\.tt")])
def test_no_program_is_replaced(tmp_path, argument, needed):
    program, steps = tmp_path / "mine.py", []
    program.write_text("x = 1\n")
    given = {argument: program, "validation": 10, "show": steps.append}
    with pytest.raises(tt.SettingError, match=rf"mine\.py; a file name that ends with {needed} is"):
        tt.fit(linear(), (IMAGES, LABELS), **given)
    assert program.read_text() == "x = 1\n"
    assert steps == [], "the training must not start"


def test_a_resumed_run_names_what_differs_in_arguments_of_fit(tmp_path):
    file = tmp_path / "run.safetensors"
    given = {"validation": 20, "show": None}
    tt.fit(linear(), (IMAGES, LABELS), **given, batch=20, epochs=3, save=file)
    needed = "is of a run with batch 20; got batch 10; the same is needed"
    with pytest.raises(tt.DataError, match=needed):
        tt.fit(linear(), (IMAGES, LABELS), **given, batch=10, resume=file)
    needed = "has made 3 epochs; got epochs=2, and 3 or more are needed"
    with pytest.raises(tt.SettingError, match=needed):
        tt.fit(linear(), (IMAGES, LABELS), **given, batch=20, epochs=2, resume=file)


def test_targets_beyond_float32_are_refused():
    targets = np.linspace(0, 1, len(IMAGES))
    targets[7] = 1e39
    with pytest.raises(tt.DTypeError, match=r"got 1e\+39 in the training targets, first in row 7"):
        tt.fit(linear(), (IMAGES, targets), validation=(IMAGES, targets / 1e39), show=None)
