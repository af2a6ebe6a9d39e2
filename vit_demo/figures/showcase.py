"""A folder of figures and numbers with a page that shows them; it works from a disk, without a network or a server."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.offline import get_plotlyjs

PLOTLY = "plotly.min.js"
STYLE = """
body { margin: 0 auto; max-width: 1100px; padding: 12px 16px 40px; font: 16px/1.5 system-ui, sans-serif; color: #292524; background: #fff; }
h1 { margin: 8px 0; font-size: 1.6rem; } h2 { margin: 36px 0 8px; border-bottom: 1px solid #d6d3d1; font-size: 1.25rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 24px; align-items: start; }
figure { margin: 0; min-width: 0; } figure img { max-width: 100%; height: auto; border-radius: 6px; }
iframe { width: 100%; border: 0; } figcaption { overflow-wrap: anywhere; } figcaption b { display: block; }
a { color: #1d4ed8; overflow-wrap: anywhere; } ul { padding-left: 20px; }
"""


class Showcase:
    """Writes files into an empty folder and remembers what each is, for the page. titles and sentences are plain text, not HTML."""

    def __init__(self, folder: Path, title: str, sentence: str):
        self.folder = folder
        self.files: list[str] = []
        self._title = title
        self._parts = [f"<h1>{escape(title)}</h1><p>{escape(sentence)}</p>"]
        self._figures: list[str] = []
        self._numbers: list[str] = []

    def section(self, title: str) -> None:
        """What comes now stands under this heading."""
        self._close()
        self._parts.append(f"<h2>{escape(title)}</h2>")

    def picture(self, name: str, picture: Image.Image, title: str, sentence: str) -> None:
        """A picture as ``name``.png."""
        file = self._new(f"{name}.png")
        picture.save(self.folder / file)
        size = f'width="{picture.width}" height="{picture.height}"'
        self._show(f'<a href="{file}"><img src="{file}" {size} alt="{escape(title)}" loading="lazy"></a>', title, sentence)

    def chart(self, name: str, figure: go.Figure, title: str, sentence: str) -> None:
        """A plotly figure as ``name``.html, which draws it with the copy of plotly in this folder; its camera button saves it as PNG."""
        if PLOTLY not in self.files:
            (self.folder / self._new(PLOTLY)).write_text(get_plotlyjs(), encoding="utf-8")
        file = self._new(f"{name}.html")
        options = {
            # Named one by one: plotly's own choice has a button that sends the chart to a server.
            "modeBarButtons": [["toImage", "zoom2d", "resetScale2d"]], "displayModeBar": True, "displaylogo": False, "responsive": True,
            "toImageButtonOptions": {"filename": name, "scale": 2},
        }
        drawn = figure.to_html(config=options, include_plotlyjs="directory", full_html=False)
        _write_page(self.folder / file, title, f"<main>{drawn}</main>", "body { margin: 0; }")
        height = int(figure.layout.height or 450) + 4
        self._show(f'<iframe src="{file}" title="{escape(title)}" height="{height}" loading="lazy"></iframe>', title, sentence, file)

    def table(self, name: str, header: Sequence[str], rows: Iterable[Sequence], sentence: str) -> None:
        """Numbers as ``name``.csv. header: with the unit of each column."""
        file = self._new(f"{name}.csv")
        with open(self.folder / file, "w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
        self._number(file, sentence)

    def arrays(self, name: str, sentence: str, **arrays: np.ndarray) -> None:
        """Numbers as ``name``.npz, readable without pickle."""
        file = self._new(f"{name}.npz")
        np.savez_compressed(self.folder / file, **arrays)
        self._number(file, sentence)

    def finish(self) -> list[str]:
        """Write index.html. Returns the names of all files."""
        self._close()
        _write_page(self.folder / self._new("index.html"), self._title, "<main>" + "\n".join(self._parts) + "</main>", STYLE)
        return self.files

    def _new(self, file: str) -> str:
        self.files.append(file)
        return file

    def _show(self, body: str, title: str, sentence: str, file: str = "") -> None:
        link = f' <a href="{file}">Open it alone</a>' if file else ""
        self._figures.append(f"<figure>{body}<figcaption><b>{escape(title)}</b>{escape(sentence)}{link}</figcaption></figure>")

    def _number(self, file: str, sentence: str) -> None:
        self._numbers.append(f'<li><a href="{file}">{file}</a>: {escape(sentence)}</li>')

    def _close(self) -> None:
        if self._figures:
            self._parts.append(f'<div class="figures">{"".join(self._figures)}</div>')
        if self._numbers:
            self._parts.append(f"<p>Numbers:</p><ul>{''.join(self._numbers)}</ul>")
        self._figures, self._numbers = [], []


def _write_page(file: Path, title: str, body: str, style: str) -> None:
    file.write_text(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n",
        encoding="utf-8",
    )
