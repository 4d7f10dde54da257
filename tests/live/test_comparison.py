"""Two recorded runs compared: as data, as an image, as a page, and by the command."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from chromium import needs_browser
from click.testing import CliRunner
from PIL import Image
from test_recording import SMALL, record
from test_report import browser, model, opened

from tinytensor.live import run_file
from tinytensor.live.comparison import Comparison
from tinytensor.live.history import History
from tinytensor_command.commands import program

browser = browser  # the fixture of a browser without a network connection


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The run files of two runs of different lessons and lengths."""
    folder = tmp_path_factory.mktemp("runs")
    record(folder / "a.tt", data=SMALL, steps=60, evaluate_every=10)
    record(folder / "b.tt", lesson="relu", data=SMALL, steps=30, evaluate_every=10, batch=50)
    return str(folder / "a.tt"), str(folder / "b.tt")


@pytest.fixture(scope="module")
def loaded(files):
    return {name: run_file.load(file) for name, file in zip("ab", files, strict=True)}


def report(*arguments):
    result = CliRunner().invoke(program, ["report", *map(str, arguments)])
    return result, result.output


def test_names_curves_and_axes_are_those_of_the_runs(loaded):
    shown = Comparison(loaded)
    assert [run.name for run in shown.runs] == [
        "a: 1.0 softmax, seed 0",
        "b: 2.1 relu, batch 50, seed 0",
    ]
    for run, recording in zip(shown.runs, loaded.values(), strict=True):
        points = History(recording.snapshots).test
        np.testing.assert_array_equal(run.curves["test"]["step"], [x.step for x in points])
        np.testing.assert_array_equal(run.curves["test"]["accuracy"], [x.accuracy for x in points])
        np.testing.assert_array_equal(run.curves["test"]["loss"], [100 * x.loss for x in points])
        last = f"test accuracy {100 * points[-1].accuracy:.2f} % after {points[-1].step} of "
        assert run.result == f"{last}{recording.steps} steps"
    assert 60 < shown.x[1] < 62, "the longer run, and room for its last point"


def test_other_classes_can_not_be_compared(loaded):
    other = replace(loaded["b"], names=("cat", "dog"))
    with pytest.raises(run_file.DataError, match="b has cat, dog; two runs with the same data"):
        Comparison({"a": loaded["a"], "b": other})


def test_an_image_has_the_curves_of_both(loaded, tmp_path):
    for dark, paper in ((False, 255), (True, 22)):
        Comparison(loaded).write_png(tmp_path / "two.png", dark)
        image = np.asarray(Image.open(tmp_path / "two.png").convert("RGB")).astype(int)
        assert image.shape == (560, 1280, 3)
        assert image[0, 0, 0] == paper
        for colour in ((43, 140, 196), (213, 94, 0)):
            for panel in (image[170:500, 60:600], image[170:500, 700:1240]):
                assert (np.abs(panel - colour).max(axis=-1) < 8).sum() > 100


def test_command_writes_both(files, tmp_path):
    page, image = tmp_path / "two.html", tmp_path / "two.png"
    result, output = report(*files, "-o", page, "--png", image)
    assert result.exit_code == 0, output
    assert "2.1 relu, batch 50, seed 0" in page.read_text()
    assert Image.open(image).size == (1280, 560)


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ("aa", ["--png", "x.png"], "twice; two runs are needed to compare them"),
        ("abb", ["--png", "x.png"], "got 3 run files; one or two are needed"),
        ("ab", ["--movie", "x.gif"], "--movie: is an option of one run; name one run file"),
        ("ab", ["--png", "x.png", "--step", 3], "--step: is an option of one run"),
        ("ab", [], "got no output"),
    ],
)
def test_mistakes_are_one_sentence(files, tmp_path, monkeypatch, names, options, message):
    monkeypatch.chdir(tmp_path)
    result, _ = report(*(files["ab".index(name)] for name in names), *options)
    assert result.exit_code == 2 or isinstance(result.exception, run_file.SettingError)
    assert message in result.output + str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_an_output_never_replaces_a_run(files, tmp_path):
    second = shutil.copy(files[1], tmp_path / "run.png")
    result, _ = report(files[0], second, "--png", second)
    assert "a separate file is needed" in result.output + str(result.exception)
    run_file.load(second)


@needs_browser
def test_page_without_a_network(browser, loaded, tmp_path):
    page = tmp_path / "two.html"
    Comparison(loaded).write_html(page)
    opened(browser, page)
    for number, run in enumerate(Comparison(loaded).runs, 1):
        for quantity in ("accuracy", "loss"):
            for part in ("training", "test"):
                source = f"{quantity} {part} {number}"
                values = model(browser, source, f"get('{quantity}')")
                np.testing.assert_array_equal(values, run.curves[part][quantity])
        assert run.name in model(browser, "legend", "text")
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []
