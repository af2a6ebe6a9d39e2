"""Where a run can go on from: everything that the next step needs, in one folder that is replaced as a whole.

checkpoint/checkpoint.json     the step and the other numbers; written last
           weights.safetensors, optimizer.safetensors, best.safetensors, average.safetensors

All that is random in a step is drawn from its own number (see training/loop/steps.py), so there is no
random state to keep. Trainer's own checkpoints are folders trainer/checkpoint-N, of which this module
knows which are whole. It imports torch only where it reads or writes weights.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vit_demo.common.atomic import read_object
from vit_demo.training.run.runs import Run

if TYPE_CHECKING:
    import torch

FOLDER, NEW, OLD = "checkpoint", "checkpoint.new", "checkpoint.old"
NUMBERS = "checkpoint.json"
TRAINER = "trainer"
TRAINER_STATE = "trainer_state.json"


@dataclass
class Checkpoint:
    """step: the last one that was done. best_loss, best_step: of the best validation so far. since_best:
    evaluations without a better one. seconds: spent on the run up to here, over all its sittings. weights,
    best, average: tensors by name. optimizer: AdamW's moments, as "exp_avg.NAME" and "exp_avg_sq.NAME".
    """

    step: int
    best_loss: float | None = None
    best_step: int = 0
    since_best: int = 0
    seconds: float = 0.0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    optimizer: dict[str, torch.Tensor] = field(default_factory=dict)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    average: dict[str, torch.Tensor] = field(default_factory=dict)


PARTS = ("weights", "optimizer", "best", "average")


def exists(run: Run) -> bool:
    """Whether there is something to go on from, of our own steps or of Trainer."""
    return bool(_folders(run)) or newest_of_trainer(run.folder / TRAINER) is not None


def save(run: Run, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint; the old one stays until the new one is whole on the disk.

    Raises OSError where it cannot be written; the old checkpoint is then as it was.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    new, now, old = (run.folder / name for name in (NEW, FOLDER, OLD))
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        for part in PARTS:
            if tensors := getattr(checkpoint, part):
                save_file(
                    {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                    new / f"{part}.safetensors",
                )
        numbers = {name: value for name, value in vars(checkpoint).items() if name not in PARTS}
        (new / NUMBERS).write_text(json.dumps(numbers), encoding="utf-8")
        for file in new.iterdir():
            _flush(file)
    except SafetensorError as error:  # what safetensors makes of a full disk
        shutil.rmtree(new, ignore_errors=True)
        raise OSError(str(error)) from error
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    if now.exists():
        os.replace(now, old)
    os.replace(new, now)
    shutil.rmtree(old, ignore_errors=True)


def load(run: Run) -> Checkpoint | None:
    """The run's checkpoint with its tensors on the CPU, or None where there is none that is whole."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for folder in _folders(run):
        try:
            numbers = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
            tensors: dict[str, Any] = {
                part: load_file(folder / f"{part}.safetensors")
                for part in PARTS
                if (folder / f"{part}.safetensors").is_file()
            }
            return Checkpoint(**numbers, **tensors)
        except (OSError, ValueError, TypeError, SafetensorError):
            continue
    return None


def remove(run: Run) -> None:
    """When the run is finished: there is nothing left to go on with."""
    for name in (FOLDER, NEW, OLD):
        shutil.rmtree(run.folder / name, ignore_errors=True)


def newest_of_trainer(folder: Path) -> Path | None:
    """The newest whole one of the checkpoints that Trainer keeps in this folder."""
    found = {step: path for path in folder.glob("checkpoint-*") if (step := step_of(path))}
    return next((found[step] for step in sorted(found, reverse=True) if _is_whole(found[step], step)), None)


def step_of(checkpoint: str | os.PathLike[str] | None) -> int:
    """Of a checkpoint of Trainer's: 100 for ".../checkpoint-100", 0 for what has no such name."""
    number = Path(checkpoint).name.removeprefix("checkpoint-") if checkpoint else ""
    return int(number) if number.isdecimal() else 0


def _is_whole(checkpoint: Path, step: int) -> bool:
    return read_object(checkpoint / TRAINER_STATE).get("global_step") == step  # Trainer writes this file last


def _folders(run: Run) -> list[Path]:
    """The whole ones, the newest first: between the two renames of :func:`save` only the old one is there."""
    return [run.folder / name for name in (FOLDER, OLD) if (run.folder / name / NUMBERS).is_file()]


def _flush(file: Path) -> None:
    """To the disk itself, so that a power cut after the rename does not leave an empty file under the good
    name.
    """
    with open(file, "rb+") as handle:
        os.fsync(handle.fileno())
