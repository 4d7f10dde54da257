"""The course: `tinytensor course`, `lessons`, `lesson NAME`, `program LESSON`, `try CLAIM`."""

import datetime
import textwrap
from contextlib import suppress

import click

from tinytensor import datasets, door, lessons
from tinytensor.capture import listing_html
from tinytensor.capture.captured import capture
from tinytensor.cli.live_option import say
from tinytensor.cli.output import about_seconds, check_writable, rendered, show, write
from tinytensor.errors import SettingError
from tinytensor.extras import check_installed
from tinytensor.plural import plural
from tinytensor.train import Training, seconds_a_step


def show_course(
    lesson: str | None,
    backend: str,
    steps: int | None,
    seed: int,
    threads: int | None,
    port: int | None,
    no_browser: bool,
    speed: float | None,
    present: bool,
    host: str | None,
    allowed: tuple[str, ...],
) -> None:
    """Run `tinytensor course`; tinytensor_command.commands has its options."""
    check_installed("course", "live", "bokeh")
    from tinytensor.live.course import Course
    from tinytensor.live.course_page import page
    from tinytensor.live.watching import invitation, pages_served

    course = lessons.course()
    first = course[0] if lesson is None else lessons.find(lesson)
    if first not in course:
        raise SettingError(
            f"course: lesson {first.name} is not part of it; a lesson from {course[0].number} to "
            f"{course[-1].number} is needed, or: tinytensor train {first.name} --live"
        )
    if threads is not None:
        door.set_num_threads(threads)
    door.set_backend(backend)
    shown = Course(
        course, datasets.mnist(), first=course.index(first), steps=steps, seed=seed, speed=speed
    )
    used = door.current_backend()
    click.echo(
        f"{plural(len(course), 'lesson')} on {used.name}, {plural(used.num_threads, 'thread')}",
        err=True,
    )
    with suppress(KeyboardInterrupt), pages_served(
        lambda view: page(shown, view), port=port, browser=not no_browser, present=present,
        host=host, allowed=allowed, say=say, message=invitation(speed),
    ):  # fmt: skip
        shown.run_until_interrupted()


def list_lessons() -> None:
    """Run `tinytensor lessons`; tinytensor_command.commands has its options."""
    from tinytensor.bench.noise import NoiseMonitor
    from tinytensor.cli.progress import progress

    data, course, used = datasets.mnist(), lessons.lessons(), door.current_backend()
    monitor = NoiseMonitor()
    monitor.use_threads(used.num_threads)
    lines = [f"{'':6}{'name':17}{'reaches':>7}{'steps':>7}{'here':>7}  what it adds"]
    with progress(len(course)) as work, monitor.during([]):
        for lesson in course:
            work.show(f"measuring lesson {lesson.number}")
            monitor.count_probe()
            seconds = lesson.steps * seconds_a_step(lesson, data)
            monitor.count_probe()
            lines.append(
                f"{lesson.number:6}{lesson.name:17}{lesson.expected_accuracy:>7.4g}"
                f"{lesson.steps:>7,}{about_seconds(seconds):>7}  {lesson.title}"
            )
    now = datetime.datetime.now().isoformat(" ", timespec="minutes")
    when = (
        f"Here: estimated at {now} from ten training steps on {used.name}, "
        f"{plural(used.num_threads, 'thread')}; tests take additional time."
    )
    click.echo("\n".join(lines))
    click.echo(f"\n{textwrap.fill(when, 80)}\n{textwrap.fill(str(monitor.verdict()), 80)}")
    click.echo("\ntinytensor lesson NAME prints the chapter, tinytensor train NAME trains it.")


def show_lesson(name: str, answers: bool, code: bool) -> None:
    """Run `tinytensor lesson`; tinytensor_command.commands has its options."""
    from rich.markdown import Markdown
    from rich.syntax import Syntax

    lesson = lessons.find(name)
    if code:
        show(rendered(Syntax("", "python").highlight(lessons.source(name))))
        return
    chapter = lesson.read_chapter()
    if answers:
        pairs = zip(chapter.items("Questions"), chapter.items("Answers"), strict=True)
        text = "\n".join(f"1. **{question}**\n\n   {answer}" for question, answer in pairs)
        show(rendered(Markdown(text)))
        return
    headings = [heading for heading in chapter.sections if heading != "Answers"]
    if lesson.expected_of == "best":
        when = f"in the best test of the {lesson.steps:,} steps"
    else:
        when = f"after {lesson.steps:,} steps"
    accuracy = f"{100 * lesson.expected_accuracy:.4g} %"
    end = (
        f"Expected: {when} the network recognises at least {accuracy} of the test images, as a "
        "mean of several runs.  \n"
        f"Train it: `tinytensor train {lesson.name}`  \n"
        f"The answers: `tinytensor lesson {lesson.name} --answers`"
    )
    head = f"# {chapter.title}\n\n{chapter.introduction}\n\n"
    text = f"{head}{chapter.markdown(*headings)}\n---\n\n{end}\n"
    show(rendered(Markdown(text)))


def show_program(
    lesson: str,
    backend: str,
    batch: int | None,
    profile: bool,
    html_file: str | None,
    rewritten: bool,
) -> None:
    """Run `tinytensor program`; tinytensor_command.commands has its options."""
    from tinytensor.cli.progress import progress

    found = lessons.find_or_read(lesson)
    check_writable("--html", html_file)
    door.set_backend(backend)
    data = datasets.mnist()
    training = Training(found, data, batch=batch)
    step = capture(training.train_step, rewrites=None if rewritten or profile else ())
    images, labels = data.train_images, data.train_labels
    with progress(1 + profile) as work:
        work.show("recording a step")
        step(*next(datasets.batches(images, labels, size=training.batch, seed=0)))
        if step.program is None:
            return
        if profile:
            work.show("measuring its calls")
        shown = step.program.profile() if profile else step.program
    if html_file is None:
        click.echo(shown)
    else:
        title = f"Lesson {found.number}, {found.title}: a training step"
        write("--html", html_file, listing_html.page(title, shown.to_html()))


def try_claim(name: str | None, mistake: str | None, seeds: int, backend: str) -> None:
    """Run `tinytensor try`; tinytensor_command.commands has its options."""
    from tinytensor import claims
    from tinytensor.cli.progress import progress

    if name is None:
        for claim in claims.CLAIMS:
            click.echo(f"{claim.name:15} {claim.sentence}{_time(claim.minutes, ' ({})')}")
        click.echo(
            f"{'mistakes':15} Short programs with one mistake each, and what the coach finds."
        )
        return
    if name == "mistakes":
        from tinytensor.cli.mistakes import show_mistakes

        door.set_backend(backend)
        show_mistakes(mistake)
        return
    if mistake is not None:
        raise SettingError(f"try: got {name} {mistake}; one claim, or mistakes MISTAKE, is needed")
    claim = claims.find_claim(name)
    door.set_backend(backend)
    measurement = claim.measurement
    click.echo(f"{claim.sentence}{_time(claim.minutes, '  This takes {}.')}\n")
    click.echo(f"{measurement.caption}\nMeans of {plural(seeds, 'seed')}.\n")
    first, *others = measurement.columns
    spread = f"{'of the seeds':>14}" if measurement.ranks else ""
    click.echo(f"{'':22}{first:>8}{spread}" + "".join(f"{name:>9}" for name in others))
    measured = []
    with progress(seeds * len(claim.variants())) as work:
        for result in claims.measure(claim, datasets.mnist(), seeds, work.show):
            measured.append(result)
            mean, *means = map(measurement.text, result.means)
            if measurement.ranks:
                ends = min(result.columns[0]), max(result.columns[0])
                spread = "-".join(map(measurement.text, ends)).rjust(14)
            work.echo(f"{result.variant:22}{mean:>8}{spread}" + "".join(f"{x:>9}" for x in means))
    if seeds == 1:
        click.echo("\nOne seed shows no spread, so there is no verdict.")
        return
    click.echo()
    checked = claims.check(claim, measured)
    for each in checked:
        ranges = " against ".join(
            measurement.text(low)
            if low == high
            else " to ".join(map(measurement.text, (low, high)))
            for low, high in (each.above, each.below)
        )
        why = ", the ranges overlap" if each.overlap else ""
        click.echo(f"{each.check}:\n  {ranges}: {each.verdict}{why}")
    click.echo(f"\nThe claim {_VERDICTS[claims.verdict(checked)]}, by {plural(seeds, 'seed')}.")


_VERDICTS = {
    "yes": "holds",
    "no": "does not hold",
    "unclear": "is unclear: ranges overlap, and more --seeds may help",
}


def _time(minutes: float, words: str) -> str:
    """The words with the time in it; empty for less than half a minute."""
    return words.format(f"{minutes:g} min") if minutes >= 0.5 else ""
