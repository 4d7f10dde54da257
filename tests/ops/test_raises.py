"""Every error that an op's docstring names is raised, and it is the error that a call raises."""

import contextlib
import inspect
import itertools
import re
from collections.abc import Callable

import pytest

import tinytensor as tt
from tinytensor import errors, ops
from tinytensor.ops import creation, elementwise, reduce

Calls = dict[str, Callable[[], object]]

ONE, TWO, TABLE, IMAGES = tt.ones(1), tt.ones(2), tt.ones(2, 3), tt.ones(1, 5, 5, 2)
WEIGHT = tt.ones(3, 3, 2, 4)
LEAF = tt.Tensor(0.5, requires_grad=True)
COMPLEX = [1j]


def operand(op: Callable, *others) -> Calls:
    """Calls of an op whose first operand is not an array of real numbers."""
    return {"NotSupported": lambda: op(None, *others), "DTypeError": lambda: op(COMPLEX, *others)}


def pair(op: Callable) -> Calls:
    return {**operand(op, TWO), "ShapeError": lambda: op(TWO, tt.ones(3))}


def axis(op: Callable) -> Calls:
    return {**operand(op), "ShapeError": lambda: op(TABLE, axis=2)}


def captured(op: Callable, *arguments) -> Callable[[], object]:
    """A captured step that draws random numbers."""

    @tt.capture
    def step(x: tt.Tensor) -> tt.Tensor:
        return op(*arguments)

    return lambda: step(TWO)


def joining(op: Callable) -> Calls:
    return {
        "NotSupported": lambda: op(None),
        "DTypeError": lambda: op([COMPLEX]),
        "ShapeError": lambda: op([]),
    }


def loss(op: Callable) -> Calls:
    return {
        **pair(op),
        "SettingError": lambda: op(TWO, TWO, "all"),
    }


def normalization(op: Callable) -> Calls:
    return {
        **operand(op),
        "GradientError": lambda: op(TABLE, epsilon=LEAF),
        "SettingError": lambda: op(TABLE, epsilon=-1),
        "ShapeError": lambda: op(TABLE, tt.ones(2)),
    }


def pooling(op: Callable) -> Calls:
    return {
        **operand(op, 2),
        "SettingError": lambda: op(IMAGES, 2, padding=2),
        "ShapeError": lambda: op(IMAGES, 9),
    }


def filled(op: Callable) -> Calls:
    return {
        "DTypeError": lambda: op(2, dtype="int64", requires_grad=True),
        "ShapeError": lambda: op(-1),
    }


def drawn(op: Callable) -> Calls:
    return {
        "CaptureError": captured(op, 2),
        "DTypeError": lambda: op(2, dtype="int64"),
        "ShapeError": lambda: op(-1),
    }


def drawn_like(op: Callable) -> Calls:
    return {
        "CaptureError": captured(op, TWO),
        "DTypeError": lambda: op([1, 2]),
        "NotSupported": lambda: op(None),
    }


PAIRS = {
    "add", "div", "equal", "floor_div", "greater", "greater_equal", "less", "less_equal",
    "logical_and", "logical_or", "logical_xor", "maximum", "minimum", "mod", "mul", "not_equal",
    "pow", "sub",
}  # fmt: skip
CLOSE = {"allclose", "isclose"}
UNARY = set(elementwise.__all__) - PAIRS - CLOSE - {"clip", "masked_fill", "where"}

CALLS: dict[str, Calls] = {
    **{name: operand(getattr(tt, name)) for name in UNARY},
    **{name: pair(getattr(tt, name)) for name in PAIRS},
    **{
        name: {
            **pair(getattr(tt, name)),
            "GradientError": lambda name=name: getattr(tt, name)(TWO, TWO, LEAF),
            "SettingError": lambda name=name: getattr(tt, name)(TWO, TWO, "a"),
        }
        for name in CLOSE
    },
    **{name: axis(getattr(tt, name)) for name in reduce.__all__},
    **{name: axis(getattr(tt, name)) for name in ("sort", "argsort")},
    "topk": {
        **operand(tt.topk, 1),
        "SettingError": lambda: tt.topk(TABLE, 4),
        "ShapeError": lambda: tt.topk(TABLE, 1, axis=2),
    },
    "unique": {
        **operand(tt.unique),
        "CaptureError": lambda: tt.capture(tt.unique)(TWO),
        "GradientError": lambda: tt.unique(LEAF),
    },
    **{
        name: {
            **axis(getattr(tt, name)),
            "GradientError": lambda name=name: getattr(tt, name)(TWO, correction=LEAF),
            "SettingError": lambda name=name: getattr(tt, name)(TWO, correction="a"),
        }
        for name in ("std", "var")
    },
    "norm": {**axis(tt.norm), "SettingError": lambda: tt.norm(TWO, 3)},
    "where": {
        "NotSupported": lambda: tt.where(None, 1, 2),
        "DTypeError": lambda: tt.where([1], 1, 2),
        "ShapeError": lambda: tt.where([True, False], tt.ones(3), 0),
    },
    "clip": {**operand(tt.clip), "ShapeError": lambda: tt.clip(TWO, tt.ones(3))},
    "masked_fill": {
        "NotSupported": lambda: tt.masked_fill(TWO, None, 0),
        "DTypeError": lambda: tt.masked_fill(TWO, [1, 0], 0),
        "ShapeError": lambda: tt.masked_fill(TWO, [[True], [False]], 0),
    },
    "cast": {
        "NotSupported": lambda: tt.cast(None, "float32"),
        "DTypeError": lambda: tt.cast(TWO, "float16"),
    },
    "reshape": {**operand(tt.reshape, 1), "ShapeError": lambda: tt.reshape(TABLE, 5)},
    "flatten": {**operand(tt.flatten), "ShapeError": lambda: tt.flatten(TABLE, 1, 0)},
    "squeeze": axis(tt.squeeze) | {"ShapeError": lambda: tt.squeeze(TABLE, 0)},
    "unsqueeze": {**operand(tt.unsqueeze, 0), "ShapeError": lambda: tt.unsqueeze(TABLE, 4)},
    "broadcast_to": {
        **operand(tt.broadcast_to, 2),
        "ShapeError": lambda: tt.broadcast_to(TABLE, 2, 2),
    },
    "permute": {**operand(tt.permute, 0), "ShapeError": lambda: tt.permute(TABLE, 0, 0)},
    "transpose": {**operand(tt.transpose), "ShapeError": lambda: tt.transpose(TABLE, 0)},
    "flip": axis(tt.flip),
    "swapaxes": {**operand(tt.swapaxes, 0, 0), "ShapeError": lambda: tt.swapaxes(TABLE, 0, 2)},
    "roll": {
        **operand(tt.roll, 1),
        "SettingError": lambda: tt.roll(TABLE, 0.5),
        "ShapeError": lambda: tt.roll(TABLE, (1, 2), 0),
    },
    "meshgrid": {
        **operand(tt.meshgrid),
        "SettingError": lambda: tt.meshgrid(TWO, indexing="a"),
        "ShapeError": lambda: tt.meshgrid(TABLE),
    },
    "repeat": {**operand(tt.repeat, 2), "ShapeError": lambda: tt.repeat(TWO, [1, 2, 3])},
    **{name: joining(getattr(tt, name)) for name in ("concat", "stack")},
    "split": {**operand(tt.split, 1), "ShapeError": lambda: tt.split(TWO, [1, 2])},
    "take": {
        "NotSupported": lambda: tt.take(None, 0),
        "DTypeError": lambda: tt.take(TWO, 0.5),
        "IndexingError": lambda: tt.take(TWO, 2),
        "ShapeError": lambda: tt.take(TWO, 0, axis=1),
    },
    "gather": {
        "NotSupported": lambda: tt.gather(TABLE, None, 0),
        "DTypeError": lambda: tt.gather(TABLE, [[0.5]], 0),
        "IndexingError": lambda: tt.gather(TABLE, [[2]], 0),
        "ShapeError": lambda: tt.gather(TABLE, [0], 0),
    },
    "scatter_add": {
        "NotSupported": lambda: tt.scatter_add(TABLE, [[0]], None, 0),
        "DTypeError": lambda: tt.scatter_add(TABLE, [[0.5]], [[1.0]], 0),
        "IndexingError": lambda: tt.scatter_add(TABLE, [[2]], [[1.0]], 0),
        "ShapeError": lambda: tt.scatter_add(TABLE, [[0]], [1.0], 0),
    },
    "pad": {
        **operand(tt.pad, 1),
        "GradientError": lambda: tt.pad(TWO, 1, LEAF),
        "SettingError": lambda: tt.pad(TWO, 1, "a"),
        "ShapeError": lambda: tt.pad(TWO, -1),
    },
    "matmul": {**operand(tt.matmul, ONE), "ShapeError": lambda: tt.matmul(TABLE, TABLE)},
    **{
        name: {
            **operand(getattr(tt, name)),
            "SettingError": lambda name=name: getattr(tt, name)(TABLE, 0.5),
            "ShapeError": lambda name=name: getattr(tt, name)(1.0),
        }
        for name in ("diag", "tril", "triu")
    },
    "outer": {**operand(tt.outer, TWO), "ShapeError": lambda: tt.outer(TABLE, TWO)},
    "einsum": {
        "NotSupported": lambda: tt.einsum(TABLE, TABLE),
        "DTypeError": lambda: tt.einsum("i", COMPLEX),
        "ShapeError": lambda: tt.einsum("ij,jk", TABLE, TABLE),
    },
    "linear": {**operand(tt.linear, TABLE), "ShapeError": lambda: tt.linear(TABLE, TABLE)},
    "softmax": {**axis(tt.softmax), "SettingError": lambda: tt.softmax(TWO, norm=3)},
    "log_softmax": axis(tt.log_softmax),
    "cross_entropy": {
        "NotSupported": lambda: tt.cross_entropy(TABLE, None),
        "DTypeError": lambda: tt.cross_entropy(TABLE, [0.5, 0.5]),
        "GradientError": lambda: tt.cross_entropy(TABLE, [0, 1], label_smoothing=LEAF),
        "LabelError": lambda: tt.cross_entropy(TABLE, [0, 3]),
        "SettingError": lambda: tt.cross_entropy(TABLE, [0, 1], "all"),
        "ShapeError": lambda: tt.cross_entropy(TABLE, [0]),
    },
    "nll_loss": {
        "NotSupported": lambda: tt.nll_loss(TABLE, None),
        "DTypeError": lambda: tt.nll_loss(TABLE, [0.5, 0.5]),
        "LabelError": lambda: tt.nll_loss(TABLE, [0, 3]),
        "SettingError": lambda: tt.nll_loss(TABLE, [0, 1], "all"),
        "ShapeError": lambda: tt.nll_loss(TABLE, [0]),
    },
    **{
        name: loss(getattr(tt, name))
        for name in ("mse_loss", "l1_loss", "binary_cross_entropy_with_logits")
    },
    "one_hot": {
        "NotSupported": lambda: tt.one_hot(None, 3),
        "DTypeError": lambda: tt.one_hot([0.5], 3),
        "LabelError": lambda: tt.one_hot([3], 3),
        "SettingError": lambda: tt.one_hot([0], -1),
    },
    "embedding": {
        "NotSupported": lambda: tt.embedding(None, [0]),
        "DTypeError": lambda: tt.embedding(TABLE, [0.5]),
        "IndexingError": lambda: tt.embedding(TABLE, [2]),
        "ShapeError": lambda: tt.embedding(1.0, [0]),
    },
    "dropout": {
        **operand(tt.dropout),
        "GradientError": lambda: tt.dropout(TWO, keep_prob=LEAF),
        "SettingError": lambda: tt.dropout(TWO, keep_prob=0),
        "ShapeError": lambda: tt.dropout(TWO, channels=True),
    },
    **{
        name: normalization(getattr(tt, name))
        for name in ("batch_norm", "batch_norm_and_moments", "layer_norm")
    },
    "conv2d": {
        **operand(tt.conv2d, WEIGHT),
        "SettingError": lambda: tt.conv2d(IMAGES, WEIGHT, stride=0),
        "ShapeError": lambda: tt.conv2d(IMAGES, tt.ones(3, 3, 1, 1)),
    },
    **{name: pooling(getattr(tt, name)) for name in ("max_pool2d", "avg_pool2d")},
    "full": {
        "DTypeError": lambda: tt.full(2, 300, "uint8"),
        "GradientError": lambda: tt.full(2, LEAF),
        "NotSupported": lambda: tt.full(2, None),
        "ShapeError": lambda: tt.full(2, [1, 2]),
    },
    **{name: filled(getattr(tt, name)) for name in ("zeros", "ones", "eye", "empty")},
    "arange": {
        "DTypeError": lambda: tt.arange(3, requires_grad=True),
        "GradientError": lambda: tt.arange(LEAF),
        "SettingError": lambda: tt.arange(0, 3, 0),
    },
    "linspace": {
        "DTypeError": lambda: tt.linspace(0, 300, 3, dtype="uint8"),
        "GradientError": lambda: tt.linspace(0, LEAF),
        "SettingError": lambda: tt.linspace(0, 1, -1),
    },
    **{name: drawn(getattr(tt, name)) for name in ("rand", "randn", "truncated_normal")},
    "randint": {
        "CaptureError": captured(tt.randint, 0, 3, 2),
        "DTypeError": lambda: tt.randint(0, 3, 2, "int8"),
        "SettingError": lambda: tt.randint(3, 3, 2),
        "ShapeError": lambda: tt.randint(0, 3, -1),
    },
    "bernoulli": {
        **operand(tt.bernoulli),
        "CaptureError": captured(tt.bernoulli, [0.5]),
        "SettingError": lambda: tt.bernoulli([2.0]),
    },
    "full_like": {
        **operand(tt.full_like, 1),
        "GradientError": lambda: tt.full_like(TWO, LEAF),
        "ShapeError": lambda: tt.full_like(TWO, [1, 2]),
    },
    "zeros_like": operand(tt.zeros_like),
    "empty_like": operand(tt.empty_like),
    "ones_like": operand(tt.ones_like),
    **{name: drawn_like(getattr(tt, name)) for name in ("rand_like", "randn_like")},
}
CALLS["allclose"] |= {"CaptureError": lambda: tt.capture(lambda x: tt.allclose(x, x))(TWO)}
CALLS["truncated_normal"] |= {
    "GradientError": lambda: tt.truncated_normal(2, std=LEAF),
    "SettingError": lambda: tt.truncated_normal(2, std=-1),
}


def documented(name: str) -> set[str]:
    """The errors that the Raises section of an op names."""
    text = getattr(tt, name).__doc__
    section = re.search(r"^ +Raises:(.*?)^ +Source:", text, re.M | re.S)
    return set(re.findall("|".join(errors.__all__), section[1])) if section else set()


@pytest.mark.parametrize("name", tt.ops.__all__ + creation.__all__)
def test_ops_raise_the_errors_of_their_docstrings(name):
    assert documented(name) == set(CALLS[name])
    for error, call in CALLS[name].items():
        with pytest.raises(getattr(tt, error)) as raised:
            call()
        assert type(raised.value) is getattr(tt, error)


def test_every_call_is_of_a_public_op():
    assert set(CALLS) == {*tt.ops.__all__, *creation.__all__}


# Errors name the op that was called ---------------------------------------------------------------

MASK, INDEX = TABLE > 0, tt.Tensor([0, 1])
GOOD = [
    TABLE, tt.ones(3), 1, 0, MASK, INDEX, tt.Tensor([[0, 1, 1], [1, 0, 0]]), IMAGES, WEIGHT, 2,
    "ij->ji", [TABLE, TABLE], [[1, 2], [3, 4]], 0.5, (2, 3),
]  # fmt: skip
WRONG = [
    "a", None, [1j], object(), tt.ones(7, 9), tt.ones(7), tt.ones(5, 4, 3, 2), -7, 10**30, 10**400,
    2.5, float("nan"), [[1], [1, 2]], {}, tt.Tensor([True]), LEAF, (1, 2, 3, 4, 5, 6),
]  # fmt: skip


NAMED = {"dropout": {"keep_prob": 0.5}}  # an argument that must be given, by name


def required(op: Callable) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(op).parameters.values()
    names = [p.name for p in parameters if p.default is p.empty and p.kind in kinds]
    return [name for name in names if name != "unnamed"]  # arguments of dropout that are refused


def good_call(op: Callable) -> tuple:
    """Positional arguments that the op accepts."""
    for arguments in itertools.product(GOOD, repeat=len(required(op))):
        with contextlib.suppress(Exception):
            op(*arguments, **NAMED.get(op.__name__, {}))
            return arguments
    raise AssertionError(f"{op.__name__} accepts none of these arguments; add some")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted({*ops.__all__, *creation.__all__}))
def test_each_error_names_the_op_that_was_called(name):
    op = getattr(tt, name)
    good, wrong = good_call(op), []
    calls = [((*good[:i], value, *good[i + 1 :]), {}) for i in range(len(good)) for value in WRONG]
    for parameter in inspect.signature(op).parameters.values():
        is_flag = isinstance(parameter.default, bool)  # any object is true or false
        if parameter.default is not parameter.empty and not is_flag:
            calls += [(good, {parameter.name: value}) for value in WRONG]
    for arguments, named in calls:
        try:
            op(*arguments, **NAMED.get(name, {}) | named)
        except Exception as error:
            if not isinstance(error, tt.TinytensorError) or not re.match(
                f"{name}[:, ]", str(error)
            ):
                wrong.append(repr(error))
    assert not wrong, "\n".join(wrong)
