"""The coach: it finds each mistake of the museum, and nothing in trainings without a mistake."""

import json
import re
import warnings
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import nn, observers
from tinytensor.coach import data_checks, museum
from tinytensor.coach.check import CHECKS
from tinytensor.coach.coaching import Coach
from tinytensor.coach.view import MOST_VALUES, is_look, sample
from tinytensor.datasets import batches
from tinytensor.errors import NotSupported
from tinytensor.lessons import find, lessons
from tinytensor.train import Training

DATA = tt.datasets.mnist()


def names(coach):
    return [finding.name for finding in coach.findings]


# The museum -------------------------------------------------------------------------------------


@pytest.mark.parametrize("captured", [True, False], ids=["captured", "eager"])
@pytest.mark.parametrize("each", museum.EXHIBITS, ids=lambda each: each.name)
def test_the_coach_names_the_mistake_of_an_exhibit(each, captured):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = each.run(DATA, captured)
    assert each.name in [finding.name for finding in seen.findings]
    assert len({finding.name for finding in seen.findings}) == len(seen.findings)
    assert all(finding.step <= museum.STEPS for finding in seen.findings)


def test_each_check_has_an_exhibit():
    assert sorted(each.name for each in museum.EXHIBITS) == sorted(CHECKS)
    assert len(CHECKS) >= 20


# Trainings without a mistake --------------------------------------------------------------------


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.number)
def test_the_coach_finds_nothing_in_a_lesson(lesson):
    training = Training(lesson, DATA, steps=4 if lesson.number in ("4.2", "best") else 32)
    training.watch_mistakes(None)
    training.model.train()
    for _ in range(training.steps):
        training.make_step()
    training.coach.close()
    assert names(training.coach) == []


def regression():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(5, 1)).astype("float32")
    while True:
        x = rng.normal(size=(20, 5)).astype("float32")
        yield x, x @ weights


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))


def images(size=50):
    return batches(DATA.train_images, DATA.train_labels, size=size, seed=0)


def train(model, optimizer, examples, loss=tt.cross_entropy, steps=130):
    with tt.coach(model, show=None) as coach:
        for x, y in islice(examples, steps):
            value = loss(model(tt.Tensor(x)), y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return coach


@pytest.mark.parametrize("shape", [(28, 28), (32, 32), (5, 3), (1, 1)])
def test_images_in_both_parts_are_found_byte_by_byte(shape):
    rng = np.random.default_rng(0)
    others = rng.integers(0, 256, (300, *shape)).astype(np.uint8)
    images = others[::-3].copy()
    images[::2] ^= 1 << 7
    in_both = [(others == image).all(axis=(1, 2)).any() for image in images]
    assert data_checks._known(images, others).tolist() == in_both
    near = others[:9].copy()
    near[:, 0, 0] ^= 1  # a byte that is not in the key of a larger image
    in_both = [(others == image).all(axis=(1, 2)).any() for image in near]
    assert data_checks._known(near, others).tolist() == in_both


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_test_images_in_training_are_found_in_a_sample(share):
    rng = np.random.default_rng(0)
    tested = DATA.test_images.copy()
    known = rng.permutation(len(tested))[: int(share * len(tested))]
    tested[known] = DATA.train_images[rng.choice(len(DATA.train_images), len(known))]
    with tt.coach(network(), data=DATA._replace(test_images=tested), show=None) as coach:
        pass
    assert ("test-images-in-training" in names(coach)) == (share > 0)


def test_the_means_of_the_classes_explain_their_share_of_the_variance():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=40)
    x = rng.normal(size=(40, 5)) + labels[:, None]
    x -= x.mean(axis=0)
    means = np.stack([x[labels == label].mean(axis=0) for label in labels])
    share = data_checks._between_classes(x @ x.T, labels)
    assert share == pytest.approx((means**2).sum() / (x**2).sum())


def test_the_coach_looks_at_powers_of_two_and_later_less_often():
    looks = [step for step in range(1, 5000) if is_look(step)]
    assert looks == [1, 2, 4, 8, 16, 32, 64, 256, 1024, 4096]


def test_images_sorted_by_class_say_nothing_about_their_labels():
    few = DATA.train_labels[:3000]
    order = np.argsort(few, kind="stable")
    sorted_images, labels = DATA.train_images[:3000][order], few[order]
    model = network()
    optimizer = tt.optim.SGD(model.parameters(), lr=0.1)
    examples = batches(sorted_images, labels, size=50, shuffle=False)
    assert names(train(model, optimizer, examples, steps=60)) == ["data-not-shuffled"]


@pytest.mark.parametrize("rate", [1e-9, 1e-6])
def test_a_rate_that_is_far_too_low_is_named_if_the_weights_start_at_0(rate):
    lesson = replace(find("1.0"), optimizer=lambda params: tt.optim.SGD(params, lr=rate))
    training = Training(lesson, DATA, steps=70, evaluate_every=100)
    training.watch_mistakes(None)
    for _ in range(training.steps):
        training.make_step()
    training.coach.close()
    (finding,) = training.coach.findings
    assert (finding.name, finding.step) == ("rate-too-low", 32)
    assert finding.evidence.startswith("weights started at 0, and the logits are still between ±")


def test_gradients_of_0_are_no_sign_of_a_low_rate():
    """A linear model can't compute XOR: its best weights are near 0, where they started."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1.001]], np.float32)
    model = nn.Linear(2, 2)
    for p in model.parameters():
        p.data[...] = 0
    optimizer = tt.optim.SGD(model.parameters(), lr=0.5)
    assert names(train(model, optimizer, ((x, np.array([0, 1, 1, 0])) for _ in range(70)))) == []


def test_a_regression_has_no_finding():
    model = nn.Linear(5, 1)
    optimizer = tt.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    assert names(train(model, optimizer, regression(), tt.mse_loss)) == []


def test_four_examples_that_come_again_and_again_have_no_finding():
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = tt.optim.SGD(model.parameters(), lr=0.5)
    assert names(train(model, optimizer, ((x, np.array([0, 1, 1, 0])) for _ in range(130)))) == []


def test_a_deep_network_has_no_finding():
    hidden = [layer for _ in range(8) for layer in (nn.ReLU(), nn.Linear(40, 40))]
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 40), *hidden, nn.LayerNorm(40), nn.GELU(), nn.Linear(40, 10)
    )
    optimizer = tt.optim.Adam(model.parameters(), lr=0.001)
    assert names(train(model, optimizer, images())) == []


def test_words_have_no_finding():
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Embedding(20, 16), nn.Linear(16, 20))
    optimizer = tt.optim.Adam(model.parameters(), lr=0.003)
    words = (rng.integers(20, size=64) for _ in range(130))
    with tt.coach(model, show=None) as coach:
        for word in words:
            optimizer.zero_grad()
            tt.cross_entropy(model(tt.Tensor(word)), (word + 1) % 20).backward()
            optimizer.step()
    assert names(coach) == []


@pytest.mark.parametrize("captures", [False, True])
@pytest.mark.parametrize("rate", [0.001, 0.1])
def test_gradients_that_one_layer_never_clears_are_found(rate, captures):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    optimizer = tt.optim.SGD(model.parameters(), lr=rate)

    def step(x, y):
        loss = tt.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = tt.capture(step) if captures else step
    with tt.coach(step if captures else model, show=None) as coach:
        for (x, y), _ in zip(images(), range(40), strict=False):
            step(tt.Tensor(x), y)
    assert "gradients-not-cleared" in names(coach)


@pytest.mark.filterwarnings("error")
def test_a_rate_that_is_far_too_high_is_named_and_nothing_else():
    lesson = replace(find("1.0"), optimizer=lambda params: tt.optim.SGD(params, lr=1e5))
    training = Training(lesson, DATA, steps=60, evaluate_every=10)
    training.watch_mistakes(None)
    list(training)
    training.coach.close()
    assert names(training.coach) == ["rate-too-high"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("lesson", "optimizer", "rate"),
    [
        ("1.0", tt.optim.Adam, 0.1),  # the loss rises above ln(10), and falls again
        ("1.0", tt.optim.Adam, 1.0),
        ("2.0", tt.optim.SGD, 100.0),  # saturates the sigmoids
        ("2.0", tt.optim.Adam, 0.1),
        ("2.1", tt.optim.SGD, 10.0),  # the gradients explode, and the loss is NaN
        ("2.1", tt.optim.SGD, 100.0),
        ("2.1", tt.optim.Adam, 0.1),  # the loss stays where it was
        ("2.1", tt.optim.Adam, 1.0),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_rate_that_is_too_high_is_named_and_no_cause_that_is_none(lesson, optimizer, rate, seed):
    own = replace(find(lesson), optimizer=lambda params: optimizer(params, lr=rate), rate=None)
    training = Training(own, DATA, steps=70, evaluate_every=100, seed=seed)
    training.watch_mistakes(None)
    training.model.train()
    try:
        for _ in range(training.steps):
            training.make_step()
    except tt.AnomalyError:
        pass
    training.coach.close()
    found = {finding.name: finding.evidence for finding in training.coach.findings}
    assert set(found) <= {"rate-too-high", "dead-relus"}
    evidence = found["rate-too-high"]
    assert re.search(
        r"a step has changed the weights by \d+ % of their size; the loss was", evidence
    )
    assert re.search(r"and (between \S+ and )?\S+ in the last \d+ steps", evidence)
    if optimizer is tt.optim.Adam:
        rise = r"it rose to \S+ in the first 32 steps, and guessing has ln\(10\) = 2\.30"
        assert re.search(rise, evidence)


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [(tt.optim.SGD, 0.003), (tt.optim.SGD, 0.5), (tt.optim.Adam, 0.003), (tt.optim.Adam, 0.03)],
)
def test_weights_that_start_at_0_are_no_sign_of_a_high_rate(optimizer, rate):
    """The second step changes them by about their size, whatever the learning rate is."""
    lesson = replace(find("1.0"), optimizer=lambda params: optimizer(params, lr=rate))
    training = Training(lesson, DATA, steps=70, evaluate_every=100)
    training.watch_mistakes(None)
    for _ in range(training.steps):
        training.make_step()
    training.coach.close()
    assert training.coach.progress.is_thrown
    assert names(training.coach) == []


@pytest.mark.filterwarnings("error")
def test_gradients_that_are_nan_after_an_update_do_not_explode():
    lesson = replace(find("1.0"), optimizer=lambda params: tt.optim.SGD(params, lr=1e38))
    training = Training(lesson, DATA, steps=60, evaluate_every=10)
    training.watch_mistakes(None)
    with pytest.raises(tt.AnomalyError, match="a learning rate that is too large"):
        list(training)
    training.coach.close()
    assert "gradients-explode" not in names(training.coach)


def test_images_one_by_one_have_no_finding():
    model = network()
    optimizer = tt.optim.SGD(model.parameters(), lr=0.01)
    assert names(train(model, optimizer, images(1))) == []


def test_a_network_with_a_frozen_layer_has_no_finding():
    model = network()
    model[1].requires_grad_(False)
    optimizer = tt.optim.AdamW(model.parameters(), lr=0.003)
    assert names(train(model, optimizer, images())) == []


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("of_all", [False, True], ids=["optimizer of the head", "of all"])
def test_training_only_the_last_layer_on_purpose_has_no_finding(of_all, captured):
    body = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU())
    body[1].weight.data *= 40  # so that its features are as large as unscaled pixels
    model = nn.Sequential(body, nn.Linear(20, 10))
    params = model.parameters() if of_all else model[1].parameters()
    optimizer = tt.optim.Adam(params, lr=0.001)
    body.requires_grad_(False)

    def step(x, y):
        loss = tt.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step = tt.capture(step) if captured else step
    with tt.coach(step, show=None) as coach:
        for x, y in islice(images(), 70):
            coach(tt.Tensor(x), y)
    assert [name for name in names(coach) if name != "loss-at-start"] == []


def test_a_parameter_in_no_optimizer_is_found_unless_it_is_frozen():
    model = network()
    optimizer = tt.optim.Adam(model[3].parameters(), lr=0.003)
    coach = train(model, optimizer, images(), steps=3)
    (finding,) = coach.findings
    assert finding.name == "parameter-not-in-optimizer"
    assert finding.where == "layers.1.weight, layers.1.bias"


def test_a_trained_network_with_a_small_rate_has_no_finding():
    model = network()
    examples = images()
    train(model, tt.optim.Adam(model.parameters(), lr=0.003), examples, steps=300)
    coach = train(model, tt.optim.SGD(model.parameters(), lr=1e-5), examples, steps=70)
    assert names(coach) == []


@pytest.mark.parametrize(
    "schedule",
    [
        tt.optim.warm_up(tt.optim.constant(0.002), steps=5000),
        tt.optim.warm_up(tt.optim.cosine(0.002, steps=10_000), steps=5000),
        lambda step: 1e-7 * (step + 1),
    ],
    ids=["linear", "one cycle", "a function"],
)
def test_a_rate_that_still_rises_is_not_too_low(schedule):
    model = network()
    optimizer = tt.optim.SGD(model.parameters(), lr=schedule)
    assert names(train(model, optimizer, images(), steps=260)) == []


def test_a_rate_that_stays_too_low_is_named_after_its_warm_up():
    model = network()
    schedule = tt.optim.warm_up(tt.optim.constant(1e-5), steps=20)
    optimizer = tt.optim.SGD(model.parameters(), lr=schedule)
    coach = train(model, optimizer, images(), steps=70)
    assert [(finding.name, finding.step) for finding in coach.findings] == [("rate-too-low", 64)]


def test_two_classes_with_one_logit_have_no_finding():
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Tanh(), nn.Linear(20, 1))
    optimizer = tt.optim.Adam(model.parameters(), lr=0.003)
    examples = ((x, (y < 5).astype("float32")[:, None]) for x, y in images())
    loss = tt.binary_cross_entropy_with_logits
    assert names(train(model, optimizer, examples, loss)) == []


def test_two_optimizers_for_one_model_have_no_finding():
    model = network()
    body = tt.optim.SGD(model[1].parameters(), lr=0.1)
    head = tt.optim.Adam(model[3].parameters(), lr=0.003)
    with tt.coach(model, show=None) as coach:
        for x, y in islice(images(), 70):
            model.zero_grad()
            tt.cross_entropy(model(tt.Tensor(x)), y).backward()
            head.step()
            body.step()
    assert names(coach) == []


def test_gradients_added_up_on_purpose_have_no_finding():
    model = network()
    optimizer = tt.optim.Adam(model.parameters(), lr=0.003)
    with tt.coach(model, show=None) as coach:
        for i, (x, y) in enumerate(islice(images(), 80)):
            (tt.cross_entropy(model(tt.Tensor(x)), y) / 4).backward()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    assert names(coach) == []


def test_a_step_without_modules_and_optimizer_has_no_finding():
    w = tt.zeros(784, 10, requires_grad=True)

    def step(x, y):
        loss = tt.cross_entropy(x.reshape(-1, 784) @ w, y)
        loss.backward()
        w.data -= 0.5 * w.grad
        w.grad = None
        return loss

    with tt.coach(step, show=None) as coach:
        for x, y in islice(images(), 40):
            coach(tt.Tensor(x), y)
    assert names(coach) == []
    assert coach.progress.step == 40


# What the coach does ----------------------------------------------------------------------------


def test_gradients_kept_by_a_step_without_optimizer_are_found():
    w = tt.zeros(784, 10, requires_grad=True)

    def step(x, y):
        loss = tt.cross_entropy(x.reshape(-1, 784) @ w, y)
        loss.backward()
        w.data -= 0.5 * w.grad
        return loss

    with tt.coach(step, show=None) as coach:
        for x, y in islice(images(), 3):
            coach(tt.Tensor(x), y)
    assert names(coach) == ["gradients-not-cleared"]


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "captured"])
def test_a_watched_training_computes_the_same_bits(eager):
    def weights(coached):
        training = Training(find("2.2"), DATA, steps=20, eager=eager, evaluate_every=20)
        if coached:
            training.watch_mistakes(None)
        list(training)
        if coached:
            training.coach.close()
            assert eager or training._step.recordings == 1
        return [x.numpy() for x in training.model.parameters()]

    for one, other in zip(weights(False), weights(True), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_is_watched_through_a_captured_step():
    model = nn.Sequential(network(), nn.Softmax())
    optimizer = tt.optim.Adam(model.parameters(), lr=0.003)

    @tt.capture
    def step(x, y):
        loss = tt.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    with tt.coach(model, show=None) as coach:
        for x, y in islice(images(), 20):
            step(x, y)
    assert names(coach) == ["softmax-twice"]
    assert coach.progress.step == 16  # the last look
    assert step.recordings == 1


def test_a_finding_names_the_step_the_place_and_the_cure(capsys):
    model = nn.Sequential(network(), nn.Softmax())
    optimizer = tt.optim.Adam(model.parameters(), lr=0.003)
    with tt.coach(model) as coach:
        for x, y in islice(images(), 2):
            tt.cross_entropy(model(tt.Tensor(x)), y).backward()
            optimizer.step()
            optimizer.zero_grad()
    (finding,) = coach.findings
    assert finding.where == "layers.1: Softmax"
    assert finding.step == 1
    assert capsys.readouterr().out == f"{finding}\n"
    assert max(map(len, str(finding).splitlines())) <= 80
    assert json.loads(json.dumps(coach.to_json()))[0]["name"] == "softmax-twice"


def test_the_line_of_backward_is_named():
    w = tt.zeros(3, 1, requires_grad=True)
    with tt.coach(lambda: None, show=None) as coach:
        ((tt.ones(5, 3) @ w - tt.arange(5.0)) ** 2).mean().backward()
    (finding,) = [each for each in coach.findings if each.name == "loss-broadcast"]
    assert "test_coach.py:" in finding.where


def test_a_resumed_run_counts_from_its_first_step(tmp_path):
    lesson = replace(find("1.0"), model=lambda: nn.Sequential(network(), nn.Softmax()))
    training = Training(lesson, DATA, steps=8, evaluate_every=8)
    list(training)
    training.save(tmp_path / "run.safetensors")
    resumed = Training(lesson, DATA, steps=20, evaluate_every=20)
    resumed.resume(tmp_path / "run.safetensors")
    coach = resumed.watch_mistakes(None)
    list(resumed)
    coach.close()
    assert coach.progress.step == 12
    assert [(each.name, each.step) for each in coach.findings] == [("softmax-twice", 9)]


def test_other_models_are_not_watched():
    watched, other = network(), nn.Sequential(network(), nn.Softmax())
    optimizer = tt.optim.Adam(other.parameters(), lr=0.003)
    with tt.coach(watched, show=None) as coach:
        for x, y in islice(images(), 4):
            optimizer.zero_grad()
            tt.cross_entropy(other(tt.Tensor(x)), y).backward()
            optimizer.step()
        assert coach._called == []
    assert names(coach) == []
    assert coach.progress.first is None
    assert coach.progress.step == 0


@pytest.mark.parametrize(
    ("tests", "is_named"),
    [
        ((0.5, 0.068, 0.1, 0.109, 0.109), False),  # as in lesson 2.1, whose accuracy stays
        ((0.5, 0.4, 0.5, 0.7, 0.7), True),
        ((0.5, 0.4, 0.41, 0.7, 0.42), False),
    ],
)
def test_a_network_overfits_if_its_test_loss_rises_far(tests, is_named):
    with tt.coach(network(), show=None) as coach:
        coach.progress.classes = 10
        coach.progress.add_loss(2.3)
        for _ in range(16):
            coach.progress.add_loss(0.0002)
        for loss in tests:
            coach.tested(loss)
    assert ("overfitting" in names(coach)) == is_named


def test_a_rising_test_loss_without_a_training_loss_is_no_sign():
    with tt.coach(network(), show=None) as coach:
        for loss in (1.0, 0.5, 0.7, 0.9, 1.2):
            coach.tested(loss)
    assert names(coach) == []


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.Tanh()], ids=["sigmoid", "tanh"])
def test_an_activation_after_the_last_layer_is_named(activation):
    model = nn.Sequential(nn.Linear(4, 3), activation)
    with tt.coach(model, show=None) as coach:
        tt.cross_entropy(model(tt.randn(9, 4)), np.arange(9) % 3).backward()
    assert names(coach) == ["relu-on-logits"]


def test_weights_that_are_changed_without_an_optimizer_are_no_finding():
    model = nn.Linear(4, 3)
    x, labels = tt.randn(30, 4), np.arange(30) % 3
    with tt.coach(model, show=None) as coach:
        for _ in range(40):
            model.zero_grad()
            tt.cross_entropy(model(x), labels).backward()
            for p in model.parameters():
                p.data -= 0.1 * p.grad
    assert names(coach) == []


def test_data_that_are_no_data_set_are_refused():
    with pytest.raises(NotSupported, match="got data of type tuple; a data set is needed"):
        tt.coach(nn.Linear(2, 2), data=(np.zeros((2, 2)), np.zeros(2)))


def test_fit_can_be_watched():
    model = nn.Sequential(network(), nn.Softmax())
    few = DATA._replace(
        train_images=DATA.train_images[:1000], train_labels=DATA.train_labels[:1000]
    )
    with tt.coach(model, show=None) as coach:
        tt.fit(model, few, epochs=1, show=None)
    assert names(coach) == ["softmax-twice"]


def test_what_is_no_model_and_no_function_is_refused():
    with pytest.raises(NotSupported, match="got a int"):
        tt.coach(3)
    with tt.coach(nn.Linear(2, 2), show=None) as coach, pytest.raises(NotSupported):
        coach(tt.ones(1, 2))


def test_one_step_is_a_step():
    model = nn.Sequential(
        nn.Linear(4, 3, weight=nn.constant(0.01)), nn.Linear(3, 3, weight=nn.constant(0.01))
    )
    optimizer = tt.optim.SGD(model.parameters(), lr=0.1)
    examples = ((np.eye(4, dtype=np.float32)[[i, i + 1]], np.array([i, 2])) for i in range(2))
    coach = train(model, optimizer, examples, steps=1)
    (finding,) = [each for each in coach.findings if each.name == "weights-symmetric"]
    assert "are equal after 1 step; neurons: 3" in finding.evidence


def test_a_sample_of_a_large_array_has_about_most_values():
    assert sample(np.ones((784, 10))).size == 7840
    assert MOST_VALUES <= sample(np.ones((784, 200))).size < 2 * MOST_VALUES
    assert sample(np.ones((2, 100_000))).size > 0
    assert sample(np.ones(())).shape == ()


def test_restarting_a_watched_training_watches_the_new_one():
    training = Training(find("1.0"), DATA, steps=4)
    first = training.watch_mistakes(None)
    again = training.restarted()
    assert observers.active == (again.coach,)
    assert again.coach is not first
    again.coach.close()


def test_a_closed_coach_hears_nothing():
    model = nn.Sequential(network(), nn.Softmax())
    coach = Coach(model, show=None)
    coach.close()
    tt.cross_entropy(model(tt.rand(5, 28, 28, 1)), [1, 2, 3, 4, 5]).backward()
    assert names(coach) == []
    assert str(coach) == "coach: no mistake was found"


def test_a_step_that_failed_is_not_watched_any_more(capsys):
    """As in a notebook: a cell fails, is corrected, and is run again with a new coach."""

    def coached(labels):
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        optimizer = tt.optim.SGD(model.parameters(), lr=0.5)

        def step(images):
            loss = tt.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return tt.coach(tt.capture(step))

    images = tt.rand(20, 28, 28, 1)
    failed = coached(np.full(20, -1))
    with pytest.raises(tt.TinytensorError):
        failed(images)
    with coached(np.arange(20) % 10) as right:
        for _ in range(8):
            right(images)
    assert failed.findings == []
    assert "gradient" not in capsys.readouterr().out
