"""A diagnosis is the model's own probabilities, in order, whatever stands between the good photos."""

from __future__ import annotations

import dataclasses
import itertools
import json
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import say, speaking
from vit_demo.diagnose import diagnosis
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal, diagnose, diagnose_files
from vit_demo.diagnose.results import csv_row
from vit_demo.model import classifier as vit
from vit_demo.model.classifier import LeafClassifier


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> LeafClassifier:
    with pytest.MonkeyPatch.context() as patch:
        # bfloat16, which some CPUs would take here, gives other digits for another batch.
        patch.setattr(vit, "bf16_is_faster", lambda device_type: False)
        yield LeafClassifier.open(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Forty photos of all shapes, no two alike."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("photos")
    for number in range(40):
        pixels = np.full(
            (rng.integers(1, 60), rng.integers(1, 60), 3), rng.integers(0, 255, 3)
        ) + rng.integers(-20, 20, 3)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:02d}.png")
    return sorted(folder.iterdir())


def test_one_photo(classifier: LeafClassifier, photos: list[Path]) -> None:
    with Image.open(photos[0]) as photo:
        answer = diagnose(classifier, photo, name="mine")
        expected = classifier.probabilities([photo])[0]
    assert answer.photo == "mine"
    assert answer.scores == pytest.approx(dict(zip(classifier.labels, expected.tolist())))
    assert (
        answer.label == classifier.labels[int(expected.argmax())]
        and answer.probability == answer.scores[answer.label]
    )


def test_scores_are_sorted_and_sum_to_1(classifier: LeafClassifier, photos: list[Path]) -> None:
    answers = list(diagnose_files(classifier, photos))
    orders = set()
    for answer in answers:
        assert set(answer.scores) == set(classifier.labels)
        assert list(answer.scores.values()) == sorted(answer.scores.values(), reverse=True)
        assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-6)
        assert (answer.label, answer.probability) == next(iter(answer.scores.items()))
        orders.add(tuple(answer.scores))
    assert len(orders) > 1 and len({answer.probability for answer in answers}) > 30  # the photos do differ


def test_batches_keep_the_order_with_bad_files_in_between(
    classifier: LeafClassifier, photos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "empty.jpg").touch()
    whole = photos[3].read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    bad = itertools.cycle(
        [tmp_path / "text.jpg", tmp_path / "empty.jpg", tmp_path / "cut.png", tmp_path / "missing.png"]
    )
    paths = [next(bad)]
    for number, photo in enumerate(photos):
        paths += [photo] if number % 3 else [photo, next(bad)]
    paths += [next(bad)] * 20  # a whole batch of nothing
    assert len(paths) > 4 * settings.load().batch_size
    answers = list(diagnose_files(classifier, paths))
    assert [answer.photo for answer in answers] == [str(path) for path in paths]
    for answer, path in zip(answers, paths):
        if path not in photos:
            assert isinstance(answer, Refusal) and path.name in answer.error
            continue
        with Image.open(path) as photo:
            expected = classifier.probabilities([photo])[0].tolist()
        assert isinstance(answer, Diagnosis) and answer.scores == pytest.approx(
            dict(zip(classifier.labels, expected)), abs=1e-5
        )


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 32])
def test_any_number_of_photos(classifier: LeafClassifier, photos: list[Path], count: int) -> None:
    assert [answer.photo for answer in diagnose_files(classifier, photos[:count])] == [
        str(path) for path in photos[:count]
    ]


def test_a_batch_is_one_forward_and_answers_come_batch_by_batch(
    classifier: LeafClassifier, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    forward = LeafClassifier.forward
    monkeypatch.setattr(
        LeafClassifier, "forward", lambda self, pixels: sizes.append(len(pixels)) or forward(self, pixels)
    )
    own = settings.load()
    monkeypatch.setattr(settings, "load", lambda: dataclasses.replace(own, batch_size=4))
    answers = diagnose_files(classifier, iter(photos[:10]))
    assert isinstance(answers, types.GeneratorType)
    next(answers)
    assert sizes == [4]  # the first answer does not wait for the last photo
    list(answers)
    assert sizes == [4, 4, 2]


def test_only_the_small_photo_is_kept_in_a_batch(
    classifier: LeafClassifier, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    probabilities = LeafClassifier.probabilities
    monkeypatch.setattr(
        LeafClassifier, "probabilities", lambda self, batch: seen.append(batch) or probabilities(self, batch)
    )
    list(diagnose_files(classifier, photos[:5]))
    assert [(tuple(batch.shape), batch.dtype) for batch in seen] == [((5, 3, 32, 32), torch.uint8)]


def test_to_dict_is_json(classifier: LeafClassifier, photos: list[Path]) -> None:
    answer, refusal = diagnose_files(classifier, [photos[0], "missing.png"])
    back = json.loads(json.dumps(answer.to_dict()))
    nothing = {
        "verdict": None,
        "prediction_set": None,
        "temperature": None,
        "distance": None,
        "quality": answer.quality,
    }  # never taught when to be silent
    assert back == {
        "photo": str(photos[0]),
        "label": answer.label,
        "probability": answer.probability,
        "scores": answer.scores,
        **nothing,
    }
    assert list(back["scores"]) == list(answer.scores)
    assert json.loads(json.dumps(refusal.to_dict())) == {"photo": "missing.png", "error": refusal.error}


def test_a_refusal_is_said_in_the_language_of_its_reader_and_kept_in_english() -> None:
    with speaking("sw"):
        refused = Refusal.of("leaf.jpg", UserError("diagnose.probability", percent="9 %"))
        assert (
            refused.why
            == str(refused.as_error())
            == say("diagnose.probability", "sw", percent="9 %")
            != "9 % probability"
        )
        assert refused.to_dict() == {"photo": "leaf.jpg", "error": "9 % probability"}
        assert Refusal.from_json(json.loads(json.dumps(refused.as_json()))) == refused
        assert Refusal.from_json(refused.to_dict()).why == "9 % probability"  # kept by an earlier version
        assert csv_row(refused, "sw", ["photo", "error", "language"]) == ["leaf.jpg", "9 % probability", "sw"]


def test_an_error_in_the_program_is_not_taken_for_a_bad_photo(
    classifier: LeafClassifier, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "open_photo", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(diagnose_files(classifier, photos[:1]))
