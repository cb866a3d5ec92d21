"""webdataset: Python for ``RandomMix``."""

from __future__ import annotations

from mixfast.exporters._draft import Counts, Draft, Unit
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture


def webdataset(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write Python for `webdataset.RandomMix`, with ``probs`` by domain.

    Written for webdataset 1.0. It draws from Python's own random state, which has no seed of its own, and ends with
    the first data set that does.
    """
    draft = Draft.of("webdataset", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    draft.notes.append("webdataset draws without a seed and ends with the first data set that ends: .repeat() them")
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
