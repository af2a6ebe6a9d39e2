"""The Layer-by-layer view in a real browser: plots, words and files, the norms of a chosen layer, and a
phone.
"""

from __future__ import annotations

import csv

import numpy as np

from tests.browser.test_inside_attention import open_view
from tests.browser.test_page import choose, sideways_overflow

PLOTS = ("inside-lens-plot", "inside-similar-plot", "inside-mutual-plot", "inside-norm-plot")


def test_plots_words_and_files_of_a_real_photo(page, real_photos):
    open_view(page, "layers")
    choose(page, "inside-photo", real_photos["bean_rust"])
    page.locator("#inside-lens-words").get_by_text("Bean rust").wait_for()
    page.locator("#inside-lens-table").get_by_text("layer 11").wait_for()
    for plot in PLOTS:
        page.wait_for_selector(f"#{plot} .js-plotly-plot .main-svg")
        # The camera: each figure can be taken away as a picture, without a mouse resting on it.
        camera = page.locator(f"#{plot} .modebar-btn[data-title*='png' i]")
        assert camera.count() == 1
        for part in (".modebar", ".modebar-group"):
            assert (
                float(
                    camera.evaluate("(button, part) => getComputedStyle(button.closest(part)).opacity", part)
                )
                > 0.5
            )
    with page.expect_download() as taken:
        page.locator("#inside-lens-plot .modebar-btn[data-title*='png' i]").click()
    assert taken.value.suggested_filename.endswith(".png")
    words = page.locator("#inside-norm-layer-words")
    words.get_by_text("After layer 11").wait_for()
    page.locator("#inside-norm-layer input[type=number]").fill("2")
    page.locator("#inside-norm-layer input[type=number]").press("Enter")
    words.get_by_text("After layer 2").wait_for()
    assert "None stands out" in words.inner_text()
    with page.expect_download() as taken:
        page.click("#inside-layers-csv")
    with open(taken.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13 and rows[-1]["would_say"] == "bean_rust"
    with page.expect_download() as taken:
        page.click("#inside-layers-npz")
    with np.load(taken.value.path(), allow_pickle=False) as arrays:
        assert arrays["norms"].shape == (13, 197) and arrays["layer_similarity"].shape == (13, 13)


def test_phone_shows_it_without_sideways_scrolling(phone):
    open_view(phone, "layers")
    for plot in PLOTS:
        phone.wait_for_selector(f"#{plot} .js-plotly-plot .main-svg")
    assert sideways_overflow(phone) <= 0
    for plot in PLOTS:
        box = phone.locator(f"#{plot} .modebar").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
