"""Write a network as an ONNX file.

The forward pass is recorded twice, with 2 and with 3 examples. Each kernel call that depends on the
input becomes one or two nodes. The results of all other calls are constants of the file, as are the
weights. A size that differs between the recordings depends on the number of examples, and stays
free in the file. A setting or a constant that differs can't be written, and raises an error; except
a constant of n equal rows in an elementwise kernel, which is written as one row.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinytensor import atomic_file, regular_file
from tinytensor.arrays import Array, address, root
from tinytensor.autograd import no_grad
from tinytensor.errors import CaptureError, DataError, NotSupported, ShapeError
from tinytensor.evaluation import evaluation_mode
from tinytensor.extras import check_installed
from tinytensor.nn import Module
from tinytensor.ops.operands import Operand, as_float
from tinytensor.recorder import NotedCall, NotedFunction, Recorder, recording
from tinytensor.tensors import Tensor, wrap

OPSET = 20  # the version of ONNX's operators; Gelu is new in it
IR_VERSION = 9  # the version of the file format that belongs to it
CHANNELS_FIRST, CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # axes of images

Shape = tuple[int | None, ...]  # None for a size that depends on the number of examples


def export(model: Module, file: str | os.PathLike[str], example: Operand) -> None:
    """Write a model in evaluation mode as an ONNX file, for any number of examples.

    The file has the model's weights, an input named "input" and an output named "output". Nodes
    follow from the kernel calls that the model makes for the example. Branches and numbers of
    Python are constants of the file. The model itself stays unchanged.

    Args:
        model: the model, which maps one tensor to one tensor.
        file: the path of the file, which is replaced.
        example: array-like (N, ...) with N >= 1, an input of the model; float. Its values do not
            matter.

    Raises:
        NotSupported: a kernel has no counterpart in ONNX, such as a random mask; a value depends on
            the number of examples, such as a mean over all of them; or the model reads values in
            Python.
        ShapeError: the example has no axes or is empty.
        SettingError: the package onnx is not installed.
        DataError: the file can't be written.

    Source: torch.onnx.export; the format is described at onnx.ai.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    >>> tt.onnx.export(model, "model.onnx", tt.zeros(1, 28, 28, 1))
    >>> tt.onnx.load("model.onnx")(tt.zeros(5, 28, 28, 1)).shape
    (5, 10)
    """
    check_installed("onnx.export", "onnx", "onnx")
    if not isinstance(model, Module):
        raise NotSupported(
            f"onnx.export: got a {type(model).__name__}; a Module is needed, such as "
            "nn.Sequential(model, nn.Softmax())"
        )
    x = as_float("onnx.export", example).array
    if not x.ndim or not x.size:
        raise ShapeError(f"onnx.export: got an example of shape {x.shape}; (N, ...) is needed")
    with evaluation_mode(model), no_grad():
        two, three = (_record(model, np.resize(x, (n, *x.shape[1:]))) for n in (2, 3))
    names = {(address(t.array), t.shape): name for name, t in model.state_dict().items()}
    content = _Graph(two, three, names).serialized()
    try:
        if regular_file.is_special(file):
            raise DataError(f"onnx.export: {file} can't be written: a regular file is needed")
        atomic_file.write(file, content)
    except OSError as error:
        raise DataError(
            f"onnx.export: {file} can't be written: {error.strerror or error}; choose another file"
        ) from None


# The recordings


class _Recording(NamedTuple):
    notes: Recorder
    x: Array
    result: Array


def _record(model: Module, x: Array) -> _Recording:
    notes = Recorder([x])
    try:
        with recording(notes):
            result = model(wrap(x))
    except CaptureError as error:
        text = str(error).removeprefix("captured step: ").replace("a program", "an ONNX file")
        raise NotSupported(f"onnx.export: {text.replace('step', 'model')}") from None
    if not isinstance(result, Tensor):
        raise NotSupported(
            f"onnx.export: the model returns a {type(result).__name__}; one tensor is needed"
        )
    return _Recording(notes, x, result.array)


class _Pair(NamedTuple):
    """An array of the first recording, and the same one of the second recording."""

    two: Array
    three: Array

    @property
    def shape(self) -> Shape:
        """The sizes that are equal in both recordings, and None where they differ."""
        both = zip(self.two.shape, self.three.shape, strict=True)
        return tuple(n if n == m else None for n, m in both)

    @property
    def first_row(self) -> _Pair:
        """The first row, which broadcasts to all n rows for n examples; self if rows differ."""
        cut = tuple(slice(1) if n is None else slice(None) for n in self.shape)
        first = self.two[cut] if None in self.shape else self.two
        is_repeated = all(np.broadcast_to(first, x.shape).tobytes() == x.tobytes() for x in self)
        return _Pair(first, first) if is_repeated else self

    @property
    def key(self) -> int:
        """The id of the memory in the first recording."""
        return id(root(self.two))


class _Call(NamedTuple):
    """A kernel call in both recordings."""

    kernel: str
    place: str  # " (layers.2: Linear)"
    inputs: list[_Pair]
    out: _Pair
    settings: tuple[Any, ...]


class _Value(NamedTuple):
    """A value of the graph, which depends on the input."""

    name: str
    shape: Shape
    memory: tuple[int, int, np.dtype[Any]]  # address, number of elements, dtype


# The graph


class _Graph:
    """The graph of a forward pass that was recorded with 2 and with 3 examples.

    names: the names of the model's tensors, by address and shape.
    """

    def __init__(
        self, two: _Recording, three: _Recording, names: dict[tuple[int, tuple[int, ...]], str]
    ) -> None:
        self._names = names
        self._nodes: list[Any] = []
        self._constants: dict[str, Array] = {}
        self._values: dict[int, _Value | None] = {}  # by the id of the memory that has them
        self._read: dict[tuple[Any, ...], str] = {}  # names of values and constants read before
        self.largest: dict[int, tuple[int, str]] = {}  # see _argmax_pool2d
        self._written = set(two.notes.inputs)
        self._input = _Pair(two.x, three.x)
        self._output = _Pair(two.result, three.result)
        self._set(self._input, "input")
        if len(two.notes.items) != len(three.notes.items):
            raise self._depends_on_batch("the list of kernel calls")
        for one, other in zip(two.notes.items, three.notes.items, strict=True):
            self._add(one, other)
        if two.notes.before:
            raise NotSupported(
                "onnx.export: the model changes a tensor in place, which has no counterpart in ONNX"
            )
        self._reader = "the output"
        # Its own node, so that the output has its name also if the model returns a weight.
        self.node("Identity", [self.read(self._output)], name="output")

    def _add(self, one: NotedCall | NotedFunction, other: NotedCall | NotedFunction) -> None:
        """Add the nodes of a call; a call that does not depend on the input needs none."""
        place = f" ({one.place})" if str(one.place) else ""
        if isinstance(one, NotedFunction) or isinstance(other, NotedFunction):
            name = getattr(getattr(one, "function", None), "__name__", "a Python function")
            raise NotSupported(f"onnx.export: {name}{place} has no counterpart in ONNX")
        kernel = one.kernel
        arrays, settings = _parted(one)
        others, other_settings = _parted(other)
        if kernel is not other.kernel or settings != other_settings:
            raise self._depends_on_batch(f"a setting of {kernel.name}{place}")
        pairs = [_Pair(*both) for both in zip(arrays, others, strict=True)]
        inputs = [pairs[i] for i in kernel.reads]
        outputs = [pairs[i] for i in kernel.writes]
        depends = any(pair.key in self._values for pair in inputs)
        if depends and kernel.name not in _RULES:
            raise NotSupported(
                f"onnx.export: {kernel.name}{place} has no counterpart in ONNX; the kernels that "
                f"have one are {', '.join(sorted(_RULES))}"
            )
        written = {pair.key for pair in outputs}
        is_constant_piece = kernel.name == "concat" and not written & self._values.keys()
        if set(kernel.reads) & set(kernel.writes) or (
            written & self._written and not is_constant_piece
        ):
            raise NotSupported(
                f"onnx.export: {kernel.name}{place} changes an array in place, which has no "
                "counterpart in ONNX"
            )
        self._written |= written
        if not depends:
            return
        (out,) = outputs
        self._reader = f"{kernel.name}{place}"
        call = _Call(kernel.name, place, inputs, out, settings)
        self._set(out, _RULES[kernel.name](self, call))

    def _set(self, pair: _Pair, name: str | None) -> None:
        """Note that an array has the value of that name, or one that no node can read."""
        memory = address(pair.two), pair.two.size, pair.two.dtype
        self._values[pair.key] = None if name is None else _Value(name, pair.shape, memory)

    def node(self, op: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """Add a node of ONNX; returns the name of its result."""
        from onnx import helper

        name = name or f"/{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def constant(self, array: Array, name: str = "") -> str:
        """Add a constant array; returns its name."""
        name = name or f"/constant_{len(self._constants)}"
        self._constants[name] = array
        return name

    def read(self, pair: _Pair, axes: tuple[int, ...] | None = None) -> str:
        """Return the name of an array, with its axes in another order if `axes` is given."""
        key = address(pair.two), pair.two.dtype, pair.shape, pair.two.strides, axes
        if key not in self._read:
            reads = self._read_value if pair.key in self._values else self._read_constant
            self._read[key] = reads(pair, axes)
        return self._read[key]

    def read_operands(self, call: _Call) -> list[str]:
        """Return the names of the inputs of an elementwise kernel.

        If an input that depends on the examples has the shape of the result, a constant of n equal
        rows for n examples is written as one row, because ONNX broadcasts it.
        """
        values = [x for x in call.inputs if x.key in self._values]
        broadcasts = any([x.shape for x in v] == [x.shape for x in call.out] for v in values)
        return [
            self.read(x.first_row if broadcasts and x.key not in self._values else x)
            for x in call.inputs
        ]

    def _read_value(self, pair: _Pair, axes: tuple[int, ...] | None) -> str:
        value = self._values[pair.key]
        memory = address(pair.two), pair.two.size, pair.two.dtype
        if value is None or value.memory != memory or not pair.two.flags.c_contiguous:
            raise NotSupported(
                "onnx.export: the model reads a part of an array, which has no counterpart here"
            )
        name = value.name if pair.shape == value.shape else self.reshape(value.name, pair)
        return name if axes is None else self.node("Transpose", [name], perm=axes)

    def _read_constant(self, pair: _Pair, axes: tuple[int, ...] | None) -> str:
        if pair.two.shape != pair.three.shape or pair.two.tobytes() != pair.three.tobytes():
            what = f"a constant of shape {pair.two.shape} in {self._reader}"
            raise self._depends_on_batch(what)
        name = self._names.get((address(pair.two), pair.two.shape), "")
        if name in (*self._constants, "input", "output"):  # such as one read with other axes too
            name = ""
        return self.constant(pair.two if axes is None else pair.two.transpose(axes), name)

    def reshape(self, name: str, pair: _Pair) -> str:
        """Add a node that gives a value the shape of an array."""
        if pair.shape.count(None) > 1:
            raise self._depends_on_batch(f"more than one size of the shape {pair.two.shape}")
        sizes = [-1 if size is None else size for size in pair.shape]
        return self.node("Reshape", [name, self.constant(np.array(sizes, np.int64))])

    def image_size(self, pair: _Pair) -> tuple[int, ...]:
        """Return (H, W) of images (N, H, W, C)."""
        if pair.two.shape[1:3] != pair.three.shape[1:3]:
            raise self._depends_on_batch("the size of an image")
        return pair.two.shape[1:3]

    def _depends_on_batch(self, what: str) -> NotSupported:
        return NotSupported(
            f"onnx.export: {what} depends on the number of examples; a model is needed that treats "
            "each example separately"
        )

    def serialized(self) -> bytes:
        """The content of the file."""
        import onnx
        from onnx import helper, numpy_helper

        from tinytensor import __version__

        graph = helper.make_graph(
            self._nodes,
            "tinytensor",
            [_described("input", self._input)],
            [_described("output", self._output)],
            [
                numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
                for name, array in self._constants.items()
            ],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="tinytensor",
            producer_version=__version__,
        )
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString()
        return content


def _parted(call: NotedCall) -> tuple[list[Array], tuple[Any, ...]]:
    """The arrays and the settings of a call."""
    n = len(call.kernel.arrays)
    return list(call.arguments[:n]), tuple(call.arguments[n:])


def _described(name: str, pair: _Pair) -> Any:
    """The dtype and the shape of the input or the output."""
    from onnx import helper

    both = zip(pair.two.shape, pair.three.shape, strict=True)
    sizes = ["batch" if (n, m) == (2, 3) else n if n == m else None for n, m in both]
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(pair.two.dtype), sizes
    )


# The rules: each adds the nodes of one kernel call, and returns the name of the result

_Rule = Callable[[_Graph, _Call], str | None]


def _same(op: str, **attributes: Any) -> _Rule:
    """The rule of a kernel that is one node with the same inputs."""

    def rule(graph: _Graph, call: _Call) -> str:
        return graph.node(op, graph.read_operands(call), **attributes)

    return rule


def _of_numbers(op: str, op_of_bools: str) -> _Rule:
    """The rule of a kernel whose operator in ONNX is only for numbers; bools have another one."""

    def rule(graph: _Graph, call: _Call) -> str:
        is_of_bools = call.out.two.dtype == np.bool_
        return graph.node(op_of_bools if is_of_bools else op, graph.read_operands(call))

    return rule


def _silu(graph: _Graph, call: _Call) -> str:
    x = graph.read(call.inputs[0])
    return graph.node("Mul", [x, graph.node("Sigmoid", [x])])


def _matmul(graph: _Graph, call: _Call) -> str:
    factors = []
    for x, is_transposed in zip(call.inputs, call.settings, strict=True):
        *batch, rows, columns = range(x.two.ndim)
        factors.append(graph.read(x, (*batch, columns, rows) if is_transposed else None))
    return graph.node("MatMul", factors)


def _transpose(graph: _Graph, call: _Call) -> str:
    return graph.read(call.inputs[0], call.settings[0])


def _cast(graph: _Graph, call: _Call) -> str:
    from onnx import helper

    to = helper.np_dtype_to_tensor_dtype(call.out.two.dtype)
    return graph.node("Cast", [graph.read(call.inputs[0])], to=to)


def _layer_norm(graph: _Graph, call: _Call) -> str:
    inputs = [graph.read(x) for x in call.inputs]
    return graph.node("LayerNormalization", inputs, axis=-1, epsilon=call.settings[0])


def _reduction(op: str) -> _Rule:
    """The rule of a sum or a maximum over the axes that have size 1 in out, or are missing."""

    def rule(graph: _Graph, call: _Call) -> str:
        (x,) = call.inputs
        missing = x.two.ndim - call.out.two.ndim
        kept = (1,) * missing + call.out.shape
        axes = [axis for axis, size in enumerate(kept) if size == 1 and x.shape[axis] != 1]
        if not axes:
            return graph.reshape(graph.read(x), call.out)
        reduced = graph.node(
            op, [graph.read(x), graph.constant(np.array(axes, np.int64))], keepdims=1
        )
        return graph.reshape(reduced, call.out) if missing else reduced

    return rule


def _windows(
    graph: _Graph,
    call: _Call,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> dict[str, Any]:
    """The attributes of a convolution or a pooling. Its last windows decide the padding there."""
    images, places = graph.image_size(call.inputs[0]), graph.image_size(call.out)
    ends = [
        max(0, (count - 1) * step + window - length - before)
        for length, count, window, step, before in zip(
            images, places, size, stride, padding, strict=True
        )
    ]
    return {"kernel_shape": size, "strides": stride, "pads": [*padding, *ends]}


def _conv2d(graph: _Graph, call: _Call) -> str:
    x, weight = call.inputs
    inputs = [graph.read(x, CHANNELS_FIRST), graph.read(weight, (3, 2, 0, 1))]
    KH, KW, _, _ = weight.two.shape
    out = graph.node("Conv", inputs, **_windows(graph, call, (KH, KW), *call.settings))
    return graph.node("Transpose", [out], perm=CHANNELS_LAST)


def _sum_pool2d(graph: _Graph, call: _Call) -> str:
    (x,) = call.inputs
    KH, KW = call.settings[0]
    windows = _windows(graph, call, *call.settings)
    mean = graph.node(
        "AveragePool", [graph.read(x, CHANNELS_FIRST)], count_include_pad=1, **windows
    )
    area = graph.constant(np.array(KH * KW, x.two.dtype))
    return graph.node("Transpose", [graph.node("Mul", [mean, area])], perm=CHANNELS_LAST)


def _argmax_pool2d(graph: _Graph, call: _Call) -> None:
    """Note the largest elements themselves, because ONNX has other indices; _take reads them."""
    (x,) = call.inputs
    largest = graph.node(
        "MaxPool", [graph.read(x, CHANNELS_FIRST)], **_windows(graph, call, *call.settings)
    )
    name = graph.node("Transpose", [largest], perm=CHANNELS_LAST)
    graph.largest[call.out.key] = x.key, name


def _take(graph: _Graph, call: _Call) -> str:
    x, index = call.inputs
    source, name = graph.largest.get(index.key, (None, ""))
    if source != x.key:
        raise NotSupported(
            f"onnx.export: take{call.place} has no counterpart in ONNX, except in max_pool2d"
        )
    return graph.reshape(name, call.out)


_SAME = {
    "add": "Add", "sub": "Sub", "div": "Div", "pow": "Pow", "neg": "Neg",
    "abs": "Abs", "sign": "Sign", "sqrt": "Sqrt",
    "exp": "Exp", "log": "Log", "sin": "Sin", "cos": "Cos", "tanh": "Tanh", "erf": "Erf",
    "relu": "Relu", "sigmoid": "Sigmoid", "gelu": "Gelu", "softplus": "Softplus",
    "floor": "Floor", "ceil": "Ceil", "round": "Round", "where": "Where",
    "equal": "Equal", "less": "Less", "less_equal": "LessOrEqual",
}  # fmt: skip

_RULES: dict[str, _Rule] = {
    **{kernel: _same(op) for kernel, op in _SAME.items()},
    "mul": _of_numbers("Mul", "And"),
    "maximum": _of_numbers("Max", "Or"),
    "minimum": _of_numbers("Min", "And"),
    "softmax": _same("Softmax", axis=-1),
    "log_softmax": _same("LogSoftmax", axis=-1),
    "argmax": _same("ArgMax", axis=-1, keepdims=0),
    "sum": _reduction("ReduceSum"),
    "max": _reduction("ReduceMax"),
    "min": _reduction("ReduceMin"),
    "silu": _silu,
    "matmul": _matmul,
    "transpose": _transpose,
    "cast": _cast,
    "layer_norm": _layer_norm,
    "conv2d": _conv2d,
    "sum_pool2d": _sum_pool2d,
    "argmax_pool2d": _argmax_pool2d,
    "take": _take,
}
