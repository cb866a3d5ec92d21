"""Find and read the mixture file in the folder of each run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixfast._text.names import counted, listing
from mixfast.errors import MixfastWarning, MixtureError
from mixfast.readers._read import read
from mixfast.readers.results._contents import ResultsError

_SHOWN = 3


@dataclass(frozen=True)
class MixtureFiles:
    """The mixtures of runs, from one file of the same name for each run.

    Attributes
    ----------
    mixtures : dict of str to dict of str to float
    skipped : tuple of (str, str)
        Runs whose file is missing or cannot be read, each with the reason.
    notes : tuple of str
        How the files were read.
    """

    mixtures: Mapping[str, Mapping[str, float]]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def mixture_files(folders: Mapping[str, str], name: str, paths: str | Mapping[str, str] | None = None) -> MixtureFiles:
    """Read the file ``name`` of each run from the folder of its results, or from one above it that holds no other run.

    Parameters
    ----------
    folders : mapping of str to str
        The folder of the results of each run.
    name : str
        Name of the file, or its path below such a folder.
    paths : str or mapping of str to str, optional
        Names of the domains in files that have paths, as for `read`.

    Raises
    ------
    ResultsError
        If no run has such a file that can be read.
    """
    mixtures: dict[str, Mapping[str, float]] = {}
    skipped: list[tuple[str, str]] = []
    notes: dict[str, int] = {}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", MixfastWarning)
        for run, candidates in _candidates(folders).items():
            path = next((one / name for one in candidates if (one / name).is_file()), None)
            if path is None:
                skipped.append((run, f"no file {name} in {candidates[0]}"))
                continue
            try:
                found = read(path, paths=paths)
            except (MixtureError, OSError) as problem:
                skipped.append((run, str(problem)))
                continue
            mixtures[run] = found.mixture.as_dict()
            if found.notes or found.format != "mixfast":
                note = "; ".join([f"read as {found.format}", *found.notes])
                notes[note] = notes.get(note, 0) + 1
    if not mixtures:
        raise ResultsError(
            f"no run has a mixture file {name} that can be read: {listing((f'{run}: {why}' for run, why in skipped), limit=_SHOWN)}"
        )
    told = [f"{counted(count, 'mixture file')} {note}" for note, count in notes.items()]
    if said:
        told.append(f"{said[0].message}" + (f" (and {len(said) - 1} more files)" if len(said) > 1 else ""))
    return MixtureFiles(mixtures, tuple(skipped), tuple(told))


def _candidates(folders: Mapping[str, str]) -> dict[str, Sequence[Path]]:
    """Return for each run its folder and the folders above it that hold no results of another run."""
    own = {run: Path(os.path.abspath(folder)) for run, folder in folders.items()}
    holds: dict[Path, int] = {}
    for folder in own.values():
        for above in (folder, *folder.parents):
            holds[above] = holds.get(above, 0) + 1
    several = len(own) > 1
    return {
        run: [Path(folders[run]), *(above for above in folder.parents if several and holds[above] == 1)]
        for run, folder in own.items()
    }
