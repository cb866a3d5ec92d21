"""Swarm: proxy runs, the mixture each was trained on and the metrics it reached, joined on the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._text.frames import data_frame
from mixfast._text.frozen import Frozen
from mixfast._text.names import counted, domain_names, listing, places, shown
from mixfast._text.notebook import html_columns, html_table
from mixfast._text.numbers import percent
from mixfast.errors import AlignmentError, BackendError, about_files
from mixfast.swarm import _checks, _files, _folds, _join, _write
from mixfast.swarm._checks import PerMetric, SwarmError
from mixfast.swarm._files import Frame, Source
from mixfast.swarm._names import align_names, find_name, match_names
from mixfast.swarm._rank import Identifiable, identifiable
from mixfast.swarm._report import History, SwarmReport, report


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Swarm(Frozen):
    """Hold proxy runs: mixtures (R, K) and metrics (R, J), in one order of runs.

    Parameters
    ----------
    ratios : array_like (R, K)
        Shares of training tokens, one row for each run. Rows that miss a sum of 1 by up to 0.005, as rounded shares
        do, are divided by it; a larger miss is refused.
    metrics : array_like (R, J)
        What each run reached, NaN where it has no value; (R,) for one metric.
    domains, metric_names : sequence of str
        Unique names, lengths K and J.
    runs : sequence, optional
        Unique ids, length R, kept as text. Default "0", "1", ...
    chosen : array_like of bool (R,), or collection of run ids, optional
        Runs that were proposed after looking at data. They are never in a test fold: a law that has seen what
        they were chosen from would be scored on its own answers.
    direction : "min", "max", mapping by metric or sequence (J,), optional
        Which way is better. Default: what the name tells. "max" for accuracies, log-probabilities (logprob, loglikelihood), probabilities
        of the right answer (choice_prob_norm, prob_correct), exact_match, pass@k, maj@k, hits@k, mc1, mc2, mcc, recall, precision, f1,
        ndcg, mrr, map, bleu, rouge, auroc, auprc, reward, win_rate, score and the like; "min" for losses, perplexities, bits and nats per
        something, errors and times. lm-eval's "task/metric,filter" and OLMo-core's "task (BPB v2)" are understood, and neg_logprob is
        the other way round. Names of tasks alone, such as mmlu, tell nothing: "min" is assumed, and the report names them; say it here,
        or by `better`.
    unit : str, mapping by metric or sequence (J,), optional
        Default: what the name tells: nats_per_byte, nats_per_token, bits_per_byte (also bpb), bits_per_token, perplexity (also ppl),
        "logprob", "reward", "error" (error rates, Brier scores), "seconds", and "score" for the other names that make the direction
        "max"; otherwise "nats". Metrics of different units are not averaged unless weights are given.

    Attributes
    ----------
    ratios : ndarray (R, K), float64, read-only
        Rows sum to 1.
    values : ndarray (R, J), float64, read-only
    domains, metrics, runs : tuple of str
    chosen : ndarray (R,), bool, read-only
    direction, unit : tuple of str, length J

    Raises
    ------
    SwarmError
        If names, shapes or numbers are malformed; the message names runs, domains and metrics.

    Examples
    --------
    >>> swarm = Swarm(
    ...     [[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]], [2.1, 1.9, 2.4], domains=["web", "code"], metric_names=["c4"]
    ... )
    >>> swarm.metrics, swarm.direction, swarm.matrix_rank
    (('c4',), ('min',), 2)
    >>> print(swarm.report)
    3 runs, 2 domains, 1 metric
    rank of the mixtures: 2 of 2
    less is better: the metric (assumed: its name does not tell)
    every law can be fitted; for the log-linear law about 9 runs are advised
    """

    ratios: NDArray[np.float64]
    values: NDArray[np.float64]
    domains: tuple[str, ...]
    metrics: tuple[str, ...]
    runs: tuple[str, ...]
    chosen: NDArray[np.bool_]
    direction: tuple[str, ...]
    unit: tuple[str, ...]
    _history: History

    def __init__(
        self,
        ratios: ArrayLike,
        metrics: ArrayLike,
        *,
        domains: Iterable[str],
        metric_names: Iterable[str],
        runs: Iterable[object] | None = None,
        chosen: Iterable[object] | None = None,
        direction: PerMetric = None,
        unit: PerMetric = None,
    ) -> None:
        names = _checks.unique_names(domains, "domain")
        measured = _checks.unique_names(metric_names, "metric")
        ids = None if runs is None else _checks.run_ids(runs)
        shares, missed = _checks.shares(ratios, names, ids)
        ids = ids or tuple(map(str, range(len(shares))))
        directions, told, assumed = _checks.directions(direction, measured)
        units, units_told = _checks.units(unit, measured)
        history = History(
            renormalised=tuple(ids[row] for row in np.flatnonzero(missed).tolist()),
            deviation=float(missed.max()),
            guessed_directions=told,
            guessed_units=units_told,
            assumed_directions=assumed,
        )
        self._set(
            ratios=shares,
            values=_checks.values(metrics, measured, ids),
            domains=names,
            metrics=measured,
            runs=ids,
            chosen=_checks.chosen_mask(chosen, ids),
            direction=directions,
            unit=units,
            _history=history,
        )

    @classmethod
    def from_csv(
        cls,
        ratios: Source,
        metrics: Source | None = None,
        *,
        id: str | None = None,
        domains: str | Iterable[str] | None = None,
        metric_names: str | Iterable[str] | None = None,
        chosen: str | Iterable[object] | None = None,
        ignore: str | Iterable[str] = (),
        normalise: bool = False,
        direction: PerMetric = None,
        unit: PerMetric = None,
    ) -> Swarm:
        """Read two comma-separated files, mixtures and metrics, or one with both, and join them on the id of the run.

        Parameters
        ----------
        ratios : path or open file
            UTF-8 (or UTF-16 with its mark) with a header; columns between commas, tabs or semicolons, also compressed by gzip; or a parquet
            file. Every column that is not bookkeeping is a domain, or a metric.
        metrics : path or open file, optional
            Left out, or the same file: ``ratios`` holds both, ``domains`` says which columns are shares, and the others are metrics.
        id : str, optional
            The column with the ids. Default: the first of run, run_id, index, id, run_name, name and display_name that both have, however
            capitals and spaces are set, or else one of these in each.
        domains, metric_names : str or collection of str, optional
            Columns to use, by name or by pattern with ``*``; the others are not looked at, whatever they hold. ``metric_names`` may also be
            given without what all of them begin or end with.
        chosen : str or collection of run ids, optional
            The column that marks chosen runs with 1 or true, or their ids. Default: a column "chosen", if there is one.
        ignore : str or collection of str, optional
            Further columns that are neither domains nor metrics, by name or by pattern. Always left out unless they are asked for: what Olmix
            and experiment trackers write beside them (name, step, seed, Runtime, Created, _timestamp, learning_rate, columns without a
            name, other id columns, ...), standard errors (acc_stderr), numbers of examples, columns of text, and empty ones.
        normalise : bool, default False
            Divide each run's shares by their sum, such as counts of tokens or percentages without a sign.
        direction, unit : optional
            As for `Swarm`.

        Returns
        -------
        Swarm
            Runs in the order of ``ratios``. Runs that one file lacks, or without any metric, are left out; the
            report names them and the columns that are not used. Cells that are empty, or NaN, NA, null or None, are missing; those
            with a percent sign are divided by 100, and decimal commas are read where they cannot be marks of thousands.

        Raises
        ------
        SwarmError
            If a file is empty, no table or transposed, if ids or names repeat, if the files have no run in
            common, the metrics are the mixtures, or the numbers are malformed; the message names the file, the column and the run.
        AlignmentError
            If ``metric_names`` names an unknown metric.

        Notes
        -----
        Rows are never matched by position. 512 runs x 17 domains take about 10 ms, 100 000 runs a few seconds.
        """
        first = _files.read_csv(ratios, "ratios")
        second = None if metrics is None or _files.same(ratios, metrics) else _files.read_csv(metrics, "metrics")
        want = _join.Columns(id, domains, metric_names, ignore, chosen, normalise)
        with about_files(ratios, metrics):
            return cls._of(_join.join(first, second, want), direction, unit)

    @classmethod
    def from_frames(
        cls,
        ratios: Frame,
        metrics: Frame | None = None,
        *,
        id: str | None = None,
        domains: str | Iterable[str] | None = None,
        metric_names: str | Iterable[str] | None = None,
        chosen: str | Iterable[object] | None = None,
        ignore: str | Iterable[str] = (),
        normalise: bool = False,
        direction: PerMetric = None,
        unit: PerMetric = None,
    ) -> Swarm:
        """Join two data frames on the id of the run, or split one; everything else as for `from_csv`.

        Parameters
        ----------
        ratios, metrics : pandas, polars or pyarrow table, mapping of column to cells, or Arrow stream
            The labels of pandas rows count as a column, "index" where they have no name, unless they only number them; with a name
            they hold the ids if no column is known to.
        id, domains, metric_names, chosen, ignore, normalise, direction, unit : optional
            As for `from_csv`.

        Returns
        -------
        Swarm

        Raises
        ------
        SwarmError, AlignmentError
            As for `from_csv`.

        Examples
        --------
        >>> ratios = {"run": ["a", "b", "c"], "web": [0.2, 0.5, 0.9], "code": [0.8, 0.5, 0.1]}
        >>> swarm = Swarm.from_frames(ratios, {"run": ["b", "a"], "humaneval_bpb": [0.9, 0.7]})
        >>> swarm.runs, swarm.unit, swarm.report.dropped
        (('a', 'b'), ('bits_per_byte',), (('c', 'no row of metrics'),))

        One table with both:

        >>> table = {"run": ["a", "b"], "w_web": [0.2, 0.5], "w_code": [0.8, 0.5], "loss": [2.1, 1.9], "seed": [0, 0]}
        >>> swarm = Swarm.from_frames(table, domains="w_*")
        >>> swarm.domains, swarm.metrics, swarm.report.ignored
        (('w_web', 'w_code'), ('loss',), ('seed',))
        """
        first = _files.read_frame(ratios, "ratios")
        second = None if metrics is None or metrics is ratios else _files.read_frame(metrics, "metrics")
        want = _join.Columns(id, domains, metric_names, ignore, chosen, normalise)
        return cls._of(_join.join(first, second, want), direction, unit)

    def to_csv(self, ratios: Source, metrics: Source, *, force: bool = False) -> None:
        """Write two files that `from_csv` reads back to the last bit, directions and units apart.

        Parameters
        ----------
        ratios, metrics : path or open file
            Ids in a column "run"; chosen runs are marked in a column "chosen" of ``ratios``, where there are any.
        force : bool, default False
            Whether files of other kinds are replaced, too.

        Raises
        ------
        SwarmError
            If a domain or a metric has the name of a bookkeeping column, which would not be read back, or one that a
            spreadsheet would compute, such as "=1+1"; or if a file of another kind would be lost.
        OSError
            A file cannot be written; then none is, and the old ones are as they were.
        """
        _write.write_runs(
            ratios, metrics, self.runs, self.chosen, self.domains, self.ratios, self.metrics, self.values, force=force
        )

    # Facts.

    def __len__(self) -> int:
        return len(self.runs)

    def __repr__(self) -> str:
        return (
            f"Swarm({counted(len(self), 'run')}; {counted(len(self.domains), 'domain')}: {listing(self.domains, limit=4)}; "
            f"{counted(len(self.metrics), 'metric')}: {listing(self.metrics, limit=4)})"
        )

    def _repr_html_(self) -> str:
        """Show the first runs in a notebook."""
        names, more = html_columns((*self.domains, *self.metrics))
        k = len(self.domains)
        rows = [
            (run, *[percent(value) for value in shares], *[f"{value:.6g}" for value in values])
            for run, shares, values in zip(self.runs, self.ratios.tolist(), self.values.tolist(), strict=True)
        ]
        rows = [row[: len(names) + 1] for row in rows]
        title = f"Swarm: {counted(len(self), 'run')}, {counted(k, 'domain')}, {counted(len(self.metrics), 'metric')}"
        return html_table(title, ["run", *names], rows, lines=more, what="runs")

    def to_pandas(self) -> Any:
        """Return the runs as a pandas DataFrame: one column for each domain, then one for each metric, and "chosen" if any run is.

        ``Swarm.from_frames(frame, domains=swarm.domains)`` reads it back, directions and units apart.

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``; or if a domain and a metric have one name.
        """
        columns = dict(zip((*self.domains, *self.metrics), (*self.ratios.T.copy(), *self.values.T.copy()), strict=True))
        if self.chosen.any():
            columns["chosen"] = self.chosen.copy()
        twice = [name for name in self.metrics if name in set(self.domains)]
        return data_frame(columns, self.runs, "run", BackendError, repeated=twice)

    @cached_property
    def report(self) -> SwarmReport:
        """What was left out or changed on the way in, and what can be fitted to the rest; print it."""
        return report(
            ratios=self.ratios,
            values=self.values,
            domains=self.domains,
            metrics=self.metrics,
            runs=self.runs,
            chosen=self.chosen,
            direction=self.direction,
            identifiable=self.identifiable,
            history=self._history,
        )

    @cached_property
    def identifiable(self) -> Identifiable:
        """What the mixtures tell apart: their rank, and the mixtures without their rounding, which laws are fitted to."""
        found = identifiable(self.ratios)
        found.shares.setflags(write=False)
        return found

    @property
    def matrix_rank(self) -> int:
        """Rank of the mixtures (R, K); below K some differences between domains were never tried.

        Directions in which they spread no more than their shares were rounded do not count.
        """
        return self.identifiable.rank

    # Names.

    def domain(self, name: str) -> str:
        """Return the swarm's own name of a domain, which ``name`` may give without what all names begin or end with.

        Raises
        ------
        AlignmentError
            If no domain, or more than one, can be meant.
        """
        return find_name(self.domains, name, "domain")

    def metric(self, name: str) -> str:
        """Return the swarm's own name of a metric; otherwise as `domain`."""
        return find_name(self.metrics, name, "metric")

    def align(self, domains: Iterable[str]) -> Swarm:
        """Return the same swarm with its domains in the order, and by the names, of ``domains``.

        Names are matched as by `domain`, and ``domains`` too may have a prefix or suffix that all of them share:
        "train_the_pile_arxiv" among its likes is "arxiv" among its own. Never by position.

        Raises
        ------
        AlignmentError
            If the two sets of names do not match one to one; both are shown.
        """
        names = domain_names(domains, SwarmError)
        if names == self.domains:
            return self
        order = align_names(self.domains, names, "the swarm", "the domains asked for")
        return self._with(domains=names, ratios=self.ratios[:, order])

    # Parts.

    def subset(self, index: ArrayLike) -> Swarm:
        """Return the runs at these positions, or where a mask (R,) is true, in that order.

        Raises
        ------
        SwarmError
            If the index is empty, out of range, or names a run twice.
        """
        found = np.asarray(index)
        if found.dtype == np.bool_ and found.shape == (len(self),):
            found = np.flatnonzero(found)
        if found.ndim != 1 or found.dtype.kind not in "iu" or found.size == 0:
            raise SwarmError(
                f"subset takes positions of runs, at least one, or a mask of {len(self)} truth values, "
                f"got an array of {found.dtype} of shape {found.shape}"
            )
        rows = found.astype(np.int64)
        if (rows < -len(self)).any() or (rows >= len(self)).any():
            raise SwarmError(f"positions must be below {len(self)}, the number of runs, got {listing(found.tolist())}")
        rows = rows % len(self)
        runs = tuple(self.runs[row] for row in rows.tolist())
        _checks.refuse_repeated(runs, "the runs of a subset", "; weigh or resample arrays, not the swarm")
        changed = set(self._history.renormalised) & set(runs)
        history = replace(
            self._history, dropped=(), renormalised=tuple(run for run in runs if run in changed),
            deviation=self._history.deviation if changed else 0.0,
        )  # fmt: skip
        return self._with(
            ratios=self.ratios[rows], values=self.values[rows], runs=runs, chosen=self.chosen[rows], _history=history
        )

    def without(self, *runs: str) -> Swarm:
        """Return the other runs: without those of these ids, or that patterns with ``*`` match.

        Raises
        ------
        AlignmentError
            If an id is unknown.
        SwarmError
            If no run is left.
        """
        gone = {name for run in runs for name in match_names(self.runs, [run], "run")}
        kept = [place for place, run in enumerate(self.runs) if run not in gone]
        if not kept:
            raise SwarmError(f"no run is left without {listing(runs)}, of {len(self)}")
        return self.subset(kept)

    def select(self, metrics: str | Iterable[str]) -> Swarm:
        """Return the same runs with these metrics only, in that order, named as by `metric` or by patterns with ``*``.

        Raises
        ------
        AlignmentError
            If a name is unknown or ambiguous.
        SwarmError
            If a metric is named twice, or none is.
        """
        given = [metrics] if isinstance(metrics, str) else list(metrics)
        at = places(self.metrics)
        meant = [[name] if name in at else match_names(self.metrics, [name], "metric") for name in given]
        names = _checks.unique_names([name for several in meant for name in several], "metric")
        columns = [at[name] for name in names]
        known = self._history
        told, units, assumed = map(set, (known.guessed_directions, known.guessed_units, known.assumed_directions))
        history = replace(
            known,
            guessed_directions=tuple(name for name in names if name in told),
            guessed_units=tuple(name for name in names if name in units),
            assumed_directions=tuple(name for name in names if name in assumed),
        )
        return self._with(
            metrics=names,
            values=self.values[:, columns],
            direction=tuple(self.direction[column] for column in columns),
            unit=tuple(self.unit[column] for column in columns),
            _history=history,
        )

    def combine(self, metrics: Mapping[str, Mapping[str, float]]) -> Swarm:
        """Return the same runs with weighted sums of these metrics in their place.

        Parameters
        ----------
        metrics : mapping of str to mapping of str to float
            For each new metric the weights of the present ones, named exactly. A run without a value of one of them has none.

        Raises
        ------
        AlignmentError
            If a present metric is unknown.
        SwarmError
            If of one part more and of another less is better.

        Examples
        --------
        >>> swarm = Swarm(
        ...     [[0.2, 0.8], [0.9, 0.1]], [[1, 3], [2, 6]], domains=["web", "code"], metric_names=["arc", "piqa"]
        ... )
        >>> swarm.combine({"qa": {"arc": 0.5, "piqa": 0.5}}).values.tolist()
        [[2.0], [4.0]]
        """
        names = _checks.unique_names(metrics, "metric")
        values, directions, units = np.zeros((len(self), len(names))), [], []
        at = places(self.metrics)
        for column, (name, parts) in enumerate(metrics.items()):
            if unknown := [part for part in parts if part not in at]:
                raise AlignmentError(
                    f"there is no metric {listing(unknown)}, which {shown(name)} is made of; the metrics are: {listing(self.metrics)}"
                )
            columns = [at[part] for part in parts]
            ways = {self.direction[one] for one in columns}
            if len(ways) != 1:
                raise SwarmError(
                    f"{shown(name)} adds metrics of which more, and metrics of which less is better: {listing(parts)}"
                )
            values[:, column] = self.values[:, columns] @ np.array(list(parts.values()), dtype=np.float64)
            directions.append(ways.pop())
            units.append(" and ".join(dict.fromkeys(self.unit[one] for one in columns)))
        history = replace(self._history, guessed_directions=(), guessed_units=(), assumed_directions=())
        return self._with(
            metrics=names, values=values, direction=tuple(directions), unit=tuple(units), _history=history
        )

    def better(self, *, more: str | Iterable[str] = (), less: str | Iterable[str] = ()) -> Swarm:
        """Return the same swarm with the direction of these metrics set.

        Parameters
        ----------
        more, less : str or iterable of str
            Metrics, named as by `metric`, or patterns with ``*`` for all that match.

        Raises
        ------
        AlignmentError
            If a name is unknown or ambiguous.
        SwarmError
            If a metric is among both.

        Examples
        --------
        >>> swarm = Swarm(
        ...     [[0.2, 0.8], [0.9, 0.1]],
        ...     [[0.3, 2.1], [0.4, 2.0]],
        ...     domains=["web", "code"],
        ...     metric_names=["mmlu", "loss"],
        ... )
        >>> swarm.direction, swarm.better(more="mm*").direction
        (('min', 'min'), ('max', 'min'))
        """
        up, down = (
            match_names(self.metrics, [names] if isinstance(names, str) else list(names), "metric")
            for names in (more, less)
        )
        changed, lowered = {*up, *down}, set(down)
        if both := [name for name in up if name in lowered]:
            raise SwarmError(f"more and less of {listing(both)} cannot both be better")
        way = (
            dict(zip(self.metrics, self.direction, strict=True)) | dict.fromkeys(up, "max") | dict.fromkeys(down, "min")
        )
        history = replace(
            self._history,
            guessed_directions=tuple(name for name in self._history.guessed_directions if name not in changed),
            assumed_directions=tuple(name for name in self._history.assumed_directions if name not in changed),
        )
        raised = set(up)
        # The default unit is that of losses; a metric of which more is better is a score.
        unit = (
            "score" if name in raised and given == "nats" else given
            for name, given in zip(self.metrics, self.unit, strict=True)
        )
        return self._with(direction=tuple(way[name] for name in self.metrics), unit=tuple(unit), _history=history)

    def folds(self, n: int = 5, seed: int = 0) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Split the runs for cross-validation, the same for the same seed.

        Every run is tested once, but chosen runs never; runs of one and the same mixture are tested together, so that
        no law is scored on a mixture it was fitted to.

        Parameters
        ----------
        n : int
            Number of folds, at least 2 and at most the number of different mixtures that may be tested.
        seed : int

        Returns
        -------
        list of (ndarray, ndarray), int64
            Positions of the runs to fit and to test, each in rising order.

        Raises
        ------
        SwarmError
            If there are too few mixtures.
        """
        return _folds.folds(self.ratios, self.chosen, n, seed)

    def holdout(self, share: float = 0.25, seed: int = 0) -> tuple[Swarm, Swarm]:
        """Return two swarms, to fit and to test, drawn as by `folds`; chosen runs are in the first.

        Parameters
        ----------
        share : float
            Of the runs that may be tested, above 0 and below 1; at least one run is tested, and one is not.
        seed : int

        Raises
        ------
        SwarmError
            If share is out of range or there are fewer than two different mixtures to divide.
        """
        fit, test = _folds.holdout(self.ratios, self.chosen, share, seed)
        return self.subset(fit), self.subset(test)

    def over(self, domains: Iterable[str], ratios: ArrayLike) -> Swarm:
        """Return the same runs with their mixtures told over other domains, such as the parts of these.

        Parameters
        ----------
        domains : iterable of str
            Unique names, length L.
        ratios : array_like (R, L)
            Shares, trusted: rows sum to 1.
        """
        names = _checks.unique_names(domains, "domain")
        return self._with(domains=names, ratios=np.asarray(ratios, dtype=np.float64))

    def append(self, other: Swarm) -> Swarm:
        """Return the runs of this swarm and then those of another, which has the same domains and metrics in any order.

        Raises
        ------
        AlignmentError
            If domains or metrics differ; both sets are shown.
        SwarmError
            If a run's id is in both.
        """
        if set(self.metrics) != set(other.metrics):
            raise AlignmentError.between(
                "the first runs' metrics", self.metrics, "the other runs' metrics", other.metrics
            )
        more = other.align(self.domains).select(self.metrics)
        known = self._history
        both = Swarm(
            np.concatenate([self.ratios, more.ratios]),
            np.concatenate([self.values, more.values]),
            domains=self.domains,
            metric_names=self.metrics,
            runs=(*self.runs, *more.runs),
            chosen=np.concatenate([self.chosen, more.chosen]),
            direction=self.direction,
            unit=self.unit,
        )
        history = replace(
            both._history, dropped=known.dropped + more._history.dropped, guessed_directions=known.guessed_directions,
            assumed_directions=known.assumed_directions,
        )  # fmt: skip
        return both._with(_history=history)

    # Inside.

    @classmethod
    def _of(cls, joined: _join.Joined, direction: PerMetric, unit: PerMetric) -> Swarm:
        """The swarm of two tables that were joined, which remembers what was left out of them."""
        swarm = cls(**joined.arguments, direction=direction, unit=unit)
        swarm._set(_history=replace(swarm._history, dropped=joined.dropped, unused=joined.unused, read=joined.read))
        return swarm

    def _with(self, **changes: object) -> Swarm:
        """Return this swarm with some fields changed, which are trusted."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        other = object.__new__(type(self))
        other._set(**{**fields, **changes})
        if "ratios" not in changes and "identifiable" in self.__dict__:
            # The same mixtures tell the same apart: no second decomposition.
            other.__dict__["identifiable"] = self.identifiable
        return other

    def _set(self, **fields: object) -> None:
        """Set fields of this frozen swarm while it is made; arrays become read-only."""
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                value = np.ascontiguousarray(value)
                value.setflags(write=False)
            object.__setattr__(self, name, value)
