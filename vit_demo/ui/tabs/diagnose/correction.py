"""That is wrong, it is …: a photo with what it shows, kept to teach the model, if the person at the page says so."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from html import escape

import gradio as gr

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import LANGUAGES
from vit_demo.data.corrections import review_set
from vit_demo.data.corrections.review_set import LABEL_LENGTH, NOTE_LENGTH, Correction, Said, same_class
from vit_demo.diagnose.diagnosis import Diagnosis
from vit_demo.diagnose.photos import open_photo
from vit_demo.model.abstention import Verdict
from vit_demo.ui.shared.components import PhotoInput, polite
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.tabs.diagnose.answer_html import View, folded
from vit_demo.ui.tabs.diagnose.asked import QUIET, Asked

# Answers that the model itself stands by.
SURE = (None, Verdict.DIAGNOSIS)
# In the list of classes: no class is called so.
OTHER = " "
# The name is asked for only where none of the classes is chosen; the browser says what is missing before anything is sent.
# In another language the form is written anew: it closes and hides the name, and what was filled in may go. It is put back for the same photo.
SCRIPT = """let kept = null;
const what = form => [form.elements.photo.value, ...Array.from(form.elements.label.options, option => option.value).sort()].join('\\n');
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
        if (form.elements[name].type === 'checkbox') form.elements[name].checked = true; else form.elements[name].value = value;
    }
    form.elements.label.dispatchEvent(new Event('change', {bubbles: true}));
    form.closest('details').open = kept.open;
}).observe(element, {childList: true, subtree: true, attributeFilter: ['lang']});
element.addEventListener('change', event => {
    const form = event.target.closest('form');
    const named = form.elements.other, wanted = 'other' in (form.elements.label.selectedOptions[0]?.dataset ?? {});
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


def build(asked: Asked, photo: PhotoInput, said: gr.JSON) -> None:
    """Lay out the form; none where it is switched off. Inputs: what the parts of the tab share; the photo, and what was said of it."""
    if not settings.load().review:
        return
    form = gr.HTML("", js_on_load=SCRIPT, elem_id="diagnose-correction")
    known = [photo, said, asked.language]
    # At once: a correction of the photo before must not stand beside this one while it is looked at.
    photo.change(None, None, form, js="() => ''", **QUIET)
    said.change(draw, known, form, **QUIET)
    asked.retells(draw, known, [form])
    form.select(polite(answer), known, form, **QUIET)


def draw(photo: str | None, said: dict | None, language: str) -> str:
    """Inputs: photo file, what was said of it, language. Outputs: the form in HTML; nothing where there is no answer to correct."""
    try:
        return "" if photo is None or language not in LANGUAGES or not (said or {}).get("answer") else _form(_Answered.of(said, language), photo)
    except UserError:  # the model was deleted since
        return ""


def answer(photo: str | None, said: dict | None, language: str, event: gr.EventData) -> str:
    """Inputs: photo file, what was said of it, language, what was filled in or is to be removed. Outputs: what was done, in HTML."""
    given = event.value
    view = _Answered.of(said, language)
    if given.get("remove"):
        review_set.remove(str(given["remove"]))
        return _message(view, "diagnose.correction.removed") + _form(view, photo)
    return _stored(view, _store(view, photo, given))


@dataclass(frozen=True)
class _Answered(View):
    """An answer, who gave it, and the language of the page."""

    answer: Diagnosis

    @classmethod
    def of(cls, said: dict | None, language: str) -> _Answered:
        if not (said or {}).get("answer"):
            raise UserError("There is no answer to correct. Choose a photo first.")
        return cls(get_classifier(said["model"]), language, Diagnosis(**said["answer"]))


def _store(view: _Answered, photo: str | None, given: dict) -> Correction:
    if given.get("keep") != "on":
        raise UserError("Tick first that the photo may be kept.")
    if photo is None or given.get("photo") != _token(photo):
        raise UserError("The photo is another one by now. Say what this one shows.")
    checkpoint = view.classifier.checkpoint
    said = Said(view.answer.label, view.answer.probability, view.answer.verdict, checkpoint.name, checkpoint.revision)
    label = _known(view, str(given.get("label") or "").strip() or str(given.get("other") or ""))
    return review_set.store(open_photo(photo), label, said, str(given.get("note") or ""))


def _known(view: _Answered, label: str) -> str:
    """The class that this is a name of, in the language of the page or as it is called in the model; else the name itself."""
    wanted = same_class(label)
    return next((known for known in view.answer.scores if wanted in (same_class(known), same_class(view.name(known)))), label)


def _token(photo: str) -> str:
    """Which upload the form was drawn for."""
    return hashlib.sha256(photo.encode()).hexdigest()[:16]


def _form(view: _Answered, photo: str) -> str:
    sure = view.answer.verdict in SURE
    options = "".join(_option(view, label, sure and label == view.answer.label) for label in view.answer.scores)
    content = f"""<form>
<input type="hidden" name="photo" value="{_token(photo)}">
<label>{view.say("diagnose.correction.is")}<select name="label" required>
<option value="" disabled selected hidden>{view.say("diagnose.correction.choose")}</option>{options}
<option value="{OTHER}" data-other>{view.say("diagnose.correction.other")}</option></select></label>
<label hidden>{view.say("diagnose.correction.name")}<input name="other" maxlength="{LABEL_LENGTH}" autocomplete="off"></label>
<label>{view.say("diagnose.correction.note")}<input name="note" maxlength="{NOTE_LENGTH}" autocomplete="off"></label>
<label class="correction-keep"><input type="checkbox" name="keep" required><span>{view.say("diagnose.correction.keep")}</span></label>
<p>{view.say("diagnose.correction.where")}</p>
<button type="submit">{view.say("diagnose.correction.store")}</button>
</form>"""
    title = view.say("diagnose.correction.title" if sure else "diagnose.correction.title_unsure")
    return f'<div class="correction card" lang="{view.language}">{folded(title, content, "correction-form")}</div>'


def _option(view: _Answered, label: str, is_answer: bool) -> str:
    title = view.say("diagnose.correction.right", label=view.title(label)) if is_answer else escape(view.title(label))
    return f'<option value="{escape(label)}">{title}</option>'


def _stored(view: _Answered, correction: Correction) -> str:
    name = view.name(correction.label) if correction.label in view.answer.scores else correction.label
    button = f'<button type="button" data-remove="{correction.id}">{view.say("diagnose.correction.remove")}</button>'
    told = f'<p>{view.say("diagnose.correction.stored_as", label=name)}</p><p>{view.say("diagnose.correction.next")}</p>'
    return _message(view, "diagnose.correction.stored", told + button)


def _message(view: _Answered, done: str, below: str = "") -> str:
    """What was done, by key, how many photos there are now, and more HTML below it."""
    done = view.say(done)
    count = view.say("diagnose.correction.count", count=str(len(review_set.corrections())))
    return f'<div class="correction card" role="status" lang="{view.language}"><p><b>{done}</b> {count}</p>{below}</div>'
