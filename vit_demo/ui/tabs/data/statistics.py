"""Data: how many photos there are, how large, how bright, how sharp and of what colour, as figures with a table beside each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape

import numpy as np
from datasets import DatasetDict

from vit_demo.common.errors import UserError
from vit_demo.common.words import label_title, percent
from vit_demo.data.browse.catalogue import Catalogue
from vit_demo.data.browse.statistics import Numbers, start
from vit_demo.ui.shared.components import table
from vit_demo.ui.tabs.data.browse import PROBLEMS
from vit_demo.ui.tabs.data.opened import learn, open_source
from vit_demo.ui.tabs.data.statistics_figures import PERCENTS, bars_figure, spread_figure

# Seconds between two looks at the progress. How many people may watch at the same time; others wait.
TICK, AT_ONCE = 0.7, 8
# Of more classes those with the most photos have a row.
MOST_CLASSES = 30
SPLIT_COLOURS = {"train": "#15803d", "validation": "#b45309", "test": "#1d4ed8"}
COLOURS = {"red": "#dc2626", "green": "#16a34a", "blue": "#2563eb"}
ALL = "All photos"
# What is said of each column, and how one of its numbers is written.
SPREADS = {
    "Shorter side": ("In pixels. Most models take in 224: a photo much smaller than that has less to see.", "{:,.0f} px"),
    "Width to height": ("1 is a square photo, more is a wide one, less is a tall one. Models squeeze each photo into a square.", "{:.2f}"),
    "Brightness": ("The mean of each photo, from 0 % (black) to 100 % (white).", "{:.0f} %"),
    "Sharpness": (
        "How strongly neighbouring pixels differ, as a share of all that differs in the photo (0 to 72). Under 0.02 a photo is blurred.", "{:.3f}",
    ),
}


def show(source: str | None) -> Iterator[str]:
    """Inputs: source, None where the numbers are not looked at. Outputs: counts at once, all else as soon as it is known, progress until then."""
    if source is None:
        return
    try:
        one = open_source(source)
    except UserError as error:
        yield _refused(error)
        return
    catalogue = one.catalogue
    counted = _counts(catalogue)
    job = start(catalogue)
    while job.is_going:
        yield f'<div class="numbers">{counted}{_progress(job.done, job.total)}{_printed(catalogue.data)}</div>'
        time.sleep(TICK)
    if job.result is None:
        yield f'<div class="numbers">{counted}{_refused(job.error)}</div>'
        return
    learn(one, job.result)
    yield f'<div class="numbers">{counted}{measured(catalogue, job.result)}{_printed(catalogue.data)}</div>'


def _refused(error: UserError | str) -> str:
    return f'<div class="answer answer-refused" role="alert"><p>{escape(str(error))}</p></div>'


def _progress(done: int, total: int) -> str:
    return (
        f'<p role="status">Looking at the photos: {done:,} of {total:,}</p>'
        f'<div class="progress" role="progressbar" aria-label="Looking at the photos" aria-valuenow="{done}" aria-valuemax="{total}">'
        f'<div style="width:{done / max(1, total):.1%}"></div></div>'
    )


def _part(title: str, words: str, figure: str, facts: str) -> str:
    both = f'<div class="numbers-both"><figure>{figure}</figure><div>{facts}</div></div>'
    return f'<section><h3>{escape(title)}</h3><p class="note">{escape(words)}</p>{both}</section>'


def _classes(catalogue: Catalogue) -> list[str]:
    """Those that have a row, in the order of their ids."""
    counts = catalogue.counts()
    total = {label: sum(counts[split][label] for split in counts) for label in catalogue.labels}
    most = sorted(total, key=lambda label: -total[label])[:MOST_CLASSES]
    return [label for label in catalogue.labels if label in most]


def _counts(catalogue: Catalogue) -> str:
    counts, labels = catalogue.counts(), _classes(catalogue)
    rows = [[label_title(label), catalogue.labels.index(label), *(f"{counts[split][label]:,}" for split in counts)] for label in labels]
    rows.append(["All", "", *(f"{sum(counts[split].values()):,}" for split in counts)])
    values = {label_title(label): {split: counts[split][label] for split in counts} for label in labels}
    figure = bars_figure(values, SPLIT_COLOURS, "{:,.0f}".format, "Photos of each class and split")
    words = "How many photos of each class there are in each split."
    if len(labels) < len(catalogue.labels):
        words += f" Shown are the {len(labels)} classes with the most photos, of {len(catalogue.labels):,}."
    return _part("Photos of each class", words, figure, f'<div id="data-counts">{table(["Class", "id", *counts], rows)}</div>')


def measured(catalogue: Catalogue, numbers: Numbers) -> str:
    """All that was seen of the photos themselves."""
    fine = numbers.fine
    parts = [_seen(catalogue, numbers)]
    if fine.any():
        labels = np.array([catalogue.label(place) for place in numbers.places], dtype=object)
        groups = {ALL: fine, **{label_title(label): fine & (labels == label) for label in _classes(catalogue)}}
        columns = {
            "Shorter side": np.minimum(numbers.width, numbers.height), "Width to height": numbers.width / np.maximum(numbers.height, 1),
            "Brightness": 100 * numbers.brightness, "Sharpness": numbers.sharpness,
        }
        parts += [
            _sizes(numbers),
            *(_spread(title, values, groups) for title, values in columns.items()),
            _colours(numbers, groups),
        ]
    return "".join(parts)


def _seen(catalogue: Catalogue, numbers: Numbers) -> str:
    """How many photos were looked at, and what is wrong with how many."""
    sentence = f"{len(numbers):,} photos were looked at."
    if len(numbers) < len(catalogue):
        sentence = f"{len(numbers):,} of the {len(catalogue):,} photos were looked at, drawn at random, each as likely as any other."
    counts = {title: int(((numbers.problems >= 0) & (numbers.problems >> bit & 1 == 1)).sum()) for bit, title in enumerate(PROBLEMS.values())}
    counts["broken"] = int((~numbers.fine).sum())
    found = ", ".join(f"{title} {count:,}" for title, count in counts.items() if count)
    told = f"Not as they should be: {found}. Browse lists them by problem." if found else "No photo is broken, dark, bright, blurred or tiny."
    read = "In a figure with boxes, the box holds the middle half of the photos, the mark in it is the median, and 5 % lie beyond either end of the line."
    return f'<p class="numbers-seen"><b>{sentence}</b> {escape(told)} {read}</p>'


def _sizes(numbers: Numbers) -> str:
    sizes, counts = np.unique(np.stack([numbers.width, numbers.height], axis=1)[numbers.fine], axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:8]
    named = {f"{sizes[at, 0]} x {sizes[at, 1]} px": int(counts[at]) for at in order}
    if (rest := int(counts.sum()) - sum(named.values())) > 0:
        named[f"{len(sizes) - len(order):,} other sizes"] = rest
    figure = bars_figure({name: {"photos": count} for name, count in named.items()}, {"photos": "#15803d"}, "{:,.0f}".format, "The most frequent sizes")
    facts = table(["Width x height", "Photos"], [[name, f"{count:,}"] for name, count in named.items()])
    return _part("Sizes", "The most frequent sizes, in pixels.", figure, facts)


def _spread(title: str, values: np.ndarray, groups: dict[str, np.ndarray]) -> str:
    """Five numbers of a column, of all photos and of each class."""
    rows = {}
    for name, chosen in groups.items():
        known = values[chosen & ~np.isnan(values)]
        if len(known):
            rows[name] = np.percentile(known, PERCENTS).tolist()
    if not rows:
        return ""
    words, form = SPREADS[title]
    header = ["", *("median" if share == 50 else f"{share} % below" for share in PERCENTS)]
    facts = table(header, [[name, *map(form.format, five)] for name, five in rows.items()])
    return _part(title, words, spread_figure(rows, form.format, title == "Sharpness", title), facts)


def _colours(numbers: Numbers, groups: dict[str, np.ndarray]) -> str:
    means = {name: dict(zip(COLOURS, numbers.colour[chosen].mean(axis=0).tolist())) for name, chosen in groups.items() if chosen.any()}
    figure = bars_figure(means, COLOURS, percent, "Mean red, green and blue")
    facts = table(["", *COLOURS], [[name, *map(percent, mean.values())] for name, mean in means.items()])
    return _part("Colour", "The mean red, green and blue of the photos, from 0 % (none) to 100 % (full).", figure, facts)


def _printed(data: DatasetDict) -> str:
    lines = ",\n ".join(f"{name!r}: {feature}" for name, feature in data["train"].features.items())
    printed = escape(f"{data}\n{{{lines}}}")
    return f'<details><summary>As Python prints it</summary><pre class="table-scroll printed" id="data-printed">{printed}</pre></details>'
