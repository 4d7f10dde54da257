"""PyTorch's own sample inputs: every op that both have, forward and gradient.

    python tests/ops/test_opinfo.py

prints the number of samples that agree, and of those that are refused because of an argument or a
shape that the op does not have here. The samples come from torch.testing, which needs the package
expecttest.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytensor as tt

Function = Callable[..., Any]

DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 2e-5, "float64": 1e-10}  # relative to the largest value


# The ops, with PyTorch's arguments ---------------------------------------------------------------


class RefusedError(Exception):
    """The op does not have this argument, dtype or shape here."""


def refuse(**arguments: Any) -> None:
    """Refuse the sample if one of these arguments, which the op does not have here, is used."""
    for name, used in arguments.items():
        if used:
            raise RefusedError(f"argument {name}")


def same(name: str) -> Function:
    return getattr(tt, name)


def inplace(op: Function) -> Function:
    return lambda *given, inplace=False, **named: op(*given, **named)


def _var(op: Function) -> Function:
    def spread(x, dim=None, unbiased=True, keepdim=False, *, correction=None):
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        dim = None if dim == () or dim == [] else dim
        correction = (1 if unbiased else 0) if correction is None else correction
        return op(x, dim, correction=correction, keepdims=keepdim)

    return spread


def _reduced(op: Function) -> Function:
    """An empty tuple of axes means all axes in PyTorch."""
    return lambda x, dim=None, keepdim=False: op(
        x, None if isinstance(dim, tuple | list) and not dim else dim, keepdim
    )


def _cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0):
    ignored = ignore_index if target.dtype.kind == "i" else None
    settings = {"weight": weight, "label_smoothing": label_smoothing, "ignore_index": ignored}
    return tt.cross_entropy(x, target, reduction, **settings)


def _images(op: Function) -> Function:
    """An op of images (N, H, W, C), on images (N, C, H, W)."""
    return lambda x, *given, **named: op(x.permute(0, 2, 3, 1), *given, **named).permute(0, 3, 1, 2)


def _conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    refuse(groups=groups > 1, dilation=np.any(np.array(dilation) > 1))
    return _images(tt.conv2d)(x, weight.permute(2, 3, 1, 0), bias, stride, padding)


def _pool2d(op: Function) -> Function:
    def pool(x, kernel_size, stride, padding, **named):
        stride = stride or None  # () means None
        return _images(op)(x, kernel_size, stride, padding, **named)

    return pool


def _avg_pool2d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    refuse(ceil_mode=ceil_mode, divisor_override=divisor_override)
    return _pool2d(tt.avg_pool2d)(x, kernel_size, stride, padding, count_padding=count_include_pad)


def _max_pool2d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    dilated = np.any(np.array(dilation) > 1)
    refuse(dilation=dilated, ceil_mode=ceil_mode, return_indices=return_indices)
    return _pool2d(tt.max_pool2d)(x, kernel_size, stride, padding)


def _pad(x, pad, mode="constant", value=0.0):
    refuse(mode=mode != "constant")
    pairs = [pad[i : i + 2] for i in range(0, len(pad), 2)][::-1]  # the last axis comes first
    return tt.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs, value or 0.0)


def _unique(x, sorted=True, return_inverse=False, return_counts=False, dim=None):
    refuse(return_inverse=return_inverse, return_counts=return_counts, dim=dim is not None)
    return tt.unique(x)


def _repeat_interleave(x, repeats, dim=None):
    return tt.repeat(x, repeats, dim)


def _linear(x, weight, bias=None):
    return tt.linear(x, weight.T, bias)


def _embedding(weight, index, padding_idx=None, max_norm=None, **named):
    refuse(padding_idx=padding_idx is not None, max_norm=max_norm is not None, **named)
    return tt.embedding(weight, index)


def _layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    axes = tuple(range(-len(normalized_shape), 0))
    return tt.layer_norm(x, weight, bias, axes, eps)


def _vector_norm(x, ord=2, dim=None, keepdim=False):
    return tt.norm(x, ord, dim, keepdim)


def _div(x, y, rounding_mode=None):
    refuse(rounding_mode=rounding_mode == "trunc")
    return tt.floor_div(x, y) if rounding_mode else tt.div(x, y)


def _gelu(x, approximate="none"):
    refuse(approximate=approximate != "none")
    return tt.gelu(x)


def _softplus(x, beta=1, threshold=20):
    return tt.where(beta * x > threshold, x, tt.softplus(beta * x) / beta)


def _argsort(x, dim=-1, descending=False, stable=False):
    """The elements at the indices, because PyTorch may return any order of equal elements."""
    return tt.gather(x, tt.argsort(x, dim, descending), dim)


def _sort(x, dim=-1, descending=False, stable=False):
    return tt.sort(x, dim, descending), tt.argsort(x, dim, descending)


UNARY = (
    "abs", "ceil", "clone", "cos", "erf", "exp", "expm1", "floor", "isfinite", "isinf", "isnan",
    "log", "log1p", "logical_not", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin",
    "sqrt", "square", "tanh",
)  # fmt: skip
BINARY = (
    "add", "eq", "ge", "gt", "isclose", "le", "logical_and", "logical_or", "logical_xor", "lt",
    "maximum", "minimum", "mul", "ne", "pow", "sub", "allclose",
)  # fmt: skip
OTHERS = (
    "arange", "argmax", "argmin", "cat", "cumsum", "diag", "eye",
    "full", "full_like", "linspace", "log_softmax", "matmul", "mm", "ones", "ones_like", "outer",
    "reshape", "roll", "softmax", "split", "squeeze", "stack", "tril", "triu", "unsqueeze",
    "view", "zeros", "zeros_like", "masked_fill", "permute", "broadcast_to",
)  # fmt: skip
OPS: dict[str, Function] = {
    **{name: same(name) for name in (*UNARY, *BINARY, *OTHERS)},
    **{name: _reduced(same(name)) for name in ("all", "any", "logsumexp", "mean", "prod", "sum")},
    "T": lambda x: x.T,
    "__getitem__": lambda x, key: x[key],
    "__radd__": lambda x, y: y + x,
    "__rdiv__": lambda x, y: y / x,
    "__rmatmul__": lambda x, y: tt.matmul(y, x),
    "__rmod__": lambda x, y: y % x,
    "__rmul__": lambda x, y: y * x,
    "__rpow__": lambda x, y: y**x,
    "__rsub__": lambda x, y: y - x,
    "amax": _reduced(tt.max),
    "amin": _reduced(tt.min),
    "argsort": _argsort,
    "bmm": tt.matmul,
    "clamp": lambda x, min=None, max=None: tt.clip(x, min, max),
    "clamp_max": lambda x, max: tt.clip(x, max=max),
    "clamp_min": lambda x, min: tt.clip(x, min),
    "div": _div,
    "dot": tt.matmul,
    "einsum": lambda operands, formula: tt.einsum(formula, *operands),
    "flatten": lambda x, start_dim=0, end_dim=-1: tt.flatten(x, start_dim, end_dim),
    "flip": lambda x, dims: tt.flip(x, dims),
    "floor_divide": tt.floor_div,
    "gather": lambda x, dim, index: tt.gather(x, index, dim),
    "index_select": lambda x, dim, index: tt.take(x, index, dim),
    "linalg.vector_norm": _vector_norm,
    "meshgrid": lambda *xs, indexing="ij": tt.meshgrid(
        *(xs[0] if isinstance(xs[0], list) else xs), indexing=indexing
    ),
    "mv": tt.matmul,
    "positive": lambda x: +x,
    "remainder": tt.mod,
    "repeat_interleave": _repeat_interleave,
    "rsub": lambda x, y, alpha=1: y - alpha * x,
    "scatter_add": lambda x, dim, index, source: tt.scatter_add(x, index, source, dim),
    "sort": _sort,
    "split_with_sizes": tt.split,
    "std": _var(tt.std),
    "t": lambda x: x.T,
    "take": lambda x, index: tt.take(x, index),
    "topk": lambda x, k, dim=-1, largest=True, sorted=True: tt.topk(x, k, dim, largest),
    "transpose": lambda x, dim0, dim1: tt.swapaxes(x, dim0, dim1),
    "true_divide": tt.div,
    "unique": _unique,
    "var": _var(tt.var),
    "where": lambda x, condition, y: tt.where(condition, x, y),
    "nn.functional.avg_pool2d": _avg_pool2d,
    "nn.functional.binary_cross_entropy_with_logits": tt.binary_cross_entropy_with_logits,
    "nn.functional.conv2d": _conv2d,
    "nn.functional.cross_entropy": _cross_entropy,
    "nn.functional.elu": inplace(tt.elu),
    "nn.functional.embedding": _embedding,
    "nn.functional.gelu": _gelu,
    "nn.functional.l1_loss": tt.l1_loss,
    "nn.functional.layer_norm": _layer_norm,
    "nn.functional.leaky_relu": inplace(
        lambda x, negative_slope=0.01: tt.leaky_relu(x, negative_slope)
    ),
    "nn.functional.linear": _linear,
    "nn.functional.max_pool2d": _max_pool2d,
    "nn.functional.mse_loss": tt.mse_loss,
    "nn.functional.one_hot": lambda x, num_classes=-1: tt.one_hot(x, num_classes, "int64"),
    "nn.functional.pad": _pad,
    "nn.functional.relu": inplace(tt.relu),
    "nn.functional.silu": inplace(tt.silu),
    "nn.functional.softplus": _softplus,
}
# PyTorch's gradient of one normalised element is a rounding error of about 1e-5; here it is 0.
LOOSE = {"nn.functional.layer_norm": 10}


# One sample --------------------------------------------------------------------------------------


@functools.cache
def database() -> dict[str, list[Any]]:
    """PyTorch's descriptions of its ops, by name."""
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch expecttest")
    pytest.importorskip("expecttest", reason="torch.testing needs it: pip install expecttest")
    from torch.testing._internal.common_methods_invocations import op_db

    found: dict[str, list[Any]] = {}
    for op in op_db:
        found.setdefault(op.name, []).append(op)
    return found


def of_torch(value: Any, made: list[tuple[Any, tt.Tensor]]) -> Any:
    """An argument of a sample for an op here; `made` gets the pairs of tensors."""
    import torch

    if isinstance(value, torch.Tensor):
        name = str(value.dtype).removeprefix("torch.")
        if name not in ("float32", "float64", "int32", "int64", "uint8", "bool"):
            raise RefusedError(f"dtype {name}")
        x = tt.Tensor(value.detach().numpy(), requires_grad=value.requires_grad)
        made.append((value, x))
        return x
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, list | tuple):
        return type(value)(of_torch(item, made) for item in value)
    return value


def differs(got: Any, wanted: Any, dtype: str, looser: float = 1) -> str:
    """Why a result or gradient is not PyTorch's; empty if it is."""
    if isinstance(wanted, list | tuple):
        parts = [differs(one, other, dtype) for one, other in zip(got, wanted, strict=True)]
        return next(filter(None, parts), "")
    if isinstance(wanted, bool):
        return "" if got == wanted else f"{got}, not {wanted}"
    array, expected = got.detach().numpy(), wanted.detach().numpy()
    if array.shape != expected.shape:
        return f"shape {array.shape}, not {expected.shape}"
    if array.dtype != expected.dtype:
        return f"{array.dtype}, not {expected.dtype}"
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1) if expected.size else 1
    tolerance = looser * TOLERANCE[dtype]
    close = np.allclose(array, expected, tolerance, tolerance * scale, equal_nan=True)
    return "" if close else f"{array!r}, not {expected!r}"


def first(result: Any) -> list[Any]:
    return list(result) if isinstance(result, list | tuple) else [result]


def check(name: str, op: Any, sample: Any, dtype: str) -> str:
    """Compare one sample; returns what is wrong, and raises RefusedError if the op refuses it."""
    import torch

    made: list[tuple[Any, tt.Tensor]] = []
    arguments = of_torch([sample.input, *sample.args], made)
    named = {key: of_torch(value, made) for key, value in sample.kwargs.items()}
    named = {key: value for key, value in named.items() if key not in ("device", "layout")}
    wanted = op(sample.input, *sample.args, **sample.kwargs)
    try:
        result = OPS[name](*arguments, **named)
    except tt.TinytensorError as error:
        raise RefusedError(type(error).__name__) from error
    except TypeError as error:
        argument = str(error).rpartition("keyword argument ")[2].strip("'")
        raise RefusedError(
            f"argument {argument}" if "keyword" in str(error) else "arguments"
        ) from error
    if name == "argsort":
        axis = sample.args[0] if sample.args else sample.kwargs.get("dim", -1)
        wanted = torch.gather(sample.input, axis, wanted)
    if name in ("sort", "topk"):  # of equal elements PyTorch may return any index
        result, wanted = result[0], wanted[0]
    if {x.dtype.kind for _, x in made} == {"f", "i"} and getattr(result, "dtype", "") == "float64":
        result = result.astype(dtype)  # as in NumPy, int32 and float32 give float64
    if wrong := differs(result, wanted, dtype):
        return wrong
    pairs = [
        (ours, theirs)
        for ours, theirs in zip(first(result), first(wanted), strict=True)
        if isinstance(theirs, torch.Tensor) and theirs.requires_grad
    ]
    leaves = [(theirs, ours) for theirs, ours in made if theirs.requires_grad]
    if not pairs or not leaves:
        return ""
    if not all(ours.requires_grad for ours, _ in pairs):
        return "the result has no graph"
    weights = [np.cos(np.arange(ours.size)).reshape(ours.shape).astype(dtype) for ours, _ in pairs]
    total = sum((ours * tt.Tensor(w)).sum() for (ours, _), w in zip(pairs, weights, strict=True))
    their_total = sum(
        (theirs * torch.tensor(w)).sum() for (_, theirs), w in zip(pairs, weights, strict=True)
    )
    total.backward()
    theirs_grads = torch.autograd.grad(their_total, [t for t, _ in leaves], allow_unused=True)
    for (_, ours), grad in zip(leaves, theirs_grads, strict=True):
        if grad is not None and (wrong := differs(ours.grad, grad, dtype, LOOSE.get(name, 1))):
            return f"gradient {wrong}"
    return ""


def samples_of(name: str, dtype: str) -> list[tuple[Any, Any]]:
    import torch

    found = []
    for op in database()[name]:
        kind = getattr(torch, dtype)
        if kind in op.supported_dtypes("cpu"):
            torch.manual_seed(0)
            found += [
                (op, sample)
                for sample in op.sample_inputs("cpu", kind, requires_grad=op.supports_autograd)
            ]
        elif name == "nn.functional.one_hot":
            found += [(op, sample) for sample in op.sample_inputs("cpu", torch.int64)]
    return found


def walk(name: str, dtype: str) -> tuple[int, Counter[str], list[str]]:
    """The number of samples that agree, the refused ones by reason, and the wrong ones."""
    agree, refused, wrong = 0, Counter[str](), []
    for op, sample in samples_of(name, dtype):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                difference = check(name, op, sample, dtype)
            except RefusedError as reason:
                refused[str(reason)] += 1
                continue
        if difference:
            shown = f"{sample.input} {sample.args} {sample.kwargs}"
            wrong.append(f"{name} of {' '.join(shown.split())[-300:]}: {difference[:300]}")
        else:
            agree += 1
    return agree, refused, wrong


@pytest.mark.full
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(OPS))
def test_agrees_with_torch_on_its_own_samples(name, dtype):
    assert name in database()
    agree, refused, wrong = walk(name, dtype)
    assert not wrong, "\n".join(wrong)
    assert agree, refused


if __name__ == "__main__":
    total, reasons = Counter[str](), Counter[str]()
    for name in sorted(OPS):
        for dtype in DTYPES:
            agree, refused, wrong = walk(name, dtype)
            total += Counter(agree=agree, refused=refused.total(), wrong=len(wrong))
            reasons += refused
            print(f"{name:48}{dtype:9}{agree:6} agree", dict(refused) or "", *wrong[:2], sep="  ")
    print(dict(total), dict(reasons.most_common()), sep="\n")
