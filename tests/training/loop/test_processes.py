"""Two processes that ``accelerate launch`` starts: the curve of one process, one record and one model."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT
from tests.training.conftest import EVERYTHING, Done, Train, events_of, weights_of
from vit_demo.training.loop.processes import Group
from vit_demo.training.run.config import RECIPES
from vit_demo.training.run.runs import Run, create

# Whole last batches: Trainer fills up one that is not.
TRAINER = {**RECIPES["tutorial"], "epochs": 6, "batch_size": 6, "learning_rate": 5e-3}

SCRIPT = """
import sys
from pathlib import Path
from vit_demo.model import classifier as vit
vit.bf16_is_faster = lambda device_type: False
from vit_demo.training.loop import finetune as loop, processes
from vit_demo.training.run.runs import Run
group = processes.join("cpu")
for folder in sys.argv[1:]:
    loop.fine_tune(Run(Path(folder)) if group.main else None)
"""


@pytest.fixture(scope="module")
def one(train: Train) -> dict[str, Done]:
    return {"own": train(**EVERYTHING), "trainer": train(**TRAINER)}


@pytest.fixture(scope="module")
def two(one: dict[str, Done], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The same runs on two processes, one after the other in the same two."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "go.py").write_text(SCRIPT)
    made = {name: create(done.run.config(), folder / name) for name, done in one.items()}
    # --multi_gpu means torch's own launcher; accelerate's for CPUs needs MPI.
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
    ]
    command = [
        *launch,
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "0",
        str(folder / "go.py"),
        *(str(run.folder) for run in made.values()),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return made


@pytest.mark.parametrize("name", ["own", "trainer"])
def test_the_curve_is_that_of_one_process_and_only_one_writes(
    one: dict[str, Done], two: dict[str, Run], name: str
) -> None:
    for kind, numbers in (
        ("train", ("step", "loss", "learning_rate", "epoch")),
        ("validation", ("step", "loss", "accuracy")),
    ):
        for number in numbers:
            found, expected = (
                [event[number] for event in events]
                for events in (events_of(two[name], kind), one[name].events(kind))
            )
            assert found == pytest.approx(expected, abs=1e-4), number
    assert two[name].state()["status"] == "finished" and [
        event["processes"] for event in events_of(two[name], "begin")
    ] == [2]
    assert two[name].scores()["test"]["n"] == 18
    expected = one[name].weights()
    assert all(
        torch.allclose(tensor, expected[key], atol=1e-3) for key, tensor in weights_of(two[name]).items()
    )


def test_trainers_own_files_are_written_once(two: dict[str, Run]) -> None:
    assert (two["trainer"].folder / "trainer" / "train_results.json").is_file()


@pytest.mark.parametrize("count", [0, 1, 5, 36])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_the_shares_of_all_processes_are_disjoint_in_order_and_even(count: int, size: int) -> None:
    shares = [list(range(count))[Group(rank, size).part(count)] for rank in range(size)]
    assert sum(shares, []) == list(range(count)) and max(map(len, shares)) - min(map(len, shares)) <= 1
