"""What the browser puts off while a function answers must not be repeated without end."""

from __future__ import annotations

from collections import defaultdict

import gradio as gr

from vit_demo.ui import app
from vit_demo.ui.shared.events import serve_each


def listeners(page: gr.Blocks) -> dict[tuple, list[str]]:
    """Of each event of a component: how the functions of the server that listen to it are triggered."""
    found = defaultdict(list)
    for dependency in page.get_config_file()["dependencies"]:
        for component, event in dependency["targets"]:
            if component is not None and dependency["backend_fn"]:
                found[component, event].append(dependency["trigger_mode"])
    return found


def test_functions_that_share_an_event_do_not_put_it_off() -> None:
    with gr.Blocks() as page:
        shared, alone = gr.Textbox(), gr.Textbox()
        shared.change(lambda text: text, shared, None)
        shared.change(lambda text: text, shared, None)
        alone.change(lambda text: text, alone, None)
        alone.change(None, None, None, js="() => 1")  # in the browser: answers at once
        shared.submit(lambda text: text, shared, None)
    serve_each(page)
    modes = [dependency["trigger_mode"] for dependency in page.get_config_file()["dependencies"]]
    assert modes == ["multiple", "multiple", "always_last", "always_last", "once"]


def test_no_event_of_the_page_is_put_off_by_several(home) -> None:
    found = listeners(app.build())
    assert len(found) > 100 and any("always_last" in modes for modes in found.values())
    assert [event for event, modes in found.items() if len(modes) > 1 and "always_last" in modes] == []
