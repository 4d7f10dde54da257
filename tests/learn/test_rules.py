"""The rules of the exercises: what an answer may import, and which functions it may not call."""

import sys

import numpy as np
import pytest

from tinytensor.learn import answer, exercises, judge, pace, rules
from tinytensor.learn.answer import AnswerError

HEAD = "import numpy as np\n\ndef matmul(x, y, out):\n    "
OF_PRODUCTS = ["neuron", "matmul", "matmul_loop_order", "matmul_blocked", "matmul_threaded"]


def loaded(name, text, folder, language="python"):
    file = folder / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    return answer.load(exercises.find(name), language, file, folder), file


def first_problem(name, text, folder):
    """The first problem of an answer; None if it is right."""
    functions, file = loaded(name, text, folder)
    problems = (case.run() for case in judge.cases(exercises.find(name), functions, "python", file))
    return next((problem for problem in problems if problem), None)


def test_the_exercises_of_products_refuse_those_of_numpy():
    refusing = [each.name for each in exercises.EXERCISES if each.refused]
    assert refusing == OF_PRODUCTS
    missing = [name for name in exercises.PRODUCTS if not hasattr(np, name)]
    of_linalg, newer = {"multi_dot", "matrix_power"}, {"vecdot", "matvec", "vecmat"}
    assert set(missing) <= of_linalg | newer


@pytest.mark.parametrize("language", ["python", "numba"])
@pytest.mark.parametrize(
    ("lines", "used"),
    [
        ("out[...] = x @ y", "@ or matmul"),
        ("out[:] = x; out @= y", "@ or matmul"),
        ("np.matmul(x, y, out=out)", "@ or matmul"),
        ("out[...] = x.__matmul__(y)", "@ or matmul"),
        ("import operator; out[...] = operator.matmul(x, y)", "@ or matmul"),
        ("np.dot(x, y, out)", "dot"),
        ("out[...] = np.asarray(x).dot(np.asarray(y))", "dot"),
        ("from numpy import sum, dot as f; f(x, y, out)", "dot"),
        ("out[...] = np.inner(x, y.T)", "inner"),
        ("np.einsum('mk,kn->mn', x, y, out=out)", "einsum"),
        ("out[...] = np.tensordot(x, y, 1)", "tensordot"),
        ("out[...] = np.linalg.multi_dot([x, y])", "multi_dot"),
        ("out[...] = np.matrix(x) * np.matrix(y)", "matrix"),
        ("out[...] = np.asmatrix(x) * y", "asmatrix"),
    ],
)
def test_a_product_of_numpy_is_refused_before_it_runs(lines, used, language, tmp_path):
    with pytest.raises(AnswerError) as caught:
        loaded("matmul", HEAD + lines + "\n", tmp_path, language)
    assert str(caught.value).startswith(f"matmul.py, line 4: it uses {used}. This exercise is")


def test_a_pattern_that_takes_the_method_is_refused(tmp_path):
    lines = "match x:\n        case np.ndarray(dot=f):\n            out[...] = f(y)\n"
    with pytest.raises(AnswerError, match="line 5: it uses dot"):
        loaded("matmul", HEAD + lines, tmp_path)


def test_a_product_of_numpy_is_refused_while_it_runs(tmp_path):
    lines = "import pkgutil; pkgutil.resolve_name('numpy:do' + 't')(x, y, out)\n"
    problem = first_problem("matmul", HEAD + lines, tmp_path)
    assert problem.startswith("it uses dot. This exercise is a sum of products itself")
    assert "(matmul.py, line 4" in problem
    assert np.dot([1, 2], [3, 4]) == 11


def test_the_outer_product_of_numpy_is_allowed(tmp_path):
    lines = "out[:] = 0\n    for k in range(x.shape[1]): out += np.multiply.outer(x[:, k], y[k])\n"
    assert first_problem("matmul", HEAD + lines, tmp_path) is None
    hidden = "import pkgutil; out[...] = pkgutil.resolve_name('numpy:matri' + 'x')(x) * y\n"
    assert first_problem("matmul", HEAD + hidden, tmp_path).startswith("it uses matrix. ")


@pytest.mark.parametrize("language", ["python", "numba"])
@pytest.mark.parametrize(
    "line",
    [
        "out[...] = eval('x @ y')",
        "exec('np.dot(x, y, out)')",
        "exec(compile('np.dot(x, y, out)', '', 'exec'))",
        "with numba.objmode(): pass",
        "import operator; operator.methodcaller('dot', y)(x)",
        "out[...] = np.ndarray.__dict__['dot'](x, y)",
        "out[...] = getattr(x, 'd' + 'ot')(y)",
        "out[...] = getattr(np.asarray(x), 'd' + 'ot')(y)",
        "vars(np)['dot'](x, y, out)",
        "out[...] = np.ndarray.__getattribute__(x, 'do' + 't')(y)",
        "import operator; out[...] = operator.attrgetter('do' + 't')(x)(y)",
        "from builtins import len, getattr as f; out[...] = f(x, 'do' + 't')(y)",
    ],
)
def test_what_hides_a_product_is_refused(line, language, tmp_path):
    with pytest.raises(AnswerError, match=r"line 4: it uses \w+, which hides the functions"):
        loaded("matmul", HEAD + line + "\n", tmp_path, language)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("import importlib", "it imports importlib"),
        ("from importlib import import_module", "it imports importlib"),
        ("__import__('tinytensor')", "it calls __import__"),
        ("import scipy.special", "it imports scipy.special; an answer may import numpy, numba"),
        ("from . import softmax", "it imports .; an answer"),
        ("from numpy import *", "it imports all names of numpy"),
    ],
)
@pytest.mark.parametrize("place", ["module", "function"])
def test_other_imports_are_refused(lines, problem, place, tmp_path):
    text = f"{lines}\n\n{HEAD}pass\n" if place == "module" else f"{HEAD}{lines}\n"
    if "*" in lines and place == "function":
        text = f"if True:\n    {lines}\n\n{HEAD}pass\n"
    with pytest.raises(AnswerError, match=r"matmul\.py, line ") as caught:
        loaded("matmul", text, tmp_path)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("exec('import tinytensor')", "it imports tinytensor, which has the finished function"),
        ("exec('from tinytensor.ops import matmul')", "it imports tinytensor"),
        ("sys.modules['tinytensor']", "it raised KeyError: 'tinytensor'"),
    ],
)
def test_tinytensor_is_hidden_while_an_answer_runs(lines, problem, tmp_path):
    before = dict(sys.modules)
    text = f"import sys\n\ndef softmax(x, out):\n    {lines}\n"
    found = first_problem("softmax", text, tmp_path)
    assert found.startswith(problem)
    after = {name for name in sys.modules if name.startswith("tinytensor")}
    assert after == {name for name in before if name.startswith("tinytensor")}


@pytest.mark.parametrize(
    ("name", "line"),
    [("tape", "        result = np.exp(self.data)\n"), ("capture", "    kernel(*arrays)\n")],
)
def test_tinytensor_is_hidden_while_the_classes_of_an_answer_run(name, line, tmp_path):
    exercise, file = exercises.find(name), tmp_path / f"{name}.py"
    text = exercise.solution("python")
    assert line in text
    indent = line[: len(line) - len(line.lstrip())]
    file.write_text(text.replace(line, f"{indent}exec('import tinytensor')\n{line}", 1))
    problems = [case.run() for case in judge.own_cases(exercise, file)]
    found = [problem for problem in problems if problem]
    assert found
    assert all(problem.startswith("it imports tinytensor") for problem in found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("matmul", HEAD + "out[...] = (x[:, :, None] * y).sum(axis=1)\n"),
        (
            "matmul",
            HEAD + "out[...] = 0\n    for k in range(len(y)): out += np.outer(x[:, k], y[k])\n",
        ),
        (
            "matmul",
            HEAD + "out[...] = (x[:, :, None] * y).sum(axis=1)\n"
            "if __name__ == '__main__':\n    import tinytensor\n    print(np.eye(2) @ np.eye(2))\n",
        ),
        (
            "matmul_backward",
            "def matmul_backward_x(grad, y, grad_x):\n    grad_x[...] = grad @ y.T\n"
            "def matmul_backward_y(x, grad, grad_y):\n    grad_y[...] = x.T @ grad\n",
        ),
    ],
)
def test_basic_operations_and_products_as_a_tool_are_allowed(name, text, tmp_path):
    assert first_problem(name, text, tmp_path) is None


def test_the_rules_name_each_refused_function():
    text = rules.text(("matmul", "dot"))
    assert "Don't use NumPy's @, matmul, dot. The check" in text
    assert "Don't" not in rules.text(())


# Speed ------------------------------------------------------------------------------------------


def test_a_fast_answer_in_python_has_not_the_name_of_a_slow_rung(monkeypatch):
    """The rungs above the first one are measured, too, or the name is open upwards."""
    exercise = exercises.find("matmul")
    speeds = {"": 50.0, "numba.naive": 1.0, "numba.loop_order": 8.0, "numba.blocked": 12.0}
    speeds["numba"] = 60.0

    def fastest(runs, clock):
        return {name: 2 * 64**3 / 1e9 / speeds[name] for name in runs}

    monkeypatch.setattr(pace, "_fastest", fastest)
    monkeypatch.setattr(pace, "_rung_run", lambda rung, arrays: lambda: None)
    monkeypatch.setattr(pace, "LONG", 0.0)
    monkeypatch.setattr(pace, "SMALLEST", 64)
    monkeypatch.setattr(pace, "_share", lambda *arguments: None)

    def measured(deadline):
        functions = {"matmul": lambda x, y, out: np.matmul(x, y, out=out)}
        found = pace.measure(exercise, functions, "python", deadline)
        return found.rung, found.next_rung

    assert measured(np.inf) == ("numba", "")
    speeds[""] = 9.0
    assert measured(np.inf) == ("numba.loop_order", "numba.blocked")
    speeds[""] = 0.5
    assert measured(np.inf) == ("", "numba.naive")
    speeds[""] = 50.0
    times = iter([0.0])  # the time of one rung, then no more
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(times, 2.0))
    assert measured(1.0) == ("numba.naive or above", "")
