"""Digits in photographs and drawings, as images like MNIST's.

1. The picture becomes grey: rotated as its EXIF data say, with paper for transparent pixels.
2. A polynomial of the row and the column is fitted to the brightness of the paper and subtracted,
   so soft shadows disappear.
3. Ink is what is darker (or lighter) than the paper around it, in strokes that are narrower than a
   window. So a sharp shadow or the edge of the paper is not ink.
4. Specks are left out. Ink that touches the edge of the picture is left out too, except if it
   belongs to the only digit.
5. Each digit is cropped, thin strokes are thickened, and the digit is centred as MNIST's authors
   did: its larger side becomes 20 pixels, its centre of mass moves to the middle of 28 x 28.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageFilter, ImageOps

from tinytensor import regular_file
from tinytensor.arrays import Array, first_false
from tinytensor.datasets.drawn import centred
from tinytensor.datasets.regions import Regions, connected
from tinytensor.errors import DataError

MAX_PIXELS = 50_000_000  # a larger picture is refused before it is decoded
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
SIDE_OF_ONE, SIDE_OF_MANY = 300, 1200  # pixels: larger pictures are made smaller first
WINDOW_OF_ONE, WINDOW_OF_MANY = 0.3, 0.1  # of the larger side; strokes are narrower than this
SIDE_OF_FIT = 48  # pixels of the picture to which the paper is fitted
MIN_CONTRAST = 25  # grey levels of 255 between ink and paper
MIN_SIGNAL = 3.5  # contrast divided by the standard deviation of the paper's noise
MAX_INK = 0.6  # share of the picture; a digit leaves more paper free
CROP = 100  # pixels, the larger side of a digit when its strokes are measured
PEN, THIN = 13, 9  # pixels of a crop: the width of MNIST's strokes, and of its thinnest 5 %
SMALL = 0.15  # of the larger side: a digit that is smaller may be a speck next to a cut digit
SPECK = 0.02  # a region of less than this part of the largest region's area is not ink


class Found(NamedTuple):
    """A digit that was found in a picture."""

    image: Array  # (28, 28) uint8, light on dark, like MNIST's
    steps: str  # what was done to the picture, in words
    box: tuple[int, int, int, int]  # top, left, bottom, right in the picture


def read_photo(file: Path | IO[bytes], many: bool = False) -> list[Found]:
    """Find the digit in a picture, or all digits.

    Args:
        file: a picture of any size and colour mode. Its format is one of FORMATS.
        many: True to return each digit, row by row. By default all ink is one digit.

    Returns:
        the digits; one without `many`.

    Raises:
        DataError: the file is no picture that can be read, has more than MAX_PIXELS pixels, or no
            digit was found.
    """
    grey = read_grey(file)
    try:
        return find_digits(grey, many)
    except DataError as error:
        raise DataError(f"{_name(file)}: {error}") from None


def _name(file: Path | IO[bytes]) -> str:
    return str(file) if isinstance(file, Path) else "picture"


def read_grey(file: Path | IO[bytes]) -> Array:
    """Read a picture as grey levels (H, W) float32 from 0 (black) to 255.

    The picture is rotated as its EXIF data say. Transparent pixels become white if the opaque ones
    are dark, and black if these are light.

    Raises:
        DataError: the file is no picture that can be read, or has more than MAX_PIXELS pixels.
    """
    # A large JPEG is decoded smaller.
    return _read(file, _grey, draft=("L", (SIDE_OF_MANY, SIDE_OF_MANY)))


def read_colours(file: Path | IO[bytes]) -> Array:
    """Read a picture as red, green and blue (H, W, 3) uint8; those of a grey picture are equal.

    It is rotated, and its transparent pixels are replaced, as by read_grey.

    Raises:
        DataError: see read_grey.
    """
    return _read(file, _colours)


def _read(
    file: Path | IO[bytes],
    convert: Callable[[Image.Image], Array],
    draft: tuple[str, tuple[int, int]] | None = None,
) -> Array:
    if isinstance(file, Path):
        regular_file.checked(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # checked below
            picture = Image.open(file, formats=FORMATS)
        with picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{height} x {width} pixels (height x width)")
            if draft is not None:
                picture.draft(*draft)
            return convert(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{_name(file)}: got {error}; a picture of at most {MAX_PIXELS:,} pixels is needed; "
            "make it smaller"
        ) from None
    except Exception as error:  # many types of error, because the bytes can be anything
        needed = "a picture is needed, such as a PNG or JPEG file"
        raise DataError.unread(_name(file), error, needed) from None


def _colours(picture: Image.Image) -> Array:
    """The colours (H, W, 3) uint8 of a picture in any mode."""
    if picture.mode in ("1", "L", "LA", "I", "F") or picture.mode.startswith("I;16"):
        grey = np.rint(_grey(picture)).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("RGB"))
    pixels: Array = np.asarray(picture.convert("RGBA"), np.float32)
    colours, opaque = pixels[..., :3], pixels[..., 3:] / 255
    mean = (colours * opaque).sum() / max(3 * opaque.sum(), 1)
    paper = 255.0 if mean < 128 else 0.0
    return np.rint(colours * opaque + paper * (1 - opaque)).astype(np.uint8)


def _grey(picture: Image.Image) -> Array:
    """The grey levels (H, W) float32 of a picture in any mode."""
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.float32) / 257
    if picture.mode in ("I", "F"):  # any range: from the least value to the greatest
        values: Array = np.asarray(picture, np.float32)
        if not (is_finite := np.isfinite(values)).all():
            row, column = first_false(is_finite)
            raise ValueError(f"the pixel in row {row}, column {column} is {values[row, column]}")
        low, high = float(values.min()), float(values.max())
        return (values - low) * np.float32(255 / max(high - low, 1e-6))
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("L"), np.float32)
    pixels: Array = np.asarray(picture.convert("RGBA").convert("LA"), np.float32)
    grey, opaque = pixels[..., 0], pixels[..., 1] / 255
    mean = (grey * opaque).sum() / max(opaque.sum(), 1)
    paper = 255.0 if mean < 128 else 0.0
    levels: Array = grey * opaque + paper * (1 - opaque)
    return levels


def find_digits(grey: Array, many: bool = False) -> list[Found]:
    """Find the digit in a grey picture, or all digits.

    Args:
        grey: (H, W) float32 from 0 to 255.
        many: True to return each digit, row by row.

    Raises:
        DataError: there is no ink, or too much.
    """
    H, W = grey.shape
    small = _reduced(grey, SIDE_OF_MANY if many else SIDE_OF_ONE)
    window = max(3, round((WINDOW_OF_MANY if many else WINDOW_OF_ONE) * max(small.shape)))
    ink, dark = find_ink(small, window)
    regions = connected(ink > 0.5)
    groups = _digits(regions) if many else [_clean(regions)]
    found = []
    for group in groups:
        own = np.isin(regions.labels, group + 1)
        top, left = regions.boxes[group, :2].min(axis=0)
        bottom, right = regions.boxes[group, 2:].max(axis=0)
        near = _spread(own, 1)[top:bottom, left:right]
        crop = ink[top:bottom, left:right] * near
        image, thickened = _like_mnist(crop)
        scale = max(H, W) / max(small.shape)
        box = tuple(round(float(edge) * scale) for edge in (top, left, bottom, right))
        steps = (
            f"{H} x {W} (height x width), "
            f"{'dark on light, inverted' if dark else 'light on dark'}, cropped to "
            f"{box[2] - box[0]} x {box[3] - box[1]}{', strokes thickened' if thickened else ''}, "
            "scaled to 20 pixels, centred"
        )
        if not many and right - left > bottom - top and (shapes := len(_digits(regions))) > 1:
            steps += f"; {shapes} shapes are side by side, --many reads each as a digit"
        found.append(Found(image, steps, box))  # type: ignore[arg-type]
    return found


def _reduced(grey: Array, side: int) -> Array:
    """The picture with a larger side of at most `side`; each new pixel is a mean."""
    H, W = grey.shape
    scale = min(1, side / max(H, W))
    size = max(1, round(W * scale)), max(1, round(H * scale))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX))


# Paper and ink


def paper(grey: Array, rounds: int = 8) -> Array:
    """The brightness of the paper at each pixel, a quadratic surface of x and y.

    It starts at the median, because most of a picture is paper. Then it is fitted, several times,
    to the pixels that are near the last surface. So ink has no influence.

    Args:
        grey: (H, W) float32.
        rounds: number of fits.

    Returns:
        (H, W) float32.
    """
    sample = _reduced(grey, SIDE_OF_FIT)
    terms = _terms(*sample.shape)
    factors: Array = np.zeros(terms.shape[-1])
    factors[0] = np.median(sample)
    for _ in range(rounds):
        rest = np.abs(sample - terms @ factors)
        spread = max(1.5 * float(np.median(rest)), 2.0)  # about a standard deviation
        near = rest < 2 * spread
        used = terms * near[..., np.newaxis]  # the normal equations of least squares
        squares = np.einsum("ija,ijb->ab", used, terms) + 1e-6 * np.eye(len(factors))
        factors = np.linalg.solve(squares, np.einsum("ija,ij->a", used, sample))
    surface: Array = (_terms(*grey.shape) @ factors).astype(np.float32)
    return surface


def _terms(H: int, W: int) -> Array:
    """The terms 1, x, y, x^2, x y, y^2 (H, W, 6) float64 of each pixel; x and y from -1 to 1."""
    y, x = np.mgrid[-1 : 1 : H * 1j, -1 : 1 : W * 1j]
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def closed(levels: Array, window: int) -> Array:
    """The levels without what is dark and narrower than a window: a morphological closing.

    Each pixel becomes the largest level in the window around it, then the smallest of these. So
    strokes disappear, and the edges of shadows and of a sheet of paper stay where they are.

    Args:
        levels: (H, W) float32.
        window: the side of the square window, in pixels.
    """
    for find in (np.max, np.min):
        for axis in (0, 1):
            ends = [(0, 0), (0, 0)]
            ends[axis] = (window // 2, window - 1 - window // 2)
            wider = np.pad(levels, ends, "edge")
            levels = find(sliding_window_view(wider, window, axis), axis=-1)
    return levels


def find_ink(grey: Array, window: int) -> tuple[Array, bool]:
    """How much each pixel is ink, from 0 (paper) to 1, and True if the ink is darker than paper.

    Raises:
        DataError: there is no ink, or too much.
    """
    rest = grey - paper(grey)
    dark = float((rest**3).mean()) < 0  # ink is farther from the paper than noise is
    if not dark:
        rest = -rest
    depth = closed(rest, window) - rest
    threshold = otsu(depth)
    mask = depth > threshold
    if not mask.any():
        raise DataError("no digit found: all pixels have the same brightness")
    contrast = float(depth[mask].mean() - depth[~mask].mean())
    noise = float(depth[~mask].std())
    if contrast < max(MIN_CONTRAST, MIN_SIGNAL * noise):
        raise DataError(
            f"no digit found: ink and paper differ by {contrast:.0f} of 255 grey levels, noise is "
            f"{noise:.0f}; a darker pen or a closer picture may help"
        )
    if mask.mean() > MAX_INK:
        raise DataError(
            f"no digit found: {100 * mask.mean():.0f} % of the picture are ink; leave a margin of "
            "paper"
        )
    return np.clip(2 * (depth - threshold) / contrast + 0.5, 0, 1), dark


def otsu(values: Array) -> float:
    """The threshold that divides values >= 0 into two groups of the least variance (Otsu, 1979)."""
    counts, edges = np.histogram(values, 256, (0, max(float(values.max()), 1e-6)))
    middles = (edges[:-1] + edges[1:]) / 2
    below, above = counts.cumsum(), counts.sum() - counts.cumsum()
    total = (counts * middles).cumsum()
    means = total / np.maximum(below, 1), (total[-1] - total) / np.maximum(above, 1)
    between = below * above * (means[0] - means[1]) ** 2
    return float(edges[1 + between.argmax()])


# From ink to digits


def _clean(regions: Regions) -> Array:
    """The indices of the regions that are ink of digits: no specks, none cut off by the edge."""
    H, W = regions.labels.shape
    top, left, bottom, right = regions.boxes.T
    inside = (top > 0) & (left > 0) & (bottom < H) & (right < W)
    sides = np.maximum(bottom - top, right - left)
    if sides[inside].max(initial=0) < SMALL * max(H, W):
        inside[:] = True  # the digit itself touches the edge
    indices = np.flatnonzero(inside)
    areas = regions.areas[indices]
    return indices[areas >= SPECK * areas.max()]  # type: ignore[no-any-return]


def _digits(regions: Regions) -> list[Array]:
    """The indices of the regions of each digit, row by row and from left to right.

    A region of less than half the usual height belongs to the digit above or below it, as the bar
    of a 5 does, or is not ink.
    """
    indices = _clean(regions)
    top, left, bottom, right = regions.boxes[indices].T
    heights = bottom - top
    usual = np.median(heights[heights >= heights.max() / 3])
    whole = np.flatnonzero(heights >= usual / 2)
    groups = {int(i): [int(i)] for i in whole}
    for part in np.flatnonzero(heights < usual / 2):
        shared = np.minimum(right[part], right[whole]) - np.maximum(left[part], left[whole])
        gap = np.maximum(top[part], top[whole]) - np.minimum(bottom[part], bottom[whole])
        near = (shared > (right - left)[part] / 3) & (gap < usual / 4)
        if near.any():
            groups[int(whole[near][gap[near].argmin()])].append(int(part))
    ordered, rest = [], sorted(groups, key=lambda i: top[i])
    while rest:  # a row: all digits whose middle is next to the first one
        first = rest[0]
        middles = {i: (top[i] + bottom[i]) / 2 for i in rest}
        row = [i for i in rest if top[first] <= middles[i] <= bottom[first]]
        ordered += sorted(row, key=lambda i: left[i])
        rest = [i for i in rest if i not in row]
    return [indices[groups[i]] for i in ordered]


def _spread(mask: Array, pixels: int) -> Array:
    """The mask, wider by this number of pixels on each side."""
    picture = Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * pixels + 1))
    return np.asarray(picture) > 0


def _like_mnist(ink: Array) -> tuple[Array, bool]:
    """The digit as an image (28, 28) uint8 like MNIST's, and True if its strokes were thickened."""
    H, W = ink.shape
    scale = CROP / max(H, W)
    size = max(1, round(W * scale)), max(1, round(H * scale))
    picture = Image.fromarray((ink * 255).astype(np.uint8))
    picture = picture.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX)
    picture = ImageOps.expand(picture, PEN)  # room for thicker strokes
    width = stroke_width(np.asarray(picture) > 127)
    if width < THIN:
        picture = picture.filter(ImageFilter.MaxFilter(2 * round((PEN - width) / 2) + 1))
    return centred(np.asarray(picture)), width < THIN


def stroke_width(mask: Array) -> float:
    """The mean width of the strokes in pixels: twice the area divided by the length of the edge."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & mask
    edge = int((mask & ~inner).sum())
    return 2 * float(mask.sum()) / max(edge, 1)
