"""A folder of figures and numbers with a page that shows them; it works from a disk, without a network or a
server.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from PIL import Image
from plotly.offline import get_plotlyjs

from vit_demo.common.html import render_from

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

TEMPLATES = Path(__file__).resolve().parent / "templates"
PLOTLY = "plotly.min.js"
STYLE = """
body { margin: 0 auto; max-width: 1100px; padding: 12px 16px 40px; font: 16px/1.5 system-ui, sans-serif;
  color: #292524; background: #fff; }
h1 { margin: 8px 0; font-size: 1.6rem; }
h2 { margin: 36px 0 8px; border-bottom: 1px solid #d6d3d1; font-size: 1.25rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr));
  gap: 24px; align-items: start; }
figure { margin: 0; min-width: 0; } figure img { max-width: 100%; height: auto; border-radius: 6px; }
iframe { width: 100%; border: 0; } figcaption { overflow-wrap: anywhere; } figcaption b { display: block; }
a { color: #1d4ed8; overflow-wrap: anywhere; } ul { padding-left: 20px; }
"""


class Showcase:
    """Writes files into an empty folder and remembers what each is, for the page. titles and sentences are
    plain text, not HTML.
    """

    def __init__(self, folder: Path, title: str, sentence: str):
        self.folder = folder
        self.files: list[str] = []
        self._title = title
        self._parts = [_html("head", title=title, sentence=sentence)]
        self._figures: list[Markup] = []
        self._numbers: list[tuple[str, str]] = []

    def section(self, title: str) -> None:
        """What comes now stands under this heading."""
        self._close()
        self._parts.append(_html("section", title=title))

    def picture(self, name: str, picture: Image.Image, title: str, sentence: str) -> None:
        """A picture as ``name``.png."""
        file = self._new(f"{name}.png")
        picture.save(self.folder / file)
        self._show(
            _html("picture", file=file, width=picture.width, height=picture.height, title=title),
            title,
            sentence,
        )

    def chart(self, name: str, figure: go.Figure, title: str, sentence: str) -> None:
        """A plotly figure as ``name``.html, which draws it with the copy of plotly in this folder; its camera
        button saves it as PNG.
        """
        if PLOTLY not in self.files:
            (self.folder / self._new(PLOTLY)).write_text(get_plotlyjs(), encoding="utf-8")
        file = self._new(f"{name}.html")
        options = {
            # Named one by one: plotly's own choice has a button that sends the chart to a server.
            "modeBarButtons": [["toImage", "zoom2d", "resetScale2d"]],
            "displayModeBar": True,
            "displaylogo": False,
            "responsive": True,
            "toImageButtonOptions": {"filename": name, "scale": 2},
        }
        drawn = figure.to_html(config=options, include_plotlyjs="directory", full_html=False)
        _write_page(self.folder / file, title, [Markup(drawn)], "body { margin: 0; }")
        self._show(
            _html("chart", file=file, title=title, height=int(figure.layout.height or 450) + 4),
            title,
            sentence,
            file,
        )

    def table(
        self, name: str, header: Sequence[str], rows: Iterable[Sequence[object]], sentence: str
    ) -> None:
        """Numbers as ``name``.csv. header: with the unit of each column."""
        file = self._new(f"{name}.csv")
        with open(self.folder / file, "w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
        self._numbers.append((file, sentence))

    def arrays(self, name: str, sentence: str, **arrays: ArrayLike) -> None:
        """Numbers as ``name``.npz, readable without pickle."""
        file = self._new(f"{name}.npz")
        np.savez_compressed(self.folder / file, **cast("dict[str, Any]", arrays))
        self._numbers.append((file, sentence))

    def finish(self) -> list[str]:
        """Write index.html. Returns the names of all files."""
        self._close()
        _write_page(self.folder / self._new("index.html"), self._title, self._parts, STYLE)
        return self.files

    def _new(self, file: str) -> str:
        self.files.append(file)
        return file

    def _show(self, body: Markup, title: str, sentence: str, file: str = "") -> None:
        self._figures.append(_html("figure", body=body, title=title, sentence=sentence, file=file))

    def _close(self) -> None:
        if self._figures:
            self._parts.append(_html("figures", parts=self._figures))
        if self._numbers:
            self._parts.append(_html("numbers", files=self._numbers))
        self._figures, self._numbers = [], []


def _html(part: str, **values: object) -> Markup:
    return render_from(TEMPLATES, f"showcase#{part}", **values)


def _write_page(file: Path, title: str, parts: list[Markup], style: str) -> None:
    file.write_text(_html("page", title=title, style=Markup(style), parts=parts) + "\n", encoding="utf-8")
