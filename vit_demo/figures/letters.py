"""Words that are drawn into a picture."""

from __future__ import annotations

import functools

from PIL import ImageFont

from vit_demo.common.words import DEFAULT_LANGUAGE, say

# Looked for where the computer keeps its fonts: Pillow's own, the first, has the letters of English alone.
FONTS = (
    "",
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "Arial.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
)


def written(key: str, /, **values: object) -> str:
    """A text of a few words that :func:`letters` can draw: in the current language, in English where no font
    here has its letters.
    """
    text = say(key, **values)
    return say(key, DEFAULT_LANGUAGE, **values) if _font_for("".join(sorted(set(text)))) is None else text


def letters(size: int, text: str = "") -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font for a text, by default one of English letters and numbers."""
    return _font(_font_for("".join(sorted(set(text)))) or "", size)


@functools.cache
def _font_for(characters: str) -> str | None:
    if characters.isascii():
        return ""
    return next((name for name in FONTS if _has(name, characters)), None)


def _has(name: str, characters: str) -> bool:
    try:
        font = _font(name, 20)
    except OSError:
        return False
    # What a font lacks it draws as it draws this, which is no letter.
    lacking = bytes(font.getmask("\uffff"))
    return all(character.isspace() or bytes(font.getmask(character)) != lacking for character in characters)


@functools.cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
