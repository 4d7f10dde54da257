"""Choosing a backend, the number of threads, and the errors of unavailable backends."""

import os
import shutil
import subprocess
import sys
import threading

import numpy
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import door


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_all_backends_are_available():
    assert {"numba", "numpy"} <= set(BACKENDS)
    if shutil.which("gcc") or shutil.which("clang"):
        assert BACKENDS == ["c", "numba", "numpy"]


def test_set_backend_is_global_and_with_is_local():
    tt.set_backend("numpy")
    seen = []
    with tt.backend("numba") as chosen:
        assert tt.current_backend() is chosen
        thread = threading.Thread(target=lambda: seen.append(tt.current_backend().name))
        thread.start()
        thread.join()
        with tt.backend("numpy"):
            assert tt.current_backend().name == "numpy"
        assert tt.current_backend().name == "numba"
    assert seen == ["numpy"]
    assert tt.current_backend().name == "numpy"


def test_one_graph_computed_by_several_backends():
    x = tt.Tensor([[1.0, 2.0]], requires_grad=True)
    total = x.sum()
    for name in BACKENDS:
        with tt.backend(name):
            total = total * x.mean()
    total.backward()
    assert x.grad is not None
    assert total.item() == pytest.approx(3 * 1.5 ** len(BACKENDS))


def test_unknown_backend_raises():
    with pytest.raises(
        tt.UnknownName, match=r"none named 'cuda'; choose from auto, c, numba, numpy"
    ):
        tt.set_backend("cuda")


def test_environment_variables():
    code = "import tinytensor as tt; print(tt.current_backend().name)"
    assert python(code, TINYTENSOR_BACKEND="numpy").stdout == "numpy\n"
    wrong = python(code, TINYTENSOR_BACKEND="fortran")
    assert "UnknownName: TINYTENSOR_BACKEND=fortran: backend: there is none" in wrong.stderr
    wrong = python(code, TINYTENSOR_NUM_THREADS="many")
    assert "SettingError: TINYTENSOR_NUM_THREADS=many: a number from 1 to 64" in wrong.stderr


def test_without_c_auto_takes_numba():
    code = """if True:
        import sys
        sys.modules["tinytensor.backends._c"] = None
        import tinytensor as tt
        print(tt.current_backend().name, list(tt.available_backends()))
        try:
            tt.set_backend("c")
        except tt.BackendUnavailable as error:
            print(error)
    """
    output = python(code, TINYTENSOR_BACKEND="").stdout
    assert output.startswith("numba ['numba', 'numpy']")
    assert "c: the kernels were not compiled" in output
    assert "pip install" in output


def test_each_backend_is_a_backend_module():
    for name in BACKENDS:
        module = door.load_backend(name).module
        assert isinstance(module, door.BackendModule)
        assert module.num_threads() >= 1
        assert module.description()
    assert not isinstance(numpy, door.BackendModule)


def test_a_missing_kernel_is_reported(monkeypatch):
    numba = door.load_backend("numba").module
    monkeypatch.delattr(numba, "exp")
    monkeypatch.delitem(door._loaded, "numba")
    backend = door.load_backend("numba")
    assert backend.on_numpy == ("exp", "cast")
    assert "computed by NumPy: exp, cast" in repr(backend)
    with tt.backend("numba"):
        assert tt.exp(tt.zeros(2)).numpy().tolist() == [1, 1]


def test_import_loads_no_heavy_modules():
    code = """if True:
        import sys, tinytensor
        heavy = {"numba", "click", "rich", "threadpoolctl", "cffi"} & set(sys.modules)
        print(sorted(heavy))
    """
    assert python(code).stdout == "[]\n"


def test_set_num_threads():
    for threads in (1, 2):
        tt.set_num_threads(threads)
        for name in BACKENDS:
            assert door.load_backend(name).num_threads == threads


@pytest.mark.parametrize("threads", [0, 65, "2", 2.0, True, None])
def test_set_num_threads_takes_only_an_int(threads):
    with pytest.raises(tt.SettingError, match=f"got {threads!r}; an int from 1 to 64 is needed"):
        tt.set_num_threads(threads)
