"""The Triton kernels against reference implementations in plain torch, in float64.

The error of a kernel may be at most twice that of the plain-torch version in the kernel's own precision. Without a GPU they run
in Triton's interpreter. Outputs are filled with NaN first, and tables are views into storage filled with NaN, so that
unwritten elements and reads outside the table become visible.
"""

import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'mixfast[gpu]'")
pytest.importorskip("triton", reason="triton is not installed: pip install 'mixfast[gpu]'")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from mixfast.kernels import full_float32, mixture_nll, reference, row_pass  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# A few rounding errors in addition to twice the reference's error, for cases in which the reference happens to be exact.
SLACK = 1e-7

# (n, K): one row, one expert, sizes equal to and different from multiples of the tile size, K around a power of two.
SHAPES = [(1, 1), (1, 5), (7, 2), (64, 16), (65, 17), (200, 3), (257, 33), (300, 64), (130, 100), (96, 128), (40, 256)]


@pytest.fixture(autouse=True)
def poisoned_outputs(monkeypatch):
    """Fill every output buffer with NaN before the kernel runs."""
    empty = torch.empty

    def poisoned(*args, **kwargs):
        out = empty(*args, **kwargs)
        return out.fill_(float("nan")) if out.is_floating_point() else out

    monkeypatch.setattr(torch, "empty", poisoned)


def table(n, n_experts, *, seed=0, dtype=torch.float32, padding=3, spread=3.0):
    """Return random log-likelihoods: rows padded with NaN, and a few rows of weight 0 that contain NaN."""
    rng = np.random.default_rng(seed)
    storage = np.full((n + 2, n_experts + padding), np.nan)
    storage[:n, :n_experts] = -spread * rng.exponential(size=(n, n_experts)) - 5.0
    loglik = torch.tensor(storage, dtype=dtype, device=DEVICE)[:n, :n_experts]
    weight = rng.uniform(0.5, 2.0, size=n) / max(n, 1)
    if n > 4:
        weight[2] = 0.0
        loglik[2] = float("nan")
    return loglik, torch.tensor(weight, dtype=torch.float64, device=DEVICE)


def mixtures_of(m, n_experts, *, seed=1):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.dirichlet(np.ones(n_experts), size=m), dtype=torch.float64, device=DEVICE)


def error(got, exact):
    assert got.dtype == torch.float64
    assert got.shape == exact.shape
    assert torch.isfinite(got).all()
    return float(torch.linalg.vector_norm(got - exact) / torch.linalg.vector_norm(exact))


def check_row_pass(loglik, weight, mixture, **settings):
    got = row_pass(loglik, weight, mixture, **settings)
    columns = settings.get("columns")
    exact = reference.row_pass(loglik, weight, mixture, columns=columns, dtype=torch.float64)
    plain = reference.row_pass(loglik, weight, mixture, columns=columns, dtype=torch.float32)
    # The Hessian uses three tf32 products for each product.
    for ours, theirs, truth, slack in zip(got, plain, exact, (SLACK, SLACK, 1e-6), strict=True):
        assert error(ours, truth) <= (1e-13 if settings.get("wide") else 2 * error(theirs, truth) + slack)
    return got


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("n", "n_experts"), SHAPES)
def test_row_pass_matches_its_twin(n, n_experts, wide):
    loglik, weight = table(n, n_experts)
    value, gradient, hessian = check_row_pass(loglik, weight, mixtures_of(1, n_experts)[0], wide=wide)
    assert value.shape == ()
    assert torch.equal(hessian, hessian.T)
    # <w, g> = -sum c for any table.
    inner = gradient @ mixtures_of(1, n_experts)[0]
    assert float(inner) == pytest.approx(-float(weight.sum()), rel=1e-12 if wide else 2e-7)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("bounded", [False, True])
def test_row_pass_in_every_mode_with_one_weight_for_all(wide, shift, bounded):
    loglik, _ = table(150, 12, padding=0)
    loglik[2] = -1.0
    check_row_pass(loglik, 0.125, mixtures_of(1, 12)[0], wide=wide, shift=shift, bounded=bounded)


def test_row_pass_of_rows_that_fill_several_programs(monkeypatch):
    module = importlib.import_module("mixfast.kernels.row_pass")
    loglik, weight = table(350, 12)
    for programs in (2, 3):
        monkeypatch.setattr(module, "MAX_PROGRAMS", programs)
        monkeypatch.setattr(module, "TILE_ELEMENTS", 256)
        check_row_pass(loglik, weight, mixtures_of(1, 12)[0])


@pytest.mark.parametrize("wide", [False, True])
def test_row_pass_beyond_the_kernel_uses_torch(monkeypatch, wide):
    module = importlib.import_module("mixfast.kernels.row_pass")
    monkeypatch.setattr(module, "TORCH_ELEMENTS", 50 * 270)
    loglik, weight = table(170, 270)
    check_row_pass(loglik, weight, mixtures_of(1, 270)[0], wide=wide)


def test_row_pass_of_a_mixture_with_zero_shares():
    loglik, weight = table(80, 9)
    mixture = mixtures_of(1, 9)[0]
    mixture[[0, 3, 8]] = 0.0
    check_row_pass(loglik, weight, mixture / mixture.sum())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_row_pass_of_other_storage(dtype):
    loglik, weight = table(120, 10, dtype=dtype)
    check_row_pass(loglik, weight, mixtures_of(1, 10)[0], wide=dtype == torch.float64)


def test_row_pass_of_a_table_in_column_order():
    loglik, weight = table(40, 6)
    check_row_pass(loglik.T.contiguous().T, weight, mixtures_of(1, 6)[0])


@pytest.mark.parametrize("n_experts", [5, 70, 260])
def test_row_pass_of_some_columns_reads_no_others(n_experts):
    loglik, weight = table(90, n_experts + 20)
    columns = torch.tensor(np.random.default_rng(0).permutation(n_experts + 20)[:n_experts].astype(np.int32))
    others = np.setdiff1d(np.arange(n_experts + 20), columns.numpy())
    columns = columns.to(DEVICE)
    loglik[:, others] = float("nan")
    check_row_pass(loglik, weight, mixtures_of(1, n_experts)[0], columns=columns)
    check_row_pass(loglik, weight, mixtures_of(1, n_experts)[0], columns=columns, wide=True)


@pytest.mark.parametrize("n_experts", [12, 80])
@pytest.mark.parametrize("step", [2, 4])
def test_row_pass_estimates_the_hessian_from_some_of_the_rows(n_experts, step):
    loglik, _ = table(512, n_experts, padding=0)
    loglik[2] = -1.0
    mixture = mixtures_of(1, n_experts)[0]
    exact = reference.row_pass(loglik, 1.0, mixture, dtype=torch.float64)[2]
    assert error(row_pass(loglik, 1.0, mixture, hessian=step)[2], exact) < 0.4
    # The Hessian uses only some rows; the others may change.
    assert error(row_pass(loglik, 1.0, mixture, hessian=step)[2], exact) > 1e-4
    assert row_pass(loglik, 1.0, mixture, hessian=0)[2] is None


def test_row_pass_twice_gives_the_same_bits():
    loglik, weight = table(500, 20)
    mixture = mixtures_of(1, 20)[0]
    for one, two in zip(row_pass(loglik, weight, mixture), row_pass(loglik, weight, mixture), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("wide", [False, True])
def test_row_pass_of_thousands_of_nats_and_of_probabilities_of_0(wide):
    loglik, weight = table(90, 4, dtype=torch.float64, spread=300.0)
    loglik -= 4000.0
    loglik[5, 1:] = -float("inf")
    loglik[6, 0] = -float("inf")
    mixture = mixtures_of(1, 4)[0]
    got = row_pass(loglik, weight, mixture, wide=wide)
    exact = reference.row_pass(loglik, weight, mixture, dtype=torch.float64)
    for ours, truth in zip(got, exact, strict=True):
        assert error(ours, truth) <= (1e-13 if wide else 1e-3)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("n_experts", [6, 260])
def test_row_pass_of_a_row_without_mass(n_experts, wide):
    loglik, weight = table(40, n_experts)
    mixture = mixtures_of(1, n_experts)[0]
    mixture[:2] = 0.0
    loglik[7, 2:] = -float("inf")
    mixture /= mixture.sum()
    for value, gradient, _ in (
        row_pass(loglik, weight, mixture, wide=wide),
        reference.row_pass(loglik, weight, mixture),
    ):
        assert float(value) == float("inf")
        assert not torch.isfinite(gradient).all()


def test_row_pass_without_rows():
    loglik, weight = table(0, 4)
    for part in row_pass(loglik, weight, mixtures_of(1, 4)[0]):
        assert torch.equal(part, torch.zeros_like(part))


@pytest.mark.parametrize("wide", [False, True])
def test_exp_is_right_to_the_last_place(wide):
    # If one expert has all of the share, the value is minus the sum of log exp over the rows; the slope is a sum over rows as well.
    x = torch.linspace(-80.0, 60.0, 1501, dtype=torch.float32, device=DEVICE).repeat(2, 1).T.contiguous()
    x[:, 1] = 0.0
    mixture = torch.tensor([0.0, 1.0], dtype=torch.float64, device=DEVICE)
    for rows in (slice(0, 1), slice(500, 501), slice(777, 778), slice(1500, 1501)):
        gradient = row_pass(x[rows], 1.0, mixture, shift=False, bounded=True, wide=wide, hessian=0)[1]
        assert float(-gradient[0]) == pytest.approx(float(x[rows][0, 0].double().exp()), rel=4e-16 if wide else 1.5e-7)


def check_mixture_nll(loglik, weight, groups, mixtures, **settings):
    got = mixture_nll(loglik, weight, groups, mixtures, **settings)
    columns = settings.get("columns")
    exact = reference.mixture_nll(loglik, weight, groups, mixtures, columns=columns, dtype=torch.float64)
    plain = reference.mixture_nll(loglik, weight, groups, mixtures, columns=columns, dtype=torch.float32)
    assert error(got, exact) <= (1e-13 if settings.get("wide") else 2 * error(plain, exact) + SLACK)


@pytest.mark.parametrize("m", [1, 16, 70])
@pytest.mark.parametrize(("n", "n_experts"), SHAPES)
def test_mixture_nll_matches_its_twin(n, n_experts, m):
    loglik, weight = table(n, n_experts)
    check_mixture_nll(loglik, weight, [0, n], mixtures_of(m, n_experts))


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("n_experts", [7, 100])
def test_mixture_nll_with_one_weight_for_all_rows(n_experts, shift):
    loglik, _ = table(9000, n_experts, padding=0)
    loglik[2] = -1.0
    check_mixture_nll(loglik, 0.3, [0, 8300, 9000], mixtures_of(5, n_experts), shift=shift, bounded=True)


def test_mixture_nll_by_group_with_an_empty_one_and_pieces_of_any_size():
    loglik, weight = table(130, 11)
    for piece_rows in (5, 64, 1000):
        check_mixture_nll(loglik, weight, [0, 1, 64, 64, 90, 130], mixtures_of(5, 11), piece_rows=piece_rows)


def test_mixture_nll_of_many_experts_and_in_float64():
    loglik, weight = table(60, 300)
    check_mixture_nll(loglik, weight, [0, 20, 60], mixtures_of(3, 300))
    check_mixture_nll(loglik, weight, [0, 20, 60], mixtures_of(3, 300), wide=True)
    check_mixture_nll(loglik, 0.5, [20, 60], mixtures_of(3, 300), wide=True, shift=False)


@pytest.mark.parametrize("n_experts", [5, 70])
def test_mixture_nll_of_some_columns(n_experts):
    loglik, weight = table(90, n_experts + 20)
    columns = torch.arange(20, n_experts + 20, dtype=torch.int32, device=DEVICE)
    loglik[:, :20] = float("nan")
    check_mixture_nll(loglik, weight, [0, 90], mixtures_of(3, n_experts), columns=columns)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("weighted", [False, True])
def test_mixture_nll_of_a_row_without_mass(weighted):
    loglik, weight = table(80, 6)
    loglik[2] = -1.0
    loglik[7, 2:] = -float("inf")
    mixtures = mixtures_of(3, 6)
    mixtures[1, :2] = 0.0
    got = mixture_nll(loglik, weight if weighted else 0.1, [0, 80], mixtures)[:, 0]
    assert torch.isinf(got).tolist() == [False, True, False]


def test_weights_and_columns_with_gaps_between_them():
    loglik, weight = table(50, 8)
    apart, columns = torch.stack([weight, weight * float("nan")], dim=1)[:, 0], torch.arange(8, dtype=torch.int32)[1::2]
    columns, mixture = columns.to(DEVICE), mixtures_of(2, 4)
    dense = loglik[:, 1::2]
    for got, wanted in zip(
        row_pass(loglik, apart, mixture[0], columns=columns), row_pass(dense, weight, mixture[0]), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-7)
    got = mixture_nll(loglik, apart, [0, 50], mixture, columns=columns)
    torch.testing.assert_close(got, mixture_nll(dense, weight, [0, 50], mixture), rtol=1e-6, atol=1e-7)


def test_rows_further_apart_than_32_bits_count():
    # Only a few rows of the storage are ever accessed.
    storage = torch.empty(0, dtype=torch.float16, device=DEVICE).new_empty((1 << 31) + 64)
    loglik = torch.as_strided(storage, (3, 8), (1 << 30, 1))
    small = table(3, 8, dtype=torch.float16)[0]
    loglik.copy_(small)
    mixture = mixtures_of(1, 8)
    for got, wanted in zip(row_pass(loglik, 0.5, mixture[0]), row_pass(small, 0.5, mixture[0]), strict=True):
        assert torch.equal(got, wanted)
    assert torch.equal(mixture_nll(loglik, 0.5, [0, 3], mixture), mixture_nll(small, 0.5, [0, 3], mixture))


def test_what_does_not_fit_is_refused():
    loglik, weight = table(20, 4)
    mixture = mixtures_of(2, 4)
    for kernel in (
        lambda x, c, w, **more: row_pass(x, c, w[0], **more),
        lambda x, c, w, **more: mixture_nll(x, c, [0, 20], w, **more),
    ):
        with pytest.raises(ValueError, match=r"weight has shape \(19,\); expected \(20,\)"):
            kernel(loglik, weight[1:], mixture)
        with pytest.raises(ValueError, match="3 shares and loglik 4 experts"):
            kernel(loglik, weight, mixture[:, :3])
        with pytest.raises(ValueError, match=r"columns has shape \(3,\); expected \(4,\)"):
            kernel(loglik, weight, mixture, columns=torch.arange(3, device=DEVICE))
        with pytest.raises(ValueError, match="weight on meta; move them to one device"):
            kernel(loglik, weight.to("meta"), mixture)
        with pytest.raises(TypeError, match=r"torch.int64 of shape \(20, 4\); expected floating"):
            kernel(loglik.long(), weight, mixture)


class NoWaiting(TorchDispatchMode):
    """Refuse operations that make the host wait for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        masks = name == "aten::index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if masks or name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"):
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("n_experts", "wide"), [(6, False), (6, True), (300, False)])
def test_a_sweep_does_not_wait_for_the_device(n_experts, wide):
    loglik, weight = table(90, n_experts)
    mixture = mixtures_of(3, n_experts)
    with NoWaiting():
        row_pass(loglik, weight, mixture[0], wide=wide)
        mixture_nll(loglik, weight, [0, 40, 90], mixture, wide=wide)


@pytest.mark.parametrize("newer", [False, True])
def test_float32_products_are_full_whatever_was_allowed(monkeypatch, newer):
    table_class, matmul = importlib.import_module("mixfast.kernels._table").Table, torch.backends.cuda.matmul
    if newer and not hasattr(matmul, "fp32_precision"):
        pytest.skip("this torch has one setting only")
    seen, real = [], table_class.probabilities
    monkeypatch.setattr(table_class, "probabilities", lambda *args: seen.append(matmul.allow_tf32) or real(*args))
    loglik, weight = table(10, 300)
    try:
        if newer:
            matmul.fp32_precision = "tf32"
        else:
            torch.set_float32_matmul_precision("high")
        row_pass(loglik, weight, mixtures_of(1, 300)[0])
        mixture_nll(loglik, weight, [0, 10], mixtures_of(2, 300))
        with pytest.raises(KeyError), full_float32():
            raise KeyError
        assert matmul.fp32_precision == "tf32" if newer else torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen
    assert not any(seen)


def test_mixture_nll_agrees_with_row_pass():
    loglik, weight = table(100, 8)
    mixture = mixtures_of(1, 8)
    value = row_pass(loglik, weight, mixture[0])[0]
    loss = mixture_nll(loglik, weight, [0, 100], mixture)
    assert float(loss[0, 0]) == pytest.approx(float(value), rel=1e-6)


def test_mixture_nll_without_candidates_or_rows():
    loglik, weight = table(20, 4)
    assert mixture_nll(loglik, weight, [0, 20], mixtures_of(0, 4)).shape == (0, 1)
    none = mixture_nll(loglik[:0], weight[:0], [0, 0], mixtures_of(2, 4))
    assert torch.equal(none, torch.zeros_like(none))


def test_twin_row_pass_has_the_derivatives_of_its_value():
    loglik, weight = table(50, 6)
    loglik = loglik.double()
    mixture = mixtures_of(1, 6)[0]

    def value(w):
        return reference.row_pass(loglik, weight, w)[0]

    _, gradient, hessian = reference.row_pass(loglik, weight, mixture)
    torch.testing.assert_close(torch.autograd.functional.jacobian(value, mixture), gradient)
    torch.testing.assert_close(torch.autograd.functional.hessian(value, mixture), hessian)


def test_twin_row_pass_and_mixture_nll_by_hand():
    prob = torch.tensor([[1.0, 0.5], [0.25, 1.0]], dtype=torch.float64)
    loglik = prob.log() + torch.tensor([[-1.0], [-2.0]])
    weight = torch.tensor([0.5, 2.0]).double()
    mixture = torch.tensor([0.5, 0.5]).double()
    value, gradient, hessian = reference.row_pass(loglik, weight, mixture)
    assert float(value) == pytest.approx(-0.5 * (np.log(0.75) - 1) - 2 * (np.log(0.625) - 2))
    assert gradient.tolist() == pytest.approx([-0.5 / 0.75 - 2 * 0.25 / 0.625, -0.5 * 0.5 / 0.75 - 2 / 0.625])
    assert float(hessian[0, 1]) == pytest.approx(0.5 * 0.5 / 0.75**2 + 2 * 0.25 / 0.625**2)
    losses = reference.mixture_nll(loglik, weight, [0, 1, 2], mixture[None])
    assert losses[0].tolist() == pytest.approx([-0.5 * (np.log(0.75) - 1), -2 * (np.log(0.625) - 2)])


def test_twin_token_logprob_is_the_log_softmax():
    generator = torch.Generator().manual_seed(0)
    hidden = [torch.randn(9, d, generator=generator, dtype=torch.float64) for d in (4, 7)]
    head = [torch.randn(30, d, generator=generator, dtype=torch.float64) for d in (4, 7)]
    target = torch.randint(30, (9,), generator=generator)
    got = reference.token_logprob(hidden, head, target, softcap=5.0)
    assert got.shape == (9, 2)
    for e in range(2):
        for i in range(9):
            logits = 5.0 * np.tanh((head[e] @ hidden[e][i]).numpy() / 5.0)
            assert float(got[i, e]) == pytest.approx(logits[target[i]] - np.log(np.exp(logits).sum()))
    assert reference.token_logprob(hidden[0].float(), head[0].float(), target).dtype == torch.float32


COMPILE = """
import importlib, json
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

target = GPUTarget("cuda", 90, 32)
shared = {}


def build(label, kernel, signature, constants, warps):
    names = kernel.arg_names
    source = ASTSource(
        fn=kernel,
        signature={name: signature.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    shared[label] = triton.compile(source, target=target, options={"num_warps": warps, "num_stages": 2}).metadata.shared


row_pass = importlib.import_module("mixfast.kernels.row_pass")
mixture_nll = importlib.import_module("mixfast.kernels.mixture_nll")
pointers = {"columns_ptr": "*i32", "weight_ptr": "*fp64", "value_ptr": "*fp64", "gradient_ptr": "*fp64", "start_ptr": "*i64",
            "stop_ptr": "*i64", "hessian_ptr": "*fp64", "out_ptr": "*fp64", "mixture_ptr": "*fp32"}
counts = {"n_rows": "i64", "n_experts": "i32", "row_stride": "i64", "tiles_per_program": "i32", "step": "i32",
          "blocks_per_program": "i32", "n_mixtures": "i32", "mixture_tiles": "i32"}
plain = {"SHIFT": False, "BOUNDED": True, "WEIGHTED": False, "GATHER": False}
full = {"SHIFT": True, "BOUNDED": False, "WEIGHTED": True, "GATHER": True}


def tiles(n_experts, shape, mode):
    rows, experts = shape
    return {"ROWS": rows, "EXPERTS": experts, "EXACT": experts == n_experts} | mode


for n_experts, wide, prob, mode in (
    (8, False, "*fp16", plain), (16, False, "*fp32", plain), (256, False, "*fp32", full),
    (16, True, "*fp32", plain), (100, True, "*fp64", full),
):
    share = "*fp64" if wide else "*fp32"
    types = pointers | counts | {"loglik_ptr": prob, "share_ptr": share, "rest_ptr": share}
    build(f"value {n_experts} {wide}", row_pass._value_gradient, types,
          tiles(n_experts, row_pass._tile_shape(n_experts, wide), mode) | {"INNER": row_pass.INNER, "WIDE": wide}, 4)
for n_experts, mode in ((8, plain), (64, full)):
    build(f"hessian {n_experts} {mode['SHIFT']}", row_pass._hessian, pointers | counts | {"loglik_ptr": "*fp32", "share_ptr": "*fp32"},
          tiles(n_experts, row_pass._hessian_shape(n_experts), mode) | {"INNER": row_pass.HESSIAN_INNER}, 4)
for n_experts, m, mode in ((16, 8, plain), (8, 64, full), (64, 1000, plain), (256, 16, plain), (256, 1000, full)):
    rows, experts, mixtures, warps = mixture_nll._shape(n_experts, m)
    build(f"nll {n_experts} {m}", mixture_nll._mixture_nll, pointers | counts | {"loglik_ptr": "*fp32"},
          {"ROWS": rows, "EXPERTS": experts, "MIXTURES": mixtures, "FACTORS": mixture_nll.FACTORS,
           "SINGLE": n_experts <= experts} | mode, warps)
print(json.dumps(shared))
"""


@pytest.mark.process
@pytest.mark.slow
def test_kernels_compile_for_hopper(tmp_path):
    # A new process: in the interpreter a kernel cannot be compiled, and the mode is chosen at import.
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    shared = json.loads(done.stdout.splitlines()[-1])
    assert len(shared) == 12
    # The compiler does not notice if a kernel uses more shared memory than a multiprocessor has.
    assert max(shared.values()) <= 227 * 1024, shared
