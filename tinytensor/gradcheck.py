"""Is a gradient right? Compare it with the slope that the function itself shows.

A function f of x grows by grad . v if x moves by a small v. That is tried along random directions
v, in float64, stepping both ways: (f(x + h v) - f(x - h v)) / 2h differs from the true slope by
about h^2.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tinytensor.arrays import Array
from tinytensor.autograd import grad as gradient
from tinytensor.autograd import no_grad
from tinytensor.errors import DTypeError, GradientError
from tinytensor.tensor import Tensor, from_numpy

__all__ = ["gradcheck", "gradgradcheck"]


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    *,
    step: float = 1e-6,
    tolerance: float = 1e-6,
    directions: int = 3,
    seed: int = 0,
) -> bool:
    """True if backward's gradients of `function` are right at `inputs`.

    inputs: the function's arguments; those with requires_grad, in float64, are checked one by one.
    step: h, how far to move.
    tolerance: the greatest error allowed, relative to slopes above 1.
    directions: how many random directions to try for each input.

    Raises GradientError with both numbers where they differ, DTypeError for inputs that aren't
    float64.
    """
    checked = [i for i, x in enumerate(inputs) if x.requires_grad]
    if not checked:
        raise GradientError("gradcheck: no input has requires_grad=True; there is nothing to check")
    for i in checked:
        if inputs[i].dtype != np.float64:
            raise DTypeError(f"gradcheck: input {i} is {inputs[i].dtype}; float64 is needed")

    rng = np.random.default_rng(seed)
    leaves = [Tensor(x, requires_grad=x.requires_grad) for x in inputs]
    result = function(*leaves)
    weights = rng.standard_normal(result.shape)  # the number checked is the sum of weights * result
    if result.requires_grad:  # else it is constant, and no gradient is zero
        result.backward(from_numpy(np.asarray(weights, result.dtype)))

    def value(moved: int, array: Array) -> float:
        arguments = [x.detach().requires_grad_(x.requires_grad) for x in inputs]
        arguments[moved] = from_numpy(array).requires_grad_()
        return float(np.sum(weights * function(*arguments).numpy()))

    for i in checked:
        grad = leaves[i].grad
        for _ in range(directions):
            direction = np.asarray(rng.standard_normal(inputs[i].shape))
            ahead = value(i, np.asarray(inputs[i].array + step * direction))
            behind = value(i, np.asarray(inputs[i].array - step * direction))
            measured = (ahead - behind) / (2 * step)
            claimed = 0.0 if grad is None else float(np.sum(grad.numpy() * direction))
            if not abs(measured - claimed) <= tolerance * max(1.0, abs(measured)):
                raise GradientError(
                    f"gradcheck: input {i}: along a random direction the slope is {measured:.9g}, "
                    f"backward says {claimed:.9g}; they may differ by {tolerance:g}"
                )
    return True


def gradgradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    *,
    step: float = 1e-6,
    tolerance: float = 1e-6,
    directions: int = 3,
    seed: int = 0,
) -> bool:
    """True if the gradients of `function`'s gradients are right at `inputs`; see gradcheck.

    The function that is checked gives all gradients that backward gives, for a random gradient of
    the result: so the second derivatives of every input by every other are tried.
    """
    rng = np.random.default_rng(seed)
    with no_grad():
        shape = function(*inputs).shape
    weights = Tensor(np.asarray(rng.standard_normal(shape)), requires_grad=True)

    def gradients(*inputs_and_weights: Tensor) -> Tensor:
        *xs, upstream = inputs_and_weights
        wanted = [x for x in xs if x.requires_grad]
        found = gradient(function(*xs), wanted, upstream, create_graph=True, allow_unused=True)
        parts = [(x * 0 if g is None else g) for x, g in zip(wanted, found, strict=True)]
        total = from_numpy(np.zeros(()))
        for part in parts:
            mixed = from_numpy(np.sin(np.arange(part.size, dtype=np.float64) + 1))
            total = total + (part.reshape(-1) * mixed).sum()
        return total

    settings = {"step": step, "tolerance": tolerance, "directions": directions, "seed": seed}
    return gradcheck(gradients, [*inputs, weights], **settings)  # type: ignore[arg-type]
