"""Many photos on a phone: a zip in, a table that can be filtered, a CSV to take away."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

from tests.browser.conftest import PHONE
from tests.browser.test_page import sideways_overflow
from vit_demo.common.words import say

THUMB = 44  # CSS pixels of the smallest thing to touch (WCAG 2.2, 2.5.5)


def test_a_zip_becomes_a_table_that_is_filtered_and_taken_away(phone, leaf_photo, tmp_path):
    with zipfile.ZipFile(tmp_path / "leaves.zip", "w") as out:
        for number in range(60):
            out.write(leaf_photo, f"field/{number:02}.png")
        out.writestr("field/broken.png", b"no photo")
        out.writestr("__MACOSX/field/._00.png", b"nothing that anybody means")
    phone.get_by_role("tab", name=say("diagnose.many")).click()
    phone.click("#many-start")  # without a file it says what to do
    phone.get_by_text(say("diagnose.many_none")).wait_for()
    phone.set_input_files("#many-files input[type=file]", tmp_path / "leaves.zip")
    phone.locator("#many-files").get_by_text("leaves").first.wait_for()
    phone.click("#many-start")
    phone.get_by_text(say("diagnose.many_done", total=61)).wait_for()
    kinds, rows = phone.locator("[data-many^='kind:']"), phone.locator(".many-rows li")
    assert kinds.first.inner_text().split() == ["All", "61"] and rows.count() == 50
    phone.wait_for_function(
        "[...document.querySelectorAll('.many-rows img')].slice(0, 3).every(image => image.naturalWidth > 0)"
    )
    assert sideways_overflow(phone) <= 0
    for thing in (*kinds.all(), phone.locator("[data-many='page:1']"), phone.locator("#many-csv")):
        place = thing.bounding_box()
        assert place["height"] >= THUMB and place["x"] >= 0 and place["x"] + place["width"] <= PHONE["width"]
    phone.click("[data-many='page:1']")
    phone.get_by_text(say("diagnose.many_page", first=51, last=61, total=61)).wait_for()
    assert rows.count() == 11
    phone.click("[data-many='kind:refused']")
    phone.wait_for_function("document.querySelectorAll('.many-rows li').length === 1")
    assert "broken.png is not a photo." in rows.first.inner_text()
    with phone.expect_download() as caught:
        phone.click("#many-csv")
    found = list(csv.DictReader(io.StringIO(Path(caught.value.path()).read_text(encoding="utf-8"))))
    assert [row["photo"] for row in found] == [
        *(f"leaves.zip/field/{number:02}.png" for number in range(60)),
        "leaves.zip/field/broken.png",
    ]
    assert found[-1]["error"].startswith("broken.png is not a photo.") and not any(
        row["error"] for row in found[:-1]
    )
    assert all(
        row["verdict"] in ("diagnosis", "unsure", "not_known") and 0 < float(row["probability"]) <= 1
        for row in found[:-1]
    )
