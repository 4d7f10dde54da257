"""The process of a check: whatever the student's code does, the check ends with a verdict."""

import ast
import subprocess
import sys

import pytest

from tinytensor.learn import answer, exercises, judge, own_matmul, sandbox

needs_compiler = pytest.mark.skipif(answer.compiler() is None, reason="there is no C compiler")
NEURON = exercises.find("neuron")


def checked(name, text, folder, language="python", **limits):
    file = folder / f"{name}{'.c' if language == 'c' else '.py'}"
    file.write_text(text, encoding="utf-8")
    return sandbox.check(exercises.find(name), language, file, **limits)


def neuron(lines):
    return f"import os, sys, numpy as np\n\ndef neuron(x, weight, bias, out):\n    {lines}\n"


def test_a_right_answer_passes_with_its_speed(tmp_path):
    verdict = checked("neuron", NEURON.solution("python"), tmp_path)
    assert (verdict.problem, verdict.is_passed) == ("", True)
    assert verdict.right == verdict.total >= 50
    assert verdict.pace["gflops"] > 0


def test_an_empty_answer_has_no_point(tmp_path):
    verdict = checked("neuron", NEURON.stub("python"), tmp_path)
    assert (verdict.right, verdict.is_right) == (0, False)
    assert "x (1,) =" in verdict.problem  # the smallest case, as arrays
    assert "expected out (1,) =" in verdict.problem
    assert "out was not written at all" in verdict.problem


@pytest.mark.full
@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("while True: pass", "an endless loop"),
        ("sys.exit(0)", "exit() ended it"),
        ("os._exit(0)", "it ended the process, with status 0"),
        ("os.abort()", "it crashed (SIGABRT)"),
        ("raise ValueError('sizes')", "it raised ValueError: sizes (neuron.py, line 4"),
        ("raise KeyboardInterrupt", "it raised KeyboardInterrupt"),
        ("np.ones(10**10)", "it raised MemoryError"),
        ("x[5000]", "it raised IndexError"),
        ("while True: print('again')", "an endless loop"),
        ("return (x * weight).sum() + bias", "returned a value instead"),
        ("import ctypes; ctypes.string_at(0)", "it crashed (SIGSEGV)"),
    ],
)
def test_each_end_is_a_verdict(lines, problem, tmp_path):
    verdict = checked("neuron", neuron(lines), tmp_path, seconds_of_a_case=2.0)
    assert (verdict.right, verdict.is_right) == (0, False)
    assert problem in verdict.problem


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
@pytest.mark.full
@pytest.mark.parametrize(
    "lines",
    [
        "kept = []\n    while True: kept.append(bytearray(10**6))",
        "kept = []\n    while True: kept.append([0] * 1000)",
        "kept = 'kept'\n    while True: kept += kept",
    ],
)
def test_a_lack_of_memory_is_no_endless_loop(lines, tmp_path):
    verdict = checked("neuron", neuron(lines), tmp_path)
    assert "endless loop" not in verdict.problem
    assert "a check may use 1 GB" in verdict.problem
    assert verdict.right == 0


@pytest.mark.full
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("def neuron(:", "neuron.py, line 1: invalid syntax"),
        ("x = '\0'", "cannot contain null bytes"),
        ("import no_such_module", "line 1: it imports no_such_module; an answer may import"),
        ("raise SystemExit", "exit() ended it"),
        ("neuron = 3", "neuron.py has no function neuron"),
        ("", "neuron.py has no function neuron"),
        ("while True: pass", "an endless loop"),
        ("kept = 'kept'\nwhile True: kept += kept", "a check may use 1 GB"),
    ],
)
def test_a_file_that_cannot_be_used(text, problem, tmp_path):
    verdict = checked("neuron", text, tmp_path, seconds=6.0)
    assert (verdict.right, verdict.total, verdict.is_right) == (0, 0, False)
    assert problem in verdict.problem
    assert "None" not in verdict.problem


@pytest.mark.parametrize(
    "statement",
    [
        "import tinytensor as tt",
        "import math, tinytensor.ops as tt",
        "from tinytensor import softmax as ours",
        "from tinytensor.ops import softmax as ours",
    ],
)
@pytest.mark.parametrize("place", ["module", "function"])
def test_an_answer_that_imports_tinytensor_is_refused(statement, place, tmp_path):
    called = "ours" if statement.startswith("from") else "tt.softmax"
    text = f"def softmax(x, out):\n    out[...] = {called}(x).numpy()\n"
    if place == "module":
        text = f"{statement}\n\n{text}"
    else:
        text = text.replace("    out", f"    {statement}\n    out")
    verdict = checked("softmax", text, tmp_path)
    assert (verdict.total, verdict.is_right) == (0, False)
    assert "it imports tinytensor, which has the finished function" in verdict.problem


def test_the_page_of_an_exercise_has_the_rules_of_the_check():
    for exercise in exercises.EXERCISES:
        for language in exercise.languages:
            stub = exercise.stub(language)
            if language == "c":
                assert "The check refuses" not in stub
                continue
            assert max(map(len, stub.splitlines())) <= 100
            rules = " ".join(ast.get_docstring(ast.parse(stub)).split())
            assert rules.endswith("The check refuses an answer that breaks these rules.")
            assert all(f" {name}" in rules for name in exercise.refused)
            assert ("Don't use NumPy's @, matmul, dot" in rules) == bool(exercise.refused)


def test_what_the_code_prints_is_shown_and_ends_with_the_process(tmp_path):
    text = neuron("os.write(1, b'hello\\n'); os._exit(3)")
    verdict = checked("neuron", text, tmp_path)
    assert verdict.printed == "hello"
    assert not verdict.is_right


def test_files_of_the_student_do_not_hide_modules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy.py").write_text("raise ImportError")
    verdict = checked("neuron", NEURON.solution("python"), tmp_path)
    assert verdict.is_passed


# C ----------------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize(
    "exercise",
    [each for each in exercises.EXERCISES if "c" in each.languages],
    ids=lambda each: each.name,
)
def test_solutions_in_c_are_right_next_to_guard_pages(exercise, tmp_path):
    file = tmp_path / f"{exercise.name}.c"
    file.write_text(exercise.solution("c"), encoding="utf-8")
    functions = answer.load(exercise, "c", file, tmp_path)
    problems = [case.run() for case in judge.cases(exercise, functions, "c", file)]
    assert set(problems) == {None}


@needs_compiler
@pytest.mark.full
@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("n < N; n++", "n <= N; n++", "past the end of"),
        ("out[m * N + n] = total", "out[m * N + n] = total; out[M * N] = 0", "past the end of out"),
        (
            "out[m * N + n] = total",
            "out[m * N + n] = total; out[-1] = 0",
            "before the start of out",
        ),
        ("float total = 0;", "float total = 0 * x[M * K];", "past the end of x"),
        ("float total = 0;", "float total = 0 * y[-1];", "before the start of y"),
        ("float total = 0;", "float total = *(float *)8;", "it crashed (SIGSEGV)"),
        (
            "out[m * N + n] = total",
            "for (int i = 0; i < 100; i++) out[i] = 1",
            "past the end of out",
        ),
        ("out[m * N + n] = total", "out[M * N] = out[100000] = 1", "past the end of out"),
        ("float total = 0;", "float total = 0; __builtin_trap();", "it crashed (SIGILL)"),
        ("float total = 0;", "float total = 0; for (;;) ;", "an endless loop"),
        ("float total = 0;", "float total = zero;", "matmul.c:"),
        ("void matmul(", "void product(", "matmul.c has no function matmul"),
        ("y[k * N + n]", "y[n * K + k]", "the result is wrong"),
        ("float total = 0;", "float total = out[m * N + n];", "the result is wrong"),
    ],
)
def test_wrong_answers_in_c_are_refused(before, after, problem, tmp_path):
    text = exercises.find("matmul").solution("c")
    assert before in text
    changed = text.replace(before, after)
    verdict = checked("matmul", changed, tmp_path, "c", seconds_of_a_case=2.0)
    assert not verdict.is_right
    assert problem in verdict.problem


@needs_compiler
@pytest.mark.full
def test_a_leak_in_c_is_named_as_a_lack_of_memory(tmp_path):
    text = exercises.find("neuron").solution("c")
    leak = "#include <stdlib.h>\n#include <string.h>\nchar *kept;\n" + text.replace(
        "out[0] = total", "kept = memset(malloc(3000000), 1, 3000000); out[0] = total"
    )
    assert leak.count("memset") == 1
    verdict = checked("neuron", leak, tmp_path, "c")
    assert "measuring the speed: each call keeps memory\nout of memory" in verdict.problem
    assert not verdict.is_right


@needs_compiler
@pytest.mark.full
@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("THREADS = 4", "THREADS = 2", ""),
        ("return NULL;", "pthread_exit(NULL);", ""),
        ("THREADS = 4", "THREADS = 1", "one thread did"),
        ("pthread_create(&threads[i], NULL, rows, &shares[i]) == 0", "0", "the thread that called"),
        ("M * i / THREADS, M * (i + 1) / THREADS", "0, i == 0 ? M : 0", "one thread did"),
    ],
)
def test_the_work_of_an_answer_in_c_is_divided_among_threads(before, after, problem, tmp_path):
    exercise = exercises.find("matmul_threaded")
    text = exercise.solution("c")
    assert before in text
    file = tmp_path / "matmul_threaded.c"
    file.write_text(text.replace(before, after), encoding="utf-8")
    functions = answer.load(exercise, "c", file, tmp_path)
    *others, threads = judge.cases(exercise, functions, "c", file)
    assert {case.run() for case in others[:20]} == {None}
    found = threads.run()
    assert found is None if not problem else found.startswith(problem)


def test_without_a_compiler_the_verdict_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(answer, "compiler", lambda: None)
    with pytest.raises(answer.AnswerError, match=r"Install gcc or clang, or run `pip install"):
        answer.load(NEURON, "c", tmp_path / "neuron.c", tmp_path)


def test_the_compiler_package_is_used_if_there_is_no_other(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(answer.shutil, "which", lambda name: None)
    monkeypatch.setattr(answer.importlib.util, "find_spec", lambda name: name == "ziglang")
    assert answer.compiler() == (sys.executable, "-m", "ziglang", "cc")
    monkeypatch.setattr(answer.importlib.util, "find_spec", lambda name: None)
    assert answer.compiler() is None


# Numba ------------------------------------------------------------------------------------------


@pytest.mark.full
def test_numba_answers_are_checked_next_to_guard_pages(tmp_path):
    text = exercises.find("broadcast_add").solution("numba")
    assert checked("broadcast_add", text, tmp_path, "numba").is_right
    wrong = text.replace(
        "for c in range(C):\n            out", "for c in range(C + 1):\n            out"
    )
    verdict = checked("broadcast_add", wrong, tmp_path, "numba")
    assert "past the end of" in verdict.problem


@pytest.mark.full
def test_the_work_of_a_numba_answer_is_divided_among_threads(tmp_path):
    text = exercises.find("matmul_threaded").solution("numba")
    assert checked("matmul_threaded", text, tmp_path, "numba").is_passed
    serial = text.replace("(parallel=True)", "")
    verdict = checked("matmul_threaded", serial, tmp_path, "numba")
    assert verdict.right == verdict.total - 1
    assert "the thread that called it did" in verdict.problem


def test_a_python_function_is_refused_as_numba(tmp_path):
    file = tmp_path / "neuron.py"
    file.write_text(NEURON.solution("python"), encoding="utf-8")
    with pytest.raises(answer.AnswerError, match=r"write @numba\.njit above it"):
        answer.load(NEURON, "numba", file, tmp_path)


# Training ---------------------------------------------------------------------------------------


def test_lesson_1_0_trains_on_the_students_matmul():
    calls = []

    def matmul(x, y, out):
        calls.append((x.shape, y.shape))
        out[...] = x @ y

    training = own_matmul.training_of(matmul, steps=20)
    with own_matmul.door.computing_with(own_matmul.backend_with(matmul)):
        losses = [report.test_loss for report in training]
    assert ((100, 784), (784, 10)) in calls  # forward
    assert ((784, 100), (100, 10)) in calls  # backward
    usual = own_matmul.Training(
        training.lesson, training.data, steps=20, evaluate_every=training.evaluate_every
    )
    assert losses == pytest.approx([report.test_loss for report in usual], rel=1e-4)


@pytest.mark.full
def test_a_training_prints_its_accuracy(tmp_path):
    exercise = exercises.find("matmul_blocked")
    file = tmp_path / "matmul_blocked.py"
    file.write_text(exercise.solution("numba"), encoding="utf-8")
    command = [sys.executable, "-m", "tinytensor", "learn", "matmul_blocked", "--train"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "lesson 1.0 on your matmul (numba): 2,000 steps" in out
    assert float(out.split("test accuracy ")[-1].split()[0]) > 0.9


def test_a_wrong_matmul_does_not_train(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "matmul.py").write_text(exercises.find("matmul").stub("python"))
    code, out, _ = run("learn", "matmul", "--train")
    assert code == 1
    assert "a right answer is needed before --train" in out
