"""The operations of PyTorch's MNIST example, one after the other, on tinytensor.

The words `torch` and `torchvision` of its import lines are replaced by `tinytensor`. Every other
line runs unchanged, or stops with a sentence that names the change in the table below.
"""

import re
from typing import NamedTuple

import pytest

import tinytensor as tt


class Line(NamedTuple):
    torch: str  # what a program for PyTorch does
    here: str | None = None  # what replaces it; "" deletes it; None keeps it
    stops: str | None = None  # the sentence, unless an earlier sentence names this change too


PORT = [
    Line("import tinytensor as torch"),
    Line("import tinytensor.nn as nn"),
    Line("import tinytensor.nn.functional as F"),
    Line("import tinytensor.optim as optim"),
    Line(
        "from tinytensor import datasets, transforms",
        "from tinytensor import datasets",
        "tt has no 'transforms': tt.datasets.batches gives floats from 0 to 1, and "
        "tt.datasets.augment.distort() varies training images",
    ),
    Line(
        "from tinytensor.optim.lr_scheduler import StepLR",
        "",
        "tt.optim has no 'lr_scheduler': pass a schedule as the learning rate and leave out "
        "scheduler.step(): lr=optim.stepwise(0.001, every=steps, factor=0.7)",
    ),
    # The model
    Line("net = nn.Module()"),
    Line("net.conv1 = nn.Conv2d(1, 32, 3, 1)"),
    Line("net.conv2 = nn.Conv2d(32, 64, 3, 1)"),
    Line(
        "net.dropout1 = nn.Dropout(0.25)",
        "net.dropout1 = nn.Dropout(p=0.25)",
        "Dropout: got 0.25 without a name; keep_prob=..., the probability that an element is kept, "
        "or p=..., the probability that it is set to 0, is needed",
    ),
    Line(
        "net.dropout2 = nn.Dropout(0.5)",
        "net.dropout2 = nn.Dropout(p=0.5)",
        "Dropout: got 0.5 without a name; keep_prob=..., the probability that an element is kept, "
        "or p=..., the probability that it is set to 0, is needed",
    ),
    Line("net.fc1 = nn.Linear(9216, 128)", "net.fc1 = nn.Linear(12544, 128)"),  # stops below
    Line("net.fc2 = nn.Linear(128, 10)"),
    # The device
    Line("use_cuda = torch.cuda.is_available()"),
    Line("use_accelerator = torch.accelerator.is_available()"),
    Line("torch.manual_seed(1)"),
    Line("device = torch.device('cuda') if use_cuda else torch.device('cpu')"),
    Line("print(f'device: {device}', file=out)"),
    # The data
    Line("transform = transforms.Compose([transforms.ToTensor()])", ""),
    Line(
        "train_set = datasets.MNIST('data', train=True, download=True, transform=transform)",
        "data = datasets.mnist()",
        "tt.datasets has no 'MNIST': tt.datasets.mnist() returns training and test images with "
        "their labels",
    ),
    Line("test_set = datasets.MNIST('data', train=False, transform=transform)", ""),
    Line(
        "train_loader = torch.utils.data.DataLoader(train_set, batch_size=64)",
        "train_loader = datasets.batches(*data.train, size=64, epochs=1)",
        "tt has no 'utils': tt.datasets.batches(*data.train, size=64, epochs=1) replaces "
        "utils.data.DataLoader",
    ),
    Line(
        "test_loader = torch.utils.data.DataLoader(test_set, batch_size=100)",
        "test_loader = datasets.batches(*data.test, size=100, epochs=1)",
        "tt has no 'utils': tt.datasets.batches(*data.train, size=64, epochs=1) replaces "
        "utils.data.DataLoader",
    ),
    # The optimiser
    Line("model = net.to(device)"),
    Line(
        "optimizer = optim.Adadelta(model.parameters(), lr=1.0)",
        "optimizer = optim.Adam(model.parameters(), "
        "lr=optim.stepwise(0.001, every=len(train_loader), factor=0.7))",
        "tt.optim has no 'Adadelta': write optim.Adam(parameters, lr=0.001), or optim.RMSprop",
    ),
    Line("scheduler = StepLR(optimizer, step_size=1, gamma=0.7)", ""),
    # A training step
    Line("model.train()"),
    Line("batches = iter(enumerate(train_loader))"),
    Line("batch_idx, (data, target) = next(batches)"),
    Line("data, target = data.to(device), target.to(device)"),
    Line("optimizer.zero_grad()"),
    Line("x = F.relu(model.conv1(data))"),
    Line("x = F.relu(model.conv2(x))"),
    Line("x = F.max_pool2d(x, 2)"),
    Line("x = model.dropout1(x)"),
    Line("x = torch.flatten(x, 1)"),
    Line("x = model.fc1(x)"),
    Line("x = F.relu(x)"),
    Line("x = model.dropout2(x)"),
    Line("x = model.fc2(x)"),
    Line("output = F.log_softmax(x, dim=1)"),
    Line("loss = F.nll_loss(output, target)"),
    Line("loss.backward()"),
    Line("optimizer.step()"),
    Line("progress = batch_idx * len(data), len(train_loader.dataset)"),
    Line("percent = 100.0 * batch_idx / len(train_loader)"),
    Line("print('Loss: {:.6f}'.format(loss.item()), file=out)"),
    # The test
    Line("model.eval()"),
    Line("data, target = next(iter(test_loader))"),
    Line("with torch.no_grad(): hidden = F.relu(model.conv2(F.relu(model.conv1(data))))"),
    Line("hidden = model.dropout1(F.max_pool2d(hidden, 2))"),
    Line("hidden = model.dropout2(F.relu(model.fc1(torch.flatten(hidden, 1))))"),
    Line("output = F.log_softmax(model.fc2(hidden), dim=1)"),
    Line("test_loss = F.nll_loss(output, target, reduction='sum').item()"),
    Line("pred = output.argmax(dim=1, keepdim=True)"),
    Line("correct = pred.eq(target.view_as(pred)).sum().item()"),
    Line("test_loss /= len(test_loader.dataset)"),
    Line("accuracy = 100.0 * correct / len(test_loader.dataset)"),
    Line("scheduler.step()", ""),
    Line("torch.save(model.state_dict(), file)"),
]
CHANGED = [line for line in PORT if line.here]
DELETED = [line for line in PORT if line.here == ""]


@pytest.fixture
def program(tmp_path):
    """A function that runs a statement in the program's namespace."""
    with open(tmp_path / "out", "w") as out:
        names = {"out": out, "file": str(tmp_path / "mnist_cnn.pt")}
        yield lambda statement: (exec(statement, names), names)[1]


def test_the_ported_program_runs(program):
    for line in PORT:
        names = program(line.torch if line.here is None else line.here)
    assert names["loss"].item() < 10
    assert 0 <= names["correct"] <= 100
    assert names["progress"] == (0, 60_000)
    assert sorted(tt.load(names["file"])) == sorted(names["model"].state_dict())


def test_at_most_eight_lines_change():
    assert len(PORT) > 55
    assert len(CHANGED) <= 8
    assert len(DELETED) <= 5


@pytest.mark.parametrize("line", [line for line in PORT if line.stops], ids=lambda x: x.torch[:40])
def test_each_stop_names_the_change(program, line):
    for earlier in PORT[: PORT.index(line)]:
        program(earlier.torch if earlier.here is None else earlier.here)
    with pytest.raises(Exception, match=f"^{re.escape(line.stops)}$"):
        program(line.torch)


def test_the_size_of_the_first_linear_layer_is_named(program):
    for line in PORT[: next(i for i, line in enumerate(PORT) if "model.fc1(x)" in line.torch)]:
        program(line.torch if line.here is None or "fc1" in line.torch else line.here)
    with pytest.raises(tt.ShapeError, match=r"nn.Linear\(12544, 128\) fits this x") as caught:
        program("x = model.fc1(x)")
    assert "torch.nn.Conv2d has padding=0" in str(caught.value)
