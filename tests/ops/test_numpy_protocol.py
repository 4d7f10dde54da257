"""NumPy's own functions on Tensors."""

import os
import re
from typing import Any

import numpy as np
import numpy.fft
import numpy.lib.recfunctions
import pytest
from numpy.testing import overrides

import tinytensor as tt


def test_elementwise_functions_are_ops(backend):
    x = tt.Tensor([0.5, 2.0], requires_grad=True)
    for result, wanted in (
        (np.add(x, 1), [1.5, 3]),
        (np.multiply(2, x), [1, 4]),
        (np.exp(x), np.exp([0.5, 2])),
        (np.float32(3) - x, [2.5, 1]),
        (np.ones(2, np.float32) / x, [2, 0.5]),
        (np.abs(-x), [0.5, 2]),
        (np.ones((2, 2), np.float32) @ x, [2.5, 2.5]),
    ):
        assert isinstance(result, tt.Tensor)
        assert result.requires_grad
        np.testing.assert_allclose(result.detach(), wanted, rtol=1e-6)


def test_reductions_and_shapes_are_ops():
    x = tt.Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert np.sum(x, axis=0).tolist() == [4, 6]
    assert np.mean(x).item() == 2.5
    assert np.concatenate([x, x]).shape == (4, 2)
    assert np.transpose(x).tolist() == [[1, 3], [2, 4]]
    assert np.max(x).requires_grad


def test_other_functions_return_numpys_result_if_no_gradient_is_lost():
    x, w = tt.Tensor([1.0, 2.0]), tt.ones(2, requires_grad=True)
    assert np.allclose(x, [1, 2])
    assert np.median(x) == 1.5
    np.testing.assert_array_equal(np.arctan(x), np.arctan([1.0, 2.0], dtype=np.float32))
    assert np.add.reduce(x) == 3
    for name, call in (
        ("np.median", np.median),
        ("np.arctan", np.arctan),
        ("np.add.reduce", np.add.reduce),
        ("np.linalg.vector_norm", np.linalg.vector_norm),
    ):
        with pytest.raises(tt.NotSupported, match=rf"{name}: .*x.detach\(\).numpy\(\)"):
            call(w)


def test_functions_without_a_gradient_take_a_parameter(tmp_path):
    w = tt.Tensor([[3.0, 1.0], [2.0, 5.0]], requires_grad=True)
    assert np.shape(w) == (2, 2)
    assert (np.ndim(w), np.size(w), np.size(w, 0)) == (2, 4, 2)
    assert np.argsort(w, axis=1).tolist() == [[1, 0], [0, 1]]
    assert np.allclose(w, w)
    assert np.array_equal(np.zeros_like(w), np.zeros((2, 2), np.float32))
    assert np.full_like(w, 7).tolist() == [[7, 7], [7, 7]]
    np.save(tmp_path / "w.npy", w)
    assert np.load(tmp_path / "w.npy").tolist() == w.tolist()
    with pytest.raises(tt.NotSupported, match=r"np.full_like: .*gradients would be lost"):
        np.full_like(w, tt.ones(2, requires_grad=True))


def test_functions_have_numpys_arguments():
    x = tt.Tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]], requires_grad=True)
    assert [piece.shape for piece in np.split(x, 4)] == [(1, 2)] * 4
    assert [piece.tolist() for piece in np.split(x, [1, 3], axis=0)] == [
        [[1, 2]],
        [[3, 4], [5, 6]],
        [[7, 8]],
    ]
    sum(piece.sum() * i for i, piece in enumerate(np.split(x, 4))).backward()
    assert x.grad.tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]
    with pytest.raises(tt.ShapeError, match=r"np.split: got 3 for 4 entries"):
        np.split(x, 3)
    assert [len(piece) for piece in np.array_split(x, 3)] == [2, 1, 1]
    assert np.linalg.norm(x, axis=1).shape == (4,)
    assert np.linalg.norm(x[:, 0], 1).item() == 16
    with pytest.raises(tt.NotSupported, match=r"np.linalg.norm: got ord=1 for a matrix"):
        np.linalg.norm(x, 1)
    assert np.var(x, axis=0, ddof=1).tolist() == pytest.approx([20 / 3] * 2)
    assert np.dot(x, [1.0, 1.0]).requires_grad
    assert np.concatenate([x, x], axis=1, dtype=None).shape == (4, 4)


def test_bitwise_functions_are_the_operators():
    yes, no = tt.Tensor([True, False]), np.array([False, False])
    assert np.bitwise_or(yes, no).tolist() == (no | yes).tolist() == [True, False]
    assert np.invert(yes).tolist() == [False, True]
    integers = np.array([1, 2, 3])
    for call in (
        lambda: np.bitwise_and(tt.Tensor(integers), 6),
        lambda: integers & tt.Tensor(integers),
        lambda: np.invert(tt.Tensor(integers)),
    ):
        with pytest.raises(tt.DTypeError, match="bool is needed"):
            call()


def test_unsupported_arguments_raise():
    x, array = tt.ones(2), np.ones(2)
    with pytest.raises(tt.NotSupported, match=r"np.add with out: .*x.detach\(\).numpy\(\)"):
        array += x
    with pytest.raises(tt.NotSupported, match=r"np.sum: .*'where'; the arguments .*axis=None"):
        np.sum(x, where=array > 0)
    with pytest.raises(tt.NotSupported, match=r"np.sum: too many positional arguments"):
        np.sum(x, 0, np.float64)
    with pytest.raises(tt.NotSupported, match=r"np.pad: got mode 'edge'"):
        np.pad(x, 1, "edge")
    for call in (
        lambda: np.copyto(x, 7),
        lambda: np.add.at(x, 0, 7),
        lambda: np.arctan(array, out=x),
        lambda: np.nan_to_num(x, copy=False),
    ):
        with pytest.raises(tt.NotSupported, match=r"would write to a Tensor .*x\[...\] = value"):
            call()
    assert x.tolist() == [1, 1]


# All functions that NumPy passes on to a Tensor ---------------------------------------------------

MATRIX = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.25], [0.5, 0.25, 2.0]])
VECTOR = np.array([0.5, 0.25, 0.75])
INDEX = np.array([2, 0, 1])
BOOLS = np.array([True, False, True])
ROWS = np.zeros((1, 3), np.int64)

# Each function is called with all of these arguments that NumPy itself accepts.
ARGUMENTS: list[tuple[Any, ...]] = [
    (MATRIX,), (VECTOR,), (INDEX,), (BOOLS,), (MATRIX, MATRIX), (VECTOR, VECTOR), (INDEX, INDEX),
    (BOOLS, BOOLS), (INDEX, BOOLS), (MATRIX, 0), (MATRIX, 1), (MATRIX, 2), (VECTOR, 1), (VECTOR, 2),
    (INDEX, 1), (MATRIX, 0, 1), (MATRIX, (3, 3)), (MATRIX, VECTOR), (MATRIX, INDEX, 0), (MATRIX, 3),
    (MATRIX, [1]), ([MATRIX, MATRIX], 0), ([VECTOR, VECTOR],), (BOOLS, VECTOR, VECTOR),
    (INDEX, VECTOR, VECTOR), (VECTOR, VECTOR, VECTOR),
]  # fmt: skip
MORE_ARGUMENTS: dict[str, list[tuple[Any, ...]]] = {
    "apply_along_axis": [(np.sum, 0, MATRIX)],
    "apply_over_axes": [(np.sum, MATRIX, [0])],
    "astype": [(MATRIX, np.dtype(np.float32)), (INDEX, np.dtype(np.float64))],
    "dsplit": [(MATRIX.reshape(3, 1, 3), 3)],
    "einsum": [("ij,jk->ik", MATRIX, MATRIX), ("ii", MATRIX), ("ij->j", MATRIX)],
    "einsum_path": [("ij,jk->ik", MATRIX, MATRIX)],
    "linalg.norm": [(MATRIX, "fro"), (MATRIX, None), (MATRIX, "nuc"), (VECTOR, np.inf)],
    "linalg.tensorsolve": [(MATRIX, VECTOR)],
    "mean": [(MATRIX, 0, np.float32)],
    "piecewise": [(VECTOR, [BOOLS, ~BOOLS], [1.0, 2.0])],
    "polyfit": [(VECTOR, VECTOR, 1)],
    "put_along_axis": [(MATRIX, ROWS, 7.0, 0)],
    "ravel_multi_index": [((INDEX, INDEX), (3, 3))],
    "save": [(os.devnull, MATRIX)],
    "savetxt": [(os.devnull, MATRIX)],
    "savez": [(os.devnull, MATRIX)],
    "savez_compressed": [(os.devnull, MATRIX)],
    "sum": [(MATRIX, 0, np.float32)],
    "unpackbits": [(np.array([1, 2], np.uint8),)],
    "unravel_index": [(INDEX, (3, 3))],
}
# Of dates, text, records and files; or a Tensor can only be their argument like=.
NOT_OF_ARRAYS_OF_NUMBERS = {
    "arange", "array", "asanyarray", "asarray", "ascontiguousarray", "asfortranarray",
    "busday_count", "busday_offset", "can_cast", "count", "datetime_as_string", "empty", "endswith",
    "eye", "find", "frombuffer", "fromfile", "fromfunction", "fromiter", "fromstring", "full",
    "genfromtxt", "identity", "index", "isalnum", "isalpha", "isdecimal", "isdigit", "islower",
    "isnat", "isnumeric", "isspace", "istitle", "isupper", "loadtxt", "ones", "require", "rfind",
    "rindex", "startswith", "str_len", "tri", "zeros",
}  # fmt: skip

ADVICE = r"detach\(\)|numpy\(\)|needed|must|tt\.|astype|first|fit"


def name_of(function: Any) -> str:
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module}.{function.__name__}".removeprefix("numpy.")


DISPATCHED = {
    name_of(function): function
    for function in (
        *overrides.get_overridable_numpy_array_functions(),
        *overrides.get_overridable_numpy_ufuncs(),
    )
    if not name_of(function).startswith(("_", "lib.recfunctions."))
}


def with_tensors(value: Any, requires_grad: bool) -> Any:
    if isinstance(value, np.ndarray):
        return tt.Tensor(value, requires_grad=requires_grad and value.dtype.kind == "f")
    if isinstance(value, list | tuple):
        return type(value)(with_tensors(item, requires_grad) for item in value)
    return value


def copied(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(copied(item) for item in value)
    return value.copy() if isinstance(value, np.ndarray) else value


def assert_same(name: str, result: Any, wanted: Any) -> None:
    """Compare the values, shapes and kinds of dtype; only the latter two if it is np.empty."""
    if isinstance(wanted, list | tuple):
        assert len(result) == len(wanted)
        for one, other in zip(result, wanted, strict=True):
            assert_same(name, one, other)
    elif isinstance(wanted, np.ndarray | np.generic | int | float | complex):
        got = result.detach().numpy() if isinstance(result, tt.Tensor) else np.asarray(result)
        wanted = np.asarray(wanted)
        assert got.shape == wanted.shape
        narrow = wanted.dtype in (np.int8, np.float16)  # NumPy's dtypes for bools; Tensor has none
        assert narrow or got.dtype.kind == wanted.dtype.kind
        if not name.startswith("empty"):
            np.testing.assert_allclose(got, wanted, rtol=1e-3 if narrow else 1e-6, atol=1e-9)
    else:
        assert type(result) is type(wanted)


def has_floats_without_gradient(result: Any) -> bool:
    if isinstance(result, list | tuple):
        return any(map(has_floats_without_gradient, result))
    if isinstance(result, tt.Tensor):
        return result.dtype.kind == "f" and not result.requires_grad
    return isinstance(result, np.ndarray | np.generic | float) and (
        np.asarray(result).dtype.kind in "fc"
    )


def accepted(name: str) -> list[tuple[tuple[Any, ...], Any]]:
    """The arguments that NumPy accepts for arrays, with its answer."""
    calls = []
    for arguments in (*ARGUMENTS, *MORE_ARGUMENTS.get(name, ())):
        try:
            calls.append((arguments, DISPATCHED[name](*copied(arguments))))
        except Exception:  # NumPy refuses them, with an error of any class
            continue
    return calls


def called(name: str, arguments: list[Any]) -> Any:
    """The result of the call, or our error."""
    try:
        return DISPATCHED[name](*arguments)
    except tt.TinytensorError as error:
        return error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(DISPATCHED.keys() - NOT_OF_ARRAYS_OF_NUMBERS))
def test_each_function_gives_numpys_answer_or_an_error_with_advice(name):
    calls = accepted(name)
    assert calls, f"np.{name} accepts none of the arguments above; add some"
    for requires_grad in (False, True):
        for arguments, wanted in calls:
            given = [with_tensors(argument, requires_grad) for argument in arguments]
            result = called(name, given)
            if isinstance(result, tt.TinytensorError):
                assert re.search(ADVICE, str(result)), result
                continue
            assert_same(name, result, wanted)
            constant = name.endswith("_like")
            if any(isinstance(x, tt.Tensor) and x.requires_grad for x in given) and not constant:
                assert not has_floats_without_gradient(result), arguments


def test_arguments_like_a_tensor_change_nothing():
    w = tt.ones(2, requires_grad=True)
    assert np.zeros(3, like=w).tolist() == [0, 0, 0]
    assert np.arange(3, like=w).tolist() == [0, 1, 2]
