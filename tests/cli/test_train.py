"""Training from the command line: as a run, as several at once, by several processes, and gone on with after
it was killed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.commands import Outcome, Place, assert_one_sentence, beans, caller, make_place
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Place:
    return make_place(tmp_path_factory.mktemp("place"), tiny_model)


@pytest.fixture
def call(place: Place, home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    return caller(place, capsys)


def test_a_refused_folder_is_left_as_it_was(call, place: Place, home: Path) -> None:
    call("train --out {folder}/full")
    assert [path.name for path in (place.folder / "full").iterdir()] == ["mine.txt"]
    assert call("train --epochs 0").status == 2
    assert not (home / "runs").exists()  # a refused setting makes no run


def test_train_without_out_is_a_run_under_home(call, home: Path) -> None:
    from vit_demo.training.run import runs

    done = call(
        "train --data {data} --model {model} --epochs 1 --device cpu --half --augment none --resolutions"
        " 16,24 --evaluate-every 1"
    )
    assert done.status == 0, done.err
    (run,) = runs.list_runs()
    config = run.config()
    assert (config.half, config.augment, config.resolutions, config.evaluate_every) == (
        True,
        "none",
        (16, 24),
        1,
    )
    assert run.state()["status"] == "finished"
    scores = run.scores()["test"]
    low, high = scores["interval"]
    first, second = done.out.splitlines()
    assert first == f"Test accuracy {scores['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})"
    assert second.startswith("Validation accuracy") and second.endswith(str(run.model_folder))


def test_several_seeds_are_one_experiment(call, home: Path) -> None:
    from scipy.stats import t

    from vit_demo.training.run import runs

    done = call(
        "train --data {data} --model {model} --epochs 1 --device cpu --film 0 --seed 7 --seeds 2 --json"
    )
    assert done.status == 0, done.err
    result = json.loads(done.out)
    found = {run.id: run for run in runs.list_runs()}
    assert [(entry["seed"], found[entry["id"]].config().seed) for entry in result["runs"]] == [(7, 7), (8, 8)]
    assert {run.experiment for run in found.values()} == {result["experiment"]} != {""}
    accuracies = [found[entry["id"]].scores()["test"]["accuracy"] for entry in result["runs"]]
    assert [entry["test_accuracy"] for entry in result["runs"]] == accuracies == result["accuracies"]
    low, high = (
        t.interval(0.95, 1, np.mean(accuracies), np.std(accuracies, ddof=1) / 2**0.5)
        if len(set(accuracies)) > 1
        else (accuracies[0],) * 2
    )
    assert result["interval"] == pytest.approx([max(0, low), min(1, high)]) and result[
        "mean"
    ] == pytest.approx(np.mean(accuracies))
    # All of them fail alike: one sentence a run, and none for people to take for a result.
    done = call("train --data {folder}/nowhere --model {model} --device cpu --seeds 2")
    assert (
        done.status == 2
        and done.err.count("has no result. There is no folder") == 2
        and done.out.startswith("None of the 2 runs")
    )


@pytest.fixture
def untested(tmp_path: Path) -> Path:
    """The small data set with a photo in two classes, and without a test photo that can be read."""
    folder = beans(tmp_path / "untested")
    shutil.copy(folder / "train" / "healthy" / "0.png", folder / "train" / "bean_rust" / "other.png")
    for file in folder.glob("test/*/*.png"):
        file.write_text("this is no photo")
    return folder


def test_what_is_known_of_the_photos_is_said_and_what_is_not_measured_is_no_number(
    call, home: Path, untested: Path
) -> None:
    line = f"train --data {untested} --model {{model}} --epochs 1 --device cpu --film 0 --out {home / 'run'}"
    done = call(line)
    assert done.status == 0, done.err
    assert done.out.splitlines()[0] == "Test accuracy not measured"
    assert "1 photo is in two classes: " in done.err and "Decide about photos in two classes" in done.err
    assert "Fewer than 8 photos for validation" in done.err and "No test photo could be read" in done.err
    done = call(line.replace("/run", "/again"), "--json")
    result = json.loads(done.out)
    assert result["test_accuracy"] is None and result["test_interval"] is None
    assert [note for note in result["data_notes"] if note in done.err] == result["data_notes"]
    assert len(result["data_notes"]) == 3


def test_the_runs_of_a_data_set_without_a_test_photo_are_listed_as_not_measured(
    call, home: Path, untested: Path
) -> None:
    line = f"train --data {untested} --model {{model}} --epochs 1 --device cpu --film 0 --seed 7 --seeds 2"
    done = call(line)
    assert done.status == 0, done.err
    assert [text.split(", run")[0] for text in done.out.splitlines()[:2]] == [
        f"Seed {seed}: test accuracy not measured" for seed in (7, 8)
    ]
    assert done.out.splitlines()[2].startswith("Test accuracy not measured in 2 of 2 runs")
    assert done.err.count("1 photo is in two classes: ") == 1  # of both runs the same
    listed = call("runs list").out
    assert listed.count("not measured") == 3 and "0.0000" not in listed
    shown = call("runs show latest").out
    assert "Test        not measured" in shown and "Photos      1 photo" in shown
    entry = json.loads(call("runs show latest --json").out)
    assert entry["test_accuracy"] is None and entry["test_measured"] is False
    assert len(entry["data_notes"]) == 3


# Several processes: started as a launcher starts them, each with its own streams


def together(line: list[str], home: Path) -> list[Outcome]:
    """The same command in two processes that know of each other, the main one first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {
        **os.environ,
        "VIT_DEMO_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": "2",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "vit_demo", *line],
            cwd=ROOT,
            env={**env, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    found = []
    for process in started:
        out, err = process.communicate(timeout=200)
        found.append(Outcome(process.returncode, out, err))
    return found


def test_several_processes_make_one_run_and_speak_with_one_voice(place: Place, tmp_path: Path) -> None:
    line = "train --data {data} --model {model} --epochs 1 --batch-size 5 --device cpu --json --film 0"
    main, helper = together(place.arguments(line), tmp_path / "home")
    assert main.status == 0, main.err
    assert helper == Outcome(0, "", "")
    (folder,) = (tmp_path / "home" / "runs").glob("*/config.json")
    assert json.loads(main.out)["model"] == str(folder.parent / "model")
    events = [json.loads(text) for text in (folder.parent / "events.jsonl").read_text().splitlines()]
    (begin,) = (event for event in events if event["kind"] == "begin")
    assert begin["processes"] == 2
    assert [event["step"] for event in events if event["kind"] == "train"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train --epochs 0", "epochs"),  # before the processes meet
        (
            "train --device cpu --out {folder}/full",
            "is not empty",
        ),  # when the other one waits for the settings
        (
            "train --device cpu --model {folder}/nowhere --data {data}",
            "There is no model folder",
        ),  # in both of them
        ("train --device cpu --seeds 2", "Leave out --seeds"),
    ],
)
def test_several_processes_say_a_mistake_once(place: Place, tmp_path: Path, line: str, words: str) -> None:
    main, helper = together(place.arguments(line), tmp_path / "home")
    assert (main.status, main.out) == (2, "") and words in main.err
    assert_one_sentence(main.err)
    assert helper == Outcome(2, "", "")
    assert not list((tmp_path / "home").glob("runs/*/config.json"))


# A run that was killed goes on


@pytest.fixture(scope="module")
def killed(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose process was killed after some steps."""
    home = tmp_path_factory.mktemp("killed")
    folder = home / "runs" / "killed-run"
    line = (
        "train --data {data} --model {model} --epochs 150 --batch-size 4 --device cpu --film 0"
        " --evaluate-every 150 --checkpoint-every 20 --out"
    )
    env = {**os.environ, "VIT_DEMO_HOME": str(home), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "vit_demo", *place.arguments(line), str(folder)],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    end = time.monotonic() + 120
    while not (folder / "checkpoint").is_dir() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    out, _ = process.communicate()
    assert process.returncode == -9, out
    return folder


def test_a_killed_run_goes_on_from_its_checkpoint(call, killed: Path, tmp_path: Path) -> None:
    from vit_demo.training.run.runs import Run

    run = Run(shutil.copytree(killed, tmp_path / "copy"))
    assert run.state()["status"] == "broken off"
    before, _ = run.read_events()
    done = call("train --json --resume", str(run.folder))
    assert done.status == 0, done.err
    after, _ = run.read_events()
    assert after[: len(before)] == before  # nothing is lost
    (resumed,) = (event for event in after if event["kind"] == "resumed")
    assert resumed["step"] % 20 == 0 and resumed["step"] > 0
    assert {event["step"] for event in after if event["kind"] == "train"} == set(range(1, 451))
    assert run.state()["status"] == "finished" and json.loads(done.out)["model"] == str(run.model_folder)
    again = call("train --resume", str(run.folder))
    assert again.status == 2 and "is finished" in again.err and run.has_model()


def test_what_cannot_go_on_is_told_and_left_as_it_was(
    call, place: Place, killed: Path, tmp_path: Path
) -> None:
    from vit_demo.training.run.runs import Run

    kept = sorted(killed.rglob("*"))
    for more, words in (
        (["--epochs", "3"], "Leave out --epochs"),
        (["--recipe", "fast"], "Leave out --recipe"),
        (["--no-half"], "Leave out --half"),
        (["--out", "x"], "Leave out --out"),
        (["--seeds", "2"], "Leave out --seeds"),
    ):
        done = call("train --resume", str(killed), *more)
        assert (done.status, done.out) == (2, "") and words in done.err
        assert_one_sentence(done.err)
    assert "There is no run nowhere" in call("train --resume nowhere").err
    assert "settings file" in call("train --resume {model}").err  # a model folder has a config.json too
    going = Run(shutil.copytree(killed, tmp_path / "copy"))
    going.claim()  # as a process that lives
    going.set_state(status="training")
    assert "still going" in call("train --resume", str(going.folder)).err
    assert sorted(killed.rglob("*")) == kept and going.events_file.is_file()


@pytest.mark.parametrize(("processes", "taken_down"), [("1", True), ("2", False)])
def test_one_of_several_processes_ends_without_taking_python_down(
    tmp_path: Path, processes: str, taken_down: bool
) -> None:
    """Else a thread of their connection may kill it at its end, now and then; all it has said is there all
    the same.
    """
    code = (
        "import atexit, sys; from vit_demo.cli.main import command; atexit.register(print, 'taken down'); "
        "sys.argv = ['vit_demo', 'runs', 'show', 'none']; command()"
    )
    env = {**os.environ, "VIT_DEMO_HOME": str(tmp_path), "WORLD_SIZE": processes}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 2 and "none" in ended.stderr
    assert ("taken down" in ended.stdout) == taken_down
