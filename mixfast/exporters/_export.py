"""export: a mixture in the format that is asked for by name."""

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
    """Return the names of what a format takes beside the mixture.

    Raises
    ------
    ExportError
        If the format is unknown; the known ones are listed.
    """
    if to not in FORMATS:
        raise ExportError(unknown_format(to, FORMATS))
    return tuple(inspect.signature(FORMATS[to]).parameters)[1:]


def unknown_format(given: object, known: Iterable[str]) -> str:
    """Return the refusal of a format that is not known, with the one that was most likely meant."""
    known = list(known)
    meant = _ALIASES.get(str(given).casefold().replace("_", "-"))
    hint = f" (did you mean {meant}?)" if meant in known else did_you_mean(given, known)
    return f"the format {shown(given)} is not known{hint}; known are: {', '.join(known)}"


def export(mixture: Mixture | MixtureSchedule, to: str, **given: Any) -> Export:
    """Write a mixture for a loader.

    Shares have the digits that read back as the same float64 and sum to 1 exactly. Domains with a share of 0 are left
    out, since most loaders refuse them, and named in the notes.

    Parameters
    ----------
    mixture : Mixture or MixtureSchedule
        Shares of training tokens. Schedules go to levanter and nanotron; other loaders have one mixture for a run.
    to : str
        A key of `FORMATS`.
    paths : mapping of str to str (or to a sequence of them for olmo-core), or str
        Where each domain lies, or a pattern that holds ``{domain}``. For formats that name places.
    tokens : mapping of str to int
        Tokens of each domain.
    documents : mapping of str to int
        Documents (rows, examples) of each domain, in the same tokens. With ``tokens`` they turn shares of tokens into
        shares of documents, for loaders that draw documents.
    unit : {"documents", "sequences"}, optional
        What the loader draws. Sequences of equal length need no conversion. Default: documents where their counts are
        given, or where the loader always draws them before it packs.
    budget : int
        Tokens of the whole run: with ``tokens`` it says how often each domain is repeated.
    block_size : int, default 2048
        Sequences of a block of levanter.
    batch_size : int
        Sequences of a global batch, for a schedule: loaders count it in steps.

    Returns
    -------
    Export
        The text, the ending of its file, the numbers in it, and notes.

    Raises
    ------
    ExportError
        If the format is unknown, takes no such option, or needs one that is missing; or the loader would refuse the
        result.
    AlignmentError
        If a domain with a share is missing from paths or counts; both sets are shown.

    Notes
    -----
    ``options(to)`` names the options that a format takes. The functions behind it are here by their names, with a
    docstring each that says which version they were written for.
    """
    takes = options(to)
    unknown = [name for name in given if name not in takes]
    if unknown:
        raise ExportError(f"{to} takes {', '.join(takes) or 'no options'}; it has no use for {', '.join(unknown)}")
    return FORMATS[to](mixture, **given)
