"""Megatron-LM, and NeMo, which passes its list to Megatron-LM: pairs of share and path prefix, as a file or as YAML."""

from __future__ import annotations

from mixfast._text.names import shown
from mixfast.exporters._draft import Draft, Paths, in_order
from mixfast.exporters._result import Export, ExportError
from mixfast.mixture import Mixture

# BlendedDataset stores the number of a data set as int16.
_MOST = 32767


def megatron(mixture: Mixture, *, paths: Paths = None) -> Export:
    """Write the file of Megatron-LM's ``--data-args-path``: ``share prefix share prefix ...``, one pair per line.

    Written for megatron-core 0.19 (``--data-path`` takes the same words). Weights are shares of training sequences and do not
    depend on the sizes of the data sets; all must be above 0. ``paths`` gives the prefix of each domain's ``.bin`` and
    ``.idx``, without white space. There may be at most 32 767 domains.
    """
    draft = Draft.of("megatron", mixture)
    found = prefixes(draft, paths)
    if len(found) > _MOST:
        raise ExportError(f"megatron blends at most {_MOST} data sets, got {len(found)}")
    shares = draft.mixture.as_dict()
    return draft.done("".join(f"{share!r} {found[name]}\n" for name, share in shares.items()), ".txt", shares)


def prefixes(draft: Draft, paths: Paths) -> dict[str, str]:
    """Return the path prefix of each domain; refuse white space in it."""
    found = draft.path(paths, "the path prefix of the tokenised files")
    broken = [f"{name}: {shown(prefix)}" for name, prefix in found.items() if prefix.split() != [prefix]]
    if broken:
        raise ExportError(f"{draft.format} splits its list at white space, so a prefix must have none; got {broken[0]}")
    return found


def nemo(mixture: Mixture, *, paths: Paths = None) -> Export:
    """Write NeMo's ``paths`` as YAML: ``[share, prefix, share, prefix, ...]``, all strings, as NeMo expects them.

    Written for the ``PreTrainingDataModule`` of NeMo 2, which passes the list to Megatron-LM. NeMo 3 trains no language
    models; Megatron Bridge, which does, takes this list as ``data_path``, or the file of `megatron` as
    ``data_args_path``. Parameters and errors are those of `megatron`.
    """
    draft = Draft.of("nemo", mixture)
    found = prefixes(draft, paths)
    shares = draft.mixture.as_dict()
    draft.notes.append(in_order(shares))
    blend = [word for name, share in shares.items() for word in (repr(share), found[name])]
    return draft.yaml({"paths": blend}, shares)
