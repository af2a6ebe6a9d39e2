"""What a run says is kept in English and by key, and said in the language of whoever reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vit_demo.common import words
from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence, speaking
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.curves import Curves
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.notes import english_all, kept, kept_all, told, told_all
from vit_demo.training.run.runs import ON_DRAWINGS, Run

LEFT_OUT = Sentence("train.record.photos_left_out", {"count": 2})
IN_FRENCH = {
    "train.record.photos_left_out": "{count} photos sont ignorées.",
    "error.training.disk_full": "Le disque est plein.",
}


@pytest.fixture
def french(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads now reads French, of which these words alone are needed."""
    every = {language: words.words(language) for language in ("en", "fr")}
    monkeypatch.setattr(
        words, "words", lambda language="en": every["en"] | IN_FRENCH if language == "fr" else every["en"]
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / "run"
    folder.mkdir()
    return Run(folder)


def test_a_sentence_is_kept_in_english_whoever_reads(french: None) -> None:
    with speaking("fr"):
        values = kept(LEFT_OUT)
        assert str(told(values)) == "2 photos sont ignorées."
    assert values == {"message": "2 photos cannot be read and are left out.", "said": LEFT_OUT.as_json()}
    assert told(json.loads(json.dumps(values))) == LEFT_OUT


def test_a_text_and_nothing_stay_what_they_are() -> None:
    assert kept("") == {"message": "", "said": None} and told(kept("")) == told({}) == ""
    assert told(kept("so it is")) == "so it is" == told({"message": "so it is"})


def test_what_json_does_not_know_is_kept_as_it_reads() -> None:
    values = kept(Sentence("error.training.folder_not_empty", {"folder": Path("here")}))
    assert values["said"]["values"] == {"folder": "here"} and str(told(values)) == values["message"]


@pytest.mark.parametrize(
    "said",
    [
        None,
        3,
        "text",
        [],
        {},
        {"key": "gone.now", "values": {}},
        {"key": "train.record.saving", "values": {}},
        {"key": "train.record.photos_left_out"},
        {"key": "train.record.photos_left_out", "values": {}},
        {"key": "train.record.photos_left_out", "values": [2]},
        {"key": [], "values": {}},
        {"key": "train.record.time_over", "values": {"step": 1, "steps": 2, "minutes": "x"}},
    ],
)
def test_words_of_another_program_or_none_leave_the_text(said: object) -> None:
    """An older program that goes on with a run changes the text and leaves the key of before."""
    assert told({"message": "As it was said.", "said": said}) == "As it was said."


def test_a_state_says_an_error_in_the_language_of_the_reader(run: Run, french: None) -> None:
    run.put_state(status="training", **kept("x"))
    run.set_state(status="failed", **kept(UserError("error.training.disk_full").sentence))
    state = run.state()
    assert state["message"] == "The disk is full. Free some space and start again." == str(told(state))
    with speaking("fr"):
        assert str(told(state)) == "Le disque est plein."
    run.set_state(status="starting", **kept(""))
    assert told(run.state()) == ""


def test_a_file_to_take_away_is_in_english_whoever_takes_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, french: None
) -> None:
    monkeypatch.setitem(IN_FRENCH, ON_DRAWINGS.key, "Des dessins, pas {beans}.")
    (run.folder / "config.json").write_text(TrainingConfig(data="sample").to_json(), encoding="utf-8")
    with speaking("fr"):
        assert (
            json.loads(run.export())["note"].startswith("This run learned from drawings")
            and str(ON_DRAWINGS) == "Des dessins, pas beans."
        )


def test_a_run_that_was_broken_off_says_so_by_key(run: Run) -> None:
    run.put_state(status="waiting", pid=2**22 + 1, pid_started=1.0, **kept(LEFT_OUT))
    assert told(run.state()) == Sentence("train.record.broken_off_waiting")


def test_notes_go_through_the_digest_and_those_of_older_programs_stay(run: Run) -> None:
    log = EventLog(run)
    log.add("warning", message="Of an older program.")
    log.add("warning", **kept(LEFT_OUT), paths=["a.jpg"])
    log.close()
    curves = Curves()
    curves.update(run)
    curves.keep(run)
    expected = ["Of an older program.", LEFT_OUT]
    assert curves.notes() == Curves.open(run).notes() == expected
    # A digest of an older program has the texts alone.
    digest = json.loads((run.folder / "curves.json").read_text())
    del digest["said"]
    (run.folder / "curves.json").write_text(json.dumps(digest))
    assert Curves.open(run).offset and Curves.open(run).notes() == Curves.open(run).warnings == [
        str(one) for one in expected
    ]


def test_several_notes_are_kept_in_a_state_and_told_in_each_language(run: Run, french: None) -> None:
    run.put_state(status="training", data_notes=kept_all([LEFT_OUT, "As it was said."]))
    notes = run.state()["data_notes"]
    assert told_all(notes) == [LEFT_OUT, "As it was said."]
    assert english_all(notes) == [str(LEFT_OUT), "As it was said."]
    with speaking("fr"):
        assert str(told_all(notes)[0]) != english_all(notes)[0] == kept(LEFT_OUT)["message"]


@pytest.mark.parametrize("nothing", [None, [], "text", [1, None]])
def test_a_state_of_an_older_program_has_no_notes(nothing: object) -> None:
    assert told_all(nothing) == english_all(nothing) == []
