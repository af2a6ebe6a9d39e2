"""All runs in a real browser: found, chosen, named, exported, compared, repeated, deleted; on a desktop and
on a phone.
"""

from __future__ import annotations

import json

import pytest

from tests.browser.conftest import settle, wait_for_rest
from tests.browser.test_page import open_tab, sideways_overflow, toast
from tests.training.conftest import PLAIN
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig


@pytest.fixture(scope="module")
def made(server, little) -> list[runs.Run]:
    """Three short runs, the last two of them one experiment."""
    from vit_demo.training.loop.finetune import fine_tune

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIT_DEMO_HOME", str(server.home))
        for name, seed in (("apple <b>tree</b>", 1), ("pear, seed 1", 1), ("pear, seed 2", 2)):
            run = runs.create(
                TrainingConfig(
                    **{
                        **PLAIN,
                        "data": little.data,
                        "model": little.model,
                        "seed": seed,
                        "epochs": len(found) + 2,
                    }
                )
            )
            run.set_meta(name=name, experiment="pears" if "pear" in name else "")
            run.claim()
            fine_tune(run)
            found.append(run)
    return found


def open_list(page, text: str) -> None:
    """The list of the runs that have this text."""
    open_tab(page, "Fine-tune")
    page.get_by_role("tab", name="All runs").click()
    page.locator("#runs-find input, #runs-find textarea").fill(text)


def row(page, name: str):
    return page.locator("#runs-table tr[data-run]").filter(
        has=page.get_by_role("button", name=name, exact=True)
    )


def choose_run(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    row(page, name).and_(page.locator(".chosen")).wait_for()
    page.locator("#runs-title").get_by_text(name, exact=True).wait_for()


def test_a_run_is_found_renamed_exported_and_shown(page, made):
    open_list(page, "tree seed 1")
    page.locator("#runs-where").get_by_text("Page 1 of 1, 1 run").wait_for()
    choose_run(page, "apple <b>tree</b>")
    assert (
        "Finished" in row(page, "apple <b>tree</b>").inner_text()
        and "%" in row(page, "apple <b>tree</b>").locator(".runs-score").inner_text()
    )
    with page.expect_download() as download:
        page.click("#runs-export")
    exported = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert (
        exported["command"] == made[0].config().command()
        and download.value.suggested_filename == f"run-{made[0].id}.json"
    )
    page.locator("#runs-name input, #runs-name textarea").fill("a name that is being typed")
    page.wait_for_timeout(1500)  # a tick does not take it away
    page.locator("#runs-name input, #runs-name textarea").fill("apple")
    page.click("#runs-rename")
    page.locator("#runs-find input, #runs-find textarea").fill("apple")
    row(page, "apple").wait_for()
    page.locator("#runs-title").get_by_text("apple", exact=True).wait_for()
    page.click("#runs-show")
    page.locator("#train-status b").get_by_text("Finished").wait_for()
    page.wait_for_function("document.querySelector('#train-run input').value.startsWith('apple (finished)')")
    assert page.url.endswith(f"?run={made[0].id}")
    # Drawn while it was hidden, the plot must still fit.
    page.wait_for_function(
        "(plot => plot && plot._fullLayout.width === plot.parentElement.clientWidth)"
        "(document.querySelector('#train-plot .js-plotly-plot'))"
    )


def test_a_page_that_shows_a_run_that_has_ended_asks_only_once_in_a_while(page, server, made):
    """A change that leads back to itself would ask the server without end."""
    page.goto(f"{server.url}/?run={made[0].id}")
    settle(page)
    page.locator("#train-status b").get_by_text("Finished").wait_for()
    # In five seconds: a tick each two, and of the list one each second.
    assert 2 <= len(wait_for_rest(page, seconds=5).ticks) <= 10


def test_a_page_whose_views_were_opened_quickly_comes_to_rest(page, made):
    """Each view that is opened is sent something, and what is sent may report that a tab was opened."""
    for tab, views in (("Look inside", "inside-views"), ("Data", "data-views"), ("Fine-tune", "train-parts")):
        page.get_by_role("tab", name=tab, exact=True).first.click()
        for view in page.locator(f"#{views} > .tab-wrapper [role=tab]:visible").all():
            view.click()
            page.wait_for_timeout(1500)
    wait_for_rest(page)


def test_two_runs_are_compared(page, made):
    open_list(page, "pear")
    choose_run(page, "pear, seed 1")
    page.click("#runs-compare")
    # The newest is added by itself.
    for name in ("pear, seed 1", "pear, seed 2"):
        page.locator("#compare-table th").get_by_text(name).wait_for()
        page.wait_for_function(
            "name => document.querySelector('#compare-plot .js-plotly-plot')"
            "?.data.some(trace => trace.name === name)",
            arg=name,
        )
    table = page.inner_text("#compare-table")
    assert "Seed" in table and "Test accuracy" in table and "Learning rate" not in table  # only what differs
    page.locator("#compare-along").get_by_label("epochs").check()
    page.wait_for_function(
        "document.querySelector('#compare-plot .js-plotly-plot')"
        ".layout.xaxis3.title.text.startsWith('epochs')"
    )


def test_an_experiment_has_its_mean_and_a_run_is_repeated_and_deleted(page, made):
    open_list(page, "pear")
    page.locator("#runs-table .experiment th").get_by_text("2 seeds").wait_for()
    assert "over 2 seeds" in page.inner_text("#runs-table .experiment .runs-score")
    choose_run(page, "pear, seed 2")
    page.click("#runs-again")
    page.get_by_text("The new run has seed 3.").wait_for()
    row(page, "pear, seed 3").wait_for()
    # Asked first; what is going is not deleted.
    choose_run(page, "pear, seed 2")
    page.click("#runs-delete")
    page.locator("#runs-question").get_by_text(
        "Delete the run pear, seed 2 and its model for good?"
    ).wait_for()
    page.click("#runs-delete-no")
    page.locator("#runs-sure").wait_for(state="hidden")
    assert made[2].folder.is_dir()
    page.click("#runs-delete")
    page.click("#runs-delete-yes")
    row(page, "pear, seed 2").wait_for(state="detached")
    assert not made[2].folder.exists() and made[1].folder.is_dir()
    row(page, "pear, seed 3").get_by_text("Finished").wait_for(timeout=120_000)


def test_on_a_phone_nothing_is_cut_and_a_link_opens_its_run(phone, server, made):
    phone.goto(f"{server.url}/?run={made[1].id}")
    settle(phone)
    phone.locator("#train-status b").get_by_text("Finished").wait_for()
    # The run stands below the settings, and is brought into view.
    inside = (
        "() => { const {top, bottom} = document.getElementById('train-status').getBoundingClientRect();"
        " return top >= 0 && bottom <= innerHeight; }"
    )
    phone.wait_for_function(inside)
    for text in (
        "Choices a learner wants",
        "When to stop, and where the numbers go",
        "The same as a command line",
    ):
        phone.get_by_text(text).click()
    assert sideways_overflow(phone) <= 0
    for name, landmark in (
        ("All runs", "#runs-table .experiment"),
        ("Compare", "#compare-plot .js-plotly-plot"),
    ):
        phone.get_by_role("tab", name=name).click()
        phone.locator(landmark).wait_for()
        assert sideways_overflow(phone) <= 0, name
    cut = (
        "() => [...document.querySelectorAll('#runs-table tbody td, #runs-table tbody th')]."
        "filter(cell => cell.scrollWidth > cell.clientWidth + 1).length"
    )
    phone.get_by_role("tab", name="All runs").click()
    assert phone.evaluate(cut) == 0


def test_a_run_that_is_going_is_not_deleted(page, server, monkeypatch):
    monkeypatch.setenv("VIT_DEMO_HOME", str(server.home))
    going = runs.create(TrainingConfig())
    going.claim()
    going.set_state(status="training")
    going.rename("quince")
    open_list(page, "quince")
    choose_run(page, "quince")
    page.click("#runs-delete")
    assert "still going. Stop it first." in toast(page)
    assert not page.locator("#runs-sure").is_visible() and going.folder.is_dir()
    going.set_state(status="stopped")
