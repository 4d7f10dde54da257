"""The live picture, without a browser: snapshots, runs, mosaics."""

import numpy as np
import pytest

import tinytensor as tt
from tinytensor.lessons import find
from tinytensor.live.snapshot import Snapshot
from tinytensor.train import Training

DATA = tt.datasets.mnist()
SOFTMAX = find("softmax")


# Snapshots


@pytest.mark.parametrize("name", ["softmax", "batchnorm-relu"])
def test_a_snapshot_shows_missed_images_first(name):
    training = Training(find(name), DATA, steps=20, details=True)
    (report,) = training
    shot = Snapshot.of(report, DATA, backend="c", images_per_second=7.0)
    assert (shot.step, shot.backend, shot.images_per_second) == (20, "c", 7)
    assert (shot.test_accuracy, shot.train_loss) == (report.test_accuracy, report.train_loss)
    for part, count in (("train", 100), ("test", 1000)):
        images, labels, predictions = (
            getattr(shot, f"{part}_{what}") for what in ("images", "labels", "predictions")
        )
        assert images.shape == (count, 28, 28)
        assert labels.shape == predictions.shape == (count,)
        assert {images.dtype, labels.dtype, predictions.dtype} == {np.dtype(np.uint8)}
        recognised = labels == predictions
        assert (np.diff(recognised.astype(int)) >= 0).all(), "missed first"
    assert (shot.train_labels == shot.train_predictions).mean() == report.train_accuracy
    missed = round((1 - report.test_accuracy) * 10_000)
    assert (shot.test_labels != shot.test_predictions).sum() == min(missed, 1000)
    batch = report.details.images[report.details.labels == report.details.predictions]
    np.testing.assert_array_equal(shot.train_images[-1], np.rint(batch[-1, :, :, 0] * 255))
    names = ["activations", "logits"] if name.startswith("batchnorm") else ["weights", "biases"]
    assert list(shot.bands) == names
    assert all(band.shape == (8,) for band in shot.bands.values())


def test_a_report_without_details_makes_no_snapshot():
    (report,) = Training(SOFTMAX, DATA, steps=1)
    with pytest.raises(tt.SettingError, match=r"step 1 has no details; .*details=True"):
        Snapshot.of(report, DATA, backend="c", images_per_second=0)
