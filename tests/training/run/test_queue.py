"""Runs that wait: one at a time a device and in their order, whatever dies meanwhile, with real worker
processes.

Where only the queue is looked at, a module that stands in for torch says when a worker's turn began and
ended.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from vit_demo.common.errors import UserError
from vit_demo.training.run import queue, runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run, create, find, list_runs
from vit_demo.training.run.status import RunStatus

CONFIG = TrainingConfig(epochs=1, device="cpu")

TURN = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
def say(word):
    with open(os.environ["TURNS"], "a") as file:
        file.write(f"{time.monotonic_ns()} {word} {folder.name}\\n")
say("begin")
end = time.monotonic() + float(os.environ["TURN_SECONDS"])
while time.monotonic() < end and not (folder / "stop").exists():
    time.sleep(0.01)
say("end")
os._exit(0)
"""


class Turns:
    """What the stand-ins for torch said."""

    def __init__(self, file: Path):
        self.file = file

    def said(self, word: str) -> dict[str, int]:
        """When each run said the word, in their order."""
        lines = [line.split() for line in self.file.read_text().splitlines()] if self.file.exists() else []
        return {name: int(moment) for moment, said, name in lines if said == word}


@pytest.fixture
def turns(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Turns]:
    (tmp_path / "light").mkdir()
    (tmp_path / "light" / "torch.py").write_text(TURN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "light"))
    monkeypatch.setenv("TURNS", str(tmp_path / "turns"))
    monkeypatch.setenv("TURN_SECONDS", "600")
    yield Turns(tmp_path / "turns")
    for run in list_runs():
        run.request_stop()
    end = time.monotonic() + 30
    while any(run.is_going() for run in list_runs()) and time.monotonic() < end:
        time.sleep(0.05)


def pid(run: Run) -> int:
    return run.state()["pid"]


def settled(waiting: Run, place: int) -> Callable[[], bool]:
    """Its worker is up and knows its place."""
    return lambda: waiting.state().get("pid") is not None and queue.place(waiting) == place


# The order


def test_runs_wait_their_turn_in_the_order_they_came(
    turns: Turns, monkeypatch: pytest.MonkeyPatch, wait_for: Callable
) -> None:
    monkeypatch.setenv("TURN_SECONDS", "0.5")
    submitted = [queue.submit(CONFIG, name=f"run {number}") for number in range(4)]
    assert [run.name for run in submitted] == ["run 0", "run 1", "run 2", "run 3"]
    wait_for(lambda: len(turns.said("end")) == 4)
    begins, ends = turns.said("begin"), turns.said("end")
    assert list(begins) == [run.id for run in submitted]
    assert all(ends[earlier.id] < begins[later.id] for earlier, later in zip(submitted, submitted[1:]))


def test_a_waiting_run_says_so_and_its_worker_is_light(turns: Turns, wait_for: Callable) -> None:
    first = queue.submit(CONFIG)
    wait_for(lambda: first.id in turns.said("begin"))
    second, third = queue.submit(CONFIG, experiment="e"), queue.submit(CONFIG)
    assert (queue.place(second), queue.place(third)) == (1, 2)  # known before their workers are up
    wait_for(settled(second, 1))
    wait_for(settled(third, 2))
    assert first.state()["status"] == "starting" and queue.place(first) == 0
    assert second.state()["status"] == "waiting" and second.is_going() and second.experiment == "e"
    assert second.state()["message"] == "Waits for the processor: one run goes before it."
    assert third.state()["message"] == "Waits for the processor: 2 runs go before it."
    assert list(turns.said("begin")) == [first.id]  # torch is not imported before the turn
    assert psutil.Process(pid(second)).memory_info().rss < 120e6
    if os.name != "nt":
        assert os.getsid(pid(second)) != os.getsid(0)  # outlives the terminal and the server


def test_each_device_has_a_queue_of_its_own(turns: Turns, wait_for: Callable) -> None:
    on_cpu, beside = queue.submit(CONFIG), queue.submit(dataclasses.replace(CONFIG, device="mps"))
    behind = queue.submit(CONFIG)
    wait_for(lambda: len(turns.said("begin")) == 2)
    wait_for(settled(behind, 1))
    assert set(turns.said("begin")) == {on_cpu.id, beside.id}


SERVER = """
import sys, time
from vit_demo.training.run import queue
from vit_demo.training.run.config import TrainingConfig
while time.time() < float(sys.argv[1]):
    pass
for number in range(4):
    print(queue.submit(TrainingConfig(device="cpu")).id, flush=True)
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""


def test_two_servers_on_one_home_folder_keep_one_order(
    turns: Turns, monkeypatch: pytest.MonkeyPatch, wait_for: Callable
) -> None:
    monkeypatch.setenv("TURN_SECONDS", "0.2")
    moment = str(time.time() + 2)
    servers = [
        subprocess.Popen([sys.executable, "-c", SERVER, moment], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ids = [server.communicate()[0].split() for server in servers]
    assert [server.returncode for server in servers] == [0, 0]
    assert len({*ids[0], *ids[1]}) == 8 and len(list_runs()) == 8
    wait_for(lambda: len(turns.said("end")) == 8)
    tickets = {run.id: json.loads((run.folder / "state.json").read_text())["ticket"] for run in list_runs()}
    order = sorted(tickets, key=tickets.get)
    assert sorted(tickets.values()) == list(range(1, 9))
    assert all(
        [run for run in order if run in server] == server for server in ids
    )  # each server's own order is kept
    begins, ends = turns.said("begin"), turns.said("end")
    assert list(begins) == order
    assert all(ends[earlier] < begins[later] for earlier, later in zip(order, order[1:]))


# What dies meanwhile


def test_a_killed_run_gives_its_turn_to_the_next_and_shows_as_broken_off(
    turns: Turns, wait_for: Callable
) -> None:
    first, second = queue.submit(CONFIG), queue.submit(CONFIG)
    wait_for(lambda: first.id in turns.said("begin"))
    wait_for(settled(second, 1))
    (first.folder / "photos-left").mkdir()
    os.kill(pid(first), signal.SIGKILL)
    wait_for(lambda: not first.is_going(), 2)
    assert first.state()["status"] == RunStatus.BROKEN_OFF and "process is gone" in first.state()["message"]
    wait_for(lambda: second.id in turns.said("begin"))
    assert second.state()["status"] == "starting" and second.state()["message"] == ""
    wait_for(lambda: not (first.folder / "photos-left").exists())


def test_a_killed_waiting_run_holds_up_nobody(turns: Turns, wait_for: Callable) -> None:
    first, second, third = (queue.submit(CONFIG) for _ in range(3))
    wait_for(lambda: first.id in turns.said("begin"))
    wait_for(settled(third, 2))
    wait_for(settled(second, 1))
    os.kill(pid(second), signal.SIGKILL)
    wait_for(settled(third, 1))
    assert second.state()["status"] == RunStatus.BROKEN_OFF and "before its turn" in second.state()["message"]
    first.request_stop()
    wait_for(lambda: third.id in turns.said("begin"))
    assert second.id not in turns.said("begin")
    # It is put in the queue again, behind.
    assert second.can_resume()
    queue.resume(second)
    wait_for(settled(second, 1))
    third.request_stop()
    wait_for(lambda: second.id in turns.said("begin"))


def test_a_process_id_used_again_after_a_reboot_holds_up_nobody(turns: Turns, wait_for: Callable) -> None:
    """This very process has the id that a waiting run's worker had before the reboot."""
    ghost = create(CONFIG)
    ghost.put_state(status="waiting", device="cpu", ticket=1, pid=os.getpid(), pid_started="another-boot 77")
    assert ghost.state()["status"] == RunStatus.BROKEN_OFF
    run = queue.submit(CONFIG)
    wait_for(lambda: run.id in turns.said("begin"))


def test_one_that_never_came_up_holds_up_the_others_for_a_while_only(
    turns: Turns, wait_for: Callable
) -> None:
    ghost = create(CONFIG)
    ghost.put_state(status="waiting", device="cpu", ticket=1)
    run = queue.submit(CONFIG)
    wait_for(settled(run, 1 + 1))
    state = json.loads((ghost.folder / "state.json").read_text())
    runs.write_atomically(
        ghost.folder / "state.json", json.dumps({**state, "changed": time.time() - runs.START_SECONDS - 1})
    )
    wait_for(lambda: run.id in turns.said("begin"))


# Leaving the queue


@pytest.mark.parametrize("way", ["file", "signal"])
def test_a_waiting_run_can_be_stopped(turns: Turns, way: str, wait_for: Callable) -> None:
    first, second, third = (queue.submit(CONFIG) for _ in range(3))
    wait_for(settled(third, 2))
    wait_for(settled(second, 1))
    worker = psutil.Process(pid(second))
    second.request_stop() if way == "file" else os.kill(worker.pid, signal.SIGTERM)
    wait_for(lambda: not second.is_going())
    assert second.state()["status"] == "stopped" and "out of the queue" in second.state()["message"]
    wait_for(settled(third, 1))
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert list(turns.said("begin")) == [first.id]
    assert second.log_tail() == ""


def test_a_waiting_run_whose_folder_is_deleted_ends_quietly(turns: Turns, wait_for: Callable) -> None:
    first, second, third = (queue.submit(CONFIG) for _ in range(3))
    wait_for(settled(third, 2))
    wait_for(settled(second, 1))
    worker = psutil.Process(pid(second))
    with pytest.raises(UserError, match="still going"):
        runs.delete(second)
    shutil.rmtree(second.folder)
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    wait_for(settled(third, 1))
    assert not second.folder.exists()
    first.request_stop()
    wait_for(lambda: third.id in turns.said("begin"))


# Refusals


def test_what_cannot_be_resumed_is_refused(turns: Turns, tmp_path: Path, wait_for: Callable) -> None:
    going = queue.submit(CONFIG)
    with pytest.raises(UserError, match="still going"):
        queue.resume(going)
    finished = create(CONFIG)
    finished.set_state(status="finished")
    with pytest.raises(UserError, match="is finished"):
        queue.resume(finished)
    assert finished.state()["status"] == "finished"


def test_a_run_that_cannot_be_started_leaves_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(UserError, match="could not be started"):
        queue.submit(CONFIG)
    assert list_runs() == []
    stopped = create(CONFIG)
    stopped.set_state(status="stopped", message="so it was")
    with pytest.raises(UserError, match="could not be started"):
        queue.resume(stopped)
    assert (stopped.state()["status"], stopped.state()["message"]) == ("stopped", "so it was")
    monkeypatch.setenv("VIT_DEMO_HOME", str(tmp_path / "file"))
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match="could be started"):
        queue.submit(CONFIG)


def test_again_takes_the_next_seed_that_no_run_of_these_settings_had(turns: Turns) -> None:
    first = queue.submit(CONFIG, name="rust", experiment="e")
    other = queue.submit(dataclasses.replace(CONFIG, epochs=2, seed=99))
    second, third = queue.again(first), queue.again(first)
    assert [run.config().seed for run in (first, second, third)] == [42, 43, 44]
    assert dataclasses.replace(third.config(), seed=42) == CONFIG
    assert (third.name, third.experiment) == ("rust, seed 44", "e") and queue.again(
        third, 7
    ).name == "rust, seed 7"
    assert queue.again(other).config().seed == 100 and other.name == other.id


# The command line beside the queue


def test_a_run_on_the_command_line_takes_the_device_if_it_is_free(turns: Turns, wait_for: Callable) -> None:
    assert queue.lock_if_free(CONFIG) is None  # no home folder is made for it
    assert not list_runs()
    run = queue.submit(CONFIG)
    wait_for(lambda: run.id in turns.said("begin"))
    assert queue.lock_if_free(CONFIG) is None
    run.request_stop()
    wait_for(lambda: run.id in turns.said("end"))
    held = []
    wait_for(lambda: held.append(queue.lock_if_free(CONFIG)) or held[-1])
    behind = queue.submit(CONFIG)
    wait_for(settled(behind, 1))
    held[-1].release()
    wait_for(lambda: behind.id in turns.said("begin"))


# Devices


def test_the_device_is_known_without_torch() -> None:
    code = (
        "import sys; from vit_demo.training.run import queue; print(queue.best_device()); "
        "assert 'torch' not in sys.modules"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    from vit_demo.model import classifier

    assert said == classifier.best_device()
    assert queue.device_of(dataclasses.replace(CONFIG, device="mps")) == "mps"


@pytest.mark.skipif(sys.platform != "linux", reason="the GPU is looked for in another place there")
@pytest.mark.parametrize(
    ("version", "plugged", "hidden", "device"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None", True, None, "cpu"),
        ("cuda: Optional[str] = '12.8'\nhip: Optional[str] = None", True, None, "cuda"),
        ("cuda = '12.1'\nhip = None", True, None, "cuda"),
        ("cuda = '12.1'", False, None, "cpu"),
        ("cuda = '12.1'", True, "", "cpu"),
        ("cuda = '12.1'", True, "-1", "cpu"),
        ("cuda = '12.1'", True, "1,0", "cuda"),
        ("cuda = None\nhip = '6.4'", True, None, "cpu"),
    ],
)
def test_a_gpu_counts_when_torch_was_built_for_it(
    version: str, plugged: bool, hidden: str | None, device: str, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch" / "version.py").write_text(version)
    environment = {
        "PYTHONPATH": str(tmp_path),
        "PATH": os.environ["PATH"],
        **({} if hidden is None else {"CUDA_VISIBLE_DEVICES": hidden}),
    }
    code = (
        f"from vit_demo.training.run import queue; queue._has_nvidia = lambda: {plugged};"
        " print(queue.best_device())"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        == device
    )


# Real training

SUBMIT = """
import sys, time
from vit_demo.training.run import queue
from vit_demo.training.run.config import TrainingConfig
for text in sys.argv[1:]:
    print(queue.submit(TrainingConfig.from_json(text)).id, flush=True)
time.sleep(600)
"""


def test_no_server_is_needed_and_a_killed_run_goes_on_behind_the_next(
    home: Path, tiny_model: Path, colours: Path, monkeypatch, wait_for
) -> None:
    """kill -9 of the server while a run goes and another waits; kill -9 of the worker; the next; then the
    killed one again.
    """
    monkeypatch.setenv("VIT_DEMO_THREADS", "1")
    endless = TrainingConfig(
        data=str(colours),
        model=str(tiny_model),
        epochs=1000,
        batch_size=4,
        device="cpu",
        evaluate_every=50,
        checkpoint_every=5,
        film=0,
    )
    short = dataclasses.replace(endless, epochs=1)
    server = subprocess.Popen(
        [sys.executable, "-c", SUBMIT, endless.to_json(), short.to_json()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    first, second = (find(server.stdout.readline().strip()) for _ in range(2))
    server.kill()
    server.communicate()
    try:
        wait_for(lambda: any(event["kind"] == "validation" for event in first.read_events()[0]))
        assert first.state()["status"] == "training" and second.state()["status"] == "waiting"
        psutil.Process(pid(first)).kill()
        wait_for(lambda: not first.is_going())
        before = first.read_events()[0]
        assert first.state()["status"] == RunStatus.BROKEN_OFF and first.can_resume()
        with open(first.events_file, "ab") as file:
            file.write(b'{"kind": "train", "st')  # the line it was at
        queue.resume(first)
        assert first.state()["status"] == "waiting"
        wait_for(lambda: not second.is_going())
        assert second.state()["status"] == "finished" and second.scores()["test"]["n"] == 18
        wait_for(lambda: len(first.read_events()[0]) > len(before) + 20)
        first.request_stop()
        wait_for(lambda: not first.is_going())
    finally:
        first.request_stop()
    assert first.state()["status"] == "stopped" and first.scores()["test"]["n"] == 18 and first.can_resume()
    events = first.read_events()[0]
    assert events[: len(before)] == before
    (resumed,) = [event for event in events if event["kind"] == "resumed"]
    last = max(event["step"] for event in before if event["kind"] == "train")
    assert last - 5 <= resumed["step"] <= last + 1
    steps = [event["step"] for event in events[len(before) :] if event["kind"] == "train"]
    assert steps == list(range(resumed["step"] + 1, resumed["step"] + 1 + len(steps)))
