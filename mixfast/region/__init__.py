"""Regions: which mixtures are allowed, which one is the prior, and what the limits cost.

A region is the set ``{w : sum w = 1, floor <= w <= cap, bound_lower <= bound_rows @ w <= bound_upper}``. It is checked once, when it
is built: names, shapes and numbers, and that at least one mixture meets all limits. A region that exists can be solved over.

Classes
    `Region`: the set, with its prior and, if it was built by `Region.from_tokens`, the token counts behind its caps.
    `Bound`: one limit on the summed share of a group of domains.
    `ShadowPrice`: what one binding limit costs at an optimum.

Methods of a region
    `project` (nearest mixture of the region), `linear_min` and `lower_bound` (the linear program over it), `contains` and `violation`,
    `align` (another order of domains), `replace` (other limits), `epochs` (passes over the tokens that a mixture implies).

Files, in reading order
    `_bounds.py`: turns the forms in which users may write limits into arrays.
    `_region.py`: the class `Region`.
    `_reach.py`: the part of a region that a solver works on: the domains that may have a share, and their limits.
    `_shadow_prices.py`: multipliers of the limits as numbers and sentences. `_words.py`: limits in words.

The geometry itself (projection, linear programs, prices) is in `mixfast._engine.geometry`, which knows arrays only.
"""

from mixfast.region._bounds import Bound
from mixfast.region._columns import domain_columns as domain_columns
from mixfast.region._reach import Reach as Reach
from mixfast.region._reach import limits_over as limits_over
from mixfast.region._reach import reach as reach
from mixfast.region._region import DEFAULT_MAX_EPOCHS as DEFAULT_MAX_EPOCHS
from mixfast.region._region import MOST_EPOCHS as MOST_EPOCHS
from mixfast.region._region import Region
from mixfast.region._shadow_prices import ShadowPrice
from mixfast.region._shadow_prices import limit_prices as limit_prices
from mixfast.region._shadow_prices import shadow_prices as shadow_prices
from mixfast.region._words import cap_in_words as cap_in_words

__all__ = ["Bound", "Region", "ShadowPrice"]
