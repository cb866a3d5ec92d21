"""Decide which files belong to one run, and name the runs; contradicting files are merged only if the caller's pattern says so.

By default a run is a given path, or a sub-folder of the only given folder. If the files of such a run name different models, or files of different
places give different values of one metric at one step, they belong to several runs. Then the folders one level below are the runs. If this
concerns fewer than half of the runs, those runs are left out instead, with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mixfast._text.audience import either
from mixfast._text.names import counted, listing, shown
from mixfast._text.visible import quote
from mixfast.readers.collect._read import Results, bare, is_step, same_value, stem_of
from mixfast.readers.results._contents import ResultsError

Parts = tuple[str, ...]
# Folders that W&B names: date, time and id.
_OF_WANDB = re.compile(r"^(?:offline-)?run-\d{8}_\d{6}-(\w+)$")


@dataclass(frozen=True, slots=True)
class Piece:
    """The results of one file that belong to one run.

    Attributes
    ----------
    results : Results
    place : tuple of str
        By default, the path without date and step. Pieces of one place may be repeats of one evaluation, so the newest counts. Pieces of
        different places must agree.
    """

    results: Results
    place: Parts


@dataclass
class Grouping:
    """The runs and their files.

    Attributes
    ----------
    runs : dict of str to list of Piece
    refused : list of (str, str)
        Runs and files that are left out, each with the reason.
    notes : list of str
        How runs were separated, if not as asked.
    """

    runs: dict[str, list[Piece]] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def grouped(files: Sequence[Results], id: str | None, roots: int) -> Grouping:
    """Return the runs of files; ``id`` is a pattern with ``{run}``, or the name of a field, and ``roots`` the number of given paths."""
    out = Grouping()
    pieces: dict[str, list[Piece]] = {}

    def add(run: str, piece: Piece) -> None:
        pieces.setdefault(run, []).append(piece)

    free = [one for one in files if not one.run and one.found.run is None]
    own = _names_in_tables([one.run for one in files if one.run], id, alone=not free)
    for one in files:
        if one.run:
            add(own.get(one.run, one.run), Piece(one, one.found.parts or (one.where,)))
        elif one.found.run is not None:
            add(one.found.run, Piece(one, ()))
    if id is not None and "{run}" in id:
        named = _by_pattern(free, id, out)
    elif id is not None:
        named = _by_field(free, id, out, any_table=len(free) < len(files))
    else:
        named = _by_folder(free, roots, out)
    for run, piece in named:
        add(run, piece)
    for run, several in pieces.items():
        why = disagreement(several)
        if why:
            out.refused.append((run, f"{why}; {_advice(several)}"))
        else:
            out.runs[run] = several
    return out


def disagreement(pieces: Sequence[Piece], *, by_steps: bool = False) -> str:
    """Return why pieces cannot belong to one run; empty if they can.

    With ``by_steps``, files in folders with different names that share no step also belong to several runs, because the training of each may have
    ended at another step.
    """
    if len(pieces) < 2:
        return ""
    values: dict[tuple[str, str, int | None], tuple[float, Piece]] = {}
    models: dict[str, Piece] = {}
    for piece in pieces:
        one = piece.results
        if one.model and piece.place:
            models.setdefault(one.model, piece)
        points = [(metric, apart, measure.step, measure.value) for (metric, apart), measure in one.measures.items()]
        points += [(metric, "early", step, value) for (metric, step), value in one.early.items()]
        for metric, apart, step, value in points:
            before, other = values.setdefault((metric, apart, step), (value, piece))
            if other.place != piece.place and value == value and before == before and not same_value(value, before):
                return f"{other.results.where} and {one.where} differ in {metric} ({before:.6g} and {value:.6g}), so they belong to different runs"
    if by_steps and (found := _of_other_steps(pieces)):
        first, second, metric = found
        return f"{first.results.where} and {second.results.where} have {metric} at different steps, so they may belong to different runs"
    if len(models) > 1:
        (here, first), (there, second), *_ = models.items()
        return (
            f"{first.results.where} and {second.results.where} name different models, {shown(here)} and {shown(there)}"
        )
    return ""


def _of_other_steps(pieces: Sequence[Piece]) -> tuple[Piece, Piece, str] | None:
    """Return two pieces whose folders differ by more than a step or a date, with a metric that they have at different steps only."""
    first: dict[tuple[str, str], tuple[Parts, Piece, int]] = {}
    for piece in pieces:
        place = tuple(map(bare, piece.place))
        for key, measure in piece.results.measures.items():
            if measure.step is None or measure.left_out:
                continue
            there, other, step = first.setdefault(key, (place, piece, measure.step))
            if there != place and step != measure.step and piece.results.early.keys().isdisjoint(other.results.early):
                return other, piece, key[0]
    return None


def _advice(pieces: Sequence[Piece]) -> str:
    fields = pieces[0].results.fields
    name = next((name for name in ("model_name", "model", *fields) if fields.get(name)), "")
    how = either(
        "pass id='{run}/*' with the folder that names the run in place of {run}",
        "--id 'FOLDER/{run}/*' says which folder names the run",
    )
    return how + (either(f", or id={name!r}", f", or --id {quote(name)}") if name else "")


# Folders.


def _by_folder(files: Sequence[Results], roots: int, out: Grouping) -> list[tuple[str, Piece]]:
    """Group files by folders: each given path is a run, or each sub-folder of the only given folder."""
    if not files:
        return []
    folders = _resumed(files)
    comps = {one.where: (*folders[one.where], stem_of(one.found.parts[-1])) for one in files}
    starts = _starts(files, roots)
    longest = max(len(comps[one.where]) - starts[one.where] for one in files)
    for more in range(max(longest, 0) + 1):
        groups: dict[Parts, list[Piece]] = {}
        for one in files:
            own = comps[one.where]
            groups.setdefault(own[: starts[one.where] + more], []).append(Piece(one, own))
        wrong = {key: why for key, pieces in groups.items() if (why := disagreement(pieces, by_steps=roots == 1))}
        if more == 0:
            first = wrong
        if 2 * len(wrong) < len(groups) or more == longest:
            break
    if more:
        key, why = next(iter(first.items()))
        out.notes.append(
            f"each folder with results is a run of its own, because {why}; if {'/'.join(key[-2:])} is one run: "
            + either("id='{run}/*' with its folder", f"--id {quote('/'.join((*key[-2:-1], '{run}', '*')))}")
        )
    elif len(groups) == 1 and roots == 1 and _are_steps(files):
        out.notes.append(
            "all folders are named by steps, so they are taken as checkpoints of one run; if each is a run: "
            + either("id='{run}/*'", "--id '{run}/*'")
        )
    names = _own_names(groups, out) or names_of(list(groups))
    return [(names[key], piece) for key, pieces in groups.items() for piece in pieces]


def _resumed(files: Sequence[Results]) -> dict[str, Parts]:
    """Return the folder of each file; W&B makes a folder for each start of a run, of which the first one stands for all."""
    first: dict[tuple[Parts, str], str] = {}
    folders = {}
    for one in sorted(files, key=lambda one: [part.removeprefix("offline-") for part in one.found.parts]):
        parts = one.found.parts[:-1]
        for at, part in enumerate(parts):
            if told := _OF_WANDB.match(part):
                own = first.setdefault((parts[:at], told[1]), part)
                parts = (*parts[:at], own, *parts[at + 1 :])
        folders[one.where] = parts
    return folders


def _are_steps(files: Sequence[Results]) -> bool:
    """Whether the files lie in several folders of the given one, which are named by nothing but steps."""
    folders = {one.found.parts[one.found.base] for one in files if len(one.found.parts) > one.found.base + 1}
    return len(folders) > 1 and all(map(is_step, folders))


def _own_names(groups: Mapping[Parts, Sequence[Piece]], out: Grouping) -> dict[Parts, str]:
    """Return the names that runs have in W&B; empty unless W&B named all folders and all names differ."""
    names = {}
    for key, pieces in groups.items():
        own = {piece.results.fields.get("name", "") for piece in pieces} - {""}
        if len(own) != 1 or not key or not _OF_WANDB.match(key[-1]):
            return {}
        (names[key],) = own
    if len(set(names.values())) < len(groups):
        return {}
    out.notes.append("the folders have names that W&B made, so the names of the runs in W&B are used")
    return names


def _starts(files: Sequence[Results], roots: int) -> dict[str, int]:
    """Return for each file how many leading components of its path form the first guess of its run."""
    is_file = {one.found.root: one.found.is_given for one in files}
    singles = {one.found.parts[:-1] for one in files if is_file[one.found.root]}
    in_root = any(not is_file[one.found.root] and len(one.found.parts) == one.found.base + 1 for one in files)
    below = [one.found.parts[one.found.base] for one in files if not is_file[one.found.root]]
    # A folder with results, or with nothing but checkpoints, is one run.
    is_run = in_root or all(map(is_step, below))
    starts = {}
    for one in files:
        if is_file[one.found.root]:
            # Several files of one folder are several runs; files of several folders are a run for each folder.
            starts[one.where] = one.found.base + (len(singles) == 1 and roots > 1)
        else:
            starts[one.where] = one.found.base + (roots == 1 and not is_run)
    return starts


def names_of(keys: Sequence[Parts]) -> dict[Parts, str]:
    """Return the names of paths: the components in which they differ.

    >>> names_of([("d", "r1", "eval"), ("d", "r2", "eval")])
    {('d', 'r1', 'eval'): 'r1', ('d', 'r2', 'eval'): 'r2'}
    """
    if len(keys) == 1:
        return {keys[0]: keys[0][-1] if keys[0] else "run"}
    parts = {key: list(key) for key in keys}
    shortest = min(map(len, keys))
    start = next((at for at in range(shortest) if len({key[at] for key in keys}) > 1), shortest)
    end = next((at for at in range(shortest - start) if len({key[-1 - at] for key in keys}) > 1), shortest - start)
    for key in keys:
        parts[key] = list(key[start : len(key) - end]) or list(key[-1:])
    lengths = set(map(len, parts.values()))
    if len(lengths) == 1:
        (length,) = lengths
        varying = [at for at in range(length) if len({part[at] for part in parts.values()}) > 1]
        short = {key: [part[at] for at in varying] for key, part in parts.items()}
        if len(set(map(tuple, short.values()))) == len(keys):
            parts = short
    names = {key: "/".join(part) for key, part in parts.items()}
    if len(set(names.values())) < len(keys):
        names = {key: "/".join(key[start:]) or "/".join(key) for key in keys}
    return names


# Patterns and fields.


def _by_pattern(files: Sequence[Results], pattern: str, out: Grouping) -> list[tuple[str, Piece]]:
    """Group files by a pattern of paths, which may start below the given folder, above it, or anywhere in the path."""
    wanted = [part for part in pattern.strip("/").split("/") if part != "."]
    forms = [_form(part) for part in wanted]
    ways = []
    for way in ("below", "with", "any"):
        found = {one.where: _match(one, forms, way) for one in files}
        ways.append({where: match for where, match in found.items() if match is not None})
    best = max(ways, key=len)
    if not best and files:
        raise ResultsError(
            f"the pattern {shown(pattern)} fits none of the {counted(len(files), 'file')}, such as {files[0].where}; {{run}} stands for a part of "
            "one folder or file name, and * for any text in one"
        )
    fits = []
    for one in files:
        if one.where in best:
            run, place = best[one.where]
            fits.append((run, Piece(one, place)))
        else:
            out.refused.append((one.where, f"its path does not fit the pattern {shown(pattern)}"))
    return fits


def _names_in_tables(runs: Sequence[str], pattern: str | None, *, alone: bool) -> dict[str, str]:
    """Return what ``{run}`` of a pattern without folders stands for in the names that tables give to runs; those it does not fit keep theirs."""
    if pattern is None or "{run}" not in pattern or "/" in pattern or not runs:
        return {}
    form = _form(pattern)
    found = {run: match["run"] for run in runs if (match := form.fullmatch(run))}
    if not found and alone:
        raise ResultsError(
            f"the pattern {shown(pattern)} fits none of the {counted(len(set(runs)), 'run')} of the table, such as {shown(runs[0])}; {{run}} stands "
            "for a part of the name, and * for any text"
        )
    if len(set(found.values())) < len(found):
        raise ResultsError(
            f"the pattern {shown(pattern)} gives one name to several runs of the table: {listing(found, limit=3)}"
        )
    return found


def _form(part: str) -> re.Pattern[str]:
    if part == "**":
        return re.compile(".*")
    pieces = re.split(r"(\{run\}|\*|\?)", part)
    known = {"{run}": "(?P<run>.+?)", "*": ".*", "?": "."}
    text, seen = "", False
    for piece in pieces:
        if piece == "{run}" and seen:
            text += "(?P=run)"
        else:
            text += known.get(piece, re.escape(piece))
            seen |= piece == "{run}"
    return re.compile(text, re.DOTALL)


def _match(one: Results, forms: Sequence[re.Pattern[str]], way: str) -> tuple[str, Parts] | None:
    """Return the run that a pattern finds in a path, and the path up to the component that names it."""
    parts, base = one.found.parts, one.found.base
    if way == "below":
        starts: Iterable[int] = (base,)
    elif way == "with":
        starts = range(base - 1, -1, -1)
    else:
        starts = range(base, len(parts))
    for start in starts:
        inside = parts[start:]
        if len(inside) < len(forms):
            continue
        run, place = "", parts
        for at, (form, part) in enumerate(zip(forms, inside, strict=False)):
            match = form.fullmatch(part)
            if match is None:
                break
            if form.groups:
                if run and match["run"] != run:
                    break
                run, place = match["run"], parts[: start + at + 1]
        else:
            if run:
                return run, place
    return None


def _by_field(files: Sequence[Results], name: str, out: Grouping, *, any_table: bool) -> list[tuple[str, Piece]]:
    """Group files by a field that they hold."""
    if "/" in name or "*" in name:
        raise ResultsError(f"the pattern {shown(name)} must contain {{run}} in place of the name of the run")
    with_it = [one for one in files if one.fields.get(name)]
    if files and not with_it and not any_table:
        known: Mapping[str, None] = {field: None for one in files for field in one.fields}
        raise ResultsError(f"no file has the field {shown(name)}; the fields are: {listing(known)}")
    out.refused += [(one.where, f"it has no field {shown(name)}") for one in files if not one.fields.get(name)]
    values = list(dict.fromkeys(one.fields[name] for one in with_it))
    names = {value: value for value in values}
    if any("/" in value.strip("/") for value in values):
        keys = {value: tuple(value.strip("/").split("/")) for value in values}
        found = names_of(list(dict.fromkeys(keys.values())))
        names = {value: found[keys[value]] for value in values}
    folders = _resumed(with_it)
    return [(names[one.fields[name]], Piece(one, folders[one.where])) for one in with_it]


def folder_of(pieces: Sequence[Piece]) -> Path:
    """Return the folder that the files of a run share."""
    folders = [piece.results.found.path.parent for piece in pieces]
    first, *rest = folders
    for other in rest:
        while first != other and first not in other.parents and first != first.parent:
            first = first.parent
    return first
