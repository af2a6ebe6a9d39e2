"""How far a head looks: mean attention distance (Dosovitskiy et al. 2021, figure 7, right, and appendix D.7).

"An Image is Worth 16x16 Words", https://arxiv.org/abs/2010.11929. It is to attention what the size of
the receptive field is to a CNN.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import TokenAttention

_PATCHES = slice(1, None)  # all tokens but [CLS], which lies nowhere


def patch_distances(grid: PatchGrid) -> np.ndarray:
    """Distance in pixels between the centres of each two patches, (N, N) float32."""
    rows, columns = np.divmod(np.arange(grid.num_patches), grid.columns)
    far: np.ndarray = np.hypot(rows[:, None] - rows, columns[:, None] - columns) * grid.patch_size
    return far.astype(np.float32)


def attention_distance(attention: TokenAttention) -> np.ndarray:
    """Mean attention distance of each head in pixels, (layers, heads) float32.

    With a_ij the attention that patch i pays to patch j and d_ij the distance of their centres, a head has ::

        mean over i of  sum_j a_ij d_ij / sum_j a_ij

    i and j run over the patches; [CLS] has no place and is left out on both sides.
    """
    distances = patch_distances(attention.grid)
    return np.stack([_of_layer(layer[:, _PATCHES, _PATCHES], distances) for layer in attention.weights])


def mean_attention_distance(attentions: Iterable[TokenAttention]) -> np.ndarray:
    """The mean of :func:`attention_distance` over photos, (layers, heads) float32; they are read one by
    one.
    """
    total, photos = None, 0
    for attention in attentions:
        distance = attention_distance(attention).astype(np.float64)
        total = distance if total is None else total + distance
        photos += 1
    if total is None:
        raise ValueError("the mean attention distance needs at least one photo")
    return (total / photos).astype(np.float32)


def even_distance(grid: PatchGrid) -> float:
    """Mean attention distance in pixels of a head that looks at all patches alike."""
    return float(patch_distances(grid).mean(dtype=np.float64))


def _of_layer(weights: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """weights: (heads, N, N). distances: (N, N). Returns (heads,)."""
    # einsum and not a product: that would be a copy of the whole layer.
    far = np.einsum("hij,ij->hi", weights, distances)
    mean: np.ndarray = (far / weights.sum(axis=-1)).mean(axis=-1)
    return mean
