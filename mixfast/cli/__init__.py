"""The command `mixfast`: every step from a table or proxy runs to a mixture file, without writing Python.

`main` runs a command line and returns its exit status: 0 when all is well, 1 when a solve or a proposal ended above its
tolerance, 2 for input that is refused (one line on stderr), 74 when output was lost, 130 after Ctrl-C. The program of
the shell is `mixfast.__main__`, which calls it; docs/reference/exit-statuses.md has all statuses. This room and the pages of `mixfast.report`
are the only parts of mixfast that print or write reports; every number they show comes from the library.

| command                    | takes                              | prints or writes                        | file                       |
|----------------------------|------------------------------------|-----------------------------------------|----------------------------|
| solve                      | a table of experts                 | certified mixture, intervals, advice    | `_solve`                   |
| info                       | a table of experts, or another file| its facts and the loss of each expert   | `_info`                    |
| score                      | texts and one model for a domain   | a table of experts                      | `_score`                   |
| design, next               | limits, or runs that exist         | mixtures to train next                  | `_design`, `_next`         |
| fit, compare, propose      | proxy runs, laws                   | laws, their errors, a proposed mixture  | `_swarm`                   |
| reuse start, add, ...      | a ledger and a change of domains   | plans, runs to train, the next mixture  | `_reuse`, `_reuse_plan`    |
| report                     | any of these                       | one page of HTML                        | `_report`                  |
| export                     | a mixture or a schedule            | the file that a data loader takes       | `_export`                  |
| demo                       | nothing                            | the full workflow on a small real table | `_demo`                    |

Order to read the files in: `_main` puts the parser together and turns errors into one line and a status; `_streams` has
the streams meanwhile, `_console` what is printed on them. `_options`
holds groups of options that commands share, `_inputs` what their values mean: numbers with suffixes, NAME=NUMBER, group
limits, files of counts, and the region that they make together. `_solve` is the model of a command: options first, then
the steps. `_answer` is what it found; `_solve_report` and `_advice` are its words. The other commands stand for
themselves.
"""

from mixfast.cli._main import main
from mixfast.cli._versions import show_versions

__all__ = ["main", "show_versions"]
