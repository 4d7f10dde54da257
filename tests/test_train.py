"""The training loop and the lessons, short: the course's figures take longer (benchmarks/)."""

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor.lessons import find, lessons
from tinytensor.train import train

DATA = tt.datasets.mnist()
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
