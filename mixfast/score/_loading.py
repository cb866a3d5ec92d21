"""Load tokenizers and complete models from folders, onto a device of this machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from mixfast._text.names import counted, listing, shown
from mixfast._text.optional import needed
from mixfast.errors import BackendError, ScoreError
from mixfast.score._models import Model, Tokenizer

# Class names that transformers gives tokenizers consisting of a tokenizer.json only.
_PLAIN = ("PreTrainedTokenizerFast", "TokenizersBackend")
# Nothing is downloaded. Code that comes with a model is not run; without this setting, transformers would ask on the terminal.
_SAFELY = {"local_files_only": True, "trust_remote_code": False}


def load_tokenizer(name: str, path: Path) -> Tokenizer:
    """Return the tokenizer of a model's folder."""
    transformers = load_transformers()
    loader = transformers.PreTrainedTokenizerFast if _is_plain(path) else transformers.AutoTokenizer
    with _quiet(transformers):
        try:
            return loader.from_pretrained(path, **_SAFELY)
        except Exception as problem:
            # Damaged files and missing packages can raise almost any exception.
            raise ScoreError(f"expert {name}: the tokenizer in {path} cannot be read: {_reason(problem)}") from None


def _is_plain(path: Path) -> bool:
    """Return whether tokenizer.json is the whole tokenizer; for some architectures, AutoTokenizer would replace it."""
    try:
        told = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (path / "tokenizer.json").is_file() and told.get("tokenizer_class") in _PLAIN


def load_config(name: str, path: Path) -> object:
    """Return the configuration of a model's folder."""
    try:
        return load_transformers().AutoConfig.from_pretrained(path, **_SAFELY)
    except Exception as problem:
        raise ScoreError(f"expert {name}: {path / 'config.json'} cannot be read: {_reason(problem)}") from None


def load_model(name: str, path: Path, device: str, dtype: str) -> Model:
    """Return the causal language model of a folder on a device, in evaluation mode; refuse missing weights."""
    import torch

    transformers = load_transformers()
    kind = "auto" if dtype == "auto" else getattr(torch, dtype)
    with _quiet(transformers):
        try:
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                path, dtype=kind, output_loading_info=True, **_SAFELY
            )
        except Exception as problem:
            raise ScoreError(
                f"expert {name}: the causal language model in {path} cannot be read: {_reason(problem)}"
            ) from None
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise ScoreError(
            f"expert {name}: the weights in {path} lack {listing(lacking)}, which would be initialised at random; "
            + (
                "the model has no head (lm_head)"
                if any("head" in key or "embed_out" in key for key in lacking)
                else "is the checkpoint complete?"
            )
        )
    try:
        return model.to(device).eval()
    except torch.OutOfMemoryError as problem:
        raise ScoreError(f"expert {name} does not fit on {device}: {problem}") from None


def _reason(problem: Exception) -> str:
    """Return what went wrong; if transformers or torch advise running code that came with a model, advise something else."""
    said = str(problem)
    if "trust_remote_code" in said:
        return (
            "it needs its own code (auto_map), which mixfast never runs. If you trust the code, load the model yourself and call "
            "score.score_documents, or convert the model to an architecture of transformers"
        )
    if "weights_only" in said:
        return (
            "its weights are pickled together with other objects than tensors, which mixfast never loads. If you trust the file, load it "
            "yourself and save the model as safetensors with save_pretrained"
        )
    return said


def device_of(wish: str) -> str:
    """Return the device to use: "auto" is the GPU number LOCAL_RANK if there is a GPU, else the CPU."""
    with needed("scoring", "PyTorch", "mixfast[score]", BackendError):
        import torch
    load_transformers()
    if wish == "auto":
        wish = "cuda" if torch.cuda.is_available() else "cpu"
    if wish == "cpu":
        return wish
    if wish.partition(":")[0] != "cuda":
        raise BackendError(f'device is {shown(wish)}, expected "auto", "cpu", "cuda" or "cuda:<number>"')
    if not torch.cuda.is_available():
        raise BackendError(
            f"device is {wish}, but torch {torch.__version__} finds no CUDA device; "
            'use device "cpu", or install torch with CUDA on a machine with a GPU'
        )
    number = int(os.environ.get("LOCAL_RANK", "0")) if wish == "cuda" else int(wish.partition(":")[2] or -1)
    if not 0 <= number < torch.cuda.device_count():
        raise BackendError(
            f"device cuda:{number} does not exist: torch finds {counted(torch.cuda.device_count(), 'CUDA device')}"
        )
    return f"cuda:{number}"


def dtype_of(wish: str, device: str) -> str:
    """Return the dtype of the computation: "auto" is that of the checkpoint on a GPU, and float32, which is fastest, on a CPU."""
    if wish not in ("auto", "float32", "bfloat16", "float16"):
        raise ScoreError(f'dtype is {shown(wish)}, expected "auto", "float32", "bfloat16" or "float16"')
    return "float32" if wish == "auto" and device == "cpu" else wish


def load_transformers() -> ModuleType:
    """Import transformers, which looks for a package `kernels` and must not find our folder of that name."""
    kept = list(sys.path)
    # In a checkout, `python -m ...` puts the repository's root on the path, which has a folder `kernels`.
    sys.path[:] = [entry for entry in kept if not Path(entry, "kernels", "row_pass.py").exists()]
    try:
        with needed("scoring", "transformers", "mixfast[score]", BackendError):
            import transformers

            with suppress(ModuleNotFoundError):
                import transformers.integrations.hub_kernels
    finally:
        sys.path[:] = kept
    return transformers


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Silence the progress bars and reports of transformers; this module checks for the problems that they report."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
