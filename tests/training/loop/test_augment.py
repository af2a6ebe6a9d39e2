"""Random changes of photos: each of its own, only those asked for, and still photos; and patches that are
left out.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from vit_demo.training.loop.augment import at, augmentation, kept_patches


def views(photo: torch.Tensor) -> dict[str, torch.Tensor]:
    """The eight ways to lay a square on itself."""
    turned = {f"{90 * quarter}": photo.rot90(quarter, (-2, -1)) for quarter in range(4)}
    return {**turned, **{f"{name} mirrored": view.flip(-1) for name, view in turned.items()}}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", {"0"}),
        ("flips", {"0", "180", "0 mirrored", "180 mirrored"}),
        ("turns", set(views(torch.zeros(3, 4, 4)))),
    ],
)
def test_photos_are_mirrored_and_turned_only_where_asked(kind: str, expected: set[str]) -> None:
    torch.manual_seed(0)
    photos = torch.randint(0, 256, (256, 3, 4, 4), dtype=torch.uint8)
    out = augmentation(kind, 4)(photos)
    assert out.dtype == torch.uint8
    found = Counter(
        next(name for name, view in views(old).items() if torch.equal(new, view))
        for old, new in zip(photos, out)
    )
    assert set(found) == expected and min(found.values()) >= 256 / len(expected) / 2


def test_strong_augmentation_changes_each_photo_its_own_way_and_stays_a_photo() -> None:
    torch.manual_seed(0)
    photos = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8).expand(16, 3, 32, 32)
    out = augmentation("strong", 32)(photos)
    assert out.shape == photos.shape and out.min() >= 0 and 100 < out.max() <= 255
    assert all(not torch.allclose(new, other) for index, new in enumerate(out) for other in out[:index])


@pytest.mark.parametrize("kind", ["flips", "turns", "strong"])
def test_what_is_drawn_depends_on_torchs_generator_alone(kind: str) -> None:
    photos = torch.randint(
        0, 256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    change = augmentation(kind, 16)

    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return change(photos)

    first, other, again = drawn(5), drawn(6), drawn(5)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_smaller_side_is_as_pillow_scales_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR), dtype=int)
    photos = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    found = at(photos, 16)
    assert found.dtype == torch.uint8 and found.shape == (1, 3, 16, 16)
    assert np.abs(found[0].permute(1, 2, 0).numpy() - expected).max() <= 1  # of 255
    assert np.array_equal(at(photos, 40).numpy(), photos)


# Patches that are left out


@pytest.mark.parametrize(("share", "kept"), [(0.5, 8), (0.25, 12), (0.9, 2), (0.99, 1)])
def test_each_photo_keeps_patches_of_its_own_as_many_as_asked(share: float, kept: int) -> None:
    torch.manual_seed(0)
    chosen = kept_patches(400, 16, share)
    assert chosen.shape == (400, kept)
    assert (
        all(len(set(row)) == kept for row in chosen.tolist())
        and len({tuple(sorted(row)) for row in chosen.tolist()}) > 1
    )
    counts = torch.bincount(chosen.flatten(), minlength=16)
    assert (
        len(counts) == 16 and (counts - 400 * kept / 16).abs().max() < 5 * (400 * kept / 16) ** 0.5
    )  # no place is preferred


def test_without_a_share_all_are_kept() -> None:
    assert kept_patches(4, 16, 0.0) is None
