"""The Fine-tune tab: settings on the left, the run on the right."""

from __future__ import annotations

import importlib
import importlib.util

import gradio as gr

from vit_demo.ui.components import polite
from vit_demo.ui.tabs.finetune import form, live

TICK_SECONDS = 1.0


def build(tab: gr.Tab, model_in_use: gr.Dropdown) -> gr.Timer:
    """Lay out the tab. Inputs: the tab; the page's model list, set by "use this model". Outputs: the timer of the live view."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            settings = form.build(tab)
        with gr.Column(scale=3, min_width=300):
            shown = live.build(model_in_use)
            for title, name in (("What it reached", "result"), ("Where it looked while it learned", "film")):
                if importlib.util.find_spec(f"{__name__}.{name}"):
                    with gr.Accordion(title, open=name == "result"):
                        importlib.import_module(f"{__name__}.{name}").build(shown.run, shown.moment)
    timer = gr.Timer(TICK_SECONDS, active=False)
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    settings.start.click(polite(form.begin), settings.inputs, shown.run, api_visibility="private").success(live.refresh, shown.inputs, shown.outputs, **quiet)
    timer.tick(live.refresh, shown.inputs, shown.outputs, **quiet)
    tab.select(live.offer_runs, shown.run, shown.run, **quiet).then(live.refresh_anew, shown.run, shown.outputs, **quiet)
    return timer
