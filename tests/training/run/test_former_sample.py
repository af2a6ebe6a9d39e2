"""Runs of earlier versions, which learned from drawings of leaves: they open, say what they are, and do not
go on.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.commands import Outcome
from vit_demo.cli import main as cli
from vit_demo.training.run import queue, runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import ON_DRAWINGS, Run
from vit_demo.ui.tabs.finetune.run_html import view_of


def earlier_run(home: Path, status: str = "stopped", **settings: str) -> Run:
    """As version 0.1 left it; of its settings those that matter."""
    folder = home / "runs" / "20260901-120000"
    folder.mkdir(parents=True)
    config = dataclasses.asdict(TrainingConfig()) | {"data": "sample"} | settings
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    step = {"kind": "train", "step": 1, "loss": 1.0, "learning_rate": 0.1, "photos_per_second": 9}
    (folder / "events.jsonl").write_text(
        '{"kind": "begin", "time": 1.0}\n' + json.dumps(step) + "\n", encoding="utf-8"
    )
    (folder / "state.json").write_text(
        json.dumps({"status": status, "created": 1.0, "changed": 2.0, "message": ""}), encoding="utf-8"
    )
    return Run(folder)


@pytest.mark.parametrize(
    "settings",
    [{}, {"data": "mended:sample"}, {"data": "sample + review"}, {"data": "beans", "extra_data": "sample"}],
)
def test_it_says_so_and_neither_goes_on_nor_is_repeated(home: Path, refusal, settings: dict) -> None:
    run = earlier_run(home, **settings)
    assert run.learned_from_drawings() and not run.can_resume() and runs.list_runs()[0].id == run.id
    assert (
        refusal(queue.resume, run)
        == refusal(queue.again, run)
        == refusal(queue.again, run, 7)
        == str(ON_DRAWINGS)
    )
    assert run.state()["status"] == "stopped" and len(runs.list_runs()) == 1
    view = view_of(run)
    assert str(ON_DRAWINGS) in view.status and not view.resumable


def test_so_does_the_command_line(home: Path, capsys: pytest.CaptureFixture) -> None:
    run = earlier_run(home, status="finished")

    def call(*words: str) -> Outcome:
        status = cli.main(words)
        return Outcome(status, *capsys.readouterr())

    assert str(ON_DRAWINGS) in call("runs", "show", run.id).out
    assert json.loads(call("runs", "show", run.id, "--json").out)["note"] == str(ON_DRAWINGS)
    assert "sample" in call("runs", "list").out
    assert json.loads(call("runs", "export", run.id).out)["note"] == str(ON_DRAWINGS)
    for words in (("runs", "again", run.id), ("train", "--resume", run.id)):
        done = call(*words)
        assert done.status == 2 and done.err.count("\n") == 1, done
    done = call("train", "--data", "sample", "--out", str(home / "new"))
    assert done.status == 2 and "Type beans" in done.err and not (home / "new").exists()


def test_a_run_on_a_folder_of_that_name_is_no_such_run(home: Path) -> None:
    assert not earlier_run(home, data="/home/me/sample").learned_from_drawings()


def test_a_run_whose_source_was_mistyped_does_not_hide_the_others(
    home: Path, capsys: pytest.CaptureFixture
) -> None:
    run = earlier_run(home, status="failed", data="sample + review + review")
    assert not run.learned_from_drawings() and "failed" in view_of(run).status.lower()
    assert cli.main(["runs", "list"]) == 0 and run.id in capsys.readouterr().out


def test_a_finished_one_is_not_told_to_be_repeated(
    home: Path, refusal, capsys: pytest.CaptureFixture
) -> None:
    run = earlier_run(home, status="finished")
    assert refusal(queue.resume, run) == str(ON_DRAWINGS)
    assert cli.main(["runs", "show", run.id]) == 0 and "Repeat" not in capsys.readouterr().out
