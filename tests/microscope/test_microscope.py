"""The microscope: its numbers are those of the engine, in text and in HTML."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import nn
from tinytensor.errors import IndexingError, SettingError, UnknownName
from tinytensor.lessons import find
from tinytensor.microscope.as_html import as_html
from tinytensor.microscope.as_text import as_text
from tinytensor.microscope.following import chain_of, follow
from tinytensor.train import Training

DATA = tt.datasets.mnist()
WEIGHTS = [
    ("1.0", (406, 3), None, 5),
    ("2.0", (406, 3), None, 2),
    ("2.2", (5, 3), "layers.4", 1),
    ("2.2", (7, 2), "layers.13", 2),
    ("3.0", (2, 2, 0, 1), None, 1),
    ("3.1", (1, 2, 3, 4), "layers.2", 1),
    ("4.0", (300, 7), None, 2),  # not 4.1: rounding decides whether a ReLU near 0 is open
]


@pytest.mark.parametrize(("lesson", "index", "layer", "step"), WEIGHTS)
def test_the_sum_the_nudge_and_the_gradient_agree(backend, lesson, index, layer, step):
    if backend == "numpy" and lesson.startswith("3"):
        pytest.skip("convolutions take seconds on NumPy")
    f = follow(find(lesson), DATA, index, layer=layer, step=step)
    scale = np.abs(f.products).sum()
    assert f.gradient == pytest.approx(f.products.sum(), rel=1e-4, abs=1e-6 * scale)
    assert f.gradient == pytest.approx(f.nudged, rel=1e-3, abs=1e-5 * scale)


@pytest.mark.parametrize("lesson", ["1.0", "2.2"])
def test_the_numbers_are_those_of_the_training(lesson):
    f = follow(find(lesson), DATA, (406, 3), step=3)
    training = Training(find(lesson), DATA)
    training.model.train()
    for _ in range(2):
        training.make_step()
    weight = dict(training.model.named_parameters())[f.name]
    assert f.before == float(weight.numpy()[406, 3])
    result = training.make_step()
    assert f.after == float(weight.numpy()[406, 3])
    assert f.gradient == float(weight.grad.numpy()[406, 3])
    assert f.loss == result.loss
    np.testing.assert_array_equal(f.logits, result.logits.numpy()[f.example])
    np.testing.assert_array_equal(f.inputs[:, 0], result.images.reshape(100, 784)[:, 406])


def test_the_chain_of_a_hidden_neuron_is_the_product_of_its_factors():
    f = follow(find("2.0"), DATA, (406, 3))
    linear, sigmoid = f.stages[-2:]
    assert linear.layer == "layers.3: Linear"
    grad, s, rest = map(float, re.search(r"= (\S+) \* (\S+) \* (\S+)$", sigmoid.formula).groups())
    assert grad == pytest.approx(linear.grad, rel=1e-3)
    assert s + rest == pytest.approx(1, abs=1e-3)
    assert grad * s * rest == pytest.approx(sigmoid.grad, rel=1e-3)
    assert sigmoid.grad == float(f.grads[f.example, 0])


def test_the_output_of_a_convolution_is_the_sum_of_its_window():
    f = follow(find("3.0"), DATA, (2, 2, 0, 1))
    training = Training(find("3.0"), DATA)
    images, _ = training.next_batch()
    out = training.model[0](tt.from_numpy(images)).numpy()
    assert f.result == float(out[(f.example, *f.position, 1)])
    row, column = f.position  # the centre of a 5 x 5 window with padding "same"
    assert f.inputs[f.example, f.place] == images[f.example, row, column, 0]


def test_adam_in_numbers_gives_the_new_weight():
    f = follow(find("2.1"), DATA, (406, 3), step=2)
    *_, last = f.rule
    numbers = [float(x) for x in re.findall(r"-?\d[\d.e+-]*", last.split(" = ")[1])]
    before, lr, m_hat, v_hat, epsilon = numbers
    assert f.after == pytest.approx(before - lr * m_hat / (v_hat**0.5 + epsilon), rel=1e-4)


OPTIMIZERS = {
    "sgd": lambda params: tt.optim.SGD(params, lr=0.5),
    "weight decay": lambda params: tt.optim.SGD(params, lr=0.5, weight_decay=0.1),
    "momentum": lambda params: tt.optim.SGD(params, lr=0.5, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda params: tt.optim.SGD(params, lr=0.5, momentum=0.9, nesterov=True),
    "rmsprop": lambda params: tt.optim.RMSprop(params, lr=0.01),
    "adam": lambda params: tt.optim.Adam(params, lr=0.01),
    "adamw": lambda params: tt.optim.AdamW(params, lr=0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_line_of_the_update_is_true_in_numbers(name):
    lesson = replace(find("1.0"), optimizer=OPTIMIZERS[name])
    f = follow(lesson, DATA, (406, 3), step=3)
    for line in f.rule:
        _, *formulas, last = line.replace("^", "**").split(" = ")
        known = {"sqrt": np.sqrt}
        if line is f.rule[-1]:
            assert eval(last, known) == pytest.approx(f.after, rel=1e-4)
        else:
            assert len(formulas) == 2
            assert eval(formulas[-1], known) == pytest.approx(float(last), rel=1e-4, abs=1e-9)
    assert all(line in " ".join(as_text(f).split()) for line in f.rule)


def test_weights_that_the_optimizer_lacks_stay():
    lesson = replace(find("1.0"), optimizer=lambda params: tt.optim.SGD(params[1:], lr=0.5))
    f = follow(lesson, DATA, (406, 3))
    assert f.before == f.after
    assert f.rule == ("the optimiser does not have this weight, so it stays",)


def test_the_text_fits_80_columns_and_has_the_numbers():
    f = follow(find("2.2"), DATA, (406, 3))
    text = as_text(f)
    assert max(map(len, text.splitlines())) <= 80
    for number in (f.gradient, f.nudged, f.before, f.after, f.loss, f.products.sum()):
        assert f"{number:.6g}" in text


@pytest.mark.parametrize(("lesson", "index"), [("1.0", (406, 3)), ("3.0", (2, 2, 0, 1))])
def test_the_page_is_one_file_with_the_same_numbers(lesson, index):
    f = follow(find(lesson), DATA, index)
    page = as_html(f)
    assert not re.search(r"<script|src=|href=|url\(", page)
    for number in (f.gradient, f.nudged, f.after, f.loss):
        assert f"{number:.6g}" in page
    titles = re.findall(r"<title>(-?[\d.e+-]+)</title>", page)
    shown = [*f.inputs[:, 0], *f.grads[:, 0]] if lesson == "1.0" else f.grads[f.example]
    assert {f"{float(x):.6g}" for x in shown} <= set(titles)


def test_the_page_has_the_sum_of_each_other_input_channel():
    f = follow(find("3.1"), DATA, (1, 2, 3, 4), layer="layers.2")
    found = dict(re.findall(r"channel (\d+): 25 products, sum (-?[\d.e+-]+)<", as_html(f)))
    products = f.window.astype(np.float64) * f.weights
    assert list(found) == [str(i) for i in range(products.shape[2]) if i != 3]
    total = sum(map(float, found.values())) + products[..., 3].sum()
    assert total == pytest.approx(products.sum(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("padding", ["same", 0])
def test_the_page_of_a_filter_shows_the_window_in_the_image(padding):
    def model(classes=10, shape=(28, 28, 1)):
        conv = nn.Conv2d(1, 2, (3, 5), stride=(2, 3), padding=padding)
        return nn.Sequential(conv, nn.Flatten(), nn.Linear(conv(tt.zeros(1, 28, 28, 1)).size, 10))

    f = follow(replace(find("1.0"), model=model), DATA, (1, 2, 0, 1))
    top, bottom, left, right = f.seen
    pixels = f.images[f.example, top : bottom + 1, left : right + 1, 0]
    assert pixels.any()
    assert sorted(pixels[pixels != 0]) == sorted(f.window[f.window != 0])
    page = as_html(f)
    shown = set(re.findall(r"<title>(-?[\d.e+-]+)</title>", page))
    assert {f"{float(x):.6g}" for x in f.weights.ravel()} <= shown
    assert f"x * w: the sum is {(f.window.astype(float) * f.weights).sum():.6g}" in page
    assert page.count('class="lit"') == 7  # image, window, filter, products; x, grad, products


def test_a_filter_with_one_place_has_its_page():
    def model(classes=10, shape=(28, 28, 1)):
        return nn.Sequential(nn.Conv2d(1, 10, 28, padding=0), nn.Flatten())

    f = follow(replace(find("1.0"), model=model), DATA, (14, 14, 0, 3))
    assert f.seen == (0, 27, 0, 27)
    assert "places of the filter" in as_text(f)
    assert f"{f.gradient:.6g}" in as_html(f)


def test_lesson_1_as_a_chain_computes_the_same_bits():
    model = find("1.0").new_model()
    model.weight.data[...] = tt.randn(784, 10)
    x = tt.rand(5, 28, 28, 1)
    np.testing.assert_array_equal(chain_of(model)(x).numpy(), model(x).numpy())


def test_what_does_not_exist_is_an_error():
    with pytest.raises(IndexingError, match=r"layers\.1, whose weights are"):
        follow(find("1.0"), DATA, (784, 3))
    with pytest.raises(IndexingError, match=r"the layers are layers\.0 "):
        follow(find("3.0"), DATA, (1, 2, 3))
    with pytest.raises(UnknownName, match=r"choose from layers\.1"):
        follow(find("1.0"), DATA, (1, 3), layer="layers.0")
    with pytest.raises(IndexingError, match="0 to 99 is needed"):
        follow(find("1.0"), DATA, (1, 3), example=100)
    with pytest.raises(SettingError, match="from 1 up"):
        follow(find("1.0"), DATA, (1, 3), step=0)
    with pytest.raises(SettingError, match=r"an nn\.Sequential"):
        chain_of(nn.Linear(2, 2))


def test_the_command_prints_and_writes(run, tmp_path):
    code, out, err = run("microscope", "1.0", "--weight", "406,3")
    assert (code, err) == (0, "")
    assert out.startswith("lesson 1.0, step 1: weight[406, 3] of (784, 10)\n")
    file = tmp_path / "weight.html"
    assert run("microscope", "1.0", "--weight", "406,3", "--html", file) == (0, "", "")
    assert file.read_text().startswith("<!DOCTYPE html>")
    code, _, err = run("microscope", "1.0", "--weight", "406")
    assert code == 2
    assert err.count("\n") == 1
    code, _, err = run("microscope", "1.0", "--weight", "a,b")
    assert code == 2


def test_the_chain_rule_reads_the_weights_before_the_update():
    f = follow(find("2.0"), DATA, (406, 3), step=2)
    training = Training(find("2.0"), DATA)
    training.model.train()
    training.make_step()
    (stage,) = [stage for stage in f.stages if stage.layer == "layers.3: Linear"]
    shown = re.findall(r"\(\S+ \* (\S+)\)", stage.formula)
    assert len(shown) == 3
    assert set(shown) <= {f"{w:.4g}" for w in training.model.layers[3].weight.numpy()[3]}


# The chain rule in numbers ----------------------------------------------------------------------


def pooled():
    """A lesson with max pooling and average pooling."""

    def model(classes=10, shape=(28, 28, 1)):
        return nn.Sequential(
            nn.Conv2d(1, 3, 5, stride=2), nn.BatchNorm(3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.AvgPool2d(7), nn.Flatten(), nn.Linear(4, classes),
        )  # fmt: skip

    return replace(find("1.0"), model=model)


class Softplus(nn.Activation):
    op = staticmethod(tt.softplus)


def of_all_activations():
    """A lesson with each activation, a new one, and layer norm."""

    def model(classes=10, shape=(28, 28, 1)):
        layers = []
        activations = nn.GELU(), nn.SiLU(), tt.tanh, nn.LeakyReLU(0.1), Softplus(), nn.Softmax()
        for each in activations:
            layers += [nn.Linear(20, 20), nn.LayerNorm(20), each]
        layers += [nn.Identity(), nn.Linear(20, classes)]
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), *layers)

    return replace(find("1.0"), model=model)


COMPUTED = {"ReLU", "LeakyReLU", "Sigmoid", "tanh", "GELU", "SiLU", "Softplus", "Softmax"}
COMPUTED |= {"Dropout", "BatchNorm", "LayerNorm"}


@pytest.mark.parametrize(
    ("lesson", "index"),
    [
        (find("2.0"), (406, 3)),
        (find("4.0"), (300, 7)),
        (find("4.1"), (406, 3)),
        (find("fast"), (2, 2, 0, 1)),
        (pooled(), (2, 2, 0, 1)),
        (of_all_activations(), (406, 3)),
    ],
    ids=["2.0", "4.0", "4.1", "fast", "pooled", "of all activations"],
)
def test_each_stage_behind_a_weight_has_its_numbers(lesson, index):
    f = follow(lesson, DATA, index)
    loss, *path = f.stages
    assert loss.grad is None
    assert path[0].layer == "softmax and cross-entropy"
    assert path[-1].grad == float(f.grads[f.example, f.place])
    for before, stage in pairwise(path):
        *_, numbers = stage.formula.split(" = ")
        kind = stage.layer.split(": ")[1]
        if kind in COMPUTED:
            terms = [abs(float(x)) for x in re.findall(r"-?\d[\d.e-]*", numbers)]
            assert eval(numbers) == pytest.approx(stage.grad, rel=5e-3, abs=1e-3 * max(terms))
        elif kind in ("Linear", "Conv2d", "AvgPool2d"):  # the path comes through the largest term
            grad = re.match(r"\((\S+) \* \S+\)", numbers)[1]
            assert float(grad) == pytest.approx(before.grad, rel=1e-3)
            sum_of_all = re.sub(r" \(\d+ more\)$", "", numbers)
            assert eval(sum_of_all) == pytest.approx(stage.grad, rel=5e-3, abs=1e-6)
        else:
            assert kind in ("Flatten", "MaxPool2d", "Identity")
            assert stage.grad == before.grad


@pytest.mark.parametrize("lesson", ["1.0", "fast"])
def test_the_loss_of_the_image_and_its_gradient_are_shown(lesson):
    f = follow(find(lesson), DATA, (2, 2, 0, 1) if lesson == "fast" else (406, 3))
    smoothing = 0.1 if lesson == "fast" else 0.0
    y = np.full(10, smoothing / 10)
    y[f.labels[f.example]] += 1 - smoothing
    assert f.own_loss == pytest.approx(-(y * np.log(f.probs)).sum(), rel=1e-5)
    assert f"= {f.own_loss:.6g}; mean loss" in " ".join(as_text(f).split())
    stage = f.stages[1]
    (c,) = map(int, re.findall(r"\[(\d)\]", stage.formula))
    assert stage.grad == pytest.approx((f.probs[c] - y[c]) / 100, rel=1e-4)


# Why nudging and backward() differ --------------------------------------------------------------


def test_equal_digits_need_no_reason():
    f = follow(find("1.0"), DATA, (0, 3))  # a white pixel: the gradient is 0
    assert (f.gradient, f.nudged, f.why) == (0, 0, ())


def test_rounding_is_the_reason_of_a_difference_in_the_last_digits():
    f = follow(find("2.0"), DATA, (406, 3))
    assert f"{f.gradient:.6g}" != f"{f.nudged:.6g}"
    (sentence,) = f.why
    exact, precision = re.match(r"In float64 .* gives (\S+): .* about (\S+)\.$", sentence).groups()
    assert float(exact) == pytest.approx(f.gradient, rel=1e-4)
    assert abs(float(exact) - f.nudged) < 10 * float(precision)
    assert sentence in " ".join(as_text(f).split())


def test_the_corner_of_a_relu_is_named():
    """All weights of the layer are 0, so each ReLU is at its corner."""
    images = np.full((200, 28, 28), 255, np.uint8)
    data = DATA._replace(train_images=images, train_labels=DATA.train_labels[:200])

    def model(classes=10, shape=(28, 28, 1)):
        corner = nn.Linear(784, 3, nn.constant(0.0))
        return nn.Sequential(nn.Flatten(), corner, nn.ReLU(), nn.Linear(3, 10))

    f = follow(replace(find("1.0"), model=model), data, (406, 1))
    assert f.gradient == 0
    assert f.nudged != 0
    assert f.why[0].startswith("Between w - h and w + h the input of a ReLU crosses 0 at 100 pl")


def test_a_tie_of_max_pooling_is_named():
    """One bright pixel is in four windows of a 2 x 2 filter, whose weights are equal."""
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 10, 10] = 255
    data = DATA._replace(train_images=images, train_labels=DATA.train_labels[:200])

    def model(classes=10, shape=(28, 28, 1)):
        conv = nn.Conv2d(1, 1, 2, padding=0, weight=nn.constant(0.5))
        return nn.Sequential(conv, nn.MaxPool2d(27), nn.Flatten(), nn.Linear(1, 10))

    f = follow(replace(find("1.0"), model=model), data, (0, 0, 0, 0))
    assert f.why[0].startswith("Between w - h and w + h max pooling takes another value at 100 pl")
