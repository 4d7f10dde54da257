"""Threads of the Numba backend: the same bits for any number, several callers, errors, forks."""

import os
import sys
import threading

import numpy as np
import pytest
import test_threads
from cases import Kernel
from conftest import BACKENDS
from test_kernels import outputs

from tinytensor import door

pytestmark = pytest.mark.skipif("numba" not in BACKENDS, reason="Numba isn't installed here")
if "numba" in BACKENDS:
    from tinytensor.backends.numba import thread_pool as pools

STRIDES = (2, 2), (1, 1)
LARGE = [
    Kernel("matmul", ((130, 97), (97, 101), (130, 101)), (False, False)),
    Kernel("matmul", ((97, 130), (97, 101), (130, 101)), (True, False)),
    Kernel("matmul", ((130, 97), (101, 97), (130, 101)), (False, True)),
    Kernel("matmul", ((2, 130, 97), (2, 97, 101), (2, 130, 101)), (False, False)),
    Kernel("sparse_matmul", ((130, 97), (97, 101), (130, 101)), (False, False)),
    Kernel("sparse_matmul", ((97, 130), (97, 101), (130, 101)), (True, False)),
    Kernel("conv2d", ((61, 17, 16, 7), (5, 4, 7, 9), (61, 8, 8, 9)), STRIDES),
    Kernel("conv2d_grad_x", ((61, 8, 8, 9), (5, 4, 7, 9), (61, 17, 16, 7)), STRIDES),
    Kernel("conv2d_grad_weight", ((61, 17, 16, 7), (61, 8, 8, 9), (5, 4, 7, 9)), STRIDES),
]


def computed(case: Kernel, dtype: str = "float32") -> np.ndarray:
    arrays = case.make(dtype)
    if case.name == "sparse_matmul":
        arrays[0][:, 1::3] = arrays[0][:, 2::3] = arrays[0][::5] = 0
    door.load_backend("numba").kernels[case.name](*arrays, *case.numbers)
    return outputs(case, arrays)


@pytest.fixture
def pool():
    """The pool of threads; the number of threads is restored after the test."""
    before = pools.pool.num_threads
    yield pools.pool
    pools.pool.num_threads = before


@pytest.fixture
def shares(pool, monkeypatch):
    """The number of shares of each job."""
    numbers = []
    run = pool.run
    monkeypatch.setattr(pool, "run", lambda given: (numbers.append(len(given)), run(given)))
    return numbers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_same_bits_for_any_number_of_threads(case, dtype, pool, shares):
    pool.num_threads = 1
    alone = computed(case, dtype)
    for threads in (2, 3, 7):
        pool.num_threads = threads
        shares.clear()
        np.testing.assert_array_equal(computed(case, dtype), alone)
        assert set(shares) == {threads}


def test_bound_calls_follow_the_number_of_threads(pool, shares):
    case = LARGE[0]
    arrays = case.make("float32")
    function, arguments = door.load_backend("numba").module.bind("matmul", (*arrays, *case.numbers))
    pool.num_threads = 1
    wanted = computed(case)
    for threads in (2, 1, 5):
        pool.num_threads = threads
        arrays[-1][...] = np.nan
        function(*arguments)
        np.testing.assert_array_equal(outputs(case, arrays), wanted)
        assert shares[-1] == threads


def test_small_products_are_not_divided(pool, shares):
    pool.num_threads = 2
    computed(Kernel("matmul", ((100, 100), (100, 100), (100, 100)), (False, False)))
    assert shares == []


def test_several_callers(pool):
    """All callers use the same workers, and each gets the same result as alone."""
    pool.num_threads = 3
    wanted = [computed(case) for case in LARGE]
    right = []

    def work(first: int) -> None:
        for i in range(first, first + 2 * len(LARGE)):
            j = i % len(LARGE)
            right.append(np.array_equal(computed(LARGE[j]), wanted[j]))

    callers = [threading.Thread(target=work, args=(3 * i,)) for i in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert right == [True] * (3 * 2 * len(LARGE))


def test_error_of_a_share(pool):
    """The caller raises it after all other shares are finished, and the pool can be used again."""
    finished = []

    def share(number: int) -> None:
        if number == 1:
            raise MemoryError("no memory")
        finished.append(number)

    for _ in range(3):
        finished.clear()
        with pytest.raises(MemoryError, match="no memory"):
            pool.run([(share, (number,)) for number in range(4)])
        assert sorted(finished) == [0, 2, 3]


def test_jobs_keep_no_arrays_alive(pool):
    """A captured step finds out from references whether an array is used elsewhere."""
    pool.num_threads = 4
    case = LARGE[0]
    arrays = case.make("float32")
    before = [sys.getrefcount(array) for array in arrays]
    for _ in range(20):
        door.load_backend("numba").kernels[case.name](*arrays, *case.numbers)
        assert [sys.getrefcount(array) for array in arrays] == before


START = test_threads.START.replace('"c"', '"numba"')


def process(code: str) -> tuple[int, str, str]:
    return test_threads.process(code, start=START)


@test_threads.needs_proc
def test_number_of_started_threads():
    # After 6 and 4, two of the 6 sleep.
    assert process(test_threads.STARTED_THREADS) == (0, "1\n2\n3\n6\n6\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_fork_while_other_threads_compute():
    child = "before = tasks(); work(); os._exit(7 if tasks() == before + 1 else 8)"
    code = test_threads.FORKS.replace("CHILD", child)
    assert process(code) == (0, "7\n" * 20, "")


@pytest.mark.parametrize("ending", test_threads.ENDINGS)
def test_process_exit(ending):
    code = f"tt.set_num_threads(3)\n{test_threads.ENDINGS[ending]}"
    assert process(code) == (3 if ending == "an error" else 0, "", "")
