"""no_grad, enable_grad, backend, use_kernel and detect_anomaly as decorators."""

import asyncio
import contextlib
import inspect
import threading

import pytest

import tinytensor as tt
from tinytensor import autograd

# Each mode: what makes it, what it changes, and that value in the mode and outside
MODES = {
    "no_grad": (tt.no_grad, tt.is_grad_enabled, False, True),
    "enable_grad": (tt.enable_grad, tt.is_grad_enabled, True, False),
    "backend": (lambda: tt.backend("numba"), lambda: tt.current_backend().name, "numba", "numpy"),
    "use_kernel": (
        lambda: tt.use_kernel("matmul", "numba.naive"),
        lambda: tt.current_backend().rungs,
        ("matmul by numba.naive",),
        (),
    ),
    "detect_anomaly": (tt.detect_anomaly, autograd.is_watching, True, False),
}


@pytest.fixture(params=MODES)
def given(request):
    make, state, inside, outside = MODES[request.param]
    around = tt.no_grad() if request.param == "enable_grad" else contextlib.nullcontext()
    with tt.backend("numpy"), around:
        assert state() == outside
        yield make, state, inside, outside
        assert state() == outside


def test_functions(given):
    make, state, inside, outside = given

    @make()
    def function(x, *, named):
        """Has a docstring."""
        return x, named, state()

    for _ in range(2):
        assert function(1, named=2) == (1, 2, inside)
        assert state() == outside
    assert (function.__name__, function.__doc__) == ("function", "Has a docstring.")


def test_an_error_leaves_the_mode(given):
    make, state, _, outside = given

    @make()
    def function():
        raise KeyError(1)

    with pytest.raises(KeyError):
        function()
    assert state() == outside


def test_recursion_and_nested_blocks(given):
    make, state, inside, outside = given

    @make()
    def function(depth):
        return (*function(depth - 1), state()) if depth else ()

    assert function(3) == (inside,) * 3
    block = make()
    with block, block:
        assert state() == inside
    with block:
        assert state() == inside
    assert state() == outside


def test_methods(given):
    make, state, inside, _ = given

    class Model:
        @make()
        def method(self):
            return self, state()

        @classmethod
        @make()
        def of_class(cls):
            return cls, state()

        @staticmethod
        @make()
        def static():
            return state()

    model = Model()
    assert model.method() == (model, inside)
    assert model.of_class() == (Model, inside)
    assert model.static() == inside


def test_generators_are_in_the_mode_and_their_callers_are_not(given):
    make, state, inside, outside = given
    seen = []

    @make()
    def steps(n):
        for i in range(n):
            seen.append(state())
            yield i
        seen.append(state())
        return "end"

    assert inspect.isgeneratorfunction(steps)
    generator = steps(3)
    assert state() == outside
    for i in range(3):
        assert next(generator) == i
        assert state() == outside
    with pytest.raises(StopIteration) as stopped:
        next(generator)
    assert stopped.value.value == "end"
    assert seen == [inside] * 4


def test_generators_take_values_and_errors(given):
    make, state, inside, outside = given
    seen = []

    @make()
    def echo():
        given = yield "ready"
        while True:
            try:
                given = yield given, state()
            except KeyError as error:
                given = error.args[0]
            except GeneratorExit:
                seen.append(state())
                raise

    generator = echo()
    assert next(generator) == "ready"
    assert generator.send(1) == (1, inside)
    assert generator.throw(KeyError(2)) == (2, inside)
    assert state() == outside
    generator.close()
    assert seen == [inside]
    with pytest.raises(StopIteration):
        next(generator)

    failing = echo()
    next(failing)
    failing.send(1)
    with pytest.raises(IndexError):
        failing.throw(IndexError())
    assert state() == outside


def test_a_generator_keeps_a_callers_change_of_mode():
    @tt.no_grad()
    def steps():
        yield tt.is_grad_enabled()
        yield tt.is_grad_enabled()

    generator = steps()
    assert next(generator) is False
    with tt.no_grad():
        assert next(generator) is False
        assert not tt.is_grad_enabled()
    assert tt.is_grad_enabled()


def test_two_generators_by_turns():
    @tt.backend("numpy")
    def on_numpy():
        while True:
            yield tt.current_backend().name

    @tt.backend("numba")
    def on_numba():
        while True:
            yield tt.current_backend().name

    one, other = on_numpy(), on_numba()
    found = [(next(one), next(other)) for _ in range(3)]
    assert found == [("numpy", "numba")] * 3


def test_coroutines_each_in_its_own_task(given):
    make, state, inside, outside = given

    @make()
    async def inner():
        before = state()
        await asyncio.sleep(0)
        return before, state()

    async def other():
        found = []
        for _ in range(3):
            found.append(state())
            await asyncio.sleep(0)
        return found

    async def main():
        return await asyncio.gather(inner(), other()), state()

    assert inspect.iscoroutinefunction(inner)
    # A task starts with what is chosen around asyncio.run.
    assert asyncio.run(main()) == ([(inside, inside), [outside] * 3], outside)


def test_threads_do_not_share_it():
    seen = []

    @tt.no_grad()
    def function():
        thread = threading.Thread(target=lambda: seen.append(tt.is_grad_enabled()))
        thread.start()
        thread.join()

    function()
    assert seen == [True]


def test_gradients():
    @tt.no_grad()
    def doubled(*tensors):
        for x in tensors:
            yield x * 2

    x = tt.ones(2, requires_grad=True)
    for y in doubled(x, x):
        assert not y.requires_grad
        assert (x * 2).requires_grad


@pytest.mark.parametrize("name", ["no_grad", "enable_grad", "detect_anomaly"])
def test_a_mode_without_parameters_needs_no_brackets(name):
    make, state, inside, outside = MODES[name]

    @make
    def function(x):
        return x, state()

    @make
    def steps():
        yield state()

    with tt.no_grad() if name == "enable_grad" else contextlib.nullcontext():
        assert function(1) == (1, inside)
        assert list(steps()) == [inside]
        assert state() == outside
    with pytest.raises(tt.NotSupported, match=f"{name}: got 3 to decorate; a function is needed"):
        make(3)


async def _yields():
    yield 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_yields, r"no_grad: got .* in an asynchronous generator write `with tt.no_grad\(...\):`"),
        (classmethod(len), r"no_grad: got .* write @classmethod above @tt.no_grad\(...\)"),
        (staticmethod(len), r"no_grad: got .* write @staticmethod above @tt.no_grad\(...\)"),
        (tt.nn.Module, r"no_grad: got <class .*> to decorate; decorate its methods"),
        (3, r"no_grad: got 3 to decorate; a function is needed"),
    ],
)
def test_what_cannot_be_decorated_is_refused(function, message):
    with pytest.raises(tt.NotSupported, match=message):
        tt.no_grad()(function)
