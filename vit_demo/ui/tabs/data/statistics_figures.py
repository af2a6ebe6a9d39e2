"""The numbers of a data set as small drawings (SVG), which a phone shows at once and which take the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import numpy as np

# Narrow, so that the words can still be read on a phone.
WIDTH, NAMES, ROW = 480, 140, 30
# Of the spread of a number: how many percent of the photos lie below each of the five.
PERCENTS = (5, 25, 50, 75, 95)


def bars_figure(rows: dict[str, dict[str, float]], colours: dict[str, str], written: Callable[[float], str], title: str) -> str:
    """Bars from 0. rows: {row: {series: value}}. colours: of each series. written: a value as text at the end of its bar."""
    most = max((value for values in rows.values() for value in values.values()), default=0) or 1
    height, top, parts = 16, 28, []
    for number, (series, colour) in enumerate(colours.items()):
        parts.append(f'<rect x="{10 + 155 * number}" y="4" width="12" height="12" fill="{colour}"/>{_text(28 + 155 * number, 15, series)}')
    for name, values in rows.items():
        parts.append(_text(NAMES - 8, top + height * len(values) / 2 + 4, name, "end"))
        for series, value in values.items():
            wide = (WIDTH - NAMES - 62) * value / most
            parts.append(f'<rect x="{NAMES}" y="{top + 2}" width="{wide:.1f}" height="{height - 3}" fill="{colours[series]}"/>')
            parts.append(_text(NAMES + wide + 6, top + height - 2, written(value), small=True))
            top += height
        top += 8
    return _svg(top, parts, title)


def spread_figure(rows: dict[str, Sequence[float]], written: Callable[[float], str], logarithmic: bool, title: str) -> str:
    """A box a row: from the second to the fourth number, a mark at the third, lines out to the first and last. rows: {row: five numbers, see PERCENTS}."""
    values = np.array(list(rows.values()), dtype=float)
    low, high = float(values.min()), float(values.max())
    scale = math.log10 if logarithmic and low > 0 else float
    start, span = scale(low), scale(high) - scale(low)

    def at(value: float) -> float:
        if not span:
            return (WIDTH + NAMES) / 2
        return NAMES + 10 + (WIDTH - NAMES - 50) * (scale(value) - start) / span

    parts, top = [], 8
    for name, five in rows.items():
        first, second, third, fourth, last = map(at, five)
        middle = top + ROW / 2
        parts.append(_text(NAMES - 8, middle + 4, name, "end"))
        parts.append(f'<line x1="{first:.1f}" x2="{last:.1f}" y1="{middle}" y2="{middle}" stroke="currentColor" stroke-width="1.5"/>')
        parts.append(f'<rect x="{second:.1f}" y="{top + 6}" width="{max(2.0, fourth - second):.1f}" height="{ROW - 12}" fill="#86b79a" stroke="currentColor"/>')
        parts.append(f'<line x1="{third:.1f}" x2="{third:.1f}" y1="{top + 4}" y2="{top + ROW - 4}" stroke="currentColor" stroke-width="3"/>')
        top += ROW
    parts.append(_text(at(low), top + 14, written(low), small=True))
    if high > low:
        parts.append(_text(at(high) + 20, top + 14, written(high), "end", small=True))
    return _svg(top + 22, parts, title)


def _text(x: float, y: float, text: str, anchor: str = "start", small: bool = False) -> str:
    size = 13 if small else 14
    text = text if len(text) <= 18 or anchor != "end" else f"{text[:17]}…"
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="currentColor">{escape(text)}</text>'


def _svg(height: float, parts: list[str], title: str) -> str:
    """The table beside it says the same to someone who cannot see it."""
    return f'<svg class="numbers-figure" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
