"""Head: the output layer of a causal language model, computed block by block so that all logits are never in memory."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixfast._engine import backend
from mixfast._text.names import listing
from mixfast.errors import ScoreError
from mixfast.score._models import Model, text_config

if TYPE_CHECKING:
    import torch

# Number of logits computed at once on a CPU: 64 MB in float32.
_CHUNK = 1 << 24

# Configuration keys for a factor on the logits, and its power: Cohere, Falcon-H1 and others multiply, Granite divides.
_SCALES = (("logit_scale", 1), ("lm_head_multiplier", 1), ("output_multiplier", 1), ("logits_scaling", -1))
_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")

# How many log-probabilities are compared with those of the model's own logits: positions, and targets at each position.
_POSITIONS, _TARGETS = 16, 4


@dataclass(frozen=True, eq=False)
class Head:
    """``logits = cap(scale * (hidden @ weight.T + bias))`` with ``cap(x) = softcap * tanh(x / softcap)``.

    `name` is the name of the model in messages.
    """

    name: str
    weight: torch.Tensor
    bias: torch.Tensor | None
    softcap: float | None
    scale: float

    def logprob(self, hidden: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return natural log p(target | hidden), (n,) float32, of hidden (n, D) and target (n,)."""
        if hidden.device.type == "cuda":
            try:
                return backend.gpu_kernels().token_logprob(
                    hidden, self.weight, target, bias=self.bias, softcap=self.softcap, scale=self.scale
                )
            except (TypeError, ValueError) as problem:
                raise ScoreError(f"{self.name}: the head cannot be computed on {hidden.device}: {problem}") from None
        return self._in_chunks(hidden, target)

    def _in_chunks(self, hidden: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        import torch

        weight = self.weight.float()
        bias = None if self.bias is None else self.bias.float()
        out = torch.empty(hidden.shape[0], dtype=torch.float32, device=hidden.device)
        rows = max(1, _CHUNK // weight.shape[0])
        for start in range(0, hidden.shape[0], rows):
            part = slice(start, start + rows)
            logits = torch.nn.functional.linear(hidden[part].float(), weight, bias)
            if self.scale != 1.0:
                logits *= self.scale
            if self.softcap is not None:
                logits.div_(self.softcap).tanh_().mul_(self.softcap)
            chosen = logits.gather(1, target[part, None]).squeeze(1)
            out[part] = chosen - logits.logsumexp(dim=1)
        return out


def head_of(model: Model, name: str) -> Head:
    """Return the head of a model as its configuration describes it; `verify` checks that the model computes the same."""
    module = model.get_output_embeddings()
    weight = getattr(module, "weight", None)
    if module is None or weight is None:
        raise ScoreError(
            f"{name}: {type(model).__name__} has no output embeddings (lm_head) and so computes no token probabilities; "
            "load a causal language model with its head (AutoModelForCausalLM)"
        )
    if weight.ndim != 2 or not weight.is_floating_point():
        raise ScoreError(
            f"{name}: the head {type(module).__name__} holds {weight.dtype} of shape {tuple(weight.shape)}, expected floating "
            "(vocabulary, hidden): quantised heads are not supported: load the model without quantisation"
        )
    config = text_config(model.config)
    scale = 1.0
    for key, power in _SCALES:
        value = getattr(config, key, None)
        if isinstance(value, int | float):
            scale *= float(value) ** power
    caps = [getattr(config, key, None) for key in _SOFTCAPS]
    softcap = next((float(cap) for cap in caps if isinstance(cap, int | float) and cap), None)
    return Head(name, weight.detach(), None if module.bias is None else module.bias.detach(), softcap, scale)


def hidden_states(model: Model, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the last hidden states of the backbone, (B, L, D)."""
    return model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)[0]


def verify(model: Model, head: Head, ids: torch.Tensor, name: str) -> None:
    """Refuse a model if its own logits for a few tokens `ids` (1, L) differ from those computed from its backbone and `head`."""
    # With TF32, rounding in float32 would be far larger than the tolerance.
    with backend.gpu_kernels().full_float32() if ids.device.type == "cuda" else nullcontext():
        ids = ids[:, :_POSITIONS]
        hidden = _first_hidden_states(model, head, ids, name)
        logits = model(input_ids=ids, use_cache=False).logits[0].float()
        _check_head(model, head, hidden, logits, name)
        _compare(model, head, hidden, logits, name)


def _first_hidden_states(model: Model, head: Head, ids: torch.Tensor, name: str) -> torch.Tensor:
    """Return the hidden states of a few tokens; refuse a backbone that does not match the head or returns NaN."""
    import torch

    kind = type(model).__name__
    backbone: object = model.base_model
    if backbone is model:
        raise ScoreError(
            f"{name}: {kind} has no backbone separate from its head; models of this kind are not supported"
        )
    try:
        hidden = hidden_states(model, ids, None)
    except (RuntimeError, TypeError, ValueError) as problem:
        # The model mixes data types, or its backbone takes other inputs than tokens.
        raise ScoreError(f"{name}: the backbone of {kind} fails on the first tokens: {problem}") from None
    if hidden.dtype != head.weight.dtype or hidden.device != head.weight.device:
        raise ScoreError(
            f"{name}: hidden states are {hidden.dtype} on {hidden.device}, but the head is {head.weight.dtype} on "
            f"{head.weight.device}; the whole model must have one dtype and be on one device: use model.to(...)"
        )
    if not torch.isfinite(hidden).all():
        raise ScoreError(
            f"{name}: hidden states are not finite (NaN or infinite) for the first tokens; the weights are damaged, or activations "
            f"overflow in {hidden.dtype}"
        )
    return hidden


def _check_head(model: Model, head: Head, hidden: torch.Tensor, logits: torch.Tensor, name: str) -> None:
    """Refuse a head that does not match the shapes of hidden states and logits, or is not finite."""
    import torch

    if hidden.shape[-1] != head.weight.shape[1] or logits.shape[-1] != head.weight.shape[0]:
        raise ScoreError(
            f"{name}: hidden states of {hidden.shape[-1]} numbers and logits of {logits.shape[-1]} tokens do not fit the head, "
            f"which is {tuple(head.weight.shape)}; the head of {type(model).__name__} is not supported"
        )
    damaged = torch.isfinite(head.weight).all(dim=1).logical_not().nonzero()[:, 0]
    if damaged.numel():
        raise ScoreError(
            f"{name}: the head (lm_head) is not finite (NaN or infinite) for {damaged.numel()} tokens: "
            f"{listing(damaged.tolist())}; the weights are damaged"
        )


def _compare(model: Model, head: Head, hidden: torch.Tensor, logits: torch.Tensor, name: str) -> None:
    """Compare log-probabilities of our head with those of the model's own logits."""
    import torch

    n, vocabulary = logits.shape
    targets = torch.arange(n * _TARGETS, device=logits.device).mul_(7919).remainder_(vocabulary)
    ours = head.logprob(hidden[0].repeat_interleave(_TARGETS, dim=0), targets).reshape(n, _TARGETS)
    theirs = logits.log_softmax(dim=1).gather(1, targets.reshape(n, _TARGETS))
    # The model rounds its logits to its own dtype; ours are float32.
    allowed = 1e-4 + 2.0 * torch.finfo(hidden.dtype).eps * float(logits.abs().max())
    apart = float((ours - theirs).abs().max())
    if not apart <= allowed:
        raise ScoreError(
            f"{name}: log-probabilities from the last hidden states and the head differ from those of the model's own logits "
            f"by up to {apart:.3g} nats (allowed: {allowed:.1g}); {type(model).__name__} changes its logits in a way that is "
            f"not supported (its configuration says: scale {head.scale:g}, softcap {head.softcap})"
        )
