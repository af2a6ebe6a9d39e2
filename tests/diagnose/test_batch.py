"""Many photos: what is walked, and what is answered of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.diagnose.packing import leaf, packed, put
from tests.sentences import is_plain
from vit_demo.common import settings
from vit_demo.diagnose.batch import diagnose_batches, diagnose_many, walk
from vit_demo.diagnose.diagnosis import Refusal, diagnose_files

# What is walked


def test_folders_are_walked_in_a_fixed_order_without_what_is_hidden(tmp_path):
    for name in ("b.jpg", "a.jpg", "sub/deep/x.jpg", "sub/c.jpg", "another/d.jpg", "name.txt"):
        put(tmp_path / "in" / name, b"x")
    for name in (
        ".hidden.jpg",
        ".DS_Store",
        "Thumbs.db",
        ".ipynb_checkpoints/a.jpg",
        "__MACOSX/._a.jpg",
        "sub/.cache/z.jpg",
    ):
        put(tmp_path / "in" / name, b"x")
    (tmp_path / "in" / "sub" / "circle").symlink_to(tmp_path / "in")
    names = [Path(item.name).relative_to(tmp_path / "in").as_posix() for item in walk([tmp_path / "in"])]
    assert names == [
        "a.jpg",
        "b.jpg",
        "name.txt",
        "another/d.jpg",
        "sub/c.jpg",
        "sub/circle",
        "sub/deep/x.jpg",
    ]
    assert [item.name for item in walk([tmp_path / "in" / "b.jpg", tmp_path / "in" / "another"])] == [
        str(tmp_path / "in" / "b.jpg"),
        str(tmp_path / "in" / "another" / "d.jpg"),
    ]


def test_the_results_are_no_photo_of_the_folder_that_they_lie_in(tmp_path):
    for name in ("a.jpg", "r.csv", "r.csv.about.json", "r.csv.parts/0-of-2.csv", "sub/r.csv"):
        put(tmp_path / name, b"x")
    assert [item.name for item in walk([tmp_path], out=tmp_path / "r.csv")] == [
        str(tmp_path / "a.jpg"),
        str(tmp_path / "sub" / "r.csv"),
    ]


def test_a_folder_that_cannot_be_read_is_a_row(tmp_path, monkeypatch):
    put(tmp_path / "closed" / "a.jpg", b"x")
    put(tmp_path / "open" / "b.jpg", b"x")
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    first, second = walk([tmp_path])
    assert (
        first.name == str(tmp_path / "closed")
        and is_plain(str(first.error))
        and second.name == str(tmp_path / "open" / "b.jpg")
    )


def test_folders_are_read_only_when_their_turn_comes(tmp_path, monkeypatch):
    for number in range(40):
        put(tmp_path / f"{number:02}" / "a.jpg", b"x")
    read, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: read.append(folder.name) or scandir(folder))
    items = walk([tmp_path])
    for number in range(3):
        assert next(items).name == str(tmp_path / f"{number:02}" / "a.jpg")
        assert read == [tmp_path.name, *(f"{before:02}" for before in range(number + 1))]


# Answers


def test_each_source_gives_the_answer_that_its_photo_has_alone(classifier, tmp_path):
    files = [put(tmp_path / "in" / f"{number:02}.png", leaf(number)) for number in range(20)]
    bad = put(tmp_path / "in" / "05-bad.png", b"no photo")
    zipped = packed(
        tmp_path / "leaves.zip",
        {"field/z.png": leaf(99), "notes.txt": b"hello", "field/": b"", "__MACOSX/field/._z.png": b"x"},
    )
    answers = list(diagnose_many(classifier, [tmp_path / "in", zipped]))
    assert [answer.photo for answer in answers] == [
        *map(str, sorted([*files, bad])),
        f"{zipped}/field/z.png",
        f"{zipped}/notes.txt",
    ]
    alone = {
        answer.photo: answer
        for answer in diagnose_files(classifier, [*files, put(tmp_path / "z.png", leaf(99))])
    }
    for answer in answers:
        if answer.photo in (str(bad), f"{zipped}/notes.txt"):
            assert isinstance(answer, Refusal) and "is not a photo" in answer.error and is_plain(answer.error)
        else:
            other = alone[str(tmp_path / "z.png") if answer.photo.endswith("z.png") else answer.photo]
            assert answer.label == other.label and answer.probability == pytest.approx(
                other.probability, abs=1e-5
            )


def test_few_photos_are_on_disk_at_a_time_and_none_is_left(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    zipped = packed(tmp_path / "leaves.zip", {f"{number:03}.png": leaf(number) for number in range(150)})

    def files() -> int:
        return sum(path.is_file() for path in (tmp_path / "temporary").rglob("*"))

    size, answered = settings.load().batch_size, []
    for batch in diagnose_batches(
        lambda paths: diagnose_files(classifier, paths),
        walk([zipped]),
        look=lambda file: (file.name, files()),
    ):
        answered += [seen for _, seen in batch]
    assert [name for name, _ in answered] == [f"{number:03}.png" for number in range(150)]
    assert 0 < max(count for _, count in answered) <= 4 * size
    assert list((tmp_path / "temporary").iterdir()) == []
    steps = diagnose_batches(lambda paths: diagnose_files(classifier, paths), walk([zipped]))
    next(steps)
    steps.close()  # as Stop on the page does
    assert list((tmp_path / "temporary").iterdir()) == []


def test_an_archive_of_nothing_but_bad_files_is_all_rows(classifier, tmp_path):
    zipped = packed(tmp_path / "leaves.zip", {f"{number:02}.zip": b"x" for number in range(40)})
    answers = list(diagnose_many(classifier, [zipped]))
    assert [answer.photo for answer in answers] == [f"{zipped}/{number:02}.zip" for number in range(40)]
    assert all("inside the archive" in answer.error for answer in answers)
