"""The table of all kernels and ops: their shapes, and the accuracy that each must have.

A row here adds tests: agreement of all backends with NumPy, first and second derivatives, awkward
and empty sizes, random values with NaN and infinities; and for a kernel a row in the benchmarks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

import tinytensor as tt
from tinytensor import ops

# Sizes around the widths of vector registers and tiles, and zero.
SIZES = (0, 1, 7, 8, 9, 15, 16, 17, 33)


# Kernels ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kernel:
    """One call: `arrays` are shapes, or functions (rng, dtype) -> array; the last are outputs."""

    name: str
    arrays: tuple
    numbers: tuple = ()
    tolerance: float = (
        1e-6  # in float32, relative to the largest result; 1e6 times smaller in float64
    )
    dtypes: tuple[str, ...] = ("float32", "float64")
    outputs: int = 1
    ulp: int | None = None  # or the error allowed in float32, in units in the last place

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


def normals(*shape: int) -> Callable:
    def around_zero(rng, dtype):
        return rng.standard_normal(shape).astype(dtype)

    return around_zero


def positive(*shape: int) -> Callable:
    def between_a_tenth_and_ten(rng, dtype):
        return (0.1 + 9.9 * rng.random(shape)).astype(dtype)

    return between_a_tenth_and_ten


def sparse(*shape: int) -> Callable:
    def mostly_zeros(rng, dtype):
        values = rng.standard_normal(shape) * (rng.random(shape) < 0.1)
        values[: len(values) // 7] = 0  # whole rows, too, and negative zeros
        return (-values).astype(dtype)

    return mostly_zeros


def labels(R: int, C: int) -> Callable:
    def int64_labels(rng, dtype):
        return rng.integers(0, max(C, 1), R)

    return int64_labels


def rows_of(N: int, R: int) -> Callable:
    def int64_index(rng, dtype):
        return rng.integers(0, max(N, 1), R if N else 0)

    return int64_index


def bools(*shape: int) -> Callable:
    def bool_array(rng, dtype):
        return rng.random(shape) < 0.5

    return bool_array


def seed_and_count(rng, dtype):
    return np.array([2**63 + 12345, 1000], np.uint64)


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


def affine(N: int) -> Callable:
    def near_the_identity(rng, dtype):
        matrices = np.array([[1, 0, 3], [0, 1, 3]]) + 0.3 * rng.standard_normal((N, 2, 3))
        return matrices.astype(dtype)

    return near_the_identity


def learning_rate(rng, dtype):
    return np.array([0.1])


def step_3(rng, dtype):
    return np.array([3.0])


def some_labels(R: int, C: int) -> Callable:
    """Labels of which about a quarter are -1: these rows do not count."""

    def int64_labels_or_minus_1(rng, dtype):
        return np.where(rng.random(R) < 0.25, -1, rng.integers(0, C, R))

    return int64_labels_or_minus_1


def cross_entropies(R: int, C: int, weight: tuple, losses: tuple, smoothing: float) -> list[Kernel]:
    """Rows for the three kernels of cross-entropy, at these shapes of weight and out."""
    given = (R, C), some_labels(R, C), weight
    return [
        Kernel("cross_entropy", (*given, losses), (smoothing,)),
        Kernel("cross_entropy_backward", (losses, *given, (R, C)), (smoothing,)),
        Kernel("cross_entropy_and_grad", (losses, *given, losses, (R, C)), (smoothing,), outputs=2),
    ]


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
    ((25, 14, 14, 3), (3,), (25, 14, 14, 3)),  # many short rows
    ((7,), (701, 7), (701, 7)),
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
    ((25, 14, 14, 3), (3,)),  # many short rows
    ((701, 7), (7,)),
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

# ((x, weight, out), stride, padding) of convolutions
CONVOLUTIONS = [
    (((2, 5, 6, 3), (3, 3, 3, 4), (2, 3, 4, 4)), (1, 1), (0, 0)),
    (((2, 5, 6, 3), (3, 2, 3, 4), (2, 3, 3, 4)), (2, 2), (1, 0)),
    (((1, 8, 8, 1), (5, 5, 1, 33), (1, 8, 8, 33)), (1, 1), (2, 2)),
    (((3, 7, 9, 8), (1, 4, 8, 9), (3, 4, 3, 9)), (2, 3), (0, 1)),
    (((2, 4, 4, 2), (6, 6, 2, 3), (2, 4, 4, 3)), (1, 1), (2, 3)),
    (((3, 9, 37, 2), (5, 4, 2, 3), (3, 5, 18, 3)), (2, 2), (2, 1)),  # few channels, many pixels
    (((2, 7, 71, 1), (2, 2, 1, 5), (2, 3, 23, 5)), (3, 3), (1, 0)),
    (((2, 12, 11, 1), (9, 3, 1, 5), (2, 6, 11, 5)), (2, 1), (4, 1)),  # one channel, tall windows
    (
        ((2, 6, 5, 12), (3, 3, 12, 20), (2, 6, 5, 20)),
        (1, 1),
        (1, 1),
    ),  # several register rows, full and partial
    (((1, 20, 21, 4), (3, 3, 4, 17), (1, 20, 21, 17)), (1, 1), (1, 1)),  # more than fit into a tile
    (((2, 14, 15, 12), (4, 5, 12, 6), (2, 7, 5, 6)), (2, 3), (1, 1)),  # a stride, channels in fours
    # Winograd's algorithm: complete and incomplete tiles, one phase and four, no padding and more
    (((5, 12, 13, 16), (3, 3, 16, 17), (5, 12, 13, 17)), (1, 1), (1, 1)),
    (((2, 13, 16, 18), (5, 5, 18, 16), (2, 7, 8, 16)), (2, 2), (2, 2)),
    (((3, 20, 17, 16), (6, 5, 16, 20), (3, 8, 8, 20)), (2, 2), (0, 1)),
    (((1, 15, 24, 33), (3, 5, 33, 19), (1, 13, 12, 19)), (1, 2), (0, 2)),
    (((7, 9, 9, 16), (3, 3, 16, 16), (7, 11, 11, 16)), (1, 1), (2, 2)),
    # lanes of images: full and partial blocks, bands of lines, strides, padding beyond the window
    (((17, 9, 8, 1), (3, 3, 1, 4), (17, 9, 8, 4)), (1, 1), (1, 1)),
    (((20, 40, 30, 9), (5, 4, 9, 14), (20, 20, 31, 14)), (2, 1), (2, 2)),
    (((35, 7, 6, 5), (3, 2, 5, 6), (35, 4, 3, 6)), (3, 4), (3, 2)),
    (((16, 28, 28, 6), (5, 5, 6, 12), (16, 14, 14, 12)), (2, 2), (2, 2)),
    (((9, 4, 5, 3), (2, 2, 3, 2), (9, 1, 2, 2)), (5, 3), (1, 0)),
    (((0, 5, 5, 3), (3, 3, 3, 4), (0, 3, 3, 4)), (1, 1), (0, 0)),
    (((2, 5, 5, 0), (3, 3, 0, 4), (2, 3, 3, 4)), (1, 1), (0, 0)),
    (((2, 5, 5, 1), (3, 3, 1, 0), (2, 3, 3, 0)), (1, 1), (0, 0)),
    (
        ((3, 2, 2, 1), (2, 2, 1, 1), (3, 1, 1, 1)),
        (1, 1),
        (0, 0),
    ),  # fewer results than a register holds
]
# ((x, out), size, stride, padding) of poolings
POOLINGS = [
    (((2, 6, 6, 3), (2, 3, 3, 3)), (2, 2), (2, 2), (0, 0)),
    (((2, 5, 7, 33), (2, 3, 4, 33)), (3, 2), (2, 2), (1, 1)),
    (((1, 5, 5, 1), (1, 5, 5, 1)), (3, 3), (1, 1), (1, 1)),
    (((1, 9, 4, 8), (1, 3, 1, 8)), (2, 3), (3, 4), (0, 1)),
    (((0, 4, 4, 3), (0, 2, 2, 3)), (2, 2), (2, 2), (0, 0)),
]
PICKED = [(N, R, C) for N, R in ((5, 9), (1, 7), (33, 0), (0, 0)) for C in (1, 8, 33)]

KERNELS = [
    *(
        Kernel(name, shapes, ulp=0)
        for name in ("add", "sub", "mul", "maximum", "minimum", "add_relu")
        for shapes in BROADCASTS
    ),
    *(
        Kernel(name, (x, positive(*y), out), ulp=0)
        for name in ("div", "floor_div", "mod")
        for x, y, out in BROADCASTS
    ),
    *(Kernel("pow", (positive(*x), y, out), ulp=4) for x, y, out in BROADCASTS),
    *(
        Kernel(name, (x, y, bools(*out)), ulp=0)
        for name in ("equal", "less", "less_equal")
        for x, y, out in BROADCASTS
    ),
    *(
        Kernel(name, (shape, shape), ulp=ulp)
        for ulp, names in (
            (0, ("neg", "relu", "abs", "sign", "floor", "ceil", "round")),
            (4, ("exp", "sigmoid", "expm1", "sin", "cos", "tanh", "erf", "silu", "softplus")),
            (8, ("gelu",)),
        )
        for name in names
        for shape in (*((n,) for n in (*SIZES, 1000)), (), (3, 4, 5))
    ),
    *(
        Kernel(name, (positive(n), (n,)), ulp=ulp)
        for name, ulp in (("log", 4), ("log1p", 4), ("sqrt", 0))
        for n in SIZES
    ),
    *(Kernel("relu_backward", ((n,), (n,), (n,)), ulp=0) for n in SIZES),
    *(
        Kernel(name, ((n,), (n,), (n,)))
        for name in ("gelu_backward", "silu_backward", "softplus_backward")
        for n in SIZES
    ),
    *(Kernel("where", (bools(n), (n,), (n,), (n,)), ulp=0) for n in SIZES),
    *(Kernel("sum", shapes, ulp=1) for shapes in REDUCTIONS),
    *(
        Kernel(name, (x, out), ulp=0)
        for name in ("max", "min")
        for x, out in REDUCTIONS
        if 0 not in x
    ),
    *(Kernel("cumsum", ((R, C), (R, C)), ulp=1) for R, C in ((0, 3), (1, 1), (9, 33), (3, 0))),
    *(Kernel("take", ((N, C), rows_of(N, R), (R, C)), ulp=0) for N, R, C in PICKED),
    *(Kernel("scatter_add", ((R, C), rows_of(N, R), (N, C))) for N, R, C in PICKED),
    *(Kernel("put", ((R, C), rows_of(N, R), (N, C)), ulp=0) for N, R, C in PICKED),
    *(
        Kernel("concat", ((A, n, B), (A, N, B)), (start,), ulp=0)
        for A, n, N, B, start in (
            (1, 3, 5, 4, 1),
            (4, 2, 2, 1, 0),
            (3, 0, 2, 5, 1),
            (2, 7, 9, 33, 2),
        )
    ),
    *(Kernel("cast", (x, single(*x)), ulp=0) for x in ((), (0,), (9, 33))),
    *(Kernel("broadcast_to", (out, x), ulp=0) for x, out in REDUCTIONS if x),
    *(Kernel(name, ((R, C), integers(R)), ulp=0) for name in ("argmax", "argmin") for R, C in ROWS),
    *(
        Kernel("transpose", (x, tuple(x[a] for a in axes)), (axes,), ulp=0)
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
            name,
            (of(*((K, M) if tx else (M, K))), (N, K) if ty else (K, N), (M, N)),
            (tx, ty),
            tolerance=2e-6,  # sums of up to 2,050 products, added in another order
        )
        for name, of in (
            ("matmul", normals),
            ("sparse_matmul", sparse),
            ("sparse_matmul", normals),
        )
        for M, K, N in MATMULS
        for tx in (False, True)
        for ty in (False, True)
    ),
    *(
        Kernel(
            "matmul",
            (
                (B, K, M) if tx else (B, M, K),
                (B, N, K) if ty else (B, K, N),
                (B, M, N),
            ),
            (tx, ty),
        )
        for B, M, K, N in ((0, 2, 3, 4), (1, 2, 3, 4), (3, 9, 8, 10), (2, 3, 0, 4))
        for tx in (False, True)
        for ty in (False, True)
    ),
    *(
        # NumPy rounds sums of 3,136 products by 1.2e-6. Winograd's algorithm, for 16 channels and
        # more, has a larger error.
        Kernel(name, arrays, (stride, padding), 2e-6 if min(weight[2:]) < 16 else 1e-5)
        for (x, weight, out), stride, padding in CONVOLUTIONS
        for name, arrays in (
            ("conv2d", (x, weight, out)),
            ("conv2d_grad_x", (out, weight, x)),
            ("conv2d_grad_weight", (x, out, weight)),
        )
    ),
    *(
        Kernel(name, arrays, (size, stride, padding))
        for (x, out), size, stride, padding in POOLINGS
        for name, arrays in (
            ("argmax_pool2d", (x, integers(*out))),
            ("sum_pool2d", (x, out)),
            ("sum_pool2d_grad_x", (out, x)),
        )
    ),
    *(Kernel(name, ((R, C), (R, C))) for name in ("softmax", "log_softmax") for R, C in ROWS),
    *(
        Kernel(name, ((R, C), (R, C), (R, C)))
        for name in ("softmax_backward", "log_softmax_backward")
        for R, C in ROWS
    ),
    *(kernel for R, C in ROWS for kernel in cross_entropies(R, C, (), (), 0.0)),
    *(
        kernel
        for R, C in ((1, 1), (9, 7), (33, 10), (17, 300))
        for weight in ((), (C,))
        for losses in ((), (R,))
        for smoothing in (0.0, 0.1)
        for kernel in cross_entropies(R, C, weight, losses, smoothing)
    ),
    *(Kernel("one_hot", (labels(R, C), (R, C)), ulp=0) for R, C in ROWS),
    *(
        Kernel("dropout_mask", (seed_and_count, (n,)), (keep_prob,), ulp=0)
        for n in SIZES
        for keep_prob in (0.75, 1.0)
    ),
    *(
        Kernel(
            "load_images",
            (pixels(40, *image), labels(R, 40), single(R, *image)),
            dtypes=("float32",),
        )
        for R in (0, 1, 9, 33)
        for image in ((1,), (28, 28))
    ),
    *(
        Kernel("warp", (shape, affine(shape[0]), (shape[0], 2, G, G), shape), ulp=0)
        for shape, G in (
            ((2, 7, 9, 1), 5),
            ((9, 28, 28, 1), 5),
            ((3, 5, 70, 3), 2),
            ((1, 1, 1, 1), 2),
            ((2, 1, 17, 2), 3),
            ((0, 8, 8, 1), 5),
            ((2, 0, 8, 1), 5),
            ((2, 8, 0, 1), 5),
            ((2, 8, 8, 0), 5),
        )
    ),
    *(
        kernel
        for R, C in ((1, 1), (9, 7), (33, 10), (130, 33), (3, 0))
        for kernel in (
            Kernel("moments", ((R, C), (C,), (C,)), outputs=2),
            Kernel(
                "normalize",
                ((R, C), (C,), positive(C), (C,), (C,), (R, C)),
                (1e-5,),
                tolerance=3e-6,
            ),
            Kernel(
                "batch_norm_backward",
                ((R, C), (R, C), (C,), positive(C), (C,), (R, C), (C,), (C,)),
                (1e-5,),
                outputs=3,
                tolerance=3e-6,
            ),
            Kernel("layer_norm", ((R, C), (C,), (C,), (R, C)), (1e-5,), tolerance=3e-6),
            Kernel(
                "layer_norm_backward",
                ((R, C), (R, C), (C,), (R, C), (C,), (C,)),
                (1e-5,),
                outputs=3,
                tolerance=3e-6,
            ),
        )
    ),
    *(
        kernel
        for n in SIZES
        for kernel in (
            Kernel("sgd", ((n,), learning_rate, (n,)), (0.1,)),
            Kernel("sgd", ((n,), learning_rate, (n,)), (0.0,)),
            Kernel("sgd_momentum", ((n,), learning_rate, (n,), (n,)), (0.9, False, 0.1), outputs=2),
            Kernel("sgd_momentum", ((n,), learning_rate, (n,), (n,)), (0.9, True, 0.0), outputs=2),
            Kernel(
                "adam",
                ((n,), learning_rate, step_3, (n,), positive(n), (n,)),
                (0.9, 0.999, 1e-8, 0.1),
                outputs=3,
                tolerance=2e-6,
            ),
            Kernel("rmsprop", ((n,), learning_rate, positive(n), (n,)), (0.9, 1e-8), outputs=2),
            Kernel("moving_average", ((n,), learning_rate, (n,))),
        )
    ),
]


def at_size(R: int, C: int) -> list[Kernel]:
    """Rows for every kernel at sizes computed from R and C, with the accuracy of the rows above."""
    x, row, column = (R, C), (C,), (R, 1)
    O = C % 40 + 1  # noqa: E741 - channels
    image, weight, result = (R, 5, 6, 3), (3, 2, 3, O), (R, 3, 3, O)
    pooled = (R, 5, 7, O), (R, 3, 4, O)
    convolution, pooling = ((2, 2), (1, 0)), ((3, 2), (2, 2), (1, 1))
    among = rows_of(R, R)
    calls: list[tuple[str, tuple, tuple]] = [
        *(
            (name, (of(*x), of(*y), out), ())
            for y in (x, row, column)
            for names, of, out in (
                (("add", "sub", "mul", "maximum", "minimum", "add_relu"), normals, x),
                (("div", "floor_div", "mod", "pow"), positive, x),
                (("equal", "less", "less_equal"), normals, bools(*x)),
            )
            for name in names
        ),
        *((name, (x, x), ()) for name in ("neg", "relu", "abs", "sign", "floor", "ceil", "round")),
        *((name, (x, x), ()) for name in ("exp", "sigmoid", "expm1", "sin", "cos", "tanh", "erf")),
        *((name, (x, x), ()) for name in ("gelu", "silu", "softplus")),
        *((name, (positive(*x), x), ()) for name in ("log", "log1p", "sqrt")),
        *((f"{name}_backward", (x, x, x), ()) for name in ("relu", "gelu", "silu", "softplus")),
        ("where", (bools(*x), x, x, x), ()),
        *((name, (x, out), ()) for name in ("sum", "max", "min") for out in (row, column, ())),
        ("cumsum", (x, x), ()),
        *(("broadcast_to", (y, x), ()) for y in (row, column)),
        *((name, (x, integers(R)), ()) for name in ("argmax", "argmin")),
        ("transpose", (x, x[::-1]), ((1, 0),)),
        *((name, (x, among, x), ()) for name in ("take", "scatter_add", "put")),
        ("concat", ((3, R, C), (3, R + 2, C)), (1,)),
        ("cast", (x, single(*x)), ()),
        *(
            ("matmul", (x[::-1] if tx else x, x if ty else x[::-1], (R, R)), (tx, ty))
            for tx in (False, True)
            for ty in (False, True)
        ),
        ("matmul", ((3, R, C), (3, C, 10), (3, R, 10)), (False, False)),
        ("sparse_matmul", (sparse(R, C), (C, 40), (R, 40)), (False, False)),
        ("sparse_matmul", (sparse(R, C), (R, 40), (C, 40)), (True, False)),
        ("conv2d", (image, weight, result), convolution),
        ("conv2d_grad_x", (result, weight, image), convolution),
        ("conv2d_grad_weight", (image, result, weight), convolution),
        ("argmax_pool2d", (pooled[0], integers(*pooled[1])), pooling),
        ("sum_pool2d", pooled, pooling),
        ("sum_pool2d_grad_x", pooled[::-1], pooling),
        *((name, (x, x), ()) for name in ("softmax", "log_softmax")),
        *((name, (x, x, x), ()) for name in ("softmax_backward", "log_softmax_backward")),
        *(
            (case.name, case.arrays, case.numbers)
            for weight, losses, smoothing in (((), (), 0.0), (row, (R,), 0.1))
            for case in cross_entropies(R, C, weight, losses, smoothing)
        ),
        ("one_hot", (labels(R, C), x), ()),
        ("dropout_mask", (seed_and_count, x), (0.75,)),
        ("load_images", (pixels(40, C), labels(R, 40), single(R, C)), ()),
        ("warp", (image, affine(R), (R, 2, 3, 3), image), ()),
        ("moments", (x, row, row), ()),
        ("normalize", (x, row, positive(C), row, row, x), (1e-5,)),
        ("batch_norm_backward", (x, x, row, positive(C), row, x, row, row), (1e-5,)),
        ("layer_norm", (x, row, row, x), (1e-5,)),
        ("layer_norm_backward", (x, x, row, x, row, row), (1e-5,)),
        ("sgd", (x, learning_rate, x), (0.1,)),
        ("sgd_momentum", (x, learning_rate, x, x), (0.9, True, 0.1)),
        ("adam", (x, learning_rate, step_3, x, positive(*x), x), (0.9, 0.999, 1e-8, 0.1)),
        ("rmsprop", (x, learning_rate, positive(*x), x), (0.9, 1e-8)),
        ("moving_average", (x, learning_rate, x), ()),
    ]
    first = {case.name: case for case in reversed(KERNELS)}
    return [replace(first[name], arrays=arrays, numbers=numbers) for name, arrays, numbers in calls]


# Ops --------------------------------------------------------------------------------------------


def normal(numbers: np.ndarray) -> np.ndarray:
    return numbers


def above_zero(numbers: np.ndarray) -> np.ndarray:
    return 0.1 + np.abs(numbers)


def above_half(numbers: np.ndarray) -> np.ndarray:
    return 0.5 + np.abs(numbers)


@dataclass(frozen=True)
class Op:
    """One op: `function` on Tensors equals `reference` on arrays, at all these shapes."""

    name: str
    function: Callable
    reference: Callable
    shapes: list[tuple[tuple[int, ...], ...]]
    domain: Callable[[np.ndarray], np.ndarray] = normal  # maps random values to the op's domain
    gradient: bool = True
    tolerance: float = 1e-5  # in float32; 1e6 times smaller in float64

    def __str__(self) -> str:
        return self.name

    @property
    def op(self) -> str:
        """The name of the function; several rows may have the same one."""
        return self.name.split(",")[0].split(" ")[0]

    def operands(self, shapes: tuple, dtype: str, requires_grad: bool = False) -> list[tt.Tensor]:
        rng = np.random.default_rng(1)
        arrays = [self.domain(rng.standard_normal(shape)) for shape in shapes]
        return [tt.Tensor(np.asarray(a, dtype), requires_grad=requires_grad) for a in arrays]


def kind(shapes: tuple[tuple[int, ...], ...]) -> str:
    """The column of the table of cells for these shapes."""
    if any(0 in shape for shape in shapes):
        return "empty"
    if len(set(shapes)) > 1:
        return "broadcast"
    return {0: "0-d", 1: "1-D", 2: "2-D"}.get(len(shapes[0]), "n-D")


PAIRS = [(x, y) for x, y, _ in BROADCASTS]
PAIRS += [((9, 33), (9, 33)), ((2, 3, 4), (2, 3, 4))]
ONE = [((),), ((0,),), ((7,),), ((9, 33),), ((2, 3, 4),), ((0, 3),)]
MATRICES = [((R, C),) for R in (1, 9) for C in (1, 7, 10, 33)]
TWINS = [(x, x) for (x,) in ONE]


def each(name: str, reference: Callable, **how) -> Op:
    return Op(name, getattr(ops, name), reference, ONE, **how)


def both(name: str, reference: Callable, **how) -> Op:
    return Op(name, getattr(ops, name), reference, PAIRS, **how)


def reducing(name: str, reference: Callable, empty: bool = True, **how) -> list[Op]:
    """Rows that reduce all axes, one, and several, with keepdims True and False."""
    op = getattr(ops, name)
    some = [((2, 3, 4),), *([((0, 3, 4),), ((2, 0, 4),)] if empty else [])]
    return [
        Op(name, op, reference, ONE if empty else [x for x in ONE if 0 not in x[0]], **how),
        *(
            Op(
                f"{name} over {axis}, keepdims={keepdims}",
                lambda x, a=axis, k=keepdims: op(x, axis=a, keepdims=k),
                lambda x, a=axis, k=keepdims: reference(x, axis=a, keepdims=k),
                some,
                **how,
            )
            for axis, keepdims in ((0, False), (-1, True), ((0, 2), False), ((1, -1), True))
        ),
    ]


def _softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def _labels(R: int, C: int) -> np.ndarray:
    return np.arange(R) * 7 % C


def _cross_entropies(logits: np.ndarray) -> np.ndarray:
    R, C = logits.shape
    return -np.log(_softmax(logits))[np.arange(R), _labels(R, C)]


def _class_weights(C: int) -> np.ndarray:
    return 0.5 + np.arange(C) % 3


def _one_weight(C: int) -> np.ndarray:
    return np.array(0.25)


def _labels_or_minus_1(R: int, C: int) -> np.ndarray:
    return np.where(np.arange(R) % 4 == 1, -1, _labels(R, C))


def _targets(x: np.ndarray, weight: np.ndarray, smoothing: float) -> np.ndarray:
    labels, C = _labels_or_minus_1(*x.shape), x.shape[1]
    hits = labels[:, None] == np.arange(C)
    return weight * ((1 - smoothing) * hits + smoothing / C) * (labels >= 0)[:, None]


def _settings(names: tuple[str, ...], C: int) -> dict:
    """These settings of cross_entropy, for C classes; at least the label 0 counts."""
    every = {"weight": _class_weights(C), "label_smoothing": 0.1, "ignore_index": max(C - 1, 1)}
    return {name: every[name] for name in names}


def _general_cross_entropy(
    logits: np.ndarray, reduction, weight=1.0, label_smoothing=0.0, ignore_index=-100
) -> np.ndarray:
    """torch.nn.functional.cross_entropy, by loops over the rows."""
    (R, C), labels = logits.shape, _labels(*logits.shape)
    weight, log_probs = np.broadcast_to(weight, C), np.log(_softmax(logits))
    losses, total = np.zeros(R), 0.0
    for r in range(R):
        if labels[r] != ignore_index:
            hit = weight[labels[r]] * log_probs[r, labels[r]]
            spread = (weight * log_probs[r]).mean()
            losses[r] = -(1 - label_smoothing) * hit - label_smoothing * spread
            total += weight[labels[r]]
    return losses if reduction == "none" else losses.sum() / (total if reduction == "mean" else 1)


def _probs(R: int, C: int) -> np.ndarray:
    return _softmax(np.sin(np.arange(R * C)).reshape(R, C))


def _norm(x: np.ndarray, axis=None, keepdims: bool = False) -> np.ndarray:
    return np.sqrt((x * x).sum(axis=axis, keepdims=keepdims))


def _logsumexp(x: np.ndarray, axis=None, keepdims: bool = False) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


def _windows(x: np.ndarray, KH: int, KW: int, stride, sides, fill=0.0) -> np.ndarray:
    """(N, OH, OW, C, KH, KW): every window of the padded images."""
    padded = np.pad(x, ((0, 0), *sides, (0, 0)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (KH, KW), axis=(1, 2))
    return windows[:, :: stride[0], :: stride[1]]


def _conv2d(stride, sides) -> Callable:
    def conv2d(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        windows = _windows(x, *weight.shape[:2], stride, sides)
        return np.einsum("nhwiab,abio->nhwo", windows, weight) + bias

    return conv2d


def _normalized(x: np.ndarray, axes) -> np.ndarray:
    variance = x.var(axis=axes, keepdims=True)
    return (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(variance + 1e-5)


def _nll(log_probs, reduction):
    losses = -np.take_along_axis(log_probs, _labels(*log_probs.shape)[:, None], 1)[:, 0]
    return losses if reduction == "none" else getattr(losses, reduction)()


def _bce(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    return target * np.logaddexp(0, -x) + (1 - target) * np.logaddexp(0, x)


_erf = np.vectorize(math.erf, otypes=[float])
_MASK = np.arange(12).reshape(3, 4) % 3 == 0

ELEMENTWISE = [
    both("add", np.add),
    both("sub", np.subtract),
    both("mul", np.multiply),
    both("div", np.divide, domain=above_zero),
    both("floor_div", np.floor_divide, domain=above_half),
    both("mod", np.mod, domain=above_half),
    both("pow", np.power, domain=above_zero),
    both("maximum", np.maximum),
    both("minimum", np.minimum),
    *(
        both(name, getattr(np, name), gradient=False)
        for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
    ),
    *(
        both(name, getattr(np, name), gradient=False, domain=np.round)
        for name in ("logical_and", "logical_or", "logical_xor")
    ),
    each("logical_not", np.logical_not, gradient=False, domain=np.round),
    Op("add a number", lambda x: 1.5 + x + 2, lambda x: x + 3.5, ONE),
    Op("sub from a number", lambda x: 1 - x - 0.5, lambda x: 0.5 - x, ONE),
    Op("mul by a number", lambda x: 2 * x * 0.5, lambda x: x, ONE),
    Op("div a number", lambda x: 2 / x / 4, lambda x: 0.5 / x, ONE, above_zero),
    Op("pow by a number", lambda x: x**2 + 2**x, lambda x: x**2 + 2**x, ONE),
    Op("floor_div by a number", lambda x: x // 0.3, lambda x: x // 0.3, ONE),
    Op("mod by a number", lambda x: x % 0.3, lambda x: x % 0.3, ONE),
    each("neg", np.negative),
    each("abs", np.abs),
    each("sign", np.sign),
    each("floor", np.floor),
    each("ceil", np.ceil),
    each("round", np.round),
    each("exp", np.exp),
    each("expm1", np.expm1),
    each("log", np.log, domain=above_zero),
    each("log1p", np.log1p, domain=above_zero),
    each("sqrt", np.sqrt, domain=above_zero),
    each("rsqrt", lambda x: 1 / np.sqrt(x), domain=above_zero),
    each("square", np.square),
    each("reciprocal", lambda x: 1 / x, domain=above_zero),
    each("sin", np.sin),
    each("cos", np.cos),
    each("tanh", np.tanh),
    each("erf", _erf),
    each("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
    each("relu", lambda x: np.maximum(x, 0)),
    Op("relu_backward", ops.relu_backward, lambda grad, x: grad * (x > 0), TWINS),
    Op(
        "gelu_backward",
        ops.gelu_backward,
        lambda grad, x: (
            grad * ((1 + _erf(x / np.sqrt(2))) / 2 + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi))
        ),
        TWINS,
    ),
    Op(
        "silu_backward",
        ops.silu_backward,
        lambda grad, x: grad * (1 + np.exp(-x) + x * np.exp(-x)) / (1 + np.exp(-x)) ** 2,
        TWINS,
    ),
    Op("softplus_backward", ops.softplus_backward, lambda grad, x: grad / (1 + np.exp(-x)), TWINS),
    each("leaky_relu", lambda x: np.where(x > 0, x, 0.01 * x)),
    each("elu", lambda x: np.where(x > 0, x, np.expm1(x))),
    each("gelu", lambda x: x * (1 + _erf(x / np.sqrt(2))) / 2),
    each("silu", lambda x: x / (1 + np.exp(-x))),
    each("softplus", lambda x: np.log(1 + np.exp(x))),
    each("isnan", np.isnan, gradient=False),
    each("isfinite", np.isfinite, gradient=False),
    each("isinf", np.isinf, gradient=False),
    Op(
        "isclose",
        lambda x, y: ops.isclose(x, y, 0.5, 0.1),
        lambda x, y: np.isclose(x, y, 0.5, 0.1),
        PAIRS,
        gradient=False,
    ),
    Op(
        "allclose",
        lambda x: tt.Tensor([ops.allclose(x, x), ops.allclose(x, x + 1)]),
        lambda x: np.array([np.allclose(x, x), np.allclose(x, x + 1)]),
        ONE,
        gradient=False,
    ),
    each("clone", lambda x: x),
    Op("cast", lambda x: ops.cast(ops.cast(x, "float64"), x.dtype), lambda x: x, ONE),
    Op("clip", lambda x: x.clip(-0.5, 0.7), lambda x: np.clip(x, -0.5, 0.7), ONE),
    Op("clip below", lambda x: x.clip(max=0.3), lambda x: np.minimum(x, 0.3), ONE),
    Op(
        "where",
        lambda x, y: ops.where(x.detach() > y.detach(), x, y * 2),
        lambda x, y: np.where(x > y, x, y * 2),
        PAIRS,
    ),
    Op(
        "masked_fill",
        lambda x: x.masked_fill(_MASK, -7),
        lambda x: np.where(_MASK, -7, x),
        [((3, 4),), ((2, 3, 4),), ((0, 3, 4),)],
    ),
    Op(
        "masked_fill by a mask of x",
        lambda x: x.masked_fill(x.detach() > 0, 5),
        lambda x: np.where(x > 0, 5, x),
        ONE,
    ),
]

REDUCE = [
    *reducing("sum", np.sum),
    *reducing("mean", np.mean, empty=False),
    *reducing("prod", np.prod),
    *reducing("max", np.max, empty=False),
    *reducing("min", np.min, empty=False),
    *reducing("var", np.var, empty=False),
    *reducing(
        "std", np.std, empty=False, domain=lambda x: x + np.sin(np.arange(x.size).reshape(x.shape))
    )[1:],
    *reducing("norm", _norm),
    *reducing("logsumexp", _logsumexp, empty=False),
    Op(
        "logsumexp of an empty axis",
        lambda x: ops.logsumexp(x, 0),
        lambda x: _logsumexp(x, 0),
        [((0,),), ((0, 3),), ((3, 0),)],
        gradient=False,
    ),
    *reducing("any", np.any, gradient=False, domain=np.round),
    *reducing("all", np.all, gradient=False, domain=np.round),
    Op("mean of an empty axis", lambda x: ops.mean(x, 1), lambda x: np.mean(x, 1), [((0, 3),)]),
    Op(
        "var with correction",
        lambda x: ops.var(x, 0, correction=1),
        lambda x: np.var(x, 0, ddof=1),
        [((7,),), ((9, 33),)],
    ),
    Op(
        "norm of ord 1",
        lambda x: ops.norm(x, 1, axis=-1),
        lambda x: np.abs(x).sum(axis=-1),
        [((7,),), ((9, 33),), ((0, 3),)],
    ),
    Op("cumsum", ops.cumsum, lambda x: np.cumsum(x), ONE),
    *(
        Op(f"cumsum over {a}", lambda x, a=a: ops.cumsum(x, a), lambda x, a=a: np.cumsum(x, a), X)
        for a, X in ((0, [((7,),), ((9, 33),)]), (1, [((2, 3, 4),), ((0, 3),)]))
    ),
    Op(
        "sum_to",
        lambda x: ops.sum_to(x, (3, 1)),
        lambda x: x.sum(axis=(0, 2), keepdims=True)[0],
        [((2, 3, 4),)],
    ),
    *(
        Op(name, getattr(ops, name), getattr(np, name), [((7,),), ((9, 33),)], gradient=False)
        for name in ("argmax", "argmin")
    ),
    *(
        Op(
            f"{name} over {axis}",
            lambda x, n=name, a=axis: getattr(ops, n)(x, a, keepdims=a == 1),
            lambda x, n=name, a=axis: getattr(np, n)(x, a, keepdims=a == 1),
            [((2, 3, 4),), ((5, 1, 2),)],
            gradient=False,
        )
        for name in ("argmax", "argmin")
        for axis in (0, 1, -1)
    ),
]

_SORTED = {  # descending: the reverse, which is stable if the reversed axis was sorted
    False: lambda x, a: np.argsort(x, a, kind="stable"),
    True: lambda x, a: x.shape[a] - 1 - np.flip(np.argsort(np.flip(x, a), a, kind="stable"), a),
}


ORDER = [
    Op("sort", ops.sort, np.sort, [((7,),), ((9, 33),), ((0,),), ((2, 0),), ((0, 3),)]),
    *(
        Op(
            f"sort over {axis}, descending={descending}",
            lambda x, a=axis, d=descending: ops.sort(x, a, descending=d),
            lambda x, a=axis, d=descending: (
                np.flip(np.sort(x, a), -1 if a is None else a) if d else np.sort(x, a)
            ),
            [((2, 3, 4),), ((5, 7),)],
        )
        for axis in (None, 0, 1)
        for descending in (False, True)
    ),
    *(
        Op(
            f"argsort over {axis}, descending={descending}",
            lambda x, a=axis, d=descending: ops.argsort(x, a, descending=d),
            lambda x, a=axis, d=descending: _SORTED[d](x, a),
            [((2, 3, 4),), ((5, 33),), ((2, 0),)],
            domain=np.round,
            gradient=False,
        )
        for axis in (0, -1)
        for descending in (False, True)
    ),
    *(
        Op(
            f"topk over {axis}, largest={largest}",
            lambda x, a=axis, b=largest: ops.topk(x, 2, a, largest=b)[0],
            lambda x, a=axis, b=largest: np.take_along_axis(
                x, np.take(_SORTED[b](x, a), [0, 1], a), a
            ),
            [((2, 3, 4),), ((5, 33),), ((2, 0, 2),)],
        )
        for axis in (0, -1)
        for largest in (False, True)
    ),
    Op(
        "topk, the indices",
        lambda x: ops.topk(x, 3)[1],
        lambda x: _SORTED[True](x, -1)[..., :3],
        [((2, 3, 4),), ((5, 33),), ((0, 3),)],
        domain=np.round,
        gradient=False,
    ),
    Op("unique", ops.unique, np.unique, ONE, domain=np.round, gradient=False),
]

SHAPE = [
    Op("reshape", lambda x: x.reshape(4, -1), lambda x: x.reshape(4, -1), [((3, 4),), ((12,),)]),
    Op("flatten", ops.flatten, lambda x: x.reshape(-1), ONE),
    Op("flatten some", lambda x: x.flatten(1), lambda x: x.reshape(2, -1), [((2, 3, 4),)]),
    Op("squeeze", ops.squeeze, np.squeeze, [((1, 3, 1),), ((1,),), ((2, 3),), ((0, 1),)]),
    Op("squeeze one", lambda x: x.squeeze(-1), lambda x: x.squeeze(-1), [((1, 3, 1),)]),
    Op("unsqueeze", lambda x: x.unsqueeze(-1), lambda x: x[..., None], ONE),
    Op(
        "broadcast_to",
        lambda x: ops.broadcast_to(x, (2, 3, 4)),
        lambda x: np.broadcast_to(x, (2, 3, 4)),
        [((),), ((4,),), ((3, 1),), ((2, 1, 4),), ((2, 3, 4),)],
    ),
    Op("transpose", ops.transpose, np.transpose, ONE),
    Op(
        "permute",
        lambda x: x.permute(1, -1, 0),
        lambda x: x.transpose(1, -1, 0),
        [((2, 3, 4),), ((2, 0, 4),)],
    ),
    Op(
        "swapaxes",
        lambda x: x.swapaxes(0, -1),
        lambda x: x.swapaxes(0, -1),
        [((3,),), ((2, 3),), ((2, 3, 4),), ((0, 3),)],
    ),
    Op("roll", lambda x: ops.roll(x, 2), lambda x: np.roll(x, 2), ONE),
    *(
        Op(
            f"roll over {axis} by {shift}",
            lambda x, s=shift, a=axis: ops.roll(x, s, a),
            lambda x, s=shift, a=axis: np.roll(x, s, a),
            [((2, 3, 4),), ((3, 1, 2),), ((0, 3, 2),)],
        )
        for shift, axis in ((1, 0), (-5, 1), ((1, -1), (0, -1)), ((1, 3), (2, 2)))
    ),
    *(
        Op(
            f"meshgrid, indexing={indexing}",
            lambda *x, i=indexing: ops.stack(ops.meshgrid(*x, indexing=i)),
            lambda *x, i=indexing: np.stack(np.meshgrid(*x, indexing=i)),
            [((3,), (4,)), ((3,),), ((2,), (), (3,)), ((0,), (2,))],
        )
        for indexing in ("xy", "ij")
    ),
    Op("flip", ops.flip, np.flip, ONE),
    Op("flip one", lambda x: x.flip(0), lambda x: np.flip(x, 0), [((7,),), ((2, 3, 4),)]),
    Op("repeat", lambda x: x.repeat(3), lambda x: np.repeat(x, 3), ONE),
    Op(
        "repeat some",
        lambda x: x.repeat([2, 0, 1], 1),
        lambda x: np.repeat(x, [2, 0, 1], 1),
        [((2, 3),), ((2, 3, 4),)],
    ),
    Op(
        "concat",
        lambda x, y: ops.concat([x, y, x], axis=1),
        lambda x, y: np.concatenate([x, y, x], axis=1),
        [((2, 3), (2, 5)), ((2, 3, 4), (2, 3, 4)), ((2, 0), (2, 3)), ((0, 3), (0, 1))],
    ),
    Op(
        "concat vectors",
        lambda *x: ops.concat(x),
        lambda *x: np.concatenate(x),
        [((3,), (5,), (0,)), ((3,), (3,))],
    ),
    Op("stack", lambda x, y: ops.stack([x, y]), lambda x, y: np.stack([x, y]), TWINS),
    Op("stack last", lambda x, y: ops.stack([x, y], -1), lambda x, y: np.stack([x, y], -1), TWINS),
    Op(
        "split",
        lambda x: ops.split(x, 2)[-1],
        lambda x: x[x.shape[0] // 2 * 2 - 2 * (x.shape[0] % 2 == 0) :],
        [((7,),), ((4, 3),), ((3, 2, 2),)],
    ),
    Op(
        "split by sizes",
        lambda x: ops.split(x, [1, 3], -1)[1],
        lambda x: x[..., 1:],
        [((4,),), ((2, 4),), ((0, 4),)],
    ),
    Op("pad", lambda x: ops.pad(x, 1), lambda x: np.pad(x, 1) if x.ndim else x, ONE),
    Op(
        "pad sides",
        lambda x: ops.pad(x, ((1, 0), (0, 2)), value=1.5),
        lambda x: np.pad(x, ((1, 0), (0, 2)), constant_values=1.5),
        [((2, 3),), ((0, 3),)],
    ),
]

# Every type of index, alone and mixed
INDICES = {
    "an integer": (np.s_[1], [((3,),), ((3, 4),), ((3, 4, 2),)]),
    "the last": (np.s_[..., -1], [((3,),), ((3, 4),), ((0, 4),)]),
    "a slice": (np.s_[1:3], [((4,),), ((4, 3),), ((2, 0),)]),
    "slices with steps": (np.s_[::2, ::-1], [((5, 4),), ((5, 4, 3),), ((0, 4),)]),
    "a new axis": (np.s_[None, ..., None], ONE),
    "an ellipsis": (np.s_[...], ONE),
    "integers and slices": (np.s_[-1, 1:, None, 0], [((3, 4, 5),)]),
    "an array, repeating": ([2, 0, 2, 2], [((3,),), ((3, 4),), ((3, 4, 2),)]),
    "a matrix of integers": (np.array([[0, 1], [2, 2]]), [((3,),), ((3, 4),)]),
    "two arrays": (([0, 1, 1], [2, 0, 0]), [((3, 4),), ((3, 4, 5),)]),
    "arrays apart": (np.s_[[0, 1, 1], :, [2, 0, 0]], [((3, 4, 5),)]),
    "an array and a slice": (np.s_[1:, [3, 3, 0]], [((3, 4),), ((3, 4, 2),)]),
    "a mask": (np.array([True, False, True]), [((3,),), ((3, 4),)]),
    "a mask of two axes": (_MASK, [((3, 4),), ((3, 4, 2),)]),
    "a mask and an integer": (np.s_[np.array([True, False, True]), 1], [((3, 4),)]),
    "an empty list": ([], [((3,),), ((3, 4),)]),
}
INDEX = [
    *(
        Op(f"getitem by {name}", lambda x, k=key: x[k], lambda x, k=key: x[k], shapes)
        for name, (key, shapes) in INDICES.items()
    ),
    Op(
        "take",
        lambda x: x.take([[0, 2], [2, 1]]),
        lambda x: x.take([[0, 2], [2, 1]]),
        [((3,),), ((2, 3),)],
    ),
    Op(
        "take over 1",
        lambda x: x.take([[0, 2], [2, 1]], 1),
        lambda x: x.take([[0, 2], [2, 1]], 1),
        [((2, 3),), ((2, 3, 4),), ((0, 3),)],
    ),
    Op(
        "gather",
        lambda x: x.gather([[0, 1, 1], [2, 2, 0]], 1),
        lambda x: np.take_along_axis(x, np.array([[0, 1, 1], [2, 2, 0]]), 1),
        [((2, 3),)],
    ),
    Op(
        "scatter_add",
        lambda x, y: x.scatter_add([[0, 1, 1], [1, 1, 1]], y, 0),
        lambda x, y: x + np.stack([y[0] * [1, 0, 0], [y[1, 0], *(y[0] + y[1])[1:]]]),
        [((2, 3), (2, 3))],
    ),
    Op(
        "embedding",
        lambda x: ops.embedding(x, [[0, 2], [2, 1]]),
        lambda x: x[[[0, 2], [2, 1]]],
        [((3, 4),)],
    ),
]

LINALG = [
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
    Op(
        "matmul",
        ops.matmul,
        np.matmul,
        [
            ((3,), (3,)),
            ((2, 3), (3,)),
            ((3,), (3, 2)),
            ((4, 2, 3), (3,)),
            ((3,), (4, 3, 2)),
            ((4, 2, 3), (3, 5)),
            ((2, 3), (4, 3, 5)),
            ((4, 2, 3), (4, 3, 5)),
            ((3, 3), (3, 3)),
            ((2, 1, 2, 3), (4, 3, 2)),
            ((0, 2, 3), (0, 3, 4)),
            ((2, 2, 2), (2, 2, 2)),
            ((1, 2, 0), (5, 0, 3)),
        ],
    ),
    Op(
        "matmul of batches, transposed",
        lambda x, y: ops.matmul(x, y, transpose_x=True, transpose_y=True),
        lambda x, y: x.swapaxes(-1, -2) @ y.swapaxes(-1, -2),
        [((4, 3, 2), (4, 5, 3)), ((4, 3, 2), (5, 3)), ((3, 2), (4, 5, 3))],
    ),
    Op("outer", ops.outer, np.outer, [((3,), (4,)), ((3,), (3,)), ((0,), (4,))]),
    *(
        Op(
            f"{name}, k={k}",
            lambda x, n=name, k=k: getattr(ops, n)(x, k),
            lambda x, n=name, k=k: getattr(np, n)(x, k),
            [((3, 3),), ((2, 4),), *([((2, 3, 2),), ((0, 3),)] if name != "diag" else [((4,),)])],
        )
        for name in ("tril", "triu", "diag")
        for k in (0, 1, -2, 9)
    ),
    *(
        Op(
            f"einsum {formula}",
            lambda *x, f=formula: ops.einsum(f, *x),
            lambda *x, f=formula: np.einsum(f, *x),
            [shapes],
        )
        for formula, *shapes in (
            ("ij,jk->ik", (2, 3), (3, 4)),
            ("bij,bjk", (5, 2, 3), (5, 3, 4)),
            ("bij,kj->bki", (5, 2, 3), (4, 3)),
            ("ii", (3, 3)),
            ("ii->i", (3, 3)),
            ("ij->ji", (2, 3)),
            ("ij->j", (2, 3)),
            ("i,i", (3,), (3,)),
            ("i,j->ji", (3,), (4,)),
            ("ij,kj,k->i", (2, 3), (4, 3), (4,)),
            ("iij,jk->ik", (2, 2, 3), (3, 2)),
            ("ij,ij->ij", (2, 3), (2, 3)),
            ("i,jk->", (2,), (3, 4)),
            ("ij,jk->ik", (0, 3), (3, 4)),
            ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),
            ("...ij,...jk", (5, 1, 2, 3), (4, 3, 2)),
            ("...ij,jk->...ik", (2, 3), (3, 4)),
            ("i...,j...->...ij", (2, 3), (4, 5, 1)),
            ("i...i->...", (3, 4, 3)),
            ("...,...", (2, 1, 3), (4, 1)),
            ("...i,i->...", (2, 0, 3), (3,)),
            ("b...a,...->...ab", (2, 3, 4), ()),
        )
    ),
]

# (padding, stride, the sides that padding means for a 5 x 6 image with a 3 x 2 window)
PADDINGS = [
    (0, (1, 1), ((0, 0), (0, 0))),
    (1, (2, 2), ((1, 1), (1, 1))),
    ((1, 0), (1, 2), ((1, 1), (0, 0))),
    (((2, 1), (0, 1)), (1, 1), ((2, 1), (0, 1))),
    ("valid", (2, 1), ((0, 0), (0, 0))),
    ("same", (1, 1), ((1, 1), (0, 1))),
    ("same", (2, 2), ((1, 1), (0, 0))),
]

NETWORK = [
    Op(
        "linear",
        ops.linear,
        lambda x, weight, bias: x @ weight + bias,
        [
            ((5, 3), (3, 2), (2,)),
            ((3,), (3, 2), (2,)),
            ((2, 5, 3), (3, 4), (4,)),
            ((0, 3), (3, 2), (2,)),
        ],
    ),
    Op("softmax", ops.softmax, _softmax, [*MATRICES, ((5,),), ((2, 3, 4),), ((0, 4),)]),
    Op("softmax over 0", lambda x: ops.softmax(x, 0), lambda x: _softmax(x, 0), [((2, 3, 4),)]),
    *(
        Op(
            f"softmax of norm 2 over {axis}",
            lambda x, a=axis: ops.softmax(x, a, norm=2),
            lambda x, a=axis: np.exp(x) / _norm(np.exp(x), a, True),
            [((2, 3),), ((2, 3, 4),)],
        )
        for axis in (0, -1)
    ),
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
    *(
        Op(
            f"cross_entropy of {name}, reduction={reduction}",
            lambda x, g=given, r=reduction: ops.cross_entropy(x, g(*x.shape), r),
            lambda x, w=wanted, r=reduction: (
                w(x).mean() if r == "mean" else w(x).sum() if r == "sum" else w(x)
            ),
            MATRICES,
        )
        for name, given, wanted in (
            ("labels", _labels, _cross_entropies),
            ("one-hot rows", lambda R, C: np.eye(C)[_labels(R, C)], _cross_entropies),
            ("probabilities", _probs, lambda x: -(_probs(*x.shape) * np.log(_softmax(x))).sum(1)),
        )
        for reduction in ("mean", "sum", "none")
    ),
    *(
        Op(
            f"cross_entropy with {', '.join(settings)}, reduction={reduction}",
            lambda x, s=settings, r=reduction: ops.cross_entropy(
                x, _labels(*x.shape), r, **_settings(s, x.shape[1])
            ),
            lambda x, s=settings, r=reduction: _general_cross_entropy(
                x, r, **_settings(s, x.shape[1])
            ),
            [((9, 7),), ((9, 33),), ((1, 1),)],
        )
        for settings in (
            ("weight",),
            ("label_smoothing",),
            ("ignore_index",),
            ("weight", "label_smoothing", "ignore_index"),
        )
        for reduction in ("mean", "sum", "none")
    ),
    Op(
        "cross_entropy of probabilities with weight, label_smoothing",
        lambda x: ops.cross_entropy(
            x, _probs(*x.shape), weight=_class_weights(x.shape[1]), label_smoothing=0.2
        ),
        lambda x: (
            -(
                (0.8 * _probs(*x.shape) + 0.2 / x.shape[1])
                * _class_weights(x.shape[1])
                * np.log(_softmax(x))
            )
            .sum(axis=1)
            .mean()
        ),
        MATRICES,
    ),
    *(
        Op(
            f"cross_entropy_backward, smoothing={smoothing}, weights={weights.__name__.strip('_')}",
            lambda grad, x, s=smoothing, w=weights: ops.cross_entropy_backward(
                grad,
                x,
                _labels_or_minus_1(*x.shape),
                tt.Tensor(w(x.shape[1]), x.dtype),
                s,
            ),
            lambda grad, x, s=smoothing, w=weights: (
                (
                    _softmax(x) * _targets(x, w(x.shape[1]), s).sum(1, keepdims=True)
                    - _targets(x, w(x.shape[1]), s)
                )
                * grad.reshape(-1, 1)
            ),
            [((), (9, 7)), ((9,), (9, 7)), ((1,), (1, 1))],
        )
        for smoothing in (0.0, 0.1)
        for weights in (_one_weight, _class_weights)
    ),
    *(
        Op(
            f"nll_loss, reduction={reduction}",
            lambda x, r=reduction: ops.nll_loss(x, _labels(*x.shape), r),
            lambda x, r=reduction: _nll(x, r),
            MATRICES,
        )
        for reduction in ("mean", "sum", "none")
    ),
    *(
        Op(
            f"{name}, reduction={reduction}",
            lambda x, y, n=name, r=reduction: getattr(ops, n)(x, y, r),
            lambda x, y, w=wanted, r=reduction: getattr(w(x, y), r)() if r != "none" else w(x, y),
            [pair for pair in TWINS if 0 not in pair[0] or reduction != "mean"],
        )
        for name, wanted in (
            ("mse_loss", lambda x, y: (x - y) ** 2),
            ("l1_loss", lambda x, y: abs(x - y)),
            ("binary_cross_entropy_with_logits", _bce),
        )
        for reduction in ("mean", "sum", "none")
    ),
    Op(
        "one_hot",
        lambda x: tt.one_hot(_labels(x.size, 5), 5),
        lambda x: np.eye(5)[_labels(x.size, 5)],
        [((0,),), ((7,),)],
        gradient=False,
    ),
    Op("dropout with keep_prob=1", lambda x: ops.dropout(x, keep_prob=1.0), lambda x: x, ONE),
    *(
        Op(
            f"conv2d, stride={stride}, padding={padding}",
            lambda x, w, b, s=stride, p=padding: ops.conv2d(x, w, b, s, p),
            _conv2d(stride, sides),
            [((2, 5, 6, 3), (3, 2, 3, 4), (4,)), ((0, 5, 6, 1), (3, 2, 1, 1), (1,))],
        )
        for padding, stride, sides in PADDINGS
    ),
    *(
        Op(
            f"max_pool2d, stride={stride}, padding={padding}",
            lambda x, s=stride, p=padding: ops.max_pool2d(x, (3, 2), s, p),
            lambda x, s=stride, p=sides: _windows(x, 3, 2, s, p, -np.inf).max((-1, -2)),
            [((2, 5, 6, 3),), ((0, 5, 6, 1),)],
        )
        for padding, stride, sides in PADDINGS
    ),
    *(
        Op(
            f"avg_pool2d, stride={stride}, padding={padding}, count_padding={count}",
            lambda x, s=stride, p=padding, c=count: ops.avg_pool2d(x, (3, 2), s, p, c),
            lambda x, s=stride, p=sides, c=count: (
                _windows(x, 3, 2, s, p).mean((-1, -2))
                if c
                else np.nanmean(_windows(x, 3, 2, s, p, np.nan), (-1, -2))
            ),
            [((2, 5, 6, 3),), *([((0, 5, 6, 1),)] if count else [])],
        )
        for padding, stride, sides in PADDINGS
        for count in (True, False)
    ),
    Op(
        "max_pool2d by size",
        lambda x: ops.max_pool2d(x, 2),
        lambda x: _windows(x, 2, 2, (2, 2), ((0, 0), (0, 0))).max((-1, -2)),
        [((2, 5, 6, 3),)],
    ),
    Op(
        "batch_norm",
        ops.batch_norm,
        lambda x, gamma, beta: _normalized(x, tuple(range(x.ndim - 1))) * gamma + beta,
        [((6, 3), (3,), (3,)), ((2, 3, 4, 5), (5,), (5,))],
    ),
    Op(
        "batch_norm_and_moments",
        lambda x: ops.batch_norm_and_moments(x)[0],
        lambda x: _normalized(x, tuple(range(x.ndim - 1))),
        [((6, 3),), ((2, 3, 4, 5),), ((5, 1),)],
    ),
    Op(
        "batch_norm_and_moments, the moments",
        lambda x: ops.stack(ops.batch_norm_and_moments(x)[1:]),
        lambda x: np.stack([x.mean(0), x.var(0)]),
        [((6, 3),), ((9, 33),)],
        gradient=False,
    ),
    Op(
        "batch_norm of averages",
        lambda x, mean, var: ops.batch_norm(x, mean_=mean, var_=var),
        lambda x, mean, var: (x - mean) / np.sqrt(var + 1e-5),
        [((6, 3), (3,), (3,)), ((0, 3), (3,), (3,))],
        above_zero,
    ),
    Op(
        "layer_norm",
        ops.layer_norm,
        lambda x, gamma, beta: _normalized(x, -1) * gamma + beta,
        [((6, 3), (3,), (3,)), ((2, 3, 4), (4,), (4,)), ((5,), (5,), (5,))],
    ),
    Op(
        "layer_norm of two axes",
        lambda x, gamma, beta: ops.layer_norm(x, gamma, beta, (1, 2)),
        lambda x, gamma, beta: _normalized(x, (1, 2)) * gamma + beta,
        [((2, 3, 4), (3, 4), (3, 4))],
    ),
    Op(
        "layer_norm of the first axis",
        lambda x, gamma: ops.layer_norm(x, gamma, axis=0),
        lambda x, gamma: _normalized(x, 0) * gamma[:, np.newaxis],
        [((5, 3), (5,))],
    ),
]

OPS = [*ELEMENTWISE, *REDUCE, *ORDER, *SHAPE, *INDEX, *LINALG, *NETWORK]
