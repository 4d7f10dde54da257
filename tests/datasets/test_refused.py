"""Data sets that can't be trained on: each is refused with a sentence."""

import numpy as np
import pytest
from PIL import Image

import tinytensor as tt
from tinytensor import nn
from tinytensor.errors import DataError, LabelError, SettingError

IMAGES, LABELS = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2


def model():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def folders(path, *names):
    for name in names:
        (path / name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(np.full((8, 8), 9 * i, np.uint8)).save(path / name / f"{i}.png")


@pytest.mark.parametrize("validation", [1.0, 1e-9, True, 20, -1, 1.5])
def test_a_validation_part_that_is_no_part(validation):
    with pytest.raises(SettingError, match="a fraction between 0 and 1, or a number from 1 to 19"):
        tt.fit(model(), (IMAGES, LABELS), validation=validation, show=None)


def test_one_class(tmp_path):
    folders(tmp_path, "cat")
    with pytest.raises(DataError, match="two classes or more"):
        tt.datasets.load(tmp_path)


def test_hidden_files_and_folders_are_no_pictures(tmp_path):
    folders(tmp_path, "cat", "dog", ".ipynb_checkpoints")
    (tmp_path / "cat" / "._0.png").write_bytes(b"a copy from a Mac has such files")
    assert tt.datasets.load(tmp_path).names == ("cat", "dog")


def test_an_empty_path():
    with pytest.raises(DataError, match="the path of the data set is empty"):
        tt.datasets.load("")


@pytest.mark.parametrize("label", [256, 2**40])
def test_a_huge_label(tmp_path, label):
    labels = LABELS.astype(np.int64)
    labels[3] = label
    with pytest.raises(LabelError, match=f"label {label}; labels from 0 to 255"):
        tt.datasets.Dataset(IMAGES, labels, IMAGES, LABELS)
    np.savez(tmp_path / "d.npz", x_train=IMAGES, y_train=labels, x_test=IMAGES, y_test=LABELS)
    with pytest.raises(DataError, match=f"label {label}"):
        tt.datasets.load(tmp_path / "d.npz")


def test_no_test_images(run, tmp_path):
    data = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:0], "y_test": LABELS[:0]}
    np.savez(tmp_path / "d.npz", **data)
    code, _, err = run("train", "softmax", "--data", tmp_path / "d.npz", "--batch", 10)
    assert code == 2
    assert err.splitlines()[-1].endswith("got no images to test on; at least one is needed")
