"""The backends: flat modules of the kernels that tinytensor/kernels.py declares.

door.BackendModule is the list of what such a module must have, and of what it may have. A kernel
that it lacks runs on NumPy, and `available_backends()` says so.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # mypy compares each module with the Protocol
    from tinytensor.backends import c_backend, numba_backend, numpy_backend
    from tinytensor.door import BackendModule

    MODULES: tuple[BackendModule, ...] = (numpy_backend, numba_backend, c_backend)
