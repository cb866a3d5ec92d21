"""Baselines: mixtures from token counts alone, as cheap controls of a solved or proposed mixture.

A mixture that was optimised should beat these. Held et al. (arXiv:2501.11747) found that token-count heuristics, UniMax first, were better than
manual and learned mixtures in their comparison of nine methods.

Functions, each returns a `Mixture`:

- `natural`: shares in proportion to the tokens.
- `uniform`: equal shares.
- `temperature`: shares in proportion to tokens^(1/T), between natural and uniform.
- `unimax`: as equal as a limit on epochs allows.
- `utilimax`: UniMax with utilities: a compromise of utility and diversity.

All take token counts by domain, or a `Region` that knows them (`Region.from_tokens`). Only `unimax` and `utilimax` respect limits.

Files, in reading order
    `_heuristics.py`: natural, uniform, temperature and UniMax.
    `_utilimax.py`: UtiliMax, a small convex problem solved with a certificate.
    `_controls.py`: the baselines that a report shows beside a proposal.
"""

from mixfast.baselines._controls import controls as controls
from mixfast.baselines._controls import different as different
from mixfast.baselines._heuristics import MULTILINGUAL as MULTILINGUAL
from mixfast.baselines._heuristics import natural, temperature, uniform, unimax
from mixfast.baselines._utilimax import utilimax

__all__ = ["natural", "temperature", "uniform", "unimax", "utilimax"]
