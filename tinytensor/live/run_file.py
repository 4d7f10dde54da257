"""A run in a file: all that its picture showed, to be looked at again without training.

    tinytensor recording 1        the first line
    length  zlib(about the run)   then blocks: 4 bytes say how long a block is
    length  zlib(snapshot)
    ...

Each block is compressed by itself, and within it is a safetensors file: numbers and words, nothing
that could run. Blocks are only ever added at the end. So a run can be looked at while it goes on,
and of one that was stopped, or has crashed, all whole blocks are good.

A test image is written with the first snapshot that shows it; later ones name it by its number.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, overload

import numpy as np

from tinytensor.arrays import Array
from tinytensor.datasets import SIDE
from tinytensor.door import Backend
from tinytensor.errors import DataError, SettingError, UnknownName
from tinytensor.lessons import Lesson, find
from tinytensor.live.details import BANDS, Details, details_of
from tinytensor.live.snapshot import TEST_SHOWN, Snapshot, missed_first
from tinytensor.live.speed import Speed
from tinytensor.train import StepReport, Training

FIRST_LINE = b"tinytensor recording 1\n"
LARGEST_BLOCK = 2**26  # bytes, of what a block unpacks to; a snapshot takes less than 1 MiB
WAITING = 50  # reports that may wait to be written
_Opened = tuple[dict[str, Array], dict[str, Any]]  # a block
_LENGTH = struct.Struct("<I")
_DTYPES = {"test_steps": np.dtype(np.int32), "bands": np.dtype(np.float64)}
_FIGURES = (
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
    """Writes the reports of a training to a file, which it makes anew; a thread of its own does it.

    Made before the training begins, for it counts the images per second.

    Raises DataError if the file can't be opened; if it can't be written later, so does close.
    """

    def __init__(self, file: str | Path, training: Training) -> None:
        self._name, self._training, self._data = file, training, training.data
        self._speed = Speed(training)
        # In what order the test images were written; -1 for those that were not.
        self._numbers = np.full(len(self._data.test_labels), -1, np.int32)
        self._problem: OSError | None = None
        self._added: list[Future[None]] = []
        self._waiting = BoundedSemaphore(WAITING)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recorder")
        try:
            self._file = open(file, "wb", buffering=0)  # noqa: SIM115 - closed by close
        except OSError as error:
            raise DataError(f"record: {file} can't be written: {error.strerror}") from None
        about = {
            "lesson": training.lesson.number,
            "seed": training.seed,
            "steps": training.steps,
            "test_count": len(training.data.test_labels),
        }
        self._write(FIRST_LINE + _block({}, about))

    def add(self, report: StepReport, backend: Backend) -> None:
        """Have the training's last report written, and the name of the backend that computed it.

        Called before the next step, because the model is read here. Returns at once, unless WAITING
        reports are still to be written: a run is recorded in full.

        Raises SettingError if the training has made no step.
        """
        predictions = self._training.predictions
        if predictions is None:
            raise SettingError(f"record: no step was made before the report of step {report.step}")
        self._waiting.acquire()
        details, speed = details_of(self._training.model, predictions), self._speed(report)
        self._added.append(self._thread.submit(self._add, report, details, backend.name, speed))

    def _add(self, report: StepReport, details: Details, backend: str, speed: float) -> None:
        try:
            snapshot = Snapshot.of(
                report, details, self._data, backend=backend, images_per_second=speed
            )
            self._write(self._block_of(snapshot, details.test_predictions))
        finally:
            self._waiting.release()

    def _block_of(self, snapshot: Snapshot, test_predictions: Array) -> bytes:
        shown = missed_first(self._data.test_labels, test_predictions, TEST_SHOWN)
        new = self._numbers[shown] < 0
        known = self._numbers.max(initial=-1) + 1
        self._numbers[shown[new]] = np.arange(known, known + new.sum())
        arrays = {
            **_packed("train", snapshot.train_images),
            "train_labels": snapshot.train_labels,
            "train_predictions": snapshot.train_predictions,
            **_packed("new", snapshot.test_images[new]),
            "new_labels": snapshot.test_labels[new],
            "test_steps": np.diff(self._numbers[shown], prepend=np.int32(0)),
            "test_predictions": snapshot.test_predictions,
            "bands": np.stack(list(snapshot.bands.values())).astype(np.float64),
        }
        figures = {name: getattr(snapshot, name) for name in _FIGURES}
        return _block(arrays, {"figures": figures, "bands": list(snapshot.bands)})

    def _write(self, block: bytes) -> None:
        if self._problem is not None:
            return  # behind half a block another would be of no use
        try:
            self._file.write(block)
        except OSError as error:
            self._problem = error

    def close(self) -> None:
        """Wait for what is still to be written.  Raises DataError if something wasn't."""
        self._thread.shutdown()
        self._file.close()
        for future in self._added:
            future.result()
        if self._problem is not None:
            raise DataError(
                f"record: {self._name} can't be written: {self._problem.strerror}; "
                "what was written before can be looked at"
            )


@dataclass(frozen=True)
class RecordedRun:
    """A run that was recorded, as far as it went."""

    lesson: Lesson
    seed: int
    backend: str  # of the first snapshot; each has its own
    steps: int  # that were asked for
    test_count: int  # all test images; of them a snapshot shows some
    snapshots: Sequence[Snapshot]


def load(file: str | Path) -> RecordedRun:
    """The run that a RunWriter wrote to a file, or is writing.

    Raises DataError for a file that can't be read, is no recording, is broken, or has no snapshot.
    """
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise DataError(f"{file}: a recording is needed ({error.strerror})") from None
    if not content.startswith(FIRST_LINE):
        raise DataError(f"{file}: a recording that tinytensor train --record wrote is needed")
    try:
        (_, about), *blocks = [_opened(block) for block in _blocks(content)] or [({}, {})]
        if not blocks:
            raise DataError(f"{file}: there is no snapshot in this recording yet")
        return RecordedRun(
            lesson=find(about["lesson"]),
            seed=about["seed"],
            backend=blocks[0][1]["figures"]["backend"],
            steps=about["steps"],
            test_count=about["test_count"],
            snapshots=_Snapshots(blocks),
        )
    except DataError:
        raise
    except UnknownName as error:
        raise DataError(f"{file} is of another tinytensor: {error}") from None
    except Exception as error:  # of many kinds, for a file may hold anything
        raise DataError(f"{file}: the recording is broken ({error}); record the run anew") from None


class _Snapshots(Sequence[Snapshot]):
    """Snapshots made when they are asked for: all their images would take much memory."""

    def __init__(self, blocks: list[_Opened]) -> None:
        self._blocks = blocks
        self._test_images = np.concatenate([_unpacked("new", arrays) for arrays, _ in blocks])
        self._test_labels = np.concatenate([arrays["new_labels"] for arrays, _ in blocks])
        known = 0
        for arrays, words in blocks:
            known += len(arrays["new_labels"])
            _check(arrays, words, known)

    def __len__(self) -> int:
        return len(self._blocks)

    @overload
    def __getitem__(self, index: int) -> Snapshot: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Snapshot]: ...
    def __getitem__(self, index: int | slice) -> Snapshot | Sequence[Snapshot]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        arrays, words = self._blocks[index]
        shown = arrays["test_steps"].cumsum()
        return Snapshot(
            **words["figures"],
            train_images=_unpacked("train", arrays),
            train_labels=arrays["train_labels"],
            train_predictions=arrays["train_predictions"],
            test_images=self._test_images[shown],
            test_labels=self._test_labels[shown],
            test_predictions=arrays["test_predictions"],
            bands=dict(zip(words["bands"], arrays["bands"], strict=True)),
        )


# Blocks


def _block(arrays: dict[str, Array], words: dict[str, Any]) -> bytes:
    from safetensors import numpy as safetensors

    about = np.frombuffer(json.dumps(words).encode(), np.uint8)
    # More effort would make it 4 % smaller, and three times as slow.
    packed = zlib.compress(safetensors.save({**arrays, "about": about}), level=1)
    return _LENGTH.pack(len(packed)) + packed


def _blocks(content: bytes) -> Iterator[bytes]:
    """The blocks that are there in full."""
    start = len(FIRST_LINE)
    while start + _LENGTH.size <= len(content):
        (length,) = _LENGTH.unpack_from(content, start)
        start += _LENGTH.size
        if start + length > len(content):
            return
        yield content[start : start + length]
        start += length


def _opened(block: bytes) -> _Opened:
    """Arrays and words of a block."""
    from safetensors import numpy as safetensors

    unpacker = zlib.decompressobj()
    arrays = safetensors.load(unpacker.decompress(block, LARGEST_BLOCK))
    if not unpacker.eof:  # only then is its checksum seen to be right
        raise ValueError("a block is too long or too short")
    return arrays, json.loads(arrays.pop("about").tobytes())


def _check(arrays: dict[str, Array], words: dict[str, Any], known: int) -> None:
    """Raise an error if no snapshot could be made of a block; so many test images are known."""
    for name, array in arrays.items():
        if array.dtype != (wanted := _DTYPES.get(name, np.dtype(np.uint8))):
            raise ValueError(f"{name} is {array.dtype}, not {wanted}")
    shown = arrays["test_steps"].cumsum()
    for name, wanted in {
        "train_predictions": arrays["train_labels"].shape,
        "test_predictions": shown.shape,
        "bands": (len(words["bands"]), BANDS + 1),
    }.items():
        if arrays[name].shape != wanted:
            raise ValueError(f"{name} has shape {arrays[name].shape}, not {wanted}")
    _unpacked("train", arrays)
    if shown.min(initial=0) < 0 or shown.max(initial=-1) >= known:
        raise ValueError("a test image is missing")
    if set(words["figures"]) != set(_FIGURES):
        raise ValueError(f"there are figures {', '.join(words['figures'])}")


def _packed(name: str, images: Array) -> dict[str, Array]:
    """Where images have ink, and how much: of a digit that is a fifth."""
    return {f"{name}_ink": np.packbits(images > 0), f"{name}_grey": images[images > 0]}


def _unpacked(name: str, arrays: dict[str, Array]) -> Array:
    """The images (N, 28, 28) of as many labels."""
    images = np.zeros((len(arrays[f"{name}_labels"]), SIDE, SIDE), np.uint8)
    ink = np.unpackbits(arrays[f"{name}_ink"], count=images.size).astype(bool)
    images[ink.reshape(images.shape)] = arrays[f"{name}_grey"]
    return images
