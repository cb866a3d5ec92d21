"""Region: the set of mixtures that are allowed, with its prior; the geometry every solver needs of it."""

from mixfast.region._reach import Reach as Reach
from mixfast.region._reach import limits_over as limits_over
from mixfast.region._reach import reach as reach
from mixfast.region._region import DEFAULT_MAX_EPOCHS as DEFAULT_MAX_EPOCHS
from mixfast.region._region import Bound, Region

__all__ = ["Bound", "Region"]
