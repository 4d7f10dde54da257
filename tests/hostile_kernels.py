"""Kernels with arrays that their contract forbids: the child's side.

    python tests/hostile_kernels.py BACKEND FORM ROWS

calls the kernels of cases.py with one array in another FORM: each row if ROWS is "all", otherwise
the first row of each kernel. A call must raise a TinytensorError, or have the result of the call
with ordinary arrays. Otherwise the program prints the call. With overlapping arrays any result is
allowed. The last line is "ended: N calls".
"""

import faulthandler
import sys
import warnings

import numpy as np
from cases import KERNELS, Kernel

import tinytensor as tt
from tinytensor import kernels

SECONDS = 300  # for one call


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


def big_endian(x: np.ndarray) -> np.ndarray:
    return x.astype(x.dtype.newbyteorder(">"))


def misaligned(x: np.ndarray) -> np.ndarray:
    """No address is a multiple of the element size."""
    memory = np.zeros(x.nbytes + 1, np.uint8)
    made = memory[1:].view(x.dtype).reshape(x.shape)
    made[...] = x
    return made


def strided(x: np.ndarray) -> np.ndarray:
    """Every second element of an array."""
    made = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
    made[...] = x
    return made


def of_columns(x: np.ndarray) -> np.ndarray:
    """In Fortran's order."""
    return np.array(x, order="F")


def of_another_dtype(x: np.ndarray) -> np.ndarray:
    return x.astype("float64" if x.dtype == "float32" else x.dtype)


FORMS = {
    form.__name__: form
    for form in (read_only, big_endian, misaligned, strided, of_columns, of_another_dtype)
}


def check(case: Kernel, arrays: list[np.ndarray], i: int, form: str) -> None:
    """Call a kernel with array i in another form."""
    kernel = getattr(kernels, case.name)
    wanted = [x.copy() for x in arrays]
    kernel(*wanted, *case.numbers)
    given = [x.copy() for x in arrays]
    given[i] = FORMS[form](arrays[i])
    before = given[i].tobytes()
    try:
        kernel(*given, *case.numbers)
    except tt.TinytensorError:
        return
    for got, right in zip(given, wanted, strict=True):
        largest = np.abs(right).max(initial=1.0)  # sums may be added in another order
        np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-5 * largest)
    assert form != "read_only" or given[i].tobytes() == before, "it has changed a read-only array"


def overlap(case: Kernel, arrays: list[np.ndarray], i: int) -> None:
    """Call a kernel whose last array has elements of array i, one element later."""
    out = arrays[-1]
    if i == len(arrays) - 1 or arrays[i].dtype != out.dtype:
        return
    memory = np.concatenate([arrays[i].reshape(-1), np.resize(out, out.size + 1)])
    given = [x.copy() for x in arrays]
    given[i] = memory[: arrays[i].size].reshape(arrays[i].shape)
    given[-1] = memory[1 : 1 + out.size].reshape(out.shape)
    getattr(kernels, case.name)(*given, *case.numbers)


def main(backend: str, form: str, rows: str) -> None:
    """Make the calls with one form of array."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    tt.set_backend(backend)
    seen: set[str] = set()
    calls = 0
    for case in KERNELS:
        arrays = case.make("float32")
        sizes = [x.size for x in arrays]
        if rows != "all" and (case.name in seen or min(sizes[0], sizes[-1]) < 2):
            continue
        seen.add(case.name)
        for i, x in enumerate(arrays):
            if x.size < 2 or not x.ndim:
                continue
            calls += 1
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            try:
                if form == "overlapping":
                    overlap(case, arrays, i)
                else:
                    check(case, arrays, i, form)
            except Exception as error:
                words = " ".join(str(error).split())[:300]
                print(case, i, type(error).__name__, words, flush=True)
    faulthandler.cancel_dump_traceback_later()
    print(f"ended: {calls} calls")


if __name__ == "__main__":
    main(*sys.argv[1:])
