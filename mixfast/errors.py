"""Errors and warnings of mixfast: one root, one class for each gate where wrong input is refused.

The wording that several gates share (how a list of names is shown, what a legal list of domains is) lives here too,
so that every refusal reads alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

# Long enough to recognise a naming scheme, short enough for one line of a terminal.
_NAMES_SHOWN = 8
# Lists of names that were found to be in order, with plain strings; so many are kept.
_passed: dict[tuple[str, ...], tuple[str, ...]] = {}
_PASSED = 64


class MixfastError(Exception):
    """Root of every error mixfast raises on purpose; catch it to catch them all."""


class TableError(MixfastError, ValueError):
    """A table of log-likelihoods or predictions, or the file that should hold one, is malformed."""


class RegionError(MixfastError, ValueError):
    """The description of a region of mixtures is malformed: unknown names, wrong shapes, impossible numbers."""


class InfeasibleError(RegionError):
    """A well-formed region holds no mixture at all; the message names the limits that contradict each other."""


class MixtureError(MixfastError, ValueError):
    """Named shares, or the file that should hold them, are malformed."""


class AlignmentError(MixfastError, ValueError):
    """Two objects speak of different sets of domains; both sets are shown."""

    @classmethod
    def between(cls, what: str, have: Iterable[str], other: str, want: Iterable[str]) -> AlignmentError:
        """Build the error for ``what``, which has the names ``have``, against ``other``, which has ``want``."""
        have, want = tuple(have), tuple(want)
        only_have, only_want = sorted(set(have) - set(want)), sorted(set(want) - set(have))
        return cls(
            f"{what} and {other} name different domains; the two sets must be equal. "
            f"{what}: {listing(have)}. {other}: {listing(want)}. "
            f"Only in {what}: {listing(only_have)}. Only in {other}: {listing(only_want)}."
        )


class ProposalError(MixfastError, ValueError):
    """A law gives no usable numbers where a mixture was looked for, so that none is proposed; the message names the metrics."""


class ScoreError(MixfastError, ValueError):
    """An expert model, a text, or a setting of scoring cannot be used; the message names the expert and the file."""


class SamplerError(MixfastError, ValueError):
    """A sampler cannot be built or resumed as asked: schedule, sizes, limits of repetition, or a state that is not its own."""


class ExhaustedError(SamplerError, IndexError):
    """A sample was asked for behind the end of a stream; the message says where and why it ends."""


class BackendError(MixfastError, RuntimeError):
    """The requested backend cannot run here; the message says what is missing and how to install it."""


class MixfastWarning(UserWarning):
    """Root of every warning mixfast gives; filter on it to silence or to escalate them all."""


class NotConvergedWarning(MixfastWarning):
    """A solver stopped before its tolerance; the result is the best point found, with its gap."""


def listing(items: Iterable[object], limit: int = _NAMES_SHOWN) -> str:
    """Return the items for a message: the first few, and how many more; ``none`` where there are none."""
    names = [str(item) for item in items]
    if not names:
        return "none"
    more = f" and {len(names) - limit} more ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def domain_names(domains: Iterable[str], error: type[MixfastError]) -> tuple[str, ...]:
    """Return ``domains`` as a tuple of plain strings; raise ``error`` unless they are unique non-empty strings."""
    if isinstance(domains, (str, bytes)):
        raise error(f"domains must be a sequence of names, got the single string {domains!r}; write [{domains!r}]")
    try:
        names = tuple(domains)
    except TypeError as problem:
        raise error(f"domains must be a sequence of names, got {type(domains).__name__}") from problem
    # Looking at a thousand names takes longer than solving for their shares: those seen before pass.
    with suppress(TypeError):
        known = _passed.get(names)
        if known is not None:
            return known
    if not names:
        raise error("domains is empty; at least one domain name is needed")
    wrong = [ascii(name) for name in names if not isinstance(name, str) or not name.strip() or not _is_unicode(name)]
    if wrong:
        raise error(f"domain names must be non-empty strings of valid Unicode, got {listing(wrong)}")
    # numpy strings are a subclass of str that prints and serialises differently.
    names = tuple(str(name) for name in names)
    if len(set(names)) < len(names):
        repeated = [f"{name!r} ({count} times)" for name, count in Counter(names).items() if count > 1]
        raise error(f"domain names must be unique, repeated: {listing(repeated)}")
    if len(_passed) >= _PASSED:
        _passed.clear()
    _passed[names] = names
    return names


def _is_unicode(name: str) -> bool:
    """Whether a file can hold the name: half a surrogate pair is legal in a Python string and nowhere else."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
