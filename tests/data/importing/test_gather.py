"""Photos taken out of tables, single files and parquet, with what each of them shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature

from tests.data.archive_corpus import leaf, leaves, pack_tar, pack_zip
from tests.data.imported import SPLITS, contents, put, stored, totals
from vit_demo.data.importing.gather import Files, Table
from vit_demo.data.importing.imports import import_photos
from vit_demo.data.open.sources import open_dataset

pytestmark = pytest.mark.usefixtures("place_for_imports")


def test_a_table(tmp_path: Path, refusal: Callable[..., str]) -> None:
    folder, outside = put(tmp_path / "in", leaves(20)), put(tmp_path / "out", {"x.jpg": leaf(99)})
    lines = [f"{name},{'Bean rust' if 'rust' in name else 'fine'}" for name in leaves(20)]
    table = folder / "labels.csv"
    table.write_text("\n".join(["path,label", *lines, "gone.jpg,fine", "rust/001.jpg,"]))
    done = import_photos(table, "mine")
    assert {label: sum(done.counts[split][label] for split in SPLITS) for label in done.counts["train"]} == {
        "Bean rust": 20,
        "fine": 20,
    }
    # A second row of a photo that says nothing of it changes nothing.
    assert [(entry["name"], entry["why"]) for entry in done.skipped] == [("gone.jpg", "is not there.")]
    names = [file.name for file in done.folder.glob("*/*/*")]
    assert (
        all(any(name.startswith(f"{number:03}") for name in names) for number in range(20))
        and done.source == done.origin == "labels.csv"
    )

    table.write_text(
        "\n".join(
            [
                "path,label,split",
                *(f"{line},{SPLITS[number % 3]}" for number, line in enumerate(lines)),
                f"{outside / 'x.jpg'},fine,train",
            ]
        )
    )
    done = import_photos(table, "inside")
    assert totals(done) == {"train": 14, "validation": 13, "test": 13}
    assert [entry["why"] for entry in done.skipped] == ["is not there."], "not read from outside its folder"
    done = import_photos(Table(table, anywhere=True), "two")
    assert totals(done) == {"train": 15, "validation": 13, "test": 13} and done.cut == []


@pytest.mark.parametrize("pack", ["a.zip", "a.tar", "folder"])
def test_a_table_among_its_photos(tmp_path: Path, pack: str) -> None:
    """As competitions give them out: all photos in one folder, and a list of what each shows."""
    photos = {f"all/leaves/{number:02}.jpg": leaf(number) for number in range(42)}
    lines = [
        "image,label",
        *(f"leaves/{number:02}.jpg,{'rust' if number % 2 else 'fine'}" for number in range(40)),
        "leaves/99.jpg,rust",
        "leaves/41.jpg,",
    ]
    members = {**photos, "all/train.csv": "\n".join(lines).encode(), "all/notes.csv": b"when,who\n1,2\n"}
    source = (
        put(tmp_path / "in", members)
        if pack == "folder"
        else (pack_zip if pack.endswith("zip") else pack_tar)(tmp_path / pack, members)
    )
    done = import_photos(source, "mine")
    assert totals(done) == {"train": 32, "validation": 4, "test": 4} and set(done.counts["train"]) == {
        "fine",
        "rust",
    }
    assert {file.read_bytes() for file in done.folder.glob("*/rust/*")} == {
        leaf(number) for number in range(1, 40, 2)
    }
    assert {entry["name"]: entry["why"] for entry in done.skipped} == {
        **dict.fromkeys(("all/leaves/40.jpg", "all/leaves/41.jpg"), "has no label in the table."),
        "all/notes.csv": "is a table that does not name most of the photos.",
        "leaves/99.jpg": "is not there.",
    }


def test_a_list_that_is_not_of_the_photos_is_left_out(tmp_path: Path) -> None:
    done = import_photos(
        pack_zip(tmp_path / "a.zip", {**leaves(20), "list.csv": b"path,label\nrust/001.jpg,healthy\n"}),
        "mine",
    )
    assert {sum(done.counts[split][label] for split in SPLITS) for label in ("healthy", "rust")} == {20}
    assert [entry["name"] for entry in done.skipped] == ["list.csv"]


def test_files_with_a_label_come_bit_by_bit(home: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    folder = put(tmp_path / "in", leaves(30))
    rust, healthy = (tuple(sorted((folder / name).iterdir())) for name in ("rust", "healthy"))
    (folder / "notes.txt").write_bytes(b"x")
    first = import_photos(Files((*rust[:25], folder / "notes.txt", folder / "gone.jpg"), "rust"), "mine")
    assert totals(first) == {"train": 25} and [entry["name"] for entry in first.skipped] == [
        "notes.txt",
        "gone.jpg",
    ]
    assert "only one class" in refusal(open_dataset, "import:mine")
    second = import_photos(Files(healthy, "healthy"), "MINE")
    assert totals(second) == {"train": 44, "validation": 6, "test": 5} and second.name == "mine"
    third = import_photos(Files(rust[25:], " rust "), "mine")
    assert totals(third) == {"train": 48, "validation": 6, "test": 6} and contents(third.folder) == sorted(
        leaves(30).values()
    )
    assert {split: len(part) for split, part in open_dataset("import:mine").items()} == totals(third)
    assert third.source == str(third.origin) == "5 photos called  rust " and third.origin.values == {
        "count": 5,
        "label": " rust ",
    }
    assert "No photo of 1 photo called rust can be used" in refusal(
        import_photos, Files((folder / "notes.txt",), "rust"), "mine"
    )
    for label in ("", "\n", "x" * 101, "..."):
        refusal(import_photos, Files(rust, label), "mine")
    assert contents(third.folder) == sorted(leaves(30).values()) and stored(home) == ["mine"], "as it was"


def test_files_are_added_to_splits_that_came_with_the_import(tmp_path: Path) -> None:
    members = {
        f"{split}/{name}": content
        for start, split in enumerate(("train", "test"))
        for name, content in leaves(20, start=100 * start).items()
    }
    first = import_photos(pack_zip(tmp_path / "a.zip", members), "mine")
    test = sorted(file.read_bytes() for file in (first.folder / "test").glob("*/*"))
    assert first.cut == ["validation"]
    second = import_photos(
        Files(
            tuple(sorted(put(tmp_path / "in", {f"{n}.jpg": leaf(7000 + n) for n in range(10)}).iterdir())),
            "rust",
        ),
        "mine",
    )
    assert sorted(file.read_bytes() for file in (second.folder / "test").glob("*/*")) == test
    assert totals(second) == {"train": 45, "validation": 5, "test": 40} and second.cut == ["validation"]


def parquet(folder: Path, **splits: list[dict]) -> Path:
    features = Features(
        {"image": ImageFeature(), "labels": ClassLabel(names=["healthy", "rust"]), "more": Value("string")}
    )
    folder.mkdir(parents=True, exist_ok=True)
    for split, content in splits.items():
        Dataset.from_list(content, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def rows(count: int, start: int = 0) -> list[dict]:
    return [
        {
            "image": {"bytes": leaf(start + n), "path": f"x/{n}.jpg" if n % 2 else None},
            "labels": n // 2 % 2,
            "more": "x",
        }
        for n in range(count)
    ]


@pytest.mark.parametrize("pack", ["a.zip", "a.tar", "folder"])
def test_parquet(tmp_path: Path, pack: str) -> None:
    photo = {"bytes": leaf(1), "path": None}
    broken = [
        {"image": {"bytes": b"broken", "path": "b.jpg"}, "labels": 0},
        {"image": None, "labels": 1},
        {"image": photo, "labels": -1},
    ]
    source = parquet(tmp_path / "in" / "data", train=[*rows(60), *broken], test=rows(8, start=500))
    members = {f"beans/data/{file.name}": file.read_bytes() for file in source.iterdir()} | {
        "beans/README.md": b"x"
    }
    if pack == "folder":
        done = import_photos(tmp_path / "in", "mine")
    else:
        done = import_photos(
            (pack_zip if pack.endswith("zip") else pack_tar)(tmp_path / pack, members), "mine"
        )
    assert totals(done) == {"train": 54, "validation": 6, "test": 8} and done.cut == ["validation"]
    assert contents(done.folder) == sorted(row["image"]["bytes"] for row in (*rows(60), *rows(8, start=500)))
    assert {entry["why"] for entry in done.skipped} - {"is not a photo, by its ending."} == {
        "is not a photo.",
        "has no photo.",
        "has no label.",
    }


def test_bad_parquet(
    home: Path, tmp_path: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = next(parquet(tmp_path / "in", train=rows(40)).iterdir())
    monkeypatch.setattr("vit_demo.data.importing.rows.MAX_GROUP_BYTES", 1000)
    assert "smaller row groups" in refusal(import_photos, tmp_path / "in", "mine")
    monkeypatch.undo()
    monkeypatch.setenv("VIT_DEMO_HOME", str(home))
    monkeypatch.setattr("vit_demo.data.plan.archives.MAX_TOTAL_BYTES", 20_000)
    assert "GB unpacked" in refusal(import_photos, tmp_path / "in", "mine")
    file.write_bytes(file.read_bytes()[:-100])
    assert "cannot be read as a parquet file" in refusal(import_photos, tmp_path / "in", "mine")
    Dataset.from_list([{"words": "x", "label": 1}]).to_parquet(file)
    assert "no column of images" in refusal(import_photos, tmp_path / "in", "mine")
    assert stored(home) == []
