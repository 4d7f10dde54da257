"""Axes with a cell for each class: class i has its middle at i + 0.5."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bokeh.models import Axis, FixedTicker, Range1d

from tinytensor.live.names import short_names

LEAST_LABEL, MOST_LABEL = 9, 11  # pixels, the height of the name of a class
LONGEST = 10  # letters of a name
LETTER = 0.6  # width of a letter, as a fraction of its height


def class_range(names: Sequence[str]) -> Range1d:
    """The range of an axis for these classes."""
    return Range1d(0, len(names))


def label(
    across: Sequence[Axis], names: Sequence[str], width: int, down: Sequence[Axis] = ()
) -> bool:
    """Write the names of the classes along axes: of all, or of every k-th if cells are small.

    Args:
        across: the horizontal axes.
        names: the names of the classes.
        width: of the figure in pixels, without what is not cells or names.
        down: the vertical axes, which have about the same length.

    Returns:
        True if the names are written from top to bottom, because they are wider than their cells.
    """
    shown = short_names(names, LONGEST)
    longest = max(map(len, shown)) * LETTER * MOST_LABEL  # pixels
    cell = (width - (longest if down else 0)) / len(names)
    every = math.ceil(LEAST_LABEL / cell)
    size = min(round(every * cell), MOST_LABEL)
    middles = [i + 0.5 for i in range(0, len(names), every)]
    for axis in (*across, *down):
        axis.ticker = FixedTicker(ticks=middles)
        axis.major_label_overrides = dict(zip(middles, shown[::every], strict=True))
        axis.major_label_text_font_size = f"{size}px"
    is_vertical = longest > every * cell
    for axis in across if is_vertical else ():
        axis.major_label_orientation = "vertical"
    return is_vertical
