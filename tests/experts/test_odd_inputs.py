"""What models and callers give in odd forms: the right table, or one clear error."""

import numpy as np
import pytest

from mixfast import ExpertTable, Mixture, solve
from mixfast.errors import MixtureError, TableError

linear = pytest.importorskip("sklearn.linear_model")
pd = pytest.importorskip("pandas")
sparse = pytest.importorskip("scipy.sparse")
Ensemble = pytest.importorskip("mixfast.experts").Ensemble

X = np.random.default_rng(0).normal(size=(40, 2))
Y = (X[:, 0] + 0.3 * X[:, 1] ** 3 > 0).astype(int)
MODEL = linear.LogisticRegression(C=0.1).fit(X, Y)
P = MODEL.predict_proba(X)
LOGS = np.log(P[np.arange(40), Y])[:, None]


class Gives:
    classes_ = np.array([0, 1])

    def __init__(self, form):
        self.form = form

    def predict_proba(self, X):
        return self.form(MODEL.predict_proba(X))


class Predicts:
    def __init__(self, form):
        self.form = form

    def predict(self, X):
        return self.form(X[:, 0])


class Booster:
    def predict(self, X):
        raise TypeError("expecting a DMatrix")


class Broken(Gives):
    @property
    def classes_(self):
        raise ValueError("boom")


def tensor(values, **options):
    return pytest.importorskip("torch").tensor(values, **options)


FORMS = {
    "object": lambda p: p.astype(object),
    "sparse": sparse.csr_matrix,
    "frame": pd.DataFrame,
    "gradient": lambda p: tensor(p, requires_grad=True),
    "bfloat16": lambda p: tensor(p).bfloat16(),
}


@pytest.mark.parametrize("form", FORMS)
def test_probabilities_in_any_form_are_read(form):
    near = pytest.approx(LOGS, abs=0.02 if form == "bfloat16" else 1e-12)
    assert ExpertTable.from_classifiers({"a": Gives(FORMS[form])}, X, Y).loglik == near
    binary = ExpertTable.from_probabilities(FORMS[form](P[:, 1:]), Y)
    assert binary.loglik == near


@pytest.mark.parametrize("form", ["object", "gradient", "bfloat16"])
def test_predictions_in_any_form_are_read(form):
    table = ExpertTable.from_regressors({"a": Predicts(FORMS[form])}, X, FORMS["object"](X[:, 1]))
    assert table.prediction == pytest.approx(X[:, :1], abs=0.02 if form == "bfloat16" else 1e-12)


MASKED = np.ma.array(Y, mask=np.arange(40) == 3)


@pytest.mark.parametrize(
    ("model", "y", "options", "message"),
    [
        (Gives(lambda p: np.ma.array(p, mask=p > 0.7)), Y, {}, "'bad' .*masked entries"),
        (Gives(lambda p: [[0.5, 0.5], [1.0]]), Y, {}, "'bad' .*is no array"),
        (Gives(lambda p: None), Y, {}, "'bad' .*is NoneType, expected an array"),
        (Gives(lambda p: pd.DataFrame(p, columns=[1, 0])), Y, {}, "'bad' .*columns of predict_proba are 1, 0.*is 0, 1"),
        (Broken(None), Y, {}, "'bad' .*classes_ failed with ValueError: boom"),
        (Booster(), Y, {}, r"'bad' \(Booster\) has no predict_proba.*LGBMClassifier or XGBClassifier"),
        ("model.pkl", Y, {}, r"'bad' \(str\) has neither predict_proba nor predict.*from_probabilities"),
        (MODEL, MASKED, {}, "y has masked entries"),
        (MODEL, None, {}, "y is NoneType"),
        (MODEL, [[1], [1, 2]], {}, "y is no array"),
        (MODEL, np.eye(2)[Y], {}, r"y has shape \(40, 2\).*give the class of each row"),
        (MODEL, np.array([b"\xff"] * 40), {}, "bytes that are not UTF-8"),
        (MODEL, Y, {"sample_weight": MASKED}, "sample_weight has masked entries"),
        (MODEL, Y, {"sample_weight": np.r_[np.inf, np.ones(39)]}, r"in 1 of 40 rows: row 0 \(inf\)"),
        (MODEL, Y, {"sample_weight": np.ones(40), "group": np.array(["g", 1] * 20, dtype=object)}, "group must be"),
    ],
)
def test_odd_inputs_of_classifiers_are_one_error(model, y, options, message):
    with pytest.raises(TableError, match=message):
        ExpertTable.from_classifiers({"bad": model}, X, y, **options)


@pytest.mark.parametrize(
    ("model", "y", "message"),
    [
        (Booster(), Y, "'bad' .*predict failed with TypeError: expecting a DMatrix; give a model of its library's"),
        (type("C", (), {"classes_": [0, 1], "predict": None, "predict_proba": None})(), Y, "'bad' .*is a classifier"),
        (Predicts(lambda p: np.ma.array(p, mask=p > 0)), Y, "'bad' .*masked entries"),
        (Predicts(lambda p: p), Y.astype(str).astype(object), "y must be numbers, got str"),
        (Predicts(lambda p: p), MASKED, "y has masked entries"),
        (Predicts(lambda p: p), None, "y is NoneType"),
    ],
)
def test_odd_inputs_of_regressors_are_one_error(model, y, message):
    with pytest.raises(TableError, match=message):
        ExpertTable.from_regressors({"bad": model}, X, y)


def test_features_without_rows_are_refused():
    with pytest.raises(TableError, match="X is ndarray, expected rows of features"):
        ExpertTable.from_classifiers([MODEL], np.array(1.0), Y)


def test_a_list_of_the_probabilities_of_each_expert_is_told_its_axes():
    with pytest.raises(TableError, match=r"transpose\(1, 2, 0\)"):
        ExpertTable.from_probabilities([P, P, P], Y)
    assert ExpertTable.from_probabilities(np.array([P, P]).transpose(1, 2, 0), Y).loglik[:, :1] == pytest.approx(LOGS)


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ({"a": MODEL}, {"temperature": [1.0]}, "expected temperatures by domain"),
        ({"a": MODEL}, {"temperature": {"a": "2"}}, "temperature of 'a' is '2'"),
        ({"a": Predicts(lambda p: p)}, {"temperature": {"a": 2.0}}, "temperature is for classifiers"),
        ({"a": linear.LogisticRegression()}, {}, r"'a' \(LogisticRegression\) is not fitted"),
        (iter([MODEL]), {}, "can be read only once"),
        (
            {"a": MODEL},
            {"mixture": solve(ExpertTable.from_classifiers({"a": MODEL}, X, Y))},
            "such as solution.mixture",
        ),
    ],
)
def test_odd_ensembles_are_one_error(models, options, message):
    with pytest.raises((TableError, MixtureError), match=message):
        Ensemble(models, **{"mixture": {"a": 1.0}} | options).predict(X)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a"], ["a", "b"]], "no array of names"),
        (np.ma.array(["a", "b"], mask=[0, 1]), "masked entries"),
        (["a", None], "got None in row 1$"),
        ([0, 1], "got 0 in row 0: for positions"),
    ],
)
def test_odd_domains_of_rows_are_one_error(rows, message):
    with pytest.raises(MixtureError, match=message):
        Mixture({"a": 0.5, "b": 0.5}).row_weights(rows)
