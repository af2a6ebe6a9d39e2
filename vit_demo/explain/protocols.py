"""What this room needs of a model, and the attention of one photo, which most of it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from PIL import Image
from torch import Tensor

from vit_demo.explain.patches import PatchGrid

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ViTForImageClassification, ViTModel
    from transformers.models.vit.modeling_vit import ViTLayer


class Classifier(Protocol):
    """What this room needs of ``vit_demo.model.classifier.LeafClassifier``; the model is in evaluation
    mode.
    """

    model: ViTForImageClassification

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""

    def preprocess(self, photos: list[Image.Image], size: tuple[int, int] | None = None) -> Tensor:
        """``pixel_values`` (B, 3, H, W), float32, on the model's device. size: (H, W), None for the model's
        own.
        """

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits (B, C), also at another size than the model's own; keeps gradients."""

    def forward_fast(self, pixel_values: Tensor) -> Tensor:
        """The same without gradients, float32, computed in bf16 where that is faster."""

    def needs_interpolation(self, pixel_values: Tensor) -> bool:
        """Whether these pixels are of another size than the position embeddings were learned for."""


def backbone(model: PreTrainedModel) -> ViTModel:
    """The ViT of a ``ViTForImageClassification`` without its head; a ``ViTModel`` itself."""
    return cast("ViTModel", model.base_model)


def blocks_of(model: PreTrainedModel) -> list[ViTLayer]:
    """The blocks of its encoder, the first first."""
    return cast("list[ViTLayer]", list(backbone(model).layers))


@dataclass(frozen=True)
class TokenAttention:
    """The attention of one photo, all of it.

    weights: (layers, heads, T, T) float32, rows sum to 1; token 0 is [CLS].
    """

    weights: np.ndarray
    grid: PatchGrid

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.weights)

    @property
    def heads(self) -> int:
        """Number of heads in a layer."""
        heads: int = self.weights.shape[1]
        return heads
