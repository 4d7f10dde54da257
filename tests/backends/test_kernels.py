"""Every kernel of every backend has the result of the NumPy backend."""

import inspect
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from cases import KERNELS, Kernel, at_size
from conftest import BACKENDS, instructions

import tinytensor as tt
from tinytensor import door, kernels

NUMPY = door.load_backend("numpy")
C = door.load_backend("c") if "c" in BACKENDS else None
NARROWER = [f"c {simd}" for simd in C.module.AVAILABLE[:-1]] if C else []
OTHERS = [name for name in BACKENDS if name != "numpy"] + NARROWER


@pytest.fixture
def backend(request):
    """Yields a backend by name; "c avx2" is C with this instruction set."""
    name, _, simd = request.param.partition(" ")
    backend = door.load_backend(name)
    with instructions(simd):
        yield backend


def run(backend: door.Backend, case: Kernel, arrays: list[np.ndarray]) -> np.ndarray:
    """Returns the outputs of a kernel, concatenated if there are several."""
    arrays = [array.copy() for array in arrays]
    with np.errstate(all="ignore"):
        backend.kernels[case.name](*arrays, *case.numbers)
    return outputs(case, arrays)


def outputs(case: Kernel, arrays: list[np.ndarray]) -> np.ndarray:
    if case.outputs == 1:
        return arrays[-1]
    return np.concatenate([array.reshape(-1) for array in arrays[-case.outputs :]])


def assert_agree(case: Kernel, dtype: str, got: np.ndarray, wanted: np.ndarray) -> None:
    if case.ulp == 0:
        np.testing.assert_array_equal(got, wanted, err_msg=str(case))
        return
    finite = np.abs(wanted[np.isfinite(wanted)])
    scale = max(1.0, finite.max(initial=0))
    tolerance = case.tolerance if dtype == "float32" else case.tolerance * 1e-6
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * scale, err_msg=str(case))


CELLS = [(case, dtype) for case in KERNELS for dtype in case.dtypes]
IDS = [f"{case}-{dtype}" for case, dtype in CELLS]
# These kernels change a part of their last array, or read it; all others write each element of it.
IN_PLACE = {"put", "concat", "sgd", "sgd_momentum", "adam", "rmsprop", "moving_average"}


@pytest.mark.parametrize("backend", OTHERS, indirect=True)
@pytest.mark.parametrize(("case", "dtype"), CELLS, ids=IDS)
def test_agrees_with_numpy(backend, case, dtype):
    arrays = case.make(dtype)
    wanted = run(NUMPY, case, arrays)
    got = run(backend, case, arrays)
    assert_agree(case, dtype, got, wanted)
    if case.name not in IN_PLACE:
        for i in range(-case.outputs, 0):
            arrays[i] = np.full_like(arrays[i], 77)
        np.testing.assert_array_equal(run(backend, case, arrays), got)


@pytest.mark.full
@pytest.mark.parametrize("backend", OTHERS, indirect=True)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_numpy_at_random_sizes(backend, dtype, seed):
    rng = np.random.default_rng(seed)
    for case in at_size(*map(int, rng.integers(1, 100, 2))):
        if dtype in case.dtypes:
            arrays = case.make(dtype, seed)
            wanted = run(NUMPY, case, arrays)
            got = run(backend, case, arrays)
            assert_agree(case, dtype, got, wanted)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("case", KERNELS, ids=str)
def test_inputs_are_not_changed(name, case):
    arrays = case.make("float32")
    before = [array.copy() for array in arrays]
    door.load_backend(name).kernels[case.name](*arrays, *case.numbers)
    if case.name == "dropout_mask":
        before[0][1] += arrays[1].size  # the count of numbers drawn
    for array, copy in zip(arrays[: -case.outputs], before, strict=False):
        np.testing.assert_array_equal(array, copy)


SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, 3e38, -3e38, 1e-45, 100.0, -200.0]
WITH_FLOAT_INPUT = [
    case for case in KERNELS if case.name not in ("one_hot", "load_images", "dropout_mask")
]
# An overflow in these kernels depends on the order of a sum, so they get no large values.
SUMS = (
    "matmul",
    "sparse_matmul",
    "sum",
    "cumsum",
    "scatter_add",
    "conv2d",
    "sum_pool2d",
    "softmax_backward",
)
SUMS += ("log_softmax_backward", "cross_entropy_backward", "cross_entropy_and_grad")
SUMS += ("conv2d_grad_x", "conv2d_grad_weight")
SUMS += ("sum_pool2d_grad_x", "moments", "normalize", "batch_norm_backward")
SUMS += ("layer_norm", "layer_norm_backward")
SUMS += ("sgd", "sgd_momentum", "adam", "rmsprop", "moving_average")
# Backends may differ in whether a NaN weight of a convolution is multiplied with zeros outside of
# the image, or an infinite gamma with a 0. So only the first array of these kernels gets special
# values.
IN_THE_FIRST = ("conv2d", "conv2d_grad_x", "conv2d_grad_weight", "normalize", "batch_norm_backward")
IN_THE_FIRST += ("layer_norm", "layer_norm_backward")
IN_THE_FIRST += ("sgd", "sgd_momentum", "adam", "rmsprop", "moving_average")


def with_special(case: Kernel, seed: int) -> list[np.ndarray]:
    arrays = case.make("float32", seed)
    rng = np.random.default_rng(seed)
    names = door.CONTRACTS[case.name].arrays
    few = 1 if case.name in IN_THE_FIRST else len(arrays) - case.outputs
    for name, array in zip(names[:few], arrays, strict=False):
        # Backends may also differ in whether an infinite weight is multiplied with a loss of 0.
        if array.dtype == np.float32 and name != "weight":
            mask = rng.random(array.shape) < (0.5 if seed else 0.05)
            array[...] = np.where(mask, rng.choice(SPECIAL, array.shape), array)
            # The gradient of a label's loss may be 0 or what rounding leaves of it: infinite
            # times that is NaN or infinite.
            if name == "grad" and case.name.startswith("cross_entropy"):
                array[np.isinf(array)] = np.nan
            if case.name in SUMS:
                array[np.isfinite(array) & (np.abs(array) > 10)] = np.nan
    return arrays


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("backend", OTHERS, indirect=True)
@pytest.mark.parametrize("case", WITH_FLOAT_INPUT, ids=str)
def test_nan_and_infinity_as_in_numpy(backend, case):
    for seed in range(5):
        arrays = with_special(case, seed)
        wanted, got = run(NUMPY, case, arrays), run(backend, case, arrays)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted), err_msg="NaN")
        if case.ulp == 0:
            np.testing.assert_array_equal(got, wanted)
            if case.name not in (
                "maximum",
                "minimum",
                "max",
                "min",
            ):  # they may return either of -0 and 0
                np.testing.assert_array_equal(np.signbit(got), np.signbit(wanted), "-0")
        else:
            absolute = 2e-4 if case.name in SUMS else 1e-5
            np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=absolute)


# Accuracy


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("backend", [*BACKENDS, *NARROWER], indirect=True)
@pytest.mark.parametrize("kernel", sorted({case.name for case in KERNELS if case.ulp}))
def test_units_in_the_last_place(backend, kernel):
    """Compares float32 with the same kernel of NumPy in float64, over a wide range of values."""
    (limit,) = {case.ulp for case in KERNELS if case.name == kernel}
    numbers = np.concatenate([np.linspace(-110, 95, 50_001), np.geomspace(1e-30, 1e30, 10_001)])
    x = numbers.astype(np.float32)
    arrays = {
        "pow": [np.abs(x) % 20, np.sin(x).astype(np.float32) * 9],
        "log1p": [x[x > -1]],
        "log": [x[x >= 0]],
        "sin": [x[np.abs(x) < 1000]],
        "cos": [x[np.abs(x) < 1000]],
        "sum": [np.tile(np.random.default_rng(0).random(100_000, np.float32), (3, 1))],
        "cumsum": [np.random.default_rng(0).random((3, 100_000), np.float32)],
    }.get(kernel, [x])
    shape = (3, 1) if kernel == "sum" else arrays[0].shape
    exact, out = np.empty(shape), np.empty(shape, np.float32)
    NUMPY.kernels[kernel](*(array.astype(np.float64) for array in arrays), exact)
    backend.kernels[kernel](*arrays, out)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    unit = np.spacing(np.abs(rounded[finite])).astype(np.float64)
    assert np.max(np.abs(out[finite] - exact[finite]) / unit) <= limit
    np.testing.assert_array_equal(out[~finite], rounded[~finite])


@pytest.mark.parametrize("backend", [*BACKENDS, *NARROWER], indirect=True)
@pytest.mark.parametrize("case", [c for c in KERNELS if c.name == "matmul"], ids=str)
def test_matmul_error_bound(backend, case):
    x, y, out = case.make("float32")
    transpose_x, transpose_y = case.numbers
    backend.kernels["matmul"](x, y, out, transpose_x, transpose_y)
    x, y = (a.astype(np.float64) for a in (x, y))
    x, y = x.mT if transpose_x else x, y.mT if transpose_y else y
    bound = 2 * x.shape[-1] * np.finfo(np.float32).eps * (np.abs(x) @ np.abs(y))
    assert (np.abs(out - x @ y) <= bound).all()


def test_exp_is_exact_to_the_last_bits():
    x = np.concatenate([np.linspace(-110, 95, 500_001), SPECIAL]).astype(np.float32)
    with np.errstate(all="ignore"):
        exact = np.exp(x.astype(np.float64))
        rounded = exact.astype(np.float32)
    for name, limit in {"numpy": 3, "numba": 2, "c": 2}.items():
        if name not in BACKENDS:
            continue
        out = np.empty_like(x)
        with np.errstate(all="ignore"):
            door.load_backend(name).kernels["exp"](x, out)
        ulp = np.spacing(np.where(np.isfinite(rounded), rounded, 1)).astype(np.float64)
        finite = np.isfinite(rounded)
        assert np.max(np.abs(out[finite] - exact[finite]) / ulp[finite]) <= limit, name
        np.testing.assert_array_equal(np.isnan(out), np.isnan(exact))
        np.testing.assert_array_equal(np.isposinf(out), np.isposinf(rounded))


@pytest.mark.parametrize("name", BACKENDS)
def test_sums_are_more_accurate_than_float32(name):
    x = np.full(1_000_001, 0.1, np.float32)
    for shape in ((1_000_001,), (1_000_001, 1)):
        out = np.empty((1,) * len(shape), np.float32)
        door.load_backend(name).kernels["sum"](x.reshape(shape), out)
        assert out.item() == pytest.approx(np.sum(x, dtype=np.float64), rel=1e-7)


# The contract


@pytest.mark.parametrize("name", BACKENDS)
def test_backend_has_every_kernel_with_the_declared_arguments(name):
    backend = door.load_backend(name)
    for kernel in door.CONTRACTS:
        declared = inspect.signature(getattr(kernels, kernel)).parameters
        if kernel in backend.on_numpy:
            continue
        own = inspect.signature(getattr(backend.module, kernel)).parameters
        assert list(own) == list(declared), kernel
    assert backend.on_numpy == (("cast",) if name != "numpy" else ())  # by the contract


def test_every_kernel_has_a_docstring_and_cases():
    for kernel in door.CONTRACTS:
        assert "=" in (getattr(kernels, kernel).__doc__ or ""), kernel
    assert {case.name for case in KERNELS} == set(door.CONTRACTS)
    assert {case.name for case in at_size(3, 4)} == set(door.CONTRACTS)


# C


needs_c = pytest.mark.skipif("c" not in BACKENDS, reason="the C backend isn't compiled here")


@needs_c
def test_unknown_instruction_set_raises():
    before = C.module.SIMD
    with pytest.raises(tt.SettingError, match=r"none named 'mmx' here; choose from baseline"):
        C.module.set_simd("mmx")
    assert before == C.module.SIMD


@needs_c
def test_without_winograds_algorithm_sums_are_plain():
    """With 16 channels and more it is used, forward and in both gradients, unless it is off."""
    rng = np.random.default_rng(0)
    x, grad = (rng.standard_normal((4, 14, 14, 32), np.float32) for _ in range(2))
    weight = rng.standard_normal((3, 3, 32, 32), np.float32)
    calls = {
        "conv2d": (x, weight, np.empty_like(x)),
        "conv2d_grad_x": (grad, weight, np.empty_like(x)),
        "conv2d_grad_weight": (x, grad, np.empty_like(weight)),
    }

    def results() -> list[np.ndarray]:
        for name, arrays in calls.items():
            C.kernels[name](*arrays, (1, 1), (1, 1))
        return [arrays[-1].copy() for arrays in calls.values()]

    by_winograd = results()
    C.module.use_winograd(False)
    try:
        plain = results()
    finally:
        C.module.use_winograd(True)
    for fast, slow in zip(by_winograd, plain, strict=True):
        assert (fast != slow).any()
        np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-5 * np.abs(slow).max())


@pytest.mark.full
@needs_c
def test_settings_of_the_environment_that_are_wrong():
    result = info(TINYTENSOR_WINOGRAD="no")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "TINYTENSOR_WINOGRAD=no: 0 or 1 is needed" in result.stderr


@pytest.mark.full
@needs_c
def test_instruction_set_from_the_environment():
    for simd in C.module.AVAILABLE:
        result = info(TINYTENSOR_SIMD=simd)
        assert f"cpu features   {simd} in C" in result.stdout
        assert result.returncode == 0
    result = info(TINYTENSOR_SIMD="mmx")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "TINYTENSOR_SIMD=mmx: instruction set: there is none named 'mmx' here" in result.stderr


def info(**environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tinytensor", "info"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


@needs_c
def test_c_refuses_wrong_arrays():
    c = door.load_backend("c").kernels
    x = np.ones((4, 4), np.float32)
    with pytest.raises(tt.DTypeError, match="float32 and float64"):
        c["add"](x, x.astype(np.float64), x.copy())
    with pytest.raises(tt.DTypeError, match="all of float32 or all of float64"):
        c["neg"](x.astype(np.int64), x.astype(np.int64))
    with pytest.raises(ValueError, match="read-only"):
        c["sgd"](x, np.ones(1), np.frombuffer(bytes(64), np.float32).reshape(4, 4), 0.0)
    with pytest.raises(tt.DTypeError, match="int64 is needed, got int32"):
        c["one_hot"](np.zeros(4, np.int32), x)
    with pytest.raises(ValueError, match="contiguous"):
        c["neg"](x.T[:2], x[:2])


@needs_c
def test_no_columns_in_a_thread_without_scratch_memory():
    """C gets a null pointer here, which the sanitizers check."""
    results = []

    def work() -> None:
        for case in KERNELS:
            if case.name == "moments" and case.arrays[0] == (3, 0):
                results.append(run(C, case, case.make("float32")).size)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [0]


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "numpy"], indirect=True)
@pytest.mark.parametrize(("case", "dtype"), CELLS, ids=IDS)
def test_a_bound_call_reads_its_arrays_when_it_runs(backend, case, dtype):
    """It uses the values at that time, such as a learning rate that changed after `bind`."""
    if not hasattr(backend.module, case.name):
        pytest.skip("NumPy computes it")
    bound, changed = case.make(dtype), case.make(dtype, seed=1)
    untouched = [array.copy() for array in bound]
    call = backend.module.bind(case.name, (*bound, *case.numbers))
    assert call is not None
    for array, before in zip(bound, untouched, strict=True):
        np.testing.assert_array_equal(array, before)  # binding computes nothing
    for array, new in zip(bound, changed, strict=True):
        np.copyto(array, new)
    backend.module.BoundCalls([call])()
    backend.kernels[case.name](*changed, *case.numbers)
    for array, wanted in zip(bound, changed, strict=True):
        np.testing.assert_array_equal(array, wanted)
