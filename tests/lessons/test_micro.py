"""docs/micro.py, lesson 1.0 in plain Python, computes what the engine computes."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import datasets, lessons

FILE = Path(__file__).parents[2] / "docs" / "micro.py"
STEPS, BATCH, RATE = 20, 20, 0.5


@pytest.fixture(scope="module")
def micro():
    spec = importlib.util.spec_from_file_location("micro", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_one_sitting_and_imports_math_and_random_only():
    text = FILE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    imported = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)]
    assert [alias.name for node in imported for alias in node.names] == ["math", "random"]
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(ast.parse(text)))


@pytest.mark.parametrize("start", ["zeros", "drawn"])
def test_the_first_losses_are_those_of_the_engine(micro, start):
    data = datasets.mnist()
    images = data.train_images.reshape(-1, 784)[: STEPS * BATCH].astype(np.float64) / 255
    labels = data.train_labels[: STEPS * BATCH]
    model = lessons.find("1.0").new_model()
    rng = np.random.default_rng(0)
    scale = 0.1 if start == "drawn" else 0.0
    for name, shape in (("weight", (784, 10)), ("bias", (10,))):
        drawn = tt.tensor(scale * rng.standard_normal(shape), tt.float64, requires_grad=True)
        setattr(model, name, drawn)
    network = micro.TenNeurons()
    weight, bias = (each.numpy() for each in (model.weight, model.bias))
    for digit in range(10):
        network.biases[digit].number = float(bias[digit])
        for pixel in range(784):
            network.weights[digit][pixel].number = float(weight[pixel, digit])

    optimizer = tt.optim.SGD(model.parameters(), lr=RATE)
    for step in range(STEPS):
        chosen = slice(step * BATCH, (step + 1) * BATCH)
        optimizer.zero_grad()
        loss = tt.cross_entropy(model(tt.tensor(images[chosen], tt.float64)), labels[chosen])
        loss.backward()
        optimizer.step()
        plain = micro.train_step(network, images[chosen].tolist(), labels[chosen].tolist(), RATE)
        assert loss.dtype == np.float64
        assert abs(plain - loss.item()) <= 1e-12


def test_without_its_pipe_it_says_what_it_reads():
    with open(os.devnull, "rb") as nothing:
        command = [sys.executable, str(FILE)]
        done = subprocess.run(command, stdin=nothing, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "micro.py reads images from a pipe; its first lines show the command\n"
