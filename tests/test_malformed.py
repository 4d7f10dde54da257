"""No file that a user gives ends the process, fills the memory or is never read to its end.

    python -m pytest tests/test_malformed.py --full --programs 10000

reads 10,000 malformed files; see malformed.py. A failure names the seed of the file.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from malformed import FORMATS

import tinytensor as tt

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs pipes and limits of Linux")
PROGRAM = Path(__file__).with_name("malformed.py")


@linux
def test_malformed_files_are_read_right_or_raise(request, run, tmp_path):
    count = request.config.getoption("--programs")
    if count is None:
        count = 1200 if request.config.getoption("--full") else 40
    run_file = tmp_path / "run.tt"
    assert run("train", "softmax", "--steps", 2, "--eval-every", 1, "--record", run_file)[0] == 0
    first = seed = request.config.getoption("--first-program")
    problems, outcomes = [], Counter()
    while seed < first + count:
        command = [sys.executable, str(PROGRAM), str(tmp_path), str(seed), str(first + count)]
        ended = subprocess.run(command, capture_output=True, text=True)
        lines = [line.split(maxsplit=3) for line in ended.stdout.splitlines()]
        outcomes.update(words[3] for words in lines if len(words) == 4)
        seed = 1 + int(lines[-1][0])
        if ended.returncode:
            problems.append(f"{seed - 1} ends with {ended.returncode}: {ended.stderr[-2000:]}")
    problems += set(outcomes) - {"read", "DataError"}
    assert not problems, "\n".join(problems)
    assert outcomes["DataError"] > outcomes["read"] > 0


@linux
@pytest.mark.parametrize(("ending", "readers"), [(e, r) for e, *_, r in FORMATS])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_pipes_devices_and_folders_are_refused(tmp_path, ending, readers, kind):
    path = tmp_path / f"file{ending or '.idx'}"
    if kind == "pipe":
        os.mkfifo(path)  # nobody writes to it
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(tt.DataError, match=path.stem):
        readers[0](path)
