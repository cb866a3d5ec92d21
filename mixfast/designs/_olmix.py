"""Settings of Olmix's sampler of mixtures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mixfast._text.names import shown
from mixfast.errors import RegionError

Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Olmix:
    """Settings of Olmix's sampler. Domains are named "source", "source:topic" or "source:topic:quality".

    Olmix samples the shares of the sources, and within each source the shares of all its topics and qualities. The defaults are those of
    its code (allenai/olmix of 2026-03). With the same settings, the mixtures have the same distribution as Olmix's own.

    Attributes
    ----------
    strength : (float, float)
        Smallest and largest strength of the Dirichlet distributions of sources and topics. Default 0.1 and 5 (sparse); Olmix's
        dense swarms use 1 and 20.
    source_strength, topic_strength : (float, float), optional
        Separate strengths for sources and for topics. Each sample takes both at the same position in their ranges.
    temperature : float
        Exponent of the priors, above 0 and at most 1. Default 1. It also acts on given priors.
    source_temperature, topic_temperature : float, optional
        Separate temperatures for sources and for topics.
    minimum : float or (float, float)
        Smaller shares become 0, the others are rounded to multiples of it. Default 0.002; Olmix's sparse swarms use 0.05, its dense
        ones 1e-4. Two different numbers are the smallest share of a source without topics, and of a topic within its source. There is no
        rounding then, and a source with topics is never set to 0.
    source_prior : mapping of str to float
        Replaces the prior shares of these sources; all sources are then divided by their sum.
    topic_prior : mapping of str to float
        Replaces the prior shares of the topics within their source, all of them or none; divided by their sum. A topic's share is
        divided among its qualities in proportion to their priors. If topics of several sources are named, these sources share what the
        others leave, in proportion to their sums.
    source_share : mapping of str to float
        Fixed shares of sources; the other sources are sampled and share the rest.
    topic_share : mapping of str to float
        Fixed shares of the topics within their source, all of them or none; divided by their sum. As in Olmix, the
        minimum acts on them. If ratios must hold exactly, use ``frozen`` of `design`.
    nonzero : tuple of str
        Sources, topics or frozen groups with a share in every mixture.
    nonzero_in : "mixtures" or "draws"
        Whether ``nonzero`` applies to the mixtures (default), or, as in Olmix's code, only to the samples before small shares are set to
        0: the minimum may then set such a share to 0.
    proxy_tokens : int, optional
        Tokens of a proxy run. If given, a proxy reads no domain more than ``max_epochs`` times.
    max_epochs : float
        Default 1: the proxies repeat nothing.
    bound : bool
        Whether caps also reject samples before one of them is chosen, and not only after rounding. Default True. Olmix's ``enable_bound``.
    apart : float
        Smallest Euclidean distance between two candidates; default 0, no minimum. Not in Olmix's code.
    existing_apart : float
        Smallest Euclidean distance to the runs of a swarm that `extend` adds to. Default 0.01.
    multiplier : int
        Samples for each run. Default 10. Equal samples count once, and the runs are chosen from the rest.
    """

    strength: Span = (0.1, 5.0)
    source_strength: Span | None = None
    topic_strength: Span | None = None
    temperature: float = 1.0
    source_temperature: float | None = None
    topic_temperature: float | None = None
    minimum: float | tuple[float, float] = 0.002
    source_prior: Mapping[str, float] = field(default_factory=dict)
    topic_prior: Mapping[str, float] = field(default_factory=dict)
    source_share: Mapping[str, float] = field(default_factory=dict)
    topic_share: Mapping[str, float] = field(default_factory=dict)
    nonzero: tuple[str, ...] = ()
    nonzero_in: str = "mixtures"
    proxy_tokens: int | None = None
    max_epochs: float = 1.0
    bound: bool = True
    apart: float = 0.0
    existing_apart: float = 0.01
    multiplier: int = 10

    def __post_init__(self) -> None:
        for level in ("", "source_", "topic_"):
            self._check_level(level)
        for what in ("source_prior", "topic_prior", "source_share", "topic_share"):
            fine = all(0.0 <= share < np.inf for share in getattr(self, what).values())
            self._expect(what, fine, "finite numbers of at least 0")
        least = self.minimum if isinstance(self.minimum, tuple) else (self.minimum,)
        for what, fine, expected in (
            (
                "minimum",
                len(least) == (2 if isinstance(self.minimum, tuple) else 1) and all(0.0 < x < 1.0 for x in least),
                "a share above 0 and below 1, or two: of a source, and of a topic within it",
            ),
            ("source_share", sum(self.source_share.values()) <= 1.0 + 1e-9, "shares that sum to 1 at most"),
            ("nonzero", not isinstance(self.nonzero, str), "a sequence of names"),
            ("nonzero_in", self.nonzero_in in ("mixtures", "draws"), "'mixtures' or 'draws'"),
            ("proxy_tokens", self.proxy_tokens is None or self.proxy_tokens >= 1, "at least 1"),
            ("max_epochs", self.max_epochs > 0.0, "a number above 0"),
            ("apart", 0.0 <= self.apart < 1.0, "a distance of at least 0 and below 1"),
            ("existing_apart", 0.0 <= self.existing_apart < 1.0, "a distance of at least 0 and below 1"),
            ("multiplier", self.multiplier >= 1, "a whole number of at least 1"),
        ):
            self._expect(what, fine, expected)

    def _check_level(self, level: str) -> None:
        """Check the strengths and the temperature of sources, of topics, or of both."""
        span, temperature = getattr(self, f"{level}strength"), getattr(self, f"{level}temperature")
        words = "two numbers above 0, the smaller first"
        self._expect(f"{level}strength", span is None or (len(span) == 2 and 0.0 < span[0] <= span[1] < np.inf), words)
        fine = temperature is None or 0.0 < temperature <= 1.0
        self._expect(f"{level}temperature", fine, "above 0 and at most 1")

    def _expect(self, what: str, fine: bool, expected: str) -> None:
        if not fine:
            raise RegionError(f"the {what} of Olmix's sampler is {shown(getattr(self, what))}, expected {expected}")

    @property
    def strengths(self) -> tuple[Span, Span]:
        """Strengths of sources and of topics."""
        return self.source_strength or self.strength, self.topic_strength or self.strength

    @property
    def temperatures(self) -> tuple[float, float]:
        """Temperatures of sources and of topics."""
        return self.source_temperature or self.temperature, self.topic_temperature or self.temperature

    @property
    def minima(self) -> tuple[float, float]:
        """Minimum share of a source without topics, and of a topic within its source."""
        return self.minimum if isinstance(self.minimum, tuple) else (self.minimum, self.minimum)
