"""NeMo: the list of Megatron-LM as YAML."""

from __future__ import annotations

from mixfast._text.yaml import write_yaml
from mixfast.exporters._draft import Draft, Paths, in_order
from mixfast.exporters._megatron import prefixes
from mixfast.exporters._result import Export
from mixfast.mixture import Mixture


def nemo(mixture: Mixture, *, paths: Paths = None) -> Export:
    """Write NeMo's ``paths`` as YAML: ``[share, prefix, share, prefix, ...]``, as texts, which is their type there.

    Written for the ``PreTrainingDataModule`` of NeMo 2, which hands the list to Megatron-LM. NeMo 3 trains no language
    models; Megatron Bridge, which does, takes this list as ``data_path``, or the file of `megatron` as
    ``data_args_path``. Parameters and errors are those of `megatron`.
    """
    draft = Draft.of("nemo", mixture)
    found = prefixes(draft, paths)
    shares = draft.mixture.as_dict()
    draft.notes.append(in_order(shares))
    blend = [word for name, share in shares.items() for word in (repr(share), found[name])]
    return draft.done(write_yaml({"paths": blend}), ".yaml", shares)
