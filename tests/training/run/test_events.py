"""The record of a run: in order, never half read, and whole again after a torn line or a full disk."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.training.conftest import events_of, full_disk
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.runs import Run, create


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(TrainingConfig(epochs=1), tmp_path / "run")


def test_events_come_back_in_order_with_the_offset_to_go_on_from(run: Run) -> None:
    log = EventLog(run)
    log.add("train", step=1, note="ümlaut\nline")
    first, offset = run.read_events()
    assert [(event["kind"], event["step"], event["note"]) for event in first] == [
        ("train", 1, "ümlaut\nline")
    ]
    assert offset == run.events_file.stat().st_size and abs(first[0]["time"] - time.time()) < 60
    assert run.read_events(offset) == ([], offset)
    log.add("train", step=2)
    second, end = run.read_events(offset)
    assert [event["step"] for event in second] == [2] and end == run.events_file.stat().st_size
    assert [event["step"] for event in run.read_events(0)[0]] == [1, 2]
    log.close()


def test_an_event_is_in_the_file_when_add_returns(run: Run) -> None:
    log = EventLog(run)
    log.add("train", step=1)
    assert run.events_file.read_bytes().endswith(b"\n")
    log.close()


def test_a_line_still_being_written_waits_until_it_is_whole(run: Run) -> None:
    whole = b'{"kind": "train", "step": 1}\n'
    line = json.dumps({"kind": "train", "step": 2, "note": "naïve"}, ensure_ascii=False).encode() + b"\n"
    for cut in range(len(line)):  # also in the middle of a character
        run.events_file.write_bytes(whole + line[:cut])
        events, offset = run.read_events()
        assert [event["step"] for event in events] == [1] and offset == len(whole)
    with open(run.events_file, "ab") as file:
        file.write(line[-1:])
    events, end = run.read_events(offset)
    assert [event["step"] for event in events] == [2] and end == len(whole + line)


def test_a_torn_line_in_the_middle_is_passed_over(run: Run) -> None:
    run.events_file.write_bytes(
        b'{"kind": "train", "step": 1}\n{"kind": "tra\n\xff\xfe\n\n{"kind": "train", "step": 3}\n'
    )
    events, offset = run.read_events()
    assert [event["step"] for event in events] == [1, 3]
    assert offset == run.events_file.stat().st_size


def test_only_events_are_taken_for_events(run: Run) -> None:
    run.events_file.write_bytes(b'12\n[1]\n"kind"\nnull\n{"step": 4}\n{"kind": "train", "step": 5}\n')
    assert [event["step"] for event in run.read_events()[0]] == [5]


def test_what_follows_a_torn_last_line_is_not_lost(run: Run) -> None:
    """A run that was killed while it wrote a line, and then goes on."""
    line = json.dumps({"kind": "train", "step": 2, "note": "naïve"}, ensure_ascii=False).encode()
    for cut in range(1, len(line)):  # also in the middle of a character
        run.events_file.write_bytes(b'{"kind": "train", "step": 1}\n' + line[:cut])
        log = EventLog(run)
        log.add("train", step=3)
        log.close()
        assert [event["step"] for event in run.read_events()[0]] == [1, 3], cut


def test_a_whole_last_line_gets_no_empty_one_behind_it(run: Run) -> None:
    for step in (1, 2):
        log = EventLog(run)
        log.add("train", step=step)
        log.close()
    assert run.events_file.read_bytes().count(b"\n") == 2


# A full disk


def test_events_that_a_full_disk_does_not_take_come_later_with_a_warning(run: Run) -> None:
    log = EventLog(run)
    log.add("train", step=1)
    with full_disk(run.events_file.stat().st_size + 20):  # in the middle of the next line
        for step in range(2, 50):
            log.add("train", step=step)
        assert run.events_file.stat().st_size < 100
    log.add("train", step=50)
    assert run.events_file.read_bytes().endswith(b"\n")
    log.close()
    assert [event["step"] for event in events_of(run, "train")] == list(range(1, 51))
    (warning,) = (event["message"] for event in events_of(run, "warning"))
    assert "could not be written for a while" in warning and "The run went on" in warning


def test_a_disk_that_stays_full_ends_the_record_but_not_the_run(run: Run) -> None:
    log = EventLog(run)
    log.add("train", step=1)
    with full_disk(run.events_file.stat().st_size + 20):
        log.add("train", step=2)
        log.close()
    assert [event["step"] for event in run.read_events()[0]] == [1]
