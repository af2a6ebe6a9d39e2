"""A model tried on photos, on the page: asked for, stopped, found again, told in numbers, photos and every
language.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from tests.conftest import SHARED
from tests.training.conftest import squares
from tests.ui.tabs.finetune.test_result import event, words
from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job, JobState
from vit_demo.common.words import LANGUAGES, say, speaking
from vit_demo.data.open.sources import open_dataset
from vit_demo.training.result.across import evaluate_across, match_classes
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.tabs.finetune import across, across_html
from vit_demo.ui.tabs.finetune.across import begin, choose, come_back, end, refresh, tell_again
from vit_demo.ui.tabs.finetune.across_jobs import JOBS, Request, Tried, cell_of, chosen_photos, start

COLOURS = {"Bean rust": (160, 90, 30), "blue": (40, 60, 200), "healthy": (60, 160, 60)}
FRAME = 4  # outputs before the answer


@pytest.fixture(autouse=True)
def nothing_kept(home: Path) -> Iterator[None]:
    JOBS.clear()
    yield


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 test photos a class; the model knows two of the three."""
    return squares(tmp_path_factory.mktemp("leaves"), colours=COLOURS)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight real test photos a class, one of the classes under a name that the model does not know."""
    folder, test = tmp_path_factory.mktemp("real"), open_dataset("beans")["test"]
    labels = np.asarray(test["labels"])
    for label, name in enumerate(("Angular leaf-spot", "rusty", "healthy")):
        for number, row in enumerate(np.flatnonzero(labels == label)[:8]):
            for split in ("train", "validation", "test"):
                place = folder / split / name
                place.mkdir(parents=True, exist_ok=True)
                test[int(row)]["image"].save(place / f"{number}.png")
    return str(folder)


def waited(key: str) -> Job[Tried]:
    job = JOBS.find(key)
    assert job.wait(120)
    return job


def answered(
    model: str | Path, source: str | Path, split: str = "test", pairs: str = ""
) -> tuple[str, tuple]:
    """(key, what the page shows when it has ended)."""
    _, key, *_ = begin(str(model), str(source), split, pairs)
    waited(key)
    return key, refresh(key, "")


def test_it_shows_the_score_the_classes_and_the_verdicts(tiny_model: Path, leaves: Path) -> None:
    key, (start_, stop, status, timer, *answer) = answered(tiny_model, leaves)
    body, about, verdicts, scored, matrix, picture, classes, title, photos, cell, seen = answer
    found = JOBS.find(key).result.found
    hand = evaluate_across(
        get_classifier(str(tiny_model)),
        open_dataset(leaves)["test"],
        match_classes(["angular_leaf_spot", "bean_rust", "healthy"], list(COLOURS)),
    )
    assert found.counts == hand.counts and found.scored == hand.scored and hand.scored.n == 12
    assert (start_["visible"], stop["visible"], status, timer.active) == (True, False, "", False)
    assert body["visible"] and scored["visible"] and picture == gr.update(visible=False)
    right = sum(row[number] for number, row in enumerate(hand.scored.confusion))
    text = words(about)
    assert "of 12 photos right" in text and f"most probable class was right for {right}." in text
    assert "Matched classes: Bean rust, Healthy." in text and "does not know: Blue." in text
    assert "without photos here: Angular leaf spot." in text and "always names a class" in text
    rows = [words(row) for row in str(verdicts).split("<tr>")[2:]]
    assert [row.split(" 6 ")[0] for row in rows] == ["Bean rust Bean rust", "Blue none", "Healthy Healthy"]
    assert all(row.endswith("never never") for row in rows)
    assert '<th scope="row">Bean rust</th>' in matrix and '<th scope="row">Blue' not in matrix
    assert (title, photos, cell) == ("", "", "") and key in seen


def test_a_number_opens_its_photos(tiny_model: Path, leaves: Path) -> None:
    key, answer = answered(tiny_model, leaves)
    _, verdicts, _, matrix = answer[FRAME + 1 : FRAME + 5][0:4]
    found = JOBS.find(key).result.found
    for place, count in re.findall(r'data-cell="(\d[^"]*)"[^>]*>(\d+)</button>', str(verdicts) + str(matrix)):
        cell, told, *_, title, photos = choose(key, event(place))
        assert (
            cell == place
            and f'data-cell="{place}" aria-pressed="true"' in told + choose(key, event(place))[2]
        )
        assert photos.count('class="across-photo"') == int(count) and photos.count("<img") == int(count)
        assert words(title)
    assert len(chosen_photos(found, "1:diagnosis", [])) == 6
    # Of what is no cell nothing is shown but what is shown at first.
    for bad in ("9:diagnosis", "1:mixed", "7,7", "x", "1,2,3", "-1,0", "²,1"):
        assert choose(key, event(bad))[0] == "" == cell_of(bad, found, across_html.shown_classes(found))


def test_where_the_model_is_silent_its_photos_are_shown(real: str) -> None:
    key, answer = answered("embedded", real)
    found = JOBS.find(key).result.found
    about, verdicts, *_, title, photos, _, _ = answer[FRAME + 1 :]
    silent = [one for one in found.photos if one.verdict in ("unsure", "not_known")]
    assert f"Photos on which it kept silent ({len(silent)})" in verdicts
    assert photos.count("<img") == len(silent) and words(title).startswith("Photos on which it kept silent")
    assert found.match.unknown == [
        "rusty"
    ] and f"kept silent on {sum(one.label != 'rusty' for one in silent)}." in words(about)
    row = next(words(row) for row in str(verdicts).split("<tr>") if "Rusty" in row)
    rusty = [one for one in found.photos if one.label == "rusty"]
    said = [one.said for one in rusty if one.verdict == "diagnosis"]
    assert row.startswith(f"Rusty none 8 {len(said)}") and f"Bean rust {said.count('bean_rust')}" in row
    mapped = answered("embedded", real, pairs="rusty = bean rust\n\n")[0]
    assert JOBS.find(mapped).result.found.scored.n == 24


def test_photos_that_are_not_split_are_all_tried_and_the_first_are_shown(
    tiny_model: Path, leaves: Path, tmp_path: Path
) -> None:
    folder = squares(tmp_path / "leaves", train=30, validation=0, test=0, colours=COLOURS) / "train"
    key, answer = answered(tiny_model, folder)
    assert len(JOBS.find(key).result.found.photos) == 90
    assert "not split, so all 90 were scored" in words(answer[FRAME + 1])
    *_, title, photos = choose(key, event("1:diagnosis"))
    assert photos.count("<img") == across.SHOWN and "The first 24 of 30 photos" in words(title)


def test_where_nothing_can_be_measured_it_says_why_and_what_to_do(tiny_model: Path, tmp_path: Path) -> None:
    trees = squares(tmp_path / "trees", colours={"oak": (1, 90, 1), "elm": (90, 1, 1)})
    _, answer = answered(tiny_model, trees)
    text, scored, matrix, classes = (answer[FRAME + place] for place in (1, 3, 4, 6))
    assert "Not measured" in text and "no class in common" in text and "Some classes have other names" in text
    assert "0.0 %" not in text and scored["visible"] is False and (matrix, classes) == ("", "")


@pytest.mark.parametrize(
    ("model", "source", "pairs", "said"),
    [
        ("{model}", "{folder}/nowhere", "", "There is no folder"),
        ("{folder}/nowhere", "{leaves}", "", "There is no model folder"),
        ("{model}", "{leaves}", "blue", "with = between them"),
        ("{model}", "{leaves}", "blue=sky", "The model has no class sky"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    tiny_model: Path, leaves: Path, tmp_path: Path, model: str, source: str, pairs: str, said: str
) -> None:
    names = {"model": tiny_model, "folder": tmp_path, "leaves": leaves}
    key, answer = answered(model.format(**names), source.format(**names), pairs=pairs)
    assert JOBS.find(key).state is JobState.FAILED and answer[FRAME] == gr.skip()  # hidden as it began
    assert said in words(answer[2]) and 'role="alert"' in answer[2] and answer[0]["visible"]


def test_what_is_not_filled_in_is_asked_for(refusal, tiny_model: Path, leaves: Path) -> None:
    assert "Choose the photos" in refusal(begin, str(tiny_model), " ", "test", "")
    assert "Choose which" in refusal(begin, str(tiny_model), str(leaves), "mine", "")
    assert "no longer on the server" in refusal(choose, "gone", event(""))


def test_it_waits_is_stopped_and_hides_what_was_shown_before(tiny_model: Path, leaves: Path) -> None:
    with JOBS.turn:  # as while another one is asked
        _, key, start_, stop, status, timer, body, *_ = begin(str(tiny_model), str(leaves), "test", "")
        assert (start_["visible"], stop["visible"], timer.active, body["visible"]) == (
            False,
            True,
            True,
            False,
        )
        assert "waits for another one" in status
        end(key, "")
    job = waited(key)
    assert job.state is JobState.STOPPED and job.result is None
    assert "Stopped after 0 of" in refresh(key, "")[2]


def test_a_stop_in_the_middle_ends_it(tiny_model: Path, tmp_path: Path) -> None:
    many = squares(tmp_path / "many", train=1, validation=1, test=200, colours=COLOURS)
    job = start(Request(str(tiny_model), str(many), "test"))
    until = time.monotonic() + 60
    while not job.done and job.is_going:
        assert time.monotonic() < until
    end(job.key, "")
    assert job.wait(60) and job.state is JobState.STOPPED and 0 < job.done < 600


def test_a_reload_finds_it_again_and_a_restart_says_so(tiny_model: Path, leaves: Path) -> None:
    remembered, key, *_ = begin(str(tiny_model), str(leaves), "test", "blue=healthy")
    waited(key)
    model, source, split, pairs, found = come_back(remembered, "", "embedded", "beans", "test", "")
    assert (model["value"], source["value"], split, pairs, found) == (
        str(tiny_model),
        str(leaves),
        "test",
        "blue=healthy",
        key,
    )
    assert refresh(found, "")[FRAME]["visible"]
    # What is chosen by now stays where an answer is shown already, or nothing was asked before.
    assert come_back(remembered, key, "embedded", "beans", "train", "")[2:] == ("train", "", key)
    assert come_back([""] * 5, "", "embedded", "beans", "train", "")[2:] == ("train", "", "")
    JOBS.clear()
    assert "no longer on the server" in refresh(found, "")[2]


def test_it_is_told_again_in_another_language(tiny_model: Path, leaves: Path) -> None:
    key, answer = answered(tiny_model, leaves)
    seen = answer[-1]
    assert refresh(key, seen)[FRAME:] == (gr.skip(),) * 11
    assert tell_again(key, seen, "")[1:] == (gr.skip(),) * 8
    for language in LANGUAGES[1:]:
        with speaking(language):
            status, about, verdicts, *_, title, photos, now = tell_again(key, seen, "1:diagnosis")
            assert say("train.across.never_silent") in words(about) and status == ""
            assert say("train.across.not_known") in words(verdicts) and now != seen
            assert 'data-cell="1:diagnosis" aria-pressed="true"' in verdicts
            assert photos.count("<img") == 6 and say("train.across.diagnosis") in words(title)
            assert refresh(key, now)[FRAME:] == (gr.skip(),) * 11
    assert tell_again("", "", "")[0] == ""


def test_where_the_photos_are_gone_the_answer_stays(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    folder = squares(tmp_path / "gone", colours=COLOURS)
    key, _ = answered(tiny_model, folder)
    shutil.rmtree(folder)
    *_, title, photos = choose(key, event("1:diagnosis"))
    assert "so they cannot be shown" in words(title) and photos.count("not there any more") == 6


def test_names_of_others_are_escaped(tiny_model: Path, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    folder = squares(tmp_path / "evil", colours={evil: (1, 90, 1), "healthy": (90, 1, 1)})
    key, answer = answered(tiny_model, folder)
    shown = [*answer, *choose(key, event("0:diagnosis"))]
    parts = [str(part) for part in shown if isinstance(part, str)]
    assert not any("<img src=x" in part for part in parts) and sum("&lt;img" in part for part in parts) >= 3


def test_of_many_classes_the_tables_scroll_and_the_matrix_is_drawn(tmp_path: Path, tiny_model: Path) -> None:
    from vit_demo.model.classifier import LeafClassifier

    labels = [f"kind_{number}" for number in range(30)]
    model = LeafClassifier.open(tiny_model, device="cpu", labels=labels, head_init="normal")
    model.save(tmp_path / "many")
    colours = {f"Kind {number}": (8 * number, 200 - 6 * number, 90) for number in range(30)}
    data = squares(tmp_path / "kinds", train=1, validation=1, test=2, colours=colours)
    _, answer = answered(tmp_path / "many", data)
    verdicts, matrix, picture, classes = (answer[FRAME + place] for place in (2, 4, 5, 6))
    assert all("table-long" in part for part in (verdicts, matrix, classes))
    figure = picture["value"]
    assert picture["visible"] and figure.layout.height <= 600 and len(figure.data[0].y) == 30


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs the photos in ../shared")
def test_other_plants_are_mostly_not_known(real: str) -> None:
    key, answer = answered("embedded", SHARED / "data" / "not_beans")
    found = JOBS.find(key).result.found
    silent = sum(count.unsure + count.not_known for count in found.counts)
    assert found.scored is None and silent > 0.9 * len(found.photos)
    assert "Not measured" in answer[FRAME + 1]


def test_a_failure_of_ours_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, leaves: Path, tiny_model: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("vit_demo.ui.tabs.finetune.across_jobs.evaluate_across", full)
    _, answer = answered(tiny_model, leaves)
    assert "could not be looked at (MemoryError)" in words(answer[2])
    with pytest.raises(UserError):
        choose("", event(""))
