"""Build wheels for several platforms on one Linux machine.

    python csrc/wheels.py [--to FOLDER] [NAME ...]

ziglang, a C compiler in a Python package, compiles for all platforms of PLATFORMS, with the oldest
C library that a wheel may need. The headers of the Python that runs this file are used for all of
them. This is correct for the stable ABI on Linux and macOS, where `long` has 64 bits. Windows needs
its own headers, so cibuildwheel builds that wheel on a Windows machine; see pyproject.toml.

Each wheel is built from a copy of the files that git has. The same files give the same bytes.

Needs: pip install build 'setuptools>=77' cffi ziglang
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
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
    "any": Platform("", "any", "any", has_numba=False),
}


def environment(platform: Platform) -> dict[str, str]:
    """Return the environment variables with which setuptools builds the wheel."""
    if not platform.target:
        variables = {"TINYTENSOR_KERNELS": "none"}
    else:
        compiler = f"{sys.executable} -m ziglang cc -target {platform.target}"
        shared = "-shared -undefined dynamic_lookup" if "macos" in platform.target else "-shared"
        variables = {
            "CC": compiler,
            "LDSHARED": f"{compiler} {shared}",
            "_PYTHON_HOST_PLATFORM": platform.host,
        }
    return {**os.environ, "SOURCE_DATE_EPOCH": FIRST_DAY, **variables}


def copy_sources(folder: Path, platform: Platform) -> None:
    """Copy the files that git has. A wheel for a platform without numba doesn't require it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
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
        result = subprocess.run(
            command, cwd=sources, env=environment(platform), capture_output=True, text=True
        )
        if result.returncode:
            raise SystemExit(f"{result.stdout}{result.stderr}\nwheels.py: {name} was not built")
        (wheel,) = built.glob("*.whl")
        if platform.target and "-abi3-" not in wheel.name:
            raise SystemExit(f"wheels.py: {wheel.name} is not for all versions of Python")
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
    for name in arguments.names or PLATFORMS:
        wheel = build(name, arguments.to)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        print(f"{wheel.name}  {wheel.stat().st_size / 1e6:.1f} MB  sha256 {digest}", flush=True)


if __name__ == "__main__":
    main()
