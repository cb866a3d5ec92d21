"""What users call: run work on rank 0 while the other ranks serve."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from mixfast.ranks._protocol import Ranks
from mixfast.ranks._team import Team

_P = ParamSpec("_P")
_T = TypeVar("_T")


def run(work: Callable[[Team], _T], ranks: Ranks | None = None) -> _T:
    """Run work on rank 0 while the other ranks serve, and return its result on every rank.

    Parameters
    ----------
    work : callable
        Called with the `Team` on rank 0 only. Tables are loaded in it, with ``ExpertTable.load(folder, ranks=team)``.
    ranks : Ranks, optional
        The processes. All of them call `run`. By default this process alone.

    Returns
    -------
    object
        What ``work`` returns; on the other ranks a copy, so it must be picklable.

    Raises
    ------
    Exception
        What ``work`` raises, on every rank.
    RankError
        If a rank ends before the work.

    Examples
    --------
    >>> from mixfast.ranks import run
    >>> run(lambda team: team.size)
    1
    """
    team = Team.of(ranks)
    return work(team) if team.leading else team.lead(lambda: work(team))


def led(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a function of a table, or of a result that has a table, which every rank may call: rank 0 runs it, the others serve and get its result.

    Nothing changes for a table without ranks, and within `run`.
    """

    @wraps(function)
    def leading(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        team = _team_of(args[0] if args else kwargs.get("table"))
        if team is None or team.leading:
            return function(*args, **kwargs)
        return team.lead(lambda: _settled(function(*args, **kwargs)), function.__name__)

    return leading


def _settled(answer: _T) -> _T:
    """Let answers compute what only the ranks together can, because later only one of them may be asked."""
    for each in answer if isinstance(answer, list) else [answer]:
        settle = getattr(each, "settle", None)
        if settle is not None:
            settle()
    return answer


def _team_of(thing: object) -> Team | None:
    found = getattr(thing, "team", None)
    if found is None:
        found = getattr(getattr(thing, "table", None), "team", None)
    return found if isinstance(found, Team) else None
