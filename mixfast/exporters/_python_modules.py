"""Loaders that are built in Python: for each, a module with the shares and a function."""

from __future__ import annotations

from mixfast.exporters._draft import Counts, Draft, Unit
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture


def huggingface(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write Python for `datasets.interleave_datasets`, with ``probabilities`` by domain.

    Written for datasets 5.2, which requires a sum within 1.5e-8 of 1. Elements are sampled at random, until every data
    set has been read once.
    """
    draft = Draft.of("huggingface", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    return draft.python(
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


def litdata(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write Python for `litdata.CombinedStreamingDataset`, with ``weights`` and ``iterate_over_all=False``.

    Written for litdata 0.2.76, which refuses weights without that option. It ends when the first data set ends.
    """
    draft = Draft.of("litdata", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    draft.notes.append("litdata ends when the first data set ends")
    return draft.python(
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


def seqio(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write Python for `seqio.MixtureRegistry.add`, with a rate for the task of each domain.

    Written for seqio 0.0.20. Rates count examples, before they are packed, so counts are needed, or
    ``unit="sequences"``.
    """
    draft = Draft.of("seqio", mixture)
    shares = draft.elements(unit, tokens, documents, raw=True).as_dict()
    return draft.python(
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


def torchdata(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write Python for `torchdata.nodes.MultiNodeWeightedSampler`, with ``weights`` by domain.

    Written for torchdata 0.11, which takes Python floats above 0. Sources restart when they end.
    """
    draft = Draft.of("torchdata", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    return draft.python(
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


def webdataset(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write Python for `webdataset.RandomMix`, with ``probs`` by domain.

    Written for webdataset 1.0. It samples with Python's global random state, which it does not seed, and ends when the first
    data set ends.
    """
    draft = Draft.of("webdataset", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    draft.notes.append(
        "webdataset samples without a seed and ends when the first data set ends: call .repeat() on them"
    )
    return draft.python(
        shares,
        '''
        def mix(sources):
            """Mix the data sets of a mapping by domain."""
            import webdataset

        {check}
            return webdataset.RandomMix([sources[name] for name in SHARES], list(SHARES.values()), longest=False)
        ''',
    )
