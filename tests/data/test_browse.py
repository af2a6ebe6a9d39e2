"""Finding photos by split, class and path, and looking at one."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PillowImage

from vit_demo.data.browse import Catalogue, Query

LABELS = ["rust", "healthy", "spot"]
FEATURES = Features({"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=LABELS)})
# (path, label) of every photo; no photo is a spot in validation.
ROWS = {
    "train": [("field/IMG_1.jpg", 0), ("field/IMG_2.jpg", 1), ("Garden/img_1.jpg", 0), ("garden/ä.jpg", 2)],
    "validation": [("field/IMG_3.jpg", 1), ("field/rust.jpg", 1)],
    "test": [("garden/50%.jpg", 0)],
}


def colour(number: int) -> tuple[int, int, int]:
    return (10 * number, 200, 255 - 10 * number)


def encoded(number: int, orientation: int = 1, mode: str = "RGB") -> bytes:
    """A photo of one colour, 20 x 10 pixels."""
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    PillowImage.new("RGB", (20, 10), colour(number)).convert(mode).save(file, "PNG", exif=exif)
    return file.getvalue()


def build(rows: dict[str, list[tuple[str, int]]], photo: Callable[[int], bytes] = encoded) -> Catalogue:
    return Catalogue(DatasetDict({
        split: Dataset.from_dict(
            {
                "image_file_path": [path for path, _ in content],
                "image": [{"bytes": photo(index), "path": None} for index in range(len(content))],
                "labels": [label for _, label in content],
            },
            features=FEATURES,
        )
        for split, content in rows.items()
    }))


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return build(ROWS)


def test_counts_name_every_class(catalogue: Catalogue) -> None:
    assert catalogue.counts() == {
        "train": {"rust": 2, "healthy": 1, "spot": 1},
        "validation": {"rust": 0, "healthy": 2, "spot": 0},
        "test": {"rust": 1, "healthy": 0, "spot": 0},
    }
    assert list(catalogue.counts()["train"]) == LABELS, "in the order of the logits"


ALL = [(split, index) for split, content in ROWS.items() for index in range(len(content))]


@pytest.mark.parametrize(("query", "found"), [
    (Query(), ALL),
    (Query(split="validation"), [("validation", 0), ("validation", 1)]),
    (Query(label="rust"), [("train", 0), ("train", 2), ("test", 0)]),
    (Query(split="train", label="healthy"), [("train", 1)]),
    (Query(split="test", label="spot"), []),
    (Query(text="IMG_1"), [("train", 0), ("train", 2)]),
    (Query(text="  gArDeN/ "), [("train", 2), ("train", 3), ("test", 0)]),
    (Query(text="rust"), [("validation", 1)]),
    (Query(text="Ä"), [("train", 3)]),
    (Query(text="50%"), [("test", 0)]),
    (Query(text="img_.*"), []),
    (Query(text="   "), ALL),
    (Query(split="train", label="rust", text="field"), [("train", 0)]),
    (Query(label="no such class"), []),
    (Query(split="no such split"), []),
], ids=str)
def test_find(catalogue: Catalogue, query: Query, found: list[tuple[str, int]]) -> None:
    assert catalogue.find(query) == found


def test_found_places_are_those_of_the_photos(catalogue: Catalogue) -> None:
    for split, index in catalogue.find(Query(text="field")):
        assert "field" in catalogue.photo(split, index).path


def test_photo(catalogue: Catalogue) -> None:
    photo = catalogue.photo("train", 3)
    assert (photo.split, photo.index, photo.path, photo.label, photo.label_id, photo.size) == ("train", 3, "garden/ä.jpg", "spot", 2, (20, 10))
    assert photo.image.mode == "RGB" and photo.image.getpixel((5, 5)) == colour(3)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_photo_of_any_mode_is_rgb(mode: str) -> None:
    assert build({"train": [("a", 0)]}, lambda number: encoded(number, mode=mode)).photo("train", 0).image.mode == "RGB"


def test_photo_is_upright() -> None:
    assert build({"train": [("a", 0)]}, lambda number: encoded(number, orientation=6)).photo("train", 0).size == (10, 20)


def test_broken_photo_is_refused_by_name_and_does_not_hide_the_others(refusal: Callable[..., str]) -> None:
    broken = build({"train": [("fine.png", 0), ("torn.png", 1)]}, lambda number: encoded(number) if number == 0 else encoded(number)[:50])
    assert "torn.png" in refusal(broken.photo, "train", 1)
    assert broken.counts()["train"] == {"rust": 1, "healthy": 1, "spot": 0} and len(broken.find(Query())) == 2
    assert broken.photo("train", 0).path == "fine.png"


def test_nothing_is_decoded_to_search() -> None:
    torn = build(ROWS, lambda number: b"no photo at all")
    assert torn.find(Query()) == ALL and torn.counts()["train"]["rust"] == 2


def test_many_photos_in_order() -> None:
    content = [(f"{index:04}.jpg", int(label)) for index, label in enumerate(np.random.default_rng(0).integers(0, 3, 500))]
    many = build({"train": content}, lambda number: b"")
    for label_id, label in enumerate(LABELS):
        assert many.find(Query(label=label)) == [("train", index) for index, (_, own) in enumerate(content) if own == label_id]
