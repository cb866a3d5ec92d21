"""levanter: ``train_weights`` and the block that they are rounded to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mixfast.exporters._draft import most_changed
from mixfast.exporters._result import Export, ExportError
from mixfast.exporters._schedules import stages_of
from mixfast.mixture import Mixture
from mixfast.sampler import MixtureSchedule

# levanter packs the place in a block into 16 bits.
_BLOCK_MOST = 65535
# Below this relative change its rounding is not worth a note.
_SAID = 1e-2


def levanter(mixture: Mixture | MixtureSchedule, *, block_size: int = 2048, batch_size: int | None = None) -> Export:
    """Write the ``train_weights`` and ``mixture_block_size`` of levanter's data configuration.

    Written for levanter of 2026-10 (``LmDataConfig``). Each block of so many sequences holds ``share * block_size``
    of a domain, rounded down, and the largest gets the rest: a share below one sequence a block is never trained on,
    which a note says. A schedule becomes a list of step and shares.

    Parameters
    ----------
    mixture : Mixture or MixtureSchedule
        Of a schedule, without ramps.
    block_size : int, default 2048
        Sequences of a block; at most 65 535.
    batch_size : int, optional
        Sequences of a batch, for a schedule.

    Returns
    -------
    Export
        Its values are those of the first part.

    Raises
    ------
    ExportError
        If ``block_size`` is not such a number; a schedule has ramps, or changes inside a batch or a block.
    """
    if isinstance(block_size, bool) or not isinstance(block_size, int) or not 1 <= block_size <= _BLOCK_MOST:
        raise ExportError(
            f"block_size must be a whole number of sequences above 0 and at most {_BLOCK_MOST}, got {block_size!r}"
        )
    draft, parts = stages_of("levanter", mixture, batch_size, unit=block_size)
    for step, shares in parts:
        draft.notes += [f"from step {step}: {note}" if step else note for note in _block_notes(shares, block_size)]
    weights: Any = parts[0][1] if len(parts) == 1 else [[step, shares] for step, shares in parts]
    document = {"data": {"train_weights": weights, "mixture_block_size": block_size}}
    return draft.yaml(document, parts[0][1])


def _block_notes(shares: Mapping[str, float], block_size: int) -> list[str]:
    """Return what levanter makes of shares: counts in a block, of which the largest is made up to its size."""
    counts = {name: int(share * block_size) for name, share in shares.items()}
    counts[max(counts, key=counts.__getitem__)] += block_size - sum(counts.values())
    notes = []
    if never := [name for name, count in counts.items() if count == 0]:
        enough = math.ceil(1.0 / min(shares.values()))
        advice = (
            f"a block size of {enough} has one of each"
            if enough <= _BLOCK_MOST
            else f"no block has one of each, its size being at most {_BLOCK_MOST}: drop or merge them"
        )
        notes.append(
            f"below one sequence in a block of {block_size}, so never trained on: {', '.join(never)}; {advice}"
        )
    made = {name: count / block_size for name, count in counts.items() if count}
    notes += [
        f"levanter rounds to whole sequences of a block: {name} becomes {made[name]:.6g}, not {shares[name]:.6g}; "
        "larger blocks are closer"
        for name in most_changed(made, shares, _SAID)
    ]
    return notes
