"""Trains a model of your own by the training loop of the lessons."""

from __future__ import annotations

from collections.abc import Callable

from tinytensor import ops, optim
from tinytensor.arrays import Array
from tinytensor.datasets import Dataset
from tinytensor.errors import NotSupported
from tinytensor.lessons import Lesson
from tinytensor.nn import Module
from tinytensor.ops.operands import whole
from tinytensor.ranks import world
from tinytensor.step_report import StepReport
from tinytensor.tensors import Tensor
from tinytensor.train import Training


def fit(
    model: Module,
    data: Dataset,
    *,
    epochs: int = 5,
    batch: int = 100,
    optimizer: optim.Optimizer | None = None,
    loss: Callable[[Tensor, Array], Tensor] = ops.cross_entropy,
    seed: int = 0,
    show: Callable[[StepReport], object] | None = print,
) -> StepReport:
    """Train a model in place on a data set, and test it after each epoch.

    Each step is captured. On several ranks (see tt.parallel) each rank trains on its share of each
    batch, and rank 0 calls `show`. If this function does not do what you need, write the loop
    yourself, with `tt.capture`. Call `model.eval()` before you use the trained model.

    Args:
        model: maps images (N, 28, 28, 1) float32 to logits (N, 10), or one logit per class.
        data: the training and test images, such as tt.datasets.mnist().
        epochs: the number of passes over the training images, from 1 up.
        batch: the number of images per step.
        optimizer: an optimiser of model.parameters(); Adam with its default settings by default.
        loss: a function from logits (N, 10) and labels (N,) to a scalar Tensor.
        seed: the seed of the order of the images and of dropout.
        show: called with each report; None for no output.

    Returns:
        StepReport, the last one: test_accuracy, test_loss and more.

    Raises:
        SettingError: `epochs` is below 1, or `batch` is not from 1 to the number of images.
        NotSupported: `data` is not a Dataset.
        AnomalyError: the loss is NaN or infinite.

    Source: Keras's Model.fit.

    >>> data = tt.datasets.mnist()
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    >>> report = tt.fit(model, data, epochs=1, show=None)
    >>> report.test_accuracy > 0.88
    True
    """
    if not isinstance(data, Dataset):
        raise NotSupported(
            f"fit: got a {type(data).__name__} as data; a data set is needed: "
            "tt.datasets.Dataset(train_images, train_labels, test_images, test_labels)"
        )
    whole("fit", "epochs", epochs, 1)
    made = optim.Adam(model.parameters()) if optimizer is None else optimizer
    lesson = Lesson(
        number="own", name="own", title=type(model).__name__, chapter="",
        model=lambda *_: model, optimizer=lambda _: made, loss=loss, expected_accuracy=0.0,
    )  # fmt: skip
    per_epoch = max(len(data.train_images) // max(batch, 1), 1)
    ranks = world()
    training = Training(
        lesson, data, steps=epochs * per_epoch, batch=batch, seed=seed, evaluate_every=per_epoch,
        world=ranks,
    )  # fmt: skip
    for report in training:
        if show is not None and ranks.rank == 0:
            show(report)
    return report
