"""PyTorch: eager steps with a fused optimizer, and the whole step under torch.compile."""

import math
import time

import torch
from torch.nn.functional import cross_entropy

import tinytensor as tt
from tinytensor import nn
from tinytensor.arrays import Array
from tinytensor.bench.task import Steps, Task, Unsupported, same_padding, stride_of


def set_threads(threads: int) -> int:
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    return torch.get_num_threads()


def eager(task: Task) -> Steps:
    """Steps with autograd and a fused optimizer, in the fastest memory layout."""
    layouts = [torch.contiguous_format]
    if task.is_convolutional:
        layouts.append(torch.channels_last)
    fastest = min(layouts, key=lambda layout: seconds(eager_in(task, layout)))
    return eager_in(task, fastest)


def seconds(run: Steps) -> float:
    """The best time of 6 steps, in seconds."""
    times = []
    for number in range(6):
        start = time.perf_counter()
        run(range(number, number + 1))
        times.append(time.perf_counter() - start)
    return min(times)


def eager_in(task: Task, layout: torch.memory_format) -> Steps:
    torch.manual_seed(0)
    model = network(task).to(memory_format=layout)
    kind = torch.optim.SGD if isinstance(task.optimizer, tt.optim.SGD) else torch.optim.Adam
    optimizer = kind(model.parameters(), lr=task.rate(0), fused=True)
    images, labels = data_of(task)

    def step(chosen: torch.Tensor, rate: float) -> torch.Tensor:
        x = images.index_select(0, chosen).to(torch.float32, memory_format=layout).mul_(1 / 255)
        loss = cross_entropy(model(x), labels.index_select(0, chosen))
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        return loss.detach()

    def run(steps: range) -> Array:
        chosen = torch.from_numpy(task.batches(steps))
        rates = map(task.rate, steps)
        return torch.stack(list(map(step, chosen, rates))).numpy()

    return run


def compiled(task: Task) -> Steps:
    """The whole step as one graph, with functional gradients and the update written out.

    loss.backward() and optimizer.step() would each break the graph.
    """
    torch._dynamo.reset()  # because torch compiles a limited number of versions of a function
    layout = torch.channels_last if task.is_convolutional else torch.contiguous_format
    torch.manual_seed(0)
    model = network(task).to(memory_format=layout)
    params = {name: param.detach() for name, param in model.named_parameters()}
    buffers = dict(model.named_buffers())
    m, v = ({name: torch.zeros_like(x) for name, x in params.items()} for _ in range(2))
    images, labels = data_of(task)
    is_sgd = isinstance(task.optimizer, tt.optim.SGD)

    def loss_of(params: dict[str, torch.Tensor], x: torch.Tensor, labels: torch.Tensor):
        logits = torch.func.functional_call(model, (params, buffers), (x,))
        return cross_entropy(logits, labels)

    @torch.compile(fullgraph=True)
    def step(chosen: torch.Tensor, rate: torch.Tensor, epsilon: torch.Tensor) -> torch.Tensor:
        x = images.index_select(0, chosen).to(torch.float32, memory_format=layout).mul_(1 / 255)
        found = torch.func.grad_and_value(loss_of)
        grads, loss = found(params, x, labels.index_select(0, chosen))
        for name, param in params.items():
            if is_sgd:
                param.sub_(rate * grads[name])
            else:  # Kingma and Ba, 2015; bias corrections are folded into rate and epsilon
                m[name].lerp_(grads[name], 0.1)
                v[name].lerp_(grads[name].square(), 0.001)
                param.sub_(rate * m[name] / (v[name].sqrt() + epsilon))
        return loss

    # Tensors, because a change of a Python number would compile the step again.
    rate, epsilon = torch.zeros(()), torch.zeros(())

    def run(steps: range) -> Array:
        losses = []
        for number, chosen in zip(steps, torch.from_numpy(task.batches(steps)), strict=True):
            root = 1.0 if is_sgd else math.sqrt(1 - 0.999 ** (number + 1))
            rate.fill_(task.rate(number) * (1.0 if is_sgd else root / (1 - 0.9 ** (number + 1))))
            epsilon.fill_(1e-8 * root)
            try:
                losses.append(step(chosen, rate, epsilon))
            except torch._dynamo.exc.TorchDynamoException as error:
                (reason, *_) = str(error).strip().splitlines() or ["no error message"]
                raise Unsupported(f"torch.compile fails: {reason}") from error
        return torch.stack(losses).numpy()

    return run


def data_of(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, C, H, W) uint8 and labels (N,) int64."""
    images = torch.tensor(task.images)
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return images, torch.tensor(task.labels)


def network(task: Task) -> torch.nn.Module:
    """The network in PyTorch, with the same first weights."""
    modules: list[torch.nn.Module] = []
    side = task.images.shape[1]
    for layer in task.layers:
        match layer:
            case nn.Conv2d():
                modules += convolution(layer, side)
                side = -(-side // stride_of(layer))
            case nn.Linear():
                inputs, outputs = layer.weight.shape
                dense = torch.nn.Linear(inputs, outputs, bias=layer.bias is not None)
                modules.append(with_values(dense, layer.weight.numpy().T, layer.bias))
            case nn.BatchNorm():
                modules.append(BatchNorm(layer))
            case nn.Dropout():
                modules.append(torch.nn.Dropout(1 - layer.keep_prob))
            case nn.ReLU():
                modules.append(torch.nn.ReLU(inplace=True))
            case nn.Sigmoid():
                modules.append(torch.nn.Sigmoid())
            case nn.Flatten():
                modules.append(Flatten())
    return torch.nn.Sequential(*modules)


def convolution(layer: nn.Conv2d, side: int) -> list[torch.nn.Module]:
    """A convolution, after a padding layer if the padding differs between the two sides.

    Filters (KH, KW, I, O) are transposed to (O, I, KH, KW).
    """
    size, _, inputs, outputs = layer.weight.shape
    before, after = same_padding(side, size, stride_of(layer))
    padding = before if before == after else 0
    conv = torch.nn.Conv2d(
        inputs, outputs, size, layer.stride, padding, bias=layer.bias is not None
    )
    with_values(conv, layer.weight.numpy().transpose(3, 2, 0, 1), layer.bias)
    even = before == after
    return [conv] if even else [torch.nn.ZeroPad2d((before, after, before, after)), conv]


def with_values(layer: torch.nn.Module, weight: Array, bias: tt.Tensor | None) -> torch.nn.Module:
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias.numpy()))
    return layer


class Flatten(torch.nn.Module):
    """Flattens NCHW images in the order H, W, C; no copy in the layout channels_last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class BatchNorm(torch.nn.Module):
    """Batch norm with offset only, as in some lessons; torch.nn.BatchNorm has both or neither."""

    def __init__(self, layer: nn.BatchNorm) -> None:
        super().__init__()
        self.weight = parameter(layer.scale)
        self.bias = parameter(layer.offset)
        self.register_buffer("mean", torch.tensor(layer.mean.numpy()))
        self.register_buffer("var", torch.tensor(layer.var.numpy()))
        self.momentum, self.epsilon = 1 - layer.decay, layer.epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.batch_norm(
            x, self.mean, self.var, self.weight, self.bias, True, self.momentum, self.epsilon
        )


def parameter(x: tt.Tensor | None) -> torch.nn.Parameter | None:
    return None if x is None else torch.nn.Parameter(torch.tensor(x.numpy()))
