"""The Diagnose tab: a photo in, an answer out."""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

from vit_demo.diagnose.diagnosis import Diagnosis, diagnose
from vit_demo.diagnose.photos import open_photo
from vit_demo.errors import UserError
from vit_demo.explain.saliency import DEFAULT, saliency
from vit_demo.explain.target import Target
from vit_demo.ui.components import PhotoInput, bars, percent, photo_input, polite
from vit_demo.ui.figures.overlay import heat_overlay
from vit_demo.ui.models import get_classifier
from vit_demo.ui.words import label_title, say


def build(model: gr.Dropdown, examples: list[str]) -> PhotoInput:
    """Lay out the tab. Inputs: the page's model list, example photos. Returns the photo that is diagnosed."""
    gr.Markdown(say("diagnose.lead"))
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=300):
            photo = photo_input(label=say("diagnose.photo"), height=340, elem_id="diagnose-photo")
            gr.Examples(examples, inputs=[photo], label=say("diagnose.examples"), examples_per_page=6, api_visibility="private")
        with gr.Column(scale=1, min_width=300):
            answer = gr.HTML(_empty(), elem_id="diagnose-answer")
            where = gr.Image(label=say("diagnose.where"), height=340, visible=False, buttons=["download", "fullscreen"], elem_id="diagnose-map")
            note = gr.Markdown(visible=False, elem_id="diagnose-map-note")
    gr.on(
        [photo.change, model.change], show, [photo, model], [answer, where, note],
        api_visibility="private", show_progress="minimal", trigger_mode="always_last",
    )
    _build_api()
    return photo


def _build_api() -> None:
    """The named endpoint /diagnose: the same answer as JSON."""
    photo = photo_input(visible=False, label="photo")
    model = gr.Textbox("embedded", visible=False, label="model")
    answer = gr.JSON(visible=False, label="diagnosis")
    gr.Button(visible=False).click(polite(diagnose_api), [photo, model], answer, api_name="diagnose")


def diagnose_api(photo: str, model: str = "embedded") -> dict:
    """Diagnose one leaf photo.

    Inputs: a photo file; a model as the command line takes it.
    Outputs: photo (file name), label, probability (0 to 1), scores of every class (summing to 1).
    """
    if photo is None:
        raise gr.Error("Send a photo file.", print_exception=False)
    return diagnose(get_classifier(model), open_photo(photo), Path(photo).name).to_dict()


def show(photo: str | None, model: str) -> tuple[str, dict, dict]:
    """Inputs: photo file, model. Outputs: the answer in HTML, the picture of what spoke for it, its note."""
    nothing = gr.update(value=None, visible=False), gr.update(visible=False)
    if photo is None:
        return _empty(), *nothing
    try:
        classifier = get_classifier(model)
        picture = open_photo(photo)
    except UserError as error:
        # In the place of the answer: the one of the photo before must not stand beside this photo.
        return f'<div class="answer answer-refused" role="alert">{escape(str(error))}</div>', *nothing
    answer = diagnose(classifier, picture)
    spoke = saliency(classifier, classifier.preprocess([picture]), DEFAULT, Target(classifier.labels.index(answer.label)))[0].numpy()
    note = say("diagnose.where_note", label=escape(label_title(answer.label)), method=say(f"method.{DEFAULT}"))
    return _html(answer), gr.update(value=heat_overlay(picture, spoke), visible=True), gr.update(value=note, visible=True)


def _empty() -> str:
    return f'<div class="answer answer-empty">{escape(say("diagnose.empty"))}</div>'


def _html(answer: Diagnosis) -> str:
    names = ", ".join(sorted(label_title(label).lower() for label in answer.scores))
    return (
        '<div class="answer" role="status">'
        f'<div class="answer-kicker">{escape(say("diagnose.most_likely"))}</div>'
        f'<div class="answer-label">{escape(label_title(answer.label))}</div>'
        f'<div class="answer-probability">{escape(say("diagnose.probability", percent=percent(answer.probability)))}</div>'
        f'<div class="answer-kicker">{escape(say("diagnose.all"))}</div>'
        + bars({label_title(label): share for label, share in answer.scores.items()})
        + f'<p class="answer-note">{escape(say("diagnose.limits", labels=names))}</p></div>'
    )
