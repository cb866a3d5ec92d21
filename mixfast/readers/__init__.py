"""Read what other projects write: mixtures (`read`), and the metrics of runs (`metrics`).

`read` reads every file with shares that `exporters` writes.
`read` takes the path of a file, recognises its format by its content, and returns a `Reading`: the `Mixture`, the format, and notes on how
the numbers were converted. A file that fits no format, or several, is refused with a `MixtureError` that lists the formats (`FORMATS`).
Relative weights are divided by their sum only in formats with relative weights. `token_counts` reads the tokens of each domain from the same
files.

The readers `olmix`, `olmo_core`, `regmix` and `doremi` call `read` with their format, and return the mixture. All align by name, never
by position. For the command line, `olmix_config` reads the fit configurations of Olmix: the files of the swarm, what to fit and propose,
and the limits. `olmix_generate` reads its generate configurations: the region and the sampler of a swarm.

`metrics` collects the metrics of runs from the files of evaluations and trackers. It finds the files, decides which belong to one run, and returns a
`Collected`: a long table, a wide table, the swarm, and a `CollectReport` of what was kept and left out and what to check. `ResultsError` says why nothing can be collected.

Read `_read`, which checks every file of a mixture; `_forms` and `_token_forms`, which find the shares and the token counts in each format (`_form` has
what they share); `_document` (files as documents) and `_places` (domains of files with paths). `_mixtures` has one reader for each named
format; `_olmix_config` and `_olmix_generate` do not use these files. `collect` has the steps of
`metrics`, and `results` one file for each format that it reads.
"""

from mixfast.readers._mixtures import doremi, olmix, olmo_core, regmix
from mixfast.readers._olmix_config import OlmixConfig as OlmixConfig
from mixfast.readers._olmix_config import olmix_config as olmix_config
from mixfast.readers._olmix_generate import OlmixGeneration as OlmixGeneration
from mixfast.readers._olmix_generate import olmix_generate
from mixfast.readers._read import FORMATS, Reading, read, token_counts
from mixfast.readers._read import format_of as format_of
from mixfast.readers._read import has_paths as has_paths
from mixfast.readers._token_forms import nested_counts as nested_counts
from mixfast.readers._token_forms import refuse_totals as refuse_totals
from mixfast.readers.collect._collected import Collected
from mixfast.readers.collect._metrics import metrics
from mixfast.readers.collect._patterns import covering as covering
from mixfast.readers.collect._patterns import naming as naming
from mixfast.readers.collect._report import CollectReport
from mixfast.readers.results._contents import ResultsError
from mixfast.readers.results._formats import RESULT_FORMATS as RESULT_FORMATS

__all__ = [
    "FORMATS",
    "CollectReport",
    "Collected",
    "Reading",
    "ResultsError",
    "doremi",
    "metrics",
    "olmix",
    "olmix_generate",
    "olmo_core",
    "read",
    "regmix",
    "token_counts",
]
