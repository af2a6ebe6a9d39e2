"""The folder of a run as the only bridge: what its state says, whatever has happened to its worker, its
process id, the clock and the disk.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.training.conftest import full_disk
from vit_demo.common.errors import UserError
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run, create
from vit_demo.training.run.status import RunStatus

CONFIG = TrainingConfig(epochs=1)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(CONFIG, tmp_path / "run")


# States


def test_a_new_run_is_starting_and_knows_its_settings(run: Run) -> None:
    assert run.state()["status"] == "starting" and run.is_going()
    assert run.config() == CONFIG
    assert not run.has_model() and run.scores() == {} and run.log_tail() == ""
    assert run.read_events() == ([], 0)


@pytest.mark.parametrize("status", runs.GOING)
def test_a_living_worker_is_believed(run: Run, status: str) -> None:
    run.claim()
    run.set_state(status=status)
    assert run.state()["status"] == status and run.is_going()


@pytest.mark.parametrize("status", runs.GOING)
def test_a_dead_worker_means_broken_off(run: Run, status: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(child.pid).create_time()
    run.set_state(status=status, pid=child.pid, pid_started=started)
    assert run.is_going()
    child.communicate(b"\n")
    assert run.state()["status"] == RunStatus.BROKEN_OFF and not run.is_going()
    assert run.state()["message"].endswith(".")


@pytest.mark.parametrize("shift", [-3600, -2, 2, 3600])
def test_a_process_id_used_again_is_not_the_worker_by_its_time(run: Run, shift: float) -> None:
    run.claim()
    run.set_state(status="training", pid_started=psutil.Process().create_time() + shift)
    assert run.state()["status"] == RunStatus.BROKEN_OFF


@pytest.mark.skipif(
    not Path("/proc/sys/kernel/random/boot_id").is_file(),
    reason="only Linux tells its boot and the clock ticks since",
)
@pytest.mark.parametrize(
    "change", [lambda boot, ticks: f"{boot} {int(ticks) + 1}", lambda boot, ticks: f"{boot[::-1]} {ticks}"]
)
def test_a_process_id_used_again_is_not_the_worker_by_its_ticks_or_its_boot(run: Run, change) -> None:
    run.claim()
    run.set_state(status="training")
    assert run.is_going()
    run.set_state(
        pid_started=change(*json.loads((run.folder / "state.json").read_text())["pid_started"].split())
    )
    assert run.state()["status"] == RunStatus.BROKEN_OFF


def test_a_clock_that_was_set_does_not_break_a_run_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil's start time of a process moves with the clock; ours may not."""
    run.claim()
    run.set_state(status="training")
    if isinstance(run.state()["pid_started"], float):
        pytest.skip("this system tells the start of a process by the clock alone")
    from psutil import _pslinux

    boot = _pslinux.boot_time()
    before = psutil.Process().create_time()
    monkeypatch.setattr(_pslinux, "boot_time", lambda: boot + 3600)
    assert psutil.Process().create_time() - before > 3000 and run.is_going()


@pytest.mark.parametrize("pid", ["12", -1, 0, True, 2**70, 1.5, [1]])
@pytest.mark.parametrize("started", [None, "x", 1.0])
def test_a_process_id_that_makes_no_sense_is_no_worker(run: Run, pid: object, started: object) -> None:
    run.set_state(status="training", pid=pid, pid_started=started)
    assert run.state()["status"] == RunStatus.BROKEN_OFF


def test_a_last_word_said_between_reading_and_looking_counts(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker writes "finished" and is gone; a reader with the state from before must not say broken
    off.
    """
    run.set_state(status="scoring", pid=2**22 + 1, pid_started=1.0)
    alive = runs._alive

    def look(state: dict) -> bool:
        Run(run.folder).set_state(status="finished")
        return alive(state)

    monkeypatch.setattr(runs, "_alive", look)
    assert run.state()["status"] == "finished"


@pytest.mark.skipif(os.name == "nt", reason="there are no zombies on Windows")
def test_a_zombie_is_not_a_worker(run: Run, wait_for) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run.set_state(status="training", pid=child.pid, pid_started=psutil.Process(child.pid).create_time())
    child.stdin.close()
    # Not waited for, as a server does not wait for its workers.
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert run.state()["status"] == RunStatus.BROKEN_OFF
    child.wait()


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (0, "starting"),
        (-2, "starting"),
        (runs.START_SECONDS - 5, "starting"),
        (runs.START_SECONDS + 5, RunStatus.BROKEN_OFF),
        (-3600, RunStatus.BROKEN_OFF),  # the clock was set back since
    ],
)
def test_a_worker_that_never_came_up(run: Run, age: float, status: str) -> None:
    (run.folder / "state.json").write_text(json.dumps({"status": "starting", "changed": time.time() - age}))
    assert run.state()["status"] == status


@pytest.mark.parametrize("status", runs.ENDED)
def test_an_ended_run_stays_what_it_said(run: Run, status: str) -> None:
    run.set_state(status=status, message="so it is", pid=2**22 + 1, pid_started=1.0)
    assert run.state()["status"] == status and run.state()["message"] == "so it is"
    assert not run.is_going()


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        '{"status": "trai',
        "[]",
        "7",
        "{}",
        '{"status": 3}',
        '{"status": "dreaming"}',
        '{"status": "training", "changed": "now"}',
    ],
)
def test_a_missing_or_torn_state_is_broken_off(run: Run, text: str | None) -> None:
    (run.folder / "state.json").unlink()
    if text is not None:
        (run.folder / "state.json").write_text(text)
    assert run.state()["status"] == RunStatus.BROKEN_OFF


def test_set_state_changes_only_what_it_is_given(run: Run) -> None:
    run.set_state(status="training", done=3, total=9)
    run.set_state(done=4)
    state = json.loads((run.folder / "state.json").read_text())
    assert (state["status"], state["done"], state["total"]) == ("training", 4, 9)
    assert abs(state["changed"] - time.time()) < 60 and "created" in state


def test_a_reader_never_sees_half_a_state(run: Run) -> None:
    file, half, seen, done = run.folder / "state.json", [], set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                seen.add(json.loads(file.read_text())["message"][:1])
            except (ValueError, FileNotFoundError, KeyError) as error:
                half.append(repr(error))

    run.set_state(message="a" * 500_000)
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        run.set_state(message="ab"[number % 2] * 500_000)
    done.set()
    reader.join()
    assert half == [] and seen
    assert sorted(path.name for path in run.folder.iterdir()) == ["config.json", "state.json"]


# A full disk


def test_a_full_disk_leaves_the_state_whole_and_it_is_written_later(run: Run) -> None:
    run.claim()
    run.set_state(status="training", done=1, total=9)
    with full_disk(30):
        run.set_state(done=2, message="x" * 1000)
        run.set_state(status="finished", result={"test_accuracy": 0.9})
        assert (Run(run.folder).state()["status"], Run(run.folder).state()["done"]) == ("training", 1)
        assert not run.settle(0.3, every=0.1)
    assert run.settle(5, every=0.1)
    state = Run(run.folder).state()
    assert (state["status"], state["done"], state["message"][:2], state["result"]) == (
        "finished",
        2,
        "xx",
        {"test_accuracy": 0.9},
    )
    assert sorted(path.name for path in run.folder.iterdir()) == ["config.json", "state.json"]


def test_a_run_that_does_not_fit_on_the_disk_leaves_nothing(home: Path, refusal: Callable[..., str]) -> None:
    with full_disk(100):
        assert "cannot be written" in refusal(create, CONFIG)
    assert list((home / "runs").iterdir()) == []


def test_a_folder_that_was_deleted_ends_the_run(run: Run) -> None:
    shutil.rmtree(run.folder)
    with pytest.raises(UserError, match="was deleted"):
        run.set_state(done=3)
    assert not run.settle(0.2, every=0.1) and not run.folder.exists()
    run.request_stop()
    assert not run.folder.exists()


def test_log_tail_is_the_end_of_what_was_printed(run: Run) -> None:
    (run.folder / "worker.log").write_bytes(
        b"\xff old\n" + "\n".join(f"line {number} é" for number in range(5000)).encode()
    )
    assert run.log_tail(3) == "line 4997 é\nline 4998 é\nline 4999 é"


def test_request_stop_is_seen_by_another_reader(run: Run) -> None:
    assert not run.stop_requested()
    run.request_stop()
    run.request_stop()
    assert Run(run.folder).stop_requested()
