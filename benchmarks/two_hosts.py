"""The bits of a training on two hosts that TCP connects, also over a slow and lossy network.

    sudo python benchmarks/two_hosts.py [LESSON ...] [--steps 200] [--delay 50] [--loss 0.01]

The hosts are two network namespaces of Linux, which share no memory for messages: UCX, the layer
below MPICH, may only use TCP. Each has a TAP device. This program passes each Ethernet frame to
the other device after --delay ms, and drops the share --loss of them. The kernel's own netem
does the same, but many kernels lack it.

Prints a Markdown table: each lesson trained on 2 ranks of one host, of two hosts, and of two hosts
with delay and loss, with the start of the SHA-256 of its parameters. The exit status is 1 if they
differ.
"""

import argparse
import collections
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # of linux/if_tun.h
NAMES = ("tinytensor-a", "tinytensor-b")
ADDRESSES = ("10.99.0.1", "10.99.0.2")
REMOTE_SHELL = """#!/bin/sh
# Runs a command on a host, as ssh does: [options] HOST COMMAND
while [ "${1#-}" != "$1" ]; do shift; done
case $1 in {0}) host={2};; {1}) host={3};; esac
shift
exec ip netns exec $host sh -c "$*"
"""


def ip(*arguments: str) -> None:
    """Run the command ip."""
    subprocess.run(["ip", *arguments], check=True)


class Cable:
    """Passes frames between two TAP devices, in a separate thread.

    Args:
        devices: their file descriptors.

    Attributes:
        delay: seconds. loss: share of the frames. sent, lost: numbers of frames.
    """

    def __init__(self, devices: tuple[int, int]) -> None:
        self.delay, self.loss, self.sent, self.lost = 0.0, 0.0, 0, 0
        self._devices = devices
        self._random = random.Random(0)
        self._waiting = collections.deque[tuple[float, int, bytes]]()
        threading.Thread(target=self._pass_frames, daemon=True).start()

    def _pass_frames(self) -> None:
        with suppress(OSError):  # the devices are closed at the end
            self._pass_all_frames()

    def _pass_all_frames(self) -> None:
        while True:
            wait = self._waiting[0][0] - time.monotonic() if self._waiting else 1.0
            ready, _, _ = select.select(self._devices, [], [], max(wait, 0))
            for device in ready:
                frame = os.read(device, 65536)
                to = self._devices[device == self._devices[0]]
                self.sent += 1
                if self._random.random() < self.loss:
                    self.lost += 1
                else:
                    self._waiting.append((time.monotonic() + self.delay, to, frame))
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                _, to, frame = self._waiting.popleft()
                os.write(to, frame)


def tap(name: str) -> int:
    """Create a TAP device, and return its file descriptor."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return device


@contextmanager
def two_hosts() -> Iterator[Cable]:
    """Create two namespaces that a Cable connects; they are removed at the end."""
    with ExitStack() as stack:
        devices = []
        for i, (name, address) in enumerate(zip(NAMES, ADDRESSES, strict=True)):
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
            devices.append(tap(f"tt{i}"))
            stack.callback(os.close, devices[-1])
            ip("link", "set", f"tt{i}", "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", f"tt{i}")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", f"tt{i}", "up")
        yield Cable((devices[0], devices[1]))


def trained(lesson: str, steps: int, hosts: Path | None, shell: Path | None) -> tuple[str, float]:
    """Train a lesson on 2 ranks: the start of its SHA-256, and the ms of a step."""
    command = [sys.executable, "-m", "tinytensor", "launch", "-n", "2"]
    environment = os.environ | {"UCX_TLS": "tcp,self"}
    if hosts is not None:
        command = ["ip", "netns", "exec", NAMES[0], *command, "--hosts", str(hosts)]
        environment |= {"HYDRA_LAUNCHER": "ssh", "HYDRA_LAUNCHER_EXEC": str(shell)}
    command += ["train", lesson, "--steps", str(steps), "--eval-every", str(steps)]
    done = subprocess.run(
        [*command, "--threads", "1"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    seconds = float(lines["seconds"].split(" train ")[1].split(",")[0])
    return lines["weights"].split()[2].rstrip(","), 1000 * seconds / steps


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lessons", nargs="*", default=["1.0"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--delay", type=float, default=50.0)
    parser.add_argument("--loss", type=float, default=0.01)
    given = parser.parse_args()
    found = set()
    with tempfile.TemporaryDirectory() as name, two_hosts() as cable:
        hosts, shell = Path(name) / "hosts", Path(name) / "shell"
        hosts.write_text("".join(f"{address}:1\n" for address in ADDRESSES))
        text = REMOTE_SHELL
        for i, value in enumerate((*ADDRESSES, *NAMES)):
            text = text.replace(f"{{{i}}}", value)
        shell.write_text(text)
        shell.chmod(0o755)
        print("| lesson | network | parameters | ms a step | frames | lost |")
        print("|---|---|---|---|---|---|", flush=True)
        slow = f"two hosts, {given.delay:g} ms, {given.loss:.0%} lost"
        for lesson in given.lessons:
            for network, delay, loss in (
                ("one host", 0.0, 0.0),
                ("two hosts", 0.0, 0.0),
                (slow, given.delay / 1000, given.loss),
            ):
                cable.delay, cable.loss, sent, lost = delay, loss, cable.sent, cable.lost
                on = (None, None) if network == "one host" else (hosts, shell)
                weights, ms = trained(lesson, given.steps, *on)
                frames = f"{cable.sent - sent:,} | {cable.lost - lost:,}"
                print(f"| {lesson} | {network} | {weights} | {ms:.3g} | {frames} |", flush=True)
                found.add((lesson, weights))
    sys.exit(len(found) > len(given.lessons))


if __name__ == "__main__":
    main()
