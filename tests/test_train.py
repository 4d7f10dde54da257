"""The training loop and the lessons, short; test_lessons.py has them in full, too."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import checkpoint, nn, random
from tinytensor.lessons import find, lessons
from tinytensor.live.details import details_of
from tinytensor.train import (
    EVALUATED_AT_ONCE,
    Training,
    evaluate,
    load_model,
    probabilities,
    seconds_a_step,
    train,
)

DATA = tt.datasets.mnist()
SMALL = DATA._replace(test_images=DATA.test_images[:200], test_labels=DATA.test_labels[:200])
SOFTMAX = find("softmax")


def test_softmax_learns(backend):
    *_, last = train(SOFTMAX, DATA, steps=300, evaluate_every=100)
    assert last.step == 300
    assert last.test_accuracy > 0.89
    assert last.test_loss < 0.40
    assert last.train_accuracy > 0.8


def test_first_losses_agree_across_backends():
    losses = {}
    for name in BACKENDS:
        with tt.backend(name):
            reports = list(train(SOFTMAX, DATA, steps=20, evaluate_every=1))
        losses[name] = [report.train_loss for report in reports]
        assert [report.step for report in reports] == list(range(1, 21))
    assert losses["numpy"][0] == pytest.approx(np.log(10)), "ten digits, all equally likely"
    for name in BACKENDS:
        np.testing.assert_allclose(losses[name], losses["numpy"], rtol=1e-5, err_msg=name)


def test_same_seed_same_bits(backend):
    def losses(seed):
        return [r.test_loss for r in train(SOFTMAX, DATA, steps=10, seed=seed, evaluate_every=5)]

    assert losses(3) == losses(3)
    assert losses(3) != losses(4)


@pytest.mark.parametrize("lesson", ["dropout", "batchnorm-relu", "best"])
def test_captured_and_eager_training_are_the_same(lesson):
    reports = {}
    for eager in (True, False):
        lesson_ = replace(find(lesson), batch=8)
        training = Training(lesson_, SMALL, steps=7, evaluate_every=3, eager=eager)
        reports[eager] = [
            (
                r.train_loss,
                r.test_loss,
                r.rate,
                vars(details_of(training.model, training.predictions)),
            )
            for r in training
        ]
        reports[eager].append([x.numpy() for x in training._tensors().values()])
    np.testing.assert_equal(reports[False], reports[True])


def test_reports_come_every_so_often_and_at_the_end():
    steps = [r.step for r in train(SOFTMAX, DATA, steps=25, evaluate_every=10)]
    assert steps == [10, 20, 25]
    (only,) = train(SOFTMAX, DATA, steps=0)
    assert (only.step, only.train_loss, only.train_accuracy) == (0, None, None)
    assert only.test_loss == pytest.approx(np.log(10))


def test_every_kind_of_second_is_counted():
    *_, last = train(SOFTMAX, DATA, steps=20, evaluate_every=5)
    seconds = last.seconds
    assert min(seconds.first_step, seconds.train, seconds.evaluate) > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": -1}, "steps: got -1"),
        ({"batch": 0}, "batch: got 0"),
        ({"batch": 60_001}, "batch: got 60001; from 1 to .* 60000"),
        ({"evaluate_every": 0}, "evaluate_every: got 0"),
    ],
)
def test_impossible_settings_are_refused_at_once(settings, words):
    with pytest.raises(tt.SettingError, match=words):
        train(SOFTMAX, DATA, **settings)


def test_lessons_go_by_name_and_number():
    for lesson in lessons():
        assert find(lesson.name) is lesson
        assert find(lesson.number) is lesson
    with pytest.raises(tt.UnknownName, match=r"none named 'sofmax'; did you mean 'softmax'\?"):
        find("sofmax")
    with pytest.raises(tt.UnknownName, match=r"choose from softmax, 1\.0"):
        find("transformer")


def test_the_last_images_are_tested_too(backend):
    """Whatever their number is: they go through the network a thousand at once."""
    tt.manual_seed(0)
    model = find("relu").model()
    images, labels = DATA.test_images[:2100], DATA.test_labels[:2100]
    accuracy, loss, predictions = evaluate(model, images, labels)
    parts = [
        evaluate(model, images[start:end], labels[start:end])
        for start, end in ((0, 700), (700, 2100))
    ]
    assert accuracy == (predictions == labels).mean()
    assert loss == pytest.approx((parts[0][1] * 700 + parts[1][1] * 1400) / 2100, rel=1e-5)
    np.testing.assert_array_equal(predictions, np.concatenate([part[2] for part in parts]))


def modes(model):
    """Whether each module is in training mode, by its path."""
    found = {"": model.training}
    for name, child in model.children():
        found |= {f"{name}.{path}": mode for path, mode in modes(child).items()}
    return found


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("name", ["dropout", "batchnorm-sigmoid"])
def test_a_look_leaves_each_module_in_the_mode_it_was_in(name, mode):
    training = Training(find(name), SMALL, steps=1)
    model = training.model.train(mode)
    model.layers[3].train(not mode)
    before = modes(model)
    assert set(before.values()) == {True, False}
    images, labels = SMALL.test_images[:9], SMALL.test_labels[:9]
    assert evaluate(model, images, labels)[1] == evaluate(model, images, labels)[1], "no dropout"
    assert modes(model) == before
    probabilities(model, images)
    assert modes(model) == before
    training.test()
    assert modes(model) == before
    with pytest.raises(tt.ShapeError):
        evaluate(model, images[:, :5], labels)
    assert modes(model) == before


def test_probabilities_are_those_of_a_test():
    images = SMALL.test_images[:5]
    for name in ("dropout", "batchnorm-sigmoid"):
        model = find(name).model()
        state = {key: x.numpy().copy() for key, x in model.state_dict().items()}
        wanted = tt.ops.softmax(model.eval()(tt.Tensor(tt.datasets.to_float(images))))
        np.testing.assert_array_equal(probabilities(model.train(), images), wanted.numpy())
        np.testing.assert_equal({k: x.numpy() for k, x in model.state_dict().items()}, state)


def test_timing_steps_leaves_the_random_state_as_it_was():
    before = random.state().copy()
    assert seconds_a_step(SOFTMAX, SMALL, steps=2) > 0
    np.testing.assert_array_equal(random.state(), before)


@pytest.mark.full
def test_a_look_at_the_test_images_changes_nothing(backend):
    """Nor does it matter how often: dropout and batch norm go on as without."""
    for name in ("dropout", "batchnorm-sigmoid", "best"):
        often = [r.train_loss for r in Training(find(name), SMALL, steps=6, evaluate_every=1)]
        seldom = [r.train_loss for r in Training(find(name), SMALL, steps=6, evaluate_every=6)]
        assert seldom == often[-1:]


def test_rates_are_those_of_the_steps():
    rates = [r.rate for r in train(find("relu"), SMALL, steps=3, evaluate_every=1)]
    assert rates == [pytest.approx(0.0001 + 0.003 * np.exp(-t / 2000)) for t in range(3)]
    (only,) = train(SOFTMAX, SMALL, steps=0)
    assert only.rate == 0.5, "0.005 on the sum of 100 losses"


@pytest.mark.parametrize(("name", "highest"), [("fast", 0.02), ("best", 0.01)])
@pytest.mark.parametrize("steps", [20, 600, 1500])
def test_a_rate_that_falls_to_zero_does_so_in_the_steps_there_are(name, highest, steps):
    training = Training(find(name), SMALL, steps=steps)
    rates = [training.optimizer.schedule(step) for step in range(steps + 1)]
    assert 0.5 * highest < max(rates) < highest
    assert rates[0] < 0.21 * highest, "warmed up"
    assert rates[steps - 1] < 0.01 * highest
    assert rates[steps] == pytest.approx(0, abs=1e-12)
    assert rates[steps // 2] == pytest.approx(highest / 2)
    (report,) = train(find(name), SMALL, steps=0)
    assert report.rate >= 0


# Kept and gone on with


def numbers(training):
    """All that a run has come to, and what its next mask will be."""
    tensors = {**training.model.state_dict(), **training.optimizer.state_dict()}
    return {n: x.numpy().tobytes() for n, x in tensors.items()} | {"r": random.state().tobytes()}


@pytest.mark.full
@pytest.mark.parametrize("name", ["softmax", "dropout", "batchnorm-relu"])
def test_20_steps_are_10_saved_and_10_resumed(backend, tmp_path, name):
    whole = Training(find(name), SMALL, steps=20, seed=5, evaluate_every=1)
    losses = [report.train_loss for report in whole]
    wanted = numbers(whole)

    first = Training(find(name), SMALL, steps=10, seed=5, evaluate_every=5)
    list(first)
    first.save(tmp_path / "run")
    tt.manual_seed(99)  # somebody else draws in between
    second = Training(find(name), SMALL, steps=20, seed=5, evaluate_every=1)
    second.resume(tmp_path / "run")
    assert second.step == 10
    rest = list(second)
    assert [report.step for report in rest] == list(range(11, 21))
    assert [report.train_loss for report in rest] == losses[10:]
    assert numbers(second) == wanted


def test_a_run_that_is_over_is_tested_again(tmp_path):
    done = Training(SOFTMAX, SMALL, steps=4)
    *_, last = done
    done.save(tmp_path / "run")
    again = Training(SOFTMAX, SMALL, steps=4)
    again.resume(tmp_path / "run")
    (only,) = again
    assert (only.step, only.train_loss, only.test_loss) == (4, None, last.test_loss)


def test_another_run_is_refused(tmp_path):
    file = tmp_path / "run"
    saved = Training(find("relu"), SMALL, steps=1)
    list(saved)
    saved.save(file)
    others = SMALL._replace(train_images=SMALL.train_images[::-1])
    relabelled = SMALL._replace(train_labels=SMALL.train_labels[::-1])
    data_set = r"is of other training data \(their checksum is [0-9a-f]{16}, here [0-9a-f]{16}\)"
    for lesson, data, settings, words in (
        ("sigmoid", SMALL, {}, r"is of lesson 2\.1; 2\.0 is needed"),
        ("relu", SMALL, {"seed": 1}, "is of seed 0; 1 is needed"),
        ("relu", SMALL, {"batch": 50}, "is of batch 100; 50 is needed"),
        ("relu", others, {}, data_set),
        ("relu", relabelled, {}, data_set),
    ):
        training = Training(find(lesson), data, **settings)
        before = numbers(training)
        with pytest.raises(tt.DataError, match=f"resume: .*run {words}"):
            training.resume(file)
        assert numbers(training) == before
        assert training.step == 0


def test_a_run_whose_rate_follows_its_steps_is_resumed_for_as_many(tmp_path):
    file = tmp_path / "run"
    saved = Training(find("fast"), SMALL, steps=30, batch=10, evaluate_every=1)
    losses = []
    for report in saved:
        losses.append(report.train_loss)
        if report.step == 3:
            saved.save(file)
        saved.stop = report.step == 5
    words = "is of a run of 30 steps, with a rate made for them; it can't become one of 1500"
    with pytest.raises(tt.DataError, match=words):
        Training(find("fast"), SMALL, batch=10).resume(file)
    rest = Training(find("fast"), SMALL, steps=30, batch=10, evaluate_every=1)
    rest.resume(file)
    for report, loss in zip(rest, losses[3:], strict=False):
        assert report.train_loss == loss
    assert rest.step > 3


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    file = tmp_path / "run"
    training = Training(SOFTMAX, SMALL)
    with pytest.raises(tt.DataError, match="isn't a safetensors file"):
        training.resume(file)
    training.save(file)
    about, tensors = checkpoint.about(file), checkpoint.load(file)
    before = numbers(training)

    def refused(words, tensors, about):
        checkpoint.save(file, tensors, about)
        with pytest.raises(tt.DataError, match=words):
            training.resume(file)
        assert numbers(training) == before

    some = {name: x + 1 for name, x in tensors.items()}
    del some["masks"], some["model.bias"]
    some |= {"head": tt.ones(1), "model.weight": tt.ones(10, 784), "optimizer.steps": tt.ones(2)}
    refused(
        r"resume: .*run: model\.bias is missing; masks is missing; head is unknown; "
        r"model\.weight has shape \(10, 784\), \(784, 10\) is needed; "
        r"optimizer\.steps has shape \(2,\), \(1,\) is needed",
        some,
        about,
    )
    refused("is of lesson unknown", tensors, {})
    refused(
        "is of step unknown; a whole number", tensors, {n: about[n] for n in about if n != "step"}
    )
    refused("is of step -1; a whole number", tensors, about | {"step": "-1"})
    with pytest.raises(tt.DataError, match="can't be written"):
        training.save(tmp_path / "no" / "folder")


def test_a_model_that_does_not_fit_its_lesson_is_refused(tmp_path):
    file = tmp_path / "run"
    training = Training(SOFTMAX, SMALL)
    training.save(file)
    lesson, model = load_model(file)
    assert lesson is SOFTMAX
    assert not model.training
    about, tensors = checkpoint.about(file), checkpoint.load(file)
    checkpoint.save(file, tensors, about | {"lesson": "9.9"})
    with pytest.raises(tt.DataError, match=r"run is of lesson 9\.9, and there is none$"):
        load_model(file)
    del tensors["tested.bias"]
    tensors |= {"tested.head": tt.ones(1), "tested.weight": tt.ones(10, 784)}
    checkpoint.save(file, tensors, about)
    words = (
        r"run: tested\.bias is missing; tested\.head is unknown; "
        r"tested\.weight has shape \(10, 784\), \(784, 10\) is needed$"
    )
    with pytest.raises(tt.DataError, match=words):
        load_model(file)


def test_many_images_are_asked_about_a_part_at_once():
    """Or ten thousand of them would need gigabytes in a convolutional network."""
    sizes = []

    class Seen(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return x.reshape(-1, 784)[:, 200:210]

    images = DATA.test_images[: 2 * EVALUATED_AT_ONCE + 7]
    probs = probabilities(Seen(), images)
    assert sizes == [EVALUATED_AT_ONCE, EVALUATED_AT_ONCE, 7]
    assert probs.shape == (len(images), 10)
    np.testing.assert_array_equal(probs[-7:], probabilities(Seen(), images[-7:]))


# What a picture of it needs


def test_predictions_are_those_of_the_last_report():
    training = Training(find("conv-dropout"), SMALL, steps=4, batch=10, evaluate_every=2)
    assert training.predictions is None
    for report in training:
        images, labels, predictions, test_predictions = training.predictions
        assert images.shape == (10, 28, 28, 1)
        assert labels.shape == predictions.shape == (10,)
        assert (predictions == labels).mean() == report.train_accuracy
        assert test_predictions.shape == (200,)
        assert (test_predictions == SMALL.test_labels).mean() == report.test_accuracy


def test_without_a_step_there_are_no_predictions():
    training = Training(SOFTMAX, SMALL, steps=0)
    assert len(list(training)) == 1
    assert training.predictions is None


# When it goes wrong


@pytest.mark.parametrize(("name", "lr"), [("softmax", 1e38), ("relu", 1e30)])
def test_a_loss_that_is_no_number_stops_the_training(backend, name, lr):
    lesson = replace(find(name), optimizer=lambda params: tt.optim.SGD(params, lr=lr))
    training = Training(lesson, SMALL, steps=50, evaluate_every=10)
    with pytest.raises(tt.AnomalyError) as caught, np.errstate(all="ignore"):
        list(training)
    assert 2 <= training.step < 10
    words = f"the loss is nan at step {training.step}"
    assert words in str(caught.value) or words.replace("nan", "inf") in str(caught.value)
    assert f"usually the rate, {lr:g} here, is too large" in str(caught.value)


def test_weights_spoilt_by_the_last_step_are_seen_in_the_test(backend):
    lesson = replace(SOFTMAX, optimizer=lambda params: tt.optim.SGD(params, lr=1e38))
    training = Training(lesson, SMALL, steps=1)
    with pytest.raises(tt.AnomalyError) as caught, np.errstate(all="ignore"):
        list(training)
    assert "train: the test loss is nan at step 1, and training can't mend" in str(caught.value)


def test_a_run_can_be_told_to_end():
    training = Training(SOFTMAX, DATA, steps=1000, evaluate_every=5)
    reports = iter(training)
    assert next(reports).step == 5
    training.stop = True
    assert [report.step for report in reports] == [6]


def test_resume_needs_more_steps_than_were_made(tmp_path):
    training = Training(SOFTMAX, DATA, steps=5)
    list(training)
    training.save(tmp_path / "run")
    with pytest.raises(tt.SettingError, match="has 5 steps behind it; more than 3 are needed"):
        Training(SOFTMAX, DATA, steps=3).resume(tmp_path / "run")
