"""`page`: one page of HTML from what is known about a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from mixfast._text.audience import either
from mixfast._text.names import counted
from mixfast._text.progress import working
from mixfast.errors import BackendError
from mixfast.report import _explorer_script as script
from mixfast.report import _explorer_section, _head, _html, _law_sections, _origin, _sections
from mixfast.report._document import Page
from mixfast.report._folds import OutOfFold, out_of_fold
from mixfast.report._html import Figures, Missing, Section, Why
from mixfast.report._origin import Files
from mixfast.report._parts import Parts


def page(
    *parts: object,
    title: str = "Mixture report",
    eps: float | None = 1e-3,
    folds: int = 5,
    seed: int = 0,
    files: Files = (),
    call: str | None = None,
    when: str | None = None,
    explorer: bool = True,
    command: Sequence[str] | None = None,
) -> Page:
    """Make one page of HTML from what is known about a mixture.

    Parameters
    ----------
    *parts : objects of mixfast, in any order, at most one of each kind; None is skipped
        The subject of the page: a Solution (`mixfast.solve`), a Proposal (`mixfast.propose`) or a Mixture. A Mixture given with one of the
        first two is compared with it, for instance the mixture that is trained on now. Further: a Bootstrap or ShareIntervals
        (intervals), a HeldOut, a Fit (law), the Swarm of its runs, a Region (for a bare Mixture), an ExpertTable, a Ledger, a
        MixtureSchedule or MixtureSampler. If there is no proposal, the ProposalError that says why.
    title : str
    eps : float or None, default 1e-3
        Tolerance of the near-optimal set, in the unit of the objective; None skips the section.
    folds, seed : int, default 5 and 0
        Folds of the predictions out of fold and their seed; those of the fit give the folds of the fit.
    files : paths, or mapping of path to str, optional
        Input files: the page states their hashes. The values of a mapping describe each file, such as its shape.
    call : str, optional
        The call that the page states; by default this one, with the kinds of its parts.
    when : str, optional
        The date that the page states; by default today.
    explorer : bool, default True
        Whether a page with a law or a table has the section on which mixtures are tried, in JavaScript, as `explore` makes it. It adds about
        100 kB and the numbers of the law, or up to 1.9 MB of rows of the table.
    command : sequence of str, optional
        The words of the command that answers goals exactly, as `explore` takes them. The explorer adds the options of a goal.

    Returns
    -------
    Page

    Raises
    ------
    TypeError
        A part is of a type that a page does not show.
    ValueError
        Two parts are of one kind.

    Notes
    -----
    The page loads nothing, and runs no other script than that of the explorer.

    Sections whose inputs are missing (matplotlib too) are skipped; the page lists them and how to add them. With a law and its swarm,
    the law is fitted once more for each fold; the near-optimal set costs as much as `ranges`. The same parts give the same bytes, except
    for the date.

    Examples
    --------
    >>> import mixfast
    >>> made = page(mixfast.Mixture(["web", "code"], [0.8, 0.2]), when="2026-01-31")
    >>> made.sections
    ('Shares', 'Where this comes from')
    >>> "prior" in made.missing["Prior"]
    True
    """
    have = Parts.of(parts)
    figures = Figures()
    with working("predicting runs that were left out"):
        found, why = _left_out(have, folds, seed)
    made = [
        ("shares", "Shares", _sections.shares(have, figures)),
        ("near-optimal", "Near-optimal set", _sections.near_optimal(have, figures, eps)),
        ("prices", "Shadow prices", _sections.prices(have, figures)),
        ("guards", "Limits of metrics", _law_sections.guards(have)),
        ("convergence", "Convergence and gap", _sections.convergence(have, figures)),
        ("held-out", "Held-out losses", _sections.held_out(have, figures)),
        ("controls", "Cheap controls", _law_sections.controls(have)),
        ("predicted", "Predicted against measured", _law_sections.predicted(have, figures, found, why)),
        ("response", "Response to each share", _law_sections.response(have, figures)),
        ("coefficients", "Domains and metrics", _law_sections.coefficients(have, figures)),
        ("explore", "Try a mixture", _explorer_section.explorer(have, explorer, command)),
        ("history", "History", _sections.history(have, figures)),
        ("schedule", "Loader schedule", _sections.schedule(have, figures)),
    ]
    sections = [Section(anchor, title, body) for anchor, title, body in made if isinstance(body, str)]
    missing = [Missing(anchor, title, body.words) for anchor, title, body in made if isinstance(body, Why)]
    missing += _sections.lacking(have)
    if not figures.available:
        missing.insert(0, Missing("figures", "Figures", "matplotlib is not installed: pip install 'mixfast[plot]'."))
    if found is None and have.law is not None and have.law.reports:
        missing.append(Missing("folds", "Predictions of unseen runs", why))
    kinds = ", ".join(type(one).__name__ for one in parts if one is not None)
    day = date.today().isoformat() if when is None else when
    sections.append(_origin.section(have, files, call or f"mixfast.report.page({kinds})", day))
    under = _under(have, day)
    doubts = tuple(_head.warnings(have, found))
    runs = any(one.anchor == "explore" for one in sections)
    return Page(
        _html.page(
            title,
            under,
            _head.head(have, found, doubts),
            sections,
            missing,
            style=script.style() + _explorer_section.STYLE if runs else "",
            script=script.script() if runs else "",
        ),
        tuple(one.title for one in sections),
        {one.title: one.why for one in missing},
        doubts,
    )


def _left_out(have: Parts, folds: int, seed: int) -> tuple[OutOfFold | None, str]:
    """Return predictions out of fold, or why there are none."""
    if have.law is None:
        return None, ""
    if have.swarm is None:
        return (
            None,
            f"The runs of the law were not given. {either('Pass its Swarm.', 'Give RATIOS METRICS in addition to --law.')}",
        )
    try:
        return out_of_fold(have.law, have.swarm, folds=folds, seed=seed), ""
    except (ValueError, BackendError) as problem:
        return None, f"The law could not be fitted without some of its runs: {problem}"


def _under(have: Parts, day: str) -> str:
    """Return the line under the title."""
    named = have.law if have.answer is None else have.answer.mixture
    words = [] if named is None else [counted(len(named.domains), "domain")]
    words += [] if have.table is None else [f"{have.table.n_rows:,} rows"]
    words += [] if have.swarm is None else [counted(len(have.swarm), "run")]
    words += [] if have.law is None else [counted(len(have.law.metrics), "metric")]
    words += [] if have.ledger is None else [counted(len(have.ledger.entries), "update")]
    return " · ".join([*words, day])
