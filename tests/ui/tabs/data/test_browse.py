"""The Data tab: pages of photos, one photo, what runs said of them, and the numbers, as the page gets
them.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.common.words import say, speaking
from vit_demo.data.browse import statistics as measuring
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.training.result import predictions
from vit_demo.training.result.predictions import Prediction
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.ui.tabs.data import browse, opened, page, statistics
from vit_demo.ui.tabs.data.statistics_figures import bars_figure, spread_figure

LABELS = ("bean_rust", "he<i>althy")


@pytest.fixture(autouse=True)
def fresh(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has just started, on an empty home folder."""
    measuring.JOBS.clear()
    opened._opened.clear()
    opened._with_runs.clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 train, 10 validation and 10 test photos of two classes; one is dark, one is no photo."""
    rng, place = np.random.default_rng(0), tmp_path_factory.mktemp("photos") / "set"
    for split, count in (("train", 30), ("validation", 5), ("test", 5)):
        for label in LABELS:
            (place / split / label).mkdir(parents=True)
            for number in range(count):
                high = 30 if (split, label, number) == ("test", LABELS[0], 3) else 255
                file = place / split / label / f"IMG_{number:02}.png"
                Image.fromarray(rng.integers(0, high, (130, 160 + number, 3), dtype=np.uint8)).save(file)
    (place / "train" / LABELS[0] / "IMG_01.png").write_bytes(b"no photo")
    return place


def answered(source: Path, shown: dict, **asked: object) -> dict:
    return browse.look(str(source), EMBEDDED, SimpleNamespace(value=json.dumps({**shown["asked"], **asked})))


def names(shown: dict) -> list[str]:
    return [row["name"] for row in shown["rows"]]


def options(shown: dict, name: str) -> list[str]:
    return [value for field in shown["fields"] if field["name"] == name for value, _ in field["options"]]


def finished_run(folder: Path, wrong: set[str], paths: str = "{}") -> str:
    """A run that was examined with the photos of the folder and took those named so for the other class; its
    id.
    """
    run = runs.create(TrainingConfig())
    run.model_folder.mkdir()
    found = {}
    for split in ("validation", "test"):
        files = sorted((folder / split).glob("*/*.png"))
        said = [
            LABELS[1 - LABELS.index(file.parent.name)] if file.stem in wrong else file.parent.name
            for file in files
        ]
        found[split] = [
            Prediction(row, paths.format(file), file.parent.name, name, 0.5 + int(file.stem[-2:]) / 20)
            for row, (file, name) in enumerate(zip(files, said))
        ]
    (run.model_folder / predictions.FILE).write_text(predictions.to_csv(found))
    return run.id


def test_a_data_set_is_opened_and_paged(folder):
    summary, shown = page.open_photos(str(folder))
    assert "80 photos of 2 classes" in summary and "train 60, validation 10, test 10" in summary
    assert shown["where"] == "Page 1 of 4, 80 photos" and len(shown["rows"]) == 24
    small = Image.open(io.BytesIO(base64.b64decode(shown["rows"][0]["source"].partition("base64,")[2])))
    assert max(small.size) <= 176 and shown["rows"][0]["label"] == "Bean rust"
    assert shown["rows"][1]["source"] == "", "the broken one, which does not hide the others"
    last = answered(folder, shown, page=99)
    assert last["where"] == "Page 4 of 4, 80 photos" and len(last["rows"]) == 8 and "fields" not in last
    assert sum((names(answered(folder, shown, page=number)) for number in range(4)), []) == [
        file.name
        for split in ("train", "validation", "test")
        for file in sorted((folder / split).glob("*/*"))
    ]


def test_filters_and_order(folder):
    _, shown = page.open_photos(str(folder))
    found = answered(folder, shown, split="test", label=LABELS[1], sort="-path")
    assert names(found) == [f"IMG_{number:02}.png" for number in (4, 3, 2, 1, 0)] and {
        row["label"] for row in found["rows"]
    } == {"He<i>althy"}
    assert names(answered(folder, shown, text="validation/bean_rust/img_03")) == ["IMG_03.png"]
    assert names(answered(folder, shown, sort="no such order")) == names(shown)
    assert answered(folder, shown, text="nowhere")["where"] == "No photo fits. Change the filters."
    assert answered(folder, shown, text="nowhere", photo=3)["rows"] == []
    assert (
        options(shown, "split") == ["", "train", "validation", "test"]
        and options(shown, "run") == options(shown, "problem") == []
    )


def test_a_photo_with_all_that_is_known(folder):
    _, shown = page.open_photos(str(folder))
    one = answered(folder, shown, split="test", photo=6)
    about = one["photo"]["about"]
    assert (
        one["total"] == 10
        and "rows" not in one
        and f"{folder}/test/he&lt;i&gt;althy/IMG_01.png" in about
        and "<i>" not in about
    )
    assert (
        "161 x 130 px" in about and "test, 6" in about and "3 x 224 x 224" in about and "normalised" in about
    )
    large = Image.open(io.BytesIO(base64.b64decode(one["photo"]["source"].partition("base64,")[2])))
    assert large.size == (161, 130)
    assert answered(folder, shown, split="test", photo=99)["asked"]["photo"] == 9, "the last there is"
    broken = answered(folder, shown, photo=1)["photo"]
    assert broken["source"] == "" and "broken" in broken["about"] and "IMG_01.png" in broken["about"]


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "[1]",
        "{",
        json.dumps({"page": "two", "split": 3, "photo": None, "text": ["x"], "fields": "yes", "run": True}),
    ],
)
def test_what_makes_no_sense_is_as_just_opened(given, folder):
    assert browse.understood(given) == {**browse.NOTHING, "key": "", "fields": False}
    shown = browse.look(str(folder), EMBEDDED, SimpleNamespace(value=given))
    assert shown["where"] == "Page 1 of 4, 80 photos" and shown["fields"], (
        "the page did not say what it has open"
    )


def test_a_page_is_turned_without_looking_through_the_folder(folder, monkeypatch):
    _, shown = page.open_photos(str(folder))
    monkeypatch.setattr(opened, "open_dataset", None)
    assert answered(folder, shown, page=1)["where"] == "Page 2 of 4, 80 photos"


def test_after_a_restart_the_page_goes_on(folder):
    _, shown = page.open_photos(str(folder))
    opened._opened.clear()
    again = answered(folder, shown, page=2)
    assert (
        again["where"] == "Page 3 of 4, 80 photos"
        and again["fields"]
        and again["asked"]["key"] != shown["asked"]["key"]
    )


def test_the_mistakes_of_a_run_come_back(folder):
    _, before = page.open_photos(str(folder))
    run = finished_run(folder, {"IMG_02", "IMG_04"})
    assert browse.news(str(folder)) == {"runs": [run], "known": before["known"]} and page.open_first(
        str(folder), "open"
    )[1]["runs"] == [run]
    shown = answered(folder, before, run=run, right="wrong", sort="-probability", fields=True)
    assert (
        shown["where"] == "Page 1 of 1, 8 photos" and names(shown) == ["IMG_04.png"] * 4 + ["IMG_02.png"] * 4
    )
    assert shown["rows"][0]["said"] == "He<i>althy 70.0\N{NO-BREAK SPACE}%" and options(shown, "said") == [
        "",
        *LABELS,
    ]
    assert answered(folder, shown, right="right")["where"] == "Page 1 of 1, 12 photos"
    assert answered(folder, shown, right="")["where"] == "Page 1 of 4, 80 photos", (
        "train photos too, of which it said nothing"
    )
    assert len(answered(folder, shown, right="", said=LABELS[0])["rows"]) == 10
    about = answered(folder, shown, photo=0)["photo"]["about"]
    assert "He&lt;i&gt;althy 70.0\N{NO-BREAK SPACE}%: wrong" in about
    # Another visitor, who chose no run, sees nothing of it.
    assert not any(row["said"] for row in answered(folder, before, split="test")["rows"])


def test_a_run_that_helps_nothing_is_said_and_the_photos_stay(folder):
    _, before = page.open_photos(str(folder))
    other = finished_run(folder, set(), paths="/elsewhere{}")
    for run, words in (
        (other, "looked at none of these photos"),
        ("gone", "This run is gone"),
        ("../x", "This run is gone"),
    ):
        shown = answered(folder, before, run=run, right="wrong", split="test")
        assert (
            words in shown["note"]
            and shown["asked"]["run"] == shown["asked"]["right"] == ""
            and shown["where"] == "Page 1 of 1, 10 photos"
        )


def cells(html: str, title: str) -> list[list[str]]:
    """The table under a heading."""
    section = html.split(f"<h3>{title}</h3>")[1].split("</section>")[0]
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", section)]


def test_numbers_come_with_progress_and_are_those_of_the_photos(folder, monkeypatch):
    monkeypatch.setattr(statistics, "TICK", 0.01)
    seen = list(statistics.show(str(folder)))
    assert "Looking at the photos: 0 of 80" in seen[0] and all(
        "<h3>Photos of each class</h3>" in html for html in seen
    )
    html = seen[-1]
    counts = [
        ["Bean rust", "0", "30", "5", "5"],
        ["He&lt;i&gt;althy", "1", "30", "5", "5"],
        ["All", "", "60", "10", "10"],
    ]
    assert cells(html, "Photos of each class")[1:] == counts
    assert (
        "80 photos were looked at." in html
        and "too dark 1" in html
        and "broken 1" in html
        and "<i>" not in html
    )
    assert (
        cells(html, "Sizes")[1:4] == [["160 x 130 px", "6"], ["162 x 130 px", "6"], ["163 x 130 px", "6"]]
        and "22 other sizes" in html
    )
    assert cells(html, "Shorter side")[1] == ["All photos", *["130 px"] * 5]
    # 79 photos: the k-th of 30 is 160 + k wide.
    widths = np.array([160 + number for split in (30, 5, 5) for _ in LABELS for number in range(split)])
    widths = np.delete(widths, 1)
    assert cells(html, "Width to height")[1][1:] == [
        f"{value:.2f}" for value in np.percentile(widths / 130, (5, 25, 50, 75, 95))
    ]
    brightness = [float(cell.split()[0]) for cell in cells(html, "Brightness")[1][1:]]
    assert brightness == pytest.approx([50] * 5, abs=1), "noise from black to white"
    assert [float(cell.split()[0]) for cell in cells(html, "Colour")[1][1:]] == pytest.approx(
        [49.4] * 3, abs=0.6
    )
    assert len(re.findall("<svg", html)) == len(re.findall("<table", html)) == 7
    # The second time nothing is looked at again.
    assert len(list(statistics.show(str(folder)))) == 1


def test_browse_can_be_asked_by_the_numbers(folder, monkeypatch):
    monkeypatch.setattr(statistics, "TICK", 0.01)
    _, before = page.open_photos(str(folder))
    list(statistics.show(str(folder)))
    assert browse.news(str(folder))["known"] != before["known"]
    shown = answered(folder, before, fields=True, problem="dark")
    assert options(shown, "problem")[:3] == ["", "fine", "dark"] and names(shown) == ["IMG_03.png"]
    assert names(answered(folder, shown, problem="", sort="brightness"))[0] == "IMG_03.png"
    assert names(answered(folder, shown, problem="", sort="-pixels"))[:2] == ["IMG_29.png"] * 2
    about = answered(folder, shown, photo=0)["photo"]["about"]
    assert "too dark" in about and "Brightness" in about
    # A run on top of it leaves them there, and a server that starts later knows them too.
    run = finished_run(folder, {"IMG_03"})
    assert names(answered(folder, shown, run=run, right="wrong")) == ["IMG_03.png"]
    opened._opened.clear()
    assert options(page.open_photos(str(folder))[1], "problem")[:3] == ["", "fine", "dark"]


def test_of_a_large_data_set_a_draw_is_measured_and_it_says_so(folder, monkeypatch):
    monkeypatch.setattr(measuring, "MOST_PHOTOS", 20)
    monkeypatch.setattr(statistics, "TICK", 0.01)
    assert "20 of the 80 photos were looked at, drawn at random" in list(statistics.show(str(folder)))[-1]


def test_numbers_are_computed_only_for_who_looks_at_them(folder):
    assert list(statistics.show(None)) == [] and measuring.JOBS.all() == []
    assert "There is no folder" in list(statistics.show("/nowhere/at/all"))[0]


def test_what_goes_wrong_is_said(folder, monkeypatch):
    monkeypatch.setattr(statistics, "TICK", 0.01)
    monkeypatch.setattr(measuring, "assess", None)
    assert "could not be looked at" in list(statistics.show(str(folder)))[-1]


def test_many_classes_fit_a_page(tmp_path):
    for number in range(40):
        place = tmp_path / "many" / "train" / f"class_{number:02}"
        place.mkdir(parents=True)
        for photo in range(10 if number == 7 else 4):
            Image.new("RGB", (8, 8)).save(place / f"{photo}.png")
    for split in ("validation", "test"):
        shutil.copytree(tmp_path / "many" / "train", tmp_path / "many" / split)
    html = next(statistics.show(str(tmp_path / "many")))
    rows = cells(html, "Photos of each class")
    assert (
        len(rows) == 32
        and ["Class 07", "7", "10", "10", "10"] in rows
        and rows[-1] == ["All", "", "166", "166", "166"]
    )
    assert "30 classes with the most photos, of 40" in html
    until = time.monotonic() + 20
    while any(job.is_going for job in measuring.JOBS.all()) and time.monotonic() < until:
        time.sleep(0.02)


def test_bars_are_as_long_as_their_values():
    svg = bars_figure(
        {"a&b": {"x": 10, "y": 5}, "c": {"x": 0, "y": 2.5}},
        {"x": "#111111", "y": "#222222"},
        "{:.1f}".format,
        "Bars",
    )
    widths = [float(width) for width in re.findall(r'<rect x="140" [^>]*width="([\d.]+)"', svg)]
    assert (
        widths[1:] == pytest.approx([widths[0] / 2, 0, widths[0] / 4], abs=0.06)
        and "a&amp;b" in svg
        and 'aria-label="Bars"' in svg
    )
    assert all(text in svg for text in (">10.0<", ">5.0<", ">2.5<"))


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("Bean rust", ["Bean rust"]),
        ("Madoa pembe ya majani", ["Madoa pembe ya", "majani"]),
        ("Taches anguleuses des feuilles du haricot", ["Taches", "anguleuses des…"]),
        ("一二三四五六七八九十", ["一二三四五六七八", "九十"]),
        ("", [""]),
    ],
)
def test_a_name_that_is_too_long_for_its_place_has_two_lines(name, lines):
    svg = spread_figure({name: (1, 2, 3, 4, 5)}, str, False, "Spread")
    assert re.findall(r'text-anchor="end"[^>]*>([^<]*)<', svg)[: len(lines)] == lines
    heights = [float(y) for y in re.findall(r'<text [^>]*y="([\d.]+)"[^>]*text-anchor="end"', svg)]
    assert heights[: len(lines)] == sorted(set(heights[: len(lines)]))


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_box_stands_where_its_numbers_are(logarithmic):
    svg = spread_figure(
        {"all": (1, 10, 20, 40, 100), "one shade": (5, 5, 5, 5, 5)}, str, logarithmic, "Spread"
    )
    left, right = (float(value) for value in re.search(r'<line x1="([\d.]+)" x2="([\d.]+)"', svg).groups())
    start, wide = (
        float(value) for value in re.search(r'<rect x="([\d.]+)" [^>]*width="([\d.]+)"', svg).groups()
    )
    scale = np.log10 if logarithmic else np.asarray
    shares = (scale([1, 10, 20, 40, 100]) - scale(1)) / (scale(100) - scale(1))
    assert [(start - left) / (right - left), (start + wide - left) / (right - left)] == pytest.approx(
        [shares[1], shares[3]], abs=0.002
    )
    assert "nan" not in spread_figure({"same": (3, 3, 3, 3, 3)}, str, logarithmic, "Spread")


def test_what_is_known_of_the_photos_is_told_and_what_is_asked_is_asked(tmp_path):
    place, rng = tmp_path / "set", np.random.default_rng(0)
    for folder in ("train/a", "train/b", "valid/a", "test/a", "test/b", "extra/a", "extra/b"):
        (place / folder).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / folder / f"{number}.png")
    with pytest.raises(UserError, match=r"whether extra is for .* \[split:extra=train\]"):
        page.open_photos(str(place))
    source = f"{place} [split:extra=none]"
    shown = page.open_photos(source)[1]
    assert shown["notes"] == [
        "6 files were left out, the first: extra/a/0.png was left out, as you said.",
        "The class b has no photo in validation.",
    ]
    assert "notes" not in answered(source, shown)
    with speaking("sw"):
        told = answered(source, shown, fields=True)["notes"]
    assert told[1] == say("data.plan.missing_class", "sw", label="b", split="validation")
    assert say("data.left_out.said", "sw", name="extra/a/0.png") in told[0]


def test_photos_of_which_nothing_has_to_be_known_have_no_notes(folder):
    assert page.open_photos(str(folder))[1]["notes"] == []
