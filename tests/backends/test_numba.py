"""Compilation by the Numba backend: once, cached on disk if possible, and counted."""

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


def output(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return out


@pytest.mark.full
def test_machine_code_is_cached_on_disk(tmp_path):
    assert output(start(NUMBA_CACHE_DIR=tmp_path)) == COMPILED
    assert output(start(NUMBA_CACHE_DIR=tmp_path)) == LOADED


@pytest.mark.full
@pytest.mark.parametrize("left", [0, 100])
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_damaged_file_is_compiled_again(tmp_path, suffix, left):
    output(start(NUMBA_CACHE_DIR=tmp_path))
    (file,) = tmp_path.rglob(f"*.{suffix}")
    file.write_bytes(file.read_bytes()[:left])
    assert output(start(NUMBA_CACHE_DIR=tmp_path)) == COMPILED
    assert output(start(NUMBA_CACHE_DIR=tmp_path)) == LOADED


@pytest.mark.full
def test_changed_sources_are_compiled_again(tmp_path):
    output(start(NUMBA_CACHE_DIR=tmp_path))
    changed = NEGATE.replace(
        "out =", "from tinytensor.backends.numba import compiling as n; n._sources = str; out =", 1
    )
    assert output(start(changed, NUMBA_CACHE_DIR=tmp_path)) == COMPILED


def test_sources_include_every_file_with_compiled_code():
    """A change in any of these files must recompile all kernels."""
    decorated = re.compile(r"^@(kernel|subroutine|intrinsic|overload)\b", re.MULTILINE)
    package = Path(kernels.__file__).parent
    compiled = {file for file in package.rglob("*.py") if decorated.search(file.read_text())}
    assert {"tile.py", "reduce_loops.py", "strides.py"} <= {file.name for file in compiled}
    assert compiled <= set(compiling.SOURCES)


@pytest.mark.full
def test_two_processes_compile_at_the_same_time(tmp_path):
    both = [start(NUMBA_CACHE_DIR=tmp_path) for _ in range(2)]
    assert all(output(process) in (COMPILED, LOADED) for process in both)
    assert output(start(NUMBA_CACHE_DIR=tmp_path)) == LOADED


@pytest.mark.full
@pytest.mark.parametrize("home", ["/proc", "/dev/null", ""])
def test_without_a_writable_home(home):
    # Numba tries only the user's cache folder.
    only = {"NUMBA_CACHE_DIR": "", "NUMBA_CACHE_LOCATOR_CLASSES": "UserWideCacheLocator"}
    folders = {"HOME": home, "XDG_CACHE_HOME": f"{home or '/proc'}/cache"}
    assert output(start(**only, **folders)) == COMPILED


def test_full_disk(monkeypatch):
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
        flags = (False, False) if name == "matmul" else ()
        shape = (3, 1) if name == "matmul" else (3,)
        y = np.ones((1, 1) if name == "matmul" else 3, np.float32)
        numba[name](x.reshape(shape), y, out.reshape(shape), *flags)
        np.testing.assert_array_equal(out, x * (1 if name == "matmul" else 2))
        with pytest.raises(ValueError, match="got a read-only output array"):
            numba[name](out.reshape(shape), y, x.reshape(shape), *flags)
    with pytest.raises(ValueError, match="relu_backward: got a read-only output array"):
        numba["relu_backward"](out, out, x)
