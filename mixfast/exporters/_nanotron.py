"""nanotron: ``data_stages`` of folders and weights."""

from __future__ import annotations

from mixfast.exporters._draft import Paths, in_order
from mixfast.exporters._result import Export
from mixfast.exporters._schedules import stages_of
from mixfast.mixture import Mixture
from mixfast.sampler import MixtureSchedule


def nanotron(mixture: Mixture | MixtureSchedule, *, paths: Paths = None, batch_size: int | None = None) -> Export:
    """Write nanotron's ``data_stages``: ``dataset_folder`` and ``dataset_weights``, in one stage or those of a schedule.

    Written for nanotron's main branch of 2026-04 (Nanoset); ``paths`` gives the folder of each domain. From stage to
    stage nanotron goes on where it stood in each folder.

    Parameters
    ----------
    mixture : Mixture or MixtureSchedule
        Of a schedule, without ramps.
    paths : mapping of str to str, or str
        Folder of each domain; or a pattern with ``{domain}``.
    batch_size : int, optional
        Sequences of a global batch, for a schedule.

    Returns
    -------
    Export
        Its values are those of the first stage.

    Raises
    ------
    ExportError
        If folders are missing; a schedule has ramps, or changes inside a batch.
    """
    draft, parts = stages_of("nanotron", mixture, batch_size)
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
