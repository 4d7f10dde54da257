"""Captured steps: replays are the step, bit by bit, and what a program can't do is an error."""

import copy
import functools
import gc
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest
from cases import KERNELS, OPS
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import datasets, door, kernels, nn, recorder
from tinytensor.capture.memory import Buffer, plan
from tinytensor.lessons import find, lessons

DATA = datasets.mnist()
NUMPY = door.load_backend("numpy")


class Run:
    """Steps of a lesson, captured or not."""

    def __init__(self, lesson="2.2", captured=True, batch=16):
        tt.manual_seed(0)
        self.lesson = find(lesson)
        self.model = self.lesson.model()
        self.optimizer = self.lesson.optimizer(self.model.parameters())
        if self.lesson.rate is not None:
            self.optimizer.lr = self.lesson.rate(20)
        self.batches = datasets.batches(DATA.train_images, DATA.train_labels, size=batch, seed=0)
        self.step = tt.capture(self.train_step) if captured else self.train_step

    def train_step(self, images, labels):
        loss = self.lesson.loss(self.model(tt.from_numpy(images)), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def losses(self, steps: int) -> list[float]:
        return [self.step(*next(self.batches)).item() for _ in range(steps)]

    def state(self) -> dict[str, np.ndarray]:
        tensors = self.model.state_dict() | self.optimizer.state_dict()
        grads = {f"grad of {name}": x.grad for name, x in self.model.named_parameters()}
        tensors |= {name: grad for name, grad in grads.items() if grad is not None}
        return {name: x.numpy().copy() for name, x in tensors.items()}


def assert_same(captured: Run, eager: Run) -> None:
    """Parameters, gradients, averages and the optimiser's memory are the same, bit by bit."""
    mine, wanted = captured.state(), eager.state()
    assert mine.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(mine[name], wanted[name], err_msg=name)


# Replays are the step


@pytest.mark.parametrize("lesson", [lesson.number for lesson in lessons()])
def test_replays_of_every_lesson_are_its_steps(lesson, backend):
    steps, batch = (20, 4) if backend == "c" else (3, 2)  # the other backends are slow
    captured, eager = Run(lesson, batch=batch), Run(lesson, captured=False, batch=batch)
    tt.manual_seed(1)
    losses = captured.losses(steps)
    tt.manual_seed(1)
    assert losses == eager.losses(steps)
    assert_same(captured, eager)
    assert captured.step.recordings == 1


CHANGES: dict[str, Callable[[Run], object]] = {
    "manual_seed called": lambda run: tt.manual_seed(7),
    "an older state loaded": lambda run: run.model.load_state_dict(
        {name: x * 0.5 for name, x in run.model.state_dict().items()}
    ),
    "the rate set": lambda run: setattr(run.optimizer, "lr", 0.5),
    "another schedule": lambda run: setattr(run.optimizer, "lr", tt.optim.stepwise(0.1, 2)),
    "eval() called": lambda run: run.model.eval(),
    "a parameter replaced": lambda run: setattr(run.model.layers[1], "bias", None),
    "a parameter frozen": lambda run: setattr(run.model.parameters()[0], "requires_grad", False),
    "frozen by the method": lambda run: run.model.parameters()[0].requires_grad_(False),
    "one parameter less to update": lambda run: run.optimizer.params.pop().requires_grad_(False),
    "a setting of the optimiser": lambda run: setattr(run.optimizer, "beta1", 0.5),
    "a setting of a layer": lambda run: setattr(run.model.layers[3], "keep_prob", 0.5),
    "gradients forgotten outside": lambda run: run.optimizer.zero_grad(),
    "a step made outside": lambda run: run.train_step(*next(run.batches)),
    "another list of layers": lambda run: setattr(
        run.model, "layers", [*run.model.layers[:2], nn.Sigmoid(), *run.model.layers[3:]]
    ),
    "a hook": lambda run: run.model.parameters()[1].register_hook(lambda grad: grad * 2),
    "data assigned": lambda run: setattr(
        run.model.parameters()[0], "data", np.full((784, 200), 0.01)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_steps_is_followed(change):
    runs = Run(captured=True), Run(captured=False)
    losses = []
    for run in runs:
        tt.manual_seed(1)
        losses.append(run.losses(3))
        CHANGES[change](run)
        tt.manual_seed(2)
        losses[-1] += run.losses(3)
    assert losses[0] == losses[1]
    assert_same(*runs)


# What Python computes is a constant, and verified


class Settings:
    """Numbers and tensors that a step uses by their names."""

    offset = 0.0  # of the class, until an object has its own

    def __init__(self, scale: float = 2.0) -> None:
        self.scale, self.weight = scale, tt.full((2,), scale)

    @property
    def by_property(self) -> float:
        return self.scale

    def __call__(self, x):
        return x * self.scale


def hooked(settings):
    w = tt.ones(2, requires_grad=True)
    w.register_hook(lambda grad: grad * settings.scale)

    def step(x):
        w.zero_grad()
        (x * w).sum().backward()
        return w.grad

    return step


CONSTANTS: dict[str, tuple[Callable, Callable]] = {
    "an attribute": (lambda s: lambda x: x * s.scale, lambda s: setattr(s, "scale", 3.0)),
    "of a class": (lambda s: lambda x: x * s.offset, lambda s: setattr(s, "offset", 3.0)),
    "by a property": (lambda s: lambda x: x * s.by_property, lambda s: setattr(s, "scale", 3.0)),
    "an object that is called": (lambda s: s, lambda s: setattr(s, "scale", 3.0)),
    "a partial function": (
        lambda s: functools.partial(lambda s, x: s(x), s),
        lambda s: setattr(s, "scale", 3.0),
    ),
    "a hook's": (hooked, lambda s: setattr(s, "scale", 3.0)),
    "inside another captured step": (
        lambda s: (lambda inner: lambda x: inner(x))(tt.capture(lambda x: x * s.scale)),
        lambda s: setattr(s, "scale", 3.0),
    ),
    "a tensor replaced": (
        lambda s: lambda x: x * s.weight,
        lambda s: vars(s).update(before=s.weight, weight=tt.full((2,), 3.0)),
    ),
}


@pytest.mark.parametrize("what", CONSTANTS)
def test_a_constant_that_changes_is_found_at_the_next_verification(what):
    make, change = CONSTANTS[what]
    settings = Settings()
    function = make(settings)
    step = tt.capture(function)
    x = tt.ones(2)
    before = [step(x).tolist() for _ in range(4)]  # recorded, verified, replayed, verified
    assert (step.recordings, step.verifications) == (1, 2)
    change(settings)
    assert [step(x).tolist() for _ in range(3)] == before[:3], "constants of the recording"
    with pytest.raises(tt.CaptureError, match=r"differs from its program: .*mul"):
        step(x)
    for _ in range(3):
        assert step(x).tolist() == function(x).tolist()


def test_a_constant_that_changes_before_the_first_replay():
    settings = Settings()
    step = tt.capture(lambda x: x * settings.scale)
    step(tt.ones(2))
    settings.scale = 3.0
    assert [step(tt.ones(2)).tolist() for _ in range(6)] == [[3, 3]] * 6
    assert "mul: y was 2.0 when recorded, is 3.0" in step.why
    assert step.recordings == 2


def test_forget_drops_the_constants():
    settings = Settings()
    step = tt.capture(lambda x: x * settings.scale)
    for _ in range(4):
        step(tt.ones(2))
    settings.scale = 3.0
    step.forget()
    assert step.program is None
    assert step(tt.ones(2)).tolist() == [3, 3]


def test_the_error_says_what_differs_and_where():
    settings = Settings()
    step = tt.capture(lambda x: x * settings.scale)
    for _ in range(4):
        step(tt.ones(2))
    settings.scale = 3.0
    for _ in range(3):
        step(tt.ones(2))
    with pytest.raises(tt.CaptureError) as caught:
        step(tt.ones(2))
    words = str(caught.value)
    assert "mul: y was 2.0 when recorded, is 3.0, at test_program.py:" in words
    assert "Replays before this call that may be wrong: 3." in words
    assert "step.forget()" in words


def test_verification_always_and_never():
    calls = []

    def function(x):
        calls.append(1)
        return x * len(calls)

    always = tt.capture(function, verify="always")
    with pytest.warns(RuntimeWarning, match="recorded 8 times in a row"):
        found = [always(tt.ones(1)).item() for _ in range(12)]
    assert found == list(range(1, 13))
    calls.clear()
    never = tt.capture(function, verify="never")
    assert [never(tt.ones(1)).item() for _ in range(12)] == [1] * 12
    with pytest.raises(tt.SettingError, match="verify"):
        tt.capture(function, verify="sometimes")


def test_verifications_are_at_calls_2_4_8():
    step = tt.capture(lambda x: x + 1)
    found = []
    for _ in range(16):
        step(tt.ones(1))
        found.append(step.verifications)
    assert found == [0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4]


def test_a_run_is_verified_as_calls_are():
    step = tt.capture(lambda x: x + 1)
    assert step.run(tt.zeros(100, 1)).tolist() == [[1.0]] * 100
    assert (step.recordings, step.verifications) == (1, 6)


def test_programs_of_many_shapes_are_kept():
    step = tt.capture(lambda x: x + 1)
    for _ in range(3):
        for n in range(1, 65):
            assert step(tt.ones(n)).tolist() == [2] * n
    assert step.recordings == 64


def test_why_says_what_caused_the_last_recording():
    model = nn.Dropout(keep_prob=0.5)
    step = tt.capture(lambda x: model(x))
    assert step.why == ""
    step(tt.ones(2))
    assert step.why == "there is no program for arguments of these shapes and dtypes"
    model.keep_prob = 0.25
    step(tt.ones(2))
    assert step.why == "an attribute of a Dropout was set"
    model.eval()
    step(tt.ones(2))
    assert step.why == "a Dropout has training=False"


def test_other_modules_and_optimisers_change_nothing():
    step = tt.capture(lambda x: x + 1)
    for _ in range(5):
        tt.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
        step(tt.ones(1))
    assert step.recordings == 1


def test_a_list_that_holds_itself():
    held = [tt.ones(2)]
    held.append(held)
    step = tt.capture(lambda x: x * held[0])
    assert [step(tt.full((2,), i)).tolist() for i in (1.0, 2.0)] == [[1, 1], [2, 2]]
    assert step.recordings == 1


def test_a_method_has_programs_for_each_object():
    class Trainer:
        def __init__(self, scale):
            self.scale = scale

        @tt.capture
        def step(self, x):
            return x * self.scale

    one, two = Trainer(2.0), Trainer(3.0)
    for _ in range(3):
        assert one.step(tt.ones(1)).item() == 2
        assert two.step(tt.ones(1)).item() == 3
    assert (one.step.recordings, two.step.recordings) == (1, 1)
    other = copy.deepcopy(one)
    other.scale = 5.0
    assert other.step(tt.ones(1)).item() == 5
    assert isinstance(Trainer.step, type(one.step))


def test_a_method_of_a_class_with_slots():
    class Trainer:
        __slots__ = ()

        @tt.capture
        def step(self, x):
            return x

    with pytest.raises(tt.CaptureError, match="its class has slots"):
        Trainer().step(tt.ones(1))


def test_a_captured_step_is_not_pickled():
    with pytest.raises(tt.NotSupported, match="pickle its function"):
        pickle.dumps(tt.capture(len))


def test_a_backend_chosen_later_is_used():
    captured, eager = Run("1.0"), Run("1.0", captured=False)
    for name in (*BACKENDS, *BACKENDS):
        for run in (captured, eager):
            with tt.backend(name):
                run.last = run.losses(2)
        assert captured.last == eager.last, name
    assert_same(captured, eager)
    assert captured.step.recordings == len(BACKENDS)


def test_another_shape_is_another_program():
    captured, eager = Run("2.1"), Run("2.1", captured=False)
    for run in (captured, eager):
        for size in (16, 7, 16, 7, 16):
            images, labels = next(run.batches)
            run.step(images[:size], labels[:size])
    assert_same(captured, eager)
    assert captured.step.recordings == 2


def test_programs_that_take_turns_are_not_recorded_again():
    run = Run("4.1")
    evaluate = tt.capture(lambda images: run.model(images).argmax(axis=1))
    images, _ = next(run.batches)
    for _ in range(3):
        run.losses(2)
        run.model.eval()
        with tt.no_grad():
            mine = evaluate(tt.from_numpy(images))
            wanted = run.model(tt.from_numpy(images)).argmax(axis=1)
        assert mine.tolist() == wanted.tolist()
        run.model.train()
    assert (run.step.recordings, evaluate.recordings) == (1, 1)


def test_two_steps_that_share_parameters():
    runs = Run("1.0"), Run("1.0", captured=False)
    for run in runs:
        other = tt.optim.SGD(run.model.parameters(), lr=0.01, momentum=0.9)

        def second(images, labels, run=run, other=other):
            loss = tt.mse_loss(tt.softmax(run.model(images)), tt.one_hot(labels, 10))
            other.zero_grad()
            loss.backward()
            other.step()

        second = tt.capture(second) if run is runs[0] else second
        for _ in range(4):
            images, labels = next(run.batches)
            run.step(images, labels)
            second(tt.from_numpy(images), labels)
    assert_same(*runs)


def test_gradients_and_kept_tensors_are_fresh_after_each_replay():
    w, kept = tt.ones(3, requires_grad=True), {}

    @tt.capture
    def step(x):
        w.zero_grad()
        kept["square"] = x * x
        (w * kept["square"]).sum().backward()
        return kept["square"]

    results = [step(tt.full((3,), i, "float32")) for i in range(4)]
    assert [r.tolist() for r in results] == [[i * i] * 3 for i in range(4)], "copies each"
    assert w.grad.tolist() == [9] * 3 == kept["square"].tolist()
    w.grad = None
    step(tt.full((3,), 2, "float32"))
    assert w.grad.tolist() == [4] * 3


def test_a_step_that_stores_a_tensor_runs_at_every_call(backend):
    kept = []

    @tt.capture
    def step(x):
        kept.append(x * 2)

    for i in range(7):
        step(tt.full((2,), float(i)))
    with pytest.warns(RuntimeWarning, match="8 times in a row.*stores a tensor outside"):
        step(tt.full((2,), 7.0))
    step(tt.full((2,), 8.0))
    assert [y.tolist() for y in kept] == [[2 * i] * 2 for i in range(9)]
    assert step.recordings == 9
    assert "stores a tensor" in step.why


def test_a_step_that_stores_only_at_first_is_replayed_later(backend):
    kept = []

    @tt.capture
    def step(x):
        if len(kept) < 3:
            kept.append(x * 2)
        return x * 2

    for i in range(12):
        assert step(tt.full((2,), float(i))).tolist() == [2 * i] * 2
    assert step.recordings == 4


def test_garbage_in_a_reference_cycle_is_not_stored(backend):
    @tt.capture
    def step(x):
        cycle = [x * 2]
        cycle.append(cycle)
        return cycle[0] * 1

    gc.disable()
    try:
        for i in range(9):
            assert step(tt.full((2,), float(i))).tolist() == [2 * i] * 2
    finally:
        gc.enable()
    assert (step.recordings, step.verifications) == (1, 3)


def test_an_argument_that_is_kept_is_fresh_after_each_replay(backend):
    """Large enough to be read in place, if the step did not keep it."""
    w, kept = tt.ones(64, 2, requires_grad=True), {}

    @tt.capture
    def step(x):
        kept["x"] = tt.from_numpy(x)
        kept["y"] = kept["x"] @ w

    for i in range(1, 4):
        step(np.full((64, 64), i, np.float32))
        assert kept["x"].tolist() == [[i] * 64] * 64
    kept["y"].sum().backward()
    assert w.grad.tolist() == [[64 * 3] * 2] * 64


def test_an_argument_that_shares_memory_with_what_the_step_changes(backend):
    w = tt.ones(64, 64)

    @tt.capture
    def step(x):
        w[...] = w * 2
        return x.sum()

    assert [step(w.detach()).item() for _ in range(3)] == [64 * 64 * 2 * 2**i for i in range(3)]
    assert step.why == "argument 0 shares memory with another one or a tensor, and is changed"
    for _ in range(3):
        step(tt.ones(64, 64))
    assert step(w.detach()).item() == 64 * 64 * 2**7


@pytest.mark.parametrize("columns", [3, 3000])
def test_an_argument_changed_in_place(backend, columns):
    @tt.capture
    def step(x, y):
        x[:, 1:3] = 0
        return x + y

    for i in range(1, 6):
        x = np.full((2, columns), i, np.float32)
        result = step(x, tt.ones(2, columns))
        assert x[0, 1] == x[1, 2] == 0 != x[0, 0]
        np.testing.assert_array_equal(result.numpy(), x + 1)
    table = np.ones((3, 2, columns), np.float32)
    step.run(table, tt.ones(3, 2, columns))
    assert (table[:, :, 1:3] == 0).all()
    x.flags.writeable = False
    with pytest.raises((tt.NotSupported, ValueError), match="read-only"):
        step(x, tt.ones(2, columns))


def test_a_gradient_put_there_by_hand():
    w = tt.ones(2, requires_grad=True)
    optimizer = tt.optim.SGD([w], lr=0.25)

    @tt.capture
    def step(x):
        (w.grad,) = tt.grad((x * w * w).sum(), [w])
        optimizer.step()

    for i in range(3):
        step(tt.ones(2))
        assert w.grad.tolist() == [2 / 2**i] * 2
        w.grad = None
    assert step.recordings == 1


def test_an_outside_tape_notices_a_replay():
    run = Run("1.0")
    run.losses(2)
    y = (run.model.weight * run.model.weight).sum()
    run.losses(1)
    with pytest.raises(tt.GradientError, match="changed in place"):
        y.backward()


@pytest.mark.skipif("c" not in BACKENDS, reason="the rungs in C")
def test_a_rung_of_a_ladder_is_replayed():
    captured, eager = Run("2.1"), Run("2.1", captured=False)
    with tt.backend("c"):
        for rung in ("c.naive", "c.blocked"):
            with tt.use_kernel("matmul", rung):
                assert captured.losses(3) == eager.losses(3)
        assert captured.losses(3) == eager.losses(3)
    assert captured.step.recordings == 3
    assert_same(captured, eager)
    with tt.backend("c"), pytest.raises(tt.CaptureError, match="use_kernel"):
        tt.capture(_by_a_rung)(np.ones((2, 2), np.float32))


def _by_a_rung(x):
    with tt.use_kernel("matmul", "c.naive"):
        return tt.from_numpy(x) @ tt.from_numpy(x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_made_of_numbers_is_a_constant(backend):
    @tt.capture
    def step(x):
        y = tt.pad(x * 2 + [1.0, 2.0], 1, value=9.0)
        z = tt.zeros(4)
        z[1:3] = y[1:3]
        z[0] = z[0] + 1
        return z + tt.arange(4), x[::-1], tt.full((2,), 3) * tt.ones(2)

    for i in range(3):
        z, flipped, six = step(tt.Tensor(np.array([i, 2 * i], np.float32)))
        assert z.tolist() == [1, 2 * i + 2, 4 * i + 4, 3]
        assert flipped.tolist() == [2 * i, i]
        assert six.tolist() == [3, 3]


def test_an_index_is_followed(backend):
    table = tt.Tensor(np.arange(12.0).reshape(4, 3))

    @tt.capture
    def step(index, mask):
        x = tt.from_numpy(index)
        largest = tt.gather(table, x.reshape(-1, 1), axis=1)
        return tt.embedding(table, index), table[-1, x], largest, table[tt.from_numpy(mask)]

    numbers = table.numpy()
    for index, mask in (([0, 1, 2, 0], [1, 0, 1, 0]), ([2, -1, 1, 0], [0, 1, 1, 0])):
        index, mask = np.array(index), np.array(mask, bool)
        words, last_row, largest, masked = step(index, mask)
        np.testing.assert_array_equal(words.numpy(), numbers[index])
        np.testing.assert_array_equal(last_row.numpy(), numbers[-1, index])
        along = np.take_along_axis(numbers, index[:, None], axis=1)
        np.testing.assert_array_equal(largest.numpy(), along)
        np.testing.assert_array_equal(masked.numpy(), numbers[mask])
    with pytest.raises(tt.IndexingError):
        step(np.array([0, 1, 2, 4]), mask)
    with pytest.raises(tt.CaptureError, match="pick"):
        step(index, np.array([True] * 4))
    assert step.recordings == 1


def test_a_part_of_an_argument(backend):
    w = tt.Tensor(np.arange(12.0).reshape(4, 3))

    @tt.capture
    def step(x, labels):
        return tt.cross_entropy(tt.from_numpy(x[1:3]) * w[:2], labels[::2]), tt.one_hot(labels, 3)

    for i in range(3):
        x, labels = np.full((4, 3), i + 0.5), np.array([i, 0, 2 - i, 0])
        loss, rows = step(x, labels)
        wanted = tt.cross_entropy(tt.from_numpy(x[1:3]) * w[:2], labels[::2])
        assert loss.item() == wanted.item()
        assert rows.argmax(axis=1).tolist() == labels.tolist()


@pytest.mark.parametrize("columns", [3, 3000])  # which are copied, and pointed to
def test_arguments_of_any_kind_of_memory(backend, columns):
    @tt.capture
    def step(x, y):
        return x * 2 + x + y

    wanted = np.random.default_rng(0).random((6, columns)).astype(np.float32)
    unaligned = np.frombuffer(b"..." + wanted.tobytes(), np.float32, offset=3).reshape(6, columns)
    read_only = wanted.copy()
    read_only.flags.writeable = False
    ones = tt.ones(columns)
    for x in (wanted, unaligned, np.asfortranarray(wanted), read_only, wanted[::-1][::-1]):
        np.testing.assert_array_equal(step(x, ones).numpy(), wanted * 2 + wanted + 1)
    tables = step.run(np.stack([wanted, -wanted]), tt.ones(2, columns)).numpy()
    np.testing.assert_array_equal(tables[1], -wanted * 2 - wanted + 1)
    assert step.recordings == 1


def test_arguments_by_name():
    step = tt.capture(lambda x, y, *, z=None: x - y)
    x, y = tt.full((2,), 5.0), tt.full((2,), 3.0)
    for result in (step(x, y), step(x, y=y), step(y=y, x=x)):
        assert result.tolist() == [2, 2]
    assert step.recordings == 1
    with pytest.raises(TypeError, match="missing a required argument: 'y'"):
        step(x=x)


def test_replays_leave_nothing_behind(backend):
    run = Run("1.0", batch=2)
    images, labels = next(run.batches)
    tables = np.stack([images] * 100), np.stack([labels] * 100)

    def replay(times: int) -> int:
        for _ in range(times):
            run.step(images, labels)
        for _ in range(times // 100):
            run.step.run(*tables)
        gc.collect()
        return sys.getallocatedblocks()

    before = replay(200)
    assert replay(2000) < before + 200


def test_results_in_tuples_lists_and_dicts():
    @tt.capture
    def step(x):
        return {"both": [x + 1, (x + 2,)], "none": None, "outside": weight}

    weight = tt.ones(2)
    for i in range(3):
        got = step(tt.full((2,), i))
        assert got["both"][0].tolist() == [i + 1] * 2
        assert got["both"][1][0].tolist() == [i + 2] * 2
        assert got["none"] is None
        assert got["outside"].tolist() == [1, 1]
        assert not np.shares_memory(got["outside"].numpy(), weight.numpy())


def test_gradients_of_gradients(backend):
    w = tt.Tensor([1.0, 2.0], requires_grad=True)

    @tt.capture
    def step(x):
        y = (w * w * w * x).sum()
        (first,) = tt.grad(y, w, create_graph=True)
        w.zero_grad()
        (first * first).sum().backward()
        return first

    for i in (1.0, 3.0, 5.0):
        assert step(tt.full((2,), i)).tolist() == [3 * i, 12 * i]
        assert w.grad.tolist() == [36 * i * i, 288 * i * i]
    assert step.recordings == 1


def test_the_same_function_inside_another():
    inner = tt.capture(lambda x: x * 2)
    outer = tt.capture(lambda x: inner(x) + 1)
    assert [outer(tt.full((1,), i)).item() for i in range(3)] == [1, 3, 5]
    assert (inner.recordings, outer.recordings) == (0, 1)


# Labels and other checks


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_labels_are_checked_at_every_replay(backend, reduction):
    w = tt.ones(4, 3, requires_grad=True)
    optimizer = tt.optim.Adam([w])

    @tt.capture
    def step(x, labels):
        loss = tt.cross_entropy(x @ w, labels, reduction)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    x = np.ones((2, 4), np.float32)
    for _ in range(2):
        step(x, np.array([0, 2]))
    before = w.numpy().copy()
    for wrong in ([0, 3], [-4, 0], [2**40, 0]):
        with pytest.raises((tt.LabelError, tt.IndexingError)):
            step(x, np.array(wrong))
    assert (w.numpy() == before).all()
    assert optimizer.steps == 2
    step(x, np.array([1, 1]))
    assert optimizer.steps == 3
    assert step.recordings == 1


def test_labels_that_are_computed_are_checked_too(backend):
    step = tt.capture(lambda x: tt.one_hot((tt.from_numpy(x) * 2).astype("int64"), 4))
    assert step(np.array([0.5, 1], np.float32)).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    assert step(np.array([0, 1.5], np.float32)).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    with pytest.raises(tt.LabelError, match="got label 6"):
        step(np.array([0, 3], np.float32))
    assert step(np.array([1, 1], np.float32)).tolist() == [[0, 0, 1, 0]] * 2


def test_an_error_in_the_middle_leaves_no_program():
    w, calls = tt.ones(2, requires_grad=True), []

    @tt.capture
    def step(x):
        w.zero_grad()
        (w * x).sum().backward()
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("in the middle")
        return w.grad

    with pytest.raises(KeyError):
        step(np.ones(2, np.float32))
    assert (step.program, step.recordings, recorder.recordings) == (None, 0, 0)
    assert recorder.recorder() is None
    assert [step(np.full(2, i, np.float32)).tolist() for i in range(3)] == [
        [i] * 2 for i in (0, 1, 2)
    ]
    assert len(calls) == 3, "the second recorded, the third verified"


def test_threads_take_turns():
    step = tt.capture(lambda x: (tt.from_numpy(x) * 2 + 1).sum())
    step(np.zeros(1000, np.float32))
    wrong = []

    def work(i):
        for _ in range(200):
            if (got := step(np.full(1000, i, np.float32)).item()) != 1000 * (2 * i + 1):
                wrong.append(got)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, step.recordings) == ([], 1)


def test_another_thread_computes_while_a_step_is_recorded():
    seen = []

    @tt.capture
    def step(x):
        other = threading.Thread(target=lambda: seen.append(tt.ones(3).sum().item()))
        other.start()
        other.join()
        return x + 1

    step(tt.ones(1))
    assert seen == [3]
    assert [call.kernel for call in step.program.calls] == ["add"]


def test_anomalies_are_looked_for_though_the_step_is_captured():
    step = tt.capture(lambda x: x.log())
    step(tt.ones(1))
    with tt.detect_anomaly(), pytest.raises(tt.AnomalyError):
        step(tt.zeros(1) - 1)


def test_what_has_been_recorded_is_let_go():
    import weakref

    gc.disable()
    try:
        run = Run("2.2")
        run.losses(2)
        step = weakref.ref(run.step)
        del run
        gc.collect()
        assert step() is None
    finally:
        gc.enable()


# What a program can't do


def _watched(x):
    with tt.detect_anomaly():
        return x


REFUSED: dict[str, tuple[Callable, str]] = {
    "item": (lambda x: (x.sum().item(), x)[1], r"\.item\(\) reads values"),
    "numpy": (lambda x: tt.from_numpy(x.numpy()), r"\.numpy\(\) reads"),
    "tolist": (lambda x: tt.Tensor(x.tolist()), r"\.tolist\(\) reads"),
    "float": (lambda x: x * float(x.sum()), r"float\(\) reads"),
    "bool": (lambda x: x if (x.sum() > 0) else -x, r"bool\(\) reads"),
    "index": (lambda x: x[x.argmax().__index__()], r"index\(\) reads"),
    "print": (lambda x: (f"{x}", x)[1], "printing reads"),
    "array": (lambda x: np.asarray(x), r"\.numpy\(\) reads"),
    "data": (lambda x: tt.from_numpy(x.data.numpy()), r"\.numpy\(\) reads"),
    "random": (lambda x: x + tt.rand(3), "random numbers"),
    "seed": (lambda x: (tt.manual_seed(0), x)[1], "manual_seed"),
    "set_backend": (lambda x: (tt.set_backend("numpy"), x)[1], "set_backend"),
    "detect_anomaly": (_watched, "detect_anomaly"),
    "a number as result": (lambda x: 3.0, "returns a float"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_while_recording(what):
    function, words = REFUSED[what]
    step = tt.capture(function)
    with pytest.raises(tt.CaptureError, match=words):
        step(tt.ones(3))
    assert step.program is None


READS: dict[str, Callable] = {
    "method": lambda x: tt.ones(3) * float(x.max()),
    "a NumPy scalar": lambda x: tt.ones(3) * np.float32(x[0]),
    "a function without an op": lambda x: tt.from_numpy(np.partition(x, 1)),
    "loop": lambda x: tt.Tensor([float(i) for i in x]),
    "a list": lambda x: tt.Tensor([x, x]),
    "truth": lambda x: tt.ones(3) if x.any() else tt.zeros(3),
    "a place": lambda x: tt.ones(3) * float(x.argmax()),
    "repeats": lambda x: tt.repeat(x, x.astype("int64")),
    "widths": lambda x: tt.pad(x, x[:2].astype("int64")),
    "its memory": lambda x: tt.ones(3) * float(x.data[0]),
    "another library": lambda x: tt.ones(3) * float(np.from_dlpack(x)[0]),
    "asarray": lambda x: tt.from_numpy(np.asarray(x)),
    "memoryview": lambda x: tt.from_numpy(np.frombuffer(x.numpy(), np.float32)),
}


@pytest.mark.parametrize("what", READS)
def test_reading_an_argument_is_refused_while_recording(what):
    with pytest.raises(tt.CaptureError):
        tt.capture(READS[what])(np.ones(3, np.float32))


ON_ARRAYS: dict[str, Callable] = {
    "ufunc": lambda x: x / 2,
    "function": lambda x: np.concatenate([x, x]),
    "element": lambda x: tt.ones(3) * x[0],
    "kind": lambda x: x.astype(np.float64),
    "loop": lambda x: [row * 2 for row in x],
}


@pytest.mark.parametrize("what", ON_ARRAYS)
def test_an_array_argument_is_a_tensor_inside(what):
    step = tt.capture(ON_ARRAYS[what])
    for i in range(5):
        got, wanted = (f(np.full(3, i, np.float32)) for f in (step, ON_ARRAYS[what]))
        assert np.array_equal(np.asarray(numbers(got)).ravel(), np.asarray(wanted).ravel()[:6])


def test_arrays_around_the_step_are_read_in_place():
    array, index, images = np.ones(3, np.float32), np.arange(3), DATA.test_images.copy()

    @tt.capture
    def step(x):
        pixels = tt.from_numpy(datasets.to_float(images, index)).sum()
        return tt.from_numpy(array) + x, x + array, x[index], tt.one_hot(index, 3), pixels

    for i in range(6):
        array[:], index[:] = i, np.roll(index, 1)
        images[i] = 0
        np.testing.assert_equal(numbers(step(tt.arange(3))), numbers(step.function(tt.arange(3))))


def test_ops_take_an_array_argument_as_it_is():
    step = tt.capture(lambda x: (tt.ones(3) + x, x * tt.ones(3), tt.Tensor(x, "float64")))
    for i in range(3):
        x = np.full(3, i, np.float32)
        assert [r.tolist() for r in step(x)] == [[i + 1] * 3, [i] * 3, [i] * 3]


@pytest.mark.parametrize(
    "argument",
    [
        object(),
        slice(2),
        {1, 2},
        np.array(["a"]),
        tt.ones(2, requires_grad=True),
        [{"x": tt.ones(2, requires_grad=True)}],
    ],
)
def test_other_arguments_raise(argument):
    with pytest.raises(tt.CaptureError, match="captured step: an argument"):
        tt.capture(lambda x: None)(argument)
    with pytest.raises(tt.CaptureError, match="captured step: an argument"):
        tt.capture(lambda *, x: None)(x=argument)


def test_arguments_in_tuples_lists_and_dicts(backend):
    def function(batch, *, state, rest):
        (x, y), scale = batch["pair"], batch["scale"]
        return {"sum": x * scale + y, "state": [s + 1 for s in state], "rest": rest}

    step = tt.capture(function)
    for i in range(7):
        x, y = np.full(3, i, np.float32), tt.full((3,), 2.0)
        got = step({"pair": (x, y), "scale": 10}, rest=None, state=[x, np.array(i, np.float32)])
        assert got["sum"].tolist() == [10 * i + 2] * 3
        assert [s.tolist() for s in got["state"]] == [[i + 1] * 3, i + 1]
        assert got["rest"] is None
    assert step.recordings == 1
    assert "batch.pair.0 (3)" in str(step.program)
    assert "state.1 ()" in str(step.program)


def test_a_structure_has_its_own_program():
    """The same arrays in another structure, or by name, may have another meaning."""
    step = tt.capture(
        lambda x, extra=None, *, y=None: x * (1 if y is None else 2) + len(extra or ())
    )
    x = tt.ones(2)
    calls = [
        (lambda: step(x, {"y": x}), 2),
        (lambda: step(x, y=x), 2),
        (lambda: step(x, (x,)), 2),
        (lambda: step(x, [x]), 2),
    ]
    for _ in range(5):
        for call, wanted in calls:
            assert call().tolist() == [wanted] * 2
    assert step.recordings == 4


@pytest.mark.parametrize(
    "values", [(1, 2), (1, True), (1, 1.0), (0.0, -0.0), ("mean", "sum"), (None, 0)]
)
def test_each_number_among_the_arguments_has_its_own_program(values):
    seen = []

    @tt.capture
    def step(x, how):
        seen.append(how)
        return x + 1 if repr(how) == repr(values[0]) else x - 1

    for _ in range(5):
        assert step(tt.zeros(1), values[0]).item() == 1
        assert step(tt.zeros(1), how=values[1]).item() == -1
    assert step.recordings == 2
    assert {type(how) for how in seen} == set(map(type, values))


def test_a_number_that_changes_at_each_call_warns():
    step = tt.capture(lambda x, i: x + i)
    with pytest.warns(RuntimeWarning, match="8 times in a row.* these numbers.* as an array"):
        found = [step(tt.zeros(1), i).item() for i in range(12)]
    assert found == list(range(12))
    step.forget()
    found = [step(tt.zeros(1), np.array(i, np.float32)).item() for i in range(12)]
    assert found == list(range(12))
    assert step.recordings == 1
    assert all(np.isnan(step(tt.zeros(1), float("nan")).item()) for _ in range(3))


def test_run_takes_arguments_by_name_and_in_structures(backend):
    step = tt.capture(lambda pair, factor, *, y: (pair[0] + pair[1]) * factor - y)
    a, b, y = (tt.randn(5, 3) for _ in range(3))
    for _ in range(2):
        got = step.run([a, b], y=y, factor=2).numpy()
        np.testing.assert_allclose(got, ((a + b) * 2 - y).numpy(), rtol=1e-6)
    assert step.recordings == 1
    with pytest.raises(tt.SettingError, match="got tables of 2 and 5 rows; the number of steps is"):
        step.run([a, b[:2]], 2, y=y)
    with pytest.raises(tt.SettingError, match="got tables of 5 rows for 6 steps; a row for each"):
        step.run([a, b], 2, y=y, steps=6)
    with pytest.raises(tt.SettingError, match="run: got no table; the number of steps is needed"):
        tt.capture(lambda: tt.zeros(1)).run()


def test_steps_within_a_step_take_arguments_by_name():
    inner = tt.capture(lambda x, *, parts: x + parts["y"])
    outer = tt.capture(lambda x: inner(x, parts={"y": np.ones(2, np.float32)}) * 2)
    assert [outer(tt.ones(2)).tolist() for _ in range(3)] == [[4, 4]] * 3


def test_repr_of_a_step_and_of_a_program():
    step = tt.capture(lambda x: x.exp().sum())
    assert repr(step) == "<captured step <lambda>: recordings 0, verifications 0>"
    with tt.backend("numpy"):
        for _ in range(3):
            step(tt.ones(3))
        assert repr(step) == (
            "<captured step <lambda>: recordings 1, verifications 1, backend numpy>"
        )
        assert repr(step.program) == (
            "<program of <lambda>: kernel calls 2, backend numpy; print() shows its table>"
        )


def test_a_module_is_a_step():
    class Cell(tt.nn.Module):
        def forward(self, x, state=None):
            return {"out": x if state is None else x + state}

    cell = Cell()
    step = tt.capture(cell)
    for _ in range(4):
        assert step(tt.ones(2), state=tt.ones(2))["out"].tolist() == [2, 2]
        assert step(tt.ones(2))["out"].tolist() == [1, 1]
    assert step.recordings == 2


def test_a_state_replaced_at_each_step_is_recorded_each_time():
    state = {"w": tt.ones(3)}

    @tt.capture
    def step(x):
        state["w"] = state["w"] - x
        return state["w"]

    with pytest.warns(RuntimeWarning, match="recorded 8 times in a row"):
        found = [step(tt.ones(3)).tolist()[0] for _ in range(12)]
    assert found == [1 - i for i in range(1, 13)]


def test_state_made_at_the_first_call():
    state = {}

    @tt.capture
    def step(x):
        if "sum" not in state:
            state["sum"] = tt.zeros(3)
        state["sum"][...] = state["sum"] + x
        return state["sum"] * 1

    assert [step(tt.ones(3)).tolist()[0] for _ in range(12)] == list(range(1, 13))
    assert step.recordings == 2


def test_a_step_adds_to_gradients_from_before(backend):
    """Micro-batches: gradients are summed by one step, and used by another."""
    w = tt.ones(3, requires_grad=True)
    optimizer = tt.optim.SGD([w], lr=0.5)
    add = tt.capture(lambda x: (w * x).sum().backward())

    @tt.capture
    def update():
        optimizer.step()
        optimizer.zero_grad()

    for i in range(6):
        before = w.numpy().copy()
        for j in range(4):
            add(tt.full((3,), i + j, "float32"))
        assert w.grad.tolist() == [4 * i + 6] * 3
        update()
        np.testing.assert_array_equal(w.numpy(), before - 0.5 * (4 * i + 6))
        assert w.grad is None
    assert (add.recordings, update.recordings) == (2, 1)


def test_a_constant_gradient_is_restored():
    """It is the 1 with which backward() starts, and no kernel reads or writes it."""
    w = tt.Tensor(2.0, requires_grad=True)

    @tt.capture
    def step(x):
        w.zero_grad()
        (w + x.sum()).backward()

    for _ in range(6):
        step(tt.ones(3))
        assert w.grad.item() == 1
        w.grad[...] = w.grad * 0.5


@pytest.mark.parametrize("zero_first", [True, False])
@pytest.mark.parametrize("wrong", ["labels", "schedule"])
def test_an_error_in_a_replay_leaves_the_gradients_that_the_step_does(wrong, zero_first):
    def story(capture):
        w, rates = tt.ones(4, 3, requires_grad=True), [0.1]
        rate = (lambda i: rates[0]) if wrong == "schedule" else 0.1
        optimizer = tt.optim.SGD([w], lr=rate)

        def function(x, labels):
            if zero_first:
                optimizer.zero_grad()
            loss = tt.cross_entropy(tt.from_numpy(x) @ w, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        step, found = capture(function), []
        for i in range(7):
            labels = np.array([0, 3 if wrong == "labels" and i == 4 else 1])
            rates[0] = -1.0 if i == 4 else 0.1
            try:
                step(np.full((2, 4), i + 1, np.float32), labels)
            except (tt.LabelError, tt.SettingError) as error:
                found.append(type(error))
            found.append(None if w.grad is None else w.grad.tolist())
            found.append(w.tolist())
        return found

    assert story(tt.capture) == story(lambda function: function)


def test_a_gradient_that_comes_later():
    w, v = tt.ones(3, requires_grad=True), tt.ones(3, requires_grad=True)
    optimizer = tt.optim.SGD([w, v], lr=0.5)

    @tt.capture
    def step(x):
        w.grad = None
        (w * x).sum().backward()
        optimizer.step()

    for i in range(6):
        if i == 3:
            (v * 2).sum().backward()
        step(tt.ones(3))
    assert v.tolist() == [1 - 3 * 0.5 * 2] * 3


def test_a_gradient_forgotten_without_zero_grad():
    w = tt.ones(3, requires_grad=True)

    @tt.capture
    def step(x):
        w.grad = None
        (w * x).sum().backward()

    for i in range(5):
        step(tt.full((3,), i, "float32"))
        assert w.grad.tolist() == [i] * 3
    assert step.recordings == 1


# Roles and places


@pytest.mark.parametrize("case", KERNELS, ids=str)
def test_roles_are_what_kernels_do(case):
    """Written: changed whatever was there. Read: what was there matters."""
    reads, writes = door.CONTRACTS[case.name].reads, door.CONTRACTS[case.name].writes
    for dtype in case.dtypes[:1]:
        arrays = case.make(dtype)
        after = [array.copy() for array in arrays]
        NUMPY.kernels[case.name](*after, *case.numbers)
        assert set(range(len(arrays))) == {*reads, *writes}
        for i, (was, now) in enumerate(zip(arrays, after, strict=True)):
            if i not in writes:
                np.testing.assert_array_equal(was, now)
        if case.name == "concat":  # a call writes its own part
            return
        for i in set(writes) - set(reads):
            others = [array.copy() for array in arrays]
            others[i] = np.full_like(others[i], 1)
            NUMPY.kernels[case.name](*others, *case.numbers)
            np.testing.assert_array_equal(others[i], after[i])


def test_every_kernel_has_roles():
    for kernel in door.CONTRACTS:
        assert door.CONTRACTS[kernel].writes, kernel


def test_temporaries_that_live_together_lie_apart():
    rng = np.random.default_rng(0)
    for _ in range(50):
        buffers = [
            Buffer(
                "temporary", (int(rng.integers(0, 300)),), np.dtype("f4"), None, first, first + life
            )
            for first, life in rng.integers(0, 10, (30, 2)).tolist()
        ]
        size = plan(buffers)
        alone = sum(-(-b.nbytes // 64) * 64 for b in buffers)
        assert size <= alone
        for i, a in enumerate(buffers):
            a.array[:] = i
            assert a.array.__array_interface__["data"][0] % 64 == 0
            for b in buffers[:i]:
                if a.first <= b.last and b.first <= a.last:
                    assert not np.shares_memory(a.array, b.array)


def test_the_plan_needs_less_memory():
    run = Run("2.2")
    run.losses(1)
    assert 0 < run.step.program.peak < run.step.program.unplanned


def test_a_step_of_one_layer():
    layer = nn.Dropout(keep_prob=0.5)
    step = tt.capture(lambda x: layer(x))
    x = tt.ones(1000)
    assert set(np.unique(step(x).numpy())) == {0, 2}
    layer.eval()
    assert set(np.unique(step(x).numpy())) == {1}


# Many steps at once


def tables(run: Run, steps: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*[next(run.batches) for _ in range(steps)], strict=True)
    return np.stack(images), np.stack(labels)


@pytest.mark.parametrize("lesson", ["1.0", "2.2", "4.1"])
def test_a_run_is_n_steps(lesson, backend):
    at_once, eager = Run(lesson), Run(lesson, captured=False)
    tt.manual_seed(1)
    many = 70 if lesson == "1.0" else 12  # the other lessons are slow
    parts = [at_once.step.run(*tables(at_once, steps)).tolist() for steps in (1, many, 3)]
    tt.manual_seed(1)
    assert [loss for part in parts for loss in part] == eager.losses(many + 4)
    assert_same(at_once, eager)
    assert at_once.step.recordings == 1
    assert at_once.step.program.is_one_call == (backend == "c")


def test_an_error_in_a_run_comes_after_the_steps_before_it(backend):
    at_once, eager = Run("1.0"), Run("1.0", captured=False)
    for wrong in (60, 0, 51):
        images, labels = tables(at_once, 70)
        labels[wrong, 3] = 10
        with pytest.raises(tt.LabelError, match="got label 10"):
            at_once.step.run(images, labels)
        for i in range(wrong):
            eager.step(images[i], labels[i])
    assert at_once.optimizer.steps == eager.optimizer.steps == 111
    assert_same(at_once, eager)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name == "c"], indirect=True)
def test_one_call_checks_the_arguments_of_many_steps(backend):
    checked = []

    def check(x):
        checked.append(x.shape)
        if (x < 0).any():
            raise tt.SettingError("got a number below 0")

    @tt.capture
    def step(x):
        recorder.each_step(check, (x.array,), checks_elements=True)
        return x * 2

    x = np.ones((20, 3), np.float32)
    step.run(np.repeat(x, 10, axis=0))  # after which the number of threads is chosen
    checked.clear()
    step.run(x)
    assert checked == [(20, 3)]
    x[5, 1] = -1
    checked.clear()
    with pytest.raises(tt.SettingError, match="below 0"):
        step.run(x)
    assert checked == [(20, 3), *[(3,)] * 7]  # the replay of the wrong step raises again


def test_images_may_be_chosen_in_the_step(backend):
    images = DATA.train_images

    @tt.capture
    def step(chosen):
        return tt.from_numpy(datasets.to_float(images, chosen)).sum()

    chosen = np.arange(12).reshape(4, 3)
    wanted = [datasets.to_float(images, row).sum() for row in chosen]
    np.testing.assert_allclose(step.run(chosen).numpy(), wanted, rtol=1e-6)
    assert step.recordings == 1
    for kind in (np.int64, np.int32):
        step(chosen[0].astype(kind))
        with pytest.raises(tt.SettingError, match="got index 60000 in chosen"):
            step(np.array([0, 60_000, 1], kind))


def test_results_of_a_run_are_tables():
    outside = tt.ones(2)
    step = tt.capture(lambda x: {"twice": x * 2, "all": (outside, [x.sum()], None)})
    x = np.arange(6.0).reshape(3, 2)
    for _ in range(2):
        got = step.run(tt.from_numpy(x))
        np.testing.assert_array_equal(got["twice"].numpy(), 2 * x)
        assert got["all"][0].tolist() == [[1, 1]] * 3
        assert got["all"][1][0].tolist() == x.sum(axis=1).tolist()
    assert step.run(tt.from_numpy(x), steps=2)["twice"].shape == (2, 2)


def test_a_run_without_arguments():
    w = tt.zeros(1)

    @tt.capture
    def step():
        w[...] = w + 1
        return w * 1

    assert step.run(steps=3).tolist() == [[1], [2], [3]]
    assert step.run(steps=1).tolist() == [[4]]


@pytest.mark.parametrize(
    ("rows", "steps", "needed"),
    [
        ((3, 4), None, "the number of steps is needed"),
        ((), None, "the number of steps is needed"),
        ((3, 3), 4, "a row for each step"),
        ((3, 3), 0, "a row for each step"),
        ((0, 0), None, "a row for each step"),
    ],
)
def test_a_row_is_needed_for_each_step(rows, steps, needed):
    step = tt.capture(lambda *xs: None)
    with pytest.raises(tt.SettingError, match=needed):
        step.run(*(np.ones((n, 2)) for n in rows), steps=steps)


def test_what_python_computes_splits_a_program():
    step = tt.capture(lambda x: (x + 1).astype("int64").astype("float32") * 2)
    x = np.array([0.5, 1.5], np.float32)
    assert step(tt.from_numpy(x)).tolist() == [2, 4]
    assert step(tt.from_numpy(x + 1)).tolist() == [4, 6]
    assert not step.program.is_one_call
    assert step.run(tt.from_numpy(np.stack([x, x + 1]))).tolist() == [[2, 4], [4, 6]]


# Every op


# The rows of these ops make new arrays, which a program doesn't take.
WITH_ARRAYS = ("masked_fill", "one_hot", "cross_entropy", "getitem by a ma")
READING = ("allclose", "unique")  # refused, because they read values


CAPTURED = [op for op in OPS if not op.name.startswith(WITH_ARRAYS + READING)]


@pytest.mark.parametrize(("op", "shapes"), [(op, s) for op in CAPTURED for s in op.shapes], ids=str)
def test_every_op_can_be_captured(op, shapes, backend):
    """Forward, and backward to operands that are not arguments."""
    operands = op.operands(shapes, "float32", requires_grad=op.gradient)

    def step():
        result = op.function(*operands)
        if not op.gradient:
            return result
        for x in operands:
            x.zero_grad()
        (result * result).sum().backward()
        return result, [x.grad for x in operands if x.grad is not None]

    captured = tt.capture(step)
    for factor in (1.0, 0.5, 0.75):
        with tt.no_grad():
            for x in operands:
                x[...] = x * factor
        tt.manual_seed(1)
        got = numbers(captured())
        tt.manual_seed(1)
        np.testing.assert_equal(got, numbers(step()))
    assert captured.recordings == 1


@pytest.mark.parametrize(
    "op",
    [
        tt.sort,
        tt.argsort,
        lambda x: tt.sort(x, axis=0, descending=True),
        lambda x: tt.topk(x, 2)[0],
        lambda x: tt.topk(x, 2, largest=False)[1],
        lambda x: tt.isclose(x, 0.5, 0.1, 0.3),
    ],
)
def test_ops_that_compare_values_compare_again_at_every_replay(op, backend):
    rng = np.random.default_rng(0)
    w = tt.Tensor(rng.standard_normal((3, 4)), requires_grad=True)

    def step(x):
        result = op(w * x)
        if not result.requires_grad:
            return result
        w.zero_grad()
        (result * tt.arange(result.size).reshape(result.shape)).sum().backward()
        return result, w.grad

    captured = tt.capture(step)
    for _ in range(4):
        x = tt.Tensor(rng.standard_normal((3, 4)))
        got = numbers(captured(x))
        np.testing.assert_equal(got, numbers(step(x)))
    assert captured.recordings == 1


@pytest.mark.parametrize(
    ("call", "name"), [(tt.unique, "unique"), (lambda x: tt.allclose(x, x), "allclose")]
)
def test_a_step_refuses_what_reads_values(call, name):
    with pytest.raises(tt.CaptureError, match=rf"{name}\(\)"):
        tt.capture(call)(tt.ones(3))


SETTINGS = [
    {"weight": [1.0, 2.0, 0.5]},
    {"label_smoothing": 0.2},
    {"ignore_index": 1},
    {"weight": [1.0, 2.0, 0.5], "label_smoothing": 0.2, "ignore_index": 1},
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(s))
def test_cross_entropy_counts_the_labels_of_each_replay(settings, reduction, backend):
    rng = np.random.default_rng(0)
    w = tt.Tensor(rng.standard_normal((4, 3)), requires_grad=True)

    def step(x, labels):
        loss = tt.cross_entropy(x @ w, labels, reduction, **settings)
        w.zero_grad()
        (loss * loss).sum().backward()
        return loss, w.grad

    captured = tt.capture(step)
    for _ in range(4):
        x, labels = tt.Tensor(rng.standard_normal((5, 4))), tt.Tensor(rng.integers(0, 3, 5))
        got = numbers(captured(x, labels))
        np.testing.assert_equal(got, numbers(step(x, labels)))
    assert captured.recordings == 1
    with pytest.raises(tt.LabelError, match="got label 7"):
        captured(x, tt.Tensor([0, 1, 2, 7, 1]))


def test_cross_entropy_reads_the_weight_at_every_replay(backend):
    weight, labels = tt.ones(3), tt.Tensor([0, 2])
    step = tt.capture(lambda x: tt.cross_entropy(x, labels, "sum", weight=weight))
    x = tt.zeros(2, 3)
    for factor in (1, 2, 3):
        weight[...] = factor
        assert step(x).item() == pytest.approx(2 * factor * np.log(3))
    assert step.recordings == 1


def test_the_fused_step_has_the_same_number_of_calls_for_all_reductions(backend):
    w = tt.ones(4, 3, requires_grad=True)
    counts = {}
    for reduction in ("mean", "sum"):

        def step(x, labels, reduction=reduction):
            w.zero_grad()
            tt.cross_entropy(x @ w, labels, reduction, label_smoothing=0.1).backward()

        captured = tt.capture(step)
        captured(tt.ones(2, 4), tt.Tensor([0, 1]))
        counts[reduction] = len(captured.program.calls)
    assert counts["mean"] == counts["sum"] == 3


def numbers(result) -> list:
    if isinstance(result, tt.Tensor):
        return [result.numpy().copy()]
    return [array for item in result for array in numbers(item)]


def test_a_run_that_adds_to_gradients():
    w = tt.ones(3, requires_grad=True)
    step = tt.capture(lambda x: (w * x).sum().backward())
    for _ in range(2):
        step.run(tt.ones(5, 3))
        assert w.grad.tolist() == [5] * 3
        w.zero_grad()


def test_a_run_whose_step_forgets_without_zero_grad():
    w = tt.ones(3, requires_grad=True)

    @tt.capture
    def step(x):
        w.grad = None
        y = (w * x).sum()
        y.backward()
        return y

    assert step.run(tt.ones(5, 3)).tolist() == [3] * 5
    assert (step.recordings, w.grad.tolist()) == (1, [1] * 3)


def test_run_reads_its_tables_in_place(backend):
    """Also rows that must be copied, because the table has gaps or is not aligned."""
    weight = tt.Tensor(np.random.default_rng(0).standard_normal((60, 20), np.float32))
    tables = np.random.default_rng(1).standard_normal((7, 40, 60), np.float32)
    wanted = tables @ weight.numpy()

    def step(x):
        return x @ weight

    spread = np.zeros((7, 40, 120), np.float32)
    spread[:, :, ::2] = tables
    bytes_around = np.zeros(tables.nbytes + 1, np.uint8)
    odd = bytes_around[1:].view(np.float32).reshape(tables.shape)
    odd[...] = tables
    for table in (tables, spread[:, :, ::2], odd, tt.from_numpy(tables)):
        captured = tt.capture(step, verify="never")
        for _ in range(2):
            np.testing.assert_allclose(captured.run(table).numpy(), wanted, rtol=1e-4, atol=1e-4)
    last = captured(tables[3])  # a call after run() reads its own argument
    np.testing.assert_allclose(last.numpy(), wanted[3], rtol=1e-4, atol=1e-4)


def test_a_profile_reads_no_argument_that_was_freed():
    """The last replay read its argument in place; here that memory can't be read any more."""
    program = """if True:
        import ctypes, mmap
        import numpy as np
        import tinytensor as tt

        weight = tt.zeros(1024, 4)
        step = tt.capture(lambda x: x @ weight, verify="never")
        memory = mmap.mmap(-1, 16 * 4096)
        x = np.frombuffer(memory, np.float32).reshape(16, 1024)
        step(x), step(x), step.run(x[None])
        protect = ctypes.CDLL(None).mprotect
        assert protect(ctypes.c_void_p(x.ctypes.data), ctypes.c_size_t(16 * 4096), 0) == 0
        print(len(step.program.profile(repeats=1).microseconds))
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"


def test_labels_are_read_from_a_copy(monkeypatch):
    """Another thread may change the argument after the check; here the kernel's call does."""
    logits, labels = tt.Tensor(np.eye(3, dtype=np.float32)), np.array([0, 1, 2])
    kernel = kernels.cross_entropy

    def spoiled(*arguments):
        labels[...] = 1
        kernel(*arguments)

    wanted = tt.cross_entropy(logits, labels).item()
    monkeypatch.setattr(kernels, "cross_entropy", spoiled)
    step = tt.capture(lambda labels: tt.cross_entropy(logits, labels))
    assert step(labels).item() == pytest.approx(wanted)
