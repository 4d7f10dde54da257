"""Every op: its numbers, its gradient, its errors."""

import numpy as np
import pytest
from cases import OPS, Op

import tinytensor as tt
from tinytensor import ops

CELLS = [(op, shapes) for op in OPS for shapes in op.shapes]
IDS = [f"{op}-{'-'.join(map(str, shapes)).replace(' ', '')}" for op, shapes in CELLS]


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("op", "shapes"), CELLS, ids=IDS)
def test_forward(backend, op: Op, shapes, dtype):
    operands = op.operands(shapes, dtype)
    result = op.function(*operands)
    wanted = op.reference(*(x.numpy().astype(np.float64) for x in operands))
    tolerance = op.tolerance if dtype == "float32" else op.tolerance * 1e-6
    assert result.shape == np.shape(wanted)
    assert result.dtype == (dtype if op.gradient else result.dtype)
    assert not result.requires_grad
    np.testing.assert_allclose(result.numpy(), wanted, rtol=tolerance, atol=tolerance)


GRADIENTS = [(op, shapes) for op, shapes in CELLS if op.gradient]


@pytest.mark.parametrize(
    ("op", "shapes"),
    GRADIENTS,
    ids=[i for i, (op, _) in zip(IDS, CELLS, strict=True) if op.gradient],
)
def test_gradient(backend, op: Op, shapes):
    assert tt.gradcheck(op.function, op.operands(shapes, "float64", requires_grad=True))


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
def test_no_rows_have_no_mean(backend):
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


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: tt.ones(2, 3) + tt.ones(2, 4), tt.ShapeError, r"add: got x of shape \(2, 3\)"),
        (lambda: tt.ones(2, 3) @ tt.ones(2, 3), tt.ShapeError, "here 3 and 2, must be equal"),
        (lambda: tt.ones(3) @ tt.ones(3), tt.ShapeError, "matmul: .*two matrices are needed"),
        (lambda: tt.Tensor([1, 2]) * 2, tt.DTypeError, "mul: got a tensor of int64"),
        (lambda: tt.ones(2) + np.ones(2), tt.DTypeError, "add: got x of float32 and y of float64"),
        (
            lambda: tt.ones(2, 3).sum(axis=2),
            tt.ShapeError,
            "sum: got axis 2; the tensor has 2 axes",
        ),
        (lambda: tt.ones(2, 3).sum(axis=(0, -2)), tt.ShapeError, "each may come once"),
        (lambda: tt.ones(2, 3).reshape(4), tt.ShapeError, "6 elements; they don't fit into 4"),
        (lambda: tt.ones(2, 3).transpose(0, 0), tt.ShapeError, "transpose: got axes"),
        (lambda: tt.ones(2, 3).transpose(0, 2), tt.ShapeError, "transpose: got axes"),
        (lambda: ops.sum_to(tt.ones(2, 3), (2,)), tt.ShapeError, "sum_to: .*doesn't broadcast"),
        (lambda: tt.broadcast_to(tt.ones(2, 3), (2,)), tt.ShapeError, "broadcast_to: got x of"),
        (lambda: tt.argmax(tt.zeros(0)), tt.ShapeError, "argmax: .*nothing is there to compare"),
        (lambda: tt.softmax(tt.ones(())), tt.ShapeError, "softmax: got a tensor without axes"),
        (lambda: tt.cross_entropy(tt.ones(3), [0]), tt.ShapeError, r"\(R, C\) is needed"),
        (lambda: tt.cross_entropy(tt.ones(2, 3), [0]), tt.ShapeError, r"labels of shape \(1,\)"),
        (
            lambda: tt.cross_entropy(tt.ones(1, 3), [3]),
            tt.LabelError,
            "label 3; with 3 classes, 0 to 2",
        ),
        (lambda: tt.cross_entropy(tt.ones(1, 3), [-1]), tt.LabelError, "got label -1"),
        (lambda: tt.cross_entropy(tt.ones(1, 3), [0.5]), tt.DTypeError, "labels of float64"),
        (lambda: tt.one_hot([0, 9], 9), tt.LabelError, "one_hot: got label 9"),
    ],
)
def test_errors_say_what_came_and_what_was_needed(backend, call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert isinstance(caught.value, tt.TinytensorError)


def test_every_op_is_described_and_has_cases():
    public = [n for n in tt.__all__ if getattr(getattr(tt, n), "__module__", "") == ops.__name__]
    for name in public:
        assert getattr(ops, name).__doc__, name
        assert any(op.name.split(",")[0].split(" ")[0] == name for op in OPS), name
