"""Mixtures out of the files of other projects: whatever `exporters` writes and holds shares is read back by one function, `read`.

`read` takes the path of a file, recognises its format by what it holds, and returns a `Reading`: the `Mixture`, the format, and notes on what
was done to the numbers. A file that fits no format, or several, is refused with a `MixtureError` that says which there are (`FORMATS`).
Relative weights are divided by their sum where the format says that they are relative, and nowhere else. `exporters` writes the same files.

The readers `olmix`, `olmo_core`, `regmix` and `doremi` are `read` with the format named, and return the mixture. All align by name, never
by position. For the command line, `olmix_config` reads the fit configurations of Olmix: where the swarm is, what to fit and to propose,
and under which limits. `olmix_generate` reads its generate configurations: the region and the sampler of a swarm.

Read `_read`, the one gate; `_forms`, where each format has its shares; `_document` (files as documents) and `_places` (domains of files
that have paths). `_mixtures` has the readers by name; `_olmix_config` and `_olmix_generate` stand for
themselves.
"""

from mixfast.readers._mixtures import doremi, olmix, olmo_core, regmix
from mixfast.readers._olmix_config import OlmixConfig as OlmixConfig
from mixfast.readers._olmix_config import olmix_config as olmix_config
from mixfast.readers._olmix_generate import OlmixGeneration as OlmixGeneration
from mixfast.readers._olmix_generate import olmix_generate
from mixfast.readers._read import FORMATS, Reading, read
from mixfast.readers._read import format_of as format_of

__all__ = ["FORMATS", "Reading", "doremi", "olmix", "olmix_generate", "olmo_core", "read", "regmix"]
