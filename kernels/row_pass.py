"""Value, gradient and optional Hessian of the ensemble loss, from the stored log-likelihoods.

`_value_gradient` reads every row once, which limits its speed: exp happens in registers, each program walks its own run of rows
and keeps float64 sums, torch adds the programs' slots. `_hessian` reads one of every few blocks of rows, and takes the outer
products on the tensor cores (three tf32 products make one of float32). No atomics: the same input gives the same bits.
"""

import torch
import triton
import triton.language as tl

from ._table import MAX_TILE_EXPERTS, TORCH_ELEMENTS, Table, checked, full_float32, split
from ._tile import expert_columns, exponential, load_rows, logarithm, multiply, row_maxima, row_weights, subtract

# Rows added in the table's precision before the float64 sums, so that one conversion serves this many elements.
INNER = 4
# Elements of the INNER blocks of a tile: 128 bytes of loads in flight for each thread, with registers left for 16 warps.
TILE_ELEMENTS = 4096
# Eight programs for each multiprocessor of the largest current chips, so that the last ones do not leave it idle.
MAX_PROGRAMS = 1056
# A K x K sum in float64 and one in float32 are kept in registers: 64 experts are the most that fit.
MAX_HESSIAN_EXPERTS = 64
# Blocks of rows whose outer products are added in float32, whose adder truncates on the tensor cores.
HESSIAN_INNER = 8
# Partial Hessians are read once more by torch; beyond this they would cost as much as the table of a small problem.
MAX_PARTIAL_BYTES = 16 << 20


@triton.jit
def _probabilities(
    loglik_ptr,
    weight_ptr,
    row,
    n_rows,
    row_stride,
    column,
    used,
    DTYPE: tl.constexpr,
    SHIFT: tl.constexpr,
    BOUNDED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    EXACT: tl.constexpr,
):
    """Return probabilities of rows under experts, weights, which rows are used, and the values subtracted before exp."""
    weight, row_used = row_weights(weight_ptr, row, n_rows, WEIGHTED)
    loglik = load_rows(loglik_ptr, row, row_used, row_stride, column, used, EXACT).to(DTYPE)
    top = tl.zeros((row.shape[0],), dtype=DTYPE)
    if SHIFT:
        top = row_maxima(loglik, used, EXACT)
        loglik = subtract(loglik, top, used, EXACT)
    return exponential(loglik, BOUNDED), weight, row_used, top


@triton.jit
def _value_gradient(
    loglik_ptr,
    columns_ptr,
    weight_ptr,
    share_ptr,
    rest_ptr,
    value_ptr,
    gradient_ptr,
    n_rows,
    n_experts,
    row_stride,
    tiles_per_program,
    ROWS: tl.constexpr,
    EXPERTS: tl.constexpr,
    INNER: tl.constexpr,
    WIDE: tl.constexpr,
    SHIFT: tl.constexpr,
    BOUNDED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    GATHER: tl.constexpr,
    EXACT: tl.constexpr,
):
    # int64 throughout: n * K exceeds 2^31 at 1e8 rows of 32 experts.
    program = tl.program_id(0).to(tl.int64)
    expert, used, column = expert_columns(columns_ptr, 0, n_experts, EXPERTS, GATHER)
    share = tl.load(share_ptr + expert, mask=used, other=0.0)
    if not WIDE:
        rest = tl.load(rest_ptr + expert, mask=used, other=0.0)

    value = tl.zeros((ROWS,), dtype=tl.float64)
    gradient = tl.zeros((ROWS, EXPERTS), dtype=tl.float64)
    for tile in range(tiles_per_program):
        part = tl.zeros((ROWS, EXPERTS), dtype=share.dtype)
        if not WIDE and not WEIGHTED:
            product = tl.full((ROWS,), 1.0, dtype=tl.float32)
            exponent = tl.full((ROWS,), -127 * INNER, dtype=tl.int32)
        # Unrolled, so that the loads of all blocks start before the first is used.
        for inner in tl.static_range(INNER):
            row = ((program * tiles_per_program + tile) * INNER + inner) * ROWS + tl.arange(0, ROWS)
            prob, weight, row_used, top = _probabilities(
                loglik_ptr,
                weight_ptr,
                row,
                n_rows,
                row_stride,
                column,
                used,
                share.dtype,
                SHIFT,
                BOUNDED,
                WEIGHTED,
                EXACT,
            )
            if WIDE:
                total = tl.sum(prob * share[None, :], axis=1)
            else:
                total = tl.sum(prob * share[None, :] + prob * rest[None, :], axis=1)
            total = tl.where(row_used, total, 1.0)
            if WEIGHTED:
                log = logarithm(total).to(tl.float64)
                if SHIFT:
                    log += top.to(tl.float64)
                value += weight.to(tl.float64) * log
                slope = weight.to(total.dtype) / total
            else:
                if WIDE:
                    value += logarithm(total)
                else:
                    product, exponent = multiply(product, exponent, total)
                if SHIFT:
                    value += tl.where(row_used, top.to(tl.float64), 0.0)
                slope = tl.where(row_used, 1.0 / total, 0.0)
            part += prob * slope[:, None]
        gradient += part.to(tl.float64)
        if not WIDE and not WEIGHTED:
            value += logarithm(product).to(tl.float64) + exponent.to(tl.float64) * 0.6931471805599453

    tl.store(value_ptr + program, -tl.sum(value, axis=0))
    tl.store(gradient_ptr + program * n_experts + expert, -tl.sum(gradient, axis=0), mask=used)


@triton.jit
def _hessian(
    loglik_ptr,
    columns_ptr,
    weight_ptr,
    share_ptr,
    hessian_ptr,
    n_rows,
    n_experts,
    row_stride,
    step,
    blocks_per_program,
    ROWS: tl.constexpr,
    EXPERTS: tl.constexpr,
    INNER: tl.constexpr,
    SHIFT: tl.constexpr,
    BOUNDED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    GATHER: tl.constexpr,
    EXACT: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    expert, used, column = expert_columns(columns_ptr, 0, n_experts, EXPERTS, GATHER)
    share = tl.load(share_ptr + expert, mask=used, other=0.0)
    hessian = tl.zeros((EXPERTS, EXPERTS), dtype=tl.float64)
    for outer in range(blocks_per_program):
        part = tl.zeros((EXPERTS, EXPERTS), dtype=tl.float32)
        for inner in range(INNER):
            block = (program * blocks_per_program + outer) * INNER + inner
            row = block * step * ROWS + tl.arange(0, ROWS)
            prob, weight, row_used, _ = _probabilities(
                loglik_ptr,
                weight_ptr,
                row,
                n_rows,
                row_stride,
                column,
                used,
                tl.float32,
                SHIFT,
                BOUNDED,
                WEIGHTED,
                EXACT,
            )
            total = tl.sum(prob * share[None, :], axis=1)
            # sqrt(c) on both factors keeps the product symmetric and the range of each factor small.
            if WEIGHTED:
                scale = tl.sqrt(weight.to(tl.float32)) / total
            else:
                scale = 1.0 / total
            v = prob * tl.where(row_used, scale, 0.0)[:, None]
            part = tl.dot(tl.trans(v), v, part, input_precision="tf32x3")
        hessian += part.to(tl.float64)
    tl.store(
        hessian_ptr + (program * n_experts + expert[:, None]) * n_experts + expert[None, :],
        hessian,
        mask=used[:, None] & used[None, :],
    )


def _tile_shape(n_experts: int, wide: bool) -> tuple[int, int]:
    """Rows (of which INNER are added at once) and experts of a tile of `_value_gradient`."""
    experts = max(2, triton.next_power_of_2(n_experts))
    return max(TILE_ELEMENTS // (2 if wide else 1) // INNER // experts, 1), experts


def _hessian_shape(n_experts: int) -> tuple[int, int]:
    """Rows and experts of a tile of `_hessian`: sides of 16 at least for the product."""
    experts = max(16, triton.next_power_of_2(n_experts))
    return 64, experts


def row_pass(
    loglik: torch.Tensor,
    weight: torch.Tensor | float,
    mixture: torch.Tensor,
    *,
    hessian: int = 1,
    columns: torch.Tensor | None = None,
    shift: bool = True,
    bounded: bool = False,
    wide: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Compute value, gradient and Hessian of the ensemble loss; `kernels.reference.row_pass` does the same in plain torch.

    Parameters
    ----------
    loglik : (n, K) float16, float32 or float64 tensor
        Nats; experts contiguous, rows at any stride. Any n; K up to 256 in the kernels, more by torch.
    weight : (n,) float64 tensor, or float
        c_i >= 0, or the common weight. Rows of weight 0 are not read.
    mixture : (C,) tensor
        Read as float64.
    hessian : int, default 1
        0 for none, 1 for that of all rows, s for s times that of one block of rows in s.
    columns : (C,) int32 tensor, optional
        The experts in use; all by default. Others are not read.
    shift : bool, default True
        Subtract each row's maximum before exp; not needed if no log-likelihood is above the range of exp and no row is
        wholly below it.
    bounded : bool, default False
        No log-likelihood is below the range of exp (-87; -708 if `wide`), after `shift`: saves two operations each.
    wide : bool, default False
        Probabilities in float64 instead of float32: about twice the time on a chip with full float64 rate.

    Returns
    -------
    value (), gradient (C,), Hessian (C, C) or None : float64 tensors on the device of `loglik`
        Nats. Two calls with the same input give the same bits. If a row of positive weight has no mass under the mixture,
        the value is inf, and gradient and Hessian are not finite.
    """
    table = checked(mixture, Table(loglik, weight, columns, shift, bounded, wide))
    mixture = mixture.double().contiguous()
    n_rows, n_experts = loglik.shape[0], mixture.shape[0]
    # Triton launches on the current device, not on the device of the tensors.
    with torch.cuda.device_of(loglik), full_float32():
        if n_experts > MAX_TILE_EXPERTS:
            value, gradient = _torch_value_gradient(table, mixture)
        else:
            value, gradient = _launch_value_gradient(table, mixture)
        if not hessian:
            return value, gradient, None
        if wide or n_experts > MAX_HESSIAN_EXPERTS or not n_rows:
            curvature = _torch_hessian(table, mixture, hessian)
        else:
            curvature = _launch_hessian(table, mixture, hessian)
    return value, gradient, 0.5 * (curvature + curvature.T)


def _launch_value_gradient(table: Table, mixture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    loglik, (n_experts,) = table.loglik, mixture.shape
    rows, experts = _tile_shape(n_experts, table.wide)
    tiles = max(1, triton.cdiv(len(loglik), INNER * rows))
    per_program = triton.cdiv(tiles, min(MAX_PROGRAMS, tiles))
    programs = triton.cdiv(tiles, per_program)
    value = torch.empty(programs, dtype=torch.float64, device=loglik.device)
    gradient = torch.empty((programs, n_experts), dtype=torch.float64, device=loglik.device)
    share, rest = (mixture, mixture) if table.wide else split(mixture)
    _value_gradient[(programs,)](
        *table.pointers(mixture), share, rest, value, gradient, len(loglik), n_experts, loglik.stride(0), per_program,
        ROWS=rows, EXPERTS=experts, INNER=INNER, WIDE=table.wide, **table.flags(), EXACT=experts == n_experts,
        num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    scale = table.common_weight()
    return scale * value.sum(), scale * gradient.sum(dim=0)


def _launch_hessian(table: Table, mixture: torch.Tensor, step: int) -> torch.Tensor:
    loglik, (n_experts,) = table.loglik, mixture.shape
    rows, experts = _hessian_shape(n_experts)
    blocks = triton.cdiv(triton.cdiv(len(loglik), rows * step), HESSIAN_INNER)
    programs = min(MAX_PROGRAMS, blocks, max(1, MAX_PARTIAL_BYTES // (8 * n_experts * n_experts)))
    per_program = triton.cdiv(blocks, programs)
    programs = triton.cdiv(blocks, per_program)
    hessian = torch.empty((programs, n_experts, n_experts), dtype=torch.float64, device=loglik.device)
    _hessian[(programs,)](
        *table.pointers(mixture), mixture.float(), hessian, len(loglik), n_experts, loglik.stride(0), step, per_program,
        ROWS=rows, EXPERTS=experts, INNER=HESSIAN_INNER, **table.flags(), EXACT=experts == n_experts,
        num_warps=4, num_stages=2, enable_fp_fusion=True,
    )  # fmt: skip
    return hessian.sum(dim=0) * (step * table.common_weight())


def _torch_value_gradient(table: Table, mixture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    value = torch.zeros((), dtype=torch.float64, device=mixture.device)
    gradient = torch.zeros_like(mixture)
    rows = max(TORCH_ELEMENTS // mixture.shape[0], 1)
    share, rest = (mixture, None) if table.wide else split(mixture)
    for start in range(0, len(table.loglik), rows):
        prob, c, top = table.probabilities(slice(start, start + rows))
        total = prob @ share if rest is None else (prob @ share).double() + (prob @ rest).double()
        log = torch.log(total).double()
        value -= (c * (log if top is None else log + top)).sum()
        gradient -= (prob.T @ (c / total).to(prob.dtype)).double()
    return value, gradient


def _torch_hessian(table: Table, mixture: torch.Tensor, step: int) -> torch.Tensor:
    """Compute the Hessian in torch from one row in `step`; small steps still read most rows, as parts of the cache lines."""
    total = torch.zeros((mixture.shape[0], mixture.shape[0]), dtype=torch.float64, device=mixture.device)
    rows = max(TORCH_ELEMENTS // mixture.shape[0], 1)
    for start in range(0, len(table.loglik), rows * step):
        prob, c, _ = table.probabilities(slice(start, start + rows * step, step))
        scale = torch.sqrt(c) / (prob @ mixture.to(prob.dtype)).double()
        v = prob * scale.to(prob.dtype)[:, None]
        total += (v.T @ v).double()
    return total * step
