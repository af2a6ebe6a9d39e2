"""Several leaves on the page: one answer with the leaves behind it, each leaf with its own, in six
languages.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.common.words import LANGUAGES, say, speaking
from vit_demo.data.open.sources import open_dataset
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal, diagnose_files
from vit_demo.diagnose.several import MOST, combine
from vit_demo.diagnose.telling import sentence, told_together
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.tabs.diagnose import several
from vit_demo.ui.tabs.diagnose.answer_html import View, empty

OTHERS = {"bean_rust": "angular_leaf_spot", "angular_leaf_spot": "bean_rust", "healthy": "bean_rust"}


def leaf(label: str, verdict: str = "diagnosis") -> Diagnosis:
    scores = {label: 0.99, **{other: 0.005 for other in OTHERS if other != label}}
    chosen = {"diagnosis": [label], "unsure": [label, OTHERS[label]], "not_known": []}[verdict]
    return Diagnosis("leaf.jpg", label, 0.99, scores, verdict, chosen, 1.0, 0.5)


CASES = {
    "diagnosis": [leaf("bean_rust")] * 5 + [Refusal.of("notes.txt", UserError("diagnose.many_nothing"))],
    "unsure": [leaf("bean_rust", "unsure")] * 3,
    "mixed": [leaf("bean_rust")] * 3 + [leaf("angular_leaf_spot")] * 2 + [leaf("bean_rust", "unsure")],
    "sick": [leaf("healthy")] * 5 + [leaf("bean_rust")],
    "not_known": [leaf("bean_rust", "not_known")] * 3,
}


def told(case: str, language: str = "en") -> str:
    leaves = CASES[case]
    with speaking(language):
        return several.together_html(View(get_classifier(EMBEDDED)), combine(leaves), ["QUJD"] * len(leaves))


def words_of(html: str) -> str:
    """What is seen before the first folded part."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html.partition("<details")[0]))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two leaves of each class, and a file that is no photo."""
    folder, leaves = tmp_path_factory.mktemp("photos"), open_dataset("beans")["test"]
    files = [folder / f"leaf{number}.png" for number in range(6)]
    for number, file in enumerate(files):
        leaves[number * 25]["image"].save(file)
    lie = folder / "notes.jpg"
    lie.write_text("this is a shopping list")
    return [*map(str, files), str(lie)]


def test_the_answer_is_the_combined_one_with_each_leaf_and_its_picture(photos, tiny_model):
    said, html = several.show(photos, str(tiny_model))
    classifier = get_classifier(str(tiny_model))
    leaves = list(diagnose_files(classifier, photos))
    found = combine(leaves)
    assert [one.get("label") for one in said["leaves"]] == [getattr(one, "label", None) for one in leaves]
    assert [one["photo"] for one in said["leaves"]] == [Path(photo).name for photo in photos]
    assert (
        html.count("<li") >= 7
        and html.count("data:image/jpeg;base64,") == 6
        and "notes.jpg is not a photo" in html
    )
    assert all(escape(sentence(classifier, one, "en")) in html for one in leaves[:6])
    assert say("diagnose.told.from", count=found.voted, total=7) in html


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
def test_another_language_tells_the_same_without_asking_the_model_again(photos, tiny_model, language):
    with speaking("en"):
        said, _ = several.show(photos, str(tiny_model))
    _, expected = several.show(photos, str(tiny_model))
    asked = []
    handle = get_classifier(str(tiny_model)).model.register_forward_pre_hook(lambda *_: asked.append(1))
    try:
        again = several.retell(json.loads(json.dumps(said)))
    finally:
        handle.remove()
    assert not asked and again == expected


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_answer_is_told_in_every_language(case, language):
    seen = words_of(told(case, language))
    spot, rust = say("class.angular_leaf_spot", language), say("class.bean_rust", language)
    found = told_together(get_classifier(EMBEDDED), combine(CASES[case]), language)
    assert "{" not in seen + found["text"] and json.dumps(found)
    if case == "mixed":
        for count, name in ((3, rust), (2, spot), (1, say("diagnose.told.unclear", language))):
            part = say("diagnose.told.count", language, count=count, total=6, label=name)
            assert part in seen and part in found["text"]
    assert (escape(say("diagnose.several.sick_note", language)) in told(case, language)) == (case == "sick")
    if language == "zh":
        assert not re.findall(r"[A-Za-z]{2,}", seen)


def test_in_english_it_reads_as_it_is_meant():
    assert "Bean rust" in told("diagnosis") and "From 5 of 6 photos." in words_of(told("diagnosis"))
    assert "Either bean rust or angular leaf spot" in words_of(told("unsure"))
    assert "From" not in words_of(told("not_known")) and "<summary>What to do" not in told("not_known")
    assert "What to do: bean rust" in told(
        "sick"
    ) and "5 of 6 leaves: healthy 1 of 6 leaves: bean rust" in words_of(told("sick"))
    texts = [
        told_together(get_classifier(EMBEDDED), combine(CASES[case]), "en")["text"]
        for case in ("mixed", "unsure")
    ]
    assert texts == [
        (
            "The leaves differ. 3 of 6 leaves: bean rust; 2 of 6 leaves: angular leaf spot; 1 of 6 leaves:"
            " unclear. More than one of these may be present. From 6 of 6 photos."
        ),
        "Not sure yet: either bean rust or angular leaf spot. From 3 of 3 photos.",
    ]


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
def test_no_photo_too_many_and_none_that_can_be_used_are_said(photos, tiny_model, language):
    assert (
        several.show(None, str(tiny_model))
        == several.show([], str(tiny_model))
        == (None, empty(say(several.EMPTY)))
    )
    assert several.retell(None) == empty(say(several.EMPTY)) and escape(
        say(several.EMPTY, language)
    ) in several.retell(None)
    for files, why in (([photos[0]] * (MOST + 1), str(MOST)), (photos[6:], "notes.jpg")):
        said, html = several.show(files, str(tiny_model))
        assert (
            why in html
            and escape(say("diagnose.several.refused", language)) in html
            and several.retell(json.loads(json.dumps(said))) == html
        )


def test_what_a_file_is_called_is_plain_text(tmp_path, tiny_model):
    bad, good = tmp_path / "<img src=x>.jpg", tmp_path / "good.png"
    bad.write_text("no photo")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(good)
    _, html = several.show([str(bad), str(good)], str(tiny_model))
    assert "<img src=x" not in html and "&lt;img src=x" in html


def test_the_note_of_an_unsure_leaf_names_this_view():
    from vit_demo.ui.tabs.diagnose.answer_html import answer_html

    for language in LANGUAGES:
        with speaking(language):
            assert say("diagnose.several", language) in answer_html(
                View(get_classifier(EMBEDDED)), leaf("bean_rust", "unsure")
            )
