"""Photos that are there twice: exact, saved anew, and candidates across splits, against the slow way."""

from __future__ import annotations

import io

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageFilter

from vit_demo.data.checks.features import read_features
from vit_demo.data.copies import duplicates
from vit_demo.data.copies.duplicates import HASH_BITS, Fingerprints, find_pairs, fingerprint_of, standardised
from vit_demo.data.open.sources import open_dataset
from vit_demo.model.classifier import LeafClassifier


def picture(seed: int) -> Image.Image:
    """Soft shapes of colour, each seed its own."""
    noise = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8))
    return noise.resize((120, 90), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def saved_anew(photo: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def prints(photos: list[Image.Image | None]) -> Fingerprints:
    found = [("", np.zeros(HASH_BITS, bool)) if photo is None else fingerprint_of(photo) for photo in photos]
    return Fingerprints(np.array([digest for digest, _ in found]), np.stack([bits for _, bits in found]))


def made_up(count: int, seed: int = 0) -> tuple[Fingerprints, np.ndarray, np.ndarray]:
    """Fingerprints, early features and splits of photos that are nothing but numbers, some of them twice."""
    random = np.random.default_rng(seed)
    hashes, early = (
        random.random((count, HASH_BITS)) < 0.5,
        random.normal(size=(count, 20)).astype(np.float32),
    )
    digests = np.array([f"{number}" for number in range(count)], dtype="<U8")
    digests[5], hashes[5], early[5] = digests[2], hashes[2], 0.9 * early[2]
    hashes[11] = hashes[4]
    hashes[11, :3] ^= True
    digests[7] = ""
    return (
        Fingerprints(digests, hashes),
        early,
        np.array(["train", "validation", "test"])[np.arange(count) % 3],
    )


def test_same_pixels_same_digest_whatever_file_they_came_in():
    photo = picture(0)
    file = io.BytesIO()
    photo.save(file, "PNG")
    assert fingerprint_of(photo)[0] == fingerprint_of(Image.open(io.BytesIO(file.getvalue())))[0]
    assert fingerprint_of(photo)[0] != fingerprint_of(saved_anew(photo, 95))[0]
    assert fingerprint_of(photo)[0] != fingerprint_of(photo.transpose(Image.Transpose.ROTATE_90))[0]
    assert np.array_equal(fingerprint_of(photo)[1].reshape(8, 8), imagehash.phash(photo).hash)


def test_a_copy_is_same_and_one_saved_and_scaled_anew_is_near():
    photos = [
        picture(0),
        picture(1),
        picture(2),
        picture(1),
        saved_anew(picture(2).resize((80, 60)), 60),
        None,
    ]
    early = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    found = find_pairs(prints(photos), early, np.array(["train"] * 6), across=False)
    assert [(pair.first, pair.second, pair.kind) for pair in found[:2]] == [(1, 3, "same"), (2, 4, "near")]
    assert {pair.kind for pair in found[2:]} <= {"alike"} and 5 not in {
        row for pair in found for row in (pair.first, pair.second)
    }


@pytest.mark.parametrize("block", [3, 7, 1024])
@pytest.mark.parametrize("across", [True, False])
def test_pairs_are_those_of_comparing_each_with_each(
    monkeypatch: pytest.MonkeyPatch, block: int, across: bool
):
    monkeypatch.setattr(duplicates, "BLOCK", block)
    found_prints, early, groups = made_up(24)
    known = [row for row in range(24) if row != 7]
    unit = np.zeros_like(early)
    unit[known] = standardised(early[known])
    slow = []
    for first in known:
        for second in known:
            if first < second and not (across and groups[first] == groups[second]):
                cosine = float(
                    unit[first] @ unit[second] / np.linalg.norm(unit[first]) / np.linalg.norm(unit[second])
                )
                bits = int((found_prints.hashes[first] != found_prints.hashes[second]).sum())
                same = found_prints.digests[first] == found_prints.digests[second]
                slow.append(
                    (
                        -((4 if same else 2 if bits <= duplicates.NEAR_BITS else 0) + cosine),
                        first,
                        second,
                        bits,
                    )
                )
    found = find_pairs(found_prints, early, groups, across, most=30)
    assert [(pair.first, pair.second, pair.bits) for pair in found] == [
        (first, second, bits) for _, first, second, bits in sorted(slow)[:30]
    ]
    assert (found[0].kind, found[0].first, found[0].second) == (
        ("same", 2, 5) if not across else (found[0].kind, found[0].first, found[0].second)
    )


def test_fewer_than_two_readable_photos_have_no_pair():
    found_prints, early, groups = made_up(12)
    alone = Fingerprints(np.where(np.arange(12) == 3, found_prints.digests, ""), found_prints.hashes)
    assert find_pairs(alone, early, groups, across=False) == []
    assert find_pairs(found_prints, early, np.array(["train"] * 12), across=True) == []


def test_the_leaf_that_is_in_two_splits_of_the_real_beans_is_among_the_first_candidates():
    """And none of them is called the same photo. Only the photos round the pair are read, which keeps this
    short.
    """
    data = open_dataset("beans")
    wanted = {"train": "healthy_train.244.jpg", "validation": "healthy_val.31.jpg"}
    photos, groups, names = [], [], []
    for split, count in (("train", 90), ("validation", 60)):
        paths = [path.rpartition("/")[2] for path in data[split]["image_file_path"]]
        rows = sorted(
            {
                paths.index(wanted[split]),
                *np.random.default_rng(0).choice(len(paths), count, replace=False).tolist(),
            }
        )
        photos += [data[split][row]["image"].convert("RGB") for row in rows]
        groups += [split] * len(rows)
        names += [paths[row] for row in rows]
    early = read_features(LeafClassifier.open("embedded", device="cpu"), photos).early
    found = find_pairs(prints(photos), early, np.array(groups), across=True)
    assert {names[found[0].first], names[found[0].second]} == set(wanted.values())
    assert all(pair.kind != "same" for pair in found)
