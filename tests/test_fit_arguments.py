"""Arguments of tt.fit that can't be right: one sentence for each, and no silent training."""

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import nn

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 6, 5, 3)).astype(np.uint8)
LABELS = np.arange(30) % 3
FLOATS = IMAGES / np.float32(255)


def model(outputs=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(90, outputs))


def fit(**given):
    settings = {"model": model(), "data": (IMAGES, LABELS), "validation": 0.2, "batch": 5}
    return tt.fit(**{**settings, "epochs": 1, "show": None, **given})


def with_nan(x, *place):
    x = x.astype(np.float32)
    x[place] = np.nan
    return x


class Net:
    """A network without its base class."""


class Frame:
    """Data as pandas has them: no sequence of numbers, but an array can be made."""

    def __init__(self, x):
        self.x = x

    def __array__(self, dtype=None, copy=None):
        return self.x


class OnAnotherDevice:
    """A tensor of another library that NumPy can't read."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("copy it to the host first")


WRONG = {
    "class of an optimiser": (
        {"optimizer": tt.optim.Adam},
        r"the class Adam as optimizer; an optimiser is needed, such as Adam\(model\.par",
    ),
    "name of an optimiser": ({"optimizer": "adam"}, "got 'adam' as optimizer; an optimiser is nee"),
    "optimiser of another model": (
        {"optimizer": tt.optim.Adam(model().parameters())},
        "the optimizer has no parameter of the model, which would not change",
    ),
    "name of a loss": ({"loss": "mse"}, "got 'mse' as loss; a function of outputs and labels is"),
    "class of a loss": ({"loss": nn.Identity}, "got the class Identity as loss; a function of"),
    "loss without a tensor": (
        {"loss": lambda outputs, labels: float(outputs.numpy().mean())},
        "the loss returns .*; a Tensor, computed by operators and functions of tinytensor",
    ),
    "loss of each example": (
        {"loss": lambda outputs, labels: outputs.sum(axis=1)},
        r"the loss returns shape \(2,\); a scalar is needed, such as loss.mean\(\)",
    ),
    "function as a model": ({"model": lambda x: x}, "got the function <lambda> as model; an nn.M"),
    "class of a model": ({"model": Net}, r"the class Net as model; a model, which Net\(\) makes"),
    "model that returns a pair": (
        {"model": type("Two", (nn.Linear,), {"forward": lambda self, x: (x, x)})(90, 3)},
        "the model returns a tuple; a Tensor is needed",
    ),
    "show": ({"show": True}, "got True as show; a function of each report is needed"),
    "save": ({"save": True}, "got True as the file to save; a path is needed"),
    "resume": ({"resume": True}, "got a bool; the path of a file is needed"),
    "batch": ({"batch": "20"}, "got batch='20'; a whole number from 1 up is needed"),
    "large batch": ({"batch": 25}, "got 25; from 1 to the number of examples, 24, is needed"),
    "seed": ({"seed": -1}, "got seed=-1; a whole number from 0 up"),
    "no data": ({"data": None}, "got None as data; a data set is needed"),
    "generator": ({"data": (x for x in IMAGES)}, "got a generator as data; a data set is needed"),
    "generator of images": (
        {"data": ((x for x in IMAGES), LABELS)},
        "got a generator as examples; an array is needed",
    ),
    "four arrays": (
        {"data": (IMAGES, LABELS, IMAGES, LABELS)},
        r"got a tuple as data; a data set is needed, tt.datasets.Dataset\(\*data\), or a pair",
    ),
    "pairs of Keras": (
        {"data": ((IMAGES, LABELS), (IMAGES, LABELS))},
        r"got two pairs as data; a data set is needed, tt.datasets.Dataset\(train_images, train_l",
    ),
    "no array": ({"data": (OnAnotherDevice(), LABELS)}, "no NumPy array .copy it to the host"),
    "names as labels": (
        {"data": (IMAGES, ["cat", "dog", "cow"] * 10)},
        "got labels of dtype <U3; .* names, labels = np.unique",
    ),
    "names as labels in a frame": (
        {"data": (IMAGES, Frame(np.array(["cat", "dog", "cow"] * 10, object)))},
        "got labels of dtype object; .* names, labels = np.unique",
    ),
    "one-hot integers": ({"data": (IMAGES, np.eye(3, dtype=int)[LABELS])}, r"labels.argmax\(axi"),
    "one-hot floats": (
        {"data": (IMAGES, np.eye(3)[LABELS])},
        r"got one-hot rows of floats as targets; labels.argmax\(axis=1\) gives labels of classes",
    ),
    "labels as floats": (
        {"data": (IMAGES, LABELS.astype(float))},
        r"3 outputs for 1 target per example; .* for labels of classes, labels.astype\(int\)",
    ),
    "labels beyond the outputs": (
        {"data": (IMAGES, LABELS * 2)},
        "got label 4, and the model has 3 outputs; one output for each of the labels 0 to 4",
    ),
    "one output": (
        {"model": model(1), "data": (IMAGES, LABELS)},
        "got label 2, and the model has 1 output; one output for each of the labels 0 to 2",
    ),
    "one output for two targets": (
        {"model": model(1), "data": (IMAGES, np.zeros((len(IMAGES), 2), np.float32))},
        "the model has 1 output for 2 targets per example",
    ),
    "scalar": ({"data": (3, LABELS)}, "got 3 as examples; an array is needed"),
    "int64 images": (
        {"data": (IMAGES.astype(int), LABELS)},
        r"images of dtype int64, .* np.asarray\(images, np.uint8\) is needed for values from 0 to",
    ),
    "lists as images": ({"data": (IMAGES.tolist(), LABELS)}, "images of dtype int64, and only uin"),
    "images of different sizes": (
        {"data": (np.array([IMAGES[0], IMAGES[1, :2]], object), LABELS[:2])},
        "got examples of dtype object; .* images of different sizes are resized first",
    ),
    "channels first": (
        {"data": (IMAGES.transpose(0, 3, 1, 2), LABELS)},
        r"shape \(24, 3, 6, 5\), .* images.transpose\(0, 2, 3, 1\) puts them last",
    ),
    "NaN in an image": (
        {"data": (with_nan(FLOATS, 17, 3, 4, 0), LABELS)},
        r"got nan in the examples, first in row 17 at \[3, 4, 0\]; finite numbers are needed",
    ),
    "NaN in the validation part": (
        {"validation": (with_nan(FLOATS, 1, 0, 0, 0), LABELS), "data": (FLOATS, LABELS)},
        r"got nan in the validation examples, first in row 1 at \[0, 0, 0\]",
    ),
    "no examples": ({"data": (IMAGES[:0], LABELS[:0])}, "got 0 examples and validation=0.2; 2 ex"),
    "one example": ({"data": (IMAGES[:1], LABELS[:1])}, "got 1 example and validation=0.2; 2 exa"),
    "validation of a text": ({"validation": "0.1"}, "got validation='0.1'; a number is needed"),
    "validation of one array": ({"validation": IMAGES}, "got validation=an array of shape"),
    "patience 0": ({"patience": 0}, "got patience=0; a whole number from 1 up"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_raise_one_sentence(name):
    given, words = WRONG[name]
    with pytest.raises(tt.errors.TinytensorError, match=words):
        fit(**given)


def test_data_in_other_forms():
    first = model()
    start = first.state_dict()
    losses = set()
    for rows, labels in (
        (FLOATS, LABELS),
        (Frame(FLOATS), Frame(LABELS)),
        (tt.Tensor(FLOATS), LABELS.tolist()),
        (FLOATS.tolist(), tt.Tensor(LABELS)),
    ):
        network = model()
        network.load_state_dict(start)
        losses.add(fit(model=network, data=(rows, labels)).test_loss)
    assert len(losses) == 1


def test_a_validation_pair_may_be_a_list():
    assert np.isfinite(fit(validation=[IMAGES[:9], LABELS[:9]]).test_loss)


def test_one_hot_rows_with_a_loss_are_targets():
    report = fit(data=(IMAGES, np.eye(3)[LABELS]), loss=tt.mse_loss)
    assert np.isnan(report.test_accuracy)


def test_names_beyond_those_of_the_data_are_different():
    data = tt.datasets.Dataset(IMAGES, LABELS % 2, IMAGES, LABELS % 2, names=["1", "2"])
    assert np.isfinite(fit(data=data, validation=0, model=model(4)).test_loss)


def test_nan_in_a_memory_map_is_named_when_its_batch_is_reached(tmp_path):
    np.save(tmp_path / "x.npy", with_nan(FLOATS, 3, 2, 1, 0))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    with pytest.raises(
        tt.AnomalyError, match=r"got nan in row 3 of .*x.npy, at \[2, 1, 0\], which"
    ):
        fit(data=(x, LABELS))


@pytest.mark.parametrize("held_out", ["last rows", "own map"])
def test_nan_in_the_test_part_of_a_memory_map_is_named_with_its_row(tmp_path, held_out):
    bad = len(FLOATS) - 2
    np.save(tmp_path / "x.npy", with_nan(FLOATS, bad, 2, 1, 0))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    data, validation = (x, LABELS), 10
    if held_out == "own map":
        data, validation = (FLOATS, LABELS), (x, LABELS)
    with pytest.raises(tt.AnomalyError, match=rf"got nan in row {bad} of .*x.npy, at \[2, 1, 0\]"):
        fit(data=data, validation=validation)
