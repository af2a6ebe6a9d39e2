"""The notes on the classes: those of the embedded model are whole in every language, those of others may be anything."""

from __future__ import annotations

import json
import logging
import re

import pytest

from vit_demo import settings
from vit_demo.checkpoints import inspect
from vit_demo.diagnose.notes import FILE, SECTIONS, Fact, read_note

LANGUAGES = ("en", "zh", "fr", "sw", "es", "pt")
LABELS = inspect(settings.EMBEDDED_MODEL, "embedded").labels
BOOK = json.loads((settings.EMBEDDED_MODEL / FILE).read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path):
    """A model folder into which a test writes notes."""

    def write(content):
        (tmp_path / FILE).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
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
        name: [BOOK["sources"][fact["source"]] if "source" in fact else None for fact in english[name]] for name in SECTIONS
    }
    texts = [fact.text for facts in note.sections.values() for fact in facts]
    assert all(text.strip() and text.rstrip()[-1] in ".。" for text in texts) and len(set(texts)) == len(texts)
    if language != "en":
        assert not set(texts) & {fact["text"] for facts in english.values() for fact in facts}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_fungus_keeps_its_name_in_each_language(language):
    for label, name in (("angular_leaf_spot", "Pseudocercospora griseola"), ("bean_rust", "Uromyces appendiculatus")):
        assert name in read_note(settings.EMBEDDED_MODEL, label, language).sections["what"][0].text


def test_every_source_is_used_and_says_who_published_it_when_or_where():
    used = {fact["source"] for book in BOOK["notes"].values() for note in book.values() for facts in note.values() for fact in facts if "source" in fact}
    assert used == set(BOOK["sources"])
    assert all(re.match(r"[A-Z].+: [A-Z].+", source) for source in BOOK["sources"].values())


def test_own_notes_are_read_in_the_language_asked_else_in_english_else_in_any(folder):
    book = {"notes": {"fr": {"a": {"what": [{"text": "ça"}]}}, "en": {"a": {"what": [{"text": "that"}]}, "b": {"now": [{"text": "do"}]}}, "sw": {"c": {}}}}
    path = folder(book)
    assert read_note(path, "a", "fr").sections == {"what": [Fact("ça", None)]}
    assert read_note(path, "a", "es").language == "en"
    assert read_note(path, "b", "fr").sections == {"now": [Fact("do", None)]}
    assert read_note(path, "c", "en").sections == {}
    assert read_note(path, "d", "en") is None


def test_sections_come_in_the_order_in_which_they_are_read_with_their_sources(folder):
    note = read_note(folder({"sources": {"s": "A book"}, "notes": {"en": {"a": {"ask": [{"text": "x"}], "what": [{"text": "y", "source": "s"}]}}}}), "a", "en")
    assert list(note.sections) == ["what", "ask"] and note.sections["what"] == [Fact("y", "A book")]


def test_without_notes_there_is_no_note_and_nothing_in_the_log(tmp_path, caplog):
    assert read_note(tmp_path, "a", "en") is None and not caplog.records


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", '"text"', "[" * 100_000, "\ufeff{}", {}, {"notes": []}, {"notes": {"en": ["a"]}}, {"notes": {"en": {"a": ["what"]}}},
        {"notes": {"en": {"a": {"what": "text"}}}}, {"notes": {"en": {"a": {"what": [{}]}}}}, {"notes": {"en": {"a": {"what": [{"text": 3}]}}}},
        {"notes": {"en": {"a": {"cure": [{"text": "x"}]}}}}, {"notes": {"en": {"a": {"what": [{"text": "x", "source": "nowhere"}]}}}},
        {"sources": [], "notes": {"en": {"a": {"what": [{"text": "x", "source": "s"}]}}}},
        {"sources": {"s": 1}, "notes": {"en": {"a": {"what": [{"text": "x", "source": "s"}]}}}},
        {"notes": {"en": {"a": {"what": [{"text": "x" * 2**20}]}}}}, {"notes": {"en": {"a": None}}},
    ],
    ids=range(20),
)
def test_a_broken_file_is_left_out_and_told_to_the_log(folder, caplog, content):
    with caplog.at_level(logging.WARNING):
        assert read_note(folder(content), "a", "en") is None
    assert len(caplog.records) == 1 and FILE in caplog.text
