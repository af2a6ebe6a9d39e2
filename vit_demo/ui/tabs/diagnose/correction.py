"""That is wrong, it is …: a photo with what it shows, kept to teach the model, if the person at the page says
so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import gradio as gr
from markupsafe import Markup

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import say
from vit_demo.data.corrections import review_set
from vit_demo.data.corrections.review_set import LABEL_LENGTH, NOTE_LENGTH, Correction, Said, same_class
from vit_demo.diagnose.diagnosis import Diagnosis
from vit_demo.diagnose.photos import open_photo
from vit_demo.model.abstention import Verdict
from vit_demo.ui.shared.components import PhotoInput, polite
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.shared.speech import QUIET
from vit_demo.ui.tabs.diagnose.answer_html import View
from vit_demo.ui.tabs.diagnose.shared import Shared

# Answers that the model itself stands by.
SURE = (None, Verdict.DIAGNOSIS)
# In the list of classes: no class is called so.
OTHER = " "
# The name is asked for only where none of the classes is chosen; the browser says what is missing before
# anything is sent. In another language the form is written anew: it closes and hides the name, and what was
# filled in may go. It is put back for the same photo.
SCRIPT = """let kept = null;
const what = form => [
    form.elements.photo.value, ...Array.from(form.elements.label.options, option => option.value).sort(),
].join('\\n');
const keep = () => {
    const form = element.querySelector('form');
    if (form) kept = {what: what(form), given: [...new FormData(form)], open: form.closest('details').open};
};
element.addEventListener('input', keep);
element.addEventListener('toggle', keep, true);
new MutationObserver(() => {
    const form = element.querySelector('form');
    if (!form || !kept || what(form) !== kept.what) {
        kept = null;
        return;
    }
    for (const [name, value] of kept.given) {
        if (form.elements[name].type === 'checkbox') form.elements[name].checked = true;
        else form.elements[name].value = value;
    }
    form.elements.label.dispatchEvent(new Event('change', {bubbles: true}));
    form.closest('details').open = kept.open;
}).observe(element, {childList: true, subtree: true, attributeFilter: ['lang']});
element.addEventListener('change', event => {
    const form = event.target.closest('form');
    const named = form.elements.other;
    const wanted = 'other' in (form.elements.label.selectedOptions[0]?.dataset ?? {});
    named.required = wanted;
    named.closest('label').hidden = !wanted;
});
element.addEventListener('submit', event => {
    event.preventDefault();
    trigger('select', {value: Object.fromEntries(new FormData(event.target)), index: 0});
});
element.addEventListener('click', event => {
    const button = event.target.closest('[data-remove]');
    if (button) trigger('select', {value: {remove: button.dataset.remove}, index: 0});
});"""


def build(shared: Shared, photo: PhotoInput, said: gr.JSON) -> None:
    """Lay out the form; none where it is switched off. Inputs: what the parts of the tab share; the photo,
    and what was said of it.
    """
    if not settings.load().review:
        return
    form = gr.HTML("", js_on_load=SCRIPT, elem_id="diagnose-correction")
    known = [photo, said]
    # At once: a correction of the photo before must not stand beside this one while it is looked at.
    photo.change(None, None, form, js="() => ''", **QUIET)
    said.change(draw, known, form, **QUIET)
    shared.speech.retells(draw, known, [form])
    form.select(polite(answer), known, form, **QUIET)


def draw(photo: str | None, said: dict | None) -> str:
    """Inputs: photo file, what was said of it. Outputs: the form in HTML; nothing where there is no answer to
    correct.
    """
    try:
        return "" if photo is None or not (said or {}).get("answer") else _form(_Answered.of(said), photo)
    except UserError:  # the model was deleted since
        return ""


def answer(photo: str | None, said: dict | None, event: gr.EventData) -> str:
    """Inputs: photo file, what was said of it, what was filled in or is to be removed. Outputs: what was
    done, in HTML.
    """
    given = event.value
    view = _Answered.of(said)
    if given.get("remove"):
        review_set.remove(str(given["remove"]))
        form = "" if photo is None else _form(view, photo)  # it may be taken away meanwhile
        return render("diagnose/correction#removed", number=len(review_set.corrections()), form=form)
    return _stored(view, _store(view, photo, given))


@dataclass(frozen=True)
class _Answered(View):
    """An answer, and who gave it."""

    answer: Diagnosis

    @classmethod
    def of(cls, said: dict | None) -> _Answered:
        if said is None or not said.get("answer"):
            raise UserError("error.page.no_answer")
        return cls(get_classifier(said["model"]), Diagnosis(**said["answer"]))


def _store(view: _Answered, photo: str | None, given: dict) -> Correction:
    if given.get("keep") != "on":
        raise UserError("error.page.not_ticked")
    if photo is None or given.get("photo") != _token(photo):
        raise UserError("error.page.other_photo")
    checkpoint = view.classifier.checkpoint
    said = Said(
        view.answer.label, view.answer.probability, view.answer.verdict, checkpoint.name, checkpoint.revision
    )
    label = _known(view, str(given.get("label") or "").strip() or str(given.get("other") or ""))
    return review_set.store(open_photo(photo), label, said, str(given.get("note") or ""))


def _known(view: _Answered, label: str) -> str:
    """The class that this is a name of, in the language of the page or as it is called in the model; else the
    name itself.
    """
    wanted = same_class(label)
    return next(
        (
            known
            for known in view.answer.scores
            if wanted in (same_class(known), same_class(view.name(known)))
        ),
        label,
    )


def _token(photo: str) -> str:
    """Which upload the form was drawn for."""
    return hashlib.sha256(photo.encode()).hexdigest()[:16]


def _form(view: _Answered, photo: str) -> Markup:
    sure = view.answer.verdict in SURE
    return render(
        "diagnose/correction#form",
        title="diagnose.correction.title" if sure else "diagnose.correction.title_unsure",
        token=_token(photo),
        options=[
            (label, _option(view, label, sure and label == view.answer.label)) for label in view.answer.scores
        ],
        other=OTHER,
        lengths=(LABEL_LENGTH, NOTE_LENGTH),
    )


def _option(view: _Answered, label: str, is_answer: bool) -> str:
    return say("diagnose.correction.right", label=view.title(label)) if is_answer else view.title(label)


def _stored(view: _Answered, correction: Correction) -> Markup:
    name = view.name(correction.label) if correction.label in view.answer.scores else correction.label
    return render(
        "diagnose/correction#stored", number=len(review_set.corrections()), name=name, id=correction.id
    )
