"""``vit_demo export``: on which photos a model is scored, and that it is exported where there are none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import LABELS, Outcome, Place, beans, caller, make_place
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run

pytest.importorskip("onnxruntime", reason="needs onnxruntime, see requirements/onnx.txt")
TREES = ("ash", "elm")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Place:
    return make_place(tmp_path_factory.mktemp("place"), tiny_model)


@pytest.fixture
def call(place: Place, home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    return caller(place, capsys)


def run_on(data: str | Path, folder: Path, tiny_model: Path, labels: tuple[str, ...]) -> Run:
    """A run that ended with a model of these classes."""
    run = runs.create(TrainingConfig(data=str(data)), folder)
    LeafClassifier.open(tiny_model, device="cpu", labels=labels).save(run.model_folder)
    run.set_state(status="finished", ended=2.0)
    return run


def test_a_run_with_classes_of_its_own_is_scored_on_its_own_photos(
    call, tmp_path: Path, tiny_model: Path
) -> None:
    trees = beans(tmp_path / "trees", TREES)
    run = run_on(trees, tmp_path / "my-run", tiny_model, TREES)
    done = call("export --json --model", str(run.folder), "--out", str(tmp_path / "out"))
    told = json.loads(done.out)
    assert (done.status, told["data"], told["not_measured"]) == (0, str(trees), None)
    # A head of zeros says the first class of all: 2 of 4.
    assert [(row["accuracy"], row["n"]) for row in told["engines"].values()] == [(0.5, 4)] * 3
    assert done.err == f"To be scored on: the test photos of {trees}, the data set of the run my-run.\n"
    assert (tmp_path / "out" / "model.onnx").is_file()


def test_a_run_with_the_classes_of_beans_is_not_scored_on_beans(
    call, place: Place, tmp_path: Path, tiny_model: Path
) -> None:
    run = run_on(place.data, tmp_path / "my-run", tiny_model, LABELS)
    done = call("export --model", str(run.model_folder), "--out", str(tmp_path / "out"))
    assert done.status == 0 and f"the test photos of {place.data}, the data set of" in done.err
    assert "(95 % interval, 6 photos)" in done.out


def test_where_the_photos_of_a_run_are_gone_it_is_exported_and_not_scored(
    call, tmp_path: Path, tiny_model: Path
) -> None:
    trees = beans(tmp_path / "trees", TREES)
    run = run_on(trees, tmp_path / "my-run", tiny_model, TREES)
    shutil.rmtree(trees)
    told, text = (
        call(f"export {more} --model", str(run.folder), "--out", str(tmp_path / "out"))
        for more in ("--json", "")
    )
    found = json.loads(told.out)
    assert (told.status, text.status) == (0, 0) and "There is no folder" in found["not_measured"]
    for row in found["engines"].values():
        assert (row["accuracy"], row["interval"], row["agreement"], row["n"]) == (None, None, None, 0)
        assert row["bytes"] > 10_000 and row["ms"] > 0
    assert "The model is exported; how good it is was not measured. There is no folder" in text.err
    assert text.out.count("not measured") == 6 and (tmp_path / "out" / "model-int8.onnx").is_file()


def test_where_photos_do_not_fit_it_is_exported_and_not_scored(
    call, tmp_path: Path, tiny_model: Path
) -> None:
    """Of a run whose data set now has other classes, and of a set that was asked for."""
    trees = beans(tmp_path / "trees", TREES)
    run = run_on(trees, tmp_path / "my-run", tiny_model, ("oak", "fir"))
    for more in ([], ["--data", str(trees)]):
        done = call("export --json --model", str(run.folder), "--out", str(tmp_path / "out"), *more)
        told = json.loads(done.out)
        assert done.status == 0 and told["engines"]["onnx"]["accuracy"] is None
        assert "no class in common" in told["not_measured"] and "--map" in told["not_measured"]
        assert "To be scored on: the test photos" in done.err and "was not measured." in done.err
    mapped = call("export --json --map elm=oak --model", str(run.folder), "--out", str(tmp_path / "out"))
    assert json.loads(mapped.out)["engines"]["torch"]["n"] == 2 and "elm = oak" in mapped.err


@pytest.mark.parametrize(
    ("more", "words"),
    [("--data {folder}/nowhere", "There is no folder"), ("--data {data} --map oak=healthy", "no class oak")],
)
def test_what_was_asked_for_and_cannot_be_done_costs_no_export(
    call, tmp_path: Path, more: str, words: str
) -> None:
    done = call(f"export --model {{model}} {more} --out", str(tmp_path / "out"))
    assert (done.status, done.out) == (2, "") and words in done.err and not (tmp_path / "out").exists()


def test_a_model_that_is_no_run_says_that_it_is_scored_on_beans(call, tmp_path: Path) -> None:
    done = call("export --json --model {model} --out", str(tmp_path / "out"))
    assert done.err == "To be scored on: the test photos of beans.\n"
    assert json.loads(done.out)["data"] == "beans" and json.loads(done.out)["engines"]["onnx"]["n"] == 128
