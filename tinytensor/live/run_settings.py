"""The settings of a run that a viewer may choose, and how they change a training that runs."""

from __future__ import annotations

from typing import NamedTuple

from tinytensor.nn import Dropout
from tinytensor.train import Training


class Settings(NamedTuple):
    """Settings that a viewer has chosen; None is the value that the run was started with."""

    lr: float | None = None
    batch: int | None = None
    keep_prob: float | None = None


OWN = Settings()


class ChangingSettings:
    """The learning rate and the keep probability of a training, set between two steps.

    training: it still has the settings that it was started with.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self._now = OWN
        self._groups = [(x, x.schedule or x["lr"]) for x in training.optimizer.param_groups]
        layers = [layer for model in training.models for layer in model.modules()]
        self._dropouts = [(x, x.keep_prob) for x in layers if isinstance(x, Dropout)]

    def set(self, wanted: Settings) -> None:
        """Use the wanted settings from the next step on, and note them in the training.

        `training.changes` has them in words, and `training.changed` as settings of a checkpoint.
        """
        given = {"lr": wanted.lr, "keep_prob": wanted.keep_prob}
        # Floats, because a checkpoint has 1.0 and not 1, as `--keep-prob 1` does.
        self._training.changed = {key: float(x) for key, x in given.items() if x is not None}
        for group, own in self._groups:
            group["lr"] = self._training.changed.get("lr", own)
        for layer, own in self._dropouts:
            layer.keep_prob = self._training.changed.get("keep_prob", own)
        self._note("lr", "learning rate", self._now.lr, wanted.lr)
        self._note("keep_prob", "keep probability", self._now.keep_prob, wanted.keep_prob)
        self._now = wanted

    def _note(self, key: str, name: str, before: float | None, value: float | None) -> None:
        if value != before:
            step, changes = self._training.step, self._training.changes
            since = f" from step {step + 1:,}" if step else ""
            changes[:] = [x for x in changes if not (x.startswith(name) and x.endswith(since))]
            own = self._training.lesson.settings[key]  # of the command, or "own"
            shown = own if value is None else f"{value:g}"
            changes.append(f"{name} {'of the lesson' if shown == 'own' else shown}{since}")
