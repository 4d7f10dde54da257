"""Folders as they come: names of unpackers, torchvision, EMNIST, Keras, and pictures in folders."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_datasets import idx, write_folder

import tinytensor as tt
from tinytensor import checkpoint, run_state
from tinytensor.datasets import load, to_float
from tinytensor.datasets.idx import MAX_BYTES, read_idx
from tinytensor.lessons import find
from tinytensor.saved_model import class_names, image_shape, load_model
from tinytensor.train import Training

RNG = np.random.default_rng(0)


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def plain(tmp_path):
    """A folder with MNIST's names, and its data."""
    folder = tmp_path / "plain"
    folder.mkdir()
    return write_folder(folder), load(folder)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw", "FashionMNIST/raw"])
def test_names_with_dots_and_torchvision_folders(plain, tmp_path, below, compressed):
    source, data = plain
    folder = tmp_path / "other" / below
    folder.mkdir(parents=True)
    for file in source.iterdir():
        dotted = folder / file.name.replace("-idx", ".idx")
        content = file.read_bytes()
        if compressed:
            dotted.with_name(f"{dotted.name}.gz").write_bytes(gzip.compress(content))
        else:
            dotted.write_bytes(content)
    assert_equal(load(tmp_path / "other"), data)


def test_home_and_variables_in_a_path(plain, monkeypatch):
    folder, data = plain
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("DIGITS", str(folder))
    assert_equal(load("~/plain"), data)
    assert_equal(load("$DIGITS"), data)
    with pytest.raises(
        tt.DataError, match=r"\$NOWHERE/x: there is no such folder or file; .* is needed"
    ):
        load("$NOWHERE/x")


def write_emnist(folder: Path, name: str, first: int, classes: int) -> None:
    """EMNIST's files: transposed images, and labels from `first`; image i has a bar in row i."""
    folder.mkdir(exist_ok=True, parents=True)
    for part in ("train", "test"):
        images = np.zeros((classes, 28, 28), np.uint8)
        images[np.arange(classes), np.arange(classes) % 28] = 255
        images = images.swapaxes(1, 2)
        labels = np.arange(classes) + first
        start = folder / f"emnist-{name}-{part}"
        Path(f"{start}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        Path(f"{start}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))


@pytest.mark.parametrize(
    ("name", "first", "classes", "names"),
    [
        ("letters", 1, 26, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        ("balanced", 0, 47, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
        ("digits", 0, 10, "0123456789"),
    ],
)
def test_emnist(tmp_path, name, first, classes, names):
    write_emnist(tmp_path / "EMNIST/raw", name, first, classes)
    data = load(tmp_path)
    assert "".join(data.names) == names
    assert data.train_labels.tolist() == list(range(classes))
    assert (data.test_images[3, 3] == 255).all(), "rows are rows again"
    assert data.test_images[3].sum() == 28 * 255


def test_one_of_several_emnist_sets(tmp_path):
    write_emnist(tmp_path, "letters", 1, 26)
    write_emnist(tmp_path, "digits", 0, 10)
    with pytest.raises(tt.DataError, match=r"has 2 data sets; one .*emnist-digits or .*-let"):
        load(tmp_path)
    assert len(load(tmp_path / "emnist-letters").names) == 26
    assert len(load(f"{tmp_path}/emnist-digits").names) == 10
    with pytest.raises(tt.DataError, match=r"no such folder or file; .* has emnist-digits-test"):
        load(tmp_path / "emnist-byclass")


def test_letters_with_a_label_0_raise(tmp_path):
    write_emnist(tmp_path, "letters", 0, 26)
    with pytest.raises(
        tt.DataError, match="got label 0; the labels of EMNIST's letters start at 1"
    ):
        load(tmp_path)


def test_a_missing_file_is_named_with_those_that_are_there(plain):
    folder, _ = plain
    (folder / "t10k-labels-idx1-ubyte").rename(folder / "labels")
    words = r"t10k-labels-idx1-ubyte or .*\.gz is needed there, or t10k-labels\.idx1-ubyte; the fo"
    with pytest.raises(
        tt.DataError, match=words + "lder has labels, t10k-images-idx3-ubyte, train"
    ):
        load(folder)


def test_a_folder_without_data_names_what_it_has(tmp_path):
    for name in "abcdefgh":
        (tmp_path / f"{name}.csv").touch()
    words = r"no data set; the folder has a\.csv, .*, f\.csv and 2 more; looked for idx files .*npz"
    with pytest.raises(tt.DataError, match=words):
        load(tmp_path)
    with pytest.raises(tt.DataError, match=r"a\.csv: got a file; a folder or an \.npz file"):
        load(tmp_path / "a.csv")


# Sizes


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_files_are_read_up_to_the_size_in_the_header(tmp_path, end):
    path = tmp_path / f"labels{end}"
    huge = bytes((0, 0, 8, 1)) + (2**32 - 1).to_bytes(4)
    path.write_bytes(gzip.compress(huge) if end else huge)
    with pytest.raises(tt.DataError, match=f"needs 4,294,967,303 bytes; at most {MAX_BYTES:,}"):
        read_idx(path, axes=1)


def test_a_large_npz_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tinytensor.datasets.folders.MAX_BYTES", 5000)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", bytes(10_000))
    with pytest.raises(tt.DataError, match="has 10,000 bytes after decompression; at most 5,000"):
        load(tmp_path / "bomb.npz")


# .npz files


def test_npz_files(plain, tmp_path):
    _, data = plain
    names = ("x_train", "y_train", "x_test", "y_test")
    folder = tmp_path / "keras"
    folder.mkdir()
    np.savez(folder / "mnist.npz", **dict(zip(names, data, strict=True)))
    assert_equal(load(folder / "mnist.npz"), data)
    assert_equal(load(folder), data)
    np.savez(folder / "mnist.npz", x_train=data[0], labels=data[1])
    with pytest.raises(
        tt.DataError, match=r"y_train, x_test, y_test is missing; .* x_train, labels"
    ):
        load(folder)
    np.savez(folder / "mnist.npz", **dict.fromkeys(names, np.array([{}], object)))
    with pytest.raises(tt.DataError, match=r"an \.npz file of arrays is needed \(Object arrays"):
        load(folder)
    np.savez(folder / "mnist.npz", **dict(zip(names, [data[0] / 255, *data[1:]], strict=True)))
    with pytest.raises(tt.DataError, match=r"mnist\.npz: Dataset: got images of dtype float64"):
        load(folder)
    (folder / "mnist.npz").write_bytes(b"no archive")
    with pytest.raises(tt.DataError, match=r"an \.npz file of arrays is needed"):
        load(folder)


def test_labels_from_1_become_labels_from_0(tmp_path):
    images = np.zeros((52, 28, 28), np.uint8)
    labels = np.arange(52) % 26 + 1
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    data = load(tmp_path)
    assert data.names == tuple(map(str, range(1, 27)))
    np.testing.assert_array_equal(data.train_labels, labels - 1)
    np.testing.assert_array_equal(data.test_labels, labels - 1)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels - 1))
    kept = load(tmp_path)
    assert kept.names == tuple(map(str, range(27))), "a test label is 0"
    np.testing.assert_array_equal(kept.train_labels, labels)


def test_colours_and_names_in_npz_and_npy_files(tmp_path):
    images = RNG.integers(0, 256, (30, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(30)[:, None] % 3  # (N, 1), as in Keras's CIFAR
    arrays = {"x_train": images, "y_train": labels, "x_test": images[:9], "y_test": labels[:9]}
    arrays["class_names"] = np.array(["cat", "dog", "ship"])
    np.savez(tmp_path / "cifar.npz", **arrays)
    folder = tmp_path / "cifar"
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    for data in (load(tmp_path / "cifar.npz"), load(folder)):
        assert data.names == ("cat", "dog", "ship")
        assert data.image_shape == (32, 32, 3)
        assert_equal(data, (images, labels[:, 0], images[:9], labels[:9, 0]))
    assert isinstance(data.train_images, np.memmap)
    (folder / "y_test.npy").write_bytes(b"no array")
    with pytest.raises(tt.DataError, match=r"y_test\.npy: a \.npy file of an array is needed"):
        load(folder)
    np.save(folder / "y_test.npy", labels)
    with pytest.raises(tt.DataError, match="cifar: Dataset: got 30 test labels for 9 images"):
        load(folder)


# Folders of pictures


def write_pictures(folder: Path, names: list[str], count: int, size: int, light: bool) -> None:
    """For class i, i + 4 rows of 9 pixels in pictures of size x size."""
    for i, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for j in range(count):
            pixels = np.full((size, size), 255 if light else 0, np.uint8)
            pixels[size // 4 : size // 4 + i + 4, size // 3 : size // 3 + 9] = 0 if light else 255
            Image.fromarray(pixels).save(folder / name / f"{j}.png")


@pytest.mark.parametrize("light", [False, True])
def test_pictures_of_28_x_28_in_folders(tmp_path, light):
    write_pictures(tmp_path, ["10", "9", "cat"], 6, 28, light)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "cat" / ".DS_Store").touch()
    data = load(tmp_path)
    assert data.names == ("9", "10", "cat")
    assert data.train_labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert data.test_labels.tolist() == [0, 1, 2], "every sixth picture of a class"
    wanted = np.zeros((28, 28), np.uint8)
    wanted[7:12, 9:18] = 255
    np.testing.assert_array_equal(data.train_images[0], wanted, "10 was the second folder: 5 rows")
    for name in ("train", "test"):
        write_pictures(tmp_path / "parts" / name, ["a", "b"], 2, 28, light)
    parts = load(tmp_path / "parts")
    assert parts.names == ("a", "b")
    assert parts.test_labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("sizes", [(80, 90), (260, 260)])
def test_pictures_of_several_sizes_or_large_ones_become_like_mnist(tmp_path, sizes):
    for name, size in zip("ab", sizes, strict=True):
        write_pictures(tmp_path, [name], 6, size, light=True)
    data = load(tmp_path)
    assert data.train_images.shape == (10, 28, 28)
    rows = (data.train_images[0] > 100).any(axis=1).sum()
    columns = (data.train_images[0] > 100).any(axis=0).sum()
    assert columns == 20, "the larger side is 20 pixels"
    assert rows < 15
    np.testing.assert_array_equal(data.train_images[0][0], 0)


def test_pictures_of_one_size_stay_as_they_are(tmp_path):
    write_pictures(tmp_path / "grey", ["a", "b"], 6, 80, light=True)
    data = load(tmp_path / "grey")
    assert data.image_shape == (80, 80, 1)
    assert (data.train_images[:5, 20:24, 26:35] == 0).all(), "dark on light, not inverted"
    assert (data.train_images[:5, 24:] == 255).all()
    for i, name in enumerate(("red", "blue")):
        (tmp_path / "colours" / name).mkdir(parents=True)
        for j in range(6):
            pixels = np.zeros((10, 12, 3), np.uint8)
            pixels[..., 2 * i] = 200 + j
            Image.fromarray(pixels).save(tmp_path / "colours" / name / f"{j}.png")
    data = load(tmp_path / "colours")
    assert data.names == ("blue", "red")
    assert data.image_shape == (10, 12, 3)
    assert data.test_images[:, 0, 0].tolist() == [[0, 0, 205], [205, 0, 0]]


def coloured(folder: Path, sizes: dict[str, tuple[int, int]]) -> None:
    """A folder with six pictures for each name: red at the left, blue at the right."""
    for name, (height, width) in sizes.items():
        (folder / name).mkdir(parents=True)
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 2] = 200
        for j in range(6):
            Image.fromarray(pixels).save(folder / name / f"{j}.png")


@pytest.mark.parametrize(
    ("cat", "dog", "words"),
    [
        (
            (40, 60),
            (40, 61),
            r"dog/0.png: has 40 x 61 pixels .*, and .*cat/0.png has 40 x 60; one size ",
        ),
        (
            (300, 30),
            (300, 30),
            r"cat/0.png: has 300 x 30 pixels .*, and pictures of at most 256 x 256",
        ),
    ],
)
def test_pictures_of_things_keep_their_colours_or_need_a_size(tmp_path, cat, dog, words):
    coloured(tmp_path, {"cat": cat, "dog": dog})
    with pytest.raises(
        tt.DataError, match=words + r".*--size 32x32, or in Python load\(folder, size=\("
    ):
        load(tmp_path)
    data = load(tmp_path, size=(8, 12))
    assert data.image_shape == (8, 12, 3)
    assert (data.train_images[:, :, :5] == (200, 0, 0)).all()
    assert (data.train_images[:, :, 7:] == (0, 0, 200)).all()


def test_a_size_is_of_pictures(plain, tmp_path):
    folder, data = plain
    with pytest.raises(
        tt.SettingError, match="has images of 28 x 28, and only pictures in folders"
    ):
        load(folder, size=(20, 20))
    assert_equal(load(folder, size=(28, 28)), data)
    for size in ((0, 3), (3,), 3):
        with pytest.raises(tt.TinytensorError, match="size"):
            load(folder, size=size)
    coloured(tmp_path / "letters", {"a": (40, 60), "b": (40, 60)})
    with pytest.raises(tt.SettingError, match="for classes of one character; leave it out"):
        load(tmp_path / "letters", size=(28, 28))


def test_classes_without_names_are_those_of_the_labels(tmp_path):
    """Three labels are three classes, and 26 are 26: in files and in arrays."""
    images = np.zeros((52, 9, 9), np.uint8)
    for count in (3, 26):
        labels = np.arange(52) % count
        arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
        np.savez(tmp_path / "data.npz", **arrays)
        for data in (load(tmp_path), tt.datasets.Dataset(*arrays.values())):
            assert data.names == tuple(map(str, range(count)))
    np.savez(tmp_path / "data.npz", **arrays | {"y_test": labels + 1})
    with pytest.raises(tt.DataError, match="got label 26 and 26 classes"):
        load(tmp_path)


def test_transparent_pictures_with_colours(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for j in range(6):
            pixels = np.zeros((9, 9, 4), np.uint8)
            pixels[:4] = 30, 20, 10, 255
            Image.fromarray(pixels).save(tmp_path / name / f"{j}.png")
    data = load(tmp_path)
    assert (data.train_images[:, :4] == (30, 20, 10)).all()
    assert (data.train_images[:, 4:] == 255).all(), "dark ink gets white paper"


def test_pictures_below_the_folder_of_a_class_are_an_error(tmp_path):
    write_pictures(tmp_path, ["a", "b"], 6, 28, light=False)
    (tmp_path / "a" / "notes").mkdir()
    assert len(tt.datasets.load(tmp_path).names) == 2
    picture = next((tmp_path / "b").glob("*.png"))
    (tmp_path / "a" / "notes" / "x.png").write_bytes(picture.read_bytes())
    with pytest.raises(tt.DataError, match=r"notes: has pictures, and no folder of a class"):
        tt.datasets.load(tmp_path)


def test_wrong_folders_of_pictures_raise(tmp_path):
    write_pictures(tmp_path / "few", ["a", "b"], 2, 28, light=False)
    with pytest.raises(tt.DataError, match="few: has no test pictures; 6 or more pictures of a cl"):
        load(tmp_path / "few")
    write_pictures(tmp_path / "parts/train", ["a", "b"], 2, 28, light=False)
    write_pictures(tmp_path / "parts/test", ["a", "c"], 2, 28, light=False)
    with pytest.raises(tt.DataError, match=r"test: the class c has no pictures in .*train; the"):
        load(tmp_path / "parts")
    write_pictures(tmp_path / "broken", ["a", "b"], 6, 28, light=False)
    (tmp_path / "broken/a/1.png").write_bytes(b"no picture")
    with pytest.raises(tt.DataError, match=r"broken/a/1\.png: a picture is needed"):
        load(tmp_path / "broken")


# Any number of classes


@pytest.mark.parametrize(
    "lesson", ["softmax", "sigmoid", "dropout", "conv", "batchnorm-relu", "fast"]
)
def test_lessons_train_on_letters(tmp_path, lesson):
    write_emnist(tmp_path, "letters", 1, 26)
    data = load(tmp_path)
    training = Training(find(lesson), data, steps=2, batch=20)
    report = list(training)[-1]
    assert np.isfinite(report.test_loss)
    assert training.model.parameters()[-1].shape == (26,)
    training.save(tmp_path / "letters.safetensors")
    assert class_names(tmp_path / "letters.safetensors") == data.names
    _, model = load_model(tmp_path / "letters.safetensors")
    assert model.parameters()[-1].shape == (26,)


@pytest.mark.parametrize("shape", [(32, 32, 3), (20, 20), (9, 30)])
@pytest.mark.parametrize("lesson", [each.name for each in tt.lessons.lessons()])
def test_lessons_train_on_images_of_any_shape(tmp_path, lesson, shape):
    """For all lessons, the images, and the network that a checkpoint makes."""
    images = RNG.integers(0, 256, (12, *shape)).astype(np.uint8)
    data = tt.datasets.Dataset(images, np.arange(12) % 4, images, np.arange(12) % 4, list("abcd"))
    training = Training(find(lesson), data, steps=1, batch=4)
    (report,) = training
    assert np.isfinite(report.test_loss)
    file = tmp_path / "run.safetensors"
    training.save(file)
    assert image_shape(file) == data.image_shape
    _, model = load_model(file)
    x = to_float(images)
    assert model(tt.from_numpy(x)).shape == (12, 4)


@pytest.mark.parametrize("text", ["[28, 28]", "[28, 28, 0]", "7", "[1e9, 1, 1]", "[65536, 99, 1]"])
def test_a_checkpoint_with_a_wrong_image_shape_is_refused(tmp_path, text):
    file = tmp_path / "run.safetensors"
    training = Training(find("softmax"), tt.datasets.mnist(), steps=0)
    about = run_state.about(training) | {"image_shape": text}
    checkpoint.save(file, run_state.tensors(training), about)
    with pytest.raises(tt.DataError, match=r"image_shape .*; a list of height, width and channels"):
        load_model(file)


def test_ten_classes_are_unchanged():
    """The first weights are those of a network that is not asked for a number of classes."""
    for lesson in tt.lessons.lessons():
        tt.manual_seed(0)
        plain = lesson.model().state_dict()
        tt.manual_seed(0)
        asked = lesson.model(10, (28, 28, 1)).state_dict()
        for name, x in plain.items():
            np.testing.assert_array_equal(asked[name].numpy(), x.numpy(), f"{lesson.name} {name}")


def test_a_model_function_without_classes_needs_ten(tmp_path):
    from dataclasses import replace

    write_emnist(tmp_path, "letters", 1, 26)
    lesson = replace(find("softmax"), model=lambda: find("softmax").model())
    assert len(list(Training(lesson, tt.datasets.mnist(), steps=0))) == 1
    words = (
        "lesson softmax: its model has 10 outputs and the data have 26 classes; a model function"
    )
    with pytest.raises(tt.SettingError, match=words):
        Training(lesson, load(tmp_path))
    lesson = replace(find("softmax"), model=lambda classes=10: find("softmax").model(classes))
    assert lesson.new_model(26).bias.shape == (26,)
    words = r"is for images of 28 x 28 and the data have 32 x 32 x 3; .* and the shape \(h"
    with pytest.raises(tt.SettingError, match=words):
        lesson.new_model(10, (32, 32, 3))
