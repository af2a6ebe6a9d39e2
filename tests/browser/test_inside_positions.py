"""Filters and positions in a real browser."""

from __future__ import annotations

import numpy as np

from tests.browser.test_page import open_tab, sideways_overflow


def open_view(page) -> None:
    """Open the view; on a phone its tab may be behind the button with the dots."""
    open_tab(page, "Look inside")
    tab = page.get_by_role("tab", name="Filters and positions")
    more = page.locator("#inside-views button[aria-label='More tabs']")
    tab.or_(more).first.wait_for()
    if tab.count():
        tab.click()
    else:
        more.click()
        page.locator("#inside-views .overflow-dropdown").get_by_text("Filters and positions").click()
    page.locator("#inside-distance-words").get_by_text("In the first layer").wait_for()


def picture(page, name: str):
    """A picture of the view, once it has come; the browser loads those that are far below the window
    later.
    """
    page.locator(f"#inside-{name}").scroll_into_view_if_needed()
    found = page.locator(f"#inside-{name} img")
    found.wait_for()
    page.wait_for_function(
        "name => document.querySelector(`#inside-${name} img`).naturalWidth > 100", arg=name
    )
    return found


def test_the_view_on_a_desktop(page):
    """One page for all of it: to open it takes longer than to look at it."""
    _asks_the_server_only_when_there_is_something_to_draw(page)
    _shows_the_map_of_a_clicked_position_before_and_after(page)
    _gives_its_numbers_and_figures_away(page)
    _lets_the_model_answer_at_other_resolutions(page)


def _shows_the_map_of_a_clicked_position_before_and_after(page):
    sheet = picture(page, "similarity-sheet")
    large, after = (picture(page, name).get_attribute("src") for name in ("similarity", "map-after"))
    size = sheet.bounding_box()
    sheet.click(position={"x": size["width"] * 10.5 / 14, "y": size["height"] * 3.5 / 14})
    words = page.locator("#inside-similarity-words")
    words.get_by_text("Row 3, column 10").first.wait_for()
    page.wait_for_function(
        "before => document.querySelector('#inside-similarity img').src !== before", arg=large
    )
    page.wait_for_function(
        "before => document.querySelector('#inside-map-after img').src !== before", arg=after
    )
    # The large map can be clicked too.
    shown = picture(page, "similarity")
    size = shown.bounding_box()
    shown.click(position={"x": size["width"] * 7.5 / 14, "y": size["height"] * 12.5 / 14})
    words.get_by_text("Row 12, column 7").first.wait_for()


def _lets_the_model_answer_at_other_resolutions(page):
    table = page.locator("#inside-answers-table")
    table.get_by_text("224 x 224 px, its own").wait_for()
    box = page.locator("#inside-resolution input[type=number]")
    box.fill("160")
    box.press("Enter")
    page.locator("#inside-resized-words").get_by_text("10 x 10 = 100 patches").wait_for()
    table.get_by_text("160 x 160 px").wait_for()
    page.click("#inside-ask")
    table.get_by_text("384 x 384 px").wait_for()
    assert [text.split(" x ")[0] for text in table.locator("tbody th").all_inner_texts()] == [
        "112",
        "160",
        "192",
        "224",
        "288",
        "320",
        "384",
    ]


def _gives_its_numbers_and_figures_away(page):
    with page.expect_download() as coming:
        page.click("#inside-filters-file")
    with np.load(coming.value.path()) as numbers:
        assert numbers["filters"].shape == (28, 3, 16, 16)
    with page.expect_download() as coming:
        page.click("#inside-distance-file")
    assert coming.value.path().read_text().startswith("layer,head,mean attention distance (px)\n0,0,")
    page.locator("#inside-distance .plot-container").hover()
    with page.expect_download() as coming:
        page.click("#inside-distance [data-title='Download plot as a PNG']")
    assert coming.value.suggested_filename.endswith(".png")
    picture(page, "filters")
    with page.expect_download() as coming:
        page.click("#inside-filters button[title='Download'], #inside-filters a[download]")
    assert coming.value.suggested_filename.endswith(".png")


def _asks_the_server_only_when_there_is_something_to_draw(page):
    asked = []
    page.on(
        "request", lambda request: asked.append(request.url) if request.url.endswith("queue/join?") else None
    )
    open_view(page)
    page.wait_for_timeout(1500)
    before = len(asked)
    page.wait_for_timeout(3000)
    assert len(asked) == before < 20


def test_phone_shows_the_view_without_sideways_scrolling(phone):
    open_view(phone)
    for name in ("filters", "similarity-sheet", "similarity", "colours-after", "map-after"):
        picture(phone, name)
        assert sideways_overflow(phone) <= 0, name
    phone.locator("#inside-distance").scroll_into_view_if_needed()
    label, camera = (
        phone.locator(f"#inside-distance {part}").first
        for part in ("label", "[data-title='Download plot as a PNG']")
    )
    phone.locator("#inside-distance .plot-container").hover()
    label, camera = label.bounding_box(), camera.bounding_box()
    assert label["x"] + label["width"] <= camera["x"] and camera["x"] + camera["width"] <= 390
