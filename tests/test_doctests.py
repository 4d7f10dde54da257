"""The examples in docstrings print what they say, on every backend."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt

PACKAGE = Path(tt.__file__).parent
EXAMPLES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): n
    for file in sorted(PACKAGE.rglob("*.py"))
    if (n := file.read_text(encoding="utf-8").count(">>> "))
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_docstrings(name, backend, tmp_path, monkeypatch):
    if name.startswith("tinytensor.sklearn"):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    if name.startswith("tinytensor.onnx"):
        pytest.importorskip("onnx", reason="onnx is not installed")
    monkeypatch.chdir(tmp_path)  # because examples of save() write files
    tt.set_backend(backend)  # and not a `with` block, because examples of set_backend() change it
    module = importlib.import_module(name)
    names = {"tt": tt, "nn": tt.nn, "np": np}
    with np.errstate(all="ignore"):
        result = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    assert result.attempted == EXAMPLES[name]


def test_the_ops_that_people_meet_first_have_examples():
    public = tt.ops.__all__ + tt.ops.creation.__all__
    with_examples = {name for name in public if ">>> " in (getattr(tt, name).__doc__ or "")}
    assert len(with_examples) >= 40
