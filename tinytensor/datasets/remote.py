"""Downloads data sets like MNIST, verifies each file, and caches it."""

from __future__ import annotations

import logging
import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_cache_dir

from tinytensor.datasets import Dataset, load
from tinytensor.errors import DataError, UnknownName
from tinytensor.extras import check_installed

log = logging.getLogger("tinytensor")

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


class Source(NamedTuple):
    """The mirrors of the four files, and their MD5 sums; a mirror with other files is skipped."""

    mirrors: tuple[str, ...]
    md5: tuple[str, str, str, str]


SOURCES = {
    "fashion-mnist": Source(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "kmnist": Source(
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
    ),
}
# EMNIST is one large archive of several data sets, with other file names and transposed images.
EMNIST = (
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    "58c8d27c78d21e728a6bc7b3cc06412e",
)


def cache_folder() -> Path:
    """The folder TINYTENSOR_CACHE_DIR, or the system's cache folder for tinytensor."""
    return Path(os.environ.get("TINYTENSOR_CACHE_DIR") or user_cache_dir("tinytensor", False))


def fetch(name: str) -> Dataset:
    """Download a data set; see tinytensor.datasets.fetch."""
    if name not in (*SOURCES, "emnist-digits"):
        known = ", ".join((*SOURCES, "emnist-digits"))
        raise UnknownName(f"fetch: there is no data set named {name!r}; choose from {known}")
    folder = cache_folder() / name
    if name == "emnist-digits":
        return _fetch_emnist(folder)
    source = SOURCES[name]
    for file, md5 in zip(FILES, source.md5, strict=True):
        _retrieve(name, [mirror + file for mirror in source.mirrors], md5, folder, file)
    return load(folder)


def _retrieve(name: str, urls: list[str], md5: str, folder: Path, file: str) -> Path:
    check_installed("fetch", "fetch", "pooch")
    import pooch

    reasons = []
    for url in urls:
        try:
            pooch.get_logger().setLevel(logging.WARNING)
            return Path(pooch.retrieve(url, f"md5:{md5}", file, folder))
        except Exception as error:  # network, server or checksum: try the next mirror
            log.info("fetch %s: %s: %s", name, url, error)
            reasons.append(type(error).__name__)
    with suppress(OSError):  # the folder is not empty, or does not exist
        folder.rmdir()
    raise DataError(
        f"fetch: {file} of {name} could not be downloaded ({', '.join(reasons)}); without a "
        f"network connection, put {', '.join(FILES) if file in FILES else file} into {folder}"
    )


def _fetch_emnist(folder: Path) -> Dataset:
    """The digits of EMNIST; the archive is unpacked on the first call."""
    # The archive is deleted after unpacking. If it exists, unpacking was interrupted, or the user
    # has put it there.
    if (folder / "gzip.zip").exists() or not all((folder / file).exists() for file in FILES):
        url, md5 = EMNIST
        archive = _retrieve("emnist-digits", [url], md5, folder, "gzip.zip")
        with zipfile.ZipFile(archive) as unpacked:
            for file in FILES:
                part = "train" if file.startswith("train") else "test"
                inside = f"gzip/emnist-digits-{part}-{file.split('-', 1)[1]}"
                (folder / file).write_bytes(unpacked.read(inside))
        archive.unlink()
    data = load(folder)
    # EMNIST's images are transposed: rows and columns are exchanged.
    return data._replace(
        train_images=data.train_images.swapaxes(1, 2).copy(),
        test_images=data.test_images.swapaxes(1, 2).copy(),
    )
