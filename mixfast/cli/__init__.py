"""The command `mixfast`: every step from a table or proxy runs to a mixture file, without writing Python.

`main` runs a command line and returns its exit status: 0 on success, 1 if a solve or a proposal ended above its tolerance, 2
for refused input (one line on stderr), 74 if output was lost, 130 after Ctrl-C. The shell runs `mixfast.__main__`, which calls
it; docs/reference/exit-statuses.md lists all statuses. Only this room and `mixfast.report` print or write reports; all numbers
in them come from the library. `show_versions` prints versions and facts for issue reports.

| command                    | takes                              | prints or writes                        | file                       |
|----------------------------|------------------------------------|-----------------------------------------|----------------------------|
| solve                      | a table of experts                 | certified mixture, intervals, advice    | `_solve`                   |
| info                       | a table, another file, or nothing  | facts on the file, or versions          | `_info`, `_versions`       |
| table pack, split, ...     | tables of experts                  | one file, or a folder of parts          | `_table`                   |
| score                      | texts and one model for a domain   | a table of experts                      | `_score`                   |
| baselines                  | token counts and a budget          | mixtures that follow from these alone   | `_baselines`               |
| design, next               | limits, or existing runs           | mixtures to train next                  | `_design`, `_next`         |
| collect                    | files of evaluations and trackers  | the two csv files of fit, a report      | `_collect`                 |
| fit, compare, propose      | proxy runs, laws                   | laws, their errors, a proposed mixture  | `_swarm`                   |
| wear                       | proxy runs that repeat tokens      | a file of numbers for solve --wear      | `_wear`                    |
| reuse start, add, ...      | a ledger and a change of domains   | plans, runs to train, the next mixture  | `_reuse`, `_reuse_plan`    |
| report                     | any of these                       | one page of HTML                        | `_report`                  |
| explore                    | laws, or a table of experts        | a page on which mixtures are tried      | `_explore`                 |
| export                     | a mixture or a schedule            | the file for a data loader              | `_export`                  |
| demo                       | nothing                            | the full workflow on a small real table | `_demo`                    |

Order to read the files in: `_commands` names the commands and loads the file of the one that is used, `_main` builds the parser and turns errors into one line and a status; `_streams` replaces the
streams during a command, and `_console` prints on them. `_progress` shows progress on stderr. `_options` holds options that
several commands share, `_types` the types of their values, and `_refusals` the error for refused input. `_inputs` turns values
into the region and the objective, `_reading` reads the files that options name. `_runs` (proxy runs), `_experts` (tables),
`_trials` (mixtures to train) and `_goals` (targets and guards) each hold the options of one kind of input and what they give.
`_outputs` checks the files to write, `_documents` prints JSON. `_exact` makes the command that the pages of `explore` and `report` show below a goal. `_solve` is the model of a command: options first, then the steps. `_answer` is its result; `_solve_report` and `_advice` describe it. `_completion` writes the
scripts that complete command lines in a shell. The other commands are independent of each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixfast.cli._main import main

if TYPE_CHECKING:
    from mixfast.cli._versions import show_versions

__all__ = ["main", "show_versions"]


def __getattr__(name: str) -> object:
    # Loads numpy, which the texts of --help and --version do without.
    if name == "show_versions":
        from mixfast.cli._versions import show_versions

        return show_versions
    raise AttributeError(f"module 'mixfast.cli' has no attribute {name!r}")
