"""Where runs are kept: their folders, names and deletion, and which of them can go on."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from vit_demo.common.errors import UserError
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.runs import Run, create, find, list_runs

CONFIG = TrainingConfig(epochs=1)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(CONFIG, tmp_path / "run")


# Names and folders


def test_find_takes_the_name_of_a_run_and_nothing_else(home: Path, tmp_path: Path) -> None:
    (home / "runs").mkdir(parents=True)
    known = create(CONFIG)
    for place in (
        tmp_path / "outside",
        home / "runs" / ".hidden",
        home,
        home / "runs",
        known.folder / "inner",
    ):
        # There is something to find at the end of each bad name.
        place.mkdir(exist_ok=True)
        (place / "config.json").write_text(CONFIG.to_json())
    (home / "runs" / "empty").mkdir()
    assert find(known.id).folder == known.folder
    bad = [
        None,
        "",
        ".",
        "..",
        ".hidden",
        "../runs/" + known.id,
        "../../outside",
        str(tmp_path / "outside"),
        f"{known.id}/inner",
        f"{known.id}/",
        f"./{known.id}",
        f"{known.id}\\inner",
        f"{known.id}\n",
        f"{known.id}\0",
        "empty",
        "missing",
        "~",
        "*",
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
    assert [create(CONFIG).id for _ in range(3)] == [
        "20260102-030405",
        "20260102-030405-2",
        "20260102-030405-3",
    ]
    with ThreadPoolExecutor(8) as pool:
        together = [run.id for run in pool.map(lambda _: create(CONFIG), range(24))]
    assert len(set(together)) == 24
    assert len(list_runs()) == 27


def test_the_tenth_run_of_a_second_is_newer_than_the_second(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    bad = [
        outside.folder,
        home / "runs" / ".." / ".." / "outside",
        home / "runs",
        home,
        home / "runs" / inside.id / "..",
        home / "runs" / ".",
    ]
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


@pytest.mark.parametrize(
    ("status", "can"),
    [
        ("stopped", True),
        ("failed", True),
        ("training", True),
        ("scoring", True),
        ("waiting", True),
        ("finished", False),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_what_has_ended_unfinished_can_go_on(run: Run, status: str, can: bool, begun: bool) -> None:
    """Its process is gone, so one that says "training" was broken off. Without a checkpoint it goes on from
    its first step.
    """
    run.set_state(status=status, pid=2**22 + 1, pid_started=1.0)
    if begun:
        run.events_file.write_text('{"kind": "begin"}\n{"kind": "train", "step": 1}\n')
    assert run.can_resume() is can


def test_a_going_run_cannot_be_resumed(run: Run) -> None:
    run.claim()
    run.set_state(status="waiting")
    assert not run.can_resume()
