"""The MNIST files in the package, folders of idx files, damaged files, and batches."""

import gzip
import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinytensor as tt
from tinytensor.datasets import Dataset, Split, batches, load, split, to_float

MNIST = Path(tt.datasets.__file__).parent / "mnist"
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


@pytest.mark.parametrize("name", SHA256)
def test_mnist_is_the_original(name):
    content = gzip.decompress((MNIST / f"{name}.gz").read_bytes())
    assert hashlib.sha256(content).hexdigest() == SHA256[name]


def test_mnist():
    data = tt.datasets.mnist()
    assert data.train_images.shape == (60_000, 28, 28)
    assert data.test_images.shape == (10_000, 28, 28)
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.test_labels.dtype == np.int64


# Folders


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    """An idx file, written from the format's description."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, kind, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write_folder(folder: Path) -> Path:
    """Write a small data set: 30 training images, 10 test images."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 10)):
        images = rng.integers(0, 256, (count, 28, 28))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    return folder


def test_plain_and_gzip_files_are_equal(tmp_path):
    plain = load(write_folder(tmp_path))
    path = tmp_path / "train-images-idx3-ubyte"
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    for one, other in zip(plain, load(tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)
    assert plain.train_images.shape == (30, 28, 28)
    assert plain.train_labels[:3].tolist() == [0, 1, 2]


IMAGES = idx(np.zeros((30, 28, 28)))
LABELS = idx(np.arange(30) % 10)
BROKEN = {
    "truncated": ("train-images-idx3-ubyte", IMAGES[:-1], "has 23,535 bytes; .* needs 23,536"),
    "overlong": (
        "train-images-idx3-ubyte",
        IMAGES + b"\0",
        "has 23,537 bytes or more; .* 23,536",
    ),
    "header cut off": ("train-images-idx3-ubyte", IMAGES[:9], "has 9 bytes"),
    "empty": ("train-images-idx3-ubyte", b"", "bytes none; .* starts with 00 00 08 03"),
    "floats": ("train-images-idx3-ubyte", idx(np.zeros((30, 28, 28)), 13), "bytes 00 00 0d 03"),
    "labels as images": ("train-images-idx3-ubyte", LABELS, "bytes 00 00 08 01"),
    "other size": ("train-images-idx3-ubyte", idx(np.zeros((30, 27, 28))), r"\(30, 27, 28\)"),
    "no images": ("train-images-idx3-ubyte", idx(np.zeros((0, 28, 28))), r"\(0, 28, 28\)"),
    "label 10": (
        "t10k-labels-idx1-ubyte",
        idx(np.arange(10) + 1),
        "label 10 and 10 classes;",
    ),
    "fewer labels": ("train-labels-idx1-ubyte", LABELS[:7] + b"\x1d" + LABELS[8:-1], "29 labels"),
    "not gzip": ("train-labels-idx1-ubyte.gz", LABELS, "a complete gzip file is needed"),
    "gzip cut off": ("train-labels-idx1-ubyte.gz", gzip.compress(LABELS)[:-9], "complete gzip"),
    "gzip damaged": (
        "train-images-idx3-ubyte.gz",
        gzip.compress(IMAGES)[:20] + b"\xff" * 9 + gzip.compress(IMAGES)[29:],
        "complete gzip",
    ),
    "missing": ("t10k-labels-idx1-ubyte", None, r"t10k-labels-idx1-ubyte or .*\.gz is needed"),
}


def break_folder(folder: Path, name: str, content: bytes | None) -> None:
    (folder / name.removesuffix(".gz")).unlink()
    if content is not None:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("kind", BROKEN)
def test_damaged_files_raise(tmp_path, kind):
    name, content, words = BROKEN[kind]
    break_folder(write_folder(tmp_path), name, content)
    with pytest.raises(tt.DataError, match=words) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert name.split("-idx")[0] in str(caught.value)


# Batches


def test_batches_are_shuffled_and_repeat_with_the_seed(backend):
    images = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((28, 28), np.uint8)
    labels = np.arange(10)
    endless = batches(images, labels, size=4, seed=1)
    first_epoch = [next(endless) for _ in range(2)]
    seen = np.concatenate([chosen for _, chosen in first_epoch])
    assert len(set(seen)) == 8, (
        "no image twice in an epoch; images that don't fill a batch are dropped"
    )
    for pictures, chosen in first_epoch:
        assert pictures.shape == (4, 28, 28, 1)
        np.testing.assert_allclose(pictures[:, 3, 3, 0], chosen / 255, rtol=1e-6)
    again = batches(images, labels, size=4, seed=1)
    assert [next(again)[1].tolist() for _ in range(2)] == [c.tolist() for _, c in first_epoch]
    assert [next(endless)[1].tolist() for _ in range(2)] != [c.tolist() for _, c in first_epoch]


def numbered_images(count: int):
    """`count` images with their labels; all pixels of image i, and its label, are i."""
    images = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((28, 28), np.uint8)
    return images, np.arange(count)


def take(endless, count: int) -> list[list[int]]:
    return [next(endless)[1].tolist() for _ in range(count)]


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("skip", [0, 1, 2, 3, 7])
def test_skip(skip, partial):
    all_batches = batches(*numbered_images(10), size=4, seed=2, partial=partial)
    rest = batches(*numbered_images(10), size=4, seed=2, partial=partial, skip=skip)
    assert take(all_batches, skip + 6)[skip:] == take(rest, 6)


def test_partial_batches_at_the_end_of_an_epoch():
    epochs = take(batches(*numbered_images(10), size=4, seed=0, partial=True), 6)
    assert [len(batch) for batch in epochs] == [4, 4, 2, 4, 4, 2]
    for each in (epochs[:3], epochs[3:]):
        assert sorted(i for batch in each for i in batch) == list(range(10)), (
            "each image once per epoch"
        )
    dropped = take(batches(*numbered_images(10), size=4, seed=0), 40)
    assert {len(batch) for batch in dropped} == {4}
    assert {i for batch in dropped for i in batch} == set(range(10)), (
        "each epoch drops different images"
    )
    for partial in (False, True):
        even = take(batches(*numbered_images(8), size=4, seed=0, partial=partial), 4)
        assert sorted(even[0] + even[1]) == list(range(8))
        assert sorted(even[2] + even[3]) == list(range(8))


def test_augmentation_has_its_own_random_numbers():
    """The order is unchanged, each batch has its own seed, and skip doesn't change later ones."""

    def noisy(images, rng):
        return images + rng.random(images.shape, np.float32)

    def take(count, seed=5, **settings):
        endless = batches(*numbered_images(10), size=4, seed=seed, **settings)
        return [next(endless) for _ in range(count)]

    plain, changed = take(6), take(6, augment=noisy)
    noise = [new[0] - old[0] for old, new in zip(plain, changed, strict=True)]
    for old, new in zip(plain, changed, strict=True):
        assert old[1].tolist() == new[1].tolist()
    assert all(0.3 < n.std() * 12**0.5 < 1.1 for n in noise)
    assert not np.allclose(noise[0], noise[1])
    for (one, _), (other, _) in zip(changed[3:], take(3, skip=3, augment=noisy), strict=True):
        np.testing.assert_array_equal(one, other)
    (other_seed, _) = take(1, seed=6, augment=noisy)[0]
    assert not np.allclose(other_seed % (1 / 255), changed[0][0] % (1 / 255))


@pytest.mark.parametrize("size", [0, -1, 11])
def test_invalid_batch_sizes_raise(size):
    with pytest.raises(tt.SettingError, match=f"batch: got {size}; from 1 to .* 10"):
        batches(np.zeros((10, 28, 28), np.uint8), np.zeros(10, np.int64), size=size)


def test_to_float_is_from_0_to_1(backend):
    images = to_float(np.array([[[0, 51], [102, 255]]], np.uint8))
    np.testing.assert_allclose(images[0, :, :, 0], [[0, 0.2], [0.4, 1]], rtol=1e-6)
    assert images.dtype == np.float32


def test_to_float_of_integer_indices_and_images_of_any_layout(backend):
    images = np.random.default_rng(0).integers(0, 256, (28, 28, 5), np.uint8).transpose(2, 0, 1)
    wanted = images[[4, 0, 4], :, :, np.newaxis] / 255
    for chosen in ([4, 0, 4], np.array([4, 0, 4], np.uint8), np.array([4, 9, 0, 9, 4])[::2]):
        np.testing.assert_allclose(to_float(images, chosen), wanted, rtol=1e-6)
    assert to_float(images, []).shape == (0, 28, 28, 1)
    assert to_float(images[:0]).shape == (0, 28, 28, 1)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ([0, 3], "got index 3 in chosen; there are 3 images, and indices start at 0"),
        ([0, -1, 1], "got index -1 in chosen; there are 3"),
        ([2**40], f"got index {2**40} in"),
        (np.array([2**64 - 1], np.uint64), f"got index {2**64 - 1} in"),
        ([0.5], r"got chosen of dtype float64 and shape \(1,\); integers"),
        ([True, False, True], "got chosen of dtype bool"),
        ([[0], [1]], r"shape \(2, 1\)"),
        (1, r"shape \(\)"),
    ],
)
def test_to_float_with_invalid_indices_raises(backend, chosen, words):
    with pytest.raises(tt.SettingError, match=words):
        to_float(np.zeros((3, 28, 28), np.uint8), chosen)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8", "bool"])
def test_images_of_other_dtypes_raise(backend, dtype):
    """Floats could be from 0 to 1 or from 0 to 255, so they are refused."""
    images = np.ones((3, 28, 28), dtype)
    with pytest.raises(tt.DTypeError, match=f"to_float: got images of dtype {dtype}; uint8, from"):
        to_float(images)
    with pytest.raises(tt.DTypeError, match=f"Dataset: got images of dtype {dtype}; uint8"):
        Dataset(images, np.arange(3), images, np.arange(3))


@pytest.mark.parametrize("shape", [(), (28,), (28, 28), (3, 28, 28, 1, 1)])
def test_images_of_other_shapes_raise(backend, shape):
    with pytest.raises(tt.ShapeError, match=r"to_float: got images of shape .* \(N, height, width"):
        to_float(np.ones(shape, np.uint8))


@pytest.mark.parametrize(
    ("given", "kept", "image"),
    [
        ((3, 20, 20), (3, 20, 20), (20, 20, 1)),
        ((3, 20, 30, 1), (3, 20, 30), (20, 30, 1)),
        ((3, 32, 32, 3), (3, 32, 32, 3), (32, 32, 3)),
        ((3, 3, 9, 4), (3, 3, 9, 4), (3, 9, 4)),
    ],
)
def test_images_of_any_shape(given, kept, image):
    images = np.random.default_rng(0).integers(0, 256, given).astype(np.uint8)
    data = Dataset(images, np.arange(3), images, np.arange(3))
    assert data.train_images.shape == kept
    assert data.image_shape == image
    floats = to_float(data.test_images, [2, 0])
    np.testing.assert_allclose(floats, images.reshape(3, *image)[[2, 0]] / 255, rtol=1e-6)
    other = np.zeros((3, 20, 21), np.uint8)
    with pytest.raises(tt.ShapeError, match=r"and test images of shape \(3, 20, 21\); the same sh"):
        data._replace(test_images=other)


@pytest.mark.parametrize(("train", "test"), [(29, 30), (30, 20), (30, 31)])
def test_a_dataset_needs_one_label_per_image(train, test):
    images, labels = np.zeros((30, 28, 28), np.uint8), np.zeros(40, np.int64)
    part = f"{train} training" if train != 30 else f"{test} test"
    with pytest.raises(tt.ShapeError, match=f"Dataset: got {part} labels for 30 images; one label"):
        Dataset(images, labels[:train], images, labels[:test])
    right = Dataset(images, labels[:30], images, labels[:30])
    with pytest.raises(tt.ShapeError, match="Dataset: got 29 test labels"):
        right._replace(test_labels=labels[:29])
    shorter = right._replace(test_images=images[:29], test_labels=labels[:29])
    assert isinstance(shorter, Dataset)
    assert len(shorter.test_labels) == 29


def test_classes_of_a_dataset():
    images, labels = np.zeros((4, 28, 28), np.uint8), np.array([0, 1, 2, 3], np.uint8)
    assert Dataset(images, labels, images, labels).names == tuple("0123")
    more = Dataset(images, labels * 9, images, labels)
    assert len(more.names) == 28
    assert more.train_labels.dtype == np.int64
    named = Dataset(images, [0, 1, 1, 0], images, [1, 1, 1, 1], names=["cat", "dog"])
    assert named.names == ("cat", "dog")
    assert named._replace(test_images=images + 1).names == named.names
    assert named._replace(names=("a", "b", "c")).names == ("a", "b", "c")
    assert split(named, 1).names == named.names
    assert pickle.loads(pickle.dumps(named)).names == named.names


@pytest.mark.parametrize(
    ("images", "labels", "names", "error", "words"),
    [
        ((3, 28, 28), [0, 1, 2], ["a", "b"], tt.LabelError, "got label 2 and 2 classes; .* 0 to 1"),
        ((3, 28, 28), [0, -1, 2], None, tt.LabelError, "got training label -1; labels from 0 up"),
        ((3, 28, 28), [0.0, 1, 2], None, tt.DTypeError, r"labels of dtype float32; .*astype"),
        ((3, 28, 28), [[1, 0]] * 3, None, tt.ShapeError, r"shape \(3, 2\); \(N,\) .*argmax"),
        (
            (3, 28, 28),
            [[1]] * 3,
            None,
            tt.ShapeError,
            r"shape \(3, 1\); .*reshape\(-1\) for \(N, 1",
        ),
        ((3, 0, 32), [0, 1, 2], None, tt.ShapeError, r"shape \(3, 0, 32\), without pixels"),
        ((3, 3, 8, 9), [0, 1, 2], None, tt.ShapeError, "the channels come first: images.transpose"),
        ((3, 28, 28), [0, 1, 0], ["a", "a"], tt.SettingError, "got 2 names of classes, 1 of them"),
        ((3, 28, 28), [0, 1, 300], None, tt.LabelError, "label 300; labels from 0 to 255"),
    ],
)
def test_wrong_arrays_of_a_dataset_raise(images, labels, names, error, words):
    images = np.zeros(images, np.uint8)
    with pytest.raises(error, match=f"Dataset: .*{words}"):
        Dataset(images, labels, images, labels, names)


# Batches of any arrays, epochs


def test_batches_of_any_arrays_keep_rows_together():
    x, y, names = np.arange(20.0).reshape(10, 2), np.arange(10), np.array(list("abcdefghij"))
    seen = []
    for rows, numbers, letters in batches(x, y, names, size=3, epochs=2):
        np.testing.assert_array_equal(rows, x[numbers])
        assert rows.dtype == x.dtype
        assert "".join(letters) == "".join("abcdefghij"[i] for i in numbers)
        seen += numbers.tolist()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10)), "each row once per epoch"


def test_one_array_gives_arrays_and_several_give_tuples():
    (batch,) = batches(np.arange(3), size=3, epochs=1, shuffle=False)
    assert batch.tolist() == [0, 1, 2]
    (batch,) = batches([[1, 2], [3, 4]], [5, 6], size=2, epochs=1, shuffle=False)
    assert isinstance(batch, tuple)
    assert [part.tolist() for part in batch] == [[[1, 2], [3, 4]], [5, 6]]


@pytest.mark.parametrize("shape", [(10, 4, 4), (10, 4, 4, 3)])
def test_images_become_floats_and_have_channels(backend, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (batch,) = batches(images, size=10, epochs=1, shuffle=False)
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch, images.reshape(10, 4, 4, -1) / 255, rtol=1e-6)
    labels = images.copy()
    ((_, second),) = batches(images, labels, size=10, epochs=1, shuffle=False)
    np.testing.assert_array_equal(second, labels)
    assert second.dtype == np.uint8, "only the first array is made of images"


def test_tensors_give_tensors(backend):
    images, labels = map(tt.tensor, numbered_images(10))
    for pictures, chosen in batches(images, labels, size=4, epochs=1):
        assert isinstance(pictures, tt.Tensor)
        assert isinstance(chosen, tt.Tensor)
        assert pictures.shape == (len(chosen), 28, 28, 1)
        np.testing.assert_allclose(pictures[:, 3, 3, 0].numpy(), chosen.numpy() / 255, rtol=1e-6)
    with pytest.raises(tt.GradientError, match="batches: a tensor requires a gradient"):
        batches(tt.randn(4, 2, requires_grad=True), size=2)


def test_each_loop_over_epochs_starts_a_new_epoch():
    made = batches(*numbered_images(10), size=4, epochs=1, seed=0)
    loops = [[labels.tolist() for _, labels in made] for _ in range(3)]
    for loop in loops:
        assert [len(batch) for batch in loop] == [4, 4, 2]
        assert sorted(i for batch in loop for i in batch) == list(range(10))
    assert loops[0] != loops[1] != loops[2]
    next(iter(made))  # a loop that ends early does not shorten the next one
    assert sorted(i for _, labels in made for i in labels) == list(range(10))
    assert len(made) == 3
    assert len(made.dataset) == 10
    assert len(batches(*numbered_images(10), size=4, epochs=2, partial=False)) == 4
    assert repr(made) == "Epochs(10 examples, size=4, epochs=1)"


def test_without_a_seed_batches_follow_manual_seed():
    def orders():
        return [labels.tolist() for _, labels in batches(*numbered_images(30), size=30, epochs=2)]

    tt.manual_seed(3)
    first = orders()
    assert orders() != first
    tt.manual_seed(3)
    assert orders() == first
    assert isinstance(next(batches(*numbered_images(3), size=2)), tuple), "endless without epochs"


def test_without_shuffling_the_order_is_that_of_the_rows():
    made = batches(np.arange(7), size=3, epochs=2, shuffle=False)
    assert [batch.tolist() for batch in made] == [[0, 1, 2], [3, 4, 5], [6]] * 2
    endless = batches(np.arange(7), size=3, shuffle=False)
    assert [next(endless).tolist() for _ in range(3)] == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "words"),
    [
        ((), {"size": 1}, tt.SettingError, "got no array"),
        ((np.arange(3), 1.0), {"size": 1}, tt.ShapeError, "got a scalar"),
        ((np.arange(3),) * 2 + (np.arange(4),), {"size": 1}, tt.ShapeError, "of 3, 3 and 4 rows"),
        ((np.arange(3),), {"size": 0, "epochs": 1}, tt.SettingError, "batch: got 0"),
        ((np.arange(3),), {"size": 1, "epochs": 0}, tt.SettingError, "epochs"),
        ((np.arange(3),), {"size": 1, "skip": -1}, tt.SettingError, "skip"),
        ((np.arange(3),), {"size": 1.5}, tt.SettingError, "size"),
        ((tt.tensor(1),), {"size": 1}, tt.ShapeError, "got a scalar"),
    ],
)
def test_other_arguments_of_batches_raise(arguments, settings, error, words):
    with pytest.raises(error, match=words):
        batches(*arguments, **settings)


def test_a_last_batch_may_be_smaller_than_the_size():
    made = batches(np.arange(3), size=100, epochs=1, shuffle=False)
    assert [batch.tolist() for batch in made] == [[0, 1, 2]]


# Split


def test_split():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 28, 28), np.uint8)
    data = Dataset(images, np.arange(50), images[:3], np.arange(3))
    parts = split(data, validation=12, seed=1)
    assert parts.train_images.shape == (38, 28, 28)
    assert parts.test_images.shape == (12, 28, 28)
    together = np.concatenate([parts.train_labels, parts.test_labels])
    assert sorted(together.tolist()) == list(range(50)), "each image in one of the two parts"
    np.testing.assert_array_equal(parts.train_images, images[parts.train_labels])
    np.testing.assert_array_equal(parts.test_images, images[parts.test_labels])
    assert isinstance(parts, Split)
    assert parts.validation_images is parts.test_images
    assert parts.validation_labels is parts.test_labels
    for pair, shared in ((data.train, images), (parts.validation, parts.test_images)):
        assert all(isinstance(x, tt.Tensor) for x in pair)
        assert np.shares_memory(pair[0].numpy(), shared)
    assert data.test[1].tolist() == [0, 1, 2]
    assert repr(parts) == "Split(38 training images and 12 validation images of 28 x 28)"
    assert repr(data) == "Dataset(50 training images and 3 test images of 28 x 28)"
    assert isinstance(parts._replace(train_labels=parts.train_labels), Split)
    again, other = split(data, 12, seed=1), split(data, 12, seed=2)
    assert again.test_labels.tolist() == parts.test_labels.tolist()
    assert other.test_labels.tolist() != parts.test_labels.tolist()


@pytest.mark.parametrize("validation", [0, -1, 50])
def test_invalid_splits_raise(validation):
    images, labels = numbered_images(50)
    with pytest.raises(tt.SettingError, match=f"split: got {validation}; from 1 to 49"):
        split(Dataset(images, labels, images, labels), validation)
    with pytest.raises(tt.SettingError, match=r"split: got validation=0\.1; a whole number"):
        split(Dataset(images, labels, images, labels), 0.1)


def test_arrays_in_one_tuple_raise():
    with pytest.raises(tt.ShapeError, match=r"batches: got a tuple .* one by one: batches\(images"):
        batches((np.zeros((3, 2)), np.zeros(3)), size=2)


def test_batches_need_one_label_per_image():
    with pytest.raises(tt.ShapeError, match="batches: got arrays of 4 and 3 rows; the same number"):
        batches(np.zeros((4, 28, 28), np.uint8), np.zeros(3, np.int64), size=2)


# Other threads ------------------------------------------------------------------------------------

RACE = """
import threading
import numpy as np
import tinytensor as tt

tt.set_backend({backend!r})
images, chosen = np.ones((50, 28, 28), np.uint8), np.zeros(20_000, np.int64)
going = True

def write():
    while going:
        chosen[:] = 2**40
        chosen[:] = 0

thread = threading.Thread(target=write)
thread.start()
for _ in range(300):
    try:
        tt.datasets.to_float(images, chosen)
    except tt.SettingError:
        pass
going = False
thread.join()
"""


@pytest.mark.full
def test_indices_that_another_thread_changes_are_never_out_of_range(backend):
    code = RACE.format(backend=backend)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
