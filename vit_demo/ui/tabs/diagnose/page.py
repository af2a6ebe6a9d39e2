"""The tab as a whole: the language, and a view for one leaf, one for several of a plant and one for many photos."""

from __future__ import annotations

import gradio as gr

from vit_demo.text.words import DEFAULT_LANGUAGE, LANGUAGES, pick_language, say
from vit_demo.ui.shared.components import PhotoInput
from vit_demo.ui.tabs.diagnose import api, many, one, several
from vit_demo.ui.tabs.diagnose.asked import QUIET, Asked


def build(page: gr.Blocks, model: gr.Dropdown, examples: list[str]) -> PhotoInput:
    """Lay out the tab. Inputs: the page, its model list, example photos. Returns the photo that is diagnosed."""
    remembered = gr.BrowserState("", storage_key="vit_demo.language", secret="vit_demo")
    with gr.Row(elem_id="diagnose-head"):
        lead = gr.Markdown(say("diagnose.lead"), elem_id="diagnose-lead")
        language = gr.Dropdown(
            [(say("language", code), code) for code in LANGUAGES], value=DEFAULT_LANGUAGE, label=say("diagnose.language"), container=False,
            filterable=False, scale=0, min_width=150, elem_id="diagnose-language",
        )
    asked = Asked(page, model, language)
    asked.speaks(lead, lambda code: say("diagnose.lead", code))
    asked.speaks(language, lambda code: gr.update(label=say("diagnose.language", code)))
    with gr.Tabs(elem_id="diagnose-views"):
        with gr.Tab(say("diagnose.one"), id="one") as tab:
            asked.speaks(tab, lambda code: gr.update(label=say("diagnose.one", code)))
            photo = one.build(asked, examples)
        with gr.Tab(say("diagnose.several"), id="several") as tab:
            asked.speaks(tab, lambda code: gr.update(label=say("diagnose.several", code)))
            several.build(asked)
        with gr.Tab(say("diagnose.many"), id="many") as tab:
            asked.speaks(tab, lambda code: gr.update(label=say("diagnose.many", code)))
            many.build(asked)
    asked.wire()
    language.input(None, language, remembered, js="code => code", **QUIET)
    page.load(restore_language, remembered, language, **QUIET)
    api.build()
    return photo


def restore_language(remembered: str, request: gr.Request) -> str:
    """Inputs: the language chosen in this browser before, its headers. Outputs: that language, else the one the browser likes best."""
    return remembered if remembered in LANGUAGES else pick_language(request.headers.get("accept-language"))
