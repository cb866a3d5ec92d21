"""`page`: one page of HTML from whatever is known of a mixture."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import date

from mixfast._text.atomic import write_text
from mixfast._text.audience import either
from mixfast._text.outputs import PAGE, check_output
from mixfast.errors import BackendError
from mixfast.report import _head, _html, _law_sections, _origin, _sections
from mixfast.report._folds import OutOfFold, out_of_fold
from mixfast.report._html import Figures, Missing, Section, Why
from mixfast.report._origin import Files
from mixfast.report._parts import Parts


@dataclass(frozen=True)
class Page:
    """A report as one HTML file that loads nothing else.

    Attributes
    ----------
    html : str
        The whole document.
    sections : tuple of str
        Titles of what is in it.
    missing : dict of str to str
        Sections that were skipped: why, and how to add them.
    warnings : tuple of str
        What speaks against trusting the page, as at its top.
    """

    html: str = field(repr=False)
    sections: tuple[str, ...]
    missing: dict[str, str]
    warnings: tuple[str, ...]

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the page; an existing page is replaced at once, by the whole new one.

        Raises
        ------
        ValueError
            An ending of another kind, such as ``.csv``; or, without ``force``, a file of another kind that would be lost.
        OSError
            The file cannot be written, and the old one is as it was.
        """
        check_output(path, PAGE, ValueError, force=force)
        write_text(path, self.html)

    def _repr_html_(self) -> str:
        """Show the page in a notebook."""
        from html import escape

        return f'<iframe srcdoc="{escape(self.html)}" width="100%" height="800" style="border: 0"></iframe>'


def page(
    *parts: object,
    title: str = "Mixture report",
    eps: float | None = 1e-3,
    folds: int = 5,
    seed: int = 0,
    files: Files = (),
    call: str | None = None,
    when: str | None = None,
) -> Page:
    """Make one page of HTML from what is known of a mixture.

    Parameters
    ----------
    *parts : objects of mixfast, in any order, at most one of each kind; None is skipped
        What the page is about: a Solution (`mixfast.solve`), a Proposal (`mixfast.propose`), or a Mixture; beside one of the
        first two, a Mixture is what it is compared with, for instance what is trained on now. Around it: a Bootstrap or ShareIntervals
        (intervals), a HeldOut, a Fit (law), the Swarm of its runs, a Region (of a bare Mixture), an ExpertTable, a Ledger, a
        MixtureSchedule or MixtureSampler. In the place of a Proposal, the ProposalError that there is none.
    title : str
    eps : float or None, default 1e-3
        Of the near-optimal set, in the unit of the objective; None leaves it out.
    folds, seed : int, default 5 and 0
        Of the predictions out of fold; those of the fit give the same folds.
    files : paths, or mapping of path to str, optional
        Files that all this was read from: the page gives their hashes. A mapping adds words on each, such as its shape.
    call : str, optional
        What made the page; by default this call, with the kinds of its parts.
    when : str, optional
        The date that is stated; by default today's.

    Returns
    -------
    Page

    Raises
    ------
    TypeError
        A part that no page is made of.
    ValueError
        Two parts of one kind.

    Notes
    -----
    Sections whose inputs are missing (matplotlib too) are skipped; the page lists them and how to add them. With a law and its swarm,
    the law is fitted once more for each fold; the near-optimal set costs what `ranges` does. The same parts give the same bytes, but
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
    found, why = _left_out(have, folds, seed)
    made = [
        ("shares", "Shares", _sections.shares(have, figures)),
        ("near-optimal", "Near-optimal set", _sections.near_optimal(have, figures, eps)),
        ("prices", "Shadow prices", _sections.prices(have, figures)),
        ("convergence", "Convergence and gap", _sections.convergence(have, figures)),
        ("held-out", "Held-out losses", _sections.held_out(have, figures)),
        ("predicted", "Predicted against measured", _law_sections.predicted(have, figures, found, why)),
        ("response", "Response to each share", _law_sections.response(have, figures)),
        ("coefficients", "Domains and metrics", _law_sections.coefficients(have, figures)),
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
    return Page(
        _html.page(title, under, _head.head(have, found, doubts), sections, missing),
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
            f"The runs are not here. {either('Pass the Swarm of the law.', 'Give RATIOS METRICS beside --law.')}",
        )
    try:
        return out_of_fold(have.law, have.swarm, folds=folds, seed=seed), ""
    except (ValueError, BackendError) as problem:
        return None, f"The law could not be fitted without some of its runs: {problem}"


def _under(have: Parts, day: str) -> str:
    """Return the line under the title."""
    named = have.law if have.answer is None else have.answer.mixture
    words = [] if named is None else [f"{len(named.domains)} domains"]
    words += [] if have.table is None else [f"{have.table.n_rows:,} rows"]
    words += [] if have.swarm is None else [f"{len(have.swarm)} runs"]
    words += [] if have.law is None else [f"{len(have.law.metrics)} metrics"]
    words += [] if have.ledger is None else [f"{len(have.ledger.entries)} updates"]
    return " · ".join([*words, day])
