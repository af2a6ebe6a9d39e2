"""A file of rows: gone on with wherever it was broken off, by one process or several."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from tests.diagnose.packing import put
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal
from vit_demo.diagnose.results import Results, about, csv_row
from vit_demo.model.classifier import LeafClassifier

SCORES = {"bean_rust": 0.75, "healthy": 0.25}
COLUMNS = ["photo", "label", "probability", "error", "score_bean_rust", "score_healthy"]
ABOUT = {"model": "one", "weights": "ab", "engine": "torch", "language": "en", "columns": COLUMNS}


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
        assert results.done == {
            name for name in "abc" if whole[:length].count(b"\n") > "abc".index(name) + (suffix == ".csv")
        }
        add(results, ["a", "b", "c", "a"])
        assert results.finish("") and file.read_bytes() == whole


def test_cells_hold_what_was_said_and_no_formula(tmp_path):
    columns = [
        "photo",
        "verdict",
        "label",
        "probability",
        "prediction_set",
        "distance",
        "temperature",
        "quality",
        "language",
        "error",
        "score_healthy",
    ]
    unsure = Diagnosis(
        "=1+1.jpg",
        "bean_rust",
        0.5,
        {"bean_rust": 0.5, "healthy": 0.25},
        "unsure",
        ["bean_rust", "healthy"],
        1.25,
        0.5,
        ["dark", "small"],
    )
    assert csv_row(unsure, "sw", columns) == [
        "'=1+1.jpg",
        "unsure",
        "bean_rust",
        "0.500000",
        "bean_rust|healthy",
        "0.500000",
        "1.250000",
        "dark|small",
        "sw",
        "",
        "0.250000",
    ]
    assert csv_row(Refusal("a\nb.jpg", "It is no photo."), "en", columns) == [
        "a\\nb.jpg",
        *[""] * 7,
        "en",
        "It is no photo.",
        "",
    ]
    odd = ["=1+1", "'quoted", "-x", 'a,"b"', "line\nend", "caf\xe9 \u4e2d", os.fsdecode(b"leaf-\xff")]
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
    for key, word in (
        ("model", "model"),
        ("weights", "model"),
        ("engine", "engine"),
        ("language", "language"),
        ("columns", "columns"),
    ):
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
    assert (
        names_in(file) == photos
        and not (tmp_path / "r.csv.parts").exists()
        and not (tmp_path / "r.csv.joining").exists()
    )
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
