"""The HTML page of a report: complete, self-contained, with only the measured parts."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import tinytensor as tt
from tinytensor.bench import plots, scaling, start
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
    "left_out": [],
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
TITLES = ["Training steps", "Whole runs", "Kernels", "Scaling", "Cold start"]
TITLES += ["Limits of this machine"]


# The page ----------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """The external resources, headings, text and unclosed tags of a page."""

    VOID = ("meta", "br", "img", "link")

    def __init__(self, text):
        super().__init__()
        self.resources, self.titles, self.text, self.tags, self.open = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        self.resources += [
            values[name] for name in ("src", "href", "srcset", "data") if values.get(name)
        ]
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


def test_page_loads_no_external_resources():
    reader = Reader(page(FULL))
    assert reader.open == []
    assert reader.resources == []
    assert "link" not in reader.tags
    assert "iframe" not in reader.tags
    assert reader.titles == TITLES


def test_sections_of_the_parts_in_the_report():
    needed = ["steps"], ["train"], ["kernels", "machine"], ["scaling"], ["start"], ["machine"]
    for title, names in zip(TITLES, needed, strict=True):
        found = Reader(page(EMPTY | {name: FULL[name] for name in names})).titles
        assert title in found
        assert set(found) <= {title, "Limits of this machine"}
    empty = page(EMPTY)
    assert Reader(empty).titles == []
    assert "bokeh" not in empty.lower(), "no BokehJS without plots"


def test_text_of_the_report_is_escaped():
    text = page(EMPTY)
    assert "Analytical Engine &lt;1837&gt;, 2 cores; 2026-01-02 03:04 UTC; python 3.11.2" in text
    assert "<1837>" not in text


def test_notes_about_noise_quick_and_stopped():
    assert "noisy" not in "".join(Reader(page(EMPTY)).text)
    noise = {"noisy": True, "why": "the probe varied by 40 %"}
    assert "Stopped" not in "".join(Reader(page(EMPTY)).text)
    text = "".join(Reader(page(EMPTY | {"noise": noise, "quick": True, "stopped": True})).text)
    assert (
        "The machine was noisy, so small differences are not reliable: the probe varied by 40 %"
        in text
    )
    assert "A quick run" in text
    assert "Stopped before the end" in text
    assert "Left out" not in text
    text = "".join(Reader(page(EMPTY | {"left_out": ["steps of lesson 4.2", "sgd 784x10"]})).text)
    assert "Left out, to end within a minute: steps of lesson 4.2, sgd 784x10." in text


@pytest.mark.full
def test_note_about_skipped_contestants():
    skipped = [
        {"contestant": "by hand", "lesson": lesson, "why": "it has no convolutions"}
        for lesson in ("3.0", "3.1")
    ]
    text = "\n".join(Reader(page(FULL | {"skipped": skipped})).text)
    assert "by hand, 3.0, 3.1: it has no convolutions" in text


def test_axes_fit_the_values():
    """For values a little below and a little above a power of ten."""
    for times in (0.9, 1.1):
        rows = [row | {"seconds": slower(times)} for row in FULL["kernels"]]
        (roof,) = plots.rooflines(rows, FULL["machine"])
        speeds = [y for r in hover(roof).renderers for y in r.data_source.data["speed"]]
        assert min(speeds) / 3 < roof.y_range.start < min(speeds)
        (bars,) = plots.steps([step("c captured", "c", "captured", times)])
        assert 0.5 / 3 < bars.y_range.start < 0.5  # the bound, in milliseconds


@pytest.mark.full
def test_values_in_tables_and_lists():
    text = "\n".join(Reader(page(FULL)).text)
    for words in (
        "0.9213",
        "100 GFLOP/s",
        "L1, 16 KiB",
        "64 MiB",
        "each further kernel call of a captured step\ntoo small to measure",
        "an operation on tensors\n2,000\nan operation, forward and backward\n6,000",
        "c, 2 threads: 20.00 µs + 1.00 µs per image, equal parts at 20 images",
        "lesson 1.0: numba (cold) overtakes numpy after 1,001 steps",
        "concat\n100x784\nc\n1\n1,000.00\n0.0\n10%",
    ):
        assert words in text, words


@pytest.mark.full
def test_page_of_a_report_from_json():
    assert Reader(page(json.loads(json.dumps(FULL)))).titles == TITLES


@pytest.mark.full
def test_page_without_bounds_and_without_numpy():
    """Without the C backend there are no bounds; and NumPy may not have been resources for."""
    steps = [row | {"bound": None} for row in FULL["steps"] if row["backend"] != "numpy"]
    kernels = [row | {"bound": None} for row in FULL["kernels"]]
    starts = [row | {"break_even_numpy": None} for row in FULL["start"][:3]]
    report = FULL | {"steps": steps, "kernels": kernels, "start": starts}
    assert Reader(page(report)).titles == TITLES
    without = report | {"machine": {"threads": {}, "calls": FULL["machine"]["calls"]}}
    assert Reader(page(without)).titles == [title for title in TITLES if title != "Kernels"]


def test_error_without_bokeh_names_the_install_command(monkeypatch):
    monkeypatch.setattr(pages, "find_spec", lambda name: None)
    for call in (pages.require_bokeh, lambda: page(FULL)):
        with pytest.raises(tt.BackendUnavailable, match=r"pip install 'tinytensor-engine\[live\]'"):
            call()


def test_import_does_not_load_bokeh():
    modules = "sys, tinytensor.bench.report_page, tinytensor.cli.bench_command"
    code = f"import {modules}; print('bokeh' in sys.modules)"
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


def test_tooltips_use_existing_columns():
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


def test_plot_of_steps_per_number_of_threads():
    one, two = plots.steps(FULL["steps"])
    assert (one.title.text, two.title.text) == (
        "A training step on 1 thread",
        "A training step on 2 threads",
    )
    names = [item.label.value for item in one.legend[0].items]
    assert names == ["c eager", "c captured", "numpy captured", "torch", "bound"]
    eager, captured, numpy, torch = hover(one).renderers
    assert captured.data_source.data["to_numpy"] == ["3.00"]
    assert eager.data_source.data["to_numpy"] == ["-"], "unknown"
    assert numpy.data_source.data["median"] == [6]
    assert torch.data_source.data["share"] == ["6%"]


def test_contestants_have_different_styles():
    """Colour and hatching differ between any two contestants."""
    peers = [step(f"peer {i}", None, None, 1) for i in range(7)]
    own = [
        step(f"{name} {mode}", name, mode, 1)
        for name in ("c", "numba", "numpy")
        for mode in ("eager", "captured", "run")
    ]
    styles = plots._styles([*own, *peers])
    assert len(set(styles.values())) == len(styles) == 16


def test_positions_of_kernels_in_the_roofline():
    (roof,) = plots.rooflines(FULL["kernels"], FULL["machine"])
    c, numba = hover(roof).renderers
    assert c.data_source.data["kernel"] == ["matmul"], "kernels without arithmetic are in a table"
    assert c.data_source.data["intensity"] == [20]
    assert c.data_source.data["speed"] == [pytest.approx(0.08)]
    assert c.data_source.data["share"] == ["10%"]
    assert numba.data_source.data["contestant"] == ["numba, computed by NumPy"]
    assert numba.data_source.data["filled"][0] < c.data_source.data["filled"][0]


def test_no_roofline_without_limits_for_the_threads():
    rows = [row | {"threads": 3} for row in FULL["kernels"]]
    assert plots.rooflines(rows, FULL["machine"]) == []
    assert plots.rooflines(FULL["kernels"], {}) == []


def test_plots_of_starts_show_break_even_points():
    stacked, time_lines = plots.starts(FULL["start"])
    labels = hover(stacked).renderers[0].data_source.data["label"]
    assert labels == [
        "overtakes NumPy after 1 step",
        "overtakes NumPy after 1,001 steps",
        "overtakes NumPy after 126 steps",
        "",
    ]
    crossings = hover(time_lines).renderers[0].data_source.data
    assert list(crossings["x"]) == [1001, 126]
    numpy = FULL["start"][3]
    for steps, seconds in zip(crossings["x"], crossings["y"], strict=True):
        wanted = start.until_first_step(numpy) + (steps - 1) * numpy["step"]
        assert seconds == pytest.approx(wanted)


def test_fitted_lines_go_through_the_points():
    plot = plots.curves([row for row in FULL["scaling"] if row["what"] == "batch"])
    lines = [r for r in plot.renderers if type(r.glyph).__name__ == "Line"]
    for line in lines:
        data = line.data_source.data
        assert data["x"][0] == pytest.approx(1)
        assert data["x"][-1] == pytest.approx(100)
        assert data["y"][0] == pytest.approx(0.021)
        assert data["y"][-1] == pytest.approx(0.12)
