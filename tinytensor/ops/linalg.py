"""Matrices: products and the ops that can be written as one, triangles and diagonals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinytensor import kernels
from tinytensor.arrays import Array
from tinytensor.autograd import record
from tinytensor.errors import NotSupported, ShapeError
from tinytensor.ops.elementwise import where
from tinytensor.ops.index import put_flat, take_flat
from tinytensor.ops.operands import Operand, as_alike, as_tensor, broadcast_shape, whole
from tinytensor.ops.shape import broadcast_to, permute, reshape

if TYPE_CHECKING:
    from tinytensor.tensors import Tensor

__all__ = ["diag", "einsum", "matmul", "outer", "tril", "triu"]


def matmul(
    x: Operand, y: Operand, *, transpose_x: bool = False, transpose_y: bool = False
) -> Tensor:
    """The matrix product of x and y.

    Args:
        x: array-like (M, K), or (K, M) with transpose_x; numeric. Axes before these two are a batch
            of matrices, and batches broadcast. A vector (K,) is used as a row (1, K); the result
            then has no axis M.
        y: array-like (K, N), or (N, K) with transpose_y; batches as for x. A vector (K,) is used as
            a column (K, 1); the result then has no axis N.
        transpose_x, transpose_y: True multiplies by the transposed matrix, without moving memory.

    Returns:
        Tensor (M, N), or (..., M, N) with the batch axes in front, of dtype np.result_type(x, y).

    Gradient: dx = grad @ y.T, dy = x.T @ grad. The gradient of a batch that was broadcast is
    summed.

    Raises:
        ShapeError: the inner sizes K differ, batches do not broadcast, or an operand is a scalar.
        DTypeError: an operand does not hold real numbers.
        NotSupported: an operand is None.

    Source: numpy.matmul, torch.matmul; the operator x @ y; tt.mm is the same function.

    >>> tt.matmul([[1.0, 2.0], [3.0, 4.0]], [[1.0], [10.0]])
    Tensor([[21.],
            [43.]], dtype=float32)
    """
    x, y = as_alike("matmul", x, y)
    if x.array.ndim != 2 or y.array.ndim != 2:
        return _matmul_of_other_axes(x, y, transpose_x, transpose_y)
    M, x_inner = x.array.shape[::-1] if transpose_x else x.array.shape
    y_inner, N = y.array.shape[::-1] if transpose_y else y.array.shape
    if x_inner != y_inner:
        raise _inner_sizes_differ(x, y, transpose_x, transpose_y)
    return _product(x, y, transpose_x, transpose_y, (M, N))


def _product(
    x: Tensor, y: Tensor, transpose_x: bool, transpose_y: bool, shape: tuple[int, ...]
) -> Tensor:
    """x @ y for two matrices, or for two batches of the same number of matrices."""
    out = np.empty(shape, x.array.dtype)
    kernels.matmul(x.array, y.array, out, transpose_x, transpose_y)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_x = grad_y = None
        if x.requires_grad and not transpose_x:
            grad_x = _product(grad, y, False, not transpose_y, x.shape)
        elif x.requires_grad:
            grad_x = _product(y, grad, transpose_y, True, x.shape)
        if y.requires_grad and not transpose_y:
            grad_y = _product(x, grad, not transpose_x, False, y.shape)
        elif y.requires_grad:
            grad_y = _product(grad, x, True, transpose_x, y.shape)
        return grad_x, grad_y

    saved = (x,) * y.requires_grad + (y,) * x.requires_grad
    return record("matmul", out, (x, y), backward, saved)


def _matmul_of_other_axes(x: Tensor, y: Tensor, transpose_x: bool, transpose_y: bool) -> Tensor:
    """The product of vectors and of batches, by way of matrices and of one batch axis."""
    if not x.ndim or not y.ndim:
        raise ShapeError.drawn(
            "matmul: a scalar is not a matrix",
            {"x": (x.shape, ()), "y": (y.shape, ())},
            "vectors or matrices are needed; x * y multiplies by a number",
        )
    x_axis, y_axis = _inner_axes(x, y, transpose_x, transpose_y)
    if x.shape[x_axis] != y.shape[y_axis]:
        raise _inner_sizes_differ(x, y, transpose_x, transpose_y)
    if y.ndim == 1:
        column = matmul(x, reshape(y, (-1, 1)), transpose_x=transpose_x)
        return reshape(column, column.shape[:-1])
    if x.ndim == 1:
        row = matmul(reshape(x, (1, -1)), y, transpose_y=transpose_y)
        return reshape(row, row.shape[:-2] + row.shape[-1:])
    M, N = x.shape[-1 if transpose_x else -2], y.shape[-2 if transpose_y else -1]
    if y.ndim == 2 and not transpose_x:  # all rows of all x times one y: a single, taller product
        rows = math.prod(x.shape[:-1])
        tall = _product(reshape(x, (rows, x.shape[-1])), y, False, transpose_y, (rows, N))
        return reshape(tall, (*x.shape[:-1], N))
    shape = broadcast_shape("matmul, batches", x.shape[:-2], y.shape[:-2])
    B = math.prod(shape)
    x = reshape(broadcast_to(x, (*shape, *x.shape[-2:])), (B, *x.shape[-2:]))
    y = reshape(broadcast_to(y, (*shape, *y.shape[-2:])), (B, *y.shape[-2:]))
    return reshape(_product(x, y, transpose_x, transpose_y, (B, M, N)), (*shape, M, N))


def _inner_axes(x: Tensor, y: Tensor, transpose_x: bool, transpose_y: bool) -> tuple[int, int]:
    """The axes that are summed over."""
    x_axis = x.ndim - (2 if transpose_x and x.ndim > 1 else 1)
    y_axis = y.ndim - (1 if transpose_y or y.ndim == 1 else 2)
    return x_axis, y_axis


def _inner_sizes_differ(x: Tensor, y: Tensor, transpose_x: bool, transpose_y: bool) -> ShapeError:
    x_axis, y_axis = _inner_axes(x, y, transpose_x, transpose_y)
    x_inner, y_inner = x.shape[x_axis], y.shape[y_axis]
    cure = f"x has {x_inner} {'rows' if transpose_x else 'columns'}, "
    cure += f"y {y_inner} {'columns' if transpose_y else 'rows'}"
    if y.ndim == 1:
        cure = f"x has {x_inner} columns; a vector of {x_inner} is needed"
    else:
        other = y.shape[y.ndim - 1 if y_axis == y.ndim - 2 else y.ndim - 2]
        meant = (other, x_inner) if transpose_y else (x_inner, other)
        flag = f"transpose_y={not transpose_y}"
        cure += f"; did you mean {flag if x_inner == other else f'a {meant} y'}?"
    return ShapeError.drawn(
        "matmul: inner sizes differ", {"x": (x.shape, [x_axis]), "y": (y.shape, [y_axis])}, cure
    )


def outer(x: Operand, y: Operand) -> Tensor:
    """The outer product of two vectors: out[i, j] = x[i] * y[j].

    Args:
        x: array-like (M,), numeric.
        y: array-like (N,), numeric.

    Returns:
        Tensor (M, N) of dtype np.result_type(x, y).

    Gradient: dx = grad @ y, dy = grad.T @ x.

    Raises:
        ShapeError: an operand is not a vector.
        DTypeError: it does not hold real numbers.
        NotSupported: an operand is None or a string.

    Source: numpy.outer, torch.outer.

    >>> tt.outer([1, 2], [10, 20])
    Tensor([[10, 20],
            [20, 40]], dtype=int64)
    """
    x, y = as_alike("outer", x, y)
    if x.ndim != 1 or y.ndim != 1:
        raise ShapeError(f"outer: got shapes {x.shape} and {y.shape}; two vectors are needed")
    return reshape(x, (-1, 1)) * y


# Triangles and diagonals ------------------------------------------------------------------------


def tril(x: Operand, k: int = 0) -> Tensor:
    """The lower triangle of each matrix: x[..., i, j] where j <= i + k, else 0.

    Args:
        x: array-like (..., M, N), numeric.
        k: int, the last diagonal of the triangle: 0 for the main diagonal, 1 for the one above it.

    Returns:
        Tensor of x's shape and dtype.

    Gradient: dx = tril(grad, k).

    Raises:
        ShapeError: x has fewer than two axes.
        SettingError: k is not an int.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.tril, torch.tril.

    >>> tt.tril(tt.ones(3, 3))
    Tensor([[1., 0., 0.],
            [1., 1., 0.],
            [1., 1., 1.]], dtype=float32)
    """
    x = as_tensor("tril", x)
    return where(_triangle("tril", x, k), x, np.zeros((), x.dtype))


def triu(x: Operand, k: int = 0) -> Tensor:
    """The upper triangle of each matrix: x[..., i, j] where j >= i + k, else 0.

    Args:
        x: array-like (..., M, N), numeric.
        k: int, the first diagonal of the triangle: 0 for the main diagonal, 1 for the one above it.

    Returns:
        Tensor of x's shape and dtype.

    Gradient: dx = triu(grad, k).

    Raises:
        ShapeError: x has fewer than two axes.
        SettingError: k is not an int.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.triu, torch.triu.

    >>> tt.triu(tt.ones(2, 3), 1)
    Tensor([[0., 1., 1.],
            [0., 0., 1.]], dtype=float32)
    """
    x = as_tensor("triu", x)
    return where(_triangle("triu", x, k, below=1), np.zeros((), x.dtype), x)


def _triangle(op: str, x: Tensor, k: int, below: int = 0) -> Array:
    """The matrix of bools that are True at j <= i + k - below."""
    if x.ndim < 2:
        raise ShapeError(f"{op}: got shape {x.shape}; matrices (..., M, N) are needed")
    M, N = x.shape[-2:]
    return np.tri(M, N, whole(op, "k", k, None) - below, dtype=np.bool_)


def diag(x: Operand, k: int = 0) -> Tensor:
    """The diagonal of a matrix, or a matrix with a vector on its diagonal.

    Args:
        x: array-like (M, N) or (n,), numeric.
        k: int, the diagonal: 0 for the main diagonal, 1 for the one above it, -1 for the one below.

    Returns:
        Tensor of x's dtype: out[i] = x[i, i + k] of a matrix, for k from 0 up; or (n + `|k|`,
        n + `|k|`) with out[i, i + k] = x[i] of a vector, and 0 elsewhere.

    Gradient: dx = the gradient on the diagonal, and 0 elsewhere; of a vector dx = diag(grad, k).

    Raises:
        ShapeError: x is neither a matrix nor a vector.
        SettingError: k is not an int.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.diag, torch.diag.

    >>> tt.diag([[1, 2], [3, 4]])
    Tensor([1, 4], dtype=int64)
    >>> tt.diag([1, 2])
    Tensor([[1, 0],
            [0, 2]], dtype=int64)
    """
    x, k = as_tensor("diag", x), whole("diag", "k", k, None)
    down, right = max(-k, 0), max(k, 0)
    if x.ndim == 2:
        n = max(min(x.shape[0] - down, x.shape[1] - right), 0)
        return take_flat(x, (np.arange(n) + down) * x.shape[1] + np.arange(n) + right)
    if x.ndim != 1:
        raise ShapeError(f"diag: got shape {x.shape}; a matrix (M, N) or a vector (n,) is needed")
    n, size = x.size, x.size + abs(k)
    return put_flat(x, (np.arange(n) + down) * size + np.arange(n) + right, (size, size))


# Einstein's sums --------------------------------------------------------------------------------


def einsum(formula: str, *operands: Operand) -> Tensor:
    """A sum of products with named axes: "ij,jk->ik" is the matrix product.

    Operands are combined one after the other, each by a transposition and a matrix product.

    Args:
        formula: str, one letter for each axis of each operand, commas between operands, and after
            -> the letters of the result. Axes that are not in the result are summed. Without -> the
            result has the letters that occur once, in alphabetical order. "..." stands for any
            number of axes; these broadcast, and come first in the result if there is no ->.
        operands: array-likes, numeric.

    Returns:
        Tensor with one axis for each letter of the result.

    Gradient: that of the matrix products: for "ij,jk->ik" dx = grad @ y.T, dy = x.T @ grad.

    Raises:
        ShapeError: the operands do not fit the formula.
        DTypeError: one does not hold real numbers.
        NotSupported: the formula is not a str, or an operand is None.

    Source: numpy.einsum, torch.einsum. NumPy refuses a result without the "..." of an operand; as
    in torch, these axes are summed.

    >>> tt.einsum("ij,j->i", [[1, 2], [3, 4]], [1, 10])
    Tensor([21, 43], dtype=int64)
    >>> tt.einsum("...ij,...jk->...ik", tt.ones(5, 2, 3), tt.ones(3, 4)).shape
    (5, 2, 4)
    """
    if not isinstance(formula, str):
        raise NotSupported(
            f"einsum: got {type(formula).__name__}; a formula 'ij,jk->ik' comes first"
        )
    terms, result = _parse(formula, len(operands))
    xs = [as_tensor("einsum", x) for x in operands]
    for x, term in zip(xs, terms, strict=True):
        named = term.replace("...", "")
        if len(named) > x.ndim or (named == term and len(named) < x.ndim):
            raise ShapeError(
                f"einsum: got x of shape {x.shape} for {term!r}; a letter for each axis is needed"
            )
    xs, letters, result = _with_letters_for_dots(xs, terms, result)
    sizes: dict[str, int] = {}
    for x, own in zip(xs, letters, strict=True):
        for letter, size in zip(own, x.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise ShapeError(
                    f"einsum: {letter!r} is {sizes[letter]} in one place of {formula!r} and {size} "
                    "in another"
                )
    total, known = _diagonal(xs[0], letters[0])
    for i, (x, own) in enumerate(zip(xs[1:], letters[1:], strict=True), start=2):
        later = set(result).union(*letters[i:])
        total, known = _contract(total, known, *_diagonal(x, own), later)
    gone = tuple(a for a, letter in enumerate(known) if letter not in result)
    total, known = total.sum(axis=gone), "".join(c for c in known if c in result)
    return permute(total, tuple(known.index(letter) for letter in result))


def _parse(formula: str, count: int) -> tuple[list[str], str]:
    """The parts of a formula: one for each operand, and one for the result."""
    left, arrow, result = formula.replace(" ", "").partition("->")
    terms = left.split(",")
    letters = "".join(terms).replace("...", "")
    if not arrow:  # as NumPy: the letters that occur once, in alphabetical order
        result = "..." if "..." in left else ""
        result += "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    named = result.replace("...", "")
    if (
        len(terms) != count
        or any(term.count("...") > 1 for term in (*terms, result))
        or ("..." in result and "..." not in left)
        or not all(map(str.isalpha, filter(None, (letters, named))))
        or len(set(named)) < len(named)
        or not set(named) <= set(letters)
    ):
        raise ShapeError(
            f"einsum: got {formula!r} for {count} operands; letters for each, commas between, and "
            "after -> some of them, each once, are needed: 'ij,jk->ik'; ... stands for more axes"
        )
    return terms, result


def _with_letters_for_dots(
    xs: list[Tensor], terms: list[str], result: str
) -> tuple[list[Tensor], list[str], str]:
    """The formula with a digit for each axis of "...": 0 for the last one, then 1, ...

    An operand that has size 1 where another one has more loses that axis, because a product repeats
    an operand along the axes that it does not have.
    """
    starts = [term.find("...") for term in terms]
    shapes = [  # of the axes of "..."
        x.shape[start : start + x.ndim - len(term) + 3] if start >= 0 else ()
        for x, term, start in zip(xs, terms, starts, strict=True)
    ]
    shape: tuple[int, ...] = ()
    for other in shapes:
        shape = broadcast_shape("einsum, axes of ...", shape, other, ("first", "next"))
    digits = "".join(chr(0xFF10 + a) for a in reversed(range(len(shape))))
    letters, kept = [], []
    for x, term, start, own in zip(xs, terms, starts, shapes, strict=True):
        pairs = list(zip(own[::-1], shape[::-1], strict=False))[::-1]
        stay = [a for a, (size, full) in enumerate(pairs) if size == full]
        if len(stay) < len(own):
            front, end = x.shape[:start], x.shape[start + len(own) :]
            x = reshape(x, (*front, *(own[a] for a in stay), *end))
        names = digits[len(shape) - len(own) :]
        letters.append(term.replace("...", "".join(names[a] for a in stay)))
        kept.append(x)
    return kept, letters, result.replace("...", digits)


def _diagonal(x: Tensor, letters: str) -> tuple[Tensor, str]:
    """x with each letter once: of "ii" the diagonal stays."""
    for letter in sorted(set(letters)):
        axes = [a for a, own in enumerate(letters) if own == letter]
        if len(axes) > 1:
            rest = [a for a in range(x.ndim) if a not in axes]
            same = np.arange(x.shape[axes[0]])
            x = permute(x, (*axes, *rest))[(same,) * len(axes)]
            letters = letter + "".join(letters[a] for a in rest)
    return x, letters


def _contract(x: Tensor, x_own: str, y: Tensor, y_own: str, later: set[str]) -> tuple[Tensor, str]:
    """The product of two operands, summed over the letters that nothing later needs."""
    for mine, others in ((x_own, y_own), (y_own, x_own)):
        alone = tuple(a for a, c in enumerate(mine) if c not in others and c not in later)
        if mine is x_own:
            x = x.sum(axis=alone) if alone else x
        else:
            y = y.sum(axis=alone) if alone else y
    x_own = "".join(c for c in x_own if c in y_own or c in later)
    y_own = "".join(c for c in y_own if c in x_own or c in later)
    both = "".join(c for c in x_own if c in y_own and c in later)
    inner = "".join(c for c in x_own if c in y_own and c not in later)
    x_rest = "".join(c for c in x_own if c not in y_own)
    y_rest = "".join(c for c in y_own if c not in x_own)
    x = permute(x, tuple(map(x_own.index, both + x_rest + inner)))
    y = permute(y, tuple(map(y_own.index, both + inner + y_rest)))
    B, M = x.shape[: len(both)], x.shape[len(both) : len(both) + len(x_rest)]
    K, N = y.shape[len(both) : len(both) + len(inner)], y.shape[len(both) + len(inner) :]
    x = reshape(x, (math.prod(B), math.prod(M), math.prod(K)))
    y = reshape(y, (math.prod(B), math.prod(K), math.prod(N)))
    return reshape(matmul(x, y), (*B, *M, *N)), both + x_rest + y_rest
