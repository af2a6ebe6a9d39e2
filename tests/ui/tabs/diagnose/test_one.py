"""The Diagnose tab: the answer with its map and notes, in six languages, and nothing said where nothing is
known.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from vit_demo.common.words import LANGUAGES, Sentence, current_language, say, speaking
from vit_demo.diagnose.diagnosis import Diagnosis
from vit_demo.diagnose.notes import FILE
from vit_demo.explain.attribution.methods import DEFAULT
from vit_demo.explain.attribution.saliency import saliency
from vit_demo.explain.attribution.target import Target
from vit_demo.figures.overlay import heat_overlay
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.shared.speech import Speech
from vit_demo.ui.tabs.diagnose import one, page
from vit_demo.ui.tabs.diagnose.answer_html import View, answer_html

SCORES = {"bean_rust": 0.55, "angular_leaf_spot": 0.4, "healthy": 0.05}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("photo") / "leaf.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(file)
    return str(file)


@pytest.fixture
def own_model(tiny_model: Path, tmp_path: Path) -> Path:
    """A model of one's own, to put notes into."""
    return Path(shutil.copytree(tiny_model, tmp_path / "own"))


def answered(
    verdict: str | None, chosen: list[str], language: str | None = None, model: str = EMBEDDED
) -> str:
    """The HTML of an answer with this verdict."""
    with speaking(language or current_language()):
        return answer_html(
            View(get_classifier(model)), Diagnosis("leaf.jpg", "bean_rust", 0.55, SCORES, verdict, chosen)
        )


def headline(html: str) -> str:
    return re.search(r'answer-label">(.*?)</div>', html)[1]


def seen(html: str) -> str:
    """The words that are seen, without those of sources, which are called what they are called."""
    return re.sub(r"<[^>]*>", " ", re.sub(r'<ol class="note-sources">.*?</ol>', "", html, flags=re.S))


def test_the_map_shows_what_speaks_for_the_answer(photo, tiny_model):
    said, answer, why, picture, note = one.show(photo, str(tiny_model))
    classifier = LeafClassifier.open(tiny_model)
    pixel_values = classifier.preprocess([Image.open(photo)])
    label = int(classifier.logits([Image.open(photo)])[0].argmax())
    maps = [
        heat_overlay(Image.open(photo), saliency(classifier, pixel_values, DEFAULT, Target(index))[0].numpy())
        for index in range(3)
    ]
    assert [np.array_equal(np.asarray(picture["value"]), np.asarray(drawn)) for drawn in maps] == [
        index == label for index in range(3)
    ]
    title = ("Angular leaf spot", "Bean rust", "Healthy")[label]
    assert (
        headline(answer) == title
        and f"speak most for {title}." in note
        and say(f"diagnose.method.{DEFAULT}") in note
    )
    assert why["visible"] and said["answer"]["label"] == classifier.labels[label]


def test_what_is_no_photo_leaves_no_map_of_the_photo_before(tmp_path, tiny_model):
    lie = tmp_path / "notes.jpg"
    lie.write_text("this is a shopping list")
    with speaking("sw"):
        said, answer, why, picture, note = one.show(str(lie), str(tiny_model))
    assert 'lang="sw"' in answer and "notes.jpg" in answer and say("diagnose.refused", "sw") in answer
    assert picture["value"] is None and not why["visible"] and note == ""
    with speaking("fr"):
        told, _ = one.retell(json.loads(json.dumps(said)))
        assert str(escape(Sentence.from_json(said["error"]))) in told and say("diagnose.refused") in told
    assert "notes.jpg is not a photo. Choose a picture file: JPEG, " in one.retell(said)[0]


def test_without_a_photo_it_says_what_to_wait_for(tiny_model):
    with speaking("pt"):
        said, answer, why, picture, note = one.show(None, str(tiny_model))
    assert (
        said is None
        and say("diagnose.empty", "pt") in answer
        and not why["visible"]
        and picture["value"] is None
    )


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
def test_another_language_tells_the_same_answer_without_asking_the_model_again(
    photo, tiny_model, own, language
):
    model = str(tiny_model) if own else EMBEDDED
    with speaking("en"):
        said, *_ = one.show(photo, model)
    _, answer, _, _, note = one.show(photo, model)
    asked = []
    handle = get_classifier(model).model.register_forward_pre_hook(lambda *_: asked.append(1))
    try:
        told = one.retell(json.loads(json.dumps(said)))
    finally:
        handle.remove()
    assert not asked and told == (answer, note)


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
def test_all_texts_of_the_tab_are_told_in_the_language_chosen(photo, language):
    with gr.Blocks() as built:
        speech = Speech()
        page.build(gr.Dropdown(), speech, [photo])
        speech.wire(built)
    (called,) = (
        call for call in built.fns.values() if call.fn and (speech.language._id, "change") in call.targets
    )
    told = called.fn(language, *[None] * (len(called.inputs) - 1))
    assert len(told) == len(called.outputs) == len(set(called.outputs))
    updates = [update for update in told if isinstance(update, dict)]
    assert say("diagnose.touch") in [update.get("placeholder") for update in updates]
    texts = [text for text in told if isinstance(text, str)] + [
        str(text) for update in updates for key, text in update.items() if key != "__type__"
    ]
    assert say("diagnose.lead") in texts and any(escape(say("diagnose.empty")) in text for text in texts)
    # Texts alone: with a value, a photo would be taken away or asked about again.
    assert all(
        set(update) <= {"label", "placeholder", "info", "__type__"} or set(update) == {"value", "__type__"}
        for update in updates
    )
    if language == "zh":
        assert not re.findall(r"[A-Za-z]{2,}", seen(" ".join(texts)))


@pytest.mark.parametrize("verdict", [None, "diagnosis", "unsure", "not_known"])
def test_in_chinese_nothing_is_left_in_english(verdict):
    chosen = {"unsure": ["bean_rust", "angular_leaf_spot"], "not_known": []}.get(verdict, ["bean_rust"])
    words = set(re.findall(r"[A-Za-z]{2,}", seen(answered(verdict, chosen, "zh"))))
    assert words <= {"Uromyces", "appendiculatus", "Pseudocercospora", "griseola"}
    with speaking("zh"):
        assert not re.findall(r"[A-Za-z]{2,}", seen(one.retell(None)[0]))


@pytest.mark.parametrize("verdict", [None, "diagnosis"])
def test_an_answer_names_the_class_its_probability_and_what_to_do(verdict):
    html = answered(verdict, ["bean_rust"])
    assert (
        headline(html) == "Bean rust"
        and "55.0\N{NO-BREAK SPACE}% probability" in html
        and "no laboratory test" in html
    )
    assert html.count("<details") == 2 and "<summary>What to do</summary>" in html
    assert "Uromyces appendiculatus" in html and "Pseudocercospora" not in html
    assert all(
        say(f"notes.{part}") in html
        for part in ("what", "tell_apart", "now", "next_season", "ask", "sources")
    )


def test_unsure_names_what_is_left_with_a_note_on_each():
    html = answered("unsure", ["bean_rust", "angular_leaf_spot"])
    assert headline(html) == "Either bean rust or angular leaf spot" and "more photos" in html
    assert (
        headline(answered("unsure", ["bean_rust", "angular_leaf_spot"], "fr"))
        == "Soit rouille du haricot, soit maladie des taches angulaires"
    )
    assert (
        "What to do: bean rust" in html
        and "What to do: angular leaf spot" in html
        and "probability" not in html
    )


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
def test_what_is_not_known_gets_no_diagnosis_but_folded(language):
    html = answered("not_known", [])
    open_part, _, folded = html.partition("<details")
    rust = say("class.bean_rust", language)
    assert (
        headline(html) == escape(say("diagnose.not_known_label", language))
        and escape(say("diagnose.not_known_note", language)) in open_part
    )
    assert rust not in open_part.lower() and escape(say("diagnose.would_be", language, label=rust)) in folded
    assert html.count("<details") == 1 and "Uromyces" not in html


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
def test_what_is_wrong_with_the_photo_stands_before_the_answer(tmp_path, tiny_model, language):
    file = tmp_path / "dark.png"
    Image.fromarray(np.random.default_rng(2).integers(0, 40, (60, 80, 3), dtype=np.uint8)).save(file)
    said, answer, *_ = one.show(str(file), str(tiny_model))
    before = answer.partition("answer-label")[0]
    assert {"dark", "small"} <= set(said["answer"]["quality"])
    assert all(escape(say(f"quality.{problem}", language)) in before for problem in said["answer"]["quality"])
    assert "answer-quality" not in answered("diagnosis", ["bean_rust"])


def test_what_is_not_known_gets_no_map(tmp_path):
    """Where the embedded model knows when to be silent: grey noise is no leaf."""
    if not (get_classifier(EMBEDDED).checkpoint.folder / "abstention.safetensors").is_file():
        pytest.skip("the embedded model does not know yet when to be silent")
    file = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (224, 224), dtype=np.uint8)).save(file)
    said, answer, why, picture, note = one.show(str(file), EMBEDDED)
    assert said["answer"]["verdict"] == "not_known" and "answer-not_known" in answer
    assert not why["visible"] and picture["value"] is None and note == ""


def test_classes_of_an_own_model_are_called_what_they_are_called(own_model):
    html = answered(None, [], "zh", str(own_model))
    assert headline(html) == "Bean rust" and "What to do" not in html and say("notes.title", "zh") not in html


def test_notes_of_an_own_model_are_plain_text(own_model):
    note = {"what": [{"text": "<img src=x onerror=alert(1)> & more", "source": "s"}]}
    (own_model / FILE).write_text(
        json.dumps(
            {"sources": {"s": "<b>A book</b>"}, "notes": {'"><script>': {}, "sw": {"bean_rust": note}}}
        )
    )
    html = answered(None, [], "es", str(own_model))
    assert (
        "&lt;img src=x onerror=alert(1)&gt; &amp; more" in html
        and "&lt;b&gt;A book" in html
        and "<img" not in html
        and "<script" not in html
    )
    assert say("notes.what", "es") in html and 'lang="sw"' in html


def test_broken_notes_of_an_own_model_leave_the_answer_alone(own_model, photo, caplog):
    (own_model / FILE).write_text("{")
    _, answer, *_ = one.show(photo, str(own_model))
    assert headline(answer) and "What to do" not in answer and FILE in caplog.text
