"""Check gradients against finite differences.

Along a direction v the slope of f is sum(grad * v). The central difference
(f(x + h * v) - f(x - h * v)) / (2 * h) approximates it with an error of about h^2. gradcheck
compares the two in float64 along random directions v.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tinytensor.arrays import Array
from tinytensor.autograd import grad as gradient
from tinytensor.autograd import no_grad
from tinytensor.errors import DTypeError, GradientError
from tinytensor.tensors import Tensor, from_numpy

__all__ = ["gradcheck", "gradgradcheck"]


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor] | Tensor,
    *,
    step: float = 1e-6,
    tolerance: float = 1e-6,
    directions: int = 3,
    seed: int = 0,
) -> bool:
    """Return True if `backward` computes the right gradients of `function` at `inputs`.

    For each input and each random direction v it compares sum(grad * v) with the central difference
    (f(x + step * v) - f(x - step * v)) / (2 * step), where f is a random weighted sum of the
    function's result.

    Args:
        function: a function of `inputs` that returns a Tensor of any shape.
        inputs: the arguments, Tensors of any shape; or one Tensor. The inputs with requires_grad
            are checked one by one and must be float64.
        step: the distance along v.
        tolerance: the largest difference allowed; for slopes above 1, relative to the slope.
        directions: the number of random directions for each input.
        seed: the seed of the random directions and weights.

    Raises:
        GradientError: the two slopes differ (the message has both), or no input has requires_grad.
        DTypeError: an input with requires_grad is not float64.

    Source: torch.autograd.gradcheck.

    >>> x = tt.Tensor([0.5, 1.5], dtype="float64", requires_grad=True)
    >>> tt.gradcheck(tt.tanh, [x])
    True
    """
    inputs = [inputs] if isinstance(inputs, Tensor) else inputs
    checked = [i for i, x in enumerate(inputs) if x.requires_grad]
    if not checked:
        raise GradientError("gradcheck: no input has requires_grad=True; there is nothing to check")
    for i in checked:
        if inputs[i].dtype != np.float64:
            raise DTypeError(f"gradcheck: input {i} is {inputs[i].dtype}; float64 is needed")

    rng = np.random.default_rng(seed)
    leaves = [Tensor(x, requires_grad=x.requires_grad) for x in inputs]
    result = function(*leaves)
    weights = rng.standard_normal(result.shape)  # f is sum(weights * result)
    if result.requires_grad:  # otherwise the result is constant; a grad of None counts as 0 below
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
            computed = 0.0 if grad is None else float(np.sum(grad.numpy() * direction))
            if not abs(measured - computed) <= tolerance * max(1.0, abs(measured)):
                raise GradientError(
                    f"gradcheck: input {i}: along a random direction the slope is {measured:.9g}, "
                    f"backward gives {computed:.9g}; the allowed difference is {tolerance:g}"
                )
    return True


def gradgradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor] | Tensor,
    *,
    step: float = 1e-6,
    tolerance: float = 1e-6,
    directions: int = 3,
    seed: int = 0,
) -> bool:
    """Return True if second derivatives of `function` are right at `inputs`.

    It calls gradcheck for the gradient function: all gradients that `backward` computes from a
    random gradient of the result. So it checks the second derivatives for every pair of inputs.

    Args:
        function: a function of `inputs` that returns a Tensor of any shape.
        inputs: as in gradcheck.
        step: as in gradcheck.
        tolerance: as in gradcheck.
        directions: as in gradcheck.
        seed: as in gradcheck.

    Raises:
        GradientError: a second derivative is wrong.
        DTypeError: an input with requires_grad is not float64.

    Source: torch.autograd.gradgradcheck.

    >>> x = tt.Tensor([0.5, 1.5], dtype="float64", requires_grad=True)
    >>> tt.gradgradcheck(tt.tanh, [x])
    True
    """
    inputs = [inputs] if isinstance(inputs, Tensor) else inputs
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
