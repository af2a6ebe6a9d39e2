"""The words of the page: the same keys and placeholders in every language, none empty, none missing, none
without use.
"""

from __future__ import annotations

import ast
import json
import pickle
import re
import string

import pytest

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import (
    DEFAULT_LANGUAGE,
    FOLDER,
    LANGUAGES,
    Sentence,
    percent,
    percent_in,
    pick_language,
    say,
    speaking,
    words,
)

PACKAGE = settings.PACKAGE
TRANSLATED = {
    language: {
        str(file.relative_to(FOLDER / language)): json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((FOLDER / language).rglob("*.json"))
    }
    for language in LANGUAGES
}
ENGLISH = words()
# The command line speaks English alone.
ENGLISH_ONLY = ("errors/cli.json",)
# What takes a key; the first argument of each.
TAKES_A_KEY = ("say", "say_html", "text_of", "Told", "Sentence", "UserError", "Unfit", "Damaged")
KEY = re.compile(r"[a-z]\w*(\.[\w-]+)+|language")
# What may be the same in two languages: signs, names, and up to so many words.
SHARED = 3


def python_keys(source: str) -> tuple[set[str], set[str], list[str]]:
    """The keys that a module names, the beginnings of those that it puts together, and errors made of a
    sentence instead of a key.
    """
    keys, begun, bad = set(), set(), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
            begun.add(node.values[0].value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and KEY.fullmatch(node.value):
            keys.add(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in TAKES_A_KEY and node.args:
            first = [
                part
                for part in ast.walk(node.args[0])
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            bad += [part.value for part in first if " " in part.value]
    return keys, begun, bad


def template_keys(source: str) -> tuple[set[str], set[str], list[str]]:
    """The same of a template."""
    quoted = re.findall(r"[\"']([a-z]\w*(?:\.[\w-]+)*\.?)[\"']", source)
    return {one for one in quoted if not one.endswith(".")}, {one for one in quoted if one.endswith(".")}, []


def placeholders(text: str) -> list[str]:
    return sorted(name.split(".")[0] for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def test_every_key_is_used_and_errors_name_keys():
    keys, begun, bad = set(), set(), []
    for file in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("templates/**/*.html")]:
        found = (python_keys if file.suffix == ".py" else template_keys)(file.read_text(encoding="utf-8"))
        keys |= found[0]
        begun |= found[1]
        bad += [f"{file.name}: {text}" for text in found[2]]
    assert bad == []
    families = tuple(one for one in begun if "." in one)
    unused = {
        key
        for key in ENGLISH
        if not {key, key.removesuffix(".singular")} & keys and not key.startswith(families)
    }
    assert unused == set()
    rooms = {key.split(".")[0] for key in ENGLISH}
    missing = {
        key for key in keys if key.split(".")[0] in rooms and key not in ENGLISH and key.startswith("error.")
    }
    assert missing == set()


def test_the_look_for_keys_sees_planted_ones():
    source = (
        'say("diagnose.planted"); say(f"class.{label}"); words(x)["notes.other"]; UserError("Not a key.");'
        ' UserError("error.a.b")'
    )
    assert python_keys(source) == (
        {"diagnose.planted", "notes.other", "error.a.b"},
        {"class."},
        ["Not a key."],
    )
    assert template_keys("{{ say('data.a', count=3) }}{{ say('data.kind.' ~ kind) }}")[:2] == (
        {"data.a"},
        {"data.kind."},
    )


def test_each_call_gives_its_text_what_it_needs():
    """A literal key is called with the placeholders of its text, no more and no less, in the package and in
    the templates.
    """
    wrong = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) in ("say", "say_html", "Told", "UserError")
                and node.args
            ):
                continue
            key, given = node.args[0], {word.arg for word in node.keywords}
            if not (isinstance(key, ast.Constant) and key.value in ENGLISH) or None in given:
                continue
            if given != set(placeholders(ENGLISH[key.value])) | given & {"count"}:
                wrong.append(f"{file.name}:{node.lineno}: {key.value} with {sorted(given)}")
    assert wrong == []


def test_no_key_stands_in_two_files():
    for files in TRANSLATED.values():
        assert sum(map(len, files.values())) == len({key for texts in files.values() for key in texts})
    assert len({words(language)["language"] for language in LANGUAGES}) == len(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_all_keys_with_the_same_placeholders_and_says_something(language):
    english = {
        name: texts
        for name, texts in TRANSLATED[DEFAULT_LANGUAGE].items()
        if language == DEFAULT_LANGUAGE or name not in ENGLISH_ONLY
    }
    assert TRANSLATED[language].keys() == english.keys()
    same = []
    for name, texts in english.items():
        own = TRANSLATED[language][name]
        # A language may need a sentence of its own for one, or none.
        assert {key.removesuffix(".singular") for key in own} == {
            key.removesuffix(".singular") for key in texts
        }, name
        for key, text in own.items():
            first = texts.get(key, texts[key.removesuffix(".singular")])
            assert set(placeholders(text)) - {"count"} == set(placeholders(first)) - {"count"}, (name, key)
            assert text.strip() or not first.strip(), key
            if text == first and len(re.findall(r"[^\W\d_]{3,}", re.sub(r"\{[^}]*\}", "", text))) > SHARED:
                same.append(key)
    # Else it was copied and not translated.
    assert language == DEFAULT_LANGUAGE or same == []


def test_a_sentence_is_said_later_in_the_language_of_who_reads_it():
    kept = Sentence("diagnose.either", {"labels": Sentence("class.healthy")})
    assert Sentence.from_json(json.loads(json.dumps(kept.as_json()))) == kept
    assert str(kept) == "Either healthy" and "healthy" not in say(
        "diagnose.either", "sw", labels=Sentence("class.healthy")
    )
    with speaking("sw"):
        assert str(kept) == say("diagnose.either", "sw", labels=say("class.healthy", "sw"))
    assert (
        Sentence.from_json({"key": "gone.now", "values": {}}) == "gone.now"
        and Sentence.from_json("said before") == "said before"
    )


def test_an_error_travels_between_processes_and_is_said_there():
    error = pickle.loads(pickle.dumps(UserError("diagnose.probability", percent="9 %")))
    assert type(error) is UserError and str(error) == "9 % probability"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("sw-KE,sw;q=0.9,en;q=0.8", "sw"),
        ("zh-TW", "zh"),
        ("pt-BR, es;q=0.5", "pt"),
        ("de-DE,de;q=0.9,fr;q=0.7,en;q=0.6", "fr"),
        ("en;q=0.3, es;q=0.8", "es"),
        ("FR", "fr"),
        ("fr;q=0, en;q=0.1", "en"),
        ("fr;q=nonsense", "en"),
        ("de", "en"),
        ("*", "en"),
        ("", "en"),
        (None, "en"),
        (",;=,q", "en"),
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


def test_a_language_without_a_sentence_for_one_says_its_usual_one_and_not_the_english():
    single = [key for key in ENGLISH if key.endswith(".singular")]
    assert single
    for language in LANGUAGES:
        for key in single:
            assert (key in words(language)) == any(key in texts for texts in TRANSLATED[language].values())
