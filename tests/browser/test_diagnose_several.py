"""Several leaves of one plant on a phone: one answer, with the count of leaves behind it, in the language of
whoever asks.
"""

from __future__ import annotations

import pytest

from tests.browser.conftest import PHONE
from tests.browser.test_diagnose_phone import switch
from tests.browser.test_page import sideways_overflow
from vit_demo.common.words import say
from vit_demo.data.open.sources import open_dataset


@pytest.fixture
def leaves(tmp_path) -> list:
    """Three leaves of one class, which the embedded model is sure of."""
    test = open_dataset("beans")["test"]
    files = [tmp_path / f"leaf{number}.png" for number in range(3)]
    for number, file in enumerate(files):
        test[number]["image"].save(file)
    return files


def test_three_leaves_get_one_answer_and_another_language(phone, leaves):
    phone.get_by_role("tab", name=say("diagnose.several")).click()
    answer = phone.locator("#several-answer")
    answer.get_by_text(say("diagnose.several.empty")).wait_for()
    phone.set_input_files("#several-photos input[type=file]", leaves)
    answer.get_by_text(say("diagnose.told.from", count=3, total=3)).wait_for()
    headline, rows = answer.locator(".answer-label"), answer.locator(".several-leaves li")
    assert (
        rows.count() == 3
        and float(headline.evaluate("label => parseFloat(getComputedStyle(label).fontSize)")) >= 22
    )
    phone.wait_for_function(
        "[...document.querySelectorAll('#several-answer img')].every(image => image.naturalWidth > 0)"
    )
    for row in rows.all():
        place = row.bounding_box()
        assert place["x"] >= 0 and place["x"] + place["width"] <= PHONE["width"]
    label = headline.inner_text()
    # In French the names of the views are longest, and none may go into a menu.
    switch(phone, "Français")
    answer.get_by_text(say("diagnose.told.from", "fr", count=3, total=3)).wait_for()
    for view in ("one", "several", "many"):
        phone.get_by_role("tab", name=say(f"diagnose.{view}", "fr"), exact=True).wait_for()
    assert headline.inner_text() != label and rows.count() == 3 and sideways_overflow(phone) <= 0
