"""An error in a kernel reaches the caller: no other backend computes instead."""

import numpy as np
import pytest
from cases import KERNELS
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import door, kernels
from tinytensor.door import CONTRACTS

CASES = {case.name: case for case in KERNELS}


@pytest.fixture
def plant(monkeypatch):
    """Replace a kernel of all backends; returns the names of the backends that it is called of."""

    def plant(kernel: str, fails_on: str, error: type[Exception]) -> list[str]:
        called: list[str] = []

        def planted(name: str):
            def kernel(*arguments):
                called.append(name)
                if name == fails_on:
                    raise error("planted")

            return kernel

        for name in BACKENDS:
            monkeypatch.setitem(door.load_backend(name).kernels, kernel, planted(name))
        return called

    return plant


@pytest.mark.parametrize("error", [TypeError, ValueError])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kernel", CONTRACTS)
def test_an_error_in_a_kernel_is_raised(plant, kernel, backend, error):
    called = plant(kernel, backend, error)
    case = CASES[kernel]
    arguments = (*case.make("float32"), *case.numbers)
    with tt.backend(backend), pytest.raises(error, match=r"^planted$") as raised:
        getattr(kernels, kernel)(*arguments)
    assert raised.type is error
    assert called == [backend]


@pytest.mark.parametrize("backend", BACKENDS)
def test_numpy_computes_on_integers_and_its_error_is_a_dtype_error(plant, backend):
    called = plant("add", "numpy", TypeError)
    x = np.arange(3)
    message = r"^add: of int64: planted; astype converts$"
    with tt.backend(backend), pytest.raises(tt.DTypeError, match=message):
        kernels.add(x, x, x.copy())
    assert called == ["numpy"]
