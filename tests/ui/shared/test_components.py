"""The small pieces of the page: words, bars, pictures, the view of a run."""

from __future__ import annotations

import base64
import json

import gradio as gr
import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.common.words import FOLDER, label_title, percent
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures.overlay import draw_grid, heat_overlay, mark_grid_patch, mark_patch, shrink
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.curves import Curves
from vit_demo.training.run.events import EventLog
from vit_demo.ui.shared.components import bars, polite, table
from vit_demo.ui.tabs.finetune.curves_figure import curves_plot
from vit_demo.ui.tabs.finetune.live import refresh
from vit_demo.ui.tabs.finetune.run_html import view_of


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100.0 %"), (0.99996, "over 99.9 %"), (0.978, "97.8 %"), (0.00001, "under 0.1 %"), (0.0, "0.0 %")],
)
def test_percent_never_claims_certainty(share, text):
    assert percent(share) == text


def test_names_from_a_data_set_cannot_carry_markup():
    evil = "<img src=x onerror=alert(1)>"
    assert "<img" not in bars({evil: 0.5})
    assert "<img" not in table([evil, "b"], [[evil, evil]])


def test_label_title():
    assert label_title("angular_leaf_spot") == "Angular leaf spot"


def test_a_user_error_becomes_a_message_without_traceback():
    @polite
    def fails():
        raise UserError("Choose <another> photo.")

    with pytest.raises(gr.Error) as caught:
        fails()
    assert caught.value.message == "Choose &lt;another&gt; photo."
    assert caught.value.print_exception is False


def test_texts_are_plain_json():
    for file in FOLDER.rglob("*.json"):
        assert all(
            isinstance(text, str) and text.strip()
            for text in json.loads(file.read_text(encoding="utf-8")).values()
        )


def test_heat_lies_where_the_map_is_high():
    photo = Image.new("RGB", (140, 70), (90, 120, 90))
    heat = np.zeros((7, 14), dtype=np.float32)
    heat[:, 10:] = 1.0
    picture = np.asarray(heat_overlay(photo, heat), dtype=float)
    assert picture.shape == (70, 140, 3)
    # Inferno's top is a bright yellow, its bottom nearly black.
    assert picture[:, 120:].mean() > picture[:, :60].mean() + 60
    assert np.allclose(
        heat_overlay(photo, np.ones((7, 14), np.float32)), heat_overlay(photo, np.zeros((7, 14), np.float32))
    )


def test_the_grid_pulls_the_patches_apart_and_marks_the_clicked_one():
    grid = PatchGrid(image_height=32, image_width=32, patch_size=8)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    sheet = draw_grid(photo, grid, gap=4)
    scale = (sheet.width + 4) // 4 - 4
    patch = sheet.crop((scale + 4, 0, 2 * scale + 4, scale)).resize((8, 8), Image.Resampling.NEAREST)
    assert np.array_equal(np.asarray(patch), np.asarray(photo.crop(grid.box(1))))
    marked = np.asarray(mark_grid_patch(sheet, grid, 5)) != np.asarray(sheet)
    rows, columns = np.nonzero(marked.any(axis=-1))
    middle = ((rows.min() + rows.max()) / 2 / sheet.height, (columns.min() + columns.max()) / 2 / sheet.width)
    assert middle == pytest.approx((1.5 / 4, 1.5 / 4), abs=0.03)
    framed = np.asarray(mark_patch(photo.resize((320, 320)), grid, 15)) != np.asarray(
        photo.resize((320, 320))
    )
    assert not framed[:230, :230].any() and framed[240:, 240:].any()


def test_shrink_never_enlarges():
    assert shrink(Image.new("RGB", (20, 10))).size == (20, 10)
    assert max(shrink(Image.new("L", (3000, 1000))).size) == 640


def fill(run: runs.Run, steps: int) -> Curves:
    log = EventLog(run)
    log.add("begin", total_steps=steps, steps_per_epoch=steps, photos=10, device="cpu")
    for step in range(1, steps + 1):
        log.add("train", step=step, epoch=0.1, loss=1 / step, learning_rate=1e-4, photos_per_second=30.0)
    log.add("validation", step=steps, loss=0.5, accuracy=0.75)
    log.close()
    curves = Curves()
    curves.update(run)
    return curves


def numbers(trace) -> tuple[list[float], list[float]]:
    """The points of a trace that is sent as bytes."""
    assert trace.x["dtype"] == trace.y["dtype"] == "f8"
    return tuple(
        np.frombuffer(base64.b64decode(axis["bdata"]), "<f8").tolist() for axis in (trace.x, trace.y)
    )


def test_the_plot_keeps_its_zoom_and_its_size(home):
    run = runs.create(TrainingConfig())
    curves = fill(run, 5000)
    sent = curves_plot(curves, run.id)
    assert sent.type == "plotly" and len(sent.plot) < 200_000
    figure = go.Figure(json.loads(sent.plot))  # plotly itself finds no fault with it
    assert figure.layout.uirevision == run.id
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range == (0, 5000)
    assert numbers(figure.data[2]) == ([5000], [0.75])
    assert (
        numbers(figure.data[0]) == curves.train_loss.points and 300 <= len(curves.train_loss.points[0]) <= 600
    )
    assert [trace.name for trace in figure.data] == ["train loss", "validation loss", "validation accuracy"]
    # Of a run that has just begun nothing is left of the one before.
    fresh = go.Figure(json.loads(curves_plot(Curves(), "other").plot))
    assert (
        fresh.layout.uirevision == "other"
        and fresh.layout.xaxis.range is None
        and all(numbers(trace) == ([], []) for trace in fresh.data)
    )


def test_nothing_is_sent_again_when_nothing_has_changed(home):
    run = runs.create(TrainingConfig())
    fill(run, 20)
    run.set_state(status="failed", message="The disk is full.", ended=1.0)
    view = view_of(run)
    assert "The disk is full." in view.status and "train loss 0.050" in view.status
    first = refresh(run.id, "")
    assert first[-2:] == (view.seen, view.moment)
    assert all(update == gr.skip() for update in refresh(run.id, view.seen))


def test_a_run_that_is_not_there_shows_an_invitation(home):
    assert "No run yet" in refresh("../../etc", "")[0]
    assert "No run yet" in refresh(None, "")[0]
