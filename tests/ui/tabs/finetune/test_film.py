"""The film on the page: what is sent, how large it is, and in which words."""

from __future__ import annotations

import base64
import io
import json
import re

import gradio as gr
import numpy as np
import plotly.colors
import pytest
from PIL import Image

from vit_demo.training.film import reader
from vit_demo.training.run import runs
from vit_demo.training.run.config import RECIPES, TrainingConfig
from vit_demo.training.run.curves import DIGEST
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.runs import Run
from vit_demo.ui.tabs.finetune.film import STAGE, refresh, script
from vit_demo.ui.tabs.finetune.film_html import film_view, lean, where

LABELS = ["angular_leaf_spot", "bean_rust", "healthy"]
SPACE = "\N{NO-BREAK SPACE}"


def shoot(run: Run, steps: list[int], photos: int = 3, side: int = 14) -> None:
    """A film with a frame for each of the steps, and a record with the losses of these steps but the first, 1
    / step.
    """
    folder = run.folder / reader.FOLDER
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(1, photos + 1):
        # Noise, which is as large as a JPEG of a real leaf.
        picture = Image.fromarray(rng.integers(60, 200, (56, 56, 3), dtype=np.uint8)).resize(
            (224, 224) if photos < 5 else (144, 144)
        )
        picture.save(reader.photo_file(folder, number), quality=75)
    about = {
        "labels": LABELS,
        "rows": side,
        "columns": side,
        "photos": [{"name": f"leaf.{number}.jpg", "label": number % 3} for number in range(photos)],
    }
    (folder / reader.ABOUT).write_text(json.dumps(about), encoding="utf-8")
    log = EventLog(run)
    log.add("begin", total_steps=steps[-1], steps_per_epoch=10, photos=100, device="cpu")
    lines = []
    for step in steps:
        probabilities = np.full((photos, 3), 1 / 3) if step == 0 else np.tile([0.05, 0.8, 0.15], (photos, 1))
        lines.append(reader.encode(step, rng.random((photos, side, side)), probabilities))
        if step:
            log.add(
                "train", step=step, epoch=step / 10, loss=2 / step, learning_rate=1e-4, photos_per_second=10.0
            )
            log.add("validation", step=step, loss=1 / step, accuracy=0.5)
    (folder / reader.FRAMES).write_text("\n".join(lines) + "\n", encoding="utf-8")
    log.close()


@pytest.fixture
def run(home) -> Run:
    return runs.create(TrainingConfig())


def test_a_frame_has_its_step_its_loss_and_its_pictures(run):
    shoot(run, [0, 4, 8])
    run.set_state(status="training")
    run.claim()
    view = film_view(run)
    titles = [
        "Before training (step 0)",
        "Step 4 of 8, validation loss 0.25",
        "Step 8 of 8, validation loss 0.12",
    ]
    assert [frame["title"] for frame in view["frames"]] == titles
    assert [frame["loss"] for frame in view["frames"]] == [None, 0.25, 0.125]
    assert (
        view["validation"] == [[4, 8], [0.25, 0.125]]
        and view["train"] == [[4, 8], [0.5, 0.25]]
        and view["total"] == 8
    )
    for photo, truth in zip(view["photos"], ("Angular leaf spot", "Bean rust", "Healthy")):
        kind, _, data = photo["source"].partition(",")
        assert kind == "data:image/jpeg;base64" and Image.open(io.BytesIO(base64.b64decode(data))).size == (
            224,
            224,
        )
        assert photo["truth"] == truth
    kept = reader.read(run).frames[1]
    for number, text in enumerate(view["frames"][1]["maps"]):
        assert np.array_equal(
            np.frombuffer(base64.b64decode(text), np.uint8).reshape(view["rows"], view["columns"]),
            kept.maps[number],
        )
    assert [say["text"] for say in view["frames"][0]["says"]] == [f"undecided,\n33.3{SPACE}% each"] * 3
    assert [say["text"] for say in view["frames"][2]["says"]] == [
        f"Bean rust,\n80.0{SPACE}%: {verdict}" for verdict in ("wrong", "right", "wrong")
    ]
    json.dumps(view, allow_nan=False)


def test_only_a_finished_run_is_at_its_end(run):
    shoot(run, [0, 4])
    for status, title in (
        ("stopped", "Step 4 of 4, validation loss 0.25"),
        ("finished", "At the end (step 4 of 4), validation loss 0.25"),
    ):
        run.set_state(status=status)
        assert film_view(run)["frames"][-1]["title"] == title


def test_a_frame_between_two_looks_at_validation_says_no_loss(run):
    shoot(run, [0, 4, 8])
    log = EventLog(run)
    log.add("validation", step=12, loss=0.1, accuracy=0.5)
    log.close()
    film = reader.encode(10, np.zeros((3, 14, 14)), np.full((3, 3), 1 / 3))
    with open(run.folder / "film" / "frames.jsonl", "a", encoding="utf-8") as file:
        file.write(film + "\n")
    frames = {frame["step"]: frame for frame in film_view(run)["frames"]}
    assert frames[10]["loss"] is None and "loss" not in frames[10]["title"] and frames[8]["loss"] == 0.125


def test_a_frame_that_comes_before_its_loss_says_no_wrong_one(run):
    shoot(run, [0, 4, 8])
    events = run.events_file.read_text(encoding="utf-8").splitlines(keepends=True)
    run.events_file.write_text("".join(events[:-1]), encoding="utf-8")
    (run.folder / DIGEST).unlink(missing_ok=True)
    frame = film_view(run)["frames"][-1]
    assert frame["title"] == "Step 8 of 8" and frame["loss"] is None


@pytest.mark.parametrize(("photos", "side"), [(3, 14), (12, 14), (3, 24)])
def test_what_is_sent_stays_small_however_long_the_run(run, photos, side):
    shoot(run, list(range(0, 2400, 10)), photos, side)
    view = film_view(run)
    assert (
        reader.FEWEST_FRAMES <= len(view["frames"]) <= reader.MOST_FRAMES
        and view["frames"][0]["step"] == 0
        and view["frames"][-1]["step"] == 2390
    )
    assert len(view["train"][0]) <= 150
    assert len(json.dumps(view)) < 200_000


@pytest.mark.parametrize(
    ("probabilities", "truth", "expected"),
    [
        ([0.7, 0.2, 0.1], 0, (f"A,\n70.0{SPACE}%: right", "right")),
        ([0.2, 0.7, 0.1], 0, (f"B,\n70.0{SPACE}%: wrong", "wrong")),
        ([0.99999, 0.00001, 0.0], 0, (f"A,\nover{SPACE}99.9{SPACE}%: right", "right")),
        ([0.334, 0.333, 0.333], 0, (f"undecided,\n33.3{SPACE}% each", "")),
    ],
)
def test_what_it_leans_to(probabilities, truth, expected):
    said = lean(np.array(probabilities), ["A", "B", "C"], truth)
    assert (said["text"], said["verdict"]) == expected


def test_a_map_in_words():
    values = np.full((14, 14), 0.001)
    assert where(values).endswith(f"half of its attention on 50{SPACE}% of the photo")
    values[:4, 10:] = 1.0  # 16 of 196 patches hold nearly all of it
    assert where(values) == f"looks most at the top right; half of its attention on 5{SPACE}% of the photo"
    values = np.zeros((7, 7))
    values[3, 3] = 1.0
    assert where(values) == f"looks most in the middle; half of its attention on 2{SPACE}% of the photo"
    assert "at the bottom left" in where(np.array([[0.1, 0.1], [0.7, 0.1]]))
    assert "in the middle" in where(np.array([[1.0]]))


@pytest.mark.parametrize(
    ("config", "status", "words"),
    [
        (TrainingConfig(**RECIPES["tutorial"]), "finished", "The tutorial's recipe keeps no film."),
        (TrainingConfig(film=0), "training", "its number of photos in the film is 0"),
        (TrainingConfig(), "preparing", "The film begins with the first step."),
        (TrainingConfig(), "finished", "This run has no film"),
    ],
)
def test_why_there_is_no_film(home, config, status, words):
    run = runs.create(config)
    run.claim()
    run.set_state(status=status)
    view = film_view(run)
    assert words in view["note"] and "frames" not in view


def test_a_run_of_another_version_and_no_run_at_all(run):
    (run.folder / "config.json").write_text('{"unknown": 1}', encoding="utf-8")
    assert "from another version of the program" in film_view(run)["note"]
    assert "No run yet" in refresh("../../etc", "")[0]["note"]
    assert "No run yet" in refresh(None, "")[0]["note"]


def test_the_film_is_sent_once_a_change(run):
    run.claim()
    run.set_state(status="training")
    note, seen = refresh(run.id, "")
    assert note["note"] and refresh(run.id, seen) == (gr.skip(), gr.skip())
    shoot(run, [0, 4])
    film, then = refresh(run.id, seen)
    assert then != seen and len(film["frames"]) == 2
    assert refresh(run.id, then) == (gr.skip(), gr.skip())
    run.rename("Another name")
    assert refresh(run.id, then) == (gr.skip(), gr.skip())
    run.set_state(status="finished")
    assert refresh(run.id, then)[0]["frames"][-1]["title"].startswith("At the end")


def test_the_player_has_the_colours_of_the_other_heat_maps():
    colours = json.loads(re.match(r"const COLOURS = (\[\[.*?\]\]), SHARES", script())[1])
    assert len(colours) == 256
    for index, position in ((0, 0.0), (255, 1.0), (128, 128 / 255)):
        expected = plotly.colors.sample_colorscale("Inferno", [position], colortype="tuple")[0]
        np.testing.assert_allclose(colours[index], np.array(expected) * 255, atol=0.51)


def test_the_stage_is_drawn_as_it_is():
    """It goes through two template languages on the page, neither of which must find anything to do."""
    assert not re.search(r"[`\\]|\$\{|\{\{", STAGE)
    assert STAGE.count('<button type="button"') == 1 and re.search(
        r"<label[^>]*>Moment<input type=\"range\"", STAGE
    )
