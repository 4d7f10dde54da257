"""Images moved, turned and bent by chance, and by a chance that is no chance."""

import numpy as np
import pytest

import tinytensor as tt
from tinytensor.datasets import to_float
from tinytensor.datasets.augment import distort

DIGITS = to_float(tt.datasets.mnist().test_images[:50])
ALL = {"shift": 3, "rotate": 20, "scale": 0.2, "elastic": 1.5}


class Most:
    """A generator that always draws the largest number there is."""

    def uniform(self, low, high, size):
        return np.full(size, high, np.float64)


def chance(seed=0):
    return np.random.default_rng(seed)


def test_nothing_is_changed_at_zero():
    np.testing.assert_array_equal(distort()(DIGITS, chance()), DIGITS)


def test_a_whole_pixel_moves_all_by_one():
    moved = distort(shift=1)(DIGITS, Most())
    np.testing.assert_array_equal(moved[:, :-1, :-1], DIGITS[:, 1:, 1:])
    assert not moved[:, -1].any()
    assert not moved[:, :, -1].any()


def test_half_a_pixel_is_a_mean_of_four():
    image = np.zeros((1, 4, 4, 1), np.float32)
    image[0, 1, 2] = 1
    wanted = np.zeros((4, 4))
    wanted[:2, 1:3] = 0.25
    np.testing.assert_allclose(distort(shift=0.5)(image, Most())[0, ..., 0], wanted)


def test_whatever_is_moved_beyond_the_edge_is_gone():
    assert not distort(shift=28)(DIGITS, Most()).any()
    assert not distort(shift=1e6)(DIGITS, Most()).any()


@pytest.mark.parametrize("side", [27, 28])
def test_a_quarter_turn(side):
    images = chance().random((3, side, side, 2), np.float32)
    turned = distort(rotate=90)(images, Most())
    wanted = [np.rot90(images, turns, (1, 2)) for turns in (1, 3)]
    errors = [np.abs(turned - image).max() for image in wanted]
    assert min(errors) < 1e-4


def test_a_turn_keeps_the_centre():
    images = np.zeros((20, 27, 27, 1), np.float32)
    images[:, 13, 13] = 1
    np.testing.assert_allclose(distort(rotate=180)(images, chance())[:, 13, 13], 1, atol=1e-5)
    disc = np.hypot(*np.mgrid[-13.5:14, -13.5:14]) < 8
    discs = np.broadcast_to(disc[..., None], (20, 28, 28, 1)).astype(np.float32)
    turned = distort(rotate=180)(discs, chance())
    assert np.abs(turned - discs).mean() < 0.02


def test_scale_makes_larger():
    square = np.zeros((1, 28, 28, 1), np.float32)
    square[:, 10:18, 10:18] = 1
    larger = distort(scale=0.5)(square, Most())
    assert larger.sum() == pytest.approx(144, rel=0.1), "12 by 12 from 8 by 8"
    np.testing.assert_allclose(larger, larger[:, ::-1, ::-1], atol=1e-5)


def test_an_elastic_field_is_smooth_and_as_strong_as_asked():
    """Seen on a slope, whose brightness tells where it was read."""
    slope = np.broadcast_to(np.arange(28, dtype=np.float32)[:, None, None], (200, 28, 28, 1))
    moved = (distort(elastic=0.8)(slope, chance()) - slope)[:, 6:22, 6:22, 0]
    assert 0.4 < moved.std() < 0.9
    assert np.abs(moved.mean()) < 0.1
    assert np.abs(np.diff(moved, axis=2)).max() < 0.8, "neighbours move together"


def test_the_same_seed_gives_the_same_images():
    augment = distort(**ALL)
    np.testing.assert_array_equal(augment(DIGITS, chance(3)), augment(DIGITS, chance(3)))
    assert not np.array_equal(augment(DIGITS, chance(3)), augment(DIGITS, chance(4)))


def test_elastic_shifts_vary_most_where_they_are_drawn():
    """With 29 pixels every seventh is such a place; a mean of four numbers varies half as much."""
    slope = np.broadcast_to(np.arange(29, dtype=np.float32)[:, None, None], (2000, 29, 29, 1))
    shifts = (distort(elastic=0.1)(slope, chance()) - slope)[..., 0] / 0.1
    assert shifts[:, 7:22:7, 7:22:7].std() == pytest.approx(1, rel=0.02)
    assert shifts[:, 10:19:7, 10:19:7].std() == pytest.approx(0.5, rel=0.05)
    assert shifts[:, 7:21, 7:21].std() == pytest.approx(0.68, abs=0.02), "as its text says"


@pytest.mark.parametrize("name", ALL)
def test_every_image_is_changed_in_its_own_way(name):
    images = np.broadcast_to(DIGITS[:1], DIGITS.shape)
    changed = distort(**{name: ALL[name]})(images, chance())
    assert len(np.unique(changed.reshape(len(images), -1), axis=0)) == len(images)


@pytest.mark.parametrize("seed", range(5))
def test_values_stay_from_0_to_1(seed):
    before = DIGITS.copy()
    for images in (DIGITS, np.ones_like(DIGITS)):
        changed = distort(**ALL)(images, chance(seed))
        assert changed.min() >= 0
        assert changed.max() <= 1
        assert changed.dtype == np.float32
        assert changed.shape == images.shape
        assert changed.flags.c_contiguous
    np.testing.assert_array_equal(DIGITS, before)


def test_no_images():
    assert distort(**ALL)(DIGITS[:0], chance()).shape == (0, 28, 28, 1)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("number", [-1, float("nan")])
def test_impossible_changes(name, number):
    with pytest.raises(tt.SettingError, match=f"distort: got {name}={number}; a number from 0"):
        distort(**{name: number})


def test_a_scale_that_would_mirror():
    with pytest.raises(tt.SettingError, match=r"distort: got scale=1\.0; a number below 1"):
        distort(scale=1.0)
