"""The log-probability kernels against reference implementations in plain torch, in float64.

As in test_kernels.py: at most twice the error of the reference in the same dtype, interpreted without a GPU, outputs
and everything around the inputs filled with NaN. 16-bit inputs must also reach the error of float32 sums.
"""

import importlib
import json
import math
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'mixfast[gpu]'")
pytest.importorskip("triton", reason="triton is not installed: pip install 'mixfast[gpu]'")

from mixfast.kernels import reference, token_logprob, token_logprob_from_logits  # noqa: E402
from mixfast.kernels._head_plan import MAX_PARTIAL_SHARE, Tile, parts_for, tile_for  # noqa: E402

# In the interpreter, numpy warns about infinities that a GPU ignores.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# bfloat16 products are wrong in the interpreter unless the kernel converts them first, so they are also tested there.
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# A few rounding errors of a logit in addition to twice the reference's error, for cases in which the reference happens to be exact.
SLACK = 2.0**-23
# Tensor cores sum float32 with fewer bits than the CPU.
FLOAT32_SUMS = 1e-5 if DEVICE == "cuda" else 1e-6
# Small tiles, so that small inputs have several in each direction.
SMALL = Tile(rows=16, columns=32, depth=32, warps=4, stages=2, group=2)

# (n, D, V): single rows and tokens, sizes equal to and different from multiples of the tile size, strides that a descriptor supports
# (multiples of 16 bytes) and others, vocabularies below, at and above one tile of 256 columns.
SHAPES = [(1, 1, 1), (1, 16, 2), (3, 5, 7), (65, 64, 256), (130, 72, 300), (129, 33, 513), (20, 200, 257)]


@pytest.fixture(autouse=True)
def allocated(monkeypatch):
    """Fill every output buffer with NaN, and count the bytes of those that the kernels allocate."""
    sizes = []
    for name in ("empty", "empty_like"):
        plain = getattr(torch, name)

        def poisoned(*args, plain=plain, **kwargs):
            out = plain(*args, **kwargs)
            sizes.append(out.nbytes)
            return out.fill_(float("nan")) if out.is_floating_point() else out

        monkeypatch.setattr(torch, name, poisoned)
    return sizes


def surrounded(*shape, dtype, seed, aligned=True):
    """Return a random tensor as a view into storage of NaN: rows padded, with rows before and after it."""
    generator = torch.Generator().manual_seed(seed)
    padding = -shape[-1] % 8 + 8 if aligned else 3
    storage = torch.full((*shape[:-2], shape[-2] + 2, shape[-1] + padding), float("nan"), dtype=dtype)
    view = storage[..., 1:-1, : shape[-1]]
    view.copy_(torch.randn(*shape, generator=generator))
    return storage.to(DEVICE)[..., 1:-1, : shape[-1]]


def problem(n, d, v, *, dtype=torch.float32, seed=0, experts=None, **settings):
    """Return hidden states, a head with logits of about 4 nats, and targets."""
    lead = () if experts is None else (experts,)
    hidden = surrounded(*lead, n, d, dtype=dtype, seed=seed, **settings)
    head = surrounded(*lead, v, d, dtype=dtype, seed=seed + 1, **settings)
    head.mul_(4 / math.sqrt(d))
    target = torch.randint(v, (n,), generator=torch.Generator().manual_seed(seed + 2)).to(DEVICE)
    return hidden, head, target


def error(got, exact):
    assert got.dtype == torch.float32
    assert got.shape == exact.shape
    assert torch.isfinite(got).all()
    assert (got <= 0).all()
    return float(torch.linalg.vector_norm(got - exact)), float(torch.linalg.vector_norm(exact)) + 1e-30


def check(hidden, head, target, *, tile=None, splits=None, **settings):
    """Compare the kernel with the reference; return the kernel's result."""
    got = token_logprob(hidden, head, target, tile=tile, splits=splits, **settings)
    exact = reference.token_logprob(hidden, head, target, dtype=torch.float64, **settings)
    plain = reference.token_logprob(hidden, head, target, **settings)
    ours, size = error(got, exact)
    theirs, _ = error(plain.clamp(max=0), exact)
    assert ours <= 2 * theirs + SLACK * (size + 1)
    assert ours <= FLOAT32_SUMS * size + 1e-6
    return got


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("n", "d", "v"), SHAPES)
def test_matches_its_twin(n, d, v, dtype):
    check(*problem(n, d, v, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("splits", [1, 2, 5, 100])
def test_does_not_depend_on_tiles_and_splits(splits, dtype):
    # 3 row tiles in groups of 2, 3 full column tiles and a partial one, 2 steps of depth.
    check(*problem(40, 40, 100, dtype=dtype), tile=SMALL, splits=splits)


@pytest.mark.parametrize("aligned", [True, False])
def test_descriptors_and_pointers_give_the_same_bits(aligned, monkeypatch):
    module = importlib.import_module("mixfast.kernels.token_logprob")
    used = []
    describe = module._describe
    monkeypatch.setattr(module, "_describe", lambda *args: used.append(describe(*args)) or used[-1])
    hidden, head, target = problem(33, 40, 70, dtype=torch.float16, aligned=aligned)
    got = check(hidden, head, target, tile=SMALL, splits=2)
    # The interpreter supports descriptors too; a GPU before Hopper does not.
    if DEVICE == "cpu" or torch.cuda.get_device_capability()[0] >= 9:
        assert all((one is not None) == aligned for one in used)
    monkeypatch.setattr(module, "_describe", lambda *args: None)
    assert torch.equal(got, token_logprob(hidden, head, target, tile=SMALL, splits=2))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bias_softcap_and_scale(dtype):
    hidden, head, target = problem(20, 24, 80, dtype=dtype)
    bias = torch.randn(80, generator=torch.Generator().manual_seed(5)).to(DEVICE, dtype)
    for settings in ({"bias": bias}, {"softcap": 3.0}, {"scale": 0.3}, {"bias": bias, "softcap": 2.0, "scale": 1.7}):
        check(hidden, head, target, **settings)
        check(hidden, head, target, tile=SMALL, splits=3, **settings)


def test_softcap_is_exact_for_small_and_for_huge_logits():
    hidden, head, target = problem(20, 16, 40)
    check(hidden * 1e-4, head, target, softcap=30.0)
    check(hidden * 1e4, head, target, softcap=30.0)


def test_columns_beyond_the_vocabulary_do_not_count():
    hidden, head, target = problem(20, 24, 100)
    head[77:] = float("nan")
    target = target % 77
    got = check(hidden, head, target, vocab=77, tile=SMALL, splits=2)
    torch.testing.assert_close(got, check(hidden, head[:77], target), rtol=1e-5, atol=1e-6)


def test_ignored_rows_give_zero_and_are_not_looked_at():
    hidden, head, target = problem(20, 16, 50)
    hidden[[3, 19]] = float("nan")
    target[[3, 19]] = -100
    got = token_logprob(hidden, head, target)
    assert got[[3, 19]].tolist() == [0.0, 0.0]
    keep = target != -100
    assert torch.equal(got[keep], token_logprob(hidden, head, target, splits=1)[keep])
    target[[3, 19]] = 7
    got = token_logprob(hidden, head, target, ignore_index=7)
    assert ((got == 0.0) == (target == 7)).all()
    twin = reference.token_logprob(hidden, head, target, ignore_index=7)
    assert ((twin == 0.0) == (target == 7)).all()


@pytest.mark.parametrize("tile", [None, SMALL])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_experts_of_one_shape(dtype, tile):
    hidden, head, target = problem(20, 24, 70, dtype=dtype, experts=3)
    bias = torch.randn(3, 70, generator=torch.Generator().manual_seed(5)).to(DEVICE)
    got = check(hidden, head, target, bias=bias, tile=tile, splits=2)
    assert got.shape == (20, 3)
    # Contiguous experts use one descriptor, in which the last rows of an expert are followed by the next expert's first.
    assert torch.equal(
        got, token_logprob(hidden.contiguous(), head.contiguous(), target, bias=bias, tile=tile, splits=2)
    )
    for e in range(3):
        assert torch.equal(got[:, e], token_logprob(hidden[e], head[e], target, bias=bias[e], tile=tile, splits=2))


def test_listed_experts_may_differ_in_depth_dtype_and_padding():
    one = problem(21, 16, 40, dtype=torch.float16)
    two = problem(21, 33, 45, seed=7)
    check([one[0], two[0]], [one[1], two[1]], one[2], vocab=40)
    check([one[0], two[0]], [one[1], two[1][:40]], one[2], bias=[None, torch.ones(40, device=DEVICE)])


def test_out_is_filled_where_it_lies():
    hidden, head, target = problem(30, 16, 40, experts=2)
    table = torch.full((30, 5), 3.0, device=DEVICE)
    assert token_logprob(hidden, head, target, out=table[:, 1:5:2]).data_ptr() == table[:, 1:].data_ptr()
    assert torch.equal(table[:, 1:5:2], token_logprob(hidden, head, target))
    assert (table[:, 0:5:2] == 3.0).all()
    token_logprob(hidden[0], head[0], target, out=table[:, 4])
    assert torch.equal(table[:, 4], table[:, 1])
    token_logprob_from_logits(hidden[0], target % 16, out=table[:, 0])
    assert torch.equal(table[:, 0], token_logprob_from_logits(hidden[0], target % 16))


def test_views_of_any_strides():
    hidden, head, target = problem(20, 16, 40)
    check(hidden[:1].expand(20, 16), head, target)
    check(hidden.T.contiguous().T, head[::2], target // 2)
    assert torch.equal(
        token_logprob_from_logits(head.T.contiguous().T, target.repeat(2) % 16),
        token_logprob_from_logits(head, target.repeat(2) % 16),
    )


def test_twice_gives_the_same_bits():
    hidden, head, target = problem(50, 40, 200, dtype=torch.float16)
    one, two = (token_logprob(hidden, head, target, tile=SMALL, splits=4) for _ in range(2))
    assert torch.equal(one, two)


def test_extreme_logits():
    hidden, head, target = problem(20, 16, 60)
    check(hidden * 3000.0, head, target)
    head[:, 0], hidden[:, 0] = 0.0, 1.0
    head[5, 0] = 40.0
    # The target has all but 1e-10 of the probability: log p keeps its precision, as differences from the maximum.
    target[:] = 5
    check(hidden, head, target, tile=SMALL, splits=3)


def test_banned_tokens():
    hidden, head, target = problem(20, 16, 64)
    bias = torch.zeros(64, device=DEVICE)
    bias[:33] = -math.inf  # the first two tiles and more contain only -inf
    target[:] = 40
    check(hidden, head, target, bias=bias, tile=SMALL, splits=4)
    target[4] = 3
    got = token_logprob(hidden, head, target, bias=bias, tile=SMALL, splits=4)
    assert got[4] == -math.inf
    assert torch.isfinite(got).sum() == 19


def test_no_rows_and_no_experts():
    hidden, head, target = problem(3, 16, 40, experts=2)
    assert token_logprob(hidden[:0], head[:0], target).shape == (3, 0)
    assert token_logprob(hidden[:, :0], head, target[:0]).shape == (0, 2)
    assert token_logprob(hidden[0, :0], head[0], target[:0]).shape == (0,)
    assert token_logprob_from_logits(head[0, :0], target[:0]).shape == (0,)


@pytest.mark.parametrize("aligned", [True, False])
def test_rows_beyond_two_to_the_31_elements(aligned):
    # 4 GB of address space, of which a few pages are used: almost no CPU memory.
    stride = 2**31 + (8 if aligned else 3)
    hidden, head, target = problem(2, 16, 40, dtype=torch.float16)
    storage = torch.zeros(0, dtype=torch.float16, device=DEVICE).resize_(stride + 16)
    far = storage.as_strided((2, 16), (stride, 1))
    far.copy_(hidden)
    check(far, head, target)
    far.copy_(head[:2])
    check(hidden, far, target % 2)
    far.copy_(hidden)
    assert torch.equal(token_logprob_from_logits(far, target % 16), token_logprob_from_logits(hidden, target % 16))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("n", "v"), [(1, 1), (3, 7), (5, 4096), (4, 10001)])
def test_from_logits_matches_its_twin(n, v, dtype):
    logits = surrounded(n, v, dtype=dtype, seed=0, aligned=False)
    logits.mul_(4)
    target = torch.randint(v, (n,), generator=torch.Generator().manual_seed(2)).to(DEVICE)
    for settings in ({}, {"softcap": 3.0, "scale": 0.7}, {"vocab": int(target.max()) + 1}):
        got = token_logprob_from_logits(logits, target, **settings)
        exact = reference.token_logprob_from_logits(logits, target, dtype=torch.float64, **settings)
        plain = reference.token_logprob_from_logits(logits, target, **settings)
        ours, size = error(got, exact)
        theirs, _ = error(plain.clamp(max=0), exact)
        assert ours <= 2 * theirs + SLACK * (size + 1)
        assert ours <= FLOAT32_SUMS * size + 1e-6


def test_from_logits_agrees_with_the_fused_form():
    hidden, head, target = problem(30, 16, 100)
    target[4] = -100
    logits = hidden @ head.T
    logits[4] = float("nan")
    torch.testing.assert_close(
        token_logprob_from_logits(logits, target), token_logprob(hidden, head, target), rtol=1e-5, atol=1e-6
    )


def replaced(row, value, of):
    out = of.clone()
    out[row] = value
    return out


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda h, w, t: (h, w, replaced(3, 40, t)), ValueError, r"target\[3\] is 40; expected 0 to 39"),
        (lambda h, w, t: (h, w, replaced([2, 7], -1, t)), ValueError, r"target\[2\] is -1.*out of range: 2, 7"),
        (lambda h, w, t: (h, w, t[:-1]), ValueError, r"target has shape \(9,\); expected \(10,\)"),
        (lambda h, w, t: (h, w, t.float()), TypeError, "target is torch.float32"),
        (lambda h, w, t: (h, w.half(), t), TypeError, "hidden is torch.float32 and head torch.float16"),
        (lambda h, w, t: (h.double(), w.double(), t), TypeError, "hidden of expert 0 is torch.float64"),
        (lambda h, w, t: (h[:, :3], w, t), ValueError, "depths must be equal"),
        (lambda h, w, t: (h, w[:0], t), ValueError, "head has no tokens"),
        (lambda h, w, t: (h[None], w, t), ValueError, r"hidden has shape \(1, 10, 8\) and head \(40, 8\)"),
        (lambda h, w, t: ([h], w, t), TypeError, "both be tensors, or both lists"),
        (lambda h, w, t: ([h, h], [w], t), ValueError, "lists 2 experts, head 1"),
        (lambda h, w, t: ([h, h[:4]], [w, w], t), ValueError, "expert 1: hidden has 4 rows, the first expert 10"),
        (lambda h, w, t: ([h, h], [w, w[:30]], t), ValueError, r"heads have \[30, 40\] tokens.*vocab=30"),
        (lambda h, w, t: (replaced([1, 8], math.inf, h), w, t), ValueError, "hidden is NaN or infinite in rows 1, 8"),
        (lambda h, w, t: ([h, replaced(2, math.nan, h)], [w, w], t), ValueError, "expert 1: hidden is NaN.* rows 2;"),
        (lambda h, w, t: (h, replaced(6, math.nan, w), t), ValueError, "head is NaN or infinite for tokens 6"),
        (lambda h, w, t: (h * 1e25, w * 1e25, t), ValueError, "products overflow"),
        (lambda h, w, t: (h, w, t.to("meta")), ValueError, "different devices.*target on meta"),
    ],
)
def test_refuses(change, kind, message):
    with pytest.raises(kind, match=message):
        token_logprob(*change(*problem(10, 8, 40)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 0.0}, "scale is 0.0"),
        ({"softcap": -1.0}, "softcap is -1.0"),
        ({"softcap": math.nan}, "softcap is nan"),
        ({"vocab": 41}, "vocab is 41; expected 1 to 40"),
        ({"vocab": 20}, "expected 0 to 19"),
        ({"out": torch.zeros(10, 1, device=DEVICE)}, r"out has shape \(10, 1\)"),
        ({"out": torch.zeros(10, dtype=torch.float64, device=DEVICE)}, "torch.float64"),
    ],
)
def test_refuses_settings(settings, message):
    hidden, head, target = problem(10, 8, 40)
    with pytest.raises(ValueError, match=message):
        token_logprob(hidden, head, target, **settings)
    with pytest.raises(ValueError, match=message.replace("is 41; expected 1 to 40", "")):
        token_logprob_from_logits(torch.zeros(10, 40, device=DEVICE), target, **settings)


def test_refuses_bias_of_another_shape():
    hidden, head, target = problem(10, 8, 40)
    with pytest.raises(ValueError, match=r"bias has shape \(1, 39\); expected \(1, 40\)"):
        token_logprob(hidden, head, target, bias=torch.zeros(39, device=DEVICE))


def test_refuses_logits_that_are_no_numbers():
    logits = torch.zeros(6, 10, device=DEVICE)
    logits[2, 3], logits[4] = math.nan, -math.inf
    with pytest.raises(ValueError, match="rows 2, 4"):
        token_logprob_from_logits(logits, torch.ones(6, dtype=torch.long, device=DEVICE))


def test_says_so_without_gpu_and_interpreter(monkeypatch):
    checks = importlib.import_module("mixfast.kernels._logprob_checks")
    monkeypatch.setattr(checks, "is_interpreted", lambda kernel: False)
    hidden, head, target = (x.cpu() for x in problem(10, 8, 40))
    with pytest.raises(ValueError, match="on cpu, and the kernels run on a CUDA device"):
        token_logprob(hidden, head, target)
    with pytest.raises(ValueError, match=r"mixfast\.kernels\.reference"):
        token_logprob_from_logits(hidden, target)


@pytest.mark.parametrize("vocab", [1000, 32000, 50257, 128256, 262144])
@pytest.mark.parametrize("units", [1, 8, 128, 1000])
def test_splits_fill_the_processors_within_one_percent_of_the_logits(vocab, units):
    tile = tile_for(torch.bfloat16, 10_000)
    parts = parts_for(vocab, 1024, tile, units, 132, 2)
    assert sum(last - first for first, last, _, _ in parts) == -(-vocab // tile.columns)
    slots = sum(part.splits for part in parts)
    assert slots <= 2 or 8 * slots + 4 <= MAX_PARTIAL_SHARE * 2 * vocab
    if units >= 8 and vocab >= 32000:
        first, last, splits, _ = parts[0]
        assert splits >= 8, "all row tiles would walk through the same columns"
        rounds = -(-units * splits // 132) * -(-(last - first) // splits)
        assert units * (last - first) / (132 * rounds) >= 0.94, "multiprocessors wait for the last ones"


def test_memory_beside_the_result_is_small(allocated):
    n, v = 300, 2048
    hidden, head, target = problem(n, 8, v, dtype=torch.float16)
    allocated.clear()
    out = token_logprob(hidden, head, target)
    assert sum(allocated) - out.nbytes <= 0.01 * n * v * 2 + 8 * n


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")
@pytest.mark.parametrize("vocab", [50257, 131072])
def test_of_real_size(vocab):
    # n * V exceeds 2^31 in both cases, and the last tile of 50257 is partial.
    n, d = 50_000, 1024
    generator = torch.Generator(DEVICE).manual_seed(0)
    hidden = torch.randn(n, d, generator=generator, device=DEVICE, dtype=torch.bfloat16)
    head = torch.randn(vocab, d, generator=generator, device=DEVICE, dtype=torch.bfloat16) * (4 / math.sqrt(d))
    target = torch.randint(vocab, (n,), generator=generator, device=DEVICE)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    got = token_logprob(hidden, head, target)
    assert torch.cuda.max_memory_allocated() - before <= 0.01 * n * vocab * 2
    for start in range(0, n, 5000):
        rows = slice(start, start + 5000)
        exact = reference.token_logprob(hidden[rows], head, target[rows], dtype=torch.float64)
        ours, size = error(got[rows], exact)
        assert ours <= FLOAT32_SUMS * size


# Run the real functions on CPU tensors up to every launch, which is compiled for sm_90 instead.
COMPILE = """
import importlib, json
import torch, triton
from triton.backends.compiler import GPUTarget


class Hopper:
    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=None):
        return 0


triton.runtime.driver.set_active(Hopper())
report = {}
label = ""
launch = triton.JITFunction.run


def compile_only(self, *args, grid, warmup, **kwargs):
    made = launch(self, *args, grid=grid, warmup=True, **kwargs)
    name = f"{label} {self.__name__}" + (" ragged" if kwargs.get("RAGGED") else "")
    report[name] = {"shared": made.metadata.shared, "ptx": made.asm["ptx"], "ttgir": made.asm["ttgir"]}


triton.JITFunction.run = compile_only
checks = importlib.import_module("mixfast.kernels._logprob_checks")
checks.check_device = lambda *args, **kwargs: None
checks.all_finite = lambda result: True
fused = importlib.import_module("mixfast.kernels.token_logprob")


def head(name, dtype, n, d, v, *, lead=(), **settings):
    global label
    label = name
    target = torch.zeros(n, dtype=torch.long)
    fused.token_logprob(torch.zeros(*lead, n, d, dtype=dtype), torch.zeros(*lead, v, d, dtype=dtype), target, **settings)


head("bf16", torch.bfloat16, 200, 512, 300)
head("few rows", torch.bfloat16, 1, 64, 256)
head("all", torch.float16, 200, 64, 1000, lead=(3,), bias=torch.zeros(3, 1000), softcap=3.0, scale=0.5)
head("fp32", torch.float32, 200, 512, 640)
fused._capability = lambda device: 8
head("before Hopper", torch.bfloat16, 200, 512, 256)
head("before Hopper, fp32", torch.float32, 1, 3, 1)
label = "logits"
importlib.import_module("mixfast.kernels.token_logprob_from_logits").token_logprob_from_logits(
    torch.zeros(10, 50257, dtype=torch.bfloat16), torch.zeros(10, dtype=torch.long)
)
print(json.dumps(report))
"""


@pytest.mark.process
@pytest.mark.slow
def test_kernels_compile_for_hopper(tmp_path):
    # A new process: in the interpreter a kernel cannot be compiled, and the mode is chosen at import.
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert len(report) == 15
    shared = {label: made["shared"] for label, made in report.items()}
    # The compiler does not notice if a kernel uses more shared memory than a multiprocessor has.
    assert max(shared.values()) <= 227 * 1024, shared
    products = [label for label in report if "_head_pass" in label and "fp32" not in label]
    assert all("wgmma.mma_async" in report[label]["ptx"] for label in products)
    described = [label for label in products if "before Hopper" not in label]
    assert len(described) == 5
    for label in described:
        ptx, ttgir = report[label]["ptx"], report[label]["ttgir"]
        assert "cp.async.bulk.tensor" in ptx, label
        # After a product that may still run, the compiler must wait before anything reads the result: at the start of
        # the branch that ends a tile, and not inside another condition in that branch, where it can place the wait incorrectly.
        running = ttgir.split("pendings = 1 ", 1)[1].split("pendings = 0 ", 1)[0]
        assert sum("scf.if" in line and "tensor<" in line for line in running.splitlines()) == 1, label
