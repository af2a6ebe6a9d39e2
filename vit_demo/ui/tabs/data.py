"""The Data tab: what is in a data set, photo by photo."""

from __future__ import annotations

from html import escape

import gradio as gr
import numpy as np
from datasets import DatasetDict
from PIL import Image

from vit_demo.data.browse import Catalogue, Photo, Query
from vit_demo.data.sources import BEANS, SAMPLE, open_dataset
from vit_demo.errors import UserError
from vit_demo.ui.components import polite, table
from vit_demo.ui.figures.overlay import shrink
from vit_demo.ui.models import get_classifier
from vit_demo.words import label_title

SOURCES = [
    ("336 drawn leaves, in the app", SAMPLE),
    ("1,295 real leaves, from the Hub", BEANS),
]
PAGE = 24
THUMBNAIL = 176
ALL = "all"
KEEP = 4
_catalogues: dict[int, Catalogue] = {}


def build(tab: gr.Tab, model: gr.Dropdown) -> None:
    """Lay out the tab. Inputs: the tab; the page's model list, whose processor is shown at work."""
    with gr.Row(equal_height=True):
        source = gr.Dropdown(
            SOURCES, value=SAMPLE, label="Photos", info="or type a folder (parquet files, or class/photo.jpg) or a name on the Hugging Face Hub",
            allow_custom_value=True, elem_id="data-source", scale=5,
        )
        open_button = gr.Button("Open", size="sm", scale=1, min_width=90, elem_id="data-open")
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            counts = gr.HTML(elem_id="data-counts")
        with gr.Column(scale=3, min_width=300), gr.Accordion("As Python prints it", open=True):
            printed = gr.HTML(elem_id="data-printed")
    with gr.Row():
        split = gr.Dropdown([ALL], value=ALL, label="Split", min_width=120, elem_id="data-split")
        label = gr.Dropdown([ALL], value=ALL, label="Label", min_width=160, elem_id="data-label")
        text = gr.Textbox("", label="Search in the file path", placeholder="e.g. rust_val.3", min_width=180, elem_id="data-search")
    gallery = gr.Gallery(columns=6, height="auto", object_fit="cover", allow_preview=False, show_label=False, buttons=[], elem_id="data-gallery")
    with gr.Row(elem_classes="pager"):
        back = gr.Button("Back", min_width=80, elem_id="data-back")
        where = gr.Markdown(elem_id="data-where")
        forward = gr.Button("Next", min_width=80, elem_id="data-next")
    page = gr.Number(0, visible=False, precision=0)
    with gr.Row(equal_height=False, visible=False, elem_id="data-detail") as detail:
        with gr.Column(scale=1, min_width=300):
            large = gr.Image(show_label=False, interactive=False, buttons=["download", "fullscreen"], elem_id="data-large")
        with gr.Column(scale=1, min_width=300):
            about = gr.HTML(elem_id="data-about")
            steps = gr.HTML(elem_id="data-steps")
    # always_last: a filter changed while the page is still drawing the one before must not be lost.
    quiet = {"api_visibility": "private", "show_progress": "minimal", "trigger_mode": "always_last"}
    query = [source, split, label, text]
    grid = [gallery, where, page, detail]
    opened = [counts, printed, split, label, text]
    for trigger in (source.input, open_button.click):
        trigger(polite(open_source), source, opened, **quiet).success(polite(first_page), query, grid, **quiet)
    # .change, not .input, for the text: .input can be sent before the new text has reached the form.
    gr.on([split.input, label.input, text.change], polite(first_page), query, grid, **quiet)
    back.click(polite(turn_back), [*query, page], grid, **quiet)
    forward.click(polite(turn_forward), [*query, page], grid, **quiet)
    gallery.select(polite(show_photo), [*query, page, model], [detail, large, about, steps], **quiet)
    # Opened when the tab is first looked at; coming back finds it as it was left.
    tab.select(polite(open_first), [source, counts], opened, **quiet).success(polite(first_page_if_new), [*query, where], grid, **quiet)


def _catalogue(source: str) -> Catalogue:
    """The catalogue of a source, kept while the same data set is open."""
    data = open_dataset(source)
    # A kept catalogue holds its data set, so an id cannot be used again while it is a key.
    if id(data) not in _catalogues:
        _catalogues[id(data)] = Catalogue(data)
        while len(_catalogues) > KEEP:
            del _catalogues[next(iter(_catalogues))]
    return _catalogues[id(data)]


def open_first(source: str, counts: str) -> tuple:
    """Inputs: source, the counts as they stand. Outputs: as open_source, or nothing where it is open already."""
    return (gr.skip(),) * 5 if counts else open_source(source)


def open_source(source: str) -> tuple:
    """Inputs: source. Outputs: counts, the print of it, and the split, label and text filters set back."""
    catalogue = _catalogue(source)
    counts = catalogue.counts()
    rows = [[label_title(label), index, *(counts[split][label] for split in counts)] for index, label in enumerate(catalogue.labels)]
    totals = [sum(counts[split].values()) for split in counts]
    rows.append(["All", "", *totals])
    return (
        table(["Class", "id", *counts], rows),
        '<pre class="table-scroll printed">' + escape(str(catalogue.data)) + escape(_features(catalogue.data)) + "</pre>",
        gr.update(choices=[ALL, *counts], value=ALL),
        gr.update(choices=[ALL, *((label_title(label), label) for label in catalogue.labels)], value=ALL),
        "",
    )


def _features(data: DatasetDict) -> str:
    lines = ",\n ".join(f"{name!r}: {feature}" for name, feature in data["train"].features.items())
    return "\n{" + lines + "}"


def first_page(source: str, split: str, label: str, text: str) -> tuple:
    """Inputs: source, filters. Outputs: photos, where we are, page, the hidden detail."""
    return _page(source, split, label, text, 0)


def first_page_if_new(source: str, split: str, label: str, text: str, where: str) -> tuple:
    """Inputs: source, filters, the line under the photos. Outputs: as first_page, or nothing where photos are shown already."""
    return (gr.skip(),) * 4 if where else first_page(source, split, label, text)


def turn_back(source: str, split: str, label: str, text: str, page: float) -> tuple:
    """Inputs: source, filters, page. Outputs: as first_page."""
    return _page(source, split, label, text, int(page) - 1)


def turn_forward(source: str, split: str, label: str, text: str, page: float) -> tuple:
    """Inputs: source, filters, page. Outputs: as first_page."""
    return _page(source, split, label, text, int(page) + 1)


def _found(source: str, split: str, label: str, text: str) -> list[tuple[str, int]]:
    return _catalogue(source).find(Query(None if split == ALL else split, None if label == ALL else label, text or ""))


def _page(source: str, split: str, label: str, text: str, page: int) -> tuple:
    found = _found(source, split, label, text)
    pages = max(1, -(-len(found) // PAGE))
    page = min(max(page, 0), pages - 1)
    catalogue = _catalogue(source)
    gallery = gr.update(value=[_thumbnail(catalogue, *place) for place in found[page * PAGE : (page + 1) * PAGE]], selected_index=None)
    where = f"Page {page + 1} of {pages}, {len(found):,} photos" if found else "No photo fits. Change the filters."
    return gallery, where, page, gr.update(visible=False)


def _thumbnail(catalogue: Catalogue, split: str, index: int) -> tuple[Image.Image, str]:
    """A small picture with its caption; a broken photo is a grey one, so that it does not hide the others."""
    try:
        photo = catalogue.photo(split, index)
    except UserError:
        return Image.new("RGB", (THUMBNAIL, THUMBNAIL), "grey"), "broken"
    return shrink(photo.image, THUMBNAIL), label_title(photo.label)


def show_photo(source: str, split: str, label: str, text: str, page: float, model: str, event: gr.SelectData) -> tuple:
    """Inputs: source, filters, page, model, the click. Outputs: the detail, the photo, facts, processor steps."""
    place = _found(source, split, label, text)[int(page) * PAGE + event.index]
    photo = _catalogue(source).photo(*place)
    return gr.update(visible=True), shrink(photo.image), _about(photo), _steps(photo, model)


def _about(photo: Photo) -> str:
    width, height = photo.size
    return table(
        ["This photo", ""],
        [
            ["Label", label_title(photo.label)],
            ["Integer id", photo.label_id],
            ["File", photo.path],
            ["Split, row", f"{photo.split}, {photo.index}"],
            ["Size", f"{width} x {height} px"],
        ],
    )


def _steps(photo: Photo, model: str) -> str:
    """The processor's steps, as the model in use needs them."""
    classifier = get_classifier(model)
    rows = []
    for step in classifier.processor_steps(photo.image):
        values = step.values
        corner = ", ".join(f"{value:.3g}" for value in values[0, 0, :4])
        rows.append([step.name, " x ".join(map(str, values.shape)), f"{values.min():.3g} to {values.max():.3g}", f"{corner}, …"])
    processor = classifier.processor
    note = (
        f"Resized to {classifier.image_size[1]} x {classifier.image_size[0]} px, multiplied by 1/{1 / processor.rescale_factor:.0f}, "
        f"then (value - mean {_plain(processor.image_mean)}) / std {_plain(processor.image_std)} for red, green, blue. "
        f"The model gets pixel_values of shape (1, 3, {classifier.image_size[0]}, {classifier.image_size[1]})."
    )
    return table(["Processor step", "Shape", "Range", "First red values"], rows) + f'<p class="note">{escape(note)}</p>'


def _plain(values: list[float]) -> str:
    values = [f"{value:.3g}" for value in np.atleast_1d(values)]
    return values[0] if len(set(values)) == 1 else ", ".join(values)
