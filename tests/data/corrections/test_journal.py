"""Decisions about photos: kept apart from the data set, undone, applied, and told apart by a fingerprint."""

from __future__ import annotations

import io
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PillowImage

from vit_demo.data.corrections.decided import fingerprint, mend
from vit_demo.data.corrections.journal import Journal, journal_of
from vit_demo.data.importing.gather import Files
from vit_demo.data.importing.imports import import_photos, remove
from vit_demo.data.normalise import label_names
from vit_demo.data.open.sources import open_dataset
from vit_demo.data.output.export import FORMATS, export

NAMES = ["rust", "healthy"]
FEATURES = Features({"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=NAMES)})


def encoded(number: int) -> bytes:
    file = io.BytesIO()
    PillowImage.new("RGB", (8, 8), (number * 20, 100, 50)).save(file, "PNG")
    return file.getvalue()


def made_up(names: list[str] | None = None) -> DatasetDict:
    splits = {"train": 6, "validation": 2, "test": 2}
    features = FEATURES if names is None else Features({**FEATURES, "labels": ClassLabel(names=names)})
    made, number = {}, 0
    for split, count in splits.items():
        rows = {"image_file_path": [], "image": [], "labels": []}
        for row in range(count):
            rows["image_file_path"].append(f"{split}/{row}.png")
            rows["image"].append({"bytes": encoded(number), "path": None})
            rows["labels"].append(row % 2)
            number += 1
        made[split] = Dataset.from_dict(rows, features=features)
    return DatasetDict(made)


def seen(data: DatasetDict) -> dict[str, list[tuple[str, str]]]:
    return {
        split: [(path, NAMES[label]) for path, label in zip(part["image_file_path"], part["labels"])]
        for split, part in data.items()
    }


def test_nothing_decided_is_the_data_set_itself(home: Path):
    data = made_up()
    assert (
        journal_of("beans").decisions() == []
        and seen(mend(data, [])) == seen(data)
        and fingerprint(mend(data, [])) == fingerprint(data)
    )


def test_photos_are_left_out_relabelled_and_moved_and_the_source_stays(home: Path):
    data, journal = made_up(), journal_of("beans")
    before = seen(data)
    journal.decide("exclude", ("train", "train/0.png"), why="same")
    journal.decide("relabel", ("train", "train/1.png"), "rust", "label")
    journal.decide("move", ("validation", "validation/1.png"), "train", "leakage")
    journal.decide("relabel", ("validation", "validation/1.png"), "rust")
    mended = mend(data, journal.decisions())
    assert seen(mended) == {
        "train": [
            ("train/1.png", "rust"),
            ("train/2.png", "rust"),
            ("train/3.png", "healthy"),
            ("train/4.png", "rust"),
            ("train/5.png", "healthy"),
            ("validation/1.png", "rust"),
        ],
        "validation": [("validation/0.png", "rust")],
        "test": before["test"],
    }
    assert seen(data) == before and mended["train"].features == data["train"].features
    # The photo that was moved brings its own pixels.
    assert np.array_equal(np.asarray(mended["train"][5]["image"]), np.asarray(data["validation"][1]["image"]))


def test_the_last_word_counts_and_each_can_be_taken_back(home: Path):
    data, journal = made_up(), journal_of("beans")
    first = journal.decide("relabel", ("test", "test/0.png"), "healthy")
    journal.decide("exclude", ("test", "test/0.png"))
    journal.decide("relabel", ("test", "test/0.png"), "rust")
    assert seen(mend(data, journal.decisions()))["test"] == [("test/1.png", "healthy")]
    journal.decide("keep", ("test", "test/0.png"))
    assert seen(mend(data, journal.decisions()))["test"][0] == ("test/0.png", "rust")
    assert (
        journal.undo().action == "keep" and journal.undo().to == "rust" and journal.undo().action == "exclude"
    )
    assert seen(mend(data, journal.decisions()))["test"][0] == ("test/0.png", "healthy")
    assert journal.undo(first.number) == first and journal.decisions() == []
    # What was taken back stays readable, and its number is not given again.
    assert (
        len(journal.file.read_text().splitlines()) == 8
        and journal.decide("exclude", ("test", "test/0.png")).number == 5
    )


def test_undo_names_one_decision_and_leaves_the_others(home: Path):
    journal = journal_of("beans")
    numbers = [journal.decide("exclude", ("train", f"train/{row}.png")).number for row in range(3)]
    journal.undo(numbers[1])
    assert [decision.path for decision in Journal("beans").decisions()] == ["train/0.png", "train/2.png"]


def test_what_cannot_be_decided_is_said(home: Path, refusal):
    journal = journal_of("beans")
    assert "not delete" in refusal(journal.decide, "delete", ("train", "a"))
    assert "class" in refusal(journal.decide, "relabel", ("train", "a")) and "split" in refusal(
        journal.decide, "move", ("train", "a")
    )
    assert "no decision" in refusal(journal.undo) and "no such" in refusal(journal.undo, 7)
    for row in range(2):
        journal.decide("exclude", ("test", f"test/{row}.png"))
    assert "test" in refusal(mend, made_up(), journal.decisions())


def test_what_is_not_there_any_more_does_nothing(home: Path):
    data, journal = made_up(), journal_of("beans")
    journal.decide("exclude", ("train", "gone.png"))
    journal.decide("relabel", ("train", "train/0.png"), "a class of yesterday")
    journal.decide("move", ("train", "train/0.png"), "holdout")
    assert seen(mend(data, journal.decisions())) == seen(data)


def test_each_data_set_has_its_own_journal_and_one_folder_has_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "leaves").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (
        journal_of("leaves").file == journal_of(str(tmp_path / "leaves")).file == journal_of("./leaves/").file
    )
    names = ["beans", "a/b", "a-b", "../../etc/passwd", "x" * 500]
    files = {journal_of(name).file for name in names}
    assert len(files) == len(names) and all(file.parent == home / "decisions" for file in files)


def test_two_threads_lose_no_decision(home: Path):
    def work(name: str) -> None:
        for row in range(20):
            journal_of("beans").decide("exclude", (name, str(row)))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("train", "test")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    decisions = journal_of("beans").decisions()
    assert len(decisions) == 40 and sorted(decision.number for decision in decisions) == list(range(1, 41))


@pytest.mark.parametrize("change", ["label", "path", "photo", "order", "split", "class name"])
def test_a_fingerprint_changes_with_all_that_a_model_learns_from(change: str):
    data = made_up()
    rows = data["train"].to_dict()
    if change == "label":
        rows["labels"][3] = 0
    elif change == "path":
        rows["image_file_path"][3] = "train/x.png"
    elif change == "photo":
        rows["image"][3] = {"bytes": encoded(11), "path": None}
    elif change == "order":
        rows = {name: [*values[1:], values[0]] for name, values in rows.items()}
    other = DatasetDict({**data, "train": Dataset.from_dict(rows, features=FEATURES)})
    if change == "split":
        other = DatasetDict(train=data["train"], validation=data["test"], test=data["validation"])
    if change == "class name":
        other = made_up(["Rust", "healthy"])
    assert fingerprint(other) != fingerprint(data) == fingerprint(made_up())


def test_a_photo_in_a_file_has_the_fingerprint_of_its_bytes(tmp_path: Path):
    data = made_up()
    rows = data["train"].cast_column("image", Image(decode=False)).to_dict()
    for row, stored in enumerate(rows["image"]):
        (tmp_path / f"{row}.png").write_bytes(stored["bytes"])
    rows["image"] = [{"bytes": None, "path": str(tmp_path / f"{row}.png")} for row in range(6)]
    files = DatasetDict({**data, "train": Dataset.from_dict(rows, features=FEATURES)})
    assert fingerprint(files) == fingerprint(data)
    (tmp_path / "0.png").write_bytes(encoded(11))
    assert fingerprint(files) != fingerprint(data)


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """30 photos as split/class/photo."""
    for split, count in (("train", 20), ("validation", 5), ("test", 5)):
        for row in range(count):
            file = tmp_path / "leaves" / split / NAMES[row % 2] / f"{row}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded(row % 12))
    return tmp_path / "leaves"


def test_a_mended_source_is_opened_by_name_and_changes_with_each_decision(
    home: Path, image_folder: Path, refusal
):
    spec = f"mended:{image_folder}"
    plain, mended = open_dataset(image_folder), open_dataset(spec)
    assert fingerprint(mended) == fingerprint(plain) and open_dataset(spec) is mended
    photo = ("train", plain["train"]["image_file_path"][0])
    journal = journal_of(image_folder)
    journal.decide("exclude", photo)
    assert (
        len(open_dataset(spec)["train"]) == len(plain["train"]) - 1 == 19
        and len(open_dataset(image_folder)["train"]) == 20
    )
    marked = fingerprint(open_dataset(spec))
    assert marked != fingerprint(plain)
    journal.undo()
    assert fingerprint(open_dataset(spec)) == fingerprint(plain)
    journal.decide("exclude", photo)
    assert fingerprint(open_dataset(spec)) == marked
    assert "once" in refusal(open_dataset, f"mended:mended:{image_folder}") and "no folder" in refusal(
        open_dataset, "mended:nowhere"
    )


def test_the_photos_of_the_program_can_be_mended_too(home: Path):
    data = open_dataset("beans")
    before = data["test"][0]["labels"]
    journal_of("beans").decide(
        "relabel", ("test", data["test"]["image_file_path"][0]), label_names(data)[(before + 1) % 3]
    )
    changed = np.flatnonzero(
        np.array(open_dataset("mended:beans")["test"]["labels"]) != np.array(data["test"]["labels"])
    )
    assert changed.tolist() == [0]


@pytest.mark.parametrize("kind", FORMATS)
def test_an_exported_set_opens_as_the_same_photos(home: Path, image_folder: Path, tmp_path: Path, kind: str):
    data = open_dataset(image_folder)
    counted = []
    export(data, tmp_path / "out", kind, counted.append)
    again = open_dataset(tmp_path / "out")
    assert (
        counted[-1] == 30
        and again["train"].features["labels"].names == data["train"].features["labels"].names
    )
    for split in data:

        def photos(found, split=split):
            return sorted(
                (label, np.asarray(image.convert("RGB")).tobytes())
                for label, image in zip(found[split]["labels"], found[split]["image"])
            )

        assert photos(again) == photos(data)
    assert not list(tmp_path.glob("*.new"))


def test_names_that_no_file_system_takes_are_made_harmless(tmp_path: Path):
    names = ["a/b", "A_b", "../..", "b.", "rust"]
    features = Features({**FEATURES, "labels": ClassLabel(names=names)})
    paths = ["../../evil.png", "x/IMG.PNG", "y/img.png", "z\\..\\w.png", "\0.gif"]
    rows = {
        "image_file_path": paths,
        "image": [{"bytes": encoded(row), "path": None} for row in range(5)],
        "labels": [0, 4, 4, 2, 3],
    }
    data = DatasetDict(train=Dataset.from_dict(rows, features=features))
    export(data, tmp_path / "deep" / "out")
    files = sorted(
        file.relative_to(tmp_path / "deep" / "out").as_posix() for file in (tmp_path / "deep").rglob("*.png")
    )
    assert len(files) == 5 and all(
        re.fullmatch(r"train/[\w .()-]+/[\w .()-]+\.png", file) and ".." not in file for file in files
    ), files
    assert len({file.split("/")[1] for file in files}) == 4 and [file for file in tmp_path.iterdir()] == [
        tmp_path / "deep"
    ]


def test_an_export_leaves_nothing_half_done(
    home: Path, image_folder: Path, tmp_path: Path, refusal, monkeypatch: pytest.MonkeyPatch
):
    data = open_dataset(image_folder)
    assert "already" in refusal(export, data, image_folder) and "not zip" in refusal(
        export, data, tmp_path / "out", "zip"
    )

    def full(_self: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "space" in refusal(export, data, tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["leaves"]


def test_what_was_decided_about_an_import_goes_with_its_photos(home: Path, image_folder: Path):
    def bring() -> tuple[tuple[str, str], Journal]:
        import_photos(image_folder, "farm")
        split, path = "train", open_dataset("import:farm")["train"]["image_file_path"][0]
        return (split, path), journal_of("import:farm")

    photo, journal = bring()
    journal.decide("exclude", photo)
    assert len(open_dataset("mended:import:farm")["train"]) == 19
    # More photos of a class: those that were there are the same, and so is what was decided about them.
    (home / "more.png").write_bytes(encoded(100))
    import_photos(Files((home / "more.png",), NAMES[0]), "farm")
    assert [one.photo for one in journal_of("import:farm").decisions()] == [photo]
    remove("farm")
    assert not journal.file.exists()
    # Other photos may come under the same name and the same paths.
    again, journal = bring()
    assert again == photo and journal.decisions() == []
    assert len(open_dataset("mended:import:farm")["train"]) == 20
    # The same where somebody deleted the folder by hand.
    journal.decide("exclude", photo)
    shutil.rmtree(home / "imports" / "farm")
    bring()
    assert (
        journal_of("import:farm").decisions() == [] and len(open_dataset("mended:import:farm")["train"]) == 20
    )


def test_an_import_that_fails_takes_nothing_of_the_journal(
    home: Path, image_folder: Path, tmp_path: Path, refusal
):
    import_photos(image_folder, "farm")
    journal_of("import:farm").decide("exclude", ("train", "1.png"))
    assert "already" in refusal(import_photos, image_folder, "farm")
    assert "no import" in refusal(remove, "other") and len(journal_of("import:farm").decisions()) == 1
    # Of a folder that is no import the journal stays, whatever becomes of imports.
    journal_of(image_folder).decide("exclude", ("train", "1.png"))
    remove("farm")
    assert len(journal_of(image_folder).decisions()) == 1


def test_decisions_go_with_photos_that_come_into_another_split(home: Path, tmp_path: Path):
    def bring(label: str, first: int, count: int) -> None:
        files = []
        for number in range(first, first + count):
            pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            files.append(tmp_path / f"{label}-{number}.png")
            PillowImage.fromarray(pixels).save(files[-1])
        import_photos(Files(tuple(files), label), "farm")

    def place(name: str) -> tuple[str, str]:
        return next(
            (split, path)
            for split, part in open_dataset("import:farm").items()
            for path in part["image_file_path"]
            if path.endswith(name)
        )

    bring("rust", 0, 30)
    bring("healthy", 100, 30)
    names = [
        f"{label}-{first + number}.png"
        for label, first in (("rust", 0), ("healthy", 100))
        for number in range(30)
    ]
    before = {name: place(name) for name in names}
    journal = journal_of("import:farm")
    for number, name in enumerate(names):
        other = names[(number + 1) % len(names)]
        journal.decide(
            *(
                ("keep", before[name], "/".join(before[other]), "leakage")
                if number % 2
                else ("relabel", before[name], "spot", "label")
            )
        )
    # More photos: the splits are cut anew.
    bring("rust", 200, 60)
    after = {name: place(name) for name in names}
    assert sum(after[name] != before[name] for name in names) > 3
    found = {decision.photo: decision for decision in journal_of("import:farm").decisions()}
    assert set(found) == set(after.values())
    for number, name in enumerate(names):
        decision = found[after[name]]
        told = (decision.action, decision.to, decision.why)
        other = "/".join(after[names[(number + 1) % len(names)]])
        assert told == (("keep", other, "leakage") if number % 2 else ("relabel", "spot", "label"))
