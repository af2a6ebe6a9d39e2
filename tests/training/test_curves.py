"""Live curves: bounded, true to the whole run, and the same whether read at once or bit by bit."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from vit_demo.training import curves
from vit_demo.training.curves import Curves, Series, curves_of
from vit_demo.training.runs import EventLog, Run


def weights(series: Series, added: int) -> list[int]:
    """How many points each point shown stands for, from their steps (the mean of consecutive whole numbers)."""
    found, next_step = [], 1
    for step in series.points[0]:
        count = round(2 * (step - next_step)) + 1
        found.append(count)
        next_step += count
    assert next_step == added + 1, "the points do not cover the run without gap or overlap"
    return found


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 1000, 4096])
def test_halving_keeps_the_mean_and_covers_the_run(count: int) -> None:
    rng = random.Random(count)
    values = [rng.gauss(2, 1) for _ in range(count)]
    series = Series(limit=8)
    for step, value in enumerate(values, start=1):
        series.add(step, value)
    stands_for = weights(series, count)
    mean = sum(number * value for number, value in zip(stands_for, series.points[1])) / count
    assert mean == pytest.approx(sum(values) / count)
    # All stand for equally many but the last, which is still being filled.
    assert len(set(stands_for[:-1])) <= 1
    assert stands_for[-1] <= stands_for[0]


def test_nothing_is_thinned_before_it_must_be() -> None:
    series = Series(limit=8)
    for step in range(1, 8):
        series.add(step, step * 10.0)
    assert series.points == ([1, 2, 3, 4, 5, 6, 7], [10, 20, 30, 40, 50, 60, 70])


def test_100_000_points_stay_bounded_and_the_last_is_in_view() -> None:
    series = Series()
    longest = 0
    began = time.perf_counter()
    for step in range(1, 100_001):
        series.add(step, float(step))
        if step % 997 == 0:
            longest = max(longest, len(series.points[0]))
    assert time.perf_counter() - began < 10  # adding is cheap at any length
    assert curves.POINTS / 2 <= len(series.points[0]) <= curves.POINTS
    assert longest <= curves.POINTS
    assert sum(weights(series, 100_000)) == 100_000


def test_the_newest_value_shows_at_once() -> None:
    series = Series(limit=4)
    for step in range(1, 101):
        series.add(step, 0.0)
    series.add(101, 1e6)
    assert series.points[1][-1] > 0


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / "run"
    folder.mkdir()
    return Run(folder)


def fill(run: Run, steps: int) -> None:
    log = EventLog(run)
    log.add("begin", total_steps=steps, steps_per_epoch=10, photos=3, device="cpu")
    log.add("warning", message="1 photos cannot be read and are left out.", paths=["a.jpg"])
    for step in range(1, steps + 1):
        log.add("train", step=step, epoch=step / 10, loss=3.0 / step, learning_rate=1e-4, photos_per_second=9.5)
        if step % 10 == 0:
            log.add("validation", step=step, loss=2.0 / step, accuracy=step / steps)
    log.add("best", step=steps, loss=2.0 / steps)
    log.close()


def shown(one: Curves) -> tuple:
    return (
        one.train_loss.points, one.validation_loss.points, one.validation_accuracy.points,
        one.begin, one.last_train, one.last_validation, one.warnings, one.offset,
    )


def test_reading_bit_by_bit_gives_the_same_as_from_scratch(run: Run) -> None:
    fill(run, 1500)
    whole = Curves()
    whole.update(run)
    data = run.events_file.read_bytes()
    piecewise, rng, end = Curves(), random.Random(1), 0
    while end < len(data):
        end = min(len(data), end + rng.randint(1, 5000))  # cuts within lines, as a reader meets them
        run.events_file.write_bytes(data[:end])
        piecewise.update(run)
    assert shown(piecewise) == shown(whole)
    assert whole.last_train["step"] == 1500 and whole.last_validation["step"] == 1500
    assert whole.begin["total_steps"] == 1500 and whole.warnings == ["1 photos cannot be read and are left out."]
    assert whole.offset == len(data)


def test_updating_again_adds_nothing(run: Run) -> None:
    fill(run, 20)
    one = Curves()
    one.update(run)
    before = shown(one)
    one.update(run)
    assert shown(one) == before and len(one.train_loss.points[0]) == 20


def test_a_run_without_events_has_empty_curves(run: Run) -> None:
    one = curves_of(run)
    assert one.train_loss.points == ([], []) and one.begin == {} and one.warnings == []


def test_the_cache_reads_only_what_is_new(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = []
    read = Run.read_events
    monkeypatch.setattr(Run, "read_events", lambda self, offset=0: offsets.append(offset) or read(self, offset))
    fill(run, 10)
    size = run.events_file.stat().st_size
    curves_of(run)
    curves_of(Run(run.folder))  # another page asks: another object for the same folder
    assert offsets == [0, size]


def test_a_folder_made_anew_is_read_anew(run: Run) -> None:
    fill(run, 50)
    assert curves_of(run).last_train["step"] == 50
    run.events_file.unlink()
    fill(run, 5)
    again = curves_of(run)
    assert again.last_train["step"] == 5 and len(again.train_loss.points[0]) == 5


def test_the_cache_is_bounded_and_an_evicted_run_is_whole_again(tmp_path: Path) -> None:
    many = []
    for number in range(curves.KEEP + 3):
        folder = tmp_path / str(number)
        folder.mkdir()
        many.append(Run(folder))
        fill(many[-1], 3)
        curves_of(many[-1])
    assert len(curves._cache) <= curves.KEEP
    assert len(curves_of(many[0]).train_loss.points[0]) == 3


def test_events_of_a_kind_not_known_are_passed_over(run: Run) -> None:
    run.events_file.write_text(json.dumps({"kind": "from the future"}) + "\n" + json.dumps({}) + "\n")
    one = Curves()
    one.update(run)
    assert one.offset == run.events_file.stat().st_size and one.last_train == {}
