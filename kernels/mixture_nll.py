"""Losses of many mixtures over the rows of a table, by group, in one launch.

A program takes one piece of rows (never across a group boundary) and one tile of mixtures: exp, a small matrix product on the
tensor cores (three tf32 products make one of float32), the logarithm, a sum over its rows. The n x M intermediate never
leaves the registers. If all rows weigh the same, the mantissas of up to 64 rows are multiplied before one logarithm, with
the exponents summed as integers: the logarithm would cost more than the product. Partial sums are float64, one slot for each
piece, added by torch in a fixed order.
"""

from itertools import pairwise

import torch
import triton
import triton.language as tl

from ._table import MAX_TILE_EXPERTS, TORCH_ELEMENTS, Table, checked, full_float32
from ._tile import expert_columns, exponential, load_rows, logarithm, multiply, row_maxima, row_weights, subtract

# The most factors in [1, 2) whose product float32 can hold.
FACTORS = 64
# Number of programs: enough that the last ones do not leave the largest current chips idle.
PROGRAMS = 4 * 1056
# The narrowest product of the tensor cores; Triton before 3.5 does not support it.
LEAST_MIXTURES = 8 if tuple(int(part) for part in triton.__version__.split(".")[:2]) >= (3, 5) else 16
# Fewest rows for which a separate program pays.
LEAST_ROWS = 1024


@triton.jit
def _mixture_nll(
    loglik_ptr,
    columns_ptr,
    weight_ptr,
    mixture_ptr,
    start_ptr,
    stop_ptr,
    out_ptr,
    n_experts,
    n_mixtures,
    row_stride,
    mixture_tiles,
    ROWS: tl.constexpr,
    EXPERTS: tl.constexpr,
    MIXTURES: tl.constexpr,
    FACTORS: tl.constexpr,
    SINGLE: tl.constexpr,
    SHIFT: tl.constexpr,
    BOUNDED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    GATHER: tl.constexpr,
):
    # Tiles of mixtures first: programs that run together read the same rows.
    program = tl.program_id(0).to(tl.int64)
    piece = program // mixture_tiles
    start = tl.load(start_ptr + piece)
    stop = tl.load(stop_ptr + piece)
    candidate = (program % mixture_tiles) * MIXTURES + tl.arange(0, MIXTURES)
    candidate_used = candidate < n_mixtures
    if SINGLE:
        expert, used, column = expert_columns(columns_ptr, 0, n_experts, EXPERTS, GATHER)
        share = tl.load(
            mixture_ptr + candidate[None, :] * n_experts + expert[:, None],
            mask=candidate_used[None, :] & used[:, None],
            other=0.0,
        )

    loss = tl.zeros((MIXTURES,), dtype=tl.float64)
    for first_row in range(start, stop, ROWS * FACTORS):
        product = tl.full((ROWS, MIXTURES), 1.0, dtype=tl.float32)
        exponent = tl.zeros((ROWS, MIXTURES), dtype=tl.int32)
        offset = tl.zeros((ROWS,), dtype=tl.float64)
        last_row = tl.minimum(first_row + ROWS * FACTORS, stop)
        for block in range(first_row, last_row, ROWS):
            # int64, because n * K may exceed 2^31.
            row = block + tl.arange(0, ROWS).to(tl.int64)
            weight, row_used = row_weights(weight_ptr, row, stop, WEIGHTED)
            if SINGLE:
                loglik = load_rows(loglik_ptr, row, row_used, row_stride, column, used, False).to(tl.float32)
                if SHIFT:
                    top = row_maxima(loglik, used, False)
                    loglik = subtract(loglik, top, used, False)
                total = tl.dot(exponential(loglik, BOUNDED), share, input_precision="tf32x3")
            else:
                if SHIFT:
                    top = tl.full((ROWS,), -float("inf"), dtype=tl.float32)
                    for first in range(0, n_experts, EXPERTS):
                        expert, used, column = expert_columns(columns_ptr, first, n_experts, EXPERTS, GATHER)
                        loglik = load_rows(loglik_ptr, row, row_used, row_stride, column, used, False).to(tl.float32)
                        top = tl.maximum(top, row_maxima(loglik, used, False))
                total = tl.zeros((ROWS, MIXTURES), dtype=tl.float32)
                for first in range(0, n_experts, EXPERTS):
                    expert, used, column = expert_columns(columns_ptr, first, n_experts, EXPERTS, GATHER)
                    loglik = load_rows(loglik_ptr, row, row_used, row_stride, column, used, False).to(tl.float32)
                    if SHIFT:
                        loglik = subtract(loglik, top, used, False)
                    share = tl.load(
                        mixture_ptr + candidate[None, :] * n_experts + expert[:, None],
                        mask=candidate_used[None, :] & used[:, None],
                        other=0.0,
                    )
                    total = tl.dot(exponential(loglik, BOUNDED), share, total, input_precision="tf32x3")
            total = tl.where(row_used[:, None] & candidate_used[None, :], total, 1.0)
            if WEIGHTED:
                log = logarithm(total).to(tl.float64)
                if SHIFT:
                    log += top.to(tl.float64)[:, None]
                loss += tl.sum(weight.to(tl.float64)[:, None] * log, axis=0)
            else:
                product, exponent = multiply(product, exponent, total)
                if SHIFT:
                    offset += tl.where(row_used, top.to(tl.float64), 0.0)
        if not WEIGHTED:
            blocks = (last_row - first_row + ROWS - 1) // ROWS
            log = logarithm(product).to(tl.float64) + (exponent - 127 * blocks).to(tl.float64) * 0.6931471805599453
            loss += tl.sum(log, axis=0)
            if SHIFT:
                loss += tl.sum(offset, axis=0)

    tl.store(out_ptr + piece * n_mixtures + candidate, -loss, mask=candidate_used)


def _shape(n_experts: int, n_mixtures: int) -> tuple[int, int, int, int]:
    """Rows, experts and mixtures of a tile, and its warps.

    Few mixtures: narrow and long tiles, for the bytes. Many: wide ones, over which exp is spread, as long as product and exponent
    of every row and mixture fit the registers. Experts beyond 64 come in turns, so that both halves of both factors fit
    the shared memory.
    """
    experts = min(64, max(16, triton.next_power_of_2(n_experts)))
    if n_mixtures <= 16:
        return max(64, 2048 // experts), experts, LEAST_MIXTURES if n_mixtures <= 8 else 16, 4
    if n_mixtures <= 64:
        return 64, experts, 64, 4
    return 64, experts, 128, 8


def _pieces(bounds: list[int], piece_rows: int) -> tuple[list[int], list[int], list[int]]:
    """Return the first and last row of every piece, and the first piece of every group (with the end)."""
    starts: list[int] = []
    stops: list[int] = []
    first_piece = [0]
    for start, stop in pairwise(bounds):
        for row in range(start, stop, piece_rows):
            starts.append(row)
            stops.append(min(row + piece_rows, stop))
        first_piece.append(len(starts))
    return starts, stops, first_piece


def mixture_nll(
    loglik: torch.Tensor,
    weight: torch.Tensor | float,
    groups: list[int],
    mixtures: torch.Tensor,
    *,
    columns: torch.Tensor | None = None,
    shift: bool = True,
    bounded: bool = False,
    wide: bool = False,
    piece_rows: int | None = None,
) -> torch.Tensor:
    """Compute the losses of M mixtures on each group; `kernels.reference.mixture_nll` does the same in plain torch.

    Parameters
    ----------
    loglik, weight, columns, shift, bounded
        As in `row_pass`.
    groups : list of G + 1 int
        Group g is the rows ``groups[g]:groups[g + 1]``.
    mixtures : (M, C) tensor
        Read as float32, as the products are; as float64 if `wide`.
    wide : bool, default False
        Everything in float64, by torch.
    piece_rows : int, optional
        Rows of a program; by default as many as give a few thousand programs.

    Returns
    -------
    (M, G) float64 tensor on the device of `loglik`
        Nats; 0 for a group without rows. Two calls with the same input and settings give the same bits. inf if a row of positive weight has
        no mass under the mixture in float32 (float64 if `wide`).
    """
    table = checked(mixtures, Table(loglik, weight, columns, shift, bounded, wide))
    n_mixtures, n_experts = mixtures.shape
    result = torch.zeros((n_mixtures, len(groups) - 1), dtype=torch.float64, device=loglik.device)
    if groups[-1] == groups[0] or not n_mixtures:
        return result
    if wide or n_experts > MAX_TILE_EXPERTS:
        with full_float32():
            return _torch_mixture_nll(table, groups, mixtures.double(), result)
    rows, experts, tile, warps = _shape(n_experts, n_mixtures)
    tiles = triton.cdiv(n_mixtures, tile)
    if piece_rows is None:
        piece_rows = max(triton.cdiv(groups[-1] - groups[0], max(PROGRAMS // tiles, 1)), LEAST_ROWS)
    starts, stops, first_piece = _pieces(groups, piece_rows)
    # With pinned memory the host does not wait for the work that was queued before.
    limits = torch.tensor([starts, stops], dtype=torch.int64, pin_memory=loglik.is_cuda)
    first_row, last_row = limits.to(loglik.device, non_blocking=True)
    shares = mixtures.float().contiguous()
    partial = torch.empty((len(starts), n_mixtures), dtype=torch.float64, device=loglik.device)
    # Triton launches on the current device, not on the device of the tensors.
    with torch.cuda.device_of(loglik):
        _mixture_nll[(len(starts) * tiles,)](
            *table.pointers(shares), shares, first_row, last_row, partial, n_experts, n_mixtures, table.loglik.stride(0), tiles,
            ROWS=rows, EXPERTS=experts, MIXTURES=tile, FACTORS=FACTORS, SINGLE=n_experts <= experts, **table.flags(),
            num_warps=warps, num_stages=2, enable_fp_fusion=True,
        )  # fmt: skip
    for g, (first, last) in enumerate(pairwise(first_piece)):
        result[:, g] = partial[first:last].sum(dim=0)
    return result * table.common_weight()


def _torch_mixture_nll(table: Table, groups: list[int], mixtures: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    step = max(TORCH_ELEMENTS // max(mixtures.shape), 1)
    shares = mixtures.T if table.wide else mixtures.T.float()
    for g, (start, stop) in enumerate(pairwise(groups)):
        for row in range(start, stop, step):
            prob, c, top = table.probabilities(slice(row, min(row + step, stop)))
            log = torch.log(prob @ shares)
            result[:, g] -= c.to(log.dtype) @ log
            if top is not None:
                result[:, g] -= c @ top
    return result
