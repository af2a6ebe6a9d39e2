"""How a run comes to its turn: one at a time a device, in the order they were submitted, with no server
needed.

Each run has a process of its own from the start. While it waits it is light (no torch) and looks twice
a second whether a living run with a lower ticket still waits for the same device; when none does, it takes
the device's lock and holds it to its end. The system lets go of the lock when a process dies, however it
dies, so nothing has to be put right after a crash or a reboot.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vit_demo.common import settings
from vit_demo.common.atomic import read_object
from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.notes import kept
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import RunStatus

POLL_SECONDS = 0.5


def submit(config: TrainingConfig, *, name: str = "", experiment: str = "") -> Run:
    """A new run under the home folder, which starts when its device is free; a process of its own that
    outlives this one.

    Raises UserError where it cannot be started.
    """
    with runs.changing_runs():
        runs.sweep()
        run = runs.create(config)
        try:
            if experiment:
                run.set_meta(experiment=experiment)
            if name:
                run.rename(name)
            _enqueue(run)
        except (OSError, UserError) as error:
            shutil.rmtree(run.folder, ignore_errors=True)
            raise _refusal(error) from None
    return run


def resume(run: Run) -> Run:
    """Let a run that was stopped or broken off go on, from its checkpoint or from its first step, when its
    device is free.
    """
    with runs.changing_runs():
        runs.clear_to_resume(run)
        before = read_object(run.folder / "state.json")
        try:
            _enqueue(run)
        except (OSError, UserError) as error:
            with contextlib.suppress(OSError):
                run.put_state(**before)
            raise _refusal(error) from None
    return run


def again(run: Run, seed: int | None = None) -> Run:
    """Submit the same settings with another seed: by default the next one that no run with these settings has
    had.

    The new run belongs to the same experiment, if there is one.
    """
    config = run.config()
    if run.learned_from_drawings():
        raise UserError(runs.ON_DRAWINGS.key, **runs.ON_DRAWINGS.values)
    if seed is None:
        same = [run.config().seed for run in runs.list_runs() if _same_but_seed(run, config)]
        seed = max([config.seed, *same]) + 1
    name = "" if run.name == run.id else f"{re.sub(', seed [0-9]+$', '', run.name)}, seed {seed}"
    return submit(dataclasses.replace(config, seed=seed), name=name, experiment=run.experiment)


def place(run: Run) -> int:
    """How many runs have the device before this one, 0 for one that does not wait."""
    state = run.state()
    return state.get("place", 0) if state["status"] == RunStatus.WAITING else 0


def _same_but_seed(run: Run, config: TrainingConfig) -> bool:
    try:
        return dataclasses.replace(run.config(), seed=config.seed) == config
    except UserError:  # of another version of the program
        return False


def _refusal(error: OSError | UserError) -> UserError:
    if isinstance(error, UserError):
        return error
    return UserError("error.training.not_started", reason=error.strerror or str(error))


def _enqueue(run: Run) -> None:
    """Give the run the next ticket and its process. Under the lock of changing_runs()."""
    device = device_of(run.config())
    others = _States().read()
    ticket = 1 + max(
        (state["ticket"] for _, state in others if isinstance(state.get("ticket"), int)), default=0
    )
    before = sum(_waits_before(other, state, device, ticket) for other, state in others)
    created = read_object(run.folder / "state.json").get("created", time.time())
    run.put_state(
        status=RunStatus.WAITING,
        created=created,
        device=device,
        ticket=ticket,
        **_waiting(device, before + _is_taken(device)),
    )
    spawn(run)


def _waiting(device: str, before: int) -> dict[str, Any]:
    """What the state of a waiting run says of its place."""
    key = "train.record.waits_for_processor" if device == "cpu" else "train.record.waits_for_gpu"
    return {"place": before, **kept(Sentence(key, {"count": before}) if before else "")}


def _is_taken(device: str) -> bool:
    lock = device_lock(device)
    try:
        if not _take(lock):
            return True
        lock.release()
    except OSError:
        pass  # the worker will say what is wrong with it
    return False


def spawn(run: Run) -> None:
    """Start the run's worker, detached from this process."""
    detached: dict[str, Any]
    if sys.platform == "win32":
        detached = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    else:
        detached = {"start_new_session": True}
    with open(run.folder / "worker.log", "ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "vit_demo.training.worker", str(run.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=settings.PACKAGE.parent,
            close_fds=True,
            **detached,
        )


# In the worker


def wait_for_turn(run: Run) -> FileLock | None:
    """Wait until the run may have its device; returns the device's lock, held, and the run is then
    "starting".

    None where it was stopped, which its state then says, or deleted while it waited.
    """
    mine = read_object(run.folder / "state.json")
    device, ticket = mine.get("device", "cpu"), mine.get("ticket", 0)
    lock, states, said = device_lock(device), _States(), mine.get("place")
    while (run.folder / "config.json").is_file():
        if run.stop_requested():
            run.set_state(
                status=RunStatus.STOPPED, ended=time.time(), **kept(Sentence("train.record.out_of_queue"))
            )
            return None
        ahead = sum(_waits_before(other, state, device, ticket) for other, state in states.read())
        if not ahead and _take(lock):
            run.set_state(status=RunStatus.STARTING, place=0, **kept(""))
            with contextlib.suppress(UserError), runs.changing_runs():
                runs.sweep()
            return lock
        if said != ahead + 1:  # all those that wait, and the one that has the device
            said = ahead + 1
            run.set_state(**_waiting(device, said))
        time.sleep(POLL_SECONDS)
    return None


def lock_if_free(config: TrainingConfig) -> FileLock | None:
    """The device's lock for a run that does not wait, as on the command line, so that those in the queue wait
    for it.

    None where another run has the device, or there is no home folder: then it goes on beside it.
    """
    if not settings.load().runs.is_dir():
        return None
    lock = device_lock(device_of(config))
    try:
        return lock if _take(lock) else None
    except OSError:
        return None


def device_lock(device: str) -> FileLock:
    """The lock that a run holds while it has this device."""
    return FileLock(settings.load().runs / f".{device}.lock")


def _take(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
        return True
    except Timeout:
        return False


def _waits_before(run: Run, state: dict[str, Any], device: str, ticket: int) -> bool:
    if (
        state.get("status") != RunStatus.WAITING
        or state.get("device") != device
        or not isinstance(state.get("ticket"), int)
        or state["ticket"] >= ticket
    ):
        return False
    return bool(run.state()["status"] == RunStatus.WAITING)  # its process lives


class _States:
    """What stands in the state files of all runs; each is read again only when it is another file."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], dict[str, Any]]] = {}

    def read(self) -> list[tuple[Run, dict[str, Any]]]:
        known = {}
        for file in settings.load().runs.glob("[!.]*/state.json"):
            try:
                status = file.stat()
            except OSError:
                continue
            mark = (status.st_mtime_ns, status.st_ino)
            kept = self._known.get(file)
            known[file] = kept if kept and kept[0] == mark else (mark, read_object(file))
        self._known = known
        return [(Run(file.parent), state) for file, (_, state) in known.items()]


# Which device


def device_of(config: TrainingConfig) -> str:
    """The device a run will have: cuda, mps or cpu."""
    return config.device or best_device()


@functools.cache
def best_device() -> str:
    """What vit_demo.model.classifier.best_device says, without the seconds that importing torch takes: from
    torch's build and what is plugged in.
    """
    if platform.system() == "Darwin":
        return "mps" if platform.machine() == "arm64" else "cpu"
    build = _torch_build()
    if any(
        os.environ.get(name, "0") in ("", "-1") for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
    ):
        return "cpu"
    return (
        "cuda"
        if ("cuda" in build and _has_nvidia()) or ("hip" in build and Path("/dev/kfd").exists())
        else "cpu"
    )


def _torch_build() -> set[str]:
    """Which of cuda and hip the installed torch was built for."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return set()
    try:
        text = (Path(found.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return set()
    return set(re.findall(r"^(cuda|hip)\b[^=\n]*=\s*['\"]", text, re.MULTILINE))


def _has_nvidia() -> bool:
    if os.name == "nt":
        return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll").exists()
    # Under Windows' own Linux the GPU is not a device file of NVIDIA's.
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()
