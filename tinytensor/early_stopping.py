"""Ends a training whose validation loss falls no more."""

from __future__ import annotations

import math

from tinytensor import checkpoint
from tinytensor.nn import Module


class EarlyStopping:
    """Ends a training whose validation loss falls no more, with the parameters of the best test.

    Args:
        model: the network that is trained.
        patience: the number of tests without a lower loss after which the training ends.

    Attributes:
        best: the lowest loss so far; infinity before the first test.
        waited: the number of tests since then.
        parameters: the tensors of the model at the best test, by name.
    """

    def __init__(self, model: Module, patience: int) -> None:
        self.model, self.patience = model, patience
        self.best, self.waited = math.inf, 0
        self.parameters = {name: x.detach().clone() for name, x in model.state_dict().items()}

    def test(self, loss: float) -> None:
        """Note the loss of a test, and keep the parameters if it is the lowest."""
        self.waited += 1
        if loss < self.best:
            self.best, self.waited = loss, 0
            checkpoint.copy_into("early stopping", self.parameters, self.model.state_dict())

    @property
    def is_over(self) -> bool:
        """True if the training ends after the last test."""
        return self.waited >= self.patience

    def restore(self) -> None:
        """Set the parameters of the model to those of the best test, if there was a test."""
        if self.best < math.inf:
            self.model.load_state_dict(self.parameters)
