"""Saving and loading tensors."""

import os

import numpy as np
import pytest

import tinytensor as tt
from tinytensor.checkpoint import copy_into


def test_save_and_load(tmp_path):
    file = tmp_path / "model.safetensors"
    saved = {
        "weight": tt.randn(3, 4, requires_grad=True),
        "labels": tt.Tensor([1, 2]),
        "mask": tt.Tensor([True, False]),
        "empty": tt.zeros(0, 3, dtype="float64"),
        "number": tt.Tensor(2.5),
    }
    tt.save(file, saved)
    loaded = tt.load(str(file))
    assert loaded.keys() == saved.keys()
    for name, x in saved.items():
        np.testing.assert_array_equal(loaded[name].numpy(), x.numpy())
        assert loaded[name].dtype == x.dtype
    loaded["weight"][0] = 1  # the loaded tensor is writable


def test_errors(tmp_path):
    with pytest.raises(tt.DataError, match="isn't a safetensors file"):
        tt.load(tmp_path / "missing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(tt.DataError, match="isn't a safetensors file"):
        tt.load(tmp_path / "text")
    with pytest.raises(tt.DataError, match="can't be written"):
        tt.save(tmp_path / "no" / "folder", {"x": tt.ones(1)})
    with pytest.raises(tt.NotSupported, match="'x' is a ndarray; tensors are needed"):
        tt.save(tmp_path / "file", {"x": np.ones(1)})
    assert not (tmp_path / "file").exists()


def test_copy_into_copies_all_tensors_or_none():
    own = {"a": tt.zeros(2), "b": tt.zeros(3), "c": tt.zeros(1), "d": tt.zeros(1)}
    given = {"a": tt.ones(2), "b": tt.ones(2), "c": np.ones(1, np.float32), "e": tt.ones(1)}
    with pytest.raises(tt.DataError) as caught:
        copy_into("here", own, given)
    assert str(caught.value) == (
        "here: d is missing; e is unknown; b has shape (2,), (3,) is needed; "
        "c is a ndarray, a tensor is needed"
    )
    assert all(x.tolist() == [0] * x.size for x in own.values())
    copy_into("here", own, {name: tt.ones_like(x, dtype="int64") for name, x in own.items()})
    assert all(x.tolist() == [1] * x.size for x in own.values())
    assert own["a"].dtype == np.float32


def test_save_follows_links_and_refuses_special_files(tmp_path):
    file, link, pipe = tmp_path / "file", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(file)
    tt.save(link, {"x": tt.ones(1)})
    assert link.is_symlink()
    assert tt.load(file)["x"].tolist() == [1]
    os.mkfifo(pipe)
    with pytest.raises(tt.DataError, match="a regular file is needed"):
        tt.save(pipe, {"x": tt.ones(1)})
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "pipe"]
