"""Mixtures out of the files of other projects: Olmix, OLMo-core, RegMix, DoReMi.

Shares that were printed with few digits are divided by their sum, with a warning; see `Mixture`. Names stay as they
are in the file.
"""

from mixfast.readers._mixtures import doremi, olmix, olmo_core, regmix

__all__ = ["doremi", "olmix", "olmo_core", "regmix"]
