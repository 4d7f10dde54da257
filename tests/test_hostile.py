"""No arguments of a public function end the process, or never return; see hostile.py.

    python -m pytest tests/test_hostile.py --full --programs 20000

makes 20,000 calls on each backend. A failure names the seed of the call. The same is true for
kernels with arrays that their contract forbids; see hostile_kernels.py. No public function calls a
kernel with arrays that share memory, and a captured step has no arrays that NumPy can resize.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import door, nn

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs the memory limit of Linux")

PROGRAM = Path(__file__).with_name("hostile.py")
PROGRAM_OF_KERNELS = Path(__file__).with_name("hostile_kernels.py")
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


FORMS = ["big_endian", "misaligned", "strided", "of_columns", "of_another_dtype", "overlapping"]
# Numba compiles a kernel again for arrays of another type.
COMPILED = pytest.mark.full


@pytest.mark.parametrize(
    ("backend", "form"),
    [
        pytest.param(name, form, marks=[COMPILED] if name == "numba" else [])
        for name in door.available_backends()
        for form in [*FORMS, "read_only"]
    ],
)
def test_no_array_of_a_kernel_ends_the_process(request, backend, form):
    rows = "all" if request.config.getoption("--full") and backend != "numba" else "first"
    command = [sys.executable, str(PROGRAM_OF_KERNELS), backend, form, rows]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    *problems, last = ended.stdout.splitlines()
    assert not problems, "\n".join(problems)
    assert last.startswith("ended: ")


# No kernel gets arrays that share memory


@pytest.fixture
def overlaps(backend, monkeypatch):
    """A list of the kernel calls whose outputs share memory with another array."""
    found = []
    kernels = door.load_backend(backend).kernels

    def checked(name, kernel):
        contract = door.CONTRACTS[name]

        def call(*arguments):
            for out in contract.writes:
                for i, other in enumerate(contract.arrays):
                    if i != out and np.may_share_memory(arguments[i], arguments[out]):
                        found.append(f"{name}: {other} and {contract.arrays[out]}")
            kernel(*arguments)

        return call

    for name, kernel in list(kernels.items()):
        monkeypatch.setitem(kernels, name, checked(name, kernel))
    return found


def overlapping(gap=1):
    """An array, and two tensors that share all but `gap` of their rows with it and each other."""
    memory = np.arange(33, dtype=np.float32).reshape(11, 3) / 20
    return memory, tt.from_numpy(memory[:-gap]), tt.from_dlpack(memory[gap:])


def add(x, y):
    y += x


def assign(x, y):
    y[...] = x


def assign_computed(x, y):
    y[...] = x * y


def assign_rows(x, y):
    y[np.arange(10)] = x


def assign_masked(x, y):
    y[y > 1] = x[y > 1]


def assign_part(x, y):
    y[1:] = y[:-1]


def add_to_data(x, y):
    y.data *= x


def copy_weights(x, y):
    layer = nn.Module()
    layer.weight = y
    layer.load_state_dict({"weight": x})


CHANGES = [add, assign, assign_computed, assign_rows, assign_masked, assign_part, add_to_data]


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("change", [*CHANGES, copy_weights])
def test_tensors_that_share_memory_are_changed_as_in_numpy(backend, overlaps, change, captured):
    """As if the right side were computed before the left side is changed."""
    if change is copy_weights and captured:
        pytest.skip("loading weights is no step")
    function = tt.capture(change) if captured else change
    memory, x, y = overlapping()
    wanted, u, v = overlapping()
    for _ in range(5):
        function(x, y)
        before = tt.tensor(u)  # a copy
        change(before, v)
    np.testing.assert_array_equal(memory, wanted)
    # NumPy copies for cast, on every backend
    assert [call for call in overlaps if not call.startswith("cast")] == []


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("optimizer", [tt.optim.SGD, tt.optim.Adam, tt.optim.RMSprop])
def test_a_gradient_that_shares_memory_with_its_parameter_raises(backend, optimizer, gap):
    memory = np.arange(12, dtype=np.float32)
    p = tt.from_numpy(memory[: 12 - gap]).requires_grad_()
    p.grad = tt.from_numpy(memory[gap:])
    before = memory.copy()
    with pytest.raises(
        tt.GradientError, match=r"gradient of shape .* shares memory with its param"
    ):
        optimizer([p], lr=0.1).step()
    np.testing.assert_array_equal(memory, before)
    p.grad = p.grad.clone()
    optimizer([p], lr=0.1).step()
    assert (memory != before).any()


def test_the_arrays_of_a_captured_step_can_not_be_resized(backend):
    """The program points to them. NumPy resizes even an array with views, if asked to."""
    memory = np.ones(1000, np.float32)
    w = tt.from_numpy(memory).requires_grad_()
    optimizer = tt.optim.Adam([w], lr=0.1)

    def step(x):
        loss = (w * x).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step, x = tt.capture(step), tt.ones(1000)
    for _ in range(4):
        step(x)
    for array in (memory, w.array, optimizer.state_dict()["m.0"].array):
        for size in (5, 10**6):
            with pytest.raises(ValueError, match="cannot resize"):
                array.resize(size, refcheck=False)
    step(x)
