"""gradcheck finds a wrong gradient and reports both slopes."""

import numpy as np
import pytest

import tinytensor as tt
from tinytensor.autograd import record


def wrong_square(x):
    return record("square", x.array * x.array, (x,), lambda grad: (grad * x * 2.001,))


def missing_gradient(x):
    return record("square", x.array * x.array, (x,), lambda grad: (None,))


@pytest.mark.parametrize("function", [wrong_square, missing_gradient])
def test_a_wrong_gradient_is_found(function):
    x = tt.Tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
    with pytest.raises(
        tt.GradientError, match=r"the slope is \S+, backward gives \S+; the allowed difference"
    ):
        tt.gradcheck(function, [x])


def test_invalid_inputs_raise():
    with pytest.raises(tt.DTypeError, match="input 0 is float32; float64 is needed"):
        tt.gradcheck(tt.exp, [tt.ones(2, requires_grad=True)])
    with pytest.raises(tt.GradientError, match="nothing to check"):
        tt.gradcheck(tt.exp, [tt.ones(2)])


def test_one_tensor_needs_no_list():
    x = tt.tensor([1.0, 2.0], "float64", requires_grad=True)
    assert tt.gradcheck(tt.exp, x)
    assert tt.gradgradcheck(tt.exp, x)
    with pytest.raises(tt.GradientError, match="the slope is"):
        tt.gradcheck(wrong_square, x)


def test_inputs_are_not_changed():
    x = tt.Tensor(np.array([1.0, 2.0]), requires_grad=True)
    assert tt.gradcheck(tt.exp, [x])
    assert x.grad is None
    np.testing.assert_array_equal(x.numpy(), [1, 2])
