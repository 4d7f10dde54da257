"""Dead neurons and gradients by layer, for the tab "layers"."""

import re
from dataclasses import replace

import numpy as np
import pytest
import viewer as viewers
from chromium import needs_browser
from test_live import SMALL
from viewer import Viewer, finish, served, until

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import find
from tinytensor.live.layer_signs import LayerSigns, layer_signs, table, vanishes
from tinytensor.train import Training

browser = viewers.browser


@pytest.mark.parametrize("name", ["softmax", "dropout", "conv-dropout", "batchnorm-conv"])
def test_a_look_changes_no_bit(name):
    def losses(look):
        training = Training(find(name), SMALL, steps=6, batch=20)
        seen = []
        training.model.train()
        with training.watch_mistakes(None):
            for _ in range(6):
                if look:
                    layer_signs(training)
                seen.append(training.make_step().loss)
        return seen, [x.numpy().copy() for x in training.model.parameters()]

    (looked, weights), (plain, same) = losses(True), losses(False)
    assert looked == plain
    assert all(map(np.array_equal, weights, same))


def test_the_gradient_is_that_of_backward():
    training = Training(find("relu"), SMALL, steps=5)
    training.make_step()
    signs = layer_signs(training)
    images, labels = training.next_batch()
    loss = training.lesson.loss(training.model(tt.from_numpy(images)), labels)
    training.model.zero_grad()
    loss.backward()
    weights = [x for x in training.model.parameters() if x.ndim > 1]
    assert [each.shape for each in signs] == [x.shape for x in weights]
    for each, x in zip(signs, weights, strict=True):
        ratio = np.linalg.norm(x.grad.numpy()) / np.linalg.norm(x.numpy())
        np.testing.assert_allclose(each.flow, ratio, rtol=1e-6)
        np.testing.assert_allclose(each.size, np.abs(x.grad.numpy()).mean(), rtol=1e-6)
    assert [each.dead is None for each in signs] == [False] * 4 + [True]


def test_dead_neurons_are_counted():
    def model():
        layers = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10, nn.zeros)
        )
        layers.layers[1].bias.data = tt.tensor([-1e6] * 6 + [1e6] * 2)
        return layers

    training = Training(replace(find("relu"), model=model), SMALL, steps=5)
    first, last = layer_signs(training)
    assert first.dead == 0.75
    assert first.flow == 0, "because the last weights are 0"
    assert last.dead is None
    assert last.flow is None, "no ratio to weights that are 0"
    assert '<b class="wrong">75 %, dead</b>' in table([first, last])
    assert "weights are 0" in table([first, last])


def test_a_table_has_only_what_means_something():
    training = Training(find("sigmoid"), SMALL, steps=5)
    signs = layer_signs(training)
    assert all(each.dead is None for each in signs)
    assert "<th>dead</th>" not in table(signs)
    assert "<th>dead</th>" in table(layer_signs(Training(find("relu"), SMALL, steps=5)))


def test_a_lost_gradient_is_marked_once():
    sizes = (1e-9, 1e-6, 1e-2)
    signs = [LayerSigns(f"layers.{i}", (2, 2), None, size, size) for i, size in enumerate(sizes)]
    assert vanishes(signs)
    assert table(signs).count("vanishes") == 1
    assert not vanishes(signs[1:]), "two layers are no way to vanish on"
    assert "width: 0%" in table(signs)
    assert "width: 60%" in table(signs)


@pytest.mark.parametrize("where", ["weights", "gradient"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_marked(where, value):
    training = Training(find("softmax"), SMALL, steps=5)
    if where == "weights":
        next(x for x in training.model.parameters() if x.ndim == 2).array[0, 0] = value
        (signs,) = layer_signs(training)
    else:
        signs = LayerSigns("layers.1.weight", (784, 10), None, value, value)
    shown = table([signs])
    assert re.search(r'<b class="wrong">(nan|inf), not finite</b>', shown)
    assert 'class="bar"' not in shown


@needs_browser
def test_tab_shows_the_signs_of_the_last_test(browser):
    with served("relu", steps=20) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.step() == 20)
        assert viewer.model("layer signs", "model.text") == "", "a hidden tab is not computed"
        viewer.model("tabs", "model.active = 4")
        text = until(lambda: viewer.model("layer signs", "model.text"))
        wanted = layer_signs(run.training)
        assert text == table(wanted)
        shown = re.findall(r"<td>([\d.e+-]+)<div", text)
        assert shown == [f"{each.flow:.1e}" for each in wanted]
        assert viewer.complaints() == []
