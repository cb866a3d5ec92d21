"""The ensemble of a mixture: the mixed predictions, and what scikit-learn expects of an estimator whose models are fitted."""

import pickle
import warnings

import numpy as np
import pytest

from mixfast import ExpertTable, Mixture, solve
from mixfast.errors import AlignmentError, TableError

pytest.importorskip("sklearn")

import sklearn
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.validation import check_is_fitted

from mixfast.experts import Ensemble

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 3))
Y = np.array(["a", "b", "c"])[(X + 0.5 * RNG.normal(size=X.shape)).argmax(axis=1)]
Z = X @ np.array([[1.0, 0.0], [2.0, -1.0], [0.5, 3.0]])
SEEN = np.flatnonzero(Y[:50] != "b")
CLASSIFIERS = {"all": LogisticRegression().fit(X[:50], Y[:50]), "some": LogisticRegression().fit(X[SEEN], Y[SEEN])}
REGRESSORS = {"u": LinearRegression().fit(X[:40], Z[:40]), "v": Ridge(alpha=50.0).fit(X[:40], Z[:40])}


def test_probabilities_are_mixed_over_all_classes():
    ensemble = Ensemble(CLASSIFIERS, Mixture({"some": 0.25, "all": 0.75}))
    expected = 0.75 * CLASSIFIERS["all"].predict_proba(X)
    expected[:, [0, 2]] += 0.25 * CLASSIFIERS["some"].predict_proba(X)
    assert ensemble.classes_.tolist() == ["a", "b", "c"]
    assert ensemble.predict_proba(X) == pytest.approx(expected)
    assert ensemble.predict(X).tolist() == np.array(["a", "b", "c"])[expected.argmax(axis=1)].tolist()
    assert ensemble.predict_log_proba(X) == pytest.approx(np.log(expected))
    assert ensemble.score(X, Y) == pytest.approx((ensemble.predict(X) == Y).mean())


def test_predictions_of_several_outputs_are_mixed():
    ensemble = Ensemble(REGRESSORS, {"u": 0.4, "v": 0.6})
    expected = 0.4 * REGRESSORS["u"].predict(X) + 0.6 * REGRESSORS["v"].predict(X)
    assert ensemble.predict(X) == pytest.approx(expected)
    assert not hasattr(ensemble, "predict_proba")
    assert not hasattr(ensemble, "classes_")


@pytest.mark.filterwarnings("ignore:the temperature")
def test_the_ensemble_has_the_loss_of_the_solution():
    table = ExpertTable.from_classifiers(
        CLASSIFIERS, X[70:], Y[70:], calibration="temperature", held_out=(X[50:70], Y[50:70])
    )
    solution = solve(table)
    ensemble = Ensemble(CLASSIFIERS, solution.mixture, temperature=table.temperature)
    place = np.searchsorted(ensemble.classes_, Y[70:])
    loss = -np.log(ensemble.predict_proba(X[70:])[np.arange(20), place]).mean()
    assert loss == pytest.approx(solution.value, abs=1e-9)


def test_models_without_a_share_are_not_called():
    class Broken:
        classes_ = ("a", "b", "c")

        def predict_proba(self, X):
            raise RuntimeError

    models = {"all": CLASSIFIERS["all"], "broken": Broken()}
    found = Ensemble(models, {"all": 1.0, "broken": 0.0}).predict_proba(X)
    assert found == pytest.approx(CLASSIFIERS["all"].predict_proba(X))
    with pytest.raises(TableError, match=r"expert of 'broken' \(Broken\): predict_proba failed"):
        Ensemble(models, {"all": 0.5, "broken": 0.5}).predict_proba(X)


def test_it_is_what_its_models_are_and_clones_keep_them():
    first, second = Ensemble(CLASSIFIERS, {"all": 0.5, "some": 0.5}), Ensemble(REGRESSORS, {"u": 1.0, "v": 0.0})
    assert is_classifier(first)
    assert not is_regressor(first)
    assert is_regressor(second)
    for ensemble in (first, second):
        copy = clone(ensemble)
        assert copy is not ensemble
        assert copy.get_params(deep=False) == ensemble.get_params(deep=False)
        check_is_fitted(copy)
        again = pickle.loads(pickle.dumps(ensemble))
        for other in (copy, again, ensemble.fit(X, Y)):
            assert np.array_equal(other.predict(X), ensemble.predict(X))
        assert ensemble.n_features_in_ == 3
    with pytest.raises(NotFittedError):
        check_is_fitted(Ensemble({"new": LogisticRegression()}, {"new": 1.0}))


def test_it_works_inside_tools_of_scikit_learn():
    ensemble = Ensemble(CLASSIFIERS, {"all": 0.5, "some": 0.5})
    assert cross_val_score(ensemble, X, Y, cv=3, scoring="neg_log_loss").shape == (3,)
    mixtures = [{"all": 0.0, "some": 1.0}, {"all": 1.0, "some": 0.0}]
    search = GridSearchCV(ensemble, {"mixture": mixtures}, scoring="accuracy", cv=3).fit(X, Y)
    assert search.best_params_ == {"mixture": mixtures[1]}


# Checks of scikit-learn for what an estimator must do that does not learn in `fit`. The others fit it to data of other shapes or labels, and
# expect it to follow them.
CHECKS = {
    "check_dict_unchanged",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_dont_overwrite_parameters",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_sparse_tag",
    "check_estimators_dtypes",
    "check_estimators_fit_returns_self",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1sample",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_get_params_invariance",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_pipeline_consistency",
    "check_readonly_memmap_input",
    "check_set_params",
    "check_valid_tag_types",
}


@pytest.mark.skipif(
    tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 7), reason="older versions stop at the first failed check"
)
@pytest.mark.parametrize("model", [DummyClassifier(), DummyRegressor()])
def test_the_checks_of_scikit_learn_pass_where_they_apply(model):
    from sklearn.utils.estimator_checks import check_estimator

    ensemble = Ensemble(
        {"m": model.fit(X, (X[:, 0] > 0.0).astype(int) if is_classifier(model) else Z[:, 0])}, {"m": 1.0}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(ensemble, on_fail=None)
    failed = {one["check_name"]: str(one["exception"]) for one in found if one["status"] == "failed"}
    assert {name: failed[name] for name in CHECKS & set(failed)} == {}
    assert {one["check_name"] for one in found} >= CHECKS


@pytest.mark.parametrize(
    ("mixture", "temperature", "error", "message"),
    [
        ({"all": 1.0}, None, AlignmentError, "Only in the models: some"),
        ({"all": 0.5, "some": 0.5}, {"one": 2.0}, AlignmentError, "temperature names one"),
        ({"all": 0.5, "some": 0.5}, {"all": 0.0}, TableError, "temperature of 'all' is 0.0"),
    ],
)
def test_models_mixture_and_temperature_must_agree(mixture, temperature, error, message):
    with pytest.raises(error, match=message):
        Ensemble(CLASSIFIERS, mixture, temperature).predict(X)


def test_lightgbm_models_are_experts():
    lightgbm = pytest.importorskip("lightgbm")
    options = {"n_estimators": 5, "min_child_samples": 3, "verbose": -1, "n_jobs": 1}
    models = {
        "first": lightgbm.LGBMClassifier(**options).fit(X[:40], Y[:40]),
        "second": lightgbm.LGBMClassifier(**options).fit(X[SEEN], Y[SEEN]),
    }
    table = ExpertTable.from_classifiers(models, X[50:], Y[50:])
    assert np.isneginf(table.loglik[Y[50:] == "b", 1]).all()
    found = Ensemble(models, solve(table).mixture).predict_proba(X[50:])
    assert found.sum(axis=1) == pytest.approx(1.0)
    unfitted = models | {"second": lightgbm.LGBMClassifier()}
    with pytest.raises(TableError, match=r"'second' \(LGBMClassifier\) is not fitted"):
        ExpertTable.from_classifiers(unfitted, X[50:], Y[50:])
    trees = {"tree": lightgbm.LGBMRegressor(**options).fit(X[:40], Z[:40, 0])}
    assert ExpertTable.from_regressors(trees, X[50:], Z[50:, 0]).prediction[:, 0] == pytest.approx(
        trees["tree"].predict(X[50:])
    )
