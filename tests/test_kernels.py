"""The Triton kernels against their plain-torch twins in float64.

A kernel may make at most twice the error that the twin makes in the kernel's own precision. Without a GPU they run
under Triton's interpreter. Outputs are filled with NaN first, and tables are views into storage filled with NaN, so
that a slot left unwritten or a read outside the table shows.
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

from mixfast.kernels import mixture_nll, reference, row_pass  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# A few roundings on top of twice the twin's error, for cases in which the twin happens to be exact.
SLACK = 1e-7

# (n, K): one row, one expert, sides off and on the tile size, K on both sides of a power of two.
SHAPES = [(1, 1), (1, 5), (7, 2), (64, 16), (65, 17), (200, 3), (257, 33), (300, 64), (130, 100), (96, 128)]


@pytest.fixture(autouse=True)
def poisoned_outputs(monkeypatch):
    """Make every output buffer start as NaN."""
    empty = torch.empty

    def poisoned(*args, **kwargs):
        out = empty(*args, **kwargs)
        return out.fill_(float("nan")) if out.is_floating_point() else out

    monkeypatch.setattr(torch, "empty", poisoned)


def table(n, n_experts, *, seed=0, dtype=torch.float32, padding=3):
    """A random table as the solver stores it: maxima of 1, rows padded with NaN, a few rows of weight 0."""
    rng = np.random.default_rng(seed)
    loglik = -3.0 * rng.exponential(size=(n, n_experts)) - 5.0
    top = loglik.max(axis=1)
    storage = np.full((n + 2, n_experts + padding), np.nan)
    storage[:n, :n_experts] = np.exp(loglik - top[:, None])
    prob = torch.tensor(storage, dtype=dtype, device=DEVICE)[:n, :n_experts]
    weight = rng.uniform(0.5, 2.0, size=n) / n
    if n > 4:
        weight[2] = 0.0
        prob[2] = float("nan")
    offset, weight = (torch.tensor(x, dtype=torch.float64, device=DEVICE) for x in (top, weight))
    return prob, offset, weight


def mixtures_of(m, n_experts, *, seed=1):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.dirichlet(np.ones(n_experts), size=m), dtype=torch.float64, device=DEVICE)


def error(got, exact):
    assert got.dtype == torch.float64
    assert got.shape == exact.shape
    assert torch.isfinite(got).all()
    return float(torch.linalg.vector_norm(got - exact) / torch.linalg.vector_norm(exact))


def check_row_pass(prob, offset, weight, mixture, **settings):
    got = row_pass(prob, offset, weight, mixture, **settings)
    exact = reference.row_pass(prob, offset, weight, mixture, dtype=torch.float64)
    plain = reference.row_pass(prob, offset, weight, mixture, dtype=torch.float32)
    for ours, theirs, truth in zip(got, plain, exact, strict=True):
        assert error(ours, truth) <= 2 * error(theirs, truth) + SLACK
    return got


@pytest.mark.parametrize(("n", "n_experts"), SHAPES)
def test_row_pass_matches_its_twin(n, n_experts):
    prob, offset, weight = table(n, n_experts)
    value, gradient, hessian = check_row_pass(prob, offset, weight, mixtures_of(1, n_experts)[0])
    assert value.shape == ()
    assert torch.equal(hessian, hessian.T)
    # <w, g> = -sum c whatever the table holds.
    inner = gradient @ mixtures_of(1, n_experts)[0]
    assert float(inner) == pytest.approx(-float(weight.sum()), rel=1e-12)


@pytest.mark.parametrize("programs", [1, 2, 3, 100])
@pytest.mark.parametrize("block_rows", [16, 32])
def test_row_pass_does_not_depend_on_the_split(programs, block_rows):
    prob, offset, weight = table(150, 12)
    check_row_pass(prob, offset, weight, mixtures_of(1, 12)[0], programs=programs, block_rows=block_rows)


def test_row_pass_beyond_the_kernel_uses_torch(monkeypatch):
    module = importlib.import_module("mixfast.kernels.row_pass")
    monkeypatch.setattr(module, "TORCH_ROWS", 50)
    prob, offset, weight = table(170, 140)
    check_row_pass(prob, offset, weight, mixtures_of(1, 140)[0])


def test_row_pass_of_a_mixture_with_zero_shares():
    prob, offset, weight = table(80, 9)
    mixture = mixtures_of(1, 9)[0]
    mixture[[0, 3, 8]] = 0.0
    check_row_pass(prob, offset, weight, mixture / mixture.sum())


def test_row_pass_of_float16_storage():
    prob, offset, weight = table(120, 10, dtype=torch.float16)
    check_row_pass(prob, offset, weight, mixtures_of(1, 10)[0])


def test_row_pass_of_a_table_in_column_order():
    prob, offset, weight = table(40, 6)
    check_row_pass(prob.T.contiguous().T, offset, weight, mixtures_of(1, 6)[0])


def test_row_pass_twice_gives_the_same_bits():
    prob, offset, weight = table(500, 20)
    mixture = mixtures_of(1, 20)[0]
    for one, two in zip(row_pass(prob, offset, weight, mixture), row_pass(prob, offset, weight, mixture), strict=True):
        assert torch.equal(one, two)


def test_row_pass_of_offsets_of_thousands_of_nats():
    prob, offset, weight = table(90, 4)
    check_row_pass(prob, offset - 4000.0, weight, mixtures_of(1, 4)[0])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("n_experts", [6, 140])
def test_row_pass_of_a_row_without_mass(n_experts):
    prob, offset, weight = table(40, n_experts)
    mixture = mixtures_of(1, n_experts)[0]
    mixture[:2] = 0.0
    prob[7, 2:] = 0.0
    prob[7, 1] = 0.0
    for compute in (row_pass, reference.row_pass):
        value, gradient, _ = compute(prob, offset, weight, mixture / mixture.sum())
        assert float(value) == float("inf")
        assert float(gradient[0]) == -float("inf")
        assert torch.isfinite(gradient[1:]).all()


def test_row_pass_without_rows():
    prob, offset, weight = table(0, 4)
    for part in row_pass(prob, offset, weight, mixtures_of(1, 4)[0]):
        assert torch.equal(part, torch.zeros_like(part))


def check_mixture_nll(prob, offset, weight, groups, mixtures, **settings):
    groups = torch.tensor(groups, device=DEVICE)
    got = mixture_nll(prob, offset, weight, groups, mixtures, **settings)
    exact = reference.mixture_nll(prob, offset, weight, groups, mixtures, dtype=torch.float64)
    plain = reference.mixture_nll(prob, offset, weight, groups, mixtures, dtype=torch.float32)
    assert error(got, exact) <= 2 * error(plain, exact) + SLACK


@pytest.mark.parametrize("m", [1, 16, 70])
@pytest.mark.parametrize(("n", "n_experts"), SHAPES)
def test_mixture_nll_matches_its_twin(n, n_experts, m):
    prob, offset, weight = table(n, n_experts)
    check_mixture_nll(prob, offset, weight, [0, n], mixtures_of(m, n_experts))


def test_mixture_nll_by_group_with_an_empty_one_and_pieces_of_any_size():
    prob, offset, weight = table(230, 11)
    for piece_rows in (1, 7, 64, 1000):
        check_mixture_nll(
            prob, offset, weight, [0, 1, 64, 64, 100, 230], mixtures_of(5, 11), piece_rows=piece_rows, block_rows=16
        )


def test_mixture_nll_of_many_experts():
    prob, offset, weight = table(60, 300)
    check_mixture_nll(prob, offset, weight, [0, 20, 60], mixtures_of(3, 300))


def test_mixture_nll_agrees_with_row_pass():
    prob, offset, weight = table(100, 8)
    mixture = mixtures_of(1, 8)
    value = row_pass(prob, offset, weight, mixture[0])[0]
    loss = mixture_nll(prob, offset, weight, torch.tensor([0, 100], device=DEVICE), mixture)
    assert float(loss[0, 0]) == pytest.approx(float(value), rel=1e-6)


def test_mixture_nll_without_candidates_or_rows():
    prob, offset, weight = table(20, 4)
    groups = torch.tensor([0, 20], device=DEVICE)
    assert mixture_nll(prob, offset, weight, groups, mixtures_of(0, 4)).shape == (0, 1)
    none = mixture_nll(prob[:0], offset[:0], weight[:0], torch.tensor([0, 0], device=DEVICE), mixtures_of(2, 4))
    assert torch.equal(none, torch.zeros_like(none))


def test_twin_row_pass_has_the_derivatives_of_its_value():
    prob, offset, weight = table(50, 6)
    prob = prob.double()
    mixture = mixtures_of(1, 6)[0]

    def value(w):
        return reference.row_pass(prob, offset, weight, w)[0]

    _, gradient, hessian = reference.row_pass(prob, offset, weight, mixture)
    torch.testing.assert_close(torch.autograd.functional.jacobian(value, mixture), gradient)
    torch.testing.assert_close(torch.autograd.functional.hessian(value, mixture), hessian)


def test_twin_row_pass_and_mixture_nll_by_hand():
    prob = torch.tensor([[1.0, 0.5], [0.25, 1.0]], dtype=torch.float64)
    offset, weight = torch.tensor([-1.0, -2.0]).double(), torch.tensor([0.5, 2.0]).double()
    mixture = torch.tensor([0.5, 0.5]).double()
    value, gradient, hessian = reference.row_pass(prob, offset, weight, mixture)
    assert float(value) == pytest.approx(-0.5 * (np.log(0.75) - 1) - 2 * (np.log(0.625) - 2))
    assert gradient.tolist() == pytest.approx([-0.5 / 0.75 - 2 * 0.25 / 0.625, -0.5 * 0.5 / 0.75 - 2 / 0.625])
    assert float(hessian[0, 1]) == pytest.approx(0.5 * 0.5 / 0.75**2 + 2 * 0.25 / 0.625**2)
    losses = reference.mixture_nll(prob, offset, weight, torch.tensor([0, 1, 2]), mixture[None])
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
    shared[label] = triton.compile(source, target=target, options={"num_warps": warps}).metadata.shared


row_pass = importlib.import_module("mixfast.kernels.row_pass")
mixture_nll = importlib.import_module("mixfast.kernels.mixture_nll")
for prob, n_experts in (("*fp16", 5), ("*fp32", 64), ("*fp32", 128)):
    rows, experts, warps = row_pass._blocks(n_experts)
    build(
        f"row_pass {prob} {n_experts}", row_pass._row_pass,
        {"prob_ptr": prob, "offset_ptr": "*fp64", "weight_ptr": "*fp64", "mixture_ptr": "*fp64", "value_ptr": "*fp64",
         "gradient_ptr": "*fp64", "hessian_ptr": "*fp64", "n_rows": "i64", "n_experts": "i32", "prob_stride": "i64",
         "blocks_per_program": "i32"},
        {"BLOCK_ROWS": rows, "BLOCK_EXPERTS": experts}, warps,
    )
build(
    "mixture_nll", mixture_nll._mixture_nll,
    {"prob_ptr": "*fp32", "offset_ptr": "*fp64", "weight_ptr": "*fp64", "mixture_ptr": "*fp32", "start_ptr": "*i64",
     "stop_ptr": "*i64", "out_ptr": "*fp64", "n_experts": "i32", "n_mixtures": "i32", "prob_stride": "i64",
     "blocks_per_piece": "i32"},
    {"BLOCK_ROWS": 64, "BLOCK_EXPERTS": 64, "BLOCK_MIXTURES": 64}, 4,
)
print(json.dumps(shared))
"""


@pytest.mark.slow
def test_kernels_compile_for_hopper(tmp_path):
    # A fresh process: under the interpreter a kernel cannot be compiled, and the choice is made at import.
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    shared = json.loads(done.stdout.splitlines()[-1])
    assert len(shared) == 4
    # The compiler does not notice more shared memory than a multiprocessor has.
    assert max(shared.values()) <= 227 * 1024, shared
