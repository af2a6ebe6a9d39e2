"""An answer in the words of a language, for the page, the command line and programs alike."""

from __future__ import annotations

from typing import Any

from vit_demo.common import settings
from vit_demo.common.words import DEFAULT_LANGUAGE, joined, label_title, percent_in, say, speaking, words
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal
from vit_demo.diagnose.several import Together
from vit_demo.model.abstention import Verdict
from vit_demo.model.classifier import LeafClassifier


def class_name(classifier: LeafClassifier, label: str, language: str) -> str:
    """A class in a sentence: translated for the embedded model, as they are called for others."""
    if classifier.checkpoint.folder == settings.EMBEDDED_MODEL:
        return words(language)[f"class.{label}"]
    with speaking(DEFAULT_LANGUAGE):
        return label_title(label)


def told(classifier: LeafClassifier, answer: Diagnosis, language: str) -> dict[str, Any]:
    """The answer as a dict, with the language and with "text", the answer as a sentence in it."""
    return {**answer.to_dict(), "language": language, "text": sentence(classifier, answer, language)}


def sentence(classifier: LeafClassifier, answer: Diagnosis, language: str) -> str:
    """What the photo shows: a class and its probability, the classes that are left, or that it is none of
    them.
    """
    if answer.verdict == Verdict.NOT_KNOWN:
        return say("diagnose.told.not_known", language)
    if answer.verdict == Verdict.UNSURE:
        left = joined(
            (class_name(classifier, label, language) for label in answer.prediction_set or ()),
            "diagnose.or",
            language,
        )
        return say("diagnose.told.unsure", language, labels=left)
    name, percent = class_name(classifier, answer.label, language), percent_in(language, answer.probability)
    return say("diagnose.told.diagnosis", language, label=name, percent=percent)


def told_together(classifier: LeafClassifier, found: Together, language: str) -> dict[str, Any]:
    """The answer for several leaves as a dict, each leaf as told() gives it, with the language and with
    "text".
    """
    leaves = [
        leaf.to_dict() if isinstance(leaf, Refusal) else told(classifier, leaf, language)
        for leaf in found.leaves
    ]
    return {
        **found.to_dict(),
        "leaves": leaves,
        "language": language,
        "text": sentence_together(classifier, found, language),
    }


def sentence_together(classifier: LeafClassifier, found: Together, language: str) -> str:
    """What the plant shows, and how many of its photos the answer rests on."""
    if found.verdict == Verdict.NOT_KNOWN:
        return f"{say('diagnose.not_known', language)}. {say('diagnose.several.not_known_note', language)}"
    if found.verdict == Verdict.MIXED:
        main = say("diagnose.told.mixed", language, counts="; ".join(counted(classifier, found, language)))
    else:
        main = sentence(classifier, as_one(found), language)
    return f"{main} {say('diagnose.told.from', language, count=found.voted, total=len(found.leaves))}"


def counted(classifier: LeafClassifier, found: Together, language: str) -> list[str]:
    """How many leaves are sure of each class, and of how many it is unclear, each in words."""
    unclear = found.voted - sum(found.counts.values())
    names = [(count, class_name(classifier, label, language)) for label, count in found.counts.items()]
    names += [(unclear, say("diagnose.told.unclear", language))] if unclear else []
    return [
        say("diagnose.told.count", language, count=count, total=found.voted, label=name)
        for count, name in names
    ]


def as_one(found: Together) -> Diagnosis:
    """The answer as that for one photo, where the leaves do not contradict each other."""
    return Diagnosis("", found.label, found.probability, found.scores, found.verdict, found.prediction_set)
