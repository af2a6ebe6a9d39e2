"""The film of a run: where the model looked while it learned, beside the loss. It is played in the browser (assets/theme/film.js)."""

from __future__ import annotations

import json

import gradio as gr

from vit_demo.common import settings
from vit_demo.figures.overlay import HEAT_SHARES, heat_colours
from vit_demo.training.run import runs
from vit_demo.ui.tabs.finetune.film_html import film_view

# Never drawn again: the script fills it, so a film goes on playing while new frames come.
STAGE = """<div class="film">
<p class="film-note"></p>
<div class="film-stage" hidden>
<div class="film-bar"><button type="button" class="film-play">Play</button>
<label class="film-place">Moment<input type="range" class="film-range" min="0" max="0" step="1" value="0"></label></div>
<p class="film-moment" aria-live="polite"></p>
<div class="film-photos"></div>
<p class="film-legend"><span class="film-item"><span class="film-scale"></span>dark: looked at least, bright: looked at most, each picture by itself
(attention rollout)</span></p>
<svg class="film-curve" role="img" aria-label="Train loss and validation loss along the steps; a line marks the moment that is shown"></svg>
<p class="film-legend"><span class="film-item"><span class="film-key film-key-train"></span>train loss</span>
<span class="film-item"><span class="film-key film-key-validation"></span>validation loss</span>
<span class="film-item"><span class="film-key film-key-now"></span>the moment shown</span></p>
</div></div>"""


def build(run: gr.Dropdown, moment: gr.Textbox) -> None:
    """Lay out the film. Inputs: the run that is shown; what changes when that run, its status or the number of its evaluations does."""
    film = gr.HTML(film_view(None), html_template=STAGE, js_on_load=script(), apply_default_css=False, elem_id="train-film")
    seen = gr.Textbox("", visible=False)
    gr.on(
        [run.change, moment.change], refresh, [run, seen], [film, seen], trigger_mode="always_last", api_visibility="private", show_progress="hidden",
    )


def script() -> str:
    """What plays the film, with the colours of all other heat maps of the page."""
    player = (settings.ASSETS / "theme" / "film.js").read_text(encoding="utf-8")
    return f"const COLOURS = {json.dumps(heat_colours().tolist())}, SHARES = {json.dumps(HEAT_SHARES)};\n{player}"


def refresh(run_id: str | None, seen: str) -> tuple:
    """Inputs: run, what the page shows already. Outputs: the film, seen; nothing where nothing has changed."""
    view = film_view(runs.find(run_id))
    return (gr.skip(), gr.skip()) if view["seen"] == seen else (view, view["seen"])
