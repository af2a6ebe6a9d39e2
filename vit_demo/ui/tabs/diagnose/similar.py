"""It looks like these: three pictures of the model's own classes beside the answer, looked for only when they are asked for."""

from __future__ import annotations

import base64
from html import escape

import gradio as gr

from vit_demo.common.errors import UserError
from vit_demo.common.words import LANGUAGES
from vit_demo.diagnose.photos import open_photo
from vit_demo.diagnose.similar import pictures_file, similar
from vit_demo.model.abstention import Verdict
from vit_demo.model.neighbours import Neighbour
from vit_demo.ui.shared.components import PhotoInput
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.tabs.diagnose.answer_html import View
from vit_demo.ui.tabs.diagnose.asked import QUIET, Asked

# Opened for the first time, it asks for its pictures. The event of <details> does not bubble, but it can be caught on its way down.
OPENED = """element.addEventListener('toggle', event => {
    if (event.target.open && event.target.hasAttribute('data-waits')) trigger('select', {value: true, index: 0});
}, true);"""


def build(asked: Asked, photo: PhotoInput, said: gr.JSON) -> None:
    """Lay out the part, folded. Inputs: what the parts of the tab share, the photo, what was said of it."""
    part = gr.HTML("", js_on_load=OPENED, elem_id="diagnose-similar")
    said.change(offer, [said, asked.language], part, **QUIET)
    asked.retells(offer, [said, asked.language], [part])
    part.select(look, [photo, said, asked.language], part, **QUIET)


def offer(said: dict | None, language: str) -> str | dict:
    """Inputs: what was said, language. Outputs: the part, folded; nothing where no answer or no pictures are."""
    view = _view(said, language)
    return "" if view is None else _part(view, f'<p>{view.say("diagnose.similar.wait")}</p>', "data-waits")


def look(photo: str | None, said: dict | None, language: str) -> str:
    """Inputs: photo file, what was said of it, language. Outputs: the part, open, with its pictures, or why there are none."""
    view = _view(said, language)
    if view is None or photo is None:
        return ""
    try:
        return pictures_html(view, similar(view.classifier, open_photo(photo)))
    except UserError as error:
        return _part(view, f'<p lang="en">{escape(str(error))}</p>', "open")


def _view(said: dict | None, language: str) -> View | None:
    """Who answered, where there is an answer and the model has pictures."""
    if language not in LANGUAGES or not said or "answer" not in said or said["answer"]["verdict"] == Verdict.NOT_KNOWN:
        return None
    try:
        view = View(get_classifier(said["model"]), language)
    except UserError:  # its folder was deleted since
        return None
    return view if pictures_file(view.classifier.checkpoint) else None


def pictures_html(view: View, found: list[Neighbour]) -> str:
    """The part, open, with pictures and their labels."""
    pictures = "".join(
        f'<li><img src="data:image/jpeg;base64,{base64.b64encode(one.jpeg).decode()}" alt="" /><span>{escape(view.title(one.label))}</span></li>'
        for one in found
    )
    return _part(view, f'<p>{view.say("diagnose.similar.learned")}</p><ol class="similar-pictures">{pictures}</ol>', "open")


def _part(view: View, content: str, state: str) -> str:
    return (
        f'<details class="similar" lang="{view.language}" {state}><summary>{view.say("diagnose.similar.title")}</summary>'
        f'<div class="details-body">{content}</div></details>'
    )
