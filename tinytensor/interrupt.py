"""Ctrl-C while the command `tinytensor` is being imported ends it at once, without a traceback.

The package imports this first; to whoever imports it as a library nothing changes. As soon as the
command runs, cli.main lets Ctrl-C be an exception again and says itself what becomes of it.
"""

import os
import signal
import sys
from itertools import pairwise


def is_command(arguments: list[str], of_python: list[str]) -> bool:
    """Whether a process is ours, by its sys.argv and sys.orig_argv: our script, or python -m."""
    name = os.path.basename(arguments[0]) if arguments else ""
    # Python puts "-m" there for as long as it looks for a module, and imports its package.
    return name == "tinytensor" or (name == "-m" and ("-m", "tinytensor") in pairwise(of_python))


def is_exception() -> None:
    """Let Ctrl-C be KeyboardInterrupt, as everywhere in Python."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


untouched = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if untouched and is_command(sys.argv, sys.orig_argv):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
