"""How `token_logprob` divides its work: the tile of the product by dtype and device, the splits of the vocabulary by shape.

A small table replaces a search at run time, which Triton's interpreter cannot do; `benchmarks/gpu.sh --set tune` measures other choices.
"""

from typing import NamedTuple

import torch

# Partial results may take this part of the memory that the logits would.
MAX_PARTIAL_SHARE = 0.01
# Overheads, in steps of depth: of a tile (the exponentials) and of a program (launch, filling the pipeline, writing).
TILE_COST, START_COST = 3, 4


class Tile(NamedTuple):
    """One tile of the product: rows x columns over steps of depth, and how a program runs it.

    `group` row tiles walk through the same columns at about the same time, so that both operands come from L2:
    on 132 multiprocessors 16 row tiles x 8 splits make the squarest front.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    group: int = 16


class Part(NamedTuple):
    """A launch: tiles `first` to `last` of the vocabulary in `splits` splits; `ragged` if the last column is inside one."""

    first: int
    last: int
    splits: int
    ragged: bool


def tile_for(dtype: torch.dtype, n_rows: int, capability: int = 9) -> Tile:
    """Return the tile for inputs of this dtype on a device of this major compute capability."""
    if dtype == torch.float32:
        # Full float32 has no matrix units: registers, not shared memory, bound the tile.
        return Tile(rows=128, columns=64, depth=16, warps=8, stages=3)
    if capability not in (9, 10):
        # Other chips have less shared memory than data-centre chips from Hopper on: 48 KB fit everywhere.
        return Tile(rows=128, columns=128, depth=32, warps=8, stages=3)
    if n_rows <= 64:
        return Tile(rows=64, columns=256, depth=64, warps=4, stages=4)
    # 128 x 256 sums are half the registers of a multiprocessor, 4 stages of operands 192 of its 227 KB.
    return Tile(rows=128, columns=256, depth=64, warps=8, stages=4)


def parts_for(
    vocab: int, depth: int, tile: Tile, units: int, processors: int, itemsize: int, *, splits: int | None = None
) -> list[Part]:
    """Return the launches for `units` row tiles: the whole tiles, split to fill the processors evenly; the ragged rest.

    The last, ragged tile has a separate launch, because a mask would slow every tile down.
    """
    whole, rest = divmod(vocab, tile.columns)
    steps = -(-depth // tile.depth) + TILE_COST

    def cost(splits: int) -> int:
        return -(-units * splits // processors) * (-(-whole // splits) * steps + START_COST)

    if splits is None:
        # Each row takes 4 bytes for the target's logit and 8 for each split.
        most = int((MAX_PARTIAL_SHARE * itemsize * vocab - 4) / 8) - (rest > 0)
        most = max(1, min(whole, most))
        # With fewer splits, more than `group` row tiles would run at once, and the hidden states would leave L2 at every step.
        least = min(most, processors // tile.group)
        splits = min(range(max(1, least), most + 1), key=cost)
    parts = [Part(0, whole, min(splits, whole), False)] if whole else []
    return [*parts, Part(whole, whole + 1, 1, True)] if rest else parts
