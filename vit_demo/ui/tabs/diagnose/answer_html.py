"""What the Diagnose tab shows of an answer, in the current language."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from vit_demo.common.words import capital, current_language, joined, percent_in, say
from vit_demo.diagnose.diagnosis import Diagnosis
from vit_demo.diagnose.notes import Note, read_note
from vit_demo.diagnose.telling import class_name
from vit_demo.explain.attribution.methods import DEFAULT
from vit_demo.model.abstention import Verdict
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.html import render


@dataclass(frozen=True)
class View:
    """Who answers, and how that calls things in the current language."""

    classifier: LeafClassifier

    def name(self, label: str) -> str:
        """A class in a sentence: translated for the embedded model, as they are called for others."""
        return class_name(self.classifier, label, current_language())

    def title(self, label: str) -> str:
        return capital(self.name(label))

    def either(self, labels: Iterable[str]) -> str:
        """Classes one of which it is, as a list in a sentence."""
        return joined(map(self.name, labels), "diagnose.or", current_language())

    def listed(self, labels: Iterable[str]) -> str:
        """All these classes, in the order of their names, as a list in a sentence."""
        return joined(sorted(map(self.name, labels)), "diagnose.comma", current_language())

    def titled(self, scores: dict[str, float]) -> dict[str, float]:
        return {self.title(label): share for label, share in scores.items()}

    def percent(self, share: float) -> str:
        return percent_in(current_language(), share)


class Headline(NamedTuple):
    """What is read first. label: in large type; kicker and below: before and below it."""

    kicker: str
    label: str
    below: str


def empty(text: str) -> Markup:
    return render("diagnose/answer#empty", text=text)


def refused(why: object, key: str = "diagnose.refused") -> Markup:
    """why: what says in the current language why there is no answer. key: of what stands before it."""
    return render("diagnose/answer#refused", key=key, why=why)


def answer_html(view: View, answer: Diagnosis) -> Markup:
    """What is wrong with the photo, the answer in large type, or that there is none; all classes and what to
    do folded below it.
    """
    kind, notes = answer.verdict or Verdict.DIAGNOSIS, notes_on(view, _suspected(answer))
    return render(
        "diagnose/answer#answer",
        view=view,
        answer=answer,
        kind=kind,
        headline=_headline(view, answer),
        notes=notes,
    )


def _headline(view: View, answer: Diagnosis) -> Headline:
    """A class and its probability, the classes that are left, or that this is none of them."""
    if answer.verdict == Verdict.NOT_KNOWN:
        return Headline(
            say("diagnose.not_known"), say("diagnose.not_known_label"), say("diagnose.not_known_note")
        )
    if answer.verdict == Verdict.UNSURE:
        left = say("diagnose.either", labels=view.either(answer.prediction_set or []))
        return Headline(
            say("diagnose.unsure"), left, say("diagnose.unsure_note", several=say("diagnose.several"))
        )
    probability = say("diagnose.probability", percent=view.percent(answer.probability))
    return Headline(say("diagnose.most_likely"), view.title(answer.label), probability)


def _suspected(answer: Diagnosis) -> list[str]:
    left: dict[str | None, list[str]] = {Verdict.NOT_KNOWN: [], Verdict.UNSURE: answer.prediction_set or []}
    return left.get(answer.verdict, [answer.label])


def notes_on(view: View, labels: list[str]) -> list[tuple[str, Note, list[str]]]:
    """Title, note and sources of what it may be; nothing for what is not known."""
    notes = []
    for label in labels:
        note = read_note(view.classifier.checkpoint.folder, label, current_language())
        if note is not None:
            title = say("notes.title") if len(labels) == 1 else say("notes.title_for", label=view.name(label))
            notes.append(
                (
                    title,
                    note,
                    list(
                        dict.fromkeys(
                            fact.source for facts in note.sections.values() for fact in facts if fact.source
                        )
                    ),
                )
            )
    return notes


def where_note(view: View, answer: Diagnosis) -> str:
    """What the map beside the answer means; nothing where there is no answer and so no map."""
    return (
        ""
        if answer.verdict == Verdict.NOT_KNOWN
        else render("diagnose/answer#where", label=view.name(answer.label), method=DEFAULT)
    )
