"""What was said of a data set when it was read goes along with what is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.conftest import squares
from vit_demo.common.words import Sentence
from vit_demo.data.corrections import review_set
from vit_demo.data.corrections.journal import journal_of
from vit_demo.data.corrections.review_set import Said
from vit_demo.data.corrections.review_source import NEW_CLASS_PHOTOS
from vit_demo.data.normalise import label_names, merge_train, notes_of
from vit_demo.data.open.sources import open_dataset

CUT = Sentence("data.plan.cut", {"splits": "validation, test"})
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def leaves(tmp_path: Path) -> Path:
    """12 photos a class without splits, so that validation and test are cut, and it is said."""
    return squares(tmp_path / "leaves", train=12, validation=0, test=0) / "train"


def test_decisions_keep_the_notes_and_are_counted_in_what_is_said_of_classes(leaves: Path) -> None:
    data = open_dataset(leaves)
    assert notes_of(data) == [CUT]
    names = label_names(data)
    reds = [
        path
        for path, label in zip(data["train"]["image_file_path"], data["train"]["labels"])
        if names[label] == "red"
    ]
    journal = journal_of(str(leaves))
    for path in reds[1:]:
        journal.decide("exclude", ("train", path))
    assert notes_of(open_dataset(f"mended:{leaves}")) == [
        CUT,
        Sentence("data.plan.one_photo", {"label": "red"}),
    ]


@pytest.mark.parametrize("label", ["red", "pink"])
def test_beside_the_review_set_the_notes_stay(leaves: Path, label: str) -> None:
    """Also where it brings a class of its own, for which all splits are made anew."""
    data = open_dataset(leaves)
    for number in range(NEW_CLASS_PHOTOS):
        review_set.store(data["train"][number]["image"], label, Said("healthy", 0.5, None, "embedded"))
    notes = notes_of(open_dataset(f"{leaves} + review"))
    assert notes[0] == CUT
    missing = [
        Sentence("data.plan.missing_class", {"label": "pink", "split": split})
        for split in ("validation", "test")
    ]
    assert notes[1:] == (missing if label == "pink" else [])


def test_extra_train_photos_bring_their_notes_and_it_is_said_whose_they_are(
    leaves: Path, tmp_path: Path
) -> None:
    own = open_dataset(squares(tmp_path / "own"))
    assert notes_of(own) == []
    merged = merge_train(own, open_dataset(leaves))
    assert notes_of(merged) == [Sentence("data.extra.note", {"note": CUT})]
    assert str(notes_of(merged)[0]).startswith("Of the extra train photos: validation, test were cut")
    assert notes_of(merge_train(open_dataset(leaves), own)) == [CUT]
