"""What the patch embedding looks for: its weights as small colour pictures (Dosovitskiy et al. 2021, figure
7, left).

"An Image is Worth 16x16 Words", https://arxiv.org/abs/2010.11929.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from vit_demo.explain.protocols import backbone
from vit_demo.model.hybrid import HybridPatchEmbeddings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# As many as the paper shows.
COMPONENTS = 28


@dataclass(frozen=True)
class Filters:
    """Filters over RGB pixels, the most important first where they are principal components.

    tiles: (K, 3, height, width) float32; zero is a pixel that does not count. of: how many filters the layer
    has. ratio: (K,) share of the variance between all filters that each component holds; None where the tiles
    are the filters themselves.
    """

    tiles: np.ndarray
    of: int
    ratio: np.ndarray | None


def embedding_filters(model: PreTrainedModel, components: int = COMPONENTS) -> Filters:
    """The first principal components of a ViT's projection, or all kernels of a CNN hybrid's first
    convolution.

    A hybrid projects feature maps, which have no colours; what reads its pixels is the CNN's first layer.
    """
    embeddings = backbone(model).embeddings.patch_embeddings
    if isinstance(embeddings, HybridPatchEmbeddings):
        kernels = (
            embeddings.backbone.embedder.embedder.convolution.weight.detach().float().cpu().numpy().copy()
        )
        return Filters(kernels, len(kernels), None)
    weights = embeddings.projection.weight.detach().float().cpu().numpy()
    return principal_filters(weights, components)


def principal_filters(weights: np.ndarray, components: int = COMPONENTS) -> Filters:
    """Principal components of D filters (D, 3, P, P), each filter one sample of 3 P^2 values; at most D - 1
    and 3 P^2 of them.

    A component's sign means nothing: here its largest value is positive. Each has length 1.
    """
    samples = weights.reshape(len(weights), -1).astype(np.float64)
    centred, values = samples - samples.mean(axis=0), samples.shape[1]
    count = min(components, len(weights) - 1, values)
    covariance = centred.T @ centred
    # Only the largest are computed, which takes a fraction of the time of all.
    variance, directions = scipy.linalg.eigh(covariance, subset_by_index=[values - count, values - 1])
    variance, found = variance[::-1], directions.T[::-1]
    largest = np.abs(found).argmax(axis=1)
    found = found * np.sign(found[np.arange(count), largest])[:, None]
    return Filters(
        found.reshape(count, *weights.shape[1:]).astype(np.float32),
        len(weights),
        variance / np.trace(covariance),
    )
