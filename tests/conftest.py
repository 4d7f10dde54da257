"""Tests run on every available backend; test_backends.py lists those that must be available.

`python -m pytest` runs the quick tests, and `python -m pytest --full` runs all. Two rules choose
the quick tests:

1. Tests marked `full` are left out: they need a browser, build packages, start many processes or
   train networks for a long time.
2. A test whose parameters come from cases.py runs once for each kernel or op and each value of its
   other parameters, such as the backend. It runs in float32 if it takes a dtype, at the first case
   with an axis of odd size above 8, so that vector registers are filled and a remainder is left.

Property tests draw 10 random examples instead of 100.
"""

import gc
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cases import Kernel, Op
from hypothesis import HealthCheck, settings

import tinytensor as tt
from tinytensor import door, observers
from tinytensor_command import main

for name in ("BACKEND", "NUM_THREADS", "DATA_DIR"):  # because tests set their own values
    os.environ.pop(f"TINYTENSOR_{name}", None)

# A shell lets its background jobs ignore Ctrl-C, and so their child processes. Some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The number of random examples; --hypothesis-profile nightly draws more, with new seeds.
common = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("quick", max_examples=10, derandomize=True, database=None, **common)
settings.register_profile("ci", max_examples=100, derandomize=True, database=None, **common)
settings.register_profile("nightly", max_examples=1000, **common)

BACKENDS = list(tt.available_backends())
KINDS = ("0-d", "empty", "1-D", "2-D", "n-D", "broadcast")


@contextmanager
def instructions(simd: str | None) -> Iterator[None]:
    """Make C use this instruction set inside a `with` block; None changes nothing."""
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
def _restore_backend_and_threads():
    """Restore the backend and the number of threads of the process after each test."""
    everywhere, threads = door._everywhere, door._num_threads
    yield
    if door._num_threads != threads:
        for state in door._loaded.values():
            state.module.set_num_threads(threads or os.cpu_count() or 1)
    door._everywhere, door._num_threads = everywhere, threads


@pytest.fixture(autouse=True)
def _no_observer_is_left():
    """A coach that a test forgets would watch the trainings of all later tests."""
    yield
    forgotten, observers.active = observers.active, ()
    assert forgotten == ()


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Each available backend in turn; it is in use during the test."""
    with tt.backend(request.param):
        yield request.param


@pytest.fixture
def run(capsys):
    """A function that runs the command here: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = int(error.code or 0)
        return code, *capsys.readouterr()

    return run


# Which tests run


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run all tests, not only the quick ones")
    parser.addoption("--slow", action="store_true", help="train every lesson in full, too")
    parser.addoption(
        "--programs", type=int, help="random programs of a fuzz test, for each backend"
    )
    parser.addoption("--first-program", type=int, default=0, help="the seed of the first of them")
    parser.addoption("--cells", action="store_true", help="print the table of ops x shapes")


def pytest_configure(config):
    if not config.getoption("--hypothesis-profile", None):
        settings.load_profile("ci" if config.getoption("--full") else "quick")


MOST_PROCESSES = 4


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Run the quick tests in a process for each CPU, file by file; -n 0 runs them in this one.

    All tests (--full) run in one process, because those marked `browser` need the whole machine.
    """
    is_whole = config.args_source is config.ArgsSource.TESTPATHS and not config.getoption("--full")
    is_worker = hasattr(config, "workerinput")
    if is_whole and not is_worker and config.option.numprocesses is None:
        config.option.numprocesses = min(MOST_PROCESSES, os.cpu_count() or 1)
        config.option.dist = "loadfile"


NUMBERS = pytest.StashKey[tuple[int, int]]()  # of the tests to run, and of all tests


def pytest_collection_modifyitems(config, items):
    every = len(items)
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
    if not config.getoption("--full"):
        chosen = quick(items)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = [item for item in items if item in chosen]
    config.stash[NUMBERS] = len(items), every
    if hasattr(config, "workeroutput"):
        config.workeroutput["numbers"] = config.stash[NUMBERS]
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: pytest --slow"))


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # because each later collection would visit tens of thousands of tests


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take the numbers from a process that has ended: all processes collect the same tests."""
    if "numbers" in node.workeroutput:
        node.config.stash[NUMBERS] = node.workeroutput["numbers"]


def quick(items: list[pytest.Item]) -> set[pytest.Item]:
    """The tests to run without --full."""
    chosen = set()
    of_cases: dict[tuple, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("full"):
            continue
        parameters = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        row = parameters.pop("case", None) or parameters.pop("op", None)
        if isinstance(row, Kernel | Op):
            parameters.pop("dtype", None)
            parameters.pop("shapes", None)
            key = (item.nodeid.partition("[")[0], row.name, *map(str, parameters.items()))
            of_cases.setdefault(key, []).append(item)
        else:
            chosen.add(item)
    return chosen | {max(group, key=_suitability) for group in of_cases.values()}


def _suitability(item: pytest.Item) -> tuple[bool, bool, bool]:
    """The key by which the case that represents all others is chosen; True is better."""
    parameters = item.callspec.params
    shapes = parameters.get("shapes")
    if isinstance(case := parameters.get("case"), Kernel):
        # The shapes of arrays made by functions are known only after the arrays are made.
        shapes = [a for a in case.arrays if isinstance(a, tuple)]
        shapes = shapes or [array.shape for array in case.make("float32")]
    sizes = [size for shape in shapes or () for size in shape]
    return (
        0 not in sizes,
        any(size > 8 and size % 2 for size in sizes),
        parameters.get("dtype") != "float64",
    )


# The table of cells: pytest --cells


@pytest.fixture
def cell(request):
    """A function that assigns the test to a cell of the table: cell(op, dtype, kind, what)."""
    return lambda *place: request.node.user_properties.append(("cell", place))


def pytest_terminal_summary(terminalreporter, config):
    if NUMBERS in config.stash:
        chosen, every = config.stash[NUMBERS]
        terminalreporter.write_line(f"{chosen:,} of {every:,} tests; --full --slow runs all")
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
