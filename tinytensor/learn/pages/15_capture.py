"""Capture: record the kernel calls of a training step once, and replay the list.

A training step makes the same calls each time: only the numbers in the arrays change. Python need
not decide again what to call. The first call of a captured step runs the Python function and
records each kernel call: the kernel, and the arrays that it reads and writes. A later call copies
its arguments into the arrays of the record and repeats the list. tinytensor trains this way.

A kernel is a function that writes into one of its arrays, such as np.add(x, y, out). A step calls
kernels only through `call`:

    def step(x, y):
        out = np.empty_like(x)
        call(np.add, x, y, out)
        call(np.multiply, out, out, out)
        return out

    fast = Captured(step)
    fast(a, b)   # runs step, and records two calls
    fast(c, d)   # repeats the two calls on c and d; step does not run

Take care of three things. The step must run on arrays that belong to the record, because the caller
may change or delete its own. The result must be a copy, because the next replay overwrites the
record's arrays. And a record is valid for one set of shapes only: other shapes need another record.
"""

import numpy as np

recording = None  # the list of calls, while a step is recorded


def call(kernel, *arrays):
    """Call kernel(*arrays); while a step is recorded, append (kernel, arrays) to the list."""
    # solution
    if recording is not None:
        recording.append((kernel, arrays))
    kernel(*arrays)
    # end of solution


class Captured:
    """A step that runs as Python once for each set of shapes, and is replayed after that.

    step: a function of arrays that calls kernels through `call` and returns an array.
    """

    def __init__(self, step):
        self.step = step
        self.records = {}  # from the shapes of the arguments to a record, in any form you like

    def __call__(self, *arguments):
        """The result of step(*arguments), as an array that belongs to the caller."""
        global recording
        # solution
        shapes = tuple(argument.shape for argument in arguments)
        if shapes in self.records:
            inputs, calls, result = self.records[shapes]
            for own, argument in zip(inputs, arguments, strict=True):
                own[...] = argument
            for kernel, arrays in calls:
                kernel(*arrays)
            return result.copy()
        inputs, calls = [argument.copy() for argument in arguments], []
        recording = calls
        try:
            result = self.step(*inputs)
        finally:
            recording = None
        self.records[shapes] = inputs, calls, result
        return result.copy()
        # end of solution


if __name__ == "__main__":

    def step(x, y):
        out = np.empty_like(x)
        call(np.add, x, y, out)
        call(np.multiply, out, out, out)
        return out

    fast = Captured(step)
    print("expected [9.0], got", fast(np.array([1.0]), np.array([2.0])))
    print("expected [49.0], got", fast(np.array([3.0]), np.array([4.0])))
