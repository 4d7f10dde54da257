"""The kernels against NumPy, PyTorch, JAX where they are installed, and the machine's limits.

    python benchmarks/kernels.py [--threads 1 --threads 2] [--rounds 200] [--only matmul]

For each number of threads one process, bound to so many cores, so that every library has the same.
In it the libraries take turns, round by round, and the best time of each counts: what the machine
does besides can only add to a time. Before a kernel is timed its result is compared with NumPy's.
The ratios say how many times as long as the C backend another one takes.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import click
import numpy as np
from rich.console import Console
from rich.table import Table

BACKENDS = ("c", "numba", "numpy")
PEERS = tuple(name for name in ("torch", "jax") if find_spec(name))
REST = 0.03  # seconds: the threads of the library before spin that long before they go to sleep
LEAST_ROUNDS, SECONDS = 5, 4.0  # of a row: rounds at least, and time after which no more are made


@dataclass
class Row:
    """One kernel at one size: how to call it in each library, and what it has to do at least."""

    name: str
    calls: dict[str, Callable[[], object]]
    flops: float = 0
    bytes: float = 0
    traffic: str = ""  # what the bytes' speed is compared with: "read", "copy" or "add"


def rows_of(only: str) -> list[Row]:
    """All rows whose name contains `only`; made here, in the process that times them."""
    import tinytensor as tt
    from tinytensor import kernels

    rng = np.random.default_rng(0)

    def floats(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    def row(name, kernel_calls, peers=None, flops=0.0, bytes=0.0, traffic=""):
        """kernel_calls: (kernel, arguments) pairs, called in turn. peers: their own calls."""
        if only not in name:
            return
        calls, results = {}, {}
        for backend in BACKENDS:
            made = [
                (kernels.load_backend(backend).kernels[kernel], arguments)
                for kernel, arguments in kernel_calls
            ]

            def call(made=made):
                for kernel, arguments in made:
                    kernel(*arguments)

            calls[backend] = call
            call()
            arrays = [a for a in kernel_calls[-1][1] if isinstance(a, np.ndarray)]
            results[backend] = arrays[-1].copy()
        for backend in BACKENDS[:-1] if name != "adam 185,000" else ():  # which goes on each time
            wanted = results["numpy"]
            error = np.abs(results[backend] - wanted).max() / max(np.abs(wanted).max(), 1)
            assert error < 1e-4, f"{name} on {backend}: off by {error}"
        for peer, peer_call in (peers or {}).items():
            if peer in PEERS:
                calls[peer] = peer_call()
        rows.append(Row(name, calls, flops, bytes, traffic))

    rows: list[Row] = []
    if "torch" in PEERS:
        import torch
        import torch.nn.functional as F

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        torch.set_grad_enabled(False)
    if "jax" in PEERS:
        import jax
        import jax.numpy as jnp

    # Matrix products: x (M, K) . y (K, N), flags say which is stored transposed
    for M, K, N, tx, ty in (
        (100, 784, 10, False, False),
        (784, 100, 10, True, False),
        (100, 784, 200, False, False),
        (784, 100, 200, True, False),
        (100, 200, 784, False, True),
        (512, 512, 512, False, False),
        (1024, 1024, 1024, False, False),
        (2048, 2048, 2048, False, False),
    ):
        x, y = floats(*((K, M) if tx else (M, K))), floats(*((N, K) if ty else (K, N)))
        out = np.empty((M, N), np.float32)
        kind = "A^T.B " if tx else "A.B^T " if ty else ""

        def torch_matmul(x=x, y=y, tx=tx, ty=ty, out=out):
            a, b = torch.from_numpy(x), torch.from_numpy(y)
            a, b = a.T if tx else a, b.T if ty else b
            result = torch.empty(out.shape)
            return lambda: torch.mm(a, b, out=result)

        row(
            f"matmul {kind}{M}x{K}x{N}",
            [("matmul", (x, y, out, tx, ty))],
            {"torch": torch_matmul},
            flops=2 * M * K * N,
        )

    # Broadcasting and back
    x, bias, out = floats(10_000, 200), floats(200), floats(10_000, 200)
    row("add [10000,200]+[200]", [("add", (x, bias, out))], bytes=2 * x.nbytes, traffic="copy")
    row("sum [10000,200] to [200]", [("sum", (x, bias.copy()))], bytes=x.nbytes, traffic="read")

    # Softmax and cross-entropy
    for R, C in ((10_000, 10), (1024, 1024)):
        x, out = floats(R, C), floats(R, C)

        def torch_softmax(x=x):
            a, result = torch.from_numpy(x), torch.empty(x.shape)
            return lambda: torch.softmax(a, 1, out=result)

        row(f"softmax [{R},{C}]", [("softmax", (x, out))], {"torch": torch_softmax})
    for R, C in ((100, 10), (10_000, 10), (1024, 1024)):
        x, out, labels = floats(R, C), floats(R, C), rng.integers(0, C, R)
        loss, one = np.empty((), np.float32), np.ones((), np.float32)

        def torch_entropy(x=x, labels=labels):
            a, b = torch.from_numpy(x).requires_grad_(), torch.from_numpy(labels)

            def both():
                a.grad = None
                with torch.enable_grad():
                    F.cross_entropy(a, b).backward()

            return both

        def jax_entropy(x=x, labels=labels, R=R):
            def mean_loss(x, labels):
                return -jnp.mean(jax.nn.log_softmax(x)[jnp.arange(R), labels])

            function = jax.jit(jax.value_and_grad(mean_loss))
            a, b = jnp.asarray(x), jnp.asarray(labels)
            return lambda: jax.block_until_ready(function(a, b))

        row(
            f"cross-entropy, both ways [{R},{C}]",
            [
                ("cross_entropy", (x, labels, loss)),
                ("cross_entropy_backward", (one, x, labels, out)),
            ],
            {"torch": torch_entropy, "jax": jax_entropy},
        )

    # Convolutions: images (100, S, S, I), windows k x k, O channels; of the first layer no gradient
    # of the images is needed
    for lesson, layers in {
        "3.0": ((28, 1, 5, 4, 1), (28, 4, 5, 8, 2), (14, 8, 4, 12, 2)),
        "3.1": ((28, 1, 6, 6, 1), (28, 6, 5, 12, 2), (14, 12, 4, 24, 2)),
        "4.2": ((28, 1, 6, 24, 1), (28, 24, 5, 48, 2), (14, 48, 4, 64, 2)),
    }.items():
        for number, (S, I, k, O, s) in enumerate(layers, start=1):  # noqa: E741
            model = tt.nn.Conv2d(I, O, k, stride=s, bias=None)
            result = model(tt.from_numpy(floats(100, S, S, I))).shape
            T = result[1]
            before = max((T - 1) * s + k - S, 0) // 2
            x, weight = floats(100, S, S, I), floats(k, k, I, O) / np.float32(k * I**0.5)
            grad, out = floats(*result), np.empty(result, np.float32)
            grad_x, grad_weight = np.empty_like(x), np.empty_like(weight)
            strides, pads = (s, s), (before, before)
            calls = [("conv2d", (x, weight, out, strides, pads))]
            if number > 1:
                calls.append(("conv2d_grad_x", (grad, weight, grad_x, strides, pads)))
            calls.append(("conv2d_grad_weight", (x, grad, grad_weight, strides, pads)))

            def torch_conv(x=x, weight=weight, grad=grad, s=s, first=number == 1, channels_last=0):
                total = max((grad.shape[1] - 1) * s + weight.shape[0] - x.shape[1], 0)
                layout = torch.channels_last if channels_last else torch.contiguous_format
                a = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
                b = torch.from_numpy(weight).permute(3, 2, 0, 1).contiguous(memory_format=layout)
                g = torch.from_numpy(grad).permute(0, 3, 1, 2).contiguous(memory_format=layout)
                if total % 2:  # torch pads both sides alike: pad the images beforehand, untimed
                    a = F.pad(a, (total // 2, total - total // 2) * 2)
                    a, total = a.contiguous(memory_format=layout), 0
                p, backward = (total // 2,) * 2, torch.ops.aten.convolution_backward
                mask = [not first, True, False]
                rest = (s, s), p, (1, 1), False, (0, 0), 1, mask

                def three():
                    F.conv2d(a, b, stride=s, padding=p)
                    backward(g, a, b, None, *rest)

                return three

            row(
                f"conv {lesson} layer {number}",
                calls,
                {
                    "torch": lambda f=torch_conv: fastest(f(), f(channels_last=1)),
                },
                flops=2 * len(calls) * 100 * T * T * k * k * I * O,
            )

    # The optimiser
    n = 185_000
    grad, m, v, param = floats(n), floats(n), np.abs(floats(n)), floats(n)

    def torch_adam():
        p = torch.nn.Parameter(torch.from_numpy(param.copy()))
        p.grad = torch.from_numpy(grad)
        return torch.optim.Adam([p], lr=1e-3, fused=True).step

    row(
        "adam 185,000",
        [
            ("adam", (grad, np.array(1e-3), np.array(3.0), m, v, param, 0.9, 0.999, 1e-8, 0.0)),
        ],
        {"torch": torch_adam},
        bytes=28 * n,
        traffic="add",
    )

    # What an op costs that has nothing to do
    if "overhead" in "overhead of add" and only in "overhead of add":
        x, w = tt.ones(1), tt.ones(1, requires_grad=True)
        rows.append(Row("overhead of add, no gradient", {"c": lambda: x + x}))
        rows.append(Row("overhead of add, recorded", {"c": lambda: w + x}))
        if "torch" in PEERS:
            a, b = torch.ones(1), torch.ones(1, requires_grad=True)
            rows[-2].calls["torch"] = lambda: a + a

            def recorded():
                with torch.enable_grad():
                    return b + a

            rows[-1].calls["torch"] = recorded
    return rows


def fastest(*calls: Callable[[], object]) -> Callable[[], object]:
    """The one of several ways that takes the least time here."""
    return min(calls, key=lambda call: min(timed(call) for _ in range(7)))


def timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def measure(only: str, rounds: int) -> list[dict]:
    """Time all rows in this process, and beside each what the machine can do at most."""
    import tinytensor as tt
    from tinytensor import machine

    threads = len(os.sched_getaffinity(0))
    tt.set_backend("c")
    tt.set_num_threads(threads)
    measured = []
    for row in rows_of(only):
        began = time.perf_counter()
        times: dict[str, list[float]] = {name: [] for name in row.calls}
        for number in range(rounds):
            if number >= LEAST_ROUNDS and time.perf_counter() - began > SECONDS:
                break
            for name, call in row.calls.items():
                if number >= LEAST_ROUNDS and min(times[name]) > 20 * min(times["c"]):
                    continue  # far behind: a few rounds tell that
                time.sleep(REST)
                if min(times[name], default=1) < 1e-2:
                    timed(call)  # the caches are this one's again, and its threads awake
                times[name].append(timed(call))
        best = {name: min(all_of_it) for name, all_of_it in times.items()}
        work, most = row.flops, 0.0
        if row.flops:
            most = machine.peak_flops(threads)
        elif row.traffic:
            work, most = row.bytes, machine.memory_bandwidth(int(row.bytes), threads, row.traffic)
        measured.append({"name": row.name, "work": work, "most": most, "best": best})
    return measured


def with_sums(measured: list[dict]) -> list[dict]:
    """The rows, and behind a lesson's layers their sum."""
    rows = []
    for number, row in enumerate(measured):
        rows.append(row)
        lesson, _, layer = row["name"].partition(" layer ")
        if layer == "3":
            layers = measured[number - 2 : number + 1]
            best = {name: sum(one["best"][name] for one in layers) for name in row["best"]}
            work, most = sum(one["work"] for one in layers), row["most"]
            rows.append({"name": f"{lesson} together", "work": work, "most": most, "best": best})
    return rows


def show(threads: int, measured: list[dict]) -> None:
    others = [name for name in (*BACKENDS, *PEERS) if name != "c"]
    table = Table(title=f"{threads} thread(s): microseconds in C; others as multiples of it")
    table.add_column("kernel")
    for heading in ("C, us", *others, "10^9 a second", "of most"):
        table.add_column(heading, justify="right")
    for row in with_sums(measured):
        best = row["best"]
        ratios = [f"{best[name] / best['c']:.2f}" if name in best else "" for name in others]
        speed, most = row["work"] / best["c"], row["most"]
        unit = "FLOP" if "matmul" in row["name"] or "conv" in row["name"] else "B"
        table.add_row(
            row["name"], f"{best['c'] * 1e6:,.1f}", *ratios,
            f"{speed / 1e9:.0f} {unit}" if most else "", f"{speed / most:.0%}" if most else "",
        )  # fmt: skip
    Console(width=110).print(table)


@click.command(help=__doc__, context_settings={"max_content_width": 100})
@click.option("--threads", type=int, multiple=True, default=(1, 2), show_default=True)
@click.option("--rounds", default=200, show_default=True)
@click.option("--only", default="", help="Rows whose name contains this.")
@click.option("--json", "as_json", is_flag=True, help="Measure here and print JSON.")
def main(threads: tuple[int, ...], rounds: int, only: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(measure(only, rounds)))
        return
    cores = sorted(os.sched_getaffinity(0))
    for count in threads:
        if count > len(cores):
            print(f"{count} threads: there are {len(cores)} cores", file=sys.stderr)
            continue
        command = [sys.executable, __file__, "--json", "--rounds", str(rounds), "--only", only]
        bind = lambda count=count: os.sched_setaffinity(0, cores[:count])  # noqa: E731
        done = subprocess.run(command, stdout=subprocess.PIPE, preexec_fn=bind, check=True)
        show(count, json.loads(done.stdout))


if __name__ == "__main__":
    main()
