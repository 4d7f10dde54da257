"""A page for each lesson: its chapter, its network, a short run with the six panels, its program.

The chapter's text is the package's own: nothing is written twice.
"""

import textwrap
from pathlib import Path

from tinytensor.lessons import _FILES, Lesson, lessons

COURSE = Path(__file__).parents[1] / "course"
# Steps of the run on the page, so that the site is built in minutes: a convolution takes longer.
STEPS = {"conv": 100, "conv-dropout": 100, "batchnorm-conv": 20, "fast": 100, "best": 20}
DENSE_STEPS = 500
TESTS = 10  # the number of tests during the run

PAGE = """\
---
file_format: mystnb
kernelspec:
  name: python3
---

<!-- Written by docs/extensions/chapters.py while the site is built. -->

(lesson-{name})=

# {number} {title}

{chapter}

## The network

```{{code-cell}} python
import tinytensor as tt
from tinytensor.lessons import find
from tinytensor.train import Training

lesson = find("{name}")
data = tt.datasets.mnist()
some = data._replace(test_images=data.test_images[:1000], test_labels=data.test_labels[:1000])
training = Training(lesson, some, steps={steps}, evaluate_every={every})
print(training.model)
print(sum(x.size for x in training.model.parameters()), "parameters")
```

## The first {steps} steps

A full run has {all_steps:,} steps and 10,000 test images: `tinytensor train {name}`. The run on
this page has {steps} steps and 1,000 test images.

```{{code-cell}} python
report = tt.live.show(training)
print(f"after {{report.step}} steps: {{report.test_accuracy:.2%}} of the test digits are correct")
```

## One training step as a program

The kernel calls of one step, as `tinytensor program {name}` prints them: [what the columns
mean](../how/program.md).

```{{code-cell}} python
:tags: [hide-output]

from tinytensor.datasets import batches

step = tt.capture(Training(lesson, data).train_step)
step(*next(batches(data.train_images, data.train_labels, lesson.batch, seed=0)))
print(step.program)
```

## The file

{{source}}`{file}` is the whole lesson.

```{{literalinclude}} ../../{file}
:language: python
:start-at: import tinytensor as tt
```
"""


def page(lesson: Lesson, file: str) -> str:
    """The page of a lesson, whose source is in `file`."""
    steps = STEPS.get(lesson.name, DENSE_STEPS)
    return PAGE.format(
        name=lesson.name,
        number=lesson.number,
        title=lesson.title,
        chapter=to_markdown(lesson.paragraphs),
        steps=steps,
        every=steps // TESTS,
        all_steps=lesson.steps,
        file=file,
    )


def to_markdown(paragraphs: list[str]) -> str:
    """A chapter's paragraphs as Markdown: drawings and commands as code, headings in bold."""
    return "\n\n".join(map(_paragraph, paragraphs))


def _paragraph(paragraph: str) -> str:
    head, colon, rest = paragraph.partition(": ")
    if paragraph.startswith("    "):
        return f"```text\n{textwrap.dedent(paragraph)}\n```"
    if head == "Try":
        commands = [line.removeprefix("Try: ") for line in paragraph.splitlines()]
        return "**Try**\n\n```sh\n" + "\n".join(commands) + "\n```"
    if colon and head in ("Formula", "Look for"):
        return f"**{head}:** {_escaped(rest)}"
    return _escaped(paragraph)


def _escaped(text: str) -> str:
    for character in "\\*_<[":
        text = text.replace(character, f"\\{character}")
    return text


def write(app, config) -> None:
    """Write the pages that changed, and remove those of lessons that are gone."""
    wanted = {}
    for module, lesson in zip(_FILES, lessons(), strict=True):
        text = page(lesson, f"tinytensor/lessons/{module}.py")
        wanted[COURSE / f"lesson-{lesson.number}.md"] = text
    for old in set(COURSE.glob("lesson-*.md")) - set(wanted):
        old.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app) -> dict[str, bool]:  # noqa: D103
    app.connect("config-inited", write)
    return {"parallel_read_safe": True}
