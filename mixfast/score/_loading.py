"""Load tokenizers and models from folders, whole or not at all, on a device of this machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from mixfast._text.names import listing, shown
from mixfast._text.optional import needed
from mixfast.errors import BackendError, ScoreError
from mixfast.score._models import Model, Tokenizer

# Names that transformers gives a tokenizer which is its tokenizer.json and nothing else.
_PLAIN = ("PreTrainedTokenizerFast", "TokenizersBackend")
# Nothing is fetched. Code that comes with a model is not run; left open, transformers would ask on the terminal.
_SAFELY = {"local_files_only": True, "trust_remote_code": False}


def load_tokenizer(name: str, path: Path) -> Tokenizer:
    """Return the tokenizer of a model's folder."""
    transformers = load_transformers()
    loader = transformers.PreTrainedTokenizerFast if _is_plain(path) else transformers.AutoTokenizer
    with _quiet(transformers):
        try:
            return loader.from_pretrained(path, **_SAFELY)
        except Exception as problem:
            # Damaged files and missing packages raise almost any exception.
            raise ScoreError(f"expert {name}: no tokenizer can be read from {path}: {_reason(problem)}") from None


def _is_plain(path: Path) -> bool:
    """Return whether tokenizer.json is the whole tokenizer; AutoTokenizer would replace it for some architectures."""
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
    """Return the causal language model of a folder on a device, with every weight read, in evaluation mode."""
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
                f"expert {name}: no causal language model can be read from {path}: {_reason(problem)}"
            ) from None
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise ScoreError(
            f"expert {name}: the weights in {path} lack {listing(lacking)}, which would be random numbers; "
            + (
                "it has no head (lm_head)"
                if any("head" in key or "embed_out" in key for key in lacking)
                else "is it complete?"
            )
        )
    try:
        return model.to(device).eval()
    except torch.OutOfMemoryError as problem:
        raise ScoreError(f"expert {name} does not fit on {device}: {problem}") from None


def _reason(problem: Exception) -> str:
    """Return what went wrong; where the advice of transformers or torch is to run what came with a model, say what else to do."""
    said = str(problem)
    if "trust_remote_code" in said:
        return (
            "it needs code of its own (auto_map), which is never run here. Where you trust the code, load the model yourself and call "
            "score.score_documents, or convert it to an architecture of transformers"
        )
    if "weights_only" in said:
        return (
            "its weights are pickled together with more than tensors, which is never loaded. Where you trust the file, load it yourself, "
            "and save the model anew as safetensors, by save_pretrained"
        )
    return said


def device_of(wish: str) -> str:
    """Return the device to use: "auto" is the GPU of this process's LOCAL_RANK if there is one."""
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
            f"device {wish} is asked for, but torch {torch.__version__} finds no CUDA device; "
            'use device "cpu", or install torch for CUDA on a machine that has one'
        )
    number = int(os.environ.get("LOCAL_RANK", "0")) if wish == "cuda" else int(wish.partition(":")[2] or -1)
    if not 0 <= number < torch.cuda.device_count():
        raise BackendError(f"there is no device cuda:{number}: torch finds {torch.cuda.device_count()}")
    return f"cuda:{number}"


def dtype_of(wish: str, device: str) -> str:
    """Return the type to compute in: "auto" is the checkpoint's own on a GPU, and float32, the fastest, on a CPU."""
    if wish not in ("auto", "float32", "bfloat16", "float16"):
        raise ScoreError(f'dtype is {shown(wish)}, expected "auto", "float32", "bfloat16" or "float16"')
    return "float32" if wish == "auto" and device == "cpu" else wish


def load_transformers() -> ModuleType:
    """Return the package transformers, which looks for a package `kernels` and must not find our folder of that name."""
    kept = list(sys.path)
    # In a checkout, `python -m ...` puts its root on the path, where our kernels lie in a folder `kernels`.
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
    """Silence the progress bars and reports of transformers; what matters in them is refused here."""
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
