"""The Fine-tune tab: start and watch a run, the list of all runs, several compared, and a model tried out."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from vit_demo.ui.shared.components import polite
from vit_demo.ui.shared.speech import Speech, Told
from vit_demo.ui.tabs.finetune import across, compare, form, live, runlist

# Each tick makes the browser look at every widget of the page: more often would keep a phone busy for
# nothing.
TICK_SECONDS, LIST_SECONDS = 2.0, 6.0


@dataclass(frozen=True)
class FineTune:
    """What the page needs of the tab. timers: run only while it is looked at. run: the id of the run shown.
    photos: what the next run learns from.
    """

    timers: list[gr.Timer]
    run: gr.Dropdown
    photos: gr.components.Component


def build(tab: gr.Tab, model_in_use: gr.Dropdown, speech: Speech) -> FineTune:
    """Lay out the tab. Inputs: the tab; the page's model list, set by "use this model"; its speech."""
    with gr.Tabs(elem_id="train-parts") as parts:
        with (
            speech(gr.Tab, label=Told("train.tab.train"), id="train") as train_tab,
            gr.Row(equal_height=False),
        ):
            with gr.Column(scale=2, min_width=300):
                settings = form.build(tab, speech)
            with gr.Column(scale=3, min_width=300):
                shown = live.build(model_in_use, speech)
        with speech(gr.Tab, label=Told("train.tab.runs"), id="runs") as list_tab:
            listed = runlist.build(list_tab, shown, speech)
        with speech(gr.Tab, label=Told("train.tab.compare"), id="compare") as compare_tab:
            compared = compare.build(compare_tab, shown, speech)
        with speech(gr.Tab, label=Told("train.tab.across"), id="across") as across_tab:
            across.build(across_tab, speech)
    timers = [gr.Timer(TICK_SECONDS, active=False), gr.Timer(LIST_SECONDS, active=False)]
    # The new run is chosen by its id, which then brings its view.
    settings.start.click(polite(form.begin), settings.inputs, shown.run, api_visibility="private").success(
        None, None, None, js=live.SCROLL_TO_RUN
    )
    timers[0].tick(live.refresh, shown.inputs, shown.outputs, **live.QUIET)
    timers[1].tick(runlist.refresh, listed.refresh_inputs, listed.refresh_outputs, **live.QUIET)
    shows = listed.show.click(lambda: gr.Tabs(selected="train"), None, parts, **live.QUIET)
    shows.then(None, None, None, js=live.FIT_PLOTS).then(None, None, None, js=live.SCROLL_TO_RUN)
    listed.compare.click(compare.add, [compared, shown.run], compared, **live.QUIET).then(
        lambda: gr.Tabs(selected="compare"), None, parts, **live.QUIET
    )
    tab.select(live.come_back, shown.run, shown.run, **live.QUIET)
    gr.on([tab.select, train_tab.select], None, None, None, js=live.FIT_PLOTS)
    return FineTune(timers, shown.run, settings.fields["data"])
