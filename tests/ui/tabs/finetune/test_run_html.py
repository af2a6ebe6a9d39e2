"""What the page shows of a run each second: in words, with the time that is left, and in few bytes however
long the run.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import gradio as gr
import pytest

from vit_demo.common.words import Sentence, speaking
from vit_demo.training.loop.reporting import KeptLog
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.notes import kept_all
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import RunStatus
from vit_demo.ui.tabs.finetune.run_html import view_of


@pytest.fixture
def run(home: Path) -> Run:
    """A run of this very process, so that it counts as going."""
    made = runs.create(TrainingConfig())
    made.claim()
    return made


def train(log: EventLog, first: int, last: int) -> None:
    for step in range(first, last + 1):
        log.add(
            "train", step=step, epoch=step / 10, loss=1 / step, learning_rate=1e-4, photos_per_second=30.0
        )
        if step % 10 == 0:
            log.add("validation", step=step, loss=1 / step, accuracy=0.5, side=32)


def sent(view) -> int:
    """Bytes of all updates of a tick, as JSON."""
    return len(json.dumps(view.updates(), default=lambda figure: figure.plot))


def test_a_tick_sends_few_bytes_at_any_length(run: Run) -> None:
    log, sizes = KeptLog(run), []
    run.set_state(status="training", done=1, total=60_000)
    log.add("begin", total_steps=60_000, steps_per_epoch=10, photos=10, device="cpu")
    for first, last in ((1, 700), (701, 20_000), (20_001, 60_000)):
        train(log, first, last)
        sizes.append(sent(view_of(run)))
    log.close()
    assert max(sizes) < 60_000 and sizes[2] < 1.5 * sizes[1]


def test_what_has_not_changed_is_not_sent_again(run: Run) -> None:
    log = EventLog(run)
    run.set_state(status="failed", message="The disk is full.", done=3, total=9)
    log.add("begin", total_steps=9, steps_per_epoch=3, photos=10, device="cpu")
    train(log, 1, 3)
    first = view_of(run)
    assert all(update == gr.skip() for update in view_of(run).updates(first.seen))
    run.rename("rust")
    status, *_, plot, log_text, seen, moment = view_of(run).updates(first.seen)
    assert (
        plot == gr.skip() and "The disk is full." in status and seen != first.seen and moment != first.moment
    )
    train(log, 4, 4)
    assert view_of(run).updates(seen)[4]["value"].type == "plotly"
    log.close()


@pytest.mark.parametrize(
    ("status", "word", "stoppable", "resumable"),
    [
        ("waiting", "Waiting", True, False),
        ("training", "Training", True, False),
        ("scoring", "Scoring", True, False),
        ("stopped", "Stopped", False, True),
        ("failed", "Failed", False, True),
        ("finished", "Finished", False, False),
    ],
)
def test_each_status_has_its_word_and_its_buttons(
    run: Run, status: str, word: str, stoppable: bool, resumable: bool
) -> None:
    run.set_state(status=status, done=1, total=2)
    view = view_of(run)
    assert f"<b>{word}</b>" in view.status and (view.stoppable, view.resumable) == (stoppable, resumable)
    run.request_stop()
    assert not view_of(run).stoppable and ("<b>Stopping</b>" in view_of(run).status) is stoppable


def test_a_run_whose_process_is_gone_can_go_on(run: Run) -> None:
    run.set_state(status="training", done=5, total=9, pid=2**22 + 1, pid_started=1.0)
    view = view_of(run)
    assert (
        run.state()["status"] == RunStatus.BROKEN_OFF
        and "<b>Broken off</b>" in view.status
        and view.resumable
        and not view.stoppable
    )


def test_the_time_left_is_reckoned_from_this_sitting_alone(run: Run) -> None:
    """60 of 100 steps; the last 20 of them took 10 s, after a night in which the computer was off."""
    now = time.time()
    events = [
        {"kind": "begin", "time": now - 30_000, "total_steps": 100, "steps_per_epoch": 10},
        {
            "kind": "train",
            "time": now - 29_000,
            "step": 40,
            "loss": 1.0,
            "learning_rate": 1e-4,
            "photos_per_second": 9.0,
        },
        {"kind": "resumed", "time": now - 10, "step": 40},
    ]
    run.events_file.write_text("".join(json.dumps(event) + "\n" for event in events))
    run.set_state(status="training", done=60, total=100)
    assert "step 60 of 100, about 20 s left" in view_of(run).status
    run.set_state(done=40)
    assert "left" not in view_of(run).status


def test_settings_that_cannot_be_read_are_said_in_their_place(run: Run) -> None:
    (run.folder / "config.json").write_text("{")
    run.set_state(status="failed")
    assert "The settings file of this run is broken" in view_of(run).status


def test_what_is_known_of_the_photos_stands_with_the_run_in_the_language_of_the_reader(run: Run) -> None:
    label = '<b>"rust"</b>'
    notes = [
        Sentence("data.plan.missing_class", {"label": label, "split": "test"}),
        Sentence("train.photos.few_validation", {"needed": 8, "classes": "scab (3)"}),
    ]
    assert "About the photos" not in view_of(run).status
    run.set_state(status="training", done=1, total=2, data_notes=kept_all(notes))
    shown = view_of(run).status
    assert "About the photos" in shown and "Fewer than 8 photos for validation: scab (3)." in shown
    assert label not in shown and "&lt;b&gt;" in shown and shown.count("<li>") == 2
    with speaking("fr"):
        assert "Moins de 8 photos de validation : scab (3)." in view_of(run).status


def test_a_test_split_that_could_not_be_scored_has_no_number(run: Run) -> None:
    run.model_folder.mkdir()
    (run.model_folder / "scores.json").write_text(json.dumps({"test": None}))
    run.set_state(status="finished", result={"seconds": 1.0})
    shown = view_of(run).status
    assert "not measured" in shown and "No test photo could be read" in shown and "0.0 %" not in shown
