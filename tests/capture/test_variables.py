"""What a function uses is found in its bytecode; that a step follows it is in test_program.py."""

import collections
import json
from types import SimpleNamespace

import pytest

from tinytensor.capture import variables

Instruction = collections.namedtuple("Instruction", "opname argval")


@pytest.mark.parametrize(
    ("doing", "names", "wanted"),
    [
        ("LOAD_FAST", "x", [("LOAD_FAST", "x")]),
        ("LOAD_FAST_LOAD_FAST", ("x", "y"), [("LOAD_FAST", "x"), ("LOAD_FAST", "y")]),
        ("STORE_FAST_LOAD_FAST", ("x", "y"), [("STORE_FAST", "x"), ("LOAD_FAST", "y")]),
        ("STORE_FAST_STORE_FAST", ("x", "y"), [("STORE_FAST", "x"), ("STORE_FAST", "y")]),
        (
            "LOAD_FAST_BORROW_LOAD_FAST_BORROW",
            ("x", "y"),
            [("LOAD_FAST", "x"), ("LOAD_FAST", "y")],
        ),
        ("LOAD_CONST", (1, 2), [("LOAD_CONST", (1, 2))]),
    ],
)
def test_instructions_of_all_versions_of_python(doing, names, wanted):
    assert list(variables._one_by_one([Instruction(doing, names)])) == wanted


def test_names_and_values():
    outer = SimpleNamespace(inner=SimpleNamespace(scale=2.0, other=3.0))

    def function(x):
        inner = outer.inner
        return x * inner.scale * len(x)

    found = variables.Variables([function])
    assert [(name, value) for _, name, value in found.named] == [
        ("inner", outer.inner),
        ("scale", 2.0),
    ]
    assert [value for _, value in found.cells] == [outer]


def test_libraries_are_not_looked_into():
    found = variables.Variables([lambda x: json.dumps(x)])
    assert (found.named, found.cells, found.values) == ([], [], [json])


def test_contents_tell_containers_apart():
    one, other = object(), object()
    assert variables.contents([[one], [other]])[1:] != variables.contents([[one, other], []])[1:]
    assert variables.may_change(([],))
    assert not variables.may_change((1, (2,)))
