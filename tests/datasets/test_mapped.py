"""Memory maps: rows that are read from the file, in windows of blocks, and their batches."""

import threading

import numpy as np
import pytest

import tinytensor as tt
from tinytensor.datasets import Dataset, batches, mapped
from tinytensor.datasets.mapped import FileRows, is_mapped

ROWS = 50


@pytest.fixture
def rows(tmp_path):
    """A memory map (50, 3, 2) float32 in which row i has the values 6 i to 6 i + 5."""
    np.save(tmp_path / "rows.npy", np.arange(6 * ROWS, dtype=np.float32).reshape(ROWS, 3, 2))
    return np.load(tmp_path / "rows.npy", mmap_mode="r")


@pytest.fixture
def small_windows(monkeypatch):
    """Blocks of 3 rows, and windows of 2 blocks."""
    monkeypatch.setattr(mapped, "BLOCK", 3 * 24)
    monkeypatch.setattr(mapped, "WINDOW", 2)


def test_what_can_be_read_from_a_file(rows, tmp_path):
    assert is_mapped(rows)
    assert is_mapped(rows[7:20])
    assert not is_mapped(rows[:, 1])
    assert not is_mapped(rows[::2])
    assert not is_mapped(np.asarray(rows))
    assert not is_mapped(rows[[1, 2]])
    assert not is_mapped(np.load(tmp_path / "rows.npy", mmap_mode="c"))


@pytest.mark.parametrize("part", [slice(None), slice(7, None), slice(49, 50)])
def test_rows_of_parts(rows, part):
    given = rows[part]
    chosen = np.arange(0, len(given), 3)
    np.testing.assert_array_equal(FileRows(given).read(chosen), np.asarray(given)[chosen])
    together = np.arange(len(given))
    np.testing.assert_array_equal(FileRows(given).read(together), given)


def test_rows_of_a_raw_file_with_an_offset(tmp_path):
    file = tmp_path / "raw"
    file.write_bytes(bytes(range(250)))
    given = np.memmap(file, np.uint8, "r", offset=10, shape=(80, 3))
    np.testing.assert_array_equal(FileRows(given[5:]).read(np.array([0, 70])), given[[5, 75]])


def test_a_file_that_becomes_shorter_raises(rows, tmp_path):
    source = FileRows(rows)
    (tmp_path / "rows.npy").write_bytes(b"short")
    with pytest.raises(tt.DataError, match=r"rows\.npy has become shorter while it was read"):
        source.read(np.arange(3))
    (tmp_path / "rows.npy").unlink()
    with pytest.raises(tt.DataError, match=r"rows\.npy can't be read \(No such file"):
        source.read(np.arange(3))


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("size", [1, 4, 6, 7, 20, 50])
def test_each_row_is_in_one_batch(rows, size, partial):
    numbers = np.arange(ROWS)
    epochs = batches(rows, numbers, size=size, epochs=2, seed=1, partial=partial)
    seen = list(epochs)
    assert len(seen) == len(epochs)
    for x, chosen in seen:
        np.testing.assert_array_equal(x, np.asarray(rows)[chosen])
    for epoch in (seen[: len(seen) // 2], seen[len(seen) // 2 :]):
        found = [i for _, chosen in epoch for i in chosen]
        assert len(set(found)) == len(found) == (ROWS if partial else ROWS // size * size)
    if size < ROWS:
        assert seen[0][1].tolist() != seen[len(seen) // 2][1].tolist(), "each epoch has its order"


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("size", [4, 20])
@pytest.mark.parametrize("skip", [0, 1, 5, 12, 13, 30])
def test_skip(rows, size, skip):
    def first(count, **settings):
        endless = batches(rows, np.arange(ROWS), size=size, seed=2, **settings)
        return [next(endless)[1].tolist() for _ in range(count)]

    assert first(skip + 6)[skip:] == first(6, skip=skip)


@pytest.mark.usefixtures("small_windows")
def test_the_rows_of_a_window_come_from_two_blocks(rows):
    (chosen, *_) = [c for _, c in batches(rows, np.arange(ROWS), size=6, epochs=1, seed=0)]
    assert len(set(chosen // 3)) == 2
    assert (np.diff(chosen) != 1).any()


def test_rows_in_their_own_order(rows):
    unshuffled = batches(rows, size=8, epochs=1, shuffle=False)
    np.testing.assert_array_equal(np.concatenate(list(unshuffled)), rows)


def test_batches_end_in_the_middle_without_a_thread_that_stays(rows):
    before = set(threading.enumerate())
    endless = batches(rows, size=5, seed=0)
    next(endless)
    (reader,) = set(threading.enumerate()) - before
    assert reader.name.startswith("tinytensor-reader")
    endless.close()
    reader.join(timeout=60)
    assert not reader.is_alive()


def test_images_of_a_memory_map_are_augmented(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "x.npy", images)
    given = np.load(tmp_path / "x.npy", mmap_mode="r")
    settings = {"size": 10, "epochs": 1, "seed": 0, "shuffle": False}
    shift = tt.datasets.augment.distort(shift=2)
    for one, other in zip(
        batches(given, augment=shift, **settings),
        batches(images, augment=shift, **settings),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    data = Dataset(given, np.arange(30) % 10, images, np.arange(30) % 10)
    assert isinstance(data.train_images, np.memmap)
