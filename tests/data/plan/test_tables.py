"""Tables of photos as people write them, and what they may not name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vit_demo.data.plan import tables
from vit_demo.data.plan.tables import Row, find_photo, is_table, read_rows


def table(folder: Path, text: str | bytes, name: str = "leaves.csv") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na/1.jpg,rust\na/2.jpg,healthy\n",
        "Label;Image Path;notes\r\nrust;a/1.jpg;x\r\nhealthy;a/2.jpg;\r\n",
        "\ufeffid\tfile_name\tclass\n1\ta/1.jpg\trust\n2\ta/2.jpg\thealthy",
        '\n\n FILE , Category \n "a/1.jpg" , rust \n,\n\na/2.jpg,healthy\n'.replace('"a/1.jpg" ', "a/1.jpg "),
    ],
    ids=["plain", "semicolons", "tabs and a mark", "blanks"],
)
def test_columns_are_found(tmp_path: Path, text: str) -> None:
    assert [(row.path, row.label, row.split) for row in read_rows(table(tmp_path, text))] == [
        ("a/1.jpg", "rust", ""),
        ("a/2.jpg", "healthy", ""),
    ]


def test_splits_quotes_and_rows_that_lack_something(tmp_path: Path) -> None:
    text = 'image,label,split\n"a, b.jpg",rust,Train\nb.jpg,,val\nc.jpg\n,rust,test\nd.jpg,healthy,TEST\n'
    assert read_rows(table(tmp_path, text)) == [
        Row(2, "a, b.jpg", "rust", "train"),
        Row(3, "b.jpg", "", "validation"),
        Row(4, "c.jpg", "", ""),
        Row(6, "d.jpg", "healthy", "test"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    rows = read_rows(table(tmp_path, "path,label\nblätter/ö.jpg,café\n".encode(encoding)))
    assert [(row.path, row.label) for row in rows] == [("blätter/ö.jpg", "café")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("a,label\n1,2\n", "lacks a column of paths"),
        ("path,b\n1,2\n", "lacks a column of labels"),
        ("path,label,split\na.jpg,rust,fold-2\n", "Line 2 of leaves.csv names a split fold-2"),
        (b"PK\x03\x04\0\0\0\0", "no table of text"),
        ("path,label\n" + "x" * 200_000 + ",rust\n", "cannot be read as a table"),
    ],
    ids=["empty", "no paths", "no labels", "splits", "zip", "long cell"],
)
def test_what_is_no_table(tmp_path: Path, refusal: Callable[..., str], text: str | bytes, words: str) -> None:
    assert words in refusal(read_rows, table(tmp_path, text))


def test_no_file_and_too_much_of_one(
    tmp_path: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "There is no file" in refusal(read_rows, tmp_path / "gone.csv")
    file = table(tmp_path, "path,label\n" + "a.jpg,rust\n" * 11)
    monkeypatch.setattr(tables, "MAX_ROWS", 11)
    assert len(read_rows(file)) == 11
    monkeypatch.setattr(tables, "MAX_ROWS", 10)
    assert "more than 10 rows" in refusal(read_rows, file)
    monkeypatch.setattr(tables, "MAX_BYTES", 100)
    assert "Cut it into several tables" in refusal(read_rows, file)


def test_photos_lie_in_the_folder_of_the_table(tmp_path: Path, refusal: Callable[..., str]) -> None:
    folder = tmp_path / "leaves"
    for place in (folder / "a", tmp_path / "elsewhere"):
        place.mkdir(parents=True)
        (place / "1.jpg").write_bytes(b"photo")
    (folder / "link.jpg").symlink_to(tmp_path / "elsewhere" / "1.jpg")
    file = table(folder, "path,label\n")

    def find(path: str, anywhere: bool = False) -> Path | None:
        return find_photo(file, Row(7, path, "rust", ""), anywhere)

    assert (
        find("a/1.jpg")
        == find("./a/1.jpg")
        == find("a\\1.jpg")
        == find(str(folder / "a" / "1.jpg"))
        == folder / "a" / "1.jpg"
    )
    assert find("a/2.jpg") is find("a") is find("x" * 5000) is find("a\0b") is None
    outside = [
        "../elsewhere/1.jpg",
        str(tmp_path / "elsewhere" / "1.jpg"),
        "a/../../elsewhere/1.jpg",
        "/etc/passwd",
        "..\\elsewhere\\1.jpg",
    ]
    outside += ["../gone.jpg", "link.jpg"]
    for path in outside:
        assert "Line 7 of leaves.csv names a photo outside its folder" in refusal(find, path)
    assert find(outside[0], anywhere=True).samefile(tmp_path / "elsewhere" / "1.jpg") and find(
        "link.jpg", anywhere=True
    )


def test_names_of_tables() -> None:
    assert is_table(Path("a.CSV")) and is_table(Path("a.tsv")) and not is_table(Path("a.txt"))
