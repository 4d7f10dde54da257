"""How the Numba backend compiles: once, kept on disk where that is possible, and counted."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinytensor import door, kernels
from tinytensor.backends.numba import compiling

NEGATE = """if True:
    import numpy as np
    from tinytensor import door, kernels
    numba = door.load_backend("numba")
    out = np.empty(2, np.float32)
    numba.kernels["neg"](np.float32([1, -2]), out)
    spent = numba.module.compiling()
    print(out.tolist(), spent["compiled"], spent["loaded"])
"""
COMPILED, LOADED = "[-1.0, 2.0] 1 0\n", "[-1.0, 2.0] 0 1\n"


def start(code: str = NEGATE, **environment: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return out


@pytest.mark.full
def test_what_was_compiled_is_kept(tmp_path):
    assert said(start(NUMBA_CACHE_DIR=tmp_path)) == COMPILED
    assert said(start(NUMBA_CACHE_DIR=tmp_path)) == LOADED


@pytest.mark.full
@pytest.mark.parametrize("left", [0, 100])
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_torn_file_is_made_anew(tmp_path, suffix, left):
    said(start(NUMBA_CACHE_DIR=tmp_path))
    (file,) = tmp_path.rglob(f"*.{suffix}")
    file.write_bytes(file.read_bytes()[:left])
    assert said(start(NUMBA_CACHE_DIR=tmp_path)) == COMPILED
    assert said(start(NUMBA_CACHE_DIR=tmp_path)) == LOADED


@pytest.mark.full
def test_other_sources_are_compiled_anew(tmp_path):
    said(start(NUMBA_CACHE_DIR=tmp_path))
    changed = NEGATE.replace(
        "out =", "from tinytensor.backends.numba import compiling as n; n._sources = str; out =", 1
    )
    assert said(start(changed, NUMBA_CACHE_DIR=tmp_path)) == COMPILED


def test_every_file_with_compiled_code_is_a_source():
    """A change in any of them must have all kernels compiled again."""
    decorated = re.compile(r"^@(kernel|part|intrinsic|overload)\b", re.MULTILINE)
    package = Path(kernels.__file__).parent
    compiled = {file for file in package.rglob("*.py") if decorated.search(file.read_text())}
    assert {"tile.py", "reduce_loops.py", "places.py"} <= {file.name for file in compiled}
    assert compiled <= set(compiling.SOURCES)


@pytest.mark.full
def test_two_processes_at_once(tmp_path):
    both = [start(NUMBA_CACHE_DIR=tmp_path) for _ in range(2)]
    assert all(said(process) in (COMPILED, LOADED) for process in both)
    assert said(start(NUMBA_CACHE_DIR=tmp_path)) == LOADED


@pytest.mark.full
@pytest.mark.parametrize("home", ["/proc", "/dev/null", ""])
def test_without_a_home_that_can_be_written_to(home):
    # Of the places that Numba tries, only the user's cache folder.
    only = {"NUMBA_CACHE_DIR": "", "NUMBA_CACHE_LOCATOR_CLASSES": "UserWideCacheLocator"}
    places = {"HOME": home, "XDG_CACHE_HOME": f"{home or '/proc'}/cache"}
    assert said(start(**only, **places)) == COMPILED


def test_a_full_disk(monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(compiling.FunctionCache, "save_overload", full)

    @compiling.kernel("real[::1], real[::1]")
    def twice(x, out):
        for i in range(len(x)):
            out[i] = x[i] + x[i]

    out = np.empty(2)
    twice(np.array([1.0, 2.0]), out)
    assert out.tolist() == [2, 4]


@pytest.mark.full
def test_read_only_arrays():
    numba = door.load_backend("numba").kernels
    x, out = np.ones(3, np.float32), np.empty(3, np.float32)
    x.flags.writeable = False
    for name in ("add", "matmul"):
        more = (False, False) if name == "matmul" else ()
        shape = (3, 1) if name == "matmul" else (3,)
        y = np.ones((1, 1) if name == "matmul" else 3, np.float32)
        numba[name](x.reshape(shape), y, out.reshape(shape), *more)
        np.testing.assert_array_equal(out, x * (1 if name == "matmul" else 2))
        with pytest.raises(ValueError, match="writes to is read-only"):
            numba[name](out.reshape(shape), y, x.reshape(shape), *more)
    with pytest.raises(ValueError, match="relu_backward: an array that it writes to is read-only"):
        numba["relu_backward"](out, out, x)
