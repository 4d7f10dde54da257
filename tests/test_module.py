"""Module and Sequential: any inputs and results, the tree of submodules, buffers and parameters."""

import copy
import warnings
import weakref
from collections import deque

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import nn


class Attention(nn.Module):
    """Two inputs, an option, and two results."""

    def __init__(self):
        self.values = nn.Linear(3, 3)

    def forward(self, query, key, mask=None, *, scale=1.0):
        scores = query @ key.T * scale
        if mask is not None:
            scores = scores.masked_fill(mask, -1e9)
        weights = scores.softmax(axis=-1)
        return {"out": weights @ self.values(key), "weights": weights}


# Inputs and results


def test_forward_takes_positional_and_keyword_arguments(backend):
    model, query, key = Attention(), tt.randn(2, 3), tt.randn(4, 3)
    plain = model(query, key)
    assert plain["out"].shape == (2, 3)
    again = model(query, key=key, mask=None, scale=1.0)
    np.testing.assert_array_equal(again["out"].numpy(), plain["out"].numpy())
    mask = np.array([[True, False, False, False]] * 2)
    masked = model(query=query, key=key, mask=mask)
    assert masked["weights"].numpy()[:, 0].tolist() == [0, 0]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'key'"):
        model(query)
    with pytest.raises(TypeError, match="unexpected keyword argument 'masks'"):
        model(query, key, masks=mask)


def test_an_array_becomes_a_tensor_and_other_values_stay():
    class Given(nn.Module):
        def forward(self, *arguments, **named):
            return arguments, named

    x, pair, scale = tt.ones(2), [tt.ones(1), None], 0.5
    array = np.arange(3.0)
    arguments, named = Given()(x, array, pair, None, scale, last=array)
    assert arguments[0] is x
    assert arguments[2] is pair
    assert arguments[3:] == (None, scale)
    for given in (arguments[1], named["last"]):
        assert isinstance(given, tt.Tensor)
        assert given.tolist() == [0, 1, 2]
        assert given.dtype == np.float64
    names = np.array(["a"])
    assert Given()(names)[0][0] is names
    with pytest.raises(tt.DTypeError, match="got int16; float32, "):
        Given()(np.arange(3, dtype=np.int16))


def test_a_cell_with_a_state_learns():
    class Cell(nn.Module):
        def __init__(self):
            self.inner, self.outer = nn.Linear(2, 4), nn.Linear(4, 4, bias=None)

        def forward(self, x, state):
            h, count = state
            h = (self.inner(x) + self.outer(h)).tanh()
            return h, (h, count + 1)

    cell, state = Cell(), (tt.zeros(3, 4), 0)
    for _ in range(5):
        out, state = cell(tt.ones(3, 2), state)
    assert state[1] == 5
    out.sum().backward()
    assert all(x.grad is not None for x in cell.parameters())


def test_the_first_layer_of_sequential_gets_all_arguments():
    class Sum(nn.Module):
        def forward(self, x, y, factor=1):
            return (x + y) * factor

    model = nn.Sequential(Sum(), nn.Identity())
    assert model(tt.ones(2), tt.ones(2), factor=3).tolist() == [6, 6]
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        nn.Sequential()()


# Sequential as a sequence


def test_sequential_is_a_sequence_of_its_layers():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert len(model) == 3
    assert list(model) == [*model.layers] == [model[0], model[1], model[-1]]
    assert nn.Sequential(*model)[0] is model[0]
    body = model[:-1]
    assert isinstance(body, nn.Sequential)
    assert [layer is model[i] for i, layer in enumerate(body)] == [True, True]
    x = tt.randn(5, 4)
    np.testing.assert_array_equal(body(x).numpy(), model[0](x).relu().numpy())
    model[2] = nn.Linear(3, 7)
    assert model(x).shape == (5, 7)
    assert model.append(nn.Sigmoid()) is model
    assert [name for name, _ in model.named_parameters()] == [
        "layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias",
    ]  # fmt: skip
    assert len(model) == 4


@pytest.mark.parametrize("index", [3, -4, "0", 1.0])
def test_a_layer_that_does_not_exist_raises(index):
    model = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU())
    words = r"Sequential: got the index .*; it has 3 layers, and a whole number from -3 to 2"
    with pytest.raises(tt.IndexingError, match=words):
        model[index]
    with pytest.raises(tt.IndexingError, match=words):
        model[index] = nn.Tanh()
    with pytest.raises(tt.NotSupported, match="got the class Tanh"):
        model[0] = nn.Tanh
    with pytest.raises(tt.IndexingError, match="one layer is set at a time"):
        model[:2] = nn.Tanh()


def test_a_layer_that_is_set_changes_a_captured_step(backend):
    model = nn.Sequential(nn.Linear(2, 2, nn.constant(1.0)), nn.ReLU())
    step = tt.capture(lambda x: model(x))
    x = tt.Tensor([[-1.0, -2.0]])
    assert [step(x).tolist() for _ in range(3)] == [[[0, 0]]] * 3
    model[1] = nn.Identity()
    assert step(x).tolist() == [[-3, -3]]
    assert step.why == "an attribute of a Sequential was set"


# The tree of submodules


class Tree(nn.Module):
    """A shared layer, modules in a list and in a dict, and a buffer."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(2, 2)
        self.blocks = [nn.Sequential(nn.Tanh(), self.shared), nn.Dropout(p=0.5)]
        self.heads = {"left": nn.Linear(2, 1), "right": self.shared}
        self.register_buffer("mask", np.array([True, False]))


def test_children_and_modules_are_yielded_once():
    model = Tree()
    block = model.blocks[0]
    assert [name for name, _ in model.named_children()] == [
        "shared", "blocks.0", "blocks.1", "heads.left",
    ]  # fmt: skip
    assert list(model.children()) == [model.shared, *model.blocks, model.heads["left"]]
    assert list(model.modules()) == [
        model, model.shared, block, block[0], model.blocks[1], model.heads["left"],
    ]  # fmt: skip
    assert [name for name, _ in model.named_modules("net")] == [
        "net", "net.shared", "net.blocks.0", "net.blocks.0.layers.0", "net.blocks.1",
        "net.heads.left",
    ]  # fmt: skip
    assert [name for name, _ in model.named_modules()][:2] == ["", "shared"]


def test_apply_calls_submodules_first():
    model, seen = Tree(), []
    assert model.apply(seen.append) is model
    assert seen[-1] is model
    assert seen.index(model.blocks[0][0]) < seen.index(model.blocks[0])

    def to_zero(module):
        if isinstance(module, nn.Linear):
            module.weight.data *= 0

    model.apply(to_zero)
    assert not any(x.numpy().any() for name, x in model.named_parameters() if "weight" in name)


def test_zero_grad_of_a_model():
    model = Tree()
    model.shared(tt.ones(1, 2)).sum().backward()
    assert model.shared.weight.grad is not None
    model.zero_grad()
    assert all(x.grad is None for x in model.parameters())


def test_buffers_are_saved_and_not_trained():
    model = Tree()
    assert model.mask.tolist() == [True, False]
    assert "mask" not in dict(model.named_parameters())
    assert list(model.state_dict()) == [
        "mask", "shared.weight", "shared.bias", "blocks.0.layers.1.weight",
        "blocks.0.layers.1.bias", "heads.left.weight", "heads.left.bias", "heads.right.weight",
        "heads.right.bias",
    ]  # fmt: skip
    other = Tree()
    other.mask[...] = True
    other.load_state_dict(model.state_dict())
    assert other.mask.tolist() == [True, False]
    model.register_buffer("cache", None)
    assert model.cache is None
    model.register_buffer("cache", tt.ones(2))
    assert "cache" in model.state_dict()


@pytest.mark.parametrize("name", ["a.b", "", 3, "forward", "training"])
def test_buffers_with_the_name_of_a_method_raise(name):
    with pytest.raises(tt.SettingError, match=r"register_buffer: got the name .*; a name for an a"):
        nn.Module().register_buffer(name, tt.ones(1))


def test_a_parameter_as_a_buffer_raises():
    with pytest.raises(tt.SettingError, match="register_buffer: scale has requires_grad=True"):
        nn.Module().register_buffer("scale", tt.ones(1, requires_grad=True))


def test_train_of_a_subclass_reaches_its_submodules():
    """The usual way to keep batch norm's averages fixed."""

    class Frozen(nn.Module):
        def __init__(self):
            self.norm = nn.BatchNorm(2)

        def train(self, training=True):
            super().train(training)
            self.norm.eval()
            return self

    model = nn.Sequential(Frozen(), nn.Dropout()).train()
    assert [module.training for module in model.modules()] == [True, True, False, True]


def test_a_copy_of_a_model_has_its_own_parameters():
    model = Tree()
    other = copy.deepcopy(model)
    assert other.shared is other.heads["right"], "shared in the copy, too"
    with tt.no_grad():
        other.shared.weight += 1
    assert not np.array_equal(other.shared.weight.numpy(), model.shared.weight.numpy())


# Surprises


class Net(nn.Module):
    def __init__(self):
        self.fc = nn.Linear(2, 2)

    @property
    def head(self):
        return self.fcc

    def forward(self, x):
        return self.fc(x)


def test_a_value_that_is_not_trained_does_not_replace_a_parameter():
    layer = nn.Linear(2, 2)
    with tt.no_grad():
        scaled = layer.weight * 0.5
    for value in (scaled, tt.ones(2, 2), np.ones((2, 2)), [[1.0, 1.0], [1.0, 1.0]], 0.5):
        with pytest.raises(
            tt.SettingError, match=r"Linear: got a \w+ without requires_grad as weight, .* trained"
        ):
            layer.weight = value
    assert len(layer.parameters()) == 2
    with tt.no_grad():
        layer.weight *= 0.5
    np.testing.assert_array_equal(layer.weight.numpy(), scaled.numpy())
    layer.weight.data = np.ones((2, 2))
    layer.bias = tt.ones(2).requires_grad_()
    assert [x.tolist() for x in layer.parameters()] == [[[1, 1], [1, 1]], [1, 1]]
    layer.bias = None
    layer.bias = tt.ones(2)
    assert layer.parameters() == [layer.weight]


def test_modules_and_parameters_of_the_class_raise():
    for value in (nn.Linear(1, 1), [nn.ReLU()], {"w": tt.ones(1, requires_grad=True)}):
        with pytest.raises(tt.SettingError, match=r"Shared: blocks.* set self\.blocks in __init__"):
            type("Shared", (nn.Module,), {"blocks": value})
    with pytest.raises(tt.SettingError, match="Shared: got __slots__, whose tensors would be no p"):
        type("Shared", (nn.Module,), {"__slots__": ("w",)})
    assert type("Fine", (nn.Module,), {"scale": tt.ones(1), "sizes": [1, 2]})().parameters() == []


def test_modules_in_a_deque_are_found_and_in_a_set_raise():
    model = nn.Module()
    model.blocks = deque([nn.Linear(1, 1)])
    assert [name for name, _ in model.named_parameters()] == ["blocks.0.weight", "blocks.0.bias"]
    model.blocks = {nn.Linear(1, 1)}
    with pytest.raises(tt.SettingError, match=r"blocks: got a set .* a list, with an order"):
        model.parameters()
    model.blocks = {1, 2}
    assert model.parameters() == []


def test_freezing_a_part_of_a_network():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    assert model[0].requires_grad_(False) is model[0]
    assert [name for name, _ in model.named_parameters()] == ["layers.1.weight", "layers.1.bias"]
    before = model[0].weight.numpy().copy()
    optimizer = tt.optim.SGD(model.parameters(), lr=1.0)
    model(tt.ones(4, 2)).sum().backward()
    optimizer.step()
    assert model[0].weight.grad is None
    np.testing.assert_array_equal(model[0].weight.numpy(), before)
    assert len(model.state_dict()) == 4, "frozen tensors are saved"


def test_frozen_tensors_become_parameters_again():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.Linear(3, 1))
    model.blocks = [nn.Linear(1, 1), tt.ones(2, requires_grad=True), tt.ones(2)]
    names = [name for name, _ in model.named_parameters()]
    model[0].requires_grad_(False)
    model.requires_grad_(False)
    assert model.parameters() == []
    copy.deepcopy(model).requires_grad_()
    assert model.parameters() == []
    model.requires_grad_()
    assert [name for name, _ in model.named_parameters()] == names, "buffers stay buffers"


@pytest.mark.parametrize("captured", [False, True])
def test_a_gradient_from_before_does_not_change_a_frozen_layer(captured):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    optimizer = tt.optim.SGD(model.parameters(), lr=0.1)

    def step():
        model.zero_grad()
        model(tt.ones(4, 2)).sum().backward()
        optimizer.step()

    step = tt.capture(step) if captured else step
    for _ in range(3):
        step()
    model[0].requires_grad_(False)
    frozen, trained = (layer.weight.numpy().copy() for layer in model)
    for _ in range(3):
        step()
    np.testing.assert_array_equal(model[0].weight.numpy(), frozen)
    assert (model[1].weight.numpy() != trained).all()


def test_a_step_without_any_gradient_warns():
    model = Net()
    optimizer = tt.optim.SGD(model.parameters(), lr=0.1)
    model.fc = nn.Linear(2, 2)  # the optimiser has the parameters of the old layer
    model(tt.ones(1, 2)).sum().backward()
    with pytest.warns(UserWarning, match=r"SGD: step\(\) changes nothing, because none") as caught:
        optimizer.step()
    assert caught[0].filename == __file__
    optimizer = tt.optim.SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()


def test_names_that_a_module_does_not_have():
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'fd'"):
        Net().fd  # noqa: B018
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'fcc'"):
        Net().head  # noqa: B018
    with pytest.raises(AttributeError, match="Module has no 'cuda': all tensors are on the CPU"):
        Net().cuda()
    assert not hasattr(Net(), "fd")
    model = Net()
    assert model.to("cpu") is model
    for target in ("cuda", "cuda:0", "float64", np.float64):
        with pytest.raises(tt.NotSupported, match=r'device: got .*; "cpu" is the only device'):
            model.to(target)


def test_a_replaced_submodule_is_seen_by_a_captured_step(backend):
    model = Net()
    step = tt.capture(lambda x: model(x))
    x = tt.ones(1, 2)
    for _ in range(3):
        step(x)
    model.fc = nn.Linear(2, 2, nn.constant(1.0))
    assert step(x).tolist() == [[2, 2]]
    model.fc.bias.requires_grad_(False)
    model.fc.bias[...] = 5
    assert step(x).tolist() == [[7, 7]]
    model.fc = nn.Identity()
    assert step(x).tolist() == [[1, 1]]


@pytest.mark.parametrize(
    "use",
    [
        nn.Module.parameters,
        nn.Module.state_dict,
        nn.Module.train,
        nn.Module.eval,
        nn.Module.zero_grad,
        repr,
        lambda model: model.apply(lambda module: None),
        lambda model: list(model.named_tensors()),
    ],
)
def test_a_module_that_contains_itself_is_named(use):
    model = nn.Sequential(Net(), nn.ReLU())
    model[0].parent = model
    match = r"Sequential: layers\.0\.parent is this module, and a module can't contain itself"
    with pytest.raises(tt.SettingError, match=match):
        use(model)
    model[0].parent = [model[0]]
    with pytest.raises(tt.SettingError, match=r"layers\.0\.parent\.0 is layers\.0, and a module"):
        use(model)
    assert len(list(model.modules())) == 4  # the three layers and the network, each once
    model[0].parent = weakref.ref(model)  # as the error advises
    use(model)
    assert len(model.parameters()) == 2
    assert model[0].parent() is model
