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
    assert list(REWRITES) == ["bias_relu", "loss_and_grad", "skip_zeros"]
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


PIXELS = np.random.default_rng(0).standard_normal((100, 64), np.float32)
PIXELS[PIXELS < 0.5] = 0
PIXELS[4] = -0.0
CLASSES = np.arange(100) % 40
WEIGHT = tt.Tensor(np.random.default_rng(1).standard_normal((64, 40), np.float32))
WEIGHT.requires_grad = True


def sparse_step(x, labels):
    loss = tt.cross_entropy(x @ WEIGHT, labels)
    WEIGHT.grad = None
    loss.backward()
    return loss


@pytest.mark.parametrize("bad", [0, np.nan, np.inf, -np.inf])
def test_skipped_products_change_no_result(backend, bad):
    """Also if a weight or a gradient is not finite, because 0 times infinity is NaN."""
    plain, skipping = tt.capture(sparse_step, rewrites=()), tt.capture(sparse_step)
    values = WEIGHT.numpy().copy()
    WEIGHT.data[3, 7] = bad
    try:
        results = []
        for step in (plain, skipping):
            step(PIXELS, CLASSES)
            loss = step(PIXELS, CLASSES)
            results.append((loss.numpy(), WEIGHT.grad.numpy().copy()))
        for mine, wanted in zip(*results, strict=True):
            np.testing.assert_array_equal(mine, wanted)
    finally:
        WEIGHT.data[...] = values
    assert kernels_of(plain, PIXELS, CLASSES).count("matmul") == 2
    assert kernels_of(skipping, PIXELS, CLASSES).count("sparse_matmul") == 2
    assert "skip_zeros" in str(skipping.program)


@pytest.mark.parametrize("columns", [20, 200])
def test_a_sum_of_products_that_underflow_has_the_same_sign(backend, columns):
    """-1e-30 * 1e-30 is -0, and so is the sum if the products with 0 are not added to it."""
    data, weight = np.zeros((100, 64), np.float32), np.ones((64, columns), np.float32)
    data[:, 0], weight[0] = 1e-30, -1e-30
    weight = tt.tensor(weight)

    def step(x):
        return x @ weight

    captured = tt.capture(step)
    captured(data)
    assert "sparse_matmul" in kernels_of(captured, data)
    expected, result = step(tt.from_numpy(data)).numpy(), captured(data).numpy()
    assert expected.tobytes() == result.tobytes()


def test_only_products_of_data_are_skipped():
    """Not those of activations or weights, of batches of matrices, and of little data."""
    x = tt.from_numpy(PIXELS)

    def is_skipped(step, x=x):
        return "sparse_matmul" in kernels_of(tt.capture(step), x)

    def changes_it(x):
        x[...] = x * 2.0
        return x @ WEIGHT

    assert is_skipped(lambda x: x @ WEIGHT)
    assert is_skipped(lambda x: x.reshape(50, 128).reshape(100, 64) @ WEIGHT)
    assert not is_skipped(lambda x: WEIGHT.T @ x.T)
    assert not is_skipped(lambda x: (x + 1.0) @ WEIGHT)
    assert not is_skipped(lambda x: x[None] @ WEIGHT[None])
    assert not is_skipped(changes_it, tt.from_numpy(PIXELS.copy()))
    assert not is_skipped(lambda x: x @ WEIGHT, tt.from_numpy(PIXELS[:10]))
    assert not is_skipped(lambda x: x @ WEIGHT[:, :10])


def test_a_chosen_rung_is_not_replaced():
    with tt.use_kernel("matmul", "numba.naive"):
        assert kernels_of(tt.capture(lambda x: x @ WEIGHT), PIXELS) == ["matmul"]
    with tt.use_kernel("softmax", "numba.naive"):
        assert kernels_of(tt.capture(lambda x: x @ WEIGHT), PIXELS) == ["sparse_matmul"]
