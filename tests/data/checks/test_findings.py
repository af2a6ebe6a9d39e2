"""What is wrong with a data set: planted faults are found, in the order of how much they matter, and not
again once decided.
"""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PillowImage
from PIL import ImageFilter

from vit_demo.common.jobs import Job
from vit_demo.data.checks import checkup
from vit_demo.data.checks import reading as reading_module
from vit_demo.data.checks.checks import CHECKS
from vit_demo.data.checks.finding import Finding
from vit_demo.data.checks.findings import find, rare_classes
from vit_demo.data.checks.reading import Reading, read_photos
from vit_demo.data.corrections.journal import Decision
from vit_demo.model.classifier import LeafClassifier

NAMES = ["green", "red"]
FEATURES = Features({"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=NAMES)})


def leaf(seed: int, label: int, light: float = 1.0) -> PillowImage.Image:
    """Soft shapes in the colour of the class, 240 px, sharp enough to be no blurred photo."""
    random = np.random.default_rng(seed)
    soft = PillowImage.fromarray(random.integers(0, 110, (12, 12, 3), dtype=np.uint8)).resize(
        (240, 240), PillowImage.Resampling.BICUBIC
    )
    values = np.asarray(soft.filter(ImageFilter.GaussianBlur(2)), dtype=float) + random.normal(
        0, 12, (240, 240, 1)
    )
    values[..., 1 - label] += 110
    return PillowImage.fromarray((values * light).clip(0, 255).astype(np.uint8))


def encoded(photo: PillowImage.Image, quality: int = 95) -> bytes:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return file.getvalue()


@pytest.fixture(scope="module")
def planted() -> DatasetDict:
    """45 photos: a copy across splits, one saved anew within train, a wrong label, a dark one, a broken
    one.
    """
    rows = {
        split: {"image_file_path": [], "image": [], "labels": []} for split in ("train", "validation", "test")
    }

    def add(split: str, name: str, content: bytes, label: int) -> None:
        rows[split]["image_file_path"].append(name)
        rows[split]["image"].append({"bytes": content, "path": None})
        rows[split]["labels"].append(label)

    for seed in range(30):
        add("train", f"train/{seed}.jpg", encoded(leaf(seed, seed % 2)), seed % 2)
    for seed in range(30, 35):
        add("validation", f"validation/{seed}.jpg", encoded(leaf(seed, seed % 2)), seed % 2)
        add("test", f"test/{seed}.jpg", encoded(leaf(seed + 100, seed % 2)), seed % 2)
    add("test", "test/copy of train 4.jpg", encoded(leaf(4, 0)), 0)
    add("train", "train/7 saved anew.jpg", encoded(leaf(7, 1), 60), 1)
    add("train", "train/wrong.jpg", encoded(leaf(50, 0)), 1)
    add("train", "train/dark.jpg", encoded(leaf(51, 1, 0.2)), 1)
    add("validation", "validation/broken.jpg", encoded(leaf(52, 0))[:300], 0)
    return DatasetDict(
        {split: Dataset.from_dict(columns, features=FEATURES) for split, columns in rows.items()}
    )


@pytest.fixture(scope="module")
def reading(planted: DatasetDict) -> Reading:
    return read_photos(planted, LeafClassifier.open("embedded", device="cpu"))


def of_kind(found: list[Finding], kind: str) -> list[Finding]:
    return [finding for finding in found if finding.kind == kind]


def test_each_planted_fault_is_found_first_of_its_kind(planted, reading):
    found = find(reading, planted)
    leak, anew, wrong = (of_kind(found, kind)[0] for kind in ("leakage", "duplicate", "label"))
    assert (
        set(leak.photos) == {("train", "train/4.jpg"), ("test", "test/copy of train 4.jpg")}
        and leak.sure
        and "same pixels" in str(leak.note)
    )
    assert set(anew.photos) == {("train", "train/7.jpg"), ("train", "train/7 saved anew.jpg")} and anew.sure
    assert (
        wrong.photos == (("train", "train/wrong.jpg"),)
        and wrong.suggestion == "green"
        and "called red" in str(wrong.note)
    )
    assert [finding.photos for finding in of_kind(found, "dark")] == [(("train", "train/dark.jpg"),)]
    assert [finding.photos for finding in of_kind(found, "broken")] == [
        (("validation", "validation/broken.jpg"),)
    ]
    assert [finding.kind for finding in found] == sorted(
        (finding.kind for finding in found), key=list(CHECKS).index
    )


def test_what_was_decided_is_not_found_again_and_an_undone_decision_is(planted, reading):
    copy, original = ("test", "test/copy of train 4.jpg"), ("train", "train/4.jpg")
    for decision in (
        Decision(1, "exclude", *copy),
        Decision(1, "move", *copy, to="train"),
        Decision(1, "keep", *original, why="leakage"),
    ):
        pairs = {finding.photos for finding in of_kind(find(reading, planted, [decision]), "leakage")}
        assert not any(set(pair) == {copy, original} for pair in pairs)
    moved = of_kind(find(reading, planted, [Decision(1, "move", *copy, to="train")]), "duplicate")
    assert set(moved[0].photos) == {copy, original}  # now it is there twice in train
    wrong = ("train", "train/wrong.jpg")
    assert wrong not in {
        finding.photos[0]
        for finding in of_kind(find(reading, planted, [Decision(1, "relabel", *wrong, to="green")]), "label")
    }
    assert find(reading, planted, []) == find(reading, planted)


def test_a_reading_is_the_same_from_its_arrays_and_what_is_no_reading_is_none(reading, planted):
    again = Reading.from_arrays(reading.to_arrays())
    assert (
        again.photos == reading.photos and again.problems == reading.problems and again.total == reading.total
    )
    assert np.array_equal(again.features.values, reading.features.values) and find(again, planted) == find(
        reading, planted
    )
    arrays = reading.to_arrays()
    for broken in (
        None,
        {},
        {**arrays, "told": arrays["told"][:20]},
        {name: array for name, array in arrays.items() if name != "hashes"},
    ):
        assert Reading.from_arrays(broken) is None


def test_of_many_photos_a_draw_over_all_splits_is_read(planted, monkeypatch: pytest.MonkeyPatch, tiny_model):
    monkeypatch.setattr(reading_module, "MOST_PHOTOS", 20)
    seen = read_photos(planted, LeafClassifier.open(tiny_model, device="cpu"))
    assert (
        len(seen.photos) == len(set(seen.photos)) == 20
        and seen.total == 45
        and {split for split, _ in seen.photos} == set(planted)
    )
    assert len(find(seen, planted)) >= 0 and find(seen, planted) == find(seen, planted)


def test_rare_classes_are_named():
    rows = {
        "image_file_path": [str(row) for row in range(13)],
        "image": [None] * 13,
        "labels": [0] * 10 + [1] * 3,
    }
    data = DatasetDict(train=Dataset.from_dict(rows, features=FEATURES))
    assert rare_classes(data) == {"red": 3}
    assert rare_classes(DatasetDict(train=data["train"].select(range(6, 13)))) == {}


def wait(job: Job) -> None:
    until = time.monotonic() + 60
    while job.is_going and time.monotonic() < until:
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def no_checkups(monkeypatch: pytest.MonkeyPatch):
    checkup.JOBS.clear()


def test_a_checkup_runs_beside_the_page_and_is_kept_for_the_next_server(
    home, planted, tiny_model, monkeypatch
):
    classifier = LeafClassifier.open(tiny_model, device="cpu")
    job = checkup.start(planted, classifier)
    assert checkup.start(planted, classifier) is job and checkup.JOBS.find(job.key) is job
    wait(job)
    assert (job.state, job.done, job.total) == ("done", 45, 45)
    checkup.JOBS.clear()
    monkeypatch.setattr(checkup, "read_photos", lambda *_: pytest.fail("the file was not found"))
    again = checkup.start(planted, classifier)
    wait(again)
    assert again.state == "done" and again.key == job.key and again.result.photos == job.result.photos


def test_a_checkup_can_be_stopped_and_started_anew(home, planted, tiny_model, monkeypatch):
    reached, go_on = threading.Event(), threading.Event()
    real = checkup.read_photos

    def slowly(data, classifier, progress):
        reached.set()
        go_on.wait(30)
        return real(data, classifier, progress)

    monkeypatch.setattr(checkup, "read_photos", slowly)
    classifier = LeafClassifier.open(tiny_model, device="cpu")
    job = checkup.start(planted, classifier)
    assert reached.wait(30)
    job.stop()
    go_on.set()
    wait(job)
    assert job.state == "stopped" and not list((home / "cache").rglob("*.npz"))
    again = checkup.start(planted, classifier)
    wait(again)
    assert again is not job and again.state == "done"


def test_the_key_changes_with_photos_and_model_and_not_with_labels(planted, tiny_model, tmp_path):
    key = checkup.key_of(planted, tiny_model)
    relabelled = DatasetDict(
        {**planted, "test": planted["test"].remove_columns("labels").add_column("labels", [1] * 6)}
    )
    assert checkup.key_of(relabelled, tiny_model) == key
    assert (
        checkup.key_of(
            DatasetDict({**planted, "test": planted["test"].select([1, 0, 2, 3, 4, 5])}), tiny_model
        )
        != key
    )
    assert checkup.key_of(planted, tmp_path) != key
