"""Makes a network again from the description in a checkpoint: layers of tt.nn in a Sequential.

A checkpoint has a description of each layer: its class and its settings, as JSON (see run_state).
The sizes of a layer are those of its tensors in the file, so a damaged file can't need more memory
than it has. No code of the file runs: a class is looked up in LAYERS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from tinytensor import nn
from tinytensor.errors import DataError, TinytensorError
from tinytensor.nn import Module

Shape: TypeAlias = tuple[int, ...]
Layers: TypeAlias = Mapping[str, Mapping[str, Any]]  # the class and the settings, by path
MOST = 256  # of a stride, a padding or the size of a window; a damaged file could ask for any


class _Saved:
    """One layer in a file: its settings, and the shapes of its tensors."""

    def __init__(self, settings: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
        self.settings, self.shapes = settings, shapes

    def __getitem__(self, setting: str) -> Any:
        return _checked(self.settings[setting])

    def bias(self) -> Callable[[Shape], Any] | None:
        """The argument `bias`: None for a layer without one."""
        return nn.zeros if "bias" in self.shapes else None

    def scale_and_offset(self) -> dict[str, bool]:
        """The arguments of a layer that normalises."""
        return {name: name in self.shapes for name in ("scale", "offset")}


def _linear(saved: _Saved) -> Module:
    inputs, outputs = saved.shapes["weight"]
    return nn.Linear(inputs, outputs, nn.zeros, saved.bias())


def _conv2d(saved: _Saved) -> Module:
    KH, KW, inputs, outputs = saved.shapes["weight"]
    stride, padding = saved["stride"], saved["padding"]
    return nn.Conv2d(inputs, outputs, (KH, KW), stride, padding, nn.zeros, saved.bias())


def _embedding(saved: _Saved) -> Module:
    words, channels = saved.shapes["weight"]
    return nn.Embedding(words, channels, nn.zeros)


def _batch_norm(saved: _Saved) -> Module:
    (channels,) = saved.shapes["mean"]
    settings = {name: saved[name] for name in ("decay", "warm_up", "epsilon")}
    return nn.BatchNorm(channels, **saved.scale_and_offset(), **settings)


def _layer_norm(saved: _Saved) -> Module:
    sizes = tuple(saved.settings["channels"])  # without tensors, they need no memory
    channels = saved.shapes.get("scale") or saved.shapes.get("offset") or sizes
    return nn.LayerNorm(channels, **saved.scale_and_offset(), epsilon=saved["epsilon"])


LAYERS: dict[str, Callable[[_Saved], Module]] = {
    "Linear": _linear,
    "Conv2d": _conv2d,
    "Embedding": _embedding,
    "BatchNorm": _batch_norm,
    "LayerNorm": _layer_norm,
    "Dropout": lambda saved: nn.Dropout(keep_prob=saved["keep_prob"], channels=saved["channels"]),
    "MaxPool2d": lambda saved: nn.MaxPool2d(*saved["settings"]),
    "AvgPool2d": lambda saved: nn.AvgPool2d(*saved["settings"]),
    "LeakyReLU": lambda saved: nn.LeakyReLU(saved["slope"]),
    "Softmax": lambda saved: nn.Softmax(saved["axis"]),
    "Flatten": lambda _: nn.Flatten(),
    "Identity": lambda _: nn.Identity(),
    "ReLU": lambda _: nn.ReLU(),
    "Sigmoid": lambda _: nn.Sigmoid(),
    "Tanh": lambda _: nn.Tanh(),
    "GELU": lambda _: nn.GELU(),
    "SiLU": lambda _: nn.SiLU(),
}


def network(layers: Layers, shapes: Mapping[str, Shape]) -> Module:
    """The network of a description, with other weights.

    Args:
        layers: the class and the settings of each layer by its path, such as "layers.0"; that of
            the network itself is "model".
        shapes: the shapes of its tensors by name, such as "layers.1.weight".

    Raises:
        DataError: a layer is a function, is of a class of your own, or its settings are wrong.
    """
    try:
        return _layer(layers["model"], layers, shapes, "")
    except DataError:
        raise
    except (TinytensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"its layers can't be made again ({type(error).__name__}: {error})"
        ) from None


def _layer(
    settings: Mapping[str, Any], layers: Layers, shapes: Mapping[str, Shape], path: str
) -> Module:
    name = settings["class"]
    start = f"{path}." if path else ""
    if name == "Sequential":
        paths = [f"{start}layers.{i}" for i in range(len(settings["layers"]))]
        return nn.Sequential(
            *(
                # A layer that is there twice has its settings at its first place only.
                _layer(layers.get(each, {"class": kind}), layers, shapes, each)
                for each, kind in zip(paths, settings["layers"], strict=True)
            )
        )
    if name not in LAYERS:
        what = f"layer {path}" if path else "it"
        raise DataError(f"{what} is a {str(name)[:50]}, whose code is not in the file")
    own = {x.removeprefix(start): shape for x, shape in shapes.items() if x.startswith(start)}
    return LAYERS[name](_Saved(settings, own))


def _checked(value: Any) -> Any:
    """A setting whose tuples became lists in JSON, after a check that it is not huge."""
    if isinstance(value, list):
        return tuple(map(_checked, value))
    if isinstance(value, int) and abs(value) > MOST:
        raise ValueError(f"got {value}; at most {MOST} is needed")
    return value
