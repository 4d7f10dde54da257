"""JAX's functions for tinytensor's kernels, under jit, on arrays that are on the device."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tinytensor.bench.cases import Case, TimedCall
from tinytensor.bench.task import Unsupported


def call_of(case: Case) -> TimedCall:
    """The case in JAX.  Raises Unsupported if JAX has no function for the kernel."""
    make = CALLS.get(case.kernel)
    if make is None:
        raise Unsupported("JAX has no such function")
    *arrays, out = [x for x in case.arguments() if isinstance(x, np.ndarray)]
    function = jax.jit(make(case, out.shape))
    given = [jnp.asarray(x) for x in arrays]

    def run() -> jax.Array:
        return jax.block_until_ready(function(*given))

    return TimedCall(run, lambda: [np.asarray(run())])


Shape = tuple[int, ...]


def matmul(case: Case, shape: Shape) -> Callable:
    transpose_x, transpose_y = case.scalars

    def product(x, y):
        return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)

    return product


def summed(case: Case, shape: Shape) -> Callable:
    def sum_to_shape(x):
        full = (1,) * (x.ndim - len(shape)) + shape
        axes = tuple(axis for axis in range(x.ndim) if full[axis] != x.shape[axis])
        return x.sum(axes).reshape(shape)

    return sum_to_shape


def convolved(case: Case, x, weight):
    (stride, _), _ = case.scalars
    return jax.lax.conv_general_dilated(
        x, weight, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def grad_x(case: Case, shape: Shape) -> Callable:
    def vjp(grad, weight):
        return jax.vjp(lambda x: convolved(case, x, weight), jnp.zeros(shape))[1](grad)[0]

    return vjp


def grad_weight(case: Case, shape: Shape) -> Callable:
    def vjp(x, grad):
        return jax.vjp(lambda weight: convolved(case, x, weight), jnp.zeros(shape))[1](grad)[0]

    return vjp


def mean_loss(logits, labels, weight):  # the weight is 1 / R
    log_probs = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probs, labels[:, jnp.newaxis], axis=1).mean()


CALLS: dict[str, Callable[[Case, Shape], Callable]] = {
    "matmul": matmul,
    "add": lambda case, shape: jnp.add,
    "sub": lambda case, shape: jnp.subtract,
    "mul": lambda case, shape: jnp.multiply,
    "sigmoid": lambda case, shape: jax.nn.sigmoid,
    "relu": lambda case, shape: jax.nn.relu,
    "relu_backward": lambda case, shape: lambda grad, x: jnp.where(x > 0, grad, 0),
    "sum": summed,
    "softmax": lambda case, shape: jax.nn.softmax,
    "cross_entropy": lambda case, shape: mean_loss,
    "cross_entropy_backward": lambda case, shape: (
        lambda grad, *given: grad * jax.grad(mean_loss)(*given)
    ),
    "conv2d": lambda case, shape: lambda x, weight: convolved(case, x, weight),
    "conv2d_grad_x": grad_x,
    "conv2d_grad_weight": grad_weight,
}
