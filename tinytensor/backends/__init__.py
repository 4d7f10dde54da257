"""The backends: each is a module with the kernels that tinytensor/kernels.py declares.

door.BackendModule lists the functions that such a module must and may have. NumPy computes a kernel
that a backend does not have; `available_backends()` lists these kernels.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # mypy compares each module with the Protocol
    from tinytensor.backends import c_backend, numba_backend, numpy_backend
    from tinytensor.door import BackendModule

    MODULES: tuple[BackendModule, ...] = (numpy_backend, numba_backend, c_backend)
