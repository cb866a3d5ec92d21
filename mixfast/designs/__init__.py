"""Designs: which mixtures to train next.

The verbs of this room choose proxy runs before they are trained:

- `design` chooses the mixtures of a new swarm within a `Region`. "cover" spreads them over the region and rejects nothing;
  "regmix" and "olmix" draw as those papers do, with the settings `RegMix` and `Olmix`.
- `extend` adds runs to those of a swarm, where it has none yet.
- `next_runs` adds the runs that are expected to buy most, given the laws fitted to the runs there are: information on the
  coefficients of log-linear laws, or improvement of an objective.
- `advised_runs` says how many runs a number of domains calls for.

The first two return a `Design`: mixtures with ids, whose metrics are not known yet; `with_metrics` makes it a `Swarm` once they
are, and `to_csv` and `from_csv` keep it. `next_runs` returns `NextRuns`, a design with the gain of each run. Groups of domains whose
ratios to each other are fixed (`frozen=`) count as one domain.

Read the files in this order: `_results.py` (the nouns), `_design.py` (the verbs `design` and `extend`), `_cover.py` with
`_candidates.py` (mixtures within limits), `_regmix.py` and `_olmix.py` with `_olmix_tree.py` and `_olmix_sampler.py` (the samplers of the
papers; `docs/explanation/samplers.md` compares them with the original code), `_frozen.py` (fixed ratios),
`_next_runs.py` with `_acquisition.py` (what runs are expected to buy). `_candidate_loops.py` is compiled by Numba, and imported
by functions only.
"""

from mixfast.designs._design import advised_runs, design, extend
from mixfast.designs._next_runs import next_runs
from mixfast.designs._olmix import Olmix
from mixfast.designs._regmix import RegMix
from mixfast.designs._results import Design, NextRuns
from mixfast.designs._results import rarely_sampled as rarely_sampled

__all__ = ["Design", "NextRuns", "Olmix", "RegMix", "advised_runs", "design", "extend", "next_runs"]
