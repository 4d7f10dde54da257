"""Autograd: the recorded graph and the backward pass."""

import gc
import os
import resource
import warnings
import weakref

import numpy as np
import pytest

import tinytensor as tt


def test_gradients_accumulate(backend):
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
    np.testing.assert_array_equal(first.numpy(), [10, 14])  # accumulating makes a new array


def test_each_node_of_a_diamond_is_visited_once(backend):
    x = tt.Tensor(3.0, requires_grad=True)
    a = x * x
    b, c = a * 2, a * 3
    (b * c + a).backward()  # 6 x^4 + x^2
    assert x.grad.item() == pytest.approx(24 * 27 + 6)


def test_only_leaves_with_requires_grad_get_a_gradient(backend):
    x, weight = tt.ones(2, 3), tt.ones(3, 2, requires_grad=True)
    frozen = tt.ones(2)
    loss = (x @ weight + frozen).sum()
    loss.backward()
    assert x.grad is None
    assert frozen.grad is None
    assert weight.grad.shape == (3, 2)


def test_backward_of_a_leaf():
    x = tt.Tensor(2.0, requires_grad=True)
    x.backward()
    assert x.grad.item() == 1


def test_backward_with_a_given_gradient(backend):
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
    with pytest.raises(tt.GradientError, match="has no graph"):
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
    with pytest.raises(tt.GradientError, match=r"detach\(\) returns a tensor"):
        (x * 2).requires_grad_(False)


def test_requires_grad_is_checked_when_it_is_assigned():
    x = tt.Tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    with pytest.raises(tt.GradientError, match=r"computed by mul; detach\(\) returns"):
        y.requires_grad = False
    (y * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4, 8])
    whole = tt.arange(3)
    with pytest.raises(tt.DTypeError, match="got a tensor of int64; gradients need float32"):
        whole.requires_grad = True
    assert not whole.requires_grad
    x.requires_grad = False
    assert not (x * 2).requires_grad


@pytest.mark.parametrize("captured", [False, True])
def test_a_gradient_is_set_to_a_number_as_in_micrograd(backend, captured):
    w = tt.Tensor([1.0, 2.0], requires_grad=True)

    def step(x):
        w.grad = 0.0
        (w * x).sum().backward()
        w.data -= 0.5 * w.grad
        return w.grad

    step = tt.capture(step) if captured else step
    for x in (1.0, 2.0, 3.0):
        np.testing.assert_array_equal(step(tt.Tensor([x, 0.0])).numpy(), [x, 0])
    np.testing.assert_array_equal(w.numpy(), [-2, 2])
    w.grad = 0
    tt.optim.SGD([w], lr=1.0).step()
    np.testing.assert_array_equal(w.numpy(), [-2, 2])


def test_detach_stops_the_gradient(backend):
    x = tt.Tensor([2.0], requires_grad=True)
    y = x * 3
    (y.detach() * x).sum().backward()
    assert x.grad.item() == 6


@pytest.mark.full
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
    del z  # a chain without a backward pass is freed without recursion too


def test_reference_counts_alone_free_a_training_step(backend):
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


def test_gradients_of_two_leaves_do_not_share_memory(backend):
    x, y = tt.ones(2, requires_grad=True), tt.ones(2, requires_grad=True)
    (x + y.reshape(2)).sum().backward()
    x.grad.numpy()[:] = 7
    assert y.grad.tolist() == [1, 1]
    given = tt.ones(2)
    z = tt.ones(2, requires_grad=True)
    (z + 0).backward(given)
    assert z.grad is not given


def test_a_failed_backward_changes_no_gradient():
    w = tt.ones(2, requires_grad=True)
    h = w * 2
    h.sum().backward()
    with pytest.raises(tt.GradientError, match="freed"):
        (h * w).sum().backward()
    assert w.grad.tolist() == [2, 2]


def test_retain_graph(backend):
    x = tt.Tensor(3.0, requires_grad=True)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 12
    with pytest.raises(tt.GradientError, match="retain_graph=True"):
        y.backward()
    x.zero_grad()
    assert x.grad is None


def test_grad_of_leaves_and_computed_tensors(backend):
    x = tt.Tensor([1.0, 2.0], requires_grad=True)
    hidden = x * x
    loss = (hidden * x).sum()
    by_x, by_hidden = tt.grad(loss, (x, hidden))
    np.testing.assert_allclose(by_x.numpy(), [3, 12])
    np.testing.assert_allclose(by_hidden.numpy(), [1, 2])
    assert x.grad is None
    two = tt.grad((x.sum(), (x * x).sum()), x)
    np.testing.assert_allclose(two[0].numpy(), [3, 5])
    weighted = tt.grad(x * x, x, tt.Tensor([1.0, 10.0]))
    np.testing.assert_allclose(weighted[0].numpy(), [2, 40])
    (itself,) = tt.grad(x.sum(), x)
    assert itself.tolist() == [1, 1]


def test_grad_misused():
    x, other = tt.ones(2, requires_grad=True), tt.ones(3, requires_grad=True)
    with pytest.raises(tt.GradientError, match=r"input 1, of shape \(3,\), isn't in the graph"):
        tt.grad(x.sum(), (x, other))
    assert tt.grad(x.sum(), (x, other), allow_unused=True)[1] is None
    with pytest.raises(tt.GradientError, match="got 2 grad_outputs for 1 output;"):
        tt.grad(x, x, (x, x))
    with pytest.raises(tt.GradientError, match="grad: got a tensor of shape"):
        tt.grad(x * 2, x)
    with pytest.raises(tt.DTypeError, match="backward: got a gradient of type list"):
        (x * 2).backward([1, 1])


def test_higher_derivatives(backend):
    x = tt.Tensor(2.0, requires_grad=True)
    y = x**4
    wanted = [32, 48, 48, 24]
    for derivative in wanted:
        (y,) = tt.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(derivative)
    x = tt.Tensor([0.3, -0.7], requires_grad=True)
    (first,) = tt.grad(x.tanh().exp().sum(), x, create_graph=True)
    first.sum().backward()
    t = np.tanh(x.numpy())
    slope = 1 - t**2
    np.testing.assert_allclose(x.grad.numpy(), np.exp(t) * slope * (slope - 2 * t), rtol=1e-5)


def test_gradient_penalty(backend):
    """The loss contains the norm of a gradient, so backward differentiates a backward pass."""
    tt.manual_seed(0)
    x, w = tt.randn(5, 3, requires_grad=True), tt.randn(3, 2, requires_grad=True)
    loss = (x @ w).sigmoid().sum()
    (slope,) = tt.grad(loss, x, create_graph=True)
    (slope * slope).sum().backward()
    assert w.grad.shape == (3, 2)
    assert np.abs(w.grad.numpy()).max() > 0


def test_hooks(backend):
    x = tt.Tensor([1.0, 2.0], requires_grad=True)
    seen = []
    hidden = x * 3
    remove_all = [hidden.register_hook(seen.append), x.register_hook(lambda grad: grad * 10)]
    (hidden + hidden).sum().backward()
    assert [grad.tolist() for grad in seen] == [[2, 2]], "one call, with the complete gradient"
    assert x.grad.tolist() == [60, 60]
    for remove in remove_all:
        remove()
    x.zero_grad()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]
    assert len(seen) == 1
    x.register_hook(lambda grad: grad.sum())
    with pytest.raises(tt.ShapeError, match=r"the hook returned a gradient of shape \(\)"):
        x.sum().backward()
    with pytest.raises(tt.GradientError, match="so it gets no gradient"):
        tt.ones(2).register_hook(seen.append)


def test_backward_refuses_values_changed_in_place():
    x, w = tt.ones(2, requires_grad=True), tt.ones(2, requires_grad=True)
    data = tt.ones(2)
    loss = (w * data).sum()
    data[0] = 5
    with pytest.raises(tt.GradientError, match="that mul needs was changed in place"):
        loss.backward()
    kept = x.exp()
    with tt.no_grad():
        kept.detach()[0] = 0  # a second tensor on the same memory
    with pytest.raises(tt.GradientError, match="that exp needs was changed in place"):
        kept.sum().backward()
    view = data.reshape(2, 1)
    loss = (w * data).sum()
    view[0] = 3
    with pytest.raises(tt.GradientError, match="changed in place"):
        loss.backward()
    optimizer = tt.optim.SGD([w], lr=0.1)
    loss = (w * w).sum()
    w.grad = tt.ones(2)
    optimizer.step()
    with pytest.raises(tt.GradientError, match="changed in place"):
        loss.backward()
    fine = (w + data).sum()  # add's backward doesn't read its operands
    data[0] = 1
    fine.backward()


def test_labels_may_change_after_the_loss(backend):
    x, labels = tt.zeros(2, 3, requires_grad=True), np.array([0, 1])
    loss = tt.cross_entropy(x, labels)
    labels[:] = 10**7
    loss.backward()
    assert x.grad.numpy()[0, 0] == pytest.approx((1 / 3 - 1) / 2)


def test_no_grad_and_enable_grad_nest():
    x = tt.ones(1, requires_grad=True)
    with tt.no_grad():
        assert not tt.is_grad_enabled()
        with tt.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert tt.is_grad_enabled()


def test_anomaly_error_names_the_op_and_the_line(backend):
    x = tt.Tensor([1.0, 0.0], requires_grad=True)
    with np.errstate(all="ignore"), tt.detect_anomaly():
        with pytest.raises(tt.AnomalyError, match=r"^log: .* 0 NaN and 1 infinite of 2") as caught:
            x.log()
        assert f"{os.path.basename(__file__)}:" in str(caught.value)
        y = (x * 2).sqrt()
        with pytest.raises(tt.AnomalyError, match=r"^backward of sqrt: .* sqrt was called at"):
            y.sum().backward()
        already = tt.Tensor([np.nan]) * 2  # the NaN comes from an operand
        assert np.isnan(already.item())
    with np.errstate(all="ignore"):
        assert np.isinf(x.log().numpy()[1])


def test_graph_prints_a_tree(capsys):
    x, w = tt.ones(5, 3), tt.ones(3, 2, requires_grad=True)
    hidden = (x @ w).relu()
    tt.graph((hidden * hidden).sum())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  #")[0] for line in lines] == [
        "sum ()",
        "└── mul (5, 2)",
        "    ├── relu (5, 2)",
        "    │   └── matmul (5, 2)",
        "    │       ├── constant (5, 3) float32",
        "    │       └── leaf (3, 2) float32",
        "    └── relu (5, 2)",
    ]
    assert lines[-1].endswith("(see above)")


@pytest.mark.full
def test_memory_stays_constant_without_the_garbage_collector(backend):
    rng = np.random.default_rng(0)
    x, labels = tt.Tensor(rng.random((20, 30)), "float32"), rng.integers(0, 10, 20)
    w, b = tt.zeros(30, 10, requires_grad=True), tt.zeros(10, requires_grad=True)
    optimizer = tt.optim.SGD([w, b], lr=0.1)

    def train(steps):
        for _ in range(steps):
            loss = tt.cross_entropy(tt.relu(x @ w + b).softmax() * 2, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    gc.collect()
    gc.disable()
    try:
        train(200)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        train(10_000)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB, of the peak
    finally:
        gc.enable()
    assert grown <= 8 * 1024


def test_an_array_operand_may_change_after_the_op(backend):
    w, buffer = tt.ones(2, requires_grad=True), np.array([3.0, 4.0], np.float32)
    loss = (w * buffer).sum()
    buffer[:] = 100
    loss.backward()
    assert w.grad.tolist() == [3, 4]


def test_a_hook_registered_twice_is_removed_once():
    x = tt.ones(1, requires_grad=True)
    hook = lambda grad: grad * 2  # noqa: E731
    first, _ = x.register_hook(hook), x.register_hook(hook)
    first()
    first()
    x.sum().backward()
    assert x.grad.item() == 2
    x.register_hook(lambda grad: grad.astype("float64"))
    with pytest.raises(tt.DTypeError, match="the hook returned a gradient of float64"):
        x.sum().backward()


def test_a_long_graph_is_cut(capsys):
    x = y = tt.ones(1, requires_grad=True)
    for _ in range(1000):
        y = y + 1
    tt.graph(y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 201
    assert lines[-1].startswith("... and more: graph(x, most=2000)")
    del x


# The gradient of a computed tensor ----------------------------------------------------------------


def test_retain_grad_stores_the_gradient_of_a_computed_tensor(backend):
    x = tt.ones(2, requires_grad=True)
    hidden = x * 3
    hidden.retain_grad()
    hidden.retain_grad()  # once is enough
    assert hidden.grad is None
    loss = (hidden * hidden).sum()
    loss.backward(retain_graph=True)
    assert hidden.grad.tolist() == [6, 6]
    assert x.grad.tolist() == [18, 18]
    loss.backward()
    assert hidden.grad.tolist() == [12, 12]  # added, as for leaves
    hidden.zero_grad()
    assert hidden.grad is None


def test_retain_grad_comes_after_the_hooks(backend):
    hidden = tt.ones(2, requires_grad=True) * 3
    hidden.retain_grad()
    hidden.register_hook(lambda grad: grad * 10)
    hidden.sum().backward()
    assert hidden.grad.tolist() == [10, 10]


def test_a_retained_gradient_has_its_own_memory(backend):
    x = tt.ones(2, requires_grad=True)
    hidden = x * 1
    hidden.retain_grad()
    (hidden + x).sum().backward()  # add returns one array as both gradients
    hidden.grad.numpy()[:] = 7
    assert x.grad.tolist() == [2, 2]


def test_retain_grad_keeps_the_graph_of_the_gradient():
    x = tt.Tensor([2.0], requires_grad=True)
    hidden = x * x
    hidden.retain_grad()
    (hidden * hidden).sum().backward(create_graph=True)
    (second,) = tt.grad(hidden.grad.sum(), x)  # d(2 x^2)/dx
    assert second.tolist() == [8]


def test_retain_grad_makes_no_circle():
    hidden = tt.ones(2, requires_grad=True) * 3
    hidden.retain_grad()
    loss, reference = hidden.sum(), weakref.ref(hidden)
    gc.disable()
    try:
        del hidden, loss
        assert reference() is None
    finally:
        gc.enable()


def test_retain_grad_of_a_leaf_changes_nothing():
    x = tt.ones(2, requires_grad=True)
    x.retain_grad()
    x.sum().backward()
    assert x.grad.tolist() == [1, 1]
    with pytest.raises(tt.GradientError, match=r"retain_grad: .*requires_grad=False"):
        tt.ones(2).retain_grad()


def test_reading_a_gradient_that_was_not_stored_warns():
    hidden = tt.ones(2, requires_grad=True) * 3
    hidden.sum().backward()
    with pytest.warns(UserWarning, match=r"computed by mul, .*call x.retain_grad\(\)"):
        assert hidden.grad is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tt.ones(2).grad is tt.ones(2, requires_grad=True).grad is None


def test_a_captured_step_refuses_to_retain_a_gradient(backend):
    x, w = np.ones(2, np.float32), tt.ones(2, requires_grad=True)

    def inside(x):
        hidden = w * tt.from_numpy(x)
        hidden.retain_grad()
        hidden.sum().backward()

    with pytest.raises(tt.CaptureError, match=r"retain_grad\(\) stores .*tt.grad\(loss, x\)"):
        tt.capture(inside)(x)
    step = tt.capture(lambda x: tt.grad((w * tt.from_numpy(x)).sum(), w)[0])
    assert [step(i * x).tolist() for i in range(3)] == [[0, 0], [1, 1], [2, 2]]
    outside = w * 3
    outside.retain_grad()

    def through(x):
        (outside * tt.from_numpy(x)).sum().backward(retain_graph=True)

    step = tt.capture(through)
    with pytest.raises(tt.CaptureError):
        _ = step(x), step(x)


@pytest.mark.parametrize(
    ("grad", "error", "words"),
    [
        (tt.ones(3), tt.ShapeError, r"got shape \(3,\) for x of shape \(2,\)"),
        (tt.ones(2, dtype="float64"), tt.DTypeError, "got float64 for x of float32"),
        (np.ones(2, np.float32), tt.NotSupported, "got a ndarray; a Tensor is needed"),
        ("a", tt.NotSupported, "got a str"),
    ],
)
def test_a_gradient_fits_its_tensor(grad, error, words):
    x = tt.ones(2, requires_grad=True)
    with pytest.raises(error, match=words):
        x.grad = grad
    assert x.grad is None


@pytest.mark.parametrize("arguments", [(1, 2), (None, tt.ones(1)), (tt.ones(1), 3)])
def test_gradients_of_other_things_than_tensors_raise(arguments):
    with pytest.raises(tt.NotSupported, match=r"grad: got a .*; tensors are needed"):
        tt.grad(*arguments)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_grad_names_the_kind_of_an_argument_that_is_no_tensor(shape):
    x = tt.ones(3, requires_grad=True)
    loss, array = (x * 2).sum(), np.ones(shape)
    for arguments in (loss, array), (array, x), (loss, [array]), (loss, x, array):
        with pytest.raises(tt.TinytensorError, match="ndarray"):
            tt.grad(*arguments)
