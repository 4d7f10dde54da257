"""Saving and loading tensors."""

import io
import json
import os
import struct

import numpy as np
import pytest

import tinytensor as tt
from tinytensor.checkpoint import about, copy_into


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
    with pytest.raises(tt.DataError, match=r"missing can't be read: No such file or directory$"):
        tt.load(tmp_path / "missing")
    with pytest.raises(tt.NotSupported, match="load: got a BytesIO; the path of a file is needed"):
        tt.load(io.BytesIO())
    (tmp_path / "text").write_text("hello")
    with pytest.raises(tt.DataError, match="isn't a safetensors file"):
        tt.load(tmp_path / "text")
    with pytest.raises(tt.DataError, match="can't be written"):
        tt.save(tmp_path / "no" / "folder", {"x": tt.ones(1)})
    with pytest.raises(tt.NotSupported, match="'x' is a ndarray; tensors are needed"):
        tt.save(tmp_path / "file", {"x": np.ones(1)})
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("make", [str, lambda path: path], ids=["str", "Path"])
def test_save_takes_both_orders_and_whole_objects(tmp_path, make):
    file = make(tmp_path / "file.safetensors")
    model = tt.nn.Linear(3, 2)
    optimizer = tt.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for given, names in (
        ({"x": tt.ones(2)}, ["x"]),
        (model, list(model.state_dict())),
        (optimizer, list(optimizer.state_dict())),
    ):
        for order in ((file, given), (given, file)):
            tt.save(*order)
            assert list(tt.load(file)) == sorted(names)
            os.remove(file)
    tt.save(model, file, {"note": "x"})
    assert about(file) == {"note": "x"}
    other = tt.nn.Linear(3, 2)
    other.load_state_dict(tt.load(file))
    np.testing.assert_array_equal(other.weight.numpy(), model.weight.numpy())


@pytest.mark.parametrize(
    ("arguments", "got"),
    [
        (("a", "b"), "a str and a str"),
        (({}, {}), "a dict and a dict"),
        (("a", [tt.ones(1)]), "a str and a list"),
        ((tt.ones(1), "a"), "a Tensor and a str"),
        (({}, io.BytesIO()), "a dict and a BytesIO"),
    ],
)
def test_save_of_other_arguments_names_what_is_needed(tmp_path, monkeypatch, arguments, got):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(tt.NotSupported, match=f"save: got {got}; a path and a dict of tensors"):
        tt.save(*arguments)
    assert not list(tmp_path.iterdir())


def test_files_of_torch_save_are_recognised(tmp_path):
    torch = pytest.importorskip("torch")
    state = torch.nn.Linear(3, 2).state_dict()
    for is_zip in (True, False):
        torch.save(state, tmp_path / "model.pt", _use_new_zipfile_serialization=is_zip)
        with pytest.raises(tt.DataError, match="it looks like a file of torch"):
            tt.load(tmp_path / "model.pt")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_file_is_recognised(tmp_path, save):
    save(tmp_path / "digits.npz", x_train=np.zeros((3, 28, 28)), y_train=np.zeros(3))
    with pytest.raises(tt.DataError, match=r"it is an \.npz file; np\.load reads it"):
        tt.load(tmp_path / "digits.npz")


@pytest.mark.parametrize("given", ["model.safetensors", [tt.ones(2)]])
def test_load_state_dict_needs_a_dict(given):
    with pytest.raises(tt.NotSupported, match=r"load_state_dict: got a \w+; a dict .*tt\.load"):
        tt.nn.Linear(1, 1).load_state_dict(given)


def write_file(path, **tensors):
    """Write a safetensors file; each tensor is (dtype, shape, bytes)."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_16_bit_floats_are_read_as_float32(tmp_path):
    bits = np.array([0x3FC0, 0xC000, 0x7F80, 0x0001], "<u2")  # 1.5, -2, infinity, the smallest
    halves = np.array([[0.1, -65504.0]], "<f2")
    write_file(
        tmp_path / "file",
        brain=("BF16", [2, 2], bits.tobytes()),
        half=("F16", [1, 2], halves.tobytes()),
        empty=("BF16", [0, 3], b""),
    )
    loaded = tt.load(tmp_path / "file")
    assert {x.dtype for x in loaded.values()} == {np.dtype(np.float32)}
    assert loaded["brain"].tolist() == [[1.5, -2.0], [np.inf, 2.0**-133]]
    np.testing.assert_array_equal(loaded["half"].numpy(), halves.astype(np.float32))
    assert loaded["empty"].shape == (0, 3)
    loaded["brain"][0] = 1  # the loaded tensor is writable


@pytest.mark.parametrize(
    ("dtype", "size"), [("F8_E4M3", 1), ("F8_E5M2", 1), ("I8", 1), ("U16", 2), ("U64", 8)]
)
def test_other_dtypes_raise(tmp_path, dtype, size):
    write_file(tmp_path / "file", w=(dtype, [2], bytes(2 * size)))
    with pytest.raises(tt.DataError, match=f"'w' is {dtype}; one of F32, .*BF16.* is needed"):
        tt.load(tmp_path / "file")


def test_damaged_files_raise(tmp_path):
    file = tmp_path / "file"
    write_file(file, w=("F32", [2**63, 0], b""))
    with pytest.raises(tt.DataError, match="'w' has shape"):
        tt.load(file)
    tt.save(file, {"a": tt.ones(2, 3), "b": tt.arange(3)}, {"note": "x"})
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:n] for n in range(len(whole))]
    for _ in range(500):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] = rng.integers(256)
        damaged.append(bytes(changed))
    refused = 0
    for content in damaged:
        file.write_bytes(content)
        try:
            tt.load(file)
        except tt.DataError:
            refused += 1
    assert refused > len(whole)


def test_copy_into_copies_all_tensors_or_none():
    own = {"a": tt.zeros(2), "b": tt.zeros(3), "c": tt.zeros(1), "d": tt.zeros(1)}
    given = {"a": tt.ones(2), "b": tt.ones(2), "c": np.ones(1, np.float32), "e": tt.ones(1)}
    with pytest.raises(tt.DataError) as caught:
        copy_into("here", own, given)
    assert str(caught.value) == (
        "here: d is missing; e is unknown; b has shape (2,), (3,) is needed; "
        "c is a numpy.ndarray, a tt.Tensor is needed"
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
