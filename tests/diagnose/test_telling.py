"""An answer in words: its numbers as they are, and a sentence in each language that names all that is
left.
"""

from __future__ import annotations

import json

import pytest

from vit_demo.common.words import LANGUAGES, percent_in, say
from vit_demo.diagnose.diagnosis import Diagnosis
from vit_demo.diagnose.telling import told
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.model.classifier import LeafClassifier

SCORES = {"bean_rust": 0.55, "angular_leaf_spot": 0.4, "healthy": 0.05}


@pytest.fixture(scope="module")
def embedded() -> LeafClassifier:
    return LeafClassifier.open(EMBEDDED)


def answer(verdict: str | None, chosen: list[str] | None) -> Diagnosis:
    return Diagnosis("leaf.jpg", "bean_rust", 0.55, SCORES, verdict, chosen, 1.5, 0.5, ["dark"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_sentence_names_what_is_left_in_the_language_and_the_numbers_stay(embedded, language):
    rust, spot = say("class.bean_rust", language), say("class.angular_leaf_spot", language)
    for verdict, chosen in [
        (None, None),
        ("diagnosis", ["bean_rust"]),
        ("unsure", ["bean_rust", "angular_leaf_spot"]),
        ("not_known", []),
    ]:
        given = answer(verdict, chosen)
        found = json.loads(json.dumps(told(embedded, given, language)))
        text = found.pop("text")
        assert found == {**given.to_dict(), "language": language}
        assert (rust in text, spot in text) == (verdict != "not_known", verdict == "unsure")
        assert (percent_in(language, 0.55) in text) == (verdict in (None, "diagnosis"))
        assert text[-1] in ".。" and "{" not in text and "_" not in text


def test_classes_of_an_own_model_are_called_what_they_are_called(tiny_model):
    assert told(LeafClassifier.open(tiny_model), answer(None, None), "zh")["text"].startswith(
        "最可能是Bean rust"
    )


def test_in_english_it_reads_as_it_is_meant(embedded):
    texts = [
        told(embedded, answer(*given), "en")["text"]
        for given in [("diagnosis", ["bean_rust"]), ("unsure", ["bean_rust", "healthy"])]
    ]
    assert texts == [
        "Most likely bean rust: 55.0\N{NO-BREAK SPACE}% probability.",
        "Not sure yet: either bean rust or healthy.",
    ]
