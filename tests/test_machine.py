"""The limits of this machine: plausible results, and an unchanged number of threads."""

import itertools

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import door, machine
from tinytensor.errors import BackendUnavailable
from tinytensor.machine import DataCache, working_sets

needs_c = pytest.mark.skipif("c" not in BACKENDS, reason="the C backend isn't compiled here")


def test_cpu_name():
    assert machine.cpu_name().strip()


@needs_c
@pytest.mark.parametrize("threads", [1, 2])
def test_peak_and_bandwidth(threads):
    before = door.load_backend("c").num_threads
    # Every computer is between these bounds, so a result in a wrong unit fails. Two threads that
    # share one CPU with other programs are slow, because they wait for each other.
    assert 1e4 < machine.peak_flops(threads) < 1e15
    for traffic in machine.ARRAYS:
        assert 1e4 < machine.memory_bandwidth(1 << 16, threads, traffic) < 1e15
    assert door.load_backend("c").num_threads == before


def test_waiting_for_a_busy_machine_does_not_count(monkeypatch):
    now = 0.0

    def repeat(times: int) -> None:
        nonlocal now
        now += 0.0012 + times * 1e-8  # each call waits for a thread, whatever it computes

    monkeypatch.setattr(machine.time, "perf_counter", lambda: now)
    assert 1e-8 <= machine._best(repeat, 0.01) <= 2e-8


@needs_c
def test_count_of_operations():
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
def test_results_of_the_probes():
    _, variant = machine._probes()
    rng = np.random.default_rng(0)
    x, y, out = rng.random((3, 3 * machine.GROUP), "float32")
    at = variant.at
    variant.probe_copy(at(x), at(out), x.size, 2)
    assert (out == x).all()
    variant.probe_add(at(x), at(y), at(out), x.size, 2)
    assert (out == x + y).all()
    with_threads = door.load_backend("c").num_threads
    door.load_backend("c").module.set_num_threads(1)
    variant.probe_read(at(x), at(out), x.size, 1)
    door.load_backend("c").module.set_num_threads(with_threads)
    assert 0 < out[0] < x.sum()  # the sum of one vector lane


def test_settle_waits_for_busy_threads(monkeypatch):
    """The fake clock shows CPU time in the first three intervals and none in the fourth."""
    sleeps = []
    used = iter([0.0, 0.002, 0.002, 0.003, 0.003, 0.005, 0.005, 0.005])
    monkeypatch.setattr(machine.time, "process_time", lambda: next(used))
    monkeypatch.setattr(machine.time, "sleep", sleeps.append)
    machine.settle(most=1000)
    assert sleeps == [machine.POLL] * 4


def test_settle_stops_waiting_after_its_limit(monkeypatch):
    now = itertools.count()  # both clocks advance at each reading: always busy
    for clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(machine.time, clock, lambda: float(next(now)))
    machine.settle(most=10)
    assert 10 < next(now) < 20


def test_unknown_traffic():
    with pytest.raises(tt.SettingError, match="got traffic 'write'; choose from read, copy, add"):
        machine.memory_bandwidth(1 << 16, 1, "write")


def test_peak_without_the_c_backend_raises(monkeypatch):
    def missing(name: str) -> door.Backend:
        raise BackendUnavailable(f"{name}: the kernels were not compiled")

    monkeypatch.setattr(door, "load_backend", missing)
    with pytest.raises(BackendUnavailable):
        machine.peak_flops(7)


def write_cache(folder, **files):
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


def test_caches_from_files_of_linux(tmp_path):
    write_cache(tmp_path / "index0", level="2", type="Unified", size="1M", shared_cpu_list="0,4")
    write_cache(tmp_path / "index1", level="1", type="Data", size="48K", shared_cpu_list="0")
    write_cache(tmp_path / "index2", level="1", type="Instruction", size="32K", shared_cpu_list="0")
    write_cache(
        tmp_path / "index3", level="3", type="Unified", size="32768K", shared_cpu_list="0-7"
    )
    wanted = [
        DataCache("L1", 48 << 10, 1),
        DataCache("L2", 1 << 20, 2),
        DataCache("L3", 32 << 20, 8),
    ]
    assert machine.caches(tmp_path) == wanted
    assert machine.caches(tmp_path / "nowhere") == []
    (tmp_path / "index1" / "size").write_text("large")
    assert machine.caches(tmp_path) == []


def test_working_sets_of_private_and_shared_caches():
    levels = [DataCache("L1", 32, 1), DataCache("L2", 512, 2), DataCache("L3", 8192, 8)]
    assert working_sets(1, levels) == {16: "L1", 256: "L2", 4096: "L3", 32768: "memory"}
    assert working_sets(4, levels) == {64: "L1", 512: "L2", 4096: "L3", 32768: "memory"}
    unknown = working_sets(2, [])
    assert list(unknown) == sorted(unknown)
    assert unknown[16 << 10] == ""


@needs_c
def test_bandwidth_of_each_level(monkeypatch):
    monkeypatch.setattr(machine, "caches", lambda: [DataCache("L1", 32 << 10, 1)])
    for threads in (1, 2):
        own, memory = (str(threads * size) for size in (16 << 10, 128 << 10))
        found = machine.bandwidths(threads, seconds=0.001)
        levels = {size: speed["level"] for size, speed in found.items()}
        assert levels == {own: "L1", memory: "memory"}
        assert all(found[own][traffic] > 0 for traffic in ("read", "copy", "add"))


@pytest.mark.parametrize(("text", "cores"), [("0", 1), ("0-3", 4), ("0-3,8,10-11", 7)])
def test_count_of_cores(text, cores):
    assert machine._count_cores(text) == cores
