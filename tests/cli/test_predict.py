"""The predict command: a few photos to standard output, very many to a file that survives any break, shared
among processes.
"""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT
from vit_demo.cli import main as cli
from vit_demo.cli import predict as cli_predict
from vit_demo.common.words import say
from vit_demo.data.open.sources import open_dataset

LABELS = ("angular_leaf_spot", "bean_rust", "healthy")
KEYS = {
    "photo",
    "label",
    "probability",
    "scores",
    "verdict",
    "prediction_set",
    "temperature",
    "distance",
    "quality",
    "language",
    "text",
}


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A leaf of each class as a file."""
    folder, leaves = tmp_path_factory.mktemp("photos"), open_dataset("beans")["test"]
    files = [str(folder / f"leaf{number}.png") for number in range(3)]
    for number, file in enumerate(files):
        leaves[number * 43]["image"].save(file)
    return files


@pytest.fixture
def predict(tiny_model: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command here with the tiny model, as its own process would."""

    def run(*words: str | Path, model: str | Path = tiny_model) -> Outcome:
        try:
            status = cli.main(["predict", "--device", "cpu", "--model", str(model), *map(str, words)])
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def is_one_sentence(text: str) -> bool:
    return text.count("\n") == 1 and text.endswith(".\n") and "Traceback" not in text and "usage:" not in text


def test_json_is_one_object_a_photo_and_line(predict, photos, tmp_path):
    bad = tmp_path / "text.jpg"
    bad.write_text("no photo")
    done = predict("--json", *photos, bad, photos[0])
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [answer["photo"] for answer in answers] == [*photos, photos[0]]
    # In another place of a batch the last digit may be another one.
    assert answers[0]["scores"] == pytest.approx(answers[3]["scores"], abs=1e-5)
    for answer in answers:
        assert set(answer) == KEYS and answer["language"] == "en"
        assert (
            answer["verdict"]
            is answer["prediction_set"]
            is answer["temperature"]
            is answer["distance"]
            is None
        )  # this model was never taught when
        assert set(answer["scores"]) == set(LABELS) and answer["scores"][answer["label"]] == answer[
            "probability"
        ] == max(answer["scores"].values())
    # The bad file is told and makes the status 2, and the photos after it are still answered.
    assert done.status == 2 and is_one_sentence(done.err) and done.err.startswith("text.jpg is not a photo.")


def test_text_says_the_same(predict, photos):
    answers = [json.loads(line) for line in predict("--json", *photos).out.splitlines()]
    done = predict(*photos)
    assert done.out.splitlines() == [
        f"{answer['photo']}: {answer['label']} ({answer['probability']:.1%})" for answer in answers
    ]
    assert (done.status, done.err) == (0, "")


def test_without_a_model_the_embedded_one_answers(photos):
    done = subprocess.run(
        [sys.executable, "-m", "vit_demo", "predict", photos[0]], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    name, _, answer = done.stdout.strip().rpartition(": ")
    label, share = answer.rstrip("%)").split(" (")
    assert name == photos[0] and label in LABELS and 33 <= float(share) <= 100


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no file names that are no text")
def test_a_photo_whose_name_is_no_text_is_answered(predict, photos, tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/leaf-\xff.png")
    Image.open(photos[0]).save(name)
    assert json.loads(predict("--json", name).out)["photo"] == name
    assert predict(name, "--out", tmp_path / "r.jsonl").status == 0
    assert [json.loads(line)["photo"] for line in (tmp_path / "r.jsonl").read_text().splitlines()] == [
        f"{tmp_path}/leaf-\\udcff.png"
    ]
    assert "0 of them are new" in predict(name, "--out", tmp_path / "r.jsonl").err


def test_a_folder_and_a_zip_are_opened(predict, photos, tmp_path):
    with zipfile.ZipFile(tmp_path / "leaves.zip", "w") as out:
        out.write(photos[1], "field/leaf.png")
    done = predict("--json", Path(photos[0]).parent, tmp_path / "leaves.zip", "--language", "sw")
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [answer["photo"] for answer in answers] == [*photos, f"{tmp_path}/leaves.zip/field/leaf.png"]
    assert all("uwezekano" in answer["text"] for answer in answers)
    assert answers[1]["scores"] == pytest.approx(answers[3]["scores"]) and {
        answer["language"] for answer in answers
    } == {"sw"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{empty}", "There is no photo in"),
        ("{empty} --out {home}/r.csv", "There is no photo in"),
        ("{photo} --out {home}/r.txt", "written as .csv or .jsonl"),
        ("{photo} --out {photo}/r.csv", "cannot be written"),
        ("{photo} --language de", "invalid choice: 'de'"),
        ("{home}/no.zip", "There is no file"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(predict, photos, home, tmp_path, line, words):
    empty = tmp_path / "empty"
    empty.mkdir()
    done = predict(*line.format(empty=empty, home=home, photo=photos[0]).split())
    assert (done.status, done.out) == (2, "") and is_one_sentence(done.err) and words in done.err


def test_results_hold_each_photo_once_and_a_second_run_does_only_what_is_new(predict, photos, tmp_path):
    folder, out = Path(photos[0]).parent, tmp_path / "deep" / "r.csv"
    answers = {
        answer["photo"]: answer for answer in map(json.loads, predict("--json", folder).out.splitlines())
    }
    done = predict(folder, photos[0], "--out", out)
    assert (done.status, done.out, done.err) == (0, "", f"3 photos are in {out}; 3 of them are new.\n")
    found = rows(out)
    assert [row["photo"] for row in found] == photos
    for row in found:
        answer = answers[row["photo"]]
        assert row["label"] == answer["label"] and float(row["probability"]) == pytest.approx(
            answer["probability"], abs=1e-6
        )
        assert [float(row[f"score_{label}"]) for label in LABELS] == pytest.approx(
            [answer["scores"][label] for label in LABELS], abs=1e-6
        )
        assert row["verdict"] == row["distance"] == row["error"] == "" and row["language"] == "en"
    kept = out.read_bytes()
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    out.write_bytes(kept[:-5])  # torn in the last row
    done = predict(folder, bad, "--out", out)
    assert done.status == 2 and "2 of them are new, 1 of these could not be used" in done.err
    assert out.read_bytes().startswith(kept) and rows(out)[-1]["error"].startswith("bad.jpg is not a photo.")
    refused = predict(folder, "--out", out, "--language", "fr")
    assert refused.status == 2 and "another language" in refused.err and is_one_sentence(refused.err)


def test_rows_of_two_engines_never_stand_in_one_file(predict, photos, tmp_path):
    out = tmp_path / "r.csv"
    assert predict(photos[0], "--out", out).status == 0
    kept = out.read_bytes()
    refused = predict(photos[1], "--out", out, "--engine", "onnx")
    assert (
        refused.status == 2
        and "was written with another engine" in refused.err
        and is_one_sentence(refused.err)
        and out.read_bytes() == kept
    )


def test_two_runs_never_write_to_one_file_at_once(predict, photos, tiny_model, tmp_path):
    out, folder = tmp_path / "r.csv", tmp_path / "many"
    folder.mkdir()
    for number in range(2000):
        os.link(photos[number % 3], folder / f"{number:04}.png")
    command = [
        "-m",
        "vit_demo",
        "predict",
        str(folder),
        "--model",
        str(tiny_model),
        "--device",
        "cpu",
        "--out",
        str(out),
    ]
    first = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while not (out.exists() and out.stat().st_size > 1000) and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGSTOP)  # so that it cannot end before the second one is refused
        refused = predict(folder, "--out", out)
        assert (
            refused.status == 2
            and "Another run is writing to" in refused.err
            and is_one_sentence(refused.err)
        )
    finally:
        first.kill()
        first.wait()
    # A run that was killed is in nobody's way, and none leaves a lock behind.
    assert (
        predict(folder, "--out", out).status == 0
        and len({row["photo"] for row in rows(out)}) == len(rows(out)) == 2000
    )
    assert sorted(file.name for file in tmp_path.iterdir() if file.name.startswith("r.csv")) == [
        "r.csv",
        "r.csv.about.json",
    ]


def test_leaves_of_one_plant_get_one_answer(predict, photos, tmp_path):
    bad = tmp_path / "text.jpg"
    bad.write_text("no photo")
    done = predict("--together", "--json", "--language", "fr", *photos, bad)
    answer = json.loads(done.out)
    alone = [json.loads(line) for line in predict("--json", "--language", "fr", *photos).out.splitlines()]
    assert (
        answer["leaves"] == [*alone, {"photo": str(bad), "error": answer["leaves"][3]["error"]}]
        and answer["voted"] == 3
    )
    assert set(answer) == {
        "verdict",
        "label",
        "probability",
        "scores",
        "prediction_set",
        "counts",
        "voted",
        "leaves",
        "language",
        "text",
    }
    assert (done.status, done.err) == (2, answer["leaves"][3]["error"] + "\n") and is_one_sentence(done.err)
    told = predict("--together", "--language", "fr", *photos)
    assert (told.status, told.err) == (0, "")
    first, *each = told.out.splitlines()
    assert first.endswith(say("diagnose.told.from", "fr", count=3, total=3))
    assert each == predict(*photos).out.splitlines()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{many}", "These are 13 photos. Give at most 12"),
        ("{empty}", "There is no photo in"),
        ("{photo} --out {empty}/r.csv", "Leave --out away"),
        ("{bad}", "is not a photo"),
    ],
)
def test_what_is_no_plant_is_one_sentence_and_status_2(predict, photos, tmp_path, line, words):
    many, empty, bad = tmp_path / "many", tmp_path / "empty", tmp_path / "text.jpg"
    many.mkdir()
    empty.mkdir()
    bad.write_text("no photo")
    for number in range(13):
        os.link(photos[0], many / f"{number}.png")
    done = predict("--together", *line.format(many=many, empty=empty, photo=photos[0], bad=bad).split())
    assert (done.status, done.out) == (2, "") and is_one_sentence(done.err) and words in done.err


def test_progress_says_speed_and_time_left(monkeypatch, capsys):
    monkeypatch.setattr(cli_predict.time, "monotonic", iter([0.0, 10.0, 40.0, 50.0]).__next__)
    pace = cli_predict.Pace(100_000)
    for _ in range(3):
        pace(100)
    # Not after ten seconds, since it is no terminal; then 200 photos in 40 s, and 99,800 to go at 5 a second.
    assert capsys.readouterr().err == "Photo 200 of 100000, 5.0 photos/s, 5:32:40 left\n"

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(cli_predict.sys, "stderr", Terminal())
    monkeypatch.setattr(cli_predict.time, "monotonic", iter([0.0, 1.0, 2.0]).__next__)
    pace = cli_predict.Pace(4)
    pace(2)
    pace(2)
    written = cli_predict.sys.stderr.getvalue()
    assert written.count("\r") == 2 and written.endswith("Photo 4 of 4, 2.0 photos/s, 0:00:00 left\n")


def test_several_processes_need_a_file(predict, photos, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, said in (("0", "Several processes need a file to write to. Give --out.\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        assert predict(photos[0]) == Outcome(2, "", said)
    monkeypatch.setenv("RANK", "0")
    assert predict("--together", photos[0]) == Outcome(
        2, "", "Photos are looked at --together by one process. Start it without a launcher.\n"
    )


def test_two_processes_are_killed_and_started_again_and_each_photo_has_one_row(tiny_model, photos, tmp_path):
    folder, out = tmp_path / "many", tmp_path / "r.csv"
    folder.mkdir()
    for number in range(3000):
        os.link(photos[number % 3], folder / f"{number:04}.png")
    (folder / "0100.png").unlink()
    (folder / "0100.png").write_text("no photo")
    command = [
        "-m",
        "vit_demo",
        "predict",
        str(folder),
        "--model",
        str(tiny_model),
        "--device",
        "cpu",
        "--out",
        str(out),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    parts, until = (
        [tmp_path / "r.csv.parts" / f"{rank}-of-2.csv" for rank in range(2)],
        time.monotonic() + 120,
    )
    with (tmp_path / "log").open("w") as log:
        # As a launcher starts them.
        started = [
            subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env={**environment, "RANK": rank, "WORLD_SIZE": "2"},
                stdout=log,
                stderr=log,
            )
            for rank in ("0", "1")
        ]
        while (
            not any(part.exists() and part.stat().st_size > 3000 for part in parts)
            and time.monotonic() < until
        ):
            time.sleep(0.01)
        for process in started:
            process.kill()
            process.wait()
    assert not out.exists(), (tmp_path / "log").read_text()
    before = sum(part.read_bytes().count(b"\n") - 1 for part in parts if part.exists())
    assert 0 < before < 3000
    # Two processes on a machine without GPUs too.
    flags = [
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--main_process_port",
        "0",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *flags, *command]
    done = subprocess.run(launch, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"3000 photos are in {out}." in done.stderr
    found = rows(out)
    assert sorted(row["photo"] for row in found) == [
        str(folder / f"{number:04}.png") for number in range(3000)
    ]
    assert [row["photo"] for row in found if row["error"]] == [str(folder / "0100.png")]
    assert (
        len({tuple(row.values())[1:] for row in found if not row["error"]}) == 3
    )  # as many answers as leaves
    assert sorted(file.name for file in tmp_path.iterdir() if file.name.startswith("r.csv")) == [
        "r.csv",
        "r.csv.about.json",
    ]
