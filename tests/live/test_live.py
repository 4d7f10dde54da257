"""The live panels without a browser: snapshots, runs, curves, mosaics, layer outputs."""

import time
from dataclasses import replace

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import nn
from tinytensor.evaluation import probabilities
from tinytensor.lessons import find, lessons
from tinytensor.live import history, inside, picture
from tinytensor.live.details import details_of
from tinytensor.live.history import START, History
from tinytensor.live.run import MAX_CALLS, Run
from tinytensor.live.snapshot import Snapshot
from tinytensor.live.speed import watchable
from tinytensor.train import Training

DATA = tt.datasets.mnist()
SMALL = DATA._replace(test_images=DATA.test_images[:200], test_labels=DATA.test_labels[:200])
SOFTMAX = find("softmax")
SECONDS = 60  # maximum wait, long enough for a busy machine


# Snapshots


@pytest.mark.parametrize("name", ["softmax", "batchnorm-relu"])
def test_snapshot_shows_misclassified_images_first(name):
    training = Training(find(name), DATA, steps=20)
    (report,) = training
    details = details_of(training.model, training.predictions)
    shot = Snapshot.of(report, details, DATA, backend="c", images_per_second=7.0)
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
        assert (np.diff(recognised.astype(int)) >= 0).all(), "misclassified first"
    assert (shot.train_labels == shot.train_predictions).mean() == report.train_accuracy
    misclassified = round((1 - report.test_accuracy) * 10_000)
    assert (shot.test_labels != shot.test_predictions).sum() == min(misclassified, 1000)
    batch = details.images[details.labels == details.predictions]
    np.testing.assert_array_equal(shot.train_images[-1], np.rint(batch[-1, :, :, 0] * 255))
    names = ["activations", "logits"] if name.startswith("batchnorm") else ["weights", "biases"]
    assert list(shot.bands) == names
    assert all(band.shape == (8,) for band in shot.bands.values())


# Details


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("softmax", ["weights", "biases"]),
        ("conv-dropout", ["weights", "biases"]),
        ("batchnorm-sigmoid", ["activations", "logits"]),
    ],
)
def test_details(name, names):
    training = Training(find(name), SMALL, steps=4, batch=10, evaluate_every=2)
    for _ in training:
        details = details_of(training.model, training.predictions)
        assert details.images is training.predictions.images
        assert details.test_predictions is training.predictions.test_predictions
        assert list(details.bands) == names
        for bands in details.bands.values():
            assert bands.shape == (8,)
            assert (np.diff(bands) >= 0).all()


def test_bands_have_equal_count():
    training = Training(find("conv-dropout"), SMALL, steps=4, batch=10)
    list(training)
    details = details_of(training.model, training.predictions)
    named = dict(training.model.named_parameters())
    for name, axes in (("weights", (2, 4)), ("biases", (1,))):
        bands = details.bands[name]
        every = np.concatenate([x.numpy().ravel() for x in named.values() if x.ndim in axes])
        assert (bands[0], bands[-1]) == (every.min(), every.max())
        shares = [(every <= band).mean() for band in bands[1:-1]]
        np.testing.assert_allclose(shares, np.arange(1, 7) / 7, atol=0.01 + 2 / every.size)


def test_bands_of_hidden_activations():
    lesson = find("batchnorm-relu")
    training = Training(lesson, SMALL, steps=1, batch=10)
    list(training)
    details = details_of(training.model, training.predictions)
    x, hidden = tt.Tensor(details.images), []
    for layer in training.model.eval().layers:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            hidden.append(x.numpy().ravel())
    assert len(hidden) == 4
    every, bands = np.concatenate(hidden), details.bands["activations"]
    assert (bands[0], bands[-1]) == (every.min(), every.max()) == (0, bands.max())
    places = np.array([(every < bands[1:-1, None]).mean(1), (every <= bands[1:-1, None]).mean(1)])
    wanted = np.arange(1, 7) / 7  # between the two, because many activations are 0
    assert (places[0] - 0.02 < wanted).all()
    assert (places[1] + 0.02 > wanted).all()


def test_batch_norm_logits_are_the_inputs_of_the_activations():
    training = Training(find("batchnorm-relu"), SMALL, steps=1, batch=10)
    list(training)
    details = details_of(training.model, training.predictions)
    activations, logits = details.bands.values()
    assert logits[0] < 0 == activations[0]
    assert logits[-1] == activations[-1] > 0


@pytest.mark.parametrize("name", ["dropout", "batchnorm-relu", "best"])
def test_details_do_not_change_the_training(name):
    few = DATA._replace(test_images=DATA.test_images[:9], test_labels=DATA.test_labels[:9])
    losses = []
    for look in (False, True):
        training = Training(find(name), few, steps=4, batch=5, evaluate_every=1)
        losses.append([])
        for report in training:
            losses[-1].append(report.train_loss)
            if look:
                details_of(training.model, training.predictions)
                assert all(layer.training for layer in training.model.layers)
    assert losses[0] == losses[1]


# Runs


@pytest.fixture
def watch():
    """A function that starts runs; they are closed after the test."""
    runs = []

    def begin(lesson="softmax", **settings):
        runs.append(Run(Training(find(lesson), SMALL, **settings)))
        runs[-1].start()
        return runs[-1]

    yield begin
    for run in runs:
        run.close()
        run.join(SECONDS)


def until(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"still false after {SECONDS} s"
        time.sleep(0.01)


@pytest.mark.full
@pytest.mark.parametrize("name", ["softmax", "dropout", "batchnorm-relu", "best"])
def test_training_in_a_run_gives_the_same_bits(watch, name, monkeypatch):
    monkeypatch.setattr("tinytensor.live.run.MIN_INTERVAL", 0.0)  # a snapshot after every step
    monkeypatch.setattr("tinytensor.live.run.MAX_SNAPSHOT_SHARE", 1e9)
    settings = {"steps": 25, "batch": 10, "evaluate_every": 10}
    plain = Training(find(name), SMALL, **settings)
    unwatched = list(plain)
    run = watch(name, **settings)
    answers = [
        run.submit(lambda model: inside.layer_outputs(model, DATA.test_images[0])) for _ in range(5)
    ]
    watched = list(run)
    for one, other in zip(unwatched, watched, strict=True):
        seconds = one.seconds
        assert one == replace(other, seconds=seconds)
    state, watched_state = plain.model.state_dict(), run.training.model.state_dict()
    for name_, x in state.items():
        np.testing.assert_array_equal(x.numpy(), watched_state[name_].numpy(), err_msg=name_)
    assert len(run.history.bands) == 1 + 25, "a snapshot before the first step and after every step"
    assert all(answer.result(SECONDS).probabilities.shape == (10,) for answer in answers)


def test_run_without_viewers_does_not_wait(watch):
    run = watch(steps=500)
    *_, last = run
    assert last.step == 500
    assert run.latest.step == 500, "the latest snapshot, though no earlier one was read"


@pytest.mark.parametrize("name", ["softmax", "dropout", "batchnorm-relu", "best"])
def test_look_ahead_changes_no_bit(name):
    losses = []
    for looks in (False, True):
        training = Training(find(name), SMALL, steps=4, batch=5, evaluate_every=2)
        if looks:
            report, predictions = training.look_ahead()
            assert (report.step, len(predictions.labels)) == (0, 5)
            assert (
                report.test_accuracy == (predictions.test_predictions == SMALL.test_labels).mean()
            )
        losses.append([report.train_loss for report in training])
    assert losses[0] == losses[1]


def test_run_for_a_viewer_waits_with_the_untrained_network():
    run = Run(Training(SOFTMAX, SMALL, steps=20), for_viewer=True)
    run.start()
    assert run.submit(lambda model: run.training.step).result(SECONDS) == 0
    until(lambda: run.latest is not None)
    assert (run.latest.step, run.state) == (0, "ready")
    assert run.latest.test_accuracy < 0.3
    first = next(iter(Training(SOFTMAX, SMALL, steps=20, evaluate_every=1)))
    assert run.latest.train_loss == pytest.approx(first.train_loss), "the batch of the first step"
    run.begin()
    assert [report.step for report in run] == [20]
    run.close()


def test_waiting_run_can_be_stopped():
    run = Run(Training(SOFTMAX, SMALL, steps=20), for_viewer=True)
    run.start()
    until(lambda: run.latest is not None)
    run.training.stop = True  # as the handler of Ctrl-C does
    assert [report.step for report in run] == [1]
    run.close()


def test_watchable_speed():
    assert watchable(Training(SOFTMAX, SMALL)) == 2000 / 25
    assert watchable(Training(SOFTMAX, SMALL, steps=20)) == 10


def test_paused_run_makes_only_single_steps(watch):
    run = watch(steps=10**6, evaluate_every=10**6)
    until(lambda: run.training.step > 3)
    run.pause()
    until(lambda: run.state == "paused")
    step = run.training.step
    assert run.latest.step == step, "the snapshot is of the step of the pause"
    run.step()
    until(lambda: run.latest.step == step + 1)
    assert run.latest.test_accuracy is not None
    assert run.training.step == step + 1
    assert run.submit(lambda model: 7).result(SECONDS) == 7, (
        "submitted functions run during a pause"
    )
    assert run.training.step == step + 1
    run.resume()
    until(lambda: run.training.step > step + 10)


def test_speed_limit(watch):
    run = watch(steps=10**6, evaluate_every=10**6)
    until(lambda: run.training.step > 0)
    run.set_speed(1 / 3600)
    seen = [run.submit(lambda model: run.training.step).result(SECONDS) for _ in range(20)]
    assert seen[-1] <= seen[0] + 1, "one step is due at once, the next in an hour"
    run.set_speed(None)
    until(lambda: run.training.step > seen[-1] + 10)


def test_stopped_run_reports_its_last_step(watch):
    run = watch(steps=10**6, evaluate_every=10**6)
    until(lambda: run.training.step > 3)
    run.pause()
    until(lambda: run.state == "paused")
    run.stop()
    (report,) = run
    assert report.step == run.training.step == run.latest.step
    assert run.was_stopped
    until(lambda: run.state == "ended")


def test_restart_after_the_results_are_saved(watch):
    run = watch(steps=30, evaluate_every=10)
    first = [report.test_loss for report in run]
    until(lambda: run.state == "ended")
    run.restart()
    before = run.training
    assert run.submit(lambda model: run.training).result(SECONDS) is before, (
        "no restart before may_restart"
    )
    run.may_restart = True
    run.restart()
    until(lambda: run.training is not before and run.state == "ended")
    again = {point.step: point.loss for point in run.history.test}
    assert [again[step] for step in (10, 20, 30)] == first


def test_a_restarted_run_shows_nothing_of_the_run_before(watch):
    run = watch(steps=20, evaluate_every=10)
    list(run)
    until(lambda: run.state == "ended")
    seen = []
    show = run._show_untrained
    run._show_untrained = lambda: seen.append((run.state, run.latest, run.latest_tested)) or show()
    run.may_restart = True
    run.restart()
    until(lambda: seen and run.state == "ended")
    assert seen == [("ready", None, None)]
    assert run.latest.step == 20


def test_change_of_backend(watch):
    others = [name for name in tt.available_backends() if name != tt.current_backend().name]
    before = tt.current_backend().name
    run = watch(steps=10**6, evaluate_every=10)
    until(lambda: run.training.step > 3)
    run.set_backend(others[-1])
    until(lambda: run.latest.backend == others[-1])
    assert run.submit(lambda model: tt.current_backend().name).result(SECONDS) == others[-1]
    assert tt.current_backend().name == before
    with pytest.raises(tt.UnknownName, match="none named 'abacus'"):
        run.set_backend("abacus")


def test_errors_reach_the_caller(watch):
    run = watch(steps=10)
    with pytest.raises(ZeroDivisionError):
        run.submit(lambda model: 1 / 0).result(SECONDS)
    assert [report.step for report in run] == [10]
    bad = replace(SOFTMAX, optimizer=lambda params: tt.optim.SGD(params, lr=1e38))
    run = Run(Training(bad, SMALL, steps=50))
    run.start()
    with pytest.raises(tt.AnomalyError, match=r"the (test )?loss is") as caught:
        list(run)
    assert run.error == str(caught.value)
    until(lambda: run.state == "ended")
    run.may_restart = True
    first = run.training
    run.restart()
    until(lambda: run.training is not first and run.state == "ended" and run.error)
    assert run.submit(lambda model: 7).result(SECONDS) == 7, "submitted functions still run"
    run.close()


def test_oldest_of_too_many_calls_are_cancelled():
    run = Run(Training(SOFTMAX, SMALL, steps=1))
    futures = [run.submit(lambda model: 1) for _ in range(MAX_CALLS + 3)]
    assert [future.cancelled() for future in futures] == [True] * 3 + [False] * MAX_CALLS
    run.close()
    assert run.submit(lambda model: 1).cancelled()


@pytest.mark.full
def test_latest_tested_is_recent_with_snapshots_between_tests(watch):
    run = watch(steps=10**6, evaluate_every=20)
    run.set_speed(40)
    tests = []
    for report in run:
        tests.append((report.step, run.latest_tested and run.latest_tested.step))
        if len(tests) == 8:
            run.stop()
    late = [step for step, shown in tests if not shown or shown < step - 60]
    assert len(late) < 3, tests


# Curves


def test_history_since_returns_each_point_once(monkeypatch):
    run = Run(Training(SOFTMAX, SMALL, steps=40, evaluate_every=10))
    run.start()
    list(run)
    run.close()
    new_points = run.history.since(START)
    assert new_points.replace_all
    assert [point.step for point in new_points.test][-4:] == [10, 20, 30, 40]
    later = run.history.since(new_points.position)
    assert later[:4] == (False, [], [], [])


def test_long_history_is_thinned(monkeypatch):
    monkeypatch.setattr(history, "MAX_POINTS", 10)
    training = Training(SOFTMAX, SMALL, steps=1)
    (report,) = training
    details = details_of(training.model, training.predictions)
    shot = Snapshot.of(report, details, SMALL, backend="c", images_per_second=0.0)
    kept, position, shown = History(), START, []
    for step in range(100):
        kept.add_snapshot(replace(shot, step=step))
        new_points = kept.since(position)
        shown = [
            *([] if new_points.replace_all else shown),
            *(point.step for point in new_points.bands),
        ]
        position = new_points.position
        assert len(kept.bands) <= 11
        assert shown == [point.step for point in kept.bands], (
            "a reader has the points of the history"
        )
    assert shown[0] == 0
    assert shown[-1] == 99


# Pictures


def test_mosaic_shows_misclassified_digits_light_on_red():
    images = DATA.test_images[:5]
    misclassified = np.array([True, False, False, True, False])
    colours = picture.rgba(picture.mosaic(images, misclassified, columns=3))
    assert colours.shape == (2 * 28, 3 * 28, 4)
    cells = colours.reshape(2, 28, 3, 28, 4).transpose(0, 2, 1, 3, 4).reshape(6, 28, 28, 4)
    for i in range(5):
        background = cells[i][0, 0, :3].astype(int)
        ink = cells[i][images[i] == images[i].max()][0, :3].astype(int)
        assert tuple(background) == (picture.RED if misclassified[i] else picture.WHITE)
        assert (ink.sum() > background.sum()) == misclassified[i], (
            "inverted, so not by colour alone"
        )
        assert (cells[i][..., 3] == 255).all()
    assert (cells[5][..., 3] == 0).all(), "transparent"


@pytest.mark.parametrize("size", [(28, 28), (14, 14), (31, 25), (8, 10), (1, 1)])
def test_resized_images_keep_their_mean(size):
    images = DATA.test_images[:20]
    small = picture.resized(images, size)
    assert small.shape == (20, *size)
    np.testing.assert_allclose(small.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=0.51)


def test_white_lines_separate_misclassified_digits():
    colours = picture.coloured(DATA.test_images[:2], np.array([True, False]), (56, 56))
    assert (colours[0, -2:] == 0).all()
    assert (colours[0, :, -2:] == 0).all()
    assert (colours[0, :-2, :-2] >= picture.MISCLASSIFIED).all()
    np.testing.assert_array_equal(colours[1], DATA.test_images[1].repeat(2, 0).repeat(2, 1) // 16)


def test_tiles_have_gaps():
    images = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
    tiled = picture.tiles(images, columns=4)
    assert tiled.shape == (2 * 2 + 1, 4 * 3 + 3)
    np.testing.assert_array_equal(tiled[:2, 4:7], images[1])
    np.testing.assert_array_equal(tiled[3:, :3], images[4])
    assert np.isnan(tiled).sum() == tiled.size - images.size


# Layer outputs, weights, confusion matrix


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.name)
def test_layer_outputs_end_with_the_probabilities(lesson):
    tt.manual_seed(0)
    model = lesson.model().eval()
    outputs = inside.layer_outputs(model, DATA.test_images[3])
    np.testing.assert_allclose(
        outputs.probabilities, probabilities(model, DATA.test_images[3:4])[0], rtol=1e-5
    )
    assert all(image.ndim == 2 for _, image in outputs.layers)
    assert outputs.layers[0][0] == "image 28 x 28"
    assert outputs.layers[-1][1].size == 10
    for name in inside.weight_names(model):
        image = inside.weights(model, name)
        assert image.ndim == 2
        assert np.isfinite(image).any()


def test_weights_of_the_ten_neurons_are_templates():
    training = Training(SOFTMAX, SMALL, steps=20)
    list(training)
    image = inside.weights(training.model, "weight (784, 10)")
    assert image.shape == (2 * 28 + 1, 5 * 28 + 4)
    np.testing.assert_array_equal(
        image[29:, 29 : 29 + 28], training.model.weight.numpy()[:, 6].reshape(28, 28)
    )


def test_confusion_matrix():
    counts = inside.confusion(np.array([3, 3, 5]), np.array([3, 8, 5]))
    assert counts.sum() == 3
    assert (counts[3, 3], counts[3, 8], counts[5, 5]) == (1, 1, 1)
