"""A network with the methods fit and predict of scikit-learn."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from tinytensor import ops, optim, random
from tinytensor.arrays import Array
from tinytensor.autograd import no_grad
from tinytensor.capture.captured import Captured, capture
from tinytensor.datasets import batches
from tinytensor.early_stopping import EarlyStopping
from tinytensor.errors import AnomalyError, LabelError, NotSupported, SettingError, ShapeError
from tinytensor.forks import Turns
from tinytensor.nn import Linear, Module, ReLU, Sequential
from tinytensor.ops.operands import real, whole
from tinytensor.tensors import Tensor, from_numpy

ROWS = 256  # rows of X that are predicted together
NewModel = Callable[[int, int], Module]
NEW_MODEL = "a function of the numbers of features and of outputs that returns a Module is needed"
_turns = Turns()  # fits take turns, because all share the state of the random numbers


@dataclass(frozen=True)
class EpochReport:
    """The losses of an epoch, which callbacks get."""

    epoch: int  # from 1 up
    train_loss: float  # the mean over the rows, each before the update with its batch
    validation_loss: float | None  # after the epoch; None without early stopping
    seconds: float


def perceptron(hidden_layer_sizes: int | Sequence[int], inputs: int, outputs: int) -> Module:
    """A network of linear layers with ReLUs between them.

    Args:
        hidden_layer_sizes: the number of neurons of each hidden layer.
        inputs: the number of features.
        outputs: the number of classes or of targets.

    Raises:
        SettingError: a size is not an integer from 1 up.
    """
    hidden = np.atleast_1d(np.asarray(hidden_layer_sizes, dtype=object))
    sizes = [inputs, *(whole("fit", "hidden_layer_sizes", size, 1) for size in hidden), outputs]
    layers: list[Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [Linear(before, after), ReLU()]
    return Sequential(*layers[:-1])


class NetworkEstimator(BaseEstimator):
    """What Classifier and Regressor share; they define the loss and the form of `y`.

    A training step is captured at the first batch and then replayed.
    """

    _outputs_are: str  # "classes" or "targets"

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        model: NewModel | None = None,
        lr: float = 0.001,
        epochs: int = 100,
        batch: int = 32,
        seed: int = 0,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        callbacks: Sequence[Callable[[EpochReport], object]] = (),
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.model = model
        self.lr = lr
        self.epochs = epochs
        self.batch = batch
        self.seed = seed
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.callbacks = callbacks

    @staticmethod
    def _loss(outputs: Tensor, targets: Array) -> Tensor:
        raise NotImplementedError

    def _fit(self, X: Array, targets: Array, outputs: int) -> Self:
        """Train a new network on X (N, F) float32 and the targets (N,) or (N, outputs)."""
        epochs = whole("fit", "epochs", self.epochs, 1)
        patience = self.patience
        if patience is None:
            with self._seeded(0):
                self._start(outputs)
                self._train(X, targets, epochs)
            return self
        train, held_out = self._split(len(X), targets)
        whole("fit", "patience", patience, 1)
        with self._seeded(0):
            self._start(outputs)
            stopping = EarlyStopping(self.model_, patience)
            tested = X[held_out], targets[held_out]
            self._train(X[train], targets[train], epochs, stopping, tested)
            stopping.restore()
        return self

    def _partial_fit(self, X: Array, targets: Array, outputs: int) -> Self:
        """Train the network for one epoch; the first call makes it."""
        is_new = not hasattr(self, "model_")
        with self._seeded(0 if is_new else self.optimizer_.steps):
            if is_new:
                self._start(outputs)
            self.optimizer_.lr = self.lr
            self._train(X, targets, 1)
        return self

    def _start(self, outputs: int) -> None:
        if isinstance(self.model, Module) or not (self.model is None or callable(self.model)):
            raise SettingError(
                f"fit: got model={self.model!r:.40}; {NEW_MODEL}, such as model=nn.Linear"
            )
        new_model = partial(perceptron, self.hidden_layer_sizes)
        self._build = partial(self.model or new_model, self.n_features_in_, outputs)
        self.history_: list[EpochReport] = []
        self._make()

    def _make(self) -> None:
        """Make the network, its optimiser and its training step."""
        model = self._build()
        if not isinstance(model, Module):
            raise SettingError(f"fit: model returned a {type(model).__name__}; {NEW_MODEL}")
        self.model_ = model.eval()
        self.optimizer_ = optimizer = optim.Adam(model.parameters(), lr=self.lr)
        loss_of = self._loss

        def step(rows: Array, targets: Array) -> Tensor:
            outputs = model(from_numpy(rows))
            self._check_outputs(outputs, len(rows))
            loss = loss_of(outputs, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        self._step: Captured = capture(step)

    def _check_outputs(self, outputs: Any, rows: int) -> None:
        if not isinstance(outputs, Tensor):
            raise NotSupported(
                f"fit: the model returns a {type(outputs).__name__}; one tensor is needed"
            )
        needed = self._build.args[-1]
        if outputs.ndim != 2 or len(outputs) != rows:
            raise ShapeError(
                f"fit: the model returns shape {outputs.shape} for {rows} rows; "
                f"({rows}, {needed}) is needed"
            )
        if outputs.shape[1] != needed:
            raise ShapeError(
                f"fit: the model returns {outputs.shape[1]} outputs; "
                f"{needed} {self._outputs_are} are needed"
            )

    def _train(
        self,
        X: Array,
        targets: Array,
        epochs: int,
        stopping: EarlyStopping | None = None,
        validation: tuple[Array, Array] | None = None,
    ) -> None:
        """Train for `epochs` epochs, or until early stopping ends the training.

        validation: the rows and the targets that it tests on.
        """
        if not isinstance(self.callbacks, Sequence) or not all(map(callable, self.callbacks)):
            raise SettingError(
                f"fit: got callbacks={self.callbacks!r:.40}; a list of functions is needed"
            )
        size = min(whole("fit", "batch", self.batch, 1), len(X))
        # Each loop over these batches has a new order, from the generator that was seeded.
        all_batches = batches(X, targets, size=size, epochs=1)
        for _ in range(epochs):
            start = time.perf_counter()
            self.model_.train()
            try:
                total = sum(self._step(*rows).item() * len(rows[1]) for rows in all_batches)
            finally:  # after Ctrl-C, too, because predict needs a model in eval mode
                self.model_.eval()
            loss, tested = total / len(X), None
            if not math.isfinite(loss):
                raise AnomalyError(
                    f"fit: the loss is {loss} in epoch {len(self.history_) + 1}; scale X, such as "
                    f"with StandardScaler, or choose a smaller lr than {self.lr:g}"
                )
            if stopping is not None and validation is not None:
                outputs = from_numpy(self._outputs(validation[0]))
                tested = self._loss(outputs, validation[1]).item()
                stopping.test(tested)
            seconds = time.perf_counter() - start
            report = EpochReport(len(self.history_) + 1, loss, tested, seconds)
            self.history_.append(report)
            for callback in self.callbacks:
                callback(report)
            if stopping is not None and stopping.is_over:
                return

    def _split(self, rows: int, targets: Array) -> tuple[Array, Array]:
        """Indices of the rows to train on, and of those for validation."""
        fraction = real("fit", "validation_fraction", self.validation_fraction)
        if not 0 < fraction < 1:
            raise SettingError(
                f"fit: got validation_fraction={fraction!r}; a number between 0 and 1 is needed"
            )
        parts = train_test_split(
            np.arange(rows), test_size=fraction, random_state=self._seed_of(1),
            stratify=targets if isinstance(self, ClassifierMixin) else None,
        )  # fmt: skip
        return parts[0], parts[1]

    def _outputs(self, X: Array) -> Array:
        """The outputs (N, outputs) float32 of the network for X (N, F) float32."""
        with no_grad():
            parts = [
                self.model_(from_numpy(np.ascontiguousarray(X[start : start + ROWS]))).numpy()
                for start in range(0, len(X), ROWS)
            ]
        return np.concatenate(parts)

    def _seed_of(self, use: int) -> int:
        """A seed for one of the uses of random numbers, below 2**32."""
        seed = whole("fit", "seed", self.seed, 0)
        return int(np.random.SeedSequence([seed, use]).generate_state(1)[0])

    @contextmanager
    def _seeded(self, steps: int) -> Iterator[None]:
        """Random numbers that depend on the seed and the number of steps made, in a `with` block.

        Afterwards the random state is the same as before.
        """
        with _turns.lock, random.fork():
            random.manual_seed(self._seed_of(steps))
            yield

    def _checked_rows(self, X: Any) -> Array:
        """X as float32 (N, F), after a check against the X of the fit."""
        check_is_fitted(self, "model_")
        rows: Array = validate_data(self, X, reset=False, dtype=np.float32, order="C")
        return rows

    # A pickle has arrays, because tensors refuse to be pickled, and a captured step can't be

    def __getstate__(self) -> dict[str, Any]:
        state = {**super().__getstate__()}
        if "model_" in state:
            del state["_step"]
            for name in ("model_", "optimizer_"):
                tensors = state[name].state_dict()
                state[name] = {key: x.detach().numpy() for key, x in tensors.items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "model_" in state:
            with _turns.lock, random.fork():
                self._make()
            for made, name in ((self.model_, "model_"), (self.optimizer_, "optimizer_")):
                made.load_state_dict({key: Tensor(array) for key, array in state[name].items()})


class Classifier(ClassifierMixin, NetworkEstimator):
    """A network that classifies rows of features, as an estimator of scikit-learn.

    It is trained with Adam on the cross-entropy. Scale the features first, such as with a
    StandardScaler in a pipeline. The same seed gives the same bits on the same machine.

    Args:
        hidden_layer_sizes: the number of neurons of each hidden layer, with ReLUs between them.
        model: a function from the number of features and of classes to a Module, which maps rows
            (N, features) float32 to logits (N, classes). By default hidden_layer_sizes defines the
            network.
        lr: the learning rate of Adam.
        epochs: the number of passes over the rows, at most; from 1 up.
        batch: the number of rows per step; all rows if there are fewer.
        seed: the seed of the initial weights, the order of the rows, dropout, and the rows for
            validation.
        patience: number of epochs. If the validation loss has not fallen for so long, the training
            ends, and the network gets the parameters of its best epoch. None for no early stopping.
        validation_fraction: the fraction of the rows for early stopping, which are not trained on;
            used only with `patience`.
        callbacks: functions, each called with an EpochReport after each epoch, such as a log.

    Attributes:
        classes_: the class labels (C,), sorted.
        model_: the trained Module, in eval mode.
        optimizer_: the optimiser.
        history_: the EpochReport of each epoch.
        n_features_in_: the number of features.
        feature_names_in_: their names, if X had names.

    Source: sklearn.neural_network.MLPClassifier.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> bool(tt.sklearn.Classifier((16,), lr=0.01).fit(X, y).score(X, y) > 0.95)
    True
    """

    _outputs_are = "classes"

    @staticmethod
    def _loss(outputs: Tensor, targets: Array) -> Tensor:
        return ops.cross_entropy(outputs, targets)

    def fit(self, X: Any, y: Any) -> Self:
        """Train a new network.

        Args:
            X: array-like (N, features) of finite numbers, converted to float32.
            y: array-like (N,) of class labels, such as ints or strings.

        Returns:
            the estimator.

        Raises:
            ValueError: X or y has a wrong shape, or a value that is NaN or infinite.
            SettingError: a parameter of the estimator has a wrong value.
            ShapeError: the model's outputs have another shape than (rows, classes).
            AnomalyError: the loss is NaN or infinite.
        """
        X, y = self._checked_data(X, y, reset=True)
        self.classes_, targets = np.unique(y, return_inverse=True)
        return self._fit(X, targets, len(self.classes_))

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Train for one epoch; the first call makes the network.

        Args:
            X: as in fit.
            y: as in fit.
            classes: array-like of all class labels; needed in the first call.

        Returns:
            the estimator.

        Raises:
            SettingError: the first call has no `classes`, or a later one has other classes.
            LabelError: `y` has a label that is not in `classes`.
            ValueError: as in fit.
        """
        is_new = not hasattr(self, "model_")
        if is_new and classes is None:
            raise SettingError("partial_fit: the first call needs all classes: classes=[0, 1, 2]")
        X, y = self._checked_data(X, y, reset=is_new)
        known = self.classes_ if classes is None else np.unique(classes)
        if not is_new and not np.array_equal(known, self.classes_):
            raise SettingError(
                f"partial_fit: got classes={known}; the first call had {self.classes_}"
            )
        unknown = np.setdiff1d(y, known)
        if len(unknown):
            raise LabelError(f"partial_fit: got label {unknown[0]!r}; one of {known} is needed")
        self.classes_ = known
        return self._partial_fit(X, np.searchsorted(known, y), len(known))

    def predict(self, X: Any) -> Array:
        """The class labels (N,) with the highest probabilities for X (N, features)."""
        outputs = self._outputs(self._checked_rows(X))
        labels: Array = self.classes_[outputs.argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any) -> Array:
        """The probabilities (N, C) float32 of the classes for X (N, features)."""
        return ops.softmax(from_numpy(self._outputs(self._checked_rows(X)))).numpy()

    def _checked_data(self, X: Any, y: Any, reset: bool) -> tuple[Array, Array]:
        X, y = validate_data(self, X, y, reset=reset, dtype=np.float32, order="C")
        check_classification_targets(y)
        return X, column_or_1d(y, warn=True)


class Regressor(RegressorMixin, NetworkEstimator):
    """A network that predicts numbers from rows of features, as an estimator of scikit-learn.

    It is trained with Adam on the mean squared error. Scale the features first, such as with a
    StandardScaler in a pipeline, and the targets with a TransformedTargetRegressor. The same seed
    gives the same bits on the same machine.

    Args:
        hidden_layer_sizes: the number of neurons of each hidden layer, with ReLUs between them.
        model: a function from the number of features and of targets to a Module, which maps rows
            (N, features) float32 to predictions (N, targets). By default hidden_layer_sizes defines
            the network.
        lr: the learning rate of Adam.
        epochs: the number of passes over the rows, at most; from 1 up.
        batch: the number of rows per step; all rows if there are fewer.
        seed: the seed of the initial weights, the order of the rows, dropout, and the rows for
            validation.
        patience: number of epochs. If the validation loss has not fallen for so long, the training
            ends, and the network gets the parameters of its best epoch. None for no early stopping.
        validation_fraction: the fraction of the rows for early stopping, which are not trained on;
            used only with `patience`.
        callbacks: functions, each called with an EpochReport after each epoch, such as a log.

    Attributes:
        model_: the trained Module, in eval mode.
        optimizer_: the optimiser.
        history_: the EpochReport of each epoch.
        n_features_in_: the number of features.
        feature_names_in_: their names, if X had names.

    Source: sklearn.neural_network.MLPRegressor.

    >>> from sklearn.datasets import make_friedman1
    >>> X, y = make_friedman1(300, random_state=0)
    >>> bool(tt.sklearn.Regressor((64,), lr=0.01).fit(X, y / 10).score(X, y / 10) > 0.9)
    True
    """

    _outputs_are = "targets"

    @staticmethod
    def _loss(outputs: Tensor, targets: Array) -> Tensor:
        return ops.mse_loss(outputs, targets)

    def fit(self, X: Any, y: Any) -> Self:
        """Train a new network.

        Args:
            X: array-like (N, features) of finite numbers, converted to float32.
            y: array-like (N,), or (N, targets), of finite numbers, converted to float32.

        Returns:
            the estimator.

        Raises:
            ValueError: X or y has a wrong shape, or a value that is NaN or infinite.
            SettingError: a parameter of the estimator has a wrong value.
            ShapeError: the model's outputs have another shape than (rows, targets).
            AnomalyError: the loss is NaN or infinite.
        """
        X, y = self._checked_data(X, y, reset=True)
        self._is_flat = y.ndim == 1
        targets = y.reshape(len(y), -1)
        return self._fit(X, targets, targets.shape[1])

    def partial_fit(self, X: Any, y: Any) -> Self:
        """Train for one epoch; the first call makes the network.

        Args:
            X: as in fit.
            y: as in fit.

        Returns:
            the estimator.

        Raises:
            ShapeError: the number of targets differs from that of the first call.
            ValueError: as in fit.
        """
        is_new = not hasattr(self, "model_")
        X, y = self._checked_data(X, y, reset=is_new)
        targets = y.reshape(len(y), -1)
        if is_new:
            self._is_flat = y.ndim == 1
        elif targets.shape[1] != self._build.args[-1]:
            raise ShapeError(
                f"partial_fit: got y {y.shape}; the first call had {self._build.args[-1]} targets"
            )
        return self._partial_fit(X, targets, targets.shape[1])

    def predict(self, X: Any) -> Array:
        """The predictions (N,), or (N, targets), float64 for X (N, features)."""
        outputs = self._outputs(self._checked_rows(X)).astype(np.float64)
        return outputs[:, 0] if self._is_flat else outputs

    def _checked_data(self, X: Any, y: Any, reset: bool) -> tuple[Array, Array]:
        X, y = validate_data(
            self, X, y, reset=reset, dtype=np.float32, order="C", multi_output=True, y_numeric=True
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, np.ascontiguousarray(y, np.float32)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
