"""Signals that end a command after it has kept what is done."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_signals(stop: Callable[[int], bool]) -> Iterator[list[int]]:
    """Inside a `with` block, the first Ctrl-C, SIGTERM or SIGHUP calls stop(number).

    A second signal has its usual effect. So has SIGHUP if it is ignored, as with nohup. Yields a
    list, which has the number of the signal after stop() has returned True.
    """
    received = list[int]()

    def handle(number: int, _: object) -> None:
        for other, handler in before.items():
            signal.signal(other, handler)
        if stop(number):
            received.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
