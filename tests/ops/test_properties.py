"""Every op at random shapes, axes, indices and values, on every backend, compared with NumPy.

Each op gets 100 examples, always the same ones. To draw more, and new ones each time:

    python -m pytest tests/ops/test_properties.py --hypothesis-profile nightly
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from cases import ELEMENTWISE, OPS, Op, _logsumexp, _norm, _softmax, normal
from conftest import BACKENDS
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tinytensor as tt
from tinytensor import ops


@dataclass
class Example:
    """A call to compare: on Tensors, on arrays, the operands' shapes, and their domain."""

    function: Callable
    reference: Callable
    shapes: tuple[tuple[int, ...], ...]
    domain: Callable = normal


SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
FULL = arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)


# The examples of each op ------------------------------------------------------------------------


@st.composite
def from_rows(draw, name: str, gradient: bool = False):
    """One of the rows of cases.py, at one of its shapes, for ops without a rule below."""
    rows = [row for row in OPS if row.op == name and (row.gradient or not gradient)]
    row = draw(st.sampled_from(rows))
    return Example(row.function, row.reference, draw(st.sampled_from(row.shapes)), row.domain)


@st.composite
def elementwise(draw, row: Op):
    if len(row.shapes[0]) == 1:
        shapes = (draw(SHAPES),)
    elif row.name.endswith("_backward"):  # a gradient has the shape of its operand
        shapes = (draw(SHAPES),) * 2
    else:
        shapes = draw(arrays.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=5))
        shapes = shapes.input_shapes
    return Example(row.function, row.reference, shapes, row.domain)


@st.composite
def reduction(draw, name: str, reference: Callable, shapes=SHAPES, several: bool = True):
    shape = draw(shapes)
    one = st.integers(-len(shape), len(shape) - 1) if shape else st.none()
    some = st.sets(st.integers(0, len(shape) - 1)).map(tuple) if shape else st.just(())
    axis = draw(st.one_of(st.none(), one, some) if several else st.one_of(st.none(), one))
    keepdims = draw(st.booleans())
    return Example(
        lambda x: getattr(ops, name)(x, axis=axis, keepdims=keepdims),
        lambda x: reference(x, axis=axis, keepdims=keepdims),
        (shape,),
    )


@st.composite
def along_an_axis(draw, name: str, reference: Callable, shapes=FULL):
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    return Example(
        lambda x: getattr(ops, name)(x, axis), lambda x: reference(x, axis=axis), (shape,)
    )


@st.composite
def indexing(draw):
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
    key = draw(
        st.one_of(
            arrays.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True),
            arrays.integer_array_indices(shape),
            arrays.arrays(bool, shape[: draw(st.integers(1, len(shape)))]),
            _mixed_index(shape),
        )
    )
    return Example(lambda x: x[key], lambda x: x[key], (shape,))


@st.composite
def _mixed_index(draw, shape):
    """For each axis a slice, an integer, or an array of integers, all of one shape."""
    length = draw(st.integers(0, 4))
    parts = []
    for size in shape:
        whole = st.integers(-size, size - 1)
        parts.append(
            draw(
                st.one_of(st.slices(size), whole, st.lists(whole, min_size=length, max_size=length))
            )
        )
    return tuple(parts)


@st.composite
def matmul(draw):
    drawn = draw(
        arrays.mutually_broadcastable_shapes(
            signature=np.matmul.signature, max_dims=3, min_side=0, max_side=5
        )
    )
    return Example(ops.matmul, np.matmul, drawn.input_shapes)


@st.composite
def reshaping(draw):
    shape = draw(SHAPES)
    parts = list(shape)
    while len(parts) > 1 and draw(st.booleans()):
        i = draw(st.integers(0, len(parts) - 2))
        parts[i : i + 2] = [parts[i] * parts[i + 1]]
    if 0 not in shape and parts and draw(st.booleans()):
        parts[draw(st.integers(0, len(parts) - 1))] = -1
    new = tuple(parts)
    return Example(lambda x: x.reshape(new), lambda x: x.reshape(new), (shape,))


@st.composite
def permuting(draw):
    shape = draw(SHAPES)
    axes = tuple(draw(st.permutations(range(len(shape)))))
    return Example(lambda x: x.permute(axes), lambda x: x.transpose(axes), (shape,))


@st.composite
def broadcasting(draw):
    shape = draw(SHAPES)
    smaller = tuple(draw(st.sampled_from((size, 1))) for size in shape)
    smaller = smaller[draw(st.integers(0, len(shape))) :]
    return Example(lambda x: x.broadcast_to(shape), lambda x: np.broadcast_to(x, shape), (smaller,))


@st.composite
def joining(draw, name: str, reference: Callable):
    shape, count = draw(FULL), draw(st.integers(1, 4))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    shapes = [shape] * count
    if name == "concat":
        lengths = [draw(st.integers(0, 4)) for _ in range(count)]
        before, after = shape[: axis % len(shape)], shape[axis % len(shape) + 1 :]
        shapes = [(*before, length, *after) for length in lengths]
    return Example(
        lambda *x: getattr(ops, name)(x, axis), lambda *x: reference(x, axis=axis), tuple(shapes)
    )


@st.composite
def padding(draw):
    shape = draw(FULL)
    widths = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in shape]
    value = draw(st.sampled_from((0, 1.5)))
    return Example(
        lambda x: ops.pad(x, widths, value),
        lambda x: np.pad(x, widths, constant_values=value),
        (shape,),
    )


@st.composite
def convolution(draw):
    N, H, W, channels, KH, KW, O = (draw(st.integers(1, 5)) for _ in range(7))  # noqa: E741
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    sides = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(2))
    assume(H + sum(sides[0]) >= KH and W + sum(sides[1]) >= KW)

    def reference(x, weight):
        padded = np.pad(x, ((0, 0), *sides, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (KH, KW), (1, 2))
        windows = windows[:, :: stride[0], :: stride[1]]
        return np.einsum("nhwiab,abio->nhwo", windows, weight)

    return Example(
        lambda x, weight: ops.conv2d(x, weight, stride=stride, padding=sides),
        reference,
        ((N, H, W, channels), (KH, KW, channels, O)),
    )


OF_THEIR_OWN_SHAPES = {"masked_fill", "relu_backward"}
DRAWN = {
    row.name: elementwise(row)
    for row in ELEMENTWISE
    if row.name == row.op and row.op not in OF_THEIR_OWN_SHAPES
}
DRAWN |= {
    "sum": reduction("sum", np.sum),
    "prod": reduction("prod", np.prod),
    "any": reduction("any", np.any),
    "all": reduction("all", np.all),
    "mean": reduction("mean", np.mean, FULL),
    "max": reduction("max", np.max, FULL),
    "min": reduction("min", np.min, FULL),
    "var": reduction("var", np.var, FULL),
    "std": reduction("std", np.std, FULL),
    "norm": reduction("norm", _norm),
    "logsumexp": reduction("logsumexp", _logsumexp, FULL),
    "argmax": reduction("argmax", np.argmax, FULL, several=False),
    "argmin": reduction("argmin", np.argmin, FULL, several=False),
    "cumsum": along_an_axis("cumsum", np.cumsum),
    "softmax": along_an_axis("softmax", _softmax),
    "log_softmax": along_an_axis("log_softmax", lambda x, axis: np.log(_softmax(x, axis))),
    "flip": along_an_axis("flip", np.flip),
    "getitem": indexing(),
    "matmul": matmul(),
    "reshape": reshaping(),
    "permute": permuting(),
    "broadcast_to": broadcasting(),
    "concat": joining("concat", np.concatenate),
    "stack": joining("stack", np.stack),
    "pad": padding(),
    "conv2d": convolution(),
}

# NumPy gives the expected results of these ops for NaN, infinities and -0.
SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0)
WITH_SPECIAL = {
    "add", "sub", "mul", "div", "floor_div", "mod", "maximum", "minimum", "equal", "not_equal",
    "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor",
    "logical_not", "neg", "abs", "sign", "floor", "ceil", "round", "exp", "expm1", "log", "log1p",
    "sqrt", "square", "reciprocal", "sin", "cos", "tanh", "erf", "relu", "isnan", "isfinite",
    "clone", "sum", "max", "min", "any", "all", "argmax", "argmin", "cumsum", "flip", "getitem",
    "reshape", "permute", "broadcast_to", "concat", "stack", "pad",
}  # fmt: skip

NAMES = sorted({row.op for row in OPS})


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_agrees_with_numpy_on_every_backend(name, data):
    example = data.draw(DRAWN.get(name, from_rows(name)))
    dtype = data.draw(st.sampled_from(("float32", "float64")))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = data.draw(st.sampled_from((1e-3, 1.0, 5.0)))
    special = name in WITH_SPECIAL and data.draw(st.booleans())
    operands = []
    for shape in example.shapes:
        numbers = scale * rng.standard_normal(shape)
        if not special:
            numbers = example.domain(numbers)
        else:
            numbers = np.where(rng.random(shape) < 0.5, rng.choice(SPECIAL, shape), numbers)
        operands.append(np.asarray(numbers, dtype))
    # Special values are compared in the same precision, all others with the result in float64.
    wanted = example.reference(*(x if special else x.astype(np.float64) for x in operands))
    size = max(1.0, *(np.abs(x[np.isfinite(x)]).max(initial=0) for x in (*operands, wanted)))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for backend in BACKENDS:
        with tt.backend(backend):
            result = example.function(*map(tt.from_numpy, operands))
        assert result.shape == np.shape(wanted)
        assert result.dtype.kind == np.asarray(wanted).dtype.kind
        np.testing.assert_allclose(
            result.numpy(), wanted, rtol=tolerance, atol=tolerance * size, err_msg=backend
        )


STEPS = {
    "mod",
    "floor_div",
    "floor",
    "ceil",
    "round",
}  # a difference quotient over a step measures another slope: see their rows in cases.py
DIFFERENTIABLE = sorted({row.op for row in OPS if row.gradient} - STEPS)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", DIFFERENTIABLE)
@settings(phases=(Phase.explicit, Phase.generate))
@given(data=st.data())
def test_gradients(name, data):
    """At random shapes and values, each example on one backend."""
    example = data.draw(DRAWN.get(name, from_rows(name, gradient=True)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    operands = [
        tt.Tensor(np.asarray(example.domain(rng.standard_normal(s))), requires_grad=True)
        for s in example.shapes
    ]
    with tt.backend(data.draw(st.sampled_from(BACKENDS))):
        assert tt.gradcheck(example.function, operands, directions=1, tolerance=1e-5)
