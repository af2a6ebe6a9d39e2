"""What is said of the photos before a model learns from them, and that a run keeps it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import DatasetDict
from PIL import Image

from tests.training.conftest import Done, Train
from vit_demo.common.words import speaking
from vit_demo.data.copies import fingerprints
from vit_demo.data.corrections.journal import journal_of
from vit_demo.data.normalise import merge_train
from vit_demo.data.open.sources import open_dataset
from vit_demo.training.loop.about_photos import about_photos
from vit_demo.training.run.experiments import summary
from vit_demo.training.run.notes import english_all, told_all

pytestmark = pytest.mark.usefixtures("fp32")


def said(data: DatasetDict) -> list[str]:
    return [str(note) for note in about_photos(data)]


def few(folder: Path, split: str, label: str, count: int) -> None:
    """Leave so many photos of a class in a split."""
    for file in sorted((folder / split / label).iterdir())[count:]:
        file.unlink()


def test_nothing_is_said_of_photos_of_which_nothing_need_be_said(
    make_squares: Callable[..., Path], tmp_path: Path
) -> None:
    assert said(open_dataset(make_squares(tmp_path / "even", train=24, validation=8, test=1))) == []


def test_rare_classes_and_few_validation_photos_are_named_with_their_numbers(
    make_squares: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_squares(tmp_path / "uneven", train=24, validation=9, test=2)
    few(folder, "train", "red", 7)
    few(folder, "train", "green", 8)  # a third: not rarer than that
    few(folder, "validation", "blue", 7)
    few(folder, "validation", "red", 8)
    uneven, validation = said(open_dataset(folder))
    assert uneven.startswith(
        "The class blue has 24 photos for training, more than three times as many as red (7)."
    )
    assert validation.startswith("Fewer than 8 photos for validation: blue (7).")


def test_of_many_classes_the_rarest_are_named_and_the_others_counted(
    make_squares: Callable[..., Path], tmp_path: Path
) -> None:
    colours = {f"class {number}": (20 * number, 90, 250 - 20 * number) for number in range(9)}
    folder = make_squares(tmp_path / "many", train=2, validation=3, test=1, colours=colours)
    few(folder, "validation", "class 8", 1)
    (note,) = about_photos(open_dataset(folder))
    assert "class 8 (1), class 0 (3), class 1 (3)" in str(note) and "class 4 (3) and 3 more." in str(note)
    with speaking("fr"):
        assert "et 3 de plus" in str(note)


def test_a_class_without_a_validation_photo_is_named_once(
    make_squares: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_squares(tmp_path / "none", train=8, validation=8, test=1)
    few(folder, "validation", "red", 0)
    assert said(open_dataset(folder)) == ["The class red has no photo in validation."]


@pytest.fixture
def twice(make_squares: Callable[..., Path], tmp_path: Path) -> Path:
    """Enough photos, of which one is in two classes."""
    folder = make_squares(tmp_path / "twice", train=9, validation=8, test=2)
    shutil.copy(folder / "train" / "red" / "000.png", folder / "test" / "blue" / "other.png")
    return folder


def test_a_photo_in_two_classes_is_named_with_both_places_and_where_to_decide_it(
    twice: Path, home: Path
) -> None:
    conflict, where, leak = said(open_dataset(twice))
    assert f"{twice / 'train' / 'red' / '000.png'} (red)" in conflict
    assert f"{twice / 'test' / 'blue' / 'other.png'} (blue)" in conflict
    assert "in the tab Data, under Check" in where and "`data check`" in where
    assert leak.startswith("1 photo of test is also in training")


def test_where_there_are_too_many_photos_it_is_said_that_they_were_not_compared(
    twice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "MOST_PHOTOS", 50)
    conflict, where, limit, _ = said(open_dataset(twice))
    assert "in two classes" in conflict and where.startswith("Decide about photos")
    assert "so only equal files were looked for" in limit and "under Check" in limit
    # The same picture in another file is what was not looked for.
    with Image.open(twice / "test" / "blue" / "other.png") as photo:
        photo.save(twice / "test" / "blue" / "other.png", compress_level=1)
    (limit,) = said(open_dataset(twice))
    assert "so only equal files" in limit


def test_a_conflict_that_was_decided_is_not_told_any_more_and_one_of_extra_photos_once(
    twice: Path, home: Path, make_squares: Callable[..., Path], tmp_path: Path
) -> None:
    extra = make_squares(tmp_path / "extra", train=9, validation=8, test=2, seed=1)
    shutil.copy(extra / "train" / "red" / "000.png", extra / "train" / "blue" / "other.png")
    merged = said(merge_train(open_dataset(twice), open_dataset(extra)))
    assert merged[0].startswith("2 photos are in two classes") and len(merged) == 3
    data = open_dataset(twice)
    (path,) = [path for path in data["test"]["image_file_path"] if path.endswith("other.png")]
    journal_of(str(twice)).decide("exclude", ("test", path))
    assert said(open_dataset(f"mended:{twice}")) == []


# In a run


def test_a_run_keeps_what_was_said_and_prints_it_before_its_first_step(
    train: Train, twice: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def listen(run, progress) -> None:
        if progress.status == "training" and not seen:
            seen.append((run.state()["data_notes"], capsys.readouterr().out))

    done = train(listener=listen, data=str(twice))
    expected = said(open_dataset(twice))
    (state, printed), *_ = seen
    assert english_all(state) == expected and printed.splitlines()[: len(expected)] == expected
    assert done.result["data_notes"] == done.run.scores()["data_notes"] == expected
    with speaking("fr"):
        conflict, where, _ = (str(note) for note in told_all(done.run.state()["data_notes"]))
    assert where.startswith("Tranchez") and "Vérifier" in where and str(twice) in conflict
    card = (done.run.model_folder / "README.md").read_text(encoding="utf-8")
    assert "## About its photos\n\n- 1 photo" in card and card.count("\n- Decide about") == 1


def test_a_run_of_which_nothing_need_be_said_has_no_notes(
    train: Train, make_squares: Callable[..., Path], tmp_path: Path
) -> None:
    done = train(data=str(make_squares(tmp_path / "even", train=9, validation=8, test=2)))
    assert done.run.state()["data_notes"] == done.result["data_notes"] == []
    assert "About its photos" not in (done.run.model_folder / "README.md").read_text(encoding="utf-8")


# Without a test photo


@pytest.fixture(params=["broken", "none"])
def untested(
    request: pytest.FixtureRequest, train: Train, make_squares: Callable[..., Path], tmp_path: Path
) -> Done:
    """A run whose test photos cannot be read, and one whose test split is empty when it is scored."""
    folder = make_squares(tmp_path / "untested", train=9, validation=8, test=2)
    for file in folder.glob("test/*/*.png"):
        file.write_text("this is no photo")
    if request.param == "broken":
        return train(data=str(folder))
    from vit_demo.data.open import sources

    whole = open_dataset(folder)
    empty = DatasetDict({**whole, "test": whole["test"].select([])})
    sources.register(sources.Source(lambda text: text == "emptied", lambda text, revision: empty))
    try:
        return train(data="emptied")
    finally:
        sources.SOURCES.pop(0)


def test_what_cannot_be_scored_is_not_measured_and_never_0(
    untested: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    state, scores = untested.run.state(), untested.run.scores()
    assert state["status"] == "finished"
    assert state["result"]["test_accuracy"] is None and state["result"]["test_interval"] is None
    assert "test" in scores and scores["test"] is None and scores["validation"]["n"] == 24
    (warning,) = untested.events("warning")
    assert warning["message"].startswith("No test photo could be read")
    card = (untested.run.model_folder / "README.md").read_text(encoding="utf-8")
    assert "Test accuracy: **not measured**" in card and "model-index" not in card
    assert summary([untested.run]).to_dict() == {
        "total": 1,
        "n": 0,
        "mean": None,
        "deviation": None,
        "interval": None,
        "accuracies": (),
        "not_measured": 1,
    }
    assert summary([untested.run]).sentence().startswith("Test accuracy not measured in 1 of 1 runs")
    assert json.dumps(untested.result)
