"""The list of the exercises, in an order in which no exercise needs a later one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tinytensor.errors import UnknownName
from tinytensor.learn import page, references, rules

Sizes = dict[str, int]
# What computes a sum of products at once, in NumPy and numpy.linalg
PRODUCTS = (
    *("matmul", "dot", "vdot", "inner", "vecdot", "matvec", "vecmat", "tensordot", "einsum"),
    *("multi_dot", "matrix_power", "convolve", "correlate", "matrix", "asmatrix", "bmat"),
)
READ, CHANGED, WRITTEN = "read", "changed", "written"


class Argument(NamedTuple):
    """An array argument of a function.

    shape: the names of its sizes, such as ("M", "K"), or digits. use: READ, CHANGED or WRITTEN.
    """

    name: str
    shape: tuple[str, ...]
    dtype: str
    use: str

    def shape_of(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape for these sizes."""
        return tuple(int(each) if each.isdigit() else sizes[each] for each in self.shape)


@dataclass(frozen=True)
class Signature:
    """A function that the student writes.

    Args:
        name: its name.
        arrays: its arguments that are arrays, in order.
        operations: from the sizes to the additions and multiplications of a call.
        scale: what an error is compared with: "terms", the sum of the absolute values of the terms
            (for sums of products); "inputs", the largest input; or "one".
        scalars: the names of the arguments after the arrays: rate, step.
        derived: sizes that follow from other sizes.
        positive: the names of arrays without negative values.
        never_zero: the names of sizes that are at least 1.
        tolerance: the allowed error, relative to the scale.
    """

    name: str
    arrays: tuple[Argument, ...]
    operations: Callable[[Sizes], int]
    scale: str = "terms"
    scalars: tuple[str, ...] = ()
    derived: Mapping[str, Callable[[Sizes], int]] = field(default_factory=dict)
    positive: tuple[str, ...] = ()
    never_zero: tuple[str, ...] = ()
    tolerance: float = 1e-5

    @property
    def reference(self) -> Callable[..., Any]:
        """The function of references.py with this name."""
        reference: Callable[..., Any] = getattr(references, self.name)
        return reference

    @property
    def size_names(self) -> tuple[str, ...]:
        """The names of all sizes, in the order in which the arrays have them."""
        names = (name for each in self.arrays for name in each.shape if not name.isdigit())
        return tuple(dict.fromkeys(names))

    @property
    def prototype(self) -> str:
        """The declaration of the function in C."""
        arrays = [
            f"{'const ' if each.use == READ else ''}"
            f"{'int64_t' if each.dtype == 'int64' else 'float'} *{each.name}"
            for each in self.arrays
        ]
        scalars = [f"{'int64_t' if name == 'step' else 'double'} {name}" for name in self.scalars]
        sizes = [f"int64_t {name}" for name in self.size_names]
        return f"void {self.name}({', '.join([*arrays, *sizes, *scalars])})"


@dataclass(frozen=True)
class Exercise:
    """An exercise: a page, and what is checked.

    Args:
        number: its place in the order, from 1.
        name: its name, which is the name of the student's file.
        title: what the student writes, in words.
        languages: the languages in which it can be written; the first is the default.
        functions: the functions that are checked on drawn arrays. Empty for the exercises with
            a separate check.
        hints: sentences that help, the first one least.
        next_idea: how the answer could become faster or more general.
        kernel: the kernel whose ladder the answer is compared with.
        rung, rung_below: for the exercise of a rung: its name without the backend, and that of the
            rung below. The answer must be a third of the way up from there.
        threads: True if the answer must divide its work among threads.
        refused: the names of NumPy's functions that an answer may not use; see rules.py.
    """

    number: int
    name: str
    title: str
    languages: tuple[str, ...]
    functions: tuple[Signature, ...]
    hints: tuple[str, ...]
    next_idea: str
    kernel: str | None = None
    rung: str = ""
    rung_below: str = ""
    threads: bool = False
    refused: tuple[str, ...] = ()

    def page(self, language: str) -> Path:
        """Return the file of the page in this language."""
        return page.find(self.number, self.name, language)

    def stub(self, language: str) -> str:
        """Return the text of the file that the student starts with."""
        return page.stub(
            self.page(language), language, self._function_names, rules.text(self.refused)
        )

    def solution(self, language: str) -> str:
        """Return the text of the page with its solution."""
        return page.solution(self.page(language), language, self._function_names)

    @property
    def _function_names(self) -> tuple[str, ...]:
        return tuple(function.name for function in self.functions)


def _arrays(text: str) -> tuple[Argument, ...]:
    """Return the arguments of a text such as "x[M,K] y[K,N] -> out[M,N]".

    An array after -> is written. One with * is changed in place, and one with int is int64.
    """
    found = []
    reads, _, writes = text.partition("->")
    for part, use in ((reads, READ), (writes, WRITTEN)):
        for word in part.split():
            name, _, shape = word.rstrip("]").partition("[")
            dtype = "int64" if name.startswith("int:") else "float32"
            found.append(
                Argument(
                    name.removeprefix("int:").rstrip("*"),
                    tuple(shape.split(",")),
                    dtype,
                    CHANGED if name.endswith("*") else use,
                )
            )
    return tuple(found)


ALL = ("python", "numba", "c")
_WINDOWS: dict[str, Callable[[Sizes], int]] = {
    "H": lambda s: s["P"] + s["A"] - 1,
    "W": lambda s: s["Q"] + s["B"] - 1,
}


def _products(sizes: Sizes) -> int:
    return 2 * sizes["M"] * sizes["K"] * sizes["N"]


def _windows(sizes: Sizes) -> int:
    result = 2
    for name in "NPQABIO":
        result *= sizes[name]
    return result


_MATMUL = Signature("matmul", _arrays("x[M,K] y[K,N] -> out[M,N]"), _products)
_SIZES_OF_WINDOWS = ("A", "B", "P", "Q")

EXERCISES = (
    Exercise(
        1,
        "neuron",
        "a neuron: a weighted sum and a bias",
        ALL,
        (
            Signature(
                "neuron", _arrays("x[K] weight[K] bias[1] -> out[1]"), lambda sizes: 2 * sizes["K"]
            ),
        ),
        (
            "Start a total with the bias, and add one product for each input.",
            "Write the total into the array: out[0] = total. `out = total` only names it.",
        ),
        "Each addition waits for the previous one. Several totals, added at the end, don't wait.",
        refused=PRODUCTS,
    ),
    Exercise(
        2,
        "broadcast_add",
        "a row added to every row, and its gradient",
        ALL,
        (
            Signature("add", _arrays("x[R,C] b[C] -> out[R,C]"), lambda s: s["R"] * s["C"]),
            Signature("add_backward", _arrays("grad[R,C] -> grad_b[C]"), lambda s: s["R"] * s["C"]),
        ),
        (
            "Two loops, over r and c, write each element of out once.",
            "b[c] changes the column c of out. Its gradient is the sum of this column of grad.",
            "grad_b isn't 0 at the start. Set it to 0 before the first addition.",
        ),
        "Go along rows, which are contiguous. Then a vector instruction adds 8 elements at once.",
    ),
    Exercise(
        3,
        "softmax",
        "softmax, without overflow",
        ALL,
        (
            Signature(
                "softmax", _arrays("x[R,C] -> out[R,C]"), lambda s: 5 * s["R"] * s["C"], "one"
            ),
        ),
        (
            "Three loops for each row: the largest value, the exponentials with their sum, the "
            "division.",
            "exp(1000) overflows. exp(x - largest) is at most 1, and the quotients are the same.",
            "Start the largest value at minus infinity, because all values may be negative.",
        ),
        "An exp in plain arithmetic can be vectorised. A call of the C library's exp can't.",
        kernel="softmax",
    ),
    Exercise(
        4,
        "cross_entropy",
        "the loss of lesson 1.0, and its gradient",
        ALL,
        (
            Signature(
                "cross_entropy",
                _arrays("x[R,C] int:labels[R] -> out[R]"),
                lambda s: 4 * s["R"] * s["C"],
                "inputs",
                never_zero=("C",),
            ),
            Signature(
                "cross_entropy_backward",
                _arrays("x[R,C] int:labels[R] -> grad[R,C]"),
                lambda s: 5 * s["R"] * s["C"],
                "one",
                never_zero=("C",),
            ),
        ),
        (
            "log(a / b) is log(a) - log(b). So no probability needs to be computed for the loss.",
            "The loss is largest + log(total) - x[r, labels[r]]; total is the sum of the "
            "exponentials of x - largest.",
            "The gradient is the softmax, with 1 subtracted in the column of the label.",
        ),
        "Loss and gradient share their exponentials: one function can compute both.",
    ),
    Exercise(
        5,
        "matmul",
        "the matrix product, in three loops",
        ALL,
        (_MATMUL,),
        (
            "Each element of out is a dot product, as in the exercise neuron.",
            "Three loops: over the rows m, over the columns n, and over k, which is summed.",
            "Start each total at 0. If K is 0, out must still be written.",
        ),
        "Exchange two loops, so that the innermost one goes along rows.",
        kernel="matmul",
        refused=PRODUCTS,
    ),
    Exercise(
        6,
        "matmul_loop_order",
        "second rung: the order of the loops",
        ("numba", "c"),
        (_MATMUL,),
        (
            "Loops in the order m, k, n. x[m, k] is constant in the innermost loop.",
            "Set the row m of out to 0 before the loop over k.",
        ),
        "Use each loaded element several times: a block of rows at once.",
        kernel="matmul",
        rung="loop_order",
        rung_below="naive",
        refused=PRODUCTS,
    ),
    Exercise(
        7,
        "matmul_blocked",
        "third rung: blocks that stay in registers",
        ("numba", "c"),
        (_MATMUL,),
        (
            "First write the loops for sizes that are multiples of 4. Then add the edges.",
            "Local variables stay in registers; elements of an array may not.",
            "In C, `#pragma GCC unroll 4` above a loop of 4 steps lets the sums be registers.",
        ),
        "One vector instruction computes 8 or 16 sums.",
        kernel="matmul",
        rung="blocked",
        rung_below="loop_order",
        refused=PRODUCTS,
    ),
    Exercise(
        8,
        "matmul_vectorised",
        "fourth rung: vectors of 8 elements",
        ("c",),
        (_MATMUL,),
        (
            "The sums of a block: vector sum[4][2] = {{{0}}}, for 4 rows and 2 vectors.",
            "For each k, load y[k] at the columns n and n + 8. Row i adds x[(m + i) * K + k] times "
            "each of them.",
            "`#pragma GCC unroll 4` above the loop over the rows lets the sums be registers.",
        ),
        "Copy (pack) the rows of y that a block reads, so that they stay in the L1 cache.",
        kernel="matmul",
        rung="vectorised",
        rung_below="blocked",
    ),
    Exercise(
        9,
        "matmul_threaded",
        "fifth rung: all cores",
        ("numba", "c"),
        (_MATMUL,),
        (
            "The rows of out are independent, so divide the loop over m.",
            "Thread i of T computes the rows from M * i / T to M * (i + 1) / T.",
            "Join all threads before the function returns.",
        ),
        "Combine it with vectors and packing. Start the threads once, not at each call.",
        kernel="matmul",
        threads=True,
        refused=PRODUCTS,
    ),
    Exercise(
        10,
        "matmul_backward",
        "the two gradients of the matrix product",
        ALL,
        (
            Signature("matmul_backward_x", _arrays("grad[M,N] y[K,N] -> grad_x[M,K]"), _products),
            Signature("matmul_backward_y", _arrays("x[M,K] grad[M,N] -> grad_y[K,N]"), _products),
        ),
        (
            "Which elements of out does x[m, k] change? The whole row m: so the sum is over n.",
            "grad_x is grad @ y.T. An element of y.T at (n, k) is y[k, n].",
            "grad_y is x.T @ grad: the sum is over m.",
        ),
        "The rungs of the matrix product apply to its gradients too.",
    ),
    Exercise(
        11,
        "conv2d",
        "the convolution",
        ALL,
        (
            Signature(
                "conv2d",
                _arrays("x[N,H,W,I] weight[A,B,I,O] -> out[N,P,Q,O]"),
                _windows,
                derived=_WINDOWS,
                never_zero=_SIZES_OF_WINDOWS,
            ),
        ),
        (
            "Four loops write each element of out, and three loops inside sum its window.",
            "The window at (p, q) reads the pixels x[n, p + a, q + b, i].",
            "The sizes P and Q are those of out; the window never leaves the image.",
        ),
        "Put the loop over o innermost: weight and out are contiguous there.",
        kernel="conv2d",
    ),
    Exercise(
        12,
        "conv2d_backward",
        "the two gradients of the convolution",
        ALL,
        (
            Signature(
                "conv2d_backward_x",
                _arrays("grad[N,P,Q,O] weight[A,B,I,O] -> grad_x[N,H,W,I]"),
                _windows,
                derived=_WINDOWS,
                never_zero=_SIZES_OF_WINDOWS,
            ),
            Signature(
                "conv2d_backward_weight",
                _arrays("x[N,H,W,I] grad[N,P,Q,O] -> grad_weight[A,B,I,O]"),
                _windows,
                derived=_WINDOWS,
                never_zero=_SIZES_OF_WINDOWS,
            ),
        ),
        (
            "Use the seven loops of the convolution. Only the innermost line changes.",
            "Set the whole result to 0 first: many windows add to one element.",
        ),
        "The gradient by the images is a convolution too, with the weights turned by 180 degrees.",
    ),
    Exercise(
        13,
        "optimizers",
        "SGD, momentum and Adam",
        ALL,
        (
            Signature(
                "sgd", _arrays("p*[N] grad[N]"), lambda s: 2 * s["N"], "inputs", scalars=("rate",)
            ),
            Signature(
                "momentum",
                _arrays("p*[N] velocity*[N] grad[N]"),
                lambda s: 4 * s["N"],
                "inputs",
                scalars=("rate",),
            ),
            Signature(
                "adam",
                _arrays("p*[N] m*[N] v*[N] grad[N]"),
                lambda s: 12 * s["N"],
                "inputs",
                scalars=("rate", "step"),
                positive=("v",),
                tolerance=2e-4,
            ),
        ),
        (
            "Change the arrays in place: p[n] = p[n] - rate * grad[n].",
            "Update velocity, m and v first. p uses their new values.",
            "The averages m and v are stored without the division by 1 - 0.9**step.",
        ),
        "Each array is read once and written once: the memory is the limit, not the arithmetic.",
    ),
    Exercise(
        14,
        "tape",
        "automatic differentiation, which trains lesson 1.0",
        ("python",),
        (),
        (
            "`*` and `@`: the gradient of one factor is the gradient times the other factor.",
            "sum() keeps the axis, so its gradient only needs np.broadcast_to(grad, data.shape).",
            "backward: list all Values so that inputs come first, then walk the list backwards.",
            "Use a list as a stack for this order. A recursion stops at 1,000 nested calls.",
        ),
        "tinytensor/autograd.py is the same idea, with an op as one function.",
    ),
    Exercise(
        15,
        "capture",
        "record a training step, and replay it",
        ("python",),
        (),
        (
            "The global variable `recording` is the list while a step is recorded, otherwise None.",
            "A record needs three things: its own arrays for the arguments, the calls, the result.",
            "own[...] = argument copies into an array. `own = argument` only names another array.",
            "Set `recording` back to None even if the step raises: try ... finally.",
        ),
        "tinytensor/capture checks each record, removes needless calls, and runs the list in C.",
    ),
)


def find(name: str) -> Exercise:
    """Return the exercise of this name or number.

    Raises:
        UnknownName: there is none; the message has the nearest names.
    """
    for exercise in EXERCISES:
        if name in (exercise.name, str(exercise.number)):
            return exercise
    names = [exercise.name for exercise in EXERCISES]
    near = difflib.get_close_matches(name, names, n=3) or names
    raise UnknownName(f"learn: there is no exercise {name!r}; choose from {', '.join(near)}")
