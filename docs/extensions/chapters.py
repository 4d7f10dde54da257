"""A page for each lesson: its chapter, its network, a short run with the six panels, its program.

The chapter's text is the package's own: nothing is written twice.
"""

import doctest
import re
from pathlib import Path

from tinytensor.lessons import _FILES, Lesson, lessons
from tinytensor.lessons.chapter import Chapter

COURSE = Path(__file__).parents[1] / "course"
# Steps of the run on the page, so that the site is built in minutes: a convolution takes longer.
STEPS = {
    "conv": 100, "conv-dropout": 100, "batchnorm-conv": 20, "fast": 100, "small": 100, "best": 20,
}  # fmt: skip
DENSE_STEPS = 500
TESTS = 10  # the number of tests during the run

EXAMPLES = re.compile(r"```python\n(>>>.*?)```", re.DOTALL)

PAGE = """\
---
file_format: mystnb
kernelspec:
  name: python3
---

<!-- Written by docs/extensions/chapters.py while the site is built. -->

(lesson-{name})=

# {number}: {title}

{chapter}

{in_a_browser}## The network in Python

```{{code-cell}} python
import tinytensor as tt
from tinytensor.lessons import find
from tinytensor.train import Training

lesson = find("{name}")
data = tt.datasets.mnist()
some = data._replace(
    test_images=data.test_images[:1000], test_labels=data.test_labels[:1000]
)
training = Training(lesson, some, steps={steps}, evaluate_every={every})
print(training.model)
print(sum(x.size for x in training.model.parameters()), "parameters")
```

## The first {steps} steps

A full run has {all_steps:,} steps and 10,000 test images: `tinytensor train {name}`. The run on
this page has {steps} steps and 1,000 test images.

```{{code-cell}} python
tt.live.show(training)
report = training.report
accuracy = 100 * report.test_accuracy
print(f"after {{report.step}} steps: {{accuracy:.2f}} % of the test digits are correct")
```

## One training step as a program

A *kernel* is a function that computes one array operation. The list shows the kernel calls of one
training step, as `tinytensor program {name}` prints them: first the forward pass, then the
backward pass, then the update of the weights. An arrow separates what a call reads from what it
writes. FLOP are floating-point operations. The lines above the table are a summary. *Temporaries*
are arrays for results between two calls. A heading such as `forward  layers.0: Linear` names the
layer of the calls below it, or the line of Python outside of a layer. You do not need the list
for the course. [A training step is a program](../how/program.md) explains more.

```{{code-cell}} python
:tags: [hide-output]

from tinytensor.datasets import batches

step = tt.capture(Training(lesson, data).train_step, rewrites=())
step(*next(batches(data.train_images, data.train_labels, size=lesson.batch, seed=0)))
print(step.program)
```

## The file

{{source}}`{file}` is the whole lesson:

```{{literalinclude}} ../../{file}
:language: python
```
"""

# On the page of the first lesson
IN_A_BROWSER = """\
## Train it here

Press *Play*: this network trains in your browser, without Python. Move the slider to change the
learning rate, and draw a digit. [A page that trains without Python](../guides/browser.md) explains
how it works.

```{code-cell} python
:tags: [remove-cell]

%%sh
tinytensor export 1.0 --html $DOCS_PAGES/lesson-1.0-in-a-browser.html
```

<iframe class="page" src="../lesson-1.0-in-a-browser.html" title="Lesson 1.0 in a browser"></iframe>

<a href="../lesson-1.0-in-a-browser.html">Open the page alone.</a>

"""


def page(lesson: Lesson, file: str) -> str:
    """The page of a lesson, whose source is in `file`."""
    steps = STEPS.get(lesson.name, DENSE_STEPS)
    return PAGE.format(
        name=lesson.name,
        number=lesson.number,
        title=lesson.title,
        chapter=to_markdown(lesson.read_chapter()),
        in_a_browser=IN_A_BROWSER if lesson is lessons()[0] else "",
        steps=steps,
        every=steps // TESTS,
        all_steps=lesson.steps,
        file=file,
    )


def to_markdown(chapter: Chapter) -> str:
    """A chapter as Markdown for this site: its examples run, and its answers can be opened."""
    *headings, last = chapter.sections
    assert last == "Answers", f"the chapter {chapter.title} must end with its answers"
    text = f"{chapter.introduction}\n\n{chapter.markdown(*headings)}"
    answers = f"<details>\n<summary>Answers</summary>\n\n{chapter.sections[last]}\n\n</details>"
    return f"{EXAMPLES.sub(_cells, text)}\n{answers}"


def _cells(block: re.Match[str]) -> str:
    """A block of examples as cells, one for each output. The output is what the cell prints now."""
    cells, lines = [], ""
    for example in doctest.DocTestParser().get_examples(block[1]):
        lines += example.source
        if example.want:
            cells.append(lines)
            lines = ""
    if lines:
        cells.append(lines)
    return "\n\n".join(f"```{{code-cell}} python\n{cell}```" for cell in cells)


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
