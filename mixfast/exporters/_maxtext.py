"""maxtext: the JSON file of ``grain_train_mixture_config_path``."""

from __future__ import annotations

from mixfast.exporters._draft import Counts, Draft, Paths, Unit, json_text
from mixfast.exporters._grain import grain_note
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture


def maxtext(
    mixture: Mixture, *, paths: Paths = None, unit: Unit = None, tokens: Counts = None, documents: Counts = None
) -> Export:
    """Write the JSON file of maxtext's ``grain_train_mixture_config_path``: ``{name: {path, weight}}``.

    Written for maxtext 0.2.5, ArrayRecord files. It draws documents and packs later, so counts
    are needed, or ``unit="sequences"``. The other way in, ``grain_train_files=PATTERN,w;...``, rounds weights to 4
    decimals.
    """
    draft = Draft.of("maxtext", mixture)
    places = draft.path(paths, "the pattern of the ArrayRecord files")
    shares = draft.elements(unit, tokens, documents, raw=True).as_dict()
    draft.notes += grain_note(shares)
    return draft.done(
        json_text({name: {"path": places[name], "weight": share} for name, share in shares.items()}), ".json", shares
    )
