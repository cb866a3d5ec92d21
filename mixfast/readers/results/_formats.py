"""The list of formats, in the order in which they are tried."""

from __future__ import annotations

from mixfast.readers.results._contents import Format
from mixfast.readers.results._levanter import LEVANTER
from mixfast.readers.results._lighteval import LIGHTEVAL
from mixfast.readers.results._lm_eval import LM_EVAL
from mixfast.readers.results._lm_eval_samples import LM_EVAL_SAMPLES
from mixfast.readers.results._marin import MARIN
from mixfast.readers.results._olmes import OLMES
from mixfast.readers.results._olmo_core import OLMO_CORE
from mixfast.readers.results._olmo_eval import OLMO_EVAL
from mixfast.readers.results._table import TABLE
from mixfast.readers.results._tensorboard import TENSORBOARD
from mixfast.readers.results._trainer import TRAINER
from mixfast.readers.results._wandb import WANDB

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        LM_EVAL,
        LM_EVAL_SAMPLES,
        LIGHTEVAL,
        OLMES,
        OLMO_EVAL,
        OLMO_CORE,
        LEVANTER,
        MARIN,
        TRAINER,
        TENSORBOARD,
        WANDB,
        TABLE,
    )
}
"""Every format of results, by its name."""

RESULT_FORMATS = tuple(FORMATS)
"""Their names, for the completion of command lines."""
