"""What version 0.1.0 wrote is opened by this one: a run, its model and film, decisions, corrections, kept
arrays, a table of results.

``earlier/0.1.0`` was written by that version, with a model of two blocks and 48 photos of 16 px.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from vit_demo.cli.main import main
from vit_demo.data.browse.catalogue import Catalogue
from vit_demo.data.browse.statistics import Statistics
from vit_demo.data.checks.findings import find
from vit_demo.data.checks.reading import Reading
from vit_demo.data.corrections import review_set
from vit_demo.data.corrections.journal import journal_of
from vit_demo.data.open.sources import open_dataset
from vit_demo.diagnose.diagnosis import diagnose
from vit_demo.diagnose.similar import similar
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training.film import reader
from vit_demo.training.run import runs
from vit_demo.training.run.curves import curves_of
from vit_demo.ui.tabs.finetune.run_html import view_of
from vit_demo.ui.tabs.inside.embedding_map_jobs import _from_arrays

RUN = "20261130-123718"


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what was written, as home and working folder."""
    folder = tmp_path / "earlier"
    shutil.copytree(ROOT / "tests" / "earlier" / "0.1.0", folder)
    monkeypatch.setenv("VIT_DEMO_HOME", str(folder / "home"))
    monkeypatch.chdir(folder)
    return folder


def arrays(folder: Path) -> dict[str, np.ndarray]:
    (file,) = folder.glob("*.npz")
    with np.load(file) as stored:
        return {name: stored[name] for name in stored.files}


def test_a_run_is_listed_shown_and_exported(earlier: Path, capsys: pytest.CaptureFixture) -> None:
    (run,) = runs.list_runs()
    assert (run.id, run.name, run.state()["status"], run.config().seed) == (
        RUN,
        "made by 0.1.0",
        "finished",
        5,
    )
    assert (
        run.scores()["test"]["n"] == 6
        and curves_of(run).last_validation["step"] == 6
        and "Finished" in view_of(run).status
    )
    assert main(["runs", "show", RUN, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_accuracy"] == 1.0
    assert len(reader.read(run).frames) > 1
    assert main(["runs", "export", RUN]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["epochs"] == 2


def test_its_model_answers_with_what_it_knew_of_silence_and_of_photos_alike(earlier: Path) -> None:
    classifier = LeafClassifier.open(earlier / "home" / "runs" / RUN, device="cpu")
    test = open_dataset("leaves")["test"]
    answers = [diagnose(classifier, photo) for photo in test["image"]]
    assert [classifier.labels.index(answer.label) for answer in answers] == test["labels"] and all(
        answer.verdict for answer in answers
    )
    assert len(similar(classifier, test[0]["image"])) == 3


def test_decisions_and_corrections_stand(earlier: Path) -> None:
    assert [(one.action, one.to) for one in journal_of("beans").decisions()] == [
        ("exclude", ""),
        ("relabel", "healthy"),
        ("move", "test"),
    ]
    sizes = {split: len(part) for split, part in open_dataset("mended:beans").items()}
    assert sizes == {"train": 1034 - 2, "validation": 133, "test": 129}
    (correction,) = review_set.corrections()
    assert (correction.label, correction.said.label, correction.note, correction.file.is_file()) == (
        "healthy",
        "bean_rust",
        "field 7",
        True,
    )


def test_kept_arrays_are_read(earlier: Path) -> None:
    data = open_dataset("leaves")
    numbers = Statistics(**arrays(earlier / "home" / "cache" / "numbers"))
    assert (
        len(numbers) == 48
        and (numbers.width == 16).all()
        and numbers.add_to(Catalogue(data)).known.numbers is not None
    )
    reading = Reading.from_arrays(arrays(earlier / "home" / "cache" / "findings"))
    assert len(reading.photos) == 48 and isinstance(find(reading, data), list)
    found = _from_arrays(arrays(earlier / "home" / "atlas"))
    assert (
        len(found) == 21 and found.tsne is not None and found.labels == data["train"].features["labels"].names
    )


def test_a_table_of_results_is_gone_on_with(earlier: Path, capsys: pytest.CaptureFixture) -> None:
    before = Path("results.csv").read_bytes()
    assert (
        main(["predict", "photos", "--model", f"home/runs/{RUN}", "--device", "cpu", "--out", "results.csv"])
        == 0
    )
    assert "0 of them are new" in capsys.readouterr().err and Path("results.csv").read_bytes() == before
