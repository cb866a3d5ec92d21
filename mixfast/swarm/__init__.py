"""Swarms: proxy runs, the mixture each was trained on and the metrics it reached, joined on the run.

A `Swarm` holds R small training runs: their mixtures (R, K), whose rows sum to 1, and what they
reached (R, J), with names for runs, domains and metrics. It is checked once, when it is built, and immutable from then on.
Malformed input raises `SwarmError`, which names the file, the runs and the columns. Laws (`mixfast.fit`) are fitted to it and
designs (`mixfast.design`) are extended from it.

- Make one from arrays (`Swarm`), two comma-separated files (`Swarm.from_csv`) or two data frames (`Swarm.from_frames`). Tables
  are joined on the id of the run, never by position.
- Take parts: `subset` of the runs, `select` metrics, `combine` metrics into sums, `align` domains by name, `append` another swarm.
- Say which way is better: `better`.
- Split for scoring: `folds` and `holdout` never test runs that were chosen after looking at data, and keep runs of one mixture
  together.
- Ask how much metrics differ between seeds, and which cannot rank the runs: `noise`.
- Ask what can be learnt: `report` says what was left out or changed and what can be fitted; `identifiable` holds the rank of the
  mixtures and the domains whose effects the runs cannot tell apart.

Read the files in this order: `_swarm.py` (the class), `_checks.py` (what is accepted), `_measured.py` (what its methods on metrics do); then the files that turn tables into arrays:
`_files.py`, `_join.py`, `_long.py` (a row for each run and metric), `_ids.py` (which column names the runs), `_columns.py` and `_which_columns.py` (which columns count), `_table.py` and `_cells.py` (numbers),
`_amounts.py` and `_units.py` (token counts and percentages), `_pools.py` (tokens and epochs), `_within.py` (mixtures in one table), `_misplaced.py` (tables in the wrong place); then
`_names.py` (matching of names),
`_metric_names.py` (which way is better), `_folds.py` (splits), `_rank.py` (what mixtures tell apart), `_noise.py` (what repeated mixtures tell), `_history.py` and `_report.py` (what was left out or changed), `_write.py`
(the csv files).

Other rooms also use the matching of names (`find_name`, `find_names`, `align_names`), the files of mixtures alone
(`read_mixtures`, `write_csv`), the runs of one mixture (`mixture_of`), the wording of doubts (`doubts_of_directions`), and what names of columns and metrics tell (`told_direction`,
`told_unit`, `in_doubt`, `is_bookkeeping`, `is_by_product`, `spelled`), and cells and columns of tables (`numbers_of`, `run_id`, `mixtures_within`,
`block_within`, `in_shares`).
"""

from mixfast.swarm._amounts import in_shares as in_shares
from mixfast.swarm._cells import numbers_of as numbers_of
from mixfast.swarm._checks import SwarmError
from mixfast.swarm._checks import run_id as run_id
from mixfast.swarm._columns import ID_NAMES as ID_NAMES
from mixfast.swarm._columns import is_bookkeeping as is_bookkeeping
from mixfast.swarm._columns import is_by_product as is_by_product
from mixfast.swarm._columns import spelled as spelled
from mixfast.swarm._far import FEWEST as FEWEST
from mixfast.swarm._far import NORMAL as NORMAL
from mixfast.swarm._far import far_from_others as far_from_others
from mixfast.swarm._files import Source as Source
from mixfast.swarm._files import column_names as column_names
from mixfast.swarm._files import read_columns as read_columns
from mixfast.swarm._folds import mixture_of as mixture_of
from mixfast.swarm._join import read_mixtures as read_mixtures
from mixfast.swarm._metric_names import doubts_of_directions as doubts_of_directions
from mixfast.swarm._metric_names import in_doubt as in_doubt
from mixfast.swarm._metric_names import told_direction as told_direction
from mixfast.swarm._metric_names import told_unit as told_unit
from mixfast.swarm._names import align_names as align_names
from mixfast.swarm._names import find_name as find_name
from mixfast.swarm._names import find_names as find_names
from mixfast.swarm._noise import LEAST_RATIO as LEAST_RATIO
from mixfast.swarm._noise import Noise
from mixfast.swarm._pools_in import BudgetColumn as BudgetColumn
from mixfast.swarm._pools_in import TokensTable as TokensTable
from mixfast.swarm._pools_in import epochs_of_runs as epochs_of_runs
from mixfast.swarm._rank import Identifiable as Identifiable
from mixfast.swarm._report import SwarmReport
from mixfast.swarm._swarm import Swarm
from mixfast.swarm._within import block_within as block_within
from mixfast.swarm._within import mixtures_within as mixtures_within
from mixfast.swarm._write import write_csv as write_csv

__all__ = ["Noise", "Swarm", "SwarmError", "SwarmReport"]
