"""The microscope on the live page: its numbers are the engine's, and no bit changes."""

import html
import re

import numpy as np
import pytest
import viewer as viewers
from chromium import needs_browser
from test_live import SMALL
from viewer import DATA, Viewer, finish, served, until

import tinytensor as tt
from tinytensor import nn
from tinytensor.errors import IndexingError
from tinytensor.lessons import find
from tinytensor.live.layer_signs import layer_signs
from tinytensor.live.microscope_tab import Choice, look, numbers, picture_of
from tinytensor.microscope.as_html import as_fragment
from tinytensor.microscope.as_text import parts
from tinytensor.microscope.following import follow_next, weights_by_layer
from tinytensor.train import Training

browser = viewers.browser
PLACES = [
    ("softmax", "layers.1", 3, (406,)),
    ("dropout", "layers.4", 5, (7,)),
    ("conv-dropout", "layers.2", 4, (6, 2)),
    ("batchnorm-conv", "layers.0", 1, (0, 27)),
]


def trained(lesson, steps, data=SMALL):
    training = Training(find(lesson), data, steps=20, batch=20)
    training.model.train()
    for _ in range(steps):
        training.make_step()
    return training


@pytest.mark.parametrize(("lesson", "layer", "neuron", "place"), PLACES)
def test_a_look_changes_no_bit(lesson, layer, neuron, place):
    def losses(looks):
        training = Training(find(lesson), SMALL, steps=6, batch=20)
        training.model.train()
        seen = []
        with training.watch_mistakes(None) as coach:
            for _ in range(6):
                if looks:
                    follow_next(training, layer, neuron, place)
                seen.append(training.make_step().loss)
        return seen, [x.numpy().copy() for x in training.model.parameters()], coach.to_json()

    (looked, weights, found), (plain, same, wanted) = losses(True), losses(False)
    assert looked == plain
    assert all(map(np.array_equal, weights, same))
    assert found == wanted


@pytest.mark.parametrize(("lesson", "layer", "neuron", "place"), PLACES)
def test_the_numbers_are_those_of_the_next_step(lesson, layer, neuron, place):
    training = trained(lesson, 3)
    f = follow_next(training, layer, neuron, place)
    assert (f.step, f.nudged) == (4, None)
    weight = dict(training.model.named_parameters())[f.name]
    np.testing.assert_array_equal(f.weights, weight.numpy()[..., neuron])
    assert f.before == float(weight.numpy()[f.index])
    result = training.make_step()
    assert f.loss == result.loss
    np.testing.assert_array_equal(f.logits, result.logits.numpy()[0])
    assert f.gradient == float(weight.grad.numpy()[f.index])
    assert f.after == float(weight.numpy()[f.index])


@pytest.mark.parametrize(("lesson", "layer", "neuron", "place"), PLACES)
def test_products_of_the_window_and_the_bias_are_the_output(lesson, layer, neuron, place):
    f = follow_next(trained(lesson, 3), layer, neuron, place)
    products = f.window.astype(np.float64) * f.weights
    assert products.sum() + f.bias == pytest.approx(f.result, rel=1e-4, abs=1e-5)
    assert f.window.shape == f.shape[:-1]
    if len(place) == 2:
        assert f.position == place
        assert np.abs(products).max() == abs(products[f.index[:-1]]), "the largest product"
        assert f.outputs[place] == np.float32(f.result)
    else:
        assert f.index == (*place, neuron)


def test_the_window_of_a_first_layer_is_a_part_of_the_image():
    f = follow_next(trained("conv", 1), "layers.0", 2, (14, 13))
    np.testing.assert_array_equal(f.window, f.images[0, 12:17, 11:16])
    corner = follow_next(trained("conv", 1), "layers.0", 2, (0, 0))
    assert not corner.window[:2].any(), "padding"
    np.testing.assert_array_equal(corner.window[2:, 2:], corner.images[0, :3, :3])
    assert follow_next(trained("conv", 1), "layers.0", 2).position == (14, 14), "the middle"


@pytest.mark.parametrize(
    ("layer", "neuron", "place", "example"),
    [("layers.0", 0, (28, 0), 0), ("layers.0", 4, (0, 0), 0), ("layers.0", 0, (0, -1), 0),
     ("layers.0", 0, (0,), 0), ("layers.0", 0, (0, 0), 20)],
)  # fmt: skip
def test_places_that_do_not_exist(layer, neuron, place, example):
    with pytest.raises(IndexingError, match="microscope: got"):
        follow_next(trained("conv", 0), layer, neuron, place, example)


def test_mistakes_are_words_on_the_page():
    training = trained("conv", 0)
    assert "the layer has no such output" in look(training, Choice("layers.0", 0, (28, 0)))
    assert "there is no layer 'layers.99'" in look(training, Choice("layers.99", 0, (1,)))


@pytest.mark.parametrize(("lesson", "layer", "neuron", "place"), PLACES)
def test_the_tab_shows_what_the_command_prints(lesson, layer, neuron, place):
    f = follow_next(trained(lesson, 1), layer, neuron, place)
    text = html.unescape(re.sub("<[^>]*>", "", numbers(f)))
    for line in (line for part in parts(f, 10_000) for line in part[1:]):
        assert line in text
    assert "probabilities  " in text
    assert "mean loss of the batch" in text
    assert numbers(f).count("<svg") == 3
    assert numbers(f).endswith(f"{as_fragment(f, with_title=False, with_image=False)}</div>")


@pytest.mark.parametrize("lesson", ["softmax", "dropout", "conv-dropout", "batchnorm-conv"])
def test_a_layer_has_one_name(lesson):
    training = trained(lesson, 1)
    names = [(each.name, each.shape) for each in layer_signs(training)]
    assert list(weights_by_layer(training.model).values()) == names


def test_notebooks_show_text_and_pictures():
    f = follow_next(trained("softmax", 1), "layers.1", 3, (406,))
    assert repr(f).startswith("lesson 1.0, step 2: weight[406, 3] of (784, 10)")
    shown = f._repr_html_()
    assert "<svg" in shown
    assert f"{f.gradient:.6g}" in shown
    assert "<body" not in shown
    assert "nudge" not in shown, "it was not measured"


def on_page(viewer):
    return viewer.model("numbers", "model.text")


def click(viewer, h, w):
    """Click on a place of the picture."""
    x, y, width, height = viewer.place("microscope")
    across, down = (
        viewer.model("microscope", f"model.{axis}.end - model.{axis}.start")
        for axis in ("x_range", "y_range")
    )
    viewer.press((x + (w + 0.5) * width / across, y + (h + 0.5) * height / down))


def floats(text):
    return [float(x) for x in re.findall(r"<td[^>]*>([^<]+)</td>", text)]


@needs_browser
def test_every_number_of_a_dense_layer_is_that_of_the_engine(browser):
    with served(steps=20) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        viewer.model("tabs", "model.active = 6")
        until(lambda: "step 21, image 0" in on_page(viewer))
        viewer.model("neuron", "model.value = '3'")
        until(lambda: "z[3]" in on_page(viewer))
        click(viewer, 12, 15)
        until(lambda: "<tr class=chosen><td>351</td>" in on_page(viewer))

        training = Training(find("softmax"), DATA, steps=20)
        list(training)
        weight, bias = (p.numpy() for p in training.model.parameters())
        images, _ = training.next_batch()
        pixels = images[0].reshape(784)
        text = on_page(viewer)
        rows = np.array(floats(text.split("</table>")[0])).reshape(-1, 4)
        assert rows[0, 0] == 351
        assert len(rows) >= 6
        for i, value, w, product in rows:
            i = int(i)
            shown = (pixels[i], weight[i, 3], np.float64(pixels[i]) * weight[i, 3])
            assert [f"{v:.6g}" for v in (value, w, product)] == [f"{v:.6g}" for v in shown]
        result = tt.from_numpy(images).reshape(-1, 784) @ weight + bias
        assert f"<b>{result.numpy()[0, 3]:.6g}</b>" in text
        assert f"+ bias {bias[3]:.6g}" in text
        assert text == numbers(follow_next(training, "layers.1", 3, (351,)))
        assert viewer.column("microscope place", "x") == [15.5]
        assert viewer.complaints() == []


@needs_browser
def test_every_number_of_a_convolution_is_that_of_the_engine(browser):
    with served("conv", steps=6) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        viewer.model("tabs", "model.active = 6")
        until(lambda: "step 7, image 0" in on_page(viewer))
        viewer.model("layer", "model.value = 'layers.2'")
        until(lambda: "z[7, 7, 0]" in on_page(viewer))
        click(viewer, 9, 4)
        until(lambda: "z[9, 4, 0]" in on_page(viewer))

        training = Training(find("conv"), DATA, steps=6)
        list(training)
        text, wanted = on_page(viewer), follow_next(training, "layers.2", 0, (9, 4))
        assert text == numbers(wanted)
        np.testing.assert_array_equal(viewer.picture("microscope data"), picture_of(wanted))

        layers, (images, _) = training.model.layers, training.next_batch()
        hidden = layers[1](layers[0](tt.from_numpy(images)))
        kernel = layers[2].weight.numpy()[..., 0]
        KH, KW, _ = kernel.shape
        channel = wanted.index[2]
        tables = [np.array(floats(part)).reshape(KH, KW) for part in text.split("</table>")[:3]]
        window, weights, products = tables
        stride = layers[2].stride if isinstance(layers[2].stride, int) else layers[2].stride[0]
        full = layers[2](hidden).numpy()
        pads = max((full.shape[1] - 1) * stride + KH - hidden.shape[1], 0)
        padded = np.pad(hidden.numpy()[0], [(pads // 2, pads - pads // 2)] * 2 + [(0, 0)])
        own = padded[9 * stride : 9 * stride + KH, 4 * stride : 4 * stride + KW]
        for shown, values in (
            (window, own), (weights, kernel), (products, own.astype(np.float64) * kernel)
        ):  # fmt: skip
            assert [f"{v:.3g}" for v in shown.flat] == [
                f"{v + 0.0:.3g}" for v in values[..., channel].flat
            ]
        assert f"<b>{full[0, 9, 4, 0]:.6g}</b>" in text
        assert viewer.complaints() == []


@needs_browser
def test_a_model_that_is_no_chain_has_no_microscope(browser):
    from dataclasses import replace

    class Own(nn.Module):
        def __init__(self):
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

        def forward(self, x):
            return self.layers(x)

    with served(replace(find("softmax"), model=Own), steps=5) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        viewer.model("tabs", "model.active = 6")
        until(lambda: "needs a network that is an nn.Sequential" in html.unescape(on_page(viewer)))
        assert viewer.complaints() == []
