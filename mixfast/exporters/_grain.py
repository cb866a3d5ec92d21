"""grain, and maxtext, which uses grain: Python or a JSON file, and the rounding of grain."""

from __future__ import annotations

from collections.abc import Mapping

from mixfast.exporters._draft import Counts, Draft, Paths, Unit, most_changed
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture

# Relative change of a share by rounding from which on a note reports it.
_SAID = 1e-4


def grain(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write Python for `grain.MapDataset.mix` and `grain.IterDataset.mix`, with ``weights`` by domain.

    Written for grain 0.2.18, which rounds each share to a hundredth of the smallest; a note reports the largest change.
    It ends when the first data set ends, so call ``.repeat()`` on the data sets before.
    """
    draft = Draft.of("grain", mixture)
    shares = draft.elements(unit, tokens, documents).as_dict()
    draft.notes += [*grain_note(shares), "grain ends when the first data set ends: call .repeat() on them"]
    return draft.python(
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


def grain_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """Return shares after grain's rounding: each becomes ``int(100 share / smallest share)``, over their sum."""
    scale = 100 / min(shares.values())
    parts = {name: int(share * scale) for name, share in shares.items()}
    total = sum(parts.values())
    return {name: part / total for name, part in parts.items()}


def grain_note(shares: Mapping[str, float]) -> list[str]:
    """Return the note on the share that grain's rounding changes most, if the change is large enough."""
    made = grain_shares(shares)
    return [
        f"grain rounds to whole hundredths of the smallest share: {name} becomes {made[name]:.6g}, not {shares[name]:.6g}"
        for name in most_changed(made, shares, _SAID)
    ]


def maxtext(
    mixture: Mixture, *, paths: Paths = None, unit: Unit = None, tokens: Counts = None, documents: Counts = None
) -> Export:
    """Write the JSON file of maxtext's ``grain_train_mixture_config_path``: ``{name: {path, weight}}``.

    Written for maxtext 0.2.5 and ArrayRecord files. It samples documents and packs later, so counts
    are needed, or ``unit="sequences"``. The alternative, ``grain_train_files=PATTERN,w;...``, rounds weights to 4
    decimals.
    """
    draft = Draft.of("maxtext", mixture)
    places = draft.path(paths, "the pattern of the ArrayRecord files")
    shares = draft.elements(unit, tokens, documents, raw=True).as_dict()
    draft.notes += grain_note(shares)
    return draft.json({name: {"path": places[name], "weight": share} for name, share in shares.items()}, shares)
