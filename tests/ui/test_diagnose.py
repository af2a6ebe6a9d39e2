"""The Diagnose tab: the map beside the answer is that of the class that is said."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vit_demo.explain.saliency import DEFAULT, saliency
from vit_demo.explain.target import Target
from vit_demo.ui.figures.overlay import heat_overlay
from vit_demo.ui.tabs import diagnose
from vit_demo.ui.words import say
from vit_demo.vit import LeafClassifier


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("photo") / "leaf.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(file)
    return str(file)


def test_the_map_shows_what_speaks_for_the_answer(photo, tiny_model):
    answer, picture, note = diagnose.show(photo, str(tiny_model))
    classifier = LeafClassifier.open(tiny_model)
    pixel_values = classifier.preprocess([Image.open(photo)])
    label = int(classifier.logits([Image.open(photo)])[0].argmax())
    maps = [heat_overlay(Image.open(photo), saliency(classifier, pixel_values, DEFAULT, Target(index))[0].numpy()) for index in range(3)]
    assert [np.array_equal(np.asarray(picture["value"]), np.asarray(drawn)) for drawn in maps] == [index == label for index in range(3)]
    title = ("Angular leaf spot", "Bean rust", "Healthy")[label]
    assert f'answer-label">{title}<' in answer and f"speak most for {title}." in note["value"] and say(f"method.{DEFAULT}") in note["value"]
    assert picture["visible"] and note["visible"]


def test_what_is_no_photo_leaves_no_map_of_the_photo_before(tmp_path, tiny_model):
    lie = tmp_path / "notes.jpg"
    lie.write_text("this is a shopping list")
    answer, picture, note = diagnose.show(str(lie), str(tiny_model))
    assert "is not a photo" in answer and picture["value"] is None and not picture["visible"] and not note["visible"]
