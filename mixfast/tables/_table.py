"""ExpertTable: the output of every expert on every row, checked once and never changed afterwards."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend import device as _device
from mixfast._text.frozen import Frozen
from mixfast._text.names import counted, listing, shown
from mixfast._text.notebook import html_table
from mixfast._text.numbers import size
from mixfast._text.visible import quote
from mixfast.errors import BackendError, TableError
from mixfast.experts import of_arrays, of_models
from mixfast.ranks import Ranks, Team
from mixfast.tables._from_experts import Made, of_regressors, of_true_class, popped, relative
from mixfast.tables._names import checked_names, default_names, some, unit_of
from mixfast.tables._rows import RowFacts, describe
from mixfast.tables._selection import expand_outputs, row_index, split_mask
from mixfast.tables._values import (
    Checked,
    Extremes,
    checked_loglik,
    checked_predictions,
    is_mapped,
    read_only,
    selected,
)

__all__ = ["ExpertTable"]


@dataclass(init=False, repr=False, eq=False, slots=True, weakref_slot=True)
class ExpertTable(Frozen):
    """Hold the outputs of K experts on n rows, one expert for each training domain.

    Build it with `from_loglik`, `from_probabilities`, `from_predictions` or `load`, or from fitted models with `from_classifiers` or
    `from_regressors`. It describes the objective

    ``L_g(w) = sum_i c_i * -log(sum_k w_k exp(loglik_ik))`` (kind "ce") or
    ``L_g(w) = 1/2 sum_i c_i (sum_k w_k prediction_ik - target_i)^2`` (kind "mse")

    of each group g of rows, for mixtures w. All checks are made here, once: functions that take a table rely on them.

    Attributes
    ----------
    kind : {"ce", "mse"}
        What the values are: natural log-likelihoods (nats) or predictions.
    loglik : (n, K) float16, float32 or float64
        Log-likelihoods, C-contiguous, read-only, no NaN, no +inf; a torch tensor if the table is on a GPU. Only if kind is
        "ce".
    prediction, target : (n, K) float16, float32 or float64, and (n,) float64
        Predictions and the targets they are compared with, finite. Only if kind is "mse"; row ``i * n_outputs + d`` is
        output d of observation i.
    domains : tuple of K str
        Names of the columns.
    weight, length : (n,) float64, and (n,) integer or floating, or None
        As given: the raw weight of a row, and its length (tokens or bytes).
    bytes : (n,) integer or None
        As given: UTF-8 bytes of the text of a row. The loss is not divided by them; losses in bits per byte need them.
    group : (n,) int32 or None
        Index of each row into `group_names`, never decreasing: rows are kept sorted by group.
    group_names : tuple of G str
        Names of the groups; ``("all",)`` if none were given.
    group_offsets : (G + 1,) int64
        Group g is the rows ``group_offsets[g]:group_offsets[g + 1]``.
    sequence : (n,) integer or None
        Which sequence a row belongs to; splits and resampling keep sequences whole.
    uniform_weight : float or None
        The weight c of every row if all are equal, else None.
    n_outputs : int
        Outputs of one observation (1 unless kind is "mse").
    temperature : dict of str to float, or None
        Temperature that `from_classifiers` fitted for each expert; None without calibration.
    clipped : int
        Probabilities of true classes that were raised to `clip` when the table was built.

    Notes
    -----
    Arrays that already have the right type and layout are not copied, so do not write to them afterwards. A memory map
    stays on disk. Unsorted groups cost one copy of the table.
    """

    kind: Literal["ce", "mse"]
    domains: tuple[str, ...]
    weight: NDArray[np.float64] | None
    length: NDArray[Any] | None
    bytes: NDArray[Any] | None
    group_names: tuple[str, ...]
    group_offsets: NDArray[np.int64]
    sequence: NDArray[Any] | None
    uniform_weight: float | None
    n_outputs: int
    # An array, or a torch tensor for a table on a device.
    _values: Any
    _target: NDArray[np.float64] | None
    # On the device where the values are.
    _row_weight: Any
    _grouped: bool
    # Of all values when the table was built; they remain bounds when rows are left out.
    _extremes: Extremes
    _made: Made | None

    def __init__(self, *given: object, **named: object) -> None:
        raise TypeError(
            "build an ExpertTable with ExpertTable.from_loglik(array, domains=[...]), where the array has a row for each token or document "
            "and a column for each expert, with ExpertTable.from_predictions(array, target), from fitted models with "
            "ExpertTable.from_classifiers(models, X, y) or with ExpertTable.load(path)"
        )

    @classmethod
    def from_loglik(
        cls,
        loglik: Any,
        *,
        domains: Sequence[str] | None = None,
        weight: ArrayLike | None = None,
        length: ArrayLike | None = None,
        group: ArrayLike | None = None,
        group_names: Sequence[str] | Mapping[int, str] | None = None,
        sequence: ArrayLike | None = None,
        condition: Any = None,
        bytes: ArrayLike | None = None,
    ) -> ExpertTable:
        """Build a table of log-likelihoods, for the cross-entropy of the experts' mixture.

        The objective of a group is ``sum_i c_i * -log(sum_k w_k exp(loglik_ik))``, in nats.

        Parameters
        ----------
        loglik : (n, K) float16, float32 or float64
            Natural log p(row i | expert k). A numpy array, or anything with ``__dlpack__`` or ``__array__``. Arrays in the memory of
            a CUDA device (a torch tensor, a CuPy or JAX array) stay there, and `solve` works there.
            -inf is a probability of zero. Rows may be sequences, tokens or labelled examples.
        domains : sequence of K str, optional
            Names of the experts' domains; "domain_0", "domain_1", ... by default.
        weight : (n,), optional
            c_i before any division by the length: used as it is, not normalised. By default 1/n_g, where n_g is the number of
            rows in the group, so that the loss of a group is a mean.
        length : (n,), optional
            Tokens (or bytes) of a row. c_i is divided by it, so that the loss is in nats per token and every sequence counts the
            same. By default nothing is divided, which suits rows that are tokens or labels.
        group : (n,) int or str, optional
            The validation set that a row belongs to; one group by default. Groups are numbered in the order in which their names
            first appear, or in ascending order of integers.
        group_names : sequence of G str, or dict of int to str, optional
            Names of the integer codes of `group` (or the order of its names); "group_<code>" by default.
        sequence : (n,) int, optional
            The sequence that a row comes from. By default each row is its own sequence.
        condition : (n, K), optional
            log p(prompt of row i | expert k), subtracted: the table becomes the conditional log p(answer | prompt), and
            `length` should count the answer only.
        bytes : (n,) int, optional
            UTF-8 bytes of the text of a row. Give it as `length` too for losses in nats per byte.

        Raises
        ------
        TableError
            If the array is not floating (n, K), or has no rows or no domains, NaN or +inf, or a row that is -inf for every
            domain; if all values are from 0 to 1, as probabilities are (and one is above 0.001); if names are duplicated, lengths are not positive, or weights are negative, not finite or all zero.
        BackendError
            If the array is neither in CPU memory nor on a CUDA device that torch can use.

        Warns
        -----
        MixfastWarning
            If log-likelihoods are above 0.001 (fine for densities), or there are more domains than rows (transposed?).

        Notes
        -----
        One streaming read. No temporary of the size of the table is made unless `condition` is given or a copy is needed.

        References
        ----------
        Thudi et al., "MixMin: Finding Data Mixtures via Convex Minimization" (arXiv 2502.10510), sections 3 and 5: rows
        are sequences and c_i = 1/(n length_i).

        Examples
        --------
        >>> import numpy as np
        >>> table = ExpertTable.from_loglik(np.log([[0.5, 0.25], [0.1, 0.4]]), domains=["web", "code"])
        >>> table
        ExpertTable(ce, 2 rows x 2 domains, float64, 32 B; domains: web, code)
        >>> table.uniform_weight
        0.5
        """
        checked = checked_loglik(loglik, condition, domains)
        facts = describe(
            checked.values.shape[0],
            weight=weight,
            length=length,
            group=group,
            group_names=group_names,
            sequence=sequence,
            n_bytes=bytes,
        )
        return _build("ce", checked, facts)

    @classmethod
    def from_predictions(
        cls,
        prediction: Any,
        target: ArrayLike,
        *,
        domains: Sequence[str] | None = None,
        weight: ArrayLike | None = None,
        group: ArrayLike | None = None,
        group_names: Sequence[str] | Mapping[int, str] | None = None,
        sequence: ArrayLike | None = None,
    ) -> ExpertTable:
        """Build a table of predictions by regression experts, for the squared error of their mixture.

        The objective of a group is ``1/2 sum_i c_i |sum_k w_k prediction_ik - target_i|^2``, summed over outputs.

        Parameters
        ----------
        prediction : (n, K) or (n, K, D) float16, float32 or float64
            Prediction of expert k for observation i (each of D outputs), in the unit of `target`.
        target : (n,) or (n, D)
            Observed values.
        domains, group, group_names : optional
            As in `from_loglik`.
        weight : (n,), optional
            c_i of an observation, used as it is; 1/n_g by default, for any D.
        sequence : (n,) int, optional
            The sequence that an observation comes from. The outputs of an observation always stay together.

        Returns
        -------
        ExpertTable
            With n * D rows: row ``i * D + d`` is output d of observation i.

        Raises
        ------
        TableError
            As in `from_loglik`, and if a value is not finite.

        References
        ----------
        Thudi et al., "MixMin" (arXiv 2502.10510), theorem for the mean squared error.

        Examples
        --------
        >>> import numpy as np
        >>> table = ExpertTable.from_predictions(np.array([[1.0, 0.0], [2.0, 1.0]]), [0.5, 1.0])
        >>> table.kind, table.uniform_weight
        ('mse', 0.5)
        """
        checked = checked_predictions(prediction, target, domains)
        facts = describe(
            checked.values.shape[0],
            checked.n_outputs,
            weight=weight,
            group=group,
            group_names=group_names,
            sequence=sequence,
        )
        return _build("mse", checked, facts)

    @classmethod
    def from_probabilities(
        cls,
        proba: Any,
        y: ArrayLike | None,
        *,
        domains: Sequence[str] | None = None,
        classes: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        group: ArrayLike | None = None,
        group_names: Sequence[str] | Mapping[int, str] | None = None,
        sequence: ArrayLike | None = None,
        clip: float | None = None,
    ) -> ExpertTable:
        """Build a table of the probabilities that classifiers give to labelled rows, for the log-loss of their mixture.

        The objective of a group is ``sum_i c_i * -log(sum_k w_k proba_ik)``, where proba_ik is the probability that expert k gives to the
        label of row i.

        Parameters
        ----------
        proba : (n, C, K) or (n, K) floating
            Probabilities of the C classes, which sum to 1 over the second axis; or, for two classes, the probability of the second one, as
            ``predict_proba(X)[:, 1]`` of each expert; or, if y is None, the probability of the true class.
        y : (n,) numbers or text, or None
            Labels.
        classes : (C,), optional
            The labels in the order of the axis of classes. By default 0, 1, ..., C - 1 if all labels are among these, else the
            distinct labels in ascending order, if these are C.
        domains, weight, group, group_names, sequence : optional
            As in `from_loglik`.
        clip : float, optional
            Raise probabilities of true classes below it to it. By default nothing is changed: a probability of 0 is -inf, and a row must have
            another expert with a probability above 0. `clipped` counts the probabilities that were raised.

        Raises
        ------
        TableError
            If values are not probabilities or do not sum to 1, labels are missing or unknown, or the label of a row has the probability 0 under
            every expert.

        Warns
        -----
        MixfastWarning
            If every expert is worse than chance as `proba` (n, K) is read, and not if it is read as that of the true class.
            If no label is 0, and every expert fits labels that count from 1 better.

        References
        ----------
        Thudi et al., "MixMin" (arXiv 2502.10510), section 5: classifiers of bioassays.

        Examples
        --------
        >>> import numpy as np
        >>> table = ExpertTable.from_probabilities(
        ...     np.array([[0.9, 0.6], [0.2, 0.5]]), ["yes", "no"], classes=["no", "yes"]
        ... )
        >>> np.exp(table.loglik)
        array([[0.9, 0.6],
               [0.8, 0.5]])
        """
        found = of_true_class(of_arrays(proba, y, domains=domains, classes=classes, clip=clip))
        return _made(found, weight=weight, group=group, group_names=group_names, sequence=sequence)

    @classmethod
    def from_classifiers(
        cls,
        models: Any,
        X: Any,
        y: ArrayLike,
        *,
        domains: Sequence[str] | None = None,
        sample_weight: ArrayLike | None = None,
        group: ArrayLike | None = None,
        group_names: Sequence[str] | Mapping[int, str] | None = None,
        sequence: ArrayLike | None = None,
        calibration: Literal["none", "temperature"] = "none",
        held_out: tuple[Any, ArrayLike] | None = None,
        clip: float | None = None,
    ) -> ExpertTable:
        """Build a table of the probabilities that fitted classifiers give to labelled rows of the target.

        Parameters
        ----------
        models : mapping of str to fitted classifier, or sequence of K fitted classifiers
            One for each domain: anything with ``predict_proba`` and ``classes_``, such as classifiers of scikit-learn, XGBoost and LightGBM, and
            pipelines. Lists of classes may differ; a class that an expert has never seen has the probability 0.
        X : (n, F) array, DataFrame or sparse matrix
            Rows of the target, as the models take them. No expert should have been fitted to them.
        y : (n,) numbers or text
            Labels, as the models know them.
        domains : sequence of K str, optional
            Names of a sequence of models; for a mapping, the order of the columns.
        sample_weight : (n,), optional
            Relative weights of the rows: the loss of a group is a weighted mean.
        group, group_names, sequence : optional
            As in `from_loglik`.
        calibration : {"none", "temperature"}
            "temperature" divides the logarithms of each expert's probabilities by one number, the one with the smallest log-loss on
            `held_out`. The log-loss punishes overconfident experts, so the mixture may otherwise be one of calibration rather than of
            knowledge.
        held_out : (X, y), optional
            Rows that temperatures are fitted on: neither rows of the table nor rows that an expert was fitted to. Rows whose class has the
            probability 0 under an expert are left out for it.
        clip : float, optional
            As in `from_probabilities`; before calibration.

        Returns
        -------
        ExpertTable
            With `temperature` and `clipped`.

        Raises
        ------
        TableError
            If a model is not fitted, is a regressor, fails, or returns NaN, another number of rows or probabilities that do not sum to 1 (the
            message names the expert); if no expert gives the label of a row any probability; or if the numbers of rows differ.

        Warns
        -----
        MixfastWarning
            If a temperature is at its lower limit of 0.05. The upper limit, 20, is that of experts that know nothing of the rows.

        References
        ----------
        Thudi et al., "MixMin" (arXiv 2502.10510), section 5; Guo et al. (arXiv 1706.04599), section 4.2, for the temperature.
        """
        found = of_true_class(
            of_models(models, X, y, domains=domains, calibration=calibration, held_out=held_out, clip=clip)
        )
        weight = relative(sample_weight, group)
        return _made(found, weight=weight, group=group, group_names=group_names, sequence=sequence)

    @classmethod
    def from_regressors(
        cls,
        models: Any,
        X: Any,
        y: ArrayLike,
        *,
        domains: Sequence[str] | None = None,
        sample_weight: ArrayLike | None = None,
        group: ArrayLike | None = None,
        group_names: Sequence[str] | Mapping[int, str] | None = None,
        sequence: ArrayLike | None = None,
    ) -> ExpertTable:
        """Build a table of the predictions of fitted regressors for rows of the target.

        Parameters
        ----------
        models : mapping of str to fitted regressor, or sequence of K fitted regressors
            One for each domain: anything with ``predict``.
        X, domains, sample_weight, group, group_names, sequence
            As in `from_classifiers`.
        y : (n,) or (n, D)
            Observed values of one or several outputs.

        Raises
        ------
        TableError
            If a model is not fitted, is a classifier, fails, or returns NaN, another number of rows or of outputs (the message names the expert).

        References
        ----------
        Thudi et al., "MixMin" (arXiv 2502.10510), theorem for the mean squared error.
        """
        checked = of_regressors(models, X, y, domains)
        weight = relative(sample_weight, group)
        return _made((checked, None), weight=weight, group=group, group_names=group_names, sequence=sequence)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        task: str | Sequence[str] | None = None,
        conditional: bool = False,
        ranks: Ranks | Team | None = None,
    ) -> ExpertTable | Any:
        """Read a table from an npz file, an npy file, a folder of parts or a folder of the MixMin code.

        Parameters
        ----------
        path : path
            Its content decides the format, not its name.

            - npz: ``loglik`` (or ``prediction`` and ``target``), and optionally ``domains`` or ``experts``, ``length``,
              ``weight``, ``group``, ``group_names``, ``sequence``, ``bytes``, ``condition``. Or ``proba`` and ``label``, and
              optionally ``classes``, as `from_probabilities` takes them.
            - npy: the (n, K) log-likelihoods, memory-mapped.
            - folder with ``part-*.npz``, ``part-*.npy`` or ``part-*.parquet``: a `ShardedTable` of all their rows.
            - other folder: one sub-folder per expert holding ``{task}_log_prob.npy`` and ``{task}_lengths.npy``, or one
              ``{name}_log_prob.npy`` (and ``{name}_lengths.npy``) per expert. Lengths come from the first expert, as in the
              MixMin code, with a warning if those of another expert differ.
        task : str or sequence of str, optional
            Task in a folder of the MixMin code; several tasks make one group each. Needed only if the folder has several.
        conditional : bool
            For a folder of the MixMin code: subtract ``{task}_input_log_prob.npy``, and ``{task}_input_lengths.npy`` from the lengths.
        ranks : Ranks or Team, optional
            For a folder of parts: the processes that share its rows; by default this process alone.

        Returns
        -------
        ExpertTable or ShardedTable

        Raises
        ------
        TableError
            If the file is empty, truncated or of another format, lacks a key or has one twice, holds pickled objects (never
            loaded), holds more or less than its headers say, does not fit in memory, or holds a table that `from_loglik` or
            `from_predictions` refuses.
        OSError
            If the file is missing or may not be read.

        Notes
        -----
        Large uncompressed arrays, as `save` writes them, are memory-mapped, not read, so a table may exceed the memory.
        The checksum of a mapped array is not verified.
        A mapped file must not change while its table is in use: to replace it, write a new file and rename it. A sweep that
        finds the file cut short raises a `TableError`. If numpy reads it, as for a copy, the process ends with SIGBUS.
        """
        from mixfast.tables._files import holds_parts, read

        if holds_parts(path):
            from mixfast.tables._loading import load_parts

            if task is not None or conditional:
                raise TableError(
                    f"{os.fspath(path)} is a table of parts: task and conditional are for a folder of experts"
                )
            return load_parts(path, ranks, make_block)
        if ranks is not None:
            raise TableError(
                f"{os.fspath(path)} is not a folder of parts, and only such a table can be shared by ranks: write one with "
                f"mixfast table split {quote(os.fspath(path))}"
            )
        try:
            arrays = read(path, task=task, conditional=conditional)
            try:
                return _of_arrays(arrays)
            except TableError as error:
                raise TableError(f"{os.fspath(path)}: {error}") from None
        except MemoryError:
            raise TableError(
                f"{os.fspath(path)} does not fit in memory; save it uncompressed and C-ordered in the type of this machine, as "
                "ExpertTable.save and numpy.savez do; it is then mapped, not read"
            ) from None

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the table to ``.npz`` (everything, exactly) or ``.npy`` (log-likelihoods only).

        Parameters
        ----------
        path : path
            Its suffix decides the format. The file appears whole or not at all; an older table is replaced.
        force : bool, default False
            Whether a file of another kind is replaced as well.

        Raises
        ------
        TableError
            If the suffix is another one; if the suffix is ``.npy`` and the table has names, weights, groups or the like, which
            would be lost; or if, without ``force``, a file of another kind would be overwritten.
        OSError
            If the file cannot be written. The old file is unchanged.

        Notes
        -----
        Arrays are stored uncompressed and aligned, so that `load` can map them.
        """
        from mixfast.tables._files import write

        if _device.is_tensor(self._values):
            self.to("cpu").save(path, force=force)
            return
        arrays: dict[str, NDArray[Any]] = {}
        if self.kind == "ce":
            arrays["loglik"] = self._values
        else:
            arrays.update(prediction=self._values, target=self.target, n_outputs=np.array(self.n_outputs))
        extras = {"weight": self.weight, "length": self.length, "group": self.group, "sequence": self.sequence}
        extras["bytes"] = self.bytes
        arrays.update({} if self._made is None else self._made.arrays())
        arrays.update({key: value for key, value in extras.items() if value is not None})
        if self._grouped:
            arrays["group_names"] = np.array(self.group_names, dtype=str)
        if self.domains != default_names(self.n_domains):
            arrays["domains"] = np.array(self.domains, dtype=str)
        write(path, arrays, force=force)

    @property
    def loglik(self) -> NDArray[Any]:
        """Log-likelihoods, (n, K); only if kind is "ce"."""
        return self._values if self.kind == "ce" else self._lacks("loglik", "prediction")

    @property
    def prediction(self) -> NDArray[Any]:
        """Predictions, (n, K), with a row for each output of each observation; only if kind is "mse"."""
        return self._values if self.kind == "mse" else self._lacks("prediction", "loglik")

    @property
    def target(self) -> NDArray[np.float64]:
        """Targets of `prediction`, (n,) float64; only if kind is "mse"."""
        return self._target if self._target is not None else self._lacks("target", "loglik")

    @property
    def values(self) -> NDArray[Any]:
        """`loglik` or `prediction`, whichever the table holds, (n, K)."""
        return self._values

    @property
    def extremes(self) -> Extremes:
        """Three bounds in nats: no value is below the first or above the second, and no row has its largest value below the third."""
        return self._extremes

    @property
    def row_weight(self) -> NDArray[np.float64]:
        """Weight c of each row in the sum of its group, (n,) float64; if all are equal, the array is made on each call."""
        if self._row_weight is not None:
            return _device.host(self._row_weight)
        return read_only(np.full(self.n_rows, self.uniform_weight))

    def weights_near(self, window: slice = slice(None)) -> Any:
        """Return the weights c of a range of r rows, as the objectives take them.

        The result is one number if all rows of the table have the same weight, else (r,) float64: an array, or a tensor if the
        table is on a device.
        """
        return self.uniform_weight if self._row_weight is None else self._row_weight[window]

    @property
    def group(self) -> NDArray[np.int32] | None:
        """Index of each row into `group_names`, (n,) int32, ascending; None if no groups were given."""
        if not self._grouped:
            return None
        return read_only(np.repeat(np.arange(self.n_groups, dtype=np.int32), np.diff(self.group_offsets)))

    @property
    def temperature(self) -> dict[str, float] | None:
        """Temperature that was fitted for each expert; None if probabilities are as the experts gave them."""
        made = self._made
        return (
            None if made is None or made.temperature is None else dict(zip(self.domains, made.temperature, strict=True))
        )

    @property
    def clipped(self) -> int:
        """Number of probabilities that were raised to `clip` when the table was built."""
        return 0 if self._made is None else self._made.clipped

    @property
    def n_rows(self) -> int:
        """Number of rows n; observations times outputs for kind "mse"."""
        return int(self._values.shape[0])

    @property
    def n_domains(self) -> int:
        """Number of domains K."""
        return int(self._values.shape[1])

    @property
    def n_groups(self) -> int:
        """Number of groups G, at least 1."""
        return len(self.group_names)

    @property
    def unit(self) -> str:
        """The unit of the table's loss, in words."""
        if self.kind == "mse":
            return "half squared units of the target"
        return unit_of(has_weight=self.weight is not None, has_length=self.length is not None)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, K)."""
        return self._values.shape[0], self._values.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Storage type of `values`."""
        return _device.dtype_of(self._values)

    @property
    def device(self) -> str:
        """Where `values` are: "cpu", or a CUDA device such as "cuda:0"."""
        return str(self._values.device) if _device.is_tensor(self._values) else "cpu"

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays of the table, in memory or mapped from disk."""
        arrays = (self._values, self._target, self.weight, self.length, self.bytes, self.sequence, self._row_weight)
        # c may be the same array as the given weight: count it once.
        unique = {id(array): array.nbytes for array in arrays if array is not None}
        return sum(unique.values()) + self.group_offsets.nbytes

    def to(self, device: Any) -> ExpertTable:
        """Return the table with its values on a device.

        Parameters
        ----------
        device : str or torch.device
            "cpu", "cuda" (the current one) or "cuda:<number>"; a torch device is taken as it is. Only the values and the
            row weights move; all other arrays stay in CPU memory.

        Returns
        -------
        ExpertTable
            A copy, or the table itself if it is there already.

        Raises
        ------
        BackendError
            If there is no CUDA device, if torch or triton is missing, or for a table of predictions, which a GPU never needs.
        ValueError
            If the device is another one.
        """
        if device == "cpu":
            if not _device.is_tensor(self._values):
                return self
            weight = None if self._row_weight is None else _device.host(self._row_weight)
            return self._replace(_values=_device.host(self._values), _row_weight=weight)
        if isinstance(device, str):
            kind, _, number = device.partition(":")
            if kind != "cuda" or not (number.isdigit() or device == "cuda"):
                raise ValueError(f'device is {shown(device)}, expected "cpu", "cuda" or "cuda:<number>"')
            device = _device.cuda_device(number)
        if self.kind != "ce":
            raise BackendError(
                "a table of predictions is solved from a K x K matrix, which is made on the CPU: use backend='cpu'"
            )
        if _device.is_tensor(self._values):
            if self._values.device == device:
                return self
            values = self._values.to(device)
        else:
            values = _device.upload(self._values, device)
        return self._replace(_values=values, _row_weight=_device.weights(self._row_weight, device))

    def rows(self, index: ArrayLike | slice) -> ExpertTable:
        """Return the table of some rows.

        Parameters
        ----------
        index : (n,) bool, (m,) int or slice
            Rows, in the order of the table (which is sorted by group); repeats are allowed. If ``n_outputs`` is above 1, it counts
            observations, not rows.

        Returns
        -------
        ExpertTable
            Given weights are kept; default weights become 1/n_g for the remaining rows. Groups without rows are removed.

        Raises
        ------
        TableError
            If a mask has the wrong length, an index is out of range, or no row or only rows of weight 0 are selected.
        """
        chosen = row_index(index, self.n_rows // self.n_outputs)
        if self.n_outputs > 1:
            chosen = expand_outputs(chosen, self.n_outputs, self.n_rows)

        def part(array: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if array is None else array[chosen]

        values = self._values[chosen]
        group, group_names = part(self.group), None
        if group is not None:
            present = np.unique(group)
            group = np.searchsorted(present, group)
            group_names = [self.group_names[code] for code in present]
        facts = describe(
            len(values),
            self.n_outputs,
            expanded=True,
            weight=part(self.weight),
            length=part(self.length),
            group=group,
            group_names=group_names,
            sequence=part(self.sequence),
            n_bytes=part(self.bytes),
        )
        checked = Checked(values, self.domains, self._extremes, part(self._target), self.n_outputs)
        return _build(self.kind, checked, facts, self._made)

    def select(self, domains: Sequence[str]) -> ExpertTable:
        """Return the table of some domains, in the order given (which may reorder all of them).

        Parameters
        ----------
        domains : sequence of str
            Names out of ``self.domains``.

        Returns
        -------
        ExpertTable
            A copy, or the table itself if nothing changes.

        Raises
        ------
        TableError
            If names are unknown or duplicated, or a row is -inf for every remaining domain.
        """
        names = checked_names(domains, "domains")
        if names == self.domains:
            return self
        position = {name: k for k, name in enumerate(self.domains)}
        unknown = [name for name in names if name not in position]
        if unknown:
            raise TableError(f"the table has no domain {some(unknown)}; its domains are {list(self.domains)}")
        if not names:
            raise TableError("select needs at least one domain")
        columns = [position[name] for name in names]
        values, extremes = selected(self._values, columns, self.kind)
        made = None if self._made is None else self._made.selected(columns)
        return self._replace(_values=values, domains=names, _extremes=extremes, _made=made)

    def split(self, share: float, *, seed: int | np.random.Generator) -> tuple[ExpertTable, ExpertTable]:
        """Split the rows in two at random, by whole sequences and by the same share in each group.

        Parameters
        ----------
        share : float
            Share of the sequences of each group that goes to the first table, in (0, 1). At least one sequence with a weight above
            0 of each group goes to each table.
        seed : int or numpy Generator
            The same seed gives the same split.

        Returns
        -------
        fit, held_out : ExpertTable

        Raises
        ------
        TableError
            If the share is outside (0, 1), or a group has too few sequences for both tables.

        Notes
        -----
        A sequence with rows in several groups stays whole: it is sampled with the first of its groups.
        """
        if not 0.0 < share < 1.0:
            raise TableError(f"share must lie between 0 and 1 (exclusive), got {shown(share)}")
        counts = np.ones(self.n_rows, dtype=bool) if self._row_weight is None else self.row_weight > 0.0
        in_fit = split_mask(self.sequence, self.group_offsets, share, np.random.default_rng(seed), counts)
        sides = np.logical_or.reduceat(in_fit & counts, self.group_offsets[:-1]) & np.logical_or.reduceat(
            ~in_fit & counts, self.group_offsets[:-1]
        )
        if not sides.all():
            lone = [name for name, both in zip(self.group_names, sides, strict=True) if not both]
            raise TableError(
                f"cannot split group {some(lone)} in two: it needs at least two sequences of its own with a weight above 0; "
                "give finer sequence ids or leave the group out"
            )
        observation = in_fit[:: self.n_outputs]
        return self.rows(observation), self.rows(~observation)

    def __len__(self) -> int:
        return self.n_rows

    def __repr__(self) -> str:
        held = size(self._values.nbytes) + (", mapped" if is_mapped(self._values) else "")
        held += f" on {self.device}" if _device.is_tensor(self._values) else ""
        outputs = f" ({self.n_outputs} outputs)" if self.n_outputs > 1 else ""
        parts = [
            f"{self.kind}, {self.n_rows} row{'s' * (self.n_rows != 1)}{outputs} x {self.n_domains} "
            f"domain{'s' * (self.n_domains != 1)}, {self.dtype.name}, {held}",
            f"domains: {some(self.domains, quote=False)}",
        ]
        if self._grouped:
            parts.append(f"groups: {some(self.group_names, quote=False)}")
        given = [key for key in ("weight", "length", "bytes", "sequence") if getattr(self, key) is not None]
        if given:
            parts.append(f"with {', '.join(given)}")
        parts += [] if self._made is None else self._made.words()
        return f"ExpertTable({'; '.join(parts)})"

    def _repr_html_(self) -> str:
        """Show the groups of rows and the domains in a notebook."""
        rows = [
            (name, f"{count:,}")
            for name, count in zip(self.group_names, np.diff(self.group_offsets).tolist(), strict=True)
        ]
        lines = [f"{counted(self.n_domains, 'domain')}: {listing(self.domains, limit=20)}"]
        title = (
            f"ExpertTable: {self.n_rows:,} rows x {self.n_domains:,} domains, {self.dtype.name}, {size(self.nbytes)}"
        )
        return html_table(title, ["group", "rows"], rows, lines=lines, what="groups")

    def _lacks(self, name: str, other: str) -> NoReturn:
        raise AttributeError(f'a table of kind "{self.kind}" has no {name}; it has {other}')

    def _replace(self, **changes: Any) -> ExpertTable:
        return _new(self.__getstate__() | changes)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"ExpertTable is immutable: cannot set {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"ExpertTable is immutable: cannot delete {name}")

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _compared(self) -> dict[str, Any]:
        # The extremes are bounds, which may be loose after rows were left out; equal values may have been made in different ways.
        return {name: value for name, value in self.__getstate__().items() if name not in ("_extremes", "_made")}

    def __reduce__(self) -> tuple[Any, ...]:
        return _new, (self.__getstate__(),)


def _new(state: dict[str, Any]) -> ExpertTable:
    """Make a table of checked fields. Arrays from a pickle are writeable, so they are made read-only here."""
    table = object.__new__(ExpertTable)
    put = object.__setattr__
    for name, value in ({"_made": None} | state).items():
        if type(value) is np.ndarray and value.flags.writeable:
            value = read_only(value)
        put(table, name, value)
    return table


def _of_arrays(arrays: dict[str, Any]) -> ExpertTable:
    """Make a table of the arrays of a file, which are named as the arguments of a constructor."""
    if "proba" in arrays:
        if "clip" in arrays:
            arrays["clip"] = arrays["clip"].tolist()
        return ExpertTable.from_probabilities(arrays.pop("proba"), arrays.pop("label", None), **arrays)
    if "loglik" not in arrays:
        return ExpertTable.from_predictions(**arrays)
    made = popped(arrays, arrays["loglik"].shape[-1] if arrays["loglik"].ndim else 0)
    table = ExpertTable.from_loglik(**arrays)
    return table if made is None else _new(table.__getstate__() | {"_made": made})


def _made(found: tuple[Checked, Made | None], **facts: Any) -> ExpertTable:
    """Make a table of values that come from experts, with the given facts about its rows."""
    checked, made = found
    kind: Literal["ce", "mse"] = "ce" if checked.target is None else "mse"
    return _build(kind, checked, describe(checked.values.shape[0], checked.n_outputs, **facts), made)


def _build(kind: Literal["ce", "mse"], checked: Checked, facts: RowFacts, made: Made | None = None) -> ExpertTable:
    """Make a table of checked values and row facts: sorted by group, with its weights on the device of the values."""
    values, target, row_weight = checked.values, checked.target, facts.row_weight
    if facts.order is not None:
        values = _device.take(values, facts.order, 0)
        target = target if target is None else target[facts.order]
    if _device.is_tensor(values):
        row_weight = _device.weights(row_weight, values.device)
    return _new(
        {
            "kind": kind,
            "domains": checked.domains,
            "weight": facts.weight,
            "length": facts.length,
            "bytes": facts.bytes,
            "group_names": facts.group_names,
            "group_offsets": facts.group_offsets,
            "sequence": facts.sequence,
            "uniform_weight": facts.uniform_weight,
            "n_outputs": checked.n_outputs,
            "_values": values,
            "_target": target,
            "_row_weight": row_weight,
            "_grouped": facts.grouped,
            "_extremes": checked.extremes,
            "_made": made,
        }
    )


def make_block(
    values: NDArray[Any],
    domains: tuple[str, ...],
    vectors: Mapping[str, NDArray[Any]],
    codes: NDArray[np.int32] | None,
    group_names: tuple[str, ...],
    extremes: Extremes,
    uniform_weight: float | None,
    row_weight: NDArray[np.float64] | None,
) -> ExpertTable:
    """Make the table of a block of a larger table, whose rows are checked and sorted by group; some groups may have no rows."""
    offsets = np.array([0, len(values)], dtype=np.int64)
    if codes is not None:
        offsets = np.concatenate(([0], np.cumsum(np.bincount(codes, minlength=len(group_names))))).astype(np.int64)
    return _new(
        {
            "kind": "ce",
            "domains": domains,
            "weight": vectors.get("weight"),
            "length": vectors.get("length"),
            "bytes": vectors.get("bytes"),
            "group_names": group_names,
            "group_offsets": offsets,
            "sequence": vectors.get("sequence"),
            "uniform_weight": uniform_weight,
            "n_outputs": 1,
            "_values": values,
            "_target": None,
            "_row_weight": row_weight,
            "_grouped": codes is not None,
            "_extremes": extremes,
        }
    )
