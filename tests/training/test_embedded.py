"""How the model that comes with the program is made: trained, fitted, scored, and put in its place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.data.open.sources import open_dataset
from vit_demo.diagnose.similar import similar
from vit_demo.model.abstention import abstention_of
from vit_demo.model.checkpoints import inspect
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.neighbours import nearest
from vit_demo.training import embedded
from vit_demo.training.worker import execute


@pytest.fixture
def few_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A part of the photos that come with the program, in their place for this test."""
    data = open_dataset("beans")
    for split, step in (("train", 20), ("validation", 4), ("test", 4)):
        data[split].select(range(0, len(data[split]), step)).to_parquet(
            tmp_path / "few" / f"{split}-00000-of-00001.parquet"
        )
    monkeypatch.setattr(settings, "EMBEDDED_BEANS", tmp_path / "few")
    return tmp_path / "few"


def test_the_command_trains_and_replaces_the_model(
    few_leaves: Path,
    tiny_model: Path,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    place, seen = tmp_path / "models" / "leaf", tmp_path / "models" / "leaf-similar.safetensors"
    place.mkdir(parents=True)
    (place / "notes.json").write_text("{}")
    (place / "model-00009-of-00009.safetensors").write_bytes(b"of the model before")
    monkeypatch.setattr(settings, "EMBEDDED_MODEL", place)
    monkeypatch.setattr(settings, "EMBEDDED_SIMILAR", seen)
    monkeypatch.setattr(
        embedded, "RECIPE", {**embedded.RECIPE, "epochs": 1, "precision": "fp32", "device": "cpu"}
    )
    monkeypatch.setattr("sys.argv", ["embedded", "--model", str(tiny_model), "--seeds", "4,5"])
    assert embedded.main() == 0
    printed = capsys.readouterr().out
    losses = [
        float(loss) for loss in re.findall(r"^Seed \d: validation loss ([\d.]+)$", printed, re.MULTILINE)
    ]
    assert len(losses) == 2 and "Test: " in printed
    assert {file.name for file in place.iterdir()} >= {
        "notes.json",
        "config.json",
        "abstention.safetensors",
        "scores.json",
        "model.safetensors",
    }
    assert not (place / "model-00009-of-00009.safetensors").exists() and inspect(place, "leaf").has_head
    classifier, data = LeafClassifier.open("embedded", device="cpu"), open_dataset("beans")
    assert abstention_of(classifier) is not None
    scores = json.loads((place / "scores.json").read_text())
    assert scores["test"]["n"] == len(data["test"]) == 32
    stored = load_file(seen)
    assert set(stored) == {"features", "targets"} and stored["targets"].tolist() == list(
        data["train"]["labels"]
    )
    readout = abstention_of(classifier).readout
    _, features = classifier.logits_and_features([data["train"][7]["image"]], readout)
    assert (
        nearest(seen, features[0].numpy(), 1)[0].number
        == 7
        == similar(classifier, data["train"][7]["image"])[0].number
    )


def test_where_scoring_fails_the_embedded_model_stays_as_it_was(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, seen = tmp_path / "leaf", tmp_path / "similar.safetensors"
    place.mkdir()
    for name in ("model.safetensors", "notes.json"):
        (place / name).write_bytes(b"before")
    seen.write_bytes(b"before")
    monkeypatch.setattr(settings, "EMBEDDED_BEANS", tmp_path / "nowhere")
    with pytest.raises(UserError):
        embedded.embed(LeafClassifier.open(tiny_model, device="cpu"), place, seen, 1.0)
    assert {file.read_bytes() for file in (*place.iterdir(), seen)} == {b"before"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["leaf", "similar.safetensors"]


def test_the_mean_of_models_has_the_mean_of_their_weights(tiny_model: Path) -> None:
    models = [LeafClassifier.open(tiny_model, device="cpu") for _ in range(3)]
    for model, value in zip(models, (-2.0, 1.5, 9.5)):
        torch.nn.init.constant_(model.model.classifier.bias, value)
    weights = models[1].model.classifier.weight.clone()
    mean = embedded.mean_of(models)
    torch.testing.assert_close(mean.model.classifier.bias, torch.full_like(mean.model.classifier.bias, 3.0))
    torch.testing.assert_close(mean.model.classifier.weight, weights)


def test_what_is_wrong_is_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["embedded", "--model", "/nowhere/at/all"])
    assert embedded.main() == 2 and "no model folder" in capsys.readouterr().err
    for seeds in ("x", "", "3,3"):
        monkeypatch.setattr("sys.argv", ["embedded", "--seeds", seeds])
        with pytest.raises(SystemExit):
            embedded.main()
        assert "--seeds" in capsys.readouterr().err.splitlines()[-1]


def test_a_run_that_was_stopped_is_not_taken_in(
    few_leaves: Path, tiny_model: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        embedded, "RECIPE", {**embedded.RECIPE, "epochs": 1, "precision": "fp32", "device": "cpu"}
    )
    monkeypatch.setattr(embedded, "execute", lambda run: (run.request_stop(), execute(run)))
    with pytest.raises(UserError, match=r"seed 4 did not come to its end \(stopped\)"):
        embedded.train(str(tiny_model), 4, tmp_path / "runs")
