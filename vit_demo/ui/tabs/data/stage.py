"""A view that its script draws: the words go to it as data, so that it draws itself again when the page
speaks another language.

Words that always stand there are in the template of the view, marked with ``data-say`` (or
``data-say-placeholder``) and their key; assets/theme/stage.js, put before the script of the view, says them
anew.
"""

from __future__ import annotations

import re
from typing import Any

import gradio as gr

from vit_demo.common import settings
from vit_demo.common.words import current_language, text_of
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.speech import Speech, Told

_SAID = re.compile(r'data-say(?:-placeholder)?="([^"]+)"')


def build_stage(speech: Speech, name: str, more: tuple[str, ...] = (), /, **options: Any) -> gr.HTML:
    """Lay it out. name: of its script and its template. more: keys of what the script says itself. options:
    of the component.
    """
    template = options.pop("html_template", None) or str(render(f"data/{name}_stage"))
    keys = (*dict.fromkeys(_SAID.findall(template)), *more)
    script = "\n".join(
        (settings.ASSETS / "theme" / file).read_text(encoding="utf-8") for file in ("stage.js", f"{name}.js")
    )
    told = Told(lambda: {"language": current_language(), "texts": {key: text_of(key) for key in keys}})
    return speech(
        gr.HTML,
        value={},
        words=told,
        html_template=template,
        js_on_load=script,
        apply_default_css=False,
        **options,
    )
