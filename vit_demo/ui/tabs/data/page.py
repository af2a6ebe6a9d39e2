"""The Data tab as a whole: the data set on top, a view for each question below it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from vit_demo.common import settings
from vit_demo.data.names import BEANS, REVIEW
from vit_demo.ui.shared.components import polite
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.speech import Speech, Told
from vit_demo.ui.tabs.data import bring, browse, check, statistics
from vit_demo.ui.tabs.data.check_html import listed
from vit_demo.ui.tabs.data.opened import Opened, open_source, opened, sources

# Run in the browser: the source where photos are shown already, or where the statistics are being looked at,
# else nothing. So only who looks at the statistics has them computed.
IF_PHOTOS_SHOWN = "source => document.querySelector('#data-gallery button') ? source : null"
IF_STATISTICS_OPEN = "source => document.getElementById('data-statistics')?.offsetParent ? source : null"


def build(tab: gr.Tab, model: gr.Dropdown, speech: Speech) -> gr.HTML:
    """Lay out the tab. Inputs: the tab; the page's model list, whose processor is shown at work; its speech.
    Returns the Check view, see there.
    """
    with gr.Row(equal_height=True):
        source = speech(
            gr.Dropdown,
            choices=Told(sources),
            value=BEANS,
            label=Told("data.photos_of"),
            info=Told("data.photos_info"),
            allow_custom_value=True,
            elem_id="data-source",
            scale=5,
        )
        open_button = speech(
            gr.Button, value=Told("data.open"), size="sm", scale=1, min_width=90, elem_id="data-open"
        )
    summary = gr.HTML(padding=False, elem_id="data-summary")
    with gr.Tabs(elem_id="data-views") as views:
        with speech(gr.Tab, label=Told("data.browse"), id="browse", elem_id="data-view-browse") as browse_tab:
            photos = browse.build(speech)
        with speech(
            gr.Tab, label=Told("data.statistics"), id="statistics", elem_id="data-view-statistics"
        ) as statistics_tab:
            shown = statistics.build(speech)
        with speech(gr.Tab, label=Told("data.check"), id="check", elem_id="data-view-check") as check_tab:
            checked = check.build(speech, check_tab, source, model, [source.input, open_button.click])
        brought = []
        # Not for strangers: what they bring would fill the disk, and they could delete what others brought.
        if settings.load().review:
            with speech(gr.Tab, label=Told("data.bring"), id="bring", elem_id="data-view-bring") as bring_tab:
                brought = bring.build(speech, bring_tab, views, source)
    # always_last: a filter changed while the page is still drawing the one before must not be lost.
    quiet: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "minimal",
        "trigger_mode": "always_last",
    }
    # In its own right, since whatever is sent to a view that was never opened makes the whole tab report anew
    # that it was chosen.
    count = {**quiet, "show_progress": "hidden", "concurrency_limit": statistics.AT_ONCE}
    for trigger in (source.input, open_button.click, *brought):
        trigger(polite(open_photos), source, [summary, photos], **quiet).success(
            statistics.show, source, shown, js=IF_STATISTICS_OPEN, **count
        )
    photos.select(polite(look), [source, model], [summary, photos], concurrency_limit=browse.AT_ONCE, **quiet)
    browse_tab.select(polite(browse.news), source, photos, js=IF_PHOTOS_SHOWN, **quiet)
    statistics_tab.select(statistics.show, source, shown, **count)
    # Opened when the tab is first looked at; coming back finds it as it was left, but for corrections that
    # came in between.
    tab.select(polite(open_first), [source, summary], [summary, photos], **quiet)
    tab.select(lambda: gr.update(choices=sources()), None, source, **quiet)
    return checked


def open_first(source: str, summary: str) -> tuple:
    """Inputs: source, the summary as it stands. Outputs: as open_photos; where they are open already, only
    what can be chosen by now.
    """
    return (
        open_photos(source)
        if not summary or (source or "").strip() == REVIEW
        else (gr.skip(), browse.news(source))
    )


def open_photos(source: str) -> tuple:
    """Inputs: source. Outputs: what it holds in one line, the first page of photos."""
    one = open_source(source)
    return _summary(one), browse.first(one)


def look(source: str, model: str, event: gr.EventData) -> tuple:
    """Inputs: source, model, what the script of Browse asks for. Outputs: what the photos hold in one line
    where it may be another one, what is drawn.
    """
    answer = browse.look(source, model, event)
    return _summary(opened(source, answer["asked"]["key"])) if "fields" in answer else gr.skip(), answer


def _summary(one: Opened) -> str:
    counts = {split: sum(labels.values()) for split, labels in one.catalogue.counts().items()}
    splits = listed(f"{split} {count:,}" for split, count in counts.items())
    return render(
        "data/pieces#summary", photos=len(one.catalogue), classes=len(one.catalogue.labels), splits=splits
    )
