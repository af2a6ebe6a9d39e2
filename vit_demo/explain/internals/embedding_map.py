"""A data set as the model sees it: the [CLS] features of many photos, laid out in two dimensions.

Two photos that lie close together look alike to the model. Two dimensions cannot keep all distances of
hundreds, so each layout comes with a number that says how far its neighbours can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from vit_demo.common.errors import UserError
from vit_demo.model.classifier import autocast

if TYPE_CHECKING:
    from transformers import ViTForImageClassification

FEWEST = 5
# Of these many nearest neighbours the trust is measured.
NEIGHBOURS = 10
PERPLEXITY = 30.0
SEED = 0


class Classifier(Protocol):
    """What this module needs of ``vit_demo.model.classifier.LeafClassifier``."""

    @property
    def model(self) -> ViTForImageClassification:
        """Its head is ``classifier``."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""

    def features(self, photos: Tensor, batch_size: int = 16) -> Tensor:
        """The [CLS] token after the last layer norm, float32 (B, D) on the CPU, of uint8 photos (B, 3, H,
        W).
        """


@dataclass(frozen=True)
class Layout:
    """Photos as points of a plane.

    points: float32 (B, 2). trust: trustworthiness of their neighbours, 0 to 1; points at random have about
    0.5. neighbours: how many nearest ones of each point it was measured with. explained: of PCA, the share of
    the variance that each of the two axes holds; None for t-SNE, whose axes hold none.
    """

    points: np.ndarray
    trust: float
    neighbours: int
    explained: tuple[float, float] | None = None


@torch.inference_mode()
def features_and_probabilities(
    classifier: Classifier, photos: Tensor, batch_size: int = 16, temperature: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """What the head sees and what it says, from one forward. photos: uint8 (B, 3, H, W).
    temperature: what the logits are divided by.

    Returns float32 (B, D), the [CLS] token after the last layer norm, and float32 (B, C), rows sum to 1.
    """
    features = classifier.features(photos, batch_size)
    with autocast(classifier.device):
        logits = classifier.model.classifier(features.to(classifier.device))
    return features.numpy(), (logits.float() / temperature).softmax(dim=-1).cpu().numpy()


def pca_layout(features: np.ndarray) -> Layout:
    """The two directions in which the features (B, D) differ the most (principal components; Pearson 1901).

    Raises UserError where there are too few photos, or the model gives no numbers for them.
    """
    from sklearn.decomposition import PCA

    features = _checked(features)
    if not features.std(axis=0).any():  # photos that are all the same to the model: no direction stands out
        return _layout(features, np.zeros((len(features), 2)), (0.0, 0.0))
    pca = PCA(n_components=2, svd_solver="full")
    points = pca.fit_transform(features)
    across, up = pca.explained_variance_ratio_
    return _layout(features, points, (float(across), float(up)))


def tsne_layout(features: np.ndarray, perplexity: float = PERPLEXITY, seed: int = SEED) -> Layout:
    """t-SNE of the features (B, D): neighbours stay neighbours, far distances mean little (van der Maaten and
    Hinton 2008).

    It starts from PCA, so that two runs of it are alike. perplexity: about how many neighbours each photo is
    kept near to; at most a third of the photos. Raises UserError as :func:`pca_layout`.
    """
    from sklearn.manifold import TSNE

    features = _checked(features)
    perplexity = min(perplexity, (len(features) - 1) / 3)
    if not features.std(axis=0).any():
        return _layout(features, np.zeros((len(features), 2)))
    points = TSNE(
        n_components=2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed
    ).fit_transform(features)
    return _layout(features, points)


def _layout(features: np.ndarray, points: np.ndarray, explained: tuple[float, float] | None = None) -> Layout:
    """The points with their trustworthiness (Venna and Kaski 2001): it falls with each neighbour on the map
    that is none in all dimensions.
    """
    from sklearn.manifold import trustworthiness

    neighbours = min(
        NEIGHBOURS, (len(features) - 1) // 2
    )  # the measure is defined for less than half of the photos
    trust = float(trustworthiness(features, points, n_neighbors=neighbours))
    return Layout(points.astype(np.float32), trust, neighbours, explained)


def _checked(features: np.ndarray) -> np.ndarray:
    if len(features) < FEWEST:
        raise UserError("error.explain.map_photos", fewest=FEWEST, number=len(features))
    if not np.isfinite(features).all():
        raise UserError("error.explain.no_numbers")
    return features.astype(np.float64)
