"""A followed weight as a page in one file, without scripts: the numbers, and three pictures.

The pictures show where the transpose comes from. The gradient of a weight is a sum over the batch:
row i of x^T, which is column i of x, times column j of grad. For a convolution the sum runs over
the places of the filter, too, and the pictures show these places for one image.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from tinytensor.arrays import Array
from tinytensor.microscope.as_text import indent_of, other_channels, parts, source_of, unit_of

if TYPE_CHECKING:
    from tinytensor.microscope.following import Followed

CELL = 4  # pixels of a value along a row or a column
THICK = 14  # pixels across it
SIDE = 280  # pixels of an image
SMALL = 140  # pixels of a filter
NARROW = 60  # pixels of the short side of a matrix
UNLIMITED = 10_000  # characters of a line

STYLE = """
body { font: 15px system-ui, sans-serif; margin: 16px; max-width: 1000px; color: #1c1f23 }
h1 { font-size: 20px }
@media (prefers-color-scheme: dark) { body { background: #14171b; color: #e6e8eb } }
"""
# The part that notebooks and the live page show, too. Its colours suit light and dark pages.
FRAGMENT_STYLE = """
.followed h2 { font-size: 16px; margin: 20px 0 4px }
.followed .text { font: min(13px, 2.7vw)/1.4 monospace; margin: 4px 0; white-space: pre-wrap }
.followed figure { display: inline-block; margin: 4px 16px 4px 0; vertical-align: top }
.followed figcaption { font-size: 13px }
.followed svg { max-width: 100%; height: auto; background: #7d859022 }
.followed .lit { fill: none; stroke: currentColor; stroke-width: 2 }
"""


def as_html(f: Followed) -> str:
    """The page. Each cell of a picture shows its value when the pointer is over it."""
    title = html.escape(parts(f)[0][0])
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{title}</h1>{as_fragment(f, with_title=False)}</body></html>\n"
    )


def as_fragment(f: Followed, with_title: bool = True, with_image: bool = True) -> str:
    """The content of the page, for a page that has its own head.

    Args:
        f: the followed weight.
        with_title: False without the first line.
        with_image: False without the picture of the image.
    """
    head, *rest = parts(f, UNLIMITED)
    body = [_text(head if with_title else head[1:])]
    for title, *lines in rest:
        body.append(f"<h2>{html.escape(title)}</h2>")
        if with_image and title.startswith("Forward"):
            body.append(_image(f) + _filter(f))
        if title.startswith("The whole batch"):
            body.append(_product(f) if f.is_dense else _places(f))
        body.append(_text(lines))
    return f'<div class="followed"><style>{FRAGMENT_STYLE}</style>{"".join(body)}</div>'


def _text(lines: Iterable[str]) -> str:
    """The lines as HTML; the browser wraps them, and the rest of a line is indented."""
    found = []
    for line in lines:
        indent = indent_of(line)
        style = f"padding-left: {indent}ch; text-indent: -{indent}ch"
        found.append(f'<div style="{style}">{html.escape(line)}</div>')
    return f'<div class="text">{"".join(found)}</div>'


def _figure(picture: str, caption: str, width: float, height: float) -> str:
    return (
        f'<figure><svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img">{picture}</svg><figcaption>{html.escape(caption)}</figcaption></figure>'
    )


def _cell(x: float, y: float, width: float, height: float, value: float, largest: float) -> str:
    """A rectangle, as on the live page: orange is positive, blue is negative, 0 has no colour."""
    strength = abs(value) / largest if largest else 0.0
    colour = "#d0580a" if value >= 0 else "#2b7fc4"
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{colour}" '
        f'fill-opacity="{strength:.3f}"><title>{value:.6g}</title></rect>'
    )


def _map(
    values: Array,
    caption: str,
    lit: tuple[int, int] | None = None,
    last: tuple[int, int] | None = None,
    side: int = SIDE,
) -> str:
    """A matrix (H, W) as a picture, with one value lit; or all values from `lit` to `last`."""
    H, W = values.shape
    size, largest = side / max(H, W), float(np.abs(values).max())
    picture = "".join(
        _cell(w * size, h * size, size, size, float(values[h, w]), largest)
        for h in range(H)
        for w in range(W)
    )
    if lit is not None:
        (h, w), (bottom, right) = lit, last or lit
        picture += (
            f'<rect class="lit" x="{w * size:g}" y="{h * size:g}" '
            f'width="{(right - w + 1) * size:g}" height="{(bottom - h + 1) * size:g}"/>'
        )
    return _figure(picture, caption, W * size, H * size)


def _image(f: Followed) -> str:
    """The image, with the pixel or the window that the layer reads, if it reads the image."""
    image = f.images[f.example]
    caption = f"image {f.example}, class {f.labels[f.example]}"
    if f.seen is not None:
        top, bottom, left, right = f.seen
        caption += f"; the window of {unit_of(f)} is lit"
        return _map(image[..., f.index[2]], caption, (top, left), (bottom, right))
    if len(f.index) == 2 and f.shape[0] == image.size:
        row, column, channel = map(int, np.unravel_index(f.index[0], image.shape))
        return _map(image[..., channel], f"{caption}; {source_of(f)}", (row, column))
    return _map(image[..., 0], caption)


def _filter(f: Followed) -> str:
    """The window, the filter and their products, for the input channel of the weight."""
    if f.window.ndim != 3:
        return ""
    row, column, channel = f.index[:3]
    products = f.window.astype(np.float64) * f.weights
    several = f.window.shape[2] > 1
    of, all_of = (f", channel {channel}", " of all channels") if several else ("", "")
    maps = {
        f"x: the window{of}": f.window,
        f"w: the filter{of}": f.weights,
        f"x * w{of}: the sum{all_of} is {products.sum():.6g}": products,
    }
    return "".join(
        _map(values[..., channel], caption, (row, column), side=SMALL)
        for caption, values in maps.items()
    ) + _text(other_channels(f))


def _product(f: Followed) -> str:
    """x^T @ grad, with the row and the column whose product is the gradient."""
    (i, j), (I, O), N = f.index, f.shape, len(f.inputs)  # noqa: E741
    x, grad = f.inputs[:, 0], f.grads[:, 0]
    long, top, left = N * CELL, i / I * (SIDE - THICK), j / O * (NARROW - THICK)
    most, most_grad = float(np.abs(x).max()), float(np.abs(grad).max())
    row = "".join(_cell(n * CELL, top, CELL, THICK, float(x[n]), most) for n in range(N))
    column = "".join(
        _cell(left, n * CELL, THICK, CELL, float(grad[n]), most_grad) for n in range(N)
    )
    row += f'<rect class="lit" x="0" y="{top:g}" width="{long}" height="{THICK}"/>'
    column += f'<rect class="lit" x="{left:g}" y="0" width="{THICK}" height="{long}"/>'
    result = f'<rect class="lit" x="{left:g}" y="{top:g}" width="{THICK}" height="{THICK}"/>'
    return (
        _figure(row, f"x^T ({I} x {N}): row {i}, one value per image", long, SIDE)
        + _figure(column, f"@ grad ({N} x {O}): column {j}", NARROW, long)
        + _figure(result, f"= dL/dw ({I} x {O}): {f.gradient:.6g}", NARROW, SIDE)
    )


def _places(f: Followed) -> str:
    """For one image: the values under the weight, the gradients, and their products."""
    if f.outputs.ndim != 2:
        return ""
    lit = f.position[0], f.position[1]
    x, grad, product = (
        values[f.example].reshape(f.outputs.shape) for values in (f.inputs, f.grads, f.products)
    )
    return (
        _map(x, "x: the values that the weight multiplies, at each place of the filter", lit)
        + _map(grad, f"dL/dz at each place; {unit_of(f)} is lit", lit)
        + _map(product, f"x * dL/dz: their sum is {product.sum():.6g}", lit)
    )
