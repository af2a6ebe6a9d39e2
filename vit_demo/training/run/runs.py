"""The record of a run: a folder that is the only bridge between the page and the worker.

runs/<id>/config.json      the settings, written once
          meta.json        its name and its experiment, where it has them
          state.json       where it stands, replaced atomically by the worker
          events.jsonl     what happened, one JSON object a line, only ever appended (events.py)
          stop             present when someone asked the worker to end
          checkpoint/      what a run that was broken off or stopped goes on from
          film/            where the model looked while it learned
          similar.safetensors  small pictures of train photos, for "it looks like these"
          worker.log       what the worker printed
          model/           the finished model with scores.json and README.md

How a run comes to its worker is in queue.py. This module is light: it imports neither torch
nor transformers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from vit_demo import __version__
from vit_demo.common import settings
from vit_demo.common.atomic import read_object, write_atomically
from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.data.names import BEANS, names_former_sample, refuse_former_sample
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.identity import birth, lives
from vit_demo.training.run.notes import kept
from vit_demo.training.run.status import ENDED, GOING, RunStatus

# Folders of prepared photos inside a run's folder, while it trains.
SCRATCH_PREFIX = "photos-"
# What a killed process leaves half done in a run's folder.
LEFTOVERS = (
    f"{SCRATCH_PREFIX}*",
    "*.json.*.new",
    "*.safetensors.new",
    "*.safetensors.*.new",
    "model.new",
    "model.old",
)
# A worker that has not said its process id after this many seconds never came up.
START_SECONDS = 60
NAME_LENGTH = 80
# What is said of a run whose photos were those of earlier versions of the program.
ON_DRAWINGS = Sentence("error.training.on_drawings", {"beans": BEANS})
# In so many bytes of the record stands whether a run began.
BEGINNING = 2**18


class Run:
    """One run, read from its folder; a reader holds nothing in memory."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        # Of the worker alone: a signal to end, and what a full disk did not take yet.
        self.told_to_stop = False
        self._unsaved: dict[str, Any] = {}

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def name(self) -> str:
        """What a person called it, else its id."""
        return self._meta().get("name") or self.id

    @property
    def experiment(self) -> str:
        """The id that the runs of one experiment share, or nothing."""
        return self._meta().get("experiment") or ""

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"

    @property
    def events_file(self) -> Path:
        return self.folder / "events.jsonl"

    def config(self) -> TrainingConfig:
        try:
            return TrainingConfig.from_json((self.folder / "config.json").read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError("error.training.settings_unread", run=self.id, reason=error.strerror) from None

    def state(self) -> dict[str, Any]:
        """The worker's last word, with ``status`` put right where the worker is gone without one."""
        state = self._read_state()
        while state["status"] in GOING and not _alive(state):
            # The last word may have come after the reading and before the look at the process.
            last = self._read_state()
            if last == state:
                gone = Sentence(
                    "train.record.broken_off_waiting"
                    if state["status"] == RunStatus.WAITING
                    else "train.record.broken_off"
                )
                return {**state, "status": RunStatus.BROKEN_OFF, **kept(gone)}
            state = last
        return state

    def is_going(self) -> bool:
        return self.state()["status"] in GOING

    def can_resume(self) -> bool:
        """Whether it ended before it was finished. It then goes on from its checkpoint or, where there is
        none yet, from its first step.
        """
        return self.state()["status"] not in (*GOING, RunStatus.FINISHED) and not self.learned_from_drawings()

    def learned_from_drawings(self) -> bool:
        """Whether its photos were the drawings of leaves that came with earlier versions of the program."""
        try:
            config = self.config()
        except UserError:
            return False
        return names_former_sample(config.data) or names_former_sample(config.extra_data)

    def has_begun(self) -> bool:
        """Whether a step was taken or a model is there."""
        try:
            with open(self.events_file, "rb") as file:
                # "begin" comes before the first step; the whole of a long record would take too long.
                lines = file.read(BEGINNING).split(b"\n")
        except OSError:
            lines = []
        return self.has_model() or any(
            b'"kind": "begin"' in line or b'"kind": "train"' in line for line in lines[:-1]
        )

    def has_model(self) -> bool:
        return (self.model_folder / "config.json").is_file()

    def scores(self) -> dict[str, Any]:
        """What the finished model reached, {} before that."""
        return read_object(self.model_folder / "scores.json")

    def read_events(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Events from a byte offset on, and the offset to go on from; a line still being written waits."""
        try:
            with open(self.events_file, "rb") as file:
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            return [], offset
        end = data.rfind(b"\n") + 1
        events = []
        for line in data[:end].split(b"\n"):
            try:
                event = json.loads(line)
            except ValueError:  # torn by a crash
                continue
            if isinstance(event, dict) and "kind" in event:
                events.append(event)
        return events, offset + end

    def log_tail(self, lines: int = 12) -> str:
        """The last lines that the worker printed."""
        try:
            with open(self.folder / "worker.log", "rb") as file:
                file.seek(max(0, os.path.getsize(file.name) - 8192))
                return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
        except OSError:
            return ""

    def request_stop(self) -> None:
        """Ask the worker to end after the step it is at, or to leave the queue."""
        try:
            (self.folder / "stop").touch()
        except FileNotFoundError:
            pass  # deleted meanwhile
        except OSError as error:
            raise UserError("error.training.not_told_to_stop", run=self.name, reason=error.strerror) from None

    def stop_requested(self) -> bool:
        return self.told_to_stop or (self.folder / "stop").exists()

    def rename(self, text: str) -> None:
        """Give it a name for people; an empty one takes it away. Its id and folder stay."""
        name = " ".join("".join(character if character.isprintable() else " " for character in text).split())
        if len(name) > NAME_LENGTH:
            raise UserError("error.training.long_name", most=NAME_LENGTH)
        self.set_meta(name=name)

    def set_meta(self, **changes: str) -> None:
        """Change some fields of meta.json."""
        try:
            write_atomically(self.folder / "meta.json", json.dumps({**self._meta(), **changes}))
        except OSError as error:
            raise UserError("error.training.name_unwritten", run=self.id, reason=error.strerror) from None

    def export(self) -> str:
        """Its settings and the command line that repeats it, as one JSON object."""
        config = self.config()
        values = {"id": self.id, "name": self.name, "experiment": self.experiment, "version": __version__}
        note = {"note": kept(ON_DRAWINGS)["message"]} if self.learned_from_drawings() else {}
        return json.dumps(
            {**values, **note, "command": config.command(), "config": dataclasses.asdict(config)}, indent=2
        )

    def _meta(self) -> dict[str, str]:
        return {
            key: value
            for key, value in read_object(self.folder / "meta.json").items()
            if isinstance(value, str)
        }

    def _read_state(self) -> dict[str, Any]:
        state = read_object(self.folder / "state.json")
        return (
            state
            if state.get("status") in (*GOING, *ENDED)
            else {"status": RunStatus.STARTING, "changed": 0.0}
        )

    # Written by the worker, and before it is there by whoever starts it.

    def put_state(self, **values: Any) -> None:
        """A new state.json in place of the old one; OSError where it cannot be written."""
        write_atomically(
            self.folder / "state.json", json.dumps({**values, "changed": time.time()}), durable=True
        )

    def set_state(self, **changes: Any) -> None:
        """Change some fields of state.json; a reader sees the old file or the new one, never a half.

        What a full disk does not take is written with the next change: it must not end a run. UserError
        where the folder is gone.
        """
        self._unsaved |= changes
        state = read_object(self.folder / "state.json")
        # Only what a power cut must not undo is worth waiting for the disk.
        durable = self._unsaved.get("status", state.get("status")) != state.get("status")
        try:
            write_atomically(
                self.folder / "state.json",
                json.dumps({**state, **self._unsaved, "changed": time.time()}),
                durable=durable,
            )
        except FileNotFoundError:
            raise UserError("error.training.folder_deleted") from None
        except OSError:
            return
        self._unsaved = {}

    def settle(self, seconds: float, every: float = 1.0) -> bool:
        """Try for so long to write what a full disk did not take; whether nothing is left."""
        end = time.monotonic() + seconds
        while self._unsaved:
            with contextlib.suppress(UserError):
                self.set_state()
            if not self._unsaved or time.monotonic() >= end or not self.folder.is_dir():
                break
            time.sleep(every)
        return not self._unsaved

    def claim(self) -> None:
        """Put down this process as the worker, with its birth, since process ids are used again."""
        self.set_state(pid=os.getpid(), pid_started=birth(os.getpid()), started=time.time())


def create(config: TrainingConfig, folder: str | Path | None = None) -> Run:
    """Make the folder of a new run; by default under the home folder, named after the time."""
    for source in (config.data, config.extra_data):
        refuse_former_sample(source)
    own = folder is None
    try:
        folder = _free_folder(settings.load().runs) if folder is None else _full(Path(folder))
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError("error.training.folder_not_empty", folder=str(folder))
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(folder)
        # The settings come last: with them it is a run, and must have a state.
        run.put_state(status=RunStatus.STARTING, created=time.time())
        write_atomically(folder / "config.json", config.to_json(), durable=True)
    except OSError as error:
        if own and folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise UserError(
            "error.training.folder_unwritten",
            folder=str(folder or settings.load().runs),
            reason=error.strerror,
        ) from None
    return run


def _full(folder: Path) -> Path:
    try:
        return folder.expanduser().resolve()
    except RuntimeError:  # ~name of nobody on this computer
        raise UserError("error.training.no_home", folder=str(folder)) from None


def _free_folder(runs: Path) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    runs.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        folder = runs / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir()  # fails if another process took the name
            return folder
        except FileExistsError:
            continue
    raise UserError("error.training.too_many")


def find(run_id: str | None) -> Run | None:
    """The run of this id under the home folder, or None; an id is a plain name, never a path."""
    if not run_id or not re.fullmatch(r"[\w.-]+", run_id) or run_id.startswith("."):
        return None
    folder = settings.load().runs / run_id
    return Run(folder) if (folder / "config.json").is_file() else None


def list_runs() -> list[Run]:
    """All runs under the home folder, the newest first."""
    folders = (file.parent for file in settings.load().runs.glob("[!.]*/config.json"))
    # So that -10 of the same second comes after -2.
    return [
        Run(folder)
        for folder in sorted(
            folders,
            key=lambda folder: re.sub(r"\d+", lambda digits: digits[0].zfill(20), folder.name),
            reverse=True,
        )
    ]


def discard_unbegun(run: Run) -> None:
    """Remove the folder of a run that failed before its first step; anything later is kept."""
    if not run.has_begun():
        shutil.rmtree(run.folder, ignore_errors=True)


def delete(run: Run) -> None:
    """Remove a run of the home folder with all that is in it; UserError while it is going."""
    found = find(run.id)
    if found is None or found.folder != run.folder:
        raise UserError("error.training.not_listed", run=run.id)
    with changing_runs():
        if run.is_going():
            raise UserError("error.training.going_stop_first", run=run.name)
        if run.folder.is_symlink():
            run.folder.unlink()
            return
        gone = run.folder.with_name(f".deleted-{run.id}-{os.getpid()}")
        try:
            # In one move, so that a reader never finds half a run.
            os.replace(run.folder, gone)
        except OSError as error:
            raise UserError("error.training.not_deleted", run=run.name, reason=error.strerror) from None
        shutil.rmtree(gone, ignore_errors=True)


def clear_to_resume(run: Run) -> None:
    """Make an ended run ready to go on; UserError where that cannot be. Under the lock of changing_runs()."""
    status = run.state()["status"]
    if status in GOING:
        raise UserError("error.training.still_going", run=run.name)
    if run.learned_from_drawings():
        raise UserError(ON_DRAWINGS.key, **ON_DRAWINGS.values)
    if status == RunStatus.FINISHED:
        raise UserError("error.training.already_finished", run=run.name)
    remove_leftovers(run)
    try:
        (run.folder / "stop").unlink(missing_ok=True)
    except OSError as error:
        raise UserError("error.training.run_unwritten", run=run.name, reason=error.strerror) from None


def remove_leftovers(run: Run) -> None:
    """Remove what a killed worker could not remove itself: prepared photos and half-written files. Not while
    it is going.
    """
    for pattern in LEFTOVERS:
        for path in run.folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def sweep() -> None:
    """Remove the leftovers of all runs that are over, and of deleting that was broken off."""
    for run in list_runs():
        if any(next(run.folder.glob(pattern), None) for pattern in LEFTOVERS) and not run.is_going():
            remove_leftovers(run)
    for folder in settings.load().runs.glob(".deleted-*"):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def changing_runs() -> Iterator[None]:
    """Held while runs are started or deleted: two clicks, or two servers on one home folder, come one after
    the other.
    """
    runs = settings.load().runs
    try:
        runs.mkdir(parents=True, exist_ok=True)
        lock = FileLock(runs / ".launch.lock", timeout=30)
        lock.acquire()
    except OSError as error:  # also the lock's Timeout
        raise UserError(
            "error.training.not_changed", folder=str(runs), reason=error.strerror or str(error)
        ) from error
    try:
        yield
    finally:
        lock.release()


def _alive(state: dict[str, Any]) -> bool:
    """Whether the process that claimed the run still is that process."""
    if state.get("pid") is not None:
        return lives(state["pid"], state.get("pid_started"))
    changed = state.get("changed")
    # Later than now, as after the clock was set back, is no sign of life; a little is, since clocks are
    # nudged.
    return isinstance(changed, (int, float)) and -5 < time.time() - changed < START_SECONDS
