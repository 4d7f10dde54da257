"""Pictures of digits as people make them: printed or drawn, photographed badly, by a seed.

    python tests/datasets/renderings.py [--seed 0] [--count 200] [--fonts FOLDER] [--lesson best]

prints the share of the renderings that a trained network recognises. Nothing here is tuned on the
test images of MNIST.
"""

import argparse
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tinytensor.datasets.photo import Found, read_photo
from tinytensor.evaluation import probabilities
from tinytensor.lessons import find
from tinytensor.nn import Module
from tinytensor.saved_model import load_model

# Strokes of each digit as points (x, y) in a box of 1 x 1, y downwards; two ways for some digits.
STROKES = {
    0: [[[(0.5, 0.02), (0.2, 0.15), (0.1, 0.5), (0.2, 0.85), (0.5, 0.98), (0.8, 0.85), (0.9, 0.5),
          (0.8, 0.15), (0.5, 0.02)]]],
    1: [[[(0.5, 0), (0.5, 1)]], [[(0.3, 0.2), (0.55, 0), (0.5, 1)]]],
    2: [[[(0.12, 0.25), (0.3, 0.04), (0.65, 0.03), (0.85, 0.25), (0.7, 0.5), (0.1, 0.97),
          (0.92, 0.95)]]],
    3: [[[(0.15, 0.12), (0.5, 0.01), (0.82, 0.2), (0.7, 0.42), (0.42, 0.48), (0.75, 0.55),
          (0.88, 0.77), (0.6, 0.98), (0.12, 0.9)]]],
    4: [[[(0.35, 0.02), (0.1, 0.58), (0.92, 0.58)], [(0.7, 0.2), (0.68, 1)]],
        [[(0.15, 0), (0.15, 0.5), (0.8, 0.5)], [(0.8, 0), (0.78, 1)]]],
    5: [[[(0.85, 0.02), (0.25, 0.03), (0.18, 0.45), (0.55, 0.38), (0.87, 0.62), (0.65, 0.93),
          (0.12, 0.95)]]],
    6: [[[(0.75, 0.02), (0.35, 0.25), (0.12, 0.65), (0.3, 0.97), (0.72, 0.95), (0.85, 0.7),
          (0.6, 0.5), (0.17, 0.62)]]],
    7: [[[(0.1, 0.05), (0.9, 0.03), (0.4, 1)]],
        [[(0.1, 0.05), (0.9, 0.03), (0.4, 1)], [(0.35, 0.52), (0.8, 0.48)]]],
    8: [[[(0.8, 0.15), (0.5, 0.02), (0.2, 0.2), (0.4, 0.45), (0.8, 0.7), (0.6, 0.98), (0.2, 0.88),
          (0.25, 0.6), (0.7, 0.35), (0.8, 0.15)]]],
    9: [[[(0.85, 0.2), (0.5, 0.02), (0.15, 0.22), (0.3, 0.5), (0.7, 0.45), (0.86, 0.2),
          (0.78, 0.98)]]],
}  # fmt: skip


class Rendering(NamedTuple):
    """A picture of one digit, as the bytes of a file."""

    digit: int
    about: str  # how it was made
    content: bytes


def renderings(count: int, seed: int = 0, fonts: tuple[Path, ...] = ()) -> list[Rendering]:
    """Make `count` pictures, each digit in turn; half of them printed if there are fonts.

    Args:
        count: number of pictures.
        seed: of everything random.
        fonts: .ttf files; DejaVu's from matplotlib by default.
    """
    fonts = fonts or dejavu()
    rng = np.random.default_rng(seed)
    return [_rendering(i % 10, i // 10 % 2 == 0, rng, fonts) for i in range(count)]


def dejavu() -> tuple[Path, ...]:
    """The DejaVu fonts that come with matplotlib; those named Display have no digits."""
    import matplotlib

    fonts = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVu*.ttf"))
    return tuple(font for font in fonts if "Display" not in font.name)


def _rendering(digit: int, printed: bool, rng: np.random.Generator, fonts: tuple[Path, ...]):
    side = int(rng.choice([90, 200, 400, 800]))
    size = side * rng.uniform(0.35, 0.8)
    if printed:
        font = fonts[rng.integers(len(fonts))]
        ink, how = _print(digit, side, size, font), font.stem
    else:
        width = size * rng.choice([0.04, 0.08, 0.13, 0.2])
        ink, how = _draw(digit, side, size, width, rng), f"pen {width / size:.2f}"
    ink = _turn(ink, rng)
    paper, dark = rng.uniform(150, 255), rng.uniform(0, 90)
    if light_on_dark := bool(rng.random() < 0.3):
        paper, dark = dark, paper
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    angle, fall = rng.uniform(0, 2 * np.pi), rng.choice([0, 0.15, 0.3])
    shade = 1 - fall * (1 + np.cos(angle) * x + np.sin(angle) * y) / 2 - fall / 3 * (x**2 + y**2)
    picture = (paper + (dark - paper) * ink) * shade + rng.normal(
        0, rng.choice([0, 3, 8]), ink.shape
    )
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).convert("RGB")
    quality = int(rng.choice([25, 60, 90]))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    about = f"{how}, {side} px, shade {fall}, quality {quality}"
    if light_on_dark:
        about += ", light on dark"
    return Rendering(digit, about, content.getvalue())


def _print(digit: int, side: int, size: float, font: Path) -> np.ndarray:
    """A digit of a font, (side, side) float from 0 to 1."""
    image = Image.new("L", (side, side))
    face = ImageFont.truetype(str(font), round(size))
    ImageDraw.Draw(image).text((side / 2, side / 2), str(digit), 255, face, "mm")
    return np.asarray(image) / 255


def _draw(digit: int, side: int, size: float, width: float, rng: np.random.Generator) -> np.ndarray:
    """A digit drawn by a shaking hand: smooth curves through points that are moved at random."""
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    ways = STROKES[digit]
    across = rng.uniform(0.55, 0.8)
    for stroke in ways[rng.integers(len(ways))]:
        points = np.array(stroke, float) - 0.5
        points = (points + rng.normal(0, 0.02, points.shape)) * (across * size, size) + side / 2
        line = _curve(points) if len(points) > 3 else points
        radius = width / 2
        draw.line([tuple(p) for p in line], 255, max(1, round(width)), "curve")
        for x, y in (line[0], line[-1]):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(image) / 255


def _curve(points: np.ndarray) -> np.ndarray:
    """A Catmull-Rom spline through the points (N, 2)."""
    before, after = (
        np.concatenate([points[:1], points[:-1]]),
        np.concatenate([points[1:], points[-1:]]),
    )
    slopes = (after - before) / 2
    t = np.linspace(0, 1, 12)[:, None, None]
    p, q, m, n = points[:-1], points[1:], slopes[:-1], slopes[1:]
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * p + (t**3 - 2 * t**2 + t) * m
        + (3 * t**2 - 2 * t**3) * q + (t**3 - t**2) * n
    )  # fmt: skip
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def _turn(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture rotated by up to 15 degrees and seen from an angle."""
    side = len(ink)
    turned = Image.fromarray((ink * 255).astype(np.uint8)).rotate(
        rng.uniform(-15, 15), Image.Resampling.BICUBIC
    )
    a, b = rng.uniform(-0.12, 0.12, 2)  # perspective: the scale changes along x and y
    corner = 1 + (a + b) / 2
    matrix = (corner, 0, 0, 0, corner, 0, a / side, b / side)
    return (
        np.asarray(
            turned.transform(
                (side, side), Image.Transform.PERSPECTIVE, matrix, Image.Resampling.BICUBIC
            )
        )
        / 255
    )


def recognised(pictures: list[Rendering], model: Module) -> list[tuple[Rendering, Found, int]]:
    """Each picture with the digit found in it and the digit that the network reads."""
    found = [read_photo(io.BytesIO(picture.content))[0] for picture in pictures]
    read = probabilities(model, np.stack([each.image for each in found])).argmax(axis=1)
    return list(zip(pictures, found, read.tolist(), strict=True))


def main() -> None:
    """Print the share of the renderings that a network recognises, and those it does not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--fonts", type=Path, help="a folder of .ttf and .otf files [DejaVu]")
    parser.add_argument("--lesson", default="best", help="the weights in the package that are used")
    options = parser.parse_args()
    fonts = tuple(sorted(options.fonts.rglob("*.[ot]tf"))) if options.fonts else ()
    _, model = load_model(find(options.lesson).weights_file())
    results = recognised(renderings(options.count, options.seed, fonts), model)
    wrong = [(picture, read) for picture, _, read in results if read != picture.digit]
    print(f"{len(results) - len(wrong)} of {len(results)} recognised")
    for picture, read in wrong:
        print(f"{picture.digit} read as {read}: {picture.about}")


if __name__ == "__main__":
    main()
