"""The update rules of the optimisers, each in one pass over the parameters."""

import math

from tinytensor.arrays import Array
from tinytensor.backends.lowering import Lowered, lowered
from tinytensor.backends.numba.compiling import kernel
from tinytensor.backends.numba.strides import flat, like


@lowered
def sgd(grad: Array, lr: Array, param: Array, weight_decay: float) -> Lowered:
    return _sgd, (flat(grad), flat(param), lr, weight_decay)


@kernel("real[::1], real[::1], float64[::1], float64")
def _sgd(grad, param, lr, weight_decay):
    rate, weight_decay = like(param, lr[0]), like(param, weight_decay)
    for i in range(len(param)):
        param[i] -= rate * (grad[i] + weight_decay * param[i])


@lowered
def sgd_momentum(
    grad: Array,
    lr: Array,
    velocity: Array,
    param: Array,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> Lowered:
    arrays = flat(grad), flat(velocity), flat(param)
    return _sgd_momentum, (*arrays, lr, momentum, nesterov, weight_decay)


@kernel("real[::1], real[::1], real[::1], float64[::1], float64, boolean, float64")
def _sgd_momentum(grad, velocity, param, lr, momentum, nesterov, weight_decay):
    rate, weight_decay = like(param, lr[0]), like(param, weight_decay)
    momentum = like(param, momentum)
    for i in range(len(param)):
        g = grad[i] + weight_decay * param[i]
        v = momentum * velocity[i] + g
        velocity[i] = v
        param[i] -= rate * (g + momentum * v if nesterov else v)


@lowered
def adam(
    grad: Array,
    lr: Array,
    step: Array,
    m: Array,
    v: Array,
    param: Array,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> Lowered:
    arrays = flat(grad), flat(m), flat(v), flat(param)
    return _adam, (*arrays, lr, step, beta1, beta2, epsilon, weight_decay)


@kernel(
    "real[::1], real[::1], real[::1], real[::1],"
    "float64[::1], float64[::1], float64, float64, float64, float64"
)
def _adam(grad, m, v, param, lr, step, beta1, beta2, epsilon, weight_decay):
    m_scale = like(param, 1 / (1 - beta1 ** step[0]))
    v_scale = like(param, 1 / (1 - beta2 ** step[0]))
    one_minus_beta1, one_minus_beta2 = like(param, 1 - beta1), like(param, 1 - beta2)
    beta1, beta2 = like(param, beta1), like(param, beta2)
    rate, epsilon = like(param, lr[0]), like(param, epsilon)
    weight_decay = like(param, weight_decay)
    for i in range(len(param)):
        m_i = beta1 * m[i] + one_minus_beta1 * grad[i]
        v_i = beta2 * v[i] + one_minus_beta2 * grad[i] * grad[i]
        m[i], v[i] = m_i, v_i
        change = m_i * m_scale / (math.sqrt(v_i * v_scale) + epsilon)
        param[i] -= rate * (change + weight_decay * param[i])


@lowered
def rmsprop(
    grad: Array, lr: Array, square: Array, param: Array, decay: float, epsilon: float
) -> Lowered:
    arrays = flat(grad), flat(square), flat(param)
    return _rmsprop, (*arrays, lr, decay, epsilon)


@kernel("real[::1], real[::1], real[::1], float64[::1], float64, float64")
def _rmsprop(grad, square, param, lr, decay, epsilon):
    rate, epsilon, new = like(param, lr[0]), like(param, epsilon), like(param, 1 - decay)
    decay = like(param, decay)
    for i in range(len(param)):
        s = decay * square[i] + new * grad[i] * grad[i]
        square[i] = s
        param[i] -= rate * grad[i] / (math.sqrt(s) + epsilon)


@lowered
def moving_average(x: Array, decay: Array, average: Array) -> Lowered:
    return _moving_average, (flat(x), decay, flat(average))


@kernel("real[::1], float64[::1], real[::1]")
def _moving_average(x, decay, average):
    old, new = like(x, decay[0]), like(x, 1 - decay[0])
    for i in range(len(average)):
        average[i] = old * average[i] + new * x[i]
