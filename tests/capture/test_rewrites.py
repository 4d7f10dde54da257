"""Rewrites: fewer calls, the same bits, and none where something would be missing."""

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import nn
from tinytensor.capture.rewrites import REWRITES

IMAGES = np.random.default_rng(0).standard_normal((5, 12), np.float32)
LABELS = np.arange(5) % 3


def trained(rewrites, steps=3, images=IMAGES):
    """The parameters after some steps, and the program that made them."""
    tt.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 3))
    optimizer = tt.optim.Adam(model.parameters())

    def step(images, labels):
        loss = tt.cross_entropy(model(tt.from_numpy(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    captured = tt.capture(step, rewrites=rewrites)
    for _ in range(steps):
        captured(images, LABELS)
    return [x.numpy() for x in model.parameters()], captured.program


def kernels_of(captured, *arguments) -> list[str]:
    captured(*arguments)
    return [call.kernel for call in captured.program.calls]


@pytest.mark.parametrize("images", [IMAGES, np.where(IMAGES > 1, np.nan, IMAGES)], ids=["", "nan"])
def test_fewer_calls_and_the_same_bits(backend, images):
    plain, before = trained((), images=images)
    rewritten, after = trained(None, images=images)
    for mine, wanted in zip(rewritten, plain, strict=True):
        np.testing.assert_array_equal(mine, wanted)
    assert len(after.calls) == len(before.calls) - 2 == len(after.calls_before) - 2
    for kernel in ("add_relu", "cross_entropy_and_grad"):
        assert kernel in str(after)
        assert kernel not in str(before)
    assert after.peak <= before.peak
    assert after.unplanned < before.unplanned


def test_by_name():
    assert trained(["bias_relu"])[1].rewrites == ("bias_relu",)
    assert list(REWRITES) == ["bias_relu", "loss_and_grad"]
    with pytest.raises(tt.UnknownName, match="bias_relu"):
        tt.capture(lambda x: x, rewrites=["bias"])


def test_only_what_found_something_is_named():
    step = tt.capture(lambda x: (x + 1.0).relu())
    step(tt.ones(3))
    assert step.program.rewrites == ("bias_relu",)
    assert "rewritten by bias_relu: 1 of" in str(step.program)


def test_a_sum_that_is_needed_stays(backend):
    bias = tt.ones(12)
    kept = []

    def returns_it(x):
        total = x + bias
        return total, total.relu()

    def uses_it_again(x):
        total = x + bias
        return total.relu() * total

    def keeps_it(x):
        total = x + bias
        kept.append(total)
        return total.relu()

    x = tt.from_numpy(IMAGES)
    for step in (returns_it, uses_it_again, keeps_it):
        assert "add_relu" not in kernels_of(tt.capture(step), x), step.__name__
    captured = tt.capture(returns_it)
    captured(x)
    total, activation = captured(x)
    np.testing.assert_array_equal(total.numpy(), IMAGES + 1)
    np.testing.assert_array_equal(activation.numpy(), np.maximum(IMAGES + 1, 0))


def test_the_gradient_of_a_gradient_reads_the_right_values(backend):
    """relu's mask is read twice, once from a sum that is not stored any more."""
    w = tt.Tensor(IMAGES[0], requires_grad=True)

    def step(x):
        loss = ((x * w + 1.0).relu() ** 2).sum()
        (grad,) = tt.grad(loss, [w], create_graph=True)
        w.grad = None
        (grad**2).sum().backward()
        return loss

    plain, rewritten = tt.capture(step, rewrites=()), tt.capture(step)
    x = tt.from_numpy(IMAGES)
    grads = []
    for captured in (plain, rewritten):
        captured(x)
        captured(x)
        grads.append(w.grad.numpy().copy())
    np.testing.assert_array_equal(*grads)


def test_a_gradient_that_must_wait_stays(backend):
    """It is computed early only if what comes into it is known by then."""
    logits = tt.Tensor(IMAGES[:, :3], requires_grad=True)
    seed = tt.Tensor(np.float32(2))

    def weighs_it(x, labels):
        loss = tt.cross_entropy(logits, labels)
        loss.backward(x.sum())  # known only after the loss
        return loss

    def twice(x, labels):
        first = tt.cross_entropy(logits, labels)
        second = tt.cross_entropy(logits, labels) * seed
        (first + second).backward()
        return first + second

    x = tt.from_numpy(IMAGES)
    for step in (weighs_it, twice):
        found = []
        for rewrites in ((), None):
            logits.array[...] = IMAGES[:, :3]
            captured = tt.capture(step, rewrites=rewrites)
            for _ in range(3):
                logits.grad = None
                loss = captured(x, LABELS)
            found.append((loss.numpy().copy(), logits.grad.numpy().copy()))
        for mine, wanted in zip(*found, strict=True):
            np.testing.assert_array_equal(mine, wanted)
