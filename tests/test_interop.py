"""Weights from PyTorch and back. Most tests run without PyTorch, on NumPy arrays."""

import copy

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import nn
from tinytensor.interop import from_torch_state, to_torch_state

RNG = np.random.default_rng(0)


def arrays(**shapes):
    """Random float32 arrays by name; `_` in a name stands for a dot."""
    return {
        name.replace("__", "."): RNG.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def test_a_square_linear_layer_is_transposed():
    state = arrays(weight=(3, 3), bias=(3,))
    layer = nn.Linear(3, 3)
    from_torch_state(layer, state)
    x = RNG.normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(
        layer(tt.tensor(x)).numpy(), x @ state["weight"].T + state["bias"], rtol=1e-5
    )


def test_names_of_a_sequential_network():
    model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))
    assert list(to_torch_state(model)) == ["0.weight", "0.bias", "1.1.weight", "1.1.bias"]


def test_layers_with_other_names_are_matched_in_their_order():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    state = arrays(module__a__weight=(4, 4), module__a__bias=(4,), head__weight=(4, 4))
    state["head.bias"] = np.arange(4)
    with pytest.raises(tt.DataError, match=r"0.weight is missing.*in_order=True matches layers"):
        from_torch_state(model, state)
    from_torch_state(model, state, in_order=True)
    np.testing.assert_array_equal(model[0].weight.numpy(), state["module.a.weight"].T)
    np.testing.assert_array_equal(model[2].weight.numpy(), state["head.weight"].T)
    assert model[2].bias.tolist() == [0, 1, 2, 3]
    assert model[2].bias.requires_grad
    with pytest.raises(tt.DataError, match="the model has 2 layers with tensors, and the state 3"):
        from_torch_state(model, state | {"last.weight": np.ones(1)}, in_order=True)
    misfit = state | {"head.weight": np.ones((4, 5))}
    with pytest.raises(tt.DataError, match=r"head.weight has shape \(4, 5\), and layers.2.weight"):
        from_torch_state(model, misfit, in_order=True)


def test_layers_with_the_same_names_need_no_order():
    class Net(nn.Module):
        def __init__(self):
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    state = arrays(second__weight=(2, 2), second__bias=(2,), first__weight=(2, 2), first__bias=(2,))
    model = Net()
    from_torch_state(model, state)
    np.testing.assert_array_equal(model.first.weight.numpy(), state["first.weight"].T)
    np.testing.assert_array_equal(model.second.bias.numpy(), state["second.bias"])


def test_everything_that_does_not_fit_is_listed_and_nothing_is_changed():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm(3), nn.Linear(3, 2, bias=None))
    before = {name: x.numpy().copy() for name, x in model.state_dict().items()}
    state = to_torch_state(model) | {"0.weight": np.ones((4, 3)), "2.bias": np.ones(2)}
    del state["1.running_mean"]
    with pytest.raises(tt.DataError) as caught:
        from_torch_state(model, state)
    assert str(caught.value) == (
        "from_torch_state: 0.weight has shape (4, 3), and layers.0.weight of a Linear needs "
        "(3, 4); 1.running_mean is missing, for layers.1.mean of shape (3,); 2.bias (2,) is left "
        "over"
    )
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), before[name])


def test_a_model_in_place_of_its_state_raises():
    model = nn.Linear(2, 2)
    for arguments in ((model, model), (to_torch_state(model), model)):
        with pytest.raises(tt.NotSupported, match=r"got a \w+ and a Linear; .*state_dict\(\)"):
            from_torch_state(*arguments)


def test_a_linear_layer_after_a_convolution_must_be_named():
    def network():
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)
        )

    state = arrays(**{"0__weight": (4, 1, 3, 3), "0__bias": (4,), "3__weight": (2, 36)})
    state["3.bias"] = np.zeros(2)
    hint = r"layers.3 has 36 inputs after a Conv2d with 4 channels: flattened={'layers.3': 4}"
    with pytest.raises(tt.DataError, match=hint):
        from_torch_state(network(), state)
    with pytest.raises(tt.DataError, match=hint):
        to_torch_state(network())
    for wrong, words in (
        ({"fc": 4}, "no Linear layer named 'fc'"),
        ({"layers.3": 5}, "layers.3 has 36 inputs, not a multiple of 5"),
        ({"layers.3": 0}, "not a multiple of 0"),
    ):
        with pytest.raises(tt.DataError, match=words):
            from_torch_state(network(), state, flattened=wrong)
    model = network()
    from_torch_state(model, state, flattened={"layers.3": 4})
    images = RNG.normal(size=(2, 3, 3, 4)).astype(np.float32)  # after the pooling, (N, H, W, C)
    flat = images.transpose(0, 3, 1, 2).reshape(2, 36)  # in PyTorch's order
    result = model[3](model[2](tt.tensor(images))).numpy()
    np.testing.assert_allclose(result, flat @ state["3.weight"].T, rtol=1e-4, atol=1e-5)
    back = to_torch_state(model, flattened={"layers.3": 4})
    assert list(back) == list(state)
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].flags.c_contiguous
    from_torch_state(model, state, flattened={"layers.3": 1})
    np.testing.assert_array_equal(model[3].weight.numpy(), state["3.weight"].T)


def test_a_mean_over_the_image_needs_no_order():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), lambda x: x.mean(axis=(1, 2)), nn.Linear(4, 2))
    assert to_torch_state(model)["2.weight"].shape == (2, 4)


def test_a_shared_layer_has_two_names():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    state = to_torch_state(model)
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    from_torch_state(model, state)


def test_small_floats_and_tensors_are_accepted():
    layer = nn.Linear(2, 2)
    state = {"weight": np.array([[1, 2], [3, 4]], np.float16), "bias": tt.ones(2)}
    from_torch_state(layer, state)
    assert layer.weight.tolist() == [[1, 3], [2, 4]]
    assert layer.bias.tolist() == [1, 1]
    assert layer.weight.dtype == tt.float32


# With PyTorch


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def networks(torch):
    """The same network twice: convolutions, batch norm, flattened images, a square layer."""
    tnn = torch.nn
    theirs = tnn.Sequential(
        tnn.Conv2d(3, 4, 3, padding=1), tnn.BatchNorm2d(4), tnn.ReLU(), tnn.MaxPool2d(2),
        tnn.Conv2d(4, 6, (3, 1)), tnn.ReLU(), tnn.Flatten(), tnn.Linear(6 * 2 * 5, 8),
        tnn.BatchNorm1d(8), tnn.Linear(8, 8), tnn.LayerNorm(8), tnn.Linear(8, 2, bias=False),
    )  # fmt: skip
    ours = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, (3, 1), padding=0), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 2 * 5, 8),
        nn.BatchNorm(8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2, bias=None),
    )  # fmt: skip
    with torch.no_grad():
        for _ in range(3):  # averages other than 0 and 1
            theirs(torch.randn(16, 3, 8, 10) * 2 + 1)
        for x in theirs.parameters():
            x += torch.randn(x.shape) * 0.1
    return theirs.eval(), ours.eval()


def test_networks_of_both_libraries_agree(torch, backend):
    torch.manual_seed(0)
    theirs, ours = networks(torch)
    images = torch.randn(5, 3, 8, 10)
    expected = theirs(images).detach().numpy()
    from_torch_state(ours, theirs.state_dict(), flattened={"layers.7": 6})
    result = ours(tt.tensor(images.numpy().transpose(0, 2, 3, 1))).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    assert ours[1].steps.tolist() == [3]
    other = copy.deepcopy(theirs)
    with torch.no_grad():
        for x in other.parameters():
            x.zero_()
    state = to_torch_state(ours, flattened={"layers.7": 6})
    other.load_state_dict({name: torch.from_numpy(x) for name, x in state.items()})
    np.testing.assert_array_equal(other(images).detach().numpy(), expected)


def test_half_precision_and_embeddings(torch):
    theirs = torch.nn.Sequential(torch.nn.Embedding(7, 3), torch.nn.Linear(3, 3))
    ours = nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 3))
    from_torch_state(ours, theirs.state_dict())
    index = np.array([[6, 0], [1, 1]])
    expected = theirs(torch.from_numpy(index)).detach().numpy()
    np.testing.assert_allclose(ours(tt.tensor(index)).numpy(), expected, rtol=1e-5, atol=1e-6)
    from_torch_state(ours, theirs.to(torch.bfloat16).state_dict())
    np.testing.assert_allclose(ours(tt.tensor(index)).numpy(), expected, rtol=0.1, atol=0.05)
