"""A network that looks at an image five times when it is tested."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinytensor import nn
from tinytensor.ops import conv2d
from tinytensor.tensors import Tensor

PLACES = (1, 1), (0, 1), (2, 1), (1, 0), (1, 2)  # of the weight 1: the centre and its neighbours


class FiveViews(nn.Sequential):
    """A Sequential whose outputs in eval mode are the mean over five views of each image.

    The views are the image itself, and the image moved by one pixel down, up, right and left. Where
    the network is not sure, its outputs differ from view to view, and their mean is right more
    often than one of them. In training mode it is a plain Sequential.

    Call with images (N, H, W, C).
    """

    def forward(self, x: Tensor) -> Any:
        """Return the outputs for images (N, H, W, C)."""
        if self.training:
            return super().forward(x)
        total: Tensor = sum(map(super().forward, views(x)))
        return total / len(PLACES)


def views(x: Tensor) -> Iterator[Tensor]:
    """Yield the five views of images (N, H, W, C), with zeros at the edge that becomes free.

    A convolution of 3 x 3 whose weight is 1 at one place, and 0 elsewhere, moves an image.
    """
    channels = x.shape[-1]
    for place in PLACES:
        weight = np.zeros((3, 3, channels, channels), x.dtype)
        weight[place] = np.eye(channels)
        yield conv2d(x, weight, padding=1)
