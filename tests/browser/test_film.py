"""The film of a run in a real browser: played, moved by hand, and longer while it plays."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.browser.conftest import settle, wait_for_rest
from tests.browser.test_page import sideways_overflow
from tests.ui.tabs.finetune.test_film import shoot
from vit_demo.training.film import reader
from vit_demo.training.run import queue, runs
from vit_demo.training.run.config import TrainingConfig

PAUSE_LATER = """() => {
    const later = !document.querySelector('.film-moment').textContent.startsWith('Before');
    if (later) document.querySelector('.film-play').click();
    return later;
}"""


@pytest.fixture
def begin(server, few_leaves, monkeypatch):
    """Start a run of so many epochs of 15 steps on the server's home folder. It is ended after the test.
    other: settings of it.
    """
    monkeypatch.setenv("VIT_DEMO_HOME", str(server.home))
    started = []

    def submit(epochs: int, evaluate_every: int, **other) -> runs.Run:
        config = TrainingConfig(
            data=few_leaves,
            epochs=epochs,
            batch_size=16,
            evaluate_every=evaluate_every,
            learning_rate=1e-3,
            device="cpu",
            **other,
        )
        started.append(queue.submit(config))
        return started[0]

    yield submit
    # Else the next test's run would wait for it; to be stopped would cost it the scores of its model.
    if started[0].is_going():
        os.kill(started[0].state()["pid"], signal.SIGKILL)
    until = time.monotonic() + 120
    while started[0].is_going():
        assert time.monotonic() < until, started[0].state()
        time.sleep(0.1)


def open_film(page, run, server) -> None:
    """The sub-tab with the film of this run, which has begun."""
    page.goto(f"{server.url}/?run={run.id}")
    settle(page)
    page.get_by_role("tab", name="Where it looked").click()
    page.locator(".film-photos canvas").first.wait_for(timeout=120_000)
    page.wait_for_function("document.querySelector('.film-photos canvas').width > 200")


def picture(page) -> str:
    """What stands on the first photo's canvas."""
    return page.locator(".film-photos canvas").first.evaluate("canvas => canvas.toDataURL()")


def moment(page) -> str:
    return page.inner_text(".film-moment")


def wait_for_frames(page, least: int) -> None:
    page.wait_for_function(
        "least => document.querySelector('.film-range').max >= least - 1", arg=least, timeout=240_000
    )


def test_a_film_is_played_and_moved_while_the_run_goes_on(page, begin, server):
    run = begin(epochs=100, evaluate_every=10, resolutions=(64,))
    open_film(page, run, server)
    wait_for_frames(page, 3)
    assert (
        page.locator(".film-photos figure").count() == 3
        and page.locator(".film-is").all_inner_texts()[1] == "It is: Bean rust"
    )
    # By the keyboard alone.
    page.locator(".film-range").focus()
    page.keyboard.press("Home")
    assert moment(page) == "Before training (step 0)" and page.locator(".film-range").get_attribute(
        "aria-valuetext"
    ) == moment(page)
    first = picture(page)
    page.keyboard.press("ArrowRight")
    assert moment(page).startswith("Step 10 of 1500, validation loss ") and picture(page) != first
    page.keyboard.press("ArrowLeft")
    assert picture(page) == first
    # New frames come, and the one that is looked at stays.
    wait_for_frames(page, int(page.locator(".film-range").get_attribute("max")) + 2)
    assert moment(page) == "Before training (step 0)" and picture(page) == first
    page.locator(".film-play").focus()
    page.keyboard.press("Enter")
    assert (
        page.inner_text(".film-play") == "Pause"
        and page.locator(".film-moment").get_attribute("aria-live") == "off"
    )
    # Paused from within the page: on a busy machine a click from here could come when the film is over.
    page.wait_for_function(PAUSE_LATER)
    assert (
        page.inner_text(".film-play") == "Play"
        and page.locator(".film-moment").get_attribute("aria-live") == "polite"
    )
    stopped = moment(page), picture(page)
    page.wait_for_timeout(1500)
    assert (moment(page), picture(page)) == stopped and stopped[1] != first


def test_a_film_plays_to_the_end_of_a_run_and_follows_a_reload(page, begin, server, little):
    run = begin(
        epochs=1, evaluate_every=3, model=little.model
    )  # a small one: it is its end that is waited for
    open_film(page, run, server)
    wait_for_frames(page, 2)
    page.click(".film-play")
    page.locator(".film-moment").get_by_text("At the end (step 15 of 15), validation loss").wait_for(
        timeout=240_000
    )
    frames = len({0, 3, 6, 9, 12, 15, *(round(eighth * 15 / 8) for eighth in range(1, 8))})
    assert (
        int(page.locator(".film-range").get_attribute("max"))
        == frames - 1
        == len(reader.read(run).frames) - 1
    )
    page.wait_for_function("document.querySelector('.film-play').textContent === 'Play'")
    # The marker stands at the right end of the curve, and at its left end before the training.
    mark = "() => Number(document.querySelector('.film-now').getAttribute('d').match(/M([\\d.]+)/)[1])"
    last = page.evaluate(mark)
    page.locator(".film-range").fill("0")
    assert page.evaluate(mark) < last - 200
    page.reload()
    settle(page)
    page.get_by_role("tab", name="Where it looked").click()
    page.locator(".film-moment").get_by_text("At the end (step 15 of 15)").wait_for()


def test_the_film_on_a_phone_and_of_a_run_without_one(phone, server, monkeypatch):
    monkeypatch.setenv("VIT_DEMO_HOME", str(server.home))
    bare = runs.create(TrainingConfig(film=0))
    bare.set_state(status="finished")
    phone.goto(f"{server.url}/?run={bare.id}")
    settle(phone)
    phone.get_by_role("tab", name="Where it looked").click()
    phone.get_by_text("This run was started without a film").wait_for()
    assert not phone.locator(".film-play").is_visible()
    shot = runs.create(TrainingConfig())
    shot.set_state(status="finished")
    shoot(shot, [0, 5, 10])
    open_film(phone, shot, server)
    assert sideways_overflow(phone) <= 0
    assert min(phone.locator(".film-play").bounding_box()[side] for side in ("width", "height")) >= 42
    boxes = [canvas.bounding_box() for canvas in phone.locator(".film-photos canvas").all()]
    assert len(boxes) == 3 and all(box["width"] >= 140 and box["x"] + box["width"] <= 390 for box in boxes)
    # It plays without the server, of which only the timers ask.
    sent = wait_for_rest(phone)  # what the page asks when it is opened comes first
    phone.click(".film-play")
    phone.locator(".film-moment").get_by_text("At the end (step 10 of 10)").wait_for()
    assert len(set(sent.ticks)) >= 2 and not sent.events
