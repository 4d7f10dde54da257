"""Read an ONNX file as a model.

The file is checked by the package onnx first. Each node then becomes one call of a function here,
whose arguments are the node's inputs and whose keyword arguments are its attributes. An operator,
an attribute or a setting that is not in the tables below raises an error when the file is read.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinytensor import ops, regular_file
from tinytensor.arrays import Array
from tinytensor.errors import DataError, NotSupported, ShapeError
from tinytensor.extras import check_installed
from tinytensor.nn import Module
from tinytensor.onnx.exporting import CHANNELS_FIRST, CHANNELS_LAST
from tinytensor.tensors import DTYPES, Tensor, from_numpy

OLDEST_OPSET = 13  # from here on the axes of a sum are an input, and softmax has one axis


class _Node(NamedTuple):
    """A call: the function, the names of its inputs and its result, and its attributes."""

    function: Callable[..., Tensor]
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


class OnnxModel(Module):
    """The network of an ONNX file, which `load` returns. It has no training mode.

    Call with the inputs of the graph, in their order. The result is a tensor, or a tuple of tensors
    if the graph has several outputs.

    Attributes:
        weights: the constants of the file by name: floats and bool.
        inputs, outputs: the names of the inputs and outputs of the graph.
    """

    def __init__(
        self,
        weights: dict[str, Tensor],
        integers: dict[str, tuple[int, ...]],
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        nodes: Sequence[_Node],
    ) -> None:
        self.weights, self.inputs, self.outputs = weights, inputs, outputs
        self._integers, self._nodes = integers, tuple(nodes)
        self.eval()

    def forward(self, *arguments: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs of the graph."""
        if len(arguments) != len(self.inputs):
            raise NotSupported(
                f"OnnxModel: got {len(arguments)} arguments; {len(self.inputs)} are needed: "
                f"{', '.join(self.inputs)}"
            )
        values: dict[str, Any] = {**self.weights, **self._integers}
        values |= zip(self.inputs, arguments, strict=True)
        for node in self._nodes:
            given = (values[name] if name else None for name in node.inputs)
            values[node.output] = node.function(*given, **node.attributes)
        first, *others = (values[name] for name in self.outputs)
        return (first, *others) if others else first

    def describe(self) -> str:
        """Return the number of nodes."""
        return f"nodes={len(self._nodes)}"


def load(file: str | os.PathLike[str]) -> OnnxModel:
    """Return the network of an ONNX file as a module in evaluation mode.

    It reads the files that `export` writes, and files of other programs with the same operators.
    Operators of images, such as Conv, take (N, C, H, W), as in ONNX.

    Args:
        file: the path of the file.

    Returns:
        OnnxModel. Its attribute `weights` has the constants of the file.

    Raises:
        DataError: the file can't be read, is not an ONNX file, is malformed, or has an operator, an
            attribute or a dtype that is not supported; the message has the reason.
        NotSupported: the argument is not a path.
        SettingError: the package onnx is not installed.

    Source: the operators are described at onnx.ai; torch.load of a whole model.

    >>> tt.onnx.export(nn.Linear(3, 2), "linear.onnx", tt.zeros(1, 3))
    >>> model = tt.onnx.load("linear.onnx")
    >>> model(tt.zeros(5, 3)).shape, list(model.weights)
    ((5, 2), ['weight', 'bias'])
    """
    check_installed("onnx.load", "onnx", "onnx")
    graph = _checked(file).graph
    constants = [(x.name, x) for x in graph.initializer]
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant":
            constants.append((node.output[0], _value_of_constant(file, node)))
        else:
            nodes.append(node)
    arrays = {name: _array(file, name, x) for name, x in constants}
    integers = {
        name: tuple(x.reshape(-1).tolist()) for name, x in arrays.items() if x.dtype == np.int64
    }
    weights = {name: from_numpy(x) for name, x in arrays.items() if name not in integers}
    inputs = tuple(x.name for x in graph.input if x.name not in arrays)
    outputs = tuple(x.name for x in graph.output)
    if not outputs or integers.keys() & outputs:
        raise DataError(f"onnx.load: {file} has no output of floats")
    return OnnxModel(
        weights, integers, inputs, outputs, [_node(file, node, integers) for node in nodes]
    )


def _checked(file: str | os.PathLike[str]) -> Any:
    """The model in a file, after the checks of the package onnx."""
    import onnx
    from google.protobuf.message import DecodeError

    if not isinstance(file, str | os.PathLike):
        raise NotSupported(f"onnx.load: got a {type(file).__name__}; the path of a file is needed")
    try:
        content = regular_file.checked(file).read_bytes()
    except OSError as error:
        raise DataError(f"onnx.load: {file} can't be read: {error.strerror}") from None
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise DataError(f"onnx.load: {file} isn't an ONNX file") from None
    for constant in _constants(model.graph):
        if constant.data_location == onnx.TensorProto.EXTERNAL:
            raise DataError(
                f"onnx.load: {file} has its weights in another file; a file with its own weights "
                "is needed, as onnx.save(onnx.load(file), other) writes it"
            )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        (reason, *_) = str(error).strip().splitlines() or ["no reason is given"]
        raise DataError(f"onnx.load: {file} is malformed: {reason}") from None
    _check_version(file, model)
    return model


def _constants(graph: Any) -> list[Any]:
    """The constants of a graph: those with a name, and those of nodes."""
    return [*graph.initializer, *(x.t for node in graph.node for x in node.attribute)]


def _check_version(file: str | os.PathLike[str], model: Any) -> None:
    from onnx.defs import onnx_opset_version

    versions = {x.domain: x.version for x in model.opset_import}
    version, newest = versions.get("", 0), onnx_opset_version()
    if not OLDEST_OPSET <= version <= newest:
        raise DataError(
            f"onnx.load: {file} has opset {version}; {OLDEST_OPSET} to {newest} are supported"
        )
    if model.graph.sparse_initializer or model.functions:
        raise DataError(
            f"onnx.load: {file} has sparse weights or defines functions, which are not supported"
        )


def _value_of_constant(file: str | os.PathLike[str], node: Any) -> Any:
    """The tensor of a Constant node."""
    if [x.name for x in node.attribute] != ["value"]:
        raise DataError(
            f"onnx.load: {file}: the Constant {node.output[0]!r} has another attribute than value"
        )
    return node.attribute[0].t


def _array(file: str | os.PathLike[str], name: str, given: Any) -> Array:
    """The array of a constant. The size of its data is checked before it is allocated."""
    from onnx import TensorProto, helper, numpy_helper

    known = {helper.np_dtype_to_tensor_dtype(np.dtype(x)): np.dtype(x) for x in DTYPES}
    if given.data_type not in known or known[given.data_type] in (np.int32, np.uint8):
        raise DataError(
            f"onnx.load: {file}: {name!r} is {TensorProto.DataType.Name(given.data_type)}; "
            "FLOAT, DOUBLE, INT64 or BOOL is needed"
        )
    needed = math.prod(given.dims) * known[given.data_type].itemsize
    is_raw = given.HasField("raw_data")
    if min(given.dims, default=0) < 0 or (is_raw and needed != len(given.raw_data)):
        raise DataError(
            f"onnx.load: {file}: {name!r} has shape {tuple(given.dims)} and "
            f"{len(given.raw_data)} bytes; {needed} bytes are needed"
        )
    try:
        array: Array = numpy_helper.to_array(given).copy()
    except ValueError as error:
        raise DataError(f"onnx.load: {file}: {name!r} is malformed: {error}") from None
    return array


def _node(file: str | os.PathLike[str], node: Any, integers: dict[str, Any]) -> _Node:
    """The call of a node, if everything that it has is supported."""
    from onnx import helper

    where = f"onnx.load: {file}: {node.op_type} {node.name or node.output[0]!r}"
    function = _FUNCTIONS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if function is None:
        raise DataError(
            f"{where}: the operator is not supported; supported are {', '.join(sorted(_FUNCTIONS))}"
        )
    if any(node.output[1:]):
        raise DataError(f"{where}: a second output is not supported")
    attributes = {x.name: helper.get_attribute_value(x) for x in node.attribute}
    for name, value in list(attributes.items()):
        if name in _FIXED:
            if value not in _FIXED[name] and not (name == "dilations" and set(value) == {1}):
                raise DataError(f"{where}: {name}={value} is not supported")
            del attributes[name]
        elif name not in inspect.signature(function).parameters:
            raise DataError(f"{where}: the attribute {name} is not supported")
    try:
        inspect.signature(function).bind(*node.input, **attributes)
    except TypeError as error:
        raise DataError(f"{where}: {error}") from None
    wanted = _INTEGERS.get(node.op_type)
    for position, name in enumerate(node.input):
        if name and (name in integers) != (position == wanted):
            need = "constant integers are needed" if position == wanted else "floats are needed"
            raise DataError(f"{where}: input {position}, {name!r}: {need}")
    return _Node(function, tuple(node.input), node.output[0], attributes)


# The operators


def _of_two(op: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def of_all(*operands: Tensor) -> Tensor:
        return functools.reduce(op, operands)

    return of_all


def _of_one(op: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: op(x)  # an op may have more parameters, which are no attributes of ONNX


def _identity(x: Tensor, ratio: Tensor | None = None) -> Tensor:
    return x


def _gemm(
    x: Tensor,
    y: Tensor,
    bias: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # ONNX's names
    transB: int = 0,
) -> Tensor:
    out = (x.T if transA else x) @ (y.T if transB else y)
    out = out if alpha == 1 else out * alpha
    return out if bias is None else out + (bias if beta == 1 else bias * beta)


def _transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    return ops.permute(x, tuple(range(x.ndim))[::-1] if perm is None else tuple(perm))


def _reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    if 0 in shape[x.ndim :]:
        raise ShapeError(f"Reshape: got {tuple(shape)} for {x.shape}; a 0 keeps a size that x has")
    return ops.reshape(x, tuple(size or x.shape[axis] for axis, size in enumerate(shape)))


def _flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    return ops.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _reduction(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduced(
        x: Tensor,
        axes: Sequence[int] | None = None,
        *,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        if not axes and noop_with_empty_axes:
            return x
        return op(x, axis=tuple(axes) if axes else None, keepdims=bool(keepdims))

    return reduced


def _argmax(x: Tensor, *, axis: int = 0, keepdims: int = 1) -> Tensor:
    return ops.argmax(x, axis=axis, keepdims=bool(keepdims))


def _softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return ops.softmax(x, axis)


def _log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return ops.log_softmax(x, axis)


def _cast(x: Tensor, *, to: int) -> Tensor:
    from onnx import helper

    return ops.cast(x, helper.tensor_dtype_to_np_dtype(to))


def _layer_norm(
    x: Tensor,
    scale: Tensor,
    offset: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
) -> Tensor:
    axes = tuple(range(axis if axis < 0 else axis - x.ndim, 0))  # this axis, and all after it
    return ops.layer_norm(x, scale, offset, axes, epsilon)


def _batch_norm(
    x: Tensor,
    scale: Tensor,
    offset: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
) -> Tensor:
    shape = (-1,) + (1,) * (x.ndim - 2)  # of one value per channel, which is axis 1
    factor = scale / ops.sqrt(var + epsilon)
    return (x - mean.reshape(shape)) * factor.reshape(shape) + offset.reshape(shape)


def _sides(op: str, size: Sequence[int], pads: Sequence[int]) -> Any:
    """The padding ((top, bottom), (left, right)). The bounds keep the padded image small."""
    if len(size) != 2 or len(pads) != 4:
        raise NotSupported(f"{op}: got kernel_shape={size}, pads={pads}; two axes are supported")
    top, left, bottom, right = pads
    if not (max(top, bottom) < size[0] and max(left, right) < size[1] and min(pads) >= 0):
        raise NotSupported(
            f"{op}: got pads={pads}; for a window of {tuple(size)}, 0 up to its size less 1 are "
            "supported"
        )
    return (top, bottom), (left, right)


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    kernel_shape: Sequence[int] | None = None,
) -> Tensor:
    sides = _sides("Conv", weight.shape[2:], pads)
    images, filters = ops.permute(x, CHANNELS_LAST), ops.permute(weight, (2, 3, 1, 0))
    out = ops.conv2d(images, filters, bias, (strides[0], strides[1]), sides)
    return ops.permute(out, CHANNELS_FIRST)


def _max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
) -> Tensor:
    sides = _sides("MaxPool", kernel_shape, pads)
    KH, KW = kernel_shape
    out = ops.max_pool2d(ops.permute(x, CHANNELS_LAST), (KH, KW), (strides[0], strides[1]), sides)
    return ops.permute(out, CHANNELS_FIRST)


def _average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    count_include_pad: int = 0,
) -> Tensor:
    sides = _sides("AveragePool", kernel_shape, pads)
    (KH, KW), stride = kernel_shape, (strides[0], strides[1])
    images, counts = ops.permute(x, CHANNELS_LAST), bool(count_include_pad)
    out = ops.avg_pool2d(images, (KH, KW), stride, sides, counts)
    return ops.permute(out, CHANNELS_FIRST)


def _global_average_pool(x: Tensor) -> Tensor:
    return ops.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)


# Attributes that change nothing, or whose other values are not supported
_FIXED: dict[str, Any] = {
    "group": (1,),
    "dilations": (),  # a list of 1, of any length
    "auto_pad": (b"NOTSET",),
    "ceil_mode": (0,),
    "storage_order": (0,),
    "allowzero": (0,),
    "select_last_index": (0,),
    "approximate": (b"none",),
    "training_mode": (0,),
    "stash_type": (1,),
    "seed": range(2**63),
    "saturate": (0, 1),
}
_INTEGERS = {"Reshape": 1, "ReduceSum": 1, "ReduceMax": 1, "ReduceMin": 1, "ReduceMean": 1}

_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "Add": ops.add, "Sub": ops.sub, "Mul": ops.mul, "Div": ops.div, "Pow": ops.pow,
    "Max": _of_two(ops.maximum), "Min": _of_two(ops.minimum), "Neg": ops.neg, "Abs": ops.abs,
    "Sign": ops.sign, "Sqrt": ops.sqrt, "Exp": ops.exp, "Log": ops.log, "Sin": ops.sin,
    "Cos": ops.cos, "Tanh": ops.tanh, "Erf": ops.erf, "Relu": ops.relu, "Sigmoid": ops.sigmoid,
    "Gelu": ops.gelu, "Softplus": _of_one(ops.softplus), "Floor": ops.floor, "Ceil": ops.ceil,
    "Round": _of_one(ops.round), "Where": ops.where, "Equal": ops.equal, "Less": ops.less,
    "LessOrEqual": ops.less_equal, "Identity": _identity, "Dropout": _identity,
    "MatMul": ops.matmul, "Gemm": _gemm, "Transpose": _transpose, "Reshape": _reshape,
    "Flatten": _flatten, "Cast": _cast, "Softmax": _softmax, "LogSoftmax": _log_softmax,
    "ArgMax": _argmax, "ReduceSum": _reduction(ops.sum), "ReduceMax": _reduction(ops.max),
    "ReduceMin": _reduction(ops.min), "ReduceMean": _reduction(ops.mean),
    "LayerNormalization": _layer_norm, "BatchNormalization": _batch_norm, "Conv": _conv,
    "MaxPool": _max_pool, "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
}  # fmt: skip
