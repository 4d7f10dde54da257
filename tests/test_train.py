"""The training loop: short runs, resuming, errors. test_lessons.py trains the lessons in full."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import checkpoint, nn, random, run_state
from tinytensor.evaluation import EVALUATION_BATCH, evaluate, probabilities
from tinytensor.lessons import find, lessons
from tinytensor.live.details import details_of
from tinytensor.saved_model import load_model
from tinytensor.saver import Saver
from tinytensor.train import AVERAGES_FROM, Training, seconds_a_step, train

DATA = tt.datasets.mnist()
SMALL = DATA._replace(test_images=DATA.test_images[:200], test_labels=DATA.test_labels[:200])
TINY = SMALL._replace(
    train_images=DATA.train_images[:130],
    train_labels=DATA.train_labels[:130],
    test_images=DATA.test_images[-10:],
    test_labels=DATA.test_labels[-10:],
)
SOFTMAX = find("softmax")


def test_softmax_learns(backend):
    *_, last = train(SOFTMAX, DATA, steps=300, evaluate_every=100)
    assert last.step == 300
    assert last.test_accuracy > 0.89
    assert last.test_loss < 0.40
    assert last.train_accuracy > 0.8


@pytest.mark.full
def test_first_losses_agree_across_backends():
    losses = {}
    for name in BACKENDS:
        with tt.backend(name):
            reports = list(train(SOFTMAX, DATA, steps=20, evaluate_every=1))
        losses[name] = [report.train_loss for report in reports]
        assert [report.step for report in reports] == list(range(1, 21))
    assert losses["numpy"][0] == pytest.approx(np.log(10)), "ten digits with equal probability"
    for name in BACKENDS:
        np.testing.assert_allclose(losses[name], losses["numpy"], rtol=1e-5, err_msg=name)


def test_same_seed_same_bits(backend):
    def losses(seed):
        return [r.test_loss for r in train(SOFTMAX, DATA, steps=10, seed=seed, evaluate_every=5)]

    assert losses(3) == losses(3)
    assert losses(3) != losses(4)


@pytest.mark.skipif("c" not in BACKENDS, reason="the C backend does not work here")
@pytest.mark.parametrize("lesson", ["2.2", "3.1", "4.1", "small", "best"])
def test_a_captured_step_is_one_call_of_c(lesson):
    """Also with moving averages of the weights, whose decay a Python function computes."""
    with tt.backend("c"):
        training = Training(replace(find(lesson), batch=8), SMALL, steps=2, evaluate_every=2)
        training.make_step()
        assert training._step.program.is_one_call


@pytest.mark.parametrize("lesson", ["dropout", "batchnorm-relu", "best"])
def test_captured_and_eager_training_give_the_same_bits(lesson):
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
        reports[eager].append([x.numpy() for x in run_state.tensors(training).values()])
    np.testing.assert_equal(reports[False], reports[True])


def test_steps_of_the_reports():
    steps = [r.step for r in train(SOFTMAX, DATA, steps=25, evaluate_every=10)]
    assert steps == [10, 20, 25]
    (only,) = train(SOFTMAX, DATA, steps=0)
    assert (only.step, only.train_loss, only.train_accuracy) == (0, None, None)
    assert only.test_loss == pytest.approx(np.log(10))


def test_each_phase_has_its_time():
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
def test_invalid_settings_raise(settings, words):
    with pytest.raises(tt.SettingError, match=words):
        train(SOFTMAX, DATA, **settings)


def test_find_by_name_and_number():
    for lesson in lessons():
        assert find(lesson.name) is lesson
        assert find(lesson.number) is lesson
    with pytest.raises(tt.UnknownName, match=r"none named 'sofmax'; did you mean 'softmax'\?"):
        find("sofmax")
    with pytest.raises(tt.UnknownName, match=r"choose from softmax, 1\.0"):
        find("transformer")


def test_evaluate_includes_the_last_partial_batch(backend):
    """The network gets EVALUATION_BATCH images at a time; the last batch is smaller."""
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


@pytest.mark.parametrize("count", [0, 20, 31])
def test_evaluate_needs_one_label_per_image(count):
    labels = np.zeros(count, np.int64)
    with pytest.raises(tt.ShapeError, match=f"evaluate: got {count} test labels for 30 images"):
        evaluate(find("softmax").model(), DATA.test_images[:30], labels)


def modes(model):
    """Returns the training mode of each module, by its path."""
    return {path: module.training for path, module in model.named_modules()}


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("name", ["dropout", "batchnorm-sigmoid"])
def test_evaluation_restores_the_mode_of_each_module(name, mode):
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


def test_probabilities_use_evaluation_mode():
    images = SMALL.test_images[:5]
    for name in ("dropout", "batchnorm-sigmoid"):
        model = find(name).model()
        state = {key: x.numpy().copy() for key, x in model.state_dict().items()}
        wanted = tt.ops.softmax(model.eval()(tt.Tensor(tt.datasets.to_float(images))))
        np.testing.assert_array_equal(probabilities(model.train(), images), wanted.numpy())
        np.testing.assert_equal({k: x.numpy() for k, x in model.state_dict().items()}, state)


def test_timing_steps_restores_the_random_state():
    before = random.state().copy()
    assert seconds_a_step(SOFTMAX, SMALL, steps=2) > 0
    np.testing.assert_array_equal(random.state(), before)


@pytest.mark.full
def test_evaluation_does_not_change_training(backend):
    """Dropout and batch norm give the same losses for any number of evaluations."""
    for name in ("dropout", "batchnorm-sigmoid", "best"):
        each_step = [r.train_loss for r in Training(find(name), SMALL, steps=6, evaluate_every=1)]
        at_the_end = [r.train_loss for r in Training(find(name), SMALL, steps=6, evaluate_every=6)]
        assert at_the_end == each_step[-1:]


def test_reported_learning_rates():
    rates = [r.rate for r in train(find("relu"), SMALL, steps=3, evaluate_every=1)]
    assert rates == [pytest.approx(0.0001 + 0.003 * np.exp(-t / 2000)) for t in range(3)]
    (only,) = train(SOFTMAX, SMALL, steps=0)
    assert only.rate == 0.5, "0.005 on the sum of 100 losses"


@pytest.mark.parametrize(("name", "highest"), [("fast", 0.025), ("best", 0.01)])
@pytest.mark.parametrize("steps", [20, 600, 1500])
def test_a_schedule_falls_to_zero_at_the_last_step(name, highest, steps):
    training = Training(find(name), SMALL, steps=steps)
    rates = [training.optimizer.schedule(step) for step in range(steps + 1)]
    assert 0.5 * highest < max(rates) < highest
    assert rates[0] < 0.21 * highest, "warmed up"
    assert rates[steps - 1] < 0.01 * highest
    assert rates[steps] == pytest.approx(0, abs=1e-12)
    assert rates[steps // 2] == pytest.approx(highest / 2)
    (report,) = train(find(name), SMALL, steps=0)
    assert report.rate >= 0


# Saving and resuming


def state_of(training):
    """Returns all that a checkpoint stores of a training."""
    state = {name: x.numpy().tobytes() for name, x in run_state.tensors(training).items()}
    return state | {"random": random.generator_state(), "best": training.best}


def contents(file):
    """Returns the tensors of a checkpoint as bytes, and its metadata."""
    tensors, about = checkpoint.read(file)
    return {name: x.numpy().tobytes() for name, x in tensors.items()}, about


def train_and_save(training, file, until):
    """Train with a Saver until a step; return the losses and learning rates of the steps."""
    saver = Saver(training, file, validation=(DATA.test_images[:20], DATA.test_labels[:20]))

    def after_step():
        tt.rand(3)  # so that the state of the generator changes
        training.stop = training.step == until
        saver()

    training.after_step = after_step
    losses = [(report.step, report.train_loss, report.test_loss) for report in training]
    saver.finish()
    return losses


def check_that_resuming_changes_no_bit(folder, name, n, every, eager=False):
    """Compare 2 n steps with n steps, a checkpoint and n steps: all losses, tensors, metadata."""

    def made():
        settings = {"seed": 5, "batch": 3, "evaluate_every": every, "eager": eager}
        return Training(find(name), TINY, steps=2 * n, **settings)

    for path in ("whole", "first", "second"):
        (folder / path).mkdir()
    whole, first = made(), made()
    random.manual_seed(5)
    losses = train_and_save(whole, folder / "whole/run", until=2 * n)
    wanted = state_of(whole)
    random.manual_seed(5)
    before = train_and_save(first, folder / "first/run", until=n)
    tt.manual_seed(99)  # other code changes the random state
    second = made()
    second.resume(folder / "first/run")
    assert second.step == n
    assert before + train_and_save(second, folder / "second/run", until=2 * n) == losses
    assert state_of(second) == wanted
    assert contents(folder / "second/run") == contents(folder / "whole/run")
    best = folder / ("second" if second.best.step >= n else "first") / "best.safetensors"
    assert contents(best) == contents(folder / "whole/best.safetensors")


def test_n_steps_saved_and_n_resumed_equal_2_n_steps(tmp_path):
    check_that_resuming_changes_no_bit(tmp_path, "best", n=4, every=1)


@pytest.mark.full
@pytest.mark.parametrize("eager", [False, True], ids=["captured", "eager"])
@pytest.mark.parametrize("name", [lesson.name for lesson in lessons()])
def test_n_steps_saved_and_n_resumed_equal_2_n_steps_for_all(backend, tmp_path, name, eager):
    """If weights are averaged, 2 n steps pass the step from which the averages are tested."""
    n = 6 if find(name).average is None else AVERAGES_FROM // 2 + 2
    check_that_resuming_changes_no_bit(tmp_path, name, n, every=n // 3, eager=eager)


def test_resuming_a_finished_run_evaluates_it(tmp_path):
    done = Training(SOFTMAX, SMALL, steps=4)
    *_, last = done
    done.save(tmp_path / "run")
    again = Training(SOFTMAX, SMALL, steps=4)
    again.resume(tmp_path / "run")
    (only,) = again
    assert (only.step, only.train_loss, only.test_loss) == (4, None, last.test_loss)


LIKE_BEST = find("best")


def changed_network(change):
    """The lesson best whose network was changed by a function after it was made."""

    def model(classes=10):
        network = LIKE_BEST.model(classes)
        change(network)
        return network

    return replace(LIKE_BEST, model=model)


def change_forward(network):
    """Change the code of a layer, without a change of its class's name or of its settings."""

    class Linear(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 0.5

    network.layers[-1].__class__ = Linear


def with_adam(**settings):
    return replace(LIKE_BEST, optimizer=lambda params: tt.optim.Adam(params, **settings))


OTHERS = {
    "lesson": ({"lesson": find("conv")}, r"is of lesson best; lesson 3\.0 is needed"),
    "seed": ({"seed": 1}, "is of seed 0; seed 1 is needed"),
    "batch": ({"batch": 5}, "is of batch 10; batch 5 is needed"),
    "steps": ({"steps": 30}, "is of a run of 20 steps, .*; got 30 steps, and 20 are needed"),
    "images": (
        {"data": TINY._replace(train_images=TINY.train_images[::-1])},
        r"is of a run on data with checksum [0-9a-f]{16}; got .* checksum [0-9a-f]{16}, and",
    ),
    "labels": (
        {"data": TINY._replace(train_labels=TINY.train_labels[::-1])},
        "is of a run on data with checksum",
    ),
    "augmentation": (
        {"lesson": replace(LIKE_BEST, augment=tt.datasets.augment.distort(shift=1))},
        "can't continue with the same bits: the next batch has other images",
    ),
    "schedule": (
        {"lesson": replace(LIKE_BEST, rate=lambda steps: tt.optim.cosine(0.02, steps))},
        "can't continue with the same bits: the next learning rate is another one",
    ),
    "loss": (
        {
            "lesson": replace(
                LIKE_BEST, loss=lambda x, y: tt.cross_entropy(x, y, label_smoothing=0.1)
            )
        },
        "can't continue with the same bits: the network has other outputs or another loss",
    ),
    "forward": (
        {"lesson": changed_network(change_forward)},
        "can't continue with the same bits: the network has other outputs or another loss",
    ),
    "dropout": (
        {"lesson": changed_network(lambda network: setattr(network[-2], "keep_prob", 0.7))},
        r"is of another run: layers\.21: keep_prob is 0\.6, and 0\.7 is needed",
    ),
    "averages of batch norm": (
        {"lesson": changed_network(lambda network: setattr(network[1], "decay", 0.9))},
        r"is of another run: layers\.1: decay is 0\.99, and 0\.9 is needed",
    ),
    "optimiser": (
        {"lesson": replace(LIKE_BEST, optimizer=tt.optim.RMSprop)},
        "is of another run: class is Adam, and RMSprop is needed",
    ),
    "its settings": (
        {"lesson": with_adam(beta1=0.8)},
        r"is of another run: beta1 is 0\.9, and 0\.8 is needed",
    ),
    "average": (
        {"lesson": replace(LIKE_BEST, average=0.5)},
        r"is of average 0\.999; average 0\.5 is needed",
    ),
}


@pytest.fixture(scope="module")
def checkpoint_of_best(tmp_path_factory):
    file = tmp_path_factory.mktemp("checkpoint") / "run"
    training = Training(LIKE_BEST, TINY, steps=20, batch=10)
    for _ in range(3):
        training.make_step()
    with tt.backend("numpy"):
        training.save(file)
    return file


@pytest.mark.parametrize("name", OTHERS)
def test_resuming_another_run_raises(checkpoint_of_best, name):
    changes, words = OTHERS[name]
    settings = {"lesson": LIKE_BEST, "data": TINY, "steps": 20, "batch": 10} | changes
    training = Training(settings.pop("lesson"), settings.pop("data"), **settings)
    before = state_of(training)
    with tt.backend("numpy"), pytest.raises(tt.DataError, match=f"resume: .*run {words}"):
        training.resume(checkpoint_of_best)
    assert state_of(training) == before
    assert training.step == 0
    np.testing.assert_array_equal(training.next_batch()[0], training.restarted().next_batch()[0])


def test_resuming_the_same_run_does_not_raise(checkpoint_of_best):
    training = Training(LIKE_BEST, TINY, steps=20, batch=10)
    with tt.backend("numpy"):
        training.resume(checkpoint_of_best)
    assert training.step == 3


def test_state_that_a_checkpoint_does_not_have_raises(tmp_path):
    """An optimiser and a layer with arrays and counters that state_dict() doesn't have."""

    class Heavy(tt.optim.Optimizer):
        def __init__(self, params, where):
            super().__init__(params, lr=0.1)
            zeros = [np.zeros(x.shape, np.float32) for x in self.params]
            self.velocity = {
                "state": self._allocate("velocity"),
                "arrays": zeros,
                "tensors": [tt.from_numpy(x) for x in zeros],
            }[where]

        def _update(self, i, grad, param):
            velocity = self.velocity[i]
            velocity = velocity.numpy() if isinstance(velocity, tt.Tensor) else velocity
            velocity += grad
            param -= self.lr * velocity

    class Counting(nn.Linear):
        def __init__(self):
            super().__init__(784, 10)
            self.calls = {"calls": 0}

        def forward(self, x):
            self.calls["calls"] += 1
            return super().forward(x)

    def resumed(lesson):
        first, second = (Training(lesson, TINY, steps=9, batch=10, eager=True) for _ in range(2))
        first.make_step()
        first.save(tmp_path / "run")
        second.resume(tmp_path / "run")

    resumed(replace(SOFTMAX, optimizer=lambda params: Heavy(params, "state")))
    for where in ("arrays", "tensors"):
        words = r"is of another run: velocity is \['.*', '.*'\], and .* is needed"
        with pytest.raises(tt.DataError, match=words):
            resumed(replace(SOFTMAX, optimizer=lambda params, where=where: Heavy(params, where)))
    with pytest.raises(tt.DataError, match=r"layers\.1: calls: calls is 1, and 0 is"):
        resumed(replace(SOFTMAX, model=lambda _=10: nn.Sequential(nn.Flatten(), Counting())))


@pytest.mark.skipif(len(BACKENDS) == 1, reason="one backend")
def test_resuming_with_other_rounding_raises(tmp_path):
    file = tmp_path / "run"
    training = Training(SOFTMAX, TINY, batch=10)
    for name in BACKENDS:
        with tt.backend(name):
            training.save(file)
        for other in BACKENDS:
            with tt.backend(other):
                if name == other:
                    training.resume(file)
                    continue
                words = f"is of a run on the backend {name}; got {other}, which rounds differently"
                with pytest.raises(tt.DataError, match=words):
                    training.resume(file)
    words = r"got .*, matmul by numba\.naive, which may round"
    by_rung = tt.use_kernel("matmul", "numba.naive")
    with tt.backend(name), by_rung, pytest.raises(tt.DataError, match=words):
        training.resume(file)


def test_the_number_of_threads_matters_on_numpy_only(tmp_path):
    training = Training(SOFTMAX, TINY, batch=10)
    for name in BACKENDS:
        with tt.backend(name):
            tt.set_num_threads(2)
            training.save(tmp_path / "run")
            tt.set_num_threads(1)
            if name != "numpy":
                training.resume(tmp_path / "run")
                continue
            words = r"openblas, 2 thread\(s\); got numpy .*, 1 thread\(s\), which may round"
            with pytest.raises(tt.DataError, match=words):
                training.resume(tmp_path / "run")


def test_the_metadata_of_a_checkpoint(tmp_path):
    training = Training(find("relu"), TINY, steps=7, batch=10, seed=3)
    list(training)
    training.save(tmp_path / "run")
    about = checkpoint.about(tmp_path / "run")
    backend = tt.current_backend()
    for name, value in {
        "tinytensor": tt.__version__, "numpy": np.__version__, "lesson": "2.1", "step": "7",
        "seed": "3", "batch": "10", "backend": backend.name,
    }.items():  # fmt: skip
        assert about[name] == value
    assert backend.description in about["computed_by"]


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    file = tmp_path / "run"
    training = Training(SOFTMAX, TINY, batch=10)
    training.save(file)
    before = file.read_bytes()
    training.model.state_dict()["weight"].numpy()[3, 4] = np.inf
    with pytest.raises(tt.AnomalyError, match="save: weight has NaN or infinity after step 0"):
        training.save(file)
    assert file.read_bytes() == before


def test_resuming_with_another_number_of_steps_raises_if_the_schedule_needs_it(tmp_path):
    file = tmp_path / "run"
    saved = Training(find("fast"), SMALL, steps=30, batch=10, evaluate_every=1)
    losses = []
    for report in saved:
        losses.append(report.train_loss)
        if report.step == 3:
            saved.save(file)
        saved.stop = report.step == 5
    words = "is of a run of 30 steps, .*; got 550 steps, and 30 are needed"
    with pytest.raises(tt.DataError, match=words):
        Training(find("fast"), SMALL, batch=10).resume(file)
    rest = Training(find("fast"), SMALL, steps=30, batch=10, evaluate_every=1)
    rest.resume(file)
    for report, loss in zip(rest, losses[3:], strict=False):
        assert report.train_loss == loss
    assert rest.step > 3


def test_resuming_from_a_wrong_file_raises(tmp_path):
    file = tmp_path / "run"
    training = Training(SOFTMAX, SMALL)
    with pytest.raises(tt.DataError, match="run can't be read: No such file"):
        training.resume(file)
    training.save(file)
    about, tensors = checkpoint.about(file), checkpoint.load(file)
    before = state_of(training)

    def resuming_raises(words, tensors, about):
        checkpoint.save(file, tensors, about)
        with pytest.raises(tt.DataError, match=words):
            training.resume(file)
        assert state_of(training) == before

    changed = {name: x + 1 for name, x in tensors.items()}
    del changed["masks"], changed["model.bias"]
    changed |= {"head": tt.ones(1), "model.weight": tt.ones(10, 784), "optimizer.steps": tt.ones(2)}
    resuming_raises(
        r"resume: .*run: model\.bias is missing; masks is missing; head is unknown; "
        r"model\.weight has shape \(10, 784\), \(784, 10\) is needed; "
        r"optimizer\.steps has shape \(2,\), \(1,\) is needed",
        changed,
        about,
    )
    resuming_raises("is of lesson unknown", tensors, {})
    resuming_raises(
        "is of step unknown; an integer", tensors, {n: about[n] for n in about if n != "step"}
    )
    resuming_raises("is of step -1; an integer", tensors, about | {"step": "-1"})
    words = "got the state '.*' of the random numbers; a state of PCG64 is needed"
    for text in ("", "no JSON", "[]", '{"bit_generator": "MT19937"}'):
        resuming_raises(words, tensors, about | {"generator": text})
    for text in ("no JSON", "3", "[1]", '["x", 0.5]', "[null, 1]"):
        resuming_raises(r"\[step, accuracy\] is needed", tensors, about | {"best": text})
    for text in ("no JSON", "3", '{"layers.0": 1}'):
        resuming_raises("a JSON object is needed", tensors, about | {"network": text})
    moved = about | {"next_batch": about["next_batch"][::-1]}
    resuming_raises("the next batch has other images or labels", tensors, moved)
    with pytest.raises(tt.DataError, match="can't be written"):
        training.save(tmp_path / "no" / "folder")


def test_loading_a_model_that_does_not_fit_its_lesson_raises(tmp_path):
    file = tmp_path / "run"
    training = Training(SOFTMAX, SMALL)
    training.save(file)
    lesson, model = load_model(file)
    assert lesson is SOFTMAX
    assert not model.training
    about, tensors = checkpoint.about(file), checkpoint.load(file)
    checkpoint.save(file, tensors, about | {"lesson": "9.9"})
    with pytest.raises(tt.DataError, match=r"run is of lesson 9\.9, which doesn't exist here"):
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


def test_probabilities_of_many_images_are_computed_in_parts():
    """Because 10,000 images at once would need gigabytes in a convolutional network."""
    sizes = []

    class Recorder(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return x.reshape(-1, 784)[:, 200:210]

    images = DATA.test_images[: 2 * EVALUATION_BATCH + 7]
    probs = probabilities(Recorder(), images)
    assert sizes == [EVALUATION_BATCH, EVALUATION_BATCH, 7]
    assert probs.shape == (len(images), 10)
    np.testing.assert_array_equal(probs[-7:], probabilities(Recorder(), images[-7:]))


# Predictions


def test_predictions_belong_to_the_last_report():
    training = Training(find("conv-dropout"), SMALL, steps=4, batch=10, evaluate_every=2)
    assert training.predictions is None
    for report in training:
        images, labels, predictions, test_predictions = training.predictions
        assert images.shape == (10, 28, 28, 1)
        assert labels.shape == predictions.shape == (10,)
        assert (predictions == labels).mean() == report.train_accuracy
        assert test_predictions.shape == (200,)
        assert (test_predictions == SMALL.test_labels).mean() == report.test_accuracy


def test_no_predictions_before_the_first_step():
    training = Training(SOFTMAX, SMALL, steps=0)
    assert len(list(training)) == 1
    assert training.predictions is None


# Errors


@pytest.mark.parametrize(("name", "lr"), [("softmax", 1e38), ("relu", 1e30)])
def test_a_loss_of_nan_or_infinity_stops_the_training(backend, name, lr):
    lesson = replace(find(name), optimizer=lambda params: tt.optim.SGD(params, lr=lr))
    training = Training(lesson, SMALL, steps=50, evaluate_every=10)
    with pytest.raises(tt.AnomalyError) as caught, np.errstate(all="ignore"):
        list(training)
    assert 2 <= training.step < 10
    words = f"the loss is nan at step {training.step}"
    assert words in str(caught.value) or words.replace("nan", "inf") in str(caught.value)
    assert f"a learning rate that is too large ({lr:g} here)" in str(caught.value)


def test_nan_after_the_last_step_is_found_by_the_evaluation(backend):
    lesson = replace(SOFTMAX, optimizer=lambda params: tt.optim.SGD(params, lr=1e38))
    training = Training(lesson, SMALL, steps=1)
    with pytest.raises(tt.AnomalyError) as caught, np.errstate(all="ignore"):
        list(training)
    assert "train: the test loss is nan at step 1, and training can't recover" in str(caught.value)


def test_stop_ends_the_run():
    training = Training(SOFTMAX, DATA, steps=1000, evaluate_every=5)
    reports = iter(training)
    assert next(reports).step == 5
    training.stop = True
    assert [report.step for report in reports] == [6]


def test_resuming_with_fewer_steps_than_made_raises(tmp_path):
    training = Training(SOFTMAX, DATA, steps=5)
    list(training)
    training.save(tmp_path / "run")
    with pytest.raises(
        tt.SettingError, match="has made 5 steps; got steps=3, and 5 or more are needed"
    ):
        Training(SOFTMAX, DATA, steps=3).resume(tmp_path / "run")


# A network of one's own ---------------------------------------------------------------------------


def test_fit_trains_in_place_and_reports_each_epoch():
    tt.manual_seed(0)
    model = tt.nn.Sequential(tt.nn.Flatten(), tt.nn.Linear(784, 10))
    before = model[1].weight.numpy().copy()
    optimizer = tt.optim.SGD(model.parameters(), lr=0.5)
    reports = []
    last = tt.fit(model, SMALL, epochs=3, batch=10, optimizer=optimizer, show=reports.append)
    steps = len(SMALL.train_images) // 10
    assert [report.step for report in reports] == [steps, 2 * steps, 3 * steps]
    assert last is reports[-1]
    assert last.rate == 0.5
    assert optimizer.steps == 3 * steps
    assert not np.array_equal(model[1].weight.numpy(), before)
    _, test_loss, _ = evaluate(model, SMALL.test_images, SMALL.test_labels)
    assert last.test_loss == pytest.approx(test_loss)
    with pytest.raises(tt.SettingError, match="fit: got epochs=0; a whole number from 1"):
        tt.fit(model, SMALL, epochs=0)
    with pytest.raises(tt.SettingError, match="fit: got epochs='a'; a whole number from 1"):
        tt.fit(model, SMALL, epochs="a")
    with pytest.raises(tt.SettingError, match="fit: got batch=0; a whole number from 1"):
        tt.fit(model, SMALL, batch=0)
    with pytest.raises(tt.NotSupported, match="fit: got a dict as data; a data set is needed"):
        tt.fit(model, {"x": SMALL.train_images})
