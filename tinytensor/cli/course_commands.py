"""The course: `tinytensor lessons`, `lesson NAME`, `program LESSON`, `try CLAIM`."""

from typing import TYPE_CHECKING

import click

from tinytensor import datasets, door, lessons
from tinytensor.capture import listing_html
from tinytensor.capture.captured import capture
from tinytensor.cli.options import Count, backend_option
from tinytensor.cli.output import about_seconds, check_writable, plural, write
from tinytensor.train import Training, seconds_a_step

if TYPE_CHECKING:
    from rich.console import Console


@click.command("lessons")
def lessons_command() -> None:
    """List the lessons, what each adds and reaches, and in what time."""
    data = datasets.mnist()
    click.echo(f"{'':5}{'name':18}{'reaches':>7}{'steps':>7}{'here':>7}  what it adds")
    for lesson in lessons.lessons():
        click.echo(
            f"{lesson.number:5}{lesson.name:18}{lesson.expected_accuracy:>7.4g}"
            f"{lesson.steps:>7,}{about_seconds(lesson.steps * seconds_a_step(lesson, data)):>7}"
            f"  {lesson.title}"
        )
    click.echo("\ntinytensor lesson NAME tells the chapter, tinytensor train NAME trains it.")


@click.command("lesson")
@click.argument("name")
def lesson_command(name: str) -> None:
    """Tell the chapter of lesson NAME.

    It has a drawing of the network, its formulas, what to look for and what to try.
    """
    from rich.console import Console

    lesson = lessons.find(name)
    console = Console(highlight=False)
    with console.capture() as text:  # what goes wrong with the output is main's to handle
        _tell(lesson, console)
    click.echo(text.get(), nl=False)


def _tell(lesson: lessons.Lesson, console: "Console") -> None:
    from rich.panel import Panel
    from rich.text import Text

    console.print(Panel(f"[bold]{lesson.number}  {lesson.title}[/bold]", expand=False))
    for paragraph in lesson.paragraphs:
        head, colon, rest = paragraph.partition(": ")
        if paragraph.startswith("    "):
            console.print(Text(paragraph, "cyan"), soft_wrap=True)
        elif colon and head in ("Formula", "Look for"):
            text = " ".join(rest.split())
            console.print(Text.assemble((f"{head}: ", "bold yellow"), text))
        elif head == "Try":
            for line in paragraph.splitlines():
                console.print(Text.assemble(("Try: ", "bold green"), line.removeprefix("Try: ")))
        else:
            console.print(Text(" ".join(paragraph.split())))
        console.print()
    when = "at its best in" if lesson.expected_of == "best" else "at the end of"
    expected = f"{lesson.expected_accuracy:.4g} of the test images, {when} {lesson.steps:,} steps"
    console.print(Text.assemble(("Expected: ", "bold yellow"), expected))
    console.print(Text.assemble(("Train it: ", "bold green"), f"tinytensor train {lesson.name}"))


@click.command("program")
@click.argument("lesson")
@backend_option
@click.option("--batch", type=Count(min=1), help="Images in a batch [the lesson's own].")
@click.option(
    "--profile", is_flag=True, help="Measure each call, and what this machine could do at most."
)
@click.option(
    "--html", "html_file", metavar="FILE", help="Write it there as a page; - for standard output."
)
@click.option("--as-recorded", is_flag=True, help="Leave out the rewrites that make it faster.")
def program_command(
    lesson: str,
    backend: str,
    batch: int | None,
    profile: bool,
    html_file: str | None,
    as_recorded: bool,
) -> None:
    """Show LESSON's training step as a list of kernel calls.

    First the forward part, then the backward one, which is the gradient, then the update.
    """
    found = lessons.find(lesson)
    check_writable("--html", html_file)
    door.set_backend(backend)
    data = datasets.mnist()
    training = Training(found, data, batch=batch)
    step = capture(training.train_step, rewrites=() if as_recorded else None)
    step(*next(datasets.batches(data.train_images, data.train_labels, training.batch, seed=0)))
    if step.program is None:
        return
    shown = step.program.profile() if profile else step.program
    if html_file is None:
        click.echo(shown)
    else:
        title = f"Lesson {found.number}, {found.title}: a training step"
        write("--html", html_file, listing_html.page(title, shown.to_html()))


@click.command("try")
@click.argument("name", required=False)
@click.option("--seeds", type=Count(min=1), default=3, show_default=True, help="Runs of each.")
@backend_option
def try_command(name: str | None, seeds: int, backend: str) -> None:
    """Check a sentence of the course by measuring what it compares.

    Without NAME, list the sentences.
    """
    from tinytensor import claims

    if name is None:
        for claim in claims.CLAIMS:
            click.echo(f"{claim.name:17}{claim.sentence}")
        return
    claim = claims.find_claim(name)
    door.set_backend(backend)
    click.echo(f"{claim.sentence}\n")
    click.echo("On the test images; the loss is the cross-entropy, whatever the training's was.\n")
    click.echo(
        f"{'':26}{'accuracy':>9}{'of the seeds':>18}{'loss':>8}{'its lowest':>11}{'seconds':>8}"
    )
    measured = []
    for result in claims.measure(claim, datasets.mnist(), seeds):
        measured.append(result)
        spread = f"{min(result.accuracies):.4f} to {max(result.accuracies):.4f}"
        click.echo(
            f"{result.variant:26}{result.accuracy:>9.4f}{spread:>18}{result.loss:>8.4f}"
            f"{result.lowest_loss:>11.4f}{result.seconds:>8.2f}"
        )
    best, worst = (f(measured, key=lambda m: m.accuracy) for f in (max, min))
    points = (best.accuracy - worst.accuracy) * 100
    click.echo(
        f"\nMeasured: {best.variant!r} is ahead of {worst.variant!r}\n"
        f"by {points:.2f} points of accuracy, on the mean of {plural(seeds, 'seed')}."
    )
