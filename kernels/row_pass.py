"""Value, gradient and Hessian of the ensemble loss in one sweep over the rows.

Each program walks its own contiguous run of row blocks with all K experts in registers and keeps float64 sums; its
partial sums go to its own slot and torch adds the slots. No atomics: the same input gives the same bits.
Only the outer products of one block are float32 (in full float32, not tf32), as the stored probabilities are.
"""

import torch
import triton
import triton.language as tl

# The K x K sums of one program live in its registers, in float64: 128 experts are the most that fit.
MAX_FUSED_EXPERTS = 128
# About four programs for each multiprocessor of the largest current chips, to even out the tail.
MAX_PROGRAMS = 528
# Partial Hessians are read once more by torch; beyond this they would cost as much as the table of a small problem.
MAX_PARTIAL_BYTES = 32 << 20
# Rows at a time when K is too large for the kernel and torch's matrix product does the work.
TORCH_ROWS = 1 << 16


@triton.jit
def _row_pass(
    prob_ptr,
    offset_ptr,
    weight_ptr,
    mixture_ptr,
    value_ptr,
    gradient_ptr,
    hessian_ptr,
    n_rows,
    n_experts,
    prob_stride,
    blocks_per_program,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_EXPERTS: tl.constexpr,
):
    # int64 throughout: n * K passes 2^31 at 1e8 rows of 32 experts.
    program = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK_EXPERTS)
    column_used = column < n_experts
    mixture = tl.load(mixture_ptr + column, mask=column_used, other=0.0)

    value = tl.zeros((BLOCK_ROWS,), dtype=tl.float64)
    gradient = tl.zeros((BLOCK_EXPERTS,), dtype=tl.float64)
    hessian = tl.zeros((BLOCK_EXPERTS, BLOCK_EXPERTS), dtype=tl.float64)
    for block in range(blocks_per_program):
        row = (program * blocks_per_program + block) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        weight = tl.load(weight_ptr + row, mask=row < n_rows, other=0.0)
        # A row of weight 0 is not read: it may hold anything, and 0 * log(0) is not 0.
        row_used = weight > 0.0
        offset = tl.load(offset_ptr + row, mask=row_used, other=0.0)
        prob = tl.load(
            prob_ptr + row[:, None] * prob_stride + column[None, :],
            mask=row_used[:, None] & column_used[None, :],
            other=0.0,
        ).to(tl.float32)
        total = tl.sum(prob.to(tl.float64) * mixture[None, :], axis=1)
        total = tl.where(row_used, total, 1.0)
        value += weight * (tl.log(total) + offset)
        inverse = 1.0 / total
        # A row without mass (total 0) has slope -inf in the experts that would give it some, and 0 in the others.
        slope = tl.where(prob > 0.0, prob.to(tl.float64) * (weight * inverse)[:, None], 0.0)
        gradient += tl.sum(slope, axis=0)
        # sqrt(c) on both factors keeps the product symmetric and the range of each factor small.
        v = prob * (tl.sqrt(weight) * inverse).to(tl.float32)[:, None]
        hessian += tl.dot(tl.trans(v), v, input_precision="ieee").to(tl.float64)

    tl.store(value_ptr + program, -tl.sum(value, axis=0))
    tl.store(gradient_ptr + program * n_experts + column, -gradient, mask=column_used)
    tl.store(
        hessian_ptr + (program * n_experts + column[:, None]) * n_experts + column[None, :],
        hessian,
        mask=column_used[:, None] & column_used[None, :],
    )


def _blocks(n_experts: int) -> tuple[int, int, int]:
    """Rows and experts of one tile, and its warps: 4096 probabilities a tile, sides of 16 at least for the product."""
    block_experts = max(16, triton.next_power_of_2(n_experts))
    return max(32, 4096 // block_experts), block_experts, 8 if block_experts > 64 else 4


def _torch_row_pass(
    prob: torch.Tensor, offset: torch.Tensor, weight: torch.Tensor, mixture: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    n_rows, n_experts = prob.shape
    value = torch.zeros((), dtype=torch.float64, device=prob.device)
    gradient = torch.zeros(n_experts, dtype=torch.float64, device=prob.device)
    hessian = torch.zeros((n_experts, n_experts), dtype=torch.float64, device=prob.device)
    for start in range(0, n_rows, TORCH_ROWS):
        rows = slice(start, start + TORCH_ROWS)
        used = weight[rows] > 0
        p, c = prob[rows][used].float(), weight[rows][used]
        total = p.double() @ mixture
        value -= (c * (torch.log(total) + offset[rows][used])).sum()
        gradient -= torch.where(p > 0, p.double() * (c / total)[:, None], 0.0).sum(dim=0)
        v = p * (c.sqrt() / total).float()[:, None]
        hessian += (v.T @ v).double()
    return value, gradient, hessian


def row_pass(
    prob: torch.Tensor,
    offset: torch.Tensor,
    weight: torch.Tensor,
    mixture: torch.Tensor,
    *,
    block_rows: int | None = None,
    programs: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute value, gradient and Hessian of the ensemble loss; `kernels.reference.row_pass` says it in plain torch.

    Parameters
    ----------
    prob : (n, K) float32 or float16 tensor
        ``exp(loglik - offset)``; experts contiguous, rows at any stride. Any n; K up to 128 in the kernel, more by
        torch's own matrix product.
    offset, weight : (n,) tensors
        Read as float64; weight >= 0. Rows of weight 0 are not read.
    mixture : (K,) tensor
        Read as float64.
    block_rows, programs : int, optional
        Rows of a tile (a power of two, at least 16) and number of programs.

    Returns
    -------
    value (), gradient (K,), Hessian (K, K) : float64 tensors on the device of `prob`
        Nats. Two calls with the same input and settings give the same bits. Where a row of positive weight has no mass
        under the mixture, the value is inf, the gradient -inf in the experts that would give it some, and the Hessian
        not finite. Ratios ``p_ik / (p_i . w)`` above 3e38, possible for experts of share 0, overflow the Hessian alone.
    """
    n_rows, n_experts = prob.shape
    offset, weight, mixture = offset.double().contiguous(), weight.double().contiguous(), mixture.double().contiguous()
    if n_experts > MAX_FUSED_EXPERTS:
        return _torch_row_pass(prob, offset, weight, mixture)
    if prob.stride(1) != 1:
        prob = prob.contiguous()
    default_rows, block_experts, warps = _blocks(n_experts)
    block_rows = block_rows or default_rows
    n_blocks = max(1, triton.cdiv(n_rows, block_rows))
    if programs is None:
        programs = min(MAX_PROGRAMS, max(1, MAX_PARTIAL_BYTES // (8 * n_experts * n_experts)))
    blocks_per_program = triton.cdiv(n_blocks, min(programs, n_blocks))
    programs = triton.cdiv(n_blocks, blocks_per_program)
    value = torch.empty(programs, dtype=torch.float64, device=prob.device)
    gradient = torch.empty((programs, n_experts), dtype=torch.float64, device=prob.device)
    hessian = torch.empty((programs, n_experts, n_experts), dtype=torch.float64, device=prob.device)
    _row_pass[(programs,)](
        prob, offset, weight, mixture, value, gradient, hessian,
        n_rows, n_experts, prob.stride(0), blocks_per_program,
        BLOCK_ROWS=block_rows, BLOCK_EXPERTS=block_experts, num_warps=warps,
    )  # fmt: skip
    total = hessian.sum(dim=0)
    return value.sum(), gradient.sum(dim=0), 0.5 * (total + total.T)
