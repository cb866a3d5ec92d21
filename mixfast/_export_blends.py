"""Loaders of pre-tokenised files that take weights beside paths: Megatron-LM, NeMo, nanotron, MosaicML Streaming, OLMo-core, Olmix, levanter.

All but Streaming draw sequences of equal length, so shares of tokens go out as they are.
"""

from __future__ import annotations

import math

from mixfast._export_nouns import Export, ExportError
from mixfast._export_parts import Counts, Draft, Paths, in_order, yaml_text
from mixfast.mixture import Mixture

# BlendedDataset holds the number of a data set as int16.
_MEGATRON_MOST = 32767
# Rounding of counts and of whole sequences must not push a source over its limit, where OLMo-core refuses it.
_REPETITION_ROOM = 0.01


def megatron(mixture: Mixture, *, paths: Paths | None = None) -> Export:
    """Write the file of Megatron-LM's ``--data-args-path``: ``share prefix share prefix ...``, one pair a line.

    Written for megatron-core 0.19 (``--data-path`` takes the same words). Weights are shares of training sequences,
    whatever the sizes of the data sets; all must be above 0.

    Parameters
    ----------
    mixture : Mixture
    paths : mapping of str to str, or str
        Prefix of each domain's ``.bin`` and ``.idx``, without white space; or a pattern with ``{domain}``.

    Returns
    -------
    Export

    Raises
    ------
    ExportError
        If a prefix is missing or has white space, or there are more than 32 767 domains.
    """
    draft = Draft.of("megatron", mixture)
    prefixes = _words(draft, paths)
    if len(prefixes) > _MEGATRON_MOST:
        raise ExportError(f"megatron blends at most {_MEGATRON_MOST} data sets, got {len(prefixes)}")
    shares = draft.mixture.as_dict()
    return draft.done("".join(f"{share!r} {prefixes[name]}\n" for name, share in shares.items()), ".txt", shares)


def nemo(mixture: Mixture, *, paths: Paths | None = None) -> Export:
    """Write NeMo's ``paths`` as YAML: ``[share, prefix, share, prefix, ...]``, as texts, which is their type there.

    Written for the ``PreTrainingDataModule`` of NeMo 2; it hands the list to Megatron-LM. Parameters and errors are
    those of `megatron`.
    """
    draft = Draft.of("nemo", mixture)
    prefixes = _words(draft, paths)
    shares = draft.mixture.as_dict()
    draft.notes.append(in_order(shares))
    blend = [word for name, share in shares.items() for word in (repr(share), prefixes[name])]
    return draft.done(yaml_text({"paths": blend}), ".yaml", shares)


def _words(draft: Draft, paths: Paths | None) -> dict[str, str]:
    prefixes = draft.path(paths, "the path prefix of the tokenised files")
    broken = [f"{name}: {prefix!r}" for name, prefix in prefixes.items() if prefix.split() != [prefix]]
    if broken:
        raise ExportError(f"{draft.format} splits its list at white space, so a prefix has none; got {broken[0]}")
    return prefixes


def nanotron(mixture: Mixture, *, paths: Paths | None = None) -> Export:
    """Write nanotron's ``data_stages`` with one stage: ``dataset_folder`` and ``dataset_weights``.

    Written for nanotron's main branch of 2026-04 (Nanoset); ``paths`` gives the folder of each domain.
    """
    draft = Draft.of("nanotron", mixture)
    folders = draft.path(paths, "the folder of the tokenised files")
    shares = draft.mixture.as_dict()
    draft.notes.append(in_order(shares))
    stage = {
        "name": "mixture",
        "start_training_step": 1,
        "data": {
            "seed": 42,
            "num_loading_workers": 1,
            "dataset": {
                "dataset_folder": [folders[name] for name in shares],
                "dataset_weights": list(shares.values()),
            },
        },
    }
    return draft.done(yaml_text({"data_stages": [stage]}), ".yaml", shares)


def streaming(
    mixture: Mixture,
    *,
    paths: Paths | None = None,
    unit: str | None = None,
    tokens: Counts | None = None,
    documents: Counts | None = None,
) -> Export:
    """Write the ``streams`` of MosaicML Streaming and llm-foundry: a ``proportion`` and a place for each domain.

    Written for mosaicml-streaming 0.13. In Python: ``[Stream(**stream) for stream in streams.values()]``. A path with
    a scheme (``s3://``) is ``remote``, any other ``local``. Proportions count samples: see ``unit`` of `export`.
    """
    draft = Draft.of("streaming", mixture)
    places = draft.path(paths, "the folder or URL of the shards")
    shares = draft.elements(unit, tokens, documents).as_dict()
    draft.notes.append("proportions are relative: epoch_size of the data set says how long an epoch is")
    streams = {
        name: {"remote" if "://" in places[name] else "local": places[name], "proportion": share}
        for name, share in shares.items()
    }
    return draft.done(yaml_text({"streams": streams}), ".yaml", shares)


def olmo_core(
    mixture: Mixture, *, paths: Paths | None = None, tokens: Counts | None = None, budget: int | None = None
) -> Export:
    """Write the ``SourceMixtureList`` of OLMo-core: ``target_ratio``, ``paths`` and, with counts, ``max_repetition_ratio``.

    Written for ai2-olmo-core 2.5. Several paths a domain and globs are fine. A domain that needs more tokens than it
    has is refused by OLMo-core, unless it may be repeated: ``tokens`` and ``budget`` say how often it is.

    Parameters
    ----------
    mixture : Mixture
    paths : mapping of str to str or sequence of str, or str
        Files of token ids; or a pattern with ``{domain}``.
    tokens : mapping of str to int, optional
        Tokens of each domain.
    budget : int, optional
        Tokens of the whole run, ``requested_tokens`` of the data set's configuration.

    Returns
    -------
    Export

    Raises
    ------
    ExportError
        If paths are missing, or only one of ``tokens`` and ``budget`` is given.
    """
    draft = Draft.of("olmo-core", mixture)
    files = draft.paths(paths, "the files of token ids")
    epochs = draft.epochs(tokens, budget)
    shares = draft.mixture.as_dict()
    sources = [
        {"source_name": name, "target_ratio": share, "paths": list(files[name])}
        | ({} if epochs is None else {"max_repetition_ratio": _repetition(epochs[name])})
        for name, share in shares.items()
    ]
    if epochs is None:
        draft.notes.append("no domain may be repeated; with tokens and budget, max_repetition_ratio is written")
    else:
        draft.notes.append(f"max_repetition_ratio is for requested_tokens: {budget}")
        _say_repeated(draft, epochs)
    return draft.done(yaml_text({"sources": sources}), ".yaml", shares)


def olmix(mixture: Mixture, *, tokens: Counts | None = None, budget: int | None = None) -> Export:
    """Write the ``mix`` of an Olmix launch file, in its flat form, with a ``repetition_factor`` for each domain.

    Written for allenai/olmix of 2026-03. ``tokens`` and ``budget`` are as for `olmo_core`; without them the factors
    are 1. Names are Olmix's, ``source:topic``.
    """
    draft = Draft.of("olmix", mixture)
    epochs = draft.epochs(tokens, budget)
    shares = draft.mixture.as_dict()
    if epochs is None:
        draft.notes.append(
            "repetition factors are 1, no domain may be repeated; with tokens and budget they are worked out"
        )
    else:
        _say_repeated(draft, epochs)
    mix = {
        name: {"weight": share, "repetition_factor": 1.0 if epochs is None else _repetition(epochs[name])}
        for name, share in shares.items()
    }
    return draft.done(yaml_text({"mix": mix}), ".yaml", shares)


def _repetition(epochs: float) -> float:
    return max(1.0, math.ceil(100.0 * (epochs + _REPETITION_ROOM)) / 100.0)


def _say_repeated(draft: Draft, epochs: dict[str, float]) -> None:
    repeated = [f"{name} {epoch:.4g}" for name, epoch in epochs.items() if epoch > 1.0]
    if repeated:
        draft.notes.append(f"domains read more than once, in epochs: {', '.join(repeated)}")


def levanter(mixture: Mixture, *, block_size: int = 2048) -> Export:
    """Write the ``train_weights`` and ``mixture_block_size`` of levanter's data configuration.

    Written for levanter of 2025-09 (``LmDataConfig``). Each block of so many sequences holds ``share * block_size``
    of a domain, rounded down: a share below one sequence a block is never trained on, which a note says.

    Raises
    ------
    ExportError
        If ``block_size`` is not a whole number above 0.
    """
    draft = Draft.of("levanter", mixture)
    if isinstance(block_size, bool) or not isinstance(block_size, int) or block_size < 1:
        raise ExportError(f"block_size must be a whole number of sequences above 0, got {block_size!r}")
    shares = draft.mixture.as_dict()
    never = [name for name, share in shares.items() if share * block_size < 1.0]
    if never:
        enough = math.ceil(1.0 / min(shares.values()))
        draft.notes.append(
            f"below one sequence in a block of {block_size}, so never trained on: {', '.join(never)}; "
            f"a block size of {enough} has one of each"
        )
    document = {"data": {"train_weights": shares, "mixture_block_size": block_size}}
    return draft.done(yaml_text(document), ".yaml", shares)
