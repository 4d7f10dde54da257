"""Sweep: chooses settings of a lesson with Optuna, trains, and measures on validation images."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinytensor import datasets, lessons, random, run_state
from tinytensor.errors import AnomalyError, DataError, SettingError
from tinytensor.extras import check_installed
from tinytensor.ops.operands import whole
from tinytensor.ranks import world
from tinytensor.step_report import StepReport
from tinytensor.sweep.journal import CHOOSING, FIRST_TRIAL, Journal
from tinytensor.train import Training

if TYPE_CHECKING:
    import optuna

_PAUSE = 0.1  # seconds between two looks at the trials of other processes


@dataclass(frozen=True)
class Trial:
    """Settings that a sweep has tried, with their accuracy.

    Attributes:
        number: the number of the trial, from 0 up.
        settings: the settings that the sweep varies: lr, keep_prob, batch, optimizer.
        seed: the seed of the training.
        accuracy: on the validation images, 0 to 1; None if the loss became NaN or infinite.
        loss: the mean loss on the validation images, or None.
        seconds: the time of training and validation.
    """

    number: int
    settings: Mapping[str, Any]
    seed: int
    accuracy: float | None
    loss: float | None
    seconds: float


class Sweep:
    """Trials of a lesson with different settings. Iterating runs them and yields each Trial.

    A process that ends in the middle of a trial, by Ctrl-C or kill -9, gives it up. The same
    settings are then tried again, with the same seed, by another process of the sweep or by the
    next run with this storage.

    Args:
        lesson: the network, and the settings that don't vary.
        data: the data set. A twelfth of its training images, drawn by `seed`, are the validation
            images. They are not trained on. The test images are not used.
        rate: the smallest and the largest constant learning rate, on a logarithmic scale.
        keep: the smallest and the largest probability of dropout to keep an element.
        batch: numbers of images per step, to choose from.
        optimizer: names of optimisers, to choose from; see lessons.OPTIMIZERS.
        trials: the number of trials of all processes together.
        steps: training steps of each trial; the lesson's own by default.
        seed: the seed of the validation images. With the number of a trial it is the seed of the
            trial's settings and of its training.
        storage: the journal file, which several processes may share; a temporary file by default.

    Raises:
        SettingError: no setting varies, a range is malformed or doesn't fit the lesson, or Optuna
            is not installed; or mpiexec started several processes and there is no storage.
        DataError: the storage can't be written, or is of a sweep with other settings.
    """

    def __init__(
        self,
        lesson: lessons.Lesson,
        data: datasets.Dataset,
        *,
        rate: tuple[float, float] | None = None,
        keep: tuple[float, float] | None = None,
        batch: Sequence[int] | None = None,
        optimizer: Sequence[str] | None = None,
        trials: int = 20,
        steps: int | None = None,
        seed: int = 0,
        storage: str | Path | None = None,
    ) -> None:
        check_installed("sweep", "sweep", "optuna")
        if storage is None and world().size > 1:
            raise SettingError(
                f"sweep: mpiexec started {world().size} processes, which would all make the same "
                "trials; --storage FILE divides the trials among them"
            )
        self.count = whole("sweep", "trials", trials, 1)
        self.steps = whole("sweep", "steps", lesson.steps if steps is None else steps, 1)
        self.lesson, self.seed = lesson, whole("sweep", "seed", seed)
        self.data = datasets.hold_out(data, self.seed)
        given = {"rate": rate, "keep": keep, "batch": batch, "optimizer": optimizer}
        self._check(given)
        self._space = _space(given)
        self._training: Training | None = None
        self._stopped = False
        self._own: dict[int, Trial] = {}  # trials of this process, by number
        about = {
            "lesson": lesson.number,
            **{name: _text(value) for name, value in given.items()},
            "steps": self.steps,
            "seed": self.seed,
            "data": run_state.checksum(data.train_images, data.train_labels),
        }
        with ExitStack() as opened:
            if storage is None:
                folder = opened.enter_context(tempfile.TemporaryDirectory())
                storage = Path(folder) / "journal"
            self._journal = Journal(Path(storage), about)
            opened.callback(self._journal.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> Sweep:
        """The sweep itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the storage."""
        self.close()

    def close(self) -> None:
        """Close the storage. A trial that is not finished is given up."""
        self._opened.close()

    def stop(self) -> None:
        """End after the current step; the current trial is given up."""
        self._stopped = True
        if self._training is not None:
            self._training.stop = True
            self._training.deadline = -math.inf  # the network is not tested

    def __iter__(self) -> Iterator[Trial]:
        """Run the trials that no other process runs, until all have finished.

        Raises:
            DataError: the storage can't be written.
        """
        while not self._stopped:
            try:
                trial = self._choose()
                finished = None if trial is None else self._run(trial)
            except OSError as error:
                raise DataError(
                    f"sweep: {self._journal.file} can't be written ({error.strerror}); free space "
                    "on the disk or choose another --storage"
                ) from None
            if finished is not None:
                yield finished
            elif trial is None:
                if not self._running():
                    return
                time.sleep(_PAUSE)

    @property
    def trials(self) -> list[Trial]:
        """The finished trials of all processes, the best first.

        After an error of the storage they include the trial that it could not store.
        """
        stored = (_trial(each, self.seed) for each in self._all() if each.state.name in _FINISHED)
        found = self._own | {trial.number: trial for trial in stored}
        return sorted(found.values(), key=_rank)

    def _check(self, given: Mapping[str, Any]) -> None:
        """Raise SettingError if a range is malformed or doesn't fit the lesson."""
        if all(value is None for value in given.values()):
            raise SettingError(
                "sweep: got no setting to vary; a range is needed, such as --rate 1e-4..1e-2, "
                "--keep 0.5..0.9, --batch 50,100 or --optimizer sgd,adam"
            )
        for name, most in (("rate", math.inf), ("keep", 1.0)):
            if given[name] is not None and not _is_range(given[name], most):
                raise SettingError(
                    f"{name}: got {given[name]}; two numbers above 0"
                    f"{' and up to 1' if most == 1 else ''} are needed, the smaller one first"
                )
        images = len(self.data.train_images)
        for batch in given["batch"] or ():
            if not 1 <= whole("sweep", "batch", batch) <= images:
                raise SettingError(f"batch: got {batch}; from 1 to {images} is needed")
        for name in given["optimizer"] or ():
            lessons.known_by_name(lessons.OPTIMIZERS, name, "optimizer: there is none")
        if given["keep"] is not None:  # raises if the lesson has no dropout
            changed = lessons.changed(self.lesson, keep_prob=given["keep"][0])
            with random.fork():
                changed.new_model(len(self.data.names), self.data.image_shape)

    def _all(self) -> list[optuna.trial.FrozenTrial]:
        """All trials in the journal that have a number in the sweep."""
        found = self._journal.study.get_trials(deepcopy=False)
        return [each for each in found if "number" in each.user_attrs]

    def _running(self) -> bool:
        return any(each.state.name == "RUNNING" for each in self._all())

    def _choose(self) -> optuna.Trial | None:
        """Start the next trial, and lock its byte; None if all are running or finished."""
        from optuna.samplers import TPESampler

        study = self._journal.study
        with self._journal.locked(CHOOSING):
            self._give_up_dead_trials()
            trials = self._all()
            numbers = {each.user_attrs["number"] for each in trials}
            is_waiting = any(each.state.name == "WAITING" for each in trials)
            if not is_waiting and len(numbers) >= self.count:
                return None
            number = len(numbers)
            # A new sampler for each trial, so that a resumed sweep draws the same settings.
            study.sampler = TPESampler(seed=_seeds(self.seed, number)[0])
            trial = study.ask(self._space)
            if "number" not in trial.user_attrs:
                trial.set_user_attr("number", number)
            self._journal.lock_if_free(FIRST_TRIAL + trial.number)  # nobody else locks it
            return trial

    def _give_up_dead_trials(self) -> None:
        """Mark the trials of ended processes as failed, and queue their settings again."""
        from optuna.trial import TrialState

        study, journal = self._journal.study, self._journal
        for dead in study.get_trials(states=[TrialState.RUNNING]):
            if not journal.lock_if_free(FIRST_TRIAL + dead.number):
                continue
            journal.unlock(FIRST_TRIAL + dead.number)
            now = study.get_trials(deepcopy=False)
            if now[dead.number].state != TrialState.RUNNING:
                continue  # it has just finished
            number = dead.user_attrs.get("number")
            # A process may have ended here, between the two changes of the journal.
            is_queued = any(
                each.user_attrs.get("number") == number and each.number > dead.number
                for each in now
            )
            if number is not None and not is_queued:
                settings = dead.system_attrs.get("fixed_params", dead.params)  # if it was queued
                study.enqueue_trial(settings, user_attrs={"number": number})
            study.tell(dead.number, state=TrialState.FAIL)

    def _run(self, trial: optuna.Trial) -> Trial | None:
        """Train with the settings of a trial; None if stop() was called."""
        from optuna.trial import TrialState

        number, chosen = trial.user_attrs["number"], trial.params
        lesson = lessons.changed(
            self.lesson, lr=chosen.get("lr"), optimizer=chosen.get("optimizer"),
            keep_prob=chosen.get("keep_prob"),
        )  # fmt: skip
        start, failure = time.perf_counter(), ""
        reports: list[StepReport] = []
        with random.fork():
            self._training = Training(
                lesson, self.data, steps=self.steps, batch=chosen.get("batch"),
                seed=_seeds(self.seed, number)[1], evaluate_every=self.steps,
            )  # fmt: skip
            try:
                if not self._stopped:  # before there was a training to stop
                    reports.extend(self._training)
            except AnomalyError as error:
                failure = str(error)
            finally:
                self._training = None
        if self._stopped:
            return None
        accuracy, loss = None, None
        if not failure:  # the test images of self.data are the validation images
            accuracy, loss = reports[-1].test_accuracy, reports[-1].test_loss
        seconds = time.perf_counter() - start
        made = Trial(number, chosen, _seeds(self.seed, number)[1], accuracy, loss, seconds)
        self._own[number] = made
        trial.set_user_attr("seconds", seconds)
        if failure:
            trial.set_user_attr("failure", failure)
            self._journal.study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr("loss", loss)
            self._journal.study.tell(trial, accuracy)
        self._journal.unlock(FIRST_TRIAL + trial.number)
        return made


def _is_range(given: Any, most: float) -> bool:
    """True if these are two numbers in order, above 0 and up to `most`."""
    try:
        low, high = map(float, given)
    except (TypeError, ValueError):
        return False
    return 0 < low < high <= most and high < math.inf


def _text(given: Sequence[Any] | None) -> str:
    """A range or choices, as errors show them."""
    return "of the lesson" if given is None else ", ".join(map(str, given))


_FINISHED = ("COMPLETE", "PRUNED")  # pruned if the loss became NaN, so that TPE avoids the settings


def _space(given: Mapping[str, Any]) -> dict[str, Any]:
    """Optuna's distribution of each setting that varies."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    space: dict[str, Any] = {}
    if given["rate"] is not None:
        space["lr"] = FloatDistribution(given["rate"][0], given["rate"][1], log=True)
    if given["keep"] is not None:
        space["keep_prob"] = FloatDistribution(given["keep"][0], given["keep"][1])
    for name in ("batch", "optimizer"):
        if given[name] is not None:
            space[name] = CategoricalDistribution(tuple(given[name]))
    return space


def _seeds(seed: int, number: int) -> list[int]:
    """The seeds of a trial: of its settings, and of its training."""
    return [int(word) for word in np.random.SeedSequence((seed, number)).generate_state(2)]


def _trial(found: optuna.trial.FrozenTrial, seed: int) -> Trial:
    about = found.user_attrs
    return Trial(
        about["number"], found.params, _seeds(seed, about["number"])[1], found.value,
        about.get("loss"), about["seconds"],
    )  # fmt: skip


def _rank(trial: Trial) -> tuple[float, float, int]:
    """Sorts the best trial first: by accuracy, then by loss, then by number."""
    if trial.accuracy is None or trial.loss is None:
        return math.inf, math.inf, trial.number
    return -trial.accuracy, trial.loss, trial.number


def sweep(
    lesson: lessons.Lesson | str | float,
    data: datasets.Dataset | None = None,
    *,
    rate: tuple[float, float] | None = None,
    keep: tuple[float, float] | None = None,
    batch: Sequence[int] | None = None,
    optimizer: Sequence[str] | None = None,
    trials: int = 20,
    steps: int | None = None,
    seed: int = 0,
    storage: str | Path | None = None,
    show: Callable[[Trial], object] | None = print,
) -> list[Trial]:
    """Try settings of a lesson on validation images, and return the trials, the best first.

    Args:
        lesson: a lesson, its name or its number.
        data: the data set; MNIST by default. A twelfth of its training images are the validation
            images. The test images are not used.
        rate: the smallest and the largest constant learning rate, on a logarithmic scale.
        keep: the smallest and the largest probability of dropout to keep an element.
        batch: numbers of images per step, to choose from.
        optimizer: names of optimisers, to choose from; see lessons.OPTIMIZERS.
        trials: the number of trials of all processes together.
        steps: training steps of each trial; the lesson's own by default.
        seed: the seed of the validation images, the settings and the trainings.
        storage: the journal file, which several processes may share, and from which a sweep
            resumes; a temporary file by default.
        show: called with each trial of this process when it has finished; None for no output.

    Returns:
        the finished trials of all processes that share the storage.

    Raises:
        SettingError: no setting varies, a range is malformed or doesn't fit the lesson, or Optuna
            is not installed.
        DataError: the storage can't be written, or is of a sweep with other settings.
        UnknownName: there is no such lesson or optimiser.
    """
    found = lesson if isinstance(lesson, lessons.Lesson) else lessons.find(lesson)
    with Sweep(
        found, datasets.mnist() if data is None else data, rate=rate, keep=keep, batch=batch,
        optimizer=optimizer, trials=trials, steps=steps, seed=seed, storage=storage,
    ) as running:  # fmt: skip
        for trial in running:
            if show is not None:
                show(trial)
        return running.trials
