"""The strip of the live page that shows what the coach has found."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinytensor.coach.check import Finding
    from tinytensor.coach.coaching import Coach


def coach_strip(coach: Coach | None) -> str:
    """The findings as HTML; empty without a coach.

    Each finding is one line, which opens to its sign, its place and its cure.
    """
    if coach is None:
        return ""
    findings = list(coach.findings)
    if not findings:
        return '<p class="coach">coach: no mistake found so far</p>'
    return f'<div class="coach">{"".join(map(_row, findings))}</div>'


def _row(found: Finding) -> str:
    mistake, evidence, where, cure = map(
        html.escape, (found.mistake, found.evidence, found.where, found.cure)
    )
    return (
        f"<details><summary><b>step {found.step}: {mistake}</b> <span>({where})</span></summary>"
        f"<p>Sign: {evidence}</p><p>Cure: {cure}</p></details>"
    )
