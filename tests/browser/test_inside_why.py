"""The view Why this answer in a real browser: another class, a comparison, the check of the map, files, and a
phone.
"""

from __future__ import annotations

import csv

import numpy as np
from PIL import Image

from tests.browser.test_page import choose, open_tab, sideways_overflow


def pick(page, field: str, option: str) -> None:
    """Choose in one of the view's lists."""
    page.locator(f"#inside-why-{field} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def picture(page, number: int) -> str:
    return page.locator(f"#inside-why-map-{number} img").get_attribute("src")


def test_the_check_belongs_to_the_map_that_is_shown_and_occlusion_shows_how_far_it_is(page):
    open_tab(page, "Look inside")
    page.wait_for_selector("#inside-why-map-0 img")
    _checks_the_map_that_is_shown(page)
    _shows_how_far_occlusion_is(page)


def test_it_opens_first_and_shows_another_class_a_comparison_and_other_methods(page, real_photos):
    open_tab(page, "Look inside")
    choose(page, "inside-photo", real_photos["bean_rust"])
    page.locator("#inside-why-answer").get_by_text("Bean rust").wait_for()
    words = page.locator("#inside-why-words")
    words.get_by_text("For Bean rust").wait_for()
    before = picture(page, 0)
    pick(page, "class", "Healthy")
    words.get_by_text("For Healthy").wait_for()
    page.wait_for_function(
        "before => document.querySelector('#inside-why-map-0 img').src !== before", arg=before
    )
    assert page.locator("#inside-why-map-1 img").count() == 0
    pick(page, "versus", "Angular leaf spot")
    words.get_by_text("For Healthy rather than Angular leaf spot").wait_for()
    page.wait_for_selector("#inside-why-map-2 img")
    assert len({picture(page, number) for number in range(3)}) == 3
    with page.expect_download() as taken:
        page.click("#inside-why-npz")
    with np.load(taken.value.path(), allow_pickle=False) as arrays:
        assert arrays["maps"].shape == (3, 14, 14) and arrays["classes"].tolist() == [2, 0, 2]
    pick(page, "method", "Attention rollout")
    words.get_by_text("Where [CLS] looks").wait_for()
    page.locator("#inside-why-map-1").wait_for(state="hidden")
    # Waited for, since the progress stands over these words until all outputs are there.
    page.locator("#inside-why-method-words").get_by_text("does not depend on the class").wait_for()
    with page.expect_download() as taken:
        page.locator("#inside-why-map-0").get_by_label("Download").click()
    assert Image.open(taken.value.path()).size == (448, 448)


def _checks_the_map_that_is_shown(page):
    page.click("#inside-trust")
    page.wait_for_selector("#inside-trust-areas table")
    for plot in ("inside-trust-deletion", "inside-trust-insertion"):
        page.wait_for_selector(f"#{plot} .js-plotly-plot .main-svg")
        assert page.locator(f"#{plot} .modebar-btn[data-title*='png' i]").count() == 1
    assert "four comparisons" in page.inner_text("#inside-trust-words") and "everything" in page.inner_text(
        "#inside-trust-sanity"
    )
    with page.expect_download() as taken:
        page.click("#inside-trust-csv")
    with open(taken.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["share_of_patches"]) for row in rows][::10] == [0, 1]
    pick(page, "method", "Grad-CAM")
    page.locator("#inside-trust-results").wait_for(state="hidden")
    # A check that is still at work when another map is asked for does not come to stand below it.
    page.click("#inside-trust")
    page.wait_for_selector("#inside-trust-status [role=progressbar]")
    pick(page, "method", "Attention of the last layer")
    page.locator("#inside-why-words").get_by_text("Where [CLS] looks").wait_for()
    page.locator("#inside-trust-status [role=progressbar]").wait_for(state="hidden")
    page.wait_for_timeout(4000)
    assert page.locator("#inside-trust-results:visible").count() == 0


def _shows_how_far_occlusion_is(page):
    pick(page, "method", "Occlusion (slow)")
    page.locator("#inside-why-method-words").get_by_text("covering the photo").wait_for()
    page.locator("#inside-why-words").get_by_text("covering helps").wait_for()
    page.locator("#inside-why-method-words").get_by_text("at 196 places").wait_for()


def test_phone_shows_it_without_sideways_scrolling(phone):
    open_tab(phone, "Look inside")
    phone.wait_for_selector("#inside-why-map-0 img")
    assert sideways_overflow(phone) <= 0
    pick(phone, "versus", "Healthy")
    phone.click("#inside-trust")
    for plot in ("inside-trust-deletion", "inside-trust-insertion"):
        phone.wait_for_selector(f"#{plot} .js-plotly-plot .main-svg")
        box = phone.locator(f"#{plot} .modebar").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert sideways_overflow(phone) <= 0
