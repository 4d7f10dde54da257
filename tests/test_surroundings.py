"""A training works wherever the package is installed, or ends with one line that names a cure."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import BACKENDS

import tinytensor as tt

PYTHON = [sys.executable]
TRAIN = ["-m", "tinytensor", "train", "softmax", "--steps", "4", "--eval-every", "4"]
# The name of a surrounding: the command before the arguments, and environment variables; None
# unsets one. Each trains.
WORKS = {
    "python -O": ([*PYTHON, "-O"], {}),
    "python -OO": ([*PYTHON, "-OO"], {}),
    "one core": (["taskset", "-c", "0", *PYTHON], {}),
    "ASCII only": (PYTHON, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}),
    "no home": (PYTHON, {"HOME": None}),
    "missing home": (PYTHON, {"HOME": "/nonexistent"}),
    "narrow terminal": (PYTHON, {"COLUMNS": "3", "TERM": "dumb"}),
    "Numba without a cache": (
        PYTHON,
        {"NUMBA_CACHE_DIR": "/proc/x", "TINYTENSOR_BACKEND": "numba"},
    ),
    "Numba's cache is a file": (
        PYTHON,
        {"NUMBA_CACHE_DIR": str(Path(__file__)), "TINYTENSOR_BACKEND": "numba"},
    ),
    "Numba switched off": (PYTHON, {"NUMBA_DISABLE_JIT": "1"}),
    "a wrong setting of Numba": (PYTHON, {"NUMBA_NUM_THREADS": "0"}),
}
WORKS |= {
    f"Numba's layer {layer}": (
        PYTHON,
        {"NUMBA_THREADING_LAYER": layer, "TINYTENSOR_BACKEND": "numba"},
    )
    for layer in ("omp", "tbb", "workqueue", "nonsense")
}
# Environment variables with which nothing can be computed, and the end of the line that says so.
FAILS = [
    ({"TINYTENSOR_BACKEND": "numba", "NUMBA_DISABLE_JIT": "1"}, "unset NUMBA_DISABLE_JIT"),
    ({"TINYTENSOR_BACKEND": "numba", "NUMBA_NUM_THREADS": "0"}, "unset NUMBA_NUM_THREADS"),
    ({"TINYTENSOR_BACKEND": "x"}, "'x' is not one of 'auto', 'c', 'numba', 'numpy'."),
    ({"TINYTENSOR_NUM_THREADS": "0"}, "an integer from 1 to 64 is needed"),
    ({"TINYTENSOR_DATA_DIR": "/nonexistent"}, "more"),
]


def train(command: list[str], changes: dict, folder: Path) -> subprocess.CompletedProcess:
    environment = {n: v for n, v in os.environ.items() if n not in changes}
    environment |= {n: v for n, v in changes.items() if v is not None}
    package = str(Path(tt.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*command, *TRAIN], env=environment, cwd=folder, capture_output=True, text=True
    )


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="needs taskset and /proc")
@pytest.mark.parametrize(("command", "changes"), WORKS.values(), ids=WORKS)
def test_a_training_works(command, changes):
    if changes.get("TINYTENSOR_BACKEND") == "numba" and "numba" not in BACKENDS:
        pytest.skip("no Numba here")
    ended = train(command, changes, Path("/"))
    assert ended.returncode == 0, ended.stderr
    assert "test accuracy" in ended.stdout
    assert len(ended.stderr.splitlines()) <= 3, ended.stderr  # a warning, the lesson, the last step


@pytest.mark.full
@pytest.mark.skipif("numba" not in BACKENDS, reason="no Numba here")
def test_two_processes_compile_into_one_cache_at_once_and_a_torn_cache_is_compiled_again(tmp_path):
    cache = tmp_path / "cache"
    changes = {"NUMBA_CACHE_DIR": str(cache), "TINYTENSOR_BACKEND": "numba"}
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: train(PYTHON, changes, tmp_path), range(2)))
    for ended in both:
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.split("seconds")[0] == both[0].stdout.split("seconds")[0]
    files = [file for file in cache.rglob("*") if file.is_file()]
    assert files
    for i, file in enumerate(files):  # cut, emptied, or with other bytes
        whole = file.read_bytes()
        file.write_bytes([whole[: len(whole) // 2], b"", bytes(len(whole))][i % 3])
    ended = train(PYTHON, changes, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split("seconds")[0] == both[0].stdout.split("seconds")[0]


@pytest.mark.full
def test_without_bokeh_a_training_works_and_the_live_page_names_the_cure():
    program = "import sys; sys.modules['bokeh'] = None; import tinytensor_command as c; c.main()"
    for options, code, words in ([], 0, ""), (["--live"], 2, "tinytensor-engine[live]"):
        command = [*PYTHON, "-c", program, *TRAIN[2:], *options]
        ended = subprocess.run(command, capture_output=True, text=True)
        assert ended.returncode == code, ended.stderr
        assert words in ended.stderr
        assert code == 0 or len(ended.stderr.splitlines()) == 1


def test_without_modules_that_only_posix_has_a_checkpoint_is_saved(tmp_path):
    """Temporary files are not locked, so those that processes left behind stay."""
    (tmp_path / ".run.00000000.part").write_bytes(b"of a process that was killed")
    program = (
        "import sys\n"
        "for name in ('fcntl', 'grp', 'pwd', 'resource', 'termios'):\n"
        "    sys.modules[name] = None\n"
        "import tinytensor as tt\n"
        "for i in range(2):\n"
        "    tt.save('run', {'x': tt.full(3, float(i))})\n"
        "print(tt.load('run')['x'].tolist())\n"
    )
    ended = subprocess.run([*PYTHON, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("[1.0, 1.0, 1.0]\n", "")
    assert {path.name for path in tmp_path.iterdir()} == {"run", ".run.00000000.part"}


@pytest.mark.skipif("numba" not in BACKENDS, reason="no Numba here")
@pytest.mark.parametrize(("changes", "words"), FAILS, ids=lambda x: str(x))
def test_an_unusable_setting_is_one_line(changes, words, tmp_path):
    ended = train(PYTHON, changes, tmp_path)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.endswith(words)
    assert ended.stdout == ""


@pytest.mark.full
@pytest.mark.parametrize("lesson", ["softmax", "dropout"])
@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
def test_same_bits_in_every_process(name, lesson, tmp_path):
    """Whatever the hash seed, the number of threads, and eagerly or captured."""
    ways = {
        "again": ([], {}),
        "hashes": ([], {"PYTHONHASHSEED": "7"}),
        "eager": (["--eager"], {}),
        "1 thread": (["--threads", "1"], {}),
        "4 threads": (["--threads", "4"], {}),
    }
    contents = {}
    for way, (options, changes) in ways.items():
        file = tmp_path / "weights.safetensors"
        command = ["train", lesson, "--steps", "30", "--backend", name, "--save", str(file)]
        ended = subprocess.run(
            [*PYTHON, "-m", "tinytensor", *command, *options],
            env=os.environ | changes,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        contents[way] = {key: x.numpy().tobytes() for key, x in tt.load(file).items()}
        assert contents[way] == contents["again"], way
