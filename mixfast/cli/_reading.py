"""Files that options name: mixtures, shares and token counts by domain, in the forms of mixfast and of loaders."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast._text.json import read_json
from mixfast._text.kinds import kind_of, other_kind
from mixfast._text.names import listing, shown
from mixfast._text.numbers import POWERS, count, number
from mixfast._text.sized import text_of
from mixfast._text.yaml import read_yaml
from mixfast.cli._console import detail, note
from mixfast.cli._refusals import InputError
from mixfast.errors import AlignmentError, MixfastError, MixtureError

if TYPE_CHECKING:
    from mixfast.mixture import Mixture
    from mixfast.sampler import MixtureSchedule


def document(path: str, lines: str, *, as_text: bool = False) -> Any:
    """Return the mapping of a yaml or json file; ``lines`` describes the expected lines, and ``as_text`` keeps numbers of json as text."""
    read: Any = partial(read_json, as_text=as_text) if Path(path).suffix.lower() == ".json" else read_yaml
    try:
        found = read(text_of(path, InputError), InputError)
    except UnicodeDecodeError:
        raise InputError(other_kind(path, f"a yaml or json file with lines of {shown(lines)}")) from None
    except InputError as problem:
        raise InputError(f"{path}: {problem}") from None
    if isinstance(found, dict) and found:
        detail(f"read {path}: {len(found)} names")
    else:
        if kind_of(path) in ("json", "yaml"):
            raise InputError(f"{path}: expected lines of {shown(lines)}")
        raise InputError(other_kind(path, f"a yaml or json file with lines of {shown(lines)}"))
    return found


def numbers(path: str, parse: Callable[[str], Any], *, finite: bool = True) -> dict[str, Any]:
    """Return the ``name: number`` mapping of a yaml, json or mixture file; each number is parsed from its text, and may be infinite if not `finite`."""
    found = document(path, "name: number", as_text=True)
    if isinstance(found.get("mixture"), dict):
        found = found["mixture"]
    try:
        if parse in (count, share_or_count):
            _refuse_other_units(path, found)
        found = _without_levels(found)
    except MixtureError as problem:
        raise InputError(f"{path}: {problem}") from problem
    return {name: _value(f"{path}: {name}", text, parse, finite=finite) for name, text in found.items()}


def _refuse_other_units(path: str, found: dict[str, Any]) -> None:
    """Raise if a number is the sum of the others, or if the numbers have several units."""
    from mixfast.readers import refuse_totals

    texts = {name: text.strip() for name, text in found.items() if isinstance(text, str) and text.strip()}
    if len(texts) < len(found):
        return
    refuse_totals(list(texts.items()))
    percent = [name for name, text in texts.items() if text.endswith("%")]
    plain = {name: _plain(text) for name, text in texts.items() if name not in percent}
    suffixed = [name for name, text in texts.items() if text[-1:].upper() in POWERS]
    above = [name for name, value in plain.items() if value > 1.0 or name in suffixed]
    below = [name for name, value in plain.items() if 0.0 < value < 1.0 and name not in suffixed]
    for some, others, what in ((percent, above, "percent signs"), (suffixed, below, "suffixes of token counts")):
        if some and others:
            raise InputError(
                f"{path}: {listing(some, limit=3)} {'has' if len(some) == 1 else 'have'} {what} and {listing(others, limit=3)} "
                f"{'has' if len(others) == 1 else 'have'} none; write all numbers in one unit"
            )


def _plain(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _without_levels(found: dict[str, Any]) -> dict[str, Any]:
    """Return nested token counts by names that join the levels with colons; any other document as it is."""
    if not any(isinstance(value, dict) for value in found.values()):
        return found
    from mixfast.readers import nested_counts

    return dict(nested_counts(found) or found)


def groups(path: str) -> dict[str, dict[str, float]]:
    """Return groups of shares by domain from a yaml or json file with two levels."""
    found = document(path, "group:", as_text=True)
    if not all(isinstance(group, dict) for group in found.values()):
        raise InputError(
            f"{path}: expected groups of shares: a line 'group:' and below it indented lines of 'domain: share'"
        )
    return {
        name: {domain: _value(f"{path}: {domain}", share, number) for domain, share in group.items()}
        for name, group in found.items()
    }


def utilities(path: str) -> dict[str, Any]:
    """Return the utility of each domain, or of each domain for each task, from a yaml or json file."""
    found = document(path, "domain: utility", as_text=True)
    return {
        name: {task: _value(f"{path}: {name}, {task}", text, number) for task, text in given.items()}
        if isinstance(given, dict)
        else _value(f"{path}: {name}", given, number)
        for name, given in found.items()
    }


def _value(where: str, text: Any, parse: Callable[[str], Any], *, finite: bool = True) -> Any:
    if not isinstance(text, str) or not text:
        raise InputError(f"{where}: expected a number, got {shown(text)}")
    try:
        found = parse(text)
    except ValueError as problem:
        raise InputError(f"{where}: {problem}") from None
    if finite and isinstance(found, float) and not math.isfinite(found):
        raise InputError(f"{where}: expected a finite number, got {shown(text)}")
    return found


def by_domain(path: str, parse: Callable[[str], Any], paths: str | None = None, *, told: bool = True) -> dict[str, Any]:
    """Return shares or token counts by domain of a file in any form; with ``told`` a note names the format of a loader.

    ``parse`` reads the numbers of a flat file. If it is `count`, the token counts of a loader's file are read, else its shares. ``paths`` is
    the value of ``--mixture-paths``, which has no effect on files with names.
    """
    from mixfast import readers

    form = readers.format_of(path)
    if form in (None, "mixfast"):
        return numbers(path, parse)
    if parse is not count:
        return mixture(path, paths, told=told).as_dict()
    if told:
        note(f"{path} was read as {form}")
    return readers.token_counts(path, paths=_names(path, paths))


def tokens(args: argparse.Namespace, option: str = "tokens", *, told: bool = True) -> dict[str, int]:
    """Return the counts by domain of the file of ``--tokens``, or of another option."""
    return by_domain(getattr(args, option), count, args.mixture_paths, told=told)


def run_tokens(path: str, paths: str | None = None) -> dict[str, int] | str:
    """Return the counts by domain of a file of ``--run-tokens``, or its path if it is a table with a row for each run."""
    from mixfast import readers

    if readers.format_of(path) is None and kind_of(path) in ("csv", "tsv", "text", "parquet", "gzip", "zstd"):
        return path
    return by_domain(path, count, paths)


def prior_shares(args: argparse.Namespace, *, told: bool = True) -> dict[str, float]:
    """Return the shares or counts by domain of the file of ``--prior``; with ``told`` a note names the format of a loader."""
    return by_domain(args.prior, share_or_count, args.mixture_paths, told=told)


def share_or_count(text: str) -> float:
    """Parse a number of a prior, which is relative, so counts and shares are equivalent."""
    return float(count(text)) if text[-1:].upper() in POWERS else number(text)


# Options that take files which may have paths in place of names.
_FILES_WITH_PATHS = ("mixture", "prior", "start", "near", "reference", "tokens", "run_tokens", "documents")


def check_paths(args: argparse.Namespace, files: Sequence[str] | None = None) -> None:
    """Refuse ``--mixture-paths`` if none of the files has paths in place of names; by default those of all options that take such files."""
    if args.mixture_paths is None:
        return
    from mixfast import readers

    if files is None:
        files = [file for name in _FILES_WITH_PATHS if (file := getattr(args, name, None)) not in (None, "uniform")]
    if not files:
        option = "a mixture" if not hasattr(args, "prior") else "--prior FILE"
        raise InputError(
            f"--mixture-paths has no effect without {option}: it names the domains of a file that has paths"
        )
    if not any(map(readers.has_paths, files)):
        raise InputError(
            f"--mixture-paths has no effect: {listing(files)} {'has' if len(files) == 1 else 'have'} names of domains, not paths"
        )


def mixture(path: str, paths: str | None = None, *, told: bool = True) -> Mixture:
    """Return the mixture of a file; with ``told`` a note names the format if it is that of a loader.

    ``paths`` is the value of ``--mixture-paths``: a pattern, or a file of ``name: path``.
    """
    from mixfast import readers

    found = readers.read(path, paths=_names(path, paths))
    if told and (found.notes or found.format != "mixfast"):
        notes = "".join(f"; {words}" for words in found.notes)
        note(f"{path} was read as {found.format}{notes}")
    return found.mixture


def _names(path: str, paths: str | None) -> Any:
    """Return `domain_paths`, or None if the file at ``path`` has names, which need no paths."""
    from mixfast import readers

    return domain_paths(paths) if paths is not None and readers.has_paths(path) else None


def domain_paths(paths: str | None) -> Any:
    """Return the value of ``--mixture-paths`` as `readers.read` takes it: a pattern, or the mapping of a file of ``name: path``."""
    return paths if paths is None or "{" in paths else document(paths, "name: path")


def start(args: argparse.Namespace, domains: Sequence[str]) -> dict[str, float] | None:
    """Return the shares of the mixture of ``--start``."""
    return None if args.start is None else shares(args, "start", domains, "the table")


def shares(args: argparse.Namespace, option: str, domains: Sequence[str], owner: str) -> dict[str, float]:
    """Return the shares of the mixture of an option; domains that the file does not name have share 0, as files leave these out."""
    path = getattr(args, option)
    found = mixture(path, args.mixture_paths).as_dict()
    if not set(found) <= set(domains):
        raise AlignmentError.between(path, found, owner, domains)
    return {name: found.get(name, 0.0) for name in domains}


def schedule(path: str) -> MixtureSchedule:
    """Read a loader's schedule, as MixtureSchedule.to_json writes it."""
    from mixfast.sampler import MixtureSchedule

    try:
        if kind_of(path) not in ("json", "jsonl"):
            raise InputError(other_kind(path, "a schedule that MixtureSchedule.to_json wrote"))
        return MixtureSchedule.from_json(text_of(path, InputError))
    except InputError:
        raise
    except (MixfastError, UnicodeDecodeError) as problem:
        raise InputError(f"{path} is not a schedule that MixtureSchedule.to_json wrote: {problem}") from None
