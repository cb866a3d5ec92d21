"""Schedules for the loaders that change their mixture while they run: the step of training at which each part begins."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mixfast.exporters._draft import Draft
from mixfast.exporters._result import ExportError
from mixfast.mixture import Mixture
from mixfast.sampler import MixtureSchedule

Stages = list[tuple[int, Mapping[str, float]]]


def stages_of(
    format: str, mixture: Mixture | MixtureSchedule, batch_size: int | None, *, unit: int = 1
) -> tuple[Draft, Stages]:
    """Return a draft for all domains that ever have a share, and the parts: the steps before each, and its shares.

    A part begins at a whole step and a whole ``unit`` of sequences. A mixture is one part.

    Raises
    ------
    ExportError
        If the batch size is missing, a part begins elsewhere, or the schedule has ramps, which no loader does.
    """
    if not isinstance(mixture, MixtureSchedule):
        draft = Draft.of(format, mixture)
        return draft, [(0, draft.mixture.as_dict())]
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ExportError(
            f"{format} counts a schedule in steps: batch_size must be the sequences of a global batch, got {batch_size!r}"
        )
    stages: Stages = []
    whole = math.lcm(batch_size, unit)
    for change in mixture.changes:
        if change.stop is not None:
            raise ExportError(
                f"{format} changes its shares at once, and the schedule has a ramp from sample {change.start} to {change.stop}; "
                "make steps of it: .then(schedule.at(sample), at=sample) at some samples between"
            )
        if change.start % whole:
            below = change.start - change.start % whole
            near = " or ".join(str(sample) for sample in (below, below + whole) if sample)
            blocks = f" and blocks of {unit}" if unit > 1 else ""
            raise ExportError(
                f"{format} changes its shares between whole batches of {batch_size}{blocks} sequences, and a change is at "
                f"sample {change.start}; it could be at {near}"
            )
        stages.append((change.start // batch_size, change.mixture.drop_zeros()[0].as_dict()))
    drawn = {name for _, shares in stages for name in shares}
    # Equal shares: what is read from the draft is who takes part.
    even = Mixture(mixture.domains, [1 / len(drawn) if name in drawn else 0.0 for name in mixture.domains])
    return Draft.of(format, even), stages
