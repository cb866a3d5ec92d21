"""The GPU backend against the CPU core: the same objective and the same answers, from a table on the device and from a stream.

Without a GPU everything runs on torch's CPU tensors, with kernels in Triton's interpreter: a request for a CUDA device gets
the CPU instead. With a GPU the same tests run on it.
"""

import importlib
import pickle

import numpy as np
import pytest

hypothesis = pytest.importorskip("hypothesis")
strategies = pytest.importorskip("hypothesis.strategies")
torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'mixfast[gpu]'")
pytest.importorskip("triton", reason="triton is not installed: pip install 'mixfast[gpu]'")

from mixfast import ExpertTable, Region, mde, solve  # noqa: E402
from mixfast._engine.backend import blocks  # noqa: E402
from mixfast._engine.backend import device as _device  # noqa: E402
from mixfast._engine.backend.blocks import Stream  # noqa: E402
from mixfast._engine.objectives import base  # noqa: E402
from mixfast._engine.objectives.rows_cpu import CrossEntropy  # noqa: E402
from mixfast._engine.objectives.rows_cuda import DeviceCrossEntropy  # noqa: E402
from mixfast._engine.optimise import working_set  # noqa: E402
from mixfast.errors import BackendError, InfeasibleError, MixfastWarning, TableError  # noqa: E402
from mixfast.solver import bootstrap, holdout, losses, path  # noqa: E402

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda", torch.cuda.current_device()) if CUDA else torch.device("cpu")


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """Use the CPU as the device if there is no GPU."""
    if not CUDA:
        monkeypatch.setattr(_device, "cuda_device", lambda number="": DEVICE)


@pytest.fixture
def streamed(monkeypatch):
    """Pretend that the device has no room, and use blocks of a few rows."""
    monkeypatch.setattr(_device, "capacity", lambda device: 0.0)
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 20_000)


def loglik(n, k, *, seed=0, dtype=np.float32, spread=2.0, level=-4.0):
    rng = np.random.default_rng(seed)
    return (level - spread * rng.exponential(size=(n, k))).astype(dtype)


def a_table(n, k, *, weighted=False, **options):
    rng = np.random.default_rng(5)
    extra = {"weight": np.where(rng.random(n) < 0.1, 0.0, rng.random(n))} if weighted else {}
    return ExpertTable.from_loglik(loglik(n, k, **options), **extra)


def pair(table, *, wide, usable=None):
    """Return the objective on the CPU and on the device."""
    weight, scale = (
        (None, table.uniform_weight) if table.uniform_weight is not None else (table.row_weight, 1.0 / len(table))
    )
    near = table.to(DEVICE)
    there = None if weight is None else _device.weights(weight, DEVICE)
    return (
        CrossEntropy(table, base.Sum(weight, scale, usable, wide), threads=1),
        DeviceCrossEntropy(near, base.Sum(there, scale, usable, wide), device=DEVICE),
    )


def close(got, wanted, tolerance):
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance * scale)


# Float64 from float32 log-likelihoods agrees to the last digits; float32 probabilities to their own precision, averaged over the rows.
TOLERANCE = {True: 1e-12, False: 1e-6}


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"dtype": np.float16}, {"dtype": np.float64}, {"spread": 200.0, "dtype": np.float64}, {"level": 90.0}],
    ids=["float32", "float16", "float64", "shift", "densities"],
)
@pytest.mark.filterwarnings("ignore::mixfast.errors.MixfastWarning")
def test_sums_and_losses_are_those_of_the_cpu(wide, weighted, options):
    table = a_table(700, 6, weighted=weighted, **options)
    far = options.get("spread", 0.0) > 100.0
    w = np.random.default_rng(1).dirichlet(np.ones(6))
    here, there = pair(table, wide=wide)
    assert here.shift == there.shift
    # exp of values in the hundreds, rounded to float32.
    tolerance = 1e-4 if far and not wide else TOLERANCE[wide]
    for got, wanted in zip(there.sums(w, hessian=1), here.sums(w, hessian=1), strict=True):
        close(got, wanted, tolerance)
    mixtures = np.random.default_rng(2).dirichlet(np.ones(6), size=3)
    close(there.losses(mixtures), here.losses(mixtures), tolerance)
    assert there.total == pytest.approx(here.total)
    assert there.sums(w)[2] is None


@pytest.mark.filterwarnings("ignore")
@hypothesis.settings(max_examples=25)
@hypothesis.given(data=strategies.data())
def test_sums_of_any_table_are_those_of_the_cpu(data):
    n, k = data.draw(strategies.integers(1, 150)), data.draw(strategies.integers(1, 20))
    rng = np.random.default_rng(data.draw(strategies.integers(0, 99)))
    values = loglik(n, k, seed=rng, spread=data.draw(strategies.sampled_from([1.0, 20.0, 400.0])))
    # Probability 0 in some entries, never for the first expert.
    values[:, 1:][rng.random((n, k - 1)) < data.draw(strategies.sampled_from([0.0, 0.2]))] = -np.inf
    weight = rng.random(n) * (rng.random(n) < 0.7)
    weight[0] = 1.0
    here, there = pair(ExpertTable.from_loglik(values, weight=weight), wide=True)
    w = rng.dirichlet(np.ones(k))
    for got, wanted in zip(there.sums(w, hessian=1), here.sums(w, hessian=1), strict=True):
        close(got, wanted, 1e-11)


@pytest.mark.parametrize("wide", [True, False])
def test_some_columns_of_those_that_may_be_used(wide):
    usable = np.array([0, 2, 3, 7], dtype=np.int32)
    here, there = pair(a_table(500, 9), wide=wide, usable=usable)
    w = np.array([0.5, 0.3, 0.2])
    columns = np.array([0, 2, 3], dtype=np.int32)
    for got, wanted in zip(there.sums(w, columns, hessian=1), here.sums(w, columns, hessian=1), strict=True):
        close(got, wanted, TOLERANCE[wide])
    close(there.losses(np.eye(4)), here.losses(np.eye(4)), TOLERANCE[wide])


def test_a_hessian_from_some_of_the_rows_is_near_that_of_all():
    here, there = pair(a_table(8192, 5), wide=False)
    w = np.full(5, 0.2)
    close(there.sums(w, hessian=4)[2], here.sums(w, hessian=1)[2], 0.1)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_gradients_of_rows_counted_anew(wide, shared, weighted):
    table = a_table(600, 5, weighted=weighted)
    here, there = pair(table, wide=wide)
    rng = np.random.default_rng(3)
    bins = (np.arange(600) % 40).astype(np.int32)
    counts = rng.poisson(1.0, size=(7, 40)).astype(np.float32)
    mixtures = rng.dirichlet(np.ones(5), size=1 if shared else 7)
    close(there.gradients(mixtures, bins, counts), here.gradients(mixtures, bins, counts), 1e-5)
    columns = np.array([1, 4], dtype=np.int32)
    part = np.ascontiguousarray(mixtures[:, columns] / mixtures[:, columns].sum(axis=1, keepdims=True))
    close(there.gradients(part, bins, counts, columns), here.gradients(part, bins, counts, columns), 1e-5)


# Enough rows that most of the remaining error is the part that does not average out.
@pytest.mark.parametrize(
    ("n", "options"),
    [(60_000, {}), (4000, {"spread": 10.0, "level": -40.0}), (4000, {"spread": 60.0, "level": -200.0})],
)
def test_float32_is_as_good_as_it_says(n, options, monkeypatch):
    if not CUDA:
        # The interpreter needs the same time for each tile of any size; as many rows are added in float32 as on a GPU.
        monkeypatch.setattr(importlib.import_module("mixfast.kernels.row_pass"), "TILE_ELEMENTS", 1 << 16)
    _, there = pair(a_table(n, 8, **options), wide=False)
    w = np.random.default_rng(1).dirichlet(np.ones(8))
    (value, gradient, _), (exact, slope, curvature) = there.sums(w), there.precise().sums(w, hessian=1)
    assert np.abs(gradient - slope).max() <= 3.0 * there.rounding(float(np.diagonal(curvature).max()))
    assert value == pytest.approx(exact, rel=3e-9)


def test_a_sample_is_that_of_the_cpu():
    for weighted in (True, False):
        here, there = (objective.sample(100) for objective in pair(a_table(5000, 4, weighted=weighted), wide=True))
        w = np.full(4, 0.25)
        for got, wanted in zip(there.sums(w), here.sums(w), strict=False):
            if wanted is not None:
                close(got, wanted, 1e-12)
        assert there.precise() is there


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_losses_of_mixtures_without_mass_are_those_of_log_sum_exp():
    values = loglik(300, 4, dtype=np.float64)
    values[7, 1:] -= 3000.0
    values[8, 2:] = -np.inf
    table = ExpertTable.from_loglik(values)
    here, there = pair(table, wide=False)
    mixtures = np.array([[0.0, 1.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]])
    got = there.losses(mixtures)
    close(got[:2], here.losses(mixtures)[:2], 1e-6)
    assert got[0] > 9.0  # 3000 nats in one row of 300
    assert got[2] == np.inf


# n, K and options of solve; with "groups", each third of the rows is a group.
PROBLEMS = {
    "plain": {},
    "caps": {"cap": 0.4, "floor": 0.02},
    "an excluded domain": {"cap": [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]},
    "kl": {"kl": 0.05},
    "bounds": {"bounds": [(("domain_0", "domain_1"), None, 0.3)]},
    "groups": {"groups": True, "objective": {"b": 2.0, "a": 1.0, "c": 1.0}},
    "worst": {"groups": True, "objective": "worst"},
    "weights": {"weighted": True},
    "hundreds of nats": {"spread": 300.0},
}


def problem_of(name, n=900, k=6, dtype=np.float32):
    options = dict(PROBLEMS[name])
    values = loglik(n, k, spread=options.pop("spread", 2.0), dtype=dtype)
    # Each row favours one expert, so that several have a share.
    values[np.arange(n), np.arange(n) % k] += 1.5
    extra = {}
    if options.pop("groups", False):
        extra["group"] = np.array(["a", "b", "c"])[np.arange(n) * 3 // n]
    if options.pop("weighted", False):
        extra["weight"] = np.random.default_rng(4).random(n)
    table = ExpertTable.from_loglik(values, **extra)
    limits = {key: options.pop(key) for key in ("cap", "floor", "bounds") if key in options}
    return table, Region(table.domains, **limits) if limits else None, options


@pytest.mark.filterwarnings("ignore::mixfast.errors.MixfastWarning")
@pytest.mark.parametrize("name", PROBLEMS)
def test_solve_is_that_of_the_cpu(name):
    table, region, options = problem_of(name)
    here = solve(table, region, backend="cpu", **options)
    there = solve(table, region, backend="cuda", **options)
    assert there.status == "optimal"
    assert there.gap <= 1e-8
    assert there.backend.startswith("cuda (")
    assert abs(there.value - here.value) <= 2e-8 + 1e-9 * abs(here.value)
    np.testing.assert_allclose(there.mixture.weights, here.mixture.weights, atol=3e-4)
    # The gap computed again in float64 on the CPU.
    if name not in ("kl", "worst"):
        weight, scale = here._problem.rows.row_weights(here._problem.weights.share)
        exact = CrossEntropy(table, base.Sum(weight, scale, wide=True), threads=1)
        gradient = exact.sums(there.mixture.weights)[1]
        if here._problem.usable is None:
            assert here._problem.limits.gap(gradient, there.mixture.weights) <= 1.1e-8
    assert [price.name for price in there.shadow_prices] == [price.name for price in here.shadow_prices]
    for group, loss in here.group_losses.items():
        assert there.group_losses[group] == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("name", ["plain", "caps", "kl", "weights", "groups"])
def test_a_streamed_table_gives_what_one_on_the_device_gives(name, streamed, monkeypatch):
    table, region, options = problem_of(name)
    there = solve(table, region, backend="cuda", **options)
    assert there.backend.endswith(", streamed)")
    assert there.status == "optimal"
    monkeypatch.setattr(_device, "capacity", lambda device: np.inf)
    near = solve(table, region, backend="cuda", **options)
    assert "streamed" not in near.backend
    assert abs(there.value - near.value) <= 2e-8
    np.testing.assert_allclose(there.mixture.weights, near.mixture.weights, atol=1e-4)


def test_float32_probabilities_and_a_sample_lead_to_the_same_gap(monkeypatch):
    """Tables large enough (or treated as such) that a sample and float32 sweeps precede float64 ones."""
    monkeypatch.setattr(working_set, "SAMPLE_ROWS", 500)
    monkeypatch.setattr(base, "_WIDE_ELEMENTS", 0)
    table, _, _ = problem_of("plain", n=5000, k=4)
    there = solve(table, backend="cuda")
    assert there.gap <= 1e-8
    assert {step.rows for step in there.trace} == {500, 5000}
    exact = CrossEntropy(table, base.Sum(None, table.uniform_weight, wide=True), threads=1)
    w = there.mixture.weights
    gradient = exact.sums(w)[1]
    assert float(gradient @ w - gradient.min()) <= 1.1e-8


def test_more_domains_than_a_sweep_holds():
    rng = np.random.default_rng(0)
    values = loglik(150, 120)
    values[np.arange(150), rng.integers(0, 10, 150)] += 4.0
    table = ExpertTable.from_loglik(values)
    there, here = solve(table, backend="cuda"), solve(table)
    assert there.gap <= 1e-8
    assert abs(there.value - here.value) <= 2e-8


def test_auto_follows_the_table_and_cpu_brings_it_back():
    table, region, _ = problem_of("caps")
    near = table.to("cuda")
    assert near.device == str(DEVICE)
    assert solve(near, region).backend.startswith("cuda")
    assert solve(near, region, backend="cpu").backend.startswith("cpu")
    assert solve(table, region).backend.startswith("cpu")
    small = table.rows(slice(0, 90)).to("cuda")
    assert solve(small, backend="reference").backend.startswith("reference")
    close(losses(near, np.eye(6)), losses(table, np.eye(6)), 1e-6)


def test_a_path_and_a_held_out_report():
    table, _, _ = problem_of("plain", n=300)
    caps = [0.3, 0.5]
    there, here = path(table.to("cuda"), cap=caps), path(table, cap=caps)
    assert [s.value for s in there] == pytest.approx([s.value for s in here], abs=2e-8)
    got, wanted = holdout(table.to("cuda")), holdout(table)
    for row in wanted.rows:
        assert got[row.name].held_out_loss == pytest.approx(row.held_out_loss, abs=1e-5)


@pytest.mark.parametrize("name", ["plain", "weights", "kl", "an excluded domain"])
def test_a_bootstrap_is_that_of_the_cpu(name):
    table, region, options = problem_of(name)
    here = bootstrap(table, region, replicates=12, **options)
    there = bootstrap(table, region, replicates=12, backend="cuda", **options)
    np.testing.assert_allclose(there.shares, here.shares, atol=0.1 * here.shares.std(axis=0).max())
    assert there.error < 0.1


def test_ensemble_features_of_a_table_on_the_device():
    table, _, _ = problem_of("groups", n=300)
    ratios = np.random.default_rng(0).dirichlet(np.ones(6), size=5)
    there, here = mde.features(table.to("cuda"), ratios), mde.features(table, ratios)
    close(there.values, here.values, 1e-6)
    for got, wanted in zip(there.slopes(ratios[:2]), here.slopes(ratios[:2]), strict=True):
        close(got, wanted, 1e-6)
    both = mde.stack({"one": table.to("cuda"), "two": table})
    assert both.n_rows == 600
    assert both.device == "cpu"
    some, wanted = (mde.features(t, ratios, rows=120) for t in (table.to("cuda"), table))
    close(some.values, wanted.values, 1e-6)
    close(some.errors, wanted.errors, 1e-4)


def test_a_table_on_the_device_is_a_table():
    table = ExpertTable.from_loglik(
        loglik(60, 4), group=np.arange(60) % 3, weight=np.linspace(0.0, 1.0, 60), domains=list("abcd")
    )
    near = table.to("cuda")
    assert near.to("cuda") is near
    assert table.to("cpu") is table
    assert near.dtype == table.dtype
    assert near.shape == table.shape
    assert near.nbytes == table.nbytes
    assert f"on {DEVICE}" in repr(near)
    for one, two in [
        (near, table),
        (near.rows([3, 1, 40]), table.rows([3, 1, 40])),
        (near.rows(slice(5, 50, 2)), table.rows(slice(5, 50, 2))),
        (near.select(["d", "a"]), table.select(["d", "a"])),
        (near.split(0.5, seed=0)[1], table.split(0.5, seed=0)[1]),
        (pickle.loads(pickle.dumps(near)), table),
    ]:
        assert isinstance(one.loglik, torch.Tensor)
        np.testing.assert_array_equal(one.to("cpu").loglik, two.loglik)
        np.testing.assert_array_equal(one.row_weight, two.row_weight)
        assert one.domains == two.domains
        assert one.extremes == two.extremes or one.domains != near.domains


def test_saving_a_table_on_the_device(tmp_path):
    table = ExpertTable.from_loglik(loglik(20, 3))
    table.to("cuda").save(tmp_path / "table.npz")
    np.testing.assert_array_equal(ExpertTable.load(tmp_path / "table.npz").loglik, table.loglik)


class TestGate:
    """`from_loglik` with tensors on the device."""

    @pytest.fixture(autouse=True)
    def _accept(self, monkeypatch):
        if not CUDA:
            monkeypatch.setattr(_device, "accepts", lambda code: code == 1)

    def near(self, values):
        return torch.tensor(values, device=DEVICE)

    def test_values_stay_where_they_are(self):
        values = self.near(loglik(30, 4))
        table = ExpertTable.from_loglik(values)
        assert table.loglik.data_ptr() == values.data_ptr()
        assert table.extremes == ExpertTable.from_loglik(values.cpu().numpy().copy()).extremes

    def test_a_view_of_negated_numbers_keeps_their_sign(self):
        values = loglik(30, 4)
        table = ExpertTable.from_loglik(torch._neg_view(self.near(-values)))
        np.testing.assert_array_equal(table.to("cpu").loglik, values)

    def test_columns_first_are_copied_in_order(self):
        values = loglik(30, 4)
        table = ExpertTable.from_loglik(self.near(values.T.copy()).T)
        np.testing.assert_array_equal(table.to("cpu").loglik, values)

    def test_rows_are_sorted_by_group(self):
        values, group = loglik(30, 4), np.arange(30) % 3
        table = ExpertTable.from_loglik(self.near(values), group=group)
        np.testing.assert_array_equal(table.to("cpu").loglik, ExpertTable.from_loglik(values, group=group).loglik)

    def test_a_condition_is_subtracted(self):
        values, prompt = loglik(30, 4), loglik(30, 4, seed=1)
        with pytest.warns(MixfastWarning):
            table = ExpertTable.from_loglik(self.near(values), condition=self.near(prompt))
        np.testing.assert_array_equal(table.to("cpu").loglik, values - prompt)
        with pytest.raises(TableError, match="same device"):
            ExpertTable.from_loglik(self.near(values), condition=prompt)

    def test_bad_values_are_named(self, monkeypatch):
        monkeypatch.setattr(_device, "_SCAN_ELEMENTS", 40)
        values = loglik(30, 4)
        values[17, 2] = np.nan
        values[25, 1] = np.inf
        with pytest.raises(
            TableError, match=r"NaN or \+inf in 2 of 30 rows: row 17 \(domain_2 = nan\), row 25 \(domain_1 = inf\)"
        ):
            ExpertTable.from_loglik(self.near(values))
        values = loglik(30, 4)
        values[[3, 29]] = -np.inf
        with pytest.raises(TableError, match="-inf for every domain in 2 of 30 rows: row 3, row 29"):
            ExpertTable.from_loglik(self.near(values))
        values = loglik(30, 4)
        values[5, :3] = -np.inf
        table = ExpertTable.from_loglik(self.near(values))
        assert table.extremes == ExpertTable.from_loglik(values).extremes
        with pytest.raises(TableError, match="loglik of the selected domains is -inf"):
            table.select(["domain_0", "domain_1"])
        region = Region(table.domains, cap={"domain_3": 0.0, "domain_0": 1, "domain_1": 1, "domain_2": 1})
        with pytest.raises(InfeasibleError, match="rows 5"):
            solve(table, region)

    def test_what_is_no_table_is_refused(self):
        with pytest.raises(TableError, match="float16, float32 or float64, got bfloat16"):
            ExpertTable.from_loglik(self.near(loglik(5, 2)).bfloat16())
        with pytest.raises(TableError, match=r"expected at least one row"):
            ExpertTable.from_loglik(self.near(np.zeros((0, 3), dtype=np.float32)))
        with pytest.raises(TableError, match=r"shape \(rows, domains\), got \(4,\)"):
            ExpertTable.from_loglik(self.near(np.zeros(4, dtype=np.float32)))


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.undo()
    table = ExpertTable.from_loglik(loglik(20, 3))
    if not CUDA:
        for call in (lambda: solve(table, backend="cuda"), lambda: table.to("cuda")):
            with pytest.raises(BackendError, match=r"needs a GPU, and torch .* CUDA.*backend='cpu'"):
                call()
    monkeypatch.setitem(__import__("sys").modules, "triton", None)
    with pytest.raises(BackendError, match=r"pip install 'mixfast\[gpu\]'"):
        solve(table, backend="cuda")


def test_a_table_that_does_not_fit_says_how_to_go_on(monkeypatch):
    def full(*shape, **where):
        raise torch.OutOfMemoryError("out of memory")

    table = ExpertTable.from_loglik(loglik(20, 3))
    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(BackendError, match=r"2.4e-07 GB does not fit .*backend='cuda'\) streams it"):
        table.to("cuda")


def test_predictions_and_other_devices_are_refused():
    rng = np.random.default_rng(0)
    predictions = ExpertTable.from_predictions(rng.normal(size=(20, 3)), rng.normal(size=20))
    for call in (lambda: predictions.to("cuda"), lambda: solve(predictions, backend="cuda")):
        with pytest.raises(BackendError, match="a table of predictions"):
            call()
    with pytest.raises(ValueError, match='expected "cpu", "cuda"'):
        ExpertTable.from_loglik(loglik(20, 3)).to("tpu")


def test_a_stream_hands_out_every_row_once_and_in_order(monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 400)
    values, weight = loglik(101, 5), np.arange(101.0)
    for given in (None, weight):
        seen = [
            (block.cpu().clone(), None if c is None else c.cpu().clone())
            for block, c in Stream(values, given, DEVICE).blocks()
        ]
        assert len(seen) > 3
        np.testing.assert_array_equal(torch.cat([block for block, _ in seen]).numpy(), values)
        if given is not None:
            np.testing.assert_array_equal(torch.cat([c for _, c in seen]).numpy(), weight)
    np.testing.assert_array_equal(_device.host(_device.upload(values, DEVICE)), values)


@pytest.mark.parametrize("wear", [3.0, (0.5, 3.0, np.inf, 15.4, 1.0)])
def test_wear_is_the_same_on_the_device_and_streamed(monkeypatch, wear):
    table = a_table(900, 5)
    wear = dict(zip(table.domains, wear, strict=True)) if isinstance(wear, tuple) else wear
    counts = dict(zip(table.domains, (400, 200, 100, 50, 20), strict=True))
    region = Region.from_tokens(counts, 600, max_epochs=50)
    here = solve(table, region, wear=wear, kl=0.01)
    there = solve(table, region, wear=wear, kl=0.01, backend="cuda")
    assert there.status == "optimal"
    assert there.value == pytest.approx(here.value, abs=1e-8)
    np.testing.assert_allclose(there.mixture.weights, here.mixture.weights, atol=1e-4)
    draws = [bootstrap(table, region, solution=one, replicates=8).shares for one in (here, there)]
    np.testing.assert_allclose(draws[1], draws[0], atol=1e-3)
    monkeypatch.setattr(_device, "capacity", lambda device: 0.0)
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 4_000)
    streamed = solve(table, region, wear=wear, kl=0.01, backend="cuda")
    assert streamed.value == pytest.approx(here.value, abs=1e-8)


def test_folder_of_parts_is_summed_on_the_device(tmp_path):
    values = loglik(600, 4)
    for part in range(2):
        np.save(tmp_path / f"part-{part}.npy", values[300 * part : 300 * (part + 1)])
    parts = ExpertTable.load(tmp_path)
    near, far = solve(parts, backend="cuda"), solve(ExpertTable.from_loglik(values))
    assert near.backend.startswith("cuda")
    assert near.value == pytest.approx(far.value, abs=2e-8)
    assert near.losses(near.mixture) == pytest.approx([near.value], abs=1e-9)
