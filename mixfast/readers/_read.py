"""read: read a mixture from the file of any loader; the format is recognised by the content."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from mixfast._text.audience import either
from mixfast._text.kinds import kind_of
from mixfast._text.names import listing, shown
from mixfast._text.numbers import count, tokens
from mixfast._text.numbers import total as exact_sum
from mixfast.errors import MixfastWarning, MixtureError
from mixfast.exporters import unknown_format
from mixfast.mixture import FORMAT, SUM_TOLERANCE, Mixture
from mixfast.readers._document import any_document, document, text_of
from mixfast.readers._form import Form, number
from mixfast.readers._forms import FORMS
from mixfast.readers._places import named_by
from mixfast.readers._token_forms import are_counts, counts_of_parquet, refuse_totals
from mixfast.readers.results._formats import FORMATS as RESULTS
from mixfast.readers.results._source import Source

FORMATS = tuple(FORMS)
"""The formats that `read` knows, named as in `exporters`; ``mixfast`` is the package's own."""

# Files of the package that hold several mixtures: how their format begins, and what the message says.
_OURS = {
    "mixfast-reuse": "it is a ledger; mixfast reuse show LEDGER --out mixture.yaml writes its present mixture",
    "mixfast-schedule": "it is a schedule of several mixtures, which mixfast export takes",
}
_NO_FORM = "no known format of a mixture"
_COLLECT = "mixfast collect RUNS --out metrics.csv makes the csv file of metrics, with the files or folders of all runs"
# A note in exports with numbers that are not shares of tokens.
_CONVERTED = "note: shares of tokens became shares of documents"


@dataclass(frozen=True)
class Reading:
    """A mixture that was read, and how.

    Attributes
    ----------
    mixture : Mixture
    format : str
        The format that the file was read as, one of `FORMATS`.
    notes : tuple of str
        How the numbers were converted, and what they count.
    """

    mixture: Mixture
    format: str
    notes: tuple[str, ...]


def read(
    path: str | PathLike[str], format: str | None = None, *, paths: str | Mapping[str, str] | None = None
) -> Reading:
    """Read a mixture from a file of any of the `FORMATS`.

    Parameters
    ----------
    path : path
    format : str, optional
        One of `FORMATS`. By default the format is recognised by the content of the file, never by its name; a file that fits several
        formats is refused.
    paths : str or mapping of str to str, optional
        For files with paths instead of names: a pattern such as ``/data/{domain}_text_document``, or the path of each domain.
        By default, the name of a domain is the components of its path that differ between the paths.

    Returns
    -------
    Reading
        The mixture, the format that it was read as, and notes.

    Raises
    ------
    MixtureError
        If no format, or more than one, fits; if shares are not numbers; or if they do not sum to 1 in a format without relative
        weights.

    Warns
    -----
    MixfastWarning
        The file is from RegMix or Olmix and its shares do not sum to 1: they are divided by their sum, as both loaders do.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "blend.txt"
    >>> _ = file.write_text("3 /d/web_text_document 1 /d/code_text_document")
    >>> read(file)
    Reading(mixture=Mixture(web 0.75, code 0.25), format='megatron', notes=('relative weights, divided by their sum, 4', ...
    """
    path = Path(path)
    if format is not None and format not in FORMS:
        raise MixtureError(unknown_format(format, FORMS))
    with _naming(path):
        if format is not None:
            text = text_of(path)
            found = any_document(path, text) if format in ("megatron", "python") else document(path)
            return _reading(path, FORMS[format], FORMS[format].find(found, True) or [], text, paths)
        text, found = _opened(path)
        form, pairs = _recognised(found)
        return _reading(path, form, pairs, text, paths)


def token_counts(path: str | PathLike[str], *, paths: str | Mapping[str, str] | None = None) -> dict[str, int]:
    """Read the tokens of each domain from a file of any of the `FORMATS`.

    A file may hold flat lines of ``domain: count``; nested counts, whose names are joined by colons; ``token_counts`` of an Olmix configuration;
    ``available_tokens`` of regmixer, or of the cells in ``buckets.parquet`` of marin's swarms; or the weights of a loader, if they are token
    counts.

    Parameters
    ----------
    path : path
    paths : str or mapping of str to str, optional
        Names the domains of files with paths instead of names, as in `read`.

    Returns
    -------
    dict of str to int
        Tokens by domain.

    Raises
    ------
    MixtureError
        If no format fits, or more than one; or if the numbers are not token counts, but for example shares.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "counts.yaml"
    >>> _ = file.write_text("dclm: {science: 84.5B, software: 23.9B}\\nwiki: 3.7B")
    >>> token_counts(file)
    {'dclm:science': 84500000000, 'dclm:software': 23900000000, 'wiki': 3700000000}
    """
    path = Path(path)
    with _naming(path):
        _, found = _opened(path)
        form, pairs = _recognised(found)
        if form.counts is not None:
            pairs = form.counts(found, True) or []
        elif form.name != "mixfast" and not are_counts([value for _, value in pairs]):
            name, value = pairs[0]
            raise MixtureError(
                f"it has shares or weights ({form.name}), such as {shown(value)} for {shown(name)}, but token counts are needed: give a file of "
                "the number of tokens of each domain"
            )
        counted = [_count(str(name), value) for name, value in pairs]
        names = [str(name) for name, _ in pairs]
        names = named_by(names, paths) if form.places else names
        refuse_totals(list(zip(names, counted, strict=True)))
        return dict(zip(names, counted, strict=True))


def format_of(path: str | PathLike[str]) -> str | None:
    """Return the format that `read` recognises, or None if it recognises none or refuses the file."""
    form = _form_of(Path(path))
    return None if form is None else form.name


def has_paths(path: str | PathLike[str]) -> bool:
    """Return whether a file has paths instead of the names of domains."""
    form = _form_of(Path(path))
    return form is not None and form.places


def _form_of(path: Path) -> Form | None:
    try:
        return _recognised(_opened(path)[1])[0]
    except MixtureError:
        return None


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the path before the messages of errors inside the block."""
    try:
        yield
    except MixtureError as problem:
        said = str(problem)
        if _NO_FORM in said and (form := _results_format(path)):
            said = f"it holds results of a run ({form}), no mixture; {_COLLECT}"
        raise MixtureError(said if said.startswith(str(path)) else f"{path}: {said}") from problem


def _results_format(path: Path) -> str | None:
    """Return the format of a file that holds results of evaluations; None if it holds none, or is damaged."""
    source = Source(path)
    try:
        return next((form.name for form in RESULTS.values() if form.fits(source)), None)
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _opened(path: Path) -> tuple[str, Any]:
    """Return the text and the content of a file."""
    if not path.is_dir() and kind_of(path) == "parquet":
        return "", counts_of_parquet(path)
    text = text_of(path)
    return text, any_document(path, text)


def _count(name: str, value: Any) -> int:
    try:
        return count(str(value))
    except ValueError as problem:
        raise MixtureError(f"the tokens of {shown(name)}: {problem}") from None


def _recognised(found: Any) -> tuple[Form, list[tuple[str, Any]]]:
    """Return the only form that fits a document, and its pairs."""
    given = found if isinstance(found, Mapping) else {}
    told = str(given.get("format", ""))
    for begins, advice in _OURS.items():
        if told.startswith(begins):
            raise MixtureError(f"no mixture: {advice}")
    if "mixfast_fit" in given:
        raise MixtureError(
            "no mixture: it holds fitted laws; mixfast propose LAW --out mixture.yaml proposes a mixture from them"
        )
    if told.startswith("mixfast-") or "mixture" in given:
        return FORMS["mixfast"], _own(given, told)
    fitting = [(form, pairs) for form in FORMS.values() if (pairs := form.find(found, False)) is not None]
    # A flat mapping counts only if no other form fits.
    fitting = [one for one in fitting if one[0].name != "mixfast"] or fitting
    if not fitting:
        keys = f"; its keys are {listing(given)}" if given else ""
        known = "; ".join(f"{form.name} ({form.looks})" for form in FORMS.values())
        raise MixtureError(f"{_NO_FORM}{keys}. Mixtures are read in the formats: {known}")
    if len(fitting) > 1:
        raise MixtureError(
            f"it fits several formats, {' and '.join(form.name for form, _ in fitting)}; keep one mixture in the file"
        )
    return fitting[0]


def _own(given: Mapping[str, Any], told: str) -> list[tuple[str, Any]]:
    """Return the shares in a file of the package's own format."""
    if told and told != FORMAT:
        raise MixtureError(f"format {shown(told)} is not known; this version reads {FORMAT!r}")
    if not isinstance(given.get("mixture"), Mapping):
        raise MixtureError("expected a mapping 'mixture' of domain to share")
    if unknown := sorted(set(given) - {"format", "mixture"}):
        raise MixtureError(f"unexpected keys beside 'format' and 'mixture': {listing(unknown)}")
    return list(given["mixture"].items())


def _reading(
    path: Path, form: Form, pairs: list[tuple[str, Any]], text: str, paths: str | Mapping[str, str] | None
) -> Reading:
    """Return the mixture of pairs, divided by their sum if the form has relative weights."""
    names, notes = [str(name) for name, _ in pairs], []
    counted = form.name in ("mixfast", "token-counts") and are_counts([value for _, value in pairs])
    shares = [number(name, share) for name, share in zip(names, (share for _, share in pairs), strict=True)]
    if form.samples:
        if _CONVERTED in text:
            raise MixtureError(
                f"its numbers are shares of documents, not of tokens, as a note in the file says ({form.name}); give the mixture that was "
                "exported"
            )
        notes.append(
            "its numbers are shares of samples; they are shares of tokens only if all samples have equal length"
        )
    if form.places:
        names = named_by(names, paths)
        notes.append(f"the file has paths instead of names; the domains were named {listing(names)}")
    elif paths is not None:
        raise MixtureError(
            f"{either('paths', '--mixture-paths')} names the domains of files with paths, and {form.name} has names: leave it out"
        )
    total = exact_sum(shares)
    if counted:
        refuse_totals([(name, value) for name, (_, value) in zip(names, pairs, strict=True)])
    if counted and total > 0.0:
        notes.append(f"token counts, {tokens(total)} in all; the shares are proportional to them")
        shares = [share / total for share in shares]
    elif form.divides and math.isfinite(total) and total > 0.0 and min(shares) >= 0.0:
        if form.divides == "mended" and abs(total - 1.0) > SUM_TOLERANCE:
            warnings.warn(
                f"{path}: shares sum to {total:.6g} and were divided by it, as the loader of {form.name} does",
                MixfastWarning,
                stacklevel=4,
            )
            shares = [share / total for share in shares]
        elif form.divides == "relative" and abs(total - 1.0) > 1e-9:
            notes.insert(0, f"relative weights, divided by their sum, {total:.6g}")
            shares = [share / total for share in shares]
    try:
        return Reading(Mixture(names, shares), form.name, tuple(notes))
    except MixtureError as problem:
        if form.name == "mixfast" and total > 0.0 and "sum to 1" in str(problem):
            raise MixtureError(
                f"{problem}. To give relative weights, put them under the key 'train_weights', as in levanter's files"
            ) from problem
        raise
