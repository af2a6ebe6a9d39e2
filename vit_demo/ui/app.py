"""The page as a whole: the model list on top, a tab a room."""

from __future__ import annotations

import functools
import importlib.util
import tempfile
import threading
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from datasets import Image as ImageFeature
from markupsafe import Markup

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import LANGUAGES, say
from vit_demo.data.names import BEANS
from vit_demo.data.open.sources import open_dataset
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.training.run import runs
from vit_demo.ui.shared import models
from vit_demo.ui.shared.events import serve_each
from vit_demo.ui.shared.gradio_words import gradio_words, names
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.speech import QUIET, Speech, Told
from vit_demo.ui.tabs import data, finetune
from vit_demo.ui.tabs.diagnose import page as diagnose
from vit_demo.ui.tabs.finetune.live import SHOW_LINKED_RUN
from vit_demo.ui.tabs.inside import page as inside

# In the order in which they stand.
TABS = ("diagnose", "inside", "data", "finetune")
EXAMPLES = 6


def build() -> gr.Blocks:
    """All tabs, wired, not yet served."""
    examples = _examples()
    with gr.Blocks(title=say("page.title"), analytics_enabled=False, fill_width=False) as page:
        with gr.Row(elem_id="head"):
            header = gr.Markdown(_header(), elem_id="header")
            speech = Speech()
        speech.speaks(header, value=Told(_header))
        # Of names.js and language.js.
        speech(gr.HTML, value=Told(_words), padding=False, elem_id="page-words")
        remembered = gr.BrowserState(EMBEDDED, storage_key="vit_demo.model", secret="vit_demo")
        with speech(gr.Accordion, label=Told("page.model.choose"), open=False, elem_id="model-accordion"):
            model = speech(
                gr.Dropdown,
                choices=Told(models.ready_choices),
                value=EMBEDDED,
                label=Told("page.model.in_use"),
                info=Told("page.model.how"),
                allow_custom_value=True,
                elem_id="model-in-use",
            )
        with gr.Tabs() as tabs:
            diagnose_tab, inside_tab, data_tab, finetune_tab = (
                speech(gr.Tab, label=Told(f"page.tab.{tab}"), id=tab) for tab in TABS
            )
            with diagnose_tab:
                photo = diagnose.build(model, speech, examples)
            with inside_tab:
                inside.build(inside_tab, model, speech, examples[0], photo)
            with data_tab:
                checked = data.build(data_tab, model, speech)
            with finetune_tab:
                fine_tune = finetune.build(finetune_tab, model, speech)
        model.change(lambda spec: spec, model, remembered, **QUIET)
        # Only who watches a run asks for news of it each second.
        tabs.select(follow_run, None, fine_tune.timers, **QUIET)
        checked.submit(train_on, None, [fine_tune.photos, tabs, *fine_tune.timers], **QUIET)
        page.load(restore_model, remembered, model, **QUIET)
        speech.wire(page)
        page.load(open_linked_run, None, [fine_tune.run, tabs, *fine_tune.timers], **QUIET).then(
            None, None, None, js=SHOW_LINKED_RUN
        )
    serve_each(page)
    return page


def _header() -> str:
    return f"# vit_demo\n{say('page.lead')}"


def _words() -> Markup:
    return render("page/words", names=names())


def follow_run(event: gr.SelectData) -> tuple:
    """Inputs: the tab chosen. Outputs: the timers, running on the Fine-tune tab only."""
    timer = gr.Timer(active=TABS[event.index] == "finetune")
    return timer, timer


def train_on(event: gr.EventData) -> tuple:
    """Inputs: what the Check view shows. Outputs: its photos as they are mended to learn from, the Fine-tune
    tab, its timers.
    """
    # As in open_linked_run.
    timer = gr.Timer(active=True)
    return data.train_on(event), gr.Tabs(selected="finetune"), timer, timer


def open_linked_run(request: gr.Request) -> tuple:
    """Inputs: the page's address. Outputs: the run that it names (?run=ID), the Fine-tune tab, its timers;
    nothing without one.
    """
    run = runs.find(request.query_params.get("run"))
    if run is None:
        return (gr.skip(),) * 4
    # The page reports only the tabs that a person chooses.
    timer = gr.Timer(active=True)
    return gr.update(choices=[(run.name, run.id)], value=run.id), gr.Tabs(selected="finetune"), timer, timer


def restore_model(remembered: str) -> dict:
    """Inputs: the model that this browser used last. Outputs: the model list with it chosen, if it is still
    there.

    The page begins with the embedded model: set once more, it could take away what a person chose while a
    slow computer answers.
    """
    try:
        chosen: dict[str, Any] = {} if remembered == EMBEDDED else {"value": remembered}
        models.get_classifier(remembered)
    except UserError:
        chosen = {}
    return gr.update(choices=models.ready_choices(), **chosen)


@functools.cache
def _examples() -> list[str]:
    """A few test photos as files, two of each class, for those who have no photo at hand."""
    folder = Path(tempfile.mkdtemp(prefix="vit_demo-examples-"))
    test = open_dataset(BEANS)["test"].cast_column("image", ImageFeature(decode=False))
    labels, files = np.asarray(test["labels"]), []
    classes = labels.max() + 1
    for number in range(EXAMPLES):
        row = int(np.flatnonzero(labels == number % classes)[number // classes])
        file = folder / Path(test[row]["image_file_path"]).name
        file.write_bytes(test[row]["image"]["bytes"])
        files.append(str(file))
    return files


def options() -> dict:
    """What launch() needs for the page to look and behave as meant, without any network."""
    theme = settings.ASSETS / "theme"
    return {
        "theme": _theme(),
        "css_paths": sorted(theme.glob("style*.css")),
        "head": _head(theme),
        "i18n": gradio_words(),
        "max_file_size": settings.load().max_archive_bytes,
        "footer_links": ["api"],
        "ssr_mode": False,
        "share": False,
        # The named endpoints as tools for assistants, where gradio[mcp] is installed.
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }


def _head(theme: Path) -> Markup:
    return render(
        "page/head",
        locales=[say("page.locale", language) for language in LANGUAGES],
        style=_read(theme / "frame.css"),
        scripts=[_read(theme / script) for script in ("language.js", "names.js")],
    )


def _read(file: Path) -> Markup:
    return Markup(file.read_text(encoding="utf-8"))


def _theme() -> gr.Theme:
    """Green on stone, with the fonts that the computer has; primary buttons dark enough for white text."""
    theme = gr.themes.Soft(
        primary_hue="green",
        secondary_hue="emerald",
        neutral_hue="stone",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )
    return theme.set(
        body_background_fill="*neutral_100",
        link_text_color="*secondary_700",
        link_text_color_active="*secondary_700",
        link_text_color_hover="*secondary_800",
        link_text_color_visited="*secondary_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
        block_label_background_fill_dark="*primary_900",
        block_title_background_fill_dark="*primary_900",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
    )


def serve(host: str | None = None, port: int | None = None) -> None:
    """Build the page and serve it until the process ends."""
    page = build()
    # The first visitor should not wait for the model.
    threading.Thread(target=models.get_classifier, args=(EMBEDDED,), daemon=True).start()
    try:
        page.launch(server_name=host, server_port=port, **options())
    except OSError as error:
        raise UserError("error.page.serve", why=str(error)) from None
