"""The Diagnose tab for programs: named endpoints that answer with JSON."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from vit_demo.diagnose.diagnosis import diagnose
from vit_demo.diagnose.photos import open_photo
from vit_demo.ui.components import photo_input, polite
from vit_demo.ui.models import get_classifier


def build() -> None:
    """The named endpoint /diagnose: the same answer as on the page."""
    photo = photo_input(visible=False, label="photo")
    model = gr.Textbox("embedded", visible=False, label="model")
    answer = gr.JSON(visible=False, label="diagnosis")
    gr.Button(visible=False).click(polite(diagnose_api), [photo, model], answer, api_name="diagnose")


def diagnose_api(photo: str, model: str = "embedded") -> dict:
    """Diagnose one leaf photo.

    Inputs: a photo file; a model as the command line takes it.
    Outputs: photo (file name), label, probability (0 to 1), scores of every class (summing to 1); verdict (diagnosis, unsure
    or not_known), prediction_set (classes that are left), temperature and distance (above 1 is not known), or null.
    """
    if photo is None:
        raise gr.Error("Send a photo file.", print_exception=False)
    return diagnose(get_classifier(model), open_photo(photo), Path(photo).name).to_dict()
