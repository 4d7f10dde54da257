"""A program as HTML: the rows of listing.py as a table, for notebooks and pages.

It needs nothing but itself, and takes the page's own colours, be they dark on light or not.
"""

from __future__ import annotations

import html as markup
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinytensor.capture.listing import Listing, Row

STYLE = """
.tinytensor-program table { border-collapse: collapse; font-variant-numeric: tabular-nums }
.tinytensor-program :is(th, td) { padding: 2px 8px; text-align: right; vertical-align: top }
.tinytensor-program :is(th, td).text { text-align: left }
.tinytensor-program tbody th { padding-top: 10px; border-bottom: 1px solid #8886 }
.tinytensor-program .place { font-weight: normal; opacity: 0.75; margin-left: 1em }
.tinytensor-program .share { min-width: 5em }
""".strip()
BAR = "rgb(70 130 230 / 40%)"  # to be seen on white and on black, with the number over it


def fragment(listing: Listing) -> str:
    """A table, what it says of the whole above and below it, and its style."""
    return "\n".join(
        (
            f'<div class="tinytensor-program">\n<style>\n{STYLE}\n</style>',
            *_paragraphs(listing.summary),
            "<table>",
            *_table(listing),
            "</table>",
            *_paragraphs(listing.notes),
            "</div>",
        )
    )


def page(title: str, content: str) -> str:
    """A whole page, dark where the reader's browser is."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{markup.escape(title)}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font-family: system-ui, sans-serif; margin: 2em }}
</style>
</head>
<body>
{content}
</body>
</html>
"""


def _paragraphs(lines: tuple[str, ...]) -> Iterator[str]:
    return (f"<p>{markup.escape(line)}</p>" for line in lines)


def _table(listing: Listing) -> Iterator[str]:
    texts = ("", "kernel", "reads -> writes")
    cells = [f'<th class="text" scope="col">{markup.escape(text)}</th>' for text in texts]
    cells += [f'<th scope="col">{markup.escape(text)}</th>' for text in listing.headings]
    yield f"<thead><tr>{''.join(cells)}</tr></thead>"
    for (part, place), rows in listing.groups():
        yield (
            f'<tbody>\n<tr><th class="text" scope="rowgroup" colspan="{len(cells)}">'
            f'{markup.escape(part)}<span class="place">{markup.escape(place)}</span></th></tr>'
        )
        yield from map(_row, rows)
        yield "</tbody>"


def _row(row: Row) -> str:
    star = "*" if row.by_numpy else ""
    cells = [f"<td>{row.number}{star}</td>"]
    cells += [f'<td class="text">{markup.escape(text)}</td>' for text in (row.kernel, row.memory)]
    cells += [f"<td>{markup.escape(text)}</td>" for text in row.numbers]
    if row.share is not None:
        end = f"{min(row.share, 1):.1%}"
        bar = f"linear-gradient(to right, {BAR} {end}, transparent {end})"
        cells[-1] = f'<td class="share" style="background: {bar}">{row.numbers[-1]}</td>'
    return f"<tr>{''.join(cells)}</tr>"
