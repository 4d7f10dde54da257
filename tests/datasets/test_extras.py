"""Pictures and downloads need libraries that the package doesn't install."""

import pytest

import tinytensor as tt
from tinytensor import extras
from tinytensor.datasets import remote
from tinytensor.errors import SettingError


@pytest.fixture(autouse=True)
def _nothing_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    monkeypatch.setenv("TINYTENSOR_CACHE_DIR", str(tmp_path))


def test_mnist_needs_no_extra():
    assert len(tt.datasets.mnist().train_images) == 60_000


def test_a_folder_of_pictures_names_its_extra(tmp_path):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / "1.png").write_bytes(b"")
    with pytest.raises(SettingError, match=r"pillow is not installed; run: pip install .*\[images"):
        tt.datasets.load(tmp_path)


def test_a_download_names_its_extra():
    with pytest.raises(SettingError, match=r"pooch is not installed; run: pip install .*\[fetch"):
        remote.fetch("kmnist")


def test_predict_names_its_extra(run, tmp_path):
    picture = tmp_path / "digit.png"
    picture.write_bytes(b"")
    code, _, err = run("predict", picture)
    assert code == 2
    assert "pip install 'tinytensor-engine[images]'" in err
    assert err.count("\n") == 1
