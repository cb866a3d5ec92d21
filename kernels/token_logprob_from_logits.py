"""Log-probabilities of target tokens from existing logits, read once at the speed of memory.

A program takes one row and keeps a maximum and a sum of exponentials for the whole row; several rows on one
multiprocessor hide each other's memory latency. Fewer rows than multiprocessors leave some of the device idle.
"""

import torch
import triton
import triton.language as tl

from . import _logprob_checks as checks
from .token_logprob import LOG2_E, _tanh

# 32 bytes of float16 for each of 256 threads.
BLOCK_COLUMNS = 4096


@triton.jit(do_not_specialize=["vocab"])
def _row_softmax(
    logit_ptr,
    target_ptr,
    out_ptr,
    vocab,
    row_stride,
    out_stride,
    ignore_index,
    cap_slope,
    factor,
    HAS_CAP: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(target_ptr + row)
    logit_ptr += row * row_stride
    peak = -float("inf")
    mass = 0.0
    # Ignored rows are not read.
    width = tl.where(target == ignore_index, 0, vocab)
    for first in range(0, width, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        if HAS_CAP:
            logit = tl.load(logit_ptr + column, mask=column < vocab, other=0.0).to(tl.float32)
            logit = tl.where(column < vocab, _tanh(logit * cap_slope), float("-inf"))
        else:
            logit = tl.load(logit_ptr + column, mask=column < vocab, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(peak, tl.max(logit, axis=0) * factor)
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        mass = mass * tl.math.exp2(peak - shift) + tl.sum(tl.math.exp2(tl.math.fma(logit, factor, -shift)), axis=0)
        peak = higher
    # A target outside the vocabulary has no logit: NaN, which the check of the result detects.
    known = (target >= 0) & (target < vocab)
    picked = tl.load(logit_ptr + target, mask=known, other=float("nan")).to(tl.float32)
    if HAS_CAP:
        picked = _tanh(picked * cap_slope)
    logprob = (tl.math.fma(picked, factor, -peak) - tl.math.log2(mass)) * 0.6931471805599453
    logprob = tl.where(logprob > 0.0, 0.0, logprob)
    tl.store(out_ptr + row * out_stride, tl.where(target == ignore_index, 0.0, logprob))


def token_logprob_from_logits(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    vocab: int | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the log-probability of the target tokens from logits, reading them once.

    ``out[i] = log softmax(cap(scale * logits[i]))[target[i]]``, where ``cap(x) = softcap * tanh(x / softcap)``.

    Parameters
    ----------
    logits : (n, V) tensor
        float16, bfloat16 or float32 on a CUDA device; columns contiguous, rows at any stride. -inf bans a token.
    target : (n,) integer tensor
    softcap, scale, ignore_index, vocab
        As in `mixfast.kernels.token_logprob`.
    out : (n,) float32 tensor, optional
        Filled and returned; any stride.

    Returns
    -------
    (n,) float32 tensor
        Nats, never above 0; computed in float32.

    Raises
    ------
    ValueError, TypeError
        Shapes, devices or dtypes that do not fit; a target outside the vocabulary; rows whose logits hold NaN or
        +infinity, or nothing finite.
    """
    if logits.ndim != 2:
        raise ValueError(f"logits has shape {tuple(logits.shape)}; expected (n, V)")
    checks.check_dtype("logits", logits)
    checks.check_numbers(scale, softcap)
    n_rows = logits.shape[0]
    vocab = checks.used_columns(vocab, logits.shape[1], "logits")
    checks.check_device(_row_softmax, logits=logits, target=target, out=out)
    checks.check_target(target, n_rows)
    result = checks.checked_out(out, (n_rows,), logits.device)
    if not n_rows:
        return result
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    # Triton launches on the current device, not on the device of the tensors.
    with torch.cuda.device_of(logits):
        _row_softmax[(n_rows,)](
            logits, target.to(torch.int64).contiguous(), result, vocab, logits.stride(0), result.stride(0), ignore_index,
            1.0 if softcap is None else scale / softcap, LOG2_E * (scale if softcap is None else softcap),
            HAS_CAP=softcap is not None, COLUMNS=min(BLOCK_COLUMNS, triton.next_power_of_2(vocab)), num_warps=8,
        )  # fmt: skip
    if not checks.all_finite(result):
        wrong = checks.not_a_logprob(result, masked=True)
        checks.explain_targets(wrong, target, vocab, ignore_index)
        if bool(wrong.any()):
            rows = checks.listing(wrong.nonzero()[:, 0])
            raise ValueError(f"logits hold NaN, +infinity or nothing finite in rows {rows}")
    return result
