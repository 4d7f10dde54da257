"""Build wheels for several platforms on one Linux machine.

    python csrc/wheels.py [--to FOLDER] [NAME ...]

ziglang, a C compiler in a Python package, compiles for all platforms of PLATFORMS, with the oldest
C library that a wheel may need. The headers of the Python that runs this file are used for all of
them, with the stable ABI. Only the file pyconfig.h differs on Windows, where `long` has 32 bits;
WINDOWS_CONFIG is its part that the headers need. A Windows DLL is linked with python3.lib, a list
of the functions of the stable ABI, which abi3info has.

Each wheel is built from a copy of the files that git has, or that are in the source archive. The
same files give the same bytes.

Needs the packages REQUIRED.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FIRST_DAY = "315532800"  # 1980-01-01, the first date that a zip file can have
NUMBA = '    "numba>=0.61",\n'  # in pyproject.toml


class Platform(NamedTuple):
    """A platform and how its wheel is built."""

    target: str  # of zig; "" for a wheel without kernels
    host: str  # as sysconfig.get_platform() names the platform
    tag: str  # of the wheel
    has_numba: bool = True


PLATFORMS = {
    "manylinux-x86_64": Platform("x86_64-linux-gnu.2.17", "linux-x86_64", "manylinux_2_17_x86_64"),
    "manylinux-aarch64": Platform(
        "aarch64-linux-gnu.2.17", "linux-aarch64", "manylinux_2_17_aarch64"
    ),
    "musllinux-x86_64": Platform(
        "x86_64-linux-musl", "linux-x86_64", "musllinux_1_2_x86_64", has_numba=False
    ),
    "musllinux-aarch64": Platform(
        "aarch64-linux-musl", "linux-aarch64", "musllinux_1_2_aarch64", has_numba=False
    ),
    "macos-arm64": Platform("aarch64-macos.11.0", "macosx-11.0-arm64", "macosx_11_0_arm64"),
    "macos-x86_64": Platform("x86_64-macos.11.0", "macosx-11.0-x86_64", "macosx_11_0_x86_64"),
    "windows-x86_64": Platform("x86_64-windows-gnu", "win-amd64", "win_amd64"),
    "any": Platform("", "any", "any", has_numba=False),
}
REQUIRED = "build 'setuptools>=77' cffi ziglang abi3info"
PYTHON = "3.11"  # the oldest whose stable ABI a wheel uses
WINDOWS_CONFIG = """\
#define MS_WINDOWS 1
#define HAVE_DECLSPEC_DLL 1
#define Py_ENABLE_SHARED 1
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_SIZE_T 8
#define SIZEOF_VOID_P 8
#define SIZEOF_WCHAR_T 2
#define ALIGNOF_MAX_ALIGN_T 16
#define HAVE_STDDEF_H 1
#define HAVE_SYS_TYPES_H 1
#define NT_THREADS 1
"""
NOTE = "tinytensor/backends/_c_build_error.txt"  # in a wheel whose kernels did not compile


def environment(platform: Platform, folder: Path) -> dict[str, str]:
    """Return the environment variables with which setuptools builds the wheel.

    folder: for files that the compiler reads.
    """
    if not platform.target:
        variables = {"TINYTENSOR_KERNELS": "none"}
    else:
        compiler = f"{sys.executable} -m ziglang cc -target {platform.target}"
        shared = "-shared"
        if "macos" in platform.target:
            shared += " -undefined dynamic_lookup"
        if "windows" in platform.target:
            compiler += f" -I{windows_headers(folder)}"
            shared += f" -s {windows_library(folder)}"  # -s: without a file for debuggers
        variables = {
            "CC": compiler,
            "LDSHARED": f"{compiler} {shared}",
            "_PYTHON_HOST_PLATFORM": platform.host,
        }
    return {**os.environ, "SOURCE_DATE_EPOCH": FIRST_DAY, **variables}


def windows_headers(folder: Path) -> Path:
    """Write Python's headers for Windows into a folder, and return their path."""
    headers = folder / "include"
    shutil.copytree(sysconfig.get_paths()["include"], headers)
    (headers / "pyconfig.h").write_text(WINDOWS_CONFIG)
    return headers


def windows_library(folder: Path) -> Path:
    """Write python3.lib, the functions and data that Python's stable ABI exports from a DLL."""
    from abi3info import DATAS, FUNCTIONS
    from abi3info.models import PyVersion

    newest = PyVersion.parse_dotted(PYTHON)
    lines = ["LIBRARY python3.dll", "EXPORTS"]
    for symbols, kind in ((FUNCTIONS, ""), (DATAS, " DATA")):
        names = [symbol.name for symbol, about in symbols.items() if about.added <= newest]
        lines += [f"    {name}{kind}" for name in sorted(names)]
    definitions, library = folder / "python3.def", folder / "python3.lib"
    definitions.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "ziglang", "dlltool", "-m", "i386:x86-64"]
    subprocess.run([*command, "-d", str(definitions), "-l", str(library)], check=True)
    return library


def listed_files() -> list[str]:
    """Return the names of the project's files: those that git has, or those of a source archive."""
    with suppress(OSError):  # git is not installed
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
        if names := listed.stdout.split("\0")[:-1]:
            return names
    for sources in ROOT.glob("*.egg-info/SOURCES.txt"):
        names = sources.read_text(encoding="utf-8").splitlines()
        return [name for name in names if (ROOT / name).is_file()]
    raise SystemExit(
        f"wheels.py: {ROOT} is neither a git clone nor an unpacked source archive, so there is no "
        "list of its files; clone the repository, or unpack the archive"
    )


def copy_sources(folder: Path, platform: Platform) -> None:
    """Copy the project's files. A wheel for a platform without numba doesn't require it."""
    for name in listed_files():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
        copy.chmod(0o644)
    if not platform.has_numba:
        project = folder / "pyproject.toml"
        text = project.read_text(encoding="utf-8")
        if NUMBA not in text:
            raise SystemExit(f"wheels.py: pyproject.toml has no line {NUMBA.strip()}")
        project.write_text(text.replace(NUMBA, ""), encoding="utf-8")


def build(name: str, destination: Path) -> Path:
    """Build the wheel of a platform into a folder, and return its path."""
    platform = PLATFORMS[name]
    with tempfile.TemporaryDirectory() as temporary:
        sources, built = Path(temporary) / "sources", Path(temporary) / "built"
        copy_sources(sources, platform)
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(built)]
        if platform.target:
            command.append(f"-C--build-option=--plat-name={platform.tag}")
        variables = environment(platform, Path(temporary))
        result = subprocess.run(command, cwd=sources, env=variables, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(f"{result.stdout}{result.stderr}\nwheels.py: {name} was not built")
        (wheel,) = built.glob("*.whl")
        if platform.target and "-abi3-" not in wheel.name:
            raise SystemExit(f"wheels.py: {wheel.name} is not for all versions of Python")
        with zipfile.ZipFile(wheel) as archive:
            if platform.target and NOTE in archive.namelist():
                reason = archive.read(NOTE).decode()
                raise SystemExit(f"wheels.py: {name} was not built: {reason}")
        destination.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheel, destination / wheel.name))


def main() -> None:
    """Build the wheels that the command names."""
    parser = argparse.ArgumentParser(description="Build wheels for several platforms.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PLATFORMS))
    parser.add_argument("--to", type=Path, default=ROOT / "dist", help="the folder [dist]")
    arguments = parser.parse_args()
    for name in arguments.names or PLATFORMS:
        if name not in PLATFORMS:
            parser.error(f"{name} is not one of {', '.join(PLATFORMS)}")
    targets = [PLATFORMS[name].target for name in arguments.names or PLATFORMS]
    for package, is_needed in (
        ("build", True), ("setuptools", True), ("cffi", True), ("ziglang", any(targets)),
        ("abi3info", any("windows" in target for target in targets)),
    ):  # fmt: skip
        if is_needed and find_spec(package) is None:
            parser.error(f"{package} is not installed; run: pip install {REQUIRED}")
    for name in arguments.names or PLATFORMS:
        wheel = build(name, arguments.to)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        print(f"{wheel.name}  {wheel.stat().st_size / 1e6:.1f} MB  sha256 {digest}", flush=True)


if __name__ == "__main__":
    main()
