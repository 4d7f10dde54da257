"""The training loop of all lessons, which yields reports and prints nothing."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tinytensor import checkpoint, door, endings, kernels, random, recorder, run_state
from tinytensor.arrays import Array, first_false
from tinytensor.autograd import no_grad
from tinytensor.capture.captured import Captured, capture
from tinytensor.coach.coaching import Coach
from tinytensor.datasets import Dataset, batches
from tinytensor.datasets.mapped import is_mapped, row_in_words
from tinytensor.early_stopping import EarlyStopping
from tinytensor.errors import AnomalyError, SettingError
from tinytensor.evaluation import (
    OutOfTimeError,
    Step,
    accuracy,
    as_input,
    evaluate,
    evaluation_mode,
    probabilities,
    scorer,
    scores,
)
from tinytensor.forks import computed_once
from tinytensor.lessons import Lesson
from tinytensor.nn import Module
from tinytensor.ops import cross_entropy
from tinytensor.parallel import ParallelStep
from tinytensor.ranks import ALONE, Team, World
from tinytensor.saved_model import class_names, load_model, load_weights
from tinytensor.step_report import Clock, Predictions, Seconds, StepReport, TrainedStep
from tinytensor.tensors import Tensor, from_numpy

# The parts of a training that other files define can be imported from here, too.
__all__ = [
    "AVERAGES_FROM",
    "OutOfTimeError",
    "Predictions",
    "Seconds",
    "StepReport",
    "TrainedStep",
    "Training",
    "class_names",
    "evaluate",
    "evaluation_mode",
    "load_model",
    "load_weights",
    "probabilities",
    "seconds_a_step",
    "train",
]

AVERAGES_FROM = 50  # steps after which averaged weights are tested


class Training:
    """One run of a lesson: its model, its optimizer, and the number of steps made.

    Iterating over a Training trains, and yields a StepReport every `evaluate_every` steps and after
    the last step. The attribute `report` is the last report, and `predictions` has its Predictions;
    both are None before the first report.

    Args:
        lesson: the network and its settings.
        data: the training and test images.
        steps: number of training steps; the lesson's own by default.
        batch: number of images per step; the lesson's own by default.
        seed: seed of the initial weights, the order of the batches, and dropout.
        evaluate_every: number of steps between reports; the lesson's own by default.
        eager: True to run each step op by op. By default the step is captured, with the same bits.
        between_steps: called after each step except the last, after its report. Its time is not
            counted as training time.
        world: the ranks that train together, such as tt.parallel.world(); this process alone by
            default. All ranks make the same calls.
        chunks: the number of chunks of a batch, whose gradients are computed separately and then
            added; see tt.parallel. The batch is not divided by default, or for several ranks into 4
            chunks, or if 4 is no multiple of their number, into one chunk for each rank.
        batch_norm: "synchronized" for the moments of the whole batch, "local" for those of each
            chunk.

    Attributes:
        after_step: called after each step, before its report, such as a Saver; None by default. Its
            time is not counted.
        after_report: called with each report, before it is yielded; None by default. Its time is
            not counted.
        early_stopping: an EarlyStopping, which ends the training after a report; None by default.
        stop: set to True, from any thread, to end after the current step, with a report.
        deadline: a time of time.monotonic(), infinity by default. A test that still runs then is
            given up, and the training ends without a report of it.
        best: the run_state.Best validation accuracy that a Saver has found, or None.
        coach: the Coach that watches the training, after watch_mistakes(); else None.
        changes: what was changed between two steps, such as "learning rate 0.1 from step 200".
        changed: the values that replace the lesson's settings "lr" and "keep_prob" now.

    Raises:
        SettingError: `steps` is negative, `evaluate_every` is less than 1, or `batch` is not from 1
            to the number of training images.
        DTypeError: the training images are not uint8.
        ShapeError: they don't have three or four axes.
    """

    def __init__(
        self,
        lesson: Lesson,
        data: Dataset,
        *,
        steps: int | None = None,
        batch: int | None = None,
        seed: int = 0,
        evaluate_every: int | None = None,
        eager: bool = False,
        between_steps: Callable[[TrainedStep], None] | None = None,
        world: World = ALONE,
        chunks: int | None = None,
        batch_norm: str = "synchronized",
    ) -> None:
        self.lesson, self.data, self.seed = lesson, data, seed
        self.eager, self.between_steps = eager, between_steps
        self.steps = lesson.steps if steps is None else steps
        self.batch = lesson.batch if batch is None else batch
        self.evaluate_every = lesson.evaluate_every if evaluate_every is None else evaluate_every
        if self.steps < 0:
            raise SettingError(f"steps: got {self.steps}; 0 or more is needed")
        if self.evaluate_every < 1:
            raise SettingError(f"evaluate_every: got {self.evaluate_every}; 1 or more is needed")
        random.manual_seed(seed)
        self.model = self._new_model()
        self.optimizer = lesson.optimizer(self.model.parameters())
        if lesson.rate is not None:
            self.optimizer.lr = lesson.rate(max(self.steps, 1))
        self._rate = self.optimizer.lr  # the learning rate of the last step
        # A second model with moving averages of the weights, or the trained model.
        self.averaged = self.model
        if lesson.average is not None:
            self.averaged = self._new_model()
        self.predictions: Predictions | None = None
        self.report: StepReport | None = None
        self.after_step: Callable[[], None] | None = None
        self.after_report: Callable[[StepReport], None] | None = None
        self.early_stopping: EarlyStopping | None = None
        self.best: run_state.Best | None = None
        self.coach: Coach | None = None
        self.changes: list[str] = []
        self.changed: dict[str, float] = {}
        self.stop = False
        self.deadline = math.inf
        self.report_next = False  # set to True for one extra report after the next step
        self._clock = Clock()
        self._steps_before = np.zeros(1)  # the number of steps, as an array for _average
        self.go_to(0)
        self._step: Step = self.train_step if eager else capture(self.train_step)
        self.world, self.batch_norm = world, batch_norm
        self.parallel: ParallelStep | None = None
        if world.is_launched or chunks is not None:
            team = Team(world, self.batch, chunks, batch_norm == "synchronized")
            self._step = self.parallel = ParallelStep(
                team, self.model, data.outputs, lesson.loss, self.optimizer, self._average, eager
            )
        self._scores: dict[Module, Step] = {}
        for model in (self.model, self.averaged):
            self._scores[model] = self._scorer(model, data.test_images)

    def _new_model(self) -> Module:
        if not self.data.has_images:
            return self.lesson.model()
        return self.lesson.new_model(len(self.data.names), self.data.image_shape)

    def _scorer(self, model: Module, images: Array, eager: bool | None = None) -> Step:
        """The test of a model; its loss is the cross-entropy, and for targets the lesson's."""
        loss = cross_entropy if self.data.has_labels else self.lesson.loss
        return scorer(model, images, loss, eager=self.eager if eager is None else eager)

    def go_to(self, step: int) -> None:
        """Set the number of steps made; the next batch is the one after `step` batches."""
        self.step = step
        self._next_batch: tuple[Array, Array] | None = None
        images, labels = self.data.train_images, self.data.train_labels
        self._batches: Iterator[tuple[Array, Array, Array]] = batches(
            images, labels, np.arange(len(labels)), size=self.batch, seed=self.seed, skip=step,
            augment=self.lesson.augment,
        )  # fmt: skip

    def next_batch(self) -> tuple[Array, Array]:
        """The images (N, H, W, C) float32 and labels (N,) of the next step."""
        if self._next_batch is None:
            rows, labels, self._batch_rows = next(self._batches)
            self._next_batch = as_input(rows), labels
        return self._next_batch

    def outputs(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        """Logits (N, classes) and loss () of the tested model in eval mode, without a step."""
        with evaluation_mode(self.tested), no_grad():
            logits = self.tested(from_numpy(images))
            return logits, self.lesson.loss(logits, labels)

    def __iter__(self) -> Iterator[StepReport]:
        """Train, and yield a report every `evaluate_every` steps and after the last.

        Raises:
            AnomalyError: the loss is NaN or infinite.
        """
        self.synchronize()
        clock = self._clock = Clock()
        is_over = self.early_stopping is not None and self.early_stopping.is_over
        if self.step >= self.steps or is_over:
            try:
                tested_accuracy, test_loss, _ = self.test()
            except OutOfTimeError:
                return
            rate = self.optimizer.lr
            seconds = clock.lap("evaluate")
            self.report = StepReport(
                self.step, None, None, tested_accuracy, test_loss, rate, seconds
            )
            if self.after_report is not None:
                self.after_report(self.report)
            yield self.report
        if is_over:
            return
        first = self.step + 1
        self.model.train()
        while self.step < self.steps:
            result = self.make_step()
            if self.step == first:
                clock.lap("first_step")
            if self.after_step is not None:
                clock.lap("train")
                self.after_step()
                clock.restart()
            last = self._asks_to_stop or self.step == self.steps
            if self.step % self.evaluate_every == 0 or last or self._asks_for_report:
                self.report_next = False
                predicted = self.predictions_for(result)
                clock.lap("train")
                try:
                    tested_accuracy, test_loss, tested = self.test()
                except OutOfTimeError:
                    return
                self.predictions = Predictions(result.images, result.labels, predicted, tested)
                self.report = StepReport(
                    self.step, accuracy(predicted, result.labels), result.loss, tested_accuracy,
                    test_loss, result.rate, clock.lap("evaluate"),
                )  # fmt: skip
                if self.coach is not None:
                    self.coach.tested(test_loss)
                is_extra = self.step % self.evaluate_every and self.step < self.steps
                if self.early_stopping is not None and not is_extra:
                    self.early_stopping.test(test_loss)
                    if self.early_stopping.is_over:
                        last = self.stop = True
                if self.after_report is not None:
                    self.after_report(self.report)
                yield self.report
                if last:
                    return
                self.model.train()
                clock.restart()
            if self.between_steps is not None:
                clock.lap("train")
                self.between_steps(result)
                clock.restart()

    @property
    def depends_on_steps(self) -> bool:
        """True if the learning rate depends on the number of steps of the whole run."""
        return self.lesson.rate is not None and "lr" not in self.changed

    @property
    def models(self) -> list[Module]:
        """The trained model, and its copies for the other chunks of this rank."""
        return [self.model] if self.parallel is None else self.parallel.models

    @property
    def chunks(self) -> int | None:
        """The number of chunks of a batch; None if the batch is not divided."""
        return None if self.parallel is None else self.parallel.team.chunks

    @property
    def _asks_to_stop(self) -> bool:
        """True if a rank had set `stop` before the last step; alone, if it is set now."""
        return self.stop if self.world.size == 1 else bool(self._answered[0])

    @property
    def _asks_for_report(self) -> bool:
        """As _asks_to_stop, for `report_next`."""
        return self.report_next if self.world.size == 1 else bool(self._answered[1])

    @property
    def _answered(self) -> Array:
        assert self.parallel is not None  # because there are several ranks
        return self.parallel.answered

    def use_new_backend(self) -> None:
        """Note that another backend computes the next step."""
        self.world.forget_steps()

    def synchronize(self) -> None:
        """Give all ranks the state of rank 0: parameters, optimiser, random numbers and step.

        On one rank it does nothing.

        Raises:
            DataError: a rank has other settings, data or versions than rank 0.
        """
        if self.world.size > 1:
            self.world.check_same("train", run_state.about(self) | {"step": "any"})
            run_state.broadcast(self, self.world)

    def weights_checksum(self) -> str:
        """The SHA-256 of all tensors of the model.

        Raises:
            DataError: a rank has another checksum than rank 0.
        """
        self._share_moving_averages()
        found = hashlib.sha256()
        for _, x in self.model.named_tensors():
            found.update(np.ascontiguousarray(x.array).data)
        self.world.check_same("train", {"weights with SHA-256": found.hexdigest()})
        return found.hexdigest()

    @property
    def seconds(self) -> Seconds:
        """Seconds spent so far."""
        return self._clock.seconds

    @property
    def threads(self) -> int:
        """The number of threads of a step: fewer than the backend may use if they are as fast."""
        program = self._step.program if isinstance(self._step, Captured) else None
        trials = None if program is None else program.threads
        return door.current_backend().num_threads if trials is None else trials.used

    def look_ahead(self) -> tuple[StepReport, Predictions]:
        """Evaluate the network as it is now, before its next step.

        The next steps are the same, bit by bit, as without the call. All ranks call it.

        Returns:
            a report of the steps so far, and the predictions for the next batch and the test
            images. The times in the report are 0.
        """
        self.synchronize()
        images, labels = self.next_batch()
        logits, loss = self.outputs(images, labels)
        predicted = logits.argmax(axis=1).numpy()
        tested_accuracy, test_loss, tested = self.test()
        report = StepReport(
            self.step, accuracy(predicted, labels), loss.item(), tested_accuracy, test_loss,
            self.optimizer.lr, Seconds(),
        )  # fmt: skip
        return report, Predictions(images, labels, predicted, tested)

    def predictions_for(self, result: TrainedStep) -> Array:
        """The predictions (N,) for the whole batch of the last step; all ranks call it."""
        predicted = result.predictions()
        return predicted if self.parallel is None else self.parallel.gathered(predicted)

    def watch_mistakes(self, show: Callable[[str], object] | None) -> Coach:
        """Let a coach watch the training from now on; see tt.coach.

        It checks the data set, too, unless the images are in a memory map.

        Args:
            show: called with the text of each finding; None for no output.

        Returns:
            the Coach, which is the attribute `coach`, too.
        """
        is_read_whole = self.data.has_images and not is_mapped(self.data.train_images)
        data = self.data if is_read_whole else None
        step = self._step if self.parallel is None else self.parallel.first
        self.coach = Coach(self.model, step, data, show, first_step=self.step + 1)
        return self.coach

    def restarted(self) -> Training:
        """A new Training with the same settings, at its first step."""
        again = Training(
            self.lesson, self.data, steps=self.steps, batch=self.batch, seed=self.seed,
            evaluate_every=self.evaluate_every, eager=self.eager, world=self.world,
            chunks=self.chunks, batch_norm=self.batch_norm,
        )  # fmt: skip
        if self.coach is not None:
            self.coach.close()
            again.watch_mistakes(self.coach.show)
        return again

    def make_step(self) -> TrainedStep:
        """Train on the next batch; the model must be in training mode.

        Returns:
            the TrainedStep.

        Raises:
            AnomalyError: the loss is NaN or infinite.
        """
        images, labels = self.next_batch()
        self._next_batch = None
        self._rate = self.optimizer.lr
        self._steps_before[0] = self.step
        if self.parallel is not None:
            self.parallel.asked[:] = self.stop, self.report_next
        loss, logits = self._step(images, labels)
        self.step += 1
        value = loss.item()
        if self.coach is not None:
            self.coach.step_ended(value)
        self._check_finite("loss", value, images)
        return TrainedStep(images, labels, logits, value, self._rate)

    def train_step(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        """Train on a batch: forward pass, backward pass, update.

        Args:
            images: (N, H, W, C) float32.
            labels: (N,) integers from 0 to classes - 1.

        Returns:
            the loss () and the logits (N, classes), both before the update.
        """
        logits = self.model(from_numpy(images))
        loss = self.lesson.loss(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self._average()
        return loss, logits

    def _check_finite(self, name: str, loss: float, images: Array | None = None) -> None:
        """Raise AnomalyError if the loss is not finite, which names a pixel that is not, if any."""
        if not math.isfinite(loss):
            if images is not None and not (is_finite := np.isfinite(images)).all():
                example, *place = first_false(is_finite)
                row = row_in_words(self.data.train_images, int(self._batch_rows[example]))
                raise AnomalyError(
                    f"train: got {images[(example, *place)]} in {row}, at {place}, which is in the "
                    f"batch of step {self.step}; finite numbers are needed"
                )
            raise AnomalyError(
                f"train: the {name} is {loss} at step {self.step}, and training can't recover; "
                f"usual causes are a learning rate that is too large ({self._rate:g} here), log(0) "
                "or a division by 0; tt.detect_anomaly() finds the line"
            )

    @property
    def tested(self) -> Module:
        """The model that is tested: the trained one, or later the one with averaged weights.

        The first averages are not tested, because they consist of almost untrained weights.
        """
        return self.averaged if self.step >= AVERAGES_FROM else self.model

    def _average(self) -> None:
        """Update the moving averages: average = decay * average + (1 - decay) * weight.

        The decay grows with the number of steps to the lesson's, so early averages forget faster.
        """
        max_decay = self.lesson.average
        if max_decay is None:
            return
        decay = np.empty(1)

        def find_decay(before: Array, decay: Array) -> None:
            steps = before[0] + 1  # including the current one
            decay[0] = min(max_decay, (1 + steps) / (10 + steps))

        reads, settings = (self._steps_before,), (max_decay,)
        recorder.each_step(find_decay, reads=reads, writes=(decay,), settings=settings)
        pairs = zip(self.averaged.named_tensors(), self.model.named_tensors(), strict=True)
        for (_, average), (_, x) in pairs:
            if x.dtype.kind == "f":
                kernels.moving_average(x.array, decay, average.array)

    def test(self) -> tuple[float, float, Array]:
        """Evaluate the model on all N test images, in eval mode.

        Afterwards each module is in the same mode as before.

        Returns:
            accuracy (0 to 1), mean loss, and predictions (N,) int64.

        Raises:
            AnomalyError: the loss is NaN or infinite.
            OutOfTimeError: the deadline has passed.
        """
        self._share_moving_averages()
        with evaluation_mode(self.tested):
            found = scores(
                self._scores[self.tested], self.data.test_labels, self._check_time, self.world
            )
        self._check_finite("test loss", found[1])
        return found

    def _share_moving_averages(self) -> None:
        """Give all ranks the moving averages of rank 0, if batch norm has local moments."""
        if self.world.size == 1 or self.batch_norm != "local":
            return
        models = [self.model] if self.tested is self.model else [self.model, self.tested]
        for model in models:
            trained = {id(param) for param in model.parameters()}
            moving = [x.array for _, x in model.named_tensors() if id(x) not in trained]
            self.world.broadcast(*moving)

    def accuracy(self, images: Array, labels: Array) -> float:
        """Return the accuracy, 0 to 1, of the tested model on other images, such as validation's.

        All ranks call it, and share the images.

        Args:
            images: (N, H, W) or (N, H, W, C) uint8.
            labels: (N,) integers.

        Raises:
            OutOfTimeError: the deadline has passed.
        """
        with evaluation_mode(self.tested):
            score = self._scorer(self.tested, images, eager=True)
            return scores(score, labels, self._check_time, self.world)[0]

    def _check_time(self) -> None:
        if time.monotonic() > self.deadline:
            raise OutOfTimeError

    # Checkpoints

    def save(self, file: str | Path) -> None:
        """Write a checkpoint, from which `resume` continues with the same bits.

        run_state.py lists what it stores: parameters and their averages, optimiser and learning
        rate, random numbers, and step. The metadata have the versions and the settings, too.

        Args:
            file: the name of the file. An error leaves an existing file unchanged.

        Raises:
            DataError: the file can't be written.
            SettingError: its name has another ending than .safetensors.
            AnomalyError: a weight is NaN or infinite.
        """
        endings.check("save", file, endings.CHECKPOINT)
        run_state.save(self, file)

    def save_weights(self, file: str | Path) -> None:
        """Write the tested weights alone, as float16, with the accuracy that they reach.

        `load_model` and `tinytensor predict` read the file. A training can't resume from it. If the
        deadline passes before the accuracy is known, the file has no accuracy.

        Args:
            file: the name of the file.

        Raises:
            DataError: the file can't be written.
            SettingError: its name has another ending than .safetensors.
        """
        endings.check("save_weights", file, endings.CHECKPOINT)
        weights = {f"tested.{name}": x for name, x in self.tested.state_dict().items()}
        about = run_state.about(self)
        checkpoint.save_float16(file, weights, about)
        with random.fork():
            rounded = load_weights(self._new_model(), file)
        with evaluation_mode(rounded):
            score = self._scorer(rounded, self.data.test_images, eager=True)
            try:
                tested_accuracy, _, _ = scores(score, self.data.test_labels, self._check_time)
            except OutOfTimeError:
                return
        own = [
            f" --{name.replace('_', '-')} {value}"
            for name, value in self.lesson.settings.items()
            if value != "own"
        ]
        command = (
            f"tinytensor train {self.lesson.name} --steps {self.steps} --batch {self.batch}"
            f"{''.join(own)} --seed {self.seed} --save-weights {Path(file).name}"
        )
        if self.step < self.steps:
            command += f"  # stopped after step {self.step}"
        if self.changes:
            command += f"  # {', '.join(self.changes)}"
        made = {"test_accuracy": str(tested_accuracy), "command": command}
        checkpoint.save_float16(file, weights, about | made)

    @computed_once
    def data_checksum(self) -> str:
        """The checksum of the training images and labels; see run_state.checksum."""
        return run_state.checksum(self.data.train_images, self.data.train_labels)

    def resume(self, file: str | Path) -> None:
        """Continue a saved run: the next steps are the same, bit by bit, as without the break.

        After an error the training is unchanged.

        Args:
            file: a checkpoint that save() wrote.

        Raises:
            DataError: the file is of another lesson, seed, batch, data set or backend, or of an
                optimiser or a network with other settings; its tensors don't fit; the learning
                rate depends on the number of steps and this number differs; or the next batch, or
                what the network computes from it, has other bits. The message says what differs.
            SettingError: the saved run has made more than `steps` steps.
        """
        run_state.resume(self, file)


def train(lesson: Lesson, data: Dataset, **settings: int | None) -> Iterator[StepReport]:
    """Train a lesson's network and yield reports: iter(Training(lesson, data, **settings))."""
    return iter(Training(lesson, data, **settings))  # type: ignore[arg-type]


def seconds_a_step(lesson: Lesson, data: Dataset, steps: int = 10) -> float:
    """Measure a training step, without evaluation, after three steps to warm up.

    Afterwards the random state is the same as before.

    Args:
        lesson: the network.
        data: the training and test images.
        steps: number of timed steps.

    Returns:
        the median time of a step in seconds.
    """
    one = data._replace(test_images=data.test_images[:1], test_labels=data.test_labels[:1])
    with random.fork():
        training = Training(lesson, one, steps=steps + 3, evaluate_every=1)
        times = [report.seconds.train for report in training]
    return float(np.median(np.diff(times[2:])))
