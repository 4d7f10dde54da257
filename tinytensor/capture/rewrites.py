"""Rewrites of a program: several of its calls become one that does the same in fewer passes.

    before    add      t0 (100,200), bias (200) -> t1 (100,200)
              relu     t1 (100,200) -> t2 (100,200)
              ...
              relu_backward  t9 (100,200), t1 (100,200) -> t10 (100,200)

    after     add_relu t0 (100,200), bias (200) -> t2 (100,200)
              ...
              relu_backward  t9 (100,200), t2 (100,200) -> t10 (100,200)

t1 is never written to memory, nor read from there. Every rewrite gives the same bits as what it
takes the place of. Each has a name, by which capture(step, rewrites=...) chooses; to see what they
do, print step.program with rewrites=() and with all of them.

A rewrite is here because it pays: bias_relu saves 1 to 2 % of the steps of lessons 2.1, 3.0 and 3.1
on one thread, loss_and_grad 3 % of lesson 1.0's. Not here is what was tried and didn't, or can't.
sigmoid(x + bias) in one pass: 4 % slower, for its e^x has a costly rest at the end of each row. A
bias added within matmul's tiles: the add is 1.5 % of lesson 2.1's step. All parameters' updates in
one call: 1 %, for a call costs C some nanoseconds. Weights packed once: they change from step to
step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

from tinytensor.capture.memory import FOR_EVER, View
from tinytensor.errors import UnknownName

if TYPE_CHECKING:
    from tinytensor.capture.calls import Call, Function

    Items = list[Call | Function]
    Rewrite = Callable[[Items], Items]

REWRITES: dict[str, Rewrite] = {}  # by name, in the order in which they are applied


def rewrite(function: Rewrite) -> Rewrite:
    """List this function among the rewrites."""
    REWRITES[function.__name__] = function
    return function


def names_of(chosen: Sequence[str] | None) -> tuple[str, ...]:
    """The chosen rewrites' names, of None all.  Raises UnknownName for one that doesn't exist."""
    names = tuple(REWRITES) if chosen is None else tuple(chosen)
    for name in names:
        if name not in REWRITES:
            known = ", ".join(REWRITES)
            raise UnknownName(f"rewrites: there is none named {name!r}; choose from {known}")
    return names


def rewritten(items: Items, names: Sequence[str]) -> tuple[Items, tuple[str, ...]]:
    """The items of a program after the rewrites of these names, and those that found something."""
    useful = []
    for name in names:
        before, items = items, REWRITES[name](items)
        if len(items) < len(before):
            useful.append(name)
    return items, tuple(useful)


@rewrite
def bias_relu(items: Items) -> Items:
    """An addition and the relu that follows are one pass: relu(x + bias).

    relu's gradient then asks the result instead of the sum whether it is above zero: both are, or
    neither. So it doesn't matter that the sum is nowhere any more.
    """
    result: Items = []
    places: dict[View, View] = {}  # of sums, and of what now stands for them
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
    """Cross-entropy and its gradient are one call, which needs e^logits once.

    That is possible where the gradient that comes in is known before, such as the 1 with which
    loss.backward() begins. The gradient is then computed early: so nobody may touch its place, or
    change the logits or labels, between the two calls.
    """
    result = list(items)
    for backward in items:
        if not _is_call(backward, "cross_entropy_backward"):
            continue
        grad, logits, labels, grad_logits = backward.views
        for forward in result[: result.index(backward)]:
            if _is_call(forward, "cross_entropy") and forward.views[:2] == (logits, labels):
                start = result.index(forward)
                between = result[start + 1 : result.index(backward)]
                if _is_constant(grad, items) and _leave_alone(
                    between, read_only=(logits, labels), untouched=grad_logits
                ):
                    views = (grad, logits, labels, forward.views[2], grad_logits)
                    result[start] = replace(forward, kernel="cross_entropy_and_grad", views=views)
                    result.remove(backward)
                break
    return result


def _is_constant(view: View, items: Items) -> bool:
    """True if no item writes these values, so that they are known before the step."""
    written = any(other.buffer is view.buffer for item in items for other in item.writes)
    return view.buffer.kind != "argument" and not written


def _leave_alone(items: Items, read_only: Sequence[View], untouched: View) -> bool:
    """Do the items change none of the first, and neither read nor change the last?"""
    kept = [view.buffer for view in (*read_only, untouched)]
    return not any(view.buffer in kept for item in items for view in item.writes) and not any(
        view.buffer is untouched.buffer for item in items for view in item.reads
    )


def _is_needed_for_relu_only(total: View, items: Items, relu: Call) -> bool:
    """Is a sum gone after the step, and read by this relu and relu's gradient alone?

    What the gradient will read in its place must still be there: nothing else writes it.
    """
    if total.buffer.kind != "temporary" or total.buffer.last == FOR_EVER:
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
