"""Tables of arrays: log-likelihoods, predictions and probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from numpy.typing import ArrayLike

from mixfast.tables._rows import describe
from mixfast.tables._values import checked_loglik, checked_predictions
from mixfast.tables._views import TableViews


class TableOfArrays(TableViews):
    """The constructors of an `ExpertTable` that take arrays."""

    __slots__ = ()

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
    ) -> Self:
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
        >>> from mixfast import ExpertTable
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
        return cls._build("ce", checked, facts)

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
    ) -> Self:
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
        >>> from mixfast import ExpertTable
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
        return cls._build("mse", checked, facts)

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
    ) -> Self:
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
        >>> from mixfast import ExpertTable
        >>> table = ExpertTable.from_probabilities(
        ...     np.array([[0.9, 0.6], [0.2, 0.5]]), ["yes", "no"], classes=["no", "yes"]
        ... )
        >>> np.exp(table.loglik)
        array([[0.9, 0.6],
               [0.8, 0.5]])
        """
        from mixfast.experts import of_arrays
        from mixfast.tables._from_experts import of_true_class

        found = of_true_class(of_arrays(proba, y, domains, classes, clip))
        return cls._made_by(found, weight=weight, group=group, group_names=group_names, sequence=sequence)
