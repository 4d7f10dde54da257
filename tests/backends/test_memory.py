"""The C kernels access no byte outside of their arrays, need no alignment, and allocate nothing.

Each array is next to a page that may be neither read nor written, so an access one byte too far
ends the process. The kernels run in a separate process, which prints each case before it runs it.
"""

import ctypes
import mmap
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cases import Kernel, at_size
from conftest import BACKENDS
from test_kernels import CELLS, NUMPY, assert_agree, outputs, run

from tinytensor import door

pytestmark = pytest.mark.skipif("c" not in BACKENDS, reason="the C backend isn't compiled here")
C = door.load_backend("c") if "c" in BACKENDS else None
PLACES = ("before a guard page", "after a guard page", "one element off 16 bytes")


def placed(array: np.ndarray, place: str) -> np.ndarray:
    """Returns a copy of the array in separate pages, with a guard page on both sides."""
    length = -(-(array.nbytes + 16) // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = mmap.mmap(-1, length + 2 * mmap.PAGESIZE)
    address = np.frombuffer(pages, np.uint8).ctypes.data
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (address, address + mmap.PAGESIZE + length):
        if libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(mmap.PAGESIZE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = {
        "before a guard page": length - array.nbytes,
        "after a guard page": 0,
        "one element off 16 bytes": array.itemsize,
    }[place]
    copy = np.frombuffer(pages, array.dtype, array.size, mmap.PAGESIZE + offset)
    copy = copy.reshape(array.shape)
    copy[...] = array
    return copy


def cases() -> Iterator[tuple[Kernel, str]]:
    """Yields the rows of cases.py, and each kernel at four odd sizes."""
    yield from CELLS
    for R, C in ((1, 1), (3, 5), (13, 31), (65, 67)):
        yield from ((case, dtype) for case in at_size(R, C) for dtype in case.dtypes)


def try_all(simd: str) -> None:
    """Prints each case, then runs it. So the last line names the case that ended the process."""
    C.module.set_simd(simd)
    for case, dtype in cases():
        arrays = case.make(dtype)
        wanted = run(NUMPY, case, arrays)
        for place in PLACES:
            print(case, dtype, place, flush=True)
            guarded = [placed(array, place) for array in arrays]
            C.kernels[case.name](*guarded, *case.numbers)
            assert_agree(case, dtype, outputs(case, guarded), wanted)


def one_byte_too_far(place: str) -> None:
    """Writes one byte outside of an array, which must end the process."""
    x = placed(np.ones(33, np.float32), place)
    ctypes.memset(x.ctypes.data + (x.nbytes if place == PLACES[0] else -1), 0, 1)


def process(call: str, **environment: str) -> subprocess.CompletedProcess:
    code = f"import test_memory; test_memory.{call}"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.full
@pytest.mark.parametrize("place", PLACES[:2])
def test_an_access_to_a_guard_page_ends_the_process(place):
    ended = process(f"one_byte_too_far({place!r})")
    assert -ended.returncode in (signal.SIGSEGV, signal.SIGBUS), ended.stderr


@pytest.mark.full
@pytest.mark.parametrize("simd", C.module.AVAILABLE if C else ())
def test_kernels_stay_inside_their_arrays(simd):
    ended = process(f"try_all({simd!r})")
    last = (ended.stdout.splitlines() or ["nothing"])[-1]
    assert ended.returncode == 0, f"{last}: {ended.stderr[-2000:]}"


# Allocations

COUNTING = """
#include <stdlib.h>
static _Thread_local long calls __attribute__((tls_model("initial-exec")));
void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
void *malloc(size_t size) { calls++; return __libc_malloc(size); }
void *calloc(size_t count, size_t size) { calls++; return __libc_calloc(count, size); }
void *realloc(void *memory, size_t size) { calls++; return __libc_realloc(memory, size); }
void *aligned_alloc(size_t line, size_t size) { calls++; return __libc_memalign(line, size); }
long allocations(void) { return calls; } /* of this thread */
"""
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def call_of(case: Kernel) -> tuple:
    """Returns the C function that a kernel calls, with its arguments."""
    return getattr(C.module, case.name).lower(*case.make("float32"), *case.numbers)


def count_allocations() -> None:
    """Prints the number of allocations in 1,000 calls of each kernel, and in 3 large calls.

    Each kernel first runs on one thread, because the first call allocates scratch memory, and then
    on two threads, because the second thread is started then.
    """
    allocations = ctypes.CDLL(None).allocations
    calls = {
        (str(case), times): call_of(case)
        for times, sizes in ((1000, (9, 17)), (3, (300, 301)))
        for case in at_size(*sizes)
        if case.name not in C.on_numpy
    }
    for threads in (1, 2):
        C.module.set_num_threads(threads)
        for function, arguments in calls.values():
            function(*arguments)
    for (case, times), (function, arguments) in calls.items():
        before = allocations()
        for _ in range(times):
            function(*arguments)
        if count := allocations() - before:
            print(case, count)
    before = allocations()
    bytearray(100_000)
    print("other allocations are counted:", allocations() > before)


@pytest.mark.full
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or not COMPILER, reason="needs glibc and cc")
def test_no_call_allocates(tmp_path):
    (tmp_path / "counting.c").write_text(COUNTING)
    library = tmp_path / "counting.so"
    command = [COMPILER, "-shared", "-fPIC", "-O1", "-fno-builtin", tmp_path / "counting.c"]
    subprocess.run([*command, "-o", library], check=True)
    ended = process("count_allocations()", LD_PRELOAD=str(library))
    assert (ended.stdout, ended.stderr) == ("other allocations are counted: True\n", "")


@pytest.mark.full
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux")
def test_a_thread_frees_its_memory_when_it_ends():
    ended = process("run_many_threads()")
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 20 * 2**20


def run_many_threads() -> None:
    """Prints by how many bytes the process grows in 100 threads with a matmul of 1 MiB each."""
    C.module.set_num_threads(1)
    x = np.ones((600, 600), np.float32)
    out = np.empty_like(x)

    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    def run_threads(count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=C.kernels["matmul"], args=(x, x, out, False, False))
            thread.start()
            thread.join()

    run_threads(10)
    before = resident_bytes()
    run_threads(100)
    print(resident_bytes() - before)


# Without memory ----------------------------------------------------------------------------------

LITTLE_MEMORY = """
import resource, threading
import tinytensor as tt

tt.set_num_threads({threads})
x, weight = tt.zeros(1, 3, 3, 1024), tt.ones(3, 3, 1024, 2048)

def convolve(x):  # with the weights, 75 MB, packed in temporary memory
    return tt.conv2d(x, weight)

step = tt.capture(convolve)
step(x), step(x)
found = []

def try_all():  # a new thread has no temporary memory yet
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**24, hard))
    for call in (convolve, step):
        try:
            found.append(call(x).shape)
        except MemoryError as error:
            found.append("no memory" in str(error))
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    found.extend(call(x).sum().item() for call in (convolve, step))

thread = threading.Thread(target=try_all)
thread.start()
thread.join()
print(found)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
@pytest.mark.skipif("c" not in BACKENDS, reason="no compiler here")
@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.full)])
def test_a_c_kernel_without_memory_raises(threads):
    code = LITTLE_MEMORY.format(threads=threads)
    environment = {**os.environ, "TINYTENSOR_BACKEND": "c"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert result.stdout.strip() == "[True, True, 0.0, 0.0]", result.stdout + result.stderr
