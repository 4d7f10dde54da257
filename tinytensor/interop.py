"""Weights from PyTorch and back: the same layers with other names and another order of the axes.

    layer       here                         PyTorch
    Linear      weight (inputs, outputs)     weight (outputs, inputs)
    Conv2d      weight (KH, KW, I, O)        weight (O, I, KH, KW)
    BatchNorm   scale, offset                weight, bias
                mean, var, steps (1,)        running_mean, running_var, num_batches_tracked ()
    LayerNorm   scale, offset                weight, bias
    Embedding   weight (words, channels)     the same
    Sequential  "layers.0.weight"            "0.weight"

Images are (N, H, W, C) here and (N, C, H, W) in PyTorch. A Linear layer that reads flattened images
therefore has its inputs in another order, which no shape shows: the argument `flattened` names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinytensor import nn
from tinytensor.arrays import Array
from tinytensor.errors import DataError, NotSupported
from tinytensor.tensors import Tensor

__all__ = ["from_torch_state", "to_torch_state"]

NAMES = {
    "scale": "weight",
    "offset": "bias",
    "mean": "running_mean",
    "var": "running_var",
    "steps": "num_batches_tracked",
}


class Pair(NamedTuple):
    """A tensor of a model, and what PyTorch calls it."""

    path: str  # its name here, such as "layers.0.weight"
    torch: str  # its name there, such as "0.weight"
    tensor: Tensor
    layer: nn.Module
    channels: int  # of the flattened images that a Linear layer's weight reads, else 1

    def to_torch(self) -> Array:
        """The values as a new array in PyTorch's layout."""
        array = self.tensor.numpy()
        if self._is_weight_of(nn.Linear):
            inputs, outputs = array.shape
            array = array.reshape(-1, self.channels, outputs).transpose(2, 1, 0)
            return np.array(array.reshape(outputs, inputs), order="C")
        if self._is_weight_of(nn.Conv2d):
            return np.array(array.transpose(3, 2, 0, 1), order="C")
        return array.reshape(self.torch_shape).copy()

    def from_torch(self, array: Array) -> Array:
        """An array of `torch_shape` in the layout of this package."""
        if self._is_weight_of(nn.Linear):
            outputs, inputs = array.shape
            array = array.reshape(outputs, self.channels, -1).transpose(2, 1, 0)
            return array.reshape(inputs, outputs)
        if self._is_weight_of(nn.Conv2d):
            return array.transpose(2, 3, 1, 0)
        return array.reshape(self.tensor.shape)

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """The shape in PyTorch."""
        shape = self.tensor.shape
        if self._is_weight_of(nn.Linear):
            return shape[::-1]
        if self._is_weight_of(nn.Conv2d):
            return shape[3], shape[2], shape[0], shape[1]
        is_count = isinstance(self.layer, nn.BatchNorm) and self.tensor is self.layer.steps
        return () if is_count else shape

    def _is_weight_of(self, layer: type[nn.Linear | nn.Conv2d]) -> bool:
        return isinstance(self.layer, layer) and self.tensor is self.layer.weight


def from_torch_state(
    model: nn.Module,
    state: Mapping[str, Any],
    flattened: Mapping[str, int] | None = None,
    in_order: bool = False,
) -> None:
    """Copy the weights of a PyTorch network into a model with the same layers.

    A tensor is found by its name. With `in_order=True` the layers may have other names.

    Args:
        model: the model, with layers in the order of the PyTorch network. It is changed in place.
        state: from name to NumPy array or PyTorch tensor, as PyTorch's state_dict() returns it.
        flattened: the name of each Linear layer that reads flattened images, with the number of
            channels C of these images: {"fc1": 64}. It reorders the layer's inputs from PyTorch's
            (C, H, W) to (H, W, C). The number 1 keeps their order, which is right for grey images
            and after a mean over H and W.
        in_order: True matches the layers in their order in the two networks, whatever their names.
            Each must fit by its names within the layer and by its shapes. `state` must be in the
            order of the network, as state_dict() is; a file is sorted by name.

    Raises:
        DataError: a tensor is missing, left over or of another shape, or a Linear layer after a
            Conv2d layer may read flattened images and `flattened` does not name it. The message
            lists every such name, and no tensor has been changed.
        NotSupported: `model` is not a Module, or `state` is not a dict.

    Source: torch.nn.Module.load_state_dict. Batch norm's averages are used as they are, but further
    training updates `var` with the biased variance, where PyTorch takes the unbiased one.

    >>> state = {"weight": np.array([[1.0, 2.0], [3.0, 4.0]]), "bias": np.zeros(2)}
    >>> layer = nn.Linear(2, 2)
    >>> tt.interop.from_torch_state(layer, state)  # PyTorch's weight is (outputs, inputs)
    >>> layer.weight
    Tensor([[1., 3.],
            [2., 4.]], dtype=float32, requires_grad=True)
    """
    if not isinstance(model, nn.Module) or not isinstance(state, Mapping):
        raise NotSupported(
            f"from_torch_state: got a {type(model).__name__} and a {type(state).__name__}; a model "
            "of tinytensor and PyTorch's torch_model.state_dict() are needed"
        )
    flattened = flattened or {}
    problems = _unnamed(model, flattened)
    pairs = list(_pairs(model, {} if problems else flattened))
    given = {name: _as_array(x) for name, x in state.items()}
    renamed = _in_order(pairs, list(given), problems) if in_order else {}
    new = {}
    for pair in pairs:
        name = renamed.get(pair.torch, pair.torch)
        if name not in given:
            problems.append(f"{name} is missing, for {pair.path} of shape {pair.tensor.shape}")
        elif given[name].shape != pair.torch_shape:
            problems.append(
                f"{name} has shape {given[name].shape}, and {pair.path} of a "
                f"{type(pair.layer).__name__} needs {pair.torch_shape}"
            )
        else:
            new[pair.path] = Tensor(pair.from_torch(given[name]))
    used = {renamed.get(pair.torch, pair.torch) for pair in pairs}
    problems += [f"{name} {x.shape} is left over" for name, x in given.items() if name not in used]
    if problems:
        if not new and not in_order:
            problems.append("in_order=True matches layers with other names in their order")
        raise DataError("from_torch_state: " + "; ".join(problems))
    model.load_state_dict(new)


def to_torch_state(
    model: nn.Module, flattened: Mapping[str, int] | None = None
) -> dict[str, Array]:
    """Return a model's weights under PyTorch's names and in PyTorch's layout.

    Args:
        model: the model.
        flattened: as in from_torch_state.

    Returns:
        New NumPy arrays by name. In PyTorch, load them with
        `load_state_dict({name: torch.from_numpy(x) for name, x in state.items()})`.

    Raises:
        DataError: as in from_torch_state, for Linear layers that `flattened` must name.

    Source: torch.nn.Module.state_dict.

    >>> {name: x.shape for name, x in tt.interop.to_torch_state(nn.Linear(3, 2)).items()}
    {'weight': (2, 3), 'bias': (2,)}
    """
    if problems := _unnamed(model, flattened or {}):
        raise DataError("to_torch_state: " + "; ".join(problems))
    return {pair.torch: pair.to_torch() for pair in _pairs(model, flattened or {})}


def _pairs(
    module: nn.Module, flattened: Mapping[str, int], here: str = "", there: str = ""
) -> Iterator[Pair]:
    """Yield the tensors of a module and of its submodules, in PyTorch's order."""
    members = list(module._members())
    for name, x in members:
        if isinstance(x, Tensor):
            is_norm = isinstance(module, nn.BatchNorm | nn.LayerNorm)
            its_name = NAMES[name] if is_norm else name
            channels = flattened.get(here.removesuffix("."), 1)
            yield Pair(here + name, there + its_name, x, module, channels)
    for name, x in members:
        if isinstance(x, nn.Module):
            its_name = name.removeprefix("layers.") if isinstance(module, nn.Sequential) else name
            yield from _pairs(x, flattened, f"{here}{name}.", f"{there}{its_name}.")


def _unnamed(model: nn.Module, flattened: Mapping[str, int]) -> list[str]:
    """The problems with `flattened`: a layer that it must name, a wrong name or number."""
    problems = []
    layers = {name: x for name, x in model.named_modules() if isinstance(x, nn.Linear)}
    for name, channels in flattened.items():
        if name not in layers:
            problems.append(f"flattened: the model has no Linear layer named {name!r}")
        elif channels < 1 or layers[name].weight.shape[0] % channels:
            inputs = layers[name].weight.shape[0]
            problems.append(f"flattened: {name} has {inputs} inputs, not a multiple of {channels}")
    channels = 0  # of the images that the next Linear layer may read
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            channels = layer.weight.shape[3]
        elif isinstance(layer, nn.Linear):
            inputs = layer.weight.shape[0]
            reads_images = channels and inputs > channels and inputs % channels == 0
            if reads_images and name not in flattened:
                problems.append(
                    f"{name} has {inputs} inputs after a Conv2d with {channels} channels: "
                    f"flattened={{{name!r}: {channels}}} reorders flattened images (C, H, W), and "
                    f"{{{name!r}: 1}} keeps the order"
                )
            channels = 0
    return problems


def _in_order(pairs: list[Pair], given: list[str], problems: list[str]) -> dict[str, str]:
    """From PyTorch's name of a tensor to its name in the state, by the order of the layers.

    It adds a problem if the numbers of layers differ.
    """
    ours = list(dict.fromkeys(pair.torch.rpartition(".")[0] for pair in pairs))
    theirs = list(dict.fromkeys(name.rpartition(".")[0] for name in given))
    if len(ours) != len(theirs):
        problems.append(
            f"in_order: the model has {len(ours)} layers with tensors, and the state {len(theirs)}"
        )
    layers = dict(zip(ours, theirs, strict=False))
    renamed = {}
    for pair in pairs:
        layer, _, name = pair.torch.rpartition(".")
        if layer in layers:
            renamed[pair.torch] = f"{layers[layer]}.{name}" if layers[layer] else name
    return renamed


def _as_array(x: Any) -> Array:
    """The values of an array, or of a tensor of any library, as a NumPy array."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        if "bfloat16" in str(x.dtype):  # NumPy has no such dtype
            x = x.float()
    array = np.asarray(x)
    return array.astype(np.float32) if array.dtype == np.float16 else array
