"""Parquet files and saved data sets of photos as people have them: each is read the same where it lies and
taken in, or asked about.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from pyarrow import parquet

from tests.data.both_ways import Read, both, both_packed, digest, opened, photo, refused, taken_in
from tests.data.imported import put

pytestmark = pytest.mark.usefixtures("place_for_imports")
SPLITS = ("train", "validation", "test")
TWO = ["rust", "healthy"]
PLAIN = {"image": Image(), "label": ClassLabel(names=TWO)}
COUNT = 20


def rows(start: int = 0, count: int = COUNT, **columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    """So many rows: a photo of its own, "label" by turns, and more columns by functions of the number."""
    return [
        {
            "image": {"bytes": photo(number), "path": f"{number}.jpg"},
            "label": number % 2,
            **{name: value(number) for name, value in columns.items()},
        }
        for number in range(start, start + count)
    ]


def without_label(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "label"}


def write(file: Path, content: list[dict[str, Any]], features: dict[str, Any] = PLAIN) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(content, features=Features(features)).to_parquet(file)
    return file


def assert_labels(found: Read, wanted: dict[int, str]) -> None:
    """wanted: {number of a photo: its class}, of all that there are."""
    assert found.labels == {digest(photo(number)): label for number, label in wanted.items()}
    assert sum(map(len, found.rows.values())) == len(wanted)


def by_turns(count: int = COUNT, names: list[str] = TWO) -> dict[int, str]:
    return {number: names[number % 2] for number in range(count)}


# --- which column, and what its values mean


@pytest.mark.parametrize("label", ["label", "labels"])
@pytest.mark.parametrize("kind", ["class", "text", "number"])
def test_label_wins_over_other_columns_of_classes(tmp_path: Path, label: str, kind: str) -> None:
    feature = {"class": ClassLabel(names=TWO), "text": Value("string"), "number": Value("int64")}[kind]
    features = {"season": ClassLabel(names=["dry", "wet"]), "image": Image(), label: feature}
    content = [
        without_label(row) | {label: TWO[row["label"]] if kind == "text" else row["label"]}
        for row in rows(season=lambda number: number // 10)
    ]
    write(tmp_path / "a" / "train.parquet", content, features)
    found, _ = both(tmp_path / "a")
    assert_labels(found, by_turns(names=["0", "1"] if kind == "number" else TWO))
    assert ("the numbers are the names" in found.notes) == (kind == "number")


def test_two_columns_of_classes_are_asked_about(tmp_path: Path) -> None:
    features = {name: ClassLabel(names=TWO) for name in ("season", "sick")} | {"image": Image()}
    content = [
        without_label(row) | {"sick": row["label"]} for row in rows(season=lambda number: number // 10)
    ]
    source = write(tmp_path / "a" / "train.parquet", content, features).parent
    assert "(label-column)" in refused(source) and "season, sick" in refused(source)
    assert_labels(both(source, "label-column=sick")[0], by_turns())
    assert both(source, "label-column=season")[0].names == TWO
    assert "no column month" in refused(source, "label-column=month")


@pytest.mark.parametrize("label", ["disease", "Class", "species", "类别", "diagnosis"])
@pytest.mark.parametrize("kind", [Value("string"), ClassLabel(names=TWO)], ids=["text", "class"])
def test_names_of_the_column_of_labels(tmp_path: Path, label: str, kind: Any) -> None:
    features = {"photo": Image(), label: kind, "width": Value("int64")}
    content = [
        {"photo": row["image"], label: TWO[row["label"]], "width": number}
        for number, row in enumerate(rows())
    ]
    source = write(tmp_path / "a" / "train.parquet", content, features).parent
    assert_labels(both(source)[0], by_turns())


@pytest.mark.parametrize("hidden", [-1, None])
@pytest.mark.parametrize("kind", ["class", "number"])
def test_hidden_labels_of_test(tmp_path: Path, hidden: int | None, kind: str) -> None:
    features = {**PLAIN, "label": PLAIN["label"] if kind == "class" else Value("int64")}
    write(tmp_path / "a" / "train.parquet", rows(), features)
    content = [{**row, "label": hidden} for row in rows(100, 5)]
    write(tmp_path / "a" / "test.parquet", content, features)
    found, done = both(tmp_path / "a")
    assert_labels(found, by_turns(names=TWO if kind == "class" else ["0", "1"]))
    assert "5 rows of test have no label" in found.notes and len(found.unlabelled) == 5
    assert done.skipped_count == 5


@pytest.mark.parametrize(
    "other", [["healthy", "rust"], ["healthy"], ["healthy", "mildew", "rust"]], ids=["order", "fewer", "more"]
)
def test_classes_of_the_splits_in_different_orders(tmp_path: Path, other: list[str]) -> None:
    write(tmp_path / "a" / "train.parquet", rows())
    content = [{**row, "label": place} for place, row in enumerate(rows(100, len(other)))]
    write(tmp_path / "a" / "test.parquet", content, {**PLAIN, "label": ClassLabel(names=other)})
    found, _ = both(tmp_path / "a")
    assert found.names == (["healthy", "mildew", "rust"] if "mildew" in other else TWO)
    test = {100 + place: name for place, name in enumerate(other)}
    assert_labels(found, {**by_turns(), **test})
    assert found.rows["test"] == [(name, digest(photo(number))) for number, name in test.items()]
    assert "matched by name" in found.notes
    assert ("rust has no photo in test" in found.notes) == (other == ["healthy"])
    assert ("mildew has no photo in training" in found.notes) == ("mildew" in other)


# --- how files of rows lie


@pytest.mark.parametrize(
    "names",
    [
        ("default/train/0000.parquet", "default/validation/0000.parquet", "default/test/0000.parquet"),
        ("data/train-00000-of-00001.parquet", "data/val-00000-of-00001.parquet", "data/test-00000.parquet"),
        ("Train.parquet", "valid.parquet", "TEST.PARQUET"),
        ("x/training.parquet", "x/dev.parquet", "x/holdout.parquet"),
        (
            "plant/default/partial-train/0000.parquet",
            "plant/default/validation/0.parquet",
            "plant/default/test/0.parquet",
        ),
    ],
    ids=lambda names: names[0],
)
def test_hub_layouts(tmp_path: Path, names: tuple[str, ...]) -> None:
    members = {}
    for place, name in enumerate(names):
        file = write(tmp_path / "made" / f"{place}.parquet", rows(100 * place, 6))
        members[name] = file.read_bytes()
    found, _ = both_packed(tmp_path / "leaves", members)
    for place, split in enumerate(SPLITS):
        assert found.rows[split] == [
            (TWO[number % 2], digest(photo(number))) for number in range(100 * place, 100 * place + 6)
        ]


@pytest.mark.parametrize(
    "names", [("data/leaves.parquet",), ("0000.parquet", "0001.parquet"), ("a b/all.parquet",)]
)
def test_files_of_one_split(tmp_path: Path, names: tuple[str, ...]) -> None:
    for place, name in enumerate(names):
        write(tmp_path / "a" / name, rows(COUNT * place))
    found, _ = both(tmp_path / "a")
    assert_labels(found, by_turns(COUNT * len(names)))
    if len(names) == 1:
        assert opened(tmp_path / "a" / names[0]).rows == found.rows


def test_a_file_beside_the_splits_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a" / "train.parquet", rows())
    write(tmp_path / "a" / "more.parquet", rows(100))
    found, done = both(tmp_path / "a")
    assert_labels(found, by_turns())
    assert "more.parquet" in found.notes and [entry["name"] for entry in done.skipped] == ["more.parquet"]
    assert len(both(tmp_path / "a", "split:more=test")[0].rows["test"]) == COUNT


@pytest.mark.parametrize("splits", [("train", "test"), ()], ids=["splits", "one"])
@pytest.mark.parametrize("place", ["", "inner/"])
def test_folders_of_save_to_disk(tmp_path: Path, splits: tuple[str, ...], place: str) -> None:
    parts = {
        split: Dataset.from_list(rows(100 * number), features=Features(PLAIN))
        for number, split in enumerate(splits or ("train",))
    }
    data = DatasetDict(parts) if splits else parts["train"]
    data.save_to_disk(tmp_path / "a" / place)
    found, _ = both(tmp_path / "a")
    assert_labels(
        found, by_turns() | ({100 + number: label for number, label in by_turns().items()} if splits else {})
    )
    if splits:
        assert len(found.rows["test"]) == COUNT
    members = {
        str(file.relative_to(tmp_path / "a")): file.read_bytes()
        for file in (tmp_path / "a").rglob("*")
        if file.is_file()
    }
    _, here = taken_in(both_packed(tmp_path / "again", members) and tmp_path / "again.zip")
    assert here.rows == found.rows


# --- how photos are stored


@pytest.mark.parametrize("column", ["image", "img", "picture", "content"])
@pytest.mark.parametrize("kind", ["bytes", "struct", "struct without path", "image"])
def test_photos_as_bytes_and_as_structs(tmp_path: Path, column: str, kind: str) -> None:
    values = {
        "bytes": [photo(number) for number in range(COUNT)],
        "struct": [{"bytes": photo(number), "path": f"{number}.jpg"} for number in range(COUNT)],
        "struct without path": [{"bytes": photo(number)} for number in range(COUNT)],
        "image": [{"bytes": photo(number), "path": None} for number in range(COUNT)],
    }[kind]
    (tmp_path / "a").mkdir()
    table = pyarrow.table(
        {column: values, "label": [TWO[number % 2] for number in range(COUNT)], "size": [1] * COUNT}
    )
    parquet.write_table(table, tmp_path / "a" / "train.parquet")
    assert_labels(both(tmp_path / "a")[0], by_turns())


@pytest.mark.parametrize("column", ["image", "file_name", "path", "image_path"])
@pytest.mark.parametrize("place", ["images/", "", "train images/ä/"])
def test_photos_as_paths(tmp_path: Path, column: str, place: str) -> None:
    put(tmp_path / "a", {f"{place}{number}.jpg": photo(number) for number in range(COUNT)})
    table = {
        column: [f"{place}{number}.jpg" for number in range(COUNT)],
        "disease": [TWO[number % 2] for number in range(COUNT)],
    }
    parquet.write_table(pyarrow.table(table), tmp_path / "a" / "train.parquet")
    assert_labels(both(tmp_path / "a")[0], by_turns())


def test_photos_by_paths_that_lead_nowhere_or_elsewhere(tmp_path: Path) -> None:
    put(tmp_path / "a", {f"{number}.jpg": photo(number) for number in range(COUNT)})
    put(tmp_path, {"other.jpg": photo(99)})
    names = [f"{number}.jpg" for number in range(COUNT)] + [
        "gone.jpg",
        "../other.jpg",
        str(tmp_path / "other.jpg"),
        "",
        None,
    ]
    table = {"image": names, "label": [TWO[number % 2] for number in range(len(names))]}
    parquet.write_table(pyarrow.table(table), tmp_path / "a" / "train.parquet")
    found, done = both(tmp_path / "a")
    assert_labels(found, by_turns())
    assert "5 rows of train have no photo" in found.notes and done.skipped_count - 5 in (0, COUNT)


def test_nothing_is_written_where_photos_lie(tmp_path: Path) -> None:
    Dataset.from_list(rows(), features=Features(PLAIN)).save_to_disk(tmp_path / "a")
    before = {file: file.read_bytes() for file in (tmp_path / "a").iterdir()}
    both(tmp_path / "a")
    assert {file: file.read_bytes() for file in (tmp_path / "a").iterdir()} == before
    (tmp_path / "a" / "cache-0123456789abcdef.arrow").write_bytes(
        before[next(file for file in before if file.suffix == ".arrow")]
    )
    assert_labels(both(tmp_path / "a")[0], by_turns())
