"""Tables made of a table: of some of its rows or domains, or on another device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend import device as _device
from mixfast._text.names import places, shown
from mixfast.errors import BackendError, TableError
from mixfast.tables._data import TableData
from mixfast.tables._made import Made
from mixfast.tables._names import checked_names, some
from mixfast.tables._rows import RowFacts, describe, not_negative
from mixfast.tables._selection import expand_outputs, row_index, split_mask
from mixfast.tables._values import Checked, Extremes, selected


class TableViews(TableData):
    """The methods of an `ExpertTable` that make tables of some of its rows or domains."""

    __slots__ = ()

    def to(self, device: Any) -> Self:
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
            self.check_unchanged()
        return self._replace(_values=values, _row_weight=_device.weights(self._row_weight, device))

    def rows(self, index: ArrayLike | slice) -> Self:
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
        checked = Checked(values, self.domains, self._extremes, part(self._target), self.n_outputs, self._file)
        self.check_unchanged()
        return self._build(self.kind, checked, facts, self._made)

    def reweighted(self, factors: ArrayLike) -> Self:
        """Return the table in which row i counts ``factors[i]`` times as much: its weight ``c_i`` becomes ``factors[i] c_i``.

        Parameters
        ----------
        factors : (n,)
            Numbers >= 0, in the order of the rows; not all 0 in a group.

        Returns
        -------
        ExpertTable
            With the same values, which are not copied.

        Raises
        ------
        TableError
            If factors are negative, not finite or not one for each row, or all rows of a group would have weight 0.
        """
        weight = self.weight
        if weight is None:
            # Lengths divide the weights that a table is given.
            weight = self.row_weight if self.length is None else self.row_weight * self.length
        facts = describe(
            self.n_rows,
            self.n_outputs,
            expanded=True,
            weight=not_negative(factors, "factors", self.n_rows) * weight,
            length=self.length,
            group=self.group,
            group_names=None if self.group is None else self.group_names,
            sequence=self.sequence,
            n_bytes=self.bytes,
        )
        checked = Checked(self._values, self.domains, self._extremes, self._target, self.n_outputs, self._file)
        return self._build(self.kind, checked, facts, self._made)

    def select(self, domains: Sequence[str]) -> Self:
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
        position = places(self.domains)
        unknown = [name for name in names if name not in position]
        if unknown:
            raise TableError(f"the table has no domain {some(unknown)}; its domains are {list(self.domains)}")
        if not names:
            raise TableError("select needs at least one domain")
        columns = [position[name] for name in names]
        self.check_unchanged()  # before the values are checked, so that the error names the file
        values, extremes = selected(self._values, columns, self.kind)
        self.check_unchanged()
        made = None if self._made is None else self._made.selected(columns)
        return self._replace(_values=values, domains=names, _extremes=extremes, _made=made)

    def split(self, share: float, *, seed: int | np.random.Generator) -> tuple[Self, Self]:
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

    @classmethod
    def _made_by(cls, found: tuple[Checked, Made | None], **facts: Any) -> Self:
        """Make a table of values that come from experts, with the given facts about its rows."""
        checked, made = found
        kind: Literal["ce", "mse"] = "ce" if checked.target is None else "mse"
        return cls._build(kind, checked, describe(checked.values.shape[0], checked.n_outputs, **facts), made)

    @classmethod
    def _build(cls, kind: Literal["ce", "mse"], checked: Checked, facts: RowFacts, made: Made | None = None) -> Self:
        """Make a table of checked values and row facts: sorted by group, with its weights on the device of the values."""
        values, target, row_weight = checked.values, checked.target, facts.row_weight
        if facts.order is not None:
            values = _device.take(values, facts.order, 0)
            target = target if target is None else target[facts.order]
        if _device.is_tensor(values):
            row_weight = _device.weights(row_weight, values.device)
        return cls._of_fields(
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
                "_file": checked.file,
            }
        )

    @classmethod
    def _block(
        cls,
        values: NDArray[Any],
        domains: tuple[str, ...],
        vectors: Mapping[str, NDArray[Any]],
        codes: NDArray[np.int32] | None,
        group_names: tuple[str, ...],
        extremes: Extremes,
        uniform_weight: float | None,
        row_weight: NDArray[np.float64] | None,
    ) -> Self:
        """Make the table of a block of a larger table, whose rows are checked and sorted by group; some groups may have no rows."""
        offsets = np.array([0, len(values)], dtype=np.int64)
        if codes is not None:
            offsets = np.concatenate(([0], np.cumsum(np.bincount(codes, minlength=len(group_names))))).astype(np.int64)
        return cls._of_fields(
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
