"""Memory stays flat over many steps and exceptions.

    python -m pytest tests/test_soak.py --full --programs 1000000

makes 1,000,000 captured steps, and a tenth of it eager steps and exceptions, on each backend.
"""

import gc
import sys
from pathlib import Path

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import nn

MIB = 2**20
ROUNDS = 4  # memory is compared after each, because the first ones fill caches


def resident() -> int:
    """The bytes of memory that this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def steps():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = tt.optim.Adam(model.parameters(), lr=1e-4)

    def step(x, y):
        loss = tt.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    x = np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32)
    return step, (x, np.arange(32) % 4)


def captured():
    step, arguments = steps()
    step = tt.capture(step)
    return lambda: step(*arguments)


def eager():
    step, (x, y) = steps()
    x, y = tt.Tensor(x), tt.Tensor(y)
    return lambda: step(x, y)


def exceptions():
    """Errors in the middle of eager ops, of backward, and of a captured step."""
    x = tt.ones(3, 4, requires_grad=True)

    def step(a):
        (a * x).sum().backward()
        raise KeyError

    step = tt.capture(step)
    calls = [lambda: x @ x, lambda: (x * x).backward(), lambda: step(x.detach()), lambda: x[7]]

    def fail():
        for call in calls:
            with pytest.raises((tt.TinytensorError, KeyError)):
                call()
        x.grad = None

    return fail


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("kind", "share", "most"), [(captured, 1, 1), (eager, 0.1, 8), (exceptions, 0.025, 8)]
)
def test_memory_stays_flat(request, backend, kind, share, most):
    count = int((request.config.getoption("--programs") or 40_000) * share / ROUNDS)
    work = kind()
    sizes = []
    for _ in range(ROUNDS + 1):
        for _ in range(count):
            work()
        sizes.append(resident())
    grown = (sizes[-1] - sizes[1]) / MIB
    print(f"{backend}, {kind.__name__}: {count * ROUNDS:,} calls, {grown:+.2f} MiB")
    assert grown <= most, [f"{size / MIB:.2f}" for size in sizes]
