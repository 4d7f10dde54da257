"""Layers, initialisers, and modules that combine layers into a network.

A Module is a class with a `forward` method. Its parameters need no registration: they are all
Tensors with requires_grad in its attributes, in the attributes of its submodules, and in lists,
tuples and dicts at any depth. Tensors without requires_grad, such as batch norm's moving averages,
are saved with the model too. A layer raises SettingError when it is created with invalid settings.

    module.py          Module
    sequential.py      Sequential: a chain of layers
    layers.py          Linear Conv2d Embedding MaxPool2d AvgPool2d Dropout Flatten Identity
    normalisation.py   BatchNorm LayerNorm
    activations.py     ReLU LeakyReLU SiLU GELU Sigmoid Tanh Softmax
    functional.py      the ops, under PyTorch's name
    initialisers.py    he glorot normal truncated_normal constant zeros

Images have the shape (N, H, W, C): N images, H rows, W columns, C channels.
"""

from __future__ import annotations

from tinytensor.nn import (
    activations,
    functional,  # noqa: F401 - it is public as nn.functional
    initialisers,
    layers,
    module,
    normalisation,
    sequential,
)
from tinytensor.nn.activations import *
from tinytensor.nn.initialisers import *
from tinytensor.nn.initialisers import Initializer as Initializer
from tinytensor.nn.layers import *
from tinytensor.nn.module import *
from tinytensor.nn.normalisation import *
from tinytensor.nn.sequential import *

__all__ = module.__all__ + sequential.__all__ + layers.__all__ + normalisation.__all__
__all__ += activations.__all__ + initialisers.__all__
