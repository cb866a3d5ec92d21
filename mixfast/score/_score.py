"""Score texts with Hugging Face models: one expert for each domain in, an ExpertTable out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from mixfast._text.atomic import check_writable
from mixfast._text.audience import either
from mixfast._text.outputs import TABLE, check_output
from mixfast.errors import ScoreError
from mixfast.ranks import Ranks, Team, from_environment
from mixfast.score._experts import folders
from mixfast.score._models import Model, Tokenizer
from mixfast.score._plan import Settings
from mixfast.score._run import Job, Progress, run
from mixfast.score._scorer import Scores, scorer
from mixfast.score._texts import Document, Texts, listed_documents
from mixfast.tables import ExpertTable, check_folder_output


def read_texts(
    path: str | os.PathLike[str], *, lines: bool = False, field: str | None = None, prompt: str | None = None
) -> list[Document]:
    """Read the documents of a file or folder.

    Parameters
    ----------
    path : path
        A ``.txt``, ``.jsonl``, ``.json`` or ``.parquet`` file (UTF-8), the first three also compressed (``.gz``, ``.zst``), or a folder
        of such files. A single file is one group, named by its stem. In a folder, each file directly in it is a group, and each folder in
        it is a group with all files below. A ``.json`` file holds an array of objects, or one object per line. Names of documents and
        groups omit ``.gz`` and ``.zst``.
    lines : bool, default False
        Whether each line of a ``.txt`` file is a document; by default the whole file is one.
    field : str, optional
        Field of ``.jsonl``, ``.json`` and ``.parquet`` that holds the text; "text" by default, "answer" if `prompt` is given.
    prompt : str, optional
        Field that holds the prompt to which the text is the answer, for conditional log-likelihoods.

    Returns
    -------
    list of Document
        Sorted by the paths of the files; documents of one file are in its order.

    Raises
    ------
    ScoreError
        There is no document; `lines`, `field` or `prompt` apply to none of the files; a file is of another kind, damaged or not UTF-8; a
        line is not a JSON object; or a field is missing or not text.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "news.txt"
    >>> _ = file.write_text("one\\ntwo\\n")
    >>> [(one.text, one.name, one.group) for one in read_texts(file, lines=True)]
    [('one', 'news.txt:1', 'news'), ('two', 'news.txt:2', 'news')]
    """
    return Texts.of(path, lines=lines, field=field, prompt=prompt).read()


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
    """Compute the log-probability of every token of some documents under one model, on its device.

    Parameters
    ----------
    model : transformers causal language model
        On one device, in one dtype. Its backbone computes hidden states; its head is computed here, one block of tokens at a time.
    tokenizer : transformers tokenizer
    documents : sequence of Document or str
    window, stride : int, optional
        As in `score`; by default the window is the longest context of the model, at most 2048.
    bos : str, default "auto"
        As in `score`.
    batch_tokens : int, optional
        Number of tokens in a batch, padding included; by default 4096 on a CPU and 32768 on a GPU. Halved if memory runs out.
    name : str
        Name of the model in messages.

    Raises
    ------
    ScoreError
        The logits of the model differ from those computed from its backbone and head; hidden states are not finite; the model does not
        know a token; or the model is on several devices.

    Notes
    -----
    Except for rounding, the values of a document do not depend on the other documents of its batch.
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
    texts: str | os.PathLike[str] | Texts | Sequence[Document] | Mapping[str, Sequence[str | tuple[str, str]]],
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
    ranks: Ranks | Team | None = None,
) -> ExpertTable | Any:
    """Score texts with one causal language model for each domain.

    Parameters
    ----------
    experts : sequence of folders, or mapping of name to folder
        Hugging Face model folders with their tokenizers. The domains of a sequence are named by the folders.
    texts : path, sequence of Document, or mapping of group to texts
        A path for `read_texts`, its result, or texts by group. In place of a text, a mapping may hold a pair (prompt, answer), of which
        the answer is scored.
    level : {"sequence", "token"}
        At level "sequence" a row is a document with its summed log-likelihood (float64). At level "token" a row is a scored token
        (float32), and ``sequence`` is its document; all experts must have the same tokenizer.
    per : {"auto", "token", "byte"}
        Unit of ``length`` at level "sequence", and so of the losses: nats per token or per byte. "auto" means tokens if all experts have
        the same tokenizer, else bytes, with a warning: different tokenizers have only bytes in common.
    window : int, optional
        Length of the context in tokens; by default the longest that every expert allows, at most 2048. All experts have the same window:
        a longer context would favour an expert.
    stride : int, optional
        Distance in tokens between the windows of long documents; by default half the window. Each token is scored once, after
        at least ``window - stride`` tokens of its document, or after all that precede it.
    bos : str, default "auto"
        Token at the beginning of every document and window: "auto" for the BOS of the tokenizer, if it has one; "none"; or a
        token such as ``"<|endoftext|>"``. The first token of a document is only scored after such a token.
    device : str, default "auto"
        "cpu", "cuda" (the GPU of LOCAL_RANK), "cuda:<number>"; "auto" is "cuda" if there is a GPU.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        Type in which models compute; "auto" is float32 on a CPU and the type of the checkpoint on a GPU. Log-probabilities are float32.
    batch_tokens : int, optional
        Number of tokens in a batch, padding included; by default 4096 on a CPU and 32768 on a GPU. Halved if memory runs out.
    out : path, optional
        Where the table is written: a folder of parts, each with the rows of some of the documents, or one file if the name ends in
        ``.npz``. Until it is complete, finished parts are kept in the folder ``OUT.parts``: the same call continues where an earlier
        one ended. A call with other inputs is refused, and so is a call while another process or thread writes the same output.
        Required with several ranks. An existing table is replaced.
    force : bool, default False
        Whether to replace a file of another kind at an `out` that ends in ``.npz``. A folder that is not a table is never replaced.
    progress : callable, optional
        Called with a `Progress` after each batch, and once before the first if parts of an earlier run are found; on rank 0 only.
    ranks : Ranks or Team, optional
        The processes that share the work; all of them call this function. By default those of ``torchrun``, else this process alone.

    Returns
    -------
    ExpertTable or ShardedTable
        Of kind "ce", with a domain for each expert, the groups of the texts, ``length`` (level "sequence") and
        ``bytes``: the UTF-8 bytes of the text of each row. Bits per byte are nats / (bytes * log 2). Rows are sorted by group, in the
        order in which groups first appear. A folder is returned as `ShardedTable`, whose rows stay on disk.

    Raises
    ------
    ScoreError
        A folder holds no complete model; the head of a model is not supported; tokenizers differ at level "token"; texts
        cannot be read; parts are damaged, or of other models, texts or options; another run writes the same output; or hidden states are
        not finite. The message names the expert, document or file.
    RankError
        A rank has ended early.
    BackendError
        transformers is not installed, or `device` names a CUDA device that does not exist.

    Warns
    -----
    MixfastWarning
        Documents without a token to score are left out (the warning names them), or experts have different tokenizers.

    Notes
    -----
    One expert is loaded at a time, and its log-probabilities of a few tokens are first compared with its own logits. All logits are never
    in memory together: they are computed for one block of tokens and reduced, on a GPU inside one kernel. Under ``torchrun`` the ranks
    share the pairs of expert and part of the texts, and then the parts of the result, so `out` must be in a folder that they share. All
    ranks return the same table. A rank holds the texts and one part of the table (about 64 MB) in memory; only a result in ``.npz`` or
    without `out` is in memory as a whole. Texts are tokenized unchanged: the name of a special token in a text becomes that token.

    References
    ----------
    Thudi et al., "MixMin" (arXiv 2502.10510), for level "sequence"; Belenki et al. (arXiv 2502.15950) for level "token".

    Examples
    --------
    >>> table = score(["runs/web", "runs/code"], "targets/", out="table")  # doctest: +SKIP
    """
    place = None if out is None else Path(out).resolve()
    made: list[ExpertTable | None] = []

    def work() -> None:
        settings = Settings(level, per, window, stride, bos, device, dtype, batch_tokens)
        if out is not None:
            _check_out(Path(out), force)
        listed = _listed(texts)
        if isinstance(listed, Texts):
            listed.check()
        made.append(run(Job(folders(experts), listed, settings, place), progress, team))

    with _team(ranks) as team:
        if team.leading:
            work()
        else:
            # The other ranks get no table from rank 0: they read it.
            team.lead(work)
    table = made[0] if made else None
    return ExpertTable.load(str(place)) if table is None else table


@contextmanager
def _team(ranks: Ranks | Team | None) -> Iterator[Team]:
    """Yield the team of the given ranks, the one that leads here, or that of the processes that torchrun has started."""
    team = Team.of(ranks)
    if ranks is not None or not team.alone:
        yield team
        return
    with from_environment() as found:
        # A team made from ranks is kept, with its state, until they part; the one of this process alone is not.
        yield team if found.size == 1 else Team.of(found)


def _listed(texts: object) -> Texts | list[Document]:
    if isinstance(texts, Texts):
        return texts
    return Texts.of(texts) if isinstance(texts, str | os.PathLike) else listed_documents(texts)


def _check_out(out: Path, force: bool) -> None:
    """Check the output now, because the scoring that follows can take hours."""
    if not out.resolve().parent.is_dir():
        raise ScoreError(f"out is {out}: there is no folder {out.resolve().parent}")
    if out.suffix == ".npz":
        check_output(out, TABLE, ScoreError, force=force)
        check_writable(out)
    elif force:
        raise ScoreError(
            f"{either('force=True', '--force')} has no effect, because {out} is written as a folder: an older table in its place is "
            "replaced, and any other folder is refused"
        )
    else:
        check_folder_output(out, ScoreError, where=f"out is {out}")
