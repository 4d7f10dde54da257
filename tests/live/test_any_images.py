"""Images of any shape, in colour, and names of any classes: pictures, run files and pages."""

import io

import numpy as np
import pytest
from chromium import needs_browser
from rich.console import Console
from test_recording import assert_same, record

from tinytensor.datasets import Dataset
from tinytensor.lessons import find
from tinytensor.live import drawing, history, inside, picture, replay_page, run_file, terminal
from tinytensor.live.digit_tab import fitted
from tinytensor.live.names import PANELS, digits_title, short_names, worded
from tinytensor.live.snapshot import Snapshot, most_test_images
from tinytensor.train import Training

RNG = np.random.default_rng(0)
NAMES = tuple(["airplane", "car", "cat", "deer", "frog", "ship"])


def any_images(shape, count=60, names=NAMES):
    images = RNG.integers(0, 256, (count, *shape)).astype(np.uint8)
    return Dataset(images, np.arange(count) % len(names), images[:50], np.arange(50) % 5, names)


COLOURS = any_images((12, 10, 3))


# Pictures


def test_the_palette_has_a_byte_per_colour():
    assert len(picture.PALETTE) == picture.COLOURS + picture.LEVELS**3 <= 256
    np.testing.assert_array_equal(picture.PALETTE[picture.COLOURS][:3], 0)
    np.testing.assert_array_equal(picture.PALETTE[-1], 255)


def test_images_in_colour_have_their_colours_and_a_red_frame():
    images = COLOURS.train_images[:4]
    colours = picture.coloured(images, np.array([True, False, False, False]), (12, 10))
    found = picture.rgba(colours)[..., :3].astype(int)
    assert np.abs(found[1:] - images[1:]).max() <= 26, "half of the distance of two levels"
    frame = np.ones((12, 10), bool)
    frame[1:-1, 1:-1] = False
    assert (found[0][frame] == picture.RED).all()
    assert np.abs(found[0] - images[0])[~frame].max() <= 26


def test_two_channels_are_shown_as_their_mean():
    images = np.full((1, 4, 4, 2), (40, 80), np.uint8)
    np.testing.assert_array_equal(
        picture.coloured(images, np.zeros(1, bool), (4, 4)),
        picture.coloured(np.full((1, 4, 4), 60, np.uint8), np.zeros(1, bool), (4, 4)),
    )


def test_a_drawing_fits_the_network():
    drawn = RNG.integers(0, 256, (28, 28)).astype(np.uint8)
    assert fitted(drawn, (28, 28, 1)) is not None
    np.testing.assert_array_equal(fitted(drawn, (28, 28, 1)), drawn)
    assert fitted(drawn, (20, 30, 1)).shape == (20, 30)
    in_colour = fitted(drawn, (32, 32, 3))
    assert in_colour.shape == (32, 32, 3)
    assert (in_colour == in_colour[..., :1]).all()


def test_large_images_are_shown_in_smaller_numbers():
    assert most_test_images(any_images((28, 28))) == 1000
    huge = any_images((300, 200, 3), count=50, names=tuple("abcdef"))
    assert most_test_images(huge) == 2**24 // (300 * 200 * 3)


@pytest.mark.parametrize("lesson", ["softmax", "relu", "conv"])
@pytest.mark.parametrize("shape", [(12, 10, 3), (9, 9)])
def test_layer_outputs_and_weights(lesson, shape):
    data = any_images(shape)
    model = find(lesson).new_model(6, data.image_shape).eval()
    outputs = inside.layer_outputs(model, data.test_images[3])
    assert outputs.layers[0][0] == f"image {' x '.join(map(str, shape))}"
    assert all(image.ndim == 2 for _, image in outputs.layers)
    assert outputs.probabilities.shape == (6,)
    for name in inside.weight_names(model):
        assert inside.weights(model, name, data.image_shape).ndim == 2


def test_the_templates_of_images_in_colour_are_means_over_the_channels():
    training = Training(find("softmax"), COLOURS, steps=3, batch=20)
    list(training)
    image = inside.weights(training.model, "weight (360, 6)", COLOURS.image_shape)
    wanted = training.model.weight.numpy()[:, 1].reshape(12, 10, 3).mean(axis=2)
    np.testing.assert_allclose(image[:12, 11:21], wanted, rtol=1e-5)


# Names


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (("cat", "dog", "x"), ["ca", "do", "x"]),
        (("letter A", "letter B"), ["A", "B"]),
        (("a", "a b"), ["a", "a "]),
        (("10", "11"), ["10", "11"]),
        (("a_b_one", "a_b_two"), ["on", "tw"]),
    ],
)
def test_short_names(names, short):
    assert short_names(names, 2) == short


def test_titles_of_other_classes_than_digits():
    assert digits_title("training digits", 3, 50, NAMES) == "Training images: 3 of 50 misclassified"
    assert digits_title("test digits", None, 50, ("1", "7")) == "Test digits"


@pytest.mark.parametrize("name", PANELS)
def test_no_text_about_other_classes_says_digit(name):
    for text in PANELS[name]:
        assert "digit" not in worded(text, NAMES).lower()
        assert worded(text, ("0", "7", "?")) == text
    assert worded("Draw a digit first.", NAMES) == "Draw an image first."


# Run files, the terminal, the page


@pytest.mark.parametrize("shape", [(12, 10, 3), (20, 20), (5, 6, 2)])
def test_run_files(tmp_path, shape):
    data = any_images(shape)
    training, reports = record(tmp_path / "run", data=data, steps=4, evaluate_every=2, batch=20)
    loaded = run_file.load(tmp_path / "run")
    assert loaded.names == NAMES
    for snapshot, (report, details) in zip(loaded.snapshots, reports, strict=True):
        speed = snapshot.images_per_second
        wanted = Snapshot.of(
            report, details, training.data, backend="numpy", images_per_second=speed
        )
        assert_same(snapshot, wanted)
        assert snapshot.train_images.shape == (20, *shape)


def test_the_terminal_shows_colours():
    training = Training(find("softmax"), COLOURS, steps=2, evaluate_every=1, batch=20)
    console = Console(force_terminal=True, width=90, height=30, file=io.StringIO())
    screen = terminal._Screen(training, "numpy", console)
    for report in training:
        screen.take(report)
    text = screen.draw()
    assert "Training images: " in text.plain
    shown = training.predictions
    wrong = int(np.flatnonzero(shown.labels != shown.predictions)[0])
    first = picture.within(
        np.rint(255 * shown.images[wrong]).astype(np.uint8).transpose(2, 0, 1), (12, 12)
    )
    upper, lower = ("#{:02x}{:02x}{:02x}".format(*first[:, row, 1]) for row in (0, 1))
    blocks = [span.style for span in text.spans if text.plain[span.start] == "▀"]
    assert blocks
    assert (blocks[1].color.name, blocks[1].bgcolor.name) == (upper, lower)


def test_a_light_image_is_shown_dark_in_the_terminal():
    """The dots are the ink, on light paper as on dark."""
    light = np.ones((20, 20, 1), np.float32)
    light[5:15, 8:12] = 0
    assert terminal._half_size(light) == terminal._half_size(1 - light)


@needs_browser
def test_the_page_shows_images_in_colour():
    import viewer as viewers
    from chromium import chromium

    browser = chromium("--hide-scrollbars", "--disable-gpu")
    viewers.resize(browser, 1280, 800)
    try:
        with viewers.served("conv", data=COLOURS, steps=6, batch=20, evaluate_every=3) as (
            run,
            server,
        ):
            viewer = viewers.Viewer(browser, server.address)
            viewers.finish(run)
            viewers.until(lambda: viewer.step() == 6 and viewer.column("test digits data", "image"))
            assert viewer.title("training digits").startswith("Training images: ")
            assert viewer.model("pad", "model.title.text") == "draw an image here"
            assert viewer.model("tabs", "model.tabs[1].title") == "image"
            assert (viewer.picture("training digits data") >= picture.COLOURS).any()
            viewer.model("tabs", "model.active = 1")
            viewers.until(lambda: viewer.place("neurons")[2])
            x, y, *_ = viewer.place("training digits")
            viewer.press((x + 20, y + 20))
            viewers.until(lambda: max(viewer.column("neurons data", "probability")) > 0)
            assert viewer.column("neurons data", "digit") == list(NAMES)
            viewers.until(lambda: viewer.column("layers data", "image"))
            assert viewer.picture("digit data").shape == (12, 10)
            for tab in (2, 6):
                viewer.model("tabs", f"model.active = {tab}")
                viewers.settled(viewer)
            assert viewer.complaints() == []
    finally:
        browser.quit()


@pytest.mark.parametrize(
    ("names", "every", "is_vertical"),
    [
        (tuple(map(str, range(10))), 1, False),
        (tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), 1, False),
        (("airplane", "cat", "bird"), 1, False),
        (("airplane", "automobile", *"abcdefgh"), 1, True),
        (tuple(f"class {i}" for i in range(100)), 4, True),
    ],
)
def test_names_of_classes_do_not_overlap(names, every, is_vertical):
    from bokeh.plotting import figure

    from tinytensor.live.class_axis import LETTER, class_range, label

    matrix = figure(x_range=class_range(names))
    assert label(matrix.xaxis, names, 258, matrix.yaxis) is is_vertical
    for axis in matrix.axis:
        texts = axis.major_label_overrides
        assert list(texts) == axis.ticker.ticks == [i + 0.5 for i in range(0, len(names), every)]
        size = int(axis.major_label_text_font_size.removesuffix("px"))
        longest = max(map(len, texts.values())) * LETTER * size
        cell = (258 - longest) / len(names) * every
        assert size <= round(cell)
        assert is_vertical or longest <= cell


# The shape of images, and the scale


@pytest.mark.parametrize("shape", [(10, 40), (10, 40, 3), (40, 10), (40, 10, 3)])
def test_images_keep_their_shape_in_square_cells(shape):
    images = np.full((2, *shape), 255, np.uint8)
    cells = picture.coloured(images, np.zeros(2, bool), (16, 16))
    paper = picture.EMPTY if len(shape) == 3 else 0
    rows, columns = np.nonzero(cells[0] != paper)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert height / width == shape[0] / shape[1]
    assert max(height, width) == 16
    assert min(rows) + max(rows) == min(columns) + max(columns) == 15, "in the middle"


def test_a_drawn_digit_is_not_stretched():
    seen = fitted(np.full((28, 28), 255, np.uint8), (20, 60, 1))
    rows, columns = np.nonzero(seen)
    assert np.ptp(rows) == np.ptp(columns) == 19


def test_the_terminal_keeps_the_shape_of_images():
    (line, *_) = wide = terminal._half_size(np.ones((4, 40, 1), np.float32) * 0.5)
    assert {*"".join(wide[::2])} == {chr(terminal.BLANK)}
    assert line != wide[1]


@pytest.mark.parametrize("count", [1, 3, 50, 61, 1000])
def test_the_scale_of_test_images_is_true(tmp_path, count):
    """The k-th image is at the accuracy of k misclassified images, and the scale ends at 0 %."""
    data = any_images((8, 8), count=60)
    test = RNG.integers(0, 256, (count, 8, 8)).astype(np.uint8)
    data = data._replace(test_images=test, test_labels=np.arange(count) % 6)
    record(tmp_path / "run", data=data, steps=1, evaluate_every=1, batch=20)
    loaded = run_file.load(tmp_path / "run")
    drawn = drawing.Picture(loaded.lesson, loaded.steps, loaded.test_count, names=loaded.names)
    drawn.show(history.History(loaded.snapshots), loaded.snapshots[-1])
    tests = drawn.figure.axes[5]
    marks = [label.get_text() for label in tests.get_yticklabels()]
    assert marks == ["100 %", "80 %", "60 %", "40 %", "20 %", "0 %"]
    mosaic_height, mosaic_width, _ = tests.images[0].get_array().shape
    columns = drawing.test_columns(count)
    side = mosaic_width // columns
    np.testing.assert_allclose(tests.get_yticks(), np.linspace(0, count / columns * side, 6))
    assert tests.get_yticks()[-1] <= mosaic_height
    layout = replay_page._layout(loaded, list(loaded.snapshots), "")
    assert layout.select_one({"name": "test"}).yaxis.bounds == (0, 1)


def test_few_test_images_have_their_classes_in_pictures(tmp_path):
    record(tmp_path / "run", data=COLOURS, steps=1, evaluate_every=1, batch=20)
    shot = run_file.load(tmp_path / "run").snapshots[0]
    wrong = int((shot.test_labels != shot.test_predictions).sum())
    assert wrong
    mosaic = drawing.test_mosaic(shot, NAMES)
    names, columns = drawing._class_labels(NAMES), drawing.test_columns(50)
    _, height, width = names.shape
    tile = mosaic[: drawing.LARGE, : drawing.LARGE]
    assert mosaic.shape[1] == columns * drawing.LARGE
    np.testing.assert_array_equal(tile[-height - 2 : -2, 2 : width + 2], names[shot.test_labels[0]])
