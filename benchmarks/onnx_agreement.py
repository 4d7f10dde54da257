"""The predictions of onnxruntime and of tinytensor on the 10,000 test images, for each lesson.

    python benchmarks/onnx_agreement.py [LESSON ...] [--steps 100] [--backend c]

Prints a Markdown table: the number of images for which onnxruntime predicts the same digit, the
number for which the network of tt.onnx.load does, the largest difference of two logits divided by
the largest logit, and the size of the file. The lessons 1.0, 3.1 and best use the weights of the
package, and all other lessons train for --steps steps.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

import tinytensor as tt
from tinytensor.arrays import Array
from tinytensor.errors import UnknownName
from tinytensor.lessons import Lesson, find, lessons
from tinytensor.nn import Module
from tinytensor.saved_model import load_model
from tinytensor.train import Training

BATCH = 1000


def network(lesson: Lesson, data: tt.datasets.Dataset, steps: int) -> tuple[str, Module]:
    """Return where the weights come from, and the trained network."""
    try:
        return "package", load_model(lesson.weights_file())[1]
    except UnknownName:
        training = Training(lesson, data, steps=steps, evaluate_every=steps)
        for _ in training:
            pass
        return f"{steps} steps", training.model


def logits(model: Module, images: Array) -> Array:
    """Return the logits of a network in evaluation mode, batch by batch."""
    model.eval()
    with tt.no_grad():
        starts = range(0, len(images), BATCH)
        return np.concatenate([model(images[i : i + BATCH]).numpy() for i in starts])


def main() -> None:
    """Compare the lessons, and print each row when it is ready."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("lessons", nargs="*", default=[lesson.number for lesson in lessons()])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--backend", default="c")
    options = parser.parse_args()
    tt.set_backend(options.backend)

    data = tt.datasets.mnist()
    images = tt.datasets.to_float(data.test_images)
    print("| lesson | weights | onnxruntime | load | difference of logits | KiB |")
    print("|---|---|---|---|---|---|")
    for lesson in map(find, options.lessons):
        source, model = network(lesson, data, options.steps)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            tt.onnx.export(model, file, images[:1])
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            (theirs,) = session.run(None, {"input": images})
            loaded = logits(tt.onnx.load(file), images)
            size = file.stat().st_size / 1024
        ours = logits(model, images)
        equal = (ours.argmax(axis=1) == theirs.argmax(axis=1)).sum()
        read_back = (loaded.argmax(axis=1) == theirs.argmax(axis=1)).sum()
        difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
        print(
            f"| {lesson.number} | {source} | {equal:,} | {read_back:,} | {difference:.1e} "
            f"| {size:,.0f} |"
        )


if __name__ == "__main__":
    main()
