"""The course without a browser: its runs, their order and their bits, the wall, the command."""

import math
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import ButtonClick

import tinytensor as tt
from tinytensor.lessons import changed, course, find, lessons
from tinytensor.live.course import Course
from tinytensor.live.course_page import CoursePage
from tinytensor.live.frame import Frame
from tinytensor.live.run import Run
from tinytensor.live.run_settings import Settings
from tinytensor.live.setting_sliders import OWN
from tinytensor.live.training_page import PageView, TrainingPage
from tinytensor.live.wall import MAX_DRAWINGS, MAX_OF_A_VIEWER, Wall
from tinytensor.train import Training

DATA = tt.datasets.mnist()
SMALL = DATA._replace(test_images=DATA.test_images[:200], test_labels=DATA.test_labels[:200])
SECONDS = 60  # maximum wait, long enough for a busy machine


def until(condition):
    """Wait until condition() is true."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"still false after {SECONDS} s"
        time.sleep(0.01)


@contextmanager
def running(**settings):
    """A course that trains in a thread, as `tinytensor course` does in the main thread."""
    shown = Course(course(), SMALL, **{"speed": math.inf} | settings)
    ended = threading.Event()

    def run():
        with pytest.raises(KeyboardInterrupt):
            shown.run_until_interrupted()
        ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield shown
    finally:
        shown._wanted.put(Interrupting())
        assert ended.wait(SECONDS)


class Interrupting:
    """A wish that interrupts the thread when it is fulfilled, as Ctrl-C does."""

    def __iter__(self):
        raise KeyboardInterrupt


def is_ended(shown, index):
    return shown.present.index == index and shown.present.run.state == "ended"


def assert_same_weights(model, wanted):
    for name, x in wanted.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), x.numpy(), err_msg=name)


# The lessons


def test_the_course_has_the_nine_lessons_of_the_talk():
    numbers = [lesson.number for lesson in course()]
    assert numbers == ["1.0", "2.0", "2.1", "2.2", "3.0", "3.1", "4.0", "4.1", "4.2"]
    assert course() == lessons()[:9]


def test_a_lesson_after_another_has_the_bits_of_a_separate_training():
    alone = Training(find("dropout"), SMALL, steps=30, seed=5)
    list(alone)
    with running(steps=30, seed=5) as shown:
        until(lambda: shown.present.run.training.step > 3)
        shown.begin(3)  # dropout draws random numbers, as the run before does
        until(lambda: is_ended(shown, 3))
        assert_same_weights(shown.present.run.training.model, alone.model)


def test_the_settings_are_those_of_the_command_train():
    lesson = changed(find("dropout"), lr=0.01, keep_prob=0.5)
    alone = Training(lesson, SMALL, steps=20, batch=50)
    list(alone)
    with running(steps=20, first=3) as shown:
        shown.begin(3, Settings(lr=0.01, batch=50, keep_prob=0.5))
        until(lambda: shown.present.settings.batch == 50 and is_ended(shown, 3))
        run = shown.present.run
        assert_same_weights(run.training.model, alone.model)
        assert run.history.test[-1].loss == alone.report.test_loss
        shown.begin(4)
        until(lambda: is_ended(shown, 4))
        assert shown.present.settings == Settings(), "another lesson has its own settings"
        assert shown.present.run.training.batch == 100


def test_a_lesson_waits_for_a_viewer_as_train_live_does():
    with running(steps=50, speed=None) as shown:
        for index in (1, 2):
            shown.begin(index)
            until(lambda index=index: shown.present.index == index)
            run = shown.present.run
            until(lambda run=run: run.latest is not None)
            time.sleep(0.2)
            assert (run.training.step, run.latest.step) == (0, 0)
            assert run.speed == 10
            run.begin()
            until(lambda run=run: run.training.step > 0)


def test_one_run_trains_at_a_time_and_the_last_wish_counts():
    with running(steps=10**6) as shown:
        first = shown.present.run
        until(lambda: first.training.step > 0)
        with shown.present.run._condition:  # the first run can't end, so several wishes wait
            for index in (1, 2, 4, 5):
                shown.begin(index)
            shown.begin(9)
            shown.begin(-1)
        until(lambda: shown.present.index == 5)
        assert not first._thread.is_alive()
        names = [thread.name for thread in threading.enumerate()]
        until(lambda: shown.present.run.training.step > 0)
        assert names.count("training") <= 1
    assert not shown.present.run._thread.is_alive()


def test_the_backend_that_a_viewer_chose_stays():
    with tt.backend("numpy"), running(steps=10, first=0) as shown:
        shown.present.run.set_backend("numpy")
        until(lambda: shown.present.run.backend.name == "numpy")
        shown.begin(1)
        until(lambda: is_ended(shown, 1))
        assert shown.present.run.latest.backend == "numpy"


def test_the_curves_of_the_run_before_stay():
    with running(steps=20, first=1) as shown:
        assert shown.present.earlier is None
        until(lambda: is_ended(shown, 1))
        sigmoid = shown.present.run.history
        shown.begin(2, Settings(batch=50))
        until(lambda: is_ended(shown, 2))
        earlier = shown.present.earlier
        assert (earlier.name, earlier.new_name) == ("2.0 sigmoid", "2.1 relu, batch 50")
        assert earlier.test == sigmoid.test
        assert earlier.train == sigmoid.train


def test_a_run_without_a_step_is_not_compared():
    with running(steps=20, first=1, speed=20.0) as shown:
        shown.present.run.begin()
        until(lambda: is_ended(shown, 1))
        for index in (2, 3):
            shown.begin(index)
            until(lambda index=index: shown.present.index == index)
        earlier = shown.present.earlier
        assert (earlier.name, earlier.new_name) == ("2.0 sigmoid", "2.2 dropout")


def test_an_error_of_a_run_does_not_end_the_course():
    with running(steps=200) as shown:
        shown.begin(0, Settings(lr=1e38))
        until(lambda: shown.present.run.error is not None)
        assert "the loss is" in shown.present.run.error
        shown.begin(1)
        until(lambda: is_ended(shown, 1))
        assert shown.present.run.error is None


def test_closing_gives_up_a_test():
    for step in range(3):
        run = Run(Training(find("conv-dropout"), DATA, steps=step + 1, evaluate_every=1))
        run.start()
        run.close()
        run.join()
        assert run.state == "ended"
        assert run.error is None


# The page


def page_of(shown, **view):
    return CoursePage(shown, Frame(Document()), PageView(**view))


def named(page, name):
    return page.frame.document.get_model_by_name(name)


def test_page_shows_the_next_lesson_and_keeps_what_the_viewer_chose():
    with running(steps=5) as shown:
        page = page_of(shown)
        named(page, "show").value = "loss"
        named(page, "colours").value = "dark"
        named(page, "lessons").active = 3
        until(lambda: is_ended(shown, 3))
        page.update()
        assert named(page, "lessons").active == 3
        assert named(page, "show").value == "loss"
        assert named(page, "colours").value == "dark"
        assert page.frame.root.css_classes == ["page", "dark"]
        assert page.frame.document.title == "tinytensor: lesson 2.2 dropout"
        assert "Neurons that depend on each other" in named(page, "lesson").text
        assert [panel.content for panel in page.page.panels if panel.name == "loss"] == [
            child for child, *_ in named(page, "panels").children
        ]


def test_sliders_show_the_settings_of_the_run():
    with running(steps=5) as shown:
        page = page_of(shown)
        assert not named(page, "keep probability").visible
        shown.begin(3, Settings(lr=0.01, keep_prob=0.5))
        until(lambda: is_ended(shown, 3))
        page.update()
        assert named(page, "learning rate").value == "0.01"
        assert named(page, "batch").value == OWN
        assert named(page, "keep probability").visible
        assert named(page, "keep probability").value == "0.5"
        assert "learning rate 0.01, keep probability 0.5" in named(page, "title").text


def test_onlookers_have_no_controls_of_the_course():
    with running(steps=5) as shown:
        page = page_of(shown, may_control=False)
        names = set()
        for panel in ("drawing", "wall"):
            named(page, "show").value = panel
            names |= {model.name for model in page.frame.document.models}
        assert not {"lessons", "next", "back", "begin again", "batch", "clear the wall"} & names
        assert {"it is a", "strokes", "wall"} <= names, "they may draw"


def test_earlier_curves_are_pale_and_named():
    with running(steps=20) as shown:
        until(lambda: is_ended(shown, 0))
        history = shown.present.run.history
        shown.begin(1)
        until(lambda: is_ended(shown, 1))
        page = page_of(shown)
        page.update()
        assert "<b>2.0 sigmoid</b>" in named(page, "accuracy title").text
        assert "pale: 1.0 softmax" in named(page, "loss title").text
        source = named(page, "loss earlier test")
        assert list(source.data["y"]) == [100 * point.loss for point in history.test]
        (line,) = [
            glyph
            for glyph in named(page, "loss").renderers
            if glyph.data_source.name == "loss earlier test"
        ]
        assert line.glyph.line_alpha < 0.5


# The wall


def drawn(label):
    """A test digit of this class."""
    return DATA.test_images[int(np.flatnonzero(DATA.test_labels == label)[0])]


@pytest.fixture(scope="module")
def trained():
    """A run that has ended and still answers."""
    run = Run(Training(find("softmax"), SMALL, steps=200))
    run.start()
    list(run)
    yield run
    run.close()
    run.join()


def classified(wall, run, count):
    until(
        lambda: (
            wall.update(run)
            or (wall.classified is not None and len(wall.classified.labels) == count)
        )
    )
    return wall.classified


def test_wall_has_the_digits_and_what_the_network_reads(trained):
    wall = Wall(10)
    for label in range(10):
        wall.add(drawn(label), label if label < 8 else wall.unknown, viewer=label)
    found = classified(wall, trained, 10)
    np.testing.assert_array_equal(found.images, [drawn(label) for label in range(10)])
    assert found.labels.tolist() == [*range(8), 10, 10]
    assert (found.predictions == np.arange(10)).sum() >= 8
    wall.clear()
    assert classified(wall, trained, 0).drawn == 0


def test_wall_is_bounded(trained):
    wall = Wall(10)
    for count in range(3 * MAX_DRAWINGS):
        wall.add(drawn(count % 10), count % 10, viewer=count)
    found = classified(wall, trained, MAX_DRAWINGS)
    assert found.drawn == 3 * MAX_DRAWINGS
    assert found.images.nbytes == MAX_DRAWINGS * 28 * 28


def test_one_viewer_cannot_fill_the_wall(trained):
    wall = Wall(10)
    wall.add(drawn(4), 4, viewer="Ada")
    for count in range(2 * MAX_DRAWINGS):
        wall.add(drawn(count % 10), count % 7, viewer="Bob")
    found = classified(wall, trained, 1 + MAX_OF_A_VIEWER)
    labels = [count % 7 for count in range(2 * MAX_DRAWINGS)]
    assert found.labels.tolist() == [4, *labels[-MAX_OF_A_VIEWER:]]
    assert found.drawn == 1 + 2 * MAX_DRAWINGS


def test_wall_is_read_by_the_network_of_the_next_run(trained):
    wall = Wall(10)
    wall.add(drawn(4), 4, viewer="Ada")
    classified(wall, trained, 1)
    untrained = Run(Training(find("softmax"), SMALL, steps=200), for_viewer=True)
    untrained.start()
    try:
        until(lambda: wall.update(untrained) or wall.classified.predictions[0] == 0)
    finally:
        untrained.close()
        untrained.join()


STROKES = {"xs": [[0.3, 0.7], [0.7, 0.4]], "ys": [[0.2, 0.2], [0.2, 0.8]]}


def drawing_page(run, wall):
    frame = Frame(Document())
    page = TrainingPage(run, frame, wall, PageView())
    frame.show(*page.contents)
    return page, frame.document.get_model_by_name


def test_a_drawn_digit_is_put_on_the_wall(trained):
    wall = Wall(10)
    page, find_model = drawing_page(trained, wall)
    find_model("show").value = "drawing"
    find_model("it is a").active = 7
    assert find_model("note").text == "Draw a digit first."
    find_model("strokes").data = STROKES
    find_model("it is a").active = 7
    assert find_model("it is a").active is None
    assert find_model("strokes").data == {"xs": [], "ys": []}
    assert len(wall._drawings) == 1
    find_model("strokes").data = STROKES
    find_model("it is a").active = 10  # the button "?"
    assert classified(wall, trained, 2).labels.tolist() == [7, 10]
    find_model("show").value = "wall"
    page.update()
    title = find_model("wall title").text
    assert "Wall: 2 drawn, " in title
    assert " of 1 recognised" in title
    find_model("clear the wall")._trigger_event(ButtonClick(find_model("clear the wall")))
    assert len(wall._drawings) == 0


HOSTILE = [
    {},
    {"xs": [1], "ys": [2]},
    {"xs": [[0.5, 0.6]], "ys": [[0.5]]},
    {"xs": [[float("nan")]], "ys": [[0.5]]},
    {"xs": [[1e308]], "ys": [[0.5]]},
    {"xs": [["a"]], "ys": [["b"]]},
    {"xs": [[None]], "ys": [[None]]},
    {"xs": [[0.5] * 30_000], "ys": [[0.5] * 30_000]},
]


def test_hostile_strokes_do_not_reach_the_wall(trained):
    wall = Wall(10)
    _, find_model = drawing_page(trained, wall)
    find_model("show").value = "drawing"
    for strokes in HOSTILE:
        find_model("strokes").data = strokes
        find_model("it is a").active = 3
        assert len(wall._drawings) == 0, strokes
    find_model("strokes").data = STROKES
    for chosen in (-1, 11, 10**9):
        find_model("it is a").active = chosen
        assert len(wall._drawings) == 0, chosen
    find_model("it is a").active = 3
    assert len(wall._drawings) == 1


# The command


def test_command_needs_a_lesson_of_the_course(run):
    code, out, err = run("course", "best")
    assert (code, out) == (2, "")
    assert err == (
        "tinytensor: course: lesson best is not part of it; a lesson from 1.0 to 4.2 is needed, "
        "or: tinytensor train best --live\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["7.0"], "there is none named '7.0'"),
        (["--steps", "0"], "an integer from 1 to"),
        (["--speed", "fast"], "steps per second, above 0, or max is needed"),
        (["--no-browser", "--host", "192.0.2.1"], "--host: got '192.0.2.1'"),
    ],
)
def test_command_errors_are_one_line(run, arguments, words):
    code, out, err = run("course", *arguments)
    assert (code, out) == (2, "")
    assert words in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("tinytensor: ")


def test_command_needs_bokeh(run, monkeypatch):
    monkeypatch.setattr("tinytensor.extras.find_spec", lambda name: None)
    code, _, err = run("course")
    assert code == 2
    assert err == (
        "tinytensor: course: bokeh is not installed; run: pip install 'tinytensor-engine[live]' "
        "(or pip install bokeh)\n"
    )
