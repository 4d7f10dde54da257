"""What `tinytensor train` prints before and after a training."""

import shlex
from typing import Any

from tinytensor import datasets, door, lessons, nn
from tinytensor.datasets.wrong_labels import WRONG_TEST_LABELS
from tinytensor.evaluation import evaluate
from tinytensor.plural import plural
from tinytensor.step_report import StepReport
from tinytensor.train import Training


def described(data: datasets.Dataset) -> str:
    """The numbers of images, their shape and the classes, in words."""
    size = datasets.described_shape(data.image_shape)
    names = ", ".join(data.names[:6])
    return (
        f"{plural(len(data.train_images), 'training image')} and "
        f"{plural(len(data.test_images), 'test image')} of {size}, "
        f"{len(data.names)} classes: {names}"
        f"{', ...' if len(data.names) > 6 else ''}"
    )


def division(training: Training) -> str:
    """How a batch is divided among the ranks and their threads."""
    assert training.parallel is not None
    team, world = training.parallel.team, training.world
    share = sum(each.count for each in team.shares)
    norm = ""
    if any(isinstance(module, nn.BatchNorm) for module in training.model.modules()):
        moments = {True: "the whole batch", False: "each chunk"}[team.synchronizes]
        norm = f"; batch norm uses the moments of {moments}"
    return (
        f"{plural(world.size, 'rank')}: rank 0 trains on {plural(share, 'image')} of each batch of "
        f"{team.batch}, which is divided into {plural(team.chunks, 'chunk')}{norm}"
    )


def scaled_rate(training: Training) -> str:
    """The learning rate of the next step, before and after --scale-rate, with the reason."""
    lesson, rate = training.lesson, training.optimizer.lr
    times = training.batch / lesson.batch
    rule = lesson.settings["scale_rate"]
    own = rate / lessons.RATE_RULES[rule](times)
    schedule = training.optimizer.param_groups[0].schedule
    at = f" in step {training.step + 1:,}" if schedule else ""
    root = f", and the factor is the square root, {times**0.5:g}" if rule == "sqrt" else ""
    return (
        f"learning rate {own:g} -> {rate:g}{at}: batch {training.batch:,} is {times:g} times the "
        f"lesson's {lesson.batch:,}{root}"
    )


def metrics(report: StepReport) -> dict[str, float | None]:
    """A row of the history in the JSON file."""
    return {
        "step": report.step,
        "train_accuracy": report.train_accuracy,
        "train_loss": report.train_loss,
        "test_accuracy": report.test_accuracy,
        "test_loss": report.test_loss,
    }


def what_next(lesson: lessons.Lesson, data: list[str], picture: list[str]) -> str:
    """Commands to try after a training, one on each line.

    data: the options with the data set. picture: those of predict for a picture, if there is one.
    """
    course = lessons.lessons()
    numbers = [each.number for each in course]
    commands = {}
    if lesson.number in numbers:
        commands["watch it learn"] = ["train", lesson.name, *data, "--live"]
        commands["why it works"] = ["lesson", lesson.number]
        if after := course[numbers.index(lesson.number) + 1 :]:
            commands["the next network"] = ["train", after[0].name, *data]
    if not data:
        commands["your own digit"] = ["predict", "photo.png"]
    elif picture:
        commands["a picture"] = ["predict", *picture]
    lines = [f"  {what:17} tinytensor {shlex.join(words)}" for what, words in commands.items()]
    return "\n".join(["\nNext:", *lines])


def accuracy_of_right_labels(training: Training, last: StepReport) -> float:
    """The accuracy without the test images of MNIST whose label is wrong."""
    images, labels = training.data.test_images, training.data.test_labels
    wrong = list(WRONG_TEST_LABELS)
    recognised = evaluate(training.tested, images[wrong], labels[wrong])[0] * len(wrong)
    return (last.test_accuracy * len(labels) - recognised) / (len(labels) - len(wrong))


def summary(result: dict[str, Any], training: Training) -> str:
    """The accuracy, the loss, the times and the backend, one on each line."""
    seconds = {name.replace("_", " "): value for name, value in result["seconds"].items()}
    times = ", ".join(f"{name} {value:.3f}" for name, value in seconds.items())
    after = f"after {plural(result['steps'], 'step')}"
    if training.step != result["steps"]:
        after += f", the last test; stopped after step {training.step:,}"
    is_tested = result["test_accuracy"] is not None
    tested = (
        f"test accuracy  {result['test_accuracy']:.4f} {after}",
        f"test loss      {result['test_loss']:.4f}",
    ) if is_tested else (f"test accuracy  not measured; stopped {after}",)  # fmt: skip
    right: tuple[str, ...] = ()
    if "test_accuracy_of_right_labels" in result:
        accuracy, count = result["test_accuracy_of_right_labels"], len(WRONG_TEST_LABELS)
        right = (f"               {accuracy:.4f} without the {count} images with a wrong label",)
    ranks: tuple[str, ...] = ()
    if training.parallel is not None:
        count = result["ranks"]
        equal = f", equal on {count} ranks" if count > 1 else ""
        ranks = (f"weights        SHA-256 {result['weights_sha256'][:16]}{equal}",)
    most = door.load_backend(result["backend"]).num_threads
    as_fast = f" ({most} are not faster here)" if result["threads"] < most else ""
    coached: tuple[str, ...] = ()
    if training.coach is not None:
        count = len(training.coach.findings)
        coached = (f"coach          found {plural(count, 'mistake') if count else 'no mistake'}",)
    changed = [f"changed        {change}" for change in training.changes]
    return "\n".join(
        (
            tested[0],
            *right,
            *tested[1:],
            *changed,
            f"seconds        {times}",
            f"backend        {result['backend']}, {plural(result['threads'], 'thread')}{as_fast}",
            *ranks,
            *coached,
        )
    )
