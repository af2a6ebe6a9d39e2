"""What all views of Look inside share: one photo, one model, and the forward of the one through the other."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from vit_demo.common.words import DEFAULT_LANGUAGE, LANGUAGES, speaking
from vit_demo.diagnose.photos import open_photo
from vit_demo.explain.internals.trace import Trace, trace
from vit_demo.model.abstention import temperature_of
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.components import PhotoInput, polite
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.shared.speech import Speech

# Traces of so many photos are kept for the next click; of a large model at a high resolution one has some 200
# MB.
KEEP = 2
NO_PHOTO = "error.inside_tab.no_photo"
# What a person sets, or takes away: nothing to tell again.
WORDLESS = (gr.Slider, gr.Dropdown, gr.Radio, gr.Number, gr.Textbox, gr.DownloadButton)
_lock = threading.Lock()


@dataclass(frozen=True)
class Look:
    """One photo in one model. picture: the upright photo as it came. seen: the photo as the model gets it,
    its own size.
    """

    classifier: LeafClassifier
    picture: Image.Image
    seen: Image.Image
    trace: Trace


def look(model: str, photo: str) -> Look:
    """The photo's way through the model; computed once, then kept. model: as the page's model list names it.
    photo: a file.
    """
    with _lock:  # two views that open at once must not compute the same
        classifier = get_classifier(model)
        return _look(classifier, photo, os.stat(photo).st_mtime_ns, temperature_of(classifier))


@functools.lru_cache(maxsize=KEEP)
def _look(classifier: LeafClassifier, photo: str, _changed: int, temperature: float) -> Look:
    picture = open_photo(photo)
    seen = classifier.resize([picture])[0].permute(1, 2, 0).numpy()
    followed = trace(classifier, picture, temperature=temperature)
    return Look(classifier, picture, Image.fromarray(seen), followed)


@dataclass(frozen=True)
class Again:
    """How a drawn view is told in another language. callback: as that which draws it, by default the same.
    still: outputs in which there are no words.
    """

    callback: Callable | None = None
    still: Iterable[Component] = ()


AGAIN = Again()


@dataclass(frozen=True)
class Scene:
    """The widgets that all views look at. page: the Look inside tab. active: id of the view that is open.
    wanted: by the id of a view, a hidden text that changes when that view, being open, has another photo,
    model or language to show. speech: of the page. diagnose: the photo of the Diagnose tab, for a view that
    hands photos over.
    """

    page: gr.Tab
    photo: PhotoInput
    model: gr.Dropdown
    active: gr.Textbox
    wanted: dict[str, gr.Textbox]
    speech: Speech
    diagnose: Component | None = None

    def draw(
        self,
        view: gr.Tab,
        callback: Callable,
        settings: list[Component],
        outputs: list[Component],
        again: Again = AGAIN,
    ) -> None:
        """Draw a view when it is opened, and while it is open when photo, model or language change; nothing
        is done for the others.

        callback: (photo, model, *settings) -> one value for each of ``outputs``. It is not called without a
        photo. again: what is otherwise where only the language is another.
        """
        drawn = gr.Textbox(visible=False)
        wordless = [
            isinstance(one, WORDLESS) or any(one is other for other in again.still) for one in outputs
        ]

        @functools.wraps(callback)
        def guarded(
            before: str | None, language: str, photo: str | None, model: str, *chosen: object
        ) -> tuple:
            shown = f"{photo}\n{model}\n"
            if photo is None or shown + language == before:
                return (gr.skip(),) * (len(outputs) + 1)
            retold = (before or "").startswith(shown)
            with told_in(language):
                found = (again.callback or callback if retold else callback)(photo, model, *chosen)
            found = found if len(outputs) > 1 else (found,)
            return shown + language, *(
                without_value(one) if retold and quiet else one for one, quiet in zip(found, wordless)
            )

        del guarded.__wrapped__  # gradio would count the arguments of the callback
        inputs = [drawn, self.speech.language, self.photo, self.model, *settings]
        # always_last: the photo that came last counts.
        options: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "minimal",
            "trigger_mode": "always_last",
        }
        gr.on(self.wanted[str(view.id)].change, polite(guarded), inputs, [drawn, *outputs], **options)


def touched(event: gr.SelectData) -> str | None:
    """The elem_id of the picture that was clicked."""
    return None if event.target is None else event.target.elem_id


def told_in(language: str) -> contextlib.AbstractContextManager:
    """Within, texts are in the language that the page has chosen, which the server may hear of only later."""
    return speaking(language if language in LANGUAGES else DEFAULT_LANGUAGE)


def without_value(update: Any) -> Any:
    """An output that leaves the value as it is on the page."""
    return (
        {name: option for name, option in update.items() if name != "value"}
        if isinstance(update, dict) and "__type__" in update
        else gr.skip()
    )
