"""ONNX files: what onnxruntime computes from them, what is read back, and what can't be written."""

import sys

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import lessons, nn
from tinytensor.onnx.exporting import _RULES as RULES
from tinytensor.onnx.exporting import export
from tinytensor.onnx.importing import load
from tinytensor.train import Training, load_model

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

IMAGE = (28, 28, 1)


def run(file, *arrays):
    """The first output of onnxruntime, for inputs in their order."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    given = {x.name: array for x, array in zip(session.get_inputs(), arrays, strict=True)}
    return session.run(None, given)[0]


def drawn(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def assert_alike(got, wanted):
    """Alike within 1e-5 of the largest element."""
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max(initial=1e-30))


class Function(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function):
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.onnx"


@pytest.fixture
def round_trip(file):
    """A function that checks a model's file against onnxruntime and against tt.onnx.load."""

    def check(model, x):
        export(model, file, x[:1])
        onnx.checker.check_model(onnx.load(file), full_check=True)
        ours = model.eval()(x).numpy()
        theirs = run(file, x)
        assert_alike(theirs, ours)
        assert_alike(load(file)(x).numpy(), theirs)
        return ours, theirs

    return check


@pytest.mark.parametrize("lesson", lessons.lessons(), ids=lambda lesson: lesson.number)
def test_onnxruntime_computes_the_logits_of_each_lesson(round_trip, lesson):
    model = lesson.new_model()
    for name, x in model.named_tensors():  # batch norm's averages, and zeros of lesson 1.0
        if x.dtype == np.float32:
            with tt.no_grad():
                x[...] = np.abs(drawn(*x.shape)) if name.endswith("var") else drawn(*x.shape) / 8
    round_trip(model, drawn(20, *IMAGE))


@pytest.mark.full
@pytest.mark.parametrize("lesson", lessons.lessons(), ids=lambda lesson: lesson.number)
def test_onnxruntime_predicts_the_same_digits(round_trip, lesson):
    data = tt.datasets.mnist()
    if lesson.number in ("1.0", "3.1", "best"):
        _, model = load_model(lesson.weights_file())
    else:
        training = Training(lesson, data, steps=50)
        for _ in training:
            pass
        model = training.model
    images = tt.datasets.to_float(data.test_images)
    for start in range(0, 10_000, 1000):
        ours, theirs = round_trip(model, images[start : start + 1000])
        assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).all()


MODELS = {
    "max_pool2d": nn.MaxPool2d(2),
    "max_pool2d overlapping": nn.MaxPool2d(3, 2, 1),
    "avg_pool2d": nn.AvgPool2d(2),
    "avg_pool2d overlapping": nn.AvgPool2d((3, 2), 2, 1),
    "avg_pool2d without padding": Function(
        lambda x: tt.avg_pool2d(x, 3, 2, 1, count_padding=False)
    ),
    "conv2d with odd padding": nn.Conv2d(1, 3, (4, 3), (3, 2), ((2, 1), (0, 2))),
    "conv2d with pixels left over": nn.Conv2d(1, 2, 3, 4, "valid"),
    "elementwise": Function(lambda x: (x.abs() + 1).log() * x.sin() - x.cos() / 2 + (-x).exp()),
    "rounding": Function(lambda x: x.floor() + 10 * x.ceil() + 100 * x.round() + 1000 * x.sign()),
    "powers": Function(lambda x: x.abs().sqrt() + x**2 + tt.erf(x)),
    "bounds": Function(lambda x: tt.maximum(x, 0.5) + tt.minimum(x, -0.5)),
    "comparisons": Function(lambda x: tt.where(x <= 0.1, x, (x == x) * 3.0)),
    "reductions": Function(lambda x: x.sum(axis=1) + x.max(axis=1) + x.min(axis=1)),
    "mean": Function(lambda x: x.mean(axis=(1, 2))),
    "argmax": Function(lambda x: x.reshape(-1, 784).argmax(axis=1).astype("float32")),
    "log_softmax": Function(lambda x: tt.log_softmax(x, 2)),
    "softmax": nn.Softmax(1),
    "axes": Function(lambda x: x.transpose((0, 3, 2, 1)).reshape(-1, 28, 28)),
    "products": Function(lambda x: tt.matmul(x[..., 0] if x.ndim < 4 else x.squeeze(3), WIDE)),
    "transposed product": Function(lambda x: tt.einsum("nhwc,vw->nhv", x, SQUARE)),
    "layer norm": nn.Sequential(Function(lambda x: x.squeeze(3)), nn.LayerNorm(28)),
    "layer norm of two axes": nn.Sequential(
        Function(lambda x: x.squeeze(3)), nn.LayerNorm((28, 28))
    ),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "tanh": nn.Tanh(),
    "softplus": Function(tt.softplus),
    "leaky_relu": nn.LeakyReLU(0.1),
    "the input": nn.Identity(),
    "a constant": Function(lambda x: tt.arange(3, dtype="float32")),
    "the same weight twice": Function(lambda x: x.squeeze(3) @ SQUARE + SQUARE.T),
    "float64": Function(lambda x: x.astype("float64") * 2),
}
WIDE, SQUARE = tt.tensor(drawn(28, 5)), tt.tensor(drawn(28, 28))


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_computes_the_same(round_trip, name):
    round_trip(MODELS[name], drawn(4, *IMAGE))


def test_every_rule_is_used_by_these_models(monkeypatch, file):
    used = set()
    for kernel, rule in list(RULES.items()):

        def noted(graph, call, kernel=kernel, rule=rule):
            used.add(kernel)
            return rule(graph, call)

        monkeypatch.setitem(RULES, kernel, noted)
    for model in [*MODELS.values(), *(lesson.new_model() for lesson in lessons.lessons())]:
        export(model, file, drawn(1, *IMAGE))
    assert set(RULES) == used


def test_the_file_has_the_models_names_and_a_free_batch(file):
    export(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), file, tt.zeros(1, *IMAGE))
    graph = onnx.load(file).graph
    names = {x.name for x in graph.initializer}
    assert {"layers.1.weight", "layers.1.bias"} <= names
    first, *others = graph.input[0].type.tensor_type.shape.dim
    assert (first.dim_param, [x.dim_value for x in others]) == ("batch", [28, 28, 1])
    assert graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    for n in (1, 7):
        assert run(file, drawn(n, *IMAGE)).shape == (n, 10)


def test_tensors_named_input_and_output_are_no_conflict(round_trip):
    model = Function(lambda x: x * model.input + model.output)
    model.input, model.output = tt.tensor([2.0]), tt.tensor([1.0])
    round_trip(model, drawn(4, 3))


def test_modes_stay_and_dropout_is_left_out(file):
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(keep_prob=0.5), nn.BatchNorm(3).eval())
    export(model, file, tt.zeros(1, 3))
    assert [m.training for m in model.modules()] == [True, True, True, False]
    assert_alike(run(file, drawn(5, 3)), model.eval()(drawn(5, 3)).numpy())


WRONG = {
    "a mean over the examples": (tt.mean, "constant of shape .* depends on the number of examples"),
    "a part": (lambda x: x[:, 0], r"take .*no counterpart in ONNX"),
    "concat": (lambda x: tt.concat([x, x], 1), "concat .*no counterpart in ONNX; the kernels that"),
    "a mask": (lambda x: tt.dropout(x, keep_prob=0.5), "dropout_mask .*no counterpart"),
    "a value": (lambda x: x * x.sum().item(), r"item\(\) reads values, which an ONNX file can't"),
    "two results": (lambda x: (x, x), "returns a tuple; one tensor is needed"),
    "a size": (lambda x: x * len(x), "depends on the number of examples"),
    "an index": (lambda x: tt.embedding(SQUARE, x.astype("int64")), "no counterpart in ONNX"),
    "a mask by rows": (lambda x: x[x > 0], "no counterpart|reads values"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_model_that_onnx_cannot_have(file, name):
    function, words = WRONG[name]
    with pytest.raises(tt.NotSupported, match=words):
        export(Function(function), file, drawn(3, *IMAGE))
    assert not file.exists()


def test_a_model_that_changes_its_own_tensor(file):
    model = Function(lambda x: x + model.count)
    model.count = tt.zeros(1)

    def forward(x):
        model.count[...] = model.count + 1
        return x + model.count

    model.function = forward
    with pytest.raises(tt.NotSupported, match="in place"):
        export(model, file, drawn(3, 2))


def test_arguments_that_do_not_fit(file, tmp_path):
    with pytest.raises(tt.NotSupported, match=r"got a function; a Module is needed"):
        export(tt.relu, file, tt.zeros(1, 2))
    for shape in ((), (0, 2)):
        with pytest.raises(tt.ShapeError, match=r"\(N, \.\.\.\) is needed"):
            export(nn.ReLU(), file, tt.zeros(*shape))
    for place in (tmp_path, tmp_path / "none" / "model.onnx"):
        with pytest.raises(tt.DataError, match="can't be written"):
            export(nn.ReLU(), place, tt.zeros(1, 2))


def test_without_onnx_the_message_names_the_command(monkeypatch, file):
    monkeypatch.setitem(sys.modules, "onnx", None)
    words = r"onnx is not installed; run: pip install 'tinytensor-engine\[onnx\]'"
    with pytest.raises(tt.SettingError, match=words):
        export(nn.ReLU(), file, tt.zeros(1, 2))
    with pytest.raises(tt.SettingError, match=words):
        load(file)
