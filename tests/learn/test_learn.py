"""The exercises: empty answers score 0, the solutions score full, and wrong answers are refused."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wrong_answers

import tinytensor as tt
from tinytensor.learn import answer, draw, exercises, guard, judge, pace, references
from tinytensor.learn.exercises import EXERCISES, READ

WITH_FUNCTIONS = [exercise for exercise in EXERCISES if exercise.functions]
OF_CLASSES = [exercise for exercise in EXERCISES if not exercise.functions]
FUNCTIONS = {function.name: function for each in WITH_FUNCTIONS for function in each.functions}


def text_of(exercise, kind="solution"):
    """The text of an exercise in plain Python, also if it is one for Numba."""
    language = exercise.languages[0]
    text = getattr(exercise, kind)("python" if language == "numba" else language)
    return text.replace("@numba.njit(parallel=True)\n", "").replace("numba.prange", "range")


def answer_of(exercise, text, folder):
    """The functions of an answer, or None for an exercise of classes; and its file."""
    language = "c" if exercise.languages == ("c",) else "python"
    file = folder / f"{exercise.name}{exercise.page(exercise.languages[0]).suffix}"
    file.write_text(text, encoding="utf-8")
    functions = answer.load(exercise, language, file, folder) if exercise.functions else None
    return functions, file


def cases_of(exercise, functions, file):
    if exercise.functions:
        return judge.cases(exercise, functions, "python", file)
    return judge.own_cases(exercise, file)


def is_refused(exercise, functions, file):
    return any(case.run() is not None for case in cases_of(exercise, functions, file))


def has_infinities(function):
    """True if some result is infinite; a softmax is not."""
    results = (each for call in draw.calls(function) for each in call.expected().values())
    return any(np.isinf(values).any() for values, _ in results)


def test_there_are_fifteen_in_order():
    assert [exercise.number for exercise in EXERCISES] == list(range(1, 16))
    assert len({exercise.name for exercise in EXERCISES}) == 15


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda each: each.name)
def test_an_empty_answer_scores_0_and_the_solution_scores_full(exercise, tmp_path):
    functions, file = answer_of(exercise, text_of(exercise, "stub"), tmp_path)
    empty = [case for case in cases_of(exercise, functions, file) if case.counted]
    assert len(empty) >= 50 * max(len(exercise.functions), 1)
    assert all(case.run() is not None for case in empty)
    (tmp_path / "full").mkdir()
    functions, file = answer_of(exercise, text_of(exercise), tmp_path / "full")
    problems = [case.run() for case in cases_of(exercise, functions, file)]
    assert set(problems) == {None}


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda each: each.name)
def test_there_are_twelve_wrong_answers(exercise):
    changes = 0
    if exercise.functions:
        changes = len(wrong_answers.CHANGES) - (not has_infinities(exercise.functions[0]))
    assert changes + len(wrong_answers.TEXTS[exercise.name]) >= 12


@pytest.mark.parametrize("change", wrong_answers.CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("exercise", WITH_FUNCTIONS, ids=lambda each: each.name)
def test_changed_functions_are_refused(exercise, change, tmp_path):
    functions, file = answer_of(exercise, text_of(exercise), tmp_path)
    for function in exercise.functions:
        if change is wrong_answers.infinity_clipped and not has_infinities(function):
            continue
        wrong = functools.partial(change, function, functions[function.name])
        assert is_refused(exercise, {**functions, function.name: wrong}, file), function.name


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [(name, *pair) for name, pairs in wrong_answers.TEXTS.items() for pair in pairs],
)
def test_changed_solutions_are_refused(name, before, after, tmp_path):
    exercise = exercises.find(name)
    text = text_of(exercise)
    assert before in text
    functions, file = answer_of(exercise, text.replace(before, after), tmp_path)
    assert is_refused(exercise, functions, file)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda each: each.name)
def test_a_page_has_a_stub_and_a_solution_for_each_language(exercise):
    for language in exercise.languages:
        stub, solution = exercise.stub(language), exercise.solution(language)
        assert f" here, in {exercise.name}" in stub
        assert f" here, in {exercise.name}" not in solution
        for text in (stub, solution):
            assert "# solution" not in text
            assert "/* solution" not in text
            assert "end of solution" not in text
        for function in exercise.functions:
            if language == "numba":
                assert solution.count("@numba.njit") == len(exercise.functions)
            elif language == "c":
                declared = " ".join(stub.split())
                assert function.prototype in declared
            else:
                arguments = [*(each.name for each in function.arrays), *function.scalars]
                assert f"def {function.name}({', '.join(arguments)}):" in stub


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda each: each.name)
def test_the_example_of_a_solution_prints_what_it_expects(exercise, tmp_path):
    if exercise.languages[0] == "c":
        pytest.skip("its example is in C")
    file = tmp_path / "example.py"
    file.write_text(text_of(exercise), encoding="utf-8")
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for line in done.stdout.splitlines():
        expected, got = line.removeprefix("expected ").split(", got ")
        numbers = [np.array(json.loads(part.replace(".]", ".0]"))) for part in (expected, got)]
        assert numbers[0] == pytest.approx(numbers[1], abs=1e-3)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda each: each.name)
def test_an_empty_file_that_is_run_by_hand_names_its_first_function(exercise, tmp_path):
    if exercise.languages[0] == "c":
        pytest.skip("its example is in C")
    file = tmp_path / f"{exercise.name}.py"
    file.write_text(text_of(exercise, "stub"), encoding="utf-8")
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=False)
    first = {"tape": "Value.__matmul__", "capture": "Captured.__call__"}.get(exercise.name)
    first = first or exercise.functions[0].name
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"write {first} here, in {file.name}\n"


@pytest.mark.full
@pytest.mark.parametrize("name", ["matmul_loop_order", "matmul_threaded", "optimizers"])
def test_an_empty_file_for_numba_names_its_first_function(name, tmp_path):
    exercise, file = exercises.find(name), tmp_path / f"{name}.py"
    file.write_text(exercise.stub("numba"), encoding="utf-8")
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"write {exercise.functions[0].name} here, in {file.name}\n"


@pytest.mark.skipif(answer.compiler() is None, reason="there is no C compiler")
@pytest.mark.parametrize(
    "exercise",
    [each for each in EXERCISES if "c" in each.languages],
    ids=lambda each: each.name,
)
def test_an_empty_file_in_c_that_is_run_by_hand_names_its_first_function(exercise, tmp_path):
    file, program = tmp_path / f"{exercise.name}.c", tmp_path / "a.out"
    file.write_text(exercise.stub("c"), encoding="utf-8")
    call = [*answer.compiler(), "-DTRY", str(file), "-o", str(program), "-lm", "-pthread"]
    subprocess.run(call, capture_output=True, check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"write {exercise.functions[0].name} here, in {file.name}\n"


# The references ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["add", "softmax", "cross_entropy", "matmul", "conv2d"])
def test_references_and_their_gradients_are_those_of_the_engine(name):
    ops = {
        "add": lambda x, b: x + b,
        "softmax": tt.softmax,
        "cross_entropy": lambda x, labels: tt.cross_entropy(x, labels, reduction="none"),
        "matmul": lambda x, y: x @ y,
        "conv2d": lambda x, weight: tt.conv2d(x, weight, stride=1, padding=0),
    }
    gradients = {
        "add": {"add_backward": ("grad",)},
        "softmax": {},
        "cross_entropy": {"cross_entropy_backward": ("x", "labels")},
        "matmul": {"matmul_backward_x": ("grad", "y"), "matmul_backward_y": ("x", "grad")},
        "conv2d": {
            "conv2d_backward_x": ("grad", "weight"),
            "conv2d_backward_weight": ("x", "grad"),
        },
    }
    inputs = {"add_backward": 1, "matmul_backward_y": 1, "conv2d_backward_weight": 1}
    rng = np.random.default_rng(1)
    for call in draw.calls(FUNCTIONS[name])[10:30]:
        arrays = {
            each.name: rng.standard_normal(call.arrays[each.name].shape)
            if each.dtype == "float32"
            else call.arrays[each.name]
            for each in call.function.arrays
            if each.use == READ
        }
        tensors = [
            array if array.dtype.kind == "i" else tt.tensor(array, tt.float64, requires_grad=True)
            for array in arrays.values()
        ]
        result = ops[name](*tensors)
        expected = getattr(references, name)(*arrays.values())
        assert result.numpy() == pytest.approx(expected, abs=1e-12)
        grad = rng.standard_normal(result.shape)
        if name == "cross_entropy":  # its backward is that of the sum
            grad = np.ones(result.shape)
        (result * tt.tensor(grad, tt.float64)).sum().backward()
        for backward, names in gradients[name].items():
            known = {**arrays, "grad": grad}
            found = getattr(references, backward)(*(known[each] for each in names))
            of = tensors[inputs.get(backward, 0)]
            assert of.grad.numpy() == pytest.approx(found, abs=1e-12), backward


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_references_of_optimisers_are_those_of_the_engine(name):
    p, velocity, m, v = np.ones(3), np.zeros(3), np.zeros(3), np.zeros(3)
    parameter = tt.tensor(p, tt.float64, requires_grad=True)
    optimizer = {
        "sgd": lambda: tt.optim.SGD([parameter], lr=0.25),
        "momentum": lambda: tt.optim.SGD([parameter], lr=0.25, momentum=0.9),
        "adam": lambda: tt.optim.Adam([parameter], lr=0.25),
    }[name]()
    for step in range(1, 4):
        optimizer.zero_grad()
        (parameter * parameter).sum().backward()
        grad = 2 * p
        if name == "sgd":
            p = references.sgd(p, grad, 0.25)
        elif name == "momentum":
            p, velocity = references.momentum(p, velocity, grad, 0.25)
        else:
            p, m, v = references.adam(p, m, v, grad, 0.25, step)
        optimizer.step()
        assert parameter.numpy() == pytest.approx(p, abs=1e-9)


# Parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=lambda each: each.name)
def test_the_drawn_calls_have_odd_sizes_zeros_nan_and_infinities(function):
    calls = draw.calls(function)
    sizes = [size for call in calls for size in call.sizes.values()]
    assert {0, 1, 3} <= set(sizes)
    assert any(size > 8 and size % 2 for size in sizes)
    values = np.concatenate([
        call.arrays[each.name].ravel()
        for call in calls
        for each in function.arrays
        if each.use == READ
    ])  # fmt: skip
    assert np.isnan(values).any()
    assert {-np.inf, 0, np.inf} <= set(values[~np.isnan(values)].tolist())
    elements = [call.elements for call in calls if 0 not in call.sizes.values()]
    assert elements == sorted(elements)


def test_guarded_memory_places_arrays_at_both_ends():
    memory = guard.GuardedMemory(100)
    array = np.arange(5, dtype=np.float32)
    for placed in (memory.ending(array), memory.starting(array)):
        assert placed.tolist() == array.tolist()
        placed[...] = 7
    first, last = memory.starting(array), memory.ending(array)
    assert first.ctypes.data % guard.PAGE == 0
    assert (last.ctypes.data + last.nbytes) % guard.PAGE == 0


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda each: each.name)
def test_no_check_loads_a_later_page(exercise, tmp_path, monkeypatch):
    """The check of an exercise reads no other page, and no check of another exercise."""
    opened = []
    read_text = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, *a, **b: opened.append(self) or read_text(self, *a, **b)
    )
    loaded = {name for name in sys.modules if name.endswith("_check")}
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    functions, file = answer_of(exercise, text_of(exercise), tmp_path)
    opened.clear()
    for case in cases_of(exercise, functions, file):
        case.run()
    assert [path for path in opened if path.parent.name == "pages"] == []
    checks = {name for name in sys.modules if name.startswith("tinytensor.learn.") and
              name.endswith("_check")}  # fmt: skip
    own = {f"tinytensor.learn.{exercise.name}_check"} if not exercise.functions else set()
    assert checks == own


def test_an_answer_that_reads_its_output_is_named(tmp_path):
    exercise = exercises.find("matmul")
    text = text_of(exercise).replace("total = 0.0", "total = out[m, n]")
    functions, file = answer_of(exercise, text, tmp_path)
    (first, *_) = cases_of(exercise, functions, file)
    assert "It depends on what was in out before" in first.run()


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("out[m, n] = total", "pass", "\nout was not written at all: write into it"),
        ("range(N)", "range(0, N, 2)", 'got (1, 2), "-" is not written =\n[[0.47152       -]]\n'),
    ],
)
def test_an_element_that_was_never_written_is_shown_without_a_value(before, after, words, tmp_path):
    exercise = exercises.find("matmul")
    functions, file = answer_of(exercise, text_of(exercise).replace(before, after), tmp_path)
    problems = (case.run() for case in cases_of(exercise, functions, file))
    assert words in next(each for each in problems if each is not None)


@pytest.mark.skipif(answer.compiler() is None, reason="there is no C compiler")
def test_an_empty_function_in_c_is_shown_an_assignment_in_c(tmp_path):
    exercise, file = exercises.find("matmul"), tmp_path / "matmul.c"
    file.write_text(exercise.stub("c"), encoding="utf-8")
    functions = answer.load(exercise, "c", file, tmp_path)
    (first, *_) = judge.cases(exercise, functions, "c", file)
    assert "out was not written at all: write into it, as in out[i] = ...\n" in f"{first.run()}\n"


@pytest.mark.skipif(answer.compiler() is None, reason="there is no C compiler")
def test_a_function_in_c_that_does_not_exist_is_named(tmp_path):
    exercise, file = exercises.find("matmul"), tmp_path / "matmul.c"
    text = "void undefined_fn(float *out);\n" + exercise.solution("c")
    end = text.rindex("}", 0, text.index("#ifdef TRY"))
    file.write_text(f"{text[:end]}    undefined_fn(out);\n{text[end:]}", encoding="utf-8")
    with pytest.raises(answer.AnswerError) as caught:
        answer.load(exercise, "c", file, tmp_path)
    assert str(caught.value) == "matmul.c calls undefined_fn, which does not exist"


# Speed ------------------------------------------------------------------------------------------


def test_the_pace_of_an_answer_has_a_rung_and_the_one_above(tmp_path):
    exercise = exercises.find("matmul")
    functions, _ = answer_of(exercise, text_of(exercise), tmp_path)
    found = pace.measure(exercise, functions, "python", deadline=0.0)
    assert (found.rung, found.next_rung, found.needed) == ("", "", 0.0)  # no time for rungs
    found = pace.measure(exercise, functions, "python", deadline=np.inf)
    assert found.gflops > 0
    assert {found.rung, found.next_rung} == {"", "numba.naive"}  # a loop in Python is slower
    assert found.next_gflops > found.gflops
    assert found.share is None or found.share > 0


@pytest.mark.parametrize(
    ("name", "below", "at", "needed"),
    [
        ("matmul", "naive", "loop_order", 0.0),
        ("matmul_loop_order", "naive", "loop_order", 2.0),
        ("matmul_blocked", "loop_order", "blocked", 2.0),
        ("matmul_vectorised", "blocked", "vectorised", 2.0),
    ],
)
def test_a_rung_needs_a_third_of_the_way_up(name, below, at, needed):
    speeds = {f"c.{below}": 1.0, f"c.{at}": 8.0}
    assert pace._needed(exercises.find(name), "c", speeds) == pytest.approx(needed)


def test_an_exercise_with_threads_needs_no_speed():
    exercise = exercises.find("matmul_threaded")
    assert pace._needed(exercise, "c", {"c.loop_order": 10.0}) == 0


def test_each_exercise_with_a_function_can_be_measured():
    for exercise in WITH_FUNCTIONS:
        function = exercise.functions[0]
        call = draw.filled(function, pace.SIZES[function.name](pace.SMALLEST))
        assert set(call.sizes) == set(function.size_names)
        if exercise.kernel:
            assert exercise.kernel in pace.RUNG_ARGUMENTS
