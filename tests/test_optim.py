"""Optimisers compared with their formulas in float64; schedules; clipping of gradients."""

import re

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import arrays as memory
from tinytensor.optim.schedules import is_pure


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sgd_follows_the_formula(backend, dtype):
    rng = np.random.default_rng(0)
    start, target = rng.standard_normal((2, 37))
    param = tt.Tensor(start, dtype=dtype, requires_grad=True)
    unused = tt.ones(3, requires_grad=True)
    optimizer = tt.optim.SGD([param, unused], lr=0.1)
    expected = start.copy()
    for step in range(10):
        if step == 5:
            optimizer.lr = 0.01
        distance = param - tt.Tensor(target, dtype=dtype)
        optimizer.zero_grad()
        (distance * distance).sum().backward()
        optimizer.step()
        expected -= optimizer.lr * 2 * (expected - target)
    np.testing.assert_allclose(param.numpy(), expected, atol=2e-6 if dtype == "float32" else 1e-14)
    assert unused.grad is None
    assert unused.numpy().tolist() == [1, 1, 1]


def test_zero_grad_drops_the_gradient():
    param = tt.ones(2, requires_grad=True)
    optimizer = tt.optim.SGD([param], lr=1)
    for _ in range(2):
        optimizer.zero_grad()
        param.sum().backward()
    assert param.grad.numpy().tolist() == [1, 1]


@pytest.mark.parametrize("lr", [-0.1, float("nan"), "a"])
def test_invalid_learning_rate_raises(lr):
    with pytest.raises(tt.SettingError, match=f"SGD: got lr={lr!r}; a number from 0 up"):
        tt.optim.SGD([tt.zeros(1)], lr=lr)


def test_wrong_gradients_and_parameters_raise(backend):
    param = tt.zeros(3, requires_grad=True)
    optimizer = tt.optim.SGD([param], lr=1)
    param.grad = tt.ones(3)
    param.array = np.zeros(5_000_000, np.float32)
    with pytest.raises(tt.ShapeError, match=r"SGD: got grad of shape \(3,\); \(5000000,\)"):
        optimizer.step()
    param.array = np.zeros(3)
    with pytest.raises(tt.DTypeError, match="SGD: got grad of float32; float64 is needed"):
        optimizer.step()
    fixed = tt.from_numpy(np.frombuffer(bytes(12), np.float32)).requires_grad_()
    fixed.grad = tt.ones(3)
    with pytest.raises(tt.NotSupported, match="a parameter is read-only"):
        tt.optim.SGD([fixed], lr=1).step()
    assert fixed.tolist() == [0, 0, 0]
    with pytest.raises(tt.NotSupported, match="SGD: got a tensor; a list"):
        tt.optim.SGD(param, lr=1)
    with pytest.raises(tt.NotSupported, match="SGD: got a ndarray"):
        tt.optim.SGD([np.ones(2)], lr=1)
    with pytest.raises(tt.NotSupported, match=r"SGD: got no parameters; model\.parameters\(\)"):
        tt.optim.SGD([], lr=1)
    model = tt.nn.Linear(2, 1)
    with pytest.raises(tt.NotSupported, match="SGD: got a method; a list of tensors"):
        tt.optim.SGD(model.parameters, lr=1)
    small = tt.randn(2, requires_grad=True) * 0.1
    with pytest.raises(tt.NotSupported, match="SGD: a parameter was computed from other tensors"):
        tt.optim.SGD([small], lr=1)
    tt.optim.SGD([small.detach().requires_grad_()], lr=1)


# Ten steps of each optimiser compared with its formula in float64


def sgd(memory, g, w, lr, t, momentum=0.0, nesterov=False, weight_decay=0.0):
    g = g + weight_decay * w
    memory["velocity"] = velocity = momentum * memory.get("velocity", 0) + g
    return w - lr * (g + momentum * velocity if nesterov else velocity)


def adam(memory, g, w, lr, t, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0):
    memory["m"] = m = beta1 * memory.get("m", 0) + (1 - beta1) * g
    memory["v"] = v = beta2 * memory.get("v", 0) + (1 - beta2) * g**2
    corrected = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
    return w - lr * (corrected + weight_decay * w)


def adamw(memory, g, w, lr, t, weight_decay=0.01, **settings):
    return adam(memory, g, w, lr, t, weight_decay=weight_decay, **settings)


def rmsprop(memory, g, w, lr, t, decay=0.9, epsilon=1e-8):
    memory["square"] = square = decay * memory.get("square", 0) + (1 - decay) * g**2
    return w - lr * g / (np.sqrt(square) + epsilon)


FORMULAS = {"SGD": sgd, "Adam": adam, "AdamW": adamw, "RMSprop": rmsprop}
OPTIMIZERS = [
    ("SGD", {"weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.8, "weight_decay": 0.05}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"momentum": 0.7, "nesterov": True, "weight_decay": 0.05}),
    ("Adam", {}),
    ("Adam", {"beta1": 0.5, "beta2": 0.9, "epsilon": 0.01}),
    ("Adam", {"beta1": 0, "beta2": 0}),
    ("AdamW", {}),
    ("AdamW", {"weight_decay": 0.5, "beta1": 0.8}),
    ("RMSprop", {}),
    ("RMSprop", {"decay": 0.5, "epsilon": 0.001}),
]


def lr_of(step):
    return 0.05 / (1 + step)


def slope(w, step):
    """Returns the gradient of a loss that differs from step to step."""
    return 2 * (w - np.cos(step + np.arange(w.size).reshape(w.shape)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS)
def test_optimisers_follow_their_formulas(backend, name, settings, dtype):
    starts = [np.random.default_rng(0).standard_normal(shape) for shape in ((37,), (3, 50), ())]
    params = [tt.Tensor(start, dtype=dtype, requires_grad=True) for start in starts]
    optimizer = getattr(tt.optim, name)(params, lr=lr_of, **settings)
    expected, memories = starts, [{} for _ in starts]
    for step in range(10):
        for param in params:
            param.grad = tt.Tensor(slope(param.numpy(), step), dtype=dtype)
        optimizer.step()
        expected = [
            FORMULAS[name](memory, slope(w, step), w, lr_of(step), step + 1, **settings)
            for memory, w in zip(memories, expected, strict=True)
        ]
    for param, w, start in zip(params, expected, starts, strict=True):
        bound = 2e-6 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(param.numpy(), w, rtol=0, atol=bound)
        assert np.abs(w - start).mean() > 0.01, "ten steps change the parameters"


def test_first_step_of_adam_is_the_learning_rate(backend):
    """For gradients of any size."""
    param = tt.zeros(3, requires_grad=True)
    param.grad = tt.Tensor([1e-3, -5.0, 1e4])
    tt.optim.Adam([param], lr=0.1).step()
    np.testing.assert_allclose(param.numpy(), [-0.1, 0.1, -0.1], rtol=2e-5)


def test_adamw_decays_weights_without_a_gradient(backend):
    param = tt.ones(2, requires_grad=True)
    param.grad = tt.zeros(2)
    tt.optim.AdamW([param], lr=0.1, weight_decay=0.5).step()
    np.testing.assert_allclose(param.numpy(), 0.95, rtol=1e-6)


@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS)
def test_a_parameter_without_gradient_is_not_changed(backend, name, settings):
    used, unused = tt.ones(2, requires_grad=True), tt.ones(2, requires_grad=True)
    optimizer = getattr(tt.optim, name)([used, unused], lr=0.1, **settings)
    used.grad = tt.ones(2)
    optimizer.step()
    assert unused.tolist() == [1, 1]
    assert max(used.tolist()) < 1
    assert optimizer.steps == 1


def test_a_step_that_raises_changes_nothing(backend):
    first, second = tt.ones(2, requires_grad=True), tt.ones(2, requires_grad=True)
    optimizer = tt.optim.Adam([first, second], lr=0.1)
    first.grad, second.grad = tt.ones(2), tt.ones(2)
    second.array = np.ones(3, np.float32)
    with pytest.raises(tt.ShapeError, match="Adam: got grad"):
        optimizer.step()
    assert first.tolist() == [1, 1]
    assert optimizer.steps == 0
    state = optimizer.state_dict()
    assert not any(x.numpy().any() for name, x in state.items() if name != "lr")


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("SGD", {"momentum": 1}, "SGD: got momentum=1; a number from 0 up, below 1, is needed"),
        ("SGD", {"weight_decay": -1}, "SGD: got weight_decay=-1; a number from 0 up is needed"),
        ("SGD", {"nesterov": True}, "nesterov=True without momentum"),
        ("Adam", {"beta1": 1.0}, "Adam: got beta1=1.0"),
        ("Adam", {"beta2": -0.1}, "Adam: got beta2=-0.1"),
        ("Adam", {"epsilon": float("nan")}, "Adam: got epsilon=nan"),
        ("AdamW", {"weight_decay": -0.1}, "AdamW: got weight_decay=-0.1"),
        ("RMSprop", {"decay": 1}, "RMSprop: got decay=1"),
        ("RMSprop", {"epsilon": -1}, "RMSprop: got epsilon=-1"),
        ("Adam", {"lr": lambda step: -1.0}, "Adam: got lr=-1.0"),
    ],
)
def test_invalid_settings_raise(name, settings, words):
    with pytest.raises(tt.SettingError, match=words):
        getattr(tt.optim, name)([tt.zeros(1)], **{"lr": 0.1, **settings})


# Saving and resuming


@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS)
def test_resumed_optimiser_gives_the_same_bits(backend, tmp_path, name, settings):
    def make(start):
        param = tt.Tensor(start, dtype="float32", requires_grad=True)
        return param, getattr(tt.optim, name)([param], lr=lr_of, **settings)

    def train(param, optimizer, steps):
        for step in steps:
            param.grad = tt.Tensor(slope(param.numpy(), step), dtype="float32")
            optimizer.step()

    param, optimizer = make(np.linspace(-1, 1, 19))
    train(param, optimizer, range(4))
    tt.save(tmp_path / "state", optimizer.state_dict())
    other, resumed = make(param.numpy())
    resumed.load_state_dict(tt.load(tmp_path / "state"))
    assert resumed.steps == 4
    assert resumed.lr == optimizer.lr
    for each in ((param, optimizer), (other, resumed)):
        train(*each, range(4, 10))
    assert other.numpy().tobytes() == param.numpy().tobytes()


def test_loading_the_state_of_another_optimiser_raises():
    params = [tt.ones(2, requires_grad=True), tt.ones(3, requires_grad=True)]
    adam = tt.optim.Adam(params)
    with pytest.raises(tt.DataError, match=r"Adam: m\.0 is missing; .*; velocity\.0 is unknown"):
        adam.load_state_dict(tt.optim.SGD(params, lr=1, momentum=0.9).state_dict())
    with pytest.raises(tt.DataError, match=r"SGD: m\.0 is unknown; m\.1 is unknown; v\.0 is"):
        tt.optim.SGD(params, lr=1).load_state_dict(adam.state_dict())
    state = {name: x + 1 for name, x in adam.state_dict().items()} | {"v.1": tt.ones(2)}
    with pytest.raises(tt.DataError, match=r"Adam: v\.1 has shape \(2,\), \(3,\) is needed"):
        adam.load_state_dict(state)
    own = adam.state_dict()
    assert own.pop("lr").item() == 0.001
    assert not any(x.numpy().any() for x in own.values()), "nothing was changed"


def test_the_state_has_the_learning_rate_that_was_set_by_hand(tmp_path):
    def adam(lr):
        return tt.optim.Adam([tt.ones(2, requires_grad=True)], lr=lr)

    saved = adam(0.1)
    saved.lr = 0.001
    tt.save(tmp_path / "state", saved.state_dict())
    resumed = adam(0.1)
    resumed.load_state_dict(tt.load(tmp_path / "state"))
    assert (resumed.lr, resumed.schedule(5)) == (0.001, 0.001)
    resumed.params[0].grad = tt.ones(2)
    resumed.step()
    np.testing.assert_allclose(resumed.params[0].numpy(), 0.999, rtol=1e-6)
    scheduled = adam(tt.optim.stepwise(0.5, 10))
    scheduled.load_state_dict(saved.state_dict())
    assert scheduled.lr == 0.5, "a schedule stays"


def test_a_parameter_listed_twice_is_used_once():
    def shared():
        layer = tt.nn.Linear(2, 2, weight=tt.nn.constant(1.0))
        layer(tt.ones(1, 2)).sum().backward()
        return layer, layer.parameters() + layer.parameters()

    layer, params = shared()
    with pytest.warns(UserWarning, match="SGD: got 4 parameters, and only 2") as caught:
        optimizer = tt.optim.SGD(params, lr=0.5)
    assert caught[0].filename == __file__
    optimizer.step()
    assert layer.weight.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert len(optimizer.params) == 2
    layer, params = shared()
    with pytest.warns(UserWarning, match="clip_grad_norm: got 4") as caught:
        norm = tt.optim.clip_grad_norm(params, most=1.0)
    assert norm.item() == pytest.approx(6**0.5)
    assert np.linalg.norm([*layer.weight.grad.tolist()[0], *layer.bias.grad.tolist()]) < 1


# Groups of parameters

GROUPED = [
    ("SGD", {"momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", {"weight_decay": 0.1}),
    ("AdamW", {"weight_decay": 0.1}),
    ("Adam", {}),
    ("RMSprop", {}),
]


def grouped(name, settings, captured=False):
    """Trains two groups and, with the same settings, two optimisers; returns all parameters."""
    values = [np.linspace(-1, 1, 6), np.linspace(1, 2, 4)]
    together, apart = (
        [tt.Tensor(x, "float32", requires_grad=True) for x in values] for _ in range(2)
    )
    own = {"weight_decay": 0.0} if "weight_decay" in settings else {}
    make = getattr(tt.optim, name)
    one = make(
        [{"params": together[:1]}, {"params": iter(together[1:]), "lr": 0.01, **own}],
        lr=tt.optim.exponential(0.0, 0.1, 5), **settings,
    )  # fmt: skip
    two = [
        make(apart[:1], lr=tt.optim.exponential(0.0, 0.1, 5), **settings),
        make(apart[1:], lr=0.01, **{**settings, **own}),
    ]

    def step(params, optimizers):
        sum(((p - 3) ** 2).sum() for p in params).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    both = [lambda: step(together, [one]), lambda: step(apart, two)]
    if captured:
        both = [tt.capture(each) for each in both]
    for i in range(12):
        if i == 5:
            one.param_groups[1]["lr"] = two[1].lr = 0.05
        if i == 9 and own:
            one.param_groups[0]["weight_decay"] = two[0].weight_decay = 0.3
        for each in both:
            each()
    return together, apart, one


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize(("name", "settings"), GROUPED)
def test_a_group_is_trained_as_by_a_separate_optimiser(backend, name, settings, captured):
    together, apart, _ = grouped(name, settings, captured)
    for mine, own in zip(together, apart, strict=True):
        assert mine.numpy().tobytes() == own.numpy().tobytes()


def test_a_captured_step_reads_the_learning_rate_of_each_group(backend):
    w, b = tt.zeros(1, requires_grad=True), tt.zeros(1, requires_grad=True)
    optimizer = tt.optim.SGD([{"params": [w]}, {"params": b, "lr": 0.0}], lr=0.0)

    @tt.capture
    def step(x):
        optimizer.zero_grad()
        ((w + b) * x).sum().backward()
        optimizer.step()

    for i in range(6):
        optimizer.param_groups[0]["lr"] = float(i)
        optimizer.param_groups[1]["lr"] = lambda steps: 10.0 * steps
        step(tt.ones(1))
    assert (w.item(), b.item()) == (-sum(range(6)), -10 * sum(range(6)))
    optimizer.param_groups[1]["lr"] = 1.0
    for _ in range(3):
        step(tt.ones(1))
    assert b.item() == -153
    with pytest.raises(tt.CaptureError, match="sets a learning rate"):
        tt.capture(lambda: optimizer.param_groups[0].__setitem__("lr", 1.0))()
    with pytest.raises(tt.CaptureError, match="learning rate reads values"):
        tt.capture(lambda: tt.ones(1) * optimizer.param_groups[0]["lr"])()


@pytest.mark.parametrize("captured", [False, True])
def test_a_users_optimiser_reads_the_rate_of_the_group(backend, captured):
    class Signs(tt.optim.Optimizer):
        def __init__(self, params, lr):
            self.factor = 2.0
            super().__init__(params, lr)

        def _update(self, i, grad, param):
            param -= self.factor * self.lr * np.sign(grad)

    params = [tt.ones(2, requires_grad=True), tt.ones(2, requires_grad=True)]
    optimizer = Signs([{"params": params[:1]}, {"params": params[1:], "lr": 0.01}], lr=0.1)

    def function():
        for param in params:
            param.grad = tt.ones(2)
        optimizer.step()

    step = tt.capture(function) if captured else function
    for _ in range(4):
        step()
    np.testing.assert_allclose(params[0].numpy(), 1 - 4 * 0.2, rtol=1e-5)
    np.testing.assert_allclose(params[1].numpy(), 1 - 4 * 0.02, rtol=1e-5)
    with pytest.raises(tt.SettingError, match="Signs: its 2 groups have different values of lr"):
        assert optimizer.lr


def test_groups_with_the_same_value_are_set_together():
    groups = [{"params": [tt.ones(2, requires_grad=True)]} for _ in range(2)]
    optimizer = tt.optim.AdamW(groups, lr=0.1)
    assert (optimizer.lr, optimizer.weight_decay) == (0.1, 0.01)
    optimizer.lr, optimizer.weight_decay = 0.2, 0.0
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(0.2, 0.0)] * 2
    for group in optimizer.param_groups:
        group["lr"] *= 0.5
    assert optimizer.lr == 0.1
    optimizer.param_groups[1]["lr"] = optimizer.param_groups[1]["weight_decay"] = 0.05
    for name in ("lr", "weight_decay"):
        words = rf'AdamW: its 2 groups .* of {name}; optimizer\.param_groups\[0\]\["{name}"\]'
        with pytest.raises(tt.SettingError, match=words):
            getattr(optimizer, name)
        with pytest.raises(tt.SettingError, match=words):
            setattr(optimizer, name, 0.1)


@pytest.mark.parametrize(("name", "settings"), GROUPED)
def test_the_state_of_groups_resumes(tmp_path, name, settings):
    params, _, trained = grouped(name, settings)
    tt.save(tmp_path / "state", trained.state_dict())
    assert {"lr.0", "lr.1", "steps"} <= set(trained.state_dict())
    own = {"weight_decay": 0.0} if "weight_decay" in settings else {}
    copies = [x.clone().detach().requires_grad_() for x in params]
    groups = [{"params": copies[:1]}, {"params": copies[1:], **own}]
    resumed = getattr(tt.optim, name)(groups, lr=0.1, **settings)
    if own:
        resumed.param_groups[0]["weight_decay"] = 0.3
    trained.param_groups[0]["lr"] = trained.param_groups[0]["lr"]  # no schedule
    tt.save(tmp_path / "state", trained.state_dict())
    resumed.load_state_dict(tt.load(tmp_path / "state"))
    assert [g["lr"] for g in resumed.param_groups] == [g["lr"] for g in trained.param_groups]
    assert resumed.steps == 12
    for _ in range(3):
        for optimizer in (trained, resumed):
            for param in optimizer.params:
                param.grad = tt.Tensor(slope(param.numpy(), 1), dtype="float32")
            optimizer.step()
    for mine, copied in zip(params, copies, strict=True):
        assert mine.numpy().tobytes() == copied.numpy().tobytes()
    with pytest.raises(tt.DataError, match=r"lr is missing; .*lr\.0 is unknown; lr\.1 is unknown"):
        getattr(tt.optim, name)(copies, lr=0.1, **settings).load_state_dict(trained.state_dict())


def test_invalid_groups_raise():
    w, b = tt.ones(2, requires_grad=True), tt.ones(2, requires_grad=True)
    sgd = tt.optim.SGD
    for groups, error, words in (
        (
            [{"params": [w], "momentum": 0.9}],
            tt.SettingError,
            "'momentum'; 'params' is needed, and",
        ),
        ([{"lr": 0.1}], tt.SettingError, "SGD: got a group with 'lr'; 'params' is needed"),
        ([{"params": [w], "lr": -1}], tt.SettingError, "SGD: got lr=-1"),
        ([{"params": [w], "weight_decay": -1}], tt.SettingError, "SGD: got weight_decay=-1"),
        ([{"params": []}], tt.NotSupported, "SGD: got no parameters"),
        ([{"params": [w]}, {"params": [b, w]}], tt.NotSupported, "a parameter is in two groups"),
        ([{"params": [w]}, b], tt.NotSupported, "SGD: got a dict; tensors are needed"),
        ({"params": [w]}, tt.NotSupported, "SGD: got a dict; a list of tensors, or a list of g"),
        ([{"params": 3}], tt.NotSupported, "SGD: got a int; a list of tensors"),
    ):
        with pytest.raises(error, match=words):
            sgd(groups, lr=0.1)
    with pytest.raises(tt.SettingError, match="Adam: got a group with 'params', 'weight_decay'"):
        tt.optim.Adam([{"params": [w], "weight_decay": 0.1}])
    group = sgd([w], lr=0.1).param_groups[0]
    with pytest.raises(
        tt.SettingError, match=r"got 'betas' for a group .* params, lr, weight_decay"
    ):
        group["betas"] = 1
    with pytest.raises(tt.NotSupported, match="the parameters of a group can't be set"):
        group["params"] = [b]
    assert list(group) == ["params", "lr", "weight_decay"]
    assert dict(group) == {"params": [w], "lr": 0.1, "weight_decay": 0.0}


def test_betas_of_adam():
    params = [tt.ones(2, requires_grad=True)]
    for make in (tt.optim.Adam, tt.optim.AdamW):
        optimizer = make(params, betas=(0.8, 0.9))
        assert (optimizer.beta1, optimizer.beta2) == (0.8, 0.9)
        for betas in (0.9, (0.9,), (0.9, 0.99, 0.999)):
            with pytest.raises(tt.SettingError, match=r"got betas=.*; \(beta1, beta2\) is needed"):
                make(params, betas=betas)
        with pytest.raises(tt.SettingError, match=r"betas=\(0\.9, 0\.9\) and beta1=0\.5"):
            make(params, beta1=0.5, betas=(0.9, 0.9))
        with pytest.raises(tt.SettingError, match=r"got beta1=\(0\.9, 0\.9\)"):
            make(params, 0.001, (0.9, 0.9))


def test_repr_of_optimisers():
    model = tt.nn.Linear(3, 2)
    assert repr(tt.optim.Adam(model.parameters())) == (
        "Adam(lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08)  # 8 parameters"
    )
    schedule = tt.optim.cosine(1.0, 10)
    assert repr(tt.optim.RMSprop(model.parameters(), schedule)) == (
        "RMSprop(lr=a schedule, decay=0.9, epsilon=1e-08)  # 8 parameters"
    )
    groups = [{"params": model.weight, "weight_decay": 0.1}, {"params": model.bias, "lr": 0.5}]
    optimizer = tt.optim.SGD(groups, lr=0.1, momentum=0.9)
    assert repr(optimizer).splitlines() == [
        "SGD(momentum=0.9, nesterov=False)  # 8 parameters",
        "  param_groups.0: lr=0.1, weight_decay=0.1  # 6 parameters",
        "  param_groups.1: lr=0.5, weight_decay=0  # 2 parameters",
    ]
    assert repr(optimizer.param_groups[1]) == "ParamGroup(lr=0.5, weight_decay=0)  # 2 parameters"


# Schedules


@pytest.mark.parametrize("captured", [False, True])
def test_zero_grad_sets_gradients_to_none_or_to_0(backend, captured):
    w, unused = tt.ones(2, requires_grad=True), tt.ones(2, requires_grad=True)
    optimizer = tt.optim.SGD([w, unused], lr=1.0, weight_decay=0.5)

    def step(x):
        optimizer.zero_grad(set_to_none=False)
        (w * x).sum().backward()
        return w.grad

    step = tt.capture(step) if captured else step
    for x in ([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]):
        assert step(tt.Tensor(x)).tolist() == x
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0, 0]
    assert unused.grad is None
    optimizer.step()
    assert (w.tolist(), unused.tolist()) == ([0.5, 0.5], [1, 1]), "only the weight decay"
    optimizer.zero_grad(set_to_none=True)
    assert w.grad is None


def test_constant_and_exponential():
    assert [tt.optim.constant(0.1)(step) for step in (0, 10**6)] == [0.1, 0.1]
    rate = tt.optim.exponential(floor=0.0001, start=0.003, steps=2000)
    assert rate(0) == pytest.approx(0.0031)
    assert rate(2000) == pytest.approx(0.0001 + 0.003 / 2.718281828)
    assert rate(10_000) == pytest.approx(0.00012021, rel=1e-4)
    assert rate(10**9) == 0.0001


def test_stepwise():
    rate = tt.optim.stepwise(0.4, every=10, factor=0.5)
    assert [rate(step) for step in (0, 9, 10, 19, 20, 45)] == [0.4, 0.4, 0.2, 0.2, 0.1, 0.025]


def test_cosine():
    rate = tt.optim.cosine(1.1, steps=100, floor=0.1)
    wanted = [1.1, 0.6 + 0.5 * 2**-0.5, 0.6, 0.1, 0.1]
    assert [rate(step) for step in (0, 25, 50, 100, 1000)] == pytest.approx(wanted)
    assert tt.optim.cosine(1, 10)(10) == 0


def test_warm_up():
    rate = tt.optim.warm_up(tt.optim.stepwise(1, every=6, factor=0.5), 4)
    assert [rate(step) for step in range(8)] == [0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0.5]


def test_a_multiplied_schedule_is_recorded_like_its_own():
    own = tt.optim.cosine(0.5, steps=10)
    rate = tt.optim.multiplied(own, 3)
    assert [rate(step) for step in range(11)] == [3 * own(step) for step in range(11)]
    assert is_pure(rate)
    assert not is_pure(tt.optim.multiplied(lambda step: 0.1, 3))


@pytest.mark.parametrize("steps", [0, -1, float("nan")])
@pytest.mark.parametrize("name", ["exponential", "stepwise", "cosine", "warm_up"])
def test_schedules_with_invalid_steps_raise(name, steps):
    rest = {"exponential": (0, 1), "warm_up": (tt.optim.constant(1),)}.get(name, (1,))
    with pytest.raises(tt.SettingError, match=rf"{name}: got \w+={steps}; .* above 0"):
        getattr(tt.optim, name)(*rest, steps)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tt.optim.constant("a"), "constant: got lr='a'; a number"),
        (lambda: tt.optim.cosine("a", 10), "cosine: got lr='a'; a number"),
        (lambda: tt.optim.cosine(0.1, "a"), "cosine: got steps='a'; a number"),
        (lambda: tt.optim.stepwise(0.1, None), "stepwise: got every=None; a number"),
        (lambda: tt.optim.exponential(0.1, 1, None), "exponential: got steps=None; a number"),
        (lambda: tt.optim.warm_up(0.1, 4), "warm_up: got schedule=0.1; a schedule is needed"),
        (lambda: tt.optim.multiplied(0.1, 4), "multiplied: got schedule=0.1; a schedule is needed"),
        (lambda: tt.optim.multiplied(tt.optim.constant(1), "a"), "multiplied: got factor='a'; a"),
        (lambda: tt.optim.clip_grad_norm([], "a"), "clip_grad_norm: got most='a'; a number"),
        (lambda: tt.optim.clip_grad_value([], None), "clip_grad_value: got most=None; a number"),
    ],
)
def test_settings_that_are_no_numbers_raise(make, words):
    with pytest.raises(tt.SettingError, match=re.escape(words)):
        make()


def test_the_names_of_other_libraries_for_a_setting_change_nothing_silently():
    optimizer = tt.optim.RMSprop([tt.ones(2, requires_grad=True)], lr=0.1)
    with pytest.raises(AttributeError, match=r"no 'learning_rate': write optimizer\.lr"):
        optimizer.learning_rate = 0.5
    with pytest.raises(AttributeError, match=r"no 'eps': write optimizer\.epsilon"):
        optimizer.eps = 1e-3
    with pytest.raises(AttributeError, match="no 'alpha': the attribute of RMSprop is named decay"):
        optimizer.alpha = 0.5

    class Own(tt.optim.Optimizer):
        def __init__(self, params, eps):
            super().__init__(params, lr=0.1)
            self.eps = eps

    assert Own([tt.ones(2, requires_grad=True)], eps=0.5).eps == 0.5


@pytest.mark.parametrize("captured", [False, True])
def test_momentum_may_be_set_later(backend, captured):
    w = tt.ones(2, requires_grad=True)
    optimizer = tt.optim.SGD([w], lr=1.0)

    def step(slope):
        optimizer.zero_grad()
        (w * slope).sum().backward()
        optimizer.step()

    step = tt.capture(step) if captured else step
    step(tt.ones(2))
    optimizer.momentum = 0.5
    for _ in range(3):
        step(tt.ones(2))
    assert w.tolist() == [1 - 1 - 1 - 1.5 - 1.75] * 2
    with pytest.raises(tt.SettingError, match="SGD: got momentum=1; a number from 0 up, below 1"):
        optimizer.momentum = 1


def test_a_schedule_gets_the_number_of_steps(backend):
    param = tt.zeros((), requires_grad=True)
    optimizer = tt.optim.SGD([param], lr=lambda step: float(10**step))
    for wanted in (-1, -11, -111):
        param.grad = tt.ones(())
        optimizer.step()
        assert param.item() == wanted
    assert optimizer.lr == 1000
    optimizer.lr = 0.5
    assert optimizer.lr == 0.5


# Clipping of gradients


def with_grads(*grads, dtype="float32"):
    params = [tt.zeros(len(grad), dtype=dtype, requires_grad=True) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = tt.Tensor(grad, dtype=dtype)
    return [*params, tt.zeros(2, requires_grad=True)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clip_grad_norm(backend, dtype):
    params = with_grads([3.0, 0.0], [0.0, 4.0, 12.0], dtype=dtype)
    assert tt.optim.clip_grad_norm(params, 20) == 13
    assert params[0].grad.tolist() == [3, 0]
    assert tt.optim.clip_grad_norm(iter(params), 6.5) == 13
    np.testing.assert_allclose(params[0].grad.numpy(), [1.5, 0])
    np.testing.assert_allclose(params[1].grad.numpy(), [0, 2, 6])
    assert params[1].grad.dtype == dtype
    assert params[2].grad is None
    assert tt.optim.clip_grad_norm(params[2:], 1) == 0


def test_clip_grad_norm_in_a_captured_step(backend):
    model = tt.nn.Linear(3, 2, weight=tt.nn.constant(1.0))
    optimizer = tt.optim.SGD(model.parameters(), lr=0.1)

    def function(x):
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        norm = tt.optim.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        return norm

    start = model.state_dict()
    start = {name: x.clone() for name, x in start.items()}
    inputs = [tt.randn(4, 3) * 10**i for i in range(-3, 3)]
    wanted = [function(x).item() for x in inputs]
    last = model.weight.numpy().copy()
    model.load_state_dict(start)
    step = tt.capture(function)
    assert [step(x).item() for x in inputs] == wanted
    np.testing.assert_array_equal(model.weight.numpy(), last)
    assert step.recordings == 1
    assert min(wanted) < 1 < max(wanted), "clipped and not clipped"


def test_clip_grad_norm_of_large_gradients(backend):
    """Their squares overflow float32; the direction is kept."""
    params = with_grads([3e25, -4e25])
    assert tt.optim.clip_grad_norm(params, 1).item() == pytest.approx(5e25)
    np.testing.assert_allclose(params[0].grad.numpy(), [0.6, -0.8], rtol=1e-5)


def test_clip_grad_value(backend):
    params = with_grads([3.0, -0.5], [-7.0])
    kept = params[0].grad
    tt.optim.clip_grad_value(params, 1)
    assert params[0].grad.tolist() == [1, -0.5]
    assert params[1].grad.tolist() == [-1]
    assert params[2].grad is None
    assert kept.tolist() == [3, -0.5], "clipping makes new gradients"


@pytest.mark.parametrize("most", [0, -1, float("nan")])
@pytest.mark.parametrize("name", ["clip_grad_norm", "clip_grad_value"])
def test_invalid_limits_raise(name, most):
    with pytest.raises(tt.SettingError, match=f"{name}: got most={most}; a number above 0"):
        getattr(tt.optim, name)(with_grads([1.0]), most)


def test_learning_rate_as_numpy_scalar():
    assert tt.optim.SGD([tt.ones(1, requires_grad=True)], lr=np.float32(0.5)).lr == 0.5


def test_parameters_start_at_a_cache_line_and_at_different_page_offsets():
    model = tt.nn.Linear(784, 200)
    optimizer = tt.optim.Adam(model.parameters(), lr=0.1)
    arrays = [model.weight.array, *(optimizer.state_dict()[name].array for name in ("m.0", "v.0"))]
    offsets = {memory.address(array) % memory.PAGE for array in arrays}
    assert len(offsets) == 3
    assert all(offset % memory.CACHE_LINE == 0 for offset in offsets)
    assert model.weight.array.flags.c_contiguous
    assert not arrays[1].any()
    small = memory.zeros((10,), np.dtype("float64"))
    assert small.base is None
    np.testing.assert_array_equal(small, np.zeros(10))


# Parameters of another shape than at first --------------------------------------------------------


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("make", [
    lambda params: tt.optim.SGD(params, 0.1, momentum=0.9),
    lambda params: tt.optim.Adam(params, 0.1),
    lambda params: tt.optim.AdamW(params, 0.1),
    lambda params: tt.optim.RMSprop(params, 0.1),
])  # fmt: skip
def test_a_parameter_replaced_by_another_shape_or_dtype_raises(backend, make, captured):
    """The arrays that an optimiser keeps for a parameter would be too short."""
    w = tt.zeros(4, requires_grad=True)
    optimizer = make([w])

    def step():
        optimizer.zero_grad()
        loss = (w * 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    step = tt.capture(step) if captured else step
    step(), step()
    before = w.array
    w.array = np.zeros(4000, np.float32)
    with pytest.raises(tt.ShapeError, match=r"a parameter float32 \(4000,\), which was float32"):
        step()
    assert not w.numpy().any()
    w.array = np.zeros(4)
    with pytest.raises(tt.DTypeError, match=r"got a parameter float64 \(4,\), which was float32"):
        step()
    w.array = before
    step()
