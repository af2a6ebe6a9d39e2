"""Where the numbers of a run go: always its own record, and a tracker where one is asked for and works."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vit_demo.common.errors import UserError
from vit_demo.training.loop import reporting
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run, create
from vit_demo.training.run.trackers import TRACKERS, TrackerKind

STEPS = 12


def installed(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None,
        reason=f"needs {name}, an optional extra that is not installed here",
    )


def absent(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is not None,
        reason=f"shows what is said where {name} is missing, and it is installed here",
    )


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str | None], Run]:
    return lambda tracker: create(TrainingConfig(report_to=tracker), tmp_path / f"run-{tracker}")


def write(run: Run, first: int = 1, last: int = STEPS) -> None:
    """The events of a small run, through the log that the run asks for."""
    log = reporting.open_log(run, run.config())
    log.add("begin", total_steps=STEPS, steps_per_epoch=6, photos=3, device="cpu")
    for step in range(first, last + 1):
        log.add(
            "train",
            step=step,
            epoch=step / 6,
            loss=1 / step,
            learning_rate=1e-4 * step,
            photos_per_second=9.5,
        )
        if step % 6 == 0:
            log.add("validation", step=step, loss=2 / step, accuracy=step / STEPS, side=32)
    log.close()


def kinds(run: Run) -> list[str]:
    return [event["kind"] for event in run.read_events()[0]]


EXPECTED = ["begin", *["train"] * 6, "validation", *["train"] * 6, "validation"]


def test_without_a_tracker_there_is_the_record_alone(made: Callable[[str | None], Run]) -> None:
    run = made(None)
    write(run)
    assert kinds(run) == EXPECTED
    assert {path.name for path in run.folder.iterdir()} == {"config.json", "state.json", "events.jsonl"}


@pytest.mark.parametrize("tracker", [pytest.param(name, marks=absent(name)) for name in TRACKERS])
def test_a_tracker_that_is_missing_is_named_with_the_way_to_get_it(
    tracker: str, made: Callable, refusal: Callable[..., str]
) -> None:
    run = made(tracker)
    text = refusal(reporting.open_log, run, run.config())
    assert f'pip install "vit_demo[{tracker}]"' in text and f"pip install {tracker}" in text


@pytest.mark.parametrize("tracker", TRACKERS)
def test_the_tests_have_the_versions_of_the_extras(tracker: str) -> None:
    wanted = (ROOT / "requirements" / f"{tracker}.txt").read_text().strip()
    listed = [
        line for line in (ROOT / "requirements-test.txt").read_text().splitlines() if line.startswith(tracker)
    ]
    assert wanted.startswith(tracker) and listed == ([] if tracker == "wandb" else [wanted])


@installed("tensorboard")
def test_tensorboard_gets_the_same_numbers_as_the_record(made: Callable[[str | None], Run]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = made("tensorboard")
    write(run)
    assert kinds(run) == EXPECTED
    found = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert set(found.Tags()["scalars"]) == {name for names in reporting.DRAWN.values() for name in names}
    train = [event for event in run.read_events()[0] if event["kind"] == "train"]
    assert [(point.step, point.value) for point in found.Scalars("train/loss")] == [
        (event["step"], pytest.approx(event["loss"])) for event in train
    ]
    assert [(point.step, point.value) for point in found.Scalars("validation/accuracy")] == [
        (6, 0.5),
        (12, 1.0),
    ]
    assert "config/text_summary" in found.Tags()["tensors"]


@installed("tensorboard")
def test_steps_that_are_done_again_are_not_reported_again(made: Callable[[str | None], Run]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = made("tensorboard")
    write(run, last=9)
    write(run, first=5)
    assert [
        point.step
        for point in EventAccumulator(str(run.folder / "tensorboard")).Reload().Scalars("train/loss")
    ] == list(range(1, STEPS + 1))


@installed("trackio")
def test_trackio_keeps_the_numbers_offline(
    made: Callable[[str | None], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trackio.sqlite_storage
    import trackio.utils

    for module in (trackio.utils, trackio.sqlite_storage):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio", raising=False)
    run = made("trackio")
    write(run)
    assert kinds(run) == EXPECTED
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "select step, metrics from metrics where run_name = ? order by step", (run.id,)
        ).fetchall()
    assert {step for step, _ in rows} == set(range(1, STEPS + 1))
    assert sum("train/loss" in str(metrics) for _, metrics in rows) == STEPS


@installed("wandb")
def test_wandb_keeps_the_numbers_offline(
    made: Callable[[str | None], Run], monkeypatch: pytest.MonkeyPatch, wait_for: Callable[..., None]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = made("wandb")
    write(run)
    assert kinds(run) == EXPECTED
    (file,) = (run.folder / "wandb").glob("offline-run-*/run-*.wandb")
    # A process of its own writes the file; the names and the last numbers stand in it as text.
    wait_for(
        lambda: all(
            text in file.read_bytes()
            for text in (b"train/loss", b"validation/accuracy", str(1 / 12).encode(), str(2 / 12).encode())
        )
    )


class Failing:
    """A tracker that takes three numbers and then no more."""

    def __init__(self, run: Run, config: TrainingConfig):
        self.left, self.closed = 3, False

    def write(self, step: int, numbers: dict[str, float]) -> None:
        self.left -= 1
        if self.left < 0:
            raise ConnectionError("the server\nis gone.")

    def close(self) -> None:
        raise ConnectionError("gone again")


def test_a_tracker_that_fails_midway_costs_a_warning_and_not_the_run(
    made: Callable[[str | None], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, "wandb", TrackerKind("wandb", "Weights & Biases", Failing))
    run = made("wandb")
    write(run)
    assert [kind for kind in kinds(run) if kind != "warning"] == EXPECTED
    (warning,) = (event["message"] for event in run.read_events()[0] if event["kind"] == "warning")
    assert (
        warning.startswith("Weights & Biases takes no more numbers (the server is gone). ")
        and "goes on" in warning
    )


def test_a_tracker_that_fails_at_the_end_costs_a_warning(
    made: Callable[[str | None], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, "wandb", TrackerKind("wandb", "Weights & Biases", Failing))
    run = made("wandb")
    write(run, last=2)
    assert kinds(run) == ["begin", "train", "train", "warning"]


def test_a_tracker_that_cannot_be_opened_is_named(
    made: Callable, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    def no_login(run: Run, config: TrainingConfig) -> None:
        raise ValueError("no login")

    monkeypatch.setitem(TRACKERS, "trackio", TrackerKind("trackio", "Trackio", no_login))
    run = made("trackio")
    assert "Trackio could not be opened (no login)" in refusal(reporting.open_log, run, run.config())


def test_a_failed_opening_leaves_no_record(made: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the folder of a run that never began can be told from one that did."""
    monkeypatch.setitem(
        TRACKERS, "trackio", TrackerKind("trackio", "Trackio", lambda run, config: os.stat("/nowhere"))
    )
    run = made("trackio")
    with pytest.raises(UserError):
        reporting.open_log(run, run.config())
    assert not run.events_file.exists()
