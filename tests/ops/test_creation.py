"""Tensors made from a shape, by a rule or from random numbers."""

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import random

LEAF = tt.Tensor(0.5, requires_grad=True)


def test_tensors_by_a_rule():
    assert tt.zeros(2, 3).shape == tt.zeros((2, 3)).shape == tt.zeros([2, 3]).shape == (2, 3)
    assert tt.ones(2, dtype="int32").tolist() == [1, 1]
    assert tt.full((2,), 2.5).dtype == np.float32
    assert tt.full(2, 7).dtype == np.int64
    assert tt.full((), True).dtype == np.bool_
    assert tt.arange(3).tolist() == [0, 1, 2]
    assert tt.arange(3).dtype == np.int64
    assert tt.arange(1, 2, 0.25).tolist() == [1, 1.25, 1.5, 1.75]
    assert tt.arange(1, 2, 0.25).dtype == np.float32
    assert tt.arange(3, dtype="uint8").dtype == np.uint8
    assert tt.eye(2).tolist() == [[1, 0], [0, 1]]
    assert tt.eye(1, 3).tolist() == [[1, 0, 0]]
    assert tt.zeros(2, requires_grad=True).requires_grad


def test_tensors_in_the_shape_of_another():
    x = tt.zeros(2, 3, dtype="float64")
    for make in (tt.zeros_like, tt.ones_like, tt.rand_like, tt.randn_like):
        assert make(x).shape == x.shape
        assert make(x).dtype == x.dtype
    assert tt.full_like(x, 3).tolist() == [[3] * 3] * 2
    assert tt.ones_like(x, dtype="int64").dtype == np.int64
    assert tt.zeros_like([1.0, 2.0], requires_grad=True).requires_grad
    assert tt.zeros(2, dtype=None).dtype == np.float32


def test_random_tensors_follow_the_seed():
    def draw():
        tt.manual_seed(7)
        return (
            tt.randn(3), tt.rand((2, 2)), tt.randint(0, 9, (5,)), tt.truncated_normal(4, std=0.1),
            tt.bernoulli(tt.full((50,), 0.5)),
        )  # fmt: skip

    for a, b in zip(draw(), draw(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert tt.randn(dtype="float64").shape == ()
    assert tt.rand(2).dtype == np.float32


def test_a_fork_restores_the_random_state():
    def draw():
        return tt.rand(3).tolist(), tt.ops.dropout(tt.ones(20), keep_prob=0.5).tolist()

    tt.manual_seed(7)
    wanted = [draw(), draw()]
    tt.manual_seed(7)
    same_generator = random.generator()
    with random.fork():
        assert draw() == wanted[0], "it starts from the current state"
        tt.manual_seed(8)
        assert draw() != wanted[1]
    assert draw() == wanted[0]
    with random.fork():
        same_generator.random(5)
        with random.fork():
            draw()
        assert draw() != wanted[1]

    @random.fork()
    def fail():
        draw()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert draw() == wanted[1]


def test_a_fork_in_a_captured_step_raises():
    @tt.capture
    def step(x):
        with random.fork():
            return x + 1

    with pytest.raises(tt.CaptureError, match=r"random\.fork\(\) .* use it outside of the step"):
        step(tt.ones(2))


def test_distributions():
    tt.manual_seed(0)
    uniform, normal = tt.rand(100_000).numpy(), tt.randn(100_000).numpy()
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01
    assert abs(normal.std() - 1) < 0.01
    truncated = tt.truncated_normal(100_000, std=0.1).numpy()
    assert np.abs(truncated).max() <= 0.2
    assert (
        abs(truncated.std() - 0.088) < 0.001
    )  # of a normal distribution truncated at two deviations
    tt.manual_seed(3)
    from_0 = tt.randint(9, (2, 3))
    tt.manual_seed(3)
    np.testing.assert_array_equal(from_0.numpy(), tt.randint(0, 9, (2, 3)).numpy())
    whole = tt.randint(2, 5, (1000,)).numpy()
    assert set(whole) == {2, 3, 4}
    assert abs(tt.bernoulli(tt.full((100_000,), 0.3)).numpy().mean() - 0.3) < 0.01


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: tt.zeros(-1), tt.ShapeError, r"zeros: got the sizes \(-1,\)"),
        (lambda: tt.zeros(2.5), tt.ShapeError, "zeros: got the sizes"),
        (lambda: tt.zeros(2, dtype="nope"), tt.DTypeError, "got nope"),
        (lambda: tt.zeros(2, dtype="int64", requires_grad=True), tt.DTypeError, "gradients need"),
        (lambda: tt.rand(2, dtype="int64"), tt.DTypeError, "rand: got int64; float32 or float64"),
        (lambda: tt.randint(3, 3, 1), tt.SettingError, "low must be below high"),
        (lambda: tt.randint(3, 9), tt.SettingError, "got 3 and 9 without a shape; randint"),
        (lambda: tt.randint(0, 3, -1), tt.ShapeError, r"^randint: got the sizes \(-1,\)"),
        (lambda: tt.arange(1, 2, 0), tt.SettingError, "arange: got 1, 2, 0; finite"),
        (lambda: tt.truncated_normal(2, std=-1), tt.SettingError, "got std=-1"),
        (lambda: tt.bernoulli(tt.ones(2) * 2), tt.SettingError, "from 0 to 1"),
        (lambda: tt.arange(float("nan")), tt.SettingError, "finite numbers"),
        (lambda: tt.full((2,), [1, 2]), tt.ShapeError, "a scalar is needed"),
        (lambda: tt.full(2, 300, "uint8"), tt.DTypeError, "uint8 holds values from 0 to 255"),
        (lambda: tt.Tensor([300, -1], "uint8"), tt.DTypeError, "values from -1 to 300"),
        (lambda: tt.Tensor([float("nan")], "int64"), tt.DTypeError, "int64 holds values"),
        (lambda: tt.zeros(2**62), tt.ShapeError, "zeros: got the sizes"),
        (lambda: tt.randint(0, 2**40, 3, "int32"), tt.SettingError, "for int32"),
        (lambda: tt.bernoulli([2.0]), tt.SettingError, "from 0 to 1"),
        (lambda: tt.eye(2**70), tt.ShapeError, "eye: got the sizes"),
        (lambda: tt.rand(2**70), tt.ShapeError, "rand: got the sizes"),
        (lambda: tt.zeros(*[1] * 70), tt.ShapeError, "zeros: got the sizes"),
        (lambda: tt.arange("a"), tt.SettingError, "arange: got start='a'"),
        (lambda: tt.arange(0, 5, 1j), tt.SettingError, "arange: got step=1j"),
        (lambda: tt.arange(2**70), tt.SettingError, r"arange: got 0, 1\d*, 1: Maximum"),
        (lambda: tt.randint(0.5, 3, 1), tt.SettingError, "randint: got low=0.5"),
        (lambda: tt.randint(0, "a", 1), tt.SettingError, "randint: got high='a'"),
        (lambda: tt.truncated_normal(2, std="a"), tt.SettingError, "got std='a'"),
        (lambda: tt.full(2, "a"), tt.NotSupported, "full: got 'a'"),
        (lambda: tt.full(2, LEAF), tt.GradientError, r"broadcast_to\(value, shape\) passes"),
        (lambda: tt.full_like([1.0], LEAF), tt.GradientError, r"or pass value.detach\(\)"),
        (lambda: tt.manual_seed(-1), tt.SettingError, "got -1"),
        (lambda: tt.manual_seed("a"), tt.SettingError, "got 'a'"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_value_may_be_a_tensor_where_no_gradient_is_lost():
    assert tt.full(2, LEAF.detach()).tolist() == [0.5, 0.5]
    assert tt.randint(np.int32(2), tt.Tensor(3), 2).tolist() == [2, 2]
    assert tt.randint(-2, -1, 1).item() == -2
    assert tt.arange(np.float32(0), tt.Tensor(1.0), 0.5).tolist() == [0, 0.5]
    with tt.no_grad():
        assert tt.full_like([1.0], LEAF).tolist() == [0.5]
