"""A finished run's model to take away from the server: as ONNX in two sizes, what each is worth, and all of it in one file."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import gradio as gr

from vit_demo.common.errors import UserError
from vit_demo.data.open.sources import open_dataset
from vit_demo.export.onnx import compare, folder_of_export, pack
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training.result.evaluation import evaluate
from vit_demo.training.run import runs
from vit_demo.ui.shared.components import polite
from vit_demo.ui.tabs.finetune import result_html

# What each engine of an export is called, beside torch, which stays here.
TITLES = {"onnx": "Full (fp32)", "onnx-int8": "Small (int8)"}
LEAD = (
    "This makes a zip file with the model in the ONNX format, its classes, how a photo must be prepared, and a README with a program of twenty lines that "
    "uses it. It runs on another computer, without this program and without the internet. Making and scoring it takes a minute or more."
)
# Where the run's photos are gone, or were the drawings of earlier versions, the model can still be had.
NOT_SCORED = "The model of the run {name} is ready to download. How good its two sizes are was not measured, because the run's photos cannot be opened: {why}"
# As in ui.tabs.inside.trust.
PROGRESS = gr.Progress()


def build(run: gr.Dropdown) -> None:
    """Lay out the offer. Inputs: the run that is shown."""
    gr.Markdown("### Away from the server")
    told = gr.HTML(result_html.note(LEAD), elem_id="result-away")
    with gr.Row(elem_classes="actions"):
        make = gr.Button("Take it away from the server", min_width=200, elem_id="result-away-make")
        file = gr.DownloadButton("Download it (zip)", variant="primary", min_width=200, visible=False, elem_id="result-away-file")
    made = gr.Textbox("", visible=False)
    outputs = [told, file, made]
    make.click(polite(take_away), run, outputs, api_visibility="private", show_progress="full", show_progress_on=told)
    # What was made of one run must not stand below another.
    run.change(forget, [run, made], outputs, api_visibility="private", show_progress="hidden")


def forget(run_id: str | None, made: str) -> tuple:
    """Inputs: run, the run that was exported. Outputs: the offer as at first, no file, no such run; nothing where that is this one or none."""
    return (gr.skip(),) * 3 if made in ("", run_id) else (result_html.note(LEAD), gr.update(visible=False, value=None), "")


def take_away(run_id: str | None, progress: gr.Progress = PROGRESS) -> tuple:
    """Inputs: run. Outputs: what each model of the export is worth, the zip file, the run."""
    run = runs.find(run_id)
    if run is None or not run.has_model():
        raise UserError("This run has no model. Choose a finished run.")
    progress(0, desc="Exporting the model")
    # Where the export runs too, so that all are compared on the same.
    classifier = LeafClassifier.open(run.folder, device="cpu")
    folder = folder_of_export(classifier)

    def score(asked: LeafClassifier, name: str, layer: int):
        what = f"Scoring the test photos, {TITLES.get(name, 'as it is here').lower()}"
        return evaluate(asked, test, lambda done, total: progress((done, total), desc=what, unit="photos"), layer)

    file = _folder() / f"vit_demo-{run.id}.zip"
    try:
        config = run.config()
        test = open_dataset(config.data, config.data_revision)["test"]
    except UserError as error:
        pack(folder, file)
        said = result_html.note(NOT_SCORED.format(name=run.name, why=error))
    else:
        rows = compare(classifier, folder, score)
        pack(folder, file)
        said = result_html.away(run.name, rows, TITLES, file.stat().st_size)
    return said, gr.update(visible=True, value=str(file)), run.id


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="vit_demo-away-"))
