"""The encoder of a ViT as plain products: the model's own parameters and sums, with less traffic through the
memory.

Fused attention never builds the attention probabilities and is slow on CPUs. :func:`encode` computes what
transformers' ``ViTModel`` computes after its embeddings, but

- queries, keys and values come from one product instead of three,
- activations are cast once a product, and attention stays in one type; the residual stream and the norms'
  sums stay in float32, as under autocast,
- attention is plain, so that its probabilities can be recorded, also for their gradients,
- where nobody asks for gradients, GELU is computed on each piece of the product before it, while that is in
  the cache,
- of the last block only the [CLS] token is computed, since the head reads no other.

It sets no hook and changes nothing in the model, which other threads may use at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, layer_norm, linear
from transformers.activations import GELUActivation

from vit_demo.common.compat import GELU_AFTER, linear_then, onednn_fuses

if TYPE_CHECKING:
    from transformers import ViTModel
    from transformers.models.vit.modeling_vit import ViTAttention, ViTLayer, ViTMLP

# With fewer tokens than this in a batch, to put three weights together takes longer than one product in the
# place of three saves.
FEW_TOKENS = 600

# Takes the attention probabilities of one block, in the type of the products: (B, heads, T, T), of the last
# block (B, heads, 1, T).
Record = Callable[[Tensor], object]


def layers_of(vit: ViTModel) -> list[ViTLayer]:
    """The blocks of the encoder, the first one first."""
    return cast("list[ViTLayer]", list(vit.layers))


def encode(vit: ViTModel, tokens: Tensor, dtype: torch.dtype, record: Record | None = None) -> Tensor:
    """The [CLS] token after all blocks and the final layer norm, float32 (B, D); keeps gradients.

    tokens: float32 (B, T, D), as the embeddings give them. dtype: of the products, float32 or bfloat16.
    record: is called with the attention of each block, the first block first.
    """
    *blocks, last = layers_of(vit)
    for block in blocks:
        tokens = encoder_block(block, tokens, dtype, record)
    tokens = encoder_block(last, tokens, dtype, record, cls_only=True)
    cls_token: Tensor = vit.layernorm(tokens[:, 0])
    return cls_token


def encoder_block(
    block: ViTLayer, tokens: Tensor, dtype: torch.dtype, record: Record | None = None, cls_only: bool = False
) -> Tensor:
    """One block on float32 tokens (B, T, D); with ``cls_only`` only the first of the new tokens, (B, 1,
    D).
    """
    normed = _norm(block.layernorm_before, tokens, dtype)
    return block_after_norm(block, tokens, normed, record, cls_only)


def block_after_norm(
    block: ViTLayer, tokens: Tensor, normed: Tensor, record: Record | None = None, cls_only: bool = False
) -> Tensor:
    """The rest of a block whose first layer norm gave ``normed`` (B, T, D), in the type of the products."""
    mlp = block.mlp
    mixed = _attend(block.attention, normed, record, cls_only)
    tokens = (tokens[:, :1] if cls_only else tokens) + block.dropout(mixed)
    hidden = _activated(mlp, _norm(block.layernorm_after, tokens, normed.dtype))
    added: Tensor = block.dropout(_project([mlp.fc2], hidden))
    return tokens + added


def _attend(attention: ViTAttention, tokens: Tensor, record: Record | None, cls_only: bool) -> Tensor:
    """Self-attention (Vaswani et al. 2017, eq. 1) of tokens (B, T, D), for all of them or for the first
    alone.
    """
    projections = [attention.q_proj, attention.k_proj, attention.v_proj]
    if cls_only:
        query = _heads(_project(projections[:1], tokens[:, :1]), 1, attention.head_dim)[0]
        key, value = _heads(_project(projections[1:], tokens), 2, attention.head_dim)
    else:
        query, key, value = _heads(_project(projections, tokens), 3, attention.head_dim)
    weights = ((query * attention.scaling) @ key.transpose(-1, -2)).softmax(dim=-1)
    if record is not None:
        record(weights)
    weights = dropout(weights, attention.attention_dropout, attention.training)
    return _project([attention.o_proj], (weights @ value).transpose(1, 2).flatten(2))


def _activated(mlp: ViTMLP, values: Tensor) -> Tensor:
    """The first product of an MLP and its activation."""
    fuses = values.dtype == torch.bfloat16 and values.device.type == "cpu" and not torch.is_grad_enabled()
    if fuses and isinstance(mlp.activation_fn, GELUActivation) and onednn_fuses():
        bias = None if mlp.fc1.bias is None else mlp.fc1.bias.to(values.dtype)
        return linear_then(values, mlp.fc1.weight.to(values.dtype), bias, GELU_AFTER)
    activated: Tensor = mlp.activation_fn(_project([mlp.fc1], values))
    return activated


def _heads(projected: Tensor, parts: int, head_dim: int) -> Tensor:
    """(B, T, parts * heads * head_dim) as (parts, B, heads, T, head_dim), contiguous."""
    return torch.unflatten(projected, -1, (parts, -1, head_dim)).permute(2, 0, 3, 1, 4).contiguous()


def _norm(norm: nn.LayerNorm, tokens: Tensor, dtype: torch.dtype) -> Tensor:
    return layer_norm(tokens, norm.normalized_shape, norm.weight, norm.bias, norm.eps).to(dtype)


def _project(layers: list[nn.Linear], values: Tensor) -> Tensor:
    """The outputs of linear layers with the same input, side by side, as one product in the type of
    ``values``.
    """
    if len(layers) > 1 and values.shape[0] * values.shape[1] < FEW_TOKENS:
        return torch.cat([_project([layer], values) for layer in layers], dim=-1)
    weight = torch.cat([layer.weight for layer in layers]) if len(layers) > 1 else layers[0].weight
    bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers]).to(values.dtype)
    return linear(values, weight.to(values.dtype), bias)
