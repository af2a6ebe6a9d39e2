"""A fine-tune through the page: started, watched, found again after a reload and a killed server, stopped,
resumed, used.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path

from tests.browser.conftest import Little, Server, settle
from tests.browser.test_page import choose, open_tab
from vit_demo.training.run.runs import Run

SIDE = 112  # pixels of the photos that the run of the page's own model learns from


def points(page, name: str = "train loss") -> list[float]:
    """The steps that the plot in the browser holds of one curve."""
    return page.evaluate(
        """name => { const plot = document.querySelector('#train-plot .js-plotly-plot');
        const trace = plot && plot._fullData && plot._fullData.find(trace => trace.name === name);
        return trace && trace.x ? Array.from(trace.x) : []; }""",
        name,
    )


def wait_for_points(page, least: int) -> int:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if (found := len(points(page))) >= least:
            return found
        page.wait_for_timeout(200)
    raise AssertionError(f"only {points(page)}; the page says: {page.inner_text('#train-status')}")


def wait_for_status(page, word: str) -> None:
    page.locator("#train-status b").get_by_text(word, exact=True).wait_for(timeout=480_000)


def press_start(page) -> Path:
    """Press Start and wait until the page shows the new run, not an earlier one; returns its folder."""
    known = [folder.name for folder in page.home.glob("runs/*")]
    page.click("#train-start")
    shown = page.wait_for_function(
        """known => {
            const run = new URL(location.href).searchParams.get('run');
            return run && !known.includes(run) && run;
        }""",
        arg=known,
    )
    return page.home / "runs" / shown.json_value()


def wait_until_ended(page, run: Path) -> None:
    """By its own record, since the page may still show an earlier run for a moment."""
    until = time.monotonic() + 480
    while Run(run).is_going():
        assert time.monotonic() < until, Run(run).state()
        page.wait_for_timeout(300)


def start(page, epochs: int, little: Little | None = None) -> Run:
    """Press Start; with the page's own photos and model at half its size, or with little ones."""
    open_tab(page, "Fine-tune")
    if little:
        little.fill_in(page, epochs)
    else:
        page.locator("#train-epochs input").fill(str(epochs))
        page.get_by_text("Choices a learner wants").click()
        # A quarter of the patches: what is looked at here is the same, in less than half of the time.
        page.locator("#train-side input").fill(str(SIDE))
        page.locator("#train-side input").press("Enter")
    return Run(press_start(page))


def test_train_watch_reload_and_use(page, browser, server, real_photos):
    run = start(page, epochs=1)
    wait_for_status(page, "Training")
    page.locator("#train-status").get_by_text("has learned from these photos before").wait_for()
    seen = wait_for_points(page, 1)
    total = int(re.search(r"step \d+ of (\d+)", page.inner_text("#train-status"))[1])
    page.reload()
    settle(page)
    assert wait_for_points(page, seen) >= seen
    # A second browser finds the same run.
    other = browser.new_context().new_page()
    other.set_default_timeout(60_000)
    other.goto(server.url)
    settle(other)
    open_tab(other, "Fine-tune")
    wait_for_points(other, seen)
    other.context.close()
    wait_for_status(page, "Finished")
    assert run.config().resolutions == (SIDE,)
    assert points(page) == list(range(1, total + 1))
    assert points(page, "validation accuracy")[-1] == total and points(page, "validation loss") == points(
        page, "validation accuracy"
    )
    assert re.search(
        r"of 128 test photos right; with 95 % confidence between", page.inner_text("#train-status")
    )
    page.get_by_role("tab", name="Result").click()
    page.locator("#result-meaning").get_by_text("Of 128 test photos").wait_for()
    page.click("#train-use")
    page.get_by_text("The other tabs now use this model.").wait_for()
    open_tab(page, "Diagnose")
    choose(page, "diagnose-photo", real_photos["healthy"])
    page.wait_for_selector(".answer-label")
    # The choice outlives a reload.
    page.goto(server.url)
    settle(page)
    page.get_by_text("Choose another model").click()
    page.locator("#model-in-use input").wait_for()
    page.wait_for_function("document.querySelector('#model-in-use input').value.startsWith('Run ')")


def test_a_stopped_run_keeps_its_model_and_goes_on_after_a_killed_server(browser, tmp_path, little):
    site = Server(tmp_path / "site" / "home")
    site.home.parent.mkdir()
    site.start()
    try:
        page = browser.new_context().new_page()
        page.set_default_timeout(60_000)
        page.home = site.home
        page.goto(site.url)
        settle(page)
        start(page, epochs=1000, little=little)
        seen = wait_for_points(page, 3)
        # The page notices that its server is gone, and loads itself anew once it is back; to open it
        # meanwhile would race with that.
        page.evaluate("window.openedBefore = true")
        site.kill()
        site.start()
        page.wait_for_function("!window.openedBefore")
        settle(page)
        open_tab(page, "Fine-tune")
        wait_for_status(page, "Training")
        wait_for_points(page, seen + 1)
        found = points(page)
        assert found == sorted(found) and found[0] < seen
        page.click("#train-stop")
        wait_for_status(page, "Stopped")
        assert page.locator("#train-use").is_visible() and not page.locator("#train-stop").is_visible()
        stopped = points(page)[-1]
        page.click("#train-resume")
        page.get_by_text("The run goes on from its last checkpoint.").wait_for()
        wait_for_status(page, "Training")
        page.wait_for_function(
            "last => { const x = document.querySelector('#train-plot .js-plotly-plot')._fullData[0].x; return"
            " x[x.length - 1] > last + 1; }",
            arg=stopped,
        )
        page.click("#train-stop")
        wait_for_status(page, "Stopped")
        page.context.close()
    finally:
        site.kill()
        # Whatever went wrong: a run that goes on takes a core from all tests after it.
        for run in map(Run, site.home.glob("runs/*")):
            if run.is_going():
                with contextlib.suppress(ProcessLookupError, TypeError):
                    os.kill(run.state().get("pid"), signal.SIGKILL)


def test_wrong_settings_are_refused_in_words(page, server):
    open_tab(page, "Fine-tune")
    before = set(server.home.glob("runs/*/config.json"))
    page.locator("#train-epochs input").fill("0")
    page.click("#train-start")
    page.get_by_text("epochs must be a whole number from 1").wait_for()
    page.locator("#train-epochs input").fill("")
    page.click("#train-start")
    page.get_by_text("Fill in the epochs.").wait_for()
    assert set(server.home.glob("runs/*/config.json")) == before


def test_a_recipe_fills_in_the_form_and_fixes_what_it_must(page):
    open_tab(page, "Fine-tune")
    page.get_by_text("Choices a learner wants").click()
    page.get_by_text("The same as a command line").click()
    side, frozen, command = (
        page.locator("#train-side input"),
        page.get_by_label("Freeze the encoder"),
        page.locator("#train-command textarea"),
    )
    page.get_by_text("The tutorial's:").click()
    page.locator("#train-fixed").get_by_text("Grey settings are fixed").wait_for()
    page.wait_for_function(
        "document.querySelector('#train-command textarea').value.includes('--recipe tutorial')"
    )
    assert side.is_disabled() and frozen.is_disabled() and page.locator("#train-epochs input").is_enabled()
    page.get_by_text("Last layer only:").click()
    page.wait_for_function(
        "document.querySelector('#train-command textarea').value.includes('--recipe probe')"
    )
    assert frozen.is_enabled() and frozen.is_checked() and not page.locator("#train-fixed").is_visible()
    page.locator("#train-hybrid input").click()
    page.get_by_role("option", name="a small new one").click()
    page.wait_for_function("document.querySelector('#train-command textarea').value.includes('--hybrid new')")
    assert "--recipe probe" in command.input_value()
