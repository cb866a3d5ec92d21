"""export: write a mixture in a format given by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from mixfast._text.names import did_you_mean, shown
from mixfast.exporters._finetuning import axolotl, llama_factory, trl
from mixfast.exporters._grain import grain, maxtext
from mixfast.exporters._megatron import megatron, nemo
from mixfast.exporters._named_shares import doremi, regmix
from mixfast.exporters._olmo_core import olmix, olmo_core
from mixfast.exporters._python_modules import huggingface, litdata, seqio, torchdata, webdataset
from mixfast.exporters._result import Export, ExportError
from mixfast.exporters._schedules import levanter, nanotron
from mixfast.exporters._shards import energon, streaming
from mixfast.mixture import Mixture
from mixfast.sampler import MixtureSchedule

FORMATS: Mapping[str, Callable[..., Export]] = MappingProxyType(
    {
        write.__name__.replace("_", "-"): write
        for write in (
            *(axolotl, doremi, energon, grain, huggingface, levanter, litdata, llama_factory, maxtext, megatron),
            *(nanotron, nemo, olmix, olmo_core, regmix, seqio, streaming, torchdata, trl, webdataset),
        )
    }
)
"""The function of each format, by its name."""
# What people call formats, and packages whose loaders read them.
_ALIASES = {
    "mosaicml": "streaming", "llm-foundry": "streaming", "mosaicml-streaming": "streaming", "olmo-cookbook": "olmo-core", "cookbook": "olmo-core",
    "olmocore": "olmo-core", "megatron-core": "megatron", "megatron-energon": "energon", "tinyllama": "regmix", "nanoset": "nanotron",
    "marin": "levanter", "wds": "webdataset", "arrayrecord": "grain", "t5x": "seqio", "nemo2": "nemo",
    "hf": "huggingface", "datasets": "huggingface", "transformers": "huggingface", "olmo": "olmo-core", "megatron-lm": "megatron",
    "t5": "seqio", "mosaic": "streaming", "composer": "streaming", "mds": "streaming", "lightning": "litdata",
    "litgpt": "litdata", "torch": "torchdata", "pytorch": "torchdata", "llamafactory": "llama-factory", "sft": "trl",
}  # fmt: skip


def options(to: str) -> tuple[str, ...]:
    """Return the names of the options of a format.

    Raises
    ------
    ExportError
        If the format is unknown; the known ones are listed.
    """
    if to not in FORMATS:
        raise ExportError(unknown_format(to, FORMATS))
    return tuple(inspect.signature(FORMATS[to]).parameters)[1:]


def unknown_format(given: object, known: Iterable[str]) -> str:
    """Return the message that refuses an unknown format, with the format that was probably meant."""
    known = list(known)
    meant = _ALIASES.get(str(given).casefold().replace("_", "-"))
    hint = f" (did you mean {meant}?)" if meant in known else did_you_mean(given, known)
    return f"the format {shown(given)} is not known{hint}; known formats: {', '.join(known)}"


def export(mixture: Mixture | MixtureSchedule, to: str, **given: Any) -> Export:
    """Write a mixture for a loader.

    Shares are written with the digits that read back as the same float64, and sum to exactly 1. Domains with a share of 0 are
    left out, because most loaders refuse them, and named in the notes.

    Parameters
    ----------
    mixture : Mixture or MixtureSchedule
        Shares of training tokens. levanter and nanotron take schedules; other loaders have one mixture for a run.
    to : str
        A key of `FORMATS`.
    paths : mapping of str to str (or to a sequence of them for olmo-core), or str
        Path of each domain, or a pattern that contains ``{domain}``. For formats with paths.
    tokens : mapping of str to int
        Tokens of each domain.
    documents : mapping of str to int
        Documents (rows, examples) of each domain that hold these tokens. With ``tokens`` they convert shares of tokens to
        shares of documents, for loaders that sample documents.
    unit : {"documents", "sequences"}, optional
        The unit that the loader samples. Sequences of equal length need no conversion. Default: documents if their counts are
        given, or if the loader always samples documents before it packs them.
    budget : int
        Tokens of the whole run: with ``tokens`` it determines how often each domain is repeated.
    block_size : int, default 2048
        Sequences in a block of levanter.
    batch_size : int
        Sequences in a global batch, for a schedule: loaders count positions in steps.

    Returns
    -------
    Export
        The text, the suffix of its file, the numbers in it, and notes.

    Raises
    ------
    ExportError
        If the format is unknown, does not take an option, or lacks one that it needs; or if the loader would refuse the
        result.
    AlignmentError
        If a domain with a share is missing from paths or counts; both sets are shown.

    Notes
    -----
    ``options(to)`` lists the options of a format. Each format is also a function of this module; its docstring names the
    version of the tool it was written for.
    """
    takes = options(to)
    unknown = [name for name in given if name not in takes]
    if unknown:
        raise ExportError(f"{to} takes {', '.join(takes) or 'no options'}; it does not take {', '.join(unknown)}")
    return FORMATS[to](mixture, **given)
