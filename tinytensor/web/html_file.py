"""One HTML file that trains a network in a browser: the page, the kernels, the programs, images.

page.html has places such as {{title}} for the parts of a page. The other files that it contains are
JavaScript: network.js trains, and page.js draws.
"""

from __future__ import annotations

import html
import inspect
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinytensor import atomic_file, door, optim, random, regular_file
from tinytensor.capture.captured import Captured
from tinytensor.datasets import Dataset
from tinytensor.errors import DataError, NotSupported, SettingError
from tinytensor.lessons import Lesson
from tinytensor.nn import Module
from tinytensor.ops.operands import whole
from tinytensor.web.page_content import Images, Loss, Page, packed

STEPS = 10_000  # after which a page stops
MOST_TEST_IMAGES = 10_000
MOST_BYTES = 3_000_000  # of a file, if the number of images is not given
MOST_PIXELS = 2**28  # bytes of all images in the memory of a page


class HtmlFile(NamedTuple):
    """What export_html has written."""

    train_images: int  # the number of images that the page trains on
    test_images: int  # the number of other images that it tests on
    bytes: int  # the size of the file


def export_html(
    model: Module | Captured,
    data: Dataset,
    file: str | os.PathLike[str],
    *,
    optimizer: optim.Optimizer | None = None,
    loss: Loss | None = None,
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
    WebAssembly, on one thread. The page starts with the model's weights, draws curves and images,
    and has a slider for the learning rate. If the images are square and grey, it classifies what is
    drawn with the mouse. The weights stay unchanged, and gradients are cleared.

    The file has at most 10,000 test images, and training images that are chosen at random. A pixel
    of a grey image has one of 4 shades, and each channel of other images has one of 16.

    Args:
        model: maps images (N, H, W, C) float32 to logits (N, classes); its weights are float32. Or
            a captured step: a function of images (N, H, W, C) float32 and labels (N,) int64. It
            calls one model on the images, removes the old gradients, updates the weights, and
            returns the loss () and the logits (N, classes).
        data: the training and test images.
        file: the path of the file, which is replaced.
        optimizer: an optimiser of model.parameters(); Adam with its default settings by default. A
            captured step has its own.
        loss: a function from logits (N, classes) and labels (N,) to a scalar Tensor; the
            cross-entropy by default. A captured step has its own for training.
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
        NotSupported: the data are not images with labels, or a step needs Python or NumPy, as it
            does with an optimiser of your own, or a captured step does something else than is
            described above.
        LabelError: a label is larger than the classes of the model allow.
        SettingError: a number is out of range, or the package ziglang is not installed, which
            compiles the kernels.
        BackendUnavailable: the C backend does not work.
        DataError: the file can't be written.
    """
    _check_types(model, data, optimizer is not None or loss is not None)
    if not len(data.test_images):
        raise SettingError("export_html: got data without test images; at least one is needed")
    room = MOST_PIXELS // int(np.prod(data.image_shape))
    tests = min(len(data.test_images), MOST_TEST_IMAGES, room // 2)
    count = min(len(data.train_images), room - tests)
    for name, value, least in (
        ("batch", batch, 1), ("steps", steps, 1), ("evaluate_every", evaluate_every, 1),
        ("seed", seed, 0),
    ):  # fmt: skip
        whole("export_html", name, value, least)
    if not 1 <= batch <= count:
        raise SettingError(f"export_html: got batch={batch}; 1 to {count} is needed")
    if images is not None and not batch <= whole("export_html", "images", images) <= count:
        raise SettingError(f"export_html: got images={images}; {batch} to {count} is needed")
    with _writing(file):
        atomic_file.check(file)  # before half a minute of compiling
    from tinytensor.web.webassembly import compiled_kernels  # its imports take 10 ms

    kernels = packed(compiled_kernels("export_html"))
    rng = np.random.default_rng(seed)
    train = rng.permutation(len(data.train_images))[:count]  # a folder has sorted classes
    test = np.arange(len(data.test_images))
    if tests < len(test):
        test = np.sort(rng.permutation(test)[:tests])
    chosen = Images(
        np.concatenate([data.test_images[test], data.train_images[train]]),
        np.concatenate([data.test_labels[test], data.train_labels[train]]),
        tests,
    )
    with door.backend("c"), random.fork():
        page = Page(model, optimizer, loss, chosen, batch, steps, data.names)
    about = page.about | {"steps": steps, "every": evaluate_every, "seed": seed % 2**32}
    parts = _files() | page.parts | {"kernels": kernels, "content": ""} | {
        name: html.escape(text) for name, text in (("title", title), ("note", note))
    }  # fmt: skip
    size = len(_filled(parts | _numbers(about, count)))
    used, content = page.content(images, None if images is not None else MOST_BYTES - size)
    if used < batch:
        raise SettingError(
            f"export_html: got batch={batch}, and a page of {MOST_BYTES / 1e6:.0f} MB has room for "
            f"{used:,} images; use a smaller batch, or images={batch}"
        )
    text = _filled(parts | _numbers(about, used) | {"content": content})
    with _writing(file):
        atomic_file.write(file, text.encode())
    return HtmlFile(used, tests, len(text.encode()))


@contextmanager
def _writing(file: str | os.PathLike[str]) -> Iterator[None]:
    """Inside a `with` block that writes the file, turn an OSError into a DataError."""
    try:
        if regular_file.is_special(file):
            raise DataError(f"export_html: {file} can't be written: a regular file is needed")
        yield
    except OSError as error:
        raise DataError(
            f"export_html: {file} can't be written: {error.strerror or error}; choose another file"
        ) from None


def _check_types(model: object, data: object, has_own: bool) -> None:
    """Raise NotSupported or SettingError if export_html can't use a model or data."""
    if not isinstance(model, Module | Captured):
        raise NotSupported(
            f"export_html: got a {type(model).__name__}; a Module or a captured step is needed"
        )
    if isinstance(model, Captured):
        if has_own:
            raise SettingError(
                "export_html: got a captured step and an optimizer or a loss; the step has its own"
            )
        try:
            inspect.signature(model.function).bind("images", "labels")
        except TypeError:
            raise NotSupported(
                "export_html: got a captured step with other arguments; step(images, labels) is "
                "needed"
            ) from None
    if not isinstance(data, Dataset):
        raise NotSupported(
            f"export_html: got a {type(data).__name__} as data; a data set is needed, such as "
            "tt.datasets.mnist()"
        )
    if not data.has_images or not data.has_labels:
        raise NotSupported(
            "export_html: got examples that are not images with labels, which a page can't show; "
            "a Dataset is needed"
        )


def _numbers(about: dict[str, Any], train_images: int) -> dict[str, str]:
    """Return the parts of a page that depend on the number of training images."""
    count = 1 + about["testImages"] + train_images
    numbers = {"trainImages": train_images, "memory": about["images"] + count * about["imageBytes"]}
    shades = f"A pixel has one of {2 ** about['bits']} shades"
    shades += " of grey." if about["shape"][2] == 1 else " of each colour."
    return {
        "about": json.dumps(about | numbers),
        "images": f"The page trains on {train_images:,} images and tests on "
        f"{about['testImages']:,} other images, after every {about['every']:,} steps. {shades}",
    }


def _files() -> dict[str, str]:
    folder = Path(__file__).parent
    names = ("network.js", "page.js")
    return {name: (folder / name).read_text(encoding="utf-8") for name in names}


def _filled(parts: dict[str, str]) -> str:
    """Return page.html with these parts."""
    text = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([\w.]+)\}\}", lambda found: parts[found[1]], text)


def export_lesson(
    lesson: Lesson,
    data: Dataset,
    file: str | os.PathLike[str],
    *,
    weights: Module | None = None,
    steps: int = STEPS,
    batch: int | None = None,
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
        batch: the number of images per step; the lesson's own by default.
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
        model = lesson.new_model(len(data.names), data.image_shape)
        if weights is not None:
            model.load_state_dict(weights.state_dict())
        optimizer = lesson.optimizer(model.parameters())
        if lesson.rate is not None:
            optimizer.lr = lesson.rate(steps)
        return export_html(
            model, data, file, optimizer=optimizer, loss=lesson.loss,
            batch=lesson.batch if batch is None else batch, steps=steps,
            evaluate_every=lesson.evaluate_every, seed=seed, images=images,
            title=f"Lesson {lesson.number}: {lesson.title}", note=note,
        )  # fmt: skip
