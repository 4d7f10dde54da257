"""Trains a model of your own by the training loop of the lessons."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tinytensor import endings, optim
from tinytensor import live as live_page
from tinytensor.arrays import Array
from tinytensor.datasets import Dataset
from tinytensor.door import current_backend
from tinytensor.early_stopping import EarlyStopping
from tinytensor.errors import NotSupported, SettingError
from tinytensor.fit_data import Pair, for_model, in_words, is_pair, split_examples
from tinytensor.lessons import of_model
from tinytensor.live.run_file import RunWriter
from tinytensor.nn import Module
from tinytensor.ops.operands import real, whole
from tinytensor.ranks import world
from tinytensor.regular_file import same_file
from tinytensor.saver import check_name
from tinytensor.step_report import StepReport
from tinytensor.tensors import Tensor
from tinytensor.train import Training


def fit(
    model: Module,
    data: Dataset | Pair | str | Path,
    *,
    epochs: int = 5,
    batch: int = 100,
    optimizer: optim.Optimizer | None = None,
    loss: Callable[[Tensor, Array], Tensor] | None = None,
    validation: float | Pair = 0,
    patience: int | None = None,
    seed: int = 0,
    show: Callable[[StepReport], object] | None = print,
    live: bool = False,
    coach: bool = False,
    save: str | Path | None = None,
    save_every: int = 1,
    resume: str | Path | None = None,
    record: str | Path | None = None,
) -> StepReport:
    """Train a model in place on a data set, and test it after each epoch.

    It is the training loop of the lessons: each step is captured, and with several ranks (see
    tt.parallel) each rank trains on its share of each batch. If this function does not do what you
    need, write the loop yourself, with `tt.capture`. Call `model.eval()` before you use the trained
    model.

    Args:
        model: maps images (N, H, W, C) float32, or rows (N, ...), to outputs (N, outputs): one
            logit per class, or one number per target.
        data: the training and test images, such as tt.datasets.mnist(); the path of a data set that
            tt.datasets.load reads; or a pair of arrays: examples (N, ...), and labels (N,) integers
            or targets (N,) or (N, T) floats. Images (N, H, W) or (N, H, W, C) of bytes, uint8,
            become float32 from 0 to 1; in this shape other integers are an error. Memory maps may
            be larger than the memory.
        epochs: the number of passes over the training examples, from 1 up.
        batch: the number of examples per step.
        optimizer: an optimiser of model.parameters(); Adam with its default settings by default.
        loss: a function from outputs and labels or targets to a scalar Tensor; cross_entropy for
            labels and mse_loss for targets (N, T) by default.
        validation: the examples to test on instead of data's test part, so that this stays unseen:
            the fraction of the training examples to hold out, their number, or a pair of arrays. 0
            tests on data's test part. Of a memory map, the last examples are held out.
        patience: number of epochs. If the loss of the test has not fallen for so long, the training
            ends, and the model gets the parameters of its best epoch. None for no early stopping.
        seed: the seed of the order of the examples, of dropout, and of those held out.
        show: called with each report; None for no output.
        live: True shows the training in the browser, as tt.live.watch does.
        coach: True prints the mistakes that tt.coach finds.
        save: the file of the checkpoint, named *.safetensors, which is written after the last epoch
            and every `save_every` epochs.
        save_every: the number of epochs between checkpoints.
        resume: a checkpoint that `save` wrote. The training continues with the same bits, so the
            learning rate and all other settings must be those of the saved run, except `epochs`,
            which counts from the start, and `patience`.
        record: the run file to write, named *.tt, which has the panels after each epoch;
            `tinytensor replay` and `tinytensor report` read it. The examples must be images. A new
            run replaces the file. With `resume`, which records the rest of a run, an existing file
            is an error, because it may have the first part.

    Returns:
        StepReport, the last one: test_accuracy (NaN for targets), test_loss and more. With
            `patience` it is of the best epoch, without train_accuracy and train_loss.

    Raises:
        SettingError: a setting is out of its range; there is nothing to test on; with `patience`,
            there are no validation examples; the optimizer has another model's parameters; targets
            are one-hot, and there is no `loss`; `live` or `record` is not possible here; `save` or
            `record` has another ending; `record` is the file of `save` or `resume`, or, with
            `resume`, exists.
        NotSupported: an argument is of another type, such as an optimiser's class, a function as
            `model`, or `data` that are neither a Dataset, a path nor a pair of arrays.
        ShapeError, DTypeError, LabelError: the arrays don't fit each other, or the model's outputs,
            or have NaN or infinity.
        DataError: `data` or `resume` can't be read, `resume` is of another training, or `save`
            or `record` can't be written.
        AnomalyError: the loss is NaN or infinite.

    Source: Keras's Model.fit.

    >>> data = tt.datasets.mnist()
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    >>> report = tt.fit(model, data, epochs=1, show=None)
    >>> report.test_accuracy > 0.88
    True
    """
    _check_parts(model, optimizer, loss, show)
    for name, value in (("epochs", epochs), ("batch", batch), ("save_every", save_every)):
        whole("fit", name, value, 1)
    whole("fit", "seed", seed)
    ranks = world()
    if ranks.is_launched and live:
        raise SettingError(
            "fit: live is not possible with ranks of MPI; leave it out, or train a lesson by "
            "tinytensor launch with --live"
        )
    if patience is not None:
        whole("fit", "patience", patience, 1)
        if not is_pair(validation) and not real("fit", "validation", validation):
            raise SettingError(
                "fit: got patience without validation examples, and early stopping must not use "
                "the test images; add validation=0.1"
            )
    if save is None and save_every != 1:
        raise SettingError("fit: got save_every without save; add the name of a file, save=FILE")
    if save is not None:
        check_name("fit", save)
    if record is not None:
        check_name("fit", record, endings.RUN_FILE)
        if any(same_file(record, other) for other in (save, resume)):
            raise SettingError(
                f"fit: got {record} to record and as a checkpoint; two different files are needed"
            )
        if resume is not None and ranks.rank == 0:
            endings.check_new("fit: record", record)
    examples, loss = for_model(model, split_examples(data, validation, seed), loss)
    made = optim.Adam(model.parameters()) if optimizer is None else optimizer
    lesson = of_model(model, lambda _: made, loss, _rates(made))
    per_epoch = max(len(examples.train_images) // batch, 1)
    training = Training(
        lesson, examples, steps=epochs * per_epoch, batch=batch, seed=seed,
        evaluate_every=per_epoch, world=ranks,
    )  # fmt: skip
    if patience is not None:
        training.early_stopping = EarlyStopping(model, patience)
    if resume is not None and ranks.rank == 0:  # which sends the state to the other ranks
        training.resume(resume)
    return _run(training, show, live, coach, save, save_every * per_epoch, record)


def _check_parts(model: object, optimizer: object, loss: object, show: object) -> None:
    """Raise NotSupported or SettingError unless these arguments of fit can be what they are for."""
    if not isinstance(model, Module):
        needed = "an nn.Module, such as nn.Sequential(nn.Flatten(), nn.Linear(784, 10))"
        if isinstance(model, type):
            needed = f"a model, which {model.__name__}() makes,"
        raise NotSupported(f"fit: got {in_words(model)} as model; {needed} is needed")
    if optimizer is not None and not isinstance(optimizer, optim.Optimizer):
        name = optimizer.__name__ if isinstance(optimizer, type) else "tt.optim.Adam"
        raise NotSupported(
            f"fit: got {in_words(optimizer)} as optimizer; an optimiser is needed, such as "
            f"{name}(model.parameters())"
        )
    own = set(map(id, model.parameters()))
    if isinstance(optimizer, optim.Optimizer) and own.isdisjoint(map(id, optimizer.params)):
        raise SettingError(
            "fit: the optimizer has no parameter of the model, which would not change; make the "
            "optimizer after the model, from model.parameters()"
        )
    if loss is not None and (isinstance(loss, type) or not callable(loss)):
        raise NotSupported(
            f"fit: got {in_words(loss)} as loss; a function of outputs and labels is needed, such "
            "as tt.cross_entropy or tt.mse_loss"
        )
    if show is not None and not callable(show):
        raise NotSupported(
            f"fit: got {in_words(show)} as show; a function of each report is needed, such as "
            "print, or None for no output"
        )


def _rates(optimizer: optim.Optimizer) -> str:
    """The learning rates of the groups, as a setting that a resumed run must share."""
    groups = optimizer.param_groups
    rates = ["a schedule" if group.schedule else str(group["lr"]) for group in groups]
    return rates[0] if len(set(rates)) == 1 else ", ".join(rates)


def _run(
    training: Training,
    show: Callable[[StepReport], object] | None,
    live: bool,
    coach: bool,
    save: str | Path | None,
    save_every: int,
    record: str | Path | None,
) -> StepReport:
    """Train, and return the last report. save_every: the number of steps between checkpoints."""
    stopping = training.early_stopping
    saved = None
    recorder = None
    if record is not None and training.world.rank == 0:
        recorder = RunWriter(record, training)

    def after_report(report: StepReport) -> None:
        nonlocal saved
        if recorder is not None:
            recorder.add(report, current_backend())
        if save is not None and report.step % save_every == 0:
            training.save(save)
            saved = report.step
        if show is not None:
            show(report)

    if training.world.rank == 0:
        training.after_report = after_report
    with ExitStack() as ending:
        if recorder is not None:
            ending.callback(recorder.close)
        if coach and training.world.rank == 0:
            ending.callback(training.watch_mistakes(print).close)
        if live:
            live_page.watch(training)
        else:
            for _ in training:
                pass
        if save is not None and saved != training.step and training.world.rank == 0:
            training.save(save)
    report = training.report
    assert report is not None  # because an iteration over a training yields at least one
    if stopping is not None:
        stopping.restore()
        training.deadline = math.inf  # because the end of a live page has set it
        accuracy, test_loss, _ = training.test()
        epochs = training.step // training.evaluate_every - stopping.waited
        report = replace(
            report, step=epochs * training.evaluate_every, train_accuracy=None, train_loss=None,
            test_accuracy=accuracy, test_loss=test_loss,
        )  # fmt: skip
    return report
