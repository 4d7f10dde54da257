"""Ctrl-C while the command `tinytensor` is being imported ends it at once, without a traceback.

The package imports this first; to whoever imports it as a library nothing changes. As soon as the
command runs, cli.main lets Ctrl-C be an exception again and says itself what becomes of it.
"""

import os
import signal
import sys


def is_command(arguments: list[str]) -> bool:
    """Whether a process with these arguments is ours: its script, or python -m tinytensor."""
    # Python puts "-m" there for as long as it looks for the module, and imports its package.
    return [os.path.basename(name) for name in arguments[:1]] in (["tinytensor"], ["-m"])


def is_exception() -> None:
    """Let Ctrl-C be KeyboardInterrupt, as everywhere in Python."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if is_command(sys.argv) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
