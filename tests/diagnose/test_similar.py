"""It looks like these: the nearest pictures, what stays on disk for them, and which models have none."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load, save

from vit_demo import neighbours, settings
from vit_demo.checkpoints import Checkpoint, inspect
from vit_demo.diagnose import similar as module
from vit_demo.diagnose.similar import keep_drawn, pictures_file, similar
from vit_demo.neighbours import FILE, Pictures, layer_in, nearest
from vit_demo.vit import LeafClassifier

LABELS = ("angular_leaf_spot", "bean_rust", "healthy")


def photo(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    rng = np.random.default_rng(0)
    # As in a ViT, one feature is much larger than the others.
    features = rng.normal(size=(50, 8)) * np.array([300, 1, 1, 2, 0.1, 1, 1, 0]) + 0.5
    return Pictures(2, features.astype(np.float32), rng.integers(0, 3, 50), [bytes([65 + number]) * (number + 1) for number in range(50)], LABELS)


@pytest.fixture
def file(pictures: Pictures, tmp_path: Path) -> Path:
    pictures.save(tmp_path / "deep" / FILE)
    return tmp_path / "deep" / FILE


@pytest.fixture
def run_folder(tiny_model: Path, tmp_path: Path) -> Path:
    """What a fine-tune leaves: the model, and beside its folder pictures of its train photos."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_model, folder / "model")
    classifier = LeafClassifier.open(folder, device="cpu")
    photos = [photo(seed) for seed in range(12)]
    features = classifier.logits_and_tokens(photos, 2)[1].numpy()
    Pictures(2, features, np.arange(12) % 3, [module._jpeg(one) for one in photos], LABELS).save(folder / FILE)
    return folder


def test_the_nearest_are_those_of_the_smallest_angle_between_scaled_features(pictures: Pictures, file: Path) -> None:
    asked = np.random.default_rng(1).normal(size=8).astype(np.float32) * np.array([300, 1, 1, 2, 0.1, 1, 1, 1])
    stored = pictures.features.astype(np.float16).astype(float)
    slowly = []
    for row in stored:
        top = left = right = 0.0
        for a, b, deviation in zip(asked, row, np.sqrt(((stored - stored.mean(0)) ** 2).mean(0))):
            a, b = (a / deviation, b / deviation) if deviation else (a, b)
            top, left, right = top + a * b, left + a * a, right + b * b
        slowly.append(1 - top / (left * right) ** 0.5)
    order = np.argsort(slowly)[:4]
    found = nearest(file, asked, 4)
    assert [one.jpeg for one in found] == [pictures.jpegs[row] for row in order]
    assert [one.label for one in found] == [LABELS[pictures.targets[row]] for row in order]
    np.testing.assert_allclose([one.distance for one in found], np.array(slowly)[order], atol=1e-9)
    assert layer_in(file) == 2 and len(nearest(file, asked, 99)) == 50


def test_features_beyond_half_precision_stay_numbers(tmp_path: Path) -> None:
    Pictures(1, np.array([[1e6, 1.0], [-1.0, 1.0]], np.float32), [0, 1], [b"a", b"b"], LABELS).save(tmp_path / FILE)
    assert [one.jpeg for one in nearest(tmp_path / FILE, np.array([9e5, 1.0]), 2)] == [b"a", b"b"]


def test_what_is_broken_is_one_sentence(file: Path, refusal) -> None:
    whole = file.read_bytes()
    metadata = {"format": neighbours.FORMAT, "layer": "2", "labels": json.dumps(LABELS)}
    arrays = load(whole)
    lies = {
        "short ends": save({**arrays, "ends": arrays["ends"][:-1]}, metadata), "far ends": save({**arrays, "ends": arrays["ends"] + 9}, metadata),
        "no pictures": save({name: array for name, array in arrays.items() if name != "jpegs"}, metadata),
        "a class too many": save({**arrays, "targets": arrays["targets"] + 7}, metadata), "another file": save(arrays, {"format": "x"}),
        "labels": save(arrays, {**metadata, "labels": "{"}), "half": whole[: len(whole) // 2], "nothing": b"",
    }
    for name, content in lies.items():
        file.write_bytes(content)
        assert FILE in refusal(nearest, file, np.ones(8), 3), name
    file.write_bytes(whole)
    assert "another model" in refusal(nearest, file, np.ones(9), 3)
    file.unlink()
    refusal(layer_in, file)


def test_a_photo_that_it_learned_from_is_most_like_itself(run_folder: Path) -> None:
    classifier = LeafClassifier.open(run_folder, device="cpu")
    found = similar(classifier, photo(7))
    assert len(found) == 3 and found[0].label == LABELS[7 % 3] and found[0].distance < 1e-3 < found[1].distance <= found[2].distance
    assert found[0].jpeg == module._jpeg(photo(7)) and Image.open(io.BytesIO(found[0].jpeg)).size == (40, 40)


def test_pictures_of_a_deeper_model_are_refused(run_folder: Path, refusal) -> None:
    Pictures(9, np.ones((3, 32), np.float32), [0, 1, 2], [b"a", b"b", b"c"], LABELS).save(run_folder / FILE)
    assert "another model" in refusal(similar, LeafClassifier.open(run_folder, device="cpu"), photo(0))


def test_only_a_run_and_the_embedded_model_have_pictures(run_folder: Path, tiny_model: Path, home: Path) -> None:
    own = inspect(run_folder / "model", "mine")
    assert pictures_file(own) == run_folder / FILE
    assert pictures_file(inspect(tiny_model, "folder")) is None
    assert pictures_file(Checkpoint(own.folder, "a/b", "0" * 40, LABELS)) is None
    assert pictures_file(inspect(settings.EMBEDDED_MODEL, "embedded")).parent == home / "similar"
    assert similar(LeafClassifier.open(tiny_model, device="cpu"), photo(0)) == []


def test_drawn_leaves_are_looked_at_once(tiny_model: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "EMBEDDED_MODEL", tiny_model.resolve())
    classifier = LeafClassifier.open("embedded", device="cpu")
    assert similar(classifier, photo(1)) == []
    asked = []

    def leaves():
        for seed in range(5):
            asked.append(seed)
            yield LABELS[seed % 3], photo(seed).resize((400, 400))

    keep_drawn(classifier, leaves())
    keep_drawn(classifier, leaves())
    assert asked == [0, 1, 2, 3, 4]
    found = similar(classifier, photo(4).resize((400, 400)))
    assert found[0].label == "bean_rust" and max(Image.open(io.BytesIO(found[0].jpeg)).size) == neighbours.SIDE


def test_other_weights_get_pictures_of_their_own(tiny_model: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Path(shutil.copytree(tiny_model, tmp_path / "other"))
    weights = load((other / "model.safetensors").read_bytes())
    (other / "model.safetensors").write_bytes(save({name: array * 2 for name, array in weights.items()}, {"format": "pt"}))
    files = []
    for folder in (tiny_model, other, shutil.copytree(tiny_model, tmp_path / "copy")):
        monkeypatch.setattr(settings, "EMBEDDED_MODEL", folder)
        files.append(pictures_file(Checkpoint(folder, "embedded", None, LABELS)))
    assert files[0] == files[2] != files[1] and files[0].parent == files[1].parent == home / "similar"


def test_a_home_folder_that_cannot_be_written_is_one_sentence(tiny_model: Path, home: Path, monkeypatch: pytest.MonkeyPatch, refusal) -> None:
    monkeypatch.setattr(settings, "EMBEDDED_MODEL", tiny_model.resolve())
    home.write_text("a file in the place of the folder")
    assert "cannot be kept" in refusal(keep_drawn, LeafClassifier.open("embedded", device="cpu"), [("healthy", photo(0))])
