"""The tab as a whole: a view for one leaf, one for several of a plant and one for many photos."""

from __future__ import annotations

import gradio as gr

from vit_demo.ui.shared.components import PhotoInput
from vit_demo.ui.shared.speech import Speech, Told
from vit_demo.ui.tabs.diagnose import api, many, one, several
from vit_demo.ui.tabs.diagnose.shared import Shared


def build(model: gr.Dropdown, speech: Speech, examples: list[str]) -> PhotoInput:
    """Lay out the tab. Inputs: the page's model list, its speech, example photos. Returns the photo that is
    diagnosed.
    """
    shared = Shared(model, speech)
    speech(gr.Markdown, value=Told("diagnose.lead"), elem_id="diagnose-lead")
    with gr.Tabs(elem_id="diagnose-views"):
        with speech(gr.Tab, label=Told("diagnose.one"), id="one"):
            photo = one.build(shared, examples)
        with speech(gr.Tab, label=Told("diagnose.several"), id="several"):
            several.build(shared)
        with speech(gr.Tab, label=Told("diagnose.many"), id="many"):
            many.build(shared)
    api.build()
    return photo
