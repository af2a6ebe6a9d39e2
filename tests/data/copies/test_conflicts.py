"""The same photo in two classes is found by its pixels, whatever its file, and in any split."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from tests.data.archive_corpus import leaf
from vit_demo.data.copies import fingerprints
from vit_demo.data.copies.conflicts import in_two_classes

FEATURES = Features(
    {
        "image_file_path": Value("string"),
        "image": ImageFeature(),
        "labels": ClassLabel(names=["rust", "healthy"]),
    }
)


def as_png(content: bytes) -> bytes:
    """The same pixels in another file."""
    out = io.BytesIO()
    Image.open(io.BytesIO(content)).save(out, "PNG")
    return out.getvalue()


def saved_anew(content: bytes) -> bytes:
    """The same picture, other pixels."""
    out = io.BytesIO()
    Image.open(io.BytesIO(content)).save(out, "JPEG", quality=50)
    return out.getvalue()


def split(*photos: tuple[str, bytes, int]) -> Dataset:
    rows = [
        {"image_file_path": path, "image": {"bytes": content, "path": None}, "labels": label}
        for path, content, label in photos
    ]
    return Dataset.from_list(rows, features=FEATURES)


DATA = DatasetDict(
    train=split(
        ("a.jpg", leaf(0), 0),
        ("b.jpg", leaf(1), 1),
        ("again.jpg", leaf(0), 0),
        ("broken.jpg", b"broken", 0),
        ("also broken.jpg", b"broken", 1),
    ),
    validation=split(("c.jpg", leaf(2), 0), ("c2.jpg", leaf(2), 1), ("near.jpg", saved_anew(leaf(1)), 0)),
    test=split(("a.png", as_png(leaf(0)), 1), ("d.jpg", leaf(3), 1)),
)


def test_the_same_pixels_in_two_classes_are_found_and_nothing_else(home: Path) -> None:
    """Copies in one class, broken files and a picture that was saved anew are no conflict."""
    assert in_two_classes(DATA) == [
        (("a.jpg", "rust"), ("a.png", "healthy")),
        (("c.jpg", "rust"), ("c2.jpg", "healthy")),
    ]
    assert in_two_classes(DatasetDict(train=DATA["train"])) == []


@pytest.mark.parametrize(("limit", "value"), [("MOST_PHOTOS", 9), ("MOST_BYTES", 5000)])
def test_too_many_photos_in_all_splits_together_are_not_looked_at(
    home: Path, limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, limit, value)
    assert in_two_classes(DATA) is None
