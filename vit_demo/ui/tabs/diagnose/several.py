"""Several leaves: photos of one plant in, one answer out, with that of each leaf below it."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path

import gradio as gr

from vit_demo.common.errors import UserError
from vit_demo.common.words import DEFAULT_LANGUAGE, LANGUAGES, joined, say
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal, diagnose_files
from vit_demo.diagnose.several import MOST, Together, combine, is_healthy
from vit_demo.diagnose.telling import counted, sentence
from vit_demo.model.abstention import Verdict
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.components import bars, photo_files
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.shared.refusal import why_html
from vit_demo.ui.tabs.diagnose.answer_html import View, empty, folded, notes_html, refused
from vit_demo.ui.tabs.diagnose.asked import Asked
from vit_demo.ui.tabs.diagnose.many_jobs import thumbnail

EMPTY, REFUSED = "diagnose.several.empty", "diagnose.several.refused"


def build(asked: Asked) -> None:
    """Lay out the view. Inputs: what the parts of the tab share. Photos are scaled down by the script of the view for one leaf."""
    # What the last answer was, so that another language can tell it again.
    said = gr.JSON(None, visible=False)
    photos = photo_files(label=say("diagnose.several.photos", most=MOST), height=180, elem_id="several-photos")
    answer = gr.HTML(empty(DEFAULT_LANGUAGE, EMPTY), padding=False, elem_id="several-answer")
    asked.speaks(photos, label=lambda code: say("diagnose.several.photos", code, most=MOST))
    gr.on(
        [photos.change, asked.model.change], show, [photos, asked.model, asked.language], [said, answer],
        api_visibility="private", show_progress="minimal", trigger_mode="always_last",
    )
    asked.retells(retell, [asked.language, said], [answer])


def show(photos: list[str] | None, model: str, language: str) -> tuple[dict | None, str]:
    """Inputs: photo files, model, language. Outputs: what was said, the answer in HTML."""
    if not photos:
        return None, empty(language, EMPTY)
    try:
        classifier = get_classifier(model)
        leaves = ask(classifier, photos)
        found = combine(leaves)
        pictures = [thumbnail(Path(photo)) if isinstance(leaf, Diagnosis) else "" for photo, leaf in zip(photos, leaves, strict=True)]
    except UserError as error:
        return {"error": str(error)}, refused(str(error), language, REFUSED)
    said = {"model": model, "leaves": [leaf.to_dict() for leaf in leaves], "pictures": pictures}
    return said, together_html(View(classifier, language), found, pictures)


def ask(classifier: LeafClassifier, photos: list[str]) -> list[Diagnosis | Refusal]:
    """The answer for each photo of one plant, called by its file name; UserError, and the model is not asked, where there are too many."""
    if len(photos) > MOST:
        raise UserError(f"These are {len(photos)} photos. Send at most {MOST} of one plant.")
    return [replace(leaf, photo=Path(photo).name) for photo, leaf in zip(photos, diagnose_files(classifier, photos), strict=True)]


def retell(language: str, said: dict | None) -> str | dict:
    """Inputs: language, what was said last. Outputs: the answer in this language; the model is not asked again."""
    if language not in LANGUAGES:
        return gr.skip()
    if said is None:
        return empty(language, EMPTY)
    if "error" in said:
        return refused(said["error"], language, REFUSED)
    try:
        view = View(get_classifier(said["model"]), language)
    except UserError as error:  # its folder was deleted since
        return refused(str(error), language, REFUSED)
    leaves = [Refusal(**leaf) if "error" in leaf else Diagnosis(**leaf) for leaf in said["leaves"]]
    return together_html(view, combine(leaves), said["pictures"])


def together_html(view: View, found: Together, pictures: list[str]) -> str:
    """The answer in large type with the number of photos behind it, each leaf, what to do. pictures: a small JPEG as text for each leaf."""
    suspected = {Verdict.NOT_KNOWN: [], Verdict.DIAGNOSIS: [found.label]}.get(found.verdict, found.prediction_set)
    names = joined(sorted(view.name(label) for label in found.scores), "diagnose.comma", view.language)
    scores = bars({view.title(label): share for label, share in found.scores.items()}, view.percent)
    # The pooled shares hold if all leaves show the same; where they do not, they say nothing.
    considered = folded(view.say("diagnose.all"), scores, "answer-scores") if found.verdict in (Verdict.DIAGNOSIS, Verdict.UNSURE) else ""
    rows = "".join(_leaf(view, leaf, picture) for leaf, picture in zip(found.leaves, pictures, strict=True))
    kind = Verdict.UNSURE if found.verdict == Verdict.MIXED else found.verdict
    return (
        f'<div class="answer answer-{kind}" role="status" lang="{view.language}">' + _headline(view, found)
        + f'<h4>{view.say("diagnose.several.each")}</h4><ul class="several-leaves">{rows}</ul>' + notes_html(view, suspected) + considered
        + f'<p class="answer-limits">{view.say("diagnose.limits", labels=names)}</p></div>'
    )


def _headline(view: View, found: Together) -> str:
    of = view.say("diagnose.told.from", count=found.voted, total=len(found.leaves))
    if found.verdict == Verdict.MIXED:
        counts = "".join(f"<div>{escape(text)}</div>" for text in counted(view.classifier, found, view.language))
        note = "diagnose.several.sick_note" if any(map(is_healthy, found.prediction_set)) else "diagnose.several.mixed_note"
        kicker, label, below = view.say("diagnose.several.mixed"), counts, f"{of} {view.say(note)}"
    elif found.verdict == Verdict.NOT_KNOWN:
        kicker, label = view.say("diagnose.not_known"), view.say("diagnose.not_known_label")
        below = view.say("diagnose.several.not_known_note")
    elif found.verdict == Verdict.UNSURE:
        left = joined(map(view.name, found.prediction_set), "diagnose.or", view.language)
        kicker, label = view.say("diagnose.unsure"), view.say("diagnose.either", labels=left)
        below = f'{of} {view.say("diagnose.several.unsure_note")}'
    else:
        kicker, label = view.say("diagnose.most_likely"), escape(view.title(found.label))
        below = f'{view.say("diagnose.probability", percent=view.percent(found.probability))}. {of}'
    return (
        f'<div class="answer-kicker">{kicker}</div><div class="answer-label several-{found.verdict}">{label}</div>'
        f'<div class="answer-below">{below}</div>'
    )


def _leaf(view: View, leaf: Diagnosis | Refusal, picture: str) -> str:
    """One photo with its own answer, or why it was not used."""
    if isinstance(leaf, Refusal):
        return f'<li class="several-refused"><span class="several-thumb"></span>{why_html(leaf.error, view.language)}</li>'
    quality = "".join(f"<br>{view.say(f'quality.{problem}')}" for problem in leaf.quality)
    own = escape(sentence(view.classifier, leaf, view.language))
    return f'<li><img class="several-thumb" src="data:image/jpeg;base64,{picture}" alt="" /><span>{own}{quality}</span></li>'
