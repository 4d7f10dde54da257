"""Claims that one run can show, ticked when its curves have shown them."""

import numpy as np
import pytest
import viewer as viewers
from chromium import needs_browser
from test_live import SMALL
from viewer import Viewer, finish, served, until

from tinytensor.lessons import find
from tinytensor.live.history import Point
from tinytensor.live.sights import CurvesSeen, sights
from tinytensor.train import Training

browser = viewers.browser
STEPS = np.arange(0, 1001, 50)


def points(accuracy, loss):
    return [
        Point(int(s), float(a), float(x)) for s, a, x in zip(STEPS, accuracy, loss, strict=True)
    ]


def curves(train, test, train_loss=0.1, test_loss=0.1):
    """Curves of 21 tests; each argument is a number or an array (21,)."""
    a, b, c, d = (np.broadcast_to(x, STEPS.shape) for x in (train, test, train_loss, test_loss))
    return CurvesSeen(points(a, c), points(b, d), batch=100)


def step_of(lesson, beginning, seen):
    """The step at which the claim that begins so is seen."""
    (sight,) = [x for x in sights(Training(find(lesson), SMALL, steps=1)) if
                x.claim.startswith(beginning)]  # fmt: skip
    return sight.seen(seen)


def test_accuracies_are_seen_at_their_first_test():
    rising = np.linspace(0.1, 1, 21)
    assert step_of("relu", "The test accuracy passes 90 %", curves(0.5, rising)) == 900
    assert step_of("relu", "The test accuracy reaches the 98", curves(0.5, rising)) == 1000
    assert step_of("relu", "The test accuracy passes 90 %", curves(1.0, 0.89)) is None


def test_only_an_untrained_network_guesses():
    assert step_of("relu", "An untrained", curves(0.1, 0.1)) == 0
    assert step_of("relu", "An untrained", curves(0.1, np.where(STEPS, 0.1, 0.9))) is None


def test_training_passes_the_test_by_more_than_chance():
    claim = "The training accuracy passes"
    assert step_of("relu", claim, curves(0.905, 0.9)) is None, "half a percent of 1,000 images"
    assert step_of("relu", claim, curves(0.95, 0.9)) == 500, "the tenth point after step 0"
    assert step_of("relu", claim, curves(0.85, 0.9)) is None
    seen = CurvesSeen([], points(np.full(21, 0.9), np.ones(21)), 100)
    assert step_of("relu", claim, seen) is None, "without a training curve nothing is seen"


def test_dropout_has_its_own_claim():
    claim = "The training accuracy, with dropout"
    assert step_of("dropout", claim, curves(0.85, 0.95)) == 500
    assert step_of("dropout", claim, curves(0.945, 0.95)) is None
    assert step_of("dropout", claim, curves(0.5, 0.8)) is None, "the start"
    assert not any(x.claim.startswith(claim) for x in sights(Training(find("relu"), SMALL)))


def test_memorising_needs_both_losses_and_three_tests():
    claim = "The test loss rises while"
    falls, rises = np.linspace(1, 0, 21), np.abs(np.linspace(-0.9, 0.5, 21)) + 0.5
    seen = step_of("relu", claim, curves(0.9, 0.9, falls, rises))
    assert seen is not None
    assert seen > STEPS[rises.argmin()] + 100
    assert step_of("relu", claim, curves(0.9, 0.9, falls[::-1], rises)) is None, "training, too"
    assert step_of("relu", claim, curves(0.9, 0.9, falls, 0.5)) is None
    jump = np.full(21, 0.5)
    jump[15:17] = 0.9
    assert step_of("relu", claim, curves(0.9, 0.9, falls, jump)) is None, "two tests are a jump"


def test_starts_are_claims_of_two_lessons():
    slow, fast = np.where(STEPS < 300, 0.5, 0.95), np.where(STEPS, 0.9, 0.1)
    assert step_of("sigmoid", "The start is slow", curves(0.5, slow)) == 100
    assert step_of("sigmoid", "The start is slow", curves(0.5, fast)) is None
    assert step_of("batchnorm-sigmoid", "The start is not slow", curves(0.5, fast)) == 50
    assert step_of("batchnorm-sigmoid", "The start is not slow", curves(0.5, slow)) is None


def test_an_empty_run_shows_nothing():
    seen = CurvesSeen([], [], 100)
    for name in ("softmax", "sigmoid", "dropout", "batchnorm-sigmoid"):
        assert [x.seen(seen) for x in sights(Training(find(name), SMALL, steps=1))].count(None) >= 5


@pytest.mark.full
def test_ten_neurons_guess_and_pass_90_percent():
    training = Training(find("softmax"), SMALL._replace(), steps=600, evaluate_every=50)
    report, _ = training.look_ahead()
    test = [Point(0, report.test_accuracy, report.test_loss)]
    test += [Point(x.step, x.test_accuracy, x.test_loss) for x in training]
    seen = CurvesSeen([], test, 100)
    first = next(x.step for x in test if x.accuracy >= 0.9)
    assert step_of("softmax", "An untrained", seen) == 0
    assert step_of("softmax", "The test accuracy passes 90 %", seen) == first


@needs_browser
def test_tab_ticks_what_the_run_has_shown(browser):
    with served(steps=400, evaluate_every=50) as (run, server):
        viewer = Viewer(browser, server.address)
        viewer.model("tabs", "model.active = 5")
        until(lambda: viewer.model("claims", "model.text").count("☐") == 5)
        finish(run)
        until(lambda: viewer.step() == 400)
        text = until(lambda: "☑" in viewer.model("claims", "model.text") and
                     viewer.model("claims", "model.text"))  # fmt: skip
        first = next(x.step for x in run.history.test if x.accuracy >= 0.9)
        assert f"☑</b> The test accuracy passes 90 %. <span>step {first}</span>" in text
        assert "☐</b> The test loss rises" in text
        before = run.training
        run.may_restart = True
        run.set_speed(1)
        run.restart()
        until(lambda: run.training is not before)
        until(lambda: viewer.model("claims", "model.text").count("☑") < text.count("☑"))
        assert viewer.complaints() == []
