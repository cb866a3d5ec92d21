"""Errors and warnings of mixfast: one root, and one class for each kind of input that can be wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from mixfast._text.names import listing, misspelt, named
from mixfast._text.visible import visible

__all__ = [
    "AlignmentError",
    "BackendError",
    "ExhaustedError",
    "InfeasibleError",
    "MixfastError",
    "MixfastWarning",
    "MixtureError",
    "NotConvergedWarning",
    "ProposalError",
    "RankError",
    "RegionError",
    "SamplerError",
    "ScoreError",
    "TableError",
    "UnknownDomainError",
]

# Python's messages about text that is not a number quote all of it. Words longer than any usual path are shown without their middle.
_LONGEST, _SHOWN = 300, 200
_LONG = re.compile(rf"\S{{{_LONGEST + 1},}}")


def _line(message: str) -> str:
    """Return a message as one line in which nothing acts on a terminal."""
    return visible(_LONG.sub(lambda word: named(word[0], _SHOWN), message))


class MixfastError(Exception):
    """Root of all errors that mixfast raises on purpose; catch it to catch them all.

    A message is one line. Text that it quotes from files and arguments cannot act on a terminal: control characters, line breaks
    and direction marks are written as escapes.
    """

    def __init__(self, *words: object) -> None:
        super().__init__(*(_line(word) if isinstance(word, str) else word for word in words))


class TableError(MixfastError, ValueError):
    """A table of log-likelihoods or predictions, or the file that should hold one, is malformed."""


class RegionError(MixfastError, ValueError):
    """The description of a region of mixtures is malformed: unknown names, wrong shapes, impossible numbers."""


class InfeasibleError(RegionError):
    """No mixture meets all limits of a region, or all guards and goals of metrics; the message names those that contradict each other.

    Attributes
    ----------
    proof : dict of str to float
        If guards or goals conflict: weights of metrics that prove it. At every mixture of the region the sum of the metrics' excesses over
        their limits, with these weights, is above 0 under the law. Excesses are in standard deviations over the runs if these are known
        (for a tolerance: in the metrics' units). Empty if the limits of a region conflict.
    """

    def __init__(self, *words: object, proof: Mapping[str, float] | None = None) -> None:
        super().__init__(*words)
        self.proof: dict[str, float] = dict(proof or {})


class MixtureError(MixfastError, ValueError):
    """Named shares, or the file that should hold them, are malformed."""


class UnknownDomainError(MixfastError, KeyError):
    """A domain was requested that the object does not have; the message lists the domains that it has."""

    def __str__(self) -> str:
        # KeyError would show the repr of the message.
        return Exception.__str__(self)


class AlignmentError(MixfastError, ValueError):
    """Two objects name different sets of domains; the message shows both sets."""

    @classmethod
    def between(cls, what: str, have: Iterable[str], other: str, want: Iterable[str]) -> AlignmentError:
        """Build the error for ``what``, which has the names ``have``, against ``other``, which has ``want``."""
        have, want = tuple(have), tuple(want)
        only_have, only_want = sorted(set(have) - set(want)), sorted(set(want) - set(have))
        return cls(
            f"{what} and {other} name different domains; the two sets must be equal. "
            f"{what}: {listing(have)}. {other}: {listing(want)}. "
            f"Only in {what}: {misspelt(only_have, only_want)}. Only in {other}: {listing(only_want)}."
        )


@contextmanager
def about_files(*sources: object) -> Iterator[None]:
    """Put the names of files before the errors of mixfast that the block raises, unless the message names one of them already."""
    files = [os.fsdecode(each) for each in sources if isinstance(each, (str, os.PathLike))]
    try:
        yield
    except MixfastError as problem:
        said = str(problem)
        if not files or any(file in said for file in files):
            raise
        raise type(problem)(f"{' and '.join(files)}: {said}") from problem


class ProposalError(MixfastError, ValueError):
    """A law gives infinite or astronomic numbers within the limits, so no mixture is proposed; the message names the metrics."""


class ScoreError(MixfastError, ValueError):
    """An expert model, a text, or a setting of scoring cannot be used; the message names the expert and the file."""


class SamplerError(MixfastError, ValueError):
    """A sampler cannot be built or resumed: its schedule, sizes or limits on repetition are invalid, or the state is of another stream."""


class ExhaustedError(SamplerError, IndexError):
    """A sample past the end of a stream was requested; the message says where and why the stream ends."""


class BackendError(MixfastError, RuntimeError):
    """The requested backend cannot run here; the message says what is missing and how to install it."""


class RankError(MixfastError, RuntimeError):
    """Processes that compute together cannot go on: one has ended, they do not serve, or they were started wrongly."""


class MixfastWarning(UserWarning):
    """Root of all warnings of mixfast; filter on it to silence them or to turn them into errors. The message is one line."""

    def __init__(self, *words: object) -> None:
        super().__init__(*(_line(word) if isinstance(word, str) else word for word in words))


class NotConvergedWarning(MixfastWarning):
    """A solver stopped before its tolerance; the result is the best point found, with its gap."""
