"""ExpertTable: the output of every expert on every row, checked once and never changed afterwards.

A table has K columns, one for the expert of each domain, and n rows: sequences, tokens or labelled examples of a validation set. Its values
are log-likelihoods (``from_loglik``, for the cross-entropy of the experts' mixture) or predictions (``from_predictions``, for its squared
error). Rows may have weights, lengths, groups and sequences. `solve` finds the mixture with the least loss on a table.

``load`` and ``save`` read and write files; ``rows``, ``select`` and ``split`` make tables of some of the rows or domains; ``to`` moves a table
to a GPU. For a folder of parts, ``load`` returns a `ShardedTable`: the same rows and weights, read block by block, and shared by processes.

Read `_data` first, the fields of a table; then the classes that build on it, one on the other: `_views` (tables of some rows or domains),
`_from_arrays` (constructors that take arrays) and `_table` (the class itself: fitted models and files). `_made` is what a table remembers of
how its values were made, and `_from_experts` calls the models. `_values` checks the values, `_rows` checks weights, lengths, groups and sequences, and `_selection` finds the rows that
an index or a split asks for. `_files` and `formats` read and write files. `_names` checks names and lists them in messages,
and `_given` says which vectors a table of either kind has.

Of a table of parts, read `_sharded` first, then `_loading` (how it is loaded), `_whole` (the parts of a folder as one table), `_parts` and `_opening`
(one part), `_plan` (its blocks and their ranks), `_blocks` (how a rank reads them), `_tree` (in which order their sums are added), `_sides`,
`_hash` and `_sequences` (splits and sequences over all parts).

`_priority` chooses some of the rows for the explorer's page. Other rooms write folders of parts with `write_part`, `Manifest` and `check_folder_output`. `_convert` writes tables in another form, from `_rows_in`
to `formats/_rows_out`, and `_verify` compares hashes.
"""

from mixfast.tables._blocks import Block
from mixfast.tables._convert import Converted as Converted
from mixfast.tables._convert import convert as convert
from mixfast.tables._convert import read_inputs as read_inputs
from mixfast.tables._data import remembering as remembering
from mixfast.tables._given import given as given
from mixfast.tables._priority import ChosenRows as ChosenRows
from mixfast.tables._priority import choose_rows as choose_rows
from mixfast.tables._sequences import Sequences as Sequences
from mixfast.tables._sequences import number_sequences as number_sequences
from mixfast.tables._sequences import sequence_hash as sequence_hash
from mixfast.tables._sequences import sequence_starts as sequence_starts
from mixfast.tables._sequences import windows as windows
from mixfast.tables._sharded import ShardedTable
from mixfast.tables._table import ExpertTable
from mixfast.tables._verify import verify as verify
from mixfast.tables.formats._folder import check_folder_output as check_folder_output
from mixfast.tables.formats._folder import part_name as part_name
from mixfast.tables.formats._folder import write_part as write_part
from mixfast.tables.formats._manifest import Manifest as Manifest
from mixfast.tables.formats._manifest import PartEntry as PartEntry
from mixfast.tables.formats._manifest import manifest_of as manifest_of

__all__ = ["Block", "ExpertTable", "ShardedTable"]
