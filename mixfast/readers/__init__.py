"""Mixtures out of the files of other projects: Olmix, OLMo-core, RegMix, DoReMi.

Each reader takes the path of a file and returns a `Mixture`, with the names as they are in the file. Shares that were printed with few
digits are divided by their sum, with a warning; see `Mixture`. A file of another kind is refused with a `MixtureError` that names it.
`exporters` writes the same files. For the command line, `olmix_config` reads the fit configurations of Olmix: where the swarm is, what to
fit and to propose, and under which limits.

The readers are `olmix`, `olmo_core`, `regmix` and `doremi`, by the project whose files they read. They align by name, never by position.

Read `_mixtures`, the four readers; `_olmix_config` stands for itself.
"""

from mixfast.readers._mixtures import doremi, olmix, olmo_core, regmix
from mixfast.readers._olmix_config import OlmixConfig as OlmixConfig
from mixfast.readers._olmix_config import olmix_config as olmix_config

__all__ = ["doremi", "olmix", "olmo_core", "regmix"]
