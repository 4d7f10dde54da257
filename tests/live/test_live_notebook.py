"""tt.live.show in a notebook kernel."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from test_recording import SMALL

import tinytensor as tt
from tinytensor.lessons import find
from tinytensor.train import Training

CELL = """
import time
import tinytensor as tt
from tinytensor.lessons import find
from tinytensor.train import Training

training = Training(find("softmax"), tt.datasets.mnist(), steps=400, evaluate_every=20)
training.between_steps = lambda made: time.sleep(0.01)
began = time.monotonic()
returned = tt.live.show(training)
print(training.report.step, training.report.test_loss, time.monotonic() - began)
assert returned is None, "nothing to print under the picture"
"""


@pytest.mark.full
def test_notebook_updates_the_panels_in_place():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    messages = []
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3")
    process = client.process_message

    def note(msg, *arguments):
        messages.append(msg)
        return process(msg, *arguments)

    client.process_message = note
    client.execute()
    shown, printed = notebook.cells[0].outputs
    *numbers, seconds = printed.text.split()
    kinds = [message["msg_type"] for message in messages]
    assert kinds.count("display_data") == 1
    assert 1 <= kinds.count("update_display_data") <= 2 * float(seconds)
    with Image.open(io.BytesIO(base64.b64decode(shown.data["image/png"]))) as image:
        assert image.size == (1280, 800)
        assert np.asarray(image.convert("L")).std() > 20
    *_, alone = Training(find("softmax"), tt.datasets.mnist(), steps=400, evaluate_every=20)
    assert numbers == ["400", str(alone.test_loss)], "the same as without live.show"


def test_show_outside_a_notebook_raises():
    training = Training(find("softmax"), SMALL, steps=1)
    with pytest.raises(tt.SettingError, match=r"live.show: this is not a notebook; .*--live"):
        tt.live.show(training)
    assert training.step == 0
