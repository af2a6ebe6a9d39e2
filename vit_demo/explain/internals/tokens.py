"""From photo to tokens, step by step, with the numbers of the loaded model (Dosovitskiy et al. 2021, section
3.1, equation 1).

z_0 = [x_class; x_p^1 E; ...; x_p^N E] + E_pos. The model itself does the same with a convolution whose
kernel and stride are the patch size; here each step can be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from vit_demo.explain.patches import PatchGrid, patchify
from vit_demo.explain.protocols import Classifier, backbone

if TYPE_CHECKING:
    from transformers.models.vit.modeling_vit import ViTEmbeddings


@dataclass(frozen=True)
class PatchRow:
    """What one patch is in each step, and [CLS] beside it; all float32.

    values: (V,), what is projected. pixels: (3, P, P), the patch as the model got it. projected, position and
    token: (D,), token = projected + position. cls, cls_position and cls_token: (D,), the same of token 0.
    """

    index: int
    row: int
    column: int
    pixels: np.ndarray
    values: np.ndarray
    projected: np.ndarray
    position: np.ndarray
    token: np.ndarray
    cls: np.ndarray
    cls_position: np.ndarray
    cls_token: np.ndarray


@dataclass(frozen=True)
class TokenSteps:
    """The steps of one photo, for N patches of V values and D hidden values; float32, on the CPU.

    pixel_values: (3, H, W). feature_map: (V, rows, columns) of a hybrid's CNN, None for a plain ViT, where V
    = P * P * C. values: (N, V), what is projected. projected: (N, D). with_cls: (N + 1, D). positions: (N +
    1, D), interpolated in 2D where the photo has another size than the model learned. tokens: (N + 1, D).
    """

    grid: PatchGrid
    pixel_values: np.ndarray
    feature_map: np.ndarray | None
    values: np.ndarray
    projected: np.ndarray
    with_cls: np.ndarray
    positions: np.ndarray
    tokens: np.ndarray
    interpolated: bool

    def follow(self, patch: int) -> PatchRow:
        """The row of one patch in each step. Raises UserError where there is no such patch."""
        left, top, right, bottom = self.grid.box(patch)
        row, column = divmod(patch, self.grid.columns)
        token = patch + 1  # token 0 is [CLS]
        return PatchRow(
            patch,
            row,
            column,
            self.pixel_values[:, top:bottom, left:right],
            self.values[patch],
            self.projected[patch],
            self.positions[token],
            self.tokens[token],
            self.with_cls[0],
            self.positions[0],
            self.tokens[0],
        )


@torch.no_grad()
def token_steps(classifier: Classifier, pixel_values: np.ndarray) -> TokenSteps:
    """The steps of one photo. pixel_values: (3, H, W) float32, as the processor made them."""
    embeddings = backbone(classifier.model).embeddings
    pixels = torch.from_numpy(pixel_values)[None].to(embeddings.cls_token.device)
    size = classifier.patch_size
    grid = PatchGrid.of(pixels, size)
    with torch.autocast(pixels.device.type, enabled=False):
        feature_map = _feature_map(embeddings, pixels)
        values = patchify(pixels, size) if feature_map is None else feature_map.flatten(2).transpose(1, 2)
        projection = embeddings.patch_embeddings.projection
        # The convolution as the matrix E of the paper: each row of weights is one filter, flattened as a
        # patch is.
        projected = values @ projection.weight.flatten(1).T + cast("Tensor", projection.bias)
        with_cls = torch.cat([embeddings.cls_token, projected], dim=1)
        positions, interpolated = _positions(embeddings, with_cls, pixels.shape[-2:])
        tokens = with_cls + positions
    return TokenSteps(
        grid,
        pixel_values,
        None if feature_map is None else _array(feature_map),
        _array(values),
        _array(projected),
        _array(with_cls),
        _array(positions),
        _array(tokens),
        interpolated,
    )


def _feature_map(embeddings: ViTEmbeddings, pixels: Tensor) -> Tensor | None:
    """What the CNN of a hybrid makes of the pixels, (1, V, rows, columns); None for a plain ViT."""
    make = getattr(embeddings.patch_embeddings, "feature_map", None)
    return None if make is None else make(pixels)


def _positions(embeddings: ViTEmbeddings, tokens: Tensor, size: torch.Size) -> tuple[Tensor, bool]:
    """The position embeddings (1, N + 1, D) for a photo of this size, and whether they had to be
    interpolated.
    """
    if tuple(size) == tuple(embeddings.image_size):
        return embeddings.position_embeddings, False
    return embeddings.interpolate_pos_encoding(tokens, *size), True


def _array(tensor: Tensor) -> np.ndarray:
    return tensor[0].cpu().numpy()
