"""It looks like these: three pictures of the model's own classes beside the answer, looked for only when they
are asked for.
"""

from __future__ import annotations

import base64

import gradio as gr
from markupsafe import Markup

from vit_demo.common.errors import UserError
from vit_demo.diagnose.photos import open_photo
from vit_demo.diagnose.similar import pictures_file, similar
from vit_demo.model.abstention import Verdict
from vit_demo.model.neighbours import Neighbour
from vit_demo.ui.shared.components import PhotoInput
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.shared.speech import QUIET
from vit_demo.ui.tabs.diagnose.answer_html import View
from vit_demo.ui.tabs.diagnose.shared import Shared

# Opened for the first time, it asks for its pictures. The event of <details> does not bubble, but it can be
# caught on its way down.
OPENED = """element.addEventListener('toggle', event => {
    if (event.target.open && event.target.hasAttribute('data-waits'))
        trigger('select', {value: true, index: 0});
}, true);"""


def build(shared: Shared, photo: PhotoInput, said: gr.JSON) -> None:
    """Lay out the part, folded. Inputs: what the parts of the tab share, the photo, what was said of it."""
    part = gr.HTML("", js_on_load=OPENED, elem_id="diagnose-similar")
    said.change(offer, said, part, **QUIET)
    shared.speech.retells(offer, [said], [part])
    part.select(look, [photo, said], part, **QUIET)


def offer(said: dict | None) -> str:
    """Inputs: what was said. Outputs: the part, folded; nothing where no answer or no pictures are."""
    return "" if _view(said) is None else render("diagnose/similar#folded")


def look(photo: str | None, said: dict | None) -> str:
    """Inputs: photo file, what was said of it. Outputs: the part, open, with its pictures, or why there are
    none.
    """
    view = _view(said)
    if view is None or photo is None:
        return ""
    try:
        return pictures_html(view, similar(view.classifier, open_photo(photo)))
    except UserError as error:
        return render("diagnose/similar#failed", why=error)


def _view(said: dict | None) -> View | None:
    """Who answered, where there is an answer and the model has pictures."""
    if not said or "answer" not in said or said["answer"]["verdict"] == Verdict.NOT_KNOWN:
        return None
    try:
        view = View(get_classifier(said["model"]))
    except UserError:  # its folder was deleted since
        return None
    return view if pictures_file(view.classifier.checkpoint) else None


def pictures_html(view: View, found: list[Neighbour]) -> Markup:
    """The part, open, with pictures and their labels."""
    return render(
        "diagnose/similar#pictures",
        pictures=[(base64.b64encode(one.jpeg).decode(), view.title(one.label)) for one in found],
    )
