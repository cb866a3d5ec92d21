"""Log-probabilities of target tokens from hidden states and output embeddings; the logits are never stored.

A program takes one tile of rows and one split of the vocabulary. It walks through the split tile by tile: a matrix product
into registers, then the running maximum and sum of exponentials of each row, and the target's logit when its column
is reached. One float32 pair for each row and split goes to memory; a second, tiny kernel joins them in a fixed order.
There are no atomics: the same input on the same device gives the same bits. `benchmarks/studies/roofline.md` derives its speed limit.
"""

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from . import _logprob_checks as checks
from ._head_plan import Tile, parts_for, tile_for

try:
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # triton before 3.4: the kernel loads through pointers
    TensorDescriptor = None

LOG2_E = math.log2(math.e)
# Rows and partial results that a program of the joining kernel takes.
JOIN_ROWS, JOIN_SLOTS = 128, 16


@triton.jit
def _tanh(x):
    # Odd polynomial near 0, where 1 - 2 / (e^2x + 1) cancels. Error below 2 units in the last place in both parts.
    square = x * x
    near = -0.00627638759
    near = near * square + 0.021116214
    near = near * square - 0.0538751382
    near = near * square + 0.13332924
    near = near * square - 0.333333304
    near = x + x * (square * near)
    size = tl.abs(x)
    far = 1.0 - 2.0 / (tl.math.exp2(2.8853900817779268 * size) + 1.0)
    return tl.where(size < 0.6, near, tl.where(x < 0.0, -far, far))


@triton.jit(do_not_specialize=["n_rows", "vocab", "first_tile", "last_tile", "n_splits", "first_slot"])
def _head_pass(
    hidden,
    head,
    target_ptr,
    bias_ptr,
    peak_ptr,
    mass_ptr,
    picked_ptr,
    n_rows,
    n_experts,
    vocab,
    head_rows,
    depth,
    first_tile,
    last_tile,
    n_splits,
    first_slot,
    hidden_expert_stride,
    hidden_stride,
    head_expert_stride,
    head_stride,
    bias_stride,
    cap_slope,
    factor,
    RAGGED: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_CAP: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
    UPCAST: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
):
    program = tl.program_id(0)
    row_tiles = tl.cdiv(n_rows, ROWS)
    expert = program // (row_tiles * n_splits)
    program = program % (row_tiles * n_splits)
    first_in_group = program // (GROUP * n_splits) * GROUP
    in_group = min(row_tiles - first_in_group, GROUP)
    program = program % (GROUP * n_splits)
    first_row = (first_in_group + program % in_group) * ROWS
    split = program // in_group
    start = first_tile + split * (last_tile - first_tile) // n_splits
    stop = first_tile + (split + 1) * (last_tile - first_tile) // n_splits

    row = first_row + tl.arange(0, ROWS)
    row_used = row < n_rows
    target = tl.load(target_ptr + row, mask=row_used, other=-1).to(tl.int32)
    expert_row = expert.to(tl.int64) * n_rows + row
    if not DESCRIPTORS:
        hidden_rows = hidden + expert.to(tl.int64) * hidden_expert_stride + row.to(tl.int64)[:, None] * hidden_stride
        head += expert.to(tl.int64) * head_expert_stride

    peak = tl.full((ROWS,), float("-inf"), dtype=tl.float32)
    mass = tl.zeros((ROWS,), dtype=tl.float32)
    picked = tl.zeros((ROWS,), dtype=tl.float32)
    # Flattened, so that the loads of the next tile overlap with the exponentials of this one. In the flattened loop the
    # logits must not be inside a condition: some compilers then do not wait for the product.
    for tile in tl.range(start, stop, flatten=True):
        first_column = tile * COLUMNS
        column = first_column + tl.arange(0, COLUMNS)
        logit = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        for k in range(0, depth, DEPTH):
            if DESCRIPTORS:
                # Rows past the last row of an expert belong to the next expert or are zeros; they are neither stored nor summed.
                left = hidden.load([expert * n_rows + first_row, k])
                right = head.load([expert * head_rows + first_column, k])
            else:
                step = k + tl.arange(0, DEPTH)
                step_used = (step < depth)[None, :]
                left = tl.load(hidden_rows + step[None, :], mask=row_used[:, None] & step_used, other=0.0)
                right = tl.load(
                    head + column.to(tl.int64)[:, None] * head_stride + step[None, :],
                    mask=(column < vocab)[:, None] & step_used,
                    other=0.0,
                )
            if UPCAST:
                left, right = left.to(tl.float32), right.to(tl.float32)
            logit = tl.dot(left, tl.trans(right), logit, input_precision=PRECISION)
        if HAS_BIAS:
            offset = tl.load(bias_ptr + expert.to(tl.int64) * bias_stride + column, mask=column < vocab, other=0.0)
            logit += offset.to(tl.float32)[None, :]
        if HAS_CAP:
            logit = _tanh(logit * cap_slope)
        picked += tl.sum(tl.where(column[None, :] == target[:, None], logit, 0.0), axis=1)
        if RAGGED:
            logit = tl.where((column < vocab)[None, :], logit, float("-inf"))
        # Powers of 2: `factor` holds the scale and log2(e), and one multiply-add makes the exponent.
        higher = tl.maximum(peak, tl.max(logit, axis=1) * factor)
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        mass = mass * tl.math.exp2(peak - shift) + tl.sum(
            tl.math.exp2(tl.math.fma(logit, factor, -shift[:, None])), axis=1
        )
        peak = higher

    slot = (first_slot + split).to(tl.int64) * n_experts * n_rows + expert_row
    tl.store(peak_ptr + slot, peak, mask=row_used)
    tl.store(mass_ptr + slot, mass, mask=row_used)
    tl.store(picked_ptr + expert_row, picked, mask=row_used & (target >= start * COLUMNS) & (target < stop * COLUMNS))


@triton.jit(do_not_specialize=["n_rows", "n_slots", "vocab"])
def _join(
    peak_ptr,
    mass_ptr,
    picked_ptr,
    target_ptr,
    out_ptr,
    n_rows,
    n_slots,
    vocab,
    slot_stride,
    row_stride,
    expert_stride,
    ignore_index,
    factor,
    ROWS: tl.constexpr,
    SLOTS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    row_used = row < n_rows
    expert = tl.program_id(1).to(tl.int64)
    expert_row = expert * n_rows + row
    peak = tl.full((ROWS,), float("-inf"), dtype=tl.float32)
    mass = tl.zeros((ROWS,), dtype=tl.float32)
    for first in range(0, n_slots, SLOTS):
        slot = first + tl.arange(0, SLOTS)
        place = slot.to(tl.int64)[:, None] * slot_stride + expert_row[None, :]
        used = (slot < n_slots)[:, None] & row_used[None, :]
        peaks = tl.load(peak_ptr + place, mask=used, other=float("-inf"))
        masses = tl.load(mass_ptr + place, mask=used, other=0.0)
        higher = tl.maximum(peak, tl.max(peaks, axis=0))
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        mass = mass * tl.math.exp2(peak - shift) + tl.sum(masses * tl.math.exp2(peaks - shift[None, :]), axis=0)
        peak = higher
    target = tl.load(target_ptr + row, mask=row_used, other=ignore_index)
    # A target outside the vocabulary has no logit: NaN, which the check of the result detects.
    known = row_used & (target >= 0) & (target < vocab)
    picked = tl.load(picked_ptr + expert_row, mask=known, other=float("nan"))
    # Every term is relative to the maximum, so a target with nearly all of the mass keeps its precision.
    logprob = (tl.math.fma(picked, factor, -peak) - tl.math.log2(mass)) * 0.6931471805599453
    logprob = tl.where(logprob > 0.0, 0.0, logprob)
    logprob = tl.where(target == ignore_index, 0.0, logprob)
    tl.store(out_ptr + row.to(tl.int64) * row_stride + expert * expert_stride, logprob, mask=row_used)


def _capability(device: torch.device) -> int:
    """Return the major compute capability; the interpreter is treated as Hopper."""
    return torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else 9


def _describe(tensor: torch.Tensor, rows: int, depth: int) -> object | None:
    """Return a tensor-memory descriptor of (E, n, D) as (E * n, D), or None if the hardware does not support it."""
    n_experts, n, d = tensor.shape
    size = tensor.element_size()
    usable = (
        TensorDescriptor is not None
        and _capability(tensor.device) >= 9
        and tensor.stride(2) == 1
        and tensor.stride(1) >= d
        and (n_experts == 1 or tensor.stride(0) == n * tensor.stride(1))
        and tensor.stride(1) * size % 16 == 0
        and tensor.data_ptr() % 16 == 0
        and n_experts * n + rows < 2**31
    )
    if not usable:
        return None
    return TensorDescriptor(tensor, [n_experts * n, d], [tensor.stride(1), 1], [rows, depth])


def _launch(
    hidden: torch.Tensor,
    head: torch.Tensor,
    bias: torch.Tensor | None,
    target: torch.Tensor,
    out: torch.Tensor,
    *,
    vocab: int,
    softcap: float | None,
    scale: float,
    ignore_index: int,
    tile: Tile | None,
    splits: int | None,
) -> None:
    """Fill (n, E) `out` from (E, n, D) hidden states and (E, V, D) heads."""
    n_experts, n_rows, depth = hidden.shape
    device = hidden.device
    tile = tile or tile_for(hidden.dtype, n_rows, _capability(device))
    hidden = hidden if hidden.stride(2) == 1 else hidden.contiguous()
    head = head if head.stride(2) == 1 else head.contiguous()
    left, right = _describe(hidden, tile.rows, tile.depth), _describe(head, tile.columns, tile.depth)
    described = left is not None and right is not None
    units = n_experts * triton.cdiv(n_rows, tile.rows)
    processors = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
    parts = parts_for(vocab, depth, tile, units, processors, hidden.element_size(), splits=splits)
    slots = sum(part.splits for part in parts)
    peak = torch.empty((slots, n_experts, n_rows), dtype=torch.float32, device=device)
    mass = torch.empty_like(peak)
    picked = torch.empty((n_experts, n_rows), dtype=torch.float32, device=device)
    interpreted = checks.is_interpreted(_head_pass)
    factor = LOG2_E * (scale if softcap is None else softcap)
    first_slot = 0
    for part in parts:
        _head_pass[(units * part.splits,)](
            left if described else hidden, right if described else head,
            target, target if bias is None else bias, peak, mass, picked,
            n_rows, n_experts, vocab, head.shape[1], depth, part.first, part.last, part.splits, first_slot,
            hidden.stride(0), hidden.stride(1), head.stride(0), head.stride(1), 0 if bias is None else bias.stride(0),
            1.0 if softcap is None else scale / softcap, factor,
            RAGGED=part.ragged, HAS_BIAS=bias is not None, HAS_CAP=softcap is not None, DESCRIPTORS=described,
            # The interpreter multiplies the bit patterns of bfloat16 as if they were integers.
            UPCAST=interpreted, PRECISION="ieee" if hidden.dtype == torch.float32 or interpreted else "tf32",
            ROWS=tile.rows, COLUMNS=tile.columns, DEPTH=tile.depth, GROUP=tile.group,
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
        first_slot += part.splits
    _join[(triton.cdiv(n_rows, JOIN_ROWS), n_experts)](
        peak, mass, picked, target, out, n_rows, slots, vocab, peak.stride(0), out.stride(0), out.stride(1), ignore_index,
        factor, ROWS=JOIN_ROWS, SLOTS=JOIN_SLOTS, num_warps=4,
    )  # fmt: skip


def token_logprob(
    hidden: torch.Tensor | Sequence[torch.Tensor],
    head: torch.Tensor | Sequence[torch.Tensor],
    target: torch.Tensor,
    *,
    bias: torch.Tensor | Sequence[torch.Tensor | None] | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    vocab: int | None = None,
    out: torch.Tensor | None = None,
    tile: Tile | None = None,
    splits: int | None = None,
) -> torch.Tensor:
    """Compute each expert's log-probability of the target tokens without storing logits.

    ``out[i] = log softmax(cap(scale * (hidden[i] @ head.T + bias)))[target[i]]``, where ``cap(x)`` is
    ``softcap * tanh(x / softcap)``. `mixfast.kernels.reference.token_logprob` does the same in plain torch.

    Parameters
    ----------
    hidden : (n, D) or (E, n, D) tensor, or a list of (n, D) tensors
        Last hidden states in float16, bfloat16 or float32, on a CUDA device. Products are summed in float32.
    head : (V, D) or (E, V, D) tensor, or a list of (V, D) tensors
        Output embeddings, in the dtype of `hidden`. (E, ...) tensors are experts of one shape, computed in one launch; listed
        experts may differ in D and in dtype.
    target : (n,) integer tensor
        The tokens, the same for every expert.
    bias : (V,) or (E, V) tensor, or a list, optional
        Added to the logits; -inf bans a token.
    softcap : float, optional
        As above; it triples the exponentials.
    scale : float
        Positive factor of the logits.
    ignore_index : int
        Rows with this target give 0; their hidden states are not checked.
    vocab : int, optional
        Number of columns in use, for padded heads. Default: all.
    out : (n,) or (n, E) float32 tensor, optional
        Filled and returned; any strides.
    tile, splits : optional
        How the kernel divides the work, for tuning. Default: by dtype, shape and number of multiprocessors.

    Returns
    -------
    (n,) float32 tensor, or (n, E) for (E, ...) tensors and lists
        Nats, never above 0.

    Raises
    ------
    ValueError, TypeError
        Shapes, devices or dtypes that do not fit; a target outside the vocabulary (the row is named); a result that is not
        finite (the expert, and the rows or tokens that hold NaN or infinity, are named).

    Notes
    -----
    2 n V D operations. Additional memory: at most 1 % of that of the logits; a copy of an input whose last dimension
    is not contiguous. Waits for the device once, at the end, to check the result; `out` is filled even when that fails.
    Fastest if D-wide rows are multiples of 16 bytes, as the tensor-memory unit of Hopper needs.
    Two calls with the same input and settings on the same device give the same bits.

    Examples
    --------
    >>> hidden = torch.randn(4096, 2048, dtype=torch.bfloat16, device="cuda")  # doctest: +SKIP
    >>> head = torch.randn(50257, 2048, dtype=torch.bfloat16, device="cuda")  # doctest: +SKIP
    >>> token_logprob(hidden, head, torch.randint(50257, (4096,), device="cuda")).shape  # doctest: +SKIP
    torch.Size([4096])
    """
    hiddens, heads, biases = checks.as_lists(hidden, head, bias)
    n_rows = hiddens[0].shape[1]
    checks.check_numbers(scale, softcap)
    widths = {h.shape[1] for h in heads}
    if vocab is None and len(widths) > 1:
        raise ValueError(f"the heads have {sorted(widths)} tokens; say how many count: vocab={min(widths)} or fewer")
    vocab = checks.used_columns(vocab, min(widths), "head")
    for e, (h, w, b) in enumerate(zip(hiddens, heads, biases, strict=True)):
        checks.check_expert(e, h, w, b, n_rows)
        checks.check_device(_head_pass, hidden=h, head=w, bias=b, target=target, out=out)
    checks.check_target(target, n_rows)
    n_experts = sum(len(h) for h in hiddens)
    single = isinstance(hidden, torch.Tensor) and hidden.ndim == 2
    result = checks.checked_out(out, (n_rows,) if single else (n_rows, n_experts), target.device)
    if not result.numel():
        return result
    table = result[:, None] if single else result
    target = target.to(torch.int64).contiguous()
    first = 0
    for h, w, b in zip(hiddens, heads, biases, strict=True):
        # Triton launches on the current device, not on the device of the tensors.
        with torch.cuda.device_of(h):
            _launch(
                h, w, b if b is None else b.contiguous(), target, table[:, first : first + len(h)],
                vocab=vocab, softcap=softcap, scale=scale, ignore_index=ignore_index, tile=tile, splits=splits,
            )  # fmt: skip
        first += len(h)
    if not checks.all_finite(table):
        wrong = checks.not_a_logprob(table, masked=any(b is not None for b in biases))
        checks.explain_targets(wrong, target, vocab, ignore_index)
        checks.explain_inputs(wrong, [x for h in hiddens for x in h], [x[:vocab] for h in heads for x in h])
    return result
