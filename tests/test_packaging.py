"""Building and installing copies of this repository, with and without a compiler."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import BACKENDS

pytestmark = pytest.mark.full
ROOT = Path(__file__).parent.parent
C_SOURCES = [path.relative_to(ROOT).as_posix() for path in (ROOT / "csrc").rglob("*.[ch]")]
LIMITED_API = not sysconfig.get_config_var("Py_GIL_DISABLED")


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def build(tree: Path, kind: str, **environment: str) -> Path:
    """Builds an sdist or a wheel from a tree without earlier builds, and returns its path."""
    arguments = ("-m", "build", f"--{kind}", "--no-isolation", tree)
    result = run(sys.executable, *arguments, cwd=tree.parent, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = (tree / "dist").iterdir()
    return built


def install(wheel: Path, folder: Path) -> Path:
    arguments = ("install", "--quiet", "--no-deps", "--target", folder, wheel)
    result = run(sys.executable, "-m", "pip", *arguments, cwd=folder.parent)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    tree = tmp_path_factory.mktemp("sdist") / "tree"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "*.so", "__pycache__")
    shutil.copytree(ROOT, tree, ignore=ignored)
    return build(tree, "sdist")


def unpack(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (tree,) = folder.iterdir()
    return tree


def test_sdist_has_all_sources(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("README.md", "LICENSE", "csrc/kernels.h", "csrc/build.py", "tests/cases.py"):
        assert name in names
    assert set(C_SOURCES) <= names


@pytest.mark.skipif("c" not in BACKENDS, reason="no compiler here")
def test_wheel_built_from_the_sdist(sdist, tmp_path):
    wheel = build(unpack(sdist, tmp_path / "unpacked"), "wheel")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "tinytensor/py.typed" in names
    assert "tinytensor_command/commands.py" in names
    for name in ("page.html", "page.js", "network.js"):
        assert f"tinytensor/web/{name}" in names
    assert sum(name.startswith("tinytensor/datasets/mnist/") for name in names) == 5
    for name in ("1.0", "3.1", "best"):
        assert f"tinytensor/lessons/weights/{name}.safetensors" in names
    chapters = {file.name for file in (ROOT / "tinytensor/lessons/chapters").iterdir()}
    assert {f"tinytensor/lessons/chapters/{name}" for name in chapters} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "csrc", "benchmarks"))]
    shown = {name for name in names if name.startswith("tinytensor/csrc/")}
    assert shown == {f"tinytensor/{name}" for name in C_SOURCES}
    site = install(wheel, tmp_path / "site")
    code = "import tinytensor; print(tinytensor.__file__); print(tinytensor.current_backend().name)"
    result = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(site))
    assert result.stdout.split() == [str(site / "tinytensor/__init__.py"), "c"], result.stderr


def test_installation_without_a_compiler(sdist, tmp_path):
    compiler = tmp_path / "broken-cc"
    compiler.write_text("#!/bin/sh\necho 'its disk is full' >&2\nexit 1\n")
    compiler.chmod(0o755)
    wheel = build(unpack(sdist, tmp_path / "unpacked"), "wheel", CC=compiler)
    site = install(wheel, tmp_path / "site")
    program = (sys.executable, "-m", "tinytensor")
    result = run(*program, "info", cwd=tmp_path, PYTHONPATH=str(site))
    assert "in use         numba" in result.stdout
    assert "its disk is full" not in result.stdout
    result = run(*program, "info", "--verbose", cwd=tmp_path, PYTHONPATH=str(site))
    assert result.stdout.count("its disk is full") == 1
    result = run(*program, "train", "softmax", "--steps", 1, cwd=tmp_path, PYTHONPATH=str(site))
    assert result.returncode == 0, result.stderr
    assert "backend numpy: C is not compiled here" in result.stderr
    train = ("train", "softmax", "--steps", 1, "--backend", "c")
    result = run(*program, *train, cwd=tmp_path, PYTHONPATH=str(site))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    for words in (
        "c: the kernels were not compiled",
        "broken-cc can't compile",
        "install gcc or clang",
    ):
        assert words in result.stderr
    result = run(*program, "explain", "matmul", cwd=tmp_path, PYTHONPATH=str(site))
    assert result.returncode == 0, result.stderr
    assert "static void matmul_packed(matmul_arguments a)\n{\n" in result.stdout


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="wheels.py copies the files of git")
def test_the_wheel_for_all_platforms(sdist, tmp_path):
    """A clone and the sdist give the same bytes. NumPy computes, and numba is not required."""
    wheels = []
    for folder, sources in (("first", ROOT), ("second", unpack(sdist, tmp_path / "unpacked"))):
        arguments = (sources / "csrc/wheels.py", "--to", tmp_path / folder, "any")
        result = run(sys.executable, *arguments, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        wheels += (tmp_path / folder).iterdir()
    first, second = wheels
    assert first.name.endswith("-py3-none-any.whl")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    assert "Requires-Dist: numpy" in text
    assert "Requires-Dist: numba" not in text
    site = install(first, tmp_path / "site")
    train = ("-m", "tinytensor", "train", "softmax", "--steps", 1, "--backend", "auto")
    result = run(sys.executable, *train, cwd=tmp_path, PYTHONPATH=str(site))
    assert "backend numpy: C is not compiled here" in result.stderr
    result = run(sys.executable, "-m", "tinytensor", "info", cwd=tmp_path, PYTHONPATH=str(site))
    assert "this wheel is for all platforms and has no kernels; install gcc" in result.stdout


def test_wheels_need_a_list_of_files(tmp_path):
    script = tmp_path / "csrc/wheels.py"
    script.parent.mkdir()
    script.write_text((ROOT / "csrc/wheels.py").read_text())
    result = run(sys.executable, script, "any", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "is neither a git clone nor an unpacked source archive" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("where", ["build", "in place"])
def test_a_failed_build_removes_the_older_module(tmp_path, where):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    (tmp_path / "tinytensor").mkdir()
    shutil.copy(ROOT / "tinytensor/__init__.py", tmp_path / "tinytensor")  # has the version
    folder = Path("tinytensor/backends")
    shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("_c*"))
    module = f"_c{'.abi3.so' if LIMITED_API else sysconfig.get_config_var('EXT_SUFFIX')}"
    places = [tmp_path / "lib" / folder, tmp_path / folder]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / module).write_text("an older module")
    code = "from setuptools import setup; setup()"
    arguments = ["build_ext", "--build-lib", "lib", *(["--inplace"] if where == "in place" else [])]
    result = run(sys.executable, "-c", code, *arguments, cwd=tmp_path, CC="/no/compiler")
    assert result.returncode == 0, result.stderr
    built = places[where == "in place"]
    reason = "the compiler /no/compiler can't be run: No such file or directory\n"
    assert (built / "_c_build_error.txt").read_text() == reason
    assert not (built / module).exists()
    assert not (places[0] / module).exists(), "the next build would install it"
