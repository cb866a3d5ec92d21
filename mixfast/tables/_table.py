"""ExpertTable: the output of every expert on every row, checked once and never changed afterwards."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend import device as _device
from mixfast._text.visible import quote
from mixfast.errors import TableError
from mixfast.ranks import Ranks, Team
from mixfast.tables._from_arrays import TableOfArrays
from mixfast.tables._made import popped
from mixfast.tables._names import default_names

__all__ = ["ExpertTable"]


class ExpertTable(TableOfArrays):
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

    __slots__ = ()

    def __init__(self, *given: object, **named: object) -> None:
        raise TypeError(
            "build an ExpertTable with ExpertTable.from_loglik(array, domains=[...]), where the array has a row for each token or document "
            "and a column for each expert, with ExpertTable.from_predictions(array, target), from fitted models with "
            "ExpertTable.from_classifiers(models, X, y) or with ExpertTable.load(path)"
        )

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
    ) -> Self:
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
        from mixfast.experts import of_models
        from mixfast.tables._from_experts import of_true_class, relative

        found = of_true_class(of_models(models, X, y, domains, calibration, held_out, clip))
        weight = relative(sample_weight, group)
        return cls._made_by(found, weight=weight, group=group, group_names=group_names, sequence=sequence)

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
    ) -> Self:
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
        from mixfast.tables._from_experts import of_regressors, relative

        checked = of_regressors(models, X, y, domains)
        weight = relative(sample_weight, group)
        return cls._made_by((checked, None), weight=weight, group=group, group_names=group_names, sequence=sequence)

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
        A mapped file must not change while its table is in use: to replace it, write a new file and rename it. Sums over the
        rows of a file that was cut short, or written to after its values were checked, raise a `TableError`. If numpy reads a
        file that was cut short, as for a copy, the process ends with SIGBUS.
        """
        from mixfast.tables._files import holds_parts, read

        if holds_parts(path):
            from mixfast.tables._loading import load_parts

            if task is not None or conditional:
                raise TableError(
                    f"{os.fspath(path)} is a table of parts: task and conditional are for a folder of experts"
                )
            return load_parts(path, ranks, cls._block)
        if ranks is not None:
            raise TableError(
                f"{os.fspath(path)} is not a folder of parts, and only such a table can be shared by ranks: write one with "
                f"mixfast table split {quote(os.fspath(path))}"
            )
        try:
            arrays = read(path, task=task, conditional=conditional)
            try:
                return cls._of_arrays(arrays)
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

    @classmethod
    def _of_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Make a table of the arrays of a file, which are named as the arguments of a constructor."""
        if "proba" in arrays:
            if "clip" in arrays:
                arrays["clip"] = arrays["clip"].tolist()
            return cls.from_probabilities(arrays.pop("proba"), arrays.pop("label", None), **arrays)
        if "loglik" not in arrays:
            return cls.from_predictions(**arrays)
        made = popped(arrays, arrays["loglik"].shape[-1] if arrays["loglik"].ndim else 0)
        return cls.from_loglik(**arrays)._replace(_made=made)
