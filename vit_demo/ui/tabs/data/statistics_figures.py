"""The numbers of a data set as small drawings (SVG), which a phone shows at once and which take the colours
of the page.
"""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from markupsafe import Markup

from vit_demo.ui.shared.html import render

# Narrow, so that the words can still be read on a phone.
WIDTH, NAMES, ROW = 480, 140, 30
# Of a name in one line; Chinese ones are twice as wide.
LETTERS = 16
# Of the spread of a number: how many percent of the photos lie below each of the five.
PERCENTS = (5, 25, 50, 75, 95)


def bars_figure(
    rows: Mapping[str, Mapping[str, float]],
    colours: Mapping[str, str],
    written: Callable[[float], str],
    title: str,
) -> Markup:
    """Bars from 0. rows: {row: {series: value}}. colours: of each series. written: a value as text at the end
    of its bar.
    """
    most = max((value for values in rows.values() for value in values.values()), default=0) or 1
    height, top, shapes = 16, 28, []
    for number, (name, colour) in enumerate(colours.items()):
        shapes += [_rect(10 + 155 * number, 4, 12, 12, fill=colour), _text(28 + 155 * number, 15, name)]
    for row, values in rows.items():
        shapes += _name(row, top + height * len(values) / 2)
        for name, value in values.items():
            wide = (WIDTH - NAMES - 62) * value / most
            shapes.append(_rect(NAMES, top + 2, f"{wide:.1f}", height - 3, fill=colours[name]))
            shapes.append(_text(NAMES + wide + 6, top + height - 2, written(value), small=True))
            top += height
        top += max(8, ROW - height * len(values))
    return _figure(top, shapes, title)


def spread_figure(
    rows: dict[str, Sequence[float]], written: Callable[[float], str], logarithmic: bool, title: str
) -> Markup:
    """A box a row: from the second to the fourth number, a mark at the third, lines out to the first and
    last. rows: {row: five numbers, see PERCENTS}.
    """
    values = np.array(list(rows.values()), dtype=float)
    low, high = float(values.min()), float(values.max())
    scale = math.log10 if logarithmic and low > 0 else float
    start, span = scale(low), scale(high) - scale(low)

    def at(value: float) -> float:
        if not span:
            return (WIDTH + NAMES) / 2
        return NAMES + 10 + (WIDTH - NAMES - 50) * (scale(value) - start) / span

    shapes, top = [], 8
    for name, five in rows.items():
        first, second, third, fourth, last = map(at, five)
        middle = top + ROW / 2
        shapes += _name(name, middle)
        shapes.append(_line(first, last, middle, middle, 1.5))
        shapes.append(
            _rect(
                f"{second:.1f}",
                top + 6,
                f"{max(2.0, fourth - second):.1f}",
                ROW - 12,
                fill="#86b79a",
                stroke="currentColor",
            )
        )
        shapes.append(_line(third, third, top + 4, top + ROW - 4, 3))
        top += ROW
    shapes.append(_text(at(low), top + 14, written(low), small=True))
    if high > low:
        shapes.append(_text(at(high) + 20, top + 14, written(high), "end", small=True))
    return _figure(top + 22, shapes, title)


def _rect(x: object, y: object, width: object, height: object, **colours: str) -> dict:
    return {"kind": "rect", "at": {"x": x, "y": y, "width": width, "height": height, **colours}}


def _line(x1: float, x2: float, y1: float, y2: float, width: float) -> dict:
    return {
        "kind": "line",
        "at": {
            "x1": f"{x1:.1f}",
            "x2": f"{x2:.1f}",
            "y1": y1,
            "y2": y2,
            "stroke": "currentColor",
            "stroke-width": width,
        },
    }


def _name(text: str, middle: float) -> list[dict]:
    """The name of a row, in two lines where one is too short for it."""
    wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    lines = textwrap.wrap(text, LETTERS // 2 if wide else LETTERS, max_lines=2, placeholder="…") or [""]
    first = middle + 4 - 7 * (len(lines) - 1)
    return [_text(NAMES - 8, first + 14 * number, line, "end") for number, line in enumerate(lines)]


def _text(x: float, y: float, text: str, anchor: str = "start", small: bool = False) -> dict:
    at = {
        "x": f"{x:.1f}",
        "y": f"{y:.1f}",
        "font-size": 13 if small else 14,
        "text-anchor": anchor,
        "fill": "currentColor",
    }
    return {"kind": "text", "at": at, "text": text}


def _figure(height: float, shapes: list[dict], title: str) -> Markup:
    """The table beside it says the same to someone who cannot see it."""
    return render("data/statistics#figure", width=WIDTH, height=f"{height:.0f}", shapes=shapes, title=title)
