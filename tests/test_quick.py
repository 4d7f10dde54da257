"""The quick tests leave out no kernel and no op on any backend."""

import subprocess
import sys
from pathlib import Path

import pytest
from cases import KERNELS, OPS
from conftest import BACKENDS

# Prints function, kernel or op, and backend of each test that is collected.
LIST = """
import sys
import pytest

class Plugin:
    def pytest_collection_finish(self, session):
        for item in session.items:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            row = parameters.get("case") or parameters.get("op")
            backend = parameters.get("backend") or parameters.get("name")
            print("item", item.originalname, getattr(row, "name", None), backend, sep="\\t")

sys.exit(pytest.main(["--collect-only", "-q", "-q", *sys.argv[1:]], plugins=[Plugin()]))
"""


def collected(*arguments: str) -> list[tuple[str, ...]]:
    result = subprocess.run(
        [sys.executable, "-c", LIST, *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    return [tuple(line[1:]) for line in lines if line[0] == "item"]


@pytest.mark.full
def test_each_kernel_and_each_op_is_tested_once_on_each_backend():
    found = collected("tests/backends/test_kernels.py", "tests/ops/test_ops.py")
    for kernel in {case.name for case in KERNELS}:
        for backend in BACKENDS:
            assert found.count(("test_inputs_are_not_changed", kernel, backend)) == 1
            if backend != "numpy":  # the backend that c and numba are compared with
                assert found.count(("test_agrees_with_numpy", kernel, backend)) == 1
    for op in OPS:
        for backend in BACKENDS:
            assert found.count(("test_forward", op.name, backend)) == 1, op.name
            assert found.count(("test_gradient", op.name, backend)) == op.gradient, op.name
