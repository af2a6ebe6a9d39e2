"""Position embeddings: how alike they are, and what becomes of them at another resolution.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", https://arxiv.org/abs/2010.11929: similarity in
figure 7 (centre), 2D interpolation in section 3.2. The [CLS] token's own position embedding has no place
on the grid and is left out everywhere here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import scipy.linalg
import torch
from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import Classifier, backbone

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Sides of a photo to try, as shares of the model's own; for 224 px and patches of 16 px: 112, 160, 192, 224,
# 288, 320, 384.
SHARES = (0.5, 0.7, 0.85, 1.0, 1.3, 1.42, 1.7)
_SMALLEST_LENGTH = 1e-12


def learned_positions(model: PreTrainedModel) -> np.ndarray:
    """The position embedding of each patch on the grid it was learned for, (rows, columns, D) float32."""
    embeddings = backbone(model).embeddings
    height, width = embeddings.image_size
    grid = PatchGrid(height, width, cast("int", embeddings.patch_size))
    # A copy: on the CPU the array would be the model's own memory.
    return (
        embeddings.position_embeddings[0, 1:]
        .detach()
        .float()
        .cpu()
        .numpy()
        .reshape(grid.rows, grid.columns, -1)
        .copy()
    )


def similarities(positions: np.ndarray) -> np.ndarray:
    """Cosine similarity of each position with all, -1 to 1. positions: (rows, columns, D). Returns (rows,
    columns, rows, columns).
    """
    rows, columns = positions.shape[:2]
    units = _units(positions).reshape(rows * columns, -1)
    found: np.ndarray = (units @ units.T).reshape(rows, columns, rows, columns)
    return found


def similarities_of(positions: np.ndarray, row: int, column: int) -> np.ndarray:
    """One map of :func:`similarities`, (rows, columns), without the others."""
    units = _units(positions)
    found: np.ndarray = units @ units[row, column]
    return found


def interpolate_positions(positions: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Position embeddings for another grid by 2D bicubic interpolation, (rows, columns, D), as transformers
    computes them.

    positions: (any rows, any columns, D). transformers does so for models that were trained on a square grid
    only (see :func:`can_interpolate`).
    """
    channels_first = torch.from_numpy(positions).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        channels_first, size=(rows, columns), mode="bicubic", align_corners=False
    )
    return resized[0].permute(1, 2, 0).numpy()


def can_interpolate(positions: np.ndarray) -> bool:
    """Whether transformers can read photos of another size with these (rows, columns, D): it takes the root
    of their number as the side.
    """
    rows, columns = positions.shape[:2]
    return bool(rows == columns)


def counterpart(place: tuple[int, int], before: tuple[int, int], after: tuple[int, int]) -> tuple[int, int]:
    """Row and column on the grid ``after`` (rows, columns) of what holds the centre of ``place`` on the grid
    ``before``.
    """
    row, column = (int((index + 0.5) * new / old) for index, old, new in zip(place, before, after))
    return row, column


@dataclass(frozen=True)
class ColourScale:
    """How position embeddings of D values become colours: their first three principal components as red,
    green and blue.

    mean: (D,). directions: (3, D), the largest value of each positive. low, span: (3,), where each colour
    begins and how far it reaches.
    """

    mean: np.ndarray
    directions: np.ndarray
    low: np.ndarray
    span: np.ndarray

    def colours(self, positions: np.ndarray) -> np.ndarray:
        """Colours 0 to 1 of positions (rows, columns, D), (rows, columns, 3) float32; what lies beyond the
        scale is cut off.
        """
        scaled = ((positions - self.mean) @ self.directions.T - self.low) / self.span
        colours: np.ndarray = np.clip(scaled, 0, 1).astype(np.float32)
        return colours


def colour_scale(positions: np.ndarray) -> ColourScale:
    """The scale on which these positions (rows, columns, D) reach from the smallest to the largest value of
    each colour; D is 3 or more.
    """
    samples = positions.reshape(-1, positions.shape[-1]).astype(np.float64)
    mean, width = samples.mean(axis=0), samples.shape[1]
    centred = samples - mean
    # Of the covariance only the three largest are computed, which takes a fraction of the time of all.
    directions = scipy.linalg.eigh(centred.T @ centred, subset_by_index=[width - 3, width - 1])[1].T[::-1]
    directions = directions * np.sign(directions[np.arange(3), np.abs(directions).argmax(axis=1)])[:, None]
    values = centred @ directions.T
    return ColourScale(
        mean, directions, values.min(axis=0), np.maximum(np.ptp(values, axis=0), _SMALLEST_LENGTH)
    )


def size_for(own: PatchGrid, rows: int) -> tuple[int, int]:
    """Height and width in pixels of a photo with so many rows of patches, in the proportions of the model's
    own grid.
    """
    return rows * own.patch_size, max(1, round(own.columns * rows / own.rows)) * own.patch_size


def resolutions(own: PatchGrid) -> list[tuple[int, int]]:
    """Sizes (height, width) in pixels worth trying, from half the model's own to 1.7 times it, smallest
    first.
    """
    return [size_for(own, rows) for rows in sorted({max(1, round(own.rows * share)) for share in SHARES})]


def probabilities_at(
    classifier: Classifier, photo: Image.Image, size: tuple[int, int], temperature: float = 1.0
) -> np.ndarray:
    """The model's probabilities (C,) for the photo read at ``size`` (height, width in pixels), float32.
    temperature: what its logits are divided by.

    Raises UserError where the model's positions cannot be interpolated to it.
    """
    model = classifier.model
    positions = learned_positions(model)
    if tuple(size) != tuple(backbone(model).embeddings.image_size) and not can_interpolate(positions):
        rows, columns = positions.shape[:2]
        raise UserError("error.explain.positions", rows=rows, columns=columns)
    pixel_values = classifier.preprocess([photo], size)
    with torch.no_grad(), torch.autocast(pixel_values.device.type, enabled=False):
        logits = classifier.forward(pixel_values)[0].float()
    return (logits / temperature).softmax(dim=-1).cpu().numpy()


def _units(positions: np.ndarray) -> np.ndarray:
    """Each embedding divided by its length."""
    lengths = np.maximum(np.linalg.norm(positions, axis=-1, keepdims=True), _SMALLEST_LENGTH)
    units: np.ndarray = positions / lengths
    return units
