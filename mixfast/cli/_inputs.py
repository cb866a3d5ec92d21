"""What option values mean: numbers with suffixes, NAME=NUMBER, group limits, files of numbers, regions and objectives."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixfast._text.json import read_json
from mixfast._text.kinds import kind_of, other_kind
from mixfast._text.names import did_you_mean, listing, matching, shown, split_names, split_quoted, unquoted
from mixfast._text.numbers import POWERS, count, number
from mixfast._text.sized import text_of
from mixfast._text.yaml import read_yaml
from mixfast.cli._console import detail, note
from mixfast.errors import AlignmentError, MixfastError, MixtureError
from mixfast.region import Bound, Region

if TYPE_CHECKING:
    from mixfast.mixture import Mixture
    from mixfast.sampler import MixtureSchedule


class InputError(MixfastError, ValueError):
    """An option or a file of numbers is malformed."""


def named(option: str, given: Sequence[str] | None, known: Sequence[str], what: str = "domain") -> Any:
    """Return None, one number, or a dict of name to number from repeated ``NUMBER`` and ``NAME=NUMBER``.

    A name may be a pattern; an exact name takes precedence. A number without a name is for all other names.
    """
    if not given:
        return None
    common: list[float] = []
    single: dict[str, float] = {}
    several: dict[str, float] = {}
    source: dict[str, str] = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        share = _number(f"{option} {text}", value, "; for one name, NAME=NUMBER" if ":" in value else "")
        if not equals:
            common.append(share)
            continue
        found = _meant(option, name, known, what)
        if found == [unquoted(name)]:
            if found[0] in single:
                raise InputError(f"{option} names {found[0]} twice")
            single[found[0]] = share
            continue
        for one in found:
            if one in source:
                raise InputError(f"{option} names {one} twice, by {source[one]} and {name}")
            several[one], source[one] = share, name
    if len(common) > 1:
        raise InputError(f"{option} is given more than one number for all: {listing(common)}")
    by_name = several | single
    if not by_name:
        return common[0]
    return dict.fromkeys(known, common[0]) | by_name if common else by_name


def wear(given: Sequence[str] | None, domains: Sequence[str]) -> float | dict[str, float] | None:
    """Return the repeats of ``--wear``: None, one number, or by domain from files, which ``NAME=REPEATS`` overrides and a bare number completes."""
    by_option = [text for text in given or () if "=" in text]
    bare = [text for text in given or () if "=" not in text and _is_number(text)]
    files = [text for text in given or () if text not in by_option and text not in bare]
    if len(files) > 1:
        raise InputError(f"--wear is given more than one file: {listing(files)}")
    common, single = named("--wear", bare, domains), named("--wear", by_option, domains) or {}
    of_file = {name: repeats for path in files for name, repeats in numbers(path, number, finite=False).items()}
    if unknown := [name for name in of_file if name not in domains]:
        raise AlignmentError(
            f"{files[0]} names {listing(unknown)}, which the table does not have; its domains are {listing(domains)}"
        )
    others = {} if common is None else dict.fromkeys(domains, common)
    out = others | of_file | single if of_file or single else common
    for where, repeats in out.items() if isinstance(out, dict) else [] if out is None else [("", out)]:
        if not repeats > 0.0 or (math.isinf(repeats) and not where):
            raise InputError(
                f"--wear{f', {where}' if where else ''}: got {repeats:g}, expected a number of repeats above 0"
                f"{'; to count repeats fully, leave --wear out' if math.isinf(repeats) and repeats > 0.0 else ''}"
            )
    return out


def _is_number(text: str) -> bool:
    try:
        number(text)
    except ValueError:
        return not (Path(text).exists() or Path(text).suffix)
    return True


def _number(where: str, text: str, hint: str = "") -> float:
    try:
        return number(text)
    except ValueError as problem:
        raise InputError(f"{where}: {problem}{hint}") from None


def _meant(option: str, name: str, known: Sequence[str], what: str) -> list[str]:
    """Return the known names that match a name or a pattern of an option."""
    bare = unquoted(name.strip())
    found = matching(known, bare)
    if not found:
        raise InputError(
            f"{option} names an unknown {what}: {bare}{did_you_mean(bare, known)}; known are: {listing(known)}"
        )
    return found


def limits(given: Sequence[str] | None, domains: Sequence[str]) -> list[Bound] | None:
    """Return the limits from ``NAME:DOMAIN,DOMAIN:LOW..HIGH``; an end may be empty, and a domain may be a pattern or in double quotes."""
    if not given:
        return None
    out = []
    for text in given:
        name, *middle = map(str.strip, split_quoted(text, ":"))
        window = middle.pop() if middle else ""
        members = ":".join(middle)
        low, dots, high = window.partition("..")
        if not (name and members and dots and (low.strip() or high.strip())):
            raise InputError(
                f"--limit {text}: expected NAME:DOMAIN,DOMAIN:LOW..HIGH, for example code:python,c:0.1..0.3 "
                "or code:code_*:..30%; put names that contain a comma or a colon in double quotes"
            )
        chosen: list[str] = []
        for member in split_names(members, known=domains):
            chosen += [one for one in _meant(f"--limit {text}", member, domains, "domain") if one not in chosen]
        lower, upper = (_number(f"--limit {text}", end) if end.strip() else None for end in (low, high))
        _no_more_than_all(f"--limit {text}", (lower or 0.0, upper or 0.0))
        out.append(Bound(unquoted(name), tuple(chosen), lower, upper))
    return out


def _no_more_than_all(what: str, shares: Iterable[float]) -> None:
    """Refuse a share above 1, which usually lacks a percent sign."""
    for share in shares:
        if share > 1.0:
            raise InputError(f"{what}: a share is at most 1, got {share:g}; write a fifth as 0.2 or 20%")


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


def region(
    args: argparse.Namespace,
    domains: Sequence[str],
    owner: str = "the table",
    *,
    known: Mapping[str, int] | None = None,
    usual: Mapping[str, float] | None = None,
    gone: Collection[str] = (),
) -> Region | None:
    """Return the region that the options define for the domains of the owner, or None if there are no limits.

    ``known`` are counts that the file of ``--tokens`` need not repeat. ``usual`` are the epochs of domains that ``--max-epochs`` does
    not name. ``gone`` are domains that the file may name although the owner has them no longer.
    """
    cap, floor = named("--cap", args.cap, domains), named("--floor", args.floor, domains)
    for text in args.cap or ():
        _no_more_than_all(f"--cap {text}", [number(text.rpartition("=")[2])])
    bounds = limits(args.limit, domains)
    counts = args.tokens is not None or bool(known and args.budget is not None)
    prior = _prior(args, domains, owner)
    epochs = named("--max-epochs", args.max_epochs, domains)
    if not counts:
        if epochs is not None:
            raise InputError("--max-epochs needs --tokens and --budget, from which the repetition of tokens follows")
        if args.budget is not None:
            raise InputError(
                "--budget needs --tokens, the tokens of each domain: the repetition of tokens follows from both"
            )
        if cap is None and floor is None and bounds is None and prior is None:
            return None
        return Region(domains, prior=prior, cap=cap, floor=floor, bounds=bounds)
    if args.budget is None:
        raise InputError("--tokens needs --budget, the tokens of the whole training run, for example --budget 1T")
    counted = {} if args.tokens is None else tokens(args)
    available = dict(known or {}) | {name: tokens for name, tokens in counted.items() if name not in gone}
    same_names(args.tokens or f"the counts in {owner}", available, domains, owner)
    if usual and (epochs is None or isinstance(epochs, dict)):
        epochs = {**usual, **(epochs or {})}
    extra = {} if epochs is None else {"max_epochs": epochs}
    return Region.from_tokens(
        {name: available[name] for name in domains},
        args.budget,
        prior=prior,
        cap=cap,
        floor=floor,
        bounds=bounds,
        **extra,
    )


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
    from mixfast import readers

    if args.mixture_paths is None:
        return
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


def _prior(args: argparse.Namespace, domains: Sequence[str], owner: str) -> Any:
    given: str | None = args.prior
    check_paths(args)
    if given in (None, "uniform"):
        return given and dict.fromkeys(domains, 1.0)
    shares = prior_shares(args)
    try:
        same_names(args.prior, shares, domains, owner)
    except AlignmentError as problem:
        if not set(shares) < set(domains):
            raise
        raise AlignmentError(
            f"{problem} Mixture files leave out shares of 0: add them, or write the file with `mixfast solve --keep-zeros`"
        ) from None
    return shares


def same_names(path: str, names: Iterable[str], domains: Sequence[str], owner: str) -> None:
    """Refuse a file whose names differ from those of the owner."""
    if set(names) != set(domains):
        raise AlignmentError.between(path, names, owner, domains)


# Objectives that are not names of groups or metrics.
_OBJECTIVES = {"group": ("worst",), "metric": ("worst", "standardised", "standardized")}


def objective(
    given: Sequence[str] | None, known: Sequence[str], what: str, option: str = "--objective"
) -> dict[str, float] | str | None:
    """Return the objective: None, a word such as "worst", or weights by name from repeated ``NAME`` and ``NAME=WEIGHT``.

    A name without a weight has weight 1. A name may be a pattern; its weight is divided among all names that it matches. Only
    ``--objective`` takes words.
    """
    if not given:
        return None
    words = _OBJECTIVES[what] if option == "--objective" else ()
    if len(given) == 1 and given[0] in words:
        # With one name, "worst" is that name.
        return given[0] if len(known) > 1 else None
    weights: dict[str, float] = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        if text in known or not equals:
            name, value = text, "1"
        if name in words and name not in known:
            others = [one for one in given if one != text]
            alone = "takes no weight" if equals else "is given twice"
            raise InputError(
                f"{option} {name} {f'cannot be combined: leave out {listing(others)}' if others else alone}"
            )
        weight = _number(f"{option} {text}", value)
        if not 0.0 <= weight < math.inf:
            raise InputError(f"{option} {text}: a weight is at least 0, got {weight:g}")
        found = chosen(name, known, what, option=option)
        for one in found:
            if one in weights:
                raise InputError(f"{option} names {one} twice")
            weights[one] = weight / len(found)
    if not any(weights.values()):
        raise InputError(f"{option} gives no {what} a weight above 0")
    return weights


def chosen(name: str, known: Sequence[str], what: str, *, option: str) -> list[str]:
    """Return the known names that match a name, a pattern, or a name without the prefix that all names share."""
    from mixfast.swarm import find_names

    found = matching(known, unquoted(name)) or find_names(known, [unquoted(name)], what)
    return [one for one in found if one is not None] or _meant(option, name, known, what)


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
