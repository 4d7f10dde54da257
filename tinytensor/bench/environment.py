"""What a process is started with that is timed. It imports little: its import is timed, too."""

import os
import sys

UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # NumPy's own choice of kernels is the fastest


def environment() -> dict[str, str]:
    """The variables: it finds what is found here."""
    settings = {key: value for key, value in os.environ.items() if key not in UNSET}
    return settings | {"PYTHONPATH": os.pathsep.join(sys.path)}
