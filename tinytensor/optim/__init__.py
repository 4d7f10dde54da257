"""Optimisers, schedules of the learning rate, and clipping of gradients.

An optimiser of your own is a subclass of Optimizer with a method `_update`:

    class SignSGD(tt.optim.Optimizer):
        def _update(self, i, grad, param):
            param -= self.lr * np.sign(grad)

    optimizer.py       Optimizer: parameters, step, state
    param_group.py     ParamGroup: the settings of a group of parameters
    sgd.py             SGD
    adam.py            Adam AdamW
    rmsprop.py         RMSprop
    schedules.py       constant exponential stepwise cosine warm_up multiplied
    clipping.py        clip_grad_norm clip_grad_value
"""

from __future__ import annotations

from tinytensor.optim import adam, clipping, optimizer, param_group, rmsprop, schedules, sgd
from tinytensor.optim.adam import *
from tinytensor.optim.clipping import *
from tinytensor.optim.optimizer import *
from tinytensor.optim.optimizer import by_kernels as by_kernels
from tinytensor.optim.param_group import *
from tinytensor.optim.rmsprop import *
from tinytensor.optim.schedules import *
from tinytensor.optim.schedules import Schedule as Schedule
from tinytensor.optim.sgd import *

__all__ = optimizer.__all__ + param_group.__all__ + sgd.__all__ + adam.__all__ + rmsprop.__all__
__all__ += schedules.__all__ + clipping.__all__
