"""JAX: a step under jit with donated buffers, and a whole loop under one jit.

Everything is stored on the device: the data set, the order of the batches, the learning rates, and
the state (parameters, moments, averages, step number, random key). A step writes the new state into
the donated memory of the old one.
"""

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tinytensor as tt
from tinytensor import nn
from tinytensor.arrays import Array
from tinytensor.bench.task import Steps, Task, Unsupported

State = dict[str, Any]


def set_threads(threads: int) -> int:
    """Count XLA's threads; XLA starts one for each core that the process is bound to."""
    jax.block_until_ready(jnp.ones(1) + 1)
    names = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/comm", encoding="ascii") as file:
            names.append(file.read().strip())
    return names.count("tf_XLAEigen")


def one_by_one(task: Task) -> Steps:
    step, state, data = step_of(task)
    jitted = jax.jit(step, donate_argnums=0)

    def run(steps: range) -> Array:
        nonlocal state
        losses = []
        for _ in steps:
            state, loss = jitted(state, data)
            losses.append(loss)
        return np.array(jax.device_get(losses))

    return run


def at_once(task: Task) -> Steps:
    if task.is_convolutional:
        raise Unsupported("XLA's convolutions on a CPU are many times slower in a loop")
    step, state, data = step_of(task)

    @functools.partial(jax.jit, donate_argnums=0, static_argnums=2)
    def loop(state: State, data: dict[str, jax.Array], count: int) -> tuple[State, jax.Array]:
        return jax.lax.scan(lambda state, _: step(state, data), state, length=count)

    def run(steps: range) -> Array:
        nonlocal state
        state, losses = loop(state, data, len(steps))
        return np.array(losses)

    return run


def step_of(task: Task) -> tuple[Any, State, dict[str, jax.Array]]:
    """The step (a function of state and data), the first state, and the data."""
    copied = functools.partial(jax.tree.map, lambda x: jnp.array(x.numpy()))
    params = [copied(tensors(layer, "weight", "bias", "scale", "offset")) for layer in task.layers]
    averages = [copied(tensors(layer, "mean", "var")) for layer in task.layers]
    state = {
        "params": params,
        "averages": averages,
        "step": jnp.zeros((), jnp.int32),
        "key": jax.random.key(0, impl="unsafe_rbg"),  # JAX's fastest generator
    }
    is_sgd = isinstance(task.optimizer, tt.optim.SGD)
    if not is_sgd:
        state |= {"m": jax.tree.map(jnp.zeros_like, params)}
        state |= {"v": jax.tree.map(jnp.zeros_like, params)}
    data = {
        "images": jnp.array(task.images[..., np.newaxis]),
        "labels": jnp.array(task.labels, jnp.int32),
        "chosen": jnp.array(task.chosen, jnp.int32),
        "rates": jnp.array([task.rate(i) for i in range(10_000)], jnp.float32),
    }

    def step(state: State, data: dict[str, jax.Array]) -> tuple[State, jax.Array]:
        state = dict(state)
        number = state["step"]
        state["step"] = number + 1
        state["key"], key = jax.random.split(state["key"])
        chosen = data["chosen"][number % len(task.chosen)]
        images = data["images"][chosen].astype(jnp.float32) * (1 / 255)
        loss_of = functools.partial(
            loss_and_averages, task.layers, averages=state["averages"], key=key
        )
        found = jax.value_and_grad(loss_of, has_aux=True)
        (loss, state["averages"]), grads = found(state["params"], images, data["labels"][chosen])
        update = sgd if is_sgd else adam
        return update(state, grads, data["rates"][number], number + 1), loss

    return step, state, data


def tensors(layer: nn.Module, *names: str) -> dict[str, tt.Tensor]:
    named = {name: getattr(layer, name, None) for name in names}
    return {name: x for name, x in named.items() if isinstance(x, tt.Tensor)}


def loss_and_averages(layers, params, images, labels, averages, key):
    """The mean cross-entropy, and the new moving averages of batch norm."""
    x, new_averages = images, list(averages)
    for number, (layer, own) in enumerate(zip(layers, params, strict=True)):
        match layer:
            case nn.Flatten():
                x = x.reshape(len(x), -1)
            case nn.Linear():
                x = x @ own["weight"] + own.get("bias", 0)
            case nn.Conv2d():
                x = jax.lax.conv_general_dilated(
                    x, own["weight"], (layer.stride,) * 2, "SAME",
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                ) + own.get("bias", 0)  # fmt: skip
            case nn.BatchNorm():
                axes = tuple(range(x.ndim - 1))
                moments = {"mean": x.mean(axes), "var": x.var(axes)}
                x = (x - moments["mean"]) * jax.lax.rsqrt(moments["var"] + layer.epsilon)
                x = x * own.get("scale", 1) + own["offset"]
                new_averages[number] = jax.tree.map(
                    lambda old, new, decay=layer.decay: decay * old + (1 - decay) * new,
                    averages[number], jax.lax.stop_gradient(moments),
                )  # fmt: skip
            case nn.Dropout():
                if layer.keep_prob < 1:
                    mask = jax.random.bernoulli(
                        jax.random.fold_in(key, number), layer.keep_prob, x.shape
                    )
                    x = jnp.where(mask, x / layer.keep_prob, 0)
            case nn.ReLU():
                x = jax.nn.relu(x)
            case nn.Sigmoid():
                x = jax.nn.sigmoid(x)
    log_probs = jax.nn.log_softmax(x)
    wanted = jnp.take_along_axis(log_probs, labels[:, np.newaxis], axis=1)
    return -wanted.mean(), new_averages


def sgd(state: State, grads, rate, step) -> State:
    params = jax.tree.map(lambda param, grad: param - rate * grad, state["params"], grads)
    return state | {"params": params}


def adam(state: State, grads, rate, step) -> State:
    """Kingma and Ba, 2015; bias corrections are folded into the learning rate and epsilon."""
    m = jax.tree.map(lambda m, grad: 0.9 * m + 0.1 * grad, state["m"], grads)
    v = jax.tree.map(lambda v, grad: 0.999 * v + 0.001 * grad * grad, state["v"], grads)
    root = jnp.sqrt(1 - jnp.float32(0.999) ** step)
    rate, epsilon = rate * root / (1 - jnp.float32(0.9) ** step), 1e-8 * root
    params = jax.tree.map(
        lambda param, m, v: param - rate * m / (jnp.sqrt(v) + epsilon), state["params"], m, v
    )
    return state | {"params": params, "m": m, "v": v}
