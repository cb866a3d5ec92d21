"""Hugging Face datasets: Python for ``interleave_datasets``."""

from __future__ import annotations

from mixfast.exporters._draft import Counts, Draft, Unit
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture


def huggingface(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write Python for `datasets.interleave_datasets`, with ``probabilities`` by domain.

    Written for datasets 5.2, which wants a sum within 1.5e-8 of 1. Elements are drawn at random, until every data set
    was read once.
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
