"""A run that is stopped, killed or out of disk space goes on, loses nothing that was logged, and ends as one
that was never broken off: bit for bit.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from tests.training.conftest import EVERYTHING, PLAIN, Listener, Train, events_of, full_disk, weights_of
from vit_demo.training import worker
from vit_demo.training.job import Progress
from vit_demo.training.loop import loss_logger
from vit_demo.training.run import checkpoint, queue
from vit_demo.training.run.config import RECIPES, TrainingConfig
from vit_demo.training.run.curves import curves_of
from vit_demo.training.run.runs import Run, create
from vit_demo.training.run.status import RunStatus

CHANGES_SIDE = 7  # EVERYTHING has 12 steps, the first 6 of them at 24 px


@pytest.fixture(autouse=True)
def each_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_logger, "LOG_SECONDS", 0.0)


@pytest.fixture(scope="module")
def unbroken(train: Train) -> Run:
    return train(**EVERYTHING).run


def at_step(step: int, do: Callable[[Run], object]) -> Listener:
    def listen(run: Run, progress: Progress) -> None:
        if progress.status == "training" and progress.done == step:
            do(run)

    return listen


def losses(run: Run, kind: str) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in events_of(run, kind)}


def assert_same(run: Run, whole: Run) -> None:
    """It ended as the unbroken one: every step is logged, with the same loss each time it was done, and the
    weights are the same bits.
    """
    assert run.state()["status"] == whole.state()["status"] == "finished"
    for kind in ("train", "validation"):
        expected = losses(whole, kind)
        found = [(event["step"], event["loss"]) for event in events_of(run, kind)]
        # A stop before the first evaluation makes one of its own.
        assert [pair for pair in found if pair[0] in expected or kind == "train"] == [
            (step, expected[step]) for step, _ in found if step in expected
        ]
        assert {step for step, _ in found} >= set(expected)
    found, expected = weights_of(run), weights_of(whole)
    assert found.keys() == expected.keys() and all(
        torch.equal(tensor, expected[name]) for name, tensor in found.items()
    )
    assert events_of(run, "best")[-1]["step"] == events_of(whole, "best")[0]["step"]


# Stopped


@pytest.mark.parametrize("step", [1, CHANGES_SIDE - 1, CHANGES_SIDE, 11])
def test_a_stopped_run_ends_as_an_unbroken_one_when_it_goes_on(
    train: Train, unbroken: Run, step: int
) -> None:
    run = train(at_step(step, Run.request_stop), **EVERYTHING).run
    assert run.state()["status"] == "stopped" and run.has_model() and run.can_resume()
    assert [event["step"] for event in events_of(run, "train")] == list(range(1, step + 1))
    (run.folder / "stop").unlink()
    again = train(run=run)
    assert again.result["seconds"] > curves_of(run).earlier > 0  # of both sittings
    assert [event["step"] for event in events_of(run, "resumed")] == [step]
    assert [event["step"] for event in events_of(run, "train")] == list(range(1, 13))  # none is done twice
    assert_same(run, unbroken)
    assert not checkpoint.exists(run) and not run.can_resume() and not list(run.folder.glob("model.*"))


def test_a_run_can_be_stopped_at_every_few_steps(train: Train, unbroken: Run) -> None:
    run = train(at_step(2, Run.request_stop), **EVERYTHING).run
    for step in (3, 6, 9, 10):
        (run.folder / "stop").unlink()
        train(at_step(step, Run.request_stop), run=run)
        assert run.state()["status"] == "stopped"
    (run.folder / "stop").unlink()
    train(run=run)
    assert_same(run, unbroken)


def test_patience_counts_on_after_a_stop(train: Train, noise: Path) -> None:
    settings = {"data": str(noise), "epochs": 20, "evaluate_every": 6, "augment": "none", "patience": 2}
    whole = train(**settings).run
    last = max(losses(whole, "validation"))
    assert last < 60
    run = train(at_step(last - 5, Run.request_stop), **settings).run
    (run.folder / "stop").unlink()
    train(run=run)
    assert_same(run, whole)


# Without a checkpoint


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again_and_keeps_its_record(
    train: Train, unbroken: Run
) -> None:
    run = train(at_step(4, Run.request_stop), **EVERYTHING).run
    for left in ("checkpoint", "model"):
        shutil.rmtree(run.folder / left)
    (run.folder / "stop").unlink()
    run.set_state(status="training", pid=2**22 + 1, pid_started=1.0)
    before = run.read_events()[0]
    assert run.state()["status"] == RunStatus.BROKEN_OFF and run.can_resume()
    train(run=run)
    assert run.read_events()[0][: len(before)] == before
    assert_same(run, unbroken)


# A full disk


def test_a_disk_that_is_full_for_a_while_costs_a_checkpoint_and_not_the_run(
    train: Train, unbroken: Run
) -> None:
    """Room for the record and for the state, but for no weights, from step 3 to step 8; then the run is
    stopped.
    """
    room, steps = full_disk(30_000), []

    def listen(run: Run, progress: Progress) -> None:
        if progress.status != "training":
            return
        if progress.done == 3:
            room.__enter__()
        elif progress.done == 8:
            room.__exit__(None, None, None)
        elif progress.done == 11:
            steps.append(checkpoint.load(run).step)
            run.request_stop()

    run = train(listen, **EVERYTHING, checkpoint_every=2).run
    assert steps == [10]  # the disk had room again
    (warning,) = (event["message"] for event in events_of(run, "warning"))
    assert warning.startswith("No checkpoint could be written") and "The run goes on" in warning
    (run.folder / "stop").unlink()
    train(run=run)
    assert_same(run, unbroken)


def test_on_a_disk_that_stays_full_the_last_good_checkpoint_counts(train: Train, unbroken: Run) -> None:
    room = full_disk(30_000)

    def listen(run: Run, progress: Progress) -> None:
        if progress.status == "training" and progress.done == 5:
            room.__enter__()
        elif progress.status == "training" and progress.done == 9:
            raise KeyboardInterrupt  # ends the run without a last word, as a kill does

    run = create(
        TrainingConfig(**{**vars(unbroken.config()), "checkpoint_every": 2}),
        unbroken.folder.with_name("full"),
    )
    try:
        with pytest.raises(KeyboardInterrupt):
            train(listen, run=run)
    finally:
        room.__exit__(None, None, None)
    assert checkpoint.load(run).step == 4
    train(run=run)
    assert [event["step"] for event in events_of(run, "resumed")] == [4]
    assert_same(run, unbroken)


# Killed: real workers, at random steps


KILLED = {
    "own": {**EVERYTHING, "epochs": 40, "evaluate_every": 40, "checkpoint_every": 7, "film": 2},
    "trainer": {**RECIPES["tutorial"], "epochs": 30, "batch_size": 6, "learning_rate": 5e-3},
}
WHEN = {"own": (20, 100), "trainer": (105, 150)}  # the tutorial's recipe saves each 100 steps


@pytest.fixture(scope="module")
def killed(
    tiny_model: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory, wait_for: Callable
) -> dict[str, Run]:
    """Workers of both engines are killed at a random step, and their runs put in the queue to go on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIT_DEMO_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("VIT_DEMO_THREADS", "1")
        made = {
            name: create(
                TrainingConfig(**{**PLAIN, **settings, "data": str(colours), "model": str(tiny_model)})
            )
            for name, settings in KILLED.items()
        }
        for run in made.values():
            queue.spawn(run)
        for name, run in made.items():
            when = random.randint(*WHEN[name])
            wait_for(
                lambda run=run, when=when: any(event["step"] >= when for event in events_of(run, "train"))
            )
            time.sleep(random.random() / 5)
            psutil.Process(run.state()["pid"]).kill()
            wait_for(lambda run=run: not run.is_going())
        for run in made.values():
            assert run.state()["status"] == RunStatus.BROKEN_OFF, "killed too late: it had ended"
            shutil.copy(run.events_file, run.folder / "events.before")
            queue.resume(run)
        yield made
        for run in made.values():
            run.request_stop()


@pytest.mark.parametrize("name", KILLED)
def test_kill_9_at_a_random_step_changes_nothing_in_the_end(
    killed: dict[str, Run], tmp_path: Path, wait_for: Callable, name: str
) -> None:
    run = killed[name]
    whole = create(run.config(), tmp_path / "whole")
    worker.execute(whole)
    wait_for(lambda: not run.is_going())
    before, after = ((run.folder / file).read_bytes() for file in ("events.before", "events.jsonl"))
    assert after.startswith(before)
    (resumed,) = (event["step"] for event in events_of(run, "resumed"))
    assert resumed % (7 if name == "own" else 100) == 0 and resumed > 0
    assert "Traceback" not in run.log_tail(1000)
    assert_same(run, whole)
