"""Automatic differentiation: a tape of 40 lines that trains lesson 1.0.

A Value has an array, and the inputs that it was computed from. Each input comes with a function: it
maps the gradient of this Value to the gradient of the input. So each operation needs two things:
its result and, for each input, such a function. `backward` does the rest, for any network:

    the gradient of the loss is 1
    for each Value, after all Values that were computed from it:
        for each of its inputs:  input.grad += function(value.grad)

The gradients of the earlier exercises return here: `+` sums what was broadcast, and `@` has the two
transposed products. `unbroadcast` is given: it sums a gradient to the shape of an input.

Take care of three things. A Value may be used twice, so gradients are added. A Value may go into
`backward` only after everything that was computed from it. And a long computation must not need a
deep recursion, because Python stops at 1,000 nested calls.
"""

import numpy as np


def unbroadcast(grad, shape):
    """The sum of grad over the axes that were broadcast from `shape`."""
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return grad.sum(axis=stretched, keepdims=True)


class Value:
    """An array with a gradient.

    data: float64 array. grad: an array of the same shape, 0 at first.
    inputs: pairs (Value, function from the gradient of this Value to the gradient of the input).
    """

    def __init__(self, data, inputs=()):
        self.data = np.asarray(data, np.float64)
        self.grad = np.zeros_like(self.data)
        self.inputs = inputs

    def __add__(self, other):
        """The sum; shapes are broadcast. This operation is given."""
        return Value(
            self.data + other.data,
            [
                (self, lambda grad: unbroadcast(grad, self.data.shape)),
                (other, lambda grad: unbroadcast(grad, other.data.shape)),
            ],
        )

    def __mul__(self, other):
        """The product of elements; shapes are broadcast."""
        # solution
        return Value(
            self.data * other.data,
            [
                (self, lambda grad: unbroadcast(grad * other.data, self.data.shape)),
                (other, lambda grad: unbroadcast(grad * self.data, other.data.shape)),
            ],
        )
        # end of solution

    def __matmul__(self, other):
        """The product of two matrices."""
        # solution
        return Value(
            self.data @ other.data,
            [
                (self, lambda grad: grad @ other.data.T),
                (other, lambda grad: self.data.T @ grad),
            ],
        )
        # end of solution

    def exp(self):
        """The exponential of each element."""
        # solution
        result = np.exp(self.data)
        return Value(result, [(self, lambda grad: grad * result)])
        # end of solution

    def log(self):
        """The logarithm of each element."""
        # solution
        return Value(np.log(self.data), [(self, lambda grad: grad / self.data)])
        # end of solution

    def sum(self):
        """The sum over the last axis: (R, C) to (R, 1), or (C,) to (1,)."""
        # solution
        return Value(
            self.data.sum(axis=-1, keepdims=True),
            [(self, lambda grad: np.broadcast_to(grad, self.data.shape))],
        )
        # end of solution

    def backward(self):
        """Add the gradient of the sum of this Value's elements to the grad of each Value."""
        # solution
        order, seen, waiting = [], set(), [(self, False)]
        while waiting:
            value, inputs_are_done = waiting.pop()
            if inputs_are_done:
                order.append(value)
            elif value not in seen:
                seen.add(value)
                waiting.append((value, True))
                waiting.extend((each, False) for each, _ in value.inputs)
        self.grad = np.ones_like(self.data)
        for value in reversed(order):
            for each, function in value.inputs:
                each.grad = each.grad + function(value.grad)
        # end of solution


if __name__ == "__main__":
    x, y = Value([[1.0, 2.0]]), Value([[3.0], [4.0]])
    z = x @ y + x @ y
    z.backward()
    print("expected [[22.0]], got", z.data.tolist())
    print("expected [[6.0, 8.0]], got", x.grad.tolist())
