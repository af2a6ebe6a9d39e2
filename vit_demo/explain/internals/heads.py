"""What one token attends to in every layer and head at once."""

from __future__ import annotations

import numpy as np

from vit_demo.explain.protocols import TokenAttention


def attention_from(attention: TokenAttention, query: int | None = None) -> np.ndarray:
    """Attention of one token to all tokens, (layers, heads, T); rows sum to 1. query: the patch that looks,
    None for [CLS].

    Raises UserError for a patch that does not exist.
    """
    return attention.weights[:, :, 0 if query is None else attention.grid.check(query) + 1]


def patch_maps(attention: TokenAttention, query: int | None = None) -> np.ndarray:
    """The same for the patches alone, on their grid: (layers, heads, rows, columns)."""
    found = attention_from(attention, query)[..., 1:]
    return found.reshape(*found.shape[:2], attention.grid.rows, attention.grid.columns)


def patches_for_half(maps: np.ndarray) -> np.ndarray:
    """How few patches hold half of the attention that a map pays to patches, int64 (...). maps: (..., rows,
    columns).

    Few for a head that looks at one spot, half of all patches for one that looks everywhere alike.
    """
    falling = -np.sort(-maps.reshape(*maps.shape[:-2], -1).astype(np.float64), axis=-1)
    sums: np.ndarray = falling.cumsum(axis=-1)
    found: np.ndarray = (sums < sums[..., -1:] / 2 * (1 - 1e-9)).sum(axis=-1) + 1
    return found
