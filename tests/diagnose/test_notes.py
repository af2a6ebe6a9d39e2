"""The notes on the classes: those of the embedded model are whole in every language, those of others may be
anything.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re

import pytest

from vit_demo.common import settings
from vit_demo.common.words import say
from vit_demo.diagnose.notes import (
    FILE,
    SECTIONS,
    Fact,
    Wording,
    is_own,
    note_text,
    parse_note,
    read_note,
    write_note,
)
from vit_demo.model.checkpoints import inspect

LANGUAGES = ("en", "zh", "fr", "sw", "es", "pt")
LABELS = inspect(settings.EMBEDDED_MODEL, "embedded").labels
BOOK = json.loads((settings.EMBEDDED_MODEL / FILE).read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path):
    """A model folder into which a test writes notes."""

    def write(content):
        (tmp_path / FILE).write_text(
            content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
        )
        return tmp_path

    return write


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("label", LABELS)
def test_the_embedded_model_has_a_whole_note_on_each_class_in_each_language(label, language):
    note = read_note(settings.EMBEDDED_MODEL, label, language)
    assert note.language == language and tuple(note.sections) == SECTIONS
    english = BOOK["notes"]["en"][label]
    # The same facts from the same sources in the same order.
    assert {name: [fact.source for fact in facts] for name, facts in note.sections.items()} == {
        name: [BOOK["sources"][fact["source"]] if "source" in fact else None for fact in english[name]]
        for name in SECTIONS
    }
    texts = [fact.text for facts in note.sections.values() for fact in facts]
    assert all(text.strip() and text.rstrip()[-1] in ".。" for text in texts) and len(set(texts)) == len(
        texts
    )
    if language != "en":
        assert not set(texts) & {fact["text"] for facts in english.values() for fact in facts}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_fungus_keeps_its_name_in_each_language(language):
    for label, name in (
        ("angular_leaf_spot", "Pseudocercospora griseola"),
        ("bean_rust", "Uromyces appendiculatus"),
    ):
        assert name in read_note(settings.EMBEDDED_MODEL, label, language).sections["what"][0].text


def test_every_source_is_used_and_says_who_published_it_when_or_where():
    used = {
        fact["source"]
        for book in BOOK["notes"].values()
        for note in book.values()
        for facts in note.values()
        for fact in facts
        if "source" in fact
    }
    assert used == set(BOOK["sources"])
    assert all(re.match(r"[A-Z].+: [A-Z].+", source) for source in BOOK["sources"].values())


def test_own_notes_are_read_in_the_language_asked_else_in_english_else_in_any(folder):
    book = {
        "notes": {
            "fr": {"a": {"what": [{"text": "ça"}]}},
            "en": {"a": {"what": [{"text": "that"}]}, "b": {"now": [{"text": "do"}]}},
            "sw": {"c": {}},
        }
    }
    path = folder(book)
    assert read_note(path, "a", "fr").sections == {"what": [Fact("ça", None)]}
    assert read_note(path, "a", "es").language == "en"
    assert read_note(path, "b", "fr").sections == {"now": [Fact("do", None)]}
    assert read_note(path, "c", "en").sections == {}
    assert read_note(path, "d", "en") is None


def test_sections_come_in_the_order_in_which_they_are_read_with_their_sources(folder):
    note = read_note(
        folder(
            {
                "sources": {"s": "A book"},
                "notes": {"en": {"a": {"ask": [{"text": "x"}], "what": [{"text": "y", "source": "s"}]}}},
            }
        ),
        "a",
        "en",
    )
    assert list(note.sections) == ["what", "ask"] and note.sections["what"] == [Fact("y", "A book")]


def test_without_notes_there_is_no_note_and_nothing_in_the_log(tmp_path, caplog):
    assert read_note(tmp_path, "a", "en") is None and not caplog.records


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "[" * 100_000,
        "\ufeff{}",
        {},
        {"notes": []},
        {"notes": {"en": ["a"]}},
        {"notes": {"en": {"a": ["what"]}}},
        {"notes": {"en": {"a": {"what": "text"}}}},
        {"notes": {"en": {"a": {"what": [{}]}}}},
        {"notes": {"en": {"a": {"what": [{"text": 3}]}}}},
        {"notes": {"en": {"a": {"cure": [{"text": "x"}]}}}},
        {"notes": {"en": {"a": {"what": [{"text": "x", "source": "nowhere"}]}}}},
        {"sources": [], "notes": {"en": {"a": {"what": [{"text": "x", "source": "s"}]}}}},
        {"sources": {"s": 1}, "notes": {"en": {"a": {"what": [{"text": "x", "source": "s"}]}}}},
        {"notes": {"en": {"a": {"what": [{"text": "x" * 2**20}]}}}},
        {"notes": {"en": {"a": None}}},
    ],
    ids=range(20),
)
def test_a_broken_file_is_left_out_and_told_to_the_log(folder, caplog, content):
    with caplog.at_level(logging.WARNING):
        assert read_note(folder(content), "a", "en") is None
    assert len(caplog.records) == 1 and FILE in caplog.text


# Notes that a person writes


def wording(language: str = "en") -> Wording:
    return Wording(
        {name: say(f"notes.{name}", language) for name in SECTIONS},
        say("diagnose.edit.source", language, name="{name}"),
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("label", LABELS)
def test_a_note_comes_back_from_its_text_as_it_was_in_each_language(label, language, tmp_path):
    note = read_note(settings.EMBEDDED_MODEL, label, language)
    sections = parse_note(note_text(note, wording(language)), wording(language))
    assert sections == note.sections
    write_note(tmp_path, label, language, sections)
    assert read_note(tmp_path, label, language) == note


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_example_of_how_to_name_a_source_is_understood(language):
    how = say("diagnose.edit.how", language)
    example = re.search(r"[(（].*[)）]", how)[0]
    (fact,) = parse_note(f"# {say('notes.now', language).upper()}\nx {example}", wording(language))["now"]
    assert fact.text == "x" and fact.source and fact.source in example


def test_without_a_note_there_are_all_headings_and_nothing_below_them():
    text = note_text(None, wording())
    assert [line for line in text.splitlines() if line] == [f"# {say(f'notes.{name}')}" for name in SECTIONS]
    assert parse_note(text, wording()) == {}


def test_what_a_person_writes_is_read_line_by_line():
    text = (
        "\n#now\n  Pull   the leaf.\n# What it is \nA rust (Uromyces). (Source : A book (2010): part 2)\n\n"
        "Old (source:b)\n# Now\nWash hands (well)\n"
    )
    assert parse_note(text, wording()) == {
        "what": [Fact("A rust (Uromyces).", "A book (2010): part 2"), Fact("Old", "b")],
        "now": [Fact("Pull the leaf.", None), Fact("Wash hands (well)", None)],
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no heading", "Line 1 stands under no heading"),
        ("# Now\nx\n# Cure\ny", "Line 3 is no heading"),
        ("# Now\n" + "x" * 1001, "Line 2 is too long"),
        ("# Now\n\n(source: a book)", "Line 3 names a source and no fact"),
        ("#", "Line 1 is no heading"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(text, why, refusal):
    assert refusal(parse_note, text, wording()).startswith(why)


def test_writing_a_note_leaves_the_others_and_drops_sources_that_no_fact_names(folder):
    path = folder(
        {
            "sources": {"1": "Old book", "s": "Kept"},
            "notes": {
                "en": {
                    "a": {"what": [{"text": "x", "source": "1"}]},
                    "b": {"now": [{"text": "y", "source": "s"}]},
                },
                "fr": {"a": {"now": [{"text": "z"}]}},
            },
        }
    )
    write_note(
        path,
        "a",
        "en",
        {"now": [Fact("new", "New book"), Fact("again", "Kept"), Fact("more", "New book")], "ask": []},
    )
    book = json.loads((path / FILE).read_text(encoding="utf-8"))
    assert sorted(book["sources"].values()) == ["Kept", "New book"] and book["sources"]["s"] == "Kept"
    assert read_note(path, "a", "en").sections == {
        "now": [Fact("new", "New book"), Fact("again", "Kept"), Fact("more", "New book")]
    }
    assert read_note(path, "b", "en").sections == {"now": [Fact("y", "Kept")]} and read_note(
        path, "a", "fr"
    ).sections == {"now": [Fact("z", None)]}
    write_note(path, "a", "fr", {})
    assert "fr" not in json.loads((path / FILE).read_text(encoding="utf-8"))["notes"]
    assert [file.name for file in path.iterdir()] == [FILE]


def test_notes_that_cannot_be_read_or_written_are_left_as_they_are(folder, tmp_path, refusal):
    for content in ("{", "[]", '{"notes": {"en": []}}', '{"notes": {"en": {"b": ["what"]}}}'):
        path = folder(content)
        assert (
            "broken" in refusal(write_note, path, "a", "en", {"now": [Fact("x", None)]})
            and (path / FILE).read_text() == content
        )
    path = folder({"notes": {}})
    assert "larger than 1 MB" in refusal(
        write_note, path, "a", "en", {"now": [Fact("x" * 1000, None)] * 1100}
    )
    assert json.loads((path / FILE).read_text()) == {"notes": {}}
    assert "cannot be written" in refusal(
        write_note, tmp_path / "gone", "a", "en", {"now": [Fact("x", None)]}
    )


def test_only_own_models_are_for_writing(tiny_model, tmp_path, monkeypatch):
    own = inspect(tiny_model, "mine")
    assert is_own(own) and not is_own(inspect(settings.EMBEDDED_MODEL, "embedded"))
    assert not is_own(dataclasses.replace(own, revision="0" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tiny_model.parent))
    assert not is_own(own)
    assert not is_own(dataclasses.replace(own, folder=tmp_path / "gone"))
