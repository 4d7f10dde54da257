"""Rewrites of a program: one call replaces several calls and makes fewer passes over memory.

    before    add      t0 (100,200), bias (200) -> t1 (100,200)
              relu     t1 (100,200) -> t2 (100,200)
              ...
              relu_backward  t9 (100,200), t1 (100,200) -> t10 (100,200)

    after     add_relu t0 (100,200), bias (200) -> t2 (100,200)
              ...
              relu_backward  t9 (100,200), t2 (100,200) -> t10 (100,200)

After the rewrite, t1 is neither written to memory nor read. Every rewrite gives the same bits as
the calls that it replaces. Each has a name: capture(step, rewrites=("bias_relu",)) uses this one.
To see the effect of the rewrites, print step.program with rewrites=() and with all of them.

A rewrite is in this file because it saves time: bias_relu 1 to 2 % of a step of lessons 2.1, 3.0
and 3.1 on one thread, loss_and_grad 3 % of a step of lesson 1.0. These rewrites were tried or
estimated and are not used: sigmoid(x + bias) in one pass is 4 % slower, because its e^x has a slow
remainder at the end of each row. A bias added inside matmul's tiles could save at most the add,
which is 1.5 % of a step of lesson 2.1. One call that updates all parameters saves 1 %, because a
call in C costs only some nanoseconds. An optimiser that updates packed weights, so that matmul need
not pack them, saved 4 % of a step of lesson 2.1 in a prototype. But then parameters would not be
stored as users see them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

from tinytensor.capture.memory import AFTER_THE_STEP, View
from tinytensor.errors import UnknownName

if TYPE_CHECKING:
    from tinytensor.capture.calls import Call, Function
    from tinytensor.door import Backend

    Items = list[Call | Function]
    Rewrite = Callable[[Items], Items]

MANY = 4096  # elements of data; with fewer, there is little to skip
ENOUGH_COLUMNS = 16  # a row of the tile
REWRITES: dict[str, Rewrite] = {}  # by name, in the order in which they are applied


def rewrite(function: Rewrite) -> Rewrite:
    """List this function among the rewrites."""
    REWRITES[function.__name__] = function
    return function


def names_of(chosen: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the chosen rewrites, all of them for None.

    Raises UnknownName if there is no rewrite of a name.
    """
    names = tuple(REWRITES) if chosen is None else tuple(chosen)
    for name in names:
        if name not in REWRITES:
            known = ", ".join(REWRITES)
            raise UnknownName(f"rewrites: there is none named {name!r}; choose from {known}")
    return names


def rewritten(
    items: Items, names: Sequence[str], backend: Backend
) -> tuple[Items, tuple[str, ...]]:
    """Return a program's items after these rewrites, and the names of those that changed them.

    A call of a kernel for which use_kernel chose a rung is not replaced.
    """
    useful = []
    for name in names:
        after = REWRITES[name](items)
        replaced = [item for item in items if item not in after]
        by_rung = any(backend.by_rung(getattr(item, "kernel", "")) for item in replaced)
        if replaced and not by_rung:
            items = after
            useful.append(name)
    return items, tuple(useful)


@rewrite
def bias_relu(items: Items) -> Items:
    """Compute an addition and the relu that follows in one pass: relu(x + bias).

    The gradient of relu needs the sign of the sum. It reads the result instead, because the result
    is above zero exactly if the sum is. So the sum need not be stored.
    """
    result: Items = []
    places: dict[View, View] = {}  # from a sum to the result that replaces it
    for item in items:
        before = result[-1] if result else None
        if _is_call(before, "add") and _is_call(item, "relu") and before.views[-1] == item.views[0]:
            total, activation = item.views
            if _is_needed_for_relu_only(total, items, item):
                views = (*before.views[:-1], activation)
                result[-1] = replace(before, kernel="add_relu", views=views)
                places[total] = activation
                continue
        if _is_call(item, "relu_backward") and item.views[1] in places:
            grad, total, out = item.views
            item = replace(item, views=(grad, places[total], out))
        result.append(item)
    return result


@rewrite
def loss_and_grad(items: Items) -> Items:
    """Compute cross-entropy and its gradient in one call, which needs e^logits once.

    The incoming gradient must be known before the step, such as the 1 with which loss.backward()
    starts. The result is then computed earlier. So the calls in between may not touch its memory,
    and may not change the logits, labels or weight.
    """
    result = list(items)
    for backward in items:
        if not _is_call(backward, "cross_entropy_backward"):
            continue
        grad, logits, labels, weight, grad_logits, smoothing = backward.views
        given = logits, labels, weight
        for forward in result[: result.index(backward)]:
            if (
                _is_call(forward, "cross_entropy")
                and forward.views[:3] == given
                and forward.views[-1] == smoothing
            ):
                start = result.index(forward)
                between = result[start + 1 : result.index(backward)]
                if _is_constant(grad, items) and _leave_alone(
                    between, read_only=given, untouched=grad_logits
                ):
                    views = (grad, *given, forward.views[3], grad_logits, smoothing)
                    result[start] = replace(forward, kernel="cross_entropy_and_grad", views=views)
                    result.remove(backward)
                break
    return result


@rewrite
def skip_zeros(items: Items) -> Items:
    """Skip the products with 0 in the first layer, whose input is images or other data.

    81 % of the pixels of MNIST are 0. On the C backend sparse_matmul skips most of their products,
    in the layer and in the gradient of its weight. If less than half of the data is 0, it computes
    all products, as matmul does. So it does with few columns, such as the 10 neurons of lesson 1.0.
    """
    written = {view.buffer: item for item in items for view in item.writes}
    return [
        replace(item, kernel="sparse_matmul")
        if _is_call(item, "matmul")
        and len(item.views[0].shape) == 2
        and math.prod(item.views[0].shape) >= MANY
        and item.views[2].shape[1] >= ENOUGH_COLUMNS
        and _is_data(item.views[0], written.get(item.views[0].buffer))
        else item
        for item in items
    ]


def _is_data(view: View, writer: Call | Function | None) -> bool:
    """True if these values are an argument, or images that were loaded."""
    if writer is None:
        return view.buffer.kind == "argument"
    return _is_call(writer, "load_images")


def _is_constant(view: View, items: Items) -> bool:
    """True if no item writes these values, so that they are known before the step."""
    written = any(other.buffer is view.buffer for item in items for other in item.writes)
    return view.buffer.kind != "argument" and not written


def _leave_alone(items: Items, read_only: Sequence[View], untouched: View) -> bool:
    """True if the items write none of `read_only`, and neither read nor write `untouched`."""
    kept = [view.buffer for view in (*read_only, untouched)]
    return not any(view.buffer in kept for item in items for view in item.writes) and not any(
        view.buffer is untouched.buffer for item in items for view in item.reads
    )


def _is_needed_for_relu_only(total: View, items: Items, relu: Call) -> bool:
    """True if only this relu and its gradient read the sum, and nobody holds it after the step.

    The gradient will read relu's result instead, so no other call may write to the result.
    """
    if total.buffer.kind != "temporary" or total.buffer.last == AFTER_THE_STEP:
        return False
    out = relu.views[-1].buffer
    writers = [item for item in items if any(view.buffer is out for view in item.writes)]
    readers = [item for item in items if any(view.buffer is total.buffer for view in item.reads)]
    return writers == [relu] and all(
        item is relu
        or (
            _is_call(item, "relu_backward")
            and item.views[1] == total
            and item.views[0].buffer is not total.buffer
        )
        for item in readers
    )


def _is_call(item: Any, kernel: str) -> TypeGuard[Call]:
    return getattr(item, "kernel", None) == kernel
