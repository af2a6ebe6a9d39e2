"""What the page shows of a map of a data set: the picture as data for its script, and the words."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from html import escape
from pathlib import PurePath

from vit_demo.common.jobs import Job, JobState
from vit_demo.common.words import label_title, percent
from vit_demo.explain.internals.embedding_map import Layout
from vit_demo.figures.embedding_map import axes, classes, sheet_source, whole_points
from vit_demo.ui.shared.components import table
from vit_demo.ui.shared.runtext import duration
from vit_demo.ui.tabs.inside.embedding_map_jobs import ALL, TSNE, EmbeddingMap, Plan

METHOD_TITLES = {"pca": "PCA, straight down from all dimensions", "tsne": "t-SNE, neighbours kept together"}
SPLIT_TITLES = {"test": "test", "validation": "validation", "train": "train", ALL: "all three"}
COLUMNS = ("file", "split", "row (from 0)", "label", "prediction", "probability (0 to 1)", "x", "y")
# Trustworthiness: from where on neighbours on the map can be taken for neighbours in all dimensions; and mostly so.
GOOD, FAIR = 0.95, 0.85
PLACEHOLDER = '<p class="note">Choose a dot, or a mistake in the list below the map, to see its photo here.</p>'


def layout_of(atlas: EmbeddingMap, method: str) -> Layout | None:
    """The layout of this method, None while it is being computed."""
    return atlas.tsne if method == "tsne" else atlas.pca


def picture(key: str, atlas: EmbeddingMap, layout: Layout, with_sheet: bool) -> dict:
    """What the script draws. with_sheet: whether the thumbnails are in it, or the page has them from before (of the same key)."""
    x, y = whole_points(layout)
    return {
        "key": key,
        "x": x,
        "y": y,
        "axes": axes(layout),
        "labels": classes([label_title(name) for name in atlas.labels]),
        "answers": [label_title(name) for name in atlas.model_labels],
        "truth": atlas.truth.tolist(),
        "said": atlas.said.tolist(),
        "sure": [round(float(share), 4) for share in atlas.probability],
        "wrong": atlas.wrong.astype(int).tolist(),
        "names": [file_name(path) for path in atlas.paths],
        "comparable": atlas.comparable,
        **({"sheet": sheet_source(atlas.sheet, atlas.side, len(atlas))} if with_sheet else {}),
    }


def file_name(path: str) -> str:
    """The last part of a path, of any system."""
    return PurePath(path.replace("\\", "/")).name or path


def progress(job: Job) -> str:
    """How far a map is, as a bar with words."""
    count, done = job.about.count, job.done
    if job.state is JobState.WAITING:
        text = "Waits until another map is finished"
    elif job.step == TSNE:
        text = f"{done:,} of {count:,} photos read; t-SNE is being computed"
    else:
        spent = time.monotonic() - job.began
        left = f", about {duration(spent / done * (count - done))} left" if done and spent > 3 else ""
        text = f"{done:,} of {count:,} photos{left}"
    share = done / count if count else 0
    return (
        f'<div class="run" role="status"><div class="run-head"><b>Reading the photos</b><span>{escape(text)}</span></div>'
        f'<div class="progress" role="progressbar" aria-label="Reading the photos" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share * 100:.0f}">'
        f'<div style="width:{share:.2%}"></div></div></div>'
    )


def ended(job: Job) -> str:
    """Why there is no map, where it was stopped or failed."""
    if job.state is JobState.FAILED:
        return f'<div class="answer answer-refused" role="alert">{escape(job.error)}</div>'
    return f'<p class="note" role="status">Stopped after {job.done:,} of {job.about.count:,} photos.</p>'


def offer(plan: Plan) -> str:
    """What the button that begins a map says."""
    return f"Draw the map of {plan.count:,} photos"


def before(plan: Plan) -> str:
    """What stands in the place of the map before it is drawn."""
    drawn = f" Of {plan.total:,} photos {plan.count:,} are drawn at random, always the same ones." if plan.count < plan.total else ""
    return f"Not drawn yet: the model has to look at each of the {plan.count:,} photos once.{drawn} The result is kept."


def words(plan: Plan, atlas: EmbeddingMap, layout: Layout) -> str:
    """The map in sentences (Markdown): what is seen, how much of it is lost, and what is left out."""
    dimensions = atlas.features.shape[1]
    lines = [
        f"**{len(atlas):,} photos.** Each dot is one photo: its [CLS] token after the last layer, {dimensions} values, laid out in 2. "
        "Photos that look alike to the model lie close together.",
        _mistakes(atlas),
        f"{_kept(layout, dimensions)} {_trust(layout, dimensions)}",
    ]
    if plan.count < plan.total:
        lines.append(f"Of {plan.total:,} photos {plan.count:,} were drawn at random, always the same ones.")
    if atlas.broken:
        lines.append(f"{_photos(atlas.broken)} could not be read and {'is' if atlas.broken == 1 else 'are'} left out.")
    return "\n\n".join(lines)


def _mistakes(atlas: EmbeddingMap) -> str:
    if not atlas.comparable:
        return "The model has other classes than these photos, so no answer can be called right or wrong. The dots show the photos' own labels."
    wrong = int(atlas.wrong.sum())
    if not wrong:
        return "The model names the right class for every one of them."
    verb, them = ("is", "it") if wrong == 1 else ("are", "them")
    return f"**{wrong:,} of {len(atlas):,}** {verb} called a wrong class: a black ring with a cross marks {them}."


def _kept(layout: Layout, dimensions: int) -> str:
    if layout.explained is None:
        return "t-SNE moves the dots until neighbours are together; how far apart two groups are, and how wide one is, means nothing."
    across, up = layout.explained
    return f"PCA turns the {dimensions} dimensions so that two directions show the most: {percent(across)} + {percent(up)} of all differences (variance)."


def _trust(layout: Layout, dimensions: int) -> str:
    if layout.trust >= GOOD:
        verdict = "neighbours on this map can be taken for neighbours to the model"
    elif layout.trust >= FAIR:
        verdict = "most neighbours on this map are neighbours to the model, some are not"
    else:
        verdict = "do not trust single neighbours on this map, only the large groups"
    return (
        f"**How far to trust it: {math.floor(layout.trust * 100) / 100:.2f} of 1**, {verdict}. (Trustworthiness of the {layout.neighbours} nearest neighbours: "
        f"1 where all of them are near in {dimensions} dimensions too; dots thrown at random have about 0.5.)"
    )


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"


def facts(atlas: EmbeddingMap, number: int, size: tuple[int, int]) -> str:
    """What is known of one photo. size: width and height in pixels."""
    verdict = "" if not atlas.comparable else ": wrong" if atlas.wrong[number] else ": right"
    return table(
        ["This photo", ""],
        [
            ["It is", label_title(atlas.labels[atlas.truth[number]])],
            ["The model says", label_title(atlas.model_labels[atlas.said[number]]) + verdict],
            ["Its probability", percent(float(atlas.probability[number]))],
            ["File", file_name(atlas.paths[number])],
            ["Split, row", f"{atlas.splits[number]}, {atlas.rows[number]}"],
            ["Size", f"{size[0]} x {size[1]} px"],
        ],
    )


def rows(atlas: EmbeddingMap, layout: Layout) -> Iterator[tuple]:
    """A row for each photo, under COLUMNS."""
    for number, (x, y) in enumerate(layout.points.tolist()):
        yield (
            atlas.paths[number], atlas.splits[number], atlas.rows[number], atlas.labels[atlas.truth[number]], atlas.model_labels[atlas.said[number]],
            f"{atlas.probability[number]:.6g}", f"{x:.6g}", f"{y:.6g}",
        )
