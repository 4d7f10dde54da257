"""`tinytensor learn`: exercises, in which a student writes the kernels of the course."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinytensor.cli.output import check_writable, rounded, write
from tinytensor.errors import DataError, SettingError
from tinytensor.plural import plural

if TYPE_CHECKING:
    from tinytensor.learn.exercises import Exercise
    from tinytensor.learn.gradebook import ExerciseResult
    from tinytensor.learn.sandbox import Verdict


def learn(
    names: tuple[str, ...],
    check: bool,
    hint: bool,
    solution: bool,
    train: bool,
    language: str | None,
    report: str | None,
    student: str | None,
    merge: bool,
) -> None:
    """Run `tinytensor learn`; tinytensor_command.commands has its options."""
    from tinytensor.learn import exercises, gradebook

    actions = {"--check": check, "--hint": hint, "--solution": solution, "--train": train}
    given = [option for option, is_given in actions.items() if is_given]
    if len(given) > 1:
        raise SettingError(f"learn: got {' and '.join(given)}; give one of them")
    check_writable("--report", report)
    if merge:
        _merge(names, given, report)
        return
    if report is not None:
        _report(names, given, report, student)
        return
    if student is not None:
        raise SettingError("--student: is the name in a report; add --report FILE")
    if not names:
        if given or language:
            option = given[0] if given else f"--language {language}"
            raise SettingError(f"{option}: needs an exercise: tinytensor learn matmul {option}")
        _list()
        return
    if len(names) > 1:
        raise SettingError(f"learn: got {' '.join(names)}; one exercise is needed")
    exercise = exercises.find(names[0].removesuffix(".py").removesuffix(".c"))
    if language is not None and language not in exercise.languages:
        raise SettingError(
            f"--language: {exercise.name} is not an exercise in {language}; choose from "
            f"{', '.join(exercise.languages)}"
        )
    known = gradebook.load(Path())
    if check:
        file, used = _answer(exercise, language)
        _check(exercise, used, file, known)
    elif hint:
        _hint(exercise, known)
    elif solution:
        _solution(exercise, language, known)
    elif train:
        file, used = _answer(exercise, language)
        _train(exercise, used, file)
    else:
        _write_stub(exercise, language or exercise.languages[0], known)


def _list() -> None:
    """Print the exercises and the results of the current folder."""
    from tinytensor.learn import gradebook
    from tinytensor.learn.exercises import EXERCISES

    known = gradebook.load(Path())
    for exercise in EXERCISES:
        result = known.exercises.get(exercise.name, gradebook.ExerciseResult())
        state = gradebook.STATES[result.state]
        click.echo(f"{state} {exercise.number:2} {exercise.name:18} {exercise.title}")
        if result.total:
            click.echo(f"     {'':18} {_summary(result)}")
    click.echo(f"\n{gradebook.LEGEND}")
    click.echo(f"{known.passed()} of {len(EXERCISES)} passed. Next: {_next(known)}")


def _next(known: Any) -> str:
    from tinytensor.learn import gradebook
    from tinytensor.learn.exercises import EXERCISES

    for exercise in EXERCISES:
        result = known.exercises.get(exercise.name, gradebook.ExerciseResult())
        if result.state != "passed":
            language = result.language or exercise.languages[0]
            check = f"{_choice(exercise, language)} --check" if result.state else ""
            return f"tinytensor learn {exercise.name}{check}"
    return "all are passed"


def _summary(result: ExerciseResult) -> str:
    """The last or best check of an exercise in one line."""
    parts = [f"{result.right} of {result.total} right", result.language]
    if result.gflops:
        parts.append(f"{rounded(result.gflops, 3)} GFLOP/s")
    if result.rung:
        parts.append(f"rung {result.rung}")
    return ", ".join(parts)


def _write_stub(exercise: Exercise, language: str, known: Any) -> None:
    """Write the student's file, if there is none."""
    from tinytensor.learn import gradebook

    file = Path(f"{exercise.name}{exercise.page(language).suffix}")
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(exercise.stub(language))
    except FileExistsError:
        raise SettingError(
            f"learn: {file} exists and stays as it is; check it with `tinytensor learn "
            f"{exercise.name} --language {language} --check`, or rename it to start again"
        ) from None
    except OSError as error:
        raise DataError(f"learn: {file} can't be written: {error.strerror}") from None
    result = known.of(exercise)
    result.started = result.started or gradebook.now()
    result.state = result.state or "started"
    gradebook.save(known, Path())
    try_it = f"cc -DTRY {file} -lm -pthread && ./a.out" if language == "c" else f"python {file}"
    command = f"tinytensor learn {exercise.name}"
    check = f"{command}{_choice(exercise, language)} --check"
    click.echo(f"{file} ({language}): exercise {exercise.number}\n{exercise.title}")
    click.echo(f"  1. read it, and write the function\n  2. try it:   {try_it}")
    click.echo(f"  3. check it: {check}\n  stuck:       {command} --hint")
    others = [other for other in exercise.languages if other != language]
    if others:
        click.echo(f"  another language: --language {' or '.join(others)}")


def _files(exercise: Exercise, languages: Iterable[str]) -> list[Path]:
    """The student's files of an exercise in these languages."""
    suffixes = sorted({exercise.page(each).suffix for each in languages})
    return [file for suffix in suffixes if (file := Path(exercise.name + suffix)).exists()]


def _choice(exercise: Exercise, language: str) -> str:
    """The option that chooses a file, if there is one in C and one in Python."""
    return f" --language {language}" if len(_files(exercise, exercise.languages)) > 1 else ""


def _answer(exercise: Exercise, language: str | None) -> tuple[Path, str]:
    """The student's file, and its language. A .py file is Numba if it imports numba.

    Raises SettingError if there is no file, or one in C and one in Python.
    """
    languages = exercise.languages if language is None else (language,)
    found = _files(exercise, languages)
    if not found:
        suffixes = {exercise.page(each).suffix for each in languages}
        option = f" --language {language}" if language is not None else ""
        raise SettingError(
            f"learn: there is no {exercise.name}{' or '.join(sorted(suffixes))} in this folder; "
            f"write it with `tinytensor learn {exercise.name}{option}`"
        )
    if len(found) > 1:
        raise SettingError(f"learn: got {' and '.join(map(str, found))}; choose with --language")
    if language is not None:
        return found[0], language
    if found[0].suffix == ".c":
        return found[0], "c"
    try:
        text = found[0].read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"learn: {found[0]}: {error.strerror}") from None
    is_numba = "import numba" in text and "numba" in exercise.languages
    return found[0], "numba" if is_numba else exercise.languages[0]


def _check(exercise: Exercise, language: str, file: Path, known: Any) -> None:
    """Judge the student's file, print the verdict, and store it."""
    from tinytensor.learn import gradebook, sandbox

    click.echo(f"checking {file} ({language}), at most {sandbox.SECONDS:.0f} s", err=True)
    verdict = sandbox.check(exercise, language, file)
    known.of(exercise).add(verdict, language)
    gradebook.save(known, Path())
    click.echo(_verdict(exercise, language, verdict, known))
    if not verdict.is_passed:
        raise click.exceptions.Exit(1)


def _verdict(exercise: Exercise, language: str, verdict: Verdict, known: Any) -> str:
    """The verdict as text of 80 columns."""
    lines = []
    command = f"tinytensor learn {exercise.name}"
    if verdict.problem:
        lines += [_wrapped(verdict.problem), ""]
    if verdict.printed:
        lines += ["Your code printed:", *(line[:78] for line in verdict.printed.split("\n")), ""]
    score = f"{verdict.right} of {verdict.total} cases right"
    if not verdict.is_right:
        lines.append(f"NOT YET: {score}" if verdict.total else "NOT YET: the file can't be used")
        lines.append(f"A hint: {command} --hint")
        return "\n".join(lines)
    lines.append(f"RIGHT: {score}, in {verdict.seconds:.0f} s")
    lines += _pace(verdict.pace)
    if verdict.is_passed:
        lines.append(f"PASSED. Ours: {command} --solution")
        if exercise.kernel == "matmul":
            choice = _choice(exercise, language)
            lines.append(f"Train lesson 1.0 with it: {command}{choice} --train")
        lines.append(click.wrap_text(f"An idea: {exercise.next_idea}", 78, "", " " * 9))
        lines.append(f"Next: {_next(known)}")
    elif verdict.pace:
        lines.append(
            f"NOT YET: this rung needs {rounded(verdict.pace['needed'], 3)} GFLOP/s. If other "
            "programs\nuse the machine, check again later."
        )
    else:
        lines.append("NOT YET: its speed was not measured in time; check again later.")
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    """A text with its long lines of prose wrapped; lines of a compiler keep their columns."""
    return "\n".join(
        click.wrap_text(line, 78, "", "  ") if len(line) > 78 and line[0] != " " else line
        for line in text.split("\n")
    )


def _pace(pace: dict[str, Any]) -> list[str]:
    """The lines about the speed."""
    if not pace:
        return []
    lines = [
        f"Speed: {rounded(pace['gflops'], 3)} GFLOP/s, measured with",
        f"       {pace['function']}",
    ]
    if pace["share"] is not None:
        share = rounded(100 * pace["share"], 2) if pace["share"] < 1 else "about 100"
        threads = plural(pace["threads"], "thread")
        lines.append(f"       {share} % of the roofline of this machine, on {threads}")
    else:
        lines.append("       no roofline: the C backend measures it, and doesn't work here")
    if pace["rung"]:
        lines.append(f"Rung:  {pace['rung']} ({rounded(pace['rung_gflops'], 3)} GFLOP/s)")
    elif pace["next_rung"]:
        lines.append(f"Rung:  below the first one, {pace['next_rung']}, whose loops are compiled")
    if pace["next_rung"]:
        lines.append(f"Above: {pace['next_rung']} ({rounded(pace['next_gflops'], 3)} GFLOP/s)")
        lines.append(click.wrap_text(pace["next_why"], 72, " " * 7, " " * 7))
    return lines


def _hint(exercise: Exercise, known: Any) -> None:
    """Print the hints that were printed before, and the next one."""
    from tinytensor.learn import gradebook

    result = known.of(exercise)
    result.hints = min(result.hints + 1, len(exercise.hints))
    gradebook.save(known, Path())
    for number, hint in enumerate(exercise.hints[: result.hints], start=1):
        start = f"{number}. "
        click.echo(click.wrap_text(hint, 78, start, " " * len(start)))
    left = len(exercise.hints) - result.hints
    click.echo(f"({plural(left, 'more hint')})" if left else "(these are all hints)")


def _solution(exercise: Exercise, language: str | None, known: Any) -> None:
    """Print the solution of a passed exercise."""
    result = known.of(exercise)
    if result.state not in ("passed", "slow"):
        raise SettingError(
            f"--solution: is printed after a right answer; `tinytensor learn {exercise.name} "
            "--hint` helps"
        )
    click.echo(exercise.solution(language or result.language or exercise.languages[0]), nl=False)


def _train(exercise: Exercise, language: str, file: Path) -> None:
    """Train lesson 1.0 with the student's matmul, if it is right."""
    from tinytensor.learn import sandbox

    if exercise.kernel != "matmul":
        raise SettingError(f"--train: needs an exercise of matmul; {exercise.name} is none")
    click.echo(f"checking {file} ({language}) first", err=True)
    verdict = sandbox.check(exercise, language, file)
    if not verdict.is_right:
        click.echo(f"{verdict.problem}\n\nNOT YET: a right answer is needed before --train")
        raise click.exceptions.Exit(1)
    words = ["-P", "-m", "tinytensor.learn.own_matmul", exercise.name, language]
    done = subprocess.run([sys.executable, *words, str(file.absolute())], check=False)
    if done.returncode < 0:
        click.echo(f"your code crashed ({signal.Signals(-done.returncode).name})", err=True)
    if done.returncode:
        raise click.exceptions.Exit(1)


def _report(names: tuple[str, ...], given: list[str], file: str, student: str | None) -> None:
    """Write the results of the current folder."""
    from tinytensor.learn import gradebook

    if names or given:
        raise SettingError("--report: writes all results; leave the name and other options out")
    known = gradebook.load(Path())
    known.student = gradebook.one_line(student or known.student)
    if not known.student:
        raise SettingError("--report: needs your name; add --student NAME")
    gradebook.save(known, Path())
    text = known.json() if file.lower().endswith(".json") else gradebook.page(known)
    write("--report", file, text)
    click.echo(f"{file}: {known.passed()} passed exercises of {known.student}", err=True)


def _merge(names: tuple[str, ...], given: list[str], file: str | None) -> None:
    """Print the table of a class, and write it as HTML."""
    from tinytensor.learn import gradebook

    if given:
        raise SettingError(f"--merge: got {given[0]} too; give one of them")
    if not names:
        raise SettingError("--merge: needs the reports: tinytensor learn --merge *.json")
    if file is not None and not file.lower().endswith(".html"):
        raise SettingError(f"--report: got {file}; with --merge a file .html is needed")
    reports, problems = {}, []
    for name in names:
        try:
            reports[name] = gradebook.read(Path(name))
        except DataError as error:  # the other files are merged
            problems.append(str(error))
    if not reports:
        raise DataError(problems[0])
    others = [student for name, student in reports.items() if Path(name).name != gradebook.FILE]
    by_file = {  # *.json may also match the file of the results itself
        name: student
        for name, student in reports.items()
        if Path(name).name != gradebook.FILE or student not in others
    }
    students = list(by_file.values())
    named = Counter(student.student for student in students)
    for name, student in by_file.items():
        if named[student.student] > 1 or not student.student:
            student.student = f"{student.student} ({name})".strip()
    click.echo(gradebook.class_table(students), nl=False)
    if file is not None:
        write("--report", file, gradebook.class_page(students))
    for problem in problems:
        click.echo(f"tinytensor: left out: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(2)
