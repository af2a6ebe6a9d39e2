"""Many photos: what is walked, what a zip may hold, and a results file that is gone on with after a break."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import shutil
import stat
import struct
import tempfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.sentences import is_plain
from vit_demo import settings
from vit_demo.diagnose import archive
from vit_demo.diagnose.batch import diagnose_batches, diagnose_many, walk
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal, diagnose_files
from vit_demo.diagnose.results import Results, about, csv_row
from vit_demo.vit import LeafClassifier

SCORES = {"bean_rust": 0.75, "healthy": 0.25}
COLUMNS = ["photo", "label", "probability", "error", "score_bean_rust", "score_healthy"]
ABOUT = {"model": "one", "weights": "ab", "engine": "torch", "language": "en", "columns": COLUMNS}


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> LeafClassifier:
    return LeafClassifier.open(tiny_model, device="cpu")


def leaf(seed: int) -> bytes:
    """A photo of noise, as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def put(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def packed(file: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(name, content)
    return file


# What is walked


def test_folders_are_walked_in_a_fixed_order_without_what_is_hidden(tmp_path):
    for name in ("b.jpg", "a.jpg", "sub/deep/x.jpg", "sub/c.jpg", "another/d.jpg", "name.txt"):
        put(tmp_path / "in" / name, b"x")
    for name in (".hidden.jpg", ".DS_Store", "Thumbs.db", ".ipynb_checkpoints/a.jpg", "__MACOSX/._a.jpg", "sub/.cache/z.jpg"):
        put(tmp_path / "in" / name, b"x")
    (tmp_path / "in" / "sub" / "circle").symlink_to(tmp_path / "in")
    names = [Path(item.name).relative_to(tmp_path / "in").as_posix() for item in walk([tmp_path / "in"])]
    assert names == ["a.jpg", "b.jpg", "name.txt", "another/d.jpg", "sub/c.jpg", "sub/circle", "sub/deep/x.jpg"]
    assert [item.name for item in walk([tmp_path / "in" / "b.jpg", tmp_path / "in" / "another"])] == [
        str(tmp_path / "in" / "b.jpg"), str(tmp_path / "in" / "another" / "d.jpg")
    ]


def test_the_results_are_no_photo_of_the_folder_that_they_lie_in(tmp_path):
    for name in ("a.jpg", "r.csv", "r.csv.about.json", "r.csv.parts/0-of-2.csv", "sub/r.csv"):
        put(tmp_path / name, b"x")
    assert [item.name for item in walk([tmp_path], out=tmp_path / "r.csv")] == [str(tmp_path / "a.jpg"), str(tmp_path / "sub" / "r.csv")]


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
    assert first.name == str(tmp_path / "closed") and is_plain(first.error) and second.name == str(tmp_path / "open" / "b.jpg")


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
    zipped = packed(tmp_path / "leaves.zip", {"field/z.png": leaf(99), "notes.txt": b"hello", "field/": b"", "__MACOSX/field/._z.png": b"x"})
    answers = list(diagnose_many(classifier, [tmp_path / "in", zipped]))
    assert [answer.photo for answer in answers] == [*map(str, sorted([*files, bad])), f"{zipped}/field/z.png", f"{zipped}/notes.txt"]
    alone = {answer.photo: answer for answer in diagnose_files(classifier, [*files, put(tmp_path / "z.png", leaf(99))])}
    for answer in answers:
        if answer.photo in (str(bad), f"{zipped}/notes.txt"):
            assert isinstance(answer, Refusal) and "is not a photo" in answer.error and is_plain(answer.error)
        else:
            other = alone[str(tmp_path / "z.png") if answer.photo.endswith("z.png") else answer.photo]
            assert answer.label == other.label and answer.probability == pytest.approx(other.probability, abs=1e-5)


def test_few_photos_are_on_disk_at_a_time_and_none_is_left(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    zipped = packed(tmp_path / "leaves.zip", {f"{number:03}.png": leaf(number) for number in range(150)})

    def files() -> int:
        return sum(path.is_file() for path in (tmp_path / "temporary").rglob("*"))

    size, answered = settings.load().batch_size, []
    for batch in diagnose_batches(lambda paths: diagnose_files(classifier, paths), walk([zipped]), look=lambda file: (file.name, files())):
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


# Zip files


def test_dangerous_members_are_rows_and_the_good_ones_are_answered(classifier, tmp_path):
    file = tmp_path / "mixed.zip"
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name in ("../../evil.png", "/etc/evil.png", "C:\\evil.png", "..\\evil.png", "field/../../../evil.png"):
            info = zipfile.ZipInfo(name)
            info.filename = name
            out.writestr(info, leaf(0))
        out.writestr(link, "/etc/passwd")
        out.writestr("inner.zip", b"PK\x03\x04")
        out.writestr("disguised.png", packed(tmp_path / "inner.zip", {"a.png": leaf(0)}).read_bytes())
        out.writestr("bomb.png", bytes(8 * 2**20))
        out.writestr(".././.hidden.png", leaf(0))
        out.writestr("no photo.png", b"x")
        out.writestr("tight.png", leaf(1), compress_type=zipfile.ZIP_LZMA)
        out.writestr("./good.png", leaf(2))
    answers = list(diagnose_many(classifier, [file]))
    words = {answer.photo.rpartition("/")[2]: answer.error for answer in answers if isinstance(answer, Refusal)}
    assert [answer.photo for answer in answers if isinstance(answer, Diagnosis)] == [f"{file}/./good.png"]
    assert all(is_plain(text) for text in words.values()), words
    assert sum("outside the archive" in answer.error for answer in answers if isinstance(answer, Refusal)) == 5
    for name, text in (("link.png", "is a link"), ("inner.zip", "inside the archive"), ("disguised.png", "inside the archive"), ("bomb.png", "more tightly"),
                       ("tight.png", "plain zip"), ("no photo.png", "not a photo")):
        assert text in words[name]
    assert not list(tmp_path.rglob("evil*")) and not list(tmp_path.parent.glob("evil*"))


def patched(file: Path, name: bytes, offset: int, value: bytes) -> Path:
    """Change what the list of a zip says of a member. offset: in its record (APPNOTE 4.3.12)."""
    content = bytearray(file.read_bytes())
    place = content.rindex(name) - 46
    assert content[place : place + 4] == b"PK\x01\x02"
    content[place + offset : place + offset + len(value)] = value
    file.write_bytes(content)
    return file


def refusals(classifier, file: Path) -> list[str]:
    return [answer.error for answer in diagnose_many(classifier, [file])]


def test_locked_damaged_and_too_large_members_are_rows(classifier, tmp_path, monkeypatch):
    locked = patched(packed(tmp_path / "locked.zip", {"leaf.png": leaf(0)}), b"leaf.png", 8, b"\x01\x00")
    assert "password" in refusals(classifier, locked)[0]
    torn = packed(tmp_path / "torn.zip", {"leaf.png": leaf(0)})
    content = bytearray(torn.read_bytes())
    content[60:200] = bytes(140)
    torn.write_bytes(content)
    assert "is damaged inside torn.zip" in refusals(classifier, torn)[0]
    # The list says that it is small, and zipfile stops there: what it does not hold is never unpacked.
    liar = patched(packed(tmp_path / "liar.zip", {"leaf.png": leaf(0) * 50}), b"leaf.png", 24, struct.pack("<I", 100))
    assert "damaged" in refusals(classifier, liar)[0]
    large = packed(tmp_path / "large.zip", {"leaf.png": leaf(0)})
    monkeypatch.setattr(archive.settings, "load", lambda: settings.Settings(home=tmp_path, max_photo_bytes=2**11))
    assert "is larger than" in refusals(classifier, large)[0]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip at all", b"PK\x05\x06" + bytes(10)])
def test_what_is_called_a_zip_and_is_none_is_refused(refusal, tmp_path, content):
    file = put(tmp_path / "leaves.zip", content)
    assert "is not a zip file" in refusal(lambda: list(walk([file])))


def test_a_missing_zip_is_told(refusal, tmp_path):
    assert "There is no file" in refusal(lambda: list(walk([tmp_path / "leaves.zip"])))


@pytest.mark.parametrize("place", ["end", "64"])
def test_a_list_too_long_for_the_memory_is_refused_before_it_is_read(refusal, tmp_path, place):
    file = packed(tmp_path / "leaves.zip", {"leaf.png": leaf(0)})
    content = file.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    if place == "end":
        content = content[: end + 12] + struct.pack("<I", 2**31) + content[end + 16 :]
    else:
        record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 2**33, 0)
        locator = b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1)
        content = content[:end] + record + locator + content[end:]
    file.write_bytes(content)
    assert "has too many files" in refusal(lambda: list(walk([file])))


def test_members_that_share_their_bytes_are_refused(refusal, tmp_path):
    """As in the bombs of Fifield (2019): a thousand entries in the list, one packed photo."""
    file = packed(tmp_path / "leaves.zip", {"leaf.png": os.urandom(4000)})
    content = file.read_bytes()
    end, start = content.rindex(b"PK\x05\x06"), content.index(b"PK\x01\x02")
    entries = content[start:end] * 1000
    file.write_bytes(content[:start] + entries + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1000, 1000, len(entries), start, 0))
    assert "made to do harm" in refusal(lambda: list(walk([file])))


def test_an_archive_of_too_many_files_is_refused(refusal, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    file = packed(tmp_path / "leaves.zip", {f"{number}.png": b"x" for number in range(4)})
    assert "Pack them into several archives" in refusal(lambda: list(walk([file])))


# Results


def answer(name: str) -> Diagnosis:
    return Diagnosis(name, "bean_rust", 0.75, SCORES)


def add(results: Results, names: list[str]) -> None:
    found = [answer(name) for name in names if results.is_new(name)]
    results.append(found, [row.to_dict() for row in found])


def names_in(file: Path) -> list[str]:
    if file.suffix == ".jsonl":
        return [json.loads(line)["photo"] for line in file.read_text().splitlines()]
    return [row["photo"] for row in csv.DictReader(file.open())]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_results_are_gone_on_with_wherever_they_were_torn(tmp_path, suffix):
    file = tmp_path / f"r{suffix}"
    results = Results(file, ABOUT)
    add(results, ["a", "b", "c"])
    results.close()
    whole = file.read_bytes()
    for length in range(0, len(whole) + 1, 3):
        file.write_bytes(whole[:length])
        results = Results(file, ABOUT)
        assert results.done == {name for name in "abc" if whole[:length].count(b"\n") > "abc".index(name) + (suffix == ".csv")}
        add(results, ["a", "b", "c", "a"])
        assert results.finish("") and file.read_bytes() == whole


def test_cells_hold_what_was_said_and_no_formula(tmp_path):
    columns = ["photo", "verdict", "label", "probability", "prediction_set", "distance", "temperature", "quality", "language", "error", "score_healthy"]
    unsure = Diagnosis("=1+1.jpg", "bean_rust", 0.5, {"bean_rust": 0.5, "healthy": 0.25}, "unsure", ["bean_rust", "healthy"], 1.25, 0.5, ["dark", "small"])
    assert csv_row(unsure, "sw", columns) == [
        "'=1+1.jpg", "unsure", "bean_rust", "0.500000", "bean_rust|healthy", "0.500000", "1.250000", "dark|small", "sw", "", "0.250000"
    ]
    assert csv_row(Refusal("a\nb.jpg", "It is no photo."), "en", columns) == ["a\\nb.jpg", *[""] * 7, "en", "It is no photo.", ""]
    odd = ["=1+1", "'quoted", "-x", "a,\"b\"", "line\nend", "caf\xe9 \u4e2d", os.fsdecode(b"leaf-\xff")]
    results = Results(tmp_path / "r.csv", ABOUT)
    add(results, odd)
    results.close()
    again = Results(tmp_path / "r.csv", ABOUT)
    assert all(name in again for name in odd) and "other" not in again
    assert len((tmp_path / "r.csv").read_text(encoding="utf-8").splitlines()) == len(odd) + 1


def test_other_results_are_refused_and_left_as_they_are(tmp_path, refusal):
    file = tmp_path / "r.csv"
    results = Results(file, ABOUT)
    add(results, ["a"])
    results.close()
    kept = file.read_bytes()
    for key, word in (("model", "model"), ("weights", "model"), ("engine", "engine"), ("language", "language"), ("columns", "columns")):
        assert f"another {word}" in refusal(Results, file, {**ABOUT, key: ["photo"]}).replace("list of ", "")
    file.write_bytes(b"photo,mine\n" + kept)
    assert "columns" in refusal(Results, file, ABOUT)
    (tmp_path / "r.csv.about.json").unlink()
    assert "not written by predict" in refusal(Results, file, ABOUT)
    assert file.read_bytes() == b"photo,mine\n" + kept
    assert ".csv or .jsonl" in refusal(Results, tmp_path / "r.xlsx", ABOUT)
    assert "cannot be written" in refusal(Results, put(tmp_path / "file", b"x") / "r.csv", ABOUT)
    file.unlink()  # who deletes the results may begin anew with another model
    Results(file, {**ABOUT, "model": "other"}).close()


def test_what_another_run_writes_is_left_alone_until_it_ends(tmp_path, refusal):
    file = tmp_path / "r.csv"
    for size in (1, 2):
        running = [Results(file, ABOUT, rank, size) for rank in range(size)]
        add(running[0], ["a"])
        for rank in range(size):
            assert "Another run is writing" in refusal(Results, file, ABOUT, rank, size)
        add(running[-1], ["b"])
        assert [results.finish("all") for results in running][-1] and sorted(names_in(file)) == ["a", "b"]
        # Refused for another reason, it holds nothing either.
        refusal(Results, file, {**ABOUT, "model": "other"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.csv.about.json"]


def test_a_model_is_known_by_its_weights_wherever_it_lies(classifier, tiny_model, tmp_path):
    first = about(classifier, "en")
    assert first["columns"][-3:] == [f"score_{label}" for label in classifier.labels]
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    assert about(LeafClassifier.open(copy, device="cpu"), "en")["weights"] == first["weights"]
    # What says when to be silent decides on the answers too.
    (copy / "abstention.safetensors").write_bytes(b"x")
    assert about(LeafClassifier.open(copy, device="cpu"), "en")["weights"] != first["weights"]


def test_processes_write_parts_and_the_last_joins_them_in_the_order_of_the_photos(tmp_path):
    file, photos = tmp_path / "r.csv", [f"{number:02}" for number in range(11)]
    shares = [photos[rank::3] for rank in range(3)]
    running = [Results(file, ABOUT, rank, 3) for rank in range(3)]
    for results, share in zip(running, shares):
        add(results, share)
    assert [results.finish("all") for results in running] == [False, False, True]
    assert names_in(file) == photos and not (tmp_path / "r.csv.parts").exists() and not (tmp_path / "r.csv.joining").exists()
    assert Results(file, ABOUT).done == set(photos)


def test_processes_that_end_at_the_same_moment_join_once(tmp_path):
    for attempt in range(20):
        file = tmp_path / str(attempt) / "r.csv"
        running = [Results(file, ABOUT, rank, 4) for rank in range(4)]
        for rank, results in enumerate(running):
            add(results, [f"{rank}-{number}" for number in range(5)])
        joined, gate = [], threading.Barrier(4)

        def finish(results, joined=joined, gate=gate):
            gate.wait()
            joined.append(results.finish("all"))

        threads = [threading.Thread(target=finish, args=(results,)) for results in running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(joined) == [False, False, False, True] and len(names_in(file)) == 20


@pytest.mark.parametrize("size", [1, 2, 3])
def test_parts_of_a_broken_run_are_gone_on_with_by_any_number_of_processes(tmp_path, size):
    file, photos = tmp_path / "r.csv", [f"{number:02}" for number in range(12)]
    add(Results(file, ABOUT), ["00"])
    for rank in range(2):
        add(Results(file, ABOUT, rank, 2), photos[rank::2][:3])
    with (tmp_path / "r.csv.parts" / "1-of-2.csv").open("a") as torn:
        torn.write("07,bean_r")
    running = [Results(file, ABOUT, rank, size) for rank in range(size)]
    for rank, results in enumerate(running):
        assert results.done == {"00", "01", "02", "03", "04", "05"}
        add(results, photos[rank::size])
    assert [results.finish("all") for results in running][-1]
    assert sorted(names_in(file)) == photos and not (tmp_path / "r.csv.parts").exists()


def test_a_mark_of_a_time_with_other_photos_is_none(tmp_path):
    file = tmp_path / "r.csv"
    running = [Results(file, ABOUT, rank, 2) for rank in range(2)]
    assert not running[1].finish("2 photos")
    add(running[0], ["a"])
    assert not running[0].finish("3 photos")  # the other process has not seen the third one yet
    late = Results(file, ABOUT, 1, 2)
    add(late, ["b"])
    assert late.finish("3 photos") and names_in(file) == ["a", "b"]


def test_what_was_killed_while_it_joined_loses_nothing(tmp_path):
    file = tmp_path / "r.csv"
    for rank, name in itertools.product(range(2), "a"):
        add(Results(file, ABOUT, rank, 2), [f"{name}{rank}"])
    (tmp_path / "r.csv.parts").rename(tmp_path / "r.csv.joining")
    put(tmp_path / "r.csv.joining" / "whole", b"photo,torn")
    assert Results(file, ABOUT).done == {"a0", "a1"} and names_in(file) == ["a0", "a1"]
