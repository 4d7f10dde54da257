"""The HTML that a notebook displays for a Tensor."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinytensor as tt
from tinytensor.step_report import Seconds, StepReport


def pictures(x: tt.Tensor) -> list[np.ndarray]:
    """Return the images in a tensor's HTML."""
    images = []
    for text in re.findall(r"data:image/png;base64,([^\"]+)", x._repr_html_()):
        image = Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"])
        assert image.mode == "L"
        images.append(np.asarray(image))
    return images


@pytest.mark.parametrize("shape", [(28, 28), (784,), (28, 28, 1), (1, 784)])
def test_an_image_is_drawn(shape):
    array = np.zeros((28, 28), np.float32)
    array[3, 5], array[4, 6] = 1, 0.5
    (image,) = pictures(tt.Tensor(array.reshape(shape)))
    wanted = np.zeros((28, 28))
    wanted[3, 5], wanted[4, 6] = 255, 127
    np.testing.assert_array_equal(image, wanted)


def test_other_shapes_print_values_only():
    assert pictures(tt.ones(3, 4)) == []
    assert pictures(tt.Tensor(1.0)) == []
    assert pictures(tt.zeros(0, 28, 28)) == []
    assert "Tensor([[1., 1.]], dtype=float32)" in tt.ones(1, 2)._repr_html_()


def test_images_come_with_shape_and_dtype_only():
    html = tt.zeros(2, 28, 28)._repr_html_()
    text = re.search('<pre style="font-family: monospace">(.*)</pre>', html)[1]
    assert text == "Tensor (2, 28, 28), float32"
    assert "font-family: monospace" in tt.ones(1, 2)._repr_html_()


def test_report_prints_step_and_accuracy():
    assert repr(StepReport(300, 0.9, 0.4, 0.90884, 0.3, 0.5, Seconds())) == (
        "StepReport(step 300, test 0.9088)"
    )


def test_traceback_in_a_notebook_has_no_internal_frames():
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell()
    printed = []
    shell._showtraceback = lambda kind, error, lines: printed.extend(lines)
    shell.run_cell(
        "import tinytensor as tt\ndef f():\n    return tt.ones(2, 3) @ tt.ones(2, 3)\nf()"
    )
    text = "\n".join(printed)
    assert "f()" in text
    assert "return tt.ones(2, 3) @ tt.ones(2, 3)" in text
    assert "ShapeError" in text
    assert str(Path(tt.__file__).parent) not in text
    assert "interactiveshell" not in text


def test_many_images_and_nan():
    assert len(pictures(tt.rand(100, 28, 28, 1))) == 20
    image_of_nan = np.full((28, 28), np.nan, np.float32)
    image_of_nan[0, 0] = np.inf
    (image,) = pictures(tt.Tensor(image_of_nan))
    assert image.max() == 0
