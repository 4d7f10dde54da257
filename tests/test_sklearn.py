"""tt.sklearn: scikit-learn's own checks, seeds, early stopping, pickles, and searches."""

import csv
import pickle
import subprocess
import sys

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import nn
from tinytensor.errors import AnomalyError, LabelError, SettingError, ShapeError
from tinytensor.logs import log_to

joblib = pytest.importorskip("joblib", reason="scikit-learn is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_digits, make_friedman1  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

Classifier, Regressor = tt.sklearn.Classifier, tt.sklearn.Regressor
DIGITS, LABELS = load_digits(return_X_y=True)
X, Y = DIGITS[:300] / 16, LABELS[:300]
FEATURES, TARGETS = make_friedman1(200, random_state=0)


@parametrize_with_checks([Classifier(), Regressor(), Regressor((64, 64), lr=0.01, patience=9)])
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_import_tinytensor_does_not_import_scikit_learn():
    code = "import sys, tinytensor as tt; tt.sklearn; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("tinytensor.extras.find_spec", lambda name: None)
    cure = r"scikit-learn is not installed; run: pip install 'tinytensor-engine\[sklearn\]'"
    with pytest.raises(SettingError, match=cure):
        tt.sklearn.Classifier  # noqa: B018
    with pytest.raises(AttributeError, match="it has Classifier, EpochReport, Regressor"):
        tt.sklearn.MLPClassifier  # noqa: B018


# Training


def dropping(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 9), nn.ReLU(), nn.Dropout(p=0.2), nn.Linear(9, outputs))


def test_the_same_seed_gives_the_same_bits(backend):
    def probabilities(seed):
        estimator = Classifier(model=dropping, epochs=3, seed=seed, patience=2)
        return estimator.fit(X, Y).predict_proba(X)

    first = probabilities(seed=1)
    tt.rand(5)  # the state of the random numbers has no influence
    assert (first == probabilities(seed=1)).all()
    assert (first != probabilities(seed=2)).any()


def test_a_fit_does_not_change_the_random_state():
    tt.manual_seed(0)
    expected = tt.rand(3).numpy()
    tt.manual_seed(0)
    Classifier(model=dropping, epochs=1).fit(X, Y).partial_fit(X, Y)
    assert (tt.rand(3).numpy() == expected).all()


def test_the_training_step_is_captured_once_for_each_size_of_a_batch(backend):
    estimator = Classifier((16,), batch=128, epochs=10).fit(X, Y)  # batches of 128, 128, 44
    estimator.partial_fit(X, Y)
    assert estimator._step.recordings == 2
    assert estimator.optimizer_.steps == 33


def test_it_learns_on_each_backend(backend):
    assert Classifier((32,), lr=0.01, epochs=30).fit(X, Y).score(X, Y) == 1
    y = TARGETS / 10
    assert Regressor((64,), lr=0.01).fit(FEATURES, y).score(FEATURES, y) > 0.9


def test_partial_fit_makes_the_steps_of_one_epoch_of_fit():
    fitted = Regressor(epochs=1).fit(FEATURES, TARGETS)
    partial = Regressor().partial_fit(FEATURES, TARGETS)
    assert (fitted.predict(FEATURES) == partial.predict(FEATURES)).all()
    assert len(partial.partial_fit(FEATURES, TARGETS).history_) == 2
    assert (fitted.predict(FEATURES) != partial.predict(FEATURES)).any()


def test_partial_fit_uses_a_changed_learning_rate():
    estimator = Regressor().partial_fit(FEATURES, TARGETS)
    before = estimator.predict(FEATURES)
    estimator.set_params(lr=0.0).partial_fit(FEATURES, TARGETS)
    assert (estimator.predict(FEATURES) == before).all()


def test_early_stopping_ends_with_the_parameters_of_the_best_epoch():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(100, 20)), rng.integers(2, size=100)  # nothing can be learnt
    estimator = Classifier(lr=0.01, patience=3).fit(x, noise)
    losses = [report.validation_loss for report in estimator.history_]
    assert len(losses) < estimator.epochs
    assert len(losses) == int(np.argmin(losses)) + 1 + estimator.patience
    _, held_out = estimator._split(100, noise)
    logits = estimator.model_(tt.Tensor(x[held_out], dtype="float32"))
    loss = tt.cross_entropy(logits, noise[held_out])
    assert loss.item() == pytest.approx(min(losses), rel=1e-6)


def test_rows_for_validation_have_all_classes():
    estimator = Classifier(patience=1, validation_fraction=0.2)
    train, held_out = estimator._split(len(Y), Y)
    assert sorted([*train, *held_out]) == list(range(len(Y)))
    assert len(held_out) == 60
    assert set(Y[held_out]) == set(range(10))


def test_callbacks_get_a_report_of_each_epoch_and_a_log_is_one(tmp_path):
    reports = []
    with log_to(tmp_path / "fit.csv") as log:
        Classifier(epochs=3, callbacks=(reports.append, log)).fit(X, Y)
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert reports[2].train_loss < reports[0].train_loss
    assert reports[0].validation_loss is None
    rows = list(csv.DictReader((tmp_path / "fit.csv").open()))
    assert [float(row["train_loss"]) for row in rows] == [report.train_loss for report in reports]


def convolution(inputs, outputs):
    class Net(nn.Module):
        def __init__(self):
            self.filters = nn.Conv2d(1, 8, size=3)
            self.last = nn.Linear(inputs * 8, outputs)

        def forward(self, x):
            return self.last(tt.relu(self.filters(x.reshape(-1, 8, 8, 1))).flatten(1))

    return Net()


def test_a_model_of_your_own():
    estimator = Classifier(model=convolution, lr=0.01, epochs=10).fit(X, Y)
    assert estimator.score(X, Y) > 0.95
    assert not estimator.model_.training


# Labels and targets


def test_classes_may_be_strings():
    names = np.array(["even", "odd"])[Y % 2]
    estimator = Classifier(epochs=30).fit(X, names)
    assert list(estimator.classes_) == ["even", "odd"]
    assert estimator.predict_proba(X).shape == (300, 2)
    assert estimator.score(X, names) > 0.95


def test_partial_fit_checks_the_classes():
    with pytest.raises(SettingError, match="the first call needs all classes"):
        Classifier().partial_fit(X, Y)
    estimator = Classifier().partial_fit(X[:5], [3, 4, 5, 3, 4], classes=range(10))
    assert estimator.partial_fit(X, Y).predict_proba(X).shape == (300, 10)
    with pytest.raises(LabelError, match=r"got label .*11.*; one of \[0 1 2"):
        estimator.partial_fit(X[:1], [11])
    with pytest.raises(SettingError, match="the first call had"):
        estimator.partial_fit(X, Y, classes=range(9))


def test_several_targets():
    both = np.stack([TARGETS, -TARGETS], axis=1)
    estimator = Regressor(epochs=2).fit(FEATURES, both)
    assert estimator.predict(FEATURES).shape == (200, 2)
    with pytest.raises(ShapeError, match=r"got y \(200,\); the first call had 2 targets"):
        estimator.partial_fit(FEATURES, TARGETS)


# Wrong settings


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("epochs", 0, "epochs=0; a whole number from 1 up"),
        ("batch", 0, "batch=0; a whole number from 1 up"),
        ("seed", -1, "seed=-1; a whole number from 0 up"),
        ("patience", 0, "patience=0; a whole number from 1 up"),
        ("hidden_layer_sizes", (10, 0), "hidden_layer_sizes=0; a whole number from 1 up"),
        ("validation_fraction", 1.0, "validation_fraction=1.0; a number between 0 and 1"),
        ("lr", -1.0, "lr"),
        ("model", nn.Linear(64, 10), r"got model=Linear.*; a function of the numbers of features"),
        ("model", "mlp", "got model='mlp'; a function of the numbers of features"),
        ("model", lambda inputs, outputs: None, "model returned a NoneType; a function"),
        ("callbacks", print, "got callbacks=<built-in function print>; a list of functions"),
        ("callbacks", [1], r"got callbacks=\[1\]; a list of functions"),
    ],
)
def test_a_wrong_setting_is_an_error_of_fit(setting, value, words):
    estimator = Classifier(patience=3).set_params(**{setting: value})
    with pytest.raises(SettingError, match=words):
        estimator.fit(X, Y)


@pytest.mark.parametrize("patience", [None, 3])
def test_a_model_with_other_outputs_is_an_error_of_fit(patience):
    def wide(inputs, outputs):
        return nn.Linear(inputs, 15)

    class Flat(nn.Linear):
        def forward(self, x):
            return super().forward(x).reshape(-1)

    with pytest.raises(ShapeError, match="the model returns 15 outputs; 10 classes are needed"):
        Classifier(model=wide, patience=patience).fit(X, Y)
    with pytest.raises(ShapeError, match="the model returns 15 outputs; 2 targets are needed"):
        Regressor(model=wide, patience=patience).fit(FEATURES, np.stack([TARGETS] * 2, 1))
    with pytest.raises(ShapeError, match=r"shape \(32,\) for 32 rows; \(32, 1\) is needed"):
        Regressor(model=Flat, patience=patience).fit(FEATURES, TARGETS)


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(AnomalyError, match=r"fit: the loss is .* in epoch 1; scale X"):
        Regressor(lr=1e20).fit(FEATURES, TARGETS)


# Pickles and searches


def test_a_pickle_predicts_and_trains_on_with_the_same_bits():
    estimator = Classifier(model=dropping, epochs=3).fit(X, Y)
    tt.manual_seed(0)
    expected = tt.rand(3).numpy()
    tt.manual_seed(0)
    other = pickle.loads(pickle.dumps(estimator))
    assert (tt.rand(3).numpy() == expected).all(), "loading draws no number of the user's"
    assert (other.predict_proba(X) == estimator.predict_proba(X)).all()
    for each in (estimator, other):
        each.partial_fit(X, Y)
    assert (other.predict_proba(X) == estimator.predict_proba(X)).all()


def test_a_pickle_has_the_network_of_the_fit_after_a_setting_has_changed():
    estimator = Classifier((8,), epochs=1).fit(X, Y).set_params(hidden_layer_sizes=(4,))
    other = pickle.loads(pickle.dumps(estimator))
    assert (other.predict_proba(X) == estimator.predict_proba(X)).all()


def test_a_clone_has_the_settings_and_no_network():
    estimator = clone(Classifier((8,), lr=0.5).fit(X, Y))
    assert estimator.get_params()["lr"] == 0.5
    assert not hasattr(estimator, "model_")


def search(n_jobs=1):
    pipeline = make_pipeline(MinMaxScaler(), Classifier(epochs=10))
    grid = {"classifier__hidden_layer_sizes": [(2,), (32,)], "classifier__lr": [1e-5, 0.01]}
    return GridSearchCV(pipeline, grid, cv=3, n_jobs=n_jobs).fit(DIGITS[:600], LABELS[:600])


def test_a_search_finds_the_settings_that_learn():
    found = search()
    assert found.best_params_ == {
        "classifier__hidden_layer_sizes": (32,),
        "classifier__lr": 0.01,
    }
    assert found.score(DIGITS[600:], LABELS[600:]) > 0.85


@pytest.mark.parametrize("kind", ["threading", pytest.param("loky", marks=pytest.mark.full)])
def test_a_search_in_two_threads_or_processes_has_the_same_scores(kind):
    with joblib.parallel_backend(kind, n_jobs=2):
        parallel = search(n_jobs=2)
    assert (
        parallel.cv_results_["mean_test_score"] == search().cv_results_["mean_test_score"]
    ).all()
