"""Names of PyTorch, NumPy, Keras and micrograd: those that exist here, and hints for the rest."""

import importlib
import math
import re

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import hints, nn, optim

X = tt.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
OWNERS = {
    "tt": tt,
    "tt.nn": nn,
    "tt.optim": optim,
    "tt.datasets": tt.datasets,
    "tt.random": tt.random,
    "tt.backends": tt.backends,
    "Tensor": X,
}
OWNERS |= {
    "tt.nn.functional": nn.functional,
    "tt.autograd": tt.autograd,
    "Module": nn.Module(),
    "Optimizer": optim.SGD([X], lr=0.1),
}
WORDS = [(owner, word) for owner, table in hints.HINTS.items() for word in table]
# What the code in a hint stands for
NAMES = {
    "tt": tt,
    "nn": nn,
    "optim": optim,
    "x": X,
    "y": X,
    "q": X,
    "k": X,
    "np": np,
    "optimizer": optim.Adam([X], lr=0.1),
    "loss": X,
    "model": nn.Sequential(),
    "layer": nn.BatchNorm(3),
    "data": tt.datasets.Dataset(*(np.zeros(shape, np.uint8) for shape in [(1, 28, 28), 1] * 2)),
}
CODE = re.compile(rf"(?<![\w.])({'|'.join(NAMES)})((?:\.[A-Za-z]\w*)+)")


@pytest.mark.parametrize(("owner", "word"), WORDS)
def test_a_word_without_a_meaning_here_names_what_to_write(owner, word):
    """If this fails because the name exists now, remove its row from the table."""
    assert not hasattr(OWNERS[owner], word)
    with pytest.raises(AttributeError) as caught:
        getattr(OWNERS[owner], word)
    assert str(caught.value) == f"{owner} has no {word!r}: {hints.HINTS[owner][word]}"


@pytest.mark.parametrize(("owner", "word"), WORDS)
def test_the_names_that_a_hint_recommends_exist(owner, word):
    for start, path in CODE.findall(hints.HINTS[owner][word]):
        value = NAMES[start]
        for name in path.strip(".").split("."):
            assert hasattr(value, name), f"{start}{path}"
            value = getattr(value, name)


def test_the_hints_are_many_and_short():
    assert len({word for _, word in WORDS}) > 300, "docs/guides/pytorch.md states this number"
    for owner, word in WORDS:
        message = f"{owner} has no {word!r}: {hints.HINTS[owner][word]}"
        assert len(message) < 200, message
        assert message[-1] not in ".!", "an error message has no full stop at its end"


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("from tinytensor import DataLoader", "tt has no 'DataLoader': tt.datasets.batches"),
        ("from tinytensor import nn, Value", "tt has no 'Value': write tt.tensor"),
        ("from tinytensor import cros_entropy", "did you mean 'cross_entropy'?"),
        ("from tinytensor import Adam", "tt has no 'Adam': it is tt.optim.Adam"),
        ("from tinytensor.nn import BatchNorm2d", "tt.nn has no 'BatchNorm2d': nn.BatchNorm"),
        ("from tinytensor.nn import Linaer", "did you mean 'Linear'?"),
        ("from tinytensor.optim.lr_scheduler import StepLR", "tt.optim has no 'lr_scheduler'"),
        ("from tinytensor.utils.data import DataLoader", "tt has no 'utils': tt.datasets.batches"),
        ("import tinytensor.keras as keras", "tt has no 'keras': tt.nn has the layers"),
        ("from tinytensor.autograd import Function", "tt.autograd has no 'Function': an op is"),
        ("from tinytensor import something_else", "cannot import name 'something_else'"),
    ],
)
def test_an_import_statement_gives_the_hint_too(statement, hint):
    with pytest.raises(ImportError, match=re.escape(hint)):
        exec(statement, {})


@pytest.mark.parametrize(
    ("owner", "word", "meant"),
    [
        (tt, "cros_entropy", "cross_entropy"),
        (tt, "manual_sed", "manual_seed"),
        (nn, "Sequental", "Sequential"),
        (nn, "MaxPool2D", "MaxPool2d"),
        (optim, "RMSProp", "RMSprop"),
        (nn.functional, "log_softmx", "log_softmax"),
        (X, "backwards", "backward"),
        (X, "requires_grads", "requires_grad"),
    ],
)
def test_a_misspelled_name_gets_the_nearest_one(owner, word, meant):
    assert not hasattr(owner, word)
    with pytest.raises(AttributeError, match=f"has no '{word}': did you mean '{meant}'\\?$"):
        getattr(owner, word)


@pytest.mark.parametrize(
    ("owner", "word", "place"),
    [
        (tt, "Linear", "tt.nn"),
        (tt, "SGD", "tt.optim"),
        (nn, "relu", "tt"),
        (tt, "detach", "Tensor"),
        (tt.autograd, "gradcheck", "tt"),
        (nn, "Adam", "tt.optim"),
    ],
)
def test_a_name_of_another_module_is_found_there(owner, word, place):
    with pytest.raises(AttributeError, match=f"has no '{word}': it is {place}.{word}$"):
        getattr(owner, word)


def test_a_method_in_place_names_the_one_that_returns_a_tensor():
    with pytest.raises(AttributeError, match=r"changed in place: write x = x\.exp\(\.\.\.\)$"):
        _ = X.exp_
    with pytest.raises(AttributeError, match=r"^Tensor has no 'xyzzy_'$"):
        _ = X.xyzzy_


# A hint that is a formula, and what PyTorch computes from x and y of shape (4, 4)
FORMULAS = {
    "tan": "tan(x)",
    "sinh": "sinh(x)",
    "cosh": "cosh(x)",
    "log2": "log2(x)",
    "log10": "log10(x)",
    "exp2": "exp2(x)",
    "remainder": "remainder(x, y)",
    "clamp_min": "clamp_min(x, 0)",
    "clamp_max": "clamp_max(x, 1)",
    "nan_to_num": "nan_to_num(x)",
    "diff": "diff(x, dim=0)",
    "amax": "amax(x, 1)",
    "amin": "amin(x, 1)",
    "std_mean": "std_mean(x, 0)",
    "var_mean": "var_mean(x, 0)",
    "aminmax": "aminmax(x)",
    "count_nonzero": "count_nonzero(x)",
    "nansum": "nansum(x)",
    "cumprod": "cumprod(x, 0)",
    "median": "median(x, 0).values",
    "quantile": "quantile(x, 0.5)",
    "trace": "trace(x)",
    "t": "t(x)",
    "ravel": "ravel(x)",
    "tile": "tile(x, (3, 1))",
    "repeat_interleave": "repeat_interleave(x, 3, 0)",
    "unbind": "unbind(x)",
    "nonzero": "nonzero(x, as_tuple=True)",
    "argwhere": "argwhere(x)",
    "fliplr": "fliplr(x)",
    "flipud": "flipud(x)",
    "bmm": "mm(x, y)",
    "tensordot": "tensordot(x, y, 1)",
    "cdist": "cdist(x, y)",
    "cosine_similarity": "cosine_similarity(x, y)",
    "normalize": "nn.functional.normalize(x)",
    "hardtanh": "nn.functional.hardtanh(x)",
    "logit": "logit(x)",
    "logsigmoid": "nn.functional.logsigmoid(x)",
    "mish": "nn.functional.mish(x)",
}


@pytest.mark.parametrize("word", FORMULAS)
def test_a_formula_computes_what_the_missing_name_does(word):
    torch = pytest.importorskip("torch")
    x, y = np.random.default_rng(0).uniform(0.1, 0.9, (2, 4, 4)).astype(np.float32)
    formula = hints.TENSORS[word].removeprefix("write ").removesuffix(" for positive x")
    formula = formula.removesuffix(", without a gradient").removesuffix(", once for each axis")
    ours = eval(formula, {"tt": tt, "np": np, "math": math, "x": tt.tensor(x), "y": tt.tensor(y)})
    names = {"x": torch.tensor(x), "y": torch.tensor(y)}
    theirs = eval(f"torch.{FORMULAS[word]}", {"torch": torch, **names})
    if not isinstance(ours, tuple | list):
        ours, theirs = [ours], [theirs]
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(one), other.numpy(), rtol=2e-5, atol=1e-6)


def test_other_names_raise_without_a_hint():
    for owner in (tt, nn, optim, X, tt.autograd, OWNERS["Optimizer"]):
        for name in ("xyzzy", "_private", "__wrapped__", "__array_interface_of__"):
            assert not hasattr(owner, name)
    with pytest.raises(AttributeError, match=r"^tt has no 'xyzzy'$"):
        _ = tt.xyzzy


def test_an_error_inside_of_a_property_is_not_hidden(monkeypatch):
    monkeypatch.setattr(tt.Tensor, "T", property(lambda self: self.array.missing))
    with pytest.raises(AttributeError, match="object has no attribute 'missing'"):
        _ = X.T


def test_python_adds_no_second_suggestion():
    import traceback

    with pytest.raises(AttributeError) as caught:
        _ = X.cuda
    (line,) = traceback.format_exception_only(caught.value)
    assert line == f"AttributeError: {caught.value}\n"


# Public names


def test_dir_lists_public_names_only():
    modules = {"errors", "interop", "onnx", "random"}
    assert set(dir(tt)) == {*tt.__all__, "__version__", "bool", *modules}
    assert set(dir(nn)) == {*nn.__all__, "functional"}
    assert dir(optim) == sorted(optim.__all__)
    assert dir(nn.functional) == sorted(tt.ops.__all__)
    assert set(dir(tt.datasets)) == {*tt.datasets.__all__, "augment"}
    for module in (tt, nn, optim, nn.functional, tt.datasets):
        assert all(hasattr(module, name) for name in dir(module))


def test_functional_is_the_ops():
    functional = importlib.import_module("tinytensor.nn.functional")
    assert functional is nn.functional
    assert all(getattr(functional, name) is getattr(tt, name) for name in dir(functional))


def test_the_dtypes_have_their_names():
    for name in ("float32", "float64", "int32", "int64", "uint8", "bool"):
        dtype = getattr(tt, name)
        assert dtype == np.dtype(name)
        assert tt.zeros(2, dtype=dtype).dtype == dtype
        assert tt.tensor([0, 1], dtype).dtype is tt.zeros(1, dtype=name).dtype
    names = {}
    exec("from tinytensor import *", names)
    assert names["float32"] == np.float32
    assert "bool" not in names, "Python's bool stays"


# tt.tensor and small methods of torch


def test_tensor_makes_a_tensor():
    array = np.arange(3.0)
    x = tt.tensor(array)
    array[0] = 9
    assert x.tolist() == [0, 1, 2]
    assert x.dtype == tt.float64
    assert tt.tensor([1.5, 2]).dtype == tt.float32
    assert tt.tensor([1, 2]).dtype == tt.int64
    assert tt.tensor([True]).dtype == tt.bool
    y = tt.tensor([[1, 2]], dtype=tt.float32, requires_grad=True)
    assert (y.shape, y.dtype, y.requires_grad) == ((1, 2), tt.float32, True)
    with pytest.raises(tt.DTypeError, match="gradients need float32"):
        tt.tensor([1, 2], requires_grad=True)
    with pytest.raises(tt.ShapeError, match="different lengths"):
        tt.tensor([[1], [2, 3]])
    for make in (tt.tensor, tt.Tensor):
        for sizes in ((3, 4), (2, 3, 4)):
            with pytest.raises(tt.DTypeError, match=r"zeros\(3, 4\) .* tt.tensor\(\[3, 4\]\)"):
                make(*sizes)


def test_devices():
    assert X.to("cpu") is X
    assert X.cpu() is X
    assert X.to(tt.int64).dtype == tt.int64
    assert X.to("cpu", tt.int64).dtype == tt.int64
    assert X.to(device="cpu", dtype=tt.int64).dtype == tt.int64
    assert X.to(device=tt.device("cpu")) is X
    assert X.to("float64").dtype == tt.float64
    (gradient,) = tt.grad(X.to(tt.float64).sum(), [X])
    assert gradient.tolist() == [[1, 1], [1, 1]]
    model = nn.Linear(2, 2)
    assert model.to(tt.device("cpu")) is model
    assert model.to(device="cpu") is model
    for device in ("cuda", "cuda:0", "mps", "cpu:1"):
        for move in (X.to, model.to, tt.device):
            with pytest.raises(tt.NotSupported, match=f'got {device!r}; "cpu" is the only device'):
                move(device)
    for absent in (tt.cuda, tt.accelerator):
        assert absent.is_available() is False
        assert not hasattr(absent, "synchronize")
        with pytest.raises(AttributeError, match="all tensors are on the CPU"):
            _ = absent.synchronize
    with pytest.raises(tt.DTypeError, match="got nonsense"):
        X.to("nonsense")


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons_are_methods_too(name):
    torch = pytest.importorskip("torch")
    values = [[1.0, 3.0], [2.0, 2.0]]
    expected = getattr(torch.tensor(values), name)(2).tolist()
    assert getattr(tt.tensor(values), name)(2).tolist() == expected


def test_view_as():
    x = tt.arange(6)
    assert x.view_as(tt.zeros(2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(tt.ShapeError):
        x.view_as(tt.zeros(2, 2))


def test_embedding_takes_both_orders():
    table = tt.randn(5, 3, requires_grad=True)
    index = tt.tensor([[4, 0], [4, 1]])
    ours = tt.embedding(table, index)
    assert ours.shape == (2, 2, 3)
    for torchs in (tt.embedding(index, table), tt.embedding(index.numpy(), table)):
        np.testing.assert_array_equal(torchs.numpy(), ours.numpy())
    (gradient,) = tt.grad(tt.embedding(index, table).sum(), [table])
    assert gradient[:, 0].tolist() == [1, 1, 0, 0, 2]
    integers = tt.tensor([[1, 2], [3, 4]])  # our order, because the dtypes are the same
    assert tt.embedding(integers, [1]).tolist() == [[3, 4]]
    assert tt.embedding(integers, []).shape == (0, 2)
    with pytest.raises(tt.DTypeError, match="index of float32"):
        tt.embedding(table, tt.ones(2))
