"""The words of the page: the same keys and placeholders in every language, none empty, none missing, none without use."""

from __future__ import annotations

import ast
import json
import re
import string

import pytest

from vit_demo.common import settings
from vit_demo.diagnose.notes import SECTIONS
from vit_demo.explain.attribution.methods import DEFAULT
from vit_demo.model.checkpoints import inspect
from vit_demo.photos.quality import WARNINGS
from vit_demo.text import words as module
from vit_demo.text.words import DEFAULT_LANGUAGE, LANGUAGES, percent, percent_in, pick_language, say, words

PACKAGE = settings.PACKAGE
PARTS = {language: sorted((module.FOLDER / "diagnose" / language).iterdir()) for language in LANGUAGES}
TRANSLATED = {
    language: {key: text for file in files for key, text in json.loads(file.read_text(encoding="utf-8")).items()} for language, files in PARTS.items()
}
KEY = re.compile(r"language|(diagnose|quality|notes|class)\.[\w.-]*\w(?<!\.json)")
# What may stand in the place of the braces of say(f"notes.{name}").
FAMILIES = {
    "class.": inspect(settings.EMBEDDED_MODEL, "embedded").labels, "notes.": SECTIONS, "diagnose.method.": (DEFAULT,),
    "diagnose.": ("over", "under"), "quality.": WARNINGS,
}


def asked_for(source: str) -> set[str]:
    """The keys that a module may look up: its texts that have the form of one, and f-strings filled in from FAMILIES."""
    keys = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant) and len(node.values) == 2:
            prefix = node.values[0].value
            keys |= {prefix + name for name in FAMILIES.get(prefix, ())}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and KEY.fullmatch(node.value):
            keys.add(node.value)
    return keys


def placeholders(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def test_every_key_that_is_asked_for_is_there_and_none_is_without_use():
    asked = set().union(*(asked_for(file.read_text(encoding="utf-8")) for file in PACKAGE.rglob("*.py")))
    assert asked == set(TRANSLATED[DEFAULT_LANGUAGE])


def test_the_look_for_keys_sees_planted_ones():
    source = 'say("diagnose.planted"); say(f"class.{label}"); words(x)["notes.other"]; "a sentence with diagnose.words in it"'
    assert asked_for(source) == {"diagnose.planted", "notes.other", *(f"class.{label}" for label in ("angular_leaf_spot", "bean_rust", "healthy"))}


def test_there_are_the_same_files_for_each_language_and_no_other_and_no_key_stands_in_two():
    assert {folder.name for folder in (module.FOLDER / "diagnose").iterdir()} == set(LANGUAGES)
    for language, files in PARTS.items():
        assert [file.name for file in files] == [file.name for file in PARTS[DEFAULT_LANGUAGE]]
        assert len(TRANSLATED[language]) == sum(len(json.loads(file.read_text(encoding="utf-8"))) for file in files)
    assert len({texts["language"] for texts in TRANSLATED.values()}) == len(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_all_keys_with_the_same_placeholders_and_says_something(language):
    english, own = TRANSLATED[DEFAULT_LANGUAGE], TRANSLATED[language]
    assert own.keys() == english.keys()
    assert {key: placeholders(text) for key, text in own.items()} == {key: placeholders(text) for key, text in english.items()}
    assert all(text.strip() for text in own.values())
    if language != DEFAULT_LANGUAGE:
        # Else it was copied and not translated. Signs and words that two languages share are few.
        same = {key for key, text in own.items() if text == english[key]}
        assert same <= {"diagnose.comma", "diagnose.decimal_point", "notes.sources"}, same


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_read_as_it_is_packaged(language):
    assert words(language) == TRANSLATED[language]


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("sw-KE,sw;q=0.9,en;q=0.8", "sw"), ("zh-TW", "zh"), ("pt-BR, es;q=0.5", "pt"), ("de-DE,de;q=0.9,fr;q=0.7,en;q=0.6", "fr"), ("en;q=0.3, es;q=0.8", "es"),
        ("FR", "fr"), ("fr;q=0, en;q=0.1", "en"), ("fr;q=nonsense", "en"), ("de", "en"), ("*", "en"), ("", "en"), (None, "en"), (",;=,q", "en"),
    ],
)
def test_the_browser_gets_the_language_that_it_likes_best(accepted, language):
    assert pick_language(accepted) == language


@pytest.mark.parametrize("share", [0, 0.0001, 0.0044, 0.5, 0.97312, 0.9999, 1])
def test_a_share_is_written_as_the_language_writes_numbers(share):
    assert percent_in("en", share).replace("\N{NO-BREAK SPACE}", " ") == percent(share)
    number = re.search(r"[\d.]+", percent(share))[0]
    for language, comma in (("fr", True), ("es", True), ("pt", True), ("zh", False), ("sw", False)):
        written = percent_in(language, share)
        assert re.search(r"[\d.,]+", written)[0] == (number.replace(".", ",") if comma else number)
        assert not re.search("over|under", written) and written.endswith("\N{NO-BREAK SPACE}%")


def test_over_and_under_are_told_apart_in_every_language():
    for language in LANGUAGES:
        assert say("diagnose.over", language, percent="x") != say("diagnose.under", language, percent="x")
