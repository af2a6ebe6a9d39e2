"""The words of the page, kept in files beside this module so that they can be translated.

diagnose/<language>/ has what the Diagnose tab says, a file a part of it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent
DEFAULT_LANGUAGE = "en"
# In the order of the list that a person picks from.
LANGUAGES = ("en", "zh", "fr", "sw", "es", "pt")


@functools.cache
def words(language: str = DEFAULT_LANGUAGE) -> dict[str, str]:
    """All texts of a language by key."""
    return {key: text for file in sorted((FOLDER / "diagnose" / language).glob("*.json")) for key, text in _read(file).items()}


def _read(file: Path) -> dict[str, str]:
    return json.loads(file.read_text(encoding="utf-8"))


def say(key: str, language: str = DEFAULT_LANGUAGE, **values) -> str:
    """One text with its {placeholders} filled in."""
    return words(language)[key].format(**values)


def pick_language(accepted: str | None) -> str:
    """The language that a browser likes best among those that we have (RFC 9110, section 12.5.4).

    accepted: its Accept-Language header, such as "sw-KE,sw;q=0.9,en;q=0.8". A dialect counts as its language.
    """
    wishes = []
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
    """A share of 1 for people; never a false 100 % or 0 %."""
    if 0.9995 <= share < 1:
        return "over 99.9 %"
    if 0 < share < 0.0005:
        return "under 0.1 %"
    return f"{share:.1%}".replace("%", " %")


def percent_in(language: str, share: float) -> str:
    """A share of 1 as :func:`percent` gives it, as this language writes it."""
    number = percent(share)
    for english in ("over", "under"):
        if number.startswith(english):
            return say(f"diagnose.{english}", language, percent=_decimal(number.removeprefix(english).strip(), language))
    return _decimal(number, language)


def _decimal(number: str, language: str) -> str:
    # A line must not break before the sign.
    return number.replace(".", say("diagnose.decimal_point", language)).replace(" ", "\N{NO-BREAK SPACE}")


def joined(names: Iterable[str], key: str, language: str) -> str:
    """Names as a list in a sentence; key: of the words between two of them."""
    return say(key, language).join(names)


def label_title(label: str) -> str:
    """A class name as people write it: bean_rust becomes Bean rust."""
    return capital(label.replace("_", " ").strip())


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
