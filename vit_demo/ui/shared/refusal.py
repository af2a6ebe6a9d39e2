"""Why a photo was refused, in the language of the page: the most usual reasons by key, all others in the English of the error."""

from __future__ import annotations

import re
from html import escape

from vit_demo.common.words import DEFAULT_LANGUAGE, say

# How the sentences of :mod:`vit_demo.photos.safe_open` go on after the name of the file.
REASONS = {
    "diagnose.refused.no_photo": r"is not a photo\.",
    "diagnose.refused.damaged": r"is damaged and cannot be read",
    "diagnose.refused.empty": r"is empty \(0 bytes\)",
    "diagnose.refused.large": r"is larger than \d|has \d+ million pixels;|has more pixels than |has a side of \d|takes too much memory to open",
}


def why_html(error: str, language: str) -> str:
    """The sentence of a UserError as a span that says in which language it is."""
    if language != DEFAULT_LANGUAGE:
        for key, words in REASONS.items():
            if found := re.match(rf"(.+) (?:{words})", error, re.DOTALL):
                return f'<span lang="{language}">{escape(say(key, language, name=found[1]))}</span>'
    return f'<span lang="{DEFAULT_LANGUAGE}">{escape(error)}</span>'
