"""Recognise paths that hold no Hugging Face model, such as checkpoints of other programs and adapters, and say how to convert them."""

from __future__ import annotations

import json
from pathlib import Path

from mixfast._text.kinds import WORDS, kind_of
from mixfast._text.names import listing
from mixfast._text.visible import quote

# Files that identify the checkpoints of other programs: a pattern, what the folder holds, what to do.
_CONVERTED = "convert it to a Hugging Face folder with the tools of {}"
_FOREIGN = (
    ("*.gguf", "a GGUF model of llama.cpp", "give the folder that it was converted from; GGUF files cannot be scored"),
    ("*.nemo", "a checkpoint of NeMo", _CONVERTED.format("NeMo (its checkpoint converters)")),
    ("*.distcp", "a distributed checkpoint of PyTorch", _CONVERTED.format("the training code that wrote it")),
    (
        "latest_checkpointed_iteration.txt",
        "a checkpoint of Megatron-LM",
        _CONVERTED.format("Megatron Bridge or Megatron-LM"),
    ),
    (
        "zero_to_fp32.py",
        "a checkpoint of DeepSpeed",
        "gather the weights with its zero_to_fp32.py, then " + _CONVERTED.format("transformers"),
    ),
    (
        "*.ckpt",
        "a checkpoint of Lightning",
        "load it into its module and call save_pretrained(FOLDER) on the Hugging Face model inside",
    ),
    (
        "consolidated*.pth",
        "weights in Meta's format",
        _CONVERTED.format("transformers (convert_llama_weights_to_hf)"),
    ),
)
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.pt", "*.pth")
_ADAPTER_WEIGHTS = ("adapter_model*.safetensors", "adapter_model*.bin")
_KINDS = {
    "gguf": "give the folder that it was converted from; GGUF files cannot be scored",
    "tar": "if it is a checkpoint of NeMo (.nemo), " + _CONVERTED.format("NeMo (its checkpoint converters)"),
    "torch": "load it into its model and call save_pretrained(FOLDER)",
    "pickle": "load it into its model and call save_pretrained(FOLDER)",
    "safetensors": "give the folder that holds it, with its config.json",
}


def what_it_is(path: Path) -> str:
    """Say what a path without a config.json is and what to do, as the end of a sentence about an expert."""
    wanted = "expected the folder of a Hugging Face model, which has a config.json"
    if not path.exists():
        return f"there is no folder {path}"
    if path.is_file():
        kind = kind_of(path)
        advice = f"; {_KINDS[kind]}" if kind in _KINDS else ""
        return f"{path} is {WORDS[kind]}, {wanted}{advice}"
    if (path / "adapter_config.json").is_file():
        what = f"{path} is an adapter (PEFT, such as LoRA), {wanted}"
        if not any(any(path.glob(pattern)) for pattern in _ADAPTER_WEIGHTS):
            what += ", and it lacks the adapter's own weights (adapter_model.safetensors): copy them there first"
        return f"{what}; {_merge(path)}"
    inside = sorted(folder.name for folder in path.iterdir() if (folder / "config.json").is_file())
    for pattern, what, advice in _FOREIGN:
        if any(path.glob(pattern)):
            return f"{path} holds {what}, {wanted}; {advice}"
    if inside:
        return f"{path} has no config.json, but its folders {listing(inside)} do: give one of them, such as {path / inside[-1]}"
    weights = sorted(file.name for pattern in _WEIGHTS for file in path.glob(pattern))
    if weights:
        return (
            f"{path} has weights ({listing(weights)}) but no config.json, so their architecture is unknown; copy config.json and the "
            "tokenizer's files from the folder of the model that was trained, or write the folder with save_pretrained"
        )
    return f"{path} is not the folder of a Hugging Face model: it has no config.json"


def _merge(path: Path) -> str:
    """Return how to merge an adapter into its base model."""
    try:
        told = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
        base = str(told["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        base = "BASE"
    merged = f"{path.resolve().name}-merged"
    tokenizer = path if (path / "tokenizer_config.json").is_file() else base
    code = (
        "from peft import AutoPeftModelForCausalLM as M; from transformers import AutoTokenizer as T; "
        f"M.from_pretrained({json.dumps(str(path))}).merge_and_unload().save_pretrained({json.dumps(merged)}); "
        f"T.from_pretrained({json.dumps(str(tokenizer))}).save_pretrained({json.dumps(merged)})"
    )
    return f"merge it into its base model ({base}), which must be available, and give {merged}: pip install peft && python -c {quote(code)}"
