"""What a forward of a Vision Transformer costs, and what other ways to attend would cost.

A FLOP is one multiplication or one addition, so that a multiply-add counts 2. Counted are the matrix
products, as ``torch.utils.flop_counter`` counts them: layer norms, softmax, GELU and the additions of bias,
position and residual are a few hundredths of it at most. For T tokens of D values, L layers, an MLP of M
hidden values and tokens made of V values each:

- patch projection, query, key, value and output projections, MLP: 2 N V D + L (8 T D^2 + 4 T D M), and the
  head 2 D K for K classes;
- attention: L 4 D pairs, which are 2 D a pair for q k^T and 2 D for the weighted sum of the values. With full
  attention there are T^2 pairs of a query and a key.

Without the MLP, one layer is equation 1 in Liu et al. 2021 (Swin, https://arxiv.org/abs/2103.14030), which
counts multiply-adds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from transformers import ViTConfig

from vit_demo.explain.patches import PatchGrid

BYTES_FP32 = 4
SWIN_WINDOW = 7


@dataclass(frozen=True)
class Encoder:
    """What of a model decides its cost. mlp_size: hidden values of the MLP. classes: outputs of the head, 0
    for none.
    """

    depth: int
    hidden_size: int
    heads: int
    mlp_size: int
    classes: int = 0

    @classmethod
    def of(cls, config: ViTConfig) -> Encoder:
        """That of a loaded model."""
        return cls(
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            cast("int", config.num_labels),  # a classifier always has labels
        )


@dataclass(frozen=True)
class Cost:
    """Of one photo. pairs: of a query and a key, in one head of one layer. Bytes: the attention probabilities
    of one layer in fp32.
    """

    tokens: int
    pairs: int
    linear_flops: int
    attention_flops: int
    attention_bytes: int

    @property
    def flops(self) -> int:
        """Of the whole forward."""
        return self.linear_flops + self.attention_flops


def full_attention(encoder: Encoder, grid: PatchGrid) -> Cost:
    """A ViT: each patch one token, [CLS] in front, each token attends to all. With patches of 1 pixel:
    attention over pixels.
    """
    return _cost(encoder, grid, grid.num_tokens, grid.num_tokens**2)


def window_attention(encoder: Encoder, grid: PatchGrid, window: int = SWIN_WINDOW) -> Cost:
    """Local attention in windows of ``window`` x ``window`` tokens (Liu et al. 2021, section 3.2), without
    [CLS].

    Windows that the edge cuts hold fewer tokens, and their pairs only are counted.
    """
    down, across = (side // window * window**2 + (side % window) ** 2 for side in (grid.rows, grid.columns))
    return _cost(encoder, grid, grid.num_patches, down * across)


def strided_attention(encoder: Encoder, grid: PatchGrid) -> Cost:
    """Strided sparse attention (Child et al. 2019, https://arxiv.org/abs/1904.10509, section 4.2), without
    [CLS].

    Token i attends to the tokens i - l .. i and to each l-th before it, {j <= i: (i - j) mod l = 0}, with l =
    sqrt(N): as in the paper, only backwards. That is i + 1 tokens for i < l, else l + floor(i / l).
    """
    count = grid.num_patches
    stride = math.isqrt(count)
    last = (count - 1) // stride  # the largest floor(i / l), reached by the tokens left over
    floors = stride * (last - 1) * last // 2 + last * (count - last * stride)
    return _cost(encoder, grid, count, stride * (stride + 1) // 2 + (count - stride) * stride + floors)


def _cost(encoder: Encoder, grid: PatchGrid, tokens: int, pairs: int) -> Cost:
    hidden, depth = encoder.hidden_size, encoder.depth
    layer = 8 * tokens * hidden**2 + 4 * tokens * hidden * encoder.mlp_size
    ends = 2 * grid.num_patches * grid.values_per_patch * hidden + 2 * hidden * encoder.classes
    return Cost(
        tokens, pairs, ends + depth * layer, depth * 4 * hidden * pairs, BYTES_FP32 * encoder.heads * pairs
    )
