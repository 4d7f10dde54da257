"""Kernels that copy elements: broadcast_to, transpose, take, scatter_add, put, concat."""

from tinytensor.arrays import Array
from tinytensor.backends.axes import permutation
from tinytensor.backends.lowering import Lowered, lowered
from tinytensor.backends.numba.compiling import kernel
from tinytensor.backends.numba.strides import as_array, broadcast_strides, flat, offset
from tinytensor.backends.numba.tile import item, set_item


@lowered
def broadcast_to(x: Array, out: Array) -> Lowered:
    shape, strides, _ = broadcast_strides(x.shape, out.shape, out.shape)
    return _gather, (flat(x), flat(out), shape, strides)


@lowered
def transpose(x: Array, out: Array, axes: tuple[int, ...]) -> Lowered:
    return _gather, (flat(x), flat(out), *map(as_array, permutation(x.shape, axes)))


@kernel("real[::1], real[::1], int64[::1], int64[::1]")
def _gather(x, out, shape, strides):
    last = len(shape) - 1
    C, step = shape[last], strides[last]
    for r in range(len(out) // max(C, 1)):
        row = offset(r, last, shape, strides)
        if step == 1:
            for c in range(C):
                set_item(out, r * C + c, item(x, row + c))
        else:
            for c in range(C):
                set_item(out, r * C + c, item(x, row + c * step))


@lowered
def take(x: Array, index: Array, out: Array) -> Lowered:
    return _take, (x, index, out)


@kernel("real[:, ::1], int64[::1], real[:, ::1]")
def _take(x, index, out):
    R, C = out.shape
    for r in range(R):
        row = x[index[r]]
        for c in range(C):
            out[r, c] = row[c]


@lowered
def scatter_add(grad: Array, index: Array, out: Array) -> Lowered:
    return _scatter_add, (grad, index, out)


@kernel("real[:, ::1], int64[::1], real[:, ::1]")
def _scatter_add(grad, index, out):
    out[:] = 0
    R, C = grad.shape
    for r in range(R):
        row = out[index[r]]
        for c in range(C):
            row[c] += grad[r, c]


@lowered
def put(x: Array, index: Array, out: Array) -> Lowered:
    return _put, (x, index, out)


@kernel("real[:, ::1], int64[::1], real[:, ::1]")
def _put(x, index, out):
    R, C = x.shape
    for r in range(R):
        row = out[index[r]]
        for c in range(C):
            row[c] = x[r, c]


@lowered
def concat(x: Array, out: Array, start: int) -> Lowered:
    return _concat, (x, out, start)


@kernel("real[:, :, ::1], real[:, :, ::1], int64")
def _concat(x, out, start):
    A, n, B = x.shape
    for a in range(A):
        for i in range(n):
            for b in range(B):
                out[a, start + i, b] = x[a, i, b]
