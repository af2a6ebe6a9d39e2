"""What all views of Look inside share: one photo, one model, and the forward of the one through the other."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component
from PIL import Image

from vit_demo.diagnose.photos import open_photo
from vit_demo.explain.internals.trace import Trace, trace
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.components import polite
from vit_demo.ui.shared.models import get_classifier

# Traces of so many photos are kept for the next click; of a large model at a high resolution one has some 200 MB.
KEEP = 2
NO_PHOTO = "Choose a photo first."
_lock = threading.Lock()


@dataclass(frozen=True)
class Look:
    """One photo in one model. picture: the upright photo as it came. seen: the photo as the model gets it, its own size."""

    classifier: LeafClassifier
    picture: Image.Image
    seen: Image.Image
    trace: Trace


def look(model: str, photo: str) -> Look:
    """The photo's way through the model; computed once, then kept. model: as the page's model list names it. photo: a file."""
    with _lock:  # two views that open at once must not compute the same
        return _look(get_classifier(model), photo, os.stat(photo).st_mtime_ns)


@functools.lru_cache(maxsize=KEEP)
def _look(classifier: LeafClassifier, photo: str, _changed: int) -> Look:
    picture = open_photo(photo)
    seen = classifier.resize([picture])[0].permute(1, 2, 0).numpy()
    return Look(classifier, picture, Image.fromarray(seen), trace(classifier, picture))


@dataclass(frozen=True)
class Scene:
    """The widgets that all views look at. page: the Look inside tab. active: id of the view that is open.
    wanted: by the id of a view, a hidden text that changes when that view, being open, has another photo or model to show.
    diagnose: the photo of the Diagnose tab, for a view that hands photos over.
    """

    page: gr.Tab
    photo: Component
    model: gr.Dropdown
    active: gr.Textbox
    wanted: dict[str, gr.Textbox]
    diagnose: Component | None = None

    def draw(self, view: gr.Tab, callback: Callable, settings: list[Component], outputs: list[Component]) -> None:
        """Draw a view when it is opened, and while it is open when photo or model change; nothing is done for the others.

        callback: (photo, model, *settings) -> one value for each of ``outputs``. It is not called without a photo.
        """
        drawn = gr.Textbox(visible=False)

        @functools.wraps(callback)
        def guarded(before: str, photo: str | None, model: str, *chosen: object) -> tuple:
            now = f"{photo}\n{model}"
            if photo is None or now == before:
                return (gr.skip(),) * (len(outputs) + 1)
            found = callback(photo, model, *chosen)
            return now, *(found if len(outputs) > 1 else (found,))

        del guarded.__wrapped__  # gradio would count the arguments of the callback
        inputs = [drawn, self.photo, self.model, *settings]
        # always_last: the photo that came last counts.
        options = {"api_visibility": "private", "show_progress": "minimal", "trigger_mode": "always_last"}
        gr.on(self.wanted[view.id].change, polite(guarded), inputs, [drawn, *outputs], **options)
