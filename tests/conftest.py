"""Tests run on every backend that works here; test_backends.py says which must."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings

import tinytensor as tt
from tinytensor import cli, door

for name in ("BACKEND", "NUM_THREADS", "DATA_DIR"):  # tests set their own
    os.environ.pop(f"TINYTENSOR_{name}", None)

# How many examples are drawn: pytest --hypothesis-profile nightly draws more, and new ones.
common = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("ci", max_examples=100, derandomize=True, database=None, **common)
settings.register_profile("nightly", max_examples=1000, **common)
settings.load_profile("ci")

BACKENDS = list(tt.available_backends())
KINDS = ("0-d", "empty", "1-D", "2-D", "n-D", "broadcast")


@contextmanager
def instructions(simd: str | None) -> Iterator[None]:
    """C computes with this instruction set inside a `with` block; without a name, as it did."""
    if not simd:
        yield
        return
    c = door.load_backend("c").module
    before = c.SIMD
    c.set_simd(simd)
    try:
        yield
    finally:
        c.set_simd(before)


@pytest.fixture(autouse=True)
def _as_it_was():
    """A test may choose a backend and threads for its whole process; the next finds its own."""
    everywhere, threads = door._everywhere, door._num_threads
    yield
    if door._num_threads != threads:
        for state in door._loaded.values():
            state.module.set_num_threads(threads or os.cpu_count() or 1)
    door._everywhere, door._num_threads = everywhere, threads


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Each backend in turn, in use during the test."""
    with tt.backend(request.param):
        yield request.param


@pytest.fixture
def run(capsys):
    """Run the program here; (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = 0
        try:
            cli.main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = int(error.code or 0)
        return code, *capsys.readouterr()

    return run


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="train every lesson in full, too")
    parser.addoption("--cells", action="store_true", help="print the table of ops x shapes")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: pytest --slow"))


# The table of cells: pytest --cells


@pytest.fixture
def cell(request):
    """Say which cell of the table a test belongs to: cell(op, dtype, kind, what)."""
    return lambda *place: request.node.user_properties.append(("cell", place))


def pytest_terminal_summary(terminalreporter, config):
    if not config.getoption("--cells"):
        return
    cells: dict[tuple[str, str], Counter] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, place in report.user_properties:
                if name == "cell" and report.when == "call":
                    op, dtype, kind, what = place
                    cells.setdefault((op, dtype), Counter())[what, kind, outcome] += 1
    terminalreporter.section("cells: tests passed, forward / gradient; ! marks failed ones")
    terminalreporter.line(f"{'op':34}{'dtype':9}" + "".join(f"{kind:>12}" for kind in KINDS))
    for (op, dtype), counts in sorted(cells.items()):
        texts = [_cell(counts, kind) for kind in KINDS]
        terminalreporter.line(f"{op:34}{dtype:9}" + "".join(f"{text:>12}" for text in texts))
    failed = sum(n for counts in cells.values() for key, n in counts.items() if key[2] == "failed")
    total = sum(sum(counts.values()) for counts in cells.values())
    terminalreporter.line(f"{total} tests, {failed} failed")


def _cell(counts: Counter, kind: str) -> str:
    passed = [counts[what, kind, "passed"] for what in ("forward", "gradient")]
    failed = sum(counts[what, kind, "failed"] for what in ("forward", "gradient"))
    if not any(passed) and not failed:
        return "-"
    return f"{passed[0]}/{passed[1]}" + (f" !{failed}" if failed else "")
