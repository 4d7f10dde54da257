"""The coach on the command line and on the live page."""

import json

import pytest

import tinytensor as tt
from tinytensor import observers
from tinytensor.cli.mistakes import curve
from tinytensor.coach.museum import EXHIBITS
from tinytensor.live.coach_strip import coach_strip

LESSON = """
import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import Lesson

LESSON = Lesson(
    number="own", name="own", title="softmax twice", chapter="1.0.md",
    model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax()),
    optimizer=lambda parameters: tt.optim.SGD(parameters, lr=0.5),
    expected_accuracy=0.0, steps=20, evaluate_every=10,
)
"""


@pytest.fixture
def lesson(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(LESSON)
    return file


def test_train_names_a_mistake(run, lesson):
    code, out, err = run("train", lesson, "--coach")
    assert code == 0
    assert "coach, step 1: softmax is applied twice\n" in err
    assert "  where  layers.2: Softmax\n" in err
    assert out.endswith("coach          found 1 mistake\n")
    assert observers.active == ()


def test_train_writes_the_findings_as_json(run, lesson, tmp_path):
    code, _, _ = run("train", lesson, "--coach", "--eager", "--json", tmp_path / "out.json")
    assert code == 0
    (finding,) = json.loads((tmp_path / "out.json").read_text())["coach"]
    assert finding["name"] == "softmax-twice"
    assert finding["step"] == 1
    assert set(finding) == {"name", "mistake", "evidence", "where", "cure", "step"}


def test_train_without_a_mistake_says_so(run, tmp_path):
    code, out, err = run("train", "softmax", "--steps", 20, "--coach", "--json", tmp_path / "x")
    assert code == 0
    assert "coach" not in err
    assert out.endswith("coach          found no mistake\n")
    assert json.loads((tmp_path / "x").read_text())["coach"] == []


def test_train_without_the_coach_has_no_word_of_it(run, tmp_path):
    code, out, _ = run("train", "softmax", "--steps", 2, "--json", tmp_path / "x")
    assert code == 0
    assert "coach" not in out + (tmp_path / "x").read_text()


def test_one_mistake_is_shown_with_its_program(run):
    code, out, _ = run("try", "mistakes", "gradients-not-cleared")
    assert code == 0
    assert "def no_zero_grad(" in out
    assert "coach, step 2: the gradients are never cleared" in out
    assert "  where  backward at museum.py:" in out
    assert out.endswith("The coach named 1 of 1 mistakes.\n")
    assert max(map(len, out.splitlines())) <= 100


def test_a_misspelt_mistake_is_an_error_with_the_nearest_name(run):
    code, _, err = run("try", "mistakes", "dead-relu")
    assert code == 2
    assert "'dead-relus'" in err
    assert err.count("\n") == 1


def test_a_mistake_of_a_claim_is_an_error(run):
    code, _, err = run("try", "dropout", "dead-relus")
    assert code == 2
    assert err.startswith("tinytensor: try: got dropout dead-relus")


def test_the_list_of_claims_names_the_museum(run):
    assert "\nmistakes " in run("try")[1]


@pytest.mark.full
def test_the_museum_names_every_mistake(run):
    code, out, _ = run("try", "mistakes")
    assert code == 0
    assert f"The coach named {len(EXHIBITS)} of {len(EXHIBITS)} mistakes.\n" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_curve_has_a_bar_for_each_part():
    assert curve([1.0, 2.0, 3.0]) == "▁▅█"
    assert curve([2.0, 2.0]) == "▁▁"
    assert curve([float("nan"), 1.0]) == "?▁"
    assert len(curve([float(x) for x in range(100)])) == 40


def test_the_strip_escapes_and_opens():
    assert coach_strip(None) == ""
    model = tt.nn.Sequential(tt.nn.Linear(3, 4), tt.nn.Softmax())
    with tt.coach(model, show=None) as coach:
        assert "no mistake found so far" in coach_strip(coach)
        tt.cross_entropy(model(tt.ones(2, 3) * tt.Tensor([[1.0], [0.5]])), [0, 1]).backward()
        text = coach_strip(coach)
    assert "<details><summary><b>step 1: softmax is applied twice</b>" in text
    assert "(layers.1: Softmax)" in text
