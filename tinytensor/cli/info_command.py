"""`tinytensor info`: versions, backends, and the machine."""

import os
import platform
import shutil

import click
import numpy as np

from tinytensor import door
from tinytensor.errors import BackendUnavailable, TinytensorError
from tinytensor.plural import plural


def print_info(measure: bool, verbose: bool) -> None:
    """Run `tinytensor info`; tinytensor_command.commands has its options."""
    states = door.backend_states()
    lines = [("tinytensor", _version("tinytensor-engine"))]
    lines += [
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    ]
    lines += [(name, _version(name)) for name in ("numpy", "numba", "cffi")]
    lines += [("cores", str(os.cpu_count()))]
    lines += [("compiler", _compiler(states["c"])), ("cpu features", _cpu_features(states["c"]))]
    for name, state in states.items():
        if isinstance(state, door.Backend):
            text = f"ready: {state.description}; {plural(state.num_threads, 'thread')}"
            if state.on_numpy:
                text += f"; computed by NumPy: {', '.join(state.on_numpy)}"
        else:
            text = f"not usable: {str(state).removeprefix(f'{name}: ')}"
        lines.append((f"backend {name}", text))
    wrong = None
    try:
        lines.append(("in use", door.current_backend().name))
    except TinytensorError as error:
        wrong = error
        lines.append(("in use", f"none: {error}"))
    if measure:
        lines += _peaks()
    for name, text in lines:
        click.echo(f"{name:15}{text}")
    if verbose:
        for name, state in states.items():
            if isinstance(state, BackendUnavailable) and state.details:
                click.echo(f"\nThe output when {name} was compiled:\n{state.details.rstrip()}")
    if wrong:
        raise wrong


def _peaks() -> list[tuple[str, str]]:
    """Peak FLOP/s, and bandwidth by working set, for one thread and for all threads."""
    from tinytensor import machine

    most = door.load_backend("c").num_threads
    lines = [("processor", machine.cpu_name())]
    for threads in dict.fromkeys((1, most)):
        on = f"on {plural(threads, 'thread')}"
        peak = machine.peak_flops(threads, seconds=0.3) / 1e9
        lines.append(("peak", f"{peak:.0f} GFLOP/s in float32 {on}"))
        for kib in (16, 256, 4096, 262_144):
            speeds = ", ".join(
                f"{machine.memory_bandwidth(kib << 10, threads, traffic) / 1e9:.0f} GB/s {traffic}"
                for traffic in machine.ARRAYS
            )
            size = f"{kib} KiB" if kib < 1024 else f"{kib >> 10} MiB"
            lines.append((f"memory {size}", f"{speeds} {on}"))
    return lines


def _compiler(c: door.Backend | TinytensorError) -> str:
    """The compiler that compiled the C backend, or that would compile it."""
    if isinstance(c, door.Backend):
        return c.description.partition(",")[0]
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return f"none yet; {path} would compile the C backend"
    return "none: no cc, gcc or clang was found"


def _cpu_features(c: door.Backend | TinytensorError) -> str:
    """The instruction set in use by C and those available, and those that NumPy has found."""
    in_c = ""
    if isinstance(c, door.Backend):
        from tinytensor.backends import c_backend  # raises if C does not work here

        in_c = f"{c_backend.SIMD} in C (available: {', '.join(c_backend.AVAILABLE)}); "
    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    return f"{in_c}{' '.join(found) or 'baseline'} in NumPy"


def _version(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # slow to import

    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
