"""The command line: results on standard output, all else on standard error, mistakes in one sentence and status 2."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_demo import __version__, cli
from vit_demo.data.sources import open_dataset
from vit_demo.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
LABELS = ("angular_leaf_spot", "bean_rust", "healthy")


def beans(folder: Path, labels: tuple[str, ...] = LABELS) -> Path:
    """A small image folder of noise: 4 train, 3 validation and 2 test photos a class."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("validation", 3), ("test", 2)):
        for label in labels:
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(folder / split / label / f"{number}.png")
    return folder


@dataclass(frozen=True)
class Place:
    """Files that the commands are given."""

    folder: Path
    model: str
    data: str
    photos: list[str]

    def arguments(self, line: str) -> list[str]:
        """Words of a command, with these names filled in."""
        names = {"model": self.model, "data": self.data, "photo": self.photos[0], "photos": " ".join(self.photos), "folder": str(self.folder)}
        return line.format(**names).split()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Place:
    folder = tmp_path_factory.mktemp("place")
    drawn = open_dataset("sample")["test"]
    photos = [str(folder / f"leaf{number}.png") for number in range(3)]
    for number, photo in enumerate(photos):
        drawn[number * 16]["image"].save(photo)
    (folder / "text.jpg").write_text("no photo")
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("mine")
    beans(folder / "other", ("mildew", "healthy"))
    return Place(folder, str(tiny_model), str(beans(folder / "data")), photos)


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


COMMANDS = {
    "train": "train --data {data} --model {model} --epochs 1 --batch-size 4 --device cpu --out {folder}/run --json",
    "evaluate": "evaluate --data {data} --model {model} --device cpu --json",
    "unknown model": "predict --model nobody/knows-this-model {photo}",
}


@pytest.fixture(scope="module")
def outcomes(place: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Each command once as its own process; they run side by side, since most of their time is importing."""
    env = {**os.environ, "VIT_DEMO_HOME": str(tmp_path_factory.mktemp("home")), "VIT_DEMO_THREADS": "1"}
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", "vit_demo", *place.arguments(line)], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name, line in COMMANDS.items()
    }
    found = {}
    for name, process in started.items():
        out, err = process.communicate(timeout=300)
        found[name] = Outcome(process.returncode, out, err)
    return found


# As processes


def test_train_prints_its_result_alone_on_standard_output(outcomes: dict[str, Outcome], place: Place) -> None:
    done = outcomes["train"]
    assert done.status == 0, done.err
    result = json.loads(done.out)
    assert {"validation_accuracy", "test_accuracy", "test_interval", "seconds", "model"} <= set(result)
    assert Path(result["model"]) == (place.folder / "run" / "model").resolve() and (place.folder / "run" / "model" / "config.json").is_file()
    assert "validation loss" in done.err and "Traceback" not in done.err


def test_evaluate_prints_its_result_alone_on_standard_output(outcomes: dict[str, Outcome]) -> None:
    done = outcomes["evaluate"]
    assert (done.status, done.err) == (0, "")
    result = json.loads(done.out)
    assert {"accuracy", "interval", "loss", "n", "confusion", "labels", "broken", "classes", "calibration", "worst"} <= set(result)
    assert [found["support"] for found in result["classes"]] == [2, 2, 2] and len(result["calibration"]["bins"]) == 15
    assert result["n"] == 6 and result["labels"] == list(LABELS) and result["broken"] == 0
    assert [sum(row) for row in result["confusion"]] == [2, 2, 2] and len(result["interval"]) == 2


def test_an_unknown_model_is_one_sentence_and_status_2(outcomes: dict[str, Outcome]) -> None:
    done = outcomes["unknown model"]
    assert (done.status, done.out) == (2, "")
    assert_one_sentence(done.err)
    assert "nobody/knows-this-model" in done.err


def test_help_and_version_answer_without_torch() -> None:
    code = (
        "import sys\nfrom vit_demo.cli import main\n"
        "for words in (['--help'], ['train', '--help'], ['explain', '--help'], ['--version'], ['train', '--epochs', 'x']):\n"
        "    try: main(words)\n    except SystemExit as end: print('status', end.code)\n"
        "print('heavy:', sorted({'torch', 'transformers', 'datasets', 'gradio', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("status")] == ["status 0"] * 4 + ["status 2"]
    assert "heavy: []" in done.stdout and f"vit_demo {__version__}" in done.stdout and "--learning-rate" in done.stdout


def test_a_reader_that_goes_away_is_no_error(place: Place) -> None:
    """As in `predict ... | head -1`; the model is opened only after the reader has gone."""
    code = "import sys; from vit_demo.cli import main; sys.stdin.read(); sys.exit(main())"
    line = [sys.executable, "-c", code, *place.arguments("predict --device cpu --model {model} {photos}")]
    process = subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    process.stdin.close()
    assert (process.stderr.read(), process.wait()) == (b"", 0)
    process.stderr.close()


# Several processes: started as a launcher starts them, each with its own streams


def together(line: list[str], home: Path) -> list[Outcome]:
    """The same command in two processes that know of each other, the main one first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {**os.environ, "VIT_DEMO_HOME": str(home), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "vit_demo", *line], cwd=ROOT, env={**env, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
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
        ("train --device cpu --out {folder}/full", "is not empty"),  # when the other one waits for the settings
        ("train --device cpu --model {folder}/nowhere --data {data}", "There is no model folder"),  # in both of them
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
    line = "train --data {data} --model {model} --epochs 150 --batch-size 4 --device cpu --film 0 --evaluate-every 150 --checkpoint-every 20 --out"
    env = {**os.environ, "VIT_DEMO_HOME": str(home), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "vit_demo", *place.arguments(line), str(folder)], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    end = time.monotonic() + 120
    while not (folder / "checkpoint").is_dir() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    out, _ = process.communicate()
    assert process.returncode == -9, out
    return folder


def test_a_killed_run_goes_on_from_its_checkpoint(call, killed: Path, tmp_path: Path) -> None:
    from vit_demo.training.runs import Run

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


def test_what_cannot_go_on_is_told_and_left_as_it_was(call, place: Place, killed: Path, tmp_path: Path) -> None:
    from vit_demo.training.runs import Run

    kept = sorted(killed.rglob("*"))
    for more, words in (
        (["--epochs", "3"], "Leave out --epochs"), (["--recipe", "fast"], "Leave out --recipe"), (["--no-half"], "Leave out --half"),
        (["--out", "x"], "Leave out --out"), (["--seeds", "2"], "Leave out --seeds"),
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


# In this process


@pytest.fixture
def call(place: Place, home: Path, capsys: pytest.CaptureFixture[str]):
    """Run one command here, as its own process would."""

    def main(line: str, *more: str) -> Outcome:
        try:
            status = cli.main([*place.arguments(line), *more])
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return main


def assert_one_sentence(text: str) -> None:
    """A name of a file may come first, in lower case; else it begins as sentences do."""
    assert text.count("\n") == 1 and text.endswith(".\n") and (text[0].isupper() or text.startswith(("text.jpg ", "/")))
    assert "Traceback" not in text and "usage:" not in text and "Error:" not in text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("predict --model {folder}/nowhere {photo}", "nowhere"),
        ("predict --model {photo} {photo}", "is a file"),
        ("predict --model {folder}/full {photo}", "has no config.json"),
        ("predict --model {model} {folder}/missing.png", "There is no photo"),
        ("predict --model {model}", "required"),
        ("evaluate --model {model} --data {folder}/nowhere", "There is no folder"),
        ("evaluate --model {model} --data {photo}", "is a single file"),
        ("evaluate --model {model} --data {folder}/full", "holds neither"),
        ("evaluate --model {model} --data {folder}/other", "does not know the class mildew"),
        ("evaluate --model {model} --data {data} --split all", "invalid choice: 'all'"),
        ("train --out {folder}/full", "is not empty"),
        ("train --out {photo}", "cannot be written"),
        ("train --epochs 0", "epochs"),
        ("train --epochs two", "invalid int value: 'two'"),
        ("train --learning-rate nan", "learning_rate"),
        ("train --learning-rate 5", "learning_rate"),
        ("train --batch-size -4", "batch_size"),
        ("train --seed -1", "seed"),
        ("train --warmup 1", "warmup"),
        ("train --resolutions 96,big", "is not a list of whole numbers"),
        ("train --resolutions 5", "resolutions"),
        ("train --recipe slow", "invalid choice: 'slow'"),
        ("train --recipe tutorial --patience 3", "patience is not one of the tutorial's recipe"),
        ("train --patch-dropout 1", "patch_dropout"),
        ("train --time-limit soon", "invalid float value: 'soon'"),
        ("train --freeze yes", "Unrecognized arguments: yes"),
        ("train --seeds 1", "--seeds 2 or more"),
        ("train --seeds many", "invalid int value: 'many'"),
        ("train --seeds 2 --out {folder}/seeds", "Leave out --out"),
        ("train --device tpu", "invalid choice: 'tpu'"),
        ("train --model {model} --data {folder}/nowhere", "There is no folder"),
        ("train --model {folder}/nowhere --data {data}", "There is no model folder"),
        ("train --model {model} --data {data} --device cpu --resolutions 36", "not a multiple"),
        ("train --model {model} --data {data} --device cpu --extra-data {folder}/other", "other classes"),
        ("train --colour red", "Unrecognized arguments: --colour red"),
        ("fly", "invalid choice: 'fly'"),
        ("", "required"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(call, line: str, words: str) -> None:
    done = call(line)
    assert (done.status, done.out) == (2, "")
    assert_one_sentence(done.err)
    assert words in done.err


def test_a_refused_folder_is_left_as_it_was(call, place: Place, home: Path) -> None:
    call("train --out {folder}/full")
    assert [path.name for path in (place.folder / "full").iterdir()] == ["mine.txt"]
    assert call("train --epochs 0").status == 2
    assert not (home / "runs").exists()  # a refused setting makes no run


def test_train_without_out_is_a_run_under_home(call, home: Path) -> None:
    from vit_demo.training import runs

    done = call("train --data {data} --model {model} --epochs 1 --device cpu --half --augment none --resolutions 16,24 --evaluate-every 1")
    assert done.status == 0, done.err
    (run,) = runs.list_runs()
    config = run.config()
    assert (config.half, config.augment, config.resolutions, config.evaluate_every) == (True, "none", (16, 24), 1)
    assert run.state()["status"] == "finished"
    scores = run.scores()["test"]
    low, high = scores["interval"]
    first, second = done.out.splitlines()
    assert first == f"Test accuracy {scores['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})"
    assert second.startswith("Validation accuracy") and second.endswith(str(run.model_folder))


def test_several_seeds_are_one_experiment(call, home: Path) -> None:
    from scipy.stats import t

    from vit_demo.training import runs

    done = call("train --data {data} --model {model} --epochs 1 --device cpu --film 0 --seed 7 --seeds 2 --json")
    assert done.status == 0, done.err
    result = json.loads(done.out)
    found = {run.id: run for run in runs.list_runs()}
    assert [(entry["seed"], found[entry["id"]].config().seed) for entry in result["runs"]] == [(7, 7), (8, 8)]
    assert {run.experiment for run in found.values()} == {result["experiment"]} != {""}
    accuracies = [found[entry["id"]].scores()["test"]["accuracy"] for entry in result["runs"]]
    assert [entry["test_accuracy"] for entry in result["runs"]] == accuracies == result["accuracies"]
    low, high = t.interval(0.95, 1, np.mean(accuracies), np.std(accuracies, ddof=1) / 2**0.5) if len(set(accuracies)) > 1 else (accuracies[0],) * 2
    assert result["interval"] == pytest.approx([max(0, low), min(1, high)]) and result["mean"] == pytest.approx(np.mean(accuracies))
    # All of them fail alike: one sentence a run, and none for people to take for a result.
    done = call("train --data {folder}/nowhere --model {model} --device cpu --seeds 2")
    assert done.status == 2 and done.err.count("has no result. There is no folder") == 2 and done.out.startswith("None of the 2 runs")


def test_a_run_folder_is_a_model(call, outcomes: dict[str, Outcome]) -> None:
    done = call("predict --device cpu --json --model {folder}/run {photo}")
    assert done.status == 0 and set(json.loads(done.out)["scores"]) == set(LABELS)


def test_evaluate_as_text_says_the_same(call, outcomes: dict[str, Outcome]) -> None:
    result = json.loads(outcomes["evaluate"].out)
    done = call("evaluate --data {data} --model {model} --device cpu")
    first, *rows = done.out.splitlines()
    rows, classes, error = rows[:3], rows[4:7], rows[7]
    low, high = result["interval"]
    assert first == f"Accuracy on test: {result['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f}, 6 photos)"
    assert [row.split() for row in rows] == [[label, *map(str, row)] for label, row in zip(LABELS, result["confusion"])]
    for row, found in zip(classes, result["classes"]):
        assert row.split()[:2] == [found["label"], f"{found['recall']:.4f}"]
        assert row.endswith("never said" if found["precision"] is None else f" {found['precision']:.4f}")
    assert error.startswith(f"Expected calibration error: {result['calibration']['expected_calibration_error']:.4f} ")
    assert json.loads(call("evaluate --data {data} --model {model} --device cpu --split train --json").out)["n"] == 12


def test_evaluate_tells_of_broken_photos_on_standard_error(call, tmp_path: Path) -> None:
    folder = beans(tmp_path / "data")
    (folder / "test" / "healthy" / "0.png").write_text("no photo")
    done = call("evaluate --model {model} --device cpu --json --data", str(folder))
    assert done.status == 0 and json.loads(done.out)["broken"] == 1
    assert done.err == "1 photos cannot be read and do not count.\n"


def test_serve_hands_on_host_and_port(call, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setitem(sys.modules, "vit_demo.ui.build", types.SimpleNamespace(serve=lambda **options: calls.append(options)))
    assert call("serve").status == 0
    assert call("serve --host 0.0.0.0 --port 8000").status == 0
    assert calls == [{"host": None, "port": None}, {"host": "0.0.0.0", "port": 8000}]


@pytest.mark.parametrize(("error", "status", "words"), [(UserError("Do this instead."), 2, "Do this instead.\n"), (KeyboardInterrupt(), 130, "")])
def test_how_a_command_ends(call, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, words: str) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "vit_demo.ui.build", types.SimpleNamespace(serve=fail))
    done = call("serve")
    assert (done.status, done.out, done.err) == (status, "", words)
