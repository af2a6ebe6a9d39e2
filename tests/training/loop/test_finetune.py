"""A real fine-tune of a tiny model: it learns, repeats, and leaves a model and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import Done, Train
from vit_demo.common.errors import UserError
from vit_demo.data.open.sources import open_dataset
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import readout_of
from vit_demo.training.loop import finish
from vit_demo.training.result import predictions
from vit_demo.training.result.abstain import calibrate
from vit_demo.training.result.calibration import fit_temperature
from vit_demo.training.result.evaluation import evaluate
from vit_demo.training.run.runs import Run

pytestmark = pytest.mark.usefixtures("fp32")
LEFT = ["config.json", "events.jsonl", "model", "similar.safetensors", "state.json"]


# What it learns


def test_it_learns_three_colours(learned: Done) -> None:
    assert learned.result["test_accuracy"] >= 0.9
    losses = [event["loss"] for event in learned.events("train")]
    assert losses[0] == pytest.approx(
        np.log(3), abs=0.01
    )  # the new head starts with every class equally likely
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_the_result_has_what_the_page_and_the_command_line_show(learned: Done) -> None:
    result = learned.result
    assert {"validation_accuracy", "test_accuracy", "test_interval", "seconds", "model"} <= set(result)
    assert result["test_interval"][0] <= result["test_accuracy"] <= result["test_interval"][1]
    assert Path(result["model"]) == learned.run.model_folder and result["seconds"] > 0
    state = learned.run.state()
    assert (
        state["status"] == "finished"
        and state["result"] == json.loads(json.dumps(result))
        and state["ended"] >= state["started"]
    )


def test_the_scores_beside_the_model_are_those_of_the_model(learned: Done, colours: Path) -> None:
    scores = learned.run.scores()
    assert (
        set(scores) == {"validation", "test", "temperature", "seconds", "data_fingerprint", "data_notes"}
        and scores["seconds"] == learned.result["seconds"]
    )
    data = open_dataset(colours)
    classifier = LeafClassifier.open(learned.run.folder, device="cpu")
    assert classifier.labels == ["blue", "green", "red"]
    for split in ("validation", "test"):
        fresh = json.loads(
            json.dumps(evaluate(classifier, data[split]).at_temperature(scores["temperature"]).to_dict())
        )
        assert fresh.pop("loss") == pytest.approx(scores[split].pop("loss"), rel=1e-4)
        for calibration in ("calibration", "calibrated"):
            assert fresh.pop(calibration)["loss"] == pytest.approx(
                scores[split].pop(calibration)["loss"], rel=1e-4
            )
        worst = [(found["row"], found["said"]) for found in fresh.pop("worst")]
        assert worst == [(found["row"], found["said"]) for found in scores[split].pop("worst")]
        assert fresh == scores[split] and fresh["n"] == 18
        assert learned.result[f"{split}_accuracy"] == fresh["accuracy"]
        assert len(predictions.read(learned.run.model_folder, split)) == 18


def test_the_temperature_is_fitted_on_validation_photos_and_their_copies_alone(
    train: Train, make_squares: Callable[..., Path], tmp_path: Path
) -> None:
    alike = {
        "grey": (100, 100, 100),
        "reddish": (108, 100, 100),
        "greenish": (100, 108, 100),
    }  # hard to tell apart
    make_squares(tmp_path, validation=12, test=12, colours=alike)
    unsure = train(data=str(tmp_path), epochs=4)
    classifier, data = LeafClassifier.open(unsure.run.folder, device="cpu"), open_dataset(tmp_path)
    own, other = (
        calibrate(classifier, data[split], evaluate(classifier, data[split], readout=readout_of(2)))
        for split in ("validation", "test")
    )
    temperature = unsure.run.scores()["temperature"]
    assert own.evaluation.accuracy < 1
    assert temperature == pytest.approx(own.evaluation.temperature, rel=1e-3)
    assert temperature == pytest.approx(fit_temperature(own.answers.logits, own.answers.targets), rel=1e-3)
    assert temperature != pytest.approx(other.evaluation.temperature, rel=0.02)


def test_the_card_names_the_scores_and_the_run(learned: Done) -> None:
    text = (learned.run.model_folder / "README.md").read_text(encoding="utf-8")
    assert f"{learned.result['test_accuracy']:.1%}" in text and learned.run.config().command() in text


def test_nothing_but_the_record_and_the_model_is_left(learned: Done) -> None:
    assert sorted(path.name for path in learned.run.folder.iterdir()) == LEFT
    names = {path.name for path in learned.run.model_folder.iterdir()}
    assert {
        "config.json",
        "preprocessor_config.json",
        "abstention.safetensors",
        "scores.json",
        "predictions.csv",
        "README.md",
    } <= names
    assert not [name for name in names if name.endswith((".new", ".bin", ".pt"))]


# Its record


def test_every_step_is_logged_once_in_order(learned: Done) -> None:
    (begin,) = learned.events("begin")
    assert (begin["total_steps"], begin["steps_per_epoch"], begin["photos"]) == (30, 5, 36)
    steps = learned.events("train")
    assert [event["step"] for event in steps] == list(range(1, 31))
    assert steps[-1]["epoch"] == 6 and steps[4]["epoch"] == 1
    assert all(event["photos_per_second"] > 0 for event in steps)


def test_the_learning_rate_falls_in_a_line_from_the_highest_to_almost_0(learned: Done) -> None:
    rates = [event["learning_rate"] for event in learned.events("train")]
    assert rates == pytest.approx([2e-2 * (30 - step) / 30 for step in range(30)])


def test_the_listener_hears_preparing_then_training_then_scoring_and_test_comes_last(learned: Done) -> None:
    statuses = [progress.status for progress in learned.progress]
    assert list(dict.fromkeys(statuses)) == ["preparing", "training", "scoring"]
    assert statuses == sorted(statuses, key=["preparing", "training", "scoring"].index)
    messages = [text for text in (str(progress.message) for progress in learned.progress) if "photos" in text]
    assert list(dict.fromkeys(messages)) == [
        "Opening photos and model",
        "Reading train photos",
        "Reading validation photos",
        "Scoring validation photos",
        "Learning which photos it knows",
        "Scoring test photos",
    ]
    assert all(0 <= progress.done <= progress.total for progress in learned.progress)


# The same run again


def test_the_same_seed_gives_the_same_weights_and_another_does_not(train: Train) -> None:
    first, again, other = (train(seed=seed, augment="strong").weights() for seed in (7, 7, 8))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


# Photos


@pytest.fixture
def damaged(tmp_path: Path, colours: Path) -> Path:
    """The squares with one broken file in each split."""
    folder = shutil.copytree(colours, tmp_path / "damaged")
    (folder / "train" / "red" / "text.jpg").write_text("this is no photo")
    (folder / "validation" / "red" / "empty.png").touch()
    whole = (folder / "test" / "red" / "000.png").read_bytes()
    (folder / "test" / "red" / "cut.png").write_bytes(whole[: len(whole) // 2])
    return folder


def test_broken_photos_are_left_out_with_a_warning(train: Train, damaged: Path) -> None:
    done = train(data=str(damaged))
    (warning,) = done.events("warning")
    assert [Path(path).name for path in warning["paths"]] == ["text.jpg", "empty.png"]
    assert warning["message"] == "2 photos cannot be read and are left out."
    assert done.events("begin")[0]["photos"] == 36
    scores = done.run.scores()
    assert [(scores[split]["n"], scores[split]["broken"]) for split in ("validation", "test")] == [
        (18, 1),
        (18, 1),
    ]


def test_a_data_set_without_a_whole_photo(train: Train, tmp_path: Path, colours: Path) -> None:
    folder = shutil.copytree(colours, tmp_path / "all broken")
    for file in folder.glob("validation/*/*.png"):
        file.write_text("this is no photo")
    with pytest.raises(UserError, match="None of the photos can be read"):
        train(data=str(folder))


def test_extra_data_adds_to_train_alone(
    train: Train, make_squares: Callable[..., Path], tmp_path: Path
) -> None:
    extra = make_squares(tmp_path / "extra", train=5, validation=7, test=9, seed=9)
    done = train(extra_data=str(extra))
    assert done.events("begin")[0]["photos"] == 36 + 15
    assert [done.run.scores()[split]["n"] for split in ("validation", "test")] == [18, 18]


def test_extra_data_with_other_classes_is_refused(
    train: Train, make_squares: Callable[..., Path], tmp_path: Path
) -> None:
    extra = make_squares(tmp_path / "extra", colours={"blue": (0, 0, 255), "pink": (255, 150, 150)})
    with pytest.raises(UserError, match="other classes"):
        train(extra_data=str(extra))


def test_half_precision_halves_the_file_and_still_knows_the_colours(train: Train, learned: Done) -> None:
    half = train(half=True, epochs=6, evaluate_every=4)
    assert {tensor.dtype for tensor in half.weights().values()} == {torch.float16}
    assert {tensor.dtype for tensor in learned.weights().values()} == {torch.float32}
    # Else the two runs are the same.
    assert all(torch.equal(tensor.half(), half.weights()[name]) for name, tensor in learned.weights().items())
    assert half.result["test_accuracy"] >= 0.9
    # The scores are of the model as saved, not of the one in memory.
    fresh = evaluate(
        LeafClassifier.open(half.run.folder, device="cpu"), open_dataset(half.run.config().data)["test"]
    ).loss
    rounding = abs(fresh - learned.run.scores()["test"]["loss"])
    assert rounding > 1e-9 and abs(fresh - half.run.scores()["test"]["loss"]) < rounding / 10
    assert LeafClassifier.open(half.run.folder, device="cpu").model.dtype == torch.float32


def test_a_failure_while_scoring_keeps_the_model_and_leaves_no_scratch(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "evaluate", lambda *_: (_ for _ in ()).throw(UserError("planted")))
    folders: list[Run] = []
    with pytest.raises(UserError, match="planted"):
        train(before=folders.append)
    assert sorted(path.name for path in folders[0].folder.iterdir()) == [
        "config.json",
        "events.jsonl",
        "model",
        "state.json",
    ]
    assert LeafClassifier.open(folders[0].folder, device="cpu").labels == ["blue", "green", "red"]


def test_a_model_that_knows_the_classes_goes_on_with_its_head(train: Train, learned: Done) -> None:
    again = train(model=str(learned.run.folder), learning_rate=1e-5)
    assert again.events("train")[0]["loss"] < 0.8  # a new head would start at ln 3
