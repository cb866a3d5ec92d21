"""Write a mixture for the loader that trains on it: in its format, in its units, with notes on what changed.

`export` writes a `Mixture` (or, for levanter and nanotron, a schedule) in one of the `FORMATS`. Every format is also a function
of its own; its docstring names the version of the tool it was written for. They return an `Export`: the text, the suffix of its file,
the numbers in it by domain, and notes on what was left out or converted. `options` lists the options of a format. Tools sample
different units: shares of sequences of equal length equal the shares of tokens, while shares of documents follow from the tokens and
documents of each domain.

>>> import mixfast
>>> from mixfast import exporters
>>> mixture = mixfast.Mixture(["web", "code", "books"], [0.7, 0.3, 0.0])
>>> blend = exporters.export(mixture, "megatron", paths="/data/{domain}_text_document")
>>> print(blend.text, end="")
0.7 /data/web_text_document
0.3 /data/code_text_document
>>> blend.notes
('left out, with a share of 0: books',)

Read `_result` (the result), `_draft` (the steps that all formats share: zeros, paths, counts, units, the text of files) and one
format, such as `_megatron`. There is one file for each tool, or for tools with similar formats. `_export` finds formats by
name. A new format is a function, an entry in `FORMATS`, and a name here.
"""

from mixfast.exporters._export import FORMATS, export, options
from mixfast.exporters._export import unknown_format as unknown_format
from mixfast.exporters._finetuning import axolotl, llama_factory, trl
from mixfast.exporters._grain import grain, maxtext
from mixfast.exporters._megatron import megatron, nemo
from mixfast.exporters._named_shares import doremi, regmix
from mixfast.exporters._olmo_core import olmix, olmo_core
from mixfast.exporters._python_modules import huggingface, litdata, seqio, torchdata, webdataset
from mixfast.exporters._result import Export, ExportError
from mixfast.exporters._schedules import levanter, nanotron
from mixfast.exporters._shards import energon, streaming

__all__ = [
    "FORMATS",
    "Export",
    "ExportError",
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
