"""The form beneath an answer: offered where there is an answer, stores nothing without consent, and says what
it did.
"""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from vit_demo.common.words import LANGUAGES, say, speaking
from vit_demo.data.corrections import review_set
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.ui.app import build
from vit_demo.ui.tabs import data
from vit_demo.ui.tabs.diagnose import correction
from vit_demo.ui.tabs.finetune import form as train_form

SCORES = {"bean_rust": 0.55, "angular_leaf_spot": 0.4, "healthy": 0.05}
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def photo(tmp_path: Path) -> str:
    file = tmp_path / "leaf <1>.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(file)
    return str(file)


def said(
    verdict: str | None = "diagnosis", model: str = EMBEDDED, scores: dict[str, float] | None = None
) -> dict:
    scores = scores or SCORES
    label = next(iter(scores))
    return {
        "model": model,
        "answer": {
            "photo": "",
            "label": label,
            "probability": scores[label],
            "scores": scores,
            "verdict": verdict,
        },
    }


def filled_in(photo: str, **values: str) -> dict:
    """What the page sends of the form that was drawn for this photo."""
    token = re.search(r'name="photo" value="(\w+)"', correction.draw(photo, said()))[1]
    return {"photo": token, "label": "healthy", "other": "", "note": "", "keep": "on", **values}


def send(photo: str | None, given: dict, told: dict | None = None, language: str = "en") -> str:
    with speaking(language):
        return correction.answer(photo, told or said(), gr.EventData(None, {"value": given, "index": 0}))


def options(html: str) -> dict[str, str]:
    """Value and text of each class and of something else."""
    return {
        unescape(value): unescape(text)
        for value, text in re.findall(r'<option value="([^"]+)"[^>]*>([^<]*)</option>', html)
    }


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
@pytest.mark.parametrize("verdict", [None, "diagnosis", "unsure", "not_known"])
def test_the_classes_are_offered_in_the_language_of_the_page(photo, verdict, language):
    html = correction.draw(photo, said(verdict))
    offered = options(html)
    assert list(offered) == [*SCORES, correction.OTHER] and offered[correction.OTHER] == say(
        "diagnose.correction.other", language
    )
    for label in SCORES:
        assert say(f"class.{label}", language).lower() in offered[label].lower()
    sure = verdict in (None, "diagnosis")
    right = say("diagnose.correction.right", language, label="").strip(" :：")
    assert [right in text for text in offered.values()] == [sure, False, False, False]
    assert (say("diagnose.correction.title", language) in unescape(html)) == sure
    # Nothing is ticked or chosen beforehand.
    assert (
        "checked" not in html
        and html.count("selected") == 1
        and say("diagnose.correction.where", language) in unescape(html)
    )
    assert "<details class" in html and "<details open" not in html


def test_no_form_without_an_answer(photo, tiny_model):
    for nothing in (
        (None, said()),
        (photo, None),
        (photo, {"error": "No photo."}),
        (photo, said(model="/a/model/that/was/deleted")),
    ):
        assert correction.draw(*nothing) == ""


def test_what_is_stored_is_the_photo_the_label_and_what_the_model_said(photo):
    html = send(photo, filled_in(photo, note="by the well"))
    (kept,) = review_set.corrections()
    assert (kept.label, kept.note) == ("healthy", "by the well")
    assert (kept.said.label, kept.said.probability, kept.said.verdict, kept.said.model) == (
        "bean_rust",
        0.55,
        "diagnosis",
        EMBEDDED,
    )
    with Image.open(kept.file) as stored:
        assert stored.size == (80, 60)
    assert (
        "Photos in the review set: 1." in html
        and "This photo: healthy." in html
        and f'data-remove="{kept.id}"' in html
        and "<form" not in html
    )
    again = send(photo, {"remove": kept.id})
    assert review_set.corrections() == [] and "Photos in the review set: 0." in again and "<form" in again


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
def test_it_says_what_it_did_in_the_language_of_the_page(photo, language):
    html = unescape(send(photo, filled_in(photo), language=language))
    for key, values in (
        ("stored", {}),
        ("count", {"count": 1}),
        ("stored_as", {"label": say("class.healthy", language)}),
        ("next", {}),
        ("remove", {}),
    ):
        assert say(f"diagnose.correction.{key}", language, **values) in html
    if language == "zh":
        assert (
            set(re.findall(r"[A-Za-z]{2,}", re.sub(r"<[^>]*>", "", html))) == set()
        )  # the names of the tabs too


@pytest.mark.parametrize(
    ("typed", "language", "label"),
    [
        ("Powdery mildew", "en", "Powdery mildew"),
        ("bean rust", "en", "bean_rust"),
        ("BEAN_RUST", "sw", "bean_rust"),
        ("Roya  del frijol", "es", "bean_rust"),
        ("白粉病", "zh", "白粉病"),
        ("<b>x</b>", "fr", "<b>x</b>"),
    ],
)
def test_something_else_can_be_typed_and_what_is_known_is_recognised(photo, typed, language, label):
    html = send(photo, filled_in(photo, label=correction.OTHER, other=typed), language=language)
    assert review_set.corrections()[0].label == label and "<b>x" not in html


def test_a_class_that_is_chosen_wins_over_a_name_typed_before(photo):
    send(photo, filled_in(photo, other="mosaic"))
    assert review_set.corrections()[0].label == "healthy"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"keep": ""}, "Tick first"),
        ({"photo": "0" * 16}, "another one"),
        ({"label": " ", "other": " "}, "choose a class"),
        ({"label": "x" * 101}, "at most 100"),
        ({"label": {"a": 1}, "keep": None}, "Tick first"),
    ],
)
def test_nothing_is_stored_where_something_is_missing(photo, refusal, change, why):
    assert why in refusal(send, photo, {**filled_in(photo), **change})
    assert review_set.corrections() == []


def test_nothing_is_stored_of_a_photo_that_is_gone_or_was_refused(photo, refusal):
    given = filled_in(photo)
    assert "another one" in refusal(send, None, given)
    assert "no answer" in refusal(send, photo, given, {"error": "No photo."})
    assert "no photo" in refusal(send, photo, {"remove": "../../etc/passwd"}).lower()


def test_names_of_an_own_model_are_plain_text(photo, tiny_model):
    scores = {'a"><script>x': 0.9, "b": 0.1}
    html = correction.draw(photo, said(None, str(tiny_model), scores))
    assert list(options(html))[:2] == list(scores) and "<script" not in html


def form_is_there() -> bool:
    return "diagnose-correction" in [
        block.elem_id for block in build().blocks.values() if hasattr(block, "elem_id")
    ]


def test_it_can_be_switched_off(monkeypatch, refusal):
    assert (
        form_is_there()
        and data.corrected() in data.sources()
        and ("beans + review" in dict(map(reversed, train_form._sources())))
    )
    monkeypatch.setenv("VIT_DEMO_REVIEW", "off")
    assert not form_is_there() and data.sources() == train_form._sources() == data.usual_sources()
    monkeypatch.setenv("VIT_DEMO_REVIEW", "maybe")
    assert "on or off" in refusal(data.sources)


def seen_in_data(summary: str = "", **asked: object) -> dict:
    """What the Data tab shows of the corrections: opened, or come back to, and then asked for a page or
    photo.
    """
    _, shown = data.page.open_first("review", summary)
    event = SimpleNamespace(value=json.dumps({**shown["asked"], **asked}))
    return data.browse.look("review", EMBEDDED, event) if asked else shown


def test_the_data_tab_shows_corrections_as_they_come_and_go(photo):
    send(photo, filled_in(photo))
    shown = seen_in_data()
    assert [row["label"] for row in shown["rows"]] == ["Healthy"] and "1 photos" in shown["where"]
    # The same photo by another name, with the set open: coming back to the tab shows it.
    send(photo, filled_in(photo, label="bean_rust"))
    assert [row["label"] for row in seen_in_data("the summary as it was")["rows"]] == ["Bean rust"]


def test_a_photo_that_was_taken_away_since_is_not_shown(photo):
    send(photo, filled_in(photo))
    first = seen_in_data(photo=0)["photo"]
    kept = review_set.corrections()[0]
    Image.new("RGB", (60, 80), "green").save(photo)
    send(photo, filled_in(photo, label="bean_rust"))
    review_set.remove(kept.id)
    shown = seen_in_data(photo=1)
    assert (
        shown["total"] == 1
        and "Bean rust" in shown["photo"]["about"]
        and shown["photo"]["name"] != first["name"]
    )
