"""Choice of rows by priority: sums are right on average, small tables are taken whole, and probabilities of 0 are kept."""

import numpy as np

import mixfast
from mixfast.tables import choose_rows


def table(rows=4000, seed=0, **facts):
    rng = np.random.default_rng(seed)
    return mixfast.ExpertTable.from_loglik(-rng.gamma(1.0, 2.0, size=(rows, 3)), **facts)


def test_sums_over_chosen_rows_are_those_of_all_rows_on_average():
    weight = np.random.default_rng(1).gamma(1.0, size=4000)
    whole = table(weight=weight)
    total = weight @ whole.loglik[:, 0]
    found = []
    for seed in range(200):
        (rows,) = choose_rows(whole, np.array([300]), seed=seed)
        assert len(rows.weight) == 300
        found.append(rows.weight @ rows.loglik[:, 0])
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - total) < 4.0 * error
    assert np.std(found) < 0.1 * abs(total)


def test_a_group_with_few_rows_is_taken_whole():
    whole = table(300, group=np.repeat([0, 1], [40, 260]))
    few, many = choose_rows(whole, np.array([50, 50]))
    np.testing.assert_array_equal(few.loglik, whole.loglik[:40])
    np.testing.assert_allclose(few.weight, whole.row_weight[:40])
    assert len(many.weight) == 50


def test_rows_of_weight_0_are_left_out():
    whole = table(200, weight=np.repeat([0.0, 1.0], 100))
    (rows,) = choose_rows(whole, np.array([150]))
    np.testing.assert_array_equal(rows.loglik, whole.loglik[100:])


def test_a_row_with_probability_0_is_kept_for_each_domain():
    values = np.array(table(50_000).loglik)
    values[123, 0] = values[45_678, 2] = -np.inf
    (rows,) = choose_rows(mixfast.ExpertTable.from_loglik(values), np.array([100]))
    assert np.isinf(rows.loglik).any(axis=0).tolist() == [True, False, True]


def test_the_rows_of_a_folder_are_those_of_its_blocks(tmp_path):
    whole = table(900)
    for part in range(3):
        np.save(tmp_path / f"part-{part}.npy", whole.loglik[300 * part : 300 * (part + 1)])
    (rows,) = choose_rows(mixfast.ExpertTable.load(tmp_path), np.array([900]))
    np.testing.assert_array_equal(rows.loglik, whole.loglik)
    np.testing.assert_allclose(rows.weight, whole.row_weight)
