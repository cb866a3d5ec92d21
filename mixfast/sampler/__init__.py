"""MixtureSampler: from the number of a sample to its domain, its place there and its epoch, for any mixture and schedule.

A mixture says how much of each domain a run shall read. This room decides, sample by sample, what is read next: a stream
of samples that holds the shares at every point, reads each domain as often as is allowed, and can be stopped and resumed
anywhere. The stream is a pure function of the sample's number: nothing is stored for each sample, sample 10^15 is found
as fast as the first, and ranks and workers need not talk to one another.

Nouns:

- `MixtureSampler`: the stream. It is made from a `mixfast.Mixture` or a `MixtureSchedule` and the sizes of the domains.
- `MixtureSchedule`: a mixture that changes during the run, at once (`then`) or along a straight line (`ramp`).
- `MixtureCursor`: a place in the stream that moves on.
- `Positions`: samples found: number of the domain, index within the domain, and epoch.

Verbs: ``sampler[i]`` and ``sampler.positions(start, stop, step)`` find samples; ``sampler.cursor()`` reads in order;
``state`` and ``check_state`` save and resume; ``counts`` and ``first_samples`` say how much of each domain comes.

How sample i is found:

1. The schedule has been cut into stages when the sampler was made. A stage has one set of shares, or shares on a straight
   line. Sample i belongs to the last stage that starts at or before it.
2. Where a stage follows another, a few samples ("events") work off what the one before it left unbalanced. An event
   either is sample i, and names its domain, or shifts the samples behind it by one.
3. All other samples go down a binary tree whose leaves are the domains of the stage. A node that has handed out n samples
   has given the rounded exact share of n to its left child and the rest to the right one, so the number of the sample at
   the root decides the child, the number there the next child, and so on to a leaf.
4. The number at the leaf, with what the domain had before the stage, is the count of the domain. Divided by the size of
   the domain it gives the epoch and a place within the epoch.
5. The place goes through a pseudo-random permutation that the seed, the domain and the epoch pick: this is the index.

Steps 2 to 5 are compiled (`csrc`); a block of samples in a row walks all nodes of the tree at once.

Read the files in this order: `_numbers` (how samples and shares are counted), `_state` (what a saved state holds, and how it is
checked), `_positions` (what a stream gives), `_renumbered` (states in another order of domains), `_cursor`, `_schedule`, `_checks` (sizes and limits), `_line` (shares of a stretch), `_stage` (trees and events), `_plan` (step 1),
`_history` (what a saved state is recognised by), `_sampler`.
"""

from mixfast.sampler._cursor import MixtureCursor
from mixfast.sampler._numbers import LONGEST as LONGEST
from mixfast.sampler._numbers import NEVER as NEVER
from mixfast.sampler._numbers import Integers as Integers
from mixfast.sampler._numbers import positive_numbers as positive_numbers
from mixfast.sampler._numbers import rank_and_world_size as rank_and_world_size
from mixfast.sampler._numbers import whole_number as whole_number
from mixfast.sampler._positions import Positions
from mixfast.sampler._positions import Stream as Stream
from mixfast.sampler._positions import end_of as end_of
from mixfast.sampler._renumbered import resumed as resumed
from mixfast.sampler._sampler import MixtureSampler
from mixfast.sampler._schedule import SCHEDULE_FORMAT as SCHEDULE_FORMAT
from mixfast.sampler._schedule import MixtureSchedule
from mixfast.sampler._state import Format as Format
from mixfast.sampler._state import State as State
from mixfast.sampler._state import format_of as format_of
from mixfast.sampler._state import refuse_other_domains as refuse_other_domains
from mixfast.sampler._state import saved_count as saved_count
from mixfast.sampler._state import within as within

__all__ = ["MixtureCursor", "MixtureSampler", "MixtureSchedule", "Positions"]
