"""A program as it is printed: names, parts, lines, and the work of each call."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import machine, nn
from tinytensor.capture.listing import Profile, bytes_moved, flops, listed
from tinytensor.machine import SMALLEST, Roofline

needs_c = pytest.mark.skipif("c" not in BACKENDS, reason="only C can measure the machine")


def captured_step(model, optimizer, side=6):
    @tt.capture
    def train_step(images, labels):
        logits = model(tt.from_numpy(images))
        loss = tt.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()  # the backward pass
        optimizer.step()
        return loss

    images = np.random.default_rng(0).standard_normal((5, side, side, 1), np.float32)
    train_step(images, np.arange(5) % 3)
    return train_step


@pytest.fixture
def program(backend):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    return captured_step(model, tt.optim.Adam(model.parameters())).program


def test_the_step_can_be_read(program, backend):
    text = str(program)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    words = " ".join(text.split())
    for wanted in (
        "train_step: 15 calls (5 forward, 6 backward, 4 update)",
        "rewritten by bias_relu, loss_and_grad: 2 of the recorded calls saved",
        f"on {backend}, {'all calls made by one call of C' if backend == 'c' else 'call by call'}",
        "images (5,6,6,1), layers.0.weight (3,3,1,2)",
        "t1 (5,72), layers.3.weight (72,3) -> t2 (5,3)",
        "1.0, t3 (5,3), labels (5), 0.2 -> t4 (), t5 (5,3)",
        "-> layers.3.bias.grad (3)",
        "layers.0.weight.grad (3,3,1,2), lr (1), step (1)",
        "layers.0.weight.m (3,3,1,2)",
    ):
        assert wanted.replace(" ", "") in re.sub(r"\s", "", words), wanted
    parts = [line for line in lines if re.match("(forward|backward|update)", line)]
    assert [part.split("  ") for part in parts] == [
        ["forward", "layers.0: Conv2d"],
        ["forward", "layers.3: Linear"],
        ["forward", line_of("loss = tt.cross_entropy")],
        ["backward of add", "layers.3: Linear"],
        ["backward of matmul", "layers.3: Linear"],
        ["backward of relu", "layers.1: ReLU"],
        ["backward of add", "layers.0: Conv2d"],
        ["backward of conv2d", "layers.0: Conv2d"],
        ["update", line_of("optimizer.step()")],
    ]


def line_of(code):
    """The first line of this file with this code: "test_listing.py:12"."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    number = next(i for i, line in enumerate(lines, 1) if code in line)
    return f"test_listing.py:{number}"


def test_calls_outside_of_a_submodule_have_their_line():
    class Block(nn.Module):
        def __init__(self):
            self.inner = nn.Sequential(nn.Linear(2, 2))

        def forward(self, x):
            return self.inner(x) + x  # the block's own sum

    class Model(nn.Module):
        def __init__(self):
            self.block = Block()

        def forward(self, x):
            return self.block(x) * 2  # the model's own product

    model, other = Model(), nn.ReLU()
    step = tt.capture(lambda x: other(model(x)))  # the step's own relu
    step(tt.ones(3, 2))
    assert [(call.kernel, str(call.place)) for call in step.program.calls] == [
        ("matmul", "block.inner.layers.0: Linear"),
        ("add", "block.inner.layers.0: Linear"),
        ("add", "block: Block"),
        ("mul", line_of("# the model's own product")),
        ("relu", line_of("# the step's own relu")),
    ]


def test_a_profile_fits_80_columns():
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 10))
    step = captured_step(model, tt.optim.Adam(model.parameters()), 28)
    assert max(map(len, str(step.program.profile(1)).splitlines())) <= 80


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
    (load,) = (call for call in step.program.calls if call.kernel == "load_images")
    assert flops(load) == 3 * 28 * 28
    assert bytes_moved(load) == 3 * 28 * 28 * (1 + 4) + 3 * 8
    table, index = tt.ones(50, 7), np.arange(3)
    step = tt.capture(lambda index: table[index])
    step(index)
    (take,) = (call for call in step.program.calls if call.kernel == "take")
    assert (flops(take), bytes_moved(take)) == (0, 4 * 2 * 3 * 7 + 3 * 8)


def test_a_profile_times_each_call_and_changes_nothing(backend):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3), nn.Dropout(keep_prob=0.5))
    optimizer = tt.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = captured_step(model, optimizer)
    tensors = {**model.state_dict(), **optimizer.state_dict(), "seed": tt.Tensor(0)}
    before = {name: x.numpy().copy() for name, x in tensors.items()}
    profile = step.program.profile(repeats=3)
    assert len(profile.microseconds) == len(step.program.calls)
    assert min(profile.microseconds) > 0
    assert str(profile).count("\n") > len(step.program.calls)
    assert "GFLOP/s" in str(profile)
    assert f"{sum(profile.microseconds):.1f} us a step" in str(profile)
    for name, x in tensors.items():
        np.testing.assert_array_equal(x.numpy(), before[name], err_msg=name)


def test_a_profile_of_no_replays(program):
    with pytest.raises(tt.SettingError, match="at least 1"):
        program.profile(0)


@needs_c
def test_a_profile_has_the_share_of_the_machines_limit(program):
    profile = program.profile(repeats=3)
    assert len(profile.bounds) == len(program.calls)
    assert min(profile.bounds) > 0
    assert profile.share == pytest.approx(sum(profile.bounds) / sum(profile.microseconds))
    text = str(profile)
    for bound, time_taken, row in zip(
        profile.bounds, profile.microseconds, listed(program, profile).rows, strict=True
    ):
        assert row.share == pytest.approx(bound / time_taken)
        assert row.numbers[-1] == f"{bound / time_taken:.0%}"
        assert re.search(rf" {row.number}  {row.kernel} .*{re.escape(row.numbers[-1])}\n", text)
    assert text.endswith(f"whole step {profile.share:.0%}")


@pytest.mark.parametrize(
    ("flops_a_second", "bytes_a_second", "wanted"),
    [(1e9, 1e12, 2 * 5 * 72 * 3 / 1e9), (1e15, 1e9, 4 * (5 * 72 + 72 * 3 + 5 * 3) / 1e9)],
)
def test_the_bound_is_the_slower_of_arithmetic_and_memory(
    program, monkeypatch, flops_a_second, bytes_a_second, wanted
):
    asked = []

    def bandwidth(size, threads, traffic):
        asked.append((size, threads, traffic))
        return bytes_a_second

    monkeypatch.setattr(machine, "peak_flops", lambda threads, seconds: flops_a_second)
    monkeypatch.setattr(machine, "memory_bandwidth", bandwidth)
    roofline = Roofline(threads=2)
    for _ in range(2):
        assert roofline.bound(program.calls[2]) == pytest.approx(wanted)
    assert asked == [(SMALLEST, 2, "read")], "measured once"


def test_without_c_a_profile_says_why_there_are_no_shares(program, monkeypatch):
    def missing(*_, **__):
        raise tt.BackendUnavailable("c: the kernels were not compiled")

    monkeypatch.setattr(machine, "peak_flops", missing)
    monkeypatch.setattr("tinytensor.machine.roofline", Roofline)  # one that has not measured yet
    profile = program.profile(repeats=1)
    assert (profile.bounds, profile.share) == ((), None)
    assert "\nshare: unknown" in str(profile)
    assert " ".join(str(profile).split()).endswith("c: the kernels were not compiled")
    assert "%" not in str(profile)
    assert "linear-gradient" not in profile.to_html()


class Cells(HTMLParser):
    """The rows of the tables in a page, each a list of its cells' texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not {"src", "href"} & dict(attrs).keys(), "nothing from elsewhere"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._inside = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.rows[-1][-1] += data


def test_html_has_the_rows_of_the_text(program):
    page = Cells(program._repr_html_())
    listing = listed(program)
    assert "script" not in page.tags
    assert page.rows[0] == ["", "kernel", "reads -> writes", "FLOP", "bytes"]
    calls = [row for row in page.rows[1:] if len(row) > 1]
    stars = ["*" if row.by_numpy else "" for row in listing.rows]
    assert calls == [
        [f"{row.number}{star}", row.kernel, row.memory, *row.numbers]
        for row, star in zip(listing.rows, stars, strict=True)
    ]
    groups = [row[0] for row in page.rows[1:] if len(row) == 1]
    assert groups == ["".join(key) for key, _ in listing.groups()]
    for line in listing.summary:
        assert line in program.to_html()


def test_html_of_a_profile_has_bars_no_longer_than_their_cells(program):
    bounds = (0.5, *[2.0] * (len(program.calls) - 1))
    profile = Profile(program, (1.0,) * len(program.calls), bounds)
    rows = [row for row in Cells(profile._repr_html_()).rows if len(row) > 1]
    assert [row[-1] for row in rows] == ["share", "50%", *["200%"] * (len(rows) - 2)]
    ends = re.findall(r"transparent (\S+)\)", profile.to_html())
    assert ends == ["50.0%", *["100.0%"] * (len(rows) - 2)]


def test_html_escapes_names():
    step = tt.capture(lambda x: x * 2)
    step(tt.ones(2))
    page = step.program.to_html()
    assert "&lt;lambda&gt;: 1 calls" in page
    assert "<lambda>" not in page
    assert "x\N{NO-BREAK SPACE}(2), 2.0 -&gt;" in page


def test_what_numpy_computes_has_a_star():
    if "c" not in BACKENDS:
        pytest.skip("on the other backends nothing is computed in C")
    with tt.backend("c"):
        step = tt.capture(lambda x: (x + 1).astype("int64") + 2)
        step(tt.ones(2))
    assert "in groups of calls, because NumPy computes the calls with a star" in str(step.program)
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
    assert "0.0 us a step" in str(step.program.profile())
