"""Several leaves: photos of one plant in, one answer out, with that of each leaf below it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gradio as gr
from markupsafe import Markup

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence, current_language, say
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal, diagnose_files
from vit_demo.diagnose.several import MOST, Together, combine, is_healthy
from vit_demo.diagnose.telling import counted, sentence
from vit_demo.model.abstention import Verdict
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.components import photo_files
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.shared.speech import Told
from vit_demo.ui.tabs.diagnose.answer_html import Headline, View, empty, notes_on, refused
from vit_demo.ui.tabs.diagnose.many_jobs import thumbnail
from vit_demo.ui.tabs.diagnose.shared import Shared

EMPTY, REFUSED = "diagnose.several.empty", "diagnose.several.refused"


def build(shared: Shared) -> None:
    """Lay out the view. Inputs: what the parts of the tab share. Photos are scaled down by the script of the
    view for one leaf.
    """
    # What the last answer was, so that another language can tell it again.
    said = gr.JSON(None, visible=False)
    photos = shared.speech(
        photo_files, label=Told("diagnose.several.photos", most=MOST), height=180, elem_id="several-photos"
    )
    answer = gr.HTML(empty(say(EMPTY)), padding=False, elem_id="several-answer")
    gr.on(
        [photos.change, shared.model.change],
        show,
        [photos, shared.model],
        [said, answer],
        api_visibility="private",
        show_progress="minimal",
        trigger_mode="always_last",
    )
    shared.speech.retells(retell, [said], [answer])


def show(photos: list[str] | None, model: str) -> tuple[dict | None, str]:
    """Inputs: photo files, model. Outputs: what was said, the answer in HTML."""
    if not photos:
        return None, empty(say(EMPTY))
    try:
        classifier = get_classifier(model)
        leaves = ask(classifier, photos)
        found = combine(leaves)
        pictures = [
            thumbnail(Path(photo)) if isinstance(leaf, Diagnosis) else ""
            for photo, leaf in zip(photos, leaves, strict=True)
        ]
    except UserError as error:
        return {"error": error.sentence.as_json()}, refused(error, REFUSED)
    said = {
        "model": model,
        "leaves": [leaf.as_json() if isinstance(leaf, Refusal) else leaf.to_dict() for leaf in leaves],
        "pictures": pictures,
    }
    return said, together_html(View(classifier), found, pictures)


def ask(classifier: LeafClassifier, photos: list[str]) -> list[Diagnosis | Refusal]:
    """The answer for each photo of one plant, called by its file name; UserError, and the model is not asked,
    where there are too many.
    """
    if len(photos) > MOST:
        raise UserError("error.diagnose.too_many", count=len(photos), most=MOST)
    return [
        replace(leaf, photo=Path(photo).name)
        for photo, leaf in zip(photos, diagnose_files(classifier, photos), strict=True)
    ]


def retell(said: dict | None) -> str:
    """Inputs: what was said last. Outputs: the answer in the current language; the model is not asked
    again.
    """
    if said is None:
        return empty(say(EMPTY))
    if "error" in said:
        return refused(Sentence.from_json(said["error"]), REFUSED)
    try:
        view = View(get_classifier(said["model"]))
    except UserError as error:  # its folder was deleted since
        return refused(error, REFUSED)
    leaves = [Refusal.from_json(leaf) if "error" in leaf else Diagnosis(**leaf) for leaf in said["leaves"]]
    return together_html(view, combine(leaves), said["pictures"])


def together_html(view: View, found: Together, pictures: list[str]) -> Markup:
    """The answer in large type with the number of photos behind it, each leaf, what to do. pictures: a small
    JPEG as text for each leaf.
    """
    clear: dict[str, list[str]] = {Verdict.NOT_KNOWN: [], Verdict.DIAGNOSIS: [found.label]}
    suspected = clear.get(found.verdict, found.prediction_set)
    return render(
        "diagnose/several#together",
        view=view,
        found=found,
        kind=Verdict.UNSURE if found.verdict == Verdict.MIXED else found.verdict,
        headline=_headline(view, found),
        leaves=[
            (leaf, _own(view, leaf), picture) for leaf, picture in zip(found.leaves, pictures, strict=True)
        ],
        notes=notes_on(view, suspected),
        # The pooled shares hold if all leaves show the same; where they do not, they say nothing.
        scores=view.titled(found.scores) if found.verdict in (Verdict.DIAGNOSIS, Verdict.UNSURE) else None,
    )


def _headline(view: View, found: Together) -> Headline:
    of = say("diagnose.told.from", count=found.voted, total=len(found.leaves))
    if found.verdict == Verdict.MIXED:
        counts = render("diagnose/several#counts", texts=counted(view.classifier, found, current_language()))
        note = (
            "diagnose.several.sick_note"
            if any(map(is_healthy, found.prediction_set))
            else "diagnose.several.mixed_note"
        )
        return Headline(say("diagnose.several.mixed"), counts, f"{of} {say(note)}")
    if found.verdict == Verdict.NOT_KNOWN:
        return Headline(
            say("diagnose.not_known"), say("diagnose.not_known_label"), say("diagnose.several.not_known_note")
        )
    if found.verdict == Verdict.UNSURE:
        left = say("diagnose.either", labels=view.either(found.prediction_set))
        return Headline(say("diagnose.unsure"), left, f"{of} {say('diagnose.several.unsure_note')}")
    probability = say("diagnose.probability", percent=view.percent(found.probability))
    return Headline(say("diagnose.most_likely"), view.title(found.label), f"{probability}. {of}")


def _own(view: View, leaf: Diagnosis | Refusal) -> str:
    """One photo's own answer, or why it was not used."""
    return leaf.why if isinstance(leaf, Refusal) else sentence(view.classifier, leaf, current_language())
