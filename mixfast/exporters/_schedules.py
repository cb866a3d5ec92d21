"""levanter and nanotron, which can change their mixture during a run: write each part of a schedule with its first step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mixfast._text.audience import setting
from mixfast._text.names import shown
from mixfast.exporters._draft import Draft, Paths, in_order, most_changed
from mixfast.exporters._result import Export, ExportError
from mixfast.mixture import Mixture
from mixfast.sampler import MixtureSchedule

# levanter stores the position in a block in 16 bits.
_BLOCK_MOST = 65535
# Relative change of a share by rounding from which on a note reports it.
_SAID = 1e-2


def levanter(mixture: Mixture | MixtureSchedule, *, block_size: int = 2048, batch_size: int | None = None) -> Export:
    """Write the ``train_weights`` and ``mixture_block_size`` of levanter's data configuration.

    Written for levanter of 2026-10 (``LmDataConfig``). Each block has ``share * block_size`` sequences of a
    domain, rounded down, and the largest domain gets the rest. A domain with less than one sequence per block is never trained
    on; a note names it. A block has at most 65 535 sequences. A schedule becomes a list of steps and shares; it must not have ramps or
    changes inside a batch or a block. The values of the export are those of the first part.
    """
    if isinstance(block_size, bool) or not isinstance(block_size, int) or not 1 <= block_size <= _BLOCK_MOST:
        raise ExportError(
            f"block_size must be a whole number of sequences above 0 and at most {_BLOCK_MOST}, got {shown(block_size)}"
        )
    draft, parts = _stages_of("levanter", mixture, batch_size, unit=block_size)
    for step, shares in parts:
        draft.notes += [f"from step {step}: {note}" if step else note for note in _block_notes(shares, block_size)]
    weights: Any = parts[0][1] if len(parts) == 1 else [[step, shares] for step, shares in parts]
    document = {"data": {"train_weights": weights, "mixture_block_size": block_size}}
    return draft.yaml(document, parts[0][1])


def _block_notes(shares: Mapping[str, float], block_size: int) -> list[str]:
    """Return notes on levanter's rounding of shares to whole sequences of a block."""
    counts = {name: int(share * block_size) for name, share in shares.items()}
    counts[max(counts, key=counts.__getitem__)] += block_size - sum(counts.values())
    notes = []
    if never := [name for name, count in counts.items() if count == 0]:
        enough = math.ceil(1.0 / min(shares.values()))
        advice = (
            f"a block size of {enough} has one sequence of each"
            if enough <= _BLOCK_MOST
            else f"even the largest block, {_BLOCK_MOST}, has no sequence of some: drop or merge them"
        )
        notes.append(
            f"below one sequence in a block of {block_size}, so never trained on: {', '.join(never)}; {advice}"
        )
    made = {name: count / block_size for name, count in counts.items() if count}
    notes += [
        f"levanter rounds to whole sequences of a block: {name} becomes {made[name]:.6g}, not {shares[name]:.6g}; "
        "larger blocks reduce the difference"
        for name in most_changed(made, shares, _SAID)
    ]
    return notes


def nanotron(mixture: Mixture | MixtureSchedule, *, paths: Paths = None, batch_size: int | None = None) -> Export:
    """Write nanotron's ``data_stages``: ``dataset_folder`` and ``dataset_weights``, in one stage or those of a schedule.

    Written for nanotron's main branch of 2026-04 (Nanoset); ``paths`` gives the folder of each domain. At a new
    stage, nanotron continues at its position in each folder. A schedule must not have ramps or changes inside a batch. The
    values of the export are those of the first stage.
    """
    draft, parts = _stages_of("nanotron", mixture, batch_size)
    folders = draft.path(paths, "the folder of the tokenised files")
    stages = []
    for number, (step, shares) in enumerate(parts, start=1):
        draft.notes.append(in_order(shares) if len(parts) == 1 else f"stage {number}, {in_order(shares)}")
        dataset = {
            "dataset_folder": [folders[name] for name in shares],
            "dataset_weights": list(shares.values()),
        }
        stages.append(
            {
                "name": "mixture" if len(parts) == 1 else f"mixture {number}",
                "start_training_step": step + 1,
                "data": {"seed": 42, "num_loading_workers": 1, "dataset": dataset},
            }
        )
    return draft.yaml({"data_stages": stages}, parts[0][1])


def _stages_of(
    format: str, mixture: Mixture | MixtureSchedule, batch_size: int | None, *, unit: int = 1
) -> tuple[Draft, list[tuple[int, Mapping[str, float]]]]:
    """Return a draft for all domains with a share in any part, and the parts: the steps before each, and its shares.

    A part begins at a multiple of a step and of ``unit`` sequences. A mixture is one part.

    Raises
    ------
    ExportError
        If the batch size is missing, a part begins elsewhere, or the schedule has ramps, which no loader supports.
    """
    if not isinstance(mixture, MixtureSchedule):
        draft = Draft.of(format, mixture)
        if batch_size is not None:
            draft.notes.append(
                f"{setting('batch_size', batch_size)} has no effect: it converts positions of a schedule to steps, and this is one mixture"
            )
        return draft, [(0, draft.mixture.as_dict())]
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ExportError(
            f"{format} counts a schedule in steps: batch_size must be the number of sequences in a global batch, got {shown(batch_size)}"
        )
    stages: list[tuple[int, Mapping[str, float]]] = []
    whole = math.lcm(batch_size, unit)
    for change in mixture.changes:
        if change.stop is not None:
            raise ExportError(
                f"{format} has no ramps, and the schedule has one from sample {change.start} to {change.stop}; "
                "replace it by steps in Python: .then(schedule.at(sample), at=sample) at some samples between"
            )
        if change.start % whole:
            below = change.start - change.start % whole
            near = " or ".join(str(sample) for sample in (below, below + whole) if sample)
            blocks = f" and blocks of {unit}" if unit > 1 else ""
            raise ExportError(
                f"{format} can change shares only between batches of {batch_size}{blocks} sequences, and a change is at "
                f"sample {change.start}; move it to {near}"
            )
        stages.append((change.start // batch_size, change.mixture.drop_zeros()[0].as_dict()))
    drawn = {name for _, shares in stages for name in shares}
    # Equal shares: only the set of domains is used from this draft.
    even = Mixture(mixture.domains, [1 / len(drawn) if name in drawn else 0.0 for name in mixture.domains])
    return Draft.of(format, even), stages
