"""The kernels in plain torch: slow, short and easy to check, on any device and in any floating dtype.

`dtype` is the precision of every intermediate, by default that of `loglik` (or `hidden`). Sums come back in float64.
The tests hold a kernel to at most twice the error these make in the same dtype, both measured against float64.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch


def row_pass(
    loglik: torch.Tensor,
    weight: torch.Tensor | float,
    mixture: torch.Tensor,
    *,
    columns: torch.Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute value, gradient and Hessian of the ensemble loss.

    ``L(w) = -sum_i c_i log(sum_k w_k exp(l_ik))``, in nats.

    Parameters
    ----------
    loglik : (n, K) floating tensor
    weight : (n,) tensor or float
        c_i >= 0, or the common weight. Rows of weight 0 are ignored, whatever they hold.
    mixture : (C,) tensor
    columns : (C,) integer tensor, optional
        The experts in use; all by default.
    dtype : torch.dtype, optional
        Precision of the computation.

    Returns
    -------
    value (), gradient (C,), Hessian (C, C) : float64 tensors
        If a row has no mass under the mixture, the value is inf.
    """
    p, c, shift = _rows(loglik, weight, columns, dtype or loglik.dtype)
    total = p @ mixture.to(p.dtype)
    value = -(c * (torch.log(total) + shift)).sum()
    v = p / total[:, None]
    gradient = -(c[:, None] * v).sum(dim=0)
    hessian = v.T @ (c[:, None] * v)
    return value.double(), gradient.double(), hessian.double()


def _rows(
    loglik: torch.Tensor, weight: torch.Tensor | float, columns: torch.Tensor | None, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return probabilities divided by the row maximum, weights, and log row maxima, for the rows with positive weight."""
    if not isinstance(weight, torch.Tensor):
        weight = torch.full((loglik.shape[0],), weight, dtype=torch.float64, device=loglik.device)
    used = weight > 0
    values = loglik[used].to(dtype)
    values = values if columns is None else values[:, columns.long()]
    top = values.amax(dim=1) if values.shape[0] else values.new_zeros(0)
    return torch.exp(values - top[:, None]), weight[used].to(dtype), top


def mixture_nll(
    loglik: torch.Tensor,
    weight: torch.Tensor | float,
    groups: Sequence[int],
    mixtures: torch.Tensor,
    *,
    columns: torch.Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Compute the losses of M mixtures on each group of rows.

    Parameters
    ----------
    loglik, weight, columns
        As in `row_pass`.
    groups : G + 1 int
        Group g is the rows ``groups[g]:groups[g + 1]``.
    mixtures : (M, C) tensor
    dtype : torch.dtype, optional
        Precision of the computation.

    Returns
    -------
    (M, G) float64 tensor
        Nats; 0 for a group without rows.
    """
    dtype = dtype or loglik.dtype
    w = mixtures.to(dtype)
    out = torch.zeros((w.shape[0], len(groups) - 1), dtype=torch.float64, device=loglik.device)
    for g, (start, stop) in enumerate(pairwise(groups)):
        c = weight[start:stop] if isinstance(weight, torch.Tensor) else weight
        p, c, shift = _rows(loglik[start:stop], c, columns, dtype)
        out[:, g] = -(c[:, None] * (torch.log(p @ w.T) + shift[:, None])).sum(dim=0).double()
    return out


def _picked_logprob(
    logits: torch.Tensor,
    target: torch.Tensor,
    softcap: float | None,
    scale: float,
    ignore_index: int,
    vocab: int | None,
) -> torch.Tensor:
    """Return log softmax of the transformed logits at the targets, and 0 in ignored rows."""
    logits = scale * logits[:, :vocab]
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    used = target != ignore_index
    column = torch.where(used, target, 0).long()
    logprob = torch.log_softmax(logits, dim=-1).gather(1, column[:, None])[:, 0]
    return torch.where(used, logprob, 0.0)


def token_logprob(
    hidden: torch.Tensor | Sequence[torch.Tensor],
    head: torch.Tensor | Sequence[torch.Tensor],
    target: torch.Tensor,
    *,
    bias: torch.Tensor | Sequence[torch.Tensor | None] | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    vocab: int | None = None,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Compute each expert's log-probability of the target tokens.

    ``out[i, e] = log softmax(cap(scale * (hidden_e[i] @ head_e.T + bias_e)))[target[i]]``, where ``cap(x)`` is
    ``softcap * tanh(x / softcap)``.

    Parameters
    ----------
    hidden : (n, D) or (E, n, D) tensor, or a list of (n, D) tensors
        Last hidden states.
    head : (V, D) or (E, V, D) tensor, or a list of (V, D) tensors
        Output embeddings. Experts may differ in D, not in vocabulary.
    target : (n,) integer tensor
    bias : (V,) or (E, V) tensor, or a list, optional
    softcap : float, optional
        Logits x become ``softcap * tanh(x / softcap)``.
    scale : float
        Positive factor of the logits, before the cap.
    ignore_index : int
        Rows with this target give 0.
    vocab : int, optional
        Columns that count; those beyond it are padding.
    dtype : torch.dtype, optional
        Precision of the computation; also of the result when it is float64, which is float32 otherwise.

    Returns
    -------
    (n,) tensor for one (n, D) tensor, (n, experts) otherwise; nats
    """
    single = isinstance(hidden, torch.Tensor) and hidden.ndim == 2
    hiddens, heads = ([hidden], [head]) if single else (list(hidden), list(head))
    biases = [bias] if single else [None] * len(hiddens) if bias is None else list(bias)
    columns = []
    for h, e, b in zip(hiddens, heads, biases, strict=True):
        precision = dtype or h.dtype
        logits = h.to(precision) @ e.to(precision).T
        if b is not None:
            logits = logits + b.to(precision)
        columns.append(_picked_logprob(logits, target, softcap, scale, ignore_index, vocab))
    out = columns[0] if single else torch.stack(columns, dim=1)
    return out if out.dtype == torch.float64 else out.float()


def token_logprob_from_logits(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    vocab: int | None = None,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Compute the log-probability of the target tokens from (n, V) logits; parameters as in `token_logprob`.

    Returns
    -------
    (n,) tensor, nats
    """
    out = _picked_logprob(logits.to(dtype or logits.dtype), target, softcap, scale, ignore_index, vocab)
    return out if out.dtype == torch.float64 else out.float()
