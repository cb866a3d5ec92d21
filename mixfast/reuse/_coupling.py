"""What freezing costs according to the old law, and which old domains to reopen.

The old law stands in for the one that is not known yet: new domains act like the old ones they come from, or those the user says they
are like. The optima with and without freezing are solved exactly, so the predicted loss is a difference, not a bound.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mixfast._engine.objectives.exponentials import Convex
from mixfast._text.audience import either
from mixfast._text.names import listing
from mixfast.errors import InfeasibleError, NotConvergedWarning
from mixfast.laws import Objective, Predictor, Target, convex_form, resolve
from mixfast.proposers import solve_form
from mixfast.region import Region
from mixfast.reuse._changes import ReuseError, Update
from mixfast.reuse._collapse import Collapse, Matrix, Vector

# Gap of the two solves whose difference is the loss.
_TOL = 1e-10


@dataclass(frozen=True)
class Coupling:
    """What the old law says about freezing.

    Attributes
    ----------
    reopen : tuple of str
        The old domains to reopen so that freezing the rest loses at most what is allowed.
    loss : float
        Predicted loss of freezing all old domains but those reopened, in the unit of the objective, KL term included.
    loss_full : float
        Of freezing all old domains that the changes leave alone; infinite where the limits then allow no mixture.
    gain : float
        Predicted gain of the best mixture over the prior, in the same unit.
    kappa : float
        Coupling (Theorem 1) to the others of what is frozen when `reopen` is open.
    scores : dict of str to float
        For each old domain its own kappa times how far its relative share moves; reopened from the largest down.
    new_share : float
        Predicted share of the new domains at the best mixture.
    like : dict of str to str
        The old domain that each new one was taken to act like.
    assumed : tuple of str
        New domains that nothing is known about; they were taken for the old domain that makes freezing lose most.
    gap : float
        Largest optimality gap of the solves behind loss and gain; it matters for steep laws only.
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
    """Return ``||(1 + alpha_fix + alpha_comp) * alpha_fix||``, alpha_S (J,) the norms of the slopes (J, K) of the domains S."""
    alpha, other = np.linalg.norm(slopes[:, fix], axis=1), np.linalg.norm(slopes[:, comp], axis=1)
    return float(np.linalg.norm((1.0 + alpha + other) * alpha))


def _least_open(order: list[str], lost: Callable[[Iterable[str]], float], *, limit: float) -> set[str]:
    """The domains to open so that the loss is within the limit: the shortest head of the order, less what is needless there."""
    # More open domains never lose more, so the head is found by halving; with all of them open nothing is lost.
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(order[:middle]) <= limit else (middle + 1, high)
    opened = order[:low]
    # The order is a guess: domains whose freezing stays within the limit are frozen again.
    for name in reversed(order[:low]):
        fewer = [each for each in opened if each != name]
        if lost(fewer) <= limit:
            opened = fewer
    return set(opened)


class StandIn:
    """The old law on the new domains, and the best mixtures it knows with any of the old ones frozen."""

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
        if form is None:
            raise ReuseError(
                f"the loss of freezing needs log-linear or linear laws of metrics to minimise, which these are not: "
                f"{listing(other)}; fit those (mixfast reuse fit, or mixfast fit --law log_linear), or name the domains to reopen yourself "
                "and give no law"
            )
        self.form = form
        if missing := [name for name in update.kept if name not in self.known]:
            raise ReuseError(
                f"the old law does not know the domains {listing(missing)}; it knows {listing(self.known)}. Give a law over all "
                "old domains, or name the domains to reopen yourself and give no law"
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
        """Propose what to reopen for the loss to be at most ``allowed`` times the gain.

        1. Take each new domain that nothing is known about for the old one that makes freezing lose most.
        2. Solve with all domains open. The gain is that of the optimum over the prior.
        3. Rank the kept domains by their part in the bound of Theorem 1.
        4. Reopen the shortest head of that order that leaves the loss within the limit; freeze again what proves needless.
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
        place = {name: k for k, name in enumerate(self.region.domains)}
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
        """Loss of freezing all kept domains but these."""
        return max(0.0, self.frozen(reopen) - self._best(self.region, self._columns())[0])

    def frozen(self, reopen: Iterable[str]) -> float:
        """Least objective with all kept domains frozen but these; infinite where the limits allow no mixture."""
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
        """(old K, new K): the old domain whose coefficients each new-set domain has."""
        out = np.zeros((len(self.known), self.region.n_domains))
        for column, name in enumerate(self.region.domains):
            out[self.known.index(self.like[name]), column] = 1.0
        return out

    def _form(self, columns: Matrix) -> Convex:
        form = self.form
        return Convex(np.ascontiguousarray(form.a @ columns), form.on, form.linear @ columns, form.constant)

    def _value(self, form: Convex, w: Vector) -> float:
        """Objective at a mixture, without KL term."""
        values = form.metrics(w)
        return float(values[self.target.used].max() if self.target.worst else self.target.weight @ values)

    def _best(self, region: Region, columns: Matrix) -> tuple[float, Vector]:
        form = self._form(columns)
        if region.n_domains == 1:  # all frozen: nothing to choose
            return self._value(form, np.ones(1)), np.ones(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotConvergedWarning)
            found = solve_form(form, region, self.target, kl=self.kl, tol=_TOL)
        self.gap = max(self.gap, found.gap or 0.0)
        return found.value, found.w

    def _scores(self, w: Vector) -> tuple[Matrix, dict[str, float]]:
        """Slopes (J, K) as differences to the old mixture's, and each kept domain's share in the bound of Theorem 1."""
        place = {name: k for k, name in enumerate(self.region.domains)}
        kept = [place[name] for name in self.update.kept]
        if not kept:
            return np.zeros((len(self.target.used), self.region.n_domains)), {}
        form = self._form(self._columns())
        slopes = (form.a * form.on[:, None] + form.linear)[self.target.used]
        old = np.array([self.shares[name] for name in self.update.kept])
        old = old / max(math.fsum(old), 1e-300)
        # A constant added to all slopes of a metric changes no mixture's rank: they count from the frozen mixture's own.
        slopes = slopes - (slopes[:, kept] @ old)[:, None]
        now = w[kept] / max(math.fsum(w[kept]), 1e-300)
        new = [place[name] for name in self.update.new]
        each = [kappa(slopes, [k], new) * abs(a - b) for k, a, b in zip(kept, now, old, strict=True)]
        return slopes, dict(zip(self.update.kept, map(float, each), strict=True))

    def _assume_the_worst(self) -> None:
        """Take new domains that nothing is known about for the old one that makes freezing lose most."""
        worst, most = self.known[0], -math.inf
        for name in self.known:
            self.like |= dict.fromkeys(self.assumed, name)
            lost = self.loss(())
            if lost > most:
                worst, most = name, lost
        self.like |= dict.fromkeys(self.assumed, worst)
