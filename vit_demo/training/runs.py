"""The record of a run: a folder that is the only bridge between the page and the worker.

runs/<id>/config.json      the settings, written once
          state.json       where it stands, replaced atomically by the worker
          events.jsonl     what happened, one JSON object a line, only ever appended
          stop             present when someone asked the worker to end
          worker.log       what the worker printed
          model/           the finished model with scores.json and README.md

This module is light: it imports neither torch nor transformers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil
from filelock import FileLock

from vit_demo import settings
from vit_demo.errors import UserError
from vit_demo.training.config import TrainingConfig

GOING = ("starting", "preparing", "training", "scoring")
ENDED = ("finished", "stopped", "failed")
BROKEN_OFF = "broken off"
# Folders of prepared photos inside a run's folder, while it trains.
SCRATCH_PREFIX = "photos-"
# A worker that has not said its process id after this many seconds never came up.
START_SECONDS = 60


class Run:
    """One run, read from its folder; holds nothing in memory."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"

    @property
    def events_file(self) -> Path:
        return self.folder / "events.jsonl"

    def config(self) -> TrainingConfig:
        return TrainingConfig.from_json((self.folder / "config.json").read_text(encoding="utf-8"))

    def state(self) -> dict:
        """The worker's last word, with ``status`` put right where the worker is gone without one."""
        try:
            state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            state = {"status": "starting", "changed": 0.0}
        if state.get("status") in GOING and not _alive(state):
            state["status"] = BROKEN_OFF
            state["message"] = "The run was broken off: its process is gone."
        return state

    def is_going(self) -> bool:
        return self.state()["status"] in GOING

    def has_model(self) -> bool:
        return (self.model_folder / "config.json").is_file()

    def scores(self) -> dict:
        """What the finished model reached, {} before that."""
        try:
            return json.loads((self.model_folder / "scores.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def read_events(self, offset: int = 0) -> tuple[list[dict], int]:
        """Events from a byte offset on, and the offset to go on from; a line still being written waits."""
        try:
            with open(self.events_file, "rb") as file:
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            return [], offset
        end = data.rfind(b"\n") + 1
        events = []
        for line in data[:end].splitlines():
            try:
                events.append(json.loads(line))
            except ValueError:  # torn by a crash, then appended to
                continue
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
        """Ask the worker to end after the step it is at."""
        (self.folder / "stop").touch()

    def stop_requested(self) -> bool:
        return (self.folder / "stop").exists()

    # Written by the worker alone.

    def set_state(self, **changes) -> None:
        """Change some fields of state.json; a reader sees the old file or the new one, never a half."""
        try:
            state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            state = {}
        state.update(changes, changed=time.time())
        write_atomically(self.folder / "state.json", json.dumps(state))

    def claim(self) -> None:
        """Put down this process as the worker, with its start time, since process ids are used again."""
        process = psutil.Process()
        self.set_state(pid=process.pid, pid_started=process.create_time(), started=time.time())


class EventLog:
    """The worker's append-only writer of events.jsonl."""

    def __init__(self, run: Run):
        self._file = open(run.events_file, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def add(self, kind: str, **values) -> None:
        """Append one event; it reaches the file before this returns."""
        self._file.write(json.dumps({"kind": kind, "time": round(time.time(), 3), **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)


def create(config: TrainingConfig, folder: str | Path | None = None) -> Run:
    """Make the folder of a new run; by default under the home folder, named after the time."""
    try:
        folder = _free_folder(settings.load().runs) if folder is None else _full(Path(folder))
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"The folder {folder} is not empty. Give a new one, so that nothing is overwritten.")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(config.to_json(), encoding="utf-8")
    except OSError as error:
        raise UserError(f"The folder {folder or settings.load().runs} cannot be written ({error.strerror}). Give another one.") from None
    run = Run(folder)
    run.set_state(status="starting", created=time.time())
    return run


def _full(folder: Path) -> Path:
    try:
        return folder.expanduser().resolve()
    except RuntimeError:  # ~name of nobody on this computer
        raise UserError(f"There is no home folder for {folder}. Give another folder.") from None


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
    raise UserError("Too many runs were started in this second. Try again.")


def find(run_id: str | None) -> Run | None:
    """The run of this id under the home folder, or None; an id is a plain name, never a path."""
    if not run_id or not re.fullmatch(r"[\w.-]+", run_id) or run_id.startswith("."):
        return None
    folder = settings.load().runs / run_id
    return Run(folder) if (folder / "config.json").is_file() else None


def list_runs() -> list[Run]:
    """All runs under the home folder, the newest first."""
    folders = (file.parent for file in settings.load().runs.glob("*/config.json"))
    return [Run(folder) for folder in sorted(folders, key=lambda folder: folder.name, reverse=True)]


def launch(config: TrainingConfig) -> Run:
    """Start a run in a process of its own that outlives this one; one at a time.

    Raises UserError while another run is going.
    """
    runs = settings.load().runs
    try:
        runs.mkdir(parents=True, exist_ok=True)
        # Two clicks, or two servers on one home folder, must not both find the machine free.
        with FileLock(runs / ".launch.lock", timeout=30):
            going = next((run for run in list_runs() if run.is_going()), None)
            if going is not None:
                raise UserError(f"The run {going.id} is still going. Wait until it ends, or stop it first.")
            for run in list_runs():
                _remove_leftovers(run)
            run = create(config)
            _spawn(run)
    except OSError as error:  # also the lock's Timeout
        raise UserError(f"No run could be started in {runs} ({error.strerror or error}). Check the folder and try again.") from error
    return run


def discard_unbegun(run: Run) -> None:
    """Remove the folder of a run that failed before its first step; anything later is kept."""
    events, _ = run.read_events()
    if not run.has_model() and not any(event["kind"] == "begin" for event in events):
        shutil.rmtree(run.folder, ignore_errors=True)


def _remove_leftovers(run: Run) -> None:
    """Remove the prepared photos that a killed worker could not remove itself."""
    for folder in run.folder.glob(f"{SCRATCH_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _spawn(run: Run) -> None:
    windows = os.name == "nt"
    detached = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS} if windows else {"start_new_session": True}
    with open(run.folder / "worker.log", "ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "vit_demo.training.worker", str(run.folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=settings.PACKAGE.parent, close_fds=True, **detached,
        )


def _alive(state: dict) -> bool:
    """Whether the process that claimed the run still is that process."""
    if state.get("pid") is None:
        return time.time() - state.get("changed", 0.0) < START_SECONDS
    try:
        process = psutil.Process(state["pid"])
        return abs(process.create_time() - state["pid_started"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
