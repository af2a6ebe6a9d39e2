"""The words of the page, kept in files beside this module so that they can be translated."""

from __future__ import annotations

import functools
import json
from pathlib import Path

FOLDER = Path(__file__).parent / "text"
DEFAULT_LANGUAGE = "en"


@functools.cache
def words(language: str = DEFAULT_LANGUAGE) -> dict[str, str]:
    """All texts of a language by key."""
    return json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))


def say(key: str, language: str = DEFAULT_LANGUAGE, **values) -> str:
    """One text with its {placeholders} filled in."""
    return words(language)[key].format(**values)


def label_title(label: str) -> str:
    """A class name as people write it: bean_rust becomes Bean rust."""
    text = label.replace("_", " ").strip()
    return text[:1].upper() + text[1:]
