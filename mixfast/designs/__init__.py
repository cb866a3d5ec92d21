"""Designs: choose the mixtures of proxy runs before they are trained.

Functions:

- `design` chooses the mixtures of a new swarm within a `Region`. "cover" spreads them over the region and rejects nothing;
  "regmix" and "olmix" sample as those papers do, with the settings `RegMix` and `Olmix`.
- `extend` adds runs to a swarm, far from those it has.
- `next_runs` adds the runs with the largest expected gain under the laws fitted to the existing runs: information about the
  coefficients of log-linear laws, or improvement of an objective.
- `advised_runs` returns how many runs a number of domains needs.

With `proxy_budget` these also say how large each domain's pool must be so that a proxy run repeats it as often as the target run (`Design.pools`).
The first two return a `Design`: mixtures with ids, but without metrics. `with_metrics` makes it a `Swarm` when the runs are
trained; `to_csv` and `from_csv` write and read it. `next_runs` returns `NextRuns`, a design with the expected gain of each run. Groups of domains
with fixed ratios (`frozen=`) count as one domain.

Read the files in this order: `_results.py` (the classes), `_design.py` (the functions `design` and `extend`), `_cover.py` with
`_candidates.py` (mixtures within limits), `_regmix.py` and `_olmix.py` with `_olmix_tree.py` and `_olmix_sampler.py` (the samplers of the
papers; `docs/explanation/samplers.md` compares them with the original code), `_frozen.py` (fixed ratios), `_repetition.py` (pools and epochs),
`_next_runs.py` with `_acquisition.py` (the expected gain of runs). `_candidate_loops.py` is compiled by Numba, and only functions
import it.
"""

from mixfast.designs._design import advised_runs, design, extend
from mixfast.designs._next_runs import next_runs
from mixfast.designs._olmix import Olmix
from mixfast.designs._regmix import RegMix
from mixfast.designs._results import Design, NextRuns
from mixfast.designs._results import rarely_sampled as rarely_sampled

__all__ = ["Design", "NextRuns", "Olmix", "RegMix", "advised_runs", "design", "extend", "next_runs"]
