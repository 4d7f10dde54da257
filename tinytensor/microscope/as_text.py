"""A followed weight as text for a terminal of 80 columns."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tinytensor.microscope.following import Followed

WIDTH = 80
ROWS = 6  # images of the table of products


def as_text(f: Followed) -> str:
    """The step of the weight: forward, backward, the sum over the batch, the checks, the update."""
    return "\n\n".join("\n".join(lines) for lines in parts(f))


def parts(f: Followed, width: int = WIDTH) -> list[list[str]]:
    """The paragraphs of the text, each with its lines; the first line of each is its title.

    width: in characters; longer lines are wrapped.
    """
    paragraphs = [_head(f), _forward(f), _backward(f), _batch(f), _update(f)]
    return [[part for line in lines for part in _wrapped(line, width)] for lines in paragraphs]


def indent_of(line: str) -> int:
    """The number of characters by which the rest of a wrapped line is indented.

    After a word in a column, such as "logits", this is the next column.
    """
    start = re.match(r" *([a-z]+ {2,})?", line)
    assert start is not None
    return start.end() if start[1] else start.end() + 2


def source_of(f: Followed) -> str:
    """What the weight multiplies, in words."""
    if len(f.index) == 4:
        a, b, i, _ = f.index
        return f"the value at row {a}, column {b} and channel {i} of each window"
    if f.shape[0] == f.images[0].size:
        row, column, channel = np.unravel_index(f.index[0], f.images.shape[1:])
        of = f", channel {channel}" if f.images.shape[3] > 1 else ""
        return f"pixel {f.index[0]}: row {row}, column {column}{of}"
    return f"neuron {f.index[0]} of the layer before"


def unit_of(f: Followed) -> str:
    """The result that the weight contributes to, such as "z[3]"."""
    return f"z[{', '.join(map(str, (*f.position, f.index[-1])))}]"


def other_channels(f: Followed) -> list[str]:
    """For each input channel of a convolution but the weight's: the sum of its products."""
    sums = (f.window.astype(np.float64) * f.weights).sum(axis=(0, 1))
    count = f.window[..., 0].size
    return [
        f"channel {i}: {count} products, sum {value:.6g}"
        for i, value in enumerate(sums)
        if i != f.index[2]
    ]


def _head(f: Followed) -> list[str]:
    place = ", ".join(map(str, f.index))
    return [
        f"lesson {f.lesson.number}, step {f.step}: {f.name}[{place}] of {f.shape}",
        f"  it multiplies {source_of(f)}",
        f"  and adds to neuron {f.index[-1]} of {f.layer}",
    ]


def _forward(f: Followed) -> list[str]:
    x = float(f.inputs[f.example, f.place])
    right = int(f.labels[f.example])
    own = "the lesson's loss"
    if f.smoothing is not None:
        own = f"-ln(p[{right}])" if not f.smoothing else "the sum over k of -y[k] * ln(p[k])"
    return [
        f"Forward: image {f.example} of the batch, class {right}",
        f"  x = {x:.6g}, w = {f.before:.6g}: the product x * w = {x * f.before + 0.0:.6g}",
        f"  {unit_of(f)} = the sum of {f.terms} such products + bias {f.bias:.6g} = {f.result:.6g}",
        "  logits         " + " ".join(f"{v:.4g}" for v in f.logits),
        "  probabilities  " + " ".join(f"{v:.4g}" for v in f.probs),
        f"  loss of this image = {own} = {f.own_loss:.6g}; mean loss of the batch: {f.loss:.6g}",
    ]


def _backward(f: Followed) -> list[str]:
    lines = ["Backward: the chain rule, from the loss to this weight"]
    for stage in f.stages:
        value = "" if stage.grad is None else f" = {stage.grad:.6g}"
        lines.append(f"  {stage.layer}: {stage.formula}{value}")
    x, grad = float(f.inputs[f.example, f.place]), float(f.grads[f.example, f.place])
    return [
        *lines,
        f"  dL/d{unit_of(f)} = {grad:.6g}",
        f"  dL/dw by this product: x * dL/dz = {x:.6g} * {grad:.6g} = {x * grad + 0.0:.6g}",
    ]


def _batch(f: Followed) -> list[str]:
    N, P = f.inputs.shape
    if f.is_dense:
        what = f"row {f.index[0]} of x^T times column {f.index[1]} of grad"
    else:
        what = f"{P} places of the filter in each image"
    products = f.products
    by_image = products.sum(axis=1)
    top = np.argsort(-np.abs(by_image))[:ROWS]
    lines = [
        f"The whole batch: the gradient is a sum of {N * P:,} products",
        f"  {what}",
    ]
    head = f"{'x':>12}{'dL/dz':>14}" if f.is_dense else ""
    lines.append(f"  {'image':>6}{'class':>7}{head}{'x * dL/dz':>14}")
    for n in top:
        each = f"{f.inputs[n, 0]:>12.6g}{f.grads[n, 0]:>14.6g}" if f.is_dense else ""
        lines.append(f"  {n:>6}{f.labels[n]:>7}{each}{by_image[n]:>14.6g}")
    rest = by_image.sum() - by_image[top].sum()
    width = 26 if f.is_dense else 0
    lines += [
        f"  {f'and {N - len(top)} more':>13}{'':{width}}{rest:>14.6g}",
        f"  {'sum':>13}{'':{width}}{products.sum():>14.6g}",
        f"  {'backward()':>13}{'':{width}}{f.gradient:>14.6g}",
    ]
    if f.nudged is not None:
        lines += [
            f"  {'nudge':>13}{'':{width}}{f.nudged:>14.6g}",
            "  nudge = (L(w + h) - L(w - h)) / 2h, by two more forward passes in float64",
            *(f"  {sentence}" for sentence in f.why),
        ]
    return lines


def _update(f: Followed) -> list[str]:
    return [
        "Update",
        *(f"  {line}" for line in f.rule),
        f"  the weight was {f.before:.6g} and is {f.after:.6g}",
    ]


def _wrapped(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    start = len(line) - len(line.lstrip())
    return textwrap.wrap(
        line.lstrip(), width, initial_indent=" " * start, subsequent_indent=" " * indent_of(line),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
