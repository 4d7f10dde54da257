"""Training steps larger than those of the lessons, next to PyTorch's and NumPy's.

    python benchmarks/larger_steps.py [NAME ...] [--threads 1] [--rounds 15]

`--help` has the names. All libraries start with the same weights, and their first losses are
compared. The steps are captured and take turns. Prints the shortest and the median time of each, in
milliseconds, and the ratio of the shortest time to tinytensor's.
"""

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable

import numpy as np

import tinytensor as tt
from tinytensor import door, nn
from tinytensor.arrays import Array
from tinytensor.bench import own_steps
from tinytensor.bench.peers import numpy_by_hand
from tinytensor.bench.task import Steps, Task
from tinytensor.optim import Adam

try:
    import torch
    from torch.nn import functional

    from tinytensor.bench.peers import torch_steps
except ImportError:
    torch = None

TOLERANCE = 1e-4  # relative, of the first losses
Step = Callable[[], float]


# Networks that are a list of layers ---------------------------------------------------------------


def steps_of(task: Task) -> dict[str, Step]:
    """The step of each library."""
    found = {"tinytensor": one_by_one(own_steps.captured(task))}
    if torch is not None:
        found["torch"] = one_by_one(torch_steps.eager(task))
    if not task.is_convolutional:
        found["numpy"] = one_by_one(numpy_by_hand.steps_of(task))
    return found


def one_by_one(steps: Steps) -> Step:
    """A function that makes the next step, and returns its loss."""
    numbers = itertools.count()
    return lambda: float(steps(range(number := next(numbers), number + 1))[0])


def random_task(shape: tuple[int, ...], *layers: nn.Module) -> Task:
    """A network on random images of a shape (H, W) or (H, W, C), 100 in a batch."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1000, *shape), np.uint8)
    labels = rng.integers(0, 10, 1000)
    model = nn.Sequential(*layers)
    optimizer = Adam(model.parameters(), lr=1e-4)
    return Task(model, optimizer, images, labels, np.arange(1000).reshape(10, 100))


def wide() -> dict[str, Step]:
    """784-2048-2048-10 with ReLU."""
    dense = [nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10)]
    return steps_of(random_task((28, 28), nn.Flatten(), *dense))


def colour() -> dict[str, Step]:
    """Four convolutions and a dense layer."""
    sizes = (3, 64, 1), (64, 64, 2), (64, 128, 1), (128, 128, 2)
    layers = [
        layer
        for inputs, outputs, stride in sizes
        for layer in (nn.Conv2d(inputs, outputs, 3, stride=stride), nn.ReLU())
    ]
    return steps_of(random_task((32, 32, 3), *layers, nn.Flatten(), nn.Linear(8 * 8 * 128, 10)))


# A transformer block ------------------------------------------------------------------------------

BATCH, TOKENS, SIZE, HEADS = 16, 64, 128, 4


class Block(nn.Module):
    """x + attention(norm(x)), then x + layers(norm(x)).

    One layer computes query, key and value. docs/guides/attention.md has three layers for them.
    """

    def __init__(self) -> None:
        self.norm1, self.norm2 = nn.LayerNorm(SIZE), nn.LayerNorm(SIZE)
        self.qkv, self.out = nn.Linear(SIZE, 3 * SIZE), nn.Linear(SIZE, SIZE)
        self.up, self.down = nn.Linear(SIZE, 4 * SIZE), nn.Linear(4 * SIZE, SIZE)

    def forward(self, x: tt.Tensor) -> tt.Tensor:
        parts = self.qkv(self.norm1(x)).reshape(BATCH, TOKENS, 3, HEADS, SIZE // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.swapaxes(-1, -2) / math.sqrt(SIZE // HEADS)
        heads = tt.softmax(scores, axis=-1) @ value
        x = x + self.out(heads.swapaxes(1, 2).reshape(x.shape))
        return x + self.down(tt.gelu(self.up(self.norm2(x))))


def own_step(block: Block, x: Array, target: Array) -> Step:
    """A captured step that returns its loss."""
    optimizer = tt.optim.Adam(block.parameters(), lr=1e-3)

    @tt.capture
    def step(x: tt.Tensor, target: tt.Tensor) -> tt.Tensor:
        loss = tt.mse_loss(block(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    arguments = tt.tensor(x), tt.tensor(target)
    return lambda: step(*arguments).item()


def torch_step(block: Block, x: Array, target: Array) -> Step:
    """PyTorch's step with the same weights, its fused attention and its fused Adam."""
    names = ("norm1", "norm2", "qkv", "out", "up", "down")
    weights = {  # as in PyTorch's layers, which store transposed matrices
        f"{name}.{part}": torch.from_numpy(w.numpy().T.copy()).requires_grad_()
        for name in names
        for part, w in getattr(block, name).named_parameters()
    }
    optimizer = torch.optim.Adam(list(weights.values()), lr=1e-3, fused=True)
    x, target = torch.from_numpy(x), torch.from_numpy(target)

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        scale, offset = weights[f"{name}.scale"], weights[f"{name}.offset"]
        return functional.layer_norm(x, (SIZE,), scale, offset)

    def forward(x: torch.Tensor) -> torch.Tensor:
        parts = linear("qkv", norm("norm1", x)).reshape(BATCH, TOKENS, 3, HEADS, SIZE // HEADS)
        heads = functional.scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4))
        x = x + linear("out", heads.transpose(1, 2).reshape(x.shape))
        return x + linear("down", functional.gelu(linear("up", norm("norm2", x))))

    def step() -> float:
        loss = functional.mse_loss(forward(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def block() -> dict[str, Step]:
    """The block on random values."""
    tt.manual_seed(0)
    model, rng = Block(), np.random.default_rng(0)
    x, target = (rng.standard_normal((BATCH, TOKENS, SIZE)).astype(np.float32) for _ in range(2))
    others = {"torch": torch_step(model, x, target)} if torch is not None else {}
    return {"tinytensor": own_step(model, x, target), **others}


# Measuring ----------------------------------------------------------------------------------------

NETWORKS: dict[str, Callable[[], dict[str, Step]]] = {
    "batch-1000": lambda: steps_of(Task.of("2.1", batch=1000)),
    "batch-10000": lambda: steps_of(Task.of("2.1", batch=10_000)),
    "wide": wide,
    "colour": colour,
    "block": block,
}
NAMES = """the networks:
  batch-1000   lesson 2.1 with batches of 1,000 images, also in NumPy written by hand
  batch-10000  the same with 10,000 images
  wide         dense layers 784-2048-2048-10 with ReLU and Adam, batch 100, also in NumPy
  colour       four convolutions (3x3, 64 to 128 channels) on 100 images of 32x32x3, Adam
  block        a transformer block with one layer for query, key and value: 16 sequences of
               64 elements, 128 features, 4 heads, Adam
"""


def measure(name: str, rounds: int) -> None:
    """Compare the first losses of a network, then time the steps in turns, and print the times."""
    steps = NETWORKS[name]()
    losses = {library: [step() for _ in range(3)] for library, step in steps.items()}
    for found in losses.values():
        np.testing.assert_allclose(found, losses["tinytensor"], rtol=TOLERANCE)
    times: dict[str, list[float]] = {library: [] for library in steps}
    for _ in range(rounds):
        for library, step in steps.items():
            step()  # loads the caches, which the other libraries have overwritten
            start = time.perf_counter()
            step()
            times[library].append(1000 * (time.perf_counter() - start))
    for library, found in times.items():
        best, median = min(found), statistics.median(found)
        ratio = best / min(times["tinytensor"])
        print(f"{name:12} {library:11} {best:8.2f} ms, median {median:8.2f} ms, ratio {ratio:.2f}")


def main() -> None:
    """Measure the networks that are named, by default all."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        epilog=NAMES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = ", ".join(NETWORKS)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"networks to measure, from {known} [all]"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of each library [%(default)s]"
    )
    parser.add_argument(
        "--rounds", type=int, default=15, help="measured steps of each library [%(default)s]"
    )
    parser.add_argument(
        "--backend",
        default="auto",
        choices=("auto", *door.BACKENDS),
        help="backend of tinytensor [%(default)s]",
    )
    options = parser.parse_args()
    for name in options.names:
        if name not in NETWORKS:
            parser.error(f"got {name!r}; choose from {known}")
    for name in ("threads", "rounds"):
        if getattr(options, name) < 1:
            parser.error(f"got --{name} {getattr(options, name)}; 1 or more is needed")

    tt.set_backend(options.backend)
    tt.set_num_threads(options.threads)
    numpy_by_hand.set_threads(options.threads)
    if torch is None:
        print("PyTorch is not installed, so there is no comparison with it.")
    else:
        torch.set_num_threads(options.threads)
    for name in options.names or NETWORKS:
        measure(name, options.rounds)


if __name__ == "__main__":
    main()
