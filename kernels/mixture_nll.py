"""Losses of many mixtures over the rows of a table, by group, in one launch.

A program takes one piece of rows (never across a group boundary) and one tile of mixtures: a small matrix product, the
logarithm, a weighted sum over its rows. The n x M intermediate never leaves the registers. Partial sums are float64,
one slot for each piece, added by torch in a fixed order.
"""

from itertools import pairwise

import torch
import triton
import triton.language as tl

# Rows of one piece: enough work to hide the launch, few enough that 1e6 rows still give some hundred pieces.
PIECE_ROWS = 4096


@triton.jit
def _mixture_nll(
    prob_ptr,
    offset_ptr,
    weight_ptr,
    mixture_ptr,
    start_ptr,
    stop_ptr,
    out_ptr,
    n_experts,
    n_mixtures,
    prob_stride,
    blocks_per_piece,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_EXPERTS: tl.constexpr,
    BLOCK_MIXTURES: tl.constexpr,
):
    piece = tl.program_id(0).to(tl.int64)
    start = tl.load(start_ptr + piece)
    stop = tl.load(stop_ptr + piece)
    candidate = tl.program_id(1).to(tl.int64) * BLOCK_MIXTURES + tl.arange(0, BLOCK_MIXTURES)
    candidate_used = candidate < n_mixtures

    loss = tl.zeros((BLOCK_MIXTURES,), dtype=tl.float64)
    for block in range(blocks_per_piece):
        row = start + block * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        weight = tl.load(weight_ptr + row, mask=row < stop, other=0.0)
        # A row of weight 0 is not read: it may hold anything, and 0 * log(0) is not 0.
        row_used = weight > 0.0
        offset = tl.load(offset_ptr + row, mask=row_used, other=0.0)
        total = tl.zeros((BLOCK_ROWS, BLOCK_MIXTURES), dtype=tl.float32)
        for first in range(0, n_experts, BLOCK_EXPERTS):
            column = first + tl.arange(0, BLOCK_EXPERTS)
            column_used = column < n_experts
            prob = tl.load(
                prob_ptr + row[:, None] * prob_stride + column[None, :],
                mask=row_used[:, None] & column_used[None, :],
                other=0.0,
            ).to(tl.float32)
            share = tl.load(
                mixture_ptr + candidate[None, :] * n_experts + column[:, None],
                mask=candidate_used[None, :] & column_used[:, None],
                other=0.0,
            )
            total += tl.dot(prob, share, input_precision="ieee")
        total = tl.where(row_used[:, None] & candidate_used[None, :], total, 1.0)
        loss += tl.sum(weight[:, None] * (tl.log(total).to(tl.float64) + offset[:, None]), axis=0)

    tl.store(out_ptr + piece * n_mixtures + candidate, -loss, mask=candidate_used)


def _pieces(bounds: list[int], piece_rows: int) -> tuple[list[int], list[int], list[int]]:
    """First and last row of every piece, and the first piece of every group (with the end)."""
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
    prob: torch.Tensor,
    offset: torch.Tensor,
    weight: torch.Tensor,
    groups: torch.Tensor,
    mixtures: torch.Tensor,
    *,
    block_rows: int = 64,
    piece_rows: int = PIECE_ROWS,
) -> torch.Tensor:
    """Compute the losses of M mixtures on each group; `kernels.reference.mixture_nll` says it in plain torch.

    Parameters
    ----------
    prob : (n, K) float32 or float16 tensor
        ``exp(loglik - offset)``; experts contiguous, rows at any stride.
    offset, weight : (n,) tensors
        Read as float64; weight >= 0. Rows of weight 0 are not read.
    groups : (G + 1,) integer tensor
        Group g is the rows ``groups[g]:groups[g + 1]``.
    mixtures : (M, K) tensor
        Read as float32, as the products are.
    block_rows, piece_rows : int
        Rows of a tile (a power of two, at least 16) and of a program.

    Returns
    -------
    (M, G) float64 tensor on the device of `prob`
        Nats; 0 for a group without rows. Two calls with the same input and settings give the same bits.
    """
    n_experts, n_mixtures = prob.shape[1], mixtures.shape[0]
    offset, weight = offset.double().contiguous(), weight.double().contiguous()
    shares = mixtures.to(device=prob.device, dtype=torch.float32).contiguous()
    if prob.stride(1) != 1:
        prob = prob.contiguous()
    starts, stops, first_piece = _pieces(groups.tolist(), piece_rows)
    result = torch.zeros((n_mixtures, len(first_piece) - 1), dtype=torch.float64, device=prob.device)
    if not starts or not n_mixtures:
        return result
    block_experts = min(64, max(16, triton.next_power_of_2(n_experts)))
    block_mixtures = min(64, max(16, triton.next_power_of_2(n_mixtures)))
    longest = max(stop - start for start, stop in zip(starts, stops, strict=True))
    partial = torch.empty((len(starts), n_mixtures), dtype=torch.float64, device=prob.device)
    _mixture_nll[(len(starts), triton.cdiv(n_mixtures, block_mixtures))](
        prob, offset, weight, shares,
        torch.tensor(starts, dtype=torch.int64, device=prob.device),
        torch.tensor(stops, dtype=torch.int64, device=prob.device),
        partial,
        n_experts, n_mixtures, prob.stride(0), triton.cdiv(longest, block_rows),
        BLOCK_ROWS=block_rows, BLOCK_EXPERTS=block_experts, BLOCK_MIXTURES=block_mixtures, num_warps=4,
    )  # fmt: skip
    for g, (first, last) in enumerate(pairwise(first_piece)):
        result[:, g] = partial[first:last].sum(dim=0)
    return result
