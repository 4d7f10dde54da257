"""The training step of a transformer block, next to PyTorch's if it is installed.

    python benchmarks/transformer.py [--threads 1] [--rounds 25] [--backend auto]

The block of docs/guides/attention.md has 16 sequences of 64 elements, 128 features, 4 heads, and
Adam. Both libraries start with the same weights, and their first losses are compared. Their steps
take turns. Prints the shortest and the median time of each, in milliseconds.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import numpy as np

import tinytensor as tt
from tinytensor import nn
from tinytensor.arrays import Array

BATCH, TOKENS, SIZE, HEADS = 16, 64, 128, 4
TOLERANCE = 1e-5  # relative, of the first losses
Step = Callable[[], float]


class Block(nn.Module):
    """x + attention(norm(x)), then x + layers(norm(x))."""

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


def torch_step(block: Block, x: Array, target: Array, threads: int) -> Step:
    """PyTorch's step with the same weights, its fused attention and its fused Adam."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
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


def main() -> None:
    """Compare the first losses, then time the steps in turns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()

    tt.set_backend(options.backend)
    tt.set_num_threads(options.threads)
    tt.manual_seed(0)
    block, rng = Block(), np.random.default_rng(0)
    x, target = (rng.standard_normal((BATCH, TOKENS, SIZE)).astype(np.float32) for _ in range(2))
    steps = {}
    try:
        steps["torch"] = torch_step(block, x, target, options.threads)
    except ImportError:
        print("PyTorch is not installed, so there is no comparison.")
    steps["tinytensor"] = own_step(block, x, target)

    losses = {name: [step() for _ in range(3)] for name, step in steps.items()}
    for found in losses.values():
        np.testing.assert_allclose(found, losses["tinytensor"], rtol=TOLERANCE)

    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(1000 * (time.perf_counter() - start))
    for name, found in times.items():
        print(f"{name:11} {min(found):6.2f} ms, median {statistics.median(found):6.2f} ms")
    if "torch" in times:
        print(f"torch / tinytensor: {min(times['torch']) / min(times['tinytensor']):.2f}")


if __name__ == "__main__":
    main()
