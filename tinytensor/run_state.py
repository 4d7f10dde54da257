"""The state of a training run: what a checkpoint stores, and what must be the same to resume.

A checkpoint is a safetensors file. It has three parts:

- `tensors`: all arrays that change from step to step: the parameters, their moving averages, the
  state of the optimiser with the learning rate, the state of dropout's masks, and with early
  stopping the best parameters. The metadata have the step, the state of NumPy's generator, the best
  validation accuracy or loss, and the changes that a viewer made.
- `settings`: what the next steps depend on and what does not change, such as the lesson, the seed,
  the data and the backend. A run with other settings can't resume from the file.
- `samples`: checksums of the next batch and of what the network computes for it, and the next
  learning rate. They detect a change of what settings can't describe: an augmentation, a schedule,
  a loss, a forward(), other rounding.

The order of the batches and the augmentation follow from the seed and the step.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinytensor import checkpoint, door, json_text, random
from tinytensor.arrays import Array
from tinytensor.datasets.mapped import FileRows, is_mapped
from tinytensor.errors import AnomalyError, DataError, SettingError
from tinytensor.lessons import OWN_MODEL, OWN_SETTINGS
from tinytensor.nn import Module
from tinytensor.optim import Optimizer
from tinytensor.ranks import World, first_difference
from tinytensor.tensors import Tensor, wrap

if TYPE_CHECKING:
    from tinytensor.train import Training

MAPPED_SAMPLE = 1000  # rows of a memory map, evenly spread, that a checksum is computed of
SAMPLE = 10  # images of the next batch that the network is applied to
_OF_OLD_FILES = OWN_SETTINGS | {"chunks": "1", "batch_norm": "synchronized"}
_MISMATCH = {  # messages for settings that differ, where the default says too little
    "steps": "is of a run of {its} steps, and its learning rate depends on this number; "
    "got {own} steps, and {its} are needed",
    "data": "is of a run on data with checksum {its}; got training data with checksum {own}, and "
    "the same data are needed, with the same images held out for validation",
    "chunks": "is of a run whose batches were divided into {its} chunk(s); got {own}, which rounds "
    "differently; --chunks {its} is needed, and a number of ranks that divides it",
    "backend": "is of a run on the backend {its}; got {own}, which rounds differently; {its} is "
    "needed",
    "computed_by": "is of a run on {its}; got {own}, which may round differently; the same is "
    "needed",
}


class Best(NamedTuple):
    """The step with the highest validation accuracy so far."""

    step: int
    accuracy: float  # 0 to 1


# Saving -----------------------------------------------------------------------------------------


def save(training: Training, file: checkpoint.Name) -> None:
    """Write a checkpoint, from which `resume` continues with the same bits.

    Raises:
        DataError: the file can't be written.
        AnomalyError: a weight is NaN or infinite. The file is unchanged.
    """
    for name, x in training.model.state_dict().items():
        if x.dtype.kind == "f" and not np.isfinite(x.numpy()).all():
            raise AnomalyError(
                f"save: {name} has NaN or infinity after step {training.step}, and training can't "
                f"recover; {file} is unchanged"
            )
    state = {"generator": random.generator_state()}
    if training.best is not None:
        state["best"] = json.dumps(training.best)
    if training.early_stopping is not None:
        state["early_stopping"] = json.dumps(_waiting(training))
    if training.changes:
        state["changes"] = json.dumps(training.changes)
    metadata = about(training) | state | samples(training)
    checkpoint.save(file, tensors(training), metadata)


def tensors(training: Training) -> dict[str, Tensor]:
    """All tensors that change from step to step, not copied."""
    found = {f"model.{name}": x for name, x in training.model.state_dict().items()}
    found |= {f"tested.{name}": x for name, x in training.averaged.state_dict().items()}
    found |= {f"optimizer.{name}": x for name, x in training.optimizer.state_dict().items()}
    if training.early_stopping is not None:
        found |= {f"best.{name}": x for name, x in training.early_stopping.parameters.items()}
    return found | {"masks": wrap(random.state().view(np.int64))}


def about(training: Training) -> dict[str, str]:
    """The metadata of a file of weights: versions, settings, step, classes and image shape."""
    from tinytensor import __version__

    versions = {
        "tinytensor": __version__, "numpy": np.__version__, "python": platform.python_version(),
    }  # fmt: skip
    data = training.data
    step = {
        "step": str(training.step), "classes": json.dumps(data.names),
        "image_shape": json.dumps(data.image_shape if data.has_images else None),
        "own_layers": json.dumps(_own_layers(training.model)),
    }  # fmt: skip
    return versions | settings(training) | step


def _own_layers(model: Module) -> list[str]:
    """The paths of the layers whose class is not one of tt.nn."""
    layers = model.named_modules()
    return [path for path, x in layers if not type(x).__module__.startswith("tinytensor.nn.")]


def settings(training: Training) -> dict[str, str]:
    """What the next steps depend on and what does not change.

    The number of steps is one of them only if the learning rate depends on it; otherwise a resumed
    run may be longer. evaluate_every and eager change no bit, and the number of threads only on
    NumPy, whose BLAS library divides a matrix product among them.
    """
    lesson = training.lesson
    found = {"lesson": lesson.number, "seed": str(training.seed), "batch": str(training.batch)}
    found |= lesson.settings
    found |= {name: str(value) for name, value in training.changed.items()}
    if "lr" in training.changed:  # it replaces the scaled learning rate
        found["scale_rate"] = "own"
    if training.depends_on_steps:
        found["steps"] = str(training.steps)
    backend = door.current_backend()
    found |= {"data": training.data_checksum, "backend": backend.name}
    threads = [f"{backend.num_threads} thread(s)"] if backend.name == "numpy" else []
    found["computed_by"] = ", ".join([backend.description, *threads, *backend.rungs])
    found["average"] = str(lesson.average)
    found |= {"chunks": str(training.chunks or 1), "batch_norm": training.batch_norm}
    update = {"": _described_optimizer(training.optimizer)}
    for i, group in enumerate(training.optimizer.param_groups):
        update[f"group {i}"] = {name: group[name] for name in training.optimizer.group_settings}
    layers = described_layers(training.model)
    return found | {"network": json.dumps(layers), "update": json.dumps(update)}


def described_layers(model: Module) -> dict[str, dict[str, object]]:
    """The class and the settings of each layer, by its path; the path of the model is "model"."""
    return {path or "model": _described(x) for path, x in model.named_modules()}


def _described(layer: Module) -> dict[str, object]:
    """The class of a layer, and its attributes. Its tensors are part of state_dict()."""
    attributes = {name: value for name, value in vars(layer).items() if name not in _OF_MODULES}
    return {"class": type(layer).__name__, **{n: _plain(x) for n, x in attributes.items()}}


def _described_optimizer(optimizer: Optimizer) -> dict[str, object]:
    """The class of an optimiser, and its attributes, without those of state_dict()."""
    attributes = {
        name: value
        for name, value in vars(optimizer).items()
        if name not in _OF_OPTIMIZERS and not any(value is x for x in optimizer.state_of_params())
    }
    described = {name: _plain(x, with_tensors=True) for name, x in attributes.items()}
    return {"class": type(optimizer).__name__, **described}


_OF_MODULES = {"_version", "_training"}
_OF_OPTIMIZERS = {
    "_changes", "_current", "_group_of", "_state", "_step", "param_groups", "params",
}  # fmt: skip


def _plain(value: object, with_tensors: bool = False) -> object:
    """An attribute as JSON can store it: a number or a text, the checksum of an array, or a class.

    An array that is not part of the saved state, but changes, is found: in a new run it differs.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return str(value)
    if isinstance(value, Tensor) and with_tensors:
        return checksum(value.numpy())
    if isinstance(value, np.ndarray):
        return checksum(value)
    if isinstance(value, list | tuple):
        return [_plain(each, with_tensors) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each, with_tensors) for key, each in value.items()}
    return type(value).__name__


def samples(training: Training) -> dict[str, str]:
    """Checksums of the next batch, of the outputs for its first images, and the learning rate."""
    images, labels = training.next_batch()
    rates = [group["lr"] for group in training.optimizer.param_groups]
    with random.fork():
        logits, loss = training.outputs(images[:SAMPLE], labels[:SAMPLE])
    return {
        "next_batch": checksum(images, labels),
        "next_rate": json.dumps(rates),
        "outputs": checksum(logits.numpy(), loss.numpy()),
    }


def checksum(*arrays: Array) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of arrays, with their dtypes and shapes.

    Of a memory map, MAPPED_SAMPLE rows are read, because reading all of it may take minutes.
    """
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype}{array.shape}".encode())
        if is_mapped(array):
            rows = np.linspace(0, len(array) - 1, min(MAPPED_SAMPLE, len(array))).astype(np.int64)
            array = FileRows(array).read(rows)
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]


def broadcast(training: Training, world: World) -> None:
    """Give all ranks the state of rank 0."""
    own = tensors(training)
    for x in own.values():
        copied = np.ascontiguousarray(x.array)
        world.broadcast(copied)
        x.array[...] = copied
        x.changed()
    about_run = {
        "step": training.step,
        "generator": random.generator_state(),
        "best": training.best,
        "early_stopping": _waiting(training),
    }
    given = json.loads(world.broadcast_text(json.dumps(about_run)))
    random.set_generator_state("train", given["generator"])
    training.best = None if given["best"] is None else Best(*given["best"])
    _wait(training, given["early_stopping"])
    if given["step"] != training.step:
        training.go_to(given["step"])


def _waiting(training: Training) -> tuple[float, int] | None:
    """The lowest loss of early stopping, and the number of tests since then."""
    stopping = training.early_stopping
    return None if stopping is None else (stopping.best, stopping.waited)


def _wait(training: Training, waiting: tuple[float, int] | None) -> None:
    if training.early_stopping is not None and waiting is not None:
        training.early_stopping.best, training.early_stopping.waited = waiting


# Resuming ---------------------------------------------------------------------------------------


def resume(training: Training, file: checkpoint.Name) -> None:
    """Continue a saved run; after an error the training is unchanged.

    Raises:
        DataError, SettingError: see Training.resume.
    """
    caller = f"resume: {file}"
    saved, metadata = checkpoint.read(file)
    _check_settings(caller, training, metadata)
    step, best = _step(caller, training, metadata), _best(caller, metadata)
    changes, waiting = _changes(caller, metadata), _early_stopping(caller, training, metadata)
    own = tensors(training)
    before = training.step, random.generator_state(), {name: _copy(x) for name, x in own.items()}
    try:
        checkpoint.copy_into(caller, own, saved)
        random.set_generator_state(caller, metadata.get("generator", ""))
        training.go_to(step)
        _check_samples(caller, training, metadata)
    except BaseException:
        training.go_to(before[0])
        random.set_generator_state(caller, before[1])
        checkpoint.copy_into(caller, own, before[2])
        raise
    training.best, training.changes = best, changes
    _wait(training, waiting)


def _copy(x: Tensor) -> Tensor:
    return wrap(x.numpy().copy())


def _check_settings(caller: str, training: Training, metadata: Mapping[str, str]) -> None:
    needed = settings(training)
    if training.lesson.number == OWN_MODEL:
        del needed["keep_prob"]  # it is part of the network
    for name, own in needed.items():
        its = metadata.get(name, _OF_OLD_FILES.get(name, "unknown"))
        if its == own:
            continue
        if name in ("network", "update") and its != "unknown":
            raise DataError(f"{caller} is of another run: {_difference(caller, its, own)}")
        message = "is of {name} {its}; {name} {own} is needed"
        if its != "unknown":  # an old file
            if training.lesson.number == OWN_MODEL:
                message = "is of a run with {name} {its}; got {name} {own}; the same is needed"
            message = _MISMATCH.get(name, message)
        if name in OWN_SETTINGS and its != "unknown":
            option = f"--{name.replace('_', '-')}"
            remedy = f"leave {option} out" if its == "own" else f"{option} {its} is needed"
            if training.lesson.number == OWN_MODEL:
                remedy = "the same is needed, or a new run: tt.train.load_weights(model, file)"
            message = "is of a run with {name} {its}; got {name} {own}; " + remedy
        raise DataError(f"{caller} {message.format(name=name, its=its, own=own)}")


def _difference(caller: str, its: str, own: str) -> str:
    """The first difference of two descriptions, such as "layers.3: keep_prob is 0.75, not 0.5"."""
    if _parsed(caller, its) == json.loads(own):
        return "its layers are in another order"
    path, theirs, ours = first_difference(its, own)
    return f"{path} is {theirs}, and {ours} is needed"


def _parsed(caller: str, text: str) -> dict[str, dict[str, Any]]:
    try:
        parsed = json_text.parsed(text)
    except ValueError:
        parsed = None
    if isinstance(parsed, dict) and all(isinstance(value, dict) for value in parsed.values()):
        return parsed
    raise DataError(f"{caller}: got the settings {text[:100]}; a JSON object is needed")


def _step(caller: str, training: Training, metadata: Mapping[str, str]) -> int:
    step = metadata.get("step", "unknown")
    if not step.isdecimal():
        raise DataError(f"{caller} is of step {step}; an integer is needed")
    if int(step) > training.steps:
        if training.lesson.number == OWN_MODEL:  # evaluated after each epoch
            made, asked = (n / training.evaluate_every for n in (int(step), training.steps))
            raise SettingError(
                f"{caller} is of a run that has made {made:g} epochs; got epochs={asked:g}, and "
                f"{math.ceil(made)} or more are needed"
            )
        raise SettingError(
            f"{caller} is of a run that has made {step} steps; got steps={training.steps}, and "
            f"{step} or more are needed"
        )
    return int(step)


def _best(caller: str, metadata: Mapping[str, str]) -> Best | None:
    text = metadata.get("best")
    if text is None:
        return None
    try:
        step, accuracy = json_text.parsed(text)
        return Best(int(step), float(accuracy))
    except (TypeError, ValueError):
        raise DataError(f"{caller}: got best {text[:100]}; [step, accuracy] is needed") from None


def _early_stopping(
    caller: str, training: Training, metadata: Mapping[str, str]
) -> tuple[float, int] | None:
    text = metadata.get("early_stopping")
    if (text is None) != (training.early_stopping is None):
        saved, own = ("with", "without") if text is not None else ("without", "with")
        raise DataError(
            f"{caller} is of a run {saved} early stopping; got one {own} it, and the same is needed"
        )
    if text is None:
        return None
    try:
        loss, waited = json_text.parsed(text)
        return float(loss), operator.index(waited)
    except (TypeError, ValueError):
        raise DataError(
            f"{caller}: got early_stopping {text[:100]}; [loss, tests] is needed"
        ) from None


def _changes(caller: str, metadata: Mapping[str, str]) -> list[str]:
    text = metadata.get("changes", "[]")
    try:
        changes = json_text.parsed(text)
    except ValueError:
        changes = None
    if not isinstance(changes, list) or not all(isinstance(each, str) for each in changes):
        raise DataError(f"{caller}: got changes {text[:100]}; a list of texts is needed")
    return changes


def _check_samples(caller: str, training: Training, metadata: Mapping[str, str]) -> None:
    """Raise DataError if the next batch, learning rate or outputs are not those saved."""
    reasons = {
        "next_batch": "the next batch has other images or labels than in the saved run; the same "
        "augmentation and version of NumPy are needed",
        "next_rate": "the next learning rate is another one than in the saved run; the same "
        "schedule is needed",
        "outputs": "the network has other outputs or another loss for the next batch than in the "
        "saved run; the same code of the lesson and the same kind of machine are needed",
    }
    for name, own in samples(training).items():
        if metadata.get(name) != own:
            raise DataError(f"{caller} can't continue with the same bits: {reasons[name]}")
