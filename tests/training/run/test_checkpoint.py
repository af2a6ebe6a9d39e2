"""Checkpoints: replaced as a whole, whatever happens in the middle; and which of them are whole."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.training.conftest import full_disk
from vit_demo.training.run import checkpoint
from vit_demo.training.run.checkpoint import Checkpoint
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run, create


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(TrainingConfig(), tmp_path / "run")


def made(step: int) -> Checkpoint:
    """One that is told from others in each of its parts."""
    tensor = torch.full((64, 64), float(step))
    return Checkpoint(
        step,
        best_loss=1 / step,
        best_step=step - 1,
        since_best=2,
        seconds=7.5,
        weights={"a": tensor, "b": torch.tensor(step)},
        optimizer={"exp_avg.a": tensor + 1, "exp_avg_sq.a": tensor + 2},
        best={"a": tensor + 3},
        average={"a": tensor + 4},
    )


def same(found: Checkpoint | None, expected: Checkpoint) -> bool:
    """Whether both have the same numbers and the same tensors, bit for bit."""
    if found is None:
        return False
    for name, value in vars(expected).items():
        other = getattr(found, name)
        if name in checkpoint.PARTS:
            if other.keys() != value.keys() or not all(torch.equal(other[key], value[key]) for key in value):
                return False
        elif other != value:
            return False
    return True


def test_what_is_loaded_is_what_was_saved(run: Run) -> None:
    assert checkpoint.load(run) is None and not checkpoint.exists(run)
    for each in (made(3), made(4), Checkpoint(1), made(5)):
        checkpoint.save(run, each)
        assert checkpoint.exists(run) and same(checkpoint.load(run), each)
        assert [path.name for path in run.folder.iterdir() if path.name.startswith("checkpoint")] == [
            "checkpoint"
        ]
    checkpoint.remove(run)
    assert not checkpoint.exists(run) and sorted(path.name for path in run.folder.iterdir()) == [
        "config.json",
        "state.json",
    ]


# Torn


@pytest.fixture
def both(run: Run, tmp_path: Path) -> tuple[Path, Path]:
    """The run has the checkpoint of step 3; that of step 4 lies beside it."""
    checkpoint.save(run, made(4))
    later = shutil.copytree(run.folder / "checkpoint", tmp_path / "later")
    checkpoint.save(run, made(3))
    return run.folder, later


@pytest.mark.parametrize("files", [0, 1, 2, 3, 4])
def test_one_that_is_still_being_written_is_passed_over_and_later_replaced(
    run: Run, both: tuple[Path, Path], files: int
) -> None:
    folder, later = both
    (folder / "checkpoint.new").mkdir()
    for name in [f"{part}.safetensors" for part in checkpoint.PARTS][:files]:
        whole = (later / name).read_bytes()
        (folder / "checkpoint.new" / name).write_bytes(whole[: len(whole) // 2])
    assert same(checkpoint.load(run), made(3))
    checkpoint.save(run, made(5))
    assert same(checkpoint.load(run), made(5)) and not (folder / "checkpoint.new").exists()


def test_between_the_two_renames_the_old_one_counts(run: Run, both: tuple[Path, Path]) -> None:
    folder, later = both
    os.replace(folder / "checkpoint", folder / "checkpoint.old")
    shutil.copytree(later, folder / "checkpoint.new")
    assert checkpoint.exists(run) and same(checkpoint.load(run), made(3))
    # After the second one both are there.
    os.replace(folder / "checkpoint.new", folder / "checkpoint")
    assert same(checkpoint.load(run), made(4))
    checkpoint.save(run, made(5))
    assert same(checkpoint.load(run), made(5)) and not (folder / "checkpoint.old").exists()


@pytest.mark.parametrize(
    "name",
    [
        "weights.safetensors",
        "optimizer.safetensors",
        "best.safetensors",
        "average.safetensors",
        "checkpoint.json",
    ],
)
@pytest.mark.parametrize("keep", [0, 5, -3])
def test_a_file_that_is_cut_off_is_never_half_believed(
    run: Run, both: tuple[Path, Path], name: str, keep: int
) -> None:
    """What a failing disk may do: the older one counts where it is still there, else there is none."""
    folder, later = both
    os.replace(folder / "checkpoint", folder / "checkpoint.old")
    (later / name).write_bytes((later / name).read_bytes()[:keep])
    shutil.copytree(later, folder / "checkpoint")
    assert same(checkpoint.load(run), made(3))
    shutil.rmtree(folder / "checkpoint.old")
    assert checkpoint.load(run) is None


@pytest.mark.parametrize("numbers", ["", "{}", "[1]", '{"step": 3, "of a later version": 1}'])
def test_numbers_that_make_no_sense_are_no_checkpoint(
    run: Run, both: tuple[Path, Path], numbers: str
) -> None:
    (both[0] / "checkpoint" / "checkpoint.json").write_text(numbers)
    assert checkpoint.load(run) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a copy of this process that can be killed")
@pytest.mark.parametrize(("call", "number"), [("fsync", 1), ("fsync", 5), ("replace", 1), ("replace", 2)])
def test_kill_9_at_each_point_of_saving_leaves_a_whole_one(run: Run, call: str, number: int) -> None:
    checkpoint.save(run, made(3))
    child = os.fork()
    if child == 0:
        function, calls = getattr(os, call), itertools.count(1)
        setattr(
            os,
            call,
            lambda *values: (
                os.kill(os.getpid(), signal.SIGKILL) if next(calls) == number else function(*values)
            ),
        )
        checkpoint.save(run, made(4))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert same(checkpoint.load(run), made(3))
    checkpoint.save(run, made(5))
    assert same(checkpoint.load(run), made(5)) and not list(run.folder.glob("checkpoint.*"))


# A full disk


@pytest.mark.parametrize("size", [0, 100, 10_000, 16_500])
def test_a_full_disk_leaves_the_old_one_and_no_half_of_the_new(run: Run, size: int) -> None:
    checkpoint.save(run, made(3))
    big = made(4)
    big.average["c"] = torch.zeros(
        64, 64
    )  # so that with the largest size it is the last file that does not fit
    with full_disk(size), pytest.raises(OSError):
        checkpoint.save(run, big)
    assert same(checkpoint.load(run), made(3)) and sorted(path.name for path in run.folder.iterdir()) == [
        "checkpoint",
        "config.json",
        "state.json",
    ]


# Trainer's


def of_trainer(folder: Path, step: int, state: object) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    if state is not None:
        (path / "trainer_state.json").write_text(state if isinstance(state, str) else json.dumps(state))
    return path


def test_the_newest_whole_one_of_trainer_is_found_and_nothing_is_touched(run: Run) -> None:
    folder = run.folder / "trainer"
    assert checkpoint.newest_of_trainer(folder) is None and not checkpoint.exists(run)
    for step, state in (
        (30, None),
        (40, '{"global_step": 40'),
        (50, {"global_step": 49}),
        (60, []),
        (70, "\ufeff"),
    ):
        of_trainer(folder, step, state)
    (folder / "checkpoint-x").mkdir()
    (folder / "runs").mkdir()
    assert checkpoint.newest_of_trainer(folder) is None and not checkpoint.exists(run)
    for step in (9, 20, 10):
        of_trainer(folder, step, {"global_step": step})
    assert checkpoint.newest_of_trainer(folder) == folder / "checkpoint-20" and checkpoint.exists(run)
    assert len(list(folder.iterdir())) == 10  # a living worker may be writing one of them


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-100", 100),
        ("/a/b/checkpoint-7", 7),
        ("checkpoint-x", 0),
        ("checkpoint-", 0),
        ("other-7", 0),
        (None, 0),
        ("", 0),
    ],
)
def test_the_step_of_one_of_trainer(name: str | None, step: int) -> None:
    assert checkpoint.step_of(name) == step


def test_whether_there_is_one_is_known_without_torch(run: Run) -> None:
    checkpoint.save(run, made(3))
    code = (
        "import sys; from vit_demo.training.run import checkpoint; from vit_demo.training.run.runs import"
        " Run; print(checkpoint.exists(Run(sys.argv[1])));assert 'torch' not in sys.modules"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code, str(run.folder)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        == "True\n"
    )
