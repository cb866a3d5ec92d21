"""The list of formats, in the order in which they are tried."""

from __future__ import annotations

from mixfast.readers.results._contents import Format
from mixfast.readers.results._lighteval import LIGHTEVAL
from mixfast.readers.results._lm_eval import LM_EVAL
from mixfast.readers.results._lm_eval_samples import LM_EVAL_SAMPLES
from mixfast.readers.results._trainer import TRAINER

FORMATS: dict[str, Format] = {form.name: form for form in (LM_EVAL, LM_EVAL_SAMPLES, LIGHTEVAL, TRAINER)}
"""Every format of results, by its name."""
