"""A photo, its answer, the pictures that it looks like, and a note that is written and shown at once, on a
phone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.browser.conftest import PHONE
from tests.browser.test_page import choose, sideways_overflow
from vit_demo.common.words import say


def test_an_answer_shows_what_it_looks_like(phone, leaf_photo):
    choose(phone, "diagnose-photo", leaf_photo)
    phone.wait_for_selector(".answer-label")
    title = phone.locator("#diagnose-similar summary")
    title.wait_for()
    assert title.bounding_box()["height"] >= 44 and phone.locator("#diagnose-similar img").count() == 0
    title.click()
    phone.wait_for_selector(".similar-pictures img")
    sizes = phone.locator(".similar-pictures img").evaluate_all(
        "images => images.map(image => [image.naturalWidth, image.getBoundingClientRect().width])"
    )
    assert len(sizes) == 3 and all(
        natural == 160 and 60 < shown < PHONE["width"] / 3 for natural, shown in sizes
    )
    assert all(
        label in ("Angular leaf spot", "Bean rust", "Healthy")
        for label in phone.locator(".similar-pictures span").all_inner_texts()
    )
    assert (
        say("diagnose.similar.learned") in phone.locator("#diagnose-similar").inner_text()
        and sideways_overflow(phone) <= 0
    )
    # A model of its own is not there, so nothing can be written.
    assert phone.locator("#diagnose-edit").count() == 0
    phone.click("#diagnose-photo button[aria-label='Remove Image']")
    phone.locator(".similar").wait_for(state="detached")


def test_a_note_on_an_own_model_is_written_and_shown_at_once(phone, leaf_photo, tiny_model, tmp_path):
    own = Path(shutil.copytree(tiny_model, tmp_path / "own"))
    phone.get_by_text("Choose another model").click()
    field = phone.locator("#model-in-use input")
    field.fill(str(own))
    field.press("Enter")
    phone.wait_for_selector("#diagnose-edit")
    choose(phone, "diagnose-photo", leaf_photo)
    phone.wait_for_selector(".answer-label")
    phone.get_by_text(say("diagnose.edit.title")).click()
    text = phone.locator("#diagnose-edit-text textarea")
    phone.wait_for_function("document.querySelector('#diagnose-edit-text textarea')?.value.includes('# Now')")
    text.fill("# Now\nPull the leaf. (source: A neighbour)")
    phone.locator("#diagnose-edit-save").click()
    phone.locator("#diagnose-edit-told [role=status]").wait_for()
    phone.locator(".answer-note summary").click()
    assert (
        "Pull the leaf." in phone.locator(".answer-note").inner_text()
        and "A neighbour" in phone.locator(".answer-note").inner_text()
    )
    text.fill("Pull the leaf.")
    phone.locator("#diagnose-edit-save").click()
    phone.locator("#diagnose-edit-told [role=alert]", has_text="Line 1 stands under no heading").wait_for()
    assert sideways_overflow(phone) <= 0
