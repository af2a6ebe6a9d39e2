"""The end of a fine-tune teaches the model when to be silent, on its own photos and no others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.conftest import Done, Train, full_disk
from vit_demo.cli import main as cli
from vit_demo.data.open.sources import open_dataset
from vit_demo.diagnose.diagnosis import diagnose
from vit_demo.model.abstention import Abstention, abstention_of, load
from vit_demo.model.checkpoints import ABSTENTION, NOTES
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.neighbours import FILE, nearest
from vit_demo.model.readout import Pool, Readout, readout_of
from vit_demo.training.photos import Photos, prepare
from vit_demo.training.result import abstain, similar
from vit_demo.training.result.abstain import (
    Calibrated,
    answers_of,
    calibrate,
    features_after,
    fit_abstention,
    look_at,
    tally,
)
from vit_demo.training.result.evaluation import Evaluation, evaluate

pytestmark = pytest.mark.usefixtures("fp32")


@pytest.fixture(scope="module")
def photos(make_squares: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 train, 60 validation and 36 test photos of three colours that are not too easy."""
    alike = {"grey": (110, 110, 110), "greenish": (110, 125, 110), "reddish": (125, 110, 110)}
    return make_squares(tmp_path_factory.mktemp("photos"), train=12, validation=20, test=12, colours=alike)


@pytest.fixture(scope="module")
def done(train: Train, photos: Path) -> Done:
    return train(data=str(photos), epochs=6)


@pytest.fixture(scope="module")
def classifier(done: Done) -> LeafClassifier:
    return LeafClassifier.open(done.run.folder, device="cpu")


@pytest.fixture(scope="module")
def calibrated(classifier: LeafClassifier, photos: Path) -> Calibrated:
    data = open_dataset(photos)["validation"]
    return calibrate(classifier, data, evaluate(classifier, data, readout=readout_of(classifier.blocks)))


@pytest.fixture(scope="module")
def validation(calibrated: Calibrated) -> Evaluation:
    return calibrated.evaluation


def same(own: Abstention, other: Abstention, found: Evaluation) -> bool:
    pairs = zip(own.judge(found.logits, found.features), other.judge(found.logits, found.features))
    return all(
        a.prediction_set == b.prediction_set and a.distance == pytest.approx(b.distance, rel=1e-3)
        for a, b in pairs
    )


def test_a_finished_run_has_it_beside_its_weights(
    done: Done, classifier: LeafClassifier, photos: Path, calibrated: Calibrated
) -> None:
    fitted, validation = abstention_of(classifier), calibrated.evaluation
    assert fitted.temperature == done.run.scores()["temperature"] and fitted.labels == (
        "greenish",
        "grey",
        "reddish",
    )
    assert fitted.conformal_threshold is not None and fitted.detector.centres.shape == (3, 32)
    # made anew from the saved model and the train and validation photos it comes out the same
    assert same(fitted, fit_abstention(classifier, open_dataset(photos)["train"], calibrated), validation)
    answers, counted = calibrated.answers, tally(fitted, validation)
    assert (len(answers.targets), answers.photos) == (240, 60)
    judged = fitted.judge(answers.logits, answers.features)
    assert sum(one.verdict != "not_known" for one in judged) == 229  # ceil(0.95 * 241) of 240
    text = (done.run.model_folder / "README.md").read_text(encoding="utf-8")
    assert f"| validation | 60 | {counted.diagnosis} |" in text and str(done.run.folder) not in text


def test_its_progress_is_told(done: Done) -> None:
    steps = [step for step in done.progress if "knows" in str(step.message)]
    assert steps and (steps[-1].status, steps[-1].done, steps[-1].total) == ("scoring", 36, 36)


def test_a_run_with_few_validation_photos_says_so_and_still_ends(learned: Done) -> None:
    fitted = load(learned.run.model_folder, "mine", ["blue", "green", "red"], 32, 2)
    assert fitted.conformal_threshold is None and fitted.detector is None
    assert "At least 19 validation photos" in (learned.run.model_folder / "README.md").read_text(
        encoding="utf-8"
    )
    answer = diagnose(
        LeafClassifier.open(learned.run.folder, device="cpu"), Image.new("RGB", (30, 30), "red")
    )
    assert (
        answer.verdict in ("diagnosis", "unsure")
        and answer.distance is None
        and answer.temperature == fitted.temperature
    )


def test_another_kind_of_picture_is_not_known(classifier: LeafClassifier) -> None:
    stripes = np.zeros((24, 20, 3), np.uint8)
    stripes[::2] = 255
    answer = diagnose(classifier, Image.fromarray(stripes))
    assert answer.verdict == "not_known" and answer.distance > 1 and answer.prediction_set == []


def test_of_many_train_photos_a_drawn_part_is_looked_at(
    classifier: LeafClassifier, photos: Path, calibrated: Calibrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abstain, "MOST_TRAIN", 30)
    train, seen = open_dataset(photos)["train"], []
    first = fit_abstention(classifier, train, calibrated, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (30, 30)
    second = fit_abstention(classifier, train, calibrated)
    np.testing.assert_array_equal(first.detector.centres, second.detector.centres)
    assert len(first.detector.centres) == 3  # drawn from all of the split, which is sorted by class


def test_features_come_with_the_scores_only_where_they_are_asked_for(
    classifier: LeafClassifier, photos: Path
) -> None:
    data = open_dataset(photos)["test"]
    plain, found = evaluate(classifier, data), evaluate(classifier, data, readout=Readout(1))
    assert plain.features is None and plain == found and "features" not in found.to_dict()
    logits, tokens = classifier.logits_and_features([row["image"] for row in data], Readout(1))
    np.testing.assert_allclose(answers_of(found).features, tokens.numpy(), atol=1e-5)
    np.testing.assert_allclose(answers_of(found).logits, logits.numpy(), atol=1e-5)


def test_the_tally_counts_as_one_counts_by_hand(classifier: LeafClassifier, validation: Evaluation) -> None:
    fitted, counts, right = abstention_of(classifier), {"diagnosis": 0, "unsure": 0, "not_known": 0}, 0
    for logits, features, target in zip(validation.logits, validation.features, validation.targets):
        (judged,) = fitted.judge(logits[None], features[None])
        counts[judged.verdict] += 1
        right += judged.verdict == "diagnosis" and int(logits.argmax()) == target
    found = tally(fitted, validation)
    assert (found.n, found.diagnosis, found.right, found.unsure, found.not_known) == (
        60,
        counts["diagnosis"],
        right,
        *list(counts.values())[1:],
    )
    assert found.accuracy == right / counts["diagnosis"]


# Photos that the run has decoded already, and what it keeps of them


@pytest.fixture(scope="module")
def ready(classifier: LeafClassifier, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """The train photos as a run has them when its steps are done."""
    return prepare(
        open_dataset(photos)["train"],
        classifier,
        classifier.image_size,
        tmp_path_factory.mktemp("ready") / "train.npy",
    )


def test_photos_decoded_by_the_run_are_seen_as_those_decoded_anew(
    classifier: LeafClassifier, photos: Path, ready: Photos
) -> None:
    train = open_dataset(photos)["train"]
    anew, kept = look_at(classifier, train), look_at(classifier, train, ready=ready)
    for name in ("features", "targets", "rows"):
        np.testing.assert_array_equal(getattr(anew, name), getattr(kept, name))
    whole = evaluate(classifier, train, readout=readout_of(classifier.blocks))
    np.testing.assert_allclose(kept.features, whole.features, atol=1e-5)
    np.testing.assert_array_equal(kept.targets, whole.targets)


def test_the_same_photos_are_drawn_where_some_are_broken(
    classifier: LeafClassifier, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(photos, tmp_path / "data")
    for number in (0, 5):
        (tmp_path / "data" / "train" / "grey" / f"{number:03d}.png").write_bytes(b"no picture")
    monkeypatch.setattr(abstain, "MOST_TRAIN", 30)
    train, told = open_dataset(tmp_path / "data")["train"], []
    ready = prepare(train, classifier, classifier.image_size, tmp_path / "train.npy")
    anew = look_at(classifier, train)
    kept = look_at(classifier, train, lambda done, total: told.append((done, total)), ready)
    assert 28 <= len(anew.rows) < 31 and told[-1] == (30, 30)
    np.testing.assert_array_equal(anew.rows, kept.rows)
    np.testing.assert_array_equal(anew.features, kept.features)


@pytest.mark.parametrize("pool", list(Pool))
def test_only_the_blocks_that_are_asked_for_are_computed(
    classifier: LeafClassifier, ready: Photos, pool: Pool
) -> None:
    pixels, blocks = torch.from_numpy(np.array(ready.pixels[:5])), list(classifier.model.vit.layers)
    one, two = (Readout(layer, pool) for layer in (1, 2))
    first, second = (classifier.logits_and_features(pixels, readout)[1] for readout in (one, two))
    torch.testing.assert_close(features_after(classifier, pixels, two), second, atol=1e-5, rtol=1e-4)
    classifier.model.vit.layers = torch.nn.ModuleList(
        [blocks[0], torch.nn.Identity()]
    )  # which has no attention to ask for
    try:
        torch.testing.assert_close(features_after(classifier, pixels, one), first, atol=1e-5, rtol=1e-4)
    finally:
        classifier.model.vit.layers = torch.nn.ModuleList(blocks)


def test_small_pictures_of_the_train_photos_stay_in_the_run_and_not_in_the_model(
    done: Done, classifier: LeafClassifier, photos: Path, ready: Photos
) -> None:
    assert not (done.run.model_folder / FILE).exists()
    row = 17
    photo = open_dataset(photos)["train"][row]
    (_, features) = classifier.logits_and_features([photo["image"]], readout_of(classifier.blocks))
    found = nearest(done.run.folder / FILE, features[0].numpy(), 3)
    assert (
        found[0].label == ("greenish", "grey", "reddish")[photo["labels"]]
        and found[0].distance < 1e-3 < found[1].distance
    )
    assert found[0].jpeg == similar._jpeg(ready.pixels[row])
    assert str(photos).encode() not in (done.run.folder / FILE).read_bytes()


def test_a_disk_too_full_for_the_pictures_costs_no_finished_run(
    classifier: LeafClassifier, photos: Path, ready: Photos, tmp_path: Path
) -> None:
    seen = look_at(classifier, open_dataset(photos)["train"], ready=ready)
    with full_disk(2000):
        assert similar.keep(tmp_path / FILE, classifier, seen, ready) is False
    assert list(tmp_path.iterdir()) == []
    assert similar.keep(tmp_path / FILE, classifier, seen, ready) and [
        file.name for file in tmp_path.iterdir()
    ] == [FILE]


def test_notes_are_inherited_by_a_model_of_the_same_classes(
    train: Train, tiny_model: Path, make_squares: Callable[..., Path], tmp_path: Path
) -> None:
    start = Path(shutil.copytree(tiny_model, tmp_path / "start"))
    (start / NOTES).write_text('{"notes": {}}')
    beans = {"angular_leaf_spot": (40, 60, 200), "bean_rust": (50, 180, 60), "healthy": (200, 50, 40)}
    same_classes = make_squares(tmp_path / "beans", train=4, validation=2, test=2, colours=beans)
    run = train(data=str(same_classes), model=str(start)).run
    assert (run.model_folder / NOTES).read_text() == '{"notes": {}}'
    others = make_squares(tmp_path / "others", train=4, validation=2, test=2)
    assert not (train(data=str(others), model=str(start)).run.model_folder / NOTES).exists()
    # A run that was stopped and goes on keeps what was written for it meanwhile.
    (run.model_folder / NOTES).write_text('{"notes": {"en": {}}}')
    assert (train(run=run).run.model_folder / NOTES).read_text() == '{"notes": {"en": {}}}'


# The command for a model that exists already


def test_calibrate_makes_what_a_fine_tune_makes(
    done: Done,
    photos: Path,
    validation: Evaluation,
    classifier: LeafClassifier,
    capsys: pytest.CaptureFixture,
) -> None:
    own = abstention_of(classifier)
    (done.run.model_folder / ABSTENTION).unlink()
    assert abstention_of(classifier) is None
    assert (
        cli.main(
            ["calibrate", "--model", str(done.run.folder), "--data", str(photos), "--device", "cpu", "--json"]
        )
        == 0
    )
    counts = json.loads(capsys.readouterr().out)
    assert (
        set(counts) == {"temperature", "validation", "test"}
        and counts["validation"]["n"] == 60
        and counts["test"]["n"] == 36
    )
    assert same(own, abstention_of(classifier), validation)
    assert (
        cli.main(["calibrate", "--model", str(done.run.folder), "--data", str(photos), "--device", "cpu"])
        == 0
    )
    assert (
        f"Of 60 validation photos: diagnosis {counts['validation']['diagnosis']}" in capsys.readouterr().out
    )


def test_calibrate_refuses_photos_of_other_classes(
    done: Done, colours: Path, capsys: pytest.CaptureFixture
) -> None:
    before = (done.run.model_folder / ABSTENTION).read_bytes()
    assert (
        cli.main(["calibrate", "--model", str(done.run.folder), "--data", str(colours), "--device", "cpu"])
        == 2
    )
    assert "does not know the class blue" in capsys.readouterr().err
    assert (done.run.model_folder / ABSTENTION).read_bytes() == before
