"""What to do about an answer: the notes that a model folder may carry in notes.json.

{"sources": {"name": "publisher, year, title"},
 "notes": {"en": {"bean_rust": {"what": [{"text": "one or two sentences", "source": "name"}], "now": [...]}}}}

A class may have any of SECTIONS; the source of a fact may be left out. All of it is plain text.

A person writes a note on one class, in one language, as lines: "# " and the heading of a section, then one
fact a line, with "(source: NAME)" at its end where it is written somewhere.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vit_demo.common import settings
from vit_demo.common.atomic import write_atomically
from vit_demo.common.errors import UserError
from vit_demo.model.checkpoints import NOTES as FILE
from vit_demo.model.checkpoints import Checkpoint

# In the order in which they are read.
SECTIONS = ("what", "tell_apart", "now", "next_season", "ask")
# Whoever writes more than this writes a book and not a note.
MAX_BYTES = 2**20
# Characters of one fact or source: longer ones are read by nobody in a field.
LONGEST = 1000
FALLBACK = "en"
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
_writing = threading.Lock()
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fact:
    """One thing to know or to do. source: where it is written, or None for plain advice."""

    text: str
    source: str | None


@dataclass(frozen=True)
class Note:
    """What to know about one class. language: that of the texts. sections: facts by section, in the order of
    SECTIONS.
    """

    language: str
    sections: dict[str, list[Fact]]


def read_note(folder: Path, label: str, language: str) -> Note | None:
    """The note on a class of the model in this folder, in this language, else in English, else in any that it
    has.

    None where there is none. A broken file counts as none and is told to the log: an answer is worth more
    than its note.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        book = _read(file)
        notes, sources = book["notes"], book.get("sources", {})
        for spoken in (language, FALLBACK, *notes):
            if label in notes.get(spoken, {}):
                return _note(notes[spoken][label], sources, spoken)
    except _BROKEN as error:
        log.warning(
            "The notes %s are left out, for they cannot be read: %s: %s", file, type(error).__name__, error
        )
    return None


def _read(file: Path) -> dict[str, Any]:
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MB")
    book: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return book


def _note(sections: dict[str, Any], sources: dict[str, Any], language: str) -> Note:
    """Raises ValueError, KeyError, TypeError or AttributeError where the file does not have the form
    above.
    """
    unknown = set(sections) - set(SECTIONS)
    if unknown:
        raise ValueError(f"there is no section {sorted(unknown)[0]}")
    facts = {
        name: [_fact(entry, sources) for entry in sections[name]] for name in SECTIONS if sections.get(name)
    }
    return Note(language, facts)


def _fact(entry: dict[str, Any], sources: dict[str, Any]) -> Fact:
    source = sources[entry["source"]] if "source" in entry else None
    if not isinstance(entry["text"], str) or not isinstance(source, str | None):
        raise TypeError("a text or a source is no text")
    return Fact(entry["text"], source)


# What a person writes


@dataclass(frozen=True)
class Wording:
    """How a note is written in one language. headings: of each of SECTIONS. source: "(source: {name})" in
    that language.
    """

    headings: Mapping[str, str]
    source: str

    def name_in(self, line: str) -> re.Match[str] | None:
        """The mark of a source at the end of a line, with its name as the first group."""
        word = re.escape(self.source.partition("{name}")[0].strip("( :（：\N{NO-BREAK SPACE}"))
        return re.search(rf"\s*[(（]\s*{word}\s*[:：]\s*(.+?)\s*[)）]$", line, re.IGNORECASE)


def is_own(checkpoint: Checkpoint) -> bool:
    """Whether the notes of this model are a person's own to write: those of a run or of a local folder that
    can be written.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = checkpoint.folder
    lent = (
        checkpoint.revision is not None
        or folder == settings.EMBEDDED_MODEL
        or Path(HF_HUB_CACHE).resolve() in folder.parents
    )
    return not lent and os.access(folder, os.W_OK)


def note_text(note: Note | None, wording: Wording) -> str:
    """A note as a person writes it, with the headings of all sections so that none is forgotten."""
    parts = []
    for name in SECTIONS:
        facts = note.sections.get(name, []) if note else []
        lines = [
            f"{fact.text} {wording.source.format(name=fact.source)}" if fact.source else fact.text
            for fact in facts
        ]
        parts.append("\n".join([f"# {wording.headings[name]}", *lines]))
    return "\n\n".join(parts) + "\n"


def parse_note(text: str, wording: Wording) -> dict[str, list[Fact]]:
    """What a person wrote, by section in the order of SECTIONS, without empty ones; UserError says what is
    wrong with which line.
    """
    names = {heading.casefold(): name for name, heading in wording.headings.items()}
    found: dict[str, list[Fact]] = {}
    section = None
    for number, line in enumerate(text.splitlines(), start=1):
        line = re.sub(r"[ \t]+", " ", line).strip()  # a space that must not break stays one
        if line.startswith("#"):
            section = names.get(line.lstrip("# ").casefold())
            if section is None:
                raise UserError(
                    "error.diagnose.note_heading", line=number, headings=", ".join(wording.headings.values())
                )
        elif line and section is None:
            raise UserError(
                "error.diagnose.note_no_heading", line=number, headings=", ".join(wording.headings.values())
            )
        elif line and section is not None:
            found.setdefault(section, []).append(_fact_in(line, number, wording))
    return {name: found[name] for name in SECTIONS if name in found}


def _fact_in(line: str, number: int, wording: Wording) -> Fact:
    if len(line) > LONGEST:
        raise UserError("error.diagnose.note_long", line=number, most=LONGEST)
    mark = wording.name_in(line)
    text = line[: mark.start()] if mark else line
    if not text:
        raise UserError("error.diagnose.note_no_fact", line=number)
    return Fact(text, mark[1] if mark else None)


def write_note(folder: Path, label: str, language: str, sections: Mapping[str, list[Fact]]) -> None:
    """Put the note on a class in one language in the place of the earlier one; without a section, take it
    away.

    A reader finds the old file or the new one, never half of it. UserError where it cannot be written, or
    what is there cannot be read.
    """
    file = folder / FILE
    with _writing:
        try:
            book = _read(file) if file.is_file() else {"notes": {}}
            content = json.dumps(_with_note(book, label, language, sections), ensure_ascii=False, indent=1)
        except _BROKEN:
            raise UserError("error.diagnose.notes_broken", file=FILE) from None
        if len(content.encode()) > MAX_BYTES:
            raise UserError("error.diagnose.notes_large", most=MAX_BYTES // 2**20)
        try:
            write_atomically(file, content)
        except OSError as error:
            raise UserError("error.diagnose.notes_unwritable", error=error.strerror) from None


def _with_note(
    book: dict[str, Any], label: str, language: str, sections: Mapping[str, list[Fact]]
) -> dict[str, Any]:
    """The book with this note, and with those sources alone that a fact of it names."""
    notes = {spoken: {**by_label} for spoken, by_label in book["notes"].items()}
    sources = {**book.get("sources", {})}
    ids = {name: key for key, name in sources.items()}
    for fact in (fact for facts in sections.values() for fact in facts):
        if fact.source and fact.source not in ids:
            ids[fact.source] = next(
                str(number) for number in range(1, len(ids) + 2) if str(number) not in sources
            )
            sources[ids[fact.source]] = fact.source
    own = {
        name: [{"text": fact.text, **({"source": ids[fact.source]} if fact.source else {})} for fact in facts]
        for name, facts in sections.items()
        if facts
    }
    notes.setdefault(language, {})[label] = own
    if not own:
        del notes[language][label]
    notes = {spoken: by_label for spoken, by_label in notes.items() if by_label}
    used = {entry["source"] for entry in _entries(notes) if "source" in entry}
    return {"sources": {key: sources[key] for key in sources if key in used}, "notes": notes}


def _entries(notes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for by_label in notes.values():
        for sections in by_label.values():
            for entries in sections.values():
                yield from entries
