"""Score texts with Hugging Face models: one expert for each domain in, an ExpertTable out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from mixfast._text.atomic import check_writable
from mixfast._text.outputs import TABLE, check_output
from mixfast.errors import ScoreError
from mixfast.score._experts import folders
from mixfast.score._models import Model, Tokenizer
from mixfast.score._plan import Settings
from mixfast.score._run import Progress, run
from mixfast.score._scorer import Scores, scorer
from mixfast.score._texts import Document, Format, listed_documents, read_documents
from mixfast.tables import ExpertTable


def read_texts(
    path: str | os.PathLike[str], *, lines: bool = False, field: str | None = None, prompt: str | None = None
) -> list[Document]:
    """Read the documents of a file or folder.

    Parameters
    ----------
    path : path
        A ``.txt``, ``.jsonl``, ``.json`` or ``.parquet`` file (UTF-8), the first three also compressed (``.gz``, ``.zst``), or a folder
        of such. A file is a group, named by its stem; in a folder each file directly in it is one, and each folder in it with all that is
        below. A ``.json`` file holds an array of objects, or an object in each line. Names and groups do not show a compression.
    lines : bool, default False
        Whether each line of a ``.txt`` file is a document, instead of the file.
    field : str, optional
        Field of ``.jsonl``, ``.json`` and ``.parquet`` that holds the text; "text" by default, "answer" where `prompt` is given.
    prompt : str, optional
        Field that holds what the text is the answer to, for conditional log-likelihoods.

    Returns
    -------
    list of Document
        In the order of the paths of the files, and in each as it is.

    Raises
    ------
    ScoreError
        No document, settings for kinds of files that are not there, a file of another kind, a damaged compressed file, no UTF-8, a line that is no JSON object, or a field that is missing or no text.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "news.txt"
    >>> _ = file.write_text("one\\ntwo\\n")
    >>> [(one.text, one.name, one.group) for one in read_texts(file, lines=True)]
    [('one', 'news.txt:1', 'news'), ('two', 'news.txt:2', 'news')]
    """
    usual = "text" if prompt is None else "answer"
    return read_documents(path, Format(lines, field or usual, prompt, given=field))


def score_documents(
    model: Model,
    tokenizer: Tokenizer,
    documents: Sequence[Document | str],
    *,
    window: int | None = None,
    stride: int | None = None,
    bos: str = "auto",
    batch_tokens: int | None = None,
    name: str = "model",
) -> Scores:
    """Compute the log-probability of every token of some documents under one model, where the model lies.

    Parameters
    ----------
    model : transformers causal language model
        On one device, in one type. Its backbone is run and its head computed here, a block of tokens at a time.
    tokenizer : transformers tokenizer
    documents : sequence of Document or str
    window, stride : int, optional
        As in `score`; the window is by default the longest context of the model, 2048 at most.
    bos : str, default "auto"
        As in `score`.
    batch_tokens : int, optional
        Tokens of a batch with its padding; 4096 on a CPU and 32768 on a GPU by default. Halved when memory runs out.
    name : str
        What messages call the model.

    Raises
    ------
    ScoreError
        The model's own logits differ from what its backbone and head give; hidden states that are not finite; tokens
        that the model does not know; a model on several devices.

    Notes
    -----
    What a document gets does not depend on the others of its batch but for rounding.
    """
    listed = [Document(one, name=f"document {k}") if isinstance(one, str) else one for k, one in enumerate(documents)]
    training = model.training
    model.eval()
    try:
        ready = scorer(
            model, tokenizer, listed, name=name, window=window, stride=stride, bos=bos, batch_tokens=batch_tokens
        )
        return ready.scores(listed)
    finally:
        model.train(training)


def score(
    experts: Sequence[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]],
    texts: str | os.PathLike[str] | Sequence[Document] | Mapping[str, Sequence[str | tuple[str, str]]],
    *,
    level: Literal["sequence", "token"] = "sequence",
    per: Literal["auto", "token", "byte"] = "auto",
    window: int | None = None,
    stride: int | None = None,
    bos: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    batch_tokens: int | None = None,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> ExpertTable:
    """Score texts with one causal language model for each domain.

    Parameters
    ----------
    experts : sequence of folders, or mapping of name to folder
        Hugging Face model folders with their tokenizers. A folder's own name is the domain's.
    texts : path, sequence of Document, or mapping of group to texts
        What `read_texts` takes or returns; or by group texts or (prompt, answer) pairs, of which the answer is scored.
    level : {"sequence", "token"}
        A row is a document, its log-likelihood summed (float64), or a scored token (float32), with ``sequence`` the
        document it is of. Tokens need experts with one tokenizer.
    per : {"auto", "token", "byte"}
        What ``length`` counts at level "sequence", and so what a loss is per. Experts with different tokenizers have
        bytes in common only: "auto" is tokens for one tokenizer and bytes, with a warning, for several.
    window : int, optional
        Tokens of context and of a forward pass; by default the most that every expert allows, 2048 at most. One for all
        experts: a longer context would be an advantage of one over another.
    stride : int, optional
        Windows of long documents start every so many tokens; half the window by default. Each token is scored once, after
        at least ``window - stride`` tokens of its document, or all that precede it.
    bos : str, default "auto"
        The token that begins every document and window: "auto" is the tokenizer's BOS where it has one; "none"; or a
        token such as ``"<|endoftext|>"``. With it the first token of a document is scored; without it, it is not.
    device : str, default "auto"
        "cpu", "cuda", "cuda:<number>"; "auto" is a GPU if there is one. "cuda" is the one of LOCAL_RANK.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        What models compute in; "auto" is float32 on a CPU and the checkpoint's type on a GPU. Log-probabilities are float32.
    batch_tokens : int, optional
        Tokens of a batch with its padding; 4096 on a CPU and 32768 on a GPU by default. Halved when memory runs out.
    out : path, optional
        The table's file (.npz). Finished parts are kept beside it, in ``OUT.parts``, until it is written: the same call goes
        on where an earlier one ended; another one is refused, and so is a call while another process, or thread, is at work on the
        same file. Needed with several ranks. A table that is there is replaced.
    force : bool, default False
        Whether a file of another kind at `out` is replaced, too.
    progress : callable, optional
        Called with a `Progress` after each batch, and once before the first if parts of an earlier run are found.

    Returns
    -------
    ExpertTable
        Of kind "ce", a domain for each expert, groups as the texts have them, with ``length`` (level "sequence") and
        ``bytes``: the UTF-8 bytes of each row's text. Bits per byte are nats / (bytes * log 2).

    Raises
    ------
    ScoreError
        A folder without a complete model, a model whose head is not supported, tokenizers that differ at level "token", texts or
        parts that cannot be used, such as damaged parts and those of other models, texts or options, an output that another run is at
        work on, hidden states that are not finite. Experts, documents and files are named.
    BackendError
        No transformers, or a CUDA device that is asked for and missing.

    Warns
    -----
    MixfastWarning
        Documents without a token to score are left out and named; experts have different tokenizers.

    Notes
    -----
    An expert is loaded at a time and held against its own logits on a few tokens first. All logits are never kept: they are
    computed for a block of tokens and reduced, on a GPU inside one kernel. Under ``torchrun`` each rank takes a share of
    (expert, part of the texts); rank 0 joins them and all ranks return the same table, so `out` must lie in a folder that
    they share. Tokenizers see the texts as they are: the name of a special token in a text becomes that token.

    References
    ----------
    Thudi et al., "MixMin" (arXiv 2502.10510), for level "sequence"; Belenki et al. (arXiv 2502.15950) for level "token".

    Examples
    --------
    >>> table = score(["runs/web", "runs/code"], "targets/", out="table.npz")  # doctest: +SKIP
    """
    named = folders(experts)
    settings = Settings(level, per, window, stride, bos, device, dtype, batch_tokens)
    if out is not None and Path(out).suffix != ".npz":
        raise ScoreError(f"out is {os.fspath(out)}: a scored table is written as .npz")
    if out is not None and not Path(out).resolve().parent.is_dir():
        raise ScoreError(f"out is {os.fspath(out)}: there is no folder {Path(out).resolve().parent}")
    if out is not None:
        # Before hours of work, not behind them.
        check_output(out, TABLE, ScoreError, force=force)
        check_writable(out)
    documents = read_texts(texts) if isinstance(texts, str | os.PathLike) else listed_documents(texts)
    return run(named, documents, settings, None if out is None else Path(out).resolve(), progress)
