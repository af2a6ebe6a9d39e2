"""Another language: all four tabs speak it at once, what is shown already too, and no English sentence is
left.
"""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import settle
from tests.browser.test_page import choose
from vit_demo.common.words import LANGUAGES, say, text_of, words

# Where the views of a tab stand.
VIEWS = {
    "diagnose": "#diagnose-views",
    "inside": "#inside-views",
    "data": "#data-views",
    "finetune": "#train-parts",
}
# What a page says in English that this is the text of: long enough to be no name.
LONG = 18


def switch(page, language: str) -> None:
    page.locator("#language input").click()
    page.get_by_role("option", name=say("language", language), exact=True).click()
    page.locator("#header").get_by_text(say("page.lead", language)).wait_for()


def english_left(page, language: str) -> set[str]:
    """The texts that are still in English in what can be seen; a text with placeholders counts by the longest
    part between two of them.
    """
    shown = re.sub(r"\s+", " ", page.locator("body").inner_text())
    other, found = words(language), set()
    for key, text in words().items():
        part = max(re.split(r"\{[^}]*\}|<[^>]*>|[*`\n]+", text), key=len).strip()
        own = other.get(key, other[key.removesuffix(".singular")])
        if len(part) >= LONG and part not in own and part in shown:
            found.add(f"{key}: {part}")
    return found


@pytest.mark.parametrize("tab", VIEWS)
def test_every_view_of_a_tab_speaks_the_language_chosen(page, leaf_photo, tab):
    """Also what was drawn in English before."""
    if tab == "diagnose":
        choose(page, "diagnose-photo", leaf_photo)
        page.wait_for_selector(".answer-label")
    page.locator(".tab-wrapper").first.get_by_role("tab").nth(list(VIEWS).index(tab)).click()
    views = page.locator(f"{VIEWS[tab]} > .tab-wrapper [role=tab]:visible")
    views.first.wait_for()
    page.wait_for_timeout(3000)  # something is drawn in English
    switch(page, "sw")
    for number in range(views.count()):
        views.nth(number).click()
        for _ in range(20):  # what is computed when a view is opened may take a moment
            if not (left := english_left(page, "sw")):
                break
            page.wait_for_timeout(500)
        assert left == set()


def test_the_language_is_remembered_by_the_browser(page):
    switch(page, "sw")
    page.reload()
    settle(page)
    page.locator("#header").get_by_text(say("page.lead", "sw")).wait_for()
    speaks_all(page, "sw")


def speaks_all(page, language: str) -> None:
    """The title, the language for screen readers, and Gradio's own words."""
    page.wait_for_function("title => document.title === title", arg=say("page.title", language))
    page.locator(f"html[lang={say('page.locale', language)}]").wait_for(state="attached")
    for name in (say("page.named.camera", language), say("gradio.image.drop_to_upload", language)):
        page.locator(f"#diagnose-photo [aria-label='{name}']").first.wait_for()
    # Either of them, by whether assistants are served too.
    footer = [text_of(f"gradio.errors.use_via_api{more}", language) for more in ("", "_or_mcp")]
    page.wait_for_function(
        "texts => texts.includes(document.querySelector('footer').innerText.trim())", arg=footer
    )


def test_title_and_gradios_own_words_follow_each_switch(page):
    for language in ("fr", "zh", "sw", "en"):
        switch(page, language)
        speaks_all(page, language)


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_a_refusal_is_said_in_the_language_chosen(page, language, tmp_path):
    switch(page, language)
    lie = tmp_path / "notes.jpg"
    lie.write_text("this is a shopping list")
    choose(page, "diagnose-photo", lie)
    page.locator("#diagnose-answer [role=alert]").wait_for()
    shown = page.locator("#diagnose-answer").inner_text()
    assert "notes.jpg" in shown and "is not a photo" not in shown
    assert shown.count("notes.jpg") == 1
