"""A finished run's model to take away from the server: as ONNX in two sizes, what each is worth, and all of
it in one file.
"""

from __future__ import annotations

import functools
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from vit_demo.common.errors import UserError
from vit_demo.common.words import say
from vit_demo.data.open.sources import open_dataset
from vit_demo.export.onnx import compare, folder_of_export, pack
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import Readout
from vit_demo.training.result.evaluation import Evaluation, evaluate
from vit_demo.training.run import runs
from vit_demo.ui.shared.components import polite
from vit_demo.ui.shared.speech import Speech, Told
from vit_demo.ui.tabs.finetune import result_html

# What each engine of an export is called, beside torch, which stays here.
TITLES = {"onnx": "train.export.onnx", "onnx-int8": "train.export.onnx-int8"}
# So many answers are kept, to be told in another language.
KEEP = 32
# As in ui.tabs.inside.trust.
PROGRESS = gr.Progress()
# By run, what was found of its export.
_found: OrderedDict[str, Callable[[], str]] = OrderedDict()


def build(run: gr.Dropdown, speech: Speech) -> None:
    """Lay out the offer. Inputs: the run that is shown; the page's speech."""
    speech(gr.Markdown, value=Told(result_html.heading("train.export.title")))
    told = gr.HTML(_lead(), elem_id="result-export")
    with gr.Row(elem_classes="actions"):
        make = speech(gr.Button, value=Told("train.export.make"), min_width=200, elem_id="result-export-make")
        file = speech(
            gr.DownloadButton,
            label=Told("train.export.file"),
            variant="primary",
            min_width=200,
            visible=False,
            elem_id="result-export-file",
        )
    made = gr.Textbox("", visible=False)
    outputs = [told, file, made]
    make.click(
        polite(export_run),
        run,
        outputs,
        api_visibility="private",
        show_progress="full",
        show_progress_on=told,
    )
    # What was made of one run must not stand below another.
    run.change(forget, [run, made], outputs, api_visibility="private", show_progress="hidden")
    speech.retells(tell_again, [made], [told])


def _lead() -> str:
    return result_html.note(say("train.export.lead"))


def forget(run_id: str | None, made: str) -> tuple:
    """Inputs: run, the run that was exported. Outputs: the offer as at first, no file, no such run; nothing
    where that is this one or none.
    """
    return (gr.skip(),) * 3 if made in ("", run_id) else (_lead(), gr.update(visible=False, value=None), "")


def tell_again(made: str) -> Any:
    """Inputs: the run that was exported. Outputs: the offer, or what was found of the export; nothing where
    that is no longer known.
    """
    told = _found.get(made) if made else _lead
    return told() if told else gr.skip()


def export_run(run_id: str | None, progress: gr.Progress = PROGRESS) -> tuple:
    """Inputs: run. Outputs: what each model of the export is worth, the zip file, the run."""
    run = runs.find(run_id)
    if run is None or not run.has_model():
        raise UserError("error.train_tab.no_model")
    progress(0, desc=say("train.export.exporting"))
    # Where the export runs too, so that all are compared on the same.
    classifier = LeafClassifier.open(run.folder, device="cpu")
    folder = folder_of_export(classifier)

    def score(asked: LeafClassifier, name: str, readout: Readout) -> Evaluation:
        words: dict[str, Any] = {
            "desc": say(f"train.export.scoring.{name}"),
            "unit": say("train.export.unit"),
        }
        return evaluate(asked, test, lambda done, total: progress((done, total), **words), readout)

    file = _folder() / f"vit_demo-{run.id}.zip"
    said: Callable[[], str]
    try:
        config = run.config()
        test = open_dataset(config.data, config.data_revision)["test"]
        rows = compare(classifier, folder, score)
    except UserError as error:
        pack(folder, file)
        said = functools.partial(_not_scored, run.name, error)
    else:
        pack(folder, file)
        said = functools.partial(result_html.export, run.name, rows, TITLES, file.stat().st_size)
    _found[run.id] = said
    _found.move_to_end(run.id)
    while len(_found) > KEEP:
        _found.popitem(last=False)
    return said(), gr.update(visible=True, value=str(file)), run.id


def _not_scored(name: str, error: UserError) -> str:
    """Where the run's photos are gone, or were the drawings of earlier versions, the model can still be
    had.
    """
    return result_html.note(say("train.export.not_scored", name=name, why=error))


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="vit_demo-export-"))
