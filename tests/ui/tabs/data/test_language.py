"""The Data tab in another language: no text of it stays behind, and what is shown is told again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from tests.training.conftest import squares
from tests.ui.tabs.data.test_bring import archive, ended, event  # noqa: F401 (archive is a fixture)
from tests.ui.tabs.data.test_check import Page
from vit_demo.common import words
from vit_demo.common.errors import UserError
from vit_demo.common.words import speaking
from vit_demo.data.browse import statistics as measuring
from vit_demo.data.checks import checkup
from vit_demo.data.importing import imports
from vit_demo.ui.shared.speech import Speech
from vit_demo.ui.tabs.data import bring, browse, check, opened, page, statistics

# What is of the data and not of the page: splits, classes, files, and what Gradio or Python say.
OF_THE_DATA = {
    "train",
    "validation",
    "test",
    "red",
    "green",
    "blue",
    "healthy",
    "rust",
    "px",
    "png",
    "src",
    "data",
    "image",
    "jpeg",
    "leaves",
    "zip",
    "MB",
}


@pytest.fixture(autouse=True)
def marked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has just started, whose French is English with ⟦ and ⟧ around each text."""
    for jobs in (measuring.JOBS, checkup.JOBS, imports.JOBS):
        jobs.clear()
    opened._opened.clear()
    opened._learned.clear()
    english = words.words()
    french = {key: f"⟦{text}⟧" for key, text in english.items()} | {
        "diagnose.decimal_point": ",",
        "diagnose.comma": ", ",
    }
    monkeypatch.setattr(words, "words", lambda language="en": french if language == "fr" else english)
    monkeypatch.setattr(statistics, "TICK", 0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos with a copy in another split, a wrong label, and a broken file."""
    place = squares(tmp_path / "set", 8, 2, 2)
    shutil.copy(place / "train" / "green" / "003.png", place / "test" / "green" / "copy.png")
    (place / "train" / "red" / "005.png").rename(place / "train" / "blue" / "wrong.png")
    (place / "validation" / "red" / "000.png").write_bytes(b"no photo")
    return place


def unmarked(html: str) -> list[str]:
    """Words that a person is shown (or read out) and that are in no marked text."""
    html = re.sub(r'data:image/jpeg;base64,[^"]*|<pre.*?</pre>', "", html, flags=re.DOTALL)
    told = (
        " ".join(re.findall(r'(?:title|alt|placeholder|aria-label)="([^"]*)"', html))
        + " "
        + re.sub(r"<[^>]*>", " ", html)
    )
    while (less := re.sub("⟦[^⟦⟧]*⟧", " ", told)) != told:
        told = less
    told = re.sub(r"\S*/\S*", " ", told)  # paths
    return [
        word
        for word in re.findall(r"[^\W\d_]{2,}", told)
        if word.lower() not in {one.lower() for one in OF_THE_DATA}
    ]


def test_the_look_for_words_sees_planted_ones():
    assert unmarked(
        '<p title="Hidden">⟦Said ⟦within⟧⟧ train/red/1.png <b>Planted</b> 12 px</p><pre>code</pre>'
    ) == ["Hidden", "Planted"]


def test_all_of_check_is_in_the_language_of_the_page(folder, tiny_model):
    with speaking("fr"):
        shown = Page(folder, tiny_model)
        assert unmarked("".join(shown.parts.values())) == [] and "⟦Check 37 photos⟧" in shown.parts["head"]
        shown.press("start")
        assert unmarked(shown.parts["head"]) == []
        shown.wait()
        for kind in re.findall('data-to="([a-z_]+)" aria', shown.parts["kinds"]):
            shown.press("kind", to=kind)
            assert unmarked("".join(shown.parts.values())) == [], kind
        shown.press("exclude")
        shown.press("journal", open=True)
        assert unmarked("".join(shown.parts.values())) == [] and "⟦Left out: " in shown.parts["undo"]
    # The script asks again where the page speaks another language: nothing is read anew.
    before = shown.asked
    shown.press("again")
    assert "⟦" not in "".join(shown.parts.values()) and shown.asked["photos"] == before["photos"]


def test_photos_that_are_refused_are_refused_in_the_other_language_too(tiny_model):
    shown = Page("/no/such/folder", tiny_model)
    with speaking("fr"):
        shown.press("again")
    assert "answer-refused" in shown.parts["head"] and shown.asked["source"] == "/no/such/folder"


def test_all_of_browse_is_in_the_language_of_the_page(folder, tiny_model):
    with speaking("fr"):
        summary, shown = page.open_photos(str(folder))
        assert unmarked(summary) == []
        list(statistics.show(str(folder)))
        Page(folder, tiny_model).read()

        def look(**asked: object) -> dict:
            return browse.look(
                str(folder),
                str(tiny_model),
                SimpleNamespace(value=json.dumps({**shown["asked"], "fields": True, **asked})),
            )

        for field in look()["fields"]:
            texts = [field["title"], *(text for _, text in field["options"])]
            assert unmarked(" ".join(texts)) == [], texts
        assert unmarked(look()["where"] + look(text="nowhere")["where"]) == []
        for place in range(6):
            assert unmarked(look(photo=place)["photo"]["about"]) == []
    summary, answer = page.look(
        str(folder), str(tiny_model), SimpleNamespace(value=json.dumps({**shown["asked"], "fields": True}))
    )
    assert (
        "⟦" not in summary + json.dumps(answer)
        and page.look(str(folder), "embedded", SimpleNamespace(value=json.dumps(shown["asked"])))[0]
        == gr.skip()
    )


def test_all_numbers_are_in_the_language_of_the_page(folder):
    with speaking("fr"):
        told = list(statistics.show(str(folder)))
        assert [unmarked(html) for html in told] == [[]] * len(told)
    source = re.search('data-source="([^"]*)"', told[-1])[1]
    again = list(statistics.again(SimpleNamespace(value=source)))
    assert source == str(folder) and len(again) == 1 and "⟦" not in again[0]
    assert list(statistics.again(SimpleNamespace(value=None))) == []


def test_all_of_what_is_brought_is_in_the_language_of_the_page(archive):  # noqa: F811 (a fixture)
    with speaking("fr"):
        answer = ended(bring.begin([str(archive)], event(do="begin", name="leaves")))
        head = re.sub(
            "<li>.*?</li>", "", str(answer["parts"]["head"])
        )  # what is said of each file is no text of the tab
        assert set(unmarked(head)) <= {"He", "lt", "gt", "althy"}  # he<b>althy, escaped
        assert set(unmarked(answer["parts"]["list"])) <= {"my", "field"}
        refused = bring.begin([], event(do="begin", name="x"))
        assert "⟦Choose a zip" in refused["parts"]["head"]
    # Told again: a head that can be asked for, and one of which the script has all languages.
    again = bring.act(event(do="again", name="leaves"))
    assert "⟦" not in again["parts"]["head"] + again["parts"]["list"] and again["job"] == answer["job"]
    assert bring.act(event(do="list"))["parts"] == {"list": again["parts"]["list"]}
    told = bring.act(event(do="tell", name="leaves"))
    assert told["tells"] == "leaves" and told["parts"] == again["parts"]
    assert refused["heads"]["fr"] == refused["parts"]["head"] and "<b>Choose a zip" in refused["heads"]["en"]


def test_the_parts_of_the_tab_speak(monkeypatch):
    """Each text that Gradio draws, and the words of each script."""
    monkeypatch.setenv("VIT_DEMO_REVIEW", "on")
    with gr.Blocks():
        speech = Speech()
        with gr.Tab("Data") as tab:
            page.build(tab, gr.Dropdown(), speech)
    with speaking("fr"):
        updates = [{name: told() for name, told in texts.items()} for _, texts in speech._texts]
    stages = [update["words"] for update in updates if isinstance(update.get("words"), dict)]
    assert [stage["language"] for stage in stages] == ["fr"] * 3
    assert all(text.startswith("⟦") for stage in stages for text in stage["texts"].values())
    said = [text for update in updates for name, text in update.items() if name in ("label", "info", "value")]
    assert len(said) >= 8 and all(text.startswith("⟦") for text in said)
    # What is quoted in a script, Gradio takes for the name of an event, and then the words would not arrive.
    scripts = [component.js_on_load for component, texts in speech._texts if "words" in texts]
    assert len(scripts) == 4 and not any(re.search("['\"`]words['\"`]", script) for script in scripts)


def test_the_button_of_the_mended_set_is_told_again(folder, tiny_model):
    shown = Page(folder, tiny_model)
    update, label = check.hand_out(shown.event("parquet"))
    assert (
        update["label"]
        == str(label)
        == f"Download mended-parquet.zip ({Path(update['value']).stat().st_size / 1e6:,.1f} MB)"
    )
    with speaking("fr"):
        assert str(label).startswith("⟦Download")
    with pytest.raises(UserError):
        check.hand_out(shown.event("push", to="me/leaves"))
