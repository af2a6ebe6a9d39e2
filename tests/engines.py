"""What the tests of engines share."""

from __future__ import annotations

import torch

from vit_demo.model.classifier import LeafClassifier


def photos_of(classifier: LeafClassifier, count: int) -> torch.Tensor:
    """Made-up photos as an engine takes them, the same for each count."""
    return torch.randint(
        0,
        256,
        (count, 3, *classifier.image_size),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(count),
    )
