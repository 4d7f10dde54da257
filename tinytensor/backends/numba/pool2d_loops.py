"""The argmax of each window of an image, and sums of windows."""

from tinytensor.arrays import Array
from tinytensor.backends.axes import Pair
from tinytensor.backends.lowering import Lowered, lowered
from tinytensor.backends.numba.compiling import kernel


@lowered
def argmax_pool2d(x: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> Lowered:
    return _argmax_pool2d, (x, out, *size, *stride, *padding)


@kernel("real[:, :, :, ::1], int64[:, :, :, ::1], int64, int64, int64, int64, int64, int64")
def _argmax_pool2d(x, out, KH, KW, down, right, top_pad, left_pad):
    N, H, W, C = x.shape
    _, OH, OW, _ = out.shape
    for n in range(N):
        for h in range(OH):
            top = h * down - top_pad
            for w in range(OW):
                left = w * right - left_pad
                for c in range(C):
                    best_y, best_z = max(0, top), max(0, left)
                    for y in range(best_y, min(H, top + KH)):
                        for z in range(max(0, left), min(W, left + KW)):
                            best = x[n, best_y, best_z, c]
                            if best == best and not x[n, y, z, c] <= best:
                                best_y, best_z = y, z
                    out[n, h, w, c] = ((n * H + best_y) * W + best_z) * C + c


POOLING = "real[:, :, :, ::1], real[:, :, :, ::1], int64, int64, int64, int64, int64, int64"


@lowered
def sum_pool2d(x: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> Lowered:
    return _sum_pool2d, (x, out, *size, *stride, *padding)


@kernel(POOLING)
def _sum_pool2d(x, out, KH, KW, down, right, top_pad, left_pad):
    N, H, W, C = x.shape
    _, OH, OW, _ = out.shape
    out[:] = 0
    for n in range(N):
        for h in range(OH):
            top = h * down - top_pad
            for w in range(OW):
                left = w * right - left_pad
                for y in range(max(0, top), min(H, top + KH)):
                    for z in range(max(0, left), min(W, left + KW)):
                        for c in range(C):
                            out[n, h, w, c] += x[n, y, z, c]


@lowered
def sum_pool2d_grad_x(grad: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> Lowered:
    return _sum_pool2d_grad_x, (grad, out, *size, *stride, *padding)


@kernel(POOLING)
def _sum_pool2d_grad_x(grad, out, KH, KW, down, right, top_pad, left_pad):
    N, H, W, C = out.shape
    _, OH, OW, _ = grad.shape
    out[:] = 0
    for n in range(N):
        for h in range(OH):
            top = h * down - top_pad
            for w in range(OW):
                left = w * right - left_pad
                for y in range(max(0, top), min(H, top + KH)):
                    for z in range(max(0, left), min(W, left + KW)):
                        for c in range(C):
                            out[n, y, z, c] += grad[n, h, w, c]
