"""The content of a page: the programs and what they read.

The content of a file, compressed, in this order: the values of the memory before the first step,
with tables of what changes from step to step; the pixels of the images, of 2 or 4 bits; and their
labels, each a byte. The test images come first.
"""

from __future__ import annotations

import base64
import html
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinytensor import observers, ops, optim
from tinytensor.arrays import Array, address
from tinytensor.autograd import no_grad
from tinytensor.capture.captured import Captured
from tinytensor.capture.program import Program
from tinytensor.datasets import names_of_outputs, to_float
from tinytensor.errors import LabelError, NotSupported
from tinytensor.evaluation import evaluation_mode
from tinytensor.nn import Module
from tinytensor.tensors import Tensor, from_numpy
from tinytensor.web.wasm_program import Block, Tables, recorded

BITS = {"grey": 2, "colours": 4}  # of a pixel in the file: 4 or 16 shades
TEST_BATCH = 100  # images, at most
LEAST_IMAGES = 10_000  # for training, also in a larger file
CHUNK = 200  # images that are added at once
LEVEL = -15, 9  # zlib's settings: no header, the most memory

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Any], Tensor]


class Images(NamedTuple):
    """The images that a page may have, and their labels. The first `tests` are test images."""

    images: Array
    labels: Array
    tests: int


class Page:
    """The programs of a page and what they read.

    about: the addresses and sizes that the page needs. parts: texts of the page, as HTML.
    """

    def __init__(
        self,
        model: Module | Captured,
        optimizer: optim.Optimizer | None,
        loss: Loss | None,
        chosen: Images,
        batch: int,
        steps: int,
        names: Sequence[str],
    ) -> None:
        self._chosen = chosen
        is_grey = chosen.images.ndim == 3
        self._bits = BITS["grey" if is_grey else "colours"]
        shaded = _shades(chosen.images, self._bits) * np.uint8(255 // (2**self._bits - 1))
        images = np.concatenate([np.zeros_like(shaded[:1]), shaded])  # the first one is drawn
        programs = _recorded(model, optimizer, loss, images, chosen, batch)
        (probabilities,) = (part.now() for part in programs.drawn.result.parts)
        classes = probabilities.shape[1]
        if (largest := chosen.labels.max()) >= classes:
            raise LabelError(
                f"export_html: got label {largest} and a model with {classes} outputs; labels from "
                f"0 to {classes - 1} are needed"
            )
        tables = Tables(programs.train, steps)
        block = Block(programs, tables.rows, [images])
        self._values = block.values
        changing = {address(array): block.address(array) for array in tables.arrays}
        rates = [group.rate for each in programs.train.optimizers for group in each.param_groups]
        self.about: dict[str, Any] = {
            "values": block.values.nbytes,
            "bits": self._bits,
            "images": block.address(images),
            "imageBytes": images[0].size,
            "shape": [*images.shape[1:3], 1 if is_grey else images.shape[3]],
            "testImages": chosen.tests,
            "tables": [
                {"address": place, "bytes": rows[0].nbytes, "rows": block.address(rows)}
                for place, rows in zip(changing.values(), tables.rows, strict=True)
            ],
            "rates": [changing[address(rate)] for rate in rates if address(rate) in changing],
            "train": block.about(programs.train),
            "test": block.about(programs.test),
            "probabilities": block.address(probabilities),
            "classes": classes,
        }
        height, width, channels = self.about["shape"]
        self.parts = {
            "programs": "".join(
                f"{name}(kernels, start) {{\n{block.javascript(program)}}},\n"
                for name, program in programs._asdict().items()
            ),
            "listing": html.escape(str(programs.train)),
            "classes": "".join(
                f"<label><span>{html.escape(name)}</span><meter></meter></label>"
                for name in names_of_outputs(names, classes)
            ),
            "pad": "" if height == width and channels == 1 else "hidden",
            "side": str(height),
            "rate": "" if self.about["rates"] else "hidden",
        }

    def content(self, images: int | None, room: int | None) -> tuple[int, str]:
        """Return the number of training images and the compressed content in base64.

        images: this number. room: the most bytes of the content; at least LEAST_IMAGES are taken.
        """
        packing = zlib.compressobj(9, zlib.DEFLATED, *LEVEL)
        parts = [packing.compress(self._values.tobytes()) + packing.flush(zlib.Z_SYNC_FLUSH)]
        size, used, tests = len(parts[0]), 0, self._chosen.tests
        count = len(self._chosen.images) if images is None else tests + images
        while used < count:
            end = min(used + CHUNK, count)
            trial = packing.copy()
            piece = trial.compress(_packed_pixels(self._chosen.images[used:end], self._bits))
            piece += trial.flush(zlib.Z_SYNC_FLUSH)
            is_enough = end > tests + LEAST_IMAGES
            if room is not None and is_enough and (size + len(piece) + end) * 4 / 3 > room:
                break
            packing, used, size = trial, end, size + len(piece)
            parts.append(piece)
        parts.append(packing.compress(self._chosen.labels[:used].astype(np.uint8).tobytes()))
        parts.append(packing.flush())
        return used - tests, base64.b64encode(b"".join(parts)).decode()


class _Programs(NamedTuple):
    """The programs of a page."""

    train: Program
    test: Program
    drawn: Program  # from image 0 to the probabilities of the classes


def _recorded(
    model: Module | Captured,
    optimizer: optim.Optimizer | None,
    loss: Loss | None,
    images: Array,
    chosen: Images,
    batch: int,
) -> _Programs:
    """Record a training step, a test, and the prediction of a drawn image.

    images: image 0, which is drawn, and then the chosen images.
    """
    measure = loss or ops.cross_entropy
    if isinstance(model, Module):
        made = optim.Adam(model.parameters()) if optimizer is None else optimizer
        with evaluation_mode(model):  # so that afterwards each module has its own mode
            model.train()
            training = _recorded_step(_step(model, made, measure), images, chosen, batch)
        tested = model
    else:
        training = _recorded_step(model.function, images, chosen, batch)
        tested = _model_of(training)

    def test(indices: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = tested(from_numpy(to_float(images, indices)))
        return measure(logits, labels), logits.argmax(axis=1)

    def drawn() -> Tensor:
        return ops.softmax(tested(from_numpy(to_float(images[:1]))))

    size = max(n for n in range(1, TEST_BATCH + 1) if chosen.tests % n == 0)
    with evaluation_mode(tested), no_grad():
        testing = recorded("export_html", test, np.arange(1, 1 + size), chosen.labels[:size])
        recognising = recorded("export_html", drawn)
    tested.zero_grad()
    return _Programs(training, testing, recognising)


def _recorded_step(step: Step, images: Array, chosen: Images, batch: int) -> Program:
    """Record a training step on the first training images."""
    problems = []  # errors are raised after the weights have been restored

    def train(indices: Tensor, labels: Tensor) -> tuple[Tensor, Tensor] | None:
        calls = _ModelCalls(from_numpy(to_float(images, indices)))
        observers.watch(calls)
        try:
            returned = step(calls.images, labels)
        finally:
            observers.leave(calls)
        if not _has_loss_and_logits(returned, batch):
            problems.append(
                "a loss () and logits (N, classes) are needed; a captured step ends with return "
                "loss, logits"
            )
            return None
        value, logits = returned
        if logits.node is None or logits.node.number not in calls.results:
            problems.append(
                "the logits are not the result of model(images), which the page tests; move what "
                "the step does with the images and the logits into the model's forward"
            )
        return value, logits.argmax(axis=1)

    first = np.arange(chosen.tests, chosen.tests + batch)
    program = recorded("export_html", train, 1 + first, chosen.labels[first])
    if problems:
        _model_of(program)  # raises another error if the step calls no model, or several
        raise NotSupported(f"export_html: {problems[0]}")
    if not program.optimizers:
        raise NotSupported("export_html: the step calls no optimizer.step(), so nothing is trained")
    return program


class _ModelCalls(observers.Observer):
    """The modules that are called with these images.

    results: the numbers of their results' nodes.
    """

    def __init__(self, images: Tensor) -> None:
        self.images, self.results = images, set[int]()

    def module_called(self, module: Any, arguments: tuple[Any, ...], result: Any) -> None:
        """Note a result."""
        is_first = bool(arguments) and arguments[0] is self.images
        if is_first and isinstance(result, Tensor) and result.node is not None:
            self.results.add(result.node.number)


def _step(model: Module, optimizer: optim.Optimizer, loss: Loss) -> Step:
    """Return a training step of a model."""

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(images)
        value = loss(logits, labels)
        optimizer.zero_grad()
        model.zero_grad()  # also what the optimizer does not update
        value.backward()
        optimizer.step()
        return value, logits

    return step


def _has_loss_and_logits(returned: Any, batch: int) -> bool:
    """True if a step has returned a tuple of a scalar and a matrix with a row for each image."""
    if not isinstance(returned, tuple) or not all(isinstance(x, Tensor) for x in returned):
        return False
    sizes = [(x.ndim, len(x) if x.ndim else 1) for x in returned]
    return sizes in ([(0, 1), (2, batch)], [(1, 1), (2, batch)])


def _model_of(training: Program) -> Module:
    """Return the model that a step calls.

    Raises:
        NotSupported: it calls none, or several that are not parts of one.
    """
    inner = {id(part) for module in training.modules for part in [*module.modules()][1:]}
    outer = [m for m in training.modules if id(m) not in inner and m.parameters()]
    if len(outer) != 1:
        raise NotSupported(
            f"export_html: the step calls {len(outer)} models with parameters as model(images); "
            "one is needed, which the page tests"
        )
    model: Module = outer[0]
    return model


def _shades(images: Array, bits: int) -> Array:
    """Return the nearest of 2**bits shades, from 0 up, of each pixel (uint8)."""
    return np.rint(images * np.float32((2**bits - 1) / 255)).astype(np.uint8)


def _packed_pixels(images: Array, bits: int) -> bytes:
    """Return the pixels of all images one after the other, with this number of bits for each."""
    shifts = np.array(range(8 - bits, -1, -bits), np.uint8)  # of the pixels in a byte
    shades = _shades(images, bits).reshape(-1)
    shades = np.append(shades, np.zeros(-len(shades) % len(shifts), np.uint8))
    together: Array = (shades.reshape(-1, len(shifts)) << shifts).sum(axis=1, dtype=np.uint8)
    return together.tobytes()


def packed(data: bytes) -> str:
    """Return compressed data in base64."""
    packing = zlib.compressobj(9, zlib.DEFLATED, *LEVEL)
    return base64.b64encode(packing.compress(data) + packing.flush()).decode()
