"""What the page says of a result: the numbers of the files, the photos of a cell, and a sentence where there
is nothing.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from tests.training.conftest import squares
from vit_demo.common.settings import EMBEDDED_MODEL
from vit_demo.common.words import speaking
from vit_demo.data.open.sources import open_dataset
from vit_demo.model.abstention import Abstention
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import Readout
from vit_demo.training.result import card, predictions
from vit_demo.training.result.evaluation import Evaluation, evaluate, score
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run
from vit_demo.ui.shared.runtext import accuracy_text
from vit_demo.ui.tabs.finetune import export, result_html
from vit_demo.ui.tabs.finetune.reliability_figure import reliability_figure
from vit_demo.ui.tabs.finetune.result import (
    PAGE,
    choose_cell,
    draw,
    draw_again,
    list_photos,
    open_photo,
    show,
    tell_again,
    turn_back,
    turn_forward,
)

LABELS = ["blue", "green", "red"]


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 test photos a class and 10 for validation."""
    return squares(tmp_path_factory.mktemp("leaves"), train=1, validation=10, test=30)


def scored(folder: Path, split: str, wrong: int) -> Evaluation:
    """Every photo right but the first so many green ones, which are called red, each less surely than the one
    before.
    """
    data = open_dataset(folder)[split]
    targets = np.array(data["labels"])
    logits = torch.nn.functional.one_hot(torch.from_numpy(targets), 3).float() * 3
    for number, row in enumerate(np.flatnonzero(targets == 1)[:wrong]):
        logits[row] = torch.tensor([0.0, 0.0, 4 - 0.1 * number])
    return score(logits, targets, LABELS, places=list(enumerate(data["image_file_path"])))


def finished(folder: Path | str, scores: dict[str, Evaluation | None], temperature: float = 1.5) -> Run:
    """A run with these scores beside its model, written as at the end of a run; None is not measured."""
    run = runs.create(TrainingConfig(data=str(folder)))
    run.model_folder.mkdir()
    Abstention(Readout(9), temperature, tuple(LABELS), None, None).save(run.model_folder)
    scores = {split: found and found.at_temperature(temperature) for split, found in scores.items()}
    (run.model_folder / predictions.FILE).write_text(
        predictions.to_csv({split: found.predictions for split, found in scores.items() if found}),
        encoding="utf-8",
    )
    details = {split: found and found.to_dict() for split, found in scores.items()}
    (run.model_folder / "scores.json").write_text(
        card.scores_json(details, temperature, {"seconds": 9.0}), encoding="utf-8"
    )
    run.set_state(status="finished", ended=2.0, result={"seconds": 9.0})
    return run


@pytest.fixture
def run(home: Path, leaves: Path) -> Run:
    """28 of 90 test photos and 3 of 30 validation photos are wrong."""
    return finished(
        leaves, {"validation": scored(leaves, "validation", 3), "test": scored(leaves, "test", 28)}
    )


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def words(html: str) -> str:
    """What a reader sees of HTML, in one line."""
    parser = _Words()
    parser.feed(html)
    return " ".join(" ".join(parser.words).split())


def event(value: object) -> SimpleNamespace:
    return SimpleNamespace(value=value, index=0)


def rows_of(html: str) -> list[int]:
    return [int(row) for row in re.findall(r'data-row="(\d+)"', html)]


# Numbers


def test_the_test_number_is_explained_and_validation_is_called_too_kind(run: Run) -> None:
    meaning, body, about, *_ = show(run.id, "test", "")
    text = words(meaning)
    assert (
        text.startswith("Of 90 test photos 62 were named right.")
        and "between 58.7 % and 77.5 % are named right" in text
    )
    assert (
        "Validation: 90.0 % (74.4 to 96.5 %) of 30 photos. The weights were chosen on these, so it is too"
        " kind." in text
    )
    assert body["visible"] and "about the test photos" in about


def test_each_class_stands_in_the_table_with_its_interval(run: Run) -> None:
    classes = show(run.id, "test", "")[3]
    rows = [words(row).replace("\N{NO-BREAK SPACE}", " ") for row in classes.split("<tr>")[2:]]
    assert rows[0].startswith("Blue 100.0 % 100.0 % (88.6 to 100.0 %) 100.0 % 30")
    assert rows[1].startswith("Green 100.0 % 6.7 % (1.8 to 21.3 %) 12.5 % 30")
    assert rows[2].startswith("Red 51.7 % 100.0 % (88.6 to 100.0 %) 68.2 % 30")


def test_the_matrix_has_a_button_for_each_cell_that_has_photos(run: Run) -> None:
    matrix = show(run.id, "test", "")[4]
    buttons = dict(re.findall(r'data-cell="(\d,\d)"[^>]*>(\d+)</button>', matrix))
    assert buttons == {"0,0": "30", "1,1": "2", "1,2": "28", "2,2": "30"}
    assert 'aria-label="Green called Red: 28 photos"' in matrix
    assert (
        re.search(r'class="result-wrong" style="--share:0.933"', matrix)
        and matrix.count('class="result-none"') == 5
    )
    assert 'data-cell="" aria-pressed="true">Worst mistakes first (28)' in matrix


def test_the_other_split_is_never_mixed_in(run: Run) -> None:
    _, _, about, classes, matrix, _, sure, *_ = show(run.id, "validation", "")
    assert "validation photos. The weights were chosen on these" in about
    assert dict(re.findall(r'data-cell="(\d,\d)"[^>]*>(\d+)</button>', matrix)) == {
        "0,0": "10",
        "1,1": "7",
        "1,2": "3",
        "2,2": "10",
    }
    assert "of 30 photos" in sure and "fitted on these validation photos themselves" in sure
    paths = [found.path for found in predictions.read(run.model_folder, "validation")]
    assert len(rows_of(list_photos(run.id, "validation", "1,1", 0, "")[1])) == 7 and all(
        "/validation/" in path for path in paths
    )


def test_how_sure_it_is_in_a_sentence_a_table_and_a_figure(run: Run) -> None:
    *_, plot, sure, _, _, _ = show(run.id, "test", "")
    test = run.scores()["test"]
    filled = [part for part in test["calibration"]["bins"] if part["count"]]
    fullest = max(filled, key=lambda part: part["count"])
    text = words(sure)
    assert (
        f"({fullest['count']} of 90 photos), it was right {fullest['accuracy']:.1%}".replace("%", " %")
        in text
    )
    assert (
        f"off by {test['calibration']['expected_calibration_error'] * 100:.1f} points of 100 (expected"
        " calibration error" in text
    )
    after_error = f"{test['calibrated']['expected_calibration_error'] * 100:.1f}"
    assert (
        "A temperature of 1.50, fitted on the validation photos and changed copies of them, makes it less"
        " sure without changing"
        " any answer: " in text
    )
    assert f"with it they are off by {after_error} points of 100." in text
    line, before, after = plot["value"].data
    assert tuple(line.x) == tuple(line.y) == (0, 1)
    assert list(before.y) == pytest.approx([part["accuracy"] for part in filled], abs=1e-5) and list(
        before.customdata
    ) == [part["count"] for part in filled]
    assert list(after.x) == pytest.approx(
        [part["confidence"] for part in test["calibrated"]["bins"] if part["count"]], abs=1e-5
    )
    pairs = zip(test["calibration"]["bins"], test["calibrated"]["bins"])
    assert sure.count("<tr>") == 2 + sum(1 for pair in pairs if any(part["count"] for part in pair))


def test_a_figure_without_a_temperature_has_one_curve(run: Run) -> None:
    assert len(reliability_figure(run.scores()["test"]["calibration"], None, "key").data) == 2


@pytest.mark.parametrize(
    ("temperature", "text"),
    [(0.8, "makes it surer"), (1.005, "hardly changes anything"), (2.0, "makes it less sure")],
)
def test_what_a_temperature_does(home: Path, leaves: Path, temperature: float, text: str) -> None:
    run = finished(leaves, {split: scored(leaves, split, 2) for split in ("validation", "test")}, temperature)
    for copies, on in (
        (True, "the validation photos and changed copies of them,"),
        (False, "the validation photos,"),
    ):
        said = result_html.how_sure(run.scores(), "test", copies)
        assert text in said and f"fitted on {on}" in said


def test_that_copies_took_part_is_said_only_where_the_file_of_the_limits_says_so(
    home: Path, leaves: Path
) -> None:
    run = finished(leaves, {split: scored(leaves, split, 2) for split in ("validation", "test")}, 2.0)
    file = run.model_folder / "abstention.safetensors"
    for number, copies in ((1, False), (2, True)):
        save_file({}, file, metadata={"format": f"vit_demo abstention {number}"})
        sure = show(run.id, "test", "")[-4]
        assert "fitted on the validation photos" in sure and ("changed copies" in sure) == copies
    file.unlink()
    assert "changed copies" not in show(run.id, "test", "")[-4]


def test_where_all_validation_photos_are_right_the_temperature_is_explained(home: Path, leaves: Path) -> None:
    run = finished(
        leaves, {"validation": scored(leaves, "validation", 0), "test": scored(leaves, "test", 2)}, 1.0
    )
    assert (
        "Every validation photo was right, so a temperature could not be fitted and it stays at 1."
        in result_html.how_sure(run.scores(), "test", True)
    )


def test_nothing_is_sent_again_when_nothing_has_changed(run: Run) -> None:
    seen = show(run.id, "test", "")[-1]
    assert all(update == gr.skip() for update in show(run.id, "test", seen))
    listed = list_photos(run.id, "test", "", 0, "")[5]
    assert all(update == gr.skip() for update in list_photos(run.id, "test", "", 0, listed))
    assert (
        show(run.id, "validation", seen)[-1] != seen
        and list_photos(run.id, "test", "1,2", 0, listed)[5] != listed
    )
    # Scored anew: shown anew.
    scores = run.model_folder / "scores.json"
    runs.write_atomically(scores, json.dumps({**run.scores(), "seconds": 10.0}))
    assert show(run.id, "test", seen)[-1] != seen


# Photos


def test_the_worst_mistakes_come_first_and_are_paged(run: Run) -> None:
    title, photos, pager, where, page, _, detail = list_photos(run.id, "test", "", 0, "")
    wrong = [found.row for found in predictions.mistakes(predictions.read(run.model_folder, "test"))]
    assert rows_of(photos) == wrong[:PAGE] and "Worst mistakes first" in title
    assert (pager["visible"], where, page, detail["visible"]) == (True, "Photos 1 to 24 of 28", 0, False)
    assert photos.count("<img") == PAGE
    _, photos, _, where, page, *_ = list_photos(run.id, "test", "", turn_forward(page), "")
    assert (rows_of(photos), where, page) == (wrong[PAGE:], "Photos 25 to 28 of 28", 1)
    assert (
        list_photos(run.id, "test", "", turn_forward(page), "")[4] == 1
        and list_photos(run.id, "test", "", turn_back(0), "")[4] == 0
    )


def test_a_cell_opens_its_photos(run: Run, leaves: Path) -> None:
    cell, page = choose_cell(event("1,1"))
    title, photos, pager, *_ = list_photos(run.id, "test", cell, page, "")
    data = open_dataset(leaves)["test"]
    assert (
        rows_of(photos) == [row for row in range(90) if data["labels"][row] == 1][28:]
        and words(title) == "Green called Green: 2 photos"
    )
    assert not pager["visible"] and "says Green, 90.9" in words(photos) and "is Green" in words(photos)
    assert list_photos(run.id, "test", choose_cell(event(""))[0], 0, "")[3] == "Photos 1 to 24 of 28"


def test_a_photo_opens_large_from_the_source_of_the_run(run: Run, leaves: Path) -> None:
    detail, large, facts, opened = open_photo(run.id, "test", event("31"))
    row = open_dataset(leaves)["test"][31]
    assert (
        detail["visible"]
        and opened == "31"
        and np.array_equal(np.asarray(large["value"]), np.asarray(row["image"].convert("RGB")))
    )
    text = words(facts)
    assert (
        "It is Green" in text
        and "The model says Red" in text
        and row["image_file_path"] in text
        and "test, 31" in text
    )


def test_a_photo_that_is_not_in_the_record_is_refused(run: Run, refusal) -> None:
    assert "no longer in the record" in refusal(open_photo, run.id, "test", event("1000"))
    assert "no longer in the record" in refusal(open_photo, "deleted", "test", event("1"))


@pytest.mark.parametrize("cell", ["7,0", "1", "x,y", "-1,0", "0,1,2"])
def test_what_is_no_cell_means_the_worst_mistakes(run: Run, cell: str) -> None:
    title, photos, *_ = list_photos(run.id, "test", cell, 0, "")
    assert "Worst mistakes first" in title and len(rows_of(photos)) == PAGE


def test_no_mistake_is_said_to_be_none(home: Path, leaves: Path) -> None:
    run = finished(leaves, {split: scored(leaves, split, 0) for split in ("validation", "test")}, 1.0)
    title, photos, *_ = list_photos(run.id, "test", "", 0, "")
    assert "It made no mistake on these photos." in title and photos == ""


def test_where_the_source_is_gone_the_numbers_stay(home: Path, tmp_path: Path) -> None:
    leaves = squares(tmp_path / "leaves", train=1, validation=2, test=4)
    run = finished(leaves, {split: scored(leaves, split, 2) for split in ("validation", "test")})
    shutil.rmtree(leaves)
    assert "Of 12 test photos 10" in show(run.id, "test", "")[0]
    title, photos, *_ = list_photos(run.id, "test", "", 0, "")
    assert "The photos cannot be shown, only what was said of them. There is no folder" in words(
        title
    ).replace("&#x27;", "'")
    assert len(rows_of(photos)) == 2 and "<img" not in photos and "says Red" in words(photos)
    _, large, facts, _ = open_photo(run.id, "test", event(rows_of(photos)[0]))
    assert not large["visible"] and "There is no folder" in facts


def test_another_photo_in_the_same_row_is_not_shown_for_it(home: Path, tmp_path: Path) -> None:
    leaves = squares(tmp_path / "leaves", train=1, validation=2, test=4)
    run = finished(leaves, {split: scored(leaves, split, 3) for split in ("validation", "test")})
    (leaves / "test" / "green" / "000.png").unlink()
    title, photos, *_ = list_photos(run.id, "test", "", 0, "")
    assert "changed or taken away" in title and photos.count("not there any more") == 3


def test_a_broken_photo_leaves_the_others(home: Path, tmp_path: Path) -> None:
    leaves = squares(tmp_path / "leaves", train=1, validation=2, test=4)
    run = finished(leaves, {split: scored(leaves, split, 3) for split in ("validation", "test")})
    (leaves / "test" / "green" / "001.png").write_text("no photo")
    photos = list_photos(run.id, "test", "", 0, "")[1]
    assert photos.count("not there any more") == 1 and photos.count("<img") == 2


# Where there is little or nothing


def test_without_a_result_there_is_a_sentence(home: Path) -> None:
    meaning, body, *_ = show(None, "test", "")
    assert "No run yet" in meaning and body["visible"] is False
    run = runs.create(TrainingConfig())
    run.claim()
    run.set_state(status="training")
    assert "No result yet. It stands here as soon as the run has ended" in show(run.id, "test", "")[0]
    assert all(update == gr.skip() for update in list_photos(run.id, "test", "", 0, ""))
    run.set_state(status="failed")
    assert "ended before its model was scored" in show(run.id, "test", "")[0]


def test_a_run_that_goes_on_again_does_not_show_its_earlier_result(run: Run) -> None:
    seen = show(run.id, "test", "")[-1]
    run.claim()
    run.set_state(status="training")
    meaning, body, *_ = show(run.id, "test", seen)
    assert "No result yet" in meaning and not body["visible"]


def test_scores_of_an_earlier_version_are_shown_as_far_as_they_go(run: Run) -> None:
    for name in ("scores.json", predictions.FILE):
        (run.model_folder / name).unlink()
    scores = json.loads((EMBEDDED_MODEL / "scores.json").read_text(encoding="utf-8"))
    kept = ("accuracy", "interval", "loss", "n", "confusion", "labels", "broken")
    earlier = {split: {name: scores[split][name] for name in kept} for split in ("validation", "test")}
    (run.model_folder / "scores.json").write_text(json.dumps({**earlier, "seconds": 326}), encoding="utf-8")
    meaning, _, _, classes, matrix, plot, sure, *_ = show(run.id, "test", "")
    assert "Of 128 test photos 124" in meaning and "earlier version" in classes and "earlier version" in sure
    assert plot["visible"] is False and 'data-cell="0,1"' in matrix
    for cell in ("", "0,1"):
        title, photos, *_ = list_photos(run.id, "test", cell, 0, "")
        assert "earlier version" in title and photos == ""


def test_the_worst_are_shown_where_only_the_scores_were_kept(run: Run) -> None:
    (run.model_folder / predictions.FILE).unlink()
    assert len(rows_of(list_photos(run.id, "test", "", 0, "")[1])) == 20


def test_many_classes_are_listed_by_their_mix_ups() -> None:
    labels = [f"class_{number}" for number in range(14)]
    said = torch.nn.functional.one_hot(torch.tensor([1, 1, 1, 3, 2, 5]), 14).float()
    html = result_html.confusion(score(said, np.array([0, 0, 0, 2, 2, 5]), labels).to_dict())
    assert re.findall(r'data-cell="(\d+,\d+)"[^>]*>(\d+)', html) == [("0,1", "3"), ("2,3", "1")]
    none = result_html.confusion(score(torch.eye(14), np.arange(14), labels).to_dict())
    assert "No class was taken for another." in none


def test_the_matrix_is_drawn_where_a_table_has_no_room_for_it(run: Run, leaves: Path) -> None:
    """And the tables of many classes have a height of their own."""
    assert draw(run.id, "test") == draw(None, "test") == (gr.update(visible=False),) * 2
    assert list(map(str, draw_again(run.id, "test"))) == [str(gr.skip())] * 2
    labels = [*LABELS, *(f"class_{number}" for number in range(147))]
    test = scored(leaves, "test", 28)
    logits = np.pad(test.logits, ((0, 0), (0, 147)), constant_values=-9)
    many = score(torch.from_numpy(logits), test.targets, labels, places=[one[:2] for one in test.predictions])
    other = finished(leaves, {"validation": many, "test": many})
    picture, told = draw(other.id, "test")
    again = draw_again(other.id, "test")
    assert again[1]["value"] == told["value"] and not any("visible" in one for one in again)
    assert picture["visible"] and [list(row) for row in picture["value"].data[0].z] == [
        [-1, None, None],
        [None, -0.067, 0.933],
        [None, None, -1],
    ]
    assert "shows 3 of 150 classes" in words(told["value"])
    _, _, _, classes, matrix, *_ = show(other.id, "test", "")
    assert classes.count("<tr>") == 151 and "table-long" in classes and "table-long" in matrix
    assert "table-long" not in show(run.id, "test", "")[3]


def test_no_name_carries_markup(home: Path, leaves: Path) -> None:
    evil = '"><img src=x onerror=alert(1)>'
    test = scored(leaves, "test", 3)
    bad = score(
        torch.from_numpy(test.logits),
        test.targets,
        [evil, *LABELS[1:]],
        places=[(found.row, evil) for found in test.predictions],
    )
    run = finished(evil, {"validation": bad, "test": bad})
    shown = (
        *show(run.id, "test", ""),
        *list_photos(run.id, "test", "0,0", 0, ""),
        *open_photo(run.id, "test", event("0")),
    )
    parts = [part for part in shown if isinstance(part, str)]
    assert not any("<img src=x" in part for part in parts) and sum("&lt;img" in part for part in parts) >= 5


def test_a_thumbnail_is_small() -> None:
    found = Image.effect_noise((3000, 2000), 60).convert("RGB")
    html = result_html.photo_list([(predictions.Prediction(0, "a.jpg", "green", "red", 0.5), found)])
    assert len(html) < 40_000


# Away from the server


def test_a_model_is_taken_away_with_what_each_of_its_two_sizes_is_worth(
    home: Path, tiny_model: Path, tmp_path: Path, refusal
) -> None:
    pytest.importorskip("onnxruntime")
    labels = LeafClassifier.open(tiny_model).labels
    data = squares(
        tmp_path / "leaves",
        train=1,
        validation=1,
        test=5,
        colours=dict(zip(labels, ((40, 90, 40), (160, 90, 30), (60, 160, 60)))),
    )
    run = runs.create(TrainingConfig(data=str(data)))
    assert "no model" in refusal(export.export_run, run.id) and "no model" in refusal(export.export_run, None)
    shutil.copytree(tiny_model, run.model_folder)
    said: list[str] = []
    html, file, made = export.export_run(run.id, lambda done, desc, unit="": said.append(desc))
    rows = [words(row).replace("\N{NO-BREAK SPACE}", " ") for row in html.split("<tr>")[2:]]
    right = evaluate(LeafClassifier.open(tiny_model, device="cpu"), open_dataset(data)["test"])
    assert re.match(
        rf"Full \(fp32\) 0.1 \d+\.\d {re.escape(accuracy_text(right.accuracy, right.interval))} 100.0 %",
        rows[0],
    )
    assert rows[1].startswith(
        "Small (int8) 0.1 "
    ) and f"The model of the run {run.name}, scored on 15 test photos." in words(html)
    assert said[0] == "Exporting the model" and {"full (fp32)", "small (int8)", "as it is here"} == {
        one.split(", ")[1] for one in said[1:]
    }
    with zipfile.ZipFile(file["value"]) as packed:
        names = {name.removeprefix(f"vit_demo-{run.id}/") for name in packed.namelist()}
        assert {
            "model.onnx",
            "model-int8.onnx",
            "config.json",
            "preprocessor_config.json",
            "README.md",
            "export.json",
        } <= names
        assert json.loads(packed.read(f"vit_demo-{run.id}/config.json"))["id2label"]["1"] == labels[1]
    assert made == run.id and export.forget(run.id, made) == export.forget("another", "") == (gr.skip(),) * 3
    assert export.forget("another", made)[1]["visible"] is False
    shutil.rmtree(data)
    html, file, made = export.export_run(run.id, lambda done, desc, unit="": None)
    assert "was not measured" in html and str(data) in html and made == run.id
    with zipfile.ZipFile(file["value"]) as packed:
        assert f"vit_demo-{run.id}/model.onnx" in packed.namelist()
    # Photos that are there and cannot be read measure nothing either.
    squares(data, train=1, validation=1, test=5, colours=dict.fromkeys(labels, (40, 90, 40)))
    for file in data.glob("test/*/*.png"):
        file.write_text("this is no photo")
    html, file, made = export.export_run(run.id, lambda done, desc, unit="": None)
    assert "was not measured" in html and "none of its photos can be read" in html and file["visible"]


def test_a_test_split_that_could_not_be_scored_says_so_and_validation_stays(home: Path, leaves: Path) -> None:
    run = finished(leaves, {"validation": scored(leaves, "validation", 3), "test": None})
    meaning, body, about, classes, matrix, plot, sure, cell, page, seen = show(run.id, "test", "")
    text = words(meaning)
    assert text.startswith("No test photo could be read, so") and "Validation: 90.0 %" in text
    assert body["visible"] and not plot["visible"]
    assert [words(part) for part in (classes, matrix, sure)] == ["not measured"] * 3
    assert list_photos(run.id, "test", "1,2", 3, "")[:2] == ("", "")
    # Told again in another language, and then of the split that was measured.
    with speaking("fr"):
        again = tell_again(run.id, "test", "", seen)
    assert words(again[2]) == "non mesuré" and again[4] == gr.skip()
    meaning, body, about, classes, matrix, plot, *_ = show(run.id, "validation", seen)
    assert words(meaning) == text and "data-cell" in matrix and plot["visible"]
    title, photos, *_ = list_photos(run.id, "validation", "", 0, "")
    assert len(rows_of(photos)) == 3
