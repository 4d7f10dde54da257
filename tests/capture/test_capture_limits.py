"""Steps that share memory, set gradients by hand, raise, or are methods."""

import copy

import numpy as np
import pytest

import tinytensor as tt

pytestmark = pytest.mark.usefixtures("backend")


def test_an_argument_that_the_step_changes_and_reads_as_a_tensor():
    state = tt.zeros(1)

    @tt.capture
    def step(x):
        x[...] = x + 1
        return state * 1

    assert [step(state).item() for _ in range(9)] == [*range(1, 10)]


def test_an_argument_joins_the_memory_of_a_tensor_later():
    state = tt.zeros(1)

    @tt.capture
    def step(x):
        x[...] = x + 1
        return state * 1

    for _ in range(5):
        assert step(tt.zeros(1)).item() == 0
    assert [step(state).item() for _ in range(9)] == [*range(1, 10)]


def test_a_run_repeats_a_result_from_outside():
    w = tt.arange(3.0)
    step = tt.capture(lambda x: ((x * w).sum(), w))
    sums, weights = step.run(np.ones((5, 3), np.float32))
    assert sums.tolist() == [3] * 5
    assert weights.tolist() == [[0, 1, 2]] * 5


@pytest.mark.parametrize("replacement", ["a constant", "None", "computed"])
def test_another_gradient_is_a_difference(replacement):
    w, old, changed = tt.ones(1, requires_grad=True), tt.zeros(1), False

    @tt.capture
    def step(x):
        w.zero_grad()
        (w * x).sum().backward()
        if changed:
            w.grad = {"a constant": old, "None": None, "computed": x * 2}[replacement]
        return x * 1

    for _ in range(5):
        step(tt.ones(1))
    changed = True
    for _ in range(2):
        step(tt.ones(1))
    with pytest.raises(tt.CaptureError, match=r"that may be wrong: 3\."):
        step(tt.ones(1))
    step(tt.ones(1))
    assert (w.grad is None) == (replacement == "None")


def test_a_gradient_set_by_hand():
    w, other = tt.ones(2, requires_grad=True), tt.ones(2, requires_grad=True)

    @tt.capture
    def step(x):
        other.grad = None  # the step does not use `other`
        w.grad = x * 2

    for i in range(1, 9):
        other.grad = tt.ones(2)
        step(tt.full((2,), i, "float32"))
        assert other.grad is None
        assert w.grad.tolist() == [2 * i] * 2


def test_a_gradient_changed_in_place():
    w, optimizer_free = tt.ones(2, requires_grad=True), []

    @tt.capture
    def step(x):
        w.grad[...] = w.grad * x
        return x * 1

    for i in range(1, 9):
        w.grad = tt.ones(2)
        optimizer_free.append(w.grad)
        step(tt.full((2,), i, "float32"))
        assert w.grad is optimizer_free[-1]
        assert w.grad.tolist() == [i] * 2


def test_a_step_that_begins_to_raise_is_recorded_again():
    is_bad = False

    @tt.capture
    def step(x):
        if is_bad:
            raise ValueError("bad")
        return x * 1

    for _ in range(5):
        step(tt.ones(1))
    is_bad = True
    step(tt.ones(1))
    step(tt.ones(1))
    with pytest.raises(ValueError, match="bad") as caught:
        step(tt.ones(1))
    (note,) = caught.value.__notes__
    assert note == "captured step: replays before this call that may be wrong: 3"
    for _ in range(3):
        with pytest.raises(ValueError, match="bad"):
            step(tt.ones(1))
    is_bad = False
    assert step(tt.ones(1)).item() == 1


def test_a_wrong_label_keeps_the_program():
    step = tt.capture(lambda x, labels: tt.cross_entropy(x, labels))
    for labels in ([0, 1], [0, 1], [0, 1], [0, 5], [0, 1], [0, 5], [0, 1]):
        if 5 in labels:
            with pytest.raises(tt.LabelError):
                step(tt.ones(2, 3), np.array(labels))
        else:
            step(tt.ones(2, 3), np.array(labels))
    assert step.recordings == 1


def test_a_refusal_that_the_step_catches():
    @tt.capture
    def step(x):
        try:
            k = x.item()
        except tt.CaptureError:
            k = 1.0
        return x * k

    for _ in range(3):
        with pytest.raises(tt.CaptureError, match="reads values"):
            step(tt.ones(1))


class Base:
    def __init__(self, k):
        self.k = k

    @tt.capture
    def step(self, x):
        return x * self.k

    @tt.capture
    def __call__(self, x):
        return x + self.k


class Derived(Base):
    @tt.capture
    def step(self, x):
        return super().step(x) + 1


def test_an_inherited_method_does_not_hide_its_override():
    x = Derived(2.0)
    assert [x.step(tt.ones(1)).item() for _ in range(5)] == [3] * 5
    assert [x(tt.ones(1)).item() for _ in range(5)] == [3] * 5
    assert (x.step.recordings, x.__call__.recordings) == (1, 1)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_has_another_captured_step(copied):
    x = Base(1.0)
    x.step(tt.ones(1))
    y = copied(x)
    y.k = 2.0
    for _ in range(5):
        assert (x.step(tt.ones(1)).item(), y.step(tt.ones(1)).item()) == (1, 2)


def test_what_cannot_be_captured():
    with pytest.raises(tt.SettingError, match="got 3; a function is needed"):
        tt.capture(3)
