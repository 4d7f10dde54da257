"""Tensors: made from what, shared with what, and the way back for gradients."""

import gc
import weakref

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
def test_what_no_tensor_is_made_of(data, dtype, error, words):
    with pytest.raises(error, match=words):
        tt.Tensor(data, dtype)


def test_memory_is_shared_where_it_says_so():
    array = np.ones((2, 3), np.float32)
    assert tt.from_numpy(array).numpy() is array
    assert tt.from_numpy(array).detach().numpy() is array
    assert np.shares_memory(np.asarray(tt.from_numpy(array)), array)
    assert np.shares_memory(tt.from_numpy(array).reshape(6).numpy(), array)
    assert not np.shares_memory(tt.Tensor(array).numpy(), array)
    assert not np.shares_memory(np.array(tt.from_numpy(array)), array)
    with pytest.raises(tt.ShapeError, match="C order is needed"):
        tt.from_numpy(array.T)
    with pytest.raises(tt.DTypeError, match="float16"):
        tt.from_numpy(array.astype(np.float16))
    assert tt.Tensor(array.T).numpy().flags.c_contiguous


def test_numpy_arrays_beside_tensors(backend):
    x, array = tt.ones(2, 2), np.full((2, 2), 3, np.float32)
    for result, wanted in [
        (array + x, 4), (x + array, 4), (array - x, 2), (x - array, -2), (array * x, 3),
        (array / x, 3), (array @ x, 6), (x @ array, 6), (np.float32(3) * x, 3), ([3.0, 3.0] * x, 3),
    ]:  # fmt: skip
        assert isinstance(result, tt.Tensor)
        np.testing.assert_array_equal(result.numpy(), np.full((2, 2), wanted))


def test_one_element_is_a_number():
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


def test_gradients_add_up(backend):
    x = tt.Tensor([2.0, 3.0], requires_grad=True)
    y = x + x
    z = (y * x + y).sum()  # 2 x^2 + 2 x
    z.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [10, 14])
    assert isinstance(x.grad, tt.Tensor)
    assert not x.grad.requires_grad
    first = x.grad
    (3 * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [13, 17])
    np.testing.assert_array_equal(first.numpy(), [10, 14])  # never written to in place


def test_a_diamond_is_visited_once_each(backend):
    x = tt.Tensor(3.0, requires_grad=True)
    a = x * x
    b, c = a * 2, a * 3
    (b * c + a).backward()  # 6 x^4 + x^2
    assert x.grad.item() == pytest.approx(24 * 27 + 6)


def test_only_what_requires_a_gradient_gets_one(backend):
    x, weight = tt.ones(2, 3), tt.ones(3, 2, requires_grad=True)
    frozen = tt.ones(2)
    loss = (x @ weight + frozen).sum()
    loss.backward()
    assert x.grad is None
    assert frozen.grad is None
    assert weight.grad.shape == (3, 2)


def test_a_leaf_is_its_own_beginning():
    x = tt.Tensor(2.0, requires_grad=True)
    x.backward()
    assert x.grad.item() == 1


def test_backward_from_a_given_gradient(backend):
    x = tt.Tensor([1.0, 2.0], requires_grad=True)
    (x * x).backward(tt.Tensor([1.0, 10.0]))
    np.testing.assert_array_equal(x.grad.numpy(), [2, 40])
    with pytest.raises(tt.ShapeError, match=r"grad of shape \(3,\); \(2,\) is needed"):
        (x * x).backward(tt.ones(3))
    with pytest.raises(tt.DTypeError, match="grad of float64; float32 is needed"):
        (x * x).backward(tt.ones(2, dtype="float64"))


def test_misuse_of_backward():
    x = tt.ones(2, requires_grad=True)
    with pytest.raises(tt.GradientError, match=r"call .sum\(\) or .mean\(\) first"):
        (x * 2).backward()
    with pytest.raises(tt.GradientError, match="has no history"):
        tt.ones(()).backward()
    with tt.no_grad():
        y = (x * 2).sum()
    with pytest.raises(tt.GradientError, match=r"under no_grad\(\)"):
        y.backward()
    y = (x * 2).sum()
    y.backward()
    with pytest.raises(tt.GradientError, match="freed by an earlier backward"):
        y.backward()
    shared = x * 2
    shared.sum().backward()
    with pytest.raises(tt.GradientError, match="mul was freed"):
        (shared * 3).sum().backward()
    with pytest.raises(tt.DTypeError, match="gradients need float32 or float64"):
        tt.Tensor([1], requires_grad=True)
    with pytest.raises(tt.GradientError, match=r"use detach\(\)"):
        (x * 2).requires_grad_(False)


def test_detach_cuts(backend):
    x = tt.Tensor([2.0], requires_grad=True)
    y = x * 3
    (y.detach() * x).sum().backward()
    assert x.grad.item() == 6


def test_ten_thousand_ops_in_a_row(backend):
    x = tt.Tensor(0.0, requires_grad=True)
    y = x
    for _ in range(10_000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1
    z = x
    for _ in range(10_000):
        z = -z
    del z  # and a chain that nobody goes back through is freed without recursion too


def test_a_step_is_freed_by_counting_alone(backend):
    gc.collect()
    gc.disable()
    try:
        x = tt.ones(5, 4)
        weight, bias = tt.ones(4, 3, requires_grad=True), tt.zeros(3, requires_grad=True)
        logits = x @ weight + bias
        hidden = tt.exp(tt.sigmoid(tt.relu(logits.log_softmax() * 0.1) + 1))
        loss = tt.cross_entropy(hidden.softmax().reshape(3, 5).T, [0, 1, 2, 0, 1])
        watched = [weakref.ref(t) for t in (logits, hidden, loss)]
        loss.backward()
        del logits, hidden, loss
        assert [ref() for ref in watched] == [None, None, None]
        logits = x @ weight + bias
        unused = weakref.ref(logits)
        del logits
        assert unused() is None
    finally:
        gc.enable()


def test_no_grad_records_nothing():
    x = tt.ones(2, requires_grad=True)
    with tt.no_grad():
        y = x * 2
    assert y.node is None
    assert not y.requires_grad
    assert (x * 2).requires_grad


def test_random_numbers_follow_the_seed():
    tt.manual_seed(7)
    first = tt.randn(3), tt.rand(2, 2)
    tt.manual_seed(7)
    second = tt.randn(3), tt.rand((2, 2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert a.dtype == np.float32
    assert tt.randn(dtype="float64").shape == ()
    with pytest.raises(tt.SettingError, match="got -1"):
        tt.manual_seed(-1)
