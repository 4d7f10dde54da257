"""The page of a report: everything in it, nothing from elsewhere, and only what was measured."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import tinytensor as tt
from tinytensor.bench import plots, scaling, start, tables
from tinytensor.bench import report_page as pages
from tinytensor.bench.report_page import page

# A made-up report --------------------------------------------------------------------------------

SECONDS = {"best": 1e-3, "median": 2e-3, "low": 1.5e-3, "high": 3e-3}


def slower(times):
    return {name: times * seconds for name, seconds in SECONDS.items()}


def step(contestant, backend, mode, times, lesson="1.0", threads=1):
    about = {"lesson": lesson, "contestant": contestant, "backend": backend, "mode": mode}
    speed = 50_000 / times
    row = {"threads": threads, "seconds": slower(times), "images_per_second": speed}
    return about | row | {"bound": 5e-4}


def kernel(name, backend, flops, on_numpy=False):
    row = {"kernel": name, "case": "100x784", "contestant": backend, "backend": backend}
    sizes = {"threads": 1, "flops": flops, "bytes": 4000, "bound": 1e-4, "on_numpy": on_numpy}
    return row | sizes | {"seconds": SECONDS}


BANDWIDTH = {"read": 1e11, "copy": 2e11, "add": 3e11}
EMPTY = {
    "format": 1,
    "date": "2026-01-02T03:04:05+00:00",
    "cpu": "Analytical Engine <1837>",
    "cores": 2,
    "versions": {"python": "3.11.2", "numpy": "2.1.0"},
    "quick": False,
    "stopped": False,
    "noise": {"noisy": False, "why": ""},
    "machine": {},
    "kernels": [],
    "steps": [],
    "train": [],
    "scaling": [],
    "start": [],
    "skipped": [],
}


def parts():
    points = [(x, 2e-5 + 1e-6 * x) for x in (1, 10, 100)]
    curves = [
        {"what": what, "backend": backend, "threads": 2, "points": list(map(list, points))}
        | scaling.fit(points, what)._asdict()
        for what in ("batch", "width", "depth", "threads")
        for backend in ("c", "numpy")
    ]
    starts = [
        {"lesson": "1.0", "backend": name, "cache": cache, "import": 0.5, "compile": compiling}
        | {"first_step": 0.1, "step": seconds, "break_even_numpy": steps}
        for name, cache, compiling, seconds, steps in (
            ("c", None, 0.0, 1e-3, 1),
            ("numba", "cold", 8.0, 2e-3, 1001),
            ("numba", "warm", 1.0, 2e-3, 126),
            ("numpy", None, 0.0, 1e-2, None),
        )
    ]
    train_seconds = {"process": 2.0, "import": 0.25, "train": 1.0}
    return {
        "steps": [
            step("c eager", "c", "eager", 2),
            step("c captured", "c", "captured", 1) | {"to_numpy": 3.0},
            step("numpy captured", "numpy", "captured", 3),
            step("torch", None, None, 4),
            step("c captured", "c", "captured", 0.5, threads=2),
        ],
        "train": [
            {"lesson": "1.0", "backend": "c", "threads": 1, "seconds": train_seconds}
            | {"test_accuracy": 0.9213, "steps": 2000}
        ],
        "kernels": [
            kernel("matmul", "c", 80_000),
            kernel("softmax", "numba", 5000, on_numpy=True),
            kernel("concat", "c", 0),
        ],
        "scaling": curves,
        "start": starts,
        "machine": {
            "threads": {
                "1": {
                    "peak_flops": 1e11,
                    "bandwidth": {"16384": BANDWIDTH | {"level": "L1"}, "67108864": BANDWIDTH},
                }
            },
            "calls": {"python": 2e-8, "op_with_gradient": 6e-6, "op": 2e-6, "replay_call": 0.0},
        },
    }


FULL = EMPTY | parts()
TITLES = ["Training steps", "Whole runs", "Kernels", "What grows how", "Cold start"]
TITLES += ["What this machine can do at most"]


# The page ----------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """What a page asks for from elsewhere, its headings, its text, and the tags left open."""

    VOID = ("meta", "br", "img", "link")

    def __init__(self, text):
        super().__init__()
        self.asked, self.titles, self.text, self.tags, self.open = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        self.asked += [given[name] for name in ("src", "href", "srcset", "data") if given.get(name)]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            assert "url(" not in data
            assert "@import" not in data
        elif self.open and self.open[-1] != "script":
            self.text += [data.strip()] if data.strip() else []
            if self.open[-1] == "h2":
                self.titles.append(data)


def test_a_page_needs_nothing_from_elsewhere():
    reader = Reader(page(FULL))
    assert reader.open == []
    assert reader.asked == []
    assert "link" not in reader.tags
    assert "iframe" not in reader.tags
    assert reader.titles == TITLES


def test_a_section_is_there_only_if_its_part_is():
    needed = ["steps"], ["train"], ["kernels", "machine"], ["scaling"], ["start"], ["machine"]
    for title, names in zip(TITLES, needed, strict=True):
        found = Reader(page(EMPTY | {name: FULL[name] for name in names})).titles
        assert title in found
        assert set(found) <= {title, "What this machine can do at most"}
    empty = page(EMPTY)
    assert Reader(empty).titles == []
    assert "bokeh" not in empty.lower(), "no library for nothing"


def test_words_of_the_report_are_no_markup():
    text = page(EMPTY)
    assert "Analytical Engine &lt;1837&gt;, 2 cores; 2026-01-02 03:04 UTC; python 3.11.2" in text
    assert "<1837>" not in text


def test_noise_haste_and_an_early_end_are_told():
    assert "noisy" not in "".join(Reader(page(EMPTY)).text)
    noise = {"noisy": True, "why": "the probe varied by 40 %"}
    assert "Stopped" not in "".join(Reader(page(EMPTY)).text)
    text = "".join(Reader(page(EMPTY | {"noise": noise, "quick": True, "stopped": True})).text)
    assert (
        "The machine was noisy, so don't trust small differences: the probe varied by 40 %" in text
    )
    assert "A quick run" in text
    assert "Stopped before the end" in text


@pytest.mark.full
def test_who_is_missing_and_who_is_alone_is_told():
    skipped = [
        {"contestant": "by hand", "lesson": lesson, "why": "it has no convolutions"}
        for lesson in ("3.0", "3.1")
    ]
    text = "\n".join(Reader(page(FULL | {"skipped": skipped})).text)
    assert "by hand, 3.0, 3.1: it has no convolutions" in text
    assert tables.NUMBA_ALONE not in text
    alone = step("numba captured", "numba", "captured", 1, threads=2)
    assert tables.NUMBA_ALONE in "\n".join(Reader(page(FULL | {"steps": [alone]})).text)


def test_a_roof_and_bars_end_near_what_is_drawn():
    """Where a step or kernel is a little above a power of ten as well as a little below."""
    for times in (0.9, 1.1):
        rows = [row | {"seconds": slower(times)} for row in FULL["kernels"]]
        (roof,) = plots.rooflines(rows, FULL["machine"])
        speeds = [y for r in hover(roof).renderers for y in r.data_source.data["speed"]]
        assert min(speeds) / 3 < roof.y_range.start < min(speeds)
        (bars,) = plots.steps([step("c captured", "c", "captured", times)])
        assert 0.5 / 3 < bars.y_range.start < 0.5  # the bound, in milliseconds


@pytest.mark.full
def test_numbers_that_are_in_tables_and_lists():
    text = "\n".join(Reader(page(FULL)).text)
    for words in (
        "0.9213",
        "100 GFLOP/s",
        "L1, 16 KiB",
        "64 MiB",
        "each further kernel call in it\ntoo little to be measured",
        "an operation on tensors\n2,000\nthe same, forward and backward\n6,000",
        "c, 2 threads: 20.00 µs + 1.00 µs for each image, as much for both at 20 images",
        "lesson 1.0: numba (cold) overtakes numpy after 1,001 steps",
        "concat\n100x784\nc\n1\n1,000.00\n0.0\n10%",
    ):
        assert words in text, words


@pytest.mark.full
def test_a_report_that_went_through_json():
    assert Reader(page(json.loads(json.dumps(FULL)))).titles == TITLES


@pytest.mark.full
def test_what_is_unknown_is_left_out():
    """Without the C backend there are no bounds; and NumPy may not have been asked for."""
    steps = [row | {"bound": None} for row in FULL["steps"] if row["backend"] != "numpy"]
    kernels = [row | {"bound": None} for row in FULL["kernels"]]
    starts = [row | {"break_even_numpy": None} for row in FULL["start"][:3]]
    report = FULL | {"steps": steps, "kernels": kernels, "start": starts}
    assert Reader(page(report)).titles == TITLES
    without = report | {"machine": {"threads": {}, "calls": FULL["machine"]["calls"]}}
    assert Reader(page(without)).titles == [title for title in TITLES if title != "Kernels"]


def test_without_bokeh_the_command_that_mends_it_is_named(monkeypatch):
    monkeypatch.setattr(pages, "find_spec", lambda name: None)
    for call in (pages.require_bokeh, lambda: page(FULL)):
        with pytest.raises(tt.BackendUnavailable, match=r"pip install 'tinytensor-engine\[live\]'"):
            call()


def test_bokeh_is_loaded_for_a_page_only():
    code = "import sys, tinytensor.bench.report_page, tinytensor.cli; print('bokeh' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# The plots ---------------------------------------------------------------------------------------


def all_plots():
    yield from plots.steps(FULL["steps"])
    yield from plots.rooflines(FULL["kernels"], FULL["machine"])
    for what in ("batch", "width", "depth", "threads"):
        yield plots.curves([row for row in FULL["scaling"] if row["what"] == what])
    yield from plots.starts(FULL["start"])


def hover(plot):
    (tool,) = (tool for tool in plot.tools if hasattr(tool, "tooltips"))
    return tool


def test_every_tooltip_finds_what_it_tells():
    count = 0
    for plot in all_plots():
        tool = hover(plot)
        assert tool.renderers, plot.title.text
        for renderer in tool.renderers:
            for _, text in tool.tooltips:
                for name in re.findall(r"@(\w+)", text):
                    assert name in renderer.data_source.data, (plot.title.text, text)
                    count += 1
    assert count > 50


def test_steps_have_a_plot_for_each_number_of_threads():
    one, two = plots.steps(FULL["steps"])
    assert (one.title.text, two.title.text) == (
        "A training step on 1 thread",
        "A training step on 2 threads",
    )
    names = [item.label.value for item in one.legend[0].items]
    assert names == ["c eager", "c captured", "numpy captured", "torch", "bound"]
    eager, captured, numpy, torch = hover(one).renderers
    assert captured.data_source.data["to_numpy"] == ["3.00"]
    assert eager.data_source.data["to_numpy"] == ["-"], "nobody knows"
    assert numpy.data_source.data["median"] == [6]
    assert torch.data_source.data["share"] == ["6%"]


def test_who_is_who_is_told_twice():
    """By colour and hatching, so that no two contestants look alike."""
    peers = [step(f"peer {i}", None, None, 1) for i in range(7)]
    own = [
        step(f"{name} {mode}", name, mode, 1)
        for name in ("c", "numba", "numpy")
        for mode in ("eager", "captured", "run")
    ]
    styles = plots._styles([*own, *peers])
    assert len(set(styles.values())) == len(styles) == 16


def test_kernels_lie_where_they_belong():
    (roof,) = plots.rooflines(FULL["kernels"], FULL["machine"])
    c, numba = hover(roof).renderers
    assert c.data_source.data["kernel"] == ["matmul"], "what computes nothing is in a table"
    assert c.data_source.data["intensity"] == [20]
    assert c.data_source.data["speed"] == [pytest.approx(0.08)]
    assert c.data_source.data["share"] == ["10%"]
    assert numba.data_source.data["who"] == ["numba, computed by NumPy"]
    assert numba.data_source.data["filled"][0] < c.data_source.data["filled"][0]


def test_no_roof_without_its_threads():
    rows = [row | {"threads": 3} for row in FULL["kernels"]]
    assert plots.rooflines(rows, FULL["machine"]) == []
    assert plots.rooflines(FULL["kernels"], {}) == []


def test_starts_show_where_one_overtakes_another():
    stacked, going_on = plots.starts(FULL["start"])
    says = hover(stacked).renderers[0].data_source.data["says"]
    assert says == [
        "overtakes NumPy after 1 step",
        "overtakes NumPy after 1,001 steps",
        "overtakes NumPy after 126 steps",
        "",
    ]
    crossings = hover(going_on).renderers[0].data_source.data
    assert list(crossings["x"]) == [1001, 126]
    numpy = FULL["start"][3]
    for steps, seconds in zip(crossings["x"], crossings["y"], strict=True):
        there = start.until_first_step(numpy) + (steps - 1) * numpy["step"]
        assert seconds == pytest.approx(there)


def test_fits_are_drawn_through_their_points():
    plot = plots.curves([row for row in FULL["scaling"] if row["what"] == "batch"])
    lines = [r for r in plot.renderers if type(r.glyph).__name__ == "Line"]
    for line in lines:
        data = line.data_source.data
        assert data["x"][0] == pytest.approx(1)
        assert data["x"][-1] == pytest.approx(100)
        assert data["y"][0] == pytest.approx(0.021)
        assert data["y"][-1] == pytest.approx(0.12)
