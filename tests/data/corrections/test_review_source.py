"""The photos that people corrected, as a data set on their own and beside another."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_demo.data.browse.catalogue import Catalogue, Query
from vit_demo.data.corrections import review_set
from vit_demo.data.corrections.review_set import Said
from vit_demo.data.corrections.review_source import CLASS_PHOTOS, NEW_CLASS_PHOTOS, review_to_look_at
from vit_demo.data.normalise import label_names
from vit_demo.data.open.sources import open_dataset
from vit_demo.photos.safe_open import decode

SAID = Said("healthy", 0.5, None, "embedded")
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The datasets library keeps a copy of all it opens: here, not in the person's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def correct(**counts: int) -> list[review_set.Correction]:
    """So many different photos of each label."""
    start = len(review_set.corrections())
    labels = [label for label, count in counts.items() for _ in range(count)]
    return [review_set.store(photo(start + number), label, SAID) for number, label in enumerate(labels)]


def photo(number: int) -> Image.Image:
    return Image.fromarray(np.full((8, 8, 3), (number, 255 - number, number // 2), dtype=np.uint8))


def per_class(part) -> dict[str, int]:
    names = part.features["labels"].names
    return dict(Counter(names[label] for label in part["labels"]))


def folder_of(root: Path, *names: str, count: int = 20) -> str:
    """An image folder with these classes."""
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(np.full((8, 8, 3), (index * 9, number * 30, 200), dtype=np.uint8)).save(
                root / name / f"{index}.png"
            )
    return str(root)


def test_an_empty_set_says_how_it_is_filled(refusal):
    for spec in ("review", "beans + review"):
        assert "Diagnose tab" in refusal(open_dataset, spec)
    assert "is empty" in refusal(review_to_look_at)


@pytest.mark.parametrize(
    ("counts", "needed"),
    [
        ({"a": 1}, 13),
        ({"a": 30}, 13),
        ({"a": 6, "b": 6}, 13),
        ({"a": 40, "b": CLASS_PHOTOS - 1}, 13),
        ({"a": 7, "b": 7, "c": 7}, 24),
    ],
)
def test_too_few_to_train_on_say_how_many_are_needed_and_can_be_looked_at(refusal, counts, needed):
    correct(**counts)
    why = refusal(open_dataset, "review")
    assert (
        f"{needed} in all" in why
        and all(f"{label}: {count}" in why for label, count in counts.items())
        and "beans + review" in why
    )
    data = review_to_look_at()
    assert list(data) == ["train"] and per_class(data["train"]) == counts
    assert review_to_look_at() is data


@pytest.mark.parametrize("counts", [{"a": 10, "b": 3}, {"a": 8, "b": 8, "c": 8}, {"a": 3, "b": 3, "c": 30}])
def test_as_many_as_the_sentence_asks_for_are_enough(counts):
    stored = correct(**counts)
    data = open_dataset("review")
    assert list(data) == ["train", "validation", "test"] and label_names(data) == sorted(counts)
    paths = [path for part in data.values() for path in part["image_file_path"]]
    assert sorted(paths) == sorted(f"review/{one.id}.jpg" for one in stored)
    assert set(per_class(data["train"])) == set(counts) and all(
        len(part) >= len(counts) for part in data.values()
    )
    by_path = {f"review/{one.id}.jpg": one for one in stored}
    for part in data.values():
        for row in part:
            one = by_path[row["image_file_path"]]
            assert label_names(data)[row["labels"]] == one.label
            with Image.open(one.file) as kept:
                assert np.array_equal(np.asarray(row["image"]), np.asarray(kept))


def test_it_is_looked_at_newest_first_and_follows_each_change():
    first, second = correct(healthy=1, bean_rust=1)
    catalogue = Catalogue(review_to_look_at())
    assert [catalogue.path(position) for position in catalogue.find(Query())] == [
        f"review/{second.id}.jpg",
        f"review/{first.id}.jpg",
    ]
    assert catalogue.photo("train", 0).label == "bean_rust"
    review_set.store(photo(1), "angular_leaf_spot", SAID)
    assert Catalogue(review_to_look_at()).photo("train", 0).label == "angular_leaf_spot"
    review_set.remove(second.id)
    assert per_class(review_to_look_at()["train"]) == {"healthy": 1}


def test_two_spellings_are_one_class_as_it_was_spelled_last():
    correct(**{"powdery_mildew": 1, "Powdery  mildew": 1, "healthy": 1})
    assert per_class(review_to_look_at()["train"]) == {"Powdery mildew": 2, "healthy": 1}


@pytest.mark.parametrize("spec", ["beans + review", "beans+review", "+ review", " beans  +  review "])
def test_beside_another_it_is_trained_on_and_never_tested_on(spec):
    stored = correct(healthy=2, **{"Bean rust": 1})
    alone, data = open_dataset("beans"), open_dataset(spec)
    assert label_names(data) == label_names(alone)
    assert {split: len(part) for split, part in data.items()} == {
        "train": 1037,
        "validation": 133,
        "test": 128,
    }
    for split in ("validation", "test"):
        assert (
            data[split]["image_file_path"] == alone[split]["image_file_path"]
            and data[split]["labels"] == alone[split]["labels"]
        )
    added = data["train"].select(range(1034, 1037))
    assert per_class(added) == {"healthy": 2, "bean_rust": 1}
    assert set(added["image_file_path"]) == {f"review/{one.id}.jpg" for one in stored}
    assert added[0]["image"].size == (8, 8) and data["train"][0]["image"].size == (256, 256)


def test_beside_another_it_is_kept_until_it_changes():
    correct(healthy=1)
    data = open_dataset("beans + review")
    assert open_dataset("beans + review") is data
    correct(healthy=1)
    assert len(open_dataset("beans + review")["train"]) == len(data["train"]) + 1


def test_a_new_class_needs_enough_photos(refusal, tmp_path):
    base = folder_of(tmp_path / "leaves [1] + more", "rust", "healthy")
    correct(mosaic=NEW_CLASS_PHOTOS - 1, healthy=1)
    why = refusal(open_dataset, f"{base} + review")
    assert "9 photos of mosaic" in why and f"At least {NEW_CLASS_PHOTOS}" in why
    correct(mosaic=1)
    alone, data = open_dataset(base), open_dataset(f"{base} + review")
    # Behind those that were there, so that each keeps its number.
    assert label_names(data) == ["healthy", "rust", "mosaic"]
    assert all(label_names({"train": part}) == label_names(data) for part in data.values())
    assert (
        per_class(data["train"])["mosaic"] == NEW_CLASS_PHOTOS
        and data["test"]["labels"] == alone["test"]["labels"]
    )


def test_a_class_is_matched_as_it_is_written_before_one_that_is_only_spelled_like_it(tmp_path):
    # Two classes whose names look like one: that they are two has to be said.
    base = f"{folder_of(tmp_path / 'leaves', 'Rust', 'rust')} [class:rust=rust]"
    alone = per_class(open_dataset(base)["train"])
    correct(rust=2, RUST=1)
    assert per_class(open_dataset(f"{base}+review")["train"]) == {
        "Rust": alone["Rust"] + 1,
        "rust": alone["rust"] + 2,
    }


@pytest.mark.parametrize("spec", ["review + review", "beans + review + review"])
def test_it_cannot_be_added_twice(refusal, spec):
    """Else its photos would stand in train and in test."""
    correct(healthy=1)
    assert "once" in refusal(open_dataset, spec)


def test_a_folder_of_that_name_is_that_folder(tmp_path):
    base = folder_of(tmp_path / "leaves + review", "rust", "healthy")
    assert sum(map(len, open_dataset(base).values())) == 40


def test_an_unknown_data_set_beside_it_is_said(refusal):
    correct(healthy=1)
    assert "There is no folder /nowhere" in refusal(open_dataset, "/nowhere + review")


def test_a_photo_that_was_deleted_by_hand_is_left_out_and_one_that_broke_is_broken():
    first, second = correct(healthy=2)
    first.file.unlink()
    second.file.write_bytes(b"no photo")
    review_set.store(photo(9), "bean_rust", SAID)  # the next change
    catalogue = Catalogue(review_to_look_at())
    assert len(catalogue.find(Query())) == 2
    assert [decode({"bytes": None, "path": str(one.file)}) is None for one in review_set.corrections()] == [
        False,
        True,
    ]


def test_where_it_is_switched_off_it_cannot_be_opened(refusal, monkeypatch):
    correct(healthy=1)
    monkeypatch.setenv("VIT_DEMO_REVIEW", "off")
    for open_it in (
        lambda: open_dataset("review"),
        lambda: open_dataset("beans + review"),
        review_to_look_at,
    ):
        assert "switched off" in refusal(open_it)
