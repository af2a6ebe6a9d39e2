"""Look inside: the filters of the patch embedding, the position embeddings, and how far the heads look."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterable

import gradio as gr
import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.common.words import label_title, percent
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
from vit_demo.ui.tabs.inside.downloads import csv_file, npz_file
from vit_demo.ui.tabs.inside.scene import KEEP, NO_PHOTO, Look, Scene, look

ID, TITLE = "positions", "Filters and positions"
# So many classes get a line in the plot, those that were ever the likeliest; the file has all.
CLASSES = 6
# Share of the model's own size that the slider begins with.
FIRST_SHARE = 1.3
UNSET = -1
_asking = threading.Lock()
# always_last: of a slider that is dragged, the place where it stops counts.
QUIET = {"api_visibility": "private", "show_progress": "minimal", "trigger_mode": "always_last"}


class ResolutionSlider(gr.Slider):
    """A slider whose value the callback judges, and not the bounds the server last sent.

    Those are another model's while the model is changed; the stock component then answers with a raw exception.
    """

    # The page draws it as the stock component, whose __init__ names the properties to send.
    is_template = True

    def preprocess(self, payload: float | None) -> float | None:
        return payload


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out the view. Inputs: its tab, and what all views look at."""
    _build_filters(tab, scene)
    place = gr.Number(UNSET, visible=False, precision=0)
    _build_similarity(tab, scene, place)
    _build_distance(tab, scene)


def _build_filters(tab: gr.Tab, scene: Scene) -> None:
    gr.Markdown("### What the first layer looks for")
    words = gr.Markdown(elem_id="inside-filters-words")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            sheet = _picture("Filters", "filters")
        with gr.Column(scale=4, min_width=300):
            variance = gr.Plot(label="How much each component holds", elem_id="inside-variance")
            numbers = _download("Numbers of the filters (npz)", "inside-filters-file")
    scene.draw(tab, show_filters, [], [words, sheet, variance, numbers])


def _build_similarity(tab: gr.Tab, scene: Scene, place: gr.Number) -> None:
    gr.Markdown(
        "### Which positions are alike\nThe encoder sees its tokens without any order: where a patch lay it knows only from the **position embedding**, "
        "learned for this place and added to the token. Each small map belongs to one position and shows how alike its embedding is to each of the "
        "others. **Click a map** to see it large; where places in one row, one column or nearby are red, the model has learned that they belong together."
    )
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=300):
            sheet = _picture("All positions, a map each", "similarity-sheet")
        with gr.Column(scale=4, min_width=300):
            large = _picture("The chosen position", "similarity")
            gr.HTML(figures.similarity_legend())
            words = gr.Markdown(elem_id="inside-similarity-words")
            numbers = _download("Numbers of all maps (npz)", "inside-similarity-file")
    shown = [sheet, large, words, numbers]
    scene.draw(tab, show_similarity, [place], shown)
    resized = _build_resolution(tab, scene, place)
    for picture in (sheet, large):
        picked = picture.select(polite(pick), [scene.photo, scene.model], place, api_visibility="private")
        picked.then(polite(show_similarity), [scene.photo, scene.model, place], shown, **QUIET)
        picked.then(polite(show_resized), *resized, **QUIET)


def _build_resolution(tab: gr.Tab, scene: Scene, place: gr.Number) -> tuple[list, list]:
    """Returns what the pictures of the positions are drawn from, and the pictures."""
    gr.Markdown(
        "### The same model at another resolution\nA larger photo has more patches than there are learned positions. The learned ones are then "
        "**interpolated in 2D**, like the pixels of a picture that is made larger."
    )
    with gr.Row(equal_height=False):
        side = ResolutionSlider(
            112, 384, value=UNSET, step=16, label="Resolution: height of the photo in pixels", elem_id="inside-resolution", scale=3, min_width=280
        )
        ask = gr.Button("Ask the model at several resolutions", elem_id="inside-ask", scale=1, min_width=220)
    words = gr.Markdown(elem_id="inside-resized-words")
    pictures = []
    with gr.Row(equal_height=False):
        for title, name in (("All positions as colours", "colours"), ("The map of the chosen position", "map")):
            with gr.Column(min_width=300):
                gr.Markdown(f"**{title}**, learned (before) and interpolated (after)")
                with gr.Row(equal_height=False):
                    pictures += [_picture(label, f"{name}-{label.lower()}", min_width=130) for label in ("Before", "After")]
    numbers = _download("Numbers of the positions (npz)", "inside-resized-file")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            plot = gr.Plot(label="What the model says at each resolution", elem_id="inside-answers")
        with gr.Column(scale=4, min_width=300):
            said = gr.HTML(elem_id="inside-answers-table")
            said_file = _download("Numbers of all classes (csv)", "inside-answers-file")
    resized = [scene.photo, scene.model, place, side], [words, *pictures, numbers]
    asked = [scene.photo, scene.model, side], [side, plot, said, said_file]
    scene.draw(tab, show_resized, [place, side], resized[1])
    scene.draw(tab, show_answers, [side], asked[1])
    side.input(polite(show_resized), *resized, **QUIET)
    side.input(polite(show_answers), *asked, **QUIET)
    ask.click(polite(ask_all), *asked, **QUIET)
    return resized


def _build_distance(tab: gr.Tab, scene: Scene) -> None:
    gr.Markdown(
        "### How far each head looks\n**Mean attention distance**: how far a patch looks on average, weighted by its attention. It is to attention what the "
        "receptive field is to a CNN. [CLS] is left out, since it lies nowhere. A dot is one head, for this photo."
    )
    words = gr.Markdown(elem_id="inside-distance-words")
    plot = gr.Plot(label="Mean attention distance", elem_id="inside-distance")
    numbers = _download("Numbers of the heads (csv)", "inside-distance-file")
    scene.draw(tab, show_distance, [], [words, plot, numbers])


def show_filters(photo: str, model: str) -> tuple:
    """Inputs: photo, model. Outputs: sentence, sheet, variance, numbers."""
    found = _filters(look(model, photo).classifier)
    kernels = found.ratio is None
    shares = {} if kernels else {"explained_variance_ratio": found.ratio}
    variance = gr.update(value=None, visible=False) if kernels else gr.update(value=figures.variance_figure(found.ratio), visible=True)
    return _filter_words(found), figures.filter_sheet(found.tiles), variance, npz_file("filters", filters=found.tiles, **shares)


def show_similarity(photo: str | None, model: str, place: float | None) -> tuple:
    """Inputs: photo, model, the chosen position. Outputs: sheet, large map, sentence, numbers."""
    positions = _positions(photo, model)
    chosen = _chosen(place, positions)
    maps = similarities(positions)
    large = figures.grid_picture(figures.similarity_colours(maps[chosen]), chosen)
    return (
        figures.similarity_sheet(maps, chosen), large, _similarity_words(maps[chosen], chosen),
        npz_file("position_similarities", positions=positions, similarities=maps),
    )


def pick(photo: str | None, model: str, event: gr.SelectData) -> int:
    """Inputs: photo, model, the click. Outputs: the position under it, counted row by row."""
    rows, columns = grid = _positions(photo, model).shape[:2]
    on_sheet = event.target.elem_id == "inside-similarity-sheet"
    size = figures.sheet_size(*grid) if on_sheet else figures.grid_size(*grid)
    row, column = figures.place_at(event.index, size, (rows, columns))
    return row * columns + column


def show_resized(photo: str | None, model: str, place: float | None, side: float | None) -> tuple:
    """Inputs: photo, model, the chosen position, resolution. Outputs: sentence, four pictures, numbers."""
    positions = _positions(photo, model)
    own = look(model, photo).trace.grid
    height, width = size_for(own, _rows(own, side))
    after = interpolate_positions(positions, height // own.patch_size, width // own.patch_size)
    chosen = _chosen(place, positions)
    there = counterpart(chosen, positions.shape[:2], after.shape[:2])
    maps = similarities_of(positions, *chosen), similarities_of(after, *there)
    scale = _scale(look(model, photo).classifier)
    return (
        _resized_words(positions.shape, after.shape, (height, width)),
        figures.grid_picture(scale.colours(positions)), figures.grid_picture(scale.colours(after)),
        figures.grid_picture(figures.similarity_colours(maps[0]), chosen), figures.grid_picture(figures.similarity_colours(maps[1]), there),
        npz_file("positions_interpolated", learned=positions, interpolated=after, chosen_learned=maps[0], chosen_interpolated=maps[1]),
    )


def show_answers(photo: str | None, model: str, side: float | None) -> tuple:
    """Inputs: photo, model, resolution. Outputs: slider, plot, table, numbers."""
    own = _look(photo, model).trace.grid
    return _show_answers(photo, model, _rows(own, side), [size_for(own, _rows(own, side))])


def ask_all(photo: str | None, model: str, side: float | None) -> tuple:
    """Inputs: photo, model, resolution. Outputs: slider, plot, table, numbers."""
    own = _look(photo, model).trace.grid
    return _show_answers(photo, model, _rows(own, side), resolutions(own))


def show_distance(photo: str, model: str) -> tuple:
    """Inputs: photo, model. Outputs: sentence, plot, numbers."""
    found = look(model, photo)
    distances, even = attention_distance(found.trace.attention), even_distance(found.trace.grid)
    rows = [(layer, head, f"{far:.4f}") for layer, heads in enumerate(distances) for head, far in enumerate(heads)]
    return (
        _distance_words(distances, even, found.classifier), figures.distance_figure(distances, even),
        csv_file("attention_distance", ["layer", "head", "mean attention distance (px)"], rows),
    )


def answers(photo: str, found: Look, sizes: Iterable[tuple[int, int]]) -> dict[tuple[int, int], np.ndarray]:
    """Probabilities (C,) by size (height, width) in pixels, smallest first: those asked for, and all that this photo was asked for before."""
    known = _known(found.classifier, photo, os.stat(photo).st_mtime_ns)
    with _asking:  # a click while another is being answered must not compute the same
        own = (found.trace.grid.image_height, found.trace.grid.image_width)
        known.setdefault(own, found.trace.probabilities)
        for size in sizes:
            if size not in known:
                known[size] = probabilities_at(found.classifier, found.picture, size)
        return dict(sorted(known.items()))


@functools.lru_cache(maxsize=KEEP)
def _known(_classifier: LeafClassifier, _photo: str, _changed: int) -> dict[tuple[int, int], np.ndarray]:
    """What a model said of a photo at each size that was asked for; filled by :func:`answers`."""
    return {}


# These two are the model's own, whatever the photo.
@functools.lru_cache(maxsize=KEEP)
def _filters(classifier: LeafClassifier) -> Filters:
    return embedding_filters(classifier.model)


@functools.lru_cache(maxsize=KEEP)
def _scale(classifier: LeafClassifier) -> ColourScale:
    return colour_scale(learned_positions(classifier.model))


def _show_answers(photo: str, model: str, rows: int, sizes: list[tuple[int, int]]) -> tuple:
    found = look(model, photo)
    own = found.trace.grid
    # Those that cannot be asked elsewhere are shown at their own size, with a word why.
    fits = can_interpolate(learned_positions(found.classifier.model))
    said = answers(photo, found, sizes if fits else [])
    labels = found.classifier.labels
    likeliest = np.max(list(said.values()), axis=0).argsort()[::-1][:CLASSES]
    lines = {label_title(labels[index]): [float(shares[index]) for shares in said.values()] for index in likeliest}
    lowest, highest = _limits(own)
    step = own.patch_size
    return (
        gr.update(minimum=lowest * step, maximum=highest * step, step=step, value=rows * step),
        figures.answers_figure([height for height, _ in said], lines, own.image_height),
        _answers_table(said, own, labels) + ("" if fits else _NOT_SQUARE),
        csv_file("predictions_by_resolution", ["height (px)", "width (px)", *labels], [(*size, *shares.tolist()) for size, shares in said.items()]),
    )


_NOT_SQUARE = (
    '<p class="note">This model learned a grid of positions that is not square. Its forward can interpolate square grids only, '
    "so it is asked at its own resolution alone.</p>"
)


def _picture(label: str, name: str, min_width: int = 300) -> gr.Image:
    return gr.Image(
        label=label, interactive=False, buttons=["download", "fullscreen"], elem_id=f"inside-{name}", elem_classes="inside-figure",
        min_width=min_width, format="png",
    )


def _download(label: str, elem_id: str) -> gr.DownloadButton:
    with gr.Row(elem_classes="actions"):
        return gr.DownloadButton(label, size="sm", elem_id=elem_id)


def _look(photo: str | None, model: str) -> Look:
    if photo is None:
        raise UserError(NO_PHOTO)
    return look(model, photo)


def _positions(photo: str | None, model: str) -> np.ndarray:
    return learned_positions(_look(photo, model).classifier.model)


def _chosen(place: float | None, positions: np.ndarray) -> tuple[int, int]:
    """Row and column of the position that is chosen; the middle one where this model has no such position."""
    rows, columns = positions.shape[:2]
    index = int(place) if place is not None and 0 <= place < rows * columns else rows // 2 * columns + columns // 2
    return divmod(index, columns)


def _limits(own: PatchGrid) -> tuple[int, int]:
    """Fewest and most rows of patches that the slider offers."""
    sizes = resolutions(own)
    return sizes[0][0] // own.patch_size, sizes[-1][0] // own.patch_size


def _rows(own: PatchGrid, side: float | None) -> int:
    """Rows of patches at the slider's height in pixels; somewhat more than the model's own where it does not offer this height."""
    lowest, highest = _limits(own)
    rows = round((side or 0) / own.patch_size)
    return rows if lowest <= rows <= highest else min(highest, round(FIRST_SHARE * own.rows))


def _filter_words(found: Filters) -> str:
    shown, (high, wide) = len(found.tiles), found.tiles.shape[-2:]
    if found.ratio is None:
        return (
            f"This model is a hybrid: a CNN reads the pixels and its feature map becomes the tokens. Shown instead are the {shown} kernels of the CNN's "
            f"first convolution, {high} x {wide} px each, in red, green and blue. Grey counts nothing; look for edges, blobs and colours."
        )
    return (
        f"A patch becomes a token by comparing it with {found.of} learned filters, each {high} x {wide} px in red, green and blue. Shown are the first "
        f"{shown} **principal components** of these filters, the patterns that they are mostly mixed from. Together they hold "
        f"{percent(float(found.ratio.sum()))} of the differences (variance) between the filters, the first alone {percent(float(found.ratio[0]))}. Grey "
        "counts nothing. Smooth waves, edges and colours are signs of long pre-training; noise is what is left of the random start."
    )


def _similarity_words(values: np.ndarray, chosen: tuple[int, int]) -> str:
    others = values.copy()
    others[chosen] = -np.inf
    nearest = np.unravel_index(others.argmax(), others.shape)
    least = np.unravel_index(values.argmin(), values.shape)
    text = f"**Row {chosen[0]}, column {chosen[1]}**, counted from 0."
    if values.size == 1:
        return text + " It is the only position."
    return text + (
        f" Most alike: row {nearest[0]}, column {nearest[1]} ({values[nearest]:.2f}). Least alike: row {least[0]}, column {least[1]} ({values[least]:.2f})."
    )


def _resized_words(before: tuple, after: tuple, size: tuple[int, int]) -> str:
    text = f"At **{size[0]} x {size[1]} px** the photo has {after[0]} x {after[1]} = {after[0] * after[1]} patches"
    if before[:2] == after[:2]:
        return text + ", just as many as there are learned positions: nothing is interpolated."
    return text + (
        f"; their positions are interpolated (bicubic) from the {before[0]} x {before[1]} learned ones. The colours stand for the three main directions in "
        "which positions differ: the same colours at the same places mean that the model still knows where a patch lies."
    )


def _answers_table(said: dict[tuple[int, int], np.ndarray], own: PatchGrid, labels: list[str]) -> str:
    rows = []
    for (height, width), shares in said.items():
        mark = ", its own" if (height, width) == (own.image_height, own.image_width) else ""
        patches = (height // own.patch_size) * (width // own.patch_size)
        best = int(shares.argmax())
        rows.append([f"{height} x {width} px{mark}", patches, label_title(labels[best]), percent(float(shares[best]))])
    return table(["Resolution", "Patches", "The model says", "Probability"], rows)


def _distance_words(distances: np.ndarray, even: float, classifier: LeafClassifier) -> str:
    spans = [f"{heads.min():.0f} to {heads.max():.0f} px" for heads in (distances[0], distances[-1])]
    text = (
        f"In the first layer the {distances.shape[1]} heads look {spans[0]} far, in the last {spans[1]}; a head that looked everywhere alike would have "
        f"{even:.0f} px. Low dots are heads that look nearby, as a CNN does; high ones gather from the whole photo."
    )
    if classifier.feature_channels is None:
        return text
    return text + " This model's tokens come from a CNN, so each has already seen pixels beyond its own patch: distances are between the patches' centres."
