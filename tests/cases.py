"""The one list of what is computed: kernels and ops, their shapes, and how exact they must be.

A row here brings every test there is: agreement of all backends with NumPy, gradient checks,
awkward and empty sizes, NaN and infinities, and a line in the benchmarks for kernels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import tinytensor as tt
from tinytensor import ops

# Sizes round the widths of vector registers and tiles, and none at all.
SIZES = (0, 1, 7, 8, 9, 33)


# Kernels ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kernel:
    """One call: `arrays` are shapes, or functions (rng, dtype) -> array; the last one is `out`."""

    name: str
    arrays: tuple
    numbers: tuple = ()
    tolerance: float = (
        1e-6  # in float32, relative to the largest result; float64 is 1e6 times finer
    )
    dtypes: tuple[str, ...] = ("float32", "float64")

    def __str__(self) -> str:
        shapes = (a if isinstance(a, tuple) else a.__name__ for a in self.arrays)
        flags = "".join(f"-{number}" for number in self.numbers)
        return f"{self.name}-{'-'.join(str(shape).replace(' ', '') for shape in shapes)}{flags}"

    def make(self, dtype: str, seed: int = 0) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        made = [
            rng.standard_normal(a).astype(dtype) if isinstance(a, tuple) else a(rng, dtype)
            for a in self.arrays
        ]
        return [np.asarray(array) for array in made]


def positive(*shape: int) -> Callable:
    def between_a_tenth_and_ten(rng, dtype):
        return (0.1 + 9.9 * rng.random(shape)).astype(dtype)

    return between_a_tenth_and_ten


def labels(R: int, C: int) -> Callable:
    def int64_labels(rng, dtype):
        return rng.integers(0, max(C, 1), R)

    return int64_labels


def integers(*shape: int) -> Callable:
    def int64_out(rng, dtype):
        return np.full(shape, -1, np.int64)

    return int64_out


def single(*shape: int) -> Callable:
    def float32_out(rng, dtype):
        return np.full(shape, -1, np.float32)

    return float32_out


def pixels(*shape: int) -> Callable:
    def uint8_images(rng, dtype):
        return rng.integers(0, 256, shape, np.uint8)

    return uint8_images


def rate(rng, dtype):
    return np.array([0.1])


BROADCASTS = [
    ((), (), ()),
    ((3,), (), (3,)),
    ((), (3,), (3,)),
    *(((n,), (n,), (n,)) for n in SIZES),
    *(((n, 10), (10,), (n, 10)) for n in SIZES),
    ((9, 1), (1, 7), (9, 7)),
    ((9, 7), (9, 1), (9, 7)),
    ((5, 1, 3, 1), (4, 1, 6), (5, 4, 3, 6)),
    ((2, 3, 4, 5), (3, 1, 5), (2, 3, 4, 5)),
    ((2, 1, 2, 1, 2), (1, 3, 1, 3, 1), (2, 3, 2, 3, 2)),
    ((0, 4), (1, 4), (0, 4)),
    ((1, 4), (0, 1), (0, 4)),
]
REDUCTIONS = [
    ((), ()),
    ((5,), (5,)),
    *(((n,), ()) for n in SIZES),
    *(((n, 10), (10,)) for n in SIZES),
    *(((9, n), (9, 1)) for n in SIZES),
    ((3, 130), (1, 130)),
    ((2, 3, 4), (3, 1)),
    ((2, 3, 4), (1, 3, 1)),
    ((2, 3, 4), (2, 1, 4)),
    ((2, 3, 4, 5), (2, 1, 4, 1)),
    ((0, 4), (1, 4)),
    ((0, 4), (0, 1)),
    ((4, 0), (1, 1)),
]
ROWS = [(R, C) for R in (0, 1, 9, 33) for C in (1, 2, 7, 10, 33, 70)]
MATMULS = [
    *((n, n, n) for n in SIZES),
    (0, 3, 4),
    (3, 0, 4),
    (3, 4, 0),
    (1, 784, 10),
    (13, 1030, 10),
    (13, 65, 16),
    (25, 33, 17),
    (33, 9, 31),
    (300, 20, 40),
    (7, 2050, 33),
]

KERNELS = [
    *(Kernel(name, shapes) for name in ("add", "sub", "mul") for shapes in BROADCASTS),
    *(Kernel("div", (x, positive(*y), out)) for x, y, out in BROADCASTS),
    *(
        Kernel(name, ((n,), (n,)))
        for name in ("neg", "exp", "relu", "sigmoid")
        for n in (*SIZES, 1000)
    ),
    *(Kernel("log", (positive(n), (n,))) for n in SIZES),
    *(Kernel("relu_backward", ((n,), (n,), (n,))) for n in SIZES),
    Kernel("exp", ((), ())),
    Kernel("sigmoid", ((3, 4, 5), (3, 4, 5))),
    *(Kernel("sum", shapes) for shapes in REDUCTIONS),
    *(Kernel("broadcast_to", (out, x)) for x, out in REDUCTIONS if x),
    *(Kernel("argmax", ((R, C), integers(R))) for R, C in ROWS),
    *(
        Kernel("transpose", (x, tuple(x[a] for a in axes)), (axes,))
        for x, axes in [
            ((), ()),
            ((5,), (0,)),
            ((0, 3), (1, 0)),
            ((9, 33), (1, 0)),
            ((2, 3, 4), (2, 0, 1)),
            ((2, 3, 4, 5), (0, 3, 1, 2)),
        ]
    ),
    *(
        Kernel(
            "matmul",
            ((K, M) if tx else (M, K), (N, K) if ty else (K, N), (M, N)),
            (tx, ty),
            tolerance=2e-6,  # sums of up to 2,050 products, in another order
        )
        for M, K, N in MATMULS
        for tx in (False, True)
        for ty in (False, True)
    ),
    *(Kernel(name, ((R, C), (R, C))) for name in ("softmax", "log_softmax") for R, C in ROWS),
    *(
        Kernel(name, ((R, C), (R, C), (R, C)))
        for name in ("softmax_backward", "log_softmax_backward")
        for R, C in ROWS
    ),
    *(Kernel("cross_entropy", ((R, C), labels(R, C), ())) for R, C in ROWS),
    *(Kernel("cross_entropy_backward", ((), (R, C), labels(R, C), (R, C))) for R, C in ROWS),
    *(Kernel("one_hot", (labels(R, C), (R, C))) for R, C in ROWS),
    *(
        Kernel(
            "load_images",
            (pixels(40, *image), labels(R, 40), single(R, *image)),
            dtypes=("float32",),
        )
        for R in (0, 1, 9, 33)
        for image in ((1,), (28, 28))
    ),
    *(Kernel("sgd", ((n,), rate, (n,))) for n in SIZES),
]


# Ops --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Op:
    """One op: `function` on Tensors does what `reference` does on arrays, at all these shapes."""

    name: str
    function: Callable
    reference: Callable
    shapes: list[tuple[tuple[int, ...], ...]]
    positive: bool = False  # operands above 0.1
    gradient: bool = True
    tolerance: float = 1e-5  # in float32; float64 is 1e6 times finer

    def __str__(self) -> str:
        return self.name

    def operands(self, shapes: tuple, dtype: str, requires_grad: bool = False) -> list[tt.Tensor]:
        rng = np.random.default_rng(1)
        arrays = [rng.standard_normal(shape) for shape in shapes]
        if self.positive:
            arrays = [0.1 + np.abs(array) for array in arrays]
        return [tt.Tensor(np.asarray(a, dtype), requires_grad=requires_grad) for a in arrays]


def _softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def _no_labels_beyond(R: int, C: int) -> np.ndarray:
    return np.arange(R) * 7 % C


def _cross_entropy(logits: np.ndarray) -> np.ndarray:
    R, C = logits.shape
    return -np.log(_softmax(logits))[np.arange(R), _no_labels_beyond(R, C)].mean()


def _probs(R: int, C: int, dtype: np.dtype) -> np.ndarray:
    return _softmax(np.sin(np.arange(R * C)).reshape(R, C)).astype(dtype)


PAIRS = [(x, y) for x, y, _ in BROADCASTS]
ONE = [((),), ((0,),), ((7,),), ((9, 33),), ((2, 3, 4),), ((0, 3),)]
MATRICES = [((R, C),) for R in (1, 9) for C in (1, 7, 10, 33)]

OPS = [
    Op("add", ops.add, np.add, PAIRS),
    Op("sub", ops.sub, np.subtract, PAIRS),
    Op("mul", ops.mul, np.multiply, PAIRS),
    Op("div", ops.div, np.divide, PAIRS, positive=True),
    Op("add a number", lambda x: 1.5 + x + 2, lambda x: x + 3.5, ONE),
    Op("sub from a number", lambda x: 1 - x - 0.5, lambda x: 0.5 - x, ONE),
    Op("mul by a number", lambda x: 2 * x * 0.5, lambda x: x, ONE),
    Op("div a number", lambda x: 2 / x / 4, lambda x: 0.5 / x, ONE, positive=True),
    Op("neg", ops.neg, np.negative, ONE),
    Op("exp", ops.exp, np.exp, ONE),
    Op("log", ops.log, np.log, ONE, positive=True),
    Op("relu", ops.relu, lambda x: np.maximum(x, 0), ONE),
    Op(
        "relu_backward",
        ops.relu_backward,
        lambda grad, x: grad * (x > 0),
        [(x, x) for (x,) in ONE],
    ),
    Op("sigmoid", ops.sigmoid, lambda x: 1 / (1 + np.exp(-x)), ONE),
    Op("sum", ops.sum, np.sum, ONE),
    *(
        Op(
            f"sum over {axis}, keepdims={keepdims}",
            lambda x, a=axis, k=keepdims: ops.sum(x, a, k),
            lambda x, a=axis, k=keepdims: np.sum(x, a, keepdims=k),
            [((2, 3, 4),), ((0, 3, 4),), ((2, 0, 4),)],
        )
        for axis in (0, -1, (0, 2), (1, -1), ())
        for keepdims in (False, True)
    ),
    Op("mean", ops.mean, np.mean, [((),), ((7,),), ((9, 33),)]),
    Op("mean over 1", lambda x: ops.mean(x, 1), lambda x: np.mean(x, 1), [((9, 33),), ((0, 3),)]),
    Op(
        "sum_to",
        lambda x: ops.sum_to(x, (3, 1)),
        lambda x: x.sum(axis=(0, 2), keepdims=True)[0],
        [((2, 3, 4),)],
    ),
    Op(
        "broadcast_to",
        lambda x: ops.broadcast_to(x, (2, 3, 4)),
        lambda x: np.broadcast_to(x, (2, 3, 4)),
        [((),), ((3, 1),), ((2, 1, 4),), ((2, 3, 4),)],
    ),
    Op("argmax", lambda x: x.argmax(), np.argmax, [((7,),), ((9, 33),)], gradient=False),
    *(
        Op(
            f"argmax over {axis}",
            lambda x, a=axis: ops.argmax(x, a),
            lambda x, a=axis: np.argmax(x, a),
            [((2, 3, 4),), ((5, 1, 2),)],
            gradient=False,
        )
        for axis in (0, 1, -1)
    ),
    Op("reshape", lambda x: x.reshape(4, -1), lambda x: x.reshape(4, -1), [((3, 4),), ((12,),)]),
    Op("transpose", ops.transpose, np.transpose, ONE),
    Op(
        "transpose by axes",
        lambda x: x.transpose(1, -1, 0),
        lambda x: x.transpose(1, -1, 0),
        [((2, 3, 4),), ((2, 0, 4),)],
    ),
    *(
        Op(
            f"matmul, transpose_x={tx}, transpose_y={ty}",
            lambda x, y, tx=tx, ty=ty: ops.matmul(x, y, transpose_x=tx, transpose_y=ty),
            lambda x, y, tx=tx, ty=ty: (x.T if tx else x) @ (y.T if ty else y),
            [
                ((K, M) if tx else (M, K), (N, K) if ty else (K, N))
                for M, K, N in ((1, 1, 1), (7, 9, 8), (9, 33, 10), (0, 3, 4), (3, 0, 4), (3, 4, 0))
            ],
        )
        for tx in (False, True)
        for ty in (False, True)
    ),
    Op("softmax", ops.softmax, _softmax, [*MATRICES, ((5,),), ((2, 3, 4),), ((0, 4),)]),
    Op("softmax over 0", lambda x: ops.softmax(x, 0), lambda x: _softmax(x, 0), [((2, 3, 4),)]),
    Op(
        "softmax_backward",
        ops.softmax_backward,
        lambda grad, probs: probs * (grad - (grad * probs).sum(-1, keepdims=True)),
        [((R, C), (R, C)) for ((R, C),) in MATRICES],
    ),
    Op("log_softmax", ops.log_softmax, lambda x: np.log(_softmax(x)), [*MATRICES, ((0, 4),)]),
    Op(
        "log_softmax over 1",
        lambda x: ops.log_softmax(x, 1),
        lambda x: np.log(_softmax(x, 1)),
        [((2, 3, 4),)],
    ),
    Op(
        "log_softmax_backward",
        ops.log_softmax_backward,
        lambda grad, log_probs: grad - np.exp(log_probs) * grad.sum(-1, keepdims=True),
        [((R, C), (R, C)) for ((R, C),) in MATRICES],
    ),
    Op(
        "cross_entropy of labels",
        lambda x: ops.cross_entropy(x, _no_labels_beyond(*x.shape)),
        _cross_entropy,
        MATRICES,
    ),
    Op(
        "cross_entropy of one-hot rows",
        lambda x: ops.cross_entropy(x, np.eye(x.shape[1])[_no_labels_beyond(*x.shape)]),
        _cross_entropy,
        MATRICES,
    ),
    Op(
        "cross_entropy of probabilities",
        lambda x: ops.cross_entropy(x, tt.from_numpy(_probs(*x.shape, x.dtype))),
        lambda x: -(_probs(*x.shape, x.dtype) * np.log(_softmax(x))).sum(1).mean(),
        MATRICES,
    ),
    Op(
        "cross_entropy_backward",
        lambda grad, x: ops.cross_entropy_backward(grad, x, _no_labels_beyond(*x.shape)),
        lambda grad, x: (
            (_softmax(x) - np.eye(x.shape[1])[_no_labels_beyond(*x.shape)]) * grad / len(x)
        ),
        [((), shape) for (shape,) in MATRICES],
    ),
    Op(
        "one_hot",
        lambda x: tt.one_hot(_no_labels_beyond(x.size, 5), 5),
        lambda x: np.eye(5)[_no_labels_beyond(x.size, 5)],
        [((0,),), ((7,),)],
        gradient=False,
    ),
]
