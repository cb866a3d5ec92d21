"""Fitted models as experts: tables of classifiers and regressors against plain numpy and scikit-learn, and one error for each bad input."""

import pickle
import re
import warnings

import numpy as np
import pytest

from mixfast import ExpertTable, Mixture, solve
from mixfast.errors import MixfastWarning, MixtureError, TableError
from mixfast.experts import predictions, true_class_probabilities

linear = pytest.importorskip("sklearn.linear_model")
cluster = pytest.importorskip("sklearn.cluster")
ensemble = pytest.importorskip("sklearn.ensemble")


def rows_of(seed=0, n=240, classes=("a", "b", "c")):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    score = 1.5 * X[:, : len(classes)] + rng.normal(size=(n, len(classes)))
    return X, np.array(classes)[score.argmax(axis=1)]


def fitted(X, y):
    return linear.LogisticRegression().fit(X, y)


class Fixed:
    """A classifier that returns what it was given, in float32 as XGBoost does, for classes in any order."""

    def __init__(self, proba, classes):
        self.proba, self.classes_ = np.asarray(proba, dtype=np.float32), np.asarray(classes)

    def predict_proba(self, X):
        return self.proba


# --- probabilities ----------------------------------------------------------------------------------------------------


def test_classes_may_be_missing_and_in_another_order():
    first = Fixed([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]], ["b", "a"])
    second = Fixed([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.25, 0.25, 0.5]], ["c", "a", "b"])
    found = true_class_probabilities({"x": first, "y": second}, np.zeros((3, 1)), ["a", "b", "c"])
    assert found == pytest.approx(np.array([[0.8, 0.2], [0.6, 0.4], [0.0, 0.25]]), abs=1e-6)


def test_a_table_of_classifiers_is_solved_as_the_plain_log_loss():
    metrics = pytest.importorskip("sklearn.metrics")
    X, y = rows_of()
    models = {"x": fitted(X[:60], y[:60]), "y": fitted(X[60:90, :], y[60:90])}
    weight = np.random.default_rng(1).random(150) + 0.1
    table = ExpertTable.from_classifiers(models, X[90:], y[90:], sample_weight=weight)
    assert table.domains == ("x", "y")
    mixture = solve(table, tol=1e-12).mixture
    mixed = sum(mixture[name] * models[name].predict_proba(X[90:]) for name in models)
    loss = metrics.log_loss(y[90:], mixed, labels=["a", "b", "c"], sample_weight=weight)
    assert solve(table, tol=1e-12).value == pytest.approx(loss, abs=1e-10)
    for x in np.linspace(0.0, 1.0, 21):
        other = x * models["x"].predict_proba(X[90:]) + (1 - x) * models["y"].predict_proba(X[90:])
        assert loss <= metrics.log_loss(y[90:], other, labels=["a", "b", "c"], sample_weight=weight) + 1e-12


@pytest.mark.parametrize("kind", ["frame", "sparse", "pipeline", "list"])
def test_features_of_any_kind_reach_the_models(kind):
    X, y = rows_of()
    model, given = fitted(X[:120], y[:120]), X[120:]
    if kind == "frame":
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(X, columns=list("pqrs"))
        model, given = fitted(frame[:120], y[:120]), frame[120:]
        y = pandas.Series(y)
    elif kind == "sparse":
        given = pytest.importorskip("scipy.sparse").csr_matrix(given)
    elif kind == "pipeline":
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model = make_pipeline(StandardScaler(), linear.LogisticRegression()).fit(X[:120], y[:120])
    else:
        given = given.tolist()
    table = ExpertTable.from_classifiers([model, model], given, y[120:])
    place = np.searchsorted(model.classes_, np.asarray(y)[120:])
    expected = model.predict_proba(given)[np.arange(120), place]
    assert np.exp(table.loglik[:, 0]) == pytest.approx(expected, abs=1e-12)
    assert table.domains == ("domain_0", "domain_1")


@pytest.mark.parametrize("labels", [(0, 1), (0.0, 1.0), (False, True), (-1, 1)])
def test_labels_of_one_meaning_are_one_label(labels):
    X = np.zeros((4, 1))
    model = Fixed([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]], [labels[0], labels[1]])
    y = np.array(labels, dtype=object if labels[0] is False else None)[[0, 1, 0, 1]]
    assert true_class_probabilities([model], X, y)[:, 0] == pytest.approx([0.1, 0.8, 0.3, 0.6], abs=1e-6)


def test_probabilities_of_zero_are_kept_and_clipped_only_on_request():
    sure, vague = Fixed([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [0, 1]), Fixed(np.full((3, 2), 0.5), [0, 1])
    X, y = np.zeros((3, 1)), [0, 1, 1]
    plain = ExpertTable.from_classifiers({"sure": sure, "vague": vague}, X, y)
    assert plain.loglik[2, 0] == -np.inf
    assert plain.clipped == 0
    clipped = ExpertTable.from_classifiers({"sure": sure, "vague": vague}, X, y, clip=1e-4)
    assert np.exp(clipped.loglik[:, 0]) == pytest.approx([1.0, 1.0, 1e-4])
    assert clipped.clipped == 1
    assert "1 probabilities clipped" in repr(clipped)
    with pytest.raises(TableError, match=r"row 2 \(class 1\).*clip=1e-6"):
        ExpertTable.from_classifiers({"sure": sure}, X, y)
    with pytest.raises(TableError, match=r"under every expert in 1 of 3 rows: row 1 \(class 7\)"):
        ExpertTable.from_classifiers({"sure": sure, "vague": vague}, X, [0, 7, 1])


def test_group_weights_are_means_in_each_group():
    X, y = rows_of(n=12, classes=("a", "b"))
    model = Fixed(np.full((12, 2), 0.5), ["a", "b"])
    table = ExpertTable.from_classifiers([model], X, y, sample_weight=np.arange(1.0, 13.0), group=["u"] * 4 + ["v"] * 8)
    assert table.row_weight[:4] == pytest.approx(np.arange(1.0, 5.0) / 10.0)
    assert table.row_weight[4:].sum() == pytest.approx(1.0)


# --- temperature ------------------------------------------------------------------------------------------------------


def test_temperatures_minimise_the_log_loss_of_held_out_rows():
    optimize = pytest.importorskip("scipy.optimize")
    X, y = rows_of(2)
    sharp = linear.LogisticRegression(C=1e4).fit(X[:15], y[:15])
    models = {"sharp": sharp, "flat": linear.LogisticRegression(C=1e-3).fit(X[:100], y[:100])}
    held_out = (X[100:170], y[100:170])
    table = ExpertTable.from_classifiers(models, X[170:], y[170:], calibration="temperature", held_out=held_out)
    assert "temperatures" in repr(table)

    def tempered(model, X, inverse):
        logs = np.log(model.predict_proba(X)) * inverse
        return np.exp(logs - logs.max(axis=1, keepdims=True)) / np.exp(logs - logs.max(axis=1, keepdims=True)).sum(
            axis=1, keepdims=True
        )

    for k, (name, model) in enumerate(models.items()):
        place = np.searchsorted(model.classes_, held_out[1])

        def loss(log_inverse, model=model, place=place):
            return -np.log(tempered(model, held_out[0], np.exp(log_inverse))[np.arange(70), place]).mean()

        best = optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
        assert table.temperature[name] == pytest.approx(np.exp(-best.x), rel=1e-5)
        there = tempered(model, X[170:], 1.0 / table.temperature[name])
        expected = there[np.arange(70), np.searchsorted(model.classes_, y[170:])]
        assert np.exp(table.loglik[:, k]) == pytest.approx(expected, abs=1e-12)
    assert table.temperature["sharp"] > 1.5
    assert table.temperature["flat"] < 0.7


def test_temperatures_follow_their_experts_and_survive_files(tmp_path):
    X, y = rows_of(3)
    models = {name: fitted(X[20 * k : 20 * k + 40], y[20 * k : 20 * k + 40]) for k, name in enumerate("uvw")}
    table = ExpertTable.from_classifiers(
        models, X[180:], y[180:], calibration="temperature", held_out=(X[100:180], y[100:180]), clip=0.2
    )
    few = table.select(["w", "u"])
    assert few.temperature == {name: table.temperature[name] for name in ("w", "u")}
    assert table.rows(slice(0, 20)).temperature == table.temperature
    table.save(tmp_path / "table.npz")
    for copy in (ExpertTable.load(tmp_path / "table.npz"), pickle.loads(pickle.dumps(table))):
        assert copy == table
        assert (copy.temperature, copy.clipped) == (table.temperature, table.clipped)
    assert table.clipped > 0


def test_a_temperature_at_its_limit_is_said_and_flat_experts_keep_theirs():
    right, flat = Fixed([[0.9, 0.1], [0.2, 0.8]], [0, 1]), Fixed(np.full((2, 2), 0.5), [0, 1])
    X = np.zeros((2, 1))
    with pytest.warns(MixfastWarning, match="at its lower limit of 0.05 for right, as") as caught:
        table = ExpertTable.from_classifiers(
            {"right": right, "flat": flat}, X, [0, 1], calibration="temperature", held_out=(X, [0, 1])
        )
    assert table.temperature == {"right": 0.05, "flat": 1.0}
    assert caught[0].filename == __file__


# --- regressors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [None, 1, 3])
def test_a_table_of_regressors_has_their_predictions(outputs):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(50, 4))
    y = rng.normal(size=50 if outputs is None else (50, outputs))
    models = {"r": linear.Ridge().fit(X[:30], y[:30]), "s": linear.Ridge(alpha=9.0).fit(X[10:40], y[10:40])}
    table = ExpertTable.from_regressors(models, X, y)
    assert table.n_outputs == (outputs or 1)
    assert table.target.reshape(y.shape) == pytest.approx(y)
    for k, model in enumerate(models.values()):
        assert table.prediction[:, k] == pytest.approx(model.predict(X).reshape(-1))
    w = solve(table).mixture.weights
    mixed = sum(w[k] * model.predict(X) for k, model in enumerate(models.values())).reshape(y.shape)
    assert solve(table).value == pytest.approx(0.5 * ((mixed - y) ** 2).sum() / 50, abs=1e-10)
    assert predictions(models, X).shape == (50, 2) if (outputs or 1) == 1 else (50, 2, outputs)


# --- refusals ---------------------------------------------------------------------------------------------------------


def classifier_table(model, y=(0, 1, 0)):
    good = Fixed([[0.5, 0.5]] * 3, [0, 1])
    return ExpertTable.from_classifiers({"good": good, "bad": model}, np.zeros((3, 2)), list(y))


class Raising:
    classes_ = (0, 1)

    def predict_proba(self, X):
        raise RuntimeError("no such column")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (linear.LogisticRegression(), r"the expert of 'bad' \(LogisticRegression\) is not fitted: call its fit"),
        (linear.Ridge().fit([[0, 0], [1, 1]], [0, 1]), r"'bad' \(Ridge\) has no predict_proba.*from_regressors"),
        (linear.RidgeClassifier().fit([[0, 0], [1, 1]], [0, 1]), r"'bad' \(RidgeClassifier\).*CalibratedClassifierCV"),
        (linear.LogisticRegression, r"'bad' is the class LogisticRegression, expected a fitted instance"),
        (Fixed([[0.5, 0.4]] * 3, [0, 1]), r"'bad' \(Fixed\) gives classes probabilities that do not sum to 1.*sum 0.9"),
        (Fixed([[np.nan, 0.4]] * 3, [0, 1]), r"'bad' \(Fixed\) has values that are not probabilities"),
        (Fixed([[-1.2, 2.2]] * 3, [0, 1]), r"'bad' \(Fixed\) has values that are not probabilities"),
        (Fixed([[0.5, 0.5]] * 4, [0, 1]), r"'bad' \(Fixed\): predict_proba returns shape \(4, 2\) for 3 rows"),
        (Fixed([[0.5, 0.5]] * 3, [0, 1, 2]), r"'bad' \(Fixed\): predict_proba returns .* expected \(3, 3\)"),
        (Fixed([[0.5, 0.5]] * 3, ["n", "y"]), r"y holds numbers.*classes of the expert of 'bad' .* text"),
        (Raising(), r"'bad' \(Raising\): predict_proba failed with RuntimeError: no such column"),
        (object(), r"'bad' \(object\) has neither predict_proba nor predict"),
    ],
)
def test_a_bad_classifier_is_one_error_that_names_it(model, message):
    with pytest.raises(TableError, match=message):
        classifier_table(model)


class Predicting:
    def __init__(self, values):
        self.values = values

    def predict(self, X):
        return self.values


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (linear.Ridge(), r"'bad' \(Ridge\) is not fitted"),
        (linear.LogisticRegression().fit([[0, 0], [1, 1]], [0, 1]), r"'bad' .* is a classifier.*from_classifiers"),
        (Predicting([0.0, np.nan, 1.0]), r"'bad' \(Predicting\) predicts NaN or infinity in 1 of 3 rows: row 1"),
        (Predicting([0.0, 1.0]), r"'bad' \(Predicting\): predict returns shape \(2,\) for 3 rows"),
        (Predicting(np.zeros((3, 2))), r"'bad' \(Predicting\) predicts 2 outputs, and the expert of 'good'"),
        (Predicting(["a", "b", "c"]), r"'bad' \(Predicting\): predict returns <U1, expected numbers"),
        (
            cluster.KMeans(1, n_init=1).fit([[0, 0], [1, 1]]),
            r"'bad' \(KMeans\) is of the kind .clusterer., whose predict",
        ),
        (ensemble.IsolationForest(n_estimators=2).fit([[0, 0], [1, 1]]), r"'bad' .* is of the kind .outlier_detector."),
        (3, r"'bad' \(int\) has no predict"),
    ],
)
def test_a_bad_regressor_is_one_error_that_names_it(model, message):
    with pytest.raises(TableError, match=message):
        ExpertTable.from_regressors({"good": Predicting([0.0, 1.0, 2.0]), "bad": model}, np.zeros((3, 2)), [0, 1, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [0, 1]}, r"y has shape \(2,\), expected \(3,\)"),
        ({"y": [[0], [1], [0]]}, r"y has shape \(3, 1\)"),
        ({"y": [0.0, np.nan, 1.0]}, "y is not finite in row 1"),
        ({"y": ["a", None, "b"]}, "y has no label in row 1"),
        ({"y": np.array([0, "a", 1], dtype=object)}, "mixes numbers and text"),
        ({"models": {}}, "models is empty|domain name"),
        ({"models": linear.Ridge()}, "models is Ridge, expected a mapping"),
        ({"domains": ["x", "y"]}, r"2 domains are named \(x, y\) for 1 models"),
        ({"X": np.zeros((0, 2))}, "X has no rows"),
        ({"X": 3}, "X is int, expected rows"),
        ({"clip": 0.0}, "clip is 0.0"),
        ({"clip": "all"}, "clip is 'all'"),
        ({"calibration": "platt"}, "calibration is 'platt', expected one of none, temperature"),
        ({"calibration": "temperature"}, r"needs held_out=\(X, y\)"),
        ({"held_out": (np.zeros((1, 2)), [0])}, 'held_out is for calibration="temperature"'),
        ({"calibration": "temperature", "held_out": (np.zeros((3, 2)), [9, 9, 9])}, "no best temperature"),
        ({"sample_weight": [1.0, 2.0]}, r"weight has shape \(2,\)"),
        ({"sample_weight": [-1.0, 2.0, 1.0]}, "weight is negative"),
        ({"sample_weight": [0.0, 0.0, 0.0]}, "weight is 0 in every row"),
    ],
)
def test_bad_arguments_are_one_error(change, message):
    arguments = {"models": [Fixed([[0.5, 0.5]] * 3, [0, 1])], "X": np.zeros((3, 2)), "y": [0, 1, 0]} | change
    models, X, y = (arguments.pop(name) for name in ("models", "X", "y"))
    with pytest.raises(TableError, match=message):
        ExpertTable.from_classifiers(models, X, y, **arguments)


def test_names_of_models_and_domains_must_agree():
    model = Fixed([[0.5, 0.5]], [0, 1])
    ordered = ExpertTable.from_classifiers({"x": model, "y": model}, np.zeros((1, 1)), [0], domains=["y", "x"])
    assert ordered.domains == ("y", "x")
    with pytest.raises(ValueError, match=r"models.*domains.*different"):
        ExpertTable.from_classifiers({"x": model, "y": model}, np.zeros((1, 1)), [0], domains=["y", "z"])


def test_columns_in_another_order_are_refused_by_models_that_take_them_by_position():
    lightgbm, pandas = pytest.importorskip("lightgbm"), pytest.importorskip("pandas")
    X = pandas.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"])
    models = {"u": lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(X, X["a"])}
    for good in (X, X.rename(columns={"a": "c"})):
        ExpertTable.from_regressors(models, good, X["a"])
    with pytest.raises(TableError, match=r"fitted to the columns 'a', 'b', and X has them in another order"):
        ExpertTable.from_regressors(models, X[["b", "a"]], X["a"])


# --- arrays of probabilities ------------------------------------------------------------------------------------------


def test_probabilities_of_classes_become_those_of_the_labels():
    rng = np.random.default_rng(5)
    proba = rng.dirichlet(np.ones(3), size=(20, 2)).transpose(0, 2, 1)
    y = rng.integers(3, size=20)
    table = ExpertTable.from_probabilities(proba, y, domains=["u", "v"])
    assert table.loglik == pytest.approx(np.log(proba[np.arange(20), y]))
    named = ExpertTable.from_probabilities(proba[:, [2, 0, 1]], np.array(["a", "b", "c"])[y], classes=["c", "a", "b"])
    assert named.loglik == pytest.approx(table.loglik)
    assert table.uniform_weight == pytest.approx(1 / 20)


@pytest.mark.parametrize("order", ["columns first", "reversed", "every second", "picked"])
def test_the_layout_of_probabilities_in_memory_does_not_matter(order):
    rng = np.random.default_rng(0)
    proba, y = rng.random((20, 3)), rng.integers(0, 2, 20)
    laid = {
        "columns first": np.asfortranarray(proba),
        "reversed": proba[::-1, ::-1].copy()[::-1, ::-1],
        "every second": np.repeat(proba, 2, axis=1)[:, ::2],
        "picked": np.hstack([proba, proba])[:, np.arange(6) < 3],
    }[order]
    expected = ExpertTable.from_probabilities(proba, y)
    assert (ExpertTable.from_probabilities(laid, y).loglik == expected.loglik).all()
    assert solve(ExpertTable.from_probabilities(laid, y)).value == solve(expected).value


def test_a_matrix_is_the_probability_of_the_second_class_or_of_the_label():
    positive = np.array([[0.9, 0.6], [0.2, 0.5]])
    expected = np.log([[0.9, 0.6], [0.8, 0.5]])
    assert ExpertTable.from_probabilities(positive, [1, 0]).loglik == pytest.approx(expected)
    assert ExpertTable.from_probabilities(np.exp(expected), None).loglik == pytest.approx(expected)
    with pytest.warns(MixfastWarning, match="give y=None"):
        ExpertTable.from_probabilities(np.full((4, 2), 0.9), [0, 0, 0, 1])


@pytest.mark.parametrize("columns", [1, 3])
def test_labels_that_count_from_1_are_warned_of_if_the_last_class_is_missing(columns):
    rng = np.random.default_rng(6)
    y = np.repeat([0, 1], 10)[: 10 * min(columns, 2)]
    proba = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])[y][:, :, None] * np.ones(2)
    if columns == 1:
        proba = rng.uniform(0.1, 0.4, (10, 2))
    with pytest.warns(MixfastWarning, match=r"no label in y is 0, and every expert .* give classes=\[1, 2"):
        ExpertTable.from_probabilities(proba, y + 1)
    right = proba if columns == 1 else np.roll(proba, 1, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ExpertTable.from_probabilities(1.0 - right if columns == 1 else right, y + 1)
        ExpertTable.from_probabilities(proba, y + 1, classes=[1, 2] if columns == 1 else [1, 2, 3])


@pytest.mark.parametrize(
    ("proba", "y", "options", "message"),
    [
        (
            np.full((4, 2, 3), 0.5),
            [0, 1, 0],
            {},
            r"y has shape \(3,\), expected \(4,\): one label for each row of proba",
        ),
        (np.full((4, 3, 2), 1 / 2), [0, 1, 0, 1], {}, r"axis 2 sums to 1.*transpose\(0, 2, 1\)"),
        (np.full((4, 2), -1.5), [0, 1, 0, 1], {}, "'domain_0' has values that are not probabilities.*logarithms"),
        (np.full((4, 2), 0.5), [0, 1, 2, 1], {}, r"y holds 3 labels .* has 2 classes"),
        (np.full((4, 2), 0.5), [0, 1, 2, 1], {"classes": [0, 1]}, "y holds 2, which is not one of the classes 0, 1"),
        (np.full((4, 2, 3), 0.5), None, {}, "y is not given"),
        (np.full(4, 0.5), [0, 1, 0, 1], {}, r"proba has shape \(4,\)"),
        (np.full((4, 2), 0.5), [0, 1, 0, 1], {"domains": ["a"]}, "1 domains are named"),
        (np.array([[0.0, 0.0], [0.5, 0.5]]), [1, 0], {}, r"row 0 \(class 1\)"),
    ],
)
def test_bad_probabilities_are_one_error(proba, y, options, message):
    with pytest.raises(TableError, match=message):
        ExpertTable.from_probabilities(proba, y, **options)


def test_files_of_probabilities_load_as_tables(tmp_path):
    proba = np.random.default_rng(6).dirichlet(np.ones(2), size=(9, 3)).transpose(0, 2, 1)
    label = np.array(["no", "yes"])[np.arange(9) % 2]
    np.savez(tmp_path / "p.npz", proba=proba, label=label, classes=["no", "yes"], domains=["a", "b", "c"])
    table = ExpertTable.load(tmp_path / "p.npz")
    assert table == ExpertTable.from_probabilities(proba, label, domains=["a", "b", "c"])
    np.savez(tmp_path / "true.npz", proba=np.exp(table.loglik), domains=["a", "b", "c"])
    assert ExpertTable.load(tmp_path / "true.npz").loglik == pytest.approx(table.loglik)
    np.savez(tmp_path / "bad.npz", proba=proba * 2.0, label=label)
    with pytest.raises(TableError, match=r"bad.npz: .*not probabilities"):
        ExpertTable.load(tmp_path / "bad.npz")


# --- weights of pooled rows -------------------------------------------------------------------------------------------


def test_row_weights_give_each_domain_its_share():
    mixture = Mixture({"a": 0.6, "b": 0.3, "c": 0.1, "d": 0.0})
    domain = np.array(["b"] * 5 + ["a"] * 20 + ["c"] * 75 + ["d"] * 3)
    weight = mixture.row_weights(domain)
    assert weight.mean() == pytest.approx(1.0)
    for name, share in mixture.items():
        assert weight[domain == name].sum() / weight.sum() == pytest.approx(share)
    paper = mixture.row_weights(domain, scale="paper")
    assert paper[domain == "a"] == pytest.approx(75 / 20)
    assert paper[domain == "b"] == pytest.approx(0.5 * 75 / 5)
    assert paper[domain == "d"] == pytest.approx(0.0)
    largest = mixture.row_weights(domain, scale="largest")
    assert largest == pytest.approx(weight / weight.max())
    assert Mixture({"a": 0.2, "b": 0.05, "c": 0.75, "d": 0.0}).row_weights(
        domain[:-3], scale="largest"
    ) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("domain", "options", "message"),
    [
        (["a", "b", "x"], {}, "does not have: x"),
        (["a", "a"], {}, "no rows: b"),
        ([0, 1], {}, "must hold names of domains"),
        ([], {}, "shape"),
        (["a", "b"], {"scale": "sum"}, "scale is 'sum', expected one of mean, largest, paper"),
    ],
)
def test_bad_row_weights_are_one_error(domain, options, message):
    with pytest.raises(MixtureError, match=re.escape(message)):
        Mixture({"a": 0.5, "b": 0.5}).row_weights(domain, **options)
