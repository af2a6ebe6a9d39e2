"""What is said to people, by key and language: vit_demo/text/<language>/ has a folder for each tab and one
for the errors.

A key with ``.singular`` at its end is the same sentence for a ``count`` of 1, in languages that need another
one.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "text"
DEFAULT_LANGUAGE = "en"
# In the order of the list that a person picks from.
LANGUAGES = ("en", "zh", "fr", "sw", "es", "pt")

SINGULAR = ".singular"


@functools.cache
def words(language: str = DEFAULT_LANGUAGE) -> dict[str, str]:
    """All texts of a language by key; those that are only for the command line are in English everywhere."""
    files = sorted((FOLDER / language).rglob("*.json"))
    own = {key: text for file in files for key, text in json.loads(file.read_text(encoding="utf-8")).items()}
    if language == DEFAULT_LANGUAGE:
        return own
    # Not the English for a count of 1: a language that has none needs none.
    return {key: text for key, text in words().items() if not key.endswith(SINGULAR)} | own


_spoken: ContextVar[str | None] = ContextVar("language", default=None)
_of_caller: list[Callable[[], str]] = []


def ask_caller(language: Callable[[], str]) -> None:
    """From now on texts are in the language that this tells, which is of whoever is being answered; without
    it in English.
    """
    _of_caller[:] = [language]


def current_language() -> str:
    """The language in which is spoken now, see :func:`speaking` and :func:`ask_caller`."""
    return _spoken.get() or (_of_caller[0]() if _of_caller else DEFAULT_LANGUAGE)


@contextlib.contextmanager
def speaking(language: str) -> Iterator[None]:
    """Within, texts are in this language."""
    before = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(before)


def text_of(key: str, language: str | None = None, count: object = None) -> str:
    """One text with its {placeholders}, by default in the current language. count: what is counted in it, if
    anything is.
    """
    texts = words(language or current_language())
    return texts.get(key + SINGULAR, texts[key]) if count == 1 else texts[key]


def text_or_plain(text: str) -> str:
    """The text of this key in the current language, or what is no key, as it is."""
    return text_of(text) if text in words() else text


def say(key: str, language: str | None = None, /, **values: Any) -> str:
    """One text with its {placeholders} filled in, by default in the current language."""
    with speaking(language) if language else contextlib.nullcontext():  # a value may be a sentence too
        return text_of(key, count=values.get("count")).format(**values)


@dataclass(frozen=True)
class Sentence:
    """A text that is said later, in the language of whoever reads it. values: texts, numbers, and other
    sentences.
    """

    key: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        # What is no key is a text that was said as it is.
        return say(self.key, **self.values) if self.key in words() else self.key

    def __format__(self, how: str) -> str:
        return format(str(self), how)

    def as_json(self) -> dict[str, Any]:
        """As it is kept in a file."""
        return {
            "key": self.key,
            "values": {
                name: value.as_json() if isinstance(value, Sentence) else value
                for name, value in self.values.items()
            },
        }

    @classmethod
    def from_json(cls, kept: Any) -> Sentence | str:
        """What :meth:`as_json` gave; a text that was kept as it was said stays that text."""
        if not isinstance(kept, dict):
            return str(kept)
        key: str = kept["key"]
        if key not in words():  # of another version of the program
            return key
        return cls(
            key,
            {
                name: cls.from_json(value) if isinstance(value, dict) else value
                for name, value in kept["values"].items()
            },
        )


def pick_language(accepted: str | None) -> str:
    """The language that a browser likes best among those that we have (RFC 9110, section 12.5.4).

    accepted: its Accept-Language header, such as "sw-KE,sw;q=0.9,en;q=0.8". A dialect counts as its language.
    """
    wishes: list[tuple[float, int, str]] = []
    for wish in (accepted or "").split(","):
        tag, _, quality = wish.partition(";")
        language = tag.strip().lower().split("-")[0]
        weight = _weight(quality)
        if language in LANGUAGES and weight > 0:
            wishes.append((-weight, len(wishes), language))
    return min(wishes)[2] if wishes else DEFAULT_LANGUAGE


def _weight(quality: str) -> float:
    name, _, number = quality.strip().partition("=")
    try:
        return float(number) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def percent(share: float) -> str:
    """A share of 1 for people, in the current language; never a false 100 % or 0 %."""
    return (
        _percent(share) if current_language() == DEFAULT_LANGUAGE else percent_in(current_language(), share)
    )


def _percent(share: float) -> str:
    if 0.9995 <= share < 1:
        return "over 99.9 %"
    if 0 < share < 0.0005:
        return "under 0.1 %"
    return f"{share:.1%}".replace("%", " %")


def percent_in(language: str, share: float) -> str:
    """A share of 1 as :func:`percent` gives it, as this language writes it."""
    number = _percent(share)
    for english in ("over", "under"):
        if number.startswith(english):
            return say(
                f"diagnose.{english}",
                language,
                percent=_decimal(number.removeprefix(english).strip(), language),
            )
    return _decimal(number, language)


def _decimal(number: str, language: str) -> str:
    # A line must not break before the sign.
    return number.replace(".", say("diagnose.decimal_point", language)).replace(" ", "\N{NO-BREAK SPACE}")


def joined(names: Iterable[str], key: str, language: str) -> str:
    """Names as a list in a sentence; key: of the words between two of them."""
    return say(key, language).join(names)


def label_title(label: str) -> str:
    """A class name as people write it: bean_rust becomes Bean rust, or what the current language calls it."""
    if current_language() != DEFAULT_LANGUAGE and f"class.{label}" in words():
        return capital(say(f"class.{label}"))
    return capital(label.replace("_", " ").strip())


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
