"""The Look-inside tab as a whole: the photo on top, a view for each idea below it."""

from __future__ import annotations

import gradio as gr
from gradio.components import Component

from vit_demo.ui.shared.components import photo_input
from vit_demo.ui.shared.speech import Speech, Told
from vit_demo.ui.tabs.inside import attention, embedding_map, layers, positions, tokens, why
from vit_demo.ui.tabs.inside.scene import Scene

# In the order in which they stand on the page; each is drawn when it is opened.
VIEWS = (why, tokens, positions, attention, layers, embedding_map)
# Run in the browser: the open view wants what is chosen now, the others what they had.
WANT = f"""(active, photo, model, language, ...before) =>
    {[view.ID for view in VIEWS]}.map((id, number) =>
        id === active ? `${{photo ? photo.path : ""}} ${{model}} ${{language}}` : before[number])"""
# The same where only the language is another: a view that was never opened, or cannot be seen now, has time
# until it is opened.
WANT_WORDS = f"""(active, photo, model, language, ...before) =>
    document.getElementById('inside-views')?.offsetParent ? {[view.ID for view in VIEWS]}.map((id, number) =>
        id === active && before[number]
            ? `${{photo ? photo.path : ""}} ${{model}} ${{language}}` : before[number])
    : before"""


def build(
    tab: gr.Tab, model: gr.Dropdown, speech: Speech, example: str, diagnose: Component | None = None
) -> None:
    """Lay out the tab. Inputs: the tab, the page's model list, its speech, a photo to begin with, the photo
    of the Diagnose tab.
    """
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=260):
            photo = speech(
                photo_input, value=example, label=Told("inside.photo"), height=250, elem_id="inside-photo"
            )
        with gr.Column(scale=2, min_width=300):
            speech(gr.Markdown, value=Told("inside.intro"), elem_id="inside-intro")
    # Not visible=False: such a component is not on the page and would not report that another view was
    # opened.
    active = gr.Textbox(VIEWS[0].ID, visible="hidden", elem_id="inside-active")
    # One for each view, outside of it: whatever is sent to a view that was never opened makes the whole tab
    # report anew that it was chosen. With "" from the start: what is sent back unchanged, as WANT_WORDS does,
    # must not count as a change.
    wanted = {view.ID: gr.Textbox("", visible="hidden") for view in VIEWS}
    chosen = [active, photo, model, speech.language, *wanted.values()], list(wanted.values())
    for events, want in (
        ([tab.select, active.change, photo.change, model.change], WANT),
        ([speech.language.change], WANT_WORDS),
    ):
        gr.on(events, None, *chosen, js=want, api_visibility="private", show_progress="hidden")
    scene = Scene(tab, photo, model, active, wanted, speech, diagnose)
    with gr.Tabs(elem_id="inside-views"):
        for view in VIEWS:
            with speech(
                gr.Tab, label=Told(view.TITLE), id=view.ID, elem_id=f"inside-view-{view.ID}"
            ) as opened:
                view.build(opened, scene)
            opened.select(
                None, None, active, js=f"() => '{view.ID}'", api_visibility="private", show_progress="hidden"
            )
