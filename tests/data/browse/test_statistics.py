"""The numbers of a data set: right by another way to count, found once, kept, and true of what is there
now.
"""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PillowImage
from PIL import ImageStat

from vit_demo.data.browse import statistics
from vit_demo.data.browse.catalogue import FINE, Catalogue, Query
from vit_demo.data.browse.statistics import Job, Statistics, drawn, kept, measure, start
from vit_demo.data.open.sources import open_dataset
from vit_demo.photos.quality import WARNINGS, assess

FEATURES = Features(
    {"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=["rust", "healthy"])}
)


@pytest.fixture(autouse=True)
def fresh(home, monkeypatch) -> None:
    """A server that has just started, on an empty home folder."""
    statistics.JOBS.clear()


def photo(number: int) -> bytes:
    """Noise of another size and brightness each; number 4 is dark, number 5 no photo at all, number 6 of one
    shade.
    """
    if number == 5:
        return b"no photo"
    rng = np.random.default_rng(number)
    low, high = {4: (0, 30), 6: (120, 121)}.get(number, (15 * number, 120 + 15 * number))
    file = io.BytesIO()
    PillowImage.fromarray(rng.integers(low, high, (130 + 10 * number, 200, 3), dtype=np.uint8)).save(
        file, "PNG"
    )
    return file.getvalue()


def build(count: int = 7, **changed: bytes) -> Catalogue:
    def part(rows: range) -> Dataset:
        paths = [f"{row}.png" for row in rows]
        images = [{"bytes": changed.get(f"photo_{row}") or photo(row), "path": None} for row in rows]
        return Dataset.from_dict(
            {"image_file_path": paths, "image": images, "labels": [row % 2 for row in rows]},
            features=FEATURES,
        )

    return Catalogue(
        DatasetDict(
            {
                "train": part(range(count - 2)),
                "validation": part(range(count - 2, count - 1)),
                "test": part(range(count - 1, count)),
            }
        )
    )


def finished(job: Job) -> Statistics:
    until = time.monotonic() + 30
    while job.is_going and time.monotonic() < until:
        time.sleep(0.01)
    assert job.result is not None, job.error
    return job.result


def test_they_are_those_of_the_photos() -> None:
    told = []
    found = measure(build(), told.append)
    assert found.places.tolist() == list(range(7)) and told[-1] == 7
    assert found.width.tolist() == [200, 200, 200, 200, 200, 0, 200] and found.height.tolist() == [
        130,
        140,
        150,
        160,
        170,
        0,
        190,
    ]
    assert found.fine.tolist() == [True] * 5 + [False, True]
    for number in (0, 1, 2, 3, 4, 6):
        with PillowImage.open(io.BytesIO(photo(number))) as picture:
            # Pillow's own way to count, from histograms.
            assert found.colour[number] == pytest.approx(
                np.array(ImageStat.Stat(picture).mean) / 255, abs=1e-5
            )
            assert found.brightness[number] == pytest.approx(
                ImageStat.Stat(picture.convert("L")).mean[0] / 255, abs=0.003
            )
            quality = assess(picture)
        assert [name for bit, name in enumerate(WARNINGS) if found.problems[number] >> bit & 1] == list(
            quality.problems
        )
        if number != 6:
            assert found.sharpness[number] == pytest.approx(quality.sharpness, rel=1e-5)
    assert "dark" in [name for bit, name in enumerate(WARNINGS) if found.problems[4] >> bit & 1]
    assert found.problems[5] == -1 and np.isnan(found.sharpness[[5, 6]]).all()


def test_the_catalogue_can_be_asked_by_them() -> None:
    bare = build()
    catalogue = measure(bare).add_to(bare)
    assert catalogue.find(Query(problem="dark")).tolist() == [4] and 4 not in catalogue.find(
        Query(problem=FINE)
    )
    # Number 4 is the darkest, number 5 is broken.
    by_light = catalogue.find(Query(sort="brightness")).tolist()
    assert by_light[0] == 4 and by_light[-1] == 5
    assert catalogue.find(Query(sort="height", descending=True)).tolist() == [6, 4, 3, 2, 1, 0, 5]
    assert catalogue.numbers(0)["height"] == 130 and catalogue.numbers(5) == {} and bare.numbers(0) == {}


def test_of_many_photos_some_are_drawn_all_as_likely(monkeypatch) -> None:
    places = drawn(100_000)
    assert len(set(places.tolist())) == statistics.MOST_PHOTOS and (np.diff(places) > 0).all()
    # Each tenth of the data set holds about a tenth of them: 200, with a standard deviation of 13.
    assert (abs(np.histogram(places, 10, (0, 100_000))[0] - 200) < 60).all()
    assert drawn(2000).tolist() == list(range(2000))
    monkeypatch.setattr(statistics, "MOST_PHOTOS", 3)
    bare = build()
    found = measure(bare)
    assert len(found) == 3
    catalogue = found.add_to(bare)
    assert [
        at for at in range(7) if catalogue.problems(at) is not None or at == 5 and at in found.places
    ] == found.places.tolist()


def test_they_are_found_once_and_kept(home, monkeypatch) -> None:
    assert kept(build()) is None
    first = finished(start(build()))
    assert start(build()).result is first and kept(build()) is first, "the same photos, opened again"
    # A server that starts later decodes nothing.
    statistics.JOBS.clear()
    monkeypatch.setattr(statistics, "decode", None)
    again = kept(build())
    assert all(
        np.array_equal(getattr(first, name), getattr(again, name), equal_nan=True) for name in vars(first)
    )
    assert start(build()).result is not None and len(list((home / "cache" / "numbers").iterdir())) == 1


def test_other_photos_are_looked_at_anew(home, monkeypatch) -> None:
    finished(start(build()))
    statistics.JOBS.clear()
    assert kept(build(photo_2=photo(3))) is None


def test_a_photo_that_changed_in_its_folder_is_looked_at_anew(tmp_path) -> None:
    for split, label, number in (
        ("train", "a", 0),
        ("train", "b", 1),
        ("validation", "a", 2),
        ("validation", "b", 3),
        ("test", "a", 4),
        ("test", "b", 6),
    ):
        (tmp_path / split / label).mkdir(parents=True)
        (tmp_path / split / label / "leaf.png").write_bytes(photo(number))
    catalogue = Catalogue(open_dataset(tmp_path))
    assert finished(start(catalogue)).height.tolist() == [130, 140, 150, 160, 170, 190]
    (tmp_path / "train" / "a" / "leaf.png").write_bytes(photo(3))
    assert kept(catalogue) is None and finished(start(catalogue)).height[0] == 160


@pytest.mark.parametrize("what", ["torn", "empty", "of another count"])
def test_a_file_that_cannot_be_used_is_made_again(what, home, monkeypatch) -> None:
    first = finished(start(build()))
    file = next((home / "cache" / "numbers").iterdir())
    if what == "of another count":
        statistics.JOBS.clear()
        finished(start(build(8)))
        other = next(path for path in file.parent.iterdir() if path != file)
        file.write_bytes(other.read_bytes())
    else:
        file.write_bytes(file.read_bytes()[:200] if what == "torn" else b"")
    statistics.JOBS.clear()
    assert kept(build()) is None
    assert finished(start(build())).height.tolist() == first.height.tolist()


def test_what_goes_wrong_is_said_and_can_be_tried_again(monkeypatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(statistics, "assess", None)
        job = start(build())
        until = time.monotonic() + 30
        while job.is_going and time.monotonic() < until:
            time.sleep(0.01)
        assert "could not be looked at" in job.error and kept(build()) is None
    assert len(finished(start(build()))) == 7
