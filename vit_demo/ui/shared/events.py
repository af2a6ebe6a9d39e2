"""Events of the page that several functions listen to."""

from __future__ import annotations

from collections import Counter

import gradio as gr


def serve_each(page: gr.Blocks) -> None:
    """Let functions that share an event be asked each time it happens, instead of "always_last".

    With "always_last" the browser puts off what happens while a function is still answering. When the answer
    is there it repeats the whole event, so for all functions that listen to it; those that are answering then
    put it off in turn. Two of them that overlap, as on a slow computer, never come to an end. Asked each time
    they are answered in order, since the queue takes one call of a function after the other.
    """
    served = [function for function in page.fns.values() if function.fn is not None]
    listeners = Counter(target for function in served for target in set(function.targets))
    for function in served:
        if function.trigger_mode == "always_last" and any(
            listeners[target] > 1 for target in function.targets if target[0] is not None
        ):
            function.trigger_mode = "multiple"
