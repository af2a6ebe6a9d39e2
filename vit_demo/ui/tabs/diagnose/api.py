"""The Diagnose tab for programs: named endpoints that answer with JSON, which are tools for assistants (MCP)
too. See docs/api.md.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import gradio as gr

from vit_demo.common.errors import UserError
from vit_demo.common.words import DEFAULT_LANGUAGE, LANGUAGES, speaking
from vit_demo.diagnose.batch import Answer, Ask, Item, as_dict, diagnose_batches, walk
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal, diagnose_files
from vit_demo.diagnose.several import combine
from vit_demo.diagnose.telling import told, told_together
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.ui.shared.components import told as shown
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.tabs.diagnose import sent_files
from vit_demo.ui.tabs.diagnose.many_jobs import MOST
from vit_demo.ui.tabs.diagnose.several import ask

# What only one photo has.
OF_ONE = ("photo", "temperature", "distance", "quality")


def build() -> None:
    """The named endpoints /diagnose and /diagnose_batch: the same answers as on the page."""
    photo, photos = sent_files.build()
    model = gr.Textbox(EMBEDDED, visible=False, label="model")
    language = gr.Textbox(DEFAULT_LANGUAGE, visible=False, label="language")
    answer = gr.JSON(visible=False, label="diagnosis")
    ask_one, ask_many = gr.Button(visible=False), gr.Button(visible=False)
    ask_one.click(diagnose, [photo, model, language, photos], answer, api_name="diagnose")
    ask_many.click(diagnose_batch, [photos, model, language], answer, api_name="diagnose_batch")


def diagnose(
    photo: str | None = None,
    model: str = EMBEDDED,
    language: str = DEFAULT_LANGUAGE,
    photos: list[str] | None = None,
) -> dict:
    """Diagnose a bean leaf from a photo, or one plant from photos of up to 12 of its leaves.

    Bean rust, angular leaf spot or healthy; or that it is none of these, with the verdict "not_known". A
    photo is no laboratory test.

    Args:
        photo: A photo file of one leaf.
        model: Which model answers: "embedded", or a model folder or name as the command line takes it.
        language: Of the text: en, zh, fr, sw, es or pt.
        photos: Photo files of other leaves of the same plant, up to 12 in all.

    Returns:
        verdict: diagnosis, unsure, not_known, or mixed (the leaves differ). label, probability (0 to 1),
        scores of every class (summing to 1). prediction_set: classes that are left. text: the answer in
        words, and its language. counts: leaves that are sure of each class. voted: leaves that the answer
        rests on. leaves: the answer for each photo; of one that cannot be used only photo and error. photo,
        temperature, distance (above 1 is not known) and quality (what is wrong with the photo): of a single
        photo, else null.
    """
    with _answering(language):
        files = sent_files.files(photo, photos)
        classifier = get_classifier(model)
        found = combine(ask(classifier, files))
        answer = {**dict.fromkeys(OF_ONE), **told_together(classifier, found, language)}
        answer["leaves"] = [
            _in_words(leaf, said) for leaf, said in zip(found.leaves, answer["leaves"], strict=True)
        ]
        one = found.leaves[0]
        # Of a single photo all is as it is by itself: a model that was never taught when to be silent has no
        # verdict.
        return (
            {**answer, **told(classifier, one, language)}
            if len(files) == 1 and isinstance(one, Diagnosis)
            else answer
        )


def diagnose_batch(
    photos: list[str] | None = None, model: str = EMBEDDED, language: str = DEFAULT_LANGUAGE
) -> list[dict]:
    """Diagnose many photos of bean leaves, each by itself.

    Args:
        photos: Photo files, or zip files of photos, up to 5000 photos in all.
        model: Which model answers: "embedded", or a model folder or name as the command line takes it.
        language: Of the texts: en, zh, fr, sw, es or pt.

    Returns:
        An object for each photo, in their order: photo (its name), verdict, label, probability (0 to 1),
        scores, prediction_set, temperature, distance, quality, language and text. Of a file that cannot be
        used only photo, error and language.
    """
    with _answering(language):
        files = sent_files.files(None, photos)
        classifier = get_classifier(model)
        if not any(True for _ in _items(files)) or any(
            True for _ in itertools.islice(_items(files), MOST, None)
        ):
            raise UserError("error.page.batch", most=MOST)
        asking = cast(Ask, lambda paths: diagnose_files(classifier, paths))
        batches = diagnose_batches(asking, _items(files))
        return [
            _in_words(answer, as_dict(classifier, answer, language))
            for batch in batches
            for answer, _ in batch
        ]


def _in_words(answer: Answer, said: dict) -> dict:
    """The answer with its error, where it is one, in the current language, as its text is."""
    return {**said, "error": answer.why} if isinstance(answer, Refusal) else said


def _items(files: list[str]) -> Iterator[Item]:
    """The photos, by the names that they had where they come from."""
    for file in files:
        yield from (replace(item, name=item.name[len(str(Path(file).parent)) + 1 :]) for item in walk([file]))


@contextlib.contextmanager
def _answering(language: str) -> Iterator[None]:
    """Within, texts are in the language that was asked for, and so is what a UserError becomes; one that we
    do not have is refused.
    """
    with speaking(language if language in LANGUAGES else DEFAULT_LANGUAGE):
        try:
            if language not in LANGUAGES:
                raise UserError("error.page.language", language=language, known=", ".join(LANGUAGES))
            yield
        except UserError as error:
            raise shown(error) from None
