"""The command line: results on standard output, all else on standard error, mistakes in one sentence and
status 2.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import LABELS, Outcome, Place, assert_one_sentence, beans, caller, make_place
from tests.conftest import ROOT
from tests.training.conftest import squares
from vit_demo import __version__
from vit_demo.common.errors import UserError
from vit_demo.data.open.sources import open_dataset
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Place:
    return make_place(tmp_path_factory.mktemp("place"), tiny_model)


@pytest.fixture
def call(place: Place, home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    return caller(place, capsys)


COMMANDS = {
    "train": (
        "train --data {data} --model {model} --epochs 1 --batch-size 4 --device cpu --out {folder}/run --json"
    ),
    "evaluate": "evaluate --data {data} --model {model} --device cpu --json",
    "unknown model": "predict --model nobody/knows-this-model {photo}",
}


@pytest.fixture(scope="module")
def outcomes(place: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Each command once as its own process; they run side by side, since most of their time is importing."""
    env = {**os.environ, "VIT_DEMO_HOME": str(tmp_path_factory.mktemp("home")), "VIT_DEMO_THREADS": "1"}
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", "vit_demo", *place.arguments(line)],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
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
    assert (
        Path(result["model"]) == (place.folder / "run" / "model").resolve()
        and (place.folder / "run" / "model" / "config.json").is_file()
    )
    assert "validation loss" in done.err and "Traceback" not in done.err


def test_evaluate_prints_its_result_alone_on_standard_output(outcomes: dict[str, Outcome]) -> None:
    done = outcomes["evaluate"]
    assert (done.status, done.err) == (0, "")
    result = json.loads(done.out)
    assert {
        "accuracy",
        "interval",
        "loss",
        "n",
        "confusion",
        "labels",
        "broken",
        "classes",
        "calibration",
        "worst",
    } <= set(result)
    assert [found["support"] for found in result["classes"]] == [2, 2, 2] and len(
        result["calibration"]["bins"]
    ) == 15
    assert result["n"] == 6 and result["labels"] == list(LABELS) and result["broken"] == 0
    assert [sum(row) for row in result["confusion"]] == [2, 2, 2] and len(result["interval"]) == 2


def test_an_unknown_model_is_one_sentence_and_status_2(outcomes: dict[str, Outcome]) -> None:
    done = outcomes["unknown model"]
    assert (done.status, done.out) == (2, "")
    assert_one_sentence(done.err)
    assert "nobody/knows-this-model" in done.err


def test_help_and_version_answer_without_torch() -> None:
    code = """
import sys
from vit_demo.cli.main import main
calls = ["--help"], ["train", "--help"], ["explain", "--help"], ["--version"], ["train", "--epochs", "x"]
for words in calls:
    try:
        main(words)
    except SystemExit as end:
        print("status", end.code)
print("heavy:", sorted({"torch", "transformers", "datasets", "gradio", "PIL"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("status")] == ["status 0"] * 4 + [
        "status 2"
    ]
    assert (
        "heavy: []" in done.stdout
        and f"vit_demo {__version__}" in done.stdout
        and "--learning-rate" in done.stdout
    )


def test_a_reader_that_goes_away_is_no_error(place: Place) -> None:
    """As in `predict ... | head -1`; the model is opened only after the reader has gone."""
    code = "import sys; from vit_demo.cli.main import main; sys.stdin.read(); sys.exit(main())"
    line = [sys.executable, "-c", code, *place.arguments("predict --device cpu --model {model} {photos}")]
    process = subprocess.Popen(
        line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    process.stdin.close()
    assert (process.stderr.read(), process.wait()) == (b"", 0)
    process.stderr.close()


# In this process


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
        (
            "evaluate --model {model} --data {data} --split all",
            "all is not train, validation, test or NAME=SPLIT",
        ),
        ("evaluate --model {model} --data {folder}/other --map mildew", "with = between them"),
        ("evaluate --model {model} --data {folder}/other --map mildew=oak", "has no class oak"),
        ("evaluate --model {model} --data {folder}/other --map oak=healthy", "have no class oak"),
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


def test_a_run_folder_is_a_model(call, outcomes: dict[str, Outcome]) -> None:
    done = call("predict --device cpu --json --model {folder}/run {photo}")
    assert done.status == 0 and set(json.loads(done.out)["scores"]) == set(LABELS)


def test_evaluate_as_text_says_the_same(call, outcomes: dict[str, Outcome]) -> None:
    result = json.loads(outcomes["evaluate"].out)
    done = call("evaluate --data {data} --model {model} --device cpu")
    first, *rows = done.out.splitlines()
    rows, classes, error = rows[:3], rows[4:7], rows[7]
    low, high = result["interval"]
    assert (
        first
        == f"Accuracy on test: {result['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f}, 6 photos)"
    )
    assert [row.split() for row in rows] == [
        [label, *map(str, row)] for label, row in zip(LABELS, result["confusion"])
    ]
    for row, found in zip(classes, result["classes"]):
        assert row.split()[:2] == [found["label"], f"{found['recall']:.4f}"]
        assert row.endswith("never said" if found["precision"] is None else f" {found['precision']:.4f}")
    assert error.startswith(
        f"Expected calibration error: {result['calibration']['expected_calibration_error']:.4f} "
    )
    assert (
        json.loads(call("evaluate --data {data} --model {model} --device cpu --split train --json").out)["n"]
        == 12
    )


def test_evaluate_tells_of_broken_photos_on_standard_error(call, tmp_path: Path) -> None:
    folder = beans(tmp_path / "data")
    (folder / "test" / "healthy" / "0.png").write_text("no photo")
    done = call("evaluate --model {model} --device cpu --json --data", str(folder))
    assert done.status == 0 and json.loads(done.out)["broken"] == 1
    assert done.err == "1 photos cannot be read and do not count.\n"


def test_evaluate_on_the_same_classes_has_new_keys_and_nothing_to_tell(call) -> None:
    done = call("evaluate --data {data} --model {model} --device cpu --json")
    told = json.loads(done.out)
    assert done.err == "" and told["matched"] == {label: label for label in LABELS}
    assert (told["missing"], told["unknown"], told["not_measured"], told["verdicts"]) == ([], [], None, None)


def test_evaluate_scores_what_both_know_and_counts_the_rest(call) -> None:
    done = call("evaluate --data {folder}/other --model {model} --device cpu --json")
    told = json.loads(done.out)
    assert (done.status, told["n"], told["matched"]) == (0, 2, {"healthy": "healthy"})
    assert (told["missing"], told["unknown"]) == (["angular_leaf_spot", "bean_rust"], ["mildew"])
    healthy, mildew = told["verdicts_by_class"]
    assert (mildew["label"], mildew["n"], mildew["right"], mildew["unsure"]) == ("mildew", 2, None, None)
    assert sum(mildew["diagnosis"].values()) == 2 and healthy["right"] == told["confusion"][2][2]
    assert "Classes matched by name: healthy.\n" in done.err
    assert "that these photos do not have: angular_leaf_spot, bean_rust.\n" in done.err
    assert "that the model does not know: mildew.\n" in done.err and "--map" in done.err
    text = call("evaluate --data {folder}/other --model {model} --device cpu").out
    assert (
        f"Accuracy on test: {told['accuracy']:.4f} " in text and "  mildew  2 photos: 2 diagnosis (" in text
    )
    mapped = call(
        "evaluate --data {folder}/other --model {model} --device cpu --json --map", "Mildew=bean rust"
    )
    assert json.loads(mapped.out)["n"] == 4 and "healthy, mildew = bean_rust.\n" in mapped.err


def test_evaluate_on_other_classes_alone_measures_nothing_and_counts_the_verdicts(
    call, tmp_path: Path
) -> None:
    folder = str(beans(tmp_path / "trees", ("oak", "elm")))
    done = call("evaluate --model {model} --device cpu --json --data", folder)
    told = json.loads(done.out)
    assert (done.status, told["accuracy"], told["interval"], told["n"]) == (0, None, None, 0)
    assert told["not_measured"] == "no_class" and [one["n"] for one in told["verdicts_by_class"]] == [2, 2]
    text = call("evaluate --model {model} --device cpu --data", folder)
    first, *rows = text.out.splitlines()
    assert first.startswith(
        "Accuracy on test: not measured. The model and the photos have no class in common."
    )
    assert "--map \"the photos' name=the model's name\"" in first and text.status == 0
    assert [row.split()[0] for row in rows[1:]] == ["elm", "oak"]


def test_evaluate_takes_all_photos_that_are_not_split_but_not_those_that_the_run_learned_from(
    call, tmp_path: Path, tiny_model: Path
) -> None:
    colours = dict.fromkeys(LABELS, (50, 180, 60))
    folder = squares(tmp_path / "leaves", train=20, validation=0, test=0, colours=colours) / "train"
    told = json.loads(call("evaluate --model {model} --device cpu --json --data", str(folder)).out)
    assert told["n"] == 60
    run = runs.create(TrainingConfig(data=str(folder)), tmp_path / "run")
    shutil.copytree(tiny_model, run.model_folder)
    told = json.loads(
        call("evaluate --device cpu --json --data", str(folder), "--model", str(run.folder)).out
    )
    assert told["n"] == len(open_dataset(folder)["test"]) < 20


def test_evaluate_counts_photos_without_classes(call, place: Place, tmp_path: Path) -> None:
    for photo in place.photos:
        shutil.copy(photo, tmp_path)
    done = call("evaluate --model embedded --device cpu --json --data", str(tmp_path))
    told = json.loads(done.out)
    assert (done.status, told["accuracy"], told["not_measured"], told["unlabelled"]) == (
        0,
        None,
        "no_label",
        3,
    )
    (count,) = told["verdicts_by_class"]
    assert (
        count["label"] is None
        and count["unsure"] + count["not_known"] + sum(count["diagnosis"].values()) == 3
    )
    text = call("evaluate --model embedded --device cpu --data", str(tmp_path))
    assert "not measured. None of these photos has a label." in text.out and "no label  3 photos" in text.out


def test_evaluate_counts_the_verdicts_of_a_model_that_may_be_silent(call) -> None:
    line = "evaluate --model embedded --data {folder}/other --device cpu"
    told, text = json.loads(call(line + " --json").out), call(line).out
    verdicts = told["verdicts"]
    assert verdicts["n"] == told["n"] == 2
    assert verdicts["diagnosis"] + verdicts["unsure"] + verdicts["not_known"] == 2
    assert f"Verdicts on these 2 photos: {verdicts['diagnosis']} diagnosis" in text


def test_serve_hands_on_host_and_port(call, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setitem(
        sys.modules, "vit_demo.ui.app", types.SimpleNamespace(serve=lambda **options: calls.append(options))
    )
    assert call("serve").status == 0
    assert call("serve --host 0.0.0.0 --port 8000").status == 0
    assert calls == [{"host": None, "port": None}, {"host": "0.0.0.0", "port": 8000}]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [(UserError("Do this instead."), 2, "Do this instead.\n"), (KeyboardInterrupt(), 130, "")],
)
def test_how_a_command_ends(
    call, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, words: str
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "vit_demo.ui.app", types.SimpleNamespace(serve=fail))
    done = call("serve")
    assert (done.status, done.out, done.err) == (status, "", words)
