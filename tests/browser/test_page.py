"""The four tabs in a real browser, as a person uses them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def choose(page, element: str, file: Path) -> None:
    page.set_input_files(f"#{element} input[type=file]", str(file))


def toast(page) -> str:
    """The text of the message that the page shows."""
    page.wait_for_selector(".toast-body")
    return page.locator(".toast-body").first.inner_text()


def sideways_overflow(page) -> int:
    """Pixels by which the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_a_real_photo_is_diagnosed(page, real_photos):
    choose(page, "diagnose-photo", real_photos["bean_rust"])
    page.wait_for_selector(".answer-label")
    assert page.locator(".answer-label").inner_text() == "Bean rust"
    page.get_by_text("All the model considered").click()
    shares = [float(text.rstrip(" %").split()[-1]) for text in page.locator(".bar-number").all_inner_texts()]
    assert len(shares) == 3 and shares == sorted(shares, reverse=True)
    page.get_by_text("What spoke for this answer").click()
    page.wait_for_selector("#diagnose-map img")
    assert page.locator("#diagnose-map img").evaluate("image => image.naturalWidth") > 100


def test_an_example_is_one_click_and_is_no_photo_that_the_model_learned_from(page):
    page.get_by_text("The model did not learn from them").wait_for()
    assert page.locator("button.gallery-item").count() == 6
    page.locator("button.gallery-item").first.click()
    page.wait_for_selector(".answer-label")


def test_what_is_no_photo_is_refused_in_words_in_the_place_of_the_answer(page, leaf_photo, tmp_path):
    choose(page, "diagnose-photo", leaf_photo)
    page.wait_for_selector(".answer-label")
    page.click("#diagnose-photo button[aria-label='Remove Image']")
    page.get_by_text("The answer appears here").wait_for()
    lie = tmp_path / "notes.jpg"
    lie.write_text("this is a shopping list")
    choose(page, "diagnose-photo", lie)
    page.locator("#diagnose-answer").get_by_text("notes.jpg is not a photo").wait_for()
    assert page.locator(".answer-label").count() == 0


def test_phone_shows_the_answer_without_sideways_scrolling(phone, leaf_photo):
    choose(phone, "diagnose-photo", leaf_photo)
    phone.wait_for_selector(".answer-label")
    assert sideways_overflow(phone) <= 0
    for name, landmark in (
        ("Look inside", "#inside-photo img"),
        ("Data", "#data-gallery img"),
        ("Fine-tune", "#train-start"),
    ):
        open_tab(phone, name)
        phone.wait_for_selector(landmark)
        if name == "Data":
            phone.locator("#data-gallery button").first.click()
            phone.wait_for_selector("#data-steps table")
        assert sideways_overflow(phone) <= 0, name


def test_a_clicked_patch_looks_for_itself(page):
    open_tab(page, "Look inside")
    open_tab(page, "Attention")
    page.wait_for_selector("#inside-overlay img")
    sentence = page.locator("#inside-sentence")
    sentence.get_by_text("The [CLS] token").wait_for()
    picture = page.locator("#inside-overlay img")
    size = picture.bounding_box()
    before = picture.get_attribute("src")
    # The middle of the patch in row 3, column 10 of 14.
    picture.click(position={"x": size["width"] * 10.5 / 14, "y": size["height"] * 3.5 / 14})
    sentence.get_by_text("Patch 52 (row 3, column 10)").wait_for()
    page.wait_for_function(
        "before => document.querySelector('#inside-overlay img').src !== before", arg=before
    )
    # The same patch in the pulled-apart sheet.
    sheet = page.locator("#inside-patches img")
    size = sheet.bounding_box()
    sheet.click(position={"x": size["width"] * 2.5 / 14, "y": size["height"] * 12.5 / 14})
    sentence.get_by_text("Patch 170 (row 12, column 2)").wait_for()
    page.click("#inside-cls")
    sentence.get_by_text("The [CLS] token").wait_for()


def test_layer_head_and_rollout_change_the_picture(page):
    open_tab(page, "Look inside")
    open_tab(page, "Attention")
    sentence = page.locator("#inside-sentence")
    sentence.get_by_text("layer 11").wait_for()
    page.locator("#inside-layer input[type=number]").fill("4")
    page.locator("#inside-layer input[type=number]").press("Enter")
    sentence.get_by_text("layer 4").wait_for()
    page.locator("#inside-head input").click()
    page.get_by_role("option", name="2", exact=True).click()
    sentence.get_by_text("head 2").wait_for()
    page.get_by_label("Attention rollout, all layers").check()
    sentence.get_by_text("over all 12 layers together").wait_for()


def test_data_set_is_filtered_paged_and_opened_also_by_the_keyboard(page):
    open_tab(page, "Data")
    page.wait_for_selector("#data-gallery img")
    assert "1,295 photos of 3 classes" in page.inner_text("#data-summary")
    where, which = page.locator("#data-where"), page.locator("#data-detail [role=status]")
    assert "Page 1 of 54, 1,295 photos" in where.inner_text()
    page.click("#data-next")
    where.get_by_text("Page 2 of 54").wait_for()
    page.keyboard.press("ArrowRight")
    where.get_by_text("Page 3 of 54").wait_for()
    page.fill("#data-page", "54")
    page.keyboard.press("Enter")
    where.get_by_text("Page 54 of 54").wait_for()
    page.select_option("#data-split", "test")
    where.get_by_text("Page 1 of 6, 128 photos").wait_for()
    page.select_option("#data-label", "healthy")
    where.get_by_text("Page 1 of 2, 42 photos").wait_for()
    page.click("#data-next")
    where.get_by_text("Page 2 of 2").wait_for()
    page.locator("#data-gallery button").nth(16).click()
    which.get_by_text("Photo 41 of 42").wait_for()
    page.keyboard.press("ArrowRight")
    which.get_by_text("Photo 42 of 42").wait_for()
    assert page.locator("#data-after").is_disabled()
    page.click("#data-before")
    which.get_by_text("Photo 41 of 42").wait_for()
    page.keyboard.press("Escape")
    where.get_by_text("42 photos").wait_for()
    page.fill("#data-search", "test.3.")
    where.get_by_text("Page 1 of 1, 1 photos").wait_for()
    page.locator("#data-gallery button").first.click()
    page.wait_for_selector("#data-steps table")
    about = page.inner_text("#data-about")
    assert "healthy_test.3.jpg" in about and "256 x 256 px" in about
    assert re.search(r"Integer id\s+2", about)
    steps = page.inner_text("#data-steps")
    assert "3 x 224 x 224" in steps and "normalised" in steps


def test_numbers_are_shown_beside_figures_and_browse_can_be_asked_by_them(page, little):
    open_tab(page, "Data")
    page.wait_for_selector("#data-gallery img")
    open_tab(page, "Numbers")
    page.get_by_role("heading", name="Colour").wait_for()
    assert (
        "1,034" in page.inner_text("#data-counts")
        and page.locator("#data-statistics svg").count()
        == page.locator("#data-statistics table").count()
        == 7
    )
    assert sideways_overflow(page) <= 0
    # Another data set is counted while its numbers are looked at.
    box = page.locator("#data-source input")
    box.fill(little.data)
    box.press("Enter")
    page.locator("#data-counts").get_by_text("36", exact=True).first.wait_for()
    page.get_by_role("heading", name="Colour").wait_for()
    open_tab(page, "Browse")
    page.wait_for_selector("#data-problem")
    page.select_option("#data-problem", "small")
    page.locator("#data-where").get_by_text("Page 1 of 3, 72 photos").wait_for()


def test_a_wrong_source_keeps_the_old_one_and_says_what_to_do(page):
    open_tab(page, "Data")
    page.wait_for_selector("#data-gallery img")
    box = page.locator("#data-source input")
    box.fill("/nowhere/at/all")
    box.press("Enter")
    page.click("#data-open")
    assert "There is no folder /nowhere/at/all" in toast(page)
    assert page.locator("#data-gallery img").count() > 0


def test_a_data_set_opens_from_a_folder(page, little):
    open_tab(page, "Data")
    page.wait_for_selector("#data-gallery img")
    box = page.locator("#data-source input")
    box.fill(little.data)
    box.press("Enter")
    page.locator("#data-where").get_by_text("72 photos").wait_for()
    assert "train 36" in page.inner_text("#data-summary")


def test_the_api_answers_as_the_page_does(server, real_photos):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(server.url, verbose=False)
    answer = client.predict(handle_file(str(real_photos["healthy"])), api_name="/diagnose")
    assert answer["label"] == "healthy"
    assert answer["probability"] == max(answer["scores"].values())
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-6)
    assert answer["photo"] == "healthy.jpg"
    with pytest.raises(AppError, match="is not a photo"):
        client.predict(handle_file(__file__), api_name="/diagnose")
