"""The Diagnose tab on a phone: one column, a thumb, a slow connection, and the language of whoever holds
it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import PHONE, settle
from tests.browser.test_page import choose, sideways_overflow
from vit_demo.common.words import say

THUMB = 44  # CSS pixels of the smallest thing to touch (WCAG 2.2, 2.5.5)
LONGEST = 1600


@pytest.fixture
def phone_in(browser, server):
    """Open the page on a phone that is set to a language; after the test, no script error may have
    happened.
    """
    opened = []

    def open_page(locale: str):
        page = browser.new_context(viewport=PHONE, locale=locale).new_page()
        page.set_default_timeout(60_000)
        page.broken = []
        page.on("pageerror", lambda error: page.broken.append(str(error)))
        opened.append(page)
        page.goto(server.url)
        settle(page)
        return page

    yield open_page
    for page in opened:
        assert page.broken == []
        page.context.close()


@pytest.fixture(scope="module")
def large_photo(leaf_photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaf as a phone sends it: 12 megapixels with the noise of a sensor, lying on its side by EXIF."""
    leaf = np.asarray(Image.open(leaf_photo).convert("RGB").resize((4000, 3000)), dtype=np.float32)
    noisy = leaf + np.random.default_rng(0).normal(0, 6, (3000, 4000, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = tmp_path_factory.mktemp("large") / "leaf.jpg"
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, quality=92, exif=exif)
    return file


def switch(page, language: str) -> None:
    page.locator("#language input").click()
    page.get_by_role("option", name=language, exact=True).click()


def uploaded(page, file: Path) -> Path:
    """Choose a photo; returns the file that came to the server."""
    with page.expect_response(lambda response: "/upload?" in response.url) as caught:
        choose(page, "diagnose-photo", file)
    return Path(caught.value.json()[0])


def size_shown(page) -> list[int]:
    """Width and height in pixels of the photo that the server got."""
    page.wait_for_function("document.querySelector('#diagnose-photo img')?.naturalWidth > 0")
    return page.locator("#diagnose-photo img").evaluate("image => [image.naturalWidth, image.naturalHeight]")


def test_photo_answer_and_notes_stand_in_one_column_for_a_thumb(phone, leaf_photo):
    chooser = phone.locator("#diagnose-photo input[type=file]")
    # This is what makes a phone offer its camera.
    assert "image/" in chooser.get_attribute("accept")
    phone.locator("#diagnose-photo").get_by_text("Touch here to take or choose a photo").wait_for()
    choose(phone, "diagnose-photo", leaf_photo)
    phone.wait_for_selector(".answer-label")
    assert (
        float(
            phone.locator(".answer-label").evaluate("label => parseFloat(getComputedStyle(label).fontSize)")
        )
        >= 24
    )
    places = [
        phone.locator(name).bounding_box()
        for name in ("#diagnose-photo", "#diagnose-answer", "#diagnose-examples")
    ]
    assert all(above["y"] + above["height"] <= below["y"] for above, below in zip(places, places[1:]))
    assert all(place["x"] >= 0 and place["x"] + place["width"] <= PHONE["width"] for place in places)
    touched = [
        *phone.locator(".answer summary").all(),
        *phone.locator("#diagnose-photo button:visible").all(),
        phone.locator("#language input"),
    ]
    assert len(touched) >= 4
    for control in touched:
        assert control.bounding_box()["height"] >= THUMB, control.evaluate("control => control.outerHTML")
    assert phone.locator(".details-body").first.is_hidden()
    for title in phone.locator(".answer summary").all():
        title.click()
    phone.get_by_text("What spoke for this answer").click()
    phone.wait_for_selector("#diagnose-map img")
    assert phone.locator(".details-body").first.is_visible() and sideways_overflow(phone) <= 0


def test_a_note_says_what_to_do_and_where_that_is_written(phone, real_photos):
    choose(phone, "diagnose-photo", real_photos["bean_rust"])
    phone.locator(".answer-label", has_text="Bean rust").wait_for()
    phone.get_by_text("What to do").click()
    note = phone.locator(".answer-note").inner_text()
    assert (
        "Uromyces appendiculatus" in note
        and "Next season" in note
        and "Colorado State University Extension" in note
    )
    assert "no laboratory test" in phone.locator(".answer-limits").inner_text()


def test_the_phone_speaks_the_language_that_it_is_set_to(phone_in, leaf_photo):
    phone = phone_in("sw-KE")
    phone.locator("#diagnose-photo").get_by_text(say("diagnose.touch", "sw")).wait_for()
    choose(phone, "diagnose-photo", leaf_photo)
    phone.locator(".answer").get_by_text(say("diagnose.all", "sw")).wait_for()
    assert sideways_overflow(phone) <= 0


def test_a_switch_tells_the_same_answer_again_and_is_remembered(phone, leaf_photo):
    asked = []
    phone.on(
        "request", lambda request: asked.append(request.post_data) if "/queue/join" in request.url else None
    )
    choose(phone, "diagnose-photo", leaf_photo)
    phone.wait_for_selector(".answer-label")
    label = phone.locator(".answer-label").inner_text()
    # What follows an answer, such as the photos that it looks like, is asked for a little later.
    known = -1
    while known < len(asked):
        known = len(asked)
        phone.wait_for_timeout(1500)
    asked.clear()
    switch(phone, "Français")
    phone.locator(".answer").get_by_text(say("diagnose.all", "fr")).wait_for()
    phone.locator("#diagnose-examples").get_by_text(say("diagnose.examples", "fr")).wait_for()
    phone.wait_for_timeout(1000)
    # For the texts; the photo was not asked about again.
    assert len(asked) == 1, asked
    assert (
        phone.locator(".answer-label").inner_text() != label
        and phone.locator("#diagnose-photo img").count() == 1
    )
    switch(phone, "English")
    phone.locator(".answer-label", has_text=label).wait_for()
    switch(phone, "简体中文")
    phone.locator("#diagnose-answer").get_by_text(say("diagnose.all", "zh")).wait_for()
    phone.wait_for_timeout(1000)
    phone.reload()
    settle(phone)
    phone.locator("#diagnose-answer").get_by_text(say("diagnose.empty", "zh")).wait_for()


def test_a_large_photo_is_scaled_down_before_it_is_sent(phone, large_photo):
    sent, whole = uploaded(phone, large_photo).stat().st_size, large_photo.stat().st_size
    print(f"sent {sent} of {whole} bytes")
    assert whole > 2_000_000 and sent < whole / 4
    # Upright, though the file lies on its side.
    assert size_shown(phone) == [LONGEST * 3 // 4, LONGEST]
    phone.wait_for_selector(".answer-label")


def test_what_is_small_or_animated_is_sent_as_it_is(phone, leaf_photo, tmp_path):
    animated = tmp_path / "moving.webp"
    frames = [Image.effect_noise((2000, 60), sigma).convert("RGB") for sigma in (20, 90)]
    frames[0].save(animated, save_all=True, append_images=frames[1:], duration=200)
    for file in (leaf_photo, animated):
        with Image.open(file) as picture:
            size = list(picture.size)
        assert uploaded(phone, file).read_bytes() == file.read_bytes()
        assert size_shown(phone) == size
        phone.wait_for_selector(".answer-label")
        phone.click("#diagnose-photo button[aria-label='Remove Image']")
        phone.get_by_text(say("diagnose.empty")).wait_for()
