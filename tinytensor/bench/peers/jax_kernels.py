"""JAX's functions that do what a kernel does, each under jit, on arrays that are on the device."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tinytensor.bench.cases import Case, Timed
from tinytensor.bench.task import NotHere


def call_of(case: Case) -> Timed:
    """The case in JAX.  Raises NotHere for a kernel that isn't one function there."""
    make = CALLS.get(case.kernel)
    if make is None:
        raise NotHere("JAX has no function that does the same")
    *arrays, out = [x for x in case.arguments() if isinstance(x, np.ndarray)]
    function = jax.jit(make(case, out.shape))
    given = [jnp.asarray(x) for x in arrays]

    def run() -> jax.Array:
        return jax.block_until_ready(function(*given))

    return Timed(run, lambda: [np.asarray(run())])


Shape = tuple[int, ...]


def matmul(case: Case, shape: Shape) -> Callable:
    transpose_x, transpose_y = case.numbers

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
    (stride, _), _ = case.numbers
    return jax.lax.conv_general_dilated(
        x, weight, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def grad_x(case: Case, shape: Shape) -> Callable:
    def pulled_back(grad, weight):
        return jax.vjp(lambda x: convolved(case, x, weight), jnp.zeros(shape))[1](grad)[0]

    return pulled_back


def grad_weight(case: Case, shape: Shape) -> Callable:
    def pulled_back(x, grad):
        return jax.vjp(lambda weight: convolved(case, x, weight), jnp.zeros(shape))[1](grad)[0]

    return pulled_back


def mean_loss(logits, labels):
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
        lambda grad, logits, labels: grad * jax.grad(mean_loss)(logits, labels)
    ),
    "conv2d": lambda case, shape: lambda x, weight: convolved(case, x, weight),
    "conv2d_grad_x": grad_x,
    "conv2d_grad_weight": grad_weight,
}
