"""The list of languages: it changes texts and nothing else, and each page is answered in its own language."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.context import LocalContext

from vit_demo.common.errors import UserError
from vit_demo.common.words import LANGUAGES, current_language, say, speaking
from vit_demo.ui import app
from vit_demo.ui.shared import speech
from vit_demo.ui.shared.components import polite
from vit_demo.ui.shared.speech import Speech, Told, remember, restore

# What of a component is a text, and those whose value is one; the value of all others is a person's.
TEXTS = {"words", "label", "info", "placeholder", "choices", "__type__"}
SHOWS_ITS_VALUE = (gr.Button, gr.Markdown, gr.HTML)


@pytest.fixture(autouse=True)
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """No page is remembered."""
    monkeypatch.setattr(speech, "_chosen", type(speech._chosen)())


def page_of(session: str, accepted: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(session_hash=session, headers={"accept-language": accepted} if accepted else {})


@pytest.fixture
def answering() -> Callable:
    """Call a function as Gradio does while it answers a page."""

    def call(page: SimpleNamespace, function: Callable, *arguments: object) -> object:
        token = LocalContext.request.set(page)
        try:
            return function(*arguments)
        finally:
            LocalContext.request.reset(token)

    return call


def on_language(built: gr.Blocks) -> list:
    """What is called where the language changes."""
    language = next(block for block in built.blocks.values() if getattr(block, "elem_id", None) == "language")
    return [call for call in built.fns.values() if call.fn and (language._id, "change") in call.targets]


@pytest.fixture(scope="module")
def built() -> gr.Blocks:
    return app.build()


def test_the_switch_is_one_request_for_texts_and_answers():
    with gr.Blocks() as built:
        speaks = Speech()
        said, *told = gr.JSON(), *(gr.HTML() for _ in range(3))
        speaks.retells(
            lambda value: (f"{current_language()} 1 {value}", f"{current_language()} 2 {value}"),
            [said],
            told[:2],
        )
        button = speaks(gr.Button, value=Told("page.language"), elem_id="button")
        speaks.retells(lambda value: f"{current_language()} 3 {value}", [said], told[2:])
        speaks.wire(built)
    (called,) = on_language(built)
    assert called.inputs == [speaks.language, said] and called.outputs == [speaks.language, button, *told]
    own, first, *others = called.fn("fr", "x")
    assert own["label"] == say("page.language", "fr") and "value" not in own
    assert first["value"] == say("page.language", "fr") and others == ["fr 1 x", "fr 2 x", "fr 3 x"]
    assert button.value == say("page.language", "en") and button.elem_id == "button"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_switch_changes_texts_and_nothing_else(built, language):
    (called,) = on_language(built)
    told = called.fn(language, *[None] * (len(called.inputs) - 1))
    assert len(told) == len(called.outputs) == len(set(called.outputs))
    updates = [
        (component, update) for component, update in zip(called.outputs, told) if isinstance(update, dict)
    ]
    assert [type(component) for component, update in updates if set(update) - TEXTS - {"value"}] == []
    assert [
        type(component)
        for component, update in updates
        if "value" in update and not isinstance(component, SHOWS_ITS_VALUE)
    ] == []
    tabs = [update["label"] for component, update in updates if isinstance(component, gr.Tab)]
    with speaking(language):
        assert {say(f"page.tab.{tab}") for tab in app.TABS} <= set(tabs)
    model = next(update for component, update in updates if component.elem_id == "model-in-use")
    assert (
        model["label"] == say("page.model.in_use", language)
        and [spec for _, spec in model["choices"]][0] == "embedded"
    )


def test_the_switch_to_what_is_no_language_changes_nothing(built):
    (called,) = on_language(built)
    assert set(map(str, called.fn("../en", *[None] * (len(called.inputs) - 1)))) == {str(gr.skip())}


def test_each_page_is_answered_in_its_own_language(built, answering):
    (called,) = on_language(built)
    one, other = page_of("one", "fr"), page_of("other", "es-MX,es;q=0.9")
    assert answering(one, current_language) == "fr"
    answering(one, called.fn, "sw", *[None] * (len(called.inputs) - 1))
    assert (answering(one, current_language), answering(other, current_language), current_language()) == (
        "sw",
        "es",
        "en",
    )
    # The same browser, another page.
    assert answering(page_of("two", "fr"), current_language) == "fr"


@pytest.mark.parametrize(
    ("remembered", "accepted", "language"),
    [("", "sw-TZ,sw;q=0.9", "sw"), ("fr", "sw", "fr"), ("xx", "zh-CN", "zh"), (None, None, "en")],
)
def test_the_language_chosen_before_wins_over_that_of_the_browser(answering, remembered, accepted, language):
    page = page_of("page", accepted)
    shown = restore(remembered, page)
    assert str(shown) == (str(gr.skip()) if language == "en" else language)
    assert answering(page, current_language) == language


def test_who_is_quicker_than_what_the_browser_remembers_keeps_the_choice(answering):
    page = page_of("page", "es")
    remember(page, "sw")
    assert str(restore("fr", page)) == str(gr.skip()) and answering(page, current_language) == "sw"


def test_of_too_many_pages_the_oldest_is_forgotten(answering):
    for number in range(speech.PAGES):
        remember(page_of(str(number)), "sw")
    remember(page_of("0"), "fr")  # now the youngest
    remember(page_of("one more"), "zh")
    assert len(speech._chosen) == speech.PAGES
    assert [answering(page_of(name, "pt"), current_language) for name in ("0", "1", "2", "one more")] == [
        "fr",
        "pt",
        "sw",
        "zh",
    ]


@pytest.mark.parametrize(
    "hide",
    [
        lambda patch: patch.delattr(LocalContext, "request"),
        lambda patch: patch.setitem(sys.modules, "gradio.context", None),
    ],
)
def test_a_gradio_that_does_not_tell_who_asks_is_answered_in_english(built, hide, monkeypatch):
    hide(monkeypatch)
    assert (
        current_language() == "en" and restore("sw", page_of("page")) == "sw" and current_language() == "en"
    )
    # What is on the page is translated all the same.
    (called,) = on_language(built)
    assert say("page.lead", "sw") in str(called.fn("sw", *[None] * (len(called.inputs) - 1)))


def test_an_error_is_said_in_the_language_of_the_page(answering):
    @polite
    def fails():
        raise UserError("diagnose.many_lost")

    remember(page_of("page"), "sw")
    with pytest.raises(gr.Error) as caught:
        answering(page_of("page"), fails)
    assert caught.value.message == say("diagnose.many_lost", "sw") and caught.value.title == say(
        "page.failed", "sw"
    )


@pytest.mark.parametrize("tab", app.TABS)
def test_news_of_a_run_is_asked_for_on_its_tab_alone_whatever_it_is_called(tab):
    event = gr.SelectData(None, {"index": app.TABS.index(tab), "value": "Entraîner"})
    assert [timer.active for timer in app.follow_run(event)] == [tab == "finetune"] * 2
