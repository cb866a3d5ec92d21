"""`explore`: a page on which a mixture is tried, with the laws' predictions for it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import counted, listing, positions
from mixfast.designs import Design
from mixfast.errors import AlignmentError
from mixfast.laws import Fit, in_run_of
from mixfast.mixture import Mixture
from mixfast.proposers import Proposal
from mixfast.region import Region
from mixfast.report import _explorer_script as script
from mixfast.report import _html as html
from mixfast.report._document import Page
from mixfast.report._law_model import law_model, packed
from mixfast.report._table_model import Objective, Table, table_model
from mixfast.solver import Solution
from mixfast.swarm import Swarm

_WORDS = (
    "Change a share, and the others adapt. Predictions and their 90 % intervals are those of the law; "
    "the intervals are for one new run."
)
_TABLE_WORDS = (
    "Change a share, and the others adapt. The losses are those of the experts' mixture, which solve minimises, in {unit}. They have no intervals, because "
    "rows of the same text depend on each other; mixfast solve prints how far the rows determine the shares."
)
# A page of more domains would be too large to read, and to send.
_MOST_DOMAINS = 2000
_NO_SCRIPT = "This part of the page needs JavaScript, which is switched off here."


def explore(
    law: Fit | Table,
    region: Region | None = None,
    mixtures: Mapping[str, Mixture] | None = None,
    *,
    optimum: Proposal | Solution | Mixture | None = None,
    swarm: Swarm | Design | None = None,
    objective: Objective = None,
    title: str = "Mixture explorer",
    command: Sequence[str] | None = None,
) -> Page:
    """Make a page on which mixtures are tried: sliders for the shares, and what the laws or a table of experts predict for them.

    Parameters
    ----------
    law : Fit, ExpertTable or ShardedTable
        Of a table, the page shows the loss of the experts' mixture that `solve` minimises, and that of each group.
    region : Region, optional
        Limits, prior and token counts; by default no limits, and a uniform prior.
    mixtures : mapping of str to Mixture, optional
        Saved mixtures to compare with, by the name that the page gives them. Domains that a mixture leaves out have share 0.
    optimum : Proposal, Solution or Mixture, optional
        The mixture that the page starts from. By default it starts from the first of `mixtures`, or from the prior.
    swarm : Swarm or Design, optional
        The runs that the law was fitted to. With them, the page says how far a mixture is from the nearest run.
    objective : dict of group to weight, a group's name, "worst", or None
        What counts as the loss of the whole target of a table, as in `solve`; laws have no such metric.
    title : str
        The heading of the page.
    command : sequence of str, optional
        The words of the command that answers goals exactly, with its limits: ``["mixfast", "propose", "law.json"]`` for laws,
        ``["mixfast", "solve", "table.npz"]`` for a table. When a drag ends, the page shows it with the options of that goal.

    Returns
    -------
    Page
        Its `missing` names the metrics that the page cannot predict, with the reason.

    Raises
    ------
    ValueError
        More than 2000 domains; none of the laws can be evaluated by the page, such as boosted trees; a law in epochs, whose run is unknown;
        `swarm` with a table, or `objective` with a law.
    TableError
        `objective` names a group that the table does not have.
    AlignmentError
        The region, the swarm or a mixture has other domains than the law or table.

    Notes
    -----
    The page is one file and loads nothing. It evaluates the laws by the same formulas in float64: predictions agree with `Fit.predict` to
    1e-10, relative. They are in the units of the law's metrics, shares in percent, and losses of a table in its unit, such as nats per row. The numbers behind the error bars are rounded if there are many: standard deviations then agree to 1 %.

    The page has all rows of a table if they take at most 1.3 MB, and of a table of predictions the Gram matrices: its losses are then those
    of `losses`. Else it has as many rows as fit, chosen at random with preference for rows on which the experts differ. Their values are
    rounded, and their weights are fitted so that the losses are those of all rows at up to 640 mixtures, or three for each domain and about
    280 others if the table has more than 120 domains. The page says how large the error is at 512 other mixtures. If it is above 1e-3, more
    rows of half a byte for each value and up to 1500 mixtures are tried as well. Memory: about 400 MB beside the table. Time: two to four
    sweeps of the rows, and some seconds.

    References
    ----------
    Deville and Särndal, "Calibration Estimators in Survey Sampling" (1992), for the weights; Duffield, Lund and Thorup, "Priority sampling for
    estimation of arbitrary subset sums" (2007), for the choice of rows.
    """
    if not isinstance(law, Fit):
        if swarm is not None:
            raise ValueError("swarm holds the runs of a law; a table of experts has none")
        part = table_explorer(law, region, mixtures or {}, optimum=optimum, objective=objective, command=command)
    elif objective is not None:
        raise ValueError("objective chooses groups of a table; the page shows all metrics of a law")
    else:
        part = law_explorer(law, region, mixtures or {}, optimum=optimum, swarm=swarm, command=command)
    words = [counted(len(law.domains), "domain"), counted(part.metrics, "metric")]
    words += [] if isinstance(law, Fit) else [f"losses in {law.unit}"]
    told = [html.Missing(f"lost-{i}", some, f"{why}.") for i, (some, why) in enumerate(_by_reason(part.lost).items())]
    section = html.Section("explore", "Try a mixture", part.body)
    return Page(
        html.page(title, " · ".join(words), "", [section], told, style=script.style(), script=script.script()),
        (section.title,),
        {one.title: one.why for one in told},
        (),
    )


@dataclass(frozen=True)
class Explorer:
    """The explorer as a part of a page: its HTML, the metrics that it cannot predict, each with the reason, and the number of the others."""

    body: str
    lost: dict[str, str]
    metrics: int


def law_explorer(
    law: Fit,
    region: Region | None,
    mixtures: Mapping[str, Mixture],
    *,
    optimum: Proposal | Solution | Mixture | None,
    swarm: Swarm | Design | None,
    command: Sequence[str] | None,
    compared: Iterable[str] | None = None,
) -> Explorer:
    """Make the explorer of a law. `compared` names the mixtures that have a column at first, by default those of `mixtures`."""
    where = _region(law.domains, region)
    law = in_run_of(law, where)
    model, lost = law_model(law)
    if not model["metrics"]:
        raise ValueError(
            f"the page can predict none of the metrics: {listing(f'{name}: {why}' for name, why in lost.items())}; "
            "fit linear, log_linear, gp, epochs or a power law"
        )
    shown = _mixtures(law.domains, where, mixtures, optimum)
    data = {
        "words": [_WORDS, *(f"Left out: {some}; {why}." for some, why in _by_reason(lost).items())],
        "model": model,
        "runs": _runs(law, swarm),
        "command": None if command is None else list(command),
    }
    return Explorer(_body(data, where, shown, compared), lost, len(model["metrics"]))


def table_explorer(
    table: Table,
    region: Region | None,
    mixtures: Mapping[str, Mixture],
    *,
    optimum: Solution | Proposal | Mixture | None,
    objective: Objective,
    command: Sequence[str] | None,
    compared: Iterable[str] | None = None,
) -> Explorer:
    """Make the explorer of a table of experts. `compared` is as for a law."""
    where = _region(table.domains, region)
    shown = _mixtures(table.domains, where, mixtures, optimum)
    found = table_model(table, where, [shares for _, shares in shown.mixtures], objective)
    data = {
        "words": [_TABLE_WORDS.format(unit=table.unit), found.words()],
        "model": found.data,
        "runs": None,
        "command": None if command is None else list(command),
    }
    return Explorer(_body(data, where, shown, compared), {}, len(found.data["metrics"]))


def _region(domains: tuple[str, ...], region: Region | None) -> Region:
    if len(domains) > _MOST_DOMAINS:
        raise ValueError(
            f"the page has a slider for each domain, of at most {_MOST_DOMAINS}, got {len(domains)}: put domains together"
        )
    return Region(domains) if region is None else region.align(domains)


def _body(data: dict[str, Any], region: Region, shown: _Shown, compared: Iterable[str] | None) -> str:
    """Return the explorer's HTML, from the data that depend on what it evaluates, the region, and the mixtures."""
    given = list(shown.given.values())
    places = shown.own | shown.given
    data |= {
        "limits": _limits(region),
        "mixtures": [{"name": name, "shares": packed(shares)} for name, shares in shown.mixtures],
        "start": shown.own.get("optimum", given[0] if given else 0),
        "compared": given if compared is None else [places[name] for name in compared],
        **_supply(region),
    }
    place = f'<div id="explorer" class="explorer"><p class="soft">{_NO_SCRIPT}</p></div>'
    return place + script.data_block(data)


def _supply(region: Region) -> dict[str, Any]:
    """Return the tokens of the domains and of the run; neither if one is unknown, because epochs need both."""
    if region.available is None or region.target_tokens is None:
        return {"available": None, "budget": None}
    return {"available": packed(np.maximum(region.available, 1)), "budget": region.target_tokens}


def _by_reason(lost: Mapping[str, str]) -> dict[str, str]:
    """Return the reasons by the list of the metrics that share one."""
    return {listing(name for name in lost if lost[name] == why): why for why in dict.fromkeys(lost.values())}


@dataclass(frozen=True)
class _Shown:
    """The mixtures of the page with the names that it shows, and the places of its own and of those that were given, each by its own name."""

    mixtures: list[tuple[str, Vector]]
    own: dict[str, int]
    given: dict[str, int]


def _mixtures(
    domains: tuple[str, ...],
    region: Region,
    given: Mapping[str, Mixture],
    optimum: Proposal | Solution | Mixture | None,
) -> _Shown:
    """Return all mixtures of the page, in the order of the model's domains; what the others are compared with comes first."""
    uniform = np.full(len(domains), 1.0 / len(domains))
    own: dict[str, Vector] = {"prior": np.array(region.prior)} if region.has_prior else {}
    if "prior" not in own or not np.allclose(own["prior"], uniform, rtol=0.0, atol=1e-12):
        own["uniform"] = uniform
    if optimum is not None:
        own["optimum"] = _aligned("the optimum", optimum if isinstance(optimum, Mixture) else optimum.mixture, domains)
    out = list(own.items())
    for name, mixture in given.items():
        out.append((_unlike(name, [other for other, _ in out]), _aligned(name, mixture, domains)))
    return _Shown(out, dict(zip(own, count())), dict(zip(given, count(len(own)))))


def _unlike(name: str, others: Collection[str]) -> str:
    """Return a name that no other mixture of the page has."""
    return name if name not in others else _unlike(f"{name} (given)", others)


def _aligned(what: str, mixture: Mixture, domains: tuple[str, ...]) -> Vector:
    known = set(domains)
    unknown = [name for name in mixture.domains if name not in known]
    if unknown:
        raise AlignmentError(
            f"{what} has domains that the model does not know: {listing(unknown)}; it knows {listing(domains)}"
        )
    return np.array([mixture.get(name, 0.0) for name in domains])


def _limits(region: Region) -> dict[str, Any]:
    """Return the limits; an end of a bound that is no limit is None."""
    ends = zip(region.bound_lower.tolist(), region.bound_upper.tolist(), strict=True)
    bounds = [
        {"name": name, "row": packed(row), "lower": _finite(low), "upper": _finite(high)}
        for name, row, (low, high) in zip(region.bound_names, region.bound_rows, ends, strict=True)
    ]
    arrays = {"floor": region.floor, "cap": region.cap, "prior": region.prior}
    return {**{name: packed(values) for name, values in arrays.items()}, "bounds": bounds}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _runs(law: Fit, swarm: Swarm | Design | None) -> dict[str, Any]:
    """Return what the runs have seen: the largest shares and epochs, constant shares, and their mixtures if they are known."""
    out: dict[str, Any] = {
        "largest": packed(law.largest),
        "constant": [law.constant.get(name) for name in law.domains],
        "most": None,
        "rate": None,
        "shares": None,
        "apart": 0.0,
    }
    if law.uses_epochs and law.most_epochs is not None and law.rate is not None:
        out |= {"most": packed(law.most_epochs), "rate": packed(law.rate)}
    shares = _shares_of_runs(law, swarm)
    if shares is not None and len(shares) > 1:
        out |= {"shares": packed(shares, "f4"), "apart": _apart(shares)}
    return out


def _shares_of_runs(law: Fit, swarm: Swarm | Design | None) -> Matrix | None:
    """Return the mixtures of the runs (R, K): those given, or those that a Gaussian process holds; None if they are unknown."""
    if swarm is not None:
        if set(swarm.domains) != set(law.domains):
            raise AlignmentError("the swarm has other domains than the law: give the runs that the law was fitted to")
        return swarm.ratios[:, positions(law.domains, swarm.domains)]
    if law.features is not None:
        return None
    held = [np.asarray(part.law.state()["x"]) for part in law.parts if getattr(part.law, "name", "") == "gp"]
    return held[0] if held else None


def _apart(shares: Matrix) -> float:
    """Return the largest share of the tokens that differs between a run and the run nearest to it."""
    nearest = []
    for i, run in enumerate(shares):
        away = 0.5 * np.abs(shares - run).sum(axis=1)
        away[i] = np.inf
        # Runs that repeat a mixture are one.
        nearest.append(min((one for one in away.tolist() if one > 1e-9), default=0.0))
    return float(max(nearest))
