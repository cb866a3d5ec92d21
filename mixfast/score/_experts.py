"""Folders of Hugging Face models: their names, what makes them the same as last time, and loading them whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mixfast._text.names import domain_names, listing
from mixfast._text.optional import needed
from mixfast.errors import BackendError, ScoreError

# Names that transformers gives a tokenizer which is its tokenizer.json and nothing else.
_PLAIN = ("PreTrainedTokenizerFast", "TokenizersBackend")
# Read of a file of weights to recognise it: its ends and so many places between. Training changes every part of it.
_PIECES, _PIECE = 64, 1 << 14


def folders(experts: Any) -> dict[str, Path]:
    """Experts by name: a mapping of name to folder, or folders that are named by their last part."""
    if isinstance(experts, str | os.PathLike):
        raise ScoreError(
            f"experts is the single path {os.fspath(experts)!r}; give a list of folders, one for each expert"
        )
    if isinstance(experts, Mapping):
        named = [(str(name), Path(path)) for name, path in experts.items()]
    elif isinstance(experts, Sequence):
        named = [(Path(path).resolve().name, Path(path)) for path in experts]
    else:
        raise ScoreError(f"experts must be folders, or a mapping of name to folder, got {type(experts).__name__}")
    if not named:
        raise ScoreError("there is no expert; give the folders of one or more models")
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ScoreError(
            f"several experts are called {listing(twice)}: {listing(path for name, path in named if name in twice)}; give each "
            "a name of its own: NAME=FOLDER, or a mapping of name to folder"
        )
    domain_names(names, ScoreError)
    for name, path in named:
        _check_folder(name, path)
    return dict(named)


def _check_folder(name: str, path: Path) -> None:
    if not path.is_dir():
        raise ScoreError(f"expert {name}: there is no folder {path}")
    if not (path / "config.json").is_file():
        raise ScoreError(f"expert {name}: {path} is no folder of a Hugging Face model, it has no config.json")
    for index in path.glob("*.index.json"):
        try:
            wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise ScoreError(f"expert {name}: {index} is damaged: {problem!r}") from None
        lacking = sorted(file for file in wanted if not (path / file).is_file())
        if lacking:
            raise ScoreError(
                f"expert {name}: {index} names {listing(lacking)}, which {path} lacks; was the checkpoint written to its end?"
            )
    for file in sorted(path.glob("*.safetensors")):
        _check_safetensors(name, file)


def _check_safetensors(name: str, file: Path) -> None:
    """Compare the size of a file of weights with what its header promises."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        try:
            header = json.loads(handle.read(length)) if 0 < length <= size - 8 else None
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]  # type: ignore[union-attr]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ScoreError(
                f"expert {name}: {file} ({size} bytes) has no readable header; was it written to its end?"
            ) from None
    promised = 8 + length + max(ends, default=0)
    if size != promised:
        raise ScoreError(
            f"expert {name}: {file} has {size} bytes and its header promises {promised}; was it written to its end?"
        )


def fingerprint(path: Path) -> str:
    """A digest of a model's folder, from pieces of its files; neither paths nor times count, so that it may be moved."""
    digest = hashlib.sha256()
    files = [path / "config.json", *sorted(path.glob("*.safetensors")), *sorted(path.glob("*.bin"))]
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as handle:
            for piece in range(_PIECES + 1):
                handle.seek(max(size - _PIECE, 0) * piece // _PIECES)
                digest.update(handle.read(_PIECE))
    return digest.hexdigest()


def load_tokenizer(name: str, path: Path) -> Any:
    """The tokenizer of a model's folder."""
    transformers = load_transformers()
    loader = transformers.PreTrainedTokenizerFast if _is_plain(path) else transformers.AutoTokenizer
    with _quiet(transformers):
        try:
            return loader.from_pretrained(path, local_files_only=True)
        except Exception as problem:
            # Damage and missing packages surface as almost any exception.
            raise ScoreError(f"expert {name}: no tokenizer can be read from {path}: {problem}") from None


def _is_plain(path: Path) -> bool:
    """Whether the folder says that its tokenizer.json is all: AutoTokenizer puts some architectures' own rules in its place."""
    try:
        told = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (path / "tokenizer.json").is_file() and told.get("tokenizer_class") in _PLAIN


def load_config(name: str, path: Path) -> Any:
    """The configuration of a model's folder."""
    try:
        return load_transformers().AutoConfig.from_pretrained(path, local_files_only=True)
    except Exception as problem:
        raise ScoreError(f"expert {name}: {path / 'config.json'} cannot be read: {problem}") from None


def load_model(name: str, path: Path, device: str, dtype: str) -> Any:
    """The causal language model of a folder, every weight of it read, on a device and ready to run."""
    import torch

    transformers = load_transformers()
    kind = "auto" if dtype == "auto" else getattr(torch, dtype)
    with _quiet(transformers):
        try:
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                path, dtype=kind, local_files_only=True, output_loading_info=True
            )
        except Exception as problem:
            raise ScoreError(f"expert {name}: no causal language model can be read from {path}: {problem}") from None
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


def device_of(wish: str) -> str:
    """The device to use: "auto" is the GPU of this process's LOCAL_RANK where there is one."""
    with needed("scoring", "PyTorch", "mixfast[score]", BackendError):
        import torch
    load_transformers()
    if wish == "auto":
        wish = "cuda" if torch.cuda.is_available() else "cpu"
    if wish == "cpu":
        return wish
    if wish.partition(":")[0] != "cuda":
        raise BackendError(f'device is {wish!r}, expected "auto", "cpu", "cuda" or "cuda:<number>"')
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
    """The type to compute in: "auto" is the checkpoint's own on a GPU, and float32 on a CPU, which is slow in any other."""
    if wish not in ("auto", "float32", "bfloat16", "float16"):
        raise ScoreError(f'dtype is {wish!r}, expected "auto", "float32", "bfloat16" or "float16"')
    return "float32" if wish == "auto" and device == "cpu" else wish


def load_transformers() -> Any:
    """The package transformers, which looks for a package `kernels` and must not find the folder of our sources for it."""
    kept = list(sys.path)
    # In a checkout, `python -m ...` puts its root on the path, and there our kernels lie under their bare name.
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
def _quiet(transformers: Any) -> Iterator[None]:
    """Without bars and reports of transformers on stderr: what they say that matters is refused here."""
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
