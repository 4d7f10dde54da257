"""The C kernels as WebAssembly: compiled at the first use, and then kept in the cache folder."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from tinytensor import atomic_file
from tinytensor.backends.c_sources import c_sources
from tinytensor.datasets.remote import cache_folder
from tinytensor.errors import DataError
from tinytensor.extras import check_installed

FILES = ("wasm.c", "scratch.c")
FLAGS = (
    "-target", "wasm32-wasi", "-mexec-model=reactor", "-msimd128", "-std=gnu11", "-O3", "-g0",
    "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd",
    "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,--export=aligned_alloc", "-Wl,--export=tt_failed",
)  # fmt: skip


def compiled_kernels(caller: str) -> bytes:
    """Return all kernels as one WebAssembly module with 128-bit vectors, which imports nothing.

    The first call compiles it in half a minute and stores it in the cache folder. A change in csrc/
    or another version of ziglang compiles it again.

    caller: the start of an error message.

    Raises:
        SettingError: the package ziglang is not installed.
        DataError: the kernels can't be compiled, or the module can't be stored.
    """
    check_installed(caller, "compiler", "ziglang")
    folder = c_sources(caller)
    flags = [*FLAGS, *_exports(folder)]
    digest = hashlib.sha256(repr((version("ziglang"), flags)).encode())
    for source in sorted(folder.glob("*.[ch]")):
        digest.update(source.read_bytes())
    file = cache_folder() / f"kernels-{digest.hexdigest()[:16]}.wasm"
    if not file.is_file():
        with _storing(caller, file):
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_file.check(file)  # before half a minute of compiling
        module = _compile(caller, folder, flags)
        with _storing(caller, file):
            atomic_file.write(file, module)
    return file.read_bytes()


@contextmanager
def _storing(caller: str, file: Path) -> Iterator[None]:
    """Inside a `with` block that stores the kernels, turn an OSError into a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{caller}: the compiled kernels can't be stored in {file.parent}: "
            f"{error.strerror or error}; choose another folder with the environment variable "
            "TINYTENSOR_CACHE_DIR"
        ) from None


def _exports(folder: Path) -> list[str]:
    prototypes = (folder / "kernels.h").read_text(encoding="utf-8")
    kernels = re.findall(r"^void (tt_\w+)\(", prototypes, re.MULTILINE)
    return [f"-Wl,--export={name}" for name in kernels]


def _compile(caller: str, sources: Path, flags: list[str]) -> bytes:
    files = [str(sources / name) for name in FILES]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "kernels.wasm"
        compiler = [sys.executable, "-m", "ziglang", "cc"]
        done = subprocess.run(
            [*compiler, *flags, *files, "-o", str(out)],
            env=os.environ | {"ZIG_LOCAL_CACHE_DIR": folder},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode or not out.is_file():
            last = (done.stderr.strip() or "no output").splitlines()[-1]
            raise DataError(f"{caller}: ziglang can't compile {files[0]}: {last}")
        return out.read_bytes()
