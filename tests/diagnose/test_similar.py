"""It looks like these: the nearest pictures, what stays on disk for them, and which models have none."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load, save

from vit_demo.common import settings
from vit_demo.data.open.sources import open_dataset
from vit_demo.diagnose.similar import pictures_file, similar
from vit_demo.model import neighbours
from vit_demo.model.checkpoints import Checkpoint, inspect
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.neighbours import FILE, Pictures, nearest, readout_in
from vit_demo.model.readout import Pool, Readout

LABELS = ("angular_leaf_spot", "bean_rust", "healthy")


def photo(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8))


def jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    rng = np.random.default_rng(0)
    # As in a ViT, one feature is much larger than the others.
    features = rng.normal(size=(50, 8)) * np.array([300, 1, 1, 2, 0.1, 1, 1, 0]) + 0.5
    return Pictures(
        Readout(2, Pool.PATCH_MEAN),
        features.astype(np.float32),
        rng.integers(0, 3, 50),
        [bytes([65 + number]) * (number + 1) for number in range(50)],
        LABELS,
    )


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
    features = classifier.logits_and_features(photos, Readout(2))[1].numpy()
    Pictures(Readout(2), features, np.arange(12) % 3, [jpeg(one) for one in photos], LABELS).save(
        folder / FILE
    )
    return folder


def test_the_nearest_are_those_of_the_smallest_angle_between_scaled_features(
    pictures: Pictures, file: Path
) -> None:
    asked = np.random.default_rng(1).normal(size=8).astype(np.float32) * np.array(
        [300, 1, 1, 2, 0.1, 1, 1, 1]
    )
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
    assert readout_in(file) == Readout(2, Pool.PATCH_MEAN) and len(nearest(file, asked, 99)) == 50


def test_features_beyond_half_precision_stay_numbers(tmp_path: Path) -> None:
    Pictures(Readout(1), np.array([[1e6, 1.0], [-1.0, 1.0]], np.float32), [0, 1], [b"a", b"b"], LABELS).save(
        tmp_path / FILE
    )
    assert [one.jpeg for one in nearest(tmp_path / FILE, np.array([9e5, 1.0]), 2)] == [b"a", b"b"]


def test_what_is_broken_is_one_sentence(file: Path, refusal) -> None:
    whole = file.read_bytes()
    metadata = {"format": neighbours.FORMAT, "layer": "2", "labels": json.dumps(LABELS)}
    arrays = load(whole)
    lies = {
        "short ends": save({**arrays, "ends": arrays["ends"][:-1]}, metadata),
        "far ends": save({**arrays, "ends": arrays["ends"] + 9}, metadata),
        "no pictures": save({name: array for name, array in arrays.items() if name != "jpegs"}, metadata),
        "a class too many": save({**arrays, "targets": arrays["targets"] + 7}, metadata),
        "another file": save(arrays, {"format": "x"}),
        "ends before the first byte": save(
            {**arrays, "ends": np.concatenate([[-1], arrays["ends"][1:]])}, metadata
        ),
        "a class of -1": save({**arrays, "targets": arrays["targets"] - 3}, metadata),
        "labels": save(arrays, {**metadata, "labels": "{"}),
        "half": whole[: len(whole) // 2],
        "nothing": b"",
    }
    for name, content in lies.items():
        file.write_bytes(content)
        assert FILE in refusal(nearest, file, np.ones(8), 3), name
    file.write_bytes(whole)
    assert "another model" in refusal(nearest, file, np.ones(9), 3)
    file.unlink()
    refusal(readout_in, file)


def test_a_photo_that_it_learned_from_is_most_like_itself(run_folder: Path) -> None:
    classifier = LeafClassifier.open(run_folder, device="cpu")
    found = similar(classifier, photo(7))
    assert (
        len(found) == 3
        and found[0].label == LABELS[7 % 3]
        and found[0].distance < 1e-3 < found[1].distance <= found[2].distance
    )
    assert found[0].jpeg == jpeg(photo(7)) and Image.open(io.BytesIO(found[0].jpeg)).size == (40, 40)


def test_a_run_whose_file_has_no_pictures_shows_no_photos_of_others(run_folder: Path, refusal) -> None:
    Pictures(Readout(2), np.ones((3, 32), np.float32), [0, 1, 2], [], LABELS).save(run_folder / FILE)
    assert "is broken" in refusal(similar, LeafClassifier.open(run_folder, device="cpu"), photo(0))


def test_pictures_of_a_deeper_model_are_refused(run_folder: Path, refusal) -> None:
    Pictures(Readout(9), np.ones((3, 32), np.float32), [0, 1, 2], [b"a", b"b", b"c"], LABELS).save(
        run_folder / FILE
    )
    assert "another model" in refusal(similar, LeafClassifier.open(run_folder, device="cpu"), photo(0))


def test_only_a_run_and_the_embedded_model_have_pictures(run_folder: Path, tiny_model: Path) -> None:
    own = inspect(run_folder / "model", "mine")
    assert pictures_file(own) == run_folder / FILE
    assert pictures_file(inspect(tiny_model, "folder")) is None
    assert pictures_file(Checkpoint(own.folder, "a/b", "0" * 40, LABELS)) is None
    assert pictures_file(inspect(settings.EMBEDDED_MODEL, "embedded")) == settings.EMBEDDED_SIMILAR
    assert similar(LeafClassifier.open(tiny_model, device="cpu"), photo(0)) == []


def test_the_embedded_model_shows_its_own_train_photos() -> None:
    classifier, train = LeafClassifier.open("embedded", device="cpu"), open_dataset("beans")["train"]
    for row in (0, 517, 1033):
        found = similar(classifier, train[row]["image"])
        assert (
            found[0].number == row
            and found[0].label == LABELS[train[row]["labels"]]
            and found[0].distance < 0.02 < found[1].distance
        )
        shown, small = Image.open(io.BytesIO(found[0].jpeg)), train[row]["image"].copy()
        small.thumbnail((neighbours.SIDE, neighbours.SIDE))
        assert (
            shown.size == small.size
            and np.abs(np.asarray(shown, float) - np.asarray(small, float)).mean() < 6
        )
    test = open_dataset("beans")["test"]
    right = [
        one.label == LABELS[test[row]["labels"]]
        for row in range(0, 128, 8)
        for one in similar(classifier, test[row]["image"])
    ]
    assert sum(right) >= 0.9 * len(right)


def test_where_the_file_of_the_embedded_model_is_broken_nobody_is_told_to_delete_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal
) -> None:
    broken = tmp_path / "leaf-similar.safetensors"
    broken.write_bytes(settings.EMBEDDED_SIMILAR.read_bytes()[:1000])
    monkeypatch.setattr(settings, "EMBEDDED_SIMILAR", broken)
    said = refusal(similar, LeafClassifier.open("embedded", device="cpu"), photo(0))
    assert broken.name in said and "Get the program anew" in said and "Delete" not in said


def test_a_file_without_pictures_gives_the_numbers_of_photos(pictures: Pictures, tmp_path: Path) -> None:
    dataclasses.replace(pictures, jpegs=[]).save(tmp_path / "with out.safetensors")
    pictures.save(tmp_path / FILE)
    asked = np.random.default_rng(3).normal(size=8)
    without, found = (nearest(tmp_path / name, asked, 5) for name in ("with out.safetensors", FILE))
    assert [dataclasses.replace(one, jpeg=b"") for one in found] == without and all(one.jpeg for one in found)
