"""The notes on a model of one's own, written in the page: one class and one language at a time."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from vit_demo.common.errors import UserError
from vit_demo.common.words import DEFAULT_LANGUAGE, current_language, say
from vit_demo.diagnose.notes import SECTIONS, Wording, is_own, note_text, parse_note, read_note, write_note
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.components import Choice
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.shared.speech import QUIET, Told
from vit_demo.ui.tabs.diagnose.answer_html import View
from vit_demo.ui.tabs.diagnose.shared import Shared


def build(shared: Shared, said: gr.JSON) -> gr.events.Dependency:
    """Lay out the part, folded, for a person's own models alone. Inputs: what the parts of the tab share,
    what was said last.

    Returns the event of saving, after which the answer can be told again with the new facts.
    """
    speech = shared.speech
    with speech(
        gr.Accordion, label=Told("diagnose.edit.title"), open=False, visible=False, elem_id="diagnose-edit"
    ) as fold:
        label = speech(
            Choice,
            choices=[],
            label=Told("diagnose.edit.class"),
            filterable=False,
            elem_id="diagnose-edit-class",
        )
        text = speech(
            gr.Textbox,
            value="",
            lines=12,
            max_lines=30,
            label=Told("diagnose.edit.text"),
            info=Told("diagnose.edit.how"),
            elem_id="diagnose-edit-text",
        )
        # The language that the text was opened in: the page may be switched to another before it is saved.
        spoken = gr.State(DEFAULT_LANGUAGE)
        save = speech(
            gr.Button, value=Told("diagnose.edit.save"), variant="primary", elem_id="diagnose-edit-save"
        )
        told = gr.HTML("", elem_id="diagnose-edit-told")
    shared.model.change(offer, shared.model, fold, **QUIET)
    fold.expand(open_all, [shared.model, said], [label, text, spoken, told], **QUIET)
    label.input(open_one, [shared.model, label], [text, spoken, told], **QUIET)
    return save.click(write, [shared.model, label, text, spoken], told, **QUIET)


def offer(model: str) -> dict:
    """Inputs: model. Outputs: the part, folded, and shown where the notes of this model are a person's
    own.
    """
    return gr.update(visible=_own(model) is not None, open=False)


def open_all(model: str, said: dict | None) -> tuple:
    """Inputs: model, what was said last. Outputs: classes with that of the answer chosen, its note, language
    of the note, nothing told.
    """
    classifier = _own(model)
    if classifier is None:
        return gr.update(choices=[], value=None), "", current_language(), ""
    answered = (said or {}).get("answer", {}).get("label")
    label, view = answered if answered in classifier.labels else classifier.labels[0], View(classifier)
    return gr.update(
        choices=[(view.title(name), name) for name in classifier.labels], value=label
    ), *open_one(model, label)


def open_one(model: str, label: str | None) -> tuple[str, str, str]:
    """Inputs: model, class. Outputs: its note as text, language of the note, nothing told."""
    classifier, language = _own(model), current_language()
    note = read_note(classifier.checkpoint.folder, label, language) if classifier and label else None
    # A note in another language is no note in this one.
    return note_text(note if note and note.language == language else None, wording(language)), language, ""


def write(model: str, label: str | None, text: str, spoken: str) -> str:
    """Inputs: model, class, text, language of the text. Outputs: that it is saved, or why it is not."""
    classifier = _own(model)
    try:
        if classifier is None or label not in classifier.labels:
            raise UserError("error.page.notes")
        write_note(Path(classifier.checkpoint.folder), label, spoken, parse_note(text or "", wording(spoken)))
    except UserError as error:
        return render("diagnose/notes#failed", why=error)
    return render("diagnose/notes#saved", label=View(classifier).title(label))


def wording(language: str) -> Wording:
    """How a note is written in a language."""
    return Wording(
        {name: say(f"notes.{name}", language) for name in SECTIONS},
        say("diagnose.edit.source", language, name="{name}"),
    )


def _own(model: str) -> LeafClassifier | None:
    """The model, where its notes are a person's own."""
    try:
        classifier = get_classifier(model)
    except UserError:
        return None
    return classifier if is_own(classifier.checkpoint) else None
