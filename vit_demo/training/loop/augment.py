"""What is random about the photos of a step, on the device; all of it drawn from torch's global generator, on
the CPU, so that no step waits for a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch


def augmentation(kind: str, side: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Random changes of a batch, uint8 (B, 3, side, side), each photo by its own; kinds as in
    TrainingConfig.augment.

    They give values from 0 to 255, uint8 as far as photos are only mirrored and turned.
    """
    if kind == "none":
        return lambda photos: photos
    if kind != "strong":
        return lambda photos: mirrored(photos, turn=kind == "turns")
    import kornia.augmentation as kornia  # only now: other runs need not wait for it

    steps = kornia.AugmentationSequential(
        kornia.RandomResizedCrop((side, side), scale=(0.6, 1.0), ratio=(0.8, 1.25)),
        kornia.ColorJiggle(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
        data_keys=["input"],
    )
    return lambda photos: steps(mirrored(photos, turn=True).to(torch.float32) / 255) * 255


def mirrored(photos: torch.Tensor, turn: bool) -> torch.Tensor:
    """Square photos (B, C, S, S), each mirrored at random in both directions; with ``turn`` also at the
    diagonal, which makes all turns by right angles.

    Of any type: kornia would want floats, which here take five times as long.
    """
    choices = (torch.rand(3, len(photos)) < 0.5).to(photos.device).view(3, -1, 1, 1, 1)
    changes: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
        lambda now: now.flip(-1),
        lambda now: now.flip(-2),
        lambda now: now.transpose(-1, -2),
    )
    for choice, other in zip(choices, changes[: 2 + turn]):
        photos = torch.where(choice, other(photos), photos)
    return photos


def at(photos: np.ndarray, side: int) -> torch.Tensor:
    """Photos, uint8 (B, 3, H, W), as a tensor (B, 3, side, side) on the CPU, for an early, coarse part of the
    run.
    """
    batch = torch.from_numpy(photos)
    if batch.shape[-1] == side:
        return batch
    # In uint8, for which torch has a kernel that is nine times as quick as the one for floats.
    return torch.nn.functional.interpolate(batch, size=(side, side), mode="bilinear", antialias=True)


def kept_patches(photos: int, patches: int, share: float) -> torch.Tensor | None:
    """Which patches of each photo a step keeps when it leaves out a random ``share`` of them, each photo by
    its own (PatchDropout; Liu et al. 2023).

    Returns patch numbers, int64 (photos, kept), at least one of each photo; None where all are kept.
    """
    if not share:
        return None
    return torch.rand(photos, patches).argsort(dim=1)[:, : max(1, round(patches * (1 - share)))]
