"""litdata: Python for ``CombinedStreamingDataset``."""

from __future__ import annotations

from mixfast.exporters._draft import Counts, Draft, Unit
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture


def litdata(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write Python for `litdata.CombinedStreamingDataset`, with ``weights`` and ``iterate_over_all=False``.

    Written for litdata 0.2.76, which refuses weights otherwise. It ends with the first data set that does.
    """
    draft = Draft.of("litdata", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    draft.notes.append("litdata ends with the first data set that ends")
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
