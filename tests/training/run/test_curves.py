"""Live curves: bounded, true to the whole run, and the same whether read at once or bit by bit."""

from __future__ import annotations

import errno
import io
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vit_demo.training.loop.reporting import KeptLog
from vit_demo.training.run import curves
from vit_demo.training.run.curves import Curves, Series, curves_of
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.runs import Run


def weights(series: Series, added: int) -> list[int]:
    """How many points each point shown stands for, from their steps (the mean of consecutive whole
    numbers).
    """
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
    for step in range(1, 100_001):
        series.add(step, float(step))
        if step % 997 == 0:
            longest = max(longest, len(series.points[0]))
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


def fill(run: Run, steps: int, kind: type[EventLog] = EventLog) -> None:
    log = kind(run)
    log.add("begin", total_steps=steps, steps_per_epoch=10, photos=3, device="cpu")
    log.add("warning", message="1 photos cannot be read and are left out.", paths=["a.jpg"])
    for step in range(1, steps + 1):
        log.add(
            "train", step=step, epoch=step / 10, loss=3.0 / step, learning_rate=1e-4, photos_per_second=9.5
        )
        if step % 10 == 0:
            log.add("validation", step=step, loss=2.0 / step, accuracy=step / steps)
    log.add("best", step=steps, loss=2.0 / steps)
    log.close()


def shown(one: Curves) -> tuple:
    return (
        one.train_loss.points,
        one.validation_loss.points,
        one.validation_accuracy.points,
        one.begin,
        one.since,
        one.earlier,
        one.latest,
        one.last_train,
        one.last_validation,
        one.warnings,
        one.offset,
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
    assert whole.begin["total_steps"] == 1500 and whole.warnings == [
        "1 photos cannot be read and are left out."
    ]
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
    read = curves._whole_lines
    monkeypatch.setattr(
        curves, "_whole_lines", lambda run, offset: offsets.append(offset) or read(run, offset)
    )
    fill(run, 10)
    size = run.events_file.stat().st_size
    curves_of(run)
    curves_of(Run(run.folder))  # another page asks: another object for the same folder
    assert offsets == [0, size]


@pytest.mark.parametrize("steps", [100, 20_000])
def test_a_look_at_a_run_of_any_length_reads_the_new_lines_and_a_mark(
    run: Run, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(run, steps)
    curves_of(run)
    before = run.events_file.stat().st_size
    log = EventLog(run)
    log.add("train", step=steps + 1, epoch=1, loss=1.0, learning_rate=1e-4, photos_per_second=9.5)
    log.close()
    read = []

    class Counting(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            data = super().read(size)
            read.append(len(data))
            return data

    monkeypatch.setattr(curves, "open", lambda file, mode: Counting(file, mode), raising=False)
    assert curves_of(run).last_train["step"] == steps + 1
    assert sum(read) == curves.MARK + run.events_file.stat().st_size - before


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


# A run that goes on


def test_steps_that_a_resumed_run_does_again_count_once(run: Run) -> None:
    log = EventLog(run)

    def steps(first: int, last: int, loss: float) -> None:
        for step in range(first, last + 1):
            log.add("train", step=step, epoch=1, loss=loss, learning_rate=1e-4, photos_per_second=9.5)
            if step % 5 == 0:
                log.add("validation", step=step, loss=loss, accuracy=0.5)

    steps(1, 12, 1.0)
    log.add("resumed", step=8)
    steps(9, 20, 2.0)
    log.close()
    one = curves_of(run)
    assert one.train_loss.points == ([*range(1, 21)], [1.0] * 12 + [2.0] * 8)
    assert one.validation_loss.points == ([5, 10, 15, 20], [1.0, 1.0, 2.0, 2.0])
    assert one.last_train["step"] == 20 and one.last_validation["step"] == 20
    assert one.since["kind"] == "resumed" and one.since["step"] == 8


def test_the_time_of_earlier_sittings_is_that_of_their_events(run: Run) -> None:
    """Two sittings of 10 and 5 s, a night apart each, and a third that goes; a record without times is no
    reason to fail.
    """
    train = {"loss": 1.0, "learning_rate": 1e-4, "photos_per_second": 9.5}
    events = [
        {"kind": "warning", "time": 50.0, "message": "x"},
        {"kind": "begin", "time": 100.0},
        {"kind": "train", "step": 1, "time": 110.0, **train},
        {"kind": "resumed", "step": 1, "time": 9000.0},
        {"kind": "train", "step": 2, "time": 9005.0, **train},
        {"kind": "resumed", "step": 2, "time": 20000.0},
        {"kind": "train", "step": 3, "time": 20003.0, **train},
        {"kind": "best"},
    ]
    run.events_file.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert (curves_of(run).earlier, curves_of(run).latest) == (15.0, 20003.0)


# The digest


@pytest.fixture
def long(run: Run) -> Run:
    """A run whose worker kept digests as it went on."""
    fill(run, 1203, KeptLog)
    assert (run.folder / curves.DIGEST).is_file()
    return run


def whole(run: Run) -> Curves:
    """From the events alone."""
    one = Curves()
    one.update(run)
    return one


def restored(run: Run) -> Curves:
    one = Curves.open(run)
    one.update(run)
    return one


def test_a_first_look_reads_only_what_came_after_the_digest(long: Run) -> None:
    one = Curves.open(long)
    size = long.events_file.stat().st_size
    assert 0 < size - one.offset < 0.4 * size
    one.update(long)
    assert shown(one) == shown(whole(long))


def test_a_short_run_needs_no_digest(run: Run) -> None:
    fill(run, 100, KeptLog)
    assert {path.name for path in run.folder.iterdir()} == {"events.jsonl"}


def test_a_reader_keeps_what_took_it_long(run: Run) -> None:
    fill(run, 5000)
    assert run.events_file.stat().st_size > curves.WORTH_KEEPING
    first = shown(curves_of(run))
    assert Curves.open(run).offset == run.events_file.stat().st_size
    curves._cache.clear()
    assert shown(curves_of(run)) == first == shown(whole(run))


def test_the_worker_goes_on_with_the_digest_of_an_earlier_sitting(long: Run) -> None:
    log = KeptLog(long)
    for step in range(1204, 2004):
        log.add("train", step=step, epoch=step / 10, loss=1.0, learning_rate=1e-4, photos_per_second=9.5)
    log.close()
    assert Curves.open(long).last_train["step"] > 1203
    assert shown(restored(long)) == shown(whole(long))


def digests() -> dict[str, Callable[[dict], object]]:
    """Each makes of a good digest one that must not be believed."""
    return {
        "torn": lambda good: json.dumps(good)[:500],
        "empty": lambda good: "",
        "no text": lambda good: b"\xff\xfe\x00",
        "a list": lambda good: [],
        "a number": lambda good: 7,
        "another version": lambda good: {**good, "version": 0},
        "no version": lambda good: {name: value for name, value in good.items() if name != "version"},
        "other events": lambda good: {**good, "mark": "x" * len(good["mark"])},
        "past the end": lambda good: {**good, "offset": 10**9},
        "before the start": lambda good: {**good, "offset": -5},
        "no offset": lambda good: {**good, "offset": None},
        "a series of another size": lambda good: {**good, "train_loss": {**good["train_loss"], "limit": 8}},
        "points that are none": lambda good: {
            **good,
            "train_loss": {**good["train_loss"], "points": [[1], "x"]},
        },
        "a group of none": lambda good: {**good, "train_loss": {**good["train_loss"], "group": 0}},
        "no time": lambda good: {**good, "latest": None},
        "an event that is none": lambda good: {**good, "last_train": [1]},
    }


@pytest.mark.parametrize("kind", digests())
def test_a_digest_that_does_not_fit_is_passed_over(long: Run, kind: str) -> None:
    file = long.folder / curves.DIGEST
    bad = digests()[kind](json.loads(file.read_text()))
    file.write_bytes(
        bad if isinstance(bad, bytes) else (bad if isinstance(bad, str) else json.dumps(bad)).encode()
    )
    assert Curves.open(long).offset == 0
    assert shown(curves_of(long)) == shown(whole(long))


def test_a_digest_of_deleted_events_is_passed_over(long: Run) -> None:
    long.events_file.unlink()
    fill(long, 2000)
    assert shown(restored(long)) == shown(whole(long))


def test_a_folder_made_anew_with_more_events_is_read_anew(run: Run) -> None:
    fill(run, 50)
    curves_of(run)
    run.events_file.unlink()
    time.sleep(0.01)
    fill(run, 200)
    assert shown(curves_of(run)) == shown(whole(run))


def test_a_digest_that_cannot_be_written_costs_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(curves, "write_atomically", full)
    fill(run, 1203, KeptLog)
    assert shown(curves_of(run)) == shown(whole(run)) and len(run.read_events()[0]) > 1203


def test_a_long_run_stays_small_in_memory_and_on_disk(run: Run) -> None:
    fill(run, 20_000, KeptLog)
    assert (run.folder / curves.DIGEST).stat().st_size < 100_000
    assert shown(restored(run)) == shown(whole(run))


def test_lines_are_read_whole_however_they_fall_on_the_pieces(
    long: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = shown(whole(long))
    for chunk in (1, 7, 4099):
        monkeypatch.setattr(curves, "CHUNK", chunk)
        assert shown(whole(long)) == expected


def test_only_the_newest_warnings_are_kept(run: Run) -> None:
    log = EventLog(run)
    for number in range(100):
        log.add("warning", message=f"number {number}")
    log.close()
    assert curves_of(run).warnings == [f"number {number}" for number in range(100 - curves.WARNINGS, 100)]
