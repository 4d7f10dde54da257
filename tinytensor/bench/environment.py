"""The environment variables of timed processes. Imports little, because imports are timed too."""

import os
import sys

UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # removed, so that OpenBLAS chooses its kernels


def environment() -> dict[str, str]:
    """The variables of this process without UNSET, with its module search path."""
    settings = {key: value for key, value in os.environ.items() if key not in UNSET}
    return settings | {"PYTHONPATH": os.pathsep.join(sys.path)}
