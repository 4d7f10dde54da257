"""ONNX files: what onnxruntime computes from them, what is read back, and what can't be written."""

import subprocess
import sys

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import lessons, nn
from tinytensor.onnx.exporting import _RULES as RULES
from tinytensor.onnx.exporting import export
from tinytensor.onnx.importing import load
from tinytensor.saved_model import load_model
from tinytensor.train import Training

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
    "a deviation": Function(lambda x: x.std(axis=(1, 2))),
    "zeros for each example": Function(lambda x: tt.where(x > 0, x, tt.zeros_like(x))),
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


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tt.clip(x, -0.5, 0.5),
        lambda x: tt.clip(x, min=tt.full_like(x, -0.1)),
        lambda x: tt.where(tt.logical_and(x > 0, x < 1), x, 2.0),
    ],
)
def test_onnxruntime_computes_conditions(file, function):
    export(Function(function), file, drawn(1, 3))
    onnx.checker.check_model(onnx.load(file), full_check=True)
    x = drawn(7, 3)
    x[2] = np.nan
    np.testing.assert_array_equal(run(file, x), function(tt.tensor(x)).numpy())


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
    "a mean over the examples": (tt.mean, r"constant of shape \(\) in div .*depends on the number"),
    "rows that a sum lacks": (
        lambda x: x.sum(axis=0) + tt.ones_like(x),
        r"28, 1\) in add .*depends",
    ),
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


# Files of other programs


def graph_of(*nodes, inputs=None, outputs=None, constants=None, opset=20, **settings):
    """A model of ONNX with float inputs and outputs of any size, and constants by name."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    inputs, outputs = inputs or {"x": 2}, outputs or {"y": 2}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(x, floats, [None] * ndim) for x, ndim in inputs.items()],
        [helper.make_tensor_value_info(x, floats, [None] * ndim) for x, ndim in outputs.items()],
        [onnx.numpy_helper.from_array(x, name) for name, x in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("mine", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, **settings)


def node(op, inputs="x", outputs="y", **attributes):
    return onnx.helper.make_node(op, inputs.split(" "), outputs.split(), **attributes)


IMAGES = {"inputs": {"x": 4}, "outputs": {"y": 4}}
MATRICES = {"w": drawn(4, 3), "b": drawn(3)}
FOREIGN = {
    "Gemm": ([node("Gemm", "x w b", alpha=0.5, beta=2.0)], {"constants": MATRICES}),
    "Gemm transposed": (
        [node("Gemm", "x w", transA=1, transB=1)],
        {"constants": {"w": drawn(3, 5)}},
    ),
    "BatchNormalization": (
        [node("BatchNormalization", "x s o m v", epsilon=0.1)],
        {**IMAGES, "constants": {**{k: drawn(2) for k in "som"}, "v": np.abs(drawn(2))}},
    ),
    "Conv with a bias": (
        [node("Conv", "x w b", strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 1], group=1)],
        {**IMAGES, "constants": {"w": drawn(3, 2, 3, 2), "b": drawn(3)}},
    ),
    "AveragePool": ([node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], IMAGES),
    "GlobalAveragePool": ([node("GlobalAveragePool")], IMAGES),
    "Flatten": ([node("Flatten", axis=2)], {"inputs": {"x": 4}}),
    "Flatten and Dropout": (
        [node("Flatten", outputs="z"), node("Dropout", "z")],
        {"inputs": {"x": 4}},
    ),
    "Reshape that keeps a size": (
        [node("Reshape", "x n")],
        {**IMAGES, "outputs": {"y": 2}, "constants": {"n": np.array([0, -1])}},
    ),
    "Transpose": ([node("Transpose")], {}),
    "ReduceMean": (
        [node("ReduceMean", "x n", keepdims=0)],
        {**IMAGES, "outputs": {"y": 2}, "constants": {"n": np.array([-1, 2])}},
    ),
    "ReduceMax of opset 13": ([node("ReduceMax", axes=[1])], {"opset": 13}),
    "ReduceSum over all": ([node("ReduceSum", keepdims=0)], {"outputs": {"y": 0}}),
    "ReduceSum over none": (
        [node("ReduceSum", "x n", noop_with_empty_axes=1)],
        {"constants": {"n": np.array([], np.int64)}},
    ),
    "Max of three": ([node("Max", "x z v")], {"inputs": {"x": 2, "z": 2, "v": 2}}),
    "a Constant": (
        [
            node("Constant", "", "c", value=onnx.numpy_helper.from_array(drawn(4))),
            node("Add", "x c"),
        ],
        {},
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_another_program(file, name):
    nodes, settings = FOREIGN[name]
    for each in nodes:
        if each.op_type == "Constant":
            del each.input[:]
    onnx.save(graph_of(*nodes, **settings), file)
    shapes = [(5, 2, 6, 7) if n == 4 else (5, 4) for n in settings.get("inputs", {"x": 2}).values()]
    given = [drawn(*shape) * (i + 1) for i, shape in enumerate(shapes)]
    assert_alike(load(file)(*given).numpy(), run(file, *given))


def test_several_outputs_are_a_tuple(file):
    onnx.save(graph_of(node("Abs"), node("Neg", "x", "z"), outputs={"y": 2, "z": 2}), file)
    model = load(file)
    y, z = model(tt.tensor([[-1.0, 2.0]]))
    assert (y.tolist(), z.tolist()) == ([[1.0, 2.0]], [[1.0, -2.0]])
    assert not model.training
    assert "nodes=2" in repr(model)
    with pytest.raises(tt.NotSupported, match="got 2 arguments; 1 are needed: x"):
        model(y, z)


def raw(name, shape, data):
    return onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=shape, raw_data=data)


UNSUPPORTED = {
    "an operator": (graph_of(node("Hardmax")), "Hardmax 'y': the operator is not supported"),
    "another domain": (graph_of(node("Relu", domain="mine")), "the operator is not supported"),
    "an attribute": (
        graph_of(node("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]), **IMAGES),
        r"dilations=\[2, 2\] is not supported",
    ),
    "a mode": (
        graph_of(node("AveragePool", kernel_shape=[2, 2], ceil_mode=1), **IMAGES),
        "ceil_mode=1 is not supported",
    ),
    "a second output": (graph_of(node("Dropout", "x", "y mask")), "a second output"),
    "a third input": (
        graph_of(
            node("Dropout", "x r t"),
            constants={"r": np.float32(0.5).reshape(()), "t": np.array(True)},
        ),
        "too many positional arguments",
    ),
    "old": (graph_of(node("Relu"), opset=12), "has opset 12; 13 to"),
    "a computed shape": (
        graph_of(node("Shape", "x", "n"), node("Reshape", "x n")),
        "Shape 'n': the operator is not supported|constant integers are needed",
    ),
    "float16": (
        graph_of(node("Relu"), constants={"c": drawn(2).astype(np.float16)}),
        "'c' is FLOAT16; FLOAT, DOUBLE, INT64 or BOOL is needed",
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_file_that_is_not_supported(file, name):
    model, words = UNSUPPORTED[name]
    onnx.save(model, file)
    with pytest.raises(tt.DataError, match=rf"^onnx.load: .*model\.onnx.*({words})"):
        load(file)


def malformed(change):
    """The bytes of a small file after a change of the model."""
    model = graph_of(node("MatMul", "x w"), constants={"w": drawn(4, 3)})
    change(model.graph)
    return model.SerializeToString()


def make_external(graph):
    graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    graph.initializer[0].external_data.add(key="location", value="other.bin")


MALFORMED = {
    "no protobuf": (b"PK\x03\x04 no model", "isn't an ONNX file"),
    "empty": (b"", "is malformed"),
    "cut off": (malformed(lambda graph: None)[:-9], "isn't an ONNX file"),
    "a missing input": (malformed(lambda graph: graph.initializer.pop()), "is malformed"),
    "no nodes": (malformed(lambda graph: graph.node.pop()), "is malformed"),
    "sizes": (
        malformed(lambda graph: graph.initializer[0].dims.__setitem__(0, 2**40)),
        "is malformed|bytes are needed",
    ),
    "a negative size": (
        malformed(lambda graph: graph.initializer[0].dims.__setitem__(0, -4)),
        "is malformed|bytes are needed",
    ),
    "shapes that differ": (
        malformed(lambda graph: graph.initializer[0].CopyFrom(raw("w", (), b"1234"))),
        "is malformed",
    ),
    "a dtype": (
        malformed(lambda graph: setattr(graph.initializer[0], "data_type", 99)),
        "is malformed",
    ),
    "another file": (malformed(make_external), "has its weights in another file"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file(file, name):
    content, words = MALFORMED[name]
    file.write_bytes(content)
    with pytest.raises(tt.DataError, match=rf"^onnx.load: .*model\.onnx.*({words})"):
        load(file)


def test_a_path_that_cannot_be_read(tmp_path):
    with pytest.raises(tt.DataError, match=r"none\.onnx can't be read: No such file"):
        load(tmp_path / "none.onnx")
    with pytest.raises(tt.DataError, match="a regular file is needed"):
        load(tmp_path)
    with pytest.raises(tt.NotSupported, match="the path of a file is needed"):
        load(3)


def test_padding_wider_than_the_window_is_refused_before_memory_is_allocated(file):
    wide = node("Conv", "x w", pads=[2**30] * 4)
    onnx.save(graph_of(wide, **IMAGES, constants={"w": drawn(1, 1, 3, 3)}), file)
    with pytest.raises(tt.NotSupported, match="0 up to its size less 1 are supported"):
        load(file)(drawn(1, 1, 4, 4))


def test_the_package_is_imported_without_onnx():
    program = "import sys, tinytensor; print('onnx' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "False\n"


def test_without_onnx_the_message_names_the_command(monkeypatch, file):
    monkeypatch.setitem(sys.modules, "onnx", None)
    words = r"onnx is not installed; run: pip install 'tinytensor-engine\[onnx\]'"
    with pytest.raises(tt.SettingError, match=words):
        export(nn.ReLU(), file, tt.zeros(1, 2))
    with pytest.raises(tt.SettingError, match=words):
        load(file)
