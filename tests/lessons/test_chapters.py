"""The chapters: their sections, drawings, questions, examples, claims and measured numbers."""

import doctest
import functools
import re
import shlex
import statistics

import numpy as np
import pytest
from test_lessons import NETWORKS, NUMBERS

import tinytensor as tt
from tinytensor import nn
from tinytensor.claims import CLAIMS, find_claim, measure
from tinytensor.datasets import batches
from tinytensor.evaluation import evaluate
from tinytensor.lessons import find, lessons
from tinytensor.lessons.chapter import FOLDER, REQUIRED
from tinytensor.train import Training
from tinytensor_command.commands import program

DATA = tt.datasets.mnist()
LESSONS = lessons()
each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.number)


def source(lesson):
    return (FOLDER / lesson.chapter).read_text(encoding="utf-8")


def blocks(lesson, language):
    return re.findall(rf"```{language}\n(.*?)```", source(lesson), re.DOTALL)


def commands(lesson):
    """What the chapter says to try, as a shell splits it."""
    (block,) = blocks(lesson, "sh")
    return [shlex.split(line, comments=True) for line in block.splitlines()]


# Form


def test_each_lesson_has_its_own_file():
    assert [lesson.chapter for lesson in LESSONS] == [f"{lesson.number}.md" for lesson in LESSONS]
    assert {file.name for file in FOLDER.iterdir()} == {lesson.chapter for lesson in LESSONS}


@each_lesson
def test_a_chapter_has_its_parts(lesson):
    chapter = lesson.read_chapter()
    assert chapter.title == f"{lesson.number}: {lesson.title}"
    assert chapter.introduction
    headings = list(chapter.sections)
    assert [heading for heading in headings if heading in REQUIRED] == list(REQUIRED)
    assert all(chapter.sections.values())
    assert "<!--" not in "".join(chapter.sections.values())


@each_lesson
def test_a_chapter_has_three_questions_and_their_answers(lesson):
    chapter = lesson.read_chapter()
    assert len(chapter.items("Questions")) == len(chapter.items("Answers")) == 3
    assert all(re.search(r"[?.]$", item) for item in chapter.items("Questions"))


@each_lesson
def test_drawings_and_examples_fit_a_terminal(lesson):
    """They are not wrapped as paragraphs are: 80 columns with a margin on both sides."""
    code = [line for language in ("text", "python", "sh") for x in blocks(lesson, language)
            for line in x.splitlines()]  # fmt: skip
    assert max(map(len, code)) <= 78


@pytest.mark.parametrize("number", NUMBERS)
def test_a_chapter_draws_the_shapes_of_its_network(number):
    drawing = blocks(find(number), "text")[0]
    assert "(100, 10)" in drawing
    shapes, _ = NETWORKS[number]
    for shape in shapes if "..." not in drawing else (shapes[0], shapes[-1]):
        if len(shape) == 4:
            H, W, inputs, outputs = shape
            assert f"conv {H}x{W}, {inputs} -> {outputs} channels" in drawing
        else:
            assert f"({shape[0]}, {shape[1]})" in drawing


# What can be run


@each_lesson
def test_examples_print_what_the_chapter_shows(lesson):
    examples = "\n".join(blocks(lesson, "python"))
    test = doctest.DocTestParser().get_doctest(examples, {}, lesson.chapter, None, None)
    assert doctest.DocTestRunner().run(test).failed == 0


@each_lesson
def test_what_to_try_can_be_tried(lesson):
    assert commands(lesson)
    for name, command, *arguments in commands(lesson):
        assert name == "tinytensor"
        with program.commands[command].make_context(command, arguments) as context:
            if command in ("train", "program"):
                find(context.params["lesson"])
            elif command == "try":
                find_claim(context.params["name"])
            else:
                assert command in ("predict", "lesson")


@each_lesson
def test_claims_named_in_a_chapter_exist(lesson):
    for name in re.findall(r"`tinytensor try ([\w-]+)`", source(lesson)):
        find_claim(name)


def test_every_claim_is_named_in_the_text_of_a_chapter_and_listed_there():
    listed = {words[2] for lesson in LESSONS for words in commands(lesson) if words[1] == "try"}
    named = {name for x in LESSONS for name in re.findall(r"`tinytensor try ([\w-]+)`", source(x))}
    assert listed == named == {claim.name for claim in CLAIMS}


# What the chapters say, measured again

TOLERANCE = re.compile(
    r"(?<![\w.])(-?[\d.,]+(?:e-?\d+)?)<!-- (.+?) ± ([\d.]+)(%?) -->( %)?", re.DOTALL
)


def stated():
    """(chapter, measurement, stated number, tolerance), all in the unit of the measurement."""
    for lesson in LESSONS:
        for number, measurement, tolerance, relative, percent in TOLERANCE.findall(source(lesson)):
            value, unit = float(number.replace(",", "")), 0.01 if percent else 1
            within = value * float(tolerance) / 100 if relative else float(tolerance)
            yield lesson.number, " ".join(measurement.split()), value * unit, within * unit


STATED = sorted(set(stated()))


@each_lesson
def test_a_chapter_states_measured_numbers(lesson):
    """Each comment is such a number: none is left out because it is written in another way."""
    found = TOLERANCE.findall(source(lesson))
    assert len(found) == source(lesson).count("<!--") > 0


@pytest.mark.parametrize("measurement", sorted({measurement for _, measurement, *_ in STATED}))
def test_each_stated_number_names_a_measurement(measurement):
    head, *rest = measurement.split(" / ")
    word, _, name = head.partition(" ")
    if word == "try":
        claim = find_claim(name)
        variant, column = rest
        assert variant in claim.variants()
        assert column in claim.measurement.columns
    elif word == "train":
        find(name)
        assert re.fullmatch(
            r"(test|training) (accuracy|loss) at \d+|first step with test accuracy [\d.]+"
            r"|(lowest|last) cross-entropy of 100 test images|best test accuracy", *rest
        )  # fmt: skip
    else:
        assert measurement in OTHERS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chapter", "measurement", "value", "within"), STATED, ids=[f"{x[0]} {x[1]}" for x in STATED]
)
def test_a_stated_number_is_measured_again(chapter, measurement, value, within):
    assert measured(measurement) == pytest.approx(value, abs=within)


def measured(measurement):
    head, *rest = measurement.split(" / ")
    word, _, name = head.partition(" ")
    if word == "try":
        return claimed(name)[rest[0]][find_claim(name).measurement.columns.index(rest[1])]
    if word == "train":
        return of_training(name, rest[0])
    return OTHERS[measurement]()


@functools.cache
def claimed(name):
    """The means of each variant of a claim, as `tinytensor try` prints them."""
    return {result.variant: result.means for result in measure(find_claim(name), DATA, 3)}


@functools.cache
def reports(name, steps=None):
    """Reports of a training with seed 0, every 50 steps."""
    return list(Training(find(name), DATA, steps=steps, evaluate_every=50))


def of_training(name, what):
    """A number of a training. Single batches are noisy: training values are means of ten.

    The first, best, lowest and last are of the steps at which `tinytensor train` tests.
    """
    run = reports(name)
    if match := re.fullmatch(r"(test|training) (accuracy|loss) at (\d+)", what):
        where, value, step = match.groups()
        last = next(i for i, report in enumerate(run) if report.step == int(step))
        if where == "test":
            return getattr(run[last], f"test_{value}")
        return statistics.mean(
            getattr(x, f"train_{value}") for x in run[max(0, last - 9) : last + 1]
        )
    tested = [report for report in run if report.step % find(name).evaluate_every == 0]
    if match := re.fullmatch(r"first step with test accuracy ([\d.]+)", what):
        return next(report.step for report in tested if report.test_accuracy >= float(match[1]))
    if what == "best test accuracy":
        return max(report.test_accuracy for report in tested)
    losses = [100 * report.test_loss for report in tested]
    return min(losses) if what.startswith("lowest") else losses[-1]


def accuracy_on_training_images():
    training = Training(find("softmax"), DATA, evaluate_every=2000)
    list(training)
    return evaluate(training.model, DATA.train_images[:20_000], DATA.train_labels[:20_000])[0]


def inputs_of_activations(number):
    """What the activations of a new network get for 100 images, layer by layer."""
    tt.manual_seed(0)
    model = find(number).model()
    x = tt.from_numpy(next(batches(DATA.train_images, DATA.train_labels, size=100, seed=0))[0])
    for layer in model.layers:
        if isinstance(layer, nn.Activation):
            yield x.numpy()
        x = layer(x)


def slopes():
    """The mean slope of the sigmoids of each layer of lesson 2.0 before the first step."""
    for z in inputs_of_activations("2.0"):
        output = 1 / (1 + np.exp(-z))
        yield float((output * (1 - output)).mean())


OTHERS = {
    "last accuracy of lesson fast": lambda: reports("fast")[-1].test_accuracy,
    "last accuracy of lesson small": lambda: [*Training(find("small"), DATA)][-1].test_accuracy,
    "ten neurons, 10,000 steps / best test accuracy": lambda: max(
        report.test_accuracy for report in reports("softmax", 10_000)
    ),
    "ten neurons / accuracy on training images": accuracy_on_training_images,
    "slopes of the sigmoids / smallest": lambda: min(slopes()),
    "slopes of the sigmoids / largest": lambda: max(slopes()),
    "sums of the sigmoids / share beyond 3": lambda: statistics.mean(
        float((abs(z) > 3).mean()) for z in inputs_of_activations("2.0")
    ),
    "open ReLUs of the first layer / bias 0.1": lambda: float(
        (next(inputs_of_activations("2.1")) > 0).mean()
    ),
    "open ReLUs of the first layer / bias 0": lambda: float(
        (next(inputs_of_activations("2.1")) > 0.1).mean()
    ),
    "gradient of the first layer / ReLU over sigmoid": lambda: (
        claimed("gradients")["ReLU"][0] / claimed("gradients")["sigmoid"][0]
    ),
}
