"""Attention rollout: attention followed through all layers (Abnar and Zuidema 2020).

"Quantifying Attention Flow in Transformers", ACL 2020, https://arxiv.org/abs/2005.00928.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from vit_demo.common.errors import UserError


def attention_rollout(attentions: Iterable[Tensor], residual: float = 0.5) -> Tensor:
    """How much of each input token reaches each output token, along all paths of attention.

    With W_l the attention of layer l, averaged over its heads, and I the skip connection::

        A_l = (1 - residual) W_l + residual I      rows divided by their sum
        R_l = A_l R_(l-1),  R_1 = A_1              (the paper's eq. 1)

    attentions: one tensor (B, heads, T, T) a layer, the first layer first.
    residual: share of the skip connection, 0 to 1; the paper takes 0.5.
    Returns R of the last layer, (B, T, T), at least float32; each row sums to 1. Row i says where
    the final token i comes from; row 0 is the [CLS] token's.
    """
    if not 0.0 <= residual <= 1.0:
        raise UserError("error.explain.residual", residual=residual)
    rollout: Tensor | None = None
    for attention in attentions:
        step = _with_residual(attention, residual)
        rollout = step if rollout is None else _product(step, rollout)
    if rollout is None:
        raise ValueError("attention rollout needs the attention of at least one layer")
    return rollout


def cls_rollout(attentions: Sequence[Tensor], residual: float = 0.5) -> Tensor:
    """Row 0 of :func:`attention_rollout`, the [CLS] token's, (B, T): a row is multiplied through instead of
    whole matrices.

    attentions: as there; of the last layer the row of [CLS] alone, (B, heads, 1, T), is enough.
    """
    row: Tensor | None = None
    for attention in reversed(attentions):
        if row is None:
            row = (1 - residual) * attention[:, :, 0].mean(
                dim=1, dtype=torch.promote_types(attention.dtype, torch.float32)
            )
            row[:, 0] += residual
        else:
            # A mean over heads that is taken already is not taken again.
            mean = (
                attention[:, 0].to(row.dtype)
                if attention.shape[1] == 1
                else attention.mean(dim=1, dtype=row.dtype)
            )
            row = (1 - residual) * _product(row[:, None], mean)[:, 0] + residual * row
        row = row / row.sum(dim=-1, keepdim=True)
    assert row is not None  # a model has a layer or more
    return row


def _with_residual(attention: Tensor, residual: float) -> Tensor:
    """One layer's (B, heads, T, T) as the row-stochastic A of the formula, (B, T, T)."""
    # Half precision loses the small weights, of which a product over all layers is made.
    dtype = torch.promote_types(attention.dtype, torch.float32)
    mean = attention.to(dtype).mean(dim=1)
    identity = torch.eye(mean.shape[-1], dtype=dtype, device=mean.device)
    mixed = (1.0 - residual) * mean + residual * identity
    return mixed / mixed.sum(dim=-1, keepdim=True)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` in the inputs' own precision, which autocast would lower."""
    with torch.autocast(left.device.type, enabled=False):
        return left @ right
