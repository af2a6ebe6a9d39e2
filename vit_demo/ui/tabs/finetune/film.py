"""The film of a run: where the model looked while it learned, beside the loss. It is played in the browser
(assets/theme/film.js).
"""

from __future__ import annotations

import json

import gradio as gr

from vit_demo.common import settings
from vit_demo.figures.overlay import HEAT_SHARES, heat_colours
from vit_demo.training.run import runs
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.speech import Speech
from vit_demo.ui.tabs.finetune.film_html import film_view

# Never drawn again: the script fills it, so a film goes on playing while new frames come.
STAGE = str(render("train/film"))


def build(run: gr.Dropdown, moment: gr.Textbox, speech: Speech) -> None:
    """Lay out the film. Inputs: the run that is shown; what changes when that run, its status or the number
    of its evaluations does; the page's speech.
    """
    film = gr.HTML(
        film_view(None),
        html_template=STAGE,
        js_on_load=script(),
        apply_default_css=False,
        elem_id="train-film",
    )
    seen = gr.Textbox("", visible=False)
    gr.on(
        [run.change, moment.change],
        refresh,
        [run, seen],
        [film, seen],
        trigger_mode="always_last",
        api_visibility="private",
        show_progress="hidden",
    )
    speech.retells(tell_again, [run, seen], [film, seen])


def script() -> str:
    """What plays the film, with the colours of all other heat maps of the page."""
    player = (settings.ASSETS / "theme" / "film.js").read_text(encoding="utf-8")
    colours = json.dumps(heat_colours().tolist())
    return f"const COLOURS = {colours}, SHARES = {json.dumps(HEAT_SHARES)};\n{player}"


def refresh(run_id: str | None, seen: str) -> tuple:
    """Inputs: run, what the page shows already. Outputs: the film, seen; nothing where nothing has
    changed.
    """
    view = film_view(runs.find(run_id))
    return (gr.skip(), gr.skip()) if view["seen"] == seen else (view, view["seen"])


def tell_again(run_id: str | None, seen: str) -> tuple:
    """Inputs: as of refresh. Outputs: as of refresh."""
    view, now = refresh(run_id, seen)
    return (view, now) if view == gr.skip() else (gr.update(value=view), now)
