"""The examples in the docstrings (`>>>`) print what they show."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinytensor as tt

PACKAGE = Path(tt.__file__).parent
MODULES = [
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for file in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples of save() write files
    names = {"tt": tt, "np": np, "nn": tt.nn}
    with tt.backend("numpy"), np.errstate(all="ignore"):
        results = doctest.testmod(
            importlib.import_module(name), extraglobs=names, optionflags=doctest.ELLIPSIS
        )
    assert results.attempted > 0
    assert results.failed == 0
