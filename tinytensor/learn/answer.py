"""The student's file: loaded as Python or Numba, or compiled as C."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from cffi import FFI

from tinytensor.arrays import Array
from tinytensor.learn import rules
from tinytensor.learn.exercises import Exercise, Signature
from tinytensor.learn.sandbox import MEMORY_LIMIT

# Loops stay scalar, because the exercise matmul_vectorised has the vectors. Without this, the
# rungs of the ladder would not be comparable with the answers.
C_OPTIONS = (
    *("-O3", "-march=native", "-fno-tree-vectorize", "-fno-tree-slp-vectorize", "-std=gnu11"),
    *("-Wall", "-Wno-psabi", "-shared", "-fPIC", "-pthread"),
)
COUNTED_THREADS = Path(__file__).parent / "counted_threads.h"
UNDEFINED = re.compile(r"undefined symbol: (\w+)")  # the message of the loader of Linux
MOST_THREADS = 1024  # in this file
NO_COMPILER = (
    "no C compiler was found. Install gcc or clang, or run "
    "`pip install 'tinytensor-engine[compiler]'`, which adds a compiler as a Python package"
)

Answer = dict[str, Callable[..., Any]]


class AnswerError(Exception):
    """The file can't be used; the message has the reason."""


def load_module(file: Path, exercise: Exercise, language: str = "python") -> ModuleType:
    """Return the student's file as a module.

    Raises:
        AnswerError: it can't be run, or it breaks a rule; the message has the line.
    """
    spec = importlib.util.spec_from_file_location("answer", file)
    if spec is None or spec.loader is None:
        raise AnswerError(f"{file.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["answer"] = module
    try:
        rules.check_source(file.read_bytes(), exercise.refused)
    except rules.RuleError as error:
        raise AnswerError(f"{file.name}, {error}") from None
    except SyntaxError as error:
        line = "" if error.lineno is None else f", line {error.lineno}"  # None for a NUL byte
        raise AnswerError(f"{file.name}{line}: {error.msg}") from None
    try:
        with rules.enforced(refused_now(exercise, language)):
            spec.loader.exec_module(module)
    except BaseException as error:
        raise AnswerError(describe(error, file)) from None
    return module


def refused_now(exercise: Exercise, language: str) -> tuple[str, ...]:
    """Return the functions of NumPy that raise an error while the answer runs.

    None for Numba, which compiles calls of NumPy: there the check of the source is enough.
    """
    return exercise.refused if language == "python" else ()


def load(exercise: Exercise, language: str, file: Path, folder: Path) -> Answer:
    """Return the functions of the student's file, as functions of NumPy arrays and scalars.

    An exercise with threads in C also has the function `counted_threads`, see counted_threads.h.

    Args:
        exercise: the exercise.
        language: "python", "numba" or "c".
        file: the student's file.
        folder: where a compiled file is written to.

    Raises:
        AnswerError: the file can't be run or compiled, or lacks a function.
    """
    if language == "c":
        return _load_c(exercise, file, folder)
    module = load_module(file, exercise, language)
    found: Answer = {}
    for function in exercise.functions:
        value = getattr(module, function.name, None)
        if not callable(value):
            raise AnswerError(f"{file.name} has no function {function.name}")
        if language == "numba" and not hasattr(value, "py_func"):
            raise AnswerError(
                f"{function.name} in {file.name} is not compiled: write @numba.njit above it, or "
                "check it with --language python"
            )
        found[function.name] = value
    return found


def compiler() -> tuple[str, ...] | None:
    """Return the command of a C compiler: $CC, cc, gcc, clang, or the package ziglang."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return (name,)
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "cc")
    return None


def _load_c(exercise: Exercise, file: Path, folder: Path) -> Answer:
    command = compiler()
    if command is None:
        raise AnswerError(NO_COMPILER)
    library = folder / f"{file.stem}_{exercise.name}.so"
    call = [*command, *C_OPTIONS, str(file), "-o", str(library), "-lm"]
    if exercise.threads:
        call += ["-include", str(COUNTED_THREADS)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.replace(str(file), file.name).splitlines()
        raise AnswerError("it can't be compiled:\n" + "\n".join(lines[:15]))
    ffi = FFI()
    ffi.cdef("".join(f"{function.prototype};\n" for function in exercise.functions))
    ffi.cdef("int64_t counted_threads(double *seconds);")
    try:
        c = ffi.dlopen(str(library))
    except OSError as error:
        missing = UNDEFINED.search(str(error))
        if missing is None:
            raise AnswerError(f"it can't be loaded: {error}") from None
        raise AnswerError(f"{file.name} calls {missing[1]}, which does not exist") from None
    found: Answer = {}
    for function in exercise.functions:
        try:
            called = getattr(c, function.name)
        except AttributeError:
            raise AnswerError(f"{file.name} has no function {function.name}") from None
        found[function.name] = functools.partial(_call_c, ffi, called, function)
    if exercise.threads:
        found["counted_threads"] = functools.partial(_counted_threads, ffi, c)
    return found


def _counted_threads(ffi: FFI, c: Any) -> list[float]:
    """Return the CPU seconds of each thread that has ended since the last call."""
    seconds = ffi.new("double[]", MOST_THREADS)
    return list(seconds[0 : c.counted_threads(seconds)])


def _call_c(ffi: FFI, called: Any, function: Signature, *arguments: Any) -> None:
    """Call a C function: pointers to the arrays, then the sizes, then the scalars."""
    arrays: list[Array] = list(arguments[: len(function.arrays)])
    sizes = {
        name: size
        for each, array in zip(function.arrays, arrays, strict=True)
        for name, size in zip(each.shape, array.shape, strict=True)
    }
    called(
        *(
            ffi.cast("int64_t *" if array.dtype.kind == "i" else "float *", array.ctypes.data)
            for array in arrays
        ),
        *(sizes[name] for name in function.size_names),
        *arguments[len(function.arrays) :],
    )


def describe(error: BaseException, file: Path) -> str:
    """Return the error in words, with the line of the student's file that raised it."""
    if isinstance(error, SystemExit):
        return "exit() ended it; a function returns instead"
    lines = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    where = f" ({file.name}, line {lines[-1].lineno}: {lines[-1].line})" if lines else ""
    text = str(error) or "without a message"
    if isinstance(error, rules.RuleError):
        return f"{text}{where}"
    if isinstance(error, MemoryError):
        text = f"{text}; out of memory: {MEMORY_LIMIT}" if str(error) else MEMORY_LIMIT
    return f"it raised {type(error).__name__}: {text}{where}"
