"""Chapters: Markdown files that explain the lessons, split into their sections.

A chapter starts with "# number: title". Each section starts with "## ", and the sections named in
REQUIRED are in every chapter. An HTML comment after a number names its measurement and the
tolerance: `92.0<!-- train softmax / accuracy at 2000 ± 0.5 --> %`. Readers of the chapter do not
see it, and the slow tests measure the number again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "chapters"
REQUIRED = ("The network", "What to look at", "Try it", "Questions", "Answers")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Chapter:
    """The text of one chapter, in Markdown.

    title: the heading of the file, without "# "
    introduction: what is between the title and the first section
    sections: Markdown by heading, in the order of the file
    """

    title: str
    introduction: str
    sections: dict[str, str]

    def markdown(self, *headings: str) -> str:
        """The named sections, with their headings."""
        return "\n".join(f"## {heading}\n\n{self.sections[heading]}\n" for heading in headings)

    def items(self, heading: str) -> list[str]:
        """The items of a section that is a numbered list, each without its number."""
        _, *items = re.split(r"^\d+\. +", self.sections[heading], flags=re.MULTILINE)
        return [item.strip() for item in items]


def read(file: str) -> Chapter:
    """The chapter in a file of the folder `chapters`, without its comments."""
    text = _COMMENT.sub("", (FOLDER / file).read_text(encoding="utf-8"))
    head, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    pairs = (part.split("\n", 1) for part in parts)
    title, _, introduction = head.removeprefix("# ").partition("\n")
    sections = {heading: body.strip() for heading, body in pairs}
    return Chapter(title, introduction.strip(), sections)
