"""Calls of the public functions with arguments that nobody should pass: the child's side.

    python tests/hostile.py BACKEND FIRST LAST

makes the calls of these seeds, in a process with little memory. Before each call it prints the
seed, so that test_hostile.py can name the call that ended the process. A call that does not return
within SECONDS ends the process, too. After a call that raises an error of another kind than
TinytensorError it prints the error.
"""

import faulthandler
import inspect
import math
import os
import random
import resource
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

import tinytensor as tt

MEMORY = 6 * 2**30  # bytes; larger results raise MemoryError
SECONDS = 300  # large arrays take long under a sanitizer on a busy machine

# What these do is outside of the call: files, settings of the process, networks that train.
LEFT_OUT = {"capture", "fit", "load", "save", "set_backend", "set_num_threads", "use_kernel"}
LEFT_OUT |= {"backend", "detect_anomaly", "enable_grad", "no_grad", "graph"}
LEFT_OUT |= {"gradcheck", "gradgradcheck"}
FUNCTIONS = [
    (name, getattr(tt, name))
    for name in tt.__all__
    if inspect.isfunction(getattr(tt, name)) and name not in LEFT_OUT
]
LAYERS = ["AvgPool2d", "BatchNorm", "Conv2d", "Dropout", "Embedding", "Flatten", "LayerNorm"]
LAYERS += ["LeakyReLU", "Linear", "MaxPool2d", "Softmax"]
OPTIMIZERS = [tt.optim.SGD, tt.optim.Adam, tt.optim.AdamW, tt.optim.RMSprop]

SIZES = [0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65]
LARGE = [255, 257, 1000, 60_000, 2**31 - 1, 2**31, 2**32 + 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64]
FLOATS = [0.0, -0.0, 0.5, 1.0, -1.0, 1e-45, 1e38, 1e308, math.inf, -math.inf, math.nan]
ODD = [None, True, "same", "", b"x", 1j, object(), [], (), {}, [[1], [2, 3]], np.float16(1), "mean"]
NAMES = {  # names of arguments whose sensible values are something else than an array
    "axis": lambda c: c.choice([None, 0, 1, -1, 2, (0, 1), (0, 0), ()]),
    "dtype": lambda c: c.choice(["float32", "float64", "int64", "uint8", "bool", ">f4", "O", "U3"]),
    "shape": lambda c: tuple(c.choice(SIZES) for _ in range(c.randint(0, 5))),
    "stride": lambda c: c.choice([1, 2, 3, (1, 2), 7]),
    "padding": lambda c: c.choice(["same", "valid", 0, 1, (1, 2), 9]),
    "reduction": lambda c: c.choice(["mean", "sum", "none"]),
    "formula": lambda c: c.choice(["ij,jk->ik", "i...->...", "ii->i", "ij->", "i,j,k,l->ijkl"]),
    "labels": lambda c: np.array([c.randint(-2, 12) for _ in range(c.choice(SIZES))]),
    "index": lambda c: np.array([c.randint(-9, 9) for _ in range(c.choice(SIZES))]),
    "tensors": lambda c: [array(c) for _ in range(c.randint(0, 3))],
    "widths": lambda c: [(c.choice(SIZES), c.choice(SIZES))] * c.randint(1, 4),
}


def number(choice: random.Random) -> Any:
    """A number, often one at or beyond a limit."""
    return choice.choice([*SIZES, *LARGE, *FLOATS, -choice.choice(LARGE), -choice.choice(SIZES)])


def array(choice: random.Random) -> Any:
    """An array or tensor of any shape and dtype, in memory of any form."""
    shape = [choice.choice(SIZES) for _ in range(choice.choice([0, 1, 1, 2, 2, 2, 3, 4, 4, 5]))]
    while math.prod(shape) > 10**6:
        shape.pop()
    values = np.random.default_rng(choice.randrange(1000)).standard_normal(shape) * 3
    if choice.random() < 0.2 and values.size:
        values.flat[choice.randrange(values.size)] = choice.choice(FLOATS)
    dtypes = ["f4"] * 8 + ["f8", "f8", "i8", "u1", "?", "f2", ">f4", ">i8", "c8", "i2", "O"]
    made: Any = np.asarray(values).astype(choice.choice(dtypes))
    form = choice.randrange(12)
    if form == 0:
        made = made.T
    elif form == 1 and made.ndim:
        made = made[::-1]
    elif form == 2:
        made.flags.writeable = False
    elif form == 3:  # no address is a multiple of the element size
        bytes_ = np.zeros(made.nbytes + 1, np.uint8)
        odd = bytes_[1:].view(made.dtype) if made.dtype.kind not in "O" else made.reshape(-1)
        odd[...] = made.reshape(-1)
        made = odd.reshape(made.shape)
    elif form == 4:  # many elements in little memory
        made = np.lib.stride_tricks.as_strided(
            np.zeros(1, made.dtype), [choice.choice(LARGE[:6]) for _ in range(2)], (0, 0)
        )
    elif form == 5 and made.ndim > 1:
        made = made[:, ::2]
    elif form == 6:
        return made.tolist()
    if form < 10 and choice.random() < 0.8:
        with suppress(tt.TinytensorError):
            made = tt.Tensor(made, requires_grad=choice.random() < 0.5)
    return made


def anything(choice: random.Random) -> Any:
    """Any value at all."""
    kind = choice.randrange(5)
    if kind == 0:
        return choice.choice(ODD)
    if kind == 1:
        return tuple(number(choice) for _ in range(choice.randint(1, 4)))
    return array(choice) if kind == 2 else number(choice)


def arguments(choice: random.Random, function: Callable) -> tuple[list[Any], dict[str, Any]]:
    """Arguments for this function: by their names sensible, or absurd."""
    given, named = [], {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is not parameter.empty and choice.random() < 0.4:
            continue
        if choice.random() < 0.15:
            value = anything(choice)
        elif name in NAMES:
            value = NAMES[name](choice)
        elif isinstance(parameter.default, bool):
            value = choice.random() < 0.5
        elif parameter.default is parameter.empty or parameter.default is None:
            value = array(choice)
        else:
            value = number(choice)
        if parameter.kind is parameter.VAR_POSITIONAL:
            given += [value] * choice.randint(0, 3)
        elif parameter.kind is parameter.KEYWORD_ONLY or len(named):
            named[name] = value
        elif parameter.kind is not parameter.VAR_KEYWORD:
            skips = len(given) < list(inspect.signature(function).parameters).index(name)
            if skips:
                named[name] = value
            else:
                given.append(value)
    return given, named


def backward(result: Any) -> None:
    """Compute the gradients of all tensors in a result."""
    for x in result if isinstance(result, tuple | list) else [result]:
        if isinstance(x, tt.Tensor) and x.requires_grad:
            x.sum().backward()


def call_function(choice: random.Random) -> None:
    """One op, forward and backward, eagerly or captured."""
    _, function = choice.choice(FUNCTIONS)
    given, named = arguments(choice, function)
    if choice.random() < 0.2:
        step = tt.capture(lambda: function(*given, **named), verify="always")
        step(), step()
    else:
        backward(function(*given, **named))


def call_layer(choice: random.Random) -> None:
    """A layer with drawn settings, on a drawn array."""
    layer = getattr(tt.nn, choice.choice(LAYERS))
    given, named = arguments(choice, layer)
    given = [choice.choice(SIZES) if not isinstance(x, int | str | tuple) else x for x in given]
    backward(layer(*given, **named)(array(choice)))


def call_optimizer(choice: random.Random) -> None:
    """Steps of an optimiser while the arrays of its parameters are replaced."""
    w = tt.Tensor(np.ones(choice.choice(SIZES), "f4"), requires_grad=True)
    settings = {"lr": number(choice)} if choice.random() < 0.5 else {"lr": 0.1}
    optimizer = choice.choice(OPTIMIZERS)([w], **settings)
    for _ in range(3):
        (w * w).sum().backward()
        if choice.random() < 0.5:
            if choice.random() < 0.5:
                w.array = np.asarray(tt.Tensor(array(choice)))
            else:
                setattr(w, choice.choice(["grad", "data"]), array(choice))
        optimizer.step()


def call_assignment(choice: random.Random) -> None:
    """x[index] = value, and x[index]."""
    x = tt.Tensor(np.ones([choice.choice(SIZES) for _ in range(choice.randint(0, 3))], "f4"))
    index: Any = choice.choice([anything(choice), array(choice), slice(*(number(choice),) * 3)])
    x[index]
    x[index] = anything(choice)


def call_dlpack(choice: random.Random) -> None:
    """A capsule of DLPack from an object that lies about its device or is consumed already."""

    class Lying:
        def __init__(self) -> None:
            self.array = np.ones(choice.choice(SIZES), "f4")
            self.capsule = self.array.__dlpack__()

        def __dlpack__(self, **how: Any) -> Any:
            return choice.choice([self.capsule, None, 7, self.array])

        def __dlpack_device__(self) -> Any:
            return choice.choice([(1, 0), (2, 0), (99, 2**40), None, "cpu"])

    x = Lying()
    for _ in range(2):
        tt.from_dlpack(x)


KINDS = [call_function] * 12 + [call_layer] * 3
KINDS += [call_optimizer, call_assignment, call_assignment, call_dlpack]


def main(backend: str, first: int, last: int) -> None:
    """Make the calls of the seeds first to last - 1."""
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # it reserves terabytes of addresses
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    tt.set_backend(backend)
    for seed in range(first, last):
        print(seed, flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        choice = random.Random(seed)
        try:
            choice.choice(KINDS)(choice)
        except tt.TinytensorError:
            pass
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{place.filename}:{place.lineno}"
            print(seed, type(error).__name__, where, " ".join(str(error).split()), flush=True)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
