"""One HTML file that trains a network in a browser: the page, the kernels, a program, images.

The content of a file, compressed, in this order: the values of the memory before the first step,
the tables of what changes from step to step, and the images. Each image is its label, one byte, and
its pixels, four to a byte, because a pixel has one of 4 shades. The test images come first.
"""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinytensor import atomic_file, door, ops, optim, random, regular_file
from tinytensor.arrays import Array
from tinytensor.autograd import no_grad
from tinytensor.datasets import SIDE, Dataset, to_float
from tinytensor.errors import DataError, NotSupported, SettingError
from tinytensor.lessons import Lesson
from tinytensor.nn import Module
from tinytensor.ops.operands import whole
from tinytensor.tensors import Tensor, from_numpy
from tinytensor.train import evaluation_mode
from tinytensor.web.wasm_program import Block, Tables, recorded

STEPS = 10_000  # after which a page stops
SHADES = 4
TEST_BATCH = 100  # images
MOST_BYTES = 3_000_000  # of a file, if the number of images is not given
LEAST_IMAGES = 10_000  # for training, also in a larger file
CHUNK = 200  # images that are added at once
LEVEL = -15, 9  # zlib's settings: no header, the most memory


class HtmlFile(NamedTuple):
    """What export_html has written."""

    train_images: int  # the number of images that the page trains on
    test_images: int  # the number of other images that it tests on
    bytes: int  # the size of the file


def export_html(
    model: Module,
    data: Dataset,
    file: str | os.PathLike[str],
    *,
    optimizer: optim.Optimizer | None = None,
    loss: Callable[[Tensor, Array], Tensor] = ops.cross_entropy,
    batch: int = 100,
    steps: int = STEPS,
    evaluate_every: int = 100,
    seed: int = 0,
    images: int | None = None,
    title: str = "A network",
    note: str = "",
) -> HtmlFile:
    """Write one HTML file that trains a model in a browser, without Python and without a network.

    A training step is captured on the C backend, and the page makes its kernel calls in
    WebAssembly, on one thread. The page starts with the model's weights, draws curves and digits,
    has a slider for the learning rate, and recognises a digit that is drawn with the mouse. The
    weights stay unchanged, and gradients are cleared. The images of the file have 4 shades of grey.

    Args:
        model: maps images (N, 28, 28, 1) float32 to logits (N, classes); its weights are float32.
        data: the training and test images. The file has training images that are chosen at random,
            and all test images; if there are more than 100 of them, their number is rounded down to
            hundreds.
        file: the path of the file, which is replaced.
        optimizer: an optimiser of model.parameters(); Adam with its default settings by default.
        loss: a function from logits (N, classes) and labels (N,) to a scalar Tensor.
        batch: the number of images per step.
        steps: the number of steps after which the page stops.
        evaluate_every: the number of steps between two tests.
        seed: the seed of the order of the training images.
        images: the number of training images. By default they fill a file of 3 MB; there are at
            least 10,000 of them, also in a larger file.
        title: the heading of the page.
        note: a line at the end of the page, such as who made the images.

    Returns:
        HtmlFile: train_images, test_images and bytes.

    Raises:
        NotSupported: the images are not 28 x 28, or a step needs Python or NumPy, as it does with
            an optimiser of your own.
        SettingError: a number is out of range, or the package ziglang is not installed, which
            compiles the kernels.
        BackendUnavailable: the C backend does not work.
        DataError: the file can't be written.
    """
    if not isinstance(model, Module):
        raise NotSupported(f"export_html: got a {type(model).__name__}; a Module is needed")
    if not isinstance(data, Dataset):
        raise NotSupported(
            f"export_html: got a {type(data).__name__} as data; a data set is needed, such as "
            "tt.datasets.mnist()"
        )
    count = len(data.train_images)
    for name, value, least in (
        ("batch", batch, 1), ("steps", steps, 1), ("evaluate_every", evaluate_every, 1),
        ("seed", seed, 0),
    ):  # fmt: skip
        whole("export_html", name, value, least)
    if data.train_images.shape[1:] != (SIDE, SIDE):
        raise NotSupported(
            f"export_html: got images of shape {data.train_images.shape[1:]}; a page draws and "
            f"recognises images of {SIDE} x {SIDE} pixels"
        )
    if not 1 <= batch <= count:
        raise SettingError(f"export_html: got batch={batch}; 1 to {count} is needed")
    if images is not None and not batch <= images <= count:
        raise SettingError(f"export_html: got images={images}; {batch} to {count} is needed")
    if not len(data.test_images):
        raise SettingError("export_html: got data without test images; at least one is needed")
    from tinytensor.web.webassembly import compiled_kernels  # its imports take 10 ms

    kernels = _packed(compiled_kernels("export_html"))
    made = optim.Adam(model.parameters()) if optimizer is None else optimizer
    room = MOST_BYTES if images is None else None
    with door.backend("c"), random.fork():
        order = np.random.default_rng(seed).permutation(count)  # of a folder with sorted classes
        mixed = data.train_images[order], data.train_labels[order]
        page = _Page(
            model, data._replace(train_images=mixed[0], train_labels=mixed[1]), made, loss, batch,
            steps,
        )  # fmt: skip
        about = page.about | {
            "title": title, "note": note, "names": data.names, "steps": steps,
            "every": evaluate_every, "seed": seed,
        }  # fmt: skip
        text = _page_with(json.dumps(about | {"trainImages": count}), kernels, "")
        used, content = page.content(images, None if room is None else room - len(text))
    if used < batch:
        raise SettingError(
            f"export_html: got batch={batch}, and a page of {MOST_BYTES / 1e6:.0f} MB has room for "
            f"{used:,} images; use a smaller batch, or images={batch}"
        )
    text = _page_with(json.dumps(about | {"trainImages": used}), kernels, content)
    try:
        if regular_file.is_special(file):
            raise DataError(f"export_html: {file} can't be written: a regular file is needed")
        atomic_file.write(file, text.encode())
    except OSError as error:
        raise DataError(
            f"export_html: {file} can't be written: {error.strerror or error}; choose another file"
        ) from None
    return HtmlFile(used, page.test_count, len(text.encode()))


class _Page:
    """The programs of a page and what they read.

    about: what the page must know of them, for JSON.
    """

    def __init__(
        self,
        model: Module,
        data: Dataset,
        optimizer: optim.Optimizer,
        loss: Callable[[Tensor, Array], Tensor],
        batch: int,
        steps: int,
    ) -> None:
        test_batch = min(TEST_BATCH, len(data.test_images))
        self.test_count = len(data.test_images) // test_batch * test_batch
        self._train = data.train_images, data.train_labels
        self._test = data.test_images[: self.test_count], data.test_labels[: self.test_count]
        train_images, test_images = _shaded(self._train[0]), _shaded(self._test[0])
        drawn = np.zeros((1, *train_images.shape[1:]), np.uint8)

        def train(chosen: Array, labels: Array) -> tuple[Tensor, Tensor]:
            logits = model(from_numpy(to_float(train_images, chosen)))
            value = loss(logits, labels)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            return value, logits.argmax(axis=1)

        def test(chosen: Array, labels: Array) -> tuple[Tensor, Tensor]:
            logits = model(from_numpy(to_float(test_images, chosen)))
            return ops.cross_entropy(logits, labels), logits.argmax(axis=1)

        def recognise(chosen: Array) -> Tensor:
            return ops.softmax(model(from_numpy(to_float(drawn, chosen))))

        first, tested = np.arange(batch), np.arange(test_batch)
        with evaluation_mode(model):  # so that afterwards each module has its own mode
            with no_grad():
                testing = recorded("export_html", test, tested, self._test[1][:test_batch])
                recognising = recorded("export_html", recognise, np.arange(1))
            model.train()
            training = recorded("export_html", train, first, self._train[1][:batch])
            optimizer.zero_grad()
        block = Block((training, testing, recognising), [drawn, test_images, train_images])
        tables = Tables(training, steps)
        self._values = [block.values, *tables.rows]
        names = {"train": training, "test": testing, "recognise": recognising}
        rates = [block.address(group.rate) for group in optimizer.param_groups]
        self.about: dict[str, Any] = {
            "memory": block.size,
            "values": block.values.nbytes,
            "tables": [
                {"address": block.address(array), "bytes": array.nbytes} for array in tables.arrays
            ],
            "rates": rates,
            "images": {
                "drawn": block.address(drawn),
                "test": block.address(test_images),
                "train": block.address(train_images),
            },
            "testImages": self.test_count,
            "programs": {
                name: {
                    "inputs": list(map(block.address, program.inputs)),
                    "results": [block.address(part.now()) for part in program.result.parts],
                    "batch": len(program.inputs[0]),
                    "calls": block.calls(program),
                }
                for name, program in names.items()
            },
            "listing": str(training),
        }

    def content(self, images: int | None, room: int | None) -> tuple[int, str]:
        """Return the number of training images and the compressed content in base64.

        images: this number. room: the most bytes of the content; at least LEAST_IMAGES are taken.
        """
        packing = zlib.compressobj(9, zlib.DEFLATED, *LEVEL)
        parts = [packing.compress(np.ascontiguousarray(x).tobytes()) for x in self._values]
        parts.append(packing.compress(_with_labels(*self._test)))
        parts.append(packing.flush(zlib.Z_SYNC_FLUSH))
        size, used = sum(map(len, parts)), 0
        count = len(self._train[0]) if images is None else images
        while used < count:
            some = slice(used, min(used + CHUNK, count))
            trial = packing.copy()
            piece = trial.compress(_with_labels(*(x[some] for x in self._train)))
            piece += trial.flush(zlib.Z_SYNC_FLUSH)
            if room is not None and used >= LEAST_IMAGES and (size + len(piece)) * 4 / 3 > room:
                break
            packing, used, size = trial, some.stop, size + len(piece)
            parts.append(piece)
        return used, base64.b64encode(b"".join([*parts, packing.flush()])).decode()


def _shades(images: Array) -> Array:
    """Return the nearest of the SHADES shades, 0 to 3, of each pixel (uint8)."""
    return np.rint(images * np.float32((SHADES - 1) / 255)).astype(np.uint8)


def _shaded(images: Array) -> Array:
    """Return the images with SHADES shades of grey, 0 to 255."""
    return _shades(images) * np.uint8(255 // (SHADES - 1))


def _with_labels(images: Array, labels: Array) -> bytes:
    """Return each image as its label and its pixels, four to a byte."""
    shades = _shades(images).reshape(len(images), -1, 4)
    packed = (shades << np.array([6, 4, 2, 0], np.uint8)).sum(axis=2, dtype=np.uint8)
    return np.column_stack([labels.astype(np.uint8), packed]).tobytes()


def _packed(kernels: bytes) -> str:
    packing = zlib.compressobj(9, zlib.DEFLATED, *LEVEL)
    return base64.b64encode(packing.compress(kernels) + packing.flush()).decode()


def _page_with(about: str, kernels: str, content: str) -> str:
    """Return page.html with these parts."""
    folder = Path(__file__).parent
    parts = {
        name: (folder / name).read_text(encoding="utf-8")
        for name in ("page.html", "network.js", "drawing.js", "page.js")
    }
    text = parts.pop("page.html")
    parts |= {"about": about.replace("<", "\\u003c"), "kernels": kernels, "content": content}
    return re.sub(r"\{\{([\w.]+)\}\}", lambda found: parts[found[1]], text)


def export_lesson(
    lesson: Lesson,
    data: Dataset,
    file: str | os.PathLike[str],
    *,
    weights: Module | None = None,
    steps: int = STEPS,
    seed: int = 0,
    images: int | None = None,
    note: str = "",
) -> HtmlFile:
    """Write the HTML file of a lesson, with the same first weights as tinytensor train.

    Args:
        lesson: the lesson.
        data: the training and test images.
        file: the path of the file, which is replaced.
        weights: a network of this lesson whose weights the page starts with.
        steps: the number of steps after which the page stops.
        seed: the seed of the first weights, of dropout, and of the order of the images.
        images: as in export_html.
        note: as in export_html.

    Returns:
        HtmlFile.

    Raises:
        NotSupported: the lesson changes its images or averages its weights, which a page does not.
        SettingError, BackendUnavailable, DataError: as export_html.
    """
    if lesson.augment is not None or lesson.average is not None:
        what = "distorts the images" if lesson.augment is not None else "averages the weights"
        raise NotSupported(
            f"export_html: lesson {lesson.number} {what} in Python at each step, which a page "
            "can't; export a lesson of the course, 1.0 to 4.2"
        )
    with random.fork():
        random.manual_seed(seed)
        model = lesson.new_model(len(data.names))
        if weights is not None:
            model.load_state_dict(weights.state_dict())
        optimizer = lesson.optimizer(model.parameters())
        if lesson.rate is not None:
            optimizer.lr = lesson.rate(steps)
        return export_html(
            model, data, file, optimizer=optimizer, loss=lesson.loss, batch=lesson.batch,
            steps=steps, evaluate_every=lesson.evaluate_every, seed=seed, images=images,
            title=f"Lesson {lesson.number}: {lesson.title}", note=note,
        )  # fmt: skip
