"""Checks of the loss: where it starts, how it is computed, and how it moves.

An untrained network with C classes gives each class a probability near 1 / C. So its cross-entropy
is near ln(C), 2.30 for ten classes. A loss that starts elsewhere, or does not fall from there, is
the best sign of most mistakes.
"""

from __future__ import annotations

import math

import numpy as np

from tinytensor.coach.check import Sign, check, percent
from tinytensor.coach.gradient_checks import EXPLODED
from tinytensor.coach.view import RATE_STEPS, Forward, Progress

START = 2.0  # times ln(classes), and at least plus START: a first loss above both is a sign
TINY = 1e-4  # |update| / |weight|: below it nothing moves
STILL = 0.01  # |logit|: below it each class has about the same probability
FLAT = 1e-3  # the Euclidean norm of all gradients: below it a learning rate may be right
ABOVE = 1.05  # times ln(classes), or the first loss: a higher loss is worse than guessing
UNKNOWING = 0.5  # times ln(classes): a network whose first loss is below it was trained before
TURN = 1.25  # times the lowest test loss: a test loss above it has turned, and is no chance
RISE = 0.1  # times ln(classes): the least rise of the test loss that is a sign


# How the loss is computed -----------------------------------------------------------------------


@check(
    "forward",
    mistake="the loss does not start at ln(classes)",
    cure="make the first weights smaller: nn.Linear and nn.Conv2d do it by default; take the mean "
    "over the batch, not the sum",
)
def loss_at_start(step: Forward, run: Progress) -> Sign | None:
    """The sign: the cross-entropy of the first step is above 2 ln(C), and above ln(C) + 2."""
    loss, value = step.loss, step.value
    if step.step != 1 or loss is None or value is None or loss.op == "mse_loss":
        return None
    if "inputs-not-scaled" in run.found:
        return None  # it is the cause
    classes = loss.classes if loss.op == "cross_entropy" else 2
    expected = float(np.log(classes))
    if not value > max(START * expected, START + expected):
        return None
    examples = len(loss.target)
    is_sum = examples > 1 and 0.7 < value / examples / expected < 1.3
    why = f"; that is about {examples} ln({classes}), the sum over the batch" if is_sum else ""
    logits = f"; the logits reach {np.abs(loss.rows).max():.3g}" if not is_sum else ""
    return Sign(
        f"the first loss is {value:.3g}, and ln({classes}) = {expected:.2f}{why}{logits}",
        f"backward at {step.where}",
    )


@check(
    "forward",
    mistake="softmax is applied twice",
    cure="pass the logits: tt.cross_entropy applies softmax itself, and "
    "binary_cross_entropy_with_logits applies sigmoid; leave the last activation out",
)
def softmax_twice(step: Forward, run: Progress) -> Sign | None:
    """The sign: the logits are positive and sum to 1 in each row, or come from a sigmoid.

    Scores between 0 and 1 differ by at most 1. So the loss can't fall below ln(e + C - 1) - 1,
    which is 1.46 for ten classes.
    """
    loss = step.loss
    if loss is None or loss.op == "mse_loss" or not loss.rows.size:
        return None
    if loss.op != "cross_entropy":
        node = step.node(loss.number)
        if node is None or node.name != "sigmoid":
            return None
        return Sign("the logits are the result of a sigmoid", step.place(node))
    if loss.classes < 2 or not loss.rows.min() >= 0:
        return None
    sums = loss.rows.sum(axis=1)
    if np.abs(sums - 1).max() > 1e-3:
        return None
    node = step.node(loss.number)
    return Sign(
        f"each of the first {len(sums)} rows of the logits is positive and sums to 1",
        f"backward at {step.where}" if node is None else step.place(node),
    )


@check(
    "forward",
    mistake="the logits have passed an activation that loses values",
    cure="move the activation between the hidden layers; the last layer is nn.Linear alone",
)
def relu_on_logits(step: Forward, run: Progress) -> Sign | None:
    """The sign: the logits of a cross-entropy are the result of a ReLU, a sigmoid or a tanh.

    Then no score is below 0, or all lie between -1 and 1, and the loss can't become small.
    """
    node = None if step.loss is None else step.node(step.loss.number)
    if step.loss is None or step.loss.op == "mse_loss" or node is None:
        return None
    if node.name == "relu":
        zeros = float((step.loss.rows == 0).mean())
        evidence = f"the logits come from a relu, and {percent(zeros)} of them are 0"
    elif node.name in ("sigmoid", "tanh") and step.loss.op == "cross_entropy":
        low = 0 if node.name == "sigmoid" else -1
        evidence = f"the logits come from a {node.name}, so all are between {low} and 1"
    else:
        return None
    return Sign(evidence, step.place(node))


@check(
    "forward",
    mistake="no parameter is ever changed",
    cure="call optimizer.step() after loss.backward(); the optimiser needs model.parameters()",
)
def never_updated(step: Forward, run: Progress) -> Sign | None:
    """The sign: at step 32 all parameters still have the values of the first step."""
    if step.step < RATE_STEPS or not step.unchanged or run.found:
        return None
    return Sign(
        f"all parameters have the values that they had at step 1, {step.step - 1} steps before",
        f"backward at {step.where}",
    )


@check(
    "forward",
    mistake="dropout is applied to the logits",
    cure="put dropout between the hidden layers; after the last one it sets scores to 0 at random",
)
def dropout_on_logits(step: Forward, run: Progress) -> Sign | None:
    """The sign: the layer that returned the logits is a Dropout."""
    node = None if step.loss is None else step.node(step.loss.number)
    if node is None or not step.place(node).endswith("Dropout"):
        return None
    assert step.loss is not None
    zeros = float((step.loss.rows == 0).mean())
    return Sign(f"{percent(zeros)} of the logits are exactly 0", step.place(node))


@check(
    "forward",
    mistake="the shapes (N,) and (N, 1) were broadcast to (N, N)",
    cure="give both the same shape: prediction.reshape(-1), or target.reshape(-1, 1); tt.mse_loss "
    "refuses the wrong shapes",
)
def loss_broadcast(step: Forward, run: Progress) -> Sign | None:
    """The sign: a difference of a prediction and a target has N times more values than either.

    The mean then compares every prediction with every target, and its minimum is the mean target.
    """
    for node in step.nodes:
        if node.name != "sub" or len(node.operands) != 2:
            continue
        shapes = sorted((x.shape for x in node.operands), key=len)
        n = max(node.shape, default=0)
        one_is_target = sum(x.requires_grad for x in node.operands) == 1
        if n > 1 and shapes == [(n,), (n, 1)] and one_is_target:
            first, second = (x.shape for x in node.operands)
            return Sign(
                f"{first} - {second} gave {node.shape}: {n * n} differences for {n} examples",
                f"tt.sub in the loss; backward at {step.where}",
            )
    return None


# How the loss moves -----------------------------------------------------------------------------


@check(
    "progress",
    mistake="the learning rate is too high",
    cure="divide the learning rate by 10, and compare the losses after the same steps",
)
def rate_too_high(run: Progress) -> Sign | None:
    """The sign: after 32 steps the loss is far above its start, or jumps there again and again.

    It is a sign, too, if a step has changed the weights by a fifth of their size, and the loss rose
    above that of guessing, ln(classes); or, without classes, is where it was after 32 steps. Or the
    gradients have exploded since the first step, because they depend on the weights.
    """
    run.note_highest()
    if run.first is None or not run.ratios or run.found - {"dead-relus"}:
        return None
    start, is_far, recent = max(run.first, run.unknowing), run.is_thrown, run.recent
    is_late = run.step >= RATE_STEPS or (is_far and not math.isfinite(recent))
    is_above = is_late and run.largest_ratio > TINY and not recent < 1.5 * start
    is_guess = run.classes > 1  # the loss starts at that of guessing
    rose = is_guess and run.highest > ABOVE * start
    is_thrown = is_late and is_far and (rose if is_guess else not recent < 0.95 * run.first)
    jumps = is_late and is_far and max(run.losses) > 2 * start
    norms = run.norms or (0.0, 0.0)
    explodes = is_far and norms[0] < EXPLODED and not norms[1] < EXPLODED
    if not (is_above or is_thrown or jumps or explodes):
        return None
    signs = [
        f"a step has changed the weights by {percent(run.largest_ratio)} of their size",
        f"the loss was {run.first:.3g} at first, and {_extent(run)} in the last "
        f"{len(run.losses)} steps",
    ]
    if rose:
        signs.append(
            f"it rose to {run.highest:.3g} in the first {RATE_STEPS} steps, and guessing has "
            f"ln({run.classes}) = {math.log(run.classes):.2f}"
        )
    if explodes:
        signs.append(f"the norm of the gradients grew from {norms[0]:.3g} to {norms[1]:.3g}")
    return Sign("; ".join(signs), "the optimiser's lr")


def _extent(run: Progress) -> str:
    """The range of the last losses in words."""
    low, high = min(run.losses), max(run.losses)
    return f"between {low:.3g} and {high:.3g}" if low < high else f"{run.recent:.3g}"


@check(
    "progress",
    mistake="the learning rate is too low",
    cure="multiply the learning rate by 10; 0.1 % to 1 % of a weight in a step is usual",
)
def rate_too_low(run: Progress) -> Sign | None:
    """The sign: no weight moves by a ten-thousandth of its size in a step, and the loss stays.

    The size of weights that started at 0 is that of their updates. There the sign is that all
    logits are still near 0, though the gradients are not.
    A network that was trained before may have reached its lowest loss. A learning rate that is
    higher than at the last look is no sign: it is one of a warm-up, which starts near 0.
    """
    if run.step < RATE_STEPS or run.first is None or not run.ratios or run.found:
        return None
    before, now = run.rates
    if run.first < UNKNOWING * run.unknowing or now > before:
        return None
    ratio = max(run.ratios.values())
    if run.recent < 0.9 * run.first:
        return None
    if ratio <= TINY:
        evidence = f"each step changes the weights by at most {ratio:.1e} of their size"
    elif _logits_stay_at_0(run):
        evidence = f"weights started at 0, and the logits are still between ±{run.logits:.1e}"
    else:
        return None
    return Sign(
        f"{evidence}; the loss was {run.first:.3g} at first and is {run.recent:.3g} after "
        f"{run.step} steps",
        "the optimiser's lr",
    )


def _logits_stay_at_0(run: Progress) -> bool:
    """True if weights started at 0, and updates with usual gradients leave all logits near 0."""
    is_flat = run.norms is None or run.norms[1] < FLAT
    return run.began_at_0 and not is_flat and run.logits is not None and run.logits < STILL


@check(
    "progress",
    mistake="the network overfits: it memorises the training images",
    cure="stop at the lowest test loss (--save-best); use more images, dropout or augmentation",
)
def overfitting(run: Progress) -> Sign | None:
    """The sign: in two tests the loss is above its lowest value, and twice the training loss.

    The training loss must be below that of guessing, because a network that diverges has not
    memorised anything. The test loss must have risen by a tenth of the loss of guessing: in a long
    run it rises by less, because the network becomes more certain of the few images that it
    misclassifies, while the accuracy stays.
    """
    if len(run.tests) < 3:
        return None
    losses = [test for *_, test in run.tests]
    lowest = int(np.argmin(losses))
    *_, (_, _, before), (step, train, test) = run.tests
    least = max(TURN * losses[lowest], losses[lowest] + RISE * run.unknowing)
    if lowest > len(losses) - 3 or min(before, test) < least:
        return None
    if not train < min(test / 2, run.unknowing):  # or not known
        return None
    return Sign(
        f"the test loss was lowest at step {run.tests[lowest][0]:,} ({losses[lowest]:.4f}), and is "
        f"{test:.4f} at step {step:,}, where the training loss is {train:.4f}",
        "the tests of the run",
    )


@check(
    "progress",
    mistake="the captured step is re-recorded all the time",
    cure="pass what changes as an array, and return results instead of storing them; step.why has "
    "the cause",
)
def step_re_recorded(run: Progress) -> Sign | None:
    """The sign: half of the calls were recordings, which cost more than the plain function."""
    captured = run.captured
    if captured is None or run.step < 8 or captured.recordings < max(4, run.step / 2):
        return None
    return Sign(
        f"{captured.recordings} recordings in {run.step} calls; the last because {captured.why}",
        f"the captured step {captured.function.__name__}",
    )
