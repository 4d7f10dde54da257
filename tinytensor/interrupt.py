"""Ctrl-C during the start of `python -m tinytensor` ends it at once, without a traceback.

Python imports the package before it runs __main__.py, and the package imports this module first. It
changes nothing if tinytensor is imported as a library. When the imports are done, __main__.py calls
raise_on_interrupt().
"""

import signal
import sys
from itertools import pairwise


def is_command(argv: list[str], orig_argv: list[str]) -> bool:
    """True if sys.argv and sys.orig_argv are those of `python -m tinytensor`."""
    # While python -m imports the package of a module, argv[0] is "-m".
    return argv[:1] == ["-m"] and ("-m", "tinytensor") in pairwise(orig_argv)


def raise_on_interrupt() -> None:
    """Make Ctrl-C raise KeyboardInterrupt, as Python does by default."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


has_default_handler = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if has_default_handler and is_command(sys.argv, sys.orig_argv):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
