"""PyTorch's functions for tinytensor's kernels; results are written to existing arrays."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from tinytensor.arrays import Array
from tinytensor.bench.cases import Case, TimedCall
from tinytensor.bench.task import Unsupported, same_padding

aten = torch.ops.aten


def call_of(case: Case) -> TimedCall:
    """The case in PyTorch.  Raises Unsupported if PyTorch has no function for the kernel."""
    torch.set_grad_enabled(False)
    *arrays, out = [torch.from_numpy(x) for x in case.arguments() if isinstance(x, np.ndarray)]
    if case.kernel in CONVOLUTIONS:
        return convolution(case, *arrays, out)
    if case.kernel == "adam":
        return adam(case)
    if case.kernel not in CALLS:
        raise Unsupported("PyTorch has no such function")
    run = CALLS[case.kernel](case, *arrays, out)
    return TimedCall(run, lambda: [run().numpy()])


TorchCall = Callable[[], torch.Tensor]


def matmul(case: Case, x: torch.Tensor, y: torch.Tensor, out: torch.Tensor) -> TorchCall:
    transpose_x, transpose_y = case.scalars
    x, y = x.mT if transpose_x else x, y.mT if transpose_y else y
    return lambda: torch.matmul(x, y, out=out)


def into_out(function: Callable) -> Callable:
    """A call of a function with the same input arrays and an argument `out`."""
    return lambda case, *arrays: lambda: function(*arrays[:-1], out=arrays[-1])


def summed(case: Case, x: torch.Tensor, out: torch.Tensor) -> TorchCall:
    shape = (1,) * (x.ndim - out.ndim) + tuple(out.shape)
    axes = [axis for axis in range(x.ndim) if shape[axis] != x.shape[axis]]
    keepdim = out.ndim == x.ndim
    return lambda: torch.sum(x, axes, keepdim=keepdim, out=out)


def cross_entropy(
    case: Case, logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, _
) -> TorchCall:
    return lambda: functional.cross_entropy(logits, labels)  # the weight is 1 / R


CALLS: dict[str, Callable[..., TorchCall]] = {
    "matmul": matmul,
    "add": into_out(torch.add),
    "sub": into_out(torch.sub),
    "mul": into_out(torch.mul),
    "sigmoid": into_out(torch.sigmoid),
    "relu": lambda case, x, out: lambda: torch.clamp_min(x, 0, out=out),
    "relu_backward": lambda case, grad, x, _: lambda: aten.threshold_backward(grad, x, 0),
    "sum": summed,
    "softmax": lambda case, x, out: lambda: torch.softmax(x, 1, out=out),
    "cross_entropy": cross_entropy,
}
CONVOLUTIONS = ("conv2d", "conv2d_grad_x", "conv2d_grad_weight")


def convolution(case: Case, *arrays: torch.Tensor) -> TimedCall:
    """A convolution in the fastest memory layout; its inputs are converted before timing."""
    layouts = torch.contiguous_format, torch.channels_last
    return min((in_layout(case, layout, *arrays) for layout in layouts), key=seconds)


def in_layout(case: Case, layout: torch.memory_format, *arrays: torch.Tensor) -> TimedCall:
    (stride, _), _ = case.scalars

    def images(x: torch.Tensor) -> torch.Tensor:  # NHWC -> NCHW
        return x.permute(0, 3, 1, 2).contiguous(memory_format=layout)

    def filters(x: torch.Tensor) -> torch.Tensor:  # HWIO -> OIHW
        return x.permute(3, 2, 0, 1).contiguous(memory_format=layout)

    if case.kernel == "conv2d":
        x, weight, _ = arrays
        grad = torch.empty(arrays[2].shape)
    elif case.kernel == "conv2d_grad_x":
        grad, weight, x = arrays
    else:
        x, grad, weight = arrays
    before, after = same_padding(x.shape[1], weight.shape[0], stride)
    x, weight, grad = images(x), filters(weight), images(grad)
    if before != after:  # torch pads both sides equally: pad the images before timing
        x = functional.pad(x, (before, after, before, after)).contiguous(memory_format=layout)
    sides = (before,) * 2 if before == after else (0, 0)
    common = (stride,) * 2, sides, (1, 1), False, (0, 0), 1

    def run() -> torch.Tensor:
        if case.kernel == "conv2d":
            return functional.conv2d(x, weight, stride=stride, padding=sides)
        wanted = [case.kernel == "conv2d_grad_x", case.kernel == "conv2d_grad_weight", False]
        found = aten.convolution_backward(grad, x, weight, None, *common, wanted)
        return found[0 if wanted[0] else 1]

    def outputs() -> list[Array]:
        result = run()
        if case.kernel == "conv2d_grad_weight":
            return [result.permute(2, 3, 1, 0).numpy()]
        result = result.permute(0, 2, 3, 1)
        if case.kernel == "conv2d_grad_x" and before != after:
            result = result[:, before : result.shape[1] - after, before : result.shape[2] - after]
        return [result.numpy()]

    return TimedCall(run, outputs)


def seconds(timed: TimedCall) -> float:
    """The best time of 5 calls, in seconds."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        timed.run()
        times.append(time.perf_counter() - start)
    return min(times)


def adam(case: Case) -> TimedCall:
    """PyTorch's fused Adam, with its step counter set to the case's step."""
    grad, lr, step, m, v, param, beta1, beta2, epsilon, weight_decay = case.arguments()
    if weight_decay:
        raise Unsupported("PyTorch's Adam defines weight decay differently")
    x = torch.nn.Parameter(torch.from_numpy(param))
    x.grad = torch.from_numpy(grad)
    optimizer = torch.optim.Adam(
        [x], lr=float(lr[0]), betas=(beta1, beta2), eps=epsilon, fused=True
    )
    state = {"step": torch.tensor(float(step[0]) - 1)}
    optimizer.state[x] = state | {"exp_avg": torch.from_numpy(m), "exp_avg_sq": torch.from_numpy(v)}
    return TimedCall(optimizer.step, lambda: [m, v, param])
