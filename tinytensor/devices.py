"""PyTorch's names for devices. Everything is computed on the CPU, the only device.

A program for PyTorch that chooses between a GPU and the CPU chooses the CPU here.
"""

from tinytensor.errors import NotSupported
from tinytensor.hints import CPU

__all__ = ["accelerator", "cuda", "device"]


def device(name: str = "cpu") -> str:
    """Return "cpu", for `x.to(device)` and `model.to(device)`.

    Args:
        name: "cpu".

    Raises:
        NotSupported: the name is another one.

    Source: torch.device.

    >>> tt.device("cpu")
    'cpu'
    """
    if name != "cpu":
        raise NotSupported(f'device: got {name!r}; "cpu" is the only device')
    return name


class _NoAccelerator:
    """A device that PyTorch may have, and this package does not."""

    def __init__(self, name: str) -> None:
        self._name = name

    def is_available(self) -> bool:
        """False, because everything is computed on the CPU."""
        return False

    def __getattr__(self, name: str) -> None:
        raise AttributeError(f"tt.{self._name} has no {name!r}: {CPU}", name=None, obj=None)


cuda, accelerator = _NoAccelerator("cuda"), _NoAccelerator("accelerator")
