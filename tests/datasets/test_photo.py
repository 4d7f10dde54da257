"""Photographs and drawings of digits as images like MNIST's, and the share that is recognised."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from renderings import recognised, renderings

import tinytensor as tt
from tinytensor.datasets import photo
from tinytensor.datasets.photo import find_digits, read_grey, read_photo
from tinytensor.datasets.regions import connected
from tinytensor.errors import DataError
from tinytensor.lessons import find
from tinytensor.saved_model import load_model


def seven(side=200, paper=255, ink=0):
    """A picture of a seven."""
    image = Image.new("L", (side, side), paper)
    line = [(0.3 * side, 0.2 * side), (0.7 * side, 0.2 * side), (0.45 * side, 0.8 * side)]
    ImageDraw.Draw(image).line(line, fill=ink, width=side // 12, joint="curve")
    return image


def file_of(image, kind="PNG", **settings):
    file = io.BytesIO()
    image.save(file, kind, **settings)
    file.seek(0)
    return file


def read(image, kind="PNG", **settings):
    (found,) = read_photo(file_of(image, kind, **settings))
    return found.image.astype(int)


WANTED = find_digits(np.asarray(seven(), np.float32))[0].image.astype(int)


def assert_like_seven(image):
    assert image.shape == (28, 28)
    assert np.abs(image - WANTED).mean() < 15


def test_the_digit_is_like_mnist():
    rows, columns = ((WANTED > 0).any(axis=axis).sum() for axis in (1, 0))
    assert max(rows, columns) == 20
    assert WANTED.max() == 255
    assert WANTED[0].max() == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "CMYK", "I;16", "I", "F", "1"])
def test_colour_modes(mode):
    image = seven()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif mode == "P":
        image = image.convert("RGB").quantize(8)
    else:
        image = image.convert(mode)
    assert_like_seven(read(image, "TIFF" if mode in ("CMYK", "F", "I") else "PNG"))


@pytest.mark.parametrize("side", [28, 50, 200, 1000])
@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (0, 255), (200, 90), (60, 150)])
def test_sizes_and_brightness(side, paper, ink):
    assert_like_seven(read(seven(side, paper, ink)))


@pytest.mark.parametrize("ink", [0, 255])
def test_ink_on_transparent_paper(ink):
    layers = [Image.new("L", (200, 200), ink)] * 3
    image = Image.merge("RGBA", [*layers, ImageOps.invert(seven())])
    assert_like_seven(read(image))
    assert_like_seven(read(image.quantize(16, method=Image.Quantize.FASTOCTREE)))


def test_a_rotated_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    turned = seven().transpose(Image.Transpose.ROTATE_90)
    assert_like_seven(read(turned, "JPEG", quality=90, exif=exif))
    assert np.abs(read(turned, "JPEG", quality=90) - WANTED).mean() > 20


@pytest.mark.parametrize("is_dark", [True, False])
def test_shadows(is_dark):
    """Some ink is brighter than some paper."""
    y, x = np.mgrid[0:1:200j, 0:1:200j]
    ink = 1 - np.asarray(seven(), float) / 255
    light = 60 + 190 * x * (0.5 + 0.5 * y)
    picture = light * (1 - 0.45 * ink) if is_dark else light * (0.55 + 0.45 * ink)
    (found,) = find_digits(picture.astype(np.float32))
    assert_like_seven(found.image.astype(int))


def test_specks_and_a_dark_corner_are_left_out():
    image = seven(400)
    draw = ImageDraw.Draw(image)
    draw.polygon([(0, 0), (50, 0), (0, 50)], fill=20)
    for x, y in ((330, 60), (350, 300), (60, 330)):
        draw.ellipse((x, y, x + 4, y + 4), fill=0)
    assert_like_seven(read(image))


def test_thin_strokes_are_thickened():
    image = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(image).line([(60, 40), (140, 40), (90, 160)], fill=0, width=2)
    (found,) = find_digits(np.asarray(image, np.float32))
    assert "strokes thickened" in found.steps
    assert (found.image > 200).sum() > 40
    assert "thickened" not in find_digits(np.asarray(seven(), np.float32))[0].steps


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (28, 28), (300, 200)])
def test_pictures_without_a_digit_raise(value, size):
    with pytest.raises(DataError, match="no digit found"):
        read(Image.new("L", size, value))


@pytest.mark.parametrize("side", [28, 100, 700])
@pytest.mark.parametrize("spread", [1, 4, 8])
def test_noise_is_no_digit(side, spread):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    noisy = 180 + 40 * x - 30 * y + rng.normal(0, spread, (side, side))
    with pytest.raises(DataError, match="no digit found"):
        find_digits(noisy.clip(0, 255).astype(np.float32))


def test_large_pictures_are_refused_before_they_are_decoded(monkeypatch):
    with pytest.raises(DataError, match=r"got 6000 x 9000 pixels .*; .* at most 50,000,000 pixels"):
        read_grey(file_of(Image.new("1", (9000, 6000))))
    with pytest.raises(DataError, match=r"at most 50,000,000 pixels is needed; make it smaller"):
        read_grey(file_of(Image.new("1", (20_000, 10_000))))
    monkeypatch.setattr(photo, "MAX_PIXELS", 39_999)
    with pytest.raises(DataError, match=r"got 200 x 200 pixels .*; .* at most 39,999 .* make"):
        read_photo(file_of(seven()))


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.png: a picture is needed, such as a PNG or JPEG"):
        read_photo(path)
    path.write_bytes(file_of(seven()).getvalue()[:300])
    with pytest.raises(DataError, match=r"x\.png: a picture is needed"):
        read_photo(path)


def test_many_digits_are_read_row_by_row():
    rng = np.random.default_rng(1)
    digits = tt.datasets.mnist().train_images[:12]
    sheet = Image.new("L", (1000, 800), 230)
    for i, digit in enumerate(digits):
        row, column = divmod(i, 4)
        large = ImageOps.invert(Image.fromarray(digit).resize((168, 168), Image.Resampling.BICUBIC))
        x, y = 60 + 220 * column + rng.integers(-15, 16), 40 + 240 * row + rng.integers(-20, 21)
        sheet.paste(large.point(lambda level: level * 230 // 255), (int(x), int(y)))
    found = read_photo(file_of(sheet), many=True)
    assert len(found) == 12
    for each, digit in zip(found, digits, strict=True):
        assert np.abs(each.image.astype(int) - digit).mean() < 25
    tops = [each.box[0] for each in found]
    assert max(tops[:4]) < min(tops[4:8]) < max(tops[4:8]) < min(tops[8:])


def test_several_digits_read_as_one_are_noted():
    one, three = seven(), Image.new("L", (600, 200), 255)
    for i in range(3):
        three.paste(one, (200 * i, 0))
    note = "3 shapes are side by side, --many reads each as a digit"
    assert read_photo(file_of(three))[0].steps.endswith(note)
    assert all("shapes" not in each.steps for each in read_photo(file_of(three), many=True))
    assert "shapes" not in read_photo(file_of(one))[0].steps


def test_a_bar_that_touches_no_stroke_belongs_to_its_digit():
    image = Image.new("L", (400, 200), 255)
    draw = ImageDraw.Draw(image)
    for x in (60, 240):
        draw.line([(x + 5, 40), (x + 60, 40)], fill=0, width=10)  # the bar of a 5
        draw.line([(x, 55), (x, 90), (x + 50, 100), (x + 50, 140), (x, 150)], fill=0, width=10)
    found = read_photo(file_of(image), many=True)
    assert [each.box[0] for each in found] == [pytest.approx(35, abs=2)] * 2


def test_connected_regions():
    mask = np.array(
        [[1, 1, 0, 0, 1],
         [0, 0, 1, 0, 1],
         [0, 0, 0, 0, 0],
         [1, 0, 1, 0, 1],
         [1, 1, 1, 0, 0]], bool
    )  # fmt: skip
    regions = connected(mask)
    assert sorted(regions.areas.tolist()) == [1, 2, 3, 5]
    assert regions.labels[0, 0] == regions.labels[1, 2], "a corner connects"
    assert regions.labels[3, 0] == regions.labels[3, 2]
    assert regions.boxes[regions.labels[3, 0] - 1].tolist() == [3, 0, 5, 3]
    assert connected(np.zeros((3, 4), bool)).areas.size == 0


def test_regions_of_a_random_mask_are_connected_and_separate():
    mask = np.random.default_rng(0).random((40, 50)) < 0.45
    labels = connected(mask).labels
    assert ((labels > 0) == mask).all()
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = labels[: 40 - dy, max(0, -dx) : 50 - max(0, dx)]
        other = labels[dy:, max(0, dx) : 50 + min(0, dx)]
        assert (one == other)[(one > 0) & (other > 0)].all(), "neighbours have the same number"
    for label in range(1, labels.max() + 1):
        region = np.pad(labels == label, 1)
        seen = np.zeros_like(region)
        seen.flat[region.argmax()] = True
        before = 0
        while seen.sum() > before:
            before = seen.sum()
            near = sum(np.roll(seen, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
            seen = (near > 0) & region
        assert (seen == region).all(), "each pixel is reached from the first"


COUNTS = [
    (0, 20),
    pytest.param(2, 60, marks=pytest.mark.full),
    pytest.param(1, 400, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("seed", "count"), COUNTS)
def test_best_recognises_renderings(seed, count):
    """Printed and drawn, thick and thin, rotated, in perspective, shaded, compressed."""
    _, model = load_model(find("best").weights_file())
    results = recognised(renderings(count, seed), model)
    assert np.mean([read == picture.digit for picture, _, read in results]) >= 0.9
