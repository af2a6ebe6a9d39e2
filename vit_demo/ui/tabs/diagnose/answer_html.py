"""What the Diagnose tab shows of an answer, in any of its languages."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from vit_demo.common.words import capital, joined, percent_in, say
from vit_demo.diagnose.diagnosis import Diagnosis
from vit_demo.diagnose.notes import Fact, Note, read_note
from vit_demo.diagnose.telling import class_name
from vit_demo.explain.attribution.methods import DEFAULT
from vit_demo.model.abstention import Verdict
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.components import bars
from vit_demo.ui.shared.refusal import why_html


@dataclass(frozen=True)
class View:
    """Who answers, and in which language the answer is shown."""

    classifier: LeafClassifier
    language: str

    def say(self, key: str, **values: str) -> str:
        """One text, safe to put into HTML."""
        return escape(say(key, self.language, **values))

    def name(self, label: str) -> str:
        """A class in a sentence: translated for the embedded model, as they are called for others."""
        return class_name(self.classifier, label, self.language)

    def title(self, label: str) -> str:
        return capital(self.name(label))

    def percent(self, share: float) -> str:
        return percent_in(self.language, share)


def empty(language: str, key: str = "diagnose.empty") -> str:
    return f'<div class="answer answer-empty" lang="{language}">{escape(say(key, language))}</div>'


def refused(why: str, language: str, key: str = "diagnose.refused") -> str:
    """why: the sentence of the UserError, which is English. key: of what stands before it."""
    return (
        f'<div class="answer answer-refused" role="alert" lang="{language}"><p><b>{escape(say(key, language))}</b></p>'
        f"<p>{why_html(why, language)}</p></div>"
    )


def answer_html(view: View, answer: Diagnosis) -> str:
    """What is wrong with the photo, the answer in large type, or that there is none; all classes and what to do folded below it."""
    names = joined(sorted(view.name(label) for label in answer.scores), "diagnose.comma", view.language)
    considered = bars({view.title(label): share for label, share in answer.scores.items()}, view.percent)
    if answer.verdict == Verdict.NOT_KNOWN:
        considered = f'<p>{view.say("diagnose.would_be", label=view.name(answer.label))}</p>{considered}'
    quality = "".join(f'<p class="answer-quality">{view.say(f"quality.{problem}")}</p>' for problem in answer.quality)
    return (
        f'<div class="answer answer-{answer.verdict or Verdict.DIAGNOSIS}" role="status" lang="{view.language}">'
        + quality + _headline(view, answer) + notes_html(view, _suspected(answer))
        + folded(view.say("diagnose.all"), considered, "answer-scores")
        + f'<p class="answer-limits">{view.say("diagnose.limits", labels=names)}</p></div>'
    )


def _headline(view: View, answer: Diagnosis) -> str:
    """What is read first: a class and its probability, the classes that are left, or that this is none of them."""
    if answer.verdict == Verdict.NOT_KNOWN:
        kicker, label, below = view.say("diagnose.not_known"), view.say("diagnose.not_known_label"), view.say("diagnose.not_known_note")
    elif answer.verdict == Verdict.UNSURE:
        left = joined(map(view.name, answer.prediction_set), "diagnose.or", view.language)
        kicker, label = view.say("diagnose.unsure"), view.say("diagnose.either", labels=left)
        below = view.say("diagnose.unsure_note", several=say("diagnose.several", view.language))
    else:
        kicker, label = view.say("diagnose.most_likely"), escape(view.title(answer.label))
        below = view.say("diagnose.probability", percent=view.percent(answer.probability))
    return f'<div class="answer-kicker">{kicker}</div><div class="answer-label">{label}</div><div class="answer-below">{below}</div>'


def _suspected(answer: Diagnosis) -> list[str]:
    return {Verdict.NOT_KNOWN: [], Verdict.UNSURE: answer.prediction_set}.get(answer.verdict, [answer.label])


def notes_html(view: View, labels: list[str]) -> str:
    """The notes on what it may be, folded; nothing for what is not known."""
    html = ""
    for label in labels:
        note = read_note(view.classifier.checkpoint.folder, label, view.language)
        title = view.say("notes.title") if len(labels) == 1 else view.say("notes.title_for", label=view.name(label))
        html += "" if note is None else folded(title, note_html(view, note), "answer-note")
    return html


def where_note(view: View, answer: Diagnosis) -> str:
    """What the map beside the answer means; nothing where there is no answer and so no map."""
    if answer.verdict == Verdict.NOT_KNOWN:
        return ""
    return view.say("diagnose.where_note", label=view.name(answer.label), method=say(f"diagnose.method.{DEFAULT}", view.language))


def folded(title: str, content: str, kind: str) -> str:
    """HTML that opens with a touch of its title. title, content: HTML."""
    return f'<details class="{kind}"><summary>{title}</summary><div class="details-body">{content}</div></details>'


def note_html(view: View, note: Note) -> str:
    """The note on a class, section by section, and below it where each fact is written."""
    sources = list(dict.fromkeys(fact.source for facts in note.sections.values() for fact in facts if fact.source))
    html = "".join(
        f"<h4>{view.say(f'notes.{name}')}</h4><ul lang=\"{escape(note.language)}\">" + "".join(_fact(fact, sources) for fact in facts) + "</ul>"
        for name, facts in note.sections.items()
    )
    if sources:
        listed = "".join(f"<li>{escape(source)}</li>" for source in sources)
        html += f'<h4>{view.say("notes.sources")}</h4><ol class="note-sources">{listed}</ol>'
    return html


def _fact(fact: Fact, sources: list[str]) -> str:
    number = f"\N{NO-BREAK SPACE}<sup>{sources.index(fact.source) + 1}</sup>" if fact.source else ""
    return f"<li>{escape(fact.text)}{number}</li>"
