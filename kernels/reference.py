"""The kernels in plain torch: slow, short, obviously right, on any device and in any floating dtype.

`dtype` is the precision of every intermediate, by default that of `prob` (or `hidden`). Sums come back in float64.
The tests hold a kernel to at most twice the error these make in the same dtype, both measured against float64.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch


def row_pass(
    prob: torch.Tensor,
    offset: torch.Tensor,
    weight: torch.Tensor,
    mixture: torch.Tensor,
    *,
    dtype: torch.dtype | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute value, gradient and Hessian of the ensemble loss.

    ``L(w) = -sum_i c_i (log(sum_k w_k p_ik) + offset_i)``, in nats, where ``p_ik = exp(l_ik - offset_i)``.

    Parameters
    ----------
    prob : (n, K) floating tensor
    offset, weight : (n,) tensors
        The shift taken out of row i, and its weight c_i >= 0. Rows of weight 0 count for nothing, whatever they hold.
    mixture : (K,) tensor
    dtype : torch.dtype, optional
        Precision of the computation.

    Returns
    -------
    value (), gradient (K,), Hessian (K, K) : float64 tensors
        Where a row has no mass under the mixture the value is inf and the gradient has -inf.
    """
    dtype = dtype or prob.dtype
    used = weight > 0
    p, c, shift = prob[used].to(dtype), weight[used].to(dtype), offset[used].to(dtype)
    total = p @ mixture.to(dtype)
    value = -(c * (torch.log(total) + shift)).sum()
    v = torch.where(p > 0, p / total[:, None], 0.0)
    gradient = -(c[:, None] * v).sum(dim=0)
    hessian = v.T @ (c[:, None] * v)
    return value.double(), gradient.double(), hessian.double()


def mixture_nll(
    prob: torch.Tensor,
    offset: torch.Tensor,
    weight: torch.Tensor,
    groups: torch.Tensor,
    mixtures: torch.Tensor,
    *,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Compute the losses of M mixtures on each group of rows.

    Parameters
    ----------
    prob, offset, weight
        As in `row_pass`.
    groups : (G + 1,) integer tensor
        Group g is the rows ``groups[g]:groups[g + 1]``.
    mixtures : (M, K) tensor
    dtype : torch.dtype, optional
        Precision of the computation.

    Returns
    -------
    (M, G) float64 tensor
        Nats; 0 for a group without rows.
    """
    dtype = dtype or prob.dtype
    w = mixtures.to(dtype)
    bounds = groups.tolist()
    out = torch.zeros((w.shape[0], len(bounds) - 1), dtype=torch.float64, device=prob.device)
    for g, (start, stop) in enumerate(pairwise(bounds)):
        c = weight[start:stop]
        used = c > 0
        p, shift, c = prob[start:stop][used].to(dtype), offset[start:stop][used].to(dtype), c[used].to(dtype)
        out[:, g] = -(c[:, None] * (torch.log(p @ w.T) + shift[:, None])).sum(dim=0).double()
    return out


def token_logprob(
    hidden: torch.Tensor | Sequence[torch.Tensor],
    head: torch.Tensor | Sequence[torch.Tensor],
    target: torch.Tensor,
    *,
    softcap: float | None = None,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Compute each expert's log-probability of the target tokens.

    ``out[i, e] = log softmax(hidden_e[i] @ head_e.T)[target[i]]``

    Parameters
    ----------
    hidden : (n, D) tensor, or one for each expert
        Last hidden states.
    head : (V, D) tensor, or one for each expert
        Output embeddings. Experts may differ in D, not in vocabulary.
    target : (n,) integer tensor
    softcap : float, optional
        Logits x become ``softcap * tanh(x / softcap)``.
    dtype : torch.dtype, optional
        Precision of the computation; also of the result when it is float64, which is float32 otherwise.

    Returns
    -------
    (n, experts) tensor, nats
    """
    hiddens = [hidden] if isinstance(hidden, torch.Tensor) else list(hidden)
    heads = [head] if isinstance(head, torch.Tensor) else list(head)
    columns = []
    for h, e in zip(hiddens, heads, strict=True):
        precision = dtype or h.dtype
        logits = h.to(precision) @ e.to(precision).T
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        columns.append(torch.log_softmax(logits, dim=-1).gather(1, target[:, None].long())[:, 0])
    out = torch.stack(columns, dim=1)
    return out if out.dtype == torch.float64 else out.float()
