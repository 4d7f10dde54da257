"""The six panels by matplotlib: mosaics, curves, bands, images and movies."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_recording import DATA, SMALL, record

import tinytensor as tt
from tinytensor.live import drawing, history, movie, picture, run_file
from tinytensor.live.drawing import Picture
from tinytensor.live.history import History
from tinytensor.live.picture import GREYS


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The run file of a short run."""
    file = tmp_path_factory.mktemp("run") / "run"
    record(file, data=DATA, steps=60, evaluate_every=20)
    return file


@pytest.fixture(scope="module")
def loaded(recorded):
    return run_file.load(recorded)


def digit_tiles(mosaic, columns):
    """The cells (N, H, W) of a mosaic."""
    height, width = mosaic.shape
    side = width // columns
    tiles = mosaic.reshape(height // side, side, columns, side).transpose(0, 2, 1, 3)
    return tiles.reshape(-1, side, side)


@pytest.mark.parametrize(("part", "columns"), [("train", 10), ("test", 35)])
def test_misclassified_digits_are_on_red(loaded, part, columns):
    snapshot = loaded.snapshots[0]
    labels = snapshot.test_labels
    computed = np.where(np.arange(1000) < 300, (labels + 1) % 10, labels).astype(np.uint8)
    snapshot = replace(snapshot, test_predictions=computed)
    draw = {"train": drawing.training_mosaic, "test": drawing.test_mosaic}[part]
    tiles = digit_tiles(draw(snapshot, drawing.DIGITS), columns)
    labels = getattr(snapshot, f"{part}_labels")
    misclassified = labels != getattr(snapshot, f"{part}_predictions")
    assert 0 < misclassified.sum() < len(misclassified) <= len(tiles)
    tiles = tiles[: len(labels)]  # the last row need not be full
    paper = picture.rgba(tiles[:, 0, 0])[:, :3]
    assert (paper[misclassified] == picture.RED).all()
    assert (paper[~misclassified] == 255).all()
    if part == "test":  # each new pixel is a mean
        ink = snapshot.test_images.mean(axis=(1, 2)) * GREYS / 256
        assert np.abs(tiles.mean(axis=(1, 2)) - ink - GREYS * misclassified).max() < 1


def test_misclassified_training_digit_has_its_labels(loaded):
    snapshot = loaded.snapshots[0]
    misclassified = int((snapshot.train_labels != snapshot.train_predictions).sum())
    tiles = digit_tiles(drawing.training_mosaic(snapshot), 10)
    names = drawing._class_labels(drawing.DIGITS)
    _, height, width = names.shape
    assert len({name.tobytes() for name in names}) == 10
    for tile, label, computed in zip(
        tiles[:misclassified],
        snapshot.train_labels,
        snapshot.train_predictions,
        strict=False,
    ):
        left, right = tile[-height - 2 : -2, 2 : width + 2], tile[-height - 2 : -2, -width - 4 : -4]
        np.testing.assert_array_equal(left, names[label])
        np.testing.assert_array_equal(GREYS - 1 - right, names[computed])


def test_class_names_are_on_misclassified_images(loaded):
    snapshot, letters = loaded.snapshots[0], tuple("ABCDEFGHIJ")
    names = drawing._class_labels(letters)
    _, height, width = names.shape
    (tile, *_) = digit_tiles(drawing.training_mosaic(snapshot, letters), 10)
    left = tile[-height - 2 : -2, 2 : width + 2]
    np.testing.assert_array_equal(left, names[snapshot.train_labels[0]])
    long = drawing._class_labels(("cat", "canary", "dog"))
    np.testing.assert_array_equal(long[0], long[1], "the first two characters")
    assert (long[0] != long[2]).any()


def test_curves_are_those_of_the_reports(loaded):
    first, *rest = loaded.snapshots
    run = History([replace(first, test_accuracy=None, test_loss=None), *rest])
    test, train = drawing.curve(run.test), drawing.curve(run.train)
    assert test["step"].tolist() == [40, 60]
    assert test["loss"].tolist() == [100 * snapshot.test_loss for snapshot in rest]
    accuracies = [snapshot.train_accuracy for snapshot in loaded.snapshots]
    assert train["accuracy"].tolist() == accuracies
    bands, limits = drawing.bands(run), drawing.limits(run)
    assert list(limits) == ["accuracy", "loss", *bands] == ["accuracy", "loss", "weights", "biases"]
    assert bands["weights"].shape == (3, 8)
    low, high = limits["biases"]
    assert low < bands["biases"].min() < bands["biases"].max() < high


def test_axes_fit_the_typical_values():
    assert history.accuracy_start([0.1, 0.961, 0.962]) == 0.9
    assert history.accuracy_start([0.9, 1.0, 1.0]) == 0.95
    assert history.accuracy_start([0.1]) == history.accuracy_start([]) == 0
    assert history.loss_end([230, 10, 8]) == 25
    assert history.loss_end([]) == 1
    one, other = [0.97, 0.98, 0.98], [0.5, 0.6, 0.6, 0.6, 0.6]
    assert history.accuracy_start(one, other, []) == history.accuracy_start(other) == 0
    assert history.loss_end(one, other, []) == history.loss_end(one)
    assert history.band_range(np.full((2, 8), np.nan)) == (0, 1)
    assert history.band_range(np.zeros((2, 8))) == (-0.5, 0.5)
    low, high = history.band_range(np.array([[np.nan] * 8, [*range(-1, 7)]]))
    assert (low, high) == pytest.approx((-1.35, 6.35))


def test_picture_shows_the_metrics(loaded):
    drawn = Picture(loaded.lesson, loaded.steps, loaded.test_count)
    run = History(loaded.snapshots)
    drawn.fit(run)
    drawn.show(run, loaded.snapshots[-1])
    panels = drawn.figure.axes
    titles = [panel.get_title(loc="left") for panel in panels]
    last = loaded.snapshots[-1]
    misclassified = round(10_000 * (1 - last.test_accuracy))
    assert titles == [
        "Accuracy",
        "Cross-entropy loss x 100",
        f"Training digits: {round(100 * (1 - last.train_accuracy))} of 100 misclassified",
        "Weights, in bands of equal count",
        "Biases, in bands of equal count",
        f"Test digits: {misclassified:,} of 10,000 misclassified",
    ]
    train, test = panels[0].lines
    assert list(train.get_ydata()) == [s.train_accuracy for s in loaded.snapshots]
    assert list(test.get_xdata()) == [20, 40, 60]
    assert len(panels[3].collections) == len(panels[4].collections) == 7
    marks = [label.get_text() for label in panels[5].get_yticklabels()]
    assert marks == ["100 %", "98 %", "96 %", "94 %", "92 %", "90 %"]
    assert f"test accuracy {100 * last.test_accuracy:.2f} %" in drawn.figure.texts[1].get_text()
    # Redrawn with fewer snapshots, no old curve is left.
    drawn.show(History(loaded.snapshots[:1]), loaded.snapshots[0])
    assert list(test.get_xdata()) == [20]
    assert len(panels[5].images) == 1
    for panel in panels[3:5]:
        bars = [box.get_segments()[0] for box in panel.collections if hasattr(box, "get_segments")]
        assert len(bars) == 7, "areas of one step are invisible"


def test_picture_of_a_small_data_set_and_batch(tmp_path):
    record(tmp_path / "run", data=SMALL, steps=2, evaluate_every=2, batch=7)
    loaded = run_file.load(tmp_path / "run")
    movie.write_png(tmp_path / "image", loaded)
    with Image.open(tmp_path / "image") as image:
        assert (image.size, image.format) == ((1280, 800), "PNG")
    panel = Picture(loaded.lesson, loaded.steps, loaded.test_count).figure.axes[0]
    assert [tick for tick in panel.get_xticks() if tick % 1] == [], "steps are integers"


def test_digits_are_square(loaded):
    drawn = Picture(loaded.lesson, loaded.steps, loaded.test_count)
    drawn.show(History(loaded.snapshots), loaded.snapshots[-1])
    drawn.figure.draw_without_rendering()
    for panel, columns in ((drawn.figure.axes[2], 10), (drawn.figure.axes[5], 35)):
        (image,) = panel.images
        height, width, _ = image.get_array().shape
        shown = image.get_window_extent()
        rows = height * columns / width
        assert shown.width / columns == pytest.approx(shown.height / rows, rel=1e-6)
        assert shown.height > 280, "as high as the panel"


def test_titles_and_legends_are_apart(loaded):
    drawn = Picture(loaded.lesson, loaded.steps, loaded.test_count)
    drawn.figure.draw_without_rendering()
    for panel in drawn.figure.axes[:2]:
        title, legend = panel._left_title.get_window_extent(), panel.get_legend()
        assert legend is None or legend.get_window_extent().x0 > title.x1


# tinytensor report --png, --movie


@pytest.mark.full
def test_png_of_one_step(run, recorded, tmp_path):
    images = []
    for options in ([], ["--step", 45], ["--dark"]):
        file = tmp_path / "image.png"
        code, out, err = run("report", recorded, "--png", file, *options)
        assert code == 0, err
        assert "image.png: 0." in out
        images.append(np.asarray(Image.open(file).convert("L")))
    assert images[0].mean() > 200 > 100 > images[2].mean()
    assert (images[0] != images[1]).any()
    code, _, err = run("report", recorded, "--png", file, "--step", 19)
    assert code == 2
    assert "step: got 19; 20, the step of the first snapshot, or more is needed" in err


@pytest.mark.full
def test_frames_of_a_movie_are_counted(loaded, tmp_path):
    shown = []
    movie.write_movie(tmp_path / "run.gif", loaded, show=shown.append)
    frames = [f"frame {i} of 3" for i in (1, 2, 3)]
    assert shown == [f"{tmp_path}/run.gif: {x}" for x in (*frames, "compressing the frames")]


@pytest.mark.full
def test_movie_as_gif(run, recorded, tmp_path):
    file = tmp_path / "run.gif"
    code, _, err = run("report", recorded, "--movie", file)
    assert code == 0, err
    with Image.open(file) as film:
        assert film.size == (1280, 800)
        frames = []
        for frame in range(film.n_frames):
            film.seek(frame)
            frames.append(np.asarray(film.convert("L"), np.int32))
    assert len(frames) >= 3
    assert (np.abs(np.diff(frames[:3], axis=0)).max(axis=(1, 2)) > 50).all()


@pytest.mark.full
def test_movie_with_ffmpeg(run, recorded, tmp_path, monkeypatch):
    """A script replaces ffmpeg, and writes its standard input to the movie file."""
    program, film = tmp_path / "ffmpeg", tmp_path / "run.mp4"
    program.write_text('#!/bin/sh\nfor film; do true; done\ncat > "$film"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    code, _, err = run("report", recorded, "--movie", film)
    assert code == 0, err
    frames = 3 + movie.LAST_FRAME_SECONDS * movie.FRAMES_PER_SECOND - 1
    assert film.stat().st_size == frames * 1280 * 800 * 4
    program.write_text("#!/bin/sh\ncat > /dev/null\necho nothing is known of h264 >&2\nexit 3\n")
    code, _, err = run("report", recorded, "--movie", film)
    assert code == 2
    assert "run.mp4: ffmpeg failed with exit status 3" in err.splitlines()[-1]


def test_unwritable_outputs_are_one_line_errors(run, recorded, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for options, words in (
        ([], "got no output"),
        (["--movie", tmp_path / "run.mp4"], "needs the program ffmpeg, which is not in PATH"),
        (["--movie", tmp_path / "run.avi"], "a file name that ends with .mp4 or .gif is needed"),
        (["--png", "-"], "--png: got -; a separate file is needed"),
        (["--png", recorded], "a file name that ends with .png is needed"),
        (["--png", "/dev/full"], "--png: /dev/full: No space left on device"),
        (["-o", tmp_path], "--html: .* is a folder"),
        (
            ["-o", tmp_path / "x.html", "--step", 20],
            "--step: is an option of the image; add --png FILE",
        ),
        (
            ["--movie", tmp_path / "x.gif", "--step", 20],
            "--step: is an option of the image; add --png FILE",
        ),
        (["-o", tmp_path / "x.html", "--dark"], "--dark: is an option of images and movies"),
    ):
        code, out, err = run("report", recorded, *options)
        assert (code, out) == (2, "")
        assert words.replace(".*", str(tmp_path)) in err, err
    code, _, err = run("report", tmp_path / "none", "--png", tmp_path / "image")
    assert (code, err.count("\n")) == (2, 1)


def test_missing_library_error_names_the_install_command(run, recorded, monkeypatch):
    monkeypatch.setattr("tinytensor.extras.find_spec", lambda name: None)
    for option, name, library in (
        ("--png", "x.png", "matplotlib"),
        ("--movie", "x.gif", "matplotlib"),
        ("-o", "x.html", "bokeh"),
    ):
        code, _, err = run("report", recorded, option, recorded.parent / name)
        assert code == 2
        assert f"{library} is not installed; run: pip install 'tinytensor-engine[live]'" in err


def test_import_loads_no_drawing_library():
    code = (
        "import sys, tinytensor.cli.train_command; "
        "print({'bokeh', 'matplotlib', 'IPython'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout == "set()\n", printed.stderr
    assert tt.live.show
