"""Folders of photos as people have them: each is read the same where it lies and taken in, or asked about."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.both_ways import (
    Read,
    both,
    both_packed,
    digest,
    opened,
    photo,
    photos,
    read,
    refused,
    taken_in,
)
from tests.data.imported import put
from vit_demo.data.importing.gather import left_out
from vit_demo.data.importing.imports import Imported
from vit_demo.data.open.planned import shaped_folder
from vit_demo.data.open.sources import open_dataset
from vit_demo.data.plan.corrections import Corrections

pytestmark = pytest.mark.usefixtures("place_for_imports")
SPLITS = ("train", "validation", "test")
TWO = ("healthy", "rust")


def split_folders(*splits: str, classes: tuple[str, ...] = TWO, count: int = 3) -> dict[str, bytes]:
    return photos(*(f"{split}/{name}" for split in splits for name in classes), count=count)


def assert_whole(found: Read, members: dict[str, bytes], level: int) -> None:
    """Each photo is there once, in the class that the folder at this level says."""
    wanted = {digest(content): name.split("/")[level] for name, content in members.items()}
    assert found.labels == wanted
    assert sum(map(len, found.rows.values())) == len(members)


def said(done: Imported) -> str:
    return "\n".join([*map(str, done.said), *(str(left_out(entry)) for entry in done.skipped)])


# --- a test split without classes


@pytest.mark.parametrize(
    "place",
    [
        "test/test",
        "test/images",
        "test",
        "Test/Unlabelled",
        "TEST IMAGES",
        "testing/0",
        "prueba/fotos",
        "测试/图片",
    ],
)
def test_photos_to_predict_are_no_class(tmp_path: Path, place: str) -> None:
    learned = photos(*(f"{split}/{name}" for split in ("train", "valid") for name in TWO), count=12)
    hidden = {f"{place}/{number}.JPG": photo(90_000 + number) for number in range(5)}
    found, done = both_packed(tmp_path / "leaves", {**learned, **hidden})
    assert found.names == list(TWO)
    assert_whole(found, learned, 1)
    assert {split: sum(found.counts[split].values()) for split in ("validation",)} == {"validation": 24}
    assert sorted(found.unlabelled) == sorted(map(digest, hidden.values()))
    assert "5 photos have no class" in found.notes and "test were cut" in found.notes.replace(
        "test was", "test were"
    )
    assert done.skipped_count == 5 and all(name in said(done) for name in hidden)


def test_class_folders_in_test_that_train_lacks_are_classes(tmp_path: Path) -> None:
    """Only names that say nothing mean that there are no classes."""
    members = {**split_folders("train", "val"), **photos("test/rust", "test/mildew", count=2)}
    found, _ = both(put(tmp_path / "a", {name: photo(number) for number, name in enumerate(members)}))
    assert found.names == ["healthy", "mildew", "rust"]
    assert found.counts["test"] == {"mildew": 2, "rust": 2}
    assert "mildew has no photo in training" in found.notes and "healthy has no photo in test" in found.notes


# --- folders inside a class, and around it


@pytest.mark.parametrize(
    "inner",
    [
        ["day0", "day1"],
        ["2024-05-01", "2024-05-02"],
        ["plot 3", "plot 4"],
        ["DCIM", "100APPLE"],
        ["photos", "raw"],
        ["Batch_1", "batch_2"],
        ["1", "2"],
        ["day0/cam1", "day1/cam2"],
    ],
    ids=lambda inner: inner[0],
)
def test_folders_inside_a_class(tmp_path: Path, inner: list[str]) -> None:
    members = photos(*(f"{name}/{part}" for name in TWO for part in inner), count=8)
    found, _ = both_packed(tmp_path / "leaves", members)
    assert found.names == list(TWO)
    assert_whole(found, members, 0)


@pytest.mark.parametrize("outer", [["day0", "day1"], ["2024-05-01", "2024-05-02"], ["field A", "field B"]])
def test_folders_around_classes(tmp_path: Path, outer: list[str]) -> None:
    members = photos(*(f"{part}/{name}" for part in outer for name in TWO), count=8)
    assert_whole(both(put(tmp_path / "a", members))[0], members, 1)


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("split", ["", "train/"])
def test_two_levels_that_make_sense_are_asked_about(tmp_path: Path, level: int, split: str) -> None:
    members = photos(*(f"{split}{plant}/{name}" for plant in ("bean", "maize") for name in TWO), count=8)
    source = put(tmp_path / "a", members)
    level += bool(split)
    text = refused(source)
    assert f"[class-level={level}]" in text and "bean, maize" in text and "healthy, rust" in text
    assert_whole(both(source, f"class-level={level}")[0], members, level - 1)


def test_class_level_that_is_not_there(tmp_path: Path) -> None:
    text = refused(put(tmp_path / "a", photos(*TWO)), "class-level=3")
    assert "level 3 cannot be the class" in text


@pytest.mark.parametrize("deeper", ["more", "day 2", "sub/sub"])
def test_half_of_the_photos_one_level_deeper(tmp_path: Path, deeper: str) -> None:
    members = photos(*TWO, *(f"{name}/{deeper}" for name in TWO), count=8)
    found, _ = both_packed(tmp_path / "leaves", members)
    assert_whole(found, members, 0)


@pytest.mark.parametrize("wrapper", ["more", "Photos of 2024", "extra/new"])
def test_half_of_the_classes_in_a_folder_of_their_own(tmp_path: Path, wrapper: str) -> None:
    members = photos(*TWO, *(f"{wrapper}/{name}" for name in TWO), count=8)
    found, _ = both_packed(tmp_path / "leaves", members)
    assert found.names == list(TWO)
    assert found.labels == {digest(content): name.split("/")[-2] for name, content in members.items()}


def test_photos_beside_the_class_folders_are_named(tmp_path: Path) -> None:
    members = photos(*TWO, count=8)
    found, done = both_packed(tmp_path / "leaves", {**members, "lonely one.jpg": photo(77)})
    assert_whole(found, members, 0)
    assert "lonely one.jpg" in found.notes and "lonely one.jpg" in said(done)


@pytest.mark.parametrize("wrapper", ["data", "a/b", "Plant Village", "dataset/images", "测试图", "x/2024"])
@pytest.mark.parametrize("splits", [("train", "val", "test"), ()], ids=["splits", "classes"])
def test_wrapper_folders(tmp_path: Path, wrapper: str, splits: tuple[str, ...]) -> None:
    count = 3 if splits else 10
    members = photos(
        *(f"{wrapper}/{split}/{name}".replace("//", "/") for split in splits or [""] for name in TWO),
        count=count,
    )
    found, _ = both_packed(tmp_path / "leaves", members)
    assert_whole(found, members, -2)
    if splits:
        assert [sum(found.counts[split].values()) for split in SPLITS] == [6, 6, 6]


# --- what splits are called


@pytest.mark.parametrize(
    "called",
    [
        ("train", "val_set", "holdout"),
        ("Training", "Validation", "Testing"),
        ("trn", "dev", "tst"),
        ("TRAIN", "VALID", "TEST"),
        ("train images", "val images", "test images"),
        ("entrenamiento", "validación", "prueba"),
        ("treino", "validação", "teste"),
        ("mafunzo", "uthibitisho", "jaribio"),
        ("训练集", "验证集", "测试集"),
        ("training_data", "validation_data", "hold-out"),
        ("1_train", "2_val", "3_test"),
    ],
    ids=lambda called: called[0],
)
def test_names_of_splits(tmp_path: Path, called: tuple[str, ...]) -> None:
    members = split_folders(*called)
    found, _ = both_packed(tmp_path / "leaves", members)
    assert_whole(found, members, 1)
    for split, folder in zip(SPLITS, called):
        assert {photo for _, photo in found.rows[split]} == {
            digest(content) for name, content in members.items() if name.startswith(folder + "/")
        }


@pytest.mark.parametrize("extra", ["extra", "More Photos", "fold 7", "новые"])
def test_splits_that_nobody_knows_are_asked_about(tmp_path: Path, extra: str) -> None:
    members = split_folders("train", "val", extra, count=10)
    source = put(tmp_path / "a", members)
    assert f"whether {extra} is for training" in refused(source) and f"[split:{extra}=test]" in refused(
        source
    )
    found, _ = both(source, f"split:{extra}=test")
    assert_whole(found, members, 1)
    assert {split: sum(found.counts[split].values()) for split in SPLITS} == dict.fromkeys(SPLITS, 20)
    assert (
        both(source, f"split:{extra}=none")[1].skipped_count
        == 20
        == len(opened(source, f"split:{extra}=unlabelled").unlabelled)
    )


@pytest.mark.parametrize(
    "classes", [("bus", "car", "train"), ("bike", "test", "train"), ("plane", "train"), ("Train", "tram")]
)
@pytest.mark.parametrize("place", ["", "data/", "train/"])
def test_a_class_that_is_called_train(tmp_path: Path, classes: tuple[str, ...], place: str) -> None:
    members = photos(*(place + name for name in classes), count=12)
    found, _ = both(put(tmp_path / "a", members))
    assert found.names == sorted(classes)
    assert_whole(found, members, -2)


# --- how a path is written


@pytest.mark.parametrize("written", ['"{}"', "'{}'", "{} ", " {}", "file://{}", '"file://{}" ', "{}/"])
@pytest.mark.parametrize("name", ["a", "two words", "blätter [1]", "叶"])
def test_how_a_path_is_written(tmp_path: Path, written: str, name: str) -> None:
    source = put(tmp_path / name, photos(*TWO))
    text = written.format(source.as_uri().removeprefix("file://") if "file" in written else source)
    assert read(open_dataset(text)) == opened(source)
    assert read(open_dataset(f"{text} [class-level=1]")) == opened(source)


# --- photos to try a model on


@pytest.mark.parametrize(
    ("places", "count", "names"),
    [
        (("test/healthy", "test/rust"), 3, list(TWO)),
        (("healthy", "rust"), 3, list(TWO)),
        (("rust",), 3, ["rust"]),
        (("test/rust",), 5, ["rust"]),
        (("",), 60, []),
        (("photos",), 10, []),
    ],
    ids=str,
)
def test_photos_to_try_a_model_on_are_all_there(
    tmp_path: Path, places: tuple[str, ...], count: int, names: list[str]
) -> None:
    members = {name.lstrip("/"): content for name, content in photos(*places, count=count).items()}
    data = shaped_folder(put(tmp_path / "own", members), (), Corrections())
    rows = [label for part in data.values() for label in part["labels"]]
    silent = len(data.unlabelled) if data.unlabelled is not None else 0
    assert len(data) <= 1 and len(rows) + silent == len(members)
    assert bool(rows) == bool(names)
    for part in data.values():
        assert part.features["labels"].names == names


def test_photos_without_classes_are_refused_in_plain_words(tmp_path: Path) -> None:
    flat = {
        f"rust_{number}.jpg" if number % 2 else f"healthy_{number}.jpg": photo(number) for number in range(40)
    }
    assert "class/photo.jpg" in refused(put(tmp_path / "a", flat))
    assert "only one class" in refused(put(tmp_path / "b", photos("rust", count=20)))
    assert "too few photos" in refused(put(tmp_path / "c", photos("test/rust", "test/healthy", count=3)))


# --- endings, copies, spelling


def test_every_ending_that_diagnose_reads(tmp_path: Path) -> None:
    kinds = {
        "jpg": "JPEG",
        "JFIF": "JPEG",
        "jpe": "JPEG",
        "avif": "AVIF",
        "heic": "HEIF",
        "HEIF": "HEIF",
        "png": "PNG",
        "webp": "WEBP",
        "tif": "TIFF",
        "bmp": "BMP",
        "gif": "GIF",
    }
    import pillow_heif

    from tests.data.archive_corpus import leaf

    pillow_heif.register_heif_opener()
    members = {
        f"{name}/{number}.{ending}": leaf(100 * place + number, kind, (64, 64))
        for place, name in enumerate(TWO)
        for number, (ending, kind) in enumerate(kinds.items())
    }
    other = {f"{name}/scan.jp2": b"\0\0\0\x0cjP  \r\n" for name in TWO}
    source = put(tmp_path / "a", {**members, **other})
    there, (done, here) = opened(source), taken_in(source)
    assert there.names == here.names == list(TWO)
    for found in (there, here):
        assert sum(map(len, found.rows.values())) == len(members)
    # A HEIC is stored as a JPEG, so contents differ; all else is the same.
    assert there.counts == here.counts
    assert {entry["name"] for entry in done.skipped} == set(other)
    assert "2 files were left out" in there.notes and "scan.jp2" in there.notes


@pytest.mark.parametrize("splits", [True, False])
def test_the_same_photo_in_two_classes_is_named(tmp_path: Path, splits: bool) -> None:
    members = split_folders(*SPLITS) if splits else photos(*TWO, count=10)
    place = "train/" if splits else ""
    members[f"{place}rust/again.jpg"] = members[f"{place}healthy/01.jpg"]
    found, done = both(put(tmp_path / "a", members))
    assert "in two classes" in said(done) and "in two classes" in found.notes


@pytest.mark.parametrize(
    ("one", "other"), [("Rust", "rust"), ("bean rust", "bean_rust"), ("Leaf Spot", "leaf-spot")]
)
def test_classes_that_look_like_one_are_asked_about(tmp_path: Path, one: str, other: str) -> None:
    members = photos("train/healthy", f"train/{one}", f"val/{other}", "val/healthy", count=14)
    source = put(tmp_path / "a", members)
    assert f"{one} and {other} look like one" in refused(source)
    found, _ = both(source, f"class:{other}={one}")
    assert found.names == sorted({"healthy", one})
    found, _ = both(source, f"class:{other}={other}")
    assert found.names == sorted({"healthy", one, other})


def test_names_that_differ_only_in_what_cannot_be_seen_are_one(tmp_path: Path) -> None:
    members = photos("train/caf\u00e9", "val/cafe\u0301", "train/b", "val/b ", count=14)
    found, _ = both_packed(tmp_path / "leaves", members)
    assert found.names == ["b", "caf\u00e9"] and "in several ways that look the same" in found.notes
