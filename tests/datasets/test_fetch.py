"""Downloads of data sets, with a fake download function."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pooch
import pytest

import tinytensor as tt

INSIDE = Path(tt.datasets.__file__).parent / "mnist"


def test_failed_mirror_is_skipped(tmp_path, monkeypatch):
    urls = []

    def retrieve(url, known_hash, fname, path):
        urls.append(url)
        assert known_hash.startswith("md5:")
        if "amazonaws" in url:
            raise ConnectionError
        Path(path).mkdir(exist_ok=True, parents=True)
        return shutil.copy(INSIDE / fname, path)

    monkeypatch.setenv("TINYTENSOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    data = tt.datasets.fetch("fashion-mnist")
    np.testing.assert_array_equal(data.test_labels, tt.datasets.mnist().test_labels)
    assert len(urls) == 8, "two mirrors for each of four files"
    assert len(list((tmp_path / "fashion-mnist").iterdir())) == 4


def test_interrupted_unpacking_is_repeated(tmp_path, monkeypatch):
    def retrieve(url, known_hash, fname, path):
        Path(path).mkdir(exist_ok=True, parents=True)
        with zipfile.ZipFile(Path(path) / fname, "w") as archive:
            for part, inside in (("train", "train"), ("t10k", "test")):
                for kind in ("images-idx3", "labels-idx1"):
                    name = f"{kind}-ubyte.gz"
                    archive.write(INSIDE / f"{part}-{name}", f"gzip/emnist-digits-{inside}-{name}")
        return Path(path) / fname

    monkeypatch.setenv("TINYTENSOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    data = tt.datasets.fetch("emnist-digits")
    turned = tt.datasets.mnist().test_images.swapaxes(1, 2)
    np.testing.assert_array_equal(data.test_images, turned)
    folder = tmp_path / "emnist-digits"
    assert len(list(folder.iterdir())) == 4, "the archive is deleted"
    retrieve("", "", "gzip.zip", folder)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"half of it")
    np.testing.assert_array_equal(tt.datasets.fetch("emnist-digits").test_labels, data.test_labels)
    assert len(list(folder.iterdir())) == 4


def test_failed_download_error_names_files_and_folder(tmp_path, monkeypatch):
    def retrieve(*_, **__):
        raise ConnectionError

    monkeypatch.setenv("TINYTENSOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    for name in ("kmnist", "emnist-digits"):
        with pytest.raises(
            tt.DataError, match=f"without a network connection, put .* into .*{name}$"
        ):
            tt.datasets.fetch(name)
    assert list(tmp_path.iterdir()) == [], "no files are left"
    with pytest.raises(tt.UnknownName, match="no data set named 'cifar'; choose from"):
        tt.datasets.fetch("cifar")
