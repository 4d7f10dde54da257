"""The museum of mistakes: short programs with one mistake each, none of which raises an error.

`tinytensor try mistakes` runs them, draws the curve of each loss and prints what the coach says.
Each program trains a small network for at most 100 steps. All but the mistake is right, so the loss
often falls anyway, and without the coach the mistake is hard to see.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

import tinytensor as tt
from tinytensor import nn
from tinytensor.arrays import Array
from tinytensor.capture.captured import capture
from tinytensor.coach.check import CHECKS, Finding
from tinytensor.coach.coaching import Coach
from tinytensor.datasets import Dataset, batches, to_float
from tinytensor.tensors import Tensor

STEPS = 100
BATCH = 50
Step = Callable[..., Any]


@dataclass
class Seen:
    """What a program shows: the loss of each step, and the coach's findings."""

    losses: list[float]
    findings: list[Finding]


@dataclass(frozen=True)
class Exhibit:
    """A program with a mistake. name: of the check that should find it."""

    name: str
    program: Callable[[Dataset, Callable[[Step], Step]], Seen]

    @property
    def mistake(self) -> str:
        """The mistake of the program, in one sentence."""
        return " ".join((self.program.__doc__ or "").split())

    @property
    def source(self) -> str:
        """The text of the program, without its decorator."""
        lines = inspect.getsource(self.program).splitlines()
        return "\n".join(line for line in lines if not line.startswith("@"))

    def run(self, data: Dataset, captured: bool = True) -> Seen:
        """Run the program.

        Args:
            data: the images and labels, such as tt.datasets.mnist().
            captured: True to capture its step, False to run it op by op.
        """
        tt.manual_seed(0)
        return self.program(data, capture if captured else lambda step: step)


EXHIBITS: list[Exhibit] = []


def exhibit(name: str) -> Callable[[Any], Any]:
    """Decorate a program: it is the exhibit of the check with this name."""

    def add(program: Any) -> Any:
        EXHIBITS.append(Exhibit(name, program))
        return program

    return add


# What the programs share ------------------------------------------------------------------------


def network(*, outputs: int = 10, weight: Any = None, bias: Any = None) -> nn.Sequential:
    """784 pixels, 60 and 30 ReLUs, and one output per class."""
    settings = {key: x for key, x in (("weight", weight), ("bias", bias)) if x is not None}
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 60, **settings), nn.ReLU(),
        nn.Linear(60, 30, **settings), nn.ReLU(), nn.Linear(30, outputs, **settings),
    )  # fmt: skip


def step_of(model: nn.Module, lr: float = 0.002, optimizer: Any = None) -> Step:
    """A training step without a mistake: clear, backward, update."""
    made = tt.optim.Adam(model.parameters(), lr=lr) if optimizer is None else optimizer

    def step(images: Tensor, labels: Tensor) -> Tensor:
        loss = tt.cross_entropy(model(images), labels)
        made.zero_grad()
        loss.backward()
        made.step()
        return loss

    return step


def in_batches(data: Dataset, size: int = BATCH) -> Iterator[tuple[Array, Array]]:
    """Batches of training images, shuffled and scaled."""
    made: Iterator[tuple[Array, Array]] = batches(
        data.train_images, data.train_labels, size=size, seed=0
    )
    return made


def watch(step: Step, examples: Iterable[tuple[Any, ...]], data: Dataset | None = None) -> Seen:
    """Run at most STEPS steps under the eyes of the coach."""
    losses = []
    with Coach(step=step, data=data, show=None) as coach:
        for batch in islice(examples, STEPS):
            losses.append(float(coach(*batch).numpy()))
            if not np.isfinite(losses[-1]):
                break
    return Seen(losses, coach.findings)


# The data ---------------------------------------------------------------------------------------


@exhibit("inputs-not-scaled")
def pixels_up_to_255(data: Dataset, capture: Any) -> Seen:
    """The images are converted to floats, and not divided by 255."""
    images = data.train_images[:2000].astype(np.float32)[..., None]
    step = step_of(network())
    return watch(capture(step), batches(images, data.train_labels[:2000], size=BATCH, seed=0))


@exhibit("inputs-constant")
def divided_as_integers(data: Dataset, capture: Any) -> Seen:
    """The bytes are divided by 256 as integers, so every pixel is 0."""
    images = (data.train_images[:2000].astype(int) // 256).astype(np.float32)[..., None]
    step = step_of(network())
    return watch(capture(step), batches(images, data.train_labels[:2000], size=BATCH, seed=0))


@exhibit("inputs-not-finite")
def divided_by_no_spread(data: Dataset, capture: Any) -> Seen:
    """Each pixel is divided by its standard deviation, which is 0 at the border: 0 / 0 is NaN."""
    images = to_float(data.train_images[:2000])
    with np.errstate(invalid="ignore", divide="ignore"):
        images = (images - images.mean(axis=0)) / images.std(axis=0)
    step = step_of(network())
    return watch(capture(step), batches(images, data.train_labels[:2000], size=BATCH, seed=0))


@exhibit("one-class-only")
def only_the_ones(data: Dataset, capture: Any) -> Seen:
    """A filter keeps the images of one class."""
    images, labels = data.train_images, data.train_labels
    kept = batches(images[labels == 1], labels[labels == 1], size=BATCH, seed=0)
    return watch(capture(step_of(network())), kept)


@exhibit("data-not-shuffled")
def sorted_by_class(data: Dataset, capture: Any) -> Seen:
    """The images are sorted by class, and the batches keep this order."""
    images, labels = data.train_images[:1000], data.train_labels[:1000]
    order = np.argsort(labels, kind="stable")
    in_order = batches(images[order], labels[order], size=BATCH, shuffle=False)
    return watch(capture(step_of(network())), in_order)


@exhibit("labels-start-at-1")
def counted_from_1(data: Dataset, capture: Any) -> Seen:
    """The labels are counted from 1, and the last layer has an output more to make them fit."""
    shifted = batches(data.train_images, data.train_labels + 1, size=BATCH, seed=0)
    return watch(capture(step_of(network(outputs=11))), shifted)


@exhibit("too-many-outputs")
def one_hot_of_12(data: Dataset, capture: Any) -> Seen:
    """The one-hot code of the labels has twelve columns for ten classes."""
    model = network(outputs=12)
    optimizer = tt.optim.Adam(model.parameters(), lr=0.002)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        loss = tt.cross_entropy(model(images), tt.one_hot(labels, 12))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return watch(capture(step), in_batches(data))


@exhibit("target-not-one-hot")
def bits_as_target(data: Dataset, capture: Any) -> Seen:
    """The target of a label is its binary number, where one row per class with one 1 is needed."""
    rows = ((np.arange(10)[:, None] >> np.arange(10)) & 1).astype(np.float32)
    coded = ((images, rows[labels]) for images, labels in in_batches(data))
    return watch(capture(step_of(network())), coded)


@exhibit("labels-unrelated")
def images_shuffled_alone(data: Dataset, capture: Any) -> Seen:
    """The images are shuffled, and the labels stay in their order."""
    images = np.random.default_rng(0).permutation(data.train_images)
    apart = batches(images, data.train_labels, size=BATCH, seed=0)
    return watch(capture(step_of(network())), apart)


@exhibit("test-images-in-training")
def split_with_overlap(data: Dataset, capture: Any) -> Seen:
    """The test images are a random sample of the training images."""
    chosen = np.random.default_rng(0).integers(len(data.train_images), size=1000)
    own = data._replace(
        test_images=data.train_images[chosen], test_labels=data.train_labels[chosen]
    )
    return watch(capture(step_of(network())), in_batches(own), own)


@exhibit("test-labels-differ")
def folders_in_another_order(data: Dataset, capture: Any) -> Seen:
    """The classes of the test images are numbered in another order than those in training."""
    own = data._replace(test_labels=(data.test_labels + 1) % 10)
    return watch(capture(step_of(network())), in_batches(own), own)


# The loss ---------------------------------------------------------------------------------------


@exhibit("loss-at-start")
def weights_of_size_1(data: Dataset, capture: Any) -> Seen:
    """The first weights are normal with standard deviation 1, so the first logits are huge."""
    step = step_of(network(weight=nn.normal(1.0)))
    return watch(capture(step), in_batches(data))


@exhibit("softmax-twice")
def softmax_in_the_model(data: Dataset, capture: Any) -> Seen:
    """The network ends with a softmax, and cross_entropy applies softmax again."""
    model = nn.Sequential(network(), nn.Softmax())
    return watch(capture(step_of(model)), in_batches(data))


@exhibit("relu-on-logits")
def relu_after_the_last_layer(data: Dataset, capture: Any) -> Seen:
    """The last layer is followed by a ReLU, as the hidden layers are."""
    model = nn.Sequential(network(), nn.ReLU())
    return watch(capture(step_of(model)), in_batches(data))


@exhibit("dropout-on-logits")
def dropout_after_the_last_layer(data: Dataset, capture: Any) -> Seen:
    """Dropout follows the last layer, so a quarter of the scores is 0."""
    model = nn.Sequential(network(), nn.Dropout(keep_prob=0.75))
    return watch(capture(step_of(model)), in_batches(data))


@exhibit("loss-broadcast")
def column_minus_row(data: Dataset, capture: Any) -> Seen:
    """The prediction (N, 1) minus the target (N,) is a table (N, N)."""
    model = network(outputs=1)
    optimizer = tt.optim.Adam(model.parameters(), lr=0.002)

    def step(images: Tensor, brightness: Tensor) -> Tensor:
        loss: Tensor = ((model(images) - brightness) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    pairs = ((images, images.mean(axis=(1, 2, 3))) for images, _ in in_batches(data))
    return watch(capture(step), pairs)


@exhibit("rate-too-high")
def rate_of_another_optimizer(data: Dataset, capture: Any) -> Seen:
    """The learning rate 0.5 suits SGD, and the optimiser is Adam."""
    return watch(capture(step_of(network(), lr=0.5)), in_batches(data))


@exhibit("rate-too-low")
def rate_with_a_zero_more(data: Dataset, capture: Any) -> Seen:
    """The learning rate of SGD is 0.00001."""
    model = network()
    optimizer = tt.optim.SGD(model.parameters(), lr=0.00001)
    return watch(capture(step_of(model, optimizer=optimizer)), in_batches(data))


@exhibit("overfitting")
def few_images(data: Dataset, capture: Any) -> Seen:
    """The network has 49,000 weights, and 100 images to train on; it is tested every 10 steps."""
    model = network()
    step = capture(step_of(model, lr=0.01))
    images, labels = to_float(data.test_images[:500]), data.test_labels[:500]
    losses = []
    with Coach(model, step=step, show=None) as coach:
        few = batches(data.train_images[:100], data.train_labels[:100], size=BATCH, seed=0)
        for image_batch, label_batch in islice(few, STEPS):
            losses.append(coach(image_batch, label_batch).item())
            if len(losses) % 10 == 0:
                with tt.no_grad():
                    coach.tested(tt.cross_entropy(model(images), labels).item())
    return Seen(losses, coach.findings)


@exhibit("step-re-recorded")
def number_that_changes(data: Dataset, capture: Any) -> Seen:
    """The number of the step is an argument, and a captured step is recorded for each number."""
    inner = step_of(network())

    def step(images: Tensor, labels: Tensor, number: int) -> Tensor:
        loss: Tensor = inner(images, labels)
        return loss

    numbered = ((*batch, i) for i, batch in enumerate(in_batches(data)))
    return watch(tt.capture(step), numbered)


# The gradients ----------------------------------------------------------------------------------


@exhibit("gradients-not-cleared")
def no_zero_grad(data: Dataset, capture: Any) -> Seen:
    """The step has no optimizer.zero_grad()."""
    model = network()
    optimizer = tt.optim.SGD(model.parameters(), lr=0.02)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        loss = tt.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return watch(capture(step), in_batches(data))


@exhibit("never-updated")
def no_optimizer_step(data: Dataset, capture: Any) -> Seen:
    """The step has no optimizer.step(), so nothing is learned."""
    model = network()
    optimizer = tt.optim.Adam(model.parameters(), lr=0.002)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        loss = tt.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        return loss

    return watch(capture(step), in_batches(data))


@exhibit("parameter-without-gradient")
def detached_in_the_middle(data: Dataset, capture: Any) -> Seen:
    """The result of the first layers is detached, so only the last layer is trained."""

    class Net(nn.Module):
        def __init__(self) -> None:
            self.body, self.head = network(outputs=30), nn.Linear(30, 10)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.body(x).detach())
            return logits

    return watch(capture(step_of(Net())), in_batches(data))


@exhibit("parameter-not-in-optimizer")
def optimizer_of_a_part(data: Dataset, capture: Any) -> Seen:
    """A layer is added after the optimiser got its list of parameters."""
    model = network()
    optimizer = tt.optim.Adam(model.parameters(), lr=0.002)
    model = nn.Sequential(model, nn.ReLU(), nn.Linear(10, 10))
    return watch(capture(step_of(model, optimizer=optimizer)), in_batches(data))


@exhibit("gradients-vanish")
def ten_sigmoids(data: Dataset, capture: Any) -> Seen:
    """Ten layers of sigmoids, each of which makes the gradient about ten times smaller."""
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(784, 30), nn.Sigmoid()]
    for _ in range(9):
        layers += [nn.Linear(30, 30), nn.Sigmoid()]
    model = nn.Sequential(*layers, nn.Linear(30, 10))
    return watch(capture(step_of(model)), in_batches(data))


@exhibit("gradients-explode")
def eight_large_layers(data: Dataset, capture: Any) -> Seen:
    """Eight layers with weights of standard deviation 0.7: each makes its values larger."""
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(784, 30, nn.normal(0.7)), nn.ReLU()]
    for _ in range(7):
        layers += [nn.Linear(30, 30, nn.normal(0.7)), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(30, 10, nn.normal(0.7)))
    return watch(capture(step_of(model)), in_batches(data))


@exhibit("weights-symmetric")
def equal_weights(data: Dataset, capture: Any) -> Seen:
    """All weights start at 0.01, so the 60 neurons of the first layer do the same."""
    step = step_of(network(weight=nn.constant(0.01)))
    return watch(capture(step), in_batches(data))


# The layers -------------------------------------------------------------------------------------


@exhibit("dead-relus")
def negative_biases(data: Dataset, capture: Any) -> Seen:
    """The biases start at -3, so most ReLUs are 0 for every image."""
    return watch(capture(step_of(network(bias=nn.constant(-3.0)))), in_batches(data))


@exhibit("saturated-layer")
def sigmoids_of_large_sums(data: Dataset, capture: Any) -> Seen:
    """The weights before the sigmoids have standard deviation 5."""
    first = nn.Linear(784, 60, nn.normal(5.0))
    model = nn.Sequential(nn.Flatten(), first, nn.Sigmoid(), nn.Linear(60, 10))
    return watch(capture(step_of(model)), in_batches(data))


@exhibit("trains-in-evaluation-mode")
def no_train_after_eval(data: Dataset, capture: Any) -> Seen:
    """model.eval() was called for a test, and model.train() was not called after it."""
    model = nn.Sequential(network(), nn.BatchNorm(10)).eval()
    return watch(capture(step_of(model)), in_batches(data))


@exhibit("evaluates-in-training-mode")
def no_eval_before_test(data: Dataset, capture: Any) -> Seen:
    """The test after 50 steps runs in training mode, so dropout switches neurons off."""
    layers = [nn.Flatten(), nn.Linear(784, 60), nn.ReLU(), nn.Dropout(keep_prob=0.5)]
    model = nn.Sequential(*layers, nn.Linear(60, 10))
    step = capture(step_of(model))
    images, labels = to_float(data.test_images[:500]), data.test_labels[:500]
    losses = []
    with Coach(model, step=step, show=None) as coach:
        for batch in islice(in_batches(data), STEPS):
            losses.append(coach(*batch).item())
            if len(losses) == 50:
                with tt.no_grad():
                    coach.tested(tt.cross_entropy(model(images), labels).item())
    return Seen(losses, coach.findings)


@exhibit("batch-of-one")
def one_image_at_a_time(data: Dataset, capture: Any) -> Seen:
    """The batches have one image, and the network has batch norm."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=2), nn.BatchNorm(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(784, 10),
    )  # fmt: skip
    return watch(capture(step_of(model)), in_batches(data, size=1))


assert {each.name for each in EXHIBITS} == set(CHECKS)
