"""The digits on the live page: their size, their names, and what a click on one shows."""

import numpy as np
import pytest
import viewer as viewers
from chromium import needs_browser
from viewer import DATA, Viewer, finish, resize, served, settled, until

from tinytensor.live.picture import MARK_WIDTH, MISCLASSIFIED, PALETTE, square_grid

browser = viewers.browser


def cells(viewer, panel):
    """Images (N, side, side) of a panel of digits as palette indices, and the number of columns."""
    picture = viewer.picture(f"{panel} data")
    (columns,) = viewer.column(f"{panel} data", "width")
    side = picture.shape[1] // columns
    assert picture.shape[0] % side == picture.shape[1] % side == 0, "squares"
    tiles = picture.reshape(-1, side, columns, side).transpose(0, 2, 1, 3)
    return tiles.reshape(-1, side, side), columns


@pytest.mark.parametrize(
    ("count", "width", "height", "grid"),
    [(100, 250, 250, (10, 25)), (100, 500, 50, (34, 14)), (1, 30, 20, (1, 20)), (5, 1, 1, (1, 1))],
)
def test_square_grid_is_the_largest(count, width, height, grid):
    columns, side = square_grid(count, width, height)
    assert side == grid[1]
    fits = [
        each
        for each in range(side, side + 50)
        if any((width // each >= n) and (height // each >= -(-count // n)) for n in range(1, 101))
    ]
    assert fits in ([side], []), "no larger square fits"
    assert columns * side <= max(width, 1)


@needs_browser
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 768), (390, 844)])
def test_digits_are_square_and_no_pixel_is_dropped(browser, width, height):
    with served(steps=60) as (run, server):
        resize(browser, width, height)
        try:
            viewer = Viewer(browser, server.address)
            finish(run)
            until(lambda: viewer.column("test digits data", "image") and viewer.step() == 60)
            for panel in ("training digits", "test digits"):
                viewer.scroll_to(panel)
                shot = settled(viewer)
                tiles, columns = cells(viewer, panel)
                side = tiles.shape[1]
                x, y, *_ = (1 + round(place) for place in viewer.place(panel))  # inside the frame
                seen = shot[y : y + len(tiles) // columns * side, x : x + columns * side]
                wanted = PALETTE[viewer.picture(f"{panel} data")][..., :3]
                rows = [row for row in range(len(tiles) // columns - 1)]
                clean = [
                    row for row in rows if tiles[row * columns : (row + 1) * columns].max() < 16
                ]
                assert clean or panel == "test digits"
                for row in clean[:5]:
                    part = slice(row * side + 1, (row + 1) * side - 1), slice(1, -1)
                    np.testing.assert_allclose(seen[part], wanted[part], atol=2)
        finally:
            resize(browser, 1280, 800)


@needs_browser
def test_misclassified_digits_are_red_and_named(browser):
    with served(steps=60) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.column("test digits data", "image") and viewer.step() == 60)
        settled(viewer)
        latest = run.latest
        for panel, part in (("training digits", "train"), ("test digits", "test")):
            labels, predictions = (
                getattr(latest, f"{part}_{what}") for what in ("labels", "predictions")
            )
            tiles, _ = cells(viewer, panel)
            is_red = tiles[:, 1, 1] >= MISCLASSIFIED
            np.testing.assert_array_equal(is_red[: len(labels)], labels != predictions)
        misclassified = np.flatnonzero(latest.train_labels != latest.train_predictions)
        assert 0 < len(misclassified) < 50
        marks = {
            name: viewer.column("training digits marks", name)
            for name in ("correct", "computed", "left", "right", "y")
        }
        assert marks["correct"] == [str(digit) for digit in latest.train_labels[misclassified]]
        assert marks["computed"] == [
            str(digit) for digit in latest.train_predictions[misclassified]
        ]
        tiles, columns = cells(viewer, "training digits")
        row, column = np.divmod(misclassified, columns)
        rows = len(tiles) // columns
        assert (column < marks["left"]).all(), "inside of the digit"
        assert (marks["right"] < column + 1).all()
        assert (marks["y"] > rows - row - 1).all()
        side = tiles.shape[1]
        assert side >= MARK_WIDTH
        font = int(
            viewer.model("training digits", "model.renderers[1].glyph.text_font_size.value")[:-2]
        )
        assert font >= 10
        assert 2 * (0.6 * font + 2) < side, "two names fit into a digit, apart"


@needs_browser
def test_clicked_misclassified_digit_says_what_it_is(browser):
    with served(steps=100) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.column("test digits data", "image") and viewer.step() == 100)
        settled(viewer)
        tested = run.latest_tested
        assert tested.test_labels[0] != tested.test_predictions[0]
        tiles, _ = cells(viewer, "test digits")
        side = tiles.shape[1]
        x, y, *_ = viewer.place("test digits")
        viewer.press((x + side / 2, y + side / 2))
        shown = "Bokeh.index.find_one(model).shadow_el.querySelector('.wrong')"
        until(lambda: viewer.model("verdict", f"{shown} !== null"))
        text = viewer.model("verdict", f"{shown}.innerText")
        taken, correct = tested.test_predictions[0], tested.test_labels[0]
        assert text.startswith(f"taken for {taken} (")
        assert text.endswith(f" %), it is a {correct}")
        red, green, blue = viewer.model(
            "verdict", f"getComputedStyle({shown}).color.match(/[0-9]+/g).map(Number)"
        )
        assert red > green + 60
        assert red > blue + 60


@needs_browser
def test_cell_of_the_confusion_matrix_shows_its_digits(browser):
    with served(steps=100) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.column("test digits data", "image") and viewer.step() == 100)
        viewer.model("tabs", "model.active = 3")
        until(lambda: viewer.column("confusion data", "text"))
        settled(viewer)
        wrong = (DATA.test_labels == 4) & (run.test_predictions == 9)
        assert wrong.sum() > 5
        x, y, width, height = viewer.place("confusion")
        viewer.press((x + 9.5 * width / 10, y + 4.5 * height / 10))  # row 4 from above, column 9
        until(lambda: viewer.column("confused digits data", "image"))
        assert viewer.title("confused digits") == f"4 taken for 9: {wrong.sum()} test images"
        tiles, _ = cells(viewer, "confused digits")
        assert (tiles[: wrong.sum(), 1, 1] >= MISCLASSIFIED).all()
        assert viewer.complaints() == []
