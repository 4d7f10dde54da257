"""Optimisers against the formula, written out in float64."""

import numpy as np
import pytest

import tinytensor as tt


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sgd_follows_the_formula(backend, dtype):
    rng = np.random.default_rng(0)
    start, target = rng.standard_normal((2, 37))
    param = tt.Tensor(start, dtype=dtype, requires_grad=True)
    unused = tt.ones(3, requires_grad=True)
    optimizer = tt.optim.SGD([param, unused], lr=0.1)
    expected = start.copy()
    for step in range(10):
        if step == 5:
            optimizer.lr = 0.01
        distance = param - tt.Tensor(target, dtype=dtype)
        optimizer.zero_grad()
        (distance * distance).sum().backward()
        optimizer.step()
        expected -= optimizer.lr * 2 * (expected - target)
    np.testing.assert_allclose(param.numpy(), expected, atol=2e-6 if dtype == "float32" else 1e-14)
    assert unused.grad is None
    assert unused.numpy().tolist() == [1, 1, 1]


def test_zero_grad_forgets():
    param = tt.ones(2, requires_grad=True)
    optimizer = tt.optim.SGD([param], lr=1)
    for _ in range(2):
        optimizer.zero_grad()
        param.sum().backward()
    assert param.grad.numpy().tolist() == [1, 1]


@pytest.mark.parametrize("lr", [-0.1, float("nan"), "a"])
def test_impossible_rate(lr):
    with pytest.raises(tt.SettingError, match=f"SGD: got lr={lr!r}; a number from 0 up"):
        tt.optim.SGD([], lr=lr)


def test_what_does_not_fit_is_refused(backend):
    param = tt.zeros(5_000_000, requires_grad=True)
    optimizer = tt.optim.SGD([param], lr=1)
    param.grad = tt.ones(3)
    with pytest.raises(tt.ShapeError, match=r"SGD: got grad of shape \(3,\); \(5000000,\)"):
        optimizer.step()
    param.grad = tt.ones(5_000_000, dtype="float64")
    with pytest.raises(tt.DTypeError, match="SGD: got grad of float64; float32 is needed"):
        optimizer.step()
    fixed = tt.from_numpy(np.frombuffer(bytes(12), np.float32)).requires_grad_()
    fixed.grad = tt.ones(3)
    with pytest.raises(tt.NotSupported, match="read-only memory"):
        tt.optim.SGD([fixed], lr=1).step()
    assert fixed.tolist() == [0, 0, 0]
    with pytest.raises(tt.NotSupported, match="SGD: got a tensor; a list"):
        tt.optim.SGD(param, lr=1)
    with pytest.raises(tt.NotSupported, match="SGD: got a ndarray"):
        tt.optim.SGD([np.ones(2)], lr=1)
