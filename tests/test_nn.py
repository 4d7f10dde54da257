"""Layers: results, gradients, parameters, state, and modules that contain modules."""

import math

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import nn


def net():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2),
        nn.BatchNorm(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8, 3, bias=None),
    )


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


# Initialisers


def test_constants():
    assert nn.zeros((2, 3)).tolist() == [[0] * 3] * 2
    assert nn.constant(0.1)((2,)).numpy().tolist() == [np.float32(0.1)] * 2
    assert nn.constant(1)((2,)).dtype == np.float32


def test_truncated_normal_is_cut_at_two_deviations():
    tt.manual_seed(0)
    drawn = nn.truncated_normal(0.1)((300, 200)).numpy()
    assert drawn.dtype == np.float32
    assert np.abs(drawn).max() <= 0.2
    assert np.abs(drawn).max() > 0.199
    assert abs(drawn.mean()) < 0.002
    # The cut reduces the standard deviation to 0.8796 of its value.
    assert drawn.std() == pytest.approx(0.08796, rel=0.01)


@pytest.mark.parametrize(("shape", "inputs"), [((300, 200), 300), ((5, 5, 40, 60), 1000)])
def test_he_has_variance_2_over_inputs(shape, inputs):
    tt.manual_seed(0)
    drawn = nn.he(shape).numpy()
    assert drawn.dtype == np.float32
    assert drawn.std() == pytest.approx(math.sqrt(2 / inputs), rel=0.01)
    assert abs(drawn.mean()) < 0.02 * drawn.std()
    assert np.abs(drawn).max() > 3 * drawn.std(), "normal, with tails"


@pytest.mark.parametrize(
    ("shape", "total"), [((300, 200), 300 + 200), ((5, 5, 40, 60), 25 * (40 + 60))]
)
def test_glorot_is_uniform_with_variance_2_over_sum(shape, total):
    tt.manual_seed(0)
    drawn = nn.glorot(shape).numpy()
    limit = math.sqrt(6 / total)
    assert np.abs(drawn).max() <= limit
    assert np.abs(drawn).max() > 0.999 * limit
    assert drawn.std() == pytest.approx(math.sqrt(2 / total), rel=0.01)
    assert abs(drawn.mean()) < 0.02 * drawn.std()


def test_the_same_seed_gives_the_same_network():
    def weights(seed):
        tt.manual_seed(seed)
        return [x.numpy().tolist() for x in net().parameters()]

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


# Layers


def test_linear(backend):
    layer = nn.Linear(3, 2, weight=nn.constant(0.5), bias=nn.constant(1.0))
    assert layer(tt.Tensor([[1.0, 2.0, 3.0]])).tolist() == [[4, 4]]
    assert layer(tt.ones(2, 4, 3)).shape == (2, 4, 2)
    no_bias = nn.Linear(3, 2, bias=None)
    x = images(5, 3)
    np.testing.assert_allclose(
        no_bias(tt.Tensor(x)).numpy(), x @ no_bias.weight.numpy(), rtol=1e-5, atol=1e-6
    )
    assert no_bias.bias is None
    with pytest.raises(tt.ShapeError) as caught:
        no_bias(tt.ones(5, 4))
    assert str(caught.value).splitlines() == [
        "Linear: inner sizes differ",
        "    x       (5, 4)",
        "                ^",
        "    weight  (3, 2)",
        "             ^",
        "    nn.Linear(4, 2) fits this x. Behind a convolution the number depends on its padding:",
        '    nn.Conv2d has padding="same" by default, torch.nn.Conv2d has padding=0',
    ]
    with pytest.raises(tt.ShapeError, match=r"nn\.Linear\(4, 2\) fits this x$"):
        no_bias(tt.ones(5, 6, 4))


def test_conv2d(backend):
    layer = nn.Conv2d(2, 3, (2, 4), stride=(2, 1), padding="valid", bias=nn.constant(0.1))
    assert layer.weight.shape == (2, 4, 2, 3)
    x, weight = images(2, 6, 7, 2), layer.weight.numpy()
    wanted = np.empty((2, 3, 4, 3))
    for h in range(3):
        for w in range(4):
            patch = x[:, 2 * h : 2 * h + 2, w : w + 4]
            wanted[:, h, w] = np.einsum("nabi,abio->no", patch, weight) + 0.1
    np.testing.assert_allclose(layer(tt.Tensor(x)).numpy(), wanted, rtol=1e-4, atol=1e-5)
    same = nn.Conv2d(1, 4, 5, stride=2)
    assert same(tt.ones(2, 28, 27, 1)).shape == (2, 14, 14, 4)
    assert nn.Conv2d(1, 4, 5, bias=None).bias is None
    with pytest.raises(tt.ShapeError, match="conv2d"):
        same(tt.ones(2, 28, 28, 3))


def test_pooling(backend):
    x = tt.Tensor(np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1))
    assert nn.MaxPool2d(2)(x).flatten().tolist() == [5, 7, 13, 15]
    assert nn.AvgPool2d(2)(x).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert nn.MaxPool2d((2, 4), stride=1)(x).flatten().tolist() == [7, 11, 15]
    assert nn.AvgPool2d(3, stride=1, padding="same")(x).shape == (1, 4, 4, 1)


def test_activations(backend):
    numbers = np.array([-2, -0.5, 0, 0.5, 3])
    x = tt.Tensor(numbers, dtype="float64")
    normal = [(1 + math.erf(number / math.sqrt(2))) / 2 for number in numbers]
    wanted = {
        nn.ReLU: np.maximum(numbers, 0),
        nn.Sigmoid: 1 / (1 + np.exp(-numbers)),
        nn.Tanh: np.tanh(numbers),
        nn.GELU: numbers * normal,
        nn.SiLU: numbers / (1 + np.exp(-numbers)),
        nn.LeakyReLU: np.where(numbers > 0, numbers, 0.01 * numbers),
        nn.Softmax: np.exp(numbers) / np.exp(numbers).sum(),
        nn.Identity: numbers,
    }
    for layer, values in wanted.items():
        np.testing.assert_allclose(layer()(x).numpy(), values, atol=1e-12, err_msg=layer.__name__)


def test_flatten_and_sequential(backend):
    assert nn.Flatten()(tt.ones(5, 2, 3, 4)).shape == (5, 24)
    assert nn.Sequential()(tt.ones(2)).tolist() == [1, 1]
    model = nn.Sequential(nn.Linear(2, 2, nn.constant(1.0)), nn.Tanh(), nn.Flatten())
    x = images(3, 2)
    wanted = np.tanh(x.sum(axis=1, keepdims=True)) * np.ones(2)
    np.testing.assert_allclose(model(tt.Tensor(x)).numpy(), wanted, rtol=1e-5)


def test_dropout_in_training_and_evaluation(backend):
    layer, x = nn.Dropout(keep_prob=0.75), tt.ones(100, 100)
    tt.manual_seed(0)
    dropped = layer(x).numpy()
    assert set(np.unique(dropped)) == {0, np.float32(1 / 0.75)}
    assert (dropped > 0).mean() == pytest.approx(0.75, abs=0.02)
    assert not np.array_equal(layer(x).numpy(), dropped), "a new mask at every step"
    assert layer.eval()(x) is x
    assert nn.Dropout(keep_prob=1.0)(x) is x
    with pytest.raises(tt.SettingError, match=r"dropout: got keep_prob=1\.5"):
        tt.dropout(x, keep_prob=1.5)


@pytest.mark.parametrize("dropout", [nn.Dropout, lambda *given: tt.dropout(tt.ones(3), *given)])
def test_a_bare_number_as_the_probability_of_dropout_raises(dropout):
    """nn.Dropout(0.25) keeps 25 % if the number is keep_prob, and 75 % in PyTorch."""
    with pytest.raises(
        tt.SettingError,
        match=r"ropout: got 0\.25 without a name; keep_prob=.* kept, or p=.* set to 0",
    ):
        dropout(0.25)


def test_p_of_dropout_is_1_minus_keep_prob(backend):
    x = tt.ones(1000)
    for given in ({"p": 0.25}, {"keep_prob": 0.75}):
        tt.manual_seed(0)
        layer = nn.Dropout(**given)
        assert (layer.keep_prob, layer.p) == (0.75, 0.25)
        kept = layer(x).numpy()
        assert set(np.unique(kept)) == {0, np.float32(1 / 0.75)}
        tt.manual_seed(0)
        np.testing.assert_array_equal(tt.dropout(x, **given).numpy(), kept)
    assert nn.Dropout().keep_prob == 0.5, "PyTorch's default"
    layer.p = 0.0
    assert layer(x) is x
    with pytest.raises(tt.SettingError, match=r"Dropout: got p=1; a number from 0 up, below 1"):
        layer.p = 1
    with pytest.raises(tt.SettingError, match=r"Dropout: got keep_prob=0\.5 and p=0\.5"):
        nn.Dropout(keep_prob=0.5, p=0.5)


def test_dropout_of_whole_channels(backend):
    tt.manual_seed(0)
    maps = nn.Dropout(keep_prob=0.5, channels=True)(tt.ones(20, 3, 3, 10)).numpy()
    assert (maps == maps[:, :1, :1]).all()
    assert 0.3 < (maps > 0).mean() < 0.7


def test_embedding(backend):
    layer, index = nn.Embedding(5, 3), [[4, 0], [-1, 4]]
    out = layer(np.array(index))
    np.testing.assert_array_equal(out.numpy(), layer.weight.numpy()[index])
    out.sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [1, 0, 0, 0, 3])
    tt.manual_seed(0)
    assert nn.Embedding(300, 200).weight.numpy().std() == pytest.approx(1, rel=0.01)
    assert nn.Embedding(2, 2, nn.constant(0.5)).weight.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    with pytest.raises(tt.IndexingError):
        layer(tt.Tensor([5]))
    with pytest.raises(tt.DTypeError):
        layer(tt.Tensor([1.0]))


@pytest.mark.parametrize("channels", [4, (3, 4)])
def test_layer_norm(backend, channels):
    layer, x = nn.LayerNorm(channels), images(5, 3, 4) * 3 + 1
    axes = (-1,) if channels == 4 else (-2, -1)
    wanted = x - x.mean(axes, keepdims=True)
    wanted /= np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer(tt.Tensor(x)).numpy(), wanted, rtol=1e-4, atol=1e-5)
    with tt.no_grad():
        layer.scale *= 2
        layer.offset += 1
    np.testing.assert_allclose(layer(x).numpy(), wanted * 2 + 1, rtol=1e-4, atol=1e-5)
    layer(x).sum().backward()
    assert layer.scale.grad.shape == layer.offset.grad.shape == np.shape(np.zeros(channels))
    with pytest.raises(tt.ShapeError, match=r"LayerNorm: got shape \(3, 5\); \(\.\.\., .*4\)"):
        layer(tt.ones(3, 5))


# The dtype of the input

LAYERS = {
    "Linear": (lambda: nn.Linear(4, 3), (5, 4)),
    "Conv2d": (lambda: nn.Conv2d(4, 2, 3), (5, 6, 6, 4)),
    "BatchNorm": (lambda: nn.BatchNorm(4), (5, 4)),
    "LayerNorm": (lambda: nn.LayerNorm(4), (5, 4)),
}


def as_float64(model):
    """Turns all float tensors of a model to float64."""
    for module in model.modules():
        for name, x in vars(module).items():
            if isinstance(x, tt.Tensor) and x.dtype == np.float32:
                setattr(module, name, tt.Tensor(x, "float64", requires_grad=x.requires_grad))
    return model


@pytest.mark.parametrize("dtype", ["float64", "int64", "int32", "bool"])
@pytest.mark.parametrize("name", LAYERS)
def test_data_of_another_dtype_leave_a_float32_layer_float32(backend, name, dtype):
    make, shape = LAYERS[name]
    layer, x = make(), tt.Tensor(images(*shape) * 3, "float32").astype(dtype)
    wanted = layer(x.astype("float32"))
    out = layer(x)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out.numpy(), wanted.numpy())
    out.sum().backward()
    assert {p.grad.dtype for p in layer.parameters()} == {np.dtype("float32")}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_float64_computes_in_float64(name):
    make, shape = LAYERS[name]
    layer = as_float64(make())
    x = tt.Tensor(images(*shape), "float64", requires_grad=True)
    assert tt.gradcheck(layer, [x])
    assert layer(x.astype("float32")).dtype == np.float64


FIRST_LAYERS = LAYERS | {
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (5, 6, 6, 4)),
    "AvgPool2d": (lambda: nn.AvgPool2d(2), (5, 6, 6, 4)),
    "Dropout": (lambda: nn.Dropout(p=0.5), (5, 4)),
}


@pytest.mark.parametrize("name", FIRST_LAYERS)
def test_bytes_as_the_input_of_a_layer_raise(name):
    make, shape = FIRST_LAYERS[name]
    pixels = np.full(shape, 255, np.uint8)
    for x in (pixels, tt.Tensor(pixels)):
        with pytest.raises(
            tt.DTypeError, match=rf"{name}: got x of uint8, .* tt\.datasets\.to_float.* or x / 255"
        ):
            make()(x)
        assert make()((x / 255).astype("float32")).dtype == np.float32


# Batch norm


@pytest.mark.parametrize("shape", [(50, 3), (4, 5, 6, 3)])
def test_batch_norm_normalises_each_channel(backend, shape):
    layer = nn.BatchNorm(3)
    x = images(*shape) * [1, 5, 0.1] + [0, 3, -2]
    out = layer(tt.Tensor(x, dtype="float32")).numpy().reshape(-1, 3)
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=0), 1, rtol=2e-3)
    with tt.no_grad():
        layer.scale[...], layer.offset[...] = [1, 2, 3], [4, 5, 6]
    out = layer(tt.Tensor(x, dtype="float32")).numpy().reshape(-1, 3)
    np.testing.assert_allclose(out.mean(axis=0), [4, 5, 6], rtol=1e-5)
    np.testing.assert_allclose(out.std(axis=0), [1, 2, 3], rtol=2e-3)


@pytest.mark.parametrize("warm_up", [True, False])
@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_batch_norm_updates_moving_averages(backend, decay, warm_up):
    layer = nn.BatchNorm(2, decay=decay, warm_up=warm_up)
    rng = np.random.default_rng(0)
    mean, var = np.zeros(2), np.ones(2)
    for step in range(12):
        x = rng.normal([3, -1], [2, 0.5], (40, 2))
        layer(tt.Tensor(x, dtype="float32"))
        share = min(decay, (1 + step) / (10 + step)) if warm_up else decay
        mean = share * mean + (1 - share) * x.mean(axis=0)
        var = share * var + (1 - share) * x.var(axis=0)
        assert layer.steps.item() == step + 1
    np.testing.assert_allclose(layer.mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(layer.var.numpy(), var, rtol=1e-5)

    layer.eval()
    out = layer(tt.Tensor(x, dtype="float32")).numpy()
    np.testing.assert_allclose(out, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.mean.numpy(), mean, rtol=1e-5)
    assert layer.steps.item() == 12, "evaluation changes no averages"
    one = layer(tt.Tensor(x[:1], dtype="float32")).numpy()
    np.testing.assert_allclose(one, out[:1], rtol=1e-5)


def test_batch_norm_with_and_without_scale_and_offset(backend):
    def names(**settings):
        return [name for name, _ in nn.BatchNorm(3, **settings).named_parameters()]

    assert names() == ["scale", "offset"]
    assert names(scale=False) == ["offset"]
    assert names(offset=False) == ["scale"]
    assert names(scale=False, offset=False) == []
    layer = nn.BatchNorm(3, scale=False, offset_start=0.1)
    assert layer.offset.tolist() == [np.float32(0.1)] * 3
    layer(tt.Tensor(images(5, 3))).sum().backward()
    np.testing.assert_allclose(layer.offset.grad.numpy(), 5)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_with_wrong_channels_raises(backend, channels, training):
    layer = nn.BatchNorm(3, scale=False, offset=False).train(training)
    with pytest.raises(tt.ShapeError, match=rf"BatchNorm: got shape \(4, {channels}\); .* 3\)"):
        layer(tt.ones(4, channels))
    assert layer.mean.tolist() == [0, 0, 0]
    assert layer.steps.item() == 0


def test_batch_norm_of_float64_data(backend):
    layer, x = nn.BatchNorm(3), images(20, 3) + 1.0
    out = layer(tt.Tensor(x, dtype="float64"))
    assert out.dtype == np.float32
    np.testing.assert_allclose(layer.mean.numpy(), 0.9 * x.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 2), (0, 4, 4, 2), (3, 0, 2)])
def test_batch_norm_of_an_empty_batch_changes_nothing(backend, shape):
    layer = nn.BatchNorm(2)
    out = layer(tt.zeros(*shape))
    assert out.shape == shape
    out.sum().backward()
    assert (layer.mean.tolist(), layer.var.tolist(), layer.steps.item()) == ([0, 0], [1, 1], 0)
    assert (layer.scale.grad.tolist(), layer.offset.grad.tolist()) == ([0, 0], [0, 0])


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_gradients_of_batch_norm_of_an_empty_batch_are_zero(backend):
    x, gamma, beta = (tt.zeros(*shape, requires_grad=True) for shape in ((0, 2), (2,), (2,)))
    tt.batch_norm(x, gamma, beta).sum().backward()
    assert x.grad.shape == (0, 2)
    assert (gamma.grad.tolist(), beta.grad.tolist()) == ([0, 0], [0, 0])


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3), (3,)])
def test_batch_norm_of_one_example_raises_in_training(backend, shape):
    layer, x = nn.BatchNorm(3), tt.ones(*shape)
    with pytest.raises(
        tt.ShapeError, match=r"one value per channel; .* at least two .*model\.eval\(\)"
    ):
        layer(x)
    assert layer.steps.item() == 0
    assert layer.eval()(x).shape == shape
    assert layer.train()(tt.ones(1, 2, 1, 3)).shape == (1, 2, 1, 3)


@pytest.mark.parametrize("decay", [1, -0.1, float("nan")])
def test_invalid_decay_raises(decay):
    with pytest.raises(tt.SettingError, match=f"BatchNorm: got decay={decay}; .* below 1"):
        nn.BatchNorm(3, decay=decay)


# Modules


class Branches(nn.Module):
    """A module with submodules as attributes, in a list and in a tuple, and with tensors."""

    def __init__(self):
        self.scale = tt.ones(1, requires_grad=True)
        self.fixed = tt.ones(2)
        self.dense = nn.Linear(2, 2)
        self.blocks = [nn.Sequential(nn.Dropout(keep_prob=0.5)), nn.BatchNorm(2, scale=False)]
        self.pair = (nn.Linear(2, 1, bias=None), "not a module")
        self.count = 3


def test_names_of_parameters():
    model = Branches()
    assert [name for name, _ in model.named_parameters()] == [
        "scale", "dense.weight", "dense.bias", "blocks.1.offset", "pair.0.weight",
    ]  # fmt: skip
    assert [id(x) for x in model.parameters()] == [id(x) for _, x in model.named_parameters()]
    assert list(model.state_dict()) == [
        "scale", "fixed", "dense.weight", "dense.bias",
        "blocks.1.offset", "blocks.1.mean", "blocks.1.var", "blocks.1.steps", "pair.0.weight",
    ]  # fmt: skip
    model.dense.bias.requires_grad_(False)
    assert "dense.bias" not in dict(model.named_parameters()), "frozen"


def test_a_shared_parameter_is_listed_once(backend):
    """Otherwise an optimiser would update it twice per step."""
    layer = nn.Linear(2, 2, nn.constant(1.0))
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert [name for name, _ in model.named_parameters()] == ["layers.0.weight", "layers.0.bias"]
    assert "# 6 parameters" in repr(model).splitlines()[0]
    model(tt.ones(1, 2)).sum().backward()
    gradient = layer.bias.grad.numpy().copy()
    tt.optim.SGD(model.parameters(), lr=1).step()
    np.testing.assert_allclose(layer.bias.numpy(), -gradient)
    model.load_state_dict(model.state_dict())


def test_train_and_eval_reach_submodules():
    model = Branches()
    inside = [model, model.dense, *model.blocks, model.blocks[0].layers[0], model.pair[0]]
    assert all(module.training for module in inside)
    assert model.eval() is model
    assert not any(module.training for module in inside)
    assert model.train() is model
    assert all(module.training for module in inside)
    assert nn.Linear(1, 1).training, "other modules keep their mode"


def test_a_module_without_forward_raises():
    with pytest.raises(NotImplementedError, match="Branches has no forward"):
        Branches()(tt.ones(2))


def test_repr_shows_shapes_and_counts():
    assert repr(net()).splitlines() == [
        "Sequential()  # 48 parameters",
        "  layers.0: Conv2d(stride=2, padding=same, weight (3, 3, 1, 2), bias (2,))"
        "  # 20 parameters",
        "  layers.1: BatchNorm(decay=0.99, warm_up=True, epsilon=1e-05, scale (2,), offset (2,), "
        "mean (2,), var (2,), steps (1,))  # 4 parameters",
        "  layers.2: ReLU()",
        "  layers.3: Flatten()",
        "  layers.4: Linear(weight (8, 3))  # 24 parameters",
    ]
    assert repr(nn.Linear(1000, 10)) == "Linear(weight (1000, 10), bias (10,))  # 10,010 parameters"
    assert repr(nn.Dropout(keep_prob=0.75)) == "Dropout(keep_prob=0.75)"
    assert repr(nn.Dropout(p=0.1, channels=True)) == "Dropout(keep_prob=0.9, channels=True)"
    assert repr(nn.Embedding(9, 4)) == "Embedding(weight (9, 4))  # 36 parameters"
    assert repr(nn.LayerNorm(4, offset=False)) == (
        "LayerNorm(channels=4, epsilon=1e-05, scale (4,))  # 4 parameters"
    )
    assert repr(nn.LayerNorm((2, 3), False, False)) == "LayerNorm(channels=(2, 3), epsilon=1e-05)"
    assert repr(nn.Softmax(dim=1)) == "Softmax(axis=1)"
    assert repr(nn.LeakyReLU()) == "LeakyReLU(slope=0.01)"
    assert repr(nn.Identity()) == "Identity()"
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(size=2, stride=2, padding=0)"
    assert repr(nn.AvgPool2d(3, 1, "same")) == "AvgPool2d(size=3, stride=1, padding=same)"
    nested = repr(nn.Sequential(nn.Sequential(nn.Tanh())))
    assert nested.splitlines()[2] == "    layers.0: Tanh()"


# Saving and loading


def test_state_dict_copies_a_network(backend, tmp_path):
    x = tt.Tensor(images(3, 4, 4, 1))
    trained, other = net(), net()
    for _ in range(3):
        trained(x)  # updates the moving averages
    tt.save(tmp_path / "model", trained.state_dict())
    other.load_state_dict(tt.load(tmp_path / "model"))
    np.testing.assert_array_equal(other.eval()(x).numpy(), trained.eval()(x).numpy())
    assert other.layers[1].steps.tolist() == [3]
    assert all(p.requires_grad for p in other.parameters())


def test_backward_after_loading_raises():
    """load_state_dict overwrites values that the backward pass needs."""
    layer = nn.Linear(2, 2)
    hidden = layer(tt.ones(1, 2, requires_grad=True))
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(tt.GradientError, match="changed"):
        hidden.sum().backward()


def test_the_error_lists_every_tensor_that_does_not_fit():
    model = net()
    before = {name: x.numpy().copy() for name, x in model.state_dict().items()}
    state = {name: x + 1 for name, x in model.state_dict().items()}
    del state["layers.0.weight"], state["layers.1.var"]
    state["layers.4.bias"], state["head"] = tt.ones(3), tt.ones(1)
    state["layers.4.weight"], state["layers.1.scale"] = tt.ones(3, 8), tt.ones(1)
    state["layers.1.offset"] = np.ones(2, np.float32)
    with pytest.raises(tt.DataError) as caught:
        model.load_state_dict(state)
    for words in (
        "load_state_dict: layers.0.weight is missing; layers.1.var is missing",
        "layers.4.bias is unknown; head is unknown",
        "layers.4.weight has shape (3, 8), (8, 3) is needed",
        "layers.1.scale has shape (1,), (2,) is needed",
        "layers.1.offset is a numpy.ndarray, a tt.Tensor is needed",
    ):
        assert words in str(caught.value)
    assert "layers.0.bias" not in str(caught.value)
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), before[name], err_msg=name)


# All layers in one network


def test_gradients_of_a_network_of_all_layers(backend):
    """Compares each parameter's gradient with a central difference of the loss, in float64."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(2, 2, 2, padding="valid"), nn.BatchNorm(2), nn.GELU(), nn.Flatten(),
        nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2),
    )  # fmt: skip
    for module in model.layers:
        for name, x in vars(module).items():
            if isinstance(x, tt.Tensor) and x.requires_grad:
                setattr(module, name, tt.Tensor(x, dtype="float64", requires_grad=True))
    x = tt.Tensor(images(5, 4, 4, 1), dtype="float64")

    def loss():
        return tt.cross_entropy(model(x), [0, 1, 1, 0, 1])

    loss().backward()
    for name, param in model.named_parameters():
        flat, i = param.numpy().reshape(-1), param.size // 2
        start, losses = flat[i], []
        for number in (start + 1e-6, start - 1e-6):
            flat[i] = number
            losses.append(loss().item())
        flat[i] = start
        wanted = (losses[0] - losses[1]) / 2e-6
        got = param.grad.numpy().reshape(-1)[i]
        assert got == pytest.approx(wanted, rel=1e-4, abs=1e-8), name


class Nested(nn.Module):
    """Modules and tensors in lists and dicts, and in lists and dicts there."""

    def __init__(self):
        self.heads = {"left": nn.Linear(2, 1), "right": nn.Linear(2, 1, bias=None)}
        self.grid = [
            [nn.Linear(1, 1), nn.Dropout(keep_prob=0.5)],
            ({"deep": nn.BatchNorm(1, scale=False)},),
        ]
        self.gains = {"a": [tt.ones(1, requires_grad=True)], 3: tt.ones(2)}
        self.sizes = {"width": 3}


def test_modules_and_tensors_in_nested_containers():
    model = Nested()
    assert [name for name, _ in model.named_children()] == [
        "heads.left", "heads.right", "grid.0.0", "grid.0.1", "grid.1.0.deep",
    ]  # fmt: skip
    assert [name for name, _ in model.named_parameters()] == [
        "gains.a.0", "heads.left.weight", "heads.left.bias", "heads.right.weight",
        "grid.0.0.weight", "grid.0.0.bias", "grid.1.0.deep.offset",
    ]  # fmt: skip
    assert "gains.3" in model.state_dict()
    model.eval()
    assert not model.heads["right"].training
    assert not model.grid[1][0]["deep"].training
    assert "  grid.0.1: Dropout(keep_prob=0.5)" in repr(model).splitlines()
    other = Nested()
    other.load_state_dict(model.state_dict())
    for name, x in other.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), model.state_dict()[name].numpy(), err_msg=name)


def test_two_tensors_with_the_same_name_raise():
    model = nn.Module()
    model.gains = {"a.b": tt.ones(1), "a": {"b": tt.zeros(1)}}
    with pytest.raises(tt.SettingError, match=r"Module: two tensors are named 'gains\.a\.b'"):
        model.state_dict()


INVALID = {
    "Linear: got inputs=-1; a whole number from 1 up": lambda: nn.Linear(-1, 3),
    "Linear: got outputs=0;": lambda: nn.Linear(3, 0),
    "Linear: got inputs=3.5;": lambda: nn.Linear(3.5, 2),
    "Conv2d: got inputs=0;": lambda: nn.Conv2d(0, 2, 3),
    "Conv2d: got outputs=-2;": lambda: nn.Conv2d(1, -2, 3),
    "Conv2d: got size=0;": lambda: nn.Conv2d(1, 2, 0),
    r"Conv2d: got size=\(3, 3, 3\); an int or a pair": lambda: nn.Conv2d(1, 2, (3, 3, 3)),
    "Conv2d: got stride=0;": lambda: nn.Conv2d(1, 2, 3, stride=0),
    "Conv2d: got padding='sme'; .* 'same' or 'valid' is": lambda: nn.Conv2d(1, 2, 3, padding="sme"),
    "Conv2d: got padding=-1; a whole": lambda: nn.Conv2d(1, 2, 3, padding=-1),
    r"Conv2d: got padding=\(1, 2, 3\);": lambda: nn.Conv2d(1, 2, 3, padding=(1, 2, 3)),
    "MaxPool2d: got size=0;": lambda: nn.MaxPool2d(0),
    "AvgPool2d: got stride=0;": lambda: nn.AvgPool2d(2, stride=0),
    "AvgPool2d: got padding='full';": lambda: nn.AvgPool2d(2, padding="full"),
    "BatchNorm: got channels=-1;": lambda: nn.BatchNorm(-1),
    "LayerNorm: got epsilon=-1;": lambda: nn.LayerNorm(3, epsilon=-1),
    "LayerNorm: got channels=0;": lambda: nn.LayerNorm((3, 0)),
    r"LayerNorm: got channels=\(\); at least one size": lambda: nn.LayerNorm(()),
    "Embedding: got words=0;": lambda: nn.Embedding(0, 3),
    "Embedding: got channels=1.5;": lambda: nn.Embedding(3, 1.5),
    "Embedding: got a float as weight": lambda: nn.Embedding(3, 1, 0.1),
    "LeakyReLU: got slope='a';": lambda: nn.LeakyReLU("a"),
    "LayerNorm: got epsilon='a'; a number": lambda: nn.LayerNorm(3, epsilon="a"),
    "BatchNorm: got decay='a'; a number": lambda: nn.BatchNorm(3, decay="a"),
    "BatchNorm: got epsilon='a'; a number": lambda: nn.BatchNorm(3, epsilon="a"),
    "BatchNorm: got epsilon=-1;": lambda: nn.BatchNorm(3, epsilon=-1),
    r"Dropout: got keep_prob=1\.5;": lambda: nn.Dropout(keep_prob=1.5),
    "Dropout: got keep_prob=0;": lambda: nn.Dropout(keep_prob=0),
    "he: got no shape; .* weight=nn.he": lambda: nn.he(),
    "glorot: got no shape; .* weight=nn.glorot": lambda: nn.Linear(2, 3, weight=nn.glorot()),
    r"Linear: got truncated_normal as weight; .* a tensor of shape \(2, 3\) .* nn.he": (
        lambda: nn.Linear(2, 3, weight=nn.truncated_normal)
    ),
    r"Conv2d: got a Tensor as weight; .* \(3, 3, 1, 2\)": (
        lambda: nn.Conv2d(1, 2, 3, weight=tt.ones(3, 3, 1, 2))
    ),
    "Linear: got a bool as bias; .* or None for no bias": lambda: nn.Linear(2, 3, bias=False),
}


@pytest.mark.parametrize("words", INVALID)
def test_invalid_settings_raise(words):
    with pytest.raises(tt.SettingError, match=words):
        INVALID[words]()


def test_glorot_needs_two_axes():
    with pytest.raises(
        tt.ShapeError, match=r"glorot: got shape \(3,\); \(\.\.\., inputs, outputs\)"
    ):
        nn.Linear(2, 3, bias=nn.glorot)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (
            [nn.ReLU()],
            r"Sequential: got a list; modules are needed, one by one: Sequential\(\*layers",
        ),
        (nn.ReLU, r"Sequential: got the class ReLU; ReLU\(\.\.\.\) makes a layer"),
        (None, "Sequential: got a NoneType"),
    ],
)
def test_sequential_refuses_other_arguments(layer, words):
    with pytest.raises(tt.NotSupported, match=words):
        nn.Sequential(nn.Flatten(), layer)
    assert nn.Sequential(tt.relu)(tt.Tensor([-1.0, 2.0])).tolist() == [0, 2], (
        "a function works as a layer"
    )


def test_tensors_in_a_list_are_parameters():
    class Stack(nn.Module):
        def __init__(self):
            self.weights = [tt.ones(2, requires_grad=True), tt.zeros(3, requires_grad=True)]

    assert [name for name, _ in Stack().named_parameters()] == ["weights.0", "weights.1"]


def test_layer_norm_without_parameters_takes_lists():
    layer = nn.LayerNorm(2, scale=False, offset=False, epsilon=0)
    assert layer([[1, 3], [10, 30]]).tolist() == [[-1, 1], [-1, 1]]
    with pytest.raises(tt.ShapeError, match=r"\(\.\.\., 2\) is needed"):
        layer([1.0, 2.0, 3.0])


@pytest.mark.parametrize("value", [b"x", "a", [1, 2], None])
def test_settings_that_are_no_numbers_raise(value):
    with pytest.raises(
        tt.SettingError, match=r"BatchNorm: got offset_start=.*; a number is needed"
    ):
        nn.BatchNorm(2, offset_start=value)
    with pytest.raises(tt.SettingError, match=r"constant: got value=.*; a number is needed"):
        nn.constant(value)
