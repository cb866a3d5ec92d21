"""Swarm: proxy runs, the mixture each was trained on and the metrics it reached, joined on the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._text.frames import data_frame
from mixfast._text.frozen import Frozen, locked
from mixfast._text.names import counted, domain_names, listing
from mixfast._text.notebook import html_columns, html_table
from mixfast._text.numbers import percent
from mixfast.errors import AlignmentError, BackendError, about_files
from mixfast.swarm import _checks, _files, _folds, _join, _measured, _pools, _write
from mixfast.swarm._checks import PerMetric, SwarmError
from mixfast.swarm._files import Frame, Source
from mixfast.swarm._history import History
from mixfast.swarm._names import align_names, find_name, match_names
from mixfast.swarm._noise import Noise, noise
from mixfast.swarm._pools import Budget, Tokens
from mixfast.swarm._pools_in import BudgetColumn, Pools, TokensTable
from mixfast.swarm._rank import Identifiable, identifiable
from mixfast.swarm._report import SwarmReport, report
from mixfast.swarm._which_columns import Columns


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Swarm(Frozen):
    """Hold proxy runs: mixtures (R, K) and metrics (R, J), in one order of runs.

    Parameters
    ----------
    ratios : array_like (R, K)
        Shares of training tokens, one row for each run. A row with a sum within 0.005 of 1, as of rounded shares, is divided by its
        sum; a larger deviation is refused.
    metrics : array_like (R, J)
        Metrics of each run, NaN for a missing value; (R,) for one metric.
    domains, metric_names : sequence of str
        Unique names, lengths K and J.
    runs : sequence, optional
        Unique ids, length R, kept as text. Default "0", "1", ...
    chosen : array_like of bool (R,), or collection of run ids, optional
        Runs that were proposed after looking at data. They are never in a test fold, because they were chosen from the data that
        the law is fitted to, and its error on them would look too small.
    direction : "min", "max", mapping by metric or sequence (J,), optional
        Which way is better. By default the name decides: "max" for accuracies, log-probabilities (logprob, loglikelihood), probabilities
        of the right answer (choice_prob_norm, prob_correct), exact_match, pass@k, maj@k, hits@k, mc1, mc2, mcc, recall, precision, f1,
        ndcg, mrr, map, bleu, rouge, auroc, auprc, reward, win_rate, score and the like; "min" for losses, perplexities, bits and nats per
        something, errors and times. lm-eval's "task/metric,filter" and OLMo-core's "task (BPB v2)" are understood, and neg_logprob is
        "min". Names of tasks alone, such as mmlu, do not tell: "min" is assumed, and the report names them; set the direction here or
        with `better`.
    unit : str, mapping by metric or sequence (J,), optional
        By default the name decides: nats_per_byte, nats_per_token, bits_per_byte (also bpb), bits_per_token, perplexity (also ppl),
        "logprob", "reward", "error" (error rates, Brier scores), "seconds", and "score" for the other names that make the direction
        "max"; otherwise "nats". Metrics of different units are not averaged unless weights are given.
    tokens : mapping of str to number or sequence (R,), or array_like (K,) or (R, K), optional
        Tokens of each domain that the runs could read, that is, the size of the pool they were sampled from. A sequence or a second axis
        gives each run pools of its own. Needs ``budget``.
    budget : number or array_like (R,), optional
        Tokens that a run reads; one number for all runs, or one for each. Needs ``tokens``.

    Attributes
    ----------
    ratios : ndarray (R, K), float64, read-only
        Rows sum to 1.
    values : ndarray (R, J), float64, read-only
    domains, metrics, runs : tuple of str
    chosen : ndarray (R,), bool, read-only
    direction, unit : tuple of str, length J
    tokens : ndarray (R, K), float64, read-only, or None
    budget : ndarray (R,), float64, read-only, or None

    Raises
    ------
    SwarmError
        If names, shapes or numbers are malformed; the message names runs, domains and metrics. If only one of ``tokens`` and ``budget`` is
        given, or a run reads a domain without tokens.
    AlignmentError
        If ``tokens`` lacks a domain or names an unknown one.

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
    less is better: the metric (assumed: its name does not say)
    every law can be fitted; for the log-linear law about 9 runs are advised

    Runs of 1000 tokens that could read 2000 tokens of web and 100 of code:

    >>> swarm = Swarm(
    ...     [[0.2, 0.8], [0.5, 0.5]], [2.1, 1.9], domains=["web", "code"], metric_names=["c4"],
    ...     tokens={"web": 2000, "code": 100}, budget=1000,
    ... )  # fmt: skip
    >>> swarm.epochs.tolist()
    [[0.1, 8.0], [0.25, 5.0]]
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
    # With defaults, so that swarms that an older version pickled have them.
    tokens: NDArray[np.float64] | None = None
    budget: NDArray[np.float64] | None = None

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
        tokens: Tokens = None,
        budget: Budget = None,
    ) -> None:
        names = domain_names(domains, SwarmError)
        measured = _checks.checked_metrics(metric_names)
        ids = None if runs is None else _checks.run_ids(runs)
        shares, missed = _checks.shares(ratios, names, ids)
        ids = ids or tuple(map(str, range(len(shares))))
        available, read = _pools.pools(tokens, budget, shares, names, ids)
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
            tokens=available,
            budget=read,
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
        tokens: TokensTable = None,
        budget: BudgetColumn = None,
    ) -> Swarm:
        """Read two comma-separated files, mixtures and metrics, or one with both, and join them on the id of the run.

        Parameters
        ----------
        ratios : path or open file
            UTF-8 (or UTF-16 with its mark) with a header; columns between commas, tabs or semicolons, also compressed (gzip, zstd); or a parquet
            file. Every column that is not bookkeeping is a domain, or a metric.
        metrics : path or open file, optional
            If it is left out, or the same file, ``ratios`` holds both: ``domains`` says which columns are shares, and the others are metrics.
            It may also be long, as `mixfast collect --long` writes it, with a row for each run and metric: columns run, metric and value, and
            optionally direction, unit and step. Its directions and units are used, and of several steps the last.
        id : str, optional
            The column with the ids. Default: the first of run, run_id, index, id, run_name, name and display_name that both have, in any
            capitals and with any spaces; otherwise one of these in each.
        domains, metric_names : str or collection of str, optional
            Columns to use, by name or by pattern with ``*``; the others are not read. ``metric_names`` may also be given without a
            beginning or an end that all of them share.
        chosen : str or collection of run ids, optional
            The column that marks chosen runs with 1 or true, or their ids. Default: a column "chosen", if there is one.
        ignore : str or collection of str, optional
            Further columns that are neither domains nor metrics, by name or by pattern. Unless they are asked for, these are always left
            out: columns that Olmix and experiment trackers add (name, step, seed, Runtime, Created, _timestamp, learning_rate, columns without a
            name, other id columns, ...), standard errors (acc_stderr), numbers of examples, columns of text, and empty ones.
        normalise : bool, default False
            Divide the numbers of each run by their sum. Without it, this is done only for counts of tokens (all numbers are 0 or whole and
            at least 100) and for percentages (all runs sum to 100), if every run of the table agrees.
        direction, unit : optional
            As for `Swarm`.
        tokens : mapping of str to number, path, open file or data frame, optional
            Tokens of each domain that the runs could read. If the pools differ between runs: a table with the ids of the runs and a column
            for each domain, with numbers such as 2000000, 3.2B or 1e9; rows of other runs are not used. Needs ``budget``.
        budget : number, str or mapping of run id to number, optional
            Tokens that a run reads: one number, the column that holds them in one of the tables, or a number for each run. Needs ``tokens``.

        Returns
        -------
        Swarm
            Runs in the order of ``ratios``. Runs that one file lacks, and runs without any metric, are left out; the
            report names them and the columns that are not used. Cells that are empty, NaN, NA, null or None are missing values. Cells
            with a percent sign are divided by 100. Decimal commas are read if they cannot separate thousands. Every conversion is in the
            report.

        Raises
        ------
        SwarmError
            If a file is empty, not a table, or transposed; if ids or names repeat; if the files have no run in common; if the
            metrics are the mixtures; or if numbers are malformed. The message names the file, the column and the run.
        AlignmentError
            If ``metric_names`` names an unknown metric, or ``tokens`` lacks a domain or names an unknown one.

        Notes
        -----
        Rows are never matched by position. 512 runs x 17 domains take about 10 ms, 100 000 runs a few seconds.
        """
        first = _files.read_csv(ratios, "ratios")
        second = None if metrics is None or _files.same(ratios, metrics) else _files.read_csv(metrics, "metrics")
        want = Columns(id, domains, metric_names, ignore, chosen, normalise, Pools(tokens, budget, id))
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
        tokens: TokensTable = None,
        budget: BudgetColumn = None,
    ) -> Swarm:
        """Join two data frames on the id of the run, or split one; everything else as for `from_csv`.

        Parameters
        ----------
        ratios, metrics : pandas, polars or pyarrow table, mapping of column to cells, mapping of run to mapping, list of mappings, or Arrow stream
            A mapping of run to mapping holds the numbers of each run by name, as ``{"r1": {"web": 0.2, "code": 0.8}}``; a list has one mapping
            for each run, with its id. A Series of pandas is one column.
            The row labels of pandas count as a column, unless they only number the rows; without a name it is called "index". If they
            have a name, they hold the ids when no other column does.
        id, domains, metric_names, chosen, ignore, normalise, direction, unit, tokens, budget : optional
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
        want = Columns(id, domains, metric_names, ignore, chosen, normalise, Pools(tokens, budget, id))
        return cls._of(_join.join(first, second, want), direction, unit)

    def to_csv(self, ratios: Source, metrics: Source, *, force: bool = False) -> None:
        """Write two files that `from_csv` reads back to the last bit; directions, units, tokens and budgets are not written.

        Parameters
        ----------
        ratios, metrics : path or open file
            The ids are in a column "run". If there are chosen runs, a column "chosen" of ``ratios`` marks them.
        force : bool, default False
            Whether files of other kinds are replaced as well.

        Raises
        ------
        SwarmError
            If a domain or a metric has the name of a bookkeeping column, which would not be read back, or a name that a
            spreadsheet would compute, such as "=1+1"; or if, without ``force``, a file of another kind would be overwritten.
        OSError
            If a file cannot be written. Then none is written, and the old files are unchanged.
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

        ``Swarm.from_frames(frame, domains=swarm.domains)`` reads it back, apart from directions, units, tokens and budgets.

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
        """What was left out or changed when the swarm was built, and what can be fitted to the rest; print it."""
        return report(
            ratios=self.ratios,
            values=self.values,
            domains=self.domains,
            metrics=self.metrics,
            runs=self.runs,
            chosen=self.chosen,
            direction=self.direction,
            unit=self.unit,
            tokens=self.tokens,
            budget=self.budget,
            epochs=self.epochs,
            identifiable=self.identifiable,
            history=self._history,
        )

    @cached_property
    def identifiable(self) -> Identifiable:
        """What the mixtures determine: their rank, and the mixtures without rounding, to which laws are fitted."""
        found = identifiable(self.ratios)
        found.shares.setflags(write=False)
        return found

    @property
    def matrix_rank(self) -> int:
        """Rank of the mixtures (R, K). If it is below K, some differences between domains were never tried.

        Directions in which the mixtures vary by no more than the rounding of their shares do not count.
        """
        return self.identifiable.rank

    @cached_property
    def rate(self) -> NDArray[np.float64] | None:
        """Epochs (R, K) for each unit of share, ``budget / tokens``; infinite for a domain without tokens. None if the tokens are not known."""
        found: NDArray[np.float64] | None = locked(_pools.rate(self.tokens, self.budget))
        return found

    @cached_property
    def epochs(self) -> NDArray[np.float64] | None:
        """How often each run reads the tokens of each domain (R, K), ``ratios * rate``; 0 where the share is 0. None if the tokens are not known."""
        found: NDArray[np.float64] | None = locked(_pools.epochs(self.ratios, self.tokens, self.budget))
        return found

    @cached_property
    def noise(self) -> Noise:
        """How much each metric differs between runs of one mixture, and which metrics cannot rank the runs; print it.

        Examples
        --------
        >>> swarm = Swarm(
        ...     [[0.2, 0.8], [0.2, 0.8], [0.2, 0.8], [0.9, 0.1]], [[2.1, 0.3], [2.0, 0.5], [2.2, 0.4], [3.0, 0.4]],
        ...     domains=["web", "code"], metric_names=["c4", "arc"],
        ... )  # fmt: skip
        >>> swarm.noise.repeats, swarm.noise.dof["c4"], round(swarm.noise.sd["c4"], 6), round(swarm.noise.snr["c4"], 1)
        ((('0', '1', '2'),), 2, 0.1, 6.3)
        >>> swarm.noise.weak, swarm.select(swarm.noise.strong).metrics
        (('arc',), ('c4',))
        """
        return noise(self.ratios, self.values, self.tokens, self.budget, self.metrics, self.runs)

    # Names.

    def domain(self, name: str) -> str:
        """Return the full name of a domain; ``name`` may leave out a beginning or an end that all names share.

        Raises
        ------
        AlignmentError
            If no domain, or more than one, can be meant.
        """
        return find_name(self.domains, name, "domain")

    def metric(self, name: str) -> str:
        """Return the full name of a metric, found as by `domain`."""
        return find_name(self.metrics, name, "metric")

    def align(self, domains: Iterable[str]) -> Swarm:
        """Return the same swarm with the order and the names of ``domains``.

        Names are matched as by `domain`, never by position. All names of ``domains`` may also have a common prefix or suffix: if all of
        them begin with ``"train_the_pile_"``, then ``"train_the_pile_arxiv"`` matches ``"arxiv"``.

        Raises
        ------
        AlignmentError
            If the two sets of names do not match one to one; the message shows both.
        """
        names = domain_names(domains, SwarmError)
        if names == self.domains:
            return self
        order = align_names(self.domains, names, "the swarm", "the domains asked for")
        return self._with(
            domains=names, ratios=self.ratios[:, order], tokens=None if self.tokens is None else self.tokens[:, order]
        )

    # Parts.

    def subset(self, index: ArrayLike) -> Swarm:
        """Return the runs at these positions, in that order, or the runs for which a mask (R,) is true.

        Raises
        ------
        SwarmError
            If the index is empty, out of range, or names a run twice.
        """
        rows = _checks.positions(index, len(self))
        runs = tuple(self.runs[row] for row in rows.tolist())
        _checks.refuse_repeated(runs, "the runs of a subset", "; weigh or resample arrays, not the swarm")
        return self._with(
            ratios=self.ratios[rows],
            values=self.values[rows],
            runs=runs,
            chosen=self.chosen[rows],
            tokens=None if self.tokens is None else self.tokens[rows],
            budget=None if self.budget is None else self.budget[rows],
            _history=self._history.of_runs(runs),
        )

    def without(self, *runs: str) -> Swarm:
        """Return all runs except those with these ids; ids may be patterns with ``*``.

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
        """Return the same runs with these metrics only, in that order. Names are matched as by `metric`, or are patterns with ``*``.

        Raises
        ------
        AlignmentError
            If a name is unknown or ambiguous.
        SwarmError
            If a metric is named twice, or none is.
        """
        found = _measured.select(self._metric_columns, metrics)
        return self._with(**found._asdict(), _history=self._history.of_metrics(found.metrics))

    def combine(self, metrics: Mapping[str, Mapping[str, float]]) -> Swarm:
        """Return the same runs with weighted sums of the metrics instead of the metrics.

        Parameters
        ----------
        metrics : mapping of str to mapping of str to float
            For each new metric, the weights of present metrics, with their exact names. If a run lacks a value of one of them, it has
            no value of the sum.

        Raises
        ------
        AlignmentError
            If a present metric is unknown.
        SwarmError
            If higher is better for one part and lower for another.

        Examples
        --------
        >>> swarm = Swarm(
        ...     [[0.2, 0.8], [0.9, 0.1]], [[1, 3], [2, 6]], domains=["web", "code"], metric_names=["arc", "piqa"]
        ... )
        >>> swarm.combine({"qa": {"arc": 0.5, "piqa": 0.5}}).values.tolist()
        [[2.0], [4.0]]
        """
        found = _measured.combine(self._metric_columns, metrics)
        return self._with(**found._asdict(), _history=self._history.without_guesses())

    def better(self, *, more: str | Iterable[str] = (), less: str | Iterable[str] = ()) -> Swarm:
        """Return the same swarm with the direction of these metrics set.

        Parameters
        ----------
        more, less : str or iterable of str
            Metrics. Names are matched as by `metric`; a pattern with ``*`` stands for all metrics that match.

        Raises
        ------
        AlignmentError
            If a name is unknown or ambiguous.
        SwarmError
            If a metric is in both.

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
        found, named = _measured.better(self._metric_columns, more, less)
        return self._with(**found._asdict(), _history=self._history.with_known_directions(named))

    def folds(self, n: int = 5, seed: int = 0) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Split the runs for cross-validation; the same seed gives the same split.

        Every run is tested once, except for chosen runs, which are never tested. Runs with the same mixture are tested together, so that
        no law is scored on a mixture that it was fitted to.

        Parameters
        ----------
        n : int
            Number of folds, at least 2 and at most the number of different mixtures that may be tested.
        seed : int

        Returns
        -------
        list of (ndarray, ndarray), int64
            Positions of the runs to fit and to test, each in ascending order.

        Raises
        ------
        SwarmError
            If there are too few mixtures.
        """
        return _folds.folds(self.ratios, self.chosen, n, seed)

    def holdout(self, share: float = 0.25, seed: int = 0) -> tuple[Swarm, Swarm]:
        """Return two swarms, one to fit and one to test, split as by `folds`; chosen runs are in the first.

        Parameters
        ----------
        share : float
            Share of the runs that may be tested, above 0 and below 1. At least one run is tested and at least one is not.
        seed : int

        Raises
        ------
        SwarmError
            If the share is out of range, or fewer than two different mixtures may be tested.
        """
        fit, test = _folds.holdout(self.ratios, self.chosen, share, seed)
        return self.subset(fit), self.subset(test)

    def over(self, domains: Iterable[str], ratios: ArrayLike, tokens: ArrayLike | None = None) -> Swarm:
        """Return the same runs with their mixtures expressed in other domains, such as parts of the present ones.

        Parameters
        ----------
        domains : iterable of str
            Unique names, length L.
        ratios : array_like (R, L)
            Shares with rows that sum to 1; they are not checked.
        tokens : array_like (R, L), optional
            Tokens available of these domains; they are not checked. Without them, the result has neither `tokens` nor `budget`.
        """
        names = domain_names(domains, SwarmError)
        available = None if tokens is None or self.budget is None else np.asarray(tokens, dtype=np.float64)
        return self._with(
            domains=names,
            ratios=np.asarray(ratios, dtype=np.float64),
            tokens=available,
            budget=None if available is None else self.budget,
        )

    def with_tokens(self, tokens: TokensTable, budget: BudgetColumn, *, others: bool = False) -> Swarm:
        """Return the same runs with the tokens that they could read and those that they read.

        Parameters
        ----------
        tokens, budget
            As for `from_csv`; a column of budgets must be in the table of tokens.
        others : bool, default False
            Whether ``tokens`` may also name domains that the swarm lacks.

        Raises
        ------
        SwarmError, AlignmentError
            As for `Swarm`.

        Examples
        --------
        >>> swarm = Swarm([[0.2, 0.8], [0.9, 0.1]], [2.1, 1.9], domains=["web", "code"], metric_names=["c4"])
        >>> swarm.with_tokens({"web": 2000, "code": 100}, 1000).epochs.tolist()
        [[0.1, 8.0], [0.45, 1.0]]
        """
        given = Pools(tokens, budget, others=others).of(self.runs, self.domains, {})
        available, read = _pools.pools(given["tokens"], given["budget"], self.ratios, self.domains, self.runs)
        return self._with(tokens=available, budget=read)

    def append(self, other: Swarm) -> Swarm:
        """Return the runs of this swarm followed by those of another one with the same domains and metrics, in any order.

        Raises
        ------
        AlignmentError
            If domains or metrics differ; the message shows both sets.
        SwarmError
            If a run's id is in both, or if only one of the two swarms knows its `tokens` and `budget`.
        """
        if set(self.metrics) != set(other.metrics):
            raise AlignmentError.between(
                "the first runs' metrics", self.metrics, "the other runs' metrics", other.metrics
            )
        more = other.align(self.domains).select(self.metrics)
        tokens, budget = _pools.joined((self.tokens, self.budget), (more.tokens, more.budget))
        both = Swarm(
            np.concatenate([self.ratios, more.ratios]),
            np.concatenate([self.values, more.values]),
            domains=self.domains,
            metric_names=self.metrics,
            runs=(*self.runs, *more.runs),
            chosen=np.concatenate([self.chosen, more.chosen]),
            direction=self.direction,
            unit=self.unit,
            tokens=tokens,
            budget=budget,
        )
        return both._with(_history=both._history.joining(self._history, more._history))

    # Inside.

    @classmethod
    def _of(cls, joined: _join.Joined, direction: PerMetric, unit: PerMetric) -> Swarm:
        """Build the swarm of two joined tables; its report lists what was left out. Given directions and units take precedence over those of the tables."""
        direction, unit = (
            {**told, **(given or {})} if given is None or isinstance(given, Mapping) else given
            for given, told in ((direction, joined.directions), (unit, joined.units))
        )
        swarm = cls(**joined.arguments, direction=direction, unit=unit)
        swarm._set(_history=replace(swarm._history, dropped=joined.dropped, unused=joined.unused, read=joined.read))
        return swarm

    @property
    def _metric_columns(self) -> _measured.Measured:
        return _measured.Measured(self.metrics, self.values, self.direction, self.unit)

    def _with(self, **changes: object) -> Swarm:
        """Return this swarm with some fields changed; they are not checked."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        other = object.__new__(type(self))
        other._set(**{**fields, **changes})
        if "ratios" not in changes and "identifiable" in self.__dict__:
            # The mixtures are the same, so the decomposition is reused.
            other.__dict__["identifiable"] = self.identifiable
        return other

    def _set(self, **fields: object) -> None:
        """Set fields of this frozen swarm while it is built; arrays become read-only."""
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                value = np.ascontiguousarray(value)
                value.setflags(write=False)
            object.__setattr__(self, name, value)
