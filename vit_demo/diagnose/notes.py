"""What to do about an answer: the notes that a model folder may carry in notes.json.

{"sources": {"name": "publisher, year, title"},
 "notes": {"en": {"bean_rust": {"what": [{"text": "one or two sentences", "source": "name"}], "now": [...]}}}}

A class may have any of SECTIONS; the source of a fact may be left out. All of it is plain text.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

FILE = "notes.json"
# In the order in which they are read.
SECTIONS = ("what", "tell_apart", "now", "next_season", "ask")
# Whoever writes more than this writes a book and not a note.
MAX_BYTES = 2**20
FALLBACK = "en"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fact:
    """One thing to know or to do. source: where it is written, or None for plain advice."""

    text: str
    source: str | None


@dataclass(frozen=True)
class Note:
    """What to know about one class. language: that of the texts. sections: facts by section, in the order of SECTIONS."""

    language: str
    sections: dict[str, list[Fact]]


def read_note(folder: Path, label: str, language: str) -> Note | None:
    """The note on a class of the model in this folder, in this language, else in English, else in any that it has.

    None where there is none. A broken file counts as none and is told to the log: an answer is worth more than its note.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MB")
        book = json.loads(file.read_text(encoding="utf-8"))
        notes, sources = book["notes"], book.get("sources", {})
        for spoken in (language, FALLBACK, *notes):
            if label in notes.get(spoken, {}):
                return _note(notes[spoken][label], sources, spoken)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("The notes %s are left out, for they cannot be read: %s: %s", file, type(error).__name__, error)
    return None


def _note(sections: dict, sources: dict, language: str) -> Note:
    """Raises ValueError, KeyError, TypeError or AttributeError where the file does not have the form above."""
    unknown = set(sections) - set(SECTIONS)
    if unknown:
        raise ValueError(f"there is no section {sorted(unknown)[0]}")
    facts = {name: [_fact(entry, sources) for entry in sections[name]] for name in SECTIONS if sections.get(name)}
    return Note(language, facts)


def _fact(entry: dict, sources: dict) -> Fact:
    source = sources[entry["source"]] if "source" in entry else None
    if not isinstance(entry["text"], str) or not isinstance(source, str | None):
        raise TypeError("a text or a source is no text")
    return Fact(entry["text"], source)
