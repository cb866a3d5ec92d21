"""A simulated world with domains, tasks and true losses, for the study `lifecycle`; it stands in for training proxies.

Domains have skills (how much of eight subjects their text teaches), tasks need them. Sizes are those of Olmix's case study, and so are
the tasks' families: 7 of mathematics, 19 of code, 26 of questions and answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

# Billions of tokens: allenai/olmix, configs/mixture_reuse_case_study (Apache-2.0), rounded; parts of the PDFs as fractions of the whole.
WEB = {
    "fashion": 37.3, "industrial": 43.6, "travel": 57.6, "adult": 67.8, "art": 70.7, "electronics": 80.2, "transport": 90.8,
    "food": 105.9, "software": 108.0, "home": 126.9, "history": 161.0, "crime": 170.1, "education": 184.7, "sports": 196.8,
    "social": 218.7, "software_development": 223.4, "games": 230.0, "religion": 277.8, "finance": 310.3, "literature": 364.8,
    "health": 393.5, "science": 427.1, "entertainment": 441.8, "politics": 611.2,
}  # fmt: skip
CODE = {
    "Go": 1.4, "Ruby": 1.4, "Rust": 1.4, "Swift": 1.5, "Shell": 2.5, "TypeScript": 2.5, "C": 4.7, "SQL": 7.1, "CSharp": 7.2,
    "PHP": 7.4, "JavaScript": 8.9, "Cpp": 12.5, "Python": 18.0, "Markdown": 28.9, "Java": 31.3,
}  # fmt: skip
MORE = {"wikipedia": 10.1, "algebraicstack": 11.8, "arxiv": 20.8, "finemath": 34.1, "pes2o": 58.6}
PDFS = {
    "adult": 0.3, "fashion": 0.6, "travel": 2.1, "food": 2.3, "games": 2.5, "home": 3.9, "sports": 5.5, "entertainment": 6.1,
    "art": 6.8, "software": 9.1, "transport": 17.1, "religion": 24.7, "industrial": 29.4, "literature": 31.9, "politics": 39.2,
    "software_development": 41.8, "crime": 42.5, "finance": 61.2, "health": 108.2, "education": 138.1, "science": 424.2,
}  # fmt: skip

SKILLS = ("systems code", "scripting", "mathematics", "science", "medicine", "humanities", "commerce", "daily life")
# The main subject of a topic, and the second.
_ABOUT = {
    "fashion": (7, 6), "industrial": (6, 3), "travel": (7, 5), "adult": (7, 5), "art": (5, 7), "electronics": (3, 1), "transport": (6, 7),
    "food": (7, 4), "software": (1, 0), "home": (7, 6), "history": (5, 3), "crime": (5, 6), "education": (5, 2), "sports": (7, 5),
    "social": (7, 5), "software_development": (1, 0), "games": (7, 1), "religion": (5, 7), "finance": (6, 2), "literature": (5, 7),
    "health": (4, 3), "science": (3, 2), "entertainment": (7, 5), "politics": (5, 6), "wikipedia": (5, 3), "algebraicstack": (2, 0),
    "arxiv": (3, 2), "finemath": (2, 3), "pes2o": (3, 4), "Go": (0, 1), "Ruby": (1, 0), "Rust": (0, 1), "Swift": (0, 1), "Shell": (1, 0),
    "TypeScript": (1, 0), "C": (0, 2), "SQL": (1, 6), "CSharp": (0, 1), "PHP": (1, 0), "JavaScript": (1, 0), "Cpp": (0, 1),
    "Python": (1, 2), "Markdown": (1, 5), "Java": (0, 1),
}  # fmt: skip
# Tasks of a family, and the skills they may be about.
_FAMILIES = ((7, (2,)), (19, (0, 1)), (26, (3, 4, 5, 6, 7)))

FAMILIES = ("log_linear", "power")


class World:
    """True losses (J,) of any mixture of any of the domains, and noisy measurements of them.

    Parameters
    ----------
    seed : int
    family : str
        "log_linear": ``c + exp(b + a.w)``, a.w the skills that the task needs. "power": ``c + sum_q n_q (e_q + e_0)^-alpha``, e_q the
        amount of skill q in the mixture; no law of this package.
    noise : float
        Standard deviation of a measurement, as a fraction of that of the task's losses over mixtures near the natural one. A Gaussian
        process fitted to 256 real runs of RegMix has a residual of about 0.1 (0.05-0.14 over its 13 metrics).
    better : float
        Added domains teach this many times as much as old ones. The larger it is, the less it helps to keep the old ratios.
    """

    def __init__(self, seed: int, *, family: str = "log_linear", noise: float = 0.1, better: float = 1.0) -> None:
        rng = np.random.default_rng(np.random.SeedSequence([seed, FAMILIES.index(family)]))
        self.family = family
        self.tokens: dict[str, float] = {f"web:{name}": size for name, size in WEB.items()}
        self.tokens |= {f"code:{name}": size for name, size in CODE.items()} | MORE
        parts = {f"pdf:{name}": 1034.2 * size / sum(PDFS.values()) for name, size in PDFS.items()}
        self.tokens |= {"pdf_draft": 1034.2, "pdf": 1034.2} | parts
        self.skills = {name: _skills(rng, name.split(":")[-1]) for name in [*self.tokens] if not name.startswith("pdf")}
        for name in (*self.tokens,):
            if name in MORE or name.startswith("code:"):
                self.skills[name] = better * self.skills[name]
        for name in parts:  # the same topic, in papers and books instead of pages
            self.skills[name] = 0.6 * self.skills["web:" + name.split(":")[1]] + 0.4 * _skills(rng, name.split(":")[1])
            self.skills[name] *= rng.lognormal(0.1, 0.2)
        self.skills["pdf"] = np.average([self.skills[name] for name in parts], axis=0, weights=list(parts.values()))
        # The revision is a cleaner extraction of the same documents.
        self.skills["pdf_draft"] = 0.8 * self.skills["pdf"] + 0.05 * rng.dirichlet(np.ones(len(SKILLS)))
        families = [(rng.choice(about), about) for count, about in _FAMILIES for _ in range(count)]
        self.needs = np.array([_needs(rng, first, about) for first, about in families])
        tasks = len(self.needs)
        self.constant = rng.uniform(0.3, 0.8, tasks)
        self.strength = np.exp(rng.uniform(np.log(2.0), np.log(6.0), tasks))
        self.alpha = rng.uniform(0.2, 0.6, tasks)
        # Effect of a domain on a task beyond its skills.
        self.quirks = {name: rng.normal(0.0, 0.03, tasks) for name in self.skills}
        for parent in ("pdf",):
            self.quirks[parent] = np.average(
                [self.quirks[name] for name in parts], axis=0, weights=list(parts.values())
            )
        natural = self.natural([*(name for name in self.tokens if name.startswith(("web", "code"))), *MORE, "pdf"])
        self.level = np.zeros(tasks)
        base = self.losses([list(natural.values())], natural)[0] - self.constant
        # At the natural mixture of all domains, the part of the loss that data can change is 0.3 to 0.6 nats.
        self.level = -np.log(base / rng.uniform(0.3, 0.6, tasks))
        around = rng.dirichlet(20.0 * np.array(list(natural.values())) + 0.1, size=512)
        self.noise = noise * self.losses(around, natural).std(axis=0)
        self._draw = rng

    def natural(self, domains: Iterable[str]) -> dict[str, float]:
        """Return shares in proportion to the tokens."""
        sizes = {name: self.tokens[name] for name in domains}
        return {name: size / sum(sizes.values()) for name, size in sizes.items()}

    def losses(self, rows: object, domains: Iterable[str]) -> Matrix:
        """True losses (R, J) of mixtures (R, K)."""
        names = list(domains)
        shares = np.asarray(rows, dtype=np.float64)
        taught = shares @ np.array([self.skills[name] for name in names])
        quirk = shares @ np.array([self.quirks[name] for name in names])
        if self.family == "log_linear":
            effect = np.exp(self.level - self.strength * (taught @ self.needs.T + quirk))
        else:
            reach = (taught[:, None, :] + 0.01) ** -self.alpha[:, None]
            effect = np.exp(self.level - quirk) * np.einsum("rjq,jq->rj", reach, self.needs)
        return self.constant + effect

    def measure(self, rows: object, domains: Iterable[str]) -> Matrix:
        """Return what proxy runs would measure: losses (R, J) with noise."""
        truth = self.losses(rows, domains)
        return truth + self.noise * self._draw.standard_normal(truth.shape)

    def loss(self, shares: Mapping[str, float]) -> float:
        """Mean true loss of one mixture."""
        return float(self.losses([list(shares.values())], shares).mean())


def _skills(rng: np.random.Generator, topic: str) -> Vector:
    """Return how much a domain teaches each skill: its subjects most, all others a little, times a quality factor."""
    first, second = _ABOUT[topic]
    out = 0.25 * rng.dirichlet(np.ones(len(SKILLS)))
    out[first] += rng.uniform(0.4, 0.6)
    out[second] += rng.uniform(0.1, 0.3)
    return out * rng.lognormal(0.0, 0.2)


def _needs(rng: np.random.Generator, first: int, about: tuple[int, ...]) -> Vector:
    """Return how much a task needs each skill; sums to 1."""
    out = 0.25 * rng.dirichlet(np.full(len(SKILLS), 0.5))
    out[list(about)] += 0.2 * rng.dirichlet(np.ones(len(about)))
    out[first] += 0.55
    return out / out.sum()
