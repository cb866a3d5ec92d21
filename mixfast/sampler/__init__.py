"""MixtureSampler: map the number of a sample to its domain, its index in the domain and its epoch, for any mixture and schedule.

A mixture gives the share of each domain in a training run. This room decides, sample by sample, what is read next. The result is a
stream of samples that keeps the shares at every point, repeats each domain at most as often as allowed, and can be stopped and
resumed anywhere. The stream is a pure function of the sample's number: nothing is stored for each sample, sample 10^15 is found
as fast as the first, and ranks and workers need not communicate.

Classes:

- `MixtureSampler`: the stream. It is made from a `mixfast.Mixture` or a `MixtureSchedule` and the sizes of the domains.
- `MixtureSchedule`: a mixture that changes during the run, at once (`then`) or along a straight line (`ramp`).
- `MixtureCursor`: a position in the stream that advances as samples are taken.
- `Positions`: samples of the stream: number of the domain, index within the domain, and epoch.

Methods: ``sampler[i]`` and ``sampler.positions(start, stop, step)`` find samples; ``sampler.cursor()`` reads in order;
``state`` and ``check_state`` save and resume; ``counts`` and ``first_samples`` report how many samples of each domain come.

How sample i is found:

1. When the sampler is made, the schedule is cut into stages. A stage has constant shares, or shares that change linearly.
   Sample i belongs to the last stage that starts at or before it.
2. At the start of a stage, a few samples ("events") correct the imbalance that the previous stage left. An event either
   is sample i, and names its domain, or shifts the samples after it by one.
3. All other samples descend a binary tree whose leaves are the domains of the stage. A node that has received n samples
   has passed the rounded exact share of n to its left child and the rest to the right one. So the number of the sample at
   the root decides the child, the number there decides the next child, and so on to a leaf.
4. The number at the leaf plus the samples that the domain had before the stage is the count of the domain. Divided by the
   size of the domain, it gives the epoch and a place within the epoch.
5. A pseudo-random permutation, chosen by the seed, the domain and the epoch, maps the place to the index.

Steps 2 to 5 are compiled (`csrc`); a block of consecutive samples visits all nodes of the tree at once.

Read the files in this order: `_numbers` (how samples and shares are counted), `_state` (fields of a saved state, and how they are
checked), `_positions` (what a stream returns), `_renumbered` (states in another order of domains), `_cursor`, `_schedule`, `_checks` (sizes and limits), `_line` (shares of a part of the stream), `_stage` (trees and events), `_plan` (step 1),
`_history` (digests that identify a saved state), `_sampler`.
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
