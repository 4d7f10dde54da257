"""A training shown in a terminal."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading

import numpy as np
import pytest
from rich.console import Console
from test_recording import DATA, SMALL

import tinytensor as tt
from tinytensor.lessons import find
from tinytensor.live import terminal
from tinytensor.train import Training


def console(width, height):
    return Console(force_terminal=True, width=width, height=height, file=io.StringIO())


def dots(line):
    """The dots (4, 2 * N) bool of a line of N braille characters."""
    codes = np.array([ord(character) - terminal.BLANK for character in line])
    return ((codes[:, None, None] & terminal.DOTS) > 0).transpose(1, 0, 2).reshape(4, -1)


def test_braille_round_trip():
    picture = np.random.default_rng(0).random((8, 6)) > 0.5
    lines = terminal._braille(picture)
    assert [len(line) for line in lines] == [3, 3]
    np.testing.assert_array_equal(np.concatenate([dots(line) for line in lines]), picture)
    assert terminal._braille(np.eye(4, 2, dtype=bool)) == ["⠑"], "dots 1 and 5"


def test_line_goes_through_its_points():
    line = terminal._line([0, 0.5, 1], [0, 1, 0], 9, 5)
    wanted = ["....#....", "...#.#...", "..#...#..", ".#.....#.", "#.......#"]
    assert ["".join(".#"[int(dot)] for dot in row) for row in line] == wanted
    steep = terminal._line([0.25, 0.375], [0, 1], 9, 5)
    assert steep.sum(axis=0).tolist() == [0, 0, 1, 4, 0, 0, 0, 0, 0], "no gap"
    outside = terminal._line([0, 1], [2, 2], 9, 5)
    assert not outside.any()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (133, 50)])
@pytest.mark.parametrize("data", [DATA, SMALL], ids=["whole", "small"])
def test_screen_shows_curves_digits_and_status(width, height, data):
    batch = 100 if data is DATA else 3
    training = Training(find("relu"), data, steps=50, evaluate_every=10, batch=batch)
    screen = terminal._Screen(training, "numpy", console(width, height))
    assert "the first step" in screen.draw().plain
    for report in training:
        screen.take(report)
        lines = screen.draw().split("\n")
        assert len(lines) == height - 1
        assert max(line.cell_len for line in lines) <= width
    text = screen.draw().plain
    assert f"step 50/50  test {100 * report.test_accuracy:.2f} %" in text
    assert "images/s on numpy" in text
    shown = training.predictions
    misclassified = np.flatnonzero(shown.labels != shown.predictions)
    assert f"{len(misclassified)} of {batch} misclassified" in text
    for i in misclassified[:4]:
        assert f"{shown.labels[i]}    {shown.predictions[i]}" in text
    marked = [span for span in screen.draw().spans if span.style == terminal.MISCLASSIFIED]
    rows = terminal.DIGIT[1] + 1
    columns = (width - width * 55 // 100 - 1) // (terminal.DIGIT[0] + 1)
    down = (height - 4) // rows
    assert len(marked) == rows * min(len(misclassified), columns * down)


def test_digit_as_braille():
    image = np.zeros((28, 28, 1), np.float32)
    image[2:6, 2:4] = 1
    assert terminal._half_size(image) == ["⠃⠀⠀⠀⠀⠀", "⠀⠀⠀⠀⠀⠀", "⠀⠀⠀⠀⠀⠀"]


def test_no_terminal_is_an_error(run, monkeypatch, tmp_path):
    code, _, err = run("train", "softmax", "--live", "terminal", "--record", tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1)
    assert "standard error is not a terminal" in err
    assert not (tmp_path / "run").exists()
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "79"), ("LINES", "24")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(tt.SettingError, match="has 79 x 24 characters; 80 x 24 are needed"):
        terminal.terminal()
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(tt.SettingError, match="not a terminal that can be drawn on"):
        terminal.terminal()


def in_a_terminal(*arguments, interrupt=None):
    """Run the command with a terminal as standard error: (exit status, standard output, screen).

    interrupt: text on the screen after which Ctrl-C is sent.
    """
    parent_end, child_end = pty.openpty()
    termios.tcsetwinsize(child_end, (24, 80))
    environment = {**os.environ, "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "tinytensor", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=child_end, env=environment, text=True
    )
    os.close(child_end)
    seen = []

    def read():
        while True:
            try:
                seen.append(os.read(parent_end, 2**16).decode(errors="replace"))
            except OSError:  # the process has closed the terminal
                return
            if interrupt is not None and interrupt in "".join(seen[-3:]):
                process.send_signal(signal.SIGINT)
                return

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(60)
    if interrupt is not None:  # keep reading, so that the process can write
        interrupt = None
        reader = threading.Thread(target=read)
        reader.start()
    out, _ = process.communicate(timeout=60)
    reader.join(60)
    os.close(parent_end)
    return process.returncode, out, "".join(seen)


@pytest.mark.full
def test_live_terminal_does_not_change_the_training():
    arguments = ("train", "softmax", "--steps", 400, "--json", "-")
    code, out, screen = in_a_terminal(*arguments, "--live", "terminal")
    assert code == 0, screen
    for words in ("Accuracy", "step 400/400", "Training digits: ", "⠉"):
        assert words in screen
    code, unwatched, _ = in_a_terminal(*arguments)
    assert code == 0
    assert json.loads(out)["history"] == json.loads(unwatched)["history"]


@pytest.mark.full
def test_ctrl_c_ends_the_training(tmp_path):
    arguments = ("train", "conv", "--live", "terminal", "--record", tmp_path / "run")
    code, out, screen = in_a_terminal(*arguments, interrupt="of 100 misclassified")
    assert code == 130, screen
    assert "test accuracy" in out
    assert (tmp_path / "run").stat().st_size > 1000
