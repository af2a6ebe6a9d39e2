"""Occlusion: cover a place, and see how much of the class is lost (Zeiler and Fergus 2014).

"Visualizing and Understanding Convolutional Networks", ECCV 2014, https://arxiv.org/abs/1311.2901,
section 4.2. Slow and honest: it asks the model itself, once for each place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vit_demo.common.errors import UserError
from vit_demo.explain.attribution.target import ANSWER, Target
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import Classifier

BATCH = 16


def occlusion(
    classifier: Classifier,
    pixel_values: Tensor,
    target: Target = ANSWER,
    window: int = 3,
    report: Callable[[int, int], object] | None = None,
) -> Tensor:
    """How much of the class's log odds is lost where a patch is covered, float32 (rows, columns); below 0
    where covering helps.

    A square of ``window`` x ``window`` patches (an odd number) in the photo's mean colour is laid over each
    patch in turn, cut off at the edge, and what is lost is shared out evenly: the value of a patch is the
    mean over the squares that cover it. pixel_values: of one photo, (1, 3, H, W). report: is called with
    the squares done and their number.
    """
    if window < 1 or window % 2 == 0:
        raise UserError("error.explain.window", window=window)
    grid = PatchGrid.of(pixel_values, classifier.patch_size)
    whole = classifier.forward_fast(pixel_values)
    target = target.fixed(whole)
    covers = _covers(grid, window).to(pixel_values.device)
    lost = []
    for start in range(0, grid.num_patches, BATCH):
        covered = cover(pixel_values, covers[start : start + BATCH], grid)
        lost.append(target.log_odds(whole) - target.log_odds(classifier.forward_fast(covered)))
        if report is not None:
            report(min(start + BATCH, grid.num_patches), grid.num_patches)
    weights = covers.float()
    shared = (torch.cat(lost)[:, None] * weights).sum(dim=0) / weights.sum(dim=0)
    return shared.view(grid.rows, grid.columns).cpu()


def cover(pixel_values: Tensor, covers: Tensor, grid: PatchGrid) -> Tensor:
    """The photo with some of its patches in its mean colour, once for each row of ``covers``: (K, 3, H, W).

    pixel_values: (1, 3, H, W). covers: bool (K, N), true where a patch is covered.
    """
    mask = (
        covers.view(-1, 1, grid.rows, grid.columns)
        .repeat_interleave(grid.patch_size, 2)
        .repeat_interleave(grid.patch_size, 3)
    )
    # Pixels at the edge that belong to no patch stay.
    mask = torch.nn.functional.pad(
        mask, (0, grid.image_width - mask.shape[-1], 0, grid.image_height - mask.shape[-2])
    )
    return torch.where(mask, pixel_values.mean(dim=(2, 3), keepdim=True), pixel_values)


def _covers(grid: PatchGrid, window: int) -> Tensor:
    """Which patches the square round each patch covers, bool (N, N)."""
    row, column = (
        torch.arange(grid.num_patches) // grid.columns,
        torch.arange(grid.num_patches) % grid.columns,
    )
    reach = window // 2
    return ((row[:, None] - row).abs() <= reach) & ((column[:, None] - column).abs() <= reach)


def occlusions(classifier: Classifier, pixel_values: Tensor, target: Target, _dtype: torch.dtype) -> Tensor:
    """:func:`occlusion` of each photo, (B, rows, columns)."""
    return torch.stack([occlusion(classifier, photo[None], target) for photo in pixel_values])
