"""Draw the plan of the house into docs/house.svg: rooms on their floors, with what is in each and which
others it uses.

    python -m docs.house

Floors come from the table in tests/test_imports.py, sentences from each room's docstring, what it uses from
the imports themselves. A test compares the file with what this makes.
"""

from __future__ import annotations

import ast
import textwrap
from html import escape
from pathlib import Path

from tests.conftest import ROOT
from tests.test_imports import FLOORS, MODULES, PACKAGE, arrows_of

FILE = Path(__file__).with_name("house.svg")
WIDTH, GAP, HEIGHT, MARGIN, LINE = 1160, 16, 126, 16, 15
STYLE = (
    "text{font-family:system-ui,sans-serif;fill:#1c1917}.room{fill:#f0fdf4;stroke:#15803d;stroke-width:1.5}"
    ".name{font-size:17px;font-weight:600}.about{font-size:12px}.inner{font-size:11px;fill:#57534e}"
    ".uses{font-size:11px;fill:#15803d}.ground{fill:#ffffff}"
)


def rooms() -> list[list[str]]:
    """The rooms of each floor, the top one first. Whatever only starts the program stands in no room."""
    return [
        [room for room in floor.split() if room != "__main__"]
        for floor in FLOORS[PACKAGE].split(" > ")
        if floor != "__main__"
    ]


def about(room: str) -> str:
    """The first sentence of a room's docstring."""
    text = ast.get_docstring(ast.parse((ROOT / PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
    return text.split("\n")[0]


def inner(room: str) -> str:
    """The parts of a room: by its floors from the top down, or its modules where it is one floor."""
    floors = FLOORS.get(f"{PACKAGE}.{room}")
    if floors:
        return " > ".join(", ".join(floor.split()) for floor in floors.split(" > "))
    return ", ".join(
        sorted({name.split(".")[2] for name, _ in MODULES if name.startswith(f"{PACKAGE}.{room}.")})
    )


def uses() -> dict[str, list[str]]:
    """By room: the other rooms that it imports from, the highest first."""
    order = sum(rooms(), [])
    pairs = {
        (module.split(".")[1], other.split(".")[1])
        for module, others in arrows_of(MODULES).items()
        for other in others
        if module.count(".") and other.count(".")
    }
    return {room: [other for other in order if other != room and (room, other) in pairs] for room in order}


def places() -> dict[str, tuple[float, float, float]]:
    """By room: left, top and width of its box."""
    found = {}
    for number, floor in enumerate(rooms()):
        width = (WIDTH - 2 * MARGIN - GAP * (len(floor) - 1)) / len(floor)
        for place, room in enumerate(floor):
            found[room] = (MARGIN + place * (width + GAP), MARGIN + number * (HEIGHT + GAP), width)
    return found


def draw() -> str:
    """The picture, as the text of an SVG file."""
    boxes = places()
    height = 2 * MARGIN + len(rooms()) * (HEIGHT + GAP) - GAP
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
            ' aria-label="The rooms of vit_demo on their floors">'
        ),
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
    ]
    used = uses()
    for room, (left, top, width) in boxes.items():
        parts.append(
            f'<rect class="room" x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="8"/>'
        )
        parts.append(f'<text class="name" x="{left + 14:.0f}" y="{top + 28:.0f}">{room}</text>')
        lines = [("about", line) for line in textwrap.wrap(about(room), int((width - 28) / 6.4))]
        lines += [("inner", line) for line in textwrap.wrap(inner(room), int((width - 28) / 5.8))]
        lines += [
            ("uses", line)
            for line in textwrap.wrap(f"uses {', '.join(used[room])}", int((width - 28) / 5.8))
            if used[room]
        ]
        for number, (kind, line) in enumerate(lines):
            parts.append(
                f'<text class="{kind}" x="{left + 14:.0f}"'
                f' y="{top + 46 + LINE * number:.0f}">{escape(line)}</text>'
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
