"""`tinytensor info`: what works here, and what it runs on."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

import click
import numpy as np

from tinytensor import door
from tinytensor.cli.output import plural
from tinytensor.errors import TinytensorError


@click.command("info")
@click.option("--measure", is_flag=True, help="Also the most that this machine can do, measured.")
def info_command(measure: bool) -> None:
    """Tell the version, which backends work here, and what they run on.

    Exit code 2 if the one that TINYTENSOR_BACKEND asks for doesn't.
    """
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
                text += f"; on NumPy: {', '.join(state.on_numpy)}"
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
    if wrong:
        raise wrong


def _peaks() -> list[tuple[str, str]]:
    """The most that one thread and all of them do: arithmetic, and traffic by working set."""
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
    """What compiled the C backend, or would."""
    if isinstance(c, door.Backend):
        return c.description.partition(",")[0]
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return f"none yet; {path} would compile the C backend"
    return "none: no cc, gcc or clang was found"


def _cpu_features(c: door.Backend | TinytensorError) -> str:
    """The instruction sets in C, with the one in use, and beyond the baseline in NumPy."""
    in_c = ""
    if isinstance(c, door.Backend):
        from tinytensor.backends import c_backend  # can't be imported where C doesn't work

        in_c = f"{c_backend.SIMD} in C (there are {', '.join(c_backend.AVAILABLE)}); "
    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    return f"{in_c}{' '.join(found) or 'baseline'} in NumPy"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
