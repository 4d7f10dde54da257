"""Every op: its results, its gradients, its errors."""

import warnings

import numpy as np
import pytest
from cases import OPS, Op, kind
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import ops

CELLS = [(op, shapes) for op in OPS for shapes in op.shapes]
IDS = [f"{op}-{'-'.join(map(str, shapes)).replace(' ', '')}" for op, shapes in CELLS]
GRADIENTS = [(op, shapes) for op, shapes in CELLS if op.gradient]
GRADIENT_IDS = [i for i, (op, _) in zip(IDS, CELLS, strict=True) if op.gradient]
QUIET = pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning", "ignore:Mean of empty")


@QUIET
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("op", "shapes"), CELLS, ids=IDS)
def test_forward(backend, op: Op, shapes, dtype, cell):
    cell(op.op, dtype, kind(shapes), "forward")
    operands = op.operands(shapes, dtype)
    result = op.function(*operands)
    wanted = op.reference(*(x.numpy().astype(np.float64) for x in operands))
    tolerance = op.tolerance if dtype == "float32" else op.tolerance * 1e-6
    assert result.shape == np.shape(wanted)
    assert result.dtype == (dtype if op.gradient else result.dtype)
    assert not result.requires_grad
    np.testing.assert_allclose(result.numpy(), wanted, rtol=tolerance, atol=tolerance)


WITH = {op.op for op in OPS if op.gradient}
WITHOUT = [(op, shapes) for op, shapes in CELLS if op.op not in WITH]


@QUIET
@pytest.mark.parametrize(("op", "shapes"), WITHOUT, ids=lambda x: str(x).replace(" ", ""))
def test_result_of_an_op_without_gradient_requires_none(op: Op, shapes):
    try:
        result = op.function(*op.operands(shapes, "float64", requires_grad=True))
    except tt.GradientError:
        return  # it refuses to lose a gradient
    assert not result.requires_grad
    assert result.node is None


@QUIET
@pytest.mark.parametrize(("op", "shapes"), GRADIENTS, ids=GRADIENT_IDS)
def test_gradient(backend, op: Op, shapes, cell):
    cell(op.op, "float64", kind(shapes), "gradient")
    assert tt.gradcheck(op.function, op.operands(shapes, "float64", requires_grad=True))


@QUIET
@pytest.mark.parametrize(("op", "shapes"), GRADIENTS, ids=GRADIENT_IDS)
def test_gradient_in_float32(backend, op: Op, shapes, cell):
    """Compared with the gradient in float64, which test_gradient checks."""
    cell(op.op, "float32", kind(shapes), "gradient")
    grads = {}
    for dtype in ("float32", "float64"):
        operands = [tt.cast(x, dtype) for x in op.operands(shapes, "float32")]
        operands = [x.clone().requires_grad_() for x in operands]
        result = op.function(*operands)
        if result.requires_grad:
            weights = np.cos(np.arange(result.size)).reshape(result.shape)
            result.backward(tt.Tensor(weights, dtype))
        grads[dtype] = [None if x.grad is None else x.grad.numpy() for x in operands]
    for single, double in zip(grads["float32"], grads["float64"], strict=True):
        assert (single is None) == (double is None)
        if single is not None:
            assert single.dtype == np.float32
            scale = max(1.0, np.abs(double).max(initial=0))
            np.testing.assert_allclose(single, double, atol=10 * op.tolerance * scale)


@QUIET
@pytest.mark.parametrize(("op", "shapes"), GRADIENTS, ids=GRADIENT_IDS)
def test_second_derivative(op: Op, shapes):
    with tt.backend("numpy"):  # backward is made of ops, and all backends are compared above
        operands = op.operands(shapes, "float64", requires_grad=True)
        assert tt.gradgradcheck(op.function, operands, directions=1, tolerance=2e-6)


def test_a_mask_is_changed_in_place(backend):
    x = tt.tensor([1.0, 2.0, 3.0], requires_grad=True)
    mask = x > [1.0, 0.0, 0.0]
    mask[2] = False
    mask &= x < 3
    np.testing.assert_array_equal(mask.numpy(), [False, True, False])
    with pytest.raises(tt.GradientError, match="has no graph"):
        mask.sum().backward()


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_cross_entropy_is_stable(backend, scale):
    logits = tt.Tensor([[scale, 0.0, -scale], [0.0, scale, 0.0]], requires_grad=True)
    loss = tt.cross_entropy(logits, [0, 2])
    loss.backward()
    wanted = {1e4: (0 + 1e4) / 2, -1e4: (2e4 + np.log(2)) / 2}[scale]
    assert loss.item() == pytest.approx(wanted, rel=1e-6)
    assert np.isfinite(logits.grad.numpy()).all()
    np.testing.assert_allclose(logits.grad.numpy().sum(axis=1), 0, atol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_mean_of_no_rows_is_nan(backend):
    logits = tt.zeros(0, 10, requires_grad=True)
    loss = tt.cross_entropy(logits, np.zeros(0, np.int64))
    assert np.isnan(loss.item())
    loss.backward()
    assert logits.grad.shape == (0, 10)
    assert np.isnan(tt.mean(tt.zeros(0)).item())


def test_extreme_inputs(backend):
    x = tt.Tensor([-1e4, -100.0, 0.0, 100.0, 1e4])
    np.testing.assert_allclose(tt.sigmoid(x).numpy(), [0, 3.8e-44, 0.5, 1, 1], atol=1e-44)
    np.testing.assert_array_equal(tt.softmax(x).numpy(), [0, 0, 0, 0, 1])
    nan = tt.Tensor([np.nan, -1.0, 1.0])
    np.testing.assert_array_equal(tt.relu(nan).numpy(), [np.nan, 0, 1])
    assert tt.argmax(nan).item() == 0


# Dtypes


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda: tt.Tensor([1, 2]) * 2, "int64"),
        (lambda: tt.Tensor([1, 2]) * 2.5, "float64"),
        (lambda: tt.Tensor([1, 2]) / 2, "float64"),
        (lambda: tt.Tensor([1, 2], "int32") + tt.Tensor([1, 2], "int64"), "int64"),
        (lambda: tt.Tensor([1, 2], "uint8") + 3, "uint8"),
        (lambda: tt.Tensor([1, 2], "uint8") / 2, "float64"),
        (lambda: tt.Tensor([1, 2], "int32") + tt.ones(2), "float64"),
        (lambda: tt.Tensor([1, 2], "uint8") + tt.ones(2), "float32"),
        (lambda: tt.ones(2) + np.ones(2), "float64"),
        (lambda: tt.ones(2) * 2.5, "float32"),
        (lambda: tt.ones(2) * np.float64(2.5), "float32"),
        (lambda: tt.ones(2) * np.int64(3), "float32"),
        (lambda: tt.ones(2) / 3, "float32"),
        (lambda: tt.ones(2) * True, "float32"),
        (lambda: tt.ones(2) * [1.0, 2.0], "float32"),
        (lambda: tt.Tensor([True, False]) + 1, "int64"),
        (lambda: tt.Tensor([True, False]) & tt.Tensor([True, True]), "bool"),
        (lambda: tt.Tensor([1, 2]) < 2, "bool"),
        (lambda: tt.Tensor([1, 2]).exp(), "float64"),
        (lambda: tt.Tensor([1, 2], "uint8").exp(), "float32"),
        (lambda: tt.Tensor([1, 2]).abs(), "int64"),
        (lambda: tt.Tensor([1, 2]).floor(), "int64"),
        (lambda: tt.Tensor([1, 2], "uint8").sum(), "int64"),
        (lambda: tt.Tensor([True, True]).sum(), "int64"),
        (lambda: tt.Tensor([1, 2]).mean(), "float64"),
        (lambda: tt.Tensor([1, 2]).max(), "int64"),
        (lambda: tt.Tensor([1, 2]).prod(), "int64"),
        (lambda: tt.Tensor([[1, 2]]) @ tt.Tensor([1, 2]), "int64"),
        (lambda: tt.concat([tt.ones(2), tt.Tensor([1])]), "float64"),
        (lambda: tt.where(np.array([True]), tt.ones(1), 2.5), "float32"),
        (lambda: tt.Tensor([1, 2]).argmax(), "int64"),
    ],
)
def test_dtypes_combine_as_in_numpy_but_a_number_never_widens(backend, make, dtype):
    assert make().dtype == dtype


def test_integers_and_booleans_are_computed_exactly(backend):
    x, y = tt.Tensor([7, -7, 2**53 + 1]), tt.Tensor([2, 2, 3])
    for op in (
        np.add, np.subtract, np.multiply, np.floor_divide, np.mod, np.maximum, np.minimum,
        np.equal, np.less, np.less_equal,
    ):  # fmt: skip
        name = {"subtract": "sub", "multiply": "mul", "floor_divide": "floor_div"}
        result = getattr(
            tt, name.get(op.__name__, {"remainder": "mod"}.get(op.__name__, op.__name__))
        )(x, y)
        np.testing.assert_array_equal(result.numpy(), op(x.numpy(), y.numpy()))
        assert result.dtype == op(x.numpy(), y.numpy()).dtype
    np.testing.assert_array_equal((x**2)[:2].numpy(), [49, 49])
    np.testing.assert_array_equal(x.cumsum().numpy(), np.cumsum(x.numpy()))
    np.testing.assert_array_equal(x[::-1].reshape(3, 1).T.numpy(), [x.numpy()[::-1]])
    np.testing.assert_array_equal(tt.where(x > 0, x, 0).numpy(), [7, 0, 2**53 + 1])
    np.testing.assert_array_equal(tt.relu(x).numpy(), [7, 0, 2**53 + 1])
    assert (x.max().item(), x.min().item(), x.argmin().item()) == (2**53 + 1, -7, 1)
    mask = tt.Tensor([True, False, True])
    np.testing.assert_array_equal((~mask).numpy(), [False, True, False])
    np.testing.assert_array_equal((mask ^ (x < 0)).numpy(), [True, True, True])
    np.testing.assert_array_equal(tt.concat([mask, mask]).numpy(), [True, False, True] * 2)


def test_nan_is_not_lost(backend):
    x = tt.Tensor([1.0, np.nan, 2.0])
    for result in (x.max(), x.min(), x.sum(), x.relu()[1], x.clip(0, 1)[1], x.maximum(5)[1]):
        assert np.isnan(result.item())
    assert x.any().item()
    assert (x.argmax().item(), x.argmin().item()) == (1, 1)
    image = tt.Tensor(np.array([[-np.inf, np.nan], [1, 2]]).reshape(1, 2, 2, 1), "float32")
    assert np.isnan(tt.max_pool2d(image, 2).item())
    assert tt.max_pool2d(tt.full((1, 2, 2, 1), -np.inf), 2, 1, 1).numpy().max() == -np.inf


# Dropout


def test_dropout(backend):
    x = tt.ones(100, 50, requires_grad=True)
    tt.manual_seed(3)
    first = tt.dropout(x, keep_prob=0.75)
    second = tt.dropout(x, keep_prob=0.75)
    tt.manual_seed(3)
    np.testing.assert_array_equal(tt.dropout(x, keep_prob=0.75).numpy(), first.numpy())
    assert not np.array_equal(first.numpy(), second.numpy())
    assert set(np.unique(first.numpy())) == {0, np.float32(1 / 0.75)}
    assert 0.72 < (first.numpy() > 0).mean() < 0.78
    first.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), first.numpy())
    assert tt.dropout(x, keep_prob=0.75, training=False) is x
    images = tt.dropout(tt.ones(5, 4, 4, 8), keep_prob=0.5, channels=True).numpy()
    assert (images == images[:, :1, :1]).all()
    assert 0.2 < (images[:, 0, 0] > 0).mean() < 0.8


def test_dropout_masks_are_alike_on_all_backends():
    masks = []
    for name in BACKENDS:
        with tt.backend(name):
            tt.manual_seed(5)
            masks += [
                tt.dropout(tt.ones(3, 1001), keep_prob=0.6).numpy(),
                tt.dropout(tt.ones(7)).numpy(),
            ]
    for i in range(2, len(masks)):
        np.testing.assert_array_equal(masks[i], masks[i % 2])


# PyTorch's names


def test_torch_spellings():
    x = tt.Tensor([[1.0, 2.0], [3.0, 5.0]])
    np.testing.assert_array_equal(x.sum(dim=1, keepdim=True).numpy(), [[3], [8]])
    np.testing.assert_array_equal(x.mean(dim=0).numpy(), [2, 3.5])
    np.testing.assert_array_equal(x.argmax(dim=1).numpy(), [1, 1])
    np.testing.assert_array_equal(x.softmax(dim=0).numpy(), tt.softmax(x, 0).numpy())
    np.testing.assert_array_equal(tt.cat([x, x], 1).numpy(), np.concatenate([x, x], 1))
    np.testing.assert_array_equal(x.view(4).numpy(), [1, 2, 3, 5])
    np.testing.assert_array_equal(x.masked_fill(x > 2, 0).numpy(), [[1, 2], [0, 0]])


# Tensors in lists


IN_LISTS = {
    "x * [a, b]": lambda x, a, b: x * [a, b],
    "(a, b) - x": lambda x, a, b: (a, b) - x,
    "x @ [a, b]": lambda x, a, b: x @ [a, b],
    "mean": lambda x, a, b: tt.mean([a, b]) * x,
    "std": lambda x, a, b: tt.std([a, b, 3]) * x,
    "norm": lambda x, a, b: tt.norm([a, b]) * x,
    "where": lambda x, a, b: tt.where([True, False], [a, b], x) * b,
    "clip": lambda x, a, b: tt.clip(x, [a, b], [9 * a, b + 1]),
    "masked_fill": lambda x, a, b: tt.masked_fill(x, [True, False], [a, b]) * b,
    "concat": lambda x, a, b: tt.concat([[a, b], x]),
    "stack": lambda x, a, b: tt.stack([x, [a, 2 * b]]),
    "linear": lambda x, a, b: tt.linear([x], [[1.0, 2.0], [a, 4.0]], [a, b]),
    "layer_norm": lambda x, a, b: tt.layer_norm([x, x * x], [a, b], (b, 3.0)),
    "batch_norm": lambda x, a, b: tt.batch_norm([x, x * x], [a, b], [2, b]),
    "cross_entropy": lambda x, a, b: tt.cross_entropy([x], [[a, b]]),
    "nested": lambda x, a, b: tt.sum([[[a, 1], (2, b)], [[3, 4], x]], axis=0),
    "einsum": lambda x, a, b: tt.einsum("i,ij->j", x, [[a, 1], [2, b]]),
    "power": lambda x, a, b: [a, b] ** x,
}


@pytest.mark.parametrize("name", IN_LISTS)
def test_gradients_flow_to_tensors_in_lists(backend, name):
    x, a, b = (
        tt.Tensor(values, "float64", requires_grad=True) for values in ([3.0, 0.7], 1.3, 0.9)
    )
    assert IN_LISTS[name](x, a, b).dtype == np.float64
    tt.gradcheck(IN_LISTS[name], (x, a, b))
    for leaf in (x, a, b):
        leaf.grad = None
    IN_LISTS[name](x, a, b).sum().backward()
    assert a.grad is not None
    assert b.grad is not None


@pytest.mark.parametrize(
    "op", [tt.unique, lambda x: tt.cross_entropy(tt.ones(3, 2), [0, 1, 1], weight=x)]
)
def test_an_op_without_a_gradient_refuses_tensors_in_lists_too(op):
    a = tt.Tensor(2.0, requires_grad=True)
    with pytest.raises(tt.GradientError, match="no gradient flows to it"):
        op([a, 1.0])
    assert not op([a.detach(), 1.0]).requires_grad


def test_numbers_next_to_tensors_in_a_list_take_their_dtype():
    a = tt.Tensor(1.5, requires_grad=True)
    assert tt.sum([a, 1]).dtype == np.float32
    assert tt.sum([[2, 3], [a, True]]).dtype == np.float32
    assert tt.sum([a, 2.5]).item() == 4
    assert tt.sum([a.astype("float64"), 1, a]).dtype == np.float64
    assert tt.sum([tt.Tensor(1), 0.5]).item() == 1.5
    assert (tt.ones(2) * [tt.Tensor(1), 2]).dtype == (tt.ones(2) * tt.Tensor([1, 2])).dtype
    with tt.no_grad():
        assert not tt.mean([a, a]).requires_grad


def test_a_captured_step_follows_tensors_in_lists():
    w = tt.Tensor([1.0, 2.0], requires_grad=True)

    @tt.capture
    def step(x):
        w.zero_grad()
        loss = (x * [w[0], w[1] * x[0]]).sum()
        loss.backward()
        return loss

    for i in range(1, 6):
        x = tt.Tensor([float(i), 2.0])
        assert step(x).item() == i + 2 * 2 * i
        assert w.grad.tolist() == [i, 2 * i]


def test_tuples_are_indices_as_in_numpy(backend):
    array = np.arange(27.0).reshape(3, 3, 3)
    for key in (
        ((0, 1), (1, 2)),
        ((0, 1), slice(None)),
        (((0, 1),),),
        ([0, 1], (1, 2)),
        (..., (2, 0)),
        (((0, 1), (2, 0)),),
        ((),),
        ((True, False, True),),
        range(2),
        (slice(None), range(2, -1, -1)),
        (0, (1, 2)),
    ):
        np.testing.assert_array_equal(tt.Tensor(array)[key].numpy(), array[key])
        x, changed = tt.Tensor(array), array.copy()
        x[key] = -1
        changed[key] = -1
        np.testing.assert_array_equal(x.numpy(), changed)


def test_layer_norm_over_other_axes(backend):
    x = tt.randn(2, 3, 4)
    for axis, shape in (((1, 2), (3, 4)), (0, (2,)), ((0, -1), (2, 4))):
        gamma, beta = tt.randn(*shape), tt.randn(*shape)
        plain = tt.layer_norm(x, axis=axis)
        over = np.expand_dims(gamma.numpy(), [a for a in range(3) if a not in np.r_[axis] % 3])
        wanted = plain.numpy() * over + beta.numpy().reshape(over.shape)
        got = tt.layer_norm(x, gamma, beta, axis)
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-5, atol=1e-6)


# Errors


SCALAR = tt.Tensor(0.5, requires_grad=True)
ERRORS = [
    (lambda: tt.ones(2, 3) + tt.ones(2, 4), tt.ShapeError, r"add: the shapes don't broadcast"),
    (lambda: tt.ones(2, 3) @ tt.ones(2, 3), tt.ShapeError, "did you mean transpose_y=True"),
    (lambda: tt.ones(2, 3) @ tt.ones(4, 5), tt.ShapeError, r"did you mean a \(3, 5\) y"),
    (lambda: tt.ones(2, 2, 3) @ tt.ones(3, 3, 3), tt.ShapeError, "matmul, batches: the shapes"),
    (lambda: tt.ones(()) @ tt.ones(3), tt.ShapeError, "a scalar is not a matrix"),
    (lambda: tt.linear(tt.ones(2, 3), tt.ones(4, 5)), tt.ShapeError, "linear: inner sizes differ"),
    (lambda: tt.Tensor([True]) - tt.Tensor([True]), tt.DTypeError, "sub: of bool"),
    (lambda: -tt.Tensor([True]), tt.DTypeError, "neg: of bool"),
    (lambda: tt.Tensor([2]) ** -1, tt.DTypeError, "pow: of int64"),
    (lambda: tt.Tensor([2], "uint8") + 300, tt.DTypeError, "300 doesn't fit into uint8"),
    (lambda: tt.ones(2) + 2j, tt.DTypeError, "a real number is needed"),
    (lambda: tt.ones(2) + "1", tt.NotSupported, "add: got '1'"),
    (lambda: tt.ones(2) + None, tt.NotSupported, "add: got None"),
    (lambda: tt.where([1], 2, 3), tt.DTypeError, "where: got a condition of int64"),
    (lambda: tt.ones(2, 3).sum(axis=2), tt.ShapeError, "sum: got axis 2; the tensor has axes -2"),
    (lambda: tt.ones(2, 3).sum(axis=(0, -2)), tt.ShapeError, "an axis occurs twice"),
    (lambda: tt.ones(2, 3).sum(axis=1.5), tt.ShapeError, "sum: got axis 1.5; a whole number"),
    (lambda: tt.ones(()).cumsum(0), tt.ShapeError, "cumsum: got axis 0; the tensor has no axes"),
    (lambda: tt.ones(2, 3).reshape(4), tt.ShapeError, r"6 elements; they don't fit into \(4,\)"),
    (lambda: tt.ones(2, 3).permute(0, 0), tt.ShapeError, "permute: got axes"),
    (lambda: tt.ones(2, 3).transpose(0, 2), tt.ShapeError, "transpose: got axis 2"),
    (lambda: tt.ones(2, 3).squeeze(0), tt.ShapeError, "an axis of size 1 is needed"),
    (lambda: tt.ones(2, 3).flatten(1, 0), tt.ShapeError, "start must not be after end"),
    (lambda: ops.sum_to(tt.ones(2, 3), (2,)), tt.ShapeError, "sum_to: .*doesn't broadcast"),
    (
        lambda: tt.broadcast_to(tt.ones(2, 3), (2,)),
        tt.ShapeError,
        "broadcast_to: x doesn't broadcast",
    ),
    (lambda: tt.argmax(tt.zeros(0)), tt.ShapeError, "argmax: .*there is no element to compare"),
    (lambda: tt.max(tt.zeros(0, 3), 0), tt.ShapeError, "max: .*there is no element to compare"),
    (lambda: tt.argmax(tt.zeros(2, 2), (0, 1)), tt.ShapeError, "a whole number is needed"),
    (lambda: tt.norm(tt.ones(2), 3), tt.SettingError, "norm: got ord=3"),
    (lambda: tt.softmax(tt.ones(())), tt.ShapeError, "softmax: got axis -1; .* no axes"),
    (lambda: tt.softmax(tt.ones(2), None), tt.ShapeError, "softmax: got axis None"),
    (lambda: tt.softmax(tt.ones(2), norm=3), tt.SettingError, "softmax: got norm=3"),
    (lambda: tt.concat([]), tt.ShapeError, "concat: got no tensor"),
    (lambda: tt.concat([tt.ones(2, 3), tt.ones(3, 2)]), tt.ShapeError, "another axis than 0"),
    (lambda: tt.stack([tt.ones(2), tt.ones(3)]), tt.ShapeError, "stack: the shapes differ"),
    (lambda: tt.stack([]), tt.ShapeError, "stack: got no tensor"),
    (lambda: tt.stack(None), tt.NotSupported, "stack: got None; a list of tensors is needed"),
    (lambda: tt.split(tt.ones(5), [2, 2]), tt.ShapeError, "together they must be 5"),
    (lambda: tt.split(tt.ones(5), 0), tt.ShapeError, "split: got size 0"),
    (lambda: tt.repeat(tt.ones(3), [1, 2], 0), tt.ShapeError, "repeat: got repeats"),
    (lambda: tt.pad(tt.ones(3), -1), tt.ShapeError, "pad: got widths -1"),
    (lambda: tt.ones(3)[3], tt.IndexingError, r"index: x has shape \(3,\): index 3 is out of"),
    (lambda: tt.ones(3)[0, 0], tt.IndexingError, "2 indices for 1 axes"),
    (lambda: tt.ones(3)[[0.5]], tt.IndexingError, "got float64; integers or bool"),
    (lambda: tt.ones(3)["a"], tt.IndexingError, "got 'a'"),
    (lambda: tt.ones(3)[1.5], tt.IndexingError, "got 1.5"),
    (lambda: tt.ones(3)[[True, False]], tt.IndexingError, "boolean"),
    (lambda: tt.take(tt.ones(3), 5), tt.IndexingError, "out of bounds"),
    (lambda: tt.take(tt.ones(3), 0.5), tt.DTypeError, "take: got an index of float32"),
    (lambda: tt.gather(tt.ones(3), [[0]], 0), tt.ShapeError, "gather: index doesn't fit"),
    (lambda: tt.einsum("ij,jk", tt.ones(2)), tt.ShapeError, "einsum: got 'ij,jk' for 1 operands"),
    (lambda: tt.einsum("ij", tt.ones(2)), tt.ShapeError, "a letter for each axis"),
    (lambda: tt.einsum("i,i", tt.ones(2), tt.ones(3)), tt.ShapeError, "'i' is 2 in one place"),
    (lambda: tt.einsum("..i", tt.ones(2)), tt.ShapeError, "letters for each"),
    (lambda: tt.einsum("...i...", tt.ones(2)), tt.ShapeError, "letters for each"),
    (lambda: tt.einsum("i->...i", tt.ones(2)), tt.ShapeError, "letters for each"),
    (lambda: tt.einsum("...ij", tt.ones(2)), tt.ShapeError, "a letter for each axis is needed"),
    (
        lambda: tt.einsum("...i,...i", tt.ones(2, 3), tt.ones(4, 3)),
        tt.ShapeError,
        "axes of ...: the shapes don't broadcast",
    ),
    (lambda: tt.outer(tt.ones(2, 2), tt.ones(2)), tt.ShapeError, "two vectors are needed"),
    (lambda: tt.cross_entropy(tt.ones(3), [0]), tt.ShapeError, r"\(R, C\) is needed"),
    (lambda: tt.cross_entropy(tt.ones(2, 3), [0]), tt.ShapeError, r"labels of shape \(1,\)"),
    (lambda: tt.cross_entropy(tt.ones(1, 3), [3]), tt.LabelError, "label 3; with 3 classes"),
    (lambda: tt.cross_entropy(tt.ones(1, 3), [-1]), tt.LabelError, "got label -1"),
    (lambda: tt.cross_entropy(tt.ones(1, 3), [0.5]), tt.DTypeError, "labels of float32"),
    (lambda: tt.cross_entropy(tt.ones(2, 3), [[0], [1, 2]]), tt.ShapeError, "different lengths"),
    (lambda: tt.cross_entropy(tt.ones(1, 3), [0], "all"), tt.SettingError, "reduction='all'"),
    (lambda: tt.mse_loss(tt.ones(2), tt.ones(3)), tt.ShapeError, "mse_loss: the shapes differ"),
    (lambda: tt.one_hot([0, 9], 9), tt.LabelError, "one_hot: got label 9"),
    (lambda: tt.one_hot([0], 3, dtype="nope"), tt.DTypeError, "one_hot: got nope"),
    (lambda: tt.one_hot([0], 2.0), tt.SettingError, "one_hot: got classes=2.0"),
    (lambda: tt.dropout(tt.ones(2), keep_prob=0), tt.SettingError, "dropout: got keep_prob=0"),
    (
        lambda: tt.dropout(tt.ones(2), keep_prob=0.5, channels=True),
        tt.ShapeError,
        "channels are the last",
    ),
    (lambda: tt.conv2d(tt.ones(1, 5, 5, 2), tt.ones(3, 3, 1, 1)), tt.ShapeError, "channels that"),
    (lambda: tt.conv2d(tt.ones(1, 2, 2, 1), tt.ones(3, 3, 1, 1)), tt.ShapeError, "doesn't fit"),
    (
        lambda: tt.conv2d(tt.ones(1, 5, 5, 1), tt.ones(3, 3, 1, 1), stride=0),
        tt.SettingError,
        "conv2d: got stride=0",
    ),
    (
        lambda: tt.conv2d(tt.ones(1, 5, 5, 1), tt.ones(3, 3, 1, 1), padding="full"),
        tt.SettingError,
        "padding='full'",
    ),
    (lambda: tt.max_pool2d(tt.ones(5, 5), 2), tt.ShapeError, r"images \(N, H, W, C\)"),
    (lambda: tt.max_pool2d(tt.ones(1, 5, 5, 1), 2, 2, 2), tt.SettingError, "reach into"),
    (lambda: tt.batch_norm(tt.ones(())), tt.ShapeError, "batch_norm: got a scalar"),
    (lambda: tt.cast(tt.ones(2), "float16"), tt.DTypeError, "cast: got float16"),
    (lambda: tt.ones(2, 3) > tt.ones(4), tt.ShapeError, "greater: the shapes don't broadcast"),
    (lambda: tt.ones(3) @ tt.ones(4, 5), tt.ShapeError, r"x  \(3,\)"),
    (
        lambda: tt.matmul(tt.ones(2, 3), tt.ones(3, 2), transpose_y=True),
        tt.ShapeError,
        "did you mean transpose_y=False",
    ),
    (lambda: tt.where(tt.ones(3) > 0, tt.ones(2), 1), tt.ShapeError, r"condition  \(3,\)"),
    (lambda: tt.ones(3).masked_fill(tt.ones(2, 3) > 0, 0), tt.ShapeError, "mask doesn't fit"),
    (lambda: tt.ones(3).any(axis=1), tt.ShapeError, "any: got axis 1"),
    (lambda: tt.ones(3).std(axis=1), tt.ShapeError, "std: got axis 1"),
    (lambda: tt.layer_norm(tt.ones(3), axis=1), tt.ShapeError, "layer_norm: got axis 1"),
    (
        lambda: tt.linear(tt.ones(2, 3), tt.ones(3, 4), tt.ones(5, 1, 1)),
        tt.ShapeError,
        "linear: bias doesn't fit",
    ),
    (
        lambda: tt.batch_norm(tt.ones(2, 3), tt.ones(2, 1)),
        tt.ShapeError,
        "batch_norm: gamma doesn't fit",
    ),
    (lambda: tt.Tensor([1, 2]) & 2, tt.DTypeError, "&: got int64; bool is needed"),
    (lambda: ~tt.Tensor([1, 2]), tt.DTypeError, "~: got int64"),
    (lambda: tt.pad(tt.ones(2), 1.5), tt.ShapeError, "pad: got widths 1.5"),
    (lambda: tt.pad(tt.ones(2), 1, "a"), tt.SettingError, "pad: got value='a'"),
    (lambda: tt.pad(tt.zeros(1, dtype="uint8"), 1, 300), tt.DTypeError, "pad: .*uint8 holds"),
    (lambda: tt.pad(tt.arange(2), 1, np.nan), tt.DTypeError, "pad: .*int64 holds values"),
    (lambda: tt.pad(tt.ones(2), 1, SCALAR), tt.GradientError, r"got value .*value.detach\(\)"),
    (lambda: tt.dropout(tt.ones(2), keep_prob="a"), tt.SettingError, "dropout: got keep_prob='a'"),
    (
        lambda: tt.dropout(tt.ones(2), 0.5),
        tt.SettingError,
        r"dropout: got 0\.5 without a name; keep_",
    ),
    (lambda: tt.dropout(tt.ones(2), p=1), tt.SettingError, "dropout: got p=1; a number from 0 up,"),
    (
        lambda: tt.dropout(tt.ones(2), keep_prob=0.5, p=0.5),
        tt.SettingError,
        r"dropout: got keep_prob=0\.5 and p=0\.5; keep_prob=\.\.\.",
    ),
    (
        lambda: tt.batch_norm(tt.ones(1, 2)),
        tt.ShapeError,
        r"batch_norm: got shape \(1, 2\), one value per channel; at least two",
    ),
    (
        lambda: tt.dropout(tt.ones(2), keep_prob=SCALAR),
        tt.GradientError,
        "dropout: got keep_prob with",
    ),
    (lambda: tt.nn.Dropout(keep_prob="a"), tt.SettingError, "Dropout: got keep_prob='a'"),
    (lambda: tt.var(tt.ones(2), correction="a"), tt.SettingError, "var: got correction='a'"),
    (lambda: tt.std(tt.ones(2), correction=None), tt.SettingError, "std: got correction=None"),
    (
        lambda: tt.layer_norm(tt.ones(2), epsilon="a"),
        tt.SettingError,
        "layer_norm: got epsilon='a'",
    ),
    (lambda: tt.layer_norm(tt.ones(2), epsilon=np.nan), tt.SettingError, "got epsilon=nan"),
    (
        lambda: tt.batch_norm(tt.ones(2), epsilon="a"),
        tt.SettingError,
        "batch_norm: got epsilon='a'",
    ),
    (lambda: tt.batch_norm(tt.ones(2), mean_=[0, 0]), tt.SettingError, "got mean_ alone"),
    (lambda: tt.batch_norm(tt.ones(2), var_=[1, 1]), tt.SettingError, "got var_ alone"),
    (
        lambda: tt.layer_norm(tt.ones(1, 2, 2), (2, 2)),
        tt.SettingError,
        r"got gamma=\(2, 2\); PyTorch's second argument is a shape, which is axis=\(-2, -1\)",
    ),
    (lambda: tt.layer_norm(tt.ones(2, 3), 3), tt.ShapeError, r"gamma doesn't fit[^$]*\(3,\), is"),
    (lambda: tt.layer_norm(tt.ones(2, 3), tt.ones(1)), tt.ShapeError, "gamma doesn't fit"),
    (lambda: tt.layer_norm(tt.ones(2, 3), None, tt.ones(2, 1)), tt.ShapeError, "beta doesn't fit"),
    (lambda: tt.layer_norm(tt.ones(2, 3), tt.ones(4, 2, 3)), tt.ShapeError, "gamma doesn't fit"),
    (lambda: tt.embedding(tt.ones(4), [0]), tt.ShapeError, r"weight of shape \(4,\); \(N, C\)"),
    (lambda: tt.embedding(tt.ones(4, 3, 2), [0]), tt.ShapeError, "embedding: got weight of shape"),
    (lambda: tt.broadcast_to(tt.ones(2), "a"), tt.ShapeError, "broadcast_to: got the sizes"),
    (lambda: tt.broadcast_to(tt.ones(2), 2.0, 2), tt.ShapeError, "broadcast_to: got the sizes"),
    (lambda: tt.reshape(tt.ones(2), None), tt.ShapeError, "reshape: got the sizes"),
    (lambda: tt.permute(tt.ones(2), "a"), tt.ShapeError, "permute: got the axes"),
    (lambda: tt.repeat(tt.ones(2), 1.5), tt.ShapeError, "repeat: got repeats 1.5"),
    (lambda: tt.repeat(tt.ones(2), [1.5, 2]), tt.ShapeError, r"repeat: got repeats \[1.5, 2\]"),
    (lambda: tt.repeat(tt.ones(2), 2**70), tt.ShapeError, "repeat: got repeats"),
    (lambda: tt.split(tt.ones(2), ["a"]), tt.ShapeError, r"split: got the sizes \['a'\]"),
    (lambda: tt.split(tt.ones(2), [1.0, 1.0]), tt.ShapeError, "split: got the sizes"),
    (lambda: tt.stack(None), tt.NotSupported, "stack: got None"),
    (lambda: tt.concat(object()), tt.NotSupported, "concat: got <object"),
    (lambda: tt.ones(3)[((0, 1), (1,)),], tt.IndexingError, "its rows have different lengths"),
    (lambda: tt.ones(3)[((0.5,),)], tt.IndexingError, "got float64; integers or bool"),
    (lambda: tt.ones(3)[((slice(None),),)], tt.IndexingError, "got object; integers or bool"),
    (lambda: tt.mean([SCALAR, "a"]), tt.NotSupported, "mean: got 'a'"),
    (lambda: tt.ones(2) * [SCALAR, [SCALAR]], tt.ShapeError, "stack: the shapes differ"),
    (lambda: tt.split(tt.ones(2), None), tt.ShapeError, "split: got sizes None"),
    (lambda: tt.concat(5), tt.NotSupported, "concat: got 5"),
    (lambda: tt.einsum(tt.ones(2), tt.ones(2)), tt.NotSupported, "a formula 'ij,jk->ik' comes"),
    (lambda: tt.ones(3)[[[0, 1], [1]]], tt.IndexingError, "its rows have different lengths"),
    (lambda: tt.grad(tt.ones(()), [np.ones(1)]), tt.NotSupported, "grad: got a ndarray"),
    (lambda: tt.graph(3.0), tt.NotSupported, "graph: got a float"),
    (lambda: tt.from_dlpack(5), tt.NotSupported, "from_dlpack: got a int"),
    *(
        (
            lambda how=how: tt.conv2d(tt.ones(1, 5, 5, 1), tt.ones(3, 3, 1, 1), **how),
            tt.SettingError,
            f"conv2d: got {next(iter(how))}=",
        )
        for how in (
            {"padding": (1, 1, 1, 1)},
            {"padding": None},
            {"stride": 1.5},
            {"stride": (1.5, 1)},
            {"stride": 2**63},
        )
    ),
]


def test_settings_may_be_numpy_integers():
    one, x = np.int64(1), tt.ones(1, 4, 4, 1)
    assert tt.conv2d(x, tt.ones(3, 3, 1, 1), stride=one, padding=one).shape == x.shape
    assert tt.max_pool2d(x, np.int64(2)).shape == (1, 2, 2, 1)
    assert tt.pad(x, one).shape == (3, 6, 6, 3)
    assert len(tt.split(x, one, 1)) == 4
    assert tt.one_hot([0], np.int64(3)).shape == (1, 3)
    assert x.sum(np.int64(1)).shape == (1, 4, 1)


def test_gradients_where_the_formula_has_an_edge(backend):
    zeros = tt.zeros(3, requires_grad=True)
    loss = tt.binary_cross_entropy_with_logits(zeros, [0.0, 1.0, 0.3], "sum")
    loss.backward()
    np.testing.assert_allclose(zeros.grad.numpy(), [0.5, -0.5, 0.2], rtol=1e-6)
    at_zero = tt.Tensor(np.zeros(3), requires_grad=True)
    assert tt.gradgradcheck(tt.softplus, [at_zero])
    (half,) = tt.grad(tt.softplus(at_zero).sum(), at_zero)
    assert half.tolist() == [0.5] * 3


def test_prod_does_not_overflow_on_the_way(backend):
    x = tt.Tensor([1e30, 1e-30, 1e30, 1e-30, 3.0])
    assert x.prod().item() == pytest.approx(3)


def test_pad_takes_widths_as_numpy_does():
    x = np.ones((2, 3))
    for widths in (2, (1, 2), ((1, 2),), ((1, 2), (0, 3)), ((1,), (2,))):
        np.testing.assert_array_equal(tt.pad(x, widths).numpy(), np.pad(x, widths))
    assert np.signbit(tt.pad([-0.0], 1).numpy()).tolist() == [False, True, False]


def test_comparisons_with_numbers_that_do_not_fit():
    x = tt.Tensor([0, 255], "uint8")
    assert (x < 300).tolist() == [True, True]
    assert (x == -1).tolist() == [False, False]


def test_a_nan_limit_gives_nan_as_in_numpy():
    assert np.isnan(tt.clip([1.0], np.nan, 2).item())
    assert tt.clip([5.0], None, 2).item() == 2


def test_long_rows_of_softmax_are_exact(backend):
    x = np.random.default_rng(0).random((1, 1_000_000)).astype(np.float32)
    wanted = np.exp(x.astype(np.float64))
    wanted /= wanted.sum()
    np.testing.assert_allclose(tt.softmax(x).numpy(), wanted, rtol=2e-6)


def test_dim_is_accepted_for_axis():
    x = tt.ones(2, 3)
    assert tt.cat([x, x], dim=1).shape == (2, 6)
    assert tt.stack([x, x], dim=0).shape == (2, 2, 3)
    assert x.unsqueeze(dim=0).squeeze(dim=0).shape == (2, 3)
    assert [part.shape for part in x.split(2, dim=1)] == [(2, 2), (2, 1)]
    assert x.gather([[0], [1]], dim=1).shape == (2, 1)
    assert x.clamp(max=0.5).tolist() == [[0.5] * 3] * 2


@pytest.mark.parametrize(("call", "error", "words"), ERRORS)
def test_errors_name_the_given_value_and_the_needed_one(backend, call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert isinstance(caught.value, tt.TinytensorError)


def test_batch_norm_takes_no_arguments_in_the_order_of_torch():
    mean, var, weight, bias = tt.zeros(1), tt.ones(1), tt.ones(1), tt.zeros(1)
    with pytest.raises(TypeError, match="positional arguments"):
        tt.batch_norm(tt.ones(2, 1), mean, var, weight, bias)


def test_errors_draw_the_shapes():
    with pytest.raises(tt.ShapeError) as caught:
        tt.linear(tt.ones(100, 784), tt.ones(748, 10))
    assert (
        str(caught.value)
        == """linear: inner sizes differ
    x       (100, 784)
                  ^^^
    weight  (748, 10)
             ^^^
    a weight of shape (784, outputs) is needed"""
    )
    with pytest.raises(tt.ShapeError) as caught:
        tt.ones(2, 3, 10) * tt.ones(4, 10)
    assert (
        str(caught.value)
        == """mul: the shapes don't broadcast
    x  (2, 3, 10)
           ^
    y  (4, 10)
        ^
    seen from the right, sizes must be equal, or one of them 1"""
    )


@pytest.mark.parametrize("name", ["relu", "sigmoid", "sign", "tanh", "exp"])
def test_large_tensors_give_no_warnings(backend, name):
    """Numba once computed float32 in float64, and NumPy warned about its uninitialised buffers."""
    getattr(tt, name)(
        tt.ones(3, dtype="float64")
    )  # compiled first, because the order of compilation must not matter
    x = tt.Tensor(np.random.default_rng(0).standard_normal((20_000, 5)), dtype="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(tt, name)(x)
        tt.floor_div(x, x + 10)


def test_einsum_sums_the_axes_of_dots_that_the_result_does_not_have(backend):
    """As torch does; NumPy refuses such a formula."""
    x = tt.Tensor(np.arange(24.0).reshape(2, 3, 4))
    assert tt.einsum("b...a->ab", x).tolist() == x.numpy().sum(axis=1).T.tolist()


# Their docstrings say so: another shape of the same memory, or x itself where nothing changes.
SHARING = {
    "broadcast_to", "cast", "dropout", "flatten", "permute", "reshape", "squeeze", "swapaxes",
    "transpose", "unsqueeze",
}  # fmt: skip


@QUIET
@pytest.mark.parametrize("op", [op for op in OPS if op.op not in SHARING], ids=str)
def test_a_result_has_its_own_memory(op):
    """So a change in place of the result changes no operand, as in NumPy."""
    for shapes in op.shapes:
        operands = op.operands(shapes, "float32")
        result = op.function(*operands)
        assert not any(np.shares_memory(result.numpy(), x.numpy()) for x in operands), shapes


@pytest.mark.parametrize(
    "copy", [lambda x: +x, lambda x: x.astype(x.dtype), tt.clip, lambda x: x.prod(axis=0)]
)
def test_what_numpy_copies_is_copied(copy):
    x = tt.ones(1, 3)
    y = copy(x)
    y += 1
    assert x.tolist() == [[1, 1, 1]]
    assert x.astype("float32", copy=False) is x


def test_transpose_to_the_same_order_warns():
    x = tt.ones(2, 3)
    with pytest.warns(UserWarning, match=r"transpose: got the axes \(0, 1\).*x.T .*swapaxes"):
        assert x.transpose(0, 1).shape == (2, 3)
    with pytest.raises(tt.ShapeError, match=r"transpose: .*swapaxes"):
        tt.ones(2, 3, 4).transpose(0, 1)
