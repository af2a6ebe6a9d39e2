"""The Diagnose tab: a photo in, an answer out, in the language of whoever asks."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from vit_demo import settings
from vit_demo.diagnose.diagnosis import Diagnosis, diagnose
from vit_demo.diagnose.photos import open_photo
from vit_demo.errors import UserError
from vit_demo.explain.saliency import DEFAULT, saliency
from vit_demo.explain.target import Target
from vit_demo.ui.components import PhotoInput, photo_input, polite
from vit_demo.ui.diagnosisview import View, answer_html, empty, refused, where_note
from vit_demo.ui.figures.overlay import heat_overlay
from vit_demo.ui.models import get_classifier
from vit_demo.ui.words import DEFAULT_LANGUAGE, LANGUAGES, pick_language, say

QUIET = {"api_visibility": "private", "show_progress": "hidden"}


def build(page: gr.Blocks, model: gr.Dropdown, examples: list[str]) -> PhotoInput:
    """Lay out the tab. Inputs: the page, its model list, example photos. Returns the photo that is diagnosed."""
    remembered = gr.BrowserState("", storage_key="vit_demo.language", secret="vit_demo")
    # What the last answer was, so that another language can tell it again.
    said = gr.JSON(None, visible=False)
    with gr.Row(elem_id="diagnose-head"):
        lead = gr.Markdown(say("diagnose.lead"), elem_id="diagnose-lead")
        language = gr.Dropdown(
            [(say("language", code), code) for code in LANGUAGES], value=DEFAULT_LANGUAGE, label=say("diagnose.language"), container=False,
            filterable=False, scale=0, min_width=150, elem_id="diagnose-language",
        )
    with gr.Row(equal_height=False, elem_id="diagnose-row"):
        with gr.Column(scale=1, min_width=300, elem_id="diagnose-asked"):
            photo = photo_input(label=say("diagnose.photo"), placeholder=say("diagnose.touch"), height=340, elem_id="diagnose-photo")
            with gr.Column(elem_id="diagnose-examples"):
                shown = gr.Examples(examples, inputs=[photo], label=say("diagnose.examples"), examples_per_page=6, api_visibility="private")
        with gr.Column(scale=1, min_width=300):
            script = (settings.ASSETS / "theme" / "shrink.js").read_text(encoding="utf-8")
            answer = gr.HTML(empty(DEFAULT_LANGUAGE), js_on_load=script, elem_id="diagnose-answer")
            with gr.Accordion(say("diagnose.why"), open=False, visible=False, elem_id="diagnose-why") as why:
                where = gr.Image(label=say("diagnose.where"), height=340, buttons=["download", "fullscreen"], elem_id="diagnose-map")
                note = gr.HTML("", elem_id="diagnose-map-note")
    gr.on(
        [photo.change, model.change], show, [photo, model, language], [said, answer, why, where, note],
        api_visibility="private", show_progress="minimal", trigger_mode="always_last",
    )
    language.change(retell, [language, said], [lead, language, photo, shown.dataset, answer, why, where, note], **QUIET)
    language.input(None, language, remembered, js="code => code", **QUIET)
    page.load(restore_language, remembered, language, **QUIET)
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
    Outputs: photo (file name), label, probability (0 to 1), scores of every class (summing to 1); verdict (diagnosis, unsure
    or not_known), prediction_set (classes that are left), temperature and distance (above 1 is not known), or null.
    """
    if photo is None:
        raise gr.Error("Send a photo file.", print_exception=False)
    return diagnose(get_classifier(model), open_photo(photo), Path(photo).name).to_dict()


def restore_language(remembered: str, request: gr.Request) -> str:
    """Inputs: the language chosen in this browser before, its headers. Outputs: that language, else the one the browser likes best."""
    return remembered if remembered in LANGUAGES else pick_language(request.headers.get("accept-language"))


def show(photo: str | None, model: str, language: str) -> tuple[dict | None, str, dict, dict, str]:
    """Inputs: photo file, model, language. Outputs: what was said, the answer in HTML, what spoke for it: its folder, picture and note."""
    nothing = gr.update(visible=False), gr.update(value=None), ""
    if photo is None:
        return None, empty(language), *nothing
    try:
        classifier = get_classifier(model)
        picture = open_photo(photo)
        answer = diagnose(classifier, picture)
    except UserError as error:
        # In the place of the answer: the one of the photo before must not stand beside this photo.
        return {"error": str(error)}, refused(str(error), language), *nothing
    view = View(classifier, language)
    told = {"model": model, "answer": answer.to_dict()}, answer_html(view, answer)
    if answer.verdict == "not_known":
        return *told, *nothing
    spoke = saliency(classifier, classifier.preprocess([picture]), DEFAULT, Target(classifier.labels.index(answer.label)))[0].numpy()
    return *told, gr.update(visible=True), gr.update(value=heat_overlay(picture, spoke)), where_note(view, answer)


def retell(language: str, said: dict | None) -> tuple:
    """Inputs: language, what was said last. Outputs: all texts of the tab in this language, from the lead to the note on the map."""
    if language not in LANGUAGES:
        return (gr.skip(),) * 8
    answer, note = _told(language, said)
    return (
        say("diagnose.lead", language),
        gr.update(label=say("diagnose.language", language)),
        gr.update(label=say("diagnose.photo", language), placeholder=say("diagnose.touch", language)),
        gr.update(label=say("diagnose.examples", language)),
        answer,
        gr.update(label=say("diagnose.why", language)),
        gr.update(label=say("diagnose.where", language)),
        note,
    )


def _told(language: str, said: dict | None) -> tuple[str, str]:
    """What was said, as HTML in another language, and the note on its map; the model is not asked again."""
    if said is None:
        return empty(language), ""
    if "error" in said:
        return refused(said["error"], language), ""
    try:
        view = View(get_classifier(said["model"]), language)
    except UserError as error:  # its folder was deleted since
        return refused(str(error), language), ""
    answer = Diagnosis(**said["answer"])
    return answer_html(view, answer), where_note(view, answer)
