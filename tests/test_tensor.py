"""Tensor: construction, shared memory, conversion, assignment and printing."""

import copy
import operator
import pickle
import re
import warnings

import numpy as np
import pytest

import tinytensor as tt


def test_dtypes():
    assert tt.Tensor([1.0, 2]).dtype == np.float32
    assert tt.Tensor(3.5).dtype == np.float32
    assert tt.Tensor([1, 2]).dtype == np.int64
    assert tt.Tensor([True]).dtype == np.bool_
    assert tt.Tensor(np.ones(2)).dtype == np.float64
    assert tt.Tensor([1, 2], dtype="float64").dtype == np.float64
    assert tt.Tensor(tt.ones(2, dtype="float64")).dtype == np.float64
    assert (tt.ones(2) * 2.5).dtype == np.float32
    assert (1 - tt.ones(2, dtype="float64")).dtype == np.float64


@pytest.mark.parametrize(
    ("data", "dtype", "error", "words"),
    [
        ([[1, 2], [3]], None, tt.ShapeError, "rows have different lengths"),
        (["a"], None, tt.DTypeError, "is needed"),
        ([1 + 2j], None, tt.DTypeError, "is needed"),
        (np.ones(2, np.float16), None, tt.DTypeError, "got float16; float32, float64"),
        ([1.0], "no such type", tt.DTypeError, "got no such type"),
        (["a"], "float32", tt.DTypeError, "numbers are needed"),
        (None, None, tt.DTypeError, "is needed"),
    ],
)
def test_unsupported_data_raises(data, dtype, error, words):
    with pytest.raises(error, match=words):
        tt.Tensor(data, dtype)


@pytest.mark.parametrize("make", [tt.tensor, tt.Tensor])
def test_a_copy_of_a_list_that_loses_a_gradient_warns(make):
    a = tt.Tensor(2.0, requires_grad=True)
    for given in ([a, 1.0], ([1.0], [a])):
        with pytest.warns(UserWarning, match=r"the copy has no graph; tt\.stack") as caught:
            assert not make(given).requires_grad
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(a)
        make([a.detach(), 1.0])
        make([[1.0, 2.0], [3.0, 4.0]])
        with tt.no_grad():
            make([a, 1.0])


def test_shared_memory():
    array = np.ones((2, 3), np.float32)
    assert tt.from_numpy(array).numpy() is array
    assert tt.from_numpy(array).detach().numpy() is array
    assert np.shares_memory(np.asarray(tt.from_numpy(array)), array)
    assert np.shares_memory(tt.from_numpy(array).reshape(6).numpy(), array)
    assert not np.shares_memory(tt.Tensor(array).numpy(), array)
    assert not np.shares_memory(np.array(tt.from_numpy(array)), array)
    with pytest.raises(tt.ShapeError, match="a C-contiguous array is needed"):
        tt.from_numpy(array.T)
    with pytest.raises(tt.DTypeError, match="float16"):
        tt.from_numpy(array.astype(np.float16))
    assert tt.Tensor(array.T).numpy().flags.c_contiguous


def test_operators_with_numpy_arrays(backend):
    x, array = tt.ones(2, 2), np.full((2, 2), 3, np.float32)
    for result, wanted in [
        (array + x, 4), (x + array, 4), (array - x, 2), (x - array, -2), (array * x, 3),
        (array / x, 3), (array @ x, 6), (x @ array, 6), (np.float32(3) * x, 3), ([3.0, 3.0] * x, 3),
    ]:  # fmt: skip
        assert isinstance(result, tt.Tensor)
        np.testing.assert_array_equal(result.numpy(), np.full((2, 2), wanted))


def test_conversion_of_one_element():
    assert float(tt.Tensor(2.5)) == 2.5
    assert int(tt.Tensor([[3.0]])) == 3
    assert bool(tt.Tensor([1]))
    assert len(tt.ones(4, 2)) == 4
    for wrong in (lambda: tt.ones(2).item(), lambda: bool(tt.ones(2)), lambda: len(tt.Tensor(1))):
        with pytest.raises(tt.ShapeError):
            wrong()


def test_repr():
    assert repr(tt.Tensor([1.0, 2.5])) == "Tensor([1. , 2.5], dtype=float32)"
    assert (
        repr(tt.zeros(1, requires_grad=True)) == "Tensor([0.], dtype=float32, requires_grad=True)"
    )


def test_bool_and_index_need_one_element():
    with pytest.raises(tt.ShapeError, match=r"bool: got a tensor of shape \(2,\).*\.any\(\)"):
        bool(tt.ones(2) == 1)
    assert tt.ones(2) is not None
    assert [5, 6, 7][tt.Tensor(1)] == 6
    with pytest.raises(tt.DTypeError, match="index: got a tensor of float32"):
        [5, 6, 7][tt.Tensor(1.0)]


def test_comparisons_are_elementwise_and_hash_is_identity():
    x = tt.Tensor([1.0, 2.0])
    assert (x == x).numpy().all()
    assert (x != tt.Tensor([1.0, 3.0])).tolist() == [False, True]
    assert (2 > x).tolist() == [True, False]  # noqa: SIM300 - the reflected form
    assert len({x, x, tt.Tensor([1.0, 2.0])}) == 2


def test_in_compares_all_elements_as_in_numpy():
    array = np.array([[1.0, 2.0], [3.0, np.nan]])
    x = tt.Tensor(array, requires_grad=True)
    for value in (3, 3.0, 5, np.nan, [1.0, 5.0], [7.0, 7.0]):
        assert (value in x) == (value in array)
    assert tt.Tensor(2.0) in x


def test_iteration_yields_rows(backend):
    x = tt.Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    first, second = x
    (first * second).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[3, 4], [1, 2]])
    with pytest.raises(tt.ShapeError, match="got a scalar tensor"):
        list(tt.Tensor(1.0))


def test_assignment(backend):
    x = tt.zeros(3, 4)
    x[1] = 5
    x[:, 0] = tt.Tensor([1.0, 2.0, 3.0])
    x[[0, 2], 1] = [7, 8]
    x[x == 5] += 1
    np.testing.assert_array_equal(x.numpy(), [[1, 7, 0, 0], [2, 6, 6, 6], [3, 8, 0, 0]])
    labels = tt.zeros(3, dtype="int64")
    labels[1:] = 4
    assert labels.tolist() == [0, 4, 4]
    with pytest.raises(tt.ShapeError, match="broadcast"):
        x[0] = [1, 2]
    with pytest.raises(tt.IndexingError):
        x[3] = 1


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("uint8", 300), ("uint8", -1), ("uint8", [0, 256, 1]), ("uint8", np.int64(300)),
        ("int32", 2**40), ("int64", float("nan")), ("int64", 1e30), ("int64", 2.0**63),
    ],
)  # fmt: skip
def test_assignment_of_numbers_that_do_not_fit_raises(backend, dtype, value):
    x = tt.zeros(3, dtype=dtype)
    with pytest.raises(tt.DTypeError, match=rf"x\[...\] = value: .*{dtype} holds values from"):
        x[:] = value
    with pytest.raises(tt.DTypeError, match=rf"data: .*{dtype} holds values from"):
        x.data = np.resize(value, 3).tolist()
    assert x.tolist() == [0, 0, 0]
    with pytest.raises(tt.DTypeError, match=f"{dtype} holds values from"):
        tt.Tensor(value, dtype)


def test_assignment_converts_as_the_constructor_does(backend):
    x = tt.zeros(2, dtype="uint8")
    x[:] = [255.0, 1.7]
    assert x.tolist() == [255, 1]
    x[:] = np.array([257, 2])  # the conversion of an array wraps around, as in NumPy
    assert x.tolist() == [1, 2]
    wide = tt.zeros(2)
    wide[:] = tt.arange(2)
    assert wide.tolist() == [0, 1]


def test_assignment_to_a_tensor_with_gradient_raises():
    leaf = tt.ones(3, requires_grad=True)
    with pytest.raises(tt.GradientError, match="under no_grad"):
        leaf[0] = 2
    with tt.no_grad():
        leaf[0] = 2
    assert leaf.tolist() == [2, 1, 1]
    with pytest.raises(tt.GradientError, match="where"):
        (leaf * 2)[0] = 1


IN_PLACE = {
    "+=": (operator.iadd, [[1.0, 2.0], [3.0, 4.0]], [10, 20]),
    "-=": (operator.isub, [[1.0, 2.0], [3.0, 4.0]], tt.Tensor([0.5, 1.5])),
    "*=": (operator.imul, [[1.0, 2.0], [3.0, 4.0]], 2.5),
    "/=": (operator.itruediv, [[1.0, 2.0], [3.0, 4.0]], np.float64(4)),
    "//=": (operator.ifloordiv, [[1, -2], [3, 4]], [[2, 3], [2, 3]]),
    "%=": (operator.imod, [[1, -2], [3, 4]], 3),
    "**=": (operator.ipow, [[1.0, 2.0], [3.0, 4.0]], 2),
    "@=": (operator.imatmul, [[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [1.0, 1.0]]),
    "&=": (operator.iand, [[True, False], [True, True]], [True, False]),
    "|=": (operator.ior, [[True, False], [False, True]], [False, True]),
    "^=": (operator.ixor, [[True, False], [True, True]], True),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_operators_in_place(backend, name):
    change, x, y = IN_PLACE[name]
    x = tt.Tensor(x)
    wanted = change(x.numpy().copy(), np.asarray(y))
    alias, memory = x, x.numpy()
    x = change(x, y)
    assert x is alias
    assert x.numpy() is memory
    assert x.dtype == wanted.dtype
    np.testing.assert_array_equal(memory, wanted)


def test_operators_in_place_change_a_leaf_under_no_grad(backend):
    params = [tt.ones(3, requires_grad=True), tt.Tensor(2.0, requires_grad=True)]
    (params[0] * params[0] * params[1]).sum().backward()
    with tt.no_grad():
        for p in params:
            p -= 0.25 * p.grad
    assert params[0].tolist() == [0, 0, 0]
    assert params[1].item() == 1.25
    params[0].data += 0.5
    params[0].data -= 0.25 * params[0].grad
    assert params[0].tolist() == [-0.5, -0.5, -0.5]
    assert params[0].requires_grad
    assert params[0].data.requires_grad is False


def test_operators_in_place_leave_a_parameter_a_parameter():
    model = tt.nn.Linear(2, 3)
    weight, version = model.weight, model.version
    wanted = weight.numpy() * 0.5
    with tt.no_grad():
        model.weight *= 0.5
    assert model.weight is weight
    assert any(x is weight for x in model.parameters())
    assert model.version == version
    np.testing.assert_array_equal(weight.numpy(), wanted)


@pytest.mark.parametrize("name", [name for name in IN_PLACE if name[0] not in "&|^"])
def test_a_leaf_that_requires_a_gradient_is_not_changed(name):
    change, x, y = IN_PLACE[name]
    words = rf"x {re.escape(name)} y: gradients can't flow.*write x = x {re.escape(name[:-1])} y"
    leaf = tt.Tensor(x, "float64", requires_grad=True)
    with pytest.raises(tt.GradientError, match=words):
        change(leaf, y)
    assert leaf.tolist() == x


@pytest.mark.parametrize("name", [name for name in IN_PLACE if name[0] not in "&|^"])
def test_operators_in_place_with_a_graph_give_a_new_tensor(name):
    """`loss += term` is `loss = loss + term`."""
    change, x, y = IN_PLACE[name]
    operate = getattr(operator, change.__name__.removeprefix("i"))
    leaf = tt.Tensor(x, "float64", requires_grad=True)
    for make in (lambda: (leaf * 1, y), lambda: (leaf.detach(), leaf)):
        changed, value = make()
        before = changed.tolist()
        result, wanted = change(changed, value), operate(*make())
        assert result.tolist() == wanted.tolist()
        assert result.requires_grad == wanted.requires_grad
        assert changed.tolist() == before or not wanted.requires_grad


def test_operators_in_place_keep_shape_and_dtype():
    for change, words in (
        (lambda x: operator.iadd(x, tt.ones(2, 3)), r"x \+= y: the result has shape \(2, 3\)"),
        (lambda x: operator.iadd(x, tt.ones(1, 3)), r"the result has shape \(1, 3\)"),
        (lambda x: operator.imatmul(x, x), r"x @= y: the result has shape \(\)"),
    ):
        with pytest.raises(tt.ShapeError, match=words):
            change(tt.ones(3))
    for x, change, y in (
        (tt.arange(3), operator.itruediv, 2),
        (tt.arange(3), operator.iadd, 0.5),
        (tt.Tensor([True]), operator.iadd, 1),
        (tt.zeros(1, dtype="uint8"), operator.iadd, tt.arange(1)),
    ):
        before = x.tolist()
        with pytest.raises(tt.DTypeError, match=r"y: the result has dtype .*write x = x"):
            change(x, y)
        assert x.tolist() == before
        with pytest.raises(TypeError):
            change(x.numpy(), y if isinstance(y, int | float) else y.numpy())
    narrow = tt.ones(2)
    narrow += tt.ones(2, dtype="float64")
    assert narrow.dtype == np.float32


def test_backward_after_an_operator_in_place_raises():
    x, w = tt.ones(2), tt.ones(2, requires_grad=True)
    loss = (w * x).sum()
    x *= 2
    with pytest.raises(tt.GradientError, match="changed in place"):
        loss.backward()


def test_copy_and_deepcopy():
    x = tt.Tensor([1.0, 2.0], requires_grad=True)
    (x * 3).sum().backward()
    shallow, deep = copy.copy(x), copy.deepcopy(x)
    assert np.shares_memory(shallow.numpy(), x.numpy())
    assert not np.shares_memory(deep.numpy(), x.numpy())
    assert shallow.requires_grad
    assert deep.requires_grad
    assert deep.grad.tolist() == [3, 3]
    both = copy.deepcopy([x, x])
    assert both[0] is both[1]
    for refused in (copy.copy, copy.deepcopy):
        with pytest.raises(tt.GradientError, match=r"computed by mul.*x\.clone\(\)"):
            refused(x * 2)
    with pytest.raises(tt.NotSupported, match=r"tt\.save"):
        pickle.dumps(x)


def test_dlpack_shares_memory():
    x = tt.Tensor([[1.0, 2.0]])
    assert np.shares_memory(np.from_dlpack(x), x.numpy())
    array = np.ones((2, 3))
    assert np.shares_memory(tt.from_dlpack(array).numpy(), array)
    with pytest.raises(tt.DTypeError, match="float16"):
        tt.from_dlpack(np.ones(2, np.float16))


def test_dlpack_with_torch():
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    x = tt.Tensor([1.0, 2.0])
    torch_tensor = torch.from_dlpack(x)
    torch_tensor[0] = 5
    assert x.tolist() == [5, 2]
    shared = tt.from_dlpack(torch.arange(3.0))
    assert shared.tolist() == [0, 1, 2]


def test_from_numpy_takes_arrays_only():
    with pytest.raises(tt.NotSupported, match="from_numpy: got a list; an array is needed"):
        tt.from_numpy([1, 2])
    matrix = tt.from_numpy(np.matrix([[1, 2]], dtype=np.float32))
    assert (matrix * matrix).tolist() == [[1, 4]]


def test_methods_are_the_ops():
    from tinytensor import ops

    assert tt.Tensor.exp is ops.exp
    assert tt.Tensor.__add__ is ops.add
    x = tt.Tensor([[4.0, 9.0]])
    assert x.sqrt().tolist() == [[2, 3]]
    assert x.T.shape == (2, 1)
    assert (x @ x.T).item() == 97
    assert abs(-x).tolist() == [[4, 9]]
    assert (x // 2).tolist() == [[2, 4]]
    assert (20 % x).tolist() == [[0, 2]]
    assert (2**x).tolist() == [[16, 512]]
    assert x.astype("int64").dtype == np.int64


def test_setting_data_copies_into_the_same_memory():
    w = tt.ones(2, 2, requires_grad=True)
    loss = (w * w).sum()
    memory = w.numpy()
    assert w.data.numpy() is memory
    w.data = np.array([[5, 6], [7, 8]])
    assert w.numpy() is memory
    assert w.tolist() == [[5, 6], [7, 8]]
    with pytest.raises(tt.GradientError, match="changed in place"):
        loss.backward()
    with pytest.raises(tt.ShapeError, match=r"data: got shape \(3,\)"):
        w.data = np.ones(3)


def test_assignment_from_overlapping_memory(backend):
    x = tt.arange(6, dtype="float32")
    x[[1, 2, 3, 4, 5, 0]] = x
    assert x.tolist() == [5, 0, 1, 2, 3, 4]
    x[::-1] = x
    assert x.tolist() == [4, 3, 2, 1, 0, 5]


def test_assignment_of_a_tensor_with_gradient_raises():
    w, buffer = tt.ones(2, requires_grad=True), tt.zeros(3)
    for value in (w * 2, [w[0], 1], [1.0, (w * 2)[1]]):
        with pytest.raises(tt.GradientError, match="can't flow through a change in place"):
            buffer[:2] = value
    assert buffer.tolist() == [0, 0, 0]
    buffer[:2] = (w * 2).detach()
    assert buffer.tolist() == [2, 2, 0]


def test_assignment_to_read_only_memory_raises(backend):
    fixed = tt.from_numpy(np.frombuffer(bytes(8), np.float32))
    with pytest.raises(tt.NotSupported, match="x is read-only"):
        fixed[0] = 1
    x = tt.zeros(2, 3)
    x[0] = tt.ones(1, 3)
    assert x[0].tolist() == [1, 1, 1]


def test_comparison_with_none_format_and_round():
    x = tt.Tensor(2.345)
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert x in [None, x]
    assert f"{x:.1f}" == "2.3"
    assert f"{x}" == "Tensor(2.345, dtype=float32)"
    assert (+x).item() == x.item()
    assert round(x).item() == 2
    with pytest.raises(tt.ShapeError, match="float: got a tensor of shape"):
        float(tt.ones(2))
