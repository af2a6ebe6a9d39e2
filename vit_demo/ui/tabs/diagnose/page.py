"""The tab as a whole: a view for one leaf, one for several of a plant and one for many photos."""

from __future__ import annotations

import gradio as gr

from vit_demo.common.words import say
from vit_demo.ui.shared.components import PhotoInput
from vit_demo.ui.shared.speech import Speech
from vit_demo.ui.tabs.diagnose import api, many, one, several
from vit_demo.ui.tabs.diagnose.asked import Asked


def build(model: gr.Dropdown, speech: Speech, examples: list[str]) -> PhotoInput:
    """Lay out the tab. Inputs: the page's model list, its speech, example photos. Returns the photo that is diagnosed."""
    asked = Asked(model, speech)
    lead = gr.Markdown(say("diagnose.lead"), elem_id="diagnose-lead")
    asked.speaks(lead, value=lambda code: say("diagnose.lead", code))
    with gr.Tabs(elem_id="diagnose-views"):
        with gr.Tab(say("diagnose.one"), id="one") as tab:
            asked.speaks(tab, label=lambda code: say("diagnose.one", code))
            photo = one.build(asked, examples)
        with gr.Tab(say("diagnose.several"), id="several") as tab:
            asked.speaks(tab, label=lambda code: say("diagnose.several", code))
            several.build(asked)
        with gr.Tab(say("diagnose.many"), id="many") as tab:
            asked.speaks(tab, label=lambda code: say("diagnose.many", code))
            many.build(asked)
    api.build()
    return photo
