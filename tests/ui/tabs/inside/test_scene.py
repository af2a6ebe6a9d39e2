"""Look inside shows the probabilities that Diagnose shows, of a model whose temperature is not 1."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.conftest import squares
from vit_demo.cli.main import main
from vit_demo.common.words import percent
from vit_demo.diagnose.diagnosis import diagnose_files
from vit_demo.explain.attribution.target import Target
from vit_demo.explain.internals.lens import logit_lens
from vit_demo.figures.report import write_everything
from vit_demo.model.abstention import Abstention
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import Pool, Readout
from vit_demo.ui.tabs.inside import embedding_map_jobs, layers, positions, why
from vit_demo.ui.tabs.inside.scene import look

TEMPERATURE = 4.0
# Diagnose may compute in bf16.
NEAR = 0.01


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A model that would be far too sure without its temperature."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    with_temperature(folder, TEMPERATURE)
    return folder


def with_temperature(folder: Path, temperature: float) -> None:
    labels = tuple(LeafClassifier.open(folder, device="cpu").labels)
    Abstention(Readout(1, Pool.CLS), temperature, labels, None, None).save(folder)


@pytest.fixture
def photo(tmp_path: Path) -> str:
    file = tmp_path / "leaf.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(file)
    return str(file)


def diagnosed(model: Path, photo: str) -> np.ndarray:
    classifier = LeafClassifier.open(model, device="cpu")
    (answer,) = diagnose_files(classifier, [photo])
    return np.array([answer.scores[label] for label in classifier.labels])


def test_all_views_show_the_probability_of_the_diagnosis(model, photo):
    expected, found = diagnosed(model, photo), look(str(model), photo)
    raw = np.exp(found.trace.logits) / np.exp(found.trace.logits).sum()
    assert np.abs(raw - expected).max() > 5 * NEAR  # else this test would show nothing
    lens = logit_lens(found.classifier, found.trace.hidden, found.trace.temperature)
    own = positions.answers(photo, found, [found.classifier.image_size])
    for shown in (found.trace.probabilities, lens.probabilities[-1], *own.values()):
        np.testing.assert_allclose(shown, expected, rtol=0, atol=NEAR)
    best = percent(float(found.trace.probabilities.max()))
    assert any(best in str(part) for part in why.show(photo, str(model), "", "", "relevance"))
    assert any(best in str(part) for part in layers.show(photo, str(model), 1))


def test_a_temperature_that_is_fitted_anew_is_shown_at_once(model, photo):
    before = look(str(model), photo).trace.probabilities
    with_temperature(model, TEMPERATURE / 2)
    after = look(str(model), photo).trace.probabilities
    assert after.max() > before.max()
    np.testing.assert_allclose(after, diagnosed(model, photo), rtol=0, atol=NEAR)


def test_the_embedding_map_shows_it_too(model, tmp_path, home):
    wanted = embedding_map_jobs.plan(
        embedding_map_jobs.Request(str(model), str(squares(tmp_path / "leaves")), "test")
    )
    job, until = embedding_map_jobs.start(wanted), time.monotonic() + 60
    while job.is_going and time.monotonic() < until:
        time.sleep(0.02)
    for number in (0, 7):
        expected = diagnosed(model, job.result.paths[number]).max()
        assert job.result.probability[number] == pytest.approx(expected, abs=NEAR)


def test_the_command_line_says_it_too(model, photo, tmp_path, capsys):
    command = ["explain", photo, "--model", str(model), "--device", "cpu", "--json", "--out"]
    assert main([*command, str(tmp_path / "map.npz")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["probability"] == pytest.approx(diagnosed(model, photo).max(), abs=NEAR)
    classifier = LeafClassifier.open(model, device="cpu")
    folder = tmp_path / "all"
    folder.mkdir()
    write_everything(classifier, Image.open(photo), Target(0), folder, lambda *_: None)
    said = f"{look(str(model), photo).trace.probabilities.max():.1%}"
    assert said in (folder / "index.html").read_text(encoding="utf-8")
