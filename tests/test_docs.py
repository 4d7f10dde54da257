"""The documentation: its names and paths exist, and the changes that it shows work.

Building the site runs all other code of its pages; .ci/run builds it.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BACKENDS

import tinytensor as tt

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TEST = "-m pytest -q -p no:cacheprovider"
RUNS = {  # what runs after each change
    "op": f"{TEST} tests/ops/test_ops.py -k softsign",
    "kernel": f"{TEST} tests/backends/test_kernels.py -k cube",
    "backend": "-m tinytensor train relu --backend python --steps 2 --eager",
    "lesson": "-m tinytensor train two-layers --steps 2",
}


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def test_one_version():
    assert f"version: {tt.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {tt.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


OWNERS = {"x": tt.Tensor, "tt": tt, "nn": tt.nn, "optimizer": tt.optim.Optimizer}


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of each row of the table below a heading."""
    section = text(page).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]


def names_of(cell: str) -> list[tuple[str, str]]:
    """Owner and name: ("x", "sum") for `x.sum()`."""
    return re.findall(rf"\b({'|'.join(OWNERS)})\.(\w+)", cell)


def test_every_name_in_the_table_exists():
    table = rows("guides/pytorch.md", "Names")
    assert len(table) > 15
    for cell, *_ in table:
        for owner, name in names_of(cell):
            assert hasattr(OWNERS[owner], name), cell
        for code in re.findall(r"`(\w+)`", cell):
            assert hasattr(tt, code), cell


def test_names_that_are_not_there_are_missing_and_what_replaces_them_exists():
    table = rows("guides/pytorch.md", "What is not there")
    assert len(table) > 10
    for missing, here in table:
        for owner, name in names_of(missing):
            assert not hasattr(OWNERS[owner], name), missing
        for owner, name in names_of(here):
            assert hasattr(OWNERS[owner], name), here


def test_the_course_has_a_row_for_each_lesson():
    """Each row has the lesson's steps, and the lesson that its network starts from."""
    found = re.findall(r"^\| \[(.+?)\]\(lesson-(.+?)\.md\) \| (\S+) \| .+ \| ([\d,]+) \|$",
                       text("course/index.md"), re.MULTILINE)  # fmt: skip
    lessons = tt.lessons.lessons()
    for (label, number, base, steps), lesson in zip(found, lessons, strict=True):
        assert label == " ".join(dict.fromkeys((lesson.number, lesson.name)))
        assert (number, steps) == (lesson.number, f"{lesson.steps:,}")
        assert base == "nothing" or tt.lessons.find(base).number < number


def test_paths_in_code_exist():
    """Paths are from the root or from the package, and may be patterns."""
    codes = re.findall(r"`([^`\n]+)`", text("contributing/index.md"))
    words = [word for code in codes for word in code.split()]
    paths = [word for word in words if re.fullmatch(r"\w[\w.*/]*(\.py|\.[ch]|/)|\.ci/\w+", word)]
    assert len(paths) > 25
    package = ROOT / "tinytensor"
    assert [path for path in paths if not [*ROOT.glob(path), *package.glob(path)]] == []


@pytest.fixture
def extension(monkeypatch):
    """Imports a file of docs/extensions."""
    monkeypatch.syspath_prepend(str(DOCS / "extensions"))
    return importlib.import_module


@pytest.mark.parametrize("name", RUNS)
def test_a_change_finds_its_places(name, extension):
    assert "\n+" in extension("changes").diff(name)


def test_promises_have_tests():
    text = (DOCS / "how" / "promises.md").read_text()
    promised = re.findall(r"`((?:tests/|\.ci/)[\w/.]+)(?:::(\w+))?` \|$", text, re.MULTILINE)
    assert len(promised) >= 26
    for file, name in promised:
        assert not name or f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"
        assert (ROOT / file).exists(), file


def test_sources_that_pages_link_to_exist():
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\{source\}`(?:[^`<]*<)?([^`>]+)>?`", page.read_text()):
            file, _, definition = target.partition(":")
            assert file == "index" or (ROOT / file).exists(), f"{page.name}: {target}"
            name = definition.rpartition(".")[2]
            assert not name or re.search(rf"\b{name}\(|class {name}\b", (ROOT / file).read_text())


@pytest.mark.full
@pytest.mark.parametrize("name", RUNS)
def test_a_change_that_is_shown_works(name, extension, tmp_path):
    if name == "kernel" and "c" not in BACKENDS:
        pytest.skip("no compiler here")
    changes = extension("changes")
    assert changes.CHANGES.keys() == RUNS.keys()
    for folder in (
        "tinytensor",
        "tinytensor_command",
        "tests",
        "csrc",
    ):  # with what Numba has compiled
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tmp_path)
    patch = tmp_path / "change.diff"
    patch.write_text(changes.diff(name))
    commands = [["git", "apply", "--unsafe-paths", patch.name]]
    if name == "kernel":
        code = "from setuptools import setup; setup()"
        commands.append([sys.executable, "-c", code, "build_ext", "--inplace"])
    commands.append([sys.executable, *RUNS[name].split()])
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for command in commands:
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_docstrings_become_fields_and_code(extension):
    docstrings = extension("docstrings")
    lines = """\
x * y, elementwise; `x_` is code.

Args:
    x: array-like, any shape,
        continued.
    y, z: more.
    axis (or dim): one argument, two names.
    *sizes: ints.
Returns: a *Tensor*.
Raises:
    ShapeError: the shapes
        differ.
    DTypeError: more.

x, out: (R, C); index: (R,) int64, below C; the
last row wins.

>>> tt.mul(2, 3)
6
  7""".splitlines()
    assert docstrings.to_rst(lines) == [
        r"x \* y, elementwise; ``x_`` is code.",
        "",
        ":Parameters:",
        "",
        "   - **x** -- array-like, any shape, continued.",
        "   - **y**, **z** -- more.",
        "   - **axis** (or **dim**) -- one argument, two names.",
        r"   - **\*sizes** -- ints.",
        "",
        r":Returns: a \*Tensor\*.",
        "",
        ":raises ShapeError: the shapes differ.",
        ":raises DTypeError: more.",
        "",
        ":Parameters:",
        "",
        "   - **x**, **out** -- (R, C)",
        "   - **index** -- (R,) int64, below C; the last row wins.",
        "",
        ".. code-block:: pycon",
        "",
        "   >>> tt.mul(2, 3)",
        "   6",
        "     7",
        "",
    ]
