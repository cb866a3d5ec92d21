"""A mixture for the loaders that people run: what each takes as weights, in its own units, with what has to be known.

>>> import mixfast
>>> from mixfast import exporters
>>> mixture = mixfast.Mixture(["web", "code", "books"], [0.7, 0.3, 0.0])
>>> blend = exporters.export(mixture, "megatron", paths="/data/{domain}_text_document")
>>> print(blend.text, end="")
0.7 /data/web_text_document
0.3 /data/code_text_document
>>> blend.notes
('left out, with a share of 0: books',)
"""

from mixfast.exporters._export import (
    FORMATS,
    Export,
    ExportError,
    axolotl,
    doremi,
    energon,
    export,
    grain,
    huggingface,
    levanter,
    litdata,
    llama_factory,
    maxtext,
    megatron,
    nanotron,
    nemo,
    olmix,
    olmo_core,
    options,
    regmix,
    seqio,
    streaming,
    torchdata,
    trl,
    webdataset,
)

__all__ = [
    "Export",
    "ExportError",
    "FORMATS",
    "axolotl",
    "doremi",
    "energon",
    "export",
    "grain",
    "huggingface",
    "levanter",
    "litdata",
    "llama_factory",
    "maxtext",
    "megatron",
    "nanotron",
    "nemo",
    "olmix",
    "olmo_core",
    "options",
    "regmix",
    "seqio",
    "streaming",
    "torchdata",
    "trl",
    "webdataset",
]
