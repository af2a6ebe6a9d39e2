"""The Attention view in a real browser: small pictures open large, a new photo starts afresh, pictures and
numbers can be taken away.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from tests.browser.test_page import choose, open_tab, sideways_overflow


def open_view(page, view: str) -> None:
    """Open a view of Look inside, also where its tab has gone into the menu of a narrow page."""
    open_tab(page, "Look inside")
    page.wait_for_selector("#inside-views")
    tab = page.locator(f"#inside-view-{view}-button:visible")
    if not tab.count():
        page.locator("#inside-views .overflow-menu > button").first.click()
        title = {"tokens": "From photo to tokens", "attention": "Attention", "layers": "Layer by layer"}[view]
        tab = page.locator("#inside-views .overflow-dropdown button", has_text=title)
    tab.first.click()
    page.wait_for_selector(f"#inside-view-{view}")


def press(page, element: str, across: float, down: float) -> None:
    """Click a picture at shares of its width and height."""
    picture = page.locator(f"#{element} img")
    picture.scroll_into_view_if_needed()
    size = picture.bounding_box()
    picture.click(position={"x": size["width"] * across, "y": size["height"] * down})


def test_the_view_on_a_desktop(page, real_photos):
    """One page for all of it: to open it takes longer than to look at it."""
    open_view(page, "attention")
    _gives_its_pictures_and_numbers_away(page)
    _opens_a_small_picture_large_and_starts_a_new_photo_from_cls(page, real_photos)


def _opens_a_small_picture_large_and_starts_a_new_photo_from_cls(page, real_photos):
    sentence = page.locator("#inside-sentence")
    sentence.get_by_text("layer 11, mean of 3 heads").wait_for()
    press(page, "inside-heads", 0.5, 0.6)
    sentence.get_by_text("layer 11, head 1").wait_for()
    page.get_by_label("All layers and heads").check()
    page.wait_for_function("document.querySelector('#inside-heads img').naturalWidth > 800")
    # Of 12 columns the fourth, of three rows the first.
    press(page, "inside-heads", (54 + 3.5 * 70) / 900, 0.35)
    sentence.get_by_text("layer 3, head 0").wait_for()
    assert (
        page.locator("#inside-layer input[type=number]").input_value() == "3"
        and page.locator("#inside-head input").input_value() == "0"
    )
    press(page, "inside-overlay", 10.5 / 14, 3.5 / 14)
    sentence.get_by_text("Patch 52 (row 3, column 10)").wait_for()
    page.locator("#inside-head-facts").get_by_text("patch 52 (row 3, column 10) in layer 3").wait_for()
    choose(page, "inside-photo", real_photos["bean_rust"])
    sentence.get_by_text("The [CLS] token, in layer 3, head 0").wait_for()


def _gives_its_pictures_and_numbers_away(page):
    page.wait_for_selector("#inside-head-facts table")
    with page.expect_download() as taken:
        page.click("#inside-attention-numbers")
    assert taken.value.suggested_filename == "attention.npz"
    with np.load(taken.value.path(), allow_pickle=False) as arrays:
        assert arrays["map"].shape == (14, 14) and arrays["weights"].shape == (12, 3, 197)
    with page.expect_download() as taken:
        page.locator("#inside-heads").get_by_label("Download").click()
    assert Image.open(taken.value.path()).width > 600


def test_phone_shows_it_without_sideways_scrolling(phone):
    open_view(phone, "attention")
    phone.wait_for_selector("#inside-head-facts table")
    for kind in ("All layers and heads", "All heads of this layer"):
        phone.get_by_label(kind).check()
        phone.wait_for_selector("#inside-heads img")
        assert sideways_overflow(phone) <= 0
