"""Gradio's own words in our languages: each is one that it has, and none stands for two."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

from vit_demo.common.words import LANGUAGES, say, speaking, text_of, words
from vit_demo.ui.app import options
from vit_demo.ui.shared.gradio_words import TOLD_ONCE, gradio_words, names

SCRIPTS = Path(gr.__file__).parent / "templates" / "frontend" / "assets"


@pytest.fixture(scope="module")
def scripts() -> str:
    """All that this version of Gradio may say in the browser."""
    return "\n".join(file.read_text(encoding="utf-8", errors="ignore") for file in SCRIPTS.glob("*.js"))


def test_each_language_has_all_of_them_under_the_name_that_a_browser_knows_it_by():
    told = options()["i18n"].translations_dict
    assert list(told) == [say("page.locale", language) for language in LANGUAGES]
    assert told == gradio_words().translations_dict
    assert len({frozenset(texts) for texts in told.values()}) == 1
    assert told["sw"]["upload_text.drop_file"] == say("gradio.upload_text.drop_file", "sw")
    assert [locale.split("-")[0] for locale in told] == list(LANGUAGES)


def test_gradio_says_each_of_them(scripts):
    """Else it was renamed, and ours is told no more."""
    (english,) = [text for text in scripts.split("\n") if "Drop File Here" in text and "third party" in text]
    keys = gradio_words().translations_dict["en"]
    assert [key for key in keys if f"{key.rpartition('.')[2]}:`" not in english] == []
    named = [text_of(key) for key in words() if key.startswith("page.named.")]
    assert [name for name in named if name not in scripts] == []


def test_the_script_of_the_language_finds_what_it_needs_inside_of_gradio():
    """See assets/theme/language.js."""
    (core,) = SCRIPTS.glob("core-*.js")
    assert " as changeLocale" in core.read_text(encoding="utf-8")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_name_leads_from_any_language_to_the_current_one(language):
    keys = [*TOLD_ONCE, *(key for key in words() if key.startswith("page.named."))]
    with speaking(language):
        found = names()
    for key in keys:
        assert {found[text_of(key, other)] for other in LANGUAGES} == {text_of(key, language)}, key
