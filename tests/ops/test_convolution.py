"""conv2d: windows inside the padding, and strides and paddings of any size."""

import random

import numpy as np
import pytest

import tinytensor as tt


def convolution(x, weight, stride, padding):
    """The definition, window by window."""
    (top, bottom), (left, right) = padding
    padded = np.pad(x, [(0, 0), (top, bottom), (left, right), (0, 0)])
    KH, KW, _, O = weight.shape  # noqa: E741
    OH, OW = ((padded.shape[i + 1] - weight.shape[i]) // stride[i] + 1 for i in range(2))
    out = np.zeros((len(x), OH, OW, O))
    for h in range(OH):
        for w in range(OW):
            at = h * stride[0], w * stride[1]
            window = padded[:, at[0] : at[0] + KH, at[1] : at[1] + KW]
            out[:, h, w] = np.tensordot(window, weight, 3)
    return out


def test_any_stride_and_padding_against_the_definition(request, backend):
    choose, draw = random.Random(0), np.random.default_rng(0)
    count = 1000 if request.config.getoption("--full") else 50
    while count:
        H, W = choose.randint(0, 6), choose.randint(0, 6)
        KH, KW = choose.randint(1, 4), choose.randint(1, 4)
        stride = choose.randint(1, 9), choose.randint(1, 9)
        padding = [(choose.choice((0, 0, 1, 2, 9)), choose.choice((0, 1, 8))) for _ in range(2)]
        if H + sum(padding[0]) < KH or W + sum(padding[1]) < KW:
            continue
        count -= 1
        I, O = choose.randint(1, 3), choose.randint(1, 3)  # noqa: E741
        x, dx = (draw.standard_normal((2, H, W, I)) for _ in range(2))
        weight, dweight = (draw.standard_normal((KH, KW, I, O)) for _ in range(2))
        leaves = tt.Tensor(x, requires_grad=True), tt.Tensor(weight, requires_grad=True)
        out = tt.conv2d(*leaves, stride=stride, padding=padding)
        wanted = convolution(x, weight, stride, padding)
        np.testing.assert_allclose(out.numpy(), wanted, rtol=0, atol=1e-10)
        # The gradients, by directions: conv2d is linear in both operands.
        grad = draw.standard_normal(wanted.shape)
        out.backward(tt.Tensor(grad))
        by_x = (grad * convolution(dx, weight, stride, padding)).sum()
        by_weight = (grad * convolution(x, dweight, stride, padding)).sum()
        np.testing.assert_allclose((leaves[0].grad.numpy() * dx).sum(), by_x, atol=1e-9)
        np.testing.assert_allclose((leaves[1].grad.numpy() * dweight).sum(), by_weight, atol=1e-9)


@pytest.mark.parametrize("large", [60_000, 2**31, 2**40])
def test_large_strides_and_paddings(backend, large):
    x = tt.rand(1, 4, 4, 1, requires_grad=True)
    weight = tt.ones(3, 3, 1, 1, requires_grad=True)
    out = tt.conv2d(x, weight, stride=large)
    assert out.shape == (1, 1, 1, 1)
    out.sum().backward()
    inside = x.numpy()[0, :3, :3, 0]
    np.testing.assert_allclose(out.item(), inside.sum(), rtol=1e-6)
    np.testing.assert_array_equal(weight.grad.numpy()[..., 0, 0], inside)
    assert x.grad.numpy().sum() == 9
    out = tt.conv2d(x, weight, stride=large, padding=large)
    assert out.shape == (1, 3, 3, 1)
    np.testing.assert_allclose(out.sum().item(), inside.sum(), rtol=1e-6)
    out = tt.conv2d(x, weight, stride=large, padding=large - 2)  # the middle window begins inside
    np.testing.assert_allclose(out[0, 1, 1, 0].item(), x.numpy()[0, 2:, 2:].sum(), rtol=1e-6)


def test_padding_that_needs_too_much_memory_raises(backend):
    with pytest.raises(MemoryError):
        tt.conv2d(tt.ones(1, 4, 4, 1), tt.ones(3, 3, 1, 1), padding=2**24)
    with pytest.raises(tt.ShapeError, match=r"conv2d: got the sizes .*; at most 64 axes and fewer"):
        tt.conv2d(tt.ones(1, 4, 4, 1), tt.ones(3, 3, 1, 1), padding=2**32)
    with pytest.raises(tt.ShapeError, match=r"pad: got the sizes .*; at most 64 axes and fewer"):
        tt.pad(tt.ones(3, 3), 2**32)
