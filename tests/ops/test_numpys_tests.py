"""NumPy's own tests of its functions, with Tensors in the place of arrays.

The wheel of NumPy contains its tests. Here each function that NumPy passes on to a Tensor gets
Tensors: every array of a dtype that Tensors have becomes one, and a Tensor that is returned becomes
an array again. So NumPy's test checks our answer. A call that is refused is made with the arrays.

    python tests/ops/test_numpys_tests.py

prints the number of calls, how many Tensors answered, and how many were refused, by reason.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.testing import overrides

import tinytensor as tt
from tinytensor.ops import numpy_protocol

DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")
# NumPy's modules of tests that call the functions of numpy_protocol.py on arrays of numbers.
MODULES = (
    "numpy._core.tests.test_einsum",
    "numpy._core.tests.test_shape_base",
    "numpy.lib.tests.test_arraypad",
    "numpy.lib.tests.test_function_base",
    "numpy.lib.tests.test_shape_base",
    "numpy.lib.tests.test_twodim_base",
)


# These take minutes, or as much memory as the machine has.
TOO_LARGE = {"test_huge_list_error", "test_percentile_gh_29003_Fraction"}
# Documented differences, by the test that finds them.
DIFFERENT = {
    "TestEinsum.test_einsum_sums_uint8": "sums of uint8 are int64, and do not wrap around",
    "TestEinsum.test_einsum_views": "einsum returns copies",
    "TestEinsum.test_output_order": "all tensors are in C order",
    "TestEinsumPath.test_path_type_input_invalid": "optimize is ignored",
}


class Calls:
    """The calls of one test: how many a Tensor answered, and the refused ones by reason."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def through(self, name: str, function: Callable) -> Callable:
        """The function, called with Tensors."""

        def call(*arguments: Any, **named: Any) -> Any:
            tensors = [as_tensors(argument) for argument in arguments]
            options = {key: as_tensors(value) for key, value in named.items()}
            has_tensor = any(map(contains_tensor, (*tensors, *options.values())))
            if not has_tensor:
                return function(*arguments, **named)
            try:
                result = as_arrays(function(*tensors, **options))
            except tt.TinytensorError as error:
                self.refused[type(error).__name__] += 1
                return function(*arguments, **named)
            self.answered[name] += 1
            return result

        return call


def as_tensors(value: Any) -> Any:
    """Arrays that a Tensor can have, as Tensors, in lists and tuples too."""
    if type(value) is np.ndarray and value.dtype in DTYPES and value.dtype.isnative:
        return tt.Tensor(value)
    if type(value) in (list, tuple):
        return type(value)(map(as_tensors, value))
    return value


def as_arrays(value: Any) -> Any:
    if isinstance(value, tt.Tensor):
        return value.numpy() if value.ndim else value.numpy()[()]
    if type(value) in (list, tuple):
        return type(value)(map(as_arrays, value))
    return value


def contains_tensor(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(contains_tensor, value))
    return isinstance(value, tt.Tensor)


OURS = {**numpy_protocol.FUNCTIONS, **numpy_protocol.ELEMENTWISE}
FUNCTIONS = {
    function.__name__: function
    for function in (
        *overrides.get_overridable_numpy_array_functions(),
        *overrides.get_overridable_numpy_ufuncs(),
    )
    if function in OURS
}


@contextmanager
def with_tensors(module: Any) -> Iterator[Calls]:
    """Let the names of functions in a module, and in its `np`, call them with Tensors."""
    calls = Calls()
    replaced = {id(function): calls.through(name, function) for name, function in FUNCTIONS.items()}

    class Numpy:
        """NumPy, with these functions."""

        def __getattr__(self, name: str) -> Any:
            value = getattr(np, name)
            return replaced.get(id(value), value)

    before = dict(vars(module))
    for name, value in before.items():
        if id(value) in replaced:
            setattr(module, name, replaced[id(value)])
        elif value is np:
            setattr(module, name, Numpy())
    try:
        yield calls
    finally:
        vars(module).update(before)


def numpys_tests_of(module: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The tests of a module that need no argument."""
    for class_name, found in list(vars(module).items()):
        if inspect.isclass(found) and class_name.startswith("Test"):
            for name in dir(found):
                if name.startswith("test") and name not in TOO_LARGE:
                    method = getattr(found, name)
                    if len(required(method)) == 1:
                        yield f"{class_name}.{name}", lambda c=found, n=name: run_method(c, n)
        elif inspect.isfunction(found) and class_name.startswith("test") and not required(found):
            yield class_name, found


def required(test: Callable) -> list[str]:
    return list(inspect.signature(test).parameters)


def run_method(found: type, name: str) -> None:
    test = found()
    getattr(test, "setup_method", lambda: None)()
    getattr(test, name)()


def outcome(test: Callable[[], Any]) -> str:
    """Why a test fails; empty if it passes."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            test()
    except (Exception, pytest.skip.Exception) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def walk(name: str) -> tuple[int, Calls, list[str]]:
    """The number of tests that pass, their calls, and the tests that pass with arrays only."""
    module = importlib.import_module(name)
    passed, wrong, total = 0, [], Calls()
    for test_name, test in list(numpys_tests_of(module)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
        if outcome(test):  # it needs more than this, such as a fixture
            continue
        with with_tensors(module) as calls:
            failure = outcome(test)
        total.answered += calls.answered
        total.refused += calls.refused
        if not failure:
            passed += 1
        elif calls.answered and test_name not in DIFFERENT:
            wrong.append(f"{test_name}: {' '.join(failure.split())[:400]}")
    return passed, total, wrong


@pytest.mark.full
@pytest.mark.parametrize("name", MODULES)
def test_numpys_tests_pass_with_tensors(name):
    pytest.importorskip(name, reason="this NumPy has no tests in its package")
    passed, calls, wrong = walk(name)
    assert not wrong, "\n".join(wrong)
    assert passed
    assert calls.answered


if __name__ == "__main__":
    answered, refused = Counter[str](), Counter[str]()
    for name in MODULES:
        passed, calls, wrong = walk(name)
        print(f"{name}: {passed} tests pass, {calls.answered.total()} calls answered by Tensors")
        print(*(f"    {failure}" for failure in wrong), sep="\n")
        answered += calls.answered
        refused += calls.refused
    print(answered.total(), dict(answered.most_common()))
    print(refused.total(), dict(refused.most_common()))
