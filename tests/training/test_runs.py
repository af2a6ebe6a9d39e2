"""The folder of a run as the only bridge: states of dead workers, torn lines, names, and one run at a time."""

from __future__ import annotations

import json
import os
import shutil
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
from vit_demo.training.runs import EventLog, Run, create, find, list_runs

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
def test_a_process_id_used_again_is_not_the_worker_by_its_time(run: Run, shift: float) -> None:
    run.claim()
    run.set_state(status="training", pid_started=psutil.Process().create_time() + shift)
    assert run.state()["status"] == runs.BROKEN_OFF


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").is_file(), reason="only Linux tells its boot and the clock ticks since")
@pytest.mark.parametrize("change", [lambda boot, ticks: f"{boot} {int(ticks) + 1}", lambda boot, ticks: f"{boot[::-1]} {ticks}"])
def test_a_process_id_used_again_is_not_the_worker_by_its_ticks_or_its_boot(run: Run, change) -> None:
    run.claim()
    run.set_state(status="training")
    assert run.is_going()
    run.set_state(pid_started=change(*json.loads((run.folder / "state.json").read_text())["pid_started"].split()))
    assert run.state()["status"] == runs.BROKEN_OFF


def test_a_clock_that_was_set_does_not_break_a_run_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil's start time of a process moves with the clock; ours may not."""
    run.claim()
    run.set_state(status="training")
    if isinstance(run.state()["pid_started"], float):
        pytest.skip("this system tells the start of a process by the clock alone")
    from psutil import _pslinux

    boot = _pslinux.boot_time()
    monkeypatch.setattr(_pslinux, "boot_time", lambda: boot + 3600)
    assert abs(psutil.Process().create_time() - time.time()) > 3000 and run.is_going()


@pytest.mark.parametrize("pid", ["12", -1, 0, True, 2**70, 1.5, [1]])
@pytest.mark.parametrize("started", [None, "x", 1.0])
def test_a_process_id_that_makes_no_sense_is_no_worker(run: Run, pid: object, started: object) -> None:
    run.set_state(status="training", pid=pid, pid_started=started)
    assert run.state()["status"] == runs.BROKEN_OFF


def test_a_last_word_said_between_reading_and_looking_counts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker writes "finished" and is gone; a reader with the state from before must not say broken off."""
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
    assert run.state()["status"] == runs.BROKEN_OFF
    child.wait()


@pytest.mark.parametrize(("age", "status"), [
    (0, "starting"), (-2, "starting"), (runs.START_SECONDS - 5, "starting"), (runs.START_SECONDS + 5, runs.BROKEN_OFF),
    (-3600, runs.BROKEN_OFF),  # the clock was set back since
])
def test_a_worker_that_never_came_up(run: Run, age: float, status: str) -> None:
    (run.folder / "state.json").write_text(json.dumps({"status": "starting", "changed": time.time() - age}))
    assert run.state()["status"] == status


@pytest.mark.parametrize("status", runs.ENDED)
def test_an_ended_run_stays_what_it_said(run: Run, status: str) -> None:
    run.set_state(status=status, message="so it is", pid=2**22 + 1, pid_started=1.0)
    assert run.state()["status"] == status and run.state()["message"] == "so it is"
    assert not run.is_going()


@pytest.mark.parametrize("text", [
    None, "", '{"status": "trai', "[]", "7", "{}", '{"status": 3}', '{"status": "dreaming"}', '{"status": "training", "changed": "now"}',
])
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


def test_only_events_are_taken_for_events(run: Run) -> None:
    run.events_file.write_bytes(b'12\n[1]\n"kind"\nnull\n{"step": 4}\n{"kind": "train", "step": 5}\n')
    assert [event["step"] for event in run.read_events()[0]] == [5]


def test_what_follows_a_torn_last_line_is_not_lost(run: Run) -> None:
    """A run that was killed while it wrote a line, and then goes on."""
    line = json.dumps({"kind": "train", "step": 2, "note": "naïve"}, ensure_ascii=False).encode()
    for cut in range(1, len(line)):  # also in the middle of a character
        run.events_file.write_bytes(b'{"kind": "train", "step": 1}\n' + line[:cut])
        log = EventLog(run)
        log.add("train", step=3)
        log.close()
        assert [event["step"] for event in run.read_events()[0]] == [1, 3], cut


def test_a_whole_last_line_gets_no_empty_one_behind_it(run: Run) -> None:
    for step in (1, 2):
        log = EventLog(run)
        log.add("train", step=step)
        log.close()
    assert run.events_file.read_bytes().count(b"\n") == 2


# A full disk: a limit on the size of files, set by the system, in a process of its own

FULL = """
import json, resource, signal, sys
from vit_demo.training.runs import EventLog, Run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = Run(sys.argv[1])
limit = lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
"""


def on_a_full_disk(run: Run, code: str) -> str:
    pytest.importorskip("resource", reason="this system cannot limit the size of files")
    done = subprocess.run([sys.executable, "-c", FULL + code, str(run.folder)], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_events_that_a_full_disk_does_not_take_come_later_with_a_warning(run: Run) -> None:
    on_a_full_disk(run, """
log = EventLog(run)
log.add("train", step=1)
limit(run.events_file.stat().st_size + 20)  # in the middle of the next line
for step in range(2, 50):
    log.add("train", step=step)
assert run.events_file.stat().st_size < 100
limit(resource.RLIM_INFINITY)
log.add("train", step=50)
assert run.events_file.read_bytes().endswith(b"\\n")
log.close()
""")
    events = run.read_events()[0]
    assert [event["step"] for event in events if event["kind"] == "train"] == list(range(1, 51))
    warnings = [event["message"] for event in events if event["kind"] == "warning"]
    assert len(warnings) == 1 and "could not be written for a while" in warnings[0] and "The run went on" in warnings[0]


def test_a_disk_that_stays_full_ends_the_record_but_not_the_run(run: Run) -> None:
    assert on_a_full_disk(run, """
log = EventLog(run)
log.add("train", step=1)
limit(run.events_file.stat().st_size + 20)
log.add("train", step=2)
log.close()
print("went on")
""") == "went on\n"
    assert [event["step"] for event in run.read_events()[0]] == [1]


def test_a_full_disk_leaves_the_state_whole_and_it_is_written_later(run: Run) -> None:
    said = on_a_full_disk(run, """
run.claim()
run.set_state(status="training", done=1, total=9)
limit(30)
run.set_state(done=2, message="x" * 1000)
run.set_state(status="finished", result={"test_accuracy": 0.9})
print(Run(run.folder).state()["status"], Run(run.folder).state()["done"], run.settle(0.3, every=0.1))
limit(resource.RLIM_INFINITY)
print(run.settle(5, every=0.1))
""")
    assert said.split() == ["training", "1", "False", "True"]
    state = run.state()
    assert (state["status"], state["done"], state["message"][:2], state["result"]) == ("finished", 2, "xx", {"test_accuracy": 0.9})
    assert sorted(path.name for path in run.folder.iterdir()) == ["config.json", "state.json"]


def test_a_run_that_does_not_fit_on_the_disk_leaves_nothing(home: Path) -> None:
    pytest.importorskip("resource")
    code = """
from vit_demo.errors import UserError
from vit_demo.training.config import TrainingConfig
from vit_demo.training.runs import create
limit(100)
try:
    create(TrainingConfig())
except UserError as error:
    print(error)
"""
    assert "cannot be written" in on_a_full_disk(Run(home), code)
    assert list((home / "runs").iterdir()) == []


def test_a_folder_that_was_deleted_ends_the_run(run: Run) -> None:
    shutil.rmtree(run.folder)
    with pytest.raises(UserError, match="was deleted"):
        run.set_state(done=3)
    assert not run.settle(0.2, every=0.1) and not run.folder.exists()
    run.request_stop()
    assert not run.folder.exists()


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


def test_the_tenth_run_of_a_second_is_newer_than_the_second(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freeze(monkeypatch, 5)
    made = [create(CONFIG).id for _ in range(12)]
    assert [run.id for run in list_runs()] == made[::-1]


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
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_create_knows_no_home_of_nobody() -> None:
    with pytest.raises(UserError, match="home folder"):
        create(CONFIG, "~nobody-of-this-name/run")


def test_a_run_that_never_began_is_discarded_and_any_other_kept(tmp_path: Path) -> None:
    unbegun, begun = (runs.create(TrainingConfig(), tmp_path / name) for name in ("unbegun", "begun"))
    log = EventLog(begun)
    log.add("begin", total_steps=3)
    log.close()
    for run in (unbegun, begun):
        runs.discard_unbegun(run)
    assert not unbegun.folder.exists() and begun.events_file.is_file()


def test_whether_a_run_began_is_known_without_reading_a_long_record(tmp_path: Path) -> None:
    run = runs.create(TrainingConfig(), tmp_path / "run")
    assert not run.has_begun()
    log = EventLog(run)
    log.add("warning", message="2 photos cannot be read", paths=["a photo called train"] * 100)
    assert not run.has_begun()
    log.add("begin", total_steps=3)
    for step in range(20_000):
        log.add("train", step=step, loss=1.0)
    log.close()
    begin = time.perf_counter()
    assert run.has_begun() and time.perf_counter() - begin < 0.1


# Names, export, deletion


def test_a_name_is_for_people_and_the_id_stays(home: Path) -> None:
    run = create(CONFIG)
    assert run.name == run.id and run.experiment == ""
    run.rename("  rust,\n small\tphotos \u202e ")
    assert find(run.id).name == "rust, small photos" and find(run.id).id == run.id
    run.set_meta(experiment="e1")
    run.rename("ß" * runs.NAME_LENGTH)
    assert find(run.id).name == "ß" * runs.NAME_LENGTH and find(run.id).experiment == "e1"
    with pytest.raises(UserError, match="at most 80"):
        run.rename("x" * 81)
    run.rename(" ")
    assert find(run.id).name == run.id


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": 3, "experiment": null}', '{"name": ["a"]}'])
def test_a_broken_meta_file_is_no_name(run: Run, text: str) -> None:
    (run.folder / "meta.json").write_text(text)
    assert run.name == run.id and run.experiment == ""
    run.rename("mended")
    assert run.name == "mended"


def test_export_holds_the_settings_and_the_command_that_repeats_them(run: Run) -> None:
    run.rename("mine")
    exported = json.loads(run.export())
    assert TrainingConfig.from_json(json.dumps(exported["config"])) == CONFIG
    assert exported["command"] == CONFIG.command() and exported["name"] == "mine" and exported["id"] == run.id


def test_delete_takes_the_whole_folder_and_no_other(home: Path) -> None:
    first, second = create(CONFIG), create(CONFIG)
    for run in (first, second):
        run.set_state(status="finished")
        (run.folder / "model" / "deep").mkdir(parents=True)
        (run.folder / "model" / "deep" / "file").write_text("x")
    runs.delete(first)
    assert find(first.id) is None and find(second.id) is not None
    assert [path.name for path in (home / "runs").iterdir() if not path.name.endswith(".lock")] == [second.id]
    with pytest.raises(UserError, match="There is no run"):
        runs.delete(first)


@pytest.mark.parametrize("status", runs.GOING)
def test_a_going_run_is_not_deleted(home: Path, status: str) -> None:
    run = create(CONFIG)
    run.claim()
    run.set_state(status=status)
    with pytest.raises(UserError, match="still going"):
        runs.delete(run)
    assert find(run.id) is not None


def test_delete_reaches_nothing_outside_the_home_folder(home: Path, tmp_path: Path) -> None:
    inside = create(CONFIG)
    outside = create(CONFIG, tmp_path / "outside")
    for run in (inside, outside):
        run.set_state(status="finished")
    bad = [outside.folder, home / "runs" / ".." / ".." / "outside", home / "runs", home, home / "runs" / inside.id / "..", home / "runs" / "."]
    for folder in bad:
        with pytest.raises(UserError, match="There is no run"):
            runs.delete(Run(folder))
    link = home / "runs" / "link"
    link.symlink_to(outside.folder)
    runs.delete(Run(link))
    assert not link.is_symlink() and outside.folder.is_dir() and inside.folder.is_dir()


def test_what_a_killed_worker_left_is_swept_and_a_living_one_is_left_alone(home: Path) -> None:
    dead, living = create(CONFIG), create(CONFIG)
    dead.set_state(status="training", pid=2**22 + 1, pid_started=1.0)
    living.claim()
    living.set_state(status="training")
    for run in (dead, living):
        (run.folder / "photos-abc").mkdir()
        (run.folder / "photos-abc" / "train.npy").write_bytes(b"x")
        (run.folder / "state.json.77.new").write_text("{")
        (run.folder / "model.new").mkdir()
        (run.folder / "model").mkdir()
    (home / "runs" / ".deleted-x-1").mkdir()
    runs.sweep()
    assert sorted(path.name for path in dead.folder.iterdir()) == ["config.json", "model", "state.json"]
    assert len(list(living.folder.iterdir())) == 6
    assert not (home / "runs" / ".deleted-x-1").exists()


@pytest.mark.parametrize(("status", "begun", "checkpoint", "can"), [
    ("stopped", True, True, True), ("failed", True, True, True), ("training", True, True, True), ("training", True, False, False),
    ("failed", False, False, True), ("stopped", False, False, True), ("waiting", False, False, True), ("finished", True, True, False),
    ("stopped", True, False, False),
])
def test_what_can_go_on(run: Run, status: str, begun: bool, checkpoint: bool, can: bool) -> None:
    """Its process is gone, so one that says "training" was broken off."""
    run.set_state(status=status, pid=2**22 + 1, pid_started=1.0)
    if begun:
        run.events_file.write_text('{"kind": "begin"}\n{"kind": "train", "step": 1}\n')
    if checkpoint:
        (run.folder / "checkpoint").mkdir()
        (run.folder / "checkpoint" / "checkpoint.json").write_text('{"step": 1}')
    assert run.can_resume() is can


def test_a_going_run_cannot_be_resumed(run: Run) -> None:
    run.claim()
    run.set_state(status="waiting")
    assert not run.can_resume()
