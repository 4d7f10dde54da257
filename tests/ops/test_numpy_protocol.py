"""NumPy's own functions on Tensors."""

import numpy as np
import pytest

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
    x = tt.Tensor([1.0, 2.0])
    assert np.allclose(x, [1, 2])
    assert np.median(x) == 1.5
    with pytest.raises(tt.NotSupported, match=r"np.median: .*x.detach\(\).numpy\(\)"):
        np.median(tt.ones(2, requires_grad=True))


def test_unsupported_functions_raise():
    x, array = tt.ones(2), np.ones(2)
    with pytest.raises(tt.NotSupported, match=r"np.add with out: .*x.numpy\(\)"):
        array += x
    with pytest.raises(tt.NotSupported, match=r"np.arctan: there is no such op"):
        np.arctan(x)
    with pytest.raises(tt.NotSupported, match=r"np.add.reduce"):
        np.add.reduce(x)
    with pytest.raises(tt.NotSupported, match=r"np.sum: tt.sum takes other arguments"):
        np.sum(x, where=array > 0)
