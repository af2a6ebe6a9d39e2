"""An export gives torch's answers, stands alone, and is whole or not there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.conftest import squares
from vit_demo.cli import main as cli
from vit_demo.common import settings
from vit_demo.data.open.sources import open_dataset
from vit_demo.export import onnx as exports
from vit_demo.export.onnx import (
    About,
    compare,
    engines_of_export,
    export,
    fingerprint,
    open_engine,
    open_export,
    read_about,
)
from vit_demo.model.abstention import Abstention, abstention_of
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import Pool, Readout
from vit_demo.model.runtimes import OnnxEngine
from vit_demo.training.result.evaluation import evaluate

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
# Of a model with two blocks.
READOUT = Readout(2, Pool.PATCH_MEAN)


@pytest.fixture(scope="module")
def classifier(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> LeafClassifier:
    folder = tmp_path_factory.mktemp("export") / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "notes.json").write_text("{}")
    return LeafClassifier.open(folder, device="cpu")


@pytest.fixture(scope="module")
def exported(classifier: LeafClassifier, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, About]:
    folder = tmp_path_factory.mktemp("exports") / "new" / "leaf"
    return folder, export(classifier, folder)


def photos_of(classifier: LeafClassifier, count: int) -> torch.Tensor:
    return torch.randint(
        0,
        256,
        (count, 3, *classifier.image_size),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(7),
    )


@pytest.mark.parametrize("count", [1, 3, 16])
def test_fp32_is_torch_for_any_number_of_photos(
    classifier: LeafClassifier, exported: tuple[Path, About], count: int
) -> None:
    photos = photos_of(classifier, count)
    session = onnxruntime.InferenceSession(
        str(exported[0] / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    logits, tokens = session.run(
        ["logits", "patch_mean"], {"pixel_values": classifier.normalise(photos).numpy()}
    )
    with torch.no_grad():
        wanted = classifier.model(classifier.normalise(photos), output_hidden_states=True)
        # Of transformers' last hidden state the final norm is part; the token is taken before it.
        blocks = classifier.model.vit.layers
        before = blocks[1](wanted.hidden_states[1])
    assert np.abs(logits - wanted.logits.numpy()).max() < 1e-4
    assert np.abs(tokens - before[:, 1:].mean(dim=1).numpy()).max() < 1e-4


def test_int8_is_near_and_smaller(classifier: LeafClassifier, exported: tuple[Path, About]) -> None:
    folder, about = exported
    photos = photos_of(classifier, 16)
    engine = engines_of_export(classifier, folder)["onnx-int8"]
    wanted = classifier.model(classifier.normalise(photos)).logits.detach()
    found = engine.logits_and_features(photos, READOUT)[0]
    assert 0 < float((found - wanted).abs().max()) < 0.2 * float(wanted.abs().max())
    assert (
        about.bytes["onnx-int8"] < about.bytes["onnx"]
        and 0 < about.difference <= 1e-4 < about.difference_int8
    )
    assert torch.allclose(engine.probabilities(photos), found.softmax(dim=1))


def test_all_that_is_needed_lies_beside_it(classifier: LeafClassifier, exported: tuple[Path, About]) -> None:
    folder, about = exported
    assert {file.name for file in folder.iterdir()} == {
        "model.onnx",
        "model-int8.onnx",
        "config.json",
        "preprocessor_config.json",
        "notes.json",
        "export.json",
        "README.md",
    }
    assert json.loads((folder / "config.json").read_text())["id2label"] == {
        str(number): label for number, label in enumerate(classifier.labels)
    }
    assert (
        read_about(folder) == about and about.readout == READOUT and about.weights == fingerprint(classifier)
    )
    assert [path.name for path in folder.parent.iterdir()] == ["leaf"]


def test_the_readme_works_without_this_program(
    classifier: LeafClassifier, exported: tuple[Path, About], tmp_path: Path
) -> None:
    code = re.search(r"```python\n(.*?)```", (exported[0] / "README.md").read_text(), re.DOTALL)[1]
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (50, 70, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code, tmp_path / "photo.png"],
        cwd=exported[0],
        capture_output=True,
        text=True,
        check=True,
    )
    with Image.open(tmp_path / "photo.png") as photo, torch.no_grad():
        wanted = classifier.model(classifier.preprocess([photo])).logits[0].softmax(dim=0)
    said = dict(line.split() for line in ran.stdout.splitlines())
    assert {label: float(value) for label, value in said.items()} == pytest.approx(
        dict(zip(classifier.labels, wanted.tolist())), abs=2e-4
    )


def test_a_failed_export_leaves_what_was_there(
    classifier: LeafClassifier, tmp_path: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "leaf"
    monkeypatch.setattr(exports, "TOLERANCE", 0.0)
    assert "differs by" in refusal(export, classifier, folder)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    export(classifier, folder)
    before = (folder / "export.json").stat().st_mtime_ns
    monkeypatch.setattr(exports, "TOLERANCE", 0.0)
    refusal(export, classifier, folder)
    assert (folder / "export.json").stat().st_mtime_ns == before and list(tmp_path.iterdir()) == [folder]
    monkeypatch.undo()
    export(classifier, folder)
    assert (folder / "export.json").stat().st_mtime_ns > before and list(tmp_path.iterdir()) == [folder]


def test_an_export_that_cannot_be_put_in_place_leaves_the_earlier_one(
    classifier: LeafClassifier, tmp_path: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "leaf"
    export(classifier, folder)
    before, rename = (folder / "export.json").stat().st_mtime_ns, Path.rename

    def full(path: Path, target: Path) -> Path:
        if target == folder and path.parent == tmp_path:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    assert "No space left" in refusal(export, classifier, folder)
    assert (folder / "export.json").stat().st_mtime_ns == before and list(tmp_path.iterdir()) == [folder]


def test_no_folder_of_another_kind_is_replaced(
    classifier: LeafClassifier, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert "something else" in refusal(export, classifier, tmp_path / "mine")
    assert "something else" in refusal(export, classifier, tmp_path / "mine" / "letter.txt")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_a_hybrid(tiny_model: Path, tmp_path: Path) -> None:
    LeafClassifier.open(tiny_model, device="cpu", hybrid="new").save(tmp_path / "hybrid")
    hybrid = LeafClassifier.open(tmp_path / "hybrid", device="cpu")
    about = export(hybrid, tmp_path / "out")
    photos = photos_of(hybrid, 4)
    found = engines_of_export(hybrid, tmp_path / "out")["onnx"].logits_and_features(photos, about.readout)[0]
    assert np.abs(found.numpy() - hybrid.model(hybrid.normalise(photos)).logits.detach().numpy()).max() < 1e-4


def test_an_engine_exports_once_and_again_for_other_weights(
    classifier: LeafClassifier, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    real = exports.export
    monkeypatch.setattr(exports, "export", lambda model, folder: made.append(folder) or real(model, folder))
    open_engine(classifier, "onnx")
    open_engine(classifier, "onnx-int8")
    assert made == [settings.load().home / "exports" / fingerprint(classifier)]
    other = LeafClassifier.open(classifier.checkpoint.folder, device="cpu")
    with torch.no_grad():
        other.model.classifier.bias.add_(1)
    open_engine(other, "onnx")
    assert len(made) == 2 and made[1].name == fingerprint(other) != made[0].name


def test_the_export_beside_a_model_is_used(
    classifier: LeafClassifier, home: Path, exported: tuple[Path, About], tmp_path: Path
) -> None:
    shutil.copytree(classifier.checkpoint.folder, tmp_path / "model")
    shutil.copytree(exported[0], tmp_path / "model" / "onnx")
    opened = LeafClassifier.open(tmp_path / "model", device="cpu")
    engine = open_engine(opened, "onnx")
    assert not home.exists()
    photos = photos_of(opened, 2)
    assert torch.allclose(
        engine.logits_and_features(photos, READOUT)[0],
        opened.model(opened.normalise(photos)).logits,
        atol=1e-4,
    )


def test_export_and_predict_by_command(
    classifier: LeafClassifier, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(classifier.checkpoint.folder, model)
    Abstention(READOUT, 1.5, tuple(classifier.labels), None, None).save(model)
    assert (
        cli.main(
            ["export", "--model", str(model), "--out", str(tmp_path / "leaf"), "--json", "--device", "cpu"]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert set(told["engines"]) == {"torch", "onnx", "onnx-int8"} and told["difference"] <= 1e-4
    for row in told["engines"].values():
        assert (
            row["bytes"] > 10_000
            and row["ms"] > 0
            and row["interval"][0] <= row["accuracy"] <= row["interval"][1]
            and row["agreement"] > 0.5
        )
    assert told["engines"]["torch"]["agreement"] == 1
    assert (tmp_path / "leaf" / "abstention.safetensors").is_file()
    Image.new("RGB", (60, 40), (30, 140, 50)).save(tmp_path / "leaf.png")
    answers = {}
    for engine in ("torch", "onnx", "onnx-int8"):
        assert (
            cli.main(
                [
                    "predict",
                    "--model",
                    str(model),
                    "--engine",
                    engine,
                    "--json",
                    "--device",
                    "cpu",
                    str(tmp_path / "leaf.png"),
                ]
            )
            == 0
        )
        answers[engine] = json.loads(capsys.readouterr().out)
    assert {(answer["label"], answer["temperature"]) for answer in answers.values()} == {
        (answers["torch"]["label"], 1.5)
    }
    assert answers["onnx"]["scores"] == pytest.approx(answers["torch"]["scores"], abs=0.05)


def test_an_export_is_a_model_by_itself(
    classifier: LeafClassifier, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its labels, processor and abstention are those of its own folder, with the model that it was made from
    gone.
    """
    model, folder = tmp_path / "model", tmp_path / "leaf"
    shutil.copytree(classifier.checkpoint.folder, model)
    Abstention(READOUT, 1.5, tuple(classifier.labels), None, None).save(model)
    Image.new("RGB", (60, 40), (30, 140, 50)).save(tmp_path / "leaf.png")

    def told(*command: str, model: Path = folder) -> dict:
        assert cli.main([*command, "--model", str(model), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    export(LeafClassifier.open(model, device="cpu"), folder)
    photo = str(tmp_path / "leaf.png")
    wanted, scored = told("predict", photo, model=model), told("evaluate", "--engine", "onnx", model=model)
    shutil.rmtree(model)
    for engine in ("onnx", "onnx-int8"):
        found = told("predict", photo, "--engine", engine)
        assert (found["label"], found["temperature"], found["verdict"]) == (
            wanted["label"],
            1.5,
            wanted["verdict"],
        )
        assert found["scores"] == pytest.approx(wanted["scores"], abs=0.05)
    assert told("evaluate", "--engine", "onnx") == scored
    assert not (home / "exports").exists() or len(list((home / "exports").iterdir())) == 1


def test_where_an_export_cannot_be_used_it_says_what_to_give(
    exported: tuple[Path, About], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "leaf"
    shutil.copytree(exported[0], folder)
    Image.new("RGB", (60, 40)).save(tmp_path / "leaf.png")

    def said(*command: str) -> str:
        assert cli.main([*command, "--model", str(folder)]) == 2
        return capsys.readouterr().err

    assert "Add --engine onnx" in said("predict", str(tmp_path / "leaf.png")) and "Add --engine onnx" in said(
        "evaluate"
    )
    assert "Give the model that it was made from" in said("export", "--out", str(tmp_path / "again"))
    (folder / "model.onnx").unlink()
    assert "Export it again" in said("predict", str(tmp_path / "leaf.png"), "--engine", "onnx")
    (folder / "export.json").write_text("{}")
    assert "this version" in said("predict", str(tmp_path / "leaf.png"), "--engine", "onnx-int8")
    (folder / "preprocessor_config.json").unlink()
    assert "preprocessor_config.json" in said("predict", str(tmp_path / "leaf.png"), "--engine", "onnx-int8")


@pytest.mark.parametrize(
    "change",
    [{"pool": "corner"}, {"pool": []}, {"layer": "2"}, {"layer": 0}, {"layer": True}, {"layer": 99}],
    ids=str,
)
def test_an_export_that_says_nonsense_of_itself_is_refused(
    exported: tuple[Path, About], tmp_path: Path, refusal: Callable[..., str], change: dict
) -> None:
    shutil.copytree(exported[0], tmp_path / "leaf")
    about = json.loads((tmp_path / "leaf" / "export.json").read_text())
    (tmp_path / "leaf" / "export.json").write_text(json.dumps(about | change))
    assert "Export the model again" in refusal(open_export, tmp_path / "leaf", "onnx")


def test_a_model_file_that_answers_for_another_model_is_refused(
    classifier: LeafClassifier,
    exported: tuple[Path, About],
    tiny_model: Path,
    tmp_path: Path,
    refusal: Callable[..., str],
) -> None:
    """Of five classes in place of three; and with the features of another readout."""
    five = LeafClassifier.open(tiny_model, device="cpu", labels=["a", "b", "c", "d", "e"])
    export(five, tmp_path / "five")
    photos = photos_of(classifier, 2)
    for file, readout in (
        (tmp_path / "five" / "model.onnx", READOUT),
        (exported[0] / "model.onnx", Readout(2, Pool.CLS)),
    ):
        engine = OnnxEngine(file, readout, classifier)
        assert "Export it again" in refusal(engine.logits_and_features, photos, readout)


def test_each_engine_is_scored_by_its_own_file(
    classifier: LeafClassifier, exported: tuple[Path, About], tmp_path: Path
) -> None:
    """And not by torch, however torch computes here: the int8 file is put aside for one that always says the
    last class.
    """
    other = LeafClassifier.open(classifier.checkpoint.folder, device="cpu")
    with torch.no_grad():
        other.model.classifier.bias[-1] += 100
    shutil.copytree(exported[0], tmp_path / "leaf")
    export(other, tmp_path / "other")
    shutil.copyfile(tmp_path / "other" / "model.onnx", tmp_path / "leaf" / "model-int8.onnx")
    colours = dict(zip(classifier.labels, ((40, 90, 40), (160, 90, 30), (60, 160, 60))))
    test = squares(tmp_path / "squares", train=1, validation=1, test=4, colours=colours)
    asked = []
    rows = compare(
        classifier,
        tmp_path / "leaf",
        lambda model, name, readout: (
            asked.append(name) or evaluate(model, open_dataset(test)["test"], readout=readout)
        ),
    )
    assert asked == list(rows) == ["torch", "onnx", "onnx-int8"]
    with torch.no_grad():
        always = float(
            (classifier.logits([row["image"] for row in open_dataset(test)["test"]]).argmax(dim=1) == 2)
            .float()
            .mean()
        )
    assert rows["onnx"]["agreement"] == 1 and rows["onnx-int8"]["agreement"] == always < 1
    assert rows["onnx-int8"]["accuracy"] == pytest.approx(1 / 3) and rows["torch"]["n"] == 12


def test_each_engine_is_as_silent_as_torch_on_leaves(home: Path) -> None:
    """Of the real model, whose activations have the few large values that spoil a coarse scale."""
    classifier = LeafClassifier.open("embedded", device="cpu")
    test = open_dataset("beans")["test"]
    photos, fitted = (
        classifier.resize([test[row]["image"] for row in range(0, 128, 11)]),
        abstention_of(classifier),
    )
    logits, tokens = classifier.logits_and_features(photos, fitted.readout)
    wanted = fitted.judge(logits.numpy(), tokens.numpy())
    for name in ("onnx", "onnx-int8"):
        found = fitted.judge(
            *(
                part.numpy()
                for part in open_engine(classifier, name).logits_and_features(photos, fitted.readout)
            )
        )
        far = [abs(one.distance / other.distance - 1) for one, other in zip(found, wanted)]
        assert max(far) < 0.1, (name, far)
        assert sum(one.verdict == other.verdict for one, other in zip(found, wanted)) >= 11
