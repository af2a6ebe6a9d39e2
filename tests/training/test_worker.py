"""The worker process: claimed before torch, killed, terminated, failed; always with a record that says so."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from vit_demo.common.errors import UserError
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training import worker
from vit_demo.training.run import queue
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run, create
from vit_demo.training.run.status import RunStatus


def sentence_cases() -> list[tuple[Exception, str]]:
    return [
        (UserError("As it is."), "As it is."),
        (MemoryError(), "memory is full"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "memory is full"),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"
            ),
            "memory is full",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (
            Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
            "disk is full",
        ),
        (OSError(errno.EACCES, "Permission denied"), "unexpectedly (PermissionError"),
        (RuntimeError("odd"), "unexpectedly (RuntimeError: odd)"),
    ]


@pytest.mark.parametrize(("error", "words"), sentence_cases())
def test_each_error_has_its_sentence(error: Exception, words: str) -> None:
    sentence = str(worker._refusal(error))
    assert words in sentence and sentence.endswith(".") and "\n" not in sentence


# In this process


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path, colours: Path) -> Run:
    return create(
        TrainingConfig(data=str(colours), model=str(tiny_model), epochs=1, device="cpu", film=0),
        tmp_path / "run",
    )


def test_execute_does_the_run_and_tells_the_listener(run: Run) -> None:
    heard = []
    result = worker.execute(run, heard.append)
    state = run.state()
    assert (
        state["status"] == "finished"
        and state["pid"] == os.getpid()
        and state["result"]["test_accuracy"] == result["test_accuracy"]
    )
    assert heard[-1].status == "scoring"


def failed_as(run: Run, words: str) -> None:
    """The state says the same sentence as the error, and no scratch is left."""
    with pytest.raises(UserError, match=words) as failure:
        worker.execute(run)
    state = run.state()
    assert (
        state["status"] == "failed"
        and state["message"] == str(failure.value)
        and state["ended"] >= state["started"]
    )
    assert {path.name for path in run.folder.iterdir()} <= {"config.json", "state.json", "events.jsonl"}


def test_a_mistake_of_the_user_ends_as_failed(tmp_path: Path, tiny_model: Path) -> None:
    failed_as(
        create(TrainingConfig(data=str(tmp_path / "nowhere"), model=str(tiny_model)), tmp_path / "run"),
        "There is no folder",
    )


def test_an_unexpected_error_leaves_its_traceback_in_the_log(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vit_demo.training.loop import steps

    def break_down(*_: object) -> None:
        assert any(
            path.name.startswith("photos-") for path in run.folder.iterdir()
        )  # the scratch that must go
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(steps, "train", break_down)
    failed_as(run, r"unexpectedly \(ZeroDivisionError: planted\)")
    assert "break_down" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve disk space")
def test_a_full_disk_is_found_before_the_photos_are_written(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A write to a mapped file on a full disk would end the process by a signal, with nothing said."""

    def full(_handle: int, start: int, size: int) -> None:
        assert start == 0 and size > 36 * 3 * 32 * 32  # all train photos, before the first is there
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    failed_as(run, "The disk is full")
    assert "Traceback" not in capsys.readouterr().err


def test_a_broken_settings_file_ends_as_failed(run: Run) -> None:
    (run.folder / "config.json").write_text("{")
    failed_as(run, "settings file")


def test_signals_ask_for_a_stop(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from vit_demo.training.loop import finetune

    seen = []

    def terminate(run: Run) -> dict:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
            seen.append(run.stop_requested())
            (run.folder / "stop").unlink()
        return {}

    monkeypatch.setattr(finetune, "fine_tune", terminate)
    worker.execute(run)
    assert seen == [True, True]


def test_main_exits_2_and_prints_the_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = create(TrainingConfig(data=str(tmp_path / "nowhere")), tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["worker", str(run.folder)])
    assert worker.main() == 2
    captured = capsys.readouterr()
    assert (
        captured.out.startswith("failed: There is no folder")
        and "Traceback" not in captured.out + captured.err
    )


# In a process of its own


def test_the_worker_claims_its_run_before_it_waits_for_torch(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fake").mkdir()
    # Stands in for torch, and looks at the state at the moment of its import.
    (tmp_path / "fake" / "torch.py").write_text(
        "import pathlib, sys\nprint((pathlib.Path(sys.argv[1]) / 'state.json').read_text())\nraise"
        " SystemExit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "vit_demo.training.worker", str(run.folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "fake")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 7, done.stderr
    assert '"pid": ' in done.stdout and '"pid_started": ' in done.stdout
    assert run.state()["status"] == RunStatus.BROKEN_OFF  # as it died without a word


@pytest.fixture(scope="module")
def working(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, colours: Path, wait_for: Callable
) -> Iterator[tuple[Run, Run]]:
    """Two workers in the middle of long runs, spawned together since each needs seconds to come up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIT_DEMO_THREADS", "1")
        config = TrainingConfig(
            data=str(colours),
            model=str(tiny_model),
            epochs=1000,
            batch_size=4,
            device="cpu",
            evaluate_every=50,
            film=0,
        )
        two = [create(config, tmp_path_factory.mktemp("worker")) for _ in range(2)]
        for run in two:
            queue.spawn(run)
    for run in two:
        wait_for(lambda run=run: any(event["kind"] == "validation" for event in run.read_events()[0]))
    yield two[0], two[1]
    for run in two:
        run.request_stop()


def test_kill_9_is_broken_off_and_loses_no_event(working: tuple[Run, Run], wait_for: Callable) -> None:
    run = working[0]
    # Anything that a reader has seen must still be there afterwards.
    seen, offset = run.read_events()
    assert run.state()["status"] == "training"
    psutil.Process(run.state()["pid"]).kill()
    wait_for(lambda: not run.is_going())
    assert run.state()["status"] == RunStatus.BROKEN_OFF and not run.has_model()
    events, end = run.read_events()
    assert events[: len(seen)] == seen and end >= offset
    # At most the line being written is torn; all before it are whole, in order and without a gap.
    assert run.events_file.read_bytes()[:end].count(b"\n") == len(events)
    steps = [event["step"] for event in events if event["kind"] == "train"]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= 50


def test_sigterm_ends_as_stopped_with_a_model(working: tuple[Run, Run], wait_for: Callable) -> None:
    run = working[1]
    assert run.state()["status"] == "training"
    os.kill(run.state()["pid"], signal.SIGTERM)
    wait_for(lambda: not run.is_going())
    state = run.state()
    assert (
        state["status"] == "stopped" and state["result"]["test_accuracy"] == run.scores()["test"]["accuracy"]
    )
    assert LeafClassifier.open(run.folder, device="cpu").labels == ["blue", "green", "red"]
    left = sorted(path.name for path in run.folder.iterdir())
    assert left == [
        "checkpoint",
        "config.json",
        "events.jsonl",
        "model",
        "similar.safetensors",
        "state.json",
        "stop",
        "worker.log",
    ]
    assert "Traceback" not in run.log_tail(1000)
