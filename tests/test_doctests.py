"""The examples in docstrings print what they say, on every backend."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinytensor as tt

PACKAGE = Path(tt.__file__).parent
EXAMPLES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): n
    for file in sorted(PACKAGE.rglob("*.py"))
    if (n := file.read_text().count(">>> "))
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_docstrings(backend, name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"tt": tt, "np": np})
    assert result.failed == 0
    assert result.attempted == EXAMPLES[name]


def test_the_ops_that_people_meet_first_have_examples():
    public = tt.ops.__all__ + tt.ops.creation.__all__
    with_examples = {name for name in public if ">>> " in (getattr(tt, name).__doc__ or "")}
    assert len(with_examples) >= 40
