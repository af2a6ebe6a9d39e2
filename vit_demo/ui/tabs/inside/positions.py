"""Look inside: the filters of the patch embedding, the position embeddings, and how far the heads look."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterable
from typing import Any

import gradio as gr
import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.common.words import label_title, percent, say
from vit_demo.explain.internals.distance import attention_distance, even_distance
from vit_demo.explain.internals.filters import Filters, embedding_filters
from vit_demo.explain.internals.positions import (
    ColourScale,
    can_interpolate,
    colour_scale,
    counterpart,
    interpolate_positions,
    learned_positions,
    probabilities_at,
    resolutions,
    similarities,
    similarities_of,
    size_for,
)
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures import positions as figures
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.components import polite, table
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.speech import Told
from vit_demo.ui.tabs.inside.downloads import csv_file, npz_file
from vit_demo.ui.tabs.inside.scene import KEEP, NO_PHOTO, Again, Look, Scene, look, touched

ID, TITLE = "positions", "inside.positions.title"
# So many classes get a line in the plot, those that were ever the likeliest; the file has all.
CLASSES = 6
# Share of the model's own size that the slider begins with.
FIRST_SHARE = 1.3
UNSET = -1
_asking = threading.Lock()
# always_last: of a slider that is dragged, the place where it stops counts.
QUIET: dict[str, Any] = {
    "api_visibility": "private",
    "show_progress": "minimal",
    "trigger_mode": "always_last",
}


class ResolutionSlider(gr.Slider):
    """A slider whose value the callback judges, and not the bounds the server last sent.

    Those are another model's while the model is changed; the stock component then answers with a raw
    exception.
    """

    # The page draws it as the stock component, whose __init__ names the properties to send.
    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out the view. Inputs: its tab, and what all views look at."""
    _build_filters(tab, scene)
    place = gr.Number(UNSET, visible=False, precision=0)
    _build_similarity(tab, scene, place)
    _build_distance(tab, scene)


def _build_filters(tab: gr.Tab, scene: Scene) -> None:
    speech = scene.speech
    speech(gr.Markdown, value=Told("inside.positions.filters_title"))
    words = gr.Markdown(elem_id="inside-filters-words")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            sheet = _picture(scene, "filters", "filters")
        with gr.Column(scale=4, min_width=300):
            variance = speech(gr.Plot, label=Told("inside.positions.variance"), elem_id="inside-variance")
            numbers = _download(scene, "filters_file", "inside-filters-file")
    scene.draw(tab, show_filters, [], [words, sheet, variance, numbers], Again(still=[sheet]))


def _build_similarity(tab: gr.Tab, scene: Scene, place: gr.Number) -> None:
    scene.speech(gr.Markdown, value=Told("inside.positions.similarity_title"))
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=300):
            sheet = _picture(scene, "all_positions", "similarity-sheet")
        with gr.Column(scale=4, min_width=300):
            large = _picture(scene, "chosen", "similarity")
            scene.speech(gr.HTML, value=Told(_legend))
            words = gr.Markdown(elem_id="inside-similarity-words")
            numbers = _download(scene, "similarity_file", "inside-similarity-file")
    shown = [sheet, large, words, numbers]
    scene.draw(tab, show_similarity, [place], shown, Again(still=[sheet, large]))
    resized = _build_resolution(tab, scene, place)
    for picture in (sheet, large):
        picked = picture.select(polite(pick), [scene.photo, scene.model], place, api_visibility="private")
        picked.then(polite(show_similarity), [scene.photo, scene.model, place], shown, **QUIET)
        picked.then(polite(show_resized), *resized, **QUIET)


def _build_resolution(tab: gr.Tab, scene: Scene, place: gr.Number) -> tuple[list, list]:
    """Returns what the pictures of the positions are drawn from, and the pictures."""
    speech = scene.speech
    speech(gr.Markdown, value=Told("inside.positions.resolution_title"))
    with gr.Row(equal_height=False):
        side = speech(
            ResolutionSlider,
            minimum=112,
            maximum=384,
            value=UNSET,
            step=16,
            label=Told("inside.positions.resolution"),
            elem_id="inside-resolution",
            scale=3,
            min_width=280,
        )
        ask = speech(
            gr.Button, value=Told("inside.positions.ask"), elem_id="inside-ask", scale=1, min_width=220
        )
    words = gr.Markdown(elem_id="inside-resized-words")
    pictures = []
    with gr.Row(equal_height=False):
        for name in ("colours", "map"):
            with gr.Column(min_width=300):
                speech(gr.Markdown, value=Told(f"inside.positions.{name}"))
                with gr.Row(equal_height=False):
                    pictures += [
                        _picture(scene, when, f"{name}-{when}", min_width=130) for when in ("before", "after")
                    ]
    numbers = _download(scene, "resized_file", "inside-resized-file")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            plot = speech(gr.Plot, label=Told("inside.positions.answers"), elem_id="inside-answers")
        with gr.Column(scale=4, min_width=300):
            said = gr.HTML(elem_id="inside-answers-table")
            said_file = _download(scene, "answers_file", "inside-answers-file")
    resized = [scene.photo, scene.model, place, side], [words, *pictures, numbers]
    asked = [scene.photo, scene.model, side], [side, plot, said, said_file]
    scene.draw(tab, show_resized, [place, side], resized[1], Again(still=pictures))
    scene.draw(tab, show_answers, [side], asked[1])
    # One after the other: two that listen to one slider would each be asked at each place it passes.
    side.input(polite(show_resized), *resized, **QUIET).then(polite(show_answers), *asked, **QUIET)
    ask.click(polite(ask_all), *asked, **QUIET)
    return resized


def _build_distance(tab: gr.Tab, scene: Scene) -> None:
    scene.speech(gr.Markdown, value=Told("inside.positions.distance_title"))
    words = gr.Markdown(elem_id="inside-distance-words")
    plot = scene.speech(gr.Plot, label=Told("inside.positions.distance"), elem_id="inside-distance")
    numbers = _download(scene, "distance_file", "inside-distance-file")
    scene.draw(tab, show_distance, [], [words, plot, numbers])


def show_filters(photo: str, model: str) -> tuple:
    """Inputs: photo, model. Outputs: sentence, sheet, variance, numbers."""
    found = _filters(look(model, photo).classifier)
    ratio = found.ratio
    shares = {} if ratio is None else {"explained_variance_ratio": ratio}
    variance = (
        gr.update(value=None, visible=False)
        if ratio is None
        else gr.update(value=figures.variance_figure(ratio), visible=True)
    )
    return (
        _filter_words(found),
        figures.filter_sheet(found.tiles),
        variance,
        npz_file("filters", filters=found.tiles, **shares),
    )


def show_similarity(photo: str | None, model: str, place: float | None) -> tuple:
    """Inputs: photo, model, the chosen position. Outputs: sheet, large map, sentence, numbers."""
    positions = _positions(photo, model)
    chosen = _chosen(place, positions)
    maps = similarities(positions)
    large = figures.grid_picture(figures.similarity_colours(maps[chosen]), chosen)
    return (
        figures.similarity_sheet(maps, chosen),
        large,
        _similarity_words(maps[chosen], chosen),
        npz_file("position_similarities", positions=positions, similarities=maps),
    )


def pick(photo: str | None, model: str, event: gr.SelectData) -> int:
    """Inputs: photo, model, the click. Outputs: the position under it, counted row by row."""
    rows, columns = grid = _positions(photo, model).shape[:2]
    on_sheet = touched(event) == "inside-similarity-sheet"
    size = figures.sheet_size(*grid) if on_sheet else figures.grid_size(*grid)
    row, column = figures.place_at(event.index, size, (rows, columns))
    return row * columns + column


def show_resized(photo: str | None, model: str, place: float | None, side: float | None) -> tuple:
    """Inputs: photo, model, the chosen position, resolution. Outputs: sentence, four pictures, numbers."""
    found = _look(photo, model)
    positions, own = learned_positions(found.classifier.model), found.trace.grid
    height, width = size_for(own, _rows(own, side))
    after = interpolate_positions(positions, height // own.patch_size, width // own.patch_size)
    chosen = _chosen(place, positions)
    there = counterpart(chosen, positions.shape[:2], after.shape[:2])
    maps = similarities_of(positions, *chosen), similarities_of(after, *there)
    scale = _scale(found.classifier)
    return (
        _resized_words(positions.shape, after.shape, (height, width)),
        figures.grid_picture(scale.colours(positions)),
        figures.grid_picture(scale.colours(after)),
        figures.grid_picture(figures.similarity_colours(maps[0]), chosen),
        figures.grid_picture(figures.similarity_colours(maps[1]), there),
        npz_file(
            "positions_interpolated",
            learned=positions,
            interpolated=after,
            chosen_learned=maps[0],
            chosen_interpolated=maps[1],
        ),
    )


def show_answers(photo: str | None, model: str, side: float | None) -> tuple:
    """Inputs: photo, model, resolution. Outputs: slider, plot, table, numbers."""
    return _show_answers(photo, model, side, all_sizes=False)


def ask_all(photo: str | None, model: str, side: float | None) -> tuple:
    """Inputs: photo, model, resolution. Outputs: slider, plot, table, numbers."""
    return _show_answers(photo, model, side, all_sizes=True)


def show_distance(photo: str, model: str) -> tuple:
    """Inputs: photo, model. Outputs: sentence, plot, numbers."""
    found = look(model, photo)
    distances, even = attention_distance(found.trace.attention), even_distance(found.trace.grid)
    rows = [
        (layer, head, f"{far:.4f}") for layer, heads in enumerate(distances) for head, far in enumerate(heads)
    ]
    return (
        _distance_words(distances, even, found.classifier),
        figures.distance_figure(distances, even),
        csv_file("attention_distance", ["layer", "head", "mean attention distance (px)"], rows),
    )


def answers(photo: str, found: Look, sizes: Iterable[tuple[int, int]]) -> dict[tuple[int, int], np.ndarray]:
    """Probabilities (C,) by size (height, width) in pixels, smallest first: those asked for, and all that
    this photo was asked for before.
    """
    temperature = found.trace.temperature
    known = _known(found.classifier, photo, os.stat(photo).st_mtime_ns, temperature)
    with _asking:  # a click while another is being answered must not compute the same
        own = (found.trace.grid.image_height, found.trace.grid.image_width)
        known.setdefault(own, found.trace.probabilities)
        for size in sizes:
            if size not in known:
                known[size] = probabilities_at(found.classifier, found.picture, size, temperature)
        return dict(sorted(known.items()))


@functools.lru_cache(maxsize=KEEP)
def _known(
    _classifier: LeafClassifier, _photo: str, _changed: int, _temperature: float
) -> dict[tuple[int, int], np.ndarray]:
    """What a model said of a photo at each size that was asked for; filled by :func:`answers`."""
    return {}


# These two are the model's own, whatever the photo.
@functools.lru_cache(maxsize=KEEP)
def _filters(classifier: LeafClassifier) -> Filters:
    return embedding_filters(classifier.model)


@functools.lru_cache(maxsize=KEEP)
def _scale(classifier: LeafClassifier) -> ColourScale:
    return colour_scale(learned_positions(classifier.model))


def _show_answers(photo: str | None, model: str, side: float | None, all_sizes: bool) -> tuple:
    if photo is None:
        raise UserError(NO_PHOTO)
    found = look(model, photo)
    own = found.trace.grid
    rows = _rows(own, side)
    sizes = resolutions(own) if all_sizes else [size_for(own, rows)]
    # Those that cannot be asked elsewhere are shown at their own size, with a word why.
    fits = can_interpolate(learned_positions(found.classifier.model))
    said = answers(photo, found, sizes if fits else [])
    labels = found.classifier.labels
    likeliest = np.max(list(said.values()), axis=0).argsort()[::-1][:CLASSES]
    lines = {
        label_title(labels[index]): [float(shares[index]) for shares in said.values()] for index in likeliest
    }
    lowest, highest = _limits(own)
    step = own.patch_size
    return (
        gr.update(minimum=lowest * step, maximum=highest * step, step=step, value=rows * step),
        figures.answers_figure([height for height, _ in said], lines, own.image_height),
        render("inside/positions#answers", rows=_answers_table(said, own, labels), fits=fits),
        csv_file(
            "predictions_by_resolution",
            ["height (px)", "width (px)", *labels],
            [(*size, *shares.tolist()) for size, shares in said.items()],
        ),
    )


def _legend() -> str:
    """What the colours of the similarity maps mean."""
    stops = ", ".join(
        f"rgb({red}, {green}, {blue})" for red, green, blue in figures.similarity_palette()[::51]
    )
    return render("inside/positions#legend", stops=stops)


def _picture(scene: Scene, label: str, name: str, min_width: int = 300) -> gr.Image:
    """label: end of a key."""
    return scene.speech(
        gr.Image,
        label=Told(f"inside.positions.{label}"),
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id=f"inside-{name}",
        elem_classes="inside-figure",
        min_width=min_width,
        format="png",
    )


def _download(scene: Scene, label: str, elem_id: str) -> gr.DownloadButton:
    """label: end of a key."""
    with gr.Row(elem_classes="actions"):
        return scene.speech(
            gr.DownloadButton, label=Told(f"inside.positions.{label}"), size="sm", elem_id=elem_id
        )


def _look(photo: str | None, model: str) -> Look:
    if photo is None:
        raise UserError(NO_PHOTO)
    return look(model, photo)


def _positions(photo: str | None, model: str) -> np.ndarray:
    return learned_positions(_look(photo, model).classifier.model)


def _chosen(place: float | None, positions: np.ndarray) -> tuple[int, int]:
    """Row and column of the position that is chosen; the middle one where this model has no such position."""
    rows, columns = positions.shape[:2]
    index = (
        int(place)
        if place is not None and 0 <= place < rows * columns
        else rows // 2 * columns + columns // 2
    )
    return divmod(index, columns)


def _limits(own: PatchGrid) -> tuple[int, int]:
    """Fewest and most rows of patches that the slider offers."""
    sizes = resolutions(own)
    return sizes[0][0] // own.patch_size, sizes[-1][0] // own.patch_size


def _rows(own: PatchGrid, side: float | None) -> int:
    """Rows of patches at the slider's height in pixels; somewhat more than the model's own where it does not
    offer this height.
    """
    lowest, highest = _limits(own)
    rows = round((side or 0) / own.patch_size)
    return rows if lowest <= rows <= highest else min(highest, round(FIRST_SHARE * own.rows))


def _filter_words(found: Filters) -> str:
    shown, (height, width) = len(found.tiles), found.tiles.shape[-2:]
    if found.ratio is None:
        return say("inside.positions.kernels", shown=shown, height=height, width=width)
    together, first = percent(float(found.ratio.sum())), percent(float(found.ratio[0]))
    return say(
        "inside.positions.components",
        filters=found.of,
        height=height,
        width=width,
        shown=shown,
        together=together,
        first=first,
    )


def _similarity_words(values: np.ndarray, chosen: tuple[int, int]) -> str:
    others = values.copy()
    others[chosen] = -np.inf
    nearest = np.unravel_index(others.argmax(), others.shape)
    least = np.unravel_index(values.argmin(), values.shape)
    words = [say("inside.positions.place", row=chosen[0], column=chosen[1])]
    if values.size == 1:
        words.append(say("inside.positions.only_place"))
    else:
        words.append(
            say("inside.positions.most_alike", row=nearest[0], column=nearest[1], similarity=values[nearest])
        )
        words.append(
            say("inside.positions.least_alike", row=least[0], column=least[1], similarity=values[least])
        )
    return " ".join(words)


def _resized_words(before: tuple, after: tuple, size: tuple[int, int]) -> str:
    now = {
        "height": size[0],
        "width": size[1],
        "rows": after[0],
        "columns": after[1],
        "patches": after[0] * after[1],
    }
    if before[:2] == after[:2]:
        return say("inside.positions.not_resized", **now)
    return say("inside.positions.resized", learned_rows=before[0], learned_columns=before[1], **now)


def _answers_table(said: dict[tuple[int, int], np.ndarray], own: PatchGrid, labels: list[str]) -> str:
    rows = []
    for (height, width), shares in said.items():
        is_own = (height, width) == (own.image_height, own.image_width)
        size = say(
            "inside.positions.own_size" if is_own else "inside.positions.size", height=height, width=width
        )
        patches = (height // own.patch_size) * (width // own.patch_size)
        best = int(shares.argmax())
        rows.append([size, patches, label_title(labels[best]), percent(float(shares[best]))])
    return table(
        [
            say(f"inside.positions.column_{name}")
            for name in ("resolution", "patches", "answer", "probability")
        ],
        rows,
    )


def _distance_words(distances: np.ndarray, even: float, classifier: LeafClassifier) -> str:
    first, last = distances[0], distances[-1]
    text = say(
        "inside.positions.spans",
        heads=distances.shape[1],
        first_near=first.min(),
        first_far=first.max(),
        last_near=last.min(),
        last_far=last.max(),
        even=even,
    )
    return text if classifier.feature_channels is None else f"{text} {say('inside.positions.spans_hybrid')}"
