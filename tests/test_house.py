"""The plan of the package: which file may import which, and how files and ops are named."""

import ast
import inspect
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cases import OPS

import tinytensor as tt
from tinytensor import ops

PACKAGE = Path(tt.__file__).parent
COMMAND = PACKAGE.parent / "tinytensor_command"
FACADE = "tinytensor"  # __init__.py: it collects the public names and may import everything

# From the ground up. A file imports files of the same floor and of lower floors.
FLOORS = [
    ["atomic_file", "errors", "forks", "hints", "interrupt", "json_text", "plural"],
    ["arrays", "cores", "devices", "extras", "modes", "regular_file"],
    ["endings"],
    ["observers", "recorder"],
    ["door"],
    ["kernels", "random", "ranks"],
    ["backends"],
    ["tensors", "autograd", "ops", "notebook"],
    ["checkpoint", "nn", "optim", "gradcheck", "interop"],
    ["capture"],
    ["machine"],
    ["ladder"],
    ["datasets", "lessons"],
    [
        *["claims", "coach", "early_stopping", "evaluation", "logs", "microscope", "onnx"],
        *[
            "parallel",
            "run_state",
            "saved_layers",
            "saved_model",
            "saver",
            "sklearn",
            "step_report",
            "train",
            "web",
        ],
    ],
    ["live", "bench", "sweep"],
    ["fit_data", "fitting"],
    ["learn"],
    ["cli"],
    ["tinytensor_command"],
    ["__main__"],
]

# Imports inside of functions that lead upwards, or close a circle: (from, to) and the reason
EXCEPTIONS = {
    ("door", "ladder.ladder"): "use_kernel looks up a rung, and rungs compute by kernels",
    ("capture.program", "machine"): "a program's table shows the machine's peaks; training doesn't",
    ("datasets", "datasets.remote"): "fetching needs pooch, and returns what datasets defines",
    (
        "datasets",
        "datasets.folders",
    ): "pictures need Pillow, and folders return what datasets defines",
    ("live", "live.notebook_panels"): "import tinytensor must not load IPython and matplotlib",
    ("live", "live.watching"): "import tinytensor must not load Bokeh",
}


class Import(NamedTuple):
    source: str  # a module, without "tinytensor." if it is in that package
    target: str
    lazy: bool  # True if it is inside a function
    line: int


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(file): file for file in [*PACKAGE.rglob("*.py"), *COMMAND.glob("*.py")]}


def behind_the_facade(name: str) -> str:
    """Returns the module that tt.`name` comes from."""
    if f"{FACADE}.{name}" in FILES:
        return f"{FACADE}.{name}"
    value = getattr(tt, name)
    return value.__name__ if isinstance(value, types.ModuleType) else value.__module__


def imported(node: ast.AST) -> Iterator[str]:
    """Yields the modules of tinytensor that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in FILES)
    elif isinstance(node, ast.ImportFrom) and node.module in FILES:
        for alias in node.names:
            module = f"{node.module}.{alias.name}"
            if module in FILES:
                yield module
            elif node.module == FACADE and alias.name != "__version__":
                yield behind_the_facade(alias.name)
            else:
                yield node.module


def statements(node: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Yields (node, lazy) of everything below `node` that runs; type-only imports don't."""
    for child in ast.iter_child_nodes(node):
        is_if = isinstance(child, ast.If) and isinstance(child.test, ast.Name)
        if is_if and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield other, lazy
                yield from statements(other, lazy)
            continue
        yield child, lazy
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from statements(child, lazy or inside)


def imports_of(source: str) -> Iterator[Import]:
    nodes = list(statements(ast.parse(FILES[source].read_text())))
    aliases = {
        alias.asname or alias.name
        for node, _ in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == FACADE
    }
    for node, lazy in nodes:
        for target in imported(node):
            if target not in (FACADE, source):
                yield Import(short(source), short(target), lazy, node.lineno)
        is_use = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if is_use and node.value.id in aliases:  # such as tt.nn
            target = behind_the_facade(node.attr)
            if target in FILES and target not in (FACADE, source):
                yield Import(short(source), short(target), lazy, node.lineno)


def short(module: str) -> str:
    return module.removeprefix(f"{FACADE}.")


IMPORTS = [each for file in FILES if file != FACADE for each in imports_of(file)]
COUNTED = [each for each in IMPORTS if not (each.lazy and each[:2] in EXCEPTIONS)]


def floor(module: str) -> int:
    room = module.partition(".")[0]
    (found,) = (i for i, rooms in enumerate(FLOORS) if room in rooms)
    return found


def test_every_file_is_on_one_floor():
    rooms = [room for rooms in FLOORS for room in rooms]
    assert len(set(rooms)) == len(rooms)
    on_a_floor = {file for file in FILES if short(file).partition(".")[0] in rooms}
    assert set(FILES) - on_a_floor == {FACADE}


def test_imports_lead_downwards():
    upwards = [each for each in COUNTED if floor(each.target) > floor(each.source)]
    assert not upwards, "\n".join(map(str, sorted(upwards)))


def test_the_options_of_commands_import_the_package_in_functions_only():
    command = [each for each in IMPORTS if each.source.startswith(COMMAND.name)]
    outside = [each for each in command if not each.target.startswith(COMMAND.name)]
    assert outside
    assert [each for each in outside if not each.lazy] == []


def test_every_exception_is_needed():
    lazy = {each[:2] for each in IMPORTS if each.lazy}
    assert set(EXCEPTIONS) <= lazy


def reachable(start: str, arrows: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for target in arrows.get(waiting.pop(), set()) - found:
            found.add(target)
            waiting.append(target)
    return found


def test_only_tensor_autograd_and_ops_import_each_other():
    arrows: dict[str, set[str]] = {}
    for each in COUNTED:
        arrows.setdefault(each.source, set()).add(each.target)
    reached = {source: reachable(source, arrows) for source in arrows}
    circles = {
        frozenset(other for other in reached[source] if source in reached.get(other, ()))
        for source in arrows
        if source in reached[source]
    }
    allowed = ("tensors", "autograd", "ops")
    wrong = [
        sorted(circle)
        for circle in circles
        if not {module.partition(".")[0] for module in circle} <= set(allowed)
    ]
    assert not wrong


def test_no_two_files_have_one_name():
    files: dict[str, list[Path]] = {}
    for file in FILES.values():
        if file.stem != "__init__":
            files.setdefault(file.name, []).append(file.relative_to(PACKAGE.parent))
    twice = {name: sorted(map(str, paths)) for name, paths in files.items() if len(paths) > 1}
    assert not twice


@pytest.mark.parametrize("name", ops.__all__)
def test_every_public_op_is_described_and_has_a_row_of_cases(name):
    op = getattr(ops, name)
    assert inspect.getdoc(op)
    assert getattr(tt, name) is op
    assert any(row.op == op.__name__ for row in OPS)


def test_the_package_has_its_public_names_and_modules_only():
    assert len(set(tt.__all__)) == len(tt.__all__)
    others = [n for n in vars(tt) if not n.startswith("_") and n not in dir(tt)]
    assert [n for n in others if f"{FACADE}.{n}" not in FILES] == []


def test_backward_of_a_product_and_its_cross_entropy_goes_through_six_files():
    w = tt.zeros(784, 10, requires_grad=True)
    with tt.backend("numpy"):
        loss = tt.cross_entropy(tt.rand(5, 784) @ w, [3, 1, 4, 1, 5])
        visited = set()

        def note(frame, event, _):
            if event == "call" and frame.f_code.co_filename.startswith(f"{PACKAGE}/"):
                visited.add(str(Path(frame.f_code.co_filename).relative_to(PACKAGE)))

        sys.setprofile(note)
        try:
            loss.backward()
        finally:
            sys.setprofile(None)
    assert visited == {
        "tensors.py",
        "autograd.py",
        "ops/network.py",
        "ops/linalg.py",
        "door.py",
        "backends/numpy_backend.py",
    }
