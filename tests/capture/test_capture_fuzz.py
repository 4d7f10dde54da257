"""Random training steps: captured and eager give the same bits, whatever changes between the calls.

A world is a model, an optimiser, other tensors, and a step that computes with them by random ops.
The seed decides all of it, so a world can be made several times: once with the plain step, once
with the captured one at verify="doubling", once at verify="always". After each call all that can be
seen is compared, bit by bit. Between the calls random changes are made: a parameter is frozen, its
array replaced, the learning rate set, and so on.

    python -m pytest tests/capture/test_capture_fuzz.py --programs 5000

runs 5,000 worlds on each backend. A failure names the seed; --programs 1 --first-program SEED runs
that world again.
"""

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import nn

CALLS = 9
SIZE = 4  # columns of all matrices

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.* changes nothing")


class World:
    """A model, an optimiser, tensors, and a step. All choices come from a generator."""

    def __init__(self, seed: int) -> None:
        tt.manual_seed(seed)
        self.random = choice = random.Random(seed)
        self.data = np.random.default_rng(seed)
        self.scale = 1.0  # a number of Python, which is a constant of a recording
        self.stale = False  # True if a change was one of such constants
        self.rows = choice.randint(1, 4)
        self.model = nn.Sequential(*[choice.choice(LAYERS)() for _ in range(choice.randint(1, 2))])
        self.model.layers = list(self.model.layers)  # so that replace_layer_in_the_list() can
        self.w = tt.from_numpy(self.array(SIZE)).requires_grad_()
        self.matrix = tt.from_numpy(self.array(SIZE, SIZE)).requires_grad_()
        self.state = tt.zeros(2, SIZE)
        self.part = self.state[1] if choice.random() < 0.5 else tt.from_numpy(self.state.numpy()[0])
        self.index = tt.Tensor(self.data.integers(0, SIZE, SIZE))
        self.kept: dict[str, tt.Tensor] = {}
        self.params = [*self.model.parameters(), self.w, self.matrix]
        self.optimizer = choice.choice(OPTIMIZERS)(self.params)
        self.saved = copy.deepcopy(self.model.state_dict())
        self.ops = [choice.choice(OPS) for _ in range(choice.randint(1, 6))]
        self.picks = [(choice.random(), choice.random()) for _ in self.ops]
        self.loss = choice.choice(LOSSES)
        self.update = choice.choice(UPDATES)
        self.results = choice.choice(RESULTS)

    def array(self, *shape: int) -> np.ndarray:
        return self.data.standard_normal(shape).astype(np.float32)

    def step(self, x: tt.Tensor, labels: tt.Tensor) -> Any:
        pool = [x]
        for op, (first, second) in zip(self.ops, self.picks, strict=True):
            # The last results are chosen more often than the first.
            a, b = (pool[-1 - int(pick * pick * len(pool))] for pick in (first, second))
            pool.append(op(self, a, b))
        loss = self.loss(self, self.model(pool[-1]), labels)
        self.update(self, loss)
        return self.results(self, loss, pool)

    def seen(self) -> dict[str, bytes | None]:
        """All bits that a user can see."""
        tensors = {f"param {i}": x for i, x in enumerate(self.params)}
        tensors |= {f"grad {i}": x.grad for i, x in enumerate(self.params)}
        tensors |= {f"model {name}": x for name, x in self.model.state_dict().items()}
        tensors |= {f"optimiser {name}": x for name, x in self.optimizer.state_dict().items()}
        tensors |= {"state": self.state, "part": self.part, "index": self.index} | self.kept
        return {name: None if x is None else bits(x) for name, x in tensors.items()}


def bits(x: tt.Tensor) -> bytes:
    return f"{x.dtype} {x.shape} ".encode() + x.numpy().tobytes()


def bits_of_result(result: Any) -> Any:
    if result is None:
        return None
    if isinstance(result, tt.Tensor):
        return bits(result)
    if isinstance(result, dict):
        return {name: bits_of_result(x) for name, x in result.items()}
    return [bits_of_result(x) for x in result]


# What a step is made of ---------------------------------------------------------------------------

LAYERS: list[Callable[[], nn.Module]] = [
    lambda: nn.Linear(SIZE, SIZE),
    lambda: nn.Linear(SIZE, SIZE, bias=None),
    lambda: nn.BatchNorm(SIZE),
    lambda: nn.Dropout(keep_prob=0.5),
    nn.ReLU,
    nn.Tanh,
    nn.GELU,
    lambda: nn.Sequential(nn.Linear(SIZE, SIZE), nn.Sigmoid(), nn.Dropout(keep_prob=0.75)),
]


def schedule_of_the_user(step: int) -> float:
    return 0.1 / (1 + step)


OPTIMIZERS: list[Callable[[list[tt.Tensor]], tt.optim.Optimizer]] = [
    lambda params: tt.optim.SGD(params, 0.05),
    lambda params: tt.optim.SGD(params, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    lambda params: tt.optim.Adam(params, 0.01),
    lambda params: tt.optim.AdamW(params, tt.optim.cosine(0.05, 6)),
    lambda params: tt.optim.RMSprop(params, schedule_of_the_user),
    lambda params: tt.optim.AdamW(
        [
            {"params": params[::2], "weight_decay": 0.0},
            {"params": params[1::2], "lr": schedule_of_the_user},
        ],
        0.05,
    ),
    lambda params: tt.optim.SGD(
        [{"params": params[:1], "lr": 0.1}, {"params": params[1:]}],
        tt.optim.cosine(0.05, 6),
        momentum=0.9,
    ),
]


def constant_changed(world, a, b):
    total = tt.zeros(SIZE)
    total[1:] = a.detach().mean(axis=0)[1:]
    total[0] = total[1] + 1
    return a + total


def state_changed(world, a, b):
    with tt.no_grad():
        world.state[0] = world.state[0] * 0.5 + a.detach().mean(axis=0)
    return a + world.state[0] * 1


def part_changed(world, a, b):
    with tt.no_grad():
        world.part[...] = world.part * 0.5 + 0.1
    return a * (1 + world.state.mean(axis=0))


def kept(world, a, b):
    world.kept["h"] = (a * 2).detach()
    return a + world.kept["h"] * 0.1


def kept_by_the_first_call(world, a, b):
    if "first" not in world.kept:
        world.kept["first"] = tt.zeros(SIZE)
    world.kept["first"][...] = world.kept["first"] * 0.9 + a.detach().sum(axis=0)
    return a - 0.1 * world.kept["first"]


def copied_and_changed(world, a, b):
    copied = a.detach().clone()
    copied[:, ::2] = b.detach()[:, 1::2]
    return a + copied


def inner_gradient(world, a, b):
    (grad,) = tt.grad((tt.tanh(a * world.w) ** 2).sum(), world.w, create_graph=True)
    return a + 0.1 * grad


OPS: list[Callable[[World, tt.Tensor, tt.Tensor], tt.Tensor]] = [
    lambda world, a, b: a + b,
    lambda world, a, b: a - 0.5 * b,
    lambda world, a, b: tt.tanh(a) * tt.sigmoid(b),
    lambda world, a, b: a / (1 + b * b),
    lambda world, a, b: tt.maximum(a, b),
    lambda world, a, b: tt.where(a > b, a, 0.5),
    lambda world, a, b: tt.relu(a),
    lambda world, a, b: tt.gelu(a),
    lambda world, a, b: tt.softmax(a, axis=1),
    lambda world, a, b: tt.log_softmax(a),
    lambda world, a, b: tt.layer_norm(a) * SIZE,
    lambda world, a, b: tt.exp(tt.clip(a, -2, 2)),
    lambda world, a, b: tt.sqrt(tt.abs(a) + 0.5),
    lambda world, a, b: tt.floor(a) + a,
    lambda world, a, b: tt.cumsum(a, axis=1),
    lambda world, a, b: tt.flip(a, 1),
    lambda world, a, b: a.T.reshape(SIZE, -1).T,
    lambda world, a, b: tt.concat([a[:, 2:], b[:, :2]], axis=1),
    lambda world, a, b: tt.pad(a[:, 1:3], [(0, 0), (1, 1)]),
    lambda world, a, b: tt.stack([a, b]).sum(axis=0),
    lambda world, a, b: a[:, world.index],
    lambda world, a, b: tt.take(a, world.index, axis=1),
    lambda world, a, b: a - a.mean(axis=1, keepdims=True) + a.max(),
    lambda world, a, b: a * world.w,
    lambda world, a, b: a @ world.matrix,
    lambda world, a, b: tt.einsum("ij,jk->ik", a, world.matrix) + world.w,
    lambda world, a, b: tt.linear(a, world.matrix, world.w),
    lambda world, a, b: tt.dropout(a, keep_prob=0.5),
    lambda world, a, b: a * world.scale,
    lambda world, a, b: tt.cast(tt.cast(a, "float64") * 0.5, "float32"),
    lambda world, a, b: a.detach() + b,
    constant_changed,
    state_changed,
    part_changed,
    kept,
    kept_by_the_first_call,
    copied_and_changed,
    inner_gradient,
]

LOSSES: list[Callable[[World, tt.Tensor, tt.Tensor], tt.Tensor]] = [
    lambda world, y, labels: tt.cross_entropy(y, labels),
    lambda world, y, labels: tt.cross_entropy(y, labels, "sum") + (world.w**2).sum(),
    lambda world, y, labels: tt.mse_loss(y, tt.one_hot(labels, SIZE)),
    lambda world, y, labels: (y * world.w).mean() + world.matrix.sum(),
]


def usual(world, loss):
    world.optimizer.zero_grad()
    loss.backward()
    world.optimizer.step()


def zero_grad_last(world, loss):
    loss.backward()
    world.optimizer.step()
    world.optimizer.zero_grad()


def gradients_summed(world, loss):
    loss.backward()


def gradients_halved(world, loss):
    for param in world.params:
        if param.grad is not None:
            param.grad[...] = param.grad * 0.5
    loss.backward()
    world.optimizer.step()


def clipped(world, loss):
    world.optimizer.zero_grad()
    loss.backward()
    tt.optim.clip_grad_norm(world.params, 0.5)
    world.optimizer.step()


def by_hand(world, loss):
    for param in world.params:
        param.grad = None
    loss.backward()
    with tt.no_grad():
        for param in world.params:
            if param.grad is not None:
                param[...] = param - 0.05 * param.grad


def by_operators(world, loss):
    world.optimizer.zero_grad()
    loss.backward()
    with tt.no_grad():
        for param in world.params[::2]:
            if param.grad is not None:
                param -= 0.05 * param.grad
    for param in world.params[1::2]:
        if param.grad is not None:
            param.data -= 0.05 * param.grad


def of_one_only(world, loss):
    (grad,) = tt.grad(loss, world.w, allow_unused=True)
    if grad is not None:
        with tt.no_grad():
            world.w[...] = world.w - 0.05 * grad


def evaluated(world, loss):
    pass


UPDATES: list[Callable[[World, tt.Tensor], None]] = [
    *[usual] * 4,
    zero_grad_last,
    gradients_summed,
    gradients_halved,
    clipped,
    by_hand,
    by_operators,
    of_one_only,
    evaluated,
]

RESULTS: list[Callable[[World, tt.Tensor, list[tt.Tensor]], Any]] = [
    lambda world, loss, pool: loss,
    lambda world, loss, pool: (loss, pool[-1].detach()),
    lambda world, loss, pool: {"loss": loss, "pool": [x.detach() for x in pool[1:]]},
    lambda world, loss, pool: [loss, world.w, world.state * 1],
    lambda world, loss, pool: [loss, world.w.grad if world.update is by_hand else None],
]


# What changes between the calls -------------------------------------------------------------------


def any_param(world: World) -> tt.Tensor:
    return world.random.choice(world.params)


def freeze_or_free(world):
    param = any_param(world)
    param.requires_grad_(not param.requires_grad)


def replace_array(world):
    param = any_param(world)
    param.array = world.array(*param.shape)


def assign_data(world):
    param = any_param(world)
    param.data = world.array(*param.shape)


def set_lr(world):
    lrs = (0.0, 0.1, tt.optim.stepwise(0.1, 2), schedule_of_the_user)
    world.random.choice(world.optimizer.param_groups)["lr"] = world.random.choice(lrs)


def set_mode(world):
    world.model.train(world.random.random() < 0.5)


def load_model(world):
    own = world.model.state_dict()
    state = {n: world.saved[n] for n in own if n in world.saved} | {
        n: x * 0.5 for n, x in own.items() if n not in world.saved
    }
    if all(state[n].shape == x.shape for n, x in own.items()):
        world.model.load_state_dict(state)


def load_optimizer(world):
    state = world.optimizer.state_dict()
    world.optimizer.load_state_dict(
        {name: x * 0.5 for name, x in state.items()} | {"steps": state["steps"] * 1}
    )


def set_seed(world):
    tt.manual_seed(world.random.randint(0, 9))


def set_threads(world):
    tt.set_num_threads(world.random.randint(1, 2))


def forget_gradients(world):
    if world.random.random() < 0.5:
        world.optimizer.zero_grad()
    else:
        any_param(world).grad = None


def give_gradient(world):
    param = any_param(world)
    param.grad = tt.from_numpy(world.array(*param.shape))


def register_hook(world):
    param = any_param(world)
    if param.requires_grad:
        param.register_hook(lambda grad: grad * 0.5)


def change_rows(world):
    world.rows = world.random.randint(0, 4)


def replace_layer(world):
    layers = list(world.model.layers)
    layers[world.random.randrange(len(layers))] = world.random.choice(LAYERS)()
    world.model.layers = layers


def replace_layer_in_the_list(world):
    """The list itself is changed: a constant of the recording."""
    layers = world.model.layers
    layers[world.random.randrange(len(layers))] = world.random.choice(LAYERS)()
    world.stale = True


def take_param_from_optimizer(world):
    if len(world.optimizer.params) > 1:
        world.optimizer.params.pop()


def change_state(world):
    with tt.no_grad():
        world.state[...] = world.state * 0.5 + 1
        world.index[...] = tt.Tensor(world.data.integers(0, SIZE, SIZE))


def set_setting(world):
    for layer in world.model.layers:
        if isinstance(layer, nn.Dropout):
            layer.keep_prob = world.random.choice((0.25, 0.5, 1.0))
    if isinstance(world.optimizer, tt.optim.AdamW):
        world.optimizer.beta1 = world.random.choice((0.5, 0.9))
    group = world.random.choice(world.optimizer.param_groups)
    if "weight_decay" in group:
        group["weight_decay"] = world.random.choice((0.0, 0.2))


def change_constant(world):
    world.scale = world.random.choice((0.5, 2.0))
    world.stale = True


def replace_optimizer(world):
    """The old one is gone, and the new one begins with its settings."""
    world.optimizer = world.random.choice(OPTIMIZERS)(world.params)
    world.stale = True


def drop_kept(world):
    world.kept.pop("h", None)


CHANGES: list[Callable[[World], None]] = [
    freeze_or_free,
    replace_array,
    assign_data,
    set_lr,
    set_mode,
    load_model,
    load_optimizer,
    set_seed,
    set_threads,
    forget_gradients,
    give_gradient,
    register_hook,
    change_rows,
    replace_layer,
    replace_layer_in_the_list,
    take_param_from_optimizer,
    change_state,
    set_setting,
    change_constant,
    replace_optimizer,
    drop_kept,
]


# Worlds -------------------------------------------------------------------------------------------


class Run:
    """Return all values after each call of a world's step, captured if verify isn't None.

    error: the CaptureError that ended it. stale: the number of calls before a constant was changed
    without forget(), from which on replays may be wrong until the next verification.
    """

    def __init__(self, seed: int, backend: str, verify: str | None) -> None:
        self.world = world = World(seed)
        self.seen: list[Any] = []
        self.error: tt.CaptureError | None = None
        self.stale = CALLS
        plain = world.step
        self.captured = tt.capture(plain, verify=verify or "never")
        self.step = (
            self.captured
            if verify
            else lambda x, labels: plain(tt.from_numpy(x), tt.from_numpy(labels))
        )
        self.verifications = 0  # when it became stale
        without_grad = False
        choice = world.random
        for i in range(CALLS):
            x = world.array(world.rows, SIZE)
            if self.stale == CALLS:
                if i and choice.random() < 0.4:
                    self.change(i)
                if choice.random() < 0.1:
                    backend = choice.choice(BACKENDS)
                if choice.random() < 0.1:
                    x = world.state.numpy()  # memory that the step may change
            labels = world.data.integers(0, SIZE, len(x))
            if choice.random() < 0.03 and len(x):
                labels[0] = SIZE
            if self.stale == CALLS:
                without_grad = world.update is evaluated and choice.random() < 0.3
            try:
                with tt.backend(backend), tt.no_grad() if without_grad else tt.enable_grad():
                    if choice.random() < 0.3:
                        result = self.step(labels=labels, x=x)
                    else:
                        result = self.step(x, labels)
                    seen = bits_of_result(result)
            except tt.CaptureError as error:
                self.error = error
                return
            except tt.TinytensorError as error:
                seen = type(error).__name__
            self.seen.append((seen, x.tobytes(), world.seen()))

    def change(self, i: int) -> None:
        world = self.world
        world.random.choice(CHANGES)(world)
        if world.stale:
            world.stale = False
            if world.random.random() < 0.5:
                self.captured.forget()
            else:
                self.stale, self.verifications = i, self.captured.verifications


def first_difference(found: list[Any], wanted: list[Any]) -> str:
    """The first call after which something else is seen, and what; "" if there is none."""
    for i, (one, other) in enumerate(zip(found, wanted, strict=False)):
        if one != other:
            names = [n for n in other[2] if one[2].get(n) != other[2][n]]
            return f"call {i + 1}: {', '.join(names) or 'the result'}"
    return ""


def check(seed: int, backend: str) -> None:
    """Run the world of this seed eagerly and captured, and compare."""
    wanted = Run(seed, backend, None)
    assert wanted.error is None
    for verify in ("always", "doubling"):
        found = Run(seed, backend, verify)
        where = f"world {seed}, {backend}, verify={verify!r}"
        right = len(found.seen)
        if found.error is not None:
            assert found.stale < CALLS, f"{where}: {found.error}"
            assert "differs from its program" in str(found.error), f"{where}: {found.error}"
            right = found.stale
        elif verify == "doubling" and found.captured.verifications == found.verifications:
            right = min(right, found.stale)  # no verification since then
        difference = first_difference(found.seen[:right], wanted.seen)
        assert not difference, f"{where}: {difference}"


def test_random_worlds(request, backend):
    count = request.config.getoption("--programs")
    if count is None:
        count = 60 if request.config.getoption("--full") else 3
    first = request.config.getoption("--first-program")
    for seed in range(first, first + count):
        check(seed, backend)
