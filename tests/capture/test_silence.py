"""A captured step is never silently wrong: small programs, each run eagerly and captured.

A program here is a story: a function of `capture` that yields after each call of its step what a
user sees. It runs with the plain function and with the captured one, on each backend, over enough
calls that the program is recorded, replayed and verified (at calls 2, 4 and 8). Each story says
which of these the contract, the docstring of `tt.capture`, promises:

    SAME      all results are those of the plain function
    FOUND     a constant of the recording changes while it is replayed: the next verification raises
              CaptureError, and only the replays that the error counts may be wrong
    REFUSED   CaptureError while recording, before anything is replayed

With verify="always" the function runs at every call, so stories that are FOUND are the SAME then.
"""

import array
import collections
import contextlib
import contextvars
import copy
import dataclasses
import functools
import itertools
import operator
import os
import random
import re
import sys
import threading
import time
import types
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import nn

SAME, FOUND, REFUSED = "same", "found", "refused"
CALLS = 9
CHANGED_AFTER = 5  # calls: recorded, verified, replayed, verified, replayed

Capture = Callable[[Callable], Callable]
Story = Callable[[Capture], Iterator[Any]]

STORIES: dict[str, tuple[Story, str]] = {}
SETTINGS: dict[str, tuple[Callable[[], Generator[Callable, None, None]], str]] = {}


def story(promise: str) -> Callable[[Story], Story]:
    """A row of STORIES."""

    def add(function: Story) -> Story:
        assert function.__name__ not in STORIES
        STORIES[function.__name__] = function, promise
        return function

    return add


def setting(promise: str = FOUND) -> Callable:
    """A row of SETTINGS: a generator that yields a step, and changes a setting when resumed.

    The values it then yields live until the end of the story.
    """

    def add(function: Callable[[], Generator[Callable, None, None]]) -> Callable:
        assert function.__name__ not in SETTINGS
        SETTINGS[function.__name__] = function, promise
        return function

    return add


def of_setting(make: Callable[[], Generator[Callable, None, None]], after: int) -> Story:
    """The story of a setting that is changed after this number of calls."""

    def told(capture: Capture) -> Iterator[Any]:
        # Close it also after an error: what it undoes must not be undone during another test.
        with contextlib.closing(make()) as making:
            step = capture(next(making))
            for i in range(CALLS):
                if i == after:
                    next(making, None)
                yield step(full(1))

    return told


def full(value: float, *shape: int) -> np.ndarray:
    return np.full(shape or 3, value, np.float32)


def seen(value: Any) -> Any:
    """A copy of what a user sees."""
    if isinstance(value, tt.Tensor):
        return str(value.dtype), value.tolist()
    if isinstance(value, list | tuple):
        return [seen(item) for item in value]
    if isinstance(value, dict):
        return {key: seen(item) for key, item in value.items()}
    return value


class Plain:
    """The plain function, which is given its arguments as tensors, as a captured step is."""

    def __init__(self, function: Callable) -> None:
        self.function = function

    def __get__(self, owner: Any, kind: type | None = None) -> "Plain":
        return Plain(self.function.__get__(owner, kind))

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*map(_as_tensor, arguments))


def _as_tensor(x: Any) -> Any:
    if type(x) is not np.ndarray:
        return x
    return tt.from_numpy(x) if x.flags.c_contiguous else tt.Tensor(x)


def run(told: Story, capture: Capture) -> tuple[list[Any], tt.CaptureError | None]:
    """What the story yields, and the CaptureError that ended it."""
    tt.manual_seed(0)
    random.seed(0)
    found: list[Any] = []
    try:
        for value in told(capture):
            found.append(seen(value))
    except tt.CaptureError as error:
        return found, error
    return found, None


def check(told: Story, promise: str, verify: str) -> None:
    wanted, _ = run(told, Plain)
    found, error = run(told, functools.partial(tt.capture, verify=verify))
    if promise == REFUSED:
        assert error is not None
        assert not found
        assert "differs from its program" not in str(error)
    elif promise == FOUND and verify == "doubling":
        assert error is not None, "silence"
        stale = int(re.search(r"that may be wrong: (\d+)\.", str(error))[1])
        assert 1 <= stale <= len(found) / 2
        right = len(found) - stale
        np.testing.assert_equal(found[:right], wanted[:right])
    else:
        assert error is None
        np.testing.assert_equal(found, wanted)


# Settings of the user's objects, which Python reads: found at the next verification ---------------


class Config:
    """An object with a number."""

    def __init__(self, scale: float = 2.0) -> None:
        self.scale = scale

    def scaled(self, x):
        return x * self.scale


@setting()
def an_object_in_a_list():
    configs = [Config(2.0), Config(3.0)]

    def step(x):
        for config in configs:
            x = x * config.scale
        return x

    yield step
    configs[0].scale = 5.0


@setting()
def an_object_at_an_index():
    configs = [Config()]
    yield lambda x: x * configs[0].scale
    configs[0].scale = 5.0


@setting()
def an_object_in_a_dict():
    configs = {"loss": Config()}
    yield lambda x: x * configs["loss"].scale
    configs["loss"].scale = 5.0


@setting()
def an_object_in_a_namedtuple():
    configs = collections.namedtuple("Configs", "loss")(Config())
    yield lambda x: x * configs.loss.scale
    configs.loss.scale = 5.0


@setting()
def objects_in_a_comprehension():
    configs = [Config(2.0), Config(3.0)]
    yield lambda x: sum([x * config.scale for config in configs])
    configs[1].scale = 5.0


@setting()
def a_method_of_an_object_in_a_list():
    blocks = [Config()]
    yield lambda x: blocks[0].scaled(x)
    blocks[0].scale = 5.0


@setting()
def an_object_in_a_list_of_a_module():
    class Net(nn.Module):
        def __init__(self):
            self.configs = [Config()]

        def forward(self, x):
            return x * self.configs[0].scale

    net = Net()
    yield net
    net.configs[0].scale = 5.0


@setting()
def an_object_returned_by_a_function():
    config = Config()

    def current():
        return config

    yield lambda x: x * current().scale
    config.scale = 5.0


@setting()
def an_object_returned_by_a_property():
    class Net:
        config = property(lambda self: self.found)

        def __init__(self):
            self.found = Config()

        def step(self, x):
            return x * self.config.scale

    net = Net()
    yield net.step
    net.found.scale = 5.0


@setting()
def a_dataclass_with_slots():
    @dataclasses.dataclass(slots=True)
    class Slotted:
        scale: float

    config = Slotted(2.0)
    yield lambda x: x * config.scale
    config.scale = 5.0


@setting()
def a_class_with_slots():
    class Slotted:
        __slots__ = ("scale",)

    config = Slotted()
    config.scale = 2.0
    yield lambda x: x * config.scale
    config.scale = 5.0


@setting()
def a_descriptor():
    class Positive:
        value = None

        def __get__(self, owner, kind):
            return self.value

        def __set__(self, owner, value):
            self.value = value

    class Described:
        scale = Positive()

    config = Described()
    config.scale = 2.0
    yield lambda x: x * config.scale
    config.scale = 5.0


@setting()
def a_partial_of_an_object():
    config = Config()
    yield functools.partial(lambda config, x: x * config.scale, config)
    config.scale = 5.0


@setting()
def a_partial_of_a_list():
    scales = [2.0]
    yield functools.partial(lambda scales, x: x * scales[0], scales)
    scales[0] = 5.0


@setting()
def a_partial_of_a_dict_by_name():
    scales = {"scale": 2.0}
    yield functools.partial(lambda x, scales: x * scales["scale"], scales=scales)
    scales["scale"] = 5.0


@setting()
def an_object_passed_to_a_helper():
    def helper(config, x):
        return x * config.scale

    config = Config()
    yield lambda x: helper(config, x)
    config.scale = 5.0


@setting()
def an_object_that_forward_passes_to_a_helper():
    def helper(x, config):
        return x * config.scale

    class Net(nn.Module):
        def __init__(self):
            self.config = Config()

        def forward(self, x):
            return helper(x, self.config)

    net = Net()
    yield net
    net.config.scale = 5.0


@setting()
def a_method_of_a_base_class():
    class Base:
        def __init__(self):
            self.scale = 2.0

        def step(self, x):
            return x * self.scale

    class Derived(Base):
        def step(self, x):
            return super().step(x) + 1

    trainer = Derived()
    yield trainer.step
    trainer.scale = 5.0


@setting()
def forward_of_a_base_class():
    scale = 2.0

    class Base(nn.Module):
        def forward(self, x):
            return x * scale

    class Net(Base):
        def forward(self, x):
            return super().forward(x) + 0

    yield Net()
    scale = 5.0


@setting()
def a_classmethod():
    class Net:
        scale = 2.0

        @classmethod
        def scaled(cls, x):
            return x * cls.scale

    yield lambda x: Net.scaled(x)
    Net.scale = 5.0


@setting()
def a_staticmethod():
    class Net:
        scale = 2.0

        @staticmethod
        def scaled(x):
            return x * Net.scale

    yield Net.scaled
    Net.scale = 5.0


@setting()
def an_attribute_of_the_objects_type():
    class Net:
        scale = 2.0

        def step(self, x):
            return x * type(self).scale

    net = Net()
    yield net.step
    Net.scale = 5.0


@setting()
def a_partialmethod():
    class Net:
        scale = 2.0

        def scaled(self, times, x):
            return x * self.scale * times

        step = functools.partialmethod(scaled, 3)

    net = Net()
    yield net.step
    net.scale = 5.0


@setting()
def a_function_chosen_by_type():
    config = Config()

    @functools.singledispatch
    def scaled(x):
        raise TypeError

    @scaled.register
    def _(x: tt.Tensor):
        return x * config.scale

    yield lambda x: scaled(tt.from_numpy(x))
    config.scale = 5.0


@setting()
def a_class_made_in_the_step():
    config = Config()

    def step(x):
        class Scaled:
            def __init__(self):
                self.scale = config.scale

        return x * Scaled().scale

    yield step
    config.scale = 5.0


@setting()
def the_object_before_a_branch_not_taken():
    training, testing, is_test = Config(2.0), Config(3.0), False

    def step(x):
        config = training
        if is_test:
            config = testing
        return x * config.scale

    yield step
    training.scale = 5.0


@setting()
def the_branch_itself():
    is_test = False
    yield lambda x: x * 3 if is_test else x * 2
    is_test = True


@setting()
def an_object_chosen_by_a_condition():
    warm, cold, is_warm = Config(2.0), Config(3.0), [True]
    yield lambda x: x * (warm if is_warm[0] else cold).scale
    warm.scale = 5.0


@setting()
def an_object_chosen_by_or():
    default, given = Config(), None
    yield lambda x: x * (given or default).scale
    default.scale = 5.0


@setting()
def an_object_with_two_names():
    one, two = Config(2.0), Config(3.0)

    def step(x):
        a, b = two, one
        c = d = a
        return x * (e := b).scale + c.scale + d.scale + e.scale

    yield step
    two.scale = 5.0


@setting()
def an_object_of_a_with_block():
    config = Config()

    @contextlib.contextmanager
    def opened():
        yield config

    def step(x):
        with opened() as c:
            return x * c.scale

    yield step
    config.scale = 5.0


@setting()
def an_element_of_an_array():
    scales = np.array([2.0, 3.0])
    yield lambda x: x * scales[0]
    scales[0] = 5.0


@setting()
def a_number_read_from_an_array():
    scales = np.array([2.0])
    yield lambda x: x * float(scales[0])
    scales[0] = 5.0


@setting()
def a_sum_of_an_array():
    scales = np.array([2.0, 3.0])
    yield lambda x: x * scales.sum().item()
    scales[0] = 5.0


@setting()
def an_array_as_a_list():
    scales = np.array([2.0, 3.0, 4.0], np.float32)
    yield lambda x: x * scales.tolist()
    scales[0] = 5.0


@setting()
def an_array_in_a_list():
    scales = np.array([2.0, 3.0, 4.0], np.float32)
    yield lambda x: x + tt.Tensor([scales, scales])
    scales[0] = 5.0


@setting()
def a_shape_in_an_array():
    shape = np.array([3, 1])
    yield lambda x: x.reshape(tuple(shape.tolist()))
    shape[:] = [1, 3]


@setting()
def an_array_of_the_standard_library():
    scales = array.array("d", [2.0])
    yield lambda x: x * scales[0]
    scales[0] = 5.0


@setting()
def other_containers():
    last, proxied = collections.deque([2.0]), {"scale": 2.0}
    chain = collections.ChainMap({}, proxied)
    yield lambda x: x * last[-1] * types.MappingProxyType(chain)["scale"]
    proxied["scale"] = 5.0


@setting()
def an_item_by_a_special_method():
    class Items:
        def __init__(self):
            self.items = {"scale": 2.0}

        def __getitem__(self, name):
            return self.items[name]

    items = Items()
    yield lambda x: x * items["scale"]
    items.items["scale"] = 5.0


@setting()
def an_attribute_by_a_special_method():
    class Attributes:
        def __init__(self):
            vars(self)["items"] = {"scale": 2.0}

        def __getattr__(self, name):
            return self.items[name]

    attributes = Attributes()
    yield lambda x: x * attributes.scale
    attributes.items["scale"] = 5.0


class Special(Config):
    """Each special method uses the number."""

    def __len__(self):
        return int(self.scale)

    def __bool__(self):
        return self.scale > 3

    def __iter__(self):
        return iter([self.scale, 1.0, 1.0])

    def __float__(self):
        return self.scale

    def __enter__(self):
        return self.scale

    def __exit__(self, *_):
        pass

    def __matmul__(self, x):
        return x * self.scale


def _entered(special, x):
    with special as scale:
        return x * scale


SPECIAL_METHODS: dict[str, Callable[[Special, Any], Any]] = {
    "len": lambda special, x: x * len(special),
    "bool": lambda special, x: x if special else -x,
    "iter": lambda special, x: x * list(special),
    "float": lambda special, x: x * float(special),
    "enter": _entered,
    "matmul": lambda special, x: special @ x,
}


def _with_special_method(name):
    def special_method():
        special = Special()
        yield lambda x: SPECIAL_METHODS[name](special, x)
        special.scale = 5.0

    special_method.__name__ = f"a_special_method_{name}"
    return special_method


for _name in SPECIAL_METHODS:
    setting()(_with_special_method(_name))


@setting()
def functions_that_get_attributes():
    config = Config()
    yield lambda x: x * config.scale + vars(config)["scale"] * operator.attrgetter("scale")(config)
    config.scale = 5.0


@setting()
def a_method_replaced_on_the_object():
    config = Config()
    yield lambda x: config.scaled(x)
    config.scaled = lambda x: x * 5


@setting()
def a_method_replaced_on_the_class():
    class Own(Config):
        pass

    config = Own()
    yield lambda x: config.scaled(x)
    Own.scaled = lambda self, x: x * 5


@setting()
def forward_replaced_on_the_class():
    class Net(nn.Module):
        def forward(self, x):
            return x * 2

    yield Net()
    Net.forward = lambda self, x: x * 5


@setting()
def a_class_attribute_of_a_module():
    class Net(nn.Module):
        scale = 2.0

        def forward(self, x):
            return x * self.scale

    yield Net()
    Net.scale = 5.0


@setting()
def an_attribute_deleted_from_a_module():
    class Net(nn.Module):
        scale = 2.0

        def forward(self, x):
            return x * self.scale

    net = Net()
    net.scale = 5.0
    yield net
    del net.scale


@setting()
def the_code_of_a_function():
    def helper(x):
        return x * 2

    yield lambda x: helper(x)
    helper.__code__ = (lambda x: x * 5).__code__


@setting()
def the_defaults_of_a_function():
    def helper(x, scale=2.0):
        return x * scale

    yield lambda x: helper(x)
    helper.__defaults__ = (5.0,)


@setting()
def the_class_of_an_object():
    class Other(Config):
        def scaled(self, x):
            return x * 5

    config = Config()
    yield lambda x: config.scaled(x)
    config.__class__ = Other


@setting()
def the_dict_of_an_object():
    config = Config()
    yield lambda x: config.scaled(x)
    config.__dict__ = {"scale": 5.0}


@setting()
def a_module_of_python():
    """Such as the user's own package, which may be installed."""
    settings = types.ModuleType("settings")
    settings.SCALE = 2.0
    yield lambda x: x * settings.SCALE
    settings.SCALE = 5.0


@setting()
def a_module_imported_in_the_step():
    def step(x):
        import settings_of_a_test  # type: ignore[import-not-found]

        return x * settings_of_a_test.SCALE

    settings = types.ModuleType("settings_of_a_test")
    settings.SCALE = 2.0
    sys.modules["settings_of_a_test"] = settings
    try:
        yield step
        settings.SCALE = 5.0
        yield step
    finally:
        del sys.modules["settings_of_a_test"]


@setting()
def a_global_that_becomes_another_module():
    names = {"settings": types.SimpleNamespace(SCALE=2.0)}
    exec("def step(x):\n    return x * settings.SCALE", names)
    yield names["step"]
    names["settings"] = types.SimpleNamespace(SCALE=5.0)


@setting()
def an_environment_variable():
    os.environ["TINYTENSOR_TEST_SCALE"] = "2"
    try:
        yield lambda x: x * float(os.environ["TINYTENSOR_TEST_SCALE"])
        os.environ["TINYTENSOR_TEST_SCALE"] = "5"
        yield lambda x: x
    finally:
        del os.environ["TINYTENSOR_TEST_SCALE"]


@setting()
def a_context_variable():
    scale = contextvars.ContextVar("scale", default=2.0)
    yield lambda x: x * scale.get()
    scale.set(5.0)


@setting()
def a_nonlocal_name():
    scale = 2.0
    yield lambda x: x * scale
    scale = 5.0


@setting()
def a_default_argument_that_is_a_list():
    scales = [2.0]

    def step(x, scales=scales):
        return x * scales[0]

    yield lambda x: step(x)
    scales[0] = 5.0


@setting()
def a_dtype():
    config = types.SimpleNamespace(dtype="float32")
    yield lambda x: tt.cast(x, config.dtype)
    config.dtype = "float64"


@setting()
def a_formula_of_einsum():
    formulas = ["i,j->ij"]
    yield lambda x: tt.einsum(formulas[0], x, [1.0, 2.0, 3.0])
    formulas[0] = "i,j->ji"


@setting()
def an_axis():
    axis = 0
    yield lambda x: (x.reshape(3, 1) * [1.0, 2.0, 3.0]).sum(axis=axis)
    axis = 1


@setting()
def the_bounds_of_a_slice():
    start = 0
    yield lambda x: (x * [1.0, 2.0, 3.0])[start : start + 2]
    start = 1


@setting()
def an_activation_chosen_by_name():
    config = types.SimpleNamespace(activation="relu")
    functions = {"relu": tt.relu, "tanh": tt.tanh}
    yield lambda x: functions[config.activation](x)
    config.activation = "tanh"


@setting()
def the_keep_prob_of_dropout():
    config = Config(1.0)
    yield lambda x: tt.dropout(x, keep_prob=config.scale)
    config.scale = 0.25


@setting()
def the_reduction_of_a_loss():
    config = types.SimpleNamespace(reduction="mean")
    yield lambda x: tt.mse_loss(x, [0.0, 0.0, 2.0], config.reduction)
    config.reduction = "sum"


@setting()
def the_structure_of_the_result():
    names = ["x"]
    yield lambda x: {names[0]: x * 2}
    names[0] = "y"


@setting()
def the_number_of_results():
    heads = [2.0]
    yield lambda x: [x * head for head in heads]
    heads.append(5.0)


@setting()
def results_in_another_order():
    order = [0, 1]

    def step(x):
        results = x * 2, x * 3
        return results[order[0]], results[order[1]]

    yield step
    order.reverse()


@setting()
def the_gradient_mode_chosen_by_a_flag():
    w, with_graph = tt.ones(3, requires_grad=True), [True]

    def step(x):
        w.zero_grad()
        with contextlib.nullcontext() if with_graph[0] else tt.no_grad():
            factor = w * 2
        (w * factor * x).sum().backward()
        return w.grad

    yield step
    with_graph[0] = False


@setting()
def a_number_in_a_hook():
    w, config = tt.ones(3, requires_grad=True), Config()
    w.register_hook(lambda grad: grad * config.scale)

    def step(x):
        w.zero_grad()
        (w * x).sum().backward()
        return w.grad

    yield step
    config.scale = 5.0


@setting()
def a_layer_put_into_a_list():
    layers = [nn.ReLU()]
    yield lambda x: functools.reduce(lambda x, layer: layer(x), layers, x)
    layers.append(nn.Tanh())


@setting()
def an_optimiser_replaced_and_kept():
    w = tt.ones(3, requires_grad=True)
    slow, fast = (tt.optim.SGD([w], lr) for lr in (0.01, 0.5))
    state = {"optimizer": slow}

    def step(x):
        state["optimizer"].zero_grad()
        (w * w * x).sum().backward()
        state["optimizer"].step()
        return w * 1

    yield step
    state["optimizer"] = fast


@setting()
def a_tensor_swapped_for_another():
    layers, average = [types.SimpleNamespace(w=tt.Tensor([1.0, 2.0, 3.0]))], tt.full((3,), 10.0)
    trained = layers[0].w
    yield lambda x: (layers[0].w * x).sum()
    layers[0].w = average
    yield trained


@setting()
def a_tensor_swapped_and_read_without_a_graph():
    state = {"w": tt.ones(3, requires_grad=True)}
    kept = dict(state)
    yield lambda x: state["w"].detach() * x
    state["w"] = tt.full((3,), 5.0, requires_grad=True)
    yield kept


@setting()
def an_index_tensor_swapped():
    state, table = {"index": tt.Tensor([0, 1])}, tt.Tensor([[1.0], [2.0], [3.0]])
    kept = dict(state)
    yield lambda x: tt.embedding(table, state["index"]) * x[:2]
    state["index"] = tt.Tensor([2, 2])
    yield kept


@setting()
def labels_swapped():
    state = {"labels": np.array([0, 1])}
    kept = dict(state)
    yield lambda x: tt.cross_entropy(tt.stack([x * [1.0, 2.0, 3.0], x]), state["labels"])
    state["labels"] = np.array([2, 2])
    yield kept


@setting()
def an_array_swapped_for_another():
    state = {"array": full(2)}
    kept = dict(state)
    yield lambda x: x * tt.from_numpy(state["array"])
    state["array"] = full(5)
    yield kept


@setting()
def the_weights_of_an_object_replaced_and_the_best_kept():
    heads = [types.SimpleNamespace(w=tt.ones(3, 1))]
    best = heads[0].w
    yield lambda x: (x.reshape(1, 3) @ heads[0].w).sum()
    heads[0].w = tt.full((3, 1), 9.0)
    yield best


@setting()
def a_file_read_in_the_step():
    lines = ["2.0"]
    yield lambda x: x * float(lines[-1])
    lines.append("5.0")


# Changes that a captured step follows at once -----------------------------------------------------


@setting(SAME)
def an_array_changed_in_place():
    scales = full(2)
    yield lambda x: x * tt.from_numpy(scales)
    scales[0] = 5


@setting(SAME)
def an_array_next_to_an_argument_changed_in_place():
    scales = full(2)
    yield lambda x: x * scales
    scales[0] = 5


@setting(SAME)
def an_index_changed_in_place():
    index, table = np.array([0, 1, 2]), tt.Tensor([1.0, 2.0, 3.0])
    yield lambda x: table[index] * x
    index[:] = 2


@setting(SAME)
def labels_changed_in_place():
    labels = np.array([0, 1])
    yield lambda x: tt.cross_entropy(tt.stack([x * [1.0, 2.0, 3.0], x]), labels)
    labels[:] = 2


@setting(SAME)
def an_attribute_of_a_module():
    layer = nn.Dropout(keep_prob=1.0)
    yield layer
    layer.keep_prob = 0.25


@setting(SAME)
def a_method_of_a_module_replaced():
    layer = nn.ReLU()
    yield layer
    layer.forward = lambda x: x * 5


@setting(SAME)
def layers_replaced_in_a_module():
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    yield model
    model.layers = [nn.Sigmoid()]


@setting(SAME)
def eval_called():
    model = nn.Sequential(nn.Dropout(keep_prob=0.5), nn.Dropout(keep_prob=0.5))
    yield model
    model.eval()


@setting(SAME)
def a_weight_tied_to_another():
    class Net(nn.Module):
        def __init__(self):
            self.encoder, self.decoder = tt.full((3,), 2.0), tt.full((3,), 3.0)

        def forward(self, x):
            return x * self.encoder * self.decoder

    net = Net()
    kept = net.decoder
    yield net
    net.decoder = net.encoder
    yield kept


@setting()
def a_view_that_is_returned():
    w, columns = tt.ones(2, 3), [3]
    yield lambda x: (x * 1, w.reshape(6 // columns[0], columns[0]))
    columns[0] = 2


@setting(SAME)
def data_assigned():
    w = tt.ones(3)
    yield lambda x: x * w
    w.data = [1.0, 2.0, 5.0]


@setting(SAME)
def data_of_the_same_memory_changed():
    w = tt.ones(3)
    yield lambda x: x * w
    w.numpy()[1] = 5


@setting(SAME)
def the_array_of_a_tensor_replaced():
    w = tt.ones(3)
    kept = w.array
    yield lambda x: x * w
    w.array = full(5)
    yield kept


@setting(SAME)
def the_array_of_a_tensor_that_is_only_returned():
    """No op reads the tensor."""
    w = tt.Tensor([1.0, 2.0])

    def step(x):
        return x * 2, w

    yield step
    w.array = np.array([5.0, 6.0], np.float32)


@setting(SAME)
def a_view_of_a_tensor_changed():
    w = tt.ones(2, 3)
    yield lambda x: x * w
    w[1][...] = w[1] + 5
    w.reshape(6).numpy()[0] = 7


@setting(SAME)
def a_hook_registered():
    w = tt.ones(3, requires_grad=True)

    def step(x):
        w.zero_grad()
        (w * x).sum().backward()
        return w.grad

    yield step
    w.register_hook(lambda grad: grad * 5)


@setting(SAME)
def a_hook_removed():
    w = tt.ones(3, requires_grad=True)
    remove = w.register_hook(lambda grad: grad * 5)

    def step(x):
        w.zero_grad()
        (w * x).sum().backward()
        return w.grad

    yield step
    remove()


@setting(SAME)
def manual_seed_called():
    yield lambda x: tt.dropout(x, keep_prob=0.5)
    tt.manual_seed(7)


@setting(SAME)
def the_gradient_mode_around_the_step():
    """The mode is changed for the rest of the story, which runs in the same context."""
    w = tt.ones(3, requires_grad=True)
    modes = contextlib.ExitStack()
    with modes:
        yield lambda x: (w * x).sum()
        modes.enter_context(tt.no_grad())
        yield lambda x: x


def _trained(make_optimizer, change):
    """A story of a setting: a small network is trained, and something is changed."""

    def training():
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        optimizer = make_optimizer(model.parameters())

        def step(x):
            loss = (model(x.reshape(1, 3)) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss, [p.clone() for p in model.parameters()]

        yield step
        change(model, optimizer)

    return training


def _load_zeros(state):
    state.load_state_dict({name: tt.zeros_like(x) for name, x in state.state_dict().items()})


CHANGES_OF_TRAINING: dict[str, Callable[[nn.Sequential, tt.optim.Optimizer], Any]] = {
    "lr": lambda model, optimizer: setattr(optimizer, "lr", 0.5),
    "a_schedule": lambda model, optimizer: setattr(optimizer, "lr", tt.optim.stepwise(0.1, 2)),
    "a_schedule_of_the_user": lambda model, optimizer: setattr(
        optimizer, "lr", lambda i: 0.1 / (1 + i)
    ),
    "a_model_loaded": lambda model, optimizer: _load_zeros(model),
    "an_optimiser_loaded": lambda model, optimizer: _load_zeros(optimizer),
    "a_layer_frozen": lambda model, optimizer: [
        setattr(p, "requires_grad", False) for p in model.layers[0].parameters()
    ],
    "all_but_the_head_frozen": lambda model, optimizer: [
        p.requires_grad_(False) for p in model.layers[0].parameters()
    ],
    "a_parameter_out_of_the_optimiser": lambda model, optimizer: optimizer.params.pop(),
    "gradients_forgotten": lambda model, optimizer: optimizer.zero_grad(),
    "gradients_set_by_hand": lambda model, optimizer: [
        setattr(p, "grad", tt.ones_like(p)) for p in model.parameters()
    ],
    "weights_multiplied": lambda model, optimizer: [
        setattr(p, "data", p.detach() * 0.5) for p in model.parameters()
    ],
    "a_layer_replaced": lambda model, optimizer: setattr(
        model, "layers", [*model.layers[:2], nn.Linear(4, 2, bias=None)]
    ),
    "a_bias_replaced": lambda model, optimizer: setattr(
        model[0], "bias", tt.ones(4).requires_grad_()
    ),
    "the_state_saved": lambda model, optimizer: copy.deepcopy(model.state_dict()),
    "the_model_copied": lambda model, optimizer: copy.deepcopy(model),
    "a_steps_count_read": lambda model, optimizer: (optimizer.steps, optimizer.lr),
    "threads": lambda model, optimizer: tt.set_num_threads(2),
}
OPTIMIZERS: dict[str, Callable[[list[tt.Tensor]], tt.optim.Optimizer]] = {
    "sgd": lambda params: tt.optim.SGD(params, 0.1, momentum=0.9),
    "adam": lambda params: tt.optim.Adam(params, 0.1),
    "rmsprop": lambda params: tt.optim.RMSprop(params, tt.optim.exponential(0.01, 0.1, 5)),
}

for _change, _optimizer in itertools.product(CHANGES_OF_TRAINING, OPTIMIZERS):
    _training = _trained(OPTIMIZERS[_optimizer], CHANGES_OF_TRAINING[_change])
    _training.__name__ = f"training_{_optimizer}_{_change}"
    setting(SAME)(_training)


# State that the step makes and carries ------------------------------------------------------------


@story(SAME)
def a_tensor_made_of_numbers_and_changed(capture):
    def step(x):
        total = tt.Tensor([0.0, 0.0, 0.0])
        for _ in range(2):
            total[...] = total + x
        return total

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def other_constants_changed(capture):
    def step(x):
        a, b, c, d = tt.arange(3.0), tt.eye(3), tt.Tensor(0.0), tt.ones(3)
        a[1:] = a[1:] + x[1:]
        b[0] = b[0] * x
        c[...] = c + x.sum()
        d.data = d.detach() + x
        return a, b, c, d

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def tensors_changed_by_operators(capture):
    w, v = tt.Tensor([1.0, 2.0, 3.0], requires_grad=True), tt.Tensor([4.0, 5.0, 6.0])
    mask, total = tt.Tensor([True, False, True]), tt.zeros(3)

    def step(x):
        nonlocal v, mask, total
        w.zero_grad()
        (w * w * x).sum().backward()
        w.data -= 0.25 * w.grad
        v += x
        v *= 0.5
        v /= 3
        mask ^= x > 1
        total += v
        return w.detach() * v, total, mask

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i)), w, v, mask, total


@story(SAME)
def parameters_changed_by_operators(capture):
    params = [tt.Tensor([1.0, 2.0, 3.0], requires_grad=True), tt.ones(3, requires_grad=True)]

    def step(x):
        for p in params:
            p.grad = None
        loss = ((params[0] * x + params[1]) ** 2).sum()
        loss.backward()
        with tt.no_grad():
            for p in params:
                p -= 0.01 * p.grad
        return loss

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i)), *params


@story(SAME)
def an_inner_optimisation_from_a_constant(capture):
    w = tt.Tensor([1.0, 2.0, 3.0])

    def step(x):
        z = tt.Tensor([0.0, 0.0, 0.0], requires_grad=True)
        for _ in range(3):
            (grad,) = tt.grad(((z - w * x) ** 2).sum(), z)
            with tt.no_grad():
                z[...] = z - 0.1 * grad
        return z.detach()

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def a_parameter_out_of_an_optimiser_that_only_sets_gradients_to_none(capture):
    w, b = (tt.ones(3, requires_grad=True) for _ in range(2))
    optimizer = tt.optim.SGD([w, b], 0.1)

    def step(x):
        optimizer.zero_grad()
        loss = (x * w + b).sum()
        loss.backward()
        return loss

    step = capture(step)
    for i in range(CALLS):
        if i == 3:
            optimizer.params.pop()  # from now on its gradients add up
        yield step(full(i)), b.grad


@story(REFUSED)
def an_optimiser_made_in_the_step(capture):
    def step(x):
        z = tt.zeros(3, requires_grad=True)
        optimizer = tt.optim.Adam([z], 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            ((z - x) ** 2).sum().backward()
            optimizer.step()
        return z.detach()

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def a_constant_gradient_changed_in_the_step(capture):
    w = tt.Tensor(2.0, requires_grad=True)

    def step(x):
        w.zero_grad()
        (w + x.sum()).backward()
        with tt.no_grad():
            w.grad[...] = w.grad * 0.5
        return w.grad

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def a_constant_gradient_changed_outside(capture):
    w = tt.Tensor(2.0, requires_grad=True)

    def step(x):
        w.zero_grad()
        (w + x.sum()).backward()

    step = capture(step)
    for i in range(CALLS):
        step(full(i))
        yield w.grad
        w.grad[...] = w.grad * 0.5


@story(SAME)
def zero_gradients_changed_outside(capture):
    w = tt.ones(3, requires_grad=True)

    def step(x):
        w.zero_grad()
        (tt.floor(w) + tt.sign(w * x)).sum().backward()

    step = capture(step)
    for i in range(CALLS):
        step(full(i))
        yield w.grad
        w.grad[...] = w.grad + 1


@story(SAME)
def a_returned_constant_changed_by_the_caller(capture):
    step = capture(lambda x: (tt.ones(3), x * 2))
    for i in range(CALLS):
        constant, result = step(full(i))
        yield constant, result
        constant[...] = 5
        result[...] = 6


@story(SAME)
def momentum_made_at_the_first_call(capture):
    w, state = tt.Tensor([1.0, 2.0, 3.0], requires_grad=True), {}

    def step(x):
        w.zero_grad()
        (w * w * x).sum().backward()
        with tt.no_grad():
            if "v" not in state:
                state["v"] = tt.zeros_like(w)
            state["v"][...] = state["v"] * 0.9 + w.grad
            w[...] = w - state["v"] * 0.01
        return w * 1

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i / 4))


@story(SAME)
def an_attribute_that_is_none_at_first(capture):
    class Trainer:
        v = None

        def step(self, x):
            if self.v is None:
                self.v = tt.zeros(3)
            self.v[...] = self.v * 0.5 + x
            return self.v * 1

    step = capture(Trainer().step)
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def a_cached_tensor(capture):
    @functools.cache
    def total(n):
        return tt.zeros(n)

    def step(x):
        total(3)[...] = total(3) + x
        return total(3) * 1

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def a_memo_of_the_first_result(capture):
    memo = {}

    def step(x):
        if "scale" not in memo:
            memo["scale"] = x.sum()
        return x * memo["scale"]

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i + 1))


@story(SAME)
def statistics_of_the_first_batch(capture):
    class ActNorm(nn.Module):
        def __init__(self):
            self.shift, self.ready = tt.zeros(3), False

        def forward(self, x):
            if not self.ready:
                self.shift[...] = x.mean(axis=0)
                self.ready = True
            return x - self.shift

    model = ActNorm()
    step = capture(lambda x: model(tt.from_numpy(x)))
    for i in range(CALLS):
        yield step(full(i + 1, 2, 3))


@story(SAME)
def a_hidden_state_replaced_at_each_step(capture):
    first = tt.zeros(3)
    state = {"h": first}

    def step(x):
        state["h"] = tt.tanh(x * 0.1 + state["h"])
        return state["h"]

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i + 1))


@story(SAME)
def a_hidden_state_replaced_and_the_first_one_gone(capture):
    state = {"h": tt.zeros(3)}

    def step(x):
        state["h"] = tt.tanh(x * 0.1 + state["h"])
        return state["h"]

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i + 1))


@story(SAME)
def a_hidden_state_that_starts_to_change_later(capture):
    """Its first values are equal, so the second recording equals the first."""
    state = {"h": tt.zeros(3)}

    def step(x):
        state["h"] = tt.tanh(x * 0.1 + state["h"])
        return state["h"]

    step = capture(step)
    for i in range(CALLS):
        yield step(full(max(i - 1, 0)))


@story(SAME)
def hidden_states_in_a_list(capture):
    states = [tt.zeros(3)]

    def step(x):
        states.append(tt.tanh(x * 0.1 + states[-1]))

    step = capture(step)
    for i in range(CALLS):
        step(full(i + 1))
        yield states


@story(SAME)
def a_hidden_state_of_a_module(capture):
    class Cell(nn.Module):
        def __init__(self):
            self.state = tt.zeros(3)

        def forward(self, x):
            self.state = tt.tanh(x + self.state)
            return self.state

    cell = Cell()
    step = capture(lambda x: cell(x))
    for i in range(CALLS):
        yield step(full(i / 8))


@story(SAME)
def a_hidden_state_of_an_object(capture):
    class Average:
        def __init__(self):
            self.mean = tt.zeros(3)

        def update(self, x):
            self.mean = self.mean * 0.9 + x * 0.1

    average = Average()

    def step(x):
        average.update(x)
        return average.mean

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i + 1))


@story(SAME)
def two_states_that_swap_places(capture):
    state = {"a": tt.ones(3), "b": tt.full((3,), 2.0)}

    def step(x):
        state["a"], state["b"] = state["b"], state["a"]
        return state["a"] * x

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def a_state_set_to_zero_and_added_to(capture):
    state = {}

    def step(x):
        state["sum"] = tt.zeros(3)
        state["sum"][...] = state["sum"] + x

    step = capture(step)
    for i in range(CALLS):
        step(full(i))
        yield state["sum"]


@story(SAME)
def a_state_set_to_zero_next_to_a_kept_tensor(capture):
    state = {}

    def step(x):
        state["double"] = x * 2
        state["sum"] = tt.zeros(3)
        state["sum"][...] = state["sum"] + x

    step = capture(step)
    for i in range(CALLS):
        step(full(i))
        yield state


@story(SAME)
def a_state_changed_in_place(capture):
    h = tt.zeros(3)

    def step(x):
        h[...] = tt.tanh(x * 0.1 + h)
        return h * 1

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i))


# Counters and chance ------------------------------------------------------------------------------


@story(SAME)
def an_update_at_every_second_step(capture):
    w, counts = tt.ones(3, requires_grad=True), {"steps": 0}
    optimizer = tt.optim.SGD([w], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        counts["steps"] += 1
        if counts["steps"] % 2 == 0:
            optimizer.step()
        return w * 1

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i))


@story(FOUND)
def a_flag_set_before_every_fourth_step(capture):
    w, due = tt.ones(3, requires_grad=True), [False]
    optimizer = tt.optim.SGD([w], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        if due[0]:
            optimizer.step()
        return w * 1

    step = capture(step)
    for i in range(CALLS):
        due[0] = i % 4 == 3
        yield step(full(i))


@story(SAME)
def a_counter_of_an_object(capture):
    class Trainer:
        steps = 0

        def step(self, x):
            self.steps += 1
            return x * self.steps

    step = capture(Trainer().step)
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def a_counter_of_a_module(capture):
    class Net(nn.Module):
        def __init__(self):
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    net = Net()
    step = capture(lambda x: net(x))
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def a_nonlocal_counter(capture):
    steps = 0

    def step(x):
        nonlocal steps
        steps += 1
        return x * steps

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def an_iterator(capture):
    numbers = iter(range(100))
    step = capture(lambda x: x * next(numbers))
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def momentum_set_in_the_step(capture):
    w = tt.ones(3, requires_grad=True)
    optimizer = tt.optim.SGD([w], lr=0.1, momentum=0.9)

    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.momentum = optimizer.momentum / 2
        optimizer.step()
        return w * 1

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def layers_rotated_in_the_step(capture):
    layers = [tt.relu, tt.tanh, tt.exp]

    def step(x):
        layers.append(layers.pop(0))
        return layers[0](x)

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i / 8))


@story(FOUND)
def a_coin_of_the_random_module(capture):
    step = capture(lambda x: x * (2 if random.random() < 0.5 else 3))
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def a_random_number_each_time(capture):
    rng = np.random.default_rng(0)
    step = capture(lambda x: x * rng.uniform() + rng.integers(5).item())
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def the_time(capture):
    step = capture(lambda x: (x * (1 + time.perf_counter() % 1)).sum() > 0)
    for _ in range(CALLS):
        yield step(full(1))


@story(SAME)
def dropout_draws_masks_at_each_call(capture):
    step = capture(lambda x: (tt.dropout(x, keep_prob=0.5), tt.dropout(x, keep_prob=0.25)))
    for i in range(CALLS):
        if i == 9:
            tt.manual_seed(3)
        yield step(full(i + 1, 5))


@story(REFUSED)
def random_tensors_in_the_step(capture):
    step = capture(lambda x: x + tt.rand(3))
    for i in range(CALLS):
        yield step(full(i))


# Arguments ----------------------------------------------------------------------------------------


@story(SAME)
def an_argument_changed_in_place(capture):
    def step(images):
        images[:, 1:3] = 0
        return tt.from_numpy(images) * 2

    step = capture(step)
    for i in range(CALLS):
        images = full(i, 2, 4)
        result = step(images)
        yield images.copy(), result


@story(SAME)
def an_argument_changed_in_place_by_a_step_that_keeps_a_tensor(capture):
    kept = {}

    def step(x):
        x -= 1
        kept["h"] = x * 2
        return x.sum()

    step = capture(step)
    for i in range(2 * CALLS):
        x = full(i)
        yield step(x), x, kept


@story(SAME)
def an_argument_changed_in_place_and_kept(capture):
    kept = {}

    def step(x):
        kept["x"] = x
        kept["x"] -= 1

    step = capture(step)
    for i in range(2 * CALLS):
        x = full(i)
        step(x)
        yield x, kept
        x += 5
        yield kept


@story(SAME)
def an_argument_changed_in_place_before_an_error(capture):
    """The check of the labels runs before the kernels in a replay."""

    def step(x, labels):
        x += 1
        loss = tt.cross_entropy(tt.ones(1, 3), labels)
        x += 1
        return loss

    step = capture(step)
    for i in range(CALLS):
        x = full(i)
        with contextlib.suppress(tt.LabelError):
            step(x, np.array([9 if i in (4, 6) else 1]))
        yield x


@story(SAME)
def a_large_argument_read_before_an_error(capture):
    """C reads it in the caller's memory."""
    w = tt.zeros(2000)

    def step(x, labels):
        w.__iadd__(x)
        return tt.cross_entropy(tt.ones(1, 3), labels)

    step = capture(step)
    for i in range(CALLS):
        with contextlib.suppress(tt.LabelError):
            step(full(i, 2000), np.array([9 if i in (4, 6) else 1]))
        yield w[0]


@story(REFUSED)
def a_list_of_arguments(capture):
    step = capture(lambda x, y: tt.Tensor([x, y]))
    for i in range(CALLS):
        yield step(full(i), full(i))


@story(REFUSED)
def parts_of_an_argument_in_a_list(capture):
    step = capture(lambda x: tt.Tensor([x[0], x[1]]))
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def a_list_of_an_argument_next_to_a_tensor(capture):
    w = tt.ones(2, 3)
    step = capture(lambda x: w * [x, x])
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def labels_in_a_list(capture):
    step = capture(lambda labels: tt.one_hot([labels], 3))
    for i in range(CALLS):
        yield step(np.array([i % 3]))


@story(REFUSED)
def repeats_of_an_argument(capture):
    step = capture(lambda x, repeats: tt.repeat(x, repeats))
    for i in range(CALLS):
        yield step(full(i), np.array([1, 2, 3]))


@story(REFUSED)
def widths_of_an_argument(capture):
    step = capture(lambda x, widths: tt.pad(x, widths))
    for i in range(CALLS):
        yield step(full(i), np.array([1, 2]))


@story(REFUSED)
def a_padding_value_of_an_argument(capture):
    step = capture(lambda x, value: tt.pad(x, 1, value))
    for i in range(CALLS):
        yield step(full(i), np.array(float(i)))


@story(REFUSED)
def a_numpy_scalar_of_an_argument(capture):
    step = capture(lambda x, k: x * np.float32(k))
    for i in range(CALLS):
        yield step(full(i), np.array(float(i)))


@story(REFUSED)
def an_integer_of_an_argument_as_an_index(capture):
    step = capture(lambda x, k: x[np.int64(k)])
    for i in range(CALLS):
        yield step(full(i), np.array(i % 3))


@story(REFUSED)
def an_iterator_over_the_elements_of_an_argument(capture):
    step = capture(lambda x: x * sum(float(k) for k in np.nditer(x)))
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def a_scalar_argument(capture):
    step = capture(lambda x, k: x * k)
    for i in range(CALLS):
        yield step(full(i), np.array(float(i), np.float32))


@story(SAME)
def numpy_scalars_as_arguments(capture):
    """Ops convert them to the dtype of the tensor."""
    step = capture(lambda x, k: x * k + k)
    kinds = np.float64, np.float32, np.int64, np.uint8, np.bool_
    for dtype in ("float32", "float64", "int64", "uint8"):
        for kind in kinds:
            for _ in range(3):
                yield step(np.ones(3, dtype), kind(1.7))


@story(SAME)
def an_argument_in_memory_that_the_step_changes(capture):
    w = tt.ones(3)

    def step(x):
        w[...] = w * 2
        return x.sum()

    step = capture(step)
    for _ in range(CALLS):
        yield step(w.detach())


@story(SAME)
def an_argument_that_shares_memory_from_some_call_on(capture):
    w = tt.ones(3)

    def step(x):
        w[...] = w * 2
        return x.sum()

    step = capture(step)
    for i in range(CALLS):
        yield step(w.detach() if i in (2, 5, 6, 12) else full(i))


@story(SAME)
def two_arguments_in_one_memory(capture):
    def step(x, y):
        x[...] = x + 1
        return x + y

    step = capture(step)
    for i in range(CALLS):
        x = tt.full((3,), float(i))
        yield step(x, x.detach() if i % 3 == 2 else tt.ones(3)), x


@story(SAME)
def two_arguments_in_one_memory_and_a_kept_tensor(capture):
    kept = {}

    def step(x, y):
        kept["h"] = x * 2
        y += 1
        return x, y, x + 0

    step = capture(step)
    for i in range(2 * CALLS):
        x = full(i)
        y = x if i % 3 == 0 else x.copy()
        yield step(x, y), x, y, kept


@story(SAME)
def a_view_of_a_changed_tensor_as_an_argument_and_a_kept_tensor(capture):
    w, kept = tt.zeros(3), {}

    def step(x):
        kept["h"] = x * 2
        w.__iadd__(1)
        return x.sum()

    step = capture(step)
    for i in range(2 * CALLS):
        yield step(w.reshape(3, 1).reshape(3) if i % 2 else tt.full((3,), float(i))), kept


@story(SAME)
def arguments_that_overlap(capture):
    memory = np.zeros(5, np.float32)

    def step(x, y):
        x[...] = x + 1
        return y * 1

    step = capture(step)
    for i in range(CALLS):
        start = 3 - i % 4
        yield step(memory[:3], memory[start : start + 2]), memory.copy()


class Exported:
    """Memory as another library hands it to NumPy, whose arrays then have no base in common."""

    def __init__(self, memory: np.ndarray, **other: Any) -> None:
        self.memory = memory  # kept alive
        self.__array_interface__ = {**memory.__array_interface__, **other}

    def array(self) -> np.ndarray:
        return np.asarray(self)


@story(SAME)
def an_argument_in_memory_that_another_library_shares(capture):
    memory = np.zeros(3, np.float32)
    w = tt.from_numpy(Exported(memory).array())

    def step(x):
        w[...] = w + 1
        return x * 1

    step = capture(step)
    for i in range(CALLS):
        yield step(memory if i % 4 == 2 else full(i)), memory.copy()


@story(SAME)
def an_argument_of_another_library_in_memory_of_a_tensor(capture):
    w = tt.zeros(3)

    def step(x):
        w[...] = w + 1
        return x * 1

    step = capture(step)
    for i in range(CALLS):
        yield step(Exported(w.numpy()).array() if i % 4 == 2 else full(i)), w


@story(SAME)
def arguments_of_many_shapes_and_dtypes(capture):
    step = capture(lambda x: x * 2 + 1)
    for i in range(CALLS):
        dtype = ("float32", "float64", "int64")[i % 3]
        yield step(np.full((i % 2, 3) if i % 4 else 3, i, dtype))


@story(SAME)
def empty_batches(capture):
    w = tt.ones(3, 2, requires_grad=True)
    optimizer = tt.optim.SGD([w], 0.1)

    def step(x):
        loss = (x @ w).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i, i % 3, 3)), w


@story(SAME)
def arguments_with_gaps_and_reversed(capture):
    memory = np.arange(24, dtype=np.float32).reshape(4, 6)
    step = capture(lambda x: x * 2 + x.sum())
    parts = memory[:2, ::2], memory[::-2, :3], memory[:3, :2].T, memory[2:, 3:]
    for i in range(CALLS):
        yield step(parts[i % 4])


@story(SAME)
def an_argument_that_the_step_returns(capture):
    step = capture(lambda x: (x, x[1:], x.reshape(3, 1)))
    results = []
    for i in range(CALLS):
        results.append(step(full(i)))
        yield results


@story(SAME)
def an_argument_that_the_step_keeps(capture):
    kept = {}

    def step(x):
        kept["x"] = x if isinstance(x, tt.Tensor) else tt.from_numpy(x)

    step = capture(step)
    for i in range(CALLS):
        step(full(i))
        yield kept["x"]


@story(SAME)
def an_earlier_result_as_an_argument(capture):
    step = capture(lambda x: x * 2 + 1)
    x = tt.ones(3)
    for _ in range(CALLS):
        x = step(x)
        yield x


@story(SAME)
def a_batch_that_is_filled_again(capture):
    batch = full(0, 64, 64)
    step = capture(lambda x: x * 2)
    results = []
    for i in range(CALLS):
        batch[...] = i
        results.append(step(batch)[0, 0])
        yield results


# Gradients ----------------------------------------------------------------------------------------


@story(SAME)
def the_gradient_of_the_step_before(capture):
    w = tt.Tensor([1.0, 2.0, 3.0], requires_grad=True)

    def step(x):
        before = w.grad
        w.zero_grad()
        (w * w * x).sum().backward()
        with tt.no_grad():
            w[...] = w - 0.01 * (w.grad if before is None else w.grad + 0.9 * before)
        return w * 1

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i / 4))


@story(SAME)
def gradients_made_outside_and_kept(capture):
    w, history = tt.Tensor([1.0, 2.0, 3.0], requires_grad=True), []

    def update():
        with tt.no_grad():
            w[...] = w - 0.1 * w.grad

    step = capture(update)
    for i in range(CALLS):
        w.grad = None
        (w * w * float(i)).sum().backward()
        history.append(w.grad)
        step()
        yield w, history


@story(SAME)
def a_gradient_that_comes_later(capture):
    w, v = tt.ones(3, requires_grad=True), tt.ones(3, requires_grad=True)
    optimizer = tt.optim.SGD([w, v], lr=0.1)

    def step(x):
        w.grad = None
        (w * x).sum().backward()
        optimizer.step()

    step = capture(step)
    for i in range(CALLS):
        if i == 6:
            (v * 2).sum().backward()
        step(full(1))
        yield w, v


@story(SAME)
def micro_batches(capture):
    w = tt.ones(3, requires_grad=True)
    optimizer = tt.optim.Adam([w], lr=0.1)
    add = capture(lambda x: (w * w * x).sum().backward())
    for i in range(3 * CALLS):
        add(full(i))
        if i % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
        yield w, w.grad


@story(SAME)
def gradients_zeroed_in_place_by_hand(capture):
    w = tt.ones(3, requires_grad=True)

    def step(x):
        (w * w * x).sum().backward()
        with tt.no_grad():
            w[...] = w - 0.1 * w.grad
            w.grad[...] = 0

    step = capture(step)
    for i in range(CALLS):
        step(full(i / 4))
        yield w, w.grad


@story(SAME)
def gradients_removed_now_and_then(capture):
    w, v = tt.ones(3, requires_grad=True), tt.ones(3, requires_grad=True)
    step = capture(lambda x: (w * v * x).sum().backward())
    for i in range(CALLS):
        if i % 5 == 4:
            w.grad = None
        if i % 7 == 3:
            v.zero_grad()
        step(full(i))
        yield w.grad, v.grad


@story(SAME)
def gradients_multiplied_outside(capture):
    w = tt.ones(3, requires_grad=True)
    step = capture(lambda x: (w * w * x).sum().backward())
    for i in range(CALLS):
        step(full(i))
        yield w.grad
        w.grad[...] = w.grad * 0.5


@story(SAME)
def gradients_clipped(capture):
    w, v = tt.ones(3, 1, requires_grad=True), tt.ones(3, requires_grad=True)
    optimizer = tt.optim.SGD([w, v], 0.1)

    def step(x):
        loss = ((x * v) @ w).sum()
        optimizer.zero_grad()
        loss.backward()
        tt.optim.clip_grad_norm([w, v], 1.0)
        tt.optim.clip_grad_value([w, v], 0.5)
        optimizer.step()
        return loss

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i / 4, 2, 3)), w, v


@story(SAME)
def gradients_of_gradients(capture):
    w = tt.Tensor([1.0, 2.0, 3.0], requires_grad=True)

    def step(x):
        (first,) = tt.grad((w * w * w * x).sum(), w, create_graph=True)
        w.zero_grad()
        (first * first).sum().backward()
        with tt.no_grad():
            w[...] = w - 0.001 * w.grad
        return first

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i / 8)), w


@story(SAME)
def a_backward_pass_over_a_result_of_outside(capture):
    """The graph is made outside, once for each call."""
    w, state = tt.ones(3, requires_grad=True), {}

    def step(x):
        w.zero_grad()
        (state["y"] * x).sum().backward()
        return w.grad

    step = capture(step)
    for i in range(CALLS):
        state["y"] = w * float(i)
        yield step(full(i))


@story(SAME)
def fine_tuning_a_head(capture):
    body, head = nn.Linear(3, 4), nn.Linear(4, 2)
    optimizer = tt.optim.SGD(head.parameters(), lr=0.1)

    def step(x):
        loss = (head(tt.relu(body(tt.from_numpy(x)))) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step = capture(step)
    for _ in range(CALLS):
        yield step(full(1, 1, 3)), body.weight.grad, head.weight.grad


@story(SAME)
def layers_frozen_and_freed_in_turn(capture):
    body, head = nn.Linear(3, 4), nn.Linear(4, 2)
    optimizer = tt.optim.Adam([*body.parameters(), *head.parameters()], 0.01)

    def step(x):
        loss = (head(body(x)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step = capture(step)
    for i in range(2 * CALLS):
        if i % 4 == 3:
            for p in body.parameters():
                p.requires_grad_(not p.requires_grad)
        yield step(full(i / 8, 1, 3)), body.weight, body.weight.grad


# What the step leaves -----------------------------------------------------------------------------


@story(SAME)
def a_kept_tensor_under_a_graph(capture):
    """A replay writes it: the graph may be used no more, or it gives the gradient of its time."""
    kept = {}

    def step(x):
        kept["h"] = x * 2 if isinstance(x, tt.Tensor) else tt.from_numpy(x) * 2

    step = capture(step)
    for i in range(CALLS):
        step(full(i))
        v = tt.ones(3, requires_grad=True)
        y = (kept["h"] * v).sum()
        step(full(-5))
        try:
            y.backward()
            yield v.grad.tolist() == [2 * i] * 3
        except tt.GradientError:
            yield True


@story(SAME)
def a_tensor_kept_by_programs_of_two_shapes(capture):
    kept = {}

    def step(x):
        kept["h"] = x * 2

    step = capture(step)
    for i in range(2 * CALLS):
        step(full(i, 2 if i % 5 == 4 else 3))
        yield kept


@story(SAME)
def a_history_of_a_state_of_two_shapes(capture):
    """The caller's older tensors are those of the other shape."""
    cache, history = {}, []

    def step(x):
        cache["h"] = x.sum(axis=0)
        return cache["h"] * 2

    step = capture(step)
    for i in range(2 * CALLS):
        yield step(full(i, 2 + i % 2, 3)), cache
        history.append(cache["h"])


@story(SAME)
def a_history_of_a_state_with_and_without_a_graph(capture):
    w, cache, history = tt.ones(3, requires_grad=True), {}, []

    def step(x):
        cache["h"] = (x * w).detach()

    step = capture(step)
    for i in range(2 * CALLS):
        with tt.no_grad() if i % 2 else contextlib.nullcontext():
            step(full(i))
        yield cache
        history.append(cache["h"])


@story(SAME)
def a_history_of_a_state_of_two_steps(capture):
    cache, history = {}, []

    def stored(x):
        cache["h"] = x * 2

    def stored_too(x):
        cache["h"] = x * 3

    steps = capture(stored), capture(stored_too)
    for i in range(2 * CALLS):
        steps[i % 2](full(i))
        yield cache
        history.append(cache["h"])


@story(SAME)
def a_history_of_gradients_of_two_shapes(capture):
    w, cache, history = tt.ones(3, requires_grad=True), {}, []

    def step(x):
        w.zero_grad()
        (x * w).sum().backward()
        cache["grad"] = w.grad

    step = capture(step)
    for i in range(2 * CALLS):
        step(full(i, 2 + i % 2, 3))
        yield cache, w.grad is cache["grad"]
        history.append(cache["grad"])


@story(SAME)
def a_part_of_a_gradient_is_kept(capture):
    w, cache, history = tt.ones(3, requires_grad=True), {}, []

    def step(x):
        w.zero_grad()
        (x * w).sum().backward()
        cache["part"] = w.grad.reshape(3, 1)

    step = capture(step)
    for i in range(2 * CALLS):
        step(full(i, 2 + i % 2, 3))
        w.grad[0] = -1
        yield cache, w.grad
        history.append(cache["part"])


@story(SAME)
def a_history_of_views_of_two_weights(capture):
    weights, cache, history = (tt.zeros(3), tt.ones(3)), {}, []

    def step(x):
        w = weights[len(x) - 2]
        w += x.sum(axis=0)
        cache["row"] = w.reshape(1, 3)

    step = capture(step)
    for i in range(2 * CALLS):
        step(full(i, 2 + i % 2, 3))
        yield cache
        history.append(cache["row"])


@story(SAME)
def losses_in_a_list(capture):
    w, losses = tt.ones(3, requires_grad=True), []
    optimizer = tt.optim.SGD([w], 0.1)

    def step(x):
        loss = ((w - x) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())

    step = capture(step)
    for i in range(CALLS):
        step(full(i))
        yield losses, w


@story(SAME)
def a_state_moved_on_without_computing(capture):
    state = {"h": tt.zeros(3), "old": None}

    def step(x):
        state["old"] = state["h"]
        state["h"] = x * 2
        return x.sum()

    step = capture(step)
    for i in range(2 * CALLS):
        yield step(full(i)), state


@story(FOUND)
def a_tensor_stored_from_some_call_on(capture):
    stored = []
    is_storing = False

    def step(x):
        y = x * 2
        if is_storing:
            stored.append(y)
        return y

    step = capture(step)
    for i in range(CALLS):
        is_storing = i >= CHANGED_AFTER
        yield step(full(i)), stored


@story(SAME)
def a_gradient_that_is_an_argument(capture):
    w = tt.ones(3, requires_grad=True)

    def step(x):
        w.grad = x
        w.data -= 0.5 * w.grad

    step = capture(step)
    for i in range(CALLS):
        x = full(i)
        step(x)
        yield w, w.grad
        x += 1
        yield w.grad


@story(SAME)
def a_kept_tensor_that_is_dropped(capture):
    kept = {}

    def step(x):
        kept["h"] = x * 2

    step = capture(step)
    for i in range(CALLS):
        step(full(i))
        yield kept
        if i in (3, 5):
            kept.clear()


@story(SAME)
def a_tensor_kept_by_a_verification_that_raises(capture):
    kept = {}

    def step(x, labels):
        kept["h"] = x * 2
        return tt.cross_entropy(kept["h"], labels)

    step = capture(step)
    for i in range(CALLS):
        with contextlib.suppress(tt.LabelError):
            step(full(i, 1, 3), np.array([9 if i == 3 else 1]))
        yield kept


@story(SAME)
def all_results_are_kept(capture):
    results = []
    step = capture(lambda x: {"double": x * 2, "rows": [x.sum(), (x + 1, None)]})
    for i in range(CALLS):
        results.append(step(full(i)))
        yield results


@story(SAME)
def results_changed_by_the_caller(capture):
    w = tt.ones(3)
    step = capture(lambda x: x * w)
    for i in range(CALLS):
        result = step(full(i))
        yield result
        result[...] = 7


@story(SAME)
def all_gradients_are_kept(capture):
    w, kept = tt.ones(3, requires_grad=True), []

    def step(x):
        w.zero_grad()
        (w * w * x).sum().backward()

    step = capture(step)
    for i in range(CALLS):
        step(full(i))
        kept.append(w.grad.clone())
        yield kept


@story(SAME)
def a_tensor_that_is_assigned_in_the_step(capture):
    """The parameter is replaced by its update, as in a functional style."""
    state = {"w": tt.ones(3, requires_grad=True)}

    def step(x):
        (grad,) = tt.grad((state["w"] ** 2 * x).sum(), state["w"])
        state["w"] = (state["w"] - 0.1 * grad).detach().requires_grad_()
        return state["w"]

    step = capture(step)
    for i in range(CALLS):
        yield step(full((i + 1) / 8))


@story(SAME)
def averages_of_a_network(capture):
    model = nn.Sequential(nn.BatchNorm(3), nn.Dropout(keep_prob=0.5))
    step = capture(lambda x: model(x))
    for i in range(CALLS):
        if i in (6, 11):
            model.train(i == 11)
        yield step(np.arange(i, i + 6, dtype=np.float32).reshape(2, 3)), model.state_dict()


@story(SAME)
def parameters_shared_by_two_steps(capture):
    w = tt.ones(3, requires_grad=True)
    optimizers = tt.optim.SGD([w], 0.1), tt.optim.Adam([w], 0.05)

    def made(optimizer, scale):
        def step(x):
            optimizer.zero_grad()
            (w * w * x * scale).sum().backward()
            optimizer.step()
            return w * 1

        return capture(step)

    steps = [made(optimizer, i + 1) for i, optimizer in enumerate(optimizers)]
    for i in range(2 * CALLS):
        yield steps[i % 2](full(i / 8)), w.grad


@story(SAME)
def a_model_evaluated_between_its_steps(capture):
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm(4), nn.Dropout(keep_prob=0.5), nn.Linear(4, 2)
    )
    optimizer = tt.optim.Adam(model.parameters(), tt.optim.cosine(0.1, 10))

    def train(x, labels):
        loss = tt.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    train, evaluate = capture(train), capture(lambda x: model(x).argmax(axis=1))
    images = np.arange(12, dtype=np.float32).reshape(4, 3)
    for i in range(CALLS):
        yield train(images * i, np.array([0, 1, 1, i % 2]))
        model.eval()
        with tt.no_grad():
            yield evaluate(images)
        model.train()


# Errors -------------------------------------------------------------------------------------------


@story(SAME)
def a_label_that_is_wrong(capture):
    model = nn.Sequential(nn.BatchNorm(3), nn.Dropout(keep_prob=0.5))
    step = capture(lambda x, labels: tt.cross_entropy(model(x), labels))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for i in range(CALLS):
        try:
            yield step(x, np.array([0, 9 if i in (0, 2, 7, 8) else 1]))
        except tt.LabelError:
            yield "LabelError", model.layers[0].mean


@story(SAME)
def a_schedule_that_raises(capture):
    w, rates = tt.ones(3, requires_grad=True), [0.1]
    optimizer = tt.optim.SGD([w], lambda i: rates[0])

    def step(x):
        optimizer.zero_grad()
        (w * w * x).sum().backward()
        optimizer.step()

    step = capture(step)
    for i in range(CALLS):
        rates[0] = -1.0 if i in (2, 7) else 0.1
        try:
            step(full(i / 4))
        except tt.SettingError:
            yield "SettingError"
        yield w, w.grad, int(optimizer.state_dict()["steps"].numpy()[0])


@story(SAME)
def an_error_of_the_users_code(capture):
    """It is raised at the first call and at a verification; replays run no Python."""
    w, calls = tt.ones(3), itertools.count()

    def step(x):
        w[...] = w + x
        if next(calls) in (0, 2):
            raise KeyError
        return w * 1

    step = capture(step)
    for _ in range(2):
        with contextlib.suppress(KeyError):
            yield step(full(1))
        yield w


@story(REFUSED)
def anomalies_looked_for_inside(capture):
    def step(x):
        with tt.detect_anomaly():
            return tt.log(x)

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i + 1))


@story(SAME)
def anomalies_looked_for_around(capture):
    step = capture(lambda x: tt.log(x))
    for i in range(CALLS):
        with tt.detect_anomaly():
            try:
                yield step(full(-1 if i % 5 == 3 else 1))
            except tt.AnomalyError:
                yield "AnomalyError"


# Optimisers of the user, schedules ----------------------------------------------------------------


@story(SAME)
def an_optimiser_that_computes_with_numpy(capture):
    class Sign(tt.optim.Optimizer):
        def _update(self, i, grad, param):
            param -= self._lr[0] * np.sign(grad)

    w = tt.ones(3, requires_grad=True)
    optimizer = Sign([w], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    step = capture(step)
    for i in range(CALLS):
        step(full((-1) ** i * i))
        yield w


@story(SAME)
def a_schedule_that_reads_what_the_step_writes(capture):
    w, last = tt.ones(3, requires_grad=True), np.zeros(1, np.float32)
    loss_now = tt.from_numpy(last)
    optimizer = tt.optim.SGD([w], lr=lambda i: 0.1 / (1 + abs(float(last[0]))))

    def step(x):
        loss = (w * x).sum()
        optimizer.zero_grad()
        loss.backward()
        with tt.no_grad():
            loss_now[...] = loss.detach().reshape(1)
        optimizer.step()

    step = capture(step)
    for i in range(CALLS):
        step(full(i))
        yield w


@story(SAME)
def a_schedule_that_counts_its_calls(capture):
    w, calls = tt.ones(3, requires_grad=True), itertools.count(1)
    optimizer = tt.optim.SGD([w], lr=lambda i: 0.1 / next(calls))

    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    step = capture(step)
    for i in range(CALLS):
        step(full(i))
        yield w


@story(SAME)
def two_optimisers_in_one_step(capture):
    w, v = tt.ones(3, requires_grad=True), tt.ones(3, requires_grad=True)
    fast = tt.optim.SGD([w], tt.optim.warm_up(tt.optim.stepwise(0.1, 3), 4), momentum=0.5)
    slow = tt.optim.AdamW([v, w], 0.01)

    def step(x):
        for optimizer in (fast, slow):
            optimizer.zero_grad()
            (w * v * x).sum().backward()
            optimizer.step()

    step = capture(step)
    for i in range(CALLS):
        if i == 6:
            fast.lr = 0.05
        step(full(i / 8))
        yield w, v


# Threads, backends and kernels --------------------------------------------------------------------


@story(SAME)
def a_setting_changed_while_the_step_is_recorded(capture):
    config, started, resume = Config(), threading.Event(), threading.Event()

    def step(x):
        y = x * config.scale
        if not started.is_set():
            started.set()
            resume.wait(5)
        return y

    step = capture(step)
    thread = threading.Thread(target=lambda: step(full(1)))
    thread.start()
    started.wait(5)
    config.scale = 5.0
    resume.set()
    thread.join()
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def threads_inside_the_step(capture):
    """Their kernels are not recorded: each result is another constant."""
    w, kept = tt.Tensor([2.0, 2.0, 2.0]), []
    with ThreadPoolExecutor(1) as pool:

        def step(x):
            kept.append(list(pool.map(lambda a: a * w, [x])))
            return kept[-1][0] + 0

        step = capture(step)
        for i in range(CALLS):
            yield step(full(i + 1))


@story(FOUND)
def threads_inside_the_step_and_another_argument_later(capture):
    w = tt.Tensor([2.0, 2.0, 2.0])
    with ThreadPoolExecutor(1) as pool:
        step = capture(lambda x: next(pool.map(lambda a: a * w, [x])) + 0)
        for i in range(CALLS):
            yield step(full(1 if i < CHANGED_AFTER else 2))


@story(SAME)
def a_tensor_changed_by_another_thread(capture):
    w = tt.ones(3)
    step = capture(lambda x: x * w)

    def work(i):
        w[...] = w * 1 + i

    for i in range(CALLS):
        thread = threading.Thread(target=work, args=(i,))
        thread.start()
        thread.join()
        yield step(full(i))


@story(SAME)
def another_number_of_threads(capture):
    w = tt.full((64, 64), 0.25, requires_grad=True)

    def step(x):
        w.zero_grad()
        (x @ w).mean().backward()
        return w.grad[0, :3]

    step = capture(step)
    for i in range(CALLS):
        tt.set_num_threads(1 + i // 3 % 2)
        yield step(full(i, 64, 64))


@story(SAME)
def other_backends_in_turn(capture):
    w = tt.ones(3, requires_grad=True)
    optimizer = tt.optim.Adam([w], 0.1)

    def step(x):
        optimizer.zero_grad()
        (tt.exp(w) * x).sum().backward()
        optimizer.step()
        return w * 1

    step = capture(step)
    for i in range(2 * CALLS):
        with tt.backend(list(tt.available_backends())[i // 3 % 2]):
            yield step(full(i / 16))


@story(SAME)
def a_rung_of_the_ladder_in_use(capture):
    if "c" not in tt.available_backends():
        pytest.skip("the rungs in C")
    x = np.random.default_rng(0).random((20, 30), np.float32)
    step = capture(lambda x: x @ x.T)
    with tt.backend("c"):
        for i in range(CALLS):
            rung = ("c.naive", "c.blocked")[i // 5 % 2]
            with tt.use_kernel("matmul", rung) if i % 4 else contextlib.nullcontext():
                yield step(x)


# Ways to write a step -----------------------------------------------------------------------------


@story(SAME)
def capture_above_a_method(capture):
    class Trainer:
        scale = 2.0

        @capture
        def step(self, x):
            return x * self.scale

    trainer, other = Trainer(), Trainer()
    other.scale = 3.0
    for i in range(CALLS):
        yield trainer.step(full(i)), other.step(full(i))


@story(SAME)
def an_attribute_of_a_module_with_a_captured_forward(capture):
    class Scaled(nn.Module):
        def __init__(self):
            self.k, self.child = 1.0, nn.Linear(3, 2, weight=nn.constant(1.0))

        forward = capture(lambda self, x: self.child(x) * self.k)

    model = Scaled()
    for i in range(CALLS):
        if i == CHANGED_AFTER:
            model.k, model.child = 5.0, nn.Linear(3, 2, weight=nn.constant(2.0))
        yield model(tt.ones(1, 3))


@story(FOUND)
def an_attribute_of_a_module_whose_forward_is_called(capture):
    """The step calls model.forward(x) instead of model(x)."""

    class Scaled(nn.Module):
        def __init__(self):
            self.k = 1.0

        def forward(self, x):
            return x * self.k

    model = Scaled()
    step = capture(lambda x: model.forward(x))
    for i in range(CALLS):
        if i == CHANGED_AFTER:
            model.k = 5.0
        yield step(full(1))


@story(SAME)
def capture_above_a_forward(capture):
    class Net(nn.Module):
        def __init__(self):
            self.w = tt.full((3,), 2.0)

        @capture
        def forward(self, x):
            return x * self.w

    net = Net()
    for i in range(CALLS):
        if i == 6:
            net.w = tt.full((3,), 5.0)
        yield net.forward(full(i)), net(tt.full((3,), float(i)))


@story(SAME)
def a_name_that_is_assigned_later(capture):
    def step(x, with_teacher=False):
        return x * (teacher if with_teacher else 2.0)

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i))
    teacher = 3.0


@story(SAME)
def a_name_that_is_deleted(capture):
    teacher = tt.ones(3)

    def step(x, with_teacher=False):
        return x * (teacher if with_teacher else 2.0)

    step = capture(step)
    for i in range(CALLS):
        if i == 6:
            del teacher
        yield step(full(i))


@story(SAME)
def a_copy_of_an_object_with_a_captured_step(capture):
    class Trainer:
        def __init__(self):
            self.w = tt.zeros(3)
            self.step = capture(self.plain)

        def plain(self, x):
            self.w[...] = self.w + x
            return self.w * 1

    trainer = Trainer()
    yield trainer.step(full(1))
    other = copy.deepcopy(trainer)
    for i in range(CALLS):
        yield trainer.step(full(i)), other.step(full(2 * i)), trainer.w, other.w


@story(SAME)
def memory_of_another_library_with_gaps(capture):
    memory = np.zeros(48, np.float32)
    w = tt.from_numpy(Exported(memory, shape=(4, 6), strides=(48, 4)).array()[1])
    step = capture(lambda x: x * w)
    for i in range(CALLS):
        memory[:] = i
        yield step(full(i, 6))


@story(SAME)
def an_index_tensor(capture):
    w, index = tt.Tensor([[1.0], [2.0], [3.0]]), tt.Tensor([0, 2])
    step = capture(lambda x: (tt.embedding(w, index) * x, tt.take(w, index), w[index]))
    for i in range(CALLS):
        if i == 6:
            index[...] = tt.Tensor([1, 1])
        yield step(full(i, 2))


@story(SAME)
def views_changed_in_the_step(capture):
    w = tt.zeros(4, 3)
    column, row = w[:, 1], w[2]

    def step(x):
        row[...] = row + x
        w[1:3, ::2] = w[1:3, ::2] * 2 + 1
        return w.T @ w, column * 1, w.reshape(2, 6)[1]

    step = capture(step)
    for i in range(CALLS):
        yield step(full(i / 64)), w


@story(SAME)
def a_view_of_numpy_changed_in_the_step(capture):
    memory = np.zeros((4, 3), np.float32)
    w, part = tt.from_numpy(memory), tt.from_numpy(memory[1:3])

    def step(x):
        part[...] = part + x
        return w * 2

    step = capture(step)
    for i in range(CALLS):
        memory[1, 0] = -i
        yield step(full(i)), memory.copy()


@story(SAME)
def a_step_inside_another(capture):
    w = tt.zeros(3)

    def inner(x):
        w[...] = w + x
        return w * 2

    inner = capture(inner)
    outer = capture(lambda x: inner(x) + 1)
    for i in range(CALLS):
        yield (outer if i % 3 else inner)(full(i)), w


@story(SAME)
def a_step_that_calls_itself(capture):
    depth = [3]

    def step(x):
        if depth[0] == 0:
            return x * 1
        depth[0] -= 1
        try:
            return recursive(x * 2)
        finally:
            depth[0] += 1

    recursive = capture(step)
    for i in range(CALLS):
        yield recursive(full(i))


@story(SAME)
def a_generator_in_the_step(capture):
    def layers(x):
        for scale in (2.0, 3.0):
            x = x * scale
            yield x

    step = capture(lambda x: list(layers(x)))
    for i in range(CALLS):
        yield step(full(i))


@story(SAME)
def weights_loaded_from_a_file(capture):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Linear(4, 2))
    optimizer = tt.optim.Adam(model.parameters(), 0.05)

    def step(x):
        loss = (model(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step = capture(step)
    saved = {}
    for i in range(CALLS):
        if i == 3:
            saved = copy.deepcopy([model.state_dict(), optimizer.state_dict()])
        if i in (6, 10):
            model.load_state_dict(saved[0])
            optimizer.load_state_dict(saved[1])
        yield step(np.arange(6, dtype=np.float32).reshape(2, 3) + i), model.state_dict()


@story(SAME)
def a_large_network_of_convolutions(capture):
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 2)
    )
    optimizer = tt.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True)

    def step(x, labels):
        loss = tt.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step = capture(step)
    images = np.random.default_rng(0).random((2, 6, 6, 1), np.float32)
    for i in range(CALLS):
        yield step(images * i / 8, np.array([0, i % 2])), model.state_dict()


# Training that starts again -----------------------------------------------------------------------


def _trained_in_a_dict(capture, replace):
    state = {"w": tt.ones(3, requires_grad=True)}
    kept = []

    def step(x):
        w = state["w"]
        w.zero_grad()
        (w * w * x).sum().backward()
        with tt.no_grad():
            w[...] = w - 0.1 * w.grad
        return w * 1

    step = capture(step)
    for i in range(CALLS):
        if i == CHANGED_AFTER:
            kept.append(state["w"])
            state["w"] = replace(state["w"])
        yield step(full(1))


@story(FOUND)
def weights_replaced_by_the_first_ones_and_the_best_kept(capture):
    return _trained_in_a_dict(capture, lambda w: tt.ones(3, requires_grad=True))


@story(FOUND)
def an_optimiser_made_again_and_the_old_one_kept(capture):
    w = tt.ones(3, requires_grad=True)
    state = {"optimizer": tt.optim.Adam([w], 0.1)}
    kept = []

    def step(x):
        state["optimizer"].zero_grad()
        (w * w * x).sum().backward()
        state["optimizer"].step()
        return w * 1

    step = capture(step)
    for i in range(CALLS):
        if i == CHANGED_AFTER:
            kept.append(state["optimizer"])
            state["optimizer"] = tt.optim.Adam([w], 0.1)
        yield step(full(1))


@story(FOUND)
def weights_replaced_by_others_and_the_best_kept(capture):
    return _trained_in_a_dict(capture, lambda w: tt.full((3,), 2.0, requires_grad=True))


@story(FOUND)
def weights_replaced_by_a_copy_and_the_best_kept(capture):
    return _trained_in_a_dict(capture, copy.deepcopy)


# Limits that the contract names -------------------------------------------------------------------


def test_a_counter_in_the_step_is_not_advanced_by_replays():
    """A side effect of Python is a constant: calls 1, 2, 4 and 8 count, and 8 does otherwise."""
    counts = itertools.count(1)
    step = tt.capture(lambda x: x * (next(counts) >= 4))
    for _ in range(7):
        assert step(full(1)).tolist() == [0] * 3
    with pytest.raises(tt.CaptureError, match=r"that may be wrong: 3\."):
        step(full(1))
    assert next(counts) == 5


def test_a_changed_tensor_is_returned_as_a_copy():
    w = tt.zeros(3)

    @tt.capture
    def step(x):
        w[...] = w + x
        return w

    results = [step(full(1)) for _ in range(CALLS)]
    assert [result.tolist()[0] for result in results] == list(range(1, CALLS + 1))
    results[-1][...] = 0
    assert w.tolist() == [CALLS] * 3


def test_an_unchanged_tensor_is_returned_as_a_copy():
    w = tt.zeros(3)
    step = tt.capture(lambda x: (x * 2, w, w.reshape(3, 1)))
    for _ in range(CALLS):
        for result in step(full(1)):
            result[...] = 5
    assert w.tolist() == [0] * 3


def test_a_run_returns_what_each_step_returned(backend):
    """The step returns the tensor that the step before has stored."""
    state = {"h": tt.zeros(3)}

    @tt.capture
    def step(x):
        before, state["h"] = state["h"], x * 2
        return before

    rows = np.arange(1, 10, dtype=np.float32)
    found = step.run(np.repeat(rows[:, np.newaxis], 3, axis=1))
    assert found[:, 0].tolist() == [0, *(rows[:-1] * 2)]


def test_a_run_changes_its_table_in_place(backend):
    kept = {}

    @tt.capture
    def step(x):
        x -= 1
        kept["h"] = x * 2

    table = np.repeat(np.arange(9, dtype=np.float32)[:, np.newaxis], 3, axis=1)
    step.run(table)
    assert table[:, 0].tolist() == [*range(-1, 8)]


def test_an_argument_with_gaps_is_changed_in_place(backend):
    """C can't read it, so the step changes a copy, which is written back."""

    @tt.capture
    def step(x):
        x -= 1

    for i in range(CALLS):
        memory = full(i, 6)
        step(memory[::2])
        assert memory.tolist() == [i - 1, i] * 3


@pytest.mark.parametrize("step_size", [1, 2])
def test_a_read_only_argument_is_not_changed_in_place(step_size, backend):
    @tt.capture
    def step(x):
        x -= 1

    for i in range(CALLS):
        memory = full(i, 6)
        memory.flags.writeable = i < CHANGED_AFTER
        x = memory[::step_size]
        with contextlib.nullcontext() if i < CHANGED_AFTER else pytest.raises(tt.NotSupported):
            step(x)
        assert x.tolist() == [i - (i < CHANGED_AFTER)] * x.size


def test_a_captured_method_called_on_its_class():
    class Model:
        @tt.capture
        def step(self, x):
            return x * 2

    with pytest.raises(tt.CaptureError, match=r"is a Model; .* on its object: x.step"):
        Model.step(Model(), full(1))


@pytest.mark.parametrize("calls", [2, 3])
def test_a_change_undone_before_a_verification_is_not_seen(calls):
    """The calls in between are those that a verification finds wrong, if the change lasts."""
    config = Config(2.0)
    step = tt.capture(lambda x: x * config.scale)
    for _ in range(4):
        step(full(1))
    config.scale = 5.0
    for _ in range(calls):
        assert step(full(1)).tolist() == [2] * 3
    config.scale = 2.0
    for _ in range(5):
        assert step(full(1)).tolist() == [2] * 3
    assert (step.recordings, step.verifications) == (1, 3)


# Numbers of recordings ----------------------------------------------------------------------------


def test_lists_that_hold_each_other_are_not_followed():
    nodes = [[] for _ in range(20)]
    for node in nodes:
        node.extend(nodes)
    deep: list = []
    for _ in range(5000):
        deep = [deep, deep]
    step = tt.capture(lambda x: x * len(nodes) * len(deep))
    for i in range(CALLS):
        assert step(full(i)).tolist() == [40 * i] * 3
    assert (step.recordings, step.verifications) == (1, 3)


def test_modules_and_optimisers_made_elsewhere_cause_no_recording(backend):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = tt.optim.Adam(model.parameters())

    @tt.capture
    def step(x, labels):
        loss = tt.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for i in range(CALLS):
        other = nn.Linear(3, 4)
        other.extra = tt.optim.SGD(other.parameters(), 0.1)
        step(full(i, 2, 3), np.array([0, 1]))
    assert (step.recordings, step.verifications) == (1, 3)


def test_nine_batch_sizes_in_turn_are_recorded_once_each(backend):
    w = tt.ones(3, 2, requires_grad=True)
    optimizer = tt.optim.Adam([w])

    @tt.capture
    def step(x):
        optimizer.zero_grad()
        (x @ w).sum().backward()
        optimizer.step()

    for _ in range(3):
        for n in range(1, 10):
            step(full(1, n, 3))
    assert step.recordings == 9


def test_a_setting_that_changes_at_each_step_warns_and_names_itself():
    config = Config(0.0)
    step = tt.capture(lambda x: x * (1 + config.scale))
    for i in range(8):
        config.scale = i / 8
        assert step(full(1)).tolist() == [1 + i / 8] * 3
    config.scale = 1.0
    with pytest.warns(RuntimeWarning, match=r"8 times in a row.*y was 1.875 when recorded, is 2.0"):
        step(full(1))
    assert step.recordings == 9


# All rows -----------------------------------------------------------------------------------------


def each(rows: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrise a test by rows and backends: quickly each row on one backend, in turn."""
    parameters = [
        pytest.param(name, backend, marks=[] if i % len(BACKENDS) == j else [pytest.mark.full])
        for i, name in enumerate(rows)
        for j, backend in enumerate(BACKENDS)
    ]
    return pytest.mark.parametrize(("name", "backend"), parameters, indirect=["backend"])


always_too = pytest.mark.parametrize(
    "verify", ["doubling", pytest.param("always", marks=pytest.mark.full)]
)
pytestmark = [
    pytest.mark.filterwarnings("ignore:captured step:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered in log:RuntimeWarning"),
]


@always_too
@each(STORIES)
def test_stories(name, backend, verify):
    check(*STORIES[name], verify)


@always_too
@each(SETTINGS)
def test_settings(name, backend, verify):
    make, promise = SETTINGS[name]
    check(of_setting(make, CHANGED_AFTER), promise, verify)


@pytest.mark.full
@pytest.mark.parametrize("after", [1, 2, 3, 4, 6, 7])
@each(SETTINGS)
def test_settings_changed_after_any_call(name, backend, after):
    """After the first call nothing was replayed yet, so all results are right."""
    make, promise = SETTINGS[name]
    check(of_setting(make, after), SAME if after == 1 else promise, "doubling")
