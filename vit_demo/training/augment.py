"""Random changes of the photos of a step, on the device; all drawn from torch's global generator."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from vit_demo.vit import LeafClassifier


def augmentation(kind: str, side: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Random changes of a batch (B, 3, side, side) of values 0 to 1, each photo by its own; kinds as in TrainingConfig.augment."""
    if kind == "none":
        return lambda photos: photos
    import kornia.augmentation as kornia  # only now: other processes need not wait for it

    steps = [kornia.RandomHorizontalFlip(), kornia.RandomVerticalFlip()]
    if kind in ("turns", "strong"):
        steps.append(kornia.RandomRotation90(times=(0, 3), p=1.0))
    if kind == "strong":
        steps += [
            kornia.RandomResizedCrop((side, side), scale=(0.6, 1.0), ratio=(0.8, 1.25)),
            kornia.ColorJiggle(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
        ]
    return kornia.AugmentationSequential(*steps, data_keys=["input"])


def at(photos: torch.Tensor, side: int) -> torch.Tensor:
    """Photos (B, 3, H, W) of floats at (B, 3, side, side), for an early, coarse part of the run."""
    if photos.shape[-1] == side:
        return photos
    return torch.nn.functional.interpolate(photos, size=(side, side), mode="bilinear", antialias=True)


@contextlib.contextmanager
def dropped_patches(classifier: LeafClassifier, share: float, whole: Callable[[], tuple[int, slice]]) -> Iterator[None]:
    """While training, leave out a random ``share`` of the patches of each photo, each photo by its own.

    They go after the position embeddings are added and before the encoder, which then has that many
    tokens less (PatchDropout; Liu et al. 2023). [CLS] stays.
    whole: gives the number of photos of the step over all processes, and which of them are here: the
    choice is drawn for all of them, so that it does not depend on the number of processes.
    """
    if not share:
        yield
        return

    def drop(module: torch.nn.Module, inputs: tuple, tokens: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return tokens
        count = tokens.shape[1] - 1
        kept = max(1, round(count * (1 - share)))
        photos, here = whole()
        rows = torch.rand(photos, count)[here].argsort(dim=1)[:, :kept].to(tokens.device) + 1
        return torch.cat([tokens[:, :1], tokens.gather(1, rows.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))], dim=1)

    handle = classifier.model.vit.embeddings.register_forward_hook(drop)
    try:
        yield
    finally:
        handle.remove()
