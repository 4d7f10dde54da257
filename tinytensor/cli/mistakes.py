"""`tinytensor try mistakes`: the museum of mistakes in a terminal."""

import textwrap
import warnings

import click
import numpy as np

from tinytensor import datasets
from tinytensor.coach.museum import EXHIBITS, STEPS, Exhibit
from tinytensor.lessons import known_by_name

WIDTH = 80  # columns
BARS = "▁▂▃▄▅▆▇█"
CURVE = 40  # characters of a curve


def show_mistakes(name: str | None) -> None:
    """Run the programs, or the one of this name, and print curves and findings.

    Raises UnknownName if there is no such program.
    """
    known = {each.name: each for each in EXHIBITS}
    shown = (
        EXHIBITS if name is None else [known_by_name(known, name, "try mistakes: there is none")]
    )
    if name is None:
        text = (
            f"{len(shown)} short programs with one mistake each, of at most {STEPS} steps. None "
            "raises an error. Each curve is the loss, from the first step to the last."
        )
        click.echo(textwrap.fill(text, WIDTH))
    data, named = datasets.mnist(), 0
    for each in shown:
        named += _show(each, data, with_source=name is not None)
    click.echo(f"\nThe coach named {named} of {len(shown)} mistakes.")
    if name is None:
        click.echo("tinytensor try mistakes NAME prints the program, too.")


def _show(each: Exhibit, data: datasets.Dataset, with_source: bool) -> bool:
    """Run and print one program; True if the coach named its mistake."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a beginner's program may hide warnings, too
        seen = each.run(data)
    click.echo(f"\n{each.name}\n{textwrap.fill(each.mistake, WIDTH)}")
    if with_source:
        click.echo(f"\n{each.source}\n")
    first, last = seen.losses[0], seen.losses[-1]
    click.echo(f"loss {first:.3g} {curve(seen.losses)} {last:.3g}")
    for finding in seen.findings:
        click.echo(str(finding))
    return any(finding.name == each.name for finding in seen.findings)


def curve(values: list[float]) -> str:
    """The values as a row of at most CURVE bars, from the smallest to the largest value."""
    parts = np.array_split(np.array(values), min(CURVE, len(values)))
    means = np.array([part.mean() for part in parts])
    if not np.isfinite(means).all():
        return "".join(BARS[0] if np.isfinite(x) else "?" for x in means)
    low, high = means.min(), means.max()
    heights = (means - low) / (high - low) if high > low else np.zeros(len(means))
    return "".join(BARS[round(float(h) * (len(BARS) - 1))] for h in heights)
