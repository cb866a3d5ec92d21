"""stack(): one table from several tables of the same experts, with a group for each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mixfast._text.names import listing, shown
from mixfast.errors import AlignmentError, TableError
from mixfast.tables import ExpertTable, ShardedTable, remembering


def stack(tables: Mapping[str, ExpertTable | ShardedTable]) -> ExpertTable:
    """Concatenate the rows of tables of the same experts, with one group for each table.

    Parameters
    ----------
    tables : mapping of str to ExpertTable
        The key is the name of the group; groups of a table with groups are named "name/group". Domains are aligned by name to those of the first table.

    Returns
    -------
    ExpertTable
        Default row weights make the loss of each group a mean; given weights are kept, and so are `bytes` if all tables have them. Sequences of different tables stay separate.

    Raises
    ------
    AlignmentError
        Tables of different domains.
    TableError
        No tables, tables in folders of parts, tables of predictions, tables of which only some have lengths or sequences, or tables whose experts have different temperatures.

    Notes
    -----
    Copies the values to CPU memory, in the widest type among the tables.

    Examples
    --------
    >>> import numpy as np
    >>> from mixfast import ExpertTable, mde
    >>> web = ExpertTable.from_loglik(np.log([[0.5, 0.25], [0.1, 0.2]]), domains=["a", "b"])
    >>> mde.stack({"web": web, "code": web}).group_names
    ('web', 'code')
    """
    if not tables:
        raise TableError("stack needs at least one table")
    folders = [name for name, table in tables.items() if isinstance(table, ShardedTable)]
    if folders:
        raise TableError(
            f"stack copies all rows into memory, and these tables are folders of parts, which may not fit: {listing(folders)}; write one "
            "folder in which each table is a group: mixfast table merge --group-by-file NAME=TABLE NAME=TABLE --out FOLDER"
        )
    near = {name: table for name, table in tables.items() if isinstance(table, ExpertTable)}
    kinds = {name: table.kind for name, table in near.items() if table.kind != "ce"}
    if kinds:
        raise TableError(f"stack takes tables of log-likelihoods, but these hold predictions: {listing(kinds)}")
    first_name, first = next(iter(near.items()))
    for name, table in near.items():
        if set(table.domains) != set(first.domains):
            raise AlignmentError.between(
                f"table {shown(name)}", table.domains, f"table {shown(first_name)}", first.domains
            )
    for field in ("length", "sequence"):
        without = [name for name, table in near.items() if getattr(table, field) is None]
        if 0 < len(without) < len(near):
            raise TableError(
                f"stack needs {field} in all tables or in none: missing in {listing(without)}; "
                "rows of tokens have no length, rows of whole sequences have one"
            )
    parts = [table.select(first.domains).to("cpu") for table in near.values()]
    names: list[str] = []
    codes, sequences, n_sequences = [], [], 0
    for name, part in zip(near, parts, strict=True):
        codes.append(np.repeat(np.arange(part.n_groups), np.diff(part.group_offsets)) + len(names))
        names += [name] if part.group is None else [f"{name}/{group}" for group in part.group_names]
        if part.sequence is not None:
            unique, ids = np.unique(part.sequence, return_inverse=True)
            sequences.append(ids.reshape(-1) + n_sequences)
            n_sequences += unique.size
    lengths = None if first.length is None else np.concatenate([np.asarray(part.length) for part in parts])
    sizes = None
    if all(part.bytes is not None for part in parts):
        sizes = np.concatenate([np.asarray(part.bytes) for part in parts])
    weight = None
    if any(part.weight is not None for part in parts):
        weight = np.concatenate([part.row_weight for part in parts]) * (1.0 if lengths is None else lengths)
    stacked = ExpertTable.from_loglik(
        np.concatenate([part.loglik for part in parts]),
        domains=first.domains,
        weight=weight,
        length=lengths,
        group=np.concatenate(codes),
        group_names=dict(enumerate(names)),
        sequence=np.concatenate(sequences) if sequences else None,
        bytes=sizes,
    )
    return remembering(stacked, {f"table {shown(name)}": part for name, part in zip(near, parts, strict=True)})
