"""A wrong answer is put right on a phone: kept only with the tick, found by whoever learns from it, and
removed again.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.browser.conftest import PHONE
from tests.browser.test_diagnose_phone import switch
from tests.browser.test_page import choose, sideways_overflow
from vit_demo.common.words import say
from vit_demo.data.corrections import review_set
from vit_demo.data.corrections.review_source import review_to_look_at
from vit_demo.data.normalise import label_names

THUMB = 44  # CSS pixels of the smallest thing to touch (WCAG 2.2, 2.5.5)


def test_a_correction_is_kept_with_the_tick_and_removed_again(phone, server, leaf_photo, monkeypatch):
    monkeypatch.setenv("VIT_DEMO_HOME", str(server.home))
    form = phone.locator("#diagnose-correction")
    assert form.locator("form").count() == 0
    choose(phone, "diagnose-photo", leaf_photo)
    form.get_by_text(say("diagnose.correction.title")).click()
    name, keep, store = (
        form.locator("[name=other]"),
        form.locator("[name=keep]"),
        form.get_by_role("button", name=say("diagnose.correction.store")),
    )
    assert name.is_hidden() and not keep.is_checked()
    form.locator("select").select_option(label=say("diagnose.correction.other"))
    name.fill("Powdery mildew")
    form.locator("[name=note]").fill("by the well")
    # Another language asks in its own words, and what was filled in stays.
    switch(phone, "Français")
    form.get_by_role("button", name=say("diagnose.correction.store", "fr")).wait_for()
    assert (
        name.input_value() == "Powdery mildew"
        and form.locator("[name=note]").input_value() == "by the well"
        and not keep.is_checked()
    )
    switch(phone, "English")
    store.wait_for()
    for thing in (
        form.locator("summary"),
        form.locator("select"),
        name,
        form.locator(".correction-keep"),
        store,
    ):
        place = thing.bounding_box()
        assert place["height"] >= THUMB and place["x"] >= 0 and place["x"] + place["width"] <= PHONE["width"]
    assert sideways_overflow(phone) <= 0
    # The browser itself says that the tick is missing, and nothing is sent.
    store.click()
    assert keep.evaluate("tick => tick.validity.valueMissing") and review_set.corrections() == []
    keep.check()
    store.click()
    form.get_by_text(say("diagnose.correction.count", count="1")).wait_for()
    (kept,) = review_set.corrections()
    assert (kept.label, kept.note, kept.said.model) == ("Powdery mildew", "by the well", "embedded")
    # What the Data tab shows of them.
    found = review_to_look_at()
    with Image.open(leaf_photo) as sent:
        assert label_names(found) == ["Powdery mildew"] and [row["image"].size for row in found["train"]] == [
            sent.size
        ]
    file = Path(kept.file)
    form.get_by_role("button", name=say("diagnose.correction.remove")).click()
    form.get_by_text(say("diagnose.correction.count", count="0")).wait_for()
    assert review_set.corrections() == [] and not file.exists()
    # Another photo, another form.
    phone.click("#diagnose-photo button[aria-label='Remove Image']")
    form.locator("form").wait_for(state="detached")
