"""Saves a training while it runs: the last checkpoint, and on request the best one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tinytensor import atomic_file, endings
from tinytensor.arrays import Array
from tinytensor.errors import DataError, NotSupported, SettingError
from tinytensor.evaluation import OutOfTimeError
from tinytensor.run_state import Best
from tinytensor.train import Training

BEST = "best.safetensors"


def check_name(
    caller: str, file: str | Path, allowed: tuple[str, ...] = endings.CHECKPOINT
) -> None:
    """Raise DataError unless the file can be written, before hours of training.

    Raise SettingError if its name does not end as allowed, by default as that of a checkpoint.
    """
    if not isinstance(file, str | os.PathLike):
        raise NotSupported(f"{caller}: got {file!r} as the file to save; a path is needed")
    endings.check(caller, file, allowed)
    try:
        atomic_file.check(file)
    except OSError as error:
        raise DataError(
            f"{caller}: {file} can't be written ({error.strerror}); choose another file"
        ) from None


def best_file(file: str | Path) -> Path:
    """The path of best.safetensors in the folder of a checkpoint.

    Raises SettingError if it is the checkpoint itself.
    """
    best = Path(os.path.realpath(file)).with_name(BEST)
    if os.path.realpath(best) == os.path.realpath(file):
        raise SettingError(f"save: got {file}; another name than {BEST} is needed")
    return best


class Saver:
    """Saves checkpoints of a training: set as `training.after_step`, it is called after each step.

    A checkpoint that can't be written stops the training after its current step. `finish` raises
    the error. On several ranks all ranks have a Saver, because they share the validation images,
    and rank 0 writes the files.

    Args:
        training: the Training, new or resumed.
        file: the checkpoint of the last step. Each one replaces the one before it.
        every: number of steps between two checkpoints. By default only the last step is saved.
        validation: images (V, 28, 28) uint8 and labels (V,) that the training doesn't train on.
            Every `evaluate_every` steps, and after the last, the network is tested on them. If
            its accuracy is higher than ever, best.safetensors is written to the folder of `file`.

    Attributes:
        step: the step of the last checkpoint that was written, or None.
        best_file: the path of best.safetensors; None without validation images.

    Raises:
        SettingError: `every` is less than 1, or `file` is best.safetensors itself, which
            `validation` needs.
    """

    def __init__(
        self,
        training: Training,
        file: str | Path,
        every: int | None = None,
        validation: tuple[Array, Array] | None = None,
    ) -> None:
        if every is not None and every < 1:
            raise SettingError(f"every: got {every}; 1 or more is needed")
        self.training, self.file, self.every = training, file, every
        self.best_file = None if validation is None else best_file(file)
        self.step: int | None = None
        self._validation = validation
        self._error: DataError | None = None
        if training.step:  # because an interrupted run may have ended before this test
            self._validate()

    def __call__(self) -> None:
        """Save what is due after a step."""
        training = self.training
        is_last = training.stop or training.step == training.steps
        if is_last or (self.every is not None and training.step % self.every == 0):
            self._noting_error(self._save)
        self._noting_error(self._validate)

    def finish(self) -> None:
        """Save the last step, if it is not saved yet.

        Raises:
            DataError: this checkpoint, or an earlier one, can't be written.
        """
        if self._error is not None:
            raise self._error
        if self.step != self.training.step:
            self._save()

    def _noting_error(self, save: Callable[[], None]) -> None:
        try:
            save()
        except DataError as error:
            self._error = self._error or error
            self.training.stop = True

    def _save(self) -> None:
        self._write(self.file)
        self.step = self.training.step

    def _write(self, file: str | Path) -> None:
        if self.training.world.rank == 0:
            self.training.save(file)

    def _validate(self) -> None:
        """Test on the validation images, if this is due, and save the best network."""
        training = self.training
        is_due = training.step % training.evaluate_every == 0 or training.step == training.steps
        if self._validation is None or self.best_file is None or not is_due:
            return
        try:
            accuracy = training.accuracy(*self._validation)
        except OutOfTimeError:  # a resumed run makes the test
            return
        if training.best is None or accuracy > training.best.accuracy:
            training.best = Best(training.step, accuracy)
            self._write(self.best_file)
