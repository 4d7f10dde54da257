"""Changes to the package, shown as diffs of its files: an op, a kernel, a backend, a lesson.

Each change is a list of insertions next to a line of code. `diff` inserts them into the files as
they are now and returns the difference, so the diff applies. A line that is not there exactly once
is an error. tests/test_docs.py applies each change to a copy of the package and runs it.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Insertion:
    """Lines for one file: before or after lines of it, or instead of a piece; else a new file."""

    file: str
    lines: str
    before: str = ""
    after: str = ""
    instead_of: str = ""

    def apply(self, text: str) -> str:
        """The file's text with the new lines."""
        if self.instead_of:
            if text.count(self.instead_of) != 1:
                raise ValueError(f"{self.file}: {self.instead_of!r} is needed once")
            return text.replace(self.instead_of, self.lines)
        anchor = self.before or self.after
        if not anchor:
            return self.lines
        if text.count(f"\n{anchor}\n") != 1:
            raise ValueError(f"{self.file}: {anchor!r} is needed once, as whole lines")
        new = f"{self.lines}{anchor}\n" if self.before else f"{anchor}\n{self.lines}"
        return text.replace(f"\n{anchor}\n", f"\n{new}")


OP = [
    Insertion(
        "tinytensor/ops/elementwise.py",
        '    "softsign",\n',
        after='    "softplus",',
    ),
    Insertion(
        "tinytensor/ops/elementwise.py",
        '''\
def softsign(x: Operand) -> Tensor:
    """x / (1 + |x|), elementwise: from -1 to 1, with a slope of 1 at 0.

    Args:
        x: array-like, any shape; bool and uint8 become float32, int32 and int64 become float64.
    Returns: Tensor of x's shape, float.
    Gradient: dx = grad / (1 + |x|)^2.
    Raises: DTypeError if the op is not defined for x's dtype, such as complex.
    Source: torch.nn.functional.softsign.

    >>> tt.softsign([-1.0, 0.0, 3.0])
    Tensor([-0.5 ,  0.  ,  0.75], dtype=float32)
    """
    x = as_float("softsign", x)
    return x / (1 + abs(x))


''',
        before="def leaky_relu(x: Operand, slope: float = 0.01) -> Tensor:",
    ),
    Insertion(
        "tests/cases.py",
        '    each("softsign", lambda x: x / (1 + np.abs(x))),\n',
        after='    each("relu", lambda x: np.maximum(x, 0)),',
    ),
]

KERNEL = [
    Insertion(
        "tinytensor/kernels.py",
        '''\
@door()
def cube(x: Array, out: Array) -> None:
    """out = x^3"""


''',
        before="@door()\ndef sqrt(x: Array, out: Array) -> None:",
    ),
    Insertion(
        "tinytensor/backends/numpy_backend.py",
        """\
def cube(x: Array, out: Array) -> None:
    np.multiply(x, x, out)
    np.multiply(out, x, out)


""",
        before="def relu_backward(grad: Array, x: Array, out: Array) -> None:",
    ),
    Insertion(
        "tinytensor/backends/numba/elementwise_loops.py",
        """\
@unary
def cube(x):
    return x * x * x


""",
        before="@unary\ndef relu(x):",
    ),
    Insertion("tinytensor/backends/numba_backend.py", "    cube,\n", after="    cos,"),
    Insertion(
        "csrc/elementwise.c",
        """\
static inline real cube_of(real x) { return x * x * x; }
UNARY(cube, cube_of)
""",
        before="UNARY(neg, negative)",
    ),
    Insertion(
        "csrc/kernels.h",
        "void tt_cube(const real *x, real *out, int64_t n);\n",
        before="void tt_relu(const real *x, real *out, int64_t n);",
    ),
    Insertion(
        "tinytensor/backends/c_backend.py",
        'cube = _each("cube")\n',
        after='floor, ceil, round = map(_each, ("floor", "ceil", "round"))',
    ),
    Insertion(
        "tests/cases.py",
        '    *(Kernel("cube", ((n,), (n,))) for n in SIZES),\n',
        after="KERNELS = [",
    ),
]

BACKEND = [
    Insertion(
        "tinytensor_command/options.py",
        'BACKENDS = ("c", "numba", "numpy", "python")',
        instead_of='BACKENDS = ("c", "numba", "numpy")',
    ),
    Insertion(
        "tinytensor/door.py",
        'BACKENDS = ("c", "numba", "numpy", "python")',
        instead_of='BACKENDS = ("c", "numba", "numpy")',
    ),
    Insertion(
        "tinytensor/backends/python_backend.py",
        '''\
"""The backend of plain Python: one loop, to compare with compiled loops. NumPy does the rest."""

from tinytensor.arrays import Array


def relu(x: Array, out: Array) -> None:
    read, write = x.reshape(-1), out.reshape(-1)
    for i in range(x.size):
        write[i] = 0 if read[i] < 0 else read[i]


def num_threads() -> int:
    """Always 1."""
    return 1


def set_num_threads(n: int) -> None:
    """Changes nothing: the loops use one thread."""


def description() -> str:
    """What computes."""
    return "loops of Python"
''',
    ),
]

LESSON = [
    Insertion(
        "tinytensor/lessons/chapters/1.1.md",
        """\
# 1.1: a hidden layer

Thirty neurons stand between the pixels and the ten neurons of lesson 1.0.

## The network

- `logits = relu(x @ weight0 + bias0) @ weight1 + bias1`

## What to look at

The accuracy of the training batch rises above that of lesson 1.0.

## Try it

```sh
tinytensor train two-layers --live
```

## Questions

1. How many weights does the hidden layer have?

## Answers

1. `784 * 30 = 23520`.
""",
    ),
    Insertion(
        "tinytensor/lessons/mnist_1_1_two_layers.py",
        '''\
"""Lesson 1.1: a hidden layer of 30 neurons."""

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import Lesson


def two_layers() -> nn.Module:
    """784 -> 30 -> 10, with a ReLU between the layers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10))


LESSON = Lesson(
    number="1.1",
    name="two-layers",
    title="a hidden layer",
    chapter="1.1.md",
    model=two_layers,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=0.003),
    steps=2000,
    expected_accuracy=0.95,
)
''',
    ),
    Insertion(
        "tinytensor/lessons/__init__.py",
        '    "mnist_1_1_two_layers",\n',
        after='    "mnist_1_0_softmax",',
    ),
]
CHANGES = {"op": OP, "kernel": KERNEL, "backend": BACKEND, "lesson": LESSON}


def changed_files(name: str) -> dict[str, tuple[str, str]]:
    """For each file of a change its text now and its text afterwards."""
    files: dict[str, tuple[str, str]] = {}
    for insertion in CHANGES[name]:
        path = ROOT / insertion.file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        old, new = files.get(insertion.file, (text, text))
        files[insertion.file] = old, insertion.apply(new)
    return files


def diff(name: str) -> str:
    """A change as a unified diff."""
    lines: list[str] = []
    for file, (old, new) in changed_files(name).items():
        before = f"a/{file}" if old else "/dev/null"
        lines += difflib.unified_diff(
            old.splitlines(), new.splitlines(), before, f"b/{file}", n=2, lineterm=""
        )
    return "\n".join(lines) + "\n"
