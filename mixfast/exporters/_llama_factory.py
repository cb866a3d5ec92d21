"""LLaMA-Factory: names and probabilities that are separated by commas."""

from __future__ import annotations

from mixfast._text.names import listing
from mixfast.exporters._draft import Counts, Draft, Unit
from mixfast.exporters._result import Export, ExportError
from mixfast.mixture import Mixture


def llama_factory(mixture: Mixture, *, unit: Unit = None, tokens: Counts = None, documents: Counts = None) -> Export:
    """Write the ``dataset``, ``mix_strategy`` and ``interleave_probs`` of a LLaMA-Factory configuration.

    Written for llamafactory 0.9.5. Domains are the names of ``dataset_info.json``. Probabilities count examples, so
    counts are needed, or ``unit="sequences"``.

    Raises
    ------
    ExportError
        If a name holds a comma, which separates names there, or counts are missing.
    """
    draft = Draft.of("llama-factory", mixture)
    broken = [name for name in draft.mixture if "," in name or name != name.strip()]
    if broken:
        raise ExportError(
            f"llama-factory splits its list of names at commas and strips them; rename {listing(map(repr, broken))}"
        )
    shares = draft.elements(unit, tokens, documents, raw=True).as_dict()
    draft.notes.append("names are looked up in dataset_info.json")
    document = {
        "dataset": ",".join(shares),
        "mix_strategy": "interleave_over",
        "interleave_probs": ",".join(map(repr, shares.values())),
    }
    return draft.yaml(document, shares)
