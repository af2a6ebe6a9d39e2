"""The map of a data set behind the page: made once, made anew when something changed, stopped, and said in
words.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from tests.training.conftest import squares
from vit_demo.common import settings
from vit_demo.common.arrays import ArrayCache
from vit_demo.common.jobs import Job, Jobs
from vit_demo.figures.embedding_map import (
    PALETTE,
    SHEET_BYTES,
    SPAN,
    SYMBOLS,
    classes,
    columns_of,
    sheet,
    whole_points,
)
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.tabs.inside import embedding_map as view
from vit_demo.ui.tabs.inside import embedding_map_html
from vit_demo.ui.tabs.inside import embedding_map_jobs as maps
from vit_demo.ui.tabs.inside.embedding_map_jobs import ALL, EmbeddingMap, Plan, Request

PAGE = SimpleNamespace(session_hash="page")


@pytest.fixture(autouse=True)
def nothing_kept(home):
    """No map in memory, and none on the disk of another test."""
    maps.JOBS.clear()
    yield
    until = time.monotonic() + 60
    while any(thread.name == "embedding map" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def leaves(tmp_path: Path) -> Path:
    """18 coloured squares to test with, of which the model knows no class."""
    return squares(tmp_path / "leaves")


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


def finish(job: Job) -> EmbeddingMap:
    until = time.monotonic() + 60
    while job.is_going:
        assert time.monotonic() < until, job.state
        time.sleep(0.02)
    assert job.state == "done", job.error
    return job.result


def ask(model: Path, leaves: Path, split: str = "test") -> Plan:
    return maps.plan(Request(str(model), str(leaves), split))


def test_a_map_says_of_each_photo_what_the_model_says(model, leaves):
    mapped = finish(maps.start(ask(model, leaves)))
    assert (
        len(mapped) == 18
        and mapped.labels == ["blue", "green", "red"]
        and mapped.truth.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    )
    assert [Path(path).parent.name for path in mapped.paths] == ["blue"] * 6 + ["green"] * 6 + [
        "red"
    ] * 6 and mapped.rows == list(range(18))
    classifier = get_classifier(str(model))
    photos = [Image.open(path) for path in mapped.paths]
    expected = classifier.probabilities(photos).numpy()
    np.testing.assert_allclose(mapped.probability, expected.max(axis=1), rtol=0, atol=1e-5)
    assert (
        mapped.said.tolist() == expected.argmax(axis=1).tolist() and mapped.model_labels == classifier.labels
    )
    np.testing.assert_allclose(mapped.features, classifier.features(photos).numpy(), rtol=0, atol=1e-4)


def test_all_splits_together_know_where_each_photo_stands(model, leaves):
    plan = ask(model, leaves, ALL)
    mapped = finish(maps.start(plan))
    assert plan.count == plan.total == len(mapped) == 36 + 18 + 18
    for split, row, path in zip(mapped.splits, mapped.rows, mapped.paths):
        place = Path(path)
        assert place.parent.parent.name == split and row == sorted(place.parent.parent.glob("*/*")).index(
            place
        )


def test_the_same_map_is_not_made_twice(model, leaves):
    plan = ask(model, leaves)
    job = maps.start(plan)
    first = finish(job)
    assert maps.start(ask(model, leaves)) is job
    maps.JOBS.clear()  # as after a restart of the server
    again = maps.kept(ask(model, leaves))
    assert again.state == "done" and again.result is not first
    for name in ("features", "truth", "said", "probability"):
        assert np.array_equal(getattr(again.result, name), getattr(first, name))
    for name in ("labels", "model_labels", "splits", "rows", "paths", "sheet", "side", "broken"):
        assert getattr(again.result, name) == getattr(first, name)
    for one, other in ((again.result.pca, first.pca), (again.result.tsne, first.tsne)):
        assert np.array_equal(one.points, other.points) and (one.trust, one.neighbours, one.explained) == (
            other.trust,
            other.neighbours,
            other.explained,
        )


def test_what_has_changed_is_looked_at_again(model, leaves, tiny_model):
    plan = ask(model, leaves)
    finish(maps.start(plan))
    assert maps.kept(ask(model, leaves, "train")) is None and maps.kept(ask(tiny_model, leaves)) is None
    weights = model / "model.safetensors"
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1_000_000))
    after = ask(model, leaves)
    assert after.key != plan.key and maps.kept(after) is None
    # A photo painted over in its place.
    photo = leaves / "test" / "red" / "003.png"
    Image.new("RGB", (20, 24), "white").save(photo)
    assert ask(model, leaves).key != after.key


def test_a_broken_photo_is_left_out_and_counted(model, leaves):
    (leaves / "test" / "green" / "002.png").write_bytes(b"no picture")
    plan = ask(model, leaves)
    job = maps.start(plan)
    mapped = finish(job)
    assert len(mapped) == 17 and mapped.broken == 1 and job.done == 18
    assert (
        mapped.rows == [row for row in range(18) if row != 8]
        and mapped.truth.tolist() == [0] * 6 + [1] * 5 + [2] * 6
    )
    assert "1 photo could not be read and is left out." in embedding_map_html.words(plan, mapped, mapped.pca)


def test_a_data_set_without_one_whole_photo_is_said(model, leaves):
    for photo in (leaves / "test").glob("*/*"):
        photo.write_bytes(b"no picture")
    job = maps.start(ask(model, leaves))
    while job.is_going:
        time.sleep(0.02)
    assert job.state == "failed" and "None of the photos can be read" in embedding_map_html.ended(job)


def test_a_map_that_nobody_wants_any_more_is_stopped_and_can_be_begun_again(model, leaves):
    plan = ask(model, leaves)
    with maps.JOBS.turn:  # so that it waits
        job = maps.start(plan, "first")
        assert maps.start(plan, "second") is job and maps.JOBS.find(plan.key, "second") is job
        assert "Waits until another map is finished" in embedding_map_html.progress(job)
        maps.JOBS.leave(plan.key, "first")
        assert not job.stop_asked.is_set()  # the second page watches it
        maps.JOBS.leave(plan.key, "second")
        assert job.stop_asked.is_set()
        other = maps.start(plan, "first")
        assert other is not job
    finish(other)
    while job.is_going:
        time.sleep(0.001)
    assert (
        job.state == "stopped" and job.done == 0 and job.result is None and maps.JOBS.find(plan.key) is other
    )


def test_a_map_is_stopped_between_two_batches(model, leaves, monkeypatch):
    plan = ask(model, leaves, ALL)
    monkeypatch.setattr(maps, "BATCH", 1)
    job = maps.start(plan)
    while job.done < 2:
        time.sleep(0.001)
    job.stop()
    while job.is_going:
        time.sleep(0.001)
    assert job.state == "stopped" and 2 <= job.done < 72
    assert not list((settings.load().home / "atlas").glob("*.npz"))


def test_a_large_split_is_drawn_from_evenly_and_always_the_same(model, leaves, monkeypatch):
    monkeypatch.setattr(maps, "MOST_PHOTOS", 24)
    plan = ask(model, leaves, ALL)
    assert plan.count == 24 and plan.total == 72 and plan.rows == ask(model, leaves, ALL).rows
    assert all(
        len(plan.rows[split]) >= 3 and sorted(set(plan.rows[split])) == plan.rows[split]
        for split in ("train", "validation", "test")
    )
    mapped = finish(maps.start(plan))
    assert len(mapped) == 24 and "Of 72 photos 24 were drawn at random" in embedding_map_html.words(
        plan, mapped, mapped.pca
    )
    assert "Of 72 photos 24 are drawn at random" in embedding_map_html.before(plan)


def test_only_a_few_maps_are_kept(model, leaves, monkeypatch):
    monkeypatch.setattr(maps, "_CACHE", ArrayCache("atlas", 2))
    monkeypatch.setattr(maps, "JOBS", Jobs("embedding map", 2))
    for split in ("train", "validation", "test"):
        finish(maps.start(ask(model, leaves, split)))
    assert len(maps.JOBS.all()) == 2 and len(list((settings.load().home / "atlas").iterdir())) == 2


def test_a_cut_file_is_no_map(model, leaves):
    plan = ask(model, leaves)
    finish(maps.start(plan))
    file = maps._CACHE.file(plan.key)
    file.write_bytes(file.read_bytes()[:-200])
    maps.JOBS.clear()
    assert maps.kept(plan) is None


def test_a_disk_that_takes_nothing_costs_only_the_file(model, leaves, home):
    home.mkdir()
    (home / "atlas").write_text("in the way")
    assert finish(maps.start(ask(model, leaves))).tsne is not None


def test_mistakes_are_counted_by_name_where_the_model_knows_the_classes(model, leaves):
    plan = ask(model, leaves)
    mapped = finish(maps.start(plan))
    assert (
        not mapped.comparable
        and not mapped.wrong.any()
        and "other classes than these photos" in embedding_map_html.words(plan, mapped, mapped.pca)
    )
    for folder, name in (("blue", "healthy"), ("green", "angular_leaf_spot"), ("red", "bean_rust")):
        for split in ("train", "validation", "test"):
            (leaves / split / folder).rename(leaves / split / name)
    plan = ask(model, leaves)
    mapped = finish(maps.start(plan))
    names = [Path(path).parent.name for path in mapped.paths]
    expected = [mapped.model_labels[said] != name for said, name in zip(mapped.said, names)]
    assert mapped.comparable and mapped.wrong.tolist() == expected and 0 < sum(expected) < 18
    assert f"**{sum(expected)} of 18**" in embedding_map_html.words(plan, mapped, mapped.pca)


def test_what_is_sent_is_small_and_the_thumbnails_only_once(model, leaves):
    plan = ask(model, leaves)
    mapped = finish(maps.start(plan))
    drawn = embedding_map_html.picture(plan.key, mapped, mapped.pca, with_sheet=True)
    json.dumps(drawn, allow_nan=False)
    assert "sheet" not in embedding_map_html.picture(plan.key, mapped, mapped.tsne, with_sheet=False)
    assert len(drawn["x"]) == len(drawn["names"]) == 18 and drawn["names"][0] == "000.png"
    # Whatever is in 336, or in 2,000 photos: noise takes the most bytes.
    rng = np.random.default_rng(0)
    for count in (336, 2000):
        jpeg, side = sheet(rng.integers(0, 256, (count, 48, 48, 3), dtype=np.uint8))
        assert len(jpeg) <= SHEET_BYTES and side in (48, 32, 24)


def test_a_thumbnail_stands_where_the_page_looks_for_it():
    colours = np.array(
        [[200, 30, 30], [30, 200, 30], [30, 30, 200], [200, 200, 30], [120, 120, 120]], dtype=np.uint8
    )
    jpeg, side = sheet(np.tile(colours[:, None, None], (1, 48, 48, 1)))
    file = Path(view._folder()) / "sheet.jpg"
    file.write_bytes(jpeg)
    picture = np.asarray(Image.open(file)).astype(int)
    for number, colour in enumerate(colours):
        row, column = divmod(number, columns_of(5))
        assert np.abs(picture[row * side + side // 2, column * side + side // 2] - colour).max() < 12
    file.unlink()


def test_the_points_keep_their_shape():
    points = np.array([[-2.0, 1.0], [2.0, 1.0], [0.0, 2.0]], dtype=np.float32)
    x, y = whole_points(SimpleNamespace(points=points))
    assert (x, y) == ([0, SPAN, SPAN // 2], [0, 0, SPAN // 4])
    assert whole_points(SimpleNamespace(points=np.ones((3, 2), dtype=np.float32))) == ([0, 0, 0], [0, 0, 0])


def test_classes_differ_by_colour_and_symbol():
    found = classes([str(number) for number in range(42)])
    assert len({(one["colour"], one["symbol"]) for one in found}) == 42
    assert len({one["colour"] for one in found[:7]}) == 7 and len({one["symbol"] for one in found[:6]}) == 6
    script = (settings.ASSETS / "theme" / "embedding_map.js").read_text(encoding="utf-8")
    assert "#000000" not in PALETTE and all(
        f"{symbol}: [" in script or f"'{symbol}'" in script for symbol in SYMBOLS
    )


def test_the_stage_is_drawn_as_it_is():
    """It goes through two template languages on the page, neither of which must find anything to do."""
    assert (
        "`" not in view.STAGE and "${" not in view.STAGE and "{{" not in view.STAGE and "\\" not in view.STAGE
    )


def test_the_page_asks_until_the_map_is_there_and_no_longer(model, leaves):
    key, *shown = view.choose(str(model), str(leaves), "test", "pca", "", "", PAGE)[1:]
    start, draw, stop, status, timer, words, stage, numbers, seen, *_ = shown
    assert (
        draw["value"] == "Draw the map of 18 photos"
        and draw["visible"]
        and not stop["visible"]
        and not timer.active
    )
    assert "look at each of the 18 photos once" in stage["note"] and maps.JOBS.find(key) is None
    with maps.JOBS.turn:
        begun = view.begin(str(model), str(leaves), "test", "pca", seen, PAGE)
        assert begun[0] == key and begun[3]["visible"] and begun[5].active and not begun[2]["visible"]
        assert view.refresh(key, "pca", begun[9], PAGE)[5:9] == (gr.skip(),) * 4
    job = maps.JOBS.find(key)
    finish(job)
    start, draw, stop, status, timer, words, stage, numbers, seen, facts, *_ = view.refresh(
        key, "pca", begun[9], PAGE
    )
    assert (
        not start["visible"]
        and not timer.active
        and "**18 photos.**" in words
        and "sheet" in stage
        and "Choose a dot" in facts
    )
    with open(numbers["value"], encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == embedding_map_html.COLUMNS and len(rows) == 18
    mapped = job.result
    assert rows[7][:5] == [mapped.paths[7], "test", "7", "green", mapped.model_labels[mapped.said[7]]]
    np.testing.assert_allclose(
        np.array(rows[7][5:], dtype=float), [mapped.probability[7], *mapped.pca.points[7]], rtol=1e-4
    )
    # Another layout: the page has the thumbnails already.
    other = view.refresh(key, "tsne", seen, PAGE)
    assert (
        "sheet" not in other[6]
        and "t-SNE moves the dots" in other[5]
        and view.refresh(key, "tsne", other[8], PAGE)[5] == gr.skip()
    )


def test_a_chosen_dot_is_its_photo_byte_for_byte(model, leaves, refusal):
    plan = ask(model, leaves)
    mapped = finish(maps.start(plan))
    number, facts, large, buttons = view.pick(plan.key, SimpleNamespace(index=13))
    assert (
        number == 13
        and "001.png" in facts
        and "test, 13" in facts
        and "20 x 24 px" in facts
        and buttons["visible"]
    )
    assert Path(view.photo_file(plan.key, 13)).read_bytes() == Path(mapped.paths[13]).read_bytes()
    assert "no longer there" in refusal(view.pick, "another", SimpleNamespace(index=0))
    assert "no longer there" in refusal(view.photo_file, plan.key, -1)
    (leaves / "test" / "blue" / "000.png").unlink()
    assert "changed since the map was drawn" in refusal(view.photo_file, plan.key, 13)


def test_a_reloaded_page_finds_what_it_looked_at(model, leaves):
    remembered = view.choose(str(model), str(leaves), "train", "pca", "", "", PAGE)[0]
    assert remembered == [str(leaves), "train"]
    job = maps.start(ask(model, leaves, "train"))
    assert view.restore("attention", True, remembered) == (gr.skip(),) * 3
    source, split, fresh = view.restore("embedding_map", True, remembered)
    assert (
        [source, split] == remembered
        and not fresh
        and view.restore("embedding_map", fresh, ["beans", "test"]) == (gr.skip(),) * 3
    )
    # What a browser remembers of an earlier version, whose photos are gone.
    assert view.restore("embedding_map", True, ["sample", "train"]) == ("beans", "train", False)
    key, *_ = view.opened(
        "embedding_map",
        str(model),
        source,
        split,
        "pca",
        "",
        "",
        "en",
        -1,
        SimpleNamespace(session_hash="reloaded"),
    )
    assert maps.JOBS.find(key) is job and "reloaded" in job.watchers
    finish(job)
    assert "**36 photos.**" in view.refresh(key, "pca", "", PAGE)[5]
    assert len(view.opened("attention", str(model), source, split, "pca", "", "", "en", -1, PAGE)) == 14
