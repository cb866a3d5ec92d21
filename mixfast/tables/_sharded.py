"""ShardedTable: a table in many files, whose sums many processes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector
from mixfast._text.names import counted, listing, positions, shown
from mixfast._text.notebook import html_table
from mixfast._text.numbers import LARGEST
from mixfast._text.numbers import size as size_text
from mixfast._text.visible import quote
from mixfast.errors import TableError
from mixfast.ranks import Team, led
from mixfast.tables._blocks import Block, Here, View
from mixfast.tables._made import Made, ordered
from mixfast.tables._names import checked_names, some, unit_of
from mixfast.tables._opening import OpenParts
from mixfast.tables._plan import Plan, planned, sampled_blocks, sampled_rows, shares
from mixfast.tables._sides import LISTED, Side, listed_side, refuse_one_sided
from mixfast.tables._tree import Tree, node_places
from mixfast.tables._values import UNKNOWN, Extremes, check_above_one
from mixfast.tables._whole import Whole

# Numbers that a rank adds to its part of a sum: smallest and largest value, smallest row maximum, and how many blocks it has visited.
_SEEN = 4
# Attributes of an `ExpertTable` whose size is the number of rows, and methods that copy rows.
_IN_MEMORY = frozenset(
    [
        "loglik",
        "values",
        "weight",
        "length",
        "bytes",
        "sequence",
        "group",
        "group_offsets",
        "row_weight",
        "weights_near",
        "rows",
        "to",
        "save",
    ]
)


class ShardedTable:
    """Hold the log-likelihoods of K experts on n rows in a folder of parts, which are read block by block.

    `ExpertTable.load` returns it for a folder. It describes the same objective as an `ExpertTable` of all rows, but its rows are never all
    in memory.

    Attributes
    ----------
    path : Path
        The folder.
    parts : tuple of Path
        Its files, in the order of the rows.
    team : Team
        The processes that share the rows.

    Notes
    -----
    A block is a fixed range of rows of one part, which depends on the table alone: about n K / 256 elements, at least 2^16 and at most
    2^24, or whole row groups of parquet files. A rank reads consecutive blocks. Memory holds one block if its rows must be copied (by
    group, a side of a split, parquet, arrays that are not aligned), and none if they are mapped.

    The values of a block are checked when they are first read. Every sweep compares size, date and inode of each part with those when the
    table was loaded. If the table is larger than half of the memory, every second sweep goes backwards, so that it begins with the rows
    that are still in memory.
    """

    kind = "ce"
    device = "cpu"
    n_outputs = 1

    def __init__(self, whole: Whole, view: View, make: Callable[..., Any], team: Team | None = None) -> None:
        self._whole, self._view, self._make = whole, view, make
        self.team: Team = team if team is not None else Team.of(None)
        self._key: int | None = None
        self._checked: int | None = None
        self._weight_sums: Vector | None = None
        # Rows of a sample, which are fewer than those that it reads if it is one side of a split.
        self._sample_rows: int | None = None
        self._extremes: Extremes = UNKNOWN
        self._plan: Plan | None = None

    @property
    def path(self) -> Path:
        """The folder."""
        return self._whole.path

    @property
    def parts(self) -> tuple[Path, ...]:
        """The files, in the order of the rows."""
        return tuple(part.path for part in self._whole.parts)

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the columns."""
        names, chosen = self._whole.domains, self._view.chosen
        return names if chosen is None else tuple(names[k] for k in chosen)

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the groups; ``("all",)`` if none were given."""
        return self._whole.group_names

    @property
    def group_rows(self) -> NDArray[np.int64]:
        """Rows of each group, (G,) int64."""
        return np.array(self._view.group_rows, dtype=np.int64)

    @property
    def n_rows(self) -> int:
        """Number of rows n."""
        return sum(self._view.group_rows) if self._sample_rows is None else self._sample_rows

    @property
    def n_domains(self) -> int:
        """Number of domains K."""
        return len(self.domains)

    @property
    def n_groups(self) -> int:
        """Number of groups G, at least 1."""
        return len(self.group_names)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, K)."""
        return self.n_rows, self.n_domains

    @property
    def dtype(self) -> np.dtype[Any]:
        """Storage type of the values."""
        return self._whole.parts[0].dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the log-likelihoods of all rows."""
        return self.n_rows * self.n_domains * self.dtype.itemsize

    @property
    def unit(self) -> str:
        """The unit of the table's loss, in words."""
        return unit_of(has_weight=self.has_weight, has_length=self.has_length)

    @property
    def uniform_weight(self) -> float | None:
        """The weight c of every row if all are equal, else None."""
        given = self._view.uniform_weight
        return None if given is None else given * self._view.stretch

    @property
    def weight_sums(self) -> Vector:
        """Sum of the weights c of each group, (G,) float64; weights and lengths are read once for it.

        Raises
        ------
        TableError
            If all rows of a group have weight 0, or the sum is too large.
        """
        if self._weight_sums is None:
            if self.has_weight or self.has_length or self.sampled:
                self._weight_sums = self._summed_weights()
            else:
                self._weight_sums = np.ones(self.n_groups)
        return self._weight_sums

    def _summed_weights(self) -> Vector:
        sums = self.reduce(_sum_weights, size=self.n_groups)
        if not np.all((sums > 0.0) & (sums <= LARGEST)) and not self.sampled:
            wrong = [
                f"{name} ({total:g})"
                for name, total in zip(self.group_names, sums.tolist(), strict=True)
                if not 0.0 < total <= LARGEST
            ]
            raise TableError(
                f"{self.path}: the row weights (weight over length) of these groups sum to 0 or to more than {LARGEST:g}: {listing(wrong)}; "
                "give some of their rows a weight above 0, divide the weights by one number, or leave the groups out"
            )
        return sums

    @property
    def extremes(self) -> Extremes:
        """Three bounds in nats, as of `ExpertTable.extremes`; those of the rows seen so far until a sweep has seen all rows."""
        return self._extremes

    @property
    def sampled(self) -> int:
        """Number of rows of a sample; 0 for a table of all rows."""
        return self._view.sampled

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return sampled_blocks(self.sampled) if self.sampled else len(self._blocks)

    @property
    def temperature(self) -> dict[str, float] | None:
        """Temperature that was fitted for each expert, as of `ExpertTable.temperature`."""
        made = self._made
        if made is None or made.temperature is None:
            return None
        return dict(zip(self.domains, made.temperature, strict=True))

    @property
    def clipped(self) -> int:
        """Number of probabilities that were raised when the table was built, as of `ExpertTable.clipped`."""
        return 0 if self._whole.made is None else self._whole.made.clipped

    @property
    def _made(self) -> Made | None:
        return ordered(self._whole.made, self._view.chosen)

    @property
    def has_weight(self) -> bool:
        """Whether rows have their own weights."""
        return self._whole.has("weight")

    @property
    def has_length(self) -> bool:
        """Whether rows have lengths."""
        return self._whole.has("length")

    @property
    def has_sequence(self) -> bool:
        """Whether rows belong to sequences."""
        return self._whole.has("sequence")

    @property
    def has_bytes(self) -> bool:
        """Whether the bytes of the text of each row are known."""
        return self._whole.has("bytes")

    @property
    def has_groups(self) -> bool:
        """Whether groups were given."""
        return self._whole.has("group")

    def reduce(self, function: Callable[..., Vector], *args: Any, size: int) -> Vector:
        """Return the sum over all blocks of ``function(block, *args)``, (size,) float64.

        Parameters
        ----------
        function : callable
            A function of a module that takes a `Block` and `args` and returns (size,) float64.
        *args
            Arguments that can be pickled.
        size : int
            Length of the sum.

        Notes
        -----
        The answers of the blocks are added in one fixed tree, so the result has the same bits for every number of ranks.
        """
        ranges = self._ranges()
        places = [node_places(first, last, self.n_blocks) for first, last in ranges]
        expect = 8 * (max(map(len, places)) * size + _SEEN)
        answers = self._each(_reduced, function, args, size, expect=expect)
        tree = Tree(self.n_blocks)
        for answer, nodes in zip(answers, places, strict=True):
            totals = answer[_SEEN:].reshape(len(nodes), size)
            for (level, place), total in zip(nodes, totals, strict=True):
                tree.add(level, place, total.copy())
        self._note([answer[:_SEEN] for answer in answers])
        return tree.nodes[0].total

    def collect(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Return ``function(block, *args)`` of every block, in the order of the blocks.

        The ``table`` of a block may have no rows if this is one side of a split.
        """
        return [answer for answers in self._each(_collected, function, args) for answer in answers]

    def sample(self, count: int, *, kept: bool = True) -> ShardedTable:
        """Return a table of about `count` rows, spread over all parts, which the ranks read once and keep in memory.

        Its weights are larger by n / count, so that its sums estimate those of all rows. Without `kept`, each sum reads the rows again.
        """
        if 2 * count > self.n_rows or self.sampled:
            return self
        total = int(self._whole.rows.sum())
        # A side of a split keeps some of the rows that are read.
        count = min(round(count * total / self.n_rows), total // 2)
        found = sampled_rows(self._whole, count)
        sample = self._with(sampled=count, stretch=total / found, kept=kept)
        sample._sample_rows = sum(sample.collect(_count)) if self._view.sides else found
        return sample if sample._sample_rows else self

    @led
    def split(self, share: float, *, seed: int | np.random.Generator) -> tuple[ShardedTable, ShardedTable]:
        """Split the rows in two at random, by whole sequences and by the same share in each group.

        Parameters
        ----------
        share : float
            Share of the sequences of each group that goes to the first table, in (0, 1).
        seed : int or numpy Generator
            The same seed gives the same split, for every number of ranks.

        Returns
        -------
        fit, held_out : ShardedTable
            Nothing is copied: both read the same files.

        Raises
        ------
        TableError
            If the share is outside (0, 1), or all rows of a group with a weight above 0 would be in one of the tables.

        Notes
        -----
        A table with at most 2^20 rows is split as `ExpertTable.split` splits the same rows. In a larger table, a hash of the seed, the
        part and the sequence id decides, so that no list of rows is needed; the share is then met on average. Without sequence ids,
        64 neighbouring rows stay together there.
        """
        if not 0.0 < share < 1.0:
            raise TableError(f"share must lie between 0 and 1 (exclusive), got {shown(share)}")
        if int(self._whole.rows.sum()) <= LISTED:
            side = listed_side(self.collect(Block.facts), self.n_groups, share, seed)
        else:
            side = Side(share, int(np.random.default_rng(seed).integers(2**63)))
        counts = np.sum(self.collect(_side_counts, side, self.n_groups), axis=0)
        refuse_one_sided(counts[2:], self.group_names)
        return self._side(side, counts[0]), self._side(side.other, counts[1])

    def _side(self, side: Side, rows: NDArray[np.int64]) -> ShardedTable:
        """Return the table of the rows of a side, of which there are (G,) in each group."""
        uniform = None
        if not self.has_weight and not self.has_length and (rows == rows[0]).all():
            uniform = 1.0 / int(rows[0])
        sides = (*self._view.sides, side)
        table = self._with(group_rows=tuple(rows.tolist()), uniform_weight=uniform, sides=sides)
        # Blocks that this table has checked are not checked again.
        table._checked = self._key
        return table

    def select(self, domains: Sequence[str]) -> ShardedTable:
        """Return the table of some domains, in the order given; nothing is copied."""
        names = checked_names(domains, "domains")
        if names == self.domains:
            return self
        ours = set(self.domains)
        unknown = [name for name in names if name not in ours]
        if unknown or not names:
            raise TableError(f"the table has no domain {some(unknown)}; its domains are {list(self.domains)}")
        return ShardedTable(
            self._whole, self._view._replace(chosen=tuple(positions(names, self._whole.domains))), self._make, self.team
        )

    def _with(self, **changes: Any) -> ShardedTable:
        return ShardedTable(self._whole, self._view._replace(**changes), self._make, self.team)

    @property
    def _blocks(self) -> Plan:
        if self._plan is None:
            self._plan = planned(self._whole)
        return self._plan

    def _ranges(self) -> list[tuple[int, int]]:
        if self.sampled:
            blocks, size = self.n_blocks, self.team.size
            return [(blocks * rank // size, blocks * (rank + 1) // size) for rank in range(size)]
        return shares(self._blocks, self.team.size)

    def _each(self, function: Callable[..., Any], *args: Any, expect: int = 0) -> list[Any]:
        if self._key is None:
            key = self.team.key(self)
            self.team.each(_opened, key, self._whole, self._view, self._make, self._ranges(), self._checked)
            self._key = key
        return self.team.each(function, self._key, *args, expect=expect)

    def _note(self, seen: list[Vector]) -> None:
        """Remember the extremes that the ranks have seen; refuse probabilities, and warn once if values are too high."""
        low, high, lowest_top, visited = np.array(seen).T
        if int(visited.sum()) == self.n_blocks:
            found = (float(low.min()), float(high.max()), float(lowest_top.min()))
            if self._extremes == UNKNOWN and not self.sampled:
                check_above_one(found, f"loglik of {self.path}", stacklevel=4)
            self._extremes = found

    def __getattr__(self, name: str) -> NoReturn:
        advice = ""
        if name in _IN_MEMORY:
            advice = f"; its rows are not in memory: use reduce or collect, or write one file with mixfast table merge {quote(str(self.path))}"
        raise AttributeError(f"a ShardedTable has no {shown(name)}{advice}")

    def __len__(self) -> int:
        return self.n_rows

    def __repr__(self) -> str:
        made = [] if self._made is None else self._made.words()
        return (
            f"ShardedTable(ce, {self.n_rows} rows x {self.n_domains} domains, {self.dtype.name}, {size_text(self.nbytes)} in "
            f"{'; '.join([counted(len(self.parts), 'part'), f'domains: {some(self.domains, quote=False)}', *made])})"
        )

    def _repr_html_(self) -> str:
        """Show the groups of rows and the domains in a notebook."""
        rows = [(name, f"{count:,}") for name, count in zip(self.group_names, self.group_rows.tolist(), strict=True)]
        lines = [f"{counted(self.n_domains, 'domain')}: {listing(self.domains, limit=20)}"]
        title = (
            f"ShardedTable: {self.n_rows:,} rows x {self.n_domains:,} domains, {self.dtype.name}, {size_text(self.nbytes)} in "
            f"{counted(len(self.parts), 'part')}"
        )
        return html_table(title, ["group", "rows"], rows, lines=lines, what="groups")

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy on another rank belongs to the team of that rank; elsewhere it is alone and opens the parts itself.
        known = {name: getattr(self, name) for name in ("_extremes", "_sample_rows", "_weight_sums")}
        return ShardedTable, (self._whole, self._view, self._make, self.team), known


def _opened(
    state: dict[Any, Any],
    key: int,
    whole: Whole,
    view: View,
    make: Callable[..., Any],
    ranges: list[tuple[int, int]],
    checked: int | None,
) -> None:
    parts = state.setdefault("open parts", OpenParts())
    here = state[key] = Here(whole, view, make, parts, state.get(("stamps", whole.token), {}), *ranges[state["rank"]])
    if checked in state and not view.sampled:
        for memory, known in zip(here.memories, state[checked].memories, strict=True):
            memory.update((name, found) for name, found in known.items() if name == "extremes")


def _reduced(
    state: dict[Any, Any], key: int, function: Callable[..., Vector], args: tuple[Any, ...], size: int
) -> Vector:
    here: Here = state[key]
    tree = Tree(here.n_blocks)
    for block in here.visit(here.turn()):
        answer = np.array(function(block, *args), dtype=np.float64) if block.filled else np.zeros(size)
        if answer.shape != (size,):
            raise ValueError(f"{function.__name__} returned {answer.shape}, expected ({size},)")
        tree.add(0, block.index, answer)
    return np.concatenate([here.seen(), *(node.total for node in tree.nodes)])


def _collected(state: dict[Any, Any], key: int, function: Callable[..., Any], args: tuple[Any, ...]) -> list[Any]:
    here: Here = state[key]
    return [function(block, *args) for block in here.visit()]


def _side_counts(block: Block, side: Side, n_groups: int) -> NDArray[np.int64]:
    return block.facts().counts(side, n_groups)


def _count(block: Block) -> int:
    return len(block.rows)


def _sum_weights(block: Block) -> Vector:
    """Return the sum of the weights of each group, (G,)."""
    rows, groups = block.rows, len(block.view.group_rows)
    weight = np.full(len(rows), rows.uniform) if rows.weight is None else rows.weight
    codes = np.zeros(len(rows), dtype=np.int32) if rows.codes is None else rows.codes
    return np.bincount(codes, weights=weight, minlength=groups).astype(np.float64, copy=False)
