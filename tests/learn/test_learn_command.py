"""`tinytensor learn`: stubs, checks, hints, solutions, reports."""

import json
import time
from pathlib import Path

import pytest
from chromium import chromium, needs_browser

from tinytensor.learn import exercises, gradebook, sandbox
from tinytensor.learn.exercises import EXERCISES
from tinytensor.learn.sandbox import Verdict


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def verdict(monkeypatch):
    """The verdict of the next check; no process is started."""
    made = Verdict(right=3, total=60, problem="matmul: x (1, 1)\nthe result is wrong")
    monkeypatch.setattr(sandbox, "check", lambda *arguments, **settings: made)
    return made


def passed(verdict, gflops=2.0):
    verdict.right, verdict.problem = verdict.total, ""
    verdict.pace = {
        "function": "matmul: x (64, 64)", "seconds": 1e-3, "gflops": gflops, "share": 0.02,
        "threads": 1, "rung": "c.naive", "rung_gflops": 1.9, "next_rung": "c.loop_order",
        "next_gflops": 4.0, "next_why": "The innermost loop goes along rows.", "needed": 0.0,
    }  # fmt: skip


def assert_refused(result, words):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert words in err


def test_the_list_fits_80_columns(run):
    code, out, err = run("learn")
    assert (code, err) == (0, "")
    assert all(exercise.name in out for exercise in EXERCISES)
    assert max(map(len, out.splitlines())) <= 80
    assert out.endswith("0 of 15 passed. Next: tinytensor learn neuron\n")


@pytest.mark.parametrize("name", ["matmul", "5"])
def test_a_stub_is_written_and_never_overwritten(run, name):
    code, out, _ = run("learn", name)
    assert code == 0
    assert "tinytensor learn matmul --check" in out
    file = Path("matmul.py")
    assert file.read_text() == exercises.find("matmul").stub("python")
    file.write_text("mine")
    assert_refused(run("learn", name), "matmul.py exists and stays as it is")
    assert file.read_text() == "mine"
    assert "o  5 matmul" in run("learn")[1]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda each: each.name)
def test_each_language_has_a_stub(run, exercise):
    for language in exercise.languages:
        code, out, _ = run("learn", exercise.name, "--language", language)
        assert code == 0, language
        assert max(map(len, out.splitlines())) <= 80
        file = Path(exercise.name).with_suffix(exercise.page(language).suffix)
        assert file.read_text() == exercise.stub(language)
        file.unlink()


def test_a_wrong_answer_is_printed_and_its_solution_refused(run, verdict):
    run("learn", "matmul")
    code, out, _ = run("learn", "matmul", "--check")
    assert code == 1
    assert "the result is wrong" in out
    assert "NOT YET: 3 of 60 cases right" in out
    assert_refused(run("learn", "matmul", "--solution"), "printed after a right answer")
    assert "x  5 matmul" in run("learn")[1]


def test_a_passed_answer_has_its_rung_and_its_solution(run, verdict):
    run("learn", "matmul")
    passed(verdict)
    code, out, _ = run("learn", "matmul", "--check")
    assert code == 0
    for words in ("RIGHT: 60 of 60", "2 GFLOP/s", "2 % of the roofline", "c.naive", "c.loop_order"):
        assert words in out
    assert "along rows" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = run("learn", "matmul", "--solution")
    assert (code, out) == (0, exercises.find("matmul").solution("python"))
    assert "1 of 15 passed" in run("learn")[1]


def test_an_answer_below_the_first_rung_is_placed(run, verdict):
    run("learn", "matmul")
    passed(verdict)
    verdict.pace.update(rung="", rung_gflops=0.0, next_rung="numba.naive")
    _, out, _ = run("learn", "matmul", "--check")
    assert "Rung:  below the first one, numba.naive, whose loops are compiled\n" in out


def test_an_exercise_of_a_rung_needs_its_speed(run, verdict):
    run("learn", "matmul_blocked", "--language", "c")
    passed(verdict)
    verdict.needs_speed, verdict.pace["needed"] = True, 3.0
    code, out, _ = run("learn", "matmul_blocked", "--check")
    assert code == 1
    assert "this rung needs 3 GFLOP/s" in out
    assert "~  7 matmul_blocked" in run("learn")[1]
    verdict.pace = {}
    code, out, _ = run("learn", "matmul_blocked", "--check")
    assert code == 1
    assert "not measured in time" in out


def test_a_passed_exercise_stays_passed_with_its_fastest_answer():
    result, verdict = gradebook.ExerciseResult(), Verdict(right=0, total=60)
    for gflops, expected in ((2.0, 2.0), (3.0, 3.0), (1.0, 3.0)):
        passed(verdict, gflops)
        result.add(verdict, "c")
        assert (result.state, result.gflops) == ("passed", expected)
    result.add(Verdict(total=60, problem="wrong"), "python")
    assert (result.state, result.language, result.checks) == ("passed", "c", 4)


def test_hints_are_printed_one_after_the_other(run):
    hints = exercises.find("softmax").hints
    for number in (1, 2, 3, 3):
        out = " ".join(run("learn", "softmax", "--hint")[1].split())
        assert [hint in out for hint in hints] == [i < number for i in range(3)]
    assert "(these are all hints)" in out


@pytest.mark.parametrize(
    ("file", "text", "language"),
    [
        ("matmul.py", "def matmul", "python"),
        ("matmul.py", "import numba", "numba"),
        ("matmul.c", "void", "c"),
    ],
)
def test_the_language_of_a_file(run, monkeypatch, file, text, language):
    given = []
    monkeypatch.setattr(sandbox, "check", lambda *a, **b: given.extend(a) or Verdict())
    Path(file).write_text(text)
    run("learn", "matmul", "--check")
    assert given == [exercises.find("matmul"), language, Path(file)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "there is no exercise 'nothing'; choose from neuron"),
        (["matmull"], "choose from matmul"),
        (["matmul", "--check"], "there is no matmul.c or .py in this folder"),
        (["matmul", "--check", "--hint"], "got --check and --hint; give one of them"),
        (["matmul", "softmax"], "one exercise is needed"),
        (["--check"], "--check: needs an exercise"),
        (["--language", "c"], "tinytensor learn matmul --language c"),
        (["matmul.c", "--language", "c", "--check"], "tinytensor learn matmul --language c"),
        (["tape", "--language", "c"], "choose from python"),
        (["softmax", "--train"], "there is no softmax.c or .py"),
        (["--report", "me.json"], "needs your name; add --student NAME"),
        (["--report", "me.txt"], "a file name that ends with .json or .html is needed"),
        (["--report", "no/me.json"], "there is no folder no"),
        (["matmul", "--report", "me.json"], "leave the name and other options out"),
        (["--student", "Ada"], "add --report FILE"),
        (["--merge"], "needs the reports"),
        (["--merge", "no.json"], "no.json: can't be read"),
        (["--merge", "a.json", "--check"], "got --check too"),
        (["--merge", "a.json", "--report", "b.json"], "a file .html is needed"),
    ],
)
def test_wrong_arguments(run, arguments, words):
    assert_refused(run("learn", *arguments), words)


def test_two_files_need_a_language(run):
    for file in ("matmul.py", "matmul.c"):
        Path(file).write_text("")
    assert_refused(run("learn", "matmul", "--check"), "choose with --language")


def test_two_files_have_commands_with_a_language(run, verdict):
    for language in ("python", "c"):
        _, out, _ = run("learn", "matmul", "--language", language)
    assert "check it: tinytensor learn matmul --language c --check\n" in out
    passed(verdict)
    _, out, _ = run("learn", "matmul", "--language", "c", "--check")
    assert "Train lesson 1.0 with it: tinytensor learn matmul --language c --train\n" in out
    run("learn", "neuron", "--language", "c")
    run("learn", "neuron", "--language", "python")
    assert "Next: tinytensor learn neuron --language python --check\n" in run("learn")[1]


def test_only_matmul_trains(run, verdict):
    Path("softmax.py").write_text("")
    assert_refused(run("learn", "softmax", "--train"), "needs an exercise of matmul")


# Reports ----------------------------------------------------------------------------------------


def test_reports_are_merged(run, verdict):
    passed(verdict)
    run("learn", "matmul")
    run("learn", "matmul", "--check")
    for name in ("Ada <b>", "Bob"):
        assert run("learn", "--report", f"{name[:3]}.json", "--student", name)[0] == 0
    code, out, _ = run(
        "learn", "--merge", "Ada.json", "Bob.json", gradebook.FILE, "--report", "c.html"
    )
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    students = [line[:24].strip() for line in out.splitlines()[1:] if " + " in line[24:]]
    assert students == ["Ada <b>", "Bob"]
    page = Path("c.html").read_text()
    assert "Ada &lt;b&gt;" in page
    assert "<b>" not in page
    assert "http" not in page


def test_students_of_one_name_or_none_have_a_row_each(run):
    for file, student in {"a": "Ada", "b": "Ada", "c": "", "d": "", "e": "Bob"}.items():
        Path(f"{file}.json").write_text(gradebook.Results(student).json())
    files = [f"{file}.json" for file in "abcde"]
    code, out, _ = run("learn", "--merge", *files, "--report", "class.html")
    assert code == 0
    rows = ["(c.json)", "(d.json)", "Ada (a.json)", "Ada (b.json)", "Bob"]
    assert [line[:24].strip() for line in out.splitlines()[1:6]] == rows
    page = Path("class.html").read_text()
    assert all(f">{row}</th>" in page for row in rows)


def test_a_file_that_can_not_be_read_is_left_out(run):
    Path("a.json").write_text("\ufeff" + gradebook.Results("  Ada\nof class 3 ").json())
    Path("b.json").write_text("[")
    code, out, err = run("learn", "--merge", "a.json", "b.json")
    assert code == 2
    assert out.splitlines()[1].startswith("Ada of class 3 ")
    assert "left out: b.json" in err


def test_files_with_long_names_can_be_told_apart(run):
    for file in ("a", "b"):
        folder = Path(f"submissions-of-the-year/group-{file}")
        folder.mkdir(parents=True)
        (folder / "ada.json").write_text(gradebook.Results("Ada").json())
    code, out, _ = run("learn", "--merge", *map(str, Path().glob("*/*/ada.json")))
    assert code == 0
    assert len({line[:24] for line in out.splitlines()[1:3]}) == 2


def test_an_unknown_exercise_does_not_count():
    results = gradebook.Results("Ada", {"unknown": gradebook.ExerciseResult("passed")})
    assert results.passed() == 0


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone can't be set")
def test_a_report_has_local_times_with_their_zone(monkeypatch):
    result = gradebook.ExerciseResult(state="passed", passed="2026-01-05T22:30:00+00:00")
    other = gradebook.ExerciseResult(state="passed", passed="at noon")
    monkeypatch.setenv("TZ", "XYZ-2")  # two hours east of Greenwich
    try:
        time.tzset()
        page = gradebook.page(gradebook.Results("Ada", {"matmul": result, "neuron": other}))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert ">2026-01-06 00:30 XYZ<" in page
    assert ">at noon<" in page


def test_a_report_is_one_page(run):
    assert run("learn", "--report", "me.html", "--student", "Ada & Co")[0] == 0
    page = Path("me.html").read_text()
    assert "Exercises of Ada &amp; Co" in page
    assert page.count("<tr>") == 16
    assert all(exercise.name in page for exercise in EXERCISES)


@pytest.mark.parametrize(
    "text",
    [
        "", "3", "[]", "{}", '{"version": 2, "student": "", "exercises": {}}',
        '{"version": 1, "student": "", "exercises": []}',
        '{"version": 1, "student": "", "exercises": {"matmul": {"state": "best"}}}',
        '{"version": 1, "student": "", "exercises": {"matmul": {"gflops": "fast"}}}',
        '{"version": 1, "student": "", "exercises": {"matmul": {"grade": 1}}}',
        "\0", "[" * 100_000,
    ],
)  # fmt: skip
def test_a_file_that_is_no_report_is_refused(run, text):
    Path("x.json").write_text(text)
    assert_refused(run("learn", "--merge", "x.json"), "a file of results is needed")
    Path("x.json").rename(gradebook.FILE)
    assert_refused(run("learn"), "a file of results is needed")


def test_results_are_read_unchanged(verdict, tmp_path):
    passed(verdict)
    written = gradebook.Results("Ada")
    written.of(exercises.find("matmul")).add(verdict, "c")
    written.of(exercises.find("neuron"))
    gradebook.save(written, tmp_path)
    assert gradebook.load(tmp_path) == written
    assert json.loads((tmp_path / gradebook.FILE).read_text())["version"] == gradebook.VERSION


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("of_a_class", [True, False])
def test_the_table_of_a_class_or_a_student_fits_the_window(of_a_class):
    students = [gradebook.Results(name) for name in ("Ada", "Maximilian-Alexander von Hohenstein")]
    for student in students:
        for exercise in EXERCISES:
            student.exercises[exercise.name] = gradebook.ExerciseResult(
                "passed", "python", 70, 70, gflops=1.234, rung="c.loop_order or above",
                share=0.0123, checks=3, passed=gradebook.now(),
            )  # fmt: skip
    page = gradebook.class_page(students) if of_a_class else gradebook.page(students[1])
    Path("results.html").write_text(page, encoding="utf-8")
    browser = chromium("--hide-scrollbars")
    try:
        for width in (1280, 390):
            size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.get(Path("results.html").absolute().as_uri())
            table, window = browser.execute_script(
                "return [document.querySelector('table').getBoundingClientRect().right,"
                "document.querySelector('div').getBoundingClientRect().right]"
            )
            assert table <= window <= width
    finally:
        browser.quit()
