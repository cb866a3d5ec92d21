"""Predict the cost of freezing with the old law, and choose which old domains to reopen.

The old law replaces the unknown new one: new domains are assumed to act like the old ones they come from, or like those that the user
names. The optima with and without freezing are solved exactly, so the predicted loss is a difference, not a bound.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mixfast._engine.objectives.exponentials import Convex
from mixfast._text.audience import either
from mixfast._text.names import listing, places, positions
from mixfast.errors import InfeasibleError, NotConvergedWarning
from mixfast.laws import Objective, Predictor, Target, convex_form, resolve
from mixfast.proposers import solve_form
from mixfast.region import Region
from mixfast.reuse._changes import ReuseError, Update
from mixfast.reuse._collapse import Collapse, Matrix, Vector

# Gap of the two solves; the loss is the difference of their values.
_TOL = 1e-10


@dataclass(frozen=True)
class Coupling:
    """The old law's predictions about freezing.

    Attributes
    ----------
    reopen : tuple of str
        The old domains to reopen so that the loss of freezing the others is within the allowed loss.
    loss : float
        Predicted loss of freezing all unchanged domains except those reopened, in the unit of the objective, with the KL term.
    loss_full : float
        Predicted loss of freezing all unchanged domains; infinite if the limits then allow no mixture.
    gain : float
        Predicted gain of the best mixture over the prior, in the same unit.
    kappa : float
        Coupling (Theorem 1) of the frozen domains to the others when `reopen` is open.
    scores : dict of str to float
        For each old domain, its own kappa times the change of its relative share. Domains are reopened from the largest score down.
    new_share : float
        Predicted share of the new domains at the best mixture.
    like : dict of str to str
        The old domain that each new one is assumed to act like.
    assumed : tuple of str
        New domains without a known counterpart. They are assumed to act like the old domain for which freezing loses most.
    gap : float
        Largest optimality gap of the solves behind loss and gain; it only matters for steep laws.
    """

    reopen: tuple[str, ...]
    loss: float
    loss_full: float
    gain: float
    kappa: float
    scores: dict[str, float]
    new_share: float
    like: dict[str, str]
    assumed: tuple[str, ...]
    gap: float = 0.0


def kappa(slopes: Matrix, fix: Sequence[int], comp: Sequence[int]) -> float:
    """Return ``||(1 + alpha_fix + alpha_comp) * alpha_fix||``, where alpha_S (J,) are the norms of the slopes (J, K) of the domains S."""
    alpha, other = np.linalg.norm(slopes[:, fix], axis=1), np.linalg.norm(slopes[:, comp], axis=1)
    return float(np.linalg.norm((1.0 + alpha + other) * alpha))


def _least_open(order: list[str], lost: Callable[[Iterable[str]], float], *, limit: float) -> set[str]:
    """Return the domains to open so that the loss is within the limit: the shortest prefix of the order, without needless domains."""
    # Opening more domains never increases the loss, so the prefix is found by bisection; with all of them open the loss is 0.
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(order[:middle]) <= limit else (middle + 1, high)
    opened = order[:low]
    # The order is heuristic: domains that can be frozen within the limit are frozen again.
    for name in reversed(order[:low]):
        fewer = [each for each in opened if each != name]
        if lost(fewer) <= limit:
            opened = fewer
    return set(opened)


class StandIn:
    """The old law applied to the new domains, and its best mixtures with any of the old domains frozen."""

    def __init__(
        self,
        law: Predictor,
        update: Update,
        region: Region,
        shares: Mapping[str, float],
        *,
        objective: Objective,
        kl: float,
        virtual: str,
        like: Mapping[str, str],
    ) -> None:
        self.update, self.region, self.shares, self.kl, self.virtual = update, region, shares, kl, virtual
        self.known = tuple(law.domains)
        self.target: Target = resolve(objective, law)
        form, other = convex_form(law, self.target)
        if form is not None and form.epochs is not None:
            # Frozen domains share one unknown, and the tokens of new domains are not those of the domains they resemble.
            named = zip(self.target.metrics, form.epochs.used, strict=True)
            raise ReuseError(
                f"predicting the loss of freezing needs log-linear or linear laws; those of {listing(name for name, used in named if used)} are laws in "
                "epochs, which say nothing of a new domain with other tokens than the domain that it resembles, nor of a frozen block as one domain: "
                "fit log-linear laws to the same runs for this prediction (mixfast reuse fit, or mixfast fit --law log_linear), or name the domains "
                "to reopen and give no law. Laws in epochs can then be fitted to the new runs"
            )
        if form is None:
            raise ReuseError(
                f"predicting the loss of freezing needs log-linear or linear laws of metrics that are minimised; these metrics have none: "
                f"{listing(other)}; fit such laws (mixfast reuse fit, or mixfast fit --law log_linear), or name the domains to reopen "
                "and give no law"
            )
        self.form = form
        if missing := [name for name in update.kept if name not in self.known]:
            raise ReuseError(
                f"the old law lacks the domains {listing(missing)}; its domains are {listing(self.known)}. Give a law over all "
                "old domains, or name the domains to reopen and give no law"
            )
        if wrong := [f"{new}: {old}" for new, old in like.items() if new not in update.new or old not in self.known]:
            raise ReuseError(
                f"{either('like', '--like')} must map new domains ({listing(update.new)}) to domains of the law ({listing(self.known)}), got {listing(wrong)}"
            )
        own = {name: name for name in update.new if name in self.known}
        heirs = {new: old for new, old in update.heirs.items() if old in self.known}
        self.like = {name: name for name in update.kept} | own | heirs | dict(like)
        self.assumed = tuple(name for name in update.new if name not in self.like)
        self.gap = 0.0

    def coupling(self, allowed: float) -> Coupling:
        """Choose the domains to reopen so that the loss is at most ``allowed`` times the gain.

        1. Assume that each new domain without a known counterpart acts like the old domain for which freezing loses most.
        2. Solve with all domains open. The gain is that of the optimum over the prior.
        3. Rank the kept domains by their term in the bound of Theorem 1.
        4. Reopen the shortest prefix of that order with a loss within the limit, and freeze needless domains again.
        """
        if self.assumed:
            self._assume_the_worst()
        best, w = self._best(self.region, self._columns())
        gain = self._value(self._form(self._columns()), self.region.prior) - best
        slopes, scores = self._scores(w)

        def lost(reopen: Iterable[str]) -> float:
            return max(0.0, self.frozen(reopen) - best)

        order = sorted(self.update.kept, key=lambda name: -scores[name])
        needed = _least_open(order, lost, limit=max(allowed * gain, 1e-7 * max(1.0, abs(best))))
        chosen = tuple(name for name in self.update.kept if name in needed)
        place = places(self.region.domains)
        fix = [place[name] for name in self.update.kept if name not in needed]
        comp = [place[name] for name in (*self.update.new, *chosen)]
        return Coupling(
            reopen=chosen,
            loss=lost(chosen),
            loss_full=lost(()),
            gain=gain,
            kappa=kappa(slopes, fix, comp),
            scores=scores,
            new_share=math.fsum(w[place[name]] for name in self.update.new),
            like={name: self.like[name] for name in self.update.new},
            assumed=self.assumed,
            gap=self.gap,
        )

    def loss(self, reopen: Iterable[str]) -> float:
        """Return the loss of freezing all kept domains except these."""
        return max(0.0, self.frozen(reopen) - self._best(self.region, self._columns())[0])

    def frozen(self, reopen: Iterable[str]) -> float:
        """Return the smallest objective with all kept domains frozen except these; infinite if the limits allow no mixture."""
        opened = set(reopen)
        members = [name for name in self.update.kept if name not in opened]
        if not math.fsum(self.shares[name] for name in members) > 0.0:
            return self._best(self.region, self._columns())[0]
        part = Collapse.of(self.shares, members, self.region, virtual=self.virtual)
        try:
            region = part.region
        except InfeasibleError:
            return math.inf
        if self.kl > 0.0 and not math.isfinite(part.divergence):
            return math.inf
        constant = self.kl * part.kl_constant if self.kl > 0.0 else 0.0
        return self._best(region, self._columns() @ part.matrix)[0] + constant

    # Inside.

    def _columns(self) -> Matrix:
        """Return a matrix (old K, new K) that maps each domain of the new set to the old domain with its coefficients."""
        out = np.zeros((len(self.known), self.region.n_domains))
        rows = positions((self.like[name] for name in self.region.domains), self.known)
        out[rows, np.arange(self.region.n_domains)] = 1.0
        return out

    def _form(self, columns: Matrix) -> Convex:
        form = self.form
        return Convex(np.ascontiguousarray(form.a @ columns), form.on, form.linear @ columns, form.constant)

    def _value(self, form: Convex, w: Vector) -> float:
        """Return the objective at a mixture, without the KL term."""
        values = form.metrics(w)
        return float(values[self.target.used].max() if self.target.worst else self.target.weight @ values)

    def _best(self, region: Region, columns: Matrix) -> tuple[float, Vector]:
        form = self._form(columns)
        if region.n_domains == 1:  # all frozen: a single mixture
            return self._value(form, np.ones(1)), np.ones(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotConvergedWarning)
            found = solve_form(form, region, self.target, kl=self.kl, tol=_TOL)
        self.gap = max(self.gap, found.gap or 0.0)
        return found.value, found.w

    def _scores(self, w: Vector) -> tuple[Matrix, dict[str, float]]:
        """Return slopes (J, K) relative to those of the old mixture, and the term of each kept domain in the bound of Theorem 1."""
        place = places(self.region.domains)
        kept = [place[name] for name in self.update.kept]
        if not kept:
            return np.zeros((len(self.target.used), self.region.n_domains)), {}
        form = self._form(self._columns())
        slopes = (form.a * form.on[:, None] + form.linear)[self.target.used]
        old = np.array([self.shares[name] for name in self.update.kept])
        old = old / max(math.fsum(old), 1e-300)
        # A constant added to all slopes of a metric changes no ranking of mixtures, so the slope of the frozen mixture is subtracted.
        slopes = slopes - (slopes[:, kept] @ old)[:, None]
        now = w[kept] / max(math.fsum(w[kept]), 1e-300)
        new = [place[name] for name in self.update.new]
        each = [kappa(slopes, [k], new) * abs(a - b) for k, a, b in zip(kept, now, old, strict=True)]
        return slopes, dict(zip(self.update.kept, map(float, each), strict=True))

    def _assume_the_worst(self) -> None:
        """Assume that new domains without a known counterpart act like the old domain for which freezing loses most."""
        worst, most = self.known[0], -math.inf
        for name in self.known:
            self.like |= dict.fromkeys(self.assumed, name)
            lost = self.loss(())
            if lost > most:
                worst, most = name, lost
        self.like |= dict.fromkeys(self.assumed, worst)
