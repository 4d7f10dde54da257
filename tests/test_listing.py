"""A program as it is printed: names, parts, lines, and the work of each call."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import nn
from tinytensor.listing import bytes_moved, flops


def captured_step(model, optimizer):
    @tt.capture
    def train_step(images, labels):
        logits = model(tt.from_numpy(images))
        loss = tt.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()  # the way back
        optimizer.step()
        return loss

    images = np.random.default_rng(0).standard_normal((5, 6, 6, 1), np.float32)
    train_step(images, np.arange(5) % 3)
    return train_step


@pytest.fixture
def program(backend):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    return captured_step(model, tt.optim.Adam(model.parameters())).program


def test_the_step_can_be_read(program, backend):
    text = str(program)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    words = " ".join(text.split())
    for wanted in (
        "train_step: 16 calls (5 forward, 7 backward, 4 update)",
        "rewritten by bias_relu: 1 of the recorded calls saved",
        f"on {backend}, {'all of it in one call' if backend == 'c' else 'call by call'}",
        "conv2d images (5,6,6,1), layers.0.weight (3,3,1,2)",
        "matmul t1 (5,72), layers.3.weight (72,3) -> t2 (5,3)",
        "cross_entropy_backward 1.0, t3 (5,3), labels (5)",
        "-> layers.3.bias.grad (3)",
        "adam layers.0.weight.grad (3,3,1,2), lr (1), step (1)",
        "layers.0.weight.m (3,3,1,2)",
    ):
        assert wanted.replace(" ", "") in re.sub(r"\s", "", words), wanted
    parts = [line for line in lines if re.match("(forward|backward|update)", line)]
    assert [part.split("  ")[0] for part in parts][:4] == [
        "forward",
        "forward",
        "backward of cross_entropy",
        "backward of add",
    ]
    source = Path(__file__).read_text(encoding="utf-8").splitlines()
    for part in parts:
        file, number = part.split("  ")[1].split(":")
        assert file == "test_listing.py"
        line = source[int(number) - 1]
        assert ("step()" if part.startswith("update") else "logits") in line, (part, line)


def test_work_is_counted(program):
    by_kernel = {call.kernel: call for call in program.calls}
    assert flops(by_kernel["conv2d"]) == 2 * (3 * 3 * 2) * (5 * 6 * 6)
    assert flops(by_kernel["conv2d_grad_weight"]) == flops(by_kernel["conv2d"])
    assert flops(program.calls[2]) == 2 * 5 * 72 * 3  # the matrix product
    assert flops(by_kernel["adam"]) == 16 * 3
    assert bytes_moved(program.calls[2]) == 4 * (5 * 72 + 72 * 3 + 5 * 3)
    assert bytes_moved(by_kernel["adam"]) == 4 * (3 + 2 * 3 * 3) + 2 * 8, "three are changed"


def test_matrix_products_in_all_shapes():
    x, y = tt.ones(4, 5, 7), tt.ones(4, 7, 2)
    step = tt.capture(lambda x, y: (x @ y, tt.matmul(x[0], y[0].T, transpose_y=True)))
    step(x, y)
    batch, single = (call for call in step.program.calls if call.kernel == "matmul")
    assert flops(batch) == 2 * 4 * 5 * 7 * 2
    assert flops(single) == 2 * 5 * 7 * 2


def test_only_the_chosen_rows_of_a_data_set_count():
    images = np.zeros((50, 28, 28), np.uint8)
    step = tt.capture(lambda chosen: tt.from_numpy(tt.datasets.to_float(images, chosen)))
    step(np.arange(3))
    (load,) = step.program.calls
    assert flops(load) == 3 * 28 * 28
    assert bytes_moved(load) == 3 * 28 * 28 * (1 + 4) + 3 * 8
    table, index = tt.ones(50, 7), np.arange(3)
    step = tt.capture(lambda index: table[index])
    step(index)
    (take,) = (call for call in step.program.calls if call.kernel == "take")
    assert (flops(take), bytes_moved(take)) == (0, 4 * 2 * 3 * 7 + 3 * 8)


def test_a_profile_times_each_call_and_changes_nothing(backend):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3), nn.Dropout(0.5))
    optimizer = tt.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = captured_step(model, optimizer)
    tensors = {**model.state_dict(), **optimizer.state_dict(), "seed": tt.Tensor(0)}
    before = {name: x.numpy().copy() for name, x in tensors.items()}
    profile = step.program.profile(repeats=3)
    assert len(profile.microseconds) == len(step.program.calls)
    assert min(profile.microseconds) > 0
    assert str(profile).count("\n") > len(step.program.calls)
    assert "GFLOP/s" in str(profile)
    for name, x in tensors.items():
        np.testing.assert_array_equal(x.numpy(), before[name], err_msg=name)


def test_what_numpy_computes_has_a_star():
    if "c" not in BACKENDS:
        pytest.skip("on the other backends nothing is computed in C")
    with tt.backend("c"):
        step = tt.capture(lambda x: (x + 1).astype("int64") + 2)
        step(tt.ones(2))
    assert "in pieces, for NumPy computes what has a star" in str(step.program)
    assert re.findall(r"(\d+)([* ]) (\w+)", str(step.program)) == [
        ("1", " ", "add"),
        ("2", "*", "cast"),
        ("3", "*", "add"),
    ]


def test_two_models_and_loose_tensors_have_their_names():
    first, second, scale = nn.Linear(2, 3), nn.Linear(3, 1), tt.ones(1)
    step = tt.capture(lambda *xs: second(first(xs[0])) * scale + xs[1])
    step(tt.ones(4, 2), tt.ones(1))
    words = str(step.program)
    for name in ("xs0 (4,2)", "first.weight (2,3)", "second.bias (1)", "scale (1)", "xs1 (1)"):
        assert name in words


def test_an_empty_program():
    step = tt.capture(lambda x: x)
    assert step(tt.ones(2)).tolist() == step(tt.ones(2)).tolist() == [1, 1]
    assert str(step.program).startswith("<lambda>: 0 calls")
