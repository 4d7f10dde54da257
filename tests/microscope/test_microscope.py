"""The microscope: its numbers are those of the engine, in text and in HTML."""

import re

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
    factors = re.search(r"= (\S+) \* (\S+)$", sigmoid.formula)
    assert float(factors[1]) == pytest.approx(linear.grad, rel=1e-3)
    assert float(factors[1]) * float(factors[2]) == pytest.approx(sigmoid.grad, rel=1e-3)
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
    numbers = [float(x) for x in re.findall(r"-?\d[\d.e+-]*", f.rule.split(" = ")[1])]
    before, lr, m_hat, v_hat, epsilon = numbers
    assert f.after == pytest.approx(before - lr * m_hat / (v_hat**0.5 + epsilon), rel=1e-4)


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
