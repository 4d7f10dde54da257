"""The check of a student's file. It runs in a separate process: see sandbox.py.

    python -P -m tinytensor.learn.judge EXERCISE LANGUAGE FILE FD

The process writes events to the file descriptor FD, one JSON object per line:

    {"compiling": true}                a C compiler starts
    {"total": 60}                      the file is loaded; the number of cases that count
    {"case": "matmul: x (2, 3) ...",   a case starts
     "compiles": false}                true if Numba compiles the function in this case
    {"guarded": "the end of x"}        no memory can be used past the end of x; "" ends this
    {"right": true, "counted": true}   the case was right
    {"right": false, "problem": "..."} the case was wrong: expected and got, as text
    {"refused": "..."}                 the file can't be used
    {"stage": "speed"}                 the cases are done, and the speed is measured
    {"pace": {...}}                    the speed, see pace.py
    {"done": true}                     the end

If the last event is missing, the student's code has ended the process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tinytensor.arrays import Array
from tinytensor.learn import answer, draw, exercises, guard, pace, rules, thread_work
from tinytensor.learn.answer import Answer, AnswerError
from tinytensor.learn.case import JudgedCase, shown
from tinytensor.learn.draw import DrawnCall
from tinytensor.learn.exercises import CHANGED, READ, WRITTEN, Exercise, Signature

ADDRESSES = 3 << 30  # bytes that it may allocate; sandbox.py limits those in use
COMPILING = 15.0  # seconds of the cases and of Numba; after them further rungs are left out
FILE_SIZE = 64 << 20  # bytes of a file that it may write


def own_cases(exercise: Exercise, file: Path) -> list[JudgedCase]:
    """Return the cases of an exercise that has a separate check.

    Raises:
        AnswerError: the file can't be used.
    """
    check = importlib.import_module(f"tinytensor.learn.{exercise.name}_check")
    return list(check.cases(answer.load_module(file, exercise), file))


def cases(exercise: Exercise, functions: Answer, language: str, file: Path) -> list[JudgedCase]:
    """Return the cases of an exercise, for each function the smallest first."""
    found: list[JudgedCase] = []
    for function in exercise.functions:
        answered = functions[function.name]
        if language != "c":
            answered = rules.by_the_rules(answered, answer.refused_now(exercise, language))
        found += _cases_of(function, answered, language, file)
    if exercise.threads and language != "python":
        found.append(thread_work.case(exercise.functions[0], functions, file))
    return found


def _cases_of(
    function: Signature, answered: Callable[..., Any], language: str, file: Path
) -> Iterator[JudgedCase]:
    compiled = language != "python"
    drawn = draw.calls(function, larger=compiled)
    memory = None
    if compiled:
        largest = max(array.nbytes for call in drawn for array in call.arrays.values())
        memory = guard.GuardedMemory(largest)
    for i, call in enumerate(drawn):
        compiles = language == "numba" and i == 0
        yield JudgedCase(str(call), call.counted, _case(call, answered, memory, file), compiles)


def _case(
    call: DrawnCall, answered: Callable[..., Any], memory: guard.GuardedMemory | None, file: Path
) -> Callable[[], str | None]:
    def run() -> str | None:
        if memory is None:
            arrays = {name: array.copy() for name, array in call.arrays.items()}
            return _called(call, answered, arrays, file) or _problem(call, answered, arrays, file)
        first = guard.apart(call.arrays)
        first_error = _called(call, answered, first, file)  # a crash here has another reason
        guarded = list(_guarded(call, answered, memory, file))  # before the diagnosis calls again
        for name, error, arrays in (("", first_error, first), *guarded):
            problem = error or _problem(call, answered, arrays, file)
            if problem is not None:
                return f"only if {name} is at another address:\n{problem}" if name else problem
        return None

    return run


def _guarded(
    call: DrawnCall, answered: Callable[..., Any], memory: guard.GuardedMemory, file: Path
) -> Iterator[tuple[str, str | None, dict[str, Array]]]:
    """Call the function with each array next to a page without access, at its end and its start.

    Yields the name of the array, an error as text or None, and the arrays after the call. The
    arrays that the function writes come first: a write past their end would change other memory.
    """
    for argument in sorted(call.function.arrays, key=lambda argument: argument.use == READ):
        for place, put in (("end", memory.ending), ("start", memory.starting)):
            arrays = {name: array.copy() for name, array in call.arrays.items()}
            arrays[argument.name] = put(arrays[argument.name])
            report(guarded=f"the {place} of {argument.name}")
            error = _called(call, answered, arrays, file)
            report(guarded="")
            yield argument.name, error, {name: array.copy() for name, array in arrays.items()}


def _called(
    call: DrawnCall, answered: Callable[..., Any], arrays: dict[str, Array], file: Path
) -> str | None:
    """Call the student's function; return its error as text, or None."""
    try:
        with np.errstate(all="ignore"):
            answered(*arrays.values(), *call.scalars)
    except BaseException as error:
        return answer.describe(error, file) + _inputs(call)
    return None


def _problem(
    call: DrawnCall, answered: Callable[..., Any], arrays: dict[str, Array], file: Path
) -> str | None:
    """Return what is wrong with the arrays after a call, as text, or None."""
    for argument in call.function.arrays:
        before, after = call.arrays[argument.name], arrays[argument.name]
        if argument.use == READ and not np.array_equal(before, after, equal_nan=True):
            return f"it changed its input {argument.name}, which it must only read" + _inputs(call)
    expected = call.expected()
    for name, wrong in call.wrong(arrays).items():
        if wrong.any():
            text = _inputs(call) + shown(f"expected {name}", expected[name][0])
            text += _difference(call, answered, arrays, name, wrong, file)
            return f"the result is wrong{text}"
    return None


def _difference(
    call: DrawnCall,
    answered: Callable[..., Any],
    arrays: dict[str, Array],
    name: str,
    wrong: Array,
    file: Path,
) -> str:
    """Return a wrong array as text, and what is wrong with it."""
    got, before = arrays[name], call.arrays[name]
    kept = (got == before) | (np.isnan(got) & np.isnan(before))
    use = next(each.use for each in call.function.arrays if each.name == name)
    if kept.all():
        state = "changed" if use == CHANGED else "written"
        element = f"{name}[{'i' if file.suffix == '.c' else '...'}]"
        text = f"\n{name} was not {state} at all: write into it, as in {element} = ..."
        if _returns_a_value(call, answered):
            text += "\nThe function returned a value instead, which is ignored."
        return text
    if use == WRITTEN and kept.any():  # these elements have values that mean nothing
        where = ", ".join(map(str, np.argwhere(kept)[0].tolist()))
        return shown("got", got, kept) + (
            f"\n{kept.sum()} of {kept.size} elements were not written, first {name}[{where}]"
        )
    text = shown("got", got)
    if _depends_on_output(call, answered, arrays):
        text += f"\nIt depends on what was in {name} before: write {name} before reading it"
    elif wrong.sum() < wrong.size:
        where = ", ".join(map(str, np.argwhere(wrong)[0].tolist()))
        text += f"\n{wrong.sum()} of {wrong.size} elements are wrong, first {name}[{where}]"
    return text


def _returns_a_value(call: DrawnCall, answered: Callable[..., Any]) -> bool:
    with np.errstate(all="ignore"):
        arrays = [array.copy() for array in call.arrays.values()]
        return answered(*arrays, *call.scalars) is not None


def _depends_on_output(
    call: DrawnCall, answered: Callable[..., Any], results: dict[str, Array]
) -> bool:
    """True if the function gives other results if other values are in the arrays it writes."""
    arrays = {name: array.copy() for name, array in call.arrays.items()}
    for each in call.function.arrays:
        if each.use == WRITTEN:
            arrays[each.name] *= -2
    try:
        with np.errstate(all="ignore"):
            answered(*arrays.values(), *call.scalars)
    except Exception:
        return False
    return any(
        not np.array_equal(array, results[name], equal_nan=True) for name, array in arrays.items()
    )


def _inputs(call: DrawnCall) -> str:
    inputs = [each.name for each in call.function.arrays if each.use != WRITTEN]
    text = "".join(shown(name, call.arrays[name]) for name in inputs)
    numbers = zip(call.function.scalars, call.scalars, strict=True)
    return text + "".join(f"\n{name} = {value}" for name, value in numbers)


# The process -------------------------------------------------------------------------------------

_events: Any = None


def report(**event: Any) -> None:
    """Write an event; in the process of the tests, do nothing."""
    if _events is not None:
        _events.write(json.dumps(event) + "\n")
        _events.flush()


def run(exercise: Exercise, language: str, file: Path, folder: Path) -> None:
    """Check a file, and report each case and the speed of a right answer."""
    functions: Answer = {}
    if language == "c":
        report(compiling=True)
    else:
        limit_resources()
    try:
        if exercise.functions:
            functions = answer.load(exercise, language, file, folder)
            found = cases(exercise, functions, language, file)
        else:
            found = own_cases(exercise, file)
    except AnswerError as error:
        report(refused=str(error))
        return
    if language == "c":
        limit_resources()  # not before, because a compiler may need more
    deadline = time.monotonic() + COMPILING
    report(total=sum(case.counted for case in found))
    all_right = True
    for case in found:
        report(case=case.title, compiles=case.compiles)
        problem = case.run()
        all_right &= problem is None
        report(right=problem is None, counted=case.counted, problem=problem)
    if all_right and functions:
        report(stage="speed")
        report(pace=asdict(pace.measure(exercise, functions, language, deadline)))


def limit_resources() -> None:
    """Limit the memory and the files of this process, as far as the system can."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:  # not Linux: its limit of addresses isn't reliable
        return
    most = pages * os.sysconf("SC_PAGE_SIZE") + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(arguments: list[str]) -> None:
    """Run the process; see the module's docstring."""
    global _events
    name, language, file, descriptor = arguments
    _events = os.fdopen(int(descriptor), "w", encoding="utf-8")
    run(exercises.find(name), language, Path(file), Path.cwd())
    report(done=True)


if __name__ == "__main__":
    main(sys.argv[1:])
