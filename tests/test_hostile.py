"""No arguments of a public function end the process, or never return; see hostile.py.

    python -m pytest tests/test_hostile.py --full --programs 20000

makes 20,000 calls on each backend. A failure names the seed of the call.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs the memory limit of Linux")

PROGRAM = Path(__file__).with_name("hostile.py")
# NumPy's words for arrays without memory, and for arrays where True or False is needed.
ALLOWED = ("MemoryError", "array is too big", "truth value of an array")


def test_no_arguments_end_the_process(request, backend):
    count = request.config.getoption("--programs")
    if count is None:
        count = 500 if request.config.getoption("--full") else 20
    first = seed = request.config.getoption("--first-program")
    problems = []
    while seed < first + count:
        command = [sys.executable, str(PROGRAM), backend, str(seed), str(first + count)]
        ended = subprocess.run(command, capture_output=True, text=True)
        lines = ended.stdout.splitlines()
        problems += [
            line for line in lines if " " in line and not any(words in line for words in ALLOWED)
        ]
        seed = 1 + max(int(line.split()[0]) for line in lines)
        if ended.returncode:
            problems.append(f"{seed - 1} ends with {ended.returncode}: {ended.stderr[-2000:]}")
    assert not problems, "\n".join(problems)
