"""Every rung has the result of its kernel, can be chosen by use_kernel, and can be printed."""

import inspect
import itertools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from cases import KERNELS, Kernel, normals, sparse
from conftest import BACKENDS, instructions
from test_kernels import NUMPY, assert_agree, run, with_special
from test_memory import PLACES, placed

import tinytensor as tt
from tinytensor import door, kernels
from tinytensor.errors import BackendUnavailable, UnknownName
from tinytensor.ladder import ladder

HERE = [rung for rung in ladder.LADDER if rung.backend in BACKENDS]
C = door.load_backend("c") if "c" in BACKENDS else None
# Every rung, and for rungs in C also each smaller instruction set.
RUNGS = [(rung, None) for rung in HERE]
RUNGS += [(r, simd) for r in HERE if r.backend == "c" for simd in C.module.AVAILABLE[:-1]]


@pytest.fixture(params=RUNGS, ids=lambda p: f"{p[0].kernel}-{p[0].name}-{p[1] or 'widest'}")
def rung(request) -> Iterator[ladder.Rung]:
    rung, simd = request.param
    with instructions(simd):
        yield rung


def by(rung: ladder.Rung) -> door.Backend:
    """Returns a backend with this rung as its only kernel."""
    return door.Backend(rung.name, None, {rung.kernel: rung.function()})


def cases_aaround_blocks(kernel: str) -> list[Kernel]:
    """Returns cases of size 0 and 1, and around blocks of 4, tiles of 6 and 12, and rows of 16."""
    first = next(case for case in KERNELS if case.name == kernel)

    def at(arrays: tuple, numbers: tuple) -> Kernel:
        return Kernel(kernel, arrays, numbers, first.tolerance)

    around_blocks = (0, 1, 3, 4, 5, 6, 7, 11, 12, 13, 15, 16, 17, 33)
    if kernel in ("matmul", "sparse_matmul"):
        of = sparse if kernel == "sparse_matmul" else normals
        sizes = [(M, 5, N) for M in around_blocks for N in around_blocks]
        sizes += [(5, K, 17) for K in (0, 1, 3, 4, 5, 1023, 1024, 1025)]  # DEPTH of a panel
        return [
            at((of(*((K, M) if tx else (M, K))), (N, K) if ty else (K, N), (M, N)), (tx, ty))
            for M, K, N in sizes
            for tx in (False, True)
            for ty in (False, True)
        ]
    if kernel == "softmax":
        sizes = [(R, C) for R in around_blocks for C in (0, 1, 10, 31, 32, 33)]
        sizes += [(3, C) for C in (255, 256, 257, 511, 512, 513, 1000)]
        return [at(((R, C), (R, C)), ()) for R, C in sizes]
    return [
        at(((2, 5, 6, channels), (3, 2, channels, O), (2, 3, 3, O)), ((2, 2), (1, 0)))
        for O in around_blocks  # noqa: E741
        for channels in (0, 1, 3)
    ]


def random_cases(kernel: str, seed: int) -> list[Kernel]:
    rng = np.random.default_rng(seed)
    first = next(case for case in KERNELS if case.name == kernel)
    M, K, N = map(int, rng.integers(1, 100, 3))
    if kernel in ("matmul", "sparse_matmul"):
        of = sparse if kernel == "sparse_matmul" else normals
        arrays, numbers = (of(K, M), (N, K), (M, N)), (True, True)
    elif kernel == "softmax":
        arrays, numbers = ((M, 10 * N), (M, 10 * N)), ()
    else:
        KH, KW, channels = map(int, rng.integers(1, 5, 3))
        H, W = KH + M % 9, KW + K % 9
        OH, OW = (H + 2 - KH) // 2 + 1, W - KW + 1
        arrays = ((3, H, W, channels), (KH, KW, channels, N), (3, OH, OW, N))
        numbers = ((2, 1), (1, 0))
    return [Kernel(kernel, arrays, numbers, first.tolerance)]


def test_agrees_with_numpy(rung):
    cases = [case for case in KERNELS if case.name == rung.kernel]
    assert_agrees_with_numpy(rung, cases + random_cases(rung.kernel, seed=0), "float32")


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agrees_with_numpy_at_all_sizes(rung, dtype):
    cases = [case for case in KERNELS if case.name == rung.kernel]
    cases += cases_aaround_blocks(rung.kernel)
    cases += [case for seed in range(10) for case in random_cases(rung.kernel, seed)]
    assert_agrees_with_numpy(rung, cases, dtype)


def assert_agrees_with_numpy(rung: ladder.Rung, cases: list[Kernel], dtype: str) -> None:
    backend = by(rung)
    for case in cases:
        arrays = case.make(dtype)
        wanted = run(NUMPY, case, arrays)
        arrays[-1] = np.full_like(arrays[-1], 77)  # the rung writes each element and reads none
        before = [array.copy() for array in arrays[:-1]]
        assert_agree(case, dtype, run(backend, case, arrays), wanted)
        for array, copy in zip(arrays, before, strict=False):
            np.testing.assert_array_equal(array, copy)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_and_infinity_as_in_numpy(rung):
    for case in KERNELS:
        if case.name != rung.kernel:
            continue
        arrays = with_special(case, seed=1)
        wanted, got = run(NUMPY, case, arrays), run(by(rung), case, arrays)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted), err_msg=str(case))
        np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-4, err_msg=str(case))


def run_at_guard_pages(simd: str) -> None:
    """Runs every rung in C on arrays next to guard pages, whose access ends the process."""
    C.module.set_simd(simd)
    for rung in HERE:
        if rung.backend != "c":
            continue
        cases = cases_aaround_blocks(rung.kernel)[::5]  # with each size and each flag
        cases += [case for seed in range(5) for case in random_cases(rung.kernel, seed)]
        for case, place in itertools.product(cases, PLACES):
            print(rung.name, case, place, flush=True)
            arrays = [placed(array, place) for array in case.make("float32")]
            rung.function()(*arrays, *case.numbers)


@pytest.mark.full
@pytest.mark.parametrize("simd", C.module.AVAILABLE if C else ())
def test_rungs_stay_inside_their_arrays(simd):
    ended = subprocess.run(
        [sys.executable, "-c", f"import test_ladder; test_ladder.run_at_guard_pages({simd!r})"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    last = (ended.stdout.splitlines() or ["nothing"])[-1]
    assert ended.returncode == 0, f"{last}: {ended.stderr[-2000:]}"
    assert len(ended.stdout.splitlines()) > 1000


def test_rungs_have_the_arguments_of_their_kernel():
    for rung in HERE:
        declared = inspect.signature(getattr(kernels, rung.kernel)).parameters
        own = inspect.signature(rung.function()).parameters
        if "." in rung.name and rung.backend == "numba" and rung.kernel == "matmul":
            declared = list(declared)[:3]  # the decorated function has two matrices
        assert list(own) == list(declared), rung.name


def test_the_ladder_lists_every_rung():
    listed = {(rung.kernel, rung.name) for rung in HERE}
    for backend in set(BACKENDS) - {"numpy"}:
        module = __import__(f"tinytensor.ladder.{backend}_ladder", fromlist=["*"])
        for name in vars(module):
            kernel, _, step = name.partition("_")
            if kernel in ladder.SIZES:
                assert (kernel, f"{backend}.{step}") in listed, name


@pytest.mark.skipif(C is None, reason="the C backend isn't compiled here")
def test_a_module_without_the_rung_raises():
    with pytest.raises(BackendUnavailable, match="older than this source: they lack matmul_quick;"):
        C.module.require(["matmul_naive", "matmul_quick"])


# use_kernel


def counted(monkeypatch, rung: str) -> list[str]:
    """Returns a list to which each call of a rung appends the name of the rung."""
    calls: list[str] = []
    real = ladder.Rung.function

    def function(self):
        own = real(self)

        def kernel(*arguments):
            calls.append(self.name)
            own(*arguments)

        return kernel

    monkeypatch.setattr(ladder.Rung, "function", function)
    return calls


RUNG = "c.blocked" if "c" in BACKENDS else "numba.blocked"


def test_use_kernel_holds_inside_its_block(monkeypatch, backend):
    calls = counted(monkeypatch, RUNG)
    x = tt.rand(5, 6)
    with tt.use_kernel("matmul", RUNG) as chosen:
        assert tt.current_backend() is chosen
        assert chosen.name == backend
        product = x @ x.T
        assert calls == [RUNG]
        assert f"matmul by {RUNG}" in repr(chosen)
        with tt.use_kernel("softmax", "numpy"), tt.use_kernel("matmul", "numpy") as inner:
            assert inner.rungs == ("softmax by numpy", "matmul by numpy")
            tt.softmax(x @ x.T)
        with tt.backend("numpy"):
            x @ x.T
        x @ x.T
    assert calls == [RUNG, "numpy", "numpy", RUNG]
    np.testing.assert_allclose(product.numpy(), (x @ x.T).numpy(), atol=1e-6)
    assert calls[4:] == []


def test_set_backend_takes_effect_after_the_block(monkeypatch):
    calls = counted(monkeypatch, RUNG)
    tt.set_backend("numpy")
    with tt.use_kernel("matmul", RUNG):
        tt.set_backend("numba")
        tt.rand(2, 2) @ tt.rand(2, 2)
        assert tt.current_backend().name == "numpy"
    assert calls == [RUNG]
    assert tt.current_backend().name == "numba"


def test_use_kernel_does_not_affect_other_threads(monkeypatch):
    calls = counted(monkeypatch, RUNG)
    with tt.use_kernel("matmul", RUNG):
        thread = threading.Thread(target=lambda: tt.rand(2, 2) @ tt.rand(2, 2))
        thread.start()
        thread.join()
    assert calls == []


def test_the_backward_pass_uses_the_rung(monkeypatch, backend):
    calls = counted(monkeypatch, RUNG)
    x, y = tt.rand(3, 4, requires_grad=True), tt.rand(4, 5, requires_grad=True)
    with tt.use_kernel("matmul", RUNG):
        (x @ y).sum().backward()
    assert calls == [RUNG] * 3
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), np.ones((3, 5)) @ y.numpy().T, rtol=1e-5)


@pytest.mark.parametrize("name", [rung.name for rung in HERE if rung.kernel == "matmul"])
def test_integers_run_on_numpy_and_mixed_floats_raise(name):
    x = tt.Tensor([[1, 2], [3, 4]])
    with tt.use_kernel("matmul", name):
        assert (x @ x).numpy().tolist() == [[7, 10], [15, 22]]
        if name.startswith("c."):
            a, b = np.ones((2, 2), np.float32), np.ones((2, 2))
            with pytest.raises(tt.DTypeError, match="float32 and float64"):
                kernels.matmul(a, b, a.copy(), False, False)


def test_unknown_names_raise():
    with pytest.raises(
        UnknownName, match="'add' has no ladder; choose from matmul, sparse_matmul, softmax, conv2d"
    ):
        tt.use_kernel("add", "c.naive").__enter__()
    with pytest.raises(UnknownName, match=r"no rung 'c.quick'; choose from numpy, numba.naive,"):
        tt.use_kernel("matmul", "c.quick").__enter__()


def test_a_rung_of_an_unavailable_backend_raises(monkeypatch):
    def missing(name: str) -> door.Backend:
        raise BackendUnavailable(f"{name}: the kernels were not compiled")

    monkeypatch.setattr(door, "load_backend", missing)
    with pytest.raises(BackendUnavailable, match="c: the kernels were not compiled"):
        tt.use_kernel("matmul", "c.naive").__enter__()


# Measurements and sources


@pytest.mark.parametrize("kernel", ladder.SIZES)
def test_every_rung_is_measured(kernel):
    results, peak = ladder.measure(kernel, ladder.SMALL[kernel], 0.05)
    assert (peak is None) == (C is None)
    assert peak is None or peak > 1e6
    assert [result.rung for result in results] == [r for r in HERE if r.kernel == kernel]
    assert all(result.seconds > 0 for result in results)


def test_slow_rungs_are_skipped(monkeypatch):
    monkeypatch.setattr(ladder, "_timed", lambda function, call: call.amount / 1e9)
    (time,) = {result.seconds for result in ladder.measure("matmul", 100, 0.001)[0]}
    assert time == pytest.approx(2e6 / 1e9)
    assert {result.seconds for result in ladder.measure("matmul", 1000, 0.001)[0]} == {None}


@pytest.mark.parametrize("rung", HERE, ids=lambda rung: f"{rung.kernel}-{rung.name}")
def test_source_of_every_rung(rung):
    language, text = rung.source()
    assert language == ("c" if rung.backend == "c" else "python")
    assert text.count("{") == text.count("}")
    name = rung.name.partition(".")[2]
    if name and name != "threaded":
        assert re.search(rf"\b{rung.kernel}_{name}\(", text)
        assert '"""' in text or text.count("/*") >= 2, "the source explains the idea"
    assert len(rung.why) > 20


def test_source_has_the_derivation():
    assert "m0 = (d0 - d2) g0" in ladder.find_rung("conv2d", "c.winograd").source()[1]
    assert "/* Lanes of images ---" in ladder.find_rung("conv2d", "c.lanes").source()[1]
