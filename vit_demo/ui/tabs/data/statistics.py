"""Data: how many photos there are, how large, how bright, how sharp and of what colour, as figures with a
table beside each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from datasets import DatasetDict
from markupsafe import Markup

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import current_language, label_title, percent, say
from vit_demo.data.browse.catalogue import Catalogue
from vit_demo.data.browse.statistics import Statistics, start
from vit_demo.photos.quality import WARNINGS
from vit_demo.ui.shared.components import table
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.speech import QUIET, Speech, Told
from vit_demo.ui.tabs.data.check_html import listed, within
from vit_demo.ui.tabs.data.opened import learn, open_source
from vit_demo.ui.tabs.data.statistics_figures import PERCENTS, bars_figure, spread_figure

# Seconds between two looks at the progress. How many people may watch at the same time; others wait.
TICK, AT_ONCE = 0.7, 8
# Of more classes those with the most photos have a row.
MOST_CLASSES = 30
SPLIT_COLOURS = {"train": "#15803d", "validation": "#b45309", "test": "#1d4ed8"}
COLOURS = {"red": "#dc2626", "green": "#16a34a", "blue": "#2563eb"}
# Of each column how one of its numbers is written.
SPREADS = {"side": "{:,.0f} px", "ratio": "{:.2f}", "brightness": "{:.0f} %", "sharpness": "{:.3f}"}


def build(speech: Speech) -> gr.HTML:
    """Lay out the view; what it shows is told again in another language."""
    script = (settings.ASSETS / "theme" / "statistics.js").read_text(encoding="utf-8")
    shown = speech(
        gr.HTML, padding=False, js_on_load=script, words=Told(current_language), elem_id="data-statistics"
    )
    shown.select(again, None, shown, **QUIET, trigger_mode="always_last", concurrency_limit=AT_ONCE)
    return shown


def again(event: gr.EventData) -> Iterator[str]:
    """Inputs: of which photos the numbers are shown. Outputs: as :func:`show`."""
    if isinstance(event.value, str):
        yield from show(event.value)


def show(source: str | None) -> Iterator[str]:
    """Inputs: source, None where the numbers are not looked at. Outputs: counts at once, all else as soon as
    it is known, progress until then.
    """
    if source is None:
        return
    try:
        one = open_source(source)
    except UserError as error:
        yield _statistics(source, refused=error)
        return
    catalogue = one.catalogue
    job = start(catalogue)
    while job.is_going:
        yield _statistics(source, counts=_counts(catalogue), progress=job, printed=_printed(catalogue.data))
        time.sleep(TICK)
    if job.result is None:
        yield _statistics(source, counts=_counts(catalogue), refused=job.error)
        return
    learn(one, job.result)
    yield _statistics(
        source,
        counts=_counts(catalogue),
        measured=measured(catalogue, job.result),
        printed=_printed(catalogue.data),
    )


def _statistics(source: str, **parts: Any) -> Markup:
    """counts, measured: a section, and all others. progress: a job. refused: why there are no numbers.
    printed: the data set as Python prints it.
    """
    nothing = {"counts": None, "progress": None, "measured": None, "refused": "", "printed": ""}
    return render("data/statistics#statistics", source=source, **{**nothing, **parts})


@dataclass(frozen=True)
class Section:
    """title, note: sentences. figure, facts: HTML. id: of the facts."""

    title: str
    note: str
    figure: Markup
    facts: Markup
    id: str = ""


def _classes(catalogue: Catalogue) -> list[str]:
    """Those that have a row, in the order of their ids."""
    counts = catalogue.counts()
    total = {label: sum(counts[split][label] for split in counts) for label in catalogue.labels}
    most = sorted(total, key=lambda label: -total[label])[:MOST_CLASSES]
    return [label for label in catalogue.labels if label in most]


def _counts(catalogue: Catalogue) -> Section:
    counts, labels = catalogue.counts(), _classes(catalogue)
    rows = [
        [
            label_title(label),
            catalogue.labels.index(label),
            *(f"{counts[split][label]:,}" for split in counts),
        ]
        for label in labels
    ]
    rows.append([say("data.statistics.all"), "", *(f"{sum(counts[split].values()):,}" for split in counts)])
    values = {label_title(label): {split: counts[split][label] for split in counts} for label in labels}
    figure = bars_figure(values, SPLIT_COLOURS, "{:,.0f}".format, say("data.statistics.counts_figure"))
    note = say("data.statistics.counts_note")
    if len(labels) < len(catalogue.labels):
        note = say("data.statistics.counts_note_most", shown=len(labels), total=len(catalogue.labels))
    facts = table([say("data.statistics.class"), say("data.statistics.id"), *counts], rows)
    return Section(say("data.statistics.counts"), note, figure, facts, "data-counts")


def measured(catalogue: Catalogue, found: Statistics) -> dict:
    """All that was seen of the photos themselves: how many were looked at and what is wrong with them, in
    sentences; the sections.
    """
    fine, sections = found.fine, []
    if fine.any():
        labels = np.array([catalogue.label(place) for place in found.places], dtype=object)
        groups = {
            say("data.statistics.all_photos"): fine,
            **{label_title(label): fine & (labels == label) for label in _classes(catalogue)},
        }
        columns = {
            "side": np.minimum(found.width, found.height),
            "ratio": found.width / np.maximum(found.height, 1),
            "brightness": 100 * found.brightness,
            "sharpness": found.sharpness,
        }
        spreads = [_spread(name, values, groups) for name, values in columns.items()]
        sections = [_sizes(found), *filter(None, spreads), _colours(found, groups)]
    return {**_seen(catalogue, found), "sections": sections}


def _seen(catalogue: Catalogue, found: Statistics) -> dict[str, str]:
    """How many photos were looked at, and what is wrong with how many."""
    seen = say("data.statistics.seen", count=len(found))
    if len(found) < len(catalogue):
        seen = say("data.statistics.drawn", count=len(found), total=len(catalogue))
    counts = {
        within(name): int(((found.problems >= 0) & (found.problems >> bit & 1 == 1)).sum())
        for bit, name in enumerate(WARNINGS)
    }
    counts[say("data.broken")] = int((~found.fine).sum())
    problems = listed(f"{title} {count:,}" for title, count in counts.items() if count)
    return {
        "seen": seen,
        "problems": say("data.statistics.problems", problems=problems)
        if problems
        else say("data.statistics.no_problem"),
    }


def _sizes(found: Statistics) -> Section:
    sizes, counts = np.unique(
        np.stack([found.width, found.height], axis=1)[found.fine], axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:8]
    named = {f"{sizes[at, 0]} x {sizes[at, 1]} px": int(counts[at]) for at in order}
    if (rest := int(counts.sum()) - sum(named.values())) > 0:
        named[say("data.statistics.other_sizes", count=len(sizes) - len(order))] = rest
    series = say("data.statistics.photos_series")
    values = {name: {series: count} for name, count in named.items()}
    figure = bars_figure(values, {series: "#15803d"}, "{:,.0f}".format, say("data.statistics.sizes_figure"))
    facts = table(
        [say("data.statistics.size"), say("data.statistics.photos")],
        [[name, f"{count:,}"] for name, count in named.items()],
    )
    return Section(say("data.statistics.sizes"), say("data.statistics.sizes_note"), figure, facts)


def _spread(name: str, values: np.ndarray, groups: dict[str, np.ndarray]) -> Section | None:
    """Five numbers of a column, of all photos and of each class; None where nothing is known. name: one of
    SPREADS.
    """
    rows = {}
    for group, chosen in groups.items():
        known = values[chosen & ~np.isnan(values)]
        if len(known):
            rows[group] = np.percentile(known, PERCENTS).tolist()
    if not rows:
        return None
    title, form = say(f"data.spread.{name}"), SPREADS[name]
    header = [
        "",
        *(
            say("data.statistics.median") if share == 50 else say("data.statistics.below", share=share)
            for share in PERCENTS
        ),
    ]
    facts = table(header, [[group, *map(form.format, five)] for group, five in rows.items()])
    return Section(
        title,
        say(f"data.spread.{name}_note"),
        spread_figure(rows, form.format, name == "sharpness", title),
        facts,
    )


def _colours(found: Statistics, groups: dict[str, np.ndarray]) -> Section:
    colours = {say(f"data.colour.{name}"): colour for name, colour in COLOURS.items()}
    means = {
        group: dict(zip(colours, found.colour[chosen].mean(axis=0).tolist()))
        for group, chosen in groups.items()
        if chosen.any()
    }
    figure = bars_figure(means, colours, percent, say("data.statistics.colour_figure"))
    facts = table(["", *colours], [[group, *map(percent, mean.values())] for group, mean in means.items()])
    return Section(say("data.statistics.colour"), say("data.statistics.colour_note"), figure, facts)


def _printed(data: DatasetDict) -> str:
    lines = ",\n ".join(f"{name!r}: {feature}" for name, feature in data["train"].features.items())
    return f"{data}\n{{{lines}}}"
