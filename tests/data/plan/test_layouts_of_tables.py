"""Photos whose classes stand in tables, as people have them: each is read the same where it lies and taken
in, or asked about.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.data.both_ways import Read, both, both_packed, digest, opened, photo, refused, taken_in
from tests.data.imported import put

pytestmark = pytest.mark.usefixtures("place_for_imports")
SPLITS = ("train", "validation", "test")
TWO = ["healthy", "rust"]
COUNT = 20
WORDS = {
    "gb18030": ["健康的豆叶", "豆类锈病"],
    "gbk": ["角斑病", "健康"],
    "cp1251": ["здоровый лист", "ржавчина фасоли"],
    "cp1252": ["œdème", "pourriture brûlée"],
    "utf-8": ["健康", "ржавчина"],
    "utf-8-sig": ["saine", "rouillé"],
    "utf-16": ["sana", "ñublo"],
}


def table(rows: Iterable[Iterable[object]], delimiter: str = ",", encoding: str = "utf-8") -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue().encode(encoding)


def pictures(folder: str = "", count: int = COUNT, start: int = 0, ending: str = ".jpg") -> dict[str, bytes]:
    return {f"{folder}{number}{ending}": photo(number) for number in range(start, start + count)}


def names(members: dict[str, bytes], classes: list[str] = TWO) -> list[tuple[str, str]]:
    return [(name, classes[place % 2]) for place, name in enumerate(members)]


def assert_labels(found: Read, wanted: dict[int, str]) -> None:
    """wanted: {number of a photo: its class}, of all that there are."""
    assert found.labels == {digest(photo(number)): label for number, label in wanted.items()}
    assert sum(map(len, found.rows.values())) == len(wanted)


def by_turns(count: int = COUNT, classes: list[str] = TWO) -> dict[int, str]:
    return {number: classes[number % 2] for number in range(count)}


# --- how tables are written


@pytest.mark.parametrize(("delimiter", "encoding"), list(zip([",", ";", "\t", "|"] * 2, WORDS)))
def test_encodings_and_signs_between_columns(tmp_path: Path, delimiter: str, encoding: str) -> None:
    members = pictures("photos/")
    content = table([("image", "label"), *names(members, WORDS[encoding])], delimiter, encoding)
    source = put(tmp_path / "a", {**members, "labels.csv": content})
    found, _ = both(source)
    assert_labels(found, by_turns(classes=WORDS[encoding]))
    guessed = not encoding.startswith("utf")
    assert ("was read as" in found.notes) == guessed
    if guessed:
        assert any(word in found.notes for word in WORDS[encoding])
        assert_labels(both(source, f"encoding={encoding}")[0], by_turns(classes=WORDS[encoding]))


def test_encodings_that_are_named_wrongly(tmp_path: Path) -> None:
    members = pictures()
    content = table([("image", "label"), *names(members, WORDS["cp1251"])], encoding="cp1251")
    source = put(tmp_path / "a", {**members, "labels.csv": content})
    assert "cannot be read as utf-8 text" in refused(source, "encoding=utf-8")
    assert "no encoding that is known" in refused(source, "encoding=klingon")


@pytest.mark.parametrize(
    ("column", "place", "ending"),
    [
        ("image_id", "train_images/", ".jpg"),
        ("image_id", "train_images/", ""),
        ("Image Name", "a/b c/", ".jpg"),
        ("filename", "", ""),
        ("id", "Фото/", ""),
        ("файл", "Фото/", ".jpg"),
        ("code", "train/", ""),
        ("code", "", ".jpg"),
    ],
)
def test_photos_are_found_by_name_below_the_table(
    tmp_path: Path, column: str, place: str, ending: str
) -> None:
    members = pictures(place, ending=".JPG" if ending else ".jpg")
    rows = [(f"{number}{ending}", label) for number, label in by_turns().items()]
    source = put(tmp_path / "a", {**members, "train.csv": table([(column, "label"), *rows])})
    found, _ = both(source)
    assert_labels(found, by_turns())
    assert opened(source / "train.csv").rows == found.rows == taken_in(source / "train.csv")[1].rows


@pytest.mark.parametrize("label", ["label", "Class", "disease", "category_name", "标签", "anything"])
def test_names_of_the_column_of_labels(tmp_path: Path, label: str) -> None:
    members = pictures()
    source = put(tmp_path / "a", {**members, "x.csv": table([("file", label), *names(members)])})
    assert_labels(both(source)[0], by_turns())


def test_two_columns_of_labels_are_asked_about(tmp_path: Path) -> None:
    members = pictures()
    rows = [(name, label, "maize") for name, label in names(members)]
    source = put(tmp_path / "a", {**members, "x.csv": table([("file", "disease", "species"), *rows])})
    assert "(label-column)" in refused(source) and "disease, species" in refused(source)
    assert_labels(both(source, "label-column=disease")[0], by_turns())
    assert "no column size" in refused(source, "label-column=size")


def test_columns_of_0_and_1_and_tables_without_a_header(tmp_path: Path) -> None:
    members = pictures("images/")
    hot = [("image_id", *TWO), *((number, 1 - number % 2, number % 2) for number in range(COUNT))]
    found, _ = both_packed(tmp_path / "hot", {**members, "train.csv": table(hot)})
    assert_labels(found, by_turns())
    assert "a column of 0 and 1" in found.notes
    found, _ = both_packed(tmp_path / "bare", {**members, "train.csv": table(names(members))})
    assert_labels(found, by_turns())
    assert "does not name its columns" in found.notes


def test_numbers_and_hidden_labels(tmp_path: Path) -> None:
    members = pictures()
    rows = [("id", "label"), *((number, -1 if number > 16 else 9 + number % 2) for number in range(COUNT))]
    found, done = both_packed(tmp_path / "a", {**members, "labels.csv": table(rows)})
    assert found.names == ["9", "10"] and "the numbers are the names" in found.notes
    assert_labels(found, {number: str(9 + number % 2) for number in range(17)})
    assert "3 photos have no class" in found.notes and done.skipped_count == 3


# --- which photos they name


def test_a_competition(tmp_path: Path) -> None:
    """As Kaggle gives them out: photos to predict lie beside, with an example of an answer."""
    train, test = pictures("train_images/"), pictures("test_images/", 4, 100)
    members = {
        **train,
        **test,
        "train.csv": table(
            [("image_id", "label"), *((name.split("/")[1], label) for name, label in names(train))]
        ),
        "test.csv": table([("image_id",), *((name.split("/")[1],) for name in test)]),
        "sample_submission.csv": table(
            [("image_id", "label"), *((f"{number}.jpg", 4) for number in range(100, 104))]
        ),
    }
    found, done = both_packed(tmp_path / "cassava", members)
    assert_labels(found, by_turns())
    assert sorted(found.unlabelled) == sorted(map(digest, test.values()))
    assert "4 photos have no class" in found.notes
    assert {entry["name"] for entry in done.skipped} >= set(test)


@pytest.mark.parametrize("name", ["metadata.csv", "labels.csv", "METADATA.CSV"])
@pytest.mark.parametrize("place", ["", "data/"])
def test_a_table_in_each_split(tmp_path: Path, name: str, place: str) -> None:
    """The same file names in each split: a mix-up would show."""
    members: dict[str, bytes] = {}
    for number, split in enumerate(SPLITS):
        members |= {f"{place}{split}/{row}.jpg": photo(100 * number + row) for row in range(6)}
        rows = [(f"{row}.jpg", TWO[(row + number) % 2]) for row in range(6)]
        members[f"{place}{split}/{name}"] = table([("file_name", "label"), *rows])
    found, _ = both_packed(tmp_path / "leaves", members)
    assert found.rows == {
        split: [(TWO[(row + number) % 2], digest(photo(100 * number + row))) for row in range(6)]
        for number, split in enumerate(SPLITS)
    }


def test_a_column_of_splits(tmp_path: Path) -> None:
    members = pictures("all/")
    called = ["Training", "val", "TEST"]
    rows = [(name, label, called[place % 3]) for place, (name, label) in enumerate(names(members))]
    source = put(tmp_path / "a", {**members, "labels.csv": table([("image", "label", "split"), *rows])})
    found, _ = both(source)
    assert_labels(found, by_turns())
    for place, split in enumerate(SPLITS):
        assert [name for _, name in found.rows[split]] == [
            digest(photo(number)) for number in range(place, COUNT, 3)
        ]


def test_a_split_of_a_table_that_nobody_knows(tmp_path: Path) -> None:
    members = pictures()
    rows = [
        (name, label, "fold-a" if place < 4 else "train")
        for place, (name, label) in enumerate(names(members))
    ]
    source = put(tmp_path / "a", {**members, "labels.csv": table([("image", "label", "split"), *rows])})
    assert "names a split fold-a" in refused(source)
    found, _ = both(source, "split:fold-a=test")
    assert len(found.rows["test"]) == 4


def test_rows_without_photos_and_photos_without_rows(tmp_path: Path) -> None:
    members = pictures("leaves/", COUNT + 1)
    rows = [*names(pictures("leaves/")), ("leaves/gone.jpg", "rust")]
    found, done = both_packed(tmp_path / "a", {**members, "labels.csv": table([("path", "label"), *rows])})
    assert_labels(found, by_turns())
    names_left = {entry["name"] for entry in done.skipped}
    assert names_left == {"leaves/gone.jpg", f"leaves/{COUNT}.jpg"} and "2 files were left out" in found.notes


def test_a_photo_with_two_labels_is_named(tmp_path: Path) -> None:
    members = pictures()
    rows = [*names(members), ("0.jpg", "rust")]
    source = put(tmp_path / "a", {**members, "labels.csv": table([("path", "label"), *rows])})
    found, done = both(source)
    # Of two labels none is guessed.
    assert_labels(found, {number: label for number, label in by_turns().items() if number})
    assert "0.jpg has two labels" in found.notes and done.skipped_count == 1


def test_a_table_alone_says_the_same_as_its_folder(tmp_path: Path) -> None:
    members = pictures("photos/")
    source = put(tmp_path / "a", {**members, "x.csv": table([("image", "label"), *names(members)])})
    put(tmp_path / "a", {"y.csv": table([("image", "label"), *names(members, ["other", "names"])])})
    found, _ = both(source / "x.csv")
    assert_labels(found, by_turns())
    assert_labels(both(source / "y.csv")[0], by_turns(classes=["other", "names"]))
