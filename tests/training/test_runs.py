"""The folder of a run as the only bridge: states of dead workers, torn lines, names, and one run at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from vit_demo.errors import UserError
from vit_demo.training import runs
from vit_demo.training.config import TrainingConfig
from vit_demo.training.runs import EventLog, Run, create, find, launch, list_runs

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
    assert run.state()["status"] == runs.BROKEN_OFF and not run.is_going()
    assert run.state()["message"].endswith(".")


@pytest.mark.parametrize("shift", [-3600, -2, 2, 3600])
def test_a_process_id_used_again_is_not_the_worker(run: Run, shift: float) -> None:
    run.claim()
    run.set_state(status="training", pid_started=psutil.Process().create_time() + shift)
    assert run.state()["status"] == runs.BROKEN_OFF


@pytest.mark.skipif(os.name == "nt", reason="there are no zombies on Windows")
def test_a_zombie_is_not_a_worker(run: Run, wait_for) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run.set_state(status="training", pid=child.pid, pid_started=psutil.Process(child.pid).create_time())
    child.stdin.close()
    # Not waited for, as a server does not wait for its workers.
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert run.state()["status"] == runs.BROKEN_OFF
    child.wait()


@pytest.mark.parametrize(("age", "status"), [(0, "starting"), (runs.START_SECONDS - 5, "starting"), (runs.START_SECONDS + 5, runs.BROKEN_OFF)])
def test_a_worker_that_never_came_up(run: Run, age: float, status: str) -> None:
    (run.folder / "state.json").write_text(json.dumps({"status": "starting", "changed": time.time() - age}))
    assert run.state()["status"] == status


@pytest.mark.parametrize("status", runs.ENDED)
def test_an_ended_run_stays_what_it_said(run: Run, status: str) -> None:
    run.set_state(status=status, message="so it is", pid=2**22 + 1, pid_started=1.0)
    assert run.state()["status"] == status and run.state()["message"] == "so it is"
    assert not run.is_going()


@pytest.mark.parametrize("text", [None, "", '{"status": "trai'])
def test_a_missing_or_torn_state_is_broken_off(run: Run, text: str | None) -> None:
    (run.folder / "state.json").unlink()
    if text is not None:
        (run.folder / "state.json").write_text(text)
    assert run.state()["status"] == runs.BROKEN_OFF


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


# Events


def test_events_come_back_in_order_with_the_offset_to_go_on_from(run: Run) -> None:
    log = EventLog(run)
    log.add("train", step=1, note="ümlaut\nline")
    first, offset = run.read_events()
    assert [(event["kind"], event["step"], event["note"]) for event in first] == [("train", 1, "ümlaut\nline")]
    assert offset == run.events_file.stat().st_size and abs(first[0]["time"] - time.time()) < 60
    assert run.read_events(offset) == ([], offset)
    log.add("train", step=2)
    second, end = run.read_events(offset)
    assert [event["step"] for event in second] == [2] and end == run.events_file.stat().st_size
    assert [event["step"] for event in run.read_events(0)[0]] == [1, 2]
    log.close()


def test_an_event_is_in_the_file_when_add_returns(run: Run) -> None:
    log = EventLog(run)
    log.add("train", step=1)
    assert run.events_file.read_bytes().endswith(b"\n")
    log.close()


def test_a_line_still_being_written_waits_until_it_is_whole(run: Run) -> None:
    whole = b'{"kind": "train", "step": 1}\n'
    line = json.dumps({"kind": "train", "step": 2, "note": "naïve"}, ensure_ascii=False).encode() + b"\n"
    for cut in range(len(line)):  # also in the middle of a character
        run.events_file.write_bytes(whole + line[:cut])
        events, offset = run.read_events()
        assert [event["step"] for event in events] == [1] and offset == len(whole)
    with open(run.events_file, "ab") as file:
        file.write(line[-1:])
    events, end = run.read_events(offset)
    assert [event["step"] for event in events] == [2] and end == len(whole + line)


def test_a_torn_line_in_the_middle_is_passed_over(run: Run) -> None:
    run.events_file.write_bytes(b'{"kind": "train", "step": 1}\n{"kind": "tra\n\xff\xfe\n\n{"kind": "train", "step": 3}\n')
    events, offset = run.read_events()
    assert [event["step"] for event in events] == [1, 3]
    assert offset == run.events_file.stat().st_size


def test_log_tail_is_the_end_of_what_was_printed(run: Run) -> None:
    (run.folder / "worker.log").write_bytes(b"\xff old\n" + "\n".join(f"line {number} é" for number in range(5000)).encode())
    assert run.log_tail(3) == "line 4997 é\nline 4998 é\nline 4999 é"


def test_request_stop_is_seen_by_another_reader(run: Run) -> None:
    assert not run.stop_requested()
    run.request_stop()
    run.request_stop()
    assert Run(run.folder).stop_requested()


# Names and folders


def test_find_takes_the_name_of_a_run_and_nothing_else(home: Path, tmp_path: Path) -> None:
    (home / "runs").mkdir(parents=True)
    known = create(CONFIG)
    for place in (tmp_path / "outside", home / "runs" / ".hidden", home, home / "runs", known.folder / "inner"):
        # There is something to find at the end of each bad name.
        place.mkdir(exist_ok=True)
        (place / "config.json").write_text(CONFIG.to_json())
    (home / "runs" / "empty").mkdir()
    assert find(known.id).folder == known.folder
    bad = [
        None, "", ".", "..", ".hidden", "../runs/" + known.id, "../../outside", str(tmp_path / "outside"), f"{known.id}/inner",
        f"{known.id}/", f"./{known.id}", f"{known.id}\\inner", f"{known.id}\n", f"{known.id}\0", "empty", "missing", "~", "*",
    ]
    assert [name for name in bad if find(name) is not None] == []


def test_list_runs_has_the_newest_first_and_only_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_runs() == []
    made = []
    for second in (1, 2, 2, 3):
        freeze(monkeypatch, second)
        made.append(create(CONFIG).id)
    (home / "runs" / "99991231-235959").mkdir()
    (home / "runs" / "file").touch()
    assert [run.id for run in list_runs()] == made[::-1]


def freeze(monkeypatch: pytest.MonkeyPatch, second: int) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, second)

    monkeypatch.setattr(runs, "datetime", Clock)


def test_runs_of_the_same_second_get_names_of_their_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freeze(monkeypatch, 5)
    assert [create(CONFIG).id for _ in range(3)] == ["20260102-030405", "20260102-030405-2", "20260102-030405-3"]
    with ThreadPoolExecutor(8) as pool:
        together = [run.id for run in pool.map(lambda _: create(CONFIG), range(24))]
    assert len(set(together)) == 24
    assert len(list_runs()) == 27


def test_create_takes_a_new_or_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert create(CONFIG, tmp_path / "empty").config() == CONFIG
    assert create(CONFIG, str(tmp_path / "new" / "deeper")).folder == tmp_path / "new" / "deeper"


def test_create_leaves_a_folder_with_anything_in_it_alone(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".hidden").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        create(CONFIG, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == [".hidden"]


def test_create_says_where_it_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("a file")
    for bad in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(UserError, match="cannot be written"):
            create(CONFIG, bad)
    monkeypatch.setenv("VIT_DEMO_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written"):
        create(CONFIG)
    with pytest.raises(UserError, match="could be started"):
        launch(CONFIG)


def test_create_knows_no_home_of_nobody() -> None:
    with pytest.raises(UserError, match="home folder"):
        create(CONFIG, "~nobody-of-this-name/run")


# One at a time


def test_launch_refuses_while_a_run_is_going(home: Path) -> None:
    going = create(CONFIG)
    going.claim()
    going.set_state(status="training")
    with pytest.raises(UserError, match=f"{going.id} is still going"):
        launch(CONFIG)
    assert [run.id for run in list_runs()] == [going.id]  # the refused one leaves nothing behind


def test_of_many_launches_at_once_one_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spawned = []
    monkeypatch.setattr(runs, "_spawn", spawned.append)
    # Time for another to come between the look and the start, if it can.
    monkeypatch.setattr(runs, "list_runs", lambda: (list_runs(), time.sleep(0.05))[0])

    def attempt(_: int) -> str:
        try:
            return launch(CONFIG).id
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(attempt, range(6)))
    assert len(spawned) == 1 and len(list_runs()) == 1
    assert sum("still going" in answer for answer in answers) == 5


def test_a_launched_worker_is_found_by_the_folder_alone_and_can_be_stopped(home: Path, tiny_model: Path, colours: Path, monkeypatch, wait_for) -> None:
    monkeypatch.setenv("VIT_DEMO_THREADS", "1")
    config = TrainingConfig(data=str(colours), model=str(tiny_model), epochs=1000, batch_size=4, device="cpu", evaluate_every=50)
    run = launch(config)
    try:
        wait_for(lambda: run.state().get("pid"))
        worker = psutil.Process(run.state()["pid"])
        assert "vit_demo.training.worker" in " ".join(worker.cmdline())
        if os.name != "nt":
            assert os.getsid(worker.pid) != os.getsid(0)  # outlives the terminal and the server
        with pytest.raises(UserError, match="still going"):
            launch(config)
        wait_for(lambda: any(event["kind"] == "validation" for event in run.read_events()[0]))
        found = find(run.id)
        assert found.state()["status"] == "training" and found.is_going()
        found.request_stop()
        wait_for(lambda: not run.is_going())
    finally:
        run.request_stop()
    state = run.state()
    assert state["status"] == "stopped"
    events = run.read_events()[0]
    assert max(event["step"] for event in events if event["kind"] == "train") < events[0]["total_steps"]
    assert 0 <= state["result"]["test_accuracy"] <= 1
    assert run.has_model() and run.scores()["test"]["n"] == 18
    assert "validation loss" in run.log_tail()


def test_a_run_that_never_began_is_discarded_and_any_other_kept(tmp_path: Path) -> None:
    unbegun, begun = (runs.create(TrainingConfig(), tmp_path / name) for name in ("unbegun", "begun"))
    log = EventLog(begun)
    log.add("begin", total_steps=3)
    log.close()
    for run in (unbegun, begun):
        runs.discard_unbegun(run)
    assert not unbegun.folder.exists() and begun.events_file.is_file()
