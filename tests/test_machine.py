"""What this machine can do at most: measured in sensible units, and threads left as they were."""

import itertools

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import kernels, machine
from tinytensor.errors import BackendUnavailable

needs_c = pytest.mark.skipif("c" not in BACKENDS, reason="the C backend isn't compiled here")


def test_the_processor_has_a_name():
    assert machine.cpu_name().strip()


@needs_c
@pytest.mark.parametrize("threads", [1, 2])
def test_peak_and_bandwidth(threads):
    before = kernels.load_backend("c").num_threads
    # Any computer of this century does more than a million things a second, none a quadrillion.
    assert 1e6 < machine.peak_flops(threads) < 1e15
    for traffic in machine.ARRAYS:
        assert 1e6 < machine.memory_bandwidth(1 << 16, threads, traffic) < 1e15
    assert kernels.load_backend("c").num_threads == before


@needs_c
def test_operations_are_counted():
    c, variant = machine._probes()
    out, operations = np.empty(3, "float32"), c.ffi.new("int64_t *")
    counts = []
    for steps, threads in ((1, 1), (10, 1), (10, 3)):
        variant.probe_fma(variant.at(out), operations, steps, threads)
        counts.append(operations[0])
    assert counts == [counts[0], 10 * counts[0], 30 * counts[0]]
    assert (out == out[0]).all()
    assert out[0] != 0


@needs_c
def test_the_probes_do_what_they_say():
    _, variant = machine._probes()
    rng = np.random.default_rng(0)
    x, y, out = rng.random((3, 3 * machine.GROUP), "float32")
    at = variant.at
    variant.probe_copy(at(x), at(out), x.size, 2)
    assert (out == x).all()
    variant.probe_add(at(x), at(y), at(out), x.size, 2)
    assert (out == x + y).all()
    with_threads = kernels.load_backend("c").num_threads
    kernels.load_backend("c").module.set_num_threads(1)
    variant.probe_read(at(x), at(out), x.size, 1)
    kernels.load_backend("c").module.set_num_threads(with_threads)
    assert 0 < out[0] < x.sum()  # one lane's part of the sum


def test_what_still_computes_is_waited_for(monkeypatch):
    """By a clock that tells of three looks at which threads were busy, and then of one at rest."""
    looks = []
    used = iter([0.0, 0.002, 0.002, 0.003, 0.003, 0.005, 0.005, 0.005])
    monkeypatch.setattr(machine.time, "process_time", lambda: next(used))
    monkeypatch.setattr(machine.time, "sleep", looks.append)
    machine.settle(most=1000)
    assert looks == [machine.LOOK] * 4


def test_what_computes_for_ever_is_not(monkeypatch):
    now = itertools.count()  # both clocks move at every look, as if all time were computing
    for clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(machine.time, clock, lambda: float(next(now)))
    machine.settle(most=10)
    assert 10 < next(now) < 20


def test_unknown_traffic():
    with pytest.raises(tt.SettingError, match="got traffic 'write'; choose from read, copy, add"):
        machine.memory_bandwidth(1 << 16, 1, "write")


def test_without_c_there_is_no_peak(monkeypatch):
    def missing(name: str) -> kernels.Backend:
        raise BackendUnavailable(f"{name}: the kernels were not compiled")

    monkeypatch.setattr(kernels, "load_backend", missing)
    with pytest.raises(BackendUnavailable):
        machine.peak_flops(7)
