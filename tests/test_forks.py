"""A forked child computes what it would compute alone, or raises an error; it never hangs."""

import os

import pytest
import test_threads

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")

START = """
import os, sys, threading, time
import numpy as np
import tinytensor as tt

images = np.random.default_rng(0).normal(size=(100, 64)).astype("f")
labels = np.arange(100) % 10

def made():
    weight = tt.zeros(64, 10, requires_grad=True)
    sgd = tt.optim.SGD([weight], lr=0.1)
    def step(x, y):
        loss = tt.cross_entropy(x @ weight, y)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss
    return tt.capture(step)

def forked(work):
    child = os.fork()
    if not child:
        try:
            work()
        except tt.CaptureError as error:
            print(error, flush=True)
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def hold(lock):
    # Another thread holds the lock for 0.2 s, from now on.
    held = threading.Event()
    def work():
        with lock:
            held.set()
            time.sleep(0.2)
    threading.Thread(target=work).start()
    held.wait()
"""


def process(code: str, *arguments: object, **environment: str) -> str:
    """Returns the output of a process; raises if it fails or hangs."""
    status, output, errors = test_threads.process(code, *arguments, start=START, **environment)
    assert (status, errors) == (0, "")
    return output


def test_step_cut_off_by_a_fork_raises_until_it_is_forgotten():
    code = """
step = made()
inside, done = threading.Event(), threading.Event()
def slow(x, y):
    inside.set()
    done.wait()
    return x.sum()
slow = tt.capture(slow)
other = threading.Thread(target=slow, args=(images, labels))
other.start()
inside.wait()
def child():
    assert np.isfinite(step(images, labels).item())  # no thread computed this one
    try:
        slow(images, labels)
    except tt.CaptureError:
        done.set()
        slow.forget()
        slow(images, labels)
        raise
print(forked(child))
done.set()
other.join()
slow(images, labels)  # the parent goes on
print(forked(lambda: slow(images, labels)))
"""
    message, first, second = process(code).splitlines()
    assert message.startswith("captured step: this process was forked while another thread")
    assert (first, second) == ("3", "0")


@pytest.mark.full
def test_fork_waits_for_the_compiler_of_numba(tmp_path):
    pytest.importorskip("numba")
    code = """
from numba.core.compiler_lock import global_compiler_lock
tt.set_backend("numba")
tt.ones(2) * 2
hold(global_compiler_lock)
print(forked(lambda: tt.ones(2) - 1))
"""
    assert process(code, NUMBA_CACHE_DIR=str(tmp_path)) == "0\n"


@pytest.mark.parametrize("name", ["tinytensor.recorder._counting", "c._choosing"])
def test_fork_waits_for_the_locks_of_modules(name):
    code = """
import tinytensor.recorder
from tinytensor import door
names = {"tinytensor.recorder._counting": lambda: tinytensor.recorder._counting,
         "c._choosing": lambda: door.load_backend("c").module._choosing}
lock = names[sys.argv[1]]()
hold(lock)
print(forked(lambda: sys.exit(1) if lock.locked() else None))
"""
    assert process(code, name) == "0\n"


@pytest.mark.full
def test_children_of_a_training_process_compute_the_right_numbers(request, backend):
    """Another thread records and replays steps; each child trains its own step."""
    code = """
tt.set_backend(sys.argv[1])
sys.setswitchinterval(1e-5)
def losses():
    step = made()
    return [step(images, labels).item() for _ in range(6)]
want = losses()
done = False
def train():
    while not done:
        losses()
other = threading.Thread(target=train)
other.start()
count = 0
for i in range(int(sys.argv[2])):
    time.sleep(i % 7 * 0.0003)
    count += forked(lambda: losses() == want or os._exit(4)) == 0
done = True
other.join()
print(count)
"""
    forks = request.config.getoption("--programs") or 100
    assert process(code, backend, forks) == f"{forks}\n"
