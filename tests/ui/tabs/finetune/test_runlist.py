"""All runs as rows: grouped, found, paged, safe to show, and read again only where something has changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest

from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import RunStatus
from vit_demo.ui.tabs.finetune import live, runlist, runlist_rows
from vit_demo.ui.tabs.finetune.runlist_rows import Group, Row, find_rows, grouped, list_rows


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


def made(status: str = "finished", accuracy: float | None = 0.9, **meta: str) -> Run:
    run = runs.create(TrainingConfig())
    run.set_state(status=status, pid=2**22 + 1, pid_started=1.0, result={"seconds": 61.0})
    if meta:
        run.set_meta(**meta)
    if accuracy is not None:
        run.model_folder.mkdir()
        (run.model_folder / "config.json").write_text("{}")
        (run.model_folder / "scores.json").write_text(
            json.dumps({"test": {"accuracy": accuracy, "interval": [0.8, 0.95]}})
        )
    return run


# Rows


def test_a_row_says_what_a_run_is() -> None:
    run = made(name="rust")
    (row,) = list_rows()
    assert (row.id, row.name, row.status, row.accuracy, row.interval, row.seconds) == (
        run.id,
        "rust",
        "finished",
        0.9,
        (0.8, 0.95),
        61.0,
    )
    assert "Fast" in row.settings and "seed 42" in row.settings and not row.going


def test_a_run_that_goes_on_does_not_show_the_score_of_its_stop() -> None:
    run = made("stopped")
    assert list_rows()[0].accuracy == 0.9
    run.claim()
    run.set_state(status="training")
    assert (list_rows()[0].status, list_rows()[0].accuracy) == ("training", None)


def test_what_has_ended_is_read_once_and_again_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = made(), made()
    read = []
    monkeypatch.setattr(
        runlist_rows, "_read", lambda run, really=runlist_rows._read: read.append(run.id) or really(run)
    )
    list_rows(), list_rows()
    assert sorted(read) == sorted([first.id, second.id])
    second.rename("new name")
    assert [row.name for row in list_rows()] == ["new name", first.id] and len(read) == 3
    runs.delete(second)
    assert [row.id for row in list_rows()] == [first.id]


def test_one_whose_process_dies_is_seen_without_a_change_of_its_files() -> None:
    run = made("finished", accuracy=None)
    run.claim()
    run.set_state(status="training")
    assert list_rows()[0].status == "training"
    state = json.loads((run.folder / "state.json").read_text())
    (run.folder / "state.json").write_text(json.dumps({**state, "pid": 2**22 + 1}))
    assert list_rows()[0].status == RunStatus.BROKEN_OFF


def test_a_run_whose_settings_cannot_be_read_is_listed_and_says_so() -> None:
    run = made()
    (run.folder / "config.json").write_text("{")
    assert "broken or from another version" in list_rows()[0].settings


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", 3),
        (None, 3),
        ("RUST", 2),
        ("rust finished", 1),
        ("rust stopped", 1),
        ("seed 42", 3),
        ("nothing like it", 0),
        ("probe", 1),
    ],
)
def test_all_words_must_be_there(text: str | None, found: int) -> None:
    rows = [
        Row("1", "bean rust", "finished", "Fast, seed 42"),
        Row("2", "Rust", "stopped", "Fast, seed 42"),
        Row("3", "3", "finished", "probe, seed 42"),
    ]
    assert len(find_rows(rows, text)) == found


def test_the_runs_of_an_experiment_stand_together_where_its_newest_is() -> None:
    rows = [
        Row(str(number), "", "finished", "", experiment)
        for number, experiment in enumerate(("", "b", "a", "", "b"))
    ]
    items = grouped(rows)
    assert [item.id if isinstance(item, Row) else [row.id for row in item.rows] for item in items] == [
        "0",
        ["1", "4"],
        ["2"],
        "3",
    ]
    assert isinstance(items[1], Group) and items[1].experiment == "b"


# The table


def test_names_and_settings_of_people_are_shown_as_text() -> None:
    made(name='<script>alert("x")</script>')
    table = runlist.table_of(grouped(list_rows()), None)
    assert "<script>" not in table and "&lt;script&gt;" in table


def test_the_mean_of_an_experiment_counts_what_is_finished() -> None:
    for status, accuracy in (("finished", 0.9), ("finished", 0.8), ("stopped", 0.1)):
        made(status, accuracy, experiment="e")
    table = runlist.table_of(grouped(list_rows()), None)
    assert "3 seeds" in table and "mean 85.0 %" in table and "over 2 seeds" in table


def test_pages_hold_so_many_and_what_is_shown_already_is_not_sent() -> None:
    assert "No run yet" in runlist.refresh(None, "", 0, "")[0]
    newest = [made(accuracy=None) for _ in range(runlist.PAGE + 1)][-1]
    table, where, page, seen, back, forward = runlist.refresh(newest.id, "", 0, "")
    assert (
        table.count("data-run=") == runlist.PAGE
        and where == f"Page 1 of 2, {runlist.PAGE + 1} runs"
        and back["visible"]
    )
    assert runlist.refresh(newest.id, "", 0, seen) == (gr.skip(),) * 6
    second = runlist.turn_forward(newest.id, "", page)
    assert (
        second[0].count("data-run=") == 1
        and second[2] == 1
        and runlist.turn_forward(newest.id, "", 1)[2] == 1
    )  # there is no third
    assert runlist.turn_back(newest.id, "", 0)[2] == 0
    assert runlist.first_page(newest.id, "no such run")[1] == "No run fits. Change the words."
    assert runlist.refresh(newest.id, newest.id, 1, "")[1:3] == ("Page 1 of 1, 1 run", 0)
    newest.rename("other")
    assert runlist.refresh(newest.id, "", 0, seen)[0] != gr.skip()


# The chosen run


def test_the_chosen_run_is_described_once_so_that_a_half_typed_name_stays() -> None:
    run = made("stopped", name="rust & more")
    box, title, name, resume, export, described = runlist.describe(run.id, "")
    assert box["visible"] and "rust &amp; more" in title and name == "rust & more" and resume["visible"]
    assert json.loads(Path(export).read_text())["id"] == run.id
    assert runlist.describe(run.id, described) == (gr.skip(),) * 6
    run.rename("new")
    assert runlist.describe(run.id, described)[2] == "new"
    assert (
        not runlist.describe("gone", described)[0]["visible"]
        and runlist.describe(None, "") == (gr.skip(),) * 6
    )


def test_deletion_asks_and_takes_the_run_that_was_named(refusal: Callable[..., str]) -> None:
    kept, run = made(), made(name="<b>rust</b>")
    sure, question, asked = runlist.ask(run.id)
    assert (
        sure["visible"]
        and "&lt;b&gt;rust&lt;/b&gt;" in question
        and "and its model" in question
        and asked == run.id
    )
    chosen, sure = runlist.delete_run(asked)
    assert (
        chosen["value"] == kept.id
        and not sure["visible"]
        and not run.folder.exists()
        and kept.folder.is_dir()
    )
    assert "no longer there" in refusal(runlist.ask, run.id)
    kept.claim()
    kept.set_state(status="training")
    assert "Stop it first" in refusal(runlist.ask, kept.id)


# Which run is shown


def test_the_run_that_has_its_turn_is_shown_before_those_that_wait_and_those_that_ended() -> None:
    assert live.offer_runs(None)["value"] is None
    ended = made()
    assert live.offer_runs(None)["value"] == ended.id
    going, waiting, newest = made(), made(), made()
    waiting.claim()
    waiting.set_state(status="waiting")
    assert live.offer_runs(None)["value"] == waiting.id
    going.claim()
    going.set_state(status="training")
    assert live.offer_runs(None)["value"] == going.id and live.offer_runs(newest.id)["value"] == newest.id
    assert live.offer_runs("deleted")["value"] == going.id
    assert (f"{waiting.name} (waiting)", waiting.id) in live.offer_runs(None)["choices"]


def test_what_is_chosen_already_is_not_chosen_anew_when_the_tab_is_opened_again() -> None:
    assert "value" not in live.come_back(None)
    run = made()
    assert live.come_back(None)["value"] == run.id == live.come_back("deleted")["value"]
    again = live.come_back(run.id)
    assert "value" not in again and [value for _, value in again["choices"]] == [run.id]


def test_the_names_in_the_list_are_sent_when_they_have_changed() -> None:
    run = made()
    update, named = live.name_runs("")
    assert update["choices"] == [(f"{run.id} (finished)", run.id)] and "value" not in update
    assert live.name_runs(named) == (gr.skip(), gr.skip())
    run.rename("rust")
    assert live.name_runs(named)[0]["choices"] == [("rust (finished)", run.id)]


def test_what_cannot_be_done_with_a_run_is_said(refusal: Callable[..., str]) -> None:
    run = made(accuracy=None)
    assert "No run is going" in refusal(live.end, run.id) and "no model yet" in refusal(
        live.use_model, run.id
    )
    assert "no longer there" in refusal(live.go_on, "gone") and "is finished" in refusal(live.go_on, run.id)


def test_a_run_whose_test_photos_could_not_be_read_says_not_measured() -> None:
    run = made(accuracy=None, experiment="e")
    run.model_folder.mkdir()
    (run.model_folder / "scores.json").write_text(json.dumps({"test": None}))
    (row,) = list_rows()
    assert row.accuracy is None and row.not_measured
    table = runlist.table_of([row], None)
    assert "not measured" in table and "0.0 %" not in table
    made(accuracy=None, experiment="e")
    group = runlist.table_of(grouped(list_rows()), None)
    assert group.count("not measured") == 2  # of the run and of its experiment
    made(accuracy=0.8, experiment="e")
    group = runlist.table_of(grouped(list_rows()), None)
    assert group.count("not measured") == 1 and "80.0 %" in group
