"""Run files: all snapshots of a training in one file, to be shown again without training.

    tinytensor recording 1        the first line
    length  zlib(about the run)   then blocks, each after its length in bytes, uint32
    length  zlib(snapshot)        (little-endian)
    ...

Each block is compressed separately. It contains a safetensors file, that is, arrays and JSON, no
code. The file appears with its first snapshot, at once (see atomic_file.py). Later blocks are only
appended, so a run file can be read while the run continues, and the complete blocks of a run that
crashed are valid.

A test image is written with the first snapshot that shows it. Later snapshots have its index among
the images written so far.
"""

from __future__ import annotations

import json
import math
import operator
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, BinaryIO, NoReturn, overload

import numpy as np

from tinytensor import atomic_file, endings, json_text, regular_file
from tinytensor.arrays import Array
from tinytensor.datasets import CLASSES, MNIST_SHAPE
from tinytensor.door import Backend
from tinytensor.errors import DataError, NotSupported, SettingError, UnknownName
from tinytensor.lessons import Lesson, find
from tinytensor.live.details import BANDS, Details, details_of
from tinytensor.live.names import changed_settings, named
from tinytensor.live.snapshot import Snapshot, misclassified_first, most_test_images
from tinytensor.live.speed import Speed
from tinytensor.step_report import StepReport
from tinytensor.train import Training

FIRST_LINE = b"tinytensor recording 1\n"
MAX_BLOCK = 2**26  # bytes of a block after decompression; a snapshot takes less than 1 MiB
MAX_PENDING = 50  # reports that may wait to be written
_Block = tuple[dict[str, Array], dict[str, Any]]  # a block
_LENGTH = struct.Struct("<I")
_DTYPES = {"test_steps": np.dtype(np.int32), "bands": np.dtype(np.float64)}
_FIELDS = (
    "step",
    "train_accuracy",
    "train_loss",
    "test_accuracy",
    "test_loss",
    "rate",
    "seconds",
    "images_per_second",
    "backend",
)


class RunWriter:
    """Writes the reports of a training to a run file, in a separate thread.

    The first snapshot replaces an existing file, so a run that ends before it leaves the file
    unchanged. Make the RunWriter before the training starts, because it measures the images per
    second.

    Args:
        file: the name of the run file.
        training: the Training that is recorded.

    Raises:
        SettingError: the examples are no images, or the name has another ending than .tt.
        DataError: the file can't be written. Later errors are raised by close().
    """

    def __init__(self, file: str | Path, training: Training) -> None:
        if not training.data.has_images:
            raise SettingError(
                "record: the examples are no images in classes, which run files show; leave record "
                "out"
            )
        endings.check("record", file, endings.RUN_FILE)
        self.file, self._training, self._data = file, training, training.data
        self._speed = Speed(training)
        # For each test image, its index among the images written so far; -1 if not written.
        self._image_ids = np.full(len(self._data.test_labels), -1, np.int32)
        self._error: OSError | None = None
        self._pending: list[Future[None]] = []
        self._waiting = BoundedSemaphore(MAX_PENDING)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recorder")
        self._opened: BinaryIO | None = None  # the file, after the first snapshot
        try:
            atomic_file.check(file)
        except OSError as error:
            raise DataError(
                f"record: {file} can't be written ({error.strerror}); choose another file"
            ) from None
        about = {
            "lesson": training.lesson.number,
            "name": training.lesson.name,
            "title": training.lesson.title,
            "seed": training.seed,
            "steps": training.steps,
            "test_count": len(training.data.test_labels),
            "classes": training.data.names,
            "image_shape": training.data.image_shape,
            "settings": changed_settings(training),
        }
        self._begin = FIRST_LINE + _encode_block({}, about)

    def add(self, report: StepReport, backend: Backend) -> None:
        """Queue a report to be written.

        Call it before the next step, because it reads the model. It returns without waiting unless
        MAX_PENDING reports are queued; then it waits, so that no report is lost.

        Args:
            report: the training's last report.
            backend: the backend that computed it.

        Raises:
            SettingError: the training has made no step.
        """
        predictions = self._training.predictions
        if predictions is None:
            raise SettingError(
                f"record: the training made no step before the report of step {report.step}; "
                "at least one is needed"
            )
        self._waiting.acquire()
        details, speed = details_of(self._training.model, predictions), self._speed(report)
        self._pending.append(self._thread.submit(self._add, report, details, backend.name, speed))

    def _add(self, report: StepReport, details: Details, backend: str, speed: float) -> None:
        try:
            snapshot = Snapshot.of(
                report, details, self._data, backend=backend, images_per_second=speed
            )
            self._write(self._block_of(snapshot, details.test_predictions))
        finally:
            self._waiting.release()

    def _block_of(self, snapshot: Snapshot, test_predictions: Array) -> bytes:
        count = most_test_images(self._data)
        shown = misclassified_first(self._data.test_labels, test_predictions, count)
        new = self._image_ids[shown] < 0
        known = self._image_ids.max(initial=-1) + 1
        self._image_ids[shown[new]] = np.arange(known, known + new.sum())
        arrays = {
            **_pack_images("train", snapshot.train_images),
            "train_labels": snapshot.train_labels,
            "train_predictions": snapshot.train_predictions,
            **_pack_images("new", snapshot.test_images[new]),
            "new_labels": snapshot.test_labels[new],
            "test_steps": np.diff(self._image_ids[shown], prepend=np.int32(0)),
            "test_predictions": snapshot.test_predictions,
            "bands": np.stack(list(snapshot.bands.values())).astype(np.float64),
        }
        figures = {name: getattr(snapshot, name) for name in _FIELDS}
        return _encode_block(arrays, {"figures": figures, "bands": list(snapshot.bands)})

    def _write(self, block: bytes) -> None:
        if self._error is not None:
            return  # a block after an incomplete block could not be read
        try:
            if self._opened is None:
                self._opened = atomic_file.replace(self.file, self._begin + block)
            else:
                atomic_file.write_all(self._opened, block)
        except OSError as error:
            self._error = error

    def close(self) -> None:
        """Write the queued reports and close the file.  Raises DataError if a write failed."""
        self._thread.shutdown()
        if self._opened is not None:
            with self._opened as opened:
                self._sync(opened)
        for future in self._pending:
            future.result()
        if self._error is not None:
            rest = "the snapshots written before the error can be read"
            raise DataError(
                f"record: {self.file} can't be written ({self._error.strerror}); "
                f"{'choose another file' if self._opened is None else rest}"
            )

    def _sync(self, opened: BinaryIO) -> None:
        try:
            atomic_file.sync(opened)
        except OSError as error:
            self._error = self._error or error


@dataclass(frozen=True)
class RecordedRun:
    """A recorded run, complete or stopped early."""

    lesson: Lesson
    seed: int
    backend: str  # of the first snapshot; each snapshot has its own
    steps: int  # number of steps planned
    test_count: int  # number of test images; a snapshot shows some of them
    names: tuple[str, ...]  # of the classes
    snapshots: Sequence[Snapshot]
    settings: str = ""  # that differ from the lesson at the first step, in words

    @property
    def name(self) -> str:
        """Its lesson, settings and seed: "1.0 softmax, learning rate 0.01, seed 0"."""
        return f"{named(self.lesson, self.settings)}, seed {self.seed}"


def load(file: str | Path) -> RecordedRun:
    """Read a run file, which may still be written to.

    Returns:
        the RecordedRun.

    Raises:
        DataError: the file can't be read, is not a run file, is damaged, or has no snapshot.
    """
    try:
        content = regular_file.checked(file).read_bytes()
    except OSError as error:
        raise DataError(
            f"{file} can't be read ({error.strerror}); a run file is needed, which "
            "tinytensor train --record writes"
        ) from None
    if not content.startswith(FIRST_LINE):
        raise DataError(
            f"{file} is not a run file; one that tinytensor train --record wrote is needed"
        )
    try:
        (_, about), *blocks = [_decode_block(block) for block in _blocks(content)] or [({}, {})]
        if not blocks:
            raise DataError(f"{file}: this run file has no snapshot yet; train longer")
        return RecordedRun(
            lesson=_lesson(about),
            seed=about["seed"],
            backend=blocks[0][1]["figures"]["backend"],
            steps=about["steps"],
            test_count=about["test_count"],
            names=_names(about.get("classes", list(map(str, range(CLASSES)))), blocks),
            snapshots=_Snapshots(blocks, _image_shape(about)),
            settings=str(about.get("settings", "")),
        )
    except DataError:
        raise
    except UnknownName as error:
        raise DataError(f"{file} was written by another version of tinytensor: {error}") from None
    except Exception as error:  # many types of error, because the bytes can be anything
        raise DataError(
            f"{file}: the run file is damaged ({error}); record the run again"
        ) from None


def _lesson(about: dict[str, Any]) -> Lesson:
    """The lesson of a run; a lesson of the user's file has its names only, and no network."""
    try:
        return find(about["lesson"])
    except UnknownName:
        if "title" not in about:  # an old file
            raise

    def unknown(*_: object) -> NoReturn:
        raise NotSupported(f"lesson {about['name']}: a run file does not contain its network")

    return Lesson(
        number=str(about["lesson"]), name=str(about["name"]), title=str(about["title"]), chapter="",
        model=unknown, optimizer=unknown, expected_accuracy=0.0,
    )  # fmt: skip


def _names(classes: list[str], blocks: list[_Block]) -> tuple[str, ...]:
    """The names of the classes, after a check that each label has one."""
    largest = max(
        int(arrays[name].max(initial=0))
        for arrays, _ in blocks
        for name in ("train_labels", "train_predictions", "new_labels", "test_predictions")
    )
    if largest >= len(classes):
        raise ValueError(f"label {largest} has no name")
    return tuple(map(str, classes))


def _image_shape(about: dict[str, Any]) -> tuple[int, ...]:
    """The shape of an image in a snapshot: (H, W), or (H, W, C) with several channels."""
    height, width, channels = map(operator.index, about.get("image_shape", MNIST_SHAPE))
    if min(height, width, channels) < 1 or height * width * channels > MAX_BLOCK:
        raise ValueError(f"images of {height} x {width} x {channels} are too small or too large")
    return (height, width) if channels == 1 else (height, width, channels)


class _Snapshots(Sequence[Snapshot]):
    """Snapshots that are decoded on access, because all their images would need much memory."""

    def __init__(self, blocks: list[_Block], shape: tuple[int, ...]) -> None:
        self._blocks, self._shape = blocks, shape
        self._test_images = np.concatenate(
            [_unpack_images("new", arrays, shape) for arrays, _ in blocks]
        )
        self._test_labels = np.concatenate([arrays["new_labels"] for arrays, _ in blocks])
        known = 0
        for arrays, metadata in blocks:
            known += len(arrays["new_labels"])
            _check(arrays, metadata, known, shape)

    def __len__(self) -> int:
        return len(self._blocks)

    @overload
    def __getitem__(self, index: int) -> Snapshot: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Snapshot]: ...
    def __getitem__(self, index: int | slice) -> Snapshot | Sequence[Snapshot]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        arrays, metadata = self._blocks[index]
        shown = arrays["test_steps"].cumsum()
        return Snapshot(
            **metadata["figures"],
            train_images=_unpack_images("train", arrays, self._shape),
            train_labels=arrays["train_labels"],
            train_predictions=arrays["train_predictions"],
            test_images=self._test_images[shown],
            test_labels=self._test_labels[shown],
            test_predictions=arrays["test_predictions"],
            bands=dict(zip(metadata["bands"], arrays["bands"], strict=True)),
        )


# Blocks


def _encode_block(arrays: dict[str, Array], metadata: dict[str, Any]) -> bytes:
    from safetensors import numpy as safetensors

    about = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    # A higher level would make the file 4 % smaller and writing three times slower.
    packed = zlib.compress(safetensors.save({**arrays, "about": about}), level=1)
    return _LENGTH.pack(len(packed)) + packed


def _blocks(content: bytes) -> Iterator[bytes]:
    """Yield the complete blocks of a run file."""
    start = len(FIRST_LINE)
    while start + _LENGTH.size <= len(content):
        (length,) = _LENGTH.unpack_from(content, start)
        start += _LENGTH.size
        if start + length > len(content):
            return
        yield content[start : start + length]
        start += length


def _decode_block(block: bytes) -> _Block:
    """The arrays and the metadata of a block."""
    from safetensors import numpy as safetensors

    unpacker = zlib.decompressobj()
    arrays = safetensors.load(unpacker.decompress(block, MAX_BLOCK))
    if not unpacker.eof:  # zlib checks its checksum only at the end
        raise ValueError("a block is too long or too short")
    return arrays, json_text.parsed(arrays.pop("about").tobytes())


def _check(
    arrays: dict[str, Array], metadata: dict[str, Any], known: int, shape: tuple[int, ...]
) -> None:
    """Raise ValueError or KeyError if a block can't be made into a snapshot.

    known: number of test images written so far. shape: of an image.
    """
    for name, array in arrays.items():
        if array.dtype != (wanted := _DTYPES.get(name, np.dtype(np.uint8))):
            raise ValueError(f"{name} has dtype {array.dtype}, not {wanted}")
    shown = arrays["test_steps"].cumsum()
    for name, wanted in {
        "train_predictions": arrays["train_labels"].shape,
        "test_predictions": shown.shape,
        "bands": (len(metadata["bands"]), BANDS + 1),
    }.items():
        if arrays[name].shape != wanted:
            raise ValueError(f"{name} has shape {arrays[name].shape}, not {wanted}")
    _unpack_images("train", arrays, shape)
    if shown.min(initial=0) < 0 or shown.max(initial=-1) >= known:
        raise ValueError("a test image is missing")
    if set(metadata["figures"]) != set(_FIELDS):
        raise ValueError(f"unknown or missing fields: {', '.join(metadata['figures'])}")


def _pack_images(name: str, images: Array) -> dict[str, Array]:
    """A bit mask of the non-zero pixels and their values, because 80 % of the pixels are 0."""
    return {f"{name}_ink": np.packbits(images > 0), f"{name}_grey": images[images > 0]}


def _unpack_images(name: str, arrays: dict[str, Array], shape: tuple[int, ...]) -> Array:
    """The images (N, *shape) uint8 that _pack_images packed; N is the number of labels."""
    count = len(arrays[f"{name}_labels"])
    if count * math.prod(shape) > MAX_BLOCK:
        raise ValueError(f"{count} images of {shape} are too many")
    images = np.zeros((count, *shape), np.uint8)
    ink = np.unpackbits(arrays[f"{name}_ink"], count=images.size).astype(bool)
    images[ink.reshape(images.shape)] = arrays[f"{name}_grey"]
    return images
