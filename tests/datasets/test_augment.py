"""Data augmentation with random numbers, and with a fake generator of known numbers."""

import re

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import kernels
from tinytensor.datasets import to_float
from tinytensor.datasets.augment import distort

DIGITS = to_float(tt.datasets.mnist().test_images[:50])
ALL = {"shift": 3, "rotate": 20, "scale": 0.2, "elastic": 1.5}


class MaxGenerator:
    """A fake generator that always draws the largest number."""

    def uniform(self, low, high, size):
        return np.full(size, high, np.float64)


def generator(seed=0):
    return np.random.default_rng(seed)


def test_defaults_change_nothing():
    np.testing.assert_array_equal(distort()(DIGITS, generator()), DIGITS)


def test_shift_by_one_pixel():
    moved = distort(shift=1)(DIGITS, MaxGenerator())
    np.testing.assert_array_equal(moved[:, :-1, :-1], DIGITS[:, 1:, 1:])
    assert not moved[:, -1].any()
    assert not moved[:, :, -1].any()


def test_shift_by_half_a_pixel_interpolates():
    image = np.zeros((1, 4, 4, 1), np.float32)
    image[0, 1, 2] = 1
    wanted = np.zeros((4, 4))
    wanted[:2, 1:3] = 0.25
    np.testing.assert_allclose(distort(shift=0.5)(image, MaxGenerator())[0, ..., 0], wanted)


def test_pixels_shifted_beyond_the_edge_are_lost():
    assert not distort(shift=28)(DIGITS, MaxGenerator()).any()
    assert not distort(shift=1e6)(DIGITS, MaxGenerator()).any()


@pytest.mark.parametrize("side", [27, 28])
def test_rotation_by_90_degrees(side):
    images = generator().random((3, side, side, 2), np.float32)
    turned = distort(rotate=90)(images, MaxGenerator())
    wanted = [np.rot90(images, turns, (1, 2)) for turns in (1, 3)]
    errors = [np.abs(turned - image).max() for image in wanted]
    assert min(errors) < 1e-4


def test_rotation_keeps_the_centre():
    images = np.zeros((20, 27, 27, 1), np.float32)
    images[:, 13, 13] = 1
    np.testing.assert_allclose(distort(rotate=180)(images, generator())[:, 13, 13], 1, atol=1e-5)
    disc = np.hypot(*np.mgrid[-13.5:14, -13.5:14]) < 8
    discs = np.broadcast_to(disc[..., None], (20, 28, 28, 1)).astype(np.float32)
    turned = distort(rotate=180)(discs, generator())
    assert np.abs(turned - discs).mean() < 0.02


def test_scale_enlarges():
    square = np.zeros((1, 28, 28, 1), np.float32)
    square[:, 10:18, 10:18] = 1
    larger = distort(scale=0.5)(square, MaxGenerator())
    assert larger.sum() == pytest.approx(144, rel=0.1), "12 by 12 from 8 by 8"
    np.testing.assert_allclose(larger, larger[:, ::-1, ::-1], atol=1e-5)


def test_elastic_shifts_are_smooth_with_the_given_strength():
    """Images of a linear gradient, whose pixel values are the coordinates where they were read."""
    slope = np.broadcast_to(np.arange(28, dtype=np.float32)[:, None, None], (200, 28, 28, 1))
    moved = (distort(elastic=0.8)(slope, generator()) - slope)[:, 6:22, 6:22, 0]
    assert 0.4 < moved.std() < 0.9
    assert np.abs(moved.mean()) < 0.1
    assert np.abs(np.diff(moved, axis=2)).max() < 0.8, "neighbouring pixels have similar shifts"


def test_same_seed_same_images():
    augment = distort(**ALL)
    np.testing.assert_array_equal(augment(DIGITS, generator(3)), augment(DIGITS, generator(3)))
    assert not np.array_equal(augment(DIGITS, generator(3)), augment(DIGITS, generator(4)))


def test_standard_deviation_of_elastic_shifts():
    """With 29 pixels every seventh is a grid point; the mean of four points varies half as much."""
    slope = np.broadcast_to(np.arange(29, dtype=np.float32)[:, None, None], (2000, 29, 29, 1))
    shifts = (distort(elastic=0.1)(slope, generator()) - slope)[..., 0] / 0.1
    assert shifts[:, 7:22:7, 7:22:7].std() == pytest.approx(1, rel=0.02)
    assert shifts[:, 10:19:7, 10:19:7].std() == pytest.approx(0.5, rel=0.05)
    assert shifts[:, 7:21, 7:21].std() == pytest.approx(0.68, abs=0.02), "as the docstring says"


@pytest.mark.parametrize("name", ALL)
def test_each_image_is_changed_differently(name):
    images = np.broadcast_to(DIGITS[:1], DIGITS.shape)
    changed = distort(**{name: ALL[name]})(images, generator())
    assert len(np.unique(changed.reshape(len(images), -1), axis=0)) == len(images)


@pytest.mark.parametrize("seed", range(5))
def test_values_stay_from_0_to_1(seed):
    before = DIGITS.copy()
    for images in (DIGITS, np.ones_like(DIGITS)):
        changed = distort(**ALL)(images, generator(seed))
        assert changed.min() >= 0
        assert changed.max() <= 1
        assert changed.dtype == np.float32
        assert changed.shape == images.shape
        assert changed.flags.c_contiguous
    np.testing.assert_array_equal(DIGITS, before)


def test_zero_images():
    assert distort(**ALL)(DIGITS[:0], generator()).shape == (0, 28, 28, 1)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("number", [-1, float("nan"), float("inf"), 1e308, "2", None])
def test_arguments_that_are_no_finite_numbers_from_0_up_raise(name, number):
    with pytest.raises(tt.SettingError, match=re.escape(f"{name}={number!r}; a number ")):
        distort(**{name: number})


def test_scale_of_one_raises():
    with pytest.raises(tt.SettingError, match=r"distort: got scale=1\.0; less than 1"):
        distort(scale=1.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_on_all_backends(dtype):
    images = np.concatenate([DIGITS, DIGITS[::-1]], axis=-1).astype(dtype)
    changed = {}
    for name in BACKENDS:
        with tt.backend(name):
            changed[name] = distort(**ALL)(images, generator(5))
            assert changed[name].dtype == dtype
    for name in BACKENDS:
        np.testing.assert_array_equal(changed[name], changed["numpy"])


def test_warp_computes_its_formula(backend):
    rng = generator()
    N, H, W, C, G = 3, 6, 9, 2, 4
    images, shifts = rng.random((N, H, W, C)), rng.standard_normal((N, 2, G, G))
    affine = np.array([[1, 0, 2.5], [0, 1, 4]]) + 0.3 * rng.standard_normal((N, 2, 3))

    def between(x, *place):
        """The value of x at a point, by linear interpolation; 0 outside."""
        value = 0.0
        for index in np.ndindex(x.shape[: len(place)]):
            near = [max(0, 1 - abs(p - i)) for p, i in zip(place, index, strict=True)]
            value += x[index] * np.prod(near)
        return value

    wanted = np.empty_like(images)
    for n, h, w in np.ndindex(N, H, W):
        at = np.array([h - (H - 1) / 2, w - (W - 1) / 2, 1])
        y, x = affine[n] @ at
        place = h * (G - 1) / (H - 1), w * (G - 1) / (W - 1)
        y, x = y + between(shifts[n, 0], *place), x + between(shifts[n, 1], *place)
        wanted[n, h, w] = between(images[n], y, x)
    out = np.empty_like(images)
    kernels.warp(images, affine, shifts, out)
    np.testing.assert_allclose(out, wanted, atol=1e-12)


def test_points_that_are_no_numbers_are_outside(backend):
    affine = np.full((3, 2, 3), [[[np.nan]], [[np.inf]], [[-np.inf]]], np.float32)
    out = np.ones((3, 4, 4, 1), np.float32)
    kernels.warp(np.ones_like(out), affine, np.zeros((3, 2, 2, 2), np.float32), out)
    assert not out.any()


def test_other_arrays_raise():
    with pytest.raises(tt.DTypeError, match="got images of uint8; float32 or float64 is needed"):
        distort()(np.zeros((2, 4, 4, 1), np.uint8), generator())
    with pytest.raises(tt.ShapeError, match=r"got images \(2, 4, 4\); \(N, H, W, C\) is needed"):
        distort()(np.zeros((2, 4, 4), np.float32), generator())
