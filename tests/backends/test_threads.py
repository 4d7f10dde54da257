"""Threads of the C backend: their number, the same bits for any number, forks, and process exit."""

import itertools
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from cases import KERNELS, Kernel, at_size
from conftest import BACKENDS, instructions
from test_kernels import outputs

from tinytensor import door

pytestmark = pytest.mark.skipif("c" not in BACKENDS, reason="the C backend isn't compiled here")
C = door.load_backend("c") if "c" in BACKENDS else None
# Large enough for each threaded kernel to use several threads; with long and with short rows.
LARGE = [
    *(
        case
        for sizes in ((520, 601), (511, 255))
        for case in at_size(*sizes)
        if C and case.name not in C.on_numpy
    ),
    Kernel("add", ((30_011, 6), (6,), (30_011, 6))),
    Kernel("sum", ((30_011, 6), (6,))),
    Kernel("matmul", ((67, 61, 30), (67, 30, 63), (67, 61, 63)), (False, False)),  # many products
]


def computed(case: Kernel, dtype: str = "float32") -> np.ndarray:
    arrays = case.make(dtype)
    C.kernels[case.name](*arrays, *case.numbers)
    return outputs(case, arrays)


@pytest.fixture
def set_threads():
    """Sets the number of threads of the C backend, and restores it after the test."""
    before = C.num_threads
    yield C.module.set_num_threads
    C.module.set_num_threads(before)


@pytest.mark.parametrize(
    ("case", "dtype"), [(case, dtype) for case in LARGE for dtype in case.dtypes], ids=str
)
def test_same_bits_for_any_number_of_threads(case, dtype, set_threads):
    set_threads(1)
    alone = computed(case, dtype)
    for threads in (2, 3, 7):
        set_threads(threads)
        np.testing.assert_array_equal(computed(case, dtype), alone)


@pytest.mark.parametrize("simd", C.module.AVAILABLE if C else ())
@pytest.mark.parametrize("case", [case for case in KERNELS if "conv2d" in case.name], ids=str)
def test_convolutions_have_the_same_bits_for_any_number_of_threads(case, simd, set_threads):
    """Each thread has other images in the lanes, and some in lanes of channels; see conv2d.c."""
    with instructions(simd):
        set_threads(1)
        alone = computed(case)
        for threads in (2, 3, 5, 7):
            set_threads(threads)
            np.testing.assert_array_equal(computed(case), alone)


@pytest.mark.full
def test_several_python_threads(set_threads):
    """All Python threads use the same workers, and each gets the same result as alone."""
    set_threads(2)
    cases = [case for case in LARGE if case.name in ("matmul", "conv2d", "normalize", "sum", "add")]
    wanted = [computed(case) for case in cases]
    right = []

    def work(first: int) -> None:
        for i in range(first, first + 2 * len(cases)):
            case, result = cases[i % len(cases)], wanted[i % len(cases)]
            right.append(np.array_equal(computed(case), result))

    threads = [threading.Thread(target=work, args=(i * 3,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * (4 * 2 * len(cases))


def test_set_num_threads_while_threads_compute(set_threads):
    cases = [case for case in LARGE if case.name in ("matmul", "softmax", "add")]
    wanted = [computed(case) for case in cases]
    right = []

    def work() -> None:
        for _ in range(2):
            right.extend(map(np.array_equal, map(computed, cases), wanted))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in itertools.cycle((64, 1, 2, 5)):
        set_threads(number)
        if not any(thread.is_alive() for thread in threads):
            break
        time.sleep(0.001)
    assert right == [True] * (2 * 2 * len(cases))


# In a separate process

START = """
import os, sys, threading, time
import tinytensor as tt
tt.set_backend("c")
x = tt.ones(512, 512)
def work():
    assert ((x @ x).numpy() == 512).all()
def tasks():
    return len(os.listdir("/proc/self/task"))
"""
# Python 3.12 and later warn about a fork in a process with threads, which is tested here.
NO_WARNING = "ignore:This process (pid=:DeprecationWarning"


def process(
    code: str, *arguments: object, start: str = START, **environment: str
) -> tuple[int, str, str]:
    """Returns the exit code, the output and the errors of a process; raises if it hangs."""
    ended = subprocess.run(
        [sys.executable, "-c", start + code, *map(str, arguments)],
        env={**os.environ, "PYTHONWARNINGS": NO_WARNING, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ended.returncode, ended.stdout, ended.stderr


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs Linux")


STARTED_THREADS = """
before = tasks()
for n in (1, 2, 3, 6, 4):
    tt.set_num_threads(n)
    work()
    print(1 + tasks() - before)
"""


@needs_proc
def test_number_of_started_threads():
    # After 6 and 4, two of the 6 sleep.
    assert process(STARTED_THREADS) == (0, "1\n2\n3\n6\n6\n", "")


@needs_proc
@pytest.mark.parametrize("threads", [1, 3])
def test_number_of_threads_from_the_environment(threads):
    code = "before = tasks()\nwork()\nprint(1 + tasks() - before)"
    assert process(code, TINYTENSOR_NUM_THREADS=str(threads)) == (0, f"{threads}\n", "")


def test_a_forked_child_starts_new_workers():
    code = """
tt.set_num_threads(3)
work()
for _ in range(3):
    child = os.fork()
    work()
    if not child:
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert process(code) == (0, "7\n7\n7\n", "")


FORKS = """
tt.set_num_threads(2)
done = False
def compute():
    while not done:
        work()
others = [threading.Thread(target=compute) for _ in range(2)]
for other in others:
    other.start()
for _ in range(20):
    child = os.fork()
    if not child:
        CHILD
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
done = True
for other in others:
    other.join()
"""


def test_fork_while_other_threads_compute():
    code = FORKS.replace("CHILD", "work(); os._exit(7)")
    assert process(code) == (0, "7\n" * 20, "")


ENDINGS: dict[str, str] = {
    "workers spin": "work()",
    "workers sleep": "work(); time.sleep(0.3)",
    "a daemon thread computes": """
def compute():
    while True:
        work()
threading.Thread(target=compute, daemon=True).start()
time.sleep(0.1)
""",
    "an error": "work(); sys.exit(3)",
}


@pytest.mark.full
@pytest.mark.parametrize("ending", ENDINGS)
def test_process_exit(ending):
    code = f"tt.set_num_threads(3)\n{ENDINGS[ending]}"
    assert process(code) == (3 if ending == "an error" else 0, "", "")
