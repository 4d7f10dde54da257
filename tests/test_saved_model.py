"""Checkpoints of networks of one's own: tt.fit and lesson files, read by Python and by commands."""

import json

import numpy as np
import pytest
from PIL import Image

import tinytensor as tt
from tinytensor import checkpoint, nn
from tinytensor.evaluation import probabilities
from tinytensor.run_state import described_layers
from tinytensor.saved_model import load_model, load_weights

RNG = np.random.default_rng(0)
LABELS = np.arange(40) % 2
IMAGES = RNG.integers(0, 60, (40, 10, 12, 3)).astype(np.uint8)
IMAGES[np.arange(40), ..., 2 * LABELS] += 150
DATA = tt.datasets.Dataset(IMAGES, LABELS, IMAGES, LABELS, names=["red", "blue"])


def sequential():
    shared = nn.ReLU()
    return nn.Sequential(
        nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=((1, 1), (0, 1)), bias=None),
        nn.BatchNorm(4, scale=False, decay=0.9),
        shared,
        nn.Sequential(nn.MaxPool2d(2, padding="same"), nn.LeakyReLU(0.1), nn.Identity()),
        nn.Flatten(),
        nn.Linear(72, 8),
        shared,
        nn.LayerNorm(8),
        nn.Dropout(keep_prob=0.75),
        nn.Linear(8, 2),
    )


class Own(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(360, 2)

    def forward(self, x):
        return self.layer(x.flatten(1))


class Linear(nn.Linear):
    """It has the name of a layer of tt.nn, and computes something else."""

    def forward(self, x):
        return -super().forward(x)


def fitted(model, file, **settings):
    tt.fit(model, DATA, epochs=2, batch=10, save=file, show=None, **settings)
    return model.eval()


def test_a_sequential_is_made_from_its_file(tmp_path):
    file = tmp_path / "run.safetensors"
    model = fitted(sequential(), file)
    lesson, read = load_model(file)
    assert lesson.in_words == "a network of your own"
    np.testing.assert_array_equal(probabilities(read, IMAGES), probabilities(model, IMAGES))


def test_the_random_numbers_stay_as_they_are(tmp_path):
    fitted(sequential(), tmp_path / "run.safetensors")
    tt.manual_seed(0)
    wanted = tt.rand(3).tolist()
    tt.manual_seed(0)
    load_model(tmp_path / "run.safetensors")
    assert tt.rand(3).tolist() == wanted


def test_predict_reads_it(tmp_path, run):
    file = tmp_path / "run.safetensors"
    fitted(sequential(), file, optimizer=None)
    Image.fromarray(IMAGES[1]).resize((60, 50)).save(tmp_path / "blue.png")
    code, out, err = run("predict", "--weights", file, tmp_path / "blue.png")
    assert code == 0, err
    assert err.startswith("a network of your own\n")
    assert "red: " in out
    assert "blue: " in out


def test_a_class_of_your_own_needs_its_code(tmp_path, run):
    file = tmp_path / "run.safetensors"
    model = fitted(Own(), file)
    words = r"because it is a Own, whose code is not in the file; .* tt.train.load_weights\(mod"
    with pytest.raises(tt.DataError, match=words):
        load_model(file)
    code, _, err = run("predict", "--weights", file, "photo.png")
    assert (code, err.count("\n")) == (2, 1)
    read = load_weights(Own(), file)
    np.testing.assert_array_equal(probabilities(read, IMAGES), probabilities(model, IMAGES))
    with pytest.raises(tt.DataError, match=r"load_weights: .*layer.weight is unknown"):
        load_weights(sequential(), file)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (tt.relu, "layer layers.1 is a function, whose code is not in the file"),
        (Linear(360, 360), "a layer is of a class of your own"),
    ],
    ids=["function", "subclass"],
)
def test_a_layer_of_your_own_needs_its_code(tmp_path, layer, words):
    file = tmp_path / "run.safetensors"
    fitted(nn.Sequential(nn.Flatten(), layer, nn.Linear(360, 2)), file)
    with pytest.raises(tt.DataError, match=words):
        load_model(file)


def test_a_layer_with_changed_attributes_is_not_made(tmp_path):
    file = tmp_path / "run.safetensors"
    changed = nn.ReLU()
    changed.forward = lambda x: -x
    fitted(nn.Sequential(nn.Flatten(), changed, nn.Linear(360, 2)), file)
    with pytest.raises(tt.DataError, match="its layers have other settings than those of"):
        load_model(file)


def test_early_stopping_saves_the_best_weights(tmp_path):
    file = tmp_path / "run.safetensors"
    model = nn.Sequential(nn.Flatten(), nn.Linear(360, 2))
    tt.fit(
        model, (IMAGES, RNG.integers(0, 2, 40)), epochs=20, batch=10, validation=10, patience=2,
        save=file, show=None,
    )  # fmt: skip
    wanted = probabilities(model, IMAGES)
    np.testing.assert_array_equal(probabilities(load_model(file)[1], IMAGES), wanted)


def test_networks_for_rows_of_numbers_are_for_python(tmp_path):
    file, x = tmp_path / "run.safetensors", RNG.standard_normal((40, 2))
    tt.fit(nn.Linear(2, 2), (x, LABELS), validation=10, batch=10, epochs=1, save=file, show=None)
    with pytest.raises(
        tt.DataError, match="it is trained on arrays of your own, and images of bytes"
    ):
        load_model(file)
    assert load_weights(nn.Linear(2, 2), file).weight.shape == (2, 2)


MALFORMED = {
    "no JSON": "[",
    "a list": "[]",
    "no model": "{}",
    "a text": '{"model": "Sequential"}',
    "no layers": '{"model": {"class": "Sequential"}}',
    "a class that is no text": '{"model": {"class": ["Linear"]}}',
    "a name of Python": '{"model": {"class": "__import__"}}',
    "a negative stride": None,
    "a huge padding": None,
    "more outputs than classes": None,
    "layers that do not fit": None,
    "deep": '{"model": {"class": "Softmax", "axis": ' + "[" * 5000 + "]" * 5000 + "}}",
    "layers in layers": '{"model": {"class": "Sequential", "layers": ["Sequential"]}}',
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_description_is_refused(tmp_path, name):
    file = tmp_path / "run.safetensors"
    fitted(sequential(), file)
    tensors, about = checkpoint.read(file)
    about["network"] = MALFORMED[name]
    layers = described_layers(sequential())
    if name == "a negative stride":
        layers["layers.0"]["stride"] = -1
    elif name == "a huge padding":
        layers["layers.0"]["padding"] = 10**9
    elif name == "layers that do not fit":
        layers["layers.3.layers.0"]["settings"] = [1, None, 0]
    elif name == "more outputs than classes":
        about["classes"] = json.dumps(["a"])
    if MALFORMED[name] is None:
        about["network"] = json.dumps(layers)
    checkpoint.save(file, tensors, about)
    with pytest.raises(tt.DataError, match="its network can't be made from the file"):
        load_model(file)


def test_sizes_are_those_of_the_tensors(tmp_path):
    """A file can't ask for more memory than it has."""
    file = tmp_path / "run.safetensors"
    fitted(nn.Sequential(nn.Flatten(), nn.LayerNorm(360), nn.Linear(360, 2)), file)
    tensors, about = checkpoint.read(file)
    layers = json.loads(about["network"])
    layers["layers.1"]["channels"] = [10**15]
    checkpoint.save(file, tensors, about | {"network": json.dumps(layers)})
    with pytest.raises(tt.DataError, match="other settings"):
        load_model(file)


# Resuming


def test_another_learning_rate_is_named(tmp_path):
    file, model = tmp_path / "run.safetensors", nn.Sequential(nn.Flatten(), nn.Linear(360, 2))
    fitted(model, file, optimizer=tt.optim.Adam(model.parameters(), lr=0.01))
    words = r"is of a run with lr 0.01; got lr 0.05; the same is needed, or a new run: tt.train.lo"
    with pytest.raises(tt.DataError, match=words):
        fitted(model, file, resume=file, optimizer=tt.optim.Adam(model.parameters(), lr=0.05))
    made = tt.optim.Adam(model.parameters(), lr=0.01)
    tt.fit(model, DATA, epochs=3, batch=10, resume=file, optimizer=made, show=None)


def test_a_rate_that_show_has_changed_continues(tmp_path):
    file, model = tmp_path / "run.safetensors", nn.Sequential(nn.Flatten(), nn.Linear(360, 2))

    def run(epochs, **settings):
        made = tt.optim.SGD(model.parameters(), lr=0.01)

        def show(report):
            rates.append(made.lr)
            made.lr = made.lr / 2

        tt.fit(model, DATA, epochs=epochs, batch=10, optimizer=made, show=show, **settings)

    rates = []
    run(2, save=file)
    run(3, resume=file)
    assert rates == [0.01, 0.005, 0.005], "the checkpoint was written before the second change"


def test_predict_reads_the_weights_of_a_lesson_file(tmp_path, run, monkeypatch):
    """Its network is a class, so predict needs the file."""
    lesson, weights = tmp_path / "mine.py", tmp_path / "mine.safetensors"
    lesson.write_text(tt.lessons.source("softmax"))
    code, _, err = run("train", lesson, "--steps", 20, "--save-weights", weights)
    assert code == 0, err
    np.save(tmp_path / "images.npy", tt.datasets.mnist().test_images[:2])
    predict = "predict", "--weights", weights, tmp_path / "images.npy"
    code, _, err = run(*predict)
    assert (code, err.count("\n")) == (2, 1)
    assert "is of lesson mine.py, which doesn't exist here: its network can't be made" in err
    assert "add --lesson FILE.py" in err
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        code, _, err = run(*predict)
        assert (code, err.count("\n")) == (2, 1)
        assert "is of lesson mine.py, which makes its network; add --lesson mine.py" in err
    other = tt.lessons.find("3.1").weights_file()
    code, _, err = run("predict", "--lesson", lesson, "--weights", other, tmp_path / "images.npy")
    assert (code, err.count("\n")) == (2, 1)
    assert "is of lesson 3.1; weights of lesson mine.py are needed" in err
    code, out, err = run(*predict, "--lesson", lesson)
    assert (code, err) == (0, "lesson mine.py\n")
    assert out.count("\n") == 2
    code, _, err = run("predict", "--lesson", lesson, tmp_path / "images.npy")
    assert (code, err.count("\n")) == (2, 1)
    assert "which has no weights; add --weights FILE" in err
