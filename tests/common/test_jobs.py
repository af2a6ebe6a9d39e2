"""Work beside the page: its states, who watches it, how it ends, and how many of a kind are remembered."""

from __future__ import annotations

import threading

import pytest

from vit_demo.common import jobs
from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job, Jobs, JobState, Stopped
from vit_demo.common.words import say, speaking


def test_a_job_tells_how_far_it_is_and_ends_with_its_result() -> None:
    kind: Jobs[str] = Jobs("test", 3)
    seen, go_on = threading.Event(), threading.Event()

    def work(job: Job[str]) -> str:
        job.tell(2, 5)
        seen.set()
        go_on.wait(10)
        return "made"

    job = kind.start(Job("a", about="what was asked"), work)
    assert (
        seen.wait(10)
        and (job.state, job.done, job.total, job.result, job.about)
        == (JobState.RUNNING, 2, 5, None, "what was asked")
        and job.is_going
    )
    # Who asks for the same joins it, also when it is done.
    assert kind.start(Job("a"), work) is job
    go_on.set()
    assert (
        job.wait(10)
        and (job.state, job.result, job.error) == (JobState.DONE, "made", "")
        and not job.is_going
    )
    assert kind.start(Job("a"), work) is kind.find("a") is job and kind.all() == [job]


def test_a_job_that_is_stopped_ends_where_it_looks_and_the_next_begins_anew() -> None:
    kind: Jobs[None] = Jobs("test", 3)
    running = threading.Event()

    def work(job: Job[None]) -> None:
        running.set()
        while True:
            job.check()

    job = kind.start(Job("a"), work)
    running.wait(10)
    job.stop()
    # Before it has looked: it is not joined any more.
    other = kind.start(Job("a"), lambda job: None)
    assert other is not job and other.wait(10) and other.state is JobState.DONE and kind.find("a") is other
    assert job.wait(10) and job.state is JobState.STOPPED and job.result is None
    with pytest.raises(Stopped):
        job.tell(1)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (UserError("Give another folder."), "Give another folder."),
        (ValueError("deep inside"), "The photos could not be read (ValueError). Try again."),
    ],
)
def test_a_job_that_fails_says_why_and_can_be_started_again(raised: Exception, said: str) -> None:
    kind: Jobs[None] = Jobs("test", 3, "error.data.check_failed")

    def work(job: Job[None]) -> None:
        raise raised

    job = kind.start(Job("a"), work)
    assert job.wait(10) and (job.state, job.error) == (JobState.FAILED, said)
    assert kind.start(Job("a"), lambda job: None).wait(10) and kind.find("a").state is JobState.DONE


def test_why_a_job_failed_is_said_in_the_language_of_whoever_asks() -> None:
    def work(job: Job[None]) -> None:
        raise UserError("error.common.threads", threads="many")

    kind: Jobs[None] = Jobs("test", 3)
    with speaking("fr"):
        job = kind.start(Job("a"), work)
    assert job.wait(10) and job.error == say("error.common.threads", "en", threads="many")
    with speaking("sw"):
        assert (
            job.error
            == say("error.common.threads", "sw", threads="many")
            != say("error.common.threads", "en", threads="many")
        )


def test_of_those_that_have_ended_a_few_are_kept_and_none_that_is_under_way_goes() -> None:
    kind: Jobs[None] = Jobs("test", 2)
    going = kind.add(Job("going"))
    for number in range(4):
        kind.add(Job(str(number)).end(JobState.DONE))
    assert {job.key for job in kind.all()} == {"going", "2", "3"} and going.is_going
    kind.find("2")
    kind.add(Job("4").end(JobState.DONE))
    assert [job.key for job in kind.all()] == ["4", "2", "going"]
    kind.forget("4")
    assert kind.find("4") is None


def test_one_at_a_time_waits_for_its_turn() -> None:
    kind: Jobs[None] = Jobs("test", 3, one_at_a_time=True)
    running, go_on = threading.Event(), threading.Event()

    def work(job: Job[None]) -> None:
        running.set()
        go_on.wait(10)

    first = kind.start(Job("a"), work)
    running.wait(10)
    second = kind.start(Job("b"), lambda job: None)
    assert not second.wait(0.1) and second.state is JobState.WAITING
    go_on.set()
    assert first.wait(10) and second.wait(10) and second.state is JobState.DONE


def test_a_job_is_stopped_when_its_last_watcher_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Jobs[None] = Jobs("test", 3)
    job = kind.add(Job("a"))
    for page in ("one", "two"):
        assert kind.find("a", page) is job
    kind.leave("a", "one")
    assert not job.stop_asked.is_set()
    # A page that was closed without a word no longer counts.
    monkeypatch.setattr(jobs, "WATCHED_SECONDS", 0)
    kind.find("a", "one")
    kind.leave("a", "one")
    assert job.stop_asked.is_set()
    kind.leave("nobody knows it", "one")
