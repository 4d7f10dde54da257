"""What commands show while they work: a bar on a terminal, lines otherwise."""

import os
import pty
import re
import subprocess
import sys
import time

import pytest
from conftest import BACKENDS

from tinytensor import claims, datasets
from tinytensor.cli import progress
from tinytensor.ladder import ladder


def on_terminal(*arguments, output=None):
    """Run `tinytensor` on a terminal of 80 columns; returns what it shows, without colours.

    output: a file for standard output; standard error remains the terminal.
    """
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tinytensor", *map(str, arguments)],
        stdin=terminal, stdout=output or terminal, stderr=terminal,
        env=os.environ | {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(ours, 2**16)
        except OSError:  # the terminal is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait() == 0, shown
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r", "\n")


def test_bar_and_rows_on_a_terminal():
    shown = on_terminal("try", "winner", "--seeds", 1)
    assert re.search(r"━ +0/1 +0:00:0\d lesson 1.0, seed 0", shown)
    assert re.search(r"^lesson 1.0 +0\.\d{4}", shown, re.MULTILINE)
    assert shown.count("lesson 1.0  ") == 1


def test_rows_are_in_the_file_of_standard_output(tmp_path):
    with open(tmp_path / "rows", "wb") as file:
        shown = on_terminal("try", "winner", "--seeds", 1, output=file)
    assert "lesson 1.0, seed 0" in shown
    assert "lesson 1.0  " not in shown
    assert "\nlesson 1.0  " in (tmp_path / "rows").read_text(encoding="utf-8")


def test_training_and_race_on_a_terminal():
    shown = on_terminal("train", "softmax", "--steps", 200)
    assert re.search(r"━ +\d+/200 first step|━ +\d+/200 train loss \d\.\d", shown)
    assert re.search(r"━ 200/200 train loss \d\.\d", shown)
    shown = on_terminal("race", "softmax", "--backends", "numpy", "--seconds", 0.5)
    assert re.search(r"^ numpy +━", shown, re.MULTILINE), "the table with bars"
    assert re.search(r"^ numpy +0\.\d", shown, re.MULTILINE), "the table at the end"


def test_findings_of_the_coach_are_above_the_bar():
    shown = on_terminal("train", "softmax", "--lr", 1e5, "--steps", 64, "--coach")
    assert re.search(r"^coach, step 32: the learning rate is too high$", shown, re.MULTILINE)


def test_without_a_terminal_there_is_at_most_a_line_a_second(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with progress.progress(5) as work:
        for now, name in ((0.1, "a"), (1.0, "b"), (1.9, "c"), (2.0, "d")):  # noqa: B007
            work.show(name)
    assert capsys.readouterr().err == "b\nd\n"


@pytest.mark.skipif("numba" not in BACKENDS, reason="only Numba compiles")
def test_kernel_that_is_being_compiled_is_named(tmp_path):
    """A thread looks while a kernel compiles, and while its machine code is loaded again."""
    code = """
import threading, numpy as np
from tinytensor import door, kernels
from tinytensor.cli.progress import compiling_line
with door.backend("numba"):
    seen, done = set(), threading.Event()
    def look():
        while not done.wait(0.002):
            seen.add(compiling_line())
    thread = threading.Thread(target=look)
    thread.start()
    kernels.relu(np.ones(3, np.float32), np.ones(3, np.float32))
    kernels.exp(np.ones(3, np.float32), np.ones(3, np.float32))
    done.set()
    thread.join()
    print(sorted(seen - {""}), repr(compiling_line()))
"""
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    for wanted in (
        "['compiling once: exp (2)', 'compiling once: relu (1)'] ''\n",
        "[] ''\n",
    ):
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.stdout == wanted, done.stderr


def test_rungs_take_turns():
    shown = []
    rungs = [rung.name for rung in ladder.rungs("softmax") if rung.backend in BACKENDS]
    turns = 0

    def count():
        nonlocal turns
        turns += 1

    ladder.measure("softmax", 8, 0.02, shown.append, count)
    assert shown == (1 + ladder.TURNS) * rungs
    assert len(shown) == ladder.pieces("softmax")
    assert turns == ladder.TURNS * len(rungs)


def test_each_run_of_a_claim_is_named():
    claim = claims.find_claim("winner")
    shown = []
    list(claims.measure(claim, datasets.mnist(), 2, shown.append))
    assert shown == [f"{variant}, seed {seed}" for variant in claim.variants() for seed in (0, 1)]
