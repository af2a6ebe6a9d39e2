"""What looks like one thing and is another: each was once read wrongly without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.both_ways import both, digest, opened, photo, photos, read, refused, taken_in
from tests.data.imported import put
from tests.data.plan.test_layouts_of_rows import rows, write
from tests.data.plan.test_layouts_of_tables import pictures, table
from vit_demo.data.importing.imports import import_photos
from vit_demo.data.open.sources import open_dataset
from vit_demo.data.plan.corrections import Corrections, corrected, parted

pytestmark = pytest.mark.usefixtures("place_for_imports")
COUNT = 20


def test_a_number_of_the_row_is_no_name_of_a_photo(tmp_path: Path) -> None:
    """Photos are called 0.jpg to 19.jpg, and the column "id" counts rows in another order."""
    told = [(place, f"{COUNT - 1 - place}.jpg", ("healthy", "rust")[place % 2]) for place in range(COUNT)]
    members = {**pictures("img/"), "l.csv": table([("id", "Datei", "label"), *told])}
    found, _ = both(put(tmp_path / "a", members))
    assert found.labels == {digest(photo(int(name[:-4]))): label for _, name, label in told}


def test_a_comma_without_quotes_is_refused_with_its_line(tmp_path: Path) -> None:
    lines = ["image,label", "0.jpg,rust, early", *(f"{number}.jpg,healthy" for number in range(1, COUNT))]
    source = put(tmp_path / "a", {**pictures(), "l.csv": "\n".join(lines).encode()})
    assert "Line 2 of l.csv has more cells than the 2 columns" in refused(source)


def test_of_two_splits_of_a_photo_none_is_guessed(tmp_path: Path) -> None:
    head, lines = ("image", "label"), [(f"{number}.jpg", "ab"[number % 2]) for number in range(COUNT)]
    lists = {"train.csv": table([head, *lines]), "test.csv": table([head, *lines[:2]])}
    found, done = both(put(tmp_path / "a", {**pictures(), **lists}))
    assert sum(map(len, found.rows.values())) == COUNT - 2 and done.skipped_count == 2
    assert "is in two splits in the tables" in found.notes


def test_copies_of_train_among_the_test_photos_are_named(tmp_path: Path) -> None:
    members = photos("train/a", "train/b", "val/a", "val/b", "test/a", "test/b")
    members["test/a/00.jpg"] = members["train/a/03.jpg"]
    found, _ = both(put(tmp_path / "a", members))
    assert "1 photo of test is also in training" in found.notes


def test_a_row_opens_no_photo_outside_its_folder(tmp_path: Path) -> None:
    put(tmp_path / "secret", {"s.jpg": photo(999)})
    told = rows(count=COUNT)
    for place in (0, 1, 2):
        told[place]["image"] = {"bytes": None, "path": str(tmp_path / "secret" / "s.jpg")}
    source = write(tmp_path / "a" / "train.parquet", told).parent
    labels = [opened(source).labels, taken_in(source)[1].labels]
    assert all(len(found) == COUNT - 3 and digest(photo(999)) not in found for found in labels)


def test_two_data_sets_side_by_side_are_not_joined(tmp_path: Path) -> None:
    write(tmp_path / "a" / "plain" / "train.parquet", rows(count=COUNT))
    write(tmp_path / "a" / "other" / "train.parquet", rows(start=50, count=COUNT))
    assert "holds several data sets side by side: other, plain" in refused(tmp_path / "a")
    assert sum(map(len, open_dataset(tmp_path / "a" / "plain").values())) == COUNT


def test_answers_that_are_held_back_are_no_class(tmp_path: Path) -> None:
    told = [(f"{number}.jpg", ("healthy", "rust", "-1", "?")[number % 4]) for number in range(40)]
    found, _ = both(put(tmp_path / "a", {**pictures(count=40), "l.csv": table([("image", "label"), *told])}))
    assert found.names == ["healthy", "rust"] and len(found.labels) == len(found.unlabelled) == 20


def test_folders_of_a_phone_are_no_classes(tmp_path: Path) -> None:
    source = put(tmp_path / "a", photos("DCIM/Camera", "DCIM/100APPLE"))
    assert "have no classes" in refused(source)


@pytest.mark.parametrize("name", ["my, extra=1", "[e]", "50% more", "a:b", "x [split:a=train]"])
def test_any_name_can_be_corrected(tmp_path: Path, name: str) -> None:
    said = Corrections(splits=((name, "test"),), classes=(("a", name),))
    assert parted(corrected("/some folder", said)) == ("/some folder", said)
    members = photos("train/a", "train/b", "val/a", "val/b", f"{name}/a", f"{name}/b")
    source = put(tmp_path / "data", members)
    there = read(open_dataset(corrected(str(source), said)))
    here = read(open_dataset(import_photos(source, "mine", corrections=said).spec))
    assert there.counts["test"] == here.counts["test"] == {name: 8, "b": 8} and there.rows == here.rows


@pytest.mark.parametrize("said", ["split:nosuch=train", "class:nosuch=x", "label-column=foo"])
def test_a_slip_is_not_taken_for_an_answer(tmp_path: Path, said: str) -> None:
    source = put(tmp_path / "a", photos("train/a", "train/b"))
    assert "fits nothing in a" in refused(source, said)
