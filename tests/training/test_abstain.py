"""The end of a fine-tune teaches the model when to be silent, on its own photos and no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.conftest import Done, Train
from vit_demo import cli
from vit_demo.abstention import Abstention, layer_of, load
from vit_demo.checkpoints import ABSTENTION
from vit_demo.data.sources import open_dataset
from vit_demo.diagnose.diagnosis import abstention_of, diagnose
from vit_demo.training import abstain
from vit_demo.training.abstain import answers_of, fit_abstention, tally
from vit_demo.training.evaluation import Evaluation, evaluate
from vit_demo.vit import LeafClassifier

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
def validation(classifier: LeafClassifier, photos: Path, done: Done) -> Evaluation:
    found = evaluate(classifier, open_dataset(photos)["validation"], layer=layer_of(classifier.blocks))
    return found.at_temperature(done.run.scores()["temperature"])


def same(own: Abstention, other: Abstention, found: Evaluation) -> bool:
    pairs = zip(own.judge(found.logits, found.features), other.judge(found.logits, found.features))
    return all(a.prediction_set == b.prediction_set and a.distance == pytest.approx(b.distance, rel=1e-3) for a, b in pairs)


def test_a_finished_run_has_it_beside_its_weights(done: Done, classifier: LeafClassifier, photos: Path, validation: Evaluation) -> None:
    fitted = abstention_of(classifier)
    assert fitted.temperature == done.run.scores()["temperature"] and fitted.labels == ("greenish", "grey", "reddish")
    assert fitted.least is not None and fitted.known.centres.shape == (3, 32)
    # made anew from the saved model and the train and validation photos it comes out the same
    assert same(fitted, fit_abstention(classifier, open_dataset(photos)["train"], validation), validation)
    counted = tally(fitted, validation)
    assert counted.n - counted.not_known == 58  # ceil(0.95 * 61) of 60
    text = (done.run.model_folder / "README.md").read_text(encoding="utf-8")
    assert f"| validation | 60 | {counted.diagnosis} |" in text and str(done.run.folder) not in text


def test_its_progress_is_told(done: Done) -> None:
    steps = [step for step in done.progress if "knows" in step.message]
    assert steps and (steps[-1].status, steps[-1].done, steps[-1].total) == ("scoring", 36, 36)


def test_a_run_with_few_validation_photos_says_so_and_still_ends(learned: Done) -> None:
    fitted = load(learned.run.model_folder, "mine", ["blue", "green", "red"], 32, 2)
    assert fitted.least is None and fitted.known is None
    assert "At least 19 validation photos" in (learned.run.model_folder / "README.md").read_text(encoding="utf-8")
    answer = diagnose(LeafClassifier.open(learned.run.folder, device="cpu"), Image.new("RGB", (30, 30), "red"))
    assert answer.verdict in ("diagnosis", "unsure") and answer.distance is None and answer.temperature == fitted.temperature


def test_another_kind_of_picture_is_not_known(classifier: LeafClassifier) -> None:
    stripes = np.zeros((24, 20, 3), np.uint8)
    stripes[::2] = 255
    answer = diagnose(classifier, Image.fromarray(stripes))
    assert answer.verdict == "not_known" and answer.distance > 1 and answer.prediction_set == []


def test_of_many_train_photos_a_drawn_part_is_looked_at(
    classifier: LeafClassifier, photos: Path, validation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abstain, "MOST_TRAIN", 30)
    train, seen = open_dataset(photos)["train"], []
    first = fit_abstention(classifier, train, validation, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (30, 30)
    second = fit_abstention(classifier, train, validation)
    np.testing.assert_array_equal(first.known.centres, second.known.centres)
    assert len(first.known.centres) == 3  # drawn from all of the split, which is sorted by class


def test_features_come_with_the_scores_only_where_they_are_asked_for(classifier: LeafClassifier, photos: Path) -> None:
    data = open_dataset(photos)["test"]
    plain, found = evaluate(classifier, data), evaluate(classifier, data, layer=1)
    assert plain.features is None and plain == found and "features" not in found.to_dict()
    logits, tokens = classifier.logits_and_tokens([row["image"] for row in data], 1)
    np.testing.assert_allclose(answers_of(found).features, tokens.numpy(), atol=1e-5)
    np.testing.assert_allclose(answers_of(found).logits, logits.numpy(), atol=1e-5)


def test_the_tally_counts_as_one_counts_by_hand(classifier: LeafClassifier, validation: Evaluation) -> None:
    fitted, counts, right = abstention_of(classifier), {"diagnosis": 0, "unsure": 0, "not_known": 0}, 0
    for logits, features, target in zip(validation.logits, validation.features, validation.targets):
        (judged,) = fitted.judge(logits[None], features[None])
        counts[judged.verdict] += 1
        right += judged.verdict == "diagnosis" and int(logits.argmax()) == target
    found = tally(fitted, validation)
    assert (found.n, found.diagnosis, found.right, found.unsure, found.not_known) == (60, counts["diagnosis"], right, *list(counts.values())[1:])
    assert found.accuracy == right / counts["diagnosis"]


# The command for a model that exists already


def test_calibrate_makes_what_a_fine_tune_makes(
    done: Done, photos: Path, validation: Evaluation, classifier: LeafClassifier, capsys: pytest.CaptureFixture
) -> None:
    own = abstention_of(classifier)
    (done.run.model_folder / ABSTENTION).unlink()
    assert abstention_of(classifier) is None
    assert cli.main(["calibrate", "--model", str(done.run.folder), "--data", str(photos), "--device", "cpu", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert set(counts) == {"temperature", "validation", "test"} and counts["validation"]["n"] == 60 and counts["test"]["n"] == 36
    assert same(own, abstention_of(classifier), validation)
    assert cli.main(["calibrate", "--model", str(done.run.folder), "--data", str(photos), "--device", "cpu"]) == 0
    assert f"Of 60 validation photos: diagnosis {counts['validation']['diagnosis']}" in capsys.readouterr().out


def test_calibrate_refuses_photos_of_other_classes(done: Done, colours: Path, capsys: pytest.CaptureFixture) -> None:
    before = (done.run.model_folder / ABSTENTION).read_bytes()
    assert cli.main(["calibrate", "--model", str(done.run.folder), "--data", str(colours), "--device", "cpu"]) == 2
    assert "does not know the class blue" in capsys.readouterr().err
    assert (done.run.model_folder / ABSTENTION).read_bytes() == before
