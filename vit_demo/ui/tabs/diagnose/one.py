"""One leaf: a photo in, an answer out."""

from __future__ import annotations

import gradio as gr

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence, say
from vit_demo.diagnose.diagnosis import Diagnosis, diagnose
from vit_demo.diagnose.photos import open_photo
from vit_demo.explain.attribution.methods import DEFAULT
from vit_demo.explain.attribution.saliency import saliency
from vit_demo.explain.attribution.target import Target
from vit_demo.figures.overlay import heat_overlay
from vit_demo.model.abstention import Verdict
from vit_demo.ui.shared.components import PhotoInput, photo_input
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.shared.speech import QUIET, Told
from vit_demo.ui.tabs.diagnose import correction, notes, similar
from vit_demo.ui.tabs.diagnose.answer_html import View, answer_html, empty, refused, where_note
from vit_demo.ui.tabs.diagnose.shared import Shared


def build(shared: Shared, examples: list[str]) -> PhotoInput:
    """Lay out the view. Inputs: what the parts of the tab share, example photos. Returns the photo that is
    diagnosed.
    """
    speech = shared.speech
    # What the last answer was, so that another language can tell it again.
    said = gr.JSON(None, visible=False)
    with gr.Row(equal_height=False, elem_id="diagnose-row"):
        with gr.Column(scale=1, min_width=300, elem_id="diagnose-asked"):
            photo = speech(
                photo_input,
                label=Told("diagnose.photo"),
                placeholder=Told("diagnose.touch"),
                height=340,
                elem_id="diagnose-photo",
            )
            with gr.Column(elem_id="diagnose-examples"):
                shown = gr.Examples(
                    examples,
                    inputs=[photo],
                    label=say("diagnose.examples"),
                    examples_per_page=6,
                    api_visibility="private",
                )
                speech.speaks(shown.dataset, label=Told("diagnose.examples"))
        with gr.Column(scale=1, min_width=300):
            script = (settings.ASSETS / "theme" / "shrink.js").read_text(encoding="utf-8")
            answer = gr.HTML(empty(say("diagnose.empty")), js_on_load=script, elem_id="diagnose-answer")
            with speech(
                gr.Accordion, label=Told("diagnose.why"), open=False, visible=False, elem_id="diagnose-why"
            ) as why:
                where = speech(
                    gr.Image,
                    label=Told("diagnose.where"),
                    height=340,
                    buttons=["download", "fullscreen"],
                    elem_id="diagnose-map",
                )
                note = gr.HTML("", elem_id="diagnose-map-note")
            correction.build(shared, photo, said)
            similar.build(shared, photo, said)
            notes.build(shared, said).then(retell, said, [answer, note], **QUIET)
    gr.on(
        [photo.change, shared.model.change],
        show,
        [photo, shared.model],
        [said, answer, why, where, note],
        api_visibility="private",
        show_progress="minimal",
        trigger_mode="always_last",
    )
    speech.retells(retell, [said], [answer, note])
    return photo


def show(photo: str | None, model: str) -> tuple[dict | None, str, dict, dict, str]:
    """Inputs: photo file, model. Outputs: what was said, the answer in HTML, what spoke for it: its folder,
    picture and note.
    """
    nothing = gr.update(visible=False), gr.update(value=None), ""
    if photo is None:
        return None, empty(say("diagnose.empty")), *nothing
    try:
        classifier = get_classifier(model)
        picture = open_photo(photo)
        answer = diagnose(classifier, picture)
    except UserError as error:
        # In the place of the answer: the one of the photo before must not stand beside this photo.
        return {"error": error.sentence.as_json()}, refused(error), *nothing
    view = View(classifier)
    told = {"model": model, "answer": answer.to_dict()}, answer_html(view, answer)
    if answer.verdict == Verdict.NOT_KNOWN:
        return *told, *nothing
    spoke = saliency(
        classifier, classifier.preprocess([picture]), DEFAULT, Target(classifier.labels.index(answer.label))
    )[0].numpy()
    return (
        *told,
        gr.update(visible=True),
        gr.update(value=heat_overlay(picture, spoke)),
        where_note(view, answer),
    )


def retell(said: dict | None) -> tuple[str, str]:
    """Inputs: what was said last. Outputs: the answer and the note on its map in the current language; the
    model is not asked again.
    """
    if said is None:
        return empty(say("diagnose.empty")), ""
    if "error" in said:
        return refused(Sentence.from_json(said["error"])), ""
    try:
        view = View(get_classifier(said["model"]))
    except UserError as error:  # its folder was deleted since
        return refused(error), ""
    answer = Diagnosis(**said["answer"])
    return answer_html(view, answer), where_note(view, answer)
