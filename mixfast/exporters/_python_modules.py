"""Loaders that are set up in Python: Hugging Face datasets, torchdata, litdata, grain, seqio, webdataset.

Each export is a module with ``SHARES`` by domain and a function that takes the loaded data sets by domain, so that no
order has to be kept in mind.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from mixfast.exporters._draft import Counts, Draft
from mixfast.exporters._grain_rounding import grain_note
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture

_CHECK = """\
    if set(sources) != set(SHARES):
        raise ValueError(f"sources must be given for {sorted(SHARES)}, got {sorted(sources)}")
"""


def huggingface(
    mixture: Mixture, *, unit: str | None = None, tokens: Counts | None = None, documents: Counts | None = None
) -> Export:
    """Write Python for `datasets.interleave_datasets`, with ``probabilities`` by domain.

    Written for datasets 5.2, which wants a sum within 1.5e-8 of 1. Elements are drawn at random, until every data set
    was read once.
    """
    draft = Draft.of("huggingface", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    return _module(
        draft,
        shares,
        '''
        def mix(sources, seed=0, stopping_strategy="all_exhausted"):
            """Interleave the data sets of a mapping by domain."""
            from datasets import interleave_datasets

        {check}
            return interleave_datasets(
                [sources[name] for name in SHARES],
                probabilities=list(SHARES.values()),
                seed=seed,
                stopping_strategy=stopping_strategy,
            )
        ''',
    )


def torchdata(
    mixture: Mixture, *, unit: str | None = None, tokens: Counts | None = None, documents: Counts | None = None
) -> Export:
    """Write Python for `torchdata.nodes.MultiNodeWeightedSampler`, with ``weights`` by domain.

    Written for torchdata 0.11, which takes Python floats above 0. Sources start again when they end.
    """
    draft = Draft.of("torchdata", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    return _module(
        draft,
        shares,
        '''
        def mix(sources, seed=0, **options):
            """Sample from the nodes of a mapping by domain."""
            from torchdata.nodes import MultiNodeWeightedSampler, StopCriteria

        {check}
            options.setdefault("stop_criteria", StopCriteria.CYCLE_FOREVER)
            return MultiNodeWeightedSampler(dict(sources), dict(SHARES), seed=seed, **options)
        ''',
    )


def litdata(
    mixture: Mixture, *, unit: str | None = None, tokens: Counts | None = None, documents: Counts | None = None
) -> Export:
    """Write Python for `litdata.CombinedStreamingDataset`, with ``weights`` and ``iterate_over_all=False``.

    Written for litdata 0.2.76, which refuses weights otherwise. It ends with the first data set that does.
    """
    draft = Draft.of("litdata", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    draft.notes.append("litdata ends with the first data set that ends")
    return _module(
        draft,
        shares,
        '''
        def mix(sources, seed=0, **options):
            """Combine the streaming data sets of a mapping by domain."""
            from litdata import CombinedStreamingDataset

        {check}
            return CombinedStreamingDataset(
                datasets=[sources[name] for name in SHARES],
                weights=list(SHARES.values()),
                iterate_over_all=False,
                seed=seed,
                **options,
            )
        ''',
    )


def grain(
    mixture: Mixture, *, unit: str | None = None, tokens: Counts | None = None, documents: Counts | None = None
) -> Export:
    """Write Python for `grain.MapDataset.mix` and `grain.IterDataset.mix`, with ``weights`` by domain.

    Written for grain 0.2.18, which rounds each share to a hundredth of the smallest; a note says what becomes of them.
    It ends with the first data set that does, so call ``.repeat()`` on them before.
    """
    draft = Draft.of("grain", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    draft.notes += [*grain_note(shares), "grain ends with the first data set that ends: .repeat() them"]
    return _module(
        draft,
        shares,
        '''
        def mix(sources):
            """Mix the data sets of a mapping by domain: all MapDataset, or all IterDataset."""
            import grain

        {check}
            if all(isinstance(source, grain.MapDataset) for source in sources.values()):
                return grain.MapDataset.mix([sources[name] for name in SHARES], list(SHARES.values()))
            return grain.IterDataset.mix({{name: sources[name] for name in SHARES}}, dict(SHARES))
        ''',
    )


def seqio(
    mixture: Mixture, *, unit: str | None = None, tokens: Counts | None = None, documents: Counts | None = None
) -> Export:
    """Write Python for `seqio.MixtureRegistry.add`, with a rate for the task of each domain.

    Written for seqio 0.0.20. Rates count examples, before they are packed, so counts are needed, or
    ``unit="sequences"``.
    """
    draft = Draft.of("seqio", mixture)
    shares = draft.elements(unit, tokens, documents, raw=True).as_dict()
    return _module(
        draft,
        shares,
        '''
        def register(name, sources=None):
            """Register the mixture; sources names the task of each domain, by default that of its name."""
            import seqio

            sources = {{task: task for task in SHARES}} if sources is None else sources
        {check}
            return seqio.MixtureRegistry.add(name, [(sources[task], rate) for task, rate in SHARES.items()])
        ''',
    )


def webdataset(
    mixture: Mixture, *, unit: str | None = None, tokens: Counts | None = None, documents: Counts | None = None
) -> Export:
    """Write Python for `webdataset.RandomMix`, with ``probs`` by domain.

    Written for webdataset 1.0. It draws from Python's own random state, which has no seed of its own, and ends with
    the first data set that does.
    """
    draft = Draft.of("webdataset", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    draft.notes.append("webdataset draws without a seed and ends with the first data set that ends: .repeat() them")
    return _module(
        draft,
        shares,
        '''
        def mix(sources):
            """Mix the data sets of a mapping by domain."""
            import webdataset

        {check}
            return webdataset.RandomMix([sources[name] for name in SHARES], list(SHARES.values()), longest=False)
        ''',
    )


def _module(draft: Draft, shares: Mapping[str, float], function: str) -> Export:
    table = "".join(f"    {name!r}: {share!r},\n" for name, share in shares.items())
    body = textwrap.dedent(function).strip("\n").format(check=_CHECK.rstrip("\n"))
    return draft.done(f"\nSHARES = {{\n{table}}}\n\n\n{body}\n", ".py", shares)
