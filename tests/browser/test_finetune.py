"""A fine-tune through the page: started, watched, found again after a reload and a killed server, used."""

from __future__ import annotations

import re
import time

from tests.browser.conftest import Server, settle
from tests.browser.test_page import choose, open_tab


def points(page, name: str = "train loss") -> int:
    """Points that the plot in the browser holds of one curve."""
    return page.evaluate(
        """name => { const plot = document.querySelector('#train-plot .js-plotly-plot');
        const trace = plot && plot.data.find(trace => trace.name === name); return trace ? trace.x.length : 0; }""",
        name,
    )


def wait_for_points(page, least: int, name: str = "train loss") -> int:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if (found := points(page, name)) >= least:
            return found
        page.wait_for_timeout(300)
    raise AssertionError(f"only {points(page, name)} points of {name}; the page says: {page.inner_text('#train-status')}")


def wait_for_status(page, word: str) -> None:
    page.locator("#train-status b").get_by_text(word, exact=True).wait_for(timeout=240_000)


def start(page, epochs: int) -> None:
    open_tab(page, "Fine-tune")
    page.locator("#train-epochs input").fill(str(epochs))
    page.click("#train-start")


def test_train_watch_reload_and_use(page, browser, server, real_photos):
    start(page, epochs=2)
    seen = wait_for_points(page, 5)
    assert re.search(r"step \d+ of 30", page.inner_text("#train-status"))
    page.reload()
    settle(page)
    open_tab(page, "Fine-tune")
    assert wait_for_points(page, seen) >= seen
    # A second browser finds the same run.
    other = browser.new_context().new_page()
    other.goto(server.url)
    settle(other)
    open_tab(other, "Fine-tune")
    wait_for_points(other, seen)
    other.context.close()
    wait_for_status(page, "Finished")
    assert points(page) == 30
    assert points(page, "validation accuracy") == 3
    assert re.search(r"of 48 test photos right", page.inner_text("#train-result"))
    page.wait_for_selector("#train-confusion .js-plotly-plot")
    page.click("#train-use")
    page.get_by_text("The other tabs now use this model.").wait_for()
    open_tab(page, "Diagnose")
    choose(page, "diagnose-photo", real_photos["healthy"])
    page.wait_for_selector(".answer-label")
    # The choice outlives a reload.
    page.reload()
    settle(page)
    page.get_by_text("Choose another model").click()
    page.locator("#model-in-use input").wait_for()
    page.wait_for_function("document.querySelector('#model-in-use input').value.startsWith('Run ')")


def test_stop_keeps_a_usable_model(page):
    start(page, epochs=50)
    wait_for_points(page, 3)
    page.click("#train-stop")
    wait_for_status(page, "Stopped")
    assert page.locator("#train-use").is_visible()


def test_the_run_survives_a_killed_server(browser, tmp_path):
    site = Server(tmp_path / "site" / "home")
    site.home.parent.mkdir()
    site.start()
    try:
        page = browser.new_context().new_page()
        page.goto(site.url)
        settle(page)
        start(page, epochs=50)
        seen = wait_for_points(page, 5)
        site.kill()
        site.start()
        page.goto(site.url)
        settle(page)
        open_tab(page, "Fine-tune")
        wait_for_status(page, "Training")
        grown = wait_for_points(page, seen + 1)
        steps = page.evaluate("document.querySelector('#train-plot .js-plotly-plot').data[0].x")
        assert list(steps)[:5] == [1, 2, 3, 4, 5] and grown > seen
        page.click("#train-stop")
        wait_for_status(page, "Stopped")
        page.context.close()
    finally:
        site.kill()


def test_wrong_settings_are_refused_in_words(page):
    open_tab(page, "Fine-tune")
    page.locator("#train-epochs input").fill("0")
    page.click("#train-start")
    page.get_by_text("epochs must be a whole number from 1").wait_for()
