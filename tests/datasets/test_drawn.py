"""Drawn digits with the size and position of MNIST's digits."""

import numpy as np
import pytest

import tinytensor as tt
from tinytensor.datasets.drawn import centred, render_strokes

STROKE = [(0.1, 0.2), (0.5, 0.25), (0.3, 0.8)]


def extent(image):
    return [(image > 0).any(axis=axis).sum() for axis in (1, 0)]


def centre(image):
    """The centre of mass, in pixels from the upper left corner."""
    weights = image.astype(float)
    coordinates = np.arange(28) + 0.5
    return [(weights.sum(axis=axis) * coordinates).sum() / weights.sum() for axis in (1, 0)]


@pytest.mark.parametrize(
    "strokes",
    [[STROKE], [[(0.5, 0.1), (0.5, 0.9)]], [[(0.2, 0.5), (0.9, 0.5)]], [[(0.9, 0.9)]]],
    ids=["slanted", "upright", "flat", "dot"],
)
def test_size_and_position_of_drawn_digits(strokes):
    image = render_strokes(strokes)
    assert (image.shape, image.dtype) == ((28, 28), np.uint8)
    assert max(extent(image)) == 20
    assert image.max() == 255
    np.testing.assert_allclose(centre(image), 14.5, atol=0.51)


def test_size_and_position_of_mnist_digits():
    images = tt.datasets.mnist().test_images[:500]
    centres = np.array([centre(image) for image in images])
    np.testing.assert_allclose(centres.mean(axis=0), 14.5, atol=0.1)
    assert max(max(extent(image)) for image in images) == 20
    thick = np.mean([image.sum() / 255 for image in images])
    assert 0.4 * thick < render_strokes([STROKE]).sum() / 255 < 2 * thick


def test_drawn_position_and_size_are_normalised():
    moved = [(0.35 + 0.55 * x, 0.1 + 0.55 * y) for x, y in STROKE]
    here, there = render_strokes([STROKE]).astype(int), render_strokes([moved]).astype(int)
    overlap = np.minimum(here, there).sum() / np.maximum(here, there).sum()
    assert overlap > 0.5, "only the width of the strokes differs"


def test_empty_drawing_raises():
    for strokes in ([], [[]]):
        with pytest.raises(tt.DataError, match="got an empty image; a digit is needed"):
            render_strokes(strokes)


def test_centred_keeps_an_mnist_digit():
    image = tt.datasets.mnist().test_images[7]
    again = centred(image)
    assert np.abs(again.astype(int) - image).mean() < 12
