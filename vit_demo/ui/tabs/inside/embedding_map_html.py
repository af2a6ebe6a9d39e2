"""What the page shows of a map of a data set: the picture as data for its script, and the words."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from vit_demo.common.jobs import Job, JobState
from vit_demo.common.words import label_title, percent, say, text_of
from vit_demo.explain.internals.embedding_map import Layout
from vit_demo.figures.embedding_map import axes, classes, sheet_source, whole_points
from vit_demo.ui.shared.components import table
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.runtext import duration
from vit_demo.ui.tabs.inside.embedding_map_jobs import ALL, TSNE, EmbeddingMap, Plan

METHODS = ("pca", "tsne")
SPLITS = ("test", "validation", "train", ALL)
COLUMNS = ("file", "split", "row (from 0)", "label", "prediction", "probability (0 to 1)", "x", "y")
# Trustworthiness: from where on neighbours on the map can be taken for neighbours in all dimensions; and
# mostly so.
GOOD, FAIR = 0.95, 0.85
# Texts that the script says as they are, or fills in.
WORDS = (
    "zoom_in",
    "zoom_out",
    "whole",
    "save",
    "legend_wrong",
    "dot_is",
    "dot_says",
    "dot_right",
    "dot_wrong",
)
# So many classes have a place in the legend, and so many mistakes in the list.
MOST_CLASSES, MOST_MISTAKES = 14, 60


def layout_of(mapped: EmbeddingMap, method: str) -> Layout | None:
    """The layout of this method, None while it is being computed."""
    return mapped.tsne if method == "tsne" else mapped.pca


def picture(key: str, mapped: EmbeddingMap, layout: Layout, with_sheet: bool) -> dict:
    """What the script draws. with_sheet: whether the thumbnails are in it, or the page has them from before
    (of the same key).
    """
    x, y = whole_points(layout)
    labels = [label_title(name) for name in mapped.labels]
    return {
        "key": key,
        "layout": "tsne" if layout.explained is None else "pca",
        "words": _words_of_script(mapped, labels),
        "most": {"classes": MOST_CLASSES, "mistakes": MOST_MISTAKES},
        "x": x,
        "y": y,
        "axes": axes(layout),
        "labels": classes(labels),
        "answers": [label_title(name) for name in mapped.model_labels],
        "truth": mapped.truth.tolist(),
        "said": mapped.said.tolist(),
        "sure": [round(float(share), 4) for share in mapped.probability],
        "wrong": mapped.wrong.astype(int).tolist(),
        "names": [file_name(path) for path in mapped.paths],
        "comparable": mapped.comparable,
        **({"sheet": sheet_source(mapped.sheet, mapped.side, len(mapped))} if with_sheet else {}),
    }


def file_name(path: str) -> str:
    """The last part of a path, of any system."""
    return PurePath(path.replace("\\", "/")).name or path


def _words_of_script(mapped: EmbeddingMap, labels: list[str]) -> dict[str, str]:
    """What the script says in the current language; some with {placeholders} that it fills in."""
    wrong = int(mapped.wrong.sum())
    many = {"count": wrong, "most": MOST_MISTAKES}
    return {
        **{name: text_of(f"inside.embedding_map.{name}") for name in WORDS},
        "over": percent(0.9999).replace(" %", "\N{NO-BREAK SPACE}%"),
        "decimal_point": say("diagnose.decimal_point"),
        "legend_more": say("inside.embedding_map.legend_more", count=len(labels) - MOST_CLASSES),
        "mistakes": (
            say("inside.embedding_map.mistakes_most", **many)
            if wrong > MOST_MISTAKES
            else say("inside.embedding_map.mistakes", count=wrong)
        ),
        "canvas": say(
            "inside.embedding_map.canvas", photos=len(mapped), classes=say("diagnose.comma").join(labels)
        ),
    }


def choices(names: Iterable[str]) -> list[tuple[str, str]]:
    """(title, name) of each of METHODS or SPLITS."""
    return [(say(f"inside.embedding_map.{name}"), name) for name in names]


def progress(job: Job) -> str:
    """How far a map is, as a bar with words."""
    counts = {"done": job.done, "total": job.about.count}
    spent = time.monotonic() - job.began
    if job.state is JobState.WAITING:
        text = say("inside.embedding_map.waits")
    elif job.step == TSNE:
        text = say("inside.embedding_map.laying_out", **counts)
    elif job.done and spent > 3:
        text = say(
            "inside.embedding_map.done_left",
            time=duration(spent / job.done * (job.about.count - job.done)),
            **counts,
        )
    else:
        text = say("inside.embedding_map.done", **counts)
    return render(
        "inside/embedding_map#progress", text=text, share=job.done / job.about.count if job.about.count else 0
    )


def ended(job: Job) -> str:
    """Why there is no map, where it was stopped or failed."""
    if job.state is JobState.FAILED:
        return render("inside/embedding_map#failed", error=job.error)
    return render("inside/embedding_map#stopped", done=job.done, total=job.about.count)


def choose() -> str:
    """What stands beside a map of which no dot is chosen."""
    return render("inside/embedding_map#choose")


def offer(count: int) -> str:
    """What the button that begins a map says. count: of the photos, 0 where they are not known yet."""
    return say("inside.embedding_map.draw_count", count=count) if count else say("inside.embedding_map.draw")


def before(plan: Plan) -> str:
    """What stands in the place of the map before it is drawn."""
    if plan.count < plan.total:
        return say("inside.embedding_map.not_drawn_some", photos=plan.count, total=plan.total)
    return say("inside.embedding_map.not_drawn", photos=plan.count)


def words(plan: Plan, mapped: EmbeddingMap, layout: Layout) -> str:
    """The map in sentences (Markdown): what is seen, how much of it is lost, and what is left out."""
    dimensions = mapped.features.shape[1]
    compared = {"neighbours": layout.neighbours, "dimensions": dimensions}
    lines = [
        say("inside.embedding_map.dots", photos=len(mapped), dimensions=dimensions),
        _mistakes(mapped),
        (
            f"{_kept(layout, dimensions)} {_trust(layout)}"
            f" {say('inside.embedding_map.trustworthiness', **compared)}"
        ),
    ]
    if plan.count < plan.total:
        lines.append(say("inside.embedding_map.some", photos=plan.count, total=plan.total))
    if mapped.broken:
        lines.append(say("inside.embedding_map.broken", count=mapped.broken))
    return "\n\n".join(lines)


def _mistakes(mapped: EmbeddingMap) -> str:
    if not mapped.comparable:
        return say("inside.embedding_map.other_classes")
    wrong = int(mapped.wrong.sum())
    return (
        say("inside.embedding_map.wrong", count=wrong, photos=len(mapped))
        if wrong
        else say("inside.embedding_map.all_right")
    )


def _kept(layout: Layout, dimensions: int) -> str:
    if layout.explained is None:
        return say("inside.embedding_map.kept_tsne")
    across, up = layout.explained
    return say("inside.embedding_map.kept_pca", dimensions=dimensions, across=percent(across), up=percent(up))


def _trust(layout: Layout) -> str:
    verdict = "good" if layout.trust >= GOOD else "fair" if layout.trust >= FAIR else "bad"
    return say(f"inside.embedding_map.trust_{verdict}", trust=math.floor(layout.trust * 100) / 100)


def facts(mapped: EmbeddingMap, number: int, size: tuple[int, int]) -> str:
    """What is known of one photo. size: width and height in pixels."""
    says = label_title(mapped.model_labels[mapped.said[number]])
    if mapped.comparable:
        says = say(
            "inside.embedding_map.facts_wrong"
            if mapped.wrong[number]
            else "inside.embedding_map.facts_right",
            name=says,
        )
    told = {
        "is": label_title(mapped.labels[mapped.truth[number]]),
        "says": says,
        "probability": percent(float(mapped.probability[number])),
        "file": file_name(mapped.paths[number]),
        "place": f"{mapped.splits[number]}, {mapped.rows[number]}",
        "size": say("inside.embedding_map.size", width=size[0], height=size[1]),
    }
    return table(
        [say("inside.embedding_map.facts"), ""],
        [[say(f"inside.embedding_map.facts_{name}"), text] for name, text in told.items()],
    )


def rows(mapped: EmbeddingMap, layout: Layout) -> Iterator[tuple]:
    """A row for each photo, under COLUMNS."""
    for number, (x, y) in enumerate(layout.points.tolist()):
        yield (
            mapped.paths[number],
            mapped.splits[number],
            mapped.rows[number],
            mapped.labels[mapped.truth[number]],
            mapped.model_labels[mapped.said[number]],
            f"{mapped.probability[number]:.6g}",
            f"{x:.6g}",
            f"{y:.6g}",
        )
