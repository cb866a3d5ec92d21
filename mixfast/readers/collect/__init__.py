"""From the files of results to the tables of a swarm: `metrics` calls these steps, one file each.

Read `_metrics` (the function), then the steps in their order: `_found` (the files below the given paths), `_read` (one file: the last value of each
metric), `_runs` (which files are of one run, and its name), `_merged` (one value for each metric), `_judged` (which way is better, diverged
runs), `_checks` (values that may not be comparable). `_collected` and `_report` hold the answer. `_mixture_files` and `_domain_columns` find the
mixtures of runs, and `_patterns` shortens lists of names to patterns. The formats themselves are in `mixfast.readers.results`.
"""
