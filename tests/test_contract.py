"""Rules for the source code: arithmetic through kernels, docstrings, names."""

import ast
import inspect
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import ops

PACKAGE = Path(tt.__file__).parent
COMPUTING = [file for room in ("ops", "nn", "optim") for file in (PACKAGE / room).glob("*.py")]


def reads_an_array(node: ast.AST) -> bool:
    return any(isinstance(n, ast.Attribute) and n.attr == "array" for n in ast.walk(node))


@pytest.mark.parametrize("file", COMPUTING, ids=lambda file: file.name)
def test_arithmetic_on_tensors_uses_kernels(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.BinOp | ast.AugAssign | ast.UnaryOp):
            assert not reads_an_array(node) or not _computes(node), ast.unparse(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("np."):
            name = ast.unparse(node.func).removeprefix("np.").split(".")[0]
            if isinstance(getattr(np, name, None), np.ufunc) or name in (
                "sum",
                "mean",
                "max",
                "dot",
            ):
                assert not any(map(reads_an_array, node.args)), ast.unparse(node)


def _computes(node: ast.AST) -> bool:
    """True if an array itself is an operand, not its shape or dtype."""
    operands = [getattr(node, name, None) for name in ("left", "right", "operand", "value")]
    return any(isinstance(x, ast.Attribute) and x.attr == "array" for x in operands)


def test_every_public_op_has_a_docstring_and_annotations():
    for name in tt.__all__:
        value = getattr(tt, name)
        if inspect.isfunction(value) and value.__module__.startswith(ops.__name__):
            text = inspect.getdoc(value) or ""
            assert len(text) > 15, name
            annotations = inspect.signature(value).return_annotation
            assert annotations != inspect.Signature.empty, name


def test_no_module_has_a_vague_name():
    for file in PACKAGE.rglob("*.py"):
        assert file.stem not in ("utils", "helpers", "core", "common"), file


def test_class_names_are_unique():
    """Except for a class of two backends, layers of other libraries, and students' files."""
    files = [file for file in PACKAGE.rglob("*.py") if file.parent.name not in ("peers", "pages")]
    counts = Counter(
        node.name
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in counts.items() if count > 1] == ["BoundCalls"]
